/** Where a dump goes: a file that is there whole or not at all, or standard output. */
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { closeSync, createWriteStream, fsyncSync, openSync, realpathSync, renameSync, rmSync, statSync } from "node:fs";
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
 * @param path of a file, readable by this user only, and packed when its name ends in .gz; undefined for standard output
 * @throws Error when it can't be written, or is something else than a file
 */
export async function openOutput(path: string | undefined): Promise<Output> {
    const write = (stream: Writable) => async (chunk: string | Buffer) => {
        if (!stream.write(chunk)) await drained(stream);
        if (stream.errored) throw stream.errored;
    };
    if (path === undefined)
        return {
            write: write(process.stdout),
            finish: async () => undefined,
            abandon: () => undefined,
        };
    const there = statSync(path, { throwIfNoEntry: false });
    if (there !== undefined && !there.isFile())
        throw new Error(`${path} is no file, and a dump would take its place. Nothing was written.`);
    const file = there === undefined ? path : realpathSync(path);
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
            // a crash after the rename must not leave an empty file in place of the former one
            const written = openSync(fresh, "r");
            fsyncSync(written);
            closeSync(written);
            renameSync(fresh, file);
            stop(false);
        },
        abandon,
    };
}
