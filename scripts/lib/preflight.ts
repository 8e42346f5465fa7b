/** Whether this machine can run or make a cluster, said in one screen. */

import { readFileSync } from "node:fs";
import { statfs } from "node:fs/promises";
import { freemem } from "node:os";
import type { PulumiCommand } from "@pulumi/pulumi/automation/index.js";
import { credentialsProblem } from "../../components/aws/credentials.ts";
import type { AwsArgs, ClusterArgs } from "../../components/config.ts";
import { dockerEngine, engineAddress } from "../../components/docker/engine.ts";
import { isFree } from "../../components/freePort.ts";
import { ROOT } from "./project.ts";

export interface Finding {
    readonly what: string;
    /** What was found. */
    readonly found: string;
    /** What to do; empty when all is well. */
    readonly todo: string;
}

const GiB = 1024 ** 3;
/** What an idle node takes, measured: PostgreSQL with Citus and its connections. */
const NODE_MEMORY = 150 * 1024 ** 2;
const DISK_NEEDED = 3 * GiB;

const gib = (bytes: number) => `${(bytes / GiB).toFixed(1)} GiB`;

/** Memory that could be used now, caches included. */
function availableMemory(): number {
    try {
        const match = /^MemAvailable:\s+([0-9]+) kB/m.exec(readFileSync("/proc/meminfo", "utf8"));
        if (match) return Number(match[1]) * 1024;
    } catch {
        // not Linux: the runtime's own figure has to do
    }
    return freemem();
}

async function checkEngine(args: ClusterArgs, image: string): Promise<Finding[]> {
    const where = engineAddress(args.dockerHost);
    const docker = dockerEngine(args.dockerHost);
    try {
        const { Version } = await docker.version();
        const engine: Finding = { what: "Docker engine", found: Version, todo: "" };
        return [engine, await checkImage(docker, image)];
    } catch (error) {
        const e = error as NodeJS.ErrnoException;
        const reason =
            e.code === "EACCES" ? "permission denied" : e.code === "ENOENT" ? "no such socket" : (e.code ?? e.message);
        const todo =
            e.code === "EACCES"
                ? "add yourself to the docker group and log in again, or set DOCKER_HOST"
                : "install Docker (https://docs.docker.com/engine/install) and start it, or set DOCKER_HOST";
        return [{ what: "Docker engine", found: `not reachable at ${where} (${reason})`, todo }];
    }
}

/** The base image, here or in its registry: asked before anything is made. */
async function checkImage(docker: ReturnType<typeof dockerEngine>, image: string): Promise<Finding> {
    const here = await docker
        .getImage(image)
        .inspect()
        .then(() => true)
        .catch(() => false);
    if (here) return { what: "Base image", found: image, todo: "" };
    const there = await docker
        .getImage(image)
        .distribution()
        .then(() => true)
        .catch((error: { statusCode?: number; reason?: string; message?: string }) => error);
    if (there === true) return { what: "Base image", found: `${image} (will be pulled)`, todo: "" };
    const why = String((there as { message?: string }).message ?? "")
        .replace(/^\(HTTP code \d+\) [\w ]+ - /, "")
        .split("\n")[0];
    return {
        what: "Base image",
        found: `${image} is not on this machine and can't be had: ${why}`,
        todo: "choose a version that exists (npm run pulumi -- config set citus:citusVersion 14.1.0) or your own image (citus:image)",
    };
}

/** What a cluster on AWS needs here: somebody to ask in its name. */
async function checkAws({ region, profile }: AwsArgs): Promise<Finding[]> {
    const problem = await credentialsProblem({ region, ...(profile === undefined ? {} : { profile }) });
    const found = `AWS ${region}${profile === undefined ? "" : ` as ${profile}`}`;
    return [{ what: "AWS", found: problem === undefined ? found : `${found}: no credentials`, todo: problem ?? "" }];
}

/**
 * Everything that a cluster needs of this machine.
 * @param running whether the cluster is there already
 * @param image what its nodes' image is built on
 */
export async function preflight(args: ClusterArgs, running: boolean, image: string): Promise<Finding[]> {
    if (args.aws !== undefined) return checkAws(args.aws);
    const findings = await checkEngine(args, image);
    const nodes = 1 + args.workers;
    const memory = availableMemory();
    const need = nodes * NODE_MEMORY + 0.25 * GiB;
    findings.push({
        what: "Memory",
        found:
            memory >= need || running
                ? `${gib(memory)} free`
                : `${gib(memory)} free, a cluster of 1 + ${args.workers} needs about ${gib(need)}`,
        todo: memory >= need || running ? "" : "stop something, or set citus:workers lower",
    });
    const { bavail, bsize } = await statfs(ROOT);
    const disk = bavail * bsize;
    findings.push({
        what: "Disk",
        found:
            disk >= DISK_NEEDED
                ? `${gib(disk)} free`
                : `${gib(disk)} free, image and volumes need about ${gib(DISK_NEEDED)}`,
        todo: disk >= DISK_NEEDED ? "" : "free some, or point DOCKER_HOST at a machine that has it",
    });
    if (args.port !== undefined && !running) {
        const taken: number[] = [];
        for (let port = args.port; port <= args.port + args.workers; port++)
            if (!(await isFree(port))) taken.push(port);
        if (taken.length > 0) {
            findings.push({
                what: "Ports",
                found: `${taken.join(", ")} on 127.0.0.1 taken`,
                todo: "choose another citus:port, or remove it and let one be chosen",
            });
        }
    }
    return findings;
}

/** The Pulumi CLI, or why it could not be brought. */
export function checkCli(cli: PulumiCommand | Error): Finding {
    if (!(cli instanceof Error)) return { what: "Pulumi CLI", found: String(cli.version ?? "found"), todo: "" };
    return {
        what: "Pulumi CLI",
        found: `not on PATH, and it could not be downloaded: ${cli.message.split("\n")[0]}`,
        todo: "install it (https://www.pulumi.com/docs/iac/download-install), then try again",
    };
}

/** What was found, on one line; an image and a region say themselves what they are. */
export const describeFindings = (findings: readonly Finding[]) =>
    findings
        .map(({ what, found }) => (what === "Base image" || what === "AWS" ? found : `${what} ${found}`))
        .join(" · ");

/** The screen a user sees when something is missing. */
export function explainFindings(findings: readonly Finding[]): string {
    const bad = findings.filter((finding) => finding.todo !== "");
    const width = Math.max(...bad.map((finding) => finding.what.length)) + 2;
    return [
        `This machine is not ready for a ${bad.some(({ what }) => what === "AWS") ? "cluster on AWS" : "local cluster"}:`,
        "",
        ...bad.flatMap(({ what, found, todo }) => [`  ${what.padEnd(width)}${found}`, `  ${"".padEnd(width)}${todo}`]),
        "",
        "Nothing was changed. npm test needs none of this.",
    ].join("\n");
}
