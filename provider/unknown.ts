/** What a preview does not know yet. Pure. */

/** What Pulumi puts in place of a value that is not known before `up`. */
const UNKNOWN = "04da6b54-80e4-46f7-96ec-b56ff0331ba9";

/** Whether a value, or anything inside it, is unknown. */
export function unknown(value: unknown): boolean {
    if (value === UNKNOWN) return true;
    if (Array.isArray(value)) return value.some(unknown);
    if (value !== null && typeof value === "object") return Object.values(value).some(unknown);
    return false;
}
