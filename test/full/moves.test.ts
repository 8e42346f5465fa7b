/**
 * Moves that logical replication can't make, and rows that get lost on the way: what is refused, what waits, what is
 * kept, and how one gets back from there.
 */
import assert from "node:assert/strict";
import { afterAll, beforeAll, test } from "vitest";
import { connect, type Session } from "../../core/reach/session.ts";
import { pause } from "../../core/util/pause.ts";
import { fingerprint, requireEngine, TestStack, until } from "../lib.ts";

let stack: TestStack;
let frozen: Record<string, string>;

const SHARDS = 6;
/** Partitions that a client drops while shards move. */
const OLD_DAYS = [101, 102, 103, 104, 105, 106, 107, 108];
const TABLES = ["visits", "orders", "plans", '"we.ird ""name"'];

beforeAll(async () => {
    requireEngine();
    stack = await TestStack.make({ workers: 2, shardCount: SHARDS, backup: false });
    await stack.up();
    for (const statement of [
        "CREATE EXTENSION citus_columnar",
        "CREATE TABLE plans (id bigint PRIMARY KEY)",
        "SELECT create_reference_table('plans')",
        "CREATE TABLE visits (id bigint, day int, plan bigint REFERENCES plans, body text, PRIMARY KEY (id, day)) PARTITION BY LIST (day)",
        ...[1, 2, 3].map((day) => `CREATE TABLE visits_${day} PARTITION OF visits FOR VALUES IN (${day})`),
        "SELECT create_distributed_table('visits', 'id')",
        "CREATE STATISTICS visits_by_day (dependencies) ON id, day FROM visits_1",
        "CREATE TABLE orders (id bigint PRIMARY KEY, plan bigint REFERENCES plans, body text)",
        "SELECT create_distributed_table('orders', 'id', colocate_with => 'visits')",
        `CREATE TABLE "we.ird ""name" (id bigint PRIMARY KEY, body text)`,
        `SELECT create_distributed_table('"we.ird ""name"', 'id', colocate_with => 'visits')`,
        "INSERT INTO plans SELECT i FROM generate_series(1, 10) i",
        "INSERT INTO visits SELECT i, 1 + i % 3, 1 + i % 10, md5(i::text) FROM generate_series(1, 60000) i",
        "INSERT INTO orders SELECT i, 1 + i % 10, repeat(md5(i::text), 4) FROM generate_series(1, 240000) i",
        `INSERT INTO "we.ird ""name" SELECT i, md5(i::text) FROM generate_series(1, 6000) i`,
    ])
        await stack.sql(statement);
    frozen = await fingerprint(await stack.session(), TABLES);
});

afterAll(async () => {
    await stack?.destroy();
    assert.deepEqual(stack?.leftovers() ?? [], [], "destroy left something behind");
});

/** Where the shards of a table are, by their ids. */
async function places(table: string): Promise<Map<string, string>> {
    const rows = await stack.sql<{ shard: string; node: string }>(
        `SELECT shardid::text AS shard, split_part(nodename, '.', 1) AS node FROM pg_dist_shard JOIN pg_dist_placement USING (shardid)
           JOIN pg_dist_node USING (groupid) WHERE logicalrelid = $1::regclass`,
        [table],
    );
    return new Map(rows.map(({ shard, node }) => [shard, node]));
}

/** Rows and partitions of every table in the schemas of kept copies on a node. */
async function kept(node: string): Promise<Record<string, number>> {
    const session = await stack.session(node);
    const tables = await session.query<{ name: string; relname: string; kind: string }>(
        `SELECT c.oid::regclass::text AS name, c.relname, c.relkind AS kind FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
          WHERE n.nspname ~ '^citus_as_code_kept_' AND c.relkind IN ('r', 'p')`,
    );
    const found: Record<string, number> = {};
    for (const { name, relname } of tables) {
        const [row] = await session.query<{ n: number }>(`SELECT count(*)::int AS n FROM ${name}`);
        found[relname] = row?.n ?? -1;
    }
    return found;
}

/** Runs statements on connections of their own until it is stopped. */
class Client {
    readonly errors: string[] = [];
    done = 0;
    worst = 0;
    private running = true;
    private loops: Promise<void>[] = [];

    async start(...work: ((session: Session, n: number) => Promise<unknown>)[]): Promise<this> {
        const access = await stack.access();
        this.loops = work.map(async (step) => {
            const session = await connect(access, "client");
            for (let n = 0; this.running; n++) {
                const began = Date.now();
                await step(session, n).then(
                    () => this.done++,
                    (error: Error) => this.errors.push(error.message),
                );
                this.worst = Math.max(this.worst, Date.now() - began);
                await pause(10);
            }
            await session.close();
        });
        return this;
    }

