/** Row-level security of models row and rls: generated policies, the same on every placement, and what stands against them. */

import { createHash } from "node:crypto";
import { POLICY_PRINT, perPlacement } from "../../citus/guards.ts";
import { DatabaseError, type Session } from "../../reach/session.ts";
import { identifier, literal, qualified } from "../../sql/quote.ts";
import { listed } from "../../util/listed.ts";
import { executed, said, transaction } from "../group/batch.ts";
import type { Context, Facet, Planned, Step } from "../group/facet.ts";
import { appRole, type GroupSpec, tenantsRole } from "../group/spec.ts";
import { keyWith, planBarred, setBarred } from "../isolation/barred.ts";
import { ensureGroupRoles } from "../roles/groupRoles.ts";
import {
    type FoundPolicies,
    type FoundPolicy,
    NO_POLICIES,
    type PolicyTable,
    policiesSql,
    prefixOf,
    RIGHTS,
    VERBS,
} from "./policyLook.ts";

const md5 = (text: string) => createHash("md5").update(text).digest("hex");

interface WantedPolicy {
    readonly name: string;
    /** After `ON table`. */
    readonly sql: string;
}

/** Policies of one table; each role has its own for each kind of statement. No tenant is named in them. */
export function wantedPolicies(group: GroupSpec, column: string, type: string): WantedPolicy[] {
    const keys = {
        app: "current_setting('app.tenant', true)",
        tenants: `substring(current_user::text from ${literal(`^${group.name}_(.*)$`)})`,
    };
    const roles = { app: appRole(group.name), tenants: tenantsRole(group.name) };
    return (["app", "tenants"] as const).flatMap((who) =>
        VERBS.map((verb) => {
            const right = verb === "select" ? "reads" : "writes";
            const rows = `${identifier(column)} = ${keyWith(group, right, keys[who], type)}`;
            const clauses = [
                ...(verb === "insert" ? [] : [`USING (${rows})`]),
                ...(verb === "insert" || verb === "update" ? [`WITH CHECK (${rows})`] : []),
            ];
            return {
                name: `${prefixOf(group)}${who}_${verb}`,
                sql: `FOR ${verb.toUpperCase()} TO ${identifier(roles[who])} ${clauses.join(" ")}`,
            };
        }),
    );
}

const ours = (group: GroupSpec, { name }: FoundPolicy) => name.startsWith(prefixOf(group));

const commentOf = (wanted: WantedPolicy, print: string) => `citus_as_code ${md5(wanted.sql)} ${print}`;

/** What a tenant's own role may not do in a table that all tenants share. */
const WRITES = ["INSERT", "UPDATE", "DELETE"];

const columnOf = (group: GroupSpec, table: string) => group.tables[table]?.column;

/** Types of the group's tenant columns, as far as its tables are there. */
const typesOf = (group: GroupSpec, { tables }: FoundPolicies) =>
    tables.flatMap(({ name, type }) => (type === null || columnOf(group, name) === undefined ? [] : [type]));

/** Whether it is a plain table that all tenants read and that no policy is for. */
const isShared = (group: GroupSpec, table: string) =>
    group.tables[table]?.kind === "local" && columnOf(group, table) === undefined;

function strangers(group: GroupSpec, table: PolicyTable): string[] {
    const { name } = table;
    const refusals: string[] = [];
    if (table.forced)
        refusals.push(
            `${name} has FORCE ROW LEVEL SECURITY: whatever its owner copies or moves loses the rows that policies hide, without an error.\nALTER TABLE ${name} NO FORCE ROW LEVEL SECURITY.`,
        );
    const shared = table.citus || (group.model === "row" && columnOf(group, name) !== undefined);
    for (const policy of table.policies) {
        if (ours(group, policy)) continue;
        const drop = `DROP POLICY ${identifier(policy.name)} ON ${name}`;
        const roles = policy.roles.filter((role) =>
            ["public", appRole(group.name), tenantsRole(group.name)].includes(role),
        );
        if (!policy.permissive && shared)
            refusals.push(
                `${name}: policy ${policy.name} is RESTRICTIVE, and Citus makes it a permissive one on workers and shards: it would show rows there instead of hiding them.\n${drop}; and put its condition into a permissive policy with AND.`,
            );
        else if (policy.subquery && shared)
            refusals.push(
                `${name}: policy ${policy.name} has a sub-query; Citus would say "unexpected non-SELECT command in SubLink".\n${drop}; and write its condition with a list or a setting.`,
            );
        else if (policy.permissive && roles.length > 0 && group.rowSecurity)
            refusals.push(
                `${name}: policy ${policy.name} is also for ${roles.join(", ")}, and shows tenants what the generated policies hide.\n${drop}; or make it TO other roles.`,
            );
    }
    return refusals;
}

/** What a table that all tenants share has from when it was one of their own. */
function outgrownIn(group: GroupSpec, { policies, tenantGrants }: PolicyTable): string | undefined {
    if (policies.some((policy) => ours(group, policy)))
        return "its generated policies are dropped, as it is shared by all tenants now";
    return tenantGrants.some((right) => WRITES.includes(right))
        ? `${tenantsRole(group.name)} only reads it, as it is shared by all tenants`
        : undefined;
}

