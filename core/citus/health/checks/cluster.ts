/** What nodes must have in common, and what they are open to. */
import { COORDINATOR, nodeOf } from "../../../node/topology.ts";
import { literal } from "../../../sql/quote.ts";
import { describeAge } from "../../../util/age.ts";
import { onNodes } from "../../catalog.ts";
import type { Finding } from "../read/finding.ts";
import { ofCoordinator, ofNodes, type StackCheck } from "./check.ts";
import { fixesSince, KNOWN_UNTIL, NEWEST_FIXED } from "./securityFixes.ts";

interface Clocks {
    /** The coordinator's clock before the question and after the last answer, in seconds. */
    readonly before: number;
    readonly after: number;
    readonly nodes: readonly { readonly host: string; readonly at: number }[];
}

const describeSeconds = (seconds: number) =>
    seconds < 2 ? `${Math.round(1000 * seconds)} ms` : seconds < 90 ? `${seconds.toFixed(1)} s` : describeAge(seconds);

export const clocks = ofCoordinator<Clocks>({
    id: "clocks",
    title: "the nodes' clocks agree",
    sql: `WITH b AS MATERIALIZED (SELECT extract(epoch FROM clock_timestamp())::float8 AS t),
        r AS MATERIALIZED (SELECT r.node_name AS host, r.success, r.result, b.t FROM b, ${onNodes("groupid <> 0", literal("SELECT extract(epoch FROM clock_timestamp())::float8"))})
        SELECT jsonb_build_object('before', (SELECT t FROM b),
            'nodes', (SELECT coalesce(jsonb_agg(jsonb_build_object('host', host, 'at', result::float8)) FILTER (WHERE success), '[]') FROM r),
            'after', extract(epoch FROM clock_timestamp())::float8) AS answer`,
    judge: ({ before, after, nodes }, { clockSeconds, clockSecondsDanger }) =>
        nodes.flatMap(({ host, at }): Finding[] => {
            // an answer was made some time between the two
            const apart = at < before ? at - before : at > after ? at - after : 0;
            if (Math.abs(apart) < clockSeconds) return [];
            const node = nodeOf(host);
            return [
                {
                    check: "clocks",
                    danger: Math.abs(apart) >= clockSecondsDanger ? "danger" : "mend",
                    node,
                    object: null,
                    says: `${node}'s clock is ${describeSeconds(Math.abs(apart))} ${apart < 0 ? "behind" : "ahead of"} the coordinator's. now() differs between nodes, and a restore to a time is not one moment. Let the machine follow a time server (chronyc tracking, timedatectl)`,
                    mend: null,
                    on: null,
                },
            ];
        }),
});

interface Budget {
    readonly max: number;
    readonly reserved: number;
    readonly pool: number;
    readonly clients: number;
    readonly used: number;
}

/** How many connections this node may open to each other one. */
const poolOf = ({ pool, max }: Budget) => (pool === 0 ? max : pool);

export const connectionBudget = ofNodes<Budget>({
    id: "connection-budget",
    title: "each node accepts as many connections as the others may open",
    sql: `jsonb_build_object('max', current_setting('max_connections')::int, 'reserved', current_setting('superuser_reserved_connections')::int,
        'pool', current_setting('citus.max_shared_pool_size')::int, 'clients', current_setting('citus.max_client_connections')::int,
        'used', (SELECT count(*) FROM pg_catalog.pg_stat_activity WHERE backend_type = 'client backend'))`,
    judge: (answers, { connectionsUsed }) =>
        answers.flatMap(({ node, answer: { max, reserved, used } }): Finding[] => {
            const others = answers.filter((other) => other.node !== node);
            const unlimited = others.filter(({ answer }) => answer.pool < 0).map((other) => other.node);
            const incoming = others.reduce((sum, { answer }) => sum + Math.max(0, poolOf(answer)), 0);
            const over = (says: string): Finding => ({
                check: "connection-budget",
                danger: "mend",
                node,
                object: "citus.max_shared_pool_size",
                says: `${node} accepts ${max} connections, ${reserved} of them for the superuser, and ${says}. Under load a query fails with "too many clients". Leave citus.max_shared_pool_size and max_connections out of citus:settings, then`,
                mend: "npm run pulumi -- up --refresh",
                on: null,
            });
            return [
                ...(unlimited.length > 0
                    ? [
                          over(
                              `${unlimited.join(", ")} may open as many to it as they like (citus.max_shared_pool_size is -1)`,
                          ),
                      ]
                    : incoming > max - reserved
                      ? [
                            over(
                                `the other nodes may open ${incoming} to it: ${others.map((other) => `${poolOf(other.answer)} from ${other.node}`).join(", ")}`,
                            ),
                        ]
                      : []),
                ...(used > connectionsUsed * max
                    ? [
                          {
                              check: "connection-budget",
                              danger: "mend" as const,
                              node,
                              object: "max_connections",
                              says: `${node} has ${used} of ${max} connections in use. npm run status -- activity says whose. Let clients share connections: citus:pool turns on PgBouncer`,
                              mend: null,
                              on: null,
                          },
                      ]
                    : []),
            ];
        }),
});

interface Collations {
    readonly database: string;
    readonly made: string | null;
    readonly here: string | null;
    readonly others: readonly { readonly name: string; readonly made: string; readonly here: string | null }[];
    readonly libraries: string;
}

