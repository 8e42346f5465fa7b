/** The Docker engine that a stack's cluster is on: as its state has it, whatever the environment means now. */
import { describeEngine, type Engine, resolveEngine } from "../../components/docker/context.ts";
import { whySilent } from "../../components/docker/engine.ts";
import type { StateResource } from "./resources.ts";

/**
 * @param resources of the stack's state
 * @param configured `citus:dockerHost`, for a state of before engines were written down
 */
export function stackEngine(resources: readonly StateResource[], configured?: string): Engine {
    const known = resources.find(({ type }) => type === "pulumi-nodejs:dynamic/citus:DockerEngine")?.outputs?.address;
    return typeof known === "string"
        ? { address: known, named: "where the cluster was made" }
        : resolveEngine(configured);
}

/**
 * The same, which answers.
 * @throws Error when it does not
 */
export async function answeringEngine(resources: readonly StateResource[], configured?: string): Promise<Engine> {
    const engine = stackEngine(resources, configured);
    const silent = await whySilent(engine.address);
    if (silent !== undefined)
        throw new Error(
            `No Docker engine answers at ${describeEngine(engine)}: ${silent}. Nothing was changed. Start it.\n` +
                "If it listens at another address now: npm run pulumi -- up takes that up.",
        );
    return engine;
}
