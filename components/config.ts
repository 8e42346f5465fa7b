/**
 * `citus:*` configuration to validated arguments. The only file that reads configuration; every mistake is
 * collected and reported at once.
 */
import { existsSync } from "node:fs";
import * as pulumi from "@pulumi/pulumi";
import { z } from "zod";
import type { BackupArgs } from "./archive.ts";
import { refusedTarget } from "./restore/request.ts";
import { type Overrides, OWNED } from "./settings.ts";
import { nodeHost, workerIndex, workerIndexes } from "./topology.ts";

export const MAX_WORKERS = 200;
/** The highest worker number there may be: so many ports are kept free for a cluster. */
export const HIGHEST_INDEX = 255;

export interface MachineArgs {
    /** Memory of each such node in MiB; PostgreSQL is sized for it. @default 1024; on aws what instanceType leaves */
    readonly memory: number;
    /** CPU cores of each such node. @default 2; on aws those of instanceType */
    readonly cores: number;
    /** EC2 instance type, x86_64; only on aws, and always there. @default "m7i.large" */
    readonly instanceType?: string;
    /** Size of the data volume in GiB; only on aws, and always there. It can grow, never shrink. @default 100 */
    readonly volumeSize?: number;
    /** Input and output operations a second of the data volume; only on aws, and always there. @default 3000 */
    readonly iops?: number;
    /** Throughput of the data volume in MiB/s; only on aws, and always there. @default 125 */
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
    /** How SQL and commands reach the nodes: through SSM, or directly by VPN, bastion or allowedCidrs. @default "ssm" */
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
    /** `auto` moves by logical replication and refuses tables without a replica identity. @default "auto" */
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
    readonly citusVersion: string;
    /** Base image; only means something on docker. @default `citusdata/citus:<citusVersion>-pg17` */
    readonly image: string;
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
    /** Docker engine, as DOCKER_HOST has it. @default the environment's */
    readonly dockerHost?: string;
    /** There exactly when platform is aws. */
    readonly aws?: AwsArgs;
}

export interface Mistake {
    readonly path: string;
    readonly message: string;
}

/** What a user may set, with how it is read from the command line's text. */
const KEYS = {
    platform: "text",
    name: "text",
    workers: "number",
    retire: "json",
    database: "text",
    shardCount: "number",
    citusVersion: "text",
    image: "text",
    port: "number",
    coordinator: "json",
    worker: "json",
    settings: "json",
    rebalance: "json",
    postDeploy: "json",
    protect: "json",
    backup: "json",
    backupPassphrase: "text",
    restoreFrom: "json",
    restorePassphrase: "text",
    dockerHost: "text",
} as const;

/** Keys that `pulumi config set` must be given with --secret. */
const SECRETS = ["backupPassphrase", "restorePassphrase"] as const;

type Key = keyof typeof KEYS;

const whole = (low: number, high: number, example: number) => {
    const message = (input: unknown) =>
        `must be a whole number from ${low} to ${high}, got ${shown(input)} - for example ${example}`;
    return z
        .number({ error: (issue) => message(issue.input) })
        .refine((n) => Number.isInteger(n) && n >= low && n <= high, { error: (issue) => message(issue.input) });
};

const oneOf = <const T extends readonly [string, ...string[]]>(values: T) =>
    z.enum(values, {
        error: (issue) => `must be one of ${values.join(", ")}, got ${shown(issue.input)}`,
    });

const text = (pattern: RegExp, what: string) => {
    const message = (input: unknown) => `must be ${what}, got ${shown(input)}`;
    return z
        .string({ error: (issue) => message(issue.input) })
        .regex(pattern, { error: (issue) => message(issue.input) });
};

const strictObject = <T extends z.ZodRawShape>(shape: T, what: string) =>
    z.strictObject(shape, {
        error: (issue) =>
            issue.code === "unrecognized_keys"
                ? `has no ${issue.keys.map((key: string) => `"${key}"`).join(", ")}; it has ${Object.keys(shape).join(", ")}`
                : `must be ${what}, got ${shown(issue.input)}`,
    });

