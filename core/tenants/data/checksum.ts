/** Counts and order-free checksums of a tenant's rows: the same in every model, on every node. */

import type { Session } from "../../reach/session.ts";
import { identifier, literal } from "../../sql/quote.ts";
import type { Slice, TableShape } from "./shape.ts";

export interface Print {
    /** Number of rows, in decimal. */
    readonly count: string;
    /** Sum of the hashes of the rows' text. */
    readonly sum: string;
}

export type Prints = Readonly<Record<string, Print>>;

export const samePrint = (a: Print | undefined, b: Print | undefined) => a?.count === b?.count && a?.sum === b?.sum;

/** Names of what is not the same. */
export const differingTables = (before: Prints, after: Prints) =>
    Object.keys({ ...before, ...after }).filter((name) => !samePrint(before[name], after[name]));

/**
 * How values become text, in this transaction and on the workers that it reaches, whatever a database or role has set for
 * itself.
 */
export const SAME_TEXT = `
SET LOCAL citus.propagate_set_commands = 'local';
SET LOCAL datestyle = 'ISO, MDY'; SET LOCAL intervalstyle = 'postgres'; SET LOCAL timezone = 'UTC';
SET LOCAL extra_float_digits = 1; SET LOCAL bytea_output = 'hex'; SET LOCAL xmloption = 'content';
`;

/** Quoted name of a table. */
export const nameOf = ({ schema, name }: TableShape) => `${identifier(schema)}.${identifier(name)}`;

/** Columns that hold something of their own. */
export const storedColumns = ({ columns }: TableShape) =>
    columns.filter(({ generated }) => !generated).map(({ name }) => name);

/** Which of the table's rows are the tenant's. */
export const whereOf = ({ key }: Slice) => (key ? ` WHERE ${identifier(key.column)} = ${literal(key.value)}` : "");

/** The tenant's rows of a table. */
export function rowsOf(slice: Slice, columns: readonly string[]): string {
    // a table may have no column to copy; its rows count all the same
    return `SELECT ${columns.map(identifier).join(", ") || "1"} FROM ${nameOf(slice.table)}${whereOf(slice)}`;
}

/** What is asked of rows `t`: their whole text, also where a column is called t. */
export const PRINT =
    "count(*)::text AS count, coalesce(sum(hashtextextended((t.*)::text, 0)::numeric), 0)::text AS sum";

/** SQL query (count, sum) for the tenant's rows of a table. */
export const printSql = (slice: Slice, columns: readonly string[]) =>
    `SELECT ${PRINT} FROM (${rowsOf(slice, columns)}) AS t`;

/** SQL that fails, naming the table, when there are rows of the tenant already. */
export const emptyCheck = (slices: readonly Slice[]) =>
    `DO $check$\n#variable_conflict use_column\nDECLARE n bigint; BEGIN\n${slices
        .map(
            (slice) =>
                `SELECT count(*) INTO n FROM ${nameOf(slice.table)}${whereOf(slice)}; IF n > 0 THEN RAISE EXCEPTION '% has % rows already', ${literal(nameOf(slice.table))}, n; END IF;`,
        )
        .join("\n")}\nEND $check$;`;

/**
 * Counts and checksums of some slices, by name, over fixed lists of columns. To be asked inside a transaction.
 */
export async function printSlices(
    session: Session,
    slices: readonly { readonly name: string; readonly slice: Slice; readonly columns: readonly string[] }[],
): Promise<Prints> {
    const prints: Record<string, Print> = {};
    await session.query(SAME_TEXT);
    for (const { name, slice, columns } of slices) {
        const [row] = await session.query<{ count: string; sum: string }>(printSql(slice, columns));
        prints[name] = { count: row?.count ?? "0", sum: row?.sum ?? "0" };
    }
    return prints;
}

/** Runs something in a transaction of its own. */
export async function inTransaction<T>(session: Session, work: () => Promise<T>): Promise<T> {
    await session.query("BEGIN");
    try {
        const result = await work();
        await session.query("COMMIT");
        return result;
    } catch (error) {
        await session.query("ROLLBACK").catch(() => undefined);
        throw error;
    }
}

/** Slices over all of their stored columns; those of one name with their schema before it. */
export function allColumns(slices: readonly Slice[]) {
    const names = slices.map(({ name }) => name);
    return slices.map((slice, i) => {
        const alone = names.indexOf(slice.name) === i && names.lastIndexOf(slice.name) === i;
        return {
            name: alone ? slice.name : `${slice.table.schema}.${slice.name}`,
            slice,
            columns: storedColumns(slice.table),
        };
    });
}

/** All that is a tenant's, table by table, over all stored columns. */
export function printTenant(session: Session, slices: readonly Slice[]): Promise<Prints> {
    return inTransaction(session, () => printSlices(session, allColumns(slices)));
}

/** Tables as jsonb, where `condition` holds for their pg_class `c` and pg_namespace `n`. */
export const shapesSql = (condition: string) => `(
    SELECT coalesce(jsonb_agg(jsonb_build_object('schema', n.nspname, 'name', c.relname,
               'columns', (SELECT coalesce(jsonb_agg(jsonb_build_object('name', a.attname, 'type', format_type(a.atttypid, a.atttypmod),
                                                                        'generated', a.attgenerated <> '') ORDER BY a.attnum), '[]')
                             FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped),
               'references', (SELECT coalesce(jsonb_agg(DISTINCT fn.nspname || '.' || fc.relname), '[]')
                                FROM pg_constraint k JOIN pg_class fc ON fc.oid = k.confrelid JOIN pg_namespace fn ON fn.oid = fc.relnamespace
                               WHERE k.conrelid = c.oid AND k.contype = 'f' AND k.confrelid <> c.oid))
               ORDER BY n.nspname, c.relname), '[]')
      FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND (${condition})
       AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e'))`;

/** A tenant's own database: everything but what is PostgreSQL's or this project's. */
export const OWN_TABLES =
    "n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'citus', 'citus_internal', 'columnar', 'columnar_internal', 'citus_as_code')";

export async function readShapes(session: Session, condition: string): Promise<TableShape[]> {
    const [row] = await session.query<{ shapes: TableShape[] }>(`SELECT ${shapesSql(condition)} AS shapes`);
    return row?.shapes ?? [];
}
