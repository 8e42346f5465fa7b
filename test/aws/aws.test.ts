/**
 * A small cluster in an account of yours: what the rehearsal can't prove (docs/aws.md). It says what it costs, begins only
 * with CITUS_TEST_AWS=yes, and destroys what it made whatever happened.
 */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import { afterAll } from "vitest";
import { COORDINATOR } from "../../core/node/topology.ts";
import { runScript } from "../../core/reach/run.ts";
import { fingerprint, SCHEMA, seed } from "../lib.ts";
import { assertNoSecret } from "../secrets.ts";
import { admit, explainRefusals } from "./admission.ts";
import { Commands } from "./commands.ts";
import { announcement } from "./cost.ts";
import { byHand, leftovers } from "./leftovers.ts";
import {
    clusterConfig,
    copyConfig,
    FIRST_SIZE,
    FIRST_TYPE,
    LARGER_SIZE,
    MORE_WORKERS,
    OTHER_TYPE,
    TAG,
    WORKERS,
} from "./plan.ts";
import { replacedOneAtATime } from "./replacements.ts";
import { AwsStack, earlierCopies } from "./stack.ts";
import { Steps, say, timed } from "./steps.ts";

const INSTANCE = "aws:ec2/instance:Instance";
const VOLUME = "aws:ebs/volume:Volume";
const ADDRESS = "aws:ec2/eip:Eip";
const PORT = 5432;
const COMPANIES = 1000;

const name = `t-${randomBytes(3).toString("hex")}`;
console.log(`${announcement(name)}\n`);
for (const copy of earlierCopies()) console.log(`An earlier run is not done, or left something: look into ${copy}\n`);
const admission = await admit(name);
if ("refusals" in admission) {
    console.error(explainRefusals(admission.refusals));
    process.exit(1);
}
const { place } = admission;

const commands = new Commands();
const steps = new Steps();
const began = new Date();
const passphrase = randomBytes(24).toString("base64url");
/** Every machine that a cluster of this run has had, and the secrets that were in them. */
const machines = new Set<string>();
const secrets: Record<string, string> = { "the backups' passphrase": passphrase };

let stack: AwsStack | undefined;
let copy: AwsStack | undefined;
/** Count and checksum of every table. */
let books: Record<string, string>;

/** The copy first: it rests on the other's state. */
const stacks = [`${name}-copy`, name];
let cleaning = false;
let stopped = 0;
// a terminal that was closed takes no more lines, and cleaning up goes on without
process.stdout.on("error", () => undefined);
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
    process.on(signal, () => {
        // from the terminal and from npm: it is one
        if (Date.now() - stopped < 3000) return;
        const again = stopped > 0;
        stopped = Date.now();
        if (cleaning) return say(`${signal}: everything is being destroyed; let it end`);
        say(
            again
                ? `${signal}: what has begun is ended at once; Pulumi may not know of what AWS was just making, so look at the end`
                : `${signal}: waiting for what has begun, then everything is destroyed`,
        );
        steps.stop(`stopped by ${signal}`);
        commands.stop();
    });
}

const cluster = (): AwsStack => {
    assert.ok(stack, "there is no stack");
    return stack;
};
const names = (workers: number) => [COORDINATOR, ...Array.from({ length: workers }, (_, i) => `worker-${i + 1}`)];
const look = (which = cluster()) => which.sql(COORDINATOR, (session) => fingerprint(session));

/** Remembers the machines that there are now. */
async function remember(which: AwsStack): Promise<Map<string, string>> {
    const found = new Map((await which.nodes()).map((node) => [node.name, node.machine]));
    for (const machine of found.values()) machines.add(machine);
    return found;
}

