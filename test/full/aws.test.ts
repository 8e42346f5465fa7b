/**
 * The aws platform, rehearsed without an account: the real engine and the real @pulumi/aws, with a plugin of ours whose
 * instances are containers that boot by cloud-init on the user data an instance would get. docs/aws.md says what that proves.
 */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, test } from "vitest";
import { type Session, withSession } from "../../core/reach/session.ts";
import { testCitus } from "../image.ts";
import { docker, fingerprint, requireEngine, run, SCHEMA, seed } from "../lib.ts";
import { AwsProject, type Step } from "../rehearsal/project.ts";
import { Surroundings } from "../rehearsal/surroundings.ts";
import { assertNoSecret } from "../secrets.ts";

const INSTANCE = "aws:ec2/instance:Instance";
const VOLUME = "aws:ebs/volume:Volume";
const ATTACHMENT = "aws:ec2/volumeAttachment:VolumeAttachment";
const RECORD = "aws:route53/record:Record";
const BUCKET = "aws:s3/bucket:Bucket";
const CONFIGURATION = "citus-clusters:index:Configuration";
const MEMBER = "citus-clusters:index:Member";
const PLACEMENT = "citus-clusters:index:Placement";

const PASSPHRASE = "correct-horse-battery-staple";

let surroundings: Surroundings;
let project: AwsProject;
/** Count and checksum of every table, as of the last change of data. */
let books: Record<string, string>;

beforeAll(async () => {
    requireEngine();
    surroundings = await Surroundings.start();
    project = await AwsProject.make({
        machines: "containers",
        env: surroundings.env,
        stack: "prod",
        config: {
            platform: "aws",
            workers: 2,
            shardCount: 8,
            network: { cidr: part(0), zones: 2 },
            backup: { restorePoint: "off" },
            tags: { team: "data" },
            settings: { all: { shared_buffers: "128MB" } },
        },
    });
    await project.secret("backupPassphrase", PASSPHRASE);
    Object.assign(process.env, surroundings.env);
});

afterAll(async () => {
    for (const key of Object.keys(surroundings?.env ?? {})) delete process.env[key];
    await surroundings?.stop();
    project?.remove();
});

/** A quarter of the network, for one stack. */
function part(n: number): string {
    return surroundings.cidr.replace(/\.0\.0\/16$/, `.${64 * n}.0/18`);
}

const of = (steps: readonly Step[], type: string) => steps.filter((step) => step.type === type);
const named = (steps: readonly Step[]) => steps.map(({ op, name }) => `${op} ${name}`).sort();

/** SQL on a node as the hooks send it: by commands. */
async function on<T>(node: string, use: (session: Session) => Promise<T>, clusterId?: string): Promise<T> {
    const id = clusterId ?? tagOf("coordinator", "citus-cluster-id");
    const tunnel = { kind: "ssm", region: project.region, profile: "", clusterId: id, node } as const;
    return withSession({ tunnel, user: "postgres", database: "app" }, node, use, { patience: 30_000 });
}

const instanceRow = (node: string) => {
    const found = project
        .rows(INSTANCE)
        .find(({ props }) => (props.tags as Record<string, string>)["citus-node"] === node);
    assert.ok(found, `no machine ${node}`);
    return found;
};
const tagOf = (node: string, tag: string) => String((instanceRow(node).props.tags as Record<string, string>)[tag]);
const look = () => on("coordinator", (session) => fingerprint(session));
const nodeTable = () =>
    on("coordinator", (session) =>
        session.query<{ nodeid: number; nodename: string }>(
            "SELECT nodeid, nodename FROM pg_dist_node WHERE isactive ORDER BY nodename",
        ),
    );

test("a preview of a new stack makes everything and replaces nothing", { timeout: 120_000 }, async () => {
    const steps = await project.preview();
    assert.deepEqual([...new Set(steps.map(({ op }) => op))], ["create"]);
    assert.deepEqual(
        of(steps, INSTANCE)
            .map(({ name }) => name)
            .sort(),
        ["citus-coordinator", "citus-worker-1", "citus-worker-2"],
    );
    assert.deepEqual(project.rows(INSTANCE), []);
});

