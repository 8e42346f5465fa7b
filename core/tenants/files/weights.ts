/** How large a group's tables are, for what files do to them. */

import { given } from "../../sql/given.ts";
import { qualified } from "../../sql/quote.ts";
import { splitName } from "../data/shape.ts";
import type { GroupSpec } from "../group/spec.ts";
import { SHARD_BYTES, SHARD_ROWS } from "./estimates.ts";

/** SQL of what tables have, from a query of `name`, `place`, `bytes`, `rows` and `shards`. */
const summed = (
    places: string,
) => `(SELECT coalesce(jsonb_object_agg(name, jsonb_build_object('bytes', bytes, 'rows', rows, 'largest', largest, 'shards', shards)), '{}') FROM (
    SELECT name, sum(bytes)::float8 AS bytes, sum(rows)::float8 AS rows, max(bytes)::float8 AS largest, sum(shards)::int AS shards
      FROM (${places}) p GROUP BY 1) w)`;

/** Rows of a local table; null where nobody counted. */
const OWN_ROWS = "CASE WHEN c.reltuples >= 0 THEN c.reltuples END";

/**
 * SQL expression of type jsonb: tables by the name that a template's files give them. Nodes are asked for it, so ask only where
 * files wait.
 * @param tables those of the group's tables that exist
 */
export function weightsOf(group: GroupSpec, tables: readonly string[]): string {
    if (group.model === "schema")
        return summed(`SELECT c.relname::text AS name, t.tenant AS place, sum(z.size) AS bytes, sum(e.rows) AS rows, count(*) AS shards
          FROM citus_as_code.tenant t JOIN pg_namespace n ON n.nspname = t.tenant JOIN pg_class c ON c.relnamespace = n.oid
          JOIN pg_dist_shard s ON s.logicalrelid = c.oid LEFT JOIN (${SHARD_BYTES}) z ON z.shard_id = s.shardid
          LEFT JOIN (${SHARD_ROWS}) e USING (shardid) WHERE t.grp = $1 GROUP BY 1, 2`);
    if (tables.length === 0 || (group.model !== "row" && group.model !== "rls")) return "'{}'::jsonb";
    const named = tables.map((table) => {
        const { schema, name } = splitName(table);
        return `(${given(schema === "public" ? name : table)}, to_regclass(${given(qualified(table))}))`;
    });
    return summed(`WITH given (name, oid) AS (VALUES ${named.join(", ")})
        SELECT g.name, p.groupid::text AS place, sum(z.size) AS bytes, sum(e.rows) AS rows, count(*) AS shards
          FROM given g JOIN pg_dist_shard s ON s.logicalrelid = g.oid JOIN pg_dist_placement p USING (shardid)
          LEFT JOIN (${SHARD_BYTES}) z ON z.shard_id = s.shardid LEFT JOIN (${SHARD_ROWS}) e USING (shardid) GROUP BY 1, 2
        UNION ALL
        SELECT g.name, '', pg_total_relation_size(c.oid), ${OWN_ROWS}, 1
          FROM given g JOIN pg_class c ON c.oid = g.oid WHERE NOT EXISTS (SELECT FROM pg_dist_partition d WHERE d.logicalrelid = c.oid)`);
}
