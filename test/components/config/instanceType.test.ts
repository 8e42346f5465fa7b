/** What is asked of EC2 about an instance type, through Pulumi's provider. */
import assert from "node:assert/strict";
import * as pulumi from "@pulumi/pulumi";
import { beforeAll, describe, test } from "vitest";
import { describeInstanceType } from "../../../components/config/instanceType.ts";

/** As the engine answers. */
const failure = (details: string) => Object.assign(new Error(details), { details });

describe("describeInstanceType", () => {
    const asked: unknown[] = [];

    beforeAll(() =>
        pulumi.runtime.setMocks({
            newResource: ({ name, inputs }) => ({ id: name, state: inputs }),
            call: ({ token, inputs }) => {
                asked.push([token, inputs]);
                if (inputs.instanceType === "m7i.hugexlarge")
                    throw failure(
                        "reading EC2 Instance Type (m7i.hugexlarge): operation error EC2: DescribeInstanceTypes, api error InvalidInstanceType: The following supplied instance types do not exist: [m7i.hugexlarge]",
                    );
                if (inputs.instanceType === "c7i.large")
                    throw failure("operation error EC2: DescribeInstanceTypes,\n  api error UnauthorizedOperation: no");
                if (inputs.instanceType === "m4.large") return { memorySize: 8192, defaultVcpus: 2, hypervisor: "xen" };
                return { memorySize: 16_384, defaultVcpus: 4, supportedArchitectures: ["x86_64"], defaultCores: 2 };
            },
        }),
    );

    test("memory in MiB, cores as vCPUs, architectures", async () => {
        assert.deepEqual(await describeInstanceType("m7i.xlarge", "eu-central-1"), {
            memory: 16_384,
            cores: 4,
            architectures: ["x86_64"],
        });
        assert.deepEqual(asked.at(-1), [
            "aws:ec2/getInstanceType:getInstanceType",
            { instanceType: "m7i.xlarge", region: "eu-central-1" },
        ]);
    });

    test("one that the region does not have, with how to find those that it has", async () => {
        const found = await describeInstanceType("m7i.hugexlarge", "eu-central-1");
        assert.ok("problem" in found);
        assert.match(found.problem, /^must be an instance type that eu-central-1 has, got "m7i.hugexlarge" - /);
        assert.match(found.problem, /aws ec2 describe-instance-type-offerings --region eu-central-1/);
    });

    test("one that is older than Nitro, where a machine would not find its volume", async () => {
        const found = await describeInstanceType("m4.large", "eu-central-1");
        assert.ok("problem" in found);
        assert.match(found.problem, /Nitro.*got "m4.large"/);
    });

    test("a question that is refused, in AWS' words on one line", async () => {
        const found = await describeInstanceType("c7i.large", "eu-central-1");
        assert.ok("problem" in found);
        assert.match(
            found.problem,
            /^can't be looked up in eu-central-1, got "c7i.large" \(.*UnauthorizedOperation: no.*\) - allow .*ec2:DescribeInstanceTypes$/,
        );
    });
});
