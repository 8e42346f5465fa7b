-- Names the nodes that have no backup yet, in a line; nothing when all have one. A restore point could not be restored then.
\set info `cat :'info_file'`
SELECT string_agg(node, ', ' ORDER BY groupid)
  FROM (SELECT groupid, split_part(nodename, '.', 1) AS node FROM pg_dist_node WHERE noderole = 'primary' AND isactive) n
 WHERE NOT EXISTS (
       SELECT 1 FROM jsonb_array_elements(:'info'::jsonb) s, jsonb_array_elements(s->'backup') b
        WHERE s->>'name' = :'cluster' || '-' || node
          AND (b->'database'->>'id')::int = (SELECT max((d->>'id')::int) FROM jsonb_array_elements(s->'db') d))
HAVING count(*) > 0;
