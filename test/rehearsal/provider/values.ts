/** Small things over property values: what is unknown, paths into them, addresses. */

export type Props = Record<string, unknown>;

/** How the engine writes a value that is not known before `up`. */
export const UNKNOWN = "04da6b54-80e4-46f7-96ec-b56ff0331ba9";

/** Under this key the engine marks assets, archives and secrets. */
export const SIGNATURE = "4dabf18193072939515e22adb298388d";
export const ASSET = "c44067f5952c0a294b673a41bacd8c17";

export const isObject = (value: unknown): value is Props =>
    typeof value === "object" && value !== null && !Array.isArray(value);

/** Whether anything in it is unknown. */
export function hasUnknown(value: unknown): boolean {
    if (value === UNKNOWN) return true;
    if (Array.isArray(value)) return value.some(hasUnknown);
    return isObject(value) && Object.values(value).some(hasUnknown);
}

/** Every known value at a path such as `rules[].status`. */
export function at(value: unknown, path: string): unknown[] {
    let found = [value];
    for (const part of path.split(".")) {
        const name = part.replace(/\[\]$/, "");
        found = found.flatMap((v) => (isObject(v) && v[name] !== undefined ? [v[name]] : []));
        if (part.endsWith("[]")) found = found.flatMap((v) => (Array.isArray(v) ? v : []));
    }
    return found.filter((v) => !hasUnknown(v));
}

/** A known string, else undefined. */
export function text(props: Props, name: string): string | undefined {
    const value = props[name];
    return typeof value === "string" && value !== UNKNOWN ? value : undefined;
}

export const number = (props: Props, name: string): number | undefined =>
    typeof props[name] === "number" ? props[name] : undefined;

export const strings = (props: Props, name: string): string[] =>
    Array.isArray(props[name]) ? props[name].filter((v): v is string => typeof v === "string" && v !== UNKNOWN) : [];

export const tagsOf = (props: Props): Record<string, string> => (isObject(props.tags) ? props.tags : {}) as never;

/** Without what is null or undefined, all the way down. */
export function dense<T>(value: T): T {
    if (Array.isArray(value)) return value.map(dense) as T;
    if (!isObject(value)) return value;
    return Object.fromEntries(
        Object.entries(value).flatMap(([k, v]) => (v === null || v === undefined ? [] : [[k, dense(v)]])),
    ) as T;
}

export interface Block {
    readonly first: number;
    readonly last: number;
    readonly bits: number;
}

/** An IPv4 address as a number; undefined when it is none. */
export function ipv4(address: string): number | undefined {
    if (!/^(\d{1,3}\.){3}\d{1,3}$/.test(address)) return undefined;
    const parts = address.split(".").map(Number);
    return parts.some((p) => p > 255) ? undefined : parts.reduce((sum, p) => sum * 256 + p, 0);
}

export const ipv4Text = (address: number): string =>
    [24, 16, 8, 0].map((shift) => Math.floor(address / 2 ** shift) % 256).join(".");

/** An IPv4 block whose address is the network's; undefined when it is none. */
export function block(cidr: string): Block | undefined {
    const [address = "", length = ""] = cidr.split("/");
    const first = ipv4(address);
    const bits = Number(length);
    if (first === undefined || !/^\d+$/.test(length) || bits > 32) return undefined;
    const size = 2 ** (32 - bits);
    return first % size === 0 ? { first, last: first + size - 1, bits } : undefined;
}
