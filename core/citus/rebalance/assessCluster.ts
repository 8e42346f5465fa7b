/** A cluster looked at and judged: what is read for that, and no more. */

import type { Session } from "../../reach/session.ts";
import { readLimits } from "../limits.ts";
import { type Assessment, assess, withLimits } from "./assess.ts";
import { readCluster } from "./view.ts";
import type { Wanted } from "./wanted.ts";

/** What differs between the cluster and what is wanted. Changes nothing. */
export async function assessCluster(session: Session, wanted: Wanted): Promise<Assessment> {
    const found = assess(await readCluster(session, wanted), wanted);
    // every node is asked for them, which only moves are worth
    return found.moves.length === 0 ? found : withLimits(found, await readLimits(session));
}
