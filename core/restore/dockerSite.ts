/** Restores on one Docker engine: the data is on volumes, and helpers that have no network work on them. */
import { DOCKER_REPOSITORY, REPOSITORY_HOME } from "../node/archive.ts";
import { NODE_HOME } from "../node/settings.ts";
import { dockerEngine, engineAnswers } from "../reach/docker/engine.ts";
import { withHelper } from "../reach/docker/helper.ts";
import { runScript, service } from "../reach/run.ts";
import { RepositoryError, readRepository, restoreSecrets, type Wanted } from "./repository.ts";
import type { Holding, RestoreTarget, Site, Workplace } from "./site.ts";

export interface DockerSite {
    readonly kind: "docker";
    /** The Docker engine's address in full. */
    readonly engine: string;
    readonly image: string;
    /** Of what it makes for a moment. */
    readonly labels: Readonly<Record<string, string>>;
    readonly nodes: readonly {
        readonly name: string;
        readonly volume: string;
        /** The container that serves it; empty when there is none. */
        readonly container: string;
    }[];
}

/** A repository that is a Docker volume. */
export interface RepositoryVolume {
    readonly volume: string;
    readonly passphrase?: string;
}

type Engine = Pick<DockerSite, "engine" | "image">;

const script = (at: Engine, container: string): Workplace["run"] => {
    const shell = { kind: "docker", engine: at.engine, container } as const;
    return (words, input) => runScript(shell, words, input);
};

/** What is wanted of a repository on a volume, whether its cluster runs or not. */
export async function readVolume(at: Engine, from: RepositoryVolume, wanted: Wanted) {
    const docker = dockerEngine(at.engine);
    // mounting a volume that does not exist would make one
    const there = await docker
        .getVolume(from.volume)
        .inspect()
        .catch((error: { statusCode?: number }) => {
            if (error.statusCode === 404) return undefined;
            throw error;
        });
    if (!there) throw new RepositoryError(`the repository ${from.volume} is not on this Docker engine`);
    const mounts = [{ volume: from.volume, path: REPOSITORY_HOME, readOnly: true }];
    return withHelper(docker, { image: at.image, mounts }, (container) =>
        readRepository(
            from.volume,
            DOCKER_REPOSITORY,
            restoreSecrets("", { passphrase: from.passphrase }),
            script(at, container),
            wanted,
        ),
    );
}

async function imageIsThere({ engine, image }: DockerSite): Promise<boolean> {
    if (!(await engineAnswers(engine))) return false;
    return dockerEngine(engine)
        .getImage(image)
        .inspect()
        .then(() => true)
        .catch(() => false);
}

type Volumes = readonly { readonly name: string; readonly volume: string }[];

async function readHoldings(site: DockerSite, volumes: Volumes): Promise<Map<string, Holding>> {
    const docker = dockerEngine(site.engine);
    const found = new Map<string, Holding>(volumes.map(({ name }) => [name, "nothing"]));
    const there: { name: string; volume: string }[] = [];
    for (const node of volumes) {
        // mounting a volume that does not exist would make one
        const volume = await docker
            .getVolume(node.volume)
            .inspect()
            .catch((error: { statusCode?: number }) => {
                if (error.statusCode === 404) return undefined;
                throw error;
            });
        if (volume) there.push(node);
    }
    if (there.length === 0) return found;
    const path = (name: string) => `/tmp/nodes/${name}`;
    const mounts = there.map(({ name, volume }) => ({ volume, path: path(name), readOnly: true }));
    const result = await withHelper(docker, { image: site.image, mounts }, (container) =>
        script(site, container)(["volumes.sh", ...there.map(({ name }) => path(name))]),
    );
    if (result.code !== 0) throw new Error(`the nodes' volumes can't be read: ${result.stderr.trim()}`);
    for (const line of result.stdout.split("\n")) {
        const [at, holding] = line.split(" ");
        const node = there.find(({ name }) => path(name) === at);
        if (node) found.set(node.name, holding as Holding);
    }
    return found;
}

/** Volumes of this very stack's nodes that the configuration does not have any more. */
async function leavingVolumes(site: DockerSite): Promise<Volumes> {
    const labels = Object.entries(site.labels).map(([label, value]) => `${label}=${value}`);
    const { Volumes: found } = await dockerEngine(site.engine).listVolumes({
        filters: { label: [...labels, "citus.node"] },
    });
    return (found ?? [])
        .map(({ Name, Labels }) => ({ name: Labels?.["citus.node"] ?? Name, volume: Name }))
        .filter(({ name }) => site.nodes.every((node) => node.name !== name));
}

/**
 * @param origin the repository that is restored from
 * @param own the cluster's own
 */
export function dockerSite(site: DockerSite, origin: RepositoryVolume, own: RepositoryVolume): Site {
    const docker = dockerEngine(site.engine);
    const served = (names: readonly string[]) =>
        site.nodes
            .filter(({ name, container }) => names.includes(name) && container !== "")
            .map(({ container }) => ({ kind: "docker", engine: site.engine, container }) as const);
    const volumeOf = (name: string) => {
        const node = site.nodes.find((one) => one.name === name);
        if (!node) throw new Error(`${name}: the restore has no place for its data`);
        return node.volume;
    };
    // one helper inside the other, so that all are removed whatever happens
    const open = <T>(
        [node, ...others]: readonly RestoreTarget[],
        places: readonly Workplace[],
        use: (places: readonly Workplace[]) => Promise<T>,
    ): Promise<T> =>
        node === undefined
            ? use(places)
            : withHelper(
                  docker,
                  {
                      image: site.image,
                      name: `${volumeOf(node.name)}-restore`,
                      labels: site.labels,
                      mounts: [
                          { volume: volumeOf(node.name), path: NODE_HOME },
                          { volume: origin.volume, path: REPOSITORY_HOME, readOnly: true },
                      ],
                      memory: node.memory,
                      host: site.engine,
                  },
                  (container) => open(others, [...places, { node: node.name, run: script(site, container) }], use),
              );
    return {
        repository: DOCKER_REPOSITORY,
        canLook: () => imageIsThere(site),
        read: (which, wanted) => readVolume(site, which === "origin" ? origin : own, wanted),
        holdings: (names) =>
            readHoldings(
                site,
                site.nodes.filter(({ name }) => names.includes(name)),
            ),
        leaving: async () => {
            const holdings = await readHoldings(site, await leavingVolumes(site));
            return [...holdings].flatMap(([name, holding]) => (holding === "nothing" ? [] : [name]));
        },
        secretVersion: () => "",
        stop: async (names) => {
            await Promise.all(served(names).map((shell) => service(shell, "stop")));
        },
        start: async (names) => {
            await Promise.all(served(names).map((shell) => service(shell, "start")));
        },
        withWorkplaces: (nodes, use) => open(nodes, [], use),
    };
}