/** Memory as PostgreSQL writes it, in MiB. */
const memory = z.any().transform((value, context) => {
    const match = /^([0-9]+(?:\.[0-9]+)?) ?(MB|GB|MiB|GiB)$/.exec(String(value));
    const mib = match ? Math.floor(Number(match[1]) * (match[2]?.startsWith("G") ? 1024 : 1)) : Number.NaN;
    if (!(mib >= 256 && mib <= 4 * 1024 * 1024)) {
        context.issues.push({
            code: "custom",
            input: value,
            message: `must be an amount of memory from 256MB to 4096GB, got ${shown(value)} - for example 2GB`,
        });
        return z.NEVER;
    }
    return mib;
});

/** Not settings but directives of postgresql.conf. */
const DIRECTIVES = ["include", "include_dir", "include_if_exists"];

function settingMistake(name: string, value: unknown): string | undefined {
    const key = name.toLowerCase();
    if (!/^[a-z_][a-z0-9_]*(\.[a-z_][a-z0-9_]*)?$/.test(key))
        return `has no setting ${shown(name)}: not the name of a PostgreSQL setting`;
    if (DIRECTIVES.includes(key))
        return `can't set ${name} (got ${shown(value)}): it is a directive for files - list the settings here`;
    if (Object.hasOwn(OWNED, key)) return `can't set ${name} (got ${shown(value)}): ${OWNED[key]}`;
    if (!["string", "number", "boolean"].includes(typeof value)) {
        return `must give ${name} a text, a number, true or false, got ${shown(value)} - for example "16MB"`;
    }
    if (/[\n\r\0]/.test(String(value)))
        return `has a line break in ${name}, got ${shown(value)} - write it on one line`;
    return undefined;
}

const settingsMap = z
    .record(z.string(), z.unknown(), {
        error: (issue) =>
            `must be a map of PostgreSQL settings, got ${shown(issue.input)} - for example {"work_mem": "16MB"}`,
    })
    .transform((values, context) => {
        for (const [name, value] of Object.entries(values)) {
            const message = settingMistake(name, value);
            if (message) context.issues.push({ code: "custom", input: value, message });
        }
        return Object.fromEntries(
            Object.entries(values).map(([name, value]) => [
                name.toLowerCase(),
                value === true ? "on" : value === false ? "off" : String(value),
            ]),
        );
    });

const UNITS: Readonly<Record<string, number>> = { s: 1, m: 60, h: 3600, d: 86_400 };

/** A time span as seconds; `off` is 0. */
const span = (least: string, example: string, off = true) =>
    z.any().transform((value, context) => {
        if (off && (value === "off" || value === false)) return 0;
        const seconds = (text: string) => {
            const match = /^([0-9]{1,6})([smhd])$/.exec(text);
            return match ? Number(match[1]) * (UNITS[match[2] ?? ""] ?? Number.NaN) : Number.NaN;
        };
        const found = seconds(String(value));
        if (!(found >= seconds(least) && found <= 400 * 86_400)) {
            context.issues.push({
                code: "custom",
                input: value,
                message: `must be a time from ${least} to 400d${off ? ', or "off"' : ""}, got ${shown(value)} - for example ${example}`,
            });
            return z.NEVER;
        }
        return found;
    });

const passphrase = z
    .string({ error: (issue) => `must be a text, got ${typeof issue.input}` })
    .regex(/^[\x21-\x7e]{20,200}$/, {
        error: () => "must have 20 to 200 visible ASCII characters - for example from openssl rand -base64 32",
    })
    .optional();

const RESERVED_DATABASES = ["postgres", "template0", "template1"];

