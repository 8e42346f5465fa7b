/**
 * Who keeps a statement of ours, or of a move, waiting. Each node is asked for its lock waits; a connection is followed
 * over nodes by its global pid, which Citus gives to all that a client's connection makes it do elsewhere.
 */
import { nodeOf } from "../node/topology.ts";
import { OWN_APPLICATION } from "../reach/ownSession.ts";
import type { Session } from "../reach/session.ts";
import { literal } from "../sql/quote.ts";

/** One process that waits for a lock. */
export interface LockWait {
    readonly pid: number;
    /** Global pid that Citus handed on to it; null for a process that began here. */
    readonly globalPid: string | null;
    /** A sender or receiver of a shard that moves or is split: no global pid, and nobody's but the move's. */
    readonly ofMove: boolean;
    readonly seconds: number;
    /** Who has what it wants, or wants it before; a prepared transaction is none of them. */
    readonly by: readonly { readonly pid: number; readonly globalPid: string | null }[];
    readonly prepared: readonly PreparedHolder[];
}

export interface PreparedHolder {
    readonly gid: string;
    readonly role: string;
    readonly database: string;
    readonly since: string;
    readonly holds: string;
}

/** What a node answered. */
export interface NodeWaits {
    readonly nodeId: number;
    readonly host: string;
    readonly waits: readonly LockWait[];
}

/** What is at the end of a chain of waits. */
export type Root =
    | { readonly kind: "process"; readonly nodeId: number; readonly pid: number }
    | { readonly kind: "prepared"; readonly nodeId: number; readonly holder: PreparedHolder };

interface ActivityRow {
    readonly pid: number;
    readonly role: string;
    readonly application: string;
    readonly backend: string;
    readonly state: string;
    readonly since: string;
    readonly holds: string;
}

/** Somebody who keeps us waiting, in the words of pg_stat_activity and pg_prepared_xacts. */
export type Holder =
    | ({ readonly kind: "process"; readonly node: string; readonly globalPid: string } & ActivityRow)
    | ({ readonly kind: "prepared"; readonly node: string } & PreparedHolder);

/** Citus makes a global pid of a node's id and a process id. */
const PER_NODE = 10_000_000_000;
export const globalPidOf = (nodeId: number, pid: number): string => String(nodeId * PER_NODE + pid);
const processOf = (globalPid: string): Root => ({
    kind: "process",
    nodeId: Math.floor(Number(globalPid) / PER_NODE),
    pid: Number(globalPid) % PER_NODE,
});

/** How long something may wait before it counts, in seconds. Cleaning up waits a second for a lock, and tries again. */
const COUNTS_AFTER = 2;

/** Tables that a process (SQL: its row `h` of pg_locks) has locks on, the strongest first. Indexes and catalogs say nothing more. */
const heldBy = (whose: string) => `(SELECT coalesce(string_agg(held.mode || ' on ' || held.name, ', '), '') FROM (
      SELECT DISTINCT ON (l.relation) l.relation::regclass::text AS name, l.mode
        FROM pg_locks l JOIN pg_class c ON c.oid = l.relation JOIN pg_namespace n ON n.oid = c.relnamespace
       WHERE ${whose} AND l.granted AND l.locktype = 'relation' AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
         AND c.relkind IN ('r', 'p', 'm', 'f') AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')
       ORDER BY l.relation, array_position(ARRAY['AccessExclusiveLock', 'ExclusiveLock', 'ShareRowExclusiveLock', 'ShareLock',
                'ShareUpdateExclusiveLock', 'RowExclusiveLock', 'RowShareLock', 'AccessShareLock'], l.mode)
       LIMIT 3) held)`;

const since = (moment: string) => `to_char(${moment} AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS "UTC"')`;
const handedOn = (activity: string) => `substring(${activity}.application_name FROM '^citus_[a-z_]+ gpid=([0-9]+)')`;

const SAME_LOCK = `(w.locktype, w.database, w.relation, w.page, w.tuple, w.virtualxid, w.transactionid, w.classid, w.objid, w.objsubid)
                IS NOT DISTINCT FROM (h.locktype, h.database, h.relation, h.page, h.tuple, h.virtualxid, h.transactionid, h.classid, h.objid, h.objsubid)`;

