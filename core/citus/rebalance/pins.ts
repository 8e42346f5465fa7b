/** Tenants that are pinned to a node, and the rebalance strategy that leaves them there. */

import type { Session } from "../../reach/session.ts";
import { literal } from "../../sql/quote.ts";
import type { NodeRow } from "../catalog.ts";

/** A tenant that is pinned, with the shards that move as one with it. */
export interface PinnedTenant {
    readonly group: string;
    readonly tenant: string;
    /** The node's name, such as `worker-2`. */
    readonly node: string;
    /** First shard of its own; null while it has none. */
    readonly shardId: string | null;
    readonly tables: readonly string[];
}

/** The anchor table of a pin's row group; null when it is gone. */
const ANCHOR = `to_regclass(CASE WHEN strpos(p.anchor, '.') > 0
             THEN format('%I.%I', split_part(p.anchor, '.', 1), split_part(p.anchor, '.', 2)) ELSE format('public.%I', p.anchor) END)`;

/** The shard of a pinned row tenant's key; null when the key is none of its column. */
const KEY_SHARD = `CASE WHEN t.partmethod = 'h' AND pg_input_is_valid(p.key, c.distributioncolumntype::regtype::text)
             THEN get_shard_id_for_distribution_column(t.logicalrelid, p.key) END`;

/**
 * `tenant_allowed` is asked for each shard and each node, so it leaves at once what no pin can mean: shards of many keys.
 * A pin counts by its tenant's key and its node's name, never by numbers, which splits and restores change; one to a node
 * that is not there binds nothing. Names collate like text here, or the index of pins would be no help.
 */
const FUNCTIONS = `
SET LOCAL client_min_messages = warning;
SET LOCAL citus.enable_ddl_propagation = off;
CREATE INDEX IF NOT EXISTS tenant_pin_anchor ON citus_as_code.tenant_pin (anchor);
CREATE OR REPLACE FUNCTION citus_as_code.tenant_allowed(shard bigint, node int) RETURNS boolean
LANGUAGE plpgsql STABLE AS $allowed$
#variable_conflict use_column
DECLARE
    asked record;
    pinned text;
BEGIN
    SELECT s.shardminvalue AS low, s.shardmaxvalue AS high, t.colocationid, n.nspname INTO asked
      FROM pg_catalog.pg_dist_shard s JOIN pg_catalog.pg_dist_partition t USING (logicalrelid)
      JOIN pg_catalog.pg_class r ON r.oid = s.logicalrelid JOIN pg_catalog.pg_namespace n ON n.oid = r.relnamespace
     WHERE s.shardid = tenant_allowed.shard;
    IF NOT FOUND OR asked.low <> asked.high THEN
        RETURN true;
    ELSIF asked.low IS NULL THEN
        SELECT p.node INTO pinned FROM citus_as_code.tenant_pin p WHERE p.anchor = asked.nspname::text COLLATE "default" AND p.key IS NULL LIMIT 1;
    ELSE
        SELECT p.node INTO pinned
          FROM pg_catalog.pg_dist_partition t JOIN pg_catalog.pg_dist_colocation c USING (colocationid)
          JOIN pg_catalog.pg_class r ON r.oid = t.logicalrelid JOIN pg_catalog.pg_namespace n ON n.oid = r.relnamespace
          JOIN citus_as_code.tenant_pin p ON p.key IS NOT NULL
           AND p.anchor IN ((n.nspname || '.' || r.relname) COLLATE "default",
                            CASE WHEN n.nspname = 'public' THEN r.relname::text END COLLATE "default")
          JOIN pg_catalog.pg_dist_shard s ON s.shardid = ${KEY_SHARD}
         WHERE t.colocationid = asked.colocationid AND s.shardminvalue = asked.low
         LIMIT 1;
    END IF;
    RETURN pinned IS NULL
        OR EXISTS (SELECT 1 FROM pg_catalog.pg_dist_node d
                    WHERE d.nodeid = tenant_allowed.node AND split_part(d.nodename, '.', 1) = pinned)
        OR NOT EXISTS (SELECT 1 FROM pg_catalog.pg_dist_node d
                        WHERE split_part(d.nodename, '.', 1) = pinned AND d.noderole = 'primary');
END $allowed$;`;

const ALLOWED = "citus_as_code.tenant_allowed";
const SUFFIX = "_pinned";

/** The strategy that a strategy was copied from. */
export const baseStrategy = (name: string) => (name.endsWith(SUFFIX) ? name.slice(0, -SUFFIX.length) : name);

/** The copy of a strategy that leaves pinned tenants where they are. */
export const pinnedStrategy = (base: string) => `${base}${SUFFIX}`;

async function hasPinTable(session: Session): Promise<boolean> {
    const [row] = await session.query<{ pins: boolean }>(
        "SELECT to_regclass('citus_as_code.tenant_pin') IS NOT NULL AS pins",
    );
    return row?.pins ?? false;
}

