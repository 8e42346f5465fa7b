/** A tenant's key as PostgreSQL writes it, so that one tenant has one spelling. Pure. */

/** What a tenant is named by. A `bigint` column's values above 2^53 are given as text or bigint. */
export type Key = string | number | bigint;

/**
 * The key as text.
 * @throws TypeError when it is nothing that names a tenant, or a number that has lost digits
 */
export function keyText(key: Key): string {
    if (typeof key === "string") {
        if (key.includes("\0")) throw new TypeError("a tenant's key can't hold the character NUL: PostgreSQL has none");
        return key;
    }
    if (typeof key === "bigint") return key.toString();
    if (typeof key === "number") {
        if (Number.isSafeInteger(key)) return String(key);
        throw new TypeError(
            `a tenant's key can't be the number ${key}: JavaScript keeps whole numbers up to 2^53 only. Give it as text or as a bigint`,
        );
    }
    const got = key === null ? "null" : Array.isArray(key) ? "an array" : `${typeof key}`;
    throw new TypeError(`a tenant's key must be text, a number or a bigint, got ${got}`);
}

const BITS: Readonly<Record<string, number>> = { smallint: 16, integer: 32, bigint: 64 };

/** What PostgreSQL takes for white space around a number. */
const INTEGER = /^[ \t\n\v\f\r]*([+-]?)([0-9]+)[ \t\n\v\f\r]*$/;

/** Hyphens are optional after each four digits, and nowhere else. */
const UUID = /^(?:[0-9a-f]{4}-?){7}[0-9a-f]{4}$/;

function integer(text: string, bits: number): string | undefined {
    const [, sign, written = ""] = INTEGER.exec(text) ?? [];
    const digits = written.replace(/^0+(?=.)/, "");
    if (digits === "" || digits.length > 19) return undefined;
    const value = BigInt(`${sign === "-" ? "-" : ""}${digits}`);
    return BigInt.asIntN(bits, value) === value ? value.toString() : undefined;
}

function uuid(text: string): string | undefined {
    const lower = text.toLowerCase();
    const bare = lower.startsWith("{") && lower.endsWith("}") ? lower.slice(1, -1) : lower;
    if (!UUID.test(bare)) return undefined;
    const d = bare.replaceAll("-", "");
    return `${d.slice(0, 8)}-${d.slice(8, 12)}-${d.slice(12, 16)}-${d.slice(16, 20)}-${d.slice(20)}`;
}

/**
 * The key as PostgreSQL writes it: ` 007` and `+7` of a bigint are `7`, a uuid is in small letters with hyphens, `char(n)` has
 * no blanks at its end. Text is as it is, and so are keys of types that are not known here.
 *
 * @param type the key's type, as `format_type` names it without its length; undefined where it is not known
 * @returns undefined when it is no key of this type, or is spelled in a way that only PostgreSQL reads, such as `0x2a`
 */
export function canonicalKey(type: string | undefined, key: Key): string | undefined {
    const text = keyText(key);
    const bits = type === undefined ? undefined : BITS[type];
    if (bits !== undefined) return integer(text, bits);
    if (type === "uuid") return uuid(text);
    if (type !== "character") return text;
    let end = text.length;
    while (text[end - 1] === " ") end--;
    return text.slice(0, end);
}
