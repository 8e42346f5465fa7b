/** How files are run for many tenants. */
import { deepEqual, equal } from "node:assert/strict";
import { describe, it } from "vitest";
import { batchSize, inTurns } from "../../../../core/tenants/files/runMigrations.ts";

describe("tenants in one text and beside each other", () => {
    const file = (bytes: number) => ({
        path: "1.sql",
        sha256: "",
        sql: "",
        statements: [],
        alone: false,
        packed: "x".repeat(bytes),
    });

    it("are as many as the text may be long", () => {
        equal(batchSize([]), 20);
        equal(batchSize([file(100), file(100)]), 20);
        equal(batchSize([file(500_000), file(500_000)]), 4);
        equal(batchSize([file(10_000_000)]), 1);
    });

    it("take the nodes in turns, each tenant once", () => {
        deepEqual(
            inTurns(["a1", "a2", "a3", "b1", "c1", "c2"], (name) => name[0] ?? ""),
            ["a1", "b1", "c1", "a2", "c2", "a3"],
        );
        deepEqual(
            inTurns([], () => ""),
            [],
        );
    });
});
