/** This stack's configuration as Pulumi has it. */
import * as pulumi from "@pulumi/pulumi";
import { explain } from "../../core/util/mistakes.ts";
import { askAws, askDocker } from "./ask.ts";
import type { ClusterInput } from "./input.ts";
import { sourceOf } from "./source.ts";
import type { TenantGroupSettings } from "./tenants/args.ts";
import { projectFiles } from "./tenants/project.ts";
import { readValues, validate } from "./validate.ts";

/** What a stack's configuration says: what a cluster takes, and its groups of tenants by name. */
export type ClusterConfig = Omit<ClusterInput, "transform" | "caFile"> & {
    readonly tenantGroups: Readonly<Record<string, TenantGroupSettings>>;
};

/**
 * Reads and validates this stack's configuration; on aws it asks for credentials and the size of machines.
 * @throws pulumi.RunError naming every mistake, or why the Docker engine that is meant can't be used
 */
export async function readConfig(): Promise<ClusterConfig> {
    // the language host is told which keys are stored encrypted, and the SDK has no question for it
    const encrypted = JSON.parse(process.env.PULUMI_CONFIG_SECRET_KEYS ?? "[]") as string[];
    const source = { ...sourceOf(pulumi.getStack(), pulumi.runtime.allConfig(), encrypted), files: projectFiles };
    const asked = await askAws(source);
    const result = validate(asked.source);
    const found = "mistakes" in result ? result.mistakes : [];
    const mistakes = [...found, ...asked.mistakes.filter(({ path }) => !found.some((other) => other.path === path))];
    if (mistakes.length > 0 || !("args" in result)) throw new pulumi.RunError(explain(mistakes));
    if (result.args.platform === "docker") await askDocker(result.args.dockerHost, !pulumi.runtime.isDryRun());
    // the cluster fills in the defaults; groups are complete
    // they are what validate took, which says nothing of their types
    return { ...(readValues(asked.source) as ClusterInput), tenantGroups: result.args.tenantGroups };
}
