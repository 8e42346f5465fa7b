/** Every command of the README, in order, on a clean clone; and what a machine without Docker sees. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { existsSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, test } from "vitest";
import { citusImage, NEW_CITUS_VERSION } from "../../components/config/index.ts";
import { testImage } from "../image.ts";
import { copyProject, docker, ROOT, requireEngine, run, TestStack } from "../lib.ts";

let dir: string;

const sh = (command: string, env: Record<string, string> = {}) => {
    const { PULUMI_BACKEND_URL: _b, PULUMI_CONFIG_PASSPHRASE: _p, NODE_TEST_CONTEXT: _c, ...own } = process.env;
    return run("bash", ["-c", command], { cwd: dir, env: { ...own, ...env } });
};

/** The README's own commands: each line of each block that says sh. */
function commands(): string[] {
    const blocks = [...readFileSync(join(ROOT, "README.md"), "utf8").matchAll(/^```sh\n([\s\S]*?)^```/gm)];
    return blocks
        .flatMap(([, body]) => (body ?? "").split("\n"))
        .map((line) => line.replace(/\s{2,}#.*$/, "").trim())
        .filter((line) => line !== "");
}

const clusterIds = () =>
    docker([
        "ps",
        "-aq",
        "--filter",
        "label=citus.cluster=citus-dev",
        "--filter",
        `label=citus.cluster-id=${id}`,
    ]).trim();
let id = "none";

beforeAll(() => {
    requireEngine();
    dir = copyProject(false);
    // the default's image where it is here; else the tests' own, as a user would set it
    if (docker(["image", "ls", "-q", citusImage(NEW_CITUS_VERSION)]).trim() === "") {
        const settings = join(dir, "Pulumi.dev.yaml");
        writeFileSync(settings, `${readFileSync(settings, "utf8")}  citus:image: ${testImage()}\n`);
    }
    execFileSync(
        "bash",
        ["-c", "git init -q && git add -A && git -c user.name=t -c user.email=t@example.com commit -qm clone"],
        { cwd: dir },
    );
});

afterAll(async () => {
    if (existsSync(join(dir, "node_modules"))) await sh("npm run -s down");
    rmSync(dir, { recursive: true, force: true });
});

test("npm install && npm start, as the README has it", async () => {
    const [start] = commands();
    assert.equal(start, "npm install && npm start");
    const ran = await sh(start);
    assert.equal(ran.code, 0, ran.output);
    assert.match(
        ran.output,
        /citus-dev: PostgreSQL 17\.[0-9]+, Citus 1[0-9]\.[0-9.]+, 2 workers, TLS verified, balanced/,
    );
    assert.match(ran.output, /worker-2 +ready/);
    assert.match(ran.output, /npm run psql/);
    assert.equal((await sh("git status --porcelain")).stdout, "", "git status is not clean");
    assert.equal(statSync(join(dir, ".state", "passphrase")).mode & 0o777, 0o600);
    const containers = docker(["ps", "--filter", "label=citus.cluster=citus-dev", "--format", "{{.Names}}"])
        .trim()
        .split("\n");
    assert.ok(containers.length >= 3);
    const exported = JSON.parse((await sh("npm run -s pulumi -- stack export")).stdout) as {
        deployment: { resources: { type: string; outputs?: { hex?: string } }[] };
    };
    id = exported.deployment.resources.find((r) => r.type === "random:index/randomId:RandomId")?.outputs?.hex ?? "none";
});

test("a second npm start changes nothing and says the same", async () => {
    const ran = await sh("npm start");
    assert.equal(ran.code, 0, ran.output);
    assert.match(ran.output, /healthy · balanced/);
});

test("every other command of the README works, in order", { timeout: 1_200_000 }, async () => {
    // format would rewrite, e2e is this
    const skip = new Set(["npm install && npm start", "npm run format", "npm run test:e2e"]);
    const rest = commands().filter((command) => !skip.has(command));
    assert.ok(
        rest.includes("npm run down") && rest.includes("npm install && npm test") && rest.length >= 14,
        rest.join("\n"),
    );
    // the last two take it down, which comes after what else is tried on it
    assert.deepEqual(rest.slice(-2), ["npm run down", "git checkout Pulumi.dev.yaml"]);
    // what each preview of the tour has to say
    const previews = [/moves [0-9]+ shard groups/, /acme: create schema/];
    for (const command of rest.slice(0, -2)) {
        const ran = await sh(command);
        assert.equal(ran.code, 0, `${command}\n${ran.output}`);
        if (command === "npm run preview") assert.match(ran.output, previews.shift() ?? /nothing more is previewed/);
        if (command.startsWith("npm run psql") && command.includes("count(*) FROM projects"))
            assert.match(ran.stdout, /20000/);
    }
    assert.deepEqual(previews, []);
});

test("by hand with the printed environment it is the same stack", async () => {
    const ran = await sh(
        'eval "$(npm run -s env)" && psql "$(pulumi stack output connectionString --show-secrets)" -Atc "SELECT count(*) FROM plans" && pulumi up --yes --skip-preview --expect-no-changes',
    );
    assert.equal(ran.code, 0, ran.output);
    assert.match(ran.stdout, /^3$/m);
});

test("status as data, with an exit code", async () => {
    const ran = await sh("npm run -s status -- --json");
    assert.equal(ran.code, 0, ran.output);
    const status = JSON.parse(ran.stdout) as {
        healthy: boolean;
        nodes: { name: string; state: string }[];
        movesLeft: number;
    };
    assert.equal(status.healthy, true);
    assert.equal(status.movesLeft, 0);
    assert.deepEqual(status.nodes.map((node) => node.name).sort(), ["coordinator", "worker-1", "worker-2"]);
});

test("status names a worker that does not answer, and exits with 1", async () => {
    const worker = docker([
        "ps",
        "-q",
        "--filter",
        `label=citus.cluster-id=${id}`,
        "--filter",
        "label=citus.node=worker-1",
    ]).trim();
    docker(["stop", worker]);
    const ran = await sh("npm run -s status");
    docker(["start", worker]);
    assert.equal(ran.code, 1, ran.output);
    assert.match(ran.output, /worker-1 is unreachable/);
});

test("npm run down leaves nothing behind", async () => {
    const ran = await sh("npm run down");
    assert.equal(ran.code, 0, ran.output);
    const filter = `label=citus.cluster-id=${id}`;
    assert.equal(clusterIds(), "");
    assert.equal(docker(["volume", "ls", "-q", "--filter", filter]).trim(), "");
    assert.equal(docker(["network", "ls", "-q", "--filter", filter]).trim(), "");
    assert.equal((await sh("npm run -s status")).code, 2);
    assert.equal((await sh("git checkout Pulumi.dev.yaml && git status --porcelain")).stdout, "");
});

test("without a Docker engine npm start says in one screen what is missing, and preview works", async () => {
    const nowhere = { DOCKER_HOST: "unix:///nowhere/docker.sock" };
    const ran = await sh("npm start", nowhere);
    assert.equal(ran.code, 1);
    assert.match(ran.output, /This machine is not ready for a local cluster:/);
    assert.match(ran.output, /Docker engine +not reachable at unix:\/\/\/nowhere\/docker\.sock/);
    assert.match(ran.output, /Nothing was changed/);
    assert.ok(ran.output.split("\n").length < 25, "more than a screen");
    const preview = await sh("npm run preview", nowhere);
    assert.equal(preview.code, 0, preview.output);
    assert.match(preview.output, /\+ [0-9]+ to create/);
});

test("preview without a Docker engine on a stack that exists shows the diff", async () => {
    const stack = await TestStack.make({ workers: 1, shardCount: 4 });
    try {
        await stack.up();
        await stack.config({ workers: 2 });
        const preview = await run("pulumi", ["preview", "--stack", stack.name], {
            cwd: stack.dir,
            env: { ...stack.env, DOCKER_HOST: "unix:///nowhere/docker.sock" },
        });
        assert.equal(preview.code, 0, preview.output);
        assert.match(preview.output, /worker-2/);
        assert.match(preview.output, /Placement citus-shards update/);
    } finally {
        await stack.destroy();
    }
});

test("bad configuration never reaches the engine, and every mistake is named", async () => {
    const stack = await TestStack.make({});
    try {
        await stack.config({ workers: "many", database: "postgres", rebalance: { strategy: "by_magic" }, wrokers: 3 });
        const ran = await stack.pulumi(["up", "--yes", "--skip-preview"]);
        assert.notEqual(ran.code, 0);
        for (const part of [
            "citus:workers must be a whole number",
            "citus:database must not be",
            "citus:rebalance.strategy must be one of",
            "did you mean citus:workers",
        ]) {
            assert.ok(ran.output.includes(part), `${part}\n${ran.output}`);
        }
        assert.deepEqual(stack.leftovers(), []);
    } finally {
        await stack.destroy();
    }
});
