/**
 * Models row and rls: a tenant's rows deleted exactly as they were exported. Where no foreign key changes rows of others, in
 * parts of their own transactions, for which nobody else waits; otherwise at once, while others' writes wait.
 */

import { identifier, literal } from "../../sql/quote.ts";
import { countOf } from "../../util/countOf.ts";
import {
    allColumns,
    differingTables,
    inTransaction,
    nameOf,
    PRINT,
    type Print,
    type Prints,
    printSlices,
    printSql,
    SAME_TEXT,
    whereOf,
} from "../data/checksum.ts";
import type { Slice } from "../data/shape.ts";
import { placeOf } from "../data/tenantTables.ts";
import type { Context } from "../group/facet.ts";
import type { GroupSpec } from "../group/spec.ts";
import { recordRate } from "../ledger/measured.ts";
import { changesOthers, REFERENCES, type Reference } from "./removeReferences.ts";

/** Rows that go in one transaction. */
export const PART_ROWS = 10_000;

/** How long one part may take before it is given up; what was deleted before it stays so. */
const PART_SECONDS = 120;

/** What it is written down as, for the next estimate. */
export const DELETE_RATE = "rows of a delete";

interface Found extends Omit<Reference, "from" | "to"> {
    /** Undefined for a table that is not one of the tenant's. */
    readonly from: Slice | undefined;
    readonly to: Slice;
}

async function referencesTo({ session }: Context, slices: readonly Slice[]): Promise<Found[]> {
    const names = slices.map(({ table }) => nameOf(table));
    const [row] = await session.query<{ found: readonly Reference[] }>(`SELECT (${REFERENCES("$1")}) AS found`, [
        names,
    ]);
    return (row?.found ?? []).flatMap(({ from, to, ...reference }) => {
        const slice = slices[to];
        return slice ? [{ ...reference, from: from === null ? undefined : slices[from], to: slice }] : [];
    });
}

/** Tables so that each comes before those that it references; those that reference each other in a circle are together. */
export function referencingFirst(
    tables: readonly string[],
    references: readonly { readonly from: string; readonly to: string }[],
): string[][] {
    const result: string[][] = [];
    let left = [...tables];
    const before = (table: string): ReadonlySet<string> => {
        const found = new Set<string>();
        const add = (to: string) => {
            for (const reference of references)
                if (reference.to === to && left.includes(reference.from) && !found.has(reference.from)) {
                    found.add(reference.from);
                    add(reference.from);
                }
        };
        add(table);
        return found;
    };
    while (left.length > 0) {
        const referencing = new Map(left.map((table) => [table, before(table)]));
        // nothing references them but they themselves
        const next = left.filter((table) =>
            [...(referencing.get(table) ?? [])].every((from) => from === table || referencing.get(from)?.has(table)),
        );
        const taken = new Set<string>();
        for (const table of next) {
            if (taken.has(table)) continue;
            const together = next.filter((one) => one === table || referencing.get(table)?.has(one));
            for (const one of together) taken.add(one);
            result.push(together);
        }
        left = left.filter((table) => !taken.has(table));
    }
    return result;
}

/** @throws Error when deleting a tenant's rows would change rows that are not its own */
async function refuseOthers({ session }: Context, tenant: string, references: readonly Found[]): Promise<void> {
    const outside = references.filter(({ from, cascades }) => from === undefined && cascades);
    if (outside.length > 0)
        throw new Error(
            `${tenant}: by foreign keys, deleting it would also change rows of ${[...new Set(outside.map(({ other }) => other))].join(", ")}. The group's tables do not include them, so no export has these rows.\n` +
                "Nothing was deleted. Add them to tables, then run pulumi up again.",
        );
    for (const reference of references) {
        const { from, to, columns, referenced, other } = reference;
        const [key, key2] = [from?.key, to.key];
        if (!from || !key || !key2 || !changesOthers(reference, key.column, key2.column)) continue;
        const same = columns.map((column, i) => `t.${identifier(referenced[i] ?? "")} = f.${identifier(column)}`);
        const [row] = await session.query<{ n: string }>(
            `SELECT count(*)::text AS n FROM ${nameOf(from.table)} f WHERE f.${identifier(key.column)} IS DISTINCT FROM ${literal(tenant)}
                AND EXISTS (SELECT FROM ${nameOf(to.table)} t WHERE t.${identifier(key2.column)} = ${literal(tenant)} AND ${same.join(" AND ")})`,
        );
        if (row?.n !== "0")
            throw new Error(
                `${tenant}: by a foreign key to ${nameOf(to.table)}, deleting it would also change ${countOf(Number(row?.n ?? 0), "row")} of ${other} that other tenants own.\n` +
                    "Nothing was deleted. Correct what those rows reference, then run pulumi up again.",
            );
    }
}

