/** What archiving needs of a node, and what the nodes say of their archive. */
import assert from "node:assert/strict";
import fc from "fast-check";
import { describe, test } from "vitest";
import {
    type ArchiveHealth,
    archiveFindings,
    type NodeArchive,
    readArchive,
} from "../../../core/citus/health/read/archive.ts";
import { sentence } from "../../../core/citus/health/read/finding.ts";
import {
    archiveSettings,
    type BackupArgs,
    DOCKER_REPOSITORY,
    REPOSITORY_HOME,
    renderBackupConf,
    renderPgbackrestConf,
    renderRepositoryConf,
    stanzaOf,
} from "../../../core/node/archive.ts";
import { NODE_HOME, nodeSettings, OWNED, restartNeeded } from "../../../core/node/settings.ts";
import { workerName } from "../../../core/node/topology.ts";
import type { Session } from "../../../core/reach/session.ts";
import { describeAge } from "../../../core/util/age.ts";
import { quickly } from "../../clock.ts";

const BACKUP: BackupArgs = {
    enabled: true,
    full: 604_800,
    diff: 86_400,
    incr: 0,
    restorePoint: 300,
    retention: 2,
};
const PASSPHRASE = "correct-horse-battery-staple";

describe("stanzas", () => {
    test("are named by cluster and role, so that a machine that is replaced keeps its history", () => {
        assert.equal(stanzaOf("citus-dev", "coordinator"), "citus-dev-coordinator");
        assert.equal(stanzaOf("citus-dev", "worker-12"), "citus-dev-worker-12");
    });

    test("two nodes never share one, not even those of two clusters in one repository", () => {
        const cluster = fc.stringMatching(/^[a-z][a-z0-9-]{0,12}[a-z0-9]$/);
        const node = fc.oneof(fc.constant("coordinator"), fc.integer({ min: 1, max: 255 }).map(workerName));
        // names that end like a node's are the ones that could clash
        const tricky = fc.oneof(
            cluster,
            fc.tuple(cluster, node).map(([c, n]) => `${c}-${n}`),
        );
        fc.assert(
            fc.property(tricky, node, tricky, node, (c1, n1, c2, n2) => {
                assert.equal(stanzaOf(c1, n1) === stanzaOf(c2, n2), c1 === c2 && n1 === n2);
            }),
        );
    });
});

