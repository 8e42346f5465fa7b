/** VPC and what is in it. */
import { type Kind, type Problem, Refusal } from "../kind.ts";
import { block, number, type Props, strings, text } from "../values.ts";
import type { Row, World } from "../world.ts";
import { ACCOUNT, hex } from "../world.ts";

export const VPC = "aws:ec2/vpc:Vpc";
export const SUBNET = "aws:ec2/subnet:Subnet";
export const SECURITY_GROUP = "aws:ec2/securityGroup:SecurityGroup";
export const INSTANCE = "aws:ec2/instance:Instance";
const GATEWAY = "aws:ec2/internetGateway:InternetGateway";
const NAT = "aws:ec2/natGateway:NatGateway";
const EIP = "aws:ec2/eip:Eip";
const ROUTE_TABLE = "aws:ec2/routeTable:RouteTable";
const ROUTE = "aws:ec2/route:Route";
const ASSOCIATION = "aws:ec2/routeTableAssociation:RouteTableAssociation";
const ENDPOINT = "aws:ec2/vpcEndpoint:VpcEndpoint";
const ENDPOINT_ROUTES = "aws:ec2/vpcEndpointRouteTableAssociation:VpcEndpointRouteTableAssociation";
const INGRESS = "aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule";
const EGRESS = "aws:vpc/securityGroupEgressRule:SecurityGroupEgressRule";

const NO_VPC = [VPC, "InvalidVpcID.NotFound"] as const;
const NO_SUBNET = [SUBNET, "InvalidSubnetID.NotFound"] as const;
const NO_GROUP = [SECURITY_GROUP, "InvalidGroup.NotFound"] as const;
const NO_TABLE = [ROUTE_TABLE, "InvalidRouteTableID.NotFound"] as const;

function cidr(inputs: Props, name: string, problem: Problem, smallest = 32, largest = 0): void {
    const value = text(inputs, name);
    if (value === undefined) return;
    const found = block(value);
    if (!found) problem(name, `"${value}" is not an IPv4 CIDR block of a network address`);
    else if (found.bits > smallest || found.bits < largest)
        problem(name, `InvalidVpc.Range: the block must be between /${largest} and /${smallest}, not ${value}`);
}

const vpc: Kind = {
    replaces: ["cidrBlock", "ipv4IpamPoolId", "ipv4NetmaskLength", "region"],
    values: { instanceTenancy: ["default", "dedicated"] },
    usedBy: [
        [SUBNET, "vpcId"],
        [SECURITY_GROUP, "vpcId"],
        [GATEWAY, "vpcId"],
        [ROUTE_TABLE, "vpcId"],
        [ENDPOINT, "vpcId"],
    ],
    check(inputs, problem) {
        cidr(inputs, "cidrBlock", problem, 28, 16);
        if (inputs.cidrBlock === undefined && inputs.ipv4IpamPoolId === undefined)
            problem("cidrBlock", "MissingParameter: either cidrBlock or ipv4IpamPoolId must be given");
    },
    create(_inputs, world) {
        const id = world.newId("vpc");
        return {
            id,
            props: {
                arn: world.arn("ec2", `vpc/${id}`),
                enableDnsSupport: true,
                enableDnsHostnames: false,
                enableNetworkAddressUsageMetrics: false,
                instanceTenancy: "default",
                mainRouteTableId: world.newId("rtb"),
                defaultRouteTableId: world.newId("rtb"),
                defaultNetworkAclId: world.newId("acl"),
                defaultSecurityGroupId: world.newId("sg"),
                dhcpOptionsId: "dopt-00000000000000001",
                ownerId: ACCOUNT,
            },
        };
    },
};

