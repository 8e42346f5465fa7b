/** What an engine lacks, as a sentence with what to do. */
import type Docker from "dockerode";
import { isTaken } from "../../util/freePort.ts";

/** IPv4 forwarding off, by `docker info`; undefined when it is on. */
export function noForwarding(info: { IPv4Forwarding?: boolean }): string | undefined {
    return info.IPv4Forwarding === false
        ? "IPv4 forwarding is off on the engine's machine, so containers reach nothing outside: sudo sysctl -w net.ipv4.ip_forward=1, then restart Docker"
        : undefined;
}

const NO_POOL =
    /non-overlapping IPv4 address pool|predefined address pools have been fully subnetted|could not find free subnet/i;

/**
 * Whether the engine has an address range left for one more network: one is made and removed.
 * @param name of that network
 * @param labels by which a later run finds one that a killed one left
 * @throws Error with what to do when there is none
 */
export async function tryAddressPool(
    docker: Docker,
    name: string,
    labels: Readonly<Record<string, string>>,
): Promise<void> {
    try {
        const network = await docker.createNetwork({ Name: name, Driver: "bridge", Labels: { ...labels } });
        await network.remove();
    } catch (error) {
        const said = (error as { json?: { message?: string } }).json?.message ?? (error as Error).message;
        // of anything else the network itself says what is wrong
        if (!NO_POOL.test(said)) return;
        const { length } = await docker.listNetworks();
        throw new Error(
            `The Docker engine has no address range left for another network (it has ${length} networks). It said: ${said}\n` +
                'Remove networks that nothing uses: docker network prune. Or give it more ranges ("default-address-pools" in its daemon.json), and restart it. Then run this again.',
        );
    }
}

/** The container that publishes a port of this machine. */
async function publisher(docker: Docker, port: number): Promise<Docker.ContainerInfo | undefined> {
    const containers = await docker.listContainers();
    return containers.find(({ Ports }) => Ports?.some(({ PublicPort }) => PublicPort === port));
}

/**
 * Ports of 127.0.0.1 that are taken, each with who has it where the engine knows, such as `5432 (container db)`.
 * @param cluster name of the one that may have them: a run that was killed has begun with it
 */
export async function takenPorts(docker: Docker, ports: readonly number[], cluster?: string): Promise<string[]> {
    const taken: string[] = [];
    for (const port of ports) {
        if (!(await isTaken(port))) continue;
        const container = await publisher(docker, port).catch(() => undefined);
        if (cluster !== undefined && container?.Labels?.["citus.cluster"] === cluster) continue;
        taken.push(container === undefined ? `${port}` : `${port} (container ${container.Names[0]?.slice(1)})`);
    }
    return taken;
}

/** What to do about a taken port. */
export const freePort = (port: number | string) =>
    `End what has it (ss -ltnp 'sport = :${port}' names it on Linux, lsof -i :${port} on a Mac), or choose others: npm run pulumi -- config set citus:port 25432`;
