/** What `citus:coordinator` and `citus:worker` may hold. */

import { isInstanceType, x86TypeFor } from "../../core/reach/aws/instanceTypes.ts";
import { checked, flag, memory, whole } from "../../core/util/fields.ts";
import { shown } from "../../core/util/shown.ts";
import type { PlatformName } from "./platforms.ts";
import type { Parts } from "./row.ts";

export const DEFAULT_INSTANCE_TYPE = "m7i.large";

function instanceTypeMistake(value: unknown): string | undefined {
    if (typeof value !== "string" || !isInstanceType(value))
        return `must be an EC2 instance type, got ${shown(value)} - for example ${DEFAULT_INSTANCE_TYPE}`;
    const x86 = x86TypeFor(value);
    return x86 === undefined
        ? undefined
        : `must be an x86_64 type, got ${shown(value)}, which is arm64 - Citus publishes its packages for amd64 only so far; the nearest is ${x86}`;
}

const MAX_VOLUME_SIZE = 65_536;

/** A figure of the data volume, which has one on aws only. */
const figure = (low: number, high: number, normal: number) => (platform: PlatformName) =>
    platform === "aws" ? whole(low, high, normal).default(normal) : whole(low, high, normal).optional();

export const MACHINE = {
    memory: {
        value: () => memory.default(1024),
        onlyOn: { platform: "docker", why: "on aws it is what instanceType has, less what the system needs" },
    },
    cores: {
        value: () => whole(1, 512, 2).default(2),
        onlyOn: { platform: "docker", why: "on aws they are those of instanceType" },
    },
    instanceType: {
        value: (platform: PlatformName) =>
            platform === "aws"
                ? checked(instanceTypeMistake).default(DEFAULT_INSTANCE_TYPE)
                : checked(instanceTypeMistake).optional(),
        onlyOn: { platform: "aws", why: "on docker give memory and cores" },
    },
    volumeSize: {
        value: figure(10, MAX_VOLUME_SIZE, 100),
        onlyOn: { platform: "aws", why: "docker volumes have no size" },
    },
    iops: {
        value: figure(3000, 80_000, 3000),
        onlyOn: { platform: "aws", why: "docker volumes have no limit" },
    },
    throughput: {
        value: figure(125, 2000, 125),
        onlyOn: { platform: "aws", why: "docker volumes have no limit" },
    },
} as const satisfies Parts;

export const COORDINATOR = { ...MACHINE, shards: { value: () => flag.default(false) } } as const satisfies Parts;
