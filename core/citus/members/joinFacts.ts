/** What a node is before it joins, and why it may not. */

import type { Session } from "../../reach/session.ts";
import { isOlder, UPDATE_EXTENSION } from "../versions.ts";
import { MADE_BY_CITUS } from "./leave.ts";

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
