/** Row-level security of models row and rls: generated policies, the same on every placement, and what stands against them. */

import { createHash } from "node:crypto";
import type { Context, Facet, Planned, Step } from "../../tenants/facet.ts";
import { listed } from "../../tenants/listed.ts";
import { appRole, type GroupSpec, tenantsRole } from "../../tenants/spec.ts";
import { identifier, literal, qualified } from "../quote.ts";
import { executed, said, transaction } from "./batch.ts";
import { ensureGroupRoles } from "./groupRoles.ts";
import { DIGEST, HAS_SUBQUERY, POLICY_PRINT, perPlacement } from "./guards.ts";

interface FoundPolicy {
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
    /** Type of the tenant column; null when there is none. */
    readonly type: string | null;
    readonly policies: readonly FoundPolicy[];
    /** What all of its policies together are on the coordinator. */
    readonly digest: string;
    /** Whether an index or key leads with the tenant column. */
    readonly index: boolean;
    readonly granted: Grants;
    /** Sequences of its columns that one of the roles may not use. */
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
    /** Tenants that don't write because of the ledger, and those that don't read either. */
    readonly fenced: readonly string[];
    readonly hidden: readonly string[];
    /** Old copies that are deleted and still in the program: what hid them stays as long, so that deleting changes no policy. */
    readonly buried: readonly string[];
    /** Names of deleted tenants that are no value of a tenant column. */
    readonly invalid: readonly string[];
}

const NOTHING: FoundPolicies = { tables: [], differing: {}, left: {}, fenced: [], hidden: [], buried: [], invalid: [] };

const PREFIX = "citus_as_code_";

const VERBS = ["select", "insert", "update", "delete"] as const;

const RIGHTS = VERBS.map((verb) => verb.toUpperCase());

const md5 = (text: string) => createHash("md5").update(text).digest("hex");

interface WantedPolicy {
    readonly name: string;
    /** After `ON table`. */
    readonly sql: string;
}

/** A list of keys as an array, without a sub-query, which Citus could not take to the shards. */
function arrayOf(keys: readonly string[], type: string): string {
    const elements = keys.map((key) => `"${key.replaceAll("\\", "\\\\").replaceAll('"', '\\"')}"`);
    return `${literal(`{${elements.join(",")}}`)}::${type}[]`;
}

/** Policies of one table; each role has its own for each kind of statement. */
export function wantedPolicies(
    group: GroupSpec,
    column: string,
    type: string,
    frozen: readonly string[],
    hidden: readonly string[],
): WantedPolicy[] {
    // `character` without a length means char(1), so the key is cast to bpchar
    const cast = type === "character" ? "bpchar" : type;
    const key = identifier(column);
    const keys = {
        app: `nullif(current_setting('app.tenant', true), '')::${cast}`,
        tenants: `substring(current_user::text from ${literal(`^${group.name}_(.*)$`)})::${cast}`,
    };
    const roles = { app: appRole(group.name), tenants: tenantsRole(group.name) };
    const but = (names: readonly string[]) =>
        names.length === 0 ? "" : ` AND ${key} <> ALL (${arrayOf([...new Set(names)].sort(), cast)})`;
    return (["app", "tenants"] as const).flatMap((who) =>
        VERBS.map((verb) => {
            const rows = `${key} = ${keys[who]}${but(verb === "select" ? hidden : [...frozen, ...hidden])}`;
            const clauses = [
                ...(verb === "insert" ? [] : [`USING (${rows})`]),
                ...(verb === "insert" || verb === "update" ? [`WITH CHECK (${rows})`] : []),
            ];
            return {
                name: `${prefixOf(group)}${who}_${verb}`,
                sql: `FOR ${verb.toUpperCase()} TO ${identifier(roles[who])} ${clauses.join(" ")}`,
            };
        }),
    );
}

const prefixOf = (group: GroupSpec) => `${PREFIX}${group.name}_`;

const ours = (group: GroupSpec, { name }: FoundPolicy) => name.startsWith(prefixOf(group));

const commentOf = (wanted: WantedPolicy, print: string) => `citus_as_code ${md5(wanted.sql)} ${print}`;

const columnOf = (group: GroupSpec, table: string) => group.tables[table]?.column;

