/**
 * One moment of a whole cluster. Citus has no snapshot over its nodes: a transaction reads each node as it was when that
 * node was first asked. So writes are made to wait until every node has taken its snapshot, and go on at once.
 */

import { COORDINATOR } from "../../core/node/topology.ts";
import { connect, type DatabaseError, type Session, type StreamSession } from "../../core/reach/session.ts";
import { pause } from "../../core/util/pause.ts";
import type { StackNode } from "../lib/nodes.ts";
import { asText, type Nodes } from "./rows.ts";
import { type RowTable, readTables } from "./tables.ts";

export interface Moment {
    /** A connection a node, in a transaction whose snapshot is the moment. */
    readonly nodes: Nodes;
    readonly coordinator: StreamSession;
    /** The coordinator's, exported: for pg_dump. */
    readonly snapshot: string;
    readonly tables: readonly RowTable[];
    /** How long writes waited; undefined when they did not, and the nodes' snapshots were taken one after another. */
    readonly waited: number | undefined;
    /** Ends all of it. */
    readonly close: () => Promise<void>;
}

/**
 * A connection to each node by its group.
 * @throws Error naming a node that is registered and can't be reached
 */
export async function openNodes(nodes: ReadonlyMap<string, StackNode>): Promise<Map<number, StreamSession>> {
    const opened: StreamSession[] = [];
    try {
        const byGroup = new Map<number, StreamSession>();
        for (const node of nodes.values()) {
            if (!node.access)
                throw new Error(
                    `${node.name} is not registered yet. Nothing was read. npm run pulumi -- up registers it.`,
                );
            const session = await connect(node.access, node.name);
            opened.push(session);
            await asText(session);
            const [row] = await session.query<{ groupid: number }>(
                "SELECT groupid FROM pg_catalog.pg_dist_local_group",
            );
            byGroup.set(row?.groupid ?? -1, session);
        }
        const coordinator = byGroup.get(0);
        const registered = await coordinator?.query<{ groupid: number; nodename: string }>(
            "SELECT groupid, nodename FROM pg_catalog.pg_dist_node WHERE noderole = 'primary' AND isactive",
        );
        const strange = registered?.find(({ groupid }) => !byGroup.has(groupid));
        if (!coordinator || strange)
            throw new Error(
                `${strange?.nodename ?? COORDINATOR} belongs to the cluster and not to this stack, so its rows can't be read. Nothing was read.`,
            );
        return byGroup;
    } catch (error) {
        await closeAll(opened);
        throw error;
    }
}

export async function closeAll(sessions: Iterable<Session>): Promise<void> {
    for (const session of sessions) await session.close().catch(() => undefined);
}

const names = (tables: readonly RowTable[]) => tables.map(({ name }) => name).join(", ");

interface Holder {
    readonly pid: number;
    readonly role: string;
    readonly application: string;
    readonly since: string;
    readonly state: string;
}

/** Who writes to the tables now, by node: whoever keeps writes from being made to wait. */
async function writers(nodes: Nodes): Promise<string[]> {
    const found: string[] = [];
    for (const session of nodes.values()) {
        const rows = await session
            .query<Holder>(
                `SELECT DISTINCT a.pid, a.usename::text AS role, a.application_name AS application, a.state,
                        to_char(a.xact_start AT TIME ZONE 'UTC', 'HH24:MI:SS') AS since
                   FROM pg_catalog.pg_locks l JOIN pg_catalog.pg_stat_activity a USING (pid) JOIN pg_catalog.pg_class c ON c.oid = l.relation
                  WHERE l.granted AND l.mode IN ('RowExclusiveLock', 'ShareUpdateExclusiveLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')
                    AND c.relkind IN ('r', 'p') AND c.relnamespace <> 'pg_catalog'::regnamespace AND a.pid <> pg_catalog.pg_backend_pid()
                    AND a.datname = pg_catalog.current_database() AND a.application_name NOT LIKE 'citus_internal%' LIMIT 5`,
            )
            .catch(() => []);
        found.push(
            ...rows.map(
                ({ pid, role, application, since, state }) =>
                    `  ${session.node}: pid ${pid}, role ${role}${application ? `, application ${application}` : ""}, in its transaction since ${since} UTC, now ${state}`,
            ),
        );
    }
    return found;
}

/** Transactions between the two phases of their commit: they are decided, and not yet seen on every node. */
async function betweenPhases(nodes: Nodes): Promise<string[]> {
    const asked = await Promise.all(
        [...nodes.values()].map(async (session) => {
            const rows = await session.query<{ gid: string }>(
                "SELECT gid FROM pg_catalog.pg_prepared_xacts WHERE database = pg_catalog.current_database() AND gid LIKE 'citus\\_%'",
            );
            return rows.map(({ gid }) => `${session.node}: ${gid}`);
        }),
    );
    return asked.flat();
}

/** More locks than this in one transaction may be more than PostgreSQL has room for. */
const MOST_LOCKS = 5000;

/**
 * Every node's snapshot. Shards are held, so that what a move or a split leaves behind is not dropped before it is read.
 * @returns the coordinator's
 */
