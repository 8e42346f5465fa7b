/** Configuration of the aws platform: what is accepted, and that every mistake is found at once and explained. */
import assert from "node:assert/strict";
import fc from "fast-check";
import { describe, test } from "vitest";
import { askAws } from "../../../components/config/ask.ts";
import {
    type ClusterArgs,
    type ConfigSource,
    explain,
    type Mistake,
    sourceOf,
    validate,
} from "../../../components/config/index.ts";
import type { InstanceType } from "../../../core/reach/aws/instanceTypes.ts";
import { formatCidr, parseCidr } from "../../../core/util/cidr.ts";

type Values = Readonly<Record<string, unknown>>;

const M7I: InstanceType = { memory: 8192, cores: 2, architectures: ["x86_64"] };
const REGION = "eu-central-1";
const KEY = `arn:aws:kms:${REGION}:123456789012:key/0a1b2c3d-1234-1234-1234-0a1b2c3d4e5f`;
const TOPIC = `arn:aws:sns:${REGION}:123456789012:alarms`;
const VPC = "vpc-0a1b2c3d4e5f60718";
const SUBNETS = ["subnet-0a1b2c3d4e5f60718", "subnet-0a1b2c3d"];

function sourceFor(values: Values, more: Partial<ConfigSource> = {}): ConfigSource {
    return {
        stack: "prod",
        values: { platform: "aws", ...values },
        aws: { region: REGION },
        instanceTypes: new Map([["m7i.large", M7I]]),
        ...more,
    };
}

function mistakesOf(values: Values, more: Partial<ConfigSource> = {}): Mistake[] {
    const result = validate(sourceFor(values, more));
    assert.ok("mistakes" in result, `accepted: ${JSON.stringify(values)}`);
    return result.mistakes;
}

function argsOf(values: Values, more: Partial<ConfigSource> = {}): ClusterArgs {
    const result = validate(sourceFor(values, more));
    assert.ok("args" in result, "mistakes" in result ? explain(result.mistakes) : "");
    return result.args;
}

/** Without keys that are there but undefined. */
const plain = (value: unknown) => JSON.parse(JSON.stringify(value));

const keys = (count: number) => Object.fromEntries(Array.from({ length: count }, (_, i) => [`key${i}`, "x"]));

