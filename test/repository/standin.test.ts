/** The stand-in for aws refuses what AWS would, says what replaces, and names things as the provider does. */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, test } from "vitest";
import { type Machines, paper } from "../rehearsal/provider/machines.ts";
import { Provider } from "../rehearsal/provider/provider.ts";
import { type Props, UNKNOWN } from "../rehearsal/provider/values.ts";
import { emptyWorld, readWorld, writeWorld } from "../rehearsal/provider/world.ts";

const dir = mkdtempSync(join(tmpdir(), "standin-"));
const file = join(dir, "world.json");
const provider = new Provider(paper);

beforeAll(() => {
    process.env.STANDIN_WORLD = file;
    provider.configure({ region: "eu-central-1", accessKey: "a" });
});
beforeEach(() => writeWorld(file, emptyWorld()));
afterAll(() => rmSync(dir, { recursive: true }));

const VPC = "aws:ec2/vpc:Vpc";
const SUBNET = "aws:ec2/subnet:Subnet";
const GROUP = "aws:ec2/securityGroup:SecurityGroup";
const INGRESS = "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule";
const ENDPOINT = "aws:ec2/vpcEndpoint:VpcEndpoint";
const INSTANCE = "aws:ec2/instance:Instance";
const VOLUME = "aws:ebs/volume:Volume";
const ATTACHMENT = "aws:ec2/volumeAttachment:VolumeAttachment";
const ROLE = "aws:iam/role:Role";
const ROLE_POLICY = "aws:iam/rolePolicy:RolePolicy";
const PROFILE = "aws:iam/instanceProfile:InstanceProfile";
const BUCKET = "aws:s3/bucket:Bucket";
const OBJECT = "aws:s3/bucketObjectv2:BucketObjectv2";
const ZONE = "aws:route53/zone:Zone";
const RECORD = "aws:route53/record:Record";
const SECRET = "aws:secretsmanager/secret:Secret";
const VERSION = "aws:secretsmanager/secretVersion:SecretVersion";
const ALARM = "aws:cloudwatch/metricAlarm:MetricAlarm";
const LOG_GROUP = "aws:cloudwatch/logGroup:LogGroup";

function check(type: string, inputs: Props, olds: Props = {}, seed = "seed"): Props {
    const { inputs: checked, failures } = provider.check(type, "thing", olds, inputs, Buffer.from(seed));
    if (failures.length > 0) throw new Error(failures.map((f) => `${f.property}: ${f.reason}`).join("\n"));
    return checked;
}

const make = async (type: string, inputs: Props) => provider.create(type, check(type, inputs), false);

async function change(type: string, id: string, olds: Props, news: Props): Promise<Props> {
    return provider.update(type, id, olds, olds, check(type, news, olds), false);
}

const ami = "ami-0a20000000000aaa2";

/** A VPC with two subnets, and what an instance needs. */
async function place() {
    const vpc = await make(VPC, { cidrBlock: "10.0.0.0/16", enableDnsHostnames: true });
    const zone = (letter: string, third: number) =>
        make(SUBNET, {
            vpcId: vpc.id,
            cidrBlock: `10.0.${third}.0/24`,
            availabilityZone: `eu-central-1${letter}`,
        });
    const [a, b] = [await zone("a", 1), await zone("b", 2)];
    return { vpc, a, b, instance: { ami, instanceType: "m7i.large", subnetId: a.id } };
}

const trust = JSON.stringify({
    Version: "2012-10-17",
    Statement: [{ Effect: "Allow", Action: "sts:AssumeRole", Principal: { Service: "ec2.amazonaws.com" } }],
});
const rights = (action = "s3:GetObject", resource = "arn:aws:s3:::b/*") =>
    JSON.stringify({ Version: "2012-10-17", Statement: [{ Effect: "Allow", Action: action, Resource: resource }] });

type Place = Awaited<ReturnType<typeof place>>;

