/** Holding the old copies of shards that move, and comparing them with what serves afterwards. */

import { DatabaseError, type Session } from "../../reach/session.ts";
import { type CopiedShard, compareCopy, readColocatedShards } from "../counts.ts";
import { type KeptCopies, keepCopies, keptSchema, ROWS_MISSING, removeKept } from "../keptCopies.ts";

/** How the nodes themselves are reached. */
export interface HeldNodes {
    /** A connection to a node on which locks are kept; undefined when there is none. */
    readonly hold: (host: string) => Promise<Session | undefined>;
    /** Gives such a connection back, its transaction ended. */
    readonly release: (session: Session) => Promise<void>;
    /** A connection to a node for counting. */
    readonly open: (host: string) => Promise<Session | undefined>;
}

interface HeldCopy {
    readonly session: Session;
    readonly host: string;
    readonly shardId: string;
    readonly shards: readonly CopiedShard[];
    /** When it was held, as Date.now() has it. */
    readonly since: number;
    /** Of its session, for who waits for it. */
    readonly pid: number;
    /** Whether its locks are held now. */
    locked: boolean;
    /** Looks whether a client waits; undefined once the move is done. */
    watch: NodeJS.Timeout | undefined;
    /** Settles when its tables are compared. */
    counting?: Promise<Counted>;
}

interface Counted {
    /** Tables that were compared and are the same. */
    readonly counted: number;
    readonly missing: readonly string[];
}

/** How long an alarm waits for what is still being compared, so that it can name that too, in milliseconds. */
const OTHERS = 30_000;

/** How often it is asked whether a client waits for a lock, in milliseconds. */
const EVERY = 500;

/**
 * Whether somebody waits for the locks of session $1 while its node serves shard $2. Once the shard has moved, nobody
 * but the drop of the old copy waits.
 */
const WAITED_FOR = `
    SELECT EXISTS (SELECT 1 FROM pg_locks w WHERE NOT w.granted AND $1::int = ANY (pg_blocking_pids(w.pid)))
       AND EXISTS (SELECT 1 FROM pg_dist_placement p JOIN pg_dist_local_group g USING (groupid) WHERE p.shardid = $2) AS waited`;

async function lock(session: Session, shards: readonly CopiedShard[]): Promise<void> {
    await session.query("BEGIN");
    await session.query("SET LOCAL lock_timeout = '500ms'");
    await session.query("SET LOCAL citus.enable_manual_changes_to_shards = on");
    await session.query(`LOCK TABLE ${shards.map(({ name }) => name).join(", ")} IN ACCESS SHARE MODE`);
}

/**
 * Holds the old copies of shards while they move, so that nobody drops them before they are counted. An ACCESS SHARE
 * lock does not hinder the move. A client's TRUNCATE or DDL would wait for it, and the move for that client: so the locks
 * are let go as soon as somebody waits, and taken again afterwards.
 */
export class Held {
    private readonly copies = new Map<string, HeldCopy>();
    private readonly nodes: HeldNodes;
    /** What was found missing. */
    private readonly differences: string[] = [];
    private alarm: Promise<Error> | undefined;

    constructor(nodes: HeldNodes) {
        this.nodes = nodes;
    }

    /** @param key of the move, for the other calls */
    async hold(coordinator: Session, key: string, shardId: string, host: string): Promise<void> {
        if (this.copies.has(key)) return;
        const session = await this.nodes.hold(host);
        if (!session) return;
        try {
            const shards = await readColocatedShards(coordinator, shardId);
            const [backend] = await session.query<{ pid: number }>("SELECT pg_backend_pid() AS pid");
            await lock(session, shards);
            const copy: HeldCopy = {
                session,
                host,
                shardId,
                shards,
                since: Date.now(),
                pid: backend?.pid ?? 0,
                locked: true,
                watch: undefined,
            };
            this.copies.set(key, copy);
            this.watch(copy);
        } catch {
            // gone already, or somebody changes it: then there is nothing to compare with
            await this.nodes.release(session);
        }
    }

    private watch(copy: HeldCopy): void {
        let looking = false;
        copy.watch = setInterval(() => {
            if (looking) return;
            looking = true;
            this.giveWay(copy)
                .catch(() => undefined)
                .finally(() => {
                    looking = false;
                });
        }, EVERY).unref();
    }

    /** Lets go of the locks of a copy that somebody waits for, or takes them again. */
    private async giveWay(copy: HeldCopy): Promise<void> {
        if (!copy.locked) {
            await lock(copy.session, copy.shards).then(
                () => {
                    copy.locked = true;
                },
                () => copy.session.query("ROLLBACK"),
            );
            return;
        }
        // on its own connection: one for counting may itself wait for that client
        const waited = await copy.session.query<{ waited: boolean }>(WAITED_FOR, [copy.pid, copy.shardId]).then(
            ([row]) => row?.waited === true,
            () => true,
        );
        if (!waited || copy.watch === undefined) return;
        copy.locked = false;
        await copy.session.query("ROLLBACK");
    }

