/** Connections to one node that are handed from one reader to the next: opening one costs more than most questions. */
import { isLost, type Session } from "./session.ts";

/** How long one that nobody uses is kept, in milliseconds. */
const KEPT = 15_000;

/** How many there are at most: each new one reads the catalogs anew and plans anew. */
const MOST = 3;

/**
 * @param open a new connection
 * @param most how many are in use at a time; who comes later waits. @default 3
 * @returns runs what only reads, and may be repeated: where a kept connection was lost meanwhile, it is run on a new one
 */
export function handedOn(open: () => Promise<Session>, most = MOST) {
    const free: { readonly session: Session; readonly end: NodeJS.Timeout }[] = [];
    const turn = places(most);
    const give = (session: Session) => {
        const end = setTimeout(() => {
            const i = free.findIndex((one) => one.session === session);
            if (i >= 0) free.splice(i, 1);
            session.close().catch(() => undefined);
        }, KEPT);
        end.unref();
        free.push({ session, end });
    };
    const on = async <T>(session: Session, read: (session: Session) => Promise<T>): Promise<T> => {
        try {
            const result = await read(session);
            give(session);
            return result;
        } catch (error) {
            await session.close().catch(() => undefined);
            throw error;
        }
    };
    return <T>(read: (session: Session) => Promise<T>): Promise<T> =>
        turn(async () => {
            const kept = free.pop();
            if (kept) {
                clearTimeout(kept.end);
                try {
                    return await on(kept.session, read);
                } catch (error) {
                    if (!isLost(error)) throw error;
                }
            }
            return on(await open(), read);
        });
}

/** Runs so many at a time, in the order in which they came. */
function places(most: number) {
    let taken = 0;
    const waiting: (() => void)[] = [];
    return async <T>(work: () => Promise<T>): Promise<T> => {
        if (taken < most) taken++;
        else await new Promise<void>((begin) => waiting.push(begin));
        try {
            return await work();
        } finally {
            const next = waiting.shift();
            if (next) next();
            else taken--;
        }
    };
}

/**
 * A session of which each query is run on whichever connection is free. For what only reads, and leaves no setting behind.
 * @param on what `handedOn` returned
 */
export const eachOn = (node: string, on: ReturnType<typeof handedOn>): Session => ({
    node,
    query: (sql, parameters, options) => on((session) => session.query(sql, parameters, options)),
    certificateEnds: () => on(async (session) => session.certificateEnds()),
    close: async () => undefined,
});
