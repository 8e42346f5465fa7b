/** Containers that are replaced: which, in which order, what stops it, and what the next `up` does. */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, test } from "vitest";
import { UPDATE_EXTENSION } from "../../core/citus/versions.ts";
import { dockerEngine } from "../../core/reach/docker/engine.ts";
import { pause } from "../../core/util/pause.ts";
import { testImage } from "../image.ts";
import { collect, docker, type Ran, requireEngine, run, TestStack, until } from "../lib.ts";
import { NodeWatch } from "../nodeWatch.ts";

const ROWS = 300;
let stack: TestStack;

beforeAll(async () => {
    requireEngine();
    stack = await TestStack.make({ workers: 2, shardCount: 4, backup: false, worker: { memory: "500MB" } });
    await stack.up();
    await stack.sql("CREATE TABLE t (id bigint PRIMARY KEY, n int NOT NULL DEFAULT 0)");
    await stack.sql("SELECT create_distributed_table('t', 'id')");
    await stack.sql(`INSERT INTO t SELECT generate_series(1, ${ROWS})`);
});

/** A Citus whose files say that they are of the next minor release. */
const NEXT = "citus-test-next:14.1";

afterAll(async () => {
    await stack?.destroy();
    await run("docker", ["rmi", "-f", NEXT], { cwd: "." });
});

const idOf = (node: string) => docker(["inspect", "--format", "{{.Id}}", stack.container(node)]).trim();
const ids = (nodes: readonly string[]) => Object.fromEntries(nodes.map((node) => [node, idOf(node)]));
const allRows = async () => {
    const [row] = await stack.sql<{ n: number }>("SELECT count(*)::int AS n FROM t");
    assert.equal(row?.n, ROWS);
};

async function noChange(): Promise<void> {
    const ran = await stack.pulumi(["preview", "--json"]);
    const { steps } = JSON.parse(ran.stdout) as { steps: { op: string; urn: string }[] };
    const changes = steps.filter(({ op, urn }) => op !== "same" && !urn.includes("$pulumi:providers:"));
    assert.deepEqual(
        changes.map(({ op, urn }) => `${op} ${urn}`),
        [],
    );
}

interface Diagnostic {
    readonly urn?: string;
    readonly message: string;
}

/** What a preview says of containers that are replaced. */
async function announced(): Promise<string[]> {
    const ran = await stack.pulumi(["preview", "--json"]);
    const { diagnostics = [] } = JSON.parse(ran.stdout) as { diagnostics?: Diagnostic[] };
    return diagnostics.filter(({ urn }) => urn?.includes("Replacements::")).map(({ message }) => message.trim());
}

/** Waits until the engine calls a node healthy. */
const serves = (node: string) =>
    until(`${node} serves`, 60, async () => {
        const { State } = await dockerEngine().getContainer(stack.container(node)).inspect();
        return State.Health?.Status === "healthy";
    });

/** An `up` with the nodes watched. */
async function watched(config: Record<string, unknown>, nodes: readonly string[], args: readonly string[] = []) {
    await stack.closeSessions();
    const accesses = await Promise.all(nodes.map(async (node) => ({ node, access: await stack.access(node) })));
    const watch = new NodeWatch(stack, accesses);
    const ran = await stack.tryUp(config, args).finally(() => watch.stop());
    return { ran, watch };
}

const succeeded = ({ code, output }: Ran) => assert.equal(code, 0, output);

test("another memory: workers first, the coordinator last, each serves again before the next is stopped", async () => {
    await stack.config({ worker: { memory: "520MB" }, coordinator: { memory: "1100MB" } });
    const said = await announced();
    assert.equal(said.length, 1, said.join());
    assert.match(said[0] ?? "", /one after the other.*: worker-1, worker-2, coordinator\.\s.*data is kept/s);

    const { ran, watch } = await watched({}, ["coordinator", "worker-1", "worker-2"]);
    succeeded(ran);
    assert.deepEqual(watch.replaced(), ["worker-1", "worker-2", "coordinator"]);
    watch.assertOneDown();
    await allRows();
    await noChange();
    const { password } = await stack.outputs();
    const state = await stack.pulumi(["stack", "export"]);
    assert.ok(!state.output.includes(password), "the state holds the password in the clear");
});

