/** Which engine answers at an address, and whether it is the one that a cluster is on. */
import type Docker from "dockerode";
import { dockerEngine } from "./engine.ts";
import { noForwarding } from "./trouble.ts";

export interface EngineIdentity {
    /** Kept by the engine beside its data; empty for Podman, which makes up another one for each request. */
    readonly id: string;
    /** Its machine's name: `docker-desktop`, `colima`. */
    readonly name: string;
    /** Why containers on it could not reach anything, as a sentence. */
    readonly trouble?: string;
}

/** Whether it is Podman behind Docker's API. */
export async function isPodman(docker: Docker): Promise<boolean> {
    const { Components } = (await docker.version()) as { Components?: { Name?: string }[] };
    return Components?.some(({ Name }) => Name === "Podman Engine") ?? false;
}

export async function identify(address: string): Promise<EngineIdentity> {
    const docker = dockerEngine(address);
    const [info, podman] = await Promise.all([docker.info(), isPodman(docker)]);
    const trouble = noForwarding(info);
    return { id: podman ? "" : String(info.ID ?? ""), name: String(info.Name ?? ""), ...(trouble ? { trouble } : {}) };
}

/** Whether an engine has containers or volumes of a cluster. */
export async function hasCluster(address: string, clusterId: string): Promise<boolean> {
    const docker = dockerEngine(address);
    const filters = { label: [`citus.cluster-id=${clusterId}`] };
    const [containers, { Volumes }] = await Promise.all([
        docker.listContainers({ all: true, filters }),
        docker.listVolumes({ filters }),
    ]);
    return containers.length > 0 || (Volumes ?? []).length > 0;
}
