/** Shards that tenants left small, and what it costs to make a group anew with fewer. Pure but for its SQL. */
import { hashOf } from "../../../client/hash.ts";
import { describeBytes } from "../../util/bytes.ts";
import { describeDuration } from "../../util/describeDuration.ts";

/** Bytes below which a shard costs more than it holds. */
const SMALL = 1024 ** 2;

/** Shards of one group, as LIST asks for them. */
export interface FoundShards {
    readonly of: number;
    readonly small: number;
    readonly bytes: number;
    /** Small shards of one key each, by the key's hash. */
    readonly alone: Readonly<Record<string, number>>;
    /** Tenants that were deleted. */
    readonly buried: readonly string[];
}

/** SQL expression of type jsonb: by group of model row. @param weight name of a relation (colocationid, low, high, bytes) @param anchor SQL for the anchor of `g` */
export const shardsSql = (
    weight: string,
    anchor: string,
) => `(SELECT coalesce(jsonb_object_agg(x.grp, jsonb_build_object(
        'of', x.n, 'small', x.small, 'bytes', x.bytes, 'alone', x.alone,
        'buried', (SELECT coalesce(jsonb_agg(t.tenant), '[]') FROM citus_as_code.tenant_tombstone t WHERE t.grp = x.grp))), '{}')
   FROM (SELECT y.grp, sum(y.n) AS n, sum(y.small) AS small, sum(y.bytes) AS bytes,
                coalesce(jsonb_object_agg(y.low, y.small) FILTER (WHERE y.alone AND y.small > 0), '{}') AS alone
           FROM (SELECT g.grp, w.low, w.low = w.high AS alone, count(*) AS n, count(*) FILTER (WHERE w.bytes < ${SMALL}) AS small, sum(w.bytes) AS bytes
                   FROM citus_as_code.tenant_group g JOIN pg_dist_partition a ON a.partmethod = 'h' AND a.logicalrelid = ${anchor}
                   JOIN ${weight} w USING (colocationid) WHERE g.spec ->> 'model' = 'row' GROUP BY 1, 2, 3) y GROUP BY 1) x)`;

export interface SmallShards {
    readonly group: string;
    readonly of: number;
    readonly small: number;
    /** Those of them that were a deleted tenant's own. */
    readonly deleted: number;
    /** All of the group's, which are copied when it is made anew. */
    readonly bytes: number;
}

/** A group of fewer shards than this is as small as it was made. */
const FEW = 8;

/**
 * @returns undefined where there is nothing to say: no shard of a deleted tenant, and not half of all are small
 * @param hash how the group hashes its keys
 */
export function smallShards(
    group: string,
    { of, small, bytes, alone, buried }: FoundShards,
    hash: Parameters<typeof hashOf>[0] | undefined,
): SmallShards | undefined {
    const gone = new Set(hash === undefined ? [] : buried.map((tenant) => String(hashOf(hash, tenant))));
    const deleted = Object.entries(alone).reduce((sum, [low, n]) => sum + (gone.has(low) ? n : 0), 0);
    if (deleted === 0 && (small < FEW || small * 2 < of || bytes < SMALL * of)) return undefined;
    return { group, of, small, deleted, bytes };
}

/** For a person. @param rate bytes a second of the last copy */
export const describeSmall = ({ group, of, small, deleted, bytes }: SmallShards, rate?: number): string =>
    `${group}: ${small} of ${of} shards are below 1 MB${deleted > 0 ? ` (${deleted} of deleted tenants)` : ""}. Citus merges no shards. Another shardCount on the anchor makes the group's tables anew: ${describeBytes(bytes)} are copied, ${describeDuration(bytes, rate)}.`;
