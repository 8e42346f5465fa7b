/** Reading a repository that is a Docker volume, whether its cluster runs or not. */

import type Docker from "dockerode";
import { DOCKER_REPOSITORY, REPOSITORY_HOME, renderRepositoryConf } from "../archive.ts";
import type { Contents, RestorePoint, Stanza } from "../restore/points.ts";
import { NODE_SCRIPTS } from "../settings.ts";
import { archive, execute } from "./engine.ts";
import { withHelper } from "./helper.ts";

export interface RepositoryVolume {
    readonly volume: string;
    readonly passphrase?: string;
}

/** Why a repository can't be used, in words for a person. */
export class RepositoryError extends Error {}

/** What the lines of scripts/node/repository.sh say. */
export function parseContents(text: string): Contents {
    const points: RestorePoint[] = [];
    const segments: Record<string, string[]> = {};
    let stanzas: Stanza[] = [];
    let versions: Contents["versions"];
    for (const line of text.split("\n")) {
        const [kind, rest] = [line.slice(0, line.indexOf(" ")), line.slice(line.indexOf(" ") + 1)];
        if (kind === "INFO") stanzas = JSON.parse(rest.replace(/"system-id":(\d+)/g, '"system-id":"$1"')) as Stanza[];
        if (kind === "POINT") points.push(JSON.parse(rest) as RestorePoint);
        if (kind === "VERSIONS") {
            const [postgres = "", citus = ""] = rest.split(" ");
            versions = { postgres, citus };
        }
        if (kind === "SEGMENTS") {
            const [key, ...names] = rest.trim().split(/\s+/);
            if (key) segments[key] = names;
        }
    }
    return {
        points: points.sort((a, b) => (a.time < b.time ? -1 : 1)),
        stanzas,
        segments,
        ...(versions ? { versions } : {}),
    };
}

/**
 * Everything that a repository holds.
 * @throws RepositoryError when it is not there or can't be read with this passphrase
 */
export async function readRepository(docker: Docker, image: string, from: RepositoryVolume): Promise<Contents> {
    // mounting a volume that does not exist would make one
    const there = await docker
        .getVolume(from.volume)
        .inspect()
        .catch((error: { statusCode?: number }) => {
            if (error.statusCode === 404) return undefined;
            throw error;
        });
    if (!there) throw new RepositoryError(`the repository ${from.volume} is not on this Docker engine`);
    const input = await archive({
        "pgbackrest.conf": renderRepositoryConf({ options: DOCKER_REPOSITORY }),
        passphrase: from.passphrase ?? "",
    });
    return withHelper(
        docker,
        { image, mounts: [{ volume: from.volume, path: REPOSITORY_HOME, readOnly: true }] },
        async (container) => {
            const result = await execute(docker, container, [`${NODE_SCRIPTS}/repository.sh`], input);
            if (result.code === 0) return parseContents(result.stdout);
            const hint =
                result.code === 11 ? " (citus:restorePassphrase, else citus:backupPassphrase, must be its own)" : "";
            throw new RepositoryError(`the repository ${from.volume}: ${result.stderr.trim()}${hint}`);
        },
    );
}
