/** What a drill's copy is given of its origin. */
import assert from "node:assert/strict";
import { test } from "vitest";
import { copyConfig } from "../../../scripts/lib/copyConfig.ts";

test("a drill has nothing to do with tenants' pins and templates, nor with whoever else may connect", () => {
    const copied = copyConfig(
        {
            "citus:worker": { objectValue: { memory: "2GB" } },
            "citus:shardCount": { value: "64" },
            "citus:workers": { value: "7" },
            "citus:tenantGroups": { objectValue: { clinics: { tenants: { acme: { node: "worker-9" } } } } },
            "citus:postDeploy": { objectValue: ["schema.sql"] },
            "citus:connection": { value: "direct" },
            "citus:network": { objectValue: { cidr: "10.0.0.0/16", allowedCidrs: ["198.51.100.7/32"] } },
            "citus:backupPassphrase": { secret: true },
            "aws:region": { value: "eu-central-1" },
            "other:key": { value: "x" },
        },
        { workers: "2", protect: "false" },
    );
    assert.deepEqual(copied, {
        "citus:worker": '{"memory":"2GB"}',
        "citus:shardCount": "64",
        // without the addresses that may connect, the copy is reached as everybody else can't: through SSM, the default
        "citus:network": '{"cidr":"10.0.0.0/16"}',
        "aws:region": "eu-central-1",
        "citus:workers": "2",
        "citus:protect": "false",
    });
});
