/** Restores of clusters that are not as one would like them: odd databases, settings by hand, damaged files, other workers. */
import assert from "node:assert/strict";
import { afterAll, beforeAll, test } from "vitest";
import { docker, requireEngine, TestStack, until } from "../lib.ts";

const NODES = ["coordinator", "worker-1", "worker-2"] as const;
const ODD = ["My App", "a=b", 'say "hi"', "$HOME", "*", "it's"];
const REPAIRS = [
    "citus.recover_2pc_interval",
    "citus.defer_shard_delete_interval",
    "citus.background_task_queue_interval",
    "citus.distributed_deadlock_detection_factor",
];

let origin: TestStack;
/** Two workers, odd databases, settings by hand, and old copies of a moved shard that wait to be dropped. */
let odd = "";
/** One worker. */
let small = "";
/** A table of which a shard is missing on worker-1. */
let broken = "";
let brokenShard = "";
/** A segment that worker-1 needs for it is damaged. */
let damaged = "";
let movedShard = "";

/** Takes a point and returns its name. */
async function point(): Promise<string> {
    const taken = await origin.script("coordinator", "restore-point.sh");
    assert.equal(taken.code, 0, taken.stderr);
    return taken.stdout.trim();
}

/** Every node backed up, and a point after it. */
async function backUp(): Promise<string> {
    const ran = await origin.npm("backup", "full");
    assert.equal(ran.code, 0, ran.output);
    return point();
}

/** By the superuser on the node itself, whether the stack has outputs or not. */
async function psql(of: TestStack, node: string, database: string, ...statements: string[]): Promise<string> {
    const commands = statements.flatMap((statement) => ["-c", statement]);
    const ran = await of.onNode(
        node,
        "env",
        `PGDATABASE=${database}`,
        "psql",
        "-XAtq",
        "-v",
        "ON_ERROR_STOP=1",
        ...commands,
    );
    assert.equal(ran.code, 0, ran.stderr);
    return ran.stdout.trim();
}

const repairs = async (of: TestStack, node: string) =>
    (await psql(of, node, "app", ...REPAIRS.map((name) => `SHOW ${name}`))).split("\n");

const copyOf = (restoreFrom: Record<string, unknown>) =>
    TestStack.make(
        {
            workers: 2,
            shardCount: 4,
            backup: { restorePoint: "off" },
            restoreFrom: { stack: origin.name, ...restoreFrom },
        },
        undefined,
        origin,
    );

const rows = async (of: TestStack, table: string) => psql(of, "coordinator", "app", `SELECT count(*) FROM ${table}`);