/** Each: what is set, and for every mistake its path and parts of its message: the value got, what is allowed, what to do. */
const BAD: readonly [values: Values, ...mistakes: [path: string, ...parts: string[]][]][] = [
    // keys of the other platform
    [{ port: "5432" }, ["port", "only means something on docker", "got 5432", "listens on 5432", "take it away"]],
    [
        { image: "citusdata/citus:14.0.1-pg17" },
        ["image", "only means something on docker", 'got "citusdata', "citus:ami", "take it away"],
    ],
    [{ dockerHost: "ssh://x" }, ["dockerHost", "only means something on docker", 'got "ssh://x"', "take it away"]],
    [
        { port: "http", image: "x" },
        ["port", "only means something on docker"],
        ["image", "only means something on docker"],
    ],
    [
        { worker: { memory: "4GB", cores: 2 } },
        ["worker.memory", "only means something on docker", 'got "4GB"', "what instanceType has", "take it away"],
        ["worker.cores", "only means something on docker", "got 2", "those of instanceType"],
    ],
    [{ coordinator: '{"cores":4,"shards":true}' }, ["coordinator.cores", "only means something on docker", "got 4"]],
    // machines
    [
        { worker: { instanceType: "m7i" } },
        ["worker.instanceType", "an EC2 instance type", 'got "m7i"', "for example m7i.large"],
    ],
    [{ worker: { instanceType: "M7i.large" } }, ["worker.instanceType", "an EC2 instance type", 'got "M7i.large"']],
    [{ worker: { instanceType: "m7i.hugee" } }, ["worker.instanceType", "an EC2 instance type", 'got "m7i.hugee"']],
    [{ worker: { instanceType: "m7i.0xlarge" } }, ["worker.instanceType", "an EC2 instance type"]],
    [{ worker: { instanceType: "m7i.large " } }, ["worker.instanceType", "an EC2 instance type", 'got "m7i.large "']],
    [{ worker: { instanceType: 4 } }, ["worker.instanceType", "an EC2 instance type", "got 4"]],
    [{ worker: { instanceType: null } }, ["worker.instanceType", "an EC2 instance type", "got null"]],
    [
        { coordinator: { instanceType: "m7g.xlarge" }, worker: { instanceType: "r8gd.2xlarge" } },
        ["coordinator.instanceType", 'got "m7g.xlarge"', "arm64", "amd64 only so far", "the nearest is m7i.xlarge"],
        ["worker.instanceType", 'got "r8gd.2xlarge"', "arm64", "the nearest is r6id.2xlarge"],
    ],
    [
        { worker: { volumeSize: 9 } },
        ["worker.volumeSize", "a whole number from 10 to 65536", "got 9", "for example 100"],
    ],
    [{ worker: { volumeSize: 65_537 } }, ["worker.volumeSize", "from 10 to 65536", "got 65537"]],
    [{ worker: { volumeSize: "100GB" } }, ["worker.volumeSize", "a whole number", 'got "100GB"']],
    [{ worker: { iops: 2999 } }, ["worker.iops", "a whole number from 3000 to 80000", "got 2999", "for example 3000"]],
    [{ worker: { volumeSize: 1000, iops: 80_001 } }, ["worker.iops", "from 3000 to 80000", "got 80001"]],
    [
        { worker: { volumeSize: 10, iops: 5001 } },
        ["worker.iops", "at most 500 for each GiB", "got 5001 for 10 GiB", "at most 5000", "a volumeSize of 11"],
    ],
    [
        { coordinator: { iops: 60_000 } },
        ["coordinator.iops", "got 60000 for 100 GiB", "at most 50000", "a volumeSize of 120"],
    ],
    [{ worker: { throughput: 124 } }, ["worker.throughput", "a whole number from 125 to 2000", "got 124"]],
    [{ worker: { iops: 9000, throughput: 2001 } }, ["worker.throughput", "from 125 to 2000", "got 2001"]],
    [
        { worker: { throughput: 751 } },
        ["worker.throughput", "a quarter of iops", "got 751 MiB/s for 3000", "at most 750", "iops of 3004"],
    ],
    [
        { coordinator: { iops: 51_000, throughput: 20_000, volumeSize: 0 } },
        ["coordinator.throughput", "from 125 to 2000"],
        ["coordinator.volumeSize", "got 0"],
    ],
    [{ worker: { instancetype: "m7i.large" } }, ["worker", 'has no "instancetype"', "instanceType, volumeSize"]],
    // network
    [{ network: "vpc-1" }, ["network", "must be an object such as", 'got "vpc-1"']],
    [{ network: [] }, ["network", "must be an object such as", "got []"]],
    [{ network: null }, ["network", "must be an object such as", "got null"]],
    [{ network: { vpc: VPC } }, ["network", 'has no "vpc"', "it has vpcId, subnetIds, cidr, zones, egress"]],
    [
        { network: { vpcId: "vpc-xyz", subnetIds: SUBNETS } },
        ["network.vpcId", "the id of a VPC such as vpc-", 'got "vpc-xyz"'],
    ],
    [{ network: { vpcId: `${VPC}0`, subnetIds: SUBNETS } }, ["network.vpcId", "the id of a VPC"]],
    [
        { network: { vpcId: VPC } },
        ["network.subnetIds", `must name the subnets in "${VPC}"`, "got nothing", "one for each availability zone"],
    ],
    [{ network: { vpcId: VPC, subnetIds: [] } }, ["network.subnetIds", "must name the subnets", "got []"]],
    [{ network: { subnetIds: SUBNETS } }, ["network.vpcId", "must name the VPC of network.subnetIds", "got nothing"]],
    [
        { network: { vpcId: VPC, subnetIds: ["subnet-1", SUBNETS[0], SUBNETS[0], 5] } },
        ["network.subnetIds[0]", "the id of a subnet such as subnet-", 'got "subnet-1"'],
        ["network.subnetIds[2]", `names ${SUBNETS[0]} twice`, "remove one"],
        ["network.subnetIds[3]", "the id of a subnet", "got 5"],
    ],
    [
        { network: { vpcId: VPC, subnetIds: "subnet-1" } },
        ["network.subnetIds", "must be a list of subnets", 'got "subnet-1"', "for example"],
    ],
    [
        { network: { vpcId: VPC, subnetIds: SUBNETS, cidr: "10.0.0.0/16", zones: 2, egress: "nat" } },
        ["network.cidr", "only means something for a VPC that is made", 'got "10.0.0.0/16"', "take it away"],
        ["network.zones", "only means something for a VPC that is made", "got 2"],
        ["network.egress", "only means something for a VPC that is made", 'got "nat"'],
    ],
    [
        { network: { vpcId: VPC, subnetIds: SUBNETS }, azs: "single" },
        ["network.subnetIds", "one subnet with azs single", "got 2", "keep the one"],
    ],
    [
        { network: { vpcId: VPC, subnetIds: [SUBNETS[0]] }, azs: "spread" },
        ["azs", "must be single", 'got "spread"', "name more in network.subnetIds"],
    ],
    [{ network: { zones: 1 }, azs: "spread" }, ["azs", "must be single", "name more in network.zones"]],
    [{ network: { zones: 2 }, azs: "single" }, ["network.zones", "must be 1 with azs single", "got 2"]],
    [{ network: { zones: 0 } }, ["network.zones", "a whole number from 1 to 3", "got 0"]],
    [{ network: { zones: 4 } }, ["network.zones", "a whole number from 1 to 3", "got 4", "for example 3"]],
    [{ network: { egress: "igw" } }, ["network.egress", "one of nat, endpoints", 'got "igw"']],
    [
        { network: { cidr: "10.64.0.0" } },
        ["network.cidr", "private addresses", "from /16 to /22", 'got "10.64.0.0"', "10.64.0.0/16"],
    ],
    [{ network: { cidr: "10.0.0.0/8" } }, ["network.cidr", "from /16 to /22", 'got "10.0.0.0/8"']],
    [{ network: { cidr: "10.0.0.0/23" } }, ["network.cidr", "from /16 to /22", 'got "10.0.0.0/23"']],
    [{ network: { cidr: "11.0.0.0/16" } }, ["network.cidr", "private addresses (10.0.0.0/8", 'got "11.0.0.0/16"']],
    [{ network: { cidr: "172.32.0.0/16" } }, ["network.cidr", "private addresses", 'got "172.32.0.0/16"']],
    [{ network: { cidr: "fd00::/16" } }, ["network.cidr", "private addresses", 'got "fd00::/16"']],
    [
        { network: { cidr: "10.64.1.0/16" } },
        ["network.cidr", "first address", 'got "10.64.1.0/16"', "write 10.64.0.0/16"],
    ],
    [{ network: { cidr: 10 } }, ["network.cidr", "private addresses", "got 10"]],
    // who may connect
    [
        { network: { allowedCidrs: "203.0.113.0/24" } },
        ["network.allowedCidrs", "must be a list of address ranges", 'got "203.0.113.0/24"', '["203.0.113.0/24"]'],
    ],
    [
        { network: { allowedCidrs: ["203.0.113.7", "2001:db8::1", "x", 7] } },
        ["network.allowedCidrs[0]", "a range of addresses such as 203.0.113.7/32", 'got "203.0.113.7"'],
        ["network.allowedCidrs[1]", "such as 2001:db8::1/128", 'got "2001:db8::1"'],
        ["network.allowedCidrs[2]", "such as 203.0.113.0/24", 'got "x"'],
        ["network.allowedCidrs[3]", "such as 203.0.113.0/24", "got 7"],
    ],
    [
        { network: { allowedCidrs: ["203.0.113.7/24", "2001:db8::1/32"] } },
        ["network.allowedCidrs[0]", "first address of its range, 203.0.113.0/24", 'got "203.0.113.7/24"'],
        ["network.allowedCidrs[1]", "first address of its range, 2001:db8::/32", 'got "2001:db8::1/32"'],
    ],
    [{ network: { allowedCidrs: ["203.0.113.0/33"] } }, ["network.allowedCidrs[0]", "a range of addresses"]],
    [{ network: { allowedCidrs: ["203.0.113.0/08"] } }, ["network.allowedCidrs[0]", "a range of addresses"]],
    [{ network: { allowedCidrs: ["203.0.0113.0/24"] } }, ["network.allowedCidrs[0]", "a range of addresses"]],
    [
        { network: { allowedCidrs: ["203.0.113.0/24", "203.0.113.0/24"] } },
        ["network.allowedCidrs[1]", "names 203.0.113.0/24 twice", "remove one"],
    ],
    [
        { network: { allowedCidrs: ["0.0.0.0/0", "::/0"] } },
        ["network.allowedCidrs[0]", "the whole world", 'got "0.0.0.0/0"', "set network.openToTheWorld to true"],
        ["network.allowedCidrs[1]", "the whole world", 'got "::/0"', "name the ranges clients come from"],
    ],
    [
        { network: { allowedCidrs: ["0.0.0.0/1", "128.0.0.0/1"], openToTheWorld: false } },
        ["network.allowedCidrs[0]", "the whole world", 'got "0.0.0.0/1"'],
        ["network.allowedCidrs[1]", "the whole world", 'got "128.0.0.0/1"'],
    ],
    [{ network: { openToTheWorld: true } }, ["network.openToTheWorld", "allows nothing", "got true", "take it away"]],
    [
        { network: { allowedCidrs: ["203.0.113.0/24"], openToTheWorld: true } },
        ["network.openToTheWorld", "allows nothing", "take it away"],
    ],
    [{ network: { openToTheWorld: "yes" } }, ["network.openToTheWorld", "true or false", 'got "yes"']],
    [
        { network: { allowedCidrs: ["10.64.8.0/24"] } },
        [
            "network.allowedCidrs[0]",
            "must not overlap the nodes' own 10.64.0.0/16",
            'got "10.64.8.0/24"',
            "certificate",
        ],
    ],
    [
        { network: { cidr: "10.1.0.0/20", allowedCidrs: ["10.64.0.0/16", "10.0.0.0/8"] } },
        ["network.allowedCidrs[1]", "must not overlap the nodes' own 10.1.0.0/20", 'got "10.0.0.0/8"'],
    ],
    [
        { network: { allowedSecurityGroups: ["sg-1"] } },
        ["network.allowedSecurityGroups[0]", "the id of a security group such as sg-", 'got "sg-1"'],
    ],
    // the rest
    [{ azs: "both" }, ["azs", "must be one of spread, single", 'got "both"']],
    [{ connection: "ssh" }, ["connection", "must be one of ssm, direct", 'got "ssh"']],
    [{ ami: "ubuntu" }, ["ami", "the id of a machine image such as ami-", 'got "ubuntu"']],
    [{ ami: "ami-123" }, ["ami", "the id of a machine image", 'got "ami-123"']],
    [
        { kmsKeyId: "0a1b2c3d-1234-1234-1234-0a1b2c3d4e5f" },
        ["kmsKeyId", "the ARN of a KMS key", "for example arn:aws:kms"],
    ],
    [
        { kmsKeyId: `arn:aws:kms:${REGION}:123456789012:alias/citus` },
        ["kmsKeyId", "not an alias, which policies can't name", "alias/citus"],
    ],
    [
        { kmsKeyId: KEY.replace(REGION, "us-east-1") },
        ["kmsKeyId", "must be in eu-central-1", "one in us-east-1", "arn:aws:kms:us-east-1"],
    ],
    [{ alarmTopic: "alarms" }, ["alarmTopic", "the ARN of an SNS topic such as arn:aws:sns", 'got "alarms"']],
    [{ alarmTopic: TOPIC.replace("sns", "sqs") }, ["alarmTopic", "the ARN of an SNS topic"]],
    [{ alarmTopic: TOPIC.replace(REGION, "eu-west-1") }, ["alarmTopic", "must be in eu-central-1", "one in eu-west-1"]],
    [{ placement: "rack" }, ["placement", "must be one of none, spread, partition", 'got "rack"']],
    [
        { placement: "spread", workers: 21 },
        [
            "placement",
            "partition or none for 21 workers",
            'got "spread"',
            "7 nodes an availability zone",
            "would hold 8",
        ],
    ],
    [{ placement: "spread", workers: 7, azs: "single" }, ["placement", "for 7 workers", "one of 1 would hold 8"]],
    [
        { placement: "spread", workers: 14, network: { vpcId: VPC, subnetIds: SUBNETS } },
        ["placement", "one of 2 would hold 8"],
    ],
    [{ tags: "team" }, ["tags", "must be a map of tags", 'got "team"', '{"team": "orders"}']],
    [{ tags: ["team"] }, ["tags", "must be a map of tags", 'got ["team"]']],
    [{ tags: { Name: "x" } }, ["tags", 'has "Name", got "x"', "the cluster's own", "choose another key"]],
    [{ tags: { name: "x" } }, ["tags", 'has "name"', "choose another key"]],
    [{ tags: { "citus-node": "x" } }, ["tags", 'has "citus-node"', "choose another key"]],
    [{ tags: { "aws:x": "x" } }, ["tags", 'has "aws:x"', "AWS' own"]],
    [{ tags: { "AWS:x": "x" } }, ["tags", 'has "AWS:x"', "AWS' own"]],
    [{ tags: { "cost center": "x" } }, ["tags", 'has the key "cost center"', "1 to 128 letters", "instance metadata"]],
    [{ tags: { "a/b": "x" } }, ["tags", 'has the key "a/b"', "instance metadata"]],
    [{ tags: { "": "x" } }, ["tags", 'has the key ""']],
    [{ tags: { ["k".repeat(129)]: "x" } }, ["tags", "1 to 128 letters"]],
    [{ tags: { team: { a: 1 } } }, ["tags", "must give team a text", 'got {"a":1}', "for example"]],
    [{ tags: { team: "v".repeat(257) } }, ["tags", "a value for team", "up to 256"]],
    [{ tags: { team: "a;b" } }, ["tags", "a value for team", 'got "a;b"']],
    [{ tags: { team: "a", Team: "b" } }, ["tags", "has both team and Team", "keep one"]],
    [{ tags: keys(41) }, ["tags", "may hold 40 tags", "got 41", "AWS allows 50"]],
    [{ tags: { Name: "x", "a b": "y" } }, ["tags", 'has "Name"'], ["tags", 'has the key "a b"']],
    [{ name: "sg-orders" }, ["name", "must not begin with sg-", 'got "sg-orders"', "security groups"]],
    [{ name: "sthree-orders" }, ["name", "must not begin with sthree-", "buckets"]],
    [{ name: "xn--orders" }, ["name", "must not begin with xn--"]],
    [
        { restoreFrom: { repository: "citus_prod-backups" } },
        ["restoreFrom.repository", "the name of an S3 bucket", 'got "citus_prod-backups"'],
    ],
    [
        { restoreFrom: { repository: "citus-prod-0123456789abcdef", stack: "old" } },
        ["restoreFrom.repository", "names a bucket", 'a stack ("old")', "keep one"],
    ],
    [{ instanceType: "m7i.large" }, ["instanceType", "is not a setting of this project"]],
    [{ kmskeyid: KEY }, ["kmskeyid", "did you mean citus:kmsKeyId?"]],
    [{ alarmtopic: TOPIC }, ["alarmtopic", "did you mean citus:alarmTopic?"]],
];

