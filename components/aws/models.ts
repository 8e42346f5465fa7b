/** What the machines of each kind of node have in common: image, type, role, and what they boot with. */

import * as pulumi from "@pulumi/pulumi";
import type { MachineArgs } from "../config.ts";
import { Pinned } from "../hooks/pinned.ts";
import type { Role } from "../topology.ts";
import { machineImage } from "./ami.ts";
import { readLauncher } from "./assumed.ts";
import { type NodeRole, nodeRole } from "./iam.ts";
import type { Origin } from "./origin.ts";
import type { PolicyArgs } from "./policy.ts";
import { machineHash } from "./rolling.ts";
import type { Scope } from "./scope.ts";
import * as aws from "./sdk.ts";

export interface MachineModel {
    readonly role: NodeRole;
    readonly ami: pulumi.Output<string>;
    /** @see machineHash */
    readonly hash: pulumi.Output<string>;
    /** What they boot with beside what is each one's own. */
    readonly boot: pulumi.Output<Boot>;
}

/** What a machine is given once, when it is made. */
export interface Boot {
    readonly launcher: string;
    /** Whether it writes metrics from the beginning. */
    readonly alarms: boolean;
}

/** What roles let machines reach. */
export interface Reach {
    readonly bucket: pulumi.Output<string>;
    readonly origin: pulumi.Output<Origin> | undefined;
    readonly logGroup: pulumi.Output<string> | undefined;
}

export function machineModels(
    scope: Scope,
    cluster: Readonly<Record<Role, MachineArgs>> & { readonly citusVersion: string },
    reach: Reach,
    parent: pulumi.Resource,
): Record<Role, MachineModel> {
    const { kmsKeyId, placement } = scope.aws;
    const ami = machineImage(scope, parent);
    const policy = policyArgs(scope, reach, parent);
    const model = (role: Role): MachineModel => {
        const hash = ami.apply((id) =>
            machineHash({
                role,
                ami: id,
                instanceType: cluster[role].instanceType ?? "",
                citusVersion: cluster.citusVersion,
                placement,
                ...(kmsKeyId === undefined ? {} : { kmsKeyId }),
            }),
        );
        // a machine boots once: what is new here is for machines that are made anew anyway
        const boot: Boot = { launcher: readLauncher(), alarms: scope.aws.alarmTopic !== undefined };
        const kept = new Pinned(
            `${scope.prefix}-boot-${role}`,
            { value: JSON.stringify(boot), until: hash },
            { parent },
        ).kept.apply((text): Boot => JSON.parse(text));
        return { role: nodeRole(scope, role, policy, parent), ami, hash, boot: kept };
    };
    return { coordinator: model("coordinator"), worker: model("worker") };
}

function policyArgs(scope: Scope, reach: Reach, parent: pulumi.Resource): pulumi.Output<PolicyArgs> {
    const { region, kmsKeyId } = scope.aws;
    const { accountId } = aws.getCallerIdentityOutput({}, { parent });
    return pulumi
        .all([accountId, reach.bucket, scope.base, reach.origin, reach.logGroup])
        .apply(([account, bucket, base, origin, logGroup]) => ({
            region,
            account,
            bucket,
            base,
            // its own bucket it may read and write anyway
            ...(origin === undefined || ["", bucket].includes(origin.bucket) ? {} : { origin: origin.bucket }),
            ...(kmsKeyId === undefined ? {} : { kmsKeyId }),
            ...(logGroup === undefined ? {} : { logGroup }),
        }));
}
