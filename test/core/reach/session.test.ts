/** A connection's statements, and what the database said beside an error. */
import assert from "node:assert/strict";
import { describe, test } from "vitest";
import { DatabaseError, oneAtATime, Warnings } from "../../../core/reach/session.ts";

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

const warning = (message: string, more: object = {}) => ({ severity: "WARNING", message, ...more });

describe("Warnings", () => {
    test("are shown with the error, in the server's words", () => {
        const warnings = new Warnings();
        warnings.add({ severity: "NOTICE", message: "relation exists, skipping" });
        warnings.add(
            warning('role "lead" does not exist', { detail: "d", where: "while executing command on worker-3" }),
        );
        const error = new DatabaseError(
            "coordinator",
            "SELECT citus_add_node($1, $2)",
            { message: "no" },
            false,
            warnings.take(),
        );
        assert.equal(
            error.message,
            'coordinator: SELECT citus_add_node($1, $2) failed\n  no\n  WARNING: role "lead" does not exist; DETAIL: d; while executing command on worker-3',
        );
    });

    test("belong to one statement", () => {
        const warnings = new Warnings();
        warnings.add(warning("first"));
        assert.deepEqual(warnings.take(), ["WARNING: first"]);
        assert.deepEqual(warnings.take(), []);
    });

    test("are bounded in number and length, and the last ones are kept", () => {
        const warnings = new Warnings();
        for (let i = 0; i < 1000; i++) warnings.add(warning(`${i} ${"x".repeat(5000)}`));
        const said = warnings.take();
        assert.equal(said[0], "(995 warnings before these)");
        assert.match(said.at(-1) ?? "", /^WARNING: 999 x/);
        assert.ok(said.join("").length < 3000);
    });

    test("one that comes again is shown once", () => {
        const warnings = new Warnings();
        for (let i = 0; i < 3; i++) warnings.add(warning("same"));
        assert.deepEqual(warnings.take(), ["WARNING: same"]);
    });
});
