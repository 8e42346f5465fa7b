import * as pulumi from "@pulumi/pulumi";
import type { Shell } from "../../core/node/reach.ts";
import type { FileSpec } from "../../core/tenants/group/spec.ts";
import { thinProvider } from "./provider.ts";

export interface PostDeployInputs {
    files: FileSpec[];
    database: string;
    /** Another one for each restore: what the files made may be gone. @default the cluster was not restored */
    restoreId?: string;
    /** The coordinator's. */
    shell: Shell;
    self?: string;
}

export type PostDeployArgs = { [K in keyof PostDeployInputs]: pulumi.Input<PostDeployInputs[K]> };

const provider = thinProvider("provider/postDeploy.ts");

/** The user's own SQL files, run on the coordinator in order, each content once. */
export class PostDeploy extends pulumi.dynamic.Resource {
    constructor(name: string, args: PostDeployArgs, opts?: pulumi.CustomResourceOptions) {
        super(provider, name, { ...args }, opts, "citus", "PostDeploy");
    }
}
