/**
 * Which nodes a cluster has and what they are called. Pure: no I/O, imports nothing of ours.
 */

export const COORDINATOR = "coordinator";
export const POSTGRES_PORT = 5432;
/** Where a node's PgBouncer listens, when there is one. */
export const POOL_PORT = 6432;
/** From the published port of a node to its pool's, where the ports are set by hand. */
export const POOL_OFFSET = POOL_PORT - POSTGRES_PORT;

/** The highest worker number there may be: so many ports are kept free for a cluster. */
export const HIGHEST_INDEX = 255;

export type Role = "coordinator" | "worker";

/** One machine of the cluster, before any platform has made it. */
export interface NodeSpec {
    /** `coordinator` or `worker-<n>`; also the Pulumi name's suffix and the container's host name. */
    readonly name: string;
    readonly role: Role;
    /** 0 for the coordinator, n for `worker-<n>`: offsets such as published ports follow it. */
    readonly index: number;
    /** The name under which Citus registers the node; resolves on the node network only. */
    readonly host: string;
}

export function workerName(index: number): string {
    return `worker-${index}`;
}

/** The number in `worker-<n>`, or undefined when the text is not such a name. */
export function workerIndex(name: string): number | undefined {
    const match = /^worker-([1-9][0-9]{0,3})$/.exec(name);
    return match ? Number(match[1]) : undefined;
}

/** The domain of a cluster's nodes, e.g. `citus-dev.node`. */
export function nodeZone(cluster: string): string {
    return `${cluster}.node`;
}

/** The name a node has on the network that carries only nodes, e.g. `worker-2.citus-dev.node`. */
export function nodeHost(node: string, cluster: string): string {
    return `${node}.${nodeZone(cluster)}`;
}

/** The node of such a host: its first label. */
export function nodeOf(host: string): string {
    return host.split(".")[0] ?? host;
}

/**
 * The numbers of the wanted workers: the first `count` natural numbers that are not retired.
 * Lowering the count therefore drops the highest numbers; retiring a number replaces it by a fresh one
 * unless the count is lowered too.
 */
export function workerIndexes(count: number, retired: readonly number[]): number[] {
    const out = new Set(retired);
    const wanted: number[] = [];
    for (let n = 1; wanted.length < count; n++) {
        if (!out.has(n)) wanted.push(n);
    }
    return wanted;
}

export const coordinatorOf = (cluster: string): NodeSpec => ({
    name: COORDINATOR,
    role: "coordinator",
    index: 0,
    host: nodeHost(COORDINATOR, cluster),
});

/** All nodes of a cluster, the coordinator first. */
export function topology(cluster: string, workers: number, retire: readonly string[]): NodeSpec[] {
    const retired = retire.map(workerIndex).filter((n) => n !== undefined);
    return [
        coordinatorOf(cluster),
        ...workerIndexes(workers, retired).map((index): NodeSpec => {
            const name = workerName(index);
            return { name, role: "worker", index, host: nodeHost(name, cluster) };
        }),
    ];
}
