/** Where nodes are and who may talk to them: a VPC that is made or one that is there, and the nodes' security group. */

import * as pulumi from "@pulumi/pulumi";
import { POSTGRES_PORT } from "../../../core/node/topology.ts";
import { type Carved, carve, type NodeSubnet } from "./addresses.ts";
import type { Scope } from "./scope.ts";
import * as aws from "./sdk.ts";

const HTTPS = 443;
const HTTP = 80;
const ANYWHERE = "0.0.0.0/0";

/** Zones too old for most instance types; not even load balancers are offered in all of them. */
const OLD_ZONES = ["use1-az3", "usw1-az2", "cac1-az3"];

/** What a node needs of AWS when it reaches nothing else; S3 has a gateway of its own. */
const SERVICES = ["ssm", "ssmmessages", "ec2messages", "secretsmanager", "logs"];

/** How nodes reach AWS' services from a network without a way out. */
interface Endpoints {
    readonly securityGroup: aws.ec2.SecurityGroup;
    readonly s3: aws.ec2.VpcEndpoint;
}

/** The network of a cluster's nodes. */
export class Network extends pulumi.ComponentResource {
    readonly vpcId: pulumi.Output<string>;
    /** Subnets that carry nothing but nodes, one an availability zone. */
    readonly subnets: pulumi.Output<NodeSubnet[]>;
    /** The nodes' security group. */
    readonly securityGroupId: pulumi.Output<string>;
    /** Without these a machine that boots reaches nothing. */
    readonly ready: readonly pulumi.Resource[];
    private readonly scope: Scope;
    private readonly resources: pulumi.Resource[] = [];

    constructor(scope: Scope, opts: pulumi.ComponentResourceOptions) {
        super("citus:aws:Network", `${scope.prefix}-network`, {}, opts);
        this.scope = scope;
        const { vpcId, subnetIds } = scope.aws.network;
        let endpoints: Endpoints | undefined;
        if (vpcId !== undefined) {
            const found = this.find(vpcId, subnetIds);
            this.subnets = found.apply((all) => all.map(({ vpcId: _, ...subnet }) => subnet));
            this.vpcId = found.apply((all) => all[0]?.vpcId ?? "");
        } else {
            const made = this.make();
            this.subnets = made.subnets;
            this.vpcId = made.vpcId;
            endpoints = made.endpoints;
        }
        const group = this.securityGroup("nodes", `Nodes of ${scope.cluster}`);
        this.securityGroupId = group.id;
        this.rules(group, endpoints);
        this.ready = this.resources;
        this.registerOutputs({ vpcId: this.vpcId, securityGroupId: this.securityGroupId });
    }

    private get child(): pulumi.CustomResourceOptions {
        return { parent: this };
    }

    private named(name: string): string {
        return `${this.scope.prefix}-${name}`;
    }

    /** Existing subnets. */
    private find(
        vpcId: pulumi.Input<string>,
        subnetIds: pulumi.Input<readonly pulumi.Input<string>[]>,
    ): pulumi.Output<(NodeSubnet & { vpcId: string })[]> {
        const all = pulumi
            .output(subnetIds)
            .apply((ids) => pulumi.all(ids.map((id) => aws.ec2.getSubnetOutput({ id }, { parent: this }))));
        return pulumi.all([all, vpcId]).apply(([found, vpc]) => {
            const vpcs = new Set([vpc, ...found.map((subnet) => subnet.vpcId)]);
            if (vpcs.size > 1)
                throw new Error(
                    `The subnets of citus:network must be in one VPC, and these are in ${[...vpcs].join(" and ")}:\n` +
                        found.map((subnet) => `  ${subnet.id} is in ${subnet.vpcId}`).join("\n"),
                );
            return found.map((subnet) => ({
                id: subnet.id,
                zone: subnet.availabilityZone,
                cidr: subnet.cidrBlock,
                vpcId: subnet.vpcId,
            }));
        });
    }

