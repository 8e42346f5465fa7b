/**
 * Putting shards where they belong: ONE rebalance for all joins and leaves, followed to its end.
 * Everything here runs as the superuser: as a table's owner bound by FORCE ROW LEVEL SECURITY, Citus moves only the
 * rows that its policies show and drops the rest.
 */

import { describeBytes } from "../bytes.ts";
import { pause } from "../pause.ts";
import { listed } from "../tenants/listed.ts";
import { nodeOf } from "../topology.ts";
import {
    type Blocker,
    blocking,
    countPlacements,
    explainBlockers,
    movable,
    type NodeRow,
    readBlockers,
    readNodes,
    readShardGroups,
    type ShardGroup,
} from "./catalog.ts";
import { whileTablesAreDropped } from "./dropped.ts";
import { Held } from "./held.ts";
import { describeProgress, followJob, holdersOfJob, JobError, type MovingTable, runningJob, stopJob } from "./job.ts";
import { explainOnlyCopies, finishCleanup, readElsewhere, readGoneWithVolume, removeWorker } from "./leave.ts";
import { explainReadOnly, type Hindrance, hindrances, readBound, readLimits } from "./limits.ts";
import { explainPinned, hasStrategy, honourPins, type PinnedTenant, pinnedStrategy, readPinned } from "./pinned.ts";
import { type PlannedMove, planMoves, type Strategy, summarizeMoves } from "./plan.ts";
import { takeRunLock } from "./runLock.ts";
import type { Session } from "./session.ts";

export interface WantedWorker {
    readonly name: string;
    readonly host: string;
    readonly port: number;
}

export interface Wanted {
    readonly workers: readonly WantedWorker[];
    /** Whether the coordinator should hold shards of distributed tables. */
    readonly coordinatorShards: boolean;
    /** `false` moves only what a leaving worker holds. */
    readonly rebalance: boolean;
    readonly strategy: Strategy;
    readonly transferMode: string;
    readonly threshold?: number;
}

export interface Assessment {
    readonly nodes: readonly NodeRow[];
    readonly missing: readonly WantedWorker[];
    /** Registered workers that are not wanted. */
    readonly leaving: readonly NodeRow[];
    readonly moves: readonly PlannedMove[];
    readonly blockers: readonly Blocker[];
    /** Those of the moves during which writes to the shard group wait. */
    readonly waits: readonly PlannedMove[];
    /** What limits of the tables' owners do to the moves. */
    readonly limits: Hindrance;
    /** Names of nodes on which the superuser is bound by what the database sets for its clients. */
    readonly bound: readonly string[];
    /** Nodes whose shouldhaveshards is not what it should be. */
    readonly misflagged: readonly NodeRow[];
    /** Tenants that are pinned to a node that should hold no shards. */
    readonly stranded: readonly { readonly node: string; readonly tenants: readonly PinnedTenant[] }[];
    readonly running: string | undefined;
    readonly name: (groupId: number) => string;
}

const same = (a: { host: string; port: number }, b: { host: string; port: number }) =>
    a.host === b.host && a.port === b.port;

/** Node names are the first label of their hosts. */
const label = (node: { host: string }) => nodeOf(node.host);

function shouldHoldShards(node: NodeRow, wanted: Wanted): boolean {
    return node.groupId === 0 ? wanted.coordinatorShards : wanted.workers.some((w) => same(w, node));
}

/**
 * What differs between the cluster and what is wanted. Changes nothing. Workers that are not registered yet count as
 * if they were, so that a preview can tell what will move to them.
 */
