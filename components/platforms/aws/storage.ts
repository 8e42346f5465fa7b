/** The cluster's bucket: its backups, and the scripts that machines boot from. */

import * as pulumi from "@pulumi/pulumi";
import { S3_REPOSITORY_PATH } from "../../../core/node/archive.ts";
import { BUNDLE_PREFIX, type Bundle, bundleKey, CURRENT_BUNDLE } from "./bundle.ts";
import type { Scope } from "./scope.ts";
import * as aws from "./sdk.ts";

/** Where in the bucket things are, each with a slash at its end. */
export const PREFIXES = { backups: `${S3_REPOSITORY_PATH.slice(1)}/`, bundle: BUNDLE_PREFIX } as const;

const MULTIPART_DAYS = 7;
/** How long what pgBackRest deleted or wrote over can be had back. */
const NONCURRENT_DAYS = 30;

/** Nothing is allowed by it; what does not come over TLS is refused. Pure. */
export function tlsOnly(bucketArn: string): object {
    return {
        Version: "2012-10-17",
        Statement: [
            {
                Sid: "TlsOnly",
                Effect: "Deny",
                Principal: "*",
                Action: "s3:*",
                Resource: [bucketArn, `${bucketArn}/*`],
                Condition: { Bool: { "aws:SecureTransport": "false" } },
            },
        ],
    };
}

/** A bucket of the cluster's own. */
export class Storage extends pulumi.ComponentResource {
    readonly bucket: pulumi.Output<string>;
    /** sha256 of the bundle. */
    readonly bundle: pulumi.Output<string>;
    /** Without these a machine that boots finds nothing to boot from. */
    readonly ready: readonly pulumi.Resource[];

    constructor(scope: Scope, bundle: Promise<Bundle>, opts: pulumi.ComponentResourceOptions) {
        super("citus:aws:Storage", `${scope.prefix}-storage`, {}, opts);
        const { protect } = scope;
        // a bucket that stays when it is taken out of the program stays as guarded as it was
        const kept = { parent: this, retainOnDelete: protect };
        const made = new aws.s3.Bucket(
            `${scope.prefix}-bucket`,
            {
                bucket: scope.clusterId.apply((id) => `${scope.cluster}-${id}`.toLowerCase()),
                forceDestroy: !protect,
                tags: scope.tags("bucket"),
            },
            { ...kept, protect },
        );
        const bucket = made.id;
        const settings = guard(scope, made, kept);
        // outputs take objects apart, and bytes are one
        const content = pulumi.output(
            bundle.then(({ sha256, content: tar }) => ({ sha256, base64: tar.toString("base64") })),
        );
        const sha256 = content.apply((found) => found.sha256);
        const object = { bucket, tags: scope.tags("bundle").apply(ownOnly) };
        const options = { parent: this, dependsOn: settings };
        // a machine reads which one is current before it fetches it: older ones need not stay
        const tar = new aws.s3.BucketObjectv2(
            `${scope.prefix}-bundle`,
            {
                ...object,
                key: sha256.apply(bundleKey),
                contentBase64: content.apply(({ base64 }) => base64),
                contentType: "application/x-tar",
            },
            options,
        );
        const current = new aws.s3.BucketObjectv2(
            `${scope.prefix}-bundle-current`,
            {
                ...object,
                key: CURRENT_BUNDLE,
                content: pulumi.interpolate`${sha256}\n`,
                contentType: "text/plain",
            },
            { ...options, dependsOn: [...settings, tar] },
        );
        this.bucket = bucket;
        this.bundle = sha256;
        this.ready = [tar, current];
        this.registerOutputs({ bucket: this.bucket, bundle: this.bundle });
    }
}

/** An object has ten tags at most, so it has the cluster's and not the user's. */
const OWN = ["Name", "citus-cluster", "citus-cluster-id"];
const ownOnly = (tags: Readonly<Record<string, string>>) =>
    Object.fromEntries(Object.entries(tags).filter(([key]) => OWN.includes(key)));

/** Versioned, encrypted, TLS only, closed to the public, and cleaned of what nobody needs. */
function guard(scope: Scope, made: aws.s3.Bucket, kept: pulumi.CustomResourceOptions): pulumi.Resource[] {
    const bucket = made.id;
    const { kmsKeyId } = scope.aws;
    const named = (name: string) => `${scope.prefix}-bucket-${name}`;
    const versioning = new aws.s3.BucketVersioning(
        named("versioning"),
        { bucket, versioningConfiguration: { status: "Enabled" } },
        kept,
    );
    const encryption = new aws.s3.BucketServerSideEncryptionConfiguration(
        named("encryption"),
        {
            bucket,
            rules: [
                kmsKeyId === undefined
                    ? { applyServerSideEncryptionByDefault: { sseAlgorithm: "AES256" } }
                    : {
                          applyServerSideEncryptionByDefault: { sseAlgorithm: "aws:kms", kmsMasterKeyId: kmsKeyId },
                          bucketKeyEnabled: true,
                      },
            ],
        },
        kept,
    );
    const publicAccess = new aws.s3.BucketPublicAccessBlock(
        named("public-access"),
        { bucket, blockPublicAcls: true, blockPublicPolicy: true, ignorePublicAcls: true, restrictPublicBuckets: true },
        kept,
    );
    const ownership = new aws.s3.BucketOwnershipControls(
        named("ownership"),
        { bucket, rule: { objectOwnership: "BucketOwnerEnforced" } },
        kept,
    );
    const policy = new aws.s3.BucketPolicy(
        named("policy"),
        { bucket, policy: made.arn.apply((arn) => JSON.stringify(tlsOnly(arn))) },
        // S3 refuses two changes of a bucket's access at the same moment
        { ...kept, dependsOn: [publicAccess, ownership] },
    );
    const lifecycle = new aws.s3.BucketLifecycleConfiguration(
        named("lifecycle"),
        {
            bucket,
            // pgBackRest says what is not needed any more: nothing here ends an object that is current
            rules: Object.entries(PREFIXES).map(([id, prefix]) => ({
                id,
                status: "Enabled",
                filter: { prefix },
                abortIncompleteMultipartUpload: { daysAfterInitiation: MULTIPART_DAYS },
                noncurrentVersionExpiration: { noncurrentDays: NONCURRENT_DAYS },
                expiration: { expiredObjectDeleteMarker: true },
            })),
        },
        { ...kept, dependsOn: [versioning] },
    );
    return [versioning, encryption, publicAccess, ownership, policy, lifecycle];
}