function assertMistakes(mistakes: Mistake[], expected: readonly [path: string, ...parts: string[]][]): void {
    const text = explain(mistakes);
    assert.deepEqual(mistakes.map((m) => m.path).sort(), expected.map(([path]) => path).sort(), text);
    for (const [path, ...parts] of expected) {
        assert.ok(
            mistakes.some((m) => m.path === path && parts.every((part) => m.message.includes(part))),
            `${path}: ${parts.join(" … ")}\nnot in\n${text}`,
        );
    }
    for (const { message } of mistakes)
        assert.doesNotMatch(
            message,
            /Invalid (input|option|string)|Unrecognized|Too (big|small)|expected \w+, received/,
        );
}

describe("bad configurations on aws", () => {
    for (const [values, ...expected] of BAD)
        test(JSON.stringify(values).slice(0, 200), () => assertMistakes(mistakesOf(values), expected));

    test("all that has a path of its own, at once", () => {
        const values = {
            port: 1,
            coordinator: { instanceType: "t4g.small", memory: "1GB" },
            worker: { iops: 1, volumeSize: 1 },
            network: { zones: 9, allowedCidrs: ["0.0.0.0/0", "x"], egress: "x" },
            azs: "x",
            connection: "x",
            ami: "x",
            kmsKeyId: "x",
            placement: "x",
            alarmTopic: "x",
            tags: { Name: "x" },
            workers: -1,
        };
        const mistakes = mistakesOf(values, { aws: { region: "x", assumeRole: "{}" } });
        assert.deepEqual(mistakes.map(({ path }) => path).sort(), [
            "alarmTopic",
            "ami",
            "aws:assumeRole",
            "aws:region",
            "azs",
            "connection",
            "coordinator.instanceType",
            "coordinator.memory",
            "kmsKeyId",
            "network.allowedCidrs[0]",
            "network.allowedCidrs[1]",
            "network.egress",
            "network.zones",
            "placement",
            "port",
            "tags",
            "worker.iops",
            "worker.volumeSize",
            "workers",
        ]);
        const lines = explain(mistakes).split("\n");
        assert.ok(lines.some((line) => line.startsWith("  aws:region must be an AWS region")));
        assert.ok(lines.some((line) => line.startsWith("  citus:azs must be one of")));
    });
});

