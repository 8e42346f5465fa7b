/** Instance types by their names: which are none, which are arm64, and what is nearest to those. */
import assert from "node:assert/strict";
import { describe, test } from "vitest";
import { isInstanceType, x86TypeFor } from "../../../../core/reach/aws/instanceTypes.ts";

describe("instance types", () => {
    for (const [arm, x86] of [
        ["m7g.medium", "m7i.large"],
        ["m7g.large", "m7i.large"],
        ["m6g.16xlarge", "m7i.16xlarge"],
        ["m8g.48xlarge", "m7i.48xlarge"],
        ["m7g.metal", "m7i.16xlarge"],
        ["m8g.metal-24xl", "m7i.24xlarge"],
        ["m7gd.xlarge", "m6id.xlarge"],
        ["c7g.2xlarge", "c7i.2xlarge"],
        ["c7gn.8xlarge", "c6in.8xlarge"],
        ["c6gd.medium", "c6id.large"],
        ["r8g.large", "r7i.large"],
        ["r8gd.2xlarge", "r6id.2xlarge"],
        ["r8gd.48xlarge", "r6id.32xlarge"],
        ["r8gb.large", "r7i.large"],
        ["t4g.nano", "t3.nano"],
        ["t4g.2xlarge", "t3.2xlarge"],
        ["x2gd.medium", "x2iedn.xlarge"],
        ["im4gn.4xlarge", "i4i.4xlarge"],
        ["is4gen.8xlarge", "i3en.12xlarge"],
        ["i8ge.xlarge", "i4i.xlarge"],
        ["hpc7g.4xlarge", "hpc7a.12xlarge"],
        ["g5g.xlarge", "g4dn.xlarge"],
        ["a1.4xlarge", "c6i.4xlarge"],
        ["z9gx.large", "m7i.large"],
    ] as const) {
        test(`${arm} is arm64, and ${x86} the nearest`, () => {
            assert.ok(isInstanceType(arm));
            assert.equal(x86TypeFor(arm), x86);
            assert.ok(isInstanceType(x86));
            assert.equal(x86TypeFor(x86), undefined);
        });
    }

    for (const type of [
        "m7i.large",
        "m7i-flex.large",
        "m7a.medium",
        "r7iz.2xlarge",
        "t3.micro",
        "t3a.nano",
        "c6in.32xlarge",
        "x2iedn.xlarge",
        "i4i.metal",
        "m7i.metal-24xl",
        "u-6tb1.56xlarge",
        "u7i-12tb.224xlarge",
        "g4dn.xlarge",
        "g5.xlarge",
        "g6e.xlarge",
        "gr6.4xlarge",
        "p4de.24xlarge",
        "inf2.xlarge",
        "trn1n.32xlarge",
        "d3en.xlarge",
        "hpc7a.96xlarge",
        "z1d.large",
        "i7ie.large",
        "f2.6xlarge",
        "dl2q.24xlarge",
    ]) {
        test(`${type} is not arm64`, () => {
            assert.ok(isInstanceType(type));
            assert.equal(x86TypeFor(type), undefined);
        });
    }

    for (const none of [
        "",
        "m7i",
        "m7i.",
        ".large",
        "m7i.xxlarge",
        "m7i.2large",
        "7mi.large",
        "m7i large",
        "m7i.large\n",
        "m7i.metal-4",
    ]) {
        test(`${JSON.stringify(none)} is none`, () => {
            assert.equal(isInstanceType(none), false);
            assert.equal(x86TypeFor(none), undefined);
        });
    }
});
