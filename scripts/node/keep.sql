-- How many of the newest full backups of this stanza must stay, so that pgBackRest may expire the rest. From the oldest on
-- one goes when :retention newer ones lie on the way to where the server is; one of a branch that was left by a restore, or of
-- another machine under the same name, when it is older than all that retention means in time. What the newest restore
-- point rests on never goes.
\ir lineage.sql
\set info `cat :'info_file'`
\set nodes `cat :'nodes_file'`
SELECT ('x' || left(name, 8))::bit(32)::int AS timeline, coalesce(pg_read_file('pg_wal/' || left(name, 8) || '.history', true), '') AS history
  FROM pg_walfile_name(pg_current_wal_insert_lsn()) name \gset
WITH fulls AS (
       SELECT b->>'label' AS label, extract(epoch FROM now()) - (b->'timestamp'->>'stop')::bigint AS age,
              (b->'database'->>'id')::int = (SELECT max((d->>'id')::int) FROM jsonb_array_elements(s->'db') d)
                AND pg_temp.on_lineage(b, :timeline, :'history') AS own
         FROM jsonb_array_elements(:'info'::jsonb) s, jsonb_array_elements(s->'backup') b WHERE b->>'type' = 'full'),
     ranked AS (
       SELECT *, count(*) FILTER (WHERE own) OVER (ORDER BY label DESC ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS newer_own
         FROM fulls),
     judged AS (
       SELECT label,
              newer_own >= :retention AND (own OR age > :retention * CASE WHEN :full > 0 THEN :full ELSE 604800 END)
              -- a differential or incremental backup carries its full one's label
              AND label NOT IN (SELECT split_part(n->>'label', '_', 1) FROM jsonb_array_elements(nullif(:'nodes', '')::jsonb) n
                                 WHERE n->>'stanza' = :'stanza') AS may_go
         FROM ranked)
SELECT count(*) FROM judged WHERE label >= coalesce((SELECT min(label) FROM judged WHERE NOT may_go), '');
