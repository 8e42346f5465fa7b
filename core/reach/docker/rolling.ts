/** Which of a cluster's containers will be replaced, and in which order. */
import { createHash } from "node:crypto";
import { workerIndex } from "../../node/topology.ts";
import { dockerEngine } from "./engine.ts";

/** Label of a container that says what it was made of. */
export const MADE_LABEL = "citus.made-of";

/** The same for containers that need not be replaced by one another. Pure. */
export function madeOf(args: object): string {
    return createHash("sha256").update(JSON.stringify(args)).digest("hex").slice(0, 12);
}

/** A node's container as the engine has it. */
export interface FoundContainer {
    readonly node: string;
    /** What {@link MADE_LABEL} says; empty in one of before it was written down. */
    readonly made: string;
    /** Whether it runs and passed its health check. */
    readonly serves: boolean;
}

/** The containers that an engine has of a cluster's nodes. */
export async function readContainers(engine: string, clusterId: string): Promise<FoundContainer[]> {
    const found = await dockerEngine(engine).listContainers({
        all: true,
        filters: { label: [`citus.cluster-id=${clusterId}`, "citus.node"] },
    });
    return found.map(({ Labels, State, Status }) => ({
        node: Labels["citus.node"] ?? "",
        made: Labels[MADE_LABEL] ?? "",
        serves: State === "running" && /\(healthy\)/.test(Status),
    }));
}

export interface WantedContainer {
    readonly name: string;
    /** What it is to be made of; undefined where that is not known yet. */
    readonly made: string | undefined;
}

/** More than a worker's number can be. */
const LAST = 100_000;

/**
 * The nodes whose container will be replaced, in the order in which it is done. Pure. What does not serve is replaced
 * first, the coordinator before the workers that it has to reach: replacing it costs nothing and may mend it. What serves
 * comes after it, workers first and the coordinator last.
 */
export function turnsOf(found: readonly FoundContainer[], wanted: readonly WantedContainer[]): string[] {
    const outdated = wanted.flatMap(({ name, made }) => {
        const container = found.find(({ node }) => node === name);
        return container === undefined || container.made === made ? [] : [container];
    });
    const place = ({ node, serves }: FoundContainer): number => {
        const index = workerIndex(node) ?? (serves ? LAST : 0);
        return serves ? LAST + index : index;
    };
    return outdated.sort((a, b) => place(a) - place(b)).map(({ node }) => node);
}
