/**
 * Everything around the instances of a rehearsal: the network, the services under their real names, SSM, and the images.
 * Several can run at once; each has a name of its own, a folder of its own and a network of its own.
 */
import { execFile } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { promisify } from "node:util";
import type { CommandResult } from "../../core/node/reach.ts";
import { dockerEngine, execute, lastLog } from "../../core/reach/docker/engine.ts";
import { testImage } from "../image.ts";
import { Cloud } from "./cloud.ts";
import { containerName, REHEARSAL, type Site, worldFile, writeSite } from "./site.ts";
import { type SentCommand, type SsmServer, startSsm } from "./ssm.ts";

const run = promisify(execFile);

/** Labels of the network and the side container. */
const OWNER = "citus.rehearsal.owner";
const FOLDER = "citus.rehearsal.folder";

/** How long the services may take to answer, in milliseconds. */
const READY_WITHIN = 60_000;

export interface SurroundingsOptions {
    /** @default eu-central-1 */
    readonly region?: string;
    /** Image with PostgreSQL 17 and Citus that the instances have installed. @default the tests' image */
    readonly base?: string;
}

/** One request of an instance to S3, Secrets Manager or CloudWatch Logs. */
export interface AwsRequest {
    readonly instance: string;
    /** Such as `s3:GetObject`. */
    readonly action: string;
    readonly resource: string;
    readonly verdict: "allowed" | "denied";
}

export class Surroundings {
    readonly site: Site;
    /** The buckets and secrets. */
    readonly cloud: Cloud;
    /** The network that a VPC has to have: its last /24 is not an instance's. */
    readonly cidr: string;
    private readonly ssm: SsmServer;
    private readonly docker = dockerEngine();

    private constructor(site: Site, cidr: string, ssm: SsmServer) {
        this.site = site;
        this.cidr = cidr;
        this.ssm = ssm;
        this.cloud = new Cloud(site);
    }

    static async start({
        region = "eu-central-1",
        base = testImage(),
    }: SurroundingsOptions = {}): Promise<Surroundings> {
        await Surroundings.sweep();
        const name = `rehearsal-${randomBytes(3).toString("hex")}`;
        const image = await build("image", "citus-rehearsal-instance", base);
        const sideImage = await build("side", "citus-rehearsal-side", base);
        const dir = mkdtempSync(join(tmpdir(), "citus-rehearsal-"));
        for (const folder of ["disks", "hosts", "instances", "machines", "tls"]) mkdirSync(join(dir, folder));
        try {
            const { cidr, gateway, sideAddress } = await makeNetwork(name, dir);
            const site = { name, dir, region, network: name, side: `${name}-side`, sideAddress, image };
            writeSite(site);
            await startSide(site, sideImage, gateway);
            return new Surroundings(site, cidr, await startSsm(site));
        } catch (error) {
            await remove(name, dir);
            throw error;
        }
    }

    /** For the Pulumi CLI and all it starts, over what it has already. */
    get env(): Record<string, string> {
        const { dir, region } = this.site;
        return {
            STANDIN_MACHINES: "containers",
            STANDIN_WORLD: worldFile(dir),
            AWS_ENDPOINT_URL_SSM: this.ssm.url,
            AWS_REGION: region,
            AWS_ACCESS_KEY_ID: "AKIAREHEARSAL0000000",
            AWS_SECRET_ACCESS_KEY: "rehearsal",
            // nothing of the person's own reaches in
            AWS_CONFIG_FILE: join(dir, "no-config"),
            AWS_SHARED_CREDENTIALS_FILE: join(dir, "no-credentials"),
            AWS_PROFILE: "",
            AWS_EC2_METADATA_DISABLED: "true",
        };
    }

    /** Every command that SSM was given, in order. */
    commands(): SentCommand[] {
        return this.ssm.commands();
    }

    /** Every signed request of an instance, in order, and whether its role's policies allowed it. */
    requests(): AwsRequest[] {
        const log = join(this.site.dir, "requests.log");
        if (!existsSync(log)) return [];
        return readFileSync(log, "utf8")
            .split("\n")
            .filter((line) => line !== "")
            .map((line) => JSON.parse(line) as AwsRequest);
    }

    /** Ids of the instances that exist. */
    instances(): string[] {
        return readdirSync(join(this.site.dir, "machines"));
    }

    /** Name of an instance's container, for what Docker can do to it. */
    container(instance: string): string {
        return containerName(this.site, instance);
    }

    /** Runs a command as root on an instance. */
    on(instance: string, ...command: string[]): Promise<CommandResult> {
        return execute(this.docker, this.container(instance), command);
    }

    /** What the services said, for a failed test. */
    lastWords(): Promise<string> {
        return lastLog(this.docker, this.site.side, 40);
    }

    /** Removes all that was made. */
    async stop(): Promise<void> {
        await this.ssm.close();
        await remove(this.site.name, this.site.dir);
    }

    /** What there still is of it, by name. */
    async leftovers(): Promise<string[]> {
        const left = await ours(this.site.name);
        return [...left.containers, ...left.networks, ...(existsSync(this.site.dir) ? [this.site.dir] : [])];
    }