test("one more worker and a repository in the same up: the new one is made first, and the others follow in turn", async () => {
    const { ran, watch } = await watched({ workers: 3, backup: undefined }, ["coordinator", "worker-1", "worker-2"]);
    succeeded(ran);
    assert.deepEqual(watch.replaced(), ["worker-1", "worker-2", "coordinator"]);
    watch.assertOneDown();
    assert.ok(watch.created("worker-3") < watch.stopped("worker-1"), "worker-3 came after worker-1 was stopped");
    const [row] = await stack.sql<{ n: number }>(
        "SELECT count(DISTINCT groupid)::int AS n FROM pg_dist_placement JOIN pg_dist_shard USING (shardid) WHERE logicalrelid = 't'::regclass",
    );
    assert.equal(row?.n, 3);
    await allRows();
    await noChange();
});

test("one worker less and another memory in the same up: the one that leaves is not replaced", async () => {
    const leaving = idOf("worker-3");
    const { ran, watch } = await watched({ workers: 2, worker: { memory: "530MB" } }, [
        "coordinator",
        "worker-1",
        "worker-2",
    ]);
    succeeded(ran);
    assert.deepEqual(watch.replaced(), ["worker-1", "worker-2"]);
    watch.assertOneDown();
    assert.ok(!watch.containers().includes(`${leaving} create`));
    await allRows();
    await noChange();
});

test("a node that stays and does not answer: no other one is taken down", async () => {
    await stack.closeSessions();
    const before = ids(["coordinator", "worker-1", "worker-2"]);
    docker(["pause", stack.container("worker-2")]);
    try {
        const failed = await stack.tryUp({ coordinator: { memory: "1150MB" } });
        assert.notEqual(failed.code, 0);
        assert.match(failed.output, /worker-2 does not answer: .*is paused: docker unpause/);
        assert.match(failed.output, /No container was replaced: .*Still to be replaced: coordinator\./);
        assert.deepEqual(ids(Object.keys(before)), before);
    } finally {
        docker(["unpause", stack.container("worker-2")]);
    }
    // what does not serve is replaced first
    await serves("worker-2");
});

test("a node that does not come back stops the rest, with its last words; mended, the next up replaces them", async () => {
    await stack.closeSessions();
    const before = ids(["coordinator", "worker-1", "worker-2"]);
    // the server that runs does not mind; the next one refuses to start
    await stack.onNode("worker-1", "chmod", "0777", "/var/lib/citus/pgdata");
    const image = docker(["inspect", "--format", "{{.Image}}", stack.container("worker-1")]).trim();
    const volume = `${stack.container("worker-1")}-data`;
    const failed = await stack.tryUp({ worker: { memory: "540MB" }, coordinator: { memory: "1150MB" } });
    assert.notEqual(failed.code, 0);
    assert.match(failed.output, /worker-1 does not come up: it starts and ends again and again\./);
    assert.match(failed.output, /data directory "\/var\/lib\/citus\/pgdata" has invalid permissions/);
    const now = ids(Object.keys(before));
    assert.notEqual(now["worker-1"], before["worker-1"]);
    assert.deepEqual([now["worker-2"], now.coordinator], [before["worker-2"], before.coordinator]);
    assert.match((await announced())[0] ?? "", /: worker-2, coordinator\./);

    docker(["run", "--rm", "--network", "none", "-v", `${volume}:/v`, image, "chmod", "0700", "/v/pgdata"]);
    await serves("worker-1");
    const { ran, watch } = await watched({}, ["coordinator", "worker-2"]);
    succeeded(ran);
    assert.deepEqual(watch.replaced(), ["worker-2", "coordinator"]);
    watch.assertOneDown();
    await allRows();
    await noChange();
});

