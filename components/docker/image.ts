/** The node image's name, which changes exactly when its content does. */
import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

/** The build context of the node image: the scripts that run on every node. */
export const CONTEXT = "scripts/node";

/** A short hash of everything that goes into the image; folders in the context do not. */
export function imageHash(base: string, context = CONTEXT): string {
    const hash = createHash("sha256").update(base);
    const files = readdirSync(context, { withFileTypes: true }).filter((entry) => entry.isFile());
    for (const name of files.map((file) => file.name).sort())
        hash.update(name).update(readFileSync(join(context, name)));
    return hash.digest("hex").slice(0, 12);
}

/** @param root the project's folder. @default where the program runs */
export function nodeImage(base: string, root = "."): string {
    return `citus-node:17-${imageHash(base, join(root, CONTEXT))}`;
}
