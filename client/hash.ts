/** PostgreSQL's hash functions, as Citus uses them to place rows. Pure, and without dependencies. */
import { canonicalKey, type Key, keyText } from "./key.ts";

const rotate = (x: number, by: number) => (x << by) | (x >>> (32 - by));

type Three = [number, number, number];

/** Bob Jenkins' lookup3, as in PostgreSQL's src/common/hashfn.c. */
function mix([a, b, c]: Three): Three {
    a = ((a - c) | 0) ^ rotate(c, 4);
    c = (c + b) | 0;
    b = ((b - a) | 0) ^ rotate(a, 6);
    a = (a + c) | 0;
    c = ((c - b) | 0) ^ rotate(b, 8);
    b = (b + a) | 0;
    a = ((a - c) | 0) ^ rotate(c, 16);
    c = (c + b) | 0;
    b = ((b - a) | 0) ^ rotate(a, 19);
    a = (a + c) | 0;
    c = ((c - b) | 0) ^ rotate(b, 4);
    b = (b + a) | 0;
    return [a, b, c];
}

function final([a, b, c]: Three): number {
    c = ((c ^ b) - rotate(b, 14)) | 0;
    a = ((a ^ c) - rotate(c, 11)) | 0;
    b = ((b ^ a) - rotate(a, 25)) | 0;
    c = ((c ^ b) - rotate(b, 16)) | 0;
    a = ((a ^ c) - rotate(c, 4)) | 0;
    b = ((b ^ a) - rotate(a, 14)) | 0;
    return ((c ^ b) - rotate(b, 24)) | 0;
}

const start = (length: number) => (0x9e3779b9 + length + 3923095) | 0;

/** hash_bytes of a little-endian machine. */
export function hashBytes(bytes: Uint8Array): number {
    const first = start(bytes.length);
    let state: Three = [first, first, first];
    const word = (at: number, lowest = 0) => {
        let value = 0;
        for (let i = lowest; i < 4; i++) value |= (bytes[at + i - lowest] ?? 0) << (8 * i);
        return value;
    };
    let at = 0;
    for (; bytes.length - at >= 12; at += 12) {
        const [a, b, c] = state;
        state = mix([(a + word(at)) | 0, (b + word(at + 4)) | 0, (c + word(at + 8)) | 0]);
    }
    // the lowest byte of the last word is kept for the length
    const [a, b, c] = state;
    return final([(a + word(at)) | 0, (b + word(at + 4)) | 0, (c + word(at + 8, 1)) | 0]);
}

/** hash_bytes_uint32. */
function hashWord(word: number): number {
    const first = start(4);
    return final([(first + word) | 0, first, first]);
}

/** hashint2 and hashint4; a date is hashed by its days. */
export const hashint4 = (value: number) => hashWord(value | 0);

export function hashint8(value: bigint): number {
    const low = Number(BigInt.asIntN(32, value));
    const high = Number(BigInt.asIntN(32, value >> 32n));
    return hashWord(low ^ (value >= 0n ? high : ~high));
}

/** For text and varchar of a deterministic collation in a UTF-8 database. */
export const hashtext = (value: string) => hashBytes(new TextEncoder().encode(value));

/** @returns undefined when it is no uuid */
export function uuidHash(value: string): number | undefined {
    const digits = canonicalKey("uuid", value)?.replaceAll("-", "");
    if (digits === undefined) return undefined;
    return hashBytes(Uint8Array.from({ length: 16 }, (_, i) => Number.parseInt(digits.slice(2 * i, 2 * i + 2), 16)));
}

/** @returns undefined when it is no whole number of the type */
function whole(type: string, value: Key): bigint | undefined {
    const text = canonicalKey(type, value);
    return text === undefined ? undefined : BigInt(text);
}

/**
 * The hash of a distribution column's value.
 * @param name of PostgreSQL's hash function
 * @returns undefined when the value is none of the column's type, or the function is not known here
 * @throws TypeError when the value can't be a key at all
 */
export function hashOf(name: string, value: Key): number | undefined {
    if (name === "hashint2" || name === "hashint4") {
        const n = whole(name === "hashint2" ? "smallint" : "integer", value);
        return n === undefined ? undefined : hashint4(Number(n));
    }
    if (name === "hashint8") {
        const n = whole("bigint", value);
        return n === undefined ? undefined : hashint8(n);
    }
    if (name === "hashtext") return hashtext(keyText(value));
    if (name === "hashbpchar") return hashtext(canonicalKey("character", value) ?? "");
    if (name === "uuid_hash") return uuidHash(keyText(value));
    return undefined;
}
