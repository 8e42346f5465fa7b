/**
 * Values in a query that differ from one asker to the next: taken out of its text, they leave one text that a connection
 * plans once for all of them.
 */
import { literal } from "./quote.ts";

const MARK = "/*given*/";

/** Text as an SQL literal, in a query whose text may be shared. It means the same where nobody takes it out. */
export const given = (text: string) => `${MARK}${literal(text)}`;

/** A literal with what follows it, or a quoted name: what is in either is no SQL. */
const QUOTED = /(\/\*given\*\/)?(E'(?:[^'\\]|\\.|'')*'|'(?:[^']|'')*')(?=(\s*::)?)|"(?:[^"]|"")*"/gs;

const textIn = (quoted: string) =>
    quoted.startsWith("E")
        ? quoted.slice(2, -1).replaceAll("''", "'").replaceAll("\\\\", "\\")
        : quoted.slice(1, -1).replaceAll("''", "'");

/**
 * The query with a parameter for each value that is given.
 * @param parameters how many it has already
 */
export function liftGiven(
    sql: string,
    parameters: number,
): { readonly sql: string; readonly values: readonly string[] } {
    const values: string[] = [];
    const lifted = sql.replace(QUOTED, (whole, mark?: string, quoted?: string, cast?: string) => {
        if (mark === undefined || quoted === undefined) return whole;
        const place = `$${parameters + values.push(textIn(quoted))}`;
        return cast === undefined ? `${place}::text` : place;
    });
    return { sql: lifted, values };
}
