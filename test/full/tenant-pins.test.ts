/** Tenants on the node that is wanted: moved while they are written to, and left there by whatever places shards. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { afterAll, beforeAll, describe, onTestFinished, test } from "vitest";
import { connect, type Session } from "../../core/reach/session.ts";
import type { GroupSpec, TenantSpec } from "../../core/tenants/group/spec.ts";
import { pinsFacet } from "../../core/tenants/pins/pins.ts";
import { pause } from "../../core/util/pause.ts";
import { WritingClient } from "../client.ts";
import { requireEngine, SCHEMA, seed, TestStack } from "../lib.ts";
import { settleApart } from "../settleTenants.ts";
import { EMPTY, plan, settle } from "../tenants.ts";

const COMPANIES = 60;
/** The row tenant that gets a shard of its own. */
const HOT = "42";

let stack: TestStack;

const clinics = (tenants: Record<string, TenantSpec>): GroupSpec => ({
    ...EMPTY,
    name: "clinics",
    model: "schema",
    tenants,
});

const billing = (tenants: Record<string, TenantSpec>): GroupSpec => ({
    ...EMPTY,
    name: "billing",
    model: "row",
    anchor: "companies",
    tenants,
});

const settlePins = (group: GroupSpec) => settle(stack, group, {}, [pinsFacet]);
const planPins = (group: GroupSpec) => plan(stack, group, [pinsFacet]);

beforeAll(async () => {
    requireEngine();
    stack = await TestStack.make({ workers: 2, shardCount: 8, backup: false });
    await stack.up();
    await stack.sql(SCHEMA);
    await stack.sql(seed(COMPANIES));
    await stack.sql("SET citus.enable_schema_based_sharding = on");
    for (const schema of ["acme", "globex", "Initech-1", "hooli"]) {
        await stack.sql(`
            CREATE SCHEMA "${schema}";
            CREATE TABLE "${schema}".users (id bigint PRIMARY KEY, logins bigint NOT NULL DEFAULT 0);
            CREATE TABLE "${schema}".visits (id bigint PRIMARY KEY, user_id bigint NOT NULL REFERENCES "${schema}".users);
            INSERT INTO "${schema}".users SELECT i FROM generate_series(1, 500) i;
            INSERT INTO "${schema}".visits SELECT i, i FROM generate_series(1, 500) i`);
    }
    await stack.sql("CREATE SCHEMA empty");
    // what an owner's move would lose (a superuser's does not)
    for (const statement of [
        "ALTER TABLE acme.users ENABLE ROW LEVEL SECURITY",
        "ALTER TABLE acme.users FORCE ROW LEVEL SECURITY",
        "CREATE POLICY nobody ON acme.users USING (id < 0)",
    ])
        await stack.sql(statement);
    await stack.sql("RESET citus.enable_schema_based_sharding");
});

afterAll(async () => {
    await stack?.destroy();
    assert.deepEqual(stack?.leftovers() ?? [], [], "destroy left something behind");
});

/** The node that has all shards of a tenant: of a schema, or of a company of its own. */
async function nodeOf(tenant: string): Promise<string> {
    const rows = await stack.sql<{ node: string }>(
        /^[0-9]+$/.test(tenant)
            ? `SELECT DISTINCT split_part(nodename, '.', 1) AS node
                 FROM pg_dist_shard a JOIN pg_dist_shard s ON s.shardminvalue = a.shardminvalue AND s.shardmaxvalue = a.shardmaxvalue
                 JOIN pg_dist_placement p ON p.shardid = s.shardid JOIN pg_dist_node USING (groupid)
                WHERE a.shardid = get_shard_id_for_distribution_column('companies', ${tenant})
                  AND s.logicalrelid IN ('companies'::regclass, 'users'::regclass, 'projects'::regclass)`
            : `SELECT DISTINCT split_part(nodename, '.', 1) AS node FROM citus_shards WHERE table_name::text ~ '^"?${tenant}"?[.]'`,
    );
    assert.equal(rows.length, 1, `${tenant} is on ${JSON.stringify(rows)}`);
    return rows[0]?.node ?? "";
}

const other = (node: string) => (node === "worker-1" ? "worker-2" : "worker-1");

