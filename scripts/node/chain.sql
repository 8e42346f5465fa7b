-- Which segments this node's WAL must have in the repository, as a line for segment_folders of points.sh: from the newest
-- backup on, or from the one that the newest restore point rests on, to the newest that was archived. Nothing without either.
--   stanza; label, last: of the newest point the backup and the last segment, empty when there is none
\set info `cat :'info_file'`
\ir usable.sql
\ir segments.sql
SELECT concat_ws(' ', :'stanza' || '/' || c.archive_id, c.first, c.last,
           (SELECT string_agg(m[1], ' ') FROM regexp_matches(:'history', '^\s*(\d+)\s+[0-9A-F]+/', 'gn') h(m)), :timeline)
  FROM pg_temp.chain(:'label', :'last') c WHERE c.first IS NOT NULL AND c.last IS NOT NULL;
