/** Building an image by the engine, with a failure that quotes what failed. */
import { stripVTControlCharacters } from "node:util";
import type Docker from "dockerode";
import { packTar, type TarEntry } from "../util/tar.ts";

export interface Build {
    readonly files: readonly TarEntry[];
    /** Path among the files. */
    readonly dockerfile: string;
    readonly args?: Readonly<Record<string, string>>;
    readonly labels?: Readonly<Record<string, string>>;
    /** Such as `linux/amd64`. */
    readonly platform: string;
    /** The name it gets. */
    readonly tag: string;
    /** Nothing is taken from an earlier build, whose package lists may be months old. @default false */
    readonly fresh?: boolean;
}

interface Event {
    readonly stream?: string;
    readonly error?: string;
}

/** How many lines of a failed step are quoted. */
const QUOTED = 8;

/**
 * What a build that failed is explained with: its last step, and the lines in it that say why. Pure.
 * @param lines everything that the engine printed
 */
export function failureOf(lines: readonly string[], error: string): string {
    const clean = lines.map((line) => stripVTControlCharacters(line).trimEnd()).filter((line) => line !== "");
    const at = clean.findLastIndex((line) => /^Step [0-9]+\/[0-9]+ : /.test(line));
    const step = clean[at]?.replace(/^Step [0-9]+\/[0-9]+ : /, "");
    const said = clean
        .slice(at + 1)
        .filter((line) => !/^( ---> |Removing intermediate|Removed intermediate)/.test(line));
    const telling = said.filter((line) => /^(E|W|Err|citus-image|dpkg|ERROR|error|fatal)\b/.test(line));
    return [
        ...(step === undefined ? [] : [step]),
        ...(telling.length > 0 ? telling : said).slice(-QUOTED).map((line) => `  ${line}`),
        error,
    ].join("\n");
}

/** @throws Error with the step that failed and what it printed */
export async function build(docker: Docker, options: Build): Promise<void> {
    const { files, dockerfile, args, labels, platform, tag, fresh = false } = options;
    const stream = await docker.buildImage((await packTar(files)) as unknown as NodeJS.ReadableStream, {
        t: tag,
        dockerfile,
        platform,
        ...(args === undefined ? {} : { buildargs: { ...args } }),
        ...(labels === undefined ? {} : { labels: { ...labels } }),
        nocache: fresh,
        rm: true,
        forcerm: true,
    });
    const printed: string[] = [];
    let error: string | undefined;
    await new Promise<void>((resolve, reject) => {
        docker.modem.followProgress(
            stream,
            (failed: Error | null) => (failed && error === undefined ? reject(failed) : resolve()),
            (event: Event) => {
                if (event.stream !== undefined) printed.push(...event.stream.split("\n"));
                if (event.error !== undefined) error ??= event.error;
            },
        );
    });
    if (error !== undefined) throw new Error(failureOf(printed, error));
}
