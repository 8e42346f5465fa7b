/** From the catalogs of a living database to its tables. */
import { parse } from "libpg-query";
import type { Session } from "../../../reach/session.ts";
import { literal } from "../../../sql/quote.ts";
import { isClock, settingOf, unsteadyText } from "./ast.ts";
import type { Declared } from "./declared.ts";
import { type Key, type Kind, keyOf, nameOf, type Schema, type SourcePlace, type Table } from "./model.ts";
import { about } from "./sql.ts";

interface Row {
    readonly schema: string;
    readonly name: string;
    readonly persistence: string;
    /** Null for heap. */
    readonly method: string | null;
    readonly forced: boolean;
    readonly replident: string;
    readonly parent: string | null;
    readonly partition: boolean;
    readonly kind: Kind;
    readonly distcol: string | null;
    readonly colocation: number | null;
    readonly columns:
        | readonly {
              readonly name: string;
              readonly type: string;
              readonly notNull: boolean;
              readonly generated: boolean;
              readonly identity: boolean;
              readonly value: string | null;
              readonly enum: boolean;
          }[]
        | null;
    readonly indexes:
        | readonly {
              readonly name: string;
              readonly type: string | null;
              readonly unique: boolean;
              readonly whole: boolean;
              readonly method: string;
              readonly columns: readonly (string | null)[];
              readonly operators: readonly string[] | null;
          }[]
        | null;
    readonly keys:
        | readonly {
              readonly name: string;
              readonly columns: readonly string[];
              readonly target: string;
              readonly targets: readonly string[];
              readonly onDelete: string;
              readonly onUpdate: string;
          }[]
        | null;
    readonly policies:
        | readonly {
              readonly name: string;
              readonly permissive: boolean;
              readonly subQuery: boolean;
              readonly conditions: readonly string[];
          }[]
        | null;
    readonly triggers: readonly string[] | null;
    readonly rules: readonly string[] | null;
}

const NAMES = (relation: string, keys: string) =>
    `(SELECT jsonb_agg(a.attname ORDER BY k.n) FROM unnest(${keys}) WITH ORDINALITY k(attnum, n)
      LEFT JOIN pg_attribute a ON a.attrelid = ${relation} AND a.attnum = k.attnum AND k.attnum > 0)`;

