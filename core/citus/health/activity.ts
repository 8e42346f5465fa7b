/** Who does what in the cluster now, for which tenant, and whom they wait for. Changes nothing. */
import { nodeOf } from "../../node/topology.ts";
import { OWN_APPLICATION } from "../../reach/ownSession.ts";
import type { Session } from "../../reach/session.ts";
import { literal } from "../../sql/quote.ts";

export interface Active {
    /** Citus' number for it, the same on every node. */
    readonly gpid: string;
    /** Node that the client is connected to. */
    readonly node: string;
    readonly pid: number;
    readonly role: string;
    readonly application: string;
    /** `group/tenant`, as far as its role or Citus' own count of tenants tells; null where neither does. */
    readonly tenant: string | null;
    readonly state: string;
    /** Seconds since its transaction began. */
    readonly seconds: number;
    /** Seconds since its statement began, or ended where it is idle. */
    readonly statementSeconds: number;
    /** What PostgreSQL says it waits for. */
    readonly wait: string | null;
    /** Those that hold what it waits for, by their number. */
    readonly waitsFor: readonly string[];
    readonly query: string;
}

export interface ActivityView {
    readonly active: readonly Active[];
    readonly silent: readonly { readonly node: string; readonly reason: string }[];
}

interface Backend {
    readonly gpid: string;
    readonly pid: number;
    readonly worker: boolean;
    readonly role: string;
    readonly application: string;
    readonly state: string;
    readonly seconds: number;
    readonly statement: number;
    readonly wait: string | null;
    readonly query: string;
}

export interface ActivityAnswer {
    readonly nodes: readonly { readonly host: string; readonly success: boolean; readonly result: string }[];
    readonly waits: readonly { readonly waiting: string; readonly blocking: string }[];
    /** Groups of tenants; null where there are none. */
    readonly groups: readonly string[] | null;
    /** Groups and, in model schema, tenants by colocation. */
    readonly colocations: Readonly<Record<string, string>> | null;
}

const ON_NODE = `
SELECT coalesce(jsonb_agg(jsonb_build_object('gpid', coalesce(nullif(t.global_pid, 0), citus_calculate_gpid((SELECT nodeid FROM pg_dist_node WHERE groupid = (SELECT groupid FROM pg_dist_local_group)), a.pid))::text,
           'pid', a.pid, 'worker', coalesce(t.worker_query, false), 'role', coalesce(a.usename, ''), 'application', a.application_name, 'state', coalesce(a.state, ''),
           'seconds', extract(epoch FROM clock_timestamp() - coalesce(a.xact_start, a.state_change))::float8,
           'statement', extract(epoch FROM clock_timestamp() - CASE WHEN a.state = 'active' THEN a.query_start ELSE a.state_change END)::float8,
           'wait', CASE WHEN a.state = 'active' THEN a.wait_event_type || ': ' || a.wait_event END, 'query', left(a.query, 1000))), '[]')
  FROM pg_stat_activity a LEFT JOIN get_all_active_transactions() t ON t.process_id = a.pid
 WHERE a.backend_type = 'client backend' AND a.datname = current_database() AND a.state <> 'idle'
   AND a.application_name <> ${literal(OWN_APPLICATION)}`;

