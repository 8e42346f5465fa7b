/**
 * The one table of `citus:*`. All that is said of a key derives from it: how it is read, checked and filled (derived.ts),
 * what Pulumi.yaml declares and docs/configuration.md lists (`npm run format` writes them). row.ts says what a row holds.
 */

import { z } from "zod";
import { POOL_OFFSET } from "../../core/node/topology.ts";
import { flag, oneOf, passphrase, whole } from "../../core/util/fields.ts";
import { citusImage, MAX_WORKERS, NEW_CITUS_VERSION } from "./args.ts";
import * as aws from "./aws.ts";
import { COORDINATOR, MACHINE } from "./machine.ts";
import { PLATFORMS, type PlatformName } from "./platforms.ts";
import { type KeyRow, objectOf } from "./row.ts";
import * as values from "./values.ts";

const HIGHEST_PORT = 65_535 - POOL_OFFSET - MAX_WORKERS;

export const KEYS = {
    platform: {
        kind: "text",
        value: () => oneOf(PLATFORMS),
        default: "docker",
        copied: true,
        description: "Where the cluster runs: docker or aws",
        reference: { type: "`docker` or `aws`", change: "refused" },
    },
    name: {
        kind: "text",
        value: () => values.name,
        default: (stack: string, resource: string) => `${resource}-${stack}`,
        copied: false,
        description: "Name of the cluster, citus-<stack> when empty",
        reference: { type: "text", default: "`citus-<stack>`", change: "refused" },
    },
    workers: {
        kind: "number",
        value: () => whole(0, MAX_WORKERS, 2),
        default: 2,
        copied: false,
        description: `Number of workers, 0 to ${MAX_WORKERS}. Edit it to scale out or in. With 0 the coordinator holds everything`,
        reference: { type: `0 to ${MAX_WORKERS}`, change: "moves", section: "workers-and-retire" },
    },
    retire: {
        kind: "list",
        value: () => values.retire,
        default: [],
        copied: false,
        description: "Workers that leave instead of those with the highest numbers, such as [worker-1]",
        reference: { type: "list of workers", change: "moves", section: "workers-and-retire" },
    },
    database: {
        kind: "text",
        value: () => values.database,
        default: "app",
        copied: true,
        description: "The database that is distributed",
        reference: { type: "text", change: "refused" },
    },
    shardCount: {
        kind: "number",
        value: () => whole(1, 64_000, 32),
        default: 32,
        copied: true,
        description: "Shards of a new distributed table",
        reference: { type: "1 to 64000", change: "reload" },
    },
    citusVersion: {
        kind: "text",
        value: () => values.citusVersion.optional(),
        copied: true,
        description: `Citus in full, such as 14.1.0; when empty what the cluster was made with, ${NEW_CITUS_VERSION} for a new one`,
        reference: { type: "version", default: `\`${NEW_CITUS_VERSION}\``, change: "replace", section: "versions" },
    },
    image: {
        kind: "text",
        value: () => values.image.optional(),
        onlyOn: {
            platform: "docker",
            why: "machines on aws boot citus:ami and install the packages of citus:citusVersion",
        },
        copied: true,
        description: `On docker, base image with PostgreSQL 17 and Citus; ${citusImage("<citusVersion>")} when empty`,
        reference: {
            type: "image with tag or digest",
            default: `\`${citusImage("<citusVersion>")}\``,
            change: "replace",
            section: "versions",
        },
    },
    postgresVersion: {
        kind: "text",
        value: () => values.postgresVersion.optional(),
        onlyOn: { platform: "docker", why: "machines on aws install the newest minor release and keep it" },
        copied: true,
        description:
            "On docker, minor release of PostgreSQL: newest, base (the base image's own) or one such as 17.10; when empty what the cluster runs, newest for a new one",
        reference: {
            type: "`newest`, `base` or a version",
            default: "`newest`",
            change: "replace",
            section: "versions",
        },
    },
    port: {
        kind: "number",
        value: () => whole(1024, HIGHEST_PORT, 5432).optional(),
        onlyOn: { platform: "docker", why: "on aws each node listens on 5432 at an address of its own" },
        copied: false,
        description: "On docker, first published port on 127.0.0.1, the coordinator's; chosen once and kept when empty",
        reference: {
            type: `1024 to ${HIGHEST_PORT}`,
            default: "chosen once, then kept",
            change: "replace",
            section: "port",
        },
    },
    coordinator: {
        kind: "object",
        value: (platform: PlatformName) => objectOf(COORDINATOR, platform),
        parts: COORDINATOR,
        default: {},
        copied: true,
        description:
            "Size of the coordinator and whether it holds shards: {memory: 1GB, cores: 2, shards: false}; on aws {instanceType: m7i.large, volumeSize: 100 (GiB), iops: 3000, throughput: 125 (MiB/s)}",
        reference: {
            type: "object",
            default: "`{memory: 1GB, cores: 2, shards: false}`",
            change: "see below",
            section: "coordinator-and-worker",
        },
    },
    worker: {
        kind: "object",
        value: (platform: PlatformName) => objectOf(MACHINE, platform),
        parts: MACHINE,
        default: {},
        copied: true,
        description:
            "Size of each worker: {memory: 1GB, cores: 2}; on aws {instanceType: m7i.large, volumeSize: 100, iops: 3000, throughput: 125}",
        reference: {
            type: "object",
            default: "`{memory: 1GB, cores: 2}`",
            change: "see below",
            section: "coordinator-and-worker",
        },
    },
    settings: {
        kind: "object",
        value: (platform: PlatformName) => objectOf(values.SETTINGS, platform),
        parts: values.SETTINGS,
        default: {},
        copied: true,
        description:
            "PostgreSQL and Citus settings that win over the computed ones: {all: {}, coordinator: {}, workers: {}}",
        reference: {
            type: "object",
            default: "`{all: {}, coordinator: {}, workers: {}}`",
            change: "reload or restart",
            section: "settings",
        },
    },
    rebalance: {
        kind: "object",
        value: values.rebalance,
        parts: values.REBALANCE,
        default: {},
        copied: true,
        description:
            "false registers workers and moves only what a leaving worker holds; or {strategy: by_disk_size | by_shard_count, transferMode: auto | force_logical | block_writes, threshold: 0 to 1}",
        reference: {
            type: "`true`, `false` or object",
            default: "`true`",
            change: "may move shards",
            section: "rebalance",
        },
    },
    postDeploy: {
        kind: "list",
        value: () => values.postDeploy,
        default: [],
        copied: false,
        description: "SQL files inside the project, run on the coordinator in order, each content once",
        reference: { type: "list of SQL files", change: "runs new files", section: "postdeploy" },
    },
    protect: {
        kind: "flag",
        value: () => flag,
        default: (stack: string) => stack !== "dev",
        copied: false,
        description: "Refuse to destroy the cluster's data. When empty, true, and false in a stack named dev",
        reference: {
            type: "`true` or `false`",
            default: "`true` (`false` in a stack named `dev`)",
            change: "reload",
            section: "protect",
        },
    },
    backup: {
        kind: "object",
        value: values.backup,
        parts: values.BACKUP,
        default: {},
        copied: false,
        description:
            "false, or schedules and retention: {full: 7d, diff: 1d, incr: off, restorePoint: 5m, retention: 2, window: 01:00-05:00}",
        reference: {
            type: "`true`, `false` or object",
            default: "`{full: 7d, diff: 1d, incr: off, restorePoint: 5m, retention: 2}`",
            change: "see below",
            section: "backup",
        },
    },
    backupPassphrase: {
        kind: "text",
        value: () => passphrase,
        secret: true,
        output: { whole: "-".repeat(20) },
        copied: false,
        description: "Encrypts the backups. Set it with --secret before the first up, and keep it elsewhere too",
        reference: {
            type: "secret text",
            default: "none: not encrypted",
            change: "refused",
            section: "passphrases",
        },
    },
    restoreFrom: {
        kind: "object",
        value: (platform: PlatformName) =>
            objectOf(values.RESTORE_FROM, platform, 'an object such as {"stack": "dev", "point": "latest"}').optional(),
        parts: values.RESTORE_FROM,
        copied: false,
        description:
            "Restores from a backup: {stack: dev, point: latest | a restore point's name | a time}. Without a stack, from this stack's own backups",
        reference: {
            type: "object",
            default: "none: a new, empty cluster",
            change: "restores once",
            section: "restorefrom",
        },
    },
    restorePassphrase: {
        kind: "text",
        value: () => passphrase,
        secret: true,
        output: { whole: "-".repeat(20) },
        copied: false,
        description: "Passphrase of the backups that restoreFrom reads; backupPassphrase when empty",
        reference: {
            type: "secret text",
            default: "that of `backupPassphrase`",
            change: "reload",
            section: "passphrases",
        },
    },
    tenantGroups: {
        kind: "object",
        // components/config/tenants/validate.ts says what a group may hold
        value: () => z.any(),
        default: {},
        copied: false,
        description:
            "Groups of tenants: {clinics: {model: schema, template: sql/clinic/*.sql, tenants: {acme: {}, globex: {node: worker-2}}}}. See docs/tenants.md",
        reference: { type: "object", change: "[tenants](tenants.md)" },
    },
    dockerHost: {
        kind: "text",
        value: () => values.dockerHost.optional(),
        onlyOn: { platform: "docker", why: "there is no container engine on aws" },
        copied: true,
        description:
            "On docker, the engine of this machine as DOCKER_HOST has it; when empty the one that the docker CLI uses (docs/engines.md)",
        reference: {
            type: "address",
            default: "the environment's engine",
            change: "don't",
            section: "dockerhost",
        },
    },
    network: {
        kind: "object",
        value: (platform: PlatformName) =>
            objectOf(aws.NETWORK, platform, 'an object such as {"vpcId": "vpc-…", "subnetIds": ["subnet-…"]}'),
        parts: aws.NETWORK,
        default: {},
        onlyOn: { platform: "aws", why: "on docker the networks are the engine's" },
        copied: true,
        description:
            "On aws, {vpcId, subnetIds} of your network, or {cidr: 10.64.0.0/16, zones: 3, egress: nat | endpoints} of one that is made. Who may connect: {allowedCidrs: [], allowedSecurityGroups: [], openToTheWorld: false}",
        reference: { type: "object", default: "a VPC is made", change: "see below", section: "network" },
    },
    azs: {
        kind: "text",
        value: () => oneOf(["spread", "single"]).default("spread"),
        onlyOn: { platform: "aws", why: "docker has no availability zones" },
        copied: true,
        description:
            "On aws, spread: nodes over all availability zones of the network; single: all in one. spread when empty",
        reference: { type: "`spread` or `single`", default: "`spread`", change: "see below", section: "azs" },
    },
    connection: {
        kind: "text",
        value: () => oneOf(["ssm", "direct"]).default("ssm"),
        onlyOn: { platform: "aws", why: "on docker nodes are reached by published ports and the engine" },
        // to a copy the way is SSM, which needs no network that lets anybody in
        copied: false,
        description:
            "On aws, how SQL reaches the nodes: ssm, or direct (VPN, bastion, allowed ranges). ssm when empty. Commands always go through SSM",
        reference: { type: "`ssm` or `direct`", default: "`ssm`", change: "reload", section: "connection" },
    },
    ami: {
        kind: "text",
        value: () => aws.ami.optional(),
        onlyOn: { platform: "aws", why: "containers start from citus:image" },
        output: { whole: aws.AMI },
        copied: true,
        description:
            "On aws, machine image of Ubuntu 24.04 for amd64. When empty, looked up once and kept. Another one replaces one node at a time",
        reference: { type: "id of an image", default: "looked up once, then kept", change: "replace", section: "ami" },
    },
    kmsKeyId: {
        kind: "text",
        value: () => aws.kmsKeyId.optional(),
        onlyOn: { platform: "aws", why: "docker volumes know no such key" },
        output: { whole: aws.KMS_KEY },
        copied: true,
        description: "On aws, ARN of the KMS key for volumes, bucket and secrets; AWS' own keys when empty",
        reference: {
            type: "ARN",
            default: "AWS' own keys",
            change: "refused",
            section: "kmskeyid-and-alarmtopic",
        },
    },
    placement: {
        kind: "text",
        value: () => oneOf(["none", "spread", "partition"]).default("none"),
        onlyOn: { platform: "aws", why: "all containers run on one machine" },
        copied: true,
        description:
            "On aws, placement groups: none, spread (at most 7 nodes an availability zone) or partition; none when empty",
        reference: {
            type: "`none`, `spread` or `partition`",
            default: "`none`",
            change: "replace",
            section: "placement",
        },
    },
    alarmTopic: {
        kind: "text",
        value: () => aws.alarmTopic.optional(),
        onlyOn: { platform: "aws", why: "docker has no alarms" },
        output: { whole: aws.TOPIC },
        copied: false,
        description: "On aws, ARN of the SNS topic for alarms; no alarms when empty",
        reference: { type: "ARN", default: "none: no alarms", change: "reload", section: "kmskeyid-and-alarmtopic" },
    },
    tags: {
        kind: "object",
        value: () => aws.tags,
        default: {},
        onlyOn: { platform: "aws", why: "they are AWS tags" },
        output: { whole: {}, each: () => "" },
        copied: true,
        description: "On aws, tags of everything, added to the cluster's own: {team: orders}",
        reference: { type: "map of texts", change: "reload", section: "tags" },
    },
} as const satisfies Readonly<Record<string, KeyRow>>;

export type Key = keyof typeof KEYS;
