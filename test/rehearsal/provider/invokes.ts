/** The functions of the provider: look-ups in the world and in the catalogue. */
import { type Ami, machine } from "./catalogue.ts";
import { Refusal } from "./kind.ts";
import { INSTANCE, SECURITY_GROUP, SUBNET, VPC } from "./kinds/network.ts";
import { statementsOf } from "./kinds/policy.ts";
import { at, isObject, type Props, strings, tagsOf, text } from "./values.ts";
import { ACCOUNT, type Row, type World } from "./world.ts";

type Answer = (args: Props, world: World) => Props;

const filtersOf = (args: Props): { name: string; values: string[] }[] =>
    (Array.isArray(args.filters) ? args.filters : [])
        .filter(isObject)
        .map((f) => ({ name: String(f.name), values: strings(f, "values") }));

const like = (pattern: string, value: unknown): boolean =>
    new RegExp(
        `^${pattern
            .replace(/[.+^${}()|[\]\\]/g, "\\$&")
            .replaceAll("*", ".*")
            .replaceAll("?", ".")}$`,
    ).test(String(value));

/** AWS' filter names of things in a VPC, to paths of their properties. */
const FILTERS: Record<string, string> = {
    "vpc-id": "vpcId",
    "subnet-id": "subnetId",
    "availability-zone": "availabilityZone",
    "cidr-block": "cidrBlock",
    cidr: "cidrBlock",
    "instance-type": "instanceType",
    "instance-state-name": "instanceState",
    "image-id": "ami",
    "private-ip-address": "privateIp",
    "group-name": "name",
    "iam-instance-profile.arn": "iamInstanceProfile",
};

function matches(row: Row, args: Props, tagsName = "tags"): boolean {
    const tags = tagsOf(row.props);
    const wanted = isObject(args[tagsName]) ? Object.entries(args[tagsName]) : [];
    return (
        wanted.every(([key, value]) => like(String(value), tags[key] ?? "\0")) &&
        filtersOf(args).every(({ name, values }) => {
            if (name.startsWith("tag:"))
                return values.some((v) => tags[name.slice(4)] !== undefined && like(v, tags[name.slice(4)]));
            if (name === "tag-key") return values.some((v) => Object.keys(tags).some((key) => like(v, key)));
            const path = FILTERS[name];
            if (!path) throw new Error(`the stand-in does not know the filter ${name}`);
            return values.some((v) => at(row.props, path).some((found) => like(v, found)));
        })
    );
}

function only(found: Row[], what: string): Row {
    const [row, ...more] = found;
    if (!row) throw new Error(`no matching ${what} found`);
    if (more.length > 0)
        throw new Error(`multiple ${what}s matched; use additional constraints to reduce matches to a single ${what}`);
    return row;
}

function images(args: Props, world: World): Ami[] {
    const owners = strings(args, "owners").map((owner) => (owner === "amazon" ? "" : owner));
    return world.data.amis.filter(
        (ami) =>
            (owners.length === 0 || owners.includes(ami.ownerId)) &&
            (args.nameRegex === undefined || new RegExp(String(args.nameRegex)).test(ami.name)) &&
            filtersOf(args).every(({ name, values }) => {
                const facts: Record<string, string> = {
                    name: ami.name,
                    architecture: ami.architecture,
                    "image-id": ami.id,
                    "virtualization-type": "hvm",
                    "root-device-type": "ebs",
                    state: "available",
                };
                if (facts[name] === undefined)
                    throw new Error(`the stand-in does not know the filter ${name} of images`);
                return values.some((v) => like(v, facts[name]));
            }),
    );
}

const getAmi: Answer = (args, world) => {
    if (strings(args, "owners").length === 0 && args.allowUnsafeFilter !== true)
        throw new Error("most recent image from anyone: owners must be given, or allowUnsafeFilter set");
    const found = images(args, world).sort((a, b) => b.creationDate.localeCompare(a.creationDate));
    const [ami] = found;
    if (!ami) throw new Error("Your query returned no results. Please change your search criteria and try again.");
    if (found.length > 1 && args.mostRecent !== true)
        throw new Error(
            "Your query returned more than one result. Please try a more specific search criteria, or set mostRecent to true.",
        );
    return {
        ...args,
        id: ami.id,
        imageId: ami.id,
        name: ami.name,
        ownerId: ami.ownerId,
        architecture: ami.architecture,
        creationDate: ami.creationDate,
        arn: `arn:aws:ec2:${world.region}::image/${ami.id}`,
        virtualizationType: "hvm",
        rootDeviceType: "ebs",
        rootDeviceName: "/dev/sda1",
        state: "available",
        region: world.region,
        tags: {},
        blockDeviceMappings: [],
        productCodes: [],
    };
};

