/** L6, L7, L9, L13, L15, L16, L24: columns. */
import { type Finding, finding, type Rule } from "../read/finding.ts";
import { type Column, isCitus, keyOf, name, nameOf, type Schema, type Table } from "../read/model.ts";

/** Tables with the column that they are distributed by. */
function* distributed(schema: Schema) {
    for (const table of schema.tables.values()) {
        const column = table.kind === "distributed" ? table.columns.get(table.column ?? "") : undefined;
        if (column) yield { table, column };
    }
}

/** L6: tables of one group by columns of different types. */
export const typesApart: Rule = (schema) => {
    const found: Finding[] = [];
    for (const { table, column } of distributed(schema)) {
        const key = table.with ?? (table.group === "declared" ? schema.anchor : undefined);
        const other = key === undefined ? undefined : schema.tables.get(key);
        const type = other?.columns.get(other.column ?? "")?.type;
        if (!other || other === table || type === undefined || type === column.type) continue;
        found.push(
            finding("L6", "error", column.place, {
                says: `${nameOf(table)} is distributed by ${column.name} of type ${column.type}, and ${nameOf(other)} by ${type}: one group has one type`,
                later: `Distribution column types don't match for ${other.name} and ${table.name}.`,
                fix: `ALTER TABLE ${nameOf(table)} ALTER COLUMN ${name(column.name)} TYPE ${type};`,
            }),
        );
    }
    return found;
};

/** L7: a distribution column that is computed. */
export const computedColumn: Rule = (schema) =>
    [...distributed(schema)]
        .filter(({ column }) => column.generated)
        .map(({ table, column }) =>
            finding("L7", "error", column.place, {
                says: `${column.name}, by which ${nameOf(table)} is distributed, is computed from other columns`,
                later: "Distribution column must not use GENERATED ALWAYS AS (...) STORED.",
                fix: `ALTER TABLE ${nameOf(table)} ALTER COLUMN ${name(column.name)} DROP EXPRESSION;`,
            }),
        );

const inSchema = (table: Table, own: string) =>
    table.schema === "public" ? name(own) : `${name(table.schema)}.${name(own)}`;

/** Out of Citus, a wider column with a sequence of its own, and in again. */
function widened(table: Table, column: string, keys: string): string {
    const to = nameOf(table);
    const own = inSchema(table, `${table.name}_${column}_bigseq`);
    const [out, back] =
        table.kind === "single"
            ? [
                  `SELECT citus_schema_undistribute('${name(table.schema)}');`,
                  `SELECT citus_schema_distribute('${name(table.schema)}');`,
              ]
            : [`SELECT undistribute_table('${to}');`, `SELECT create_${keys};`];
    const wide = `ALTER TABLE ${to} ALTER COLUMN ${name(column)} TYPE bigint, ALTER COLUMN ${name(column)} SET DEFAULT nextval('${own}');`;
    return `${out} CREATE SEQUENCE ${own}; SELECT setval('${own}', max(${name(column)})) FROM ${to}; ${wide} ${back}`;
}

/** A new table in the place of one whose identity can't be changed. Foreign keys, policies and grants are not copied. */
function replaced(table: Table, column: string): string {
    const to = nameOf(table);
    const wide = inSchema(table, `${table.name}_wide`);
    const make =
        table.kind === "reference"
            ? `create_reference_table('${wide}')`
            : `create_distributed_table('${wide}', '${table.column}', colocate_with := '${to}')`;
    return `CREATE TABLE ${wide} (LIKE ${to} INCLUDING ALL); ALTER TABLE ${wide} ALTER COLUMN ${name(column)} TYPE bigint; SELECT ${make}; INSERT INTO ${wide} OVERRIDING SYSTEM VALUE SELECT * FROM ${to}; SELECT setval(pg_get_serial_sequence('${wide}', '${column}'), max(${name(column)})) FROM ${wide}; DROP TABLE ${to}; ALTER TABLE ${wide} RENAME TO ${name(table.name)};`;
}

