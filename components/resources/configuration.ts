import type * as pulumi from "@pulumi/pulumi";
import type { ConfigurationInputs, ConfigurationKind } from "../../provider/configuration.ts";
import { CitusResource } from "./resource.ts";

export type ConfigurationArgs = { [K in keyof ConfigurationInputs]: pulumi.Input<ConfigurationInputs[K]> };

/**
 * A node's configuration, certificate and password. Created, it ends when the node answers over verified TLS with Citus
 * loaded. Changed, it is put in place and reloaded; what only a restart applies restarts node after node.
 */
export class Configuration extends CitusResource<ConfigurationKind> {
    /** PostgreSQL's own number of the database, to notice a volume that was lost. */
    declare readonly systemIdentifier: pulumi.Output<string>;
    /** The last restore that put its database in place, also one that nobody asks for any more. */
    declare readonly restored: pulumi.Output<string | undefined>;

    constructor(name: string, args: ConfigurationArgs, opts?: pulumi.CustomResourceOptions) {
        super(
            "citus-clusters:index:Configuration",
            name,
            { systemIdentifier: undefined, restored: undefined, stopped: undefined, drift: undefined, ...args },
            opts,
        );
    }
}
