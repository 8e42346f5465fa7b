/** What moves, splits and removed workers left behind. */
import { COORDINATOR } from "../../../node/topology.ts";
import { literal } from "../../../sql/quote.ts";
import { describeBytes } from "../../../util/bytes.ts";
import { explainKept, removeKept } from "../../keptCopies.ts";
import type { Finding } from "../read/finding.ts";
import { type Answer, type HealthCheck, ofCoordinator, ofNodes } from "./check.ts";

/** Whether shards move now, here or by Citus' background jobs: what a move makes is no debris yet. Asked of the coordinator. */
const MOVING = `(EXISTS (SELECT 1 FROM pg_dist_background_job WHERE state IN ('scheduled', 'running', 'cancelling', 'failing'))
    OR EXISTS (SELECT 1 FROM pg_catalog.pg_stat_activity WHERE pid <> pg_backend_pid() AND state <> 'idle'
        AND query ~* '(citus_move_shard_placement|citus_split_shard|citus_copy_shard|rebalance_table_shards|citus_drain_node|isolate_tenant|alter_distributed_table|create_distributed_table_concurrently)'))`;

interface Records {
    readonly moving: boolean;
    /** Records of nodes that are in the cluster. */
    readonly waiting: number;
    /** Names of what lies, or lay, on nodes that have left. */
    readonly stranded: readonly string[];
}

export const cleanupRecords = ofCoordinator<Records>({
    id: "cleanup-records",
    title: "Citus has nothing left to clean up (pg_dist_cleanup)",
    sql: `SELECT jsonb_build_object('moving', ${MOVING},
        'waiting', (SELECT count(*) FROM pg_dist_cleanup c WHERE EXISTS (SELECT 1 FROM pg_dist_node n WHERE n.groupid = c.node_group_id)),
        'stranded', (SELECT coalesce(jsonb_agg(object_name ORDER BY record_id), '[]') FROM pg_dist_cleanup c WHERE NOT EXISTS (SELECT 1 FROM pg_dist_node n WHERE n.groupid = c.node_group_id))) AS answer`,
    judge: ({ moving, waiting, stranded }) => {
        const forget =
            "DELETE FROM pg_dist_cleanup c WHERE NOT EXISTS (SELECT 1 FROM pg_dist_node n WHERE n.groupid = c.node_group_id)";
        const clean = "CALL citus_cleanup_orphaned_resources()";
        return [
            ...(stranded.length === 0
                ? []
                : [
                      {
                          check: "cleanup-records",
                          danger: "mend" as const,
                          node: COORDINATOR,
                          object: "pg_dist_cleanup",
                          says: `pg_dist_cleanup has ${stranded.length} records of nodes that have left the cluster: ${shown(stranded)}. Citus skips them for ever, and a later move of such a shard fails. To forget them`,
                          mend: forget,
                          on: COORDINATOR,
                          fix: { kind: "sql" as const, node: COORDINATOR, statements: [forget] },
                      },
                  ]),
            ...(waiting === 0 || moving
                ? []
                : [
                      {
                          check: "cleanup-records",
                          danger: "note" as const,
                          node: COORDINATOR,
                          object: "pg_dist_cleanup",
                          says: `${waiting} leftovers of moves wait to be dropped (pg_dist_cleanup), and nothing moves. Citus does it by itself within 15 s. If they stay, this says why`,
                          mend: clean,
                          on: COORDINATOR,
                          fix: { kind: "sql" as const, node: COORDINATOR, statements: [clean] },
                      },
                  ]),
        ];
    },
});

const shown = (names: readonly string[], most = 5) =>
    names.length > most ? `${names.slice(0, most).join(", ")} and ${names.length - most} more` : names.join(", ");

interface Replication {
    readonly moving: boolean;
    /** Objects that Citus has on its list, on any node: only the coordinator has one. */
    readonly listed: readonly string[];
    readonly slots: readonly { readonly name: string; readonly active: boolean; readonly bytes: number }[];
    readonly publications: readonly string[];
    readonly subscriptions: readonly string[];
}

const OURS = "'^citus_shard_(move|split)_'";

/** What the coordinator says of moves and of what Citus will clean up itself. */
const known = <T extends { readonly moving: boolean; readonly listed: readonly string[] }>(
    answers: readonly Answer<T>[],
) => answers.find(({ node }) => node === COORDINATOR)?.answer;

/** On a worker the coordinator's catalogs are empty. */
const LISTED = "(SELECT coalesce(jsonb_agg(object_name), '[]') FROM pg_dist_cleanup)";