function wider(table: Table, column: Column, living: boolean): string {
    const to = nameOf(table);
    if (!living || !table.made) return `ALTER TABLE ${to} ALTER COLUMN ${name(column.name)} TYPE bigint;`;
    const keys =
        table.kind === "reference" ? `reference_table('${to}')` : `distributed_table('${to}', '${table.column}')`;
    if (!column.identity) return widened(table, column.name, keys);
    if (table.kind === "single") return `-- a new table with ${column.name} as bigint in the place of ${to}`;
    return replaced(table, column.name);
}

/** L9: sequences that only the coordinator can count on. */
export const narrowSequences: Rule = (schema) => {
    const found: Finding[] = [];
    for (const table of schema.tables.values()) {
        if (!isCitus(table) || table.partition !== undefined) continue;
        for (const column of table.columns.values()) {
            if (!column.sequence || !["integer", "smallint"].includes(column.type)) continue;
            found.push(
                finding("L9", "warning", column.place, {
                    says: `${nameOf(table)}.${column.name} counts in ${column.type}: rows can be inserted through the coordinator, not through a worker, where each node needs a range of its own`,
                    later: "nextval(sequence) calls in worker nodes are not supported for column defaults of type int or smallint",
                    fix: wider(table, column, schema.living),
                }),
            );
        }
    }
    return found;
};

/** L13: rows of no tenant, and rows that change tenants. */
export const loseKey: Rule = (schema) => {
    const found: Finding[] = [];
    for (const { table, column } of distributed(schema)) {
        if (column.notNull || table.partition !== undefined) continue;
        found.push(
            finding("L13", "warning", column.place, {
                says: `${column.name}, by which ${nameOf(table)} is distributed, may be NULL, and such a row has no shard`,
                later: table.made
                    ? "cannot perform an INSERT with NULL in the partition column"
                    : `the partition column of table ${table.schema}.${table.name} cannot be NULL`,
                fix: `ALTER TABLE ${nameOf(table)} ALTER COLUMN ${name(column.name)} SET NOT NULL;`,
            }),
        );
    }
    for (const change of schema.changes) {
        const table = schema.tables.get(change.table);
        const key = change.column ?? "";
        if (change.what !== "update" || table?.kind !== "distributed" || key !== table.column) continue;
        const others = [...table.columns.keys()].filter((column) => column !== key).map(name);
        found.push(
            finding("L13", change.sure ? "error" : "warning", change.place, {
                says: change.sure
                    ? `UPDATE of ${nameOf(table)}.${key} would take a row to another shard`
                    : `UPDATE of ${nameOf(table)}.${key} is taken here, before the table is distributed, and never again: no row changes tenants then`,
                later: "modifying the partition value of rows is not allowed",
                fix: `BEGIN; INSERT INTO ${nameOf(table)} (${[name(key), ...others].join(", ")}) SELECT ${["/* new key */", ...others].join(", ")} FROM ${nameOf(table)} WHERE /* the same */; DELETE FROM ${nameOf(table)} WHERE /* the same */; COMMIT;`,
            }),
        );
    }
    return found;
};

const UNLIKE_KEYS = new Set(["json", "jsonb", "numeric", "real", "double precision", "money"]);

function retyped(table: Table, column: string, type: string, out: boolean): string {
    const to = nameOf(table);
    const change = `ALTER TABLE ${to} ALTER COLUMN ${name(column)} TYPE ${type};`;
    return out
        ? `SELECT undistribute_table('${to}'); ${change} SELECT create_distributed_table('${to}', '${column}');`
        : change;
}

