/** Following a rebalance: progress in words, and when to give up, with the cause. */
import assert from "node:assert/strict";
import fc from "fast-check";
import { describe, test } from "vitest";
import type { NodeRow } from "../../../../core/citus/catalog.ts";
import { type FollowOptions, followJob, JobError } from "../../../../core/citus/rebalance/job.ts";
import { describeProgress, type Progress } from "../../../../core/citus/rebalance/jobStep.ts";
import { firstLine, stopJob, type Task, taskReader } from "../../../../core/citus/rebalance/jobTasks.ts";
import type { Holder } from "../../../../core/citus/waits.ts";
import type { Session } from "../../../../core/reach/session.ts";
import { describeBytes } from "../../../../core/util/bytes.ts";
import { quickly } from "../../../clock.ts";

const NODES: NodeRow[] = [0, 1, 2].map((groupId) => ({
    nodeId: groupId + 1,
    groupId,
    host: groupId === 0 ? "coordinator.c1.node" : `worker-${groupId}.c1.node`,
    port: 5432,
    active: true,
    synced: true,
    holdsShards: groupId !== 0,
}));

const HOLDER: Holder = {
    kind: "process",
    node: "coordinator",
    pid: 26_913,
    globalPid: "10000026913",
    role: "postgres",
    application: "job-runner",
    backend: "client backend",
    state: "idle in transaction",
    since: "2026-11-30 10:00:00 UTC",
    holds: "RowExclusiveLock on cust",
};

const task = (taskId: number, status: string, more: Partial<Task> = {}): Task => ({
    taskId: String(taskId),
    status,
    retries: 0,
    message: "",
    pid: null,
    shardId: String(102_000 + taskId),
    sourceNodeId: 2,
    targetNodeId: 3,
    ...more,
});

interface Step {
    state: string | undefined;
    tasks: Task[];
    copied?: { bytes: number; mark: string };
}

/** A coordinator on which each look at the job is the script's next step; the last one stays. */
function scripted(steps: Step[], unreachable: string[] = [], slots: object[] = [], replicating: object[] = []) {
    const queries: string[] = [];
    let at = -1;
    const now = () => steps[Math.min(Math.max(at, 0), steps.length - 1)] as Step;
    const answer = (sql: string, parameters: readonly unknown[]): object[] => {
        if (/SELECT state::text AS state FROM pg_dist_background_job/.test(sql)) {
            at++;
            const { state } = now();
            return state === undefined ? [] : [{ state }];
        }
        if (/FROM pg_dist_background_task/.test(sql)) return now().tasks;
        if (/get_rebalance_progress/.test(sql)) return [now().copied ?? { bytes: 0, mark: "" }];
        if (/citus_check_connection_to_node/.test(sql)) return [{ ok: !unreachable.includes(String(parameters[0])) }];
        if (/FROM pg_stat_activity WHERE pid/.test(sql)) return [{ pid: 77, waits: "IPC LogicalSyncData" }];
        if (/pg_stat_subscription/.test(sql)) return replicating;
        if (/pg_replication_slots/.test(sql)) return slots;
        throw new Error(`unexpected: ${sql}`);
    };
    const session: Session = {
        node: "coordinator",
        query: async <T extends object>(sql: string, parameters: readonly unknown[] = []) => {
            queries.push(sql);
            return answer(sql, parameters) as T[];
        },
        certificateEnds: () => undefined,
        close: async () => undefined,
    };
    return { session, queries, looks: () => at + 1 };
}

function options(more: Partial<FollowOptions> = {}) {
    const seen: Progress[] = [];
    const moved: string[] = [];
    const follow: FollowOptions = {
        nodes: NODES,
        groups: new Map([1, 2, 3].map((n) => [String(102_000 + n), { table: `public.t${n}`, bytes: n * 1_000_000 }])),
        progress: (p) => seen.push(p),
        moved: async (t) => {
            moved.push(t.taskId);
        },
        alive: () => undefined,
        ...more,
    };
    return { follow, seen, moved };
}

