/**
 * Machine size, role and worker count to PostgreSQL and Citus settings. Pure.
 *
 * The figures follow the PostgreSQL documentation's starting points and what shard moves were measured to need
 * (docs/settings.md lists each with its reason).
 */
import type { Role } from "./topology.ts";

export type Settings = Readonly<Record<string, string>>;

export interface Machine {
    /** Memory of the node in MiB. */
    readonly memory: number;
    readonly cores: number;
}

export interface SettingsInput extends Machine {
    readonly role: Role;
    /** Number of workers; rounded up to a power of two from 8, so that adding one rarely changes every node. */
    readonly workers: number;
    readonly shardCount: number;
    /** Memory of the nodes of the other role in MiB. @default the same */
    readonly otherMemory?: number;
    /** What the user set instead of the computed figure. */
    readonly maxConnections?: number;
    /** The same of the other role. */
    readonly otherMaxConnections?: number;
}

/** Moves that may touch one node at the same time (`citus.max_background_task_executors_per_node`). */
export const MOVES_PER_NODE = 4;

const between = (low: number, value: number, high: number) => Math.max(low, Math.min(value, high));
const mb = (value: number) => `${Math.floor(value)}MB`;

/** The worker count that settings are made for: 8, 16, 32, … */
export function workerBucket(workers: number): number {
    let bucket = 8;
    while (bucket < workers) bucket *= 2;
    return bucket;
}

/** Left on each node for the superuser, shard moves, metadata sync, health checks and backups. */
const RESERVE = 20;

/** How many connections each node accepts, and how many each node may open to another. */
export function connectionBudget(input: SettingsInput) {
    const bucket = workerBucket(input.workers);
    // the least lets every other node of the largest cluster open one, so that no worker more needs a restart
    const accepts = (memory: number) => between(240, Math.floor(memory / 10), 800);
    const maxConnections = input.maxConnections ?? accepts(input.memory);
    const others = input.otherMaxConnections ?? accepts(input.otherMemory ?? input.memory);
    // nodes open connections to both roles: the smaller one decides
    const forNodes = Math.min(maxConnections, others) - RESERVE;
    // the coordinator carries most of the traffic; workers share the rest when they take queries themselves
    const eachWorker = Math.max(1, Math.floor((forNodes * 0.4) / bucket));
    const coordinator = Math.max(
        1,
        Math.min(Math.floor(forNodes * 0.6), forNodes - eachWorker * Math.max(8, input.workers)),
    );
    return {
        maxConnections,
        sharedPool: input.role === "coordinator" ? coordinator : eachWorker,
        clients:
            input.role === "coordinator"
                ? maxConnections - RESERVE
                : Math.min(maxConnections - RESERVE, Math.max(10, Math.floor(maxConnections * 0.3))),
    };
}

