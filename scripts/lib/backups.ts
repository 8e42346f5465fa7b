/** What the scripts share about backups: the stack's nodes, and its repository. */

import type { ClusterArgs } from "../../components/config/index.ts";
import { s3Repository } from "../../core/node/archive.ts";
import { COORDINATOR } from "../../core/node/topology.ts";
import { readVolume } from "../../core/restore/dockerSite.ts";
import type { Contents } from "../../core/restore/points.ts";
import { readRepository, restoreSecrets, type Wanted } from "../../core/restore/repository.ts";
import { answeringEngine, stackEngine } from "./engine.ts";
import { CannotTell, NoCluster } from "./exit.ts";
import { stackImage } from "./image.ts";
import { nodesOf, onNode, type StackNode } from "./nodes.ts";
import { DEFAULT_STACK, selectedStack } from "./project.ts";
import { readResources, type StateResource } from "./resources.ts";
import { stackArgs, useStack } from "./stack.ts";

/** A stack's backups, whether its cluster runs, is down, or is gone. */
export interface Backed {
    readonly stack: string;
    readonly args: ClusterArgs;
    /** The volume or bucket that is the repository. */
    readonly repository: string;
    readonly resources: readonly StateResource[];
    readonly nodes: ReadonlyMap<string, StackNode>;
}

const REPOSITORIES = ["docker:index/volume:Volume::citus-backups", "aws:s3/bucket:Bucket::citus-bucket"];

/** The repository's volume or bucket in a state. */
export function repositoryResource(resources: readonly StateResource[]): StateResource | undefined {
    return resources.find(({ urn }) => REPOSITORIES.some((known) => urn.endsWith(known)));
}

/** What it is called on its platform; undefined when there is none. */
export function repositoryName(repository: StateResource | undefined): string | undefined {
    const name = repository?.outputs?.name ?? repository?.outputs?.bucket;
    return typeof name === "string" ? name : undefined;
}

/**
 * The selected stack and its repository.
 * @throws NoCluster; NoAnswer; Error when it has no repository or no engine answers
 */
export async function openBackups(): Promise<Backed> {
    const stack = await selectedStack();
    const resources = stack === undefined ? [] : await readResources();
    if (stack === undefined || resources.length <= 1) throw new NoCluster(stack ?? DEFAULT_STACK);
    const args = await stackArgs(await useStack(stack), stack);
    const repository = repositoryName(repositoryResource(resources));
    if (repository === undefined)
        throw new Error(
            `Stack ${stack} has no repository: citus:backup is off, or pulumi up has not run since it was turned on. Nothing was done.`,
        );
    if (args.platform === "docker") await answeringEngine(resources, args.dockerHost);
    return { stack, args, repository, resources, nodes: nodesOf(resources) };
}

/**
 * The nodes by name, the coordinator first, whether they run or not.
 * @throws CannotTell when there are none
 */
export function runningNodes(backed: Backed): ReadonlyMap<string, StackNode> {
    if (backed.nodes.size === 0)
        throw new CannotTell(
            `Stack ${backed.stack} has no nodes: its cluster is down. Nothing was done. npm start brings it back.`,
        );
    return backed.nodes;
}

export async function readBackups(backed: Backed, wanted: Wanted): Promise<Contents> {
    const { args, repository, resources } = backed;
    if (args.aws === undefined) {
        return readVolume(
            { engine: stackEngine(resources, args.dockerHost).address, image: stackImage(args, resources) },
            {
                volume: repository,
                ...(args.backupPassphrase === undefined ? {} : { passphrase: args.backupPassphrase }),
            },
            wanted,
        );
    }
    const coordinator = backed.nodes.get(COORDINATOR);
    if (!coordinator)
        throw new Error(
            `The bucket ${repository} is read by the cluster's own coordinator, and it is down. Nothing was done. npm start brings it back; ` +
                "into another stack it can be restored without it (citus:restoreFrom.repository).",
        );
    const secrets = restoreSecrets(coordinator.secretVersion, { passphrase: args.backupPassphrase });
    return readRepository(
        repository,
        s3Repository(repository, args.aws.region),
        { ...secrets, group: "own" },
        (words, input) => onNode(coordinator, words, input),
        wanted,
    );
}

/**
 * What pgBackRest or a node script said when it failed, for a person: errors first, then its hints, without times and
 * process numbers. Pure.
 */
export function saidOnFailure(stderr: string, most = 6): string[] {
    const lines = stderr
        .split("\n")
        .map((line) => line.replace(/^[0-9: .-]*P\d+ +/, "").trim())
        .filter((line) => line !== "" && !/^\S+Z \S+\.sh: /.test(line));
    const errors = lines.filter((line) => /^(ERROR|FATAL)\b/.test(line));
    const hints = lines.filter((line) => /^HINT\b/.test(line));
    const others = lines.filter((line) => !errors.includes(line) && !hints.includes(line));
    // without an error of its own the last lines say most
    return [
        ...new Set(errors.length > 0 ? [...errors, ...others, ...hints] : [...others.slice(-most), ...hints]),
    ].slice(0, most);
}
