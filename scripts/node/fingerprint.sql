-- What a database holds: each table with its count and a checksum that does not depend on the order of rows, each sequence
-- with its place, and large objects. Run with the same settings the same data gives the same lines.
SELECT format('SELECT ''table'', %L, count(*), coalesce(sum(hashtextextended("the row"::text, 0)::numeric), 0) FROM ONLY %I.%I AS "the row"',
              format('%I.%I', n.nspname, c.relname), n.nspname, c.relname)
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relkind = 'r' AND c.relpersistence <> 't' AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname !~ '^pg_(toast|temp)'
   AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
 ORDER BY n.nspname COLLATE "C", c.relname COLLATE "C"
\gexec
SELECT format('SELECT ''sequence'', %L, last_value, is_called FROM %I.%I',
              format('%I.%I', n.nspname, c.relname), n.nspname, c.relname)
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relkind = 'S' AND c.relpersistence <> 't' AND n.nspname !~ '^pg_(toast|temp)'
   AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
 ORDER BY n.nspname COLLATE "C", c.relname COLLATE "C"
\gexec
SELECT 'large objects', '', count(DISTINCT loid), coalesce(sum(hashtextextended(loid || ' ' || pageno || ' ' || encode(data, 'hex'), 0)::numeric), 0)
  FROM pg_largeobject;
