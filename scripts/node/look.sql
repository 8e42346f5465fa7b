-- What beats the node's configuration, what keeps WAL or dead rows, and the room that is left. Reads only.
SET statement_timeout = '20s';
SET citus.override_table_visibility = off;
SELECT jsonb_build_object(
    'size', :size::bigint, 'free', :free::bigint,
    'refused', pg_catalog.pg_read_file(:'refused', true),
    'owned', (SELECT coalesce(jsonb_agg(name), '[]') FROM regexp_split_to_table(trim(E'\n' FROM pg_catalog.pg_read_file(:'conf' || '/owned', true)), E'\n') AS name),
    'passwordDiffers', (SELECT rolpassword IS DISTINCT FROM trim(E'\n' FROM pg_catalog.pg_read_file(:'conf' || '/verifier')) FROM pg_catalog.pg_authid WHERE rolname = 'postgres'),
    -- by ALTER SYSTEM; the node's own file may say something else, or nothing
    'altered', (SELECT coalesce(jsonb_agg(jsonb_build_object('name', a.name, 'value', a.setting, 'configured', (
            SELECT f.setting FROM pg_catalog.pg_file_settings f WHERE lower(f.name) = lower(a.name) AND f.sourcefile NOT LIKE '%/postgresql.auto.conf' ORDER BY f.seqno DESC LIMIT 1)) ORDER BY a.name), '[]')
        FROM pg_catalog.pg_file_settings a WHERE a.sourcefile LIKE '%/postgresql.auto.conf'),
    'repairs', (SELECT coalesce(jsonb_agg(name ORDER BY name), '[]') FROM pg_catalog.pg_settings
        WHERE name IN ('citus.recover_2pc_interval', 'citus.defer_shard_delete_interval', 'citus.background_task_queue_interval', 'citus.distributed_deadlock_detection_factor')
          AND setting::numeric < 0),
    -- of a database, a role, or both
    'scoped', (SELECT coalesce(jsonb_agg(jsonb_build_object('database', d.datname, 'role', r.rolname, 'name', split_part(c, '=', 1), 'value', substring(c FROM position('=' IN c) + 1))
            ORDER BY d.datname, r.rolname, c), '[]')
        FROM pg_catalog.pg_db_role_setting s CROSS JOIN unnest(s.setconfig) AS c
        LEFT JOIN pg_catalog.pg_database d ON d.oid = s.setdatabase LEFT JOIN pg_catalog.pg_roles r ON r.oid = s.setrole),
    'walLimit', pg_catalog.pg_size_bytes(current_setting('max_wal_size')),
    'slots', (SELECT coalesce(jsonb_agg(jsonb_build_object('name', slot_name, 'bytes', pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_current_wal_lsn(), restart_lsn)::bigint,
            'seconds', extract(epoch FROM clock_timestamp() - inactive_since)::bigint, 'database', database) ORDER BY slot_name), '[]')
        FROM pg_catalog.pg_replication_slots WHERE NOT active AND NOT temporary AND restart_lsn IS NOT NULL),
    'prepared', (SELECT coalesce(jsonb_agg(jsonb_build_object('gid', gid, 'seconds', extract(epoch FROM clock_timestamp() - prepared)::bigint, 'owner', owner, 'database', database) ORDER BY prepared), '[]')
        FROM (SELECT * FROM pg_catalog.pg_prepared_xacts WHERE prepared < clock_timestamp() - interval '10 minutes' ORDER BY prepared LIMIT 10) p),
    'idle', (SELECT coalesce(jsonb_agg(jsonb_build_object('pid', pid, 'role', usename, 'application', application_name, 'database', datname, 'seconds', extract(epoch FROM clock_timestamp() - xact_start)::bigint) ORDER BY xact_start), '[]')
        FROM (SELECT * FROM pg_catalog.pg_stat_activity WHERE state IN ('idle in transaction', 'idle in transaction (aborted)')
                 AND state_change < clock_timestamp() - interval '1 hour' ORDER BY xact_start LIMIT 10) a));
