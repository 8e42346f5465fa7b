/** A restore on all its nodes, what it says when it fails, and what its end leaves on a node. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, test } from "vitest";
import type { CommandResult } from "../../../core/node/reach.ts";
import type { PlannedNode } from "../../../core/restore/plan.ts";
import type { PointNode, RestorePoint } from "../../../core/restore/points.ts";
import { apart, nextStep, type RestoreRun, restoreNodes } from "../../../core/restore/run.ts";
import type { Site } from "../../../core/restore/site.ts";
import { type PostDeployInputs, PostDeployKind } from "../../../provider/postDeploy.ts";
import { notProved, type RecoveredNode } from "../../../provider/recovered.ts";
import { ask } from "../../provider/ask.ts";

const ROOT = join(import.meta.dirname, "..", "..", "..");
const TIME = "2026-11-30T10:00:00.000Z";
const node = (groupId: number, time = TIME): PlannedNode => {
    const name = groupId === 0 ? "coordinator" : `worker-${groupId}`;
    const from = {
        groupId,
        node: name,
        backupBytes: 1,
        label: "f",
        stanza: name,
        timeline: 1,
        time,
    } as unknown as PointNode;
    return { name, role: groupId === 0 ? "coordinator" : "worker", host: `${name}.n`, port: 5432, from };
};
const POINT = { name: "p", time: TIME } as RestorePoint;
const stopped = (at: string) => `stopped_at=${at}\n`;

describe("apart", () => {
    test("each node is compared with its own clock, however far that is from the coordinator's", () => {
        const late = node(1, "2026-11-30T11:30:00.000Z");
        assert.deepEqual(
            apart([
                { node: node(0, TIME), printed: stopped("2026-11-30 10:00:00.2+00") },
                { node: late, printed: stopped("2026-11-30 11:30:01.123456+00") },
            ]),
            [],
        );
        assert.deepEqual(apart([{ node: late, printed: stopped("2026-11-30 10:00:00+00") }]), [
            "worker-1: it stopped at 2026-11-30 10:00:00+00, and by the clock of worker-1 the restore point is of 2026-11-30T11:30:00.000Z",
        ]);
    });

    test("a node that does not say where it stopped did not stop there", () => {
        for (const one of [node(0, TIME), node(1, TIME)])
            assert.match(apart([{ node: one, printed: "" }])[0] ?? "", /it stopped at an unknown time/);
    });
});

test("what a repository does not give is not to be had by another try", () => {
    assert.match(
        nextStep([0, 25, 0]),
        /name an earlier point[\s\S]*pulumi config set --path citus:restoreFrom.point NAME/,
    );
    assert.equal(nextStep([0, 23]), "Remove the cause, then run pulumi up again.");
});

test("a cluster that is not proved whole: what is wrong, what is true, and three ways on", () => {
    const coordinator: RecoveredNode = {
        name: "coordinator",
        access: {
            host: "localhost",
            port: 1,
            serverName: "localhost",
            ca: "",
            user: "postgres",
            password: "",
            database: "app",
        },
        shell: { kind: "docker", engine: "", container: "citus-copy-coordinator" },
    };
    const { message } = notProved(coordinator, "p", "it is not whole", [
        "public.a can't be read: coordinator: SELECT failed\n  no such shard",
    ]);
    assert.match(
        message,
        /^The cluster was restored to p, and it is not whole:\n {2}public\.a can't be read: .*\n {4}no such shard\n/,
    );
    for (const part of [
        /repairs are off/,
        /Mend what is named \(docker exec -it citus-copy-coordinator psql app\), then run pulumi up/,
        /restoreFrom\.point NAME/,
        /config rm citus:restoreFrom/,
    ])
        assert.match(message, part);
});

/** A site whose nodes note what they are told. */
function siteOf(names: readonly string[], answer: (node: string, step: string) => Partial<CommandResult> = () => ({})) {
    const did: string[] = [];
    const site: Site = {
        repository: {},
        canLook: async () => true,
        read: async () => ({ points: [], stanzas: [], segments: {} }),
        holdings: async () => new Map(),
        leaving: async () => [],
        secretVersion: () => "",
        stop: async (nodes) => void did.push(`stop ${nodes.join()}`),
        start: async (nodes) => void did.push(`start ${nodes.join()}`),
        withWorkplaces: (nodes, use) =>
            use(
                nodes.map((one) => ({
                    node: one.name,
                    run: async ([, step = ""]) => {
                        if (step !== "size") did.push(`${step} ${one.name}`);
                        const printed =
                            step === "recover"
                                ? stopped("2026-11-30 10:00:00+00")
                                : step === "readdress"
                                  ? `database=app group=${one.name === "coordinator" ? 0 : 1} nodes=0|coordinator.n|5432,1|worker-1.n|5432\n`
                                  : "";
                        return { code: 0, stdout: printed, stderr: "", ...answer(one.name, step) };
                    },
                })),
            ),
    };
    const nodes = [node(0, TIME), node(1, TIME)];
    const run: RestoreRun = {
        site,
        passphrase: undefined,
        verifier: "v",
        database: "app",
        overwrite: true,
        plan: {
            point: POINT,
            toTheEnd: false,
            nodes,
            restored: nodes,
            surplus: names.map((name) => ({ name, role: "worker", host: `${name}.n`, port: 5432 })),
        },
        timelines: {},
        planId: "plan",
        targets: ["coordinator", "worker-1", ...names].map((name) => ({ name, memory: 1024, cores: 1 })),
        report: () => undefined,
        alive: () => undefined,
    };
    return { run, did };
}

