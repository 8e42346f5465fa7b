/** Each check of doctor finds its case on a real cluster, and the line that it prints mends it. A healthy cluster is told nothing of. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { join, relative } from "node:path";
import { afterAll, beforeAll, describe, it } from "vitest";
import type { Limits } from "../../core/citus/health/checks/limits.ts";
import { CHECKS } from "../../core/citus/health/checks/list.ts";
import { type Diagnosis, diagnose } from "../../core/citus/health/doctor.ts";
import type { Finding } from "../../core/citus/health/read/finding.ts";
import { readFindings } from "../../core/reach/nodeFindings.ts";
import { connect, type Session } from "../../core/reach/session.ts";
import { DOCTOR_JSON, type DoctorJson } from "../../scripts/doctor/schema.ts";
import { docker, requireEngine, run, SCHEMA, seed, TestStack, until } from "../lib.ts";
import { assertNoSecret } from "../secrets.ts";

let stack: TestStack;

const NODES = ["coordinator", "worker-1", "worker-2"];

/** Statements one by one: some can't be in a transaction with others. */
async function on(node: string, ...statements: readonly string[]): Promise<void> {
    const session = await connect(await stack.access(node), node);
    try {
        for (const statement of statements) await session.query(statement);
    } finally {
        await session.close();
    }
}

/** The line that mends it, as a person would paste it into psql. */
async function paste({ mend, on: node }: Finding): Promise<void> {
    assert.ok(mend !== null && node !== null);
    stack.write("mend.sql", `${mend};\n`);
    const ran = await stack.npm("psql", "--on", node, "-v", "ON_ERROR_STOP=1", "-f", "mend.sql");
    assert.equal(ran.code, 0, ran.output);
}

async function ask(only: readonly string[], limits: Partial<Limits> = {}): Promise<Diagnosis> {
    const open = new Map<string, Session>();
    const container = (name: string) => stack.container(name);
    try {
        return await diagnose(await stack.session(), {
            expected: ["worker-1", "worker-2"],
            open: async (name) => {
                const session = open.get(name) ?? (await connect(await stack.access(name), name));
                open.set(name, session);
                return session;
            },
            look: (name) => readFindings({ kind: "docker", engine: "", container: container(name) }),
            stack: async () => ({ ports: [], ingress: [] }),
            only,
            limits,
        });
    } finally {
        for (const session of open.values()) await session.close();
    }
}

/** What one check finds; nothing of it may be unasked. */
async function found(id: string, limits: Partial<Limits> = {}): Promise<readonly Finding[]> {
    const { findings, unasked } = await ask([id], limits);
    assert.deepEqual(unasked, []);
    return findings;
}

/** One finding about an object. */
async function one(id: string, object: RegExp, limits: Partial<Limits> = {}): Promise<Finding> {
    const findings = await found(id, limits);
    const finding = findings.find((candidate) => object.test(candidate.object ?? ""));
    assert.ok(finding, `${id} ${object}: ${JSON.stringify(findings)}`);
    return finding;
}

const gone = async (id: string, limits: Partial<Limits> = {}) =>
    assert.deepEqual(await found(id, limits), [], `${id} finds it still`);

/** Mends by `npm run doctor -- --fix`, which asks again itself. */
async function fix(id: string): Promise<string> {
    const ran = await stack.npm("doctor", "--fix", id);
    assert.equal(ran.code, 0, ran.output);
    assert.match(ran.output, new RegExp(`${id} finds nothing any more`));
    return ran.output;
}

