/** SECURITY DEFINER functions get a search_path of their own: in a tenant's file as it runs, and in a tenant's database. */

import { literal } from "../../sql/quote.ts";

/** SQL condition on a function `p`. Names in a body of BEGIN ATOMIC were looked up when it was made. */
export const OPEN = `p.prosecdef AND p.prosqlbody IS NULL AND p.prolang NOT IN (SELECT l.oid FROM pg_language l WHERE l.lanname IN ('c', 'internal'))
    AND NOT EXISTS (SELECT FROM unnest(p.proconfig) s WHERE s ~ '^search_path=(.*, ?)?"?pg_temp"?$')
    AND NOT EXISTS (SELECT FROM pg_depend e WHERE e.classid = 'pg_proc'::regclass AND e.objid = p.oid AND e.deptype = 'e')`;

/** SQL of the ALTER for a function `p` in schema `n`: what it had, else where its file looked, and temporary tables after that. */
export const PIN = `format('ALTER ROUTINE %s SET search_path = %s, pg_temp', p.oid::regprocedure, coalesce(
    (SELECT nullif(regexp_replace(replace(substr(s, 13), '""', 'pg_catalog'), '"?pg_temp"?, ?', '', 'g'), '') FROM unnest(p.proconfig) s WHERE s LIKE 'search_path=%'),
    CASE WHEN n.nspname = 'public' THEN 'public' ELSE format('%I, public', n.nspname) END))`;

/** SQL query (sql) for all of them that meet a condition. @param which SQL condition on a function `p` in schema `n` */
export const pinsOf = (which: string) =>
    `SELECT ${PIN} AS sql FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace WHERE ${which} AND ${OPEN}`;

/** In a tenant's own database: closes all that are there. Safe to repeat, and does nothing where nothing is open. */
export const PIN_DATABASE = `DO ${literal(`DECLARE pin text; BEGIN
    FOR pin IN ${pinsOf("n.nspname !~ '^(pg_.*|information_schema|citus_as_code)$'")} LOOP EXECUTE pin; END LOOP; END`)};`;
