/** What loses rows of Citus' tables without an error, found before anything moves. */

import { DatabaseError, type Session } from "../reach/session.ts";
import { literal, qualified } from "../sql/quote.ts";

export interface Danger {
    /** With its schema. */
    readonly table: string;
    readonly rule:
        | "force-row-security"
        | "restrictive-policy"
        | "policy-sub-query"
        | "policy-differs"
        | "subscription"
        | "volatile-default"
        | "clock-default"
        | "rule"
        | "unlogged";
    /** What it does, and where. */
    readonly says: string;
    readonly fix: string;
}

/** Everything that a policy `p` does; the same on a table and its shards. */
export const POLICY_PRINT = `md5(concat_ws('|', p.polpermissive, p.polcmd, (SELECT string_agg(coalesce(r.rolname, 'public'), ',' ORDER BY r.rolname)
    FROM unnest(p.polroles) o LEFT JOIN pg_roles r ON r.oid = o), pg_get_expr(p.polqual, p.polrelid), '|', pg_get_expr(p.polwithcheck, p.polrelid)))`;

/** What a tree of nodes has where it asks other rows. */
export const SUBQUERY = "'{SUBLINK '";

/** Whether a policy `p` asks other rows, which its tree of nodes shows and no word in it imitates. */
export const HAS_SUBQUERY = `strpos(concat(p.polqual, p.polwithcheck), ${SUBQUERY}) > 0`;

/** All policies of a relation together, and whether they are on. @param oid SQL expression */
export const DIGEST = (oid: string) => `(SELECT md5(concat_ws(' ', k.relrowsecurity, k.relforcerowsecurity,
    (SELECT string_agg(p.polname || ' ' || ${POLICY_PRINT}, ',' ORDER BY p.polname) FROM pg_policy p WHERE p.polrelid = k.oid)))
    FROM pg_class k WHERE k.oid = ${oid})`;

/** Whether a default asks a volatile function other than nextval. @param tree SQL expression for its tree of nodes as text */
export const VOLATILE = (tree: string) => `EXISTS (SELECT 1 FROM regexp_matches(${tree}, ':funcid ([0-9]+)', 'g') f
    JOIN pg_proc p ON p.oid = f[1]::oid WHERE p.provolatile = 'v' AND p.proname <> 'nextval')`;

/**
 * Whether a default is CURRENT_TIMESTAMP or another of the clock's keywords, which are no functions: Citus computes now() once
 * for all copies of a row that is inserted, and hands these on.
 */
export const CLOCK = (tree: string) => `${tree} ~ '[{]SQLVALUEFUNCTION :op [0-8] '`;

/** SQL query (name, oid), run on any node, for what of each table is there: the table itself and its shards. */
export const perPlacement = (tables: readonly string[]) =>
    tables.length === 0
        ? "SELECT NULL::text AS name, NULL::oid AS oid WHERE false"
        : PLACEMENTS.replace("$TABLES", () =>
              tables.map((name) => `(${literal(name)}, to_regclass(${literal(qualified(name))})::oid)`).join(", "),
          );

const SHARDS = `SELECT b.name, to_regclass(shard_name(b.oid::regclass, s.shardid))::oid AS oid
    FROM base b JOIN pg_dist_shard s ON s.logicalrelid = b.oid JOIN pg_dist_placement l USING (shardid)
    JOIN pg_dist_local_group g ON g.groupid = l.groupid`;

const PLACEMENTS = `SELECT x.name, x.oid FROM (
    WITH base AS (SELECT v.name, v.oid FROM (VALUES $TABLES) v (name, oid) WHERE v.oid IS NOT NULL)
    SELECT b.name, b.oid FROM base b UNION ALL ${SHARDS}) x WHERE x.oid IS NOT NULL`;

const NAME = (oid: string) =>
    `(SELECT format('%I.%I', n.nspname, k.relname) FROM pg_class k JOIN pg_namespace n ON n.oid = k.relnamespace WHERE k.oid = ${oid})`;

/**
 * SQL query (name, oid), run on any node, for what policies are about there: tables that are named and their shards, and whatever
 * else has policies or row security. Other shards, which may be very many, are not asked for their names.
 * @param tables SQL expression: an array of names with their schemas
 */
