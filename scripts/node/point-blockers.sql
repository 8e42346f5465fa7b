-- Who keeps a restore point from having Citus' locks, on which node: whoever changed its catalogs in a transaction that is
-- still open. A line each.
SET citus.node_connection_timeout = '5s';
SET statement_timeout = '10s';
SELECT split_part(n.nodename, '.', 1) || ': ' || h
  FROM run_command_on_all_nodes($remote$
         SELECT coalesce(jsonb_agg(DISTINCT concat_ws(', ', coalesce('pid ' || l.pid, 'a prepared transaction'), 'role ' || a.usename, 'application ' || nullif(a.application_name, ''),
                    'since ' || to_char(a.xact_start AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'), 'holds ' || l.mode || ' on ' || l.relation::regclass)), '[]')
           FROM pg_catalog.pg_locks l LEFT JOIN pg_catalog.pg_stat_activity a USING (pid)
          WHERE l.granted AND l.pid IS DISTINCT FROM pg_catalog.pg_backend_pid()
            AND l.relation IN ('pg_dist_node'::regclass, 'pg_dist_partition'::regclass, 'pg_dist_transaction'::regclass)
            AND l.mode NOT IN ('AccessShareLock', 'RowShareLock')
       $remote$) r JOIN pg_dist_node n USING (nodeid), jsonb_array_elements_text(CASE WHEN r.success THEN r.result::jsonb ELSE '[]' END) h;
