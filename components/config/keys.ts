/** The keys of `citus:*`, and how what is stored for them is read. */

/** What a user may set, with how it is read from the command line's text. */
export const KEYS = {
    platform: "text",
    name: "text",
    workers: "number",
    retire: "json",
    database: "text",
    shardCount: "number",
    citusVersion: "text",
    image: "text",
    postgresVersion: "text",
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
    tenantGroups: "json",
    network: "json",
    azs: "text",
    connection: "text",
    ami: "text",
    kmsKeyId: "text",
    placement: "text",
    alarmTopic: "text",
    tags: "json",
} as const;

/** Keys whose default in Pulumi.yaml is an empty text; of any other one it is a mistake, and how Pulumi hands on a null. */
export const MAY_BE_EMPTY: readonly Key[] = [
    "name",
    "citusVersion",
    "image",
    "postgresVersion",
    "port",
    "protect",
    "backupPassphrase",
    "restorePassphrase",
    "dockerHost",
    "azs",
    "connection",
    "ami",
    "kmsKeyId",
    "placement",
    "alarmTopic",
];

/** Keys that `pulumi config set` must be given with --secret. */
export const SECRETS = ["backupPassphrase", "restorePassphrase"] as const;

export type Key = keyof typeof KEYS;

/** Text as `pulumi config set` stores it, as the value it means; text that can't be read so stays text. */
export function parse(kind: "text" | "number" | "json", value: unknown): unknown {
    if (typeof value !== "string" || kind === "text") return value;
    const trimmed = value.trim();
    if (kind === "number") return trimmed !== "" && Number.isFinite(Number(trimmed)) ? Number(trimmed) : value;
    try {
        return JSON.parse(trimmed);
    } catch {
        return value;
    }
}
