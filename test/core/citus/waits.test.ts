/** Who keeps us waiting: chains of locks over nodes, prepared transactions, and the words for it. */
import assert from "node:assert/strict";
import { describe, test, vi } from "vitest";
import type { Task } from "../../../core/citus/rebalance/jobTasks.ts";
import { waitersOf } from "../../../core/citus/rebalance/jobWaiters.ts";
import { describeHolder, describeHolders, findRoots, type Holder, type LockWait } from "../../../core/citus/waits.ts";
import { watched } from "../../../core/citus/watch.ts";
import type { Session } from "../../../core/reach/session.ts";

const wait = (pid: number, more: Partial<LockWait> = {}): LockWait => ({
    pid,
    globalPid: null,
    ofMove: false,
    seconds: 5,
    by: [],
    prepared: [],
    ...more,
});
const node = (nodeId: number, ...waits: LockWait[]) => ({ nodeId, host: `n${nodeId}.c1.node`, waits });
/** The coordinator's process 500, of node 1. */
const OURS = new Set(["10000000500"]);
const PREPARED = {
    gid: "it's 7",
    role: "postgres",
    database: "app",
    since: "2026-11-30 10:00:00 UTC",
    holds: "",
};

describe("findRoots", () => {
    test("follows a connection to the client that made it, on another node", () => {
        // the worker's slot waits for a transaction that pid 77 of the coordinator has there
        const worker = node(2, wait(900, { globalPid: "10000000500", by: [{ pid: 901, globalPid: "10000000077" }] }));
        assert.deepEqual(findRoots([node(1), worker], OURS, false), [{ kind: "process", nodeId: 1, pid: 77 }]);
    });

    test("goes on to the end of a chain over nodes, and ends in a circle", () => {
        const roots = findRoots(
            [
                // an ALTER TABLE of a client of the worker waits there for somebody who waits on the coordinator
                node(
                    1,
                    wait(500, { by: [{ pid: 77, globalPid: null }] }),
                    wait(77, { by: [{ pid: 78, globalPid: null }] }),
                ),
                node(
                    2,
                    wait(901, {
                        globalPid: "10000000078",
                        by: [
                            { pid: 902, globalPid: null },
                            { pid: 905, globalPid: "10000000077" },
                        ],
                    }),
                ),
            ],
            OURS,
            false,
        );
        assert.deepEqual(roots, [{ kind: "process", nodeId: 2, pid: 902 }]);
    });

    test("names a prepared transaction", () => {
        const roots = findRoots([node(2, wait(900, { globalPid: "10000000500", prepared: [PREPARED] }))], OURS, false);
        assert.deepEqual(roots, [{ kind: "prepared", nodeId: 2, holder: PREPARED }]);
    });

    test("others' waits, short ones and our own locks are none", () => {
        const by = [{ pid: 77, globalPid: null }];
        assert.deepEqual(findRoots([node(1, wait(501, { by }))], OURS, true), []);
        assert.deepEqual(findRoots([node(1, wait(500, { by, seconds: 1 }))], OURS, true), []);
        assert.deepEqual(
            findRoots(
                [node(2, wait(9, { globalPid: "10000000500", by: [{ pid: 8, globalPid: "10000000500" }] }))],
                OURS,
                true,
            ),
            [],
        );
    });

    test("what replicates a shard has no global pid and counts for moves only", () => {
        const waits = node(2, wait(9, { ofMove: true, by: [{ pid: 77, globalPid: null }] }));
        assert.deepEqual(findRoots([waits], new Set(), true), [{ kind: "process", nodeId: 2, pid: 77 }]);
        assert.deepEqual(findRoots([waits], new Set(), false), []);
    });
});

describe("waitersOf", () => {
    const task = (more: Partial<Task>): Task => ({
        taskId: "1",
        status: "running",
        retries: 0,
        message: "",
        pid: 500,
        shardId: "102008",
        sourceNodeId: 2,
        targetNodeId: 3,
        ...more,
    });
    const nodes = [
        {
            nodeId: 1,
            groupId: 0,
            host: "coordinator.c1.node",
            port: 5432,
            active: true,
            synced: true,
            holdsShards: false,
        },
    ];

    test("are the processes of running tasks, and leftovers of those that are tried again", () => {
        assert.deepEqual(waitersOf([task({}), task({ status: "done", pid: 501 })], nodes), {
            globalPids: OURS,
            leftovers: false,
        });
        const message =
            "ERROR:  shard move failed as the orphaned shard public.t_1 leftover from the previous move could not be cleaned up";
        assert.equal(waitersOf([task({ status: "runnable", pid: null, message })], nodes).leftovers, true);
        assert.equal(waitersOf([task({ status: "done", message })], nodes).leftovers, false);
    });
});

