/** Small questions to PostgreSQL's parse tree. */
import type { ColumnDef, Node, RangeVar, TypeName } from "libpg-query";

/** The text of a String node. */
export const textOf = (node: Node | undefined) => (node && "String" in node ? (node.String.sval ?? "") : "");

export const texts = (nodes: readonly Node[] | undefined) => (nodes ?? []).map(textOf);

/** The last part of a name such as pg_catalog.now. */
export const lastOf = (nodes: readonly Node[] | undefined) => texts(nodes).at(-1) ?? "";

/** Every node under a value, with its tag. */
export function* nodesIn(value: unknown): Generator<readonly [string, Record<string, unknown>]> {
    if (Array.isArray(value)) {
        for (const item of value) yield* nodesIn(item);
    } else if (typeof value === "object" && value !== null) {
        for (const [tag, inner] of Object.entries(value)) {
            if (/^[A-Z]/.test(tag) && typeof inner === "object" && inner !== null)
                yield [tag, inner as Record<string, unknown>];
            yield* nodesIn(inner);
        }
    }
}

/** Names of the functions that an expression calls. */
export const functionsIn = (value: unknown) =>
    [...nodesIn(value)]
        .filter(([tag]) => tag === "FuncCall")
        .map(([, call]) => lastOf(call.funcname as Node[] | undefined));

/** A constant of a call: text, number or boolean as text. */
export function constantOf(node: Node | undefined): string | undefined {
    if (!node) return undefined;
    if ("TypeCast" in node) return constantOf(node.TypeCast.arg);
    if (!("A_Const" in node)) return undefined;
    const { sval, ival, boolval, fval } = node.A_Const;
    if (sval) return sval.sval ?? "";
    if (ival) return String(ival.ival ?? 0);
    if (boolval) return String(boolval.boolval ?? false);
    return fval?.fval;
}

/** Arguments of a call by the names of its parameters. */
export function argumentsOf(args: readonly Node[] | undefined, parameters: readonly string[]) {
    const found: Record<string, string | undefined> = {};
    (args ?? []).forEach((arg, i) => {
        if ("NamedArgExpr" in arg) found[arg.NamedArgExpr.name ?? ""] = constantOf(arg.NamedArgExpr.arg);
        else found[parameters[i] ?? ""] = constantOf(arg);
    });
    return found;
}

const TYPES: Readonly<Record<string, string>> = {
    int2: "smallint",
    int4: "integer",
    int8: "bigint",
    bool: "boolean",
    float4: "real",
    float8: "double precision",
    varchar: "character varying",
    bpchar: "character",
    timestamptz: "timestamp with time zone",
    timestamp: "timestamp without time zone",
    timetz: "time with time zone",
    time: "time without time zone",
    serial2: "smallint",
    smallserial: "smallint",
    serial: "integer",
    serial4: "integer",
    serial8: "bigint",
    bigserial: "bigint",
};

/** As format_type() writes it, without length. */
export function typeOf(type: TypeName | undefined): string {
    const name = lastOf(type?.names);
    return (TYPES[name] ?? name) + "[]".repeat(type?.arrayBounds?.length ?? 0);
}

export const isSerial = (column: ColumnDef) => /serial[248]?$/.test(lastOf(column.typeName?.names));

/** Functions whose value is another on each node, also those that stay the same within one transaction. */
const UNSTEADY = new Set(
    `gen_random_uuid uuid_generate_v1 uuid_generate_v1mc uuid_generate_v4 random random_normal clock_timestamp timeofday now
     transaction_timestamp statement_timestamp txid_current pg_current_xact_id pg_backend_pid inet_server_addr gen_random_bytes`.split(
        /\s+/,
    ),
);

/** Keywords of the clock, which are no functions; others are the session's user or schema. */
const CLOCK = /\b(SVFOP_)?(CURRENT_TIMESTAMP|CURRENT_TIME|CURRENT_DATE|LOCALTIMESTAMP|LOCALTIME)(_N)?\b/;

/** Whether {@link unsteady} or {@link unsteadyText} found such a keyword. */
export const isClock = (found: string | undefined) => found !== undefined && CLOCK.test(found);

/** The function of a default that would give each node another value. */
export function unsteady(expression: unknown): string | undefined {
    for (const [tag, node] of nodesIn(expression)) {
        if (tag === "SQLValueFunction" && CLOCK.test(String(node.op)))
            return String(node.op).replace("SVFOP_", "").replace(/_N$/, "");
        const name = tag === "FuncCall" ? lastOf(node.funcname as Node[] | undefined) : "";
        if (UNSTEADY.has(name)) return name;
    }
    return undefined;
}

/** The same of a default as the catalogs write it. */
export const unsteadyText = (expression: string): string | undefined =>
    CLOCK.exec(expression)?.[2] ??
    [...expression.matchAll(/([a-z_0-9]+)\(/g)].map(([, name = ""]) => name).find((name) => UNSTEADY.has(name));

/** The setting that a policy's condition reads, and how. */
export function settingOf(expression: unknown) {
    for (const [tag, node] of nodesIn(expression)) {
        if (tag !== "FuncCall" || lastOf(node.funcname as Node[] | undefined) !== "current_setting") continue;
        const args = node.args as Node[] | undefined;
        const inNullif = [...nodesIn(expression)].some(
            ([outer, expr]) => outer === "A_Expr" && expr.kind === "AEXPR_NULLIF",
        );
        return {
            name: constantOf(args?.[0]) ?? "",
            missingOk: constantOf(args?.[1]) === "true",
            emptyOk: inNullif || !hasCast(expression),
        };
    }
    return undefined;
}

/** Whether a value is cast, other than a constant. */
const hasCast = (expression: unknown) =>
    [...nodesIn(expression)].some(
        ([tag, node]) => tag === "TypeCast" && typeof node.arg === "object" && !("A_Const" in (node.arg ?? {})),
    );

export const tableOf = (relation: RangeVar | undefined) => ({
    schema: relation?.schemaname,
    name: relation?.relname ?? "",
});
