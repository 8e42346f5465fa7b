/** A row of pg_dist_node. */

import { readNodes } from "../core/citus/catalog.ts";
import { joinWorker, nameCoordinator } from "../core/citus/members/join.ts";
import { refuseUnregistered, removeWorker } from "../core/citus/members/leave.ts";
import { tellHolders } from "../core/citus/watch.ts";
import { type Access, addressOf } from "../core/node/reach.ts";
import { nodeOf, type Role, workerIndex } from "../core/node/topology.ts";
import { explainSilence } from "../core/reach/nodeState.ts";
import { saidBy } from "../core/reach/said.ts";
import { connect, DatabaseError, withSession } from "../core/reach/session.ts";
import { comparable, inTurn, nodesForDiff, oneAtATime } from "./coordinator.ts";
import { findMember } from "./findMember.ts";
import type { Ask, ResourceKind } from "./kind.ts";
import { unknown } from "./unknown.ts";

/** What a member is told, as plain values. */
export interface MemberInputs {
    role: Role;
    name: string;
    /** The name and port under which Citus registers the node. */
    host: string;
    port: number;
    /** How to reach the coordinator from here. */
    coordinator: Access;
    /** How to reach the node itself from here. */
    access: Access;
    transferMode: string;
}

export interface MemberState extends MemberInputs {
    nodeId: number;
    /** Citus' number of the node's group; 0 is the coordinator. */
    groupId: number;
}

const PATIENCE = 60_000;

/** A worker's group id is its place in this order: worker-1 has the lowest where all come at about the same time. */
function inOrder<T>(inputs: MemberInputs, work: () => Promise<T>): Promise<T> {
    const key = `join ${addressOf(inputs.coordinator)}`;
    if (inputs.role === "coordinator") return oneAtATime(key, work);
    return inTurn(key, workerIndex(inputs.name) ?? 0, work);
}

async function register(ask: Ask, inputs: MemberInputs) {
    const report = ask.progress;
    // adds take the same lock; one after another is what they would do anyway
    return inOrder(inputs, () =>
        withSession(
            inputs.coordinator,
            "coordinator",
            async (coordinator) => {
                if (inputs.role === "coordinator") return nameCoordinator(coordinator, inputs);
                report(`registering ${inputs.host}`);
                const target = await connect(inputs.access, inputs.name, { patience: PATIENCE });
                try {
                    return await joinWorker(coordinator, target, inputs, inputs.transferMode);
                } finally {
                    await target.close().catch(() => undefined);
                }
            },
            {
                patience: PATIENCE,
                waiting: (why) => report(`waiting for the coordinator: ${why}`),
                wrap: tellHolders(report),
            },
        ).catch((error: unknown) => {
            if (!(error instanceof DatabaseError && error.connecting)) throw error;
            throw new Error(
                `${inputs.name} was not registered, because ${error.node} does not answer: ${explainSilence(saidBy(error), undefined)}\n` +
                    "Nothing was changed. Run pulumi up again when it answers.",
            );
        }),
    );
}

async function unregister(ask: Ask, props: MemberState): Promise<void> {
    // the coordinator's row goes with its database
    if (props.role === "coordinator") return;
    await oneAtATime(`join ${addressOf(props.coordinator)}`, () =>
        withSession(
            props.coordinator,
            "coordinator",
            async (coordinator) => {
                const registered = (await readNodes(coordinator)).some(
                    (n) => n.host === props.host && n.port === props.port,
                );
                const target = await connect(props.access, props.name, { timeout: 5000 }).catch((error: Error) => {
                    if (registered) throw error;
                    throw new Error(
                        `${error.message}\n${props.name} is not registered and does not answer, so what it holds is not known. Start it, then run pulumi up again. ` +
                            "If its data is not needed, take it out of the state: pulumi state delete URN (pulumi stack --show-urns lists them; it is a citus-clusters:index:Member).",
                    );
                });
                const openDatabase = (database: string) => connect({ ...props.access, database }, props.name);
                try {
                    if (registered) return await removeWorker(coordinator, props, target, openDatabase);
                    // what the coordinator does not know may still be the only copy: after a restore, for one
                    await refuseUnregistered(coordinator, target, props.name, openDatabase);
                } finally {
                    await target.close();
                }
            },
            { patience: 10_000, wrap: tellHolders(ask.progress) },
        ).catch((error: Error) => {
            throw new Error(
                `${error.message}\n${props.name} was not removed, and its data is untouched. A worker can leave only while it and the coordinator both answer. ` +
                    "To delete the whole cluster: npm run down.",
            );
        }),
    );
}

