/** Rows that clients change while a table is copied: a trigger on each shard writes their keys down, and they are copied again. */

import type { Session } from "../../reach/session.ts";
import { identifier, literal, qualified } from "../../sql/quote.ts";
import { inTransaction } from "../data/checksum.ts";
import type { Context } from "../group/facet.ts";
import { NEW } from "./besideMake.ts";

/** Schema of the keys that were written down; each node has its own. */
export const CHANGES = "citus_as_code_changes";

/** A part of a table that is there: a shard, or a table that no node but the coordinator has. */
export interface Shard {
    /** As SQL has it on its node. */
    readonly relation: string;
    readonly node: string;
}

export interface Copied {
    /** As it is declared. */
    readonly name: string;
    /** Without its schema. */
    readonly relname: string;
    /** Those that hold something of their own. */
    readonly columns: readonly string[];
    /** Primary key with types; null without one. */
    readonly key: readonly { readonly name: string; readonly type: string }[] | null;
    readonly shards: readonly Shard[];
    /** Rows that the new table has. */
    rows: bigint;
}

export const newName = ({ relname }: Pick<Copied, "relname">) => `${identifier(NEW)}.${identifier(relname)}`;

/** Nodes and what of the tables is on them. */
export function shardsByNode(tables: readonly Copied[]): Map<string, { table: number; relation: string }[]> {
    const nodes = new Map<string, { table: number; relation: string }[]>();
    for (const [table, { shards }] of tables.entries())
        for (const { node, relation } of shards) nodes.set(node, [...(nodes.get(node) ?? []), { table, relation }]);
    return nodes;
}

/** Runs something on a node that Citus is to leave to that node alone. */
async function alone<T>(session: Session, work: () => Promise<T>): Promise<T> {
    await session.query("SET citus.enable_ddl_propagation = off; SET citus.enable_manual_changes_to_shards = on");
    try {
        return await work();
    } finally {
        await session
            .query(
                "RESET citus.enable_ddl_propagation; RESET citus.enable_manual_changes_to_shards; RESET lock_timeout",
            )
            .catch(() => undefined);
    }
}

const names = (key: NonNullable<Copied["key"]>, of = "") =>
    key.map(({ name }) => `${of === "" ? "" : `${of}.`}${identifier(name)}`).join(", ");

/** What writes keys of one table down. */
function recorder(table: number, key: NonNullable<Copied["key"]>): string {
    const log = `${CHANGES}.keys_${table}`;
    const insert = (of: string) => `INSERT INTO ${log} (${names(key)}) VALUES (${names(key, of)});`;
    const changed = key
        .map(({ name }) => `NEW.${identifier(name)}::text IS DISTINCT FROM OLD.${identifier(name)}::text`)
        .join(" OR ");
    return `
        CREATE TABLE ${log} (citus_as_code_seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, ${key.map(({ name, type }) => `${identifier(name)} ${type}`).join(", ")});
        CREATE FUNCTION ${CHANGES}.write_${table}() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $f$ BEGIN
            IF TG_OP <> 'INSERT' THEN ${insert("OLD")} END IF;
            IF TG_OP = 'INSERT' THEN ${insert("NEW")} END IF;
            IF TG_OP = 'UPDATE' THEN IF ${changed} THEN ${insert("NEW")} END IF; END IF;
            RETURN NULL; END $f$;
        CREATE FUNCTION ${CHANGES}.truncate_${table}() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $f$ BEGIN
            INSERT INTO ${CHANGES}.truncated VALUES (${table}); RETURN NULL; END $f$;`;
}

/** How often a shard's lock is asked for, so that nobody queues behind somebody's long transaction. */
const LOCK_TRIES = 10;

async function patiently(session: Session, timeout: number, work: () => Promise<unknown>): Promise<void> {
    for (let i = 1; ; i++) {
        try {
            await session.query(`SET lock_timeout = ${timeout}`);
            await work();
            return;
        } catch (error) {
            if (i === LOCK_TRIES || (error as { code?: string }).code !== "55P03") throw error;
        }
    }
}

/** From then on every change of these tables is written down. */
export async function follow(context: Context, tables: readonly Copied[]): Promise<void> {
    for (const [node, shards] of shardsByNode(tables)) {
        const session = await context.open(node);
        await alone(session, async () => {
            await session.query(
                `CREATE SCHEMA ${CHANGES}; CREATE TABLE ${CHANGES}.truncated (tbl int);
                 ${tables.map(({ key }, i) => (key ? recorder(i, key) : "")).join("\n")}`,
            );
            for (const { table, relation } of shards)
                await patiently(session, context.group.lockTimeout, () =>
                    session
                        .query(
                            `BEGIN;
                         CREATE TRIGGER ${CHANGES} AFTER INSERT OR UPDATE OR DELETE ON ${relation} FOR EACH ROW EXECUTE FUNCTION ${CHANGES}.write_${table}();
                         CREATE TRIGGER ${CHANGES}_truncate AFTER TRUNCATE ON ${relation} FOR EACH STATEMENT EXECUTE FUNCTION ${CHANGES}.truncate_${table}();
                         ALTER TABLE ${relation} ENABLE ALWAYS TRIGGER ${CHANGES}; ALTER TABLE ${relation} ENABLE ALWAYS TRIGGER ${CHANGES}_truncate;
                         COMMIT`,
                        )
                        .catch(async (error: unknown) => {
                            await session.query("ROLLBACK").catch(() => undefined);
                            throw error;
                        }),
                );
        });
    }
}

