/** Machine size, role and worker count to settings: what must hold for every size, and the files that come out. */
import assert from "node:assert/strict";
import fc from "fast-check";
import { describe, test } from "vitest";
import { validate } from "../../../components/config/index.ts";
import {
    computeSettings,
    connectionBudget,
    MOVES_PER_NODE,
    nodeSettings,
    OWNED,
    preloadLibraries,
    RESTART_ONLY,
    renderHba,
    renderIdent,
    renderPostgresqlConf,
    restartNeeded,
    type Settings,
    type SettingsInput,
    workerBucket,
} from "../../../core/node/settings.ts";
import type { Role } from "../../../core/node/topology.ts";
import { topology } from "../../../core/node/topology.ts";

/** What config.ts lets through. */
const memory = fc.oneof(fc.integer({ min: 256, max: 16_384 }), fc.integer({ min: 256, max: 4 * 1024 * 1024 }));
const cores = fc.integer({ min: 1, max: 512 });
const workers = fc.integer({ min: 0, max: 200 });
const role = fc.constantFrom<Role>("coordinator", "worker");
const shardCount = fc.integer({ min: 1, max: 64_000 });
const input: fc.Arbitrary<SettingsInput> = fc.record({ role, memory, cores, workers, shardCount });

/** Left on each node for the superuser, shard moves, metadata sync, health checks and backups. */
const RESERVE = 20;
const number = (settings: Settings, name: string) => {
    const value = settings[name];
    assert.ok(value !== undefined, `${name} is not set`);
    assert.match(value, /^[0-9]+$/, name);
    return Number(value);
};
const mebibytes = (settings: Settings, name: string) => {
    assert.match(settings[name] ?? "", /^[0-9]+MB$/, name);
    return Number.parseInt(settings[name] ?? "", 10);
};

/** Whether the configuration lets such a cluster through at all. */
function accepted(machine: { memory: number; cores: number }, count: number): boolean {
    const node = { memory: `${machine.memory}MB`, cores: machine.cores };
    return "args" in validate({ stack: "dev", values: { workers: count, coordinator: node, worker: node } });
}

/** What all nodes together may open to one worker. */
function openedToOneWorker(machine: { memory: number; cores: number }, count: number): { opened: number; max: number } {
    const of = (nodeRole: Role) => nodeSettings({ role: nodeRole, ...machine, workers: count, shardCount: 32 }, {});
    return {
        opened:
            number(of("coordinator"), "citus.max_shared_pool_size") +
            count * number(of("worker"), "citus.max_shared_pool_size"),
        max: number(of("worker"), "max_connections"),
    };
}

