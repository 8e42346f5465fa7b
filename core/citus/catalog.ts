/** What the coordinator's catalogs say: nodes, shard groups, tables that can't be moved. */

import type { Session } from "../reach/session.ts";
import { literal } from "../sql/quote.ts";
import { describeBytes } from "../util/bytes.ts";

export interface NodeRow {
    readonly nodeId: number;
    readonly groupId: number;
    readonly host: string;
    readonly port: number;
    readonly active: boolean;
    readonly synced: boolean;
    readonly holdsShards: boolean;
}

/** The primaries in pg_dist_node. Secondaries and clones are somebody else's business. */
export async function readNodes(session: Session): Promise<NodeRow[]> {
    return session.query<NodeRow>(
        `SELECT nodeid AS "nodeId", groupid AS "groupId", nodename AS host, nodeport AS port, isactive AS active,
                hasmetadata AND metadatasynced AS synced, shouldhaveshards AS "holdsShards"
           FROM pg_dist_node WHERE noderole = 'primary' ORDER BY groupid`,
    );
}

/**
 * A FROM item `r` (node_name, node_port, success, result): a command on the nodes for which a condition holds, all at once.
 * @param command an SQL expression of type text
 */
export const onNodes = (condition: string, command: string): string =>
    `(SELECT array_agg(nodename::text) AS hosts, array_agg(nodeport) AS ports, array_agg(${command}::text) AS commands
        FROM pg_dist_node WHERE noderole = 'primary' AND isactive AND ${condition}) asked,
     LATERAL master_run_on_worker(asked.hosts, asked.ports, asked.commands, true) r`;

/**
 * Whether a rebalance may move shards of a table: distributed ones, single-shard ones too. Reference tables are everywhere,
 * and a local table that Citus manages stays on the coordinator.
 * @param t alias of pg_dist_partition
 */
export const movable = (t: string): string =>
    `(${t}.partmethod <> 'n' OR (${t}.repmodel <> 't' AND ${t}.colocationid <> 0))`;

/** One colocated set of shards: what a rebalance moves as a whole. */
export interface ShardGroup {
    /** The tables in it, the first one first; a group's name is its first shard id. */
    readonly shardId: string;
    readonly tables: readonly string[];
    readonly colocationId: number;
    readonly groupId: number;
    readonly bytes: number;
}

/**
 * Every shard group that a rebalance may move, with where it is. Sizes are asked of the nodes only when wanted:
 * that reads every shard's size on disk.
 */
export async function readShardGroups(session: Session, sizes: boolean): Promise<ShardGroup[]> {
    return session.query<ShardGroup>(
        `WITH shards AS (
           SELECT s.shardid, s.logicalrelid, t.colocationid, p.groupid, s.shardminvalue,
                  ${sizes ? "coalesce(z.size, 0)" : "0"} AS bytes
             FROM pg_dist_shard s
             JOIN pg_dist_partition t USING (logicalrelid)
             JOIN pg_dist_placement p USING (shardid)
             ${sizes ? "LEFT JOIN (SELECT shard_id, max(size) AS size FROM citus_shard_sizes() GROUP BY 1) z ON z.shard_id = s.shardid" : ""}
            WHERE ${movable("t")})
         SELECT min(shardid)::text AS "shardId", array_agg(logicalrelid::regclass::text ORDER BY shardid) AS tables,
                colocationid AS "colocationId", groupid AS "groupId", sum(bytes)::float8 AS bytes
           FROM shards
          GROUP BY colocationid, groupid, shardminvalue
          ORDER BY 3, min(shardid)`,
    );
}

/** How many shard placements that a rebalance may move a node group has. */
export async function countPlacements(session: Session, groupId: number): Promise<number> {
    const rows = await session.query<{ n: number }>(
        `SELECT count(*)::int AS n
           FROM pg_dist_placement p JOIN pg_dist_shard s USING (shardid) JOIN pg_dist_partition t USING (logicalrelid)
          WHERE p.groupid = $1 AND ${movable("t")}`,
        [groupId],
    );
    return rows[0]?.n ?? 0;
}

/** A table that stands in the way of moving shards. */
export interface Blocker {
    readonly table: string;
    readonly reason: string;
    /** What to run so that it no longer does. */
    readonly fix: string;
    readonly shards: number;
    /** Whether `force_logical` moves it all the same, as it does tables without a key. */
    readonly forcible: boolean;
    /** Reference tables are copied to each node that joins; the others move only when shards do. */
    readonly reference: boolean;
}

/** A row of {@link BLOCKERS}. */
export interface BlockerRow {
    readonly table: string;
    readonly schema: string;
    readonly colocationId: number;
    readonly unlogged: boolean;
    /** Name of an access method other than heap; null for heap. */
    readonly accessMethod: string | null;
    /** Size on all nodes, of those with another access method; null when a node does not answer. */
    readonly bytes: number | null;
    readonly column: string | null;
    readonly candidates: readonly string[];
    /** Constraint and columns, quoted, of a primary key that is checked at the end of a transaction only. */
    readonly deferrable: { readonly name: string; readonly columns: string } | null;
    readonly reference: boolean;
    readonly shards: number;
}

/**
 * Tables that logical replication can't move: no primary key or replica identity, UNLOGGED, or an access method whose
 * changes are not decoded, such as columnar. Partitions are tables of their own here.
 */
