/** What fits a person's terminal. */

/** Columns of the terminal; undefined where what is printed goes elsewhere. */
export const screenWidth = (): number | undefined => (process.stdout.isTTY ? process.stdout.columns || 80 : undefined);

/**
 * Parts one after another, with a new line where the next would not fit. Pure.
 * @param indent columns that are taken before each line: before the first by what the caller writes there
 * @param width columns; undefined for one line
 */
export function wrapped(
    parts: readonly string[],
    { between, indent = 0, width }: { between: string; indent?: number; width: number | undefined },
): string {
    if (width === undefined) return parts.join(between);
    const lines: string[] = [];
    for (const part of parts) {
        const last = lines.at(-1);
        if (last !== undefined && last.length + between.length + part.length <= width - indent)
            lines[lines.length - 1] = `${last}${between}${part}`;
        else lines.push(part);
    }
    return lines.join(`\n${" ".repeat(indent)}`);
}
