/** Sequences of copied tables go on where those of the old place were, so that no number is given twice. */
import type { Context } from "../../tenants/facet.ts";
import type { Slice } from "../../tenants/shape.ts";
import { identifier } from "../quote.ts";
import type { Session } from "../session.ts";
import { nameOf, whereOf } from "./checksum.ts";
import type { Place } from "./place.ts";

/** On a worker Citus numbers from its group's id times this on. */
const SPAN = 2n ** 48n;

/** The last number that each sequence gave, by table and column. */
export type LastNumbers = Readonly<Record<string, string>>;

interface Numbered {
    readonly slice: Slice;
    readonly column: string;
}

/** Columns of these slices that a sequence of their own numbers. */
async function numbered(session: Session, slices: readonly Slice[]): Promise<Numbered[]> {
    const columns = slices.flatMap((slice) => slice.table.columns.map(({ name }) => ({ slice, column: name })));
    const found = await session.query<{ i: number }>(
        `SELECT t.i::int AS i FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS t (name, col, i)
          WHERE pg_get_serial_sequence(t.name, t.col) IS NOT NULL ORDER BY t.i`,
        [columns.map(({ slice }) => nameOf(slice.table)), columns.map(({ column }) => column)],
    );
    return found.flatMap(({ i }) => columns[i - 1] ?? []);
}

/** Where the sequences of some tables are. */
export async function readSequences(session: Session, slices: readonly Slice[]): Promise<LastNumbers> {
    const last: Record<string, string> = {};
    for (const { slice, column } of await numbered(session, slices)) {
        const [row] = await session.query<{ last: string | null }>(
            "SELECT pg_sequence_last_value(pg_get_serial_sequence($1, $2)::regclass)::text AS last",
            [nameOf(slice.table), column],
        );
        if (row?.last) last[`${slice.name}.${column}`] = row.last;
    }
    return last;
}

/** Sets the target's sequences behind every number that is taken or was once given. */
export async function advanceSequences(
    context: Context,
    target: Place,
    slices: readonly Slice[],
    last: LastNumbers,
): Promise<void> {
    const found = await numbered(target.session, slices);
    const plain = target.database !== undefined;
    for (const { slice, column } of found) {
        const [row] = await target.session.query<{ most: string | null; low: string | null }>(
            `SELECT max(${identifier(column)})::text AS most,
                    max(${identifier(column)}) FILTER (WHERE ${identifier(column)} < ${plain ? 2n ** 63n - 1n : SPAN})::text AS low
               FROM ${nameOf(slice.table)}${whereOf(slice)}`,
        );
        const given = BigInt(last[`${slice.name}.${column}`] ?? 0);
        const low = BigInt(row?.low ?? 0);
        await advance(target.session, slice, column, given > low ? given : low);
        if (plain || BigInt(row?.most ?? 0) < SPAN) continue;
        for (const { name } of context.nodes.filter(({ name }) => name !== "coordinator")) {
            const worker = await context.open(name);
            const [at] = await worker.query<{ id: string }>("SELECT groupid::text AS id FROM pg_dist_local_group");
            const from = BigInt(at?.id ?? 0) * SPAN;
            const [taken] = await target.session.query<{ most: string | null }>(
                `SELECT max(${identifier(column)})::text AS most FROM ${nameOf(slice.table)}
                  WHERE ${identifier(column)} >= ${from} AND ${identifier(column)} < ${from + SPAN}`,
            );
            if (taken?.most) await advance(worker, slice, column, BigInt(taken.most));
        }
    }
}

async function advance(session: Session, slice: Slice, column: string, to: bigint): Promise<void> {
    if (to < 1n) return;
    await session.query(
        `SELECT setval(s.seq, $3::bigint) FROM (SELECT pg_get_serial_sequence($1, $2)::regclass AS seq) AS s
          WHERE coalesce(pg_sequence_last_value(s.seq), 0) < $3::bigint`,
        [nameOf(slice.table), column, String(to)],
    );
}
