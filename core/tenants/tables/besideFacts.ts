/** What a table that Citus has is made of, as far as a new one beside it must have the same: what can't be carried over is named. */

/** @see besideFacts */
export interface BesideFacts {
    /** Columns of the primary key, by which changed rows are found; null without one. */
    readonly key: readonly string[] | null;
    /** Identity columns. Citus itself rewrites no table that has one. */
    readonly identities: readonly string[];
    /** Partitioned, a partition, columnar, of a type, ...: in words. */
    readonly odd: readonly string[];
    /** What depends on the table and would be left with the old one, as PostgreSQL describes it. */
    readonly dependents: readonly string[];
}

export const NO_FACTS: BesideFacts = { key: null, identities: [], odd: [], dependents: [] };

/**
 * SQL expression of type jsonb.
 * @param oid SQL expression for a table that is there
 */
export const besideFacts = (oid: string) => `(SELECT jsonb_build_object(
    'key', (SELECT jsonb_agg(a.attname ORDER BY k.i) FROM pg_index i, unnest(i.indkey::int2[]) WITH ORDINALITY k (attnum, i)
              JOIN pg_attribute a ON a.attnum = k.attnum WHERE i.indrelid = r.oid AND i.indisprimary AND i.indimmediate AND a.attrelid = r.oid),
    'identities', (SELECT coalesce(jsonb_agg(attname ORDER BY attnum), '[]') FROM pg_attribute
                    WHERE attrelid = r.oid AND attidentity <> '' AND NOT attisdropped),
    'odd', to_jsonb(array_remove(ARRAY[
        CASE WHEN r.relkind <> 'r' THEN 'it is partitioned' END,
        CASE WHEN r.relispartition OR EXISTS (SELECT FROM pg_inherits h WHERE h.inhrelid = r.oid) THEN 'it is a part of another table' END,
        CASE WHEN EXISTS (SELECT FROM pg_inherits h WHERE h.inhparent = r.oid) AND r.relkind = 'r' THEN 'other tables inherit from it' END,
        CASE WHEN r.relkind = 'r' AND m.amname <> 'heap' THEN 'its access method is ' || m.amname END,
        CASE WHEN r.relpersistence <> 'p' THEN 'it is UNLOGGED' END,
        CASE WHEN r.reloftype <> 0 THEN 'it is of a type' END,
        CASE WHEN r.reltablespace <> 0 THEN 'it is in a tablespace' END,
        CASE WHEN EXISTS (SELECT FROM pg_seclabel l WHERE l.classoid = 'pg_class'::regclass AND l.objoid = r.oid) THEN 'it has a security label' END,
        CASE WHEN EXISTS (SELECT FROM pg_policy p WHERE p.polrelid = r.oid AND NOT p.polpermissive) THEN 'it has a RESTRICTIVE policy' END,
        CASE WHEN EXISTS (SELECT FROM pg_publication_rel p WHERE p.prrelid = r.oid AND (p.prqual IS NOT NULL OR p.prattrs IS NOT NULL))
             THEN 'a publication has only some of its rows or columns' END,
        (SELECT 'it has triggers (' || string_agg(t.tgname, ', ' ORDER BY t.tgname) || ')' FROM pg_trigger t
          WHERE t.tgrelid = r.oid AND NOT t.tgisinternal AND t.tgname NOT LIKE 'truncate_trigger_%'),
        (SELECT 'it has rules (' || string_agg(w.rulename, ', ' ORDER BY w.rulename) || ')' FROM pg_rewrite w WHERE w.ev_class = r.oid),
        (SELECT 'it has extended statistics (' || string_agg(s.stxname, ', ' ORDER BY s.stxname) || ')' FROM pg_statistic_ext s WHERE s.stxrelid = r.oid),
        (SELECT 'the default of ' || string_agg(DISTINCT a.attname, ', ') || ' is more than the next number of its sequence'
           FROM pg_depend d JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
           LEFT JOIN pg_attrdef f ON f.adrelid = a.attrelid AND f.adnum = a.attnum
          WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid = r.oid AND d.classid = 'pg_class'::regclass AND d.deptype = 'a'
            AND EXISTS (SELECT FROM pg_sequence q WHERE q.seqrelid = d.objid)
            AND pg_get_expr(f.adbin, f.adrelid) IS DISTINCT FROM format('nextval(%L::regclass)', d.objid::regclass::text)),
        (SELECT 'its sequence ' || string_agg(DISTINCT d.objid::regclass::text, ', ') || ' is asked by others too'
           FROM pg_depend d JOIN pg_depend o ON o.refclassid = 'pg_class'::regclass AND o.refobjid = d.objid AND o.deptype = 'n'
          WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid = r.oid AND d.classid = 'pg_class'::regclass AND d.deptype IN ('a', 'i')
            AND EXISTS (SELECT FROM pg_sequence q WHERE q.seqrelid = d.objid)
            AND NOT (o.classid = 'pg_attrdef'::regclass AND EXISTS (SELECT FROM pg_attrdef f WHERE f.oid = o.objid AND f.adrelid = r.oid)))
        ]::text[], NULL)),
    'dependents', (SELECT coalesce(jsonb_agg(DISTINCT pg_describe_object(d.classid, d.objid, 0)), '[]') FROM (
        -- each part by the index of what is depended on: the catalog is long, and this is asked for each table
        SELECT d.classid, d.objid FROM pg_depend d
         WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid = r.oid AND d.deptype IN ('n', 'a') AND
               CASE d.classid WHEN 'pg_class'::regclass THEN (SELECT k.relkind NOT IN ('i', 'I', 'S', 't') FROM pg_class k WHERE k.oid = d.objid)
                              WHEN 'pg_rewrite'::regclass THEN (SELECT v.relkind <> 'v' AND v.oid <> r.oid FROM pg_rewrite w JOIN pg_class v ON v.oid = w.ev_class WHERE w.oid = d.objid)
                              WHEN 'pg_policy'::regclass THEN NOT EXISTS (SELECT FROM pg_policy p WHERE p.oid = d.objid AND p.polrelid = r.oid)
                              ELSE d.classid NOT IN ('pg_constraint'::regclass, 'pg_attrdef'::regclass, 'pg_trigger'::regclass,
                                                     'pg_publication_rel'::regclass, 'pg_statistic_ext'::regclass, 'pg_type'::regclass) END
        UNION ALL SELECT d.classid, d.objid FROM pg_depend d
         WHERE d.refclassid = 'pg_type'::regclass AND d.deptype IN ('n', 'a') AND r.reltype <> 0
           AND d.refobjid = ANY (ARRAY[r.reltype, (SELECT t.typarray FROM pg_type t WHERE t.oid = r.reltype)])) d))
   FROM pg_class r LEFT JOIN pg_am m ON m.oid = r.relam WHERE r.oid = ${oid})`;

/** Why no new table can be made beside it; empty when one can. */
export const inTheWay = ({ odd, dependents }: BesideFacts): string[] => [
    ...odd,
    ...dependents.map((what) => `${what} depends on it`),
];
