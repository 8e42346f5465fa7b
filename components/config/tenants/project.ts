/** The user's files that a group of tenants names. */
import { createHash } from "node:crypto";
import { globSync, readFileSync } from "node:fs";
import { isAbsolute, resolve } from "node:path";
import * as pulumi from "@pulumi/pulumi";
import type { FileSpec } from "../../../core/tenants/group/spec.ts";

/** What validation asks of the project's folder. */
export interface ProjectFiles {
    /** Paths that a pattern means, in the order of their names. */
    find(pattern: string): readonly string[];
    /** @throws Error when it is not there */
    read(path: string): string;
    /** What the file's text is known by. @default it is read for it */
    spec?(path: string): FileSpec;
}

/** The folder of Pulumi.yaml; outside of a program, where the command runs. */
export function projectFolder(): string {
    const folder = pulumi.getRootDirectory();
    // what the SDK says where nobody told it is a word
    return isAbsolute(folder) ? folder : process.cwd();
}

export const projectFiles: ProjectFiles = {
    find: (pattern) =>
        globSync(pattern, { cwd: projectFolder() })
            .map((path) => path.replaceAll("\\", "/"))
            .sort((a, b) => a.localeCompare(b, "en", { numeric: true })),
    read: (path) => readFileSync(resolve(projectFolder(), path), "utf8"),
};

const MARK = "\uFEFF";

/** A file's text however it was checked out: lines end in a line feed, and no byte order mark begins it. */
export const textOf = (content: string) =>
    (content.startsWith(MARK) ? content.slice(MARK.length) : content).replaceAll("\r\n", "\n");

const hashOf = (text: string) => createHash("sha256").update(text).digest("hex");

/** What a file's text is known by. @param content as it was read */
export function specOf(path: string, content: string): FileSpec {
    const text = textOf(content);
    const windows = text.replaceAll("\n", "\r\n");
    const marked = content.startsWith(MARK) ? [MARK + text, MARK + windows] : [];
    const sha256 = hashOf(text);
    const also = [...new Set([windows, content, ...marked].map(hashOf))].filter((hash) => hash !== sha256);
    return also.length === 0 ? { path, sha256 } : { path, sha256, also };
}

export const fileSpec = (path: string, files: ProjectFiles): FileSpec =>
    files.spec?.(path) ?? specOf(path, files.read(path));

/** The same files, each found, read and hashed once: many groups have the same. */
export function readOnce(files: ProjectFiles): ProjectFiles {
    const once = <T>(ask: (path: string) => T) => {
        const known = new Map<string, T>();
        return (path: string) => {
            if (!known.has(path)) known.set(path, ask(path));
            return known.get(path) as T;
        };
    };
    const read = once(files.read);
    return { find: once(files.find), read, spec: once((path) => specOf(path, read(path))) };
}