describe("tasks that are read again and again", () => {
    /** A server with the tasks of `now`, which answers as PostgreSQL does; `rows` counts what it has answered. */
    const server = (tasks: () => readonly Task[]) => {
        const counted = { rows: 0 };
        const session = {
            ...scripted([]).session,
            query: async <T extends object>(sql: string, parameters: readonly unknown[] = []) => {
                const begun = /NOT IN \('blocked', 'runnable', 'unscheduled'\)/.test(sql);
                const rows = tasks().filter(
                    ({ taskId, status, retries }) =>
                        Number(taskId) >= Number(parameters[1]) &&
                        (!begun || !["blocked", "runnable", "unscheduled"].includes(status) || retries > 0),
                );
                counted.rows += rows.length;
                return rows as object[] as T[];
            },
        };
        return { session, counted };
    };

    test("thousands that wait for their turn are asked for once", async () => {
        const tasks = Array.from({ length: 10_000 }, (_, i) => task(i + 1, i < 5 ? "running" : "blocked"));
        const { session, counted } = server(() => tasks);
        const read = taskReader(session, "1");
        await read();
        for (let i = 0; i < 10_000; i++) {
            tasks[i] = task(i + 1, "done");
            if (i + 5 < tasks.length) tasks[i + 5] = task(i + 6, "running");
            if (i % 100 === 0) assert.deepEqual(await read(), tasks);
        }
        assert.ok(counted.rows < 10_000 + 100 * 110, `${counted.rows} rows were answered`);
    });

    test("what is known is what is there, whatever became of them, but for how they wait", async () => {
        const statuses = ["blocked", "runnable", "running", "done", "error", "unscheduled", "cancelling", "cancelled"];
        const waits = (status: string) => ["blocked", "runnable", "unscheduled"].includes(status);
        await fc.assert(
            fc.asyncProperty(
                fc.array(fc.array(fc.nat(statuses.length - 1), { minLength: 4, maxLength: 4 }), { maxLength: 8 }),
                fc.nat(2),
                async (steps, retries) => {
                    let tasks = [1, 2, 3, 4].map((n) => task(n, "blocked"));
                    const read = taskReader(server(() => tasks).session, "1");
                    await read();
                    for (const step of steps) {
                        // nothing comes back from done
                        tasks = tasks.map((before, i) =>
                            before.status === "done" ? before : task(i + 1, statuses[step[i] ?? 0] ?? "", { retries }),
                        );
                        const known = await read();
                        assert.deepEqual(
                            known.map(({ taskId, status }) => [taskId, waits(status) ? "waits" : status]),
                            tasks.map(({ taskId, status }) => [taskId, waits(status) ? "waits" : status]),
                        );
                    }
                },
            ),
        );
    });
});

