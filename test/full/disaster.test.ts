/** Data that is lost, repositories that fail, runs that are killed: what comes back, what is refused, what is never offered. */
import assert from "node:assert/strict";
import { afterAll, beforeAll, test } from "vitest";
import { dockerEngine, execute } from "../../core/reach/docker/engine.ts";
import { pause } from "../../core/util/pause.ts";
import { audit, Bank } from "../bank.ts";
import { collect, docker, requireEngine, run, TestStack, until } from "../lib.ts";

const ACCOUNTS = 200;
const NODES = ["coordinator", "worker-1", "worker-2"] as const;

let stack: TestStack;

/** Takes a point and returns its name. */
async function point(of: TestStack): Promise<string> {
    const taken = await of.script("coordinator", "restore-point.sh");
    assert.equal(taken.code, 0, taken.stderr);
    return taken.stdout.trim();
}

/** Moves money for a moment. */
async function trade(of: TestStack, milliseconds = 1500): Promise<void> {
    const bank = new Bank(ACCOUNTS);
    bank.start(await Promise.all(NODES.map(async (name) => ({ name, access: await of.access(name) }))));
    await pause(milliseconds);
    await bank.stop();
    assert.deepEqual(bank.errors, []);
}

const ledger = async (of: TestStack) => {
    const [row] = await of.sql<{ print: string }>(
        "SELECT count(*) || ' ' || coalesce(sum(hashtext(transfer || account || amount)::bigint), 0) AS print FROM ledger",
    );
    return row?.print ?? "";
};

/** The node's machine and its disk are gone. */
async function lose(of: TestStack, ...nodes: string[]): Promise<void> {
    await of.closeSessions();
    for (const node of nodes) {
        const container = of.container(node);
        docker(["rm", "-f", container]);
        docker(["volume", "rm", `${container}-data`]);
    }
}

const healthy = async (of: TestStack) => {
    for (const node of NODES) assert.deepEqual(await audit(await of.session(node), ACCOUNTS), [], node);
    await of.up({}, ["--expect-no-changes"]);
    assert.equal((await of.npm("status")).code, 0);
};

beforeAll(async () => {
    requireEngine();
    stack = await TestStack.make({ workers: 2, shardCount: 8, backup: { restorePoint: "off", retention: 1 } });
    await stack.up();
    await Bank.open(await stack.session(), ACCOUNTS);
});

afterAll(async () => {
    await stack?.destroy();
});

test("a new cluster makes its first backups by itself, one a node, also when its nodes restart meanwhile", {
    timeout: 180_000,
}, async () => {
    docker(["restart", stack.container("worker-1")]);
    await until("a full backup of each node", 150, async () => {
        const { stanzas } = await stack.backups();
        return stanzas.length === 3 && stanzas.every((s) => s.backup.length >= 1);
    });
    await pause(8000);
    for (const stanza of (await stack.backups()).stanzas)
        assert.equal(stanza.backup.length, 1, `${stanza.name} was backed up twice`);
});

test("retention expires what it should, and never the only restorable point", { timeout: 300_000 }, async () => {
    assert.equal((await stack.npm("backup", "full")).code, 0);
    const last = await point(stack);
    const needed = (await stack.backups()).points.find((p) => p.name === last)?.nodes.map((node) => node.label) ?? [];
    // one full backup is kept; without a newer point this one must not push out what the last point rests on
    const full = await stack.npm("backup", "full", "--no-point");
    assert.equal(full.code, 0, full.output);
    let found = await stack.backups();
    assert.equal(found.points.find((p) => p.name === last)?.restorable, true);
    for (const label of needed)
        assert.ok(
            found.stanzas.some((s) => s.backup.some((b) => b.label === label)),
            label,
        );
    const next = await point(stack);
    assert.equal((await stack.npm("backup", "full")).code, 0);
    assert.equal((await stack.npm("backup", "full")).code, 0);
    found = await stack.backups();
    for (const label of needed)
        assert.ok(!found.stanzas.some((s) => s.backup.some((b) => b.label === label)), `${label} is still there`);
    assert.equal(found.points.find((p) => p.name === last)?.restorable ?? false, false);
    assert.equal(found.points.find((p) => p.name === next)?.restorable ?? false, false);
    assert.equal(found.points[0]?.restorable, true, found.points[0]?.missing.join());
});

