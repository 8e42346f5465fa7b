import type * as pulumi from "@pulumi/pulumi";
import type { DockerEngineInputs, DockerEngineKind } from "../../provider/dockerEngine.ts";
import { CitusResource } from "./resource.ts";

export type DockerEngineArgs = { [K in keyof DockerEngineInputs]: pulumi.Input<DockerEngineInputs[K]> };

/**
 * The Docker engine that the cluster is on. Refuses, in preview already, to go on at another one: the cluster would be
 * made there once more. The same engine under another address is taken up.
 */
export class DockerEngine extends CitusResource<DockerEngineKind> {
    declare readonly address: pulumi.Output<string>;

    constructor(name: string, args: DockerEngineArgs, opts?: pulumi.CustomResourceOptions) {
        super("citus-clusters:index:DockerEngine", name, { engineId: undefined, engineName: undefined, ...args }, opts);
    }
}