test("a run that is killed between two nodes is finished by the next one", async () => {
    await stack.closeSessions();
    const before = ids(["worker-1", "worker-2"]);
    await stack.config({ worker: { memory: "550MB" } });
    const child = stack.start(["up", "--yes", "--skip-preview"]);
    const ended = collect(child);
    await until("worker-1 is replaced", 180, async () => idOf("worker-1") !== before["worker-1"]);
    process.kill(-(child.pid as number), "SIGKILL");
    await ended;
    // providers end by themselves when the engine is gone
    await pause(8000);
    assert.equal(idOf("worker-2"), before["worker-2"], "worker-2 was replaced before worker-1 served");
    await stack.pulumi(["cancel", "--yes"]);
    await stack.up({}, ["--refresh"]);
    assert.notEqual(idOf("worker-2"), before["worker-2"]);
    await allRows();
    await noChange();
});

test("refresh changes nothing, and one node alone can be replaced by its name", async () => {
    await stack.pulumi(["refresh", "--yes", "--skip-preview"]).then(succeeded);
    await noChange();
    const before = ids(["coordinator", "worker-1", "worker-2"]);
    const { stdout } = await stack.pulumi(["stack", "--show-urns"]);
    const urn = /urn:\S+docker:index\/container:Container::citus-worker-2/.exec(stdout)?.[0] ?? "";
    await stack.pulumi(["up", "--yes", "--skip-preview", "--replace", urn]).then(succeeded);
    const now = ids(Object.keys(before));
    assert.deepEqual([now.coordinator, now["worker-1"]], [before.coordinator, before["worker-1"]]);
    assert.notEqual(now["worker-2"], before["worker-2"]);
    await allRows();
});

test("a Citus that the databases can't go to is refused in preview", async () => {
    for (const [citusVersion, why] of [
        [
            "14.2.0",
            /Citus 14\.2\.0 can't run this cluster's databases:.*coordinator: the extension is 14\.0-1.*version 14\.1 first/s,
        ],
        ["13.2.0", /Citus 13\.2\.0 can't run this cluster's databases:.*can't go back/s],
    ] as const) {
        await stack.config({ image: undefined, citusVersion });
        const ran = await stack.pulumi(["preview"]);
        assert.notEqual(ran.code, 0);
        assert.match(ran.output, why);
    }
    await stack.config({ image: testImage(), citusVersion: undefined });
});

test("the next Citus: said until the extension is of the library's version, and what a new worker needs", async () => {
    await stack.closeSessions();
    // only one release can be had here: its files under the next number
    const dir = mkdtempSync(join(tmpdir(), "citus-next-"));
    const control = "$(pg_config --sharedir)/extension/citus";
    writeFileSync(
        join(dir, "Dockerfile"),
        `FROM ${testImage()}\nUSER root\n` +
            `RUN sed -i "s/^default_version = .*/default_version = '14.1-1'/" ${control}.control && echo 'SELECT 1;' > ${control}--14.0-1--14.1-1.sql\n`,
    );
    docker(["build", "-q", "-t", NEXT, dir]);
    rmSync(dir, { recursive: true });
    const before = ids(["coordinator", "worker-1", "worker-2"]);
    const behind =
        /extension of a database is not of the version.*coordinator: the extension is 14\.0-1, the library 14\.1-1.*ALTER EXTENSION citus UPDATE/s;

    await stack.up({ image: NEXT });
    for (const [node, id] of Object.entries(before)) assert.notEqual(idOf(node), id, node);
    assert.match((await stack.up()).output, behind);
    const status = await stack.npm("status");
    assert.equal(status.code, 1);
    assert.match(status.output, behind);
    await allRows();

    const refused = await stack.tryUp({ workers: 3 });
    assert.notEqual(refused.code, 0);
    assert.match(refused.output, /it has Citus 14\.1-1, the coordinator 14\.0-1\. Bring the cluster's extension/);

    for (const command of UPDATE_EXTENSION.filter((line) => line.startsWith("npm run psql"))) {
        const [, sql = ""] = /-c "(.*)"$/.exec(command) ?? [];
        succeeded(await stack.npm("psql", "-c", sql));
    }
    const mended = await stack.up();
    assert.doesNotMatch(mended.output, /extension of a database/);
    const [row] = await stack.sql<{ n: number }>("SELECT count(*)::int AS n FROM pg_dist_node WHERE isactive");
    assert.equal(row?.n, 4);
    await allRows();
});
