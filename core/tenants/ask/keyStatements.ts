/** Which of a client's statements name one value of a table's distribution column, so that Citus asks one shard. */
import type { Node } from "libpg-query";
import { lastOf, nodesIn, texts } from "../check/read/ast.ts";

interface Asked {
    /** Tables of the statement: name, and schema where it is said. */
    readonly tables: readonly { readonly schema?: string; readonly name: string }[];
    /** Columns that are compared with a value that is no column. */
    readonly columns: ReadonlySet<string>;
    /** Whether it inserts rows, and thereby names every column of them. */
    readonly inserts: boolean;
}

const isColumn = (value: unknown) => [...nodesIn([value])].some(([tag]) => tag === "ColumnRef");

const columnOf = (node: Node | undefined) =>
    node && "ColumnRef" in node ? lastOf(node.ColumnRef.fields?.filter((field) => "String" in field)) : undefined;

/** @returns undefined for what can't be read, or is neither query nor change of rows */
export async function readStatement(sql: string): Promise<Asked | undefined> {
    const { parse } = await import("libpg-query");
    const tree = await parse(sql).catch(() => undefined);
    const stmt: Node | undefined = tree?.stmts?.[0]?.stmt;
    if (!stmt || (tree?.stmts?.length ?? 0) !== 1) return undefined;
    const tag = Object.keys(stmt)[0] ?? "";
    if (!["SelectStmt", "InsertStmt", "UpdateStmt", "DeleteStmt", "MergeStmt"].includes(tag)) return undefined;
    const nodes = [...nodesIn(stmt)];
    const top = Object.values(stmt)[0] as { relation?: { relname?: string; schemaname?: string }; selectStmt?: Node };
    const tables = [
        ...(top.relation ? [top.relation] : []),
        ...nodes.flatMap(([name, node]) =>
            name === "RangeVar" ? [node as { relname?: string; schemaname?: string }] : [],
        ),
    ].map(({ relname = "", schemaname }) => ({ name: relname, ...(schemaname ? { schema: schemaname } : {}) }));
    const columns = new Set<string>();
    for (const [name, node] of nodes) {
        if (name !== "A_Expr") continue;
        const { kind, lexpr, rexpr } = node as { kind?: string; lexpr?: Node; rexpr?: Node };
        const operator = texts(node.name as Node[] | undefined).at(-1);
        if (operator !== "=" || !["AEXPR_OP", "AEXPR_IN", "AEXPR_OP_ANY"].includes(kind ?? "")) continue;
        const [left, right] = [columnOf(lexpr), columnOf(rexpr)];
        if (left !== undefined && !isColumn(rexpr)) columns.add(left);
        if (right !== undefined && kind === "AEXPR_OP" && !isColumn(lexpr)) columns.add(right);
    }
    const source = (top.selectStmt as { SelectStmt?: { valuesLists?: unknown } } | undefined)?.SelectStmt;
    // INSERT ... SELECT asks what its query asks
    const rows = tag === "InsertStmt" && (source === undefined || source.valuesLists !== undefined);
    return { tables, columns, inserts: rows };
}

/** Sums up what ran: share of calls and of time that name the column. */
export async function countNamed(
    statements: readonly { readonly query: string; readonly calls: number; readonly milliseconds: number }[],
    table: { readonly schema: string; readonly name: string },
    column: string,
) {
    const sum = { calls: 0, milliseconds: 0, namedCalls: 0, namedMilliseconds: 0 };
    for (const { query, calls, milliseconds } of statements) {
        if (!query.includes(table.name)) continue;
        const asked = await readStatement(query);
        if (!asked?.tables.some(({ name, schema }) => name === table.name && (schema ?? "public") === table.schema))
            continue;
        sum.calls += calls;
        sum.milliseconds += milliseconds;
        if (!asked.columns.has(column) && !asked.inserts) continue;
        sum.namedCalls += calls;
        sum.namedMilliseconds += milliseconds;
    }
    return sum;
}
