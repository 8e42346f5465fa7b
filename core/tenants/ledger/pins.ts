/** The only writer of `citus_as_code.tenant_pin`: which tenants have a node of their own. */

import type { Session } from "../../reach/session.ts";
import { isRow, type TenantKey } from "./key.ts";

/** A tenant that stays on a node. */
export interface Pin {
    readonly tenant: string;
    /** The table that its shard is of. */
    readonly anchor: string;
    /** Its key there; null where it is a whole schema. */
    readonly key: string | null;
    readonly node: string;
}

/** Tenants stay on these nodes. */
export async function writePins(session: Session, group: string, pins: readonly Pin[]): Promise<void> {
    await session.query(
        `INSERT INTO citus_as_code.tenant_pin (grp, tenant, anchor, key, node)
         SELECT $1, r.tenant, r.anchor, r.key, r.node FROM jsonb_to_recordset($2::jsonb) AS r (tenant text, anchor text, key text, node text)
         ON CONFLICT (grp, tenant) DO UPDATE SET anchor = excluded.anchor, key = excluded.key, node = excluded.node`,
        [group, JSON.stringify(pins)],
    );
}

/** Tenants may be anywhere. */
export async function deletePins(
    session: Session,
    group: string,
    tenants: readonly (string | undefined)[],
): Promise<void> {
    await session.query("DELETE FROM citus_as_code.tenant_pin WHERE grp = $1 AND tenant = ANY ($2)", [group, tenants]);
}

/** SQL: a tenant that is gone stays nowhere. */
export const forgetPins = (key: TenantKey) => `DELETE FROM citus_as_code.tenant_pin WHERE ${isRow(key)};`;
