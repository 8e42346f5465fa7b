-- Takes a restore point over all nodes. Prints a line a node with its first and last segment, then its
-- tables, then the point, both as JSON.
-- Session settings guard the coordinator only, so the locks on the workers are bounded by a role of its own that has them
-- as its settings. It has no password: only a node's certificate lets it in.
SET client_min_messages = error;
SET citus.node_connection_timeout = '5s';
CREATE TEMP TABLE nodes AS
  SELECT nodeid, groupid, nodename, nodeport, split_part(nodename, '.', 1) AS node, shouldhaveshards
    FROM pg_dist_node WHERE noderole = 'primary' AND isactive;
CREATE TEMP TABLE said AS
  SELECT * FROM run_command_on_all_nodes($remote$
    DO $role$
    BEGIN
        SET LOCAL citus.enable_create_role_propagation = off;
        SET LOCAL citus.enable_alter_role_propagation = off;
        SET LOCAL citus.enable_alter_role_set_propagation = off;
        IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = 'citus_restore_point') THEN
            CREATE ROLE citus_restore_point SUPERUSER LOGIN;
        END IF;
        IF NOT EXISTS (SELECT FROM pg_catalog.pg_db_role_setting s JOIN pg_catalog.pg_roles r ON r.oid = s.setrole
                        WHERE r.rolname = 'citus_restore_point' AND s.setdatabase = 0 AND cardinality(s.setconfig) = 6) THEN
            ALTER ROLE citus_restore_point SET lock_timeout = '2s';
            ALTER ROLE citus_restore_point SET statement_timeout = '10s';
            ALTER ROLE citus_restore_point SET idle_in_transaction_session_timeout = '10s';
            -- what the database or the configuration sets for clients does not count for it
            ALTER ROLE citus_restore_point SET transaction_timeout = 0;
            ALTER ROLE citus_restore_point SET idle_session_timeout = 0;
            ALTER ROLE citus_restore_point SET default_transaction_read_only = off;
        END IF;
    END $role$
  $remote$);
CREATE PROCEDURE pg_temp.all_answered() LANGUAGE plpgsql AS $$
DECLARE
    silent text;
BEGIN
    SELECT string_agg(n.node || coalesce(': ' || s.result, ' did not answer'), '; ' ORDER BY n.groupid) INTO silent
      FROM nodes n LEFT JOIN said s USING (nodeid) WHERE s.success IS NOT TRUE;
    IF silent IS NOT NULL THEN
        RAISE EXCEPTION '% (a point needs every node; nothing was published)', silent;
    END IF;
END $$;
CALL pg_temp.all_answered();

SET ROLE citus_restore_point;
SET lock_timeout = '2s';
SET statement_timeout = '10s';
TRUNCATE said;
INSERT INTO said SELECT * FROM run_command_on_all_nodes($remote$
    SELECT jsonb_build_object(
        'groupId', (SELECT groupid FROM pg_catalog.pg_dist_local_group),
        'systemIdentifier', (SELECT system_identifier::text FROM pg_catalog.pg_control_system()),
        'postgres', split_part(current_setting('server_version'), ' ', 1),
        'citus', (SELECT extversion FROM pg_catalog.pg_extension WHERE extname = 'citus'),
        'bytes', pg_catalog.pg_database_size(current_database()),
        'lsn', l.lsn::text, 'firstSegment', pg_catalog.pg_walfile_name(l.lsn),
        'archiveSince', (SELECT extract(epoch FROM modification) FROM pg_catalog.pg_stat_file('/var/lib/citus/backup/checked', true)),
        'hole', pg_catalog.pg_read_file('/var/lib/citus/backup/hole', true)::jsonb,
        'history', pg_catalog.pg_read_file('pg_wal/' || left(pg_catalog.pg_walfile_name(l.lsn), 8) || '.history', true),
        'rows', (SELECT coalesce(jsonb_object_agg(t.name, t.rows), '{}') FROM (
            SELECT format('%I.%I', n.nspname, c.relname) AS name, sum(greatest(sc.reltuples, 0))::bigint AS rows
              FROM pg_catalog.pg_dist_shard s
              JOIN pg_catalog.pg_dist_placement p USING (shardid)
              JOIN pg_catalog.pg_class c ON c.oid = s.logicalrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
              JOIN pg_catalog.pg_class sc ON sc.oid = to_regclass(pg_catalog.shard_name(s.logicalrelid, s.shardid))
             WHERE p.groupid = (SELECT groupid FROM pg_catalog.pg_dist_local_group) GROUP BY 1) t))
      FROM (SELECT pg_catalog.pg_current_wal_insert_lsn() AS lsn) l
  $remote$);
