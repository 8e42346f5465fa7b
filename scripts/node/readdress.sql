-- Gives a restored database the names of its new nodes, while Citus is not loaded and nothing is dialled. Plain writes to the
-- catalogs: Citus' own functions would tell the nodes whose names are still there. Prints what is true afterwards.
\set nodes `cat :'nodes_file'`
BEGIN;
-- Citus' triggers need its library
SET LOCAL session_replication_role = replica;
CREATE TEMP TABLE wanted ON COMMIT DROP AS
  SELECT * FROM jsonb_to_recordset(:'nodes'::jsonb) AS n("groupId" int, host text, port int);
-- the standbys and clones of the origin are not there
DELETE FROM pg_dist_node WHERE noderole <> 'primary' OR groupid NOT IN (SELECT "groupId" FROM wanted);
UPDATE pg_dist_node n SET nodename = w.host, nodeport = w.port FROM wanted w WHERE w."groupId" = n.groupid;
DELETE FROM pg_dist_authinfo;
DELETE FROM pg_dist_poolinfo;
-- a rebalance that ran at the point is planned anew
UPDATE pg_dist_background_task SET status = 'cancelled', pid = NULL WHERE status IN ('blocked', 'runnable', 'running', 'cancelling');
UPDATE pg_dist_background_job SET state = 'cancelled', finished_at = now() WHERE state IN ('scheduled', 'running', 'cancelling', 'failing');
COMMIT;
SELECT 'database=' || current_database() || ' group=' || (SELECT groupid FROM pg_dist_local_group)
    || ' nodes=' || (SELECT string_agg(groupid || '|' || nodename || '|' || nodeport, ',' ORDER BY groupid) FROM pg_dist_node);
