/** Ranges of addresses (CIDR blocks), IPv4 and IPv6. Pure. */
import { isIPv4, isIPv6, SocketAddress } from "node:net";

export interface Cidr {
    readonly family: 4 | 6;
    /** Length of the prefix in bits. */
    readonly prefix: number;
    /** The first address of the range. */
    readonly first: bigint;
    /** The last address of the range. */
    readonly last: bigint;
    /** Whether the address given is not the first of the range. */
    readonly hostBits: boolean;
}

const BITS = { 4: 32, 6: 128 } as const;

function ipv4(text: string): bigint {
    return text.split(".").reduce((sum, part) => (sum << 8n) | BigInt(part), 0n);
}

function ipv6(text: string): bigint {
    const groups = (part: string): bigint[] =>
        part === ""
            ? []
            : part.split(":").flatMap((group) => {
                  if (!group.includes(".")) return [BigInt(`0x${group}`)];
                  const embedded = ipv4(group);
                  return [embedded >> 16n, embedded & 0xffffn];
              });
    const [left = "", right] = text.split("::");
    const before = groups(left);
    const after = groups(right ?? "");
    const zeros = Array.from({ length: 8 - before.length - after.length }, () => 0n);
    return [...before, ...zeros, ...after].reduce((sum, group) => (sum << 16n) | group, 0n);
}

/** A range as one writes it, `10.64.0.0/16`; undefined when it is none. */
export function parseCidr(text: string): Cidr | undefined {
    const match = /^([0-9a-fA-F.:]+)\/(0|[1-9][0-9]{0,2})$/.exec(text);
    const [address = "", length = ""] = match?.slice(1) ?? [];
    const family = isIPv4(address) ? 4 : isIPv6(address) ? 6 : undefined;
    const prefix = Number(length);
    if (!match || family === undefined || prefix > BITS[family]) return undefined;
    const given = family === 4 ? ipv4(address) : ipv6(address);
    const hosts = (1n << BigInt(BITS[family] - prefix)) - 1n;
    const first = given & ~hosts;
    return { family, prefix, first, last: first + hosts, hostBits: first !== given };
}

/** The range as text, in the one way in which AWS shows it too. */
export function formatCidr({ family, prefix, first }: Pick<Cidr, "family" | "prefix" | "first">): string {
    const groups = family === 4 ? [24n, 16n, 8n, 0n] : [112n, 96n, 80n, 64n, 48n, 32n, 16n, 0n];
    const address =
        family === 4
            ? groups.map((shift) => String((first >> shift) & 0xffn)).join(".")
            : groups.map((shift) => ((first >> shift) & 0xffffn).toString(16)).join(":");
    return `${family === 4 ? address : new SocketAddress({ address, family: "ipv6" }).address}/${prefix}`;
}

/** Whether the ranges have an address in common. */
export function overlap(a: Cidr, b: Cidr): boolean {
    return a.family === b.family && a.first <= b.last && b.first <= a.last;
}

/** Whether all addresses of `inner` are in `outer`. */
export function within(inner: Cidr, outer: Cidr): boolean {
    return inner.family === outer.family && inner.first >= outer.first && inner.last <= outer.last;
}