/** Rows of one table that go together. */
interface Part {
    readonly print: Print;
    /** SQL condition; empty for all of the tenant's rows. */
    readonly range: string;
}

/** One table's rows, as everything() names them. */
interface Named {
    readonly name: string;
    readonly slice: Slice;
    readonly columns: readonly string[];
}

const NONE: Print = { count: "0", sum: "0" };

const plus = (a: Print, b: Print): Print => ({
    count: String(BigInt(a.count) + BigInt(b.count)),
    sum: String(BigInt(a.sum) + BigInt(b.sum)),
});

const minus = (a: Print, b: Print): Print => ({
    count: String(BigInt(a.count) - BigInt(b.count)),
    sum: String(BigInt(a.sum) - BigInt(b.sum)),
});

/** What must be there still, when some of what was exported is deleted. */
export const remainder = (exported: Prints, deleted: Prints): Prints =>
    Object.fromEntries(Object.entries(exported).map(([name, print]) => [name, minus(print, deleted[name] ?? NONE)]));

/** Columns of the primary key with their types, in its order; none where there is no primary key. */
async function keyOf({ session }: Context, slice: Slice): Promise<readonly { name: string; type: string }[]> {
    return session.query<{ name: string; type: string }>(
        `SELECT a.attname::text AS name, format_type(a.atttypid, a.atttypmod) AS type
           FROM pg_index i, unnest(i.indkey::int2[]) WITH ORDINALITY AS k (n, i) JOIN pg_attribute a ON a.attnum = k.n
          WHERE i.indrelid = $1::regclass AND i.indisprimary AND a.attrelid = i.indrelid ORDER BY k.i`,
        [nameOf(slice.table)],
    );
}

/**
 * A tenant's rows of a table in parts that leave no gap between them: one pass over the rows in the order of the primary key.
 * @param whole whether rows must go in one statement, because they reference each other
 */
async function partsOf(context: Context, { slice, columns }: Named, whole: boolean): Promise<Part[]> {
    const { session } = context;
    const key = whole ? [] : await keyOf(context, slice);
    return inTransaction(session, async () => {
        await session.query(SAME_TEXT);
        if (key.length === 0) {
            const [print] = await session.query<Print>(printSql(slice, columns));
            return [{ print: print ?? NONE, range: "" }];
        }
        const names = key.map(({ name }) => `r.${identifier(name)}`);
        const row = `ROW(${columns.map((column) => `r.${identifier(column)}`).join(", ") || "1"})`;
        const found = await session.query<Print & { low: string[] }>(
            `SELECT count(*)::text AS count, sum(y.h)::text AS sum, max(y.low) AS low FROM (
                SELECT x.n / ${PART_ROWS} AS p, x.h, CASE WHEN x.n % ${PART_ROWS} = 0 THEN x.key END AS low FROM (
                    SELECT row_number() OVER (ORDER BY ${names.join(", ")}) - 1 AS n, hashtextextended(${row}::text, 0)::numeric AS h,
                           ARRAY[${names.map((name) => `${name}::text`).join(", ")}] AS key
                      FROM ${nameOf(slice.table)} r${whereOf(slice)}) x) y GROUP BY y.p ORDER BY y.p`,
        );
        const at = (low: readonly string[]) => {
            const values = low.map((value, i) => `${literal(value)}::${key[i]?.type}`);
            return { columns: key.map(({ name }) => identifier(name)).join(", "), values: values.join(", ") };
        };
        return found.map(({ count, sum, low }, i) => {
            const next = found[i + 1]?.low;
            const from = at(low);
            const to = next && at(next);
            const range = [
                // the first and the last have whatever comes before and behind them
                ...(i === 0 ? [] : [`(${from.columns}) >= (${from.values})`]),
                ...(to ? [`(${to.columns}) < (${to.values})`] : []),
            ];
            return { print: { count, sum }, range: range.map((condition) => ` AND ${condition}`).join("") };
        });
    });
}

