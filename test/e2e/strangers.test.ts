/** A machine that is not ours: another project's Pulumi in the environment, an odd path, an old CLI on PATH. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import {
    chmodSync,
    existsSync,
    mkdirSync,
    mkdtempSync,
    readFileSync,
    rmSync,
    symlinkSync,
    writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { afterAll, beforeAll, test } from "vitest";
import { copyProject, docker, type Ran, requireEngine, run } from "../lib.ts";

const ID = randomBytes(3).toString("hex");
/** Names this cluster's containers apart from those of any other stack called dev. */
const NAME = `stranger-${ID}`;
const OLD = "v3.100.0";

let above: string;
let dir: string;

/** The newest image of the machine's that has PostgreSQL 17. */
function testImage(): string {
    if (process.env.CITUS_TEST_IMAGE) return process.env.CITUS_TEST_IMAGE;
    const tags = docker([
        "images",
        "--filter",
        "reference=citusdata/citus:*-pg17",
        "--format",
        "{{.Repository}}:{{.Tag}}",
    ]);
    const [newest] = tags
        .trim()
        .split("\n")
        .sort((a, b) => b.localeCompare(a, "en", { numeric: true }));
    if (!newest) throw new Error("no citusdata/citus:*-pg17 on this machine: docker pull one, or set CITUS_TEST_IMAGE");
    return newest;
}

/** What another project left in the environment. */
const FOREIGN = {
    PULUMI_CONFIG_PASSPHRASE: "of-another-project",
    PULUMI_CONFIG_PASSPHRASE_FILE: "/nowhere/passphrase",
    PULUMI_ACCESS_TOKEN: "pul-0000000000000000000000000000000000000000",
    PGSERVICE: "of-another-server",
    PGSSLMODE: "disable",
};

/** An npm script in the odd folder, as a stranger's shell has it. */
function npm(line: string, env: NodeJS.ProcessEnv = {}): Promise<Ran> {
    const { PULUMI_BACKEND_URL: _b, PULUMI_HOME: _h, NODE_TEST_CONTEXT: _c, ...own } = process.env;
    const PATH = [join(above, "old"), process.env.PATH].join(delimiter);
    return run("bash", ["-c", `npm ${line}`], { cwd: dir, env: { ...own, ...FOREIGN, PATH, ...env } });
}

const leftovers = () => {
    const filter = `label=citus.cluster=${NAME}`;
    return [
        ["ps", "-aq"],
        ["volume", "ls", "-q"],
        ["network", "ls", "-q"],
    ]
        .map((command) => docker([...command, "--filter", filter]).trim())
        .join("");
};

beforeAll(() => {
    requireEngine();
    above = mkdtempSync(join(tmpdir(), "citus-strangers-"));
    const odd = join(above, "a b #1 %2F ü日 it's");
    mkdirSync(odd);
    dir = copyProject(true, odd);
    writeFileSync(
        join(dir, "Pulumi.dev.yaml"),
        `config:\n  citus:name: ${NAME}\n  citus:workers: "1"\n  citus:image: ${testImage()}\n  citus:backup: false\n`,
    );
    // an old CLI comes first on PATH; the right one is where the scripts would download it to
    mkdirSync(join(above, "old"));
    const old = join(above, "old", "pulumi");
    writeFileSync(old, `#!/bin/sh\n[ "$1" = version ] && { echo ${OLD}; exit 0; }\n: > '${above}/used'\nexit 1\n`);
    chmodSync(old, 0o755);
    mkdirSync(join(dir, ".state", "cli", "bin"), { recursive: true, mode: 0o700 });
    const right = (process.env.PATH ?? "").split(delimiter).find((one) => existsSync(join(one, "pulumi")));
    assert.ok(right, "the Pulumi CLI on PATH");
    for (const name of ["pulumi", "pulumi-language-nodejs"])
        if (existsSync(join(right, name))) symlinkSync(join(right, name), join(dir, ".state", "cli", "bin", name));
});

afterAll(async () => {
    if (dir !== undefined && leftovers() !== "") await npm("run -s down -- --yes");
    const left = leftovers();
    rmSync(above, { recursive: true, force: true });
    assert.equal(left, "", "containers, volumes or networks are left");
});

test("npm start, in an odd folder, with another project's passphrase and token, and an old CLI first on PATH", async () => {
    const ran = await npm("-s start");
    assert.equal(ran.code, 0, ran.output);
    assert.match(ran.stdout, new RegExp(`^${NAME} · PostgreSQL 17\\..* · healthy`, "m"));
    assert.equal(existsSync(join(above, "used")), false, "the old CLI was used");
    assert.equal(existsSync(join(dir, ".state", "dev", "ca.crt")), true);
});