export async function assess(session: Session, wanted: Wanted): Promise<Assessment> {
    const nodes = await readNodes(session);
    const groups = await readShardGroups(session, true);
    const missing = wanted.workers.filter((w) => !nodes.some((n) => same(w, n)));
    const leaving = nodes.filter((n) => n.groupId !== 0 && !wanted.workers.some((w) => same(w, n)));
    // negative numbers stand for nodes that are still to come
    const future = new Map(missing.map((w, i) => [-1 - i, w]));
    const holding = [...nodes.filter((n) => shouldHoldShards(n, wanted)).map((n) => n.groupId), ...future.keys()];
    const pinned = await readPinned(session);
    const groupOf = (node: string) =>
        [...future].find(([, w]) => label(w) === node)?.[0] ?? nodes.find((n) => label(n) === node)?.groupId;
    const moves = await findMoves(session, wanted, {
        nodes,
        groups,
        holding,
        missing: missing.length,
        pins: new Map(
            pinned.flatMap(({ shardId, node }) => {
                const groupId = groupOf(node);
                return shardId === null || groupId === undefined ? [] : [[shardId, groupId] as const];
            }),
        ),
    });
    const stuck = (await readBlockers(session)).filter((b) =>
        b.reference ? missing.length > 0 : moves.some((move) => move.tables.includes(b.table)),
    );
    const blocks = wanted.transferMode === "block_writes";
    const name = (groupId: number) => {
        const node = future.get(groupId) ?? nodes.find((n) => n.groupId === groupId);
        return node ? label(node) : `group ${groupId}`;
    };
    return {
        nodes,
        missing,
        leaving,
        moves,
        blockers: blocking(stuck, wanted.transferMode),
        waits: blocks ? moves.filter((move) => stuck.some((b) => move.tables.includes(b.table))) : [],
        limits:
            moves.length === 0
                ? { refused: [], doubtful: [] }
                : hindrances(await readLimits(session), Math.max(...moves.map(({ bytes }) => bytes))),
        bound: await readBound(session),
        misflagged: nodes.filter((n) => n.holdsShards !== shouldHoldShards(n, wanted)),
        stranded: nodes
            .filter((n) => !shouldHoldShards(n, wanted))
            .map((n) => ({ node: label(n), tenants: pinned.filter(({ node }) => node === label(n)) }))
            .filter(({ tenants }) => tenants.length > 0),
        running: await runningJob(session),
        name,
    };
}

async function findMoves(
    session: Session,
    wanted: Wanted,
    found: {
        nodes: readonly NodeRow[];
        groups: readonly ShardGroup[];
        holding: readonly number[];
        missing: number;
        /** Where shard groups are pinned, by their first shards. */
        pins: ReadonlyMap<string, number>;
    },
): Promise<PlannedMove[]> {
    const settled = found.missing === 0 && found.nodes.every((n) => n.holdsShards === shouldHoldShards(n, wanted));
    const pinned = found.pins.size > 0;
    // the copy that honours pins is made when shards are placed
    const known = !pinned || (await hasStrategy(session, pinnedStrategy(strategyName(wanted))));
    if (!settled || !wanted.rebalance || !known) {
        return planMoves(found.groups, {
            strategy: wanted.strategy,
            wanted: found.holding,
            drainOnly: !wanted.rebalance,
            pins: found.pins,
            ...(wanted.threshold === undefined ? {} : { threshold: wanted.threshold }),
        });
    }
    const rows = await whileTablesAreDropped(() =>
        session.query<{ shardId: string; from: string; to: string }>(
            `SELECT shardid::text AS "shardId", sourcename AS from, targetname AS to FROM ${rebalancePlan(wanted, pinned)}`,
        ),
    );
    const byHost = new Map(found.nodes.map((n) => [n.host, n.groupId]));
    const planned = new Map(rows.map((row) => [row.shardId, row]));
    // Citus lists each shard, we count the groups that move as a whole; a group's name is its first shard
    return found.groups.flatMap((g) => {
        const row = planned.get(g.shardId);
        const to = row && byHost.get(row.to);
        return to === undefined ? [] : [{ shardId: g.shardId, from: g.groupId, to, bytes: g.bytes, tables: g.tables }];
    });
}

/** The strategy's name in pg_dist_rebalance_strategy: our own copy where a threshold is set. */
export function strategyName(wanted: Pick<Wanted, "strategy" | "threshold">): string {
    return wanted.threshold === undefined || wanted.strategy !== "by_disk_size"
        ? wanted.strategy
        : "by_disk_size_configured";
}

function rebalancePlan(wanted: Wanted, pinned: boolean): string {
    const strategy = pinned ? pinnedStrategy(strategyName(wanted)) : wanted.strategy;
    const threshold = wanted.threshold === undefined ? "" : `, threshold := ${Number(wanted.threshold)}`;
    return `get_rebalance_table_shards_plan(rebalance_strategy := '${strategy}'${threshold})`;
}

