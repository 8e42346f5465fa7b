import assert from "node:assert/strict";
import { mkdtempSync, rmSync, utimesSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, test } from "vitest";
import { reserve } from "../../provider/ports.ts";

describe("a range of ports", () => {
    let folder: string;
    beforeAll(() => {
        folder = mkdtempSync(join(tmpdir(), "citus-test-ports-"));
    });
    afterAll(() => rmSync(folder, { recursive: true }));

    test("is had by one of those who choose at the same time", () => {
        assert.equal(reserve(20_000, folder), true);
        assert.equal(reserve(20_000, folder), false);
        assert.equal(reserve(20_256, folder), true);
    });

    test("may be had again when its time is over", () => {
        const old = new Date(Date.now() - 3 * 60_000);
        utimesSync(join(folder, "citus-ports-20000"), old, old);
        assert.equal(reserve(20_000, folder), true);
        assert.equal(reserve(20_000, folder), false, "the mark was not made new");
    });
});
