/** Statements that cost most, from pg_stat_statements of every node. Changes nothing. */
import { nodeOf } from "../../node/topology.ts";
import type { Session } from "../../reach/session.ts";
import { literal } from "../../sql/quote.ts";

/** What one node says of one statement of one role. */
interface Entry {
    readonly role: string;
    readonly text: string;
    readonly calls: number;
    /** Milliseconds on the node that took it, its wait for other nodes with it. */
    readonly total: number;
    readonly rows: number;
    /** Of these calls those that Citus sent to one shard by the tenant's key; null where it does not count them. */
    readonly keyed: number | null;
    /** Tenants that these were for. */
    readonly keys: number | null;
}

interface NodeAnswer {
    readonly since: string | null;
    readonly tracked: boolean;
    readonly statements: readonly Entry[] | null;
}

export interface CostlyStatement extends Entry {
    /** Nodes that clients sent it to. */
    readonly nodes: readonly string[];
    /** Of the time of all statements of tables. */
    readonly share: number;
}

export interface SlowView {
    readonly statements: readonly CostlyStatement[];
    /** Since when the nodes count, by node. */
    readonly since: Readonly<Record<string, string | null>>;
    /** Whether every node counts by tenant (citus.stat_statements_track). */
    readonly tracked: boolean;
    /** Nodes that gave no answer, with what was said: their statements are missing. */
    readonly silent: readonly { readonly node: string; readonly reason: string }[];
}

/** As many as pg_stat_statements keeps by default; most of a worker's are about its shards. */
const ROWS = 5000;
/** No more of a statement's text is read. */
const LENGTH = 20_000;

const ON_NODE = `
SELECT jsonb_build_object(
    'since', (SELECT stats_reset FROM pg_stat_statements_info),
    'tracked', coalesce(current_setting('citus.stat_statements_track', true), 'none') <> 'none',
    'statements', (SELECT jsonb_agg(to_jsonb(s)) FROM (
        SELECT r.rolname AS role, left(p.query, ${LENGTH}) AS text, p.calls, p.total_exec_time AS total, p.rows, k.keyed, k.keys
          FROM pg_stat_statements p JOIN pg_roles r ON r.oid = p.userid JOIN pg_database d ON d.oid = p.dbid
          LEFT JOIN (SELECT queryid, userid, dbid, sum(calls) FILTER (WHERE partition_key <> '') AS keyed,
                            count(DISTINCT partition_key) FILTER (WHERE partition_key <> '') AS keys
                       FROM citus_query_stats() GROUP BY 1, 2, 3) k ON (k.queryid, k.userid, k.dbid) = (p.queryid, p.userid, p.dbid)
         WHERE d.datname = current_database() AND p.toplevel ORDER BY p.total_exec_time DESC LIMIT ${ROWS}) s))`;

const LOOK = `
SELECT jsonb_build_object(
    'nodes', (SELECT jsonb_agg(jsonb_build_object('host', n.nodename, 'success', r.success, 'result', r.result))
                FROM run_command_on_all_nodes(${literal(ON_NODE)}, give_warning_for_connection_errors => true) r JOIN pg_dist_node n USING (nodeid)),
    'shards', (SELECT coalesce(jsonb_agg(shardid), '[]') FROM pg_dist_shard),
    'tables', (SELECT coalesce(jsonb_agg(DISTINCT c.relname), '[]') FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'citus_as_code', 'citus', 'citus_internal', 'columnar')
                  AND NOT EXISTS (SELECT FROM pg_depend x WHERE x.classid = 'pg_class'::regclass AND x.objid = c.oid AND x.deptype = 'e'))) AS answer`;

export interface Answer {
    readonly nodes: readonly { readonly host: string; readonly success: boolean; readonly result: string }[];
    readonly shards: readonly number[];
    /** Names of tables and views that no extension made. */
    readonly tables: readonly string[];
}

/** Words of a statement that may be a table's name. */
function* namesIn(text: string): Generator<string> {
    for (const [word, quoted] of text.matchAll(/"((?:[^"]|"")+)"|[\p{L}_][\p{L}\p{N}_$]*/gu))
        yield quoted === undefined ? word.toLowerCase() : quoted.replaceAll('""', '"');
}

