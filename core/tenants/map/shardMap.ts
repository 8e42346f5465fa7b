/** The map of tenants for applications, computed in the database whenever it is asked for. */

import { createHash } from "node:crypto";
import { isLeft, isServed } from "../ledger/states.ts";

/**
 * Catalogs and ledger as the JSON that client/shardMap.ts reads, as far as whoever logged in may know it. Nothing in it is
 * secret, and it asks no worker. Text is only hashed as the client does where its collation is deterministic and the
 * database's encoding is UTF-8.
 *
 * Everything is for superusers and for roles that were granted EXECUTE by hand; the groups that an application is of, for it;
 * and for a tenant's own role its own entry. Asked is who logged in: SET ROLE makes no other of it, and current_user is
 * the function's owner.
 */
const BODY = `
WITH RECURSIVE mine AS MATERIALIZED (
    SELECT r.oid, r.rolname::text AS name FROM pg_roles r WHERE pg_has_role(session_user, r.oid, 'MEMBER')),
reader AS MATERIALIZED (
    SELECT r.rolsuper OR (
           NOT EXISTS (SELECT FROM citus_as_code.tenant_group g JOIN mine m ON m.name = g.grp || '_tenants')
           AND EXISTS (SELECT FROM pg_proc p, aclexplode(p.proacl) a
                        WHERE p.oid = 'citus_as_code.shard_map()'::regprocedure AND a.privilege_type = 'EXECUTE'
                          AND (a.grantee = 0 OR a.grantee IN (SELECT m.oid FROM mine m))
                          AND NOT EXISTS (SELECT FROM citus_as_code.tenant_group g JOIN pg_roles o ON o.rolname = g.grp || '_app'
                                           WHERE o.oid = a.grantee AND g.spec ->> 'model' IN ('row', 'rls')))) AS everything
      FROM pg_roles r WHERE r.rolname = session_user),
tenant_group AS MATERIALIZED (
    SELECT g.grp, g.spec ->> 'model' AS model, g.spec ->> 'anchor' AS anchor,
           g.spec -> 'tables' -> (g.spec ->> 'anchor') ->> 'column' AS key,
           r.everything OR (g.spec ->> 'model' IN ('row', 'rls') AND EXISTS (SELECT FROM mine m WHERE m.name = g.grp || '_app')) AS whole,
           EXISTS (SELECT FROM mine m WHERE m.name = g.grp || '_tenants') AS own
      FROM citus_as_code.tenant_group g, reader r),
left_behind AS (
    SELECT t.grp, t.tenant, t.moved_to FROM citus_as_code.tenant_tombstone t
     WHERE NOT EXISTS (SELECT FROM citus_as_code.tenant l WHERE l.grp = t.grp AND l.tenant = t.tenant)
    UNION ALL
    SELECT t.grp, t.tenant, t.detail ->> 'moved_to'
      FROM citus_as_code.tenant t WHERE ${isLeft("t.state")}),
seen AS (
    (SELECT t.grp, t.tenant FROM tenant_group g JOIN (
            SELECT l.grp, l.tenant FROM citus_as_code.tenant l UNION ALL SELECT d.grp, d.tenant FROM citus_as_code.tenant_tombstone d) t USING (grp)
      WHERE g.whole
     UNION ALL
     SELECT g.grp, substr(m.name, length(g.grp) + 2) FROM tenant_group g JOIN mine m ON starts_with(m.name, g.grp || '_')
      WHERE g.own AND m.name <> g.grp || '_tenants')
    UNION
    SELECT split_part(l.moved_to, '/', 1), substr(l.moved_to, strpos(l.moved_to, '/') + 1)
      FROM seen JOIN left_behind l USING (grp, tenant) WHERE l.moved_to IS NOT NULL),
shown AS MATERIALIZED (
    SELECT g.* FROM tenant_group g WHERE g.whole OR g.own OR g.grp IN (SELECT s.grp FROM seen s)),
node AS (
    SELECT n.groupid, split_part(n.nodename, '.', 1) AS name FROM pg_dist_node n WHERE n.noderole = 'primary'),
tenant AS (
    SELECT t.grp, t.tenant, t.node, t.detail FROM citus_as_code.tenant t JOIN seen USING (grp, tenant)
     WHERE ${isServed("t.state")}),
schema_node AS (
    SELECT DISTINCT ON (d.schemaid) ns.nspname AS schema, node.name
      FROM pg_dist_schema d JOIN pg_namespace ns ON ns.oid = d.schemaid JOIN pg_dist_partition p USING (colocationid)
      JOIN pg_dist_shard s ON s.logicalrelid = p.logicalrelid JOIN pg_dist_placement pl ON pl.shardid = s.shardid
      JOIN node ON node.groupid = pl.groupid
     WHERE pl.shardstate = 1 ORDER BY d.schemaid, s.shardid),
anchored AS (
    SELECT g.grp, g.anchor, p.logicalrelid, t.oid AS type, format_type(t.oid, NULL) AS key_type,
           CASE WHEN a.attcollation <> 0 AND (getdatabaseencoding() <> 'UTF8'
                       OR NOT (SELECT c.collisdeterministic FROM pg_collation c WHERE c.oid = a.attcollation))
                THEN 'unknown' ELSE coalesce(pr.proname, 'unknown') END AS hash
      FROM shown g
      JOIN pg_dist_partition p ON p.partmethod = 'h' AND p.logicalrelid = to_regclass(
           CASE WHEN strpos(g.anchor, '.') > 0 THEN format('%I.%I', split_part(g.anchor, '.', 1), split_part(g.anchor, '.', 2))
                ELSE format('public.%I', g.anchor) END)
      JOIN pg_attribute a ON a.attrelid = p.logicalrelid AND a.attname = column_to_column_name(p.logicalrelid, p.partkey)
      JOIN pg_type given ON given.oid = a.atttypid
      JOIN pg_type t ON t.oid = CASE WHEN given.typtype = 'd' THEN given.typbasetype ELSE given.oid END
      LEFT JOIN pg_opclass o ON o.opcdefault AND o.opcmethod = (SELECT m.oid FROM pg_am m WHERE m.amname = 'hash')
           AND o.opcintype = CASE WHEN t.oid = 'varchar'::regtype THEN 'text'::regtype ELSE t.oid END
      LEFT JOIN pg_amproc ap ON ap.amprocfamily = o.opcfamily AND ap.amproclefttype = o.opcintype
           AND ap.amprocrighttype = o.opcintype AND ap.amprocnum = 1
      LEFT JOIN pg_proc pr ON pr.oid = ap.amproc
     WHERE g.model = 'row'),
grp AS (
    SELECT a.grp, jsonb_build_object('model', 'row', 'anchor', a.anchor, 'keyType', a.key_type, 'hash', a.hash, 'ranges', (
               SELECT coalesce(jsonb_agg(jsonb_build_array(s.shardminvalue::int, s.shardmaxvalue::int, node.name)
                                         ORDER BY s.shardminvalue::int), '[]')
                 FROM pg_dist_shard s JOIN pg_dist_placement pl ON pl.shardid = s.shardid AND pl.shardstate = 1
                 JOIN node ON node.groupid = pl.groupid WHERE s.logicalrelid = a.logicalrelid)) AS content
      FROM anchored a
    UNION ALL
    SELECT g.grp, jsonb_build_object('model', g.model, 'schemas', coalesce(
               jsonb_object_agg(t.tenant, n.name) FILTER (WHERE n.name IS NOT NULL), '{}'))
      FROM shown g LEFT JOIN tenant t USING (grp) LEFT JOIN schema_node n ON n.schema = t.tenant
     WHERE g.model = 'schema' GROUP BY g.grp, g.model
    UNION ALL
    SELECT g.grp, jsonb_build_object('model', g.model, 'databases', coalesce(jsonb_object_agg(t.tenant, jsonb_build_object(
               'node', t.node, 'database', coalesce(t.detail->>'database', t.tenant))) FILTER (WHERE t.node IS NOT NULL), '{}'))
      FROM shown g LEFT JOIN tenant t USING (grp)
     WHERE g.model = 'database' GROUP BY g.grp, g.model
    UNION ALL
    SELECT g.grp, jsonb_build_object('model', g.model, 'routed', coalesce(jsonb_object_agg(t.tenant, jsonb_build_object(
               'host', t.detail->>'host', 'port', (t.detail->>'port')::int, 'database', t.detail->>'database'))
               FILTER (WHERE t.detail ? 'host'), '{}'))
      FROM shown g LEFT JOIN tenant t USING (grp)
     WHERE g.model = 'routed' GROUP BY g.grp, g.model
    UNION ALL
    SELECT g.grp, jsonb_strip_nulls(jsonb_build_object('model', g.model, 'keyType', format_type(
               CASE WHEN t.typtype = 'd' THEN t.typbasetype ELSE t.oid END, NULL)))
      FROM shown g
      LEFT JOIN pg_attribute a ON a.attname = g.key AND a.attnum > 0 AND NOT a.attisdropped AND a.attrelid = to_regclass(
           CASE WHEN strpos(g.anchor, '.') > 0 THEN format('%I.%I', split_part(g.anchor, '.', 1), split_part(g.anchor, '.', 2))
                ELSE format('public.%I', g.anchor) END)
      LEFT JOIN pg_type t ON t.oid = a.atttypid
     WHERE g.model = 'rls'),
gone AS (
    SELECT l.* FROM left_behind l JOIN seen USING (grp, tenant)),
content AS (
    SELECT jsonb_build_object(
        'database', current_database(), 'default', 'coordinator',
        'nodes', (SELECT coalesce(jsonb_object_agg(a.node, jsonb_strip_nulls(
                      jsonb_build_object('host', a.host, 'port', a.port, 'poolPort', a.pool_port))), '{}')
                    FROM citus_as_code.node_address a),
        'groups', (SELECT coalesce(jsonb_object_agg(g.grp, g.content), '{}') FROM grp g),
        'tombstones', (SELECT coalesce(jsonb_object_agg(g.grp, g.tenants), '{}')
                         FROM (SELECT gone.grp, jsonb_object_agg(gone.tenant, jsonb_strip_nulls(
                                          jsonb_build_object('movedTo', gone.moved_to))) AS tenants
                                 FROM gone GROUP BY gone.grp) g)) AS map)
SELECT jsonb_build_object('format', 1, 'version', md5(map::text), 'generatedAt', now()) || map FROM content
`;

