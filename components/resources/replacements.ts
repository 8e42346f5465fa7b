import type * as pulumi from "@pulumi/pulumi";
import type { ReplacementNode, ReplacementsInputs, ReplacementsKind } from "../../provider/replacements.ts";
import { CitusResource } from "./resource.ts";

export type ReplacementsArgs = {
    [K in keyof Omit<ReplacementsInputs, "nodes">]: pulumi.Input<ReplacementsInputs[K]>;
} & {
    nodes: { [K in keyof ReplacementNode]: pulumi.Input<ReplacementNode[K]> }[];
};

/**
 * What comes before the first container of a cluster is replaced. Its preview says which containers will be, and in which
 * order. Its update ends when every node that stays answers: with one of them down, no other is taken down.
 */
export class Replacements extends CitusResource<ReplacementsKind> {
    constructor(name: string, args: ReplacementsArgs, opts?: pulumi.CustomResourceOptions) {
        super("citus-clusters:index:Replacements", name, { ...args }, opts);
    }
}
