/** npm run tenants -- explain "SELECT ..." */

import { literal } from "../../components/citus/quote.ts";
import type { Session } from "../../components/citus/session.ts";
import {
    type Advice,
    advise,
    adviseError,
    type KnownTable,
    parseExplain,
} from "../../components/citus/tenants/explain.ts";
import { appRole, type GroupSpec, tenantRole } from "../../components/tenants/spec.ts";
import { statements } from "../../components/tenants/statements.ts";
import { findTenant, withStack } from "./stack.ts";

/**
 * The one statement in a text.
 * @throws Error when it is another number of them, or none that has a plan
 */
export function oneStatement(sql: string): string {
    const [first, ...more] = statements(sql);
    if (first === undefined || more.length > 0)
        throw new Error(`One statement is explained at a time, and this is ${first ? more.length + 1 : "none"}.`);
    const text = first.text.trim().replace(/;$/, "");
    const bare = text.replace(/^(\s|--[^\n]*(\n|$)|\/\*[\s\S]*?\*\/)+/, "");
    if (!/^(select|with|insert|update|delete|merge|values|table|\()/i.test(bare))
        throw new Error("Only SELECT, INSERT, UPDATE, DELETE, MERGE, VALUES and TABLE have a plan; nothing was run.");
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

const TABLES = `
SELECT s.shardid::int8 AS shard, c.oid::regclass::text AS name,
       CASE WHEN p.partmethod = 'h' THEN 'distributed' WHEN p.repmodel = 't' THEN 'reference' ELSE 'single' END AS kind,
       CASE WHEN p.partmethod = 'h' THEN column_to_column_name(c.oid, p.partkey) END AS column,
       (SELECT count(*)::int FROM pg_dist_shard o WHERE o.logicalrelid = p.logicalrelid) AS shards,
       (SELECT count(*)::int FROM pg_dist_placement l WHERE l.shardid = s.shardid) AS copies,
       c.relrowsecurity AS policies
  FROM pg_dist_shard s JOIN pg_dist_partition p USING (logicalrelid) JOIN pg_class c ON c.oid = p.logicalrelid
 WHERE s.shardid = ANY ($1) OR (p.partmethod = 'h' AND strpos(lower($2), lower(c.relname)) > 0
       AND s.shardid = (SELECT min(o.shardid) FROM pg_dist_shard o WHERE o.logicalrelid = p.logicalrelid))`;

type Row = Omit<KnownTable, "column"> & { readonly shard: string; readonly column: string | null };

function tableOf({ name, kind, column, shards, copies, policies }: Row): KnownTable {
    return { name, kind, ...(column === null ? {} : { column }), shards, copies, policies };
}

export interface ExplainedStatement extends Advice {
    readonly tasks: number | null;
}

/** Changes nothing: the statement is planned and not run, in a transaction that reads only and is rolled back. */
export async function explainStatement(
    session: Session,
    sql: string,
    as?: { readonly group: GroupSpec; readonly tenant: string },
): Promise<ExplainedStatement> {
    const statement = oneStatement(sql);
    let plan: unknown;
    let failed: Error | undefined;
    await session.query("BEGIN READ ONLY");
    try {
        for (const setting of as ? asTenant(as.group, as.tenant) : []) await session.query(setting);
        const [row] = await session.query<{ "QUERY PLAN": unknown }>(`EXPLAIN (FORMAT JSON) ${statement}`);
        plan = row?.["QUERY PLAN"];
    } catch (error) {
        failed = error as Error;
    } finally {
        await session.query("ROLLBACK");
    }
    const explained = failed ? undefined : parseExplain(plan);
    const shards = explained?.parts.flatMap((part) => part.shards) ?? [];
    const rows = await session.query<Row>(TABLES, [shards, statement]);
    const distributed = rows.filter(({ kind }) => kind === "distributed").map(tableOf);
    if (failed) {
        const advice = adviseError(failed.message, distributed[0]?.column);
        if (advice) return { ...advice, tasks: null };
        const hint = /there is no parameter \$/.test(failed.message)
            ? "\nWrite values in the place of $1, $2 and so on."
            : "";
        throw new Error(`${failed.message}${hint}`);
    }
    const known = new Map(rows.map((row) => [Number(row.shard), tableOf(row)]));
    return { ...advise(explained ?? { parts: [], tasks: 0 }, known, distributed), tasks: explained?.tasks ?? 0 };
}

const HEADS: Readonly<Record<Advice["verdict"], string>> = {
    coordinator: "no shard",
    one: "one shard",
    several: "several shards",
    all: "every shard",
    "every copy": "every copy",
    "moves rows": "rows are sent between nodes",
};

/** Pure. */
export function renderAdvice({ verdict, tasks, says, fix }: ExplainedStatement): string {
    return [
        `${HEADS[verdict]}${tasks === null || tasks < 1 ? "" : ` · ${tasks} task${tasks === 1 ? "" : "s"}`}`,
        "",
        ...says,
        ...(fix.length === 0 ? [] : ["", "to make it one shard", ...fix.map((line) => `  ${line}`)]),
    ].join("\n");
}

export async function explain(sql: string, options: { as?: string; json?: boolean }): Promise<void> {
    const advice = await withStack(({ session, groups }) => {
        const found = options.as === undefined ? undefined : findTenant(groups, options.as);
        return explainStatement(session, sql, found && { group: found.inputs.group, tenant: found.tenant });
    });
    console.log(options.json ? JSON.stringify(advice, null, 2) : renderAdvice(advice));
}
