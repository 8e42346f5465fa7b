/** Holding the old copies of shards that move, and comparing them with what serves afterwards. */
import { type CopiedShard, compareCopy, readColocatedShards } from "./counts.ts";
import { DatabaseError, type Session } from "./session.ts";

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
    readonly shardId: string;
    readonly shards: readonly CopiedShard[];
}

/**
 * Holds the old copies of shards while they move, so that nobody drops them before they are counted. An ACCESS SHARE
 * lock hinders neither the move nor clients; only the drop waits for it.
 */
export class Held {
    private readonly copies = new Map<string, HeldCopy>();
    private readonly nodes: HeldNodes;

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
            this.copies.set(key, { session, shardId, shards });
            await session.query("BEGIN");
            await session.query("SET LOCAL lock_timeout = '500ms'");
            await session.query("SET LOCAL citus.enable_manual_changes_to_shards = on");
            await session.query(`LOCK TABLE ${shards.map(({ name }) => name).join(", ")} IN ACCESS SHARE MODE`);
        } catch {
            // gone already, or somebody changes it: then there is nothing to compare with
            this.copies.delete(key);
            await this.nodes.release(session);
        }
    }

    /**
     * Compares what just moved with its old copy, and lets that go. When rows are missing, the old copy is kept under a
     * name of its own.
     * @param host of the node that serves now
     * @param now the shards that serve instead of the old ones, when that is not shards of the same names
     * @param missing ends what goes on and says so
     * @returns how many tables were counted
     */
    async compare(
        key: string,
        host: string | undefined,
        missing: () => Promise<string>,
        now?: readonly CopiedShard[],
    ): Promise<number> {
        const held = this.copies.get(key);
        try {
            const to = host === undefined ? undefined : await this.nodes.open(host);
            if (!held || !to) return 0;
            const from = held.session;
            let counted = 0;
            for (const { table, name } of held.shards) {
                const into = now ? now.filter((shard) => shard.table === table).map((shard) => shard.name) : [name];
                const result = await compareCopy(from, to, name, into).catch((error: unknown) => {
                    // the node went away: not counted, and not said to be
                    if (error instanceof DatabaseError) return "not counted" as const;
                    throw error;
                });
                if (result === "same") counted++;
                if (result === "same" || result === "not counted") continue;
                const kept = await keepCopy(from, name, held.shardId);
                throw new Error(
                    `Rows are missing after a move: ${result.missing}.\n` +
                        `${await missing()}, and the old copy is kept as table ${kept} on ${from.node}. Compare the two before you do anything else.`,
                );
            }
            return counted;
        } finally {
            await this.release(key);
        }
    }

    async release(key: string): Promise<void> {
        const held = this.copies.get(key);
        this.copies.delete(key);
        if (held) await this.nodes.release(held.session);
    }

    async releaseAll(): Promise<void> {
        for (const key of [...this.copies.keys()]) await this.release(key);
    }
}

/** Renames a table whose cleanup record names it, so that nothing drops it and its worker can't leave with it. */
async function keepCopy(source: Session, name: string, shardId: string): Promise<string> {
    const kept = `citus_as_code_kept_${shardId}_${Date.now().toString(36)}`;
    await source.query("SET LOCAL citus.enable_manual_changes_to_shards = on");
    await source.query("SET LOCAL lock_timeout = '30s'");
    await source.query(`ALTER TABLE ${name} RENAME TO ${kept}`);
    await source.query("COMMIT");
    return kept;
}
