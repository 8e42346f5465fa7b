/**
 * Which Docker engine is meant, decided as the docker CLI decides it: docker/cli, resolveContextName in cli/command/cli.go,
 * ParseHost in opts/hosts.go, and the context store in cli/context/store. docker-modem knows no contexts, and no library
 * that does follows the CLI's order.
 */
import { createHash } from "node:crypto";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { DEFAULT_SOCKET, fullAddress, GO_THERE, isHere, NOT_HERE } from "./address.ts";

/** An engine that can't be meant: named wrongly, or not on this machine. */
export class EngineError extends Error {}

/** What the docker CLI looks at. */
export interface Surroundings {
    readonly environment: Readonly<Record<string, string | undefined>>;
    /** The user's home directory. */
    readonly home: string;
}

export interface Engine {
    /** In full: `unix:///var/run/docker.sock`, `tcp://127.0.0.1:2375`. */
    readonly address: string;
    /** What names it: `citus:dockerHost`, `DOCKER_HOST`, `Docker context colima`, or nothing did. */
    readonly named: string;
}

const NOBODY = "the default";
const TLS_FILES = ["ca.pem", "cert.pem", "key.pem"] as const;

export const here = (): Surroundings => ({ environment: process.env, home: homedir() });

const configFolder = ({ environment, home }: Surroundings) => environment.DOCKER_CONFIG || join(home, ".docker");

interface Context {
    readonly name: string;
    readonly address: string;
    /** Its certificates. */
    readonly folder: string;
}

function readContext(root: string, id: string): Context | undefined {
    const file = join(root, "meta", id, "meta.json");
    if (!existsSync(file)) return undefined;
    let meta: { Name?: unknown; Endpoints?: { docker?: { Host?: unknown } } };
    try {
        meta = JSON.parse(readFileSync(file, "utf8"));
    } catch (error) {
        throw new EngineError(`A Docker context can't be read: ${file}: ${(error as Error).message}`);
    }
    const name = String(meta.Name ?? id);
    const endpoint = meta.Endpoints?.docker;
    if (endpoint === undefined) throw new EngineError(`The Docker context ${name} names no Docker engine (${file}).`);
    const address = fullAddress(String(endpoint.Host ?? ""));
    if (address === undefined)
        throw new EngineError(
            `The Docker context ${name} names ${endpoint.Host}, which is no Docker engine's address.`,
        );
    return { name, address, folder: join(root, "tls", id, "docker") };
}

const contextRoot = (at: Surroundings) => join(configFolder(at), "contexts");

const findContext = (at: Surroundings, name: string) =>
    readContext(contextRoot(at), createHash("sha256").update(name).digest("hex"));

/** Every context that can be read, beside the one named default. */
function contexts(at: Surroundings): Context[] {
    const meta = join(contextRoot(at), "meta");
    if (!existsSync(meta)) return [];
    return readdirSync(meta).flatMap((id) => {
        try {
            return readContext(contextRoot(at), id) ?? [];
        } catch {
            return [];
        }
    });
}

/** The context that `docker context use` has selected. A file that can't be read selects none, as for the docker CLI. */
function selectedContext(at: Surroundings): string | undefined {
    try {
        const { currentContext } = JSON.parse(readFileSync(join(configFolder(at), "config.json"), "utf8"));
        return typeof currentContext === "string" && currentContext !== "" ? currentContext : undefined;
    } catch {
        return undefined;
    }
}

const wantsTls = ({ environment }: Surroundings) => Boolean(environment.DOCKER_TLS_VERIFY || environment.DOCKER_TLS);

/**
 * @param how what names it
 * @param todo what to do when there is none of that name
 */
function ofContext(at: Surroundings, name: string, how: string, todo: string): Engine {
    const found = findContext(at, name);
    if (found) return { address: found.address, named: `Docker context ${name}` };
    const names = ["default", ...contexts(at).map((context) => context.name)].sort();
    throw new EngineError(
        `${how} ${name}, and there is no Docker context of that name. There are: ${names.join(", ")}. Nothing was changed. ${todo}.`,
    );
}

/**
 * The engine that a command means: `citus:dockerHost`, then DOCKER_HOST, DOCKER_CONTEXT, the selected context, the default socket.
 * It may be anywhere: see {@link engineHere}.
 * @param configured `citus:dockerHost`, empty when it is not set
 * @throws EngineError when what names it is wrong
 */
