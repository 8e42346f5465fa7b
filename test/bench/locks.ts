/** How long tables are locked against others while something is done. */
import type { Session } from "../../core/reach/session.ts";
import { pause } from "../../core/util/pause.ts";

/** One lock that was held when it was looked. */
export interface Seen {
    readonly table: string;
    readonly mode: string;
    /** The same as long as its transaction lasts. */
    readonly transaction: string;
}

export interface Held extends Seen {
    readonly node: string;
    /** From the last look before it was there to the first look after: at most so long, in milliseconds. */
    readonly milliseconds: number;
}

/** Locks that keep writers, or everybody, out of a table; shards are tables too. */
const SAMPLE = `SELECT c.oid::regclass::text AS table, l.mode, l.virtualtransaction AS transaction
    FROM pg_locks l JOIN pg_class c ON c.oid = l.relation JOIN pg_namespace n ON n.oid = c.relnamespace
   WHERE l.locktype = 'relation' AND l.granted AND l.mode IN ('ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')
     AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
     AND c.relkind IN ('r', 'p') AND n.nspname NOT IN ('pg_catalog', 'pg_toast', 'information_schema')`;

/** What one node's looks say. @param node its name */
export function follow(node: string) {
    const open = new Map<string, { readonly seen: Seen; readonly before: number }>();
    const ended: Held[] = [];
    let last: number | undefined;
    let gap = 0;
    return {
        /** @param began when the look began. @param answered when it was answered, in milliseconds */
        look(began: number, answered: number, seen: readonly Seen[]): void {
            const keyOf = ({ table, mode, transaction }: Seen) => JSON.stringify([table, mode, transaction]);
            const now = new Set(seen.map(keyOf));
            for (const [key, { seen: lock, before }] of open) {
                if (now.has(key)) continue;
                ended.push({ ...lock, node, milliseconds: answered - before });
                open.delete(key);
            }
            for (const lock of seen)
                if (!open.has(keyOf(lock))) open.set(keyOf(lock), { seen: lock, before: last ?? began });
            if (last !== undefined) gap = Math.max(gap, answered - last);
            last = began;
        },
        /** Longest first. */
        held: (): readonly Held[] =>
            [
                ...ended,
                ...[...open.values()].map(({ seen, before }) => ({
                    ...seen,
                    node,
                    milliseconds: (last ?? before) - before,
                })),
            ].sort((a, b) => b.milliseconds - a.milliseconds),
        /** The longest time in which a lock may have come and gone unseen. */
        gap: () => gap,
    };
}

/**
 * Looks at all nodes' locks while something is done.
 * @param sessions of the superuser, one a node
 * @returns what was done, locks by how long they were held, and the longest time between two looks of a node
 */
export async function whileLocked<T>(
    sessions: readonly Session[],
    work: () => Promise<T>,
): Promise<{ readonly result: T; readonly held: readonly Held[]; readonly gap: number }> {
    let running = true;
    const nodes = sessions.map((session) => ({ session, at: follow(session.node) }));
    const looks = nodes.map(async ({ session, at }) => {
        // Citus hides shards from who looks for tables
        await session.query("SET citus.override_table_visibility = off");
        while (running) {
            const began = performance.now();
            const seen = await session.query<Seen & object>(SAMPLE);
            at.look(began, performance.now(), seen);
            await pause(2);
        }
    });
    try {
        const result = await work();
        running = false;
        await Promise.all(looks);
        const held = nodes.flatMap(({ at }) => at.held()).sort((a, b) => b.milliseconds - a.milliseconds);
        return { result, held, gap: Math.max(...nodes.map(({ at }) => at.gap())) };
    } finally {
        running = false;
        await Promise.allSettled(looks);
    }
}
