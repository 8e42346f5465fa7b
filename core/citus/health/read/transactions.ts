/** Transactions over several nodes: how many there are, and those that were prepared and not ended. Changes nothing. */

import { nodeOf } from "../../../node/topology.ts";
import type { Session } from "../../../reach/session.ts";
import { begunBy } from "../../../sql/gid.ts";
import { literal } from "../../../sql/quote.ts";
import { describeAge } from "../../../util/age.ts";
import { type NodeRow, onNodes } from "../../catalog.ts";
import type { Finding } from "./finding.ts";

export interface Prepared {
    /** Name of the node that it waits on. */
    readonly node: string;
    readonly gid: string;
    readonly owner: string;
    readonly database: string;
    /** Whether it is in the cluster's database. */
    readonly here: boolean;
    readonly seconds: number;
}

/** What nodes counted since their statistics began. */
export interface Counts {
    readonly commits: number;
    /** Parts of transactions that were prepared on another node: one for each such node of a transaction. */
    readonly prepares: number;
    /** Statements that asked one shard, and those that asked several; null where a node does not count them. */
    readonly single: number | null;
    readonly multi: number | null;
}

export interface Transactions extends Counts {
    /** Longer than a minute ago, the oldest first. */
    readonly prepared: readonly Prepared[];
    /** `gid` of those of Citus that were decided to be committed. */
    readonly decided: readonly string[];
    /** Nodes whose answer was not had. */
    readonly silent: readonly string[];
}

/** Citus' own recovery ends what it can each minute. */
const SECONDS = 60;

const ON_NODE = `
SELECT jsonb_build_object(
    'prepared', (SELECT coalesce(jsonb_agg(jsonb_build_object('gid', gid, 'owner', owner, 'database', database, 'here', database = current_database(), 'seconds', extract(epoch FROM clock_timestamp() - prepared)::int)), '[]')
                   FROM (SELECT * FROM pg_prepared_xacts
                          WHERE prepared < clock_timestamp() - interval '${SECONDS} s' ORDER BY prepared LIMIT 20) p),
    'commits', (SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()),
    'prepares', pg_stat_get_tuples_inserted('pg_catalog.pg_dist_transaction'::regclass),
    'counts', CASE WHEN current_setting('citus.enable_stat_counters', true) = 'on' THEN (
        SELECT jsonb_build_object('single', query_execution_single_shard, 'multi', query_execution_multi_shard)
          FROM citus_stat_counters WHERE name = current_database()) END)`;

interface NodeAnswer {
    readonly prepared: readonly Omit<Prepared, "node">[];
    readonly commits: number;
    readonly prepares: number;
    readonly counts: { readonly single: number; readonly multi: number } | null;
}

/**
 * @param away hosts of those that are not asked, because they do not answer
 */
export async function readTransactions(
    coordinator: Session,
    away: readonly string[] = [],
): Promise<Transactions | undefined> {
    const rows = await coordinator.query<{ host: string; success: boolean; result: string }>(
        `SELECT r.node_name AS host, r.success, r.result FROM ${onNodes("nodename <> ALL ($2)", "$1")}`,
        [ON_NODE, away],
    );
    if (rows.length === 0) return undefined;
    const answers = rows.flatMap(({ host, success, result }) =>
        success ? [{ node: nodeOf(host), ...(JSON.parse(result) as NodeAnswer) }] : [],
    );
    const prepared = answers
        .flatMap(({ node, prepared }) => prepared.map((one) => ({ node, ...one })))
        .sort((a, b) => b.seconds - a.seconds);
    const begun = [...new Set(prepared.flatMap(({ gid }) => begunBy(gid) ?? []))];
    const gids = prepared.map(({ gid }) => gid);
    const records = begun.length === 0 ? [] : await readRecords(coordinator, begun, gids, away);
    const sum = (of: (answer: NodeAnswer) => number | null | undefined) =>
        answers.reduce<number | null>((total, answer) => {
            const more = of(answer);
            return total === null || more === null || more === undefined ? null : total + more;
        }, 0);
    return {
        prepared,
        decided: records,
        silent: rows.filter(({ success }) => !success).map(({ host }) => nodeOf(host)),
        commits: sum(({ commits }) => commits) ?? 0,
        prepares: sum(({ prepares }) => prepares) ?? 0,
        single: sum(({ counts }) => counts?.single),
        multi: sum(({ counts }) => counts?.multi),
    };
}

