/** What has to be done inside a container or to one by hand: commands, restarts, and clearing what a killed run left. */
import { Writable } from "node:stream";
import Docker from "dockerode";

export interface CommandResult {
    readonly code: number;
    readonly stdout: string;
    readonly stderr: string;
}

/** Where an engine is looked for, for messages. */
export function engineAddress(host?: string): string {
    return host ?? process.env.DOCKER_HOST ?? "unix:///var/run/docker.sock";
}

/** The engine that the environment names, or `host` (as DOCKER_HOST has it). */
export function dockerEngine(host?: string): Docker {
    if (host === undefined || host === "") return new Docker();
    const url = new URL(host);
    if (url.protocol === "unix:" || url.protocol === "npipe:") return new Docker({ socketPath: url.pathname });
    if (url.protocol === "ssh:") {
        return new Docker({
            protocol: "ssh",
            host: url.hostname,
            port: Number(url.port || 22),
            username: url.username,
        });
    }
    return new Docker({ protocol: "http", host: url.hostname, port: Number(url.port || 2375) });
}

/** Runs a command in a container, with text or bytes on its standard input. Nothing of it shows in a process list. */
export async function execute(
    docker: Docker,
    container: string,
    command: readonly string[],
    input?: Buffer | string,
): Promise<CommandResult> {
    const exec = await docker.getContainer(container).exec({
        Cmd: [...command],
        AttachStdin: input !== undefined,
        AttachStdout: true,
        AttachStderr: true,
    });
    const stream = await exec.start({ hijack: true, stdin: input !== undefined });
    const stdout: Buffer[] = [];
    const stderr: Buffer[] = [];
    const collect = (into: Buffer[]) =>
        new Writable({
            write(chunk: Buffer, _encoding, done) {
                into.push(chunk);
                done();
            },
        });
    docker.modem.demuxStream(stream, collect(stdout), collect(stderr));
    await new Promise<void>((resolve, reject) => {
        stream.on("end", resolve);
        stream.on("close", resolve);
        stream.on("error", reject);
        if (input !== undefined) stream.end(input);
    });
    for (let attempt = 0; ; attempt++) {
        const { Running, ExitCode } = await exec.inspect();
        if (!Running || attempt > 600) {
            return {
                code: ExitCode ?? -1,
                stdout: Buffer.concat(stdout).toString("utf8"),
                stderr: Buffer.concat(stderr).toString("utf8"),
            };
        }
        await new Promise((resolve) => setTimeout(resolve, 50));
    }
}

/** Whether an engine answers there within two seconds. */
export async function engineAnswers(host?: string): Promise<boolean> {
    const late = new Promise<false>((resolve) => setTimeout(() => resolve(false), 2000).unref());
    return Promise.race([
        late,
        dockerEngine(host)
            .ping()
            .then(() => true)
            .catch(() => false),
    ]);
}

/** The last lines a container wrote, for an error. */
export async function lastLog(docker: Docker, container: string, lines = 15): Promise<string> {
    const raw = await docker.getContainer(container).logs({ stdout: true, stderr: true, tail: lines, follow: false });
    // each frame begins with 8 bytes that name the stream and its length
    const text: string[] = [];
    for (let at = 0; at + 8 <= raw.length; ) {
        const length = raw.readUInt32BE(at + 4);
        text.push(raw.subarray(at + 8, at + 8 + length).toString("utf8"));
        at += 8 + length;
    }
    return text.join("").trimEnd();
}

/**
 * Removes a container or network of this name, so that it can be made. A run that was killed between making it and
 * writing that down leaves one that no state knows; two servers on one volume must never be.
 */
export async function clearLeftover(kind: "container" | "network", name: string, host?: string): Promise<void> {
    const docker = dockerEngine(host);
    if (kind === "container") {
        const container = docker.getContainer(name);
        const found = await container.inspect().catch(ignoreMissing);
        if (!found) return;
        if (found.State.Running) await container.stop({ t: 60 }).catch(ignoreMissing);
        await container.remove({ force: true, v: false }).catch(ignoreMissing);
    } else {
        const networks = await docker.listNetworks({ filters: { name: [name] } });
        for (const network of networks.filter((n) => n.Name === name)) {
            await docker.getNetwork(network.Id).remove().catch(ignoreMissing);
        }
    }
}

function ignoreMissing(error: { statusCode?: number }): undefined {
    if (error.statusCode === 404 || error.statusCode === 304) return undefined;
    throw error;
}