test("all volumes lost: the same stack, told to restore, comes back under its own names with what the point held", {
    timeout: 300_000,
}, async () => {
    await trade(stack);
    const wanted = await ledger(stack);
    const name = await point(stack);
    await trade(stack, 500);
    await lose(stack, ...NODES);
    // without being told, nothing empty takes its place
    const refused = await stack.tryUp({}, ["--refresh"]);
    assert.notEqual(refused.code, 0);
    assert.match(refused.output, /the data is gone/);
    assert.match(refused.output, /citus:restoreFrom\.point NAME/);
    const ran = await stack.up({ restoreFrom: { point: "latest" } }, ["--refresh"]);
    assert.match(ran.output, new RegExp(`restored coordinator, worker-1, worker-2 to ${name}`));
    assert.equal(await ledger(stack), wanted);
    await healthy(stack);
    const { points } = await stack.backups();
    assert.ok(points.filter((p) => p.restorable).length >= 1);
    // it is on a timeline of its own now, and goes on from there
    await trade(stack, 500);
    const next = await point(stack);
    assert.ok((await stack.backups()).points.find((p) => p.name === next)?.nodes.every((node) => node.timeline === 2));
});

test("one worker's volume lost: the whole cluster goes to its last point, and only when replacing the others was said", {
    timeout: 300_000,
}, async () => {
    const wanted = await ledger(stack);
    const name = await point(stack);
    await trade(stack, 500);
    await lose(stack, "worker-1");
    await stack.config({ restoreFrom: { point: name } });
    const refused = await stack.tryUp({}, ["--refresh"]);
    assert.notEqual(refused.code, 0);
    assert.match(
        refused.output.replace(/\s+/g, " "),
        /coordinator, worker-2 hold databases, which the restore would replace/,
    );
    assert.match(refused.output, /citus:restoreFrom\.overwrite true/);
    const ran = await stack.up({ restoreFrom: { point: name, overwrite: true } }, ["--refresh"]);
    assert.match(ran.output, /restored coordinator, worker-1, worker-2/);
    assert.equal(await ledger(stack), wanted);
    await healthy(stack);
    // what was replaced is put aside, not destroyed
    const aside = await stack.onNode("worker-2", "bash", "-c", "ls -d /var/lib/citus/pgdata.before-restore.*/base");
    assert.equal(aside.code, 0, aside.stderr);
    // taking the request away changes nothing
    await stack.up({ restoreFrom: undefined });
    assert.equal(await ledger(stack), wanted);
});

test("rebuilding one worker alone needs an option that names what it costs", { timeout: 300_000 }, async () => {
    await trade(stack, 500);
    for (const node of NODES) await stack.onNode(node, "psql", "-d", "postgres", "-c", "SELECT pg_switch_wal()");
    await pause(3000);
    const before = await ledger(stack);
    await lose(stack, "worker-2");
    const refused = await stack.tryUp({ restoreFrom: { onlyWorker: "worker-2" } }, ["--refresh"]);
    assert.notEqual(refused.code, 0);
    assert.match(refused.output.replace(/\s+/g, " "), /transactions that touched other nodes are split there/);
    const ran = await stack.up({ restoreFrom: { onlyWorker: "worker-2", acceptSplitTransactions: true } }, [
        "--refresh",
    ]);
    assert.match(ran.output, /restored worker-2 to the end of its archive/);
    // nobody wrote after the last archived segment, so here nothing is missing
    assert.equal(await ledger(stack), before);
    await healthy(stack);
    await stack.up({ restoreFrom: undefined });
});

test("archiving off and on again: a point never rests on a backup from before the gap", {
    timeout: 300_000,
}, async () => {
    await stack.up({ backup: false });
    await trade(stack, 300);
    for (const node of NODES) await stack.onNode(node, "psql", "-d", "postgres", "-c", "SELECT pg_switch_wal()");
    const { points: kept } = await stack.backups();
    assert.equal(kept[0]?.restorable, true, "what the repository holds stays");
    await stack.up({ backup: { restorePoint: "off", retention: 1 } });
    const early = await stack.script("coordinator", "restore-point.sh");
    if (early.code === 0)
        assert.equal((await stack.backups()).points[0]?.restorable, true, "published without a backup");
    await until(
        "a point on a new backup",
        90,
        async () => (await stack.script("coordinator", "restore-point.sh")).code === 0,
    );
    const [newest] = (await stack.backups()).points;
    assert.equal(newest?.restorable, true, newest?.missing.join());
});