CALL pg_temp.all_answered();
CREATE TEMP TABLE before AS SELECT nodeid, result::jsonb AS facts FROM said;
-- The catalogs are read outside the point's locks, so what changes meanwhile is not known of the point and left out.
CREATE TEMP VIEW table_now AS
  SELECT format('%I.%I', n.nspname, c.relname) AS name, t.partmethod AS method, t.repmodel = 't' AND t.partmethod = 'n' AS replicated,
         coalesce(s.n, 0) AS shards
    FROM pg_dist_partition t LEFT JOIN (SELECT logicalrelid, count(*) AS n FROM pg_dist_shard GROUP BY 1) s USING (logicalrelid) JOIN pg_class c ON c.oid = t.logicalrelid JOIN pg_namespace n ON n.oid = c.relnamespace
   -- a foreign table's rows are somebody else's
   WHERE c.relkind <> 'f';
CREATE TEMP VIEW placement_now AS SELECT groupid, count(*) AS n, sum(hashint8extended(shardid, 0)) AS which FROM pg_dist_placement GROUP BY 1;
CREATE TEMP TABLE table_before AS SELECT * FROM table_now;
CREATE TEMP TABLE placement_before AS SELECT * FROM placement_now;
-- A transaction on a table that Citus does not know and one shard commits there first and here last, without two phases: the
-- point must not fall between. So local tables are locked meanwhile: who would write one waits; readers do not. Nobody is
-- made to wait for the locks themselves: they are had at once or given back. Only for a table whose writers never pause a
-- lock is waited for, briefly. A table that somebody holds for long is left out and named.
CREATE TEMP TABLE not_held (name text, why text);
CREATE FUNCTION pg_temp.holders(relation oid) RETURNS TABLE (lasting boolean, why text) LANGUAGE sql AS $$
    SELECT l.pid IS NULL OR l.mode <> 'RowExclusiveLock' OR a.xact_start < clock_timestamp() - interval '3 seconds',
           CASE WHEN l.pid IS NULL THEN 'a prepared transaction'
                ELSE concat_ws(', ', 'pid ' || l.pid, nullif(a.backend_type, 'client backend'), 'role ' || a.usename, 'application ' || nullif(a.application_name, ''),
                               'since ' || to_char(a.xact_start AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')) END
      FROM pg_locks l LEFT JOIN pg_stat_activity a USING (pid)
     WHERE l.locktype = 'relation' AND l.granted AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
       AND l.pid IS DISTINCT FROM pg_backend_pid() AND l.mode NOT IN ('AccessShareLock', 'RowShareLock', 'ShareLock')
       AND (l.relation = $1 OR l.relation IN (SELECT relid FROM pg_partition_tree($1)))
$$;
-- an autovacuum that is in the way of somebody who waits is cancelled after this time
SET deadlock_timeout = '1min';
SET statement_timeout = '60s';
BEGIN;
DO $$
DECLARE
    wanted oid[] := ARRAY(
        SELECT c.oid FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
         WHERE c.relkind IN ('r', 'p') AND c.relpersistence <> 't' AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'
           AND NOT EXISTS (SELECT 1 FROM pg_dist_partition t WHERE t.logicalrelid = c.oid)
           AND NOT EXISTS (SELECT 1 FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
           AND NOT relation_is_a_known_shard(c.oid) AND NOT c.relispartition
         ORDER BY c.oid);
    busy oid[] := '{}';
    failed jsonb := '{}';
    local_table oid;
    times int;
    patient_until timestamptz := clock_timestamp() + interval '5 seconds';
BEGIN
    LOOP
        BEGIN
            PERFORM set_config('lock_timeout', '200ms', true), set_config('citus_as_code.began', clock_timestamp()::text, false);
            -- those that are waited for come first, while nothing else is locked
            FOREACH local_table IN ARRAY busy || ARRAY(SELECT unnest(wanted) EXCEPT SELECT unnest(busy) ORDER BY 1) LOOP
                EXECUTE format('LOCK TABLE %s IN SHARE MODE %s', local_table::regclass, CASE WHEN local_table = ANY (busy) THEN '' ELSE 'NOWAIT' END);
            END LOOP;
            EXIT;
        EXCEPTION
            -- what was locked is given back
            WHEN lock_not_available THEN NULL;
            -- dropped meanwhile: it has no name any more
            WHEN undefined_table OR syntax_error THEN wanted := array_remove(wanted, local_table);
        END;
        times := coalesce((failed->>local_table::text)::int, 0) + 1;
        failed := failed || jsonb_build_object(local_table::text, times);
        IF times >= 6 OR clock_timestamp() > patient_until OR times >= 3 AND EXISTS (SELECT 1 FROM pg_temp.holders(local_table) WHERE lasting) THEN
            -- all that is held for long at once, so that each does not take its own time
            INSERT INTO not_held
              SELECT format('%I.%I', n.nspname, c.relname), coalesce((SELECT string_agg(DISTINCT h.why, '; ') FROM pg_temp.holders(c.oid) h), 'writers never pause')
                FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
               WHERE c.oid = local_table OR c.oid = ANY (wanted) AND EXISTS (SELECT 1 FROM pg_temp.holders(c.oid) h WHERE h.lasting);
            wanted := ARRAY(SELECT w FROM unnest(wanted) w WHERE w <> local_table AND NOT EXISTS (SELECT 1 FROM pg_temp.holders(w) h WHERE h.lasting));
            busy := ARRAY(SELECT unnest(busy) INTERSECT SELECT unnest(wanted));
        ELSIF times >= 3 AND NOT local_table = ANY (busy) THEN
            busy := busy || local_table;
        END IF;
        PERFORM pg_sleep(0.05 * least(times, 4));
    END LOOP;
END $$;
SET LOCAL lock_timeout = '2s';
SET LOCAL statement_timeout = '10s';
SELECT citus_create_restore_point(:'name') AS lsn \gset
COMMIT;
SELECT clock_timestamp() AS ended, round(extract(epoch FROM clock_timestamp() - current_setting('citus_as_code.began')::timestamptz) * 1000) AS pause \gset
TRUNCATE said;
INSERT INTO said SELECT * FROM run_command_on_all_nodes($remote$
    SELECT jsonb_build_object(
        'lastSegment', pg_catalog.pg_walfile_name(pg_catalog.pg_switch_wal()),
        'time', to_char(pg_catalog.clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'))
  $remote$);
CALL pg_temp.all_answered();
CREATE TEMP TABLE after AS SELECT nodeid, result::jsonb->>'lastSegment' AS segment, result::jsonb->>'time' AS "time" FROM said;
SELECT n.node, b.facts->>'firstSegment', a.segment FROM nodes n JOIN before b USING (nodeid) JOIN after a USING (nodeid) ORDER BY n.groupid;
-- Numbers of rows change with every ANALYZE and are worth an order of magnitude, so that the list stays the same.
WITH counted AS (SELECT r.key AS name, sum(r.value::bigint) AS total, max(r.value::bigint) AS most FROM before b, jsonb_each_text(b.facts->'rows') r GROUP BY 1)
SELECT coalesce(jsonb_agg(jsonb_build_object(
           'name', t.name, 'method', t.method, 'replicated', t.replicated, 'shards', t.shards,
           'rows', CASE WHEN n > 0 THEN (10 ^ floor(log(n)))::bigint ELSE n END) ORDER BY t.name), '[]')
  FROM (SELECT t.*, CASE WHEN t.replicated THEN c.most ELSE c.total END AS n
          FROM (SELECT * FROM table_before INTERSECT SELECT * FROM table_now) t LEFT JOIN counted c USING (name)) t;
SELECT jsonb_build_object(
    'version', 1, 'name', :'name'::text, 'cluster', :'cluster'::text,
    'time', to_char(:'ended'::timestamptz AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'),
    'pauseMilliseconds', :pause, 'database', current_database(), 'postgres', split_part(current_setting('server_version'), ' ', 1),
    'citus', substring(citus_version() FROM 'Citus ([0-9.]+)'),
    'notHeld', (SELECT coalesce(jsonb_agg(jsonb_build_object('name', name, 'why', why) ORDER BY name), '[]') FROM not_held),
    -- before 14.0 the locks are taken on the coordinator only
    'writesEnterAnywhere', split_part(substring(citus_version() FROM 'Citus ([0-9.]+)'), '.', 1)::int >= 14,
    'nodes', (SELECT jsonb_agg(jsonb_build_object(
                  'groupId', n.groupid, 'node', n.node, 'host', n.nodename, 'port', n.nodeport, 'holdsShards', n.shouldhaveshards,
                  'stanza', :'cluster'::text || '-' || n.node, 'timeline', ('x' || left(a.segment, 8))::bit(32)::int,
                  'systemIdentifier', b.facts->>'systemIdentifier', 'history', b.facts->>'history', 'hole', b.facts->'hole', 'archiveSince', b.facts->'archiveSince', 'lsn', b.facts->>'lsn', 'bytes', b.facts->'bytes',
                  'postgres', b.facts->>'postgres', 'citus', b.facts->>'citus',
                  'firstSegment', b.facts->>'firstSegment', 'lastSegment', a.segment,
                  -- of its own clock, just after its record was written
                  'time', a."time",
                  'placements', (SELECT CASE WHEN p IS NOT DISTINCT FROM b2 THEN coalesce(p.n, 0) END
                                   FROM (VALUES (1)) one LEFT JOIN placement_now p ON p.groupid = n.groupid
                                   LEFT JOIN placement_before b2 ON b2.groupid = n.groupid)) ORDER BY n.groupid)
                FROM nodes n JOIN before b USING (nodeid) JOIN after a USING (nodeid)));
