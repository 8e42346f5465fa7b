/** Workers that join, leave, and are changed by hand: what they hold decides, and no id or row comes twice or is lost. */
import assert from "node:assert/strict";
import { afterAll, beforeAll, test } from "vitest";
import { joinWorker } from "../../core/citus/members/join.ts";
import { withSession } from "../../core/reach/session.ts";
import { MemberKind } from "../../provider/member.ts";
import { docker, fingerprint, requireEngine, TestStack } from "../lib.ts";
import { ask } from "../provider/ask.ts";

const LONG = "a_reference_table_with_a_name_that_leaves_no_room_for_shard_ids";
const OBJECTS = `
CREATE TABLE notes (c bigint, id bigint GENERATED ALWAYS AS IDENTITY, body text, PRIMARY KEY (c, id));
SELECT create_distributed_table('notes', 'c');
CREATE TABLE lines (c bigint, id bigserial, PRIMARY KEY (c, id));
SELECT create_distributed_table('lines', 'c', colocate_with => 'notes');
CREATE TABLE days (c bigint, id bigint GENERATED ALWAYS AS IDENTITY, at date, PRIMARY KEY (c, id, at)) PARTITION BY RANGE (at);
CREATE TABLE days_2026 PARTITION OF days FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
SELECT create_distributed_table('days', 'c', colocate_with => 'notes');
CREATE TABLE ${LONG} (id bigserial PRIMARY KEY, name text);
SELECT create_reference_table('${LONG}');
CREATE TABLE gone (id bigserial PRIMARY KEY);
SELECT create_distributed_table('gone', 'id');
SELECT undistribute_table('gone');
DROP TABLE gone;
CREATE VIEW totals AS SELECT c, count(*) FROM notes GROUP BY c;
INSERT INTO notes (c, body) SELECT i, 'note ' || i FROM generate_series(1, 200) i;
INSERT INTO lines (c) SELECT i FROM generate_series(1, 200) i;
INSERT INTO days (c, at) SELECT i, '2026-02-02' FROM generate_series(1, 50) i;
INSERT INTO ${LONG} (name) SELECT 'name ' || i FROM generate_series(1, 20) i;
`;
/** Legal, and each kept citus_add_node from ever succeeding. */
const ODDITIES = [
    "CREATE ROLE readers",
    "CREATE ROLE zlead LOGIN",
    "CREATE ROLE analyst",
    "GRANT readers TO zlead WITH ADMIN OPTION",
    "SET ROLE zlead",
    "GRANT readers TO analyst",
    "RESET ROLE",
    "CREATE SCHEMA monitoring",
    "ALTER EXTENSION pg_stat_statements SET SCHEMA monitoring",
    "CREATE VIEW monitoring.top AS SELECT queryid, calls FROM monitoring.pg_stat_statements",
    "CREATE PUBLICATION cdc FOR TABLE notes",
];
const TABLES = ["notes", "lines", "days", LONG];
const NUMBERED = ["notes", "lines", "days"] as const;

let stack: TestStack;

beforeAll(async () => {
    requireEngine();
    stack = await TestStack.make({ workers: 2, shardCount: 4, backup: false });
    await stack.up();
    await stack.sql(OBJECTS);
});

afterAll(async () => {
    await stack?.destroy();
    assert.deepEqual(stack?.leftovers() ?? [], [], "destroy left something behind");
});

const hostOf = async (worker: string) => {
    const [row] = await stack.sql<{ host: string }>(
        "SELECT nodename AS host FROM pg_dist_node WHERE nodename LIKE $1",
        [`${worker}.%`],
    );
    assert.ok(row, `${worker} is not registered`);
    return row.host;
};

/** Inserts through a worker, which gives out the ids. */
async function insertThrough(worker: string): Promise<bigint[]> {
    const session = await stack.session(worker);
    const ids: bigint[] = [];
    for (const [table, columns, values] of [
        ["notes", "c, body", "i, 'by a worker'"],
        ["lines", "c", "i"],
        ["days", "c, at", "i, '2026-03-03'"],
    ] as const) {
        const rows = await session.query<{ id: string }>(
            `INSERT INTO ${table} (${columns}) SELECT ${values} FROM generate_series(1, 5) i RETURNING id::text`,
        );
        ids.push(...rows.map(({ id }) => BigInt(id)));
    }
    return ids;
}

async function assertIdsOnce(): Promise<void> {
    for (const table of NUMBERED)
        assert.deepEqual(await stack.sql(`SELECT id FROM ${table} GROUP BY id HAVING count(*) > 1`), [], table);
}

