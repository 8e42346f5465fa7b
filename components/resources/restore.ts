import * as pulumi from "@pulumi/pulumi";
import type { AwsSite } from "../../core/restore/awsSite.ts";
import type { DockerSite } from "../../core/restore/dockerSite.ts";
import type { RestoreRequest, TargetNode } from "../../core/restore/plan.ts";
import { thinProvider } from "./provider.ts";

export interface RestoreNode extends TargetNode {
    /** MiB. */
    memory: number;
    cores: number;
}

/** What a restore is told, as plain values. */
export interface RestoreInputs {
    request: Omit<RestoreRequest, "nodes" | "database">;
    overwrite: boolean;
    database: string;
    cluster: string;
    clusterId: string;
    /** The volume or bucket that is the repository. */
    repository: string;
    /** Where that bucket is; empty for a volume. */
    repositoryRegion: string;
    /** A secret; empty when the repository is not encrypted. */
    passphrase: string;
    /** The cluster's own repository, and its passphrase; the same two in a restore in place. */
    ownRepository: string;
    ownPassphrase: string;
    /** Where the nodes' data is, and what works on it. */
    site: DockerSite | AwsSite;
    /** SCRAM verifier of the new superuser's password; a secret. */
    verifier: string;
    nodes: RestoreNode[];
    self?: string;
}

export type RestoreArgs = { [K in keyof Omit<RestoreInputs, "site">]: pulumi.Input<RestoreInputs[K]> } & {
    site: Inputs<DockerSite> | Inputs<AwsSite>;
};

/** A value whose parts may each be known later: what is known is known in preview already. */
type Inputs<T> = T extends string | number | boolean
    ? pulumi.Input<T>
    : T extends readonly (infer E)[]
      ? readonly Inputs<E>[]
      : pulumi.Input<T> | { readonly [K in keyof T]: Inputs<T[K]> };

const provider = thinProvider("provider/restore.ts", { checks: true });

/**
 * The data of every node, restored to one restore point before any of their servers starts. Created or asked for another
 * point it plans (in preview already, where the repository can be read), restores all nodes in parallel, proves that each
 * reached the point, and gives them their new names; nothing is put in place before all of that holds on every node.
 */
export class Restore extends pulumi.dynamic.Resource {
    /** The restore point's name. */
    declare readonly point: pulumi.Output<string>;
    /** Another one for each restore that was made. */
    declare readonly restoreId: pulumi.Output<string>;
    /** The restore point's manifest, as JSON. */
    declare readonly manifest: pulumi.Output<string>;

    constructor(name: string, args: RestoreArgs, opts?: pulumi.CustomResourceOptions) {
        super(
            provider,
            name,
            { point: undefined, restoreId: undefined, manifest: undefined, ...args },
            { ...opts, additionalSecretOutputs: ["passphrase", "ownPassphrase", "verifier"] },
            "citus",
            "Restore",
        );
    }
}