/** Takes all of that away from a node again; nothing where there is nothing. */
export async function unfollow(context: Context, node: string): Promise<void> {
    const session = await context.open(node);
    const [there] = await session.query<{ ok: boolean }>(`SELECT to_regnamespace('${CHANGES}') IS NOT NULL AS ok`);
    if (!there?.ok) return;
    await alone(session, async () => {
        const relations = await session.query<{ name: string; trigger: string }>(
            `SELECT t.tgrelid::regclass::text AS name, quote_ident(t.tgname) AS trigger FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid
              WHERE p.pronamespace = '${CHANGES}'::regnamespace`,
        );
        for (const { name, trigger } of relations)
            await patiently(session, context.group.lockTimeout, () =>
                session.query(`DROP TRIGGER ${trigger} ON ${name}`),
            );
        await session.query(
            `SET client_min_messages = warning; DROP SCHEMA ${CHANGES} CASCADE; RESET client_min_messages`,
        );
    });
}

/**
 * Why what was written down may not be all: a shard that is elsewhere now has no trigger, and TRUNCATE has no rows.
 * @returns undefined when it is all
 */
export async function gap(context: Context, tables: readonly Copied[]): Promise<string | undefined> {
    for (const [node, shards] of shardsByNode(tables)) {
        const session = await context.open(node);
        const [row] = await session.query<{ triggers: number; truncated: number[] | null }>(
            `SELECT (SELECT count(*)::int FROM pg_trigger t JOIN unnest($1::text[]) r (name) ON t.tgrelid = to_regclass(r.name)
                      WHERE t.tgname = '${CHANGES}' AND t.tgenabled = 'A') AS triggers,
                    (SELECT array_agg(DISTINCT tbl) FROM ${CHANGES}.truncated) AS truncated`,
            [shards.map(({ relation }) => relation)],
        );
        if (row?.truncated) return `${row.truncated.map((i) => tables[i]?.name).join(", ")} was truncated meanwhile`;
        if (row?.triggers !== shards.length) return `shards on ${node} were moved, split or changed meanwhile`;
    }
    return undefined;
}

/** How many keys are written down and not copied again yet. */
export async function behind(context: Context, tables: readonly Copied[]): Promise<number> {
    let sum = 0;
    for (const node of shardsByNode(tables).keys()) {
        const session = await context.open(node);
        for (const [i, { key }] of tables.entries()) {
            if (!key) continue;
            const [row] = await session.query<{ n: number }>(`SELECT count(*)::int AS n FROM ${CHANGES}.keys_${i}`);
            sum += row?.n ?? 0;
        }
    }
    return sum;
}

const BATCH = 5000;

/** SQL for the rows of these keys. @param keys JSON of each, which stays text: a number may be larger than JavaScript's */
const ofKeys = (key: NonNullable<Copied["key"]>, keys: readonly string[]) =>
    `(${names(key)}) IN (SELECT ${names(key, "k")} FROM jsonb_to_recordset(${literal(`[${keys.join(",")}]`)}::jsonb) AS k (${key.map(({ name, type }) => `${identifier(name)} ${type}`).join(", ")}))`;

/** Copies rows again, as they are now; those that are gone go. */
async function apply(writer: Session, table: Copied, keys: readonly string[]): Promise<void> {
    const { key } = table;
    if (!key) return;
    const columns = table.columns.map(identifier).join(", ");
    const where = ofKeys(key, keys);
    const count = async () =>
        BigInt(
            (await writer.query<{ n: string }>(`SELECT count(*) AS n FROM ${newName(table)} WHERE ${where}`))[0]?.n ??
                0,
        );
    const change = await inTransaction(writer, async () => {
        const before = await count();
        await writer.query(`DELETE FROM ${newName(table)} WHERE ${where}`);
        await writer.query(
            `INSERT INTO ${newName(table)} (${columns}) OVERRIDING SYSTEM VALUE SELECT ${columns} FROM ${qualified(table.name)} WHERE ${where}`,
        );
        return (await count()) - before;
    });
    table.rows += change;
}

/**
 * Copies what was changed until nothing is left that was there when it began.
 * @param writer a connection to the coordinator
 * @param late asked between batches; what it throws ends it
 */
export async function catchUp(
    context: Context,
    writer: Session,
    tables: readonly Copied[],
    late: () => void,
): Promise<void> {
    for (const node of shardsByNode(tables).keys()) {
        const session = await context.open(node);
        for (const [i, table] of tables.entries()) {
            if (!table.key) continue;
            const [end] = await session.query<{ seq: string | null }>(
                `SELECT max(citus_as_code_seq) AS seq FROM ${CHANGES}.keys_${i}`,
            );
            if (!end?.seq) continue;
            for (;;) {
                late();
                // numbers are given before they are committed, so what was read is deleted by its numbers
                const rows = await session.query<{ seq: string; key: string }>(
                    `SELECT citus_as_code_seq::text AS seq, (to_jsonb(c) - 'citus_as_code_seq')::text AS key FROM ${CHANGES}.keys_${i} c
                      WHERE citus_as_code_seq <= $1 ORDER BY citus_as_code_seq LIMIT ${BATCH}`,
                    [end.seq],
                );
                if (rows.length === 0) break;
                const keys = [...new Set(rows.map(({ key }) => key))];
                await apply(writer, table, keys);
                await session.query(`DELETE FROM ${CHANGES}.keys_${i} WHERE citus_as_code_seq = ANY ($1::bigint[])`, [
                    rows.map(({ seq }) => seq),
                ]);
            }
        }
    }
}
