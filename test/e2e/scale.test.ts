/**
 * The promise itself: 1 + 2 workers to 4, to 2, to none and back, under a client that keeps writing, deleting and
 * truncating, and not one row is lost, counted wrong, or said to be lost.
 */
import assert from "node:assert/strict";
import { afterAll, beforeAll, test } from "vitest";
import { whileTablesAreDropped } from "../../core/citus/dropped.ts";
import { QUEUED, QUEUES, WritingClient } from "../client.ts";
import { docker, fingerprint, requireEngine, SCHEMA, seed, TestStack } from "../lib.ts";

const SCALE = Number(process.env.E2E_PGBENCH_SCALE ?? 50);
const COMPANIES = 400;
const PGBENCH = ["pgbench_accounts", "pgbench_branches", "pgbench_tellers", "pgbench_history"];

let stack: TestStack;
let client: WritingClient | undefined;
let frozen: Record<string, string>;

beforeAll(async () => {
    requireEngine();
    stack = await TestStack.make({
        workers: 2,
        shardCount: 16,
        worker: { memory: "2GB" },
        coordinator: { memory: "2GB" },
    });
});

afterAll(async () => {
    await client?.stop();
    await stack?.destroy();
    assert.deepEqual(stack?.leftovers() ?? [], [], "destroy left something behind");
});

/** pgbench's own tables, distributed by branch; its history has no primary key. */
async function loadPgbench(): Promise<void> {
    const pgbench = (steps: string) =>
        docker([
            "exec",
            stack.container("coordinator"),
            "pgbench",
            "-q",
            "-i",
            "-s",
            String(SCALE),
            "-I",
            steps,
            "app",
        ]);
    pgbench("dt");
    const session = await stack.session();
    for (const statement of [
        "ALTER TABLE pgbench_branches ADD PRIMARY KEY (bid)",
        "ALTER TABLE pgbench_tellers ADD PRIMARY KEY (bid, tid)",
        "ALTER TABLE pgbench_accounts ADD PRIMARY KEY (bid, aid)",
        "ALTER TABLE pgbench_history REPLICA IDENTITY FULL",
        "SELECT create_distributed_table('pgbench_branches', 'bid')",
        "SELECT create_distributed_table('pgbench_tellers', 'bid', colocate_with => 'pgbench_branches')",
        "SELECT create_distributed_table('pgbench_accounts', 'bid', colocate_with => 'pgbench_branches')",
        "SELECT create_distributed_table('pgbench_history', 'bid', colocate_with => 'pgbench_branches')",
    ]) {
        await session.query(statement);
    }
    pgbench("G");
}

/** What must be true after every `up`, whatever it did. */
async function assertSettled(workers: number): Promise<void> {
    const session = await stack.session();
    // the client drops partitions meanwhile
    const plan = await whileTablesAreDropped(() => session.query("SELECT * FROM get_rebalance_table_shards_plan()"));
    assert.deepEqual(plan, [], "the rebalance plan is not empty");
    const nodes = await session.query<{ nodename: string; ok: boolean }>(
        "SELECT nodename, isactive AND hasmetadata AND metadatasynced AS ok FROM pg_dist_node WHERE groupid <> 0 ORDER BY 1",
    );
    assert.equal(nodes.length, workers);
    assert.ok(
        nodes.every((node) => node.ok),
        JSON.stringify(nodes),
    );
    const bad = await session.query("SELECT * FROM citus_check_cluster_node_health() WHERE result IS NOT TRUE");
    assert.deepEqual(bad, []);
    const [reference] = await session.query<{ copies: number }>(
        "SELECT count(*)::int AS copies FROM pg_dist_placement p JOIN pg_dist_shard s USING (shardid) WHERE s.logicalrelid = 'plans'::regclass",
    );
    assert.equal(reference?.copies, workers + 1, "a node lacks its copy of the reference table");
    const gone = await session.query(
        "SELECT * FROM pg_dist_cleanup c WHERE NOT EXISTS (SELECT 1 FROM pg_dist_node n WHERE n.groupid = c.node_group_id)",
    );
    assert.deepEqual(gone, [], "old copies are left on a node that is gone");
    assert.deepEqual(
        await fingerprint(session, ["projects", "plans", "notes", ...PGBENCH]),
        frozen,
        "rows changed that nobody wrote",
    );
    assert.ok(client);
    client.check();
}

/** Shard groups of `companies` on each node that holds any. */
async function groupsPerNode(): Promise<number[]> {
    const rows = await stack.sql<{ n: number }>(
        "SELECT count(*)::int AS n FROM pg_dist_placement p JOIN pg_dist_shard s USING (shardid) WHERE s.logicalrelid = 'companies'::regclass GROUP BY groupid",
    );
    return rows.map((row) => row.n);
}

test("a cluster of 1 + 2 from nothing, loaded, with a client writing from here on", async () => {
    await stack.up();
    const session = await stack.session();
    await session.query(SCHEMA);
    await session.query(seed(COMPANIES));
    for (const statement of QUEUES) await session.query(statement);
    await loadPgbench();
    frozen = await fingerprint(session, ["projects", "plans", "notes", ...PGBENCH]);
    const [accounts] = await session.query<{ n: string }>("SELECT count(*) AS n FROM pgbench_accounts");
    assert.equal(Number(accounts?.n), SCALE * 100_000);
    client = await WritingClient.startDeleting(await stack.access(), COMPANIES);
    await assertSettled(2);
});

