/** What each key of a group of tenants may hold. */
import { z } from "zod";
import { workerIndex } from "../../../core/node/topology.ts";
import { EXAMPLE, parseTarget } from "../../../core/tenants/exports/exportTarget.ts";
import { MODELS } from "../../../core/tenants/group/spec.ts";
import { flag, listOf, oneOf, strictObject, text, unrecognized, whole } from "../../../core/util/fields.ts";
import { InexactNumber, isExact } from "../../../core/util/json.ts";
import { shown } from "../../../core/util/shown.ts";
import type { TenantName } from "./args.ts";

const UNITS: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 };

/** A time as milliseconds. */
const duration = (example: string) =>
    z.any().transform((value, context) => {
        const match = /^([0-9]{1,7})(ms|s|m|h)$/.exec(String(value));
        const found = match ? Number(match[1]) * (UNITS[match[2] ?? ""] ?? Number.NaN) : Number.NaN;
        if (found >= 1 && found <= 86_400_000) return found;
        context.issues.push({
            code: "custom",
            input: value,
            message: `must be a time from 1ms to 24h, got ${shown(value)} - for example ${example}`,
        });
        return z.NEVER;
    });

const SIZES: Readonly<Record<string, number>> = { kB: 1, MB: 1024, GB: 1024 ** 2, TB: 1024 ** 3 };

/** A size as kilobytes. */
const size = (example: string) =>
    z.any().transform((value, context) => {
        const match = /^([0-9]{1,7})(kB|MB|GB|TB)$/.exec(String(value));
        const found = match ? Number(match[1]) * (SIZES[match[2] ?? ""] ?? Number.NaN) : Number.NaN;
        // PostgreSQL keeps kilobytes in 31 bits
        if (found <= 2_147_483_647) return found;
        context.issues.push({
            code: "custom",
            input: value,
            message: `must be a size from 0kB to 1TB, in kB, MB, GB or TB, got ${shown(value)} - for example ${example}`,
        });
        return z.NEVER;
    });

const node = z
    .any()
    .refine((value) => value === "coordinator" || (typeof value === "string" && workerIndex(value) !== undefined), {
        error: (issue) => `must be a node's name such as worker-2, got ${shown(issue.input)}`,
    })
    .transform(String);

