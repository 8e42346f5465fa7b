/** What an earlier membership left on a node that joins. */

import type { Session } from "../../reach/session.ts";
import { dropKept, exempt } from "../limits.ts";
import { type NodeFacts, readFacts } from "./joinFacts.ts";
import { explainUnplaced, readElsewhere, readOnlyCopies, readShardNames, readUnplaced } from "./leave.ts";
import { byHand } from "./prepare.ts";

/**
 * Takes from a worker that left what Citus leaves on it: copies of reference tables, the tables' sequences, views. The
 * cluster has its own of each. Anything else on the node keeps all of it.
 */
export async function dropLeftovers(coordinator: Session, target: Session, facts: NodeFacts): Promise<NodeFacts> {
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
export async function clearMetadata(coordinator: Session, target: Session, name: string): Promise<NodeFacts> {
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
export async function readPlaced(
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

export function explainGone(name: string, { gone, of }: { gone: readonly string[]; of: number }): string {
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
export async function readClashes(coordinator: Session, facts: NodeFacts): Promise<string[]> {
    const tables = await coordinator.query<{ name: string }>(
        `SELECT format('%I.%I', n.nspname, c.relname) AS name FROM pg_dist_partition t
           JOIN pg_class c ON c.oid = t.logicalrelid JOIN pg_namespace n ON n.oid = c.relnamespace`,
    );
    return facts.relations.filter((name) => tables.some((table) => table.name === name));
}

/** What follows runs between nodes, which what the database sets for its clients must not stop. */
export async function exemptBoth(coordinator: Session, target: Session): Promise<void> {
    await exempt(target);
    if (await exempt(coordinator)) await dropKept(coordinator);
}
