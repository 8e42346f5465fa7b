/** The platforms, and which keys mean something on one of them only. */

import { shown } from "../shown.ts";
import { record } from "./fields.ts";
import type { Key } from "./keys.ts";
import type { Mistake } from "./mistakes.ts";

export const PLATFORMS = ["docker", "aws"] as const;
export type PlatformName = (typeof PLATFORMS)[number];

interface Only {
    readonly platform: PlatformName;
    readonly why: string;
}

/** Keys with the one platform they belong to. */
const ONLY_ON: Readonly<Partial<Record<Key, Only>>> = {
    image: { platform: "docker", why: "machines on aws boot citus:ami and install the packages of citus:citusVersion" },
    postgresVersion: { platform: "docker", why: "machines on aws install the newest minor release and keep it" },
    port: { platform: "docker", why: "on aws each node listens on 5432 at an address of its own" },
    dockerHost: { platform: "docker", why: "there is no container engine on aws" },
    network: { platform: "aws", why: "on docker the networks are the engine's" },
    azs: { platform: "aws", why: "docker has no availability zones" },
    connection: { platform: "aws", why: "on docker nodes are reached by published ports and the engine" },
    ami: { platform: "aws", why: "containers start from citus:image" },
    kmsKeyId: { platform: "aws", why: "docker volumes know no such key" },
    placement: { platform: "aws", why: "all containers run on one machine" },
    alarmTopic: { platform: "aws", why: "docker has no alarms" },
    tags: { platform: "aws", why: "they are AWS tags" },
};

/** The same for the keys of `citus:coordinator` and `citus:worker`. */
const MACHINE_ONLY_ON: Readonly<Record<string, Only>> = {
    memory: { platform: "docker", why: "on aws it is what instanceType has, less what the system needs" },
    cores: { platform: "docker", why: "on aws they are those of instanceType" },
    instanceType: { platform: "aws", why: "on docker give memory and cores" },
    volumeSize: { platform: "aws", why: "docker volumes have no size" },
    iops: { platform: "aws", why: "docker volumes have no limit" },
    throughput: { platform: "aws", why: "docker volumes have no limit" },
};

/** The keys of an object that mean something on a platform, without those of others. */
export const machineKeys = (keys: readonly string[], platform: PlatformName): string[] =>
    keys.filter((key) => (MACHINE_ONLY_ON[key]?.platform ?? platform) === platform);

/** What Pulumi.yaml declares as a default is empty, and means that it is not set. */
const isEmpty = (value: unknown) => value === undefined || ["", "{}", "[]", '""'].includes(JSON.stringify(value));

const misplaced = (path: string, value: unknown, { platform, why }: Only): Mistake => ({
    path,
    message: `only means something on ${platform}, got ${shown(value)}: ${why} - take it away${platform === "aws" ? ", or set citus:platform to aws" : ""}`,
});

/**
 * Takes what belongs to another platform out, each with a mistake, so that nothing else is said of it.
 * @param given each key that is set
 */
export function onThisPlatform(
    given: Readonly<Partial<Record<Key, unknown>>>,
    platform: PlatformName,
): { kept: Partial<Record<Key, unknown>>; mistakes: Mistake[] } {
    const mistakes: Mistake[] = [];
    const kept: Partial<Record<Key, unknown>> = { ...given };
    for (const [key, only] of Object.entries(ONLY_ON) as [Key, Only][]) {
        if (only.platform === platform) continue;
        if (!isEmpty(given[key])) mistakes.push(misplaced(key, given[key], only));
        delete kept[key];
    }
    for (const part of ["coordinator", "worker"] as const) {
        const machine = record(given[part]);
        const strangers = Object.keys(machine).filter((key) => {
            const only = MACHINE_ONLY_ON[key];
            return only !== undefined && only.platform !== platform;
        });
        for (const key of strangers)
            mistakes.push(misplaced(`${part}.${key}`, machine[key], MACHINE_ONLY_ON[key] as Only));
        if (strangers.length > 0)
            kept[part] = Object.fromEntries(Object.entries(machine).filter(([key]) => !strangers.includes(key)));
    }
    return { kept, mistakes };
}
