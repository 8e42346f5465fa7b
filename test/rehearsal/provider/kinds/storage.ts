/** Buckets, their sides and their objects. */
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { type Kind, Refusal } from "../kind.ts";
import { ASSET, isObject, type Props, SIGNATURE, text } from "../values.ts";
import { document, ROLE } from "./iam.ts";
import { strangers } from "./policy.ts";

export const BUCKET = "aws:s3/bucket:Bucket";
const OBJECT = "aws:s3/bucketObjectv2:BucketObjectv2";
const VERSIONING = "aws:s3/bucketVersioning:BucketVersioning";
const ENCRYPTION = "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration";
const PUBLIC_ACCESS = "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock";
const OWNERSHIP = "aws:s3/bucketOwnershipControls:BucketOwnershipControls";
const LIFECYCLE = "aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration";
const POLICY = "aws:s3/bucketPolicy:BucketPolicy";

const NO_BUCKET = { bucket: [BUCKET, "NoSuchBucket"] } as const;
/** Bytes of a bucket policy. */
const POLICY_LIMIT = 20480;

/** Arguments of Bucket that have become resources of their own. */
const SIDES = [
    "accelerationStatus",
    "acl",
    "corsRules",
    "grants",
    "lifecycleRules",
    "logging",
    "objectLockConfiguration",
    "policy",
    "replicationConfiguration",
    "requestPayer",
    "serverSideEncryptionConfiguration",
    "versioning",
    "website",
];

const bucket: Kind = {
    autoname: { property: "bucket", max: 63, lower: true },
    replaces: ["bucket", "bucketPrefix", "bucketNamespace", "objectLockEnabled", "region"],
    check(inputs, problem) {
        const name = text(inputs, "bucket");
        if (
            name !== undefined &&
            (!/^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/.test(name) || /\.\.|^xn--|-s3alias$/.test(name))
        )
            problem(
                "bucket",
                `InvalidBucketName: "${name}": 3 to 63 lower-case letters, digits, points and hyphens, a letter or digit at both ends`,
            );
        for (const property of SIDES)
            if (inputs[property] !== undefined)
                problem(property, "deprecated, and not known by the stand-in: use the resource of its own");
    },
    create(inputs, world) {
        const id = String(inputs.bucket);
        if (world.find(BUCKET, id))
            throw new Refusal("BucketAlreadyExists", `The requested bucket name ${id} is not available.`);
        return {
            id,
            props: {
                arn: `arn:aws:s3:::${id}`,
                bucketDomainName: `${id}.s3.amazonaws.com`,
                bucketRegionalDomainName: `${id}.s3.${world.region}.amazonaws.com`,
                bucketRegion: world.region,
                hostedZoneId: "Z21DNDUVLTQW6Q",
                objectLockEnabled: false,
            },
        };
    },
    beforeDelete(row, state, world) {
        const held = world.all(OBJECT).filter((object) => object.props.bucket === row.id);
        if (held.length > 0 && state.forceDestroy !== true)
            throw new Refusal(
                "BucketNotEmpty",
                `The bucket you tried to delete is not empty: ${row.id} holds ${held.map((o) => o.props.key).join(", ")}`,
            );
    },
    afterDelete(row, _state, world) {
        for (const type of [OBJECT, VERSIONING, ENCRYPTION, PUBLIC_ACCESS, OWNERSHIP, LIFECYCLE, POLICY])
            for (const side of world.all(type)) if (side.props.bucket === row.id) world.remove(type, side.id);
    },
    outside: {
        create: (machines, row) => machines.createBucket(row.id),
        delete: (machines, row, state) => machines.deleteBucket(row.id, state.forceDestroy === true),
    },
};

/** A resource that is a setting of a bucket, with the bucket's name as its id. */
function side(type: string, more: Partial<Kind> = {}): Kind {
    return {
        untagged: true,
        replaces: ["bucket", "expectedBucketOwner", "region"],
        refers: NO_BUCKET,
        create(inputs, world) {
            const id = String(inputs.bucket);
            if (world.find(type, id))
                throw new Refusal("OperationAborted", `${id} already has a ${type.split(":")[2]}`);
            return { id };
        },
        ...more,
    };
}

const ACTIONS = [
    "abortIncompleteMultipartUpload",
    "expiration",
    "noncurrentVersionExpiration",
    "noncurrentVersionTransitions",
    "transitions",
];