const schema = z.object({
    platform: oneOf(["docker"]),
    name: text(
        /^[a-z][a-z0-9-]{0,38}[a-z0-9]$/,
        "2 to 40 lower-case letters, digits and dashes, beginning with a letter (set citus:name when the stack's name is something else)",
    ),
    workers: whole(0, MAX_WORKERS, 2),
    retire: z
        .array(z.any(), {
            error: (issue) => `must be a list of workers, got ${shown(issue.input)} - for example ["worker-1"]`,
        })
        .transform((values, context) => {
            values.forEach((value, i) => {
                if (typeof value !== "string" || workerIndex(value) === undefined) {
                    context.issues.push({
                        code: "custom",
                        input: value,
                        path: [i],
                        message: `must be a worker's name such as worker-1, got ${shown(value)}`,
                    });
                } else if (values.indexOf(value) !== i) {
                    context.issues.push({
                        code: "custom",
                        input: value,
                        path: [i],
                        message: `names ${value} twice - remove one`,
                    });
                }
            });
            return values as string[];
        }),
    database: text(
        /^[a-z_][a-z0-9_]{0,62}$/,
        "a database name of lower-case letters, digits and underscores, 63 at most",
    ).refine((name) => !RESERVED_DATABASES.includes(name), {
        error: (issue) =>
            `must not be one of ${RESERVED_DATABASES.join(", ")}, got ${shown(issue.input)} - for example app`,
    }),
    shardCount: whole(1, 64_000, 32),
    citusVersion: text(
        /^(13\.([2-9]|[1-9][0-9])|1[4-9]\.[0-9]+)\.[0-9]+$/,
        "a Citus version from 13.2.0 written in full, such as 14.0.1",
    ),
    image: text(
        /^[^\s@:]+(:[0-9]+\/[^\s@:]+)?(:[\w.-]+)?(@sha256:[0-9a-f]{64})?$/,
        "an image's name with a tag or digest",
    ).refine((image) => /[:@][^/]+$/.test(image) && !image.endsWith(":latest"), {
        error: (issue) =>
            `must name a fixed tag or digest, got ${shown(issue.input)} - "latest" changes PostgreSQL's version by itself`,
    }),
    port: whole(1024, 65_535 - MAX_WORKERS, 5432).optional(),
    coordinator: strictObject(
        {
            memory: memory.default(1024),
            cores: whole(1, 512, 2).default(2),
            shards: z.boolean({ error: (issue) => `must be true or false, got ${shown(issue.input)}` }).default(false),
        },
        "an object",
    ),
    worker: strictObject({ memory: memory.default(1024), cores: whole(1, 512, 2).default(2) }, "an object"),
    settings: strictObject(
        { all: settingsMap.default({}), coordinator: settingsMap.default({}), workers: settingsMap.default({}) },
        "an object",
    ),
    rebalance: z.preprocess(
        (value) => (value === true ? {} : value === false ? { enabled: false } : value),
        strictObject(
            {
                enabled: z
                    .boolean({ error: (issue) => `must be true or false, got ${shown(issue.input)}` })
                    .default(true),
                strategy: oneOf(["by_disk_size", "by_shard_count"]).default("by_disk_size"),
                transferMode: oneOf(["auto", "force_logical", "block_writes"]).default("auto"),
                threshold: z
                    .preprocess(
                        (value) => parse("number", value),
                        z
                            .number({ error: (issue) => `must be a number from 0 to 1, got ${shown(issue.input)}` })
                            .refine((n) => n >= 0 && n <= 1, {
                                error: (issue) => `must be a number from 0 to 1, got ${shown(issue.input)}`,
                            }),
                    )
                    .optional(),
            },
            "true, false or an object",
        ),
    ),
    postDeploy: z
        .array(z.any(), {
            error: (issue) => `must be a list of SQL files, got ${shown(issue.input)} - for example ["schema.sql"]`,
        })
        .transform((values, context) => {
            values.forEach((value, i) => {
                const problem =
                    typeof value !== "string" || !/\.sql$/.test(value)
                        ? "must be the path of a .sql file"
                        : value.startsWith("/") || value.split("/").includes("..")
                          ? "must be a path inside the project"
                          : values.indexOf(value) !== i
                            ? "is in the list twice"
                            : undefined;
                if (problem)
                    context.issues.push({
                        code: "custom",
                        input: value,
                        path: [i],
                        message: `${problem}, got ${shown(value)}`,
                    });
            });
            return values as string[];
        }),
    backup: z.preprocess(
        (value) => (value === true ? {} : value === false ? { enabled: false } : value),
        strictObject(
            {
                enabled: z
                    .boolean({ error: (issue) => `must be true or false, got ${shown(issue.input)}` })
                    .default(true),
                full: span("1h", "7d", false).default(7 * 86_400),
                diff: span("1h", "1d").default(86_400),
                incr: span("10m", "6h").default(0),
                restorePoint: span("10s", "5m").default(300),
                retention: whole(1, 1000, 2).default(2),
                window: text(
                    /^([01][0-9]|2[0-3]):[0-5][0-9]-([01][0-9]|2[0-3]):[0-5][0-9]$/,
                    "two times of day in UTC such as 01:00-05:00",
                )
                    .refine((window) => window.slice(0, 5) !== window.slice(6), {
                        error: (issue) => `never opens, got ${shown(issue.input)} - leave it away for any time of day`,
                    })
                    .optional(),
            },
            "true, false or an object",
        ),
    ),
    backupPassphrase: passphrase,
    restoreFrom: strictObject(
        {
            stack: text(/^[A-Za-z0-9_.-]{1,100}$/, "the name of a stack of this project").optional(),
            repository: text(/^[a-zA-Z0-9][a-zA-Z0-9_.-]{1,200}$/, "the name of a Docker volume").optional(),
            cluster: text(/^[a-z][a-z0-9-]{0,38}[a-z0-9]$/, "a cluster's name").optional(),
            point: z
                .any()
                .transform((value, context) => {
                    const why = refusedTarget(value);
                    if (why === undefined) return String(value).trim();
                    context.issues.push({ code: "custom", input: value, message: `${why}, got ${shown(value)}` });
                    return z.NEVER;
                })
                .default("latest"),
            overwrite: z
                .boolean({ error: (issue) => `must be true or false, got ${shown(issue.input)}` })
                .default(false),
            onlyWorker: z
                .any()
                .refine((value) => typeof value === "string" && workerIndex(value) !== undefined, {
                    error: (issue) => `must be a worker's name such as worker-1, got ${shown(issue.input)}`,
                })
                .transform(String)
                .optional(),
            acceptSplitTransactions: z
                .boolean({ error: (issue) => `must be true or false, got ${shown(issue.input)}` })
                .default(false),
        },
        'an object such as {"stack": "dev", "point": "latest"}',
    ).optional(),
    restorePassphrase: passphrase,
    protect: z.boolean({ error: (issue) => `must be true or false, got ${shown(issue.input)}` }),
    dockerHost: text(
        /^(unix|tcp|ssh|npipe):\/\/\S+$/,
        "a Docker engine's address such as unix:///var/run/docker.sock",
    ).optional(),
});