/** The map, unless the caller has it. It runs as the caller, who needs the right to run the other: so anybody may call it. */
const UNLESS_KNOWN = `
WITH m AS MATERIALIZED (SELECT citus_as_code.shard_map() AS map)
SELECT m.map FROM m WHERE m.map ->> 'version' IS DISTINCT FROM known
`;

const md5 = (text: string) => createHash("md5").update(text).digest("hex");

/** Changes when one of the functions does. */
export const SHARD_MAP_HASH = md5(`${md5(BODY)} ${md5(UNLESS_KNOWN)}`);

/** The same of those that are there; null when there is none. */
export const FOUND_HASH = `(SELECT md5(concat_ws(' ', md5(p.prosrc), md5(k.prosrc)))
    FROM pg_proc p LEFT JOIN pg_proc k ON k.oid = to_regprocedure('citus_as_code.shard_map(text)')
   WHERE p.oid = to_regprocedure('citus_as_code.shard_map()'))`;

/**
 * Makes citus_as_code.shard_map(), and shard_map(known), which is null for who has that version. Only the coordinator has what
 * they read, so they are not made elsewhere. The first runs as its owner: roles of applications see nothing of the ledger but
 * this.
 */
export const SHARD_MAP = `
CREATE OR REPLACE FUNCTION citus_as_code.shard_map() RETURNS jsonb LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp AS $map$${BODY}$map$;
REVOKE ALL ON FUNCTION citus_as_code.shard_map() FROM PUBLIC;
CREATE OR REPLACE FUNCTION citus_as_code.shard_map(known text) RETURNS jsonb LANGUAGE sql STABLE
    SET search_path = pg_catalog, pg_temp AS $map$${UNLESS_KNOWN}$map$;
GRANT EXECUTE ON FUNCTION citus_as_code.shard_map(text) TO PUBLIC;
`;
