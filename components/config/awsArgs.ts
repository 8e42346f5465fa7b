/** What a cluster on aws is made from, besides what every cluster has. Types, with each default and what a change does. */

/** The network of a cluster on aws: one that exists, by `vpcId` and `subnetIds`, or one that is made. */
export interface AwsNetworkArgs {
    /**
     * The VPC that the nodes go into. Given together with `subnetIds`.
     * @default a VPC is made
     * @change refused
     * @example "vpc-0a1b2c3d4e5f60718"
     */
    readonly vpcId?: string;
    /**
     * Subnets in that VPC that carry nothing but this cluster's nodes, one an availability zone.
     * @default [] (they are made)
     * @change in place: new nodes go into the new subnets. Taking away a subnet that has a node is refused
     * @example ["subnet-0a1b2c3d4e5f60718", "subnet-1a1b2c3d4e5f60718"]
     */
    readonly subnetIds: readonly string[];
    /**
     * Private addresses of the VPC that is made, /16 to /22.
     * @default "10.64.0.0/16"
     * @change refused
     * @example "10.65.0.0/20"
     */
    readonly cidr: string;
    /**
     * Number of availability zones of the VPC that is made, 1 to 3.
     * @default 3, and 1 with azs single
     * @change in place: new nodes go into the new zones. Taking away a zone that has a node is refused
     */
    readonly zones: number;
    /**
     * How nodes of the VPC that is made reach AWS and the package archives: `nat`, or `endpoints` to AWS only, without the
     * archives.
     * @default "nat"
     * @change in place
     */
    readonly egress: "nat" | "endpoints";
    /**
     * Ranges of addresses that may connect to PostgreSQL, besides the nodes. They must not overlap `cidr`.
     * @default [] (no range)
     * @change in place
     * @example ["203.0.113.0/24"]
     */
    readonly allowedCidrs: readonly string[];
    /**
     * Security groups whose members may connect to PostgreSQL.
     * @default [] (no group)
     * @change in place
     * @example ["sg-0a1b2c3d4e5f60718"]
     */
    readonly allowedSecurityGroups: readonly string[];
    /**
     * Allows 0.0.0.0/0, ::/0 and ranges nearly as large in `allowedCidrs`.
     * @default false
     * @change in place
     */
    readonly openToTheWorld: boolean;
}

/** What a cluster has on aws only. */
export interface AwsArgs {
    /**
     * The AWS region.
     * @default `aws:region`, else AWS_REGION, else AWS_DEFAULT_REGION
     * @change refused
     * @example "eu-central-1"
     */
    readonly region: string;
    /**
     * Profile of the AWS credentials. It must lead into the same account.
     * @default `aws:profile`, else AWS_PROFILE
     * @change in place
     * @example "prod"
     */
    readonly profile?: string;
    /**
     * Machine image, Ubuntu 24.04 for amd64. The newest one is looked up when the cluster is made.
     * @default looked up once, then kept
     * @change replace
     * @example "ami-0a1b2c3d4e5f60718"
     */
    readonly ami?: string;
    /**
     * The network that the nodes are in, and who may connect.
     * @default a VPC is made
     * @change that of each of its keys
     * @example {"vpcId": "vpc-0a1b2c3d4e5f60718", "subnetIds": ["subnet-0a1b2c3d4e5f60718"]}
     */
    readonly network: AwsNetworkArgs;
    /**
     * `spread` puts the nodes into all availability zones of the network, `single` all into one.
     * @default "spread"
     * @change in place: from single to spread, new nodes go into other zones. From spread to single is refused while a node is
     * in another zone
     */
    readonly azs: "spread" | "single";
    /**
     * How SQL reaches the nodes: through SSM, or directly by VPN, bastion or `allowedCidrs`. Commands always go through SSM.
     * @default "ssm"
     * @change reload
     */
    readonly connection: "ssm" | "direct";
    /**
     * ARN of the KMS key of volumes, bucket and secrets, in the cluster's region. No alias.
     * @default AWS' own keys
     * @change refused
     * @example "arn:aws:kms:eu-central-1:123456789012:key/0a1b2c3d-1234-1234-1234-0a1b2c3d4e5f"
     */
    readonly kmsKeyId?: string;
    /**
     * Placement groups: `spread` on racks apart (at most 7 nodes an availability zone), `partition` without such a limit.
     * @default "none"
     * @change replace
     */
    readonly placement: "none" | "spread" | "partition";
    /**
     * ARN of the SNS topic that is told when a disk is 80 % full, a status check fails or the archive falls behind.
     * @default none: no alarms
     * @change reload
     * @example "arn:aws:sns:eu-central-1:123456789012:alarms"
     */
    readonly alarmTopic?: string;
    /**
     * Tags of everything, besides the cluster's own; at most 40.
     * @default {}
     * @change reload
     * @example {"team": "orders"}
     */
    readonly tags: Readonly<Record<string, string>>;
}