/** Which of them the nodes that began them have decided to commit. */
async function readRecords(
    coordinator: Session,
    groups: readonly number[],
    gids: readonly string[],
    away: readonly string[],
): Promise<string[]> {
    const command = `SELECT coalesce(jsonb_agg(gid), '[]') FROM pg_dist_transaction WHERE gid IN (${gids.map(literal).join(", ")})`;
    const rows = await coordinator.query<{ result: string }>(
        `SELECT r.result FROM ${onNodes("groupid = ANY ($3) AND nodename <> ALL ($2)", "$1")} WHERE r.success`,
        [command, away, groups],
    );
    return rows.flatMap(({ result }) => JSON.parse(result) as string[]);
}

/** A prepared transaction of an application is its business for so long, in seconds; look.sh tells of it then. */
const OWN_SECONDS = 3600;
/** A move or a backup may hold up Citus' recovery for some minutes. */
const CITUS_SECONDS = 600;

interface Todo {
    readonly says: string;
    readonly mend: string | null;
    /** Node that began it, where its own recovery may end it. */
    readonly recover?: string;
}

/** What to do about one that Citus prepared. @param from the node that began it */
function todo(
    { node, gid, database, here }: Prepared,
    from: string | undefined,
    answers: boolean,
    decided: boolean,
): Todo {
    const name = literal(gid);
    if (from === undefined)
        return {
            says: `The node that began it has left the cluster, so nobody ends it: look at the rows that it wrote, then COMMIT PREPARED ${name} or ROLLBACK PREPARED ${name} on ${node}`,
            mend: null,
        };
    if (!answers)
        return {
            says: `${from} began it and does not answer. Citus ends it within a minute after ${from} is back. Leave it until then: only ${from} knows whether it was committed`,
            mend: null,
        };
    const mend = "SELECT recover_prepared_transactions()";
    if (!here)
        return {
            says: `It is of database ${database}, where ${from} began it. If it stays, in that database on ${from}`,
            mend,
        };
    return {
        says: decided
            ? `${from} committed it, and Citus' recovery finishes that within a minute. If it stays, on ${from}`
            : `${from} did not commit it: it still runs there, or Citus' recovery rolls it back within a minute. If it stays, on ${from}`,
        mend,
        recover: from,
    };
}

/** What each prepared transaction is and what to do. Pure. */
export function preparedFindings(
    { prepared, decided, silent }: Pick<Transactions, "prepared" | "decided" | "silent">,
    nodes: readonly Pick<NodeRow, "groupId" | "host">[],
    away: readonly string[] = [],
): Finding[] {
    const unasked = [...silent, ...away.map(nodeOf)];
    return prepared.flatMap((one): Finding[] => {
        const { node, gid, owner, database, seconds } = one;
        const group = begunBy(gid);
        const name = literal(gid);
        const said = `${node}: the prepared transaction ${name} of ${owner} in ${database} has been open for ${describeAge(seconds)}. It holds its locks and keeps dead rows`;
        const of = { check: "prepared-transactions", node, object: gid };
        if (group === undefined) {
            if (seconds > OWN_SECONDS) return [];
            const says = `${said}. Whoever prepared it ends it, with COMMIT PREPARED ${name} or, on ${node}`;
            return [{ ...of, danger: "note", says, mend: `ROLLBACK PREPARED ${name}`, on: node }];
        }
        const host = nodes.find(({ groupId }) => groupId === group)?.host;
        const from = host === undefined ? undefined : nodeOf(host);
        const { says, mend, recover } = todo(one, from, !unasked.includes(from ?? ""), decided.includes(gid));
        return [
            {
                ...of,
                danger: from === undefined || seconds > CITUS_SECONDS ? "danger" : "note",
                says: `${said}. ${says}`,
                mend,
                on: mend === null ? null : (from ?? null),
                ...(recover !== undefined && mend !== null
                    ? { fix: { kind: "sql", node: recover, statements: [mend] } }
                    : {}),
            },
        ];
    });
}

const percent = (part: number, of: number) => `${((100 * part) / of).toFixed((100 * part) / of < 10 ? 1 : 0)} %`;

/** How much goes over several nodes and shards, in one line; undefined while nothing was counted. Pure. */
export function describeCounts({ commits, prepares, single, multi }: Counts): string | undefined {
    const statements = single === null || multi === null ? 0 : single + multi;
    const said = [
        ...(statements > 0 && multi !== null
            ? [`${percent(multi, statements)} of ${statements} statements asked several shards`]
            : []),
        ...(commits > 0 && prepares > 0
            ? [
                  `${prepares} ${prepares === 1 ? "part" : "parts"} of transactions over several nodes, at most ${percent(Math.min(prepares, commits), commits)} of ${commits} commits`,
              ]
            : []),
    ];
    return said.length === 0 ? undefined : said.join("; ");
}