const getAvailabilityZones: Answer = (args, world) => {
    const names = world.zones().filter((zone) => !strings(args, "excludeNames").includes(zone));
    return {
        ...args,
        id: world.region,
        region: world.region,
        groupNames: [world.region],
        names,
        zoneIds: names.map((zone) => world.zoneId(zone)),
    };
};

const getParameter: Answer = (args, world) => {
    const value = world.data.parameters[String(args.name)];
    if (value === undefined) throw new Refusal("ParameterNotFound", `reading SSM Parameter (${args.name})`);
    return {
        id: args.name,
        name: args.name,
        arn: world.arn("ssm", `parameter${args.name}`),
        type: "String",
        value,
        insecureValue: value,
        version: 1,
        withDecryption: args.withDecryption ?? true,
        region: world.region,
    };
};

/** The document as the provider writes it: keys in capitals, lists of one as the thing itself. */
const getPolicyDocument: Answer = (args) => {
    const one = (values: string[]) => (values.length === 1 ? values[0] : [...values].sort().reverse());
    const principals = (list: unknown) => {
        const all = (Array.isArray(list) ? list : []).filter(isObject);
        if (all.some((p) => p.type === "*")) return "*";
        return Object.fromEntries(all.map((p) => [String(p.type), one(strings(p, "identifiers"))]));
    };
    const conditions = (list: unknown) => {
        const found: Record<string, Props> = {};
        for (const c of (Array.isArray(list) ? list : []).filter(isObject)) {
            found[String(c.test)] ??= {};
            (found[String(c.test)] as Props)[String(c.variable)] = one(strings(c, "values"));
        }
        return found;
    };
    const statements = (Array.isArray(args.statements) ? args.statements : []).filter(isObject).map((s) => ({
        ...(s.sid ? { Sid: s.sid } : {}),
        Effect: s.effect ?? "Allow",
        ...(s.actions ? { Action: one(strings(s, "actions")) } : {}),
        ...(s.notActions ? { NotAction: one(strings(s, "notActions")) } : {}),
        ...(s.resources ? { Resource: one(strings(s, "resources")) } : {}),
        ...(s.notResources ? { NotResource: one(strings(s, "notResources")) } : {}),
        ...(s.principals ? { Principal: principals(s.principals) } : {}),
        ...(s.notPrincipals ? { NotPrincipal: principals(s.notPrincipals) } : {}),
        ...(s.conditions ? { Condition: conditions(s.conditions) } : {}),
    }));
    for (const name of ["sourcePolicyDocuments", "overridePolicyDocuments", "overrideJson", "sourceJson"])
        if (args[name] !== undefined) throw new Error(`the stand-in does not know ${name} of getPolicyDocument`);
    const document = {
        Version: args.version ?? "2012-10-17",
        ...(args.policyId ? { Id: args.policyId } : {}),
        Statement: statements,
    };
    return {
        ...args,
        id: String(statementsOf(document).length),
        json: JSON.stringify(document, null, 2),
        minifiedJson: JSON.stringify(document),
    };
};

const getRegion: Answer = (_args, world) => ({
    id: world.region,
    name: world.region,
    region: world.region,
    description: world.region,
    endpoint: `ec2.${world.region}.amazonaws.com`,
});

const getCallerIdentity: Answer = () => ({
    id: ACCOUNT,
    accountId: ACCOUNT,
    arn: `arn:aws:iam::${ACCOUNT}:user/standin`,
    userId: "AIDASTANDIN",
});

const getPartition: Answer = () => ({
    id: "aws",
    partition: "aws",
    dnsSuffix: "amazonaws.com",
    reverseDnsPrefix: "com.amazonaws",
});