/** The settings this project computes for a node, without the ones it owns (see {@link OWNED}). */
export function computeSettings(input: SettingsInput): Settings {
    const { maxConnections, sharedPool, clients } = connectionBudget(input);
    const shared = between(32, input.memory / 4, 16_384);
    const executors = between(16, workerBucket(input.workers) * 2, 64);
    const parallel = between(1, input.cores, 16);
    return {
        max_connections: String(maxConnections),
        superuser_reserved_connections: "5",
        max_prepared_transactions: String(2 * maxConnections),
        max_locks_per_transaction: "128",
        shared_buffers: mb(shared),
        effective_cache_size: mb(Math.max(64, input.memory * 0.7)),
        maintenance_work_mem: mb(between(32, input.memory / 16, 2048)),
        work_mem: mb(between(4, (input.memory - shared) / (maxConnections * 3), 256)),
        wal_buffers: mb(between(4, shared / 32, 16)),
        min_wal_size: "256MB",
        max_wal_size: mb(between(1024, input.memory, 16_384)),
        checkpoint_completion_target: "0.9",
        random_page_cost: "1.1",
        jit: "off",
        max_parallel_workers: String(parallel),
        max_parallel_workers_per_gather: String(Math.max(1, Math.floor(parallel / 2))),
        max_worker_processes: "96",
        // a move holds two senders and one slot on its source, one apply worker and one origin on its target
        max_wal_senders: String(2 * MOVES_PER_NODE + 12),
        max_replication_slots: String(MOVES_PER_NODE + 16),
        max_logical_replication_workers: String(MOVES_PER_NODE + 12),
        max_sync_workers_per_subscription: "2",
        wal_sender_timeout: "60s",
        tcp_keepalives_idle: "30",
        tcp_keepalives_interval: "10",
        tcp_keepalives_count: "3",
        log_checkpoints: "on",
        log_lock_waits: "on",
        log_line_prefix: "%m [%p] %q%u@%d/%a ",
        "pg_stat_statements.track": "top",
        // a password in a statement that makes a role or a server would be kept, for all who may read statistics
        "pg_stat_statements.track_utility": "off",
        // one counter of the connection's own for each statement; status says how many ask several shards
        "citus.enable_stat_counters": "on",
        "citus.shard_count": String(input.shardCount),
        "citus.max_shared_pool_size": String(sharedPool),
        "citus.max_client_connections": String(clients),
        "citus.max_adaptive_executor_pool_size": String(between(4, input.cores * 4, 16)),
        "citus.max_background_task_executors": String(executors),
        "citus.max_background_task_executors_per_node": String(MOVES_PER_NODE),
        // the default of 5 s is most of the time a small rebalance takes
        "citus.background_task_queue_interval": "500ms",
    };
}

/** Settings that this project sets itself and refuses to have overridden, each with the reason. */
export const OWNED: Readonly<Record<string, string>> = {
    listen_addresses: "pg_hba.conf decides who may connect",
    port: "nodes are registered under port 5432",
    unix_socket_directories: "the node scripts and the health check use it",
    hba_file: "the node's own pg_hba.conf lets nodes in by certificate and everybody else by scram-sha-256",
    ident_file: "it maps node certificates to roles",
    data_directory: "the node scripts own it",
    config_file: "the node scripts own it",
    wal_level: "shard moves need wal_level = logical",
    ssl: "every connection is TLS",
    ssl_cert_file: "certificates come from the cluster's own CA",
    ssl_key_file: "certificates come from the cluster's own CA",
    ssl_ca_file: "certificates come from the cluster's own CA",
    ssl_min_protocol_version: "TLS 1.2 or newer is required",
    password_encryption: "passwords are scram-sha-256",
    timezone: "nodes that differ in time zone give different answers; set it for a role or database instead",
    log_timezone: "it is fixed to UTC",
    lc_messages: "it is fixed to C, so that messages can be told apart",
    restart_after_crash: "a node must come back by itself",
    fsync: "turning it off loses data",
    full_page_writes: "turning it off loses data",
    synchronous_commit: "turning it off for all loses committed rows; set it for a role or session instead",
    archive_mode: "use citus:backup",
    archive_command: "use citus:backup",
    archive_library: "use citus:backup",
    archive_timeout: "it is 60 s; what a restore may lose is citus:backup.restorePoint",
    archive_cleanup_command: "it is for standbys, and this project makes none",
    restore_command: "use citus:restoreFrom",
    recovery_target: "use citus:restoreFrom",
    recovery_target_action: "use citus:restoreFrom",
    recovery_target_inclusive: "use citus:restoreFrom",
    recovery_target_lsn: "use citus:restoreFrom",
    recovery_target_name: "use citus:restoreFrom",
    recovery_target_time: "use citus:restoreFrom",
    recovery_target_timeline: "use citus:restoreFrom",
    recovery_target_xid: "use citus:restoreFrom",
    "citus.node_conninfo": "nodes verify each other's certificate (verify-full)",
    "citus.local_hostname": "it must match the node's certificate",
    "citus.cluster_name": "every node is in the default cluster",
    "citus.use_secondary_nodes": "it would send every query to standbys that are not there",
    "citus.shard_count": "use citus:shardCount",
    "citus_as_code.cluster_id": "it proves at registration that this stack made the node",
};

