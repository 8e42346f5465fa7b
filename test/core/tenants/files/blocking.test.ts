/** What files make others wait for. */
import { deepEqual, equal, match } from "node:assert/strict";
import { describe, it } from "vitest";
import { describeCost } from "../../../../core/tenants/files/blocking.ts";
import { migrations } from "../../../../core/tenants/files/migrations.ts";
import type { GroupSpec } from "../../../../core/tenants/group/spec.ts";
import { group } from "../planned.ts";

describe("what files make others wait for", () => {
    const place = { where: "2.sql", line: 3 };
    const weights = { visits: { bytes: 3.1e9, rows: 12_400_000, largest: 420_000_000, shards: 40 } };

    it("is said with sizes and a time", () => {
        const cost = { place, table: "visits", clause: "ALTER COLUMN note TYPE text", fix: "" } as const;
        equal(
            describeCost("2.sql", { ...cost, does: "rewrite", waits: "reads and writes" }, weights, 40),
            "2.sql:3 ALTER COLUMN note TYPE text of visits (now 3.10 GB, 12.4 million rows, 40 shards) writes every row anew: reads and writes of a tenant wait, about 14 s at 30 MB a second for the largest tenant",
        );
        equal(
            describeCost("2.sql", { ...cost, clause: "CREATE INDEX i", does: "index", waits: "writes" }, {}),
            "2.sql:3 CREATE INDEX i of visits builds an index: writes wait, as long as that lasts",
        );
        match(
            describeCost("2.sql", { ...cost, clause: "TRUNCATE", does: "gone" }, weights),
            /40 shards\) can't be undone$/,
        );
    });

    it("is what runs now, of tables that are there", () => {
        const template = ["1.sql", "2.sql"].map((path) => ({ path, sha256: path }));
        const cost = { place, clause: "CREATE INDEX", does: "index", waits: "writes", fix: "" } as const;
        const found = {
            pending: { acme: ["2.sql"] },
            first: { "1.sql": 1 },
            changed: {},
            removed: {},
            moved: {},
            many: {},
            weights,
            costs: {
                "2.sql": [
                    { ...cost, table: "visits" },
                    { ...cost, table: "to_come" },
                ],
            },
        };
        const notes = (more: Partial<GroupSpec>, first = found.first) =>
            migrations.plan(group({ template, ...more }), { ...found, first }, {}).notes ?? [];
        equal(notes({}).length, 1);
        match(notes({})[0] ?? "", /^2\.sql:3 CREATE INDEX of visits/);
        // the first up of all
        deepEqual(notes({}, {} as typeof found.first), []);
    });
});
