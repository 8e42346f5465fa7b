/** Registering a node: who may join, and what must be true afterwards. */

import type { Session } from "../../reach/session.ts";
import { blocking, explainBlockers, type NodeRow, readBlockers, readNodes } from "../catalog.ts";
import { keepIdsApart } from "../sequences.ts";
import { type NodeFacts, readFacts, refusals } from "./joinFacts.ts";
import {
    clearMetadata,
    dropLeftovers,
    exemptBoth,
    explainGone,
    judgeWithoutMetadata,
    readClashes,
    readPlaced,
    unregisteredByHand,
} from "./leftovers.ts";
import { prepareTarget } from "./prepare.ts";
import { makeSlots } from "./slots.ts";

export interface JoinTarget {
    readonly name: string;
    /** Host name in pg_dist_node. */
    readonly host: string;
    readonly port: number;
}

export interface Joined {
    readonly nodeId: number;
    readonly groupId: number;
}

/** Names the coordinator in its own metadata. Safe to repeat. */
export async function nameCoordinator(coordinator: Session, target: JoinTarget): Promise<Joined> {
    const before = (await readNodes(coordinator)).find((node) => node.groupId === 0);
    if (before?.host !== target.host || before.port !== target.port) {
        await coordinator.query("SELECT citus_set_coordinator_host($1, $2)", [target.host, target.port]);
        await coordinator.query("SELECT citus_set_node_property($1, $2, 'shouldhaveshards', false)", [
            target.host,
            target.port,
        ]);
    }
    const row = (await readNodes(coordinator)).find((node) => node.groupId === 0);
    if (!row)
        throw new Error(`${target.name}: the coordinator is not in pg_dist_node after citus_set_coordinator_host`);
    return { nodeId: row.nodeId, groupId: 0 };
}

/**
 * Registers a worker, or brings one that is registered back to what it should be. Safe to repeat.
 * @throws Error with every reason when the server may not join; nothing was changed then
 */
export async function joinWorker(
    coordinator: Session,
    target: Session,
    node: JoinTarget,
    transferMode: string,
): Promise<Joined> {
    let registered = (await readNodes(coordinator)).find((row) => row.host === node.host && row.port === node.port);
    const own = await readFacts(coordinator);
    let facts = await readFacts(target);
    if (registered && facts.groupId === 0 && facts.clusterId === own.clusterId) {
        const found = judgeWithoutMetadata(facts, await readPlaced(coordinator, target, registered.groupId));
        if (typeof found === "object") throw new Error(explainGone(node.name, found));
        if (found === "made anew") {
            await coordinator.query("SELECT citus_remove_node($1, $2)", [node.host, node.port]);
            registered = undefined;
        } else {
            const clashes = await readClashes(coordinator, facts);
            if (clashes.length > 0)
                throw new Error(
                    refusal(
                        node.name,
                        clashes.map((name) => `it has a table ${name} of its own, which the cluster's would replace`),
                    ),
                );
        }
    }
    if (registered) {
        await reactivate(coordinator, target, { node, registered, facts, own });
    } else {
        // only what is provably this stack's own node is ever cleaned
        if (unregisteredByHand(facts, own)) {
            const other = refusals({ ...facts, ...CLEARED }, own);
            if (other.length > 0) throw new Error(refusal(node.name, other));
            facts = await clearMetadata(coordinator, target, node.name);
        }
        if (refusals({ ...facts, relations: [] }, own).length === 0)
            facts = await dropLeftovers(coordinator, target, facts);
        const why = refusals(facts, own);
        if (why.length > 0) throw new Error(refusal(node.name, why));
        await refuseReferenceBlockers(coordinator, transferMode);
        await requireReachable(coordinator, node);
        await exemptBoth(coordinator, target);
        await prepareTarget(coordinator, target);
        await coordinator.query("SELECT citus_add_node($1, $2)", [node.host, node.port]);
    }
    await makeSlots(coordinator, target, node);
    await coordinator.query("SELECT replicate_reference_tables($1::citus.shard_transfer_mode)", [
        await copyMode(coordinator, transferMode),
    ]);
    return verifyMember(coordinator, target, node);
}

/** What clearing its metadata would leave of a node's facts. */
const CLEARED = { groupId: 0, knownNodes: 0, distributedTables: 0, relations: [] } as const;

