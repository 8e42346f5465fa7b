import type * as pulumi from "@pulumi/pulumi";
import type { IdentityInputs, IdentityKind, Place } from "../../provider/identity.ts";
import { CitusResource } from "./resource.ts";

export type IdentityArgs = { [K in keyof Omit<IdentityInputs, "place">]: pulumi.Input<IdentityInputs[K]> } & {
    place?: pulumi.Input<Place>;
};

/**
 * Refuses, in preview already, an edit that would put an empty cluster in the place of a living one; and remembers the
 * default version of Citus of that day, so that a newer one is no upgrade.
 */
export class Identity extends CitusResource<IdentityKind> {
    declare readonly name: pulumi.Output<string>;
    declare readonly clusterId: pulumi.Output<string>;
    /** Citus in full, the cluster's own default. Known in a preview too. */
    declare readonly citusVersion: pulumi.Output<string>;

    constructor(name: string, args: IdentityArgs, opts?: pulumi.CustomResourceOptions) {
        super("citus-clusters:index:Identity", name, { ...args }, opts);
    }
}
