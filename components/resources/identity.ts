import * as pulumi from "@pulumi/pulumi";
import { thinProvider } from "./provider.ts";

/** What a living cluster can't change: its data is kept under these. */
export interface IdentityInputs {
    name: string;
    database: string;
    platform: string;
    clusterId: string;
    /** Of the repository, empty when it is not encrypted, `none` while nothing uses it; a secret. */
    passphrase: string;
    /** Citus' default of the day on which the cluster was made. Given empty it is filled in. */
    citusVersion: string;
    /** On AWS. */
    place?: Place;
}

export interface Place {
    account: string;
    region: string;
    /** Empty for AWS' own keys. What is there stays encrypted with it. */
    kmsKeyId: string;
    /** The VPC, or the addresses of the one that is made: in another one all machines would be new at once. */
    network: string;
}

export type IdentityArgs = { [K in keyof Omit<IdentityInputs, "place">]: pulumi.Input<IdentityInputs[K]> } & {
    place?: pulumi.Input<Place>;
};

const provider = thinProvider("provider/identity.ts", { checks: true });

/**
 * Refuses, in preview already, an edit that would put an empty cluster in the place of a living one; and remembers the
 * default version of Citus of that day, so that a newer one is no upgrade.
 */
export class Identity extends pulumi.dynamic.Resource {
    declare readonly name: pulumi.Output<string>;
    declare readonly clusterId: pulumi.Output<string>;
    /** Citus in full, the cluster's own default. Known in a preview too. */
    declare readonly citusVersion: pulumi.Output<string>;

    constructor(name: string, args: IdentityArgs, opts?: pulumi.CustomResourceOptions) {
        super(provider, name, { ...args }, opts, "citus", "Identity");
    }
}
