/** Tables that Citus itself makes what they are to be. Pure. */

import { literal, qualified } from "../../sql/quote.ts";
import { describeBytes } from "../../util/bytes.ts";
import { describeDuration } from "../../util/describeDuration.ts";
import { refuseUnmade } from "./promised.ts";
import { type Plan, targetKind } from "./tablesPlanned.ts";
import { type BesideSet, kindText, type Wish } from "./tablesWish.ts";

const list = (names: readonly string[]) => names.join(", ");

export function undistribute(plan: Plan): void {
    for (const wish of plan.wishes.values()) {
        if (!wish.undistribute) continue;
        const { name, found: table, target } = wish;
        plan.step(
            "undistribute",
            name,
            plan.blocked(
                name,
                `is ${kindText(table)} and declared ${target}: all of it goes to the coordinator's disk, and it can be neither read nor written meanwhile`,
                table.bytes,
                plan.found.rates.undistribute,
                plan.asItIs(wish),
            ),
        );
    }
}

export function makeReferences(plan: Plan): void {
    for (const wish of plan.wishes.values()) {
        if (!wish.make || wish.target !== "reference") continue;
        const { bytes } = wish.found;
        plan.step(
            "reference",
            wish.name,
            `${wish.name}: becomes a reference table, a copy on every node; ${describeBytes(bytes)}, writes wait, ${describeDuration(bytes, plan.found.rates.reference)}`,
        );
    }
}

/** The group's shard count, where Citus has to change it: all of its tables are rewritten. */
export function changeShards(plan: Plan, set: BesideSet | undefined): void {
    const { base, wantedShards } = plan;
    if (!base || wantedShards === undefined || set?.whole) return;
    const { tables, bytes } = base.found.together ?? { tables: [base.name], bytes: base.found.bytes };
    const isolated = base.found.shards > (base.found.declared ?? 0);
    const text = plan.blocked(
        plan.anchorName,
        `the group's shards change from ${base.found.declared} to ${wantedShards}: ${list(tables)} can be neither read nor written meanwhile${isolated ? ", and tenants lose the shards of their own until they are isolated again" : ""}`,
        bytes,
        plan.found.rates.alter,
        `declare shardCount: ${base.found.declared}`,
    );
    plan.step("alter", base.name, text, { shardCount: wantedShards });
}

function distribute(plan: Plan, wish: Wish, colocateWith: string | undefined): void {
    const { bytes, accessMethod, managed, facts } = wish.found;
    const shardCount = plan.group.tables[plan.anchorName]?.shardCount;
    const what = `is distributed by ${wish.spec.column}${colocateWith === undefined ? "" : ` beside ${colocateWith}`}`;
    const identities = facts?.identities ?? [];
    if (accessMethod && managed && identities.length > 0)
        plan.refusals.push(
            `${wish.name} has the identity column ${list(identities)} and access method ${accessMethod}, and Citus manages it as a local table since it has a foreign key to a reference table. Citus can distribute no such table.\nMake it anew with ${list(identities)} bigint DEFAULT nextval('...'), copy its rows, and drop the old one.`,
        );
    plan.step(
        "distribute",
        wish.name,
        accessMethod
            ? plan.blocked(
                  wish.name,
                  `${what}, and writes to it wait meanwhile, since changes of access method ${accessMethod} can't be replicated`,
                  bytes,
                  plan.found.rates.distribute,
                  `make it a heap table: SELECT alter_table_set_access_method(${literal(qualified(wish.name))}, 'heap')`,
              )
            : `${wish.name}: ${what} while it is served; ${describeBytes(bytes)}, writes wait at the end only, ${describeDuration(bytes, plan.found.rates.distribute)}`,
        {
            ...(accessMethod ? { blocking: true } : {}),
            ...(wish.spec.column === undefined ? {} : { column: wish.spec.column }),
            ...(colocateWith === undefined ? (shardCount === undefined ? {} : { shardCount }) : { colocateWith }),
        },
    );
}

function rewrite(plan: Plan, wish: Wish, column: string | undefined): void {
    const { bytes, distributedBy } = wish.found;
    const by = column === undefined ? "" : `is distributed by ${distributedBy}, declared by ${column}, and `;
    plan.step(
        "alter",
        wish.name,
        plan.blocked(
            wish.name,
            `${by}is rewritten beside ${plan.anchorName}, and can be neither read nor written meanwhile`,
            bytes,
            plan.found.rates.alter,
            column === undefined ? "take it out of tables" : `declare distributeBy: ${distributedBy}`,
        ),
        { ...(column === undefined ? {} : { column }), colocateWith: plan.anchorName },
    );
}

/** Every distributed table into the anchor's group, the anchor first. */
export function makeDistributed(plan: Plan): void {
    const { anchor, base } = plan;
    if (anchor?.make && anchor.target === "distributed") distribute(plan, anchor, base?.name);
    for (const wish of plan.wishes.values()) {
        if (wish.name === plan.anchorName) continue;
        if (wish.make && wish.target === "distributed") distribute(plan, wish, plan.anchorName);
        if (wish.colocate)
            plan.step("colocate", wish.name, `${wish.name}: joins the group of ${plan.anchorName}; nothing is copied`, {
                colocateWith: base?.name ?? plan.anchorName,
            });
        if (wish.alter && !wish.beside) rewrite(plan, wish, wish.alter.column);
    }
}

export function planAbsent(plan: Plan): void {
    const { made, pending } = plan.found;
    if (pending && made) plan.refusals.push(...refuseUnmade(plan.group, plan.missing, made));
    for (const name of plan.missing) {
        const spec = plan.group.tables[name];
        if (!spec) continue;
        const target = targetKind(plan.group, spec);
        if (!plan.found.pending)
            plan.refusals.push(
                `${name} does not exist. Make it (CREATE TABLE ...) in a file of template, or take it out of tables.`,
            );
        else if (target === "local") plan.notes.push(`${name}: does not exist yet; a file of template has to make it`);
        else
            plan.step(
                target === "distributed" ? "distribute" : "reference",
                name,
                target === "distributed"
                    ? `${name}: is distributed by ${spec.column}, once a file of template has made it`
                    : `${name}: becomes a reference table, once a file of template has made it`,
            );
    }
}
