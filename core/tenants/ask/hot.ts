/** Which tenants the cluster works for, from citus_stat_tenants of every node. Changes nothing. */
import { hashOf } from "../../../client/hash.ts";
import { ShardMap } from "../../../client/shardMap.ts";
import { nodeOf } from "../../node/topology.ts";
import type { Session } from "../../reach/session.ts";
import { literal } from "../../sql/quote.ts";
import type { Model } from "../group/spec.ts";

/** What one node counted of one tenant, in this period and the one before. */
export interface Counted {
    readonly group: string;
    readonly model: Model;
    readonly tenant: string;
    readonly queries: number;
    /** Seconds. */
    readonly cpu: number;
}

export interface HotAnswer {
    readonly map: unknown;
    /** Seconds of a period. */
    readonly period: number;
    readonly nodes: readonly {
        readonly host: string;
        readonly success: boolean;
        readonly result: string;
    }[];
    /** Workers that take shards. */
    readonly workers: readonly string[];
    readonly groups: Readonly<Record<string, { readonly model: Model; readonly pinned: readonly string[] }>>;
    /** Group and, in model schema, tenant by colocation. */
    readonly colocations: Readonly<Record<string, { readonly group: string; readonly tenant?: string }>>;
}

interface Tracked {
    readonly on: boolean;
    readonly tenants: readonly {
        readonly colocation: number;
        readonly tenant: string | null;
        readonly queries: number;
        readonly cpu: number;
    }[];
}

export interface HotTenant extends Counted {
    /** Of all CPU seconds that were counted for tenants, 0 to 1. */
    readonly cpuShare: number;
    readonly queryShare: number;
    /** Node of its rows; null where it is not known. */
    readonly place: string | null;
    /** Whether its rows are in shards with other tenants' rows. */
    readonly shared: boolean;
    /** Whether it stays on its node through rebalances. */
    readonly pinned: boolean;
    /** What to do, with the lines of configuration to add; undefined where there is nothing to gain. */
    readonly advice?: { readonly why: string; readonly config: string; readonly program: string };
}

export interface HotView {
    readonly tenants: readonly HotTenant[];
    /** Nodes that don't count. */
    readonly untracked: readonly string[];
    readonly silent: readonly { readonly node: string; readonly reason: string }[];
    /** Seconds of a period. */
    readonly period: number;
    /** CPU seconds by node of the tenants that are on it. */
    readonly load: Readonly<Record<string, number>>;
}

const ON_NODE = `
SELECT jsonb_build_object('on', coalesce(current_setting('citus.stat_tenants_track', true), 'none') <> 'none',
    'tenants', (SELECT coalesce(jsonb_agg(jsonb_build_object('colocation', colocation_id, 'tenant', tenant_attribute,
                    'queries', query_count_in_this_period + query_count_in_last_period,
                    'cpu', cpu_usage_in_this_period + cpu_usage_in_last_period)), '[]') FROM citus_stat_tenants_local(true)))`;

const ANCHOR = `to_regclass(CASE WHEN strpos(g.spec ->> 'anchor', '.') > 0
    THEN format('%I.%I', split_part(g.spec ->> 'anchor', '.', 1), split_part(g.spec ->> 'anchor', '.', 2))
    ELSE format('public.%I', g.spec ->> 'anchor') END)`;

const LOOK = `
SELECT jsonb_build_object(
    'map', citus_as_code.shard_map(),
    'period', current_setting('citus.stat_tenants_period')::int,
    'nodes', (SELECT jsonb_agg(jsonb_build_object('host', n.nodename, 'success', r.success, 'result', r.result))
                FROM run_command_on_all_nodes(${literal(ON_NODE)}, give_warning_for_connection_errors => true) r JOIN pg_dist_node n USING (nodeid)),
    'workers', (SELECT coalesce(jsonb_agg(nodename ORDER BY nodename), '[]') FROM pg_dist_node
                 WHERE noderole = 'primary' AND isactive AND shouldhaveshards),
    'groups', (SELECT coalesce(jsonb_object_agg(g.grp, jsonb_build_object('model', g.spec -> 'model',
                   'pinned', (SELECT coalesce(jsonb_agg(p.tenant), '[]') FROM citus_as_code.tenant_pin p WHERE p.grp = g.grp))), '{}')
                 FROM citus_as_code.tenant_group g),
    'colocations', (SELECT coalesce(jsonb_object_agg(c.id, c.whose), '{}') FROM (
        SELECT p.colocationid AS id, jsonb_build_object('group', g.grp) AS whose
          FROM citus_as_code.tenant_group g JOIN pg_dist_partition p ON p.partmethod = 'h' AND p.logicalrelid = ${ANCHOR}
         WHERE g.spec ->> 'model' = 'row'
        UNION ALL
        SELECT d.colocationid, jsonb_build_object('group', t.grp, 'tenant', t.tenant)
          FROM pg_dist_schema d JOIN pg_namespace n ON n.oid = d.schemaid
          JOIN citus_as_code.tenant t ON t.tenant = n.nspname AND t.model = 'schema') c)) AS answer`;