const subnet: Kind = {
    replaces: ["availabilityZone", "availabilityZoneId", "cidrBlock", "vpcId", "ipv6Native", "outpostArn", "region"],
    refers: { vpcId: NO_VPC },
    usedBy: [
        [INSTANCE, "subnetId"],
        [NAT, "subnetId"],
        [ENDPOINT, "subnetIds[]"],
    ],
    check: (inputs, problem) => cidr(inputs, "cidrBlock", problem, 28, 16),
    create(inputs, world) {
        const id = world.newId("subnet");
        const zone = text(inputs, "availabilityZone") ?? world.zones()[0] ?? "";
        if (!world.zones().includes(zone))
            throw new Refusal(
                "InvalidParameterValue",
                `Value (${zone}) for parameter availabilityZone is invalid. Subnets can currently only be created in the following availability zones: ${world.zones().join(", ")}.`,
            );
        const mine = block(text(inputs, "cidrBlock") ?? "");
        const whole = block(text(world.find(VPC, inputs.vpcId)?.props ?? {}, "cidrBlock") ?? "");
        if (!mine || !whole || mine.first < whole.first || mine.last > whole.last)
            throw new Refusal("InvalidSubnet.Range", `The CIDR '${inputs.cidrBlock}' is invalid: not inside its VPC.`);
        for (const other of world.all(SUBNET)) {
            const taken = other.props.vpcId === inputs.vpcId ? block(text(other.props, "cidrBlock") ?? "") : undefined;
            if (taken && taken.first <= mine.last && mine.first <= taken.last)
                throw new Refusal(
                    "InvalidSubnet.Conflict",
                    `The CIDR '${inputs.cidrBlock}' conflicts with another subnet, ${other.id}`,
                );
        }
        return {
            id,
            props: {
                arn: world.arn("ec2", `subnet/${id}`),
                availabilityZone: zone,
                availabilityZoneId: world.zoneId(zone),
                assignIpv6AddressOnCreation: false,
                enableDns64: false,
                enableResourceNameDnsARecordOnLaunch: false,
                enableResourceNameDnsAaaaRecordOnLaunch: false,
                ipv6Native: false,
                mapPublicIpOnLaunch: false,
                privateDnsHostnameTypeOnLaunch: "ip-name",
                ownerId: ACCOUNT,
            },
        };
    },
};

const internetGateway: Kind = {
    replaces: ["region"],
    refers: { vpcId: NO_VPC },
    create(inputs, world) {
        if (inputs.vpcId !== undefined && world.all(GATEWAY).some((row) => row.props.vpcId === inputs.vpcId))
            throw new Refusal(
                "InvalidParameterValue",
                `Network ${inputs.vpcId} already has an internet gateway attached`,
            );
        const id = world.newId("igw");
        return { id, props: { arn: world.arn("ec2", `internet-gateway/${id}`), ownerId: ACCOUNT } };
    },
};

const natGateway: Kind = {
    replaces: ["allocationId", "subnetId", "connectivityType", "privateIp", "availabilityMode", "vpcId", "region"],
    refers: { subnetId: NO_SUBNET, allocationId: [EIP, "InvalidAllocationID.NotFound"] },
    values: { connectivityType: ["public", "private"], availabilityMode: ["zonal", "regional"] },
    check(inputs, problem) {
        const open = (text(inputs, "connectivityType") ?? "public") === "public";
        if (open && inputs.allocationId === undefined && inputs.availabilityMode !== "regional")
            problem("allocationId", "MissingParameter: a public NAT gateway needs an allocation");
        if (!open && inputs.allocationId !== undefined)
            problem("allocationId", "is not supported with connectivityType private");
        if (inputs.subnetId === undefined && inputs.availabilityMode !== "regional")
            problem("subnetId", "MissingParameter: a NAT gateway needs a subnet");
    },
    create(inputs, world) {
        const eip = world.find(EIP, inputs.allocationId);
        if (world.all(NAT).some((row) => eip && row.props.allocationId === eip.id))
            throw new Refusal("Resource.AlreadyAssociated", `Elastic IP address [${eip?.id}] is already associated`);
        return {
            id: world.newId("nat"),
            props: {
                connectivityType: "public",
                publicIp: eip?.props.publicIp ?? "",
                privateIp: "",
                networkInterfaceId: world.newId("eni"),
                associationId: world.newId("eipassoc"),
                secondaryAllocationIds: [],
                secondaryPrivateIpAddresses: [],
                secondaryPrivateIpAddressCount: 0,
            },
        };
    },
};

