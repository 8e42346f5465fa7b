/** Splitting shards while they are written to, and noticing when that can't end. */
import type { Session } from "../../reach/session.ts";

/** Whether a node can't apply what was changed during a split. */
async function isStuck(coordinator: Session): Promise<boolean> {
    const rows = await coordinator.query(
        `SELECT 1 FROM run_command_on_all_nodes($$
            SELECT count(*) FROM pg_stat_subscription_stats WHERE subname ~ '^citus_shard_split_' AND apply_error_count > 0$$)
          WHERE success AND result <> '0'`,
    );
    return rows.length > 0;
}

/**
 * Runs a split that lets writes go on (a tenant's isolation, `create_distributed_table_concurrently`). Citus copies what
 * there is and then applies what was changed meanwhile. An UPDATE or DELETE from before the new shards had their keys is
 * one that it can't apply, and it tries for ever (citusdata/citus#6790): then the split is cancelled, and Citus undoes it.
 * @param session runs the split and nothing else meanwhile
 * @param watcher another connection to the coordinator
 * @param every how often the nodes are asked, in milliseconds
 * @param within milliseconds after which it is cancelled although no node said why: Citus' own limit is two hours
 * @returns false when it was cancelled for that reason; it can be repeated, or done while writes wait
 */
export async function runSplit(
    session: Session,
    watcher: Session,
    split: () => Promise<unknown>,
    every = 1000,
    within = Number.POSITIVE_INFINITY,
): Promise<boolean> {
    const [backend] = await session.query<{ pid: number }>("SELECT pg_backend_pid() AS pid");
    const end = Date.now() + within;
    let over = false;
    let cancelled = false;
    let asking = Promise.resolve();
    const timer = setInterval(() => {
        asking = asking.then(async () => {
            if (over || !(cancelled || Date.now() > end || (await isStuck(watcher)))) return;
            cancelled = true;
            // again each time, should the split not notice once
            if (!over) await watcher.query("SELECT pg_cancel_backend($1::int)", [backend?.pid]);
        });
        // a question that fails is asked again
        asking = asking.catch(() => undefined);
    }, every);
    try {
        await split();
        return true;
    } catch (error) {
        if (cancelled) return false;
        throw error;
    } finally {
        over = true;
        clearInterval(timer);
        await asking;
    }
}
