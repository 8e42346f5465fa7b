/** The policies that a group's tables are to have, and what there is to do for them. Pure. */

import { createHash } from "node:crypto";
import { identifier, literal } from "../../sql/quote.ts";
import { joinNames } from "../../util/joinNames.ts";
import type { Planned, Step } from "../group/facet.ts";
import { appRole, type GroupSpec, tenantsRole } from "../group/spec.ts";
import { keyWith, planBarred } from "../isolation/barred.ts";
import { type FoundPolicies, type FoundPolicy, type PolicyTable, prefixOf, RIGHTS, VERBS } from "./policyLook.ts";

export const md5 = (text: string) => createHash("md5").update(text).digest("hex");

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

export const ours = (group: GroupSpec, { name }: FoundPolicy) => name.startsWith(prefixOf(group));

const commentOf = (wanted: WantedPolicy, print: string) => `citus_as_code ${md5(wanted.sql)} ${print}`;

/** What a tenant's own role may not do in a table that all tenants share. */
const WRITES = ["INSERT", "UPDATE", "DELETE"];

export const columnOf = (group: GroupSpec, table: string) => group.tables[table]?.column;

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

/** What of the plan is one table's. */
interface Parts {
    readonly refusals: string[];
    readonly notes: string[];
    step(kind: string, table: string, text: string): void;
}

/** Policies that show each tenant its rows. */
function planOwn(group: GroupSpec, column: string, table: PolicyTable, found: FoundPolicies, parts: Parts): void {
    const { name } = table;
    if (!table.index)
        parts.step("index", name, `an index on ${column}: without one each query of a tenant reads all rows`);
    const mine = table.policies.filter((policy) => ours(group, policy));
    const wanted = wantedPolicies(group, column, table.type ?? "");
    const same = (policy: WantedPolicy) => {
        const is = mine.find((p) => p.name === policy.name);
        return is !== undefined && is.comment === commentOf(policy, is.print);
    };
    const changed =
        wanted.filter((policy) => !same(policy)).length +
        mine.filter((p) => !wanted.some((w) => w.name === p.name)).length;
    const differing = found.differing[name] ?? [];
    const waits = `under an exclusive lock of this table alone (waits ${group.lockTimeout / 1000} s for it)`;
    if (mine.length === 0) parts.step("set", name, "policies that show each tenant its rows");
    else if (changed > 0) parts.step("set", name, `${changed} of its policies are made anew, ${waits}`);
    else if (!table.enabled) parts.step("set", name, "row-level security is switched on again");
    else if (differing.length > 0)
        parts.step("set", name, `policies that differ from the coordinator's on ${joinNames(differing, 3)}`);
    if (!table.enabled && table.others.length > 0)
        parts.notes.push(
            `${name}: ${table.others.join(", ")} has rights on it but no policy, so it sees no row once row-level security is on`,
        );
}

/** A table of tenants' rows while rowSecurity is false: without policies, and without rights of a tenant's own role. */
function planNone(group: GroupSpec, table: PolicyTable, found: FoundPolicies, parts: Parts): void {
    const { name } = table;
    const mine = table.policies.filter((policy) => ours(group, policy));
    const left = found.left[name] ?? [];
    if (table.direct.length > 0)
        parts.refusals.push(
            `${name}: rowSecurity can't be false while ${table.direct.join(", ")} ${table.direct.length === 1 ? "has" : "have"} rights on it: a tenant's own role would see every tenant's rows.\nREVOKE ALL ON ${name} FROM ${table.direct.map((role) => (role === "PUBLIC" ? role : identifier(role))).join(", ")}, or leave rowSecurity on.`,
        );
    else if (found.barred.hidden.length > 0 && mine.length > 0)
        parts.refusals.push(
            `${name}: rowSecurity can't be false while the group keeps old copies of tenants that went elsewhere (${found.barred.hidden.slice(0, 5).join(", ")}): without policies they would be seen again. Delete them first, or leave rowSecurity on.`,
        );
    else if (mine.length > 0)
        parts.step(
            "drop",
            name,
            "its generated policies are dropped, as rowSecurity is false, and tenants' own roles lose their rights on it",
        );
    else if (left.length > 0)
        parts.step("drop", name, `generated policies that are left on ${joinNames(left, 3)} are dropped`);
    else if (table.tenantGrants.length > 0 || table.tenantSequences.length > 0)
        parts.step("drop", name, "tenants' own roles lose their rights on it, as rowSecurity is false");
}

/** Rights of the group's roles on a table. @param renewed whether its policies went, and rights with them */
function planRights(group: GroupSpec, column: string | undefined, table: PolicyTable, renewed: boolean, parts: Parts) {
    const { name } = table;
    const rights = column === undefined ? ["SELECT"] : RIGHTS;
    const lacks = (has: readonly string[], of = rights) => of.some((right) => !has.includes(right));
    const tenants = group.rowSecurity || column === undefined;
    if (
        lacks(table.granted.app) ||
        renewed ||
        (tenants && lacks(table.granted.tenants, name === group.anchor ? ["SELECT"] : rights)) ||
        table.sequences.length > 0 ||
        !table.schema
    )
        parts.step(
            "grant",
            name,
            `${column === undefined ? "read" : "used"} by ${appRole(group.name)}${tenants ? ` and ${tenantsRole(group.name)}` : ""}`,
        );
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
    const step: Parts["step"] = (kind, table, text) => {
        steps.push({ kind: `policies.${kind}`, table, text: `${table}: ${text}` });
    };
    const parts: Parts = { refusals, notes, step };
    if (group.rowSecurity) steps.push(...planBarred(group, typesOf(group, found), found.barred));
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
            if (group.rowSecurity) planOwn(group, column, table, found, parts);
            else planNone(group, table, found, parts);
        }
        const outgrown = column === undefined ? outgrownIn(group, table) : undefined;
        if (outgrown !== undefined) step("drop", name, outgrown);
        if (table.owner !== null && !shared)
            notes.push(
                `${name} is owned by ${table.owner}, and no policy limits an owner: let no application connect as ${table.owner}`,
            );
        planRights(group, column, table, outgrown !== undefined, parts);
    }
    // each kind for all tables together: it is run after one look at what there is
    return { steps: KINDS.flatMap((kind) => steps.filter((one) => one.kind === `policies.${kind}`)), refusals, notes };
}

/** In the order in which a table needs them. */
const KINDS = ["bar", "index", "set", "drop", "grant"];
