/** What the benchmark makes of a figure. */
import assert from "node:assert/strict";
import { test } from "vitest";
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
