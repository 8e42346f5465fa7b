/** Registering a node: who may join, and what must be true afterwards. */
import { type Blocker, countPlacements, explainBlockers, readBlockers, readNodes } from "./catalog.ts";
import { readShardNames } from "./leave.ts";
import type { Session } from "./session.ts";
import { isOlder, UPDATE_EXTENSION } from "./versions.ts";

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
    /** Tables, views and sequences that no extension owns. */
    readonly relations: readonly string[];
    readonly clusterId: string | null;
}

/** Asks a server for everything that decides whether it may join. */
export async function readFacts(session: Session): Promise<NodeFacts> {
    const [base] = await session.query<{
        postgres: string;
        citus: string | null;
        relations: string[];
        clusterId: string | null;
    }>(
        `SELECT current_setting('server_version') AS postgres,
                (SELECT extversion FROM pg_extension WHERE extname = 'citus') AS citus,
                current_setting('citus_as_code.cluster_id', true) AS "clusterId",
                ARRAY(SELECT format('%I.%I', n.nspname, c.relname)
                        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                       WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
                         AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname !~ '^pg_(toast|temp)'
                         AND NOT EXISTS (SELECT 1 FROM pg_depend d
                               WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
                       ORDER BY 1) AS relations`,
    );
    if (!base) throw new Error(`${session.node} did not answer`);
    if (base.citus === null) return { ...base, groupId: null, knownNodes: 0, distributedTables: 0 };
    const [citus] = await session.query<{ groupId: number; knownNodes: number; distributedTables: number }>(
        `SELECT (SELECT groupid FROM pg_dist_local_group) AS "groupId",
                (SELECT count(*)::int FROM pg_dist_node) AS "knownNodes",
                (SELECT count(*)::int FROM pg_dist_partition) AS "distributedTables"`,
    );
    return {
        ...base,
        groupId: citus?.groupId ?? 0,
        knownNodes: citus?.knownNodes ?? 0,
        distributedTables: citus?.distributedTables ?? 0,
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

/** Copies of reference tables that a worker keeps after it was removed; the cluster has its own. */
async function dropLeftovers(coordinator: Session, target: Session, facts: NodeFacts): Promise<NodeFacts> {
    if (facts.relations.length === 0 || facts.groupId !== 0 || facts.knownNodes > 0 || facts.distributedTables > 0)
        return facts;
    const known = await readShardNames(coordinator, true);
    if (!facts.relations.every((name) => known.has(name))) return facts;
    await target.query("SET citus.enable_manual_changes_to_shards = on");
    await target.query(`DROP TABLE ${facts.relations.join(", ")} CASCADE`);
    return readFacts(target);
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
        // a server without the registration's metadata was made anew: whatever the old one held is gone
        const held = await countPlacements(coordinator, registered.groupId);
        if (held > 0) {
            throw new Error(
                `${node.name} is registered and should hold ${held} shards, but its server is empty: the data is gone.\n` +
                    "Nothing was changed. Bring its volume back if you have it; otherwise restore the cluster from a backup.",
            );
        }
        await coordinator.query("SELECT citus_remove_node($1, $2)", [node.host, node.port]);
        registered = undefined;
    }
    if (registered) {
        if (facts.clusterId !== own.clusterId)
            throw new Error(refusal(node.name, refusals({ ...facts, relations: [] }, own)));
        if (facts.groupId !== registered.groupId && facts.groupId !== 0) {
            throw new Error(
                refusal(node.name, [
                    `it says that it is group ${facts.groupId}, the coordinator knows it as group ${registered.groupId}`,
                ]),
            );
        }
        if (!registered.active || !registered.synced || facts.groupId !== registered.groupId) {
            await coordinator.query("SELECT citus_activate_node($1, $2)", [node.host, node.port]);
        }
    } else {
        // only what is provably this stack's own node is ever cleaned
        if (refusals({ ...facts, relations: [] }, own).length === 0)
            facts = await dropLeftovers(coordinator, target, facts);
        const why = refusals(facts, own);
        if (why.length > 0) throw new Error(refusal(node.name, why));
        await refuseReferenceBlockers(coordinator, transferMode);
        await requireReachable(coordinator, node);
        await coordinator.query("SELECT citus_add_node($1, $2)", [node.host, node.port]);
    }
    await coordinator.query("SELECT replicate_reference_tables($1::citus.shard_transfer_mode)", [transferMode]);
    return verifyMember(coordinator, target, node);
}

function refusal(name: string, why: readonly string[]): string {
    return [
        `${name} can't join this cluster:`,
        ...why.map((reason) => `  ${reason}`),
        `Nothing was changed on ${name}. Only an empty node that this stack made may join.`,
    ].join("\n");
}

async function refuseReferenceBlockers(coordinator: Session, transferMode: string): Promise<void> {
    if (transferMode !== "auto") return;
    const blockers: Blocker[] = (await readBlockers(coordinator)).filter((blocker) => blocker.reference);
    if (blockers.length > 0) throw new Error(explainBlockers(blockers));
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
