/** SQL files as their statements, without a parser: enough to see what decides how a file can be run. Pure. */

export interface Statement {
    readonly text: string;
    /** Line of its first word. */
    readonly line: number;
}

/** End of what begins at `i` and hides semicolons: a comment, a quoted text or name, a dollar-quoted text; or `i`. */
function skip(sql: string, i: number): number {
    const end = (found: number, length: number) => (found < 0 ? sql.length : found + length);
    const two = sql.slice(i, i + 2);
    if (two === "--") return end(sql.indexOf("\n", i), 1);
    if (two === "/*") {
        let depth = 1;
        let at = i + 2;
        for (; at < sql.length && depth > 0; at++) {
            if (sql.startsWith("/*", at)) {
                depth++;
                at++;
            } else if (sql.startsWith("*/", at)) {
                depth--;
                at++;
            }
        }
        return at;
    }
    const quote = sql[i];
    if (quote === "'" || quote === '"') {
        const escapes = quote === "'" && /(^|[^\w$])[eE]$/.test(sql.slice(Math.max(0, i - 2), i));
        let at = i + 1;
        while (at < sql.length) {
            if (escapes && sql[at] === "\\") at += 2;
            else if (sql[at] !== quote) at++;
            else if (sql[at + 1] === quote) at += 2;
            else return at + 1;
        }
        return at;
    }
    if (quote === "$" && !/[\w$]/.test(sql[i - 1] ?? "")) {
        const tag = /^\$(?:[A-Za-z_\u0080-\uffff][\w\u0080-\uffff]*)?\$/.exec(sql.slice(i, i + 66))?.[0];
        if (tag) return end(sql.indexOf(tag, i + tag.length), tag.length);
    }
    return i;
}

/** COPY whose rows follow it in the file, as psql's own command too. */
const ROWS_FOLLOW = /^\\?copy\b.*\bfrom\s+stdin\b/is;

/** End of the rows of a COPY, behind the line that ends them. */
function skipRows(sql: string, i: number): number {
    const rest = /\n/.exec(sql.slice(i)) ? sql.indexOf("\n", i) + 1 : sql.length;
    const last = /^\\\.\r?$/m.exec(sql.slice(rest));
    return last ? rest + last.index + last[0].length : sql.length;
}

/** Characters that begin nothing and end nothing. */
const PLAIN = /[^A-Za-z_;'"$\\/-]+/y;

function newlines(text: string): number {
    let found = 0;
    for (let at = text.indexOf("\n"); at >= 0; at = text.indexOf("\n", at + 1)) found++;
    return found;
}

/**
 * Statements of a file, without comments. A function's body between BEGIN ATOMIC and its END is one with it. A command of
 * psql is an element of its own, with its backslash; the rows that follow a COPY are none.
 */
export function statements(sql: string): Statement[] {
    const result: Statement[] = [];
    let text = "";
    let start = -1;
    let line = 1;
    let depth = 0;
    const finish = () => {
        if (text.trim() !== "") result.push({ text: text.trim(), line: start });
        text = "";
        start = -1;
        depth = 0;
    };
    const pass = (to: number, from: number) => {
        line += newlines(sql.slice(from, to));
        return to;
    };
    for (let i = 0; i < sql.length; ) {
        // what decides nothing, all of it at once
        PLAIN.lastIndex = i;
        const plain = PLAIN.exec(sql)?.[0];
        if (plain !== undefined) {
            if (start < 0) {
                const first = plain.search(/\S/);
                if (first >= 0) start = line + newlines(plain.slice(0, first));
            }
            line += newlines(plain);
            text += plain;
            i += plain.length;
            continue;
        }
        if (sql[i] === "\\") {
            const command = /^\\[^\n]*?(?=\\\\|\r?\n|$)/.exec(sql.slice(i))?.[0] ?? "\\";
            finish();
            result.push({ text: command.trim(), line });
            i = pass(i + Math.max(command.length, 1) + (sql.startsWith("\\\\", i + command.length) ? 2 : 0), i);
            if (ROWS_FOLLOW.test(command)) i = pass(skipRows(sql, i), i);
            continue;
        }
        const to = skip(sql, i);
        const comment = to > i && /^(--|\/\*)/.test(sql.slice(i, i + 2));
        const word = to > i ? undefined : /^[A-Za-z_]\w*/.exec(sql.slice(i, i + 64))?.[0];
        const piece = to > i ? sql.slice(i, to) : (word ?? sql[i] ?? "");
        if (piece === ";" && depth === 0) {
            const rows = ROWS_FOLLOW.test(text.trim());
            finish();
            if (rows) {
                i = pass(skipRows(sql, i), i);
                continue;
            }
        } else {
            if (start < 0 && !comment && piece.trim() !== "") start = line;
            if (word !== undefined && /^ATOMIC$/i.test(word) && /\bBEGIN\s+$/i.test(text)) depth = 1;
            else if (depth > 0 && word !== undefined && /^CASE$/i.test(word)) depth++;
            else if (depth > 0 && word !== undefined && /^END$/i.test(word)) depth--;
            text += comment ? " " : piece;
        }
        line += newlines(piece);
        i += piece.length;
    }
    finish();
    return result;
}

/** What begins, ends or divides a transaction. */
export const BOUNDARY =
    /^(BEGIN|START\s+TRANSACTION|COMMIT|END|ROLLBACK|ABORT|SAVEPOINT|RELEASE|PREPARE\s+TRANSACTION)\b/i;

/** Whether a statement begins or ends a transaction; a savepoint does neither. */
export const isTransactionControl = (text: string): boolean =>
    BOUNDARY.test(text) && !/^(SAVEPOINT|RELEASE|ROLLBACK\s+(WORK\s+|TRANSACTION\s+)?TO)\b/i.test(text);

/** What PostgreSQL and Citus run outside of transactions only. */
export const ALONE =
    /^(CREATE\s+(UNIQUE\s+)?INDEX\s+CONCURRENTLY|DROP\s+INDEX\s+CONCURRENTLY|REINDEX\b.*\bCONCURRENTLY|VACUUM|(CREATE|DROP)\s+(DATABASE|TABLESPACE)|ALTER\s+SYSTEM|ALTER\s+TABLE\b.*\bDETACH\s+PARTITION\b.*\bCONCURRENTLY|CALL\s+(pg_catalog\.)?citus_cleanup_orphaned_resources)\b|\bcreate_distributed_table_concurrently\s*\(/is;

/** Tables that a file alters, as it writes them. */
export function alteredTables(found: readonly Statement[]): string[] {
    return found.flatMap(({ text }) => {
        const name = /^ALTER\s+TABLE\s+(?:IF\s+EXISTS\s+)?(?:ONLY\s+)?([\w".$]+)/i.exec(text)?.[1];
        return name === undefined ? [] : [name.replaceAll('"', "").replace(/^public\./, "")];
    });
}
