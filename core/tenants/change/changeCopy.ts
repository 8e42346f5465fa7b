/** A tenant's rows are copied and compared. */

import { runScript } from "../../reach/run.ts";
import type { Session } from "../../reach/session.ts";
import { identifier, literal } from "../../sql/quote.ts";
import { countOf } from "../../util/countOf.ts";
import {
    allColumns,
    emptyCheck,
    inTransaction,
    nameOf,
    type Print,
    type Prints,
    printSlices,
    printSql,
    rowsOf,
    SAME_TEXT,
    samePrint,
} from "../data/checksum.ts";
import { advanceSequences, carryLoose, readSequences } from "../data/sequences.ts";
import type { Pair } from "../data/shape.ts";
import type { TenantLocation } from "../data/tenantTables.ts";
import { type Change, setPhase } from "./changeRecord.ts";
import { copyRows, refuseKeys, refuseRows } from "./changeRows.ts";
import { switchOver } from "./changeSwitch.ts";

const lockRows = (places: readonly Pair[], side: "source" | "target") =>
    `LOCK TABLE ${places.map((pair) => nameOf(pair[side].table)).join(", ")} IN SHARE ROW EXCLUSIVE MODE`;

/** The sides of all pairs, over the columns that both have. */
const side = (pairs: readonly Pair[], which: "source" | "target") =>
    pairs.map((pair) => ({ name: pair.name, slice: pair[which], columns: pair.compared }));

/** @throws Error naming the first table that differs */
function compare(pairs: readonly Pair[], before: Prints, after: Prints): void {
    const told = (print: Print | undefined) =>
        `${countOf(Number(print?.count ?? 0), "row")}, checksum ${print?.sum ?? 0}`;
    for (const { name, source, target } of pairs)
        if (!samePrint(before[name], after[name]))
            throw new Error(
                `the copy differs: ${nameOf(source.table)} has ${told(before[name])}, and ${nameOf(target.table)} has ${told(after[name])}`,
            );
}

/** Checksums of all that the old place has, over all its columns; what was summed up already is not read again. */
async function oldPrints({ source, pairs }: Change, known: Prints): Promise<Prints> {
    const kept: Record<string, Print> = {};
    const asked = allColumns(source.slices).filter(({ name, columns }) => {
        const print = known[name];
        const compared = pairs.find((pair) => pair.name === name)?.compared;
        if (!print || compared?.join("\n") !== columns.join("\n")) return true;
        kept[name] = print;
        return false;
    });
    return { ...kept, ...(await printSlices(source.session, asked)) };
}

async function carryNumbers({ context, pairs, source, target }: Change): Promise<void> {
    await carryLoose(source, target);
    const given = await readSequences(
        source.session,
        pairs.map((pair) => pair.source),
    );
    await advanceSequences(
        context,
        target,
        pairs.map((pair) => pair.target),
        given,
    );
}

/** Both places are in one database, so copy, verification and switch are one transaction. */
export async function moveWithin(change: Change, closed: boolean): Promise<Prints> {
    const { context, pairs, target } = change;
    const { session, group } = context;
    const prints = await inTransaction(session, async () => {
        await session.query(SAME_TEXT);
        await session.query(`SET LOCAL lock_timeout = ${group.lockTimeout}`);
        // rows of others are not held up where policies keep this tenant's writes out
        if (!(closed && pairs.some(({ source }) => source.key))) await session.query(lockRows(pairs, "source"));
        if (!pairs.some(({ target }) => target.key)) await session.query(lockRows(pairs, "target"));
        for (const pair of pairs) await refuseRows(session, pair);
        for (const pair of pairs) await refuseKeys(session, pair);
        for (const pair of pairs) await copyRows(session, pair, target.group.tenants[target.tenant]?.values ?? {});
        const before = await printSlices(session, side(pairs, "source"));
        compare(pairs, before, await printSlices(session, side(pairs, "target")));
        await carryNumbers(change);
        await switchOver(change, await oldPrints(change, before));
        return before;
    });
    return prints;
}

/** Copies into a place that is empty: all of it and nothing else, or nothing. */
export type Copy = (change: Change, wanted: Prints) => Promise<void>;

/** The places are in different databases: a program on the coordinator pipes one into the other, in one transaction there. */
export async function moveBetween(change: Change, copied: Prints | undefined, copy: Copy): Promise<Prints> {
    const { context, pairs, source, target } = change;
    const { session, group } = context;
    await source.session.query("BEGIN");
    try {
        await source.session.query(`SET LOCAL lock_timeout = ${group.lockTimeout}`);
        await source.session.query(lockRows(pairs, "source"));
        const before = await printSlices(source.session, side(pairs, "source"));
        // by a connection of its own: what is written in the source's transaction goes with that
        const apart = { ...change, context: { ...context, session: await context.open("coordinator") } };
        if (!(await clearCopy(target.session, pairs, copied, { keep: before }))) {
            await setPhase(apart, "copy", { copied: before });
            await copy(change, before);
        }
        await setPhase(apart, "verify");
        const print = () => printSlices(target.session, side(pairs, "target"));
        compare(pairs, before, await inTransaction(target.session, print));
        await carryNumbers(change);
        const checksum = await oldPrints(change, before);
        if (source.session === session) await switchOver(change, checksum);
        else await inTransaction(session, () => switchOver(change, checksum));
        await source.session.query("COMMIT");
        return before;
    } catch (error) {
        await source.session.query("ROLLBACK").catch(() => undefined);
        throw error;
    }
}

