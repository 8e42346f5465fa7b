/**
 * A cluster restored as a whole, beside the one that goes on: books that balance at every point, not one connection to the
 * origin, and a refusal for everything that could not be restored to one moment.
 */
import assert from "node:assert/strict";
import { randomInt } from "node:crypto";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, test } from "vitest";
import { connect } from "../../core/reach/session.ts";
import { audit, Bank } from "../bank.ts";
import { testCitus, testImage } from "../image.ts";
import { docker, type ListedPoint, requireEngine, run, TestStack, until } from "../lib.ts";

const ACCOUNTS = 400;
const NODES = ["coordinator", "worker-1", "worker-2"] as const;

let origin: TestStack;
let points: ListedPoint[] = [];
const banks: Bank[] = [];
const connectionsOfCopies = new Set<string>();

/** The order of everything that is chosen by chance here; E2E_SEED repeats a run. */
const seed = Number(process.env.E2E_SEED ?? randomInt(1_000_000));
console.log(`# seed ${seed} (E2E_SEED=${seed} repeats it)`);
let state = seed;
const chance = (below: number) => {
    // Park and Miller
    state = (state * 48_271 + 11) % 2_147_483_647;
    return state % below;
};

const listPoints = async (stack: TestStack) => (await stack.backups()).points;

/** Containers of a cluster are put on the origin's own node network the moment they are there. */
function onOriginsNetwork(copy: TestStack): {
    stop: () => Promise<void>;
    addresses: Set<string>;
    refused: () => number;
} {
    const network = origin.nodeNetwork();
    const addresses = new Set<string>();
    const connected = new Set<string>();
    let isolated = 0;
    let running = true;
    const loop = (async () => {
        while (running) {
            const names = docker([
                "ps",
                "--filter",
                `label=citus.cluster=citus-${copy.name}`,
                "--format",
                "{{.Names}}",
            ]);
            for (const name of names.split("\n").filter((n) => n !== "" && !connected.has(n))) {
                try {
                    docker(["network", "connect", network, name]);
                    const networks = JSON.parse(
                        docker(["inspect", "--format", "{{json .NetworkSettings.Networks}}", name]),
                    );
                    addresses.add(networks[network].IPAddress as string);
                } catch (error) {
                    // a container that restores has no network, and can't be given one
                    if (
                        /private \(none\) mode|cannot be connected to multiple networks/.test(
                            String((error as { stderr?: Buffer }).stderr),
                        )
                    )
                        isolated++;
                }
                connected.add(name);
            }
            await new Promise((resolve) => setTimeout(resolve, 50));
        }
    })();
    return {
        addresses,
        refused: () => isolated,
        stop: async () => {
            running = false;
            await loop;
        },
    };
}

/** Restores into a new stack beside the origin. */
async function copyOf(restoreFrom: Record<string, unknown>, config: Record<string, unknown> = {}): Promise<TestStack> {
    const copy = await TestStack.make(
        {
            workers: 2,
            shardCount: 8,
            backup: { restorePoint: "off" },
            restoreFrom: { stack: origin.name, ...restoreFrom },
            ...config,
        },
        undefined,
        origin,
    );
    return copy;
}

async function refusal(restoreFrom: Record<string, unknown>, config: Record<string, unknown> = {}): Promise<string> {
    const copy = await copyOf(restoreFrom, config);
    try {
        const preview = await copy.pulumi(["preview"]);
        assert.notEqual(preview.code, 0, `preview accepted it:\n${preview.output}`);
        assert.deepEqual(copy.leftovers(), []);
        return preview.output.replace(/\s+/g, " ");
    } finally {
        await copy.destroy();
    }
}

beforeAll(async () => {
    requireEngine();
    origin = await TestStack.make({
        workers: 2,
        shardCount: 8,
        backup: { restorePoint: "10s", retention: 2 },
        settings: { all: { log_connections: "on" } },
    });
    await origin.up();
    await Bank.open(await origin.session(), ACCOUNTS);
});