describe("a worker that the point does not have", () => {
    test("is stopped before anything, restores nothing, and makes room when every node has its data", async () => {
        const { run, did } = siteOf(["worker-2"]);
        await restoreNodes(run);
        assert.equal(did[0], "stop coordinator,worker-1,worker-2");
        assert.deepEqual(
            did.filter((step) => step.endsWith(" worker-2")),
            ["begin worker-2", "hold worker-2", "aside worker-2", "open worker-2"],
        );
        for (const step of ["readdress coordinator", "readdress worker-1", "hold coordinator", "hold worker-1"])
            assert.ok(did.indexOf(step) < did.indexOf("aside worker-2"), step);
        assert.ok(did.indexOf("aside worker-2") < did.indexOf("open coordinator"));
        assert.equal(did.at(-1), "start coordinator,worker-1,worker-2");
    });

    test("keeps its data and runs on when the restore of another fails", async () => {
        const { run, did } = siteOf(["worker-2"], (name, step) =>
            step === "recover" && name === "worker-1" ? { code: 25, stderr: "it did not reach p" } : {},
        );
        await assert.rejects(
            restoreNodes(run),
            /worker-1: it did not reach p\nNothing was changed: [\s\S]*name an earlier point/,
        );
        assert.ok(!did.some((step) => /^(aside|finish|hold) /.test(step)), did.join());
        assert.ok(did.includes("abort worker-2"));
        assert.equal(did.at(-1), "start coordinator,worker-1,worker-2");
    });

    test("that a killed run put aside already is left as it is", async () => {
        const { run, did } = siteOf(["worker-2"], (name, step) =>
            step === "begin" && name === "worker-2" ? { stdout: "state=restored\n" } : {},
        );
        await restoreNodes(run);
        assert.ok(!did.includes("aside worker-2"));
        assert.ok(did.includes("open worker-2"));
    });
});

describe("PostDeploy", () => {
    const inputs: PostDeployInputs = {
        files: [{ path: "schema.sql", sha256: "ab" }],
        database: "app",
        shell: { kind: "docker", engine: "", container: "c" },
    };
    const changes = async (olds: string | undefined, news: string | undefined) => {
        const of = (restoreId: string | undefined) => (restoreId === undefined ? inputs : { ...inputs, restoreId });
        return (await new PostDeployKind().diff(ask(), "id", of(olds), of(news))).changes;
    };

    test("a database that was restored is asked again which files it has", async () => {
        assert.equal(await changes(undefined, "one"), true);
        assert.equal(await changes("one", "two"), true);
    });

    test("the same restore, none, and one that a preview can't know are no change", async () => {
        assert.equal(await changes("one", "one"), false);
        assert.equal(await changes(undefined, undefined), false);
        assert.equal(await changes("one", "04da6b54-80e4-46f7-96ec-b56ff0331ba9"), false);
    });
});

/** As lib.sh has it. */
const REPAIRS_OFF = /^repairs_off="([^"]+)"$/m.exec(readFileSync(join(ROOT, "scripts/node/lib.sh"), "utf8"))?.[1] ?? "";

/** Runs a node script on a folder that is its node, with a psql that notes what it is told. */
function onNode<T>(
    scripts: readonly string[],
    use: (dir: string, bash: (...words: string[]) => { code: number; said: string }) => T,
): T {
    const dir = mkdtempSync(join(tmpdir(), "citus-restore-"));
    try {
        for (const name of scripts) copyFileSync(join(ROOT, "scripts/node", name), join(dir, name));
        mkdirSync(join(dir, "pgdata"));
        writeFileSync(join(dir, "psql"), "#!/usr/bin/env bash\nexit 1\n", { mode: 0o755 });
        writeFileSync(
            join(dir, "lib.sh"),
            `set -euo pipefail
home=${dir} pgdata=${dir}/pgdata current=${dir}/current pgbin=${dir}
repairs_off="${REPAIRS_OFF}"
die() { code=$1; shift; echo "$*" >&2; exit "$code"; }
one_line() { paste -sd ' ' -; }
running() { [ -e ${dir}/runs ]; }
query() { echo "$2" >> ${dir}/asked; }
`,
        );
        const env = { ...process.env, CITUS_RESTORE_SILENCE: "1" };
        return use(dir, (...words) => {
            const [script = "", ...rest] = words;
            const ran = spawnSync("bash", [join(dir, script), ...rest], { env, encoding: "utf8" });
            return { code: ran.status ?? -1, said: ran.stderr };
        });
    } finally {
        rmSync(dir, { recursive: true, force: true });
    }
}

