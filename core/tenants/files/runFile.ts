/** How one file of a template is run in one place, and noted there: in a transaction, or without one when it says so. */

import { DatabaseError, type Session } from "../../reach/session.ts";
import type { Statement } from "../../sql/statements.ts";
import { nextWay, type Way } from "../../sql/way.ts";
import { createdIndex, needsNoTransaction } from "../check/read/templateFile.ts";
import { RESET_SESSION_SQL } from "../group/batch.ts";
import { bounded, type Guard } from "../ledger/bounds.ts";
import type { TemplateFile } from "./template.ts";

/** Where a file runs. */
export interface FilePlace {
    readonly session: Session;
    /** SQL that begins each of its transactions: where names without a schema are, and how long a lock is waited for. */
    readonly settings: string;
    /** Schemas where names are looked for, as SET search_path takes them. */
    readonly searchPath: string;
    /** What keeps its statements in bounds. */
    readonly guard: Guard;
    /** SQL that writes down that it was run; fails when that is written down already. */
    readonly note: string;
    /** SQL at the end of its transaction. */
    readonly after?: string | (() => Promise<string>);
}

/** What citus says once more is tried with. */
const SEQUENTIAL = "SET LOCAL citus.multi_shard_modify_mode = 'sequential';";

/** What the server refused to do in one transaction with the rest of a file. */
const needsCommit = (error: unknown) =>
    error instanceof DatabaseError && nextWay("sequential", error.server) === "alone";

/** What a person does about a file that can't be run in one transaction; empty for other errors. */
export const commitWords = (error: unknown) =>
    needsCommit(error)
        ? 'It needs what the statements before it did to be committed. Put it into a file of its own, which is a transaction of its own; or write "-- no transaction" above the first statement, when every statement of the file can be run twice.\n'
        : "";

async function inTransaction({ session, settings, guard, note, after }: FilePlace, file: TemplateFile, way: Way) {
    try {
        await session.query(
            ["BEGIN;", settings, way === "sequential" ? SEQUENTIAL : "", note, bounded(guard, file.packed)].join("\n"),
        );
        const last = typeof after === "function" ? await after() : (after ?? "");
        await session.query(`${last}\n;${RESET_SESSION_SQL}\nCOMMIT`);
    } catch (error) {
        await session.query("ROLLBACK").catch(() => undefined);
        await session.query(RESET_SESSION_SQL).catch(() => undefined);
        throw error;
    }
}

/** Index of this name on this table, when it is not valid: what a killed or failed CREATE INDEX CONCURRENTLY leaves. */
async function invalidIndex(session: Session, { name, table }: { name: string; table: string }) {
    const [row] = await session.query<{ name: string }>(
        `SELECT format('%I.%I', n.nspname, i.relname) AS name
           FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid JOIN pg_namespace n ON n.oid = i.relnamespace
          WHERE x.indrelid = to_regclass($1) AND i.relname = (parse_ident($2))[1] AND NOT x.indisvalid`,
        [table, name],
    );
    return row?.name;
}

/** A statement that PostgreSQL runs outside of transactions only. An index that an earlier run left half made is made anew. */
async function outside(session: Session, { text }: Statement) {
    const index = createdIndex(text);
    const half = index && (await invalidIndex(session, index));
    if (half !== undefined) await session.query(`DROP INDEX CONCURRENTLY IF EXISTS ${half}`);
    await session.query(text);
    const left = index && (await invalidIndex(session, index));
    if (left !== undefined) throw new Error(`the index ${left} was made and is not valid, so no query uses it`);
}

/** Each statement by itself, and the note at the end. One that waits for old transactions may wait for as long as they last. */
async function withoutTransaction(place: FilePlace, file: TemplateFile) {
    const { session, settings, guard, searchPath, note, after } = place;
    try {
        for (const statement of file.statements) {
            if (needsNoTransaction(statement.text)) {
                await session.query(RESET_SESSION_SQL);
                await session.query(`SET search_path = ${searchPath}`);
                await outside(session, statement);
            } else {
                await session.query(`BEGIN;\n${settings}\n${guard.on}`);
                await session.query(statement.text);
                await session.query(`${guard.off}\nCOMMIT`);
            }
        }
        await session.query(`BEGIN;\n${settings}\n${note}`);
        const last = typeof after === "function" ? await after() : (after ?? "");
        await session.query(`${last}\n;${RESET_SESSION_SQL}\nCOMMIT`);
    } catch (error) {
        await session.query("ROLLBACK").catch(() => undefined);
        throw error;
    } finally {
        await session.query(RESET_SESSION_SQL).catch(() => undefined);
    }
}

/**
 * Runs a file and notes it, both or neither; of a file without a transaction the note comes last. What Citus refuses because
 * of operations beside each other is run once more, one after the other.
 * @returns how it was run
 */
export async function runFile(place: FilePlace, file: TemplateFile): Promise<Way> {
    if (file.alone) {
        await withoutTransaction(place, file);
        return "alone";
    }
    try {
        await inTransaction(place, file, "transaction");
        return "transaction";
    } catch (error) {
        if (!(error instanceof DatabaseError) || nextWay("transaction", error.server) !== "sequential") throw error;
        await inTransaction(place, file, "sequential");
        return "sequential";
    }
}
