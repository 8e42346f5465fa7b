/** The node scripts as one file that machines fetch. Its name is its content's hash, so it is the same wherever it is made. */
import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { join, sep } from "node:path";
import { SCRIPTS_FOLDER } from "../../../core/node/scripts.ts";
import { packTar } from "../../../core/util/tar.ts";

/** What only the container image needs. */
const LEFT_OUT = "image/";

export interface Bundle {
    /** Hex; also its name in the bucket. */
    readonly sha256: string;
    readonly content: Buffer;
}

/** Where in the cluster's bucket bundles are. */
export const BUNDLE_PREFIX = "bundle/";
/** Key of a bundle in the cluster's bucket. */
export const bundleKey = (sha256: string): string => `${BUNDLE_PREFIX}${sha256}.tar`;
/** Key of the object that says which bundle a new machine takes. */
export const CURRENT_BUNDLE = `${BUNDLE_PREFIX}current`;

/**
 * A tar of everything that runs on a node. Not compressed: what zlib makes of the same bytes differs between versions.
 * @param folder with the scripts. @default this package's own
 */
export async function makeBundle(folder = SCRIPTS_FOLDER): Promise<Bundle> {
    const names = readdirSync(folder, { recursive: true, withFileTypes: true })
        .filter((entry) => entry.isFile() && !entry.name.startsWith("."))
        .map((entry) => join(entry.parentPath, entry.name).slice(folder.length + 1))
        .filter((name) => !name.replaceAll(sep, "/").startsWith(LEFT_OUT))
        .sort();
    const content = await packTar(
        names.map((name) => ({
            name: name.replaceAll(sep, "/"),
            mode: name.endsWith(".sh") ? 0o755 : 0o644,
            content: readFileSync(join(folder, name)),
            header: { mtime: new Date(0), uid: 0, gid: 0, uname: "root", gname: "root" },
        })),
    );
    return { sha256: createHash("sha256").update(content).digest("hex"), content };
}
