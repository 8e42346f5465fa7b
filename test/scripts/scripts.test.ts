/** Shell files, and what a person sees while a cluster is made. */
import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import {
    copyFileSync,
    existsSync,
    globSync,
    mkdirSync,
    mkdtempSync,
    readdirSync,
    readFileSync,
    readlinkSync,
    rmSync,
    symlinkSync,
    utimesSync,
    writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import type { EngineEvent } from "@pulumi/pulumi/automation/index.js";
import type { ListrTask } from "listr2";
import { describe, test } from "vitest";
import { pause } from "../../core/util/pause.ts";
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

/** They take locks with it, and a Mac has none. */
const NO_FLOCK = spawnSync("flock", ["--version"]).error !== undefined;

describe.skipIf(NO_FLOCK)("backup.sh", () => {
    /** The script with a lib.sh that only says what would be run. `may`: whether retention may drop what it would. */
    function run(
        types: string,
        given: { may?: boolean; waits?: boolean; off?: boolean; locked?: boolean; broken?: string; cut?: boolean } = {},
    ) {
        const dir = mkdtempSync(join(tmpdir(), "citus-backup-"));
        try {
            for (const name of ["backup.sh", "points.sh"])
                copyFileSync(join(ROOT, "scripts/node", name), join(dir, name));
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
query() { case "$2" in *pg_stat_archiver*) echo ${given.cut === undefined ? "f" : "t"} ;; *) printf '%s\\n' "${given.broken ?? ""}" ;; esac; }
one_line() { tr '\\n' ' '; }
pgb() { case "$*" in *" check") echo "No space left on device"; ${given.cut ? "false" : "true"} ;; *" info" | repo-*) ;; *) echo "$*" >> ${dir}/ran ;; esac; }
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
    const BACKUP = (type: string) =>
        `--stanza=c1-worker-1 --type=${type} --no-expire-auto --archive-timeout=3600 backup`;
    const EXPIRE = "--stanza=c1-worker-1 --repo1-retention-full=2 expire";

    test("while WAL does not arrive no backup is made, and the last failure of an archive that works is none", () => {
        const { status, stderr, ran } = run("full", { cut: true });
        assert.equal(status, 80);
        assert.match(stderr, /no backup was made, because WAL does not reach the repository: No space left on device/);
        assert.deepEqual(ran, []);
        assert.deepEqual(run("full", { cut: false, may: true }).ran, [BACKUP("full"), EXPIRE]);
    });

    test("with a name that pgBackRest can't read again no backup is made", () => {
        const { status, stderr, ran } = run("full", { broken: "E'two\\\\nlines'" });
        assert.equal(status, 79);
        assert.match(stderr, /no backup was made, .* line break in its name/);
        assert.deepEqual(ran, []);
    });

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