/** A worker's own statement for a shard, which is a part of one that another node took. */
function ofShard(text: string, shards: ReadonlySet<number>): boolean {
    for (const name of namesIn(text)) {
        const [, number] = /_([0-9]{5,15})$/.exec(name) ?? [];
        if (number !== undefined && shards.has(Number(number))) return true;
    }
    return false;
}

/** Statements of clients about tables, the same ones of several nodes added up, the costliest first. Pure. */
export function mergeStatements({ nodes, shards, tables }: Answer): SlowView {
    const silent: { node: string; reason: string }[] = [];
    const since: Record<string, string | null> = {};
    const merged = new Map<string, CostlyStatement>();
    const [known, ids] = [new Set(tables), new Set(shards)];
    const sum = (a: number | null, b: number | null) => (a === null ? b : b === null ? a : a + b);
    let tracked = true;
    for (const { host, success, result } of nodes) {
        const node = nodeOf(host);
        if (!success) {
            silent.push({ node, reason: result });
            continue;
        }
        const answer = JSON.parse(result) as NodeAnswer;
        since[node] = answer.since;
        tracked &&= answer.tracked;
        for (const entry of answer.statements ?? []) {
            const names = [...namesIn(entry.text)];
            if (!names.some((name) => known.has(name)) || ofShard(entry.text, ids)) continue;
            const key = `${entry.role}\0${entry.text}`;
            const before = merged.get(key);
            merged.set(key, {
                ...entry,
                calls: (before?.calls ?? 0) + entry.calls,
                total: (before?.total ?? 0) + entry.total,
                rows: (before?.rows ?? 0) + entry.rows,
                keyed: sum(before?.keyed ?? null, entry.keyed),
                // the same tenants may be on each node
                keys: entry.keys === null ? (before?.keys ?? null) : Math.max(before?.keys ?? 0, entry.keys),
                nodes: [...(before?.nodes ?? []), node],
                share: 0,
            });
        }
    }
    const all = [...merged.values()].sort((a, b) => b.total - a.total);
    const total = all.reduce((time, one) => time + one.total, 0);
    return {
        statements: all.map((one) => ({ ...one, share: total === 0 ? 0 : one.total / total })),
        since,
        tracked: tracked && Object.keys(since).length > 0,
        silent,
    };
}

export async function readSlow(session: Session): Promise<SlowView> {
    const [row] = await session.query<{ answer: Answer }>(LOOK);
    if (!row) throw new Error("the coordinator gave no answer");
    return mergeStatements(row.answer);
}

const SAMPLES: readonly (readonly [types: RegExp, value: string])[] = [
    [/^(smallint|integer|bigint|numeric|real|double precision|oid|money)\b/, "1"],
    [/^(text|character|character varying|citext|name|bpchar)\b/, "x"],
    [/^uuid$/, "00000000-0000-0000-0000-000000000000"],
    [/^boolean$/, "true"],
    [/^(date|timestamp)/, "2000-01-01"],
    [/^time/, "00:00"],
    [/^interval/, "1 day"],
    [/^jsonb?$/, "{}"],
    [/^(inet|cidr)$/, "127.0.0.1"],
    [/^bytea$/, ""],
];

/** Any value of a type, as SQL; NULL where none is known. */
function sampleOf(type: string): string {
    const array = type.endsWith("[]");
    const element = array ? type.slice(0, -2) : type;
    const [, value] = SAMPLES.find(([types]) => types.test(element)) ?? [];
    if (value === undefined) return `NULL::${type}`;
    return `${literal(array ? `{"${value.replaceAll('"', '\\"')}"}` : value)}::${type}`;
}

/** A statement as pg_stat_statements keeps it, with a value of the right type for each parameter, so that it can be planned. Pure. */
export function withValues(text: string, types: readonly string[]): string {
    return text.replace(/\$([0-9]+)\b/g, (parameter, n: string) => {
        const type = types[Number(n) - 1];
        return type === undefined ? parameter : `(${sampleOf(type)})`;
    });
}
