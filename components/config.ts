/**
 * `citus:*` configuration to validated arguments. The only file that reads configuration; every mistake is
 * collected and reported at once.
 */
import { existsSync } from "node:fs";
import * as pulumi from "@pulumi/pulumi";
import { z } from "zod";
import { type Overrides, OWNED } from "./settings.ts";
import { nodeHost, workerIndex, workerIndexes } from "./topology.ts";

export const MAX_WORKERS = 200;
/** The highest worker number there may be: so many ports are kept free for a cluster. */
export const HIGHEST_INDEX = 255;

export interface MachineArgs {
    /** Memory of each such node in MiB; PostgreSQL is sized for it. @default 1024 */
    readonly memory: number;
    /** CPU cores of each such node. @default 2 */
    readonly cores: number;
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

export interface ClusterArgs {
    readonly platform: "docker";
    /** Name of the cluster; part of node names and certificates. @default `citus-<stack>` */
    readonly name: string;
    readonly workers: number;
    readonly retire: readonly string[];
    readonly database: string;
    readonly shardCount: number;
    readonly citusVersion: string;
    /** Base image. @default `citusdata/citus:<citusVersion>-pg17` */
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
    /** Docker engine, as DOCKER_HOST has it. @default the environment's */
    readonly dockerHost?: string;
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
    dockerHost: "text",
} as const;

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
    citusVersion: text(/^1[4-9]\.[0-9]+\.[0-9]+$/, "a Citus version from 14.0.0 written in full, such as 14.0.1"),
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
    mistakes.push(...crossChecks(raw).filter((found) => !mistakes.some((known) => known.path === found.path)));
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

/** Rules that need more than one key. They look at what was given, so that other mistakes do not hide theirs. */
function crossChecks(raw: Record<Key, unknown>): Mistake[] {
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
    const result = validate({ stack: pulumi.getStack(), values });
    const files = parse("json", values.postDeploy);
    const mistakes = [
        ...("mistakes" in result ? result.mistakes : []),
        ...missingFiles(Array.isArray(files) ? files.filter((file) => typeof file === "string") : []),
    ];
    if (mistakes.length > 0 || !("args" in result)) throw new pulumi.RunError(explain(mistakes));
    return result.args;
}