test("a node killed in the middle of a backup: the next one ends well", { timeout: 300_000 }, async () => {
    await stack.sql(
        "CREATE TABLE IF NOT EXISTS ballast AS SELECT i, repeat(md5(i::text), 30) AS t FROM generate_series(1, 200000) i",
    );
    const running = stack.npm("backup", "full");
    await until("a backup that runs", 30, async () =>
        /--type=full .*backup/.test(docker(["top", stack.container("coordinator")])),
    );
    docker(["kill", "-s", "KILL", stack.container("coordinator")]);
    const killed = await running;
    assert.equal(killed.code, 1, killed.output);
    assert.match(killed.output, /no restore point was taken/);
    await stack.closeSessions();
    docker(["start", stack.container("coordinator")]);
    await stack.session();
    const again = await stack.npm("backup", "full");
    assert.equal(again.code, 0, again.output);
    await stack.sql("DROP TABLE ballast");
    assert.equal((await stack.backups()).points[0]?.restorable, true);
});

test("nodes killed in the middle of points: none that is half made is listed", { timeout: 300_000 }, async () => {
    for (const [i, wait] of [0, 60, 120, 200, 300].entries()) {
        const before = (await stack.backups()).points.map((p) => p.name);
        const node = i % 2 === 0 ? "worker-1" : "worker-2";
        const taking = stack.onNode(
            "coordinator",
            "env",
            "CITUS_ARCHIVE_WITHIN=10",
            "/usr/local/lib/citus-node/restore-point.sh",
        );
        await pause(wait);
        docker(["kill", "-s", "KILL", stack.container(node)]);
        const taken = await taking;
        docker(["start", stack.container(node)]);
        await stack.closeSessions();
        await stack.session(node);
        const fresh = (await stack.backups()).points.filter((p) => !before.includes(p.name));
        if (taken.code === 0)
            assert.deepEqual(
                fresh.map((p) => [p.name, p.restorable]),
                [[taken.stdout.trim(), true]],
            );
        else assert.deepEqual(fresh, [], `listed although: ${taken.stderr}`);
    }
    await until("points again", 60, async () => (await stack.script("coordinator", "restore-point.sh")).code === 0);
});

test("a restore that is killed, node or run: the next up ends it well, and no server ran on half of it", {
    timeout: 600_000,
}, async () => {
    await trade(stack, 500);
    const wanted = await ledger(stack);
    const name = await point(stack);
    const copy = await TestStack.make(
        { workers: 2, shardCount: 8, backup: false, restoreFrom: { stack: stack.name, point: name } },
        undefined,
        stack,
    );
    const helper = () =>
        docker([
            "ps",
            "--filter",
            `label=citus.cluster=citus-${copy.name}`,
            "--filter",
            "name=-restore",
            "--format",
            "{{.Names}}",
        ])
            .split("\n")
            .filter(Boolean);
    const files = async () => {
        const [first] = helper();
        if (first === undefined) return false;
        return (
            (await execute(dockerEngine(), first, ["test", "-d", "/var/lib/citus/pgdata.restoring/base"])).code === 0
        );
    };
    try {
        // a node
        const first = copy.start(["up", "--yes", "--skip-preview"]);
        const ended = collect(first);
        await until("a restore that runs", 60, files);
        docker(["kill", "-s", "KILL", helper().find((n) => n.includes("worker-2")) ?? ""]);
        const failed = await ended;
        assert.notEqual(failed.code, 0);
        assert.match(failed.output, /worker-2: its restore was interrupted/);
        assert.deepEqual(helper(), []);
        // the run itself
        const second = copy.start(["up", "--yes", "--skip-preview"]);
        const over = collect(second);
        await until("a restore that runs", 60, files);
        process.kill(-(second.pid as number), "SIGKILL");
        await over;
        await pause(8000);
        await copy.pulumi(["cancel", "--yes"]);
        await copy.up();
        assert.equal(await ledger(copy), wanted);
        for (const node of NODES) assert.deepEqual(await audit(await copy.session(node), ACCOUNTS), []);
        assert.deepEqual(helper(), []);
        await copy.up({}, ["--expect-no-changes"]);
    } finally {
        await copy.destroy();
    }
});

