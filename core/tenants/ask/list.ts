/** Every tenant of every group, from catalogs and ledger alone: no table is read, however many tenants there are. */

import { hashOf } from "../../../client/hash.ts";
import { type Place, type RowGroup, ShardMap } from "../../../client/shardMap.ts";
import type { Session } from "../../reach/session.ts";
import { nearest } from "../../util/nearest.ts";
import { SHARD_BYTES, SHARD_ROWS } from "../files/estimates.ts";
import { type GroupSpec, type Model, tenantRole } from "../group/spec.ts";
import { isServed } from "../ledger/states.ts";
import { type FoundShards, type SmallShards, shardsSql, smallShards } from "./smallShards.ts";

export interface Activity {
    /** Statements in this period and the one before. */
    readonly queries: number;
    /** Seconds of CPU in both. */
    readonly cpu: number;
}

export interface Limits {
    readonly connections?: number;
    readonly statementTimeout?: string;
    readonly idleInTransactionTimeout?: string;
}

export interface ListedTenant {
    readonly group: string;
    readonly tenant: string;
    readonly model: Model;
    readonly state: string;
    /** Node, or server of a routed tenant; null when nothing of it is anywhere. */
    readonly place: string | null;
    /** Whether it shares what it lies in with others: then it has no size of its own. */
    readonly shared: boolean;
    readonly bytes: number | null;
    /** As PostgreSQL estimates it; null where it does not, and in model database. */
    readonly rows: number | null;
    readonly activity: Activity | null;
    readonly limits: Limits;
    /** Files of the template that it ran, of how many; null where nothing is run. */
    readonly schema: { readonly run: number; readonly of: number; readonly behind: readonly string[] } | null;
    /** Whether the program had it at the last `up` of its group. */
    readonly inProgram: boolean;
    /** Whether create_tenant made it and no program has named it since. */
    readonly onboarded: boolean;
    /** Whether its schema or database was dropped by somebody else. */
    readonly gone: boolean;
}

export interface Listed {
    /** Whether Citus counts tenants' statements. */
    readonly tracked: boolean;
    readonly tenants: readonly ListedTenant[];
    /** Groups with shards that tenants left small. */
    readonly small?: readonly SmallShards[];
    /** Bytes a second of the last copy of tables; undefined before the first. */
    readonly rate?: number;
}

interface Weight {
    readonly bytes: number | null;
    readonly rows: number | null;
}

interface Answer {
    readonly shards?: Readonly<Record<string, FoundShards>>;
    readonly rate?: number | null;
    readonly map: unknown;
    readonly tracked: boolean;
    readonly groups: readonly Pick<GroupSpec, "name" | "model" | "anchor" | "template">[];
    readonly tenants: readonly {
        readonly grp: string;
        readonly tenant: string;
        readonly model: Model;
        readonly state: string;
        readonly detail: Readonly<Record<string, unknown>>;
        readonly inProgram: boolean;
        /** Whether there is a schema of its name. */
        readonly schema: boolean;
    }[];
    /** Weight by schema. */
    readonly schemas: Readonly<Record<string, Weight>>;
    /** Weight of what lies in one range of hashes, by group and its lower end. */
    readonly ranges: Readonly<Record<string, Readonly<Record<string, Weight>>>>;
    /** Bytes by node and database. */
    readonly databases: Readonly<Record<string, Readonly<Record<string, number>>>>;
    readonly activity: Readonly<Record<string, Activity>>;
    /** Roles with a limit. */
    readonly roles: Readonly<
        Record<string, { readonly connections: number; readonly settings: readonly string[] | null }>
    >;
    /** Paths by group and tenant. */
    readonly ran: Readonly<Record<string, Readonly<Record<string, readonly string[]>>>>;
}

const DATABASES =
    "SELECT jsonb_object_agg(datname, pg_database_size(oid)) FROM pg_database WHERE NOT datistemplate AND datallowconn";