/** Tenants of the program and of the ledger that don't write; who is to be deleted does not from before its export on. */
function fencedOf(group: GroupSpec, found: FoundPolicies): string[] {
    const frozen = Object.keys(group.tenants).filter((tenant) => group.tenants[tenant]?.frozen);
    return [...frozen, ...found.fenced, ...group.delete.filter((tenant) => !found.invalid.includes(tenant))];
}

function strangers(group: GroupSpec, table: PolicyTable): string[] {
    const { name } = table;
    const refusals: string[] = [];
    if (table.forced)
        refusals.push(
            `${name} has FORCE ROW LEVEL SECURITY: whatever its owner copies or moves loses the rows that policies hide, without an error.\nALTER TABLE ${name} NO FORCE ROW LEVEL SECURITY.`,
        );
    const shared = table.citus || (group.model === "row" && columnOf(group, name) !== undefined);
    for (const policy of table.policies) {
        if (ours(group, policy)) continue;
        const drop = `DROP POLICY ${identifier(policy.name)} ON ${name}`;
        const roles = policy.roles.filter((role) =>
            ["public", appRole(group.name), tenantsRole(group.name)].includes(role),
        );
        if (!policy.permissive && shared)
            refusals.push(
                `${name}: policy ${policy.name} is RESTRICTIVE, and Citus makes it a permissive one on workers and shards: it would show rows there instead of hiding them.\n${drop}; and put its condition into a permissive policy with AND.`,
            );
        else if (policy.subquery && shared)
            refusals.push(
                `${name}: policy ${policy.name} has a sub-query; Citus would say "unexpected non-SELECT command in SubLink".\n${drop}; and write its condition with a list or a setting.`,
            );
        else if (policy.permissive && roles.length > 0 && group.rowSecurity)
            refusals.push(
                `${name}: policy ${policy.name} is also for ${roles.join(", ")}, and shows tenants what the generated policies hide.\n${drop}; or make it TO other roles.`,
            );
    }
    return refusals;
}

/** Pure. */
export function planPolicies(group: GroupSpec, found: FoundPolicies): Planned {
    const steps: Step[] = [];
    const refusals: string[] = [];
    const notes: string[] = [];
    const frozen = fencedOf(group, found);
    const there = new Map(found.tables.map((table) => [table.name, table]));
    if (!group.rowSecurity)
        for (const tenant of Object.keys(group.tenants))
            if (group.tenants[tenant]?.frozen)
                refusals.push(
                    `${tenant}: its state is frozen, and while rowSecurity is false nothing keeps it from writing: take one of the two away`,
                );
    const step = (kind: string, table: string, text: string) =>
        steps.push({ kind: `policies.${kind}`, table, text: `${table}: ${text}` });
    for (const name of Object.keys(group.tables)) {
        const column = columnOf(group, name);
        const table = there.get(name);
        const kind = group.tables[name]?.kind;
        if (kind === "local" && column === undefined) continue;
        if (!table) {
            if (column !== undefined && group.rowSecurity) step("set", name, "policies for each tenant's rows");
            continue;
        }
        refusals.push(...strangers(group, table));
        if (column !== undefined && table.type !== null) {
            const mine = table.policies.filter((policy) => ours(group, policy));
            if (group.rowSecurity) {
                if (!table.index)
                    step("index", name, `an index on ${column}: without one each query of a tenant reads all rows`);
                const wanted = wantedPolicies(group, column, table.type, frozen, [...found.hidden, ...found.buried]);
                const same = (policy: WantedPolicy) => {
                    const is = mine.find((p) => p.name === policy.name);
                    return is !== undefined && is.comment === commentOf(policy, is.print);
                };
                const changed =
                    wanted.filter((policy) => !same(policy)).length +
                    mine.filter((p) => !wanted.some((w) => w.name === p.name)).length;
                const differing = found.differing[name] ?? [];
                if (mine.length === 0) step("set", name, "policies that show each tenant its rows");
                else if (changed > 0) step("set", name, `${changed} of its policies corrected`);
                else if (!table.enabled) step("set", name, "row-level security is switched on again");
                else if (differing.length > 0)
                    step("set", name, `policies that differ from the coordinator's on ${listed(differing, 3)}`);
                if (!table.enabled && table.others.length > 0)
                    notes.push(
                        `${name}: ${table.others.join(", ")} has rights on it but no policy, so it sees no row once row-level security is on`,
                    );
            } else if (table.direct.length > 0) {
                refusals.push(
                    `${name}: rowSecurity can't be false while ${table.direct.join(", ")} ${table.direct.length === 1 ? "has" : "have"} rights on it: a tenant's own role would see every tenant's rows.\nREVOKE ALL ON ${name} FROM ${table.direct.map((role) => (role === "PUBLIC" ? role : identifier(role))).join(", ")}, or leave rowSecurity on.`,
                );
            } else if (found.hidden.length > 0 && mine.length > 0) {
                refusals.push(
                    `${name}: rowSecurity can't be false while the group keeps old copies of tenants that went elsewhere (${found.hidden.slice(0, 5).join(", ")}): without policies they would be seen again. Delete them first, or leave rowSecurity on.`,
                );
            } else {
                const left = found.left[name] ?? [];
                if (mine.length > 0)
                    step(
                        "drop",
                        name,
                        `its generated policies are dropped, as rowSecurity is false, and tenants' own roles lose their rights on it`,
                    );
                else if (left.length > 0)
                    step("drop", name, `generated policies that are left on ${listed(left, 3)} are dropped`);
                else if (table.tenantGrants.length > 0 || table.tenantSequences.length > 0)
                    step("drop", name, "tenants' own roles lose their rights on it, as rowSecurity is false");
            }
        }
        if (table.owner !== null)
            notes.push(
                `${name} is owned by ${table.owner}, and no policy limits an owner: let no application connect as ${table.owner}`,
            );
        const rights = column === undefined ? ["SELECT"] : RIGHTS;
        const lacks = (has: readonly string[], of = rights) => of.some((right) => !has.includes(right));
        const tenants = group.rowSecurity || column === undefined;
        if (
            lacks(table.granted.app) ||
            (tenants && lacks(table.granted.tenants, name === group.anchor ? ["SELECT"] : rights)) ||
            table.sequences.length > 0 ||
            !table.schema
        )
            step(
                "grant",
                name,
                `${column === undefined ? "read" : "used"} by ${appRole(group.name)}${tenants ? ` and ${tenantsRole(group.name)}` : ""}`,
            );
    }
    return { steps, refusals, notes };
}