beforeAll(async () => {
    requireEngine();
    origin = await TestStack.make({
        workers: 1,
        shardCount: 4,
        backup: { restorePoint: "off", retention: 2 },
        postDeploy: ["first.sql"],
    });
    origin.write(
        "first.sql",
        "CREATE TABLE t (id bigint PRIMARY KEY); SELECT create_distributed_table('t', 'id'); INSERT INTO t SELECT generate_series(1, 1000);",
    );
    origin.write(
        "second.sql",
        "CREATE TABLE later (id bigint PRIMARY KEY); SELECT create_distributed_table('later', 'id'); INSERT INTO later SELECT generate_series(1, 100);",
    );
    await origin.up();
    small = await backUp();

    await origin.up({ workers: 2, postDeploy: ["first.sql", "second.sql"] });
    await origin.sql("INSERT INTO t SELECT generate_series(1001, 1500)");

    for (const name of [...ODD, "closed", "dropped"]) {
        await psql(origin, "coordinator", "postgres", `CREATE DATABASE "${name.replaceAll('"', '""')}"`);
        await psql(origin, "coordinator", name, "CREATE TABLE kept AS SELECT 7 AS n");
    }
    for (const name of ["My App", "closed"])
        await psql(
            origin,
            "coordinator",
            name,
            `CREATE SUBSCRIPTION "of ${name}" CONNECTION 'host=nowhere.invalid dbname=x' PUBLICATION p WITH (connect = false, slot_name = 'mine')`,
            `ALTER SUBSCRIPTION "of ${name}" ENABLE`,
        );
    await psql(
        origin,
        "coordinator",
        "postgres",
        "UPDATE pg_database SET datallowconn = false WHERE datname = 'closed'",
        // as an interrupted DROP DATABASE leaves it
        "UPDATE pg_database SET datconnlimit = -2 WHERE datname = 'dropped'",
    );
    await psql(
        origin,
        "coordinator",
        "app",
        "ALTER SYSTEM SET citus.defer_shard_delete_interval = -1",
        "SELECT pg_reload_conf()",
    );
    movedShard = await psql(
        origin,
        "coordinator",
        "app",
        `SELECT min(shard_name(logicalrelid, shardid)) FROM pg_dist_shard JOIN pg_dist_placement USING (shardid) JOIN pg_dist_node USING (groupid)
          WHERE logicalrelid = 'later'::regclass AND nodename LIKE 'worker-1.%'`,
    );
    await psql(
        origin,
        "coordinator",
        "app",
        `SELECT citus_move_shard_placement(${/\d+$/.exec(movedShard)?.[0]}, a.nodename, a.nodeport, b.nodename, b.nodeport, 'block_writes')
           FROM pg_dist_node a, pg_dist_node b WHERE a.nodename LIKE 'worker-1.%' AND b.nodename LIKE 'worker-2.%'`,
    );
    assert.notEqual(await psql(origin, "coordinator", "app", "SELECT count(*) FROM pg_dist_cleanup"), "0");
    // not in force before a restart, but in the backup
    await psql(
        origin,
        "coordinator",
        "postgres",
        "ALTER SYSTEM SET port = 6543",
        "ALTER SYSTEM SET unix_socket_directories = '/tmp'",
        "ALTER SYSTEM SET listen_addresses = '*'",
        "ALTER SYSTEM SET max_logical_replication_workers = 8",
        "ALTER SYSTEM SET shared_preload_libraries = 'no_such_library'",
        "ALTER SYSTEM SET archive_command = 'false'",
        "ALTER SYSTEM SET max_connections = 3",
        "ALTER SYSTEM SET max_prepared_transactions = 0",
        "ALTER SYSTEM SET recovery_end_command = 'false'",
        "ALTER SYSTEM SET default_transaction_read_only = on",
    );
    // a backup that could never be restored is not made
    await psql(origin, "coordinator", "postgres", 'CREATE DATABASE "two\nlines"');
    const refused = await origin.script("coordinator", "backup.sh", "full");
    assert.equal(refused.code, 79, refused.stderr);
    assert.match(refused.stderr, /line break in its name \('two\nlines'\)/);
    await psql(origin, "coordinator", "postgres", 'DROP DATABASE "two\nlines"');
    odd = await backUp();
    await psql(origin, "coordinator", "postgres", "ALTER SYSTEM RESET ALL", "SELECT pg_reload_conf()");

    await origin.sql("CREATE TABLE broken (id bigint PRIMARY KEY)");
    await origin.sql("SELECT create_distributed_table('broken', 'id', colocate_with => 'none')");
    brokenShard = await psql(
        origin,
        "coordinator",
        "app",
        `SELECT min(shard_name(logicalrelid, shardid)) FROM pg_dist_shard JOIN pg_dist_placement USING (shardid) JOIN pg_dist_node USING (groupid)
          WHERE logicalrelid = 'broken'::regclass AND nodename LIKE 'worker-1.%'`,
    );
    await psql(
        origin,
        "worker-1",
        "app",
        "SET citus.enable_manual_changes_to_shards = on",
        `DROP TABLE ${brokenShard}`,
    );
    broken = await point();
    await origin.sql("DROP TABLE broken");

    damaged = await point();
    const node = (await origin.backups()).points
        .find(({ name }) => name === damaged)
        ?.nodes.find((one) => one.node === "worker-1");
    assert.ok(node);
    const folder = `/var/lib/citus-backups/archive/${node.stanza}/${node.archiveId}/${node.lastSegment.slice(0, 16)}`;
    const flipped = await origin.onNode(
        "coordinator",
        "bash",
        "-c",
        `head -c 64 /dev/zero | tr '\\0' '\\377' | dd of="$(echo ${folder}/${node.lastSegment}-*)" bs=1 seek=200 conv=notrunc`,
    );
    assert.equal(flipped.code, 0, flipped.stderr);
});

afterAll(async () => {
    await origin?.destroy();
});

test("odd databases come along, settings of the backup do not, and what a move left to be dropped is dropped", {
    timeout: 600_000,
}, async () => {
    const copy = await copyOf({ point: odd });
    try {
        await copy.up();
        for (const name of ODD) assert.equal(await psql(copy, "coordinator", name, "SELECT n FROM kept"), "7", name);
        assert.equal(
            await psql(
                copy,
                "coordinator",
                "postgres",
                "SELECT datconnlimit FROM pg_database WHERE datname = 'dropped'",
            ),
            "-2",
        );
        assert.equal(
            await psql(
                copy,
                "coordinator",
                "postgres",
                "SELECT count(*), count(*) FILTER (WHERE subenabled) FROM pg_subscription",
            ),
            "2|0",
        );
        for (const node of NODES)
            assert.equal(
                await psql(
                    copy,
                    node,
                    "postgres",
                    "SELECT count(*) FROM pg_file_settings WHERE sourcefile LIKE '%auto.conf'",
                ),
                "0",
                node,
            );
        assert.deepEqual([await rows(copy, "t"), await rows(copy, "later")], ["1500", "100"]);
        await until(
            "the old copies are dropped",
            120,
            async () => (await psql(copy, "coordinator", "app", "SELECT count(*) FROM pg_dist_cleanup")) === "0",
        );
        assert.equal(await psql(copy, "worker-1", "app", `SELECT to_regclass('${movedShard}') IS NULL`), "t");
        await copy.up({}, ["--expect-no-changes"]);
    } finally {
        await copy.destroy();
    }
});

