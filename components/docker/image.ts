/** The node image's name, which changes exactly when its content does. */
import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

/** The build context of the node image: the scripts that run on every node. */
export const CONTEXT = "scripts/node";

/** A short hash of everything that goes into the image. */
export function imageHash(base: string, context = CONTEXT): string {
    const hash = createHash("sha256").update(base);
    for (const file of readdirSync(context).sort()) hash.update(file).update(readFileSync(join(context, file)));
    return hash.digest("hex").slice(0, 12);
}

/** @param root the project's folder. @default where the program runs */
export function nodeImage(base: string, root = "."): string {
    return `citus-node:17-${imageHash(base, join(root, CONTEXT))}`;
}