/** The lock waits of the node that runs it, as one JSON text. */
const NODE_WAITS = `SELECT coalesce(json_agg(json_build_object(
    'pid', w.pid, 'globalPid', ${handedOn("a")},
    'ofMove', a.application_name ~ '^citus_shard_(move|split)_' OR a.usename ~ '^citus_shard_(move|split)_',
    'seconds', coalesce(extract(epoch FROM clock_timestamp() - w.waitstart), 0)::int,
    'by', (SELECT coalesce(json_agg(json_build_object('pid', b.pid, 'globalPid', ${handedOn("ba")})), '[]')
             FROM (SELECT DISTINCT unnest(pg_blocking_pids(w.pid)) AS pid) b LEFT JOIN pg_stat_activity ba ON ba.pid = b.pid WHERE b.pid > 0),
    'prepared', (SELECT coalesce(json_agg(json_build_object('gid', p.gid, 'role', p.owner, 'database', p.database,
                        'since', ${since("p.prepared")}, 'holds', ${heldBy("l.virtualtransaction = h.virtualtransaction AND l.pid IS NULL")})), '[]')
                   FROM pg_locks h JOIN pg_locks x ON x.virtualtransaction = h.virtualtransaction AND x.pid IS NULL AND x.locktype = 'transactionid'
                   JOIN pg_prepared_xacts p ON p.transaction = x.transactionid
                  WHERE h.pid IS NULL AND h.granted AND ${SAME_LOCK} AND 0 = ANY (pg_blocking_pids(w.pid))))), '[]')::text
  FROM pg_locks w JOIN pg_stat_activity a ON a.pid = w.pid WHERE NOT w.granted`;

/** Asks every node for its lock waits. One that does not answer is left out: what it holds up is said by others. */
export async function readWaits(coordinator: Session): Promise<NodeWaits[]> {
    const rows = await coordinator.query<{ nodeId: number; host: string; result: string }>(
        `SELECT n.nodeid AS "nodeId", n.nodename AS host, r.result
           FROM run_command_on_all_nodes(${literal(NODE_WAITS)}) r JOIN pg_dist_node n USING (nodeid) WHERE r.success`,
    );
    return rows.map(({ nodeId, host, result }) => ({ nodeId, host, waits: JSON.parse(result) as LockWait[] }));
}

/**
 * Who is at the end of the chains of waits that begin at us. Pure.
 * @param ours global pids whose waits count
 * @param moves whether what moves shards without a global pid counts as ours
 */
export function findRoots(nodes: readonly NodeWaits[], ours: ReadonlySet<string>, moves: boolean): Root[] {
    const edges = nodes.flatMap(({ nodeId, waits }) =>
        waits.map((wait) => ({
            nodeId,
            wait,
            who: wait.globalPid ?? globalPidOf(nodeId, wait.pid),
            by: wait.by.map(({ pid, globalPid }) => globalPid ?? globalPidOf(nodeId, pid)),
        })),
    );
    const first = edges.filter(
        ({ who, wait }) => wait.seconds >= COUNTS_AFTER && (ours.has(who) || (moves && wait.ofMove)),
    );
    const seen = new Set<string>();
    const roots = new Map<string, Root>();
    const follow = (edge: (typeof edges)[number]) => {
        for (const holder of edge.wait.prepared)
            roots.set(`prepared ${edge.nodeId} ${holder.gid}`, { kind: "prepared", nodeId: edge.nodeId, holder });
        for (const who of edge.by) {
            if (seen.has(who) || ours.has(who)) continue;
            seen.add(who);
            const next = edges.filter((other) => other.who === who);
            if (next.length > 0) for (const other of next) follow(other);
            else {
                roots.set(who, processOf(who));
            }
        }
    };
    for (const edge of first) follow(edge);
    return [...roots.values()];
}

const activityOf = (pids: readonly number[]) => `SELECT coalesce(json_agg(json_build_object(
    'pid', a.pid, 'role', coalesce(a.usename, ''), 'application', coalesce(a.application_name, ''), 'backend', a.backend_type,
    'state', coalesce(a.state, ''), 'since', ${since("coalesce(a.xact_start, a.state_change, a.backend_start)")},
    'holds', ${heldBy("l.pid = a.pid")})), '[]')::text
  FROM pg_stat_activity a WHERE a.pid IN (${pids.join(", ")})`;

/** What pg_stat_activity says of each root now; one that has ended meanwhile, or is a connection of this project, is left out. */
export async function readHolders(
    coordinator: Session,
    nodes: readonly Pick<NodeWaits, "nodeId" | "host">[],
    roots: readonly Root[],
): Promise<Holder[]> {
    const holders: Holder[] = [];
    for (const { nodeId, host } of nodes) {
        const node = nodeOf(host);
        const here = roots.filter((root) => root.nodeId === nodeId);
        const pids = here.flatMap((root) => (root.kind === "process" ? [root.pid] : []));
        for (const root of here) if (root.kind === "prepared") holders.push({ kind: "prepared", node, ...root.holder });
        if (pids.length === 0) continue;
        const [row] = await coordinator.query<{ result: string }>(
            `SELECT r.result FROM run_command_on_all_nodes(${literal(activityOf(pids))}) r WHERE r.nodeid = $1 AND r.success`,
            [nodeId],
        );
        for (const activity of JSON.parse(row?.result ?? "[]") as ActivityRow[]) {
            if (activity.application === OWN_APPLICATION) continue;
            holders.push({ kind: "process", node, globalPid: globalPidOf(nodeId, activity.pid), ...activity });
        }
    }
    return holders;
}