test("a restored cluster that can't be proved whole has two ways on, and Citus' repairs work after each", {
    timeout: 900_000,
}, async () => {
    const copy = await copyOf({ point: broken });
    try {
        const unproved = async (ran: { code: number; output: string }) => {
            assert.notEqual(ran.code, 0, ran.output);
            const output = ran.output.replace(/\s+/g, " ");
            assert.match(
                output,
                new RegExp(`was restored to ${broken}, and it is not whole: .*public.broken can't be read`),
            );
            assert.match(output, /Mend what is named \(docker exec -it \S+ psql app\), then run pulumi up/);
            assert.match(output, /pulumi config rm citus:restoreFrom/);
            for (const node of NODES) assert.deepEqual(await repairs(copy, node), ["-1", "-1", "-1", "-1"], node);
        };
        const healthy = async () => {
            for (const node of NODES)
                assert.ok(!(await repairs(copy, node)).some((value) => value.startsWith("-1")), node);
            assert.equal(await rows(copy, "t"), "1500");
            await copy.up({}, ["--expect-no-changes"]);
            const backedUp = await copy.npm("backup", "full");
            assert.equal(backedUp.code, 0, backedUp.output);
            const status = await copy.npm("status");
            assert.equal(status.code, 0, status.output);
        };
        await unproved(await copy.tryUp());
        // withdrawn: it is kept without the table
        await psql(copy, "coordinator", "app", "DROP TABLE broken");
        await copy.up({ restoreFrom: undefined });
        await healthy();

        // asked for again, and what was named is mended
        const again = { stack: origin.name, point: broken, overwrite: true };
        await unproved(await copy.tryUp({ restoreFrom: again }));
        await psql(
            copy,
            "worker-1",
            "app",
            "SET citus.enable_manual_changes_to_shards = on",
            `CREATE TABLE ${brokenShard} (id bigint PRIMARY KEY)`,
        );
        await copy.up();
        await healthy();
    } finally {
        await copy.destroy();
    }
});

test("damaged WAL: nothing is put in place, and the error knows that another try ends the same", {
    timeout: 600_000,
}, async () => {
    const copy = await copyOf({ point: damaged });
    try {
        const ran = await copy.tryUp();
        assert.notEqual(ran.code, 0, ran.output);
        const output = ran.output.replace(/\s+/g, " ");
        assert.match(output, /worker-1: it did not reach \S+: its server ended\. Its log: \S/);
        assert.match(output, /Nothing was changed: .* name an earlier point/);
        assert.equal(copy.container("worker-1"), "");
    } finally {
        await copy.destroy();
    }
});

test("in place, to a point with fewer workers: nothing is deleted, and what the files made is made again", {
    timeout: 900_000,
}, async () => {
    const volume = `${origin.container("worker-2")}-data`;
    const restoreFrom = { point: small, overwrite: true };
    await origin.config({ workers: 1, restoreFrom });
    const refused = await origin.pulumi(["preview"]);
    assert.notEqual(refused.code, 0, refused.output);
    assert.match(refused.output.replace(/\s+/g, " "), /can't be restored while worker-2 is to be removed/);
    assert.equal(await rows(origin, "t"), "1500");

    await origin.up({ workers: 2, restoreFrom });
    assert.equal(await rows(origin, "t"), "1000");
    assert.equal(await rows(origin, "later"), "100");
    const aside = await origin.onNode("worker-2", "bash", "-c", "ls -d /var/lib/citus/pgdata.before-restore.*/base");
    assert.equal(aside.code, 0, aside.stderr);
    const placed = await psql(
        origin,
        "coordinator",
        "app",
        "SELECT count(DISTINCT groupid) FROM pg_dist_placement JOIN pg_dist_shard USING (shardid) WHERE logicalrelid = 't'::regclass",
    );
    assert.equal(placed, "2");
    await origin.up({}, ["--expect-no-changes"]);
    const status = await origin.npm("status");
    assert.equal(status.code, 0, status.output);

    // the volume goes with the worker, and what is on it may be the only copy
    const leaving = await origin.tryUp({ workers: 1, restoreFrom: undefined });
    assert.notEqual(leaving.code, 0, leaving.output);
    assert.match(leaving.output, /the database that a restore put aside in \/var\/lib\/citus\/pgdata\.before-restore/);
    assert.equal(docker(["volume", "ls", "-q", "--filter", `name=${volume}`]).trim(), volume);
    await origin.onNode("worker-2", "bash", "-c", "rm -r /var/lib/citus/pgdata.before-restore.*");
    await origin.up({ workers: 1 });
    assert.equal(await rows(origin, "t"), "1000");
});
