/** What the scripts share about backups: the stack's nodes on their engine, and its repository. */

import type Docker from "dockerode";
import type { ClusterArgs } from "../../components/config.ts";
import {
    type CommandResult,
    dockerEngine,
    engineAddress,
    engineAnswers,
    execute,
} from "../../components/docker/engine.ts";
import { nodeImage } from "../../components/docker/image.ts";
import { readRepository } from "../../components/docker/repository.ts";
import type { Contents } from "../../components/restore/points.ts";
import { NODE_SCRIPTS } from "../../components/settings.ts";
import { ROOT, selectedStack } from "./project.ts";
import { readResources, type StateResource } from "./resources.ts";
import { stackArgs, useStack } from "./stack.ts";

/** A stack's backups, whether its cluster runs, is down, or is gone. */
export interface Backed {
    readonly stack: string;
    readonly args: ClusterArgs;
    /** The repository's volume. */
    readonly repository: string;
    readonly resources: readonly StateResource[];
    readonly docker: Docker;
}

/** The repository's volume in a state. */
export function repositoryResource(resources: readonly StateResource[]): StateResource | undefined {
    return resources.find((r) => r.type === "docker:index/volume:Volume" && r.urn.endsWith("::citus-backups"));
}

/**
 * The selected stack and its repository.
 * @throws Error when there is none, or no engine answers
 */
export async function openBackups(): Promise<Backed> {
    const stack = await selectedStack();
    const resources = stack === undefined ? [] : await readResources();
    if (stack === undefined || resources.length <= 1)
        throw new Error(`There is no cluster in stack ${stack ?? "dev"}: run npm start first.`);
    const args = await stackArgs(await useStack(stack), stack);
    const repository = repositoryResource(resources)?.outputs?.name;
    if (typeof repository !== "string")
        throw new Error(
            `Stack ${stack} has no repository: citus:backup is off, or pulumi up has not run since it was turned on. Nothing was done.`,
        );
    if (!(await engineAnswers(args.dockerHost)))
        throw new Error(`No Docker engine answers at ${engineAddress(args.dockerHost)}. Start it, or set DOCKER_HOST.`);
    return { stack, args, repository, resources, docker: dockerEngine(args.dockerHost) };
}

/** The nodes' containers by node name, the coordinator first, whether they run or not. */
export function containersOf(backed: Backed): Map<string, string> {
    const found = backed.resources.flatMap((r): [string, string][] =>
        r.type === "docker:index/container:Container" && r.outputs
            ? [[String(r.outputs.hostname), String(r.outputs.name)]]
            : [],
    );
    if (found.length === 0)
        throw new Error(
            `Stack ${backed.stack} has no nodes: its cluster is down. Nothing was done. npm start brings it back.`,
        );
    return new Map(found.sort(([a], [b]) => a.localeCompare(b, "en", { numeric: true })));
}

/** Runs a node script on a node; what can't be run says why, like one that failed. */
export async function onNode(
    backed: Backed,
    container: string,
    script: string,
    ...args: string[]
): Promise<CommandResult> {
    return execute(backed.docker, container, [`${NODE_SCRIPTS}/${script}`, ...args]).catch((error: Error) => ({
        code: -1,
        stdout: "",
        stderr: /is not running|is paused|no such container/i.test(error.message)
            ? "its container is not running"
            : error.message,
    }));
}

export async function readBackups(backed: Backed): Promise<Contents> {
    const { args } = backed;
    return readRepository(backed.docker, nodeImage(args.image, ROOT), {
        volume: backed.repository,
        ...(args.backupPassphrase === undefined ? {} : { passphrase: args.backupPassphrase }),
    });
}
