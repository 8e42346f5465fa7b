/** What a file of a group's template can't hold, and how its statements are run. Pure. */
import { ALONE, BOUNDARY, type Statement } from "../../../sql/statements.ts";

/** What is about the whole cluster, which is no tenant's. */
const CLUSTERS =
    /^((CREATE|DROP)\s+(DATABASE|TABLESPACE)|ALTER\s+SYSTEM|CALL\s+(pg_catalog\.)?citus_cleanup_orphaned_resources)\b|\bcreate_distributed_table_concurrently\s*\(/is;

/** Whether a statement of a file without a transaction can't be in one of its own either. */
export const needsNoTransaction = (text: string): boolean => ALONE.test(text);

const NAME = `(?:"(?:[^"]|"")+"|[\\w$\\u0080-\\uffff]+)`;
const CREATES_INDEX = new RegExp(
    `^CREATE\\s+(?:UNIQUE\\s+)?INDEX\\s+CONCURRENTLY\\s+IF\\s+NOT\\s+EXISTS\\s+(${NAME})\\s+ON\\s+(?:ONLY\\s+)?(${NAME}(?:\\s*\\.\\s*${NAME})?)`,
    "i",
);

/** The index that a CREATE INDEX CONCURRENTLY IF NOT EXISTS makes, and its table, as it writes them. */
export function createdIndex(text: string): { name: string; table: string } | undefined {
    const [, name, table] = CREATES_INDEX.exec(text) ?? [];
    return name === undefined || table === undefined ? undefined : { name, table };
}

/** Statements that do something else, or fail, when they are run again; each with how it can be repeated. */
const ONCE: readonly (readonly [RegExp, string])[] = [
    [/^CREATE\s+(UNIQUE\s+)?INDEX\b(?!\s+(CONCURRENTLY\s+)?IF\s+NOT\s+EXISTS\b)/i, "write IF NOT EXISTS and its name"],
    [
        /^REINDEX\b|\bDETACH\s+PARTITION\b.*\bCONCURRENTLY\b/is,
        "a killed one leaves what only a person can clear up: run it by hand",
    ],
    [/^DROP\b(?!.*\bIF\s+EXISTS\b)/is, "write IF EXISTS"],
    [
        /^CREATE\s+(?!OR\s+REPLACE\b)(?!(UNIQUE\s+)?INDEX\b)(?!.*\bIF\s+NOT\s+EXISTS\b)/is,
        "write IF NOT EXISTS or OR REPLACE, or put it into a file with a transaction",
    ],
    [/^ALTER\s+TYPE\b.*\bADD\s+VALUE\b(?!\s+IF\s+NOT\s+EXISTS\b)/is, "write ADD VALUE IF NOT EXISTS"],
    [
        /^ALTER\s+TABLE\b.*\bADD\s+(COLUMN\b(?!\s+IF\s+NOT\s+EXISTS\b)|CONSTRAINT\b|(PRIMARY|FOREIGN)\s+KEY\b|UNIQUE\b|CHECK\b)|\bRENAME\b/is,
        "put it into a file with a transaction",
    ],
    [/^INSERT\b(?!.*\bON\s+CONFLICT\b)/is, "write ON CONFLICT, or put it into a file with a transaction"],
];

const shortly = (text: string) => text.replace(/\s+/g, " ").slice(0, 60);

function mistakeWithoutTransaction(text: string): string | undefined {
    if (BOUNDARY.test(text)) return "each statement of a file without a transaction runs by itself; take it out";
    const once = ONCE.find(([is]) => is.test(text))?.[1];
    return once === undefined
        ? undefined
        : `a file without a transaction runs again from its first statement after it was stopped half-way; ${once}`;
}

/**
 * Why a file can't be a template's: its statements are run in one transaction with the note that they were, or each by
 * itself when it says `-- no transaction`.
 */
export function templateMistakes(path: string, found: readonly Statement[], alone = false): string[] {
    return found.flatMap(({ text, line }) => {
        const shown = shortly(text);
        if (text.startsWith("\\"))
            return [`${path}:${line} has psql's command ${shown.split(" ")[0]}, which only psql knows; take it out`];
        if (CLUSTERS.test(text))
            return [
                `${path}:${line} has ${shown}, which is about the whole cluster and no tenant's; run it by hand, or by a file of citus:postDeploy, which runs before the groups`,
            ];
        if (alone) {
            const why = mistakeWithoutTransaction(text);
            if (why !== undefined) return [`${path}:${line} has ${shown}: ${why}`];
        } else if (BOUNDARY.test(text))
            return [
                `${path}:${line} has ${shown}: each file is run in a transaction together with the note that it was run; take it out`,
            ];
        else if (ALONE.test(text))
            return [
                `${path}:${line} has ${shown}, which can't be in a transaction, and each file is run in one; put it into a file of its own that begins with the line "-- no transaction"`,
            ];
        if (/^COPY\b.*\bFROM\s+STDIN\b/is.test(text))
            return [`${path}:${line} has ${shown}, whose rows only psql can send; write INSERT`];
        return [];
    });
}
