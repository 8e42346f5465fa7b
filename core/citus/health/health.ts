/** What a cluster looks like now, as data. Changes nothing. */

import { nodeOf } from "../../node/topology.ts";
import type { NodeFindings } from "../../reach/nodeFindings.ts";
import { saidBy } from "../../reach/said.ts";
import type { Session } from "../../reach/session.ts";
import { movable, type NodeRow, readNodes } from "../catalog.ts";
import { whileTablesAreDropped } from "../dropped.ts";
import { KEPT_SCHEMAS } from "../keptCopies.ts";
import { describeProgress, type Progress } from "../rebalance/jobStep.ts";
import { failedJob, firstLine, readTasks, runningJob } from "../rebalance/jobTasks.ts";
import { holdersOfJob, waitersOf } from "../rebalance/jobWaiters.ts";
import { readReferences } from "../references.ts";
import { describeApart, readVersions } from "../versions.ts";
import type { NodeLook } from "./checks/check.ts";
import { LIMITS } from "./checks/limits.ts";
import { CHECKS } from "./checks/list.ts";
import type { HealthView, NodeHealth } from "./checks/view.ts";
import { type ArchiveHealth, readArchive } from "./read/archive.ts";
import { type Finding, needsAttention, sentence } from "./read/finding.ts";
import { type Counts, describeCounts, readTransactions } from "./read/transactions.ts";

export interface ClusterHealth {
    readonly postgres: string;
    readonly citus: string;
    readonly nodes: readonly NodeHealth[];
    /** Moves that a rebalance would make now; 0 is balanced, undefined while a node does not answer. */
    readonly movesLeft?: number;
    readonly rebalance?: string;
    /** Transactions over several nodes and statements over several shards, since the nodes count. */
    readonly counts?: Counts;
    /** Old copies of moved shards that wait to be dropped. */
    readonly leftovers: number;
    readonly archive: ArchiveHealth;
    /** What checks found, as data. */
    readonly findings: readonly Finding[];
    /** Findings that somebody has to act on, each on one line. */
    readonly problems: readonly string[];
    /** Worth knowing; the cluster is healthy with them. */
    readonly notes?: readonly string[];
}

export interface HealthOptions {
    /** What a node says of itself beside SQL; undefined where it can't be asked. @default nothing */
    readonly look?: (name: string) => Promise<NodeFindings | undefined>;
    /** A connection to a node by its name, or why there is none. */
    readonly open: (name: string) => Promise<Session | Error>;
    /** Workers that should be registered. */
    readonly expected: readonly string[];
}

/** What a look at the cluster found, before it is judged. */
export interface Looked extends Pick<ClusterHealth, "postgres" | "citus" | "rebalance" | "leftovers"> {
    readonly view: HealthView;
    readonly looks: readonly NodeLook[];
}

/** Reads everything that `npm run status` shows. */
export async function lookAround(coordinator: Session, options: HealthOptions): Promise<Looked> {
    const [versions] = await coordinator.query<{ postgres: string; citus: string }>(
        `SELECT split_part(current_setting('server_version'), ' ', 1) AS postgres, substring(citus_version() FROM 'Citus ([0-9.]+)') AS citus`,
    );
    const rows = await readNodes(coordinator);
    const shards = await coordinator.query<{ groupId: number; n: number }>(
        `SELECT p.groupid AS "groupId", count(*)::int AS n FROM pg_dist_placement p JOIN pg_dist_shard s USING (shardid)
           JOIN pg_dist_partition t USING (logicalrelid) WHERE ${movable("t")} GROUP BY 1`,
    );
    const nodes = await Promise.all(
        rows.map((row) => readNode(row, shards.find((s) => s.groupId === row.groupId)?.n ?? 0, options)),
    );
    const missing = options.expected
        .filter((name) => !rows.some((row) => nodeOf(row.host) === name))
        .map((name): NodeHealth => ({ name, state: "unregistered", shards: 0, reason: "not in pg_dist_node" }));
    const reachable = nodes.every((node) => node.state !== "unreachable");
    const [plan] = reachable
        ? await whileTablesAreDropped(() =>
              coordinator.query<{ n: number }>("SELECT count(*)::int AS n FROM get_rebalance_table_shards_plan()"),
          )
        : [];
    const [cleanup] = await coordinator.query<{ n: number }>("SELECT count(*)::int AS n FROM pg_dist_cleanup");
    const rebalance = await describeRebalance(coordinator, rows);
    const failed = rebalance === undefined ? await failedJob(coordinator) : undefined;
    const silent = rows.filter((row) =>
        nodes.some((node) => node.state === "unreachable" && node.name === nodeOf(row.host)),
    );
    const away = silent.map(({ host }) => host);
    const citusVersions = await readVersions(coordinator, away);
    // an extension that is not its library's may lack what is asked
    const transactions =
        describeApart(citusVersions) === undefined ? await readTransactions(coordinator, away) : undefined;
    const archive = await readArchive(coordinator, away);
    const looked = await lookAt(nodes, options);
    const index = (name: string) => Number(name.split("-")[1] ?? 0);
    const all = [...nodes.map((node) => withDisk(node, looked.get(node.name))), ...missing].sort(
        (a, b) => index(a.name) - index(b.name),
    );
    const view: HealthView = {
        nodes: all,
        rows,
        away,
        versions: citusVersions,
        ...(failed ? { failed } : {}),
        ...(plan ? { movesLeft: plan.n } : {}),
        ...(transactions ? { transactions } : {}),
        archive,
        references: await readReferences(coordinator),
    };
    return {
        postgres: versions?.postgres ?? "",
        citus: versions?.citus ?? "",
        ...(rebalance === undefined ? {} : { rebalance }),
        leftovers: cleanup?.n ?? 0,
        view,
        looks: [...looked].map(([node, found]) => ({ node, found })),
    };
}

