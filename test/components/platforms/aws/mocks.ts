/** What AWS would say to the program, as far as the program listens. */
import type { Cloud } from "../../mocks.ts";

export const REGION = "eu-central-1";
export const ACCOUNT = "123456789012";
export const ZONES = ["eu-central-1a", "eu-central-1b", "eu-central-1c"];
export const AMI = "ami-0123456789abcdef0";
export const NEWEST = "/aws/service/canonical/ubuntu/server/24.04/stable/current/amd64/hvm/ebs-gp3/ami-id";

/** Subnets that were there before. */
export const SUBNETS: Record<string, { zone: string; cidr: string; vpc: string }> = {
    "subnet-aaaaaaaa": { zone: "eu-central-1b", cidr: "10.1.0.0/24", vpc: "vpc-12345678" },
    "subnet-bbbbbbbb": { zone: "eu-central-1c", cidr: "10.1.1.0/24", vpc: "vpc-12345678" },
    "subnet-fa4fa4fa": { zone: "eu-central-1a", cidr: "10.2.0.0/24", vpc: "vpc-other" },
};

/** GiB of each type of instance. */
const MEMORY: Record<string, number> = { "m7i.large": 8, "m7i.xlarge": 16, "r7i.2xlarge": 64, "r7i.4xlarge": 128 };

/** What a test sets before it builds. */
export const world = {
    /** Machines that are there: tag `citus-machine` by instance id. */
    machines: {} as Record<string, string>,
    /** Zones of volumes that are there, by Pulumi name. */
    volumeZones: {} as Record<string, string>,
    /** Every function that was called. */
    calls: [] as { token: string; inputs: Record<string, unknown> }[],
};

type Values = Record<string, unknown>;

function outputs(type: string, name: string, inputs: Values): Values {
    switch (type) {
        case "aws:s3/bucket:Bucket":
            return { id: inputs.bucket, arn: `arn:aws:s3:::${inputs.bucket}` };
        case "aws:kms/key:Key":
            return { arn: `arn:aws:kms:${REGION}:${ACCOUNT}:key/11111111-2222-3333-4444-555555555555` };
        case "aws:ec2/securityGroup:SecurityGroup":
            // one that no cluster made
            return name === "application" ? { id: "sg-0a99a99a" } : {};
        case "aws:ec2/vpcEndpoint:VpcEndpoint":
            return { prefixListId: "pl-s3" };
        case "aws:ebs/volume:Volume":
            return { id: `vol-${name}`, availabilityZone: world.volumeZones[name] ?? inputs.availabilityZone };
        case "aws:ec2/instance:Instance":
            return { id: `i-${name}`, privateIp: `10.64.0.${name.length}` };
        case "aws:secretsmanager/secretVersion:SecretVersion":
            return { versionId: `version-of-${name}` };
        case "aws:iam/role:Role":
        case "aws:iam/instanceProfile:InstanceProfile":
        case "aws:ec2/placementGroup:PlacementGroup":
            return { id: `${name}-1234567`, name: `${name}-1234567` };
        case "citus-clusters:index:Pinned":
            return { kept: inputs.value };
        default:
            return {};
    }
}

function instances(inputs: Values): string[] {
    const [filter] = (inputs.filters ?? []) as { name: string; values: string[] }[];
    return Object.entries(world.machines)
        .filter(([, machine]) => filter === undefined || filter.values.includes(machine))
        .map(([id]) => id);
}

function call(token: string, inputs: Values): Values {
    world.calls.push({ token, inputs });
    switch (token) {
        case "aws:index/getAvailabilityZones:getAvailabilityZones":
            return { names: [...ZONES].reverse() };
        case "aws:index/getCallerIdentity:getCallerIdentity":
            return { accountId: ACCOUNT };
        case "aws:ssm/getParameter:getParameter":
            return inputs.name === NEWEST ? { value: AMI, insecureValue: AMI } : {};
        case "aws:ec2/getInstances:getInstances":
            return { ids: instances(inputs) };
        case "aws:ec2/getInstanceType:getInstanceType": {
            const memory = MEMORY[String(inputs.instanceType)];
            if (memory === undefined) throw new Error(`InvalidInstanceType: no mock of ${inputs.instanceType}`);
            return { memorySize: memory * 1024, defaultVcpus: memory / 4, supportedArchitectures: ["x86_64"] };
        }
        case "aws:ec2/getSubnet:getSubnet": {
            const { zone, cidr, vpc } = SUBNETS[String(inputs.id)] ?? {};
            return { id: inputs.id, availabilityZone: zone, cidrBlock: cidr, vpcId: vpc };
        }
        default:
            throw new Error(`no mock of ${token}`);
    }
}

export const cloud: Cloud = { outputs, call };
