/** The aws platform's decisions that need no AWS: addresses, zones, tags, policies, what is replaced and what is kept. */
import assert from "node:assert/strict";
import fc from "fast-check";
import { describe, test } from "vitest";
import { carve, type NodeSubnet, subnetIn, zoneFor } from "../../../../components/platforms/aws/addresses.ts";
import { bundleKey } from "../../../../components/platforms/aws/bundle.ts";
import { type PolicyArgs, policyFor, trustPolicy } from "../../../../components/platforms/aws/policy.ts";
import { hasOutdated, machineHash } from "../../../../components/platforms/aws/rolling.ts";
import { partitionOf } from "../../../../components/platforms/aws/scope.ts";
import { PREFIXES, tlsOnly } from "../../../../components/platforms/aws/storage.ts";
import { tagsOf } from "../../../../components/platforms/aws/tags.ts";
import { PinnedKind } from "../../../../provider/pinned.ts";
import { ask } from "../../../provider/ask.ts";

const range = (cidr: string): [number, number] => {
    const [address = "", bits] = cidr.split("/");
    const first = address.split(".").reduce((sum, part) => sum * 256 + Number(part), 0);
    return [first, first + 2 ** (32 - Number(bits)) - 1];
};

describe("a VPC's addresses", () => {
    const vpc = fc.tuple(fc.integer({ min: 16, max: 25 }), fc.nat(2 ** 24 - 1)).map(([bits, host]) => {
        const first = 10 * 2 ** 24 + host - (host % 2 ** (32 - bits));
        return `${[24, 16, 8, 0].map((shift) => Math.floor(first / 2 ** shift) % 256).join(".")}/${bits}`;
    });
    const zones = fc.integer({ min: 1, max: 3 });

    test("no two parts overlap, and all are inside and begin where their size lets them", () => {
        fc.assert(
            fc.property(vpc, zones, (cidr, count) => {
                const carved = carve(cidr, count);
                assert.equal(carved.nodes.length, count);
                const parts = [...carved.nodes, carved.public, carved.endpoints];
                const [first, last] = range(cidr);
                for (const [i, part] of parts.entries()) {
                    const [low, high] = range(part);
                    assert.ok(first <= low && high <= last, `${part} of ${cidr}`);
                    assert.equal(low % (high - low + 1), 0, part);
                    for (const other of parts.slice(i + 1)) {
                        const [from, to] = range(other);
                        assert.ok(high < from || to < low, `${part} and ${other}`);
                    }
                }
            }),
        );
    });

    test("a zone that is added changes no other", () => {
        fc.assert(
            fc.property(vpc, (cidr) => {
                const [one, three] = [carve(cidr, 1), carve(cidr, 3)];
                assert.deepEqual(one, { ...three, nodes: three.nodes.slice(0, 1) });
            }),
        );
    });

    test("the default has room for every worker there may be in each zone", () => {
        assert.deepEqual(carve("10.64.0.0/16", 3), {
            nodes: ["10.64.0.0/19", "10.64.32.0/19", "10.64.64.0/19"],
            public: "10.64.192.0/28",
            endpoints: "10.64.224.0/28",
        });
    });

    test("one that is too small or too big is refused", () => {
        for (const cidr of ["10.0.0.0/26", "10.0.0.0/8", "10.0.0.0"])
            assert.throws(() => carve(cidr, 1), /must be a \/16 to a \/25/);
    });
});

describe("zones", () => {
    const subnets: NodeSubnet[] = ["b", "a", "b"].map((zone, i) => ({ id: `subnet-${i}`, zone, cidr: "" }));

    test("node i goes to zone i, over and over", () => {
        assert.deepEqual(
            [0, 1, 2, 3].map((i) => zoneFor(i, subnets, "spread")),
            ["b", "a", "b", "a"],
        );
        assert.deepEqual(
            [0, 1, 2].map((i) => zoneFor(i, subnets, "single")),
            ["b", "b", "b"],
        );
    });

    test("a machine's subnet is that of its volume's zone", () => {
        assert.equal(subnetIn("a", "worker-1", subnets), "subnet-1");
        assert.equal(subnetIn("b", "worker-1", subnets), "subnet-0");
    });

    test("a zone that has no subnet any more is said before anything is changed", () => {
        assert.throws(
            () => subnetIn("c", "worker-1", subnets),
            /^Error: worker-1: its volume is in c, and the network has no subnet there \(it has b, a, b\)\.\nNothing was changed\./,
        );
    });
});

