/** What the database said while a file was loaded, with the lines of that file. Pure. */

import { COORDINATOR } from "../../core/node/topology.ts";
import { DatabaseError } from "../../core/reach/session.ts";
import type { CopyPart } from "./file.ts";

/** What psql said, with the lines of the file instead of the script's. */
export const inFile = (said: string, file: string, line: number) =>
    said
        .replace(
            /psql:(?:before|after|last)\.sql:(\d+):/g,
            (_, at: string) => `${file}, line ${line - 1 + Number(at)}:`,
        )
        .trim()
        .split("\n")
        .slice(-12)
        .join("\n  ");

/** A row that the database did not take, with its line in the file. */
export function refusedRow(error: Error, copy: CopyPart, file: string): Error {
    const cause = error as { where?: string; detail?: string };
    const at = /^COPY [^\n]*?, line (\d+)/.exec(cause.where ?? "")?.[1];
    const place = at === undefined ? file : `${file}, line ${copy.line - 1 + Number(at)}`;
    return new DatabaseError(COORDINATOR, `${place}: ${copy.statement.slice(0, 120)}`, error);
}
