/** The configuration of a throw-away copy. Pure. */
import { isKey, notCopied, ROWS } from "../../components/config/derived.ts";

/** A value as `pulumi config --json` has it. */
export interface ConfigValue {
    readonly value?: string;
    readonly objectValue?: unknown;
    readonly secret?: boolean;
}

/** Keys that the copy is not given. */
const NOT_COPIED = notCopied(ROWS);

const textOf = (value: unknown) => (typeof value === "string" || value === undefined ? value : JSON.stringify(value));

/** An object without those of its keys that the copy is not given. */
function withoutParts(value: unknown, without: readonly string[]): string {
    const given = (typeof value === "string" ? JSON.parse(value || "{}") : value) as Record<string, unknown>;
    return JSON.stringify(Object.fromEntries(Object.entries(given).filter(([name]) => !without.includes(name))));
}

/**
 * The copy's configuration by whole key: the origin's sizes, settings and image, and what is set for the copy.
 * @param origin by whole key, such as `citus:worker`
 * @param set without `citus:`; wins over the origin's
 */
export function copyConfig(
    origin: Readonly<Record<string, ConfigValue>>,
    set: Readonly<Record<string, string>>,
): Record<string, string> {
    const values: Record<string, string> = {};
    for (const [key, { value, objectValue, secret }] of Object.entries(origin)) {
        const [space, name = ""] = key.split(":");
        const ours = space === "citus" ? !NOT_COPIED.includes(name) : space === "aws";
        if (!ours || secret || Object.hasOwn(set, name)) continue;
        const without = space === "citus" && isKey(name) ? notCopied(ROWS[name].parts ?? {}) : [];
        const given = objectValue ?? value;
        const text = without.length > 0 ? withoutParts(given, without) : textOf(given);
        if (text !== undefined) values[key] = text;
    }
    for (const [name, text] of Object.entries(set)) values[`citus:${name}`] = text;
    return values;
}