test("without credentials that is said before anything is planned, with all other mistakes", {
    timeout: 120_000,
}, async () => {
    const { AWS_ACCESS_KEY_ID: _key, AWS_SECRET_ACCESS_KEY: _secret, ...env } = project.env;
    await project.config({ worker: { instanceType: "m7g.large" } });
    const ran = await run("pulumi", ["preview", "--stack", "prod"], { cwd: project.dir, env });
    await project.config({ worker: undefined });
    assert.notEqual(ran.code, 0);
    assert.match(ran.output, /aws:profile must lead to AWS credentials, got none/);
    assert.match(ran.output, /citus:worker\.instanceType must be an x86_64 type, got "m7g\.large"/);
    assert.doesNotMatch(ran.output, /aws:(ec2|s3|iam)/);
});

test("up: a cluster that works, by commands only; a second up and a refresh change nothing", {
    timeout: 600_000,
}, async () => {
    await project.up();
    const nodes = await nodeTable();
    assert.deepEqual(
        nodes.map(({ nodename }) => nodename),
        ["coordinator", "worker-1", "worker-2"].map((name) => `${name}.citus-prod.node`),
    );
    await on("coordinator", async (session) => {
        for (const sql of SCHEMA.split(";").filter((part) => part.trim() !== "")) await session.query(sql);
        await session.query(seed(200));
        const [row] = await session.query<{ bad: number }>(
            "SELECT count(*)::int AS bad FROM citus_check_cluster_node_health() WHERE NOT result",
        );
        assert.equal(row?.bad, 0);
    });
    books = await look();
    await project.up({}, ["--expect-no-changes"]);
    await project.refresh(["--expect-no-changes"]);
});

test("status and psql through SSM", { timeout: 120_000 }, async () => {
    const status = await project.npm("status");
    assert.equal(status.code, 0, status.output);
    assert.match(status.stdout, /worker-2 +ready .* \d+ days/);
    const psql = await project.npm("psql", "-XAtc", "SELECT count(*) FROM users");
    assert.equal(psql.stdout.trim(), "2000", psql.output);
    const wrong = await project.npm("psql", "-XAtc", "SELECT nonsense");
    assert.equal(wrong.code, 1);
    assert.match(wrong.stderr, /column "nonsense" does not exist/);
    const piped = await run("npm", ["run", "-s", "psql", "--", "-XAt"], {
        cwd: project.dir,
        env: project.env,
        input: "SELECT string_agg(repeat('x', 100), '') FROM generate_series(1, 500);\n",
    });
    assert.equal(piped.stdout.trim().length, 50_000, piped.stderr);
});

test("nothing is open, nothing is lost by accident, and everything carries its tags", async () => {
    for (const { props } of project.rows(INSTANCE)) {
        assert.equal(props.disableApiTermination, true);
        assert.equal((props.metadataOptions as { httpTokens: string }).httpTokens, "required");
    }
    for (const { props } of project.rows("aws:vpc/securityGroupIngressRule:SecurityGroupIngressRule"))
        assert.equal(props.cidrIpv4, undefined);
    for (const { type, props } of Object.values(project.world().rows))
        if (props.tags !== undefined && !type.includes("Object"))
            assert.equal((props.tags as Record<string, string>).team, "data", type);
    // the stand-in asks the roles' policies at each request of a machine
    assert.deepEqual(
        surroundings.requests().filter(({ verdict }) => verdict === "denied"),
        [],
    );
});

test("growing plans machines, members and the placement, and replaces nothing", { timeout: 600_000 }, async () => {
    await project.config({ workers: 4 });
    const steps = await project.preview();
    assert.deepEqual(named(steps.filter(({ op }) => op !== "create")), ["update citus-shards"]);
    assert.deepEqual(named(of(steps, MEMBER)), ["create citus-worker-3", "create citus-worker-4"]);
    assert.deepEqual(named(of(steps, INSTANCE)), ["create citus-worker-3", "create citus-worker-4"]);
    await project.config({ workers: 3 });
    await project.up();
    const [row] = await on("coordinator", (session) =>
        session.query<{ groups: number }>(
            "SELECT count(DISTINCT groupid)::int AS groups FROM pg_dist_placement WHERE groupid <> 0",
        ),
    );
    assert.equal(row?.groups, 3);
    assert.deepEqual(await look(), books);
});