beforeAll(async () => {
    requireEngine();
    stack = await TestStack.make({ workers: 2, coordinator: { memory: "512MB" }, worker: { memory: "512MB" } });
    await stack.up();
    await stack.sql(SCHEMA);
    await stack.sql(seed(20));
    await stack.sql("SELECT citus_add_local_table_to_metadata('notes')");
    // columns are numbered differently from now on, on nodes that get the metadata anew
    await stack.sql("ALTER TABLE projects ADD COLUMN old int");
    await stack.sql("ALTER TABLE projects DROP COLUMN old");
    await stack.sql("CREATE FUNCTION twice(n bigint) RETURNS bigint LANGUAGE sql AS 'SELECT 2 * n'");
    await stack.sql("CREATE TYPE mood AS ENUM ('well', 'ill')");
    await stack.sql(
        "CREATE TABLE events (company_id bigint, at date, PRIMARY KEY (company_id, at)) PARTITION BY RANGE (at)",
    );
    await stack.sql("CREATE TABLE events_2026 PARTITION OF events FOR VALUES FROM ('2026-01-01') TO ('2027-01-01')");
    await stack.sql("SELECT create_distributed_table('events', 'company_id', colocate_with => 'companies')");
    await stack.sql(
        "CREATE TABLE tickets (company_id bigint, id bigserial, small smallserial, PRIMARY KEY (company_id, id))",
    );
    await stack.sql("SELECT create_distributed_table('tickets', 'company_id', colocate_with => 'companies')");
});

afterAll(async () => stack?.destroy());

describe("a healthy cluster", () => {
    it("is told nothing of, with exit code 0, and each check was asked", async () => {
        const ran = await stack.npm("doctor", "--json");
        const said = DOCTOR_JSON.parse(JSON.parse(ran.stdout));
        assert.deepEqual(
            said.findings.filter(({ check }) => check !== "security-fixes"),
            [],
        );
        assert.deepEqual(said.unasked, []);
        assert.deepEqual(
            said.checks.map(({ id }) => id),
            CHECKS.map(({ id }) => id),
        );
        assert.equal(ran.code, 0, ran.output);
        assert.equal(said.verdict, "fine");
    });
});

describe("metadata", () => {
    it("a worker whose metadata differs is named with the catalog, and is given it again with ids apart", async () => {
        await on("worker-1", "INSERT INTO tickets (company_id, small) VALUES (1, 1)");
        await on(
            "worker-1",
            "SET citus.enable_ddl_propagation = off",
            "DELETE FROM pg_dist_placement WHERE shardid = (SELECT max(shardid) FROM pg_dist_placement)",
            "UPDATE pg_dist_colocation SET shardcount = 33 WHERE colocationid = (SELECT min(colocationid) FROM pg_dist_colocation)",
        );
        const { says, node } = await one("metadata-equal", /pg_dist_placement/);
        assert.equal(node, "worker-1");
        assert.match(says, /pg_dist_placement \(\d+ rows on the coordinator, \d+ on worker-1\)/);
        assert.match(says, /pg_dist_colocation \(\d+ rows each, with other content\)/);
        assert.doesNotMatch(says, /pg_dist_(node|shard|partition|object|schema) /);
        await fix("metadata-equal");
        await stack.closeSessions();
        await on("worker-1", "INSERT INTO tickets (company_id, small) VALUES (1, 1)");
        const [row] = await stack.sql<{ n: number }>("SELECT count(DISTINCT id)::int AS n FROM tickets");
        assert.equal(row?.n, 2, "the id of before was not given out again");
    });

    it("a worker that is out of sync", async () => {
        await stack.sql(
            "SELECT stop_metadata_sync_to_node(nodename, nodeport, false) FROM pg_dist_node WHERE nodename ~ 'worker-1'",
        );
        const [finding] = await found("node-state");
        assert.match(finding?.says ?? "", /^worker-1 is unsynced/);
        await fix("node-state");
    });
});

