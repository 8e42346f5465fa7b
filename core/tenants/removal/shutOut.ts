/** A tenant is written down as on its way out, and nobody reaches it any more. */

import { identifier } from "../../sql/quote.ts";
import { changedSince } from "../change/changeSwitch.ts";
import { transaction } from "../group/batch.ts";
import type { Context } from "../group/facet.ts";
import { beginDeleting, freezeByHand } from "../ledger/tenants.ts";
import { ownTenantRole } from "../roles/groupRoles.ts";
import { endSessions, privileges } from "../roles/privileges.ts";
import { type Leaving, record, rowOf, TAKEN_BY_SQL } from "./leaving.ts";
import { findDatabase, hasSchema, isThere, ownRole, serverOf } from "./present.ts";
import { hasRows } from "./removalPlan.ts";

/** Writes down that it is being deleted. From here on nothing else changes it. */
export async function begin(context: Context, tenant: string): Promise<Leaving> {
    const { group, session } = context;
    const [taken] = await session.query<{ by: string | null }>(`SELECT ${TAKEN_BY_SQL("$1", "$2")} AS by`, [
        group.name,
        tenant,
    ]);
    if (taken?.by != null)
        throw new Error(
            `its data is on its way to ${taken.by}. Nothing of it was touched. Run pulumi up again when that change has ended.`,
        );
    const role = ownTenantRole(group, tenant);
    const { node } = await rowOf({ context, tenant, role, node: "" });
    const leaving = { context, tenant, role, node: node ?? "coordinator" };
    // nothing is written down and nobody shut out before what is there is known to be the tenant's
    const there = hasRows(group) || (await isThere(leaving));
    const changed = there ? await changedSince(context, group, tenant) : undefined;
    if (changed !== undefined)
        throw new Error(
            `${changed}\nIt is not deleted. Bring what is new over to the other group. If it is not needed: ` +
                `${freezeByHand({ group: group.name, tenant })} then run pulumi up again.`,
        );
    await beginDeleting(session, { group: group.name, tenant }, group.model);
    const [colocation] = await session.query<{ id: number }>(
        `SELECT colocationid AS id FROM pg_dist_schema WHERE schemaid = to_regnamespace(quote_ident($1)) AND $2 = 'schema'`,
        [tenant, group.model],
    );
    if (colocation) await record(leaving, { colocation: colocation.id });
    return leaving;
}

/** Its role can't come in any more, and what it was doing has ended. */
export async function fence(leaving: Leaving): Promise<void> {
    const { context, tenant } = leaving;
    const { group, session } = context;
    const role = await ownRole(leaving);
    if (role !== undefined) {
        await session.query(`ALTER ROLE ${identifier(role)} NOLOGIN`);
        if (group.model === "schema" && (await hasSchema(leaving)))
            await transaction(session, privileges(tenant, role, "fenced"));
        await endSessions(context, role);
    }
    if (group.model === "database" && (await findDatabase(leaving)) === "whole") {
        const server = await serverOf(leaving);
        await server.query(`ALTER DATABASE ${identifier(tenant)} CONNECTION LIMIT 0`);
        await server.query(
            `SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity a JOIN pg_roles r ON r.oid = a.usesysid
              WHERE datname = $1 AND NOT rolsuper`,
            [tenant],
        );
    }
}
