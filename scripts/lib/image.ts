/** The images of a stack's nodes. Pure but for the name's hash of the node scripts. */
import { type ClusterArgs, citusImage, defaultCitus } from "../../components/config/index.ts";
import { nodeImage } from "../../core/image/contents.ts";
import { outputsOf, type StateResource } from "./resources.ts";

/** What is set, else what the cluster has, else Citus' own image in the cluster's own default version. */
export function baseImage(args: ClusterArgs, resources: readonly StateResource[]): string {
    if (args.image !== undefined) return args.image;
    if (args.citusVersion !== undefined) return citusImage(args.citusVersion);
    const base = outputsOf(resources, "NodeImage")?.base;
    return typeof base === "string" ? base : citusImage(defaultCitus(outputsOf(resources, "Identity")));
}

/** The configuration that gives another stack the Citus that this one runs, whatever the default of the day is. */
export function sameCitus(args: ClusterArgs, resources: readonly StateResource[]): Record<string, string> {
    if (args.aws === undefined) return { image: baseImage(args, resources) };
    return { citusVersion: args.citusVersion ?? defaultCitus(outputsOf(resources, "Identity")) };
}

/** The node image that the stack has, else the one that it would be given. */
export function stackImage(args: ClusterArgs, resources: readonly StateResource[]): string {
    const made = outputsOf(resources, "NodeImage")?.name;
    if (typeof made === "string") return made;
    const source = { base: baseImage(args, resources), postgres: args.postgresVersion ?? "newest" };
    return nodeImage(source);
}
