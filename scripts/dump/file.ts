/** The file of a dump: what psql can run, in parts that can be told apart whatever is inside them. */
import { createReadStream } from "node:fs";
import { open } from "node:fs/promises";
import type { Readable } from "node:stream";
import { createGunzip } from "node:zlib";

/** One of a worker's own sequences. */
export interface WorkerSequence {
    readonly group: number;
    readonly name: string;
    readonly last: string;
}

/** What a file says of itself in its last lines. */
export interface Trailer {
    /** Rows by table, as SQL has its name. */
    readonly rows: ReadonlyMap<string, number>;
    readonly sequences: readonly WorkerSequence[];
}

/** The last lines of a file. */
export function trailer(key: string, { rows, sequences }: Trailer): string {
    return [
        ...[...rows].map(([name, n]) => `-- rows ${n} ${name}`),
        ...sequences.map(({ group, name, last }) => `-- sequence ${group} ${last} ${name}`),
        `-- complete ${key}`,
        "",
    ].join("\n");
}

/** Rows between these come to tables that have their triggers and foreign keys. */
export const QUIET = "SET session_replication_role = replica;";
export const LOUD = "RESET session_replication_role;";

export type Part = "before" | "after" | "last";
const PARTS: readonly Part[] = ["before", "after", "last"];

export interface CopyPart {
    /** COPY … FROM stdin, without its semicolon. */
    readonly statement: string;
    /** The table, as SQL has its name. */
    readonly name: string;
    /** The line of its first row. */
    readonly line: number;
}

export interface Visitor {
    /** A script, with the line that its first line is in the file. */
    script(part: Part, text: string, line: number): Promise<void>;
    /** QUIET or LOUD, for the connection that rows come over. */
    statement(text: string): Promise<void>;
    /** Rows in COPY's text format come to what it returns. */
    table(copy: CopyPart): Promise<{ write(chunk: Buffer): Promise<void>; end(): Promise<number> }>;
}

export interface Dump extends Trailer {
    readonly kind: "shape" | "all";
    /** What it was made of, such as `Database "app", PostgreSQL 17, Citus 14.0-1.`; empty when it does not say. */
    readonly of: string;
}

/** A file that is not a dump, or not whole. */
export class BrokenFile extends Error {}

const WORD = '(?:(?:U&)?"(?:[^"]|"")*"|[^\\s".(]+)';
const COPY = new RegExp(`^(COPY (${WORD}(?:\\.${WORD})?)(?: \\(.*\\))? FROM stdin);$`);
const END = Buffer.from("\n\\.\n");
const NEWLINE = 10;

function newlines(chunk: Buffer): number {
    let n = 0;
    for (let at = chunk.indexOf(NEWLINE); at !== -1; at = chunk.indexOf(NEWLINE, at + 1)) n++;
    return n;
}

/** Its bytes; unpacked when they are packed, whatever the file is called. */
async function unpacked(file: string): Promise<Readable> {
    const handle = await open(file, "r");
    const { buffer } = await handle.read(Buffer.alloc(2), 0, 2, 0);
    await handle.close();
    const source = createReadStream(file, { highWaterMark: 1 << 20 });
    if (buffer[0] !== 0x1f || buffer[1] !== 0x8b) return source;
    const gunzip = createGunzip({ chunkSize: 1 << 18 });
    source.on("error", (error) => gunzip.destroy(error));
    return source.pipe(gunzip);
}

/**
 * Reads a file once, from its first to its last line, and hands out what is in it. Memory grows with its scripts, not with its rows.
 * @throws BrokenFile naming the line; what the visitor throws
 */
