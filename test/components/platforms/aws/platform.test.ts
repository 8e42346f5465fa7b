/** What a cluster on AWS consists of: every resource, what it is given, what is protected, and what is secret. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { describe, test } from "vitest";
import type { CitusCluster } from "../../../../components/cluster.ts";
import type { ClusterInput } from "../../../../components/config/index.ts";
import type { Policy } from "../../../../components/platforms/aws/policy.ts";
import {
    type Built,
    build,
    CLUSTER_ID,
    indexed,
    mock,
    nodesOf,
    ORIGIN_STACK,
    PASSWORD,
    type Registered,
    resolved,
} from "../../mocks.ts";
import { ACCOUNT, AMI, cloud, NEWEST, REGION, SUBNETS, world, ZONES } from "./mocks.ts";

process.chdir(join(import.meta.dirname, "..", "..", "..", ".."));
await mock(cloud);
const { machineHash } = await import("../../../../components/platforms/aws/rolling.ts");
const { CitusCluster: Cluster } = await import("../../../../components/cluster.ts");

const VPC = "aws:ec2/vpc:Vpc";
const SUBNET = "aws:ec2/subnet:Subnet";
const ENDPOINT = "aws:ec2/vpcEndpoint:VpcEndpoint";
const GROUP = "aws:ec2/securityGroup:SecurityGroup";
const INGRESS = "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule";
const EGRESS = "aws:vpc/securityGroupEgressRule:SecurityGroupEgressRule";
const ROUTE = "aws:ec2/route:Route";
const ROUTE_TABLE = "aws:ec2/routeTable:RouteTable";
const ASSOCIATION = "aws:ec2/routeTableAssociation:RouteTableAssociation";
const NAT = "aws:ec2/natGateway:NatGateway";
const BUCKET = "aws:s3/bucket:Bucket";
const OBJECT = "aws:s3/bucketObjectv2:BucketObjectv2";
const SIDES = [
    "aws:s3/bucketVersioning:BucketVersioning citus-bucket-versioning",
    "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration citus-bucket-encryption",
    "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock citus-bucket-public-access",
    "aws:s3/bucketOwnershipControls:BucketOwnershipControls citus-bucket-ownership",
    "aws:s3/bucketPolicy:BucketPolicy citus-bucket-policy",
    "aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration citus-bucket-lifecycle",
];
const ROLE = "aws:iam/role:Role";
const ROLE_POLICY = "aws:iam/rolePolicy:RolePolicy";
const ATTACHED_POLICY = "aws:iam/rolePolicyAttachment:RolePolicyAttachment";
const PROFILE = "aws:iam/instanceProfile:InstanceProfile";
const ZONE = "aws:route53/zone:Zone";
const RECORD = "aws:route53/record:Record";
const VOLUME = "aws:ebs/volume:Volume";
const INSTANCE = "aws:ec2/instance:Instance";
const ATTACHMENT = "aws:ec2/volumeAttachment:VolumeAttachment";
const PLACEMENT_GROUP = "aws:ec2/placementGroup:PlacementGroup";
const SECRET = "aws:secretsmanager/secret:Secret";
const VERSION = "aws:secretsmanager/secretVersion:SecretVersion";
const ALARM = "aws:cloudwatch/metricAlarm:MetricAlarm";
const LOG_GROUP = "aws:cloudwatch/logGroup:LogGroup";
const PINNED = "citus-clusters:index:Pinned";
const CONFIGURATION = "citus-clusters:index:Configuration";
const MEMBER = "citus-clusters:index:Member";
const PLACEMENT = "citus-clusters:index:Placement";
const BACKUPS = "citus-clusters:index:Backups";
const RECOVERED = "citus-clusters:index:Recovered";
const RESTORE = "citus-clusters:index:Restore";
const IDENTITY = "citus-clusters:index:Identity";

const KEY = `arn:aws:kms:${REGION}:${ACCOUNT}:key/11111111-2222-3333-4444-555555555555`;
const TOPIC = `arn:aws:sns:${REGION}:${ACCOUNT}:pager`;
const APP_GROUP = "sg-0a99a99a";
const PASSPHRASE = "correct horse battery staple".replaceAll(" ", "-");
const MACHINES = {
    coordinator: { instanceType: "m7i.xlarge", volumeSize: 200, iops: 4000, throughput: 250 },
    worker: { instanceType: "r7i.2xlarge", volumeSize: 500, iops: 3000, throughput: 125 },
};

/** Arguments of a cluster in a stack that keeps its data. */
type Wanted = ClusterInput;

const inputOf = (wanted: Wanted): ClusterInput => ({
    name: "citus-prod",
    protect: true,
    platform: "aws",
    region: REGION,
    workers: 2,
    tags: { team: "data" },
    ...MACHINES,
    ...wanted,
});

const made = new Map<string, Promise<Built<CitusCluster>>>();

/** A cluster of this configuration in an empty world, made once. */
function cluster(wanted: Wanted = {}): Promise<Built<CitusCluster>> {
    const key = JSON.stringify(wanted);
    const found = made.get(key) ?? make(wanted);
    made.set(key, found);
    return found;
}

async function make(wanted: Wanted): Promise<Built<CitusCluster>> {
    const { made: component, resources } = await build(() => new Cluster("citus", inputOf(wanted)));
    return { cluster: component, ...indexed(resources) };
}

/** Built with machines or volumes that are there already. */
async function later(
    there: Partial<Pick<typeof world, "machines" | "volumeZones">>,
    wanted: Wanted,
): Promise<Built<CitusCluster>> {
    Object.assign(world, there);
    try {
        return await make(wanted);
    } finally {
        Object.assign(world, { machines: {}, volumeZones: {} });
    }
}

const withoutTags = ({ tags: _, ...inputs }: Registered["inputs"]) => inputs;
const tagged = (name: string, node?: string) => ({
    team: "data",
    Name: `citus-prod-${name}`,
    "citus-cluster": "citus-prod",
    "citus-cluster-id": CLUSTER_ID,
    ...(node === undefined ? {} : { "citus-node": node }),
});
const dependsOn = ({ request }: Registered, { urn }: Registered) => request.getDependenciesList().includes(urn);

const require = createRequire(import.meta.url);
const PACKAGE = dirname(require.resolve("@pulumi/aws/package.json"));

const taggables = new Map<string, boolean>();

/** Whether @pulumi/aws lets such a resource have tags. */
function taggable(type: string): boolean {
    const known = taggables.get(type) ?? readTaggable(type);
    taggables.set(type, known);
    return known;
}

function readTaggable(type: string): boolean {
    const [, file = "", kind = ""] = type.split(":");
    const text = readFileSync(join(PACKAGE, `${file}.d.ts`), "utf8");
    const args = text.slice(text.indexOf(`export interface ${kind}Args `));
    assert.ok(args.length > 10, type);
    return /^ {4}tags\?: /m.test(args);
}