/** Every table of people, with all that a rule asks of it. */
const TABLES = `
SELECT n.nspname AS schema, c.relname AS name, c.relpersistence::text AS persistence,
    CASE WHEN c.relkind = 'r' THEN (SELECT nullif(m.amname, 'heap') FROM pg_am m WHERE m.oid = c.relam) END AS method, c.relforcerowsecurity AS forced,
    c.relreplident::text AS replident, c.relispartition AS partition,
    (SELECT pn.nspname || '.' || pc.relname FROM pg_inherits i JOIN pg_class pc ON pc.oid = i.inhparent
        JOIN pg_namespace pn ON pn.oid = pc.relnamespace WHERE i.inhrelid = c.oid ORDER BY i.inhseqno LIMIT 1) AS parent,
    CASE WHEN p.logicalrelid IS NULL THEN 'local' WHEN p.partmethod = 'h' THEN 'distributed'
        WHEN p.partmethod = 'n' AND p.repmodel = 't' THEN 'reference'
        WHEN p.partmethod = 'n' AND p.colocationid > 0 THEN 'single' WHEN p.partmethod = 'n' THEN 'local' ELSE 'unknown' END AS kind,
    CASE WHEN p.partmethod = 'h' THEN column_to_column_name(c.oid, p.partkey) END AS distcol, p.colocationid::int AS colocation,
    (SELECT jsonb_agg(jsonb_build_object('name', a.attname, 'type', format_type(a.atttypid, NULL), 'notNull', a.attnotnull,
            'generated', a.attgenerated <> '', 'identity', a.attidentity <> '',
            'enum', (SELECT y.typtype = 'e' FROM pg_type y WHERE y.oid = a.atttypid), 'value', pg_get_expr(d.adbin, d.adrelid))
            ORDER BY a.attnum)
        FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
        WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped) AS columns,
    (SELECT jsonb_agg(jsonb_build_object('name', ic.relname, 'type', x.contype, 'unique', i.indisunique, 'whole', i.indpred IS NULL,
            'method', am.amname, 'columns', ${NAMES("i.indrelid", "i.indkey::int2[]")},
            'operators', (SELECT jsonb_agg(o.oprname ORDER BY e.n) FROM unnest(x.conexclop) WITH ORDINALITY e(oid, n)
                JOIN pg_operator o ON o.oid = e.oid)) ORDER BY ic.relname)
        FROM pg_index i JOIN pg_class ic ON ic.oid = i.indexrelid JOIN pg_am am ON am.oid = ic.relam
        LEFT JOIN pg_constraint x ON x.conindid = i.indexrelid AND x.conrelid = i.indrelid AND x.contype IN ('p', 'u', 'x')
        WHERE i.indrelid = c.oid) AS indexes,
    (SELECT jsonb_agg(jsonb_build_object('name', f.conname, 'columns', ${NAMES("f.conrelid", "f.conkey")},
            'target', fn.nspname || '.' || fc.relname, 'targets', ${NAMES("f.confrelid", "f.confkey")},
            'onDelete', f.confdeltype, 'onUpdate', f.confupdtype) ORDER BY f.conname)
        FROM pg_constraint f JOIN pg_class fc ON fc.oid = f.confrelid JOIN pg_namespace fn ON fn.oid = fc.relnamespace
        WHERE f.conrelid = c.oid AND f.contype = 'f' AND f.conparentid = 0) AS keys,
    (SELECT jsonb_agg(jsonb_build_object('name', o.polname, 'permissive', o.polpermissive,
            'subQuery', concat(o.polqual::text, o.polwithcheck::text) LIKE '%{SUBLINK %',
            'conditions', array_remove(ARRAY[pg_get_expr(o.polqual, o.polrelid), pg_get_expr(o.polwithcheck, o.polrelid)], NULL))
            ORDER BY o.polname) FROM pg_policy o WHERE o.polrelid = c.oid) AS policies,
    (SELECT jsonb_agg(t.tgname ORDER BY t.tgname) FROM pg_trigger t WHERE t.tgrelid = c.oid AND NOT t.tgisinternal
        AND t.tgparentid = 0) AS triggers,
    (SELECT jsonb_agg(r.rulename ORDER BY r.rulename) FROM pg_rewrite r WHERE r.ev_class = c.oid) AS rules
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_dist_partition p ON p.logicalrelid = c.oid
WHERE c.relkind IN ('r', 'p') AND c.relpersistence <> 't'
    AND n.nspname !~ '^(pg_.*|information_schema|citus.*|columnar.*)$' AND NOT relation_is_a_known_shard(c.oid)
    AND NOT EXISTS (SELECT FROM pg_depend e WHERE e.classid = 'pg_class'::regclass AND e.objid = c.oid AND e.deptype = 'e')
ORDER BY n.nspname, c.relname`;

function keysOf(row: Row, place: SourcePlace): Key[] {
    const kinds: Readonly<Record<string, Key["kind"]>> = { p: "primary", u: "unique", x: "exclude" };
    return (row.indexes ?? [])
        .filter(({ unique, type }) => unique || type !== null)
        .map(({ name, type, columns, operators, method }) => ({
            name,
            kind: kinds[type ?? ""] ?? "index",
            parts: columns.map((column, i) => ({
                ...(column === null ? {} : { column }),
                ...(operators?.[i] === undefined ? {} : { operator: operators[i] }),
            })),
            method,
            // it is there, so it can be dropped
            late: false,
            place,
        }));
}

async function policiesOf(row: Row, place: SourcePlace): Promise<Table["policies"]> {
    const policies: Table["policies"] = [];
    for (const { name, permissive, subQuery, conditions } of row.policies ?? []) {
        let setting: ReturnType<typeof settingOf>;
        for (const condition of conditions)
            if (condition.includes("current_setting")) setting ??= settingOf(await parse(`SELECT ${condition}`));
        policies.push({ name, permissive, subQuery, ...(setting === undefined ? {} : { setting }), place });
    }
    return policies;
}

