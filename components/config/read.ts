/** This stack's configuration as Pulumi has it. */
import { existsSync, readFileSync } from "node:fs";
import * as pulumi from "@pulumi/pulumi";
import { fileMistakes } from "../postDeploy/file.ts";
import { projectFiles } from "../tenants/project.ts";
import type { ClusterArgs } from "./args.ts";
import { askAws, askDocker } from "./ask.ts";
import { parse } from "./keys.ts";
import { explain, type Mistake } from "./mistakes.ts";
import { sourceOf } from "./source.ts";
import { validate } from "./validate.ts";

function postDeployMistakes(files: readonly string[]): Mistake[] {
    return files.flatMap((file, i) => {
        const path = `postDeploy[${i}]`;
        if (!existsSync(file))
            return [{ path, message: `must be a file of this project, got "${file}", which does not exist` }];
        return fileMistakes(file, readFileSync(file, "utf8")).map((message) => ({ path, message }));
    });
}

/**
 * Reads and validates this stack's configuration; on aws it asks for credentials and the size of machines.
 * @throws pulumi.RunError naming every mistake, or why the Docker engine that is meant can't be used
 */
export async function readConfig(): Promise<ClusterArgs> {
    // the language host is told which keys are stored encrypted, and the SDK has no question for it
    const encrypted = JSON.parse(process.env.PULUMI_CONFIG_SECRET_KEYS ?? "[]") as string[];
    const source = { ...sourceOf(pulumi.getStack(), pulumi.runtime.allConfig(), encrypted), files: projectFiles };
    const asked = await askAws(source);
    const result = validate(asked.source);
    const files = parse("json", asked.source.values.postDeploy);
    const found = "mistakes" in result ? result.mistakes : [];
    const mistakes = [
        ...found,
        ...asked.mistakes.filter(({ path }) => !found.some((other) => other.path === path)),
        ...postDeployMistakes(Array.isArray(files) ? files.filter((file) => typeof file === "string") : []),
    ];
    if (mistakes.length > 0 || !("args" in result)) throw new pulumi.RunError(explain(mistakes));
    if (result.args.platform === "docker") await askDocker(result.args.dockerHost, !pulumi.runtime.isDryRun());
    return result.args;
}
