/** What each declared table is to become, and by which way. Pure. */

import { explainReference } from "../../citus/references.ts";
import { judgeKey } from "../ask/keyJudge.ts";
import type { TableSpec } from "../group/spec.ts";
import { inTheWay, NO_FACTS } from "./besideFacts.ts";
import { unfit } from "./tableFit.ts";
import type { FoundTable } from "./tablesFound.ts";
import { type Plan, targetKind } from "./tablesPlanned.ts";
import { identityOf, type Wish } from "./tablesWish.ts";

/** Each declared table that is there, with what it is to be. */
export function readWishes(plan: Plan): void {
    const byName = new Map(plan.found.tables.map((table) => [table.name, table]));
    const anchorType = byName.get(plan.anchorName)?.column?.type;
    for (const [name, spec] of Object.entries(plan.group.tables)) {
        const table = byName.get(name);
        const target = targetKind(plan.group, spec);
        if (!table) {
            plan.missing.push(name);
            continue;
        }
        if (table.kind === "tenant" || table.kind === "other") {
            plan.refusals.push(
                table.kind === "tenant"
                    ? `${name} belongs to a tenant's schema, and Citus can't change such a table: take it out of tables`
                    : `${name} is distributed in a way that plan project does not make: undistribute it by hand first`,
            );
            continue;
        }
        const { wrong, notes } = unfit(name, spec, target, table, name === plan.anchorName ? undefined : anchorType);
        const asItIs = table.kind === target && (target !== "distributed" || table.distributedBy === spec.column);
        // what is as declared already is not refused for what it would meet on the way
        if (!asItIs || wrong.some((text) => text.includes("has no column"))) for (const w of wrong) plan.mendable(w);
        else plan.notes.push(...wrong.filter((text) => !text.includes("UNLOGGED") || target !== "local"));
        plan.notes.push(...notes, ...useOf(plan, name, spec, table));
        plan.wishes.set(name, {
            name,
            spec,
            target,
            found: table,
            undistribute: !["local", target].includes(table.kind),
            make: table.kind !== target && target !== "local",
        });
    }
}

/** Whether it will be a good key, or a good reference table, from the rows that are there. */
function useOf(plan: Plan, name: string, spec: TableSpec, table: FoundTable): string[] {
    if (typeof table.perMinute === "number")
        return explainReference({ table: name, bytes: table.bytes, copies: 0, perMinute: table.perMinute });
    if (!table.values || !table.column || spec.column === undefined) return [];
    return judgeKey({
        table: name,
        column: spec.column,
        type: table.column.type,
        isEnum: table.isEnum === true,
        shards: plan.group.tables[plan.anchorName]?.shardCount ?? plan.found.usualShards ?? 32,
        distributed: false,
        values: { ...table.values, rows: Math.max(0, table.values.rows) },
    }).map(({ says }) => says);
}

/** Which tables change their column, their group, or are brought back. */
export function planChanges(plan: Plan): void {
    const fits = ({ target, found: t, spec }: Wish) =>
        target === "distributed" && t.kind === "distributed" && t.distributedBy === spec.column;
    const { anchor } = plan;
    plan.base =
        anchor && fits(anchor)
            ? anchor
            : anchor?.found.kind === "local"
              ? [...plan.wishes.values()].find(
                    (wish) => fits(wish) && wish.found.columnType === anchor.found.column?.type,
                )
              : undefined;
    plan.anchorMoves = anchor?.target === "distributed" && anchor.found.kind === "distributed" && !fits(anchor);
    for (const wish of plan.wishes.values()) {
        const { spec, target, found: table } = wish;
        if (wish.undistribute || target !== "distributed" || table.kind !== "distributed") continue;
        if (plan.anchorMoves || table.distributedBy !== spec.column) {
            wish.alter = { column: spec.column ?? "", colocate: true };
        } else if (plan.base && table.colocation !== plan.base.found.colocation) {
            if (table.layout === plan.base.found.layout && table.columnType === plan.base.found.columnType)
                wish.colocate = true;
            else wish.alter = { colocate: true };
        }
    }
}

/** What can be made anew beside the old is; Citus rewrites the others, unless it refuses to. */
export function planWays(plan: Plan): void {
    for (const wish of plan.wishes.values()) {
        if (!wish.undistribute && !wish.alter) continue;
        const facts = wish.found.facts ?? NO_FACTS;
        const reasons = inTheWay(facts);
        if (wish.found.facts && reasons.length === 0) {
            wish.beside = true;
            wish.undistribute = false;
            wish.make = false;
        } else if (plan.anchorMoves && wish.alter) plan.refuseBeside(wish.name, reasons, "");
        else if (facts.identities.length > 0) plan.refuseBeside(wish.name, reasons, identityOf(wish.name, facts));
    }
}
