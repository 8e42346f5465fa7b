/** Foreign keys of tables that change: which are dropped, and which come back. Pure. */

import { impossible, type KeyAside, type KeyEnd } from "./tableKeys.ts";
import type { Plan } from "./tablesPlanned.ts";
import type { BesideSet } from "./tablesWish.ts";

/** Foreign keys: what can't be there afterwards is dropped, with leave; what is in the way is put back at the end. */
export function planKeys(
    plan: Plan,
    set: BesideSet | undefined,
): { drop: KeyAside[]; put: KeyAside[]; gone: KeyAside[] } {
    const beside = set?.tables.map(({ name }) => name) ?? [];
    const ends = new Map<string, KeyEnd>([
        ...(set?.tables ?? []).map(({ name, target, column }): [string, KeyEnd] => [
            name,
            { target, spec: { kind: target, ...(column === undefined ? {} : { column }) } },
        ]),
        ...plan.wishes,
    ]);
    const drop: KeyAside[] = [];
    const put = new Map<string, KeyAside>();
    const gone = new Map<string, KeyAside>();
    const nameOf = ({ table, name }: KeyAside) => `${table} ${name}`;
    for (const key of plan.found.keys) {
        const both = [...new Set([key.table, key.references])];
        const moving = both
            .map((name) => plan.wishes.get(name))
            .filter((wish) => wish !== undefined)
            .filter((wish) => wish.undistribute || wish.make || (wish.alter !== undefined && !wish.beside));
        const switched = both.filter((name) => beside.includes(name));
        if (moving.length === 0 && switched.length === 0) continue;
        const aside = { table: key.table, name: key.name, key };
        const why = impossible(key, ends);
        if (why !== undefined) {
            const names = [...moving.map(({ name }) => name), ...switched];
            for (const name of names) plan.lost.set(name, [...(plan.lost.get(name) ?? []), key.name]);
            if (![...names, key.table].some((name) => plan.allowed(name))) {
                const text = `foreign key ${key.name} of ${key.table} to ${key.references} would be dropped: ${why}.\nChange it in a file of template, declare ${key.references} as reference: true, or put "${key.table}" into allow to drop it.`;
                if (switched.length === 0 && moving.every((wish) => wish.make && !wish.undistribute))
                    plan.mendable(text);
                else plan.refusals.push(text);
            } else if (moving.length === 0) drop.push(aside);
            else gone.set(nameOf(aside), aside);
            continue;
        }
        const parentKind = plan.wishes.get(key.references)?.target ?? key.referencesKind;
        const inItsWay = moving.some(
            (wish) =>
                wish.undistribute || ((wish.target === "distributed" || wish.alter) && parentKind === "distributed"),
        );
        if (inItsWay) put.set(nameOf(aside), aside);
    }
    for (const { table, name, key } of [...gone.values(), ...put.values()])
        plan.step(
            "setAside",
            table,
            `${table}: foreign key ${name} to ${key?.references} is taken off; it is ${gone.has(`${table} ${name}`) ? "dropped" : "put back and checked"} when the tables are where they belong`,
            { key: name, ...(key ? { facts: key } : {}) },
        );
    // what an earlier run took off
    for (const aside of plan.found.aside) {
        const why = aside.key ? impossible(aside.key, ends) : undefined;
        if (why === undefined) put.set(nameOf(aside), aside);
        else if (plan.allowed(aside.table) || plan.allowed(aside.key?.references ?? "")) gone.set(nameOf(aside), aside);
        else
            plan.refusals.push(
                `foreign key ${aside.name} of ${aside.table} to ${aside.key?.references} is off since an earlier run, and can't be put back: ${why}.\nPut "${aside.table}" into allow to give it up. Or declare the tables as they were: it is put back then.`,
            );
    }
    return { drop, put: [...put.values()], gone: [...gone.values()] };
}
