/** Registering a node: who may join, and what must be true afterwards. */

import type { Session } from "../../reach/session.ts";
import { blocking, explainBlockers, type NodeRow, readBlockers, readNodes } from "../catalog.ts";
import { dropKept, exempt } from "../limits.ts";
import { keepIdsApart } from "../sequences.ts";
import { isOlder, UPDATE_EXTENSION } from "../versions.ts";
import {
    explainUnplaced,
    MADE_BY_CITUS,
    readElsewhere,
    readOnlyCopies,
    readShardNames,
    readUnplaced,
} from "./leave.ts";
import { byHand, prepareTarget } from "./prepare.ts";
import { makeSlots } from "./slots.ts";

/** What a server says about itself before it joins. */
export interface NodeFacts {
    readonly postgres: string;
    /** Installed version of the extension, e.g. `14.0-1`; null without Citus. */
    readonly citus: string | null;
    /** Its group; anything but 0 is another cluster's worker. Null without Citus. */
    readonly groupId: number | null;
    /** How many nodes it knows; more than 0 means that it belongs to a cluster. */
    readonly knownNodes: number;
    readonly distributedTables: number;
    /** Tables, views and sequences that no extension owns, without {@link sequencesOfCitus}. */
    readonly relations: readonly string[];
    /** Sequences that Citus made for tables of a cluster. They stay when it takes the tables' definitions away. */
    readonly sequencesOfCitus: readonly string[];
    /** `host:port` of the coordinator of the cluster that it belongs to; null when it belongs to none. */
    readonly coordinatorOf: string | null;
    readonly clusterId: string | null;
}

/** Asks a server for everything that decides whether it may join. */
export async function readFacts(session: Session): Promise<NodeFacts> {
    const [base] = await session.query<{
        postgres: string;
        citus: string | null;
        clusterId: string | null;
        own: { name: string; byCitus: boolean }[];
    }>(
        `SELECT current_setting('server_version') AS postgres,
                (SELECT extversion FROM pg_extension WHERE extname = 'citus') AS citus,
                current_setting('citus_as_code.cluster_id', true) AS "clusterId",
                (SELECT coalesce(json_agg(json_build_object('name', format('%I.%I', n.nspname, c.relname),
                                                            'byCitus', c.relkind = 'S' AND ${MADE_BY_CITUS}) ORDER BY n.nspname, c.relname), '[]')
                   FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                  WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
                    AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname !~ '^pg_(toast|temp)'
                    AND NOT EXISTS (SELECT 1 FROM pg_depend d
                          WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')) AS own`,
    );
    if (!base) throw new Error(`${session.node} did not answer`);
    const facts = {
        ...base,
        relations: base.own.filter(({ byCitus }) => !byCitus).map(({ name }) => name),
        sequencesOfCitus: base.own.filter(({ byCitus }) => byCitus).map(({ name }) => name),
    };
    if (base.citus === null)
        return { ...facts, groupId: null, knownNodes: 0, distributedTables: 0, coordinatorOf: null };
    const [citus] = await session.query<{
        groupId: number;
        knownNodes: number;
        distributedTables: number;
        coordinatorOf: string | null;
    }>(
        `SELECT (SELECT groupid FROM pg_dist_local_group) AS "groupId",
                (SELECT count(*)::int FROM pg_dist_node) AS "knownNodes",
                (SELECT count(*)::int FROM pg_dist_partition) AS "distributedTables",
                (SELECT nodename || ':' || nodeport FROM pg_dist_node WHERE groupid = 0 AND noderole = 'primary') AS "coordinatorOf"`,
    );
    return {
        ...facts,
        groupId: citus?.groupId ?? 0,
        knownNodes: citus?.knownNodes ?? 0,
        distributedTables: citus?.distributedTables ?? 0,
        coordinatorOf: citus?.coordinatorOf ?? null,
    };
}

/** A new node's database is made with the version of the library, and the cluster's own may be older. */
function howToUpdate(target: Pick<NodeFacts, "citus">, coordinator: Pick<NodeFacts, "citus">): string {
    if (target.citus === null || coordinator.citus === null) return "";
    if (!isOlder(coordinator.citus, target.citus)) return "";
    return [
        ". Bring the cluster's extension to its library's version, then run pulumi up again:",
        ...UPDATE_EXTENSION,
    ].join("\n    ");
}

