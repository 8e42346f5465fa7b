import type * as pulumi from "@pulumi/pulumi";
import type { MemberInputs, MemberKind } from "../../provider/member.ts";
import { CitusResource } from "./resource.ts";

export type MemberArgs = { [K in keyof MemberInputs]: pulumi.Input<MemberInputs[K]> };

/**
 * A node registered in Citus. Creating it checks that the node is this stack's own and empty, adds it, and proves that
 * every node reaches every other. Deleting it proves that it holds no shard, and removes it.
 * A resource rather than an after-hook: an after-hook that failed never runs again, and a registration must converge.
 */
export class Member extends CitusResource<MemberKind> {
    /** Citus' number of the node's group; 0 is the coordinator. */
    declare readonly groupId: pulumi.Output<number>;
    declare readonly nodeId: pulumi.Output<number>;

    constructor(name: string, args: MemberArgs, opts?: pulumi.CustomResourceOptions) {
        super("citus-clusters:index:Member", name, { groupId: undefined, nodeId: undefined, ...args }, opts);
    }
}
