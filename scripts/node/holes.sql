-- What is missing of a node's WAL, as JSON; nothing when all is there:
--   label    the newest backup, when WAL is missing since then: no new point could be restored. Else the newest point's
--   segment  the first that is missing; null when the point's backup itself is gone
--   count    how many
--   point    the newest restore point, when it can't be restored
-- Standard input: the names of the segments that are there.
--   point, label, last: of the newest point its name, the backup and the last segment, empty when there is none
\set info `cat :'info_file'`
\ir usable.sql
\ir segments.sql
CREATE TEMP TABLE there (name text);
\copy there FROM pstdin
CREATE INDEX ON there (name);
-- on the way to where the server is, a segment is read from an earlier timeline until the one in which that was left
CREATE TEMP TABLE missing AS
  WITH left_at AS (
         SELECT m[1]::int AS timeline, ('x' || lpad(m[2], 8, '0'))::bit(32)::bigint * 256 + ('x' || lpad(m[3], 8, '0'))::bit(32)::bigint / 16777216 AS at
           FROM regexp_matches(:'history', '^\s*(\d+)\s+([0-9A-F]+)/([0-9A-F]+)', 'gn') h(m)),
       wanted AS (
         SELECT n AS number, named.name
           FROM pg_temp.chain(:'label', :'last') c, generate_series(pg_temp.number(c.first), pg_temp.number(c.last)) n,
                LATERAL (SELECT upper(lpad(to_hex(coalesce((SELECT min(timeline) FROM left_at WHERE n < at), :timeline)), 8, '0')
                                      || lpad(to_hex(n / 256), 8, '0') || lpad(to_hex(n % 256), 8, '0')) AS name) named)
  SELECT * FROM wanted WHERE NOT EXISTS (SELECT 1 FROM there WHERE there.name = wanted.name);
WITH newest AS (SELECT label, pg_temp.number(segment) AS start FROM usable ORDER BY age LIMIT 1),
     since AS (SELECT label, min(name) AS segment, count(*) AS n FROM newest, missing WHERE number >= start GROUP BY 1),
     resting AS (SELECT label, pg_temp.number(segment) AS start FROM usable WHERE label = :'label'),
     of_point AS (SELECT min(name) AS segment, count(*) AS n FROM resting, missing
                   WHERE number BETWEEN start AND pg_temp.number(:'last') HAVING count(*) > 0
                  UNION ALL
                  SELECT NULL, 0 WHERE :'label' <> '' AND NOT EXISTS (
                      SELECT 1 FROM jsonb_array_elements(:'info'::jsonb) s, jsonb_array_elements(s->'backup') b WHERE b->>'label' = :'label'))
SELECT jsonb_build_object('label', coalesce(s.label, :'label'), 'segment', coalesce(s.segment, p.segment), 'count', coalesce(s.n, p.n),
                          'point', CASE WHEN p.found THEN :'point' END)
  FROM (VALUES (1)) one LEFT JOIN since s ON true LEFT JOIN (SELECT segment, n, true AS found FROM of_point LIMIT 1) p ON true
 WHERE s.label IS NOT NULL OR p.found;
