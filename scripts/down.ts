/** Takes everything down: containers, networks, volumes and their data. Asks before, unless --yes or there is no terminal. */
import { rmSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline/promises";
import { dockerEngine, engineAddress, engineAnswers } from "../components/docker/engine.ts";
import { fail, readPulumi, runPulumi, STATE, selectedStack } from "./lib/project.ts";
import { clusterId, readResources } from "./lib/resources.ts";
import { stackArgs, useStack } from "./lib/stack.ts";

async function sweep(id: string): Promise<void> {
    const docker = dockerEngine(process.env.DOCKER_HOST);
    const filters = { label: [`citus.cluster-id=${id}`] };
    for (const container of await docker.listContainers({ all: true, filters })) {
        console.log(`removing ${container.Names[0]?.slice(1)}, left by a run that was killed`);
        await docker.getContainer(container.Id).remove({ force: true, v: true });
    }
    for (const network of await docker.listNetworks({ filters })) await docker.getNetwork(network.Id).remove();
    for (const volume of (await docker.listVolumes({ filters })).Volumes ?? [])
        await docker.getVolume(volume.Name).remove();
}

try {
    const stack = await selectedStack();
    if (!stack) {
        console.log("There is no cluster.");
        process.exit(0);
    }
    const resources = await readResources();
    if (resources.length <= 1) {
        console.log(`There is no cluster in stack ${stack}.`);
        process.exit(0);
    }
    const args = await stackArgs(await useStack(stack), stack);
    if (args.protect) {
        throw new Error(
            `Stack ${stack} is protected; nothing was changed. To delete the cluster and all its data:\n` +
                "  npm run pulumi -- config set citus:protect false && npm run down",
        );
    }
    if (!(await engineAnswers(args.dockerHost))) {
        const where = engineAddress(args.dockerHost);
        throw new Error(
            `No Docker engine answers at ${where}, so the cluster can't be taken down. Nothing was changed. Start it, or set DOCKER_HOST.`,
        );
    }
    const yes = process.argv.includes("--yes") || !process.stdin.isTTY || stack === "dev";
    if (!yes) {
        const lines = createInterface({ input: process.stdin, output: process.stdout });
        const answer = await lines.question(
            `This deletes the cluster of stack ${stack} and all its data. Type the stack's name to go on: `,
        );
        lines.close();
        if (answer.trim() !== stack) {
            console.log("Nothing was changed.");
            process.exit(1);
        }
    }
    const id = clusterId(resources);
    if (resources.some((resource) => resource.protect)) await readPulumi(["state", "unprotect", "--all", "--yes"]);
    const code = await runPulumi(["destroy", "--yes", "--skip-preview", "--stack", stack]);
    if (code !== 0) process.exit(code);
    if (id) await sweep(id);
    rmSync(join(STATE, stack), { recursive: true, force: true });
    console.log(
        `\nThe cluster of stack ${stack} is gone. The node image is kept for the next start (docker image ls citus-node).`,
    );
} catch (error) {
    fail(error);
}
