/** The examples' programs as a user writes them: they import the package by its name, which is this project itself here. */
import assert from "node:assert/strict";
import { join } from "node:path";
import * as pulumi from "@pulumi/pulumi";
import { describe, test } from "vitest";
import { build, indexed, mock, ORIGIN_STACK } from "./mocks.ts";
import { cloud } from "./platforms/aws/mocks.ts";

await mock(cloud);
const EXAMPLES = join(import.meta.dirname, "..", "..", "examples");
const CONTAINER = "docker:index/container:Container";

/** What a program makes, in its own folder. */
async function run(folder: string, config: Record<string, string> = {}) {
    process.chdir(join(EXAMPLES, folder));
    pulumi.runtime.setAllConfig(config);
    const { made, resources } = await build(() => import(join(EXAMPLES, folder, "index.ts")));
    await made;
    return indexed(resources);
}

describe("an example's program", () => {
    for (const [folder, nodes] of Object.entries({ "local-minimal": 3, "two-clusters": 5 }))
        test(`${folder} makes ${nodes} nodes`, async () => {
            assert.equal((await run(folder)).of(CONTAINER).length, nodes);
        });

    for (const model of ["rls", "row", "schema", "database", "routed"])
        test(`${model} makes a cluster and its tenants`, async () => {
            const { of } = await run(model);
            assert.equal(of(CONTAINER).length, 3);
            assert.equal(of("citus-clusters:index:TenantGroup").length, 1);
        });

    test("restore-copy restores from what the other stack says", async () => {
        const { one } = await run("restore-copy", { "citus:origin": `organization/citus/${ORIGIN_STACK}` });
        assert.equal(one("citus-clusters:index:Restore").inputs.repository, "citus-prod-fedcba-backups");
    });

    test("existing-vpc makes no network, and lets its own group in", async () => {
        const { of } = await run("existing-vpc", {
            "citus:vpcId": "vpc-12345678",
            "citus:subnetIds": '["subnet-aaaaaaaa", "subnet-bbbbbbbb"]',
            "aws:region": "eu-central-1",
        });
        assert.deepEqual(of("aws:ec2/vpc:Vpc"), []);
        assert.equal(of("aws:ec2/instance:Instance").length, 4);
        const rules = of("aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule");
        assert.ok(rules.some(({ inputs }) => inputs.referencedSecurityGroupId === "sg-0a99a99a"));
    });
});
