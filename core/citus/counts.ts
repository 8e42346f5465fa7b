/** Comparing a moved shard with its old copy before that is dropped. */

import type { Session } from "../reach/session.ts";
import { pause } from "../util/pause.ts";

/** Above this an exact count takes too long to be worth holding the rebalance up for. */
export const COUNT_LIMIT = 512 * 1024 * 1024;

/** PostgreSQL reports what a session deleted 10 s after that session went idle, in milliseconds and with some to spare. */
export const STATISTICS_ARRIVE = 12_000;

/** How long open transactions are waited for whose sessions may have deleted before, in milliseconds. */
export const TRANSACTIONS_END = 120_000;

export interface CopiedShard {
    readonly table: string;
    /** Quoted as Citus names the shard on its node, without schema when that is public. */
    readonly name: string;
    /** Whether it is a partitioned table: it has no rows of its own, and its partitions are shards themselves. */
    readonly partitioned: boolean;
}

/** The shards that move with a shard, itself among them. */
export async function readColocatedShards(coordinator: Session, shardId: string): Promise<CopiedShard[]> {
    return coordinator.query<CopiedShard>(
        `SELECT s2.logicalrelid::regclass::text AS table, shard_name(s2.logicalrelid, s2.shardid) AS name,
                c.relkind = 'p' AS partitioned
           FROM pg_dist_shard s1 JOIN pg_dist_partition t1 ON t1.logicalrelid = s1.logicalrelid
           JOIN pg_dist_partition t2 ON t2.colocationid = t1.colocationid
           JOIN pg_dist_shard s2 ON s2.logicalrelid = t2.logicalrelid
            AND s2.shardminvalue IS NOT DISTINCT FROM s1.shardminvalue
           JOIN pg_class c ON c.oid = s2.logicalrelid
          WHERE s1.shardid = $1 AND c.relkind <> 'f' AND (t1.colocationid <> 0 OR s1.shardid = s2.shardid)
          ORDER BY s2.shardid`,
        [shardId],
    );
}

export type Comparison = "same" | "not counted" | { readonly missing: string };

/** A transaction on the node that serves now, for messages. */
export interface OpenTransaction {
    readonly pid: number;
    readonly role: string;
    readonly application: string;
    readonly since: string;
}

/** What the node that serves now says about rows that are not there any more. */
export interface Told {
    /** Whether all its shards still exist: clients drop tables and partitions. */
    readonly there: boolean;
    /** Whether one got a new file, as by TRUNCATE. */
    readonly rewritten: boolean;
    /** Rows deleted since the copy was made, as far as statistics have arrived. */
    readonly deleted: number;
    /** Whether deletes are counted there, and the numbers were not reset since the copy began. */
    readonly reliable: boolean;
    /** Transactions whose sessions may have deleted before and report that when these end. */
    readonly open: readonly OpenTransaction[];
}

/**
 * Whether rows count as missing. Pure.
 * @param fewer how many rows fewer there are
 * @param waited milliseconds since they were counted
 */
export function judge(fewer: number, told: Told, waited: number): "same" | "not counted" | "wait" | "missing" {
    if (!told.there) return "not counted";
    if (fewer <= 0 || told.rewritten || told.deleted >= fewer) return "same";
    if (!told.reliable) return "not counted";
    if (waited < STATISTICS_ARRIVE || (told.open.length > 0 && waited < TRANSACTIONS_END)) return "wait";
    return "missing";
}

/** Rows of all of them, and when they were counted there; undefined when one is gone or too large. */
async function count(session: Session, names: readonly string[]): Promise<{ rows: number; at: string } | undefined> {
    let rows = 0;
    for (const name of names) {
        const [found] = await session.query<{ bytes: string | null }>(
            "SELECT pg_total_relation_size(to_regclass($1))::text AS bytes",
            [name],
        );
        if (found?.bytes == null || Number(found.bytes) > COUNT_LIMIT) return undefined;
        // the name comes quoted from the catalog
        const [row] = await session.query<{ n: string }>(`SELECT count(*)::text AS n FROM ${name}`);
        rows += Number(row?.n);
    }
    if (names.length === 0) return undefined;
    const [clock] = await session.query<{ at: string }>("SELECT clock_timestamp()::text AS at");
    return { rows, at: clock?.at ?? "" };
}

/**
 * @param at when the rows were counted, by that node's clock
 * @param seconds since the copy began
 */
async function readTold(target: Session, names: readonly string[], at: string, seconds: number): Promise<Told> {
    // within a transaction statistics stay as they were first read
    await target.query("SELECT pg_stat_clear_snapshot()");
    const [row] = await target.query<Omit<Told, "open">>(
        `SELECT bool_and(r.oid IS NOT NULL) AS there,
                coalesce(bool_or(pg_relation_filenode(r.oid) <> r.oid), false) AS rewritten,
                coalesce(sum(pg_stat_get_tuples_deleted(r.oid)), 0)::float8 AS deleted,
                current_setting('track_counts')::bool AND NOT coalesce(
                    greatest((SELECT stats_reset FROM pg_stat_database WHERE datname = current_database()),
                             (SELECT stats_reset FROM pg_stat_wal)) > clock_timestamp() - make_interval(secs => $2), false) AS reliable
           FROM unnest($1::text[]) n, LATERAL (SELECT to_regclass(n)::oid AS oid) r`,
        [names, seconds],
    );
    const open = await target.query<OpenTransaction>(
        `SELECT pid, usename AS role, application_name AS application, to_char(xact_start AT TIME ZONE 'UTC', 'HH24:MI:SS') AS since
           FROM pg_stat_activity
          WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'
            AND xact_start > clock_timestamp() - make_interval(secs => $2) AND xact_start < $1::timestamptz + interval '11 s'
          ORDER BY xact_start`,
        [at, seconds],
    );
    return { there: false, rewritten: false, deleted: 0, reliable: false, ...row, open };
}

const explainOpen = (open: readonly OpenTransaction[]) =>
    open.length === 0
        ? ""
        : `; ${open
              .map(
                  ({ pid, role, application, since }) =>
                      `pid ${pid} (role ${role}, application "${application}") has been in a transaction since ${since} UTC and may have deleted before that`,
              )
              .join(", ")}`;

/**
 * Compares the frozen old copy with what serves now. Rows that are missing must be explained by deletes or a TRUNCATE on
 * the new copy; those are waited for as long as they may be on their way. Rows that clients added meanwhile may hide as
 * many that are missing: this is a safety net, and running as the superuser is what keeps rows.
 * @param into names of the shards that have its rows now, all on one node
 * @param since when the copy was begun, as Date.now() has it
 */
export async function compareCopy(
    source: Session,
    target: Session,
    name: string,
    into: readonly string[] = [name],
    since: number = Date.now(),
): Promise<Comparison> {
    // the old copy is frozen, so both can be counted at once
    const [before, after] = await Promise.all([count(source, [name]), count(target, into)]);
    if (before === undefined || after === undefined) return "not counted";
    const fewer = before.rows - after.rows;
    if (fewer <= 0) return "same";
    const counted = Date.now();
    for (;;) {
        const told = await readTold(target, into, after.at, Math.ceil((Date.now() - since) / 1000));
        const verdict = judge(fewer, told, Date.now() - counted);
        if (verdict === "same" || verdict === "not counted") return verdict;
        if (verdict === "missing") {
            return {
                missing: `${name} had ${before.rows} rows on ${source.node} and has ${after.rows} on ${target.node}, where ${told.deleted} deletes are known${explainOpen(told.open)}`,
            };
        }
        await pause(1500);
    }
}
