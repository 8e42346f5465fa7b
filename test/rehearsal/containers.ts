/** Machines of the stand-in provider as containers: an instance is one that boots systemd, a volume is a loop device. */
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { HostConfig } from "dockerode";
import { dockerEngine, execute } from "../../core/reach/docker/engine.ts";
import { Cloud } from "./cloud.ts";
import type { InstanceSpec, Machines } from "./provider/machines.ts";
import {
    containerName,
    factsFile,
    INSTANCE,
    type InstanceFacts,
    REHEARSAL,
    readSite,
    type Site,
    worldFile,
} from "./site.ts";

/** How long a machine may take to shut down before it is cut off, in seconds. */
const GRACE = 90;

/** As the stand-in's volume ids are in a device's name. */
const serial = (volume: string) => volume.replace("-", "");

class Containers implements Machines {
    private readonly site: Site;
    private readonly cloud: Cloud;
    private readonly docker = dockerEngine();

    constructor(site: Site) {
        this.site = site;
        this.cloud = new Cloud(site);
    }

    async createVolume(id: string, gib: number): Promise<void> {
        await this.side("volume.sh", "create", id, String(gib));
    }

    async growVolume(id: string, gib: number): Promise<void> {
        await this.side("volume.sh", "grow", id, String(gib));
    }

    async deleteVolume(id: string): Promise<void> {
        const holder = this.holder(id);
        if (holder !== undefined) throw new Error(`VolumeInUse: ${id} is currently attached to ${holder}`);
        await this.side("volume.sh", "delete", id);
    }

    async createInstance(instance: InstanceSpec): Promise<void> {
        const { id, privateIp } = instance;
        const { site } = this;
        const hostname = `ip-${privateIp.replaceAll(".", "-")}`;
        const seed = this.home(id, "seed");
        mkdirSync(this.home(id, "disks"), { recursive: true });
        mkdirSync(seed, { recursive: true });
        writeFileSync(this.home(id, "ca.crt"), readFileSync(join(site.dir, "tls", "ca.crt")));
        writeFileSync(join(seed, "user-data"), instance.userData);
        writeFileSync(join(seed, "meta-data"), `instance-id: ${id}\nlocal-hostname: ${hostname}\n`);
        this.writeFacts({ ...instance, hostname, region: site.region, zone: this.zoneOf(id) });
        await this.docker.getContainer(containerName(site, id)).remove({ force: true, v: true }).catch(ignoreMissing);
        // the types do not know CgroupnsMode yet
        const hostConfig: HostConfig & { CgroupnsMode: "private" } = {
            Privileged: true,
            CgroupnsMode: "private",
            NetworkMode: site.network,
            Dns: [site.sideAddress],
            ShmSize: 1024 ** 3,
            Tmpfs: { "/run": "exec", "/run/lock": "", "/tmp": "exec" },
            Binds: [`${this.home(id)}:/etc/instance:ro`, `${seed}:/var/lib/cloud/seed/nocloud:ro`],
        };
        const container = await this.docker.createContainer({
            name: containerName(site, id),
            Image: site.image,
            Hostname: hostname,
            Labels: { [REHEARSAL]: site.name, [INSTANCE]: id, "standin.name": instance.name },
            HostConfig: hostConfig,
            NetworkingConfig: {
                EndpointsConfig: { [site.network]: { IPAMConfig: { IPv4Address: privateIp } } },
            },
        });
        await container.start();
    }

    async startInstance(id: string): Promise<void> {
        await this.container(id).start().catch(ignoreDone);
    }

    async stopInstance(id: string): Promise<void> {
        await this.container(id).stop({ t: GRACE }).catch(ignoreDone);
    }

    async deleteInstance(id: string): Promise<void> {
        const container = this.container(id);
        await container.stop({ t: GRACE }).catch(ignoreMissing);
        await container.remove({ force: true, v: true }).catch(ignoreMissing);
        rmSync(this.home(id), { recursive: true, force: true });
        const facts = this.facts(id);
        if (facts) this.writeFacts({ ...facts, terminated: Date.now() });
    }

    async instanceExists(id: string): Promise<boolean> {
        if ((await this.container(id).inspect().catch(ignoreMissing)) !== undefined) return true;
        // ended by hand: EC2 lets its disks go
        await this.deleteInstance(id);
        return false;
    }

    async tagInstance(id: string, tags: Record<string, string>): Promise<void> {
        const facts = this.facts(id);
        if (!facts) throw new Error(`InvalidInstanceID.NotFound: ${id}`);
        this.writeFacts({ ...facts, tags });
    }