const EVERYTHING: Wanted = {
    kmsKeyId: KEY,
    placement: "spread",
    alarmTopic: TOPIC,
    network: { allowedCidrs: ["10.9.0.0/16", "2001:db8::/32"], allowedSecurityGroups: [APP_GROUP] },
    backupPassphrase: PASSPHRASE,
};
const VARIANTS: Record<string, Wanted> = {
    "the smallest configuration": {},
    "everything that can be set": EVERYTHING,
    "no way out": { kmsKeyId: KEY, ami: AMI, network: { egress: "endpoints" } },
    "subnets that are there": { network: { subnetIds: ["subnet-aaaaaaaa", "subnet-bbbbbbbb"], vpcId: "vpc-12345678" } },
    "unprotected and without backups": { protect: false, backup: false },
    "a copy of another": {
        restoreFrom: { stack: ORIGIN_STACK },
    },
};

for (const [title, wanted] of Object.entries(VARIANTS)) {
    describe(`always: ${title}`, () => {
        test("everything that can have tags has the user's, the cluster's and its own name", async () => {
            const { all } = await cluster(wanted);
            const found = all.filter(({ type }) => type.startsWith("aws:"));
            assert.ok(found.length > 30);
            for (const { type, name, inputs } of found) {
                if (!taggable(type)) {
                    assert.ok(!("tags" in inputs), name);
                    continue;
                }
                const { Name, "citus-node": node, "citus-machine": machine, ...tags } = inputs.tags ?? {};
                assert.match(Name ?? "", /^citus-prod-[a-z0-9-]+$/, `${type} ${name}`);
                // an object has ten tags at most
                const { team, ...own } = tags;
                assert.equal(team, type === OBJECT ? undefined : "data", `${type} ${name}`);
                assert.deepEqual(own, { "citus-cluster": "citus-prod", "citus-cluster-id": CLUSTER_ID }, name);
                const ofNode = /^citus-(coordinator|worker-\d+)(-|$)/.exec(name)?.[1];
                const shared = [ROLE, PROFILE].includes(type);
                assert.equal(node, shared ? undefined : ofNode, `${type} ${name}`);
                assert.equal(machine !== undefined, type === INSTANCE, `${type} ${name}`);
            }
        });

        test("names are not used twice, and every child is in its component", async () => {
            const { all } = await cluster(wanted);
            assert.equal(new Set(all.map(({ urn }) => urn)).size, all.length);
            for (const { type, name, parent } of all) {
                if (!type.startsWith("aws:")) continue;
                const [, , types = "", parentName = ""] = parent.split("::");
                const kind = types.split("$").at(-1);
                const node = /^citus-(coordinator|worker-\d+)(-|$)/.exec(name)?.[1];
                if (node !== undefined && ![ROLE, ROLE_POLICY, ATTACHED_POLICY, PROFILE].includes(type))
                    assert.equal(`${kind} ${parentName}`, `citus:aws:Node citus-${node}`, name);
                else if (/^aws:s3/.test(type)) assert.equal(`${kind} ${parentName}`, "citus:aws:Storage citus-storage");
                else if (/^aws:(iam|route53|cloudwatch)|PlacementGroup/.test(type))
                    assert.equal(`${kind} ${parentName}`, "citus:aws:Platform citus");
                else assert.equal(`${kind} ${parentName}`, "citus:aws:Network citus-network", `${type} ${name}`);
            }
        });

        test("nothing comes in from the world, and rules are resources of their own", async () => {
            const { of } = await cluster(wanted);
            for (const { inputs } of of(GROUP)) assert.ok(!("ingress" in inputs) && !("egress" in inputs));
            for (const { name, inputs } of of(INGRESS)) {
                assert.ok(!["0.0.0.0/0", "::/0"].includes(inputs.cidrIpv4 ?? inputs.cidrIpv6), name);
                assert.equal(inputs.ipProtocol, "tcp");
                assert.equal(inputs.fromPort, inputs.toPort);
                assert.ok([5432, 443].includes(inputs.fromPort), name);
            }
            for (const { inputs } of of(INSTANCE)) assert.equal(inputs.associatePublicIpAddress, false);
            for (const { inputs } of of(SUBNET)) assert.equal(inputs.mapPublicIpOnLaunch, false);
        });

        test("no policy has a wildcard for all resources or all actions", async () => {
            const { of } = await cluster(wanted);
            const policies = of(ROLE_POLICY).map(({ inputs }) => JSON.parse(inputs.policy) as Policy);
            assert.equal(policies.length, 2);
            for (const { Effect, Action, Resource } of policies.flatMap(({ Statement }) => Statement)) {
                assert.equal(Effect, "Allow");
                assert.ok(Action.length > 0 && Resource.length > 0);
                for (const action of Action) assert.match(action, /^[a-z0-9]+:[A-Za-z]+$/);
                for (const resource of Resource) assert.match(resource, /^arn:aws:[a-z0-9]+:[^*]*:[^*]*:[^*]+/);
            }
            for (const { inputs } of of(ATTACHED_POLICY))
                assert.equal(inputs.policyArn, "arn:aws:iam::aws:policy/AmazonSSMManagedInstanceCore");
        });

        test("only metadata with a token, only encrypted disks, and only pulumi ends a machine", async () => {
            const { of } = await cluster(wanted);
            assert.equal(of(INSTANCE).length, 3);
            for (const { inputs } of of(INSTANCE)) {
                assert.deepEqual(inputs.metadataOptions, {
                    httpEndpoint: "enabled",
                    httpTokens: "required",
                    httpPutResponseHopLimit: 1,
                    instanceMetadataTags: "enabled",
                });
                assert.equal(inputs.rootBlockDevice.encrypted, true);
                assert.equal(inputs.disableApiTermination, true);
                assert.equal(inputs.forceDestroy, true);
                assert.ok(!("keyName" in inputs) && !("volumeTags" in inputs) && !("ebsBlockDevices" in inputs));
            }
            for (const { inputs } of of(VOLUME)) assert.equal(inputs.encrypted, true);
        });

        test("nothing that is secret is in user data, in the bucket or in a tag", async () => {
            const { all, of } = await cluster(wanted);
            for (const { inputs, secrets } of of(INSTANCE)) {
                assert.deepEqual(secrets, []);
                const text = inputs.userData as string;
                for (const secret of [PASSWORD, PASSPHRASE, "PRIVATE KEY", "SCRAM-SHA-256"])
                    assert.ok(!text.includes(secret), secret);
                assert.ok(Buffer.byteLength(text) < 16_384);
            }
            for (const { type, name, secrets } of all)
                if (type.startsWith("aws:") && type !== VERSION) assert.deepEqual(secrets, [], `${type} ${name}`);
            for (const { inputs, secrets } of of(VERSION)) {
                assert.deepEqual(secrets, ["secretString"]);
                assert.ok(!inputs.secretString.includes(PASSWORD), "the password itself reaches no node");
            }
        });

        test("data is protected and stays unless it was said otherwise", async () => {
            const built = await cluster(wanted);
            const protect = wanted.protect ?? true;
            const aws = built.all.filter(({ type }) => type.startsWith("aws:"));
            const guarded = aws.filter(({ request }) => request.getProtect()).map(({ name }) => name);
            assert.deepEqual(guarded.sort(), protect ? ["citus-bucket", "citus-coordinator-data"] : []);
            const kept = aws.filter(({ request }) => request.getRetainondelete());
            const all = [
                `${BUCKET} citus-bucket`,
                ...SIDES,
                ...nodesOf(2).map((node) => `${VOLUME} citus-${node}-data`),
            ];
            assert.deepEqual(kept.map(({ type, name }) => `${type} ${name}`).sort(), protect ? all.sort() : []);
            assert.equal(built.one(BUCKET).inputs.forceDestroy, !protect);
        });

        test("every aws resource is made by the default provider", async () => {
            for (const { request, type, name } of (await cluster(wanted)).all)
                if (type.startsWith("aws:")) assert.equal(request.getProvider(), "", name);
        });
    });
}

