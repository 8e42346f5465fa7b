/** What there is of a group's row-level security: its policies and grants, and what each placement has of them. */

import { DIGEST, HAS_SUBQUERY, POLICY_PRINT, perPlacement, SUBQUERY } from "../../citus/guards.ts";
import { given } from "../../sql/given.ts";
import { literal, qualified } from "../../sql/quote.ts";
import { askAlone } from "../group/ask.ts";
import type { Probe } from "../group/facet.ts";
import { appRole, type GroupSpec, tenantsRole } from "../group/spec.ts";
import { barredSql, type FoundBarred, NOTHING_BARRED } from "../isolation/barred.ts";

export interface FoundPolicy {
    readonly name: string;
    readonly permissive: boolean;
    readonly subquery: boolean;
    /** `public` stands for everybody. */
    readonly roles: readonly string[];
    /** Changes with anything of the policy. */
    readonly print: string;
    readonly comment: string | null;
}

interface Grants {
    readonly app: readonly string[];
    readonly tenants: readonly string[];
}

export interface PolicyTable {
    readonly name: string;
    /** Whether Citus keeps it on other nodes, too. */
    readonly citus: boolean;
    readonly enabled: boolean;
    readonly forced: boolean;
    /** Type of the tenant column without its modifier; null when there is none. */
    readonly type: string | null;
    readonly policies: readonly FoundPolicy[];
    /** What all of its policies together are on the coordinator. */
    readonly digest: string;
    /** Whether an index or key leads with the tenant column. */
    readonly index: boolean;
    readonly granted: Grants;
    /** Sequences of its columns, and those that their defaults ask, that one of the roles may not use. */
    readonly sequences: readonly string[];
    /** Rights on it that the role of all tenants was granted itself, not by PUBLIC or another role. */
    readonly tenantGrants: readonly string[];
    /** Those that the role of all tenants was granted. */
    readonly tenantSequences: readonly string[];
    /** Who of a tenant's own role was granted rights, other than the role of all; `PUBLIC` where there are such roles. */
    readonly direct: readonly string[];
    /** Whether both roles may use its schema. */
    readonly schema: boolean;
    /** Roles with rights of their own that no policy is for. */
    readonly others: readonly string[];
    /** Its owner, when that is neither superuser nor BYPASSRLS. */
    readonly owner: string | null;
}

export interface FoundPolicies {
    readonly tables: readonly PolicyTable[];
    /** What each placement has, by table and place; those that are as on the coordinator are left out. */
    readonly differing: Readonly<Record<string, readonly string[]>>;
    /** Places with generated policies, or with row-level security, that the coordinator has not, by table. */
    readonly left: Readonly<Record<string, readonly string[]>>;
    /** Who writes and who is seen. */
    readonly barred: FoundBarred;
}

export const NO_POLICIES: FoundPolicies = { tables: [], differing: {}, left: {}, barred: NOTHING_BARRED };

export const PREFIX = "citus_as_code_";

export const VERBS = ["select", "insert", "update", "delete"] as const;

export const RIGHTS = VERBS.map((verb) => verb.toUpperCase());

export const prefixOf = (group: GroupSpec) => `${PREFIX}${group.name}_`;

/**
 * What a policy `p` is printed from, which costs less than to print it: policies that have the same print the same, so one of them is
 * printed. Tables have the same columns and policies again and again. A sub-query and a whole row are printed with their table's name.
 * Trees are stored compressed: they are read once.
 */
const SOURCE = `(SELECT concat_ws('|', p.polpermissive, p.polcmd, p.polroles, x.trees,
    CASE WHEN strpos(x.trees, ${SUBQUERY}) > 0 OR strpos(x.trees, ':varattno 0 ') > 0 THEN p.polrelid END)
    FROM (SELECT concat(p.polqual, ' | ', p.polwithcheck) AS trees OFFSET 0) x)`;