afterAll(async () => {
    for (const bank of banks) await bank.stop();
    await origin?.destroy();
});

test("npm run backup, all nodes at once and a restore point; status shows the archive; a second up changes nothing", async () => {
    const ran = await origin.npm("backup", "full");
    assert.equal(ran.code, 0, ran.output);
    for (const node of NODES) assert.match(ran.output, new RegExp(`${node} +full backup +ok`));
    assert.match(ran.output, /restore point +citus-\S+_\d{8}T\d{6}Z_[0-9a-f]{4} +ok/);
    const status = await origin.npm("status");
    assert.match(status.output, /last restore point \d+ s ago/);
    assert.match(status.output, /worker-2 +ready .* \d+ s ago/);
    await origin.up({}, ["--expect-no-changes"]);
    const refreshed = await origin.pulumi(["refresh", "--yes", "--expect-no-changes"]);
    assert.equal(refreshed.code, 0, refreshed.output);
});

test("points while money moves through coordinator and workers and backups run: the writers never fail", {
    timeout: 300_000,
}, async () => {
    const bank = new Bank(ACCOUNTS);
    banks.push(bank);
    const entries = await Promise.all(NODES.map(async (name) => ({ name, access: await origin.access(name) })));
    bank.start(entries, 2);
    for (const type of ["incr", "diff", "incr"]) {
        const ran = await origin.npm("backup", type);
        assert.equal(ran.code, 0, ran.output);
        for (let i = 0; i < 2; i++) {
            const point = await origin.script("coordinator", "restore-point.sh");
            assert.equal(point.code, 0, point.stderr);
        }
    }
    await bank.stop();
    assert.deepEqual(bank.errors, []);
    assert.ok(bank.transfers > 300, `only ${bank.transfers} transfers`);
    points = await listPoints(origin);
    assert.ok(points.length >= 9, `${points.length} points`);
    assert.ok(
        points.every((p) => p.restorable),
        JSON.stringify(points.map((p) => p.missing)),
    );
    assert.equal(new Set(points.map((p) => p.name)).size, points.length);
    const pauses = points.map((p) => p.pauseMilliseconds);
    console.log(
        `# pause of writers at a point: ${Math.min(...pauses)} to ${Math.max(...pauses)} ms, ${bank.transfers} transfers`,
    );
    assert.ok(Math.max(...pauses) < 5000);
    assert.deepEqual(await audit(await origin.session(), ACCOUNTS), []);
});

