/** What calls of Citus' functions make of tables. */
import type { FuncCall, Node } from "libpg-query";
import { argumentsOf, lastOf, nodesIn } from "./ast.ts";
import { keyOf, type Table } from "./model.ts";

import type { Tables } from "./tables.ts";

const PARAMETERS = {
    create_distributed_table: [
        "table_name",
        "distribution_column",
        "distribution_type",
        "colocate_with",
        "shard_count",
    ],
    create_distributed_table_concurrently: [
        "table_name",
        "distribution_column",
        "distribution_type",
        "colocate_with",
        "shard_count",
    ],
    alter_distributed_table: ["table_name", "distribution_column", "shard_count", "colocate_with"],
    update_distributed_table_colocation: ["table_name", "colocate_with"],
    alter_table_set_access_method: ["table_name", "access_method"],
    create_reference_table: ["table_name"],
    undistribute_table: ["table_name"],
    citus_schema_distribute: ["schemaname"],
    citus_schema_undistribute: ["schemaname"],
} as const;

/** What copies a table, which Citus refuses where that has an identity column. */
const REWRITES: ReadonlySet<string> = new Set([
    "undistribute_table",
    "alter_distributed_table",
    "alter_table_set_access_method",
]);

const isCitusCall = (name: string): name is keyof typeof PARAMETERS => Object.hasOwn(PARAMETERS, name);

/** Calls of Citus' functions in a SELECT or CALL. */
export function readCalls(tables: Tables, stmt: Node) {
    for (const [tag, node] of nodesIn(stmt)) {
        const call = node as FuncCall;
        const called = tag === "FuncCall" ? lastOf(call.funcname) : "";
        if (!isCitusCall(called)) continue;
        const given = argumentsOf(call.args, PARAMETERS[called]);
        if (called === "citus_schema_distribute" || called === "citus_schema_undistribute") {
            schemaCall(tables, given.schemaname ?? "", called === "citus_schema_distribute");
            continue;
        }
        if (given.table_name === undefined) continue;
        const table = tables.named(given.table_name);
        if (REWRITES.has(called))
            for (const column of table.columns.values())
                if (column.identity)
                    tables.change(table, "rewrite", {
                        column: column.name,
                        detail: called,
                        place: tables.at(call.location),
                    });
        if (called === "alter_table_set_access_method") {
            tables.setMethod(table, given.access_method);
            continue;
        }
        if (called === "create_reference_table") distribute(tables, table, "reference");
        else if (called === "undistribute_table") {
            Object.assign(table, { kind: "local", made: false });
            delete table.column;
            delete table.group;
        } else distribute(tables, table, "distributed", given);
        table.call = tables.at(call.location);
    }
}

function schemaCall(tables: Tables, schema: string, on: boolean) {
    if (on) tables.tenantSchemas.add(schema);
    else tables.tenantSchemas.delete(schema);
    for (const table of tables.byKey.values())
        if (table.schema === schema) {
            Object.assign(table, { kind: on ? "single" : "local", made: on });
            if (on) table.group = `schema ${schema}`;
        }
}

function distribute(
    tables: Tables,
    table: Table,
    kind: "distributed" | "reference",
    given: Record<string, string | undefined> = {},
) {
    table.kind = kind;
    table.made = true;
    if (kind === "reference") return;
    if (given.distribution_column !== undefined) table.column = given.distribution_column;
    const { colocate_with: colocate, shard_count: count } = given;
    delete table.with;
    if (colocate === undefined || colocate === "default") {
        const type = table.columns.get(table.column ?? "")?.type ?? "";
        table.group = `default ${type} ${count ?? ""}`;
    } else if (colocate === "none") table.group = `own ${keyOf(table.schema, table.name)}`;
    else {
        const other = tables.named(colocate);
        table.with = keyOf(other.schema, other.name);
        table.group = other.group ?? `of ${keyOf(other.schema, other.name)}`;
    }
    for (const part of tables.byKey.values())
        if (part.partition === keyOf(table.schema, table.name)) tables.same(part, table);
}
