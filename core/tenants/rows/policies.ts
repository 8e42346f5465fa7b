/** Row-level security of models row and rls: generated policies, the same on every placement, and what stands against them. */

import { POLICY_PRINT, perPlacement } from "../../citus/guards.ts";
import { DatabaseError, type Session } from "../../reach/session.ts";
import { identifier, literal, qualified } from "../../sql/quote.ts";
import { asDoBlock, databaseMessage, transaction } from "../group/batch.ts";
import type { Context, Facet, Step } from "../group/facet.ts";
import { appRole, type GroupSpec, tenantsRole } from "../group/spec.ts";
import { setBarred } from "../isolation/barred.ts";
import { ensureGroupRoles } from "../roles/groupRoles.ts";
import { columnOf, md5, ours, planPolicies, wantedPolicies } from "./policiesPlan.ts";
import { type FoundPolicies, NO_POLICIES, type PolicyTable, policiesSql, RIGHTS } from "./policyLook.ts";

/** All rights, sequences and the schema of a table. */
function grants(group: GroupSpec, table: string, sequences: readonly string[]): string[] {
    const column = columnOf(group, table);
    const all = [appRole(group.name), ...(group.rowSecurity || column === undefined ? [tenantsRole(group.name)] : [])];
    const roles = all.map(identifier).join(", ");
    // what a tenant's own role may change of the anchor is the isolation's
    const write = table === group.anchor ? identifier(appRole(group.name)) : roles;
    const [schema] = table.includes(".") ? table.split(".", 2) : ["public"];
    return [
        `GRANT USAGE ON SCHEMA ${identifier(schema ?? "public")} TO ${roles}`,
        `GRANT SELECT ON ${qualified(table)} TO ${roles}`,
        ...(column === undefined ? [] : [`GRANT ${RIGHTS.join(", ")} ON ${qualified(table)} TO ${write}`]),
        ...sequences.map((sequence) => `GRANT USAGE ON SEQUENCE ${sequence} TO ${roles}`),
    ];
}

/** What there is now, by one look for all tables. */
async function foundNow({ group, session }: Context): Promise<FoundPolicies> {
    const sql = policiesSql(group, { ledger: true, tables: await existing(session, group) });
    const [row] = await session.query<{
        found: FoundPolicies & { nodes: readonly { name: string; failed: string }[] };
    }>(`SELECT (${sql}) AS found FROM (SELECT $1::text, $2::jsonb, $3::text) AS given`, [
        group.name,
        JSON.stringify(group),
        "",
    ]);
    if (!row) throw new Error("the database gave no answer about policies");
    const { nodes, ...found } = row.found;
    const [silent] = nodes;
    if (silent) throw new DatabaseError(silent.name, "asking it about policies", { message: silent.failed });
    return found;
}

async function existing(session: Session, group: GroupSpec): Promise<string[]> {
    const names = Object.keys(group.tables);
    const rows = await session.query<{ name: string }>(
        "SELECT t.name FROM unnest($1::text[], $2::text[]) AS t (name, quoted) WHERE to_regclass(t.quoted) IS NOT NULL",
        [names, names.map(qualified)],
    );
    return rows.map(({ name }) => name);
}

function tableIn({ tables }: FoundPolicies, name: string): PolicyTable {
    const table = tables.find((t) => t.name === name);
    if (!table) throw new Error(`${name} was dropped while its policies were made. Run pulumi up again.`);
    return table;
}

async function inTransaction(context: Context, table: string, statements: readonly string[], last = ""): Promise<void> {
    try {
        await transaction(
            context.session,
            `SET LOCAL lock_timeout = ${context.group.lockTimeout}; SET LOCAL client_min_messages = warning;\n${asDoBlock(statements)}\n${last}`,
        );
    } catch (error) {
        throw new Error(
            `${table}: its policies could not be set\n${databaseMessage(error)}\nIts policies are as they were. A lock that somebody holds makes this fail after ${context.group.lockTimeout} ms. Run pulumi up again: it is safe to repeat.`,
        );
    }
}

/**
 * Policies that only a placement has, by table: they are dropped on every one, as IF EXISTS goes to all of them.
 * @param tables those of which a placement differs
 */
async function elsewhere({ session }: Context, tables: readonly PolicyTable[]): Promise<ReadonlyMap<string, string[]>> {
    const names = tables.filter(({ citus }) => citus).map(({ name }) => name);
    if (names.length === 0) return new Map();
    const answers = await session.query<{ node: string; success: boolean; result: string }>(
        `SELECT n.nodename AS node, a.success, a.result FROM run_command_on_all_nodes(${literal(
            `SELECT coalesce(jsonb_object_agg(name, policies), '{}') FROM (
                SELECT r.name, jsonb_agg(DISTINCT p.polname) AS policies FROM pg_policy p JOIN (${perPlacement(names)}) r ON r.oid = p.polrelid GROUP BY 1) x`,
        )}) a JOIN pg_dist_node n USING (nodeid)`,
    );
    const found = new Map<string, Set<string>>();
    for (const { node, success, result } of answers) {
        if (!success) throw new DatabaseError(node, "asking it about policies", { message: result });
        for (const [name, policies] of Object.entries(JSON.parse(result) as Record<string, string[]>))
            found.set(name, new Set([...(found.get(name) ?? []), ...policies]));
    }
    return new Map(
        tables.map(({ name, policies }) => {
            const known = new Set(policies.map((policy) => policy.name));
            const extra = [...(found.get(name) ?? [])].filter((policy) => !known.has(policy));
            return [name, extra.map((policy) => `DROP POLICY IF EXISTS ${identifier(policy)} ON ${qualified(name)}`)];
        }),
    );
}

