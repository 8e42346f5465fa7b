/** What a report consists of, asked of the cluster. */

import { dockerEngine } from "../../core/reach/docker/engine.ts";
import { readLog } from "../../core/reach/log.ts";
import type { Session } from "../../core/reach/session.ts";
import type { StackNode } from "../lib/nodes.ts";
import type { StateResource } from "../lib/resources.ts";
import type { Redactor } from "./redact.ts";

/** Lines of each node's log. */
export const LOG_LINES = 2000;

/** What is asked of every node, each as a list of rows. */
export const ON_NODE: Readonly<Record<string, string>> = {
    versions:
        "SELECT version() AS postgres, citus_version() AS citus, pg_postmaster_start_time() AS started, pg_conf_load_time() AS configured, now() AS now",
    extensions: "SELECT extname, extversion FROM pg_extension ORDER BY 1",
    settings:
        "SELECT name, setting, unit, source, pending_restart FROM pg_settings WHERE source NOT IN ('default', 'override') ORDER BY 1",
    activity: `SELECT pid, datname, usename, application_name, backend_type, state, wait_event_type, wait_event, backend_start, xact_start, query_start, state_change,
        backend_xid::text, backend_xmin::text, left(query, 2000) AS query FROM pg_stat_activity ORDER BY xact_start NULLS LAST, pid`,
    locks: "SELECT pid, locktype, mode, granted, relation::regclass::text AS relation FROM pg_locks WHERE NOT granted OR relation >= 16384 ORDER BY granted, pid LIMIT 2000",
    slots: "SELECT slot_name, plugin, slot_type, database, active, wal_status, restart_lsn::text, confirmed_flush_lsn::text, inactive_since FROM pg_replication_slots ORDER BY 1",
    prepared: "SELECT gid, prepared, owner, database FROM pg_prepared_xacts ORDER BY prepared",
    databases:
        "SELECT datname, age(datfrozenxid) AS xid_age, mxid_age(datminmxid) AS multixact_age, pg_database_size(oid)::text AS bytes FROM pg_database WHERE datallowconn ORDER BY 1",
    pg_dist_node: "SELECT * FROM pg_dist_node ORDER BY nodeid",
    pg_dist_local_group: "SELECT * FROM pg_dist_local_group",
    pg_dist_partition:
        "SELECT logicalrelid::regclass::text AS table, partmethod, column_to_column_name(logicalrelid, partkey) AS column, colocationid, repmodel FROM pg_dist_partition ORDER BY 1",
    pg_dist_shard:
        "SELECT shardid::text, logicalrelid::regclass::text AS table, shardminvalue, shardmaxvalue FROM pg_dist_shard ORDER BY shardid LIMIT 20000",
    pg_dist_placement:
        "SELECT placementid::text, shardid::text, shardstate, groupid FROM pg_dist_placement ORDER BY shardid LIMIT 20000",
    pg_dist_colocation: "SELECT * FROM pg_dist_colocation ORDER BY 1",
    pg_dist_cleanup: "SELECT * FROM pg_dist_cleanup ORDER BY 1 LIMIT 2000",
    pg_dist_background_job: "SELECT * FROM pg_dist_background_job ORDER BY 1 DESC LIMIT 20",
    pg_dist_background_task:
        "SELECT job_id, task_id, status::text, pid, retry_count, not_before, command, message FROM pg_dist_background_task ORDER BY task_id DESC LIMIT 500",
    pg_dist_transaction: "SELECT * FROM pg_dist_transaction LIMIT 500",
};

/** Fields that are statements. */
const STATEMENTS = ["query", "command"];
/** Fields that are what a server wrote. */
const json = (value: unknown) => `${JSON.stringify(value, null, 2)}\n`;

export type Files = Record<string, string>;

/** What could not be asked, for the report's own page. */
export type Failed = (what: string, error: unknown) => void;

export async function askedOf(node: string, session: Session, redactor: Redactor, failed: Failed): Promise<Files> {
    const files: Files = {};
    await session.query("SET statement_timeout = '30s'").catch(() => undefined);
    for (const [name, sql] of Object.entries(ON_NODE)) {
        try {
            const rows = redactor.data(await session.query(sql), STATEMENTS);
            // its last words are a log's
            files[`nodes/${node}/${name}.json`] =
                name === "pg_dist_background_task" ? redactor.log(json(rows)) : json(rows);
        } catch (error) {
            failed(`nodes/${node}/${name}.json`, error);
        }
    }
    return files;
}

export async function logOf({ name, shell }: StackNode, redactor: Redactor, failed: Failed): Promise<Files> {
    try {
        const lines: string[] = [];
        for await (const { text } of readLog(shell, { lines: LOG_LINES })) lines.push(text);
        return { [`nodes/${name}/log.txt`]: `${redactor.log(lines.join("\n"))}\n` };
    } catch (error) {
        failed(`nodes/${name}/log.txt`, error);
        return {};
    }
}

/** What the engine says of a container; of its environment only names. */
export async function containerOf({ name, shell }: StackNode, redactor: Redactor, failed: Failed): Promise<Files> {
    if (shell.kind !== "docker") return {};
    try {
        const { Config, ...rest } = await dockerEngine(shell.engine).getContainer(shell.container).inspect();
        const Env = (Config.Env ?? []).map((one) => one.replace(/=.*$/s, "=(removed)"));
        return { [`nodes/${name}/container.json`]: json(redactor.data({ ...rest, Config: { ...Config, Env } })) };
    } catch (error) {
        failed(`nodes/${name}/container.json`, error);
        return {};
    }
}

/** Resources by name and kind, without what they were given and what they gave. */
export const resourcesOf = (resources: readonly StateResource[]): Files => ({
    "resources.json": json(
        resources.map(({ urn, type, parent, dependencies, protect }) => ({ urn, type, parent, dependencies, protect })),
    ),
});

export const asJson = json;
