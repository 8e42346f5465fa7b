/** What `npm run status` reads and shows. */
import assert from "node:assert/strict";
import { describe, test } from "vitest";
import type { NodeRow } from "../../../core/citus/catalog.ts";
import type { NodeHealth } from "../../../core/citus/health/checks/view.ts";
import { type ClusterHealth, type HealthOptions, readHealth } from "../../../core/citus/health/health.ts";
import type { NodeArchive } from "../../../core/citus/health/read/archive.ts";
import { DatabaseError, type Session } from "../../../core/reach/session.ts";
import { fittedTable, isHealthy, plainTable, renderStatus } from "../../../scripts/lib/report.ts";

describe("plainTable", () => {
    test("columns have three spaces between them, and no lines or spaces at the end", () => {
        assert.equal(
            plainTable(
                ["node", "state", "x"],
                [
                    ["coordinator", "ready", ""],
                    ["worker-1", "unreachable", "yes"],
                ],
            ),
            "node          state         x\ncoordinator   ready\nworker-1      unreachable   yes",
        );
    });

    test("columns that are named are aligned to the right", () => {
        assert.equal(
            plainTable(
                ["node", "size", "shards"],
                [
                    ["worker-1", "8 kB", "1"],
                    ["worker-2", "1.20 GB", "16"],
                ],
                [1, 2],
            ),
            "node          size   shards\nworker-1      8 kB        1\nworker-2   1.20 GB       16",
        );
    });

    test("a head without rows", () => assert.equal(plainTable(["a", "b"], []), "a   b"));

    test("long text is not wrapped", () => {
        const long = "NO: worker-1: WAL is missing between its backup and the point: ".repeat(4).trim();
        assert.equal(plainTable(["why"], [[long]]), `why\n${long}`);
    });

    test("does not change what it is given", () => {
        const rows = Object.freeze([Object.freeze(["a"])]);
        plainTable(Object.freeze(["head"]), rows);
        assert.deepEqual(rows, [["a"]]);
    });
});

describe("fittedTable", () => {
    const columns = {
        head: ["name", "place", "size", "state"],
        rows: [
            ["acme", "worker-1", "8 kB", "served"],
            ["globex", "worker-2", "1.20 GB", "frozen"],
        ],
        right: [2],
        spare: ["place", "size"],
    };
    const width = (text: string) => Math.max(...text.split("\n").map((line) => line.length));

    test("all of it where there is room, or where nobody's terminal limits it", () => {
        const all = plainTable(columns.head, columns.rows, columns.right);
        assert.equal(fittedTable(columns, undefined), all);
        assert.equal(fittedTable(columns, width(all)), all);
    });

    test("columns move together before one goes", () => {
        const all = plainTable(columns.head, columns.rows, columns.right);
        const close = fittedTable(columns, width(all) - 1);
        assert.equal(close, plainTable(columns.head, columns.rows, columns.right, 2));
        assert.ok(width(close) < width(all));
    });

    test("what can be done without goes in its order, and is named", () => {
        assert.deepEqual(fittedTable(columns, 29).split("\n"), [
            "name       size  state",
            "acme       8 kB  served",
            "globex  1.20 GB  frozen",
            "not shown at this width, but by --json: place",
        ]);
    });

    test("what can't be done without stays, however narrow it is", () => {
        assert.deepEqual(fittedTable(columns, 5).split("\n").slice(0, 3), [
            "name    state",
            "acme    served",
            "globex  frozen",
        ]);
    });
});

const node = (name: string, more: Partial<NodeHealth> = {}): NodeHealth => ({
    name,
    state: "ready",
    shards: name === "coordinator" ? 0 : 16,
    bytes: 12_000_000,
    connections: 7,
    maxConnections: 240,
    certificateDays: 364,
    ...more,
});
const archiveOf = (name: string, more: Partial<NodeArchive> = {}): NodeArchive => ({
    node: name,
    on: true,
    waiting: 0,
    age: 20,
    ...more,
});
const health = (more: Partial<ClusterHealth> = {}): ClusterHealth => ({
    postgres: "17.6",
    citus: "14.0.1",
    nodes: [node("coordinator"), node("worker-1"), node("worker-2")],
    movesLeft: 0,
    leftovers: 0,
    archive: {
        nodes: [archiveOf("coordinator"), archiveOf("worker-1"), archiveOf("worker-2")],
        lastPoint: "citus-dev_20261122T100000Z_ab12",
        pointAge: 150,
    },
    findings: [],
    problems: [],
    ...more,
});