/**
 * Why a server may not join; empty when it may. citus_add_node asks none of this: it takes over another cluster's
 * coordinator and drops tables whose names clash.
 */
export function refusals(
    target: NodeFacts,
    coordinator: Pick<NodeFacts, "postgres" | "citus" | "clusterId">,
): string[] {
    const why: string[] = [];
    const major = (version: string) => version.split(".")[0];
    if (major(target.postgres) !== major(coordinator.postgres)) {
        why.push(`it runs PostgreSQL ${target.postgres}, the coordinator ${coordinator.postgres}`);
    }
    if (target.citus === null) {
        why.push("it has no Citus extension in this database");
    } else if (target.citus !== coordinator.citus) {
        why.push(
            `it has Citus ${target.citus}, the coordinator ${coordinator.citus}${howToUpdate(target, coordinator)}`,
        );
    }
    if (target.clusterId !== coordinator.clusterId) {
        why.push("it was not made by this stack (its citus_as_code.cluster_id differs)");
    }
    if (target.groupId) why.push(`it is a worker of another cluster (group ${target.groupId})`);
    if (target.knownNodes > 0) why.push(`it already belongs to a cluster: it knows ${target.knownNodes} nodes`);
    if (target.distributedTables > 0) why.push(`it holds ${target.distributedTables} distributed tables`);
    if (target.relations.length > 0) {
        const shown = target.relations.slice(0, 5).join(", ");
        const more = target.relations.length > 5 ? ` and ${target.relations.length - 5} more` : "";
        why.push(`it is not empty: ${shown}${more} would be in danger`);
    }
    return why;
}

export interface JoinTarget {
    readonly name: string;
    /** Host name in pg_dist_node. */
    readonly host: string;
    readonly port: number;
}

export interface Joined {
    readonly nodeId: number;
    readonly groupId: number;
}

/** Names the coordinator in its own metadata. Safe to repeat. */
export async function nameCoordinator(coordinator: Session, target: JoinTarget): Promise<Joined> {
    const before = (await readNodes(coordinator)).find((node) => node.groupId === 0);
    if (before?.host !== target.host || before.port !== target.port) {
        await coordinator.query("SELECT citus_set_coordinator_host($1, $2)", [target.host, target.port]);
        await coordinator.query("SELECT citus_set_node_property($1, $2, 'shouldhaveshards', false)", [
            target.host,
            target.port,
        ]);
    }
    const row = (await readNodes(coordinator)).find((node) => node.groupId === 0);
    if (!row)
        throw new Error(`${target.name}: the coordinator is not in pg_dist_node after citus_set_coordinator_host`);
    return { nodeId: row.nodeId, groupId: 0 };
}

/**
 * Takes from a worker that left what Citus leaves on it: copies of reference tables, the tables' sequences, views. The
 * cluster has its own of each. Anything else on the node keeps all of it.
 */
async function dropLeftovers(coordinator: Session, target: Session, facts: NodeFacts): Promise<NodeFacts> {
    if (facts.relations.length + facts.sequencesOfCitus.length === 0) return facts;
    const views = await coordinator.query<{ name: string }>(
        `SELECT format('%I.%I', n.nspname, c.relname) AS name FROM pg_catalog.pg_dist_object o
           JOIN pg_class c ON o.classid = 'pg_class'::regclass AND c.oid = o.objid JOIN pg_namespace n ON n.oid = c.relnamespace
          WHERE c.relkind = 'v'`,
    );
    const copies = await readShardNames(coordinator, true);
    const [tables, rest] = split(facts.relations, (name) => copies.has(name));
    if (!rest.every((name) => views.some((view) => view.name === name))) return facts;
    await byHand(target, [
        ...(rest.length > 0 ? [`DROP VIEW ${rest.join(", ")} CASCADE`] : []),
        ...(tables.length > 0 ? [`DROP TABLE ${tables.join(", ")} CASCADE`] : []),
        ...(facts.sequencesOfCitus.length > 0
            ? [`DROP SEQUENCE IF EXISTS ${facts.sequencesOfCitus.join(", ")} CASCADE`]
            : []),
    ]);
    return readFacts(target);
}

