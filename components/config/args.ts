/** What a cluster is made from, after validation. Types, with each default and what a change does. */
import type { BackupArgs } from "../../core/node/archive.ts";
import type { Overrides } from "../../core/node/settings.ts";
import type { AwsArgs } from "./awsArgs.ts";
import type { PlatformName } from "./platforms.ts";
import type { TenantGroupSettings } from "./tenants/args.ts";

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

/** Size of a machine, and on aws of its volume. */
export interface MachineArgs {
    /**
     * Memory of each such node in MiB. PostgreSQL is sized for it, and a container is limited to it.
     * @default 1024 (on aws what `instanceType` leaves)
     * @change replace
     */
    readonly memory: number;
    /**
     * Number of CPU cores of each such node. PostgreSQL is sized for them; a container is not limited to them.
     * @default 2 (on aws those of `instanceType`)
     * @change reload
     */
    readonly cores: number;
    /**
     * EC2 instance type, x86_64. Set exactly when platform is aws.
     * @default "m7i.large"
     * @change replace
     * @example "r7i.2xlarge"
     */
    readonly instanceType?: string;
    /**
     * Size of the data volume in GiB, 10 to 65536. Set exactly when platform is aws.
     * @default 100
     * @change in place: the volume and its file system grow while they are used. Smaller is refused
     */
    readonly volumeSize?: number;
    /**
     * Number of input and output operations a second that the data volume does, 3000 to 80000, and at most 500 for each GiB.
     * Set exactly when platform is aws.
     * @default 3000
     * @change in place
     */
    readonly iops?: number;
    /**
     * Throughput of the data volume in MiB/s, 125 to 2000, and at most a quarter of `iops`. Set exactly when platform is aws.
     * @default 125
     * @change in place
     */
    readonly throughput?: number;
}

export interface CoordinatorArgs extends MachineArgs {
    /**
     * Whether the coordinator holds shards of distributed tables too.
     * @default false
     * @change moves: shards come to the coordinator, or leave it
     */
    readonly shards: boolean;
}

/** Whether and how shards move when the number of workers changes. */
export interface RebalanceArgs {
    /**
     * `false` registers workers and moves only what a leaving worker holds.
     * @default true
     * @change moves: turned on, the cluster is balanced
     */
    readonly enabled: boolean;
    /**
     * What is levelled between the nodes. It also becomes Citus' default, so that Citus' own functions agree.
     * @default "by_disk_size" (Citus' own default)
     * @change moves, when the cluster is not balanced by the new one
     */
    readonly strategy: "by_disk_size" | "by_shard_count";
    /**
     * `auto` moves by logical replication and refuses tables that it can't move. `block_writes` moves those, and what is
     * colocated with them, while their writes wait, and the others as `auto` does. `force_logical` moves tables without a key
     * too: updates and deletes of them fail meanwhile.
     * @default "auto"
     * @change in place: the next move uses it
     */
    readonly transferMode: "auto" | "force_logical" | "block_writes";
    /**
     * How far a node's load may be from the average, 0 to 1. Only with the strategy `by_disk_size`.
     * @default the strategy's own
     * @change moves, when a node's load is further from the average
     */
    readonly threshold?: number;
}

/** Which backup a cluster's data comes from. */
export interface RestoreFromArgs {
    /**
     * The stack whose cluster is copied.
     * @default this stack's own repository: a disaster is mended in place
     * @change restores once
     * @example "dev"
     */
    readonly stack?: string;
    /**
     * The Docker volume (on aws the bucket) that is the repository, when its stack is gone.
     * @default that of `stack`
     * @change restores once
     * @example "citus-prod-backups"
     */
    readonly repository?: string;
    /**
     * The cluster's name in that repository.
     * @default the stack's, or the only one in it
     * @change restores once
     * @example "citus-prod"
     */
    readonly cluster?: string;
    /**
     * `latest`, a restore point's name, or a moment (RFC 3339, with its zone), which snaps to the last point before it.
     * @default "latest"
     * @change restores once
     * @example "2026-11-22T10:00:00Z"
     */
    readonly point: string;
    /**
     * Allows replacing databases that hold data, with all that was written after the point.
     * @default false
     * @change in place: it only lets a restore begin
     */
    readonly overwrite: boolean;
    /**
     * Rebuilds this worker alone to the end of its archive. Splits transactions that touched other nodes.
     * @default none: the whole cluster is restored
     * @change restores once
     * @example "worker-1"
     */
    readonly onlyWorker?: string;
    /**
     * Must be true with `onlyWorker`.
     * @default false
     * @change in place: it only lets a restore begin
     */
    readonly acceptSplitTransactions: boolean;
}

/**
 * A cluster. `@change` says what a change does to a living one, in the words of docs/configuration.md ("What a change does").
 */
