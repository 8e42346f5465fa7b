/** Restore points: which are proved restorable, what holds them up, and what reading them costs when there are many. */
import assert from "node:assert/strict";
import { gzipSync } from "node:zlib";
import { afterAll, beforeAll, test } from "vitest";
import { renderRepositoryConf } from "../../core/node/archive.ts";
import { dockerEngine, execute } from "../../core/reach/docker/engine.ts";
import { connect, type Session } from "../../core/reach/session.ts";
import { whyNotRestorable } from "../../core/restore/points.ts";
import { parseContents } from "../../core/restore/repository.ts";
import { packFiles } from "../../core/util/tar.ts";
import { BIG, bigRepository, pointNames } from "../bigRepository.ts";
import { docker, requireEngine, run, TestStack, until } from "../lib.ts";

let stack: TestStack;
const ROWS = 200_000;

beforeAll(async () => {
    requireEngine();
    stack = await TestStack.make({ workers: 2, shardCount: 4, backup: { restorePoint: "off" } });
    await stack.up();
    await stack.sql("CREATE TABLE orders (tenant int, id int, note text, PRIMARY KEY (tenant, id))");
    await stack.sql("SELECT create_distributed_table('orders', 'tenant')");
    await stack.sql(
        "CREATE TABLE lines (tenant int, id bigint GENERATED ALWAYS AS IDENTITY, PRIMARY KEY (tenant, id))",
    );
    await stack.sql("SELECT create_distributed_table('lines', 'tenant', colocate_with => 'orders')");
    await stack.sql(`INSERT INTO orders SELECT i % 50, i, repeat('x', 100) FROM generate_series(1, ${ROWS}) i`);
    for (const name of ["jobs", "sessions"]) await stack.sql(`CREATE TABLE ${name} (id bigserial PRIMARY KEY, t text)`);
    const backup = await stack.npm("backup", "full");
    assert.equal(backup.code, 0, backup.output);
});

afterAll(async () => {
    await stack?.destroy();
});

async function takePoint(): Promise<string> {
    const taken = await stack.script("coordinator", "restore-point.sh");
    assert.equal(taken.code, 0, taken.stderr);
    return taken.stdout.trim();
}

/** A session of its own, which may wait. */
const other = async (node = "coordinator"): Promise<Session> => connect(await stack.access(node), node);

const pointNamed = async (name: string) => {
    const found = (await stack.backups()).points.find((point) => point.name === name);
    assert.ok(found, `${name} is not listed`);
    return found;
};

test("each node's own clock is in the point", async () => {
    const began = Date.now();
    const point = await pointNamed(await takePoint());
    for (const node of point.nodes) {
        const at = Date.parse(node.time);
        assert.ok(at > began - 5000 && at < Date.now() + 5000, `${node.node} ${node.time}`);
    }
});

test("a lost segment: status names it, no point rests on it, a new backup mends it", { timeout: 600_000 }, async () => {
    const before = await pointNamed(await takePoint());
    const node = before.nodes.find((one) => one.node === "worker-1");
    assert.ok(node);
    const made = async () =>
        (await stack.backups()).stanzas.find(({ name }) => name === node.stanza)?.backup.length ?? 0;
    const earlier = await made();
    const folder = `/var/lib/citus-backups/archive/${node.stanza}/${node.archiveId}/${node.lastSegment.slice(0, 16)}`;
    await stack.onNode("worker-1", "bash", "-c", `rm ${folder}/${node.lastSegment}-*`);
    assert.equal((await stack.script("worker-1", "chain.sh")).code, 0);
    const status = await stack.npm("status");
    assert.equal(status.code, 1, status.output);
    const said = status.output.replace(/\s+/g, " ");
    assert.ok(
        said.includes(
            `the newest restore point, ${before.name}, can't be restored: worker-1: WAL segment ${node.lastSegment} is missing`,
        ),
        said,
    );
    const refused = await stack.script("coordinator", "restore-point.sh");
    // the schedule's own backup may have been made already
    if (refused.code !== 0)
        assert.match(refused.stderr, new RegExp(`worker-1: WAL segment ${node.lastSegment} is missing`));
    await until("a new backup of worker-1", 180, async () => (await made()) > earlier);
    const healed = await pointNamed(await takePoint());
    assert.ok(healed.restorable, healed.missing.join());
    const then = await stack.npm("status");
    assert.equal(then.code, 0, then.output);
});

