/** What a user may ask to be restored to, and why not to anything else. Pure. */

const ONLY_POINTS =
    "A cluster is restored to a restore point, which is the same moment on every node: give latest, a point's name, or a time such as 2026-11-22T10:00:00Z, which snaps to the last point before it";

/** Why a target is refused; undefined when it may be asked for. */
export function refusedTarget(value: unknown): string | undefined {
    if (value !== null && typeof value === "object") {
        return `can't be given node by node: nodes that stop at different moments split transactions between them. ${ONLY_POINTS}`;
    }
    const text = String(value ?? "").trim();
    if (/^[0-9A-Fa-f]{1,8}\/[0-9A-Fa-f]{1,8}$/.test(text)) {
        return `can't be a log sequence number: each node has its own, so one names no moment of the cluster. ${ONLY_POINTS}`;
    }
    if (/^[0-9]+$/.test(text)) {
        return `can't be a transaction id: each node counts its own, so one names no moment of the cluster. ${ONLY_POINTS}`;
    }
    if (["immediate", "current", "default", "end"].includes(text)) {
        return `can't be "${text}": nodes would stop at different moments. ${ONLY_POINTS}`;
    }
    if (/^[0-9]{4}-/.test(text)) {
        const time = parseTime(text);
        if (time === undefined) return `must be a time with its zone, such as 2026-11-22T10:00:00Z`;
        return undefined;
    }
    if (!/^[A-Za-z0-9_-]{1,63}$/.test(text)) return `must be latest, a restore point's name or a time. ${ONLY_POINTS}`;
    return undefined;
}

/** An RFC 3339 moment in milliseconds; undefined for anything else, a time without a zone among it. */
export function parseTime(given: string): number | undefined {
    // also as YAML's timestamps arrive (2026-11-22 10:00:00 +0000 UTC) and as PostgreSQL writes them (2026-11-22 10:00:00+00)
    const text = given
        .replace(/ UTC$/, "")
        .replace(/ ?([+-]\d{2})(?::?(\d{2}))?$/, (whole, hours: string, minutes?: string) =>
            / [+-]|:\d{2}(\.\d+)?[+-]/.test(given.slice(10)) ? `${hours}:${minutes ?? "00"}` : whole,
        );
    if (!/^[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]+)?)?(Z|[+-][0-9]{2}:[0-9]{2})$/.test(text))
        return undefined;
    const [year, month, day] = text.slice(0, 10).split("-").map(Number) as [number, number, number];
    // Date.parse takes 30 February for 2 March
    if (new Date(Date.UTC(year, month - 1, day)).getUTCDate() !== day) return undefined;
    const time = Date.parse(text.replace(" ", "T"));
    return Number.isNaN(time) ? undefined : time;
}
