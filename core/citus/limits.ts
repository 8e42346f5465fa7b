/**
 * Timeouts and read-only defaults that a configuration, a database or a role sets for everybody. What moves shards, and
 * Citus' own connections between nodes, run as the superuser, and take as long as they take. Some steps of a move run as
 * the table's owner, whose limits are the applications' own: those are looked at before anything moves.
 */
import { nodeOf } from "../node/topology.ts";
import { NO_LIMITS } from "../reach/ownSession.ts";
import type { Session } from "../reach/session.ts";
import { identifier, literal } from "../sql/quote.ts";

/** Settings of the current role in the current database: PostgreSQL takes them before those of the role, the database and the configuration. */
const OWN = `SELECT coalesce(array_agg(line), '{}') AS lines, current_user AS role, current_database() AS database
  FROM pg_db_role_setting s JOIN pg_roles r ON r.oid = s.setrole JOIN pg_database d ON d.oid = s.setdatabase, unnest(s.setconfig) line
 WHERE r.rolname = current_user AND d.datname = current_database()`;

/** Which limits a role is not exempt from, by its settings (`name=value`) in the database. Pure. */
export function missingExemptions(lines: readonly string[]): string[] {
    return Object.entries(NO_LIMITS)
        .filter(([name, value]) => !lines.includes(`${name}=${value}`))
        .map(([name]) => name);
}

/**
 * Exempts the superuser of a node from every limit, in this database. Safe to repeat. Citus' background workers and its
 * connections between nodes are the superuser's.
 * @param node a connection to the node itself, which is not bound by the limits
 * @returns whether anything had to be changed
 */
export async function exempt(node: Session): Promise<boolean> {
    const [own] = await node.query<{ lines: string[]; role: string; database: string }>(OWN);
    const missing = missingExemptions(own?.lines ?? []);
    if (!own || missing.length === 0) return false;
    // each node is told itself, also one whose other connections may only read
    await node.query("SET citus.enable_alter_role_set_propagation = off");
    for (const name of missing)
        await node.query(
            `ALTER ROLE ${identifier(own.role)} IN DATABASE ${identifier(own.database)} SET ${name} = ${literal(NO_LIMITS[name] ?? "")}`,
        );
    await node.query("RESET citus.enable_alter_role_set_propagation");
    return true;
}

/** Ends the connections to other nodes that a session keeps: they began with the settings of before. */
export async function dropKept(coordinator: Session): Promise<void> {
    await coordinator.query("SET citus.max_cached_conns_per_worker = 0");
    await coordinator.query("SELECT run_command_on_all_nodes('SELECT 1')");
    await coordinator.query("RESET citus.max_cached_conns_per_worker");
}

/** Names of the nodes on which the superuser is bound by a limit. One that does not answer is left out. */
export async function readBound(coordinator: Session): Promise<string[]> {
    const rows = await coordinator.query<{ host: string; result: string }>(
        `SELECT n.nodename AS host, r.result FROM run_command_on_all_nodes(${literal(`SELECT to_json(lines)::text FROM (${OWN}) own`)}) r
           JOIN pg_dist_node n USING (nodeid) WHERE r.success ORDER BY n.groupid`,
    );
    return rows
        .filter(({ result }) => missingExemptions(JSON.parse(result) as string[]).length > 0)
        .map(({ host }) => nodeOf(host));
}

/** A limit that sessions of a role begin with on a node. */
export interface Limit {
    readonly node: string;
    readonly role: string;
    readonly setting: string;
    readonly value: string;
    /** In milliseconds; 0 where the setting is no timeout. */
    readonly milliseconds: number;
    /** Where it is set. */
    readonly level: "role in database" | "role" | "database" | "all roles" | "configuration";
    readonly database: string;
}

/** The limits in force for owners of distributed tables on the node that runs it, as one JSON text. */
const IN_FORCE = `SELECT coalesce(json_agg(found), '[]')::text FROM (
  SELECT DISTINCT ON (o.role, l.name) o.role, l.name AS setting, s.value, s.level, current_database() AS database
    FROM (SELECT DISTINCT c.relowner AS oid, pg_get_userbyid(c.relowner)::text AS role
            FROM pg_dist_partition p JOIN pg_class c ON c.oid = p.logicalrelid) o
   CROSS JOIN unnest(ARRAY[${Object.keys(NO_LIMITS).map(literal).join(", ")}]) l(name)
    JOIN LATERAL (
         SELECT CASE WHEN d.setrole <> 0 AND d.setdatabase <> 0 THEN 'role in database' WHEN d.setrole <> 0 THEN 'role'
                     WHEN d.setdatabase <> 0 THEN 'database' ELSE 'all roles' END AS level, substr(line, length(l.name) + 2) AS value
           FROM pg_db_role_setting d, unnest(d.setconfig) line
          WHERE starts_with(line, l.name || '=') AND d.setrole IN (0, o.oid)
            AND d.setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))
          UNION ALL
         (SELECT 'configuration', f.setting FROM pg_file_settings f WHERE f.name = l.name AND f.applied ORDER BY f.seqno DESC LIMIT 1)) s ON true
   ORDER BY o.role, l.name, array_position(ARRAY['role in database', 'role', 'database', 'all roles', 'configuration'], s.level)) found`;