describe("keys of aws on docker", () => {
    const WRONG: Values = {
        network: { zones: 1 },
        azs: "single",
        connection: "ssm",
        ami: "ami-0a1b2c3d",
        kmsKeyId: KEY,
        placement: "none",
        alarmTopic: TOPIC,
        tags: { team: "orders" },
    };
    const onDocker = (values: Values) => {
        const result = validate({ stack: "dev", values });
        return "mistakes" in result ? result.mistakes : [];
    };

    for (const [key, value] of Object.entries(WRONG)) {
        test(`${key} is refused with the reason and what to do`, () => {
            for (const platform of [{}, { platform: "docker" }]) {
                const [mistake, ...more] = onDocker({ [key]: value, ...platform });
                assert.equal(more.length, 0);
                assert.equal(mistake?.path, key);
                assert.match(
                    mistake.message,
                    /^only means something on aws, got .+: .+ - take it away, or set citus:platform to aws$/,
                );
            }
        });
    }

    test("of machines too, and nothing else is said of them", () => {
        const machine = { instanceType: "x", volumeSize: -1, iops: 0, throughput: 0 };
        assert.deepEqual(
            onDocker({ coordinator: machine, worker: { ...machine, memory: "1GB" } })
                .map(({ path }) => path)
                .sort(),
            ["coordinator", "worker"].flatMap((part) =>
                ["instanceType", "iops", "throughput", "volumeSize"].map((key) => `${part}.${key}`),
            ),
        );
    });

    test("what Pulumi.yaml declares as their defaults is not set", () => {
        const empty = Object.fromEntries(
            Object.keys(WRONG).map((key) => [key, key === "network" || key === "tags" ? "{}" : ""]),
        );
        assert.deepEqual(onDocker(empty), []);
        assert.deepEqual(onDocker({ ...empty, network: {}, tags: {} }), []);
    });

    test("a region and other keys of the provider are nobody's concern", () => {
        assert.ok("args" in validate({ stack: "dev", values: {}, aws: { region: "x", assumeRole: "{}" } }));
    });

    test("nothing is said of them while the platform is not known", () => {
        assert.deepEqual(
            onDocker({ ...WRONG, platform: "gcp", port: 5432 }).map(({ path }) => path),
            ["platform"],
        );
    });
});