test("another instance type: machines replaced one at a time, data and registration kept", {
    timeout: 900_000,
}, async () => {
    const before = await nodeTable();
    const machines = new Map(["coordinator", "worker-1", "worker-2", "worker-3"].map((n) => [n, instanceRow(n).id]));
    const volumes = project.rows(VOLUME).map(({ id }) => id);
    await project.config({ worker: { instanceType: "r7i.large" } });
    const shown = await project.pulumi(["preview", "--diff"]);
    assert.match(shown.output, /worker-1: its machine will be replaced, its data is kept/);
    const steps = await project.preview();
    assert.deepEqual(of(steps, VOLUME), []);
    assert.deepEqual(of(steps, MEMBER), []);
    assert.deepEqual(of(steps, PLACEMENT), []);
    assert.deepEqual([...new Set(of(steps, INSTANCE).map(({ name }) => name))].sort(), [
        "citus-worker-1",
        "citus-worker-2",
        "citus-worker-3",
    ]);
    const changes = await project.changes(() => project.up());
    const order = changes.filter(({ type }) => type === INSTANCE).map(({ method, name }) => `${method} ${name}`);
    assert.deepEqual(
        order,
        [1, 2, 3].flatMap((n) => [`delete citus-worker-${n}`, `create citus-worker-${n}`]),
    );
    assert.deepEqual(
        changes.filter(({ type }) => type === VOLUME),
        [],
    );
    assert.deepEqual(
        project
            .rows(VOLUME)
            .map(({ id }) => id)
            .sort(),
        volumes.sort(),
    );
    assert.equal(instanceRow("coordinator").id, machines.get("coordinator"));
    for (const n of [1, 2, 3]) assert.notEqual(instanceRow(`worker-${n}`).id, machines.get(`worker-${n}`));
    assert.deepEqual(await nodeTable(), before);
    assert.deepEqual(await look(), books);
    await project.up({}, ["--expect-no-changes"]);
});