/** Share of all CPU from which a tenant deserves a place of its own. */
const HOT = 0.2;
/** Share of one core; below it nobody gains from moving anything. */
const BUSY = 0.05;

/** Whether a row tenant has a shard that is its alone. */
function isolated(map: ShardMap, group: string, tenant: string): boolean {
    const found = map.json.groups[group];
    if (found?.model !== "row") return false;
    const hash = hashOf(found.hash, tenant);
    return found.ranges.some(([low, high]) => low === high && low === hash);
}

/** The worker with the least to do for tenants. */
function quietest(workers: readonly string[], load: Readonly<Record<string, number>>): string | undefined {
    return [...workers].sort((a, b) => (load[a] ?? 0) - (load[b] ?? 0))[0];
}

function adviceFor(
    tenant: Omit<HotTenant, "advice">,
    workers: readonly string[],
    load: Readonly<Record<string, number>>,
    period: number,
): HotTenant["advice"] {
    const { group, tenant: key, place, shared, pinned, cpu, cpuShare } = tenant;
    if (cpuShare < HOT || cpu < BUSY * 2 * period || (pinned && !shared) || place === null) return undefined;
    const without = { ...load, [place]: (load[place] ?? 0) - cpu };
    const to = quietest(workers, without) ?? place;
    const others = without[place] ?? 0;
    // alone on the quietest node already, and rebalances would have no reason to take it away
    if (to === place && !shared && others === 0) return undefined;
    const why = shared
        ? `its rows share shards with other tenants: give it shards of its own on ${to}, and keep them there`
        : to === place
          ? `keep it on ${to}, which has the least other work for tenants`
          : `${place} works ${others.toFixed(1)} s for others: move it to ${to}, and keep it there`;
    const path = `citus:tenantGroups.${group}.tenants[${JSON.stringify(key)}].node`;
    return {
        why,
        config: `npm run pulumi -- config set --path ${shellWord(path)} ${to}`,
        program: `tenants: { ${JSON.stringify(key)}: { node: ${JSON.stringify(to)} } }`,
    };
}

const shellWord = (text: string) => `'${text.replaceAll("'", "'\\''")}'`;

/** Adds up what the nodes say, and advises. Pure. */
export function weighTenants(answer: HotAnswer): HotView {
    const map = ShardMap.from(answer.map);
    const counted = new Map<string, Counted>();
    const silent: { node: string; reason: string }[] = [];
    const untracked: string[] = [];
    for (const { host, success, result } of answer.nodes) {
        if (!success) {
            silent.push({ node: nodeOf(host), reason: result });
            continue;
        }
        const { on, tenants } = JSON.parse(result) as Tracked;
        if (!on) untracked.push(nodeOf(host));
        for (const { colocation, tenant, queries, cpu } of tenants) {
            const whose = answer.colocations[String(colocation)];
            const name = whose?.tenant ?? tenant;
            const group = whose && answer.groups[whose.group];
            if (whose === undefined || group === undefined || name === null) continue;
            const key = `${whose.group}/${name}`;
            const before = counted.get(key);
            counted.set(key, {
                group: whose.group,
                model: group.model,
                tenant: name,
                queries: (before?.queries ?? 0) + queries,
                cpu: (before?.cpu ?? 0) + cpu,
            });
        }
    }
    const all = [...counted.values()].filter(({ queries, cpu }) => queries > 0 || cpu > 0);
    const sum = (of: (one: Counted) => number) => all.reduce((total, one) => total + of(one), 0);
    const [cpu, queries] = [sum((one) => one.cpu), sum((one) => one.queries)];
    const load: Record<string, number> = {};
    const placed = all.map((one) => {
        const { place } = map.find(one.tenant, one.group);
        const node = place.exact ? place.node : null;
        if (node !== null) load[node] = (load[node] ?? 0) + one.cpu;
        return {
            ...one,
            cpuShare: cpu === 0 ? 0 : one.cpu / cpu,
            queryShare: queries === 0 ? 0 : one.queries / queries,
            place: node,
            shared: one.model === "row" && !isolated(map, one.group, one.tenant),
            pinned: answer.groups[one.group]?.pinned.includes(one.tenant) === true,
        };
    });
    const workers = answer.workers.map(nodeOf);
    const tenants = placed
        .map((one): HotTenant => {
            const advice = adviceFor(one, workers, load, answer.period);
            return { ...one, ...(advice === undefined ? {} : { advice }) };
        })
        .sort((a, b) => b.cpu - a.cpu || b.queries - a.queries);
    return { tenants, untracked, silent, period: answer.period, load };
}

/** @returns undefined where there are no groups of tenants yet */
export async function readHot(session: Session): Promise<HotView | undefined> {
    const [there] = await session.query<{ map: boolean }>(
        "SELECT to_regprocedure('citus_as_code.shard_map()') IS NOT NULL AS map",
    );
    if (!there?.map) return undefined;
    const [row] = await session.query<{ answer: HotAnswer }>(LOOK);
    return row && weighTenants(row.answer);
}
