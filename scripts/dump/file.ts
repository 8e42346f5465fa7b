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

/** Where reading of one file is, and what was found so far. */
class DumpReader {
    private line = 0;
    private kind: Dump["kind"] | undefined;
    private of = "";
    private key: string | undefined;
    private seen = 0;
    private complete = false;
    private script: { part: Part; from: number; lines: string[] } | undefined;
    private rows:
        | { name: string; sink: Awaited<ReturnType<Visitor["table"]>>; first: boolean; lines: number }
        | undefined;
    /** Lines that are no whole one yet. */
    private rest: Buffer = Buffer.alloc(0);
    private readonly counts = new Map<string, number>();
    private readonly told = new Map<string, number>();
    private readonly sequences: WorkerSequence[] = [];
    private readonly file: string;
    private readonly visitor: Visitor;

    constructor(file: string, visitor: Visitor) {
        this.file = file;
        this.visitor = visitor;
    }

    broken(why: string): BrokenFile {
        return new BrokenFile(`${this.file}, line ${this.line}: ${why}`);
    }

    /** Goes on with some bytes of the file. */
    async take(piece: Buffer): Promise<void> {
        let chunk: Buffer = this.rest.length === 0 ? piece : Buffer.concat([this.rest, piece]);
        for (;;) {
            if (this.rows) {
                chunk = await this.takeRows(chunk);
                if (this.rows) break;
                continue;
            }
            const end = chunk.indexOf(NEWLINE);
            if (end < 0) break;
            await this.takeLine(chunk.toString("utf8", 0, end));
            chunk = chunk.subarray(end + 1);
        }
        this.rest = Buffer.from(chunk);
    }

    /** @throws BrokenFile when anything is missing that the dump says it has */
    finish(): Dump {
        const { kind, of, counts, sequences } = this;
        if (!this.complete || kind === undefined || this.rest.length > 0)
            throw this.broken("the file ends here and was cut off: its last line, -- complete, is missing");
        for (const [name, n] of counts)
            if (this.told.get(name) !== n)
                throw this.broken(
                    `${name} has ${n} rows in the file, and the dump wrote ${this.told.get(name) ?? "none"}`,
                );
        for (const name of this.told.keys())
            if (!counts.has(name)) throw this.broken(`the rows of ${name} are missing`);
        return { kind, of, rows: counts, sequences };
    }

    private async takeLine(text: string): Promise<void> {
        this.line++;
        if (this.line === 1) return this.takeFirst(text);
        if (this.complete && text !== "") throw this.broken("there is more after the last line of the dump");
        if (this.script) return this.takeScript(this.script, text);
        const begins = /^\\restrict ([0-9a-f]{64})$/.exec(text)?.[1];
        if (begins !== undefined) return this.beginScript(begins, text);
        if (this.key === undefined) {
            this.of ||= /^-- (Database .*)$/.exec(text)?.[1] ?? "";
            if (text !== "" && !text.startsWith("--")) throw this.broken("there is something before the first script");
            return;
        }
        const copy = COPY.exec(text);
        if (copy && this.seen > 0) {
            const [, statement = "", name = ""] = copy;
            if (this.counts.has(name)) throw this.broken(`${name} is in it twice`);
            const sink = await this.visitor.table({ statement, name, line: this.line + 1 });
            this.rows = { name, sink, first: true, lines: 0 };
            return;
        }
        await this.takeNote(text);
    }

    private takeFirst(text: string): void {
        this.kind = /^-- citus-dump 1 (shape|all)$/.exec(text)?.[1] as Dump["kind"] | undefined;
        if (this.kind === undefined)
            throw this.broken("this is not a file of npm run dump: its first line is not -- citus-dump 1");
    }

    private beginScript(key: string, text: string): void {
        const part = PARTS[this.seen];
        if (part === undefined || (this.key !== undefined && key !== this.key))
            throw this.broken("a script begins where none can be");
        this.key = key;
        this.script = { part, from: this.line, lines: [text] };
    }

    private async takeScript({ part, from, lines }: NonNullable<DumpReader["script"]>, text: string): Promise<void> {
        if (text !== `\\unrestrict ${this.key}`) {
            lines.push(text);
            return;
        }
        this.script = undefined;
        this.seen++;
        await this.visitor.script(part, `${lines.join("\n")}\n${text}\n`, from);
    }

    /** A line between the parts: how much of something there is, or that this is the end. */
    private async takeNote(text: string): Promise<void> {
        const count = /^-- rows (\d+) (.+)$/.exec(text);
        const sequence = /^-- sequence (\d+) (-?\d+) (.+)$/.exec(text);
        if (count) this.told.set(count[2] ?? "", Number(count[1]));
        else if (sequence)
            this.sequences.push({ group: Number(sequence[1]), last: sequence[2] ?? "", name: sequence[3] ?? "" });
        else if (text === QUIET || text === LOUD) await this.visitor.statement(text);
        else if (text === `-- complete ${this.key}`) this.complete = true;
        else if (text !== "" && !text.startsWith("--")) throw this.broken("this line belongs to no part of a dump");
    }

    /** @returns what has to wait for more */
    private async takeRows(chunk: Buffer): Promise<Buffer> {
        const none = END.subarray(1);
        if (this.rows?.first) {
            if (chunk.length < none.length) return chunk;
            if (chunk.subarray(0, none.length).equals(none)) {
                await this.closeRows();
                return chunk.subarray(none.length);
            }
        }
        const end = chunk.indexOf(END);
        if (end >= 0) {
            await this.giveRows(chunk.subarray(0, end + 1));
            await this.closeRows();
            return chunk.subarray(end + END.length);
        }
        // what could be the beginning of the end
        let keep = 0;
        for (let n = Math.min(END.length - 1, chunk.length); n > 0 && keep === 0; n--)
            if (chunk.subarray(chunk.length - n).equals(END.subarray(0, n))) keep = n;
        await this.giveRows(chunk.subarray(0, chunk.length - keep));
        return chunk.subarray(chunk.length - keep);
    }

    private async giveRows(part: Buffer): Promise<void> {
        if (part.length === 0 || !this.rows) return;
        const n = newlines(part);
        this.line += n;
        this.rows.lines += n;
        this.rows.first = false;
        await this.rows.sink.write(part);
    }

    private async closeRows(): Promise<void> {
        const { rows } = this;
        if (!rows) return;
        this.line++;
        this.rows = undefined;
        const taken = await rows.sink.end();
        this.counts.set(rows.name, rows.lines);
        if (taken !== rows.lines)
            throw this.broken(`${rows.name} has ${rows.lines} rows, and the database took ${taken}`);
    }
}

/**
 * Reads a file once, from its first to its last line, and hands out what is in it. Memory grows with its scripts, not with its rows.
 * @throws BrokenFile naming the line; what the visitor throws
 */
export async function readDump(file: string, visitor: Visitor): Promise<Dump> {
    const reader = new DumpReader(file, visitor);
    try {
        for await (const piece of await unpacked(file)) await reader.take(piece as Buffer);
    } catch (error) {
        const { code, message } = error as NodeJS.ErrnoException;
        if (code === "Z_BUF_ERROR" || code === "Z_DATA_ERROR")
            throw reader.broken(`the packed file is damaged or was cut off: ${message}`);
        throw error;
    }
    return reader.finish();
}
