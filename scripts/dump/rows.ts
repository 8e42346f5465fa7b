/** Rows out of a cluster and into one, as streams: memory does not grow with a table. */

import type { Writable } from "node:stream";
import { finished } from "node:stream/promises";
import { from, to } from "pg-copy-streams";
import { DatabaseError, type StreamSession } from "../../core/reach/session.ts";
import { countStatement, type Part, type RowTable, readStatement } from "./tables.ts";

/** What must be the same in whoever writes values as text and whoever reads them. */
const AS_TEXT = `SET datestyle = 'ISO, YMD'; SET intervalstyle = postgres; SET timezone = 'UTC'; SET extra_float_digits = 1;
SET bytea_output = hex; SET client_encoding = 'UTF8'; SET search_path = ''; SET transaction_timeout = 0`;

export const asText = (session: StreamSession) => session.query(AS_TEXT);

/** One connection a node, by its group. */
export type Nodes = ReadonlyMap<number, StreamSession>;

export function nodeOf(nodes: Nodes, { name, group }: Part): StreamSession {
    const session = nodes.get(group);
    if (!session) throw new Error(`${name} is on group ${group}, and no node of this stack has that group.`);
    return session;
}

export interface Counted {
    /** Rows that were written. */
    readonly rows: number;
    readonly bytes: number;
}

/**
 * Reads one table's rows in COPY's text format, and counts them a second time by SQL on the same sessions.
 * @param write takes a piece; the next one comes when it has ended
 * @throws DatabaseError; Error when both counts differ, which they can only when rows are lost or the sessions have no snapshot
 */
export async function readRows(
    nodes: Nodes,
    table: RowTable,
    write: (chunk: Buffer) => Promise<void>,
    { where }: { where?: string } = {},
): Promise<Counted> {
    let [rows, bytes] = [0, 0];
    for (const part of table.parts) {
        const session = nodeOf(nodes, part);
        const source = session.submit(to(readStatement(table, part, where)));
        let failed: Error | undefined;
        source.on("error", (error) => {
            failed = error;
        });
        try {
            for await (const chunk of source) {
                bytes += (chunk as Buffer).length;
                await write(chunk as Buffer);
            }
        } catch (error) {
            throw failed ? new DatabaseError(session.node, `reading ${part.name}`, failed) : error;
        }
        const [own] = await session.query<{ n: string }>(countStatement(table, part, where));
        if (own?.n !== String(source.rowCount))
            throw new Error(
                `${session.node}: ${part.name} has ${own?.n ?? "?"} rows, and ${source.rowCount} were read from it in the same moment. What was read is not whole.`,
            );
        rows += source.rowCount;
    }
    return { rows, bytes };
}

/** Ends when a stream takes more, or takes nothing any more. */
export async function drained(stream: Writable): Promise<void> {
    await new Promise<void>((go) => {
        const done = () => {
            for (const event of ["drain", "close", "error"]) stream.off(event, done);
            go();
        };
        for (const event of ["drain", "close", "error"]) stream.on(event, done);
    });
}

/** A sink for rows in COPY's text format. */
export interface Sink {
    write(chunk: Buffer): Promise<void>;
    /** @returns how many rows were taken */
    end(): Promise<number>;
}

/** @param statement COPY … FROM stdin */
export function openSink(
    session: StreamSession,
    statement: string,
): { readonly stream: Writable; readonly sink: Sink } {
    const stream = session.submit(from(statement));
    const over = finished(stream);
    over.catch(() => undefined);
    const sink: Sink = {
        write: async (chunk) => {
            if (!stream.write(chunk)) await drained(stream);
            if (stream.errored) throw stream.errored;
        },
        end: async () => {
            stream.end();
            await over;
            return stream.rowCount;
        },
    };
    return { stream, sink };
}
