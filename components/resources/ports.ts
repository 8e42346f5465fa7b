import * as pulumi from "@pulumi/pulumi";
import { thinProvider } from "./provider.ts";

const provider = thinProvider("provider/ports.ts");

/**
 * A range of free ports on 127.0.0.1, chosen once and kept: ports that the engine chooses change whenever it restarts.
 */
export class PortRange extends pulumi.dynamic.Resource {
    /** The coordinator's; `worker-<n>` has first + n. */
    declare readonly first: pulumi.Output<number>;

    /** @param args `apart` is the first port of another range of the same size, which this one keeps off */
    constructor(
        name: string,
        args: { size: number; apart?: pulumi.Input<number> },
        opts?: pulumi.CustomResourceOptions,
    ) {
        super(provider, name, { first: undefined, ...args }, opts, "citus", "PortRange");
    }
}