/** Pure. */
export function planPolicies(group: GroupSpec, found: FoundPolicies): Planned {
    const steps: Step[] = [];
    const refusals: string[] = [];
    const notes: string[] = [];
    const there = new Map(found.tables.map((table) => [table.name, table]));
    if (!group.rowSecurity)
        for (const tenant of Object.keys(group.tenants))
            if (group.tenants[tenant]?.frozen)
                refusals.push(
                    `${tenant}: its state is frozen, and while rowSecurity is false nothing keeps it from writing: take one of the two away`,
                );
    const step = (kind: string, table: string, text: string) =>
        steps.push({ kind: `policies.${kind}`, table, text: `${table}: ${text}` });
    if (group.rowSecurity) steps.push(...planBarred(group, typesOf(group, found), found.barred));
    const waits = `under an exclusive lock of this table alone (waits ${group.lockTimeout / 1000} s for it)`;
    for (const name of Object.keys(group.tables)) {
        const column = columnOf(group, name);
        const table = there.get(name);
        if (!table) {
            if (column !== undefined && group.rowSecurity) step("set", name, "policies for each tenant's rows");
            continue;
        }
        const shared = isShared(group, name);
        if (!shared) refusals.push(...strangers(group, table));
        if (column !== undefined && table.type !== null) {
            const mine = table.policies.filter((policy) => ours(group, policy));
            if (group.rowSecurity) {
                if (!table.index)
                    step("index", name, `an index on ${column}: without one each query of a tenant reads all rows`);
                const wanted = wantedPolicies(group, column, table.type);
                const same = (policy: WantedPolicy) => {
                    const is = mine.find((p) => p.name === policy.name);
                    return is !== undefined && is.comment === commentOf(policy, is.print);
                };
                const changed =
                    wanted.filter((policy) => !same(policy)).length +
                    mine.filter((p) => !wanted.some((w) => w.name === p.name)).length;
                const differing = found.differing[name] ?? [];
                if (mine.length === 0) step("set", name, "policies that show each tenant its rows");
                else if (changed > 0) step("set", name, `${changed} of its policies are made anew, ${waits}`);
                else if (!table.enabled) step("set", name, "row-level security is switched on again");
                else if (differing.length > 0)
                    step("set", name, `policies that differ from the coordinator's on ${listed(differing, 3)}`);
                if (!table.enabled && table.others.length > 0)
                    notes.push(
                        `${name}: ${table.others.join(", ")} has rights on it but no policy, so it sees no row once row-level security is on`,
                    );
            } else if (table.direct.length > 0) {
                refusals.push(
                    `${name}: rowSecurity can't be false while ${table.direct.join(", ")} ${table.direct.length === 1 ? "has" : "have"} rights on it: a tenant's own role would see every tenant's rows.\nREVOKE ALL ON ${name} FROM ${table.direct.map((role) => (role === "PUBLIC" ? role : identifier(role))).join(", ")}, or leave rowSecurity on.`,
                );
            } else if (found.barred.hidden.length > 0 && mine.length > 0) {
                refusals.push(
                    `${name}: rowSecurity can't be false while the group keeps old copies of tenants that went elsewhere (${found.barred.hidden.slice(0, 5).join(", ")}): without policies they would be seen again. Delete them first, or leave rowSecurity on.`,
                );
            } else {
                const left = found.left[name] ?? [];
                if (mine.length > 0)
                    step(
                        "drop",
                        name,
                        `its generated policies are dropped, as rowSecurity is false, and tenants' own roles lose their rights on it`,
                    );
                else if (left.length > 0)
                    step("drop", name, `generated policies that are left on ${listed(left, 3)} are dropped`);
                else if (table.tenantGrants.length > 0 || table.tenantSequences.length > 0)
                    step("drop", name, "tenants' own roles lose their rights on it, as rowSecurity is false");
            }
        }
        const outgrown = column === undefined ? outgrownIn(group, table) : undefined;
        if (outgrown !== undefined) step("drop", name, outgrown);
        if (table.owner !== null && !shared)
            notes.push(
                `${name} is owned by ${table.owner}, and no policy limits an owner: let no application connect as ${table.owner}`,
            );
        const rights = column === undefined ? ["SELECT"] : RIGHTS;
        const lacks = (has: readonly string[], of = rights) => of.some((right) => !has.includes(right));
        const tenants = group.rowSecurity || column === undefined;
        if (
            lacks(table.granted.app) ||
            outgrown !== undefined ||
            (tenants && lacks(table.granted.tenants, name === group.anchor ? ["SELECT"] : rights)) ||
            table.sequences.length > 0 ||
            !table.schema
        )
            step(
                "grant",
                name,
                `${column === undefined ? "read" : "used"} by ${appRole(group.name)}${tenants ? ` and ${tenantsRole(group.name)}` : ""}`,
            );
    }
    // each kind for all tables together: it is run after one look at what there is
    return { steps: KINDS.flatMap((kind) => steps.filter((one) => one.kind === `policies.${kind}`)), refusals, notes };
}

/** In the order in which a table needs them. */
const KINDS = ["bar", "index", "set", "drop", "grant"];

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
            `SET LOCAL lock_timeout = ${context.group.lockTimeout}; SET LOCAL client_min_messages = warning;\n${executed(statements)}\n${last}`,
        );
    } catch (error) {
        throw new Error(
            `${table}: its policies could not be set\n${said(error)}\nIts policies are as they were. A lock that somebody holds makes this fail after ${context.group.lockTimeout} ms. Run pulumi up again: it is safe to repeat.`,
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