const split = (names: readonly string[], is: (name: string) => boolean): [string[], string[]] => [
    names.filter(is),
    names.filter((name) => !is(name)),
];

/** A worker of this very cluster that was taken out of pg_dist_node by hand: nobody told it. Pure. */
export function unregisteredByHand(facts: NodeFacts, own: NodeFacts): boolean {
    return (
        facts.clusterId !== null &&
        facts.clusterId === own.clusterId &&
        facts.knownNodes > 0 &&
        facts.coordinatorOf !== null &&
        facts.coordinatorOf === own.coordinatorOf
    );
}

/**
 * Takes the cluster's metadata, and what is left of its shards, from a worker that was unregistered by hand.
 * @throws Error naming what only it has; nothing was changed then
 */
async function clearMetadata(coordinator: Session, target: Session, name: string): Promise<NodeFacts> {
    const only = [
        ...(await readUnplaced(coordinator, target)),
        ...(await readOnlyCopies(target, await readElsewhere(coordinator, false))),
    ].filter((what) => /^(table|sequence) /.test(what));
    if (only.length > 0) throw new Error(explainUnplaced(name, only));
    await target.query("SET citus.override_table_visibility = off");
    const shards = await target.query<{ name: string }>(
        `SELECT format('%I.%I', n.nspname, c.relname) AS name FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
          WHERE c.relkind IN ('r', 'p') AND relation_is_a_known_shard(c.oid) ORDER BY 1`,
    );
    await target.query("RESET citus.override_table_visibility");
    // what stop_metadata_sync_to_node sends, and then what it leaves
    await byHand(target, [
        "SELECT worker_drop_sequence_dependency(logicalrelid::regclass::text) FROM pg_dist_partition",
        "CALL worker_drop_all_shell_tables(true)",
        ...shards.map((shard) => `DROP TABLE IF EXISTS ${shard.name} CASCADE`),
        ...["pg_dist_node", "pg_dist_partition", "pg_dist_shard", "pg_dist_placement", "pg_dist_object"].map(
            (table) => `DELETE FROM pg_catalog.${table}`,
        ),
        "DELETE FROM pg_catalog.pg_dist_colocation",
        "DELETE FROM pg_catalog.pg_dist_schema",
        "UPDATE pg_dist_local_group SET groupid = 0",
    ]);
    return readFacts(target);
}

/** The tables that the coordinator places on a group, and whether the server has them. */
async function readPlaced(
    coordinator: Session,
    target: Session,
    groupId: number,
): Promise<{ name: string; reference: boolean; there: boolean }[]> {
    const placed = await coordinator.query<{ name: string; reference: boolean }>(
        `SELECT CASE n.nspname WHEN 'public' THEN 'public.' ELSE '' END || shard_name(s.logicalrelid, s.shardid) AS name,
                t.partmethod = 'n' AND t.repmodel = 't' AS reference
           FROM pg_dist_placement p JOIN pg_dist_shard s USING (shardid) JOIN pg_dist_partition t USING (logicalrelid)
           JOIN pg_class c ON c.oid = s.logicalrelid JOIN pg_namespace n ON n.oid = c.relnamespace
          WHERE p.groupid = $1 ORDER BY 1`,
        [groupId],
    );
    await target.query("SET citus.override_table_visibility = off");
    const found = await target.query<{ name: string }>(
        "SELECT name FROM unnest($1::text[]) name WHERE to_regclass(name) IS NOT NULL",
        [placed.map(({ name }) => name)],
    );
    await target.query("RESET citus.override_table_visibility");
    const there = new Set(found.map(({ name }) => name));
    return placed.map((table) => ({ ...table, there: there.has(table.name) }));
}

/** What a registered server is that has no metadata of the cluster. Pure. */
export function judgeWithoutMetadata(
    facts: Pick<NodeFacts, "relations" | "sequencesOfCitus">,
    placed: readonly { readonly name: string; readonly reference: boolean; readonly there: boolean }[],
): "made anew" | "metadata dropped" | { readonly gone: readonly string[]; readonly of: number } {
    const shards = placed.filter(({ reference }) => !reference);
    const gone = shards.filter(({ there }) => !there).map(({ name }) => name);
    if (gone.length > 0) return { gone, of: shards.length };
    if (placed.every(({ there }) => there) && facts.relations.length + facts.sequencesOfCitus.length > 0)
        return "metadata dropped";
    return "made anew";
}

