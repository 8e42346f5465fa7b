-- Which backup the schedule asks for: full, diff, incr or nothing. Intervals in seconds, 0 is never; window as HH:MM-HH:MM in UTC.
\ir lineage.sql
\set info `cat :'info_file'`
SELECT ('x' || left(name, 8))::bit(32)::int AS timeline, coalesce(pg_read_file('pg_wal/' || left(name, 8) || '.history', true), '') AS history
  FROM pg_walfile_name(pg_current_wal_insert_lsn()) name \gset
WITH stanza AS (SELECT s FROM jsonb_array_elements(:'info'::jsonb) s),
     backup AS (
       SELECT b->>'type' AS type, extract(epoch FROM now()) - (b->'timestamp'->>'stop')::bigint AS age
         FROM stanza, jsonb_array_elements(s->'backup') b
        -- backups of a database that was here before do not count, nor those from before archiving was off for a while
        WHERE (b->'database'->>'id')::int = (SELECT max((d->>'id')::int) FROM jsonb_array_elements(s->'db') d)
          AND NOT coalesce((b->>'error')::boolean, false)
          AND (b->'timestamp'->>'start')::numeric >= (SELECT floor(extract(epoch FROM modification)) FROM pg_stat_file('/var/lib/citus/backup/checked'))
          AND pg_temp.on_lineage(b, :timeline, :'history')),
     age AS (
       SELECT min(age) FILTER (WHERE type = 'full') AS "full", min(age) FILTER (WHERE type IN ('full', 'diff')) AS diff,
              min(age) AS incr FROM backup),
     hours AS (SELECT split_part(:'window', '-', 1) AS "from", split_part(:'window', '-', 2) AS "to", to_char(now() AT TIME ZONE 'UTC', 'HH24:MI') AS at)
SELECT CASE
         -- without a full backup nothing can be restored, so the first one does not wait
         WHEN age."full" IS NULL THEN 'full'
         WHEN :'window' <> '' AND NOT CASE WHEN "from" <= "to" THEN at >= "from" AND at < "to" ELSE at >= "from" OR at < "to" END THEN 'nothing'
         WHEN :full > 0 AND age."full" >= :full THEN 'full'
         WHEN :diff > 0 AND age.diff >= :diff THEN 'diff'
         WHEN :incr > 0 AND age.incr >= :incr THEN 'incr'
         ELSE 'nothing'
       END
  FROM age, hours;