const conditionOf = (slice: Slice, range: string) => `${whereOf(slice)}${range}`;

/** What was not as it was exported; the transaction is rolled back, and nothing of the part is deleted. */
class Changed extends Error {
    readonly tables: readonly string[];
    constructor(tables: readonly string[]) {
        super(`${tables.join(", ")} changed`);
        this.tables = tables;
    }
}

/** SQL of one statement, also for tables that reference each other in a circle: PostgreSQL looks at their keys after all of it. */
function deleteSql(tables: readonly Named[], range: string): string {
    const ctes = tables.map(
        ({ slice, columns }, i) =>
            `d${i} AS (DELETE FROM ${nameOf(slice.table)}${conditionOf(slice, range)} RETURNING ${columns.map(identifier).join(", ") || "1"})`,
    );
    const selects = tables.map((_, i) => `SELECT ${i} AS i, ${PRINT} FROM d${i} AS t`);
    return `WITH ${ctes.join(", ")} ${selects.join(" UNION ALL ")}`;
}

/** What a run that deletes rows needs. */
export interface Deleting {
    readonly context: Context;
    readonly tenant: string;
    /** What the export has, by table. */
    readonly exported: Prints;
    /** What of the export was deleted by runs before this one. */
    readonly deleted: Prints;
    /** SQL that writes down, in the same transaction, what has been deleted so far. */
    readonly record: (deleted: Prints) => string;
}

const KEPT = (count: string | undefined, table: string) =>
    new Error(
        `${count} of its rows in ${table} were still there after they were deleted: a trigger or a rule keeps them or makes them again.\n` +
            "Nothing of these rows was deleted. Disable that trigger or rule, then run pulumi up again.",
    );

const countSql = (slice: Slice, range = "") =>
    `SELECT count(*)::text AS count FROM ${nameOf(slice.table)}${conditionOf(slice, range)}`;

/** Deletes one part of tables that go together, when it is exactly what was exported. */
async function deletePart(
    { context, record }: Deleting,
    tables: readonly Named[],
    parts: readonly Part[],
    cascading: readonly Slice[],
    before: Prints,
): Promise<Prints> {
    const { session, group } = context;
    const range = parts.length === 1 ? (parts[0]?.range ?? "") : "";
    const now: Record<string, Print> = { ...before };
    await inTransaction(session, async () => {
        await session.query(
            `${SAME_TEXT}SET LOCAL lock_timeout = ${group.lockTimeout}; SET LOCAL statement_timeout = '${PART_SECONDS}s';`,
        );
        if (cascading.length > 0) {
            // nobody can add a row that references these from here on, and there must be none: a cascade returns nothing
            for (const { slice } of tables)
                await session.query(
                    `SELECT count(*) FROM (SELECT 1 FROM ${nameOf(slice.table)}${conditionOf(slice, range)} FOR UPDATE) AS locked`,
                );
            for (const slice of cascading) {
                const [row] = await session.query<{ count: string }>(countSql(slice));
                if (row?.count !== "0") throw new Changed([slice.name]);
            }
        }
        const answers = await session.query<Print & { i: number }>(deleteSql(tables, range));
        for (const [i, { name, slice }] of tables.entries()) {
            const print = answers.find((answer) => Number(answer.i) === i) ?? NONE;
            const part = parts[i] ?? { print: NONE, range: "" };
            if (print.count !== part.print.count || print.sum !== part.print.sum) {
                const [left] = await session.query<{ count: string }>(countSql(slice, range));
                if (left?.count !== "0" && BigInt(print.count) < BigInt(part.print.count))
                    throw KEPT(left?.count, nameOf(slice.table));
                throw new Changed([name]);
            }
            now[name] = plus(now[name] ?? NONE, part.print);
        }
        await session.query(record(now));
    });
    return now;
}

