/** This stack's configuration as Pulumi has it. */
import * as pulumi from "@pulumi/pulumi";
import { explain } from "../../core/util/mistakes.ts";
import type { ClusterArgs } from "./args.ts";
import { askAws, askDocker } from "./ask.ts";
import { sourceOf } from "./source.ts";
import { projectFiles } from "./tenants/project.ts";
import { validate } from "./validate.ts";

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
    const found = "mistakes" in result ? result.mistakes : [];
    const mistakes = [...found, ...asked.mistakes.filter(({ path }) => !found.some((other) => other.path === path))];
    if (mistakes.length > 0 || !("args" in result)) throw new pulumi.RunError(explain(mistakes));
    if (result.args.platform === "docker") await askDocker(result.args.dockerHost, !pulumi.runtime.isDryRun());
    return result.args;
}