describe("connection budget", () => {
    test("what every node may open to one worker stays within max_connections less the reserve, to 8 workers", () => {
        fc.assert(
            fc.property(memory, cores, fc.integer({ min: 0, max: 8 }), (m, c, n) => {
                const { opened, max } = openedToOneWorker({ memory: m, cores: c }, n);
                assert.ok(opened <= max - RESERVE, `${opened} of ${max} with ${n} workers of ${m} MiB`);
            }),
        );
    });

    test("what every node may open to one worker stays within max_connections less the reserve, to 200 workers", () => {
        fc.assert(
            fc.property(memory, cores, workers, (m, c, n) => {
                fc.pre(accepted({ memory: m, cores: c }, n));
                const { opened, max } = openedToOneWorker({ memory: m, cores: c }, n);
                assert.ok(opened <= max - RESERVE, `${opened} of ${max} with ${n} workers of ${m} MiB`);
            }),
        );
    });

    test("holds for 64 workers of the default size", () => {
        const { opened, max } = openedToOneWorker({ memory: 1024, cores: 2 }, 64);
        assert.ok(opened <= max - RESERVE, `${opened} of ${max}`);
    });

    test("clients never take the reserve", () => {
        fc.assert(
            fc.property(input, (i) => {
                const settings = computeSettings(i);
                const max = number(settings, "max_connections");
                assert.ok(number(settings, "citus.max_client_connections") <= max - RESERVE);
                assert.ok(number(settings, "superuser_reserved_connections") < RESERVE);
            }),
        );
    });

    test("clients and the shared pool are never 0 or negative, which would turn the limit off", () => {
        fc.assert(
            fc.property(input, (i) => {
                const budget = connectionBudget(i);
                assert.ok(budget.clients > 0 && budget.sharedPool > 0 && budget.maxConnections > 0);
            }),
        );
    });

    test("more memory never means fewer connections", () => {
        fc.assert(
            fc.property(input, memory, (i, other) => {
                const [low, high] = [Math.min(i.memory, other), Math.max(i.memory, other)];
                assert.ok(
                    connectionBudget({ ...i, memory: low }).maxConnections <=
                        connectionBudget({ ...i, memory: high }).maxConnections,
                );
            }),
        );
    });

    test("follows a max_connections that the user set", () => {
        for (const max of [40, 60, 500]) {
            const of = (nodeRole: Role) =>
                nodeSettings(
                    { role: nodeRole, memory: 1024, cores: 2, workers: 2, shardCount: 32 },
                    { all: { max_connections: String(max) } },
                );
            const opened =
                number(of("coordinator"), "citus.max_shared_pool_size") +
                2 * number(of("worker"), "citus.max_shared_pool_size");
            assert.ok(opened <= max - RESERVE, `nodes may open ${opened} to a worker that accepts ${max}`);
            for (const nodeRole of ["coordinator", "worker"] as const)
                assert.ok(number(of(nodeRole), "citus.max_client_connections") <= max, nodeRole);
        }
    });
});