/** Settings that only a restart of PostgreSQL applies; from pg_settings.context = 'postmaster'. */
export const RESTART_ONLY: ReadonlySet<string> = new Set([
    "archive_mode",
    "autovacuum_freeze_max_age",
    "autovacuum_max_workers",
    "autovacuum_multixact_freeze_max_age",
    "bonjour",
    "bonjour_name",
    "citus.max_worker_nodes_tracked",
    "citus.stat_tenants_limit",
    "cluster_name",
    "commit_timestamp_buffers",
    "data_sync_retry",
    "debug_io_direct",
    "dynamic_shared_memory_type",
    "event_source",
    "external_pid_file",
    "hot_standby",
    "huge_page_size",
    "huge_pages",
    "ignore_invalid_pages",
    "jit_provider",
    "listen_addresses",
    "logging_collector",
    "max_connections",
    "max_files_per_process",
    "max_locks_per_transaction",
    "max_logical_replication_workers",
    "max_notify_queue_pages",
    "max_pred_locks_per_transaction",
    "max_prepared_transactions",
    "max_replication_slots",
    "max_wal_senders",
    "max_worker_processes",
    "min_dynamic_shared_memory",
    "multixact_member_buffers",
    "multixact_offset_buffers",
    "notify_buffers",
    "pg_stat_statements.max",
    "port",
    "reserved_connections",
    "serializable_buffers",
    "shared_buffers",
    "shared_memory_type",
    "shared_preload_libraries",
    "subtransaction_buffers",
    "superuser_reserved_connections",
    "trace_connection_negotiation",
    "track_activity_query_size",
    "track_commit_timestamp",
    "transaction_buffers",
    "unix_socket_directories",
    "unix_socket_group",
    "unix_socket_permissions",
    "wal_buffers",
    "wal_decode_buffer_size",
    "wal_level",
    "wal_log_hints",
]);

/**
 * `shared_preload_libraries` with citus first, which PostgreSQL only notices at the next start otherwise.
 * `extra` are the user's own libraries.
 */
export function preloadLibraries(extra: string | undefined): string {
    const own = ["citus", "pg_stat_statements"];
    const wanted = (extra ?? "")
        .split(",")
        .map((name) => name.trim().replace(/^'|'$/g, ""))
        .filter((name) => name !== "" && !own.includes(name));
    return [...own, ...wanted].join(",");
}

/** Settings of PostgreSQL and Citus on top of the computed ones, by the nodes that get them. */
export interface Overrides {
    /**
     * On every node of the cluster.
     * @default {}
     * @change reload or restart, as the setting needs
     * @example {"work_mem": "24MB"}
     */
    readonly all?: Settings;
    /**
     * On the coordinator. They win over `all`.
     * @default {}
     * @change reload or restart, as the setting needs
     * @example {"max_connections": "400"}
     */
    readonly coordinator?: Settings;
    /**
     * On each worker. They win over `all`.
     * @default {}
     * @change reload or restart, as the setting needs
     * @example {"maintenance_work_mem": "512MB"}
     */
    readonly workers?: Settings;
}

/** Computed settings with the user's on top: `all` first, then the role's. */
export function nodeSettings(input: SettingsInput, overrides: Overrides): Settings {
    const ofRole = (role: Role): Settings => ({
        ...overrides.all,
        ...(role === "coordinator" ? overrides.coordinator : overrides.workers),
    });
    const connections = (role: Role) => {
        const set = Number(ofRole(role).max_connections);
        return Number.isInteger(set) && set > 0 ? set : undefined;
    };
    const maxConnections = connections(input.role);
    const otherMaxConnections = connections(input.role === "coordinator" ? "worker" : "coordinator");
    const merged: Record<string, string> = {
        ...computeSettings({
            ...input,
            ...(maxConnections === undefined ? {} : { maxConnections }),
            ...(otherMaxConnections === undefined ? {} : { otherMaxConnections }),
        }),
        ...ofRole(input.role),
    };
    merged.shared_preload_libraries = preloadLibraries(merged.shared_preload_libraries);
    return Object.fromEntries(Object.entries(merged).sort(([a], [b]) => (a < b ? -1 : 1)));
}

