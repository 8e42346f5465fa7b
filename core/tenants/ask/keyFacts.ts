/** What a cluster knows of distribution keys: values, sizes of shards, and the statements that ran. */

import type { Session } from "../../reach/session.ts";
import { qualified } from "../../sql/quote.ts";
import type { KeyFacts, KeyStatements, KeyValues } from "./keyJudge.ts";
import { countNamed } from "./keyStatements.ts";

/** A table and the column by which it is distributed, or is to be. */
export interface KeyAsked {
    /** As it is declared, or `schema.name`. */
    readonly table: string;
    readonly column: string;
    /** Shards that it is to have. @default those of the cluster's configuration */
    readonly shards?: number;
}

/**
 * SQL query of one row (rows, distinct, nulls, biggest, value) for a column of a relation.
 * @param oid SQL expression. @param column SQL expression of type text
 */
const valuesSql = (oid: string, column: string) => `
SELECT r.reltuples::float8 AS rows, s.null_frac::float8 AS nulls, s.most_common_freqs[1]::float8 AS biggest, (s.most_common_vals::text::text[])[1] AS value,
       CASE WHEN s.n_distinct < 0 THEN round(-s.n_distinct::numeric * r.reltuples::numeric)::float8 ELSE s.n_distinct::float8 END AS "distinct"
  FROM pg_class r JOIN pg_namespace n ON n.oid = r.relnamespace
  LEFT JOIN pg_stats s ON s.schemaname = n.nspname AND s.tablename = r.relname AND s.attname = ${column} AND NOT s.inherited
 WHERE r.oid = ${oid}`;

/** The same as jsonb, for a table that is no Citus table yet. */
export const valuesOf = (oid: string, column: string) => `(SELECT to_jsonb(v) FROM (${valuesSql(oid, column)}) v)`;

interface ShardValues {
    readonly rows: number;
    readonly nulls: number | null;
    readonly biggest: number | null;
    readonly value: string | null;
    readonly distinct: number | null;
}

/**
 * A distributed table's values from those of its shards, which alone have statistics. Each key is in one shard. Pure.
 * @param shards what is known of each
 */
export function sumValues(shards: readonly ShardValues[]): KeyValues {
    const rows = shards.reduce((sum, shard) => sum + Math.max(0, shard.rows), 0);
    const known = shards.filter(({ distinct }) => distinct !== null);
    // a shard that was never analyzed and has no row that anybody counted says nothing
    if (known.length === 0) return { rows, distinct: null, nulls: null, biggest: null };
    const top = known
        .filter(({ biggest }) => biggest !== null)
        .map((shard) => ({ part: (shard.biggest ?? 0) * shard.rows, value: shard.value }))
        .sort((a, b) => b.part - a.part)[0];
    return {
        rows,
        distinct: known.reduce((sum, { distinct }) => sum + (distinct ?? 0), 0),
        nulls: rows === 0 ? 0 : known.reduce((sum, shard) => sum + (shard.nulls ?? 0) * shard.rows, 0) / rows,
        biggest: top === undefined || rows === 0 ? null : top.part / rows,
        value: top?.value ?? null,
    };
}

interface About {
    readonly schema: string;
    readonly name: string;
    readonly type: string | null;
    readonly isEnum: boolean;
    readonly distcol: string | null;
    readonly shards: number;
    readonly usual: number;
    readonly values: KeyValues;
    readonly largest: KeyFacts["largest"];
}

