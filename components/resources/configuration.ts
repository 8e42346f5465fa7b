import * as pulumi from "@pulumi/pulumi";
import type { Access, Shell } from "../../core/node/reach.ts";
import type { Overrides, Settings } from "../../core/node/settings.ts";
import { thinProvider } from "./provider.ts";

/** What a node's configuration consists of, as plain values. */
export interface ConfigurationInputs {
    /** The node's name, for messages. */
    name: string;
    cluster: string;
    /** Random, made with the stack: marks volumes and nodes as this stack's own. */
    clusterId: string;
    database: string;
    settings: Settings;
    /** `citus:settings`, those of other nodes too: whoever is asked first checks them for all. @default not checked */
    overrides?: Overrides;
    /** Networks that carry only nodes. */
    nodeNetworks: string[];
    caCertificate: string;
    certificate: string;
    /** PEM; a secret. */
    privateKey: string;
    /** SCRAM verifier of the superuser's password; a secret. The password itself never reaches a node. */
    verifier: string;
    /** pgBackRest's configuration and the schedule, by file name; empty without backups. */
    backup: Record<string, string>;
    /** Another one for each restore: the database may be another then. */
    restoreId?: string;
    /** How scripts are run on it. */
    shell: Shell;
    /** Id of the container or machine that runs the node; a new one is given the configuration again. */
    machine: string;
    /** Version of the machine's own secret that holds the configuration; empty in a container. */
    secretVersion: string;
    /**
     * How the coordinator is asked whether the node takes part again after its machine was replaced, and the host that the
     * node is registered with; a secret. @default not asked
     */
    membership?: { coordinator: Access; host: string };
    /** sha256 of the node scripts that the machine must have; empty in a container, whose image has them. */
    bundle: string;
    /** GiB that the data volume must have; 0 where it has no size of its own. */
    volumeSize: number;
    /** Whether a machine sends metrics for alarms. */
    metrics: boolean;
    self?: string;
}

export type ConfigurationArgs = { [K in keyof ConfigurationInputs]: pulumi.Input<ConfigurationInputs[K]> };

const provider = thinProvider("provider/configuration.ts");

/**
 * A node's configuration, certificate and password. Created, it ends when the node answers over verified TLS with Citus
 * loaded. Changed, it is put in place and reloaded; what only a restart applies restarts node after node.
 */
export class Configuration extends pulumi.dynamic.Resource {
    /** PostgreSQL's own number of the database, to notice a volume that was lost. */
    declare readonly systemIdentifier: pulumi.Output<string>;
    /** The last restore that put its database in place, also one that nobody asks for any more. */
    declare readonly restored: pulumi.Output<string | undefined>;

    constructor(name: string, args: ConfigurationArgs, opts?: pulumi.CustomResourceOptions) {
        super(
            provider,
            name,
            { systemIdentifier: undefined, restored: undefined, ...args },
            opts,
            "citus",
            "Configuration",
        );
    }
}