/** Shards of distributed tables by node. */
async function placements(): Promise<Map<string, number>> {
    const rows = await cluster().sql(COORDINATOR, (session) =>
        session.query<{ node: string; shards: number }>(
            `SELECT split_part(n.nodename, '.', 1) AS node, count(*)::int AS shards
               FROM pg_dist_placement p JOIN pg_dist_node n USING (groupid) JOIN pg_dist_shard s USING (shardid)
               JOIN pg_dist_partition t USING (logicalrelid) WHERE t.partmethod <> 'n' GROUP BY 1`,
        ),
    );
    return new Map(rows.map(({ node, shards }) => [node, shards]));
}

async function assertSettled(workers: number): Promise<void> {
    assert.deepEqual([...(await placements()).keys()].sort(), names(workers).slice(1));
    const [row] = await cluster().sql(COORDINATOR, (session) =>
        session.query<{ bad: number }>(
            "SELECT count(*)::int AS bad FROM citus_check_cluster_node_health() WHERE NOT result",
        ),
    );
    assert.equal(row?.bad, 0, "a node does not reach another");
    if (books !== undefined) assert.deepEqual(await look(), books);
}

/** Whether a port answers from here. */
function answers(host: string, port: number): Promise<boolean> {
    return new Promise((resolve) => {
        const socket = connect({ host, port, timeout: 5000 });
        const end = (open: boolean) => {
            socket.destroy();
            resolve(open);
        };
        socket.once("connect", () => end(true));
        socket.once("timeout", () => end(false));
        socket.once("error", () => end(false));
    });
}

const text = (value: unknown) => (typeof value === "string" ? value : "");

afterAll(async () => {
    cleaning = true;
    commands.reopen();
    const made = [copy, stack].filter((one) => one !== undefined);
    const dir = stack?.dir;
    if (stack === undefined || dir === undefined) return;
    const failures: string[] = [];
    for (const one of made)
        await timed(`destroy ${one.name}`, () => one.destroy()).catch((error: Error) => failures.push(error.message));
    await timed("look whether anything is left", async () => {
        for (const one of made)
            for (const { urn } of await one.resources()) failures.push(`${one.name} still has ${urn}`);
        const found = await leftovers(place, name);
        if ("unknown" in found) say(`AWS was not asked what is left (${found.unknown}); ask it yourself, as below`);
        else for (const arn of found.left) failures.push(`left: ${arn}`);
        if ("unknown" in found && failures.length === 0) console.log(byHand(place, name, dir, []));
    }).catch((error: Error) => failures.push(error.message));
    if (failures.length > 0) {
        console.error(`NOT EVERYTHING IS GONE, AND WHAT IS LEFT COSTS MONEY:\n${failures.join("\n")}\n`);
        console.error(byHand(place, name, dir, stacks));
        throw new Error("not everything was destroyed");
    }
    stack.forget();
    say("everything is destroyed");
});

steps.step("make a stack", async () => {
    stack = await AwsStack.make(name, { place, commands }, clusterConfig(name), { backupPassphrase: passphrase });
    console.log(`Should this process be killed:\n${byHand(place, name, stack.dir, stacks)}\n`);
});

steps.step("preview: everything is made, nothing is there", async () => {
    const { stdout } = await cluster().must(["preview", "--json"]);
    const { steps: planned = [] } = JSON.parse(stdout) as { steps?: { op: string }[] };
    assert.deepEqual([...new Set(planned.map(({ op }) => op))], ["create"]);
});

steps.step(`up: 1 coordinator and ${WORKERS} workers`, async () => {
    await cluster().up();
    await remember(cluster());
    const { password } = await cluster().outputs();
    secrets["the password"] = password;
});

