/** Files of a template that `up` or the database refuses as they stand, whatever the tables hold. */
import { parse } from "libpg-query";
import { saysNoTransaction } from "../../../sql/sqlFile.ts";
import { statements } from "../../../sql/statements.ts";
import { type Finding, finding } from "./finding.ts";
import { Source, type SqlFile } from "./source.ts";
import { templateMistakes } from "./templateFile.ts";

/** The PostgreSQL whose grammar the parser has. A newer server may read what it does not. */
export const PARSER = 17;

/** Statements that a template can't hold. @param sql the file as it is, with psql's own commands */
export function refusedStatements(path: string, sql: string): Finding[] {
    const split = statements(sql);
    return templateMistakes(path, split, saysNoTransaction(sql, split)).map((mistake) => {
        const [, line = "1", says = mistake] = /^.*?:(\d+) (has .*)$/s.exec(mistake) ?? [];
        return finding(
            "L21",
            "error",
            { where: path, line: Number(line) },
            { says, later: "the file is refused before anything is run", fix: "-- as it says" },
        );
    });
}

/** @returns the finding that a text is no SQL; the error itself where it is another */
export function syntaxError(source: Source, error: unknown): Finding {
    const { sqlDetails, message } = error as { message: string; sqlDetails?: { cursorPosition: number } };
    if (!sqlDetails) throw error;
    // the parser counts characters here, and bytes elsewhere
    const before = Buffer.byteLength([...source.sql].slice(0, sqlDetails.cursorPosition).join(""));
    return finding("SQL", "error", source.place(before), {
        says: `is not SQL that PostgreSQL ${PARSER} reads, so nothing of this file was checked`,
        later: message,
        fix: "-- correct the statement, then check again",
    });
}

/** @param server major version of the server that will run them; undefined: not known */
export async function readUnrunnable(files: readonly SqlFile[], server: number | undefined): Promise<Finding[]> {
    const found = await Promise.all(
        files.map(async ({ path, sql }) => {
            const refused = refusedStatements(path, sql);
            const source = new Source(path, sql);
            if (source.sql.trim() === "" || server === undefined || server > PARSER) return refused;
            try {
                await parse(source.sql);
                return refused;
            } catch (error) {
                return [...refused, syntaxError(source, error)];
            }
        }),
    );
    return found.flat();
}
