/** What the machines of each kind of node have in common: image, type, role, and what they boot with. */

import * as pulumi from "@pulumi/pulumi";
import type { Role } from "../../../core/node/topology.ts";
import type { MachineArgs } from "../../config/index.ts";
import type { Origin } from "../../resources/origin.ts";
import { Pinned } from "../../resources/pinned.ts";
import { machineImage } from "./ami.ts";
import { type NodeRole, nodeRole } from "./iam.ts";
import type { PolicyArgs } from "./policy.ts";
import { machineHash } from "./rolling.ts";
import type { Scope } from "./scope.ts";
import * as aws from "./sdk.ts";
import { renderLauncher } from "./userData.ts";

export interface MachineModel {
    readonly role: NodeRole;
    readonly ami: pulumi.Output<string>;
    /** @see machineHash */
    readonly hash: pulumi.Output<string>;
    /** What they boot with, without what is each one's own. */
    readonly launcher: pulumi.Output<string>;
}

/** What roles let machines reach. */
export interface Reach {
    readonly bucket: pulumi.Output<string>;
    readonly origin: pulumi.Output<Origin> | undefined;
    readonly logGroup: pulumi.Output<string> | undefined;
}

export function machineModels(
    scope: Scope,
    machines: Readonly<Record<Role, MachineArgs>>,
    reach: Reach,
    parent: pulumi.Resource,
): Record<Role, MachineModel> {
    const { kmsKeyId, placement } = scope.aws;
    const ami = machineImage(scope, parent);
    const policy = policyArgs(scope, reach, parent);
    const launched = pulumi.all([reach.bucket, scope.base, scope.citusVersion]).apply(([bucket, base, citusVersion]) =>
        renderLauncher({
            region: scope.aws.region,
            bucket,
            base,
            cluster: scope.cluster,
            citusVersion,
        }),
    );
    const model = (role: Role): MachineModel => {
        const hash = pulumi.all([ami, scope.citusVersion, kmsKeyId]).apply(([id, citusVersion, key]) =>
            machineHash({
                role,
                ami: id,
                instanceType: machines[role].instanceType ?? "",
                citusVersion,
                placement,
                ...(key === undefined ? {} : { kmsKeyId: key }),
            }),
        );
        // a machine boots once: another launcher is for machines that are made anew anyway
        const launcher = new Pinned(`${scope.prefix}-launcher-${role}`, { value: launched, until: hash }, { parent })
            .kept;
        return { role: nodeRole(scope, role, policy, parent), ami, hash, launcher };
    };
    return { coordinator: model("coordinator"), worker: model("worker") };
}

function policyArgs(scope: Scope, reach: Reach, parent: pulumi.Resource): pulumi.Output<PolicyArgs> {
    const { region, kmsKeyId } = scope.aws;
    const { accountId } = aws.getCallerIdentityOutput({}, { parent });
    return pulumi
        .all([accountId, reach.bucket, scope.base, reach.origin, reach.logGroup, kmsKeyId])
        .apply(([account, bucket, base, origin, logGroup, key]) => ({
            region,
            account,
            bucket,
            base,
            // its own bucket it may read and write anyway
            ...(origin === undefined || ["", bucket].includes(origin.repository) ? {} : { origin: origin.repository }),
            ...(key === undefined ? {} : { kmsKeyId: key }),
            ...(logGroup === undefined ? {} : { logGroup }),
        }));
}