test("who holds a local table holds up neither the point nor the writers of others", { timeout: 300_000 }, async () => {
    const [holder, vacuum, writer] = [await other(), await other(), await other()];
    try {
        await holder.query("BEGIN");
        await holder.query("INSERT INTO sessions (t) VALUES ('open')");
        await vacuum.query("BEGIN");
        // what VACUUM and CREATE INDEX CONCURRENTLY hold
        await vacuum.query("LOCK TABLE orders_kept IN SHARE UPDATE EXCLUSIVE MODE").catch(async () => {
            await vacuum.query("ROLLBACK");
            await vacuum.query("CREATE TABLE orders_kept (id int)");
            await vacuum.query("BEGIN");
            await vacuum.query("LOCK TABLE orders_kept IN SHARE UPDATE EXCLUSIVE MODE");
        });
        let longest = 0;
        let writing = true;
        const writes = (async () => {
            while (writing) {
                const began = performance.now();
                await writer.query("INSERT INTO jobs (t) VALUES ('x')");
                longest = Math.max(longest, performance.now() - began);
                await new Promise((resolve) => setTimeout(resolve, 5));
            }
        })();
        const name = await takePoint();
        writing = false;
        await writes;
        console.log(`# a writer of another table waited ${longest.toFixed(0)} ms at the most`);
        assert.ok(longest < 1900, `${longest} ms`);
        const point = await pointNamed(name);
        assert.deepEqual(
            point.notHeld?.map((one) => one.name),
            ["public.orders_kept", "public.sessions"],
        );
        assert.match(point.notHeld?.[1]?.why ?? "", /^pid \d+, role postgres, .*since \d{4}-/);
        const status = await stack.npm("status");
        assert.match(
            status.output.replace(/\s+/g, " "),
            /public\.sessions was not held at the newest restore point: pid/,
        );
        // nobody was cancelled
        await vacuum.query("COMMIT");
        await holder.query("COMMIT");
    } finally {
        for (const session of [holder, vacuum, writer]) await session.close().catch(() => undefined);
    }
    assert.deepEqual((await pointNamed(await takePoint())).notHeld, []);
});

