/** Why a job does not get on. */
import { nodeOf } from "../../node/topology.ts";
import type { Session } from "../../reach/session.ts";
import type { NodeRow } from "../catalog.ts";
import { describeLimits, isLimited, readLimits } from "../limits.ts";
import { describeHolders, type Holder } from "../waits.ts";
import type { MovingTable } from "./jobStep.ts";
import { quote, type Task } from "./jobTasks.ts";

/** Why a job does not get on: each task's own words, who holds it up, limits, nodes that can't be reached, slots that were lost. */
export async function explainJob(
    session: Session,
    { nodes, groups }: { readonly nodes: readonly NodeRow[]; readonly groups: ReadonlyMap<string, MovingTable> },
    tasks: readonly Task[],
    what: string,
    holders: readonly Holder[],
): Promise<string> {
    const lines = [`${what}:`];
    const name = (nodeId: number | null) => nodeOf(nodes.find((node) => node.nodeId === nodeId)?.host ?? "a node");
    const troubled = tasks.filter((t) => t.message !== "" && t.status !== "done");
    const said = new Map<string, { task: Task; lines: string[] }>();
    for (const task of troubled) {
        const own = quote(task.message);
        const key = own.join("\n");
        if (own.length > 0 && !said.has(key)) said.set(key, { task, lines: own });
    }
    for (const { task, lines: own } of [...said.values()].slice(0, 5)) {
        const table = groups.get(task.shardId ?? "")?.table;
        lines.push(
            task.shardId === null
                ? "  copying reference tables:"
                : `  moving ${table ?? `shard ${task.shardId}`} from ${name(task.sourceNodeId)} to ${name(task.targetNodeId)}:`,
            ...own.map((line) => `    ${line}`),
        );
    }
    for (const holder of holders) lines.push(`  a move waits for ${describeHolders([holder])}`);
    if (troubled.some((task) => isLimited(task.message))) {
        const limits = await readLimits(session).catch(() => []);
        if (limits.length > 0)
            lines.push(
                "  limits that the tables' owners have, and what lifts them:",
                ...describeLimits(limits).map((line) => `  ${line}`),
            );
    }
    for (const node of nodes) {
        const [row] = await session
            .query<{ ok: boolean }>("SELECT citus_check_connection_to_node($1, $2) AS ok", [node.host, node.port])
            .catch(() => [{ ok: false }]);
        if (!row?.ok) lines.push(`  ${node.host} can't be reached from the coordinator`);
    }
    const slots = await session
        .query<{ node: string; result: string }>(
            `SELECT n.nodename AS node, r.result FROM run_command_on_all_nodes($$
                SELECT coalesce(string_agg(slot_name || ' ' || wal_status, ', '), '') FROM pg_replication_slots
                 WHERE slot_name LIKE 'citus_shard_%' AND wal_status IN ('lost', 'unreserved')$$) r JOIN pg_dist_node n USING (nodeid)
              WHERE r.success AND r.result <> ''`,
        )
        .catch(() => []);
    for (const slot of slots) lines.push(`  ${slot.node} lost a replication slot: ${slot.result}`);
    if (lines.length === 1) lines.push(...(await describeRunning(session, tasks, groups, name)));
    return lines.join("\n");
}

/** What each process of a move does at this moment, on each node: the last resort where nothing says why. */
async function describeRunning(
    session: Session,
    tasks: readonly Task[],
    groups: ReadonlyMap<string, MovingTable>,
    name: (nodeId: number | null) => string,
): Promise<string[]> {
    const running = tasks.filter(({ status }) => status === "running");
    const waits = await session
        .query<{ pid: number; waits: string }>(
            `SELECT pid, coalesce(wait_event_type || ' ' || wait_event, 'nothing: it works') AS waits
               FROM pg_stat_activity WHERE pid = ANY($1::int[])`,
            [running.flatMap(({ pid }) => pid ?? [])],
        )
        .catch(() => []);
    const lines = running.map((task) => {
        const at = waits.find(({ pid }) => pid === task.pid);
        const what =
            task.shardId === null
                ? "copying reference tables"
                : `moving ${groups.get(task.shardId)?.table ?? `shard ${task.shardId}`}`;
        const process = at === undefined ? "no process runs it" : `its process ${at.pid} waits for ${at.waits}`;
        return `  ${what} from ${name(task.sourceNodeId)} to ${name(task.targetNodeId)}: ${process}`;
    });
    const replication = await session
        .query<{ node: string; result: string }>(
            `SELECT n.nodename AS node, r.result FROM run_command_on_all_nodes($$
                SELECT concat_ws('; ',
                    (SELECT string_agg(format('slot %s %s, %s behind', slot_name, CASE WHEN active THEN 'is read' ELSE 'is read by nobody' END,
                            pg_size_pretty(pg_current_wal_lsn() - confirmed_flush_lsn)), '; ')
                       FROM pg_replication_slots WHERE slot_name LIKE 'citus_shard_%'),
                    (SELECT string_agg(format('subscription %s %s', s.subname, CASE WHEN t.pid IS NULL THEN 'has no process'
                            ELSE format('heard last %s ago', date_trunc('second', now() - t.last_msg_receipt_time)) END), '; ')
                       FROM pg_subscription s LEFT JOIN pg_stat_subscription t ON t.subid = s.oid AND t.relid IS NULL
                      WHERE s.subname LIKE 'citus_shard_%'))$$) r JOIN pg_dist_node n USING (nodeid)
              WHERE r.success AND r.result <> ''`,
        )
        .catch(() => []);
    return [...lines, ...replication.map(({ node, result }) => `  ${nodeOf(node)}: ${result}`)];
}
