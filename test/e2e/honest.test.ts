/** What `up`, `preview` and `status` say of a cluster that does not answer, or is given what PostgreSQL refuses: never green. */
import assert from "node:assert/strict";
import { afterAll, beforeAll, test } from "vitest";
import { docker, type Ran, requireEngine, run, TestStack, until } from "../lib.ts";

let stack: TestStack;
const WRONG = {
    all: { shared_bufers: "1GB" },
    workers: { work_mem: "lots", shared_preload_libraries: "nosuch" },
    coordinator: { "citus.bla": "3" },
};

beforeAll(async () => {
    requireEngine();
    stack = await TestStack.make({
        workers: 2,
        shardCount: 8,
        tenantGroups: { clinics: { model: "schema", tenants: { acme: {} } } },
    });
});

afterAll(() => stack?.destroy());

async function timed(what: Promise<Ran>): Promise<Ran & { readonly seconds: number }> {
    const began = Date.now();
    return { ...(await what), seconds: (Date.now() - began) / 1000 };
}

interface Diagnostic {
    readonly urn?: string;
    readonly message: string;
    readonly severity: string;
}

/** What a preview says, each once. */
async function previewed(...args: string[]): Promise<Diagnostic[]> {
    const ran = await stack.pulumi(["preview", "--json", ...args]);
    return (JSON.parse(ran.stdout) as { diagnostics?: Diagnostic[] }).diagnostics ?? [];
}

interface Status {
    readonly healthy: boolean;
    readonly movesLeft?: number;
    readonly nodes: { readonly name: string; readonly state: string; readonly reason?: string }[];
}

const status = async () => JSON.parse((await stack.npm("status", "--json")).stdout) as Status;
const noChange = async () => {
    const ran = await stack.pulumi(["preview", "--json"]);
    const { steps } = JSON.parse(ran.stdout) as { steps: { op: string; urn: string }[] };
    assert.deepEqual(
        // whether the engine answers in time is the provider's own row
        steps
            .filter(({ op, urn }) => op !== "same" && !urn.includes("$pulumi:providers:"))
            .map(({ op, urn }) => `${op} ${urn}`),
        [],
        ran.output,
    );
};
const times = (text: string, part: string) => text.split(part).length - 1;
/** The errors as Pulumi sums them up at the end. */
const diagnosticsOf = ({ output }: Ran) => output.slice(output.indexOf("Diagnostics:"));

/** Every mistake, and each of them once. */
function namesEveryMistake(text: string): void {
    for (const part of [
        'citus:settings.all.shared_bufers got "1GB" - PostgreSQL says: unrecognized configuration parameter "shared_bufers"; did you mean shared_buffers?',
        'citus:settings.workers.work_mem got "lots" - PostgreSQL says: invalid value for parameter "work_mem": "lots"',
        'citus:settings.workers.shared_preload_libraries got "nosuch" - PostgreSQL was started with it on worker-',
    ])
        assert.equal(times(text, part), 1, `${part}\n${text}`);
}

test("a first up with settings that PostgreSQL refuses names all of them at once, and no node is given them", async () => {
    const failed = await timed(stack.tryUp({ settings: WRONG }));
    assert.notEqual(failed.code, 0);
    assert.ok(failed.seconds < 120, `${failed.seconds} s`);
    namesEveryMistake(diagnosticsOf(failed));
    for (const node of ["coordinator", "worker-1", "worker-2"]) {
        assert.equal(docker(["inspect", stack.container(node), "--format", "{{.RestartCount}}"]).trim(), "0", node);
        const given = await stack.onNode(node, "test", "-e", "/var/lib/citus/conf/current");
        assert.equal(given.code, 1, `${node} was configured`);
    }
    await stack.up({ settings: undefined });
    await stack.sql("CREATE TABLE t (id bigint PRIMARY KEY)");
    await stack.sql("SELECT create_distributed_table('t', 'id')");
    await stack.sql("INSERT INTO t SELECT generate_series(1, 500)");
    await noChange();
});

test("preview asks the running node about settings, libraries' own too; nothing is changed", async () => {
    await stack.config({ settings: WRONG });
    const errors = (await previewed()).filter(({ severity }) => severity === "error").map(({ message }) => message);
    namesEveryMistake(errors.join("\n"));
    assert.match(
        errors.join("\n"),
        /citus:settings\.coordinator\.citus\.bla got "3" - PostgreSQL says: .*reserved prefix/,
    );
    assert.match(errors.join("\n"), /allowed: 64 to 2147483647, in units of kB/);
    await stack.config({ settings: undefined });
    await noChange();
});

