import type * as pulumi from "@pulumi/pulumi";
import type { RecoveredInputs, RecoveredKind, RecoveredNode } from "../../provider/recovered.ts";
import { CitusResource } from "./resource.ts";

export type RecoveredArgs = { [K in keyof Omit<RecoveredInputs, "nodes">]: pulumi.Input<RecoveredInputs[K]> } & {
    nodes: { [K in keyof RecoveredNode]: pulumi.Input<RecoveredNode[K]> }[];
};

/**
 * A restored cluster that is proved whole: prepared transactions resolved on every node, the same metadata everywhere, every
 * node reaches every other, the manifest's tables and placements are there and readable, and it has a backup of its own.
 */
export class Recovered extends CitusResource<RecoveredKind> {
    constructor(name: string, args: RecoveredArgs, opts?: pulumi.CustomResourceOptions) {
        super("citus-clusters:index:Recovered", name, { ...args }, opts);
    }
}