describe("region", () => {
    const place = (aws: Values, environment: Record<string, string> = {}) =>
        validate(sourceFor({}, { aws, environment }));

    test("aws:region, then AWS_REGION, then AWS_DEFAULT_REGION", () => {
        const environment = { AWS_REGION: "us-east-1", AWS_DEFAULT_REGION: "us-west-2" };
        for (const [aws, given, region] of [
            [{ region: REGION }, environment, REGION],
            [{}, environment, "us-east-1"],
            [{ region: "" }, { AWS_REGION: "", AWS_DEFAULT_REGION: "us-west-2" }, "us-west-2"],
        ] as const) {
            const result = place(aws, given);
            assert.ok("args" in result);
            assert.equal(result.args.aws?.region, region);
        }
    });

    test("one that is missing", () => {
        const result = place({});
        assert.ok("mistakes" in result);
        assertMistakes(result.mistakes, [
            ["aws:region", "must be set", "got nothing", "AWS_REGION", "pulumi config set aws:region eu-central-1"],
        ]);
    });

    for (const region of [
        "us-east-1",
        "ap-southeast-4",
        "us-gov-west-1",
        "il-central-1",
        "mx-central-1",
        "ap-northeast-3",
    ]) {
        test(`${region} is one`, () => assert.ok("args" in place({ region })));
    }

    for (const [region, ...parts] of [
        ["eu-central-1a", "an availability zone - its region is eu-central-1"],
        ["frankfurt", "must be an AWS region such as eu-central-1"],
        ["eu-centrall-1", "must be an AWS region"],
        ["EU-CENTRAL-1", "must be an AWS region"],
        ["eu-central", "must be an AWS region"],
        ["cn-north-1", "must be an AWS region", "China"],
    ] as const) {
        test(`${region} is none`, () => {
            const result = place({ region });
            assert.ok("mistakes" in result);
            assertMistakes(result.mistakes, [["aws:region", `got "${region}"`, ...parts]]);
        });
    }
});