describe("pgbackrest.conf", () => {
    const node = { stanza: "citus-dev-worker-1", cores: 2 };

    test("of a node, without a passphrase", () => {
        assert.deepEqual(renderPgbackrestConf(node, { options: DOCKER_REPOSITORY }, BACKUP).split("\n"), [
            "# written by pulumi; edit citus:backup instead",
            "[global]",
            "repo1-type=posix",
            "repo1-path=/var/lib/citus-backups",
            "repo1-bundle=y",
            "repo1-block=y",
            "log-level-file=off",
            "log-level-console=off",
            "log-level-stderr=warn",
            "repo1-retention-full=2",
            "compress-type=zst",
            "process-max=2",
            "start-fast=y",
            "delta=y",
            "archive-async=y",
            "spool-path=/var/lib/citus/spool",
            "archive-timeout=60",
            "[citus-dev-worker-1]",
            "pg1-path=/var/lib/citus/pgdata",
            "pg1-socket-path=/var/lib/citus/run",
            "pg1-user=postgres",
            "pg1-database=postgres",
            "",
        ]);
    });

    test("with a passphrase it is encrypted, and nothing else changes", () => {
        const lines = (passphrase?: string) =>
            renderPgbackrestConf(
                node,
                { options: DOCKER_REPOSITORY, ...(passphrase === undefined ? {} : { passphrase }) },
                BACKUP,
            ).split("\n");
        const plain = lines();
        const at = plain.indexOf("repo1-block=y") + 1;
        assert.deepEqual(
            lines(PASSPHRASE),
            plain.toSpliced(at, 0, "repo1-cipher-type=aes-256-cbc", `repo1-cipher-pass=${PASSPHRASE}`),
        );
    });

    test("an empty passphrase is none: a cipher without a key would be refused", () => {
        assert.equal(
            renderRepositoryConf({ options: DOCKER_REPOSITORY, passphrase: "" }),
            renderRepositoryConf({ options: DOCKER_REPOSITORY }),
        );
    });

    test("for reading from anywhere it names no node", () => {
        assert.equal(
            renderRepositoryConf({ options: DOCKER_REPOSITORY, passphrase: PASSPHRASE }),
            "[global]\nrepo1-type=posix\nrepo1-path=/var/lib/citus-backups\nrepo1-bundle=y\nrepo1-block=y\n" +
                `repo1-cipher-type=aes-256-cbc\nrepo1-cipher-pass=${PASSPHRASE}\nlog-level-file=off\nlog-level-console=off\nlog-level-stderr=warn\n`,
        );
    });

    test("what is added comes last", () => {
        const text = renderRepositoryConf({ options: DOCKER_REPOSITORY }, ["archive-async=y", "[stanza]"]);
        assert.ok(text.endsWith("log-level-console=off\nlog-level-stderr=warn\narchive-async=y\n[stanza]\n"), text);
    });

    test("another kind of repository is only other options", () => {
        const options = { type: "s3", path: "/citus", "s3-bucket": "b", "s3-region": "eu-central-1" };
        assert.deepEqual(renderRepositoryConf({ options }).split("\n").slice(0, 5), [
            "[global]",
            "repo1-type=s3",
            "repo1-path=/citus",
            "repo1-s3-bucket=b",
            "repo1-s3-region=eu-central-1",
        ]);
    });

    for (const [cores, processes] of [
        [1, 2],
        [2, 2],
        [3, 2],
        [4, 2],
        [7, 3],
        [8, 4],
        [64, 4],
    ] as const) {
        test(`${cores} cores send with ${processes}`, () => {
            const text = renderPgbackrestConf({ ...node, cores }, { options: DOCKER_REPOSITORY }, BACKUP);
            assert.deepEqual(text.match(/^process-max=.*$/gm), [`process-max=${processes}`]);
        });
    }

    test("every option is given once, and the stanza is the last section", () => {
        const text = renderPgbackrestConf(node, { options: DOCKER_REPOSITORY, passphrase: PASSPHRASE }, BACKUP);
        const names = text.split("\n").flatMap((line) => /^([a-z0-9-]+)=/.exec(line)?.[1] ?? []);
        assert.equal(new Set(names).size, names.length);
        assert.deepEqual(text.match(/^\[.*\]$/gm), ["[global]", "[citus-dev-worker-1]"]);
    });

    test("no WAL is ever dropped by itself", () => {
        const text = renderPgbackrestConf(node, { options: DOCKER_REPOSITORY }, BACKUP);
        assert.doesNotMatch(text, /archive-push-queue-max/);
    });

    test("retention is the configuration's", () => {
        const text = renderPgbackrestConf(node, { options: DOCKER_REPOSITORY }, { ...BACKUP, retention: 7 });
        assert.deepEqual(text.match(/^repo1-retention-full=.*$/gm), ["repo1-retention-full=7"]);
    });

    test("the repository is not below the node's own data: losing that loses no backup", () => {
        assert.ok(!`${REPOSITORY_HOME}/`.startsWith(`${NODE_HOME}/`), REPOSITORY_HOME);
    });
});

describe("backup.conf", () => {
    const node = { cluster: "citus-dev", stanza: "citus-dev-coordinator", role: "coordinator" } as const;

    test("is what the schedule reads", () => {
        assert.equal(
            renderBackupConf(node, { ...BACKUP, incr: 21_600, window: "22:00-04:30" }),
            "cluster=citus-dev\nrole=coordinator\nstanza=citus-dev-coordinator\nfull=604800\ndiff=86400\nincr=21600\n" +
                "restore_point=300\nretention=2\nwindow=22:00-04:30\n",
        );
    });

    test("without a window it is empty, which is any time", () => {
        assert.ok(renderBackupConf(node, BACKUP).endsWith("\nretention=2\nwindow=\n"));
    });

    test("a shell reads every line as one word", () => {
        for (const line of renderBackupConf(node, { ...BACKUP, window: "01:00-05:00" })
            .trimEnd()
            .split("\n"))
            assert.match(line, /^[a-z_]+=[A-Za-z0-9:_-]*$/);
    });
});

