/** In which order containers are replaced, and what a preview says of it. */
import assert from "node:assert/strict";
import { describe, test } from "vitest";
import { type FoundContainer, madeOf, turnsOf } from "../../../../core/reach/docker/rolling.ts";
import { describeTurns } from "../../../../provider/replacements.ts";

const NODES = ["coordinator", "worker-1", "worker-2", "worker-10"];
const wanted = (made: string | undefined, names: readonly string[] = NODES) => names.map((name) => ({ name, made }));
const found = (changes: Readonly<Record<string, Partial<FoundContainer>>> = {}): FoundContainer[] =>
    NODES.map((node) => ({ node, made: "old", serves: true, ...changes[node] }));

describe("the order", () => {
    test("what serves: workers by their number, the coordinator last", () => {
        assert.deepEqual(turnsOf(found(), wanted("new")), ["worker-1", "worker-2", "worker-10", "coordinator"]);
        // nothing is known of an image that is still to be built
        assert.equal(turnsOf(found(), wanted(undefined)).length, 4);
        // one of before it was written down
        assert.equal(turnsOf(found({ "worker-1": { made: "" } }), wanted("old")).join(), "worker-1");
    });

    test("nothing, where every container is as it should be", () => {
        assert.deepEqual(turnsOf(found(), wanted("old")), []);
    });

    test("what does not serve comes first, and of it the coordinator, which the others have to be reached by", () => {
        assert.deepEqual(turnsOf(found({ "worker-2": { serves: false } }), wanted("new")), [
            "worker-2",
            "worker-1",
            "worker-10",
            "coordinator",
        ]);
        const dead = found({ coordinator: { serves: false }, "worker-10": { serves: false } });
        assert.deepEqual(turnsOf(dead, wanted("new")), ["coordinator", "worker-10", "worker-1", "worker-2"]);
    });

    test("after a run that was killed: the rest", () => {
        const half = found({ "worker-1": { made: "new" }, "worker-2": { made: "new", serves: false } });
        assert.deepEqual(turnsOf(half, wanted("new")), ["worker-10", "coordinator"]);
        const gone = found().filter(({ node }) => node !== "worker-1");
        assert.deepEqual(turnsOf(gone, wanted("new")), ["worker-2", "worker-10", "coordinator"]);
    });

    test("neither a worker that leaves nor one that comes has a turn", () => {
        const names = ["coordinator", "worker-1", "worker-3", "worker-4"];
        assert.deepEqual(turnsOf(found(), wanted("new", names)), ["worker-1", "coordinator"]);
    });
});

test("what a container is made of changes with every part of it", () => {
    const args = { memory: 1024, mounts: [{ type: "volume", source: "a" }] };
    assert.equal(madeOf(args), madeOf(structuredClone(args)));
    assert.notEqual(madeOf(args), madeOf({ ...args, memory: 2048 }));
    assert.notEqual(madeOf(args), madeOf({ ...args, mounts: [] }));
});

test("a preview names who is replaced, in which order, that the data stays and what fails meanwhile", () => {
    assert.equal(describeTurns([]), undefined);
    const all = describeTurns(["worker-1", "coordinator"]) ?? "";
    assert.match(all, /one after the other, each when the one before it serves again: worker-1, coordinator\./);
    assert.match(all, /Their data is kept\. If one does not come back, those after it are left as they are\./);
    assert.match(all, /statements that need it fail: usually for 5 to 15 s/);
    const one = describeTurns(["worker-1"]) ?? "";
    assert.match(one, /^The container of worker-1 will be replaced\. Its data is kept\. While/);
});