test("restored to three points chosen by chance, on the origin's own network: books balance, not one connection to the origin", {
    timeout: 900_000,
}, async () => {
    const candidates = points.slice(0, -1);
    const chosen = new Set<ListedPoint>();
    while (chosen.size < 3) chosen.add(candidates[chance(candidates.length)] as ListedPoint);
    // the origin serves all along
    const bank = new Bank(ACCOUNTS);
    banks.push(bank);
    bank.start([{ name: "coordinator", access: await origin.access() }]);
    for (const [i, point] of [...chosen].entries()) {
        const copy = await copyOf({ point: point.name });
        const guard = onOriginsNetwork(copy);
        try {
            const ran = await copy.up();
            assert.match(ran.output, new RegExp(`restored coordinator, worker-1, worker-2 to ${point.name}`));
            // its daemons had time to do what they do by themselves
            await new Promise((resolve) => setTimeout(resolve, 10_000));
            assert.equal(guard.refused(), 3, "each restore ran without any network");
            assert.equal(guard.addresses.size, 3);
            for (const address of guard.addresses) connectionsOfCopies.add(address);
            for (const node of NODES) {
                const session = await copy.session(node);
                assert.deepEqual(await audit(session, ACCOUNTS), [], `${point.name}, seen from ${node}`);
                const [row] = await session.query<{ n: number; prepared: number; altered: number; archive: string }>(
                    `SELECT (SELECT count(*)::int FROM currencies) AS n, (SELECT count(*)::int FROM pg_prepared_xacts) AS prepared,
                            (SELECT count(*)::int FROM pg_file_settings WHERE sourcefile LIKE '%auto.conf') AS altered,
                            current_setting('archive_command') AS archive`,
                );
                assert.deepEqual([row?.n, row?.prepared, row?.altered], [2, 0, 0], node);
                assert.match(row?.archive ?? "", new RegExp(`stanza=citus-${copy.name}-${node} `));
            }
            const [own] = await copy.sql<{ nodes: string }>(
                "SELECT string_agg(nodename, ' ' ORDER BY nodename) AS nodes FROM pg_dist_node",
            );
            assert.equal(own?.nodes, NODES.map((node) => `${node}.citus-${copy.name}.node`).join(" "));
            await copy.up({}, ["--expect-no-changes"]);
            const listed = await listPoints(copy);
            assert.ok(listed.length >= 1 && listed.every((p) => p.restorable), "the copy has a point of its own");
            if (i === 0) {
                // it is a cluster like any other
                await copy.sql("UPDATE accounts SET balance = balance WHERE id <= 10");
                await copy.up({ workers: 3, restoreFrom: undefined });
                const [placed] = await copy.sql<{ n: number }>(
                    "SELECT count(DISTINCT groupid)::int AS n FROM pg_dist_placement JOIN pg_dist_shard USING (shardid) WHERE logicalrelid = 'accounts'::regclass",
                );
                assert.equal(placed?.n, 3);
                assert.deepEqual(await audit(await copy.session(), ACCOUNTS), []);
            }
        } finally {
            await guard.stop();
            await copy.destroy();
        }
    }
    await bank.stop();
    assert.deepEqual(bank.errors, []);
    for (const node of NODES) {
        const lines = await logOf(origin, node);
        assert.match(lines, /connection received/, "connections are logged");
        for (const address of connectionsOfCopies)
            assert.ok(!lines.includes(`host=${address} `), `${node} logged a connection from ${address}`);
    }
});

async function logOf(stack: TestStack, node: string): Promise<string> {
    const ran = await run("docker", ["logs", stack.container(node)], { cwd: stack.dir });
    return ran.output;
}

test("the log would have shown it: one connection from a copy's place is there", async () => {
    const network = origin.nodeNetwork();
    const image = docker(["inspect", "--format", "{{.Image}}", origin.container("coordinator")]).trim();
    const address = docker([
        "run",
        "--rm",
        "--network",
        network,
        image,
        "bash",
        "-c",
        `exec 3<>/dev/tcp/worker-1.citus-${origin.name}.node/5432; sleep 0.5; hostname -i`,
    ]).trim();
    await new Promise((resolve) => setTimeout(resolve, 500));
    assert.ok((await logOf(origin, "worker-1")).includes(`host=${address} `));
});

test("the origin's own restore still reaches its newest point", { timeout: 300_000 }, async () => {
    const taken = await origin.script("coordinator", "restore-point.sh");
    assert.equal(taken.code, 0, taken.stderr);
    const [before] = await origin.sql<{ n: string }>("SELECT count(*)::text AS n FROM ledger");
    const copy = await copyOf({ point: taken.stdout.trim() });
    try {
        await copy.up();
        const [found] = await copy.sql<{ n: string }>("SELECT count(*)::text AS n FROM ledger");
        assert.equal(found?.n, before?.n);
        assert.deepEqual(await audit(await copy.session(), ACCOUNTS), []);
    } finally {
        await copy.destroy();
    }
});

