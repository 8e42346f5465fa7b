/** Old copies of moved shards that are kept because rows are missing where they went. */

import type { Session } from "../reach/session.ts";
import { identifier } from "../sql/quote.ts";
import type { CopiedShard } from "./counts.ts";

/** How the error begins that says that old copies are kept. */
export const ROWS_MISSING = "Rows are missing after a move:";

/** Each alarm has a schema of its own, so that a kept copy's tables and indexes are in no later move's way. */
const PREFIX = "citus_as_code_kept_";

/** A name for the copies that one alarm keeps, the same on each node. */
export const keptSchema = (now: number) => `${PREFIX}${now.toString(36)}`;

/** The schemas of kept copies on a node. */
export const KEPT_SCHEMAS = `SELECT nspname::text FROM pg_namespace WHERE nspname ~ '^${PREFIX}'`;

/** Schema of a kept copy, when a name that `format('%I.%I')` made is one. */
const keptSchemaOf = (name: string) => new RegExp(`^(${PREFIX}[a-z0-9]+)[.]`).exec(name)?.[1];

/** What removes the copies of one alarm from every node. */
export const removeKept = (schema: string) =>
    `npm run psql -- -c "SELECT nodeid, success, result FROM run_command_on_all_nodes('DROP SCHEMA IF EXISTS ${schema} CASCADE')"`;

/** Each schema with kept copies, and what to do before they are removed. Pure. */
export function explainKept(
    nodes: readonly { readonly name: string; readonly kept?: readonly string[] }[],
): { readonly schema: string; readonly says: string }[] {
    const schemas = [...new Set(nodes.flatMap(({ kept }) => kept ?? []))].sort();
    return schemas.map((schema) => {
        const names = nodes.filter(({ kept }) => kept?.includes(schema)).map(({ name }) => name);
        const says =
            `${names.join(", ")} ${names.length === 1 ? "keeps" : "keep"} old copies of moved shards in schema ${schema}, because rows were missing after a move. ` +
            "Compare them (docs/scaling.md, When rows are missing), then remove them";
        return { schema, says };
    });
}

/**
 * What the tables of a node's kept copies are, when some of what only it has is such.
 * @param only as `table <name>`
 */
export function explainKeptOf(only: readonly string[]): string[] {
    const schemas = new Set(only.flatMap((what) => keptSchemaOf(what.replace(/^table /, "")) ?? []));
    return [...schemas].flatMap((schema) => [
        `The tables in ${schema} are old copies of moved shards. They were kept because rows were missing after a move.`,
        "When you have compared them (docs/scaling.md, When rows are missing), this removes them:",
        `  ${removeKept(schema)}`,
    ]);
}

export interface KeptCopies {
    readonly node: string;
    readonly kept: readonly string[];
    /** Names with what the database said. */
    readonly failed: readonly string[];
}

/** Foreign keys to what stays, such as reference tables: a kept copy must not bind their rows. */
const OUTER_KEYS = `
    SELECT format('ALTER TABLE %s DROP CONSTRAINT %I', conrelid::regclass, conname) AS command FROM pg_constraint
     WHERE contype = 'f' AND conparentid = 0 AND conrelid = to_regclass($1) AND confrelid <> ALL ($2::oid[])`;

/** They stay in their schema when their table leaves it. */
const STATISTICS = `
    SELECT format('ALTER STATISTICS %I.%I SET SCHEMA ', n.nspname, s.stxname) AS command
      FROM pg_statistic_ext s JOIN pg_namespace n ON n.oid = s.stxnamespace WHERE s.stxrelid = to_regclass($1)`;

/**
 * Puts old copies where Citus does not drop them, and ends the transaction.
 * @param source in the transaction that holds them
 * @param shards all shards that moved together
 */
export async function keepCopies(source: Session, shards: readonly CopiedShard[], schema: string): Promise<KeptCopies> {
    const kept: string[] = [];
    const failed: string[] = [];
    const to = identifier(schema);
    await source.query("SET LOCAL citus.enable_manual_changes_to_shards = on");
    await source.query("SET LOCAL citus.enable_ddl_propagation = off");
    await source.query("SET LOCAL citus.enable_schema_based_sharding = off");
    await source.query("SET LOCAL lock_timeout = '10s'");
    await source.query(`CREATE SCHEMA IF NOT EXISTS ${to}`);
    const [group] = await source.query<{ oids: string[] }>(
        "SELECT array_agg(to_regclass(n)::oid::text) FILTER (WHERE to_regclass(n) IS NOT NULL) AS oids FROM unnest($1::text[]) n",
        [shards.map(({ name }) => name)],
    );
    let movable = true;
    // with a partitioned table that stays its partitions would be dropped too, wherever they are
    for (const { name, partitioned } of [...shards].sort((a, b) => Number(b.partitioned) - Number(a.partitioned))) {
        const own = lastPart(name);
        let said = movable ? await moveTable(source, name, to, group?.oids ?? []) : "";
        if (said !== undefined && partitioned) {
            movable = false;
            continue;
        }
        // somebody still reads it: then a copy of its rows is kept
        if (said !== undefined)
            said = await attempt(source, () => source.query(`CREATE TABLE ${to}.${own} AS TABLE ${name}`));
        if (said === undefined) kept.push(`${schema}.${own}`);
        else failed.push(`${name}: ${said}`);
    }
    await source.query("COMMIT");
    return { node: source.node, kept, failed };
}

const moveTable = (source: Session, name: string, to: string, group: readonly string[]) =>
    attempt(source, async () => {
        for (const { command } of await source.query<{ command: string }>(OUTER_KEYS, [name, group]))
            await source.query(command);
        const statistics = await source.query<{ command: string }>(STATISTICS, [name]);
        await source.query(`ALTER TABLE ${name} SET SCHEMA ${to}`);
        for (const { command } of statistics) await source.query(`${command}${to}`);
    });

/**
 * Does something or nothing of it, and keeps the locks that the transaction had before.
 * @returns what the database said, when it could not be done
 */
async function attempt(source: Session, work: () => Promise<unknown>): Promise<string | undefined> {
    await source.query("SAVEPOINT keep");
    try {
        await work();
        return undefined;
    } catch (error) {
        await source.query("ROLLBACK TO SAVEPOINT keep");
        return (error as Error).message;
    }
}

/** The relation's own name out of one that may have a schema; both may be quoted and contain dots. */
function lastPart(name: string): string {
    return /^(?:(?:"(?:[^"]|"")*"|[^".]*)\.)?("(?:[^"]|"")*"|[^".]+)$/.exec(name)?.[1] ?? name;
}
