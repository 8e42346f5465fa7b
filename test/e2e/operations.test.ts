/** What goes wrong in real life, on one real cluster: each case is refused clearly or mended by the next `up`. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import pg from "pg";
import { afterAll, beforeAll, test } from "vitest";
import { joinWorker } from "../../core/citus/members/join.ts";
import { readFacts, refusals } from "../../core/citus/members/joinFacts.ts";
import { connect, type Session } from "../../core/reach/session.ts";
import { docker, fingerprint, requireEngine, run, SCHEMA, seed, TestStack } from "../lib.ts";
import { NodeWatch } from "../nodeWatch.ts";

let stack: TestStack;
let other: TestStack | undefined;

beforeAll(async () => {
    requireEngine();
    stack = await TestStack.make({ workers: 2, shardCount: 8 });
    await stack.up();
    const session = await stack.session();
    await session.query(SCHEMA);
    await session.query(seed(200));
});

afterAll(async () => {
    await other?.destroy();
    await stack?.destroy();
});

const nodeNames = async () =>
    (await stack.sql<{ name: string }>("SELECT split_part(nodename, '.', 1) AS name FROM pg_dist_node ORDER BY 1")).map(
        (row) => row.name,
    );

const placements = async (node: string) => {
    const [row] = await stack.sql<{ n: number }>(
        `SELECT count(*)::int AS n FROM pg_dist_placement p JOIN pg_dist_node n USING (groupid) JOIN pg_dist_shard s USING (shardid)
           JOIN pg_dist_partition t USING (logicalrelid) WHERE n.nodename LIKE $1 || '.%' AND t.partmethod <> 'n'`,
        [node],
    );
    return row?.n ?? 0;
};

test("the bootstrap: checksums, scram, TLS before Citus, logical WAL, no ALTER SYSTEM, UTC, C.UTF-8, the same everywhere", async () => {
    for (const node of ["coordinator", "worker-1", "worker-2"]) {
        const session = await stack.session(node);
        const [row] = await session.query<Record<string, string>>(
            `SELECT current_setting('data_checksums') AS checksums, current_setting('password_encryption') AS encryption, current_setting('ssl') AS ssl,
                    current_setting('wal_level') AS wal, (SELECT setting FROM pg_file_settings WHERE lower(name) = 'timezone' AND applied) AS zone, current_setting('shared_preload_libraries') AS libraries,
                    (SELECT datlocprovider::text || ' ' || datlocale FROM pg_database WHERE datname = current_database()) AS locale,
                    (SELECT count(*)::text FROM pg_file_settings WHERE sourcefile LIKE '%auto.conf') AS altered,
                    (SELECT string_agg(extname, ',' ORDER BY extname) FROM pg_extension WHERE extname IN ('citus', 'pg_stat_statements')) AS extensions,
                    current_setting('citus.node_conninfo') LIKE '%verify-full%' AS verified`,
        );
        assert.deepEqual(
            { ...row },
            {
                checksums: "on",
                encryption: "scram-sha-256",
                ssl: "on",
                wal: "logical",
                zone: "Etc/UTC",
                libraries: "citus,pg_stat_statements",
                locale: "b C.UTF-8",
                altered: "0",
                extensions: "citus,pg_stat_statements",
                verified: true,
            },
            node,
        );
    }
});

test("another memory replaces the workers one by one, then the coordinator: no two nodes are away at once", async () => {
    const nodes = ["coordinator", "worker-1", "worker-2"];
    const before = await fingerprint(await stack.session());
    const accesses = await Promise.all(nodes.map(async (node) => ({ node, access: await stack.access(node) })));
    const watch = new NodeWatch(stack, accesses);
    await stack.up({ worker: { memory: "1100MB" }, coordinator: { memory: "1200MB" } }).finally(() => watch.stop());
    assert.deepEqual(watch.replaced(), ["worker-1", "worker-2", "coordinator"]);
    watch.assertOneDown();
    assert.deepEqual(await fingerprint(await stack.session()), before);
});

test("a table without primary key: up fails before anything moved, names it, prints the fix and the setting; then it finishes", async () => {
    const session = await stack.session();
    await session.query("CREATE TABLE events (company_id bigint, id bigint, what text)");
    await session.query("SELECT create_distributed_table('events', 'company_id', colocate_with => 'companies')");
    await session.query("INSERT INTO events SELECT i % 200 + 1, i, 'x' FROM generate_series(1, 1000) i");
    const before = await stack.sql("SELECT shardid, groupid FROM pg_dist_placement ORDER BY 1, 2");

    const preview = await (async () => {
        await stack.config({ workers: 3 });
        return stack.pulumi(["preview"]);
    })();
    assert.notEqual(preview.code, 0);
    const failed = await stack.tryUp({ workers: 3 });
    assert.notEqual(failed.code, 0);
    for (const output of [preview.output, failed.output]) {
        assert.match(output, /1 table stands in the way of moving shards/);
        assert.match(output, /events {2}no primary key or replica identity/);
        assert.match(output, /ALTER TABLE events ADD PRIMARY KEY \(company_id, id\);/);
        assert.match(output, /citus:rebalance\.transferMode block_writes/);
    }
    const after = await stack.sql(
        "SELECT shardid, groupid FROM pg_dist_placement WHERE shardid IN (SELECT shardid FROM pg_dist_shard s JOIN pg_dist_partition t USING (logicalrelid) WHERE partmethod <> 'n') ORDER BY 1, 2",
    );
    const moved = after.filter((row) => !before.some((old) => JSON.stringify(old) === JSON.stringify(row)));
    assert.deepEqual(moved, [], "a shard moved although up failed");

    await stack.sql("ALTER TABLE events ADD PRIMARY KEY (company_id, id)");
    await stack.up();
    assert.deepEqual(await nodeNames(), ["coordinator", "worker-1", "worker-2", "worker-3"]);
    assert.ok((await placements("worker-3")) > 0);
    const [row] = await stack.sql<{ n: string }>("SELECT count(*) AS n FROM events");
    assert.equal(Number(row?.n), 1000);
});

test("the same in the way of a scale-in: nothing moves and the worker still takes shards", async () => {
    await stack.sql("ALTER TABLE events DROP CONSTRAINT events_pkey");
    const failed = await stack.tryUp({ workers: 2 });
    assert.notEqual(failed.code, 0);
    assert.match(failed.output, /events {2}no primary key or replica identity/);
    const [row] = await stack.sql<{ n: number }>(
        "SELECT count(*)::int AS n FROM pg_dist_node WHERE groupid <> 0 AND shouldhaveshards",
    );
    assert.equal(row?.n, 3, "a worker was left marked");
    // and with the setting that the message names
    await stack.up({ workers: 2, rebalance: { transferMode: "block_writes" } });
    assert.deepEqual(await nodeNames(), ["coordinator", "worker-1", "worker-2"]);
    const [count] = await stack.sql<{ n: string }>("SELECT count(*) AS n FROM events");
    assert.equal(Number(count?.n), 1000);
    await stack.sql("DROP TABLE events");
    await stack.up({ rebalance: undefined });
});

test("FORCE ROW LEVEL SECURITY with an owner who can't bypass it: every row survives out and in", async () => {
    const session = await stack.session();
    await session.query("CREATE ROLE tenant_owner NOSUPERUSER NOBYPASSRLS LOGIN PASSWORD 'x'");
    await session.query("GRANT ALL ON SCHEMA public TO tenant_owner");
    await session.query("CREATE TABLE secrets (company_id bigint, id bigint, body text, PRIMARY KEY (company_id, id))");
    await session.query("ALTER TABLE secrets OWNER TO tenant_owner");
    await session.query("SELECT create_distributed_table('secrets', 'company_id', colocate_with => 'none')");
    await session.query("INSERT INTO secrets SELECT i, i, md5(i::text) FROM generate_series(1, 2000) i");
    await session.query("ALTER TABLE secrets ENABLE ROW LEVEL SECURITY");
    await session.query("ALTER TABLE secrets FORCE ROW LEVEL SECURITY");
    await session.query("CREATE POLICY only_one ON secrets USING (company_id = 1)");
    const whole = await fingerprint(session, ["secrets"]);
    assert.match(whole.secrets ?? "", /^2000 rows/);
    await stack.up({ workers: 4 });
    assert.deepEqual(await fingerprint(await stack.session(), ["secrets"]), whole);
    await stack.up({ workers: 2 });
    assert.deepEqual(await fingerprint(await stack.session(), ["secrets"]), whole);
    await stack.sql("DROP TABLE secrets");
});

test("retire: the named worker leaves, the others stay, and a fresh one takes its place when the count is kept", async () => {
    const before = await fingerprint(await stack.session());
    await stack.up({ retire: ["worker-1"] });
    assert.deepEqual(await nodeNames(), ["coordinator", "worker-2", "worker-3"]);
    assert.deepEqual(await fingerprint(await stack.session()), before);
    assert.equal(stack.container("worker-1"), "");
    await stack.up({ retire: undefined });
    assert.deepEqual(await nodeNames(), ["coordinator", "worker-1", "worker-2"]);
    assert.deepEqual(await fingerprint(await stack.session()), before);
});

test("a worker with a table of its own can't leave; the refusal names it and nothing moves", async () => {
    const worker = await stack.session("worker-2");
    await worker.query("SET citus.enable_ddl_propagation = off");
    await worker.query("CREATE TABLE by_hand (id int PRIMARY KEY)");
    const held = await placements("worker-2");
    const failed = await stack.tryUp({ workers: 1 });
    assert.notEqual(failed.code, 0);
    assert.match(failed.output, /worker-2 can't leave: it has data that is nowhere else/);
    assert.match(failed.output, /table public\.by_hand/);
    assert.equal(await placements("worker-2"), held);
    const again = await stack.session("worker-2");
    await again.query("SET citus.enable_ddl_propagation = off");
    await again.query("DROP TABLE by_hand");
    await stack.up({ workers: 2 });
});

test("rebalance: false registers only, and a leaving worker is still emptied", async () => {
    await stack.up({ workers: 3, rebalance: false });
    assert.deepEqual(await nodeNames(), ["coordinator", "worker-1", "worker-2", "worker-3"]);
    assert.equal(await placements("worker-3"), 0);
    await stack.up({}, ["--expect-no-changes"]);
    await stack.up({ retire: ["worker-1"], workers: 2 });
    assert.deepEqual(await nodeNames(), ["coordinator", "worker-2", "worker-3"]);
    assert.ok((await placements("worker-3")) + (await placements("worker-2")) > 0);
    await stack.up({ retire: undefined, rebalance: undefined });
});

test("settings: a reload needs no restart; what needs one says so in preview and restarts node after node", async () => {
    const started = async () => {
        const rows: Record<string, string> = {};
        for (const node of ["coordinator", "worker-1", "worker-2"]) {
            const [row] = await (await stack.session(node)).query<{ at: string }>(
                "SELECT pg_postmaster_start_time()::text AS at",
            );
            rows[node] = row?.at ?? "";
        }
        return rows;
    };
    const before = await started();
    await stack.up({ settings: { all: { work_mem: "7MB" }, workers: { random_page_cost: "1.3" } } });
    assert.deepEqual(await started(), before, "a reload restarted a node");
    for (const [node, cost] of [
        ["coordinator", "1.1"],
        ["worker-1", "1.3"],
        ["worker-2", "1.3"],
    ] as const) {
        const [row] = await (await stack.session(node)).query<{ mem: string; cost: string }>(
            "SELECT current_setting('work_mem') AS mem, current_setting('random_page_cost') AS cost",
        );
        assert.deepEqual({ ...row }, { mem: "7MB", cost }, node);
    }
    await stack.config({ settings: { all: { max_connections: "260" } } });
    const preview = await stack.pulumi(["preview"]);
    assert.match(preview.output, /max_connections 240 → 260.*needs a restart of worker-1, one node after another/);
    await stack.up();
    const restarted = await started();
    for (const node of Object.keys(before)) assert.notEqual(restarted[node], before[node], `${node} was not restarted`);
    const [row] = await stack.sql<{ n: string }>("SELECT current_setting('max_connections') AS n");
    assert.equal(row?.n, "260");
    await stack.up({}, ["--expect-no-changes"]);
});

test("a setting that PostgreSQL refuses: the node keeps its old configuration and goes on", async () => {
    const failed = await stack.tryUp({ settings: { all: { max_connections: "260", shared_bufers: "1GB" } } });
    assert.notEqual(failed.code, 0);
    assert.match(failed.output, /citus:settings\.all\.shared_bufers got "1GB" - PostgreSQL says: unrecognized/);
    assert.equal((await stack.sql<{ max_connections: string }>("SHOW max_connections"))[0]?.max_connections, "260");
    assert.equal((await stack.sql("SELECT 1")).length, 1);
    docker(["restart", "-t", "60", stack.container("worker-1")]);
    await stack.closeSessions();
    assert.equal((await (await stack.session("worker-1")).query("SELECT 1")).length, 1);
    await stack.up({ settings: { all: { max_connections: "260" } } });
});

test("post-deploy SQL: in order, once for each content, undone when it fails", async () => {
    stack.write(
        "sql/one.sql",
        "CREATE TABLE deployed (id int PRIMARY KEY, n int NOT NULL);\nSELECT create_reference_table('deployed');\nINSERT INTO deployed VALUES (1, 1);\n",
    );
    stack.write("sql/two.sql", "UPDATE deployed SET n = n + 1;\n");
    await stack.up({ postDeploy: ["sql/one.sql", "sql/two.sql"] });
    const value = async () => (await stack.sql<{ n: number }>("SELECT n FROM deployed"))[0]?.n;
    assert.equal(await value(), 2);
    await stack.up({}, ["--expect-no-changes"]);
    stack.write("sql/two.sql", "UPDATE deployed SET n = n + 10;\n");
    await stack.up();
    assert.equal(await value(), 12);
    stack.write("sql/three.sql", "UPDATE deployed SET n = 99;\nSELECT nonsense;\n");
    const failed = await stack.tryUp({ postDeploy: ["sql/one.sql", "sql/two.sql", "sql/three.sql"] });
    assert.notEqual(failed.code, 0);
    assert.match(failed.output, /sql\/three\.sql:2: ERROR: +column "nonsense" does not exist/);
    assert.equal(await value(), 12);
    stack.write("sql/three.sql", "CREATE INDEX CONCURRENTLY IF NOT EXISTS deployed_n ON deployed (n);\n");
    await stack.up();
    assert.equal((await stack.sql("SELECT 1 FROM pg_class WHERE relname = 'deployed_n'")).length, 1);
    await stack.up({ postDeploy: undefined });
    await stack.sql("DROP TABLE deployed");
});

test("a container deleted by hand: up --refresh brings the node back with its data and registration", async () => {
    const before = await fingerprint(await stack.session());
    const registered = await stack.sql("SELECT nodeid, groupid, nodename FROM pg_dist_node ORDER BY 1");
    for (const node of ["worker-1", "coordinator"]) {
        await stack.closeSessions();
        docker(["rm", "-f", stack.container(node)]);
        await stack.up({}, ["--refresh"]);
        assert.deepEqual(await fingerprint(await stack.session()), before, node);
        assert.deepEqual(await stack.sql("SELECT nodeid, groupid, nodename FROM pg_dist_node ORDER BY 1"), registered);
        await stack.up({}, ["--expect-no-changes"]);
    }
});

test("a registration removed or switched off by hand is seen in preview and mended by up", async () => {
    const before = await fingerprint(await stack.session());
    await stack.up({ workers: 3 });
    await stack.sql(
        "SELECT citus_set_node_property((SELECT nodename FROM pg_dist_node WHERE nodename LIKE 'worker-2.%'), 5432, 'shouldhaveshards', false)",
    );
    const preview = await stack.pulumi(["preview", "--expect-no-changes"]);
    assert.notEqual(preview.code, 0, "the drift was not seen");
    await stack.up();
    const [row] = await stack.sql<{ flag: boolean }>(
        "SELECT shouldhaveshards AS flag FROM pg_dist_node WHERE nodename LIKE 'worker-2.%'",
    );
    assert.equal(row?.flag, true);
    await stack.up({ workers: 2 });
    assert.deepEqual(await fingerprint(await stack.session()), before);
});

test("a worker's volume that is lost is never replaced by an empty one in silence", async () => {
    await stack.closeSessions();
    const container = stack.container("worker-2");
    const volume = docker([
        "inspect",
        container,
        "--format",
        '{{range .Mounts}}{{if eq .Destination "/var/lib/citus"}}{{.Name}}{{end}}{{end}}',
    ]).trim();
    docker(["stop", container]);
    docker([
        "run",
        "--rm",
        "-v",
        `${volume}:/from`,
        "-v",
        `${volume}-kept:/to`,
        "--user",
        "0",
        "--entrypoint",
        "bash",
        docker(["inspect", container, "--format", "{{.Config.Image}}"]).trim(),
        "-c",
        "cp -a /from/. /to/",
    ]);
    docker(["rm", container]);
    docker(["volume", "rm", volume]);
    const failed = await stack.tryUp({}, ["--refresh"]);
    assert.notEqual(failed.code, 0);
    assert.match(failed.output, /worker-2: the data is gone/);
    assert.match(failed.output, /no empty database was put in its place/);
    // the volume comes back, and with it the node
    docker(["stop", stack.container("worker-2")]);
    docker([
        "run",
        "--rm",
        "-v",
        `${volume}-kept:/from`,
        "-v",
        `${volume}:/to`,
        "--user",
        "0",
        "--entrypoint",
        "bash",
        docker(["inspect", stack.container("worker-2"), "--format", "{{.Config.Image}}"]).trim(),
        "-c",
        "find /to -mindepth 1 -delete; cp -a /from/. /to/",
    ]);
    docker(["volume", "rm", `${volume}-kept`]);
    docker(["start", stack.container("worker-2")]);
    await stack.up();
    const [row] = await stack.sql<{ n: string }>("SELECT count(*) AS n FROM projects");
    assert.equal(Number(row?.n), 4000);
});

test("any login role works across nodes, without a password on any of them", async () => {
    const session = await stack.session();
    await session.query("CREATE ROLE app_user LOGIN PASSWORD 'app-password'");
    await session.query("GRANT SELECT, INSERT ON ALL TABLES IN SCHEMA public TO app_user");
    const access = { ...(await stack.access()), user: "app_user", password: "app-password" };
    const asUser = await connect(access, "coordinator");
    const [row] = await asUser.query<{ n: string }>("SELECT count(*) AS n FROM projects");
    assert.equal(Number(row?.n), 4000);
    await asUser.close();
    // and through a worker
    const onWorker = await connect({ ...access, port: (await stack.access("worker-1")).port }, "worker-1");
    const [again] = await onWorker.query<{ n: string }>("SELECT count(*) AS n FROM projects");
    assert.equal(Number(again?.n), 4000);
    await onWorker.close();
    const [authinfo] = await session.query<{ n: number }>("SELECT count(*)::int AS n FROM pg_dist_authinfo");
    assert.equal(authinfo?.n, 0);
});

test("the attack table: from the client network and from the node network", async () => {
    const access = await stack.access();
    const attempt = async (options: pg.ClientConfig) => {
        const client = new pg.Client({
            host: "127.0.0.1",
            port: access.port,
            user: "postgres",
            database: "app",
            connectionTimeoutMillis: 5000,
            ...options,
        });
        try {
            await client.connect();
            await client.end();
            return "in";
        } catch (error) {
            client.end().catch(() => undefined);
            return (error as Error).message || (error as { code?: string }).code || "refused";
        }
    };
    const ca = access.ca;
    const coordinator = stack.container("coordinator");
    const read = (file: string) => docker(["exec", coordinator, "cat", `/var/lib/citus/conf/current/${file}`]);
    const node = { cert: read("node.crt"), key: read("node.key") };
    // self-signed, with the name of a node
    const dir = mkdtempSync(join(tmpdir(), "attack-"));
    execFileSync(
        "openssl",
        [
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-keyout",
            join(dir, "k"),
            "-out",
            join(dir, "c"),
            "-subj",
            `/CN=worker-1.citus-${stack.name}.node`,
            "-days",
            "1",
        ],
        { stdio: "ignore" },
    );
    const forged = { cert: readFileSync(join(dir, "c"), "utf8"), key: readFileSync(join(dir, "k"), "utf8") };
    const ssl = { ca, servername: "localhost" };

    assert.equal(await attempt({ ssl, password: access.password }), "in");
    assert.match(await attempt({ ssl, password: "" }), /password|empty/i);
    assert.match(await attempt({ ssl, password: "wrong" }), /password authentication failed/);
    assert.match(await attempt({ ssl: false, password: access.password }), /no pg_hba\.conf entry.*no encryption/);
    assert.match(
        await attempt({ ssl: { ...ssl, ...node }, password: "wrong" }),
        /password authentication failed/,
        "a node certificate alone let a client in",
    );
    assert.match(
        await attempt({ ssl: { ...ssl, ...forged }, password: access.password }),
        /unknown ca|alert|ECONNRESET|EPIPE/i,
    );
    assert.match(
        await attempt({ ssl: { ca, servername: "worker-1.example.com" }, password: access.password }),
        /altnames|does not match/i,
    );
    assert.match(
        await attempt({ ssl: { ca: forged.cert, servername: "localhost" }, password: access.password }),
        /certificate/i,
    );

    // on the node network: a container beside the nodes, with the image's own psql
    const network =
        docker(["network", "ls", "--filter", `label=citus.cluster=citus-${stack.name}`, "--format", "{{.Name}}"])
            .trim()
            .split("\n")
            .find((name) => name.endsWith("-nodes")) ?? "";
    const image = docker(["inspect", coordinator, "--format", "{{.Config.Image}}"]).trim();
    writeFileSync(join(dir, "ca"), ca);
    writeFileSync(join(dir, "nc"), node.cert);
    writeFileSync(join(dir, "nk"), node.key);
    const host = `coordinator.citus-${stack.name}.node`;
    const inside = (conninfo: string, password = "") =>
        run(
            "docker",
            [
                "run",
                "--rm",
                "-i",
                "--network",
                network,
                "--user",
                "0",
                "-e",
                `PGPASSWORD=${password}`,
                "-v",
                `${dir}:/in:ro`,
                "--entrypoint",
                "bash",
                image,
                "-c",
                `cp /in/* /tmp/ && chmod 600 /tmp/* && psql "host=${host} dbname=app connect_timeout=5 ${conninfo}" -Atc 'select 1'`,
            ],
            { cwd: dir },
        );
    const tls = "sslmode=verify-full sslrootcert=/tmp/ca";
    assert.match((await inside(`user=postgres ${tls}`)).output, /connection requires a valid client certificate/);
    assert.match(
        (await inside(`user=postgres ${tls}`, access.password)).output,
        /connection requires a valid client certificate/,
    );
    assert.match((await inside(`user=postgres ${tls} sslcert=/tmp/c sslkey=/tmp/k`)).output, /unknown ca|certificate/);
    assert.match((await inside("user=postgres sslmode=disable", access.password)).output, /no encryption/);
    assert.match(
        (await inside(`user=postgres ${tls} sslcert=/tmp/nc sslkey=/tmp/nk`)).output,
        /^1$/m,
        "the known residual risk: a node's key on the node network",
    );
    // another OS user on the socket
    const asRoot = await run(
        "docker",
        ["exec", "--user", "0", coordinator, "psql", "-U", "postgres", "-d", "app", "-Atc", "select 1"],
        { cwd: dir },
    );
    assert.match(asRoot.output, /Peer authentication failed|Permission denied/);
    rmSync(dir, { recursive: true, force: true });
});

test("another citus:name or citus:database on a living cluster is refused in preview, and touches nothing", async () => {
    const before = await fingerprint(await stack.session());
    const containers = docker(["ps", "-q", "--filter", `label=citus.cluster=citus-${stack.name}`]);
    for (const config of [{ name: "another" }, { database: "another" }]) {
        await stack.config(config);
        const [key] = Object.keys(config);
        for (const ran of [await stack.pulumi(["preview"]), await stack.pulumi(["up", "--yes", "--skip-preview"])]) {
            assert.notEqual(ran.code, 0);
            assert.match(ran.output, new RegExp(`citus:${key} is .*, got another`));
        }
        await stack.config({ [key as string]: undefined });
    }
    assert.equal(docker(["ps", "-q", "--filter", `label=citus.cluster=citus-${stack.name}`]), containers);
    await stack.up({}, ["--expect-no-changes"]);
    assert.deepEqual(await fingerprint(await stack.session()), before);
});

test("data that a worker alone has, made while it was drained or in another database, keeps it from leaving", async () => {
    await stack.up({ workers: 3 });
    const plain = await connect({ ...(await stack.access("worker-3")), database: "postgres" }, "worker-3");
    await plain.query("CREATE TABLE in_postgres (id int)");
    const failed = await stack.tryUp({ workers: 2 });
    assert.notEqual(failed.code, 0);
    assert.match(failed.output, /worker-3 can't leave: it has data that is nowhere else/);
    assert.match(failed.output, /table public\.in_postgres in database postgres/);
    await plain.query("DROP TABLE in_postgres");
    await plain.close();
    // after the drain has begun: the look right before the removal finds it
    const late = stack.start(["up", "--yes", "--skip-preview"]);
    const done = new Promise<number>((resolve) => late.on("close", (code) => resolve(code ?? -1)));
    let output = "";
    late.stdout?.on("data", (chunk) => {
        output += chunk;
    });
    const worker = await connect(await stack.access("worker-3"), "worker-3");
    for (let i = 0; i < 200 && !/dropping|shard groups ·|moved [0-9]+ shard groups/.test(output); i++)
        await new Promise((resolve) => setTimeout(resolve, 50));
    await worker.query("SELECT lo_create(4711)");
    const code = await done;
    assert.notEqual(code, 0, output);
    assert.match(output, /1 large objects/);
    const [object] = await worker.query<{ n: number }>("SELECT count(*)::int AS n FROM pg_largeobject_metadata");
    assert.equal(object?.n, 1);
    await worker.query("SELECT lo_unlink(4711)");
    await worker.close();
    await stack.up({ workers: 2 });
});

test("protected: destroy and down are refused before anything is deleted; a scale-in still works", async () => {
    await stack.up({ workers: 3, protect: true });
    await stack.up({ workers: 2 });
    const before = await fingerprint(await stack.session());
    const containers = docker(["ps", "-q", "--filter", `label=citus.cluster=citus-${stack.name}`]);
    const refused = await stack.pulumi(["destroy", "--yes", "--skip-preview"]);
    assert.notEqual(refused.code, 0);
    assert.match(refused.output, /protected/);
    assert.equal(docker(["ps", "-q", "--filter", `label=citus.cluster=citus-${stack.name}`]), containers);
    await stack.closeSessions();
    assert.deepEqual(await fingerprint(await stack.session()), before);
    await stack.pulumi(["stack", "select", stack.name]);
    const down = await run("node", ["scripts/down.ts"], {
        cwd: stack.dir,
        env: stack.env,
    });
    assert.equal(down.code, 1, down.output);
    assert.match(down.output, /is protected; nothing was changed/);
    await stack.closeSessions();
    assert.deepEqual(await fingerprint(await stack.session()), before);
    await stack.up({ protect: false });
});

test("ports are published on 127.0.0.1 only", () => {
    for (const node of ["coordinator", "worker-1", "worker-2"]) {
        const bound = docker([
            "inspect",
            stack.container(node),
            "--format",
            "{{range .NetworkSettings.Ports}}{{range .}}{{.HostIp}} {{end}}{{end}}",
        ]).trim();
        // PostgreSQL's and the pool's
        assert.equal(bound, "127.0.0.1 127.0.0.1", node);
    }
});

test("no secret in docker inspect, container logs, pulumi output or process lists", async () => {
    const exported = JSON.parse((await stack.pulumi(["stack", "export", "--show-secrets"])).stdout) as {
        deployment: {
            resources: { type: string; inputs?: Record<string, unknown>; outputs?: Record<string, unknown> }[];
        };
    };
    const secrets = new Set<string>();
    for (const resource of exported.deployment.resources) {
        const key = resource.outputs?.privateKeyPem ?? resource.inputs?.privateKey;
        const plain = (value: unknown) =>
            JSON.stringify(value ?? "").match(/BEGIN EC PRIVATE KEY-----(?:\\\\n|\\n)([A-Za-z0-9+/=]{40})/)?.[1];
        const body = plain(key);
        if (body) secrets.add(body);
    }
    const { password } = await stack.outputs();
    secrets.add(password);
    assert.ok(secrets.size >= 4, "the test knows no secrets to look for");

    await stack.config({ workers: 3 });
    const child = stack.start(["up", "--yes", "--diff"]);
    let output = "";
    child.stdout?.on("data", (chunk) => {
        output += chunk;
    });
    child.stderr?.on("data", (chunk) => {
        output += chunk;
    });
    let processes = "";
    const done = new Promise((resolve) => child.on("close", resolve));
    const watch = setInterval(() => {
        processes += execFileSync("ps", ["-eo", "args"], { encoding: "utf8" });
    }, 150);
    await done;
    clearInterval(watch);
    await stack.closeSessions();
    const places: Record<string, string> = { "pulumi up --diff": output, "the process list": processes };
    places["pulumi preview --json"] = (await stack.pulumi(["preview", "--json"])).output;
    places["pulumi stack"] = (await stack.pulumi(["stack"])).output;
    places["the state file"] = readFileSync(
        join(stack.dir, ".state", "pulumi", ".pulumi", "stacks", "citus", `${stack.name}.json`),
        "utf8",
    );
    for (const node of ["coordinator", "worker-1", "worker-2", "worker-3"]) {
        const container = stack.container(node);
        places[`docker inspect ${node}`] = docker(["inspect", container]);
        const logs = await run("docker", ["logs", container], { cwd: stack.dir });
        places[`the log of ${node}`] = logs.output;
        places[`the image of ${node}`] = docker([
            "history",
            "--no-trunc",
            docker(["inspect", container, "--format", "{{.Config.Image}}"]).trim(),
        ]);
    }
    for (const [place, text] of Object.entries(places)) {
        assert.ok(text.length > 0, `${place} was not read`);
        for (const secret of secrets) assert.ok(!text.includes(secret), `${place} shows a secret`);
    }
    await stack.up({ workers: 2 });
});

test("a second cluster runs beside the first, and neither can be registered into the other", async () => {
    other = await TestStack.make({ workers: 1, shardCount: 8 });
    await other.up();
    const theirs = await other.session();
    await theirs.query(SCHEMA);
    await theirs.query(seed(20));
    const before = await fingerprint(theirs);
    const coordinator = await stack.session();
    const nodesBefore = await stack.sql("SELECT * FROM pg_dist_node ORDER BY nodeid");

    const refuse = async (target: Session, name: string, ...reasons: RegExp[]) => {
        await assert.rejects(
            joinWorker(coordinator, target, { name, host: "stranger.example", port: 5432 }, "auto"),
            (error: Error) => {
                for (const reason of reasons) assert.match(error.message, reason, name);
                assert.match(error.message, /Nothing was changed/);
                return true;
            },
        );
    };
    await refuse(theirs, "their coordinator", /was not made by this stack/, /knows 2 nodes/, /distributed tables/);
    await refuse(
        await other.session("worker-1"),
        "their worker",
        /was not made by this stack/,
        /worker of another cluster/,
    );
    // its certificate is enough to stop it before any of this
    await assert.rejects(
        connect({ ...(await stack.access()), port: (await other.access()).port }, "their coordinator"),
        /certificate/,
    );

    // a server of our own making with a table whose name clashes, one without Citus, and one with another version
    const facts = await readFacts(coordinator);
    const maintenance = await connect(
        { ...(await stack.access("worker-1")), database: "postgres" },
        "a plain PostgreSQL",
    );
    await refuse(maintenance, "a plain PostgreSQL", /no Citus extension/);
    await maintenance.query("CREATE DATABASE clash TEMPLATE template0");
    const clash = await connect({ ...(await stack.access("worker-1")), database: "clash" }, "clash");
    await clash.query("CREATE EXTENSION citus");
    await clash.query("CREATE TABLE companies (id int)");
    await clash.query("INSERT INTO companies VALUES (1), (2)");
    await refuse(clash, "a server with a clashing table", /not empty: public\.companies/);
    const [kept] = await clash.query<{ n: string }>("SELECT count(*) AS n FROM companies");
    assert.equal(Number(kept?.n), 2);
    await clash.query("DROP TABLE companies");
    const old = await readFacts(clash);
    assert.deepEqual(refusals({ ...old, citus: "13.2-1" }, facts), ["it has Citus 13.2-1, the coordinator 14.0-1"]);
    await clash.close();
    await maintenance.query("DROP DATABASE clash");
    await maintenance.close();

    assert.deepEqual(await stack.sql("SELECT * FROM pg_dist_node ORDER BY nodeid"), nodesBefore);
    assert.deepEqual(await fingerprint(await other.session()), before);
    await other.destroy();
    other = undefined;
    assert.equal((await stack.sql("SELECT 1")).length, 1);
});

test("the last worker can't leave while the coordinator is dead; destroy works all the same", async () => {
    await stack.closeSessions();
    docker(["stop", stack.container("coordinator")]);
    const failed = await stack.tryUp({ workers: 1 });
    assert.notEqual(failed.code, 0);
    assert.match(
        failed.output,
        /coordinator (does not answer|can.t be configured).* its container \S+ is stopped: docker start/,
    );
    const volumes = docker(["volume", "ls", "-q", "--filter", `label=citus.cluster=citus-${stack.name}`])
        .trim()
        .split("\n");
    assert.equal(volumes.length, 4, "a volume went although the coordinator could not be asked");
    const ran = await stack.pulumi(["destroy", "--yes", "--skip-preview"]);
    assert.equal(ran.code, 0, ran.output);
    assert.deepEqual(stack.leftovers(), []);
});