steps.check("packages came with user data onto the vendor's image, data is on the volume", async () => {
    for (const node of await cluster().nodes()) {
        const facts = new Map(
            (await cluster().probe(node.name, "boot")).map((line) => line.split("=") as [string, string]),
        );
        say(`  ${node.name}: ${[...facts].map(([key, value]) => `${key} ${value}`).join(", ")}`);
        assert.equal(facts.get("system"), "ubuntu 24.04");
        assert.equal(facts.get("cloud-init"), "done");
        assert.ok(Number(facts.get("made")) > 0, "the launcher did not come to its end");
        assert.match(facts.get("volume") ?? "", /^\/dev\/nvme\d+n1$/);
        assert.equal(facts.get("mounted"), facts.get("volume"));
        for (const what of ["postgres", "citus", "pgbackrest"]) assert.notEqual(facts.get(what), "", what);
        const checked = await runScript(node.shell, ["!packages.sh", "check"]);
        assert.equal(checked.code, 0, checked.stderr);
    }
});

steps.check("status is healthy, through SSM", async () => {
    assert.match(await cluster().script("status"), /worker-2 +ready/);
});

steps.step("SQL by npm run psql: the schema and rows from a file, a query by -c", async () => {
    cluster().write("load.sql", `${SCHEMA}${seed(COMPANIES)}`);
    await cluster().script("psql", "-Xq", "-v", "ON_ERROR_STOP=1", "-f", join(cluster().dir, "load.sql"));
    const users = await cluster().script("psql", "-XAtc", "SELECT count(*) FROM users");
    assert.equal(users.trim(), String(COMPANIES * 10));
    books = await look();
});

steps.check("data is on every worker, and every node reaches every other by verified TLS", () =>
    assertSettled(WORKERS),
);

steps.check("a second up changes nothing", async () => {
    await cluster().up({}, ["--expect-no-changes"]);
});

steps.check("a refresh finds nothing changed", async () => {
    await cluster().must(["refresh", "--yes", "--skip-preview", "--expect-no-changes"]);
});

steps.check("everything that has tags has the run's", async () => {
    for (const { urn, type, outputs } of await cluster().resources()) {
        // an object of a bucket takes ten, and has the cluster's only
        if (outputs?.tags === undefined || outputs.tags === null || type.includes("Object")) continue;
        assert.equal((outputs.tags as Record<string, string>)[TAG], name, urn);
    }
});

steps.check("no machine has a public address, and PostgreSQL's port does not answer from here", async () => {
    const instances = await cluster().outputsOf(INSTANCE);
    assert.equal(instances.length, 1 + WORKERS);
    assert.deepEqual(instances.map(({ publicIp }) => text(publicIp)).filter(Boolean), []);
    const addresses = [
        ...instances.map(({ privateIp }) => text(privateIp)),
        ...(await cluster().outputsOf(ADDRESS)).map(({ publicIp }) => text(publicIp)),
    ];
    for (const address of addresses) assert.equal(await answers(address, PORT), false, address);
});

steps.check("the metadata service refuses who has no token (IMDSv1)", async () => {
    for (const node of names(WORKERS)) assert.deepEqual(await cluster().probe(node, "imds"), ["401", "200"], node);
});

steps.check("the bucket refuses plain http", async () => {
    assert.deepEqual(await cluster().probe("worker-1", "bucket"), ["200", "403"]);
});

steps.check("a role reads its own secret and not the coordinator's, and writes no node scripts", async () => {
    assert.deepEqual(await cluster().probe("worker-1", "secret", "worker-1"), ["readable"]);
    assert.deepEqual(await cluster().probe("worker-1", "secret", COORDINATOR), ["AccessDeniedException"]);
    assert.deepEqual(await cluster().probe(COORDINATOR, "secret", COORDINATOR), ["readable"]);
    assert.deepEqual(await cluster().probe("worker-1", "write-bundle"), ["403"]);
});

steps.step(`${WORKERS} to ${MORE_WORKERS} workers: shards move, every row is there`, async () => {
    await cluster().up({ workers: MORE_WORKERS });
    await remember(cluster());
    await assertSettled(MORE_WORKERS);
});

