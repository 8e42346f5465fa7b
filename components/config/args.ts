/** What a cluster is made from, after validation. Types, with each default. */
import type { BackupArgs } from "../archive.ts";
import type { Overrides } from "../settings.ts";
import type { TenantGroupSettings } from "../tenants/args.ts";

/** Citus of a new cluster. One that is there keeps the version that it was made with. */
export const NEW_CITUS_VERSION = "14.1.0";

/** The default of before clusters remembered theirs. */
const BEFORE_IT_WAS_REMEMBERED = "14.0.1";

/**
 * The default of a cluster: that of the day on which it was made.
 * @param identity what the state has of the cluster's Identity; undefined for a new cluster
 */
export function defaultCitus(identity: { readonly citusVersion?: unknown } | undefined): string {
    if (identity === undefined) return NEW_CITUS_VERSION;
    const { citusVersion } = identity;
    return typeof citusVersion === "string" && citusVersion !== "" ? citusVersion : BEFORE_IT_WAS_REMEMBERED;
}

/** Citus' own image of a version. */
export const citusImage = (version: string): string => `citusdata/citus:${version}-pg17`;

export const MAX_WORKERS = 200;

export interface MachineArgs {
    /** Memory of each such node in MiB; PostgreSQL is sized for it. @default 1024; on aws what instanceType leaves */
    readonly memory: number;
    /** CPU cores of each such node. @default 2; on aws those of instanceType */
    readonly cores: number;
    /** EC2 instance type, x86_64. Set exactly when platform is aws. @default "m7i.large" */
    readonly instanceType?: string;
    /** Size of the data volume in GiB. Set exactly when platform is aws. It can grow, never shrink. @default 100 */
    readonly volumeSize?: number;
    /** Input and output operations a second of the data volume. Set exactly when platform is aws. @default 3000 */
    readonly iops?: number;
    /** Throughput of the data volume in MiB/s. Set exactly when platform is aws. @default 125 */
    readonly throughput?: number;
}

export interface AwsNetworkArgs {
    /** The VPC the nodes go into. @default one is made */
    readonly vpcId?: string;
    /** Subnets in that VPC that carry nothing but this cluster's nodes, one an availability zone. @default none: they are made */
    readonly subnetIds: readonly string[];
    /** Addresses of the VPC that is made. @default "10.64.0.0/16" */
    readonly cidr: string;
    /** Availability zones of the VPC that is made, 1 to 3. @default 3 */
    readonly zones: number;
    /** How nodes of the VPC that is made reach AWS and the package archives. @default "nat" */
    readonly egress: "nat" | "endpoints";
    /** Who may connect to PostgreSQL besides the nodes. @default nobody */
    readonly allowedCidrs: readonly string[];
    /** Security groups whose members may connect to PostgreSQL. @default none */
    readonly allowedSecurityGroups: readonly string[];
    /** Allows 0.0.0.0/0 and ::/0 in allowedCidrs. @default false */
    readonly openToTheWorld: boolean;
}

export interface AwsArgs {
    /** @default `aws:region`, else AWS_REGION, else AWS_DEFAULT_REGION */
    readonly region: string;
    /** Profile of the AWS credentials. @default `aws:profile`, else AWS_PROFILE */
    readonly profile?: string;
    /** Machine image, Ubuntu 24.04 amd64. @default the newest one when the cluster is made, kept */
    readonly ami?: string;
    readonly network: AwsNetworkArgs;
    /** `spread` puts the nodes into all zones of the network, `single` all into one. @default "spread" */
    readonly azs: "spread" | "single";
    /** How SQL reaches the nodes: through SSM, or directly by VPN, bastion or allowedCidrs. Commands always go through SSM. @default "ssm" */
    readonly connection: "ssm" | "direct";
    /** ARN of the KMS key of volumes, bucket and secrets. @default AWS' own keys */
    readonly kmsKeyId?: string;
    /** Placement groups: `spread` on racks apart (at most 7 nodes a zone), `partition`. @default "none" */
    readonly placement: "none" | "spread" | "partition";
    /** ARN of the SNS topic that is told of alarms. @default no alarms */
    readonly alarmTopic?: string;
    /** Tags of everything, besides the cluster's own. @default {} */
    readonly tags: Readonly<Record<string, string>>;
}