/** Every tenant that is pinned. */
export async function readPinned(session: Session): Promise<PinnedTenant[]> {
    if (!(await hasPinTable(session))) return [];
    return session.query<PinnedTenant>(
        `WITH own AS (
           SELECT p.grp, p.tenant, p.node, d.colocationid, NULL::text AS low
             FROM citus_as_code.tenant_pin p LEFT JOIN pg_namespace n ON n.nspname = p.anchor LEFT JOIN pg_dist_schema d ON d.schemaid = n.oid
            WHERE p.key IS NULL
           UNION ALL
           SELECT p.grp, p.tenant, p.node, CASE WHEN s.shardid IS NOT NULL THEN t.colocationid END, s.shardminvalue
             FROM citus_as_code.tenant_pin p LEFT JOIN pg_dist_partition t ON t.logicalrelid = ${ANCHOR}
             LEFT JOIN pg_dist_colocation c USING (colocationid)
             LEFT JOIN pg_dist_shard s ON s.shardid = ${KEY_SHARD} AND s.shardminvalue = s.shardmaxvalue
            WHERE p.key IS NOT NULL)
         SELECT own.grp AS group, own.tenant, own.node, min(s.shardid)::text AS "shardId",
                coalesce(array_agg(s.logicalrelid::regclass::text ORDER BY s.shardid) FILTER (WHERE s.shardid IS NOT NULL), '{}') AS tables
           FROM own LEFT JOIN pg_dist_partition t USING (colocationid)
           LEFT JOIN pg_dist_shard s ON s.logicalrelid = t.logicalrelid AND s.shardminvalue IS NOT DISTINCT FROM own.low
          GROUP BY own.grp, own.tenant, own.node ORDER BY 1, 2`,
    );
}

/** Whether a strategy of this name is there. */
export async function hasStrategy(session: Session, name: string): Promise<boolean> {
    const rows = await session.query("SELECT 1 FROM pg_dist_rebalance_strategy WHERE name = $1", [name]);
    return rows.length > 0;
}

/**
 * Makes the strategy that leaves pinned tenants where they are the default while there is a pin, and the one it was
 * copied from when there is none. So the program's rebalances, those that somebody starts by hand and the status agree.
 * @param base the strategy that is wanted; without it, what the default was copied from
 * @returns the name of what is the default now
 */
export async function honourPins(session: Session, base?: string): Promise<string> {
    const strategies = await session.query<{ name: string; isDefault: boolean; ours: boolean }>(
        `SELECT name, default_strategy AS "isDefault", right(name, $1) = $2 AS ours FROM pg_dist_rebalance_strategy`,
        [SUFFIX.length, SUFFIX],
    );
    const current = strategies.find(({ isDefault }) => isDefault)?.name;
    const wanted = base ?? baseStrategy(current ?? "by_disk_size");
    const pins =
        (await hasPinTable(session)) &&
        (await session.query("SELECT 1 FROM citus_as_code.tenant_pin LIMIT 1")).length > 0;
    const name = pins ? pinnedStrategy(wanted) : wanted;
    const makeDefault = `SELECT citus_set_default_rebalance_strategy(${literal(name)});`;
    const dropOthers = `DELETE FROM pg_dist_rebalance_strategy
         WHERE right(name, ${SUFFIX.length}) = ${literal(SUFFIX)} AND name <> ${literal(name)};`;
    if (!pins) {
        if (current !== name) await session.query(makeDefault);
        if (strategies.some(({ ours }) => ours)) await session.query(dropOthers);
        return name;
    }
    // one transaction: nobody sees the copy without its function, or no default
    await session.query(`${FUNCTIONS}
        INSERT INTO pg_dist_rebalance_strategy (name, default_strategy, shard_cost_function, node_capacity_function,
               shard_allowed_on_node_function, default_threshold, minimum_threshold, improvement_threshold)
        SELECT ${literal(name)}, false, shard_cost_function, node_capacity_function, ${literal(ALLOWED)}::regproc,
               default_threshold, minimum_threshold, improvement_threshold
          FROM pg_dist_rebalance_strategy WHERE name = ${literal(wanted)}
        ON CONFLICT (name) DO UPDATE SET shard_cost_function = excluded.shard_cost_function,
               node_capacity_function = excluded.node_capacity_function,
               shard_allowed_on_node_function = excluded.shard_allowed_on_node_function,
               default_threshold = excluded.default_threshold, minimum_threshold = excluded.minimum_threshold,
               improvement_threshold = excluded.improvement_threshold;
        ${makeDefault}
        ${dropOthers}`);
    return name;
}

/** The refusal for a node that must give up its shards while tenants are pinned to it. */
export function explainPinned(
    node: string,
    tenants: readonly PinnedTenant[],
    nodes: readonly NodeRow[],
    most = 10,
): string {
    const workers = nodes.filter(({ groupId }) => groupId !== 0).length;
    const keep =
        node === "coordinator" ? "let it keep shards (citus:coordinator.shards true)" : `keep ${workers} workers`;
    const rows = tenants
        .slice(0, most)
        .map(
            ({ group, tenant, tables }) =>
                `  ${tables.length > 0 ? tables.join(", ") : "no table yet"} (tenant ${tenant} pinned to ${node} by group "${group}")`,
        );
    const more = tenants.length > most ? [`  … and ${tenants.length - most} more`] : [];
    const one = tenants.length === 1;
    return [
        `${node} can't ${node === "coordinator" ? "give up its shards" : "leave"}: ${tenants.length} ${one ? "shard group has" : "shard groups have"} nowhere to go.`,
        ...rows,
        ...more,
        `Nothing was moved. Unpin the ${one ? "tenant" : "tenants"} first: name another node for ${one ? "it" : "each"}, or none, and run pulumi up once while ${node} still ${node === "coordinator" ? "keeps its shards" : "stays"}. Or ${keep}.`,
    ].join("\n");
}
