/** What EC2 says of an instance type. */
import type { InstanceType } from "../../core/reach/aws/instanceTypes.ts";
import { loaded } from "../../core/reach/aws/packages.ts";

/**
 * Asks through Pulumi's provider, so that it only works inside of a program.
 * @param options of the question, as Pulumi has them: which provider is asked
 * @returns the type, or what is wrong with it and what to do
 */
export async function describeInstanceType(
    instanceType: string,
    region: string,
    options: object = {},
): Promise<InstanceType | { problem: string }> {
    // the whole of @pulumi/aws is not for a stack on docker to load
    const { getInstanceType } = await loaded(import("@pulumi/aws/ec2/getInstanceType.js"));
    try {
        const found = await getInstanceType({ instanceType, region }, options);
        // only Nitro shows a volume by its id, which is how a machine finds its own
        if (found.hypervisor === "xen")
            return {
                problem: `must be a type on AWS' Nitro system, got "${instanceType}", which is older - for example m7i.large`,
            };
        return {
            memory: found.memorySize,
            cores: found.defaultVcpus,
            architectures: found.supportedArchitectures,
        };
    } catch (error) {
        const message = error instanceof Error ? error.message : String(error);
        return {
            problem: message.includes("InvalidInstanceType")
                ? `must be an instance type that ${region} has, got "${instanceType}" - aws ec2 describe-instance-type-offerings --region ${region} lists them`
                : `can't be looked up in ${region}, got "${instanceType}" (${message.replaceAll(/\s+/g, " ").trim()})${message.includes("UnauthorizedOperation") ? " - allow these credentials ec2:DescribeInstanceTypes" : ""}`,
        };
    }
}
