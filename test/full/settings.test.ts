/** Configurations that would stop a server, that are in nobody's configuration, and what grows on a node, on one small cluster. */
import assert from "node:assert/strict";
import { afterAll, beforeAll, test } from "vitest";
import { docker, type Ran, requireEngine, TestStack, until } from "../lib.ts";

let stack: TestStack;

beforeAll(async () => {
    requireEngine();
    stack = await TestStack.make({ workers: 1, shardCount: 4 });
    await stack.up();
});

afterAll(() => stack?.destroy());

interface Status {
    readonly healthy: boolean | null;
    readonly problems?: readonly string[];
    readonly notes?: readonly string[];
    readonly error?: string;
    readonly nodes?: readonly {
        readonly name: string;
        readonly disk?: { readonly size: number; readonly free: number };
    }[];
}

const WORKER = "worker-1";
const CONF = "/var/lib/citus/conf";

const status = async () => JSON.parse((await stack.npm("status", "--json")).stdout) as Status;
const healthy = () => until("healthy", 90, async () => (await status()).healthy === true);
const times = (text: string, part: string) => text.split(part).length - 1;
const diagnosticsOf = ({ output }: Ran) => output.slice(output.indexOf("Diagnostics:"));

/** On a node, as postgres. */
async function shell(command: string): Promise<string> {
    const ran = await stack.onNode(WORKER, "bash", "-c", command);
    assert.equal(ran.code, 0, ran.stderr);
    return ran.stdout.trim();
}

/** SQL on a node, whatever its password is. */
const local = async (node: string, ...statements: string[]): Promise<string> => {
    const ran = await stack.onNode(
        node,
        "psql",
        "-d",
        "app",
        "-XAtq",
        "-v",
        "ON_ERROR_STOP=1",
        ...statements.flatMap((sql) => ["-c", sql]),
    );
    assert.equal(ran.code, 0, ran.stderr);
    return ran.stdout.trim();
};

const startedAt = (node: string) => local(node, "SELECT pg_postmaster_start_time()");

/** What a preview changes, by operation and name, and what it says. */
async function preview(): Promise<{ readonly steps: readonly string[]; readonly said: string }> {
    const ran = await stack.pulumi(["preview", "--json"]);
    const { steps, diagnostics = [] } = JSON.parse(ran.stdout) as {
        steps: { op: string; urn: string }[];
        diagnostics?: { message: string }[];
    };
    return {
        steps: steps
            .filter(({ op, urn }) => op !== "same" && !urn.includes("$pulumi:providers:"))
            .map(({ op, urn }) => `${op} ${urn.split("::").slice(-2).join(" ")}`),
        said: diagnostics.map(({ message }) => message).join("\n"),
    };
}

test("what would stop a server is refused in preview and by up, all of it at once, and no node is touched", async () => {
    const before = await Promise.all(["coordinator", WORKER].map(startedAt));
    const placed = await shell(`readlink ${CONF}/current`);
    await stack.config({
        settings: {
            all: { session_preload_libraries: "nosuch", superuser_reserved_connections: "500" },
            workers: {
                shared_preload_libraries: "pg_cron",
                huge_pages: "on",
                unix_socket_group: "nosuch",
                ssl_ciphers: "nosuch",
                shared_buffers: "64GB",
            },
            coordinator: { "citus.max_adaptive_executor_pool_size": "0" },
        },
    });
    const parts = [
        "citus:settings.all.session_preload_libraries",
        "citus:settings.all.superuser_reserved_connections",
        "citus:settings.workers.shared_preload_libraries",
        "citus:settings.workers.shared_buffers",
        "citus:settings.workers.unix_socket_group",
        "citus:settings.workers.ssl_ciphers",
        "citus:settings.coordinator.citus.max_adaptive_executor_pool_size",
    ];
    for (const ran of [await stack.pulumi(["preview"]), await stack.tryUp()]) {
        assert.notEqual(ran.code, 0, ran.output);
        for (const part of parts) assert.equal(times(diagnosticsOf(ran), `${part} got `), 1, `${part}\n${ran.output}`);
        assert.match(ran.output, /could not access file "pg_cron": No such file or directory/);
    }
    assert.deepEqual(await Promise.all(["coordinator", WORKER].map(startedAt)), before);
    assert.equal(await shell(`readlink ${CONF}/current`), placed);
    await stack.up({ settings: undefined });
});