async function reactivate(
    coordinator: Session,
    target: Session,
    { node, registered, facts, own }: { node: JoinTarget; registered: NodeRow; facts: NodeFacts; own: NodeFacts },
): Promise<void> {
    if (facts.clusterId !== own.clusterId)
        throw new Error(refusal(node.name, refusals({ ...facts, relations: [] }, own)));
    if (facts.groupId !== registered.groupId && facts.groupId !== 0) {
        throw new Error(
            refusal(node.name, [
                `it says that it is group ${facts.groupId}, the coordinator knows it as group ${registered.groupId}`,
            ]),
        );
    }
    await exemptBoth(coordinator, target);
    if (registered.active && registered.synced && facts.groupId === registered.groupId) return;
    await keepIdsApart(coordinator, target, registered.groupId, () =>
        coordinator.query("SELECT citus_activate_node($1, $2)", [node.host, node.port]),
    );
}

function refusal(name: string, why: readonly string[]): string {
    return [
        `${name} can't join this cluster:`,
        ...why.map((reason) => `  ${reason}`),
        `Nothing was changed on ${name}. Only an empty node that this stack made may join.`,
    ].join("\n");
}

const readReferenceBlockers = async (coordinator: Session) =>
    (await readBlockers(coordinator)).filter(({ reference }) => reference);

async function refuseReferenceBlockers(coordinator: Session, transferMode: string): Promise<void> {
    if (transferMode === "block_writes") return;
    const blockers = blocking(await readReferenceBlockers(coordinator), transferMode);
    if (blockers.length > 0) throw new Error(explainBlockers(blockers));
}

/** Writes wait only where reference tables can't be copied in another way. */
async function copyMode(coordinator: Session, transferMode: string): Promise<string> {
    if (transferMode !== "block_writes") return transferMode;
    return (await readReferenceBlockers(coordinator)).length > 0 ? transferMode : "auto";
}

async function requireReachable(coordinator: Session, node: JoinTarget): Promise<void> {
    const [row] = await coordinator.query<{ ok: boolean }>("SELECT citus_check_connection_to_node($1, $2) AS ok", [
        node.host,
        node.port,
    ]);
    if (row?.ok) return;
    throw new Error(
        `${node.name}: the coordinator can't open a verified connection to ${node.host}:${node.port}.\n` +
            "Nothing was changed. Look at the node's own log, then run pulumi up again.",
    );
}

/**
 * Proves that a registered worker is active, has the metadata, and reaches and is reached by every other node. Asks each
 * node once: citus_check_cluster_node_health would ask every pair.
 * @throws Error naming the pairs that do not work
 */
export async function verifyMember(coordinator: Session, target: Session, node: JoinTarget): Promise<Joined> {
    const row = (await readNodes(coordinator)).find((other) => other.host === node.host && other.port === node.port);
    if (!row) throw new Error(`${node.name} is not in pg_dist_node`);
    if (!row.active || !row.synced) {
        throw new Error(
            `${node.name} is registered but ${row.active ? "its metadata is not in sync" : "not active"}; run pulumi up again`,
        );
    }
    const outward = await target.query<{ from: string; to: string }>(
        `SELECT $1::text AS from, nodename AS to FROM pg_dist_node
          WHERE noderole = 'primary' AND isactive AND citus_check_connection_to_node(nodename, nodeport) IS NOT TRUE`,
        [node.host],
    );
    const inward = await coordinator.query<{ from: string; to: string }>(
        `SELECT n.nodename AS from, $1::text AS to
           FROM run_command_on_all_nodes(format('SELECT citus_check_connection_to_node(%L, %s)', $1::text, $2::int)) r
           JOIN pg_dist_node n USING (nodeid) WHERE NOT r.success OR r.result IS DISTINCT FROM 't'`,
        [node.host, node.port],
    );
    const bad = [...outward, ...inward];
    if (bad.length > 0) {
        throw new Error(
            `${node.name} is registered, but not every node reaches every other:\n${bad
                .map((pair) => `  ${pair.from} can't reach ${pair.to}`)
                .join("\n")}\nMake these nodes reach each other, then run pulumi up again: it is safe to repeat.`,
        );
    }
    return { nodeId: row.nodeId, groupId: row.groupId };
}
