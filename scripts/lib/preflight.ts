/** Whether this machine can run or make a cluster, said in one screen. */

import { readFileSync } from "node:fs";
import { statfs } from "node:fs/promises";
import { freemem, release, totalmem } from "node:os";
import type Docker from "dockerode";
import type { AwsArgs, ClusterArgs } from "../../components/config/index.ts";
import { POOL_OFFSET } from "../../core/node/topology.ts";
import { credentialsProblem } from "../../core/reach/aws/credentials.ts";
import { describeEngine, type Engine, engineHere, otherEngines } from "../../core/reach/docker/context.ts";
import { dockerEngine, reasonOf } from "../../core/reach/docker/engine.ts";
import { isPodman } from "../../core/reach/docker/identity.ts";
import { freePort, takenPorts } from "../../core/reach/docker/trouble.ts";
import {
    architectureNote,
    type EngineInfo,
    engineFindings,
    GiB,
    gib,
    type Here,
    memoryFinding,
    missingImage,
    onThisMachine,
} from "./engineFacts.ts";
import type { Finding } from "./finding.ts";

const DISK_NEEDED = 3 * GiB;

function thisMachine(): Here {
    const machine = { linux: process.platform === "linux", kernel: release(), memory: totalmem() };
    try {
        // caches included
        const match = /^MemAvailable:\s+([0-9]+) kB/m.exec(readFileSync("/proc/meminfo", "utf8"));
        if (match) return { ...machine, available: Number(match[1]) * 1024 };
    } catch {
        // not Linux: the runtime's own figure has to do
    }
    return { ...machine, available: freemem() };
}

/** An engine that does not answer. */
function unreachable(engine: Engine, error: NodeJS.ErrnoException): Finding {
    const others = otherEngines(engine.address);
    const start = "install Docker (https://docs.docker.com/engine/install) and start it, or set DOCKER_HOST";
    const choose =
        others.length > 0 ? ["start it, or choose another:", ...others.map((one) => `  ${one}`)].join("\n") : start;
    return {
        what: "Docker engine",
        found: `not reachable at ${describeEngine(engine)} (${reasonOf(error)})`,
        todo:
            error.code === "EACCES" ? "add yourself to the docker group and log in again, or set DOCKER_HOST" : choose,
    };
}

/** The base image, here or in its registry: asked before anything is made. */
async function checkImage(docker: Docker, info: EngineInfo, image: string): Promise<Finding> {
    const has = await docker
        .getImage(image)
        .inspect()
        .catch(() => undefined);
    const note = architectureNote(info, image, has?.Architecture);
    const well = { what: "Base image", todo: "", ...(note ? { note } : {}) };
    if (has) return { ...well, found: image };
    const why = await docker
        .getImage(image)
        .distribution()
        .then(
            () => undefined,
            (error: { json?: { message?: string }; message?: string }) => error.json?.message ?? error.message ?? "",
        );
    if (why === undefined) return { ...well, found: `${image} (will be pulled)` };
    const images = await docker.listImages().catch(() => []);
    return missingImage(
        image,
        why.split("\n")[0] ?? "",
        images.flatMap(({ RepoTags }) => RepoTags ?? []),
    );
}

/** Free space where the engine keeps images and volumes; undefined when that is not on this machine. */
async function engineDisk(info: EngineInfo, here: Here): Promise<number | undefined> {
    if (!onThisMachine(info, here) || !info.DockerRootDir) return undefined;
    return statfs(info.DockerRootDir).then(
        ({ bavail, bsize }) => bavail * bsize,
        () => undefined,
    );
}

async function checkDisk(info: EngineInfo, here: Here): Promise<Finding> {
    const disk = await engineDisk(info, here);
    if (disk === undefined) return { what: "Disk", found: "not known (docker system df shows what is used)", todo: "" };
    if (disk >= DISK_NEEDED) return { what: "Disk", found: `${gib(disk)} free`, todo: "" };
    return {
        what: "Disk",
        found: `${gib(disk)} free in ${info.DockerRootDir}, image and volumes need about ${gib(DISK_NEEDED)}`,
        todo: "free some: docker image prune, docker builder prune",
    };
}

async function checkPorts(docker: Docker, { name, port, workers }: ClusterArgs): Promise<Finding[]> {
    if (port === undefined) return [];
    const ports = Array.from({ length: 1 + workers }, (_, i) => port + i);
    const taken = await takenPorts(docker, [...ports, ...ports.map((one) => one + POOL_OFFSET)], name);
    const [first] = taken;
    if (first === undefined) return [];
    const found = `${taken.join(", ")} on 127.0.0.1 taken`;
    return [{ what: "Ports", found, todo: freePort(Number.parseInt(first, 10)) }];
}

/** Everything that a cluster needs of an engine. */
async function checkDocker(args: ClusterArgs, running: boolean, image: string): Promise<Finding[]> {
    let engine: Engine;
    try {
        engine = engineHere(args.dockerHost);
    } catch (error) {
        const [found = "", ...rest] = (error as Error).message.split(". Nothing was changed. ");
        return [{ what: "Docker engine", found, todo: rest.join(" ") }];
    }
    let docker: Docker;
    let info: EngineInfo;
    let podman: boolean;
    try {
        docker = dockerEngine(engine.address);
        [info, podman] = await Promise.all([docker.info() as Promise<EngineInfo>, isPodman(docker)]);
    } catch (error) {
        return [unreachable(engine, error as NodeJS.ErrnoException)];
    }
    const here = thisMachine();
    return [
        ...engineFindings(info, podman),
        await checkImage(docker, info, image),
        memoryFinding(info, here, args, running),
        await checkDisk(info, here),
        ...(running ? [] : await checkPorts(docker, args)),
    ];
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
    return args.aws === undefined ? checkDocker(args, running, image) : checkAws(args.aws);
}

/** What was found, on one line; an image and a region say themselves what they are. */
export const describeFindings = (findings: readonly Finding[]) =>
    findings
        .map(({ what, found }) => (what === "Base image" || what === "AWS" ? found : `${what} ${found}`))
        .join(" · ");

/** What is well and still should be known, a line each. */
export const notesOf = (findings: readonly Finding[]) =>
    findings.flatMap(({ note }) => (note ? [`Note            ${note}`] : []));

/** The screen a user sees when something is missing. */
export function explainFindings(findings: readonly Finding[]): string {
    const bad = findings.filter((finding) => finding.todo !== "");
    const width = Math.max(...bad.map((finding) => finding.what.length)) + 2;
    return [
        `This machine is not ready for a ${bad.some(({ what }) => what === "AWS") ? "cluster on AWS" : "local cluster"}:`,
        "",
        ...bad.flatMap(({ what, found, todo }) => [
            `  ${what.padEnd(width)}${found}`,
            ...todo.split("\n").map((line) => `  ${"".padEnd(width)}${line}`),
        ]),
        "",
        "Nothing was changed. npm test needs none of this.",
    ].join("\n");
}
