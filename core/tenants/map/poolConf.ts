/** PgBouncer's configuration on a node. Pure. */
import { NODE_HOME } from "../../node/settings.ts";
import { POOL_PORT, POSTGRES_PORT } from "../../node/topology.ts";

/** Where the node scripts keep it; scripts/node/pool.sh has the same. */
export const POOL_FILE = `${NODE_HOME}/pool/pgbouncer.ini`;

export interface PoolInput {
    /** Groups that want it. */
    readonly groups: readonly string[];
    /** Connections that the node's PostgreSQL has for clients. */
    readonly clients: number;
    /** Databases of the node, with their connection limit; -1 for none, 0 for one that is closed. */
    readonly limits: Readonly<Record<string, number>>;
}

/** Databases by the next power of two from 8, so that one more rarely changes the size of everybody's pool. */
function bucket(databases: number): number {
    let size = 8;
    while (size < databases) size *= 2;
    return size;
}

/** Connections that one role may have in one database, unless the database has a limit of its own. */
export function poolSize(clients: number, databases: number): number {
    return Math.max(1, Math.min(20, Math.floor(clients / bucket(databases))));
}

/** PgBouncer 1.24 reads no other names in its file, quoted or not; those have the limit that PostgreSQL keeps. */
const PLAIN = /^[A-Za-z0-9_.-]+$/;

/**
 * Clients need a password over TLS, the same as at PostgreSQL itself. The node's certificate lets the pool in as any role, so
 * no password is written down; a superuser does not get in by it. Settings of a session end with the transaction that
 * made them: what is put back is all that DISCARD ALL does but for prepared statements, which the pool hands on by itself.
 */
export function renderPool({ groups, clients, limits }: PoolInput): string {
    const own = Object.entries(limits)
        .filter(([name, limit]) => limit > 0 && PLAIN.test(name))
        .sort(([a], [b]) => (a < b ? -1 : 1))
        .map(
            ([name, limit]) =>
                `${name} = host=localhost port=${POSTGRES_PORT} pool_size=${limit} max_db_connections=${limit}`,
        );
    const certificates = `${NODE_HOME}/conf/current`;
    return `;; written by pulumi
;; groups: ${[...groups].sort().join(" ")}
[databases]
${[...own, `* = host=localhost port=${POSTGRES_PORT}`].join("\n")}

[pgbouncer]
listen_addr = *
listen_port = ${POOL_PORT}
unix_socket_dir = ${NODE_HOME}/pool
pidfile = ${NODE_HOME}/pool/pgbouncer.pid
client_tls_sslmode = require
client_tls_cert_file = ${certificates}/node.crt
client_tls_key_file = ${certificates}/node.key
server_tls_sslmode = verify-full
server_tls_ca_file = ${certificates}/ca.crt
server_tls_cert_file = ${certificates}/node.crt
server_tls_key_file = ${certificates}/node.key
auth_type = scram-sha-256
auth_user = postgres
auth_dbname = postgres
auth_query = SELECT rolname, rolpassword FROM pg_catalog.pg_authid WHERE rolname = $1 AND rolcanlogin AND NOT rolsuper AND (rolvaliduntil IS NULL OR rolvaliduntil > now())
pool_mode = transaction
default_pool_size = ${poolSize(clients, Object.keys(limits).length)}
max_db_connections = ${clients}
max_client_conn = 2000
server_idle_timeout = 60
server_reset_query = RESET SESSION AUTHORIZATION; RESET ALL; CLOSE ALL; UNLISTEN *; SELECT pg_advisory_unlock_all(); DISCARD SEQUENCES; DISCARD TEMP
server_reset_query_always = 1
max_prepared_statements = 200
ignore_startup_parameters = extra_float_digits
log_connections = 0
log_disconnections = 0
log_stats = 0
`;
}