describe("credentials", () => {
    test("aws:profile, then AWS_PROFILE", () => {
        assert.equal(argsOf({}).aws?.profile, undefined);
        assert.equal(argsOf({}, { environment: { AWS_PROFILE: "ops" } }).aws?.profile, "ops");
        assert.equal(
            argsOf({}, { aws: { region: REGION, profile: "prod" }, environment: { AWS_PROFILE: "ops" } }).aws?.profile,
            "prod",
        );
    });

    for (const [key, ...parts] of [
        ["assumeRole", "a profile with role_arn"],
        ["assumeRoles", "a profile with role_arn"],
        ["assumeRoleWithWebIdentity", "AWS_WEB_IDENTITY_TOKEN_FILE"],
        ["accessKey", "AWS_ACCESS_KEY_ID"],
        ["secretKey", "AWS_SECRET_ACCESS_KEY"],
        ["token", "AWS_SESSION_TOKEN"],
        ["sharedConfigFiles", "AWS_CONFIG_FILE"],
        ["sharedCredentialsFiles", "AWS_SHARED_CREDENTIALS_FILE"],
    ] as const) {
        test(`aws:${key} is refused, with what to do instead, and is not shown`, () => {
            const mistakes = mistakesOf({}, { aws: { region: REGION, [key]: "HIDDEN" } });
            assertMistakes(mistakes, [[`aws:${key}`, "only seen by Pulumi's provider", "take it away and", ...parts]]);
            assert.ok(!explain(mistakes).includes("HIDDEN"));
        });
    }

    test("two that differ are refused, because the provider and the SDK choose differently", () => {
        const environment = { AWS_PROFILE: "ops", AWS_ACCESS_KEY_ID: "AKIAEXAMPLE" };
        const mistakes = mistakesOf({}, { environment });
        assertMistakes(mistakes, [["aws:profile", 'AWS_PROFILE ("ops")', "AWS_ACCESS_KEY_ID", "unset one"]]);
        assert.ok(!explain(mistakes).includes("AKIAEXAMPLE"));
        assert.equal(argsOf({}, { aws: { region: REGION, profile: "ops" }, environment }).aws?.profile, "ops");
    });
});

describe("good configurations on aws", () => {
    const AWS = {
        region: REGION,
        network: {
            subnetIds: [],
            cidr: "10.64.0.0/16",
            zones: 3,
            egress: "nat",
            allowedCidrs: [],
            allowedSecurityGroups: [],
            openToTheWorld: false,
        },
        azs: "spread",
        connection: "ssm",
        placement: "none",
        tags: {},
    };
    const MACHINE = {
        memory: 7372,
        cores: 2,
        instanceType: "m7i.large",
        volumeSize: 100,
        iops: 3000,
        throughput: 125,
    };

    test("nothing set but platform and region gives the defaults", () => {
        const args = plain(argsOf({}));
        assert.equal(args.platform, "aws");
        assert.equal(args.protect, true);
        assert.deepEqual(args.aws, AWS);
        assert.deepEqual(args.coordinator, { ...MACHINE, shards: false });
        assert.deepEqual(args.worker, MACHINE);
        assert.deepEqual(
            Object.keys(args).filter((key) => Object.hasOwn(AWS, key) && key !== "aws"),
            [],
        );
    });

    test("on docker nothing of it is there", () => {
        const result = validate({ stack: "dev", values: {} });
        assert.ok("args" in result);
        assert.deepEqual(plain(result.args.worker), { memory: 1024, cores: 2 });
        assert.ok(!Object.hasOwn(result.args, "aws"));
    });

    const good: readonly [what: string, values: Values, changed: object][] = [
        [
            "subnets that are there",
            { network: { vpcId: VPC, subnetIds: SUBNETS } },
            { network: { ...AWS.network, vpcId: VPC, subnetIds: SUBNETS } },
        ],
        [
            "one subnet that is there",
            { network: JSON.stringify({ vpcId: VPC, subnetIds: [SUBNETS[0]] }), azs: "single" },
            { azs: "single", network: { ...AWS.network, vpcId: VPC, subnetIds: [SUBNETS[0]], zones: 1 } },
        ],
        ["a single zone", { azs: "single" }, { azs: "single", network: { ...AWS.network, zones: 1 } }],
        ["one zone", { network: { zones: 1 } }, { network: { ...AWS.network, zones: 1 } }],
        [
            "who may connect",
            {
                network: {
                    allowedCidrs: ["10.0.0.0/10", "203.0.113.7/32", "2001:db8::/32", "fc00::/7"],
                    allowedSecurityGroups: ["sg-0a1b2c3d"],
                },
            },
            {
                network: {
                    ...AWS.network,
                    allowedCidrs: ["10.0.0.0/10", "203.0.113.7/32", "2001:db8::/32", "fc00::/7"],
                    allowedSecurityGroups: ["sg-0a1b2c3d"],
                },
            },
        ],
        [
            "the whole world, as it was asked for",
            { network: { allowedCidrs: ["0.0.0.0/0", "::/0"], openToTheWorld: true } },
            { network: { ...AWS.network, allowedCidrs: ["0.0.0.0/0", "::/0"], openToTheWorld: true } },
        ],
        [
            "in a VPC that is there the nodes' own range is not known",
            { network: { vpcId: VPC, subnetIds: SUBNETS, allowedCidrs: ["10.64.0.0/16"] } },
            { network: { ...AWS.network, vpcId: VPC, subnetIds: SUBNETS, allowedCidrs: ["10.64.0.0/16"] } },
        ],
        [
            "another range",
            { network: { cidr: "172.16.4.0/22" } },
            { network: { ...AWS.network, cidr: "172.16.4.0/22" } },
        ],
        ["no NAT", { network: { egress: "endpoints" } }, { network: { ...AWS.network, egress: "endpoints" } }],
        ["a direct connection", { connection: "direct" }, { connection: "direct" }],
        ["an image", { ami: "ami-0a1b2c3d4e5f60718" }, { ami: "ami-0a1b2c3d4e5f60718" }],
        ["a key and a topic", { kmsKeyId: KEY, alarmTopic: TOPIC }, { kmsKeyId: KEY, alarmTopic: TOPIC }],
        [
            "a multi-region key",
            { kmsKeyId: `arn:aws:kms:${REGION}:123456789012:key/mrk-${"0a".repeat(16)}` },
            { kmsKeyId: `arn:aws:kms:${REGION}:123456789012:key/mrk-${"0a".repeat(16)}` },
        ],
        ["20 workers spread over 3 zones", { placement: "spread", workers: 20 }, { placement: "spread" }],
        ["200 workers in partitions", { placement: "partition", workers: 200 }, { placement: "partition" }],
        [
            "tags",
            { tags: { team: "orders & more".replace("&", "+"), CostCenter: 4711, keep: true, empty: "" } },
            { tags: { team: "orders + more", CostCenter: "4711", keep: "true", empty: "" } },
        ],
        ["40 tags", { tags: keys(40) }, { tags: keys(40) }],
        ["an empty text is not set", { azs: "", connection: "", ami: "", port: "", image: "", network: "{}" }, {}],
    ];
    for (const [what, values, changed] of good)
        test(what, () => assert.deepEqual(plain(argsOf(values)).aws, { ...AWS, ...changed }));

    for (const [what, machine] of [
        ["the smallest volume with what comes with it", { volumeSize: 10, iops: 3000, throughput: 750 }],
        ["the largest volume", { volumeSize: 65_536, iops: 80_000, throughput: 2000 }],
        ["as many iops as the size allows", { volumeSize: 10, iops: 5000, throughput: 1250 }],
    ] as const)
        test(what, () => assert.deepEqual(plain(argsOf({ worker: machine })).worker, { ...MACHINE, ...machine }));

    test("a bucket to restore from", () => {
        const restoreFrom = { repository: "citus-prod-0123456789abcdef", point: "latest" };
        assert.equal(argsOf({ restoreFrom }).restoreFrom?.repository, restoreFrom.repository);
    });

    test("the longest name makes names that AWS takes", () => {
        const { name } = argsOf({ name: "x".repeat(40) });
        assert.ok(`${name}-0123456789abcdef`.length <= 63, "bucket");
        assert.ok(`${name}-012345-coordinator`.length <= 64, "role");
        assert.ok(`citus/${name}-012345/worker-255`.length <= 512, "secret");
    });
});

