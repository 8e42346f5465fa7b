/**
 * Tables that change their key, their shards or their kind: made anew beside the old ones, copied shard by shard from the
 * nodes where the rows are, compared, and switched in one transaction. Clients go on with the old tables until then.
 */

import { releaseRunLock, takeRunLock } from "../../citus/runLock.ts";
import type { Session } from "../../reach/session.ts";
import { identifier, literal, qualified } from "../../sql/quote.ts";
import { describeBytes } from "../../util/bytes.ts";
import { countOf } from "../../util/countOf.ts";
import { pause } from "../../util/pause.ts";
import { inTransaction, PRINT, SAME_TEXT } from "../data/checksum.ts";
import type { Context } from "../group/facet.ts";
import { recordRate } from "../ledger/measured.ts";
import { behind, type Copied, catchUp, follow, gap, newName, shardsByNode, unfollow } from "./besideFollow.ts";
import { makeEmpty, NEW, OLD, statementsOf } from "./besideMake.ts";
import { type Beside, type BesideTable, longestWait } from "./besidePlan.ts";
import { Switch } from "./besideSwitch.ts";

export { NEW, OLD };

/** What is there, before anything is made. */
async function readTable(session: Session, { name }: BesideTable): Promise<Copied> {
    const [row] = await session.query<Omit<Copied, "name" | "rows">>(
        `SELECT c.relname,
                (SELECT jsonb_agg(a.attname ORDER BY a.attnum) FROM pg_attribute a
                  WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '') AS columns,
                (SELECT jsonb_agg(jsonb_build_object('name', a.attname, 'type', format_type(a.atttypid, a.atttypmod)) ORDER BY k.i)
                   FROM pg_index i, unnest(i.indkey::int2[]) WITH ORDINALITY k (attnum, i) JOIN pg_attribute a ON a.attnum = k.attnum
                  WHERE i.indrelid = c.oid AND i.indisprimary AND i.indimmediate AND a.attrelid = c.oid) AS key,
                (SELECT jsonb_agg(jsonb_build_object('relation', s.relation, 'node', s.node) ORDER BY s.shardid) FROM (
                    SELECT s.shardid, shard_name(s.logicalrelid, s.shardid) AS relation, split_part(n.nodename, '.', 1) AS node,
                           row_number() OVER (PARTITION BY s.shardid ORDER BY n.groupid) AS copy
                      FROM pg_dist_shard s JOIN pg_dist_placement p USING (shardid)
                      JOIN pg_dist_node n ON n.groupid = p.groupid AND n.noderole = 'primary' WHERE s.logicalrelid = c.oid) s WHERE s.copy = 1) AS shards
           FROM pg_class c WHERE c.oid = $1::regclass`,
        [qualified(name)],
    );
    if (!row?.shards) throw new Error(`${name} has no shards on any node`);
    return { ...row, columns: row.columns ?? [], name, rows: 0n };
}

/** Makes the new tables, empty: a first one gives the group its shards. */
async function makeTables(
    session: Session,
    beside: Beside,
    statements: ReadonlyMap<string, readonly string[]>,
): Promise<void> {
    await session.query(`CREATE SCHEMA ${NEW}`);
    await inTransaction(session, async () => {
        await session.query(
            "SET LOCAL citus.multi_shard_modify_mode = 'sequential'; SET LOCAL client_min_messages = warning",
        );
        let group = beside.colocateWith === undefined ? undefined : qualified(beside.colocateWith);
        for (const { name, target, column } of beside.tables) {
            await makeEmpty(session, name, statements.get(name) ?? []);
            const fresh = `${identifier(NEW)}.${identifier(relnameOf(name))}`;
            if (target === "reference") await session.query(`SELECT create_reference_table(${literal(fresh)})`);
            if (target !== "distributed") continue;
            const count =
                group === undefined && beside.shardCount !== undefined ? `, shard_count := ${beside.shardCount}` : "";
            await session.query(
                `SELECT create_distributed_table(${literal(fresh)}, ${literal(column ?? "")}, colocate_with := ${literal(group ?? "none")}${count})`,
            );
            group ??= fresh;
        }
    });
}

const relnameOf = (name: string) => (name.includes(".") ? (name.split(".", 2)[1] ?? name) : name);

interface Sum {
    readonly count: string;
    readonly sum: string;
}

const print = async (session: Session, from: string, columns: readonly string[]): Promise<Sum> => {
    const [row] = await session.query<Sum>(
        `SELECT ${PRINT} FROM (SELECT ${columns.map(identifier).join(", ") || "1"} FROM ${from}) AS t`,
    );
    return row ?? { count: "0", sum: "0" };
};

