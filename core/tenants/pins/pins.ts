/** Tenants on the node that is wanted: isolated, moved while they are served, and pinned there. */

import { BLOCKERS } from "../../citus/catalog.ts";
import { type CopiedShard, readColocatedShards } from "../../citus/counts.ts";
import { finishCleanup } from "../../citus/members/leave.ts";
import { runningJob } from "../../citus/rebalance/jobTasks.ts";
import { Held } from "../../citus/rebalance/oldCopies.ts";
import { honourPins } from "../../citus/rebalance/pins.ts";
import { runSplit } from "../../citus/rebalance/split.ts";
import { COORDINATOR, nodeOf } from "../../node/topology.ts";
import type { Session } from "../../reach/session.ts";
import { given } from "../../sql/given.ts";
import { identifier, qualified } from "../../sql/quote.ts";
import { describeBytes } from "../../util/bytes.ts";
import { USUAL_RATE } from "../../util/describeDuration.ts";
import { pause } from "../../util/pause.ts";
import type { Context, Facet, Probe, Step } from "../group/facet.ts";
import type { GroupSpec } from "../group/spec.ts";
import { recordRate } from "../ledger/measured.ts";
import { deletePins, writePins } from "../ledger/pins.ts";
import { inState } from "../ledger/states.ts";
import { NO_PINS, type PinDetail, type PinsFound, pinOf, planPins } from "./pinsPlan.ts";

const anchorOf = (group: GroupSpec) => given(qualified(group.anchor ?? ""));

/** The shard of a key, as text, in the anchor; null when the key is none of its column. */
const keyShard = (key: string) =>
    `CASE WHEN t.partmethod = 'h' AND pg_input_is_valid(${key}, c.distributioncolumntype::regtype::text)
          THEN get_shard_id_for_distribution_column(t.logicalrelid, ${key}) END`;

/** Tenants by name with where they are, of those in `w (tenant)`. */
function placesOf(group: GroupSpec): string {
    return group.model === "row"
        ? `SELECT w.tenant, t.partmethod IS NOT DISTINCT FROM 'h' AS distributed, s.shardid, s.shardminvalue AS low, s.shardmaxvalue AS high,
                  coalesce(s.shardminvalue = s.shardmaxvalue, false) AS own, p.groupid,
                  CASE WHEN t.partmethod = 'h' AND s.shardid IS NULL THEN c.distributioncolumntype::regtype::text END AS type
             FROM w LEFT JOIN pg_dist_partition t ON t.logicalrelid = to_regclass(${anchorOf(group)})
             LEFT JOIN pg_dist_colocation c USING (colocationid)
             LEFT JOIN pg_dist_shard s ON s.shardid = ${keyShard("w.tenant")}
             LEFT JOIN pg_dist_placement p ON p.shardid = s.shardid`
        : `SELECT w.tenant, d.schemaid IS NOT NULL AS distributed, o.shardid, NULL::text AS low, NULL::text AS high,
                  o.shardid IS NOT NULL AS own, o.groupid, NULL::text AS type
             FROM w LEFT JOIN pg_namespace n ON n.nspname = w.tenant LEFT JOIN pg_dist_schema d ON d.schemaid = n.oid
             LEFT JOIN (SELECT t.colocationid, min(s.shardid) AS shardid, min(p.groupid) AS groupid
                          FROM pg_dist_partition t JOIN pg_dist_shard s USING (logicalrelid) JOIN pg_dist_placement p USING (shardid)
                         WHERE t.partmethod = 'n' AND t.repmodel <> 't' GROUP BY 1) o USING (colocationid)`;
}

/** Bytes of all that moves with a tenant's shard, where it is to be copied: sizes are asked of every node. @param l its place */
const bytesSql = (l: string, group: GroupSpec) => `CASE WHEN ${l}.shardid IS NOT NULL AND (
        ($2->'tenants'->${l}.tenant->>'node') IS DISTINCT FROM coalesce((SELECT split_part(d.nodename, '.', 1) FROM pg_dist_node d
            WHERE d.groupid = ${l}.groupid AND d.noderole = 'primary'), '') AND $2->'tenants'->${l}.tenant ? 'node'
        ${group.model === "row" ? `OR NOT ${l}.own` : ""}) THEN (
    SELECT coalesce(sum(z.size), 0)::float8 FROM pg_dist_shard a JOIN pg_dist_partition ta ON ta.logicalrelid = a.logicalrelid
      JOIN pg_dist_partition t ON t.colocationid = ta.colocationid
      JOIN pg_dist_shard s ON s.logicalrelid = t.logicalrelid AND s.shardminvalue IS NOT DISTINCT FROM a.shardminvalue
      JOIN citus_shard_sizes() z ON z.shard_id = s.shardid WHERE a.shardid = ${l}.shardid) END`;

