/** The Docker engine that a stack's cluster is on: as its state has it, whatever the environment means now. */
import { describeEngine, type Engine, resolveEngine } from "../../core/reach/docker/context.ts";
import { whySilent } from "../../core/reach/docker/engine.ts";
import { hasCluster, identify } from "../../core/reach/docker/identity.ts";
import { clusterId, outputsOf, type StateResource } from "./resources.ts";

const outputOf = (resources: readonly StateResource[], name: string) => outputsOf(resources, "DockerEngine")?.[name];

/**
 * @param resources of the stack's state
 * @param configured `citus:dockerHost`, for a state of before engines were written down
 */
export function stackEngine(resources: readonly StateResource[], configured?: string): Engine {
    const known = outputOf(resources, "address");
    return typeof known === "string"
        ? { address: known, named: "where the cluster was made" }
        : resolveEngine(configured);
}

/**
 * Refuses an engine that listens where the cluster's did and is another: to it the cluster does not exist, and a destroy or
 * a refresh would take it out of the state.
 * @throws Error naming both
 */
async function refuseStranger(engine: Engine, resources: readonly StateResource[]): Promise<void> {
    const known = outputOf(resources, "engineId");
    const id = clusterId(resources);
    if (typeof known !== "string" || known === "" || id === undefined) return;
    const found = await identify(engine.address);
    if (found.id === known || found.id === "" || (await hasCluster(engine.address, id))) return;
    throw new Error(
        `The Docker engine at ${describeEngine(engine)} is not the one that the cluster is on, and has nothing of it: ` +
            `its id is ${found.id} (${found.name}), the cluster's is ${known} (${String(outputOf(resources, "engineName"))}).\n` +
            "Nothing was changed. Start the cluster's own engine at that address, or name its address: npm run pulumi -- config set citus:dockerHost ADDRESS",
    );
}

/**
 * Whether the engine that the state names can be asked what is there.
 * @throws Error when another engine answers in its place
 */
export async function canRefresh(resources: readonly StateResource[], configured?: string): Promise<boolean> {
    const engine = stackEngine(resources, configured);
    if ((await whySilent(engine.address)) !== undefined) return false;
    await refuseStranger(engine, resources);
    return true;
}

/**
 * The same, which answers.
 * @throws Error when it does not, or another engine answers in its place
 */
export async function answeringEngine(resources: readonly StateResource[], configured?: string): Promise<Engine> {
    const engine = stackEngine(resources, configured);
    const silent = await whySilent(engine.address);
    if (silent !== undefined)
        throw new Error(
            `No Docker engine answers at ${describeEngine(engine)}: ${silent}. Nothing was changed. Start it.\n` +
                "If it listens at another address now: npm run pulumi -- up takes that up.",
        );
    await refuseStranger(engine, resources);
    return engine;
}
