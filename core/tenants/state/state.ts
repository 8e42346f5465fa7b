/** Whether a tenant writes, only reads, or is fenced because its data went elsewhere; for tenants with a schema or database. */

import type { Session } from "../../reach/session.ts";
import { ownProperty } from "../../util/ownProperty.ts";
import { OWN_TABLES } from "../data/checksum.ts";
import { databaseMessage, inBatches, transaction } from "../group/batch.ts";
import type { Context, Facet, Planned, Step } from "../group/facet.ts";
import type { GroupSpec } from "../group/spec.ts";
import { type Opening, openingsSql, placesOf } from "../isolation/openings.ts";
import { GIVE_BACK, noteShutOwn } from "../ledger/ownDatabase.ts";
import { PIN_DATABASE } from "../ledger/searchPath.ts";
import { inState, type TenantState } from "../ledger/states.ts";
import { noteFenced, setServed } from "../ledger/tenants.ts";
import { ownTenantRole } from "../roles/groupRoles.ts";
import { type Access, accessOf, privileges } from "../roles/privileges.ts";

interface FoundTenant {
    readonly state: TenantState;
    /** What its role may do in its schema; null where there is none to ask of. */
    readonly access: string | null;
}

export type FoundStates = Readonly<Record<string, FoundTenant>>;

const BATCH = 20;

const TEXT: Readonly<Record<Access, string>> = {
    active: "write again",
    frozen: "freeze: read and not write",
    fenced: "fence: its data is in another group now",
};

interface Detail {
    readonly access: Access;
}

function planStates(group: GroupSpec, found: FoundStates): Planned {
    const steps = Object.entries(found).flatMap(([tenant, { state, ...its }]): Step[] => {
        const spec = ownProperty(group.tenants, tenant);
        const access = ownTenantRole(group, tenant) === undefined ? null : its.access;
        if (state === "superseded") {
            if (access === null || access === "fenced") return [];
            return [{ kind: "state.set", tenant, text: `${tenant}: ${TEXT.fenced}`, detail: { access: "fenced" } }];
        }
        if (!spec || (state !== "active" && state !== "frozen")) return [];
        const wanted: Access = spec.frozen ? "frozen" : "active";
        const same = access === null || access === "any" || access === wanted || !spec.role;
        if (state === wanted && same) return [];
        const text = state === wanted ? `mend what its role may do (${wanted})` : TEXT[wanted];
        return [{ kind: "state.set", tenant, text: `${tenant}: ${text}`, detail: { access: wanted } satisfies Detail }];
    });
    return { steps };
}

/** Schemas of a tenant's database that its role uses. */
const OWN_SCHEMAS = `SELECT n.nspname::text AS name FROM pg_namespace n
     WHERE ${OWN_TABLES} ORDER BY 1`;

/** Takes rights that others have, and notes those that come back. */
function takeAway(openings: readonly Opening[]): string {
    const back = openings.flatMap((opening) => opening.back ?? []);
    return [...noteShutOwn(back), ...openings.map(({ sql }) => `${sql};`)].join("\n");
}

/** Statements that give a tenant's role exactly these rights in its database. @param session a connection to it */
export async function databasePrivileges(session: Session, role: string, access: Access): Promise<string> {
    const schemas = await session.query<{ name: string }>(OWN_SCHEMAS);
    const rights = [PIN_DATABASE, ...schemas.map(({ name }) => privileges(name, role, access))].join("\n");
    if (access === "active") return `${rights}\n${GIVE_BACK}`;
    const places = placesOf(schemas.map(({ name }) => ({ tenant: "", nsp: name, role })));
    const openings = await session.query<Opening>(openingsSql(places));
    return [rights, takeAway(openings)].join("\n");
}

/** Gives a tenant's role exactly these rights in its database. Safe to repeat. @param session a connection to it */
export async function setDatabaseAccess(session: Session, role: string, access: Access): Promise<void> {
    await transaction(session, await databasePrivileges(session, role, access));
}

/** Whether its database is fenced is written down too: this database can't see into it. */
function ledgerRow(group: string, tenant: string, access: Access): string {
    const key = { group, tenant };
    return access === "fenced" ? noteFenced(key) : setServed(key, access);
}

async function hasRole(session: Session, role: string): Promise<boolean> {
    const [row] = await session.query<{ ok: boolean }>("SELECT to_regrole(quote_ident($1)) IS NOT NULL AS ok", [role]);
    return row?.ok === true;
}

async function setDatabase(context: Context, tenant: string, access: Access): Promise<void> {
    const { group, session } = context;
    const role = ownTenantRole(group, tenant);
    if (role !== undefined && (await hasRole(session, role))) {
        const [row] = await session.query<{ node: string | null }>(
            "SELECT node FROM citus_as_code.tenant WHERE grp = $1 AND tenant = $2",
            [group.name, tenant],
        );
        const database = await context.open(row?.node ?? "coordinator", tenant);
        try {
            await setDatabaseAccess(database, role, access);
        } finally {
            await database.close().catch(() => undefined);
        }
    }
    await session.query(ledgerRow(group.name, tenant, access));
}

async function set(context: Context, steps: readonly Step[]): Promise<void> {
    const { group, session } = context;
    const roles = await session.query<{ name: string }>(
        "SELECT rolname::text AS name FROM pg_roles WHERE starts_with(rolname, $1)",
        [`${group.name}_`],
    );
    const known = new Set(roles.map(({ name }) => name));
    const accessFor = (step: Step) => (step.detail as Detail).access;
    const together = async (batch: readonly Step[]) => {
        if (group.model === "database") {
            for (const step of batch) await setDatabase(context, step.tenant ?? "", accessFor(step));
            return;
        }
        const sql = batch.map((step) => {
            const tenant = step.tenant ?? "";
            const role = ownTenantRole(group, tenant);
            const rights = role !== undefined && known.has(role) ? privileges(tenant, role, accessFor(step)) : "";
            return `${rights}\n${ledgerRow(group.name, tenant, accessFor(step))}`;
        });
        await transaction(session, sql.join("\n"));
    };
    await inBatches(
        steps,
        BATCH,
        together,
        async (step, done) => {
            try {
                await together([step]);
            } catch (error) {
                throw new Error(
                    `${step.text}: failed\n${databaseMessage(error)}\n${step.tenant} is as it was. ${done} of ${steps.length} tenants are done. Remove the cause, then run pulumi up again: it is safe to repeat.`,
                );
            }
        },
        () => context.alive(),
    );
}

/** Frozen, active and fenced tenants of models schema and database. */
export const state: Facet<FoundStates> = {
    name: "state",
    none: {},
    sql: ({ model }, { ledger }) =>
        ledger
            ? `SELECT coalesce(jsonb_object_agg(l.tenant, jsonb_build_object('state', l.state, 'access', a.access)), '{}')
                 FROM citus_as_code.tenant l LEFT JOIN (${
                     model === "schema"
                         ? accessOf(
                               "SELECT tenant, $1 || '_' || tenant AS role FROM citus_as_code.tenant WHERE grp = $1",
                           )
                         : `SELECT tenant, CASE WHEN detail ? 'fenced' THEN 'fenced' WHEN ${inState("state", "superseded")} THEN 'mixed' END AS access
                              FROM citus_as_code.tenant WHERE grp = $1`
                 }) a USING (tenant)
                WHERE l.grp = $1 AND NOT EXISTS (SELECT FROM citus_as_code.tenant_change c
                                                  WHERE c.from_grp = $1 AND c.from_tenant = l.tenant AND c.phase <> 'done')`
            : undefined,
    plan: planStates,
    run: { set },
};