test("status, psql and a preview without a change", async () => {
    const status = await npm("run -s status -- --json");
    assert.equal(status.code, 0, status.output);
    const health = JSON.parse(status.stdout) as { cluster: string; healthy: boolean; nodes: { name: string }[] };
    assert.equal(health.cluster, NAME);
    assert.deepEqual(health.nodes.map(({ name }) => name).sort(), ["coordinator", "worker-1"]);
    const psql = await npm("run -s psql -- -XAtc 'SELECT count(*) FROM pg_dist_node'");
    assert.equal(psql.stdout, "2\n", psql.output);
    const preview = await npm("run -s preview -- --expect-no-changes");
    assert.equal(preview.code, 0, preview.output);
});

test("a login to Pulumi Cloud, in a home that never selected a stack, is not asked", async () => {
    const home = join(above, "pulumi home");
    const url = "https://127.0.0.1:1";
    mkdirSync(home);
    const login = { current: url, accessTokens: { [url]: "pul-0" }, accounts: { [url]: { accessToken: "pul-0" } } };
    writeFileSync(join(home, "credentials.json"), JSON.stringify(login));
    const ran = await npm("run -s status -- --json", { PULUMI_HOME: home });
    assert.equal(ran.code, 0, ran.output);
    assert.equal((JSON.parse(ran.stdout) as { cluster: string }).cluster, NAME);
});

test("a passphrase that is gone is named by every script, and none is made", async () => {
    const file = join(dir, ".state", "passphrase");
    const kept = readFileSync(file, "utf8");
    rmSync(file);
    for (const line of ["-s start", "run -s status", "run -s psql -- -c 'SELECT 1'", "run -s down -- --yes"]) {
        const ran = await npm(line);
        assert.equal(ran.code, 2, ran.output);
        assert.match(ran.stderr, /^The passphrase of this project's state is gone/, line);
    }
    assert.equal(existsSync(file), false);
    writeFileSync(file, kept, { mode: 0o600 });
});

test("on a backend that is named, its passphrase is used; a wrong one is named by every script, not taken for no cluster", async () => {
    // the same state, as a user would name it
    const state = join(dir, ".state");
    const passphrase = readFileSync(join(state, "passphrase"), "utf8").trim();
    const named = {
        PULUMI_BACKEND_URL: `file://${encodeURI(join(state, "pulumi")).replaceAll("#", "%23")}`,
        PULUMI_CONFIG_PASSPHRASE: passphrase,
    };
    const right = await npm("run -s status -- --json", named);
    assert.equal(right.code, 0, right.output);
    const wrong = { ...named, PULUMI_CONFIG_PASSPHRASE: "wrong" };
    for (const line of ["-s start", "run -s status", "run -s psql -- -c 'SELECT 1'", "run -s down -- --yes"]) {
        const ran = await npm(line, wrong);
        assert.equal(ran.code, 2, ran.output);
        assert.match(ran.stderr, /is encrypted with a passphrase, and the one that is set is wrong/, line);
        assert.match(ran.stderr, /Pulumi says: .*incorrect passphrase/, line);
        assert.doesNotMatch(ran.output, /There is no cluster/, line);
    }
    const nowhere = await npm("run -s status", { ...named, PULUMI_BACKEND_URL: "file:///nowhere/at/all" });
    assert.equal(nowhere.code, 2);
    assert.match(nowhere.stderr, /^The backend file:\/\/\/nowhere\/at\/all can't be read/);
});

test("a home and a temporary folder that can't be written are done without", async () => {
    const nowhere = { HOME: "/proc/self", PULUMI_HOME: "/proc/self/pulumi", TMPDIR: "/proc/self/tmp" };
    // npm itself does not start with such a home
    const ran = await run("node", ["scripts/status.ts", "--json"], {
        cwd: dir,
        env: { ...process.env, ...FOREIGN, PULUMI_BACKEND_URL: "", ...nowhere },
    });
    assert.equal(ran.code, 0, ran.output);
    assert.equal((JSON.parse(ran.stdout) as { healthy: boolean }).healthy, true);
});

test("npm run down", async () => {
    const ran = await npm("run -s down");
    assert.equal(ran.code, 0, ran.output);
    assert.equal(leftovers(), "");
    const none = await npm("run -s status");
    assert.equal(none.code, 2);
    assert.match(none.stderr, /^There is no cluster in stack dev/);
    assert.equal(existsSync(join(above, "used")), false, "the old CLI was used");
});
