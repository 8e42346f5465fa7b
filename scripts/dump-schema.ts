/** The empty cluster's shape as one SQL file: npm run dump-schema -- FILE, or to standard output. */
import { randomBytes } from "node:crypto";
import { renameSync, rmSync, writeFileSync } from "node:fs";
import { resolve } from "node:path";
import { Option } from "commander";
import { COORDINATOR } from "../components/topology.ts";
import { main, script } from "./lib/command.ts";
import { CannotTell } from "./lib/exit.ts";
import { nodesOf, onNode, type StackNode } from "./lib/nodes.ts";
import { readCluster } from "./lib/project.ts";
import { readResources } from "./lib/resources.ts";
import { summary } from "./schema/calls.ts";
import { assemble } from "./schema/file.ts";
import { readShape } from "./schema/read.ts";

/** @throws Error saying why the coordinator can't be asked */
async function findCoordinator(stack: string): Promise<StackNode> {
    const coordinator = nodesOf(await readResources()).get(COORDINATOR);
    if (!coordinator)
        throw new CannotTell(`The cluster of stack ${stack} is down. Nothing was written. npm start brings it back.`);
    const facts = await onNode(coordinator, ["facts.sh"]);
    if (facts.code !== 0)
        throw new Error(
            `The coordinator can't be asked: ${facts.stderr.trim()}. Nothing was written. npm run status says more; npm run pulumi -- up --refresh brings back what is gone.`,
        );
    return coordinator;
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

async function dump(given: string | undefined, options: { out?: string }): Promise<void> {
    const named = given ?? options.out;
    const { stack, outputs } = await readCluster();
    const database = new URL(outputs.connectionString).pathname.slice(1);
    const shape = await readShape(await findCoordinator(stack), database);
    const content = assemble(shape);
    const file = named === undefined ? undefined : resolve(process.env.INIT_CWD ?? process.cwd(), named);
    if (file === undefined) process.stdout.write(content);
    else write(file, content);
    console.error(`${file ?? "standard output"}: ${summary(shape.catalog)}; no rows, no passwords`);
    for (const what of shape.leftOut) console.error(`left out, as it may hold a password: ${what}`);
}

await main(
    script("dump-schema", "Writes the empty cluster's shape as one SQL file: no rows, no passwords.")
        .argument("[file]", "the file, which only this user may read; without it standard output")
        // how it was said before there was the argument
        .addOption(new Option("--out <file>").hideHelp())
        .action(dump),
);
