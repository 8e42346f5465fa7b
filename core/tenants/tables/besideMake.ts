/** The statements that make a table like one that is there, with the same names in another schema. */

import type { Session } from "../../reach/session.ts";
import { literal, qualified } from "../../sql/quote.ts";

/** Schema in which tables are made anew. Only superusers have rights on it. */
export const NEW = "citus_as_code_new";

/** Schema in which those that were replaced are until they are dropped. */
export const OLD = "citus_as_code_old";

const ACL = (acl: string, what: string, columns = "''") => `
    SELECT format('GRANT %s%s ON ${what} TO %s%s', a.privilege_type, ${columns}, :target,
                  CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END,
                  CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END)
      FROM aclexplode(${acl}) a`;

/** One row a statement, in order; $1 is the table that is there. Nothing in it depends on rows. */
const STATEMENTS = `
WITH r AS (SELECT c.*, c.oid AS id, format('%I.%I', '${NEW}', c.relname) AS new, c.oid::regclass::text AS old,
                  format('%I.%I', n.nspname, c.relname) AS full_name
             FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = $1::regclass),
     col AS (SELECT a.* FROM pg_attribute a, r WHERE a.attrelid = r.id AND a.attnum > 0 AND NOT a.attisdropped),
     seq AS (SELECT q.*, s.relname, s.relacl, d.deptype, a.attname, format('%I.%I', '${NEW}', s.relname) AS new_seq
               FROM r JOIN pg_depend d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = r.id AND d.classid = 'pg_class'::regclass AND d.deptype IN ('a', 'i')
               JOIN pg_sequence q ON q.seqrelid = d.objid JOIN pg_class s ON s.oid = d.objid
               JOIN pg_attribute a ON a.attrelid = r.id AND a.attnum = d.refobjsubid)
SELECT sql FROM (
    SELECT 10 AS i, '' AS name, format('CREATE TABLE %s (LIKE %s INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING GENERATED INCLUDING IDENTITY INCLUDING STORAGE INCLUDING COMPRESSION INCLUDING COMMENTS)', new, full_name) AS sql FROM r
    UNION ALL
    SELECT 11, relname, format('CREATE SEQUENCE %s AS %s INCREMENT %s MINVALUE %s MAXVALUE %s START %s CACHE %s %s', new_seq, format_type(seqtypid, NULL),
           seqincrement, seqmin, seqmax, seqstart, seqcache, CASE WHEN seqcycle THEN 'CYCLE' ELSE 'NO CYCLE' END) FROM seq WHERE deptype = 'a'
    UNION ALL
    SELECT 12, seq.relname, format('ALTER TABLE %s ALTER COLUMN %I SET DEFAULT nextval(%L::regclass)', r.new, seq.attname, seq.new_seq) FROM seq, r WHERE deptype = 'a'
    UNION ALL
    SELECT 13, seq.relname, format('ALTER SEQUENCE %s OWNED BY %s.%I', seq.new_seq, r.new, seq.attname) FROM seq, r WHERE deptype = 'a'
    UNION ALL
    SELECT 20, k.conname, format('ALTER TABLE %s ADD CONSTRAINT %I %s', r.new, k.conname, pg_get_constraintdef(k.oid))
      FROM r JOIN pg_constraint k ON k.conrelid = r.id WHERE k.contype IN ('p', 'u', 'x')
    UNION ALL
    SELECT 21, x.relname, replace(pg_get_indexdef(i.indexrelid), format(' ON %s USING ', r.full_name), format(' ON %s USING ', r.new))
      FROM r JOIN pg_index i ON i.indrelid = r.id JOIN pg_class x ON x.oid = i.indexrelid
     WHERE i.indisvalid AND NOT EXISTS (SELECT FROM pg_constraint k WHERE k.conindid = i.indexrelid AND k.conrelid = r.id AND k.contype IN ('p', 'u', 'x'))
    UNION ALL
    SELECT 22, '', format('ALTER TABLE %s REPLICA IDENTITY %s', r.new, CASE r.relreplident WHEN 'f' THEN 'FULL' WHEN 'n' THEN 'NOTHING' ELSE
           'USING INDEX ' || (SELECT quote_ident(x.relname) FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid WHERE i.indrelid = r.id AND i.indisreplident) END)
      FROM r WHERE r.relreplident <> 'd'
    UNION ALL
    SELECT 23, o.option_name, format('ALTER TABLE %s SET (%s = %L)', r.new, o.option_name, o.option_value)
      FROM r, pg_options_to_table(r.reloptions) o
    UNION ALL
    SELECT 23, 'toast.' || o.option_name, format('ALTER TABLE %s SET (toast.%s = %L)', r.new, o.option_name, o.option_value)
      FROM r JOIN pg_class t ON t.oid = r.reltoastrelid, pg_options_to_table(t.reloptions) o
    UNION ALL
    SELECT 24, col.attname, format('ALTER TABLE %s ALTER COLUMN %I SET STATISTICS %s', r.new, col.attname, col.attstattarget) FROM r, col WHERE col.attstattarget >= 0
    UNION ALL
    SELECT 25, col.attname || o.option_name, format('ALTER TABLE %s ALTER COLUMN %I SET (%s = %L)', r.new, col.attname, o.option_name, o.option_value)
      FROM r, col, pg_options_to_table(col.attoptions) o WHERE o.option_name IN ('n_distinct', 'n_distinct_inherited')
    UNION ALL
    SELECT 30, '', format('ALTER TABLE %s OWNER TO %I', r.new, pg_get_userbyid(r.relowner)) FROM r
    UNION ALL
    SELECT 40, sql, sql FROM r, LATERAL (${ACL("r.relacl", "%s").replace(":target", "r.new")}) g (sql)
    UNION ALL
    SELECT 41, sql, sql FROM r, col, LATERAL (${ACL("col.attacl", "%s", "format(' (%I)', col.attname)").replace(":target", "r.new")}) g (sql)
    UNION ALL
    SELECT 42, sql, sql FROM seq, LATERAL (${ACL("seq.relacl", "SEQUENCE %s").replace(":target", "seq.new_seq")}) g (sql)
    UNION ALL
    SELECT 50, p.polname, format('CREATE POLICY %I ON %s FOR %s TO %s%s%s', p.polname, r.new,
           CASE p.polcmd WHEN 'r' THEN 'SELECT' WHEN 'a' THEN 'INSERT' WHEN 'w' THEN 'UPDATE' WHEN 'd' THEN 'DELETE' ELSE 'ALL' END,
           (SELECT string_agg(CASE o WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(o)) END, ', ' ORDER BY o) FROM unnest(p.polroles) o),
           coalesce(' USING (' || pg_get_expr(p.polqual, p.polrelid) || ')', ''), coalesce(' WITH CHECK (' || pg_get_expr(p.polwithcheck, p.polrelid) || ')', ''))
      FROM r JOIN pg_policy p ON p.polrelid = r.id
    UNION ALL
    SELECT 51, '', format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', r.new) FROM r WHERE r.relrowsecurity
    UNION ALL
    SELECT 52, '', format('ALTER TABLE %s FORCE ROW LEVEL SECURITY', r.new) FROM r WHERE r.relforcerowsecurity
    UNION ALL
    SELECT 60, '', format('COMMENT ON TABLE %s IS %L', r.new, obj_description(r.id, 'pg_class')) FROM r WHERE obj_description(r.id, 'pg_class') IS NOT NULL
    UNION ALL
    SELECT 61, x.relname, format('COMMENT ON INDEX %I.%I IS %L', '${NEW}', x.relname, obj_description(x.oid, 'pg_class'))
      FROM r JOIN pg_index i ON i.indrelid = r.id JOIN pg_class x ON x.oid = i.indexrelid WHERE i.indisvalid AND obj_description(x.oid, 'pg_class') IS NOT NULL
    UNION ALL
    SELECT 62, k.conname, format('COMMENT ON CONSTRAINT %I ON %s IS %L', k.conname, r.new, obj_description(k.oid, 'pg_constraint'))
      FROM r JOIN pg_constraint k ON k.conrelid = r.id WHERE k.contype IN ('p', 'u', 'x') AND obj_description(k.oid, 'pg_constraint') IS NOT NULL
    UNION ALL
    SELECT 63, p.polname, format('COMMENT ON POLICY %I ON %s IS %L', p.polname, r.new, obj_description(p.oid, 'pg_policy'))
      FROM r JOIN pg_policy p ON p.polrelid = r.id WHERE obj_description(p.oid, 'pg_policy') IS NOT NULL
) s ORDER BY i, name`;

