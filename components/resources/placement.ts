import * as pulumi from "@pulumi/pulumi";
import type { Wanted, WantedWorker } from "../../core/citus/rebalance/wanted.ts";
import type { Access, Shell } from "../../core/node/reach.ts";
import { thinProvider } from "./provider.ts";

export interface PlacementWorker extends WantedWorker {
    /** How to reach the worker itself from here. */
    access: Access;
    /** How scripts run on it; undefined in a state of before there were tenants' databases. */
    shell?: Shell;
}

/** What the placement is told, as plain values. */
export interface PlacementInputs extends Omit<Wanted, "workers"> {
    workers: PlacementWorker[];
    coordinator: Access;
    /** How scripts run on the coordinator. */
    shell?: Shell;
    /** The coordinator's host in pg_dist_node. */
    coordinatorHost: string;
    cluster: string;
    self?: string;
}

export type PlacementArgs = { [K in keyof Omit<PlacementInputs, "workers">]: pulumi.Input<PlacementInputs[K]> } & {
    workers: (WantedWorker & { access: pulumi.Input<Access>; shell: pulumi.Input<Shell> })[];
};

const provider = thinProvider("provider/placement.ts");

/**
 * Shards where they belong. Its update runs before any delete, so that leaving workers are empty when their turn comes:
 * one rebalance for all joins and leaves, followed to its end with live progress.
 */
export class Placement extends pulumi.dynamic.Resource {
    /** One line about the cluster written by the last change. */
    declare readonly status: pulumi.Output<string>;

    constructor(name: string, args: PlacementArgs, opts?: pulumi.CustomResourceOptions) {
        super(provider, name, { status: undefined, bytesPerSecond: undefined, ...args }, opts, "citus", "Placement");
    }
}