async function isIsolated(company: string): Promise<boolean> {
    const [row] = await stack.sql<{ own: boolean }>(
        "SELECT shardminvalue = shardmaxvalue AS own FROM pg_dist_shard WHERE shardid = get_shard_id_for_distribution_column('companies', $1::text)",
        [company],
    );
    return row?.own ?? false;
}

/** Where every shard is. */
const placements = () =>
    stack.sql("SELECT shardid::text, groupid FROM pg_dist_placement WHERE shardstate = 1 ORDER BY shardid, groupid");

const rebalancePlan = () => stack.sql("SELECT * FROM get_rebalance_table_shards_plan()");

/** Writes to one tenant without a pause, and knows what it was told. */
class TenantWriter {
    readonly errors: string[] = [];
    readonly inserted: number[] = [];
    updates = 0;
    worst = 0;
    private readonly insert: string;
    private readonly update: string;
    private running = true;
    private loops: Promise<void>[] = [];

    constructor(insert: string, update: string) {
        this.insert = insert;
        this.update = update;
    }

    async start(): Promise<this> {
        const loop = async (write: (session: Session) => Promise<void>) => {
            const session = await connect(await stack.access(), "client");
            while (this.running) {
                const began = Date.now();
                await write(session).catch((error: Error) => this.errors.push(error.message));
                this.worst = Math.max(this.worst, Date.now() - began);
                await pause(3);
            }
            await session.close();
        };
        // those of the client that writes to everybody begin at 1,000,001
        let id = 5_000_000;
        this.loops = [
            loop(async (session) => {
                const next = ++id;
                await session.query(this.insert, [next]);
                this.inserted.push(next);
            }),
            loop(async (session) => {
                await session.query(this.update);
                this.updates++;
            }),
        ];
        return this;
    }

    async stop(): Promise<this> {
        this.running = false;
        await Promise.all(this.loops);
        return this;
    }
}

const count = async (query: string): Promise<number> =>
    Number((await stack.sql<{ n: string }>(`SELECT (${query})::text AS n`))[0]?.n);

test("a schema tenant and an isolated row tenant move while they are written to: nothing fails, nothing is lost", async () => {
    const [acmeTo, hotTo] = [other(await nodeOf("acme")), other(await nodeOf(HOT))];
    const rows = billing({ [HOT]: { node: hotTo }, "7": { isolate: true }, "8": {} });
    const preview = await planPins(rows);
    assert.deepEqual(preview.refusals, []);
    assert.deepEqual(
        preview.steps.map(({ kind, tenant }) => `${kind} ${tenant}`),
        ["pins.isolate 7", "pins.isolate 42", "pins.move 42", "pins.pin 42"],
    );
    assert.match(
        preview.steps[1]?.text ?? "",
        /^42: .*irreversible, group 10 → 12 shards; \d+ kB, less than a second \(at .*, since no rate was measured yet on this cluster\)$/,
    );

    const everybody = await WritingClient.start(await stack.access(), COMPANIES);
    const acme = await new TenantWriter(
        "INSERT INTO acme.visits VALUES ($1, 1)",
        "UPDATE acme.users SET logins = logins + 1 WHERE id = 1",
    ).start();
    const hot = await new TenantWriter(
        "INSERT INTO users VALUES (42, $1, 'new@example.com')",
        "UPDATE companies SET balance = balance + 1 WHERE id = 42",
    ).start();
    const stop = async () => {
        await Promise.all([acme.stop(), hot.stop()]);
        return everybody.stop();
    };
    onTestFinished(async () => {
        await stop();
    });
    await pause(300);
    const ran = await settlePins(clinics({ acme: { node: acmeTo }, globex: {}, empty: { node: "worker-1" } }));
    const ranRows = await settlePins(rows);
    for (const line of [...ran.said, ...ranRows.said]) console.log(line);
    await pause(300);
    const report = await stop();
    console.log(
        `worst statement while they moved: schema tenant ${acme.worst} ms, isolated row tenant ${hot.worst} ms, all others ${report.worst} ms; ` +
            `${acme.updates + acme.inserted.length + hot.updates + hot.inserted.length} writes of the two, ${report.inserts + report.transfers} of the others`,
    );

    // Citus' own: a query over all shards that was planned before a split is committed, and runs after it
    const overtaken = report.errors.filter((error) =>
        /^read: .*could not find valid entry for shard \d+$/s.test(error),
    );
    const failed = report.errors.filter((error) => !overtaken.includes(error));
    assert.deepEqual([acme.errors, hot.errors, failed, report.wrong], [[], [], [], []]);
    assert.ok(overtaken.length <= 2, `${overtaken.length} for two splits`);
    assert.ok(acme.updates > 20 && hot.updates > 20, "there were hardly any writes");
    assert.equal(await nodeOf("acme"), acmeTo);
    assert.equal(await nodeOf(HOT), hotTo);
    assert.ok((await isIsolated(HOT)) && (await isIsolated("7")) && !(await isIsolated("8")));
    assert.equal(await count("SELECT count(*) FROM acme.users"), 500);
    assert.equal(await count("SELECT sum(logins) FROM acme.users"), acme.updates);
    assert.equal(await count("SELECT count(*) FROM acme.visits"), 500 + acme.inserted.length);
    assert.equal(
        await count("SELECT count(*) FROM users WHERE company_id = 42 AND email = 'new@example.com'"),
        hot.inserted.length,
    );
    assert.equal(await count("SELECT sum(balance) FROM companies"), 1000 * COMPANIES + hot.updates);
    assert.equal(await count("SELECT count(*) FROM users"), 10 * COMPANIES + hot.inserted.length + report.inserts);
    // and nothing is left of it, and nothing to do
    assert.deepEqual(await stack.sql("SELECT * FROM pg_dist_cleanup"), []);
    assert.deepEqual((await planPins(rows)).steps, []);
    const again = await settlePins(clinics({ acme: { node: acmeTo }, globex: {}, empty: { node: "worker-1" } }));
    assert.deepEqual(again.steps, []);
});

