/** Tables that are made anew beside the old. Pure. */

import { inTheWay } from "./besideFacts.ts";
import { describeDisk, describeWait, neededDisk, rateOf } from "./besidePlan.ts";
import type { KeyAside } from "./tableKeys.ts";
import type { Plan } from "./tablesPlanned.ts";
import { type BesideSet, identityOf, kindText, type Part, partOf, type Wish } from "./tablesWish.ts";

const list = (names: readonly string[]) => names.join(", ");

/** Tables that are made anew beside the old: whole groups, and tables that change alone. */
export function besides(plan: Plan): BesideSet | undefined {
    const { base, anchor, wantedShards } = plan;
    const tables = new Map<string, Part>();
    const root = plan.anchorMoves ? anchor : wantedShards === undefined ? undefined : base;
    let whole = false;
    if (root && wantedShards !== undefined && !plan.anchorMoves) {
        const members = root.found.together?.members ?? [];
        const bad = members.filter(({ facts }) => inTheWay(facts).length > 0);
        const rigid = members.filter(({ facts }) => facts.identities.length > 0);
        whole = members.length > 0 && bad.length === 0;
        if (bad.length > 0 && rigid.length > 0)
            for (const { name, facts } of bad)
                plan.refuseBeside(
                    name,
                    inTheWay(facts),
                    rigid.map((member) => identityOf(member.name, member.facts)).join("\n"),
                );
        if (whole)
            for (const member of [...members].sort(
                (a, b) => Number(b.name === root.name) - Number(a.name === root.name),
            ))
                if (!plan.wishes.get(member.name)?.beside)
                    tables.set(member.name, {
                        ...member,
                        target: "distributed",
                        column: plan.wishes.get(member.name)?.spec.column ?? member.column,
                    });
    }
    if (root && plan.anchorMoves && root.beside) {
        whole = true;
        // the first makes the group
        tables.set(root.name, partOf(root));
        for (const { name } of root.found.together?.members ?? [])
            if (!plan.wishes.has(name))
                plan.notes.push(
                    `${name} is in the group of ${root.name} and not declared: it stays as it is, and is no longer beside ${root.name}`,
                );
    }
    const weighed = new Map(root?.found.together?.members?.map(({ name, bytes }) => [name, bytes]));
    for (const wish of plan.wishes.values())
        if (wish.beside)
            tables.set(wish.name, { ...partOf(wish), bytes: wish.found.bytes || (weighed.get(wish.name) ?? 0) });
    if (tables.size === 0) return undefined;
    return { tables: [...tables.values()], whole, ...(root === undefined ? {} : { root }) };
}

/** What making a whole group anew is, and its cost. */
function wholeText(plan: Plan, root: Wish, tables: readonly Part[], cost: string): string {
    const count = plan.wantedShards;
    const isolated = root.found.shards > (root.found.declared ?? 0);
    const what = [
        ...(plan.anchorMoves
            ? [`the group is distributed by ${root.found.distributedBy}, and declared by ${root.spec.column}`]
            : []),
        ...(count === undefined ? [] : [`the group's shards change from ${root.found.declared} to ${count}`]),
    ].join("; ");
    return plan.blocked(
        plan.anchorName,
        `${what}: ${list(tables.map(({ name }) => name))} are made anew beside the old, copied, compared and switched${isolated ? "; tenants lose the shards of their own until they are isolated again" : ""}`,
        tables.reduce((sum, part) => sum + part.bytes, 0),
        rateOf(plan.found.rates),
        plan.anchorMoves
            ? `declare distributeBy: ${root.found.distributedBy}`
            : `declare shardCount: ${root.found.declared}`,
        cost,
    );
}

/** What making one table anew is, and its cost. */
function aloneText(plan: Plan, { found: table, alter, target, ...wish }: Wish, part: Part, cost: string): string {
    const sameColumn = alter?.column === undefined || alter.column === table.distributedBy;
    return plan.blocked(
        part.name,
        alter
            ? `${sameColumn ? "" : `is distributed by ${table.distributedBy}, declared by ${alter.column}, and `}is made anew beside ${plan.anchorName}`
            : `is ${kindText(table)} and declared ${target}: it is made anew beside the old one${target === "local" ? ", on the coordinator's disk" : ""}`,
        part.bytes,
        rateOf(plan.found.rates),
        alter
            ? sameColumn
                ? "take it out of tables"
                : `declare distributeBy: ${table.distributedBy}`
            : plan.asItIs({ ...wish, found: table, target }),
        cost,
    );
}

/** The step that makes them anew, with what it costs. */
export function besideStep(plan: Plan, set: BesideSet, drop: readonly KeyAside[]): void {
    const { found, anchorName } = plan;
    const { tables, whole, root } = set;
    const keyless = tables.filter(({ facts }) => facts.key === null).map(({ name }) => name);
    const toLocal = tables.some(({ target }) => target === "local");
    const waiting = keyless.length > 0 || toLocal;
    const disk = describeDisk(neededDisk(tables, found.holders ?? []), found.free ?? {});
    if (disk.refusal !== undefined)
        plan.refusals.push(
            `${list(tables.map(({ name }) => name))}: ${disk.refusal}. Make room or give the nodes larger volumes first.`,
        );
    const cost = `, ${describeWait(waiting, tables.length * (plan.anchor?.found.shards ?? 1))}${keyless.length > 0 ? ` (${list(keyless)} has no primary key, so its changes can't be followed)` : ""}; ${disk.text}`;
    const texts = whole && root ? [wholeText(plan, root, tables, cost)] : [];
    for (const part of tables) {
        const wish = plan.wishes.get(part.name);
        if (!wish?.beside || (whole && part.target === "distributed")) continue;
        texts.push(aloneText(plan, wish, part, whole ? "" : cost));
    }
    const shardCount =
        plan.group.tables[anchorName]?.shardCount ??
        (plan.anchorMoves ? (root?.found.declared ?? undefined) : undefined);
    plan.step("beside", tables[0]?.name ?? "", texts.join("\n"), {
        beside: {
            tables: tables.map(({ name, target, column }) => ({
                name,
                target,
                ...(column === undefined || target !== "distributed" ? {} : { column }),
            })),
            ...(whole
                ? shardCount === undefined
                    ? {}
                    : { shardCount }
                : { colocateWith: plan.base?.name ?? anchorName }),
            waiting,
            drop: drop.map(({ table, name }) => ({ table, name })),
        },
    });
}