/** The columns that its numbers mean. @param oid SQL expression for its table */
const COLUMNS = (oid: string) =>
    `(SELECT string_agg(quote_ident(a.attname), ',' ORDER BY a.attnum) FROM pg_attribute a WHERE a.attrelid = ${oid} AND a.attnum > 0)`;

/**
 * What each placement on a node has, run there, by table: the placements that have the same are together, and of all tables that have
 * the same only one is printed.
 */
const placed = (group: GroupSpec, tables: readonly string[]) => `WITH each AS MATERIALIZED (
        SELECT r.name, k.oid, k.relname, k.relrowsecurity AS enabled, md5(concat_ws(' ', k.relrowsecurity, k.relforcerowsecurity, ${COLUMNS("k.oid")},
                (SELECT string_agg(p.polname || ' ' || md5(${SOURCE}), ',' ORDER BY p.polname) FROM pg_policy p WHERE p.polrelid = k.oid))) AS alike
          FROM (${perPlacement(tables)}) r JOIN pg_class k ON k.oid = r.oid),
    printed AS MATERIALIZED (
        SELECT o.alike, ${DIGEST("o.one")} AS digest,
               ARRAY(SELECT p.polname FROM pg_policy p WHERE p.polrelid = o.one AND starts_with(p.polname, ${literal(prefixOf(group))})) AS ours
          FROM (SELECT e.alike, min(e.oid) AS one FROM each e GROUP BY 1) o)
    SELECT coalesce(jsonb_object_agg(name, prints), '{}') FROM (
        SELECT g.name, jsonb_agg(jsonb_build_object('digest', w.digest, 'on', g.enabled, 'at', g.at[1:3], 'ours', w.ours)) AS prints
          FROM (SELECT e.name, e.alike, e.enabled, array_agg(e.oid::regclass::text ORDER BY e.relname) AS at FROM each e GROUP BY 1, 2, 3) g
          JOIN printed w USING (alike) GROUP BY 1) x`;

/** Sequences of a table `c`'s columns: their own, and those that a default asks and no column owns. */
const SEQUENCES = `(SELECT d.objid AS oid FROM pg_depend d JOIN pg_sequence q ON q.seqrelid = d.objid
      WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass AND d.refobjid = c.oid AND d.deptype IN ('a', 'i')
    UNION SELECT d.refobjid FROM pg_attrdef f JOIN pg_depend d ON d.classid = 'pg_attrdef'::regclass AND d.objid = f.oid AND d.refclassid = 'pg_class'::regclass
      JOIN pg_sequence q ON q.seqrelid = d.refobjid WHERE f.adrelid = c.oid)`;