test("what stands in the way is refused whole, before anything moves", async () => {
    await stack.sql(`
        SET citus.enable_schema_based_sharding = on;
        CREATE SCHEMA nokey;
        CREATE TABLE nokey.events (id bigint, body text);
        CREATE UNLOGGED TABLE nokey.cache (id bigint PRIMARY KEY);
        RESET citus.enable_schema_based_sharding`);
    const was = await placements();
    const group = clinics({
        acme: { node: await nodeOf("acme") },
        globex: { node: other(await nodeOf("globex")) },
        nokey: { node: other(await nodeOf("nokey")) },
        hooli: { node: "worker-7" },
        "Initech-1": { node: "coordinator" },
    });
    await assert.rejects(settlePins(group), (error: Error) => {
        assert.match(error.message, /^tenant group clinics: 4 things stand in the way:/);
        assert.match(error.message, /nokey\.events: no primary key or replica identity, so tenant nokey/);
        assert.match(
            error.message,
            /Then run pulumi up once without node for nokey:\n +ALTER TABLE events ADD PRIMARY KEY \(id\);/,
        );
        assert.match(error.message, /ALTER TABLE cache SET LOGGED;/);
        assert.match(error.message, /worker-7: no node of this name takes shards.*hooli.*worker-1, worker-2/);
        assert.match(error.message, /coordinator: it takes no shards[\s\S]*citus:coordinator\.shards true/);
        assert.match(error.message, /Nothing of the group was changed\.$/);
        return true;
    });
    assert.deepEqual(await placements(), was);
    await stack.sql("DROP SCHEMA nokey CASCADE");
});

/** Waits until a backend of a run is in the middle of a move; one that is held up by whoever holds the tenant's row. */
async function movingBackend(): Promise<number> {
    for (let tries = 0; tries < 300; tries++) {
        const [row] = await stack.sql<{ pid: number }>(
            `SELECT pid FROM pg_stat_activity WHERE application_name = 'pulumi citus' AND state = 'active'
                AND query ~ '^SELECT citus_(schema_move|move_shard_placement)' AND now() - query_start > interval '1 s'`,
        );
        if (row) return row.pid;
        await pause(100);
    }
    throw new Error("no move began");
}

/** Kills a run in the middle of the move of a tenant, which a transaction of a client holds up. */
async function killInTheMiddle(group: GroupSpec, write: string, meanwhile: (pid: number) => Promise<void>) {
    const client = await connect(await stack.access(), "client");
    try {
        await client.query("BEGIN");
        await client.query(write);
        const child = await settleApart(stack, group, {}, [pinsFacet.name]);
        const ended = once(child, "exit");
        const pid = await movingBackend();
        child.kill("SIGKILL");
        assert.deepEqual(await ended, [null, "SIGKILL"]);
        await meanwhile(pid);
        await client.query("COMMIT");
    } finally {
        await client.close();
    }
}

