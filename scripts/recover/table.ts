/** A table of a restored copy, and the statements that make one like it in the living cluster. */

import type { Session } from "../../core/reach/session.ts";
import { literal } from "../../core/sql/quote.ts";

export interface Column {
    /** Quoted. */
    readonly name: string;
    readonly type: string;
    /** Where it is not its type's own; qualified and quoted. */
    readonly collation: string | null;
    readonly notNull: boolean;
    readonly generated: string | null;
    /** null also where it asks a sequence. */
    readonly default: string | null;
}

export interface Constraint {
    /** Quoted. */
    readonly name: string;
    /** p primary key, u unique, x exclusion, c check. */
    readonly kind: string;
    readonly definition: string;
}

/** How Citus keeps it. */
export interface Spread {
    /** h by a column, n none. */
    readonly method: string;
    /** t reference, s the others. */
    readonly model: string;
    readonly group: number;
    /** As it is, without quotes. */
    readonly column: string | null;
    readonly columnType: string | null;
    readonly shards: number;
    /** Tables of its group, itself among them, qualified and quoted. */
    readonly members: readonly string[];
    readonly ofSchema: boolean;
}

export interface Definition {
    /** Qualified and quoted. */
    readonly name: string;
    /** Without quotes. */
    readonly schema: string;
    readonly bare: string;
    readonly kind: string;
    readonly method: string;
    readonly unlogged: boolean;
    readonly columns: readonly Column[];
    readonly constraints: readonly Constraint[];
    /** Definitions of indexes that no constraint has, from USING on, with whether they are unique. */
    readonly indexes: readonly { readonly unique: boolean; readonly using: string }[];
    /** null: Citus does not know it. */
    readonly spread: Spread | null;
    /** What it has that a recovered table does not get. */
    readonly left: {
        readonly foreignKeys: number;
        readonly triggers: number;
        readonly policies: number;
        /** Columns whose values a sequence gives, quoted. */
        readonly numbered: readonly string[];
    };
    /** Partitions with rows, or itself; qualified and quoted. */
    readonly leaves: readonly string[];
}

const DEFINITION = `
WITH t AS (SELECT c.*, n.nspname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = to_regclass($1)),
uses_sequence AS (
    SELECT d.objid FROM pg_depend d JOIN pg_class s ON s.oid = d.refobjid AND s.relkind = 'S'
     WHERE d.classid = 'pg_attrdef'::regclass AND d.refclassid = 'pg_class'::regclass)
SELECT t.oid::regclass::text AS name, t.nspname AS schema, t.relname AS bare, t.relkind::text AS kind,
       coalesce((SELECT amname::text FROM pg_am WHERE oid = t.relam), 'heap') AS method, t.relpersistence = 'u' AS unlogged,
       (SELECT coalesce(json_agg(json_build_object(
                   'name', quote_ident(a.attname), 'type', format_type(a.atttypid, a.atttypmod),
                   'collation', (SELECT quote_ident(n.nspname) || '.' || quote_ident(l.collname) FROM pg_collation l JOIN pg_namespace n ON n.oid = l.collnamespace
                                  WHERE l.oid = a.attcollation AND a.attcollation <> y.typcollation),
                   'notNull', a.attnotnull, 'generated', CASE a.attgenerated WHEN 's' THEN pg_get_expr(d.adbin, d.adrelid) END,
                   'default', CASE WHEN a.attgenerated = '' AND d.oid NOT IN (SELECT objid FROM uses_sequence) THEN pg_get_expr(d.adbin, d.adrelid) END)
                   ORDER BY a.attnum), '[]')
          FROM pg_attribute a JOIN pg_type y ON y.oid = a.atttypid LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
         WHERE a.attrelid = t.oid AND a.attnum > 0 AND NOT a.attisdropped) AS columns,
       (SELECT coalesce(json_agg(json_build_object('name', quote_ident(conname), 'kind', contype, 'definition', pg_get_constraintdef(oid))
                   ORDER BY contype, conname), '[]') FROM pg_constraint WHERE conrelid = t.oid AND contype IN ('p', 'u', 'x', 'c')) AS constraints,
       (SELECT coalesce(json_agg(json_build_object('unique', i.indisunique, 'definition', pg_get_indexdef(i.indexrelid), 'index', quote_ident(x.relname))
                   ORDER BY x.relname), '[]') FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid
         WHERE i.indrelid = t.oid AND NOT EXISTS (SELECT FROM pg_constraint k WHERE k.conindid = i.indexrelid AND k.conrelid = t.oid)) AS indexes,
       (SELECT json_build_object('method', p.partmethod, 'model', p.repmodel, 'group', p.colocationid,
                   'column', CASE WHEN p.partkey IS NOT NULL THEN column_to_column_name(p.logicalrelid, p.partkey) END,
                   'columnType', (SELECT format_type(a.atttypid, NULL) FROM pg_attribute a
                                   WHERE a.attrelid = p.logicalrelid AND p.partkey IS NOT NULL AND a.attname = column_to_column_name(p.logicalrelid, p.partkey)),
                   'shards', (SELECT count(*) FROM pg_dist_shard s WHERE s.logicalrelid = p.logicalrelid),
                   'members', (SELECT json_agg(o.logicalrelid::regclass::text ORDER BY o.logicalrelid <> p.logicalrelid, o.logicalrelid::regclass::text)
                                 FROM pg_dist_partition o WHERE o.logicalrelid = p.logicalrelid OR (o.colocationid = p.colocationid AND p.colocationid <> 0)),
                   'ofSchema', EXISTS (SELECT FROM pg_dist_schema s WHERE s.schemaid = t.relnamespace))
          FROM pg_dist_partition p WHERE p.logicalrelid = t.oid) AS spread,
       json_build_object(
           'foreignKeys', (SELECT count(*) FROM pg_constraint WHERE conrelid = t.oid AND contype = 'f'),
           'triggers', (SELECT count(*) FROM pg_trigger WHERE tgrelid = t.oid AND NOT tgisinternal),
           'policies', (SELECT count(*) FROM pg_policy WHERE polrelid = t.oid),
           'numbered', (SELECT coalesce(json_agg(quote_ident(a.attname) ORDER BY a.attnum), '[]') FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
                          WHERE a.attrelid = t.oid AND NOT a.attisdropped AND (a.attidentity <> '' OR d.oid IN (SELECT objid FROM uses_sequence)))) AS left,
       CASE t.relkind WHEN 'p' THEN (SELECT coalesce(json_agg(relid::regclass::text), '[]') FROM pg_partition_tree(t.oid) WHERE isleaf)
            ELSE json_build_array(t.oid::regclass::text) END AS leaves
  FROM t`;