async function tableOf(row: Row, { tables = {}, model }: Declared): Promise<Table> {
    const spec = tables[`${row.schema}.${row.name}`] ?? (row.schema === "public" ? tables[row.name] : undefined);
    const made = row.kind !== "local" && row.kind !== "unknown";
    const kind = made || model === "rls" ? row.kind : (spec?.kind ?? row.kind);
    const column = row.distcol ?? spec?.column;
    const place: SourcePlace = { where: keyOf(row.schema, row.name) };
    const group =
        row.kind === "distributed" || row.kind === "single"
            ? `colocation ${row.colocation}`
            : spec?.kind === "distributed"
              ? "declared"
              : undefined;
    return {
        schema: row.schema,
        name: row.name,
        qualified: false,
        kind,
        ...(column === undefined ? {} : { column }),
        ...(group === undefined ? {} : { group }),
        made,
        known: true,
        declared: spec !== undefined,
        columns: new Map(
            (row.columns ?? []).map(({ name, type, notNull, generated, identity, value }) => {
                const fickle = unsteadyText(value ?? "");
                const sequence = identity || /\bnextval\(/.test(value ?? "");
                const own = { name, type, notNull, generated, identity, sequence, place };
                return [
                    name,
                    {
                        ...own,
                        ...(fickle === undefined ? {} : { volatile: fickle }),
                        ...(isClock(fickle) ? { clock: place } : {}),
                    },
                ];
            }),
        ),
        keys: keysOf(row, place),
        foreignKeys: (row.keys ?? []).map(({ name, columns, target, targets, onDelete, onUpdate }) => ({
            name,
            columns,
            target,
            targetColumns: targets,
            onDelete,
            onUpdate,
            late: false,
            place,
        })),
        policies: await policiesOf(row, place),
        leading: new Set(
            (row.indexes ?? []).flatMap(({ whole, columns }) => (whole && columns[0] ? [columns[0]] : [])),
        ),
        triggers: (row.triggers ?? []).map((name) => ({ name, late: false, place })),
        rules: (row.rules ?? []).map((name) => ({ name, late: false, place })),
        ...(row.forced ? { forced: place } : {}),
        ...(row.persistence === "u" ? { unlogged: place } : {}),
        ...(row.method === null ? {} : { accessMethod: { name: row.method, place } }),
        identity: row.replident === "f" || row.replident === "i",
        parents: row.parent !== null && !row.partition ? [{ name: row.parent, late: false, place }] : [],
        ...(row.partition && row.parent !== null ? { partition: row.parent } : {}),
        place,
    };
}

/** Whether copies of a reference table are the same in columns whose default each node may have worked out for itself. */
async function differences(session: Session, table: Table): Promise<NonNullable<Table["differing"]>> {
    const columns = [...table.columns.values()].filter((column) => column.volatile !== undefined);
    if (columns.length === 0) return [];
    const sums = columns.map(({ name }) => {
        const own = `"${name.replaceAll('"', '""')}"`.replaceAll("%", "%%");
        return `coalesce(sum(hashtextextended(${own}::text, 0)::numeric), 0)`;
    });
    const rows = await session.query<{ result: string; success: boolean }>(
        `SELECT result, success FROM run_command_on_placements(${literal(nameOf(table))}::regclass, $1)`,
        [`SELECT jsonb_build_array(${sums.join(", ")}) FROM %s`],
    );
    const copies = rows.filter(({ success }) => success).map(({ result }) => JSON.parse(result) as readonly unknown[]);
    return columns.flatMap(({ name, volatile = "" }, i) =>
        new Set(copies.map((copy) => String(copy[i]))).size > 1
            ? [{ column: name, call: /^[A-Z]/.test(volatile) ? volatile : `${volatile}()` }]
            : [],
    );
}

/**
 * Reads a coordinator's tables: one query, and one more for each reference table whose copies might differ.
 * @returns the same tables as each group sees them
 */
export async function readTables(session: Session, groups: readonly Declared[]): Promise<Schema[]> {
    const rows = await session.query<Row>(TABLES);
    const enums = new Set(
        rows.flatMap(({ columns }) => (columns ?? []).flatMap((column) => (column.enum ? [column.type] : []))),
    );
    const differing = new Map<string, Table["differing"]>();
    for (const row of rows) {
        if (row.kind !== "reference") continue;
        const table = await tableOf(row, {});
        differing.set(keyOf(row.schema, row.name), await differences(session, table));
    }
    const schemas: Schema[] = [];
    for (const declared of groups) {
        const tables = new Map<string, Table>();
        for (const row of rows) {
            const table = await tableOf(row, declared);
            const copies = differing.get(keyOf(row.schema, row.name));
            tables.set(keyOf(row.schema, row.name), copies ? { ...table, differing: copies } : table);
        }
        schemas.push({ tables, changes: [], enums, ...about(declared), living: true });
    }
    return schemas;
}
