/** Saying who keeps a statement of ours waiting, while it waits. */
import type { Session, Wrap } from "../reach/session.ts";
import { describeHolders, findHolders, globalPidOf } from "./waits.ts";

/** How long a statement may run before it is asked who holds it up, and how often after that, in milliseconds. */
const EVERY = 4000;

/**
 * The same session; while one of its statements lasts, it is asked beside it who keeps it waiting. What can't be asked
 * says nothing, and never keeps the statement.
 * @param pid the session's process on its node
 * @param open a connection to the coordinator; opened when a statement lasts, and closed after it
 * @param report called with who it is, again and again
 * @param host of the session's node, as pg_dist_node has it. @default the coordinator
 */
export function watched<S extends Session>(
    session: S,
    pid: number,
    open: () => Promise<Session>,
    report: (text: string) => void,
    host?: string,
): S {
    return {
        ...session,
        query: async <T extends object>(sql: string, parameters?: readonly unknown[]) => {
            let over = false;
            let watcher: Session | undefined;
            let timer: NodeJS.Timeout | undefined;
            const end = () => {
                over = true;
                clearTimeout(timer);
                // it may itself be waiting, so nobody waits for it
                watcher?.close().catch(() => undefined);
                watcher = undefined;
            };
            const later = () => {
                timer = setTimeout(() => {
                    look().catch(() => undefined);
                }, EVERY);
                timer.unref();
            };
            const look = async () => {
                try {
                    if (watcher === undefined) {
                        const opened = await open();
                        if (over) return await opened.close();
                        watcher = opened;
                    }
                    const [own] = await watcher.query<{ nodeId: number }>(
                        `SELECT nodeid AS "nodeId" FROM pg_dist_node
                          WHERE noderole = 'primary' AND CASE WHEN $1::text IS NULL THEN groupid = 0 ELSE nodename = $1 END`,
                        [host ?? null],
                    );
                    if (over || !own) return;
                    const holders = await findHolders(watcher, new Set([globalPidOf(own.nodeId, pid)]), false);
                    if (!over && holders.length > 0) report(`waiting for ${describeHolders(holders)}`);
                } finally {
                    if (!over) later();
                }
            };
            later();
            try {
                return await session.query<T>(sql, parameters);
            } finally {
                end();
            }
        },
    };
}

/**
 * A session of a node that says who holds it up, with how to end that.
 * @param report called with it, again and again while a statement waits
 * @param watcher who is asked: the coordinator, about the node of this host in pg_dist_node. @default this very node, which is the coordinator
 * @example await connect(access, "coordinator", { wrap: tellHolders(report) })
 */
export const tellHolders =
    (
        report: (text: string) => void,
        watcher?: { readonly open: () => Promise<Session>; readonly host: string },
    ): Wrap =>
    (session, pid, another) =>
        watched(session, pid, watcher?.open ?? another, report, watcher?.host);