describe("words", () => {
    const holder = {
        kind: "process",
        node: "worker-2",
        pid: 77,
        globalPid: "30000000077",
        role: "app",
        application: "",
        backend: "autovacuum worker",
        state: "active",
        since: "2026-11-30 10:00:00 UTC",
        holds: "",
    } satisfies Holder;

    test("a process on a worker is ended by its global pid, which Citus takes on the coordinator", () => {
        assert.equal(
            describeHolder(holder),
            "pid 77 on worker-2 (role app, no application name, autovacuum worker, active since 2026-11-30 10:00:00 UTC). To end it, on coordinator, for pid 77 on worker-2: SELECT pg_terminate_backend(30000000077);",
        );
    });

    test("a prepared transaction is ended on its node, one of Citus' own by Citus", () => {
        const end = (gid: string) => describeHolder({ kind: "prepared", node: "worker-1", ...PREPARED, gid });
        assert.match(end("it's 7"), /To end it, in database app on worker-1: ROLLBACK PREPARED 'it''s 7';$/);
        assert.match(end("citus_0_12_3_4"), /To end it, on coordinator: SELECT recover_prepared_transactions\(\);$/);
    });

    test("of many three are named and the others counted", () => {
        const text = describeHolders([1, 2, 3, 4, 5].map((pid) => ({ ...holder, pid })));
        assert.match(text, /^pid 1 on .*pid 2 on .*pid 3 on .*; and 2 more$/);
    });
});

describe("watched", () => {
    const sessionOf = (answer: (sql: string) => Promise<object[]> | object[]) => {
        const closed: string[] = [];
        const session: Session = {
            node: "coordinator",
            query: async <T extends object>(sql: string) => (await answer(sql)) as T[],
            certificateEnds: () => undefined,
            close: async () => {
                closed.push("closed");
            },
        };
        return { session, closed };
    };

    test("a statement that lasts says who keeps it waiting; one that does not, asks nobody", async () => {
        vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
        let opened = 0;
        let finish = () => {};
        const slow = sessionOf((sql) => (sql === "slow" ? new Promise((resolve) => (finish = () => resolve([]))) : []));
        const beside = sessionOf((sql) => {
            if (/groupid = 0/.test(sql)) return [{ nodeId: 1 }];
            if (/pg_stat_activity a WHERE/.test(sql)) {
                const { kind: _k, node: _n, globalPid: _g, ...row } = ACTIVITY;
                return [{ result: JSON.stringify([row]) }];
            }
            return [
                {
                    nodeId: 1,
                    host: "coordinator.c1.node",
                    result: JSON.stringify([wait(500, { by: [{ pid: 77, globalPid: null }] })]),
                },
            ];
        });
        const said: string[] = [];
        const session = watched(
            slow.session,
            500,
            async () => {
                opened++;
                return beside.session;
            },
            (text) => said.push(text),
        );
        await session.query("quick");
        vi.advanceTimersByTime(60_000);
        assert.equal(opened, 0);
        const running = session.query("slow");
        vi.advanceTimersByTime(4000);
        await new Promise((resolve) => setImmediate(resolve));
        assert.deepEqual(said, [`waiting for ${describeHolder(ACTIVITY)}`]);
        finish();
        await running;
        assert.deepEqual(beside.closed, ["closed"]);
        vi.advanceTimersByTime(60_000);
        assert.equal(said.length, 1);
    });

    test("what can't be asked keeps nothing, and an error of the statement is its own", async () => {
        vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
        let fail = (_: Error) => {};
        const broken = sessionOf(() => new Promise((_, reject) => (fail = reject)));
        const session = watched(broken.session, 500, () => Promise.reject(new Error("no slot")), assert.fail);
        const running = session.query("x");
        vi.advanceTimersByTime(4000);
        fail(new Error("its own"));
        await assert.rejects(running, /its own/);
    });
});

const ACTIVITY: Holder & { kind: "process" } = {
    kind: "process",
    node: "coordinator",
    pid: 77,
    globalPid: "10000000077",
    role: "app",
    application: "job-runner",
    backend: "client backend",
    state: "idle in transaction",
    since: "2026-11-30 10:00:00 UTC",
    holds: "RowExclusiveLock on cust",
};