describe("renderStatus", () => {
    test("a cluster that is well", () => {
        assert.deepEqual(renderStatus("citus-dev", health()).split("\n"), [
            "citus-dev · PostgreSQL 17.6 · Citus 14.0.1 · healthy · balanced · last restore point 3 min ago",
            "",
            "node          state   shards    size   connections    archive   certificate",
            "coordinator   ready        –   12 MB       7 / 240   20 s ago      364 days",
            "worker-1      ready       16   12 MB       7 / 240   20 s ago      364 days",
            "worker-2      ready       16   12 MB       7 / 240   20 s ago      364 days",
        ]);
    });

    test("the head breaks between its parts where the terminal ends", () => {
        assert.deepEqual(renderStatus("citus-dev", health(), 80).split("\n").slice(0, 3), [
            "citus-dev · PostgreSQL 17.6 · Citus 14.0.1 · healthy · balanced",
            "last restore point 3 min ago",
            "",
        ]);
    });

    const cell = (archive: NodeArchive | undefined) => {
        const text = renderStatus(
            "dev",
            health({ nodes: [node("worker-1")], archive: { nodes: archive ? [archive] : [] } }),
        );
        const row = text.split("\n").find((line) => line.startsWith("worker-1"));
        return /7 \/ 240 {3,}(.*?) {3,}364 days$/.exec(row ?? "")?.[1];
    };

    for (const [what, archive, shown] of [
        ["a node that sends", archiveOf("worker-1", { age: 7200 }), "2 h ago"],
        ["a node that has sent nothing yet", { node: "worker-1", on: true, waiting: 1 }, "none yet"],
        ["a node without backups", { node: "worker-1", on: false, waiting: 0 }, "off"],
        ["a node whose archive fails", archiveOf("worker-1", { failing: "disk full", waiting: 12 }), "FAILS, 12 wait"],
        ["a node that did not answer", undefined, "?"],
        ["what another node says", archiveOf("worker-2"), "?"],
    ] as const) {
        test(`archive of ${what}: ${shown}`, () => assert.equal(cell(archive), shown));
    }

    test("without a restore point nothing is said of one", () => {
        const text = renderStatus("citus-dev", health({ archive: { nodes: [] } }));
        assert.equal(text.split("\n")[0], "citus-dev · PostgreSQL 17.6 · Citus 14.0.1 · healthy · balanced");
    });

    test("problems are shown below, and it is not healthy", () => {
        const sick = health({
            problems: ["the last restore point failed: worker-2 did not answer"],
            movesLeft: 3,
            leftovers: 2,
            rebalance: "1 of 8 shard groups",
        });
        assert.equal(isHealthy(sick), false);
        assert.equal(isHealthy(health()), true);
        const lines = renderStatus("orders", sick).split("\n");
        assert.equal(
            lines[0],
            "orders · PostgreSQL 17.6 · Citus 14.0.1 · needs attention · moving shards · last restore point 3 min ago",
        );
        assert.deepEqual(lines.slice(-6), [
            "",
            "rebalance   1 of 8 shard groups",
            "",
            "2 old copies of moved shards wait to be dropped",
            "",
            "the last restore point failed: worker-2 did not answer",
        ]);
    });

    test("while a node does not answer it is not said to be balanced", () => {
        const { movesLeft: _, ...unasked } = health({ problems: ["worker-1 is unreachable: timeout expired"] });
        const [head] = renderStatus("dev", unasked).split("\n");
        assert.match(head ?? "", /needs attention · balance not known · /);
        assert.doesNotMatch(head ?? "", /balanced/);
    });

    test("a node that can't be asked has no numbers", () => {
        const text = renderStatus(
            "dev",
            health({
                nodes: [{ name: "worker-1", state: "unreachable", shards: 16 }],
                archive: { nodes: [] },
            }),
        );
        assert.deepEqual(text.split("\n").slice(2), [
            "node       state         shards   size   connections   archive   certificate",
            "worker-1   unreachable       16      ?             ?         ?             ?",
        ]);
    });
});

const DAY = 86_400_000;

