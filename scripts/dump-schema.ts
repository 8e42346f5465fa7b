/** The empty cluster's shape as one SQL file: npm run dump-schema -- FILE, or to standard output. */
import { randomBytes } from "node:crypto";
import { renameSync, rmSync, writeFileSync } from "node:fs";
import { resolve } from "node:path";
import { parseArgs } from "node:util";
import { dockerEngine, engineAddress, engineAnswers } from "../components/docker/engine.ts";
import { fail, readOutputs, selectedStack } from "./lib/project.ts";
import { clusterId, readResources } from "./lib/resources.ts";
import { stackArgs, useStack } from "./lib/stack.ts";
import { summary } from "./schema/calls.ts";
import { assemble } from "./schema/file.ts";
import { readShape } from "./schema/read.ts";

/** The running container of the selected stack's coordinator, and the engine that runs it. */
async function findCoordinator(stack: string) {
    const { dockerHost } = await stackArgs(await useStack(stack), stack);
    if (!(await engineAnswers(dockerHost))) {
        throw new Error(
            `No Docker engine answers at ${engineAddress(dockerHost)}, so the coordinator can't be reached. Nothing was written. Start it, or set DOCKER_HOST.`,
        );
    }
    const docker = dockerEngine(dockerHost);
    const id = clusterId(await readResources());
    const filters = { label: [`citus.cluster-id=${id}`, "citus.node=coordinator"] };
    const [container] = await docker.listContainers({ all: true, filters });
    if (!container) {
        throw new Error(
            `The coordinator's container of stack ${stack} is gone. Nothing was written. To bring it back: npm run pulumi -- up --refresh`,
        );
    }
    if (container.State !== "running") {
        throw new Error(
            `The coordinator is not running (${container.Names[0]?.slice(1)} is ${container.State}). Nothing was written. npm run status says more.`,
        );
    }
    return { docker, container: container.Id };
}

/** Whole or not at all, and readable by this user only. */
function write(file: string, content: string): void {
    const fresh = `${file}.${randomBytes(4).toString("hex")}`;
    try {
        writeFileSync(fresh, content, { mode: 0o600, flag: "wx" });
        renameSync(fresh, file);
    } catch (error) {
        rmSync(fresh, { force: true });
        throw new Error(`${file} can't be written: ${(error as Error).message.replace(fresh, file)}`);
    }
}

try {
    const { values, positionals } = parseArgs({
        allowPositionals: true,
        options: { out: { type: "string" }, debug: { type: "boolean" } },
    });
    const [named, ...more] = [...positionals, ...(values.out === undefined ? [] : [values.out])];
    if (more.length > 0) throw new Error("One file, or none for standard output: npm run dump-schema -- FILE");
    const stack = await selectedStack();
    const outputs = stack ? await readOutputs() : undefined;
    if (!stack || !outputs) throw new Error(`There is no cluster in stack ${stack ?? "dev"}: run npm start first.`);
    const database = new URL(outputs.connectionString).pathname.slice(1);
    const { docker, container } = await findCoordinator(stack);
    const shape = await readShape(docker, container, database);
    const content = assemble(shape);
    const file = named === undefined ? undefined : resolve(process.env.INIT_CWD ?? process.cwd(), named);
    if (file === undefined) process.stdout.write(content);
    else write(file, content);
    console.error(`${file ?? "standard output"}: ${summary(shape.catalog)}; no rows, no passwords`);
    for (const what of shape.leftOut) console.error(`left out, as it may hold a password: ${what}`);
} catch (error) {
    fail(error);
}