test("a machine that is replaced is told of once, and of its settings nothing that it makes untrue", async () => {
    await stack.config({ coordinator: { memory: "1200MB" } });
    const said = (await previewed()).filter(({ urn }) => urn?.endsWith("Configuration::citus-coordinator"));
    assert.equal(said.length, 1, JSON.stringify(said));
    assert.match(
        said[0]?.message ?? "",
        /^coordinator: its machine will be replaced, its data is kept \(database \d+\)/,
    );
    assert.match(said[0]?.message ?? "", /then .*shared_buffers 256MB → 300MB.*one more restart for .*shared_buffers/);
    assert.doesNotMatch(said[0]?.message ?? "", /needs a restart of|reloaded/);
    await stack.config({ coordinator: undefined });
});

test("a node that does not answer is named at once by status, preview and up, and up fails", async () => {
    await stack.closeSessions();
    // this machine's own pace; Citus alone would wait 30 s for each question to each silent node
    const pace = {
        status: await timed(stack.npm("status", "--json")),
        preview: await timed(stack.pulumi(["preview"])),
    };
    const container = stack.container("worker-2");
    docker(["pause", container]);
    try {
        const looked = await timed(stack.npm("status", "--json"));
        const found = JSON.parse(looked.stdout) as Status;
        assert.equal(looked.code, 1, looked.output);
        assert.ok(looked.seconds < 2 * pace.status.seconds + 8, `${looked.seconds} s, else ${pace.status.seconds} s`);
        assert.equal(found.movesLeft, undefined, "nobody knows whether it is balanced");
        const node = found.nodes.find(({ name }) => name === "worker-2");
        assert.equal(node?.state, "unreachable");
        assert.match(node?.reason ?? "", /is paused: docker unpause/);

        const preview = await timed(stack.pulumi(["preview"]));
        assert.equal(preview.code, 0, preview.output);
        assert.ok(
            preview.seconds < 2 * pace.preview.seconds + 8,
            `${preview.seconds} s, else ${pace.preview.seconds} s`,
        );
        assert.match(preview.output, /worker-2 does not answer: .*its container \S+ is paused: docker unpause/);

        const up = await timed(stack.tryUp());
        assert.notEqual(up.code, 0, "up was green with a node that does not answer");
        assert.ok(up.seconds < 2 * pace.preview.seconds + 30, `up took ${up.seconds} s`);
        assert.match(diagnosticsOf(up), /error: worker-2 does not answer/);
    } finally {
        docker(["unpause", container]);
    }
    await stack.up();
    await noChange();
});

test("a cluster whose containers are gone: up fails with the next step, preview works, up --refresh mends", async () => {
    await stack.closeSessions();
    docker(["rm", "-f", stack.container("worker-1")]);
    const worker = (await status()).nodes.find(({ name }) => name === "worker-1");
    assert.match(worker?.reason ?? "", /is gone: npm run pulumi -- up --refresh/);
    const without = await stack.tryUp();
    assert.notEqual(without.code, 0, "up was green without worker-1");
    assert.match(diagnosticsOf(without), /error: worker-1 does not answer: .* is gone: npm run pulumi -- up --refresh/);

    docker(["rm", "-f", stack.container("coordinator")]);
    const dead = await timed(stack.tryUp());
    assert.notEqual(dead.code, 0, "up was green without a coordinator");
    assert.ok(dead.seconds < 55, `up took ${dead.seconds} s, so it waited a minute for a container that is gone`);
    assert.match(diagnosticsOf(dead), /error: coordinator does not answer: .* is gone: npm run pulumi -- up --refresh/);

    // as in CI, where neither the cluster nor an engine is
    const preview = await run("pulumi", ["preview", "--stack", stack.name], {
        cwd: stack.dir,
        env: { ...stack.env, DOCKER_HOST: "unix:///nowhere/docker.sock" },
    });
    assert.equal(preview.code, 0, preview.output);
    assert.match(preview.output, /Placement citus-shards update/);
    assert.match(preview.output, /coordinator does not answer: .*\n.*not known here whether the cluster is well/);

    const mended = await stack.up({}, ["--refresh"]);
    for (const node of ["coordinator", "worker-1"])
        assert.equal(
            times(diagnosticsOf(mended), `${node}: its machine was replaced, its data is kept`),
            1,
            mended.output,
        );
    const [row] = await stack.sql<{ n: number }>("SELECT count(*)::int AS n FROM t");
    assert.equal(row?.n, 500);
    await noChange();
    await until("healthy", 60, async () => (await status()).healthy);
});

test("a destroy of the whole cluster tells nobody that a group of tenants stays", async () => {
    await stack.closeSessions();
    const ran = await stack.pulumi(["destroy", "--yes", "--skip-preview"]);
    assert.equal(ran.code, 0, ran.output);
    assert.doesNotMatch(ran.output, /left the program/);
    assert.deepEqual(stack.leftovers(), []);
});