/** In parts, for which nobody waits. @returns tables whose rows are not as they were exported */
async function deleteInParts(
    deleting: Deleting,
    order: readonly (readonly Named[])[],
    references: readonly Found[],
): Promise<string[]> {
    const { context, tenant, exported } = deleting;
    const expected = remainder(exported, deleting.deleted);
    const isSelf = ({ slice }: Named) => references.some(({ from, to }) => from === slice && to === slice);
    const parts = new Map<string, Part[]>();
    const found: Record<string, Print> = {};
    for (const together of order)
        for (const named of together) {
            context.progress(`${tenant}: ${named.name} is compared with its export`);
            const list = await partsOf(context, named, together.length > 1 || isSelf(named));
            parts.set(named.name, list);
            found[named.name] = list.map(({ print }) => print).reduce(plus, NONE);
        }
    const changed = differingTables(expected, found);
    if (changed.length > 0) return changed;
    const total = Object.values(exported).reduce((sum, { count }) => sum + Number(count), 0);
    const began = Date.now();
    let { deleted } = deleting;
    let done = 0;
    for (const together of order) {
        const cascading = references.flatMap(({ from, to, cascades }) =>
            cascades &&
            from &&
            together.some(({ slice }) => slice === to) &&
            !together.some(({ slice }) => slice === from)
                ? [from]
                : [],
        );
        const lists = together.map(({ name }) => parts.get(name) ?? []);
        const times = together.length > 1 ? 1 : (lists[0]?.length ?? 0);
        for (let i = 0; i < times; i++) {
            context.alive();
            const some = lists.map((list) => list[i] ?? { print: NONE, range: "" });
            if (some.every(({ print }) => print.count === "0")) continue;
            try {
                deleted = await deletePart(deleting, together, some, cascading, deleted);
            } catch (error) {
                if (error instanceof Changed) return [...error.tables];
                throw error;
            }
            done += some.reduce((sum, { print }) => sum + Number(print.count), 0);
            context.progress(`${tenant}: ${done} of ${total} rows deleted`);
        }
    }
    await recordRate(context.session, DELETE_RATE, done, (Date.now() - began) / 1000, 50_000);
    const left: string[] = [];
    for (const { name, slice } of order.flat()) {
        const [row] = await context.session.query<{ count: string }>(countSql(slice));
        if (row?.count !== "0") left.push(name);
    }
    return left;
}

/** At once, while nobody writes to the tables. @returns tables whose rows are not as they were exported; nothing was deleted then */
async function deleteLocked(
    { context, tenant, exported, deleted, record }: Deleting,
    order: readonly (readonly Named[])[],
    references: readonly Found[],
): Promise<string[]> {
    const { session, group } = context;
    const all = order.flat();
    return inTransaction(session, async () => {
        await session.query(`SET LOCAL lock_timeout = ${group.lockTimeout}`);
        // what a cascade deletes is in no DELETE's answer, so nobody may write from before it is looked at
        if (all.length > 0)
            await session.query(
                `LOCK TABLE ${all.map(({ slice }) => nameOf(slice.table)).join(", ")} IN SHARE ROW EXCLUSIVE MODE`,
            );
        const changed = differingTables(remainder(exported, deleted), await printSlices(session, all));
        if (changed.length > 0) return changed;
        await refuseOthers(context, tenant, references);
        for (const together of order) await session.query(deleteSql(together, ""));
        for (const { slice } of all) {
            const [row] = await session.query<{ count: string }>(countSql(slice));
            if (row?.count !== "0") throw KEPT(row?.count, nameOf(slice.table));
        }
        await session.query(record(exported));
        return [];
    });
}

/** Whether others' writes wait while a tenant is deleted. */
export const locksOthers = (group: GroupSpec, changing: boolean) => !group.rowSecurity || changing;

/**
 * Deletes exactly what was exported. Safe to repeat: what an earlier run deleted is written down with it.
 * @returns tables whose rows are not what the export has; every row that was deleted is in the export all the same
 * @throws Error when rows of others would change, or something keeps rows from being deleted
 */
export async function deleteRows(deleting: Deleting): Promise<string[]> {
    const { context, tenant } = deleting;
    const { group } = context;
    const { slices } = await placeOf(context, group, tenant);
    const references = await referencesTo(context, slices);
    const byName = new Map(allColumns(slices).map((named) => [nameOf(named.slice.table), named]));
    const order = referencingFirst(
        [...byName.keys()],
        references.flatMap(({ from, to }) => (from ? [{ from: nameOf(from.table), to: nameOf(to.table) }] : [])),
    ).map((names) => names.flatMap((name) => byName.get(name) ?? []));
    const changing = references.some((reference) =>
        changesOthers(reference, reference.from?.key?.column, reference.to.key?.column),
    );
    if (locksOthers(group, changing)) return deleteLocked(deleting, order, references);
    return deleteInParts(deleting, order, references);
}
