/** What a statement holds of somebody's rows and passwords, taken out. Pure. */

/** The end of a text in quotes that begins at `at`, behind its closing quote; the end of all where it is not closed. */
function endOfQuoted(sql: string, at: number, quote: string, escapes: boolean): number {
    for (let i = at + 1; i < sql.length; i++) {
        if (escapes && sql[i] === "\\") i++;
        else if (sql[i] === quote) {
            if (sql[i + 1] !== quote) return i + 1;
            i++;
        }
    }
    return sql.length;
}

/** Comments nest. */
function endOfComment(sql: string, at: number): number {
    let depth = 0;
    for (let i = at; i < sql.length; i++) {
        const two = sql.slice(i, i + 2);
        if (two === "/*") depth++;
        if (two === "*/") depth--;
        if (two === "/*" || two === "*/") i++;
        if (depth === 0) return i + 1;
    }
    return sql.length;
}

const DOLLAR = /\$(?:[A-Za-z_\u0080-\uffff][\w\u0080-\uffff]*)?\$/y;

/**
 * Takes out literals and comments as PostgreSQL's scanner finds them, and keeps names in double quotes. What is not closed
 * is taken out to its end, so that a statement that was cut off shows nothing.
 * @param mark what stands in the place of a literal or comment, each time it is asked
 */
export function withoutLiterals(sql: string, mark: (what: string) => string): string {
    let out = "";
    for (let i = 0; i < sql.length; ) {
        const rest = sql.slice(i, i + 2);
        let end = i + 1;
        let put = sql[i] ?? "";
        if (rest === "--") {
            const line = sql.indexOf("\n", i);
            end = line < 0 ? sql.length : line;
            put = mark("--?");
        } else if (rest === "/*") {
            end = endOfComment(sql, i);
            put = mark("/*?*/");
        } else if (put === '"') {
            end = endOfQuoted(sql, i, '"', false);
            // a name that is not closed may be a literal of a statement that begins before what is seen
            put = sql[end - 1] === '"' && end > i + 1 ? sql.slice(i, end) : mark('"?"');
        } else if (put === "'") {
            end = endOfQuoted(sql, i, "'", /(^|[^\w$])[eE]$/.test(sql.slice(Math.max(0, i - 2), i)));
            put = mark("'?'");
        } else if (put === "$" && !/[\w$]/.test(sql[i - 1] ?? "")) {
            DOLLAR.lastIndex = i;
            const tag = DOLLAR.exec(sql)?.[0];
            if (tag !== undefined) {
                const close = sql.indexOf(tag, i + tag.length);
                end = close < 0 ? sql.length : close + tag.length;
                put = mark("$?$");
            }
        }
        out += put;
        i = end;
    }
    return out;
}
