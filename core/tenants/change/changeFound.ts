/** What a plan of changes needs, all that is in the coordinator's database. */

import { shapesSql } from "../data/checksum.ts";
import type { GroupSpec } from "../group/spec.ts";
import { inState } from "../ledger/states.ts";
import { type ChangeFound, NOTHING_FOUND } from "./changePlan.ts";

/** What a plan needs, all that is in this database; rows are counted of tenants that have not come yet. */
export const CHANGES_SQL = `(
WITH wanted AS MATERIALIZED (
    SELECT w.key AS tenant, w.value #>> '{from,group}' AS from_grp, w.value #>> '{from,tenant}' AS from_tenant, to_jsonb(ch) AS change
      FROM jsonb_each((SELECT $2::jsonb -> 'tenants')) AS w
      LEFT JOIN citus_as_code.tenant_change ch ON ch.grp = $1 AND ch.tenant = w.key
     WHERE w.value ? 'from'
       AND NOT (ch.phase IS NOT DISTINCT FROM 'done' AND ch.from_grp = w.value #>> '{from,group}' AND ch.from_tenant = w.value #>> '{from,tenant}')),
places AS MATERIALIZED (
    SELECT w.tenant, $2::jsonb ->> 'model' AS model, $2::jsonb -> 'tables' AS tables FROM wanted w
     UNION SELECT w.from_tenant, g.spec ->> 'model', g.spec -> 'tables' FROM wanted w JOIN citus_as_code.tenant_group g ON g.grp = w.from_grp),
slices AS MATERIALIZED (
    SELECT p.tenant AS key, t.value ->> 'column' AS col, to_regclass(format('%I.%I', split_part(f.name, '.', 1), split_part(f.name, '.', 2))) AS rel
      FROM places p, jsonb_each(p.tables) AS t, LATERAL (SELECT CASE WHEN position('.' IN t.key) > 0 THEN t.key ELSE 'public.' || t.key END AS name) AS f
     WHERE p.model IN ('rls', 'row') AND t.value ? 'column'
     UNION SELECT '', NULL, c.oid::regclass FROM places p JOIN pg_namespace n ON n.nspname = p.tenant JOIN pg_class c ON c.relnamespace = n.oid
     WHERE p.model = 'schema' AND c.relkind IN ('r', 'p') AND NOT c.relispartition)
SELECT jsonb_build_object(
    'models', (SELECT coalesce(jsonb_object_agg(m.model, m.n), '{}') FROM (SELECT model, count(*) AS n FROM citus_as_code.tenant WHERE grp = $1 GROUP BY model) AS m),
    'gone', (SELECT coalesce(jsonb_object_agg(tenant, detail ->> 'moved_to'), '{}') FROM citus_as_code.tenant WHERE grp = $1 AND ${inState("state", "superseded")}),
    'pending', (SELECT coalesce(jsonb_object_agg(w.tenant, jsonb_build_object('change', w.change,
                    'group', (SELECT g.spec - 'tenants' || '{"tenants": {}}' FROM citus_as_code.tenant_group g WHERE g.grp = w.from_grp),
                    'source', (SELECT to_jsonb(t) FROM citus_as_code.tenant t WHERE t.grp = w.from_grp AND t.tenant = w.from_tenant),
                    'target', (SELECT to_jsonb(t) FROM citus_as_code.tenant t WHERE t.grp = $1 AND t.tenant = w.tenant))), '{}') FROM wanted w),
    'unwanted', (SELECT coalesce(jsonb_object_agg(c.tenant, jsonb_build_object('other', c.from_grp || '/' || c.from_tenant, 'phase', c.phase)), '{}')
                   FROM citus_as_code.tenant_change c WHERE c.grp = $1 AND c.phase <> 'done' AND NOT EXISTS (SELECT FROM wanted w WHERE w.tenant = c.tenant)),
    'leaving', (SELECT coalesce(jsonb_object_agg(c.from_tenant, jsonb_build_object('other', c.grp || '/' || c.tenant, 'phase', c.phase)), '{}')
                  FROM citus_as_code.tenant_change c WHERE c.from_grp = $1 AND c.phase <> 'done'),
    'shapes', ${shapesSql("c.oid IN (SELECT rel FROM slices)")},
    'counted', (SELECT coalesce(jsonb_agg(jsonb_build_object('schema', n.nspname, 'name', c.relname, 'key', s.key,
                    'rows', CASE WHEN pg_input_is_valid(s.key, (SELECT format_type(a.atttypid, -1) FROM pg_attribute a WHERE a.attrelid = s.rel AND a.attname = s.col)) IS FALSE THEN 0
                        ELSE ((xpath('//n/text()', query_to_xml(format('SELECT count(*) AS n FROM %s', s.rel)
                            || CASE WHEN s.col IS NULL THEN '' ELSE format(' WHERE %I = %L', s.col, s.key) END, true, false, '')))[1]::text)::bigint END)), '[]')
                  FROM slices s JOIN pg_class c ON c.oid = s.rel JOIN pg_namespace n ON n.oid = c.relnamespace),
    'rate', (SELECT bytes / seconds FROM citus_as_code.measured WHERE what = 'rows of a change of model')))`;

export const CHANGE_RATE = "rows of a change of model";

/** Where there is no ledger yet nothing is known of any other group. */
export function pendingOf(group: GroupSpec, found: ChangeFound): ChangeFound["pending"] {
    if (found !== NOTHING_FOUND) return found.pending;
    const wanted = Object.entries(group.tenants).filter(([, { from }]) => from);
    return Object.fromEntries(
        wanted.map(([tenant]) => [tenant, { change: null, group: null, source: null, target: null }]),
    );
}