const lifecycle = side(LIFECYCLE, {
    values: { "rules[].status": ["Enabled", "Disabled"] },
    longest: { "rules[].id": 255 },
    check(inputs, problem) {
        const rules = Array.isArray(inputs.rules) ? inputs.rules.filter(isObject) : [];
        rules.forEach((rule, i) => {
            if (!ACTIONS.some((action) => rule[action] !== undefined))
                problem(`rules[${i}]`, `InvalidRequest: at least one of ${ACTIONS.join(", ")} must be given`);
        });
        const ids = rules.map((rule) => rule.id);
        if (new Set(ids).size < ids.length) problem("rules", "InvalidArgument: rule IDs must be unique");
    },
});

const policy = side(POLICY, {
    documents: ["policy"],
    check(inputs, problem) {
        document(inputs, "policy", "resource", problem);
        if (Buffer.byteLength(text(inputs, "policy") ?? "") > POLICY_LIMIT)
            problem("policy", `PolicyTooLarge: at most ${POLICY_LIMIT} bytes`);
    },
    create(inputs, world) {
        const unknown = strangers(String(inputs.policy), world, ROLE);
        if (unknown.length > 0)
            throw new Refusal("MalformedPolicy", `Invalid principal in policy: ${unknown.join(", ")}`);
        return { id: String(inputs.bucket) };
    },
});

/** The bytes of an object, from whichever argument has them. */
function contentOf(props: Props): Buffer {
    if (typeof props.contentBase64 === "string") return Buffer.from(props.contentBase64, "base64");
    if (typeof props.content === "string") return Buffer.from(props.content);
    const { source } = props;
    if (source === undefined) return Buffer.alloc(0);
    if (!isObject(source) || source[SIGNATURE] !== ASSET)
        throw new Error("the stand-in can only put files, not archives");
    if (typeof source.text === "string") return Buffer.from(source.text);
    if (typeof source.path === "string") return readFileSync(source.path);
    throw new Error("the stand-in can't fetch an asset from elsewhere");
}

const CONTENT = ["content", "contentBase64", "source"];

const object: Kind = {
    replaces: ["bucket", "key", "region"],
    refers: NO_BUCKET,
    unstable: ["etag", "versionId"],
    values: { serverSideEncryption: ["AES256", "aws:kms", "aws:kms:dsse", "aws:fsx"] },
    check(inputs, problem) {
        const given = CONTENT.filter((name) => inputs[name] !== undefined);
        if (given.length > 1) problem(given[1] ?? "", `conflicts with ${given[0]}`);
        if (inputs.key === undefined) problem("key", "the stand-in makes no key up: give one");
        if (Buffer.byteLength(text(inputs, "key") ?? "") > 1024) problem("key", "KeyTooLongError: at most 1024 bytes");
    },
    create(inputs, world) {
        return {
            id: `${inputs.bucket}/${inputs.key}`,
            props: {
                arn: `arn:aws:s3:::${inputs.bucket}/${inputs.key}`,
                contentType: "application/octet-stream",
                serverSideEncryption: "AES256",
                storageClass: "STANDARD",
                bucketKeyEnabled: false,
                ...written(inputs, world.newId("version")),
            },
        };
    },
    update: (row, news, world) =>
        JSON.stringify(CONTENT.map((c) => row.props[c])) === JSON.stringify(CONTENT.map((c) => news[c]))
            ? undefined
            : written(news, world.newId("version")),
    outside: {
        create: (machines, row) =>
            machines.putObject(String(row.props.bucket), String(row.props.key), contentOf(row.props)),
        update: (machines, row) =>
            machines.putObject(String(row.props.bucket), String(row.props.key), contentOf(row.props)),
        delete: (machines, row) => machines.deleteObject(String(row.props.bucket), String(row.props.key)),
    },
};

const written = (inputs: Props, versionId: string): Props => ({
    etag: createHash("md5").update(contentOf(inputs)).digest("hex"),
    versionId,
});

export const storage: Record<string, Kind> = {
    [BUCKET]: bucket,
    [OBJECT]: object,
    [VERSIONING]: side(VERSIONING, {
        values: {
            "versioningConfiguration.status": ["Enabled", "Suspended", "Disabled"],
            "versioningConfiguration.mfaDelete": ["Enabled", "Disabled"],
        },
    }),
    [ENCRYPTION]: side(ENCRYPTION, {
        values: { "rules[].applyServerSideEncryptionByDefault.sseAlgorithm": ["AES256", "aws:kms", "aws:kms:dsse"] },
    }),
    [PUBLIC_ACCESS]: side(PUBLIC_ACCESS),
    [OWNERSHIP]: side(OWNERSHIP, {
        values: { "rule.objectOwnership": ["BucketOwnerEnforced", "BucketOwnerPreferred", "ObjectWriter"] },
    }),
    [LIFECYCLE]: lifecycle,
    [POLICY]: policy,
};