type Row = Omit<Definition, "indexes"> & {
    readonly indexes: readonly { readonly unique: boolean; readonly definition: string; readonly index: string }[];
};

/** A table's indexes' definitions without their own name and their table's. Pure. */
export function indexUsing(definition: string, index: string, table: string): string {
    for (const unique of ["", "UNIQUE "])
        for (const only of ["", "ONLY "]) {
            const start = `CREATE ${unique}INDEX ${index} ON ${only}${table} `;
            if (definition.startsWith(start)) return definition.slice(start.length);
        }
    throw new Error(`The index ${index} of ${table} has a definition that can't be read: ${definition}`);
}

/**
 * @param named as SQL has it; without a schema it is one of public
 * @returns undefined when there is no such table
 */
export async function readDefinition(coordinator: Session, named: string): Promise<Definition | undefined> {
    await coordinator.query("SELECT set_config('search_path', 'public', false)");
    const [resolved] = await coordinator.query<{ oid: string | null }>("SELECT to_regclass($1)::oid::text AS oid", [
        named,
    ]);
    await coordinator.query("SELECT set_config('search_path', '', false)");
    if (!resolved?.oid) return undefined;
    const [row] = await coordinator.query<Row>(DEFINITION, [resolved.oid]);
    if (!row || !["r", "p"].includes(row.kind)) return undefined;
    return {
        ...row,
        indexes: row.indexes.map(({ unique, definition, index }) => ({
            unique,
            using: indexUsing(definition, index, row.name),
        })),
    };
}

/** Statements that make an empty table like it; without owner, grants, foreign keys, triggers, policies and sequences. Pure. */
export function createStatements(table: Definition, into: string): string[] {
    const columns = table.columns.map((column) =>
        [
            column.name,
            column.type,
            ...(column.collation === null ? [] : [`COLLATE ${column.collation}`]),
            ...(column.generated === null ? [] : [`GENERATED ALWAYS AS (${column.generated}) STORED`]),
            ...(column.default === null ? [] : [`DEFAULT ${column.default}`]),
            ...(column.notNull ? ["NOT NULL"] : []),
        ].join(" "),
    );
    // a key's index would have the name of the original's
    const constraints = table.constraints.map(({ name, kind, definition }) =>
        kind === "c" ? `CONSTRAINT ${name} ${definition}` : definition,
    );
    return [
        `CREATE ${table.unlogged ? "UNLOGGED " : ""}TABLE ${into} (${[...columns, ...constraints.filter((one) => !/ NOT VALID$/.test(one))].join(", ")})${table.method === "heap" ? "" : ` USING ${table.method}`}`,
        ...table.indexes.map(({ unique, using }) => `CREATE ${unique ? "UNIQUE " : ""}INDEX ON ${into} ${using}`),
    ];
}