export const collations = ofNodes<Collations>({
    id: "collations",
    title: "indexes were made with the collation versions that the machine has, the same on all nodes",
    sql: `(SELECT jsonb_build_object('database', d.datname, 'made', d.datcollversion, 'here', pg_database_collation_actual_version(d.oid),
              'others', (SELECT coalesce(jsonb_agg(jsonb_build_object('name', format('%I.%I', n.nspname, c.collname), 'made', c.collversion, 'here', pg_collation_actual_version(c.oid)) ORDER BY 1), '[]')
                 FROM pg_catalog.pg_collation c JOIN pg_catalog.pg_namespace n ON n.oid = c.collnamespace
                WHERE c.collversion IS DISTINCT FROM pg_collation_actual_version(c.oid) AND c.collversion IS NOT NULL
                  AND EXISTS (SELECT 1 FROM pg_catalog.pg_depend u WHERE u.refclassid = 'pg_collation'::regclass AND u.refobjid = c.oid)),
              'libraries', concat_ws(' ', d.datlocprovider, d.datcollate, pg_database_collation_actual_version(d.oid)))
        FROM pg_catalog.pg_database d WHERE d.datname = current_database())`,
    judge: (answers) => {
        const own = answers.find(({ node }) => node === COORDINATOR)?.answer;
        return answers.flatMap(({ node, answer: { database, made, here, others, libraries } }): Finding[] => {
            const name = `"${database.replaceAll('"', '""')}"`;
            const alone = node === COORDINATOR ? "" : "SET citus.enable_ddl_propagation = off; ";
            return [
                ...(made !== null && here !== null && made !== here
                    ? [
                          {
                              check: "collations",
                              danger: "danger" as const,
                              node,
                              object: database,
                              says: `${node}: database ${database} was made with collation version ${made}, and the machine has ${here}. Indexes on text may miss rows and let duplicates in. On ${node}, while nothing writes`,
                              mend: `REINDEX DATABASE ${name}; ${alone}ALTER DATABASE ${name} REFRESH COLLATION VERSION`,
                              on: node,
                          },
                      ]
                    : []),
                ...others.map((one) => ({
                    check: "collations",
                    danger: "danger" as const,
                    node,
                    object: one.name,
                    says: `${node}: collation ${one.name} was made with version ${one.made}, and the machine has ${one.here ?? "none"}. Make the indexes that use it anew (REINDEX), then, on ${node}`,
                    mend: `${alone}ALTER COLLATION ${one.name} REFRESH VERSION`,
                    on: node,
                })),
                ...(own !== undefined && own.libraries !== libraries
                    ? [
                          {
                              check: "collations",
                              danger: "danger" as const,
                              node,
                              object: database,
                              says: `${node} sorts by another collation than the coordinator: ${libraries} and ${own.libraries} (provider, name, version). A sorted result over both is wrong. Give all nodes the same image or machine image`,
                              mend: "npm run pulumi -- up --refresh",
                              on: null,
                          },
                      ]
                    : []),
            ];
        });
    },
});

export const securityFixes = ofNodes<{ readonly version: string }>({
    id: "security-fixes",
    title: `PostgreSQL has the security fixes that were known on ${KNOWN_UNTIL}`,
    sql: `jsonb_build_object('version', split_part(current_setting('server_version'), ' ', 1))`,
    judge: (answers) => {
        const versions = [...new Set(answers.map(({ answer }) => answer.version))];
        return versions.flatMap((version): Finding[] => {
            const fixes = fixesSince(version);
            const newest = NEWEST_FIXED[version.split(".")[0] ?? ""];
            if (fixes.length === 0 || newest === undefined) return [];
            const nodes = answers.filter(({ answer }) => answer.version === version).map(({ node }) => node);
            return [
                {
                    check: "security-fixes",
                    // what an older minor lets others do depends on who may connect
                    danger: "note",
                    node: null,
                    object: version,
                    says: `PostgreSQL ${version} on ${nodes.join(", ")} lacks the security fixes of ${fixes.map(({ release, cves }) => `${release} (${cves.join(", ")})`).join("; ")}. ${newest} is the newest that was known on ${KNOWN_UNTIL}. Take an image or a machine with it, one node after another`,
                    mend: null,
                    on: null,
                },
            ];
        });
    },
});

const isEverywhere = (address: string) => ["0.0.0.0", "::", "", "[::]"].includes(address);

export const publicPorts: StackCheck = {
    id: "public-ports",
    title: "no port is open to the whole network",
    asks: "stack",
    judge: ({ ports, ingress }) => [
        ...ports
            .filter(({ address }) => isEverywhere(address))
            .map(
                ({ container, node, address, port }): Finding => ({
                    check: "public-ports",
                    danger: "danger",
                    node,
                    object: container,
                    says: `container ${container}${node === null ? "" : ` of ${node}`} opens port ${port} on ${address || "every address"} of the engine's machine: whoever reaches that machine reaches it. Docker goes past the machine's own firewall (ufw). If this project made it`,
                    mend: "npm run pulumi -- up --refresh",
                    on: null,
                }),
            ),
        ...ingress
            .filter(({ range }) => /\/0$/.test(range))
            .map(
                ({ group, port, range }): Finding => ({
                    check: "public-ports",
                    danger: "danger",
                    node: null,
                    object: group,
                    says: `security group ${group} lets ${range} reach port ${port}: everybody may try passwords. Put the ranges of your clients into citus:aws.allowedCidrs, then`,
                    mend: "npm run pulumi -- up",
                    on: null,
                }),
            ),
    ],
};