const eip: Kind = {
    replaces: ["domain", "address", "networkBorderGroup", "publicIpv4Pool", "customerOwnedIpv4Pool", "region"],
    values: { domain: ["vpc"] },
    usedBy: [[NAT, "allocationId"]],
    create(_inputs, world) {
        const id = world.newId("eipalloc");
        const last = Number.parseInt(hex(id, 4), 16);
        const publicIp = `203.0.${113 + ((last >> 8) % 10)}.${last % 256}`;
        return {
            id,
            props: {
                allocationId: id,
                arn: world.arn("ec2", `elastic-ip/${id}`),
                domain: "vpc",
                publicIp,
                publicDns: `ec2-${publicIp.replaceAll(".", "-")}.${world.region}.compute.amazonaws.com`,
                networkBorderGroup: world.region,
                publicIpv4Pool: "amazon",
            },
        };
    },
};

const routeTable: Kind = {
    replaces: ["vpcId", "region"],
    refers: { vpcId: NO_VPC },
    usedBy: [[ASSOCIATION, "routeTableId"]],
    create(_inputs, world) {
        const id = world.newId("rtb");
        return {
            id,
            props: { arn: world.arn("ec2", `route-table/${id}`), ownerId: ACCOUNT, propagatingVgws: [], routes: [] },
        };
    },
};

const DESTINATIONS = ["destinationCidrBlock", "destinationIpv6CidrBlock", "destinationPrefixListId"] as const;
const TARGETS = [
    "carrierGatewayId",
    "coreNetworkArn",
    "egressOnlyGatewayId",
    "gatewayId",
    "localGatewayId",
    "natGatewayId",
    "networkInterfaceId",
    "odbNetworkArn",
    "transitGatewayId",
    "vpcEndpointId",
    "vpcPeeringConnectionId",
] as const;

function exactlyOne(inputs: Props, names: readonly string[], problem: Problem): void {
    const given = names.filter((name) => inputs[name] !== undefined);
    if (given.length !== 1)
        problem(given[1] ?? names[0] ?? "", `exactly one of ${names.join(", ")} must be given, not ${given.length}`);
}

const route: Kind = {
    untagged: true,
    replaces: ["routeTableId", ...DESTINATIONS, "region"],
    refers: {
        routeTableId: NO_TABLE,
        gatewayId: [GATEWAY, "InvalidGatewayID.NotFound"],
        natGatewayId: [NAT, "InvalidNatGatewayID.NotFound"],
    },
    check(inputs, problem) {
        exactlyOne(inputs, DESTINATIONS, problem);
        exactlyOne(inputs, TARGETS, problem);
        cidr(inputs, "destinationCidrBlock", problem);
    },
    create(inputs, world) {
        const destination = String(DESTINATIONS.map((name) => inputs[name]).find((v) => v !== undefined));
        const id = `r-${String(inputs.routeTableId)}${Number.parseInt(hex(destination, 8), 16)}`;
        if (world.find(ROUTE, id))
            throw new Refusal(
                "RouteAlreadyExists",
                `The route identified by ${destination} already exists in ${inputs.routeTableId}`,
            );
        return { id, props: { origin: "CreateRoute", state: "active", instanceId: "", instanceOwnerId: "" } };
    },
};

