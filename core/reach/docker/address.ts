/** A Docker engine's address, as `DOCKER_HOST` and `docker -H` take it. Pure. */

/** Where the docker CLI looks when nothing names an engine. */
export const DEFAULT_SOCKET =
    process.platform === "win32" ? "npipe:////./pipe/docker_engine" : "unix:///var/run/docker.sock";

const TCP_PORT = "2375";

/**
 * The address in full, as the docker CLI completes it: `127.0.0.1` is `tcp://127.0.0.1:2375`, nothing the default socket.
 * @returns undefined when it is no engine's address
 */
export function fullAddress(given: string): string | undefined {
    const address = given.trim();
    if (address === "") return DEFAULT_SOCKET;
    const [, scheme = "tcp", rest = ""] = /^(?:([a-z]+):\/\/)?(.*)$/s.exec(address) ?? [];
    if (scheme === "unix" || scheme === "npipe") {
        if (rest.includes("://")) return undefined;
        return rest === "" ? DEFAULT_SOCKET : `${scheme}://${rest}`;
    }
    if (scheme === "ssh") return address;
    const host = rest === "" || rest.startsWith(":") ? `localhost${rest}` : rest;
    if (scheme !== "tcp" || !URL.canParse(`tcp://${host}`)) return undefined;
    const { hostname, port, pathname } = new URL(`tcp://${host}`);
    return `tcp://${hostname}:${port || TCP_PORT}${pathname === "/" ? "" : pathname}`;
}

/** Whether ports that the engine publishes on its 127.0.0.1 are on this machine's: a socket, or TCP to this machine's loopback. */
export function isHere(address: string): boolean {
    if (/^(unix|npipe):/.test(address)) return true;
    if (!address.startsWith("tcp:") || !URL.canParse(address)) return false;
    const { hostname } = new URL(address);
    return /^(localhost|127\.\d+\.\d+\.\d+|\[::1\]|0\.0\.0\.0)$/.test(hostname);
}

/** Why an engine that is not here is refused, as the end of a sentence that names it. */
export const NOT_HERE =
    "which is not a socket or a loopback port of this machine: a cluster's ports are published on 127.0.0.1 of the engine's machine, and SQL from here does not reach them";

/** What to do instead. */
export const GO_THERE =
    "run this project on that machine, or use an engine of this one such as unix:///var/run/docker.sock";