describe("tags", () => {
    test("the cluster's own are not the user's to change", () => {
        const tags = { team: "data", "citus-cluster": "another", Name: "x" };
        assert.deepEqual(tagsOf({ cluster: "citus-prod", clusterId: "0123", tags }, "worker-2", "worker-2"), {
            team: "data",
            "citus-cluster": "citus-prod",
            "citus-cluster-id": "0123",
            Name: "citus-prod-worker-2",
            "citus-node": "worker-2",
        });
        assert.ok(!("citus-node" in tagsOf({ cluster: "c1", clusterId: "0123", tags: {} }, "nat")));
    });

    test("their names can be read in a machine's metadata", () => {
        for (const name of Object.keys(tagsOf({ cluster: "c1", clusterId: "0123", tags: {} }, "n", "n")))
            assert.match(name, /^[A-Za-z-]+$/);
    });
});

describe("which machines are replaced", () => {
    const kind = {
        role: "worker",
        ami: "ami-1",
        instanceType: "m7i.large",
        citusVersion: "14.0.1",
        placement: "none",
    } as const;

    test("what only another machine can change makes another hash", () => {
        const hash = machineHash(kind);
        assert.equal(hash, machineHash({ ...kind }));
        assert.match(hash, /^[0-9a-f]{12}$/);
        for (const change of [
            { role: "coordinator" as const },
            { ami: "ami-2" },
            { instanceType: "m7i.xlarge" },
            { citusVersion: "14.1.0" },
            { placement: "spread" },
            { kmsKeyId: "arn:aws:kms:…" },
        ])
            assert.notEqual(hash, machineHash({ ...kind, ...change }), JSON.stringify(change));
    });

    test("one that is there and not as wanted", () => {
        assert.equal(hasOutdated([], []), false);
        assert.equal(hasOutdated(["i-1", "i-2"], ["i-2", "i-1"]), false);
        assert.equal(hasOutdated(["i-1", "i-2"], ["i-2"]), true);
        assert.equal(hasOutdated(["i-1"], []), true);
    });
});

describe("a value that is pinned", () => {
    test("is the first one until something else changes", async () => {
        const pinned = new PinnedKind();
        const { id, outs } = await pinned.create(ask(), { value: "ami-1", until: "a" });
        assert.deepEqual(outs, { value: "ami-1", until: "a", kept: "ami-1" });
        assert.deepEqual(await pinned.diff(ask(), id, outs, { value: "ami-2", until: "a" }), { changes: false });
        assert.deepEqual(await pinned.diff(ask(), id, outs, { value: "ami-2", until: "b" }), { changes: true });
        const updated = await pinned.update(ask(), id, outs, { value: "ami-2", until: "b" });
        assert.equal(updated.outs.kept, "ami-2");
    });
});

