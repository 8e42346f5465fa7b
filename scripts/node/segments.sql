-- Segments as numbers, and from where to where WAL is needed. Wants the table of usable.sql.
CREATE FUNCTION pg_temp.number(segment text) RETURNS bigint IMMUTABLE LANGUAGE sql AS $$
    SELECT ('x' || substr(segment, 9, 8))::bit(32)::bigint * 256 + ('x' || substr(segment, 17, 8))::bit(32)::bigint
$$;
-- The backup that a point rests on may be gone; then only the newest one counts.
CREATE FUNCTION pg_temp.chain(point_label text, point_last text, OUT archive_id text, OUT first text, OUT last text) LANGUAGE sql AS $$
    WITH newest AS (SELECT * FROM usable ORDER BY age LIMIT 1),
         starts AS (SELECT segment FROM newest UNION ALL SELECT segment FROM usable WHERE label = point_label),
         ends AS (SELECT nullif(point_last, '') AS segment UNION ALL
                  SELECT last_archived_wal FROM pg_stat_archiver WHERE last_archived_wal ~ '^[0-9A-F]{24}$')
    SELECT (SELECT n.archive_id FROM newest n), (SELECT segment FROM starts ORDER BY pg_temp.number(segment) LIMIT 1),
           (SELECT segment FROM ends WHERE segment IS NOT NULL ORDER BY pg_temp.number(segment) DESC LIMIT 1)
$$;
