/** From one look at a job to the next, for any job. */
import assert from "node:assert/strict";
import fc from "fast-check";
import { describe, test } from "vitest";
import { afterWork, beginJob, type JobSeen, type JobState, step } from "../../../../core/citus/rebalance/jobStep.ts";
import type { Task } from "../../../../core/citus/rebalance/jobTasks.ts";

const SIZE = 10_000_000;
const groups = new Map(Array.from({ length: 8 }, (_, i) => [String(i), { table: `t${i}`, bytes: SIZE }] as const));

const task = (i: number, more: Partial<Task> = {}): Task => ({
    taskId: String(i),
    status: "runnable",
    retries: 0,
    message: "",
    pid: null,
    shardId: String(i),
    sourceNodeId: 1,
    targetNodeId: 2,
    ...more,
});
const seen = (at: number, more: Partial<JobSeen> = {}): JobSeen => ({
    at,
    job: "running",
    tasks: [task(0, { status: "running" }), task(1)],
    copied: { bytes: 0, mark: "" },
    holders: [],
    everHeld: false,
    ...more,
});

/** Looks in turn. @returns the last state and all that was shown */
function looks(all: readonly JobSeen[], limits = {}) {
    let state: JobState = beginJob(0);
    const shown = all.map((one) => {
        const next = step(state, one, groups, limits);
        ({ state } = next);
        return next;
    });
    return { state, shown };
}

const status = fc.constantFrom("runnable", "running", "done", "error");
const anyLooks = fc
    .array(
        fc.record({
            after: fc.integer({ min: 1, max: 60_000 }),
            statuses: fc.array(status, { minLength: 1, maxLength: 8 }),
            bytes: fc.integer({ min: 0, max: 8 * SIZE }),
        }),
        { minLength: 1, maxLength: 12 },
    )
    .map((all) => {
        let at = 0;
        return all.map(({ after, statuses, bytes }) => {
            at += after;
            return seen(at, {
                tasks: statuses.map((one, i) => task(i, { status: one })),
                copied: { bytes, mark: String(bytes) },
            });
        });
    });

describe("a look at a job", () => {
    test("never shows fewer bytes than before, nor more than there are at all", () => {
        fc.assert(
            fc.property(anyLooks, (all) => {
                const { shown } = looks(all);
                for (const [i, { progress }] of shown.entries()) {
                    assert.ok(progress.bytesDone >= (shown[i - 1]?.progress.bytesDone ?? 0));
                    assert.ok(
                        progress.bytesDone <= Math.max(...shown.slice(0, i + 1).map((s) => s.progress.bytesTotal)),
                    );
                }
            }),
        );
    });

    test("counts as copying no more time than went by", () => {
        fc.assert(
            fc.property(anyLooks, (all) => {
                const { state } = looks(all);
                assert.ok(state.copying * 1000 <= (all.at(-1)?.at ?? 0) + 1);
            }),
        );
    });

    test("never gives up a job in which something changed since the look before", () => {
        fc.assert(
            fc.property(anyLooks, (all) => {
                const marked = all.map((one, i) => ({ ...one, copied: { ...one.copied, mark: String(i) } }));
                for (const { verdict } of looks(marked, { stuckAfter: 1 }).shown) assert.equal(verdict.kind, "on");
            }),
        );
    });

    test("tells the rate over the time in which bytes came, and the time that is left", () => {
        const all = [0, 1, 2, 3].map((i) =>
            seen(1000 * (i + 1), { copied: { bytes: i * 2_000_000, mark: String(i) } }),
        );
        const { shown, state } = looks(all);
        assert.equal(shown.at(-1)?.progress.bytesPerSecond, 2_000_000);
        assert.equal(shown.at(-1)?.progress.secondsLeft, (2 * SIZE - 6_000_000) / 2_000_000);
        assert.equal(state.copying, 3);
        // half a minute later nothing was copied for as long
        const later = step(state, seen(60_000, { copied: { bytes: 6_000_000, mark: "3" } }), groups, {});
        assert.equal(later.progress.bytesPerSecond, 0);
    });

    test("asks what is at work where nothing changes, and gives up only when nothing is", () => {
        const { state } = looks([seen(1000)]);
        const quiet = step(state, seen(22_000), groups, { stuckAfter: 30_000 });
        assert.equal(quiet.verdict.kind, "quiet");
        const busy = afterWork(quiet.state, seen(22_000), "an index", { stuckAfter: 30_000 });
        assert.deepEqual([busy.verdict.kind, busy.state.changed], ["on", 22_000]);
        const idle = afterWork({ ...busy.state, workAsked: 0 }, seen(60_000), "an index", { stuckAfter: 30_000 });
        assert.deepEqual(idle.verdict, { kind: "failed", what: "nothing happened for 38 s" });
    });

    test("gives up a task that failed too often, and shows what it said", () => {
        const tasks = [task(0, { status: "runnable", retries: 4, message: "ERROR:  no room" })];
        const { shown } = looks([seen(1, { tasks })]);
        assert.equal(shown[0]?.progress.trouble, "ERROR:  no room");
        assert.deepEqual(shown[0]?.verdict, { kind: "failed", what: "a move failed 4 times" });
        assert.equal(looks([seen(1, { tasks })], { maxRetries: 5 }).shown[0]?.verdict.kind, "on");
    });

    test("an end is one whatever went before; time that was hindered tells no rate", () => {
        const done = [task(0, { status: "done" }), task(1, { status: "done" })];
        const end = (more: Partial<JobSeen>) =>
            looks([seen(1000), seen(3000, { tasks: done, ...more })]).shown[1]?.verdict;
        const followed = { done: 2, bytes: 2 * SIZE };
        assert.deepEqual(end({ job: "finished" }), { kind: "over", followed: { ...followed, copying: 2 } });
        assert.deepEqual(end({ job: undefined, everHeld: true }), {
            kind: "over",
            followed: { ...followed, copying: undefined },
        });
        assert.deepEqual(end({ job: "cancelled" }), { kind: "failed", what: "the rebalance cancelled" });
    });
});