function explainGone(name: string, { gone, of }: { gone: readonly string[]; of: number }): string {
    const what =
        gone.length === of
            ? `${name} is registered and should hold ${of} shards, and its server has none of them: the data is gone.`
            : `${name} is registered and should hold ${of} shards, and its server lacks ${gone.length} of them: ${gone.slice(0, 5).join(", ")}${gone.length > 5 ? ", ..." : ""}.`;
    return (
        `${what}\nNothing was changed. Bring its volume back if you have it. ` +
        "Otherwise restore the whole cluster to a restore point (npm run backups lists them)."
    );
}

/**
 * Tables on a server that citus_activate_node would drop, because the cluster has tables of these names.
 */
async function readClashes(coordinator: Session, facts: NodeFacts): Promise<string[]> {
    const tables = await coordinator.query<{ name: string }>(
        `SELECT format('%I.%I', n.nspname, c.relname) AS name FROM pg_dist_partition t
           JOIN pg_class c ON c.oid = t.logicalrelid JOIN pg_namespace n ON n.oid = c.relnamespace`,
    );
    return facts.relations.filter((name) => tables.some((table) => table.name === name));
}

/**
 * Registers a worker, or brings one that is registered back to what it should be. Safe to repeat.
 * @throws Error with every reason when the server may not join; nothing was changed then
 */
export async function joinWorker(
    coordinator: Session,
    target: Session,
    node: JoinTarget,
    transferMode: string,
): Promise<Joined> {
    let registered = (await readNodes(coordinator)).find((row) => row.host === node.host && row.port === node.port);
    const own = await readFacts(coordinator);
    let facts = await readFacts(target);
    if (registered && facts.groupId === 0 && facts.clusterId === own.clusterId) {
        const found = judgeWithoutMetadata(facts, await readPlaced(coordinator, target, registered.groupId));
        if (typeof found === "object") throw new Error(explainGone(node.name, found));
        if (found === "made anew") {
            await coordinator.query("SELECT citus_remove_node($1, $2)", [node.host, node.port]);
            registered = undefined;
        } else {
            const clashes = await readClashes(coordinator, facts);
            if (clashes.length > 0)
                throw new Error(
                    refusal(
                        node.name,
                        clashes.map((name) => `it has a table ${name} of its own, which the cluster's would replace`),
                    ),
                );
        }
    }
    if (registered) {
        await reactivate(coordinator, target, { node, registered, facts, own });
    } else {
        // only what is provably this stack's own node is ever cleaned
        if (unregisteredByHand(facts, own)) {
            const other = refusals({ ...facts, ...CLEARED }, own);
            if (other.length > 0) throw new Error(refusal(node.name, other));
            facts = await clearMetadata(coordinator, target, node.name);
        }
        if (refusals({ ...facts, relations: [] }, own).length === 0)
            facts = await dropLeftovers(coordinator, target, facts);
        const why = refusals(facts, own);
        if (why.length > 0) throw new Error(refusal(node.name, why));
        await refuseReferenceBlockers(coordinator, transferMode);
        await requireReachable(coordinator, node);
        await exemptBoth(coordinator, target);
        await prepareTarget(coordinator, target);
        await coordinator.query("SELECT citus_add_node($1, $2)", [node.host, node.port]);
    }
    await makeSlots(coordinator, target, node);
    await coordinator.query("SELECT replicate_reference_tables($1::citus.shard_transfer_mode)", [
        await copyMode(coordinator, transferMode),
    ]);
    return verifyMember(coordinator, target, node);
}

/** What follows runs between nodes, which what the database sets for its clients must not stop. */
async function exemptBoth(coordinator: Session, target: Session): Promise<void> {
    await exempt(target);
    if (await exempt(coordinator)) await dropKept(coordinator);
}

/** What clearing its metadata would leave of a node's facts. */
const CLEARED = { groupId: 0, knownNodes: 0, distributedTables: 0, relations: [] } as const;

