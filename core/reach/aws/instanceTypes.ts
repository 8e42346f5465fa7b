/** EC2 instance types by their names. Pure. */

/** What EC2 says of an instance type in a region. */
export interface InstanceType {
    /** MiB. */
    readonly memory: number;
    readonly cores: number;
    /** Such as `x86_64`. */
    readonly architectures: readonly string[];
}

/** Left to the operating system, its agents and its page cache before PostgreSQL is sized. */
const SYSTEM_SHARE = 0.1;

/** Memory that PostgreSQL is sized for, in MiB. */
export function usableMemory(type: InstanceType): number {
    return Math.floor(type.memory * (1 - SYSTEM_SHARE));
}

const FORMAT =
    /^([a-z][a-z0-9-]*)\.(nano|micro|small|medium|large|xlarge|[1-9][0-9]{0,2}xlarge|metal(-[1-9][0-9]xl)?)$/;

export function isInstanceType(name: string): boolean {
    return FORMAT.test(name);
}

/** Sizes as multiples of xlarge. */
const SIZES: Readonly<Record<string, number>> = {
    nano: 1 / 32,
    micro: 1 / 16,
    small: 1 / 8,
    medium: 1 / 4,
    large: 1 / 2,
};

const sizeOf = (name: string) =>
    SIZES[name] ??
    (name.startsWith("metal") ? Number(/-([0-9]+)xl/.exec(name)?.[1] ?? 16) : Number(name.replace("xlarge", "") || 1));
const sizeName = (size: number) =>
    Object.entries(SIZES).find(([, value]) => value === size)?.[0] ?? (size === 1 ? "xlarge" : `${size}xlarge`);

const GENERAL = [1 / 2, 1, 2, 4, 8, 12, 16, 24, 48];
const LOCAL_DISK = [1 / 2, 1, 2, 4, 8, 12, 16, 24, 32];

/** Families that run on Graviton, each with its nearest one for x86_64 and the sizes this comes in. The first that fits counts. */
const ARM: readonly [arm: RegExp, family: string, sizes: readonly number[]][] = [
    [/^t4g$/, "t3", [1 / 32, 1 / 16, 1 / 8, 1 / 4, 1 / 2, 1, 2]],
    [/^a1$/, "c6i", LOCAL_DISK],
    [/^m[0-9]+gd$/, "m6id", LOCAL_DISK],
    [/^c[0-9]+gd$/, "c6id", LOCAL_DISK],
    [/^r[0-9]+gd$/, "r6id", LOCAL_DISK],
    [/^m[0-9]+gn$/, "m6in", LOCAL_DISK],
    [/^c[0-9]+gn$/, "c6in", LOCAL_DISK],
    [/^r[0-9]+gn$/, "r6in", LOCAL_DISK],
    [/^m[0-9]+g[a-z]*$/, "m7i", GENERAL],
    [/^c[0-9]+g[a-z]*$/, "c7i", GENERAL],
    [/^r[0-9]+g[a-z]*$/, "r7i", GENERAL],
    [/^x[0-9]+g[a-z]*$/, "x2iedn", [1, 2, 4, 8, 16, 24, 32]],
    [/^hpc[0-9]+g[a-z]*$/, "hpc7a", [12, 24, 48, 96]],
    [/^g[0-9]+g[a-z]*$/, "g4dn", [1, 2, 4, 8, 12, 16]],
    [/^is[0-9]+g[a-z]*$/, "i3en", [1 / 2, 1, 2, 3, 6, 12, 24]],
    [/^(i|im)[0-9]+g[a-z]*$/, "i4i", LOCAL_DISK],
    // what is not out yet: a "g" after the generation has always meant Graviton
    [/^[a-z]+[0-9]+g[a-z]*$/, "m7i", GENERAL],
];

/** The nearest x86_64 type of an arm64 one, the next larger size when there is none of the same; undefined for others. */
export function x86TypeFor(name: string): string | undefined {
    const [, family = "", size = ""] = FORMAT.exec(name) ?? [];
    const [, x86, sizes = []] = ARM.find(([arm]) => arm.test(family)) ?? [];
    if (x86 === undefined) return undefined;
    return `${x86}.${sizeName(sizes.find((have) => have >= sizeOf(size)) ?? sizes.at(-1) ?? 1)}`;
}