const UNITS: Readonly<Record<string, number>> = { us: 0.001, ms: 1, s: 1000, min: 60_000, h: 3_600_000, d: 86_400_000 };

/** A timeout as PostgreSQL writes it, in milliseconds. Pure. */
export function millisecondsOf(value: string): number {
    const match = /^\s*([0-9.]+)\s*(us|ms|s|min|h|d)?\s*$/.exec(value);
    return match ? Number(match[1]) * (UNITS[match[2] ?? "ms"] ?? 1) : 0;
}

const isOn = (value: string) => /^(on|true|yes|1|t|tr|tru|y|ye)$/i.test(value);

/** Limits that hold for owners of distributed tables, on every node that answers. */
export async function readLimits(coordinator: Session): Promise<Limit[]> {
    const rows = await coordinator.query<{ host: string; result: string }>(
        `SELECT n.nodename AS host, r.result FROM run_command_on_all_nodes(${literal(IN_FORCE)}) r
           JOIN pg_dist_node n USING (nodeid) WHERE r.success ORDER BY n.groupid`,
    );
    return rows
        .flatMap(({ host, result }) =>
            (JSON.parse(result) as Omit<Limit, "node" | "milliseconds">[]).map((limit) => ({
                ...limit,
                node: nodeOf(host),
                milliseconds: limit.setting === "default_transaction_read_only" ? 0 : millisecondsOf(limit.value),
            })),
        )
        .filter((limit) => limit.milliseconds > 0 || (limit.milliseconds === 0 && isOn(limit.value)));
}

/** The statement, or the edit, that lifts a limit. */
function lift({ setting, level, role, database }: Limit): string {
    switch (level) {
        case "role in database":
            return `ALTER ROLE ${identifier(role)} IN DATABASE ${identifier(database)} RESET ${setting};`;
        case "role":
            return `ALTER ROLE ${identifier(role)} RESET ${setting};`;
        case "database":
            return `ALTER DATABASE ${identifier(database)} RESET ${setting};`;
        case "all roles":
            return `ALTER ROLE ALL RESET ${setting};`;
        case "configuration":
            return `take ${setting} out of citus:settings, then pulumi up`;
    }
}

const SOURCES: Readonly<Record<Limit["level"], string>> = {
    "role in database": "set for the role in the database",
    role: "set for the role",
    database: "set for the database",
    "all roles": "set for all roles",
    configuration: "set in the configuration",
};

/** Two lines for each limit that is the same on some nodes: setting, value, source, nodes; and what lifts it. */
export function describeLimits(limits: readonly Limit[]): string[] {
    const together = new Map<string, Limit[]>();
    for (const limit of limits) {
        const key = [limit.role, limit.setting, limit.value, limit.level].join("\n");
        together.set(key, [...(together.get(key) ?? []), limit]);
    }
    return [...together.values()].flatMap((same) => {
        const limit = same[0] as Limit;
        return [
            `  role ${limit.role}: ${limit.setting} = ${limit.value}, ${SOURCES[limit.level]}, on ${same.map(({ node }) => node).join(", ")}`,
            `      ${lift(limit)}`,
        ];
    });
}

/** How fast a primary key is built at the least, in bytes a second. */
const SLOW_BUILD = 10_000_000;

export interface Hindrance {
    /** Keeps every move of such a table from working. */
    readonly refused: readonly Limit[];
    /** May end a step of a move of the largest shards. */
    readonly doubtful: readonly Limit[];
}

/**
 * What limits of tables' owners do to moves: Citus makes a shard's table, and builds its primary key, as its owner. Pure.
 * @param largest bytes of the largest shard group that moves
 */
export function hindrances(limits: readonly Limit[], largest: number): Hindrance {
    return {
        refused: limits.filter(({ setting }) => setting === "default_transaction_read_only"),
        doubtful: limits.filter(
            ({ setting, milliseconds }) =>
                (setting === "statement_timeout" || setting === "transaction_timeout") &&
                milliseconds < (largest / SLOW_BUILD) * 1000,
        ),
    };
}

/** The error for limits that keep shards from moving. */
export function explainReadOnly({ refused }: Hindrance): string {
    return [
        "Shards can't be moved, because owners of their tables may only read. Citus makes a moved shard's table as its owner.",
        ...describeLimits(refused),
        "No shard was moved. Run the statements above (npm run psql), then pulumi up again.",
    ].join("\n");
}

/** A warning for the preview; undefined when there is nothing to say. */
export function explainDoubtful({ doubtful }: Hindrance): string | undefined {
    if (doubtful.length === 0) return undefined;
    return [
        "Citus builds the primary key of a moved shard as the table's owner. With these limits a large shard may not move:",
        ...describeLimits(doubtful),
        "If the move fails, run the statements above, then pulumi up again.",
    ].join("\n");
}

/** Whether a message of PostgreSQL is about one of the limits. */
export const isLimited = (message: string): boolean =>
    /due to (statement|transaction|lock|idle-session|idle-in-transaction) timeout|in a read-only transaction/.test(
        message,
    );