test("points taken in a move, a split and a join, after DDL and of a new tenant are restorable, and do restore", {
    timeout: 1_800_000,
}, async () => {
    const names: Record<string, string> = {};
    const shard = async () => {
        const [row] = await stack.sql<{ id: string; node: string; name: string }>(
            `SELECT s.shardid::text AS id, n.nodename AS node, shard_name(s.logicalrelid, s.shardid) AS name
               FROM pg_dist_shard s JOIN pg_dist_placement p USING (shardid) JOIN pg_dist_node n USING (groupid)
              WHERE s.shardid = get_shard_id_for_distribution_column('orders', 7)`,
        );
        assert.ok(row);
        return row;
    };
    const subscriptions = async (node: string, like: string) => {
        const session = await stack.session(node);
        const [row] = await session.query<{ n: number }>(
            "SELECT count(*)::int AS n FROM pg_subscription WHERE subname LIKE $1",
            [like],
        );
        return row?.n ?? 0;
    };
    /** Runs a move or a split that has to wait at its end for a writer, and takes a point meanwhile. */
    const during = async (what: string, statement: string, target: string, like: string) => {
        const [mover, writer] = [await other(), await other()];
        try {
            const moved = mover.query(statement).then(
                () => undefined,
                (error: Error) => error,
            );
            // it is there for seconds: looked for without a pause
            for (const end = Date.now() + 60_000; (await subscriptions(target, like)) === 0; )
                assert.ok(Date.now() < end, `${what}: no subscription within 60 s`);
            await writer.query("BEGIN");
            // an INSERT: an UPDATE in a split's first moment never reaches the new shards, and Citus waits for it for ever
            await writer.query("INSERT INTO lines (tenant) VALUES (7)");
            names[what] = await takePoint();
            const still = await subscriptions(target, like);
            await writer.query("COMMIT");
            assert.equal(await moved, undefined);
            assert.ok(still > 0, `the ${what} was over before the point`);
        } finally {
            for (const session of [mover, writer]) await session.close().catch(() => undefined);
        }
    };
    const from = await shard();
    const [to] = (
        await stack.sql<{ node: string }>(
            "SELECT nodename AS node FROM pg_dist_node WHERE groupid > 0 AND nodename <> $1",
            [from.node],
        )
    ).map(({ node }) => node);
    assert.ok(to);
    await during(
        "move",
        `SELECT citus_move_shard_placement(${from.id}, '${from.node}', 5432, '${to}', 5432, 'force_logical')`,
        to.split(".")[0] ?? "",
        "citus_shard_move_subscription_%",
    );
    await during(
        "split",
        "SELECT isolate_tenant_to_new_shard('orders', 7, 'CASCADE', 'force_logical')",
        to.split(".")[0] ?? "",
        "citus_shard_split_subscription_%",
    );
    await stack.sql("CREATE TABLE added (id int PRIMARY KEY)");
    await stack.sql("SELECT create_reference_table('added')");
    await stack.sql("ALTER TABLE orders ADD COLUMN more int");
    names.ddl = await takePoint();
    await stack.sql("CREATE SCHEMA tenant");
    await stack.sql("CREATE TABLE tenant.items (id int PRIMARY KEY)");
    await stack.sql("INSERT INTO tenant.items SELECT generate_series(1, 9)");
    await stack.sql("SELECT citus_schema_distribute('tenant')");
    names.tenant = await takePoint();
    let joining = true;
    const joined = stack.up({ workers: 3 }).finally(() => {
        joining = false;
    });
    while (joining) {
        const taken = await stack.script("coordinator", "restore-point.sh");
        if (joining && taken.code === 0) names.join = taken.stdout.trim();
    }
    await joined;
    assert.ok(names.join, "no point while a worker joined");
    names.joined = await takePoint();
    for (const [what, name] of Object.entries(names)) {
        const point = await pointNamed(name);
        assert.ok(point.restorable, `${what}: ${point.missing.join()}`);
    }
    const copy = await TestStack.make(
        {
            workers: 2,
            shardCount: 4,
            backup: "false",
            restoreFrom: { stack: stack.name, point: names.move, overwrite: true },
        },
        undefined,
        stack,
    );
    try {
        for (const [what, name] of Object.entries(names)) {
            const workers = (await pointNamed(name)).nodes.length - 1;
            const up = await copy.up({ workers, restoreFrom: { stack: stack.name, point: name, overwrite: true } });
            assert.match(up.output, new RegExp(`to ${name}`), what);
            const [rows] = await copy.sql<{ n: number; seven: number }>(
                "SELECT count(*)::int AS n, count(*) FILTER (WHERE tenant = 7)::int AS seven FROM orders",
            );
            assert.deepEqual(rows, { n: ROWS, seven: ROWS / 50 }, what);
            if (["tenant", "join", "joined"].includes(what))
                assert.deepEqual(await copy.sql("SELECT count(*)::int AS n FROM tenant.items"), [{ n: 9 }], what);
            for (const node of ["worker-1", "worker-2", "worker-3"].slice(0, workers)) {
                const session = await copy.session(node);
                const left = await session.query("SELECT subname FROM pg_subscription WHERE subname LIKE 'citus_%'");
                assert.deepEqual(left, [], `${what}, ${node}`);
            }
        }
    } finally {
        await copy.destroy();
    }
});

