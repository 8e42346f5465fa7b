import type * as pulumi from "@pulumi/pulumi";
import type { WantedWorker } from "../../core/citus/rebalance/wanted.ts";
import type { Access, Shell } from "../../core/node/reach.ts";
import type { PlacementInputs, PlacementKind } from "../../provider/placement.ts";
import { CitusResource } from "./resource.ts";

export type PlacementArgs = { [K in keyof Omit<PlacementInputs, "workers">]: pulumi.Input<PlacementInputs[K]> } & {
    workers: (WantedWorker & { access: pulumi.Input<Access>; shell: pulumi.Input<Shell> })[];
};

/**
 * Shards where they belong. Its update runs before any delete, so that leaving workers are empty when their turn comes:
 * one rebalance for all joins and leaves, followed to its end with live progress.
 */
export class Placement extends CitusResource<PlacementKind> {
    /** One line about the cluster written by the last change. */
    declare readonly status: pulumi.Output<string>;

    constructor(name: string, args: PlacementArgs, opts?: pulumi.CustomResourceOptions) {
        super("citus-clusters:index:Placement", name, { status: undefined, bytesPerSecond: undefined, ...args }, opts);
    }
}
