-- What is published of a point. For each node the backup that it is restored from is the newest that ended before the point
-- and was made since archiving is on. Fails, naming the node, when there is none, or when WAL is missing since that backup.
--
-- Prints: nodes JSON of what changes seldom; a line "node GROUP STANZA ARCHIVE_ID LABEL FIRST_SEGMENT TIMELINE..." for each;
-- point JSON; a line "point GROUP LAST_SEGMENT" for each node. What begins with "nodes" goes into the list, the rest into the
-- point; shells read the lines. "held" is for status: JSON of the tables that were not held.
SET client_min_messages = error;
\ir lineage.sql
\set info `cat :'info_file'`
\set point `cat :'point_file'`
CREATE TEMP TABLE chosen AS
  SELECT n->>'node' AS node, (n->>'groupId')::int AS groupid, n AS facts,
         (SELECT jsonb_build_object('label', b->>'label', 'archiveId', d->>'version' || '-' || (d->>'id'), 'backupStart', b->'archive'->>'start',
                                    'backupBytes', b->'info'->'size', 'backupTime', to_char(to_timestamp((b->'timestamp'->>'stop')::bigint) AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'))
            FROM jsonb_array_elements(:'info'::jsonb) s, jsonb_array_elements(s->'backup') b, jsonb_array_elements(s->'db') d
           WHERE s->>'name' = n->>'stanza' AND d->>'id' = b->'database'->>'id' AND d->>'system-id' = n->>'systemIdentifier'
             AND NOT coalesce((b->>'error')::boolean, false) AND (b->'lsn'->>'stop')::pg_lsn <= (n->>'lsn')::pg_lsn
             -- archiving was off before: there is a gap in the WAL
             AND (b->'timestamp'->>'start')::numeric >= floor((n->>'archiveSince')::numeric)
             AND pg_temp.on_lineage(b, (n->>'timeline')::int, n->>'history')
           ORDER BY b->'timestamp'->>'stop' DESC LIMIT 1) AS backup
    FROM jsonb_array_elements(:'point'::jsonb->'nodes') n;
DO $$
DECLARE
    why text;
BEGIN
    SELECT string_agg(node, ', ' ORDER BY groupid) INTO why FROM chosen WHERE backup IS NULL;
    IF why IS NOT NULL THEN
        RAISE EXCEPTION '% has no backup that is older than it', why;
    END IF;
    SELECT string_agg(format('%s: WAL segment %s is missing since its backup %s', node, facts->'hole'->>'segment', backup->>'label'), '; ' ORDER BY groupid) INTO why
      FROM chosen WHERE facts->'hole'->>'label' = backup->>'label';
    IF why IS NOT NULL THEN
        RAISE EXCEPTION '% (a new backup of it is made by itself, and points rest on that)', why;
    END IF;
END $$;
CREATE TEMP VIEW listed AS
  SELECT groupid, backup || jsonb_build_object('groupId', groupid) || (
             SELECT jsonb_object_agg(key, value) FROM jsonb_each(facts)
              WHERE key IN ('node', 'host', 'port', 'holdsShards', 'stanza', 'timeline', 'systemIdentifier', 'history', 'postgres', 'citus')) AS listed,
         jsonb_build_object('groupId', groupid) || (
             SELECT jsonb_object_agg(key, value) FROM jsonb_each(facts)
              WHERE key IN ('lsn', 'bytes', 'firstSegment', 'lastSegment', 'time', 'placements')) AS moving
    FROM chosen;
SELECT 'nodes ' || jsonb_agg(listed ORDER BY groupid)::text FROM listed;
SELECT concat_ws(' ', 'nodes', groupid, listed->>'stanza', listed->>'archiveId', listed->>'label', listed->>'backupStart',
           (SELECT string_agg(m[1], ' ') FROM regexp_matches(coalesce(listed->>'history', ''), '^\s*(\d+)\s+[0-9A-F]+/', 'gn') h(m)), listed->>'timeline')
  FROM listed ORDER BY groupid;
SELECT 'point ' || (:'point'::jsonb || jsonb_build_object('nodes', (SELECT jsonb_agg(moving ORDER BY groupid) FROM listed)))::text;
SELECT concat_ws(' ', 'point', groupid, moving->>'lastSegment') FROM listed ORDER BY groupid;
SELECT 'held ' || (:'point'::jsonb->'notHeld')::text;