describe("aws: 1 + 2 in a VPC of its own", () => {
    test("consists of exactly these resources", async () => {
        const { all } = await cluster();
        const zones = ["1", "2", "3"];
        const expected = [
            "citus:index:Cluster citus",
            "citus:index:Security citus",
            `${PLACEMENT} citus-shards`,
            `${BACKUPS} citus-backups-watch`,
            "citus:aws:Platform citus",
            "citus:aws:Network citus-network",
            "citus:aws:Storage citus-storage",
            "random:index/randomId:RandomId citus-id",
            `${IDENTITY} citus-identity`,
            "random:index/randomPassword:RandomPassword citus-password",
            "random:index/randomPassword:RandomPassword citus-tenants",
            "tls:index/privateKey:PrivateKey citus-ca",
            "tls:index/selfSignedCert:SelfSignedCert citus-ca",
            `${VPC} citus-vpc`,
            ...zones.map((i) => `${SUBNET} citus-nodes-${i}`),
            ...zones.map((i) => `${ASSOCIATION} citus-nodes-${i}`),
            `${ROUTE_TABLE} citus-nodes`,
            `${ROUTE} citus-nodes`,
            `${SUBNET} citus-public`,
            `${ROUTE_TABLE} citus-public`,
            `${ROUTE} citus-public`,
            `${ASSOCIATION} citus-public`,
            "aws:ec2/internetGateway:InternetGateway citus-internet",
            "aws:ec2/eip:Eip citus-nat",
            `${NAT} citus-nat`,
            `${ENDPOINT} citus-s3`,
            `${GROUP} citus-nodes`,
            `${INGRESS} citus-between-nodes`,
            ...["to-nodes", "to-https", "to-http"].map((name) => `${EGRESS} citus-${name}`),
            `${BUCKET} citus-bucket`,
            ...SIDES,
            `${OBJECT} citus-bundle`,
            `${OBJECT} citus-bundle-current`,
            `${ZONE} citus-names`,
            `${PINNED} citus-ami`,
            ...["coordinator", "worker"].flatMap((kind) => [
                `${PINNED} citus-launcher-${kind}`,
                `${ROLE} citus-${kind}`,
                `${ROLE_POLICY} citus-${kind}`,
                `${ATTACHED_POLICY} citus-${kind}-ssm`,
                `${PROFILE} citus-${kind}`,
            ]),
            ...nodesOf(2).flatMap((node) => [
                `tls:index/privateKey:PrivateKey citus-${node}`,
                `tls:index/certRequest:CertRequest citus-${node}`,
                `tls:index/locallySignedCert:LocallySignedCert citus-${node}`,
                `citus:aws:Node citus-${node}`,
                `${VOLUME} citus-${node}-data`,
                `${SECRET} citus-${node}`,
                `${VERSION} citus-${node}`,
                `${INSTANCE} citus-${node}`,
                `${ATTACHMENT} citus-${node}-data`,
                `${RECORD} citus-${node}`,
                `${ALARM} citus-${node}-recover`,
                `${CONFIGURATION} citus-${node}`,
                `${MEMBER} citus-${node}`,
            ]),
        ];
        assert.deepEqual(all.map(({ type, name }) => `${type} ${name}`).sort(), expected.sort());
    });

    test("one private subnet a zone carries nodes and nothing else", async () => {
        const { one } = await cluster();
        assert.deepEqual(withoutTags(one(VPC).inputs), {
            cidrBlock: "10.64.0.0/16",
            enableDnsSupport: true,
            enableDnsHostnames: true,
        });
        for (const [i, cidrBlock] of ["10.64.0.0/19", "10.64.32.0/19", "10.64.64.0/19"].entries()) {
            const { inputs, request } = one(SUBNET, `citus-nodes-${i + 1}`);
            assert.deepEqual(inputs, {
                vpcId: "citus-vpc-id",
                cidrBlock,
                availabilityZone: ZONES[i],
                mapPublicIpOnLaunch: false,
                tags: tagged(`nodes-${i + 1}`),
            });
            // the order of a region's zones may change
            assert.deepEqual(request.getIgnorechangesList(), ["availabilityZone"]);
            assert.deepEqual(one(ASSOCIATION, `citus-nodes-${i + 1}`).inputs, {
                subnetId: `citus-nodes-${i + 1}-id`,
                routeTableId: "citus-nodes-id",
            });
        }
        assert.equal(one(SUBNET, "citus-public").inputs.cidrBlock, "10.64.192.0/28");
    });

    test("nodes get out through a NAT gateway and nobody gets in; S3 has a gateway of its own", async () => {
        const { one } = await cluster();
        assert.deepEqual(one(ROUTE, "citus-nodes").inputs, {
            routeTableId: "citus-nodes-id",
            destinationCidrBlock: "0.0.0.0/0",
            natGatewayId: "citus-nat-id",
        });
        assert.deepEqual(one(ROUTE, "citus-public").inputs, {
            routeTableId: "citus-public-id",
            destinationCidrBlock: "0.0.0.0/0",
            gatewayId: "citus-internet-id",
        });
        assert.deepEqual(one(ASSOCIATION, "citus-public").inputs, {
            subnetId: "citus-public-id",
            routeTableId: "citus-public-id",
        });
        assert.deepEqual(withoutTags(one(NAT).inputs), { subnetId: "citus-public-id", allocationId: "citus-nat-id" });
        assert.ok(dependsOn(one(NAT), one(ROUTE, "citus-public")));
        assert.deepEqual(withoutTags(one("aws:ec2/eip:Eip").inputs), { domain: "vpc" });
        assert.ok(dependsOn(one("aws:ec2/eip:Eip"), one("aws:ec2/internetGateway:InternetGateway")));
        assert.deepEqual(withoutTags(one(ENDPOINT).inputs), {
            vpcId: "citus-vpc-id",
            serviceName: "com.amazonaws.eu-central-1.s3",
            vpcEndpointType: "Gateway",
            routeTableIds: ["citus-nodes-id"],
        });
    });

    test("zones that are local or too old for machines are not taken", async () => {
        await cluster();
        const asked = world.calls.find(({ token }) => token.endsWith(":getAvailabilityZones"));
        assert.deepEqual(asked?.inputs, {
            state: "available",
            excludeZoneIds: ["use1-az3", "usw1-az2", "cac1-az3"],
            filters: [{ name: "opt-in-status", values: ["opt-in-not-required"] }],
        });
    });

    test("nodes talk to each other, to AWS and to package archives", async () => {
        const { one } = await cluster();
        const rule = (type: string, name: string) => {
            const { description: _, ...inputs } = withoutTags(one(type, `citus-${name}`).inputs);
            return inputs;
        };
        const port = (number: number) => ({
            securityGroupId: "citus-nodes-id",
            ipProtocol: "tcp",
            fromPort: number,
            toPort: number,
        });
        const self = { ...port(5432), referencedSecurityGroupId: "citus-nodes-id" };
        assert.deepEqual(rule(INGRESS, "between-nodes"), self);
        assert.deepEqual(rule(EGRESS, "to-nodes"), self);
        assert.deepEqual(rule(EGRESS, "to-https"), { ...port(443), cidrIpv4: "0.0.0.0/0" });
        assert.deepEqual(rule(EGRESS, "to-http"), { ...port(80), cidrIpv4: "0.0.0.0/0" });
    });

    test("node i goes to zone i", async () => {
        const { one } = await cluster({ workers: 4 });
        for (const [i, node] of nodesOf(4).entries()) {
            assert.equal(one(VOLUME, `citus-${node}-data`).inputs.availabilityZone, ZONES[i % 3]);
            assert.equal(one(INSTANCE, `citus-${node}`).inputs.subnetId, `citus-nodes-${(i % 3) + 1}-id`);
        }
    });

    test("a node's volume", async () => {
        const { one } = await cluster();
        for (const node of nodesOf(2)) {
            const { inputs, request } = one(VOLUME, `citus-${node}-data`);
            const { volumeSize, iops, throughput } = node === "coordinator" ? MACHINES.coordinator : MACHINES.worker;
            const { availabilityZone: _, tags, ...rest } = inputs;
            assert.deepEqual(rest, { type: "gp3", size: volumeSize, iops, throughput, encrypted: true });
            assert.deepEqual(tags, tagged(`${node}-data`, node));
            assert.deepEqual(request.getIgnorechangesList(), [
                "availabilityZone",
                "snapshotId",
                "encrypted",
                "kmsKeyId",
            ]);
            // what is left can be changed in place: nothing replaces a volume
            const stays = [...request.getIgnorechangesList(), "type", "size", "iops", "throughput", "tags"];
            assert.deepEqual(
                Object.keys(inputs).filter((key) => !stays.includes(key)),
                [],
            );
            assert.deepEqual(request.getReplaceonchangesList(), []);
        }
    });

    test("a node's machine, its disk and its name", async () => {
        const { one } = await cluster();
        for (const node of nodesOf(2)) {
            const role = node === "coordinator" ? "coordinator" : "worker";
            const { inputs, request } = one(INSTANCE, `citus-${node}`);
            const { userData: _, subnetId: __, metadataOptions: ___, ...rest } = inputs;
            const { instanceType } = MACHINES[role];
            assert.deepEqual(rest, {
                ami: AMI,
                instanceType,
                vpcSecurityGroupIds: ["citus-nodes-id"],
                associatePublicIpAddress: false,
                iamInstanceProfile: `citus-${role}-1234567`,
                rootBlockDevice: {
                    volumeType: "gp3",
                    volumeSize: 16,
                    encrypted: true,
                    deleteOnTermination: true,
                    tags: tagged(`${node}-root`, node),
                },
                maintenanceOptions: { autoRecovery: "default" },
                disableApiTermination: true,
                forceDestroy: true,
                userDataReplaceOnChange: true,
                tags: {
                    ...tagged(node, node),
                    "citus-machine": machineHash({
                        role,
                        ami: AMI,
                        instanceType,
                        placement: "none",
                        citusVersion: "14.1.0",
                    }),
                },
            });
            assert.equal(request.getDeletebeforereplace(), true);
            assert.deepEqual(request.getReplaceonchangesList(), ["instanceType"]);
            const attachment = one(ATTACHMENT, `citus-${node}-data`);
            assert.deepEqual(attachment.inputs, {
                deviceName: "/dev/sdf",
                instanceId: `i-citus-${node}`,
                volumeId: `vol-citus-${node}-data`,
                stopInstanceBeforeDetaching: true,
            });
            assert.equal(attachment.request.getDeletebeforereplace(), true);
            assert.deepEqual(one(RECORD, `citus-${node}`).inputs, {
                zoneId: "citus-names-id",
                name: `${node}.citus-prod.node`,
                type: "A",
                ttl: 10,
                records: [`10.64.0.${`citus-${node}`.length}`],
                allowOverwrite: true,
            });
        }
        assert.deepEqual(withoutTags(one(ZONE).inputs), {
            name: "citus-prod.node",
            comment: "Nodes of the Citus cluster citus-prod",
            vpcs: [{ vpcId: "citus-vpc-id" }],
            forceDestroy: true,
        });
    });

    test("a machine boots only when it can reach and read what it boots from", async () => {
        const { one, of } = await cluster();
        for (const instance of of(INSTANCE)) {
            const needed = [
                ...[ROUTE, ASSOCIATION, INGRESS, EGRESS, ENDPOINT, OBJECT].flatMap(of),
                ...[ROLE_POLICY, ATTACHED_POLICY].flatMap(of),
            ];
            for (const resource of needed) assert.ok(dependsOn(instance, resource), resource.urn);
        }
        // and the bundle is only put into a bucket that is guarded
        const [bundle, current] = ["citus-bundle", "citus-bundle-current"].map((name) => one(OBJECT, name));
        assert.ok(bundle && current && dependsOn(current, bundle));
        for (const side of SIDES) {
            const [type = "", name] = side.split(" ");
            assert.ok(dependsOn(bundle, one(type, name)), side);
        }
    });

    test("what a node is given is a secret of its own, and the whole of it", async () => {
        const { one } = await cluster({ backupPassphrase: PASSPHRASE });
        for (const node of nodesOf(2)) {
            const secret = one(SECRET, `citus-${node}`);
            assert.deepEqual(secret.inputs, {
                name: `citus/citus-prod-012345/${node}`,
                description: `Configuration of ${node}.citus-prod.node`,
                recoveryWindowInDays: 0,
                tags: tagged(node, node),
            });
            const { inputs } = one(VERSION, `citus-${node}`);
            assert.equal(inputs.secretId, `citus-${node}-id`);
            const { configuration, restore, own, ...rest } = JSON.parse(inputs.secretString);
            assert.deepEqual(rest, {});
            assert.deepEqual(Object.keys(configuration).sort(), [
                "backup.conf",
                "ca.crt",
                "database",
                "node.crt",
                "node.key",
                "optional.conf",
                "owned",
                "pg_hba.conf",
                "pg_ident.conf",
                "pgbackrest.conf",
                "postgresql.conf",
                "verifier",
            ]);
            assert.equal(configuration["node.key"], `PRIVATE KEY OF citus-${node}`);
            assert.equal(configuration["ca.crt"], "CA CERTIFICATE");
            for (const cidr of ["10.64.0.0/19", "10.64.32.0/19", "10.64.64.0/19"])
                assert.ok(configuration["pg_hba.conf"].includes(cidr), cidr);
            assert.ok(!configuration["pg_hba.conf"].includes("10.64.192.0"), "no certificate rule for other subnets");
            const pgbackrest = configuration["pgbackrest.conf"];
            for (const line of [
                "repo1-type=s3",
                "repo1-path=/backups",
                `repo1-s3-bucket=citus-prod-${CLUSTER_ID}`,
                "repo1-s3-region=eu-central-1",
                "repo1-s3-endpoint=s3.eu-central-1.amazonaws.com",
                "repo1-s3-key-type=auto",
                `repo1-cipher-pass=${PASSPHRASE}`,
                `[citus-prod-${node}]`,
            ])
                assert.ok(pgbackrest.split("\n").includes(line), line);
            assert.deepEqual(restore, { passphrase: PASSPHRASE, verifier: configuration.verifier });
            assert.deepEqual(own, { passphrase: PASSPHRASE });
        }
    });

    test("a node is configured when its machine has its disk, its name and its secret", async () => {
        const { one } = await cluster();
        for (const node of nodesOf(2)) {
            const configuration = one(CONFIGURATION, `citus-${node}`);
            const { inputs, secrets, parent } = configuration;
            assert.ok(parent.endsWith(`citus:aws:Node::citus-${node}`), parent);
            assert.deepEqual(inputs.shell, {
                kind: "ssm",
                region: REGION,
                profile: "",
                clusterId: CLUSTER_ID,
                node,
            });
            assert.equal(inputs.machine, `i-citus-${node}`);
            assert.equal(inputs.secretVersion, `version-of-citus-${node}`);
            assert.match(inputs.bundle, /^[0-9a-f]{64}$/);
            assert.equal(inputs.metrics, false);
            assert.equal(inputs.volumeSize, node === "coordinator" ? 200 : 500);
            assert.equal(inputs.name, node);
            assert.deepEqual(inputs.nodeNetworks, ["10.64.0.0/19", "10.64.32.0/19", "10.64.64.0/19"]);
            assert.deepEqual([...secrets].sort(), ["privateKey", "verifier"]);
            for (const before of [
                one(ATTACHMENT, `citus-${node}-data`),
                one(RECORD, `citus-${node}`),
                one(VERSION, `citus-${node}`),
            ])
                assert.ok(dependsOn(configuration, before), before.urn);
        }
    });

    test("the bucket is versioned, encrypted, closed, TLS only, and cleaned of what is not current", async () => {
        const { one } = await cluster();
        const bucket = `citus-prod-${CLUSTER_ID}`;
        assert.deepEqual(withoutTags(one(BUCKET).inputs), { bucket, forceDestroy: false });
        const side = (index: number) => {
            const [type = "", name] = (SIDES[index] ?? "").split(" ");
            const { inputs } = one(type, name);
            assert.equal(inputs.bucket, bucket);
            return inputs;
        };
        assert.deepEqual(side(0).versioningConfiguration, { status: "Enabled" });
        assert.deepEqual(side(1).rules, [{ applyServerSideEncryptionByDefault: { sseAlgorithm: "AES256" } }]);
        assert.deepEqual(side(2), {
            bucket,
            blockPublicAcls: true,
            blockPublicPolicy: true,
            ignorePublicAcls: true,
            restrictPublicBuckets: true,
        });
        assert.deepEqual(side(3).rule, { objectOwnership: "BucketOwnerEnforced" });
        assert.deepEqual(JSON.parse(side(4).policy).Statement, [
            {
                Sid: "TlsOnly",
                Effect: "Deny",
                Principal: "*",
                Action: "s3:*",
                Resource: [`arn:aws:s3:::${bucket}`, `arn:aws:s3:::${bucket}/*`],
                Condition: { Bool: { "aws:SecureTransport": "false" } },
            },
        ]);
        const rules = side(5).rules as Record<string, unknown>[];
        assert.deepEqual(
            rules.map(({ id, filter }) => [id, filter]),
            [
                ["backups", { prefix: "backups/" }],
                ["bundle", { prefix: "bundle/" }],
            ],
        );
        for (const { id: _, filter: __, ...rule } of rules)
            assert.deepEqual(rule, {
                status: "Enabled",
                abortIncompleteMultipartUpload: { daysAfterInitiation: 7 },
                noncurrentVersionExpiration: { noncurrentDays: 30 },
                // neither days nor a date: nothing current ever expires
                expiration: { expiredObjectDeleteMarker: true },
            });
    });

    test("the bundle is stored under what it contains, and one object says which is current", async () => {
        const { one } = await cluster();
        const { sha256 } =
            /^bundle\/(?<sha256>[0-9a-f]{64})\.tar$/.exec(one(OBJECT, "citus-bundle").inputs.key)?.groups ?? {};
        assert.ok(sha256);
        const { contentType, contentBase64 } = one(OBJECT, "citus-bundle").inputs;
        assert.equal(contentType, "application/x-tar");
        const content = Buffer.from(contentBase64, "base64");
        assert.equal(createHash("sha256").update(content).digest("hex"), sha256);
        assert.ok(content.includes("aws/boot.sh"));
        const current = one(OBJECT, "citus-bundle-current").inputs;
        assert.equal(current.key, "bundle/current");
        assert.equal(current.content, `${sha256}\n`);
        assert.equal(one(CONFIGURATION, "citus-worker-1").inputs.bundle, sha256);
    });

    test("user data says who a machine is, and then how it gets everything else", async () => {
        const { one } = await cluster();
        const script = (name: string) => readFileSync(`scripts/node/aws/${name}`, "utf8").replace(/^#!.*\n/, "");
        for (const node of nodesOf(2)) {
            const { userData } = one(INSTANCE, `citus-${node}`).inputs;
            const header = [
                "#!/usr/bin/env bash",
                `NODE=${node}`,
                `ROLE=${node === "coordinator" ? "coordinator" : "worker"}`,
                `VOLUME_ID=vol-citus-${node}-data`,
                `SECRET=citus/citus-prod-012345/${node}`,
                "REGION=eu-central-1",
                `BUCKET=citus-prod-${CLUSTER_ID}`,
                "BASE=citus-prod-012345",
                "CLUSTER=citus-prod",
                "CITUS_VERSION=14.1.0",
                "",
            ];
            assert.equal(userData, `${header.join("\n")}${script("aws.sh")}${script("launcher.sh")}`);
        }
    });

    test("the image is the newest at first, and kept", async () => {
        const { one } = await cluster();
        const { value, until } = one(PINNED, "citus-ami").inputs;
        assert.deepEqual({ value, until }, { value: AMI, until: "" });
        assert.ok(world.calls.some(({ inputs }) => inputs.name === NEWEST));
    });

    test("another launcher is for machines that are made anew anyway", async () => {
        const { one } = await cluster();
        for (const role of ["coordinator", "worker"] as const)
            assert.equal(
                one(PINNED, `citus-launcher-${role}`).inputs.until,
                machineHash({
                    role,
                    ami: AMI,
                    instanceType: MACHINES[role].instanceType,
                    placement: "none",
                    citusVersion: "14.1.0",
                }),
            );
    });

    test("SQL goes through the machine's own socket, and no password is needed for that", async () => {
        const { one } = await cluster();
        for (const node of nodesOf(2)) {
            const { inputs, secrets, request } = one(MEMBER, `citus-${node}`);
            const tunnel = (to: string) => ({
                tunnel: { kind: "ssm", region: REGION, profile: "", clusterId: CLUSTER_ID, node: to },
                user: "postgres",
                database: "app",
            });
            assert.deepEqual(inputs.access, tunnel(node));
            assert.deepEqual(inputs.coordinator, tunnel("coordinator"));
            assert.deepEqual(secrets, []);
            assert.equal(inputs.host, `${node}.citus-prod.node`);
            const goesWith = request.getDeletedwith();
            assert.equal(goesWith, node === "coordinator" ? "" : one(VOLUME, "citus-coordinator-data").urn);
        }
    });

    test("outputs say how to reach the cluster", async () => {
        const { cluster: made } = await cluster();
        assert.deepEqual(await resolved(made.coordinator), { host: "coordinator.citus-prod.node", port: 5432 });
        assert.equal(
            await resolved(made.connect),
            "through SSM, no port is open; a shell: aws ssm start-session --region eu-central-1 --target i-citus-coordinator",
        );
        assert.deepEqual(await resolved(made.backups), {
            repository: `citus-prod-${CLUSTER_ID}`,
            region: REGION,
            cluster: "citus-prod",
        });
    });

    test("a host that fails is left, without anybody being told", async () => {
        const { of } = await cluster();
        for (const { inputs } of of(ALARM)) {
            assert.equal(inputs.metricName, "StatusCheckFailed_System");
            assert.deepEqual(inputs.alarmActions, ["arn:aws:automate:eu-central-1:ec2:recover"]);
        }
        assert.deepEqual(of(LOG_GROUP), []);
    });
});

describe("aws: what can be set", () => {
    test("clients come from where it was said, and each source is a rule", async () => {
        const { of } = await cluster(EVERYTHING);
        const peer = ({ inputs }: Registered) => inputs.cidrIpv4 ?? inputs.cidrIpv6 ?? inputs.referencedSecurityGroupId;
        assert.deepEqual(
            of(INGRESS)
                .map((rule) => [rule.name, peer(rule), rule.inputs.fromPort])
                .sort(),
            [
                ["citus-between-nodes", "citus-nodes-id", 5432],
                ["citus-from-10-9-0-0-16", "10.9.0.0/16", 5432],
                ["citus-from-2001-db8---32", "2001:db8::/32", 5432],
                [`citus-from-${APP_GROUP}`, APP_GROUP, 5432],
            ],
        );
        const ipv6 = of(INGRESS).filter(({ inputs }) => "cidrIpv6" in inputs);
        assert.deepEqual(
            ipv6.map(({ name }) => name),
            ["citus-from-2001-db8---32"],
        );
    });

    test("without a way out nodes reach AWS through endpoints and nothing else", async () => {
        const { of, one } = await cluster(VARIANTS["no way out"]);
        assert.deepEqual([NAT, "aws:ec2/internetGateway:InternetGateway", "aws:ec2/eip:Eip", ROUTE].flatMap(of), []);
        const interfaces = of(ENDPOINT).filter(({ inputs }) => inputs.vpcEndpointType === "Interface");
        assert.deepEqual(
            interfaces.map(({ inputs }) => inputs.serviceName).sort(),
            ["ec2messages", "kms", "logs", "secretsmanager", "ssm", "ssmmessages"].map(
                (service) => `com.amazonaws.eu-central-1.${service}`,
            ),
        );
        for (const { inputs } of interfaces) {
            const { serviceName: _, ...rest } = withoutTags(inputs);
            assert.deepEqual(rest, {
                vpcId: "citus-vpc-id",
                vpcEndpointType: "Interface",
                privateDnsEnabled: true,
                // beside the nodes' subnets: those are for nodes only
                subnetIds: ["citus-endpoints-id"],
                securityGroupIds: ["citus-endpoints-id"],
            });
        }
        assert.equal(one(SUBNET, "citus-endpoints").inputs.cidrBlock, "10.64.224.0/28");
        assert.deepEqual(
            of(EGRESS)
                .map(({ inputs }) => [
                    inputs.fromPort,
                    inputs.cidrIpv4 ?? inputs.prefixListId ?? inputs.referencedSecurityGroupId,
                ])
                .sort(),
            [
                [443, "citus-endpoints-id"],
                [443, "pl-s3"],
                [5432, "citus-nodes-id"],
            ],
        );
        const { inputs } = one(INGRESS, "citus-endpoints-from-nodes");
        assert.equal(inputs.securityGroupId, "citus-endpoints-id");
        assert.equal(inputs.referencedSecurityGroupId, "citus-nodes-id");
        assert.equal(inputs.fromPort, 443);
    });

    test("into subnets that are there: nothing of theirs is made or changed", async () => {
        const { of, one } = await cluster(VARIANTS["subnets that are there"]);
        assert.deepEqual([VPC, SUBNET, ROUTE_TABLE, ROUTE, ASSOCIATION, NAT, ENDPOINT].flatMap(of), []);
        assert.equal(one(GROUP).inputs.vpcId, "vpc-12345678");
        assert.deepEqual(one(ZONE).inputs.vpcs, [{ vpcId: "vpc-12345678" }]);
        for (const [node, id] of [
            ["coordinator", "subnet-aaaaaaaa"],
            ["worker-1", "subnet-bbbbbbbb"],
            ["worker-2", "subnet-aaaaaaaa"],
        ] as const) {
            assert.equal(one(VOLUME, `citus-${node}-data`).inputs.availabilityZone, SUBNETS[id]?.zone);
            assert.equal(one(INSTANCE, `citus-${node}`).inputs.subnetId, id);
        }
        assert.deepEqual(one(CONFIGURATION, "citus-worker-1").inputs.nodeNetworks, ["10.1.0.0/24", "10.1.1.0/24"]);
    });

    test("all nodes in one zone", async () => {
        const { of } = await cluster({ azs: "single" });
        for (const { inputs } of of(VOLUME)) assert.equal(inputs.availabilityZone, ZONES[0]);
        for (const { inputs } of of(INSTANCE)) assert.equal(inputs.subnetId, "citus-nodes-1-id");
    });

    test("a machine goes where its volume is, whatever would be chosen today", async () => {
        const volumeZones = { "citus-worker-1-data": "eu-central-1c" };
        const { one } = await later({ volumeZones }, {});
        assert.equal(one(INSTANCE, "citus-worker-1").inputs.subnetId, "citus-nodes-3-id");
        assert.equal(one(INSTANCE, "citus-worker-2").inputs.subnetId, "citus-nodes-3-id");
        assert.equal((await cluster()).one(INSTANCE, "citus-worker-1").inputs.subnetId, "citus-nodes-2-id");
    });

    test("a key encrypts volumes, bucket and secrets", async () => {
        const { of, one } = await cluster(EVERYTHING);
        for (const { inputs } of [VOLUME, SECRET].flatMap(of)) assert.equal(inputs.kmsKeyId, KEY);
        for (const { inputs } of of(INSTANCE)) assert.equal(inputs.rootBlockDevice.kmsKeyId, KEY);
        const [type = "", name] = (SIDES[1] ?? "").split(" ");
        assert.deepEqual(one(type, name).inputs.rules, [
            {
                applyServerSideEncryptionByDefault: { sseAlgorithm: "aws:kms", kmsMasterKeyId: KEY },
                bucketKeyEnabled: true,
            },
        ]);
    });

    test("machines on racks apart, or in partitions", async () => {
        const spread = await cluster(EVERYTHING);
        assert.deepEqual(withoutTags(spread.one(PLACEMENT_GROUP).inputs), { strategy: "spread" });
        for (const { inputs } of spread.of(INSTANCE)) assert.equal(inputs.placementGroup, "citus-nodes-1234567");
        const partition = await cluster({ placement: "partition" });
        assert.deepEqual(withoutTags(partition.one(PLACEMENT_GROUP).inputs), {
            strategy: "partition",
            partitionCount: 7,
        });
    });

    test("an image that was given is used as it is, and nothing is looked up", async () => {
        const ami = "ami-0fedcba9876543210";
        world.calls = [];
        const { of, one } = await make({ ami });
        assert.ok(!world.calls.some(({ token }) => token.includes("getParameter")));
        assert.ok(!of(PINNED).some(({ name }) => name === "citus-ami"));
        assert.equal(one(INSTANCE, "citus-worker-1").inputs.ami, ami);
    });

    test("alarms go to the topic", async () => {
        const { of, one } = await cluster(EVERYTHING);
        assert.deepEqual(withoutTags(one(LOG_GROUP).inputs), { name: "/citus/citus-prod-012345", retentionInDays: 30 });
        for (const node of nodesOf(2)) {
            const alarm = (what: string) => {
                const { alarmDescription, ...inputs } = withoutTags(one(ALARM, `citus-${node}-${what}`).inputs);
                assert.ok(alarmDescription.includes(`${node} of citus-prod`));
                return inputs;
            };
            const always = {
                statistic: "Maximum",
                comparisonOperator: "GreaterThanOrEqualToThreshold",
                treatMissingData: "missing",
            };
            const machine = {
                ...always,
                namespace: "AWS/EC2",
                dimensions: { InstanceId: `i-citus-${node}` },
                threshold: 1,
                period: 60,
            };
            assert.deepEqual(alarm("recover"), {
                ...machine,
                name: `citus-prod-012345-${node}-recover`,
                metricName: "StatusCheckFailed_System",
                evaluationPeriods: 2,
                alarmActions: ["arn:aws:automate:eu-central-1:ec2:recover", TOPIC],
            });
            assert.deepEqual(alarm("status"), {
                ...machine,
                name: `citus-prod-012345-${node}-status`,
                metricName: "StatusCheckFailed",
                evaluationPeriods: 3,
                alarmActions: [TOPIC],
                okActions: [TOPIC],
            });
            const own = {
                ...always,
                namespace: "Citus",
                dimensions: { Cluster: "citus-prod-012345", Node: node },
                period: 300,
                evaluationPeriods: 2,
                alarmActions: [TOPIC],
                okActions: [TOPIC],
                insufficientDataActions: [TOPIC],
            };
            assert.deepEqual(alarm("disk"), {
                ...own,
                name: `citus-prod-012345-${node}-disk`,
                metricName: "DiskUsed",
                threshold: 80,
            });
            assert.deepEqual(alarm("certificate"), {
                ...own,
                name: `citus-prod-012345-${node}-certificate`,
                metricName: "CertificateDays",
                threshold: 30,
                statistic: "Minimum",
                comparisonOperator: "LessThanOrEqualToThreshold",
            });
            assert.deepEqual(alarm("archive"), {
                ...own,
                name: `citus-prod-012345-${node}-archive`,
                metricName: "ArchiveAge",
                threshold: 900,
            });
        }
        assert.equal(of(ALARM).length, 15);
    });

    test("alarms that come later are no reason for other machines", async () => {
        const [without, with_] = [await cluster(), await cluster({ alarmTopic: TOPIC })];
        assert.deepEqual(
            with_.of(INSTANCE).map(({ inputs }) => inputs),
            without.of(INSTANCE).map(({ inputs }) => inputs),
        );
        assert.equal(with_.one(CONFIGURATION, "citus-worker-1").inputs.metrics, true);
    });

    test("without backups nothing waits for an archive", async () => {
        const { of, one } = await cluster({ alarmTopic: TOPIC, backup: false });
        assert.ok(!of(ALARM).some(({ name }) => name.endsWith("-archive")));
        assert.deepEqual(one(CONFIGURATION, "citus-worker-1").inputs.backup, {});
    });

    test("directly: by address, with verified TLS, and the password is secret", async () => {
        const { one, cluster: made } = await cluster({ connection: "direct", profile: "prod" });
        const { inputs, secrets } = one(MEMBER, "citus-worker-1");
        assert.deepEqual(inputs.access, {
            host: `10.64.0.${"citus-worker-1".length}`,
            port: 5432,
            serverName: "worker-1.citus-prod.node",
            ca: "CA CERTIFICATE",
            user: "postgres",
            password: PASSWORD,
            database: "app",
        });
        assert.deepEqual([...secrets].sort(), ["access", "coordinator"]);
        // scripts are always run through SSM
        assert.equal(one(CONFIGURATION, "citus-worker-1").inputs.shell.profile, "prod");
        assert.equal(
            await resolved(made.connect),
            "from where 10.64.0.17:5432 can be reached; a shell: aws ssm start-session --region eu-central-1 --profile prod --target i-citus-coordinator",
        );
    });
});

describe("aws: machines are replaced one at a time", () => {
    const type = (instanceType: string): Wanted => ({
        worker: { ...MACHINES.worker, instanceType },
    });
    const hash = (role: "coordinator" | "worker", instanceType = MACHINES[role].instanceType) =>
        machineHash({ role, ami: AMI, instanceType, placement: "none", citusVersion: "14.1.0" });
    const machines = {
        "i-1": hash("coordinator"),
        "i-2": hash("worker"),
        "i-3": hash("worker"),
    };
    /** Names of the configurations that a machine waits for. */
    const waitsFor = ({ one, of }: Built<CitusCluster>, node: string) =>
        of(CONFIGURATION)
            .filter((configuration) => dependsOn(one(INSTANCE, `citus-${node}`), configuration))
            .map(({ name }) => name);

    test("new ones are made together", async () => {
        const built = await cluster({ workers: 3 });
        for (const node of nodesOf(3)) assert.deepEqual(waitsFor(built, node), []);
    });

    test("those that stay let new ones be made together", async () => {
        const built = await later({ machines }, { workers: 4 });
        for (const node of nodesOf(4)) assert.deepEqual(waitsFor(built, node), []);
    });

    test("with another type each waits until the one before it is configured", async () => {
        world.calls = [];
        const built = await later({ machines }, type("r7i.4xlarge"));
        assert.deepEqual(waitsFor(built, "coordinator"), []);
        assert.deepEqual(waitsFor(built, "worker-1"), ["citus-coordinator"]);
        assert.deepEqual(waitsFor(built, "worker-2"), ["citus-worker-1"]);
        const asked = world.calls.filter(({ token }) => token.endsWith(":getInstances"));
        const cluster = {
            instanceTags: { "citus-cluster-id": CLUSTER_ID },
            instanceStateNames: ["pending", "running", "stopping", "stopped"],
        };
        // two questions, however many nodes there are
        assert.deepEqual(
            asked.map(({ inputs }) => inputs),
            [
                cluster,
                {
                    ...cluster,
                    filters: [
                        { name: "tag:citus-machine", values: [hash("coordinator"), hash("worker", "r7i.4xlarge")] },
                    ],
                },
            ],
        );
    });

    test("with another version of Citus too: packages are installed once", async () => {
        const built = await later({ machines }, { citusVersion: "14.2.0" });
        assert.deepEqual(waitsFor(built, "worker-2"), ["citus-worker-1"]);
        assert.match(built.one(INSTANCE, "citus-worker-2").inputs.userData, /^CITUS_VERSION=14\.2\.0$/m);
    });

    test("with another image too, and volumes are left alone", async () => {
        const before = await cluster({ ami: "ami-00000000000000001" });
        const built = await later({ machines }, { ami: "ami-00000000000000002" });
        assert.deepEqual(waitsFor(built, "worker-2"), ["citus-worker-1"]);
        assert.deepEqual(
            built.of(VOLUME).map(({ inputs }) => inputs),
            before.of(VOLUME).map(({ inputs }) => inputs),
        );
    });
});

describe("aws: a restored cluster", () => {
    const from = { point: "latest", overwrite: false, acceptSplitTransactions: false };

    test("in place: from its own bucket, when all machines are there", async () => {
        const { one, of } = await cluster({ restoreFrom: from });
        const restore = one(RESTORE);
        const { inputs, secrets } = restore;
        assert.deepEqual([...secrets].sort(), ["ownPassphrase", "passphrase", "verifier"]);
        assert.equal(inputs.repository, `citus-prod-${CLUSTER_ID}`);
        assert.equal(inputs.ownRepository, `citus-prod-${CLUSTER_ID}`);
        assert.equal(inputs.repositoryRegion, REGION);
        assert.deepEqual(inputs.request, { cluster: "citus-prod", point: "latest" });
        assert.match(inputs.site.bundle, /^[0-9a-f]{64}$/);
        assert.equal(inputs.site.kind, "aws");
        assert.deepEqual(
            inputs.site.nodes,
            nodesOf(2).map((node) => ({
                name: node,
                shell: { kind: "ssm", region: REGION, profile: "", clusterId: CLUSTER_ID, node },
                machine: `i-citus-${node}`,
                secretVersion: `version-of-citus-${node}`,
            })),
        );
        for (const before of [ATTACHMENT, RECORD, VERSION].flatMap(of)) assert.ok(dependsOn(restore, before));
        for (const configuration of of(CONFIGURATION)) {
            assert.equal(configuration.inputs.restoreId, "feedbeef");
            assert.ok(dependsOn(configuration, restore));
            assert.ok(dependsOn(one(RECOVERED), configuration));
        }
        for (const { inputs: role } of of(ROLE_POLICY)) assert.ok(!role.policy.includes("Origin"));
    });

    test("from another stack: its bucket may be read, and not written", async () => {
        const { one, of } = await cluster({ restoreFrom: { ...from, stack: ORIGIN_STACK } });
        const { inputs } = one(RESTORE);
        assert.equal(inputs.repository, "citus-prod-fedcba-backups");
        assert.deepEqual(inputs.request, { cluster: "citus-prod", point: "latest" });
        for (const { inputs: role } of of(ROLE_POLICY)) {
            const statements = (JSON.parse(role.policy) as Policy).Statement;
            const origin = statements.filter(({ Resource }) => Resource.some((arn) => arn.includes("fedcba")));
            assert.deepEqual(
                origin.flatMap(({ Action }) => Action),
                ["s3:ListBucket", "s3:GetObject"],
            );
        }
    });

    test("from a bucket by its name", async () => {
        const { one } = await cluster({ restoreFrom: { ...from, repository: "old-bucket" } });
        assert.equal(one(RESTORE).inputs.repository, "old-bucket");
        assert.deepEqual(one(RESTORE).inputs.request, { point: "latest" });
    });

    test("machines of a restored cluster are replaced one after another too", async () => {
        const machines = { "i-1": "another" };
        const { one } = await later({ machines }, { restoreFrom: from });
        // a configuration waits for the restore, and that for all machines: so this is as far as they can wait
        assert.ok(dependsOn(one(INSTANCE, "citus-worker-1"), one(ATTACHMENT, "citus-coordinator-data")));
        assert.ok(dependsOn(one(INSTANCE, "citus-worker-2"), one(RECORD, "citus-worker-1")));
        assert.ok(!dependsOn(one(INSTANCE, "citus-worker-2"), one(CONFIGURATION, "citus-worker-1")));
    });
});