test("a second up changes nothing", async () => {
    const ran = await stack.up({}, ["--expect-no-changes"]);
    assert.match(ran.output, /unchanged/);
});

test("refresh, then up, changes nothing", async () => {
    const refreshed = await stack.pulumi(["refresh", "--yes", "--expect-no-changes"]);
    assert.equal(refreshed.code, 0, refreshed.output);
    await stack.up({}, ["--expect-no-changes"]);
});

test("preview of 4 workers tells which shards will move, and changes nothing", async () => {
    await stack.config({ workers: 4 });
    const preview = await stack.pulumi(["preview"]);
    assert.equal(preview.code, 0, preview.output);
    assert.match(preview.output, /moves [0-9]+ shard groups, [0-9.]+ [kMG]B: .*worker-1 → worker-[34]/);
    assert.equal((await stack.sql("SELECT 1 FROM pg_dist_node")).length, 3);
});

test("2 to 4 workers: balanced over 4", async () => {
    const ran = await stack.up({ workers: 4 });
    const [, groups, counted] = /moved ([0-9]+) shard groups.*; ([0-9]+) tables of them counted/.exec(ran.output) ?? [];
    assert.ok(Number(counted) >= Number(groups), `${counted} tables of ${groups} shard groups were counted`);
    assert.doesNotMatch(ran.output, /DeprecationWarning/);
    await assertSettled(4);
    assert.equal((await groupsPerNode()).length, 4);
});

test("by shard count: groups per worker differ by at most one", async () => {
    await stack.up({ rebalance: { strategy: "by_shard_count" } });
    await assertSettled(4);
    const groups = await groupsPerNode();
    assert.ok(Math.max(...groups) - Math.min(...groups) <= 1, `groups per worker: ${groups.join(", ")}`);
    await stack.up({}, ["--expect-no-changes"]);
});

test("4 to 2 workers: the others are emptied, removed, and their volumes gone", async () => {
    await stack.up({ workers: 2 });
    await assertSettled(2);
    const names = docker([
        "ps",
        "-a",
        "--filter",
        `label=citus.cluster=citus-${stack.name}`,
        "--format",
        '{{.Label "citus.node"}}',
    ])
        .trim()
        .split("\n");
    assert.deepEqual(names.sort(), ["coordinator", "worker-1", "worker-2"]);
    const volumes = docker(["volume", "ls", "-q", "--filter", `label=citus.cluster=citus-${stack.name}`])
        .trim()
        .split("\n");
    assert.equal(volumes.length, 4);
});

test("2 to 0 workers: everything on the coordinator", async () => {
    await stack.up({ workers: 0 });
    await assertSettled(0);
    assert.deepEqual(await groupsPerNode(), [16]);
});

test("and back to 2: the coordinator gives its shards away again", async () => {
    await stack.up({ workers: 2 });
    await assertSettled(2);
    const [held] = await stack.sql<{ n: number }>(
        "SELECT count(*)::int AS n FROM pg_dist_placement p JOIN pg_dist_shard s USING (shardid) JOIN pg_dist_partition t USING (logicalrelid) WHERE groupid = 0 AND t.partmethod <> 'n'",
    );
    assert.equal(held?.n, 0);
    await stack.up({}, ["--expect-no-changes"]);
});

test("the client wrote all along, and every row it was promised is there once", async () => {
    assert.ok(client);
    const report = await client.stop();
    console.log(
        `client: ${report.transfers} transfers, ${report.inserts} inserts, ${report.reads} reads, ${report.deletes} deletes, ${report.truncates} truncates, ${report.partitions} partitions, ${report.errors.length} statements tried again, worst ${report.worst} ms`,
    );
    assert.ok(report.inserts > 100 && report.transfers > 100, "the client hardly wrote");
    assert.ok(report.deletes > 100 && report.truncates > 10 && report.partitions > 2, JSON.stringify(report));
    assert.deepEqual(report.wrong, [], "the client saw a wrong sum or count");
    const left = QUEUED - report.deletes;
    for (const table of ["jobs", "events WHERE day < 100"]) {
        const [row] = await stack.sql<{ n: number }>(`SELECT count(*)::int AS n FROM ${table}`);
        assert.ok(Math.abs((row?.n ?? 0) - left) <= report.errors.length, `${table}: ${row?.n} instead of ${left}`);
    }
    const session = await stack.session();
    const rows = await session.query<{ id: string; n: number }>(
        "SELECT id::text, count(*)::int AS n FROM users WHERE id > 1000000 GROUP BY 1",
    );
    const found = new Map(rows.map((row) => [Number(row.id), row.n]));
    const lost = [...report.acknowledged].filter((id) => !found.has(id));
    assert.deepEqual(lost, [], "acknowledged rows are missing");
    assert.ok(
        [...found.values()].every((n) => n === 1),
        "a row is there twice",
    );
    const [sum] = await session.query<{ sum: string }>("SELECT sum(balance) FROM companies");
    assert.equal(Number(sum?.sum), COMPANIES * 1000);
});
