/** What the ledger has of a change, so that a killed run goes on or is undone. */

import type { Session } from "../../reach/session.ts";
import type { Prints } from "../data/checksum.ts";
import type { Pair } from "../data/shape.ts";
import type { TenantLocation } from "../data/tenantTables.ts";
import type { Context } from "../group/facet.ts";
import type { GroupSpec } from "../group/spec.ts";
import type { Phase } from "../ledger/changes.ts";
import { beginChange, reachPhase } from "../ledger/changes.ts";

export interface Change {
    readonly context: Context;
    readonly tenant: string;
    /** `group/tenant` that it comes from. */
    readonly from: string;
    readonly source: TenantLocation;
    readonly target: TenantLocation;
    readonly pairs: readonly Pair[];
}

/** What a change must know again after it was killed. */
export interface Detail {
    /** State of the old tenant before; null when nothing was written down about it. */
    readonly was: string | null;
    /** GRANTs that undo the fence. */
    readonly grants: readonly string[];
    readonly fenced?: string;
    /** What this change began to copy into a place that was empty: nothing else is ever taken out of it again. */
    readonly copied?: Prints;
}

export async function groupSpec(context: Context, name: string): Promise<GroupSpec> {
    const [row] = await context.session.query<{ spec: GroupSpec }>(
        "SELECT spec FROM citus_as_code.tenant_group WHERE grp = $1",
        [name],
    );
    if (!row) throw new Error(`this cluster knows no group ${name}. Run pulumi up with that group first.`);
    return row.spec;
}

/** One phase after the other; the ledger says which one has begun. @param phase the same as before when undefined */
export async function setPhase(change: Change, phase: Phase | undefined, detail: Partial<Detail> = {}): Promise<void> {
    const { context, tenant } = change;
    await reachPhase(context.session, { group: context.group.name, tenant }, phase, detail);
}

interface Written {
    readonly phase: Phase;
    readonly detail: Detail;
}

/** What the ledger has of a change; undefined when it has none. */
export async function readChange(session: Session, group: string, tenant: string): Promise<Written | undefined> {
    const [row] = await session.query<Written>(
        "SELECT phase, detail FROM citus_as_code.tenant_change WHERE grp = $1 AND tenant = $2",
        [group, tenant],
    );
    return row;
}

/** Writes a change down, unless a run that was killed has. */
export async function begin({ context, tenant, source }: Change): Promise<Detail> {
    const { session, group } = context;
    await beginChange(session, { group: group.name, tenant }, { group: source.group.name, tenant: source.tenant });
    const row = await readChange(session, group.name, tenant);
    if (!row)
        throw new Error(
            "its change is missing from the ledger (citus_as_code.tenant_change), where it was just written",
        );
    return row.detail;
}
