/** Planned restarts under clients that never stop: what waits, what fails, and for how long. */
import assert from "node:assert/strict";
import { setTimeout as pause } from "node:timers/promises";
import pg from "pg";
import { afterAll, beforeAll, describe, it } from "vitest";
import { runScript } from "../../core/reach/run.ts";
import { renderPool } from "../../core/tenants/map/poolConf.ts";
import { docker, requireEngine, TestStack, until } from "../lib.ts";

const PASSWORD = "only tests know it";
const ROWS = 400;

interface Seen {
    done: number;
    readonly errors: string[];
    /** The longest statement in milliseconds, with what is tried again. */
    longest: number;
}

type Kind = "write" | "read";
const SQL: Readonly<Record<Kind, string>> = {
    write: "UPDATE counters SET n = n + 1 WHERE id = $1",
    read: "SELECT n FROM counters WHERE id = $1",
};

/** Clients that never stop; a client that lost its connection makes another one. */
class Clients {
    private running = true;
    private readonly loops: Promise<void>[] = [];
    readonly seen: Record<string, Seen> = {};

    start(name: string, kind: Kind, options: pg.ClientConfig): void {
        const seen: Seen = { done: 0, errors: [], longest: 0 };
        this.seen[name] = seen;
        this.loops.push(this.loop(seen, kind, options));
    }

    async stop(): Promise<void> {
        this.running = false;
        await Promise.all(this.loops);
    }

    private async loop(seen: Seen, kind: Kind, options: pg.ClientConfig): Promise<void> {
        let client: pg.Client | undefined;
        let lost = false;
        while (this.running) {
            const began = Date.now();
            try {
                if (client === undefined || lost) {
                    client = new pg.Client(options);
                    lost = false;
                    client.on("error", () => {
                        lost = true;
                    });
                    await client.connect();
                }
                await client.query(SQL[kind], [1 + Math.floor(Math.random() * ROWS)]);
                seen.done++;
            } catch (error) {
                seen.errors.push((error as Error).message.split("\n")[0] ?? "");
                lost = true;
                await client?.end().catch(() => undefined);
                await pause(20);
            }
            seen.longest = Math.max(seen.longest, Date.now() - began);
        }
        await client?.end().catch(() => undefined);
    }
}

