/** What there is to do so that a group's tables are what they are declared to be. Pure. */

import type { Planned } from "../group/facet.ts";
import type { GroupSpec } from "../group/spec.ts";
import { besideStep, besides } from "./planBeside.ts";
import { changeShards, makeDistributed, makeReferences, planAbsent, undistribute } from "./planDistribute.ts";
import { planKeys } from "./planKeys.ts";
import { planChanges, planWays, readWishes } from "./planWishes.ts";
import type { FoundTables } from "./tablesFound.ts";
import { Plan } from "./tablesPlanned.ts";

const MOVES_NOTHING = "Nothing was changed.";

/** Everything that stands in the way is listed at once; nothing is copied while there is any. */
export function planTables(group: GroupSpec, found: FoundTables): Planned {
    const plan = new Plan(group, found);
    readWishes(plan);
    planChanges(plan);
    planWays(plan);
    if (found.leftover)
        plan.step(
            "sweep",
            "",
            "what a run that was ended half-way left of tables made anew is removed; the tables themselves are whole",
        );
    const set = besides(plan);
    const { drop, put, gone } = planKeys(plan, set);
    undistribute(plan);
    makeReferences(plan);
    changeShards(plan, set);
    if (set) besideStep(plan, set, drop);
    makeDistributed(plan);
    for (const { table, name } of gone)
        plan.step("forget", table, `${table}: foreign key ${name} is dropped: it can't be there any more`, {
            key: name,
        });
    for (const { table, name } of put)
        plan.step("putBack", table, `${table}: foreign key ${name} is put back, and every row checked`, { key: name });
    planAbsent(plan);
    const { steps, refusals, notes } = plan;
    const moves = steps.some(
        ({ kind }) => !["tables.forget", "tables.putBack", "tables.colocate", "tables.sweep"].includes(kind),
    );
    if (moves && !found.bypass)
        refusals.push(
            `the role of this connection is neither superuser nor BYPASSRLS. Citus copies only what that role may read, so rows that a policy hides would be lost without an error. ${MOVES_NOTHING} Run this as the superuser.`,
        );
    const distributes = steps.some(({ kind }) => kind === "tables.distribute");
    if (distributes && typeof found.plugins === "string" && !/(^|[ ,])(citus|\*)($|[ ,])/.test(found.plugins))
        refusals.push(
            `output_plugin_libraries is '${found.plugins}' on the coordinator; Citus would say "library "citus" may not be used as an output plugin" half-way: set it to 'pgoutput,test_decoding,citus' on every node.`,
        );
    return { steps, refusals, notes };
}