const ABOUT = `
SELECT n.nspname AS schema, c.relname AS name, format_type(a.atttypid, NULL) AS type, coalesce(t.typtype = 'e', false) AS "isEnum",
       CASE WHEN p.partmethod = 'h' THEN column_to_column_name(c.oid, p.partkey) END AS distcol,
       (SELECT count(*)::int FROM pg_dist_shard s WHERE s.logicalrelid = c.oid) AS shards,
       current_setting('citus.shard_count')::int AS usual, ${valuesOf("c.oid", "$2")} AS values,
       (SELECT jsonb_build_object('shard', z.shardid::text, 'node', split_part(z.nodename, '.', 1), 'bytes', z.bytes, 'mean', z.mean)
          FROM (SELECT s.shardid, s.nodename, s.shard_size::float8 AS bytes, avg(s.shard_size) OVER ()::float8 AS mean
                  FROM citus_shards s WHERE s.table_name = c.oid::regclass) z ORDER BY z.bytes DESC LIMIT 1) AS largest
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
  LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = $2 AND NOT a.attisdropped
  LEFT JOIN pg_type t ON t.oid = a.atttypid
  LEFT JOIN pg_dist_partition p ON p.logicalrelid = c.oid
 WHERE c.oid = to_regclass($1)`;

/** Statements of clients on the coordinator that took the most time; null where nothing counts them. */
async function readStatements(session: Session) {
    const [there] = await session.query<{ ok: boolean }>("SELECT to_regclass('pg_stat_statements') IS NOT NULL AS ok");
    if (!there?.ok) return null;
    return session.query<{ query: string; calls: number; milliseconds: number }>(
        `SELECT s.query, s.calls::float8 AS calls, s.total_exec_time AS milliseconds FROM pg_stat_statements s
          WHERE s.dbid = (SELECT oid FROM pg_database WHERE datname = current_database()) AND s.toplevel AND length(s.query) < 100000
            AND s.query !~* 'citus_as_code|pg_catalog|pg_dist_' ORDER BY s.total_exec_time DESC LIMIT 2000`,
    );
}

/**
 * Asks the coordinator, and every shard for its statistics: the coordinator has none of a distributed table.
 * @returns those of the tables that are there and have the column
 */
export async function readKeys(session: Session, asked: readonly KeyAsked[]): Promise<KeyFacts[]> {
    const ran = await readStatements(session);
    const facts: KeyFacts[] = [];
    for (const { table, column, shards } of asked) {
        const [about] = await session.query<About>(ABOUT, [qualified(table), column]);
        if (!about || about.type === null) continue;
        const distributed = about.distcol === column;
        let { values } = about;
        if (about.distcol !== null) {
            const answers = await session.query<{ success: boolean; result: string }>(
                "SELECT success, result FROM run_command_on_shards($1::regclass, $2)",
                [
                    qualified(table),
                    `SELECT to_jsonb(v) FROM (${valuesSql("(SELECT '%s'::regclass)", `'${column.replaceAll("'", "''").replaceAll("%", "%%")}'`)}) v`,
                ],
            );
            values = sumValues(
                answers.filter(({ success }) => success).map(({ result }) => JSON.parse(result) as ShardValues),
            );
            // values of another column are in many shards each, so their sum says nothing
            if (!distributed) values = { ...values, distinct: null, biggest: null };
        }
        const statements: KeyStatements | null = ran && (await countNamed(ran, about, column));
        facts.push({
            table,
            column,
            type: about.type,
            isEnum: about.isEnum,
            shards: distributed ? about.shards : (shards ?? about.usual),
            distributed,
            values: { ...values, rows: Math.max(0, values.rows) },
            largest: distributed ? about.largest : null,
            statements,
        });
    }
    return facts;
}

/** Tables that are distributed, by the column that they are distributed by. */
export const readDistributed = (session: Session) =>
    session.query<{ table: string; column: string }>(
        `SELECT CASE WHEN n.nspname = 'public' THEN c.relname ELSE n.nspname || '.' || c.relname END AS table, column_to_column_name(p.logicalrelid, p.partkey) AS column
           FROM pg_dist_partition p JOIN pg_class c ON c.oid = p.logicalrelid JOIN pg_namespace n ON n.oid = c.relnamespace
          WHERE p.partmethod = 'h' AND NOT c.relispartition ORDER BY 1`,
    );