test("a transaction prepared on a worker is committed in the copy when the coordinator had committed it, and rolled back when not", {
    timeout: 300_000,
}, async () => {
    const worker = await origin.session("worker-1");
    const [shard] = await origin.sql<{ name: string; groupId: number }>(
        `SELECT shard_name(s.logicalrelid, s.shardid) AS name, p.groupid AS "groupId"
           FROM pg_dist_shard s JOIN pg_dist_placement p USING (shardid) JOIN pg_dist_node n USING (groupid)
          WHERE s.logicalrelid = 'accounts'::regclass AND n.nodename LIKE 'worker-1.%' ORDER BY s.shardid LIMIT 1`,
    );
    assert.ok(shard);
    const others = await worker.query<{ id: string }>(`SELECT id::text FROM ${shard.name} ORDER BY id LIMIT 2`);
    const [committed, lost] = others.map((row) => row.id) as [string, string];
    const half = async (gid: string, id: string) => {
        await worker.query("BEGIN");
        await worker.query(`UPDATE ${shard.name} SET balance = balance + 5000 WHERE id = $1`, [id]);
        await worker.query(`PREPARE TRANSACTION '${gid}'`);
    };
    // the origin's own recovery would end them within a minute
    const balance = async (session: { query: typeof worker.query }, id: string) =>
        Number(
            (await session.query<{ b: string }>("SELECT balance::text AS b FROM accounts WHERE id = $1", [id]))[0]?.b,
        );
    const before = [await balance(await origin.session(), committed), await balance(await origin.session(), lost)];
    await half("citus_0_4242_900001_1", committed);
    await half("citus_0_4242_900002_1", lost);
    await origin.sql("INSERT INTO pg_dist_transaction (groupid, gid) VALUES ($1, 'citus_0_4242_900001_1')", [
        shard.groupId,
    ]);
    // a subscription in a database that Citus does not know would take over its slot at the publisher
    const access = await origin.access();
    await origin.sql('CREATE DATABASE "My App"');
    // as an interrupted DROP DATABASE leaves it
    await origin.sql("CREATE DATABASE dropped");
    await origin.sql("UPDATE pg_database SET datconnlimit = -2 WHERE datname = 'dropped'");
    const subscribed = await origin.onNode(
        "coordinator",
        "psql",
        "-d",
        "My App",
        "-v",
        "ON_ERROR_STOP=1",
        "-c",
        "CREATE SUBSCRIPTION mine CONNECTION 'host=nowhere.invalid dbname=x' PUBLICATION p WITH (connect = false, slot_name = 'mine')",
        "-c",
        "ALTER SUBSCRIPTION mine ENABLE",
    );
    assert.equal(subscribed.code, 0, subscribed.stderr);
    // as it is in the middle of a shard's move: dropping it calls a trigger of Citus', which is not loaded in a restore
    await worker.query(
        "CREATE SUBSCRIPTION citus_shard_move_subscription_99_10 CONNECTION 'host=nowhere.invalid dbname=x' PUBLICATION p WITH (connect = false, slot_name = 'moving')",
    );
    const point = await origin.script("coordinator", "restore-point.sh");
    assert.equal(point.code, 0, point.stderr);
    await worker.query("ALTER SUBSCRIPTION citus_shard_move_subscription_99_10 SET (slot_name = NONE)");
    await worker.query("DROP SUBSCRIPTION citus_shard_move_subscription_99_10");
    await origin.onNode(
        "coordinator",
        "psql",
        "-d",
        "My App",
        "-c",
        "ALTER SUBSCRIPTION mine DISABLE",
        "-c",
        "ALTER SUBSCRIPTION mine SET (slot_name = NONE)",
        "-c",
        "DROP SUBSCRIPTION mine",
    );
    const copy = await copyOf({ point: point.stdout.trim() });
    try {
        const ran = await copy.up();
        const subscriptions = await copy.sql("SELECT subname, subenabled FROM pg_subscription");
        assert.deepEqual(
            subscriptions.map((row) => ({ ...row })),
            [{ subname: "mine", subenabled: false }],
        );
        assert.deepEqual(await (await copy.session("worker-1")).query("SELECT subname FROM pg_subscription"), []);
        // the copy's password is its own
        await assert.rejects(
            connect({ ...(await copy.access()), password: access.password }, "coordinator"),
            /password authentication failed/,
        );
        assert.match(ran.output, /2 transactions were between the two phases of a commit/);
        const session = await copy.session();
        assert.equal(await balance(session, committed), (before[0] as number) + 5000);
        assert.equal(await balance(session, lost), before[1]);
        for (const node of NODES) {
            const [left] = await (await copy.session(node)).query<{ n: number }>(
                "SELECT count(*)::int AS n FROM pg_prepared_xacts",
            );
            assert.equal(left?.n, 0, node);
        }
    } finally {
        await copy.destroy();
    }
});

