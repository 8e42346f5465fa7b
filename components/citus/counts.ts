/** Comparing a moved shard with its old copy before that is dropped. */
import type { Session } from "./session.ts";

/** Above this an exact count takes too long to be worth holding the rebalance up for. */
export const COUNT_LIMIT = 512 * 1024 * 1024;

const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

export interface ShardCopy {
    /** Table name and shard id as they are on the nodes, quoted and with schema. */
    readonly name: string;
    readonly recordId: string;
}

/** Old copies of the shards that move with `shardId`, still waiting to be dropped on the group they left. */
export async function readOldCopies(coordinator: Session, shardId: string, sourceNodeId: number): Promise<ShardCopy[]> {
    return coordinator.query<ShardCopy>(
        `SELECT c.object_name AS name, c.record_id::text AS "recordId"
           FROM pg_dist_cleanup c
          WHERE c.object_type = 1 AND c.policy_type = 2
            AND c.node_group_id = (SELECT groupid FROM pg_dist_node WHERE nodeid = $2)
            AND substring(c.object_name FROM '_([0-9]+)"?$')::bigint = ANY (
                SELECT s2.shardid
                  FROM pg_dist_shard s1 JOIN pg_dist_partition t1 ON t1.logicalrelid = s1.logicalrelid
                  JOIN pg_dist_partition t2 ON t2.colocationid = t1.colocationid
                  JOIN pg_dist_shard s2 ON s2.logicalrelid = t2.logicalrelid
                   AND s2.shardminvalue IS NOT DISTINCT FROM s1.shardminvalue
                 WHERE s1.shardid = $1)`,
        [shardId, sourceNodeId],
    );
}

/**
 * Compares the frozen old copy with the one that serves now. Rows that are missing must be explained by deletes
 * on the new copy.
 * @returns what is wrong, or undefined
 */
export async function compareCopy(source: Session, target: Session, copy: ShardCopy): Promise<string | undefined> {
    const count = async (session: Session) => {
        const [found] = await session.query<{ bytes: string | null }>(
            "SELECT pg_total_relation_size(to_regclass($1))::text AS bytes",
            [copy.name],
        );
        if (found?.bytes == null || Number(found.bytes) > COUNT_LIMIT) return undefined;
        // the name comes quoted from Citus' own catalog
        const [row] = await session.query<{ n: string }>(`SELECT count(*)::text AS n FROM ${copy.name}`);
        return Number(row?.n);
    };
    const before = await count(source);
    if (before === undefined) return undefined;
    for (let attempt = 0; ; attempt++) {
        const after = await count(target);
        if (after === undefined || after >= before) return undefined;
        const [row] = await target.query<{ deleted: string | null }>(
            "SELECT pg_stat_get_tuples_deleted(to_regclass($1))::text AS deleted",
            [copy.name],
        );
        if (Number(row?.deleted ?? 0) >= before - after) return undefined;
        // statistics of other sessions arrive within a second
        if (attempt >= 3)
            return `${copy.name} had ${before} rows on ${source.node} and has ${after} on ${target.node}, which no DELETE explains`;
        await pause(1200);
    }
}
