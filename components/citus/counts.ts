/** Comparing a moved shard with its old copy before that is dropped. */
import { pause } from "../pause.ts";
import type { Session } from "./session.ts";

/** Above this an exact count takes too long to be worth holding the rebalance up for. */
export const COUNT_LIMIT = 512 * 1024 * 1024;

/** The tables that move with a shard, quoted and with schema, as they are named on the nodes. */
export async function readColocatedShards(coordinator: Session, shardId: string): Promise<string[]> {
    const rows = await coordinator.query<{ name: string }>(
        `SELECT format('%I.%I', n.nspname, trim(both '"' FROM substring(shard_name(s2.logicalrelid, s2.shardid) FROM '[^.]+$'))) AS name
           FROM pg_dist_shard s1 JOIN pg_dist_partition t1 ON t1.logicalrelid = s1.logicalrelid
           JOIN pg_dist_partition t2 ON t2.colocationid = t1.colocationid
           JOIN pg_dist_shard s2 ON s2.logicalrelid = t2.logicalrelid
            AND s2.shardminvalue IS NOT DISTINCT FROM s1.shardminvalue
           JOIN pg_class c ON c.oid = s2.logicalrelid JOIN pg_namespace n ON n.oid = c.relnamespace
          WHERE s1.shardid = $1 AND c.relkind <> 'f' AND (t1.colocationid <> 0 OR s1.shardid = s2.shardid)`,
        [shardId],
    );
    return rows.map((row) => row.name);
}

export type Comparison = "same" | "not counted" | { readonly missing: string };

/**
 * Compares the frozen old copy with the one that serves now. Rows that are missing must be explained by deletes or a
 * TRUNCATE on the new copy. Rows that clients added meanwhile may hide as many that are missing: this is a safety net, and
 * running as the superuser is what keeps rows.
 */
export async function compareCopy(source: Session, target: Session, name: string): Promise<Comparison> {
    const count = async (session: Session) => {
        const [found] = await session.query<{ bytes: string | null }>(
            "SELECT pg_total_relation_size(to_regclass($1))::text AS bytes",
            [name],
        );
        if (found?.bytes == null || Number(found.bytes) > COUNT_LIMIT) return undefined;
        // the name comes quoted from the catalog
        const [row] = await session.query<{ n: string }>(`SELECT count(*)::text AS n FROM ${name}`);
        return Number(row?.n);
    };
    // the old copy is frozen, so both can be counted at once
    const [before, first] = await Promise.all([count(source), count(target)]);
    if (before === undefined) return "not counted";
    for (let attempt = 0; ; attempt++) {
        const after = attempt === 0 ? first : await count(target);
        if (after === undefined) return "not counted";
        if (after >= before) return "same";
        const [row] = await target.query<{ deleted: string | null; rewritten: boolean }>(
            `SELECT pg_stat_get_tuples_deleted(to_regclass($1))::text AS deleted,
                    pg_relation_filenode(to_regclass($1)) <> to_regclass($1)::oid AS rewritten`,
            [name],
        );
        if (row?.rewritten || Number(row?.deleted ?? 0) >= before - after) return "same";
        // statistics of other sessions arrive within a second
        if (attempt >= 3) {
            return {
                missing: `${name} had ${before} rows on ${source.node} and has ${after} on ${target.node}, which no DELETE explains`,
            };
        }
        await pause(1200);
    }
}