/** Copies one shard, and says what there was to copy. */
async function copyShard(session: Session, table: Copied, relation: string): Promise<Sum> {
    const columns = table.columns.map(identifier).join(", ");
    await session.query("BEGIN ISOLATION LEVEL REPEATABLE READ");
    try {
        await session.query(SAME_TEXT);
        const before = await print(session, relation, table.columns);
        // read where it is and sent to where it belongs, row by row: no node has to keep all of it
        await session.query(
            `INSERT INTO ${newName(table)} (${columns}) OVERRIDING SYSTEM VALUE SELECT ${columns} FROM ${relation}`,
        );
        await session.query("COMMIT");
        return before;
    } catch (error) {
        await session.query("ROLLBACK").catch(() => undefined);
        throw error;
    }
}

/** Copies every row. @throws Error when the new tables do not have what was read */
async function copy(context: Context, beside: Beside, tables: readonly Copied[], writer: Session): Promise<void> {
    const sums = tables.map(() => ({ count: 0n, sum: 0n }));
    const add = (i: number, { count, sum }: Sum) => {
        const to = sums[i];
        if (!to) return;
        to.count += BigInt(count);
        to.sum += BigInt(sum);
    };
    const local = new Set(beside.tables.filter(({ target }) => target === "local").map(({ name }) => name));
    for (const [i, table] of tables.entries()) {
        if (!local.has(table.name)) continue;
        context.progress(`${table.name}: copied to the coordinator`);
        const columns = table.columns.map(identifier).join(", ");
        await inTransaction(writer, async () => {
            await writer.query(SAME_TEXT);
            add(i, await print(writer, qualified(table.name), table.columns));
            await writer.query(
                `INSERT INTO ${newName(table)} (${columns}) OVERRIDING SYSTEM VALUE SELECT ${columns} FROM ${qualified(table.name)}`,
            );
        });
    }
    const total = tables.reduce((n, { name, shards }) => n + (local.has(name) ? 0 : shards.length), 0);
    let done = 0;
    await Promise.all(
        [...shardsByNode(tables)].map(async ([node, shards]) => {
            const session = await context.open(node);
            for (const { table: i, relation } of shards) {
                const table = tables[i];
                if (!table || local.has(table.name)) continue;
                context.alive();
                add(i, await copyShard(session, table, relation));
                context.progress(`${table.name}: copied beside the old one, ${++done} of ${total} shards`);
            }
        }),
    );
    for (const [i, table] of tables.entries()) {
        context.progress(`${table.name}: compared`);
        const there = await inTransaction(writer, async () => {
            await writer.query(SAME_TEXT);
            return print(writer, newName(table), table.columns);
        });
        const read = sums[i];
        if (String(read?.count) !== there.count || String(read?.sum) !== there.sum)
            throw new Error(
                `${table.name}: ${countOf(Number(read?.count), "row")} were read (checksum ${read?.sum}), and the new table has ${there.count} (checksum ${there.sum})`,
            );
        table.rows = BigInt(there.count);
        await writer.query(`ANALYZE ${newName(table)}`);
    }
}

/** So few changes are copied within a moment. */
const FEW = 2000;
const ROUNDS = 30;
const TRIES = 4;

/** Follows what clients change until little is left, then switches; what takes too long is given back and tried again. */
async function followAndSwitch(context: Context, tables: readonly Copied[], change: Switch, writer: Session) {
    for (let i = 1; ; i++) {
        for (let round = 1; (await behind(context, tables)) > FEW; round++) {
            context.alive();
            if (round > ROUNDS)
                throw new Error(
                    `rows are changed faster than they can be copied again: after ${ROUNDS} rounds ${countOf(await behind(context, tables), "change")} are left. Run pulumi up when less is written`,
                );
            context.progress(`changes made meanwhile are copied, round ${round}`);
            await catchUp(context, writer, tables, context.alive);
        }
        try {
            await change.run(async (late) => {
                const missed = await gap(context, tables);
                if (missed !== undefined) throw new Error(missed);
                await catchUp(context, writer, tables, late);
            });
            return;
        } catch (error) {
            if (i === TRIES || !change.putOff) throw error;
            context.note(
                `the switch was put off (${i} of ${TRIES} tries): ${(error as Error).message.split("\n").join(" ")}`,
            );
            await pause(1000);
        }
    }
}