function sql(group: GroupSpec, probe: Probe): string {
    const ofRow = group.model === "row";
    const wanting = Object.values(group.tenants).some(({ node, isolate }) => node !== undefined || (ofRow && isolate));
    const blocking = ofRow
        ? `b."colocationId" = (SELECT colocationid FROM pg_dist_partition WHERE logicalrelid = to_regclass(${anchorOf(group)}))`
        : "b.schema IN (SELECT tenant FROM w)";
    const tenants = `WITH w AS (SELECT e.key AS tenant FROM jsonb_each($2->'tenants') e
                  WHERE e.value ? 'node'${ofRow ? " OR e.value->'isolate' = 'true'" : ""})`;
    return `jsonb_build_object(
        'nodes', (SELECT coalesce(jsonb_agg(jsonb_build_object('name', split_part(nodename, '.', 1), 'host', nodename, 'port', nodeport,
                         'groupId', groupid, 'holdsShards', shouldhaveshards) ORDER BY groupid), '[]')
                    FROM pg_dist_node WHERE noderole = 'primary' AND isactive),
        'strategy', (SELECT jsonb_build_object('name', name, 'honours', shard_allowed_on_node_function::text LIKE 'citus_as_code.%')
                       FROM pg_dist_rebalance_strategy WHERE default_strategy),
        'allPins', ${probe.ledger ? "(SELECT count(*) FROM citus_as_code.tenant_pin)" : "0"},
        'pins', ${
            probe.ledger
                ? `(SELECT coalesce(jsonb_object_agg(tenant, jsonb_build_object('anchor', anchor, 'key', key, 'node', node, 'gone',
                               EXISTS (SELECT 1 FROM citus_as_code.tenant t WHERE t.grp = p.grp AND t.tenant = p.tenant AND ${inState("t.state", "superseded")})
                            OR EXISTS (SELECT 1 FROM citus_as_code.tenant_tombstone t WHERE t.grp = p.grp AND t.tenant = p.tenant))), '{}')
                      FROM citus_as_code.tenant_pin p WHERE grp = $1)`
                : "'{}'::jsonb"
        },
        'rates', ${probe.ledger ? "(SELECT coalesce(jsonb_object_agg(what, bytes / seconds), '{}') FROM citus_as_code.measured)" : "'{}'::jsonb"},
        'shards', ${ofRow ? `(SELECT nullif(count(*), 0) FROM pg_dist_shard WHERE logicalrelid = to_regclass(${anchorOf(group)}))` : "null"},
        'tenants', ${
            wanting
                ? `(${tenants} SELECT coalesce(jsonb_object_agg(l.tenant, jsonb_build_object('distributed', l.distributed,
                        'shardId', l.shardid::text, 'own', l.own, 'groupId', l.groupid, 'notOfType', l.type, 'bytes', ${bytesSql("l", group)})), '{}') FROM (${placesOf(group)}) l)`
                : "'{}'::jsonb"
        },
        'blockers', ${
            wanting
                ? `(${tenants} SELECT coalesce(jsonb_agg(to_jsonb(b)), '[]') FROM (${BLOCKERS}) b WHERE ${blocking})`
                : "'[]'::jsonb"
        })`;
}

interface ShardPlace {
    readonly distributed: boolean;
    readonly shardId: string | null;
    readonly own: boolean;
    readonly low: string | null;
    readonly high: string | null;
    readonly host: string | null;
    readonly port: number | null;
}

async function placeOf({ session, group }: Context, tenant: string): Promise<ShardPlace> {
    const [row] = await session.query<ShardPlace>(
        `WITH w AS (SELECT $1::text AS tenant)
         SELECT l.distributed, l.shardid::text AS "shardId", l.own, l.low, l.high, d.nodename AS host, d.nodeport AS port
           FROM (${placesOf(group)}) l LEFT JOIN pg_dist_node d ON d.groupid = l.groupid AND d.noderole = 'primary'`,
        [tenant],
    );
    if (!row) throw new Error(`tenant ${tenant} was not found`);
    return row;
}

async function hostOf(session: Session, node: string): Promise<{ host: string; port: number }> {
    const [row] = await session.query<{ host: string; port: number }>(
        `SELECT nodename AS host, nodeport AS port FROM pg_dist_node
          WHERE split_part(nodename, '.', 1) = $1 AND noderole = 'primary' AND shouldhaveshards`,
        [node],
    );
    if (!row) throw new Error(`${node} takes no shards any more.\nNothing was moved. Run pulumi preview to see why.`);
    return row;
}

/** How long a rebalance that runs already, or the drop of old copies, is waited for. */
const PATIENCE = 600_000;

