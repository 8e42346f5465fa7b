/** Which tenants get shards of their own, move and are pinned. Pure. */

import { type BlockerRow, blockerOf } from "../../citus/catalog.ts";
import { identifier, literal, qualified } from "../../sql/quote.ts";
import { describeBytes } from "../../util/bytes.ts";
import { describeDuration } from "../../util/describeDuration.ts";
import { joinNames } from "../../util/joinNames.ts";
import type { Planned, Step } from "../group/facet.ts";
import type { GroupSpec } from "../group/spec.ts";

export interface PinNode {
    readonly name: string;
    readonly host: string;
    readonly port: number;
    readonly groupId: number;
    readonly holdsShards: boolean;
}

/** Where a tenant is now that must be isolated or on a certain node. */
export interface TenantPlace {
    /** Whether its schema is distributed, or its group's anchor is; its place is not known otherwise. */
    readonly distributed: boolean;
    /** First shard of the tenant; null when it has none. */
    readonly shardId: string | null;
    /** Whether the shard is its alone. */
    readonly own: boolean;
    readonly groupId: number | null;
    /** Type of its key's column, when the key is none of it. */
    readonly notOfType: string | null;
    /** Bytes of its shard with those that lie beside it; null when it stays, or has none. */
    readonly bytes?: number | null;
}

export interface Pin {
    readonly anchor: string;
    readonly key: string | null;
    readonly node: string;
    /** Whether the tenant was deleted, or went to another group. */
    readonly gone?: boolean;
}

export interface PinsFound {
    readonly nodes: readonly PinNode[];
    /** Name of the default rebalance strategy, and whether it leaves pinned tenants alone. */
    readonly strategy: { readonly name: string; readonly honours: boolean };
    /** Pins of all groups. */
    readonly allPins: number;
    readonly pins: Readonly<Record<string, Pin>>;
    /** Shards of the anchor table; null when it is not distributed yet. */
    readonly shards: number | null;
    readonly tenants: Readonly<Record<string, TenantPlace>>;
    /** Bytes a second, by what was measured here. */
    readonly rates?: Readonly<Record<string, number>>;
    /** Tables of these tenants that can't be moved while they are written to. */
    readonly blockers: readonly BlockerRow[];
}

export const NO_PINS: PinsFound = {
    nodes: [],
    strategy: { name: "by_disk_size", honours: false },
    allPins: 0,
    pins: {},
    shards: null,
    tenants: {},
    blockers: [],
};

/** What the steps of moving and pinning carry. */
export interface PinDetail {
    readonly node: string;
}

const UNKNOWN: TenantPlace = { distributed: false, shardId: null, own: false, groupId: null, notOfType: null };

/** Model row: by name, whether it must have a shard of its own. */
const shallBeIsolated = (group: GroupSpec, tenant: string) => {
    const spec = group.tenants[tenant];
    return group.model === "row" && (spec?.isolate ?? spec?.node !== undefined);
};

/** What a tenant's pin says, besides its node. */
export function pinOf(group: GroupSpec, tenant: string): { anchor: string; key: string | null } {
    return group.model === "row" ? { anchor: group.anchor ?? "", key: tenant } : { anchor: tenant, key: null };
}

/** What copying takes: nothing is said of what is not known. */
const cost = (bytes: number | null | undefined, rate: number | undefined) =>
    bytes === null || bytes === undefined ? "" : `; ${describeBytes(bytes)}, ${describeDuration(bytes, rate)}`;