/** What the living cluster has of the group. */
export interface Living {
    /** Tables of the original's group that are still there and hash a column of the same type; qualified and quoted. */
    readonly members: readonly string[];
    /** Whether the schema of the new table is a distributed one. */
    readonly schemaDistributed: boolean;
}

export interface Distribution {
    readonly statements: readonly string[];
    /** What it is then, for a person. */
    readonly says: string;
}

/** How the new table is spread: like the original, and beside its group where that still exists. Pure. */
export function distribution({ name, spread }: Definition, into: string, living: Living): Distribution {
    if (living.schemaDistributed)
        return { statements: [], says: "in the distributed schema, with the schema's other tables" };
    if (spread === null || (spread.method === "n" && spread.model !== "t" && spread.group === 0))
        return { statements: [], says: "a table of the coordinator" };
    if (spread.method === "n" && spread.model === "t")
        return {
            statements: [`SELECT pg_catalog.create_reference_table(${literal(into)})`],
            says: "a reference table",
        };
    if (spread.method !== "h" && spread.method !== "n")
        return {
            statements: [],
            says: `a table of the coordinator: ${name} was distributed by range or append, which no call makes again`,
        };
    const column = spread.column === null ? "NULL" : literal(spread.column);
    const by = spread.column === null ? "with one shard" : `distributed by ${spread.column}`;
    const call = (rest: string) => `SELECT pg_catalog.create_distributed_table(${literal(into)}, ${column}, ${rest})`;
    const [beside] = living.members;
    if (beside !== undefined)
        return {
            statements: [call(`colocate_with => ${literal(beside)}`)],
            says: `${by}, colocated with ${living.members.slice(0, 5).join(", ")}`,
        };
    const shards = spread.column === null ? "" : `, shard_count => ${spread.shards}`;
    return {
        statements: [call(`colocate_with => 'none'${shards}`)],
        says: `${by}; no table of its group is left in the cluster, so it is colocated with none`,
    };
}

export async function readLiving(coordinator: Session, { spread }: Definition, schema: string): Promise<Living> {
    const members = await coordinator.query<{ name: string }>(
        `SELECT p.logicalrelid::regclass::text AS name FROM unnest($1::text[]) WITH ORDINALITY AS m (name, n)
           JOIN pg_dist_partition p ON p.logicalrelid = to_regclass(m.name)
          WHERE p.partmethod = $2 AND p.colocationid <> 0 AND p.repmodel <> 't'
            AND ($3::text IS NULL OR $3 = (SELECT format_type(a.atttypid, NULL) FROM pg_attribute a
                 WHERE a.attrelid = p.logicalrelid AND p.partkey IS NOT NULL AND a.attname = column_to_column_name(p.logicalrelid, p.partkey)))
          ORDER BY m.n`,
        [spread?.members ?? [], spread?.method ?? "", spread?.columnType ?? null],
    );
    const [own] = await coordinator.query<{ distributed: boolean }>(
        "SELECT EXISTS (SELECT FROM pg_dist_schema WHERE schemaid = to_regnamespace(quote_ident($1))) AS distributed",
        [schema],
    );
    return { members: members.map(({ name }) => name), schemaDistributed: own?.distributed === true };
}

/** The new table's name from what was asked for. */
export interface Target {
    /** Qualified and quoted. */
    readonly name: string;
    readonly schema: string;
}

/**
 * @param into `name` or `schema.name` as SQL has them; without it the original's name and `_recovered`
 * @throws Error when it is taken, too long, or its schema does not exist
 */
export async function readTarget(
    living: Session,
    table: { readonly schema: string; readonly bare: string },
    into: string | undefined,
): Promise<Target> {
    const parts =
        into === undefined
            ? [table.schema, `${table.bare}_recovered`]
            : ((await living.query<{ parts: string[] }>("SELECT parse_ident($1) AS parts", [into]))[0]?.parts ?? []);
    const [schema = "", bare = ""] = parts.length === 1 ? [table.schema, parts[0] ?? ""] : parts;
    if (parts.length > 2 || bare === "" || Buffer.byteLength(bare) > 63)
        throw new Error(`${parts.join(".")} can't be a table's name. Nothing was done. Give another one: --into NAME`);
    const [row] = await living.query<{ name: string; taken: boolean; there: boolean }>(
        `SELECT quote_ident($1) || '.' || quote_ident($2) AS name, to_regnamespace(quote_ident($1)) IS NOT NULL AS there,
                EXISTS (SELECT FROM pg_class WHERE relname = $2 AND relnamespace = to_regnamespace(quote_ident($1))) AS taken`,
        [schema, bare],
    );
    if (!row?.there)
        throw new Error(
            `There is no schema ${schema} in the cluster. Nothing was done. Make it, or name another place: --into public.${bare}`,
        );
    if (row.taken) throw new Error(`There is a ${row.name} already. Nothing was done. Give another name: --into NAME`);
    return { name: row.name, schema };
}