test("a restore in place that is killed early and withdrawn: the cluster goes on as it was", {
    timeout: 300_000,
}, async () => {
    const wanted = await ledger(stack);
    const name = await point(stack);
    await trade(stack, 500);
    const now = await ledger(stack);
    assert.notEqual(now, wanted);
    await stack.config({ restoreFrom: { point: name, overwrite: true } });
    await stack.closeSessions();
    const running = stack.start(["up", "--yes", "--skip-preview"]);
    const over = collect(running);
    await until("a restore that runs", 60, async () =>
        /worker-1-data-restore/.test(
            docker(["ps", "--filter", `label=citus.cluster=citus-${stack.name}`, "--format", "{{.Names}}"]),
        ),
    );
    process.kill(-(running.pid as number), "SIGKILL");
    await over;
    await pause(8000);
    await stack.pulumi(["cancel", "--yes"]);
    const unsaid = await stack.tryUp({ restoreFrom: { point: name } });
    assert.notEqual(unsaid.code, 0, "databases that nobody said to replace");
    assert.match(unsaid.output.replace(/\s+/g, " "), /hold databases, which the restore would replace/);
    await stack.up({ restoreFrom: undefined }, ["--refresh"]);
    assert.equal(await ledger(stack), now);
    await healthy(stack);
});

