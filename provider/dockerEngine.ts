/** Keeping a cluster on the engine that it was made on. */

import { DEFAULT_SOCKET } from "../core/reach/docker/address.ts";
import { engineAnswers, whySilent } from "../core/reach/docker/engine.ts";
import { type EngineIdentity, hasCluster, identify } from "../core/reach/docker/identity.ts";
import { comparable } from "./coordinator.ts";
import type { Ask, ResourceKind } from "./kind.ts";
import { unknown } from "./unknown.ts";

export interface DockerEngineInputs {
    /** In full, as `unix:///var/run/docker.sock`. */
    address: string;
    /** Labels everything that the cluster has there. */
    clusterId: string;
}

export interface DockerEngineState extends DockerEngineInputs {
    /** {@link EngineIdentity.id} */
    engineId: string;
    engineName: string;
}

/** Where a state of before engines were written down may have its cluster: contexts were not followed then. */
const before = () => [process.env.DOCKER_HOST || DEFAULT_SOCKET, DEFAULT_SOCKET];

const shown = (name: string, address: string) => (name === "" ? address : `${name} at ${address}`);

function refusal(is: string, got: string, address: string): Error {
    return new Error(
        `The cluster of this stack is on the Docker engine ${is}. This run would use the Docker engine ${got}, which has nothing of it.\n` +
            "Nothing was changed. Go back to the cluster's engine: " +
            `select its context (docker context use), or npm run pulumi -- config set citus:dockerHost ${address}\n` +
            "To have the cluster on the other engine, take it down on its own first: npm run down\n" +
            "If its engine is gone for ever with all data: npm run pulumi -- stack rm --force --yes --preserve-config",
    );
}

/**
 * The engine at the address that is wanted, when the cluster may be there.
 * @returns undefined when none answers
 * @throws Error naming both when the cluster is on another one
 */
async function judge(
    olds: DockerEngineState | undefined,
    news: DockerEngineInputs,
): Promise<EngineIdentity | undefined> {
    if (!(await engineAnswers(news.address))) return undefined;
    const found = await identify(news.address);
    const same =
        olds === undefined
            ? undefined
            : olds.engineId && found.id
              ? olds.engineId === found.id
              : olds.address === news.address;
    if (same === true || (await hasCluster(news.address, news.clusterId))) return found;
    if (olds !== undefined)
        throw refusal(shown(olds.engineName, olds.address), shown(found.name, news.address), olds.address);
    for (const old of before())
        if (old !== news.address && (await engineAnswers(old)) && (await hasCluster(old, news.clusterId)))
            throw refusal(old, shown(found.name, news.address), old);
    return found;
}

async function found(olds: DockerEngineState | undefined, news: DockerEngineInputs): Promise<DockerEngineState> {
    const engine = await judge(olds, news);
    if (engine === undefined)
        throw new Error(
            `No Docker engine answers at ${news.address} (${await whySilent(news.address)}). Nothing was changed. Start it, or name another (docker context use, DOCKER_HOST, citus:dockerHost).`,
        );
    if (olds === undefined && engine.trouble !== undefined) throw new Error(`${engine.trouble}. Nothing was changed.`);
    return { ...news, engineId: engine.id, engineName: engine.name };
}

export class DockerEngineKind implements ResourceKind<DockerEngineInputs, DockerEngineState> {
    readonly type = "citus-clusters:index:DockerEngine";
    readonly description = "The Docker engine that the cluster is on. It can't be changed for another one.";
    readonly inputs = {
        address: { type: "string", description: "In full, as unix:///var/run/docker.sock." },
        clusterId: { type: "string", description: "Labels everything that the cluster has there." },
    } as const;
    readonly outputs = { engineId: { type: "string" }, engineName: { type: "string" } } as const;

    /** In preview too: a stack of before engines were written down is looked for. */
    async check(_ask: Ask, olds: Partial<DockerEngineInputs>, news: DockerEngineInputs) {
        if (olds.address === undefined && !unknown(news)) await judge(undefined, news);
        return { inputs: news };
    }

    async create(_ask: Ask, inputs: DockerEngineInputs) {
        return { id: "engine", outs: await found(undefined, inputs) };
    }

    async diff(_ask: Ask, _id: string, olds: DockerEngineState, news: DockerEngineInputs) {
        if (unknown(news)) return { changes: true };
        const engine = await judge(olds, news);
        const own = ["engineId", "engineName"];
        return {
            changes:
                comparable(olds, own) !== comparable(news, own) ||
                (engine !== undefined && engine.id !== olds.engineId),
        };
    }

    async update(_ask: Ask, _id: string, olds: DockerEngineState, news: DockerEngineInputs) {
        return { outs: await found(olds, news) };
    }

    /** A refresh against an engine that has nothing of the cluster would take everything out of the state. */
    async read(_ask: Ask, _id: string, props: DockerEngineState) {
        await judge(props, props);
        return props;
    }

    /** The engine stays. */
    async delete() {}
}
