/** What a node's server wrote: of a container the engine has it, of a machine its journal. */
import { PassThrough } from "node:stream";
import type { Shell } from "../node/reach.ts";
import { pause } from "../util/pause.ts";
import { dockerEngine, withoutFrames } from "./docker/engine.ts";

export interface LogWanted {
    /** The last so many lines. */
    readonly lines: number;
    /** Not older, in milliseconds since 1970. @default however old */
    readonly since?: number;
    /** Goes on with what is written from now on, until it is stopped. @default false */
    readonly follow?: boolean;
    readonly stop?: AbortSignal;
}

export interface LogLine {
    /** When it was written, in milliseconds since 1970. */
    readonly at: number;
    readonly text: string;
}

/** A line with the time that the engine wrote before it. Pure. */
export function ofEngine(line: string): LogLine | undefined {
    const [, time = "", text = ""] = /^(\d{4}-\d\d-\d\dT\S+) ?(.*)$/s.exec(line) ?? [];
    const at = Date.parse(time.replace(/(\.\d{3})\d*/, "$1"));
    return Number.isNaN(at) ? undefined : { at, text };
}

/** Lines with the time that the server itself writes; one without is of the time of the line before it. Pure. */
export function ofServer(text: string): LogLine[] {
    let at = 0;
    return text
        .split("\n")
        .filter((line) => line !== "")
        .map((line) => {
            const [, day, time] = /^(\d{4}-\d\d-\d\d)[ T](\d\d:\d\d:\d\d(?:\.\d+)?)(?: UTC|Z)/.exec(line) ?? [];
            if (day !== undefined) at = Date.parse(`${day}T${time}Z`);
            return { at, text: line };
        });
}

/** What of the newer look was not in the older one: both are the end of the same log. Pure. */
export function newLines(older: readonly LogLine[], newer: readonly LogLine[]): readonly LogLine[] {
    const last = older.at(-1);
    if (last === undefined) return newer;
    for (let end = newer.length; end > 0; end--) {
        const from = Math.max(0, older.length - end);
        const same = older.slice(from).every((line, i) => line.text === newer[end - (older.length - from) + i]?.text);
        if (same) return newer.slice(end);
    }
    return newer;
}

/** How often a machine is asked for more, in milliseconds. */
const ASKED_EVERY = 3000;

async function* ofMachine(shell: Extract<Shell, { kind: "ssm" }>, wanted: LogWanted): AsyncGenerator<LogLine> {
    const { lastLines } = await import("./aws/ssm.ts");
    const young = ({ at }: LogLine) => wanted.since === undefined || at >= wanted.since;
    let seen: readonly LogLine[] = [];
    do {
        const now = ofServer(await lastLines(shell, Math.min(wanted.lines, 9999)));
        yield* newLines(seen, now).filter(young);
        seen = now;
        if (wanted.follow && !wanted.stop?.aborted) await pause(ASKED_EVERY);
    } while (wanted.follow && !wanted.stop?.aborted);
}

async function* ofContainer(shell: Extract<Shell, { kind: "docker" }>, wanted: LogWanted): AsyncGenerator<LogLine> {
    const docker = dockerEngine(shell.engine);
    const both = new PassThrough();
    const container = docker.getContainer(shell.container);
    const options = {
        stdout: true,
        stderr: true,
        timestamps: true,
        tail: wanted.lines,
        ...(wanted.since === undefined ? {} : { since: Math.floor(wanted.since / 1000) }),
    };
    if (wanted.follow) {
        const stream = await container.logs({ ...options, follow: true });
        docker.modem.demuxStream(stream, both, both);
        stream.on("end", () => both.end());
        const destroy = () => (stream as unknown as { destroy: () => void }).destroy();
        const stop = () => {
            destroy();
            both.end();
        };
        if (wanted.stop?.aborted) stop();
        wanted.stop?.addEventListener("abort", stop, { once: true });
    } else {
        both.end(withoutFrames(await container.logs({ ...options, follow: false })));
    }
    let rest = "";
    for await (const chunk of both) {
        const lines = `${rest}${chunk}`.split("\n");
        rest = lines.pop() ?? "";
        for (const line of lines) {
            const found = ofEngine(line);
            if (found !== undefined && (wanted.since === undefined || found.at >= wanted.since)) yield found;
        }
    }
}

/**
 * The lines of one node, the oldest first.
 * @throws Error where the engine, the container or the machine can't be asked
 */
export const readLog = (shell: Shell, wanted: LogWanted): AsyncGenerator<LogLine> =>
    shell.kind === "docker" ? ofContainer(shell, wanted) : ofMachine(shell, wanted);