/**
 * Takes out of the new place what this change copied.
 * @param keep unless it is this
 * @param timeout how long clients of the new place are waited for, in milliseconds. @default for ever
 * @returns whether it was kept
 * @throws Error when there is anything else, and then it is as it was
 */
export function clearCopy(
    session: Session,
    pairs: readonly Pair[],
    copied: Prints | undefined,
    { keep, timeout = 0 }: { readonly keep?: Prints; readonly timeout?: number },
): Promise<boolean> {
    const names = targetNames(pairs);
    const same = (found: Prints, prints: Prints | undefined) =>
        pairs.every(({ name }) => samePrint(found[name], prints?.[name]));
    return inTransaction(session, async () => {
        await session.query(`SET LOCAL lock_timeout = ${timeout}`);
        // a killed run's program may be writing still
        await session.query(`LOCK TABLE ${names} IN SHARE MODE`);
        const found = await printSlices(session, side(pairs, "target"));
        const filled = pairs.filter(({ name }) => found[name]?.count !== "0");
        if (filled.length === 0) return false;
        if (!same(found, copied))
            throw new Error(
                `the tables that it goes to have rows that this change did not copy: ${filled
                    .map(({ name, target }) => {
                        const ours = copied === undefined ? "" : `, of which it copied ${copied[name]?.count ?? 0}`;
                        return `${nameOf(target.table)} has ${countOf(Number(found[name]?.count ?? 0), "row")}${ours}`;
                    })
                    .join(
                        "; ",
                    )}. None of these rows was touched: save what you need of them elsewhere, then empty these tables.`,
            );
        if (keep && same(found, keep)) return true;
        await session.query(`TRUNCATE ${names}`);
        return false;
    });
}

const targetNames = (pairs: readonly Pair[]) => pairs.map(({ target }) => nameOf(target.table)).join(", ");

/** A text as psql's \\qecho takes it. */
const echoed = (text: string) => `\\qecho '${text.replaceAll("\\", "\\\\").replaceAll("'", "''")}'`;

/** SQL that fails, naming the first table, when the new place is not as it should be. */
const printCheck = (pairs: readonly Pair[], wanted: Prints) =>
    `DO $check$\n#variable_conflict use_column\nDECLARE f record; BEGIN\n${pairs
        .map(({ name, source, target, compared }) => {
            const { count = "0", sum = "0" } = wanted[name] ?? {};
            const told = [nameOf(source.table), count, sum, nameOf(target.table)].map(literal).join(", ");
            return `${printSql(target, compared).replace(" FROM ", " INTO f FROM ")};
IF (f.count, f.sum) IS DISTINCT FROM (${literal(count)}, ${literal(sum)}) THEN
    RAISE EXCEPTION 'the copy differs: % has % rows, checksum %, and % has % rows, checksum %', ${told}, f.count, f.sum; END IF;`;
        })
        .join("\n")}\nEND $check$;`;

export const pipe: Copy = async ({ context, pairs, source, target, tenant }, wanted) => {
    const before = [
        "BEGIN;",
        `LOCK TABLE ${targetNames(pairs)} IN ACCESS EXCLUSIVE MODE;`,
        emptyCheck(pairs.map(({ target }) => target)),
    ];
    // a copy that differs is not there at all: nobody has to tell it from others' rows
    const after = [
        "SET CONSTRAINTS ALL IMMEDIATE; SET LOCAL search_path = public;",
        SAME_TEXT,
        printCheck(pairs, wanted),
        "COMMIT;",
    ];
    const read = pairs.flatMap(({ source, target, columns }) => [
        echoed(`COPY ${nameOf(target.table)} (${columns.map(identifier).join(", ")}) FROM stdin;`),
        `COPY (${rowsOf(source, columns)}) TO STDOUT;`,
        echoed("\\."),
    ]);
    const host = ({ node }: TenantLocation) =>
        node === "coordinator" ? "-" : (context.nodes.find(({ name }) => name === node)?.host ?? node);
    const database = async (place: TenantLocation) => {
        if (place.database !== undefined) return place.database;
        const [row] = await context.session.query<{ name: string }>("SELECT current_database() AS name");
        return row?.name ?? "";
    };
    const ran = await runScript(
        context.shell("coordinator"),
        ["copy-schema.sh", host(source), await database(source), host(target), await database(target)],
        {
            files: {
                "before.sql": `${before.join("\n")}\n`,
                "read.sql": `BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;\n${read.join("\n")}\nCOMMIT;\n`,
                "after.sql": `${after.join("\n")}\n`,
            },
        },
    );
    if (ran.code !== 0) throw new Error(`coordinator: copying ${tenant} failed\n  ${ran.stderr.trim().slice(-1500)}`);
};
