/** How what is stored for a key is read. */

/** What a key holds. All but text and numbers is JSON on the command line. */
export type Kind = "text" | "number" | "flag" | "list" | "object";

/** Text as `pulumi config set` stores it, as the value it means; text that can't be read so stays text. */
export function parse(kind: Kind, value: unknown): unknown {
    if (typeof value !== "string" || kind === "text") return value;
    const trimmed = value.trim();
    if (kind === "number") return trimmed !== "" && Number.isFinite(Number(trimmed)) ? Number(trimmed) : value;
    try {
        return JSON.parse(trimmed);
    } catch {
        return value;
    }
}
