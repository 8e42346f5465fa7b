-- A subscription would dial its publisher: Those of shard moves go, the user's own wait for their owner
-- Citus' own trigger on DROP needs Citus, which is not loaded here
SET event_triggers = off;
SELECT format('ALTER SUBSCRIPTION %I DISABLE', subname) FROM pg_subscription
 WHERE subdbid = (SELECT oid FROM pg_database WHERE datname = current_database()) \gexec
SELECT format('ALTER SUBSCRIPTION %1$I SET (slot_name = NONE)', subname) FROM pg_subscription
 WHERE subname ~ '^citus_shard_(move|split)_' AND subdbid = (SELECT oid FROM pg_database WHERE datname = current_database()) \gexec
SELECT format('DROP SUBSCRIPTION %I', subname) FROM pg_subscription
 WHERE subname ~ '^citus_shard_(move|split)_' AND subdbid = (SELECT oid FROM pg_database WHERE datname = current_database()) \gexec