const routeTableAssociation: Kind = {
    untagged: true,
    replaces: ["subnetId", "gatewayId", "region"],
    refers: { routeTableId: NO_TABLE, subnetId: NO_SUBNET },
    check: (inputs, problem) => exactlyOne(inputs, ["subnetId", "gatewayId"], problem),
    create(inputs, world) {
        const other = world.all(ASSOCIATION).find((row) => row.props.subnetId === inputs.subnetId);
        if (inputs.subnetId !== undefined && other)
            throw new Refusal(
                "Resource.AlreadyAssociated",
                `the specified association for route table ${other.props.routeTableId} conflicts with an existing association`,
            );
        const table = world.find(ROUTE_TABLE, inputs.routeTableId);
        const target = world.find(SUBNET, inputs.subnetId);
        if (target && table?.props.vpcId !== target.props.vpcId)
            throw new Refusal(
                "InvalidParameterValue",
                `Route table ${table?.id} and subnet ${target.id} belong to different networks`,
            );
        return { id: world.newId("rtbassoc") };
    },
};

const isInterface = (inputs: Props) => text(inputs, "vpcEndpointType") === "Interface";

function checkEndpoint(inputs: Props, world: World, self?: string): void {
    const service = text(inputs, "serviceName") ?? "";
    const vpcRow = world.find(VPC, inputs.vpcId);
    if (isInterface(inputs) && inputs.privateDnsEnabled === true) {
        if (vpcRow?.props.enableDnsSupport !== true || vpcRow.props.enableDnsHostnames !== true)
            throw new Refusal(
                "InvalidParameter",
                `Enabling private DNS requires both enableDnsSupport and enableDnsHostnames VPC attributes set to true for ${inputs.vpcId}`,
            );
        const same = world
            .all(ENDPOINT)
            .find(
                (row) =>
                    row.id !== self &&
                    row.props.vpcId === inputs.vpcId &&
                    row.props.serviceName === service &&
                    row.props.privateDnsEnabled === true,
            );
        if (same)
            throw new Refusal(
                "InvalidParameter",
                `private-dns-enabled cannot be set because there is already a conflicting DNS domain for ${service} in the VPC ${inputs.vpcId}`,
            );
    }
    const zones = strings(inputs, "subnetIds").map((id) => world.find(SUBNET, id)?.props.availabilityZone);
    if (new Set(zones).size < zones.length)
        throw new Refusal(
            "DuplicateSubnetsInSameZone",
            "Found another VPC endpoint subnet in the availability zone of another",
        );
}

const SERVICES = {
    Gateway: ["s3", "dynamodb"],
    Interface: [
        "ssm",
        "ssmmessages",
        "ec2messages",
        "secretsmanager",
        "kms",
        "logs",
        "monitoring",
        "ec2",
        "sts",
        "s3",
        "sns",
    ],
};

const vpcEndpoint: Kind = {
    replaces: ["serviceName", "serviceRegion", "vpcId", "vpcEndpointType", "region"],
    replacesIf: (news) => (isInterface(news) ? [] : ["privateDnsEnabled"]),
    documents: ["policy"],
    refers: {
        vpcId: NO_VPC,
        "routeTableIds[]": NO_TABLE,
        "subnetIds[]": NO_SUBNET,
        "securityGroupIds[]": NO_GROUP,
    },
    values: { vpcEndpointType: ["Gateway", "Interface", "GatewayLoadBalancer", "Resource", "ServiceNetwork"] },
    check(inputs, problem) {
        const type = text(inputs, "vpcEndpointType") ?? "Gateway";
        if (type === "Gateway")
            for (const name of ["subnetIds", "securityGroupIds", "privateDnsEnabled"])
                if (inputs[name] !== undefined) problem(name, "InvalidParameter: not supported by a Gateway endpoint");
        if (type === "Interface" && inputs.routeTableIds !== undefined)
            problem(
                "routeTableIds",
                "InvalidParameter: route table IDs are only supported for Gateway type VPC endpoints",
            );
    },
    create(inputs, world) {
        const type = (text(inputs, "vpcEndpointType") ?? "Gateway") as keyof typeof SERVICES;
        const service = text(inputs, "serviceName") ?? "";
        const known = (SERVICES[type] ?? []).map((name) => `com.amazonaws.${world.region}.${name}`);
        if (!known.includes(service))
            throw new Refusal(
                "InvalidServiceName",
                `The Vpc Endpoint Service '${service}' does not exist as ${type} (the stand-in knows ${known.join(", ")})`,
            );
        checkEndpoint(inputs, world);
        const id = world.newId("vpce");
        return {
            id,
            props: {
                arn: world.arn("ec2", `vpc-endpoint/${id}`),
                vpcEndpointType: type,
                ownerId: ACCOUNT,
                state: "available",
                requesterManaged: false,
                privateDnsEnabled: false,
                ipAddressType: type === "Interface" ? "ipv4" : "",
                routeTableIds: [],
                subnetIds: [],
                securityGroupIds: [],
                networkInterfaceIds: strings(inputs, "subnetIds").map(() => world.newId("eni")),
                dnsEntries: [],
                cidrBlocks: [],
                serviceRegion: world.region,
                prefixListId: type === "Gateway" ? `pl-${hex(service, 8)}` : "",
                policy: '{"Statement":[{"Action":"*","Effect":"Allow","Principal":"*","Resource":"*"}],"Version":"2008-10-17"}',
            },
        };
    },
    update(row, news, world) {
        checkEndpoint({ ...row.props, ...news }, world, row.id);
        return undefined;
    },
};

