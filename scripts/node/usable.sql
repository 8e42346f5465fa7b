-- The backups of this node that its present history can be restored from: of this database, made since archiving is on, on
-- the way to where the server is. Wants :info, what pgBackRest says of the stanza. Also sets :timeline and :history.
\ir lineage.sql
SELECT ('x' || left(name, 8))::bit(32)::int AS timeline, coalesce(pg_read_file('pg_wal/' || left(name, 8) || '.history', true), '') AS history
  FROM pg_walfile_name(pg_current_wal_insert_lsn()) name \gset
CREATE TEMP TABLE usable AS
  SELECT b->>'type' AS type, b->>'label' AS label, b->'archive'->>'start' AS segment, d->>'version' || '-' || (d->>'id') AS archive_id,
         extract(epoch FROM now()) - (b->'timestamp'->>'stop')::bigint AS age
    FROM jsonb_array_elements(:'info'::jsonb) s, jsonb_array_elements(s->'backup') b, jsonb_array_elements(s->'db') d
   WHERE d->>'id' = b->'database'->>'id'
     AND (d->>'id')::int = (SELECT max((d->>'id')::int) FROM jsonb_array_elements(s->'db') d)
     AND NOT coalesce((b->>'error')::boolean, false)
     AND (b->'timestamp'->>'start')::numeric >= (SELECT floor(extract(epoch FROM modification)) FROM pg_stat_file('/var/lib/citus/backup/checked'))
     AND pg_temp.on_lineage(b, :timeline, :'history');