test("a node that starts again and again is healed by one up with a configuration that is right", async () => {
    // as a library that goes away under an accepted configuration
    await shell(
        `sed -i "s/^shared_preload_libraries = .*/shared_preload_libraries = 'citus,nosuch'/" ${CONF}/current/postgresql.conf`,
    );
    await stack.closeSessions();
    docker(["restart", "-t", "60", stack.container(WORKER)]);
    await until(
        "looping",
        60,
        async () => Number(docker(["inspect", stack.container(WORKER), "--format", "{{.RestartCount}}"])) >= 3,
    );
    await stack.up({ settings: { all: { work_mem: "9MB" } } });
    assert.equal(await local(WORKER, "SHOW work_mem"), "9MB");
    await healthy();
});

test("a configuration that no session survives is replaced by one up", async () => {
    await shell(
        `echo "session_preload_libraries = 'nosuch'" >> ${CONF}/current/postgresql.conf; kill -HUP $(head -n 1 /var/lib/citus/pgdata/postmaster.pid)`,
    );
    await until(
        "locked out",
        20,
        async () => (await stack.onNode(WORKER, "psql", "-d", "app", "-c", "SELECT 1")).code !== 0,
    );
    await stack.up({ settings: { all: { work_mem: "10MB" } } });
    assert.equal(await local(WORKER, "SHOW work_mem"), "10MB");
    await healthy();
});

test("a new configuration that the server does not start with gives way to the former one, and status says so", async () => {
    await shell(
        `cd ${CONF} && cp -r $(readlink current) bad && sed -i "s/^work_mem = .*/work_mem = '11MB'/; s/^superuser_reserved_connections = .*/superuser_reserved_connections = '500'/" bad/postgresql.conf && ln -sfn bad current`,
    );
    await stack.closeSessions();
    docker(["restart", "-t", "60", stack.container(WORKER)]);
    await until("answers", 60, async () => (await local(WORKER, "SHOW work_mem")) === "10MB");
    assert.equal(Number(docker(["inspect", stack.container(WORKER), "--format", "{{.RestartCount}}"])), 0);
    const looked = await status();
    assert.equal(looked.healthy, false);
    assert.match(
        looked.problems?.join("\n") ?? "",
        /worker-1: PostgreSQL refused the configuration .*"?superuser_reserved_connections"? \(500\)/,
    );
    const seen = await preview();
    assert.ok(
        seen.steps.some((step) => step.startsWith("update") && step.endsWith("Configuration citus-worker-1")),
        JSON.stringify(seen),
    );
    await stack.up();
    await healthy();
    assert.deepEqual((await preview()).steps, []);
});

test("what ALTER SYSTEM sets against the stack is seen, named and taken back; no restart applies it", async () => {
    await local(
        WORKER,
        "ALTER SYSTEM SET wal_level = 'replica'",
        "ALTER SYSTEM SET archive_mode = off",
        "ALTER SYSTEM SET work_mem = '7MB'",
        "ALTER SYSTEM SET maintenance_work_mem = '99MB'",
        "SELECT pg_reload_conf()",
    );
    const started = await startedAt(WORKER);
    const looked = await status();
    assert.equal(looked.healthy, false);
    for (const [name, value] of [
        ["wal_level", "replica"],
        ["archive_mode", "off"],
        ["work_mem", "7MB"],
    ])
        assert.match(
            looked.problems?.join("\n") ?? "",
            new RegExp(`worker-1: ALTER SYSTEM set ${name} to "${value}".*ALTER SYSTEM RESET ${name}`),
        );
    assert.match(
        looked.notes?.join("\n") ?? "",
        /worker-1: ALTER SYSTEM set maintenance_work_mem to "99MB"; the configuration file says "\d+MB"/,
    );
    const seen = await preview();
    assert.ok(
        seen.steps.some((step) => step.startsWith("update") && step.includes("citus-worker-1")),
        JSON.stringify(seen),
    );
    assert.match(seen.said, /ALTER SYSTEM set wal_level to "replica"/);
    const ran = await stack.up();
    assert.match(ran.output, /what ALTER SYSTEM had set for archive_mode, wal_level, work_mem is taken back/);
    assert.equal(
        await startedAt(WORKER),
        started,
        "a restart applied a foreign value, or took one back that never held",
    );
    assert.equal(
        await local(
            WORKER,
            "SELECT string_agg(setting, ' ' ORDER BY name) FROM pg_settings WHERE name IN ('archive_mode', 'wal_level') AND NOT pending_restart",
        ),
        "on logical",
    );
    assert.equal(await local(WORKER, "SHOW work_mem"), "10MB");
    assert.equal(await local(WORKER, "SHOW maintenance_work_mem"), "99MB");
    await local(WORKER, "ALTER SYSTEM RESET maintenance_work_mem", "SELECT pg_reload_conf()");
    await healthy();
});