describe("archiveSettings", () => {
    test("on sends every segment to the node's own stanza, a minute after it was begun at the latest", () => {
        assert.deepEqual(archiveSettings("citus-dev-worker-1", BACKUP), {
            archive_mode: "on",
            archive_command:
                "pgbackrest --config=/var/lib/citus/conf/current/pgbackrest.conf --stanza=citus-dev-worker-1 archive-push %p",
            archive_timeout: "60s",
        });
    });

    test("off archives nothing", () => {
        assert.deepEqual(archiveSettings("citus-dev-worker-1", { ...BACKUP, enabled: false }), { archive_mode: "off" });
    });

    test("on or off is a restart; another command is not", () => {
        const on = archiveSettings("a-worker-1", BACKUP);
        assert.deepEqual(restartNeeded(on, archiveSettings("a-worker-1", { ...BACKUP, enabled: false })), [
            "archive_mode",
        ]);
        assert.deepEqual(restartNeeded(on, archiveSettings("a-worker-2", BACKUP)), []);
    });

    test("nobody else sets them: they are the project's own, and not computed", () => {
        const computed = nodeSettings({ role: "worker", memory: 1024, cores: 2, workers: 2, shardCount: 32 }, {});
        for (const name of Object.keys(archiveSettings("s", BACKUP))) {
            assert.ok(Object.hasOwn(OWNED, name), name);
            assert.ok(!Object.hasOwn(computed, name), name);
        }
    });
});

describe("describeAge", () => {
    for (const [seconds, text] of [
        [-3, "0 s"],
        [0, "0 s"],
        [0.4, "0 s"],
        [3.2, "3 s"],
        [89, "89 s"],
        [90, "2 min"],
        [150, "3 min"],
        [3600, "60 min"],
        [5399, "90 min"],
        [5400, "2 h"],
        [7200, "2 h"],
        [86_400, "24 h"],
        [129_599, "36 h"],
        [129_600, "2 days"],
        [345_600, "4 days"],
    ] as const) {
        test(`${seconds} is ${text}`, () => assert.equal(describeAge(seconds), text));
    }
});

interface Facts {
    on?: boolean;
    age?: number | null;
    waiting?: number;
    failing?: boolean;
    reason?: string | null;
    archiveError?: string | null;
    backupError?: string | null;
    hole?: object;
    lastPoint?: string | null;
    pointAge?: number | null;
    pointError?: string | null;
    pointInterval?: string | null;
}

/** A coordinator whose nodes say so. */
function coordinator(nodes: readonly (Facts | "silent")[]) {
    const asked: { sql: string; parameters: readonly unknown[] }[] = [];
    const session: Session = {
        node: "coordinator",
        query: async <T extends object>(sql: string, parameters: readonly unknown[] = []) => {
            asked.push({ sql, parameters });
            return nodes.map((facts, groupId) => ({
                host: groupId === 0 ? "coordinator.c1.node" : `worker-${groupId}.c1.node`,
                groupId,
                success: facts !== "silent",
                result:
                    facts === "silent"
                        ? "could not connect to the node"
                        : JSON.stringify({
                              on: true,
                              age: 12.5,
                              waiting: 0,
                              failing: false,
                              reason: null,
                              archiveError: null,
                              backupError: null,
                              lastPoint: null,
                              pointAge: null,
                              pointError: null,
                              pointInterval: null,
                              ...facts,
                          }),
            })) as T[];
        },
        certificateEnds: () => undefined,
        close: async () => undefined,
    };
    return { session, asked };
}