/** SQL expression of type jsonb: FoundPolicies, and nodes that did not answer. */
export function policiesSql(group: GroupSpec, probe: Probe): string {
    const names = Object.entries(group.tables).filter(([name]) => probe.tables.includes(name));
    if (names.length === 0)
        return `SELECT jsonb_build_object('tables', '[]'::jsonb, 'differing', '{}'::jsonb, 'left', '{}'::jsonb, 'nodes', '[]'::jsonb,
            'barred', ${barredSql(group, "SELECT NULL::text AS type", probe)})`;
    const values = names.map(
        ([name, { column }]) =>
            `(${given(name)}, ${given(qualified(name))}::regclass, ${column === undefined ? "NULL" : given(column)})`,
    );
    const [app, tenants] = [appRole(group.name), tenantsRole(group.name)].map(given);
    const rights = (
        role: string | undefined,
    ) => `(SELECT coalesce(jsonb_agg(g), '[]') FROM unnest('{${RIGHTS.join(",")}}'::text[]) g, pg_roles r
        WHERE r.rolname = ${role} AND has_table_privilege(r.oid, c.oid, g))`;
    const columns = names.filter(([, { column }]) => column !== undefined).map(([name]) => name);
    // as what has no length: `character` would be char(1), and "bit" one bit
    const typeOf = "format_type(a.atttypid, -1)";
    return `WITH source AS MATERIALIZED (SELECT p.oid, md5(concat_ws(' ', r.columns, ${SOURCE})) AS alike
            FROM (SELECT k.oid, ${COLUMNS("k.oid")} AS columns FROM (VALUES ${names.map(([name]) => `(${given(qualified(name))}::regclass::oid)`).join(", ")}) k (oid) OFFSET 0) r
            JOIN pg_policy p ON p.polrelid = r.oid),
        once AS MATERIALIZED (SELECT o.alike, ${POLICY_PRINT} AS print, ${HAS_SUBQUERY} AS subquery,
                ARRAY(SELECT coalesce(r.rolname, 'public') FROM unnest(p.polroles) o LEFT JOIN pg_roles r ON r.oid = o) AS roles
            FROM (SELECT s.alike, min(s.oid) AS oid FROM source s GROUP BY 1) o JOIN pg_policy p USING (oid)),
        p AS MATERIALIZED (SELECT p.*, once.print, once.subquery, once.roles, d.description AS comment FROM source JOIN once USING (alike) JOIN pg_policy p ON p.oid = source.oid
            LEFT JOIN pg_description d ON d.classoid = 'pg_policy'::regclass AND d.objoid = p.oid AND d.objsubid = 0),
        printed AS MATERIALIZED (SELECT p.polrelid, string_agg(p.polname || ' ' || p.print, ',' ORDER BY p.polname) AS prints,
                jsonb_agg(jsonb_build_object('name', p.polname, 'permissive', p.polpermissive, 'subquery', p.subquery,
                    'roles', p.roles, 'print', p.print, 'comment', p.comment) ORDER BY p.polname) AS list FROM p GROUP BY 1),
        t AS MATERIALIZED (SELECT v.*, md5(concat_ws(' ', k.relrowsecurity, k.relforcerowsecurity, w.prints)) AS digest, w.list AS policies,
                EXISTS (SELECT FROM pg_dist_partition p WHERE p.logicalrelid = v.oid) AS citus,
                (SELECT ${typeOf} FROM pg_attribute a WHERE a.attrelid = v.oid AND a.attname = v.col AND NOT a.attisdropped) AS type
            FROM (VALUES ${values.join(", ")}) AS v (name, oid, col) JOIN pg_class k ON k.oid = v.oid LEFT JOIN printed w ON w.polrelid = v.oid),
        barred AS MATERIALIZED (SELECT ${barredSql(group, "SELECT type FROM t", probe)} AS b),
        mine AS MATERIALIZED (SELECT r.oid, r.rolname FROM pg_roles r WHERE r.rolname IN (${app}, ${tenants})),
        member AS MATERIALIZED (SELECT m.member AS oid FROM pg_auth_members m JOIN pg_roles r ON r.oid = m.roleid WHERE r.rolname = ${tenants}),
        answered AS MATERIALIZED (SELECT n.nodename AS host, a.success, a.result
            FROM ${(probe.ask ?? askAlone)(placed(group, columns))} a JOIN pg_dist_node n USING (nodeid)),
        placed AS MATERIALIZED (SELECT a.host, e.key AS name, at.relation, r ->> 'digest' AS digest, r -> 'ours' AS ours, (r ->> 'on')::boolean AS enabled
            FROM answered a, jsonb_each(CASE WHEN a.success THEN a.result::jsonb ELSE '{}' END) e, jsonb_array_elements(e.value) r,
                 jsonb_array_elements_text(r -> 'at') at (relation))
        SELECT jsonb_build_object('tables', (SELECT coalesce(jsonb_agg(jsonb_build_object(
            'name', t.name, 'citus', t.citus, 'enabled', c.relrowsecurity, 'forced', c.relforcerowsecurity, 'type', t.type,
            'policies', coalesce(t.policies, '[]'),
            'digest', t.digest,
            'index', EXISTS (SELECT 1 FROM pg_index i JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = t.col AND a.attnum = i.indkey[0]
                WHERE i.indrelid = c.oid AND i.indisvalid AND i.indpred IS NULL),
            'granted', jsonb_build_object('app', ${rights(app)}, 'tenants', ${rights(tenants)}),
            'sequences', (SELECT coalesce(jsonb_agg(DISTINCT s.oid::regclass::text), '[]') FROM ${SEQUENCES} s WHERE t.col IS NOT NULL
                  AND (NOT EXISTS (SELECT 1 FROM mine) OR EXISTS (SELECT 1 FROM mine m WHERE NOT has_sequence_privilege(m.oid, s.oid, 'USAGE')
                       AND (${String(group.rowSecurity)} OR m.rolname = ${app})))),
            'tenantGrants', (SELECT coalesce(jsonb_agg(DISTINCT x.privilege_type), '[]') FROM aclexplode(c.relacl) x
                JOIN pg_roles r ON r.oid = x.grantee AND r.rolname = ${tenants}),
            'tenantSequences', (SELECT coalesce(jsonb_agg(DISTINCT s.oid::regclass::text), '[]') FROM ${SEQUENCES} s JOIN pg_class q ON q.oid = s.oid,
                aclexplode(q.relacl) x JOIN pg_roles r ON r.oid = x.grantee AND r.rolname = ${tenants} WHERE t.col IS NOT NULL),
            'direct', (SELECT coalesce(jsonb_agg(DISTINCT coalesce(r.rolname, 'PUBLIC')), '[]') FROM aclexplode(c.relacl) x LEFT JOIN pg_roles r ON r.oid = x.grantee
                WHERE t.col IS NOT NULL AND (x.grantee IN (SELECT m.oid FROM member m) OR x.grantee = 0 AND EXISTS (SELECT FROM member))),
            'schema', (SELECT count(*) FROM mine m WHERE has_schema_privilege(m.oid, c.relnamespace, 'USAGE')) = 2,
            'others', (SELECT coalesce(jsonb_agg(DISTINCT coalesce(r.rolname, 'PUBLIC')), '[]') FROM aclexplode(c.relacl) x LEFT JOIN pg_roles r ON r.oid = x.grantee
                WHERE x.grantee <> c.relowner AND x.grantee NOT IN (SELECT oid FROM mine) AND NOT coalesce(r.rolsuper OR r.rolbypassrls, false)
                  AND NOT EXISTS (SELECT 1 FROM pg_policy p WHERE p.polrelid = c.oid AND (x.grantee = ANY (p.polroles) OR 0 = ANY (p.polroles)))),
            'owner', (SELECT r.rolname FROM pg_roles r WHERE r.oid = c.relowner AND NOT r.rolsuper AND NOT r.rolbypassrls)) ORDER BY t.name), '[]')
          FROM t JOIN pg_class c ON c.oid = t.oid),
        'differing', (SELECT coalesce(jsonb_object_agg(name, places), '{}') FROM (
            SELECT p.name, jsonb_agg(p.host || ' ' || p.relation ORDER BY p.host, p.relation) AS places FROM placed p JOIN t USING (name)
             WHERE t.citus AND p.digest <> t.digest GROUP BY 1) x),
        'left', (SELECT coalesce(jsonb_object_agg(name, places), '{}') FROM (
            SELECT p.name, jsonb_agg(p.host || ' ' || p.relation ORDER BY p.host, p.relation) AS places FROM placed p JOIN t USING (name) JOIN pg_class c ON c.oid = t.oid
             WHERE p.enabled AND NOT c.relrowsecurity OR EXISTS (SELECT FROM jsonb_array_elements_text(p.ours) o (name)
                   WHERE NOT EXISTS (SELECT FROM pg_policy y WHERE y.polrelid = t.oid AND y.polname = o.name)) GROUP BY 1) x),
        'nodes', (SELECT coalesce(jsonb_agg(jsonb_build_object('name', a.host, 'failed', a.result)), '[]') FROM answered a WHERE NOT a.success) || (SELECT b -> 'nodes' FROM barred),
        'barred', (SELECT b - 'nodes' FROM barred))`;
}
