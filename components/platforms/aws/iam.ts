/** One role a kind of node, with what its machines may do and no more. */

import * as pulumi from "@pulumi/pulumi";
import type { Role } from "../../../core/node/topology.ts";
import { type PolicyArgs, policyFor, trustPolicy } from "./policy.ts";
import { partitionOf, type Scope } from "./scope.ts";
import * as aws from "./sdk.ts";

export interface NodeRole {
    /** Name of the instance profile. */
    readonly profile: pulumi.Output<string>;
    /** Without these a machine that boots may do nothing. */
    readonly ready: readonly pulumi.Resource[];
}

/** @param policy what {@link policyFor} is told */
export function nodeRole(
    scope: Scope,
    kind: Role,
    policy: pulumi.Input<PolicyArgs>,
    parent: pulumi.Resource,
): NodeRole {
    const name = `${scope.prefix}-${kind}`;
    const tags = scope.tags(kind);
    const role = new aws.iam.Role(
        name,
        {
            description: `Machines of the ${kind} kind in the Citus cluster ${scope.cluster}`,
            assumeRolePolicy: JSON.stringify(trustPolicy()),
            tags,
        },
        { parent },
    );
    const own = new aws.iam.RolePolicy(
        name,
        { role: role.id, policy: pulumi.output(policy).apply((args) => JSON.stringify(policyFor(kind, args))) },
        { parent },
    );
    const ssm = new aws.iam.RolePolicyAttachment(
        `${name}-ssm`,
        {
            role: role.name,
            policyArn: `arn:${partitionOf(scope.aws.region)}:iam::aws:policy/AmazonSSMManagedInstanceCore`,
        },
        { parent },
    );
    const profile = new aws.iam.InstanceProfile(name, { role: role.name, tags }, { parent });
    return { profile: profile.name, ready: [own, ssm] };
}
