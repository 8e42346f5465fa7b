/** Where exports of tenants are kept, as a program writes it, and what one export is called there. Pure. */
import { shown } from "../../util/shown.ts";

/** An S3 bucket, or one of a server that speaks its protocol. */
export interface Bucket {
    readonly kind: "bucket";
    readonly bucket: string;
    /** Without slashes around it; may be empty. */
    readonly prefix: string;
    /** @default the machine's own region */
    readonly region?: string;
    /** Host, and port where it is not 443. @default S3 of the region */
    readonly endpoint?: string;
    /** @default true */
    readonly verify: boolean;
}

/** The repository of the cluster's backups. */
export interface Repository {
    readonly kind: "repository";
}

export interface Folder {
    readonly kind: "folder";
    readonly path: string;
}

export type ExportTarget = Bucket | Repository | Folder;

const BUCKET = /^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/;
const OPTIONS = ["region", "endpoint", "verify"];

/** What is allowed, for an error. */
export const EXAMPLE = '"s3://bucket/prefix", "repository" or a folder such as "./exports"';

/** @returns what is wrong with it as a text */
export function parseTarget(text: string): ExportTarget | string {
    const wrong = (why = "") => `must be ${EXAMPLE}${why}, got ${shown(text)}`;
    if (text === "repository") return { kind: "repository" };
    if (/^\.{0,2}\//.test(text) && !text.includes("\0")) return { kind: "folder", path: text };
    if (!text.startsWith("s3://")) return wrong();
    const [place = "", query = ""] = text.slice("s3://".length).split("?");
    const [bucket = "", ...parts] = place.split("/");
    const options = new URLSearchParams(query);
    for (const name of options.keys())
        if (!OPTIONS.includes(name)) return wrong(` with ${OPTIONS.join(", ")} as the only options behind ?`);
    const [region, endpoint, verify = "true"] = OPTIONS.map((name) => options.get(name) ?? undefined);
    if (!BUCKET.test(bucket) || !/^[A-Za-z0-9._/-]*$/.test(place)) return wrong();
    if (region !== undefined && !/^[a-z0-9-]{1,40}$/.test(region)) return wrong(" with a region such as eu-central-1");
    if (endpoint !== undefined && !/^[A-Za-z0-9.-]{1,253}(:[0-9]{1,5})?$/.test(endpoint))
        return wrong(" with an endpoint such as minio.example.com:9000");
    if (verify !== "true" && verify !== "false") return wrong(" with verify=true or verify=false");
    return {
        kind: "bucket",
        bucket,
        prefix: parts.filter((part) => part !== "").join("/"),
        ...(region === undefined ? {} : { region }),
        ...(endpoint === undefined ? {} : { endpoint }),
        verify: verify === "true",
    };
}

/** An export that is not on this machine. */
export interface RemoteFile {
    readonly target: Bucket | Repository;
    /** Below the bucket's prefix, or in the repository. */
    readonly path: string;
}

const REPOSITORY = "repository:";

const optionsOf = ({ region, endpoint, verify }: Bucket): string => {
    const options = new URLSearchParams({
        ...(region === undefined ? {} : { region }),
        ...(endpoint === undefined ? {} : { endpoint }),
        ...(verify ? {} : { verify: "false" }),
    }).toString();
    return options === "" ? "" : `?${options}`;
};

/** What it is called wherever it is written down: with it, it is found again. */
export function addressOf({ target, path }: RemoteFile): string {
    if (target.kind === "repository") return `${REPOSITORY}${path}`;
    const { bucket, prefix } = target;
    return `s3://${[bucket, prefix, path].filter((part) => part !== "").join("/")}${optionsOf(target)}`;
}

/** @returns undefined for a file of this machine. @throws Error for an address that is none */
export function remoteFile(address: string): RemoteFile | undefined {
    if (address.startsWith(REPOSITORY))
        return { target: { kind: "repository" }, path: address.slice(REPOSITORY.length) };
    if (!address.startsWith("s3://")) return undefined;
    const target = parseTarget(address);
    if (typeof target === "string" || target.kind !== "bucket" || target.prefix === "")
        throw new Error(`${address} is no address of an export${typeof target === "string" ? `: ${target}` : ""}`);
    return { target: { ...target, prefix: "" }, path: target.prefix };
}

/** The same export's manifest. */
export const manifestOf = ({ target, path }: RemoteFile): RemoteFile => ({ target, path: `${path}.json` });

/** A tenant's name as a part of a path: any text may be a key. */
export const pathPart = (tenant: string) => tenant.replace(/[^A-Za-z0-9._-]/g, "_");
