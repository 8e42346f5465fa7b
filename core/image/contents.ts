/** What the images are built from, and their names, which change exactly when that does. Pure but for reading the files. */
import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { SCRIPTS_FOLDER } from "../node/scripts.ts";
import type { TarEntry } from "../util/tar.ts";

/** The build context: the scripts that run on every node, and in `image` what only a build needs. */
const CONTEXT = SCRIPTS_FOLDER;

function filesIn(context: string, folder: string): TarEntry[] {
    const path = (name: string) => (folder === "" ? name : `${folder}/${name}`);
    return readdirSync(join(context, folder), { withFileTypes: true })
        .filter((entry) => entry.isFile())
        .map(({ name }) => path(name))
        .sort()
        .map((name) => ({
            name,
            // run as postgres, whatever the checkout's modes are
            mode: 0o755,
            content: readFileSync(join(context, name)),
        }));
}

export const PACKAGES_DOCKERFILE = "image/packages.Dockerfile";
export const NODE_DOCKERFILE = "image/node.Dockerfile";
const SELF_TEST = "image/self-test.sh";

/** What the packages are installed and tried with. */
export const packageFiles = (context = CONTEXT): TarEntry[] =>
    filesIn(context, "image").filter(({ name }) => name !== NODE_DOCKERFILE);
/** The scripts that run on a node, and what puts them into its image. */
export const nodeFiles = (context = CONTEXT): TarEntry[] => [
    ...filesIn(context, ""),
    ...filesIn(context, "image").filter(({ name }) => name === NODE_DOCKERFILE),
];

const short = (...parts: readonly (string | Buffer)[]): string => {
    const hash = createHash("sha256");
    for (const part of parts) hash.update(part).update("\0");
    return hash.digest("hex").slice(0, 12);
};

const hashOf = (files: readonly TarEntry[]) => short(...files.flatMap(({ name, content }) => [name, content]));

/**
 * Hash of what the packages are installed with. The self-test is no part of it: packages that a cluster runs are not
 * installed anew because the next image is tried in another way.
 */
export const packagesHash = (context = CONTEXT): string =>
    hashOf(packageFiles(context).filter(({ name }) => name !== SELF_TEST));
/** Hash of what runs on a node. */
export const scriptsHash = (context = CONTEXT): string => hashOf(nodeFiles(context));

/** What a node image is made of. */
export interface ImageSource {
    /** Image with PostgreSQL 17 and Citus, such as `citusdata/citus:14.1.0-pg17`. */
    readonly base: string;
    /** `newest`, `base`, or a minor release such as `17.10`. */
    readonly postgres: string;
}

/** Name of the image with the packages and without the scripts. */
export const packagesImage = ({ base, postgres }: ImageSource, context = CONTEXT): string =>
    `citus-packages:17-${short(base, postgres, hashOf(packageFiles(context)))}`;

/** Name of the node image. */
export const nodeImage = (source: ImageSource, context = CONTEXT): string =>
    `citus-node:17-${short(packagesImage(source, context), scriptsHash(context))}`;
