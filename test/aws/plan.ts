/** What `npm run test:aws` makes, in which order, and how long each part is expected to take. */
import type { Priced } from "./prices.ts";

/** Key of the tag that everything of a run carries; its value is the run's name. */
export const TAG = "test-aws";

/** Two families: both small, their disks and network cards alike to the machine, the hosts not. */
export const FIRST_TYPE: Priced = "t3.medium";
export const OTHER_TYPE: Priced = "m7i-flex.large";
/** GiB. */
export const FIRST_SIZE = 10;
export const LARGER_SIZE = 20;
export const WORKERS = 2;
export const MORE_WORKERS = 3;

/** GiB of a machine's own disk. */
const ROOT_SIZE = 16;

/** A cluster as it stands for some time. */
export interface Standing {
    readonly machines: readonly Priced[];
    /** Of all volumes together. */
    readonly gib: number;
}

export interface Stage {
    readonly what: string;
    readonly minutes: number;
    /** Each with a network of its own. */
    readonly clusters: readonly Standing[];
}

function cluster(workers: number, workerType: Priced, workerSize: number): Standing {
    const machines = [FIRST_TYPE, ...Array<Priced>(workers).fill(workerType)];
    return { machines, gib: FIRST_SIZE + workers * workerSize + machines.length * ROOT_SIZE };
}

const shrunk = cluster(WORKERS, OTHER_TYPE, LARGER_SIZE);

export const STAGES: readonly Stage[] = [
    { what: "a cluster and the checks on it", minutes: 25, clusters: [cluster(WORKERS, FIRST_TYPE, FIRST_SIZE)] },
    { what: "one more worker", minutes: 10, clusters: [cluster(MORE_WORKERS, FIRST_TYPE, FIRST_SIZE)] },
    {
        what: "larger volumes, other machines",
        minutes: 22,
        clusters: [cluster(MORE_WORKERS, OTHER_TYPE, LARGER_SIZE)],
    },
    { what: "one worker less, a backup", minutes: 12, clusters: [shrunk] },
    { what: "a restored copy", minutes: 15, clusters: [shrunk, cluster(WORKERS, FIRST_TYPE, FIRST_SIZE)] },
    { what: "destroying", minutes: 6, clusters: [shrunk] },
];

/** Machines that are started in all, of which each fetches its packages. */
export const BOOTS = 1 + WORKERS + (MORE_WORKERS - WORKERS) + MORE_WORKERS + 1 + WORKERS;

/** `citus:` keys of the cluster, without what is secret. */
export function clusterConfig(run: string): Record<string, unknown> {
    return {
        platform: "aws",
        name: run,
        workers: WORKERS,
        shardCount: 8,
        coordinator: { instanceType: FIRST_TYPE, volumeSize: FIRST_SIZE },
        worker: { instanceType: FIRST_TYPE, volumeSize: FIRST_SIZE },
        network: { zones: 1, egress: "nat" },
        // only the points that are asked for
        backup: { restorePoint: "off" },
        protect: false,
        tags: { [TAG]: run },
    };
}

/** Those of the copy that is restored from it; the stack it comes from is named like the run. */
export function copyConfig(run: string): Record<string, unknown> {
    return { ...clusterConfig(run), name: `${run}-copy`, backup: false, restoreFrom: { stack: run } };
}
