/**
 * Identity columns go on numbering where they were. Citus makes a local table's identity sequence anew when it takes the table
 * into its metadata, which it also does by itself when the table's foreign key leads to a reference table: without this the
 * next rows would get the first numbers a second time.
 */

import type { Session } from "../../reach/session.ts";
import { identifier, qualified } from "../../sql/quote.ts";
import { inTransaction } from "../data/checksum.ts";
import { advance, SPAN } from "../data/sequences.ts";
import type { Context } from "../group/facet.ts";

interface Numbered {
    readonly table: string;
    readonly column: string;
    readonly last: string;
}

/** Identity columns of tables that no node but the coordinator has rows of, with the last number that each gave. */
const LOCAL_IDENTITIES = `
SELECT c.oid::regclass::text AS table, a.attname AS column, pg_sequence_last_value(q.seqrelid)::text AS last
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_attribute a ON a.attrelid = c.oid
  JOIN pg_depend d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = c.oid AND d.refobjsubid = a.attnum AND d.classid = 'pg_class'::regclass AND d.deptype = 'i'
  JOIN pg_sequence q ON q.seqrelid = d.objid
 WHERE c.relkind IN ('r', 'p') AND a.attidentity <> '' AND NOT a.attisdropped AND c.relpersistence <> 't' AND n.nspname !~ '^pg_'
   AND NOT EXISTS (SELECT FROM pg_dist_partition p WHERE p.logicalrelid = c.oid AND (p.partmethod <> 'n' OR p.colocationid <> 0))
   AND NOT relation_is_a_known_shard(c.oid) AND pg_sequence_last_value(q.seqrelid) IS NOT NULL`;

/** Does something that may take local tables into Citus' metadata, in the transaction that is open. */
export async function keepNumbers<T>(session: Session, work: () => Promise<T>): Promise<T> {
    const before = await session.query<Numbered>(LOCAL_IDENTITIES);
    const result = await work();
    for (const { table, column, last } of before)
        await session.query(
            `SELECT setval(s.seqrelid, $3::bigint) FROM pg_sequence s
              WHERE s.seqrelid = pg_get_serial_sequence($1, $2)::regclass
                AND CASE WHEN s.seqincrement > 0 THEN coalesce(pg_sequence_last_value(s.seqrelid), s.seqmin - 1) < $3::bigint
                         ELSE coalesce(pg_sequence_last_value(s.seqrelid), s.seqmax) > $3::bigint END`,
            [table, column, last],
        );
    return result;
}

/** Takes a plain local table into Citus' metadata, as Citus would when it is distributed while it is served. */
export async function intoMetadata(session: Session, table: string): Promise<void> {
    const [plain] = await session.query<{ ok: boolean }>(
        `SELECT NOT EXISTS (SELECT FROM pg_dist_partition WHERE logicalrelid = $1::regclass)
            AND EXISTS (SELECT FROM pg_attribute WHERE attrelid = $1::regclass AND attidentity <> '' AND NOT attisdropped) AS ok`,
        [qualified(table)],
    );
    if (!plain?.ok) return;
    await inTransaction(session, () =>
        keepNumbers(session, async () => {
            await session.query("SET LOCAL client_min_messages = error");
            await session.query("SELECT citus_add_local_table_to_metadata($1::regclass, true)", [qualified(table)]);
        }),
    );
}

/**
 * Numbers of a table that was local for a while: workers gave some of them before, and begin anew. To be called once it is
 * distributed.
 */
export async function pastWorkers(context: Context, table: string): Promise<void> {
    const { session, nodes, open } = context;
    const columns = await session.query<{ column: string; sequence: string }>(
        `SELECT a.attname AS column, q.seqrelid::regclass::text AS sequence
           FROM pg_attribute a JOIN pg_depend d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = a.attrelid AND d.refobjsubid = a.attnum
            AND d.classid = 'pg_class'::regclass AND d.deptype IN ('a', 'i') JOIN pg_sequence q ON q.seqrelid = d.objid
          WHERE a.attrelid = $1::regclass AND a.atttypid = 'int8'::regtype AND NOT a.attisdropped AND q.seqincrement > 0`,
        [qualified(table)],
    );
    for (const { column, sequence } of columns) {
        const most = async (from: bigint, to: bigint) => {
            const [row] = await session.query<{ most: string | null }>(
                `SELECT max(${identifier(column)})::text AS most FROM ${qualified(table)}
                  WHERE ${identifier(column)} >= ${from} AND ${identifier(column)} < ${to}`,
            );
            return row?.most ?? null;
        };
        if ((await most(SPAN, 2n ** 63n - 1n)) === null) continue;
        for (const { name } of nodes) {
            if (name === "coordinator") continue;
            const worker = await open(name);
            const [at] = await worker.query<{ id: string }>("SELECT groupid::text AS id FROM pg_dist_local_group");
            const from = BigInt(at?.id ?? 0) * SPAN;
            const taken = await most(from, from + SPAN);
            if (taken !== null) await advance(worker, sequence, BigInt(taken));
        }
    }
}