describe("planned restarts", () => {
    let stack: TestStack;
    let direct: pg.ClientConfig;
    let pooled: pg.ClientConfig;

    beforeAll(async () => {
        requireEngine();
        stack = await TestStack.make({ workers: 2, shardCount: 8, backup: false });
        await stack.up();
        for (const statement of [
            "CREATE TABLE counters (id int PRIMARY KEY, n bigint NOT NULL DEFAULT 0)",
            "SELECT create_distributed_table('counters', 'id')",
            `INSERT INTO counters (id) SELECT i FROM generate_series(1, ${ROWS}) i`,
            `CREATE ROLE app LOGIN PASSWORD '${PASSWORD}'`,
            "GRANT SELECT, UPDATE ON counters TO app",
        ])
            await stack.sql(statement);
        const shell = { kind: "docker", engine: "", container: stack.container("coordinator") } as const;
        const conf = renderPool({ groups: ["app"], clients: 100, limits: {} });
        const on = await runScript(shell, ["pool.sh", "on"], { files: { "pgbouncer.ini": conf } });
        assert.equal(on.code, 0, on.stderr);
        const access = await stack.access();
        const ssl = { ca: access.ca, servername: access.serverName };
        direct = { ...access, user: "app", password: PASSWORD, ssl };
        const port = docker(["port", stack.container("coordinator"), "6432/tcp"])
            .trim()
            .split(":")
            .at(-1);
        pooled = { ...direct, host: "127.0.0.1", port: Number(port) };
    });

    afterAll(() => stack?.destroy());

    const started = async (node: string) =>
        (await (await stack.session(node)).query<{ at: string }>("SELECT pg_postmaster_start_time()::text AS at"))[0]
            ?.at;
    const sum = async () => Number((await stack.sql<{ n: string }>("SELECT sum(n) AS n FROM counters"))[0]?.n);

    /** Runs work under clients that go through the pool and beside it. @returns what each saw */
    async function under(work: () => Promise<unknown>): Promise<Record<string, Seen>> {
        const before = await sum();
        const clients = new Clients();
        for (const kind of ["write", "read"] as const) {
            for (const n of [1, 2]) clients.start(`pool ${kind} ${n}`, kind, pooled);
            for (const n of [1, 2]) clients.start(`direct ${kind} ${n}`, kind, direct);
        }
        try {
            await pause(2000);
            await work();
            await pause(2000);
        } finally {
            await clients.stop();
        }
        const { seen } = clients;
        for (const [name, { done, errors, longest }] of Object.entries(seen))
            console.log(
                `${name}: ${done} statements, ${errors.length} errors, longest ${longest} ms ${errors[0] ?? ""}`,
            );
        const writes = Object.entries(seen)
            .filter(([name]) => name.includes("write"))
            .reduce((all, [, { done }]) => all + done, 0);
        const failed = Object.values(seen).reduce((all, { errors }) => all + errors.length, 0);
        const counted = (await sum()) - before;
        // what failed may have been done
        assert.ok(counted >= writes && counted <= writes + failed, `${counted} of ${writes} writes`);
        return seen;
    }

    const errorsOf = (seen: Record<string, Seen>, part: string) =>
        Object.entries(seen).flatMap(([name, { errors }]) => (name.includes(part) ? errors : []));

    it("a setting that restarts the workers makes their writes wait, and nothing of the pool fails", async () => {
        const before = [await started("worker-1"), await started("worker-2")];
        const containers = docker(["inspect", "-f", "{{.State.StartedAt}}", stack.container("worker-1")]);
        const seen = await under(() => stack.up({ settings: { workers: { wal_buffers: "6MB" } } }));
        const after = [await started("worker-1"), await started("worker-2")];
        assert.ok(before[0] !== after[0] && before[1] !== after[1]);
        assert.equal(docker(["inspect", "-f", "{{.State.StartedAt}}", stack.container("worker-1")]), containers);
        assert.deepEqual(errorsOf(seen, "pool"), []);
        assert.deepEqual(errorsOf(seen, "direct write"), []);
    });

    it("a setting that restarts the coordinator makes the clients of its pool wait", async () => {
        const before = await started("coordinator");
        const seen = await under(() => stack.up({ settings: { coordinator: { wal_buffers: "6MB" } } }));
        assert.notEqual(await started("coordinator"), before);
        assert.deepEqual(errorsOf(seen, "pool"), []);
    });

    it("a transaction that keeps a shard of the node is ended after ten seconds, and its client is told", async () => {
        const long = new pg.Client(direct);
        long.on("error", () => undefined);
        await long.connect();
        await long.query("BEGIN");
        await long.query("UPDATE counters SET n = n WHERE id = 1");
        const { node } = (
            await stack.sql<{ node: string }>(
                "SELECT split_part(nodename, '.', 1) AS node FROM citus_shards WHERE shardid = get_shard_id_for_distribution_column('counters', 1)",
            )
        )[0] ?? { node: "" };
        const before = await started(node);
        await stack.up({ settings: { workers: { wal_buffers: "7MB" } } });
        assert.notEqual(await started(node), before);
        await assert.rejects(long.query("COMMIT"), /terminat|connection|could not/i);
    });

    it("a pause that nobody ends is over by itself, and clients go on", async () => {
        const paused = await stack.onNode("coordinator", "/usr/local/lib/citus-node/pool.sh", "pause", "3");
        assert.equal(paused.stdout.trim(), "pool=paused");
        const client = new pg.Client(pooled);
        client.on("error", () => undefined);
        const began = Date.now();
        await client.connect();
        await client.query(SQL.read, [1]);
        assert.ok(Date.now() - began > 1000);
        await client.end();
    });

    it("a server that ends while it is stopped for good stays stopped, and one that crashes comes back", async () => {
        const container = stack.container("worker-1");
        docker(["stop", "-t", "60", container]);
        assert.match(docker(["inspect", "-f", "{{.State.Status}} {{.State.ExitCode}}", container]), /^exited 0/);
        docker(["start", container]);
        await until(
            "serving",
            60,
            async () => (await stack.onNode("worker-1", "/usr/local/lib/citus-node/health.sh")).code === 0,
        );
        await stack.onNode("worker-1", "bash", "-c", "kill -9 $(head -n 1 /var/lib/citus/pgdata/postmaster.pid)");
        await until(
            "serving again",
            90,
            async () =>
                (await stack.onNode("worker-1", "/usr/local/lib/citus-node/health.sh").catch(() => ({ code: 1 })))
                    .code === 0,
        );
        const status = JSON.parse((await stack.npm("status", "--json")).stdout) as { healthy: boolean };
        assert.equal(status.healthy, true);
    });
});
