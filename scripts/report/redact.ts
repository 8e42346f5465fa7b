/**
 * Takes out of a text what is secret. Values that the stack knows are looked for as they are. What nobody knows is taken out by
 * where it stands: literals of statements, passwords in connection strings, keys.
 */

import { SIGNATURE } from "../../provider/secrets.ts";
import { withoutLiterals } from "./literals.ts";

/** In the place of what was taken out. */
export const REMOVED = "(removed)";

/** Shorter values are too common to be looked for: a database is called `app` too. */
const SHORTEST = 8;

const PRIVATE_KEY = /-----BEGIN ([A-Z ]*)PRIVATE KEY-----[\s\S]*?(-----END [A-Z ]*PRIVATE KEY-----|$)/g;
const VERIFIER = /SCRAM-SHA-256\$[^\s"',]+/g;
const IN_URL = /([a-z][a-z0-9+]*:\/\/[^\s:@/]+:)[^\s@/]+@/gi;
const NAMED = /\b(pass(?:word|phrase)?|secret|token)(\s*[=:]\s*)(?!\(removed\))("[^"]*"|'[^']*'|[^\s,;'")}]+)/gi;
const IN_SQL = /\b(password)(\s+)(?!null\b|\(removed\))([^\s,;'")]+)/gi;

/** An entry of PostgreSQL's log: what is before its kind, the kind, what it says. */
const ENTRY =
    /^([\s\S]*?)\b(LOG|ERROR|FATAL|PANIC|WARNING|NOTICE|INFO|DEBUG\d?|DETAIL|HINT|CONTEXT|STATEMENT|QUERY|LOCATION): {2}([\s\S]*)$/;
/** A statement within what an entry says: what is before it, and the statement. */
const STATEMENT =
    /^((?:duration: [^\n]*? )?(?:statement|execute[^:]*|parse[^:]*|bind[^:]*): |SQL (?:statement|expression) ")([\s\S]*)$/;
/** What stands before a name in the server's words; what is quoted without one of these may be a value. */
const NAMES = new Set(
    (
        "relation column table view index sequence schema role user database function procedure constraint type extension " +
        "parameter slot subscription publication host server trigger policy operator language tablespace collation file " +
        "directory worker process method cursor statement rule library option setting"
    ).split(" "),
);

/** Values of a secret, each as it is, in base64, in JSON, and in a URL. */
const spellings = (value: string): string[] => [
    value,
    ...value.split("\n").filter((line) => line.length >= 40),
    Buffer.from(value).toString("base64"),
    JSON.stringify(value).slice(1, -1),
    encodeURIComponent(value),
];

/** How often something was taken out, by why. */
export type Taken = Record<"values" | "keys" | "literals" | "passwords", number>;

export class Redactor {
    private readonly values: readonly string[];
    readonly taken: Taken = { values: 0, keys: 0, literals: 0, passwords: 0 };

    /** @param secrets values that must not be in any text; those that are short are left to the patterns */
    constructor(secrets: readonly string[]) {
        const all = secrets.filter((value) => value.length >= SHORTEST).flatMap(spellings);
        // the longest first: one may be a part of another
        this.values = [...new Set(all)].sort((a, b) => b.length - a.length);
    }

    private count(why: keyof Taken, by = REMOVED): () => string {
        return () => {
            this.taken[why]++;
            return by;
        };
    }

    /** A text that is no statement and no log. */
    text(text: string): string {
        let left = text;
        for (const value of this.values) if (left.includes(value)) left = left.replaceAll(value, this.count("values"));
        return left
            .replace(PRIVATE_KEY, this.count("keys"))
            .replace(VERIFIER, this.count("keys"))
            .replace(IN_URL, (_, before: string) => `${before}${this.count("passwords")()}@`)
            .replace(NAMED, (_, name: string, sign: string) => `${name}${sign}${this.count("passwords")()}`);
    }

    /** A statement: its literals are somebody's rows and passwords. */
    statement(sql: string): string {
        const masked = withoutLiterals(sql, (by) => this.count("literals", by)());
        const plain = masked.replace(IN_SQL, (found, name: string, space: string, what: string) =>
            what === "'?'" ? found : `${name}${space}${this.count("passwords")()}`,
        );
        return this.text(plain);
    }

    /** What the server says: names in quotes stay, values in quotes go. */
    private message(text: string): string {
        const [, before, statement] = STATEMENT.exec(text) ?? [];
        if (before !== undefined && statement !== undefined) return `${before}${this.statement(statement)}`;
        const quoted = text
            // in these the rest is a piece of the statement, or of a row
            .replace(/(\bat or near )"[\s\S]*"/, (_, before: string) => `${before}"${this.count("literals", "?")()}"`)
            .replace(/(=)\([\s\S]*?\)/g, (_, before: string) => `${before}(${this.count("literals", "?")()})`)
            .replace(
                /(\bFailing row contains )\([\s\S]*\)/,
                (_, before: string) => `${before}(${this.count("literals", "?")()})`,
            )
            .replace(
                /(\bJSON data, line \d+: |\binvalid (?:input syntax|input value|value) for [^:]*: |\bCOPY [^:]*: )[\s\S]*/,
                (_, before: string) => `${before}${this.count("literals", "?")()}`,
            );
        const kept = quoted.replace(
            /(\b\w+ )?"((?:[^"]|"")*)("|$)/g,
            (found, word: string | undefined, inside: string, end: string) =>
                inside === "?" || (end === '"' && word !== undefined && NAMES.has(word.trim().toLowerCase()))
                    ? found
                    : `${word ?? ""}"${this.count("literals", "?")()}"`,
        );
        // an apostrophe within a word opens nothing
        return this.text(
            kept.replace(
                /(^|[^\w])'(?:[^']|'')*('|$)/g,
                (_, before: string) => `${before}${this.count("literals", "'?'")()}`,
            ),
        );
    }

    /** Lines of PostgreSQL's log. A line that begins with a tab goes on with the one before it. */
    log(text: string): string {
        const entries = text.split(/\n(?!\t)/).map((entry) => ENTRY.exec(entry) ?? entry);
        return entries
            .map((entry, index) => {
                if (typeof entry === "string") return this.statement(entry);
                const [, prefix = "", kind = "", said = ""] = entry;
                const next = entries[index + 1];
                // what RAISE says is the function's own text
                const raised = typeof next === "object" && next[2] === "CONTEXT" && / at RAISE/.test(next[3] ?? "");
                const left =
                    raised && kind !== "CONTEXT"
                        ? this.count("literals")()
                        : kind === "STATEMENT" || kind === "QUERY"
                          ? this.statement(said)
                          : this.message(said);
                return `${this.text(prefix)}${kind}:  ${left}`;
            })
            .join("\n");
    }

    /** Values of anything, texts within it too; `statements` names the fields that are statements. */
    data(value: unknown, statements: readonly string[] = [], name = ""): unknown {
        if (typeof value === "string") return statements.includes(name) ? this.statement(value) : this.text(value);
        if (Array.isArray(value)) return value.map((one) => this.data(one, statements, name));
        if (value === null || typeof value !== "object") return value;
        if (value instanceof Date) return value.toISOString();
        return Object.fromEntries(Object.entries(value).map(([key, one]) => [key, this.data(one, statements, key)]));
    }
}

/** Fields of a secret object that are secret themselves: it also holds hosts and names. */
const SECRET_FIELD = /pass|secret|token|seed|key|verifier/i;

function stringsOf(value: unknown, name: string, whole: boolean): string[] {
    if (typeof value === "string") return whole || SECRET_FIELD.test(name) ? [value] : [];
    if (value === null || typeof value !== "object") return [];
    return Object.entries(value).flatMap(([key, one]) =>
        stringsOf(one, Array.isArray(value) ? name : key, SECRET_FIELD.test(key)),
    );
}

/** Every secret value in what `pulumi stack export --show-secrets` printed. Pure. */
export function secretsIn(exported: string): string[] {
    const found: string[] = [];
    const walk = (value: unknown): void => {
        if (value === null || typeof value !== "object") return;
        const { plaintext } = value as { plaintext?: unknown };
        if (SIGNATURE in value && typeof plaintext === "string") {
            try {
                const inner = JSON.parse(plaintext) as unknown;
                found.push(...stringsOf(inner, "", typeof inner === "string"));
            } catch {
                found.push(plaintext);
            }
        }
        for (const one of Object.values(value)) walk(one);
    };
    walk(JSON.parse(exported));
    return [...new Set(found)];
}