/** L15: types that make poor keys. */
export const poorTypes: Rule = (schema) =>
    [...distributed(schema)]
        .filter(({ column }) => UNLIKE_KEYS.has(column.type))
        .map(({ table, column }) =>
            finding("L15", column.type === "json" ? "error" : "warning", column.place, {
                says: `${nameOf(table)} is distributed by ${column.name} of type ${column.type}, which Citus accepts. But no table that is distributed by bigint, uuid or text can join its group`,
                later:
                    column.type === "json"
                        ? "data type json has no default operator class for specified partition method"
                        : "Distribution column types don't match",
                fix: retyped(
                    table,
                    column.name,
                    column.type.startsWith("json")
                        ? `text USING ${name(column.name)} #>> '{}'`
                        : `bigint USING ${name(column.name)}::bigint`,
                    schema.living && table.made,
                ),
            }),
        );

/** L16: a table of tenants' rows that does not say whose they are. */
export const noTenant: Rule = (schema) => {
    const { tables, model, anchor, living } = schema;
    if (model !== "row" && model !== "rls") return [];
    const first = tables.get(anchor ?? "");
    const others = [...tables.values()].filter(
        (table) => table !== first && table.column !== undefined && table.columns.has(table.column),
    );
    const counts = new Map<string, number>();
    for (const { column = "" } of others) counts.set(column, (counts.get(column) ?? 0) + 1);
    const usual = [...counts].sort((a, b) => b[1] - a[1])[0]?.[0];
    const type = first?.columns.get(first.column ?? "")?.type ?? "bigint";
    const found: Finding[] = [];
    for (const table of tables.values()) {
        if (!table.known || table.partition !== undefined || table.kind === "unknown") continue;
        const declared = table.column;
        const missing = declared ?? (table.kind === "local" && !table.declared && !living ? usual : undefined);
        if (missing === undefined || table.columns.has(missing)) continue;
        found.push(
            finding("L16", declared === undefined ? "warning" : "error", table.place, {
                says: `${nameOf(table)} has no column ${missing}, so its rows belong to no tenant${
                    declared === undefined ? "; if all tenants share them, declare it reference: true" : ""
                }`,
                later: `column "${missing}" of relation "${table.name}" does not exist`,
                fix: `ALTER TABLE ${nameOf(table)} ADD COLUMN ${name(missing)} ${type} NOT NULL;`,
            }),
        );
    }
    return found;
};

/** L24: a table with tenants' rows that the group does not declare: no export and no delete has them. */
export const undeclared: Rule = (schema) => {
    const { tables, model, anchor, ignored = [] } = schema;
    if (model !== "row" && model !== "rls") return [];
    const all = [...tables.values()];
    const ours = all.filter(({ declared, column }) => declared && column !== undefined);
    // the anchor's own is often id, which every table has
    const columns = new Set(
        ours.flatMap((table) =>
            table.column === undefined || (table === tables.get(anchor ?? "") && table.column === "id")
                ? []
                : [table.column],
        ),
    );
    const keys = new Set(ours.map((table) => keyOf(table.schema, table.name)));
    const found: Finding[] = [];
    for (const table of all) {
        const full = keyOf(table.schema, table.name);
        if (!table.known || table.partition !== undefined || table.kind === "single" || keys.has(full)) continue;
        if (ignored.includes(full)) continue;
        const column = [...table.columns.keys()].find((one) => columns.has(one));
        const key = table.foreignKeys.find(({ target }) => keys.has(target) && target !== full);
        if (column === undefined && key === undefined) continue;
        const shown = table.schema === "public" ? table.name : full;
        found.push(
            finding("L24", "warning", table.place, {
                says: `${nameOf(table)} ${column === undefined ? `references ${key?.target}` : `has the tenant column ${column}`}, and tables does not say whose its rows are`,
                later: "no error: an export and a delete of a tenant leave these rows out, and pulumi up refuses to delete a tenant while the table is there",
                fix: `/* in tables of the group: "${shown}": {"distributeBy": "${column ?? [...columns][0] ?? "tenant_id"}"}, or "${shown}": {"ignore": true} for one that holds nothing of tenants */`,
            }),
        );
    }
    return found;
};
