/** Waits that say who is waited for, and timeouts that stop no move: on a real cluster, with real locks. */
import assert from "node:assert/strict";
import pg from "pg";
import { afterAll, beforeAll, describe, it } from "vitest";
import { readBlockers, readNodes } from "../../core/citus/catalog.ts";
import { readHealth } from "../../core/citus/health/health.ts";
import { dropKept, exempt, readBound, readLimits } from "../../core/citus/limits.ts";
import { type PlaceOptions, rebalanceTo } from "../../core/citus/rebalance/rebalanceTo.ts";
import { nodeOf } from "../../core/node/topology.ts";
import { NO_LIMITS } from "../../core/reach/ownSession.ts";
import { connect, type Session } from "../../core/reach/session.ts";
import { pause } from "../../core/util/pause.ts";
import { collect, requireEngine, TestStack, until } from "../lib.ts";

let stack: TestStack;
const NODES = ["coordinator", "worker-1", "worker-2"];

beforeAll(async () => {
    requireEngine();
    stack = await TestStack.make({ workers: 2, backup: false });
    await stack.up();
    await stack.sql("SET citus.shard_count = 4");
    await stack.sql("CREATE TABLE cust (id int PRIMARY KEY, plan text)");
    await stack.sql("SELECT create_distributed_table('cust', 'id')");
    await stack.sql("INSERT INTO cust SELECT i, 'plan ' || i FROM generate_series(1, 2000) i");
    await stack.sql("CREATE TABLE plans (id int PRIMARY KEY)");
    await stack.sql("SELECT create_reference_table('plans')");
    await stack.sql("CREATE TABLE notes (id int PRIMARY KEY, plan int REFERENCES plans (id))");
});

afterAll(() => stack?.destroy());

/** A connection of a client that opens a transaction and goes to sleep in it. */
async function client(node: string, application: string, ...statements: string[]) {
    const access = await stack.access(node);
    const session = new pg.Client({
        host: access.host,
        port: access.port,
        user: access.user,
        password: access.password,
        database: access.database,
        ssl: { ca: access.ca, servername: access.serverName },
        application_name: application,
    });
    session.on("error", () => undefined);
    await session.connect();
    for (const statement of ["BEGIN", ...statements]) await session.query(statement);
    return session;
}

const hostOf = (name: string) => `${name}.citus-${stack.name}.node`;

/** Places shards on these workers, as `up` does; what its progress says goes into `said` with its second. */
async function placeOn(workers: string[], said: { text: string; at: number }[], more: Partial<PlaceOptions> = {}) {
    const began = Date.now();
    const open = async (host: string) => connect(await stack.access(nodeOf(host)), nodeOf(host));
    const opened: Session[] = [];
    const kept = async (host: string) => {
        const session = await open(host);
        opened.push(session);
        return session;
    };
    const session = await kept("coordinator");
    const target = (name: string) => ({ name, host: hostOf(name), port: 5432 });
    try {
        return await rebalanceTo(
            session,
            {
                workers: workers.filter((name) => name !== "coordinator").map(target),
                coordinatorShards: workers.includes("coordinator"),
                rebalance: true,
                strategy: "by_shard_count",
                transferMode: "auto",
            },
            {
                open: kept,
                openFresh: open,
                openDatabase: async (host, database) =>
                    connect({ ...(await stack.access(nodeOf(host))), database }, nodeOf(host)),
                removedElsewhere: NODES.map(target),
                probe: async () => true,
                progress: (text) => said.push({ text, at: (Date.now() - began) / 1000 }),
                alive: () => undefined,
                ...more,
            },
        );
    } finally {
        for (const one of opened) await one.close();
    }
}

/** Waits until the progress names somebody, and says after how many seconds of a running move it did. */
async function named(said: readonly { text: string; at: number }[], who: RegExp): Promise<number> {
    const begun = () => said.find(({ text }) => /now: |old cop/.test(text));
    await until(`${who} is named`, 60, async () => said.some(({ text }) => who.test(text)));
    return (said.find(({ text }) => who.test(text))?.at ?? 0) - (begun()?.at ?? 0);
}

