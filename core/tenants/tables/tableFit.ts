/** Whether a table is fit to be what it is declared to be. Pure. */
import type { TableSpec } from "../group/spec.ts";
import type { FoundTable } from "./tablesFound.ts";

const list = (names: readonly string[]) => names.join(", ");

/** What Citus would refuse, or take and break later. Each says how to mend it. */
export function unfit(
    name: string,
    spec: TableSpec,
    target: string,
    table: FoundTable,
    anchorType: string | undefined,
) {
    const wrong: string[] = [];
    const notes: string[] = [];
    const { column } = table;
    if (spec.column !== undefined) {
        if (!column)
            wrong.push(`${name} has no column ${spec.column}: add it in a file of template, or correct distributeBy`);
        else if (anchorType !== undefined && column.type !== anchorType)
            wrong.push(
                `${name}.${spec.column} is ${column.type} and the anchor's key is ${anchorType}; Citus would say "Distribution column types don't match": ALTER TABLE ${name} ALTER COLUMN ${spec.column} TYPE ${anchorType}`,
            );
    }
    if (!["r", "p"].includes(table.relkind))
        wrong.push(`${name} is no table (relkind ${table.relkind}): take it out of tables`);
    if (table.child) wrong.push(`${name} is a partition or inherits from a table: declare the parent in its place`);
    if (target === "local" || wrong.length > 0) return { wrong, notes };
    if (table.unlogged)
        wrong.push(`${name} is UNLOGGED, and its shards could never be moved: ALTER TABLE ${name} SET LOGGED`);
    if (table.triggers.length > 0)
        wrong.push(
            `${name} has triggers (${list(table.triggers)}); Citus would say "cannot distribute relation ... because it has triggers": drop them, or declare the table local: true`,
        );
    if (table.rules.length > 0)
        wrong.push(
            `${name} has rules (${list(table.rules)}), which act on the coordinator alone and lose rows without an error: drop them`,
        );
    if (target === "reference") {
        if (table.volatile.length > 0)
            notes.push(
                `${name}: the default of ${list(table.volatile)} is computed anew on each node when such a column is added to a reference table: add columns without it, and set the default afterwards`,
            );
        if (table.clock.length > 0)
            notes.push(
                `${name}: the default of ${list(table.clock)} (CURRENT_TIMESTAMP or the like) is computed on each node for every row, so the copies of a reference table differ: ALTER COLUMN ... SET DEFAULT now(), which Citus computes once`,
            );
        return { wrong, notes };
    }
    if (column && !column.notNull)
        wrong.push(
            `${name}.${spec.column} may be NULL, and a row without a tenant has no shard: ALTER TABLE ${name} ALTER COLUMN ${spec.column} SET NOT NULL`,
        );
    if (column?.generated)
        wrong.push(
            `${name}.${spec.column} is a generated column, by which Citus distributes nothing: make it a plain column`,
        );
    if (column && /^(jsonb?|numeric|double precision|real)$/.test(column.type))
        notes.push(
            `${name}.${spec.column} is ${column.type}, a poor key: equal values may be written in different ways`,
        );
    if (table.uniques.length > 0)
        wrong.push(
            `${name} has ${list(table.uniques)} without ${spec.column}; Citus would say "cannot create constraint": put ${spec.column} into each, such as PRIMARY KEY (${spec.column}, id)`,
        );
    if (!table.identity && !table.accessMethod)
        wrong.push(
            `${name} has no primary key, so updates would fail while it is distributed and its shards could not be moved while they are served: ALTER TABLE ${name} ADD PRIMARY KEY (${spec.column}, ...), or REPLICA IDENTITY FULL`,
        );
    if (table.shortSequences.length > 0)
        notes.push(
            `${name}: ${list(table.shortSequences)} is numbered by a sequence of int, which has no next number on workers: make it bigint`,
        );
    return { wrong, notes };
}
