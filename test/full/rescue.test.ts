/** A database as a file and in another cluster again, and one table back from a moment. */
import assert from "node:assert/strict";
import { existsSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { gunzipSync, gzipSync } from "node:zlib";
import { afterAll, beforeAll, test } from "vitest";
import { connect } from "../../core/reach/session.ts";
import { docker, fingerprint, requireEngine, SCHEMA, seed, TestStack, until } from "../lib.ts";

const COMPANIES = 200;

/** Beside the schema of all tests: what a dump can lose. */
const MORE = `
CREATE ROLE app_owner NOLOGIN;
CREATE TABLE events (company_id bigint, at timestamptz, note text, PRIMARY KEY (company_id, at)) PARTITION BY RANGE (at);
CREATE TABLE events_2025 PARTITION OF events FOR VALUES FROM ('2025-01-01 00:00+00') TO ('2026-01-01 00:00+00');
SELECT create_distributed_table('events', 'company_id', colocate_with => 'companies');
INSERT INTO events SELECT i, '2025-03-01', E'tab\\t, line\\n, \\\\. and ü' FROM generate_series(1, ${COMPANIES}) i;
CREATE TABLE tickets (company_id bigint, id bigserial, total int, double int GENERATED ALWAYS AS (total * 2) STORED, PRIMARY KEY (company_id, id));
SELECT create_distributed_table('tickets', 'company_id', colocate_with => 'companies');
ALTER TABLE tickets OWNER TO app_owner;
INSERT INTO tickets (company_id, total) SELECT i, i FROM generate_series(1, ${COMPANIES}) i;
CREATE INDEX tickets_total ON tickets (total) WHERE total > 5;
CREATE TABLE alone (id bigint PRIMARY KEY, v numeric);
SELECT create_distributed_table('alone', 'id', colocate_with => 'none', shard_count => 3);
INSERT INTO alone SELECT i, i / 3.0 FROM generate_series(1, 100) i;
CREATE SCHEMA tenant_a;
CREATE TABLE tenant_a.item (id bigint PRIMARY KEY, plan_id int REFERENCES plans (id));
SELECT citus_schema_distribute('tenant_a');
INSERT INTO tenant_a.item VALUES (1, 1), (2, NULL);
CREATE MATERIALIZED VIEW totals AS SELECT company_id, count(*) AS n FROM projects GROUP BY company_id;
`;
const TABLES = [
    "companies",
    "users",
    "projects",
    "plans",
    "notes",
    "events",
    "tickets",
    "alone",
    "tenant_a.item",
    "totals",
];

let one: TestStack;
let two: TestStack;
const SMALL = { workers: 1, coordinator: { memory: "512MB" }, worker: { memory: "512MB" } };

beforeAll(async () => {
    requireEngine();
    one = await TestStack.make({
        ...SMALL,
        coordinator: { memory: "512MB", shards: true },
        shardCount: 6,
        backup: { restorePoint: "20s" },
    });
    one.write("all.sql", `${SCHEMA}${seed(COMPANIES)}${MORE}`);
    await one.up();
    const made = await one.npm("psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-f", "all.sql");
    assert.equal(made.code, 0, made.output);
});

afterAll(async () => {
    await two?.destroy();
    await one?.destroy();
});

/** What Citus knows, by names. */
const shape = (stack: TestStack) =>
    stack.sql(`
      SELECT t.logicalrelid::regclass::text AS name, t.partmethod AS method, t.repmodel AS model,
             CASE WHEN t.partkey IS NOT NULL THEN column_to_column_name(t.logicalrelid, t.partkey) END AS "column",
             (SELECT count(*)::int FROM pg_dist_shard s WHERE s.logicalrelid = t.logicalrelid) AS shards,
             (SELECT relowner::regrole::text FROM pg_class WHERE oid = t.logicalrelid) AS owner,
             CASE WHEN t.colocationid <> 0 THEN (SELECT min(u.logicalrelid::regclass::text COLLATE "C") FROM pg_dist_partition u WHERE u.colocationid = t.colocationid) END AS beside
        FROM pg_dist_partition t ORDER BY t.logicalrelid::regclass::text COLLATE "C"`);

/** Moves money between companies until it is told to stop: the sum is the same at every moment. */
function transfers(stack: TestStack, node: string) {
    let on = true;
    const ended = (async () => {
        const session = await connect(await stack.access(node), node);
        let done = 0;
        for (; on; done++) {
            const [a, b] = [1 + (done % COMPANIES), 1 + ((done * 7 + 3) % COMPANIES)].sort((x, y) => x - y);
            if (a === b) continue;
            await session.query("BEGIN");
            await session.query("UPDATE companies SET balance = balance - 1 WHERE id = $1", [a]);
            await session.query("UPDATE companies SET balance = balance + 1 WHERE id = $1", [b]);
            await session.query("COMMIT");
        }
        await session.close();
        return done;
    })();
    return () => {
        on = false;
        return ended;
    };
}

const file = () => join(one.dir, "all.sql.gz");

test("a dump while clients write is of one moment, and the clients go on", async () => {
    const stops = [transfers(one, "coordinator"), transfers(one, "worker-1")];
    const ran = await one.npm("dump", "all.sql.gz");
    const done = await Promise.all(stops.map((stop) => stop()));
    assert.equal(ran.code, 0, ran.output);
    assert.ok(
        done.every((n) => n > 0),
        done.join(),
    );
    assert.equal(statSync(file()).mode & 0o777, 0o600);
    const text = gunzipSync(readFileSync(file())).toString();
    const rows = /^COPY public\.companies \(id, name, balance\) FROM stdin;\n([\s\S]*?)^\\\.$/m.exec(text)?.[1] ?? "";
    const balances = rows
        .trimEnd()
        .split("\n")
        .map((line) => Number(line.split("\t")[2]));
    assert.equal(balances.length, COMPANIES);
    assert.equal(
        balances.reduce((sum, n) => sum + n, 0),
        COMPANIES * 1000,
    );
    assert.doesNotMatch(text, /SCRAM-SHA-256\$|citus_as_code/);
    const locks = await one.sql<{ n: number }>(
        "SELECT count(*)::int AS n FROM pg_locks WHERE mode = 'ShareLock' AND relation = 'companies'::regclass",
    );
    assert.equal(locks[0]?.n, 0);
});

test("a writer that does not end is named, and nothing is written", async () => {
    const session = await connect(await one.access(), "coordinator");
    await session.query("SET application_name = 'a long job'");
    await session.query("BEGIN");
    await session.query("UPDATE companies SET balance = balance WHERE id = 1");
    const ran = await one.npm("dump", "--wait", "2", "no.sql");
    await session.query("ROLLBACK");
    await session.close();
    assert.equal(ran.code, 1, ran.output);
    assert.match(ran.stderr, /Writes could not be made to wait within 2 s/);
    assert.match(ran.stderr, /coordinator: pid \d+, role postgres, application a long job, in its transaction since/);
    assert.equal(existsSync(join(one.dir, "no.sql")), false);
});

test("loaded into a fresh cluster of other shards, it is the same: rows, places, owners, sequences", async () => {
    const before = await fingerprint(await one.session(), TABLES);
    const dumped = await one.npm("dump", "all.sql.gz");
    assert.equal(dumped.code, 0, dumped.output);
    two = await TestStack.make({ ...SMALL, shardCount: 16, backup: false }, undefined, one);
    await two.up();
    const whole = readFileSync(file());
    for (const [name, content, why] of [
        ["cut.sql.gz", whole.subarray(0, whole.length - 200), /damaged or was cut off/],
        ["end.sql.gz", gzipSync(gunzipSync(whole).subarray(0, -40)), /was cut off: its last line/],
    ] as const) {
        writeFileSync(join(one.dir, name), content);
        const refused = await two.npm("load", name);
        assert.equal(refused.code, 2, refused.output);
        assert.match(refused.stderr, why);
    }
    assert.deepEqual(await shape(two), []);
    const ran = await two.npm("load", "all.sql.gz");
    assert.equal(ran.code, 0, ran.output);
    assert.deepEqual(await fingerprint(await two.session(), TABLES), before);
    assert.deepEqual(await shape(two), await shape(one));
    const [next] = await two.sql<{ id: string }>(
        "INSERT INTO tickets (company_id, total) VALUES (1, 1) RETURNING id::text",
    );
    assert.equal(next?.id, String(COMPANIES + 1));
    await assert.rejects(two.sql("INSERT INTO users VALUES (99999, 1, 'x')"), /foreign key/);
    const again = await two.npm("load", "all.sql.gz");
    assert.equal(again.code, 1, again.output);
    assert.match(again.stderr, /is not empty: .*role app_owner/);
});

test("a dropped table comes back beside its group, and nothing of the copy is left", async () => {
    await two.destroy();
    const tables = ["tickets", "events"];
    const before = await fingerprint(await one.session(), tables);
    const written = Date.now();
    await until("a point of after the rows", 180, async () =>
        (await one.backups()).points.some((point) => point.restorable && Date.parse(point.time) > written),
    );
    const at = new Date().toISOString();
    await one.sql("DROP TABLE tickets");
    const ran = await one.npm("recover", "--table", "public.tickets", "--at", at);
    assert.equal(ran.code, 0, ran.output);
    assert.match(
        ran.stdout,
        /^Point {11}\S+, taken \S+ \(.* ago\)\n {16}.* before .*: what was written in between is not in it/m,
    );
    await one.closeSessions();
    assert.deepEqual((await fingerprint(await one.session(), ["tickets_recovered"])).tickets_recovered, before.tickets);
    assert.match(ran.stdout, new RegExp(`at the point +${COMPANIES}\\n.* +${COMPANIES}\\n`));
    const [beside] = await one.sql<{ same: boolean; shards: number; index: string }>(`
      SELECT count(DISTINCT colocationid) = 1 AS same,
             (SELECT count(*)::int FROM pg_dist_shard WHERE logicalrelid = 'tickets_recovered'::regclass) AS shards,
             (SELECT count(*)::text FROM pg_index WHERE indrelid = 'tickets_recovered'::regclass) AS index
        FROM pg_dist_partition WHERE logicalrelid IN ('tickets_recovered'::regclass, 'companies'::regclass)`);
    assert.deepEqual({ ...beside }, { same: true, shards: 6, index: "2" });
    for (const args of [
        ["ps", "-aq", "--filter", "name=recover-"],
        ["volume", "ls", "-q", "--filter", "name=recover-"],
        ["network", "ls", "-q", "--filter", "name=recover-"],
    ])
        assert.equal(docker(args).trim(), "", args.join(" "));
    const stacks = await one.npm("pulumi", "stack", "ls");
    assert.doesNotMatch(stacks.output, /recover-/);
    assert.match(stacks.output, new RegExp(`^${one.name}\\*`, "m"));
    const taken = await one.npm("recover", "--table", "public.tickets", "--at", at);
    assert.equal(taken.code, 1);
    assert.match(taken.stderr, /There is a public\.tickets_recovered already\. Nothing was done\./);
});
