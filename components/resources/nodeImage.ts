import type * as pulumi from "@pulumi/pulumi";
import type { NodeImageInputs, NodeImageKind } from "../../provider/nodeImage.ts";
import { CitusResource } from "./resource.ts";

export type NodeImageArgs = { [K in keyof Omit<NodeImageInputs, "name">]: pulumi.Input<NodeImageInputs[K]> } & {
    /** What `base` is for a cluster that has no image yet, when it is given empty. */
    newBase: pulumi.Input<string>;
};

/**
 * The image that every node's container is made from. Created or changed, it ends when the image is built and its
 * self-test passed: no container is made from, or replaced by, one that was not tried. Deleted, the image stays on the
 * engine, as other stacks use it too.
 */
export class NodeImage extends CitusResource<NodeImageKind> {
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
        super(
            "citus-clusters:index:NodeImage",
            name,
            {
                name: undefined,
                imageId: undefined,
                packages: undefined,
                postgresVersion: undefined,
                citusVersion: undefined,
                emulated: undefined,
                ...args,
            },
            opts,
        );
    }
}