const refused: readonly (readonly [
    title: string,
    type: string,
    inputs: Props | ((found: Place) => Props),
    reason: RegExp,
])[] = [
    ["an instance without an image", INSTANCE, (p) => ({ ...p.instance, ami: undefined }), /MissingParameter/],
    [
        "an image that does not exist",
        INSTANCE,
        (p) => ({ ...p.instance, ami: "ami-0123456789abcdef0" }),
        /InvalidAMIID.NotFound/,
    ],
    [
        "an image of another architecture",
        INSTANCE,
        (p) => ({ ...p.instance, instanceType: "m7g.large" }),
        /architecture/,
    ],
    ["an unknown instance type", INSTANCE, (p) => ({ ...p.instance, instanceType: "m7i.hugee" }), /m7i.hugee/],
    ["user data twice", INSTANCE, (p) => ({ ...p.instance, userData: "a", userDataBase64: "YQ==" }), /conflicts/],
    ["user data over 16384 bytes", INSTANCE, (p) => ({ ...p.instance, userData: "ä".repeat(8193) }), /16384/],
    [
        "decoded user data over 16384 bytes",
        INSTANCE,
        (p) => ({ ...p.instance, userDataBase64: Buffer.alloc(16385).toString("base64") }),
        /16384/,
    ],
    [
        "httpTokens of another value",
        INSTANCE,
        (p) => ({ ...p.instance, metadataOptions: { httpTokens: "requird" } }),
        /requird/,
    ],
    [
        "a misspelt nested name",
        INSTANCE,
        (p) => ({ ...p.instance, metadataOptions: { httpToken: "required" } }),
        /no such argument/,
    ],
    ["a misspelt name", INSTANCE, (p) => ({ ...p.instance, instancetype: "m7i.large" }), /no such argument/],
    [
        "a value where a list is wanted",
        INSTANCE,
        (p) => ({ ...p.instance, vpcSecurityGroupIds: "sg-1" }),
        /a list is wanted/,
    ],
    [
        "a profile that does not exist",
        INSTANCE,
        (p) => ({ ...p.instance, iamInstanceProfile: "none" }),
        /Invalid IAM Instance Profile/,
    ],
    ["no subnet", INSTANCE, (p) => ({ ...p.instance, subnetId: undefined }), /VPCIdNotSpecified/],
    [
        "tag keys that instance metadata can't show",
        INSTANCE,
        (p) => ({ ...p.instance, tags: { "a b": "" }, metadataOptions: { instanceMetadataTags: "enabled" } }),
        /not a valid tag key/,
    ],
    ["a volume without size", VOLUME, { availabilityZone: "eu-central-1a" }, /size/],
    ["a volume of another type", VOLUME, { availabilityZone: "eu-central-1a", size: 1, type: "gp4" }, /gp4/],
    ["a volume in no zone", VOLUME, { availabilityZone: "eu-central-1z", size: 1 }, /InvalidZone/],
    [
        "too many IOPS for a size",
        VOLUME,
        { availabilityZone: "eu-central-1a", size: 10, type: "gp3", iops: 9000 },
        /500 IOPS/,
    ],
    ["a subnet outside its VPC", SUBNET, (p) => ({ vpcId: p.vpc.id, cidrBlock: "10.1.0.0/24" }), /InvalidSubnet.Range/],
    ["subnets that overlap", SUBNET, (p) => ({ vpcId: p.vpc.id, cidrBlock: "10.0.0.0/23" }), /InvalidSubnet.Conflict/],
    ["a block that is none", SUBNET, (p) => ({ vpcId: p.vpc.id, cidrBlock: "10.0.1.7/24" }), /CIDR/],
    [
        "an endpoint of another region",
        ENDPOINT,
        (p) => ({ vpcId: p.vpc.id, serviceName: "com.amazonaws.us-east-1.s3" }),
        /InvalidServiceName/,
    ],
    ["a role's name over 64 characters", ROLE, { name: "r".repeat(65), assumeRolePolicy: trust }, /64/],
    ["a trust policy that is no JSON", ROLE, { name: "r", assumeRolePolicy: "{" }, /MalformedPolicyDocument/],
    [
        "a policy without resources that are ARNs",
        ROLE_POLICY,
        { role: "r", policy: rights("s3:GetObject", "bucket") },
        /ARN/,
    ],
    ["an action of no service", ROLE_POLICY, { role: "r", policy: rights("GetObject") }, /vendor/],
    ["a policy of a role that does not exist", ROLE_POLICY, { role: "r", policy: rights() }, /NoSuchEntity/],
    ["a profile's name over 128 characters", PROFILE, { name: "p".repeat(129) }, /128/],
    ["a bucket in capitals", BUCKET, { bucket: "Bucket" }, /InvalidBucketName/],
    ["a bucket's name over 63 characters", BUCKET, { bucket: "b".repeat(64) }, /InvalidBucketName/],
    ["an object in no bucket", OBJECT, { bucket: "none", key: "k", content: "" }, /NoSuchBucket/],
    ["a zone that is no domain", ZONE, { name: "a b" }, /InvalidDomainName/],
    ["a record without ttl", RECORD, { zoneId: "Z", name: "a", type: "A", records: ["10.0.0.1"] }, /ttl/],
    ["a record of no address", RECORD, { zoneId: "Z", name: "a", type: "A", ttl: 1, records: ["host"] }, /IPv4/],
    ["a secret's name with a space", SECRET, { name: "a b" }, /ValidationException/],
    ["a version of no secret", VERSION, { secretId: "s", secretString: "x" }, /ResourceNotFoundException/],
    ["a secret over 64 KiB", VERSION, { secretId: "s", secretString: "x".repeat(65537) }, /65536/],
    ["an alarm that compares otherwise", ALARM, { comparisonOperator: "Over", evaluationPeriods: 1 }, /Over/],
    ["a log group kept for eleven days", LOG_GROUP, { retentionInDays: 11 }, /11/],
    ["a tag key of AWS' own", VPC, { cidrBlock: "10.9.0.0/16", tags: { "aws:x": "" } }, /tag key/],
];