export function resolveEngine(configured = "", at: Surroundings = here()): Engine {
    const { DOCKER_HOST, DOCKER_CONTEXT } = at.environment;
    for (const [named, given] of [
        ["citus:dockerHost", configured],
        ["DOCKER_HOST", DOCKER_HOST],
    ] as const) {
        if (!given) continue;
        const address = fullAddress(given);
        if (address === undefined)
            throw new EngineError(
                `${named} is ${given}, which is no Docker engine's address. Nothing was changed. Set it to one such as ${DEFAULT_SOCKET}.`,
            );
        return { address, named };
    }
    if (DOCKER_CONTEXT && DOCKER_CONTEXT !== "default")
        return ofContext(
            at,
            DOCKER_CONTEXT,
            "DOCKER_CONTEXT is",
            "Set it to one of them, or take it away: unset DOCKER_CONTEXT",
        );
    const selected = DOCKER_CONTEXT ? undefined : selectedContext(at);
    if (selected !== undefined && selected !== "default")
        return ofContext(
            at,
            selected,
            `${join(configFolder(at), "config.json")} selects`,
            "Choose one: docker context use default",
        );
    return { address: wantsTls(at) ? "tcp://localhost:2376" : DEFAULT_SOCKET, named: NOBODY };
}

/** As `unix:///var/run/docker.sock (Docker context default)`. */
export const describeEngine = ({ address, named }: Engine) => (named === NOBODY ? address : `${address} (${named})`);

/**
 * The engine that a command means, which is this machine's.
 * @throws EngineError when it is not, or when what names it is wrong
 */
export function engineHere(configured = "", at: Surroundings = here()): Engine {
    const engine = resolveEngine(configured, at);
    if (isHere(engine.address)) return engine;
    const by = engine.named === NOBODY ? "DOCKER_TLS_VERIFY or DOCKER_TLS" : engine.named;
    throw new EngineError(
        `${by} names the Docker engine ${engine.address}, ${NOT_HERE}. Nothing was changed. Instead: ${GO_THERE}.`,
    );
}

/**
 * The folder with the certificates for an engine's address: those of the context that names it, else the environment's.
 * @returns undefined for an engine that is talked to in the clear
 * @throws EngineError when one of ca.pem, cert.pem and key.pem is missing
 */
export function tlsFolder(address: string, at: Surroundings = here()): string | undefined {
    if (!address.startsWith("tcp:")) return undefined;
    const context = contexts(at).find((one) => one.address === address && existsSync(one.folder));
    if (context === undefined && !wantsTls(at)) return undefined;
    const folder = context?.folder ?? (at.environment.DOCKER_CERT_PATH || configFolder(at));
    const missing = TLS_FILES.filter((file) => !existsSync(join(folder, file)));
    if (missing.length === 0) return folder;
    throw new EngineError(
        `The Docker engine ${address} is talked to with TLS, and ${folder} has no ${missing.join(", ")}. Nothing was changed. Put them there.`,
    );
}

/** Where engines listen that are not at the default socket: Docker Desktop, OrbStack, Colima, Rancher Desktop, rootless, Podman. */
function knownSockets({ environment, home }: Surroundings): string[] {
    const runtime = environment.XDG_RUNTIME_DIR || `/run/user/${process.getuid?.() ?? 0}`;
    return [
        join(home, ".docker/run/docker.sock"),
        join(home, ".docker/desktop/docker.sock"),
        join(home, ".orbstack/run/docker.sock"),
        join(home, ".colima/default/docker.sock"),
        join(home, ".rd/docker.sock"),
        join(runtime, "docker.sock"),
        join(runtime, "podman/podman.sock"),
        "/run/podman/podman.sock",
    ];
}

/** Where another engine could be chosen, as commands to type; for who has none at the address that is meant. */
export function otherEngines(address: string, at: Surroundings = here()): string[] {
    const named = contexts(at).filter((context) => isHere(context.address) && context.address !== address);
    const sockets = knownSockets(at)
        .filter((path) => existsSync(path))
        .map((path) => `unix://${path}`)
        .filter((one) => one !== address && !named.some((context) => context.address === one));
    return [
        ...named.map(({ name }) => `docker context use ${name}`),
        ...sockets.map((socket) => `export DOCKER_HOST=${socket}`),
    ];
}

/** That an engine does not answer, why, and what to do. */
export function noEngine(engine: Engine, why: string, at: Surroundings = here()): string {
    const others = otherEngines(engine.address, at);
    const todo =
        why === "permission denied"
            ? "Add yourself to the docker group (sudo usermod -aG docker $USER), and log in again."
            : others.length > 0
              ? `Start it, or choose another: ${others.join(", or ")}.`
              : "Start it (https://docs.docker.com/engine/install), or choose another (docker context use, DOCKER_HOST, citus:dockerHost).";
    return `No Docker engine answers at ${describeEngine(engine)}: ${why}. ${todo}`;
}