describe.skipIf(NO_FLOCK)("schedule.sh", () => {
    /** Runs it with restore points that fail as often as is said, until `tries` of them were taken. */
    async function run(failures: number, tries: number): Promise<{ error: boolean; failed: boolean }> {
        const dir = mkdtempSync(join(tmpdir(), "citus-schedule-"));
        copyFileSync(join(ROOT, "scripts/node/schedule.sh"), join(dir, "schedule.sh"));
        const script = (name: string, text: string) =>
            writeFileSync(join(dir, name), `#!/usr/bin/env bash\n${text}\n`, { mode: 0o755 });
        for (const name of ["archive.sh", "chain.sh"]) script(name, "exit 0");
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
${/^older_than\(\)[\s\S]*?^}$/m.exec(read("scripts/node/lib.sh"))?.[0]}
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

describe("marks of the schedule", () => {
    /** What the schedule's own functions answer about a mark of this age. */
    function ask(age: number, call: string): { status: number | null; stderr: string; there: boolean } {
        const dir = mkdtempSync(join(tmpdir(), "citus-marks-"));
        try {
            const at = Date.now() / 1000 - age;
            writeFileSync(join(dir, "backup.tried"), "");
            utimesSync(join(dir, "backup.tried"), at, at);
            const functions = [
                /^older_than\(\)[\s\S]*?^}$/m.exec(read("scripts/node/lib.sh"))?.[0],
                /^forget_the_future\(\)[\s\S]*?^}$/m.exec(read("scripts/node/schedule.sh"))?.[0],
            ];
            const script = ["set -euo pipefail", `backup_home=${dir}`, 'say() { echo "$*" >&2; }', ...functions, call];
            const { status, stderr } = spawnSync("bash", ["-c", script.join("\n")], { cwd: dir, encoding: "utf8" });
            return { status, stderr, there: existsSync(join(dir, "backup.tried")) };
        } finally {
            rmSync(dir, { recursive: true });
        }
    }

    for (const [what, age, old] of [
        ["a minute ago", 61, true],
        ["just now", 0, false],
        ["by a clock that differs a little", -2, false],
        ["tomorrow, by a clock that was wrong", -86_400, true],
    ] as const)
        test(`one made ${what} is ${old ? "old" : "young"}`, () =>
            assert.equal(ask(age, "older_than backup.tried 60").status === 0, old));

    test("one that is not there is old", () => assert.equal(ask(0, "older_than nothing 60").status, 0));

    test("one from the future is forgotten, and that is said once", () => {
        const { stderr, there } = ask(-86_400, "forget_the_future; forget_the_future");
        assert.match(stderr, /^the clock was set back by 8\d{4} s or more: backup is tried again now\n$/);
        assert.equal(there, false);
        assert.deepEqual(ask(10, "forget_the_future"), { status: 0, stderr: "", there: true });
    });
});