/** What changes in the state alone. */
const COMPUTED = ["nodeId", "groupId"];

export class MemberKind implements ResourceKind<MemberInputs, MemberState> {
    readonly type = "citus-clusters:index:Member";
    readonly description = "A node registered in Citus. A worker leaves only when it provably holds nothing.";
    readonly inputs = {
        role: { type: "string", description: "coordinator or worker." },
        name: { type: "string", description: "Such as worker-1." },
        host: { type: "string", description: "The name under which Citus registers the node." },
        port: { type: "integer", description: "The port under which Citus registers the node." },
        coordinator: { type: "object", secret: true, description: "How the coordinator is reached." },
        access: { type: "object", secret: true, description: "How the node itself is reached." },
        transferMode: { type: "string", description: "auto, force_logical or block_writes." },
    } as const;
    readonly outputs = {
        nodeId: { type: "integer" },
        groupId: { type: "integer", description: "0 is the coordinator." },
    } as const;

    async create(ask: Ask, inputs: MemberInputs) {
        const joined = await register(ask, inputs);
        return { id: inputs.host, outs: { ...inputs, ...joined } };
    }

    async update(ask: Ask, _id: string, _olds: MemberState, news: MemberInputs) {
        const joined = await register(ask, news);
        return { outs: { ...news, ...joined } };
    }

    async diff(_ask: Ask, _id: string, olds: MemberState, news: MemberInputs) {
        if (olds.host !== news.host || olds.port !== news.port) {
            return {
                changes: true,
                replaces: ["host", "port"].filter((key) => olds[key as "host"] !== news[key as "host"]),
                deleteBeforeReplace: true,
            };
        }
        if (comparable(olds, COMPUTED) !== comparable(news, COMPUTED)) return { changes: true };
        if (unknown(news.coordinator)) return { changes: true };
        // registered by hand under other terms, removed by hand, or never finished: seen here and mended by update
        const nodes = await nodesForDiff(news.coordinator);
        const row = nodes?.find((node) => node.host === news.host && node.port === news.port);
        if (nodes && (!row?.active || !row.synced || row.groupId !== olds.groupId)) return { changes: true };
        return { changes: false };
    }

    async read(_ask: Ask, _id: string, props: MemberState) {
        const nodes = await nodesForDiff(props.coordinator);
        // a coordinator that does not answer says nothing about its table
        if (!nodes) return props;
        const row = nodes.find((node) => node.host === props.host && node.port === props.port);
        // its removal still has to ask what it holds, so it stays in the state; the next update registers it
        if (!row) return { ...props, nodeId: -1, groupId: -1 };
        return { ...props, nodeId: row.nodeId, groupId: row.groupId };
    }

    /** How the node itself is reached is not known here: the first `up` after the import gives it its own access. */
    async import(_ask: Ask, host: string) {
        const found = await findMember(host);
        if (!found) return undefined;
        const { coordinator, row } = found;
        const inputs: MemberInputs = {
            role: row.groupId === 0 ? "coordinator" : "worker",
            name: nodeOf(host),
            host,
            port: row.port,
            coordinator,
            access: coordinator,
            transferMode: "auto",
        };
        return { inputs, props: { ...inputs, nodeId: row.nodeId, groupId: row.groupId } };
    }

    delete(ask: Ask, _id: string, props: MemberState) {
        return unregister(ask, props);
    }
}
