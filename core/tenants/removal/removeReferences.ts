/** Foreign keys to tables of tenants, and which of them change rows of others when a tenant's are deleted. */

export interface Reference {
    /** Number of the referencing table; null for a table that is not one of these. */
    readonly from: number | null;
    readonly to: number;
    /** The referencing table, as the database writes it. */
    readonly other: string;
    /** Whether it changes referencing rows. */
    readonly cascades: boolean;
    readonly columns: readonly string[];
    readonly referenced: readonly string[];
}

const columnsOf = (of: string, keys: string) =>
    `(SELECT jsonb_agg(a.attname ORDER BY x.i) FROM unnest(${keys}) WITH ORDINALITY AS x (n, i) JOIN pg_attribute a ON a.attrelid = ${of} AND a.attnum = x.n)`;

/** SQL query for one jsonb: foreign keys to some tables. @param names SQL for a text[] of quoted names, counted from 0 */
export const REFERENCES = (names: string) => `
    WITH t AS (SELECT i::int - 1 AS i, to_regclass(quoted)::oid AS oid FROM unnest(${names}::text[]) WITH ORDINALITY AS x (quoted, i))
    SELECT coalesce(jsonb_agg(jsonb_build_object('from', f.i, 'to', t.i, 'other', k.conrelid::regclass::text, 'cascades', k.confdeltype IN ('c', 'n', 'd'),
               'columns', ${columnsOf("k.conrelid", "k.conkey")}, 'referenced', ${columnsOf("k.confrelid", "k.confkey")})), '[]')
      FROM pg_constraint k JOIN t ON t.oid = k.confrelid LEFT JOIN t f ON f.oid = k.conrelid
     WHERE k.contype = 'f' AND k.conparentid = 0`;

/** Whether deleting a tenant's rows may change rows of others: it cascades, and does not pair the tenants of the two tables. */
export const changesOthers = (
    { cascades, columns, referenced }: Pick<Reference, "cascades" | "columns" | "referenced">,
    from: string | undefined,
    to: string | undefined,
): boolean => cascades && !columns.some((column, i) => from !== undefined && column === from && referenced[i] === to);
