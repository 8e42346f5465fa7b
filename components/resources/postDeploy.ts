import type * as pulumi from "@pulumi/pulumi";
import type { PostDeployInputs, PostDeployKind } from "../../provider/postDeploy.ts";
import { CitusResource } from "./resource.ts";

export type PostDeployArgs = { [K in keyof PostDeployInputs]: pulumi.Input<PostDeployInputs[K]> };

/** The user's own SQL files, run on the coordinator in order, each content once. */
export class PostDeploy extends CitusResource<PostDeployKind> {
    constructor(name: string, args: PostDeployArgs, opts?: pulumi.CustomResourceOptions) {
        super("citus-clusters:index:PostDeploy", name, { ...args }, opts);
    }
}
