-- Whether a backup lies on the way to where a server is. After a restore to an earlier moment the repository also holds
-- backups of the branch that was left; a server can't be brought from one of those to its own timeline.
--   timeline: the server's; history: its .history file, a line for each earlier timeline with where it was left
CREATE FUNCTION pg_temp.on_lineage(backup jsonb, timeline int, history text) RETURNS boolean LANGUAGE sql AS $$
    SELECT CASE
        WHEN b.timeline = $2 THEN true
        ELSE EXISTS (SELECT 1 FROM regexp_matches(coalesce($3, ''), '^\s*(\d+)\s+([0-9A-F]+/[0-9A-F]+)', 'gn') h(m)
                      WHERE m[1]::int = b.timeline AND (backup->'lsn'->>'stop')::pg_lsn <= m[2]::pg_lsn)
    END
    FROM (SELECT ('x' || left(backup->'archive'->>'stop', 8))::bit(32)::int AS timeline) b
$$;
