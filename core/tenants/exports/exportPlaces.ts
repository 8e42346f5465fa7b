/** Exports that are not on this machine: a node sends them, reads them and fetches them by itself, with pgBackRest. */
import { renderRepositoryConf } from "../../node/archive.ts";
import type { ScriptInput, Shell } from "../../node/reach.ts";
import { type Bucket, manifestOf, type RemoteFile } from "./exportTarget.ts";

/** What a container is given: it has no credentials of its own. @throws Error when there are none */
function keysOf(environment: NodeJS.ProcessEnv, { bucket }: Bucket): Record<string, string> {
    const { AWS_ACCESS_KEY_ID: key, AWS_SECRET_ACCESS_KEY: secret, AWS_SESSION_TOKEN: token } = environment;
    if (!key || !secret)
        throw new Error(
            `the bucket ${bucket} is reached with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, and they are not set where this runs: a container has no credentials of its own. Set them, then repeat this.`,
        );
    return { "s3-key-type": "shared", "s3-key": key, "s3-key-secret": secret, ...(token ? { "s3-token": token } : {}) };
}

/**
 * pgBackRest's configuration for a bucket.
 * @param environment of this process: a machine on AWS reaches the bucket as its own role instead
 */
export function bucketConf(target: Bucket, shell: Shell, environment: NodeJS.ProcessEnv): string {
    const own = shell.kind === "ssm" ? shell.region : undefined;
    const region = target.region ?? own ?? environment.AWS_REGION ?? environment.AWS_DEFAULT_REGION ?? "us-east-1";
    const [host = "", port] = (target.endpoint ?? `s3.${region}.amazonaws.com`).split(":");
    return renderRepositoryConf({
        options: {
            type: "s3",
            path: `/${target.prefix}`,
            "s3-bucket": target.bucket,
            "s3-region": region,
            "s3-endpoint": host,
            // other servers have no host for each bucket
            ...(target.endpoint === undefined ? {} : { "s3-uri-style": "path" }),
            ...(port === undefined ? {} : { "storage-port": port }),
            ...(target.verify ? {} : { "storage-verify-tls": "n" }),
            ...(shell.kind === "ssm" ? { "s3-key-type": "auto" } : keysOf(environment, target)),
        },
    });
}

type Files = NonNullable<ScriptInput["files"]>;

/**
 * What export-tenant.sh is given for a place; without a configuration it takes the repository of backups.
 * @param files what it is given besides
 */
export function placeInput(shell: Shell, remote: RemoteFile | undefined, files: Files = {}): ScriptInput {
    const { target, path } = remote ?? {};
    const conf = target?.kind === "bucket" ? bucketConf(target, shell, process.env) : "";
    const all = { ...files, target: path === undefined ? "" : `${path}\n` };
    return shell.kind === "ssm"
        ? { files: { ...all, "pgbackrest.conf": conf } }
        : { files: all, secrets: { group: "own", version: "", files: { "pgbackrest.conf": conf } } };
}

interface ExportPlace {
    readonly shell: Shell;
    /** Runs export-tenant.sh there. */
    run(words: readonly string[], input: ScriptInput): Promise<string>;
}

/** What export-tenant.sh says of a file. @throws Error when it says nothing of it */
export function parseTold(told: string, what: string): { bytes: number; sha256: string } {
    const bytes = Number(/^bytes=(\d+)$/m.exec(told)?.[1]);
    const sha256 = /^sha256=([0-9a-f]{64})$/m.exec(told)?.[1];
    if (!sha256 || Number.isNaN(bytes)) throw new Error(`${what} was cut off`);
    return { bytes, sha256 };
}

/** Writes an export's manifest beside it. */
export async function sendManifest({ shell, run }: ExportPlace, remote: RemoteFile, text: string): Promise<void> {
    await run(["send"], placeInput(shell, manifestOf(remote), { content: text }));
}

export const readRemoteManifest = ({ shell, run }: ExportPlace, remote: RemoteFile): Promise<string> =>
    run(["read"], placeInput(shell, manifestOf(remote)));

/** Reads all of an export, where it is. */
export const sumRemote = async ({ shell, run }: ExportPlace, remote: RemoteFile, what: string) =>
    parseTold(await run(["sum"], placeInput(shell, remote)), what);