export const guardedRelations = (tables: string) => `SELECT x.name, x.oid FROM (
    WITH base AS MATERIALIZED (SELECT v.name, to_regclass(v.name)::oid AS oid FROM unnest(${tables}) v (name)),
    own AS MATERIALIZED (
        SELECT k.oid, substring(k.relname FROM '_([0-9]{1,18})$')::int8 AS shardid FROM pg_class k
         WHERE k.relkind IN ('r', 'p') AND (k.relrowsecurity OR k.relforcerowsecurity OR EXISTS (SELECT FROM pg_policy p WHERE p.polrelid = k.oid)))
    SELECT b.name, b.oid FROM base b UNION ${SHARDS}
    UNION SELECT ${NAME("o.oid")}, o.oid FROM own o JOIN pg_dist_partition d ON d.logicalrelid = o.oid
    UNION SELECT ${NAME("s.logicalrelid")}, o.oid FROM own o JOIN pg_dist_shard s USING (shardid) JOIN pg_dist_placement l USING (shardid)
      JOIN pg_dist_local_group g ON g.groupid = l.groupid WHERE to_regclass(shard_name(s.logicalrelid, s.shardid)) = o.oid) x
    WHERE x.oid IS NOT NULL`;

const DANGERS = `
WITH t AS MATERIALIZED (
    SELECT d.logicalrelid::oid AS oid, format('%I.%I', n.nspname, c.relname) AS name, d.partmethod, d.repmodel,
           d.partmethod = 'n' AND d.repmodel = 't' AS reference, c.relforcerowsecurity,
           c.relrowsecurity OR c.relforcerowsecurity OR EXISTS (SELECT FROM pg_policy p WHERE p.polrelid = c.oid) AS guarded, c.relpersistence, r.rolname AS owner,
           r.rolsuper OR r.rolbypassrls AS bypass
      FROM pg_dist_partition d JOIN pg_class c ON c.oid = d.logicalrelid JOIN pg_namespace n ON n.oid = c.relnamespace
      JOIN pg_roles r ON r.oid = c.relowner WHERE NOT (d.partmethod = 'n' AND d.repmodel = 's' AND d.colocationid = 0)),
answered AS MATERIALIZED (
    SELECT n.nodename AS host, a.success, a.result FROM run_command_on_all_nodes((SELECT replace(${literal(`SELECT coalesce(jsonb_object_agg(name, relations), '{}') FROM (
          SELECT r.name, jsonb_object_agg(r.oid::regclass::text, ${DIGEST("r.oid")}) AS relations FROM (${guardedRelations("@tables@::text[]")}) r GROUP BY 1) x`)},
          '@tables@', quote_literal(coalesce(array_agg(t.name), '{}')::text)) FROM t WHERE t.guarded)) a JOIN pg_dist_node n USING (nodeid)),
placed AS MATERIALIZED (
    SELECT a.host, e.key AS name, r.key AS relation, r.value AS digest
      FROM answered a, jsonb_each(CASE WHEN a.success THEN a.result::jsonb ELSE '{}' END) e, jsonb_each_text(e.value) r),
asked AS MATERIALIZED (
    SELECT n.nodename AS host, a.success, a.result FROM run_command_on_all_nodes($q$SELECT coalesce(jsonb_agg(jsonb_build_array(format('%I.%I', n.nspname, c.relname), s.subname)), '[]')
               FROM pg_subscription_rel r JOIN pg_subscription s ON s.oid = r.srsubid JOIN pg_class c ON c.oid = r.srrelid JOIN pg_namespace n ON n.oid = c.relnamespace$q$) a JOIN pg_dist_node n USING (nodeid)),
subscribed AS MATERIALIZED (
    SELECT a.host, s ->> 0 AS name, s ->> 1 AS subscription
      FROM asked a, jsonb_array_elements(CASE WHEN a.success THEN a.result::jsonb ELSE '[]' END) s)
SELECT name AS "table", 'force-row-security' AS rule, owner::text AS what, NULL::text AS place FROM t WHERE relforcerowsecurity AND NOT bypass
UNION ALL SELECT t.name, CASE WHEN p.polpermissive THEN 'policy-sub-query' ELSE 'restrictive-policy' END, p.polname, NULL
  FROM t JOIN pg_policy p ON p.polrelid = t.oid WHERE NOT p.polpermissive OR ${HAS_SUBQUERY}
UNION ALL SELECT t.name, 'policy-differs', string_agg(p.host || ' ' || p.relation, ', ' ORDER BY p.host, p.relation), NULL
  FROM t JOIN placed p USING (name) WHERE p.digest <> ${DIGEST("t.oid")} GROUP BY t.name
UNION ALL SELECT t.name, 'subscription', s.subscription, s.host FROM t JOIN subscribed s USING (name)
UNION ALL SELECT t.name, 'volatile-default', string_agg(a.attname, ', ' ORDER BY a.attnum), NULL
  FROM t JOIN pg_attrdef d ON d.adrelid = t.oid JOIN pg_attribute a ON a.attrelid = d.adrelid AND a.attnum = d.adnum
 WHERE t.reference AND a.attgenerated = '' AND ${VOLATILE("d.adbin::text")} GROUP BY t.name
UNION ALL SELECT t.name, 'clock-default', string_agg(a.attname, ', ' ORDER BY a.attnum), NULL
  FROM t JOIN pg_attrdef d ON d.adrelid = t.oid JOIN pg_attribute a ON a.attrelid = d.adrelid AND a.attnum = d.adnum
 WHERE t.reference AND a.attgenerated = '' AND ${CLOCK("d.adbin::text")} GROUP BY t.name
UNION ALL SELECT t.name, 'rule', string_agg(w.rulename, ', ' ORDER BY w.rulename), NULL FROM t JOIN pg_rewrite w ON w.ev_class = t.oid GROUP BY t.name
UNION ALL SELECT t.name, 'unlogged', NULL, NULL FROM t WHERE relpersistence = 'u'
ORDER BY 1, 2, 3`;

