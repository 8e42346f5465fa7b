/** The real CLI and engine against the stand-in for aws: what is planned, done, refused and seen of drift. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { afterAll, beforeAll, test } from "vitest";
import { AwsProject, type Call, type Step } from "../rehearsal/project.ts";

const INSTANCE = "aws:ec2/instance:Instance";
const VOLUME = "aws:ebs/volume:Volume";

interface Wanted {
    ami: string;
    /** More statements. */
    more: string;
}

/** Network, rights, bucket, names, secret, one machine with its disk. */
function program(wanted: Partial<Wanted> = {}): string {
    const { ami, more }: Wanted = {
        ami: "ami-0a20000000000aaa2",
        more: "",
        ...wanted,
    };
    return `
import * as pulumi from "@pulumi/pulumi";
import * as aws from "@pulumi/aws";
const tags = { "citus-cluster": "c" };
const zone = aws.getAvailabilityZonesOutput({ state: "available" }).names[0];
const vpc = new aws.ec2.Vpc("vpc", { cidrBlock: "10.64.0.0/16", enableDnsHostnames: true, enableDnsSupport: true, tags });
const subnet = new aws.ec2.Subnet("nodes", { vpcId: vpc.id, cidrBlock: "10.64.1.0/24", availabilityZone: zone, tags });
const gateway = new aws.ec2.InternetGateway("gateway", { vpcId: vpc.id, tags });
const eip = new aws.ec2.Eip("eip", { domain: "vpc", tags });
const nat = new aws.ec2.NatGateway("nat", { subnetId: subnet.id, allocationId: eip.id, tags }, { dependsOn: gateway });
const table = new aws.ec2.RouteTable("table", { vpcId: vpc.id, tags });
new aws.ec2.Route("out", { routeTableId: table.id, destinationCidrBlock: "0.0.0.0/0", natGatewayId: nat.id });
new aws.ec2.RouteTableAssociation("nodes", { routeTableId: table.id, subnetId: subnet.id });
new aws.ec2.VpcEndpoint("s3", { vpcId: vpc.id, serviceName: "com.amazonaws.eu-central-1.s3", routeTableIds: [table.id], tags });
const group = new aws.ec2.SecurityGroup("nodes", { vpcId: vpc.id, description: "nodes", tags });
new aws.vpc.SecurityGroupIngressRule("postgres", { securityGroupId: group.id, referencedSecurityGroupId: group.id, ipProtocol: "tcp", fromPort: 5432, toPort: 5432, tags });
new aws.vpc.SecurityGroupEgressRule("all", { securityGroupId: group.id, cidrIpv4: "0.0.0.0/0", ipProtocol: "-1", tags });
const trust = aws.iam.getPolicyDocumentOutput({ statements: [{ actions: ["sts:AssumeRole"], principals: [{ type: "Service", identifiers: ["ec2.amazonaws.com"] }] }] }).json;
const role = new aws.iam.Role("node", { assumeRolePolicy: trust, tags });
new aws.iam.RolePolicyAttachment("ssm", { role: role.name, policyArn: "arn:aws:iam::aws:policy/AmazonSSMManagedInstanceCore" });
const bucket = new aws.s3.Bucket("archive", { forceDestroy: true, tags });
new aws.iam.RolePolicy("bucket", { role: role.id, policy: { Version: "2012-10-17", Statement: [{ Effect: "Allow", Action: "s3:GetObject", Resource: pulumi.interpolate\`\${bucket.arn}/*\` }] } });
const profile = new aws.iam.InstanceProfile("node", { role: role.name, tags });
new aws.s3.BucketVersioning("archive", { bucket: bucket.id, versioningConfiguration: { status: "Enabled" } });
new aws.s3.BucketServerSideEncryptionConfiguration("archive", { bucket: bucket.id, rules: [{ applyServerSideEncryptionByDefault: { sseAlgorithm: "AES256" } }] });
const block = new aws.s3.BucketPublicAccessBlock("archive", { bucket: bucket.id, blockPublicAcls: true, blockPublicPolicy: true, ignorePublicAcls: true, restrictPublicBuckets: true });
new aws.s3.BucketOwnershipControls("archive", { bucket: bucket.id, rule: { objectOwnership: "BucketOwnerEnforced" } });
new aws.s3.BucketLifecycleConfiguration("archive", { bucket: bucket.id, rules: [{ id: "multipart", status: "Enabled", filter: {}, abortIncompleteMultipartUpload: { daysAfterInitiation: 7 } }] });
new aws.s3.BucketPolicy("archive", { bucket: bucket.id, policy: pulumi.jsonStringify({ Version: "2012-10-17", Statement: [{ Sid: "TlsOnly", Effect: "Deny", Principal: "*", Action: "s3:*", Resource: [bucket.arn], Condition: { Bool: { "aws:SecureTransport": "false" } } }] }) }, { dependsOn: block });
new aws.s3.BucketObjectv2("file", { bucket: bucket.id, key: "bundle/file", source: new pulumi.asset.FileAsset("Pulumi.yaml") });
new aws.s3.BucketObjectv2("text", { bucket: bucket.id, key: "bundle/text", content: "text" });
const names = new aws.route53.Zone("names", { name: "c.node", vpcs: [{ vpcId: vpc.id }], tags });
const secret = new aws.secretsmanager.Secret("node", { name: "citus/c/node", recoveryWindowInDays: 0, tags });
new aws.secretsmanager.SecretVersion("node", { secretId: secret.id, secretString: pulumi.secret("first-s3cret") });
const logs = new aws.cloudwatch.LogGroup("logs", { retentionInDays: 30, tags });
new aws.cloudwatch.LogMetricFilter("full", { logGroupName: logs.name, pattern: "full", metricTransformation: { name: "full", namespace: "citus", value: "1" } });
const spread = new aws.ec2.PlacementGroup("spread", { strategy: "spread", tags });
const disk = new aws.ebs.Volume("data", { availabilityZone: zone, size: 100, type: "gp3", encrypted: true, tags }, { ignoreChanges: ["availabilityZone"] });
const machine = new aws.ec2.Instance("node", {
    ami: ${JSON.stringify(ami)}, instanceType: "m7i.large", subnetId: subnet.id, userData: "#!/bin/sh\\n",
    vpcSecurityGroupIds: [group.id], iamInstanceProfile: profile.name, placementGroup: spread.name,
    disableApiTermination: true, forceDestroy: true,
    metadataOptions: { httpTokens: "required", httpPutResponseHopLimit: 1, instanceMetadataTags: "enabled" },
    rootBlockDevice: { volumeType: "gp3", volumeSize: 20, encrypted: true }, tags,
}, { deleteBeforeReplace: true, replaceOnChanges: ["instanceType"], ignoreChanges: ["userData"] });
new aws.ec2.VolumeAttachment("data", { deviceName: "/dev/sdf", volumeId: disk.id, instanceId: machine.id, stopInstanceBeforeDetaching: true }, { deleteBeforeReplace: true });
new aws.route53.Record("node", { zoneId: names.zoneId, name: "node.c.node", type: "A", ttl: 10, records: [machine.privateIp] });
new aws.cloudwatch.MetricAlarm("status", { namespace: "AWS/EC2", metricName: "StatusCheckFailed_System", dimensions: { InstanceId: machine.id }, statistic: "Maximum", period: 60, evaluationPeriods: 2, threshold: 1, comparisonOperator: "GreaterThanOrEqualToThreshold", alarmActions: ["arn:aws:automate:eu-central-1:ec2:recover"], tags });
export const address = machine.privateIp;
export const password = pulumi.secret("x");
${more}`;
}