async function reactivate(
    coordinator: Session,
    target: Session,
    { node, registered, facts, own }: { node: JoinTarget; registered: NodeRow; facts: NodeFacts; own: NodeFacts },
): Promise<void> {
    if (facts.clusterId !== own.clusterId)
        throw new Error(refusal(node.name, refusals({ ...facts, relations: [] }, own)));
    if (facts.groupId !== registered.groupId && facts.groupId !== 0) {
        throw new Error(
            refusal(node.name, [
                `it says that it is group ${facts.groupId}, the coordinator knows it as group ${registered.groupId}`,
            ]),
        );
    }
    await exemptBoth(coordinator, target);
    if (registered.active && registered.synced && facts.groupId === registered.groupId) return;
    await keepIdsApart(coordinator, target, registered.groupId, () =>
        coordinator.query("SELECT citus_activate_node($1, $2)", [node.host, node.port]),
    );
}

function refusal(name: string, why: readonly string[]): string {
    return [
        `${name} can't join this cluster:`,
        ...why.map((reason) => `  ${reason}`),
        `Nothing was changed on ${name}. Only an empty node that this stack made may join.`,
    ].join("\n");
}

const readReferenceBlockers = async (coordinator: Session) =>
    (await readBlockers(coordinator)).filter(({ reference }) => reference);

async function refuseReferenceBlockers(coordinator: Session, transferMode: string): Promise<void> {
    if (transferMode === "block_writes") return;
    const blockers = blocking(await readReferenceBlockers(coordinator), transferMode);
    if (blockers.length > 0) throw new Error(explainBlockers(blockers));
}

/** Writes wait only where reference tables can't be copied in another way. */
async function copyMode(coordinator: Session, transferMode: string): Promise<string> {
    if (transferMode !== "block_writes") return transferMode;
    return (await readReferenceBlockers(coordinator)).length > 0 ? transferMode : "auto";
}

async function requireReachable(coordinator: Session, node: JoinTarget): Promise<void> {
    const [row] = await coordinator.query<{ ok: boolean }>("SELECT citus_check_connection_to_node($1, $2) AS ok", [
        node.host,
        node.port,
    ]);
    if (row?.ok) return;
    throw new Error(
        `${node.name}: the coordinator can't open a verified connection to ${node.host}:${node.port}.\n` +
            "Nothing was changed. Look at the node's own log, then run pulumi up again.",
    );
}

/**
 * Proves that a registered worker is active, has the metadata, and reaches and is reached by every other node. Asks each
 * node once: citus_check_cluster_node_health would ask every pair.
 * @throws Error naming the pairs that do not work
 */
export async function verifyMember(coordinator: Session, target: Session, node: JoinTarget): Promise<Joined> {
    const row = (await readNodes(coordinator)).find((other) => other.host === node.host && other.port === node.port);
    if (!row) throw new Error(`${node.name} is not in pg_dist_node`);
    if (!row.active || !row.synced) {
        throw new Error(
            `${node.name} is registered but ${row.active ? "its metadata is not in sync" : "not active"}; run pulumi up again`,
        );
    }
    const outward = await target.query<{ from: string; to: string }>(
        `SELECT $1::text AS from, nodename AS to FROM pg_dist_node
          WHERE noderole = 'primary' AND isactive AND citus_check_connection_to_node(nodename, nodeport) IS NOT TRUE`,
        [node.host],
    );
    const inward = await coordinator.query<{ from: string; to: string }>(
        `SELECT n.nodename AS from, $1::text AS to
           FROM run_command_on_all_nodes(format('SELECT citus_check_connection_to_node(%L, %s)', $1::text, $2::int)) r
           JOIN pg_dist_node n USING (nodeid) WHERE NOT r.success OR r.result IS DISTINCT FROM 't'`,
        [node.host, node.port],
    );
    const bad = [...outward, ...inward];
    if (bad.length > 0) {
        throw new Error(
            `${node.name} is registered, but not every node reaches every other:\n${bad
                .map((pair) => `  ${pair.from} can't reach ${pair.to}`)
                .join("\n")}\nMake these nodes reach each other, then run pulumi up again: it is safe to repeat.`,
        );
    }
    return { nodeId: row.nodeId, groupId: row.groupId };
}
