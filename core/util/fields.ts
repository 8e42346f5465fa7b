/** What every field's check is made of: each says what must be, what was got, and shows an example. */
import { z } from "zod";
import { nearest } from "./nearest.ts";
import { shown } from "./shown.ts";

export const record = (value: unknown): Record<string, unknown> =>
    value !== null && typeof value === "object" && !Array.isArray(value) ? (value as Record<string, unknown>) : {};

export const whole = (low: number, high: number, example: number) => {
    const message = (input: unknown) =>
        `must be a whole number from ${low} to ${high}, got ${shown(input)} - for example ${example}`;
    return z
        .number({ error: (issue) => message(issue.input) })
        .refine((n) => Number.isInteger(n) && n >= low && n <= high, { error: (issue) => message(issue.input) });
};

export const oneOf = <const T extends readonly [string, ...string[]]>(values: T) =>
    z.enum(values, {
        error: (issue) => `must be one of ${values.join(", ")}, got ${shown(issue.input)}`,
    });

export const text = (pattern: RegExp, what: string) => {
    const message = (input: unknown) => `must be ${what}, got ${shown(input)}`;
    return z
        .string({ error: (issue) => message(issue.input) })
        .regex(pattern, { error: (issue) => message(issue.input) });
};

/** A field with one text or none that says what is wrong with it. */
export const checked = (problem: (value: unknown) => string | undefined) =>
    z.any().transform((value, context) => {
        const message = problem(value);
        if (message === undefined) return String(value);
        context.issues.push({ code: "custom", input: value, message });
        return z.NEVER;
    });

/** A key that is not one of these, and which may have been meant. */
export const unrecognized = (keys: readonly string[], known: readonly string[]) => {
    const said = keys.map((key) => {
        const meant = nearest(key, known);
        return `"${key}"${meant === undefined ? "" : ` (did you mean ${meant}?)`}`;
    });
    return `has no ${said.join(", ")}; it has ${known.join(", ")}`;
};

/** @param named the keys that a mistake names. @default all of the shape's */
export const strictObject = <T extends z.ZodRawShape>(shape: T, what: string, named = Object.keys(shape)) =>
    z.strictObject(shape, {
        error: (issue) =>
            issue.code === "unrecognized_keys"
                ? unrecognized(issue.keys, named)
                : `must be ${what}, got ${shown(issue.input)}`,
    });

/** Memory as PostgreSQL writes it, in MiB. */
export const memory = z.any().transform((value, context) => {
    const match = /^([0-9]+(?:\.[0-9]+)?) ?(MB|GB|MiB|GiB)$/.exec(String(value));
    const mib = match ? Math.floor(Number(match[1]) * (match[2]?.startsWith("G") ? 1024 : 1)) : Number.NaN;
    if (!(mib >= 256 && mib <= 4 * 1024 * 1024)) {
        context.issues.push({
            code: "custom",
            input: value,
            message: `must be an amount of memory from 256MB to 4096GB, got ${shown(value)} - for example 2GB`,
        });
        return z.NEVER;
    }
    return mib;
});

const UNITS: Readonly<Record<string, number>> = { s: 1, m: 60, h: 3600, d: 86_400 };

/** A time span as seconds; `off` is 0. */
export const span = (least: string, example: string, off = true) =>
    z.any().transform((value, context) => {
        if (off && (value === "off" || value === false)) return 0;
        const seconds = (text: string) => {
            const match = /^([0-9]{1,6})([smhd])$/.exec(text);
            return match ? Number(match[1]) * (UNITS[match[2] ?? ""] ?? Number.NaN) : Number.NaN;
        };
        const found = seconds(String(value));
        if (!(found >= seconds(least) && found <= 400 * 86_400)) {
            context.issues.push({
                code: "custom",
                input: value,
                message: `must be a time from ${least} to 400d${off ? ', or "off"' : ""}, got ${shown(value)} - for example ${example}`,
            });
            return z.NEVER;
        }
        return found;
    });

export const passphrase = z
    .string({ error: (issue) => `must be a text, got ${typeof issue.input}` })
    .regex(/^[\x21-\x7e]{20,200}$/, {
        error: () => "must have 20 to 200 visible ASCII characters - for example from openssl rand -base64 32",
    })
    .optional();

export const flag = z.boolean({ error: (issue) => `must be true or false, got ${shown(issue.input)}` });

/**
 * A list of different texts.
 * @param what what the elements are
 * @param problem what is wrong with an element; undefined when it is right
 */
export const listOf = (what: string, example: readonly string[], problem: (value: unknown) => string | undefined) =>
    z
        .array(z.any(), {
            error: (issue) => `must be a list of ${what}, got ${shown(issue.input)} - for example ${shown(example)}`,
        })
        .transform((values, context) => {
            values.forEach((value, i) => {
                const wrong = problem(value);
                const message = wrong
                    ? `${wrong}, got ${shown(value)}`
                    : values.indexOf(value) !== i
                      ? `names ${value} twice - remove one`
                      : undefined;
                if (message) context.issues.push({ code: "custom", input: value, path: [i], message });
            });
            return values as string[];
        });