/** A small program without a network. */
const small = (statements: string) => `
import * as pulumi from "@pulumi/pulumi";
import * as aws from "@pulumi/aws";
${statements}`;

const short = (steps: readonly Step[]) =>
    steps.map((s) => `${s.op} ${s.type.split(":").at(-1)} ${s.name}`).filter((s) => !s.includes(" Stack "));

const done = (calls: readonly Call[]) => calls.map((c) => `${c.method} ${c.type?.split(":").at(-1)} ${c.name}`);

let project: AwsProject;
const projects: AwsProject[] = [];

async function another(text: string, options: { env?: NodeJS.ProcessEnv } = {}): Promise<AwsProject> {
    const made = await AwsProject.make({ program: text, ...options });
    projects.push(made);
    return made;
}

beforeAll(async () => {
    // there is no skipping: without the CLI this fails and says so
    execFileSync("pulumi", ["version"], { stdio: "ignore" });
    project = await another(program());
});

afterAll(() => {
    for (const made of projects) made.remove();
});

test("a preview of a new stack creates everything once, knows names and changes nothing", async () => {
    const steps = await project.preview();
    assert.ok(steps.length > 35, String(steps.length));
    assert.deepEqual([...new Set(steps.map((s) => s.op))], ["create"]);
    assert.deepEqual(project.world().rows, {});
});

test("up makes it; a second up and a refresh change nothing", async () => {
    await project.up();
    const [machine] = project.rows(INSTANCE);
    assert.equal(machine?.props.privateIp, "10.64.1.4");
    assert.equal((await project.outputs<{ address: string }>()).address, "10.64.1.4");
    await project.up({}, ["--expect-no-changes"]);
    await project.refresh(["--expect-no-changes"]);
    assert.deepEqual(await project.preview(), []);
});

test("secrets are ciphertext in the state, and nowhere in the log of calls", async () => {
    assert.ok(!(await project.state()).includes("first-s3cret"));
    assert.ok(!JSON.stringify(project.calls()).includes("first-s3cret"));
    assert.ok(JSON.stringify(project.world()).includes("first-s3cret"), "the account has it");
});

