import type * as pulumi from "@pulumi/pulumi";
import type { PinnedInputs, PinnedKind } from "../../provider/pinned.ts";
import { CitusResource } from "./resource.ts";

export type PinnedArgs = { [K in keyof PinnedInputs]: pulumi.Input<PinnedInputs[K]> };

/**
 * The first value it was given: what is newest when a cluster is made would be another value on every later day, and
 * each of them would replace every machine.
 */
export class Pinned extends CitusResource<PinnedKind> {
    declare readonly kept: pulumi.Output<string>;

    constructor(name: string, args: PinnedArgs, opts?: pulumi.CustomResourceOptions) {
        super("citus-clusters:index:Pinned", name, { kept: undefined, ...args }, opts);
    }
}