const endpointRoutes: Kind = {
    untagged: true,
    replaces: ["routeTableId", "vpcEndpointId", "region"],
    refers: { routeTableId: NO_TABLE, vpcEndpointId: [ENDPOINT, "InvalidVpcEndpointId.NotFound"] },
    create(inputs, world) {
        const id = `a-${inputs.vpcEndpointId}${Number.parseInt(hex(String(inputs.routeTableId), 8), 16)}`;
        if (world.find(ENDPOINT_ROUTES, id)) throw new Refusal("RouteAlreadyExists", `${id} already exists`);
        return { id };
    },
};

const DESCRIPTION = /^[a-zA-Z0-9. _\-:/()#,@[\]+=&;{}!$*]*$/;

function description(inputs: Props, problem: Problem): void {
    const value = text(inputs, "description");
    if (value !== undefined && (value.length > 255 || !DESCRIPTION.test(value)))
        problem(
            "description",
            "InvalidParameterValue: at most 255 of a-z, A-Z, 0-9, spaces, and ._-:/()#,@[]+=&;{}!$* are valid in a description",
        );
}

const securityGroup: Kind = {
    autoname: { property: "name" },
    replaces: ["name", "namePrefix", "description", "vpcId", "region"],
    refers: { vpcId: NO_VPC },
    longest: { name: 255 },
    usedBy: [
        [INSTANCE, "vpcSecurityGroupIds[]"],
        [ENDPOINT, "securityGroupIds[]"],
    ],
    check(inputs, problem) {
        description(inputs, problem);
        if (text(inputs, "name")?.startsWith("sg-")) problem("name", "InvalidParameterValue: may not start with sg-");
        for (const name of ["ingress", "egress"])
            if (inputs[name] !== undefined) problem(name, "the stand-in knows rules only as resources of their own");
    },
    create(inputs, world) {
        if (world.all(SECURITY_GROUP).some((row) => row.props.name === inputs.name && row.props.vpcId === inputs.vpcId))
            throw new Refusal(
                "InvalidGroup.Duplicate",
                `The security group '${inputs.name}' already exists for VPC '${inputs.vpcId}'`,
            );
        const id = world.newId("sg");
        return {
            id,
            props: {
                arn: world.arn("ec2", `security-group/${id}`),
                description: "Managed by Pulumi",
                ownerId: ACCOUNT,
                ingress: [],
                egress: [],
            },
        };
    },
    beforeDelete(row, _state, world) {
        for (const type of [INGRESS, EGRESS])
            for (const rule of world.all(type))
                if (rule.props.referencedSecurityGroupId === row.id && rule.props.securityGroupId !== row.id)
                    throw new Refusal("DependencyViolation", `resource ${row.id} has a dependent object: ${rule.id}`);
    },
    afterDelete(row, _state, world) {
        for (const type of [INGRESS, EGRESS])
            for (const rule of world.all(type)) if (rule.props.securityGroupId === row.id) world.remove(type, rule.id);
    },
};

const SOURCES = ["cidrIpv4", "cidrIpv6", "prefixListId", "referencedSecurityGroupId"] as const;
/** AWS' quota of rules in one direction. */
const RULES_PER_GROUP = 60;

function securityGroupRule(type: string): Kind {
    const same = (one: Props, other: Props) =>
        ["securityGroupId", "ipProtocol", "fromPort", "toPort", ...SOURCES].every((name) => one[name] === other[name]);
    const refuse = (inputs: Props, world: World, self?: string) => {
        const rules = world
            .all(type)
            .filter((row) => row.id !== self && row.props.securityGroupId === inputs.securityGroupId);
        const twin = rules.find((row) => same(row.props, inputs));
        if (twin)
            throw new Refusal(
                "InvalidPermission.Duplicate",
                `the specified rule already exists in ${inputs.securityGroupId}`,
            );
        if (rules.length >= RULES_PER_GROUP)
            throw new Refusal(
                "RulesPerSecurityGroupLimitExceeded",
                `The maximum number of rules per security group has been reached (${RULES_PER_GROUP})`,
            );
        const vpcOf = (id: unknown) => world.find(SECURITY_GROUP, id)?.props.vpcId;
        if (
            inputs.referencedSecurityGroupId !== undefined &&
            vpcOf(inputs.referencedSecurityGroupId) !== vpcOf(inputs.securityGroupId)
        )
            throw new Refusal(
                "InvalidGroup.NotFound",
                `You have specified two resources that belong to different networks: ${inputs.referencedSecurityGroupId}`,
            );
    };
    return {
        replaces: ["securityGroupId", "region"],
        refers: { securityGroupId: NO_GROUP, referencedSecurityGroupId: NO_GROUP },
        range: { fromPort: [-1, 65535], toPort: [-1, 65535] },
        check(inputs, problem) {
            exactlyOne(inputs, SOURCES, problem);
            description(inputs, problem);
            cidr(inputs, "cidrIpv4", problem);
            const protocol = text(inputs, "ipProtocol");
            const [from, to] = [number(inputs, "fromPort"), number(inputs, "toPort")];
            if (protocol === "tcp" || protocol === "udp" || protocol === "6" || protocol === "17") {
                if (from === undefined || to === undefined)
                    problem("fromPort", "InvalidParameterValue: tcp and udp need fromPort and toPort");
                else if (from > to) problem("fromPort", `InvalidParameterValue: invalid port range ${from}-${to}`);
            } else if (protocol !== undefined && !["icmp", "icmpv6"].includes(protocol) && !/^-?\d+$/.test(protocol))
                problem("ipProtocol", `InvalidPermission.Malformed: unknown protocol ${protocol}`);
        },
        create(inputs, world) {
            refuse(inputs, world);
            const id = world.newId("sgr");
            return { id, props: { arn: world.arn("ec2", `security-group-rule/${id}`), securityGroupRuleId: id } };
        },
        update(row: Row, news, world) {
            refuse(news, world, row.id);
            return undefined;
        },
    };
}

export const network: Record<string, Kind> = {
    [VPC]: vpc,
    [SUBNET]: subnet,
    [GATEWAY]: internetGateway,
    [NAT]: natGateway,
    [EIP]: eip,
    [ROUTE_TABLE]: routeTable,
    [ROUTE]: route,
    [ASSOCIATION]: routeTableAssociation,
    [ENDPOINT]: vpcEndpoint,
    [ENDPOINT_ROUTES]: endpointRoutes,
    [SECURITY_GROUP]: securityGroup,
    [INGRESS]: securityGroupRule(INGRESS),
    [EGRESS]: securityGroupRule(EGRESS),
};
