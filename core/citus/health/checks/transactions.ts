/** Transactions that nobody ends, and how near their numbers are to their end. */
import { COORDINATOR } from "../../../node/topology.ts";
import { describeAge } from "../../../util/age.ts";
import type { Finding } from "../read/finding.ts";
import { preparedFindings } from "../read/transactions.ts";
import { type HealthCheck, ofNodes } from "./check.ts";

export const preparedTransactions: HealthCheck = {
    id: "prepared-transactions",
    title: "no transaction is prepared and not ended",
    asks: "health",
    silent: ({ transactions }) => transactions?.silent ?? [],
    judge: ({ transactions, rows, away }) =>
        transactions === undefined ? [] : preparedFindings(transactions, rows, away),
};

interface Running {
    readonly pid: number;
    readonly role: string;
    readonly application: string;
    readonly database: string;
    readonly seconds: number;
    readonly query: string;
}

export const longTransactions = ofNodes<readonly Running[]>({
    id: "long-transactions",
    title: "no statement runs for long and keeps dead rows",
    // those that are idle are found by look.sh, with the status
    sql: `(SELECT coalesce(jsonb_agg(jsonb_build_object('pid', pid, 'role', coalesce(usename, '?'), 'application', application_name, 'database', coalesce(datname, '?'),
              'seconds', extract(epoch FROM clock_timestamp() - xact_start)::float8, 'query', left(regexp_replace(query, '\\s+', ' ', 'g'), 80)) ORDER BY xact_start), '[]')
        FROM pg_catalog.pg_stat_activity WHERE backend_type = 'client backend' AND state = 'active' AND pid <> pg_backend_pid() AND (backend_xmin IS NOT NULL OR backend_xid IS NOT NULL))`,
    judge: (answers, { transactionSeconds }) =>
        answers.flatMap(({ node, answer }) =>
            answer
                .filter(({ seconds }) => seconds > transactionSeconds)
                .map(
                    ({ pid, role, application, database, seconds, query }): Finding => ({
                        check: "long-transactions",
                        danger: seconds > 24 * transactionSeconds ? "danger" : "mend",
                        node,
                        object: `process ${pid}`,
                        says: `${node}: a transaction of ${role} (${application || "no application name"}, process ${pid}, database ${database}) has been at work for ${describeAge(seconds)}, in ${query}. Until it ends no dead row that is younger is removed, on any table. If nobody waits for it`,
                        mend: `SELECT pg_cancel_backend(${pid})`,
                        on: node,
                    }),
                ),
        ),
});

interface Ages {
    readonly databases: readonly { readonly name: string; readonly xid: number; readonly multi: number }[];
}

const millions = (count: number) => `${Math.round(count / 1e6)} million`;

export const transactionIds = ofNodes<Ages>({
    id: "transaction-ids",
    title: "old transaction ids are frozen in time",
    sql: `jsonb_build_object('databases', (SELECT jsonb_agg(jsonb_build_object('name', datname, 'xid', age(datfrozenxid), 'multi', mxid_age(datminmxid)) ORDER BY datname)
        FROM pg_catalog.pg_database WHERE datallowconn))`,
    judge: (answers, { transactionIds: most, transactionIdsDanger }) =>
        answers.flatMap(({ node, answer: { databases } }) =>
            databases.flatMap(({ name, xid, multi }): Finding[] => {
                const oldest = Math.max(xid, multi);
                if (oldest < most) return [];
                const what = xid >= multi ? "transaction ids" : "multixacts";
                return [
                    {
                        check: "transaction-ids",
                        danger: oldest >= transactionIdsDanger ? "danger" : "mend",
                        node,
                        object: name,
                        says: `${node}: database ${name} has ${millions(oldest)} ${what} since its oldest row that is not frozen. At about 2147 million PostgreSQL refuses writes. Look what keeps autovacuum from it (long-transactions, idle-slots, prepared-transactions), then, in database ${name}`,
                        mend: "VACUUM (FREEZE, SKIP_LOCKED)",
                        on: node,
                    },
                ];
            }),
        ),
});

interface Autovacuum {
    readonly off: readonly string[];
    readonly tables: readonly string[];
}

export const autovacuum = ofNodes<Autovacuum>({
    id: "autovacuum",
    title: "autovacuum runs on every node and table",
    sql: `jsonb_build_object(
        'off', (SELECT coalesce(jsonb_agg(name ORDER BY name), '[]') FROM pg_catalog.pg_settings WHERE name IN ('autovacuum', 'track_counts') AND setting = 'off'),
        'tables', (SELECT coalesce(jsonb_agg(format('%I.%I', n.nspname, c.relname) ORDER BY 1), '[]') FROM (
            SELECT * FROM pg_catalog.pg_class WHERE relkind IN ('r', 'm') AND EXISTS (SELECT 1 FROM unnest(reloptions) o WHERE o ~ '^autovacuum_enabled=(false|off|no|0|f)') ORDER BY relname LIMIT 1000) c
            JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace))`,
    judge: (answers) => {
        // a table's setting is that of its shards, too: one line says it
        const tablesOf = answers.find(({ node }) => node === COORDINATOR)?.answer.tables ?? [];
        const isCovered = (table: string) =>
            tablesOf.some(
                (known) => table === known || (/^_[0-9]+$/.test(table.slice(known.length)) && table.startsWith(known)),
            );
        return answers.flatMap(({ node, answer: { off, tables } }) => [
            ...off.map(
                (name): Finding => ({
                    check: "autovacuum",
                    danger: "danger",
                    node,
                    object: name,
                    says: `${node}: ${name} is off. Dead rows stay, statistics age, and old transaction ids are frozen only in an emergency. If citus:settings does not say so, on ${node}`,
                    mend: `ALTER SYSTEM RESET ${name}; SELECT pg_reload_conf()`,
                    on: node,
                    fix: {
                        kind: "sql",
                        node,
                        statements: [`ALTER SYSTEM RESET ${name}`, "SELECT pg_reload_conf()"],
                    },
                }),
            ),
            ...tables
                .filter((table) => node === COORDINATOR || !isCovered(table))
                .map(
                    (table): Finding => ({
                        check: "autovacuum",
                        danger: "mend",
                        node,
                        object: table,
                        says: `${node}: autovacuum is off for ${table} (autovacuum_enabled). Its dead rows stay`,
                        mend: `ALTER TABLE ${table} RESET (autovacuum_enabled)`,
                        on: node,
                    }),
                ),
        ]);
    },
});