const getInstances: Answer = (args, world) => {
    const states = strings(args, "instanceStateNames");
    const found = world
        .all(INSTANCE)
        .filter((row) => (states.length > 0 ? states : ["running"]).includes(String(row.props.instanceState)))
        .filter((row) => matches(row, args, "instanceTags"));
    return {
        ...args,
        id: world.region,
        region: world.region,
        instanceTags: args.instanceTags ?? {},
        ids: found.map((row) => row.id),
        privateIps: found.map((row) => row.props.privateIp),
        publicIps: [],
        ipv6Addresses: [],
    };
};

const getInstance: Answer = (args, world) => {
    const row = only(
        world
            .all(INSTANCE)
            .filter((i) => args.instanceId === undefined || i.id === args.instanceId)
            .filter((i) => matches(i, args, "instanceTags")),
        "EC2 Instance",
    );
    return { ...args, ...row.props, id: row.id, instanceTags: args.instanceTags ?? {}, tags: tagsOf(row.props) };
};

/** Looks one thing up by its id, properties, tags and filters. */
function one(
    type: string,
    what: string,
    by: readonly string[],
    more: (row: Row, world: World) => Props = () => ({}),
): Answer {
    return (args, world) => {
        const row = only(
            world
                .all(type)
                .filter((r) => args.id === undefined || r.id === args.id)
                .filter((r) => by.every((name) => args[name] === undefined || r.props[name] === args[name]))
                .filter((r) => matches(r, args)),
            what,
        );
        return { ...args, ...row.props, id: row.id, tags: tagsOf(row.props), ...more(row, world) };
    };
}

const getSubnets: Answer = (args, world) => ({
    ...args,
    id: world.region,
    region: world.region,
    tags: args.tags ?? {},
    ids: world
        .all(SUBNET)
        .filter((row) => matches(row, args))
        .map((row) => row.id),
});

const getInstanceType: Answer = (args, world) => {
    const type = text(args, "instanceType") ?? "";
    const found = machine(type);
    if (!found)
        throw new Refusal(
            "InvalidInstanceType",
            `The following supplied instance types do not exist, or the stand-in can't tell what they have: [${type}]`,
        );
    return {
        id: type,
        instanceType: type,
        region: world.region,
        memorySize: found.memoryMib,
        defaultVcpus: found.vcpus,
        defaultCores: Math.ceil(found.vcpus / (found.architecture === "arm64" ? 1 : 2)),
        defaultThreadsPerCore: found.architecture === "arm64" || found.vcpus === 1 ? 1 : 2,
        supportedArchitectures: [found.architecture],
        burstablePerformanceSupported: found.burstable,
        currentGeneration: true,
        bareMetal: false,
        hypervisor: "nitro",
        ebsOptimizedSupport: "default",
        ebsEncryptionSupport: "supported",
        ebsNvmeSupport: "required",
        autoRecoverySupported: true,
        supportedPlacementStrategies: ["cluster", "partition", "spread"],
        supportedRootDeviceTypes: ["ebs"],
        supportedVirtualizationTypes: ["hvm"],
    };
};

export const invokes: Readonly<Record<string, Answer>> = {
    "aws:ec2/getAmi:getAmi": getAmi,
    "aws:index/getAvailabilityZones:getAvailabilityZones": getAvailabilityZones,
    "aws:ssm/getParameter:getParameter": getParameter,
    "aws:iam/getPolicyDocument:getPolicyDocument": getPolicyDocument,
    "aws:index/getRegion:getRegion": getRegion,
    "aws:index/getCallerIdentity:getCallerIdentity": getCallerIdentity,
    "aws:index/getPartition:getPartition": getPartition,
    "aws:ec2/getInstances:getInstances": getInstances,
    "aws:ec2/getInstance:getInstance": getInstance,
    "aws:ec2/getSubnet:getSubnet": one(SUBNET, "EC2 Subnet", ["vpcId", "availabilityZone", "cidrBlock"], () => ({
        state: "available",
    })),
    "aws:ec2/getSubnets:getSubnets": getSubnets,
    "aws:ec2/getVpc:getVpc": one(VPC, "EC2 VPC", ["cidrBlock"], (row) => ({
        state: "available",
        default: false,
        cidrBlockAssociations: [
            { associationId: `${row.id}-cidr`, cidrBlock: row.props.cidrBlock, state: "associated" },
        ],
    })),
    "aws:ec2/getInstanceType:getInstanceType": getInstanceType,
    "aws:ec2/getSecurityGroup:getSecurityGroup": one(SECURITY_GROUP, "EC2 Security Group", ["name", "vpcId"]),
};
