/** What Citus shows to everybody, and lets everybody ask of every node: taken from PUBLIC in a cluster with tenants. */

import { literal } from "../../sql/quote.ts";
import type { Ask } from "../group/facet.ts";

/** Views of tenants' places and sizes. */
const VIEWS = [
    "citus_shards",
    "citus_tables",
    "citus_schemas",
    "citus_shards_on_worker",
    "citus_shard_indexes_on_worker",
    "citus_locks",
    "citus_stat_tenants",
    "citus_stat_tenants_local",
];

/** Functions behind them, and those that ask every node whatever they are given. Nothing of Citus itself calls them as a client. */
const FUNCTIONS = [
    "citus_shard_sizes",
    "citus_shards_on_worker",
    "citus_shard_indexes_on_worker",
    "citus_locks",
    "run_command_on_all_nodes",
    "run_command_on_workers",
    "run_command_on_coordinator",
    "run_command_on_placements",
    "run_command_on_colocated_placements",
    "run_command_on_shards",
    "master_run_on_worker",
    "citus_check_cluster_node_health",
    "citus_check_connection_to_node",
    "citus_job_list",
    "citus_job_status",
    "citus_rebalance_status",
    "get_rebalance_progress",
    "get_rebalance_table_shards_plan",
    "citus_stat_tenants_reset",
    "citus_stat_tenants_local_reset",
    // takes what every node has off Citus' list of such objects, whoever's they are
    "citus_unmark_object_distributed",
];

/**
 * Functions that change where tables are and ask nothing of who calls them, but that the session says in its application_name that
 * it is Citus' own. Citus calls them as who makes or drops a distributed schema or table, so owners of such keep them.
 */
const METADATA = [
    "delete_placement_metadata",
    "add_tenant_schema",
    "delete_tenant_schema",
    "update_none_dist_table_metadata",
].flatMap((name) => [name, `citus_internal_${name}`]);

const names = (list: readonly string[]) => list.map(literal).join(", ");

/** SQL query (kind, object), run on any node: those of them that PUBLIC may use. */
const OPEN = `SELECT 'TABLE' AS kind, c.oid::regclass::text AS object FROM pg_class c JOIN pg_depend e ON e.classid = 'pg_class'::regclass AND e.objid = c.oid AND e.deptype = 'e'
    JOIN pg_extension x ON x.oid = e.refobjid AND x.extname = 'citus'
   WHERE c.relname IN (${names(VIEWS)}) AND EXISTS (SELECT FROM aclexplode(c.relacl) a WHERE a.grantee = 0)
  UNION ALL SELECT 'FUNCTION', p.oid::regprocedure::text FROM pg_proc p JOIN pg_depend e ON e.classid = 'pg_proc'::regclass AND e.objid = p.oid AND e.deptype = 'e'
    JOIN pg_extension x ON x.oid = e.refobjid AND x.extname = 'citus'
   WHERE p.proname IN (${names([...FUNCTIONS, ...METADATA])}) AND EXISTS (SELECT FROM aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a WHERE a.grantee = 0)`;

/** SQL query (object, owner), run on any node: who makes distributed schemas and tables without being a superuser, and lacks one of those. */
const LACKING = `SELECT p.oid::regprocedure::text AS object, r.rolname AS owner FROM pg_proc p JOIN pg_depend e ON e.classid = 'pg_proc'::regclass AND e.objid = p.oid AND e.deptype = 'e'
    JOIN pg_extension x ON x.oid = e.refobjid AND x.extname = 'citus', pg_roles r
   WHERE p.proname IN (${names(METADATA)}) AND NOT r.rolsuper AND NOT has_function_privilege(r.oid, p.oid, 'EXECUTE')
     AND (r.oid IN (SELECT c.relowner FROM pg_dist_partition d JOIN pg_class c ON c.oid = d.logicalrelid)
          OR r.oid IN (SELECT n.nspowner FROM pg_dist_schema d JOIN pg_namespace n ON n.oid = d.schemaid))`;

/** SQL expression (jsonb): hosts of nodes where some of them are open. A node that does not answer says so elsewhere. */
export const openCatalogs = (ask: Ask) => `(SELECT coalesce(jsonb_agg(n.nodename ORDER BY n.nodename), '[]')
    FROM ${ask(`SELECT (SELECT count(*) FROM (${OPEN}) o) + (SELECT count(*) FROM (${LACKING}) l)`)} r JOIN pg_dist_node n USING (nodeid) WHERE r.success AND r.result <> '0')`;

/** SQL, run on each node: takes them from PUBLIC there. Safe to repeat, and does nothing where nothing is open. */
export const CLOSE_CATALOGS = `DO ${literal(`DECLARE o record; BEGIN
    PERFORM set_config('citus.enable_ddl_propagation', 'off', true);
    FOR o IN ${OPEN} LOOP EXECUTE format('REVOKE ALL ON %s %s FROM PUBLIC', o.kind, o.object); END LOOP;
    FOR o IN ${LACKING} LOOP EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO %I', o.object, o.owner); END LOOP; END`)}`;
