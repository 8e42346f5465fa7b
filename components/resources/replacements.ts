import * as pulumi from "@pulumi/pulumi";
import type { Access, Shell } from "../../core/node/reach.ts";
import { thinProvider } from "./provider.ts";

/** A node as it is wanted. */
export interface ReplacementNode {
    readonly name: string;
    /** What its container is made of, as a hash: another one means another container. */
    readonly made: string;
    readonly access: Access;
    readonly shell: Shell;
}

export interface ReplacementsInputs {
    /** The Docker engine's address in full. */
    engine: string;
    clusterId: string;
    nodes: ReplacementNode[];
    self?: string;
}

export type ReplacementsArgs = {
    [K in keyof Omit<ReplacementsInputs, "nodes">]: pulumi.Input<ReplacementsInputs[K]>;
} & {
    nodes: { [K in keyof ReplacementNode]: pulumi.Input<ReplacementNode[K]> }[];
};

const provider = thinProvider("provider/replacements.ts", { checks: true });

/**
 * What comes before the first container of a cluster is replaced. Its preview says which containers will be, and in which
 * order. Its update ends when every node that stays answers: with one of them down, no other is taken down.
 */
export class Replacements extends pulumi.dynamic.Resource {
    constructor(name: string, args: ReplacementsArgs, opts?: pulumi.CustomResourceOptions) {
        super(provider, name, { ...args }, opts, "citus", "Replacements");
    }
}