describe("words", () => {
    test("describeBytes", () => {
        for (const [bytes, text] of [
            [0, "0 kB"],
            [1_499, "1 kB"],
            [999_000, "999 kB"],
            [1_000_000, "1 MB"],
            [610_400_000, "610 MB"],
            [1_200_000_000, "1.20 GB"],
            [2_345_000_000_000, "2345.00 GB"],
        ] as const)
            assert.equal(describeBytes(bytes), text);
    });

    test("describeProgress says everything that is known", () => {
        assert.equal(
            describeProgress({
                done: 13,
                total: 26,
                bytesDone: 610e6,
                bytesTotal: 1.2e9,
                bytesPerSecond: 38e6,
                secondsLeft: 15.5,
                now: "public.projects",
                trouble: "ERROR: connection lost",
            }),
            "13 of 26 shard groups · 610 MB of 1.20 GB · 38 MB/s · about 16 s left · now: public.projects · trying again: ERROR: connection lost",
        );
    });

    test("describeProgress leaves out what is not known", () => {
        assert.equal(
            describeProgress({
                done: 0,
                total: 4,
                bytesDone: 0,
                bytesTotal: 2000,
                bytesPerSecond: 0,
                secondsLeft: undefined,
                now: undefined,
                trouble: undefined,
            }),
            "0 of 4 shard groups · 0 kB of 2 kB",
        );
    });

    test("firstLine prefers the error to what led to it", () => {
        assert.equal(firstLine("\n  NOTICE: x\n  ERROR:  could not connect\nDETAIL: y"), "ERROR:  could not connect");
        assert.equal(firstLine("\n\n  just words  \nmore"), "just words");
        assert.equal(firstLine(""), "");
        assert.equal(firstLine("\n \n"), "");
    });

    test("firstLine names the node, and not Citus' worker that ran the task", () => {
        const message =
            "ERROR:  canceling statement due to statement timeout\nCONTEXT:  while executing command on worker-2.c1.node:5432\n" +
            "Citus Background Task Queue Executor: app/postgres for (3/5)";
        assert.equal(firstLine(message), "ERROR:  canceling statement due to statement timeout (on worker-2)");
        assert.equal(
            firstLine(
                "FATAL:  terminating connection\nCONTEXT:  Citus Background Task Queue Executor: app/postgres for (1/1)",
            ),
            "FATAL:  terminating connection",
        );
    });

    test("describeProgress names who keeps a move waiting", () => {
        const text = describeProgress({
            done: 0,
            total: 4,
            bytesDone: 0,
            bytesTotal: 2000,
            bytesPerSecond: 0,
            secondsLeft: undefined,
            now: "cust",
            trouble: undefined,
            heldUp: [HOLDER],
        });
        assert.equal(
            text,
            "0 of 4 shard groups · 0 kB of 2 kB · now: cust · a move waits for pid 26913 on coordinator (role postgres, application job-runner, " +
                "idle in transaction since 2026-11-30 10:00:00 UTC, holds RowExclusiveLock on cust). To end it, on coordinator: SELECT pg_terminate_backend(26913);",
        );
    });
});