/** Null where a group has none. */
const ANCHOR = `to_regclass(CASE strpos(g.spec ->> 'anchor', '.') > 0
    WHEN true THEN format('%I.%I', split_part(g.spec ->> 'anchor', '.', 1), split_part(g.spec ->> 'anchor', '.', 2))
    WHEN false THEN format('public.%I', g.spec ->> 'anchor') END)`;

/** One whose data is still to come from another group serves nobody yet, whatever place there is for it. */
const STATE = `CASE WHEN ${isServed("t.state")}
        AND (SELECT g.spec -> 'tenants' -> t.tenant ? 'from' FROM citus_as_code.tenant_group g WHERE g.grp = t.grp)
        AND NOT EXISTS (SELECT FROM citus_as_code.tenant_change c WHERE c.grp = t.grp AND c.tenant = t.tenant AND c.phase = 'done')
    THEN 'coming' ELSE t.state END`;

const LIST = `
WITH estimate AS (
    ${SHARD_ROWS}),
weight AS (
    SELECT p.colocationid, p.logicalrelid, s.shardminvalue::int AS low, s.shardmaxvalue::int AS high, z.size AS bytes, e.rows
      FROM pg_dist_partition p JOIN pg_dist_shard s USING (logicalrelid)
      LEFT JOIN (${SHARD_BYTES}) z ON z.shard_id = s.shardid
      LEFT JOIN estimate e ON e.shardid = s.shardid),
tracked AS (SELECT coalesce(current_setting('citus.stat_tenants_track', true), 'none') <> 'none' AS is)
SELECT jsonb_build_object(
    'map', citus_as_code.shard_map(),
    'tracked', (SELECT tracked.is FROM tracked),
    'groups', (SELECT coalesce(jsonb_agg(jsonb_build_object('name', g.grp, 'model', g.spec -> 'model', 'anchor', g.spec -> 'anchor',
                   'template', g.spec -> 'template') ORDER BY g.grp), '[]') FROM citus_as_code.tenant_group g),
    'tenants', (SELECT coalesce(jsonb_agg(jsonb_build_object('grp', t.grp, 'tenant', t.tenant, 'model', t.model, 'state', ${STATE},
                    'detail', t.detail, 'inProgram', k.tenant IS NOT NULL, 'schema', n.nspname IS NOT NULL)), '[]')
                  FROM citus_as_code.tenant t LEFT JOIN pg_namespace n ON n.nspname = t.tenant
                  LEFT JOIN (SELECT grp, jsonb_object_keys(spec -> 'tenants') AS tenant FROM citus_as_code.tenant_group) k
                         ON (k.grp, k.tenant) = (t.grp, t.tenant)),
    'schemas', (SELECT coalesce(jsonb_object_agg(n.nspname, w.weight), '{}')
                  FROM pg_dist_schema d JOIN pg_namespace n ON n.oid = d.schemaid
                  JOIN (SELECT colocationid, jsonb_build_object('bytes', sum(bytes), 'rows', sum(rows)) AS weight
                          FROM weight GROUP BY 1) w USING (colocationid)),
    'ranges', (SELECT coalesce(jsonb_object_agg(r.grp, r.ranges), '{}')
                 FROM (SELECT w.grp, jsonb_object_agg(w.low, jsonb_build_object('bytes', w.bytes, 'rows', w.rows)) AS ranges
                         FROM (SELECT g.grp, w.low, sum(w.bytes) AS bytes, sum(w.rows) AS rows
                                 FROM citus_as_code.tenant_group g
                                 JOIN pg_dist_partition a ON a.partmethod = 'h' AND a.logicalrelid = ${ANCHOR}
                                 JOIN weight w USING (colocationid) WHERE g.spec ->> 'model' = 'row' GROUP BY 1, 2) w GROUP BY 1) r),
    'shards', ${shardsSql("weight", ANCHOR)},
    'rate', (SELECT bytes / seconds FROM citus_as_code.measured WHERE what IN ('beside', 'alter', 'distribute') ORDER BY at DESC LIMIT 1),
    'databases', (SELECT coalesce(jsonb_object_agg(split_part(n.nodename, '.', 1), r.result::jsonb) FILTER (WHERE r.success), '{}')
                    FROM run_command_on_all_nodes($q$${DATABASES}$q$) r JOIN pg_dist_node n USING (nodeid)
                   WHERE EXISTS (SELECT FROM citus_as_code.tenant t WHERE t.model = 'database')),
    'activity', CASE WHEN (SELECT tracked.is FROM tracked) THEN (
                    SELECT coalesce(jsonb_object_agg(a.key, a.activity), '{}') FROM (
                        SELECT coalesce(n.nspname, g.grp || '/' || s.tenant_attribute) AS key, jsonb_build_object(
                               'queries', sum(s.query_count_in_this_period + s.query_count_in_last_period),
                               'cpu', sum(s.cpu_usage_in_this_period + s.cpu_usage_in_last_period)) AS activity
                          FROM citus_stat_tenants s
                          LEFT JOIN pg_dist_schema d ON d.colocationid = s.colocation_id LEFT JOIN pg_namespace n ON n.oid = d.schemaid
                          LEFT JOIN pg_dist_partition p ON p.partmethod = 'h' AND p.colocationid = s.colocation_id
                          LEFT JOIN citus_as_code.tenant_group g ON p.logicalrelid = ${ANCHOR}
                         WHERE n.oid IS NOT NULL OR g.grp IS NOT NULL GROUP BY 1) a) ELSE '{}' END,
    'roles', (SELECT coalesce(jsonb_object_agg(r.rolname, jsonb_build_object('connections', r.rolconnlimit, 'settings', s.setconfig)), '{}')
                FROM pg_roles r LEFT JOIN pg_db_role_setting s ON s.setrole = r.oid AND s.setdatabase = 0
               WHERE r.rolcanlogin AND (r.rolconnlimit >= 0 OR s.setconfig IS NOT NULL)),
    'ran', (SELECT coalesce(jsonb_object_agg(m.grp, m.tenants), '{}')
              FROM (SELECT grp, jsonb_object_agg(tenant, paths) AS tenants
                      FROM (SELECT grp, tenant, jsonb_agg(path) AS paths FROM citus_as_code.tenant_migration GROUP BY 1, 2) p
                     GROUP BY 1) m)) AS answer`;