    /**
     * Compares what just moved with its old copy, and lets that go. When rows are missing, all old copies that are not
     * counted yet are kept.
     * @param host of the node that serves now
     * @param stop ends what goes on and says so
     * @param now the shards that serve instead of the old ones, when that is not shards of the same names
     * @returns how many tables were counted
     * @throws Error naming every difference and every copy that is kept
     */
    async compare(
        coordinator: Session,
        key: string,
        host: string | undefined,
        stop: () => Promise<string>,
        now?: readonly CopiedShard[],
    ): Promise<number> {
        const held = this.copies.get(key);
        if (!held) return 0;
        unwatch(held);
        const to = host === undefined ? undefined : await this.nodes.open(host);
        // what is not locked may be dropped at any moment
        if (!to || !held.locked) {
            await this.release(key);
            return 0;
        }
        // beside the session that holds the copy, which has to be free to keep it
        const from = (await this.nodes.open(held.host)) ?? held.session;
        held.counting = countAll(held, from, to, now);
        const { counted, missing } = await held.counting;
        if (missing.length === 0) {
            await this.release(key);
            return counted;
        }
        this.differences.push(...missing);
        this.alarm ??= this.raise(coordinator, key, stop);
        throw await this.alarm;
    }

    /** Keeps the copy in which rows were found, stops the rest, and keeps whatever else has moved by then. */
    private async raise(coordinator: Session, key: string, stop: () => Promise<string>): Promise<Error> {
        const schema = keptSchema(Date.now());
        const kept: KeptCopies[] = [];
        const failed: string[] = [];
        const keep = async (copyKey: string, copy: HeldCopy) => {
            this.copies.delete(copyKey);
            unwatch(copy);
            try {
                if (!copy.locked) await lock(copy.session, copy.shards);
                kept.push(await keepCopies(copy.session, copy.shards, schema));
            } catch (error) {
                failed.push(
                    ...copy.shards.map(({ name }) => `${name} on ${copy.session.node}: ${(error as Error).message}`),
                );
            } finally {
                await this.nodes.release(copy.session);
            }
        };
        const first = this.copies.get(key);
        if (first) await keep(key, first);
        const stopped = await stop();
        const counting: (Promise<unknown> | undefined)[] = [];
        for (const [copyKey, copy] of [...this.copies]) {
            const where = await servesFrom(coordinator, copy.shardId).catch((error: unknown) => error as Error);
            // one that was compared meanwhile was let go
            if (this.copies.get(copyKey) !== copy) continue;
            counting.push(copy.counting);
            if (where instanceof Error)
                failed.push(
                    `${copy.shards[0]?.name} on ${copy.session.node}: whether it moved could not be read: ${where.message}`,
                );
            else if (where === copy.host) await this.release(copyKey);
            else await keep(copyKey, copy);
        }
        const late = new Promise<void>((resolve) => setTimeout(resolve, OTHERS).unref());
        await Promise.race([Promise.allSettled(counting), late]);
        return new Error(explainMissing({ differences: this.differences, stopped, kept, failed, schema }));
    }

    async release(key: string): Promise<void> {
        const held = this.copies.get(key);
        this.copies.delete(key);
        if (!held) return;
        unwatch(held);
        await this.nodes.release(held.session);
    }

    async releaseAll(): Promise<void> {
        for (const key of [...this.copies.keys()]) await this.release(key);
    }
}

async function countAll(
    held: HeldCopy,
    from: Session,
    to: Session,
    now: readonly CopiedShard[] | undefined,
): Promise<Counted> {
    // side by side, since a difference is looked at for some seconds
    const results = await Promise.all(
        held.shards
            .filter(({ partitioned }) => !partitioned)
            .map(({ table, name }) => {
                const into = now ? now.filter((shard) => shard.table === table).map((shard) => shard.name) : [name];
                return compareCopy(from, to, name, into, held.since).catch((error: unknown) => {
                    // the node went away: not counted, and not said to be
                    if (error instanceof DatabaseError) return "not counted" as const;
                    throw error;
                });
            }),
    );
    return {
        counted: results.filter((result) => result === "same").length,
        missing: results.flatMap((result) => (typeof result === "object" ? [result.missing] : [])),
    };
}

function unwatch(copy: HeldCopy): void {
    clearInterval(copy.watch);
    copy.watch = undefined;
}

/** Host of the node that serves a shard; undefined when the shard was split. */
async function servesFrom(coordinator: Session, shardId: string): Promise<string | undefined> {
    const [row] = await coordinator.query<{ host: string }>(
        `SELECT n.nodename AS host FROM pg_dist_placement p JOIN pg_dist_node n ON n.groupid = p.groupid AND n.noderole = 'primary'
          WHERE p.shardid = $1`,
        [shardId],
    );
    return row?.host;
}

function explainMissing(found: {
    differences: readonly string[];
    stopped: string;
    kept: readonly KeptCopies[];
    failed: readonly string[];
    schema: string;
}): string {
    const nodes = [...new Set(found.kept.map(({ node }) => node))];
    const failed = [...found.kept.flatMap((one) => one.failed.map((said) => `${one.node}: ${said}`)), ...found.failed];
    return [
        ROWS_MISSING,
        ...found.differences.map((difference) => `  ${difference}`),
        `${found.stopped}. The old copies of these and of all other shards that had moved and were not compared yet are kept with their rows in schema ${found.schema}:`,
        ...nodes.flatMap((node) => {
            const tables = found.kept.filter((one) => one.node === node).flatMap(({ kept }) => kept);
            return [`  on ${node}:`, ...tables.map((table) => `    ${table}`)];
        }),
        ...(failed.length > 0 ? ["These could not be kept:", ...failed.map((said) => `  ${said}`)] : []),
        "Compare them with what serves now before you do anything else (docs/scaling.md, When rows are missing). Afterwards this removes them:",
        `  ${removeKept(found.schema)}`,
    ].join("\n");
}