test("a repository that can't be written: status and up say so with the reason, and it mends itself", {
    timeout: 300_000,
}, async () => {
    const repository = "/var/lib/citus-backups/archive";
    assert.equal(
        (await stack.onNode("worker-1", "bash", "-c", `chmod -R a-w ${repository}/citus-${stack.name}-worker-1`)).code,
        0,
    );
    try {
        for (let i = 0; i < 2; i++)
            await stack.onNode(
                "worker-1",
                "psql",
                "-d",
                "app",
                "-c",
                "CREATE TABLE x(); DROP TABLE x; SELECT pg_switch_wal()",
            );
        await until("status that needs attention", 90, async () => {
            const status = await stack.npm("status");
            return (
                status.code === 1 &&
                /worker-1 .*FAILS, \d+ wait/.test(status.output) &&
                /worker-1's archive fails.*Permission denied/.test(status.output)
            );
        });
        const up = await stack.up({}, ["--expect-no-changes"]);
        assert.match(up.output, /worker-1's archive fails, .*Permission denied/);
        const failed = await stack.onNode(
            "coordinator",
            "env",
            "CITUS_ARCHIVE_WITHIN=10",
            "/usr/local/lib/citus-node/restore-point.sh",
        );
        assert.notEqual(failed.code, 0);
        assert.match(failed.stderr, /worker-1: segment [0-9A-F]{24} is not in the repository after \d+ s/);
    } finally {
        await stack.onNode("worker-1", "bash", "-c", `chmod -R u+w ${repository}/citus-${stack.name}-worker-1`);
    }
    await until("health", 120, async () => (await stack.npm("status")).code === 0);
    await point(stack);
});

test("npm run down --keep-backups leaves the repository and nothing else; the next start brings the data back", {
    timeout: 300_000,
}, async () => {
    await point(stack);
    // written after the newest point: down takes a last one
    await trade(stack, 500);
    const wanted = await ledger(stack);
    const { repository } = await stack.backups();
    await stack.closeSessions();
    docker(["pause", stack.container("worker-1")]);
    const refused = await stack.npm("down", "--keep-backups", "--yes");
    docker(["unpause", stack.container("worker-1")]);
    assert.equal(refused.code, 1, refused.output);
    assert.match(refused.output, /No last restore point could be taken[\s\S]*Nothing was changed\./);
    const down = await stack.npm("down", "--keep-backups", "--yes");
    assert.equal(down.code, 0, down.output);
    assert.deepEqual(stack.leftovers(), [repository]);
    const last = /^Last restore point: (\S+)$/m.exec(down.output)?.[1];
    assert.ok(last, down.output);
    assert.equal((await stack.backups()).points[0]?.name, last);
    const status = await stack.npm("status");
    assert.equal(status.code, 2);
    assert.match(status.output, /is down; its backups are kept/);
    await stack.up({ restoreFrom: { point: "latest" } });
    assert.equal(await ledger(stack), wanted);
    await healthy(stack);
    assert.equal((await stack.backups()).repository, repository);
});

test("an encrypted repository: nothing readable in it, the passphrase nowhere to be seen, and no restore without it", {
    timeout: 600_000,
}, async () => {
    const passphrase = "correct-horse-battery-staple-4711";
    const secret = await TestStack.make({ workers: 1, shardCount: 4, backup: { restorePoint: "off" } });
    try {
        await secret.config({ backupPassphrase: passphrase });
        const inClear = await secret.tryUp();
        assert.notEqual(inClear.code, 0);
        assert.match(inClear.output, /citus:backupPassphrase is stored in the clear/);
        assert.ok(!inClear.output.includes(passphrase));
        await secret.config({ backupPassphrase: undefined });
        await secret.secret("backupPassphrase", passphrase);
        const up = await secret.up();
        await secret.sql("CREATE TABLE t (id int PRIMARY KEY, word text)");
        await secret.sql("SELECT create_distributed_table('t', 'id')");
        await secret.sql("INSERT INTO t SELECT i, 'plaintextmarker' FROM generate_series(1, 1000) i");
        const backup = await secret.npm("backup", "full");
        assert.equal(backup.code, 0, backup.output);
        const { points } = await secret.backups();
        assert.equal(points[0]?.restorable, true, points[0]?.missing.join());
        const grep = await secret.onNode(
            "coordinator",
            "grep",
            "-rlE",
            "backrest|plaintextmarker|citus-",
            "/var/lib/citus-backups",
        );
        assert.equal(grep.stdout, "", "readable");
        const inspected = docker(["inspect", secret.container("coordinator"), secret.container("worker-1")]);
        const shown = await secret.onNode("worker-1", "bash", "-c", "cat /proc/[0-9]*/cmdline | tr '\\0' ' '");
        const exported = await secret.pulumi(["stack", "export"]);
        const logs = await run("docker", ["logs", secret.container("coordinator")], { cwd: secret.dir });
        for (const text of [up.output, backup.output, inspected, shown.stdout, exported.output, logs.output])
            assert.ok(!text.includes(passphrase));
        const changed = await run(
            "pulumi",
            ["config", "set", "--stack", secret.name, "--secret", "citus:backupPassphrase"],
            { cwd: secret.dir, env: secret.env, input: `${passphrase}x` },
        );
        assert.equal(changed.code, 0);
        const refused = await secret.pulumi(["preview"]);
        assert.notEqual(refused.code, 0);
        assert.match(refused.output, /A repository keeps its passphrase/);
        await secret.secret("backupPassphrase", passphrase);

        const copy = await TestStack.make(
            { workers: 1, shardCount: 4, backup: false, restoreFrom: { stack: secret.name } },
            undefined,
            secret,
        );
        try {
            const without = await copy.pulumi(["preview"]);
            assert.notEqual(without.code, 0);
            assert.match(
                without.output.replace(/\s+/g, " "),
                /can't be read with this passphrase .*citus:restorePassphrase.*Nothing was touched/,
            );
            await copy.secret("restorePassphrase", "wrong-wrong-wrong-wrong-wrong");
            const wrong = await copy.tryUp();
            assert.notEqual(wrong.code, 0);
            assert.match(wrong.output.replace(/\s+/g, " "), /can't be read with this passphrase/);
            await copy.secret("restorePassphrase", passphrase);
            await copy.up();
            const [row] = await copy.sql<{ n: number }>(
                "SELECT count(*)::int AS n FROM t WHERE word = 'plaintextmarker'",
            );
            assert.equal(row?.n, 1000);
        } finally {
            await copy.destroy();
        }
    } finally {
        await secret.destroy();
    }
});

test("a full repository: the cluster goes on, and status and backup say why", { timeout: 300_000 }, async () => {
    const small = await TestStack.make({ workers: 0, shardCount: 4, backup: { restorePoint: "off" } });
    try {
        await small.up();
        const container = small.container("coordinator");
        const { repository } = await small.backups();
        await small.closeSessions();
        // the same volume with little room
        docker(["stop", container]);
        docker(["rm", container]);
        docker(["volume", "rm", repository]);
        docker([
            "volume",
            "create",
            "--label",
            `citus.cluster=citus-${small.name}`,
            "--opt",
            "type=tmpfs",
            "--opt",
            "device=tmpfs",
            "--opt",
            "o=size=24m,uid=999,mode=0700",
            repository,
        ]);
        await small.pulumi(["up", "--yes", "--skip-preview", "--refresh"]);
        await small.sql(
            "CREATE TABLE noise AS SELECT i, md5(i::text) || md5((i + 1)::text) AS t FROM generate_series(1, 600000) i",
        );
        await until("status that says why", 120, async () =>
            /archive fails.*No space left on device/.test((await small.npm("status")).output),
        );
        const [row] = await small.sql<{ n: number }>("SELECT count(*)::int AS n FROM noise");
        assert.equal(row?.n, 600_000, "the cluster goes on");
        const backup = await small.npm("backup", "full");
        assert.equal(backup.code, 1);
        assert.match(backup.output, /coordinator: .*(No space left on device|was not archived)/s);
    } finally {
        await small.destroy();
    }
});