describe("machine sizes", () => {
    const R7I: InstanceType = { memory: 65_536, cores: 8, architectures: ["i386", "x86_64"] };

    test("a tenth of the memory is the system's", () => {
        const values = { worker: { instanceType: "r7i.2xlarge" } };
        const instanceTypes = new Map([
            ["m7i.large", M7I],
            ["r7i.2xlarge", R7I],
        ]);
        const { coordinator, worker } = argsOf(values, { instanceTypes });
        assert.deepEqual([worker.memory, worker.cores], [58_982, 8]);
        assert.deepEqual([coordinator.memory, coordinator.cores], [7372, 2]);
    });

    test("nobody asked: there are none", () => {
        const result = validate({ stack: "prod", values: { platform: "aws" }, aws: { region: REGION } });
        assert.ok("args" in result);
        assert.deepEqual([result.args.worker.memory, result.args.worker.cores], [0, 0]);
    });

    test("one that the region does not have, beside other mistakes", () => {
        const instanceTypes = new Map([["m7i.large", { problem: "must be one that eu-central-1 has" }]]);
        assertMistakes(mistakesOf({ azs: "x" }, { instanceTypes }), [
            ["azs", "must be one of"],
            ["coordinator.instanceType", "must be one that eu-central-1 has"],
            ["worker.instanceType", "must be one that eu-central-1 has"],
        ]);
    });

    test("one whose name does not tell that it is arm64", () => {
        const values = { worker: { instanceType: "new9.large" } };
        const instanceTypes = new Map([["new9.large", { ...M7I, architectures: ["arm64"] }]]);
        assertMistakes(mistakesOf(values, { instanceTypes }), [
            [
                "worker.instanceType",
                "must be an x86_64 type",
                'got "new9.large"',
                "arm64 in eu-central-1",
                "amd64 only",
            ],
        ]);
    });
});

