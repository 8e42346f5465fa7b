/** Connections to one node that are handed from one reader to the next: opening one costs more than most questions. */
import { isLost, type Session } from "./session.ts";

/** How long one that nobody uses is kept, in milliseconds. */
const KEPT = 3000;

/**
 * @param open a new connection
 * @returns runs what only reads, and may be repeated: where a kept connection was lost meanwhile, it is run on a new one
 */
export function handedOn(open: () => Promise<Session>) {
    const free: { readonly session: Session; readonly end: NodeJS.Timeout }[] = [];
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
    return async <T>(read: (session: Session) => Promise<T>): Promise<T> => {
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
    };
}