test("a volume grows online and never shrinks", { timeout: 300_000 }, async () => {
    const size = async () => {
        const { stdout } = await surroundings.on(
            instanceRow("worker-1").id,
            "df",
            "--output=size",
            "-BG",
            "/var/lib/citus",
        );
        return Number(/(\d+)G\s*$/.exec(stdout)?.[1]);
    };
    const before = await size();
    const instanceType = String(instanceRow("worker-1").props.instanceType);
    await project.config({ worker: { instanceType, volumeSize: before + 20 } });
    const steps = await project.preview();
    assert.deepEqual(of(steps, INSTANCE), []);
    await project.up();
    assert.ok((await size()) >= before + 19, `${await size()} GiB`);
    await project.config({ worker: { instanceType, volumeSize: before } });
    const refused = await project.pulumi(["preview"]);
    await project.config({ worker: { instanceType, volumeSize: before + 20 } });
    assert.notEqual(refused.code, 0);
    assert.match(refused.output, /worker-\d: its volume has \d+ GiB and can't shrink to \d+ GiB/);
    assert.deepEqual(await look(), books);
});

test("another region is refused in preview", { timeout: 120_000 }, async () => {
    const env = { ...project.env, AWS_REGION: "us-east-1" };
    const ran = await run("pulumi", ["preview", "--stack", "prod"], { cwd: project.dir, env });
    assert.notEqual(ran.code, 0);
    assert.match(ran.output, /aws:region is eu-central-1, got us-east-1/);
});

test("a machine that is gone comes back with its data", { timeout: 300_000 }, async () => {
    const { id } = instanceRow("worker-2");
    docker(["rm", "-f", surroundings.container(id)]);
    // and a service that was left stopped is started
    await surroundings.on(instanceRow("worker-1").id, "systemctl", "stop", "citus-node");
    const ran = await project.pulumi(["up", "--yes", "--skip-preview", "--refresh"]);
    assert.equal(ran.code, 0, ran.output);
    assert.notEqual(instanceRow("worker-2").id, id);
    assert.deepEqual(await look(), books);
});

test("backups and a restore point go to the bucket, and a copy is restored from it whole", {
    timeout: 900_000,
}, async () => {
    const backup = await project.npm("backup", "full");
    assert.equal(backup.code, 0, backup.output);
    const listed = await project.npm("backups");
    assert.match(listed.stdout, /citus-prod_\S+ .* yes$/m, listed.output);
    const held = surroundings.cloud;
    assert.ok(held);
    const bucket = String(project.rows(BUCKET)[0]?.props.bucket);
    const stack = (...args: string[]) => run("pulumi", args, { cwd: project.dir, env: project.env });
    const made = await stack("stack", "init", "copy", "--no-select");
    assert.equal(made.code, 0, made.output);
    const config = {
        platform: "aws",
        workers: (await nodeTable()).length - 1,
        citusVersion: testCitus(),
        protect: false,
        backup: false,
        network: { cidr: part(1), zones: 1 },
        settings: { all: { shared_buffers: "128MB" } },
        restoreFrom: { stack: "prod" },
    };
    for (const [key, value] of Object.entries(config)) {
        const text = typeof value === "string" ? value : JSON.stringify(value);
        const set = await stack("config", "set", "--stack", "copy", `citus:${key}`, "--", text);
        assert.equal(set.code, 0, set.output);
    }
    const passphrase = await run(
        "pulumi",
        ["config", "set", "--stack", "copy", "--secret", "citus:restorePassphrase"],
        { cwd: project.dir, env: project.env, input: PASSPHRASE },
    );
    assert.equal(passphrase.code, 0);
    try {
        const up = await stack("up", "--yes", "--skip-preview", "--stack", "copy");
        assert.equal(up.code, 0, up.output);
        const copy = project
            .rows(INSTANCE)
            .map(({ props }) => props.tags as Record<string, string>)
            .find((tags) => tags["citus-cluster"] === "citus-copy");
        assert.deepEqual(await on("coordinator", (session) => fingerprint(session), copy?.["citus-cluster-id"]), books);
        // the origin's bucket is read and never written by the copy
        const machines = new Set(
            project
                .rows(INSTANCE)
                .filter(({ props }) => (props.tags as Record<string, string>)["citus-cluster"] === "citus-copy")
                .map(({ id }) => id),
        );
        const wrote = surroundings
            .requests()
            .filter((r) => machines.has(r.instance) && /Put|Delete/.test(r.action) && r.resource.includes(bucket));
        assert.deepEqual(wrote, []);
    } finally {
        const gone = await stack("destroy", "--yes", "--skip-preview", "--stack", "copy");
        assert.equal(gone.code, 0, gone.output);
    }
    assert.deepEqual(await look(), books);
});

test("shrinking empties the worker before its machine goes, and a direct connection does as well", {
    timeout: 600_000,
}, async () => {
    const workers = (await nodeTable()).length - 2;
    await project.config({ workers, connection: "direct" });
    await project.up();
    assert.equal(project.rows(INSTANCE).length, workers + 1);
    const sent = surroundings.commands().length;
    const status = await project.npm("status");
    assert.equal(status.code, 0, status.output);
    // the databases are asked directly; what only a machine knows, such as its archive, takes one command of each
    assert.ok(surroundings.commands().length - sent <= workers + 1, "status went through SSM");
    assert.deepEqual(await look(), books);
    assert.equal((await nodeTable()).length, workers + 1);
});

test("no secret was in a command, in user data or in the clear in the state", async () => {
    const outputs = await project.outputs<{ password: string }>();
    const state = await project.state();
    const texts = [
        ...surroundings.commands().map((command) => JSON.stringify(command)),
        ...project.rows(INSTANCE).map(({ props }) => JSON.stringify(props)),
        state,
        readFileSync(join(surroundings.site.dir, "requests.log"), "utf8"),
    ];
    assertNoSecret(texts, { "the password": outputs.password, "the passphrase": PASSPHRASE });
});

test("destroy refuses protected data and says how to lift that; lifted, nothing is left", {
    timeout: 600_000,
}, async () => {
    const before = Object.keys(project.world().rows).length;
    const refused = await project.tryDestroy();
    assert.notEqual(refused.code, 0);
    assert.match(refused.output, /protect/);
    assert.equal(Object.keys(project.world().rows).length, before);
    const down = await project.npm("down", "--yes");
    assert.notEqual(down.code, 0);
    assert.match(down.output, /citus:protect false/);
    await project.config({ protect: false });
    const early = await project.npm("down", "--yes");
    assert.notEqual(early.code, 0);
    assert.match(early.output, /still marked to be kept: .* Nothing was changed/);
    await project.up();
    const gone = await project.npm("down", "--yes");
    assert.equal(gone.code, 0, gone.output);
    const kept = Object.values(project.world().rows).map(({ type, props }) => `${type} ${JSON.stringify(props.tags)}`);
    // what left while volumes were to be kept
    assert.ok(
        kept.every((row) => row.startsWith(VOLUME) && /worker-[23]/.test(row)),
        kept.join("\n"),
    );
    assert.ok(of(await project.preview(), CONFIGURATION).length > 0);
    assert.deepEqual(
        [ATTACHMENT, RECORD].flatMap((type) => project.rows(type)),
        [],
    );
});
