/** The new tenant serves, and the old one is a copy that is kept. */

import { countOf } from "../../util/countOf.ts";
import { allColumns, inTransaction, type Prints, printSlices, samePrint } from "../data/checksum.ts";
import { schemaOf } from "../data/shape.ts";
import { placeOf, type TenantLocation } from "../data/tenantTables.ts";
import type { Context } from "../group/facet.ts";
import { type GroupSpec, tenantRole } from "../group/spec.ts";
import { supersede, takeOver } from "../ledger/tenants.ts";
import { privileges } from "../roles/privileges.ts";
import { refreshPolicies } from "../rows/refreshPolicies.ts";
import type { LedgerTenant } from "./changePlan.ts";
import { type Change, setPhase } from "./changeRecord.ts";

/** The new tenant serves, the old one is a copy that is kept; with the copy's present checksum. */
export async function switchOver(change: Change, checksum: Prints): Promise<void> {
    const { context, source, target } = change;
    const columns = Object.fromEntries(allColumns(source.slices).map((slice) => [slice.name, slice.columns]));
    const { session } = context;
    const movedTo = `${target.group.name}/${target.tenant}`;
    await supersede(
        session,
        { group: source.group.name, tenant: source.tenant },
        { moved_to: movedTo, checksum, columns },
    );
    await takeOver(session, { group: target.group.name, tenant: target.tenant }, target.group.model);
    await setPhase(change, "done");
}

/** Takes the tenant's rights on the old copy away, so that nobody reads stale rows. If this run dies first, the old group's next `up` does it. */
export async function closeOld(context: Context, { session, group, tenant }: TenantLocation): Promise<void> {
    if (group.model === "rls" || group.model === "row") await refreshPolicies(context, group);
    if (group.model !== "schema") return;
    const role = tenantRole(group.name, tenant);
    const [row] = await session.query<{ ok: boolean }>("SELECT to_regrole(quote_ident($1)) IS NOT NULL AS ok", [role]);
    if (row?.ok) await inTransaction(session, () => session.query(privileges(schemaOf(tenant), role, "fenced")));
}

/**
 * Whether a tenant's old copy is as it was when its data went to another group; called before it is deleted.
 * @returns what changed, for a refusal; undefined when nothing did
 */
export async function changedSince(context: Context, group: GroupSpec, tenant: string): Promise<string | undefined> {
    const [row] = await context.session.query<LedgerTenant>(
        "SELECT model, state, node, detail FROM citus_as_code.tenant WHERE grp = $1 AND tenant = $2",
        [group.name, tenant],
    );
    if (row?.state !== "superseded") return undefined;
    const then = (row.detail.checksum ?? {}) as Prints;
    const had = (row.detail.columns ?? {}) as Readonly<Record<string, readonly string[]>>;
    const place = await placeOf(context, group, tenant);
    // columns and tables that the group has got since are no change of the copy
    const slices = allColumns(place.slices).map(({ name, slice, columns }) => ({
        name,
        slice,
        columns: had[name]?.filter((column) => columns.includes(column)) ?? columns,
    }));
    const now = await inTransaction(place.session, () => printSlices(place.session, slices));
    const none = { count: "0", sum: "0" };
    const changed = Object.keys({ ...then, ...now }).filter(
        (name) => !samePrint(then[name] ?? none, now[name] ?? none),
    );
    if (changed.length === 0) return undefined;
    return `${tenant}: its data went to ${String(row.detail.moved_to)}, and the old copy in ${group.name} has changed since: ${changed
        .map((name) => `${name} had ${countOf(Number(then[name]?.count ?? 0), "row")} and has ${now[name]?.count ?? 0}`)
        .join(", ")}${changed.every((name) => then[name]?.count === now[name]?.count) ? ", with other contents" : ""}`;
}
