/** Policies of a group follow the ledger while tenants come and go. */

import { batches, explainRefusals, planAll, readGroup } from "../group/converge.ts";
import type { Context } from "../group/facet.ts";
import { appRole, type GroupSpec } from "../group/spec.ts";
import { policies } from "./policies.ts";

/** Whether policies keep a group's tenants apart. */
export const hasPolicies = ({ model, rowSecurity }: GroupSpec) => model === "rls" || (model === "row" && rowSecurity);

/** Policies of a group follow what it and the ledger say of its tenants. @returns whether it has any */
export async function refreshPolicies(context: Context, old: GroupSpec): Promise<boolean> {
    if (!hasPolicies(old)) return false;
    const theirs = { ...context, group: old };
    const found = await readGroup(
        context.session,
        old,
        [policies],
        context.verifier(appRole(old.name)).mark,
        context.nodes,
    );
    const { steps, refusals } = planAll(old, [policies], found);
    if (refusals.length > 0) throw new Error(explainRefusals(old, refusals));
    for (const batch of batches(steps))
        await policies.run[(batch[0]?.kind ?? "").slice(policies.name.length + 1)]?.(theirs, batch);
    return true;
}
