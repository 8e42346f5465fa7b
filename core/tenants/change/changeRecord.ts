/** What the ledger has of a change, so that a killed run goes on or is undone. */

import type { Session } from "../../reach/session.ts";
import type { Prints } from "../data/checksum.ts";
import type { Pair } from "../data/shape.ts";
import type { Place } from "../data/tenantTables.ts";
import type { Context } from "../group/facet.ts";
import type { GroupSpec } from "../group/spec.ts";
import type { Phase } from "./changePlan.ts";

export interface Change {
    readonly context: Context;
    readonly tenant: string;
    /** `group/tenant` that it comes from. */
    readonly from: string;
    readonly source: Place;
    readonly target: Place;
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
export async function reach(change: Change, phase: Phase | undefined, detail: Partial<Detail> = {}): Promise<void> {
    await change.context.session.query(
        "UPDATE citus_as_code.tenant_change SET phase = coalesce($3, phase), detail = detail || $4::jsonb WHERE grp = $1 AND tenant = $2",
        [change.context.group.name, change.tenant, phase ?? null, JSON.stringify(detail)],
    );
}

interface Written {
    readonly phase: Phase;
    readonly detail: Detail;
}

/** What the ledger has of a change; undefined when it has none. */
export async function written(session: Session, group: string, tenant: string): Promise<Written | undefined> {
    const [row] = await session.query<Written>(
        "SELECT phase, detail FROM citus_as_code.tenant_change WHERE grp = $1 AND tenant = $2",
        [group, tenant],
    );
    return row;
}

/** Writes a change down, unless a run that was killed has. */
export async function begin({ context, tenant, source }: Change): Promise<Detail> {
    const { session, group } = context;
    await session.query(
        `INSERT INTO citus_as_code.tenant_change (grp, tenant, from_grp, from_tenant, phase, detail)
         SELECT $1, $2, $3, $4, 'plan', jsonb_build_object('grants', '[]'::jsonb,
                'was', (SELECT state FROM citus_as_code.tenant WHERE grp = $3 AND tenant = $4))
             ON CONFLICT DO NOTHING`,
        [group.name, tenant, source.group.name, source.tenant],
    );
    const row = await written(session, group.name, tenant);
    if (!row)
        throw new Error(
            "its change is missing from the ledger (citus_as_code.tenant_change), where it was just written",
        );
    return row.detail;
}

export const forget = (session: Session, group: string, tenant: string) =>
    session.query("DELETE FROM citus_as_code.tenant_change WHERE grp = $1 AND tenant = $2", [group, tenant]);