describe("a run killed in the middle of a move ends well when it is run again", () => {
    test("when the database was left alone with the move, too", async () => {
        const to = other(await nodeOf("acme"));
        const group = clinics({ acme: { node: to } });
        const rows = await count("SELECT count(*) FROM acme.visits");
        await killInTheMiddle(group, "UPDATE acme.users SET logins = 0 WHERE id = 2", async (pid) => {
            await stack.sql("SELECT pg_terminate_backend($1::int, 10000)", [pid]);
        });
        assert.notEqual(await nodeOf("acme"), to);
        await settlePins(group);
        assert.equal(await nodeOf("acme"), to);
        assert.equal(await count("SELECT count(*) FROM acme.visits"), rows);
        assert.deepEqual((await planPins(group)).steps, []);
        assert.deepEqual(await stack.sql("SELECT * FROM pg_dist_cleanup"), []);
    });

    test("and when the move goes on by itself", async () => {
        const to = other(await nodeOf(HOT));
        const group = billing({ [HOT]: { node: to } });
        const rows = await count("SELECT count(*) FROM users");
        await killInTheMiddle(group, "UPDATE companies SET balance = balance WHERE id = 42", async () => undefined);
        // waits for the lock that the dead run's connection still has
        await settlePins(group);
        assert.equal(await nodeOf(HOT), to);
        assert.equal(await count("SELECT count(*) FROM users"), rows);
        assert.deepEqual((await planPins(group)).steps, []);
    });

    test("without its pin written down, it is pinned", async () => {
        const to = await nodeOf(HOT);
        await stack.sql("DELETE FROM citus_as_code.tenant_pin WHERE grp = 'billing'");
        const ran = await settlePins(billing({ [HOT]: { node: to } }));
        assert.deepEqual(
            ran.steps.map(({ kind }) => kind),
            ["pins.pin"],
        );
    });
});

test("pinned tenants stay through a scale-out and a rebalance, and everything agrees about it", async () => {
    const [acme, hot] = [await nodeOf("acme"), await nodeOf(HOT)];
    await stack.up({ workers: 3 });
    assert.equal(await nodeOf("acme"), acme);
    assert.equal(await nodeOf(HOT), hot);
    const [taken] = await stack.sql<{ n: number }>(
        "SELECT count(*)::int AS n FROM citus_shards WHERE nodename LIKE 'worker-3.%' AND citus_table_type = 'distributed'",
    );
    assert.ok((taken?.n ?? 0) > 0, "the new worker has no shard");
    assert.deepEqual(await rebalancePlan(), []);
    const preview = await stack.pulumi(["preview", "--expect-no-changes"]);
    assert.equal(preview.code, 0, preview.output);
    const status = JSON.parse((await stack.npm("status", "--json")).stdout) as { movesLeft: number };
    assert.equal(status.movesLeft, 0);

    // the same by hand: whatever is pinned elsewhere goes there, and nothing else that is pinned moves
    await stack.sql("UPDATE citus_as_code.tenant_pin SET node = 'worker-3' WHERE tenant = 'acme'");
    const moves = await stack.sql<{ table: string; target: string }>(
        "SELECT table_name::text AS table, split_part(targetname, '.', 1) AS target FROM get_rebalance_table_shards_plan()",
    );
    assert.deepEqual(
        moves.filter(({ table }) => table.startsWith("acme.")).map(({ target }) => target),
        ["worker-3", "worker-3"],
    );
    await stack.sql("UPDATE citus_as_code.tenant_pin SET node = $1 WHERE tenant = 'acme'", [acme]);
});