describe("computed settings", () => {
    test("adding a worker rarely changes any node: the count is rounded up to 8, 16, 32, …", () => {
        fc.assert(
            fc.property(workers, (n) => {
                const bucket = workerBucket(n);
                assert.ok(bucket >= n && bucket >= 8 && Number.isInteger(Math.log2(bucket)));
                assert.ok(bucket === 8 || bucket < 2 * n);
            }),
        );
        const base = { role: "worker", memory: 1024, cores: 2, shardCount: 32 } as const;
        assert.deepEqual(computeSettings({ ...base, workers: 2 }), computeSettings({ ...base, workers: 8 }));
    });

    test("prepared transactions are at least twice the connections", () => {
        fc.assert(
            fc.property(input, (i) => {
                const settings = computeSettings(i);
                assert.ok(number(settings, "max_prepared_transactions") >= 2 * number(settings, "max_connections"));
            }),
        );
    });

    test("prepared transactions follow a max_connections that the user raised, unless they are set too", () => {
        const i = { role: "worker", memory: 1024, cores: 2, workers: 2, shardCount: 32 } as const;
        const both = nodeSettings(i, { all: { max_connections: "500", max_prepared_transactions: "600" } });
        assert.equal(both.max_prepared_transactions, "600");
        const raised = nodeSettings(i, { all: { max_connections: "500" } });
        assert.ok(number(raised, "max_prepared_transactions") >= 1000, raised.max_prepared_transactions);
    });

    test("senders, slots and apply workers are enough for the moves on one node", () => {
        fc.assert(
            fc.property(input, (i) => {
                const s = computeSettings(i);
                const moves = number(s, "citus.max_background_task_executors_per_node");
                assert.equal(moves, MOVES_PER_NODE);
                assert.ok(number(s, "max_wal_senders") >= 2 * moves + 2, "two senders a move, and a backup");
                assert.ok(number(s, "max_replication_slots") >= moves);
                assert.ok(number(s, "max_logical_replication_workers") >= moves);
                assert.ok(number(s, "max_wal_senders") <= 262_143);
            }),
        );
    });

    test("worker processes are enough for the apply workers", () => {
        fc.assert(
            fc.property(input, (i) => {
                const s = computeSettings(i);
                assert.ok(number(s, "max_worker_processes") >= number(s, "max_logical_replication_workers") + 4);
                assert.ok(number(s, "max_worker_processes") >= number(s, "max_parallel_workers"));
                assert.ok(number(s, "max_parallel_workers") >= number(s, "max_parallel_workers_per_gather"));
            }),
        );
    });

    // security-and-lifecycle.md C: max_worker_processes >= E + 2 + number of Citus databases
    test("the coordinator's worker processes are enough for every background task", () => {
        fc.assert(
            fc.property(input, (i) => {
                const s = computeSettings({ ...i, role: "coordinator" });
                const executors = number(s, "citus.max_background_task_executors");
                const processes = number(s, "max_worker_processes");
                assert.ok(processes >= executors + 3, `${processes} for ${executors} with ${i.workers} workers`);
            }),
        );
    });

    test("a rebalance is not held up by too few executors", () => {
        fc.assert(
            fc.property(input, (i) => {
                const executors = number(computeSettings(i), "citus.max_background_task_executors");
                assert.ok(executors >= MOVES_PER_NODE);
                if (i.workers <= 8) assert.ok(executors >= 16);
            }),
        );
    });

    test("memory adds up: a node does not promise more than it has", () => {
        fc.assert(
            fc.property(input, (i) => {
                const s = computeSettings(i);
                const shared = mebibytes(s, "shared_buffers");
                assert.ok(shared >= 32 && shared <= i.memory / 2);
                assert.ok(mebibytes(s, "effective_cache_size") <= i.memory);
                assert.ok(mebibytes(s, "effective_cache_size") >= shared);
                assert.ok(mebibytes(s, "maintenance_work_mem") <= Math.max(32, i.memory / 8));
                assert.ok(mebibytes(s, "work_mem") >= 4 && mebibytes(s, "work_mem") <= 256);
                assert.ok(mebibytes(s, "max_wal_size") >= 2 * mebibytes(s, "min_wal_size"));
            }),
        );
    });

    test("every value parses as a PostgreSQL value", () => {
        const integer = /^[0-9]+$/;
        const quantity = /^[0-9]+(kB|MB|GB|ms|s|min)$/;
        const real = /^[0-9]+\.[0-9]+$/;
        const enumeration = /^(on|off|top)$/;
        const texts = new Set(["log_line_prefix", "shared_preload_libraries"]);
        fc.assert(
            fc.property(input, (i) => {
                for (const [name, value] of Object.entries(nodeSettings(i, {}))) {
                    assert.match(name, /^[a-z_]+(\.[a-z_]+)?$/);
                    if (texts.has(name)) continue;
                    assert.ok(
                        [integer, quantity, real, enumeration].some((kind) => kind.test(value)),
                        `${name} = ${value}`,
                    );
                    if (integer.test(value)) assert.ok(Number(value) <= 2 ** 31 - 1, name);
                }
            }),
        );
    });

    test("citus.shard_count is what the configuration says", () => {
        fc.assert(
            fc.property(input, (i) => {
                assert.equal(computeSettings(i)["citus.shard_count"], String(i.shardCount));
            }),
        );
    });
});