test("an archive that a restart turned off is no healthy cluster, and up turns it on", async () => {
    await local(WORKER, "ALTER SYSTEM SET archive_mode = off");
    await stack.closeSessions();
    docker(["restart", "-t", "60", stack.container(WORKER)]);
    await until("answers", 60, async () => (await local(WORKER, "SHOW archive_mode")) === "off");
    assert.match(
        (await status()).problems?.join("\n") ?? "",
        /worker-1's archive is off \(archive_mode\) although backups are configured/,
    );
    await stack.up();
    assert.equal(await local(WORKER, "SHOW archive_mode"), "on");
    await healthy();
});

test("a password that was changed by hand is named by status and preview, and put back by up, which says so", async () => {
    await local("coordinator", "SET citus.enable_alter_role_propagation = off", "ALTER ROLE postgres PASSWORD 'mine'");
    await stack.closeSessions();
    const looked = await status();
    assert.equal(looked.healthy, null);
    assert.match(looked.error ?? "", /the superuser's password on it is not the stack's: npm run pulumi -- up/);
    assert.doesNotMatch(looked.error ?? "", /gone|docker logs/);
    const seen = await preview();
    assert.ok(
        seen.steps.some((step) => step.startsWith("update") && step.includes("citus-coordinator")),
        JSON.stringify(seen),
    );
    assert.match(seen.said, /coordinator: the superuser's password on the node is not the stack's/);
    const ran = await stack.up();
    assert.match(
        ran.output,
        /coordinator: the superuser's password was not the stack's\. The stack's is in place again/,
    );
    assert.equal((await stack.sql<{ n: number }>("SELECT 1 AS n"))[0]?.n, 1);
    await healthy();
    assert.deepEqual((await preview()).steps, []);
});

test("what keeps WAL or rows, and Citus' repairs that are off, are named with what ends them", async () => {
    await local(WORKER, "SELECT pg_create_logical_replication_slot('gone', 'pgoutput')");
    await local(
        WORKER,
        "SELECT count(pg_logical_emit_message(false, 'x', repeat('x', 1000000))) FROM generate_series(1, 100)",
    );
    await local(WORKER, "ALTER SYSTEM SET citus.recover_2pc_interval = -1", "SELECT pg_reload_conf()");
    await local(WORKER, "SET citus.enable_ddl_propagation = off", "ALTER DATABASE app SET password_encryption = 'md5'");
    await until(
        "seen",
        20,
        async () => (await status()).problems?.some((line) => line.includes("recover_2pc_interval")) === true,
    );
    const looked = await status();
    assert.equal(looked.healthy, false);
    assert.match(
        looked.problems?.join("\n") ?? "",
        /worker-1: Citus' own repairs are off \(citus\.recover_2pc_interval\).*ALTER SYSTEM RESET citus\.recover_2pc_interval/,
    );
    assert.match(
        looked.problems?.join("\n") ?? "",
        /worker-1: password_encryption is "md5" for database "app".*ALTER DATABASE "app" RESET password_encryption/,
    );
    assert.match(
        looked.notes?.join("\n") ?? "",
        /worker-1: the replication slot gone has no reader for \d+ \w+ and keeps \d+ MB of WAL.*pg_drop_replication_slot\('gone'\)/,
    );
    assert.match((await preview()).said, /worker-1: the replication slot gone has no reader/);
    const disk = looked.nodes?.find(({ name }) => name === WORKER)?.disk;
    assert.ok(disk !== undefined && disk.free > 0 && disk.free < disk.size);
    await local(
        WORKER,
        "SELECT pg_drop_replication_slot('gone')",
        "ALTER SYSTEM RESET citus.recover_2pc_interval",
        "SET citus.enable_ddl_propagation = off",
        "ALTER DATABASE app RESET password_encryption",
        "SELECT pg_reload_conf()",
    );
    await healthy();
});
