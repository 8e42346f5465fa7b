/**
 * Takes everything down: containers, networks, volumes, backups. Asks before, unless --yes or there is no terminal.
 * Exports of tenants stay. --keep-backups leaves the repository, and what it takes to find it again, for the next start.
 */
import { join } from "node:path";
import { createInterface } from "node:readline/promises";
import type { ClusterArgs } from "../components/config/index.ts";
import { COORDINATOR } from "../core/node/topology.ts";
import { dockerEngine } from "../core/reach/docker/engine.ts";
import { openBackups, repositoryName, repositoryResource, runningNodes } from "./lib/backups.ts";
import { main, script } from "./lib/command.ts";
import { answeringEngine } from "./lib/engine.ts";
import { EXIT } from "./lib/exit.ts";
import { guardsOf, keptWith } from "./lib/kept.ts";
import { nodesOf, onNode, type StackNode } from "./lib/nodes.ts";
import { clearStack, mustPulumi, runPulumi, STATE, selectedStack } from "./lib/project.ts";
import { clusterId, readResources, refuseOldState } from "./lib/resources.ts";
import { stackArgs, stackConfig, useStack } from "./lib/stack.ts";

/** Taking a cluster down needs little of its configuration, and must not wait for the rest to be right. */
async function argsToLeave(stack: string): Promise<Pick<ClusterArgs, "protect" | "dockerHost" | "platform">> {
    const selected = await useStack(stack);
    return stackArgs(selected, stack).catch(async () => {
        const values = await stackConfig(selected);
        const set = values["citus:protect"]?.value;
        const dockerHost = values["citus:dockerHost"]?.value;
        return {
            platform: values["citus:platform"]?.value === "aws" ? "aws" : "docker",
            protect: set === undefined || set === "" ? stack !== "dev" : set !== "false",
            ...(dockerHost ? { dockerHost } : {}),
        };
    });
}

/**
 * Takes a last restore point, so that everything written until now can be restored.
 * @throws Error when it can't be taken: what was written since the newest one would be gone
 */
async function lastPoint(): Promise<void> {
    let why: string;
    try {
        const backed = await openBackups();
        const point = await onNode(runningNodes(backed).get(COORDINATOR) as StackNode, ["restore-point.sh"]);
        if (point.code === 0) return console.log(`Last restore point: ${point.stdout.trim()}`);
        why = point.stderr.trim();
    } catch (error) {
        why = (error as Error).message;
    }
    throw new Error(
        `No last restore point could be taken, so what was written after the newest one would be gone: ${why}\n` +
            "Nothing was changed. npm run status says what is wrong, and npm run backups how old the newest point is. To take the cluster down all the same:\n" +
            "  npm run down -- --keep-backups --no-last-point",
    );
}

/** @param engine address of the one that the cluster was on */
async function sweep(engine: string, id: string, keep: string | undefined): Promise<void> {
    const docker = dockerEngine(engine);
    const filters = { label: [`citus.cluster-id=${id}`] };
    for (const container of await docker.listContainers({ all: true, filters })) {
        console.log(`removing ${container.Names[0]?.slice(1)}, left by a run that was killed`);
        await docker.getContainer(container.Id).remove({ force: true, v: true });
    }
    for (const network of await docker.listNetworks({ filters })) await docker.getNetwork(network.Id).remove();
    for (const volume of (await docker.listVolumes({ filters })).Volumes ?? [])
        if (volume.Name !== keep) await docker.getVolume(volume.Name).remove();
}

async function down(options: { yes?: boolean; keepBackups?: boolean; lastPoint: boolean }): Promise<void> {
    const stack = await selectedStack();
    if (!stack) return console.log("There is no cluster.");
    // with secrets: a wrong passphrase is named before anything is begun
    const resources = await readResources(true);
    if (resources.length <= 1) return console.log(`There is no cluster in stack ${stack}.`);
    refuseOldState(resources);
    const args = await argsToLeave(stack);
    const local = args.platform === "docker";
    const what = options.keepBackups ? "all its data; its backups are kept" : "all its data and backups";
    const again = `npm run down${options.keepBackups ? " -- --keep-backups" : ""}`;
    if (args.protect) {
        throw new Error(
            `Stack ${stack} is protected; nothing was changed. To delete the cluster and ${what}:\n` +
                `  npm run pulumi -- config set citus:protect false && ${local ? "" : "npm run pulumi -- up && "}${again}`,
        );
    }
    if (!local && resources.some((resource) => resource.retainOnDelete)) {
        throw new Error(
            `Volumes and bucket of stack ${stack} are still marked to be kept: Pulumi would forget them, and AWS would go on charging. Nothing was changed. To delete them too:\n` +
                `  npm run pulumi -- up && ${again}`,
        );
    }
    const engine = local ? await answeringEngine(resources, args.dockerHost) : undefined;
    const repository = repositoryResource(resources);
    if (options.keepBackups && !repository)
        throw new Error(`Stack ${stack} has no backups to keep (citus:backup is off). Nothing was changed.`);
    const yes = options.yes === true || !process.stdin.isTTY || stack === "dev";
    if (!yes) {
        const lines = createInterface({ input: process.stdin, output: process.stdout });
        const answer = await lines.question(
            `This deletes the cluster of stack ${stack} and ${what}. Type the stack's name to go on: `,
        );
        lines.close();
        if (answer.trim() !== stack) {
            console.log("Nothing was changed.");
            process.exitCode = EXIT.failed;
            return;
        }
    }
    const id = clusterId(resources);
    if (options.keepBackups && options.lastPoint && nodesOf(resources).size > 0) await lastPoint();
    if (resources.some((resource) => resource.protect)) await mustPulumi(["state", "unprotect", "--all", "--yes"]);
    const kept =
        options.keepBackups && repository
            ? new Set([repository, ...guardsOf(repository, resources)].flatMap((one) => [...keptWith(one, resources)]))
            : undefined;
    const targets = kept ? resources.filter((r) => !kept.has(r.urn)).flatMap((r) => ["--target", r.urn]) : [];
    const code =
        kept && targets.length === 0
            ? 0
            : await runPulumi(["destroy", "--yes", "--skip-preview", "--stack", stack, ...targets]);
    if (code !== 0) {
        process.exitCode = code === EXIT.stopped ? code : EXIT.failed;
        return;
    }
    const keptRepository = kept ? repositoryName(repository) : undefined;
    if (engine && id) await sweep(engine.address, id, keptRepository);
    const exports = clearStack(join(STATE, stack));
    console.log(
        `\nThe cluster of stack ${stack} is gone.${local ? " The node image is kept for the next start (docker image ls citus-node)." : ""}`,
    );
    if (exports)
        console.log(
            `Exports of its tenants are kept in ${exports}: delete that folder when nobody needs them any more.`,
        );
    if (keptRepository)
        console.log(
            `Its backups are kept in ${keptRepository}:\n` +
                (local ? "  look      npm run backups\n" : "") +
                "  restore   npm run pulumi -- config set --path citus:restoreFrom.point latest && npm start\n" +
                "  or        npm start   (an empty cluster; the backups stay beside its own until retention lets them go)",
        );
}

await main(
    script("down", "Takes the selected stack's cluster down and deletes its data and backups; exports of tenants stay.")
        .option("--yes", "without asking (nor is asked in the stack dev, or without a terminal)")
        .option("--keep-backups", "leaves the repository, and what it takes to find it again, for the next start")
        .option(
            "--no-last-point",
            "with --keep-backups: takes no last restore point; what was written since the newest is gone",
        )
        .action(down),
);
