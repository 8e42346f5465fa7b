/** Locks that let one run of this project change something at a time. */

import type { Session } from "../reach/session.ts";
import { literal } from "../sql/quote.ts";
import { pause } from "../util/pause.ts";

/** Any numbers; advisory locks of the cluster's database, each for one thing that two runs would undo each other. */
export const RUN_LOCKS = { placing: 20_261_122, postDeploy: 20_261_123, tenants: 20_261_126 } as const;

/** Who holds a lock or waits for it, in this database. @param key SQL */
const askers = (key: string) => `
    FROM pg_catalog.pg_locks l JOIN pg_catalog.pg_stat_activity a USING (pid) JOIN pg_catalog.pg_roles r ON r.oid = a.usesysid
   WHERE l.locktype = 'advisory' AND (l.classid, l.objid, l.objsubid) = (0, ${key}, 1) AND a.datname = pg_catalog.current_database()
     AND a.pid <> pg_catalog.pg_backend_pid()`;

/**
 * SQL query that ends connections of roles that are no superusers on a lock: anyone who can log in can take any advisory
 * lock, and only superusers run this project.
 * @param key SQL
 * @returns SQL query (role), a row for each of them
 */
export const endStrangers = (key: string) =>
    `SELECT r.rolname AS role, pg_catalog.pg_terminate_backend(a.pid) AS ended ${askers(key)} AND NOT r.rolsuper`;

/** Prepared transactions that hold it: they have no connection, outlive a restart, and end by a command only. */
const PREPARED = `
    SELECT p.gid, p.owner::text AS owner FROM pg_prepared_xacts p
      JOIN pg_locks x ON x.locktype = 'transactionid' AND x.transactionid = p.transaction AND x.pid IS NULL
      JOIN pg_locks l ON l.virtualtransaction = x.virtualtransaction AND l.pid IS NULL
     WHERE l.locktype = 'advisory' AND (l.classid, l.objid, l.objsubid) = (0, $1, 1) AND p.database = current_database()`;

export interface Waiting {
    readonly progress: (text: string) => void;
    readonly alive: () => void;
    readonly note?: (text: string) => void;
}

/**
 * Takes a lock, which goes with the session, and waits while another has it: another run, or another group of this one.
 * @param doing what another run is doing, as in "is placing shards"
 * @param seconds after which it is given up
 * @throws Error naming the connection or the prepared transaction that holds it
 */
export async function takeRunLock(
    session: Session,
    lock: keyof typeof RUN_LOCKS,
    doing: string,
    seconds: number,
    { progress, alive, note }: Waiting,
): Promise<void> {
    const key = RUN_LOCKS[lock];
    const taken = async () => {
        const [row] = await session.query<{ ok: boolean }>("SELECT pg_try_advisory_lock($1) AS ok", [key]);
        return row?.ok === true;
    };
    const ended = new Set<string>();
    for (let waited = 0; !(await taken()); waited++) {
        const strangers = await session.query<{ role: string }>(endStrangers("$1"), [key]);
        for (const { role } of strangers) {
            if (!ended.has(role))
                note?.(
                    `role ${role} held advisory lock ${key}, which only this project's runs may hold; its connection was ended`,
                );
            ended.add(role);
        }
        const [prepared] = await session.query<{ gid: string; owner: string }>(PREPARED, [key]);
        if (prepared)
            throw new Error(
                `coordinator: a prepared transaction of role ${prepared.owner} holds advisory lock ${key}, which only this project's runs may hold. No run prepares a transaction.\n` +
                    `Nothing was changed. End it in this database: ROLLBACK PREPARED ${literal(prepared.gid)}; then repeat this.`,
            );
        const [holder] = await session.query<{ pid: number; since: string }>(
            `SELECT a.pid, to_char(a.backend_start, 'HH24:MI:SS') AS since ${askers("$1")} AND l.granted AND r.rolsuper`,
            [key],
        );
        if (waited > seconds)
            throw new Error(
                `coordinator: another run ${doing} (connection ${holder?.pid ?? "unknown"}, since ${holder?.since ?? "?"} UTC).\n` +
                    `Nothing was changed. Wait for it, or end it${holder ? ` (SELECT pg_terminate_backend(${holder.pid}))` : ""}, then repeat this.`,
            );
        progress(`waiting for another group or run that ${doing} (connection ${holder?.pid ?? "unknown"})`);
        alive();
        // a stranger's place is free at once
        await pause(strangers.length > 0 ? 50 : 1000);
    }
}

export const releaseRunLock = (session: Session, lock: keyof typeof RUN_LOCKS) =>
    session.query("SELECT pg_advisory_unlock($1)", [RUN_LOCKS[lock]]);