/**
 * Settings whose value on a node is the stack's alone: what the user chose, and what the project itself needs. Whatever else
 * sets them on the server is put right.
 */
export function ownedNames(settings: Settings, overrides: Overrides): string[] {
    const chosen = [overrides.coordinator, overrides.workers, overrides.all].flatMap((part) =>
        Object.entries(part ?? {}).flatMap(([name, value]) => (settings[name] === value ? [name] : [])),
    );
    return [...new Set([...chosen, "shared_preload_libraries", ...Object.keys(OWNED)])];
}

/** Which of the differences between two sets of settings only a restart applies. */
export function restartNeeded(before: Settings, after: Settings): string[] {
    const names = new Set([...Object.keys(before), ...Object.keys(after)]);
    return [...names].filter((name) => before[name] !== after[name] && RESTART_ONLY.has(name)).sort();
}

const quote = (value: string) => `'${value.replaceAll("\\", "\\\\").replaceAll("'", "''")}'`;

/** Where the node scripts keep what they are given; the same in a container and on a machine. */
export const NODE_HOME = "/var/lib/citus";
/** Where the node scripts themselves are. */
export const NODE_SCRIPTS = "/usr/local/lib/citus-node";
const CURRENT = `${NODE_HOME}/conf/current`;

/** The whole postgresql.conf of a node. */
export function renderPostgresqlConf(settings: Settings, clusterId: string): string {
    const fixed: Settings = {
        listen_addresses: "*",
        port: "5432",
        unix_socket_directories: `${NODE_HOME}/run`,
        hba_file: `${CURRENT}/pg_hba.conf`,
        ident_file: `${CURRENT}/pg_ident.conf`,
        wal_level: "logical",
        ssl: "on",
        ssl_cert_file: `${CURRENT}/node.crt`,
        ssl_key_file: `${CURRENT}/node.key`,
        ssl_ca_file: `${CURRENT}/ca.crt`,
        ssl_min_protocol_version: "TLSv1.2",
        password_encryption: "scram-sha-256",
        timezone: "Etc/UTC",
        log_timezone: "Etc/UTC",
        lc_messages: "C",
        restart_after_crash: "on",
        "citus.node_conninfo": `sslmode=verify-full sslrootcert=${CURRENT}/ca.crt sslcert=${CURRENT}/node.crt sslkey=${CURRENT}/node.key`,
        "citus.local_hostname": "localhost",
        // proves at registration that this stack made the node
        "citus_as_code.cluster_id": clusterId,
    };
    const lines = Object.entries({ ...settings, ...fixed }).map(([name, value]) => `${name} = ${quote(value)}`);
    return `# written by pulumi; edit citus:settings instead\n${lines.join("\n")}\n`;
}

/**
 * pg_hba.conf: on the network that carries only nodes a node's certificate lets any role in and nothing else does;
 * everybody else needs a password over TLS.
 */
export function renderHba(nodeNetworks: readonly string[]): string {
    const rows = [
        "local all postgres peer",
        "local all all reject",
        "hostssl all all 127.0.0.1/32 cert map=citusnode",
        "hostssl all all ::1/128 cert map=citusnode",
        ...nodeNetworks.map((cidr) => `hostssl all all ${cidr} cert map=citusnode`),
        "hostssl replication all all reject",
        "hostssl all all all scram-sha-256",
    ];
    return `${rows.join("\n")}\n`;
}

/** pg_ident.conf: the names that this cluster's certificates carry, for any role. */
export function renderIdent(cluster: string): string {
    return `citusnode "/^(coordinator|worker-[0-9]+)[.]${cluster.replaceAll("-", "[-]")}[.]node$" all\n`;
}
