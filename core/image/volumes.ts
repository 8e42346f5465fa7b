/** Whose the data on a cluster's volumes is. */
import type Docker from "dockerode";
import { lastLog } from "../reach/docker/engine.ts";

export interface VolumeOwner {
    readonly node: string;
    readonly volume: string;
    /** The user that its data belongs to. */
    readonly uid: number;
}

/** The engine makes a volume as this user; the first container that mounts it gives it to its own. */
const UNUSED = 0;

/** The owner of each volume that holds a node's data. The image only lends the program that looks. */
export async function volumeOwners(docker: Docker, image: string, clusterId: string): Promise<VolumeOwner[]> {
    const found = await docker.listVolumes({ filters: { label: [`citus.cluster-id=${clusterId}`, "citus.node"] } });
    const volumes = found.Volumes ?? [];
    if (volumes.length === 0) return [];
    const path = (i: number) => `/volumes/${i}`;
    const container = await docker.createContainer({
        Image: image,
        Entrypoint: ["/usr/bin/stat", "-c", "%n %u"],
        Cmd: volumes.map((_, i) => path(i)),
        HostConfig: {
            NetworkMode: "none",
            CapDrop: ["ALL"],
            SecurityOpt: ["no-new-privileges"],
            // an empty volume takes the owner of where it is first mounted: this look must not be the first
            Mounts: volumes.map(({ Name }, i) => ({
                Type: "volume" as const,
                Source: Name,
                Target: path(i),
                ReadOnly: true,
                VolumeOptions: { NoCopy: true, Labels: {}, DriverConfig: { Name: "local", Options: {} } },
            })),
        },
    });
    try {
        await container.start();
        await container.wait();
        const printed = await lastLog(docker, container.id, 2 * volumes.length + 20);
        const owners = volumes.map(({ Name, Labels }, i) => {
            const uid = new RegExp(`^${path(i)} ([0-9]+)$`, "m").exec(printed)?.[1];
            if (uid === undefined) throw new Error(`The owner of the volume ${Name} can't be read: ${printed.trim()}`);
            return { node: Labels?.["citus.node"] ?? Name, volume: Name, uid: Number(uid) };
        });
        return owners.filter(({ uid }) => uid !== UNUSED);
    } finally {
        await container.remove({ force: true, v: true });
    }
}