test("a worker that a tenant is pinned to can't leave, and can once it is unpinned", async () => {
    await settlePins(clinics({ acme: { node: "worker-3" }, empty: {} }));
    assert.equal(await nodeOf("acme"), "worker-3");
    const was = await placements();
    const rows = await count("SELECT count(*) FROM acme.visits");

    const preview = await stack.pulumi(["preview", "--config", "citus:workers=2"]);
    assert.notEqual(preview.code, 0);
    const refused = await stack.tryUp({ workers: 2 });
    assert.notEqual(refused.code, 0);
    for (const { output } of [preview, refused]) {
        assert.match(output, /worker-3 can't leave: 1 shard group has nowhere to go\./);
        assert.match(output, /acme\.users, acme\.visits \(tenant acme pinned to worker-3 by group "clinics"\)/);
        assert.match(
            output,
            /Nothing was moved\. Unpin the tenant first: name another node for it, or none, and run pulumi up once while worker-\d still stays\. Or keep 3 workers\./,
        );
    }
    assert.deepEqual(await placements(), was);
    assert.equal(await count("SELECT count(*) FROM pg_dist_node WHERE shouldhaveshards"), 3);

    const ran = await settlePins(clinics({ acme: {} }));
    assert.deepEqual(
        ran.steps.map(({ text }) => text),
        ["acme: no longer pinned to worker-3; rebalances may move it"],
    );
    await stack.up({ workers: 2 });
    assert.notEqual(await nodeOf("acme"), "worker-3");
    assert.equal(await count("SELECT count(*) FROM acme.visits"), rows);
    // the other tenant is pinned still
    const [strategy] = await stack.sql<{ name: string }>(
        "SELECT name FROM pg_dist_rebalance_strategy WHERE default_strategy",
    );
    assert.equal(strategy?.name, "by_disk_size_pinned");
});

test("a pin whose table is gone hinders nobody, and without pins the strategy is Citus' own again", async () => {
    await settlePins(clinics({ globex: { node: await nodeOf("globex") } }));
    await stack.sql("DROP SCHEMA globex CASCADE");
    await stack.sql("INSERT INTO citus_as_code.tenant_pin VALUES ('gone', '1', 'gone', '1', 'worker-1')");
    await rebalancePlan();
    await stack.sql("DELETE FROM citus_as_code.tenant_pin WHERE grp = 'gone'");
    await settlePins(clinics({ globex: {} }));
    await settlePins(billing({ [HOT]: {} }));
    const strategies = await stack.sql(
        `SELECT name, default_strategy AS "isDefault" FROM pg_dist_rebalance_strategy ORDER BY 1`,
    );
    assert.deepEqual(strategies, [
        { name: "by_disk_size", isDefault: true },
        { name: "by_shard_count", isDefault: false },
    ]);
});

test("tenants with a columnar table are refused, and the refusal's statements move them while their writers wait", async () => {
    for (const statement of [
        "CREATE EXTENSION IF NOT EXISTS citus_columnar",
        "SET citus.enable_schema_based_sharding = on",
        "CREATE SCHEMA columns",
        "RESET citus.enable_schema_based_sharding",
        "CREATE TABLE columns.visits (id bigint, at timestamptz) USING columnar",
        "INSERT INTO columns.visits SELECT i, now() FROM generate_series(1, 1000) i",
        "CREATE TABLE clicks (company_id bigint, id bigint) USING columnar",
        "SELECT create_distributed_table('clicks', 'company_id', colocate_with => 'companies')",
        `INSERT INTO clicks SELECT 1 + i % ${COMPANIES}, i FROM generate_series(1, 6000) i`,
    ])
        await stack.sql(statement);
    for (const [model, tenant, table, rows] of [
        [clinics, "columns", "columns.visits", 1000],
        [billing, "7", "clicks", 6000],
    ] as const) {
        const node = other(await nodeOf(tenant));
        const group = model({ [tenant]: { node } });
        const { refusals } = await planPins(group);
        assert.equal(refusals?.length, 1, refusals?.join("\n"));
        const refusal = refusals?.[0] ?? "";
        assert.match(refusal, new RegExp(`^${table.replace(".", "\\.")}: access method columnar, [0-9.]+ [kM]B: `));
        assert.match(refusal, /\nSELECT alter_table_set_access_method\('[a-z]+', 'heap'\);\n/);
        assert.doesNotMatch(refusal, /REPLICA IDENTITY|PRIMARY KEY/);
        for (const line of refusal.split("\n").filter((text) => /^SELECT .*block_writes/.test(text)))
            await stack.sql(line);
        assert.equal(await nodeOf(tenant), node);
        await settlePins(group);
        const { steps } = await planPins(group);
        assert.deepEqual(steps, []);
        const [count] = await stack.sql<{ n: number }>(`SELECT count(*)::int AS n FROM ${table}`);
        assert.equal(count?.n, rows);
    }
});
