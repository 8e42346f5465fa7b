/** `<group>_reader`: a login that reads all tenants of a group and writes nothing. */

import { given } from "../../sql/given.ts";
import { identifier, qualified } from "../../sql/quote.ts";
import { transaction } from "../group/batch.ts";
import type { Context, Facet, Planned, Step } from "../group/facet.ts";
import { type GroupSpec, readerRole } from "../group/spec.ts";
import { isServed } from "../ledger/states.ts";
import {
    differences,
    type FoundRole,
    isOwn,
    isShut,
    refuseForeign,
    roleSql,
    setRole,
    shutRole,
    type WantedRole,
} from "./extraRole.ts";
import { endSessions } from "./privileges.ts";

/** What it may read of, and what it may do beyond reading: a table, or a tenant's schema with all its tables. */
interface Readable {
    readonly name: string;
    /** Whether it may read all of it. */
    readonly reads: boolean;
    /** Whether it was granted more than that. */
    readonly more: boolean;
}

export interface FoundReader {
    readonly mark: string;
    readonly role: FoundRole | null;
    /** Tables of the group in rls and row, schemas of its tenants in schema; those that exist. */
    readonly readable: readonly Readable[];
}

const BATCH = 20;

/** Policies hide rows from everybody but who passes them by; the tables of a schema have none. */
const wantedRole = (group: GroupSpec): WantedRole => ({
    name: readerRole(group.name),
    password: true,
    bypassesPolicies: group.model !== "schema",
    // a session can undo it, the grants it can't
    settings: { default_transaction_read_only: "on" },
});

/** Rights of its own on relation `c`, with those that only let it read taken away. */
const MORE = (role: string) =>
    `EXISTS (SELECT FROM aclexplode(c.relacl) x WHERE x.grantee = ${role} AND x.privilege_type <> 'SELECT')`;

const ofTables = (group: GroupSpec, role: string) => {
    const names = Object.keys(group.tables);
    const list = names.map((name) => `(${given(name)}, to_regclass(${given(qualified(name))}))`).join(", ");
    return names.length === 0
        ? "'[]'::jsonb"
        : `(SELECT coalesce(jsonb_agg(jsonb_build_object('name', t.name,
               'reads', ${role} IS NOT NULL AND has_schema_privilege(${role}, c.relnamespace, 'USAGE') AND has_table_privilege(${role}, c.oid, 'SELECT'),
               'more', ${MORE(role)}) ORDER BY t.name), '[]') FROM (VALUES ${list}) t (name, oid) JOIN pg_class c ON c.oid = t.oid)`;
};

const ofSchemas = (role: string) => `(
    SELECT coalesce(jsonb_agg(jsonb_build_object('name', n.nspname, 'more', coalesce(s.more, false) OR has_schema_privilege(${role}, n.oid, 'CREATE'),
           'reads', ${role} IS NOT NULL AND has_schema_privilege(${role}, n.oid, 'USAGE') AND coalesce(s.reads, true)) ORDER BY n.nspname), '[]')
      FROM citus_as_code.tenant l JOIN pg_namespace n ON n.nspname = l.tenant
      LEFT JOIN (SELECT c.relnamespace, bool_and(has_table_privilege(${role}, c.oid, 'SELECT')) AS reads, bool_or(${MORE(role)}) AS more
                   FROM pg_class c WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') GROUP BY 1) s ON s.relnamespace = n.oid
     WHERE l.grp = $1 AND ${isServed("l.state")})`;

