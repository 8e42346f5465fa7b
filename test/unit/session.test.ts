/** A connection's statements. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { oneAtATime } from "../../components/citus/session.ts";

test("one at a time, in order, also after one that failed", async () => {
    const inTurn = oneAtATime();
    const seen: string[] = [];
    let running = 0;
    const work = (name: string, fails = false) =>
        inTurn(async () => {
            assert.equal(++running, 1, `${name} began while another ran`);
            await new Promise((resolve) => setImmediate(resolve));
            running--;
            seen.push(name);
            if (fails) throw new Error(name);
            return name;
        });
    const results = await Promise.allSettled([work("a"), work("b", true), work("c")]);
    assert.deepEqual(seen, ["a", "b", "c"]);
    assert.deepEqual(
        results.map(({ status }) => status),
        ["fulfilled", "rejected", "fulfilled"],
    );
});