/** All rights, sequences and the schema of a table. */
function grants(group: GroupSpec, table: string, sequences: readonly string[]): string[] {
    const column = columnOf(group, table);
    const all = [appRole(group.name), ...(group.rowSecurity || column === undefined ? [tenantsRole(group.name)] : [])];
    const roles = all.map(identifier).join(", ");
    // what a tenant's own role may change of the anchor is the isolation's
    const write = table === group.anchor ? identifier(appRole(group.name)) : roles;
    const [schema] = table.includes(".") ? table.split(".", 2) : ["public"];
    return [
        `GRANT USAGE ON SCHEMA ${identifier(schema ?? "public")} TO ${roles}`,
        `GRANT SELECT ON ${qualified(table)} TO ${roles}`,
        ...(column === undefined ? [] : [`GRANT ${RIGHTS.join(", ")} ON ${qualified(table)} TO ${write}`]),
        ...sequences.map((sequence) => `GRANT USAGE ON SEQUENCE ${sequence} TO ${roles}`),
    ];
}

async function foundTable(context: Context, name: string): Promise<{ found: FoundPolicies; table: PolicyTable }> {
    const { group, session } = context;
    const sql = policies.sql(group, { ledger: true, tables: Object.keys(group.tables) });
    const [row] = await session.query<{ found: FoundPolicies }>(
        `SELECT (${sql}) AS found FROM (SELECT $1::text, $2::jsonb, $3::text) AS given`,
        [group.name, JSON.stringify(group), ""],
    );
    const table = row?.found.tables.find((t) => t.name === name);
    if (!row || !table) throw new Error(`${name} was dropped while its policies were made. Run pulumi up again.`);
    return { found: row.found, table };
}

async function inTransaction(context: Context, table: string, statements: readonly string[], last = ""): Promise<void> {
    try {
        await transaction(
            context.session,
            `SET LOCAL lock_timeout = ${context.group.lockTimeout}; SET LOCAL client_min_messages = warning;\n${executed(statements)}\n${last}`,
        );
    } catch (error) {
        throw new Error(
            `${table}: its policies could not be set\n${said(error)}\nIts policies are as they were. A lock that somebody holds makes this fail after ${context.group.lockTimeout} ms. Run pulumi up again: it is safe to repeat.`,
        );
    }
}