/** What a look found, judged by the checks that need nothing else. Pure. */
export function judgeHealth({ view, looks, ...head }: Looked): ClusterHealth {
    const findings = CHECKS.flatMap((check) => {
        if (check.asks === "health") return check.judge(view, LIMITS);
        return check.asks === "look" ? looks.flatMap((look) => check.judge(look, LIMITS)) : [];
    });
    const { transactions } = view;
    const counted = transactions && describeCounts(transactions);
    const notes = [
        ...findings.filter((finding) => !needsAttention(finding)).map(sentence),
        ...(transactions?.silent ?? []).map((node) => `${node} did not say which transactions it has prepared`),
        ...(counted === undefined ? [] : [counted]),
    ];
    return {
        ...head,
        nodes: view.nodes,
        ...(view.movesLeft === undefined ? {} : { movesLeft: view.movesLeft }),
        ...(transactions
            ? {
                  counts: {
                      commits: transactions.commits,
                      prepares: transactions.prepares,
                      single: transactions.single,
                      multi: transactions.multi,
                  },
              }
            : {}),
        archive: view.archive,
        findings,
        problems: findings.filter(needsAttention).map(sentence),
        ...(notes.length > 0 ? { notes } : {}),
    };
}

/** Reads and judges everything that `npm run status` shows. */
export const readHealth = async (coordinator: Session, options: HealthOptions): Promise<ClusterHealth> =>
    judgeHealth(await lookAround(coordinator, options));

async function lookAt(nodes: readonly NodeHealth[], { look }: HealthOptions): Promise<Map<string, NodeFindings>> {
    const found = await Promise.all(
        nodes
            .filter(({ state }) => look !== undefined && state !== "unreachable")
            .map(async ({ name }) => [name, await look?.(name)] as const),
    );
    return new Map(found.flatMap(([name, findings]) => (findings === undefined ? [] : [[name, findings]])));
}

const withDisk = (node: NodeHealth, found: NodeFindings | undefined): NodeHealth =>
    found === undefined ? node : { ...node, disk: { size: found.size, free: found.free } };

async function readNode(row: NodeRow, shards: number, options: HealthOptions): Promise<NodeHealth> {
    const name = nodeOf(row.host);
    if (row.groupId !== 0 && !options.expected.includes(name)) {
        return {
            name,
            state: "unfinished",
            shards,
            reason: "a pulumi up did not finish; run npm run pulumi -- up --yes",
        };
    }
    const session = await options.open(name);
    if (session instanceof Error) {
        return {
            name,
            state: "unreachable",
            shards,
            reason: saidBy(session),
        };
    }
    const [facts] = await session.query<{
        bytes: string;
        connections: number;
        maxConnections: number;
        kept: string[];
    }>(
        `SELECT pg_database_size(current_database())::text AS bytes,
                (SELECT count(*)::int FROM pg_stat_activity WHERE backend_type = 'client backend') AS connections,
                current_setting('max_connections')::int AS "maxConnections", ARRAY(${KEPT_SCHEMAS}) AS kept`,
    );
    const state = !row.active
        ? "inactive"
        : !row.synced
          ? "unsynced"
          : row.groupId !== 0 && !row.holdsShards
            ? "leaving"
            : "ready";
    const ends = await session.certificateEnds();
    return {
        name,
        state,
        shards,
        bytes: Number(facts?.bytes ?? 0),
        connections: facts?.connections ?? 0,
        maxConnections: facts?.maxConnections ?? 0,
        ...(facts && facts.kept.length > 0 ? { kept: facts.kept } : {}),
        ...(ends ? { certificateDays: Math.floor((ends.getTime() - Date.now()) / 86_400_000) } : {}),
    };
}

async function describeRebalance(coordinator: Session, nodes: readonly NodeRow[]): Promise<string | undefined> {
    const jobId = await runningJob(coordinator);
    if (!jobId) return undefined;
    const tasks = await readTasks(coordinator, jobId);
    const moves = tasks.filter((task) => task.shardId !== null);
    const [copied] = await coordinator.query<{ done: number; total: number }>(
        `SELECT coalesce(sum(least(target_shard_size, source_shard_size)), 0)::float8 AS done, coalesce(sum(source_shard_size), 0)::float8 AS total FROM get_rebalance_progress()`,
    );
    const trouble = tasks.find((task) => task.retries > 0 && task.message !== "" && task.status !== "done");
    const progress: Progress = {
        done: moves.filter((task) => task.status === "done").length,
        total: moves.length,
        bytesDone: copied?.done ?? 0,
        bytesTotal: copied?.total ?? 0,
        bytesPerSecond: 0,
        secondsLeft: undefined,
        now: undefined,
        trouble: trouble ? firstLine(trouble.message) : undefined,
        heldUp: await holdersOfJob(coordinator, waitersOf(tasks, nodes), nodes),
    };
    return describeProgress(progress);
}