/** Makes the wanted strategy, or its copy that honours pins, the default: Citus' own functions agree with the configuration. */
async function setStrategy(session: Session, wanted: Wanted): Promise<string> {
    const name = strategyName(wanted);
    const [row] = await session.query<{ name: string; threshold: number; isDefault: boolean }>(
        `SELECT name, default_threshold AS threshold, default_strategy AS "isDefault" FROM pg_dist_rebalance_strategy WHERE name = $1`,
        [name],
    );
    if (name !== wanted.strategy && row?.threshold !== wanted.threshold) {
        if (row)
            await session.query("DELETE FROM pg_dist_rebalance_strategy WHERE name = $1 AND NOT default_strategy", [
                name,
            ]);
        if (row?.isDefault) {
            await session.query(
                "UPDATE pg_dist_rebalance_strategy SET default_threshold = $2, minimum_threshold = least(minimum_threshold, $2) WHERE name = $1",
                [name, wanted.threshold],
            );
        } else {
            await session.query(
                `SELECT citus_add_rebalance_strategy($1, shard_cost_function, node_capacity_function, shard_allowed_on_node_function,
                        $2, least(minimum_threshold, $2), improvement_threshold)
                   FROM pg_dist_rebalance_strategy WHERE name = 'by_disk_size'`,
                [name, wanted.threshold],
            );
        }
    }
    return honourPins(session, name);
}

/** Whether anything has to be done at all. */
export function isSettled(assessment: Assessment): boolean {
    return (
        assessment.missing.length === 0 &&
        assessment.leaving.length === 0 &&
        assessment.moves.length === 0 &&
        assessment.misflagged.length === 0 &&
        assessment.bound.length === 0 &&
        assessment.running === undefined
    );
}

/** Why the moves that were found can't be made; undefined when they can. Pure. */
export function obstacle(found: Pick<Assessment, "blockers" | "limits" | "moves" | "missing">): string | undefined {
    if (found.blockers.length > 0 && (found.moves.length > 0 || found.missing.length > 0))
        return explainBlockers(found.blockers);
    return found.limits.refused.length > 0 ? explainReadOnly(found.limits) : undefined;
}

/**
 * Whether somebody asked for the moves: the configuration changed, or nodes join or leave. Otherwise data has grown
 * unevenly, and what can't be moved may stay. Pure.
 * @param before what was wanted when shards were placed last; undefined for never
 */
export function isAsked(
    before: Wanted | undefined,
    wanted: Wanted,
    found: Pick<Assessment, "missing" | "leaving">,
): boolean {
    const terms = ({ workers, coordinatorShards, rebalance, strategy, transferMode, threshold }: Wanted) =>
        JSON.stringify([
            workers.map(({ host, port }) => `${host}:${port}`).sort(),
            [coordinatorShards, rebalance, strategy, transferMode, threshold ?? null].map(String),
        ]);
    return (
        before === undefined || terms(before) !== terms(wanted) || found.missing.length > 0 || found.leaving.length > 0
    );
}

/** The warning for moves that nobody asked for and that can't be made. */
export const explainDrift = (why: string): string =>
    `Shards would move, because data has grown unevenly, and they can't. All else is applied; the shards stay where they are.
${why}`;

/** What is asked before anything moves. */
export interface PlaceChecks {
    /** A connection to a node itself, for data that only it has and for counting; undefined when there is none. */
    readonly open: (host: string) => Promise<Session | undefined>;
    /** A connection to another database of a node. */
    readonly openDatabase: (host: string, database: string) => Promise<Session>;
    /** Workers that a resource of their own removes afterwards; others are removed here. */
    readonly removedElsewhere: readonly WantedWorker[];
    /** Names of databases that are moved off leaving nodes before shards are. @default none */
    readonly moving?: readonly string[];
}

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

/**
 * Moves shards until no leaving node holds one and the rest is balanced. Safe to repeat, and resumes a rebalance that is
 * already running.
 * @throws Error with the cause; leaving workers take shards again then, and finished moves stay
 */
