/**
 * What an instance is given at birth: who it is, and the launcher that fetches everything else. No secret.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { SCRIPTS_FOLDER } from "../../../core/node/scripts.ts";
import type { Role } from "../../../core/node/topology.ts";

/** EC2's limit, before base64. */
export const MOST_USER_DATA = 16_384;

/** What machines of one cluster are told alike; /etc/citus-node.conf has it for the scripts in scripts/node/aws. */
export interface ClusterFacts {
    readonly region: string;
    /** Where the node scripts and the backups lie. */
    readonly bucket: string;
    /** The cluster's name with the beginning of its id: names the log group `/citus/<base>` and the metrics' dimension. */
    readonly base: string;
    readonly cluster: string;
    /** Citus in full, such as `14.1.0`. */
    readonly citusVersion: string;
}

/** What each machine is told of itself. */
export interface MachineFacts {
    readonly node: string;
    readonly role: Role;
    /** The data volume, `vol-…`. */
    readonly volumeId: string;
    /** Name of the node's secret in Secrets Manager; its content is fetched by the node's own role. */
    readonly secret: string;
}

/** Nothing that a shell would do anything with. */
const PLAIN = /^[A-Za-z0-9][A-Za-z0-9._/-]*$/;

const FIRST_LINE = "#!/usr/bin/env bash\n";

const withoutFirstLine = (text: string) => text.slice(text.indexOf("\n") + 1);

function header(facts: Readonly<Record<string, string>>): string {
    for (const [name, value] of Object.entries(facts)) {
        if (!PLAIN.test(value))
            throw new Error(`user data: ${name} is ${JSON.stringify(value)}, which is not a plain word`);
    }
    return Object.entries(facts)
        .map(([name, value]) => `${name}=${value}\n`)
        .join("");
}

/**
 * What all machines of a cluster boot with, without what is each one's own.
 * @throws Error when a value is no plain word
 */
export function renderLauncher(facts: ClusterFacts): string {
    const read = (name: string) => withoutFirstLine(readFileSync(join(SCRIPTS_FOLDER, "aws", name), "utf8"));
    const known = {
        REGION: facts.region,
        BUCKET: facts.bucket,
        BASE: facts.base,
        CLUSTER: facts.cluster,
        CITUS_VERSION: facts.citusVersion,
    };
    return [header(known), read("aws.sh"), read("launcher.sh")].join("");
}

/** @throws Error when a value is no plain word, or when it is over EC2's limit */
export function renderUserData(facts: MachineFacts, launcher: string): string {
    const own = { NODE: facts.node, ROLE: facts.role, VOLUME_ID: facts.volumeId, SECRET: facts.secret };
    const text = [FIRST_LINE, header(own), launcher].join("");
    const bytes = Buffer.byteLength(text);
    if (bytes > MOST_USER_DATA) throw new Error(`user data: it has ${bytes} bytes, and EC2 takes ${MOST_USER_DATA}`);
    return text;
}