describe("overrides", () => {
    const name = fc.constantFrom("work_mem", "jit", "random_page_cost", "my.thing", "deadlock_timeout");
    const values = fc.dictionary(name, fc.constantFrom("1", "2", "3"));

    test("all is over computed, the role's is over all, the other role's is not there", () => {
        fc.assert(
            fc.property(input, values, values, values, (i, all, coordinator, byWorkers) => {
                const found = nodeSettings(i, { all, coordinator, workers: byWorkers });
                const own = i.role === "coordinator" ? coordinator : byWorkers;
                const expected: Settings = { ...computeSettings(i), ...all, ...own };
                for (const [key, value] of Object.entries(expected)) assert.equal(found[key], value, key);
                assert.deepEqual(
                    Object.keys(found).sort(),
                    [...new Set([...Object.keys(expected), "shared_preload_libraries"])].sort(),
                );
            }),
        );
    });

    test("settings come out in the same order however they went in, so that nothing differs without a change", () => {
        fc.assert(
            fc.property(input, values, (i, all) => {
                const reversed = Object.fromEntries(Object.entries(all).reverse());
                assert.equal(
                    JSON.stringify(nodeSettings(i, { all })),
                    JSON.stringify(nodeSettings(i, { all: reversed })),
                );
            }),
        );
    });

    test("shared_preload_libraries always begins with citus, once, whatever the user gives", () => {
        const library = fc.constantFrom("citus", "pg_stat_statements", "pg_cron", "auto_explain", "", " ", "'pg_cron'");
        const separator = fc.constantFrom(",", ", ", " , ");
        fc.assert(
            fc.property(fc.array(library), separator, role, (extra, between, nodeRole) => {
                const given = extra.join(between);
                const key = nodeRole === "coordinator" ? "coordinator" : "workers";
                for (const overrides of [
                    { all: { shared_preload_libraries: given } },
                    { [key]: { shared_preload_libraries: given } },
                ]) {
                    const found = nodeSettings(
                        { role: nodeRole, memory: 1024, cores: 2, workers: 2, shardCount: 32 },
                        overrides,
                    ).shared_preload_libraries;
                    const list = (found ?? "").split(",");
                    assert.equal(list[0], "citus");
                    assert.equal(list[1], "pg_stat_statements");
                    for (const once of ["citus", "pg_stat_statements"])
                        assert.equal(list.filter((item) => item === once).length, 1);
                    if (extra.includes("pg_cron")) assert.ok(list.includes("pg_cron"));
                    assert.ok(!list.includes(""));
                }
            }),
        );
        assert.equal(preloadLibraries(undefined), "citus,pg_stat_statements");
    });
});

describe("restartNeeded", () => {
    test("finds exactly the differences that only a restart applies", () => {
        const restart = fc.constantFrom(...RESTART_ONLY);
        const reload = fc.constantFrom(
            "work_mem",
            "max_wal_size",
            "jit",
            "log_lock_waits",
            "citus.max_shared_pool_size",
            "citus.max_client_connections",
            "citus.max_background_task_executors",
            "max_parallel_workers",
            "max_parallel_workers_per_gather",
            "wal_sender_timeout",
        );
        const settings = fc.dictionary(fc.oneof(restart, reload), fc.constantFrom("1", "2"));
        fc.assert(
            fc.property(settings, settings, (before, after) => {
                const expected = [...new Set([...Object.keys(before), ...Object.keys(after)])]
                    .filter((key) => before[key] !== after[key] && RESTART_ONLY.has(key))
                    .sort();
                assert.deepEqual(restartNeeded(before, after), expected);
                assert.deepEqual(restartNeeded(after, before), expected);
                assert.deepEqual(restartNeeded(before, before), []);
            }),
        );
    });

    // pg_settings.context = 'postmaster' in PostgreSQL 17, without what this project owns and recovery targets
    const postmaster = [
        "archive_mode",
        "autovacuum_freeze_max_age",
        "autovacuum_max_workers",
        "autovacuum_multixact_freeze_max_age",
        "cluster_name",
        "commit_timestamp_buffers",
        "data_sync_retry",
        "debug_io_direct",
        "dynamic_shared_memory_type",
        "huge_page_size",
        "huge_pages",
        "jit_provider",
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
        "reserved_connections",
        "serializable_buffers",
        "shared_buffers",
        "shared_memory_type",
        "shared_preload_libraries",
        "subtransaction_buffers",
        "superuser_reserved_connections",
        "track_activity_query_size",
        "track_commit_timestamp",
        "transaction_buffers",
        "unix_socket_group",
        "unix_socket_permissions",
        "wal_buffers",
        "wal_decode_buffer_size",
        "wal_log_hints",
    ];
    for (const name of postmaster) {
        test(`${name} needs a restart`, () => assert.deepEqual(restartNeeded({}, { [name]: "1" }), [name]));
    }

    test("a worker more needs no restart of anybody", () => {
        fc.assert(
            fc.property(input, workers, (i, n) => {
                const changed = restartNeeded(computeSettings(i), computeSettings({ ...i, workers: n }));
                assert.deepEqual(changed, []);
            }),
        );
    });
});

