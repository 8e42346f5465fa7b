/** What is left to do when every node of a restored cluster runs, and what must be true then. Plain SQL. */

import type { Session } from "../reach/session.ts";
import type { PointTable, RestorePoint } from "../restore/points.ts";
import { pause } from "../util/pause.ts";

/** Transactions that were between their two phases at the point. */
export interface Resolved {
    /** How many Citus' own recovery committed or rolled back. */
    readonly resolved: number;
    /** Prepared by the user's own PREPARE TRANSACTION; only the user knows how they must end. */
    readonly own: readonly string[];
}

const PATIENCE = 30_000;

/**
 * Ends every transaction that was prepared at the point, by the commit records of the node that began it. Each node resolves
 * its own, so it is run on every node.
 * @throws Error naming what is left
 */
export async function resolvePrepared(sessions: readonly Session[]): Promise<Resolved> {
    let resolved = 0;
    for (const began = Date.now(); ; await pause(500)) {
        for (const session of sessions) {
            const [row] = await session.query<{ n: number }>("SELECT recover_prepared_transactions() AS n");
            resolved += row?.n ?? 0;
        }
        const left = await Promise.all(
            sessions.map(async (session) => {
                const rows = await session.query<{ gid: string }>("SELECT gid FROM pg_prepared_xacts ORDER BY 1");
                return rows.map(({ gid }) => ({ node: session.node, gid }));
            }),
        ).then((lists) => lists.flat());
        const citus = left.filter(({ gid }) => /^citus_\d+_\d+_\d+_\d+$/.test(gid));
        if (citus.length === 0) {
            return { resolved, own: left.map(({ node, gid }) => `${node}: ${gid}`) };
        }
        if (Date.now() - began > PATIENCE) {
            throw new Error(
                `prepared transactions of Citus are still open: ${citus.map(({ node, gid }) => `${gid} on ${node}`).join(", ")}.\n` +
                    "They hold locks. Nothing else was changed. The next pulumi up tries to end them again.",
            );
        }
    }
}

/**
 * The nodes that were restored, the coordinator first: a worker that the point did not have knows no cluster before it joins.
 * @param sessions the coordinator's first
 */
export async function restoredOnes(sessions: readonly Session[]): Promise<Session[]> {
    const known = await Promise.all(
        sessions.map(async (session) => {
            const [row] = await session.query<{ n: number }>("SELECT count(*)::int AS n FROM pg_dist_node");
            return row?.n ?? 0;
        }),
    );
    return sessions.filter((_session, i) => i === 0 || known[i] !== 0);
}

/** Nodes whose node table differs from the coordinator's; empty when all agree. */
export async function differingMetadata(sessions: readonly Session[]): Promise<string[]> {
    const prints = await Promise.all(
        sessions.map(async (session) => {
            const [row] = await session.query<{ print: string }>(
                `SELECT md5(string_agg(concat_ws('|', nodeid, groupid, nodename, nodeport, noderole, isactive, shouldhaveshards), ',' ORDER BY nodeid))
                     || (SELECT md5(coalesce(string_agg(concat_ws('|', logicalrelid::regclass::text, partmethod, colocationid, repmodel), ',' ORDER BY logicalrelid::regclass::text), '')) FROM pg_dist_partition)
                     || (SELECT md5(coalesce(string_agg(concat_ws('|', shardid, groupid), ',' ORDER BY shardid, groupid), '')) FROM pg_dist_placement) AS print
                   FROM pg_dist_node`,
            );
            return row?.print;
        }),
    );
    return sessions.filter((_session, i) => prints[i] !== prints[0]).map((session) => session.node);
}

/** Pairs of nodes that can't reach each other. */
export async function unreachablePairs(coordinator: Session): Promise<string[]> {
    const rows = await coordinator.query<{ from: string; to: string }>(
        `SELECT from_nodename AS from, to_nodename AS to FROM citus_check_cluster_node_health() WHERE result IS NOT TRUE`,
    );
    return rows.map(({ from, to }) => `${from} can't reach ${to}`);
}

/** What the manifest says and the cluster does not have. Row numbers are the planner's estimates, so only their absence counts. */
export async function differencesFrom(point: RestorePoint, coordinator: Session): Promise<string[]> {
    const tables = await coordinator.query<PointTable>(
        `SELECT format('%I.%I', n.nspname, c.relname) AS name, t.partmethod AS method, t.repmodel = 't' AND t.partmethod = 'n' AS replicated,
                (SELECT count(*)::int FROM pg_dist_shard s WHERE s.logicalrelid = t.logicalrelid) AS shards, NULL AS rows
           FROM pg_dist_partition t JOIN pg_class c ON c.oid = t.logicalrelid JOIN pg_namespace n ON n.oid = c.relnamespace`,
    );
    const placements = await coordinator.query<{ groupId: number; n: number }>(
        `SELECT groupid AS "groupId", count(*)::int AS n FROM pg_dist_placement GROUP BY 1`,
    );
    const why: string[] = [];
    for (const wanted of point.tables) {
        const found = tables.find((table) => table.name === wanted.name);
        if (!found) why.push(`${wanted.name} is missing`);
        else if (found.shards !== wanted.shards)
            why.push(`${wanted.name} has ${found.shards} shards, the manifest says ${wanted.shards}`);
    }
    for (const node of point.nodes) {
        const found = placements.find((row) => row.groupId === node.groupId)?.n ?? 0;
        if (node.placements !== null && found !== node.placements)
            why.push(`group ${node.groupId} has ${found} placements, the manifest says ${node.placements}`);
    }
    return why;
}

export interface TableReads {
    /** Tables that can't be read, with the database's words. */
    readonly unreadable: readonly string[];
    /** Empty although the planner's statistics had rows in them: deleted rows count until the next vacuum. */
    readonly empty: readonly string[];
}

/** Reads a row of each shard of each table through the coordinator. */
export async function readTables(point: RestorePoint, coordinator: Session): Promise<TableReads> {
    const unreadable: string[] = [];
    const empty: string[] = [];
    for (const table of point.tables) {
        const none = await coordinator
            // asked of every shard
            .query(`SELECT 1 FROM ${table.name} LIMIT 1`)
            .then((rows) => rows.length === 0)
            .catch((error: Error) => error);
        if (none instanceof Error) unreadable.push(`${table.name} can't be read: ${none.message}`);
        else if (none && Number(table.rows ?? 0) > 0)
            empty.push(`${table.name} is empty, the manifest has about ${table.rows} rows`);
    }
    return { unreadable, empty };
}

/** Citus' own repairs, which wait while a cluster is being restored. */
const PAUSED = [
    "citus.recover_2pc_interval",
    "citus.defer_shard_delete_interval",
    "citus.background_task_queue_interval",
    "citus.distributed_deadlock_detection_factor",
];

/** Switches Citus' repairs on again on one node. */
export async function resumeRepairs(session: Session): Promise<void> {
    for (const name of PAUSED) await session.query(`ALTER SYSTEM RESET ${name}`);
    await session.query("SELECT pg_reload_conf()");
}