/** What must be true before shards are copied: as the superuser, nothing else moving, nothing left of earlier moves. */
async function prepare(context: Context): Promise<void> {
    const { session, group, progress, alive } = context;
    const [role] = await session.query<{ name: string; superuser: boolean }>(
        "SELECT rolname AS name, rolsuper AS superuser FROM pg_roles WHERE rolname = current_user",
    );
    if (!role?.superuser)
        throw new Error(
            `${role?.name} is no superuser: a move would leave behind the rows that policies hide from it.\nNothing was moved.`,
        );
    const end = Date.now() + PATIENCE;
    for (let job = await runningJob(session); job !== undefined; job = await runningJob(session)) {
        if (Date.now() > end)
            throw new Error(
                `tenant group ${group.name}: a rebalance (job ${job}) has been running for 10 minutes, and only one thing may move shards.\n` +
                    "Nothing was moved. Wait for it (npm run status) or stop it (SELECT citus_rebalance_stop()), then run pulumi up again.",
            );
        progress("waiting for a rebalance that is running");
        alive();
        await pause(1000);
    }
    await dropOldCopies(context);
}

async function dropOldCopies({ session, progress }: Context): Promise<void> {
    const left = await session.query<{ group: number }>("SELECT DISTINCT node_group_id AS group FROM pg_dist_cleanup");
    if (left.length > 0)
        await finishCleanup(
            session,
            left.map((row) => row.group),
            { patience: 60_000, waiting: (left) => progress(`dropping ${left}`) },
        );
}

/** Old copies are held on the connections that the context keeps. */
function heldOf(context: Context): Held {
    const open = async (host: string) => context.open(nodeOf(host)).catch(() => undefined);
    return new Held({
        hold: open,
        release: async (session) => {
            await session.query("ROLLBACK").catch(() => undefined);
        },
        open,
    });
}

/**
 * Copies a tenant's shard and compares the counts; one that is already as it should be is left alone.
 * @param settled whether there is nothing to do
 * @param copy does it
 * @param now what serves instead of the shard that was held, when its shards have other names
 */
async function copyTenant(
    context: Context,
    step: Step,
    does: {
        settled: (place: ShardPlace) => boolean;
        copy: (place: ShardPlace) => Promise<void>;
        now?: (before: ShardPlace) => Promise<CopiedShard[]>;
    },
): Promise<void> {
    const { session, group } = context;
    const tenant = step.tenant ?? "";
    const before = await placeOf(context, tenant);
    if (does.settled(before) || before.shardId === null || before.host === null) return;
    const bytes = await sizeOf(session, before.shardId);
    const began = Date.now();
    const held = heldOf(context);
    await held.hold(session, tenant, before.shardId, before.host);
    try {
        await does.copy(before);
    } catch (error) {
        await held.releaseAll();
        const after = await placeOf(context, tenant).catch(() => undefined);
        if (after && does.settled(after)) return;
        const now = after?.host
            ? `It is on ${nodeOf(after.host)} and is served there`
            : "Which node it is on could not be read";
        throw new Error(
            `tenant ${tenant} of group ${group.name}: ${step.text.slice(tenant.length + 2)} did not succeed.\n  ${(error as Error).message}\n` +
                `${now}. The tenants before it are done. Remove the cause, then run pulumi up again: it is safe to repeat.`,
        );
    }
    await recordRate(session, step.kind.replace("pins.", ""), bytes, (Date.now() - began) / 1000);
    const after = await placeOf(context, tenant);
    const counted = await held.compare(
        session,
        tenant,
        after.host ?? undefined,
        async () =>
            `Tenant ${tenant} of group ${group.name} is served on ${after.host && nodeOf(after.host)}. No other tenant was moved`,
        does.now && (await does.now(before)),
    );
    if (counted > 0) context.note(`${tenant}: ${counted} tables counted against their old copies`);
}

async function eachTenant(context: Context, steps: readonly Step[], run: (step: Step) => Promise<void>): Promise<void> {
    await prepare(context);
    for (const [i, step] of steps.entries()) {
        context.alive();
        if (steps.length > 1) context.progress(`${step.text} (${i + 1} of ${steps.length})`);
        await run(step);
    }
    // what can't be dropped yet is dropped by Citus, or before the next move
    await context.session.query("CALL citus_cleanup_orphaned_resources()");
}

/** `auto` moves by logical replication and refuses, before it begins, tables that it can't move so. */
const MODE = "auto";

/** How often a shard is split while it is served, before its writes wait. */
const TRIES = 3;

/** Milliseconds in which a split ends that ends at all: ten times what it should take, and ten minutes at least. */
const splitWithin = (bytes: number) => Math.max(600_000, (10_000 * bytes) / USUAL_RATE);