/** Reads the file as PostgreSQL's guc-file.l does: the last one of a name wins. */
function parseConf(text: string): { values: Record<string, string>; names: string[] } {
    const values: Record<string, string> = {};
    const names: string[] = [];
    for (const line of text.split("\n")) {
        if (line === "" || line.startsWith("#")) continue;
        const match = /^([a-zA-Z_][a-zA-Z0-9_.]*) = '((?:[^'\\\n]|''|\\.)*)'$/.exec(line);
        assert.ok(match, `not a line of postgresql.conf: ${line}`);
        const [, name = "", quoted = ""] = match;
        names.push(name.toLowerCase());
        values[name.toLowerCase()] = quoted.replace(/''|\\(.)/g, (all, escaped) => (all === "''" ? "'" : escaped));
    }
    return { values, names };
}

describe("postgresql.conf", () => {
    const fixed = parseConf(renderPostgresqlConf({}, "abc")).values;
    const value = fc.string({ unit: fc.constantFrom("a", "'", "\\", '"', "$", "#", " ", "=", "é", "n", "0") });

    test("what PostgreSQL reads is what was given, with quotes and backslashes", () => {
        const name = fc.stringMatching(/^my\.[a-z]{1,8}$/);
        fc.assert(
            fc.property(fc.dictionary(name, value), value, (settings, id) => {
                const { values } = parseConf(renderPostgresqlConf(settings, id));
                for (const [key, given] of Object.entries(settings)) assert.equal(values[key], given, key);
                assert.equal(values["citus_as_code.cluster_id"], id);
            }),
        );
    });

    test("nothing a user sets overrides what is fixed", () => {
        fc.assert(
            fc.property(fc.dictionary(fc.constantFrom(...Object.keys(fixed)), value), (settings) => {
                const { values, names } = parseConf(renderPostgresqlConf(settings, "abc"));
                assert.deepEqual(values, fixed);
                assert.equal(new Set(names).size, names.length);
            }),
        );
        const { values } = parseConf(renderPostgresqlConf({ SSL: "off", Listen_Addresses: "x" }, "abc"));
        assert.equal(values.ssl, "on");
        assert.equal(values.listen_addresses, "*");
    });

    test("TLS, its version and verification between nodes are fixed", () => {
        assert.equal(fixed.ssl, "on");
        assert.equal(fixed.ssl_min_protocol_version, "TLSv1.2");
        assert.equal(fixed.password_encryption, "scram-sha-256");
        assert.equal(fixed.wal_level, "logical");
        assert.match(
            fixed["citus.node_conninfo"] ?? "",
            /^sslmode=verify-full sslrootcert=\S+ sslcert=\S+ sslkey=\S+$/,
        );
    });

    // who sets one of these must be told, not silently ignored
    for (const name of Object.keys(fixed)) {
        test(`${name} is fixed, and refused with a reason in the configuration`, () => {
            assert.ok(OWNED[name], `${name} is not in OWNED`);
            const result = validate({ stack: "dev", values: { settings: { all: { [name]: "x" } } } });
            assert.ok("mistakes" in result);
            assert.ok(result.mistakes[0]?.message.includes(OWNED[name] ?? "?"));
        });
    }
});