    async attach(volume: string, instance: string): Promise<void> {
        const holder = this.holder(volume);
        if (holder !== undefined) throw new Error(`VolumeInUse: ${volume} is already attached to ${holder}`);
        const number = (await this.side("volume.sh", "number", volume)).trim();
        if (number === "") throw new Error(`InvalidVolume.NotFound: ${volume}`);
        writeFileSync(this.home(instance, "disks", serial(volume)), number);
        await this.changeDisks(instance);
    }

    async detach(volume: string, instance: string): Promise<void> {
        const attachment = this.home(instance, "disks", serial(volume));
        if (!existsSync(attachment)) return;
        if (await this.runs(instance)) {
            const device = `/dev/loop${readFileSync(attachment, "utf8").split(":")[1]}`;
            const mounted = await execute(this.docker, containerName(this.site, instance), ["findmnt", device]);
            if (mounted.code === 0)
                throw new Error(
                    `${volume} is mounted on ${instance}, which runs: AWS would leave it "busy" until it is unmounted or the instance is stopped\n${mounted.stdout}`,
                );
        }
        rmSync(attachment);
        await this.changeDisks(instance);
    }

    async setRecord(name: string, addresses: readonly string[]): Promise<void> {
        await this.side("names.sh", "set", name, ...addresses);
    }

    async deleteRecord(name: string): Promise<void> {
        await this.side("names.sh", "delete", name);
    }

    createBucket(bucket: string): Promise<void> {
        return this.cloud.createBucket(bucket);
    }

    deleteBucket(bucket: string, force = false): Promise<void> {
        return this.cloud.deleteBucket(bucket, force);
    }

    putObject(bucket: string, key: string, content: Buffer): Promise<void> {
        return this.cloud.putObject(bucket, key, content);
    }

    deleteObject(bucket: string, key: string): Promise<void> {
        return this.cloud.deleteObject(bucket, key);
    }

    putSecret(id: { name: string; arn: string; version: string }, value: string): Promise<void> {
        return this.cloud.putSecret(id.name, id.version, value);
    }

    deleteSecret(name: string): Promise<void> {
        return this.cloud.deleteSecret(name);
    }

    private container(id: string) {
        return this.docker.getContainer(containerName(this.site, id));
    }

    /** What is mounted in an instance. */
    private home(id: string, ...path: string[]): string {
        return join(this.site.dir, "machines", id, ...path);
    }

    private async runs(id: string): Promise<boolean> {
        const found = await this.container(id).inspect().catch(ignoreMissing);
        return found?.State.Running ?? false;
    }

    /** A running machine sees a disk come and go; another one looks when it boots. */
    private async changeDisks(id: string): Promise<void> {
        if (!(await this.runs(id))) return;
        const command = ["/usr/local/lib/instance/disks.sh"];
        const changed = await execute(this.docker, containerName(this.site, id), command);
        if (changed.code !== 0 && (await this.runs(id)))
            throw new Error(`${id}: its disks could not be changed: ${changed.stderr}`);
    }

    /** The instance that a volume is attached to. */
    private holder(volume: string): string | undefined {
        const machines = join(this.site.dir, "machines");
        if (!existsSync(machines)) return undefined;
        return readdirSync(machines).find((id) => existsSync(this.home(id, "disks", serial(volume))));
    }

    private facts(id: string): InstanceFacts | undefined {
        const file = factsFile(this.site, id);
        return existsSync(file) ? (JSON.parse(readFileSync(file, "utf8")) as InstanceFacts) : undefined;
    }

    private writeFacts(facts: InstanceFacts): void {
        const file = factsFile(this.site, facts.id);
        writeFileSync(`${file}.new`, JSON.stringify(facts, null, 1));
        renameSync(`${file}.new`, file);
    }

    /** What the stand-in provider has decided, else the region's first zone. */
    private zoneOf(id: string): string {
        const first = `${this.site.region}a`;
        const world = worldFile(this.site.dir);
        if (!existsSync(world)) return first;
        const { rows } = JSON.parse(readFileSync(world, "utf8")) as {
            rows: Record<string, { props: { availabilityZone?: string } } | undefined>;
        };
        return rows[`aws:ec2/instance:Instance::${id}`]?.props.availabilityZone ?? first;
    }

    private async side(script: string, ...args: string[]): Promise<string> {
        const command = [`/usr/local/lib/side/${script}`, ...args];
        const result = await execute(this.docker, this.site.side, command);
        if (result.code !== 0) throw new Error(`${command.join(" ")}: ${result.stderr.trim()}`);
        return result.stdout;
    }
}

function ignoreMissing(error: { statusCode?: number }): undefined {
    if (error.statusCode === 404 || error.statusCode === 304) return undefined;
    throw error;
}

function ignoreDone(error: { statusCode?: number }): void {
    if (error.statusCode !== 304) throw error;
}

/** The machines of the rehearsal that STANDIN_WORLD is part of. */
export function machines(): Machines {
    return new Containers(readSite());
}
