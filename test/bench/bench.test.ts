/** What the benchmark makes of a figure. */
import assert from "node:assert/strict";
import { test } from "vitest";
import { follow } from "./locks.ts";
import { judge } from "./section.ts";

test("a target is met, missed, or missed by far; a figure that is none is missed by far", () => {
    assert.deepEqual(
        [1.9, 2, 5.9, 6, Number.NaN].map((figure) => judge(figure, 2)),
        [
            { met: true, far: false },
            { met: false, far: false },
            { met: false, far: false },
            { met: false, far: true },
            { met: false, far: true },
        ],
    );
});

test("a lock lasts at most from the look before it was seen to the look after", () => {
    const one = { table: "part_1", mode: "ExclusiveLock", transaction: "3/7" };
    const other = { ...one, transaction: "4/1" };
    const node = follow("worker-1");
    node.look(0, 1, []);
    node.look(10, 11, [one]);
    node.look(20, 21, [one, other]);
    node.look(30, 34, [other]);
    assert.deepEqual(
        node.held().map(({ transaction, milliseconds }) => [transaction, milliseconds]),
        [
            // begun after the look at 0 and ended before the answer at 34
            ["3/7", 34],
            // still held when it was last looked, and not there at 10
            ["4/1", 20],
        ],
    );
    assert.equal(node.gap(), 14);
    assert.deepEqual(follow("worker-2").held(), []);
});
