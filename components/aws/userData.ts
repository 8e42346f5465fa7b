/**
 * What an instance is given at birth: who it is, and the launcher that fetches everything else. No secret.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { Role } from "../topology.ts";

/** EC2's limit, before base64. */
export const MOST_USER_DATA = 16_384;

/** A machine's facts, as /etc/citus-node.conf has them for the scripts in scripts/node/aws. */
export interface MachineFacts {
    readonly region: string;
    /** Where the node scripts and the backups lie. */
    readonly bucket: string;
    /** The cluster's name with the beginning of its id: names the log group `/citus/<base>` and the metrics' dimension. */
    readonly base: string;
    readonly cluster: string;
    readonly node: string;
    readonly role: Role;
    /** The data volume, `vol-…`. */
    readonly volumeId: string;
    /** Name of the node's secret in Secrets Manager; its content is fetched by the node's own role. */
    readonly secret: string;
    /** Whether metrics for alarms are sent from the first boot on. @default no */
    readonly alarms?: boolean;
    /** Citus in full, such as `14.0.1`. @default what scripts/node/aws/packages.conf says */
    readonly citusVersion?: string;
}

/** Nothing that a shell would do anything with. */
const PLAIN = /^[A-Za-z0-9][A-Za-z0-9._/-]*$/;

const SCRIPTS = "scripts/node/aws";

const withoutFirstLine = (text: string) => text.slice(text.indexOf("\n") + 1);

/**
 * @param root the project's folder. @default where the program runs
 * @throws Error when a value is no plain word, or when it is over EC2's limit
 */
export function renderUserData(facts: MachineFacts, root = "."): string {
    const header = {
        REGION: facts.region,
        BUCKET: facts.bucket,
        BASE: facts.base,
        CLUSTER: facts.cluster,
        NODE: facts.node,
        ROLE: facts.role,
        VOLUME_ID: facts.volumeId,
        SECRET: facts.secret,
        ALARMS: facts.alarms ? "on" : "off",
        ...(facts.citusVersion === undefined ? {} : { CITUS_VERSION: facts.citusVersion }),
    };
    for (const [name, value] of Object.entries(header)) {
        if (!PLAIN.test(value))
            throw new Error(`user data: ${name} is ${JSON.stringify(value)}, which is not a plain word`);
    }
    const read = (name: string) => withoutFirstLine(readFileSync(join(root, SCRIPTS, name), "utf8"));
    const text = [
        "#!/usr/bin/env bash\n",
        ...Object.entries(header).map(([name, value]) => `${name}=${value}\n`),
        read("aws.sh"),
        read("launcher.sh"),
    ].join("");
    const bytes = Buffer.byteLength(text);
    if (bytes > MOST_USER_DATA) throw new Error(`user data: it has ${bytes} bytes, and EC2 takes ${MOST_USER_DATA}`);
    return text;
}
