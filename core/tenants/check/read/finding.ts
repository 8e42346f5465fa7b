/** What a check of tables finds. */
import type { Schema, SourcePlace } from "./model.ts";

export interface Finding {
    /** `L1` to `L26`; `SQL` for a file that can't be read, `DATA` for rows that get lost between nodes, `MODEL` for files nobody knows. */
    readonly rule: string;
    readonly severity: "error" | "warning";
    /** The file, or the table in a living database. */
    readonly where: string;
    readonly line?: number;
    readonly says: string;
    /** What the database will say, word for word; `no error: ...` where it will say nothing. */
    readonly later: string;
    /** The SQL that mends it. */
    readonly fix: string;
}

/** One sort of mistake. Pure: what is wrong is in the schema. */
export type Rule = (schema: Schema) => Finding[];

export const finding = (
    rule: string,
    severity: Finding["severity"],
    place: SourcePlace,
    told: { readonly says: string; readonly later: string; readonly fix: string },
): Finding => ({ rule, severity, ...place, ...told });
