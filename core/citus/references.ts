/** Reference tables that are too large, or written too often, for a copy on every node. */

import type { Session } from "../reach/session.ts";
import { describeBytes } from "../util/bytes.ts";

export interface ReferenceUse {
    /** With its schema where that is not public. */
    readonly table: string;
    /** Of one copy. */
    readonly bytes: number;
    /** How many nodes have one. */
    readonly copies: number;
    /** Rows changed a minute since the statistics were reset; rows that were loaded and are there still do not count. */
    readonly perMinute: number;
}

/** A copy above this makes each new node, each backup and each restore carry it. */
export const LARGE_REFERENCE = 1_000_000_000;

/** Each write waits for every node, in a transaction over all of them. */
export const BUSY_REFERENCE = 1;

/**
 * SQL expression: rows of a relation of this node that were changed a minute.
 * @param oid SQL expression
 */
export const changedPerMinute = (oid: string) => `(
    (pg_stat_get_tuples_updated(${oid}) + pg_stat_get_tuples_deleted(${oid}) + greatest(pg_stat_get_tuples_inserted(${oid}) - pg_stat_get_live_tuples(${oid}), 0))
    / greatest(extract(epoch FROM now() - coalesce((SELECT s.stats_reset FROM pg_stat_database s WHERE s.datname = current_database()),
                                                   (SELECT f.modification FROM pg_stat_file('PG_VERSION') f))) / 60, 60))::float8`;

/** Those that are: one question to the coordinator, which has a copy of each. */
export async function readReferences(coordinator: Session): Promise<ReferenceUse[]> {
    return coordinator.query<ReferenceUse>(
        `SELECT * FROM (
            SELECT CASE WHEN n.nspname = 'public' THEN c.relname ELSE n.nspname || '.' || c.relname END AS table,
                   pg_total_relation_size(o.oid)::float8 AS bytes, ${changedPerMinute("o.oid")} AS "perMinute",
                   (SELECT count(*)::int FROM pg_dist_placement p WHERE p.shardid = s.shardid) AS copies
              FROM pg_dist_partition t JOIN pg_dist_shard s USING (logicalrelid)
              JOIN pg_class c ON c.oid = t.logicalrelid JOIN pg_namespace n ON n.oid = c.relnamespace,
                   LATERAL (SELECT to_regclass(shard_name(s.logicalrelid, s.shardid))::oid AS oid) o
             WHERE t.partmethod = 'n' AND t.repmodel = 't' AND o.oid IS NOT NULL) r
          WHERE r.bytes > $1 OR r."perMinute" > $2 ORDER BY 1`,
        [LARGE_REFERENCE, BUSY_REFERENCE],
    );
}

/** What it means, for a person. Pure. */
export function explainReference({ table, bytes, copies, perMinute }: ReferenceUse): string[] {
    const on = copies > 0 ? ` × ${copies} nodes` : " on every node";
    return [
        ...(bytes > LARGE_REFERENCE
            ? [
                  `reference table ${table} has ${describeBytes(bytes)}${on}: above ${describeBytes(LARGE_REFERENCE)} each new node and each backup carries it. Distribute it, where it has the tenant's column`,
              ]
            : []),
        ...(perMinute > BUSY_REFERENCE
            ? [
                  `${perMinute < 10 ? perMinute.toFixed(1) : Math.round(perMinute)} rows a minute of reference table ${table} are changed: each change waits for every node. Keep in it what changes rarely, and distribute the rest`,
              ]
            : []),
    ];
}
