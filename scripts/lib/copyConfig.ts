/** The configuration of a throw-away copy. Pure. */

/** A value as `pulumi config --json` has it. */
export interface ConfigValue {
    readonly value?: string;
    readonly objectValue?: unknown;
    readonly secret?: boolean;
}

/**
 * Of the origin's configuration, what does not fit a copy that lives for minutes. Tenants come with the data: groups would
 * pin them to workers that the point did not have, and run templates. The way to the machines is SSM, which needs no network
 * that lets anybody in.
 */
const NOT_COPIED = [
    "name",
    "port",
    "retire",
    "workers",
    "protect",
    "backup",
    "backupPassphrase",
    "restorePassphrase",
    "restoreFrom",
    "postDeploy",
    "tenantGroups",
    "connection",
    "alarmTopic",
];
/** Nobody but the command that made it has business with the copy. */
const NOT_OF_NETWORK = ["allowedCidrs", "allowedSecurityGroups", "openToTheWorld"];

const textOf = (value: unknown) => (typeof value === "string" || value === undefined ? value : JSON.stringify(value));

/** A network without those who may connect. */
function closed(value: unknown): string {
    const network = (typeof value === "string" ? JSON.parse(value || "{}") : value) as Record<string, unknown>;
    return JSON.stringify(
        Object.fromEntries(Object.entries(network).filter(([name]) => !NOT_OF_NETWORK.includes(name))),
    );
}

/**
 * The copy's configuration by whole key: the origin's sizes, settings and image, and what is set for the copy.
 * @param origin by whole key, such as `citus:worker`
 * @param set without `citus:`; wins over the origin's
 */
export function copyConfig(
    origin: Readonly<Record<string, ConfigValue>>,
    set: Readonly<Record<string, string>>,
): Record<string, string> {
    const values: Record<string, string> = {};
    for (const [key, { value, objectValue, secret }] of Object.entries(origin)) {
        const [space, name = ""] = key.split(":");
        const ours = space === "citus" ? !NOT_COPIED.includes(name) : space === "aws";
        if (!ours || secret || Object.hasOwn(set, name)) continue;
        const text = key === "citus:network" ? closed(objectValue ?? value) : textOf(objectValue ?? value);
        if (text !== undefined) values[key] = text;
    }
    for (const [name, text] of Object.entries(set)) values[`citus:${name}`] = text;
    return values;
}