export async function place(session: Session, wanted: Wanted, options: PlaceOptions): Promise<Placed> {
    const began = Date.now();
    await takeRunLock(session, "placing", "is placing shards", 120, options);
    let moved = 0;
    let bytes = 0;
    let counted = 0;
    let copying: number | undefined = 0;

    const { found: first, leaving: leavingNodes } = await refuseUnplaceable(session, wanted, options);
    const strategy = await setStrategy(session, wanted);
    const marked: NodeRow[] = [];
    const coordinatorHost = first.nodes.find((node) => node.groupId === 0)?.host;
    const watcher = besideConnection(async () =>
        coordinatorHost === undefined ? undefined : options.openFresh(coordinatorHost),
    );
    const held = new Held({
        hold: options.openFresh,
        release: (copy) => copy.close().catch(() => undefined),
        open: options.open,
    });
    try {
        for (const node of first.nodes) {
            const should = shouldHoldShards(node, wanted);
            if (node.holdsShards === should) continue;
            await session.query("SELECT citus_set_node_property($1, $2, 'shouldhaveshards', $3)", [
                node.host,
                node.port,
                should,
            ]);
            if (!should) marked.push(node);
        }
        const follow = async (jobId: string) => {
            const nodes = await readNodes(session);
            const groups = await shardsByGroup(session);
            const result = await followJob(session, jobId, {
                nodes,
                groups,
                progress: (p) => options.progress(describeProgress(p)),
                started: async (task) => {
                    const source = nodes.find((n) => n.nodeId === task.sourceNodeId);
                    if (task.shardId !== null && source)
                        await held.hold(session, task.taskId, task.shardId, source.host);
                },
                moved: async (task) => {
                    const target = nodes.find((n) => n.nodeId === task.targetNodeId);
                    counted += await held.compare(session, task.taskId, target?.host, async () => {
                        await stopJob(session, jobId).catch(() => undefined);
                        return "The rebalance was stopped";
                    });
                },
                silent: () => silentNodes(nodes, options),
                holders: (waiters) => watcher.ask((other) => holdersOfJob(other, waiters, nodes)),
                alive: options.alive,
                ...(options.stuckAfter === undefined ? {} : { stuckAfter: options.stuckAfter }),
                ...(options.maxRetries === undefined ? {} : { maxRetries: options.maxRetries }),
            }).catch(async (error) => {
                await stopJob(session, jobId).catch(() => undefined);
                throw error;
            });
            await held.releaseAll();
            moved += result.done;
            bytes += result.bytes;
            copying = copying === undefined || result.copying === undefined ? undefined : copying + result.copying;
        };
        const running = await runningJob(session);
        if (running) {
            options.progress("a rebalance is already running; following it");
            await follow(running);
        }
        // sizes change while shards move and clients write, so one round may leave a little to do
        for (let round = 0; round < 5; round++) {
            const jobId = await startRebalance(session, wanted, strategy, leavingNodes.length > 0);
            if (jobId === undefined) break;
            await follow(jobId);
        }
        for (const node of leavingNodes) await proveEmpty(session, node);
        await finishCleanup(
            session,
            leavingNodes.map((n) => n.groupId),
            {
                patience: 120_000,
                waiting: (left) => options.progress(`dropping ${left} on ${leavingNodes.map(label).join(", ")}`),
            },
        );
    } catch (error) {
        await held.releaseAll();
        throw await giveUp(session, error, marked, leavingNodes);
    } finally {
        await watcher.close();
    }
    for (const node of leavingNodes) {
        if (node.groupId !== 0 && !options.removedElsewhere.some((w) => same(w, node))) {
            const target = await options.open(node.host);
            // without a way to ask it, it stays registered and empty until its own resource removes it
            if (!target) continue;
            await removeWorker(session, { name: label(node), host: node.host, port: node.port }, target, (database) =>
                options.openDatabase(node.host, database),
            );
        }
    }
    return { moved, bytes, copying, seconds: (Date.now() - began) / 1000, counted };
}

/** Everything that can be known to fail is refused before a node is marked. */
/**
 * Everything that keeps shards from being placed and that can be seen before anything moves. Changes nothing.
 * @throws Error naming it
 */
export async function refuseUnplaceable(
    session: Session,
    wanted: Wanted,
    options: PlaceChecks,
): Promise<{ found: Assessment; leaving: NodeRow[] }> {
    const found = await assess(session, wanted);
    if (found.missing.length > 0) {
        throw new Error(
            `${found.missing.map((w) => w.name).join(", ")} should be registered and is not.\n` +
                "Nothing was moved. Run pulumi up again: it registers what is missing.",
        );
    }
    return { found, leaving: await refuseImpossible(session, wanted, found, options) };
}