for (const [title, type, inputs, reason] of refused)
    test(`refused: ${title}`, async () => {
        const values = typeof inputs === "function" ? inputs(await place()) : inputs;
        await assert.rejects(make(type, values), reason);
    });

test("an unknown type or function is an error", async () => {
    assert.throws(() => check("aws:rds/instance:Instance", {}), /does not know the resource type/);
    await assert.rejects(provider.invoke("aws:kms/getKey:getKey", {}), /does not know the function/);
});

test("security group rules need one source, and there are no two alike", async () => {
    const { vpc } = await place();
    const group = await make(GROUP, { vpcId: vpc.id, name: "g" });
    const rule = { securityGroupId: group.id, ipProtocol: "tcp", fromPort: 5432, toPort: 5432 };
    await assert.rejects(make(INGRESS, rule), /exactly one of/);
    await assert.rejects(
        make(INGRESS, { ...rule, cidrIpv4: "0.0.0.0/0", referencedSecurityGroupId: "sg" }),
        /exactly one/,
    );
    await make(INGRESS, { ...rule, referencedSecurityGroupId: group.id });
    await assert.rejects(
        make(INGRESS, { ...rule, referencedSecurityGroupId: group.id }),
        /InvalidPermission.Duplicate/,
    );
    await assert.rejects(make(INGRESS, { ...rule, referencedSecurityGroupId: "sg-1" }), /InvalidGroup.NotFound/);
    await assert.rejects(provider.remove(VPC, vpc.id, {}), /DependencyViolation/);
});

test("a volume is attached once, in its zone, and only let go when the machine stands still", async () => {
    const { instance, b } = await place();
    const machine = await make(INSTANCE, instance);
    const other = await make(INSTANCE, { ...instance, subnetId: b.id });
    const volume = await make(VOLUME, { availabilityZone: "eu-central-1a", size: 10, type: "gp3" });
    const attachment = { deviceName: "/dev/sdf", volumeId: volume.id };
    await assert.rejects(make(ATTACHMENT, { ...attachment, instanceId: other.id }), /InvalidVolume.ZoneMismatch/);
    const attached = await make(ATTACHMENT, { ...attachment, instanceId: machine.id });
    await assert.rejects(make(ATTACHMENT, { ...attachment, instanceId: machine.id }), /VolumeInUse/);
    await assert.rejects(provider.remove(VOLUME, volume.id, {}), /VolumeInUse/);
    await assert.rejects(provider.remove(ATTACHMENT, attached.id, {}), /busy/);
    await provider.remove(ATTACHMENT, attached.id, { stopInstanceBeforeDetaching: true });
    assert.equal((await provider.read(INSTANCE, machine.id, {}))?.outputs.instanceState, "stopped");
    await assert.rejects(
        change(VOLUME, volume.id, { ...volume.outputs }, { availabilityZone: "eu-central-1a", size: 9 }),
        /smaller/,
    );
    await change(VOLUME, volume.id, { size: 10 }, { availabilityZone: "eu-central-1a", size: 20 });
    await provider.remove(VOLUME, volume.id, {});
});

test("an instance that must not be terminated is only by forceDestroy", async () => {
    const { instance } = await place();
    const machine = await make(INSTANCE, { ...instance, disableApiTermination: true });
    await assert.rejects(provider.remove(INSTANCE, machine.id, machine.outputs), /OperationNotPermitted/);
    await provider.remove(INSTANCE, machine.id, { forceDestroy: true });
    assert.equal(await provider.read(INSTANCE, machine.id, {}), undefined);
});