/** A coordinator of two workers that answers what health asks. */
function coordinator(archive: readonly object[], behind = false): Session {
    const rows = [0, 1, 2].map(
        (groupId): NodeRow => ({
            nodeId: groupId + 1,
            groupId,
            host: groupId === 0 ? "coordinator.c1.node" : `worker-${groupId}.c1.node`,
            port: 5432,
            active: true,
            synced: true,
            holdsShards: groupId !== 0,
        }),
    );
    const answer = (sql: string): object[] => {
        if (/server_version/.test(sql)) return [{ postgres: "17.6", citus: "14.0.1" }];
        if (/^SELECT \(SELECT extversion/.test(sql)) return [{ said: behind ? "14.0-1 14.1-1" : "14.0-1 14.0-1" }];
        if (/master_run_on_worker/.test(sql) && /groupid <> 0 AND nodename <> ALL/.test(sql))
            return [{ host: "worker-1.c1.node", result: "14.0-1 14.0-1" }];
        if (/^SELECT r\.node_name AS host, r\.success, r\.result FROM/.test(sql))
            return rows.map(({ host }) => ({
                host,
                success: true,
                result: JSON.stringify({ prepared: [], commits: 100, prepares: 0, counts: { single: 3, multi: 1 } }),
            }));
        if (/master_run_on_worker/.test(sql))
            return archive.map((facts, groupId) => ({
                host: rows[groupId]?.host,
                groupId,
                success: true,
                result: JSON.stringify({
                    on: true,
                    age: 5,
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
            }));
        if (/FROM pg_dist_node WHERE noderole/.test(sql)) return rows;
        if (/FROM pg_dist_placement/.test(sql))
            return [
                { groupId: 1, n: 16 },
                { groupId: 2, n: 16 },
            ];
        if (/get_rebalance_table_shards_plan|FROM pg_dist_cleanup/.test(sql)) return [{ n: 0 }];
        if (/FROM pg_dist_background_job/.test(sql)) return [];
        throw new Error(`unexpected: ${sql}`);
    };
    return {
        node: "coordinator",
        query: async <T extends object>(sql: string) => answer(sql) as T[],
        certificateEnds: () => undefined,
        close: async () => undefined,
    };
}

const session = (name: string, days = 365): Session => ({
    node: name,
    query: async <T extends object>() => [{ bytes: "12000000", connections: 7, maxConnections: 240, kept: [] }] as T[],
    // half a day more, so that time that passes meanwhile changes nothing
    certificateEnds: () => new Date(Date.now() + (days + 0.5) * DAY),
    close: async () => undefined,
});

const options = (open: HealthOptions["open"] = async (name) => session(name)): HealthOptions => ({
    expected: ["worker-1", "worker-2"],
    open,
});

describe("readHealth", () => {
    test("a cluster that is well", async () => {
        const found = await readHealth(coordinator([{ lastPoint: "p\n", pointAge: 30 }, {}, {}]), options());
        assert.deepEqual(found, {
            postgres: "17.6",
            citus: "14.0.1",
            nodes: [
                { ...node("coordinator"), certificateDays: 365 },
                { ...node("worker-1"), certificateDays: 365 },
                { ...node("worker-2"), certificateDays: 365 },
            ],
            movesLeft: 0,
            counts: { commits: 300, prepares: 0, single: 9, multi: 3 },
            leftovers: 0,
            archive: {
                nodes: ["coordinator", "worker-1", "worker-2"].map((name) => archiveOf(name, { age: 5 })),
                lastPoint: "p",
                pointAge: 30,
            },
            findings: [],
            problems: [],
            notes: ["25 % of 12 statements asked several shards"],
        });
        assert.equal(isHealthy(found), true);
    });

    test("an archive that fails is a problem, after those of the nodes", async () => {
        const found = await readHealth(
            coordinator([
                { pointError: "worker-2: segment 000000010000000000000006 is not in the repository after 120 s" },
                {},
                { failing: true, waiting: 4, reason: "104\nno space left on device" },
            ]),
            options(async (name) =>
                name === "worker-1"
                    ? new DatabaseError(name, "connecting to localhost:5433", { message: "timeout expired" }, true)
                    : session(name, name === "worker-2" ? 12 : 365),
            ),
        );
        assert.deepEqual(found.problems, [
            "worker-1 is unreachable: timeout expired",
            "worker-2's certificate ends in 12 days. The next up renews it: npm run pulumi -- up",
            "worker-2's archive fails, 4 segments (64 MB) wait on its disk: no space left on device",
            "there is no restore point yet: the last two tries to take one failed (another follows within a minute): worker-2: segment 000000010000000000000006 is not in the repository after 120 s",
        ]);
        assert.equal(found.movesLeft, undefined, "while a node does not answer nobody knows what would move");
        assert.equal(isHealthy(found), false);
    });

    test("an extension that is behind its library", async () => {
        const { problems } = await readHealth(
            coordinator([{ lastPoint: "p\n", pointAge: 30 }, {}, {}], true),
            options(),
        );
        assert.equal(problems.length, 1);
        assert.match(problems[0] ?? "", /coordinator: the extension is 14\.0-1, the library 14\.1-1/);
        assert.doesNotMatch(problems[0] ?? "", /worker-1:/);
    });

    test("a worker that should be there and is not registered", async () => {
        const found = await readHealth(coordinator([]), {
            ...options(),
            expected: ["worker-1", "worker-2", "worker-10"],
        });
        assert.deepEqual(
            found.nodes.map(({ name, state }) => `${name} ${state}`),
            ["coordinator ready", "worker-1 ready", "worker-2 ready", "worker-10 unregistered"],
        );
        assert.deepEqual(found.problems, ["worker-10 is unregistered (not in pg_dist_node): npm run pulumi -- up"]);
        assert.deepEqual(found.archive, { nodes: [] });
    });
});
