import * as pulumi from "@pulumi/pulumi";
import type { Access } from "../../core/node/reach.ts";
import type { Role } from "../../core/node/topology.ts";
import { thinProvider } from "./provider.ts";

/** What a member is told, as plain values. */
export interface MemberInputs {
    role: Role;
    name: string;
    /** The name and port under which Citus registers the node. */
    host: string;
    port: number;
    /** How to reach the coordinator from here. */
    coordinator: Access;
    /** How to reach the node itself from here. */
    access: Access;
    transferMode: string;
    /** Its own row in Pulumi's display. */
    self?: string;
}

export type MemberArgs = { [K in keyof MemberInputs]: pulumi.Input<MemberInputs[K]> };

const provider = thinProvider("provider/member.ts");

/**
 * A node registered in Citus. Creating it checks that the node is this stack's own and empty, adds it, and proves that
 * every node reaches every other. Deleting it proves that it holds no shard, and removes it.
 * A resource rather than an after-hook: an after-hook that failed never runs again, and a registration must converge.
 */
export class Member extends pulumi.dynamic.Resource {
    /** Citus' number of the node's group; 0 is the coordinator. */
    declare readonly groupId: pulumi.Output<number>;
    declare readonly nodeId: pulumi.Output<number>;

    constructor(name: string, args: MemberArgs, opts?: pulumi.CustomResourceOptions) {
        super(provider, name, { groupId: undefined, nodeId: undefined, ...args }, opts, "citus", "Member");
    }
}
