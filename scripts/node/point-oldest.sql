-- The day before which no restore point can be restored: the latest of the nodes' oldest backups, with a day to spare.
\set info `cat :'info_file'`
SELECT to_char(max(oldest) AT TIME ZONE 'UTC' - interval '1 day', 'YYYY-MM-DD')
  FROM (SELECT min(to_timestamp((b->'timestamp'->>'stop')::bigint)) AS oldest
          FROM pg_dist_node n
          JOIN jsonb_array_elements(:'info'::jsonb) s ON s->>'name' = :'cluster' || '-' || split_part(n.nodename, '.', 1),
               jsonb_array_elements(s->'backup') b
         GROUP BY n.groupid) x;