async function refuseImpossible(
    session: Session,
    wanted: Wanted,
    found: Assessment,
    options: PlaceChecks,
): Promise<NodeRow[]> {
    const leaving = found.nodes.filter(
        (n) =>
            !shouldHoldShards(n, wanted) && (n.groupId !== 0 || n.holdsShards || found.moves.some((m) => m.from === 0)),
    );
    const holding = found.nodes.filter((n) => shouldHoldShards(n, wanted));
    if (holding.length === 0) {
        throw new Error(
            "No node is left to hold shards.\nNothing was moved. Keep a worker, or let the coordinator hold them: " +
                "pulumi config set --path citus:coordinator.shards true",
        );
    }
    const why = obstacle(found);
    if (why !== undefined) throw new Error(why);
    refuseStranded(found);
    if (found.moves.length > 0 || leaving.length > 0) {
        const unreachable: string[] = [];
        for (const node of found.nodes) {
            const [row] = await session.query<{ ok: boolean }>("SELECT citus_check_connection_to_node($1, $2) AS ok", [
                node.host,
                node.port,
            ]);
            if (!row?.ok) unreachable.push(`${label(node)} (${node.host}:${node.port})`);
        }
        if (unreachable.length > 0) {
            throw new Error(
                `${unreachable.join(", ")} can't be reached from the coordinator, so shards can't be moved.\n` +
                    "Nothing was moved. Start it again (pulumi up --refresh brings back a container or machine that is gone), then run pulumi up.",
            );
        }
    }
    await refuseOnlyCopies(session, leaving, options);
    return leaving;
}

/**
 * What keeps registered workers from leaving, asked of them. Changes nothing.
 * @throws Error naming what only one of them has
 */
export async function refuseOnlyCopies(
    session: Session,
    leaving: readonly NodeRow[],
    options: PlaceChecks,
): Promise<void> {
    for (const node of leaving.filter((n) => n.groupId !== 0)) {
        const target = await options.open(node.host);
        if (!target) {
            // one that was registered by hand is nobody's to ask
            if (!options.removedElsewhere.some((w) => same(w, node))) continue;
            throw new Error(
                `${label(node)} can't leave: it can't be asked what only it has, because it can't be reached from here.\n` +
                    "Nothing was moved. Look at its container or machine, start it if it is stopped, then run pulumi up again.",
            );
        }
        const copies = await readGoneWithVolume(target, await readElsewhere(session, false), (database) =>
            options.openDatabase(node.host, database),
        );
        const only = copies.filter((what) => !options.moving?.some((name) => what === `database ${name}`));
        if (only.length > 0) throw new Error(`${explainOnlyCopies(label(node), only)}\nNothing was moved.`);
    }
}

/** @throws Error naming each tenant that is pinned to a node that should hold no shards */
export function refuseStranded({ stranded, nodes }: Pick<Assessment, "stranded" | "nodes">): void {
    if (stranded.length > 0)
        throw new Error(stranded.map(({ node, tenants }) => explainPinned(node, tenants, nodes)).join("\n\n"));
}

/** Which parameters this Citus' function takes; parallel transfer came with 13.2. */
async function startRebalance(
    session: Session,
    wanted: Wanted,
    strategy: string,
    draining: boolean,
): Promise<string | undefined> {
    if (!wanted.rebalance && !draining) return undefined;
    const [row] = await session.query<{ names: string[] }>(
        "SELECT proargnames AS names FROM pg_proc WHERE proname = 'citus_rebalance_start' AND pronamespace = 'pg_catalog'::regnamespace ORDER BY pronargs DESC LIMIT 1",
    );
    const parallel = ["parallel_transfer_reference_tables", "parallel_transfer_colocated_shards"]
        .filter((name) => row?.names?.includes(name))
        .map((name) => `, ${name} := true`)
        .join("");
    const start = async (mode: string) => {
        const [started] = await session.query<{ jobId: string | null }>(
            `SELECT citus_rebalance_start(rebalance_strategy := $1, drain_only := $2,
                    shard_transfer_mode := $3::citus.shard_transfer_mode${parallel})::text AS "jobId"`,
            [strategy, !wanted.rebalance, mode],
        );
        return started?.jobId ?? undefined;
    };
    const begin = () =>
        wanted.transferMode === "block_writes" ? startMixed(session, start) : start(wanted.transferMode);
    for (const end = Date.now() + LOCKS_GO; ; await pause(1000)) {
        try {
            return await begin();
        } catch (error) {
            // a client's DDL holds it for a moment, and Citus does not wait
            if (!/could not acquire the lock required to/.test((error as Error).message) || Date.now() > end)
                throw error;
        }
    }
}

