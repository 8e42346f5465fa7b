import * as pulumi from "@pulumi/pulumi";
import { thinProvider } from "./provider.ts";

export interface DockerEngineInputs {
    /** In full, as `unix:///var/run/docker.sock`. */
    address: string;
    /** Labels everything that the cluster has there. */
    clusterId: string;
}

export type DockerEngineArgs = { [K in keyof DockerEngineInputs]: pulumi.Input<DockerEngineInputs[K]> };

const provider = thinProvider("provider/dockerEngine.ts", { checks: true });

/**
 * The Docker engine that the cluster is on. Refuses, in preview already, to go on at another one: the cluster would be
 * made there once more. The same engine under another address is taken up.
 */
export class DockerEngine extends pulumi.dynamic.Resource {
    declare readonly address: pulumi.Output<string>;

    constructor(name: string, args: DockerEngineArgs, opts?: pulumi.CustomResourceOptions) {
        super(provider, name, { engineId: undefined, engineName: undefined, ...args }, opts, "citus", "DockerEngine");
    }
}
