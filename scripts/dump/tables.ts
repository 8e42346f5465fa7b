/** Tables with rows, where their shards are, and the COPY statements that read and write them. */
import type { Session } from "../../core/reach/session.ts";

/** A shard, or the table itself where it has none. */
export interface Part {
    /** As SQL has it, qualified and quoted. */
    readonly name: string;
    /** The node's group, as pg_dist_node counts; 0 is the coordinator. */
    readonly group: number;
}

export interface RowTable {
    /** As SQL has it, qualified and quoted. */
    readonly name: string;
    /** The same without quotes. */
    readonly schema: string;
    readonly bare: string;
    readonly oid: string;
    /** Its stored columns, quoted, without generated ones. */
    readonly columns: readonly string[];
    /** Which rows an extension lets be dumped; null: all. */
    readonly condition: string | null;
    /** Whether Citus knows it, so that its parts are shards. */
    readonly known: boolean;
    /** In the order of the shards. */
    readonly parts: readonly Part[];
}

/** Schemas whose tables are nobody's data. */
const OWN = [
    "pg_catalog",
    "information_schema",
    "citus",
    "citus_internal",
    "columnar",
    "columnar_internal",
    "citus_as_code",
];

/**
 * Every table that can hold rows, leaves of partitioned ones included, with one placement a shard. Tables of extensions
 * come with the rows that their extension marks as data.
 */
const TABLES = `
WITH config AS (
    SELECT u.oid, u.condition FROM pg_catalog.pg_extension e, unnest(e.extconfig, e.extcondition) AS u (oid, condition)
     WHERE e.extname NOT LIKE 'citus%'
)
SELECT c.oid::text AS oid, c.oid::pg_catalog.regclass::text AS name, n.nspname::text AS schema, c.relname::text AS bare,
       (SELECT coalesce(json_agg(pg_catalog.quote_ident(a.attname) ORDER BY a.attnum), '[]') FROM pg_catalog.pg_attribute a
         WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '') AS columns,
       nullif(config.condition, '') AS condition,
       coalesce((SELECT json_agg(json_build_object(
                     'name', CASE WHEN n.nspname = 'public' THEN 'public.' ELSE '' END || pg_catalog.shard_name(s.logicalrelid, s.shardid),
                     'group', (SELECT min(p.groupid) FROM pg_catalog.pg_dist_placement p WHERE p.shardid = s.shardid AND p.shardstate = 1))
                     ORDER BY s.shardid)
                   FROM pg_catalog.pg_dist_shard s WHERE s.logicalrelid = c.oid), '[]') AS shards,
       EXISTS (SELECT FROM pg_catalog.pg_dist_partition d WHERE d.logicalrelid = c.oid) AS known
  FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace LEFT JOIN config ON config.oid = c.oid
 WHERE c.relkind = 'r' AND c.relpersistence <> 't' AND NOT n.nspname = ANY ($1) AND n.nspname !~ '^pg_(toast|temp)'
   AND (config.oid IS NOT NULL OR NOT EXISTS (
        SELECT FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = c.oid AND d.deptype = 'e'))
   AND ($2::text IS NULL OR c.oid = pg_catalog.to_regclass($2))
 ORDER BY c.oid::pg_catalog.regclass::text COLLATE "C"`;

interface TableRow {
    readonly oid: string;
    readonly name: string;
    readonly schema: string;
    readonly bare: string;
    readonly columns: string[];
    readonly condition: string | null;
    readonly shards: { readonly name: string; readonly group: number | null }[];
    readonly known: boolean;
}

/**
 * @param only one table, as SQL has it; without it all
 * @throws Error naming a table whose shard has no placement that is whole
 */
export async function readTables(coordinator: Session, only?: string): Promise<RowTable[]> {
    const rows = await coordinator.query<TableRow>(TABLES, [OWN, only ?? null]);
    return rows.map(({ oid, name, schema, bare, columns, condition, shards, known }) => {
        const lost = shards.find(({ group }) => group === null);
        if (lost || (known && shards.length === 0))
            throw new Error(
                `${name}: ${lost ? `shard ${lost.name} has no placement that is whole` : "Citus knows it and it has no shards"}. Nothing was read.`,
            );
        const parts = known ? (shards as Part[]) : [{ name, group: 0 }];
        return { oid, name, schema, bare, columns, condition, known, parts };
    });
}

/** A quoted name on one line: a file is read line by line. */
export function oneLine(sql: string): string {
    if (!/[\r\n]/.test(sql)) return sql;
    return sql.replace(/"((?:[^"]|"")*)"/g, (whole, inner: string) => {
        if (!/[\r\n]/.test(inner)) return whole;
        return `U&"${inner.replaceAll("\\", "\\\\").replaceAll("\n", "\\000a").replaceAll("\r", "\\000d")}"`;
    });
}

/** A table without columns has rows all the same. */
const listed = (columns: readonly string[]) => (columns.length === 0 ? "" : ` (${columns.join(", ")})`);

/** Rows of one part. Only a table that is no shard can have heirs, whose rows are theirs. */
function source(table: RowTable, part: Part, where: string | undefined): string {
    const conditions = [table.condition?.replace(/^\s*WHERE\s+/i, ""), where]
        .filter((one) => one)
        .map((one) => `(${one})`);
    const only = table.known ? "" : "ONLY ";
    return `FROM ${only}${part.name}${conditions.length === 0 ? "" : ` WHERE ${conditions.join(" AND ")}`}`;
}

export const readStatement = (table: RowTable, part: Part, where?: string): string =>
    table.condition === null && where === undefined
        ? `COPY ${part.name}${listed(table.columns)} TO STDOUT`
        : `COPY (SELECT ${table.columns.join(", ")} ${source(table, part, where)}) TO STDOUT`;

export const countStatement = (table: RowTable, part: Part, where?: string): string =>
    `SELECT count(*)::text AS n ${source(table, part, where)}`;

export const writeStatement = (name: string, columns: readonly string[]): string =>
    oneLine(`COPY ${name}${listed(columns)} FROM stdin`);