describe("followJob", () => {
    test("ends when the job is finished, with what was moved", async () => {
        const { session } = scripted([
            { state: "scheduled", tasks: [task(1, "blocked"), task(2, "runnable")] },
            {
                state: "running",
                tasks: [task(1, "running"), task(2, "runnable")],
                copied: { bytes: 500_000, mark: "a" },
            },
            { state: "running", tasks: [task(1, "done"), task(2, "running")], copied: { bytes: 0, mark: "b" } },
            { state: "finished", tasks: [task(1, "done"), task(2, "done")] },
        ]);
        const { follow, seen, moved } = options();
        assert.deepEqual(await quickly(() => followJob(session, "7", follow)), {
            done: 2,
            bytes: 3_000_000,
            copying: 2.25,
        });
        assert.deepEqual(moved, ["1", "2"]);
        assert.deepEqual(
            seen.map((p) => p.done),
            [0, 0, 1, 2],
        );
        assert.deepEqual(
            seen.map((p) => p.bytesDone),
            [0, 500_000, 1_000_000, 3_000_000],
        );
        assert.deepEqual(
            seen.map((p) => p.now),
            [undefined, "public.t1", "public.t2", undefined],
        );
        assert.ok(seen.every((p) => p.total === 2 && p.bytesTotal === 3_000_000));
    });

    test("names the copy of reference tables, and does not count it as a move", async () => {
        const copy = task(9, "running", { shardId: null, sourceNodeId: null, targetNodeId: null });
        const { session } = scripted([
            { state: "running", tasks: [copy, task(1, "blocked")] },
            { state: "finished", tasks: [{ ...copy, status: "done" }, task(1, "done")] },
        ]);
        const { follow, seen, moved } = options();
        assert.equal((await quickly(() => followJob(session, "7", follow))).done, 1);
        assert.equal(seen[0]?.now, "reference tables");
        assert.deepEqual(moved, ["1"]);
    });

    test("tells the rate and the time left once copying has begun", async () => {
        const { session } = scripted([
            ...[0, 0, 0].map(() => ({ state: "running", tasks: [task(3, "running")] })),
            ...[1, 2, 3, 4, 5, 6, 7, 8].map((n) => ({
                state: "running",
                tasks: [task(3, "running")],
                copied: { bytes: n * 250_000, mark: String(n) },
            })),
            { state: "finished", tasks: [task(3, "done")] },
        ]);
        const { follow, seen } = options();
        await quickly(() => followJob(session, "7", follow));
        assert.ok(seen.slice(0, 4).every((p) => p.bytesPerSecond === 0 && p.secondsLeft === undefined));
        const late = seen.at(-2);
        assert.ok((late?.bytesPerSecond ?? 0) > 0 && (late?.secondsLeft ?? 0) > 0);
        assert.ok(seen.every((p) => p.bytesDone <= p.bytesTotal));
    });

    test("a job that is gone counts as finished", async () => {
        const { session } = scripted([{ state: undefined, tasks: [] }]);
        const followed = await quickly(() => followJob(session, "7", options().follow));
        assert.deepEqual(followed, { done: 0, bytes: 0, copying: 0 });
    });

    for (const state of ["failed", "cancelled"]) {
        test(`a ${state} job is an error with the task's own words`, async () => {
            const message = "NOTICE: moving\nERROR:  cannot move shard 102002\nDETAIL: no replica identity";
            const { session } = scripted([
                { state: "running", tasks: [task(1, "done"), task(2, "running")] },
                {
                    state,
                    tasks: [task(1, "done", { message: "old ERROR" }), task(2, "error", { message, retries: 1 })],
                },
            ]);
            const failed = quickly(() => followJob(session, "7", options().follow));
            await assert.rejects(failed, (error) => {
                assert.ok(error instanceof JobError);
                assert.equal(error.done, 1);
                assert.equal(error.total, 2);
                assert.deepEqual(error.message.split("\n"), [
                    `the rebalance ${state}:`,
                    "  moving public.t2 from worker-1 to worker-2:",
                    "    ERROR:  cannot move shard 102002",
                    "    DETAIL: no replica identity",
                ]);
                return true;
            });
        });
    }

    test("reports trouble while a task is tried again, and goes on", async () => {
        const { session } = scripted([
            { state: "running", tasks: [task(1, "runnable", { retries: 1, message: "ERROR: refused" })] },
            { state: "finished", tasks: [task(1, "done", { retries: 1, message: "ERROR: refused" })] },
        ]);
        const { follow, seen } = options();
        assert.equal((await quickly(() => followJob(session, "7", follow))).done, 1);
        assert.deepEqual(
            seen.map((p) => p.trouble),
            ["ERROR: refused", undefined],
        );
    });

    test("gives up with the cause after maxRetries", async () => {
        const steps = [1, 2, 3].map((retries) => ({
            state: "running",
            tasks: [task(1, "runnable", { retries, message: "ERROR: disk full" })],
        }));
        const { session, looks } = scripted(steps);
        await assert.rejects(
            quickly(() => followJob(session, "7", options({ maxRetries: 3 }).follow)),
            (error) =>
                error instanceof JobError &&
                error.message ===
                    "a move failed 3 times:\n  moving public.t1 from worker-1 to worker-2:\n    ERROR: disk full",
        );
        assert.equal(looks(), 3);
    });

    test("says what each process of a move does, where nothing else says why it is stuck", async () => {
        const tasks = [task(1, "running", { pid: 77 }), task(2, "running", { pid: 78 }), task(3, "blocked")];
        const behind = "slot citus_shard_move_slot_1 is read by nobody, 16 MB behind";
        const { session } = scripted(
            [{ state: "running", tasks }],
            [],
            [],
            [{ node: "worker-1.c1.node", result: behind }],
        );
        await assert.rejects(
            quickly(() => followJob(session, "7", options({ stuckAfter: 20_000 }).follow)),
            (error: Error) => {
                assert.deepEqual(error.message.split("\n").slice(1), [
                    "  moving public.t1 from worker-1 to worker-2: its process 77 waits for IPC LogicalSyncData",
                    "  moving public.t2 from worker-1 to worker-2: no process runs it",
                    `  worker-1: ${behind}`,
                ]);
                return true;
            },
        );
    });

    test("gives up after stuckAfter without any change, and not before", async () => {
        const { session, looks } = scripted([{ state: "running", tasks: [task(1, "running")] }]);
        await assert.rejects(
            quickly(() => followJob(session, "7", options({ stuckAfter: 20_000 }).follow)),
            /^Error: nothing happened for 2[0-2] s:/,
        );
        assert.ok(looks() > 10);
    });

    test("copying that gets on is not silence", async () => {
        let n = 0;
        const { session } = scripted([
            ...Array.from({ length: 60 }, () => ({
                state: "running",
                tasks: [task(1, "running")],
                copied: { bytes: 0, mark: String(n++) },
            })),
            { state: "finished", tasks: [task(1, "done")] },
        ]);
        assert.equal((await quickly(() => followJob(session, "7", options({ stuckAfter: 2000 }).follow))).done, 1);
    });

    test("names a node that can't be reached and a slot that was lost", async () => {
        const { session } = scripted(
            [{ state: "failed", tasks: [task(1, "error", { message: "ERROR: x", retries: 1 })] }],
            ["worker-2.c1.node"],
            [{ node: "worker-1.c1.node", result: "citus_shard_move_slot_1 lost" }],
        );
        await assert.rejects(
            quickly(() => followJob(session, "7", options().follow)),
            (error: Error) => {
                assert.deepEqual(error.message.split("\n"), [
                    "the rebalance failed:",
                    "  moving public.t1 from worker-1 to worker-2:",
                    "    ERROR: x",
                    "  worker-2.c1.node can't be reached from the coordinator",
                    "  worker-1.c1.node lost a replication slot: citus_shard_move_slot_1 lost",
                ]);
                return true;
            },
        );
    });

    test("says the same cause once, and at most five", async () => {
        const tasks = Array.from({ length: 9 }, (_, i) => task(i, "error", { message: `ERROR: ${i % 7}`, retries: 1 }));
        const { session } = scripted([{ state: "failed", tasks }]);
        await assert.rejects(
            quickly(() => followJob(session, "7", options().follow)),
            (error: Error) => error.message.split("\n").length === 11,
        );
    });

    test("stops when nobody waits any more", async () => {
        const { session } = scripted([{ state: "running", tasks: [task(1, "running")] }]);
        let asked = 0;
        const alive = () => {
            if (++asked > 3) throw new Error("gone");
        };
        await assert.rejects(
            quickly(() => followJob(session, "7", options({ alive }).follow)),
            /gone/,
        );
    });

    test("says that rows are still compared when the last move is done", async () => {
        const { session } = scripted([
            { state: "running", tasks: [task(1, "done")] },
            { state: "finished", tasks: [task(1, "done")] },
        ]);
        const { follow, seen } = options({ moved: () => new Promise((resolve) => setTimeout(resolve, 10_000)) });
        await quickly(() => followJob(session, "7", follow));
        assert.deepEqual(
            seen.map(({ waiting }) => waiting),
            [undefined, "row counts", undefined],
        );
    });

    test("an error while comparing a moved shard ends it", async () => {
        const { session } = scripted([{ state: "running", tasks: [task(1, "done"), task(2, "running")] }]);
        const moved = async () => {
            throw new Error("Rows are missing");
        };
        await assert.rejects(
            quickly(() => followJob(session, "7", options({ moved }).follow)),
            /Rows are missing/,
        );
    });
});

test("stopJob cancels and waits until nothing runs", async () => {
    const asked: string[] = [];
    let live = 3;
    const session: Session = {
        node: "coordinator",
        query: async <T extends object>(sql: string) => {
            asked.push(sql);
            return (/ AS live /.test(sql) ? [{ live: live-- > 0 }] : []) as T[];
        },
        certificateEnds: () => undefined,
        close: async () => undefined,
    };
    await quickly(() => stopJob(session, "7"));
    assert.match(asked[0] ?? "", /citus_job_cancel/);
    assert.equal(asked.length, 5);
});