const read = (nodes: readonly (Facts | "silent")[]) => readArchive(coordinator(nodes).session);

describe("readArchive", () => {
    test("nodes that are well", async () => {
        assert.deepEqual(
            await read([
                { lastPoint: "citus-dev_20261122T100000Z_ab12\n", pointAge: 42 },
                { age: 3, waiting: 1 },
            ]),
            {
                nodes: [
                    { node: "coordinator", on: true, waiting: 0, age: 12.5 },
                    { node: "worker-1", on: true, waiting: 1, age: 3 },
                ],
                lastPoint: "citus-dev_20261122T100000Z_ab12",
                pointAge: 42,
            },
        );
    });

    test("before the first segment there is no age, and before the first point none of that", async () => {
        assert.deepEqual(await read([{ age: null }]), { nodes: [{ node: "coordinator", on: true, waiting: 0 }] });
    });

    test("a node that does not answer is left out", async () => {
        const { nodes } = await read([{}, "silent", {}]);
        assert.deepEqual(
            nodes.map(({ node }) => node),
            ["coordinator", "worker-2"],
        );
    });

    test("without the coordinator's answer nothing is said about points", async () => {
        assert.deepEqual(await read(["silent", { lastPoint: "x", pointAge: 1, pointError: "y" }]), {
            nodes: [{ node: "worker-1", on: true, waiting: 0, age: 12.5 }],
        });
    });

    test("points are the coordinator's: what lies on a worker from before it was one does not count", async () => {
        const health = await read([{}, { lastPoint: "old", pointAge: 1e6, pointError: "old too" }]);
        assert.equal(health.lastPoint, undefined);
        assert.equal(health.pointAge, undefined);
        assert.equal(health.pointError, undefined);
    });

    test("how often points are due is the coordinator's schedule; never is nothing", async () => {
        assert.equal((await read([{ pointInterval: "300" }, { pointInterval: "60" }])).pointInterval, 300);
        for (const facts of [{ pointInterval: "0" }, { pointInterval: null }, { pointInterval: "300", on: false }])
            assert.equal(
                (await read([facts, { pointInterval: "60" }])).pointInterval,
                undefined,
                JSON.stringify(facts),
            );
    });

    test("it is read from what the node was given", async () => {
        const { session, asked } = coordinator([{}]);
        await readArchive(session);
        const [, pattern = ""] = /FROM '(restore_point=[^']+)'/.exec(String(asked[0]?.parameters[0])) ?? [];
        const conf = renderBackupConf({ cluster: "c", stanza: "c-coordinator", role: "coordinator" }, BACKUP);
        assert.equal(new RegExp(pattern).exec(conf)?.[1], "300");
        assert.ok(String(asked[0]?.parameters[0]).includes("'/var/lib/citus/conf/current/backup.conf', true"));
    });

    const failing = async (facts: Facts) => (await read([{ failing: true, waiting: 3, ...facts }])).nodes[0]?.failing;

    test("a failing archive has pgBackRest's reason, in one line and without its code", async () => {
        assert.equal(
            await failing({ reason: "82\nunable to push WAL\n  file   '00000001'\n", archiveError: "something older" }),
            "unable to push WAL file '00000001'",
        );
    });

    test("else what the check of the archive said, else where to look", async () => {
        assert.equal(await failing({ archiveError: "no space left on device\n" }), "no space left on device");
        assert.equal(await failing({ reason: "  \n", archiveError: "disk full" }), "disk full");
        assert.equal(await failing({}), "the last segment was refused; the node's log has the reason");
    });

    test("while pgBackRest tries a segment again there is no reason: it is asked for until there is one", async () => {
        const facts: Facts[] = [{ failing: true, waiting: 3 }];
        const { session, asked } = coordinator(facts);
        const found = quickly(() => readArchive(session));
        facts[0] = { failing: true, waiting: 3, reason: "82\nPermission denied" };
        assert.equal((await found).nodes[0]?.failing, "Permission denied");
        assert.equal(asked.length, 2);
    });

    test("a reason is cut", async () => {
        assert.equal((await failing({ reason: "x".repeat(1000) }))?.length, 500);
    });

    test("what failed before the last segment arrived is over", async () => {
        const { nodes } = await read([{ failing: false, reason: "82\nolder" }]);
        assert.ok(nodes[0] && !("failing" in nodes[0]));
    });

    test("a backup and a point that failed say why", async () => {
        const health = await read([{ backupError: "no space\nleft\n", pointError: "worker-2 did not answer\n" }]);
        assert.equal(health.nodes[0]?.backupError, "no space left");
        assert.equal(health.pointError, "worker-2 did not answer");
    });

    test("where archiving is off, errors of before are no errors", async () => {
        assert.deepEqual(
            await read([{ on: false, age: null, failing: true, reason: "x", backupError: "x", pointError: "x" }]),
            { nodes: [{ node: "coordinator", on: false, waiting: 0 }] },
        );
    });

    test("every node is asked at once, through the coordinator", async () => {
        const { session, asked } = coordinator([{}, {}]);
        await readArchive(session);
        assert.equal(asked.length, 1);
        assert.match(asked[0]?.sql ?? "", /array_agg\(\$1::text\).* master_run_on_worker\(.*, true\)/s);
        const query = String(asked[0]?.parameters[0]);
        for (const name of ["archive.error", "backup.error", "restore-point.error", "last-point", "hole"])
            assert.ok(query.includes(`'/var/lib/citus/backup/${name}', true`), name);
        // only looks
        assert.doesNotMatch(query, /\b(INSERT|UPDATE|DELETE|ALTER|CREATE|DROP)\b/i);
    });

    const HOLE = { label: "20261122-090000F", segment: "0000000100000000000000D7", count: 1 };

    test("WAL that the newest point needs and that is missing is its node's", async () => {
        const { nodes } = await read([{ lastPoint: "p2\n" }, { hole: { ...HOLE, point: "p2" } }, {}]);
        assert.deepEqual(
            nodes.map(({ hole }) => hole),
            [undefined, HOLE, undefined],
        );
    });

    test("what an older point needed, or none, and where archiving is off, is no matter of the newest", async () => {
        for (const facts of [
            { hole: { ...HOLE, point: "p1" } },
            { hole: { ...HOLE, point: null } },
            { hole: { ...HOLE, point: "p2" }, on: false },
        ]) {
            const { nodes } = await read([{ lastPoint: "p2\n" }, facts]);
            assert.ok(nodes[1] && !("hole" in nodes[1]), JSON.stringify(facts));
        }
        const { nodes } = await read([{}, { hole: { ...HOLE, point: null } }]);
        assert.ok(nodes[1] && !("hole" in nodes[1]), "there is no point");
    });

    test("a node that is known to be silent is not waited for", async () => {
        const { session, asked } = coordinator([{}]);
        await readArchive(session, ["worker-2.c1.node"]);
        assert.deepEqual(asked[0]?.parameters[1], ["worker-2.c1.node"]);
        assert.match(asked[0]?.sql ?? "", /nodename <> ALL \(\$2\)/);
    });

    test("the spool's error files are found by the stanza in archive_command", async () => {
        const { session, asked } = coordinator([{}]);
        await readArchive(session);
        const [, pattern = ""] = /FROM '(--stanza=[^']+)'/.exec(String(asked[0]?.parameters[0])) ?? [];
        const command = archiveSettings("citus-dev-worker-1", BACKUP).archive_command ?? "";
        assert.equal(new RegExp(pattern).exec(command)?.[1], "citus-dev-worker-1");
    });
});