    /** A VPC with a private subnet a zone. */
    private make(): { vpcId: pulumi.Output<string>; subnets: pulumi.Output<NodeSubnet[]>; endpoints?: Endpoints } {
        const { network } = this.scope.aws;
        const carved = carve(network.cidr, network.zones);
        const vpc = new aws.ec2.Vpc(
            this.named("vpc"),
            {
                cidrBlock: network.cidr,
                // names of nodes and of endpoints resolve
                enableDnsSupport: true,
                enableDnsHostnames: true,
                tags: this.scope.tags("vpc"),
            },
            this.child,
        );
        const vpcId = vpc.id;
        const zones = this.zones(network.zones);
        const subnet = (name: string, cidrBlock: string, zone: number) =>
            new aws.ec2.Subnet(
                this.named(name),
                {
                    vpcId,
                    cidrBlock,
                    availabilityZone: zones.apply((names) => names[zone] ?? ""),
                    mapPublicIpOnLaunch: false,
                    tags: this.scope.tags(name),
                },
                // a zone that is out of order or new must not move the others
                { ...this.child, ignoreChanges: ["availabilityZone"] },
            );
        const routes = this.routeTable("nodes", vpcId);
        const nodes = carved.nodes.map((cidr, i) => {
            const made = subnet(`nodes-${i + 1}`, cidr, i);
            this.associate(`nodes-${i + 1}`, made, routes);
            return made;
        });
        const s3 = new aws.ec2.VpcEndpoint(
            this.named("s3"),
            {
                vpcId,
                serviceName: this.service("s3"),
                vpcEndpointType: "Gateway",
                routeTableIds: [routes.id],
                tags: this.scope.tags("s3"),
            },
            this.child,
        );
        this.resources.push(s3);
        const subnets = pulumi.all(
            nodes.map((made, i) =>
                pulumi
                    .all([made.id, made.availabilityZone])
                    .apply(([id, zone]) => ({ id, zone, cidr: carved.nodes[i] ?? "" })),
            ),
        );
        if (network.egress === "nat") {
            this.nat(carved, vpcId, subnet, routes);
            return { vpcId, subnets };
        }
        const securityGroup = this.interfaces(subnet("endpoints", carved.endpoints, 0), vpcId);
        return { vpcId, subnets, endpoints: { securityGroup, s3 } };
    }

    private zones(count: number): pulumi.Output<string[]> {
        const { region } = this.scope.aws;
        return aws
            .getAvailabilityZonesOutput(
                {
                    state: "available",
                    excludeZoneIds: OLD_ZONES,
                    // not local zones and their like
                    filters: [{ name: "opt-in-status", values: ["opt-in-not-required"] }],
                },
                { parent: this },
            )
            .apply(({ names }) => {
                if (names.length < count)
                    throw new Error(
                        `citus:network.zones is ${count}, and ${region} has ${names.length} (${names.join(", ")}): set it to ${names.length} at most`,
                    );
                return [...names].sort();
            });
    }

    private service(name: string): string {
        return `com.amazonaws.${this.scope.aws.region}.${name}`;
    }

    private routeTable(name: string, vpcId: pulumi.Input<string>): aws.ec2.RouteTable {
        return new aws.ec2.RouteTable(this.named(name), { vpcId, tags: this.scope.tags(name) }, this.child);
    }

    private associate(name: string, subnet: aws.ec2.Subnet, routes: aws.ec2.RouteTable): void {
        this.resources.push(
            new aws.ec2.RouteTableAssociation(
                this.named(name),
                { subnetId: subnet.id, routeTableId: routes.id },
                this.child,
            ),
        );
    }

    /** A way out for the private subnets, and none in. */
    private nat(
        carved: Carved,
        vpcId: pulumi.Output<string>,
        subnet: (name: string, cidr: string, zone: number) => aws.ec2.Subnet,
        routes: aws.ec2.RouteTable,
    ): void {
        const gateway = new aws.ec2.InternetGateway(
            this.named("internet"),
            { vpcId, tags: this.scope.tags("internet") },
            this.child,
        );
        const place = subnet("public", carved.public, 0);
        const publicRoutes = this.routeTable("public", vpcId);
        const out = new aws.ec2.Route(
            this.named("public"),
            { routeTableId: publicRoutes.id, destinationCidrBlock: ANYWHERE, gatewayId: gateway.id },
            this.child,
        );
        this.resources.push(out);
        this.associate("public", place, publicRoutes);
        const address = new aws.ec2.Eip(
            this.named("nat"),
            { domain: "vpc", tags: this.scope.tags("nat") },
            { ...this.child, dependsOn: [gateway] },
        );
        const nat = new aws.ec2.NatGateway(
            this.named("nat"),
            { subnetId: place.id, allocationId: address.id, tags: this.scope.tags("nat") },
            { ...this.child, dependsOn: [out] },
        );
        this.resources.push(
            new aws.ec2.Route(
                this.named("nodes"),
                { routeTableId: routes.id, destinationCidrBlock: ANYWHERE, natGatewayId: nat.id },
                this.child,
            ),
        );
    }

    /** AWS' services inside the VPC, for nodes without a way out. */
    private interfaces(subnet: aws.ec2.Subnet, vpcId: pulumi.Output<string>): aws.ec2.SecurityGroup {
        const group = this.securityGroup("endpoints", `Endpoints of ${this.scope.cluster}`, vpcId);
        for (const service of [...SERVICES, ...(this.scope.aws.kmsKeyId === undefined ? [] : ["kms"])]) {
            this.resources.push(
                new aws.ec2.VpcEndpoint(
                    this.named(service),
                    {
                        vpcId,
                        serviceName: this.service(service),
                        vpcEndpointType: "Interface",
                        privateDnsEnabled: true,
                        subnetIds: [subnet.id],
                        securityGroupIds: [group.id],
                        tags: this.scope.tags(service),
                    },
                    this.child,
                ),
            );
        }
        return group;
    }

