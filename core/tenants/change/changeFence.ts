/** The old place refuses the tenant's writes, and takes them again. */

import { DatabaseError, type Session } from "../../reach/session.ts";
import { indented } from "../../util/indented.ts";
import { inTransaction } from "../data/checksum.ts";
import type { TenantLocation } from "../data/tenantTables.ts";
import type { Context } from "../group/facet.ts";
import { fenceChange } from "../ledger/changes.ts";
import { freezeForChange, unfreeze } from "../ledger/tenants.ts";
import { refreshPolicies } from "../rows/refreshPolicies.ts";
import { type Change, type Detail, setPhase } from "./changeRecord.ts";

/**
 * The old place refuses the tenant's writes from here on, those of the superuser aside.
 * @returns whether it does by itself; else only a lock held meanwhile does
 */
export async function fence(change: Change, detail: Detail): Promise<boolean> {
    const { context, source } = change;
    const { group: old, tenant } = source;
    await inTransaction(context.session, async () => {
        await fenceChange(context.session, { group: context.group.name, tenant: change.tenant });
        await freezeForChange(context.session, { group: old.name, tenant }, old.model);
    });
    if (old.model === "rls" || old.model === "row") return refreshPolicies(context, old);
    const found = await source.session.query<{ revoke: string; grant: string }>(
        `SELECT format('REVOKE %s ON TABLE %I.%I FROM %s', x.privileges, n.nspname, c.relname, x.role) AS revoke,
                format('GRANT %s ON TABLE %I.%I TO %s', x.privileges, n.nspname, c.relname, x.role) AS grant
           FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace,
                LATERAL (SELECT CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END AS role,
                                string_agg(a.privilege_type, ', ' ORDER BY a.privilege_type) AS privileges
                           FROM aclexplode(c.relacl) AS a
                          WHERE a.grantee <> c.relowner AND a.privilege_type IN ('INSERT', 'UPDATE', 'DELETE', 'TRUNCATE')
                          GROUP BY a.grantee) AS x
          WHERE (n.nspname, c.relname) IN (SELECT * FROM unnest($1::text[], $2::text[]))`,
        [source.slices.map(({ table }) => table.schema), source.slices.map(({ table }) => table.name)],
    );
    if (found.length === 0) return true;
    // written down first: who is killed in between knows what to give back
    await setPhase(change, undefined, { grants: [...detail.grants, ...found.map(({ grant }) => grant)] });
    await inTransaction(source.session, async () => {
        for (const { revoke } of found) await source.session.query(revoke);
    });
    return true;
}

/** Takes the fence of the old place away. Safe to repeat. @param there a connection to it */
export async function unfence(
    context: Context,
    { group: old, tenant }: Pick<TenantLocation, "group" | "tenant">,
    there: Session,
    { was, grants }: Detail,
): Promise<void> {
    const { session } = context;
    // one that is being deleted by now stays so
    await unfreeze(session, { group: old.name, tenant }, was);
    if (old.model === "rls" || old.model === "row") await refreshPolicies(context, old);
    for (const grant of grants)
        await there.query(grant).catch((error: unknown) => {
            if (!isGone(error)) throw error;
            context.warn(
                `${old.name}/${tenant}: one of its rights was not given back, because the role or table that it names is gone: ${grant}\n${indented(error)}`,
            );
        });
}

/** Whether a role, table, schema or database is not there. */
export const isGone = (error: unknown) =>
    error instanceof DatabaseError && ["42704", "42P01", "3F000", "3D000"].includes(error.code ?? "");
