/** Removing a worker: only when it provably holds nothing that is not elsewhere. */
import { pause } from "../pause.ts";
import { countPlacements, type NodeRow, readNodes } from "./catalog.ts";
import type { Session } from "./session.ts";

/** Connects to another database of the same server. */
export type OpenDatabase = (database: string) => Promise<Session>;

/** Tables of its own that a database has: not an extension's, not a temporary one's. */
const OWN_RELATIONS = `
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
   WHERE c.relpersistence <> 't' AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname !~ '^pg_(toast|temp)'
     AND NOT EXISTS (SELECT 1 FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')`;

/**
 * Data that only this worker has: tables and sequences that Citus does not know, large objects, other databases.
 * @param target a connection to the worker itself
 * @param elsewhere names of tables on it that the cluster has copies of, such as old copies of moved shards
 */
export async function readOnlyCopies(
    target: Session,
    elsewhere: ReadonlySet<string>,
    openDatabase?: OpenDatabase,
): Promise<string[]> {
    const tables = await target.query<{ name: string }>(
        `SELECT format('%I.%I', n.nspname, c.relname) AS name ${OWN_RELATIONS}
            AND c.relkind IN ('r', 'p', 'm')
            AND NOT EXISTS (SELECT 1 FROM pg_dist_partition t WHERE t.logicalrelid = c.oid)
            AND NOT relation_is_a_known_shard(c.oid)
          ORDER BY 1`,
    );
    const sequences = await target.query<{ name: string }>(
        `SELECT format('%I.%I', n.nspname, c.relname) AS name ${OWN_RELATIONS}
            AND c.relkind = 'S'
            AND NOT EXISTS (SELECT 1 FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype IN ('a', 'i'))
            AND NOT EXISTS (SELECT 1 FROM pg_catalog.pg_dist_object o WHERE o.classid = 'pg_class'::regclass AND o.objid = c.oid)
          ORDER BY 1`,
    );
    const found = [
        ...tables.filter((row) => !elsewhere.has(row.name)).map((row) => `table ${row.name}`),
        ...sequences.map((row) => `sequence ${row.name}`),
        ...(await largeObjects(target, "")),
        ...(await putAside(target)),
    ];
    const databases = await target.query<{ name: string }>(
        "SELECT datname AS name FROM pg_database WHERE datname NOT IN ('template0', 'template1', current_database()) ORDER BY 1",
    );
    for (const { name } of databases) {
        if (name !== "postgres") {
            found.push(`database ${name}`);
        } else if (openDatabase) {
            const other = await openDatabase(name);
            try {
                const own = await other.query<{ name: string }>(
                    `SELECT format('%I.%I', n.nspname, c.relname) AS name ${OWN_RELATIONS} AND c.relkind IN ('r', 'p', 'm', 'S') ORDER BY 1`,
                );
                found.push(
                    ...own.map((row) => `table ${row.name} in database ${name}`),
                    ...(await largeObjects(other, ` in database ${name}`)),
                );
            } finally {
                await other.close().catch(() => undefined);
            }
        }
    }
    return found;
}

/** Databases that a restore put aside on its volume: they may be the only copy of what was written after the point. */
async function putAside(target: Session): Promise<string[]> {
    const rows = await target.query<{ path: string }>(
        `SELECT dir || '/' || name AS path
           FROM (SELECT regexp_replace(current_setting('data_directory'), '/[^/]*$', '') AS dir) d, pg_ls_dir(dir) AS name
          WHERE name LIKE 'pgdata.before-restore.%' ORDER BY 1`,
    );
    return rows.map(({ path }) => `the database that a restore put aside in ${path}`);
}

async function largeObjects(session: Session, where: string): Promise<string[]> {
    const [row] = await session.query<{ n: number }>("SELECT count(*)::int AS n FROM pg_largeobject_metadata");
    return row && row.n > 0 ? [`${row.n} large objects${where}`] : [];
}

/** Names under which the cluster's shards lie on its nodes; only those of reference tables when `reference` is set. */
export async function readShardNames(coordinator: Session, reference: boolean): Promise<Set<string>> {
    const rows = await coordinator.query<{ name: string }>(
        `SELECT format('%I.%I', n.nspname, c.relname || '_' || s.shardid) AS name
           FROM pg_dist_shard s JOIN pg_dist_partition t USING (logicalrelid)
           JOIN pg_class c ON c.oid = s.logicalrelid JOIN pg_namespace n ON n.oid = c.relnamespace
          WHERE NOT $1::bool OR (t.partmethod = 'n' AND t.repmodel = 't')`,
        [reference],
    );
    return new Set(rows.map((row) => row.name));
}

/** The refusal that lists what would be lost. */
export function explainOnlyCopies(name: string, only: readonly string[]): string {
    return [
        `${name} can't leave: it has data that is nowhere else.`,
        ...only.map((what) => `  ${what}`),
        `Its data is untouched. Copy it away and drop it on ${name}, or keep the worker.`,
    ].join("\n");
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
                    "Something holds a lock on them, or the node does not answer. Run pulumi up again: it is safe to repeat.",
            );
        }
        options.waiting(left.length);
        await coordinator.query("CALL citus_cleanup_orphaned_resources()");
        await pause(300);
    }
}

/**
 * Removes a worker from the cluster. Safe to repeat; does nothing when it is not registered.
 * @param target a connection to the worker itself, for a last look at what only it has
 * @throws Error when it still holds a shard or anything of its own; nothing was changed then
 */
export async function removeWorker(
    coordinator: Session,
    node: { readonly name: string; readonly host: string; readonly port: number },
    target: Session,
    openDatabase?: OpenDatabase,
): Promise<void> {
    const row = (await readNodes(coordinator)).find((other) => other.host === node.host && other.port === node.port);
    if (!row) return;
    await refuseIfHolding(coordinator, row, node.name);
    await finishCleanup(coordinator, [row.groupId], { patience: 60_000, waiting: () => undefined });
    // what was made since the drain began counts too; of shards only copies of reference tables are left now
    const only = await readOnlyCopies(target, await readShardNames(coordinator, true), openDatabase);
    if (only.length > 0) throw new Error(explainOnlyCopies(node.name, only));
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
