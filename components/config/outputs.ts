/** Arguments that are outputs of other resources: what stands for them until they are known. */
import { record } from "../../core/util/fields.ts";
import { type Mistake, pathOf } from "../../core/util/mistakes.ts";
import { isKey, ROWS } from "./derived.ts";
import type { OutputRule } from "./row.ts";
import { isLater } from "./tenants/inputs.ts";

export type Path = readonly (string | number)[];

/** An argument, or a part of one, that is not known yet. */
export interface Later {
    readonly path: Path;
    /** The output. */
    readonly value: unknown;
}

export interface Apart {
    /** What is known, with stand-ins for the rest. */
    readonly values: Readonly<Record<string, unknown>>;
    readonly later: readonly Later[];
    /** Outputs where none may be. */
    readonly mistakes: readonly Mistake[];
}

function ruleOf([key, part]: Path): OutputRule | undefined {
    if (typeof key !== "string" || !isKey(key)) return undefined;
    const row = ROWS[key];
    return row.output ?? (typeof part === "string" && row.parts ? row.parts[part]?.output : undefined);
}

/** How many steps lead to the row that says it. */
const depthOf = ([key]: Path) => (typeof key === "string" && isKey(key) && ROWS[key].parts ? 2 : 1);

function standIn(path: Path, order: number): unknown {
    const rule = ruleOf(path);
    const inside = path.length - depthOf(path);
    if (inside === 0) return rule?.whole;
    return inside === 1 ? rule?.each?.(order) : undefined;
}

const NOT_HERE =
    "must be known when the program runs, got an output: which resources there are depends on it - give a plain value, such as one of pulumi.Config";

/** Takes out what is not known yet. */
export function apartFromOutputs(given: object): Apart {
    const later: Later[] = [];
    const mistakes: Mistake[] = [];
    const walk = (value: unknown, path: Path): unknown => {
        if (isLater(value)) {
            const instead = standIn(path, later.length + 1);
            if (instead === undefined) mistakes.push({ path: pathOf(path), message: NOT_HERE });
            else later.push({ path, value });
            return instead;
        }
        if (Array.isArray(value)) return value.map((element, i) => walk(element, [...path, i]));
        if (typeof value !== "object" || value === null) return value;
        return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, walk(inner, [...path, key])]));
    };
    return { values: record(walk(given, [])), later, mistakes };
}

/** The same with another value at a path. */
export function withValue<T>(whole: T, [step, ...rest]: Path, value: unknown): T {
    if (step === undefined) return value as T;
    if (Array.isArray(whole)) return whole.map((inner, i) => (i === step ? withValue(inner, rest, value) : inner)) as T;
    return { ...whole, [step]: withValue(record(whole)[String(step)], rest, value) };
}
