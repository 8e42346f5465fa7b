import type * as pulumi from "@pulumi/pulumi";
import type { PortRangeInputs, PortRangeKind } from "../../provider/ports.ts";
import { CitusResource } from "./resource.ts";

export type PortRangeArgs = { [K in keyof PortRangeInputs]: pulumi.Input<PortRangeInputs[K]> };

/**
 * A range of free ports on 127.0.0.1, chosen once and kept: ports that the engine chooses change whenever it restarts.
 */
export class PortRange extends CitusResource<PortRangeKind> {
    /** The coordinator's; `worker-<n>` has first + n. */
    declare readonly first: pulumi.Output<number>;

    constructor(name: string, args: PortRangeArgs, opts?: pulumi.CustomResourceOptions) {
        super("citus-clusters:index:PortRange", name, { first: undefined, ...args }, opts);
    }
}