/** Steps that bring one tenant to its node, and leave it there. */
function planOne(group: GroupSpec, tenant: string, node: string, place: TenantPlace, found: PinsFound) {
    const rates = found.rates ?? {};
    const detail: PinDetail = { node };
    const isolated = shallBeIsolated(group, tenant);
    const nameOf = (groupId: number) => found.nodes.find((n) => n.groupId === groupId)?.name ?? `group ${groupId}`;
    const from = place.distributed && place.groupId !== null ? nameOf(place.groupId) : node;
    const move: Step[] = !place.distributed
        ? // in a preview, before it is made
          [{ kind: "pins.move", tenant, text: `${tenant}: place on ${node}`, detail }]
        : from === node
          ? []
          : [
                {
                    kind: "pins.move",
                    tenant,
                    text: `${tenant}: move from ${from} to ${node} while it is served${isolated && !place.own ? "" : cost(place.bytes, rates.move ?? rates.isolate)}`,
                    detail,
                },
            ];
    const wanted = pinOf(group, tenant);
    const has = found.pins[tenant];
    const pinned = has?.node === node && has.anchor === wanted.anchor && has.key === wanted.key;
    const empty = place.distributed && place.shardId === null ? " (it has no table yet)" : "";
    const pin: Step[] = pinned
        ? []
        : [
              {
                  kind: "pins.pin",
                  tenant,
                  text: `${tenant}: pin to ${node}${empty}; rebalances leave it there`,
                  detail,
              },
          ];
    return { move, pin, copied: from !== node };
}

/** Pins of tenants that have no node any more. */
function planUnpin(group: GroupSpec, found: PinsFound): { readonly unpin: Step[]; readonly notes: string[] } {
    const unpin: Step[] = [];
    const notes: string[] = [];
    for (const [tenant, { node, gone }] of Object.entries(found.pins)) {
        if (group.tenants[tenant]?.node !== undefined) continue;
        if (tenant in group.tenants || group.delete.includes(tenant) || gone)
            unpin.push({
                kind: "pins.unpin",
                tenant,
                text: `${tenant}: no longer pinned to ${node}; rebalances may move it`,
            });
        else
            notes.push(
                `${tenant} is pinned to ${node} and not in the program: it stays there. To unpin it, list it without a node.`,
            );
    }
    return { unpin, notes };
}

/** The rebalance strategy, where it does not say what the pins say. */
const planStrategy = ({ allPins, strategy }: PinsFound): Step[] =>
    allPins > 0 === strategy.honours
        ? []
        : [
              {
                  kind: "pins.strategy",
                  text:
                      allPins > 0
                          ? `rebalance strategy ${strategy.name}: replaced by one that leaves pinned tenants where they are`
                          : `rebalance strategy ${strategy.name}: no tenant is pinned any more, so replaced by the one it was copied from`,
              },
          ];

/** Pure. */
export function planPins(group: GroupSpec, found: PinsFound): Planned {
    const isolate: Step[] = [];
    const move: Step[] = [];
    const pin: Step[] = [];
    const copied = new Set<string>();
    const wrongKeys: string[] = [];
    const byNode = new Map<string, string[]>();
    const rates = found.rates ?? {};
    let shards = found.shards;
    for (const [tenant, { node }] of Object.entries(group.tenants)) {
        const isolated = shallBeIsolated(group, tenant);
        if (!isolated && node === undefined) continue;
        const place = found.tenants[tenant] ?? UNKNOWN;
        if (place.notOfType !== null) {
            wrongKeys.push(`tenant ${tenant} can't be isolated: its key is no ${place.notOfType}. Write it as one.`);
            continue;
        }
        if (isolated && !place.own) {
            const grows = shards === null ? "group gets 2 shards more" : `group ${shards} → ${shards + 2} shards`;
            if (shards !== null) shards += 2;
            isolate.push({
                kind: "pins.isolate",
                tenant,
                text: `${tenant}: a shard of its own, made while it is served: irreversible, ${grows}${cost(place.bytes, rates.isolate ?? rates.move)}`,
            });
            copied.add(tenant);
        }
        if (node === undefined) continue;
        byNode.set(node, [...(byNode.get(node) ?? []), tenant]);
        const one = planOne(group, tenant, node, place, found);
        move.push(...one.move);
        pin.push(...one.pin);
        if (one.copied) copied.add(tenant);
    }
    const { unpin, notes } = planUnpin(group, found);
    const strategy = pin.length + unpin.length > 0 ? [] : planStrategy(found);
    return {
        steps: [...isolate, ...move, ...pin, ...unpin, ...strategy],
        refusals: [...refuseNodes(byNode, found), ...wrongKeys, ...refuseBlockers(group, copied, found)],
        notes,
    };
}

