/** The selected stack as the Automation API sees it. */
import { type ConfigMap, LocalWorkspace, type Stack } from "@pulumi/pulumi/automation/index.js";
import { type ClusterArgs, explain, sourceOf, validate } from "../../components/config/index.ts";
import type { ProjectFiles } from "../../components/config/tenants/project.ts";
import { pulumiCommand } from "./cli.ts";
import { around, ROOT, tidyStackFile } from "./project.ts";
import { explainFailure, type Failure, NoAnswer } from "./refusal.ts";

/** What the Automation API threw, as the other scripts say it. */
export function explained(args: readonly string[], error: Error): string {
    const result = (error as { commandResult?: Failure }).commandResult;
    return result ? explainFailure({ ...result, args }, around()) : error.message;
}

async function answered<T>(args: readonly string[], ask: Promise<T>): Promise<T> {
    return ask.catch((error: Error) => {
        throw new NoAnswer(explained(args, error));
    });
}

/**
 * Selects a stack, making it when there is none of that name.
 * @throws NoAnswer
 */
export async function useStack(name: string): Promise<Stack> {
    const pulumiCli = await pulumiCommand();
    const stack = await answered(
        ["stack", "select"],
        LocalWorkspace.createOrSelectStack({ stackName: name, workDir: ROOT }, { pulumiCommand: pulumiCli }),
    );
    tidyStackFile(name);
    return stack;
}

/**
 * Its configuration, secrets in the clear.
 * @throws NoAnswer
 */
export const stackConfig = (stack: Stack): Promise<ConfigMap> => answered(["config"], stack.getAllConfig());

/**
 * The stack's validated arguments, read without running the program (so machines on aws have no memory and cores); the defaults while there is no stack.
 * @param files where the files that it names have to be right, too
 * @throws NoAnswer, or Error naming every mistake
 */
export async function stackArgs(stack: Stack | undefined, name: string, files?: ProjectFiles): Promise<ClusterArgs> {
    const config = Object.entries(stack ? await stackConfig(stack) : {}).map(([key, { value }]) => [key, value]);
    const result = validate({ ...sourceOf(name, Object.fromEntries(config)), ...(files ? { files } : {}) });
    if ("mistakes" in result) throw new Error(explain(result.mistakes));
    return result.args;
}