/** How long locks are waited for that a rebalance needs to begin, in milliseconds. */
const LOCKS_GO = 60_000;

/**
 * One rebalance in which only those shard groups are copied while their writes wait that logical replication can't move.
 * Citus takes one mode for all, and `auto` refuses the whole: so all are begun in the mode that refuses none, and each
 * task is given its own before any runs.
 */
async function startMixed(
    session: Session,
    start: (mode: string) => Promise<string | undefined>,
): Promise<string | undefined> {
    const blockers = await readBlockers(session);
    await session.query("BEGIN");
    try {
        const jobId = await start("force_logical");
        await session.query(
            `UPDATE pg_dist_background_task t SET command = replace(command, quote_literal('force_logical'), quote_literal(
                    CASE WHEN EXISTS (
                           SELECT 1 FROM pg_dist_shard s JOIN pg_dist_partition m USING (logicalrelid)
                             JOIN pg_dist_partition b ON b.logicalrelid = m.logicalrelid OR (b.colocationid = m.colocationid AND b.colocationid <> 0)
                            WHERE b.logicalrelid = ANY ($2::text[]::regclass[])
                              AND s.shardid = substring(t.command FROM '\\(\\s*([0-9]+)')::bigint)
                           OR (t.command ~ 'replicate_reference_tables' AND $3)
                         THEN 'block_writes' ELSE 'auto' END))
              WHERE job_id = $1`,
            [jobId ?? null, blockers.map(({ table }) => table), blockers.some(({ reference }) => reference)],
        );
        await session.query("COMMIT");
        return jobId;
    } catch (error) {
        await session.query("ROLLBACK").catch(() => undefined);
        throw error;
    }
}

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

/** One line for the preview. */
export function describeAssessment(found: Assessment, bytesPerSecond: number | undefined): string {
    if (found.running) return "a rebalance is running; it will be followed to its end";
    const parts: string[] = [];
    if (found.moves.length > 0) {
        const bytes = found.moves.reduce((sum, m) => sum + m.bytes, 0);
        const time =
            bytesPerSecond && bytes > 0
                ? `; about ${Math.max(1, Math.round(bytes / bytesPerSecond))} s at ${describeBytes(bytesPerSecond)}/s`
                : "";
        parts.push(
            `moves ${found.moves.length} shard group${found.moves.length === 1 ? "" : "s"}, ${describeBytes(bytes)}: ${summarizeMoves(found.moves, found.name)}${time}`,
        );
    } else {
        parts.push("no shard has to move");
    }
    if (found.waits.length > 0) parts.push(describeWaits(found.waits, bytesPerSecond));
    if (found.leaving.length > 0) parts.push(`${found.leaving.map(label).join(", ")} will be emptied and removed`);
    if (found.bound.length > 0)
        parts.push(`the superuser is exempted from clients' timeouts on ${found.bound.join(", ")}`);
    return parts.join("; ");
}

/** Which writes will wait, and how long. */
function describeWaits(waits: readonly PlannedMove[], bytesPerSecond: number | undefined): string {
    const sizes = waits.map(({ bytes }) => bytes);
    const most = Math.max(...sizes);
    const lasting = bytesPerSecond
        ? `, up to about ${Math.max(1, Math.ceil(most / bytesPerSecond))} s each`
        : "; how long is not known before a first rebalance was measured";
    const tables = [...new Set(waits.flatMap((move) => move.tables))].sort();
    return (
        `writes to ${waits.length} of these shard group${waits.length === 1 ? "" : "s"} wait while each is copied ` +
        `(${describeBytes(sizes.reduce((sum, bytes) => sum + bytes, 0))}, the largest ${describeBytes(most)}${lasting}): ${listed(tables)}`
    );
}
