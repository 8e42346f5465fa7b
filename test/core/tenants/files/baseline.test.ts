/** A baseline makes what the files that it stands for make. */
import { deepEqual } from "node:assert/strict";
import { describe, it } from "vitest";
import { differences } from "../../../../core/tenants/files/baseline.ts";

describe("a baseline", () => {
    it("is compared with the files that it stands for", () => {
        deepEqual(
            differences(
                new Map([
                    ["column tenant.a.x", "1, integer"],
                    ["index tenant.i", "(x)"],
                    ["table tenant.a", "heap"],
                ]),
                new Map([
                    ["column tenant.a.x", "1, bigint"],
                    ["table tenant.a", "heap"],
                    ["view tenant.v", "SELECT 1"],
                ]),
            ),
            [
                "column tenant.a.x: the files make 1, integer, the baseline 1, bigint",
                "index tenant.i: the baseline does not make it ((x))",
                "view tenant.v: only the baseline makes it (SELECT 1)",
            ],
        );
    });
});
