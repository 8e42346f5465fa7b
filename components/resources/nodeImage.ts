import * as pulumi from "@pulumi/pulumi";
import type { Access } from "../../core/node/reach.ts";
import { thinProvider } from "./provider.ts";

export interface NodeImageInputs {
    /** Image with PostgreSQL 17 and Citus that it is built on. Given empty it is what the cluster has, `newBase` for a new one. */
    base: string;
    /** `citus:postgresVersion`; empty when it is not set, which keeps what the cluster runs. */
    postgres: string;
    /** Hash of what the packages are installed with. */
    packagesHash: string;
    /** Hash of what runs on a node. */
    scriptsHash: string;
    /** Its name on the engine, filled in. */
    name: string;
    /** Docker engine as DOCKER_HOST has it, the environment's when empty. */
    engine: string;
    /** The cluster whose volumes it has to be able to read. */
    clusterId: string;
    /** Asked which versions of the Citus extension the image has to run; a secret. */
    coordinator: Access;
    self?: string;
}

export type NodeImageArgs = { [K in keyof Omit<NodeImageInputs, "name">]: pulumi.Input<NodeImageInputs[K]> } & {
    /** What `base` is for a cluster that has no image yet, when it is given empty. */
    newBase: pulumi.Input<string>;
};

const provider = thinProvider("provider/nodeImage.ts", { checks: true });

/**
 * The image that every node's container is made from. Created or changed, it ends when the image is built and its
 * self-test passed: no container is made from, or replaced by, one that was not tried. Deleted, the image stays on the
 * engine, as other stacks use it too.
 */
export class NodeImage extends pulumi.dynamic.Resource {
    /** `sha256:…` */
    declare readonly imageId: pulumi.Output<string>;
    declare readonly name: pulumi.Output<string>;
    /** PostgreSQL in full, such as `17.10`. */
    declare readonly postgresVersion: pulumi.Output<string>;
    /** Citus in full, such as `14.1.0`. */
    declare readonly citusVersion: pulumi.Output<string>;
    /** Such as `linux/amd64` where the engine has to emulate it; empty where it need not. */
    declare readonly emulated: pulumi.Output<string>;

    constructor(name: string, args: NodeImageArgs, opts?: pulumi.CustomResourceOptions) {
        const computed = {
            imageId: undefined,
            name: undefined,
            packages: undefined,
            postgresVersion: undefined,
            citusVersion: undefined,
            emulated: undefined,
        };
        super(provider, name, { ...computed, ...args }, opts, "citus", "NodeImage");
    }
}