/** Who keeps our connections, or moves, waiting now. */
export async function findHolders(coordinator: Session, ours: ReadonlySet<string>, moves: boolean): Promise<Holder[]> {
    const nodes = await readWaits(coordinator);
    const roots = findRoots(nodes, ours, moves);
    return roots.length === 0 ? [] : readHolders(coordinator, nodes, roots);
}

/** Who uses tables of a node, as one JSON text. */
const usersOf = (
    names: readonly string[],
) => `SELECT coalesce(json_agg(DISTINCT jsonb_build_object('pid', l.pid, 'globalPid', ${handedOn("a")})), '[]')::text
  FROM pg_locks l JOIN pg_stat_activity a USING (pid)
 WHERE l.granted AND l.locktype = 'relation' AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
   AND l.relation IN (SELECT to_regclass(name) FROM unnest(ARRAY[${names.map(literal).join(", ")}]) name)`;

/** Who uses old copies of moved shards on node groups, so that they can't be dropped. */
export async function findUsers(coordinator: Session, groups: readonly number[]): Promise<Holder[]> {
    const copies = await coordinator.query<{ nodeId: number; names: string[] }>(
        `SELECT n.nodeid AS "nodeId", array_agg(c.object_name) AS names
           FROM pg_dist_cleanup c JOIN pg_dist_node n ON n.groupid = c.node_group_id AND n.noderole = 'primary'
          WHERE c.object_type = 1 AND c.node_group_id = ANY ($1) GROUP BY 1`,
        [groups],
    );
    const roots = new Map<string, Root>();
    for (const { nodeId, names } of copies) {
        const [row] = await coordinator.query<{ result: string }>(
            `SELECT r.result FROM run_command_on_all_nodes(${literal(usersOf(names))}) r WHERE r.nodeid = $1 AND r.success`,
            [nodeId],
        );
        for (const { pid, globalPid } of JSON.parse(row?.result ?? "[]") as LockWait["by"]) {
            const who = globalPid ?? globalPidOf(nodeId, pid);
            roots.set(who, processOf(who));
        }
    }
    if (roots.size === 0) return [];
    const nodes = await coordinator.query<{ nodeId: number; host: string }>(
        `SELECT nodeid AS "nodeId", nodename AS host FROM pg_dist_node WHERE noderole = 'primary'`,
    );
    return readHolders(coordinator, nodes, [...roots.values()]);
}

/** A statement that ends what holds, and where it is run. */
function ending(holder: Holder): string {
    if (holder.kind === "prepared") {
        // Citus knows how a transaction of its own has to end
        if (/^citus_[0-9]/.test(holder.gid)) return "on coordinator: SELECT recover_prepared_transactions();";
        return `in database ${holder.database} on ${holder.node}: ROLLBACK PREPARED ${literal(holder.gid)};`;
    }
    if (holder.node === "coordinator") return `on coordinator: SELECT pg_terminate_backend(${holder.pid});`;
    // Citus takes a global pid on any node
    return `on coordinator, for pid ${holder.pid} on ${holder.node}: SELECT pg_terminate_backend(${holder.globalPid});`;
}

/** One line: who, since when, with what, and how to end it. */
export function describeHolder(holder: Holder): string {
    const holds = holder.holds === "" ? "" : `, holds ${holder.holds}`;
    if (holder.kind === "prepared")
        return `prepared transaction ${literal(holder.gid)} on ${holder.node} (role ${holder.role}, prepared since ${holder.since}${holds}). To end it, ${ending(holder)}`;
    const what = holder.backend === "client backend" ? "" : `, ${holder.backend}`;
    const application = holder.application === "" ? "no application name" : `application ${holder.application}`;
    return `pid ${holder.pid} on ${holder.node} (role ${holder.role || "none"}, ${application}${what}, ${holder.state || "running"} since ${holder.since}${holds}). To end it, ${ending(holder)}`;
}

/** `waits for pid 1 on coordinator (…)`, at most three of them; empty for nobody. */
export function describeHolders(holders: readonly Holder[]): string {
    const shown = holders.slice(0, 3).map(describeHolder);
    if (holders.length > 3) shown.push(`and ${holders.length - 3} more`);
    return shown.join("; ");
}