/** What a column whose default is a keyword of the clock does, in words. */
export const clockDefault = (table: string, columns: string) =>
    `the default of ${columns} in reference table ${table} (CURRENT_TIMESTAMP or the like) is computed on each node for every row: its copies differ`;

const EXPLAINED: Readonly<
    Record<Danger["rule"], (table: string, what: string, place: string) => Omit<Danger, "table" | "rule">>
> = {
    "force-row-security": (table, owner) => ({
        says: `${table} has FORCE ROW LEVEL SECURITY and its owner ${owner} does not bypass policies: whatever is moved, split, altered or dumped as ${owner} loses the rows that its policies hide, without an error`,
        fix: `ALTER TABLE ${table} NO FORCE ROW LEVEL SECURITY; or ALTER ROLE ${owner} BYPASSRLS`,
    }),
    "restrictive-policy": (table, policy) => ({
        says: `policy ${policy} on ${table} is RESTRICTIVE, but Citus leaves that word out on workers and shards. There it shows rows instead of hiding them`,
        fix: `DROP POLICY "${policy}" ON ${table}; and put its condition into a permissive policy with AND`,
    }),
    "policy-sub-query": (table, policy) => ({
        says: `policy ${policy} on ${table} has a sub-query, with which queries fail: "unexpected non-SELECT command in SubLink"`,
        fix: `DROP POLICY "${policy}" ON ${table}; and write its condition with a list or a setting`,
    }),
    "policy-differs": (table, places) => ({
        says: `the policies of ${table} on ${places} differ from the coordinator's: what a tenant sees depends on where its rows are`,
        fix: `pulumi up, if ${table} belongs to a tenant group; otherwise drop its policies with DROP POLICY IF EXISTS and make them anew on the coordinator`,
    }),
    subscription: (table, subscription, host) => ({
        says: `subscription ${subscription} on ${host} writes into ${table}: its rows land in the table's shell on that node, where no query sees them`,
        fix: `on ${host}: DROP SUBSCRIPTION "${subscription}"; and bring the rows by COPY or INSERT through the coordinator`,
    }),
    "volatile-default": (table, columns) => ({
        says: `the default of ${columns} in reference table ${table} is computed on each node: rows that were there when the column was added may have other values on each node`,
        fix: `ALTER TABLE ${table} ALTER COLUMN ${columns} DROP DEFAULT; UPDATE ${table} SET ${columns} = ...; let applications give the value`,
    }),
    "clock-default": (table, columns) => ({
        says: clockDefault(table, columns),
        fix: `ALTER TABLE ${table} ALTER COLUMN ${columns} SET DEFAULT now(); UPDATE ${table} SET ${columns} = now()`,
    }),
    rule: (table, rules) => ({
        says: `rule ${rules} on ${table} acts on the coordinator alone: rows are lost or changed depending on the node that a client is connected to`,
        fix: `DROP RULE "${rules}" ON ${table}`,
    }),
    unlogged: (table) => ({
        says: `${table} is UNLOGGED: its shards can't be moved while they are served, and a crash empties them`,
        fix: `ALTER TABLE ${table} SET LOGGED`,
    }),
};

/**
 * All dangers of a cluster's tables: one question to the coordinator, which asks every node.
 * @throws DatabaseError naming a node that gave no answer
 */
export async function readDangers(session: Session): Promise<Danger[]> {
    const rows = await session.query<{
        table: string;
        rule: Danger["rule"] | "unknown";
        what: string | null;
        place: string | null;
    }>(DANGERS);
    const known = rows.flatMap(({ rule, ...row }) => {
        if (rule === "unknown")
            throw new DatabaseError(row.place ?? "a node", "asking it about policies", { message: row.what });
        return [{ rule, ...row }];
    });
    return known.map(({ table, rule, what, place }) => ({
        table,
        rule,
        ...EXPLAINED[rule](table, what ?? "", place ?? ""),
    }));
}