steps.step(
    `worker volumes from ${FIRST_SIZE} to ${LARGER_SIZE} GiB: seen on the nodes, no machine or server restarted`,
    async () => {
        const state = async () => ({
            machines: await remember(cluster()),
            started: await cluster().sql("worker-1", (session) =>
                session.query("SELECT pg_postmaster_start_time()::text AS at"),
            ),
        });
        const before = await state();
        await cluster().up({ worker: { instanceType: FIRST_TYPE, volumeSize: LARGER_SIZE } });
        for (const node of names(MORE_WORKERS)) {
            const [size] = await cluster().probe(node, "disk");
            const expected = node === COORDINATOR ? FIRST_SIZE : LARGER_SIZE;
            say(`  ${node}: ${size} GiB`);
            // df rounds up, a file system takes some of it
            assert.ok(Number(size) > expected - 2 && Number(size) <= expected, `${node}: ${size} GiB`);
        }
        assert.deepEqual(await state(), before);
        assert.deepEqual(await look(), books);
    },
);

steps.step(`workers on ${OTHER_TYPE}: machines replaced one at a time, volumes and rows kept`, async () => {
    const before = await remember(cluster());
    const volumes = async () => (await cluster().outputsOf(VOLUME)).map(({ id }) => text(id)).sort();
    const kept = await volumes();
    await cluster().config({ worker: { instanceType: OTHER_TYPE, volumeSize: LARGER_SIZE } });
    assert.match(
        (await cluster().must(["preview", "--diff"])).output,
        /worker-1: its machine will be replaced, its data is kept/,
    );
    const log = join(cluster().dir, ".state", "events.jsonl");
    await cluster().up({}, ["--event-log", log]);
    assert.deepEqual(
        replacedOneAtATime(readFileSync(log, "utf8")),
        names(MORE_WORKERS)
            .slice(1)
            .map((worker) => `citus-${worker}`),
    );
    const now = await remember(cluster());
    for (const [node, machine] of before) assert.equal(now.get(node) === machine, node === COORDINATOR, node);
    const types = new Set((await cluster().outputsOf(INSTANCE)).map(({ instanceType }) => instanceType));
    assert.deepEqual([...types].sort(), [FIRST_TYPE, OTHER_TYPE].sort());
    assert.deepEqual(await volumes(), kept);
    await assertSettled(MORE_WORKERS);
});

steps.step(`${MORE_WORKERS} to ${WORKERS} workers: emptied before its machine goes`, async () => {
    await cluster().up({ workers: WORKERS });
    assert.equal((await cluster().outputsOf(INSTANCE)).length, 1 + WORKERS);
    assert.equal((await cluster().outputsOf(VOLUME)).length, 1 + WORKERS);
    await assertSettled(WORKERS);
});

steps.step("a backup of all nodes and a restore point, in the bucket", async () => {
    say(`  ${(await cluster().script("backup", "full")).trim().split("\n").at(-1)}`);
    const { points } = await cluster().backups();
    assert.equal(points.length, 1);
    assert.deepEqual(points[0]?.missing, []);
    assert.equal(points[0]?.restorable, true);
});

steps.check("a copy restored from it beside it has the same rows, and is destroyed", async () => {
    const made = await AwsStack.make(
        `${name}-copy`,
        { place, commands },
        copyConfig(name),
        { restorePassphrase: passphrase },
        cluster(),
    );
    copy = made;
    await made.up();
    await remember(made);
    secrets["the copy's password"] = (await made.outputs()).password;
    assert.deepEqual(await look(made), books);
    assert.deepEqual(await look(), books);
    // what stands costs
    await made.destroy();
});

steps.check("no secret is in user data or in what SSM remembers", async () => {
    for (const node of names(WORKERS)) assertNoSecret([(await cluster().probe(node, "user-data")).join("\n")], secrets);
    let commandsRead = 0;
    for (const machine of machines) {
        const texts = await cluster().history(machine, began);
        assert.ok(texts.length > 0, `SSM remembers nothing of ${machine}`);
        commandsRead += texts.length;
        assertNoSecret(texts, secrets);
    }
    say(`  ${commandsRead} texts of ${machines.size} machines`);
});