    async stop(): Promise<void> {
        this.running = false;
        await Promise.all(this.loops);
    }
}

test("columnar tables stand in the way of a move, with their size and what helps; nothing moves", async () => {
    await stack.sql("CREATE TABLE readings (id bigint, at int, v int) PARTITION BY LIST (at)");
    await stack.sql("CREATE TABLE readings_1 PARTITION OF readings FOR VALUES IN (1) USING columnar");
    await stack.sql("SELECT create_distributed_table('readings', 'id', colocate_with => 'none')");
    await stack.sql("INSERT INTO readings SELECT i, 1, i FROM generate_series(1, 30000) i");
    const before = await places("readings_1");
    await stack.config({ workers: 3 });
    const preview = await stack.pulumi(["preview"]);
    const failed = await stack.tryUp();
    for (const ran of [preview, failed]) {
        assert.notEqual(ran.code, 0, ran.output);
        assert.match(ran.output, /readings_1 {2}access method columnar, [0-9.]+ [kM]B: INSERTs would fail/);
        assert.match(ran.output, /SELECT alter_table_set_access_method\('readings_1', 'heap'\);/);
        assert.match(ran.output, /rebalance\.transferMode block_writes/);
        assert.doesNotMatch(ran.output, /REPLICA IDENTITY|ADD PRIMARY KEY/);
    }
    assert.deepEqual(await places("readings_1"), before);
});

test("with block_writes writes to such tables wait, others are served, and nobody fails or cries wolf", async () => {
    await stack.sql("CREATE TABLE buffer (id bigint PRIMARY KEY)");
    await stack.sql("SELECT create_distributed_table('buffer', 'id', colocate_with => 'visits')");
    await stack.config({ rebalance: { transferMode: "block_writes" } });
    const preview = await stack.pulumi(["preview"]);
    assert.match(
        preview.output,
        /writes to [0-9]+ of these shard groups wait while each is copied \([0-9]+ [kM]B, the largest [0-9]+ [kM]B.*\): readings, readings_1/,
        preview.output,
    );
    for (const day of OLD_DAYS) {
        await stack.sql(`CREATE TABLE visits_${day} PARTITION OF visits FOR VALUES IN (${day})`);
        await stack.sql(`INSERT INTO visits SELECT i, ${day}, 1, '' FROM generate_series(1, 2000) i`);
    }
    let dropped = 0;
    const rows = { inserted: 0, deleted: 0 };
    const columnar = await new Client().start(async (session, n) => {
        await session.query("INSERT INTO readings VALUES ($1, 1, 1)", [100_000 + n]);
        rows.inserted++;
    });
    const others = await new Client().start(
        async (session, n) => {
            await session.query("DELETE FROM visits WHERE id = $1 AND day < 100", [1 + n]);
            rows.deleted++;
            // goes idle now and then, as a pool's connection does
            if (n % 200 === 199) await pause(3000);
        },
        async (session, n) => {
            await session.query("INSERT INTO buffer SELECT g FROM generate_series($1::int, $1::int + 49) g", [n * 50]);
            if (n % 10 === 9) await session.query("TRUNCATE buffer");
        },
        async (session, n) => {
            if (n >= OLD_DAYS.length) return;
            // one is taken out first, the other dropped as it is
            if (n % 2 === 0) await session.query(`ALTER TABLE visits DETACH PARTITION visits_${OLD_DAYS[n]}`);
            await session.query(`DROP TABLE visits_${OLD_DAYS[n]}`);
            dropped++;
            await pause(3000);
        },
    );
    const ran = await stack.tryUp();
    await columnar.stop();
    await others.stop();
    assert.equal(ran.code, 0, ran.output);
    assert.doesNotMatch(ran.output, /DeprecationWarning/);
    assert.deepEqual([...columnar.errors, ...others.errors], []);
    assert.ok(rows.inserted > 20 && rows.deleted > 100 && dropped > 3, JSON.stringify({ ...rows, dropped }));
    const [readings] = await stack.sql<{ n: number }>("SELECT count(*)::int AS n FROM readings");
    assert.equal(readings?.n, 30_000 + rows.inserted);
    const [visits] = await stack.sql<{ n: number }>("SELECT count(*)::int AS n FROM visits WHERE day < 100");
    assert.equal(visits?.n, 60_000 - rows.deleted);
    const modes = await stack.sql<{ relation: string; mode: string }>(
        `SELECT DISTINCT s.logicalrelid::regclass::text AS relation, substring(t.command FROM '''([a-z_]+)''\\)') AS mode
           FROM pg_dist_background_task t JOIN pg_dist_shard s ON s.shardid = substring(t.command FROM 'placement\\(([0-9]+)')::bigint ORDER BY 1`,
    );
    assert.ok(modes.some(({ mode }) => mode === "block_writes"));
    for (const { relation, mode } of modes)
        assert.equal(mode, relation.startsWith("readings") ? "block_writes" : "auto", JSON.stringify(modes));
    await stack.sql("DROP TABLE readings, buffer");
    for (const day of OLD_DAYS) await stack.sql(`DROP TABLE IF EXISTS visits_${day}`);
    await stack.sql("DELETE FROM visits");
    await stack.sql(
        "INSERT INTO visits SELECT i, 1 + i % 3, 1 + i % 10, md5(i::text) FROM generate_series(1, 60000) i",
    );
    assert.deepEqual(await fingerprint(await stack.session(), TABLES), frozen);
    await stack.config({ rebalance: undefined });
});