describe("archiveFindings", () => {
    const archiveProblems = (health: ArchiveHealth) => archiveFindings(health).map(sentence);

    const node = (more: Partial<NodeArchive> = {}): NodeArchive => ({
        node: "worker-1",
        on: true,
        waiting: 0,
        ...more,
    });

    test("none when all is well, or archiving is off", () => {
        assert.deepEqual(archiveProblems({ nodes: [node({ age: 5, waiting: 2 }), node({ on: false })] }), []);
        assert.deepEqual(archiveProblems({ nodes: [] }), []);
    });

    test("each with what it is about, how much waits, and why", () => {
        assert.deepEqual(
            archiveProblems({
                nodes: [
                    node({ failing: "no space left on device", waiting: 12 }),
                    node({ node: "worker-2", backupError: "unable to open file" }),
                ],
                lastPoint: "p",
                pointAge: 7,
                pointError: "worker-2 did not answer",
            }),
            [
                "worker-1's archive fails, 12 segments (192 MB) wait on its disk: no space left on device",
                "worker-2's last backup failed: unable to open file",
                "the newest restore point is 7 s old, and a restore would lose what was written since: the last two tries to take one failed (another follows within a minute): worker-2 did not answer",
            ],
        );
    });

    test("one segment is one", () => {
        assert.deepEqual(archiveProblems({ nodes: [node({ failing: "x", waiting: 1 })] }), [
            "worker-1's archive fails, 1 segment (16 MB) waits on its disk: x",
        ]);
    });

    const LATE =
        "the last restore point is 18 min old, and one is due every 5 min: restart the coordinator's container, or on aws its service citus-node";
    for (const [what, health, problems] of [
        ["as old as three intervals and three minutes", { pointAge: 1080, pointInterval: 300 }, []],
        ["older than that", { pointAge: 1081, pointInterval: 300 }, [LATE]],
        ["old, where none is due", { pointAge: 1e6 }, []],
        ["not there yet", { pointInterval: 300 }, []],
        [
            "old because it fails",
            { pointAge: 1200, pointInterval: 300, pointError: "x" },
            [
                "the newest restore point is 20 min old, and a restore would lose what was written since: the last two tries to take one failed (another follows within a minute): x",
            ],
        ],
    ] as const) {
        test(`a last restore point that is ${what}`, () =>
            assert.deepEqual(archiveProblems({ nodes: [], ...health }), problems));
    }

    test("a newest point that can't be restored is no health: which node, which segment, what comes next", () => {
        const hole = { label: "F1", segment: "0000000100000000000000D7", count: 1 };
        const said = (more: { segment?: string | null; count?: number }) =>
            archiveProblems({
                nodes: [node(), node({ node: "worker-2", hole: { ...hole, ...more } })],
                lastPoint: "p2",
            });
        const next =
            ". A new backup of worker-2 is made by itself, and the next point rests on that; to have both now: npm run backup";
        const start = "the newest restore point, p2, can't be restored: worker-2: ";
        assert.deepEqual(said({}), [
            `${start}WAL segment 0000000100000000000000D7 is missing since its backup F1${next}`,
        ]);
        assert.deepEqual(said({ count: 3 }), [
            `${start}WAL segment 0000000100000000000000D7 and 2 more are missing since its backup F1${next}`,
        ]);
        assert.deepEqual(said({ segment: null, count: 0 }), [`${start}its backup F1 is gone${next}`]);
    });

    test("a point from the future is said: the clock was set back", () => {
        assert.deepEqual(archiveProblems({ nodes: [], lastPoint: "p", pointAge: -4 }), []);
        assert.match(
            archiveProblems({ nodes: [], lastPoint: "p", pointAge: -86_400, pointInterval: 300 }).join("\n"),
            /^the coordinator's clock was set back: its newest restore point is dated 24 h from now\. The next point is taken by itself/,
        );
    });

    test("where there is no point yet, that is said; the reason is not told twice", () => {
        assert.deepEqual(archiveProblems({ nodes: [], pointError: "no restore point: canceling statement" }), [
            "there is no restore point yet: the last two tries to take one failed (another follows within a minute): canceling statement",
        ]);
    });

    test("a node with two has two", () => {
        assert.equal(archiveProblems({ nodes: [node({ failing: "a", backupError: "b" })] }).length, 2);
    });
});
