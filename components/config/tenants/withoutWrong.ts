/** The rest of a group in which something is wrong, so that all of its mistakes are found at once. Pure. */
import { record } from "../../../core/util/fields.ts";

/** What the rest of a group refers to: without it, mistakes would be found that there are not. */
const REFERRED_TO = ["model", "tables", "anchor", "tenants"];

/** A group without what is wrong in it, for the mistakes of the rest; undefined where the rest says nothing by itself. */
export function withoutWrong(
    raw: unknown,
    issues: readonly { readonly path: readonly PropertyKey[] }[],
): Record<string, unknown> | undefined {
    const rest = structuredClone(record(raw));
    for (const { path } of issues) {
        const [first, second] = path.map(String);
        // of tenants one alone may be wrong
        if (first === undefined || (REFERRED_TO.includes(first) && (first !== "tenants" || second === undefined)))
            return undefined;
        if (first === "tenants") delete record(rest.tenants)[second ?? ""];
        else delete rest[first];
    }
    return rest;
}