test("addresses come from the subnet, and a new machine gets another", async () => {
    const { instance } = await place();
    const first = await make(INSTANCE, instance);
    await provider.remove(INSTANCE, first.id, {});
    const second = await make(INSTANCE, instance);
    assert.deepEqual([first.outputs.privateIp, second.outputs.privateIp], ["10.0.1.4", "10.0.1.5"]);
    await assert.rejects(make(INSTANCE, { ...instance, privateIp: "10.0.1.5" }), /InvalidIPAddress.InUse/);
});

test("a bucket with objects and a zone with records stay, unless forced", async () => {
    const { vpc } = await place();
    const bucket = await make(BUCKET, { bucket: "b-1" });
    await make(OBJECT, { bucket: bucket.id, key: "k", content: "x" });
    await assert.rejects(provider.remove(BUCKET, bucket.id, {}), /BucketNotEmpty/);
    await provider.remove(BUCKET, bucket.id, { forceDestroy: true });
    const zone = await make(ZONE, { name: "c.node", vpcs: [{ vpcId: vpc.id }] });
    await assert.rejects(make(ZONE, { name: "c.node", vpcs: [{ vpcId: vpc.id }] }), /ConflictingDomainExists/);
    const record = { zoneId: zone.id, type: "A", ttl: 10, records: ["10.0.0.1"] };
    await assert.rejects(make(RECORD, { ...record, name: "a.other.example" }), /not permitted in zone/);
    const made = await make(RECORD, { ...record, name: "worker-1" });
    assert.equal(made.outputs.fqdn, "worker-1.c.node");
    await assert.rejects(make(RECORD, { ...record, name: "worker-1.c.node" }), /already exists/);
    await assert.rejects(provider.remove(ZONE, zone.id, {}), /HostedZoneNotEmpty/);
});

test("a secret's name is taken while it exists and while it can be recovered", async () => {
    const secret = await make(SECRET, { name: "citus/x" });
    await assert.rejects(make(SECRET, { name: "citus/x" }), /ResourceExistsException/);
    await provider.remove(SECRET, secret.id, { recoveryWindowInDays: 30 });
    await assert.rejects(make(SECRET, { name: "citus/x" }), /scheduled for deletion/);
    const other = await make(SECRET, { name: "citus/y" });
    const [one, two] = [
        await make(VERSION, { secretId: other.id, secretString: "1" }),
        await make(VERSION, { secretId: other.id, secretString: "2" }),
    ];
    assert.deepEqual((await provider.read(VERSION, one.id, {}))?.outputs.versionStages, ["AWSPREVIOUS"]);
    assert.deepEqual((await provider.read(VERSION, two.id, {}))?.outputs.versionStages, ["AWSCURRENT"]);
    await provider.remove(SECRET, other.id, { recoveryWindowInDays: 0 });
    await make(SECRET, { name: "citus/y" });
});

test("a role's inline policies have 10240 bytes together", async () => {
    await make(ROLE, { name: "r", assumeRolePolicy: trust });
    const long = rights("s3:GetObject", `arn:aws:s3:::${"b".repeat(6000)}`);
    await make(ROLE_POLICY, { role: "r", name: "one", policy: long });
    await assert.rejects(make(ROLE_POLICY, { role: "r", name: "two", policy: long }), /10240/);
    await assert.rejects(provider.remove(ROLE, "r", {}), /DeleteConflict/);
});

test("private DNS of an endpoint needs DNS in the VPC", async () => {
    const vpc = await make(VPC, { cidrBlock: "10.0.0.0/16" });
    const endpoint = {
        vpcId: vpc.id,
        serviceName: "com.amazonaws.eu-central-1.ssm",
        vpcEndpointType: "Interface",
        privateDnsEnabled: true,
    };
    await assert.rejects(make(ENDPOINT, endpoint), /enableDnsHostnames/);
    await change(VPC, vpc.id, {}, { cidrBlock: "10.0.0.0/16", enableDnsHostnames: true });
    await make(ENDPOINT, endpoint);
    await assert.rejects(make(ENDPOINT, endpoint), /conflicting DNS domain/);
});

test("a name is made once, from the engine's seed, and kept", () => {
    const named = check(ROLE, { assumeRolePolicy: trust });
    assert.match(String(named.name), /^thing-[0-9a-f]{7}$/);
    assert.deepEqual(check(ROLE, { assumeRolePolicy: trust }), named);
    assert.equal(check(ROLE, { assumeRolePolicy: trust }, named, "other").name, named.name);
    assert.notEqual(check(ROLE, { assumeRolePolicy: trust }, {}, "other").name, named.name);
});

