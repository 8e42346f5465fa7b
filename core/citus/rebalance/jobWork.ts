/** What the moves of a job have done so far, by what Citus and the nodes say. */

import type { Session } from "../../reach/session.ts";
import { literal } from "../../sql/quote.ts";

/**
 * How much of the moves under way has been copied; a mark that changes when bytes or states do. Positions in the WAL are
 * no part of it: the source's moves on with whatever anybody writes, also while the move waits.
 */
export async function readCopied(session: Session): Promise<{ bytes: number; mark: string }> {
    const [row] = await session.query<{ bytes: number; mark: string }>(
        `SELECT coalesce(sum(least(target_shard_size, source_shard_size)) FILTER (WHERE progress = 1), 0)::float8 AS bytes,
                coalesce(md5(string_agg(format('%s %s %s %s', shardid, progress, status, target_shard_size), ',' ORDER BY shardid)), '') AS mark
           FROM get_rebalance_progress()`,
    );
    return { bytes: row?.bytes ?? 0, mark: row?.mark ?? "" };
}

/** What is done to the shards with these ids on the node that runs it: index builds and rows that were applied. @param ids SQL */
const workOn = (ids: string) => `format($work$
    SELECT coalesce(json_object_agg(shard, done), '{}')::text FROM (
        SELECT substring(relname FROM '_([0-9]+)$') AS shard, n_tup_ins + n_tup_upd + n_tup_del AS done
          FROM pg_stat_user_tables WHERE relname ~ '_(%1$s)$'
        UNION ALL
        SELECT substring(c.relname FROM '_([0-9]+)$') || ' ' || p.phase, p.blocks_done + p.tuples_done
          FROM pg_stat_progress_create_index p JOIN pg_class c ON c.oid = p.relid WHERE c.relname ~ '_(%1$s)$') w
$work$, ${ids})`;

/** A mark of what is at work on the targets of the moves under way. */
export async function readWork(session: Session): Promise<string> {
    const moves = await session.query<{ shardId: string; target: string }>(
        `SELECT shardid::text AS "shardId", targetname AS target FROM get_rebalance_progress() WHERE progress = 1 ORDER BY 1`,
    );
    if (moves.length === 0) return "";
    const ids = literal(moves.map(({ shardId }) => shardId).join("|"));
    const rows = await session.query<{ host: string; result: string }>(
        `SELECT n.nodename AS host, r.result FROM run_command_on_all_nodes(${workOn(ids)}) r JOIN pg_dist_node n USING (nodeid)
          WHERE r.success AND n.nodename = ANY ($1) ORDER BY 1`,
        [moves.map(({ target }) => target)],
    );
    const targets = new Map(moves.map(({ shardId, target }) => [shardId, target]));
    // what clients write to a source is no progress
    return JSON.stringify(
        rows.map(({ host, result }) =>
            Object.entries(JSON.parse(result) as Record<string, number>).filter(
                ([what]) => targets.get(what.split(" ")[0] ?? "") === host,
            ),
        ),
    );
}