    private securityGroup(
        name: string,
        description: string,
        vpcId: pulumi.Input<string> = this.vpcId,
    ): aws.ec2.SecurityGroup {
        return new aws.ec2.SecurityGroup(
            this.named(name),
            { description, vpcId, tags: this.scope.tags(name) },
            this.child,
        );
    }

    private rules(group: aws.ec2.SecurityGroup, endpoints: Endpoints | undefined): void {
        const { allowedCidrs, allowedSecurityGroups, egress } = this.scope.aws.network;
        this.ingress("between-nodes", group, { referencedSecurityGroupId: group.id }, "between nodes");
        for (const [i, cidr] of [...new Set(allowedCidrs)].entries())
            this.ingress(`from-${named(cidr, `range-${i + 1}`)}`, group, range(cidr), "allowedCidrs");
        for (const [i, id] of [...new Set(allowedSecurityGroups)].entries())
            this.ingress(
                `from-${named(id, `group-${i + 1}`)}`,
                group,
                { referencedSecurityGroupId: id },
                "allowedSecurityGroups",
            );

        this.egress("to-nodes", group, POSTGRES_PORT, { referencedSecurityGroupId: group.id }, "between nodes");
        if (endpoints) {
            const { s3, securityGroup } = endpoints;
            this.egress("to-s3", group, HTTPS, { prefixListId: s3.prefixListId }, "bundle and backups");
            const to = { referencedSecurityGroupId: securityGroup.id };
            this.egress("to-endpoints", group, HTTPS, to, "AWS services");
            this.resources.push(
                new aws.vpc.SecurityGroupIngressRule(
                    this.named("endpoints-from-nodes"),
                    {
                        securityGroupId: securityGroup.id,
                        referencedSecurityGroupId: group.id,
                        ipProtocol: "tcp",
                        fromPort: HTTPS,
                        toPort: HTTPS,
                        description: "from nodes",
                        tags: this.scope.tags("endpoints-from-nodes"),
                    },
                    this.child,
                ),
            );
            return;
        }
        this.egress("to-https", group, HTTPS, { cidrIpv4: ANYWHERE }, "AWS services and packages");
        if (egress === "nat") this.egress("to-http", group, HTTP, { cidrIpv4: ANYWHERE }, "package archives of Ubuntu");
    }

    /** Who may connect to PostgreSQL. */
    private ingress(name: string, group: aws.ec2.SecurityGroup, from: Peer, description: string): void {
        this.resources.push(
            new aws.vpc.SecurityGroupIngressRule(
                this.named(name),
                {
                    securityGroupId: group.id,
                    ...from,
                    ipProtocol: "tcp",
                    fromPort: POSTGRES_PORT,
                    toPort: POSTGRES_PORT,
                    description,
                    tags: this.scope.tags(name),
                },
                this.child,
            ),
        );
    }

    /** What nodes may connect to. */
    private egress(name: string, group: aws.ec2.SecurityGroup, port: number, to: Peer, description: string): void {
        this.resources.push(
            new aws.vpc.SecurityGroupEgressRule(
                this.named(name),
                {
                    securityGroupId: group.id,
                    ...to,
                    ipProtocol: "tcp",
                    fromPort: port,
                    toPort: port,
                    description,
                    tags: this.scope.tags(name),
                },
                this.child,
            ),
        );
    }
}

/** The other side of a rule. */
type Peer = Pick<
    aws.vpc.SecurityGroupIngressRuleArgs,
    "cidrIpv4" | "cidrIpv6" | "prefixListId" | "referencedSecurityGroupId"
>;

const isV6 = (cidr: string) => cidr.includes(":");

function range(cidr: pulumi.Input<string>): Peer {
    if (typeof cidr === "string") return isV6(cidr) ? { cidrIpv6: cidr } : { cidrIpv4: cidr };
    const when = (wanted: boolean) =>
        pulumi.output(cidr).apply((known) => (isV6(known) === wanted ? known : undefined)) as pulumi.Output<string>;
    return { cidrIpv4: when(false), cidrIpv6: when(true) };
}

/** Part of a Pulumi name, where a urn is split at `::`. What is not known yet is named by its place in the list. */
const named = (value: pulumi.Input<string>, otherwise: string) =>
    typeof value === "string" ? value.replace(/[^0-9a-z]/g, "-") : otherwise;