describe("debris", () => {
    it("a record of a node that left", async () => {
        await stack.sql(
            "INSERT INTO pg_dist_cleanup (record_id, operation_id, object_type, object_name, node_group_id, policy_type) VALUES (9001, 1, 1, 'public.gone_1', 77, 2)",
        );
        assert.match(
            (await one("cleanup-records", /./)).says,
            /1 records of nodes that have left the cluster: public\.gone_1/,
        );
        await fix("cleanup-records");
    });

    it("slot, publication and subscription of a move that is no more", async () => {
        await on(
            "worker-1",
            "SET citus.enable_ddl_propagation = off",
            "SELECT pg_create_logical_replication_slot('citus_shard_move_slot_1_2_3', 'pgoutput')",
            "CREATE PUBLICATION citus_shard_move_publication_1_2_3",
            "CREATE SUBSCRIPTION citus_shard_move_subscription_1_2_3 CONNECTION 'host=nowhere' PUBLICATION x WITH (connect = false, slot_name = NONE, enabled = false)",
        );
        const findings = await found("move-leftovers");
        assert.deepEqual(
            findings.map(({ object, node }) => `${node} ${object}`).sort(),
            ["publication", "slot", "subscription"].map((what) => `worker-1 citus_shard_move_${what}_1_2_3`),
        );
        await fix("move-leftovers");
    });

    it("a shard on a node that the metadata has elsewhere, and one that no metadata has", async () => {
        const [row] = await stack.sql<{ name: string }>(
            "SELECT shard_name(logicalrelid, shardid) AS name FROM pg_dist_shard JOIN pg_dist_placement USING (shardid) WHERE groupid = 2 AND logicalrelid = 'companies'::regclass LIMIT 1",
        );
        await on(
            "worker-1",
            "SET citus.enable_ddl_propagation = off",
            `CREATE TABLE ${row?.name} (id bigint)`,
            "CREATE TABLE companies_999999 (id bigint)",
            // of somebody's own
            "CREATE TABLE invoices_202612 (id bigint)",
        );
        const findings = await found("orphaned-shards");
        assert.deepEqual(
            findings.map(({ object }) => object),
            [`public.${row?.name}`, "public.companies_999999"].sort(),
        );
        for (const finding of findings) await paste(finding);
        await gone("orphaned-shards");
        await on("worker-1", "SET citus.enable_ddl_propagation = off", "DROP TABLE invoices_202612");
    });

    it("copies that a move kept", async () => {
        await on("worker-2", "SET citus.enable_ddl_propagation = off", "CREATE SCHEMA citus_as_code_kept_x1");
        const finding = await one("kept-copies", /citus_as_code_kept_x1/);
        assert.match(finding.mend ?? "", /^npm run psql -- -c /);
        const ran = await run("sh", ["-c", finding.mend ?? ""], { cwd: stack.dir, env: stack.env });
        assert.equal(ran.code, 0, ran.output);
        await gone("kept-copies");
    });
});

