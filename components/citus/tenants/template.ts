/** A group's template: its files' SQL, and how it is run in a place. */

import { saysNoTransaction } from "../../postDeploy/file.ts";
import type { Context } from "../../tenants/facet.ts";
import type { FileSpec } from "../../tenants/spec.ts";
import { type Statement, statements } from "../../tenants/statements.ts";
import { templateMistakes } from "../../tenants/templateFile.ts";
import { identifier, literal } from "../quote.ts";
import { executed, FRESH } from "./batch.ts";

export interface TemplateFile extends FileSpec {
    readonly sql: string;
    readonly statements: readonly Statement[];
    /** Whether it asks to be run without a transaction, each statement by itself. */
    readonly alone: boolean;
    /** The same to be sent with other statements in one text. */
    readonly packed: string;
}

/** Statements that Citus sends to workers with the whole text around them. Workers refuse that when it holds other statements. */
const HANDED_ON = /^(ALTER|DROP|CREATE\s+(UNIQUE\s+)?INDEX)\b/i;

/**
 * Statements so that they can be sent with others: those that Citus hands on are made a text of their own. Not all, because
 * a CREATE TABLE from inside a DO is not distributed with its schema.
 */
export const packed = (found: readonly Statement[]) =>
    found.map(({ text }) => (HANDED_ON.test(text) ? executed([text]) : `${text};`)).join("\n");

/**
 * The template's files with their content.
 * @throws Error naming every statement that can't be in one, before anything is run
 */
export function readTemplate(context: Context, paths?: readonly string[]): TemplateFile[] {
    const { name, template } = context.group;
    const files = template
        .filter(({ path }) => paths === undefined || paths.includes(path))
        .map((file): TemplateFile => {
            const sql = context.read(file.path);
            const found = statements(sql);
            return { ...file, sql, statements: found, alone: saysNoTransaction(sql, found), packed: packed(found) };
        });
    const mistakes = files.flatMap(({ path, statements, alone }) => templateMistakes(path, statements, alone));
    if (mistakes.length > 0)
        throw new Error(
            [`tenant group ${name}: its template can't be run:`, ...mistakes, "Nothing of it was run."].join("\n  "),
        );
    return files;
}

/**
 * Settings for a file's statements, and none that an earlier file left. The lock timeout is handed to workers too: without
 * that, a client on a worker holds the change up for ever while the coordinator's locks are taken. That is in a DO because
 * Citus hands on the whole text that a SET came in, and here that is every statement of the file.
 * @param schema where names without one are made
 */
export function settingsFor(schema: string, lockTimeout: number): string {
    return `${FRESH}
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

/** The ledger's row that says that a tenant ran a file; fails when there is one. @param tenant '' for the whole group */
export const ranRow = (group: string, tenant: string, { path, sha256 }: { path: string; sha256: string }) =>
    `INSERT INTO citus_as_code.tenant_migration (grp, tenant, path, sha256) VALUES (${[group, tenant, path, sha256].map(literal).join(", ")});`;
