/** Removing a worker: only when it provably holds nothing that is not elsewhere. */

import type { Session } from "../../reach/session.ts";
import { pause } from "../../util/pause.ts";
import { countPlacements, movable, type NodeRow, readNodes } from "../catalog.ts";
import { explainKeptOf } from "../keptCopies.ts";
import { describeHolders, findUsers, type Holder } from "../waits.ts";
import { explainSlots, readSlots } from "./slots.ts";

/** Connects to another database of the same server. */
export type OpenDatabase = (database: string) => Promise<Session>;

/** Relations of its own that a database has: not an extension's, not a temporary one's. */
const OWN_RELATIONS = `
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
   WHERE c.relpersistence <> 't' AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname !~ '^pg_(toast|temp)'
     AND NOT EXISTS (SELECT 1 FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')`;

/**
 * Whether Citus made the sequence `c` on a worker for a table of the cluster. It gives a bigint sequence its group's range,
 * and sets any other to its end. What is left after its table is gone holds nothing: the next group has another range.
 */
export const MADE_BY_CITUS = `EXISTS (SELECT 1 FROM pg_sequence s WHERE s.seqrelid = c.oid
    AND ((s.seqmin > 1::bigint << 48 AND (s.seqmin - 1) % (1::bigint << 48) = 0 AND s.seqmax = s.seqmin + (1::bigint << 48))
         OR (s.seqtypid <> 'bigint'::regtype AND pg_sequence_last_value(c.oid) = s.seqmax)))`;

/** Where the cluster has what lies on a worker too, as the coordinator says. */
export interface Elsewhere {
    /** Names of tables that it has copies of, such as old copies of moved shards. */
    readonly tables: ReadonlySet<string>;
    readonly publications: ReadonlySet<string>;
}

export const NOWHERE: Elsewhere = { tables: new Set(), publications: new Set() };

/** @param reference only copies of reference tables count, not those of shards */
export async function readElsewhere(coordinator: Session, reference: boolean): Promise<Elsewhere> {
    const publications = await coordinator.query<{ name: string }>("SELECT pubname AS name FROM pg_publication");
    return {
        tables: await readShardNames(coordinator, reference),
        publications: new Set(publications.map(({ name }) => name)),
    };
}

/**
 * What only this worker has: tables and sequences that Citus does not know, large objects, other databases, publications
 * and subscriptions, prepared transactions. Logical replication slots are in slots.ts: shards are moved off their worker before they may be dropped.
 * @param target a connection to the worker itself
 */
