/**
 * What archiving and backups need of a node: its stanza, pgBackRest's configuration, the schedule, and the settings of
 * PostgreSQL. Pure. Facts about pgBackRest from its own reference (pgbackrest.org/configuration.html), release 2.55.
 */
import { NODE_HOME, type Settings } from "./settings.ts";
import type { Role } from "./topology.ts";

/** Schedules and retention of backups. Times are seconds. */
export interface BackupArgs {
    /**
     * `false` archives nothing: the cluster can't be restored. What the repository holds stays.
     * @default true
     * @change restart of each node on aws; replace on docker
     */
    readonly enabled: boolean;
    /**
     * Seconds after which the next full backup is due, from one hour.
     * @default 604800 (7 days)
     * @change reload
     */
    readonly full: number;
    /**
     * Seconds after which a differential backup is due, from one hour; 0 is never.
     * @default 86400 (1 day)
     * @change reload
     */
    readonly diff: number;
    /**
     * Seconds after which an incremental backup is due, from ten minutes; 0 is never.
     * @default 0 (never)
     * @change reload
     */
    readonly incr: number;
    /**
     * Seconds between restore points, from ten: the most that a restore may lose. 0 takes none by itself.
     * @default 300 (5 minutes)
     * @change reload
     */
    readonly restorePoint: number;
    /**
     * Number of full backups that are kept, with all that rests on them and the WAL since the oldest.
     * @default 2
     * @change reload
     */
    readonly retention: number;
    /**
     * Time of day in UTC in which scheduled backups begin. The first one does not wait for it.
     * @default any time
     * @change reload
     * @example "01:00-05:00"
     */
    readonly window?: string;
}

/** Stands for the passphrase of a cluster without a repository. It is shorter than any passphrase may be. */
export const NO_REPOSITORY = "none";

/** Where a node finds the repository; on Docker a volume of its own. */
export const REPOSITORY_HOME = "/var/lib/citus-backups";
const CURRENT = `${NODE_HOME}/conf/current`;

/** One stanza a role and not a machine: a replaced machine keeps its history. */
export function stanzaOf(cluster: string, node: string): string {
    return `${cluster}-${node}`;
}

/** Where backups lie: how pgBackRest is told. S3 is only other settings. */
export interface Repository {
    /** `repo1-…` options of pgBackRest without the prefix, e.g. `{type: "posix", path: "/var/lib/citus-backups"}`. */
    readonly options: Readonly<Record<string, string>>;
    /** Encrypts the repository (aes-256-cbc); a secret. */
    readonly passphrase?: string;
}

export const DOCKER_REPOSITORY = { type: "posix", path: REPOSITORY_HOME } as const;

/** A repository in a bucket, reached as the machine's own role. */
export function s3Repository(bucket: string, region: string): Repository["options"] {
    return {
        type: "s3",
        path: S3_REPOSITORY_PATH,
        "s3-bucket": bucket,
        "s3-region": region,
        "s3-endpoint": `s3.${region}.amazonaws.com`,
        "s3-key-type": "auto",
    };
}

/** Where in its bucket a repository is. */
export const S3_REPOSITORY_PATH = "/backups";

function repositoryLines(repository: Repository): string[] {
    return [
        ...Object.entries(repository.options).map(([name, value]) => `repo1-${name}=${value}`),
        "repo1-bundle=y",
        "repo1-block=y",
        ...(repository.passphrase
            ? ["repo1-cipher-type=aes-256-cbc", `repo1-cipher-pass=${repository.passphrase}`]
            : []),
    ];
}

/** pgBackRest's configuration for reading a repository from anywhere: listing, checking, restoring. */
export function renderRepositoryConf(repository: Repository, extra: readonly string[] = []): string {
    return `${["[global]", ...repositoryLines(repository), "log-level-file=off", "log-level-console=off", "log-level-stderr=warn", ...extra].join("\n")}\n`;
}

/** pgBackRest's configuration on a node. */
export function renderPgbackrestConf(
    node: { readonly stanza: string; readonly cores: number },
    repository: Repository,
    backup: BackupArgs,
): string {
    return [
        "# written by pulumi; edit citus:backup instead",
        renderRepositoryConf(repository, [
            `repo1-retention-full=${backup.retention}`,
            "compress-type=zst",
            `process-max=${Math.max(2, Math.min(4, Math.floor(node.cores / 2)))}`,
            "start-fast=y",
            "delta=y",
            // a burst of WAL is sent by several processes; nothing is ever dropped (archive-push-queue-max stays unset)
            "archive-async=y",
            `spool-path=${NODE_HOME}/spool`,
            "archive-timeout=60",
        ]).trimEnd(),
        `[${node.stanza}]`,
        `pg1-path=${NODE_HOME}/pgdata`,
        `pg1-socket-path=${NODE_HOME}/run`,
        "pg1-user=postgres",
        "pg1-database=postgres",
        "",
    ].join("\n");
}

/** What the node scripts read; every value is a validated word or number. */
export function renderBackupConf(
    node: { readonly cluster: string; readonly stanza: string; readonly role: Role },
    backup: BackupArgs,
): string {
    return [
        `cluster=${node.cluster}`,
        `role=${node.role}`,
        `stanza=${node.stanza}`,
        `full=${backup.full}`,
        `diff=${backup.diff}`,
        `incr=${backup.incr}`,
        `restore_point=${backup.restorePoint}`,
        `retention=${backup.retention}`,
        `window=${backup.window ?? ""}`,
        "",
    ].join("\n");
}

/** What pgBackRest and the schedule need on a node, by file name; nothing without backups. */
export function backupFiles(
    spec: { readonly name: string; readonly role: Role },
    machine: { readonly cores: number },
    cluster: { readonly name: string; readonly backup: BackupArgs; readonly backupPassphrase?: string },
    options: Repository["options"],
): Record<string, string> {
    if (!cluster.backup.enabled) return {};
    const node = { cluster: cluster.name, role: spec.role, stanza: stanzaOf(cluster.name, spec.name) };
    const { backupPassphrase: passphrase } = cluster;
    const repository = { options, ...(passphrase === undefined ? {} : { passphrase }) };
    return {
        "pgbackrest.conf": renderPgbackrestConf({ ...node, cores: machine.cores }, repository, cluster.backup),
        "backup.conf": renderBackupConf(node, cluster.backup),
    };
}

/** The settings of PostgreSQL that send its WAL to the repository. */
export function archiveSettings(stanza: string, backup: BackupArgs): Settings {
    if (!backup.enabled) return { archive_mode: "off" };
    return {
        archive_mode: "on",
        archive_command: `pgbackrest --config=${CURRENT}/pgbackrest.conf --stanza=${stanza} archive-push %p`,
        archive_timeout: "60s",
    };
}
