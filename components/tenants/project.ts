/** The user's files that a group of tenants names. */
import { createHash } from "node:crypto";
import { globSync, readFileSync } from "node:fs";
import type { FileSpec } from "./spec.ts";

/** What validation asks of the project's folder. */
export interface ProjectFiles {
    /** Paths that a pattern means, in the order of their names. */
    find(pattern: string): readonly string[];
    /** @throws Error when it is not there */
    read(path: string): string;
}

export const projectFiles: ProjectFiles = {
    find: (pattern) =>
        globSync(pattern)
            .map((path) => path.replaceAll("\\", "/"))
            .sort((a, b) => a.localeCompare(b, "en", { numeric: true })),
    read: (path) => readFileSync(path, "utf8"),
};

export function fileSpec(path: string, files: ProjectFiles): FileSpec {
    return { path, sha256: createHash("sha256").update(files.read(path)).digest("hex") };
}
