/** How large the machines are: EC2 says it of their types. */
import * as pulumi from "@pulumi/pulumi";
import type { Role } from "../../../core/node/topology.ts";
import { usableMemory } from "../../../core/reach/aws/instanceTypes.ts";
import { DEFAULT_INSTANCE_TYPE, type MachineArgs, typeMistake, wrongArguments } from "../../config/index.ts";
import { describeInstanceType } from "../../config/instanceType.ts";
import type { Size } from "../../resources/nodeArgs.ts";

/**
 * @param name of the cluster's resource, for the error
 * @throws pulumi.InputPropertiesError when the region has no such type, or it can't run a node
 */
export function sizeOf(
    name: string,
    role: Role,
    { instanceType = DEFAULT_INSTANCE_TYPE }: MachineArgs,
    region: string,
    parent: pulumi.Resource,
): pulumi.Output<Size> {
    return pulumi.output(describeInstanceType(instanceType, region, { parent })).apply((found) => {
        const message = "problem" in found ? found.problem : typeMistake(instanceType, found, region);
        if (message !== undefined || "problem" in found)
            throw wrongArguments(`CitusCluster ${name}`, [{ path: `${role}.instanceType`, message: message ?? "" }]);
        return { memory: usableMemory(found), cores: found.cores };
    });
}
