/** What the keys of the aws platform may hold. */
import { z } from "zod";
import { formatCidr, parseCidr, within } from "../../core/util/cidr.ts";
import { checked, flag, listOf, oneOf, text, whole } from "../../core/util/fields.ts";
import { shown } from "../../core/util/shown.ts";
import type { Parts } from "./row.ts";

const idPattern = (prefix: string) => new RegExp(`^${prefix}-([0-9a-f]{8}|[0-9a-f]{17})$`);
const idExample = (prefix: string) => `${prefix}-0a1b2c3d4e5f60718`;
/** Ids that stand for those of resources that are not made yet. */
const standIn = (prefix: string) => (i: number) => `${prefix}-${i.toString(16).padStart(17, "0")}`;

const idOf = (prefix: string, what: string) => text(idPattern(prefix), `${what} such as ${idExample(prefix)}`);
const idsOf = (prefix: string, what: string, one: string) =>
    listOf(what, [idExample(prefix)], (value) =>
        typeof value === "string" && idPattern(prefix).test(value)
            ? undefined
            : `must be ${one} such as ${idExample(prefix)}`,
    );

const PRIVATE = ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"];
const privateRanges = PRIVATE.flatMap((range) => parseCidr(range) ?? []);

function networkCidrMistake(value: unknown): string | undefined {
    const range = typeof value === "string" ? parseCidr(value) : undefined;
    const must = `must be a range of private addresses (${PRIVATE.join(", ")}) from /16 to /22`;
    if (range === undefined || range.family !== 4 || range.prefix < 16 || range.prefix > 22)
        return `${must}, got ${shown(value)} - for example 10.64.0.0/16`;
    if (!privateRanges.some((outer) => within(range, outer)))
        return `${must}, got ${shown(value)} - for example 10.64.0.0/16`;
    if (range.hostBits)
        return `must begin with the first address of its range, got ${shown(value)} - write ${formatCidr(range)}`;
    return undefined;
}

/** @returns the message up to ", got …", which listOf adds */
function allowedCidrMistake(value: unknown): string | undefined {
    const range = typeof value === "string" ? parseCidr(value) : undefined;
    if (range?.hostBits) return `must begin with the first address of its range, ${formatCidr(range)}`;
    if (range !== undefined) return undefined;
    const single = [`${value}/128`, `${value}/32`].find((text) => parseCidr(text)?.hostBits === false);
    return `must be a range of addresses such as ${single ?? "203.0.113.0/24"}`;
}

/** Who may connect is not copied: nobody but the command that made it has business with a drill's copy. */
export const NETWORK = {
    vpcId: { value: () => idOf("vpc", "the id of a VPC").optional(), output: { whole: idExample("vpc") } },
    subnetIds: {
        value: () => idsOf("subnet", "subnets", "the id of a subnet").default([]),
        output: { whole: [1, 2, 3].map(standIn("subnet")), each: standIn("subnet") },
    },
    cidr: { value: () => checked(networkCidrMistake).default("10.64.0.0/16") },
    zones: { value: () => whole(1, 3, 3).optional() },
    egress: { value: () => oneOf(["nat", "endpoints"]).default("nat") },
    allowedCidrs: {
        value: () => listOf("address ranges", ["203.0.113.0/24"], allowedCidrMistake).default([]),
        output: { each: (i: number) => `203.0.113.${i % 256}/32` },
        copied: false,
    },
    allowedSecurityGroups: {
        value: () => idsOf("sg", "security groups", "the id of a security group").default([]),
        output: { each: standIn("sg") },
        copied: false,
    },
    openToTheWorld: { value: () => flag.default(false), copied: false },
} as const satisfies Parts;

const ACCOUNT = "[0-9]{12}";
const KEY = "(mrk-[0-9a-f]{32}|[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})";
const keyArn = new RegExp(`^arn:aws[a-z-]*:kms:[a-z0-9-]+:${ACCOUNT}:key/${KEY}$`);

export const KMS_KEY = "arn:aws:kms:eu-central-1:123456789012:key/0a1b2c3d-1234-1234-1234-0a1b2c3d4e5f";
export const TOPIC = "arn:aws:sns:eu-central-1:123456789012:alarms";

function kmsKeyMistake(value: unknown): string | undefined {
    if (typeof value === "string" && keyArn.test(value)) return undefined;
    const alias = typeof value === "string" && value.includes("alias/");
    return `must be the ARN of a KMS key${alias ? ", not an alias, which policies can't name" : ""}, got ${shown(value)} - for example ${KMS_KEY}`;
}

/** AWS allows 50 tags; the cluster's own need some of them. */
const MAX_TAGS = 40;
const RESERVED_TAG = /^(name$|citus-|aws:)/i;

function tagMistake(key: string, value: unknown): string | undefined {
    if (RESERVED_TAG.test(key))
        return `has ${shown(key)}, got ${shown(value)} - Name and citus-… are the cluster's own, aws:… is AWS' own: choose another key`;
    if (!/^[A-Za-z0-9+=._:@-]{1,128}$/.test(key))
        return `has the key ${shown(key)} - keys are 1 to 128 letters, digits and + - = . _ : @, which is what instance metadata, IAM and S3 all take`;
    if (!["string", "number", "boolean"].includes(typeof value))
        return `must give ${key} a text, got ${shown(value)} - for example "orders"`;
    if (!/^[\p{L}\p{Z}\p{N}_.:/=+\-@]{0,256}$/u.test(String(value)))
        return `has a value for ${key} that AWS does not take, got ${shown(value)} - values are up to 256 letters, digits, spaces and _ . : / = + - @`;
    return undefined;
}

export const tags = z
    .record(z.string(), z.unknown(), {
        error: (issue) => `must be a map of tags, got ${shown(issue.input)} - for example {"team": "orders"}`,
    })
    .transform((given, context) => {
        const wrong = (message: string) => context.issues.push({ code: "custom", input: given, message });
        const keys = Object.keys(given);
        if (keys.length > MAX_TAGS)
            wrong(`may hold ${MAX_TAGS} tags, got ${keys.length} - AWS allows 50, and the cluster has its own`);
        keys.forEach((key, i) => {
            const message = tagMistake(key, given[key]);
            const twin = keys.slice(0, i).find((other) => other.toLowerCase() === key.toLowerCase());
            if (message) wrong(message);
            else if (twin !== undefined)
                wrong(`has both ${twin} and ${key} - IAM takes them for the same key: keep one`);
        });
        return Object.fromEntries(keys.map((key) => [key, String(given[key])]));
    });

/** Stands for one that is not known yet. */
export const AMI = idExample("ami");
export const ami = idOf("ami", "the id of a machine image");

export const kmsKeyId = checked(kmsKeyMistake);

export const alarmTopic = text(
    new RegExp(`^arn:aws[a-z-]*:sns:[a-z0-9-]+:${ACCOUNT}:[A-Za-z0-9_-]{1,256}$`),
    `the ARN of an SNS topic such as ${TOPIC}`,
);