/** @throws Error after taking everything back; the tables are as they were then */
export async function makeBeside(context: Context, beside: Beside): Promise<void> {
    const { session, group } = context;
    const names = beside.tables.map(({ name }) => name);
    const own = names.map(relnameOf);
    if (new Set(own).size < own.length)
        throw new Error(
            `two of ${names.join(", ")} have the same name in different schemas: change one of them at a time`,
        );
    await sweep(context);
    await takeRunLock(session, "placing", "is placing shards", 600, context);
    const began = Date.now();
    let waited = 0;
    try {
        const bytes = await bytesOf(session, names);
        const tables: Copied[] = [];
        const statements = new Map<string, string[]>();
        for (const table of beside.tables) {
            tables.push(await readTable(session, table));
            statements.set(table.name, await statementsOf(session, table.name));
        }
        await makeTables(session, beside, statements);
        const writer = await context.open("coordinator");
        const shards = tables.reduce((n, table) => n + table.shards.length, 0);
        const change = new Switch(context, beside, tables, statements, longestWait(shards) * 1000);
        if (beside.waiting) {
            await change.run(() => copy(context, beside, tables, writer), false);
        } else {
            await follow(context, tables);
            await copy(context, beside, tables, writer);
            await followAndSwitch(context, tables, change, writer);
        }
        waited = change.waited;
        const seconds = (Date.now() - began) / 1000;
        await recordRate(session, "beside", bytes, seconds);
        context.note(
            `${names.join(", ")}: made anew in ${seconds.toFixed(1)} s, ${describeBytes(bytes)}, ${tables.map(({ rows, name }) => `${name} ${rows} rows`).join(", ")}; writes waited for ${(waited / 1000).toFixed(1)} s`,
        );
        for (const { table, name } of beside.drop) context.warn(`${table}: foreign key ${name} was dropped`);
        await sweep(context);
        await change.validate();
    } catch (error) {
        if (waited > 0) throw error;
        const left = await sweep(context).then(
            () => "What had been made was removed.",
            (failed: Error) => `What had been made is left, and the next pulumi up removes it.\n  ${failed.message}`,
        );
        throw new Error(
            `tenant group ${group.name}: ${names.join(", ")} could not be made anew.\n  ${(error as Error).message.replaceAll("\n", "\n  ")}\nThe tables are as they were, with every row. ${left} Remove the cause, then run pulumi up again: it is safe to repeat.`,
        );
    } finally {
        await releaseRunLock(session, "placing").catch(() => undefined);
    }
}

async function bytesOf(session: Session, names: readonly string[]): Promise<number> {
    const [row] = await session.query<{ n: string }>(
        "SELECT coalesce(sum(citus_total_relation_size(t::regclass, fail_on_error := false)), 0) AS n FROM unnest($1::text[]) t",
        [names.map(qualified)],
    );
    return Number(row?.n);
}

/** Removes what a run left, ended half-way or well: the tables that are in use are none of it. Safe to repeat. */
export async function sweep(context: Context): Promise<void> {
    const { session } = context;
    const [there] = await session.query<{ fresh: boolean; old: boolean; rows: string | null }>(
        `SELECT to_regnamespace('${NEW}') IS NOT NULL AS fresh, to_regnamespace('${OLD}') IS NOT NULL AS old,
                obj_description(to_regnamespace('${OLD}'), 'pg_namespace') AS rows`,
    );
    if (!there?.fresh && !there?.old) return;
    for (const { name } of context.nodes) await unfollow(context, name);
    await session.query("SET client_min_messages = warning");
    try {
        if (there.old) await dropOld(context, JSON.parse(there.rows ?? "{}") as Record<string, string>);
        if (there.fresh) await session.query(`DROP SCHEMA ${NEW} CASCADE`);
    } finally {
        await session.query("RESET client_min_messages").catch(() => undefined);
    }
}

/** Drops the tables that were replaced, when each has as many rows as were handed on; nobody has written to them since. */
async function dropOld({ session }: Context, handedOn: Readonly<Record<string, string>>): Promise<void> {
    const wrong: string[] = [];
    for (const [table, rows] of Object.entries(handedOn)) {
        const [row] = await session.query<{ n: string }>(
            `SELECT count(*) AS n FROM ${identifier(OLD)}.${identifier(table)}`,
        );
        if (row?.n !== rows) wrong.push(`${table} had ${row?.n} rows, and ${rows} were handed on`);
    }
    if (wrong.length > 0) {
        const kept = `${OLD}_${Date.now()}`;
        await session.query(`ALTER SCHEMA ${OLD} RENAME TO ${kept}`);
        throw new Error(
            `${wrong.join("; ")}.\nThe new tables are in use. The old ones are kept in schema ${kept}: compare the two, copy what is missing, then DROP SCHEMA ${kept} CASCADE.`,
        );
    }
    await session.query(`DROP SCHEMA ${OLD} CASCADE`);
}