const replacing: readonly (readonly [type: string, olds: Props, news: Props, replaces: string[], changes: string[]])[] =
    [
        [INSTANCE, { ami: "a", instanceType: "x" }, { ami: "b", instanceType: "y" }, ["ami"], ["ami", "instanceType"]],
        [INSTANCE, { userData: "a" }, { userData: "b" }, [], ["userData"]],
        [
            INSTANCE,
            { userData: "a" },
            { userData: "b", userDataReplaceOnChange: true },
            ["userData"],
            ["userData", "userDataReplaceOnChange"],
        ],
        [
            INSTANCE,
            { rootBlockDevice: { volumeSize: 8, encrypted: true } },
            { rootBlockDevice: { volumeSize: 9, encrypted: false } },
            ["rootBlockDevice.encrypted"],
            ["rootBlockDevice.volumeSize", "rootBlockDevice.encrypted"],
        ],
        [INSTANCE, { vpcSecurityGroupIds: ["a", "b"] }, { vpcSecurityGroupIds: ["b", "a"] }, [], []],
        [INSTANCE, { privateIp: "10.0.0.9" }, {}, [], []],
        [
            VOLUME,
            { size: 1, availabilityZone: "a" },
            { size: 2, availabilityZone: "b" },
            ["availabilityZone"],
            ["size", "availabilityZone"],
        ],
        [ATTACHMENT, { instanceId: "i-1" }, { instanceId: UNKNOWN }, ["instanceId"], ["instanceId"]],
        [VERSION, { secretString: "a" }, { secretString: "b" }, ["secretString"], ["secretString"]],
        [
            ROLE_POLICY,
            { policy: '{"Statement":[{"Action":["a"]}]}' },
            { policy: '{"Statement": [{"Action": "a"}]}' },
            [],
            [],
        ],
        [RECORD, { records: ["10.0.0.1"] }, { records: ["10.0.0.2"] }, [], ["records"]],
    ];

for (const [type, olds, news, replaces, changes] of replacing)
    test(`diff of ${type.split(":")[2]}: ${JSON.stringify(olds)} to ${JSON.stringify(news)}`, () => {
        const { differences } = provider.diff(type, olds, news);
        assert.deepEqual(
            differences.filter((d) => d.replaces).map((d) => d.path),
            replaces,
        );
        assert.deepEqual(
            differences.map((d) => d.path),
            changes,
        );
    });

test("a fixed name is free before the next is made", () => {
    const fixed = { name: "r", path: "/a/" };
    assert.equal(provider.diff(ROLE, fixed, { ...fixed, path: "/b/" }).deleteBeforeReplace, true);
    const auto = { ...fixed, __defaults: ["name"] };
    assert.equal(provider.diff(ROLE, auto, { ...auto, path: "/b/" }).deleteBeforeReplace, false);
});

test("a preview knows what AWS will make up as unknown", async () => {
    const { outputs } = await provider.create(INSTANCE, { ami, instanceType: UNKNOWN }, true);
    assert.equal(outputs.privateIp, UNKNOWN);
    assert.equal(outputs.ami, ami);
    assert.deepEqual(readWorld(file).rows, {});
});

