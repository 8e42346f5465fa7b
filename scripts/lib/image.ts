/** The images of a stack's nodes. Pure but for the name's hash of the node scripts. */
import { join } from "node:path";
import { type ClusterArgs, citusImage, rememberedCitus } from "../../components/config.ts";
import { CONTEXT, nodeImage } from "../../components/docker/image.ts";
import { ROOT } from "./project.ts";
import type { StateResource } from "./resources.ts";

const outputsOf = (resources: readonly StateResource[], kind: string) =>
    resources.find(({ type }) => type === `pulumi-nodejs:dynamic/citus:${kind}`)?.outputs;

/** What is set, else Citus' own image in the version that the cluster was made with, else in that of a new cluster. */
export function baseImage(args: ClusterArgs, resources: readonly StateResource[]): string {
    return args.image ?? citusImage(args.citusVersion ?? rememberedCitus(outputsOf(resources, "Identity")));
}

/** The node image that the stack has, else the one that it would be given. */
export function stackImage(args: ClusterArgs, resources: readonly StateResource[]): string {
    const made = outputsOf(resources, "NodeImage")?.name;
    if (typeof made === "string") return made;
    const source = { base: baseImage(args, resources), postgres: args.postgresVersion ?? "newest" };
    return nodeImage(source, join(ROOT, CONTEXT));
}
