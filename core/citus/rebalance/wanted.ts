/** What a cluster's placement should be. */
import { nodeOf } from "../../node/topology.ts";
import type { NodeRow } from "../catalog.ts";
import type { Strategy } from "./plan.ts";

export interface WantedWorker {
    readonly name: string;
    readonly host: string;
    readonly port: number;
}

export interface Wanted {
    readonly workers: readonly WantedWorker[];
    /** Whether the coordinator should hold shards of distributed tables. */
    readonly coordinatorShards: boolean;
    /** `false` moves only what a leaving worker holds. */
    readonly rebalance: boolean;
    readonly strategy: Strategy;
    readonly transferMode: string;
    readonly threshold?: number;
}

/** Whether two are the same node: `pg_dist_node` knows nodes by these. */
export const same = (a: { host: string; port: number }, b: { host: string; port: number }) =>
    a.host === b.host && a.port === b.port;

/** Node names are the first label of their hosts. */
export const label = (node: { host: string }) => nodeOf(node.host);

/** Whether a node that is registered should hold shards of distributed tables. */
export function shouldHoldShards(node: NodeRow, wanted: Wanted): boolean {
    return node.groupId === 0 ? wanted.coordinatorShards : wanted.workers.some((w) => same(w, node));
}
