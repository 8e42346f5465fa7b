/** Ids that workers give out by themselves. */
import type { Session } from "../reach/session.ts";

/** A bigint column of a Citus table that takes its values from a sequence. */
interface Numbered {
    readonly table: string;
    readonly column: string;
    readonly sequence: string;
}

async function readNumbered(coordinator: Session): Promise<Numbered[]> {
    return coordinator.query<Numbered>(
        `SELECT format('%I.%I', n.nspname, c.relname) AS table, quote_ident(a.attname) AS column, format('%I.%I', qn.nspname, q.relname) AS sequence
           FROM pg_dist_partition t
           JOIN pg_class c ON c.oid = t.logicalrelid AND NOT c.relispartition JOIN pg_namespace n ON n.oid = c.relnamespace
           JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.atttypid = 'bigint'::regtype
           JOIN LATERAL (
             SELECT d.objid AS oid FROM pg_depend d
              WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass
                AND d.refobjid = c.oid AND d.refobjsubid = a.attnum AND d.deptype IN ('a', 'i')
             UNION
             SELECT d.refobjid FROM pg_attrdef f JOIN pg_depend d ON d.classid = 'pg_attrdef'::regclass AND d.objid = f.oid
              WHERE f.adrelid = c.oid AND f.adnum = a.attnum AND d.refclassid = 'pg_class'::regclass) s ON true
           JOIN pg_class q ON q.oid = s.oid AND q.relkind = 'S' JOIN pg_namespace qn ON qn.oid = q.relnamespace
          ORDER BY 1, 2`,
    );
}

/** First and last id of a group's range, as SQL: Citus gives each group 2^48 ids. */
const RANGE = "($1::bigint << 48) + 1 AND ($1::bigint + 1) << 48";

/**
 * Has Citus send a worker the metadata again, and then sets the worker's sequences past every id of its range that is in
 * use. Citus makes identity columns anew and begins their range again, so the same ids would come twice (citus#6808).
 * @param groupId of the worker
 * @param activate sends the metadata
 * @throws DatabaseError of a question before `activate`; nothing was changed then
 */
export async function keepIdsApart(
    coordinator: Session,
    target: Session,
    groupId: number,
    activate: () => Promise<unknown>,
): Promise<void> {
    const used = new Map<string, bigint>();
    const use = (sequence: string, id: string | null | undefined) => {
        const value = BigInt(id ?? 0);
        if (value > (used.get(sequence) ?? 0n)) used.set(sequence, value);
    };
    const numbered = await readNumbered(coordinator);
    for (const { table, column, sequence } of numbered) {
        const [row] = await coordinator.query<{ id: string | null }>(
            `SELECT max(${column})::text AS id FROM ${table} WHERE ${column} BETWEEN ${RANGE}`,
            [groupId],
        );
        use(sequence, row?.id);
    }
    // given out and deleted again, or not committed yet
    const given = await target.query<{ sequence: string; id: string | null }>(
        "SELECT name AS sequence, pg_sequence_last_value(to_regclass(name))::text AS id FROM unnest($1::text[]) name WHERE to_regclass(name) IS NOT NULL",
        [[...new Set(numbered.map(({ sequence }) => sequence))]],
    );
    for (const { sequence, id } of given) use(sequence, id);
    await activate();
    const last = [...used].map(([sequence, id]) => ({ sequence, id: String(id) }));
    await target.query(
        `SELECT setval(s.seqrelid, u.id)
           FROM jsonb_to_recordset($1::jsonb) u(sequence text, id bigint)
           JOIN pg_sequence s ON s.seqrelid = to_regclass(u.sequence)
          WHERE u.id BETWEEN s.seqmin AND s.seqmax AND u.id > coalesce(pg_sequence_last_value(s.seqrelid), 0)`,
        [JSON.stringify(last)],
    );
}