async function takeSnapshots(nodes: Nodes, tables: readonly RowTable[]): Promise<string> {
    const taken = await Promise.all(
        [...nodes].map(async ([group, session]) => {
            const shards = tables.flatMap((table) =>
                table.parts.filter((part) => part.group === group && part.name !== table.name).map(({ name }) => name),
            );
            await session.query("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY");
            await session.query("SET LOCAL citus.enable_manual_changes_to_shards = on");
            if (shards.length > 0 && shards.length <= MOST_LOCKS)
                await session.query(`LOCK TABLE ${shards.join(", ")} IN ACCESS SHARE MODE`);
            const [row] = await session.query<{ snapshot: string }>(
                group === 0
                    ? "SELECT pg_catalog.pg_export_snapshot() AS snapshot"
                    : "SELECT pg_catalog.pg_current_snapshot()::text AS snapshot",
            );
            return group === 0 ? (row?.snapshot ?? "") : "";
        }),
    );
    return taken.find((snapshot) => snapshot !== "") ?? "";
}

const BETWEEN_SECONDS = 5;

/** Makes writes wait, runs `use`, and lets them go on. @returns how long they waited, in milliseconds */
async function whileWritesWait(
    blocker: Session,
    nodes: Nodes,
    tables: readonly RowTable[],
    seconds: number,
    use: () => Promise<void>,
): Promise<number> {
    const began = Date.now();
    await blocker.query("BEGIN");
    try {
        if (tables.length > 0) {
            // on all nodes: Citus hands it on
            await blocker.query(`SET LOCAL statement_timeout = ${seconds * 1000}`);
            await blocker.query(`LOCK TABLE ${names(tables)} IN SHARE MODE`).catch(async (error: DatabaseError) => {
                const held = await writers(nodes);
                throw new Error(
                    `Writes could not be made to wait within ${seconds} s, so there is no one moment to dump.\n${error.message}\n` +
                        (held.length > 0 ? `These transactions write:\n${held.join("\n")}\n` : "") +
                        "Nothing was written. Let them end, or give it more time (--wait 60): new writes wait as long as this does.",
                );
            });
            await blocker.query("SET LOCAL statement_timeout = 0");
        }
        for (let left = await betweenPhases(nodes); left.length > 0; left = await betweenPhases(nodes)) {
            if (Date.now() - began > (seconds + BETWEEN_SECONDS) * 1000)
                throw new Error(
                    `Transactions are between the two phases of their commit: ${left.join(", ")}. Nothing was written. ` +
                        "Citus ends them within a minute when every node answers (npm run status). Then try again.",
                );
            await pause(100);
        }
        await use();
    } finally {
        await blocker.query("ROLLBACK");
    }
    return Date.now() - began;
}

export interface MomentOptions {
    /** How long running writers may keep writes from being made to wait, in seconds; undefined: writes are not made to wait. */
    readonly wait: number | undefined;
}

/**
 * @throws Error saying who writes, or which node can't be reached
 */
export async function takeMoment(stackNodes: ReadonlyMap<string, StackNode>, { wait }: MomentOptions): Promise<Moment> {
    const access = stackNodes.get(COORDINATOR)?.access;
    if (!access)
        throw new Error("The coordinator is not registered yet. Nothing was read. npm run pulumi -- up registers it.");
    const nodes = await openNodes(stackNodes);
    const extra: StreamSession[] = [];
    const close = () => closeAll([...nodes.values(), ...extra]);
    try {
        const coordinator = nodes.get(0) as StreamSession;
        // keeps every table as it is until the dump has ended, and lets everybody write
        const guard = await connect(access, COORDINATOR);
        extra.push(guard);
        const blocker = wait === undefined ? undefined : await connect(access, COORDINATOR);
        if (blocker) extra.push(blocker);
        for (const session of extra) await asText(session);
        for (let tries = 1; ; tries++) {
            const known = await readTables(guard);
            await guard.query("BEGIN");
            if (known.length > 0) {
                await guard.query(`SET LOCAL statement_timeout = ${(wait ?? 10) * 1000}`);
                await guard.query(`LOCK TABLE ${names(known)} IN ACCESS SHARE MODE`).catch((error: Error) => {
                    throw new Error(
                        `Somebody changes tables (ALTER, DROP, TRUNCATE, LOCK), and had not ended within ${wait ?? 10} s.\n${error.message}\nNothing was written. Try again when that has ended.`,
                    );
                });
                await guard.query("SET LOCAL statement_timeout = 0");
            }
            let snapshot = "";
            const take = async () => {
                snapshot = await takeSnapshots(nodes, known);
            };
            let waited: number | undefined;
            if (blocker && wait !== undefined) waited = await whileWritesWait(blocker, nodes, known, wait, take);
            else await take();
            const tables = await readTables(coordinator);
            const parts = (all: readonly RowTable[]) =>
                JSON.stringify(all.map((table) => [table.oid, table.name, table.parts]));
            const same = parts(known) === parts(tables);
            if (same) return { nodes, coordinator, snapshot, tables, waited, close };
            // a table was made or a shard moved in between: nothing keeps it as it is
            await guard.query("ROLLBACK");
            for (const session of nodes.values()) await session.query("ROLLBACK");
            if (tries === 3)
                throw new Error(
                    "Tables were made or dropped, or shards moved, three times while the dump began. Nothing was written. Try again when that has ended.",
                );
        }
    } catch (error) {
        await close();
        throw error;
    }
}
