/** A container for a moment: it runs the node scripts on volumes while no server does, and has no network at all. */
import type Docker from "dockerode";
import { clearLeftover } from "./engine.ts";

export interface HelperOptions {
    readonly image: string;
    /** A name of its own, so that a repeated run meets what a killed one left. @default the engine's choice */
    readonly name?: string;
    readonly labels?: Readonly<Record<string, string>>;
    readonly mounts: readonly { readonly volume: string; readonly path: string; readonly readOnly?: boolean }[];
    /** MiB; as much as the node itself has. @default unlimited */
    readonly memory?: number;
    /** The Docker engine's address, for clearing. */
    readonly host?: string;
}

/** Makes the container, hands its id on, and removes it whatever happens. */
export async function withHelper<T>(
    docker: Docker,
    options: HelperOptions,
    use: (container: string) => Promise<T>,
): Promise<T> {
    if (options.name !== undefined) await clearLeftover("container", options.name, options.host);
    const container = await docker.createContainer({
        ...(options.name === undefined ? {} : { name: options.name }),
        Image: options.image,
        // ends when nobody holds its standard input any more: a killed run leaves no helper on the volumes
        Cmd: ["cat"],
        OpenStdin: true,
        StdinOnce: true,
        Labels: { ...options.labels },
        HostConfig: {
            // whatever is restored can't reach anything, and nothing can reach it
            NetworkMode: "none",
            AutoRemove: true,
            CapDrop: ["ALL"],
            SecurityOpt: ["no-new-privileges"],
            ...(options.memory === undefined
                ? {}
                : { Memory: options.memory * 1024 ** 2, MemorySwap: options.memory * 1024 ** 2 }),
            ShmSize: 256 * 1024 ** 2,
            Mounts: options.mounts.map((mount) => ({
                Type: "volume" as const,
                Source: mount.volume,
                Target: mount.path,
                ReadOnly: mount.readOnly ?? false,
            })),
        },
    });
    let hold: NodeJS.ReadWriteStream | undefined;
    try {
        hold = await container.attach({ stream: true, stdin: true, hijack: true });
        await container.start();
        return await use(container.id);
    } finally {
        hold?.end();
        await container.remove({ force: true, v: true }).catch(() => undefined);
    }
}