export const BLOCKERS = `SELECT c.oid::regclass::text AS table, (SELECT n.nspname FROM pg_namespace n WHERE n.oid = c.relnamespace) AS schema, t.colocationid AS "colocationId",
                c.relpersistence = 'u' AS unlogged, nullif(m.amname, 'heap') AS "accessMethod",
                CASE WHEN m.amname <> 'heap' THEN citus_total_relation_size(c.oid, fail_on_error := false)::float8 END AS bytes,
                CASE WHEN t.partmethod <> 'n' THEN column_to_column_name(t.logicalrelid, t.partkey) END AS column,
                t.partmethod = 'n' AND t.repmodel = 't' AS reference,
                (SELECT count(*)::int FROM pg_dist_shard s WHERE s.logicalrelid = t.logicalrelid) AS shards,
                ARRAY(SELECT quote_ident(a.attname) FROM pg_attribute a
                       WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attname IN ('id', 'uuid')) AS candidates,
                 (SELECT json_build_object('name', quote_ident(k.conname), 'columns', (
                             SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY u.n) FROM unnest(k.conkey) WITH ORDINALITY u (attnum, n)
                               JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = u.attnum))
                    FROM pg_constraint k WHERE k.conrelid = c.oid AND k.contype = 'p' AND k.condeferrable) AS deferrable
           FROM pg_dist_partition t JOIN pg_class c ON c.oid = t.logicalrelid LEFT JOIN pg_am m ON m.oid = c.relam
          WHERE c.relkind = 'r'
            AND (c.relpersistence = 'u'
                 OR m.amname <> 'heap'
                 OR c.relreplident = 'n'
                 OR (c.relreplident = 'd' AND NOT EXISTS (
                       SELECT 1 FROM pg_index i WHERE i.indrelid = c.oid AND i.indisprimary AND i.indisvalid AND i.indimmediate))
                 OR (c.relreplident = 'i' AND NOT EXISTS (
                       SELECT 1 FROM pg_index i WHERE i.indrelid = c.oid AND i.indisreplident AND i.indisvalid)))
          ORDER BY 1`;

export async function readBlockers(session: Session): Promise<Blocker[]> {
    return (await session.query<BlockerRow>(BLOCKERS)).map(blockerOf);
}

/** Why the table can't be moved and what to run; the fix names the distribution column, which a primary key must contain. */
export function blockerOf(row: BlockerRow): Blocker {
    const { table, shards, reference } = row;
    if (row.accessMethod !== null) {
        const size = row.bytes === null ? "" : `, ${describeBytes(row.bytes)}`;
        return {
            table,
            shards,
            reference,
            forcible: false,
            reason: `access method ${row.accessMethod}${size}: INSERTs would fail for as long as a shard of it moves`,
            fix: `SELECT alter_table_set_access_method(${literal(table)}, 'heap');`,
        };
    }
    if (row.unlogged) {
        return {
            table,
            shards,
            reference,
            forcible: false,
            reason: "UNLOGGED tables can't be moved",
            fix: `ALTER TABLE ${table} SET LOGGED;`,
        };
    }
    if (row.deferrable) {
        const { name, columns } = row.deferrable;
        return {
            table,
            shards,
            reference,
            forcible: true,
            reason: "a DEFERRABLE primary key is no replica identity",
            fix: `ALTER TABLE ${table} DROP CONSTRAINT ${name}; ALTER TABLE ${table} ADD CONSTRAINT ${name} PRIMARY KEY (${columns});`,
        };
    }
    const key = [
        ...new Set([
            ...(row.column ? [`"${row.column}"`.replace(/^"([a-z_][a-z0-9_]*)"$/, "$1")] : []),
            ...row.candidates,
        ]),
    ];
    const fix =
        row.candidates.length > 0
            ? `ALTER TABLE ${table} ADD PRIMARY KEY (${key.join(", ")});`
            : `ALTER TABLE ${table} REPLICA IDENTITY FULL;   -- or better, add a primary key that contains ${row.column ?? "its key"}`;
    return { table, shards, reference, forcible: true, reason: "no primary key or replica identity", fix };
}

/** Those that keep shards from moving in a transfer mode. Pure. */
export function blocking(blockers: readonly Blocker[], transferMode: string): readonly Blocker[] {
    if (transferMode === "block_writes") return [];
    return transferMode === "force_logical" ? blockers.filter(({ forcible }) => !forcible) : blockers;
}

/** The error that a user sees, with everything that has to be done. */
export function explainBlockers(blockers: readonly Blocker[]): string {
    const head =
        blockers.length === 1
            ? "1 table stands in the way of moving shards:"
            : `${blockers.length} tables stand in the way of moving shards:`;
    const rows = blockers.flatMap((b) => [
        `  ${b.table}  ${b.reason} (${b.shards === 1 ? "1 shard" : `${b.shards} shards`})`,
        `      ${b.fix}`,
    ]);
    return [
        head,
        ...rows,
        "No shard was moved. Run the statements above (npm run psql), then pulumi up again.",
        "To move these tables anyway, letting writes to them and to tables colocated with them wait meanwhile:",
        "  pulumi config set --path citus:rebalance.transferMode block_writes",
    ].join("\n");
}