const table = z
    .strictObject(
        {
            distributeBy: text(/^[^\0"]{1,63}$/, "a column's name").optional(),
            reference: flag.optional(),
            local: flag.optional(),
            ignore: flag.optional(),
            shardCount: whole(1, 64_000, 32).optional(),
        },
        {
            error: (issue) =>
                issue.code === "unrecognized_keys"
                    ? unrecognized(issue.keys, ["distributeBy", "reference", "local", "ignore", "shardCount"])
                    : `must be an object such as {"distributeBy": "company_id"}, got ${shown(issue.input)}`,
        },
    )
    .refine(
        (t) => {
            const kinds = [t.distributeBy !== undefined, t.reference === true, t.local === true].filter(Boolean).length;
            return t.ignore === true ? kinds <= 1 && t.distributeBy === undefined : kinds === 1;
        },
        {
            error: (issue) =>
                `must have exactly one of distributeBy, reference: true and local: true, or ignore: true alone or with one of the last two, got ${shown(issue.input)}`,
        },
    );

const scalar = z
    .union([z.string(), z.number(), z.boolean(), z.null(), z.instanceof(InexactNumber)], {
        error: (issue) => `must be a text, a number, true, false or null, got ${shown(issue.input)}`,
    })
    .transform((value, context) => {
        // digits after the point are written back as they were read; whole numbers beyond 2^53 are not
        const exact = typeof value !== "number" || !Number.isInteger(value) || isExact(value);
        if (!(value instanceof InexactNumber) && exact) return value;
        const written = value instanceof InexactNumber ? value.written : String(value);
        context.issues.push({
            code: "custom",
            input: value,
            message: `is a number that JavaScript does not keep as it is written, got ${written} - write it as a text: "${written}"`,
        });
        return z.NEVER;
    });

const isTenantName = (value: unknown): value is TenantName =>
    typeof value === "object" && value !== null && "group" in value && "name" in value;

const tenant = strictObject(
    {
        node: node.optional(),
        isolate: flag.optional(),
        limits: strictObject(
            {
                connections: whole(0, 10_000, 20).optional(),
                statementTimeout: duration("5s").optional(),
                idleInTransactionTimeout: duration("1m").optional(),
                tempFiles: size("1GB").optional(),
            },
            'an object such as {"connections": 20}',
        ).optional(),
        state: oneOf(["active", "frozen", "deleted"]).optional(),
        role: flag.optional(),
        export: strictObject(
            {
                file: text(/^[^\0\n]{1,4096}$/, "a file's path").optional(),
                url: text(
                    /^(s3:\/\/[^/\0\n]+\/|repository:)[^\0\n]+$/,
                    "an address such as s3://bucket/acme.sql.gz",
                ).optional(),
                sha256: text(/^[0-9a-f]{64}$/, "the file's sha256, 64 hexadecimal digits"),
            },
            'an object such as {"file": "acme.sql.gz", "sha256": "…"}',
        )
            .refine(({ file, url }) => (file === undefined) !== (url === undefined), {
                error: (issue) => `must have exactly one of file and url, got ${shown(issue.input)}`,
            })
            .optional(),
        values: z
            .record(z.string(), scalar, {
                error: (issue) => `must be a map of columns, got ${shown(issue.input)} - for example {"name": "Acme"}`,
            })
            .optional(),
        from: z
            .preprocess(
                (value) => (isTenantName(value) ? `${value.group}/${value.name}` : value),
                text(/^[a-z][a-z0-9_]{0,30}\/[^\0\n]{1,500}$/, 'a tenant of another group as "group/tenant"'),
            )
            .optional(),
        host: text(/^[A-Za-z0-9.:_-]{1,253}$/, "a server's name or address").optional(),
        port: whole(1, 65_535, 5432).optional(),
        database: text(/^[^\0"]{1,63}$/, "a database's name").optional(),
    },
    "an object, {} when there is nothing to say",
);

/** A pattern of files inside the project. */
export const insideProject = (value: unknown) =>
    typeof value === "string" && value !== "" && !value.startsWith("/") && !value.split(/[\\/]/).includes("..");

const names = (what: string, example: readonly string[]) =>
    listOf(what, example, (value) =>
        typeof value === "string" && value !== "" ? undefined : "must be a text that is not empty",
    );

const part = z
    .number({ error: (issue) => `must be a number from 0 to 1, got ${shown(issue.input)} - for example 0.1` })
    .refine((n) => n >= 0 && n <= 1, {
        error: (issue) => `must be a number from 0 to 1, got ${shown(issue.input)} - for example 0.1`,
    });

const isNone = (value: unknown) => Array.isArray(value) && value.length === 0;

const canary = z.union([whole(0, 1000, 1), names("tenants", ["acme"])], {
    error: (issue) =>
        `must be a whole number from 0 to 1000 or a list of tenants, got ${shown(issue.input)} - for example ["acme"]`,
});

/** A group's settings, each by itself; what they mean together is looked at in validate.ts. */
export const groupShape = strictObject(
    {
        model: oneOf(MODELS),
        anchor: text(/^[^\0"]{1,127}$/, "a table's name").optional(),
        tables: z
            .record(z.string(), table, {
                error: (issue) =>
                    `must be a map of tables, got ${shown(issue.input)} - for example {"users": {"distributeBy": "company_id"}}`,
            })
            .default({}),
        template: z.array(z.string()).default([]),
        tenants: z
            .record(z.string(), tenant, {
                error: (issue) =>
                    `must be a map of tenants, a list of their names or the path of a JSON file of either, got ${shown(issue.input)} - for example {"acme": {}}`,
            })
            .default({}),
        allow: names("tables", ["users"]).default([]),
        rowSecurity: flag.default(true),
        ownColumns: names("columns of the anchor", ["name"]).optional(),
        pool: flag.optional(),
        reader: flag.default(false),
        signIn: text(/^[^\0"]{1,126}\.[^\0".]{1,63}$/, 'a column as "table.column"').optional(),
        outOfOrder: flag.optional(),
        baseline: strictObject(
            {
                files: z.any().refine((value) => value !== undefined && value !== "" && !isNone(value), {
                    error: 'must be a .sql file or a list of them, got nothing - for example "sql/clinic-baseline/*.sql"',
                }),
                upTo: text(/\.sql$/, "the path of the last file that it stands for"),
            },
            'an object such as {"files": "sql/clinic-baseline/*.sql", "upTo": "sql/clinic/100.sql"}',
        ).optional(),
        onboarding: flag.optional(),
        rollout: strictObject(
            {
                canary: canary.default(1),
                part: part.default(0.1),
                pause: duration("1h").optional(),
                approve: flag.optional(),
                parallel: whole(1, 16, 4).optional(),
            },
            'an object such as {"canary": 1, "part": 0.1}',
        ).default({ canary: 1, part: 0.1 }),
        lockTimeout: duration("5s").default(5000),
        exports: z
            .any()
            .transform((value, context) => {
                const target =
                    typeof value === "string" ? parseTarget(value) : `must be ${EXAMPLE}, got ${shown(value)}`;
                if (typeof target !== "string") return value as string;
                context.issues.push({ code: "custom", input: value, message: target });
                return z.NEVER;
            })
            .optional(),
    },
    'an object such as {"model": "schema", "template": "sql/clinic/*.sql", "tenants": {"acme": {}}}',
);

export type GroupShape = z.output<typeof groupShape>;
export type TenantShape = z.output<typeof tenant>;
