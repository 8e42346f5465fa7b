-- What the Citus catalogs say about shape, and what pg_dump says of the database itself only together with CREATE
-- DATABASE, as one JSON object. Names are qualified and quoted, and no oid, colocation id or shard id tells two things apart
-- in the result other than by saying which belong together.
SET search_path = '';
SET citus.override_table_visibility = on;
WITH
-- partitions go with their parent
citus_table AS (
    SELECT t.*, c.oid::regclass::text AS name, c.relname, c.relnamespace
      FROM pg_catalog.pg_dist_partition t JOIN pg_catalog.pg_class c ON c.oid = t.logicalrelid
     WHERE NOT c.relispartition
),
-- tables of a distributed schema go with it
own_table AS (
    SELECT * FROM citus_table WHERE relnamespace NOT IN (SELECT schemaid FROM pg_catalog.pg_dist_schema)
),
role_setting AS (
    SELECT s.setrole, pg_catalog.quote_ident(r.rolname) AS role, r.rolname, line.text, line.n
      FROM pg_catalog.pg_db_role_setting s LEFT JOIN pg_catalog.pg_roles r ON r.oid = s.setrole,
           unnest(s.setconfig) WITH ORDINALITY AS line (text, n)
     WHERE s.setdatabase = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())
       -- what every cluster's superuser is exempt from is made with the cluster
       AND NOT (s.setrole = 10 AND line.text IN ('statement_timeout=0', 'transaction_timeout=0', 'lock_timeout=0',
                'idle_in_transaction_session_timeout=0', 'idle_session_timeout=0', 'default_transaction_read_only=off'))
),
privilege AS (
    SELECT CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE pg_catalog.quote_ident(g.rolname) END AS role,
           a.privilege_type, bool_or(a.is_grantable) AS grantable
      FROM pg_catalog.pg_database d, pg_catalog.aclexplode(d.datacl) a LEFT JOIN pg_catalog.pg_roles g ON g.oid = a.grantee
     WHERE d.datname = pg_catalog.current_database()
     GROUP BY 1, 2
)
SELECT pg_catalog.json_build_object(
    'postgres', pg_catalog.current_setting('server_version_num')::int / 10000,
    'citus', (SELECT extversion FROM pg_catalog.pg_extension WHERE extname = 'citus'),
    'groups', (
        SELECT coalesce(json_agg(json_build_object(
                   'id', g.colocationid, 'shards', g.shardcount, 'replicas', g.replicationfactor,
                   'type', g.distributioncolumntype, 'collation', g.distributioncolumncollation)), '[]')
          FROM pg_catalog.pg_dist_colocation g),
    'tables', (
        SELECT coalesce(json_agg(json_build_object(
                   'name', name, 'schema', (SELECT nspname FROM pg_catalog.pg_namespace n WHERE n.oid = relnamespace), 'bare', relname,
                   'method', partmethod, 'model', repmodel, 'group', colocationid,
                   'column', CASE WHEN partkey IS NOT NULL THEN pg_catalog.column_to_column_name(logicalrelid, partkey) END,
                   -- Citus takes these in by itself when their foreign keys are made, and out when those are dropped
                   'byForeignKey', autoconverted AND EXISTS (
                       SELECT FROM pg_catalog.pg_constraint f WHERE f.contype = 'f' AND logicalrelid IN (f.conrelid, f.confrelid))
               )), '[]')
          FROM own_table),
    'schemas', (
        SELECT coalesce(json_agg(json_build_object('name', schemaid::regnamespace::text, 'group', colocationid)), '[]')
          FROM pg_catalog.pg_dist_schema),
    'functions', (
        SELECT coalesce(json_agg(json_build_object(
                   'name', o.objid::regprocedure::text, 'argument', o.distribution_argument_index,
                   'group', o.colocationid, 'force', coalesce(o.force_delegation, false))), '[]')
          FROM pg_catalog.pg_dist_object o
         WHERE o.classid = 'pg_catalog.pg_proc'::regclass
           AND NOT EXISTS (
               SELECT FROM pg_catalog.pg_depend e WHERE e.classid = o.classid AND e.objid = o.objid AND e.deptype = 'e')
           AND (o.distribution_argument_index IS NOT NULL OR o.colocationid IS NOT NULL OR o.force_delegation
                -- made before the table is distributed, so Citus can't take it along
                OR EXISTS (
                    SELECT FROM pg_catalog.pg_depend d
                      LEFT JOIN pg_catalog.pg_type t ON d.refclassid = 'pg_catalog.pg_type'::regclass AND t.oid = d.refobjid
                      LEFT JOIN pg_catalog.pg_type e ON e.oid = t.typelem
                      JOIN pg_catalog.pg_class c ON c.oid IN (
                           CASE d.refclassid WHEN 'pg_catalog.pg_class'::regclass THEN d.refobjid END, t.typrelid, e.typrelid)
                     WHERE d.classid = o.classid AND d.objid = o.objid AND c.relkind <> 'c'))),
    'views', (
        SELECT coalesce(json_agg(json_build_object(
                   'name', oid::regclass::text, 'bare', relname, 'owner', pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(relowner)),
                   'schema', (SELECT nspname FROM pg_catalog.pg_namespace n WHERE n.oid = relnamespace))), '[]')
          FROM pg_catalog.pg_class WHERE relkind = 'v' AND oid >= 16384),
    -- Citus makes triggers on such tables only where it is told that they are safe
    'triggers', EXISTS (
        SELECT FROM pg_catalog.pg_trigger t JOIN pg_catalog.pg_dist_partition p ON p.logicalrelid = t.tgrelid
         WHERE NOT t.tgisinternal AND NOT (p.partmethod = 'n' AND p.repmodel = 's' AND p.colocationid = 0)),
    'database', (
        SELECT json_build_object(
                   'name', datname,
                   'owner', pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(datdba)),
                   'comment', pg_catalog.shobj_description(oid, 'pg_database'),
                   'connections', datconnlimit,
                   'granted', datacl IS NOT NULL)
          FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()),
    'privileges', (
        SELECT coalesce(json_agg(json_build_object('role', role, 'privilege', privilege_type, 'grantable', grantable)), '[]')
          FROM privilege),
    'settings', (
        SELECT coalesce(json_agg(json_build_object(
                   'role', role, 'name', split_part(text, '=', 1), 'value', substr(text, strpos(text, '=') + 1), 'n', n)), '[]')
          FROM role_setting WHERE setrole = 0 OR rolname IS NOT NULL)
);