test("functions find what is there", async () => {
    const { instance, vpc, a, b } = await place();
    const one = await make(INSTANCE, { ...instance, tags: { "citus-cluster-id": "x", "citus-machine": "h" } });
    await make(INSTANCE, { ...instance, tags: { "citus-cluster-id": "x" } });
    const ask = async (token: string, args: Props) => {
        const { result, failures } = await provider.invoke(token, args);
        assert.deepEqual(failures, []);
        return result;
    };
    const instances = "aws:ec2/getInstances:getInstances";
    assert.equal(((await ask(instances, { instanceTags: { "citus-cluster-id": "x" } })).ids as string[]).length, 2);
    const filters = [{ name: "tag:citus-machine", values: ["h"] }];
    assert.deepEqual((await ask(instances, { filters, instanceStateNames: ["running", "stopped"] })).ids, [one.id]);
    assert.deepEqual((await ask(instances, { filters, instanceStateNames: ["stopped"] })).ids, []);
    assert.deepEqual(
        (await ask("aws:ec2/getSubnets:getSubnets", { filters: [{ name: "vpc-id", values: [vpc.id] }] })).ids,
        [a.id, b.id],
    );
    assert.equal((await ask("aws:ec2/getVpc:getVpc", { id: vpc.id })).cidrBlock, "10.0.0.0/16");
    await assert.rejects(ask("aws:ec2/getVpc:getVpc", { id: "vpc-1" }), /no matching/);
    const ubuntu = {
        owners: ["099720109477"],
        filters: [{ name: "name", values: ["ubuntu/images/hvm-ssd-gp3/ubuntu-noble-24.04-amd64-server-*"] }],
    };
    assert.equal((await ask("aws:ec2/getAmi:getAmi", { ...ubuntu, mostRecent: true })).id, ami);
    await assert.rejects(ask("aws:ec2/getAmi:getAmi", ubuntu), /more than one/);
    await assert.rejects(ask("aws:ec2/getAmi:getAmi", { mostRecent: true }), /owners/);
    const size = async (instanceType: string) => {
        const found = await ask("aws:ec2/getInstanceType:getInstanceType", { instanceType });
        return [found.memorySize, found.defaultVcpus, found.supportedArchitectures];
    };
    assert.deepEqual(await size("m7i.large"), [8192, 2, ["x86_64"]]);
    assert.deepEqual(await size("r8i.2xlarge"), [65536, 8, ["x86_64"]]);
    assert.deepEqual(await size("c7i.xlarge"), [8192, 4, ["x86_64"]]);
    assert.deepEqual(await size("m7g.medium"), [4096, 1, ["arm64"]]);
    assert.deepEqual(await size("t3.micro"), [1024, 2, ["x86_64"]]);
    await assert.rejects(size("m7i.hugee"), /InvalidInstanceType/);
    const { failures } = await provider.invoke(instances, { instanceTag: {} });
    assert.match(failures[0]?.reason ?? "", /no such argument/);
});

test("without region or credentials nothing begins", () => {
    const { AWS_REGION, AWS_DEFAULT_REGION, AWS_ACCESS_KEY_ID, AWS_PROFILE } = process.env;
    const names = { AWS_REGION, AWS_DEFAULT_REGION, AWS_ACCESS_KEY_ID, AWS_PROFILE };
    for (const name of Object.keys(names)) delete process.env[name];
    try {
        assert.throws(() => new Provider(paper).configure({}), /region/);
        assert.throws(() => new Provider(paper).configure({ region: "eu-central-1" }), /credential/);
    } finally {
        for (const [name, value] of Object.entries(names)) if (value !== undefined) process.env[name] = value;
    }
    assert.deepEqual(
        new Provider(paper).checkConfig({ region: "x", regoin: "x" }).map((f) => f.property),
        ["regoin"],
    );
});

test("machines outside are made, restarted, and let go of their disks first", async () => {
    const did: string[] = [];
    const machines = Object.fromEntries(
        Object.keys(paper).map((name) => [
            name,
            async (...args: unknown[]) => {
                if (name !== "instanceExists") did.push(name);
                if (name === "createBucket" && args[0] === "broken") throw new Error("no room");
                return true;
            },
        ]),
    ) as unknown as Machines;
    const real = new Provider(machines);
    real.configure({ region: "eu-central-1", accessKey: "a" });
    const { instance } = await place();
    const create = (type: string, inputs: Props) => real.create(type, check(type, inputs), false);
    const disk = { availabilityZone: "eu-central-1a", size: 10, type: "gp3" };
    const volume = await create(VOLUME, disk);
    const tagged = { ...instance, tags: { Name: "a" } };
    const machine = await create(INSTANCE, tagged);
    const link = { deviceName: "/dev/sdf", volumeId: volume.id, instanceId: machine.id };
    const attached = await create(ATTACHMENT, link);
    await real.update(VOLUME, volume.id, disk, disk, { ...disk, size: 20 }, false);
    await real.update(INSTANCE, machine.id, tagged, tagged, { ...instance, instanceType: "m7i.xlarge" }, false);
    await real.remove(ATTACHMENT, attached.id, { stopInstanceBeforeDetaching: true });
    await real.remove(INSTANCE, machine.id, {});
    await real.remove(VOLUME, volume.id, {});
    assert.deepEqual(did, [
        "createVolume",
        "createInstance",
        "attach",
        "growVolume",
        "tagInstance",
        "stopInstance",
        "startInstance",
        "stopInstance",
        "detach",
        "deleteInstance",
        "deleteVolume",
    ]);
    await assert.rejects(create(BUCKET, { bucket: "broken" }), /no room/);
    assert.equal(await real.read(BUCKET, "broken", {}), undefined);
});