/** Above this, writes are not made to wait for a split: it takes some 10 s. */
const BLOCKING_LIMIT = 256 * 1024 * 1024;

/** Bytes of the shards that move with a shard. */
async function sizeOf(session: Session, shardId: string): Promise<number> {
    const [row] = await session.query<{ bytes: number }>(
        `SELECT coalesce(sum(z.size), 0)::float8 AS bytes
           FROM pg_dist_shard a JOIN pg_dist_partition ta ON ta.logicalrelid = a.logicalrelid
           JOIN pg_dist_partition t ON t.colocationid = ta.colocationid
           JOIN pg_dist_shard s ON s.logicalrelid = t.logicalrelid AND s.shardminvalue IS NOT DISTINCT FROM a.shardminvalue
           JOIN citus_shard_sizes() z ON z.shard_id = s.shardid
          WHERE a.shardid = $1`,
        [shardId],
    );
    return row?.bytes ?? 0;
}

async function isolate(context: Context, steps: readonly Step[]): Promise<void> {
    const { session, group } = context;
    const anchor = qualified(group.anchor ?? "");
    await eachTenant(context, steps, (step) =>
        copyTenant(context, step, {
            settled: ({ own }) => own,
            copy: async ({ shardId }) => {
                const split = (mode: string) =>
                    session.query(
                        "SELECT isolate_tenant_to_new_shard($1::regclass, $2::text, 'CASCADE', $3::citus.shard_transfer_mode)",
                        [anchor, step.tenant, mode],
                    );
                const bytes = await sizeOf(session, shardId ?? "");
                const watcher = await context.open(COORDINATOR);
                for (let i = 1; i <= TRIES; i++) {
                    if (await runSplit(session, watcher, () => split(MODE), 1000, splitWithin(bytes))) return;
                    context.note(
                        `${step.tenant}: its shard was updated while it was split, which Citus can't carry over (try ${i} of ${TRIES})`,
                    );
                    await dropOldCopies(context);
                }
                if (bytes > BLOCKING_LIMIT)
                    throw new Error(
                        `Rows of its shard were updated or deleted while it was split, and Citus can't carry that over. ` +
                            `The shard is too large (${describeBytes(bytes)}) to make its writes wait. Run pulumi up when there are only inserts.`,
                    );
                const began = Date.now();
                await split("block_writes");
                context.note(
                    `${step.tenant}: its shard was updated while it was split, so writes to the shard waited for ${((Date.now() - began) / 1000).toFixed(1)} s`,
                );
            },
            now: async ({ low, high }) => {
                const rows = await session.query<{ shardId: string }>(
                    `SELECT shardid::text AS "shardId" FROM pg_dist_shard
                      WHERE logicalrelid = $1::regclass AND shardminvalue::bigint >= $2 AND shardmaxvalue::bigint <= $3`,
                    [anchor, low, high],
                );
                const shards: CopiedShard[] = [];
                for (const { shardId } of rows) shards.push(...(await readColocatedShards(session, shardId)));
                return shards;
            },
        }),
    );
}

async function move(context: Context, steps: readonly Step[]): Promise<void> {
    const { session, group } = context;
    await eachTenant(context, steps, async (step) => {
        const tenant = step.tenant ?? "";
        const { node } = step.detail as PinDetail;
        const target = await hostOf(session, node);
        await copyTenant(context, step, {
            settled: ({ host }) => host === target.host,
            copy: async (from) => {
                if (group.model === "row")
                    await session.query(
                        "SELECT citus_move_shard_placement($1, $2, $3, $4, $5, $6::citus.shard_transfer_mode)",
                        [from.shardId, from.host, from.port, target.host, target.port, MODE],
                    );
                else
                    await session.query(
                        "SELECT citus_schema_move($1::regnamespace, $2, $3, $4::citus.shard_transfer_mode)",
                        [identifier(tenant), target.host, target.port, MODE],
                    );
            },
        });
    });
}

async function pin({ session, group }: Context, steps: readonly Step[]): Promise<void> {
    const rows = steps.map((step) => ({
        tenant: step.tenant ?? "",
        ...pinOf(group, step.tenant ?? ""),
        node: (step.detail as PinDetail).node,
    }));
    await writePins(session, group.name, rows);
    await honourPins(session);
}

async function unpin({ session, group }: Context, steps: readonly Step[]): Promise<void> {
    await deletePins(
        session,
        group.name,
        steps.map(({ tenant }) => tenant),
    );
    await honourPins(session);
}

export const pinsFacet: Facet<PinsFound> = {
    name: "pins",
    sql,
    none: NO_PINS,
    plan: planPins,
    run: {
        isolate,
        move,
        pin,
        unpin,
        strategy: async ({ session }) => {
            await honourPins(session);
        },
    },
};