export async function readDump(file: string, visitor: Visitor): Promise<Dump> {
    let line = 0;
    let kind: Dump["kind"] | undefined;
    let of = "";
    let key: string | undefined;
    let seen = 0;
    let complete = false;
    let script: { part: Part; from: number; lines: string[] } | undefined;
    let rows: { name: string; sink: Awaited<ReturnType<Visitor["table"]>>; first: boolean; lines: number } | undefined;
    const counts = new Map<string, number>();
    const told = new Map<string, number>();
    const sequences: WorkerSequence[] = [];
    const broken = (why: string) => new BrokenFile(`${file}, line ${line}: ${why}`);

    const takeLine = async (text: string) => {
        line++;
        if (line === 1) {
            kind = /^-- citus-dump 1 (shape|all)$/.exec(text)?.[1] as Dump["kind"] | undefined;
            if (kind === undefined)
                throw broken("this is not a file of npm run dump: its first line is not -- citus-dump 1");
            return;
        }
        if (complete && text !== "") throw broken("there is more after the last line of the dump");
        if (script) {
            if (text !== `\\unrestrict ${key}`) {
                script.lines.push(text);
                return;
            }
            const { part, from, lines } = script;
            script = undefined;
            seen++;
            await visitor.script(part, `${lines.join("\n")}\n${text}\n`, from);
            return;
        }
        const begins = /^\\restrict ([0-9a-f]{64})$/.exec(text)?.[1];
        if (begins !== undefined) {
            const part = PARTS[seen];
            if (part === undefined || (key !== undefined && begins !== key))
                throw broken("a script begins where none can be");
            key = begins;
            script = { part, from: line, lines: [text] };
            return;
        }
        if (key === undefined) {
            of ||= /^-- (Database .*)$/.exec(text)?.[1] ?? "";
            if (text !== "" && !text.startsWith("--")) throw broken("there is something before the first script");
            return;
        }
        const copy = COPY.exec(text);
        if (copy && seen > 0) {
            const [, statement = "", name = ""] = copy;
            if (counts.has(name)) throw broken(`${name} is in it twice`);
            rows = { name, sink: await visitor.table({ statement, name, line: line + 1 }), first: true, lines: 0 };
            return;
        }
        const count = /^-- rows (\d+) (.+)$/.exec(text);
        const sequence = /^-- sequence (\d+) (-?\d+) (.+)$/.exec(text);
        if (count) told.set(count[2] ?? "", Number(count[1]));
        else if (sequence)
            sequences.push({ group: Number(sequence[1]), last: sequence[2] ?? "", name: sequence[3] ?? "" });
        else if (text === QUIET || text === LOUD) await visitor.statement(text);
        else if (text === `-- complete ${key}`) complete = true;
        else if (text !== "" && !text.startsWith("--")) throw broken("this line belongs to no part of a dump");
    };

    let rest = Buffer.alloc(0);
    /** @returns what has to wait for more */
    const takeRows = async (chunk: Buffer): Promise<Buffer> => {
        const now = rows as NonNullable<typeof rows>;
        const give = async (part: Buffer) => {
            if (part.length === 0) return;
            const n = newlines(part);
            line += n;
            now.lines += n;
            now.first = false;
            await now.sink.write(part);
        };
        const close = async () => {
            line++;
            rows = undefined;
            const taken = await now.sink.end();
            counts.set(now.name, now.lines);
            if (taken !== now.lines) throw broken(`${now.name} has ${now.lines} rows, and the database took ${taken}`);
        };
        const none = END.subarray(1);
        if (now.first) {
            if (chunk.length < none.length) return chunk;
            if (chunk.subarray(0, none.length).equals(none)) {
                await close();
                return chunk.subarray(none.length);
            }
        }
        const end = chunk.indexOf(END);
        if (end >= 0) {
            await give(chunk.subarray(0, end + 1));
            await close();
            return chunk.subarray(end + END.length);
        }
        // what could be the beginning of the end
        let keep = 0;
        for (let n = Math.min(END.length - 1, chunk.length); n > 0 && keep === 0; n--)
            if (chunk.subarray(chunk.length - n).equals(END.subarray(0, n))) keep = n;
        await give(chunk.subarray(0, chunk.length - keep));
        return chunk.subarray(chunk.length - keep);
    };

    try {
        for await (const piece of await unpacked(file)) {
            let chunk: Buffer = rest.length === 0 ? (piece as Buffer) : Buffer.concat([rest, piece as Buffer]);
            for (;;) {
                if (rows) {
                    chunk = await takeRows(chunk);
                    if (rows) break;
                    continue;
                }
                const end = chunk.indexOf(NEWLINE);
                if (end < 0) break;
                await takeLine(chunk.toString("utf8", 0, end));
                chunk = chunk.subarray(end + 1);
            }
            rest = Buffer.from(chunk);
        }
    } catch (error) {
        const { code, message } = error as NodeJS.ErrnoException;
        if (code === "Z_BUF_ERROR" || code === "Z_DATA_ERROR")
            throw broken(`the packed file is damaged or was cut off: ${message}`);
        throw error;
    }
    if (!complete || kind === undefined || rest.length > 0)
        throw broken("the file ends here and was cut off: its last line, -- complete, is missing");
    for (const [name, n] of counts)
        if (told.get(name) !== n)
            throw broken(`${name} has ${n} rows in the file, and the dump wrote ${told.get(name) ?? "none"}`);
    for (const name of told.keys()) if (!counts.has(name)) throw broken(`the rows of ${name} are missing`);
    return { kind, of, rows: counts, sequences };
}
