/** What has to be done inside a container or to one by hand: commands, restarts, and clearing what a killed run left. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { Writable } from "node:stream";
import Docker from "dockerode";
import type { CommandResult } from "../../node/reach.ts";
import { resolveEngine, tlsFolder } from "./context.ts";

/**
 * The engine at an address.
 * @param address in full; empty for the engine that the environment names, as the docker CLI decides it
 */
export function dockerEngine(address = ""): Docker {
    const full = address === "" ? resolveEngine().address : address;
    // what is not said here is taken from DOCKER_HOST and DOCKER_CERT_PATH, whatever they mean
    const nothing = { host: undefined, port: undefined, ca: undefined, cert: undefined, key: undefined };
    const socket = /^(?:unix|npipe):\/\/(.*)$/.exec(full)?.[1];
    if (socket !== undefined) return new Docker({ ...nothing, protocol: "http", socketPath: socket });
    const { hostname, port } = new URL(full);
    const folder = tlsFolder(full);
    const read = (file: string) => readFileSync(join(folder ?? "", file), "utf8");
    return new Docker({
        ...nothing,
        // URL has brackets around an IPv6 address
        host: hostname.replace(/^\[|\]$/g, ""),
        port: Number(port),
        ...(folder === undefined
            ? { protocol: "http" as const }
            : { protocol: "https" as const, ca: read("ca.pem"), cert: read("cert.pem"), key: read("key.pem") }),
    });
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

/** An engine that is not there refuses at once; a loaded one may take its time. Seconds. */
const ENGINE_PATIENCE = 8;

/** Why an engine does not answer; undefined when it does. */
export async function whySilent(address = ""): Promise<string | undefined> {
    const late = new Promise<string>((resolve) =>
        setTimeout(() => resolve(`no answer within ${ENGINE_PATIENCE} s`), ENGINE_PATIENCE * 1000).unref(),
    );
    const asked = (async () => dockerEngine(address).ping())().then(
        () => undefined,
        (error: NodeJS.ErrnoException) => reasonOf(error),
    );
    return Promise.race([late, asked]);
}

/** What an error of a connection means. */
export function reasonOf(error: NodeJS.ErrnoException): string {
    if (error.code === "EACCES") return "permission denied";
    if (error.code === "ENOENT") return "no such socket";
    if (error.code === "ECONNREFUSED") return "nothing listens there (ECONNREFUSED)";
    return error.code ?? error.message;
}

/** Whether an engine answers there. @see whySilent */
export const engineAnswers = async (address = ""): Promise<boolean> => (await whySilent(address)) === undefined;

/** The last lines a container wrote, for an error. */
export async function lastLog(docker: Docker, container: string, lines = 15): Promise<string> {
    const raw = await docker.getContainer(container).logs({ stdout: true, stderr: true, tail: lines, follow: false });
    return withoutFrames(raw).trimEnd();
}

/** What both streams of a container said, out of the frames that the engine puts it into. Pure. */
export function withoutFrames(raw: Buffer): string {
    // each begins with 8 bytes that name the stream and its length
    const text: Buffer[] = [];
    for (let at = 0; at + 8 <= raw.length; ) {
        const length = raw.readUInt32BE(at + 4);
        text.push(raw.subarray(at + 8, at + 8 + length));
        at += 8 + length;
    }
    return Buffer.concat(text).toString("utf8");
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
        // as long as its own server may take: it was made with that
        const t = (found.Config as { StopTimeout?: number }).StopTimeout ?? 60;
        if (found.State.Running) await container.stop({ t }).catch(ignoreMissing);
        // named volumes stay: only those that an image declares for itself go along
        await container.remove({ force: true, v: true }).catch(ignoreMissing);
    } else {
        const networks = await docker.listNetworks({ filters: { name: [name] } });
        for (const { Id } of networks.filter((n) => n.Name === name)) {
            const network = docker.getNetwork(Id);
            // a state that lost its networks may have lost the containers on them too: they are made anew next
            const { Containers = {} } = (await network.inspect().catch(ignoreMissing)) ?? {};
            for (const Container of Object.keys(Containers))
                await network.disconnect({ Container, Force: true }).catch(ignoreMissing);
            await network.remove().catch(ignoreMissing);
        }
    }
}

/** For errors of the engine: what is not there, or is so already, is no error. */
export function ignoreMissing(error: { statusCode?: number }): undefined {
    if (error.statusCode === 404 || error.statusCode === 304) return undefined;
    throw error;
}
