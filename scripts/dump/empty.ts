/** Whether a database is as a fresh cluster has it. */
import type { Session } from "../../core/reach/session.ts";

/** Roles that a script makes, as SQL has their names. Pure. */
export const roleNames = (script: string): string[] =>
    [...script.matchAll(/^CREATE ROLE ("(?:[^"]|"")*"|[^\s;"]+);$/gm)].map(([, name]) => name ?? "");

const OBJECTS = `
WITH own AS (SELECT oid FROM pg_catalog.pg_namespace WHERE nspname IN ('pg_catalog', 'information_schema', 'citus_as_code') OR nspname ~ '^pg_(toast|temp)'),
extension AS (SELECT classid, objid FROM pg_catalog.pg_depend WHERE deptype = 'e')
SELECT what FROM (
    SELECT 'schema ' || nspname AS what FROM pg_catalog.pg_namespace n
     WHERE nspname <> 'public' AND oid NOT IN (SELECT oid FROM own)
       AND NOT EXISTS (SELECT FROM extension e WHERE e.classid = 'pg_catalog.pg_namespace'::pg_catalog.regclass AND e.objid = n.oid)
    UNION ALL
    SELECT CASE relkind WHEN 'S' THEN 'sequence ' WHEN 'v' THEN 'view ' WHEN 'm' THEN 'materialized view ' WHEN 'c' THEN 'type ' ELSE 'table ' END || c.oid::pg_catalog.regclass::text
      FROM pg_catalog.pg_class c
     WHERE relkind IN ('r', 'p', 'S', 'v', 'm', 'f', 'c') AND relnamespace NOT IN (SELECT oid FROM own)
       AND NOT EXISTS (SELECT FROM extension e WHERE e.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND e.objid = c.oid)
       -- shards are hidden, and gone with their table
    UNION ALL
    SELECT 'function ' || p.oid::pg_catalog.regprocedure::text FROM pg_catalog.pg_proc p
     WHERE pronamespace NOT IN (SELECT oid FROM own)
       AND NOT EXISTS (SELECT FROM extension e WHERE e.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass AND e.objid = p.oid)
    UNION ALL
    SELECT 'type ' || t.oid::pg_catalog.regtype::text FROM pg_catalog.pg_type t
     WHERE typtype IN ('e', 'd', 'r') AND typnamespace NOT IN (SELECT oid FROM own)
       AND NOT EXISTS (SELECT FROM extension e WHERE e.classid = 'pg_catalog.pg_type'::pg_catalog.regclass AND e.objid = t.oid)
    UNION ALL
    SELECT 'publication ' || pubname FROM pg_catalog.pg_publication
    UNION ALL
    SELECT 'role ' || pg_catalog.quote_ident(rolname) FROM pg_catalog.pg_roles WHERE pg_catalog.quote_ident(rolname) = ANY ($1)
) found ORDER BY 1`;

/** What is in it that a fresh cluster has not, with roles that the file would make; empty for an empty database. */
export async function foundIn(coordinator: Session, roles: readonly string[]): Promise<string[]> {
    const rows = await coordinator.query<{ what: string }>(OBJECTS, [roles]);
    return rows.map(({ what }) => what);
}