/** Tables of these steps as they are now, with what drops policies that only a placement has. */
async function tablesOf(context: Context, steps: readonly Step[]) {
    await ensureGroupRoles(context.session, context.group);
    const found = await foundNow(context);
    const tables = steps.map(({ table = "" }) => tableIn(found, table));
    const strays = await elsewhere(
        context,
        tables.filter(({ name }) => found.differing[name] !== undefined || found.left[name] !== undefined),
    );
    return steps.flatMap((step, i) => {
        const table = tables[i];
        return table ? [{ step, table, strays: strays.get(table.name) ?? [] }] : [];
    });
}

export const policies: Facet<FoundPolicies> = {
    name: "policies",
    none: NO_POLICIES,

    sql: policiesSql,

    plan: planPolicies,

    run: {
        /** CONCURRENTLY, so that nobody waits; what a killed one left is dropped first. */
        index: async (context, steps) => {
            for (const { table = "", text } of steps) {
                context.alive();
                context.progress(text);
                const column = columnOf(context.group, table) ?? "";
                const [schema, plain] = table.includes(".") ? table.split(".", 2) : ["public", table];
                const name = identifier(
                    `${(plain ?? "").slice(0, 40)}_${md5(`${table} ${column}`).slice(0, 8)}_tenant`,
                );
                await context.session.query(`DROP INDEX IF EXISTS ${identifier(schema ?? "public")}.${name}`);
                await context.session.query(
                    `CREATE INDEX CONCURRENTLY ${name} ON ${qualified(table)} (${identifier(column)})`,
                );
            }
        },

        bar: async (context) => {
            await ensureGroupRoles(context.session, context.group);
            const { tables } = context.group;
            await setBarred(
                context,
                Object.keys(tables).filter((name) => tables[name]?.column !== undefined),
            );
        },

        set: async (context, steps) => {
            const { group } = context;
            for (const { step, table, strays } of await tablesOf(context, steps)) {
                context.alive();
                context.progress(step.text);
                const column = columnOf(group, table.name);
                if (column === undefined || table.type === null) continue;
                const wanted = wantedPolicies(group, column, table.type);
                const on = qualified(table.name);
                const old = table.policies.filter((policy) => ours(group, policy)).map((policy) => policy.name);
                const names = [...new Set([...wanted.map((policy) => policy.name), ...old])];
                const sums = wanted.map(
                    (policy) => `(${literal(policy.name)}, ${literal(`citus_as_code ${md5(policy.sql)} `)})`,
                );
                await inTransaction(
                    context,
                    table.name,
                    [
                        ...strays,
                        ...names.map((policy) => `DROP POLICY IF EXISTS ${identifier(policy)} ON ${on}`),
                        ...wanted.map((policy) => `CREATE POLICY ${identifier(policy.name)} ON ${on} ${policy.sql}`),
                        `ALTER TABLE ${on} ENABLE ROW LEVEL SECURITY`,
                    ],
                    `DO $do$ DECLARE x record; BEGIN
                            FOR x IN SELECT p.polname, w.mark || ${POLICY_PRINT} AS comment FROM pg_policy p
                                JOIN (VALUES ${sums.join(", ")}) AS w (name, mark) ON w.name = p.polname WHERE p.polrelid = ${literal(on)}::regclass
                            LOOP EXECUTE format('COMMENT ON POLICY %I ON %s IS %L', x.polname, ${literal(on)}, x.comment); END LOOP; END $do$`,
                );
            }
        },

        drop: async (context, steps) => {
            const tenants = identifier(tenantsRole(context.group.name));
            for (const { table, strays } of await tablesOf(context, steps)) {
                context.alive();
                const on = qualified(table.name);
                const mine = table.policies.filter((policy) => ours(context.group, policy));
                await inTransaction(context, table.name, [
                    // a tenant's own role sees its rows by them alone
                    `REVOKE ALL ON ${on} FROM ${tenants}`,
                    ...table.tenantSequences.map((sequence) => `REVOKE ALL ON SEQUENCE ${sequence} FROM ${tenants}`),
                    ...strays,
                    ...mine.map((policy) => `DROP POLICY IF EXISTS ${identifier(policy.name)} ON ${on}`),
                    // with others left it is not ours to switch off
                    ...(mine.length === table.policies.length && (mine.length > 0 || !table.enabled)
                        ? [`ALTER TABLE ${on} DISABLE ROW LEVEL SECURITY`]
                        : []),
                ]);
            }
        },

        grant: async (context, steps) => {
            for (const { table } of await tablesOf(context, steps)) {
                context.alive();
                await inTransaction(context, table.name, grants(context.group, table.name, table.sequences));
            }
        },
    },
};
