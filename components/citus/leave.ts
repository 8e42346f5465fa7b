/** Removing a worker: only when it provably holds nothing that is not elsewhere. */
import { countPlacements, type NodeRow, readNodes } from "./catalog.ts";
import type { Session } from "./session.ts";

const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

/**
 * Data that only this worker has: tables that Citus does not know, and other databases.
 * `target` is a connection to the worker itself.
 */
export async function readOnlyCopies(target: Session): Promise<string[]> {
    const tables = await target.query<{ name: string }>(
        `SELECT format('%I.%I', n.nspname, c.relname) AS name
           FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
          WHERE c.relkind IN ('r', 'p', 'm') AND c.relpersistence <> 't'
            AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname !~ '^pg_(toast|temp)'
            AND NOT EXISTS (SELECT 1 FROM pg_dist_partition t WHERE t.logicalrelid = c.oid)
            AND NOT relation_is_a_known_shard(c.oid)
            -- an old copy that waits to be dropped is named after a shard the cluster knows
            AND NOT EXISTS (SELECT 1 FROM pg_dist_shard s JOIN pg_class p ON p.oid = s.logicalrelid
                             WHERE p.relnamespace = c.relnamespace AND c.relname = p.relname || '_' || s.shardid)
            AND NOT EXISTS (SELECT 1 FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
          ORDER BY 1`,
    );
    const databases = await target.query<{ name: string }>(
        "SELECT datname AS name FROM pg_database WHERE NOT datistemplate AND datname NOT IN ('postgres', current_database()) ORDER BY 1",
    );
    return [...tables.map((row) => `table ${row.name}`), ...databases.map((row) => `database ${row.name}`)];
}

/**
 * Waits until no old copy of a moved shard is left to be dropped on a group. After citus_remove_node nobody would drop
 * it, and a later move of that shard would fail for ever.
 * @throws Error naming what is left after `patience` milliseconds
 */
export async function finishCleanup(
    coordinator: Session,
    groups: readonly number[],
    options: { patience: number; waiting: (left: number) => void },
): Promise<void> {
    const end = Date.now() + options.patience;
    for (;;) {
        const left = await coordinator.query<{ name: string }>(
            "SELECT object_name AS name FROM pg_dist_cleanup WHERE node_group_id = ANY($1) ORDER BY 1",
            [groups],
        );
        if (left.length === 0) return;
        if (Date.now() > end) {
            throw new Error(
                `${left.length} old copies of moved shards could not be dropped: ${left
                    .slice(0, 5)
                    .map((row) => row.name)
                    .join(", ")}.\n` +
                    "Something holds a lock on them or the node does not answer. This is safe to repeat: run pulumi up again.",
            );
        }
        options.waiting(left.length);
        await coordinator.query("CALL citus_cleanup_orphaned_resources()");
        await pause(300);
    }
}

/**
 * Removes a worker from the cluster. Safe to repeat; does nothing when it is not registered.
 * @throws Error when it still holds a shard; nothing was changed then
 */
export async function removeWorker(
    coordinator: Session,
    node: { readonly name: string; readonly host: string; readonly port: number },
): Promise<void> {
    const row = (await readNodes(coordinator)).find((other) => other.host === node.host && other.port === node.port);
    if (!row) return;
    await refuseIfHolding(coordinator, row, node.name);
    await finishCleanup(coordinator, [row.groupId], { patience: 60_000, waiting: () => undefined });
    // without it the removed server keeps the whole metadata and its clients could go on writing to the cluster
    await coordinator.query("SELECT stop_metadata_sync_to_node($1, $2)", [node.host, node.port]);
    await coordinator.query("SELECT citus_remove_node($1, $2)", [node.host, node.port]);
    const after = (await readNodes(coordinator)).find((other) => other.nodeId === row.nodeId);
    if (after) throw new Error(`${node.name} is still in pg_dist_node after citus_remove_node`);
}

async function refuseIfHolding(coordinator: Session, row: NodeRow, name: string): Promise<void> {
    const held = await countPlacements(coordinator, row.groupId);
    if (held === 0) return;
    const tables = await coordinator.query<{ table: string }>(
        `SELECT DISTINCT s.logicalrelid::regclass::text AS table FROM pg_dist_placement p JOIN pg_dist_shard s USING (shardid)
           JOIN pg_dist_partition t USING (logicalrelid)
          WHERE p.groupid = $1 AND NOT (t.partmethod = 'n' AND t.repmodel = 't') ORDER BY 1 LIMIT 5`,
        [row.groupId],
    );
    throw new Error(
        `${name} can't be removed: it still holds ${held} shards (${tables.map((t) => t.table).join(", ")}).\n` +
            "Nothing was changed. Run pulumi up without --target, so that its shards are moved first.",
    );
}