/** Drops on every placement, also what only a placement has: IF EXISTS goes to all of them. */
async function dropElsewhere(context: Context, table: PolicyTable): Promise<string[]> {
    if (!table.citus) return [];
    const rows = await context.session.query<{ names: string[] | null }>(
        `SELECT CASE WHEN success THEN ARRAY(SELECT jsonb_array_elements_text(result::jsonb)) END AS names FROM run_command_on_all_nodes(${literal(
            `SELECT coalesce(jsonb_agg(DISTINCT p.polname), '[]') FROM pg_policy p JOIN (${perPlacement([table.name])}) r ON r.oid = p.polrelid`,
        )})`,
    );
    const known = new Set(table.policies.map(({ name }) => name));
    const extra = new Set(rows.flatMap(({ names }) => names ?? []).filter((name) => !known.has(name)));
    return [...extra].map((name) => `DROP POLICY IF EXISTS ${identifier(name)} ON ${qualified(table.name)}`);
}

export const policies: Facet<FoundPolicies> = {
    name: "policies",
    none: NOTHING,

    sql(group, probe) {
        const names = Object.entries(group.tables).filter(
            ([name, { kind, column }]) => probe.tables.includes(name) && (kind === "reference" || column !== undefined),
        );
        const fenced = probe.ledger
            ? `'fenced', (SELECT coalesce(jsonb_agg(t.tenant), '[]') FROM citus_as_code.tenant t WHERE t.grp = $1 AND (t.state = 'deleting'
                   OR t.state = 'frozen' AND (NOT $2::jsonb -> 'tenants' ? t.tenant OR EXISTS (
                      SELECT 1 FROM citus_as_code.tenant_change c WHERE c.from_grp = $1 AND c.from_tenant = t.tenant AND c.phase <> 'done')))),
               'hidden', (SELECT coalesce(jsonb_agg(tenant), '[]') FROM citus_as_code.tenant WHERE grp = $1 AND (state = 'superseded' OR detail ? 'moved_to')),
               'buried', (SELECT coalesce(jsonb_agg(tenant), '[]') FROM citus_as_code.tenant_tombstone WHERE grp = $1 AND moved_to IS NOT NULL AND $2::jsonb -> 'delete' ? tenant)`
            : "'fenced', '[]'::jsonb, 'hidden', '[]'::jsonb, 'buried', '[]'::jsonb";
        if (names.length === 0)
            return `SELECT jsonb_build_object('tables', '[]'::jsonb, 'differing', '{}'::jsonb, 'left', '{}'::jsonb, 'invalid', '[]'::jsonb, ${fenced})`;
        const values = names.map(
            ([name, { column }]) =>
                `(${literal(name)}, ${literal(qualified(name))}::regclass, ${column === undefined ? "NULL" : literal(column)})`,
        );
        const [app, tenants] = [appRole(group.name), tenantsRole(group.name)].map(literal);
        const rights = (
            role: string | undefined,
        ) => `(SELECT coalesce(jsonb_agg(g), '[]') FROM unnest('{${RIGHTS.join(",")}}'::text[]) g, pg_roles r
            WHERE r.rolname = ${role} AND has_table_privilege(r.oid, c.oid, g))`;
        const columns = names.filter(([, { column }]) => column !== undefined).map(([name]) => name);
        return `WITH t AS MATERIALIZED (SELECT v.* FROM (VALUES ${values.join(", ")}) AS v (name, oid, col)),
            mine AS MATERIALIZED (SELECT r.oid FROM pg_roles r WHERE r.rolname IN (${app}, ${tenants})),
            member AS MATERIALIZED (SELECT m.member AS oid FROM pg_auth_members m JOIN pg_roles r ON r.oid = m.roleid WHERE r.rolname = ${tenants}),
            placed AS MATERIALIZED (SELECT n.nodename AS host, e.key AS name, r.key AS relation, r.value ->> 'digest' AS digest,
                    r.value -> 'ours' AS ours, (r.value ->> 'on')::boolean AS enabled
                FROM run_command_on_all_nodes(${literal(`SELECT coalesce(jsonb_object_agg(name, relations), '{}') FROM (
                    SELECT r.name, jsonb_object_agg(r.oid::regclass::text, jsonb_build_object('digest', ${DIGEST("r.oid")},
                        'on', (SELECT k.relrowsecurity FROM pg_class k WHERE k.oid = r.oid),
                        'ours', ARRAY(SELECT p.polname FROM pg_policy p WHERE p.polrelid = r.oid AND starts_with(p.polname, ${literal(prefixOf(group))}))
                    )) AS relations FROM (${perPlacement(columns)}) r GROUP BY 1) x`)}) a
                JOIN pg_dist_node n USING (nodeid), jsonb_each(CASE WHEN a.success THEN a.result::jsonb ELSE '{}' END) e, jsonb_each(e.value) r)
            SELECT jsonb_build_object('tables', (SELECT coalesce(jsonb_agg(jsonb_build_object(
                'name', t.name, 'citus', EXISTS (SELECT 1 FROM pg_dist_partition p WHERE p.logicalrelid = c.oid),
                'enabled', c.relrowsecurity, 'forced', c.relforcerowsecurity,
                'type', (SELECT format_type(a.atttypid, NULL) FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = t.col AND NOT a.attisdropped),
                'policies', (SELECT coalesce(jsonb_agg(jsonb_build_object('name', p.polname, 'permissive', p.polpermissive, 'subquery', ${HAS_SUBQUERY},
                        'roles', ARRAY(SELECT coalesce(r.rolname, 'public') FROM unnest(p.polroles) o LEFT JOIN pg_roles r ON r.oid = o),
                        'print', ${POLICY_PRINT}, 'comment', obj_description(p.oid, 'pg_policy')) ORDER BY p.polname), '[]')
                    FROM pg_policy p WHERE p.polrelid = c.oid),
                'digest', ${DIGEST("c.oid")},
                'index', EXISTS (SELECT 1 FROM pg_index i JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = t.col AND a.attnum = i.indkey[0]
                    WHERE i.indrelid = c.oid AND i.indisvalid AND i.indpred IS NULL),
                'granted', jsonb_build_object('app', ${rights(app)}, 'tenants', ${rights(tenants)}),
                'sequences', (SELECT coalesce(jsonb_agg(DISTINCT d.objid::regclass::text), '[]') FROM pg_depend d JOIN pg_sequence q ON q.seqrelid = d.objid
                    WHERE d.classid = 'pg_class'::regclass AND d.refobjid = c.oid AND d.deptype IN ('a', 'i') AND t.col IS NOT NULL
                      AND (NOT EXISTS (SELECT 1 FROM mine) OR EXISTS (SELECT 1 FROM mine m WHERE NOT has_sequence_privilege(m.oid, q.seqrelid, 'USAGE')
                           AND (${String(group.rowSecurity)} OR m.oid = (SELECT r.oid FROM pg_roles r WHERE r.rolname = ${app}))))),
                'tenantGrants', (SELECT coalesce(jsonb_agg(DISTINCT x.privilege_type), '[]') FROM aclexplode(c.relacl) x
                    JOIN pg_roles r ON r.oid = x.grantee AND r.rolname = ${tenants}),
                'tenantSequences', (SELECT coalesce(jsonb_agg(DISTINCT d.objid::regclass::text), '[]') FROM pg_depend d JOIN pg_class q ON q.oid = d.objid AND q.relkind = 'S',
                    aclexplode(q.relacl) x JOIN pg_roles r ON r.oid = x.grantee AND r.rolname = ${tenants}
                    WHERE d.classid = 'pg_class'::regclass AND d.refobjid = c.oid AND d.deptype IN ('a', 'i') AND t.col IS NOT NULL),
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
                 WHERE EXISTS (SELECT 1 FROM pg_dist_partition d WHERE d.logicalrelid = t.oid) AND p.digest <> ${DIGEST("t.oid")} GROUP BY 1) x),
            'left', (SELECT coalesce(jsonb_object_agg(name, places), '{}') FROM (
                SELECT p.name, jsonb_agg(p.host || ' ' || p.relation ORDER BY p.host, p.relation) AS places FROM placed p JOIN t USING (name) JOIN pg_class c ON c.oid = t.oid
                 WHERE p.enabled AND NOT c.relrowsecurity OR EXISTS (SELECT FROM jsonb_array_elements_text(p.ours) o (name)
                       WHERE NOT EXISTS (SELECT FROM pg_policy y WHERE y.polrelid = t.oid AND y.polname = o.name)) GROUP BY 1) x),
            'invalid', (SELECT coalesce(jsonb_agg(DISTINCT d.name), '[]') FROM jsonb_array_elements_text($2::jsonb -> 'delete') d (name), t
                JOIN pg_attribute a ON a.attrelid = t.oid AND a.attname = t.col AND NOT a.attisdropped
                WHERE NOT pg_input_is_valid(d.name, CASE a.atttypid WHEN 'bpchar'::regtype THEN 'bpchar' ELSE format_type(a.atttypid, NULL) END)),
            ${fenced})`;
    },

    plan: planPolicies,

    run: {
        /** CONCURRENTLY, so that nobody waits; what a killed one left is dropped first. */
        index: async (context, steps) => {
            for (const { table = "", text } of steps) {
                context.alive();
                context.progress(text);
                const column = columnOf(context.group, table) ?? "";
                const [schema, plain] = table.includes(".") ? table.split(".", 2) : ["public", table];
                const name = identifier(
                    `${(plain ?? "").slice(0, 40)}_${md5(`${table} ${column}`).slice(0, 8)}_tenant`,
                );
                await context.session.query(`DROP INDEX IF EXISTS ${identifier(schema ?? "public")}.${name}`);
                await context.session.query(
                    `CREATE INDEX CONCURRENTLY ${name} ON ${qualified(table)} (${identifier(column)})`,
                );
            }
        },

        set: async (context, steps) => {
            await ensureGroupRoles(context.session, context.group);
            for (const { table: name = "", text } of steps) {
                context.alive();
                context.progress(text);
                const { found, table } = await foundTable(context, name);
                const { group } = context;
                const column = columnOf(group, name);
                if (column === undefined || table.type === null) continue;
                const wanted = wantedPolicies(group, column, table.type, fencedOf(group, found), [
                    ...found.hidden,
                    ...found.buried,
                ]);
                const on = qualified(name);
                const old = table.policies.filter((policy) => ours(group, policy)).map((policy) => policy.name);
                const names = [...new Set([...wanted.map((policy) => policy.name), ...old])];
                const sums = wanted.map(
                    (policy) => `(${literal(policy.name)}, ${literal(`citus_as_code ${md5(policy.sql)} `)})`,
                );
                await inTransaction(
                    context,
                    name,
                    [
                        ...(await dropElsewhere(context, table)),
                        ...names.map((policy) => `DROP POLICY IF EXISTS ${identifier(policy)} ON ${on}`),
                        ...wanted.map((policy) => `CREATE POLICY ${identifier(policy.name)} ON ${on} ${policy.sql}`),
                        `ALTER TABLE ${on} ENABLE ROW LEVEL SECURITY`,
                    ],
                    `DO $do$ DECLARE x record; BEGIN
                            FOR x IN SELECT p.polname, w.mark || ${POLICY_PRINT} AS comment FROM pg_policy p
                                JOIN (VALUES ${sums.join(", ")}) AS w (name, mark) ON w.name = p.polname WHERE p.polrelid = ${literal(on)}::regclass
                            LOOP EXECUTE format('COMMENT ON POLICY %I ON %s IS %L', x.polname, ${literal(on)}, x.comment); END LOOP; END $do$`,
                );
            }
        },

        drop: async (context, steps) => {
            await ensureGroupRoles(context.session, context.group);
            const tenants = identifier(tenantsRole(context.group.name));
            for (const { table: name = "" } of steps) {
                context.alive();
                const { table } = await foundTable(context, name);
                const on = qualified(name);
                const mine = table.policies.filter((policy) => ours(context.group, policy));
                await inTransaction(context, name, [
                    // a tenant's own role sees its rows by them alone
                    `REVOKE ALL ON ${on} FROM ${tenants}`,
                    ...table.tenantSequences.map((sequence) => `REVOKE ALL ON SEQUENCE ${sequence} FROM ${tenants}`),
                    ...(await dropElsewhere(context, table)),
                    ...mine.map((policy) => `DROP POLICY IF EXISTS ${identifier(policy.name)} ON ${on}`),
                    // with others left it is not ours to switch off
                    ...(mine.length === table.policies.length && (mine.length > 0 || !table.enabled)
                        ? [`ALTER TABLE ${on} DISABLE ROW LEVEL SECURITY`]
                        : []),
                ]);
            }
        },

        grant: async (context, steps) => {
            await ensureGroupRoles(context.session, context.group);
            for (const { table: name = "" } of steps) {
                context.alive();
                const { table } = await foundTable(context, name);
                await inTransaction(context, name, grants(context.group, name, table.sequences));
            }
        },
    },
};