describe.skipIf(NO_FLOCK)("restore-point.sh waits for the first backups", () => {
    /** @param psql what asking for nodes without a backup does; @param waited seconds since it first had to wait */
    function run(how: string, psql: string, waited?: number, info = "echo '[]'") {
        const dir = mkdtempSync(join(tmpdir(), "citus-point-"));
        try {
            for (const name of ["restore-point.sh", "points.sh"])
                copyFileSync(join(ROOT, "scripts/node", name), join(dir, name));
            writeFileSync(join(dir, "database"), "app\n");
            mkdirSync(join(dir, "backup"));
            const mark = join(dir, "backup", "point.waits");
            if (waited !== undefined) {
                writeFileSync(mark, "");
                utimesSync(mark, Date.now() / 1000 - waited, Date.now() / 1000 - waited);
            }
            writeFileSync(join(dir, "psql"), `#!/usr/bin/env bash\n${psql}\n`, { mode: 0o755 });
            writeFileSync(
                join(dir, "lib.sh"),
                `set -euo pipefail
pgbin=${dir} socket=${dir} backup_home=${dir}/backup current=${dir}
archiving() { :; }
read_backup_conf() { cluster=c1; }
die() { echo "\${*:2}" >&2; exit "$1"; }
one_line() { cat; }
pgb() { ${info}; }
${/^older_than\(\)[\s\S]*?^}$/m.exec(read("scripts/node/lib.sh"))?.[0]}
`,
            );
            const { status, stderr } = spawnSync("bash", [join(dir, "restore-point.sh"), how], { encoding: "utf8" });
            return { status, stderr, waits: existsSync(mark) };
        } finally {
            rmSync(dir, { recursive: true });
        }
    }
    const WITHOUT = "echo worker-2";

    test("a scheduled one gives way without a word, at first", () => {
        assert.deepEqual(run("scheduled", WITHOUT), { status: 75, stderr: "", waits: true });
        assert.deepEqual(run("scheduled", WITHOUT, 800), { status: 75, stderr: "", waits: true });
    });

    test("after a quarter of an hour it says which node has none", () => {
        const { status, stderr } = run("scheduled", WITHOUT, 901);
        assert.equal(status, 73);
        assert.match(stderr, /no restore point: there is no backup yet of worker-2/);
    });

    test("one by hand says it at once", () => assert.equal(run("", WITHOUT).status, 73));

    test("what can't be asked is no waiting: the error is told", () => {
        const failed = run("scheduled", "echo 'too many connections' >&2; exit 2");
        assert.equal(failed.status, 74);
        assert.match(failed.stderr, /no restore point: too many connections/);
        const unread = run("scheduled", WITHOUT, undefined, "echo 'ERROR: [039]: 503' >&2; return 39");
        assert.equal(unread.status, 77);
        assert.match(unread.stderr, /the list of backups can't be read: ERROR: \[039\]: 503/);
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

    interface Fake {
        /** What is printed by queries that match. */
        readonly answers?: boolean;
        readonly says?: Readonly<Record<string, string>>;
        /** Prints and exit code of trial.sh. */
        readonly trial?: readonly [string, number];
        /** Names in the file `owned`. */
        readonly owned?: string;
        readonly args?: readonly string[];
        /** Changes the configurations that are there. */
        readonly prepare?: (conf: string) => void;
    }

    /** configure.sh, apply.sh or settle.sh, with a server that answers or not; "old" is in place and accepted. */
    function run(script: string, fake: Fake) {
        const dir = mkdtempSync(join(tmpdir(), "citus-configure-"));
        try {
            for (const name of ["configure.sh", "apply.sh", "settle.sh", "password.sql"])
                copyFileSync(join(ROOT, "scripts/node", name), join(dir, name));
            const conf = join(dir, "home", "conf");
            mkdirSync(join(dir, "home", "pgdata"), { recursive: true });
            mkdirSync(join(conf, "old"), { recursive: true });
            mkdirSync(join(dir, "incoming"));
            for (const name of FILES) writeFileSync(join(dir, "incoming", name), "new\n");
            for (const to of [join(conf, "old"), join(dir, "incoming")])
                if (fake.owned !== undefined) writeFileSync(join(to, "owned"), fake.owned);
            writeFileSync(join(conf, "old", "database"), "new\n");
            symlinkSync("old", join(conf, "current"));
            symlinkSync("old", join(conf, "accepted"));
            fake.prepare?.(conf);
            const [printed, code] = fake.trial ?? ["", 0];
            writeFileSync(
                join(dir, "trial.sh"),
                `echo "trial" >> ${dir}/asked\nprintf '%b' '${printed}'\nexit ${code}\n`,
                {
                    mode: 0o755,
                },
            );
            const program = `#!/usr/bin/env bash\necho "$0 $*" >> ${dir}/asked\n`;
            for (const name of ["postgres", "psql"]) writeFileSync(join(dir, name), program, { mode: 0o755 });
            const says = Object.entries(fake.says ?? {}).map(
                ([part, text]) => `*"${part}"*) printf '%b\\n' '${text}' ;;`,
            );
            writeFileSync(
                join(dir, "lib.sh"),
                `${read("scripts/node/lib.sh").replace("pgbin=$(find_postgres)", `pgbin=${dir}`)}
running() { ${fake.answers ?? true}; }
server_pid() { false; }
query() { echo "query $2" >> ${dir}/asked; case "$2" in ${says.join(" ")} esac; }
`,
            );
            const input = spawnSync("tar", ["-cf", "-", "-C", join(dir, "incoming"), "."]).stdout;
            const ran = spawnSync("bash", [join(dir, script), ...(fake.args ?? ["0123", "new"])], {
                input,
                env: { ...process.env, CITUS_HOME: join(dir, "home") },
            });
            const asked = existsSync(join(dir, "asked")) ? readFileSync(join(dir, "asked"), "utf8") : "";
            return {
                code: ran.status ?? -1,
                printed: `${ran.stdout}${ran.stderr}`,
                asked,
                current: readlinkSync(join(conf, "current")),
                accepted: readlinkSync(join(conf, "accepted")),
                there: readdirSync(conf).filter((name) => !name.startsWith(".")),
            };
        } finally {
            rmSync(dir, { recursive: true });
        }
    }

    const WAITS = { says: { "s.context = 'postmaster'": "max_connections" } };

    test("that answers takes it at once, and says what waits for a restart", () => {
        const { code, printed, asked, current, there } = run("configure.sh", WAITS);
        assert.equal(code, 0, printed);
        assert.match(printed, /^pending_restart=max_connections$/m);
        assert.match(printed, new RegExp(`^placed=${current}$`, "m"));
        assert.match(asked, /^trial$/m);
        assert.match(asked, /pg_reload_conf/);
        assert.match(asked, /password\.sql/);
        assert.ok(there.includes("old"), "the accepted one is there to go back to");
    });

    test("that does not answer yet has to be told again: what it read may be the old files", () => {
        const { code, printed, asked } = run("configure.sh", { answers: false });
        assert.equal(code, 0, printed);
        assert.match(printed, /^applied=no$/m);
        assert.doesNotMatch(asked, /pg_reload_conf/);
    });

    test("is told again by apply.sh, which says so while it can't", () => {
        assert.equal(run("apply.sh", { answers: false }).code, 7);
        const { code, printed, asked } = run("apply.sh", WAITS);
        assert.equal(code, 0, printed);
        assert.equal(printed, "pending_restart=max_connections\n");
        assert.match(asked, /pg_reload_conf/);
    });

    test("a configuration that its trial refuses is not put in place", () => {
        const ran = run("configure.sh", { trial: ["huge_pages\\tno pages\\n-\\tbad\\n", 5] });
        assert.equal(ran.code, 5);
        assert.match(ran.printed, /^PostgreSQL refuses the configuration: huge_pages: no pages; bad$/m);
        assert.equal(ran.current, "old");
        assert.deepEqual(ran.there.sort(), ["accepted", "current", "old"]);
        assert.doesNotMatch(ran.asked, /query/);
    });

    test("one that a running server does not take gives way to the former one", () => {
        const ran = run("configure.sh", { says: { "error <> 'setting could not be applied'": "work_mem: bad" } });
        assert.equal(ran.code, 5);
        assert.match(ran.printed, /PostgreSQL did not take the configuration: work_mem: bad/);
        assert.equal(ran.current, "old");
        assert.equal(ran.asked.match(/pg_reload_conf/g)?.length, 2, "the server was not told of it");
    });

    test("what ALTER SYSTEM set is taken back where the stack says otherwise, and nowhere else", () => {
        const ran = run("apply.sh", {
            owned: "wal_level\narchive_mode\n",
            says: { "SELECT DISTINCT name": "archive_mode\\nwork_mem\\nwal_level\\nwal_level_x" },
        });
        assert.equal(ran.code, 0, ran.printed);
        assert.match(ran.printed, /^reset=archive_mode,wal_level$/m);
        assert.deepEqual(
            ran.asked.split("\n").filter((line) => line.includes("ALTER SYSTEM")),
            ["query ALTER SYSTEM RESET archive_mode", "query ALTER SYSTEM RESET wal_level"],
        );
    });

    const beside = (conf: string) => {
        mkdirSync(join(conf, "bad"));
        rmSync(join(conf, "current"));
        symlinkSync("bad", join(conf, "current"));
    };

    test("settle.sh goes back to the accepted one, once", () => {
        const back = run("settle.sh", { args: ["back"], prepare: beside });
        assert.equal(back.printed, "back=yes\n");
        assert.equal(back.current, "old");
        assert.equal(run("settle.sh", { args: ["back"] }).printed, "back=no\n");
    });

    test("settle.sh accepts what the node runs with, and refuses what it does not", () => {
        const kept = run("settle.sh", { args: ["keep", "bad"], prepare: beside });
        assert.equal(kept.code, 0, kept.printed);
        assert.deepEqual([kept.accepted, kept.there.sort()], ["bad", ["accepted", "bad", "current"]]);
        const refused = run("settle.sh", {
            args: ["keep", "bad"],
            prepare: (conf) => writeFileSync(join(conf, "refused"), "no such library\n"),
        });
        assert.equal(refused.code, 8);
        assert.equal(refused.printed, "no such library\n");
        assert.equal(refused.accepted, "old");
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
    image: "citus-clusters:index:NodeImage",
    container: "docker:index/container:Container",
    member: "citus-clusters:index:Member",
    placement: "citus-clusters:index:Placement",
    volume: "docker:index/volume:Volume",
    restore: "citus-clusters:index:Restore",
    recovered: "citus-clusters:index:Recovered",
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
        const image = "urn:pulumi:dev::citus::citus:index:Cluster$citus-clusters:index:NodeImage::citus-node-image";
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
        phases.take(begin("urn:pulumi:dev::citus::citus:index:Cluster$citus-clusters:index:NodeImage::citus-image"));
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
