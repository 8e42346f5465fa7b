/** L1, L4, L25: keys of distributed tables, and of those with policies. */
import { type Finding, finding, type Rule } from "../read/finding.ts";
import { hasShards, type Key, name, nameOf, names, type Table } from "../read/model.ts";

function holds(key: Key, column: string) {
    return key.parts.some((part) => part.column === column && (key.kind !== "exclude" || part.operator === "="));
}

/** The key again, with the distribution column before the others. */
function mended(table: Table, key: Key, column: string): string {
    const to = nameOf(table);
    const own = name(key.name);
    const rest = key.parts.filter((part) => part.column !== column);
    const columns = [column, ...rest.flatMap((part) => part.column ?? [])];
    const expression = rest.some((part) => part.column === undefined);
    if (key.kind === "index") {
        const drop = key.late
            ? ""
            : `DROP INDEX ${table.schema === "public" || table.schema === "" ? own : `${name(table.schema)}.${own}`}; `;
        if (expression) return `${drop}-- then the same index again, with ${name(column)} before its expressions`;
        return `${drop}CREATE UNIQUE INDEX ${own} ON ${to} (${names(columns)});`;
    }
    const drop = key.late ? "" : `ALTER TABLE ${to} DROP CONSTRAINT ${own}; `;
    const add = `ALTER TABLE ${to} ADD CONSTRAINT ${own}`;
    if (key.kind !== "exclude")
        return `${drop}${add} ${key.kind === "primary" ? "PRIMARY KEY" : "UNIQUE"} (${names(columns)});`;
    const parts = [{ column, operator: "=" }, ...rest].map(
        (part) => `${name(part.column ?? "")} WITH ${part.operator}`,
    );
    if (expression)
        return `${drop}-- then the same constraint again, with ${name(column)} WITH = before its expressions`;
    return `${drop}${add} EXCLUDE USING ${key.method ?? "gist"} (${parts.join(", ")});`;
}

const WORDS = {
    primary: "primary key",
    unique: "unique constraint",
    exclude: "exclusion constraint",
    index: "unique index",
};

/** L1: a key that one shard can't check alone. */
export const keysWithoutColumn: Rule = ({ tables }) => {
    const found: Finding[] = [];
    for (const table of tables.values()) {
        const { column } = table;
        if (table.kind !== "distributed" || column === undefined || table.partition !== undefined) continue;
        for (const key of table.keys) {
            if (holds(key, column)) continue;
            found.push(
                finding("L1", "error", key.place, {
                    says: `${WORDS[key.kind]} ${key.name} of ${nameOf(table)} does not contain ${column}, by which the table is distributed: no shard can check it alone`,
                    later:
                        key.late && key.kind === "index"
                            ? "creating unique indexes on non-partition columns is currently unsupported"
                            : `cannot create constraint on "${table.name}"`,
                    fix: mended(table, key, column),
                }),
            );
        }
    }
    return found;
};

/** L25: a key over all tenants, whose error tells one what another has. */
export const keysOverTenants: Rule = ({ tables, model }) => {
    if (model !== "rls") return [];
    const found: Finding[] = [];
    for (const table of tables.values()) {
        const { column, declared } = table;
        if (!declared || column === undefined || table.partition !== undefined) continue;
        for (const key of table.keys) {
            if (holds(key, column)) continue;
            found.push(
                finding("L25", "warning", key.place, {
                    says: `${WORDS[key.kind]} ${key.name} of ${nameOf(table)} does not contain ${column}: it is one for all tenants, so its error tells a tenant that another one has a value. It also stops a change to model row`,
                    later: `${key.kind === "exclude" ? "conflicting key value violates exclusion" : "duplicate key value violates unique"} constraint "${key.name}"`,
                    fix: mended(table, key, column),
                }),
            );
        }
    }
    return found;
};

/** L4: rows that logical replication can't tell apart. */
export const noIdentity: Rule = ({ tables }) => {
    const found: Finding[] = [];
    for (const table of tables.values()) {
        // what is not replicated at all needs no identity
        if (!hasShards(table) || !table.known || table.identity || table.accessMethod) continue;
        if (table.keys.some(({ kind }) => kind === "primary")) continue;
        found.push(
            finding("L4", "warning", table.place, {
                says: `${nameOf(table)} has neither primary key nor replica identity: it works until a shard of it must move, then a rebalance stops (a primary key is better than this fix)`,
                later: `cannot use logical replication to transfer shards of the relation ${table.name} since it doesn't have a REPLICA IDENTITY or PRIMARY KEY`,
                fix: `ALTER TABLE ${nameOf(table)} REPLICA IDENTITY FULL;`,
            }),
        );
    }
    return found;
};
