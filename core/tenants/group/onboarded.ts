/** Tenants that create_tenant made and no program names yet: the ledger is all that knows them. */

import type { Session } from "../../reach/session.ts";
import { isServed, type TenantState } from "../ledger/states.ts";
import { adoptOnboarded } from "../ledger/tenants.ts";
import type { GroupSpec, TenantSpec } from "./spec.ts";

interface OnboardedRow {
    readonly tenant: string;
    readonly state: TenantState;
}

/** As the program would have them, by name, in the order in which they were made. */
export async function onboardedTenants(session: Session, group: GroupSpec): Promise<Record<string, TenantSpec>> {
    const [there] = await session.query<{ ok: boolean }>(
        "SELECT to_regclass('citus_as_code.tenant') IS NOT NULL AS ok",
    );
    if (!there?.ok) return {};
    const rows = await session.query<OnboardedRow>(
        `SELECT tenant, state FROM citus_as_code.tenant
          WHERE grp = $1 AND detail ? 'onboarded' AND ${isServed("state")} ORDER BY since, tenant`,
        [group.name],
    );
    return Object.fromEntries(
        rows.map(({ tenant, state }) => [
            tenant,
            {
                onboarded: true,
                ...(group.model === "schema" ? { role: true } : {}),
                ...(state === "frozen" ? { frozen: true } : {}),
            },
        ]),
    );
}

/** The group with these tenants too; the program's word counts where it has one. Pure. */
export function withTenants(group: GroupSpec, onboarded: Readonly<Record<string, TenantSpec>>): GroupSpec {
    const more = Object.entries(onboarded).filter(
        ([tenant]) => !Object.hasOwn(group.tenants, tenant) && !group.delete.includes(tenant),
    );
    // the program's first: they are the canaries of its rollout
    return more.length === 0 ? group : { ...group, tenants: { ...group.tenants, ...Object.fromEntries(more) } };
}

/**
 * The group as `up` has to keep it: tenants that have a place of their own need its migrations, roles and grants whoever
 * made them. In rls and row a tenant is rows, for which there is nothing to do.
 */
export async function withOnboarded(session: Session, group: GroupSpec): Promise<GroupSpec> {
    return group.model === "schema" ? withTenants(group, await onboardedTenants(session, group)) : group;
}

/** From here on the program's lines are what counts for the tenants that it names. @returns whether that is new for one */
export async function adopt(session: Session, group: GroupSpec): Promise<boolean> {
    const adopted = await adoptOnboarded(session, group.name, [...Object.keys(group.tenants), ...group.delete]);
    return adopted.length > 0;
}
