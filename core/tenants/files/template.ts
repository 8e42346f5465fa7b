/** A group's template: its files' SQL, and how it is run in a place. */

import { identifier, literal } from "../../sql/quote.ts";
import { saysNoTransaction } from "../../sql/sqlFile.ts";
import { type Statement, statements } from "../../sql/statements.ts";
import { templateMistakes } from "../check/read/templateFile.ts";
import { asDoBlock, RESET_SESSION_SQL } from "../group/batch.ts";
import type { Context } from "../group/facet.ts";
import type { FileSpec, GroupSpec } from "../group/spec.ts";
import { ranRow } from "../ledger/ran.ts";

export interface TemplateFile extends FileSpec {
    readonly sql: string;
    readonly statements: readonly Statement[];
    /** Whether it asks to be run without a transaction, each statement by itself. */
    readonly alone: boolean;
    /** The same to be sent with other statements in one text. */
    readonly packed: string;
    /** Of a baseline: files that it stands for, which are noted in its place. */
    readonly stands?: readonly FileSpec[];
}

/** Statements that Citus sends to workers with the whole text around them. Workers refuse that when it holds other statements. */
const HANDED_ON = /^(ALTER|DROP|CREATE\s+(UNIQUE\s+)?INDEX)\b/i;

/**
 * Statements so that they can be sent with others: those that Citus hands on are made a text of their own. Not all, because
 * a CREATE TABLE from inside a DO is not distributed with its schema.
 */
export const packed = (found: readonly Statement[]) =>
    found.map(({ text }) => (HANDED_ON.test(text) ? asDoBlock([text]) : `${text};`)).join("\n");

/**
 * The template's files with their content.
 * @throws Error naming every statement that can't be in one, before anything is run
 */
export const readTemplate = (context: Context, paths?: readonly string[]): TemplateFile[] =>
    readAll(
        context,
        context.group.template.filter(({ path }) => paths === undefined || paths.includes(path)),
    );

function readAll(context: Context, specs: readonly FileSpec[]): TemplateFile[] {
    const files = specs.map((file): TemplateFile => {
        const sql = context.read(file.path);
        const found = statements(sql);
        return { ...file, sql, statements: found, alone: saysNoTransaction(sql, found), packed: packed(found) };
    });
    const mistakes = files.flatMap(({ path, statements, alone }) => templateMistakes(path, statements, alone));
    if (mistakes.length > 0)
        throw new Error(
            [
                `tenant group ${context.group.name}: its template can't be run:`,
                ...mistakes,
                "Nothing of it was run.",
            ].join("\n  "),
        );
    return files;
}

/** Files of the template that its baseline stands for; none without one. */
export function squashed({ template, baseline }: GroupSpec): readonly FileSpec[] {
    const last = template.findIndex(({ path }) => path === baseline?.upTo);
    return template.slice(0, last + 1);
}

/** The baseline as one file, which is noted as those that it stands for. @throws Error when it can't be in one transaction */
export function readBaseline(context: Context): TemplateFile | undefined {
    const { name, baseline } = context.group;
    if (baseline === undefined) return undefined;
    const files = readAll(context, baseline.files);
    const apart = files.find(({ alone }) => alone);
    if (apart)
        throw new Error(
            `tenant group ${name}: ${apart.path} is of its baseline and says "-- no transaction". A baseline is one transaction: nobody uses the tables yet, so write CREATE INDEX without CONCURRENTLY.`,
        );
    return {
        path: files.map(({ path }) => path).join(", "),
        sha256: "",
        sql: files.map(({ sql }) => sql).join("\n;\n"),
        statements: files.flatMap(({ statements }) => statements),
        alone: false,
        packed: files.map(({ packed }) => packed).join("\n;\n"),
        stands: squashed(context.group),
    };
}

/**
 * Settings for a file's statements, and none that an earlier file left. The lock timeout is handed to workers too: without
 * that, a client on a worker holds the change up for ever while the coordinator's locks are taken. That is in a DO because
 * Citus hands on the whole text that a SET came in, and here that is every statement of the file.
 * @param schema where names without one are made
 */
export function settingsFor(schema: string, lockTimeout: number): string {
    return `${RESET_SESSION_SQL}
SET LOCAL search_path = ${schema === "public" ? "public" : `${identifier(schema)}, public`};
DO $settings$ BEGIN
    PERFORM set_config('citus.propagate_set_commands', 'local', true);
    EXECUTE 'SET LOCAL lock_timeout = ${lockTimeout}';
    PERFORM set_config('citus.propagate_set_commands', 'none', true);
END $settings$;`;
}

/** Fails when a table of a tenant's schema is not distributed with it, which Citus does not say. */
export const refuseLocal = (schema: string) =>
    `DO ${literal(`DECLARE found text; BEGIN
    SELECT string_agg(format('%s.%I', c.relnamespace::regnamespace, c.relname), ', ') INTO found FROM pg_class c LEFT JOIN pg_dist_partition p ON p.logicalrelid = c.oid
     WHERE c.relnamespace = to_regnamespace(${literal(identifier(schema))}) AND c.relkind IN ('r', 'p') AND p.logicalrelid IS NULL;
    IF found IS NOT NULL THEN
        RAISE EXCEPTION 'not distributed with its schema: %', found
            USING HINT = 'Citus does not distribute a table that a function or a DO block makes: write CREATE TABLE in the file itself.';
    END IF; END`)};`;

/** The rows of one that may be a baseline. */
export const ranRows = (group: string, tenant: string, file: TemplateFile) =>
    (file.stands ?? [file]).map((one) => ranRow(group, tenant, one)).join("\n");

/** Whether a file, or all that it stands for, was run. */
export const wasRun = (ran: ReadonlySet<string>, file: TemplateFile) =>
    (file.stands ?? [file]).every(({ path }) => ran.has(path));