function shown(value: unknown): string {
    if (value === undefined) return "nothing";
    const json = JSON.stringify(value);
    return json === undefined ? String(value) : json.length > 60 ? `${json.slice(0, 57)}...` : json;
}

/** The nearest known key, for a mistyped one. */
function nearest(word: string, words: readonly string[]): string | undefined {
    const distance = (a: string, b: string) => {
        let row = Array.from({ length: b.length + 1 }, (_, i) => i);
        for (let i = 1; i <= a.length; i++) {
            const next = [i];
            for (let j = 1; j <= b.length; j++) {
                const cost = a[i - 1] === b[j - 1] ? 0 : 1;
                next.push(Math.min((row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1, (row[j - 1] ?? 0) + cost));
            }
            row = next;
        }
        return row[b.length] ?? 0;
    };
    return words
        .map((candidate) => ({ candidate, far: distance(word.toLowerCase(), candidate.toLowerCase()) }))
        .filter(({ far }) => far <= 3)
        .sort((a, b) => a.far - b.far)[0]?.candidate;
}

/** Text as `pulumi config set` stores it, as the value it means; text that can't be read so stays text. */
function parse(kind: "text" | "number" | "json", value: unknown): unknown {
    if (typeof value !== "string" || kind === "text") return value;
    const trimmed = value.trim();
    if (kind === "number") return trimmed !== "" && Number.isFinite(Number(trimmed)) ? Number(trimmed) : value;
    try {
        return JSON.parse(trimmed);
    } catch {
        return value;
    }
}

export interface ConfigSource {
    readonly stack: string;
    /** Every `citus:` key that is set, without the prefix. */
    readonly values: Readonly<Record<string, unknown>>;
    /** Those of them that are stored encrypted; undefined when that is not known. */
    readonly secrets?: readonly string[];
}

/**
 * Checks everything at once. Pure.
 * @returns the arguments, or every mistake with its path
 */
export function validate(source: ConfigSource): { args: ClusterArgs } | { mistakes: Mistake[] } {
    const mistakes: Mistake[] = [];
    const known = Object.keys(KEYS);
    for (const key of Object.keys(source.values)) {
        if (known.includes(key)) continue;
        const meant = nearest(key, known);
        mistakes.push({
            path: key,
            message: `is not a setting of this project - ${meant ? `did you mean citus:${meant}?` : `it has ${known.join(", ")}`}`,
        });
    }
    const value = (key: Key, fallback: unknown) => {
        const parsed = parse(KEYS[key], source.values[key]);
        return parsed === undefined || parsed === "" ? fallback : parsed;
    };
    const citusVersion = value("citusVersion", "14.0.1");
    const raw: Record<Key, unknown> = {
        platform: value("platform", "docker"),
        name: value("name", `citus-${source.stack}`),
        workers: value("workers", 2),
        retire: value("retire", []),
        database: value("database", "app"),
        shardCount: value("shardCount", 32),
        citusVersion,
        image: value("image", `citusdata/citus:${citusVersion}-pg17`),
        port: value("port", undefined),
        coordinator: value("coordinator", {}),
        worker: value("worker", {}),
        settings: value("settings", {}),
        rebalance: value("rebalance", {}),
        postDeploy: value("postDeploy", []),
        protect: value("protect", source.stack !== "dev"),
        backup: value("backup", {}),
        backupPassphrase: value("backupPassphrase", undefined),
        restoreFrom: given(value("restoreFrom", undefined)),
        restorePassphrase: value("restorePassphrase", undefined),
        dockerHost: value("dockerHost", undefined),
    };
    const parsed = schema.safeParse(raw);
    if (!parsed.success) {
        const versionIsWrong = parsed.error.issues.some((issue) => issue.path[0] === "citusVersion");
        for (const issue of parsed.error.issues) {
            // the default image repeats the version's mistake
            if (issue.path[0] === "image" && versionIsWrong && source.values.image === undefined) continue;
            mistakes.push({ path: pathOf(issue.path), message: issue.message });
        }
    }
    for (const key of SECRETS) {
        if (!source.values[key] || !source.secrets || source.secrets.includes(key)) continue;
        mistakes.push({
            path: key,
            message: `is stored in the clear - take it away (pulumi config rm citus:${key}), choose another, and set it with --secret`,
        });
    }
    mistakes.push(
        ...crossChecks(raw, source.stack).filter((found) => !mistakes.some((known) => known.path === found.path)),
    );
    return mistakes.length > 0 || !parsed.success ? { mistakes } : { args: parsed.data };
}

/** As one types it: `retire[0]`, `settings.all`. */
function pathOf(path: readonly PropertyKey[]): string {
    return path
        .map((part, i) => (typeof part === "number" ? `[${part}]` : `${i > 0 ? "." : ""}${String(part)}`))
        .join("");
}

const record = (value: unknown): Record<string, unknown> =>
    value !== null && typeof value === "object" && !Array.isArray(value) ? (value as Record<string, unknown>) : {};

/** What Pulumi.yaml declares as the default of an object is empty, and means that it is not set. */
const given = (value: unknown) => (value !== undefined && JSON.stringify(value) === "{}" ? undefined : value);

/** Rules that need more than one key. They look at what was given, so that other mistakes do not hide theirs. */
function crossChecks(raw: Record<Key, unknown>, stack: string): Mistake[] {
    const mistakes: Mistake[] = [];
    const workers = Number.isInteger(raw.workers) ? Math.max(0, Math.min(MAX_WORKERS, raw.workers as number)) : 0;
    const retired = (Array.isArray(raw.retire) ? raw.retire : []).flatMap((name) =>
        typeof name === "string" ? (workerIndex(name) ?? []) : [],
    );
    const highest = workerIndexes(workers, retired).at(-1) ?? 0;
    if (highest > HIGHEST_INDEX) {
        mistakes.push({
            path: "retire",
            message: `leaves worker-${highest} to be made, and ${HIGHEST_INDEX} is the highest - take names that may come back out of the list`,
        });
    }
    if (typeof raw.name === "string") {
        const longest = nodeHost(`worker-${HIGHEST_INDEX}`, raw.name);
        if (longest.length > 64) {
            mistakes.push({
                path: "name",
                message: `makes ${longest}, longer than the 64 characters a certificate allows - choose a shorter name`,
            });
        }
    }
    if (Number.isInteger(raw.port) && (raw.port as number) + highest > 65_535) {
        mistakes.push({
            path: "port",
            message: `must leave room for worker-${highest} below 65536, got ${raw.port} - at most ${65_535 - highest}`,
        });
    }
    mistakes.push(...restoreChecks(raw, stack));
    const rebalance = record(raw.rebalance);
    if (
        rebalance.strategy === "by_shard_count" &&
        rebalance.threshold !== undefined &&
        Number(rebalance.threshold) !== 0
    ) {
        mistakes.push({
            path: "rebalance.threshold",
            message: `only works with the strategy by_disk_size, got ${shown(rebalance.threshold)} - by_shard_count always levels to one shard group`,
        });
    }
    for (const [part, given] of Object.entries(record(raw.settings))) {
        const settings = Object.fromEntries(
            Object.entries(record(given)).map(([name, value]) => [name.toLowerCase(), value]),
        );
        const least = Math.max(40, 30 + workers);
        if (settings.max_connections !== undefined && !(Number(settings.max_connections) >= least)) {
            mistakes.push({
                path: `settings.${part}.max_connections`,
                message: `must be at least ${least}, got ${shown(settings.max_connections)} - ${workers} workers, shard moves and health checks need that many`,
            });
        }
        if (settings.max_prepared_transactions !== undefined && !(Number(settings.max_prepared_transactions) > 0)) {
            mistakes.push({
                path: `settings.${part}.max_prepared_transactions`,
                message: `must be more than 0, got ${shown(settings.max_prepared_transactions)} - Citus commits across nodes in two phases`,
            });
        }
    }
    return mistakes;
}

function restoreChecks(raw: Record<Key, unknown>, stack: string): Mistake[] {
    const mistakes: Mistake[] = [];
    const from = record(raw.restoreFrom);
    const wrong = (path: string, message: string) => mistakes.push({ path: `restoreFrom.${path}`, message });
    if (from.stack !== undefined && from.repository !== undefined)
        wrong("repository", `names a volume, and restoreFrom.stack names a stack (${shown(from.stack)}) - keep one`);
    if (from.onlyWorker !== undefined) {
        if (from.acceptSplitTransactions !== true)
            wrong(
                "onlyWorker",
                `rebuilds ${shown(from.onlyWorker)} alone to the end of its archive: what it committed after its last archived segment is lost, and transactions that ` +
                    "touched other nodes are split there without an error - leave it away to restore the whole cluster to its last point, or set restoreFrom.acceptSplitTransactions to true",
            );
        if (from.stack !== undefined || from.repository !== undefined)
            wrong("onlyWorker", "only works in place - take restoreFrom.stack and restoreFrom.repository away");
        if (from.point !== undefined && String(from.point).trim() !== "latest")
            wrong(
                "onlyWorker",
                `goes to the end of its archive, got the point ${shown(from.point)} as well - keep one`,
            );
    } else if (from.acceptSplitTransactions === true) {
        wrong("acceptSplitTransactions", "only means something with restoreFrom.onlyWorker - take it away");
    }
    if (from.stack === stack)
        wrong("stack", `names this stack itself, got ${shown(stack)} - leave it away to restore in place`);
    return mistakes;
}

/** All mistakes as one text, each on its own line. */
export function explain(mistakes: readonly Mistake[]): string {
    const head =
        mistakes.length === 1
            ? "The configuration has a mistake:"
            : `The configuration has ${mistakes.length} mistakes:`;
    return [head, ...mistakes.map(({ path, message }) => `  citus:${path} ${message}`), "Nothing was changed."].join(
        "\n",
    );
}

function missingFiles(files: readonly string[]): Mistake[] {
    return files.flatMap((file, i) =>
        existsSync(file)
            ? []
            : [
                  {
                      path: `postDeploy[${i}]`,
                      message: `must be a file of this project, got "${file}", which is not there`,
                  },
              ],
    );
}

/**
 * Reads and validates this stack's configuration.
 * @throws pulumi.RunError naming every mistake
 */
export function readConfig(): ClusterArgs {
    const project = pulumi.getProject();
    const prefix = `${project}:`;
    const values = Object.fromEntries(
        Object.entries(pulumi.runtime.allConfig())
            .filter(([key]) => key.startsWith(prefix))
            .map(([key, value]) => [key.slice(prefix.length), value]),
    );
    // the language host is told which keys are stored encrypted, and the SDK has no question for it
    const encrypted = JSON.parse(process.env.PULUMI_CONFIG_SECRET_KEYS ?? "[]") as string[];
    const secrets = encrypted.map((key) => key.slice(prefix.length));
    const result = validate({ stack: pulumi.getStack(), values, secrets });
    const files = parse("json", values.postDeploy);
    const mistakes = [
        ...("mistakes" in result ? result.mistakes : []),
        ...missingFiles(Array.isArray(files) ? files.filter((file) => typeof file === "string") : []),
    ];
    if (mistakes.length > 0 || !("args" in result)) throw new pulumi.RunError(explain(mistakes));
    return result.args;
}