export const moveLeftovers = ofNodes<Replication>({
    id: "move-leftovers",
    title: "no move left a slot, publication or subscription",
    sql: `jsonb_build_object('moving', ${MOVING}, 'listed', ${LISTED},
        'slots', (SELECT coalesce(jsonb_agg(jsonb_build_object('name', slot_name, 'active', active, 'bytes', coalesce(pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn), 0)::bigint)), '[]')
            FROM pg_catalog.pg_replication_slots WHERE slot_name ~ ${OURS} AND database = current_database()),
        'publications', (SELECT coalesce(jsonb_agg(pubname), '[]') FROM pg_catalog.pg_publication WHERE pubname ~ ${OURS}),
        'subscriptions', (SELECT coalesce(jsonb_agg(subname), '[]') FROM pg_catalog.pg_subscription WHERE subname ~ ${OURS} AND subdbid = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())))`,
    judge: (answers) => {
        const coordinator = known(answers);
        if (coordinator === undefined || coordinator.moving) return [];
        const forgotten = (name: string) => !coordinator.listed.includes(name);
        return answers.flatMap(({ node, answer }) => {
            const found = (object: string, says: string, statements: readonly string[]): Finding => ({
                check: "move-leftovers",
                danger: "mend",
                node,
                object,
                says: `${node}: ${says}. No shard moves now, and Citus has it not on its list. On ${node}`,
                mend: statements.join("; "),
                on: node,
                fix: { kind: "sql", node, statements },
            });
            return [
                // first: it uses the slot
                ...answer.subscriptions
                    .filter(forgotten)
                    .map((name) =>
                        found(name, `a move left the subscription ${name}`, [
                            `ALTER SUBSCRIPTION "${name}" DISABLE`,
                            `ALTER SUBSCRIPTION "${name}" SET (slot_name = NONE)`,
                            `DROP SUBSCRIPTION "${name}"`,
                        ]),
                    ),
                ...answer.slots
                    .filter(({ name, active }) => !active && forgotten(name))
                    .map(({ name, bytes }) =>
                        found(
                            name,
                            `a move left the replication slot ${name}, which keeps ${describeBytes(bytes)} of WAL`,
                            [`SELECT pg_drop_replication_slot(${literal(name)})`],
                        ),
                    ),
                ...answer.publications
                    .filter(forgotten)
                    .map((name) => found(name, `a move left the publication ${name}`, [`DROP PUBLICATION "${name}"`])),
            ];
        });
    },
});

interface Orphans {
    readonly moving: boolean;
    readonly listed: readonly string[];
    readonly orphans: readonly {
        readonly name: string;
        readonly bytes: number;
        readonly why: "elsewhere" | "unknown";
    }[];
}

/**
 * Tables that are named as shards, on a node that no metadata places them on: of a shard that the metadata has elsewhere, or
 * of one that it does not have. A table of somebody's own is one only when its name is a distributed table's with a number.
 */
const ORPHANS = `SELECT format('%I.%I', n.nspname, c.relname) AS name, pg_total_relation_size(c.oid) AS bytes, CASE WHEN s.shardid IS NULL THEN 'unknown' ELSE 'elsewhere' END AS why
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    LEFT JOIN pg_dist_shard s ON s.shardid = substring(c.relname FROM '_([0-9]{6,18})$')::bigint
   WHERE c.relkind IN ('r', 'p') AND c.relname ~ '_[0-9]{6,18}$' AND n.nspname !~ '^(pg_|citus_as_code_kept_)'
     AND NOT EXISTS (SELECT 1 FROM pg_dist_partition p WHERE p.logicalrelid = c.oid)
     AND CASE WHEN s.shardid IS NOT NULL
         THEN to_regclass(shard_name(s.logicalrelid, s.shardid)) = c.oid
              AND NOT EXISTS (SELECT 1 FROM pg_dist_placement l WHERE l.shardid = s.shardid AND l.groupid = (SELECT groupid FROM pg_dist_local_group))
         ELSE EXISTS (SELECT 1 FROM pg_dist_partition p JOIN pg_catalog.pg_class t ON t.oid = p.logicalrelid
                       WHERE t.relnamespace = c.relnamespace AND t.relname = regexp_replace(c.relname, '_[0-9]{6,18}$', '')) END`;

export const orphanedShards = ofNodes<Orphans>({
    id: "orphaned-shards",
    title: "no node has shards that the metadata does not place there",
    sql: `jsonb_build_object('moving', ${MOVING}, 'listed', ${LISTED},
        'orphans', (SELECT coalesce(jsonb_agg(to_jsonb(o) ORDER BY o.name), '[]') FROM (${ORPHANS}) o))`,
    judge: (answers) => {
        const coordinator = known(answers);
        if (coordinator === undefined || coordinator.moving) return [];
        return answers.flatMap(({ node, answer: { orphans } }) =>
            orphans
                .filter(({ name }) => !coordinator.listed.includes(name))
                .map(({ name, bytes, why }): Finding => {
                    const where =
                        why === "elsewhere" ? "the metadata places that shard elsewhere" : "no metadata has that shard";
                    return {
                        check: "orphaned-shards",
                        danger: "mend",
                        node,
                        object: name,
                        says: `${node}: table ${name} (${describeBytes(bytes)}) is named as a shard, and ${where}. No query reads it, and a move of such a shard to ${node} fails. Look at its rows first, then, on ${node}`,
                        mend: `SET citus.enable_manual_changes_to_shards = on; DROP TABLE ${name}`,
                        on: node,
                    };
                }),
        );
    },
});

export const keptCopies: HealthCheck = {
    id: "kept-copies",
    title: "no old copies of moved shards are kept because rows were missing",
    asks: "health",
    judge: ({ nodes }) =>
        explainKept(nodes).map(({ schema, says }) => ({
            check: "kept-copies",
            danger: "danger",
            node: null,
            object: schema,
            says,
            mend: removeKept(schema),
            on: null,
        })),
};
