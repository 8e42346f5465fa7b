/** Comparing a moved shard with its old copy before that is dropped. */
import { pause } from "../pause.ts";
import type { Session } from "./session.ts";

/** Above this an exact count takes too long to be worth holding the rebalance up for. */
export const COUNT_LIMIT = 512 * 1024 * 1024;

export interface CopiedShard {
    readonly table: string;
    /** Quoted and with schema, as the shard is named on its node. */
    readonly name: string;
}

/** The shards that move with a shard, itself among them. */
export async function readColocatedShards(coordinator: Session, shardId: string): Promise<CopiedShard[]> {
    return coordinator.query<CopiedShard>(
        `SELECT s2.logicalrelid::regclass::text AS table,
                format('%I.%I', n.nspname, trim(both '"' FROM substring(shard_name(s2.logicalrelid, s2.shardid) FROM '[^.]+$'))) AS name
           FROM pg_dist_shard s1 JOIN pg_dist_partition t1 ON t1.logicalrelid = s1.logicalrelid
           JOIN pg_dist_partition t2 ON t2.colocationid = t1.colocationid
           JOIN pg_dist_shard s2 ON s2.logicalrelid = t2.logicalrelid
            AND s2.shardminvalue IS NOT DISTINCT FROM s1.shardminvalue
           JOIN pg_class c ON c.oid = s2.logicalrelid JOIN pg_namespace n ON n.oid = c.relnamespace
          WHERE s1.shardid = $1 AND c.relkind <> 'f' AND (t1.colocationid <> 0 OR s1.shardid = s2.shardid)`,
        [shardId],
    );
}

export type Comparison = "same" | "not counted" | { readonly missing: string };

/**
 * Compares the frozen old copy with what serves now. Rows that are missing must be explained by deletes or a TRUNCATE on
 * the new copy. Rows that clients added meanwhile may hide as many that are missing: this is a safety net, and running as
 * the superuser is what keeps rows.
 * @param into names of the shards that have its rows now, all on one node
 */
export async function compareCopy(
    source: Session,
    target: Session,
    name: string,
    into: readonly string[] = [name],
): Promise<Comparison> {
    const count = async (session: Session, names: readonly string[]) => {
        let sum = 0;
        for (const one of names) {
            const [found] = await session.query<{ bytes: string | null }>(
                "SELECT pg_total_relation_size(to_regclass($1))::text AS bytes",
                [one],
            );
            if (found?.bytes == null || Number(found.bytes) > COUNT_LIMIT) return undefined;
            // the name comes quoted from the catalog
            const [row] = await session.query<{ n: string }>(`SELECT count(*)::text AS n FROM ${one}`);
            sum += Number(row?.n);
        }
        return names.length === 0 ? undefined : sum;
    };
    // the old copy is frozen, so both can be counted at once
    const [before, first] = await Promise.all([count(source, [name]), count(target, into)]);
    if (before === undefined) return "not counted";
    for (let attempt = 0; ; attempt++) {
        const after = attempt === 0 ? first : await count(target, into);
        if (after === undefined) return "not counted";
        if (after >= before) return "same";
        let deleted = 0;
        let rewritten = false;
        for (const one of into) {
            const [row] = await target.query<{ deleted: string | null; rewritten: boolean }>(
                `SELECT pg_stat_get_tuples_deleted(to_regclass($1))::text AS deleted,
                        pg_relation_filenode(to_regclass($1)) <> to_regclass($1)::oid AS rewritten`,
                [one],
            );
            deleted += Number(row?.deleted ?? 0);
            rewritten ||= row?.rewritten ?? false;
        }
        if (rewritten || deleted >= before - after) return "same";
        // statistics of other sessions arrive within a second
        if (attempt >= 3) {
            return {
                missing: `${name} had ${before} rows on ${source.node} and has ${after} on ${target.node}, and no DELETE explains the difference`,
            };
        }
        await pause(1200);
    }
}