describe("accept.sh", () => {
    const withdrawn = (auto: string, runs: boolean) =>
        onNode(["accept.sh"], (dir, bash) => {
            writeFileSync(join(dir, "pgdata", "postgresql.auto.conf"), auto);
            writeFileSync(join(dir, "restored-plan"), "plan\n");
            if (runs) writeFileSync(join(dir, "runs"), "");
            const ran = bash("accept.sh", "withdrawn");
            const asked = existsSync(join(dir, "asked"))
                ? readFileSync(join(dir, "asked"), "utf8").trim().split("\n")
                : [];
            return { ...ran, asked, forgotten: !existsSync(join(dir, "restored-plan")) };
        });
    const off = `${REPAIRS_OFF}\n`;

    test("a restore that is withdrawn leaves none of Citus' repairs off", () => {
        const { code, asked, forgotten } = withdrawn(`# by ALTER SYSTEM\nwork_mem = '8MB'\n${off}`, true);
        assert.equal(code, 0);
        assert.deepEqual(asked, [
            ...[...off.matchAll(/^(\S+)/gm)].map(([, name]) => `ALTER SYSTEM RESET ${name}`),
            "SELECT pg_reload_conf()",
        ]);
        assert.equal(asked.length, 5);
        assert.ok(forgotten);
    });

    test("what somebody set to another value is theirs, and without a restore nothing is done", () => {
        assert.deepEqual(withdrawn("citus.recover_2pc_interval = '30s'\n", true).asked, []);
        assert.deepEqual(withdrawn("", false), { code: 0, said: "", asked: [], forgotten: true });
    });

    test("a server that does not answer is said, and the end of the restore is not forgotten", () => {
        const { code, said, forgotten } = withdrawn(off, false);
        assert.equal(code, 7);
        assert.match(said, /repairs are still off .* does not answer/);
        assert.ok(!forgotten);
    });
});

describe("restore.sh", () => {
    const recover = (server: string) =>
        onNode(["restore.sh"], (dir, bash) => {
            mkdirSync(join(dir, "restore"));
            mkdirSync(join(dir, "pgdata.restoring", "pg_wal"), { recursive: true });
            writeFileSync(join(dir, "restore", "restore.conf"), "point=p\nlabel=l\ntimeline=1\nstanza=s\n");
            writeFileSync(join(dir, "postgres"), `#!/usr/bin/env bash\necho $$ > ${dir}/pid\n${server}\n`, {
                mode: 0o755,
            });
            const ran = bash("restore.sh", "recover", "plan");
            const pid = Number(readFileSync(join(dir, "pid"), "utf8"));
            try {
                process.kill(pid);
            } catch {
                // ended by itself
            }
            return ran;
        });

    test("a server that lives and does nothing is not waited for for ever, and its log is quoted", () => {
        const { code, said } = recover(
            // to each question it says that it is not ready, which is no sign of work
            "echo 'LOG:  database system was interrupted'; while sleep 0.1; do echo \"$SECONDS FATAL:  the database system is starting up\"; done",
        );
        assert.equal(code, 23);
        assert.match(
            said,
            /it did not reach p: its server runs and does nothing for 1 s .*Its log: LOG: {2}database system was interrupted$/m,
        );
    });

    test("a server that ends is told of by its log, whatever it wrote", () => {
        const { code, said } = recover("echo 'cannot execute binary'; exit 1");
        assert.equal(code, 23);
        assert.match(said, /its server ended\. Its log: cannot execute binary/);
    });

    test("WAL that the repository does not give, or that is damaged, has an exit code of its own", () => {
        for (const [first, last] of [
            ["P00  ERROR: [103]: unable to get 0000000100000000000000D7:", "FATAL:  replay failed"],
            [
                "LOG:  incorrect resource manager data checksum in record at 0/D000028",
                "FATAL:  recovery ended before configured recovery target was reached",
            ],
        ] as const) {
            const { code, said } = recover(`echo '2026-11-30 10:00:00.000 ${first}'; echo '${last}'; exit 1`);
            assert.equal(code, 25);
            assert.ok(said.includes(first.replace("P00  ", "").replace(":  ", ": ")), said);
            assert.ok(said.includes(last.replace(":  ", ": ")), said);
        }
    });
});
