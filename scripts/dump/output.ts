/** Where a dump goes: a file that is there whole or not at all, or standard output. */
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { createWriteStream, renameSync, rmSync } from "node:fs";
import type { Writable } from "node:stream";
import { finished } from "node:stream/promises";
import { createGzip } from "node:zlib";
import { EXIT } from "../lib/exit.ts";
import { drained } from "./rows.ts";

export interface Output {
    write(chunk: string | Buffer): Promise<void>;
    /** Puts the file in place. */
    finish(): Promise<void>;
    /** Leaves nothing. */
    abandon(): void;
}

/**
 * @param file readable by this user only, and packed when its name ends in .gz; undefined for standard output
 * @throws Error when it can't be written
 */
export async function openOutput(file: string | undefined): Promise<Output> {
    const write = (stream: Writable) => async (chunk: string | Buffer) => {
        if (!stream.write(chunk)) await drained(stream);
        if (stream.errored) throw stream.errored;
    };
    if (file === undefined)
        return {
            write: write(process.stdout),
            finish: async () => undefined,
            abandon: () => undefined,
        };
    const fresh = `${file}.${randomBytes(4).toString("hex")}`;
    const target = createWriteStream(fresh, { mode: 0o600, flags: "wx", highWaterMark: 1 << 20 });
    const over = finished(target).catch((error: Error) => {
        rmSync(fresh, { force: true });
        throw new Error(`${file} can't be written: ${error.message.replace(fresh, file)}. Nothing was written.`);
    });
    over.catch(() => undefined);
    await Promise.race([once(target, "open"), over]);
    const packed = file.endsWith(".gz") ? createGzip({ level: 6 }) : undefined;
    packed?.pipe(target);
    const stream = packed ?? target;
    if (packed) over.catch((error: Error) => packed.destroy(error));
    const abandon = () => {
        stop(false);
        packed?.destroy();
        target.destroy();
        rmSync(fresh, { force: true });
    };
    const signalled = (signal: NodeJS.Signals) => {
        rmSync(fresh, { force: true });
        console.error(`\n${signal}: nothing was written`);
        process.exit(EXIT.stopped);
    };
    function stop(listen: boolean): void {
        for (const signal of ["SIGINT", "SIGTERM"] as const) process[listen ? "on" : "off"](signal, signalled);
    }
    stop(true);
    return {
        write: write(stream),
        finish: async () => {
            stream.end();
            await over;
            renameSync(fresh, file);
            stop(false);
        },
        abandon,
    };
}
