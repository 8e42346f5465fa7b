/**
 * Putting shards where they belong: ONE rebalance for all joins and leaves, followed to its end.
 * Everything here runs as the superuser: as a table's owner bound by FORCE ROW LEVEL SECURITY, Citus moves only the
 * rows that its policies show and drops the rest.
 */

import type { Session } from "../../reach/session.ts";
import { countPlacements, movable, type NodeRow, readNodes } from "../catalog.ts";
import { finishCleanup, removeWorker } from "../members/leave.ts";
import { takeRunLock } from "../runLock.ts";
import { followJob, JobError } from "./job.ts";
import { describeProgress, type MovingTable } from "./jobStep.ts";
import { runningJob, stopJob } from "./jobTasks.ts";
import { holdersOfJob } from "./jobWaiters.ts";
import { Held } from "./oldCopies.ts";
import { type PlaceChecks, refuseUnplaceable } from "./refuse.ts";
import { startRebalance } from "./startRebalance.ts";
import { setStrategy } from "./strategy.ts";
import { label, same, shouldHoldShards, type Wanted } from "./wanted.ts";

export interface PlaceOptions extends PlaceChecks {
    /** A connection to a node for its user alone; closed by that user. */
    readonly openFresh: (host: string) => Promise<Session | undefined>;
    /** Whether a node answers now, on a connection of its own; true when there is no way to ask it. */
    readonly probe: (host: string) => Promise<boolean>;
    readonly progress: (text: string) => void;
    readonly alive: () => void;
    /** @default 600000 ms without any change */
    readonly stuckAfter?: number;
    readonly maxRetries?: number;
}

export interface Placed {
    readonly moved: number;
    readonly bytes: number;
    /** Time in which they were copied; undefined when something hindered it. */
    readonly copying: number | undefined;
    readonly seconds: number;
    readonly counted: number;
}

/** Sets which nodes take shards. @param marked those that are told to take none; added to as they are told */
async function markNodes(
    session: Session,
    nodes: readonly NodeRow[],
    wanted: Wanted,
    marked: NodeRow[],
): Promise<void> {
    for (const node of nodes) {
        const should = shouldHoldShards(node, wanted);
        if (node.holdsShards === should) continue;
        await session.query("SELECT citus_set_node_property($1, $2, 'shouldhaveshards', $3)", [
            node.host,
            node.port,
            should,
        ]);
        if (!should) marked.push(node);
    }
}

/** Removes emptied workers that no resource of their own removes. */
async function removeEmptied(session: Session, emptied: readonly NodeRow[], options: PlaceOptions): Promise<void> {
    for (const node of emptied) {
        if (node.groupId === 0 || options.removedElsewhere.some((w) => same(w, node))) continue;
        const target = await options.open(node.host);
        // without a way to ask it, it stays registered and empty until its own resource removes it
        if (!target) continue;
        await removeWorker(session, { name: label(node), host: node.host, port: node.port }, target, (database) =>
            options.openDatabase(node.host, database),
        );
    }
}

/** Jobs that are followed one after the other, each moved shard compared with its old copy. */
function follower(session: Session, coordinatorHost: string | undefined, options: PlaceOptions) {
    const sum = { moved: 0, bytes: 0, counted: 0, copying: 0 as number | undefined };
    const watcher = besideConnection(async () =>
        coordinatorHost === undefined ? undefined : options.openFresh(coordinatorHost),
    );
    const held = new Held({
        hold: options.openFresh,
        release: (copy) => copy.close().catch(() => undefined),
        open: options.open,
    });
    const follow = async (jobId: string) => {
        const nodes = await readNodes(session);
        const { done, bytes, copying } = await followJob(session, jobId, {
            ...options,
            nodes,
            groups: await shardsByGroup(session),
            progress: (p) => options.progress(describeProgress(p)),
            started: async ({ taskId, shardId, sourceNodeId }) => {
                const source = nodes.find(({ nodeId }) => nodeId === sourceNodeId);
                if (shardId !== null && source) await held.hold(session, taskId, shardId, source.host);
            },
            moved: async ({ taskId, targetNodeId }) => {
                const target = nodes.find(({ nodeId }) => nodeId === targetNodeId);
                sum.counted += await held.compare(session, taskId, target?.host, async () => {
                    await stopJob(session, jobId).catch(() => undefined);
                    return "The rebalance was stopped";
                });
            },
            silent: () => silentNodes(nodes, options),
            holders: (waiters) => watcher.ask((other) => holdersOfJob(other, waiters, nodes)),
        }).catch(async (error) => {
            await stopJob(session, jobId).catch(() => undefined);
            throw error;
        });
        await held.releaseAll();
        sum.moved += done;
        sum.bytes += bytes;
        sum.copying = sum.copying === undefined || copying === undefined ? undefined : sum.copying + copying;
    };
    return { sum, follow, releaseAll: () => held.releaseAll(), close: () => watcher.close() };
}

/**
 * Moves shards until no leaving node holds one and the rest is balanced. Safe to repeat, and resumes a rebalance that is
 * already running.
 * @throws Error with the cause; leaving workers take shards again then, and finished moves stay
 */