test("another image replaces the machine, after its disk is let go, and not the disk", async () => {
    const [disk] = project.rows(VOLUME);
    project.program(program({ ami: "ami-0a10000000000aaa1" }));
    const steps = await project.preview();
    const machine = steps.find((s) => s.type === INSTANCE && s.op === "replace");
    assert.deepEqual(machine?.replaces, ["ami"]);
    assert.ok(!steps.some((s) => s.type === VOLUME));
    const changed = done(await project.changes(() => project.up()));
    assert.deepEqual(
        changed.filter((s) => / (Instance|VolumeAttachment) /.test(s)),
        [
            "delete VolumeAttachment data",
            "delete Instance node",
            "create Instance node",
            "create VolumeAttachment data",
        ],
    );
    assert.deepEqual(
        project.rows(VOLUME).map((row) => row.id),
        [disk?.id],
    );
    assert.equal(project.rows(INSTANCE)[0]?.props.privateIp, "10.64.1.5");
    assert.deepEqual(project.rows("aws:route53/record:Record")[0]?.props.records, ["10.64.1.5"]);
    await project.refresh(["--expect-no-changes"]);
});

test("what was changed by hand is seen by refresh and put right by up", async () => {
    project.drift((world) => {
        for (const row of Object.values(world.rows))
            if (row.type === INSTANCE) row.props.tags = { ...(row.props.tags as object), hand: "made" };
    });
    const seen = await project.pulumi(["refresh", "--yes", "--skip-preview", "--expect-no-changes"]);
    assert.notEqual(seen.code, 0, "refresh saw nothing");
    assert.deepEqual(short(await project.preview()), ["update Instance node"]);
    await project.up();
    assert.deepEqual(project.rows(INSTANCE)[0]?.props.tags, { "citus-cluster": "c" });
});

test("destroy leaves nothing", async () => {
    await project.destroy();
    assert.deepEqual(project.world().rows, {});
    assert.deepEqual(project.world().deletedSecrets, []);
});

test("protect keeps destroy from anything, retainOnDelete keeps the thing", async () => {
    const disk = (options: string) =>
        small(
            `new aws.ebs.Volume("data", { availabilityZone: "eu-central-1a", size: 1, type: "gp3" }, ${options});\nnew aws.ec2.Eip("eip", { domain: "vpc" });`,
        );
    const kept = await another(disk("{ protect: true, retainOnDelete: true }"));
    await kept.up();
    const ran = await kept.tryDestroy();
    assert.notEqual(ran.code, 0);
    assert.match(ran.output, /protected/);
    assert.equal(Object.keys(kept.world().rows).length, 2);
    kept.program(disk("{ retainOnDelete: true }"));
    await kept.up();
    await kept.destroy();
    assert.deepEqual(
        Object.values(kept.world().rows).map((row) => row.type),
        [VOLUME],
    );
});

test("a preview refuses what is wrong in itself, with the argument's path", async () => {
    const wrong = await another(
        small(
            `const options: any = { httpTokens: "requird", hopLimit: 1 };\nnew aws.ec2.Instance("node", { instanceType: "m7i.hugee", subnetId: "subnet-1", metadataOptions: options });`,
        ),
    );
    const { code, output } = await wrong.pulumi(["preview"]);
    assert.notEqual(code, 0);
    for (const part of [/m7i\.hugee/, /requird/, /metadataOptions\.hopLimit/, /MissingParameter.*ami/])
        assert.match(output, part);
});

test("up refuses what the account refuses, and goes on from there", async () => {
    const statements = (bucket: string) =>
        `new aws.ec2.Eip("eip", { domain: "vpc" });\nnew aws.s3.Bucket("b", { bucket: ${JSON.stringify(bucket)} });`;
    const second = await another(small(statements("taken")));
    second.given("aws:s3/bucket:Bucket", "taken", { bucket: "taken" });
    const ran = await second.tryUp();
    assert.notEqual(ran.code, 0);
    assert.match(ran.output, /BucketAlreadyExists/);
    second.program(small(statements("free")));
    await second.up();
    assert.equal(second.rows("aws:s3/bucket:Bucket").length, 2);
});

test("a type or function that the stand-in does not know is an error", async () => {
    const type = await another(small(`new aws.sqs.Queue("q");`));
    assert.match((await type.pulumi(["preview"])).output, /does not know the resource type aws:sqs/);
    type.program(small(`export const key = aws.kms.getKeyOutput({ keyId: "x" }).arn;`));
    assert.match((await type.pulumi(["preview"])).output, /does not know the function aws:kms/);
});

test("without a region or credentials no resource is planned", async () => {
    const statements = small(`new aws.ec2.Eip("eip", { domain: "vpc" });`);
    const nowhere = await another(statements, { env: { AWS_REGION: undefined, AWS_DEFAULT_REGION: undefined } });
    assert.match((await nowhere.pulumi(["preview"])).output, /Missing region/);
    await nowhere.config({ "aws:region": "eu-west-1" });
    await nowhere.up();
    assert.equal(nowhere.rows("aws:ec2/eip:Eip")[0]?.props.region, "eu-west-1");
    const nobody = await another(statements, { env: { AWS_ACCESS_KEY_ID: undefined } });
    assert.match((await nobody.pulumi(["preview"])).output, /No valid credential sources/);
});
