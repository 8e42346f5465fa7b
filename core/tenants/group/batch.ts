/** Many tenants in few round trips, and still one name in the error. */

import { DatabaseError, type Session } from "../../reach/session.ts";
import { literal } from "../../sql/quote.ts";

/** Whatever a file of SQL did to its session. */
export const RESET_SESSION_SQL = "RESET SESSION AUTHORIZATION; RESET ALL;";

/** Statements as texts of their own, in one that can be sent with others: Citus hands on the whole text that some came in. */
export const asDoBlock = (statements: readonly string[]) =>
    statements.length === 0
        ? ""
        : `DO ${literal(`BEGIN ${statements.map((statement) => `EXECUTE ${literal(statement)};`).join("\n")} END`)};`;

/** Runs statements in one transaction and one round trip; nothing of them stays when one fails. */
export async function transaction(session: Session, sql: string): Promise<void> {
    try {
        await session.query(`BEGIN;\n${sql}\n;COMMIT`);
    } catch (error) {
        await session.query("ROLLBACK").catch(() => undefined);
        throw error;
    }
}

/** The database's words of an error. */
export function databaseMessage(error: unknown): string {
    const message = error instanceof Error ? error.message : String(error);
    const lines = message.split("\n");
    return error instanceof DatabaseError && lines.length > 1 ? lines.slice(1).join("\n") : `  ${message}`;
}

/**
 * Runs items in batches, and those of a batch that failed one by one.
 * @param together a batch, which is done as a whole or not at all
 * @param alone one item, when its batch failed; its error is the one that is thrown
 */
export async function inBatches<T>(
    items: readonly T[],
    size: number,
    together: (batch: readonly T[]) => Promise<void>,
    alone: (item: T, done: number) => Promise<void>,
    before: (done: number) => void = () => undefined,
): Promise<void> {
    for (let done = 0; done < items.length; done += size) {
        before(done);
        const batch = items.slice(done, done + size);
        try {
            await together(batch);
        } catch (error) {
            if (!(error instanceof DatabaseError) || error.connecting) throw error;
            for (const [i, item] of batch.entries()) await alone(item, done + i);
        }
    }
}
