import type * as pulumi from "@pulumi/pulumi";
import type { AwsSite } from "../../core/restore/awsSite.ts";
import type { DockerSite } from "../../core/restore/dockerSite.ts";
import type { RestoreInputs, RestoreKind } from "../../provider/restore.ts";
import { CitusResource } from "./resource.ts";

export type RestoreArgs = { [K in keyof Omit<RestoreInputs, "site">]: pulumi.Input<RestoreInputs[K]> } & {
    site: Inputs<DockerSite> | Inputs<AwsSite>;
};

/** A value whose parts may each be known later: what is known is known in preview already. */
type Inputs<T> = T extends string | number | boolean
    ? pulumi.Input<T>
    : T extends readonly (infer E)[]
      ? readonly Inputs<E>[]
      : pulumi.Input<T> | { readonly [K in keyof T]: Inputs<T[K]> };

/**
 * The data of every node, restored to one restore point before any of their servers starts. Created or asked for another
 * point it plans (in preview already, where the repository can be read), restores all nodes in parallel, proves that each
 * reached the point, and gives them their new names; nothing is put in place before all of that holds on every node.
 */
export class Restore extends CitusResource<RestoreKind> {
    /** The restore point's name. */
    declare readonly point: pulumi.Output<string>;
    /** Another one for each restore that was made. */
    declare readonly restoreId: pulumi.Output<string>;
    /** The restore point's manifest, as JSON. */
    declare readonly manifest: pulumi.Output<string>;

    constructor(name: string, args: RestoreArgs, opts?: pulumi.CustomResourceOptions) {
        super(
            "citus-clusters:index:Restore",
            name,
            { point: undefined, restoreId: undefined, manifest: undefined, ...args },
            {
                ...opts,
                additionalSecretOutputs: ["passphrase", "ownPassphrase", "verifier"],
            },
        );
    }
}