/** The schema that the alarm named, with the command that removes it. */
let schema = "";
let remove = "";
/** Shard of orders that lost rows, and where its old copy is. */
let lost: { shard: string; source: string };

test("rows that get lost in a move stop it, and every old copy is kept with partitions and rows, and named", async () => {
    const before = await places("orders");
    const rowsBefore = new Map<string, number>();
    for (const [shard, node] of before) {
        const [row] = await (await stack.session(node)).query<{ n: number }>(
            `SELECT count(*)::int AS n FROM orders_${shard}`,
        );
        rowsBefore.set(shard, row?.n ?? -1);
    }
    const up = stack.tryUp({ workers: 2 });
    // rows vanish from the new copy before it serves, and no statistics tell of it; a transaction keeps it from serving
    const coordinator = await connect(await stack.access(), "coordinator");
    const moving = async () => {
        const rows = await coordinator.query<{ shard: string; source: string; target: string }>(
            `SELECT s.shardid::text AS shard, p.sourcename AS source, p.targetname AS target FROM get_rebalance_progress() p
               JOIN pg_dist_shard s ON s.shardid = p.shardid
              WHERE p.table_name = 'orders'::regclass AND p.sourcename LIKE 'worker-3.%'
                AND p.status IN ('Copying Data', 'Catching Up', 'Creating Constraints', 'Final Catchup')`,
        );
        return rows[0];
    };
    let found: Awaited<ReturnType<typeof moving>>;
    for (const end = Date.now() + 240_000; found === undefined && Date.now() < end; await pause(20))
        found = await moving();
    assert.ok(found, "no move was seen");
    lost = { shard: found.shard, source: found.source.split(".")[0] ?? "" };
    const to = found.target.split(".")[0] ?? "";
    await coordinator.query("BEGIN");
    await coordinator.query(
        "UPDATE orders SET body = body WHERE id = (SELECT min(id) FROM orders WHERE get_shard_id_for_distribution_column('orders', id) = $1)",
        [lost.shard],
    );
    const target = await connect(await stack.access(to), to);
    await target.query("SET track_counts = off");
    await target.query("SET citus.enable_manual_changes_to_shards = on");
    await target.query("SET session_replication_role = replica");
    await until("rows in the new copy", 60, async () => {
        const gone = await target.query(
            `DELETE FROM orders_${lost.shard} WHERE id IN (SELECT id FROM orders_${lost.shard} ORDER BY id DESC LIMIT 7) RETURNING 1`,
        );
        return gone.length > 0;
    });
    await coordinator.query("COMMIT");
    await coordinator.close();
    await target.close();
    const failed = await up;
    assert.notEqual(failed.code, 0, failed.output);
    const total = rowsBefore.get(lost.shard);
    assert.match(
        failed.output,
        new RegExp(
            `Rows are missing after a move:\\s+orders_${lost.shard} had ${total} rows on ${lost.source} and has ${(total ?? 0) - 7} on ${to}, where 0 deletes are known`,
        ),
    );
    assert.match(failed.output, /The rebalance was stopped/);
    schema = /schema (citus_as_code_kept_[a-z0-9]+)/.exec(failed.output)?.[1] ?? "";
    remove =
        new RegExp(`SELECT nodeid, success, result FROM run_command_on_all_nodes\\('[^']*${schema}[^']*'\\)`).exec(
            failed.output,
        )?.[0] ?? "";
    assert.ok(schema !== "" && remove !== "", failed.output);

    const copies = await kept(lost.source);
    assert.equal(copies[`orders_${lost.shard}`], total, JSON.stringify(copies));
    const group = await stack.sql<{ relation: string; shard: string }>(
        `SELECT o.logicalrelid::regclass::text AS relation, o.shardid::text AS shard FROM pg_dist_shard s
           JOIN pg_dist_shard o ON o.shardminvalue = s.shardminvalue JOIN pg_dist_partition t ON t.logicalrelid = o.logicalrelid
          WHERE s.shardid = $1 AND t.colocationid = (SELECT colocationid FROM pg_dist_partition WHERE logicalrelid = 'orders'::regclass)`,
        [lost.shard],
    );
    assert.equal(group.length, 6, JSON.stringify(group));
    for (const { relation, shard } of group) {
        const name = `${relation.replaceAll(/^"|"$/g, "").replaceAll('""', '"')}_${shard}`;
        assert.ok((copies[name] ?? 0) > 0, `${name} of ${JSON.stringify(copies)}`);
        assert.match(failed.output.replaceAll('""', '"'), new RegExp(`${schema}\\."?${name.replaceAll(".", "\\.")}`));
    }
    const days = group.filter(({ relation }) => /^visits_[0-9]$/.test(relation));
    const parent = group.find(({ relation }) => relation === "visits");
    assert.equal(
        days.reduce((sum, { shard, relation }) => sum + (copies[`${relation}_${shard}`] ?? 0), 0),
        copies[`visits_${parent?.shard}`],
        "the partitions are not those of the parent any more",
    );
    // what is named is all that is there
    const named = new Set(
        [...failed.output.matchAll(new RegExp(`${schema}\\.("?)([^\\s]+ ?[^\\s]*_[0-9]+)\\1`, "g"))].map((m) => m[2]),
    );
    for (const node of ["worker-1", "worker-2", "worker-3"])
        for (const name of Object.keys(await kept(node)))
            assert.ok(
                failed.output.includes(name.replaceAll('"', '""')),
                `${name} on ${node} is not named: ${[...named].join(", ")}`,
            );
});