describe("what AWS is asked", () => {
    const ask = (answer: string | undefined = undefined) => {
        const asked: unknown[] = [];
        return {
            asked,
            credentialsProblem: async (place: unknown) => {
                asked.push(place);
                return answer;
            },
            describeInstanceType: async (name: string, region: string) => {
                asked.push(`${name} in ${region}`);
                return M7I;
            },
        };
    };
    const source = (values: Values, aws: Values = { region: REGION }) => ({ stack: "prod", values, aws });

    test("nothing on docker", async () => {
        const asking = ask();
        const docker = source({ azs: "x" });
        assert.deepEqual(await askAws(docker, asking), { source: docker, mistakes: [] });
        assert.deepEqual(asking.asked, []);
    });

    test("nothing without a region", async () => {
        const asking = ask();
        for (const aws of [{}, { region: "x" }]) await askAws(source({ platform: "aws" }, aws), asking);
        assert.deepEqual(asking.asked, []);
    });

    test("credentials first, then each type once, and no type that is wrong by its name", async () => {
        const asking = ask();
        const values = {
            platform: "aws",
            coordinator: { instanceType: "m7g.large" },
            worker: '{"instanceType":"r7i.large"}',
        };
        const { source: found, mistakes } = await askAws(source(values, { region: REGION, profile: "ops" }), asking);
        assert.deepEqual(asking.asked, [{ region: REGION, profile: "ops" }, "r7i.large in eu-central-1"]);
        assert.deepEqual(mistakes, []);
        assert.deepEqual([...(found.instanceTypes ?? [])], [["r7i.large", M7I]]);

        const both = ask();
        await askAws(source({ platform: "aws" }), both);
        assert.deepEqual(both.asked, [{ region: REGION }, "m7i.large in eu-central-1"]);
    });

    test("without credentials nothing more is asked", async () => {
        const asking = ask("must lead to AWS credentials");
        const { source: found, mistakes } = await askAws(source({ platform: "aws" }), asking);
        assert.deepEqual(mistakes, [{ path: "aws:profile", message: "must lead to AWS credentials" }]);
        assert.equal(found.instanceTypes, undefined);
        assert.equal(asking.asked.length, 1);
    });
});

describe("what Pulumi has", () => {
    test("keys of both namespaces, and nothing of others", () => {
        const config = {
            "citus:workers": "3",
            "aws:region": REGION,
            "awsx:region": "x",
            "pulumi:x": "y",
            "other:workers": "9",
        };
        const source = sourceOf("prod", config, ["citus:backupPassphrase", "aws:token", "other:x"]);
        assert.deepEqual(
            [source.stack, source.values, source.aws, source.secrets],
            ["prod", { workers: "3" }, { region: REGION }, ["backupPassphrase"]],
        );
        assert.equal(source.environment, process.env);
        assert.equal(sourceOf("prod", config).secrets, undefined);
    });
});

describe("ranges", () => {
    /** A range whose address is the first one. */
    const range = fc.tuple(fc.nat(0xff_ff_ff_ff), fc.integer({ min: 8, max: 32 })).map(([address, prefix]) => {
        const first = Number((BigInt(address) >> BigInt(32 - prefix)) << BigInt(32 - prefix));
        return {
            first,
            last: first + 2 ** (32 - prefix) - 1,
            text: `${[24, 16, 8, 0].map((s) => (first >>> s) & 255).join(".")}/${prefix}`,
        };
    });

    test("any that shares an address with the nodes' own is refused, and any other taken", () => {
        const [low, high] = [0x0a_40_00_00, 0x0a_40_ff_ff];
        fc.assert(
            fc.property(
                fc.oneof(
                    range,
                    range.filter((r) => r.first <= high && r.last >= low),
                ),
                ({ first, last, text }) => {
                    const result = validate(sourceFor({ network: { allowedCidrs: [text] } }));
                    const shared = first <= high && last >= low;
                    assert.deepEqual(
                        "mistakes" in result ? result.mistakes.map(({ path }) => path) : [],
                        shared ? ["network.allowedCidrs[0]"] : [],
                    );
                },
            ),
        );
    });

    test("any with host bits is answered with the one that was meant", () => {
        fc.assert(
            fc.property(fc.nat(0xff_ff_ff_ff), fc.integer({ min: 8, max: 31 }), (address, prefix) => {
                const text = `${[24, 16, 8, 0].map((s) => (address >>> s) & 255).join(".")}/${prefix}`;
                const parsed = parseCidr(text);
                assert.ok(parsed);
                const meant = parseCidr(formatCidr(parsed));
                assert.deepEqual(meant, { ...parsed, hostBits: false });
                assert.equal(parsed.hostBits, formatCidr(parsed) !== text);
                assert.ok(parsed.first <= BigInt(address) && BigInt(address) <= parsed.last);
            }),
        );
    });

    test("IPv6 in each of its spellings", () => {
        for (const [text, written] of [
            ["2001:DB8:0:0:0:0:0:0/32", "2001:db8::/32"],
            ["::/0", "::/0"],
            ["::1/128", "::1/128"],
            ["::ffff:10.0.0.1/128", "::ffff:10.0.0.1/128"],
            ["fe80::1:0:0:1/127", "fe80::1:0:0:0/127"],
        ] as const) {
            const parsed = parseCidr(text);
            assert.ok(parsed, text);
            assert.deepEqual(parseCidr(formatCidr(parsed)), { ...parsed, hostBits: false });
            assert.equal(formatCidr(parsed).toLowerCase(), formatCidr(parseCidr(written) ?? parsed));
        }
    });

    test("no text makes it fail", () => {
        fc.assert(
            fc.property(fc.oneof(fc.string(), fc.ipV6(), fc.ipV4()), (text) => {
                parseCidr(text);
                parseCidr(`${text}/24`);
            }),
        );
    });
});