function limitsOf(role: Answer["roles"][string] | undefined): Limits {
    const settings = new Map(
        (role?.settings ?? []).map((setting) => {
            const at = setting.indexOf("=");
            return [setting.slice(0, at), setting.slice(at + 1)] as const;
        }),
    );
    const statement = settings.get("statement_timeout");
    const idle = settings.get("idle_in_transaction_session_timeout");
    return {
        ...(role && role.connections >= 0 ? { connections: role.connections } : {}),
        ...(statement === undefined ? {} : { statementTimeout: statement }),
        ...(idle === undefined ? {} : { idleInTransactionTimeout: idle }),
    };
}

/** Whether the place that it has to have is not there. Where a node does not answer nothing is said. */
function isGone({ databases }: Answer, { model, state, schema }: Answer["tenants"][number], found: Place): boolean {
    if (state === "creating" || state === "deleting") return false;
    if (model === "schema") return !schema;
    const there = found.exact ? databases[found.node] : undefined;
    return model === "database" && there !== undefined && !Object.hasOwn(there, found.database);
}

/** The range that is this tenant's alone. */
function ownRange(group: RowGroup | undefined, tenant: string): number | undefined {
    const hash = group && hashOf(group.hash, tenant);
    return group?.ranges.find(([low, high]) => low === high && low === hash)?.[0];
}