test("status needs attention while copies are kept, and names them with the command that removes them", async () => {
    const status = await stack.npm("status", "--json");
    assert.equal(status.code, 1, status.output);
    const { healthy, problems } = JSON.parse(status.stdout) as { healthy: boolean; problems: string[] };
    assert.equal(healthy, false);
    assert.ok(
        problems.some(
            (text) => text.includes(`schema ${schema}`) && text.includes(lost.source) && text.includes(remove),
        ),
        problems.join("\n"),
    );
});

test("a worker with kept copies can't leave, and the refusal says what they are and what removes them", async () => {
    const refused = await stack.tryUp({ workers: 2 });
    assert.notEqual(refused.code, 0, refused.output);
    assert.match(refused.output, new RegExp(`${lost.source} can't leave: it has data that is nowhere else`));
    assert.match(refused.output, new RegExp(`The tables in ${schema} are old copies of moved shards`));
    assert.ok(refused.output.includes(remove), refused.output);
});

test("kept copies are in no later move's way, there and back, and bind no reference table", async () => {
    await stack.up({ workers: 3 });
    // back to where its old copy is kept, indexes and all
    await stack.sql(
        `SELECT citus_move_shard_placement($1, s.nodename, s.nodeport, t.nodename, t.nodeport)
           FROM pg_dist_placement p JOIN pg_dist_node s USING (groupid), pg_dist_node t
          WHERE p.shardid = $1 AND t.nodename LIKE $2 AND s.nodename <> t.nodename`,
        [lost.shard, `${lost.source}.%`],
    );
    assert.equal((await places("orders")).get(lost.shard), lost.source);
    assert.ok(((await kept(lost.source))[`orders_${lost.shard}`] ?? 0) > 0);
    await stack.sql("INSERT INTO plans VALUES (11)");
    await stack.sql("DELETE FROM plans WHERE id = 11");
    await stack.sql("UPDATE plans SET id = 11 WHERE id = 10").then(
        () => assert.fail("orders still refer to it"),
        (error: Error) => assert.match(error.message, /foreign key/),
    );
});

test("the lost rows come back out of the kept copy; the printed command leaves a healthy cluster", async () => {
    const source = await stack.session(lost.source);
    const rows = await source.query(`SELECT id, plan, body FROM ${schema}.orders_${lost.shard}`);
    await stack.sql(
        `INSERT INTO orders SELECT * FROM jsonb_to_recordset($1::jsonb) AS r (id bigint, plan bigint, body text) ON CONFLICT DO NOTHING`,
        [JSON.stringify(rows)],
    );
    assert.deepEqual(await fingerprint(await stack.session(), TABLES), frozen);
    const removed = await stack.npm("psql", "-c", remove);
    assert.equal(removed.code, 0, removed.output);
    for (const node of ["worker-1", "worker-2", "worker-3"]) assert.deepEqual(await kept(node), {});
    const status = await stack.npm("status");
    assert.equal(status.code, 0, status.output);
    await stack.up({ workers: 2 });
    assert.deepEqual(await fingerprint(await stack.session(), TABLES), frozen);
});
