import * as pulumi from "@pulumi/pulumi";
import { thinProvider } from "./provider.ts";

export interface PinnedInputs {
    value: string;
    /** A new value is taken only together with a new one of these. */
    until: string;
}

export type PinnedArgs = { [K in keyof PinnedInputs]: pulumi.Input<PinnedInputs[K]> };

const provider = thinProvider("provider/pinned.ts");

/**
 * The first value it was given: what is newest when a cluster is made would be another value on every later day, and
 * each of them would replace every machine.
 */
export class Pinned extends pulumi.dynamic.Resource {
    declare readonly kept: pulumi.Output<string>;

    constructor(name: string, args: PinnedArgs, opts?: pulumi.CustomResourceOptions) {
        super(provider, name, { kept: undefined, ...args }, opts, "citus", "Pinned");
    }
}
