/** The selected stack as the Automation API sees it. */
import { LocalWorkspace, type Stack } from "@pulumi/pulumi/automation/index.js";
import { type ClusterArgs, explain, sourceOf, validate } from "../../components/config.ts";
import { pulumiCommand, pulumiEnvironment, ROOT, tidyStackFile } from "./project.ts";

/** Selects a stack, making it when there is none of that name. */
export async function useStack(name: string, install?: () => void): Promise<Stack> {
    const environment = pulumiEnvironment();
    const command = await pulumiCommand(install ? { install } : {});
    const stack = await LocalWorkspace.createOrSelectStack(
        { stackName: name, workDir: ROOT },
        { pulumiCommand: command, envVars: environment },
    );
    tidyStackFile(name);
    return stack;
}

/**
 * The stack's validated arguments, read without running the program (so machines on aws have no memory and cores); the defaults while there is no stack.
 * @throws Error naming every mistake
 */
export async function stackArgs(stack: Stack | undefined, name: string): Promise<ClusterArgs> {
    const config = Object.entries(stack ? await stack.getAllConfig() : {}).map(([key, { value }]) => [key, value]);
    const result = validate(sourceOf(name, Object.fromEntries(config)));
    if ("mistakes" in result) throw new Error(explain(result.mistakes));
    return result.args;
}
