/** Beginning one rebalance in Citus' background. */

import type { Session } from "../../reach/session.ts";
import { pause } from "../../util/pause.ts";
import { readBlockers } from "../catalog.ts";
import type { Wanted } from "./wanted.ts";

/**
 * Begins it, with what this Citus' function takes: parallel transfer came with 13.2.
 * @param draining whether nodes are emptied
 * @returns the job; undefined when there is nothing to move
 */
export async function startRebalance(
    session: Session,
    wanted: Wanted,
    strategy: string,
    draining: boolean,
): Promise<string | undefined> {
    if (!wanted.rebalance && !draining) return undefined;
    const [row] = await session.query<{ names: string[] }>(
        "SELECT proargnames AS names FROM pg_proc WHERE proname = 'citus_rebalance_start' AND pronamespace = 'pg_catalog'::regnamespace ORDER BY pronargs DESC LIMIT 1",
    );
    const parallel = ["parallel_transfer_reference_tables", "parallel_transfer_colocated_shards"]
        .filter((name) => row?.names?.includes(name))
        .map((name) => `, ${name} := true`)
        .join("");
    const start = async (mode: string) => {
        const [started] = await session.query<{ jobId: string | null }>(
            `SELECT citus_rebalance_start(rebalance_strategy := $1, drain_only := $2,
                    shard_transfer_mode := $3::citus.shard_transfer_mode${parallel})::text AS "jobId"`,
            [strategy, !wanted.rebalance, mode],
        );
        return started?.jobId ?? undefined;
    };
    const begin = () =>
        wanted.transferMode === "block_writes" ? startMixed(session, start) : start(wanted.transferMode);
    for (const end = Date.now() + LOCKS_GO; ; await pause(1000)) {
        try {
            return await begin();
        } catch (error) {
            // a client's DDL holds it for a moment, and Citus does not wait
            if (!/could not acquire the lock required to/.test((error as Error).message) || Date.now() > end)
                throw error;
        }
    }
}

/** How long locks are waited for that a rebalance needs to begin, in milliseconds. */
const LOCKS_GO = 60_000;

/**
 * One rebalance in which only those shard groups are copied while their writes wait that logical replication can't move.
 * Citus takes one mode for all, and `auto` refuses the whole: so all are begun in the mode that refuses none, and each
 * task is given its own before any runs.
 */
async function startMixed(
    session: Session,
    start: (mode: string) => Promise<string | undefined>,
): Promise<string | undefined> {
    const blockers = await readBlockers(session);
    await session.query("BEGIN");
    try {
        const jobId = await start("force_logical");
        await session.query(
            `UPDATE pg_dist_background_task t SET command = replace(command, quote_literal('force_logical'), quote_literal(
                    CASE WHEN EXISTS (
                           SELECT 1 FROM pg_dist_shard s JOIN pg_dist_partition m USING (logicalrelid)
                             JOIN pg_dist_partition b ON b.logicalrelid = m.logicalrelid OR (b.colocationid = m.colocationid AND b.colocationid <> 0)
                            WHERE b.logicalrelid = ANY ($2::text[]::regclass[])
                              AND s.shardid = substring(t.command FROM '\\(\\s*([0-9]+)')::bigint)
                           OR (t.command ~ 'replicate_reference_tables' AND $3)
                         THEN 'block_writes' ELSE 'auto' END))
              WHERE job_id = $1`,
            [jobId ?? null, blockers.map(({ table }) => table), blockers.some(({ reference }) => reference)],
        );
        await session.query("COMMIT");
        return jobId;
    } catch (error) {
        await session.query("ROLLBACK").catch(() => undefined);
        throw error;
    }
}