describe("policies", () => {
    const args: PolicyArgs = {
        region: "eu-central-1",
        account: "123456789012",
        bucket: "citus-prod-0123456789abcdef",
        base: "citus-prod-012345",
    };
    const key = "arn:aws:kms:eu-central-1:123456789012:key/11111111-2222-3333-4444-555555555555";
    const listed = { StringLike: { "s3:prefix": ["backups/*"] } };
    const least = (secret: string) => [
        {
            Sid: "ListBackups",
            Effect: "Allow",
            Action: ["s3:ListBucket"],
            Resource: ["arn:aws:s3:::citus-prod-0123456789abcdef"],
            Condition: listed,
        },
        {
            Sid: "Backups",
            Effect: "Allow",
            Action: [
                "s3:GetObject",
                "s3:PutObject",
                "s3:DeleteObject",
                "s3:AbortMultipartUpload",
                "s3:ListMultipartUploadParts",
            ],
            Resource: ["arn:aws:s3:::citus-prod-0123456789abcdef/backups/*"],
        },
        {
            Sid: "Bundle",
            Effect: "Allow",
            Action: ["s3:GetObject"],
            Resource: ["arn:aws:s3:::citus-prod-0123456789abcdef/bundle/*"],
        },
        {
            Sid: "OwnSecret",
            Effect: "Allow",
            Action: ["secretsmanager:GetSecretValue"],
            Resource: [`arn:aws:secretsmanager:eu-central-1:123456789012:secret:citus/citus-prod-012345/${secret}`],
        },
    ];

    test("each kind of node reads the secrets of its kind, its bucket, and nothing else", () => {
        assert.deepEqual(policyFor("coordinator", args), {
            Version: "2012-10-17",
            Statement: least("coordinator-??????"),
        });
        assert.deepEqual(policyFor("worker", args), { Version: "2012-10-17", Statement: least("worker-*") });
    });

    test("what more is used is allowed more", () => {
        const more = policyFor("worker", {
            ...args,
            origin: "old",
            kmsKeyId: key,
            logGroup: "/citus/citus-prod-012345",
        });
        const known = least("worker-*").map(({ Sid }) => Sid);
        assert.deepEqual(
            more.Statement.filter(({ Sid }) => !known.includes(Sid)),
            [
                {
                    Sid: "ListOrigin",
                    Effect: "Allow",
                    Action: ["s3:ListBucket"],
                    Resource: ["arn:aws:s3:::old"],
                    Condition: listed,
                },
                {
                    Sid: "Origin",
                    Effect: "Allow",
                    Action: ["s3:GetObject"],
                    Resource: ["arn:aws:s3:::old/backups/*"],
                },
                {
                    Sid: "Key",
                    Effect: "Allow",
                    Action: ["kms:Decrypt", "kms:GenerateDataKey"],
                    Resource: [key],
                    Condition: {
                        StringEquals: {
                            "kms:ViaService": [
                                "s3.eu-central-1.amazonaws.com",
                                "secretsmanager.eu-central-1.amazonaws.com",
                            ],
                        },
                    },
                },
                {
                    Sid: "Metrics",
                    Effect: "Allow",
                    Action: ["logs:CreateLogStream", "logs:PutLogEvents"],
                    Resource: ["arn:aws:logs:eu-central-1:123456789012:log-group:/citus/citus-prod-012345:*"],
                },
            ],
        );
        assert.ok(JSON.stringify(more).length < 10_240, "AWS' limit for inline policies of a role");
    });

    test("of another partition", () => {
        assert.equal(partitionOf("eu-central-1"), "aws");
        assert.equal(partitionOf("us-gov-west-1"), "aws-us-gov");
        for (const { Resource } of policyFor("worker", { ...args, region: "us-gov-west-1" }).Statement)
            for (const arn of Resource) assert.match(arn, /^arn:aws-us-gov:/);
    });

    test("EC2 gives the role to machines, and nobody else", () => {
        assert.deepEqual(trustPolicy(), {
            Version: "2012-10-17",
            Statement: [{ Effect: "Allow", Principal: { Service: "ec2.amazonaws.com" }, Action: "sts:AssumeRole" }],
        });
    });

    test("the bucket's own only refuses", () => {
        const { Statement } = tlsOnly("arn:aws:s3:::b") as { Statement: { Effect: string }[] };
        assert.deepEqual(
            Statement.map(({ Effect }) => Effect),
            ["Deny"],
        );
    });
});

test("the bucket has two parts", () => {
    assert.deepEqual(PREFIXES, { backups: "backups/", bundle: "bundle/" });
    assert.equal(bundleKey("abc"), "bundle/abc.tar");
});
