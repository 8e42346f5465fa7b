/** Sequences of copied tables go on where those of the old place were, so that no number is given twice. */

import type { Session } from "../../reach/session.ts";
import { identifier } from "../../sql/quote.ts";
import type { Context } from "../group/facet.ts";
import { nameOf, whereOf } from "./checksum.ts";
import type { Slice } from "./shape.ts";
import { ownTables, type TenantLocation } from "./tenantTables.ts";

/** On a worker Citus numbers from its group's id times this on. */
export const SPAN = 2n ** 48n;

/** The last number that each sequence gave, by table and column. */
export type LastNumbers = Readonly<Record<string, string>>;

interface Numbered {
    readonly slice: Slice;
    readonly column: string;
    /** Name of the sequence, as SQL has it. */
    readonly sequence: string;
    /** Whether the column has the numbers themselves, and not a text with them, say. */
    readonly plain: boolean;
}

/** Columns of these slices that a sequence numbers: their own, or one that their default asks. */
async function numbered(session: Session, slices: readonly Slice[]): Promise<Numbered[]> {
    const columns = slices.flatMap((slice) => slice.table.columns.map(({ name }) => ({ slice, column: name })));
    const found = await session.query<{ i: number; sequence: string; plain: boolean }>(
        `SELECT t.i::int AS i, s.sequence::text AS sequence, a.atttypid IN ('int2'::regtype, 'int4'::regtype, 'int8'::regtype) AS plain
           FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS t (name, col, i)
           JOIN pg_attribute a ON a.attrelid = t.name::regclass AND a.attname = t.col,
                LATERAL (SELECT pg_get_serial_sequence(t.name, t.col)::regclass AS sequence
                          UNION SELECT c.oid::regclass FROM pg_attrdef f JOIN pg_depend d ON d.classid = 'pg_attrdef'::regclass AND d.objid = f.oid
                                  JOIN pg_class c ON d.refclassid = 'pg_class'::regclass AND c.oid = d.refobjid AND c.relkind = 'S'
                                 WHERE f.adrelid = a.attrelid AND f.adnum = a.attnum) AS s
          WHERE s.sequence IS NOT NULL ORDER BY t.i, s.sequence`,
        [columns.map(({ slice }) => nameOf(slice.table)), columns.map(({ column }) => column)],
    );
    return found.flatMap(({ i, ...rest }) => {
        const column = columns[i - 1];
        return column ? [{ ...column, ...rest }] : [];
    });
}

/** Where the sequences of some tables are. */
export async function readSequences(session: Session, slices: readonly Slice[]): Promise<LastNumbers> {
    const last: Record<string, string> = {};
    for (const { slice, column, sequence } of await numbered(session, slices)) {
        const [row] = await session.query<{ last: string | null }>(
            "SELECT pg_sequence_last_value($1::regclass)::text AS last",
            [sequence],
        );
        if (row?.last) last[`${slice.name}.${column}`] = row.last;
    }
    return last;
}

/** Name of a sequence within a tenant's place, as tables have theirs. */
const looseOf = ({ group, tenant }: TenantLocation) => `
SELECT CASE WHEN ${group.model === "schema" ? "true" : "n.nspname = 'public'"} THEN c.relname ELSE n.nspname || '.' || c.relname END AS name,
       c.oid::regclass::text AS sequence, pg_sequence_last_value(c.oid)::text AS last
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind = 'S' AND (${ownTables(group, tenant)})`;

/** Sequences of a tenant's own by their names, also those that no column has: an application asks them itself. */
export async function carryLoose(source: TenantLocation, target: TenantLocation): Promise<void> {
    interface Loose {
        readonly name: string;
        readonly sequence: string;
        readonly last: string | null;
    }
    const given = new Map((await source.session.query<Loose>(looseOf(source))).map(({ name, last }) => [name, last]));
    for (const { name, sequence } of await target.session.query<Loose>(looseOf(target)))
        await advance(target.session, sequence, BigInt(given.get(name) ?? 0));
}

/** Sets the target's sequences behind every number that is taken or was once given. */
export async function advanceSequences(
    context: Context,
    target: TenantLocation,
    slices: readonly Slice[],
    last: LastNumbers,
): Promise<void> {
    const found = await numbered(target.session, slices);
    const own = target.database !== undefined;
    for (const { slice, column, sequence, plain } of found) {
        const given = BigInt(last[`${slice.name}.${column}`] ?? 0);
        if (!plain) {
            await advance(target.session, sequence, given);
            continue;
        }
        const [row] = await target.session.query<{ most: string | null; low: string | null }>(
            `SELECT max(${identifier(column)})::text AS most,
                    max(${identifier(column)}) FILTER (WHERE ${identifier(column)} < ${own ? 2n ** 63n - 1n : SPAN})::text AS low
               FROM ${nameOf(slice.table)}${whereOf(slice)}`,
        );
        const low = BigInt(row?.low ?? 0);
        await advance(target.session, sequence, given > low ? given : low);
        if (own || BigInt(row?.most ?? 0) < SPAN) continue;
        for (const { name } of context.nodes.filter(({ name }) => name !== "coordinator")) {
            const worker = await context.open(name);
            const [at] = await worker.query<{ id: string }>("SELECT groupid::text AS id FROM pg_dist_local_group");
            const from = BigInt(at?.id ?? 0) * SPAN;
            const [taken] = await target.session.query<{ most: string | null }>(
                `SELECT max(${identifier(column)})::text AS most FROM ${nameOf(slice.table)}
                  WHERE ${identifier(column)} >= ${from} AND ${identifier(column)} < ${from + SPAN}`,
            );
            if (taken?.most) await advance(worker, sequence, BigInt(taken.most));
        }
    }
}

/** A column may have numbers that its sequence never gives; one that begins anew at its end is left where it is. */
export async function advance(session: Session, sequence: string, to: bigint): Promise<void> {
    if (to < 1n) return;
    await session.query(
        `SELECT setval(s.seqrelid, least($2::bigint, s.seqmax)) FROM pg_sequence s
          WHERE s.seqrelid = $1::regclass AND s.seqincrement > 0 AND NOT s.seqcycle
            AND coalesce(pg_sequence_last_value(s.seqrelid), 0) < least($2::bigint, s.seqmax)`,
        [sequence, String(to)],
    );
}
