/** Models schema and database: what of a tenant lies outside its schema or database, where no export and no DROP reaches it. */

import { given } from "../../sql/given.ts";
import { identifier, literal } from "../../sql/quote.ts";
import type { GroupSpec } from "../group/spec.ts";
import { ownTenantRole } from "../roles/groupRoles.ts";

export interface Outside {
    /** What its role owns elsewhere, by node, large objects too. */
    readonly owned: readonly { readonly node: string; readonly what: readonly string[]; readonly more: number }[];
    /** Nodes that did not say what it owns there. */
    readonly unasked: readonly string[];
    /** Tables of others that its foreign keys reference. */
    readonly referenced: readonly string[];
    /** Tables of others that its role may write to. */
    readonly writable: readonly string[];
}

const MOST = 5;

/** What roles own on a node, by tenant, but for what is in the tenant's schema of this database, or in its own database. */
const ownedSql = (roles: readonly (readonly [tenant: string, role: string])[], model: string) => `
    SELECT coalesce(jsonb_object_agg(tenant, jsonb_build_object('what', what, 'more', more)), '{}') FROM (
        SELECT tenant, coalesce(jsonb_agg(what ORDER BY i) FILTER (WHERE i <= ${MOST}), '[]') AS what, greatest(count(*) - ${MOST}, 0) AS more FROM (
            SELECT t.tenant, row_number() OVER (PARTITION BY t.tenant ORDER BY d.classid, d.objid) AS i,
                   CASE WHEN d.dbid = 0 OR b.datname = current_database() THEN pg_describe_object(d.classid, d.objid, d.objsubid)
                        ELSE format('an object in database %s', b.datname) END AS what
              FROM (VALUES ${roles.map((names) => `(${names.map(given).join(", ")})`).join(", ")}) AS t (tenant, role)
              JOIN pg_authid r ON r.rolname = t.role
              JOIN pg_shdepend d ON d.refclassid = 'pg_authid'::regclass AND d.refobjid = r.oid AND d.deptype = 'o' AND d.classid <> 'pg_default_acl'::regclass
              LEFT JOIN pg_database b ON b.oid = d.dbid
             WHERE ${
                 model === "database"
                     ? "b.datname IS DISTINCT FROM t.tenant"
                     : `NOT coalesce(b.datname = current_database() AND (d.classid = 'pg_namespace'::regclass AND d.objid = (SELECT oid FROM pg_namespace WHERE nspname = t.tenant)
                   OR (SELECT o.schema FROM pg_identify_object(d.classid, d.objid, d.objsubid) o) = quote_ident(t.tenant)), false)`
             }) x GROUP BY 1) y`;

/** SQL expression of type jsonb: by tenant under `delete`. */
export function outsideSql(group: GroupSpec): string {
    if (group.model !== "schema" && group.model !== "database") return "'{}'::jsonb";
    const roles = group.delete.flatMap((tenant) => {
        const role = ownTenantRole(group, tenant);
        return role === undefined ? [] : [[tenant, role] as const];
    });
    if (roles.length === 0) return "'{}'::jsonb";
    const own = "(SELECT oid FROM pg_namespace WHERE nspname = t.tenant)";
    const elsewhere =
        group.model === "database"
            ? "'referenced', '[]'::jsonb, 'writable', '[]'::jsonb"
            : `'referenced', (SELECT coalesce(jsonb_agg(DISTINCT f.oid::regclass::text), '[]') FROM pg_constraint k
                    JOIN pg_class c ON c.oid = k.conrelid JOIN pg_class f ON f.oid = k.confrelid
                   WHERE k.contype = 'f' AND c.relnamespace = ${own} AND f.relnamespace <> c.relnamespace),
               'writable', (SELECT coalesce(jsonb_agg(c.oid::regclass::text ORDER BY c.oid::regclass::text), '[]')
                    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace, pg_roles r
                   WHERE r.rolname = t.role AND c.relkind IN ('r', 'p') AND NOT c.relispartition AND n.nspname !~ '^pg_'
                     AND n.nspname <> ALL (ARRAY['information_schema', 'citus_as_code', t.tenant])
                     AND has_schema_privilege(r.oid, n.oid, 'USAGE') AND has_table_privilege(r.oid, c.oid, 'INSERT, UPDATE')
                     AND NOT relation_is_a_known_shard(c.oid))`;
    return `(WITH asked AS MATERIALIZED (SELECT split_part(n.nodename, '.', 1) AS node, r.success, CASE WHEN r.success THEN r.result::jsonb END AS answer
           FROM pg_dist_node n LEFT JOIN run_command_on_all_nodes(${literal(ownedSql(roles, group.model))}) r USING (nodeid) WHERE n.noderole = 'primary')
        SELECT jsonb_object_agg(t.tenant, jsonb_build_object(
               'owned', (SELECT coalesce(jsonb_agg(a.answer -> t.tenant || jsonb_build_object('node', a.node) ORDER BY a.node), '[]') FROM asked a WHERE a.answer ? t.tenant),
               'unasked', (SELECT coalesce(jsonb_agg(a.node ORDER BY a.node), '[]') FROM asked a WHERE a.success IS NOT TRUE),
               ${elsewhere}))
          FROM (VALUES ${roles.map((names) => `(${names.map(given).join(", ")})`).join(", ")}) AS t (tenant, role))`;
}

/** Why a tenant is not deleted: what would be left is in no export. */
export function outsideRefusal(group: GroupSpec, tenant: string, found: Outside | undefined): string | undefined {
    if (found === undefined) return undefined;
    const role = ownTenantRole(group, tenant) ?? "";
    if (found.unasked.length > 0)
        return `${tenant}: ${found.unasked.join(", ")} did not say what role ${role} owns there. It is not deleted. When the node answers again (npm run status), run pulumi up again.`;
    if (found.owned.length === 0) return undefined;
    const what = found.owned.map(
        ({ node, what, more }) => `${what.join(", ")}${more > 0 ? ` and ${more} more` : ""} on ${node}`,
    );
    return (
        `${tenant}: role ${role} owns what is outside its ${group.model}, and no export has that: ${what.join("; ")}. It is not deleted.\n` +
        `To keep them, run on each node that is named: REASSIGN OWNED BY ${identifier(role)} TO postgres; in the database that has them. Or drop them. Then run pulumi up again.`
    );
}

/** What stays when it is deleted, for a person; undefined when nothing does. */
export function keptOutside(found: Outside | undefined): string | undefined {
    const { referenced = [], writable = [] } = found ?? {};
    const kept = [
        ...(referenced.length > 0 ? [`rows of ${referenced.join(", ")}, which its foreign keys reference`] : []),
        ...(writable.length > 0 ? [`whatever it wrote to ${writable.join(", ")}`] : []),
    ];
    return kept.length === 0 ? undefined : kept.join("; ");
}
