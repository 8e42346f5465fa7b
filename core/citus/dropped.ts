/** Citus' own functions fail when a client drops a table while they read the catalogs. */

import { DatabaseError } from "../reach/session.ts";
import { pause } from "../util/pause.ts";

const TRIES = 5;

/** Asks again when a table was dropped meanwhile: a moment later Citus does not know it any more. */
export async function whileTablesAreDropped<T>(ask: () => Promise<T>): Promise<T> {
    for (let tries = 1; ; tries++) {
        try {
            return await ask();
        } catch (error) {
            const dropped =
                error instanceof DatabaseError && /relation with OID \d+ does not exist/.test(error.message);
            if (!dropped || tries === TRIES) throw error;
            await pause(100 * tries);
        }
    }
}