test(`${BIG.nodes} nodes, ${BIG.tables} tables and ${BIG.days} days of points are listed at once, here and through SSM`, {
    timeout: 900_000,
}, async () => {
    const container = stack.container("coordinator");
    const { stdout: version } = await stack.onNode("coordinator", "pgbackrest", "version");
    const { tar, segments } = await bigRepository(version.trim().split(" ").at(-1) ?? "");
    docker(["exec", container, "mkdir", "-p", "/tmp/big"]);
    const feed = async (command: string, input: Buffer | string) => {
        const ran = await execute(dockerEngine(), container, ["bash", "-c", command], input);
        assert.equal(ran.code, 0, ran.stderr);
        return ran.stdout;
    };
    await feed("tar -xf - -C /tmp/big --no-same-owner", tar);
    await feed("cd /tmp/big && bash -s", segments);
    const options = { type: "posix", path: "/tmp/big" };
    const conf = await packFiles({ "pgbackrest.conf": renderRepositoryConf({ options }) });
    /** The processor's time counts: how long it takes by the clock is also what else the machine does. */
    const ask = async (words: string) => {
        const output = await feed(
            `TIMEFORMAT='CPU %U %S'; { time /usr/local/lib/citus-node/repository.sh ${words} > /tmp/answer; } 2>&1; cat /tmp/answer`,
            conf,
        );
        const [, user, system] = /^CPU ([0-9.]+) ([0-9.]+)$/m.exec(output) ?? [];
        const text = output.replace(/^CPU .*\n/m, "");
        // as remote.sh packs and pages it: the first page with the answer, then larger ones, then the end
        const packed = gzipSync(text, { level: 9 }).length;
        const commands = 1 + Math.ceil(Math.max(0, packed - 8192) / 16_384) + (packed > 8192 ? 1 : 0);
        console.log(
            `# ${words}: ${user} + ${system} s of processor, ${text.length} bytes, ${commands} commands of SSM`,
        );
        return { contents: parseContents(text), cpu: Number(user) + Number(system), commands };
    };
    const names = pointNames();
    const listing = await ask(`points ${BIG.cluster} 20 newest`);
    assert.deepEqual(
        listing.contents.points.map(({ name }) => name),
        names.slice(-20),
    );
    assert.equal(listing.contents.listed?.[BIG.cluster]?.count, BIG.days * BIG.pointsADay);
    for (const point of listing.contents.points) {
        assert.equal(point.nodes.length, BIG.nodes);
        assert.deepEqual(whyNotRestorable(point, listing.contents), []);
    }
    const latest = await ask(`points ${BIG.cluster} 4 newest`);
    const chosen = await ask(`point ${BIG.cluster} ${names.at(-1)} bare`);
    const timelines = await ask("timelines");
    assert.equal(chosen.contents.points[0]?.tables.length, BIG.tables);
    assert.equal(Object.keys(timelines.contents.segments).length, BIG.nodes);
    // one second of the clock is more than one of the processor: several processes work at once
    assert.ok(listing.cpu < 3.5, `${listing.cpu} s`);
    assert.ok(listing.commands * 0.8 < 30, `${listing.commands} commands`);
    const restore = latest.commands + chosen.commands + timelines.commands;
    assert.ok(restore * 0.8 < 30, `${restore} commands`);
    // one segment less is seen
    const gone = listing.contents.points[0]?.nodes[7];
    assert.ok(gone);
    await run(
        "docker",
        [
            "exec",
            container,
            "bash",
            "-c",
            `rm /tmp/big/archive/${gone.stanza}/17-1/${gone.lastSegment.slice(0, 16)}/${gone.lastSegment}-*`,
        ],
        {
            cwd: stack.dir,
        },
    );
    const { contents } = await ask(`points ${BIG.cluster} 20 newest`);
    assert.ok(
        contents.points.every((point) =>
            whyNotRestorable(point, contents).some(
                (why) => why.includes(`${gone.node}: WAL is missing`) && why.includes(gone.lastSegment),
            ),
        ),
    );
});
