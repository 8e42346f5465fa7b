/** Whether existing machines will be replaced: then it is done one at a time. */
import { createHash } from "node:crypto";
import * as pulumi from "@pulumi/pulumi";
import type { Role } from "../../../core/node/topology.ts";
import * as aws from "./sdk.ts";

/** Tag of a machine that says what it was made of. */
export const MACHINE_TAG = "citus-machine";

/** Everything that is only changed by another machine. */
export interface MachineKind {
    readonly role: Role;
    readonly ami: string;
    readonly instanceType: string;
    /** Packages are installed once. */
    readonly citusVersion: string;
    readonly placement: string;
    readonly kmsKeyId?: string;
}

/** The same for machines that need not be replaced by one another. */
export function machineHash(kind: MachineKind): string {
    const { role, ami, instanceType, citusVersion, placement, kmsKeyId } = kind;
    return createHash("sha256")
        .update(JSON.stringify([role, ami, instanceType, citusVersion, placement, kmsKeyId ?? ""]))
        .digest("hex")
        .slice(0, 12);
}

/** Whether a machine is there that is not what is wanted. */
export function hasOutdated(all: readonly string[], wanted: readonly string[]): boolean {
    return all.some((id) => !wanted.includes(id));
}

const STATES = ["pending", "running", "stopping", "stopped"];

/**
 * Whether machines of this cluster will be replaced. Unknown, like `clusterId`, while there is no cluster.
 * @param hashes of the machines that are wanted
 */
export function willReplace(
    clusterId: pulumi.Output<string>,
    hashes: readonly pulumi.Output<string>[],
    parent: pulumi.Resource,
): pulumi.Output<boolean> {
    const instanceTags = clusterId.apply((id) => ({ "citus-cluster-id": id }));
    const all = aws.ec2.getInstancesOutput({ instanceTags, instanceStateNames: STATES }, { parent });
    const wanted = aws.ec2.getInstancesOutput(
        {
            instanceTags,
            instanceStateNames: STATES,
            filters: [{ name: `tag:${MACHINE_TAG}`, values: pulumi.all([...hashes]) }],
        },
        { parent },
    );
    return pulumi.all([all.ids, wanted.ids]).apply(([found, kept]) => hasOutdated(found, kept));
}
