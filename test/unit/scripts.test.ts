/** Shell files, and what a person sees while a cluster is made. */
import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import {
    copyFileSync,
    existsSync,
    globSync,
    mkdirSync,
    mkdtempSync,
    readFileSync,
    rmSync,
    symlinkSync,
    writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { describe, test } from "node:test";
import type { EngineEvent } from "@pulumi/pulumi/automation/index.js";
import type { ListrTask } from "listr2";
import { pause } from "../../components/pause.ts";
import { Phases } from "../../scripts/lib/phases.ts";
import { describeFindings, explainFindings } from "../../scripts/lib/preflight.ts";

const ROOT = join(import.meta.dirname, "..", "..");
const shell = globSync("scripts/node/**/*.sh", { cwd: ROOT }).sort();
const all = globSync("scripts/node/**/*.*", { cwd: ROOT }).sort();
const read = (file: string) => readFileSync(join(ROOT, file), "utf8");
/** Without comments. */
const code = (file: string) => read(file).replace(/^\s*(#|--)(?!!).*$/gm, "");

describe("node scripts", () => {
    test("there are some", () => assert.ok(shell.length >= 4, shell.join()));

    for (const file of shell) {
        test(`${basename(file)} is bash`, () => {
            const { status, stderr } = spawnSync("bash", ["-n", file], { cwd: ROOT, encoding: "utf8" });
            assert.equal(status, 0, stderr);
            assert.match(read(file), /^#!\/usr\/bin\/env bash\n/);
        });

        test(`${basename(file)} stops at the first error`, () => {
            assert.ok(/^set -euo pipefail$/m.test(read(file)) || /^ *\. "\$here\/(lib|aws)\.sh"$/m.test(read(file)));
        });

        test(`${basename(file)} takes no secret as an argument or from the environment`, () => {
            // to pg_ctl -W means that it does not wait
            const text = code(file).replace(/(?<=\/pg_ctl"? start\b.*) -W\b/g, "");
            assert.doesNotMatch(text, /PGPASSWORD|PASSWORD=|--password|-W\b|password=|PGPASSFILE/);
            // the verifier travels as a file's name, and keys as files
            assert.doesNotMatch(code(file), /\$\(\s*(cat|<)\s*"?[^")]*(verifier|node\.key)/);
            assert.doesNotMatch(code(file), /-v (verifier|password)=/);
            // nothing shows what the script does with values
            assert.doesNotMatch(code(file), /set -[a-z]*x/);
        });
    }

    for (const file of all) {
        test(`${basename(file)} never trusts`, () => {
            assert.doesNotMatch(code(file), /\btrust\b|\bmd5\b/);
            assert.doesNotMatch(code(file), /sslmode=(disable|allow|prefer|require|verify-ca)\b/);
        });
    }

    for (const file of shell.filter((name) => name.includes("/aws/"))) {
        test(`${basename(file)} shows a role's credentials to nothing but curl's standard input`, () => {
            const lines = code(file)
                .split("\n")
                .filter((line) => /\$\{?(access_key|secret_key|session_token|imds_token)\b/.test(line));
            for (const line of lines) {
                // printf and [ are the shell's own: nothing of theirs shows in a process list
                assert.match(line, /^ *((\[ .* \] (\|\| )?)?printf '|\[ -[nz] )/, line);
            }
            assert.doesNotMatch(code(file), /\bexport [^\n]*(key|token|secret)/i);
            assert.doesNotMatch(code(file), /curl[^|]* (-u|--user)\b/);
        });
    }

    test("a command of a machine's agent runs as postgres with an environment of its own", () => {
        assert.match(code("scripts/node/aws/remote.sh"), /runuser -u postgres -- env -i PATH=/);
    });

    test("configure.sh is given what is no secret, and takes the rest from its standard input", () => {
        const text = code("scripts/node/configure.sh");
        const taken = text.split("\n").filter((line) => /^[a-z_]+=\$\{?[0-9]/.test(line));
        assert.deepEqual(taken, ["cluster_id=$1", "expected=$2"]);
        assert.match(text, /^tar -xf - /m);
        assert.match(text, /^umask 077$/m);
    });

    test("the image holds no secret and does not run as root", () => {
        for (const name of ["packages", "node"]) {
            const text = read(`scripts/node/image/${name}.Dockerfile`);
            assert.doesNotMatch(text, /PASSWORD|SECRET|\bKEY\b/i);
            const users = text.split("\n").filter((line) => line.startsWith("USER "));
            assert.equal(users.at(-1), "USER postgres");
        }
    });
});

describe("backup.sh", { skip: spawnSync("flock", ["--version"]).error !== undefined && "there is no flock" }, () => {
    /** The script with a lib.sh that only says what would be run. `may`: whether retention may drop what it would. */
    function run(types: string, given: { may?: boolean; waits?: boolean; off?: boolean; locked?: boolean } = {}) {
        const dir = mkdtempSync(join(tmpdir(), "citus-backup-"));
        try {
            copyFileSync(join(ROOT, "scripts/node/backup.sh"), join(dir, "backup.sh"));
            mkdirSync(join(dir, "backup"));
            const waits = join(dir, "backup", "expire.waits");
            if (given.waits) writeFileSync(waits, "");
            const psql = `#!/usr/bin/env bash\ncase "$*" in *due.sql*) echo incr ;; *fulls.sql*) echo 4 ;; *keep.sql*) echo ${given.may ? 2 : 4} ;; esac\n`;
            writeFileSync(join(dir, "psql"), psql, { mode: 0o755 });
            writeFileSync(
                join(dir, "lib.sh"),
                `set -euo pipefail
pgbin=${dir} socket=${dir} backup_home=${dir}/backup
archiving() { ${given.off ? "false" : "true"}; }
read_backup_conf() { cluster=c1 stanza=c1-worker-1 full=1 diff=1 incr=1 retention=2 window=""; }
die() { echo "\${*:2}" >&2; exit "$1"; }
say() { :; }
pgb() { case "$*" in *" info" | repo-*) ;; *) echo "$*" >> ${dir}/ran ;; esac; }
`,
            );
            const command = ["bash", join(dir, "backup.sh"), ...types.split(" ")];
            const lock = ["flock", join(dir, "backup", "backup.lock")];
            const [program = "", ...args] = given.locked ? [...lock, ...command] : command;
            const { status, stderr } = spawnSync(program, args, { encoding: "utf8" });
            const ran = existsSync(join(dir, "ran")) ? readFileSync(join(dir, "ran"), "utf8").trim().split("\n") : [];
            return { status, stderr, ran, waits: existsSync(waits) };
        } finally {
            rmSync(dir, { recursive: true });
        }
    }
    const BACKUP = (type: string) => `--stanza=c1-worker-1 --type=${type} --no-expire-auto backup`;
    const EXPIRE = "--stanza=c1-worker-1 --repo1-retention-full=2 expire";

    test("a backup expires what retention lets go", () => {
        assert.deepEqual(run("full", { may: true }), {
            status: 0,
            stderr: "",
            ran: [BACKUP("full"), EXPIRE],
            waits: false,
        });
        assert.deepEqual(run("due", { may: true }).ran, [BACKUP("incr"), EXPIRE]);
    });

    test("what the newest point needs stays, and that something waits is remembered", () => {
        assert.deepEqual(run("full", { may: false }), { status: 0, stderr: "", ran: [BACKUP("full")], waits: true });
    });

    test("told to keep, it expires nothing", () => {
        assert.deepEqual(run("full keep", { may: true }).ran, [BACKUP("full")]);
    });

    test("expire makes no backup, and does nothing when nothing waits", () => {
        assert.deepEqual(run("expire", { may: true }), { status: 0, stderr: "", ran: [], waits: false });
        assert.deepEqual(run("expire", { may: true, waits: true }), {
            status: 0,
            stderr: "",
            ran: [EXPIRE],
            waits: false,
        });
    });

    test("expire waits on while there is no newer point", () => {
        assert.deepEqual(run("expire", { may: false, waits: true }), { status: 0, stderr: "", ran: [], waits: true });
    });

    test("expire and due leave it to a backup that is running", () => {
        for (const type of ["expire", "due"])
            assert.deepEqual(run(type, { may: true, waits: true, locked: true }), {
                status: 75,
                stderr: "",
                ran: [],
                waits: true,
            });
    });

    test("does nothing where backups are off", () => {
        for (const type of ["full", "due", "expire"]) {
            const { status, ran } = run(type, { off: true, waits: true, may: true });
            assert.deepEqual([status, ran], [78, []]);
        }
    });

    test("the schedule asks for it where something waits", () => {
        assert.match(
            code("scripts/node/schedule.sh"),
            /if \[ -e "\$backup_home\/expire\.waits" \] .*; then job expire "\$here\/backup\.sh" expire; fi/,
        );
    });
});

describe("schedule.sh", { skip: spawnSync("flock", ["--version"]).error !== undefined && "there is no flock" }, () => {
    /** Runs it with restore points that fail as often as is said, until `tries` of them were taken. */
    async function run(failures: number, tries: number): Promise<{ error: boolean; failed: boolean }> {
        const dir = mkdtempSync(join(tmpdir(), "citus-schedule-"));
        copyFileSync(join(ROOT, "scripts/node/schedule.sh"), join(dir, "schedule.sh"));
        const script = (name: string, text: string) =>
            writeFileSync(join(dir, name), `#!/usr/bin/env bash\n${text}\n`, { mode: 0o755 });
        script("archive.sh", "exit 0");
        script("backup.sh", "exit 75");
        script(
            "restore-point.sh",
            // one that gives way ends nothing; that it came says that the one before has ended
            `echo x >> ${dir}/tries\nn=$(wc -l < ${dir}/tries)\n[ "$n" -le ${tries} ] || exit 75\n[ "$n" -le ${failures} ] || exit 0\necho "canceling statement due to lock timeout" >&2\nexit 74`,
        );
        writeFileSync(
            join(dir, "lib.sh"),
            `set -euo pipefail
backup_home=${dir}/backup
archiving() { true; }
running() { true; }
query() { echo f; }
say() { :; }
one_line() { cat; }
read_backup_conf() { role=coordinator restore_point=1; }
`,
        );
        const child = spawn("bash", [join(dir, "schedule.sh")], { stdio: "ignore" });
        try {
            const taken = () =>
                existsSync(join(dir, "tries")) ? readFileSync(join(dir, "tries"), "utf8").length / 2 : 0;
            for (const end = Date.now() + 20_000; taken() <= tries && Date.now() < end; ) await pause(50);
            assert.ok(taken() > tries, `${taken()} tries`);
            const there = (name: string) => existsSync(join(dir, "backup", name));
            return { error: there("restore-point.error"), failed: there("restore-point.failed") };
        } finally {
            child.kill("SIGKILL");
            rmSync(dir, { recursive: true, maxRetries: 10, retryDelay: 100 });
        }
    }

    test("a restore point that fails once is tried again, and no error is left for people", async () => {
        assert.deepEqual(await run(1, 1), { error: false, failed: true });
        assert.deepEqual(await run(1, 2), { error: false, failed: false });
    });

    test("two that fail one after the other are an error", async () => {
        assert.deepEqual(await run(2, 2), { error: true, failed: true });
    });

    test("a point that is taken by hand forgets both", () => {
        assert.match(
            code("scripts/node/restore-point.sh"),
            /rm -f "\$backup_home\/restore-point\.error" "\$backup_home\/restore-point\.failed"/,
        );
    });
});

describe("a server that is starting while its configuration comes", () => {
    const FILES = [
        "postgresql.conf",
        "pg_hba.conf",
        "pg_ident.conf",
        "ca.crt",
        "node.crt",
        "node.key",
        "verifier",
        "database",
    ];

    /** configure.sh, or apply.sh, with a lib.sh whose server answers or not. */
    function run(script: string, answers: boolean): { code: number; printed: string; asked: string } {
        const dir = mkdtempSync(join(tmpdir(), "citus-configure-"));
        try {
            for (const name of ["configure.sh", "apply.sh", "password.sql"])
                copyFileSync(join(ROOT, "scripts/node", name), join(dir, name));
            mkdirSync(join(dir, "home", "pgdata"), { recursive: true });
            mkdirSync(join(dir, "home", "conf", "old"), { recursive: true });
            mkdirSync(join(dir, "incoming"));
            for (const name of FILES) writeFileSync(join(dir, "incoming", name), "new\n");
            writeFileSync(join(dir, "home", "conf", "old", "database"), "new\n");
            symlinkSync("old", join(dir, "home", "conf", "current"));
            const fake = `#!/usr/bin/env bash\necho "$0 $*" >> ${dir}/asked\n`;
            for (const name of ["postgres", "psql"]) writeFileSync(join(dir, name), fake, { mode: 0o755 });
            writeFileSync(
                join(dir, "lib.sh"),
                `set -euo pipefail
home=${dir}/home pgdata=${dir}/home/pgdata current=${dir}/home/conf/current socket=${dir} pgbin=${dir}
die() { code=$1; shift; echo "$*" >&2; exit "$code"; }
running() { ${answers}; }
query() { echo "query $2" >> ${dir}/asked; case "$2" in *postmaster*) echo max_connections ;; esac; }
`,
            );
            const input = spawnSync("tar", ["-cf", "-", "-C", join(dir, "incoming"), "."]).stdout;
            const ran = spawnSync("bash", [join(dir, script), "0123", "new"], { input });
            const asked = existsSync(join(dir, "asked")) ? readFileSync(join(dir, "asked"), "utf8") : "";
            return { code: ran.status ?? -1, printed: `${ran.stdout}${ran.stderr}`, asked };
        } finally {
            rmSync(dir, { recursive: true });
        }
    }

    test("that answers takes it at once, and says what waits for a restart", () => {
        const { code, printed, asked } = run("configure.sh", true);
        assert.equal(code, 0, printed);
        assert.match(printed, /^pending_restart=max_connections$/m);
        assert.match(asked, /pg_reload_conf/);
        assert.match(asked, /password\.sql/);
    });

    test("that does not answer yet has to be told again: what it read may be the old files", () => {
        const { code, printed, asked } = run("configure.sh", false);
        assert.equal(code, 0, printed);
        assert.equal(printed, "applied=no\n");
        assert.doesNotMatch(asked, /pg_reload_conf/);
    });

    test("is told again by apply.sh, which says so while it can't", () => {
        assert.equal(run("apply.sh", false).code, 7);
        const { code, printed, asked } = run("apply.sh", true);
        assert.equal(code, 0, printed);
        assert.equal(printed, "pending_restart=max_connections\n");
        assert.match(asked, /pg_reload_conf/);
    });
});

test("what was found says what it is", () => {
    const found = (what: string, text: string) => ({ what, found: text, todo: "" });
    assert.equal(
        describeFindings([
            found("Docker engine", "29.1"),
            found("Base image", "citusdata/citus:14"),
            found("Memory", "22.3 GiB free"),
            found("Disk", "64.3 GiB free"),
            found("Pulumi CLI", "3.259.0"),
        ]),
        "Docker engine 29.1 · citusdata/citus:14 · Memory 22.3 GiB free · Disk 64.3 GiB free · Pulumi CLI 3.259.0",
    );
});

describe("explainFindings", () => {
    const findings = [
        { what: "Docker engine", found: "27.1", todo: "" },
        { what: "Memory", found: "0.1 GiB free", todo: "stop something" },
        { what: "Ports", found: "5432 on 127.0.0.1 taken", todo: "choose another citus:port" },
    ];

    test("shows what is missing and what to do, and not what is well", () => {
        assert.deepEqual(explainFindings(findings).split("\n"), [
            "This machine is not ready for a local cluster:",
            "",
            "  Memory  0.1 GiB free",
            "          stop something",
            "  Ports   5432 on 127.0.0.1 taken",
            "          choose another citus:port",
            "",
            "Nothing was changed. npm test needs none of this.",
        ]);
    });
});

const TYPES = {
    image: "pulumi-nodejs:dynamic/citus:NodeImage",
    container: "docker:index/container:Container",
    member: "pulumi-nodejs:dynamic/citus:Member",
    placement: "pulumi-nodejs:dynamic/citus:Placement",
    volume: "docker:index/volume:Volume",
    restore: "pulumi-nodejs:dynamic/citus:Restore",
    recovered: "pulumi-nodejs:dynamic/citus:Recovered",
};
const urn = (type: keyof typeof TYPES, name: string) =>
    `urn:pulumi:dev::citus::citus:index:Cluster$${TYPES[type]}::citus-${name}`;

// the engine's events have many more fields, none of which are read
const event = (fields: object) => ({ sequence: 0, timestamp: 0, ...fields }) as EngineEvent;
const begin = (of: string, op = "create") => event({ resourcePreEvent: { metadata: { urn: of, op } } });
const end = (of: string, op = "create") => event({ resOutputsEvent: { metadata: { urn: of, op } } });
const fail = (of: string, op = "create") => event({ resOpFailedEvent: { metadata: { urn: of, op } } });
const say = (of: string | undefined, severity: string, message: string) =>
    event({ diagnosticEvent: { ...(of ? { urn: of } : {}), severity, message, color: "raw" } });

/** Starts every task as listr2 does, and gives what becomes of each. */
function start(phases: Phases) {
    return phases.tasks().map((task) => {
        const shown = {
            title: String(task.title),
            output: "",
            skip: (text: string) => {
                shown.title = text;
            },
        };
        const done = Promise.resolve(
            (task.task as NonNullable<ListrTask["task"]>)(
                {},
                shown as unknown as Parameters<NonNullable<ListrTask["task"]>>[1],
            ),
        ).then(
            () => "ok",
            (error: Error) => error.message,
        );
        return { shown, done };
    });
}

describe("Phases", () => {
    test("shows who is at it, and how it ended", async () => {
        const phases = new Phases();
        const tasks = start(phases);
        for (const name of ["worker-2", "coordinator", "worker-1"]) phases.take(begin(urn("container", name)));
        const creating = tasks.find((task) => task.shown.title.startsWith("Creating"));
        assert.equal(creating?.shown.output, "coordinator, worker-1, worker-2");
        for (const name of ["worker-2", "coordinator", "worker-1"]) phases.take(end(urn("container", name)));
        phases.end();
        assert.deepEqual(await Promise.all(tasks.map((task) => task.done)), ["ok", "ok", "ok", "ok", "ok", "ok"]);
        assert.match(creating?.shown.title ?? "", /^Creating {8}coordinator, worker-1, worker-2 {3}ok {3}\d+ s$/);
        assert.ok(tasks.filter((task) => /nothing to do$/.test(task.shown.title)).length === 5);
        assert.equal(phases.failed, undefined);
    });

    test("containers that are replaced are not said to be created", async () => {
        const phases = new Phases();
        const tasks = start(phases);
        for (const op of ["delete-replaced", "replace", "create-replacement"]) {
            phases.take(begin(urn("container", "worker-1"), op));
            phases.take(end(urn("container", "worker-1"), op));
        }
        phases.end();
        await Promise.all(tasks.map((task) => task.done));
        assert.ok(tasks.some((task) => /^Replacing {7}worker-1 {3}ok/.test(task.shown.title)));
    });

    test("what stays the same, and resources of no phase, are nothing to do", async () => {
        const phases = new Phases();
        const tasks = start(phases);
        phases.take(begin(urn("container", "worker-1"), "same"));
        phases.take(end(urn("container", "worker-1"), "same"));
        phases.take(begin(urn("volume", "worker-1-data")));
        phases.take(end(urn("volume", "worker-1-data")));
        phases.end();
        await Promise.all(tasks.map((task) => task.done));
        assert.ok(tasks.every((task) => /nothing to do$/.test(task.shown.title)));
    });

    test("looking at what is there is nothing to do either", async () => {
        const phases = new Phases();
        const tasks = start(phases);
        phases.take(begin(urn("container", "worker-1"), "refresh"));
        phases.take(end(urn("container", "worker-1"), "refresh"));
        phases.end();
        await Promise.all(tasks.map((task) => task.done));
        assert.ok(tasks.every((task) => /nothing to do$/.test(task.shown.title)));
    });

    test("what the cluster's own resources warn of is kept once, and Pulumi's words about plugins are not", () => {
        const phases = new Phases();
        const warn = (urn: string, message: string) =>
            phases.take({ diagnosticEvent: { urn, severity: "warning", message } } as EngineEvent);
        const image =
            "urn:pulumi:dev::citus::citus:index:Cluster$pulumi-nodejs:dynamic/citus:NodeImage::citus-node-image";
        warn("urn:pulumi:dev::citus::pulumi:pulumi:Stack::citus-dev", "using pulumi-resource-docker from $PATH");
        warn(image, "<{%reset%}>PostgreSQL 17.12 is kept<{%reset%}>\n");
        warn(image, "PostgreSQL 17.12 is kept");
        assert.deepEqual(phases.warnings(), ["PostgreSQL 17.12 is kept"]);
        const placement = urn("placement", "shards");
        warn(placement, "worker-2 does not answer");
        phases.take(begin(placement, "same"));
        phases.take(begin(image, "same"));
        assert.deepEqual(phases.warnings(), ["PostgreSQL 17.12 is kept"], "a placement that stays had its answers");
        phases.take(begin(image, "update"));
        assert.deepEqual(phases.warnings(), [], "planning warned of what is being mended");
        warn(image, "PostgreSQL 17.12 is kept");
        assert.deepEqual(phases.warnings(), ["PostgreSQL 17.12 is kept"]);
    });

    test("an image that a resource of this project builds is built, too", () => {
        const phases = new Phases();
        const tasks = start(phases);
        phases.take(
            begin("urn:pulumi:dev::citus::citus:index:Cluster$pulumi-nodejs:dynamic/citus:NodeImage::citus-image"),
        );
        const building = tasks.find((task) => task.shown.title.startsWith("Building"));
        assert.equal(building?.shown.output, "image");
        phases.end();
    });

    test("an up that could not begin did not find nothing to do", async () => {
        const phases = new Phases();
        const tasks = start(phases);
        phases.end(new Error("another run holds the lock"));
        await Promise.all(tasks.map((task) => task.done));
        assert.ok(tasks.every((task) => /not begun$/.test(task.shown.title)));
    });

    test("a restore and the proof of it are one phase, which is not over between them", async () => {
        const phases = new Phases();
        const tasks = start(phases);
        const restoring = tasks.find((task) => task.shown.title === "Restoring");
        let over = false;
        restoring?.done.then(() => {
            over = true;
        });
        phases.take(begin(urn("restore", "restore")));
        phases.take(say(urn("restore", "restore"), "info", "files of 3 nodes · 1.20 GB of 3.00 GB · 4 s"));
        assert.equal(restoring?.shown.output, "files of 3 nodes · 1.20 GB of 3.00 GB · 4 s");
        phases.take(end(urn("restore", "restore")));
        await new Promise((resolve) => setImmediate(resolve));
        assert.equal(over, false);
        phases.take(begin(urn("recovered", "recovered")));
        phases.take(end(urn("recovered", "recovered")));
        phases.end();
        assert.equal(await restoring?.done, "ok");
        assert.match(restoring?.shown.title ?? "", /^Restoring {7}recovered, restore {3}ok {3}\d+ s$/);
    });

    test("progress shows on its own phase, one line of it, without colour marks", () => {
        const phases = new Phases();
        const tasks = start(phases);
        phases.take(begin(urn("placement", "shards")));
        phases.take(say(urn("placement", "shards"), "info", "<{%fg 2%}>3 of 8 shard groups<{%reset%}>\nmore"));
        const placing = tasks.find((task) => task.shown.title.startsWith("Placing"));
        assert.equal(placing?.shown.output, "3 of 8 shard groups");
        phases.end();
    });

    test("errors are said once, without Pulumi's frame", () => {
        const phases = new Phases();
        phases.take(say(urn("member", "worker-1"), "error", "<{%fg 1%}>worker-1 can't join this cluster<{%reset%}>\n"));
        phases.take(say(urn("member", "worker-1"), "error", "worker-1 can't join this cluster"));
        phases.take(say(undefined, "error", "update failed"));
        phases.take(say(undefined, "error", "resource urn:pulumi:dev::x has a problem"));
        phases.take(say(undefined, "warning", "nothing bad"));
        assert.equal(phases.errors(), "worker-1 can't join this cluster");
    });

    test("a phase that is not finished when all ends failed", async () => {
        const phases = new Phases();
        const tasks = start(phases);
        phases.take(begin(urn("image", "image")));
        phases.take(end(urn("image", "image")));
        phases.take(begin(urn("container", "worker-1")));
        phases.end(new Error("the engine is gone"));
        assert.deepEqual(await Promise.all(tasks.map((task) => task.done)), [
            "ok",
            "ok",
            "the engine is gone",
            "ok",
            "ok",
            "ok",
        ]);
        assert.equal(phases.failed?.message, "the engine is gone");
    });

    test("a phase with an operation that failed is not ok", async () => {
        const phases = new Phases();
        const tasks = start(phases);
        phases.take(begin(urn("member", "worker-1")));
        phases.take(begin(urn("member", "worker-2")));
        phases.take(end(urn("member", "worker-2")));
        phases.take(fail(urn("member", "worker-1")));
        phases.end(new Error("worker-1 can't join this cluster"));
        assert.deepEqual(await Promise.all(tasks.map((task) => task.done)), [
            "ok",
            "ok",
            "ok",
            "worker-1 can't join this cluster",
            "ok",
            "ok",
        ]);
        assert.ok(!tasks.some((task) => /Registering.* ok /.test(task.shown.title)));
    });
});
