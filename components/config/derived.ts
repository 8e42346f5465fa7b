/** What follows from the table of keys at run time. */
import { z } from "zod";
import { KEYS, type Key } from "./keys.ts";
import { parse } from "./parse.ts";
import type { PlatformName } from "./platforms.ts";
import { type KeyRow, shapeOn } from "./row.ts";

/** The table with every row read alike. */
export const ROWS: Readonly<Record<Key, KeyRow>> = KEYS;

/** In the order of the table. */
export const ALL_KEYS = Object.keys(KEYS) as readonly Key[];

export const isKey = (name: string): name is Key => Object.hasOwn(KEYS, name);

/** Keys that `pulumi config set` must be given with --secret. */
export const SECRETS = ALL_KEYS.filter((key) => ROWS[key].secret);

/** What Pulumi.yaml declares as the default. It is empty where the program finds one, or where an object fills itself. */
export function declaredDefault(key: Key): string | readonly [] | Readonly<Record<string, never>> {
    const { kind, default: fallback } = ROWS[key];
    if (kind === "object") return {};
    if (kind === "list") return [];
    return typeof fallback === "string" || typeof fallback === "number" ? String(fallback) : "";
}

/** Keys whose default in Pulumi.yaml is an empty text; of any other one it is a mistake, and how Pulumi hands on a null. */
export const MAY_BE_EMPTY = ALL_KEYS.filter((key) => declaredDefault(key) === "");

/** The names of a table's rows that a drill's copy is not given. */
export const notCopied = (rows: Readonly<Record<string, { readonly copied?: boolean }>>): string[] =>
    Object.keys(rows).filter((name) => rows[name]?.copied === false);

/** What is stored for a key, as the value that it means; undefined when it is not set. */
export function readKey(key: Key, stored: unknown): unknown {
    const value = parse(ROWS[key].kind, stored);
    return value === "" ? undefined : value;
}

/** What Pulumi.yaml declares as the default of an object is empty, and means that it is not set. */
const isSet = (key: Key, value: unknown) =>
    value !== undefined && !(ROWS[key].kind === "object" && JSON.stringify(value) === "{}");

/** Each key as it was given, or its default. */
export function filled(
    given: Readonly<Partial<Record<Key, unknown>>>,
    stack: string,
    resource: string,
): Record<Key, unknown> {
    const value = (key: Key) => {
        const { default: fallback } = ROWS[key];
        if (isSet(key, given[key])) return given[key];
        return typeof fallback === "function" ? fallback(stack, resource) : fallback;
    };
    return Object.fromEntries(ALL_KEYS.map((key) => [key, value(key)])) as Record<Key, unknown>;
}

export const SCHEMAS = {
    docker: z.object(shapeOn(KEYS, "docker")),
    aws: z.object(shapeOn(KEYS, "aws")),
} satisfies Record<PlatformName, z.ZodType>;

/** What is set, checked. */
export type Parsed = z.output<(typeof SCHEMAS)[PlatformName]>;

/** Keys that mean something on aws only. */
type AwsKey = { [K in Key]: (typeof KEYS)[K] extends { onlyOn: { platform: "aws" } } ? K : never }[Key];

const isAwsKey = (name: string) => isKey(name) && ROWS[name].onlyOn?.platform === "aws";

/** The keys of aws, apart from those that every cluster has. */
export function apart(parsed: Parsed): { aws: Pick<Parsed, AwsKey>; common: Omit<Parsed, AwsKey> } {
    const entries = Object.entries(parsed);
    // fromEntries forgets which key has which value, and both halves are the table's
    return {
        aws: Object.fromEntries(entries.filter(([name]) => isAwsKey(name))) as Pick<Parsed, AwsKey>,
        common: Object.fromEntries(entries.filter(([name]) => !isAwsKey(name))) as Omit<Parsed, AwsKey>,
    };
}