describe("tables", () => {
    it("one that can't be moved", async () => {
        await stack.sql("CREATE TABLE nokey (id bigint, v text)");
        await stack.sql("SELECT create_distributed_table('nokey', 'id', colocate_with => 'none', shard_count => 4)");
        const finding = await one("replica-identity", /nokey/);
        await paste(finding);
        await gone("replica-identity");
    });

    it("an index of a shard that is not valid", async () => {
        await on(
            "worker-1",
            "SET citus.override_table_visibility = off",
            "UPDATE pg_index SET indisvalid = false WHERE indexrelid = (SELECT indexrelid FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid WHERE c.relname ~ '^companies_1' LIMIT 1)",
        );
        assert.match((await one("invalid-indexes", /companies_pkey_1/)).says, /^worker-1: /);
        await fix("invalid-indexes");
    });

    it("sequences near their end: of a local table, of a distributed one, and in a worker's range", async () => {
        await stack.sql("CREATE TABLE local (id smallserial PRIMARY KEY)");
        await stack.sql("SELECT setval('local_id_seq', 32000), setval('tickets_small_seq', 32000)");
        await on(
            "worker-1",
            "SELECT setval(seqrelid, seqmax - 1000) FROM pg_sequence WHERE seqrelid = 'tickets_id_seq'::regclass",
        );
        const range = await one("sequences", /tickets_id_seq/);
        assert.match(range.says, /^worker-1: .*100\.0 % .* in the worker's own range/);
        for (const object of [/local_id_seq/, /tickets_small_seq/]) {
            const finding = await one("sequences", object);
            assert.equal(finding.danger, "danger");
            await paste(finding);
        }
        await on(
            "worker-1",
            "SELECT setval(seqrelid, seqmin + 1000) FROM pg_sequence WHERE seqrelid = 'tickets_id_seq'::regclass",
        );
        await gone("sequences");
        await stack.sql("INSERT INTO local SELECT FROM generate_series(1, 1000)");
        const [row] = await stack.sql<{ small: string }>(
            "INSERT INTO tickets (company_id) VALUES (2) RETURNING small::text AS small",
        );
        assert.equal(row?.small, "32001");
    });

    it("autovacuum that is off, on a node and for a table", async () => {
        await on("worker-1", "ALTER SYSTEM SET autovacuum = off", "SELECT pg_reload_conf()");
        await stack.sql("ALTER TABLE users SET (autovacuum_enabled = off)");
        await until("that it is off", 10, async () => (await found("autovacuum")).length === 2);
        await paste(await one("autovacuum", /public\.users/));
        await fix("autovacuum");
    });
});

describe("what grows", () => {
    it("a slot without a reader, with what it keeps", async () => {
        await on(
            "worker-2",
            "SELECT pg_create_logical_replication_slot('gone', 'pgoutput')",
            "SELECT count(pg_logical_emit_message(false, 'x', repeat(md5(i::text), 30000))) FROM generate_series(1, 100) i",
        );
        const finding = await one("idle-slots", /^gone$/);
        assert.match(finding.says, /^worker-2: .* keeps \d+ MB of WAL/);
        await paste(finding);
        await gone("idle-slots");
    });

    it("a prepared transaction of Citus whose node did not commit it", async () => {
        await on("worker-1", "ALTER SYSTEM SET citus.recover_2pc_interval = -1", "SELECT pg_reload_conf()");
        await on("coordinator", "ALTER SYSTEM SET citus.recover_2pc_interval = -1", "SELECT pg_reload_conf()");
        try {
            await on(
                "worker-1",
                "BEGIN",
                "SELECT pg_advisory_xact_lock_shared(7)",
                "PREPARE TRANSACTION 'citus_0_999999_1_1'",
            );
            await until("that it is a minute old", 90, async () => (await found("prepared-transactions")).length === 1);
            const finding = await one("prepared-transactions", /citus_0_999999_1_1/);
            assert.deepEqual([finding.node, finding.on], ["worker-1", "coordinator"]);
            assert.equal((await found("citus-repairs")).length, 2);
            await fix("prepared-transactions");
        } finally {
            for (const finding of await found("citus-repairs")) await paste(finding);
        }
        await until("that repairs run", 10, async () => (await found("citus-repairs")).length === 0);
    });

    it("old transaction ids", async () => {
        // autovacuum would mend it within a minute
        await on("worker-2", "ALTER SYSTEM SET autovacuum = off", "SELECT pg_reload_conf()");
        await until("that it is off", 10, async () => (await found("autovacuum")).length === 1);
        await on(
            "worker-2",
            "UPDATE pg_database SET datfrozenxid = ((pg_current_xact_id()::text::bigint - 600000000 + 4294967296) % 4294967296)::text::xid WHERE datname = current_database()",
        );
        const finding = await one("transaction-ids", /./);
        assert.match(finding.says, /^worker-2: database \S+ has 600 million transaction ids/);
        assert.equal(finding.danger, "mend");
        await paste(finding);
        await gone("transaction-ids");
        await fix("autovacuum");
    });

    it("a statement that runs for long", async () => {
        const busy = await connect(await stack.access("worker-1"), "worker-1");
        const sleeps = busy.query("SELECT pg_sleep(600)").catch((error: Error) => error);
        const limits = { transactionSeconds: 2 };
        await until("that it runs for 2 s", 20, async () => (await found("long-transactions", limits)).length === 1);
        const finding = await one("long-transactions", /process/, limits);
        assert.match(finding.says, /^worker-1: .*pg_sleep\(600\)/);
        await paste(finding);
        assert.match(String(await sleeps), /canceling statement/);
        await busy.close();
        await gone("long-transactions", limits);
    });

    it("a disk that is nearly full, by its own numbers", async () => {
        await gone("disk");
        const findings = await found("disk", { diskFree: 1 });
        assert.deepEqual(
            findings.map(({ node }) => node),
            NODES,
        );
        assert.match(findings[0]?.says ?? "", /[\d.]+ [GMk]B of [\d.]+ [GMk]B are free/);
    });

    it("connections: a node that may open more than the others accept", async () => {
        await on("coordinator", "ALTER SYSTEM SET citus.max_shared_pool_size = 1000", "SELECT pg_reload_conf()");
        await until("that it holds", 10, async () => (await found("connection-budget")).length === 2);
        assert.match(
            (await one("connection-budget", /pool/)).says,
            /the other nodes may open \d+ to it: 1000 from coordinator/,
        );
        // it is the same value that ALTER SYSTEM left
        await fix("altered-settings");
        await until("that it holds no more", 10, async () => (await found("connection-budget")).length === 0);
    });
});

describe("nodes", () => {
    it("what ALTER SYSTEM left, the stack's and others, and values of a database", async () => {
        await on("worker-1", "ALTER SYSTEM SET work_mem = '9MB'", "ALTER SYSTEM SET log_timezone = 'Asia/Tokyo'");
        assert.equal((await one("altered-settings", /^work_mem$/)).danger, "note");
        assert.equal((await one("altered-settings", /^log_timezone$/)).danger, "mend");
        await fix("altered-settings");
        const database = (await stack.access()).database;
        await on(
            "worker-1",
            "SET citus.enable_ddl_propagation = off",
            `ALTER DATABASE "${database}" SET lc_messages = 'C.UTF-8'`,
        );
        await paste(await one("scoped-settings", /^lc_messages$/));
        await gone("scoped-settings");
    });

    it("another password", async () => {
        await on(
            "worker-2",
            "SET citus.enable_ddl_propagation = off",
            "ALTER ROLE postgres PASSWORD 'somebody-else-1'",
        );
        const container = stack.container("worker-2");
        const look = await readFindings({ kind: "docker", engine: "", container });
        assert.equal(look?.passwordDiffers, true);
        const ran = await stack.npm("doctor", "--json");
        const said = JSON.parse(ran.stdout) as DoctorJson;
        assert.equal(ran.code, 1);
        assert.match(
            said.findings.map(({ says }) => says).join("\n"),
            /worker-2 is unreachable: the superuser's password on it is not the stack's/,
        );
        assert.ok(said.unasked.some(({ node, check }) => node === "worker-2" && check === "sequences"));
        // the line that it prints
        await stack.up({}, ["--refresh"]);
        await gone("superuser-password");
    });

    it("a collation version that the machine does not have", async () => {
        await on("worker-1", "UPDATE pg_database SET datcollversion = '1.0' WHERE datname = current_database()");
        const finding = await one("collations", /./);
        assert.match(finding.says, /^worker-1: database \S+ was made with collation version 1\.0/);
        await paste(finding);
        await gone("collations");
    });

    it("an extension that is not of its library's version", async () => {
        const [row] = await stack.sql<{ version: string }>(
            "SELECT extversion AS version FROM pg_extension WHERE extname = 'citus'",
        );
        const [major = "", minor = ""] = (row?.version ?? "").split(/[.-]/);
        await on(
            "worker-1",
            `UPDATE pg_extension SET extversion = '${major}.${Number(minor) + 1}-1' WHERE extname = 'citus'`,
        );
        assert.match((await one("citus-extension", /citus/)).says, /worker-1: the extension is/);
        await on("worker-1", `UPDATE pg_extension SET extversion = '${row?.version}' WHERE extname = 'citus'`);
        await gone("citus-extension");
    });

    it("certificates that end soon, by their own dates", async () => {
        await gone("node-certificates");
        await gone("ca-certificate");
        const nodes = await found("node-certificates", { certificateDays: 400 });
        assert.equal(nodes.length, 3);
        assert.match(nodes[0]?.says ?? "", /certificate ends in 36\d days/);
        assert.match((await one("ca-certificate", /./, { caDays: 4000 })).says, /ends in 36\d\d days/);
    });

    it("a clock: the answers of all nodes are compared, and none is off", async () => {
        await gone("clocks", { clockSeconds: 1e-6 });
    });

    it("a port that is open to the whole network", async () => {
        const name = `citus-${stack.name}-open`;
        const image = docker(["inspect", "-f", "{{.Image}}", stack.container("worker-1")]).trim();
        docker([
            "run",
            "-d",
            "--name",
            name,
            "--label",
            `citus.cluster=citus-${stack.name}`,
            "-p",
            "0.0.0.0::5432",
            "--entrypoint",
            "sleep",
            image,
            "600",
        ]);
        try {
            const said = JSON.parse((await stack.npm("doctor", "--json")).stdout) as DoctorJson;
            const open = said.findings.filter(({ check }) => check === "public-ports");
            assert.ok(open.length > 0 && open.every(({ object }) => object === name), JSON.stringify(open));
        } finally {
            docker(["rm", "-f", name]);
        }
        const after = JSON.parse((await stack.npm("doctor", "--json")).stdout) as DoctorJson;
        assert.deepEqual(
            after.findings.filter(({ check }) => check === "public-ports"),
            [],
        );
    });

    it("a worker that does not answer: what was not asked there is said, and never passes for fine", async () => {
        docker(["pause", stack.container("worker-2")]);
        try {
            const ran = await stack.npm("doctor", "--json");
            assert.equal(ran.code, 1);
            const said = JSON.parse(ran.stdout) as DoctorJson;
            const silent = said.unasked.filter(({ node }) => node === "worker-2").map(({ check }) => check);
            for (const check of ["sequences", "metadata-equal", "invalid-indexes", "disk"]) {
                assert.ok(silent.includes(check), check);
                assert.equal(said.checks.find(({ id }) => id === check)?.result, "unasked");
            }
            const text = await stack.npm("doctor");
            assert.match(text.stdout, /DANGER {3}worker-2 is unreachable: .*docker unpause/);
            assert.match(text.stdout, /^ASK {6}worker-2: /m);
        } finally {
            docker(["unpause", stack.container("worker-2")]);
        }
        await until("that it answers", 30, async () => (await found("node-state")).length === 0);
    });
});

describe("report and logs", () => {
    const exported = async () => JSON.parse((await stack.pulumi(["stack", "export", "--show-secrets"])).stdout);
    /** What providers of passwords and keys gave, by resource. */
    const secretsOf = (state: { deployment: { resources: { urn: string; type: string; outputs?: object }[] } }) =>
        Object.fromEntries(
            state.deployment.resources
                .filter(({ type }) => /^(random:index\/randomPassword|tls:index\/privateKey)/.test(type))
                .flatMap(({ urn, outputs = {} }) =>
                    Object.entries(outputs).flatMap(([name, value]) => {
                        const { plaintext } = (value ?? {}) as { plaintext?: string };
                        return plaintext === undefined ? [] : [[`${urn} ${name}`, String(JSON.parse(plaintext))]];
                    }),
                ),
        );

    it("an archive has what is asked for, and no secret of the stack, nor one that stood in a statement that failed", async () => {
        const { password } = await stack.outputs();
        const secrets = { ...secretsOf(await exported()), "the password": password, hunter: "hunter2-hunter2" };
        assert.ok(Object.keys(secrets).length > 5, Object.keys(secrets).join(", "));
        for (const statement of [
            "ALTER ROLE nobody PASSWORD 'hunter2-hunter2'",
            `ALTER ROLE nobody PASSWORD '${password}'`,
            "CREATE ROLE somebody PASSWORD hunter2-hunter2",
            "SELECT 'hunter2-hunter2",
            "INSERT INTO plans VALUES (1, 'hunter2-hunter2')",
            "CREATE SUBSCRIPTION s CONNECTION 'host=x password=hunter2-hunter2' PUBLICATION p WITH (bogus = 1)",
        ])
            await stack.sql(statement).then(
                () => assert.fail(`${statement} did not fail`),
                () => undefined,
            );
        const ran = await stack.npm("report", "--output", "report.tar.gz");
        assert.equal(ran.code, 0, ran.output);
        assert.match(ran.stdout, /^ {2}[1-9]\d* literals of statements/m);
        assert.doesNotMatch(ran.stdout, /Could not be asked/);
        await run("tar", ["-xzf", "report.tar.gz"], { cwd: stack.dir });
        const [folder] = readdirSync(stack.dir).filter((name) => /^report-.*Z$/.test(name));
        assert.ok(folder);
        const files = readdirSync(join(stack.dir, folder), { recursive: true, withFileTypes: true }).filter((entry) =>
            entry.isFile(),
        );
        const texts = files.map((entry) => readFileSync(join(entry.parentPath, entry.name), "utf8"));
        assertNoSecret(texts, secrets);
        const names = files.map((entry) => relative(join(stack.dir, folder), join(entry.parentPath, entry.name)));
        for (const name of ["README.txt", "doctor.json", "status.json", "resources.json", "versions.json"])
            assert.ok(names.includes(name), name);
        for (const node of NODES)
            for (const name of ["log.txt", "settings.json", "activity.json", "container.json", "pg_dist_shard.json"])
                assert.ok(names.includes(`nodes/${node}/${name}`), `${node} ${name}`);
        assert.match(texts.join("\n"), /STATEMENT: {2}ALTER ROLE nobody PASSWORD '\?'/);
    });

    it("logs of several nodes by time, those that follow end with Ctrl-C", async () => {
        await on("worker-1", "SELECT 1 / 0").catch(() => undefined);
        const all = await stack.npm("logs", "--since", "10m");
        assert.equal(all.code, 0, all.output);
        const times = all.stdout
            .split("\n")
            .flatMap((line) => /^\S+ +(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)/.exec(line)?.[1] ?? []);
        assert.deepEqual(times, [...times].sort());
        assert.match(all.stdout, /^worker-1 .*division by zero/m);
        const none = await stack.npm("logs", "worker-9");
        assert.equal(none.code, 2, none.output);
        const child = spawn("node", ["scripts/logs.ts", "worker-2", "-f", "--lines", "1"], {
            cwd: stack.dir,
            env: stack.env,
        });
        let said = "";
        child.stdout.on("data", (chunk) => {
            said += chunk;
        });
        const ended = new Promise((resolve) => child.on("close", resolve));
        await until("that it shows the log", 60, async () => said !== "");
        await on("worker-2", "SELECT 2 / 0").catch(() => undefined);
        await until("that it follows", 30, async () => /SELECT 2 \/ 0/.test(said));
        child.kill("SIGINT");
        assert.equal(await ended, 130);
    });
});

it("at the end nothing is left to find", async () => {
    const ran = await stack.npm("doctor");
    assert.equal(ran.code, 0, ran.output);
});
