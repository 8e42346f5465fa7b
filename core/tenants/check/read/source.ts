/** One SQL file: its text as the parser can read it, and where in it something is. */
import type { SourcePlace } from "./model.ts";

export interface SqlFile {
    readonly path: string;
    readonly sql: string;
}

/** Rows of COPY ... FROM stdin and psql's own commands, which are not SQL, as blanks of the same length in bytes. */
export function withoutPsql(sql: string): string {
    let rows = false;
    return sql
        .split("\n")
        .map((line) => {
            const blank = rows || /^\\/.test(line);
            if (rows) rows = !/^\\\.\s*$/.test(line);
            else rows = /^\s*copy\b.*\bfrom\s+stdin\b.*;\s*$/i.test(line);
            return blank ? " ".repeat(Buffer.byteLength(line)) : line;
        })
        .join("\n");
}

const BLANKS = /(?:\s+|--[^\n]*(?:\n|$)|\/\*[\s\S]*?\*\/)*/y;

export class Source {
    readonly path: string;
    readonly sql: string;
    /** One character a byte. */
    private readonly bytes: string;
    /** Bytes at which lines begin. */
    private readonly lines: readonly number[];

    constructor(path: string, sql: string) {
        this.path = path;
        this.sql = withoutPsql(sql);
        this.bytes = Buffer.from(this.sql).toString("latin1");
        this.lines = [0, ...[...this.bytes.matchAll(/\n/g)].map(({ index }) => index + 1)];
    }

    /** @param byte as the parser counts */
    place(byte: number): SourcePlace {
        let low = 0;
        let high = this.lines.length;
        while (high - low > 1) {
            const middle = (low + high) >> 1;
            if ((this.lines[middle] ?? 0) <= byte) low = middle;
            else high = middle;
        }
        return { where: this.path, line: low + 1 };
    }

    /** Where a statement begins: the parser counts the blanks and comments before it as its own. */
    begin(byte: number): number {
        BLANKS.lastIndex = byte;
        return byte + (BLANKS.exec(this.bytes)?.[0].length ?? 0);
    }
}
