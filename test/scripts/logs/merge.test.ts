/** Lines of several nodes, by time. */
import assert from "node:assert/strict";
import { describe, test } from "vitest";
import { newLines, ofEngine, ofServer } from "../../../core/reach/log.ts";
import { byTime, durationOf, shownLine } from "../../../scripts/logs/merge.ts";

const at = Date.parse("2026-12-01T04:23:47.930Z");

test("the engine's time is taken off a line, and an empty line stays one", () => {
    assert.deepEqual(ofEngine("2026-12-01T04:23:47.930959469Z \tFROM t"), { at, text: "\tFROM t" });
    assert.deepEqual(ofEngine("2026-12-01T04:23:47.930959469Z "), { at, text: "" });
    assert.equal(ofEngine("no time"), undefined);
});

test("a machine's line has its server's time, and what goes on below it the same", () => {
    assert.deepEqual(
        ofServer(
            "2026-12-01 04:23:47.930 UTC [1] STATEMENT:  SELECT 1\n\tFROM t\n2026-12-01T04:24:00Z start.sh: x\n",
        ).map((line) => line.at),
        [at, at, Date.parse("2026-12-01T04:24:00Z")],
    );
});

describe("what is new in a second look", () => {
    const lines = (...texts: string[]) => texts.map((text) => ({ at: 0, text }));
    for (const [what, older, newer, found] of [
        ["all, at first", [], ["a", "b"], ["a", "b"]],
        ["nothing", ["a", "b"], ["a", "b"], []],
        ["the end", ["a", "b"], ["b", "c"], ["c"]],
        ["the end, after lines that were there before", ["a", "x", "b"], ["a", "x", "b", "x"], ["x"]],
        ["all, where too much came to see where it went on", ["a", "b"], ["c", "d"], ["c", "d"]],
    ] as const)
        test(what, () =>
            assert.deepEqual(
                newLines(lines(...older), lines(...newer)).map(({ text }) => text),
                found,
            ),
        );
});

test("by time, with the node before each line where there are several", () => {
    const lines = [
        { node: "worker-1", at: 2, text: "b" },
        { node: "coordinator", at: 1, text: "a" },
        { node: "worker-1", at: 2, text: "c" },
    ];
    const nodes = ["coordinator", "worker-1"];
    assert.deepEqual(
        byTime(lines).map((line) => shownLine(line, nodes)),
        ["coordinator  a", "worker-1     b", "worker-1     c"],
    );
    assert.equal(shownLine({ node: "worker-1", at: 1, text: "a" }, ["worker-1"]), "a");
});

test("durations", () => {
    assert.deepEqual(["90s", "10m", "2h", "1d"].map(durationOf), [90_000, 600_000, 7_200_000, 86_400_000]);
    assert.deepEqual(["10", "m", "-1m", "1w", ""].map(durationOf), Array(5).fill(undefined));
});