const look = (tenants: boolean) => `
SELECT jsonb_build_object(
    'nodes', (SELECT jsonb_agg(jsonb_build_object('host', n.nodename, 'success', r.success, 'result', r.result))
                FROM run_command_on_all_nodes(${literal(ON_NODE)}, give_warning_for_connection_errors => true) r JOIN pg_dist_node n USING (nodeid)),
    'waits', (SELECT coalesce(jsonb_agg(DISTINCT jsonb_build_object('waiting', waiting_gpid::text, 'blocking', blocking_gpid::text)), '[]') FROM citus_lock_waits),
    'groups', ${tenants ? "(SELECT jsonb_agg(grp) FROM citus_as_code.tenant_group)" : "NULL::jsonb"},
    'colocations', ${
        tenants
            ? `(SELECT jsonb_object_agg(c.id, c.whose) FROM (
        SELECT DISTINCT ON (p.colocationid) p.colocationid AS id, g.grp AS whose FROM citus_as_code.tenant_group g, jsonb_object_keys(g.spec -> 'tables') k
          JOIN pg_class r ON r.relname = split_part(k, '.', -1) JOIN pg_dist_partition p ON p.logicalrelid = r.oid AND p.partmethod = 'h' WHERE g.spec ->> 'model' = 'row'
        UNION ALL
        SELECT d.colocationid, t.grp || '/' || t.tenant FROM pg_dist_schema d JOIN pg_namespace n ON n.oid = d.schemaid
          JOIN citus_as_code.tenant t ON t.tenant = n.nspname AND t.model = 'schema') c)`
            : "NULL::jsonb"
    }) AS answer`;

/** Citus writes whose a statement is at its beginning, where it counts tenants (citus.stat_tenants_track). */
function counted(query: string, colocations: Readonly<Record<string, string>>): string | undefined {
    const [, colocation, tenant] = /\/\*\{"cId":(\d+)(?:,"tId":"((?:[^"\\]|\\.)*)")?/.exec(query) ?? [];
    const whose = colocation === undefined ? undefined : colocations[colocation];
    if (whose === undefined || whose.includes("/")) return whose;
    return tenant === undefined ? undefined : `${whose}/${JSON.parse(`"${tenant}"`)}`;
}

/** A tenant's own role is `<group>_<tenant>`. */
function ofRole(role: string, groups: readonly string[]): string | undefined {
    const [group] = groups.filter((name) => role.startsWith(`${name}_`)).sort((a, b) => b.length - a.length);
    if (group === undefined) return undefined;
    const tenant = role.slice(group.length + 1);
    return ["app", "tenants", "reader", "sign_in"].includes(tenant) ? undefined : `${group}/${tenant}`;
}

/** Clients' work with what Citus does for it on other nodes, the longest first. Pure. */
export function readBackends({ nodes, waits, groups, colocations }: ActivityAnswer): ActivityView {
    const silent = nodes
        .filter(({ success }) => !success)
        .map(({ host, result }) => ({ node: nodeOf(host), reason: result }));
    const all = nodes
        .filter(({ success }) => success)
        .flatMap(({ host, result }) =>
            (JSON.parse(result) as Backend[]).map((backend) => ({ node: nodeOf(host), ...backend })),
        );
    const parts = all.filter(({ worker }) => worker);
    const active = all
        .filter(({ worker }) => !worker)
        .map((one): Active => {
            const own = parts.filter(({ gpid }) => gpid === one.gpid);
            const tenants = [one, ...own].flatMap(({ query }) => counted(query, colocations ?? {}) ?? []);
            return {
                gpid: one.gpid,
                node: one.node,
                pid: one.pid,
                role: one.role,
                application: one.application,
                tenant: ofRole(one.role, groups ?? []) ?? tenants[0] ?? null,
                state: one.state,
                seconds: one.seconds,
                statementSeconds: one.statement,
                wait: one.wait,
                waitsFor: waits.filter(({ waiting }) => waiting === one.gpid).map(({ blocking }) => blocking),
                query: one.query,
            };
        })
        .sort((a, b) => b.seconds - a.seconds);
    return { active, silent };
}

export async function readActivity(session: Session): Promise<ActivityView> {
    const [there] = await session.query<{ tenants: boolean }>(
        "SELECT to_regclass('citus_as_code.tenant_group') IS NOT NULL AS tenants",
    );
    const [row] = await session.query<{ answer: ActivityAnswer }>(look(there?.tenants === true));
    if (!row) throw new Error("the coordinator gave no answer");
    return readBackends(row.answer);
}