function plan(group: GroupSpec, found: FoundReader): Planned {
    const { role, readable } = found;
    const wanted = wantedRole(group);
    const { name } = wanted;
    const of = `group ${group.name}`;
    const more = readable.filter((one) => one.more).map((one) => one.name);
    if (group.reader !== true) {
        if (role === null || !isOwn(group.name, role)) return { steps: [] };
        const granted = readable.filter(({ reads, more }) => reads || more);
        if (isShut(role) && granted.length === 0 && role.differing.length === 0) return { steps: [] };
        const text = `${of}: role ${name} may not log in and read any more (NOLOGIN, password and rights removed)`;
        return { steps: [{ kind: "reader.shut", text, detail: granted.map((one) => one.name) }] };
    }
    if (role !== null && !isOwn(group.name, role))
        return { steps: [], refusals: [refuseForeign(group.name, name, role, "set reader: false")] };
    const steps: Step[] = [];
    if (role === null)
        steps.push({ kind: "reader.role", text: `${of}: make role ${name}, which reads all tenants`, detail: null });
    else {
        const differing = differences(group.name, wanted, role, found.mark);
        if (differing.length > 0)
            steps.push({
                kind: "reader.role",
                text: `${of}: mend role ${name} (${differing.join(", ")})`,
                detail: role,
            });
    }
    const unread = readable.filter((one) => !one.reads || one.more).map((one) => one.name);
    for (const one of unread)
        steps.push({
            kind: "reader.grant",
            ...(group.model === "schema" ? { tenant: one } : { table: one }),
            text: `${one}: ${name} may read it${more.includes(one) ? " and no more" : ""}`,
            detail: one,
        });
    return { steps };
}

/** Statements that let it read these and do no more, or nothing at all. */
function grants(group: GroupSpec, names: readonly string[], reads: boolean): string {
    const role = identifier(readerRole(group.name));
    if (group.model === "schema") {
        const schemas = names.map(identifier).join(", ");
        return [
            `REVOKE ALL ON ALL TABLES IN SCHEMA ${schemas} FROM ${role};`,
            `REVOKE ALL ON SCHEMA ${schemas} FROM ${role};`,
            ...(reads
                ? [
                      `GRANT USAGE ON SCHEMA ${schemas} TO ${role};`,
                      `GRANT SELECT ON ALL TABLES IN SCHEMA ${schemas} TO ${role};`,
                  ]
                : []),
        ].join("\n");
    }
    const tables = names.map(qualified).join(", ");
    const schemas = [...new Set(names.map((name) => qualified(name).split(".")[0]))].join(", ");
    return [
        `REVOKE ALL ON ${tables} FROM ${role};`,
        ...(reads
            ? [`GRANT USAGE ON SCHEMA ${schemas} TO ${role};`, `GRANT SELECT ON ${tables} TO ${role};`]
            : [`REVOKE ALL ON SCHEMA ${schemas} FROM ${role};`]),
    ].join("\n");
}

async function inBatches(context: Context, names: readonly string[], reads: boolean): Promise<void> {
    for (let done = 0; done < names.length; done += BATCH) {
        context.alive();
        await transaction(context.session, grants(context.group, names.slice(done, done + BATCH), reads));
    }
}

export const reader: Facet<FoundReader> = {
    name: "reader",
    none: { mark: "", role: null, readable: [] },
    sql: (group, probe) => {
        const role = `to_regrole(${given(identifier(readerRole(group.name)))})`;
        const readable =
            group.model !== "schema" ? ofTables(group, role) : probe.ledger ? ofSchemas(role) : "'[]'::jsonb";
        return `SELECT jsonb_build_object('mark', $3::text, 'role', ${roleSql(readerRole(group.name), probe.ask)}, 'readable', ${readable})`;
    },
    plan,
    run: {
        role: async (context, steps) => {
            for (const step of steps)
                await setRole(context, wantedRole(context.group), step.detail as FoundRole | null);
        },
        grant: (context, steps) =>
            inBatches(
                context,
                steps.map(({ detail }) => detail as string),
                true,
            ),
        /** Its rights go last: until then it is planned again. */
        shut: async (context, steps) => {
            const name = readerRole(context.group.name);
            for (const { detail } of steps) {
                await shutRole(context, name);
                await endSessions(context, name);
                await inBatches(context, detail as readonly string[], false);
            }
        },
    },
};
