/** What doctor prints, for people and for programs. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "vitest";
import { conclude } from "../../../core/citus/health/doctor.ts";
import type { Finding } from "../../../core/citus/health/read/finding.ts";
import { DOCTOR_FILES } from "../../../scripts/doctor/docs.ts";
import { sampleBefore } from "../../../scripts/doctor/samples.ts";
import { showDiagnosis } from "../../../scripts/doctor/show.ts";
import { ingressOf } from "../../../scripts/doctor/stackView.ts";

const ROOT = join(import.meta.dirname, "..", "..", "..");

for (const [file, rewritten] of Object.entries(DOCTOR_FILES))
    test(`${file} has the checks of the list (npm run format writes them)`, () => {
        const text = readFileSync(join(ROOT, file), "utf8");
        assert.equal(rewritten(text), text);
    });

const finding: Finding = {
    check: "idle-slots",
    danger: "danger",
    node: "worker-1",
    object: "gone",
    says: "worker-1: slot gone keeps 612 MB",
    mend: "SELECT 1",
    on: "worker-1",
};

test("each finding with its mend, and a silent node once", () => {
    const checks = ["idle-slots", "sequences", "disk"].map((id) => ({ id, title: id }));
    const text = showDiagnosis(
        "citus-dev",
        conclude(checks, {
            findings: [finding, { ...finding, check: "disk", danger: "note", mend: "npm run pulumi -- up", on: null }],
            unasked: [
                { check: "sequences", node: "worker-2", why: "no answer" },
                { check: "disk", node: "worker-2", why: "no answer" },
            ],
        }),
    );
    assert.deepEqual(text.split("\n"), [
        "citus-dev   3 checks, 0 fine, 1 to mend, 2 could not be asked",
        "",
        "DANGER   worker-1: slot gone keeps 612 MB",
        "         mend   SELECT 1;   on worker-1",
        "         check  idle-slots",
        "",
        "NOTE     worker-1: slot gone keeps 612 MB",
        "         mend   npm run pulumi -- up",
        "         check  disk",
        "",
        "ASK      worker-2: no answer",
        "         not asked: sequences, disk",
        "",
        "SQL runs on the node that is named: npm run psql -- --on worker-1 (docs/doctor.md)",
    ]);
});

describe("earlier looks at a disk", () => {
    const HOUR = 3_600_000;
    const samples = [
        { at: 0, free: { "worker-1": 9 } },
        { at: 400 * HOUR, free: { "worker-1": 7 } },
        { at: 402 * HOUR, free: { "worker-1": 6 } },
    ];
    test("the oldest of the last two weeks, and none that is an hour old or less", () => {
        assert.deepEqual(sampleBefore(samples, "worker-1", 402.5 * HOUR), { seconds: 9000, free: 7 });
        assert.equal(sampleBefore(samples.slice(2), "worker-1", 402.5 * HOUR), undefined);
        assert.equal(sampleBefore(samples, "worker-2", 402.5 * HOUR), undefined);
    });
});

test("ranges of security groups, of both kinds of address", () => {
    const rule = (outputs: Record<string, unknown>) => ({
        urn: "u",
        type: "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule",
        outputs: { securityGroupId: "sg-1", ...outputs },
    });
    assert.deepEqual(
        ingressOf([
            rule({ fromPort: 5432, toPort: 5432, cidrIpv4: "0.0.0.0/0" }),
            rule({ cidrIpv6: "::/0" }),
            rule({ referencedSecurityGroupId: "sg-1" }),
        ]),
        [
            { group: "sg-1", port: "5432", range: "0.0.0.0/0" },
            { group: "sg-1", port: "of every number", range: "::/0" },
        ],
    );
});