/** What makes a table like it: also what tells whether it was changed since. */
export async function statementsOf(session: Session, table: string): Promise<string[]> {
    const rows = await session.query<{ sql: string }>(STATEMENTS, [qualified(table)]);
    return rows.map(({ sql }) => sql);
}

/** Where grants begin: what default privileges give to a new table is taken away before. */
const GRANTS = /^GRANT /;

/** Makes the new table, on the coordinator and empty. To be run in a transaction. */
export async function makeEmpty(session: Session, table: string, statements: readonly string[]): Promise<void> {
    const at = statements.findIndex((sql) => GRANTS.test(sql));
    const grants = at < 0 ? statements.length : at;
    for (const sql of statements.slice(0, grants)) await session.query(sql);
    const given = await session.query<{ sql: string }>(
        `SELECT format('REVOKE ALL ON %s%s FROM %s', CASE c.relkind WHEN 'S' THEN 'SEQUENCE ' ELSE '' END, c.oid::regclass,
                CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END) AS sql
           FROM pg_class o JOIN pg_class t ON t.relnamespace = ${literal(NEW)}::regnamespace AND t.relname = o.relname
           JOIN pg_class c ON c.oid = t.oid OR c.oid IN (SELECT d.objid FROM pg_depend d WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid = t.oid
                AND d.classid = 'pg_class'::regclass AND d.deptype IN ('a', 'i')), aclexplode(c.relacl) a
          WHERE o.oid = $1::regclass AND c.relkind IN ('r', 'S') AND a.grantee <> c.relowner GROUP BY 1`,
        [qualified(table)],
    );
    for (const { sql } of given) await session.query(sql);
    for (const sql of statements.slice(grants)) await session.query(sql);
    await nameSequences(session, table);
}

/** PostgreSQL names the sequence of an identity column itself; an application may know it by another name. */
async function nameSequences(session: Session, table: string): Promise<void> {
    const rows = await session.query<{ sql: string }>(
        `SELECT format('ALTER SEQUENCE %s RENAME TO %I', n.oid::regclass, o.relname) AS sql
           FROM pg_attribute a JOIN pg_class t ON t.oid = a.attrelid
           JOIN pg_class o ON o.oid = pg_get_serial_sequence($1, a.attname)::regclass
           JOIN pg_class n ON n.oid = pg_get_serial_sequence(format('%I.%I', ${literal(NEW)}, t.relname), a.attname)::regclass
          WHERE a.attrelid = $1::regclass AND a.attidentity <> '' AND NOT a.attisdropped AND n.relname <> o.relname`,
        [qualified(table)],
    );
    for (const { sql } of rows) await session.query(sql);
}
