/** What the machines of each kind of node may do on AWS. Pure. */
import type { Role } from "../../../core/node/topology.ts";
import { partitionOf } from "./scope.ts";
import { PREFIXES } from "./storage.ts";

export interface PolicyArgs {
    readonly region: string;
    readonly account: string;
    /** The cluster's own bucket. */
    readonly bucket: string;
    /** Names of the cluster's secrets begin with it. */
    readonly base: string;
    /** The bucket that the cluster is restored from, when it is another's. */
    readonly origin?: string;
    /** ARN of the key that bucket and secrets are encrypted with. */
    readonly kmsKeyId?: string;
    /** The group that metrics are written to, as log lines. */
    readonly logGroup?: string;
}

export interface Statement {
    readonly Sid: string;
    readonly Effect: "Allow";
    readonly Action: readonly string[];
    readonly Resource: readonly string[];
    readonly Condition?: Readonly<Record<string, Readonly<Record<string, string | readonly string[]>>>>;
}

export interface Policy {
    readonly Version: "2012-10-17";
    readonly Statement: readonly Statement[];
}

const policy = (...statements: readonly (Statement | false)[]): Policy => ({
    Version: "2012-10-17",
    Statement: statements.filter((statement) => statement !== false),
});

/** Lets EC2 give a role to machines. */
export function trustPolicy(): object {
    return {
        Version: "2012-10-17",
        Statement: [{ Effect: "Allow", Principal: { Service: "ec2.amazonaws.com" }, Action: "sts:AssumeRole" }],
    };
}

/** Secrets of a kind of node: AWS ends a secret's ARN with a dash and six characters. */
const SECRETS: Readonly<Record<Role, string>> = { coordinator: "coordinator-??????", worker: "worker-*" };

/** What a kind of node may do. */
export function policyFor(kind: Role, args: PolicyArgs): Policy {
    const { region, account, bucket, base, origin, kmsKeyId, logGroup } = args;
    const partition = partitionOf(region);
    const arn = (service: string, what: string) => `arn:${partition}:${service}:${region}:${account}:${what}`;
    const s3 = (name: string, key = "") => `arn:${partition}:s3:::${name}${key === "" ? "" : `/${key}`}`;
    const backups = `${PREFIXES.backups}*`;
    const listed = { StringLike: { "s3:prefix": [backups] } };
    return policy(
        {
            Sid: "ListBackups",
            Effect: "Allow",
            Action: ["s3:ListBucket"],
            Resource: [s3(bucket)],
            Condition: listed,
        },
        {
            Sid: "Backups",
            Effect: "Allow",
            Action: [
                "s3:GetObject",
                "s3:PutObject",
                "s3:DeleteObject",
                "s3:AbortMultipartUpload",
                "s3:ListMultipartUploadParts",
            ],
            Resource: [s3(bucket, backups)],
        },
        {
            Sid: "Bundle",
            Effect: "Allow",
            Action: ["s3:GetObject"],
            Resource: [s3(bucket, `${PREFIXES.bundle}*`)],
        },
        origin !== undefined && {
            Sid: "ListOrigin",
            Effect: "Allow",
            Action: ["s3:ListBucket"],
            Resource: [s3(origin)],
            Condition: listed,
        },
        origin !== undefined && {
            Sid: "Origin",
            Effect: "Allow",
            Action: ["s3:GetObject"],
            Resource: [s3(origin, backups)],
        },
        {
            Sid: "OwnSecret",
            Effect: "Allow",
            Action: ["secretsmanager:GetSecretValue"],
            Resource: [arn("secretsmanager", `secret:citus/${base}/${SECRETS[kind]}`)],
        },
        kmsKeyId !== undefined && {
            Sid: "Key",
            Effect: "Allow",
            Action: ["kms:Decrypt", "kms:GenerateDataKey"],
            Resource: [kmsKeyId],
            Condition: {
                StringEquals: {
                    "kms:ViaService": [`s3.${region}.amazonaws.com`, `secretsmanager.${region}.amazonaws.com`],
                },
            },
        },
        logGroup !== undefined && {
            Sid: "Metrics",
            Effect: "Allow",
            Action: ["logs:CreateLogStream", "logs:PutLogEvents"],
            Resource: [arn("logs", `log-group:${logGroup}:*`)],
        },
    );
}
