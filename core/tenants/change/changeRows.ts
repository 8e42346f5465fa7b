/** Rows go to another table of the same database. */

import type { Session } from "../../reach/session.ts";
import { identifier, literal } from "../../sql/quote.ts";
import { countOf } from "../../util/countOf.ts";
import { nameOf, whereOf } from "../data/checksum.ts";
import type { Pair } from "../data/shape.ts";

export async function refuseRows(session: Session, { target }: Pair): Promise<void> {
    if (target.anchor) return;
    const [row] = await session.query<{ n: string }>(
        `SELECT count(*)::text AS n FROM ${nameOf(target.table)}${whereOf(target)}`,
    );
    if (row?.n !== "0")
        throw new Error(`${nameOf(target.table)} has ${countOf(Number(row?.n ?? 0), "row")} of the tenant already`);
}

/** A column of the new place's tenant column's name gets the tenant's key: whatever else it tells apart would be one. */
export async function refuseKeys(session: Session, { source, target }: Pair): Promise<void> {
    const column = target.key?.column;
    if (column === undefined || source.key || !source.table.columns.some(({ name }) => name === column)) return;
    const [row] = await session.query<{ n: string }>(
        `SELECT count(DISTINCT ${identifier(column)})::text AS n FROM ${nameOf(source.table)}`,
    );
    if (Number(row?.n ?? 0) > 1)
        throw new Error(
            `${nameOf(source.table)}.${column} has ${row?.n} values, and ${nameOf(target.table)} has the tenant's key in it: rename that column where it comes from`,
        );
}

const typeOf = ({ table }: Pair["target"], column: string) =>
    table.columns.find(({ name }) => name === column)?.type ?? "text";

/** The one row of the table of tenants becomes what it was elsewhere. @returns false where there is none */
async function overwrite(
    session: Session,
    { source, target, columns }: Pick<Pair, "source" | "target" | "columns">,
): Promise<boolean> {
    const [row] = await session.query<{ n: string }>(
        `SELECT count(*)::text AS n FROM ${nameOf(target.table)}${whereOf(target)}`,
    );
    if (row?.n === "0") return false;
    const texts = columns.map((column, i) => `${identifier(column)}::text AS c${i}`);
    const [old] = await session.query<Record<string, string | null>>(
        `SELECT ${texts.join(", ") || "1"} FROM ${nameOf(source.table)}${whereOf(source)}`,
    );
    const set = columns.map((column, i) => {
        const value = old?.[`c${i}`] ?? null;
        return `${identifier(column)} = ${value === null ? "NULL" : `${literal(value)}::${typeOf(target, column)}`}`;
    });
    if (old && set.length > 0)
        await session.query(`UPDATE ${nameOf(target.table)} SET ${set.join(", ")}${whereOf(target)}`);
    return true;
}

export async function copyRows(
    session: Session,
    { source, target, columns }: Pair,
    values: Readonly<Record<string, unknown>>,
): Promise<void> {
    const into = columns.map(identifier);
    const selected = columns.map((column) => {
        const [before, after] = [typeOf(source, column), typeOf(target, column)];
        // types of the tables' own schemas have the same name and are not the same
        return before === after ? identifier(column) : `${identifier(column)}::text::${after}`;
    });
    if (target.key) {
        into.push(identifier(target.key.column));
        selected.push(`${literal(target.key.value)}::${typeOf(target, target.key.column)}`);
    }
    // its row was made with the tenant, and others' tables may have rows that go with it when it is deleted
    const kept = target.anchor === true && (await overwrite(session, { source, target, columns }));
    if (!kept)
        await session.query(
            `INSERT INTO ${nameOf(target.table)} (${into.join(", ")}) OVERRIDING SYSTEM VALUE
             SELECT ${selected.join(", ")} FROM ${nameOf(source.table)}${whereOf(source)}`,
        );
    const own = target.anchor ? Object.entries(values).filter(([name]) => columns.includes(name)) : [];
    if (own.length > 0)
        await session.query(
            `UPDATE ${nameOf(target.table)} SET ${own.map(([name, value]) => `${identifier(name)} = ${value === null ? "NULL" : literal(String(value))}`).join(", ")}${whereOf(target)}`,
        );
}
