import * as pulumi from "@pulumi/pulumi";
import type { Access, Shell } from "../../core/node/reach.ts";
import { thinProvider } from "./provider.ts";

export interface RecoveredNode {
    name: string;
    access: Access;
    shell: Shell;
}

/** What is checked after a restore, as plain values. */
export interface RecoveredInputs {
    /** Another one for each restore. */
    restoreId: string;
    /** The restore point's manifest, as JSON. */
    manifest: string;
    /** A single worker was rebuilt: the manifest's numbers do not hold. */
    partial: boolean;
    /** The coordinator first. */
    nodes: RecoveredNode[];
    /** Whether a first backup and restore point are made. */
    backups: boolean;
    self?: string;
}

export type RecoveredArgs = { [K in keyof Omit<RecoveredInputs, "nodes">]: pulumi.Input<RecoveredInputs[K]> } & {
    nodes: { [K in keyof RecoveredNode]: pulumi.Input<RecoveredNode[K]> }[];
};

const provider = thinProvider("provider/recovered.ts");

/**
 * A restored cluster that is proved whole: prepared transactions resolved on every node, the same metadata everywhere, every
 * node reaches every other, the manifest's tables and placements are there and readable, and it has a backup of its own.
 */
export class Recovered extends pulumi.dynamic.Resource {
    constructor(name: string, args: RecoveredArgs, opts?: pulumi.CustomResourceOptions) {
        super(provider, name, { ...args }, opts, "citus", "Recovered");
    }
}