    /** Removes rehearsals whose process is gone. */
    static async sweep(): Promise<void> {
        const networks = await dockerEngine().listNetworks({ filters: { label: [REHEARSAL] } });
        for (const { Labels = {} } of networks) {
            if (isAlive(Number(Labels[OWNER]))) continue;
            await remove(Labels[REHEARSAL] ?? "", Labels[FOLDER] ?? "");
        }
    }
}

function isAlive(pid: number): boolean {
    try {
        process.kill(pid, 0);
        return true;
    } catch (error) {
        return (error as NodeJS.ErrnoException).code === "EPERM";
    }
}

async function ours(name: string) {
    const filters = { label: [`${REHEARSAL}=${name}`] };
    const docker = dockerEngine();
    const containers = await docker.listContainers({ all: true, filters });
    const networks = await docker.listNetworks({ filters });
    return { containers: containers.map(({ Id }) => Id), networks: networks.map(({ Id }) => Id) };
}

/** The instances first, then their disks, then what they stood on. */
async function remove(name: string, dir: string): Promise<void> {
    const docker = dockerEngine();
    const gone = (error: { statusCode?: number }) => {
        if (error.statusCode !== 404) throw error;
    };
    const { containers, networks } = await ours(name);
    const side = (await docker.getContainer(`${name}-side`).inspect().catch(gone)) ?? undefined;
    await Promise.all(
        containers
            .filter((id) => id !== side?.Id)
            .map((id) => docker.getContainer(id).remove({ force: true, v: true }).catch(gone)),
    );
    if (side) {
        // the devices and what root wrote in the folder can only be removed from in there
        const container = docker.getContainer(side.Id);
        if (!side.State.Running) await container.start();
        const cleared = await execute(docker, side.Id, ["/usr/local/lib/side/volume.sh", "clear"]);
        await container.remove({ force: true, v: true });
        if (cleared.code !== 0) throw new Error(`the disks of ${name} could not be removed: ${cleared.stderr}`);
    }
    for (const id of networks) await docker.getNetwork(id).remove().catch(gone);
    if (dir !== "") rmSync(dir, { recursive: true, force: true });
}

/** Builds the image in this folder, unless there is one of this content. @returns its name */
async function build(folder: string, repository: string, base: string): Promise<string> {
    const context = join(import.meta.dirname, folder);
    const docker = dockerEngine();
    const idOf = async (image: string) => {
        try {
            return (await docker.getImage(image).inspect()).Id;
        } catch (error) {
            if ((error as { statusCode?: number }).statusCode === 404) return undefined;
            throw error;
        }
    };
    if (!(await idOf(base))) await run("docker", ["pull", "--quiet", base]);
    const hash = createHash("sha256").update((await idOf(base)) ?? "");
    const files = readdirSync(context, { withFileTypes: true }).filter((entry) => entry.isFile());
    for (const file of files.map((entry) => entry.name).sort())
        hash.update(file).update(readFileSync(join(context, file)));
    const name = `${repository}:${hash.digest("hex").slice(0, 12)}`;
    if (!(await idOf(name)))
        await run("docker", ["build", "--quiet", "--build-arg", `BASE=${base}`, "--tag", name, context]);
    return name;
}

/** A network of a /16 that nothing here has yet. Docker's own addresses are at its end, where a VPC's subnets are last. */
async function makeNetwork(name: string, dir: string) {
    const docker = dockerEngine();
    for (let attempt = 1; ; attempt++) {
        const prefix = `10.${64 + Math.floor(Math.random() * 64)}`;
        const [cidr, gateway, sideAddress] = [`${prefix}.0.0/16`, `${prefix}.255.254`, `${prefix}.255.253`];
        try {
            await docker.createNetwork({
                Name: name,
                Driver: "bridge",
                IPAM: { Driver: "default", Config: [{ Subnet: cidr, Gateway: gateway }] },
                Labels: { [REHEARSAL]: name, [OWNER]: String(process.pid), [FOLDER]: dir },
            });
            return { cidr, gateway, sideAddress };
        } catch (error) {
            if (attempt === 20 || !/overlap/i.test(String(error))) throw error;
        }
    }
}

async function startSide(site: Site, image: string, gateway: string): Promise<void> {
    const docker = dockerEngine();
    const container = await docker.createContainer({
        name: site.side,
        Image: image,
        Labels: { [REHEARSAL]: site.name, [FOLDER]: site.dir },
        Env: [
            `REGION=${site.region}`,
            `ADDRESS=${site.sideAddress}`,
            `ADMIN=${gateway}`,
            `SEED=${randomBytes(16).toString("hex")}`,
        ],
        HostConfig: {
            // makes loop devices, and takes the metadata service's address
            Privileged: true,
            NetworkMode: site.network,
            Binds: [`${site.dir}:/world`, "/dev:/dev"],
        },
        NetworkingConfig: {
            EndpointsConfig: { [site.network]: { IPAMConfig: { IPv4Address: site.sideAddress } } },
        },
    });
    await container.start();
    const cloud = new Cloud(site);
    for (const end = Date.now() + READY_WITHIN; ; await pause(100)) {
        try {
            await cloud.ready();
            return;
        } catch (error) {
            if (Date.now() > end)
                throw new Error(
                    `the rehearsal's services do not answer: ${error}\n${await lastLog(docker, site.side, 30)}`,
                );
        }
    }
}
