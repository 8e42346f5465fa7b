/** Work at a node while writes to its shards wait, in place of failing. */
import type { Session } from "../reach/session.ts";

/** A transaction that still runs on the node's shards after this is ended: the node would end it, in milliseconds. */
const ENDED_AFTER = 10_000;

export interface Paused {
    /** Writes go on. Safe to call again. */
    readonly release: () => Promise<void>;
    /** How long it took until no write ran, in milliseconds. */
    readonly took: number;
}

/**
 * Has writes to a node's shards wait, until {@link Paused.release} or until the session ends in any way.
 * Citus takes the lock on the node that is asked: what enters the cluster through another node does not wait, and reads
 * don't. A transaction that holds a shard of the node for longer than ten seconds is ended.
 * @param session of the coordinator, used for nothing else meanwhile
 * @param host as in pg_dist_node
 * @returns undefined when no node of that name is registered
 * @see citus_pause_node_within_txn of Citus 12.1 and newer
 */
export async function pauseWrites(session: Session, host: string): Promise<Paused | undefined> {
    const [node] = await session.query<{ nodeid: number }>(
        "SELECT nodeid FROM pg_dist_node WHERE nodename = $1 AND groupid <> 0",
        [host],
    );
    if (node === undefined) return undefined;
    const began = Date.now();
    await session.query("BEGIN");
    let held = true;
    const release = async () => {
        if (!held) return;
        held = false;
        await session.query("ROLLBACK");
    };
    try {
        await session.query(`SELECT citus_pause_node_within_txn($1, true, ${ENDED_AFTER})`, [node.nodeid]);
    } catch (error) {
        await release().catch(() => undefined);
        throw error;
    }
    return { release, took: Date.now() - began };
}
