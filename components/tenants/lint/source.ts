/** One SQL file: its text as the parser can read it, and where in it something is. */
import type { Place } from "./model.ts";

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

export class Source {
    readonly path: string;
    readonly sql: string;
    private readonly bytes: Buffer;

    constructor(path: string, sql: string) {
        this.path = path;
        this.sql = withoutPsql(sql);
        this.bytes = Buffer.from(this.sql);
    }

    /** @param byte as the parser counts */
    place(byte: number): Place {
        let line = 1;
        for (let i = 0; i < byte && i < this.bytes.length; i++) if (this.bytes[i] === 0x0a) line++;
        return { where: this.path, line };
    }

    /** Where a statement begins: the parser counts the blanks and comments before it as its own. */
    begin(byte: number): number {
        const rest = this.bytes.subarray(byte).toString();
        const skipped = /^(?:\s+|--[^\n]*(?:\n|$)|\/\*[\s\S]*?\*\/)*/.exec(rest)?.[0] ?? "";
        return byte + Buffer.byteLength(skipped);
    }
}
