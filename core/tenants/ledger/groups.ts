/** What each group is made from, for other groups that take tenants of it. */

import type { Session } from "../../reach/session.ts";

/** Writes down what a group is made from, for other groups that take tenants of it. */
export async function recordGroup(session: Session, group: { readonly name: string }): Promise<void> {
    await session.query(
        `INSERT INTO citus_as_code.tenant_group (grp, spec) VALUES ($1, $2)
         ON CONFLICT (grp) DO UPDATE SET spec = excluded.spec WHERE tenant_group.spec IS DISTINCT FROM excluded.spec`,
        [group.name, JSON.stringify(group)],
    );
}