async function assertWhole(print: Record<string, string>, workers: number): Promise<void> {
    assert.deepEqual(await fingerprint(await stack.session(), TABLES), print);
    const nodes = await stack.sql<{ ok: boolean }>(
        "SELECT isactive AND hasmetadata AND metadatasynced AS ok FROM pg_dist_node WHERE groupid <> 0",
    );
    assert.deepEqual(
        nodes.map(({ ok }) => ok),
        Array.from({ length: workers }, () => true),
    );
    assert.deepEqual(await stack.sql("SELECT 1 FROM get_rebalance_table_shards_plan()"), []);
}

const drain = async (worker: string) => {
    await stack.sql("SELECT citus_drain_node($1, 5432)", [await hostOf(worker)]);
    await stack.sql("CALL citus_cleanup_orphaned_resources()");
};

const stopSync = async (worker: string) =>
    stack.sql("SELECT stop_metadata_sync_to_node($1, 5432)", [await hostOf(worker)]);

test("a worker whose metadata sync was stopped is activated, and gives out no id twice", async () => {
    const before = await insertThrough("worker-1");
    const print = await fingerprint(await stack.session(), TABLES);
    await stopSync("worker-1");
    await stack.up();
    await assertWhole(print, 2);
    const later = await insertThrough("worker-1");
    const highest = before.reduce((a, b) => (a > b ? a : b));
    assert.ok(
        later.every((id) => id >> 48n === highest >> 48n && !before.includes(id)),
        `${later} after ${before}`,
    );
    await assertIdsOnce();
    await stack.up({}, ["--expect-no-changes"]);
});