describe("pg_hba.conf", () => {
    const octet = fc.integer({ min: 0, max: 255 });
    const cidr = fc
        .tuple(octet, octet, octet, fc.integer({ min: 8, max: 32 }))
        .map(([a, b, c, bits]) => `${a}.${b}.${c}.0/${bits}`);

    test("never lets anybody in without a certificate or scram over TLS", () => {
        fc.assert(
            fc.property(fc.uniqueArray(cidr, { maxLength: 4 }), (networks) => {
                const rows = renderHba(networks).trimEnd().split("\n");
                for (const row of rows) {
                    const [type, database, , address, method] = row.split(/\s+/);
                    assert.doesNotMatch(row, /\b(trust|md5|password|ident)\b/);
                    assert.notEqual(type, "host");
                    assert.notEqual(type, "hostnossl");
                    if (type === "local") {
                        assert.ok(["peer", "reject"].includes(address ?? ""), row);
                        continue;
                    }
                    assert.equal(type, "hostssl");
                    assert.ok(["cert", "scram-sha-256", "reject"].includes(method ?? ""), row);
                    if (method === "cert") {
                        assert.match(row, / map=citusnode$/);
                        assert.ok(
                            networks.includes(address ?? "") || /^(127\.0\.0\.1\/32|::1\/128)$/.test(address ?? ""),
                        );
                    }
                    if (database === "replication") assert.equal(method, "reject");
                }
            }),
        );
    });

    test("everybody from elsewhere needs a password, as the last row", () => {
        assert.equal(renderHba(["10.0.0.0/16"]).trimEnd().split("\n").at(-1), "hostssl all all all scram-sha-256");
    });

    test("on a node network nothing comes before the certificate", () => {
        const rows = renderHba(["10.0.0.0/16", "10.1.0.0/16"]).trimEnd().split("\n");
        const first = rows.findIndex((row) => row.includes("10.0.0.0/16"));
        assert.ok(rows.slice(0, first).every((row) => row.startsWith("local") || /127\.0\.0\.1|::1/.test(row)));
        assert.equal(rows[first], "hostssl all all 10.0.0.0/16 cert map=citusnode");
        assert.equal(rows[first + 1], "hostssl all all 10.1.0.0/16 cert map=citusnode");
    });
});

describe("pg_ident.conf", () => {
    const cluster = fc.stringMatching(/^[a-z][a-z0-9-]{0,12}[a-z0-9]$/);
    const matcher = (name: string) => {
        const match = /^citusnode "\/(.+)" all\n$/.exec(renderIdent(name));
        assert.ok(match?.[1], renderIdent(name));
        return new RegExp(match[1]);
    };

    test("every node of the cluster is let in", () => {
        fc.assert(
            fc.property(cluster, fc.integer({ min: 0, max: 200 }), (name, n) => {
                const pattern = matcher(name);
                for (const node of topology(name, n, [])) assert.match(node.host, pattern);
            }),
        );
    });

    test("no node of another cluster is", () => {
        fc.assert(
            fc.property(cluster, cluster, (a, b) => {
                fc.pre(a !== b);
                const pattern = matcher(a);
                for (const node of topology(b, 3, [])) assert.doesNotMatch(node.host, pattern);
            }),
        );
    });

    test("nothing before or after a node's name passes", () => {
        fc.assert(
            fc.property(cluster, fc.string({ minLength: 1 }), (name, extra) => {
                const pattern = matcher(name);
                const host = `worker-1.${name}.node`;
                // worker-1 with digits before its number is another worker's name
                if (!new RegExp(`^(coordinator|worker-[0-9]+)[.]${name}[.]node$`).test(`${extra}${host}`))
                    assert.doesNotMatch(`${extra}${host}`, pattern);
                assert.doesNotMatch(`${host}${extra}`, pattern);
            }),
        );
    });

    for (const [cn, why] of [
        ["worker-1.aXb.node", "a dash is not any character"],
        ["worker-1.axb.node", "a dash is not any character"],
        ["worker-1.a-bXnode", "a dot is not any character"],
        ["worker-1Xa-b.node", "a dot is not any character"],
        ["worker-1.a-b.node.evil.example", "suffix"],
        ["worker-1.a-b.nodes", "suffix"],
        ["worker-1.a-b.node\n", "line break"],
        ["xworker-1.a-b.node", "prefix"],
        ["evil.worker-1.a-b.node", "prefix"],
        ["x-coordinator.a-b.node", "prefix"],
        ["worker-.a-b.node", "no number"],
        ["worker-1x.a-b.node", "no number"],
        ["worker.a-b.node", "no number"],
        ["Worker-1.a-b.node", "case"],
        ["postgres", "a role's name"],
        ["a-b CA", "the CA itself"],
        ["worker-1.c-a-b.node", "longer cluster name"],
        ["worker-1.a-b-c.node", "longer cluster name"],
    ] as const) {
        test(`cluster a-b does not let in ${JSON.stringify(cn)} (${why})`, () =>
            assert.doesNotMatch(cn, matcher("a-b")));
    }
});