export interface RebalanceArgs {
    /** `false` registers workers and moves only what a leaving worker holds. @default true */
    readonly enabled: boolean;
    /** @default "by_disk_size" (Citus' own default) */
    readonly strategy: "by_disk_size" | "by_shard_count";
    /**
     * `auto` moves by logical replication and refuses tables that it can't move. `block_writes` moves those, and what is
     * colocated with them, while their writes wait, and the others as `auto` does. @default "auto"
     */
    readonly transferMode: "auto" | "force_logical" | "block_writes";
    /** How far a node's load may be from the average, 0 to 1. @default the strategy's own */
    readonly threshold?: number;
}

export interface RestoreFromArgs {
    /** The stack whose cluster is copied. @default this stack's own repository: a disaster is mended in place */
    readonly stack?: string;
    /** The Docker volume (on aws the bucket) that is the repository, when its stack is gone. */
    readonly repository?: string;
    /** The cluster's name in that repository. @default the stack's, or the only one in it */
    readonly cluster?: string;
    /** `latest`, a restore point's name, or a moment (RFC 3339), which snaps to the last point before it. @default latest */
    readonly point: string;
    /** Allows that databases which are there are replaced, with all that was written after the point. @default false */
    readonly overwrite: boolean;
    /** Rebuilds this worker alone to the end of its archive. Splits transactions that touched other nodes. */
    readonly onlyWorker?: string;
    /** Must be true with `onlyWorker`. @default false */
    readonly acceptSplitTransactions: boolean;
}

export interface ClusterArgs {
    readonly platform: "docker" | "aws";
    /** Name of the cluster; part of node names and certificates. @default `citus-<stack>` */
    readonly name: string;
    readonly workers: number;
    readonly retire: readonly string[];
    readonly database: string;
    readonly shardCount: number;
    /** Citus in full, such as `14.1.0`. @default what the cluster was made with; 14.1.0 for a new one */
    readonly citusVersion?: string;
    /** Base image; only means something on docker. @default `citusdata/citus:<citusVersion>-pg17` */
    readonly image?: string;
    /**
     * Minor release of PostgreSQL: `newest` that the base image's package lists offer, `base` for the base image's own, or one
     * such as `17.10`; only means something on docker. @default what the cluster runs; `newest` for a new one
     */
    readonly postgresVersion?: string;
    /** First published port on 127.0.0.1, the coordinator's; `worker-<n>` gets port + n. @default chosen once, kept */
    readonly port?: number;
    readonly coordinator: MachineArgs & { readonly shards: boolean };
    readonly worker: MachineArgs;
    readonly settings: Overrides;
    readonly rebalance: RebalanceArgs;
    readonly postDeploy: readonly string[];
    /** Refuse to destroy the cluster's data. @default true, false in a stack named dev */
    readonly protect: boolean;
    readonly backup: BackupArgs;
    /** Encrypts the repository; a secret, and needed for every restore. @default not encrypted */
    readonly backupPassphrase?: string;
    /** Where the cluster's data comes from. @default a new, empty cluster */
    readonly restoreFrom?: RestoreFromArgs;
    /** The passphrase of the repository that is restored from; a secret. @default backupPassphrase */
    readonly restorePassphrase?: string;
    /** Groups of tenants by name. @default {} */
    readonly tenantGroups: Readonly<Record<string, TenantGroupSettings>>;
    /** Docker engine on this machine, as DOCKER_HOST has it. @default the one that the docker CLI would use */
    readonly dockerHost?: string;
    /** There exactly when platform is aws. */
    readonly aws?: AwsArgs;
}
