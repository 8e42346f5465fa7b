/** The only writer of `citus_as_code.tenant_change`: how far each change of model is. */

import type { Session } from "../../reach/session.ts";
import { isRow, type TenantKey } from "./key.ts";

/** How far a change of model is, in this order. */
export const PHASES = ["plan", "fence", "copy", "verify", "switch", "done"] as const;
export type Phase = (typeof PHASES)[number];

/** A change of model is planned, unless a run that was killed has written that down. @param from where it comes from */
export async function beginChange(session: Session, { group, tenant }: TenantKey, from: TenantKey): Promise<void> {
    await session.query(
        `INSERT INTO citus_as_code.tenant_change (grp, tenant, from_grp, from_tenant, phase, detail)
         SELECT $1, $2, $3, $4, 'plan', jsonb_build_object('grants', '[]'::jsonb,
                'was', (SELECT state FROM citus_as_code.tenant WHERE grp = $3 AND tenant = $4))
             ON CONFLICT DO NOTHING`,
        [group, tenant, from.group, from.tenant],
    );
}

/** The old place is being shut; when that was first so is kept. */
export async function fenceChange(session: Session, { group, tenant }: TenantKey): Promise<void> {
    await session.query(
        `UPDATE citus_as_code.tenant_change SET phase = CASE phase WHEN 'plan' THEN 'fence' ELSE phase END,
                    detail = jsonb_build_object('fenced', clock_timestamp()) || detail WHERE grp = $1 AND tenant = $2`,
        [group, tenant],
    );
}

/** A phase has begun, or more is known. @param phase the same as before when undefined */
export async function reachPhase(
    session: Session,
    { group, tenant }: TenantKey,
    phase: Phase | undefined,
    detail: object = {},
): Promise<void> {
    await session.query(
        "UPDATE citus_as_code.tenant_change SET phase = coalesce($3, phase), detail = detail || $4::jsonb WHERE grp = $1 AND tenant = $2",
        [group, tenant, phase ?? null, JSON.stringify(detail)],
    );
}

/** A change that was given up. */
export const deleteChange = (session: Session, { group, tenant }: TenantKey) =>
    session.query("DELETE FROM citus_as_code.tenant_change WHERE grp = $1 AND tenant = $2", [group, tenant]);

/** SQL: where a tenant that is gone came from. */
export const forgetChange = (key: TenantKey) => `DELETE FROM citus_as_code.tenant_change WHERE ${isRow(key)};`;