export async function readOnlyCopies(
    target: Session,
    elsewhere: Elsewhere,
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
            AND NOT ${MADE_BY_CITUS}
          ORDER BY 1`,
    );
    const found = [
        ...tables.filter((row) => !elsewhere.tables.has(row.name)).map((row) => `table ${row.name}`),
        ...sequences.map((row) => `sequence ${row.name}`),
        ...(await largeObjects(target, "")),
        ...(await replication(target, elsewhere)),
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

/** What would be gone with the worker's volume: what only it has, and what a restore put aside there. */
export async function readGoneWithVolume(
    target: Session,
    elsewhere: Elsewhere,
    openDatabase?: OpenDatabase,
): Promise<string[]> {
    return [...(await readOnlyCopies(target, elsewhere, openDatabase)), ...(await putAside(target))];
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

/** Publications, subscriptions and prepared transactions of users; those of Citus end by themselves. */
async function replication(target: Session, elsewhere: Elsewhere): Promise<string[]> {
    const rows = await target.query<{ kind: string; name: string; mend: string }>(
        `SELECT 'publication' AS kind, pubname AS name, format('DROP PUBLICATION %I', pubname) AS mend FROM pg_publication
          WHERE pubname !~ '^citus_shard_(move|split)_'
         UNION ALL
         SELECT 'subscription', subname, format('DROP SUBSCRIPTION %I', subname) FROM pg_subscription
          WHERE subname !~ '^citus_shard_(move|split)_'
         UNION ALL
         SELECT 'prepared transaction', gid, format('COMMIT PREPARED %L, or ROLLBACK PREPARED %L', gid, gid) FROM pg_prepared_xacts
          WHERE gid !~ '^citus_[0-9]+_[0-9]+_[0-9]+_[0-9]+'
         ORDER BY 1, 2`,
    );
    return rows
        .filter(({ kind, name }) => kind !== "publication" || !elsewhere.publications.has(name))
        .map(({ kind, name, mend }) => `${kind} ${name}   (to end it there: ${mend})`);
}

/** Names under which the cluster's shards lie on its nodes; only those of reference tables when `reference` is set. */
export async function readShardNames(coordinator: Session, reference: boolean): Promise<Set<string>> {
    const rows = await coordinator.query<{ name: string }>(
        `SELECT CASE n.nspname WHEN 'public' THEN 'public.' ELSE '' END || shard_name(s.logicalrelid, s.shardid) AS name
           FROM pg_dist_shard s JOIN pg_dist_partition t USING (logicalrelid)
           JOIN pg_class c ON c.oid = s.logicalrelid JOIN pg_namespace n ON n.oid = c.relnamespace
          WHERE NOT $1::bool OR (t.partmethod = 'n' AND t.repmodel = 't')`,
        [reference],
    );
    return new Set(rows.map((row) => row.name));
}

/**
 * Tables with rows that an unregistered server holds by its own account: its metadata places them on itself, or the
 * coordinator places no shard of that name on a node. A coordinator that was restored knows of no shard that moved later.
 */
export async function readUnplaced(coordinator: Session, target: Session): Promise<string[]> {
    const placed = await coordinator.query<{ name: string }>(
        `SELECT CASE n.nspname WHEN 'public' THEN 'public.' ELSE '' END || shard_name(s.logicalrelid, s.shardid) AS name
           FROM pg_dist_shard s JOIN pg_class c ON c.oid = s.logicalrelid JOIN pg_namespace n ON n.oid = c.relnamespace
          WHERE EXISTS (SELECT 1 FROM pg_dist_placement p JOIN pg_dist_node USING (groupid) WHERE p.shardid = s.shardid)`,
    );
    const elsewhere = new Set(placed.map(({ name }) => name));
    // otherwise Citus leaves shards out of pg_class
    await target.query("SET citus.override_table_visibility = off");
    const shards = await target.query<{ name: string; own: boolean }>(
        `SELECT format('%I.%I', n.nspname, c.relname) AS name,
                EXISTS (SELECT 1 FROM pg_dist_shard s JOIN pg_dist_partition t USING (logicalrelid) JOIN pg_dist_placement p USING (shardid)
                         WHERE p.groupid = (SELECT groupid FROM pg_dist_local_group) AND NOT (t.partmethod = 'n' AND t.repmodel = 't')
                           AND to_regclass(shard_name(s.logicalrelid, s.shardid, false)) = c.oid) AS own
           ${OWN_RELATIONS} AND c.relkind = 'r' AND relation_is_a_known_shard(c.oid) ORDER BY 1`,
    );
    const held: string[] = [];
    for (const { name, own } of shards) {
        if (!own && elsewhere.has(name)) continue;
        const [row] = await target.query<{ rows: boolean }>(`SELECT EXISTS (SELECT 1 FROM ${name}) AS rows`);
        if (row?.rows) held.push(`table ${name}`);
    }
    await target.query("RESET citus.override_table_visibility");
    return held;
}

/** The refusal that lists what would be lost. */
export function explainOnlyCopies(name: string, only: readonly string[]): string {
    return [
        `${name} can't leave: it has data that is nowhere else.`,
        ...only.map((what) => `  ${what}`),
        ...explainKeptOf(only),
        `Its data is untouched. Copy it away and drop it on ${name}, or keep the worker.`,
    ].join("\n");
}

