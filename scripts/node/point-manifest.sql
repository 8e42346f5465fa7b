-- The point with, for each node, the backup it is restored from: the newest that ended before the point and was made since
-- archiving is on. Fails, naming the
-- node, when there is none.
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
    without text;
BEGIN
    SELECT string_agg(node, ', ' ORDER BY groupid) INTO without FROM chosen WHERE backup IS NULL;
    IF without IS NOT NULL THEN
        RAISE EXCEPTION '% has no backup that is older than it', without;
    END IF;
END $$;
SELECT (:'point'::jsonb || jsonb_build_object('nodes', (SELECT jsonb_agg((facts - 'archiveSince') || backup ORDER BY groupid) FROM chosen)))::text;