function refuseNodes(byNode: ReadonlyMap<string, readonly string[]>, { nodes }: PinsFound): string[] {
    if (nodes.length === 0) return [];
    const takes = nodes
        .filter((n) => n.holdsShards)
        .map((n) => n.name)
        .sort((a, b) => a.localeCompare(b, "en", { numeric: true }));
    const where = takes.length > 0 ? `Nodes that take shards: ${takes.join(", ")}.` : "No node takes shards.";
    return [...byNode].flatMap(([name, tenants]) => {
        const node = nodes.find((n) => n.name === name);
        const whose = `${tenants.length === 1 ? "tenant" : "tenants"} ${joinNames(tenants)}`;
        if (!node) return [`${name}: no node of this name takes shards, and the program puts ${whose} there. ${where}`];
        if (node.holdsShards) return [];
        return node.groupId === 0
            ? [
                  `${name}: it takes no shards, and the program puts ${whose} there. ${where}\n` +
                      "To let it take shards: pulumi config set --path citus:coordinator.shards true",
              ]
            : [`${name}: it is leaving and takes no shards any more, and the program puts ${whose} there. ${where}`];
    });
}

/** As SQL that is run in its schema names it. */
const withoutSchema = ({ table, schema }: BlockerRow) =>
    [schema, `"${schema}"`].reduce(
        (name, quoted) => (name.startsWith(`${quoted}.`) ? name.slice(quoted.length + 1) : name),
        table,
    );

/** What moves a tenant while its writers wait, for those whose tables can't be replicated. */
function waitingMoves(group: GroupSpec, copied: ReadonlySet<string>, found: PinsFound): string[] {
    return [...copied].flatMap((tenant) => {
        const place = found.tenants[tenant];
        const host = ({ node }: { readonly node?: string | undefined }) =>
            found.nodes.find(({ name }) => name === node);
        const target = host(group.tenants[tenant] ?? {});
        if (group.model === "schema")
            return target
                ? [
                      `SELECT citus_schema_move(${literal(identifier(tenant))}, ${literal(target.host)}, ${target.port}, 'block_writes');`,
                  ]
                : [];
        const anchor = literal(qualified(group.anchor ?? ""));
        const shard = `get_shard_id_for_distribution_column(${anchor}, ${literal(tenant)})`;
        const from = found.nodes.find(({ groupId }) => groupId === place?.groupId);
        return [
            ...(place?.own === false
                ? [`SELECT isolate_tenant_to_new_shard(${anchor}, ${literal(tenant)}, 'CASCADE', 'block_writes');`]
                : []),
            ...(target && from && target.name !== from.name
                ? [
                      `SELECT citus_move_shard_placement(${shard}, ${literal(from.host)}, ${from.port}, ${literal(target.host)}, ${target.port}, 'block_writes');`,
                  ]
                : []),
        ];
    });
}

function refuseBlockers(group: GroupSpec, copied: ReadonlySet<string>, found: PinsFound): string[] {
    if (copied.size === 0) return [];
    const rows = group.model === "row";
    return found.blockers
        .filter((row) => rows || copied.has(row.schema))
        .map((row) => {
            // a file of the template is run in each tenant's schema
            const { reason, fix } = blockerOf(rows ? row : { ...row, table: withoutSchema(row) });
            const names = rows ? joinNames([...copied]) : row.schema;
            const whose = rows ? `tenants ${names}` : `tenant ${names}`;
            const waiting =
                row.accessMethod === null ? [] : waitingMoves(group, rows ? copied : new Set([row.schema]), found);
            return [
                `${row.table}: ${reason}, so ${whose} can't be moved while ${rows ? "they are" : "it is"} served`,
                `Put this into a file of template${rows ? "" : ", for all tenants,"} unless a file that was not run yet has it. Then run pulumi up once without node${rows ? " and isolate" : ""} for ${names}:`,
                fix,
                ...(waiting.length > 0
                    ? [
                          "Or let its writers wait while it is moved (npm run psql), then run pulumi up again:",
                          ...waiting.slice(0, 5),
                      ]
                    : []),
            ].join("\n");
        });
}
