/** What is said of a key in the table of keys, and of a key inside an object. */
import type { z } from "zod";
import { strictObject } from "../../core/util/fields.ts";
import type { Kind } from "./parse.ts";
import type { PlatformName } from "./platforms.ts";

/** The one platform that a key means something on. */
export interface Only {
    readonly platform: PlatformName;
    /** Why it means nothing on the others; the end of an error's sentence. */
    readonly why: string;
}

/**
 * How an output of another resource may be given. Until it is known, what stands for it is checked in its place with all the rest.
 */
export interface OutputRule {
    /** Stands for the whole. @default the whole has to be known */
    readonly whole?: unknown;
    /** Stands for the element of that number. @default elements have to be known */
    readonly each?: (i: number) => unknown;
}

export interface PartRow {
    /** What it may hold. A part's default is in here; that of a whole key is in `default`, where rules over several keys see it. */
    readonly value: (platform: PlatformName) => z.ZodType;
    /** @default both platforms */
    readonly onlyOn?: Only;
    /** @default it decides which resources there are, so that it has to be known when the program runs */
    readonly output?: OutputRule;
    /** Whether the copy that `npm run restore-drill` makes is given it. @default true */
    readonly copied?: boolean;
}

/** The keys of an object. */
export type Parts = Readonly<Record<string, PartRow>>;

type Literal = string | number | readonly [] | Readonly<Record<string, never>>;

export interface KeyRow extends PartRow {
    readonly kind: Kind;
    /** What the key is when it is not set. A function where that depends on the stack, or on the name of the cluster's resource. @default not set */
    readonly default?: Literal | ((stack: string, resource: string) => string | boolean);
    /** Keys of the object. */
    readonly parts?: Parts;
    /** Whether `pulumi config set` must be given it with --secret. @default false */
    readonly secret?: true;
    /**
     * Not copied is what does not fit a cluster that lives for minutes: its own name, size, protection and backups, and who
     * may connect. Tenants come with the data: groups would pin them to workers that the point did not have, and run
     * templates.
     */
    readonly copied: boolean;
    /** One line in Pulumi.yaml. */
    readonly description: string;
    /** The key's row in docs/configuration.md, in Markdown. */
    readonly reference: {
        readonly type: string;
        /** A value in backquotes, or a sentence. @default `default` of the row */
        readonly default?: string;
        /** What a change does to a living cluster, in the words of that page. */
        readonly change: string;
        /** Anchor of the section that says more. @default none */
        readonly section?: string;
    };
}

type Shape<T extends Parts> = { [K in keyof T]: ReturnType<T[K]["value"]> };

/** What each key may hold on a platform. */
export function shapeOn<T extends Parts>(rows: T, platform: PlatformName): Shape<T> {
    const values = Object.entries(rows).map(([key, { value }]) => [key, value(platform)]);
    // fromEntries forgets which key has which value
    return Object.fromEntries(values) as Shape<T>;
}

/** An object with these keys. A mistake names those that mean something on the platform. */
export const objectOf = <T extends Parts>(parts: T, platform: PlatformName, what = "an object") =>
    strictObject(
        shapeOn(parts, platform),
        what,
        Object.keys(parts).filter((key) => (parts[key]?.onlyOn?.platform ?? platform) === platform),
    );