test("what is no moment of the cluster is refused with the reason; a time is the last point before it", {
    timeout: 300_000,
}, async () => {
    for (const [point, part] of [
        ["0/3000028", "log sequence number"],
        ["123456", "transaction id"],
        ["immediate", "different moments"],
        [{ coordinator: "2026-11-22T10:00:00Z", "worker-1": "2026-11-22T10:00:01Z" }, "node by node"],
        ["2026-11-22 10:00", "with its zone"],
    ] as const) {
        const output = await refusal({ point });
        assert.ok(output.includes(part), `${JSON.stringify(point)}: ${part}\n${output}`);
        assert.ok(output.includes("Nothing was changed"), output);
    }
    const sorted = [...points].sort((a, b) => (a.time < b.time ? -1 : 1));
    const wanted = sorted[3] as ListedPoint;
    const moment = new Date(Date.parse(wanted.time) + 1).toISOString();
    const copy = await copyOf({ point: moment });
    try {
        const preview = await copy.pulumi(["preview"]);
        assert.equal(preview.code, 0, preview.output);
        assert.match(
            preview.output,
            new RegExp(`restores citus-${origin.name} to ${wanted.name} .*the last point before it`),
        );
    } finally {
        await copy.destroy();
    }
    assert.match(
        await refusal({ point: "2020-01-01T00:00:00Z" }),
        /no restore point is as old as 2020-01-01T00:00:00Z; the oldest is/,
    );
    assert.match(await refusal({ point: "citus-x_20200101T000000Z_0000" }), /there is no restore point/);
    assert.match(
        await refusal({}, { workers: 1 }),
        /has 2 workers \(worker-[12] is group 1, worker-[12] is group 2\), this stack has 1: set citus:workers to 2/,
    );
    assert.match(await refusal({}, { database: "other" }), /has the database app, this stack other/);
    assert.match(await refusal({ stack: "nowhere" }), /nowhere/);
});

test("another Citus in the image than in the point: refused before anything is touched", {
    timeout: 300_000,
}, async () => {
    const base = "citus-test:other-citus";
    const dockerfile = `FROM ${testImage()}\nUSER root\nRUN sed -i "s/^default_version.*/default_version = '13.2-1'/" "$(pg_config --sharedir)/extension/citus.control"\n`;
    const built = await run("docker", ["build", "-q", "-t", base, "-"], { cwd: origin.dir, input: dockerfile });
    assert.equal(built.code, 0, built.output);
    // the image's own test would refuse it first
    const selfTest = join(origin.dir, "scripts/node/image/self-test.sh");
    const real = readFileSync(selfTest);
    writeFileSync(selfTest, "#!/bin/sh\nprintf 'uid=999\\npostgres=17.0\\ncitus=13.2.0\\ndone=yes\\n'\n");
    const copy = await copyOf({}, { image: base });
    try {
        const ran = await copy.tryUp();
        assert.notEqual(ran.code, 0);
        assert.match(
            ran.output.replace(/\s+/g, " "),
            new RegExp(
                `has Citus ${testCitus()}, this stack's image 13\\.2-1: restore with the same .*Nothing was touched`,
            ),
        );
    } finally {
        writeFileSync(selfTest, real);
        await copy.destroy();
        docker(["rmi", base]);
    }
});

