/** npm run tenants -- explain "SELECT ..." */

import type { Node, RangeVar, SelectStmt } from "libpg-query";
import type { Session } from "../../core/reach/session.ts";
import { identifier, literal } from "../../core/sql/quote.ts";
import { statements } from "../../core/sql/statements.ts";
import { comparedColumns, type Lookup, lookupTable } from "../../core/tenants/ask/cure.ts";
import {
    type Advice,
    advise,
    adviseError,
    type Explained,
    type KnownTable,
    parseExplain,
} from "../../core/tenants/ask/explain.ts";
import { nodesIn } from "../../core/tenants/check/read/ast.ts";
import { appRole, type GroupSpec, tenantRole } from "../../core/tenants/group/spec.ts";
import { findTenant, withStack } from "../lib/groups.ts";

/**
 * The one statement in a text.
 * @throws Error when it is another number of them, or none that has a plan
 */
export function oneStatement(sql: string): string {
    const [first, ...more] = statements(sql);
    if (first === undefined || more.length > 0)
        throw new Error(
            `Exactly one statement can be explained at a time, got ${first ? more.length + 1 : "none"}. Nothing was run.`,
        );
    const text = first.text.trim().replace(/;$/, "");
    const bare = text.replace(/^(\s|--[^\n]*(\n|$)|\/\*[\s\S]*?\*\/)+/, "");
    if (!/^(select|with|insert|update|delete|merge|values|table|\()/i.test(bare))
        throw new Error("Only SELECT, INSERT, UPDATE, DELETE, MERGE, VALUES and TABLE have a plan. Nothing was run.");
    return text;
}

/** Who runs it, for the tenant whose rows it is about. */
function asTenant(group: GroupSpec, tenant: string): string[] {
    const role = group.tenants[tenant]?.role === true ? tenantRole(group.name, tenant) : appRole(group.name);
    if (group.model === "database" || group.model === "routed")
        throw new Error(
            `${tenant} is in a database of its own, where every query asks one place: nothing to explain for Citus.`,
        );
    return [
        `SELECT set_config('role', ${literal(role)}, true)`,
        "SET LOCAL row_security = on",
        ...(group.model === "schema"
            ? [`SELECT set_config('search_path', quote_ident(${literal(tenant)}) || ', public', true)`]
            : [
                  "SET LOCAL citus.propagate_set_commands = 'local'",
                  `SELECT set_config('app.tenant', ${literal(tenant)}, true)`,
              ]),
    ];
}

/** What a statement says of its tables. */
export interface Written {
    /** Whether it has a WHERE of its own; undefined where it has several parts, or can't be read. */
    readonly where?: boolean;
    /** Tables in its order, as SQL names them and as the statement calls them. */
    readonly tables: readonly { readonly name: string; readonly as: string }[];
    /** Columns that a SELECT's own WHERE compares with one value. */
    readonly compared?: readonly string[];
    /** How many rows an INSERT ... VALUES has. */
    readonly inserts?: number;
}

export async function written(sql: string): Promise<Written> {
    const { parse } = await import("libpg-query");
    const tree = await parse(sql).catch(() => undefined);
    const stmt: Node | undefined = tree?.stmts?.[0]?.stmt;
    if (!stmt) return { tables: [] };
    const nodes = [...nodesIn(stmt)];
    const has = (...tags: readonly string[]) => nodes.some(([tag]) => tags.includes(tag));
    const [[tag, top] = ["", {}]] = nodes;
    const parts = nodes.flatMap(([tag, { ctename }]) => (tag === "CommonTableExpr" ? [String(ctename)] : []));
    const named = [
        ...(top.relation ? [top.relation as RangeVar] : []),
        ...nodes.flatMap(([tag, node]) => (tag === "RangeVar" ? [node as RangeVar] : [])),
    ];
    const whole =
        ["SelectStmt", "UpdateStmt", "DeleteStmt"].includes(tag) &&
        (top.op ?? "SETOP_NONE") === "SETOP_NONE" &&
        !has("SubLink", "RangeSubselect", "CommonTableExpr");
    const values = (top.selectStmt as { SelectStmt?: SelectStmt } | undefined)?.SelectStmt;
    const inserts = tag !== "InsertStmt" ? undefined : values === undefined ? 1 : values.valuesLists?.length;
    return {
        ...(inserts === undefined ? {} : { inserts }),
        ...(whole ? { where: top.whereClause !== undefined } : {}),
        ...(whole && tag === "SelectStmt" ? { compared: comparedColumns(top.whereClause as Node | undefined) } : {}),
        tables: named
            .filter(({ schemaname, relname = "" }) => schemaname !== undefined || !parts.includes(relname))
            .map(({ schemaname, relname = "", alias }) => ({
                name: [...(schemaname === undefined ? [] : [schemaname]), relname].map(identifier).join("."),
                as: alias?.aliasname ?? relname,
            })),
    };
}

const TABLES = `
SELECT s.shardid::int8 AS shard, c.oid::text AS oid, c.oid::regclass::text AS name, p.colocationid::int AS colocation,
       CASE WHEN p.partmethod = 'h' THEN 'distributed' WHEN p.repmodel = 't' THEN 'reference' ELSE 'single' END AS kind,
       CASE WHEN p.partmethod = 'h' THEN column_to_column_name(c.oid, p.partkey) END AS column,
       (SELECT count(*)::int FROM pg_dist_shard o WHERE o.logicalrelid = p.logicalrelid) AS shards,
       (SELECT count(*)::int FROM pg_dist_placement l WHERE l.shardid = s.shardid) AS copies,
       c.relrowsecurity AS policies
  FROM pg_dist_shard s JOIN pg_dist_partition p USING (logicalrelid) JOIN pg_class c ON c.oid = p.logicalrelid
 WHERE s.shardid = ANY ($1) OR (c.oid = ANY ($2::oid[])
       AND s.shardid = (SELECT min(o.shardid) FROM pg_dist_shard o WHERE o.logicalrelid = p.logicalrelid))`;

type Row = Omit<KnownTable, "column" | "colocation"> & {
    readonly shard: string;
    readonly oid: string;
    readonly colocation: number;
    readonly column: string | null;
};

function tableOf({ name, kind, column, shards, copies, policies, colocation }: Row): KnownTable {
    return { name, kind, ...(column === null ? {} : { column }), shards, copies, policies, colocation };
}

export interface ExplainedStatement extends Advice {
    readonly tasks: number | null;
    /** SQL for a lookup by another column than the tenant's key. @default it is no lookup */
    readonly cure?: readonly string[];
}

/** A lookup in one distributed table by a column that is not its key, where there is one. */
async function lookupOf(
    session: Session,
    oid: string | undefined,
    table: KnownTable | undefined,
    compared: readonly string[] = [],
): Promise<Lookup | undefined> {
    const [column] = compared;
    const key = table?.column;
    if (oid === undefined || key === undefined || column === undefined || compared.includes(key)) return undefined;
    const types = await session.query<{ name: string; type: string }>(
        "SELECT attname AS name, format_type(atttypid, atttypmod) AS type FROM pg_attribute WHERE attrelid = $1::oid AND attname IN ($2, $3)",
        [oid, key, column],
    );
    const typeOf = (wanted: string) => types.find(({ name }) => name === wanted)?.type;
    const [keyType, columnType] = [typeOf(key), typeOf(column)];
    if (keyType === undefined || columnType === undefined) return undefined;
    return { table: table?.name ?? "", key, keyType, column, columnType };
}

/** Citus draws a column's number from its sequence to plan an INSERT, and a transaction that only reads refuses that. */
const DRAWS = /cannot execute nextval\(\) in a read-only transaction/;

/** What to write otherwise; each line with its line break. */
function hintOf(message: string, settings: readonly string[]): string {
    if (/there is no parameter \$/.test(message)) return "\nWrite values in the place of $1, $2 and so on.";
    if (DRAWS.test(message))
        return "\nPlanning it would use up a number of a sequence, and explain changes nothing. Write a number in the place of nextval() or of the column that has it as its default, then repeat this.";
    if (/^\s*relation "[^."]+" does not exist/m.test(message) && settings.length === 0)
        return "\nA table of a tenant's schema is found as that tenant: npm run tenants -- explain --as GROUP/TENANT \"...\". A database of a tenant's own needs no explain.";
    return "";
}

/**
 * Where a row of INSERT ... VALUES goes, which needs no plan: to one shard, or to every copy of a reference table.
 * @param shard any of the table's
 * @returns undefined where several rows may go to several shards
 */
export function insertWithoutPlan(shard: number, { kind }: KnownTable, rows: number): Explained | undefined {
    if (kind === "distributed" && rows !== 1) return undefined;
    return { parts: [{ name: "the statement", tasks: 1, shards: [shard], nodes: [], writes: "Insert" }], tasks: 1 };
}

/**
 * Changes nothing: the statement is planned and not run, in a transaction that reads only and is rolled back.
 * @param settings statements that are run before it in that transaction, such as whose role it is
 * @throws Error with what the database said, where it can't be planned
 */
export async function explainStatement(
    session: Session,
    sql: string,
    settings: readonly string[] = [],
): Promise<ExplainedStatement> {
    const statement = oneStatement(sql);
    const { where, tables, compared, inserts } = await written(statement);
    let named: readonly (string | null)[] = [];
    let plan: unknown;
    let failed: Error | undefined;
    await session.query("BEGIN READ ONLY");
    try {
        for (const setting of settings) await session.query(setting);
        const oids = await session.query<{ oid: string | null }>(
            "SELECT to_regclass(v.name)::oid::text AS oid FROM unnest($1::text[]) WITH ORDINALITY v (name, i) ORDER BY i",
            [tables.map(({ name }) => name)],
        );
        named = oids.map(({ oid }) => oid);
        const [row] = await session.query<{ "QUERY PLAN": unknown }>(`EXPLAIN (FORMAT JSON) ${statement}`);
        plan = row?.["QUERY PLAN"];
    } catch (error) {
        failed = error as Error;
    } finally {
        await session.query("ROLLBACK");
    }
    let explained = failed ? undefined : parseExplain(plan);
    const shards = explained?.parts.flatMap((part) => part.shards) ?? [];
    const rows = await session.query<Row>(TABLES, [shards, named.filter((oid) => oid !== null)]);
    const distributed = tables.flatMap(({ as }, i): KnownTable[] => {
        const row = rows.find(({ oid, kind }) => oid === named[i] && kind !== "reference");
        return row ? [{ ...tableOf(row), as }] : [];
    });
    const into = rows.find(({ oid }) => oid === named[0]);
    if (failed && into && DRAWS.test(failed.message) && inserts !== undefined) {
        explained = insertWithoutPlan(Number(into.shard), tableOf(into), inserts);
        if (explained) failed = undefined;
    }
    if (failed) {
        const advice = adviseError(failed.message, distributed);
        if (advice) return { ...advice, tasks: null };
        throw new Error(`${failed.message}${hintOf(failed.message, settings)}`);
    }
    const known = new Map(rows.map((row) => [Number(row.shard), tableOf(row)]));
    const advice = advise(explained ?? { parts: [], tasks: 0 }, known, distributed, where);
    const lookup =
        advice.verdict === "all" && tables.length === 1
            ? await lookupOf(session, named[0] ?? undefined, distributed[0], compared)
            : undefined;
    return { ...advice, tasks: explained?.tasks ?? 0, ...(lookup ? { cure: lookupTable(lookup) } : {}) };
}

export const HEADS: Readonly<Record<Advice["verdict"], string>> = {
    coordinator: "the coordinator alone",
    one: "one shard",
    several: "several shards",
    all: "every shard",
    "every copy": "every copy",
    "moves rows": "rows are sent between nodes",
    refused: "Citus refuses it",
};

/** Pure. */
export function renderAdvice({ verdict, tasks, says, fix, cure = [] }: ExplainedStatement): string {
    return [
        `${HEADS[verdict]}${tasks === null || tasks < 1 ? "" : ` · ${tasks} task${tasks === 1 ? "" : "s"}`}`,
        "",
        ...says,
        ...(fix.length === 0
            ? []
            : ["", verdict === "refused" ? "instead" : "to make it one shard", ...fix.map((line) => `  ${line}`)]),
        ...(cure.length === 0
            ? []
            : [
                  "",
                  "or, when the tenant is not known yet, keep a table that says whose it is",
                  ...cure.map((line) => `  ${line}`),
              ]),
    ].join("\n");
}

export async function explain(sql: string, options: { as?: string; json?: boolean }): Promise<void> {
    const advice = await withStack(({ session, groups }) => {
        const found = options.as === undefined ? undefined : findTenant(groups, options.as);
        return explainStatement(session, sql, found && asTenant(found.inputs.group, found.tenant));
    });
    console.log(options.json ? JSON.stringify(advice, null, 2) : renderAdvice(advice));
}
