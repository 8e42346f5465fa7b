/** What the keys of both platforms may hold. */
import { z } from "zod";
import { OWNED } from "../../core/node/settings.ts";
import { workerIndex } from "../../core/node/topology.ts";
import { GO_THERE, isHere, NOT_HERE } from "../../core/reach/docker/address.ts";
import { refusedTarget } from "../../core/restore/request.ts";
import { flag, listOf, oneOf, span, text, whole } from "../../core/util/fields.ts";
import { shown } from "../../core/util/shown.ts";
import { parse } from "./parse.ts";
import type { PlatformName } from "./platforms.ts";
import { objectOf, type Parts } from "./row.ts";

export const name = text(
    /^[a-z][a-z0-9-]{0,38}[a-z0-9]$/,
    "2 to 40 lower-case letters, digits and dashes, beginning with a letter (set citus:name when the stack's name is something else)",
);

export const retire = listOf("workers", ["worker-1"], (value) =>
    typeof value !== "string" || workerIndex(value) === undefined
        ? "must be a worker's name such as worker-1"
        : undefined,
);

const RESERVED_DATABASES = ["postgres", "template0", "template1"];

export const database = text(
    /^[a-z_][a-z0-9_]{0,62}$/,
    "a database name of lower-case letters, digits and underscores, 63 at most",
).refine((name) => !RESERVED_DATABASES.includes(name), {
    error: (issue) =>
        `must not be one of ${RESERVED_DATABASES.join(", ")}, got ${shown(issue.input)} - for example app`,
});

export const citusVersion = text(
    /^(13\.([2-9]|[1-9][0-9])|1[4-9]\.[0-9]+)\.[0-9]+$/,
    "a Citus version from 13.2.0 written in full, such as 14.1.0",
);

export const image = text(
    /^[^\s@:]+(:[0-9]+\/[^\s@:]+)?(:[\w.-]+)?(@sha256:[0-9a-f]{64})?$/,
    "an image's name with a tag or digest",
).refine((image) => /[:@][^/]+$/.test(image) && !image.endsWith(":latest"), {
    error: (issue) =>
        `must name a fixed tag or digest, got ${shown(issue.input)} - "latest" changes PostgreSQL's version by itself`,
});

export const postgresVersion = text(
    /^(newest|base|17\.(0|[1-9][0-9]?))$/,
    "newest, base, or a minor release of PostgreSQL 17 such as 17.10",
);

const ENGINE = /^(unix|tcp|ssh|npipe):\/\/\S+$/;

export const dockerHost = text(ENGINE, "a Docker engine's address such as unix:///var/run/docker.sock").refine(
    (address) => !ENGINE.test(address) || isHere(address),
    { error: ({ input }) => `names the Docker engine ${shown(input)}, ${NOT_HERE} - ${GO_THERE}` },
);

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

export const SETTINGS = {
    all: { value: () => settingsMap.default({}) },
    coordinator: { value: () => settingsMap.default({}) },
    workers: { value: () => settingsMap.default({}) },
} as const satisfies Parts;

/** An object that may be switched on and off as a whole. */
const switchable = <T extends z.ZodType>(value: T) =>
    z.preprocess((given) => (given === true ? {} : given === false ? { enabled: false } : given), value);

export const REBALANCE = {
    enabled: { value: () => flag.default(true) },
    strategy: { value: () => oneOf(["by_disk_size", "by_shard_count"]).default("by_disk_size") },
    transferMode: { value: () => oneOf(["auto", "force_logical", "block_writes"]).default("auto") },
    threshold: {
        value: () =>
            z
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
} as const satisfies Parts;

export const rebalance = (platform: PlatformName) =>
    switchable(objectOf(REBALANCE, platform, "true, false or an object"));

export const postDeploy = z
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
    });

export const BACKUP = {
    enabled: { value: () => flag.default(true) },
    full: { value: () => span("1h", "7d", false).default(7 * 86_400) },
    diff: { value: () => span("1h", "1d").default(86_400) },
    incr: { value: () => span("10m", "6h").default(0) },
    restorePoint: { value: () => span("10s", "5m").default(300) },
    retention: { value: () => whole(1, 1000, 2).default(2) },
    window: {
        value: () =>
            text(
                /^([01][0-9]|2[0-3]):[0-5][0-9]-([01][0-9]|2[0-3]):[0-5][0-9]$/,
                "two times of day in UTC such as 01:00-05:00",
            )
                .refine((window) => window.slice(0, 5) !== window.slice(6), {
                    error: (issue) => `never opens, got ${shown(issue.input)} - take it away for any time of day`,
                })
                .optional(),
    },
} as const satisfies Parts;

export const backup = (platform: PlatformName) => switchable(objectOf(BACKUP, platform, "true, false or an object"));

/** What holds the backups of another cluster on a platform. */
const REPOSITORY = {
    docker: text(/^[a-zA-Z0-9][a-zA-Z0-9_.-]{1,200}$/, "the name of a Docker volume"),
    aws: text(/^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/, "the name of an S3 bucket"),
} satisfies Record<PlatformName, z.ZodType>;

export const RESTORE_FROM = {
    stack: { value: () => text(/^[A-Za-z0-9_.-]{1,100}$/, "the name of a stack of this project").optional() },
    repository: {
        value: (platform: PlatformName) => REPOSITORY[platform].optional(),
        output: { whole: "a-repository" },
    },
    cluster: { value: () => text(/^[a-z][a-z0-9-]{0,38}[a-z0-9]$/, "a cluster's name").optional() },
    point: {
        value: () =>
            z
                .any()
                .transform((value, context) => {
                    const why = refusedTarget(value);
                    if (why === undefined) return String(value).trim();
                    context.issues.push({ code: "custom", input: value, message: `${why}, got ${shown(value)}` });
                    return z.NEVER;
                })
                .default("latest"),
    },
    overwrite: { value: () => flag.default(false) },
    onlyWorker: {
        value: () =>
            z
                .any()
                .refine((value) => typeof value === "string" && workerIndex(value) !== undefined, {
                    error: (issue) => `must be a worker's name such as worker-1, got ${shown(issue.input)}`,
                })
                .transform(String)
                .optional(),
    },
    acceptSplitTransactions: { value: () => flag.default(false) },
} as const satisfies Parts;