test("a worker that was drained and unregistered by hand is registered again", async () => {
    const print = await fingerprint(await stack.session(), TABLES);
    const host = await hostOf("worker-2");
    await drain("worker-2");
    await stack.sql("SELECT citus_remove_node($1, 5432)", [host]);
    const refreshed = await stack.pulumi(["refresh", "--yes", "--skip-preview"]);
    assert.equal(refreshed.code, 0, refreshed.output);
    const state = await stack.pulumi(["stack", "export"]);
    assert.match(
        state.stdout,
        /citus-clusters:index:Member::[^"]*worker-2"/,
        "a removal would not ask what it holds any more",
    );
    await stack.up();
    await assertWhole(print, 2);
    await insertThrough("worker-2");
    await assertIdsOnce();
});

test("roles granted by roles, an extension in a schema of its own and a slot on every worker: a third worker joins", async () => {
    for (const statement of ODDITIES) await stack.sql(statement);
    for (const worker of ["worker-1", "worker-2"])
        await (await stack.session(worker)).query("SELECT pg_create_logical_replication_slot('cdc', 'pgoutput')");
    await stack.config({ workers: 3 });
    const preview = await stack.pulumi(["preview"]);
    assert.equal(preview.code, 0, preview.output);
    assert.match(preview.output, /slot cdc \(pgoutput\): pulumi up makes it on worker-3 too, before shards arrive/);

    const print = await fingerprint(await stack.session(), TABLES);
    await stack.up({ workers: 3 });
    await assertWhole(print, 3);
    const asked = `SELECT r.rolname || ' to ' || m.rolname || ' by ' || g.rolname AS said FROM pg_auth_members a
        JOIN pg_roles r ON r.oid = roleid JOIN pg_roles m ON m.oid = member JOIN pg_roles g ON g.oid = grantor WHERE r.rolname = 'readers'
        UNION ALL SELECT extname || ' ' || extversion || ' ' || extnamespace::regnamespace FROM pg_extension WHERE extname = 'pg_stat_statements' ORDER BY 1`;
    assert.deepEqual(await (await stack.session("worker-3")).query(asked), await stack.sql(asked));
    // every change that lies on the new worker was made after its slot
    const changes = await (await stack.session("worker-3")).query<{ plugin: string }>(
        "SELECT plugin FROM pg_replication_slots WHERE slot_name = 'cdc'",
    );
    assert.deepEqual(changes, [{ plugin: "pgoutput" }]);
});

test("an error shows what the server warned of", async () => {
    await assert.rejects(
        stack.sql("DO $$BEGIN RAISE WARNING 'the cause'; RAISE EXCEPTION 'only the place'; END$$"),
        /only the place\n {2}WARNING: the cause/,
    );
    await assert.rejects(stack.sql("SELECT 1 / 0"), (error: Error) => !error.message.includes("the cause"));
});

test("a worker with a publication, a subscription and a prepared transaction of its own is refused in preview", async () => {
    const session = await stack.session("worker-3");
    await session.query("SET citus.enable_ddl_propagation = off");
    await session.query("CREATE PUBLICATION mine");
    await session.query(
        "CREATE SUBSCRIPTION mine CONNECTION 'host=nowhere' PUBLICATION x WITH (connect = false, slot_name = NONE, enabled = false)",
    );
    await session.query("BEGIN");
    await session.query("CREATE TEMPORARY TABLE x ()");
    await session.query("ROLLBACK");
    await session.query("BEGIN");
    await session.query("SELECT pg_advisory_xact_lock(77)");
    await session.query("PREPARE TRANSACTION 'by hand'");
    await stack.config({ workers: 2 });
    const preview = await stack.pulumi(["preview"]);
    assert.notEqual(preview.code, 0, "nothing was refused");
    for (const said of [
        /publication mine /,
        /subscription mine /,
        /prepared transaction by hand /,
        /Nothing was moved/,
    ])
        assert.match(preview.output, said);
    await session.query("ROLLBACK PREPARED 'by hand'");
    await session.query("DROP SUBSCRIPTION mine");
    await session.query("DROP PUBLICATION mine");
});

test("a worker with a slot is emptied, and stays until its slot is dropped", async () => {
    const print = await fingerprint(await stack.session(), TABLES);
    await stack.config({ workers: 2 });
    const preview = await stack.pulumi(["preview"]);
    assert.equal(preview.code, 0, preview.output);
    assert.match(preview.output, /cdc \(pgoutput, database app\): [0-9.]+ [kMG]?B of write-ahead log not confirmed/);
    const access = await stack.access("worker-3");
    const ran = await stack.tryUp({ workers: 2 });
    assert.notEqual(ran.code, 0, "the slot was deleted");
    assert.match(ran.output, /SELECT pg_drop_replication_slot\('cdc'\);/);
    const [left] = await stack.sql<{ n: number }>(
        "SELECT count(*)::int AS n FROM citus_shards WHERE nodename LIKE 'worker-3.%' AND citus_table_type = 'distributed'",
    );
    assert.equal(left?.n, 0);
    await withSession(access, "worker-3", (session) => session.query("SELECT pg_drop_replication_slot('cdc')"));
    assert.deepEqual(await fingerprint(await stack.session(), TABLES), print);
});

test("a removal that was killed after metadata sync was stopped: the worker may stay after all", async () => {
    const print = await fingerprint(await stack.session(), TABLES);
    await stopSync("worker-3");
    await stack.up({ workers: 3 });
    await assertWhole(print, 3);
    await insertThrough("worker-3");
    await assertIdsOnce();
});

for (const [what, unregister] of [
    ["metadata sync was stopped", false],
    ["it was unregistered", true],
] as const) {
    test(`a removal that was killed after ${what}: the worker leaves after all`, async () => {
        await stack.up({ workers: 3 });
        await (await stack.session("worker-3")).query(
            "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = 'cdc'",
        );
        const print = await fingerprint(await stack.session(), TABLES);
        const host = await hostOf("worker-3");
        await drain("worker-3");
        await stopSync("worker-3");
        if (unregister) await stack.sql("SELECT citus_remove_node($1, 5432)", [host]);
        await stack.up({ workers: 2 });
        await assertWhole(print, 2);
        assert.equal(stack.container("worker-3"), "");
    });
}

test("a worker that its coordinator does not know is kept while it holds rows, or does not answer", async () => {
    const [coordinator, access, host] = [
        await stack.access(),
        await stack.access("worker-2"),
        await hostOf("worker-2"),
    ];
    const member = { role: "worker", name: "worker-2", host, port: 5432, transferMode: "auto" } as const;
    const props = { ...member, coordinator, access, nodeId: 3, groupId: 2 };
    // as a coordinator is that was restored to a point from before worker-2
    const group = "(SELECT groupid FROM pg_dist_node WHERE nodename = $1)";
    await stack.sql(
        `UPDATE pg_dist_placement SET groupid = (SELECT groupid FROM pg_dist_node WHERE nodename LIKE 'worker-1.%')
          WHERE groupid = ${group} AND shardid IN (SELECT shardid FROM pg_dist_shard JOIN pg_dist_partition USING (logicalrelid) WHERE partmethod <> 'n')`,
        [host],
    );
    await stack.sql(`DELETE FROM pg_dist_placement WHERE groupid = ${group}`, [host]);
    await stack.sql("DELETE FROM pg_dist_node WHERE nodename = $1", [host]);
    await assert.rejects(
        new MemberKind().delete(ask(), "", props),
        /worker-2 is not registered, and it holds what the coordinator places nowhere else:\n {2}table public\.(notes|lines|days_2026)_/,
    );
    await withSession(coordinator, "coordinator", (session) =>
        withSession(access, "worker-2", async (target) => {
            await assert.rejects(joinWorker(session, target, member, "auto"), /places nowhere else/);
            const [row] = await target.query<{ n: number }>("SELECT count(*)::int AS n FROM pg_dist_node");
            assert.notEqual(row?.n, 0, "its metadata was cleared");
        }),
    );
    await stack.closeSessions();
    docker(["pause", stack.container("worker-2")]);
    try {
        await assert.rejects(
            new MemberKind().delete(ask(), "", props),
            /worker-2 is not registered and does not answer/,
        );
    } finally {
        docker(["unpause", stack.container("worker-2")]);
    }
});
