-- Which backup the schedule asks for: full, diff, incr or nothing. Intervals in seconds, 0 is never; window as HH:MM-HH:MM in UTC.
\set info `cat :'info_file'`
\ir usable.sql
WITH age AS (
       SELECT min(age) FILTER (WHERE type = 'full') AS "full", min(age) FILTER (WHERE type IN ('full', 'diff')) AS diff,
              min(age) AS incr FROM usable),
     hours AS (SELECT split_part(:'window', '-', 1) AS "from", split_part(:'window', '-', 2) AS "to", to_char(now() AT TIME ZONE 'UTC', 'HH24:MI') AS at)
SELECT CASE
         -- without a full backup nothing can be restored, so the first one does not wait
         WHEN age."full" IS NULL THEN 'full'
         -- nor does the one that mends a hole in the WAL since the newest: until then no new point can be restored
         WHEN pg_read_file('/var/lib/citus/backup/hole', true)::jsonb->>'label' = (SELECT label FROM usable ORDER BY age LIMIT 1) THEN 'incr'
         WHEN :'window' <> '' AND NOT CASE WHEN "from" <= "to" THEN at >= "from" AND at < "to" ELSE at >= "from" OR at < "to" END THEN 'nothing'
         WHEN :full > 0 AND age."full" >= :full THEN 'full'
         WHEN :diff > 0 AND age.diff >= :diff THEN 'diff'
         WHEN :incr > 0 AND age.incr >= :incr THEN 'incr'
         ELSE 'nothing'
       END
  FROM age, hours;
