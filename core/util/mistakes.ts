/** A mistake in the configuration, and how all of them are said. */

export interface Mistake {
    /** Without `citus:`; another namespace's key with it. */
    readonly path: string;
    readonly message: string;
}

/** As one types it: `retire[0]`, `settings.all`. */
export function pathOf(path: readonly PropertyKey[]): string {
    return path
        .map((part, i) => (typeof part === "number" ? `[${part}]` : `${i > 0 ? "." : ""}${String(part)}`))
        .join("");
}

/** All mistakes as one text, each on its own line. @param whose what has them */
export function explain(
    mistakes: readonly Mistake[],
    whose = "The configuration",
    now = "Nothing was changed.",
): string {
    const head = mistakes.length === 1 ? `${whose} has a mistake:` : `${whose} has ${mistakes.length} mistakes:`;
    return [
        head,
        ...mistakes.map(({ path, message }) => `  ${path.includes(":") ? path : `citus:${path}`} ${message}`),
        now,
    ].join("\n");
}
