/** Who keeps the moves of a job waiting. */

import type { Session } from "../../reach/session.ts";
import type { NodeRow } from "../catalog.ts";
import { findHolders, findUsers, globalPidOf, type Holder } from "../waits.ts";
import type { Task } from "./jobTasks.ts";

/** How often it is asked, in milliseconds. */
const HOLDERS_EVERY = 4000;

/** What of a job may wait. */
export interface Waiters {
    /** Global pids of what runs its tasks. */
    readonly globalPids: ReadonlySet<string>;
    /** Whether a move waits for an old copy to be dropped, which is tried again and again. */
    readonly leftovers: boolean;
}

export interface HolderOptions {
    readonly nodes: readonly NodeRow[];
    /** Who keeps the moves waiting; asked beside what the session is asked. */
    readonly holders?: (waiters: Waiters) => Promise<readonly Holder[]>;
}

/** Pure. */
export function waitersOf(tasks: readonly Task[], nodes: readonly NodeRow[]): Waiters {
    const coordinator = nodes.find((node) => node.groupId === 0);
    const pids = tasks.flatMap(({ pid, status }) => (pid !== null && status === "running" ? [pid] : []));
    return {
        globalPids: new Set(coordinator ? pids.map((pid) => globalPidOf(coordinator.nodeId, pid)) : []),
        leftovers: tasks.some(
            ({ status, message }) =>
                ["runnable", "running", "error"].includes(status) && /leftover from the previous move/.test(message),
        ),
    };
}

/** Who keeps a job waiting now. @param nodes that are registered */
export async function holdersOfJob(
    coordinator: Session,
    { globalPids, leftovers }: Waiters,
    nodes: readonly NodeRow[],
): Promise<Holder[]> {
    const holders = globalPids.size > 0 ? await findHolders(coordinator, globalPids, true) : [];
    const users = leftovers
        ? await findUsers(
              coordinator,
              nodes.map(({ groupId }) => groupId),
          )
        : [];
    return [...holders, ...users];
}

/** Asks beside the job who keeps it waiting, one question at a time. */
export function watchHolders(options: HolderOptions) {
    let found: readonly Holder[] = [];
    let asking = false;
    let asked = 0;
    let ever = false;
    return {
        get found() {
            return found;
        },
        get ever() {
            return ever;
        },
        look(tasks: readonly Task[]) {
            if (!options.holders || asking || Date.now() - asked < HOLDERS_EVERY) return;
            const waiters = waitersOf(tasks, options.nodes);
            if (waiters.globalPids.size === 0 && !waiters.leftovers) {
                found = [];
                return;
            }
            asking = true;
            asked = Date.now();
            options
                .holders(waiters)
                // a question without an answer says nothing about who holds
                .catch(() => found)
                .then((holders) => {
                    found = holders;
                    ever ||= holders.length > 0;
                    asking = false;
                });
        },
    };
}
