/** The plan of migrations. */
import { deepEqual, equal, match } from "node:assert/strict";
import { describe, it } from "vitest";
import { migrations } from "../../../../core/tenants/files/migrations.ts";
import { group, texts } from "../planned.ts";

describe("plan of migrations", () => {
    const template = ["1.sql", "2.sql"].map((path) => ({ path, sha256: path }));
    const none = { pending: {}, first: {}, changed: {}, removed: {}, moved: {}, many: {} };

    it("rolls out in waves", () => {
        const names = Array.from({ length: 12 }, (_, i) => `t${i}`);
        const { steps } = migrations.plan(
            group({ template, tenants: Object.fromEntries(names.map((name) => [name, {}])) }),
            { ...none, pending: Object.fromEntries(names.map((name) => [name, ["2.sql"]])) },
            {},
        );
        deepEqual(
            steps.map(({ kind }) => kind),
            ["migrations.canary", "migrations.part", "migrations.part", ...Array(9).fill("migrations.rest")],
        );
    });

    it("has every file once for rows, also before there is a ledger, with a warning where there are many shards", () => {
        const rows = group({ model: "row", template, tenants: {} });
        equal(migrations.plan(rows, undefined, {}).steps.length, 2);
        match(
            texts(migrations.plan(rows, { ...none, pending: { "": ["2.sql"] }, many: { users: 128 } }, {}))[0] ?? "",
            /users has 128 shards/,
        );
    });

    it("refuses a file that sorts before one that was run, unless no order matters", () => {
        const found = { ...none, pending: { acme: ["1.sql"] }, first: { "2.sql": 1 } };
        match(
            migrations.plan(group({ template }), found, {}).refusals?.[0] ?? "",
            /^1\.sql sorts before 2\.sql, which has been run already.*git mv 1\.sql 3\.sql.*outOfOrder: true in group clinics/s,
        );
        const { refusals, steps } = migrations.plan(group({ template, outOfOrder: true }), found, {});
        deepEqual([refusals, steps.length], [[], 1]);
        // what was renamed is said once
        const moved = { ...found, moved: { "1.sql": { was: "0.sql", tenants: 1 } } };
        equal(migrations.plan(group({ template }), moved, {}).refusals?.length, 1);
    });

    it("refuses a file that has changed and notes one that is gone", () => {
        const { refusals, notes } = migrations.plan(
            group({ template }),
            { ...none, changed: { "1.sql": 2 }, removed: { "0.sql": 1 } },
            {},
        );
        match(refusals?.[0] ?? "", /1\.sql was run for 2 tenants and has changed/);
        match(notes?.[0] ?? "", /0\.sql: not in the template any more; 1 tenant ran it/);
    });

    it("refuses a file that has another path now, which would run twice, and says how to have it so", () => {
        const found = {
            ...none,
            pending: { acme: ["1.sql"] },
            removed: { "it's old.sql": 2, "0.sql": 1 },
            moved: { "1.sql": { was: "it's old.sql", tenants: 2 } },
        };
        const { refusals, notes } = migrations.plan(group({ template }), found, {});
        deepEqual(refusals?.[0]?.split("\n"), [
            "1.sql has the content (sha256) of it's old.sql, which was run for 2 tenants and is not in the template any more: it would run twice. If you rename it back to it's old.sql, nothing is run.",
            "To keep the name 1.sql, tell the ledger (npm run psql), then run pulumi up:",
            "UPDATE citus_as_code.tenant_migration SET path = '1.sql' WHERE grp = 'clinics' AND path = 'it''s old.sql';",
        ]);
        deepEqual(
            notes?.map((note) => note.split(":")[0]),
            ["0.sql"],
        );
        const rows = migrations.plan(
            group({ model: "row", template, tenants: {} }),
            { ...found, pending: { "": ["1.sql"] }, moved: { "1.sql": { was: "0.sql", tenants: 1 } } },
            {},
        );
        match(rows.refusals?.[0] ?? "", /^1\.sql has the content \(sha256\) of 0\.sql, which was run and is not/);
        const databases = migrations.plan(group({ model: "database", template }), found, {});
        match(
            databases.refusals?.[0] ?? "",
            /and in the database of each tenant:\nUPDATE citus_as_code\.migration SET path = '1\.sql' WHERE path = 'it''s old\.sql';$/,
        );
    });
});