test("WAL that is missing and a backup that is gone: the point is listed as not restorable and refused, naming the node", {
    timeout: 300_000,
}, async () => {
    const point = points.at(2) as ListedPoint;
    const node = point.nodes.find((n) => n.node === "worker-2");
    assert.ok(node);
    const segment = node.lastSegment;
    const moved = await origin.onNode(
        "coordinator",
        "bash",
        "-c",
        `cd /var/lib/citus-backups/archive/${node.stanza}/${node.archiveId}/${segment.slice(0, 16)} && for f in ${segment}-*; do mv "$f" "/var/lib/citus-backups/$f.away"; done`,
    );
    assert.equal(moved.code, 0, moved.stderr);
    try {
        const listed = (await listPoints(origin)).find((p) => p.name === point.name);
        assert.equal(listed?.restorable, false);
        assert.match(
            listed?.missing.join() ?? "",
            new RegExp(`worker-2: WAL is missing between its backup and the point: ${segment}`),
        );
        assert.match(
            await refusal({ point: point.name }),
            new RegExp(`can't be restored: worker-2: WAL is missing .*${segment}.*Nothing was touched`),
        );
    } finally {
        await origin.onNode(
            "coordinator",
            "bash",
            "-c",
            `for f in /var/lib/citus-backups/*.away; do n=$(basename "$f" .away); mv "$f" "/var/lib/citus-backups/archive/${node.stanza}/${node.archiveId}/${segment.slice(0, 16)}/$n"; done`,
        );
    }
    assert.equal((await listPoints(origin)).find((p) => p.name === point.name)?.restorable, true);
});

test("a point that can't be taken is refused, naming the node, and is never listed", { timeout: 300_000 }, async () => {
    const before = (await listPoints(origin)).map((p) => p.name);
    docker(["stop", origin.container("worker-2")]);
    try {
        const down = await origin.script("coordinator", "restore-point.sh");
        assert.notEqual(down.code, 0);
        assert.match(down.stderr, /no restore point: .*worker-2/);
        const backup = await origin.npm("backup", "incr");
        assert.equal(backup.code, 1);
        assert.match(
            backup.output,
            /1 of 3 nodes have no new backup; no restore point was taken:\s+worker-2: its container is not running/,
        );
    } finally {
        docker(["start", origin.container("worker-2")]);
    }
    await until("points again", 60, async () => (await origin.script("coordinator", "restore-point.sh")).code === 0);
    // a lock that is held on a worker: the point gives way, and what writers waited is bounded
    const holder = await origin.session("worker-1");
    await holder.query("BEGIN");
    await holder.query("LOCK TABLE pg_dist_transaction IN ACCESS EXCLUSIVE MODE");
    const began = Date.now();
    const locked = await origin.script("coordinator", "restore-point.sh");
    const took = Date.now() - began;
    await holder.query("ROLLBACK");
    assert.notEqual(locked.code, 0);
    assert.match(locked.stderr, /lock timeout/);
    assert.ok(took < 8000, `${took} ms`);
    for (const name of (await listPoints(origin)).map((p) => p.name))
        assert.ok(before.includes(name) || (await listPoints(origin)).find((p) => p.name === name)?.restorable, name);
});

test("the drill restores into a stack of its own, prints RTO and RPO, and leaves nothing", {
    timeout: 300_000,
}, async () => {
    const ran = await origin.npm("restore-drill");
    assert.equal(ran.code, 0, ran.output);
    assert.match(ran.output, /RTO +[0-9.]+ s .*of which restoring [0-9.]+ s/);
    assert.match(ran.output, /RPO +\d+ (s|min) .*one is taken every 10 s/);
    assert.equal(docker(["ps", "-aq", "--filter", "label=citus.cluster", "--filter", "name=drill-"]).trim(), "");
    assert.equal(docker(["volume", "ls", "-q", "--filter", "name=drill-"]).trim(), "");
    const stacks = await origin.pulumi(["stack", "ls", "--json"]);
    assert.ok(!/drill-/.test(stacks.output), stacks.output);
    const folders = readdirSync(join(origin.dir, ".state"));
    assert.ok(!folders.some((name) => name.startsWith("drill-")), folders.join());
    // and the origin is still the one that is selected
    assert.equal((await origin.npm("status")).code, 0);
});