export interface ClusterArgs {
    /**
     * Where the cluster runs.
     * @default "docker"
     * @change refused
     */
    readonly platform: PlatformName;
    /**
     * Name of the cluster, part of node names and certificates: 2 to 40 lower-case letters, digits and dashes.
     * @default `citus-<stack>`
     * @change refused
     * @example "orders"
     */
    readonly name: string;
    /**
     * Number of workers, 0 to 200. With 0 the coordinator holds everything.
     * @default 2
     * @change moves: shards move to new workers, and away from leaving ones
     */
    readonly workers: number;
    /**
     * Workers that leave instead of those with the highest numbers. Keep an entry: without it the next scale-out makes that
     * worker again.
     * @default []
     * @change moves: what such a worker holds moves away, then it is removed
     * @example ["worker-1"]
     */
    readonly retire: readonly string[];
    /**
     * The database that is distributed.
     * @default "app"
     * @change refused
     * @example "orders"
     */
    readonly database: string;
    /**
     * Number of shards of a new distributed table, 1 to 64000. Tables that exist keep theirs.
     * @default 32
     * @change reload
     */
    readonly shardCount: number;
    /**
     * Citus in full, from 13.2.0. A cluster keeps the version that it was made with until this is changed. Older releases, and
     * jumps over a minor release, are refused.
     * @default `14.1.0`
     * @change replace
     * @example "14.0.1"
     */
    readonly citusVersion?: string;
    /**
     * Base image with PostgreSQL 17 and Citus, with a fixed tag or digest. Only means something on docker.
     * @default `citusdata/citus:<citusVersion>-pg17`
     * @change replace
     * @example "registry.example.com/citus:14.1.0-pg17"
     */
    readonly image?: string;
    /**
     * Minor release of PostgreSQL: the newest one when the cluster is made, `base` for the base image's own, or an exact one.
     * Only means something on docker.
     * @default `newest` (a cluster keeps what it runs)
     * @change replace
     * @example "17.10"
     */
    readonly postgresVersion?: string;
    /**
     * First published port on 127.0.0.1, the coordinator's. `worker-<n>` gets port + n. Only means something on docker.
     * @default chosen once, then kept
     * @change replace
     */
    readonly port?: number;
    /**
     * Size of the coordinator, and whether it holds shards.
     * @default `{memory: 1GB, cores: 2, shards: false}`
     * @change that of each of its keys
     * @example {"memory": 2048, "cores": 4, "shards": true}
     */
    readonly coordinator: CoordinatorArgs;
    /**
     * Size of each worker.
     * @default `{memory: 1GB, cores: 2}`
     * @change that of each of its keys
     * @example {"memory": 8192, "cores": 4}
     */
    readonly worker: MachineArgs;
    /**
     * PostgreSQL and Citus settings that win over the computed ones. PostgreSQL checks them before they are put in place.
     * @default `{all: {}, coordinator: {}, workers: {}}`
     * @change reload or restart, as the setting needs
     * @example {"all": {"work_mem": "24MB"}, "workers": {"maintenance_work_mem": "512MB"}}
     */
    readonly settings: Overrides;
    /**
     * Whether and how shards move when the number of workers changes.
     * @default `true`
     * @change may move shards
     * @example {"enabled": true, "strategy": "by_shard_count", "transferMode": "auto"}
     */
    readonly rebalance: RebalanceArgs;
    /**
     * SQL files inside the project. The coordinator runs them as the superuser, in order, and each content once.
     * @default []
     * @change runs new files; a file that is taken out undoes nothing
     * @example ["sql/schema.sql", "sql/grants.sql"]
     */
    readonly postDeploy: readonly string[];
    /**
     * Refuse to destroy the cluster's data.
     * @default `true` (`false` in a stack named `dev`)
     * @change reload
     */
    readonly protect: boolean;
    /**
     * Schedules and retention of backups.
     * @default `{full: 7d, diff: 1d, incr: off, restorePoint: 5m, retention: 2}`
     * @change that of each of its keys
     * @example {"enabled": true, "full": 604800, "diff": 43200, "incr": 0, "restorePoint": 60, "retention": 4}
     */
    readonly backup: BackupArgs;
    /**
     * Encrypts the repository. A secret of 20 to 200 visible ASCII characters, needed for every restore.
     * @default none: not encrypted
     * @change refused
     * @example the output of `openssl rand -base64 32`
     */
    readonly backupPassphrase?: string;
    /**
     * Where the cluster's data comes from.
     * @default none: a new, empty cluster
     * @change restores once
     * @example {"stack": "dev", "point": "latest", "overwrite": false, "acceptSplitTransactions": false}
     */
    readonly restoreFrom?: RestoreFromArgs;
    /**
     * The passphrase of the repository that `restoreFrom` reads. A secret.
     * @default that of `backupPassphrase`
     * @change reload
     * @example the `backupPassphrase` of the stack that is copied
     */
    readonly restorePassphrase?: string;
    /**
     * Groups of tenants by name.
     * @default {}
     * @change see docs/tenants.md: tenants are made, changed, moved and deleted one by one
     * @example {"clinics": {"model": "schema", "tenants": {"acme": {}, "globex": {"node": "worker-2"}}}}
     */
    readonly tenantGroups: Readonly<Record<string, TenantGroupSettings>>;
    /**
     * Docker engine on this machine, as DOCKER_HOST has it. Only means something on docker.
     * @default the environment's engine
     * @change don't: the data stays on the old engine
     * @example "unix:///var/run/docker.sock"
     */
    readonly dockerHost?: string;
    /**
     * What the cluster has on aws. Set exactly when platform is aws.
     * @default not set
     * @change that of each of its keys
     * @example the keys of `citus:network`, `citus:azs` and so on, with the region
     */
    readonly aws?: AwsArgs;
}
