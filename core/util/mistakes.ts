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

/** Whether a mistake is one of what is at a path. */
export const isAt = (mistake: string, path: string): boolean =>
    mistake === path || mistake.startsWith(`${path}.`) || mistake.startsWith(`${path}[`);

/**
 * All mistakes as one text, each on its own line.
 * @param whose what has them
 * @param prefix of a path that has no namespace
 */
export function explain(
    mistakes: readonly Mistake[],
    whose = "The configuration",
    now = "Nothing was changed.",
    prefix = "citus:",
): string {
    const head = mistakes.length === 1 ? `${whose} has a mistake:` : `${whose} has ${mistakes.length} mistakes:`;
    return [
        head,
        ...mistakes.map(({ path, message }) => `  ${path.includes(":") ? path : `${prefix}${path}`} ${message}`),
        now,
    ].join("\n");
}