export async function rebalanceTo(session: Session, wanted: Wanted, options: PlaceOptions): Promise<Placed> {
    const began = Date.now();
    await takeRunLock(session, "placing", "is placing shards", 120, options);
    const { found, leaving } = await refuseUnplaceable(session, wanted, options);
    const strategy = await setStrategy(session, wanted);
    const marked: NodeRow[] = [];
    const jobs = follower(session, found.nodes.find(({ groupId }) => groupId === 0)?.host, options);
    try {
        await markNodes(session, found.nodes, wanted, marked);
        const running = await runningJob(session);
        if (running) {
            options.progress("a rebalance is already running; following it");
            await jobs.follow(running);
        }
        // sizes change while shards move and clients write, so one round may leave a little to do
        for (let round = 0; round < ROUNDS; round++) {
            const jobId = await startRebalance(session, wanted, strategy, leaving.length > 0);
            if (jobId === undefined) break;
            await jobs.follow(jobId);
        }
        for (const node of leaving) await proveEmpty(session, node);
        await finishCleanup(
            session,
            leaving.map(({ groupId }) => groupId),
            {
                patience: 120_000,
                waiting: (left) => options.progress(`dropping ${left} on ${leaving.map(label).join(", ")}`),
            },
        );
    } catch (error) {
        await jobs.releaseAll();
        throw await giveUp(session, error, marked, leaving);
    } finally {
        await jobs.close();
    }
    await removeEmptied(session, leaving, options);
    return { ...jobs.sum, seconds: (Date.now() - began) / 1000 };
}

/** How many rebalances follow each other at most. */
const ROUNDS = 5;

/** Each shard id with the size and first table of the group it moves with. */
async function shardsByGroup(session: Session): Promise<Map<string, MovingTable>> {
    const rows = await session.query<{ shardId: string; tables: string[]; bytes: number; ids: string[] }>(
        `SELECT array_agg(s.shardid::text) AS ids, array_agg(s.logicalrelid::regclass::text ORDER BY s.shardid) AS tables,
                sum(coalesce(z.size, 0))::float8 AS bytes
           FROM pg_dist_shard s JOIN pg_dist_partition t USING (logicalrelid) JOIN pg_dist_placement p USING (shardid)
           LEFT JOIN (SELECT shard_id, max(size) AS size FROM citus_shard_sizes() GROUP BY 1) z ON z.shard_id = s.shardid
          GROUP BY t.colocationid, p.groupid, s.shardminvalue`,
    );
    return new Map(
        rows.flatMap((row) => row.ids.map((id) => [id, { table: row.tables[0] ?? "", bytes: row.bytes }] as const)),
    );
}

/** Nodes that do not answer a question within 3 s. */
async function silentNodes(nodes: readonly NodeRow[], options: PlaceOptions): Promise<string[]> {
    const answers = await Promise.all(
        nodes.map(async (node) => {
            const late = new Promise<false>((resolve) => setTimeout(() => resolve(false), 3000).unref());
            const asked = options.probe(node.host).catch(() => false);
            return Promise.race([asked, late]);
        }),
    );
    return nodes.filter((_, i) => answers[i] === false).map(label);
}

async function proveEmpty(session: Session, node: NodeRow): Promise<void> {
    const left = await countPlacements(session, node.groupId);
    if (left === 0) return;
    const rows = await session.query<{ table: string; n: number }>(
        `SELECT s.logicalrelid::regclass::text AS table, count(*)::int AS n FROM pg_dist_placement p JOIN pg_dist_shard s USING (shardid)
           JOIN pg_dist_partition t USING (logicalrelid)
          WHERE p.groupid = $1 AND ${movable("t")} GROUP BY 1 ORDER BY 1 LIMIT 10`,
        [node.groupId],
    );
    throw new Error(
        `${label(node)} can't leave: ${left} shards have nowhere to go.\n` +
            rows.map((row) => `  ${row.table} (${row.n} shards)`).join("\n") +
            "\nThe rebalance strategy allows them on no other node, or a node has no room. Make room, or keep the worker.",
    );
}

/** A connection beside the one that is busy, opened when it is first needed and again when it failed. */
function besideConnection(open: () => Promise<Session | undefined>) {
    let session: Session | undefined;
    const close = async () => {
        const old = session;
        session = undefined;
        await old?.close().catch(() => undefined);
    };
    return {
        close,
        ask: async <T>(question: (session: Session) => Promise<T[]>): Promise<T[]> => {
            session ??= await open();
            if (!session) return [];
            return question(session).catch(async (error: unknown) => {
                await close();
                throw error;
            });
        },
    };
}

/**
 * Citus leaves a node marked when a drain fails; a marked node would be emptied by the next rebalance of anybody.
 * @param marked by this run; a run that was killed before may have marked others of those that leave
 */
async function giveUp(
    session: Session,
    error: unknown,
    marked: readonly NodeRow[],
    leaving: readonly NodeRow[],
): Promise<Error> {
    const failed: string[] = [];
    const again = [...marked, ...leaving.filter((node) => !marked.some((other) => same(other, node)))];
    for (const node of again) {
        await session
            .query("SELECT citus_set_node_property($1, $2, 'shouldhaveshards', true)", [node.host, node.port])
            .catch(() => failed.push(label(node)));
    }
    const e = error instanceof Error ? error : new Error(String(error));
    const count =
        e instanceof JobError ? `${e.done} of ${e.total} shard groups were moved and stay where they are. ` : "";
    const names = again.map(label).join(", ");
    const marks =
        again.length === 0
            ? ""
            : failed.length > 0
              ? `${failed.join(", ")} could not be set to take shards again: run SELECT citus_set_node_property(<host>, 5432, 'shouldhaveshards', true). `
              : `${names} ${again.length === 1 ? "takes" : "take"} shards again. `;
    const next =
        leaving.length > 0
            ? "Remove the cause, then run pulumi up again, or put citus:workers back."
            : "Remove the cause, then run pulumi up again.";
    return new Error(`${e.message}\n${count}${marks}${next}`, { cause: e });
}
