/** How many rows shards have, by PostgreSQL's own estimates. */

/**
 * Estimates of every shard on the node. Few rows are in the statistics long before the catalog has them, which CREATE INDEX
 * fills and nobody else until there are fifty more; a crash empties the statistics.
 */
const ON_NODE = `SELECT jsonb_object_agg(substring(relname from '_([0-9]+)$'), n) FILTER (WHERE n IS NOT NULL) FROM (
    SELECT relname, CASE WHEN greatest(reltuples, pg_stat_get_live_tuples(oid)) > 0 THEN greatest(reltuples, pg_stat_get_live_tuples(oid))
                         WHEN reltuples = 0 OR pg_relation_size(oid) = 0 THEN 0 END AS n
      FROM pg_class WHERE relkind = 'r' AND relname ~ '_[0-9]{5,15}$') e`;

/** A query of `shardid` and `rows`; shards of a node that does not answer are not in it. */
export const SHARD_ROWS = `SELECT e.key::bigint AS shardid, max(e.value::float8)::bigint AS rows
      FROM run_command_on_all_nodes($q$${ON_NODE}$q$) r, jsonb_each_text(CASE WHEN r.success THEN nullif(r.result, '')::jsonb END) e
     GROUP BY 1`;

/** A query of `shard_id` and `size` in bytes. */
export const SHARD_BYTES = "SELECT shard_id, max(size) AS size FROM citus_shard_sizes() GROUP BY 1";
