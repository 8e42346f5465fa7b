/** How fast things were on this cluster, for the next estimate. */

import type { Session } from "../../reach/session.ts";

/**
 * Writes down how fast something was, for the next estimate. Short runs say more about start-up than about copying.
 * @param least below which nothing is written down. @default 1,000,000
 */
export async function recordRate(
    session: Session,
    what: string,
    bytes: number,
    seconds: number,
    least = 1_000_000,
): Promise<void> {
    if (bytes < least || seconds <= 0) return;
    await session.query(
        `INSERT INTO citus_as_code.measured (what, bytes, seconds) VALUES ($1, $2, $3)
         ON CONFLICT (what) DO UPDATE SET bytes = excluded.bytes, seconds = excluded.seconds, at = now()`,
        [what, Math.round(bytes), seconds],
    );
}
