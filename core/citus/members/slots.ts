/** Logical replication slots of users, through which changes are read from each node by itself. */

import { nodeOf } from "../../node/topology.ts";
import type { Session } from "../../reach/session.ts";
import { literal } from "../../sql/quote.ts";
import { describeBytes } from "../../util/bytes.ts";
import { countPlacements, onNodes, readNodes } from "../catalog.ts";

/** A logical slot: what its reader has not read is on this node alone. */
export interface Slot {
    readonly name: string;
    readonly plugin: string;
    readonly database: string;
    /** Whether that is the cluster's database. */
    readonly here: boolean;
    /** Write-ahead log that its reader has not confirmed, in bytes. */
    readonly unread: number;
    /** Process id of the reader that is connected. */
    readonly reader: number | null;
    readonly twoPhase: boolean;
}

/** Logical slots that are neither Citus' own nor temporary. */
const SLOTS = `SELECT slot_name AS name, plugin, database, database = current_database() AS here, active_pid AS reader, two_phase AS "twoPhase",
                      pg_wal_lsn_diff(pg_current_wal_lsn(), coalesce(confirmed_flush_lsn, restart_lsn))::float8 AS unread
                 FROM pg_replication_slots
                WHERE slot_type = 'logical' AND NOT temporary AND slot_name !~ '^citus_shard_(move|split)_' ORDER BY 1`;

export const readSlots = (node: Session): Promise<Slot[]> => node.query<Slot>(SLOTS);

/** Slots of every worker by its host, asked through the coordinator. A worker that does not answer has none here. */
export async function readSlotsOfWorkers(coordinator: Session): Promise<Map<string, readonly Slot[]>> {
    const asked = `SELECT coalesce(json_agg(s), '[]') FROM (${SLOTS}) s`;
    const rows = await coordinator.query<{ host: string; slots: string | null }>(
        `SELECT r.node_name AS host, r.result AS slots FROM ${onNodes("groupid <> 0", literal(asked))} WHERE r.success`,
    );
    return new Map(rows.map(({ host, slots }) => [host, JSON.parse(slots ?? "[]") as Slot[]]));
}

/** Slots that all of these workers have in the cluster's database: its changes are read from each of them. Pure. */
export function sharedSlots(workers: readonly (readonly Slot[])[]): Slot[] {
    const [first, ...others] = workers;
    return (first ?? []).filter(
        (slot) =>
            slot.here &&
            others.every((slots) => slots.some(({ name, plugin }) => name === slot.name && plugin === slot.plugin)),
    );
}

/**
 * Makes on a worker that holds no shard yet the slots that all others have. Without them its first changes would not be
 * read. Safe to repeat.
 * @returns names of the slots that were made
 */
export async function makeSlots(
    coordinator: Session,
    target: Session,
    node: { readonly host: string; readonly port: number },
): Promise<string[]> {
    const nodes = await readNodes(coordinator);
    const others = nodes.filter(({ groupId, host }) => groupId !== 0 && host !== node.host);
    const own = nodes.find(({ host, port }) => host === node.host && port === node.port);
    if (others.length === 0 || !own) return [];
    const slots = await readSlotsOfWorkers(coordinator);
    const shared = sharedSlots(others.map(({ host }) => slots.get(host) ?? []));
    const missing = shared.filter(({ name }) => !slots.get(node.host)?.some((slot) => slot.name === name));
    if (missing.length === 0 || (await countPlacements(coordinator, own.groupId)) > 0) return [];
    for (const { name, plugin, twoPhase } of missing)
        await target.query("SELECT pg_create_logical_replication_slot($1, $2, false, $3)", [name, plugin, twoPhase]);
    return missing.map(({ name }) => name);
}

/** What a preview says of slots: which are made on new workers, and which keep a worker from leaving. */
export async function describeSlots(
    coordinator: Session,
    change: { readonly coming: readonly string[]; readonly leaving: readonly { readonly host: string }[] },
): Promise<string[]> {
    if (change.coming.length + change.leaving.length === 0) return [];
    const slots = await readSlotsOfWorkers(coordinator);
    const shared = sharedSlots([...slots.values()]);
    const partial = [...slots].flatMap(([host, own]) =>
        own
            .filter(({ name }) => !shared.some((slot) => slot.name === name))
            .map(({ name }) => `${name} (${nodeOf(host)})`),
    );
    const coming = change.coming.join(", ");
    return [
        ...(change.coming.length > 0
            ? shared.map(
                  ({ name, plugin }) =>
                      `every worker has the logical replication slot ${name} (${plugin}): pulumi up makes it on ${coming} too, before shards arrive. ` +
                      `Let its reader read from ${coming}: write-ahead log is kept there until it does.`,
              )
            : []),
        ...(change.coming.length > 0 && partial.length > 0
            ? [
                  `logical replication slots that only some workers have are not made on ${coming}: ${partial.join(", ")}. ` +
                      `To make one there before shards arrive: pulumi config set --path citus:rebalance.enabled false, pulumi up, make the slot on ${coming}, then true again.`,
              ]
            : []),
        ...change.leaving.flatMap(({ host }) => {
            const own = slots.get(host) ?? [];
            if (own.length === 0) return [];
            return [
                `${explainSlots(nodeOf(host), own)}\npulumi up moves the worker's shards, and refuses to remove it until then.`,
            ];
        }),
    ];
}

/** What has to be done before a worker with slots leaves. */
export function explainSlots(name: string, slots: readonly Slot[]): string {
    return [
        `${name} has logical replication slots. What their readers have not read is nowhere else:`,
        ...slots.map(
            ({ name: slot, plugin, database, unread, reader }) =>
                `  ${slot} (${plugin}, database ${database}): ${describeBytes(unread)} of write-ahead log not confirmed, ${reader === null ? "no reader is connected" : `read by pid ${reader}`}`,
        ),
        `Let each reader read to the end once the worker's shards are moved. Then drop them, on ${name}:`,
        ...slots.map(({ name: slot }) => `  SELECT pg_drop_replication_slot(${literal(slot)});`),
    ].join("\n");
}