function describe(
    answer: Answer,
    map: ShardMap,
    row: Answer["tenants"][number],
    groups: readonly string[] | undefined,
): ListedTenant {
    const { grp, tenant, model, state } = row;
    const spec = answer.groups.find(({ name }) => name === grp);
    const group = map.json.groups[grp];
    const found = map.lookup(tenant, grp);
    const place = model === "routed" ? `${row.detail.host}:${row.detail.port}` : found.exact ? found.node : null;
    const range = group?.model === "row" ? ownRange(group, tenant) : undefined;
    const shared = model === "rls" || (model === "row" && range === undefined);
    const weight: Weight | undefined =
        model === "schema"
            ? answer.schemas[tenant]
            : model === "row" && range !== undefined
              ? answer.ranges[grp]?.[String(range)]
              : model === "database" && place !== null
                ? { bytes: answer.databases[place]?.[found.database] ?? null, rows: null }
                : undefined;
    const paths = (spec?.template ?? []).map(({ path }) => path);
    const ran = answer.ran[grp]?.[model === "row" || model === "rls" ? "" : tenant] ?? [];
    const behind = paths.filter((path) => !ran.includes(path));
    return {
        group: grp,
        tenant,
        model,
        state,
        place,
        shared,
        bytes: weight?.bytes ?? null,
        rows: weight?.rows ?? null,
        activity: answer.activity[model === "schema" ? tenant : `${grp}/${tenant}`] ?? null,
        limits: limitsOf(answer.roles[tenantRole(grp, tenant)]),
        schema: paths.length === 0 ? null : { run: paths.length - behind.length, of: paths.length, behind },
        inProgram: row.inProgram && groups?.includes(grp) !== false,
        onboarded: row.detail.onboarded === true,
        gone: isGone(answer, row, found),
    };
}

function noGroup(name: string, known: readonly string[]): string {
    if (known.length === 0)
        return `There is no group ${name}: this cluster has no groups of tenants (citus:tenantGroups, or a class such as RowTenants in a program of your own).`;
    const meant = nearest(name, known);
    return `There is no group ${name}${meant === undefined ? "" : ` (did you mean ${meant}?)`}; there are ${known.join(", ")}.`;
}

/**
 * @param only.group only this one's tenants
 * @param only.groups those that the program has @default not known: those that it ever had
 * @throws Error when there is no such group
 */
export async function listTenants(
    session: Session,
    { group, groups }: { readonly group?: string; readonly groups?: readonly string[] } = {},
): Promise<Listed> {
    const [there] = await session.query<{ map: boolean }>(
        "SELECT to_regprocedure('citus_as_code.shard_map()') IS NOT NULL AS map",
    );
    const [row] = there?.map ? await session.query<{ answer: Answer }>(LIST) : [];
    const known = row?.answer.groups.map(({ name }) => name) ?? [];
    if (group !== undefined && !known.includes(group)) throw new Error(noGroup(group, known));
    if (!row) return { tracked: false, tenants: [] };
    const { answer } = row;
    const map = ShardMap.from(answer.map);
    const tenants = answer.tenants
        .filter(({ grp }) => group === undefined || grp === group)
        .map((tenant) => describe(answer, map, tenant, groups))
        .sort(
            (a, b) =>
                (a.group < b.group ? -1 : a.group > b.group ? 1 : 0) ||
                a.tenant.localeCompare(b.tenant, "en", { numeric: true }),
        );
    const small = Object.entries(answer.shards ?? {}).flatMap(([name, found]) => {
        const entry = map.json.groups[name];
        if (group !== undefined && name !== group) return [];
        return smallShards(name, found, entry?.model === "row" ? entry.hash : undefined) ?? [];
    });
    return {
        tracked: answer.tracked,
        tenants,
        ...(small.length === 0 ? {} : { small }),
        ...(answer.rate == null ? {} : { rate: answer.rate }),
    };
}