describe("who holds a move is named within 15 s of it", () => {
    it("an idle transaction, in the progress and in status; the move goes on when it is ended as told", async () => {
        const job = await client("coordinator", "job-runner", "UPDATE cust SET plan = plan");
        const said: { text: string; at: number }[] = [];
        const placing = placeOn(["worker-1"], said);
        placing.catch(() => undefined);
        const seconds = await named(
            said,
            /a move waits for pid \d+ on coordinator \(role postgres, application job-runner, idle in transaction since .*holds RowExclusiveLock on cust\)/,
        );
        assert.ok(seconds < 15, `${seconds} s`);
        const health = await readHealth(await stack.session(), {
            open: async (name) => connect(await stack.access(name), name),
            expected: ["worker-1", "worker-2"],
        });
        assert.match(
            health.rebalance ?? "",
            /a move waits for pid \d+ on coordinator \(role postgres, application job-runner/,
        );
        const statement = /To end it, on coordinator: (SELECT pg_terminate_backend\(\d+\);)/.exec(
            health.rebalance ?? "",
        )?.[1];
        assert.deepEqual(await stack.sql(statement ?? ""), [{ pg_terminate_backend: true }]);
        assert.equal((await placing).moved, 2);
        await job.end().catch(() => undefined);
    });

    it("an idle lock on the table", async () => {
        const locker = await client("coordinator", "locker", "LOCK TABLE cust IN SHARE ROW EXCLUSIVE MODE");
        const said: { text: string; at: number }[] = [];
        const placing = placeOn(["worker-1", "worker-2"], said);
        placing.catch(() => undefined);
        assert.ok((await named(said, /application locker.*holds ShareRowExclusiveLock on cust/)) < 15);
        await locker.query("ROLLBACK");
        await locker.end();
        assert.equal((await placing).moved, 2);
    });

    it("a prepared transaction, with the statement that ends it on its node", async () => {
        await placeOn(["worker-1"], []);
        // on a node that stays: a leaving one with such a transaction is refused before anything moves
        const worker = await stack.session("worker-1");
        await worker.query("BEGIN");
        await worker.query("SELECT pg_current_xact_id()");
        await worker.query("PREPARE TRANSACTION 'somebody''s 7'");
        const said: { text: string; at: number }[] = [];
        const placing = placeOn(["worker-1", "worker-2"], said);
        placing.catch(() => undefined);
        assert.ok((await named(said, /prepared transaction 'somebody''s 7' on worker-1/)) < 15);
        const text = said.map((one) => one.text).find((one) => /ROLLBACK PREPARED/.test(one));
        await worker.query(/on worker-1: (ROLLBACK PREPARED '[^;]*');/.exec(text ?? "")?.[1] ?? "");
        assert.equal((await placing).moved, 2);
        await placeOn(["worker-1"], []);
    });

    it("a long read of old copies that have to be dropped", async () => {
        // begun while the shards were on worker-1, so it reads what is left there
        const reader = await client("coordinator", "reporter", "SELECT count(*) FROM cust");
        const said: { text: string; at: number }[] = [];
        const placing = placeOn(["worker-2"], said);
        placing.catch(() => undefined);
        assert.ok((await named(said, /in use by pid \d+ on coordinator \(role postgres, application reporter/)) < 60);
        await reader.query("ROLLBACK");
        await reader.end();
        await placing;
    });

    it("and in the error when silence ends the run, also while others write WAL", async () => {
        const job = await client("coordinator", "job-runner", "UPDATE cust SET plan = plan");
        let writing = true;
        const noise = (async () => {
            const worker = await connect(await stack.access("worker-2"), "worker-2");
            while (writing) {
                await worker.query("SELECT pg_current_xact_id(), pg_logical_emit_message(true, 'noise', 'x')");
                await pause(200);
            }
            await worker.close();
        })();
        await assert.rejects(placeOn(["worker-1"], [], { stuckAfter: 15_000 }), (error: Error) => {
            assert.match(error.message, /^nothing happened for 1[5-9]|2\d s:/);
            assert.match(
                error.message,
                /a move waits for pid \d+ on coordinator \(role postgres, application job-runner/,
            );
            assert.match(error.message, /worker-2 takes shards again/);
            return true;
        });
        writing = false;
        await noise;
        await job.query("ROLLBACK");
        await job.end();
        await placeOn(["worker-1", "worker-2"], []);
    });
});

describe("what clients are bound by stops no move", () => {
    const LEVELS: Record<string, (setting: string, value: string) => string> = {
        database: (s, v) => `ALTER DATABASE app ${v === "" ? `RESET ${s}` : `SET ${s} = ${v}`}`,
        role: (s, v) => `ALTER ROLE postgres ${v === "" ? `RESET ${s}` : `SET ${s} = ${v}`}`,
        "role in database": (s, v) =>
            `ALTER ROLE postgres IN DATABASE app ${v === "" ? `RESET ${s}` : `SET ${s} = ${v}`}`,
        configuration: (s, v) => `ALTER SYSTEM ${v === "" ? `RESET ${s}` : `SET ${s} = ${v}`}`,
    };
    const onEach = async (level: string, bound: boolean) => {
        for (const node of NODES) {
            const session = await connect(await stack.access(node), node);
            await session.query("SET citus.enable_ddl_propagation = off");
            await session.query("SET citus.enable_alter_role_set_propagation = off");
            for (const setting of Object.keys(NO_LIMITS)) {
                // less than a move takes, and enough for a login
                const value = setting === "default_transaction_read_only" ? "on" : "'300ms'";
                await session.query(LEVELS[level]?.(setting, bound ? value : "") ?? "");
            }
            if (level === "configuration") await session.query("SELECT pg_reload_conf()");
            await session.close();
        }
    };
    const exemptAll = async () => {
        for (const node of NODES) await exempt(await stack.session(node));
        await dropKept(await stack.session());
    };

    for (const level of Object.keys(LEVELS)) {
        it(`all six, set by ${level}`, async () => {
            await onEach(level, true);
            try {
                if (level === "role in database")
                    assert.deepEqual((await readBound(await stack.session())).sort(), NODES);
                await exemptAll();
                assert.deepEqual(await readBound(await stack.session()), []);
                // tables of the superuser's own: nobody else's limits are met
                assert.equal((await placeOn(["worker-1"], [])).moved, 2);
                assert.equal((await placeOn(["worker-1", "worker-2"], [])).moved, 2);
            } finally {
                await onEach(level, false);
                await exemptAll();
            }
        });
    }

    it("applications keep theirs, and a table's owner who may only read is named before anything moves", async () => {
        await stack.sql("CREATE ROLE shop LOGIN PASSWORD 'shop'");
        await stack.sql("ALTER ROLE shop SET transaction_timeout = '7s'");
        await stack.sql("ALTER ROLE shop SET default_transaction_read_only = on");
        await stack.sql("ALTER TABLE cust OWNER TO shop");
        const access = await stack.access();
        const app = new pg.Client({
            ...{ host: access.host, port: access.port, database: access.database, user: "shop", password: "shop" },
            ssl: { ca: access.ca, servername: access.serverName },
        });
        await app.connect();
        assert.deepEqual((await app.query("SHOW transaction_timeout")).rows, [{ transaction_timeout: "7s" }]);
        await app.end();
        const limits = await readLimits(await stack.session());
        assert.deepEqual(
            limits
                .filter(({ node }) => node === "worker-1")
                .map(({ setting, value, level }) => `${setting} ${value} ${level}`),
            ["default_transaction_read_only on role", "transaction_timeout 7s role"],
        );
        await assert.rejects(placeOn(["worker-1"], []), (error: Error) => {
            assert.match(error.message, /^Shards can't be moved, because owners of their tables may only read/);
            assert.match(
                error.message,
                /role shop: default_transaction_read_only = on, set for the role, on coordinator, [^\n]*\n +ALTER ROLE "shop" RESET default_transaction_read_only;/,
            );
            return true;
        });
        await stack.sql("ALTER TABLE cust OWNER TO postgres");
        assert.deepEqual(await readLimits(await stack.session()), []);
    });
});

describe("what keeps shards where they are", () => {
    it("a local table that Citus manages never keeps shards on the coordinator", async () => {
        const [local] = await stack.sql("SELECT 1 FROM pg_dist_partition WHERE logicalrelid = 'notes'::regclass");
        assert.ok(local, "Citus manages it, for its foreign key");
        await placeOn(["coordinator"], []);
        const placed = await placeOn(["worker-1", "worker-2"], []);
        assert.equal(placed.moved, 4);
        const coordinator = (await readNodes(await stack.session())).find(({ groupId }) => groupId === 0);
        assert.equal(coordinator?.holdsShards, false);
    });

    it("a DEFERRABLE primary key is seen before anything moves, and its fix lifts it", async () => {
        await stack.sql("CREATE TABLE late (id int, CONSTRAINT late_key PRIMARY KEY (id) DEFERRABLE)");
        await stack.sql("SELECT create_distributed_table('late', 'id', colocate_with => 'cust')");
        const [blocker] = await readBlockers(await stack.session());
        assert.equal(blocker?.table, "late");
        assert.equal(blocker?.reason, "a DEFERRABLE primary key is no replica identity");
        await assert.rejects(placeOn(["worker-1"], []), /1 table stands in the way of moving shards:\n +late /);
        for (const statement of blocker?.fix.split("; ") ?? []) await stack.sql(statement);
        assert.deepEqual(await readBlockers(await stack.session()), []);
    });

    it("moves that nobody asked for and that are blocked are a warning; all else is applied", async () => {
        await stack.sql("CREATE TABLE keyless (id int)");
        await stack.sql("SELECT create_distributed_table('keyless', 'id', colocate_with => 'cust')");
        const shards = await stack.sql<{ shard: string; source: string }>(
            `SELECT s.shardid::text AS shard, n.nodename AS source FROM pg_dist_shard s JOIN pg_dist_placement p USING (shardid) JOIN pg_dist_node n USING (groupid)
              WHERE s.logicalrelid = 'cust'::regclass AND n.nodename <> $1`,
            [hostOf("worker-1")],
        );
        for (const { shard, source } of shards)
            await stack.sql("SELECT citus_move_shard_placement($1, $2, 5432, $3, 5432, 'block_writes')", [
                shard,
                source,
                hostOf("worker-1"),
            ]);
        const preview = await stack.pulumi(["preview", "--expect-no-changes"]);
        assert.equal(preview.code, 0, preview.output);
        assert.match(preview.output, /Shards would move, because data has grown unevenly, and they can't/);
        assert.match(preview.output, /keyless {2}no primary key or replica identity/);
        await stack.up({ settings: { all: { log_min_duration_statement: "5s" } } });
        const [setting] = await stack.sql("SHOW log_min_duration_statement");
        assert.deepEqual(setting, { log_min_duration_statement: "5s" });
        await stack.config({ workers: 3 });
        const asked = await stack.pulumi(["preview"]);
        assert.notEqual(asked.code, 0, asked.output);
        assert.match(asked.output, /1 table stands in the way of moving shards/);
        await stack.config({ workers: 2 });
    });
});

it("up joins a worker under a client's timeouts, and names who holds its moves", async () => {
    await stack.sql("DROP TABLE keyless");
    await stack.sql("INSERT INTO plans SELECT generate_series(1, 300000)");
    await stack.sql("ALTER DATABASE app SET statement_timeout = '100ms'");
    const job = await client("coordinator", "job-runner", "SET statement_timeout = 0", "UPDATE cust SET plan = plan");
    await stack.config({ workers: 3 });
    await stack.closeSessions();
    const child = stack.start(["up", "--yes", "--skip-preview"]);
    let output = "";
    child.stdout?.on("data", (chunk) => {
        output += chunk;
    });
    const ended = collect(child);
    await until("up names who holds its moves", 180, async () =>
        /waits for pid \d+ on coordinator \(role postgres, application job-runner/.test(output),
    );
    await job.query("ROLLBACK");
    await job.end();
    const ran = await ended;
    assert.equal(ran.code, 0, ran.output);
    await stack.sql("ALTER DATABASE app RESET statement_timeout");
});