/** The refusal of a worker that the coordinator does not know and that holds rows. */
export function explainUnplaced(name: string, only: readonly string[]): string {
    return [
        `${name} is not registered, and it holds what the coordinator places nowhere else:`,
        ...only.slice(0, 10).map((what) => `  ${what}`),
        ...(only.length > 10 ? [`  and ${only.length - 10} more`] : []),
        `Nothing was changed on ${name}. This is so after a restore to a point from before ${name} held them, and after citus_remove_node by hand.`,
        `If the rows are needed, copy them away from ${name}. If not, drop these tables there (SET citus.enable_manual_changes_to_shards = on). Then run pulumi up again.`,
    ].join("\n");
}

/**
 * Everything that a worker which is not registered holds alone. It may go, with its volume, only when there is nothing.
 * @throws Error naming it; nothing was changed
 */
export async function refuseUnregistered(
    coordinator: Session,
    target: Session,
    name: string,
    openDatabase?: OpenDatabase,
): Promise<void> {
    const only = [
        ...(await readUnplaced(coordinator, target)),
        ...(await readGoneWithVolume(target, await readElsewhere(coordinator, true), openDatabase)),
    ];
    if (only.length > 0) throw new Error(explainUnplaced(name, only));
    await refuseSlots(target, name);
}

/**
 * Waits until no old copy of a moved shard is left to be dropped on a group. After citus_remove_node nobody would drop
 * it, and a later move of that shard would fail for ever.
 * @throws Error naming what is left after `patience` milliseconds, and who uses it
 */
export async function finishCleanup(
    coordinator: Session,
    groups: readonly number[],
    options: { patience: number; waiting: (text: string) => void },
): Promise<void> {
    const end = Date.now() + options.patience;
    let users: readonly Holder[] = [];
    let asked = Date.now();
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
                    (users.length > 0
                        ? `In use by ${describeHolders(users)}\nThe moves are done and stay. Wait for it or end it, then run pulumi up again.`
                        : "Something holds a lock on them, or the node does not answer. Run pulumi up again: it is safe to repeat."),
            );
        }
        if (Date.now() - asked > 4000) {
            users = await findUsers(coordinator, groups).catch(() => users);
            asked = Date.now();
        }
        const inUse = users.length > 0 ? `; in use by ${describeHolders(users)}` : "";
        options.waiting(`${left.length} old cop${left.length === 1 ? "y" : "ies"} of moved shards${inUse}`);
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
    const only = await readGoneWithVolume(target, await readElsewhere(coordinator, true), openDatabase);
    if (only.length > 0) throw new Error(explainOnlyCopies(node.name, only));
    await refuseSlots(target, node.name);
    // without it the removed server keeps the whole metadata and its clients could go on writing to the cluster
    await coordinator.query("SELECT stop_metadata_sync_to_node($1, $2)", [node.host, node.port]);
    await coordinator.query("SELECT citus_remove_node($1, $2)", [node.host, node.port]);
    const after = (await readNodes(coordinator)).find((other) => other.nodeId === row.nodeId);
    if (after) throw new Error(`${node.name} is still in pg_dist_node after citus_remove_node`);
}

async function refuseSlots(target: Session, name: string): Promise<void> {
    const slots = await readSlots(target);
    if (slots.length === 0) return;
    throw new Error(
        `${explainSlots(name, slots)}\nIts shards were moved, so no change of theirs comes into the slots any more. Run pulumi up again then.`,
    );
}

async function refuseIfHolding(coordinator: Session, row: NodeRow, name: string): Promise<void> {
    const held = await countPlacements(coordinator, row.groupId);
    if (held === 0) return;
    const tables = await coordinator.query<{ table: string }>(
        `SELECT DISTINCT s.logicalrelid::regclass::text AS table FROM pg_dist_placement p JOIN pg_dist_shard s USING (shardid)
           JOIN pg_dist_partition t USING (logicalrelid)
          WHERE p.groupid = $1 AND ${movable("t")} ORDER BY 1 LIMIT 5`,
        [row.groupId],
    );
    throw new Error(
        `${name} can't be removed: it still holds ${held} shards (${tables.map((t) => t.table).join(", ")}).\n` +
            "Nothing was changed. Run pulumi up without --target, so that its shards are moved first.",
    );
}
