/** The plan of schemas. */
import { deepEqual, equal, match } from "node:assert/strict";
import { describe, it } from "vitest";
import type { GroupSpec } from "../../../../core/tenants/group/spec.ts";
import { type FoundSchemas, schemas } from "../../../../core/tenants/schemas/schemas.ts";
import { group, texts } from "../planned.ts";

describe("plan of schemas", () => {
    const plan = (found: Partial<FoundSchemas>, more: Partial<GroupSpec> = {}) =>
        schemas.plan(group(more), { schemas: {}, ledger: {}, others: {}, ...found }, {});

    it("creates what is not there, and leaves what is", () => {
        deepEqual(texts(plan({ schemas: { acme: true }, ledger: { acme: "active" } })), ["globex: create schema"]);
        deepEqual(
            plan({ schemas: { acme: true, globex: true }, ledger: { acme: "active", globex: "frozen" } }).steps,
            [],
        );
        deepEqual(plan({ schemas: { acme: true, globex: true }, ledger: { acme: "superseded", globex: "active" } }), {
            steps: [],
            refusals: [],
            notes: [],
        });
    });

    it("makes new ones from what the first wave has run, and goes on with one that is half made", () => {
        const template = ["1.sql", "2.sql"].map((path) => ({ path, sha256: path }));
        const migrations = { pending: { acme: ["2.sql"] }, first: { "1.sql": 1 } };
        const found = {
            schemas: { acme: true, globex: true },
            ledger: { acme: "active", globex: "creating" },
            others: {},
        } as const;
        const { steps } = schemas.plan(group({ template }), found, { migrations });
        deepEqual(
            steps.map(({ text, detail }) => [text, detail]),
            [
                [
                    "globex: go on making its schema from 1 file; 1 file more with its wave",
                    { files: ["1.sql"], half: true },
                ],
            ],
        );
    });

    it("lists every refusal at once", () => {
        const { refusals = [] } = plan({ schemas: { acme: false }, ledger: { globex: "active" } });
        equal(refusals.length, 2);
        match(refusals[0] ?? "", /acme: there is a schema acme that no group made/);
        match(refusals[1] ?? "", /globex: its schema is gone/);
        match(plan({ ledger: { acme: "deleting" } }).refusals?.[0] ?? "", /its deletion was begun and not ended/);
        match(
            plan({ schemas: { acme: false, globex: true }, ledger: { acme: "active", globex: "active" } })
                .refusals?.[0] ?? "",
            /citus_schema_distribute/,
        );
        match(
            plan({ schemas: { acme: true }, others: { acme: "labs" } }).refusals?.[0] ?? "",
            /a tenant of group labs/,
        );
    });

    it("notes who is not in the program, but for deleted ones", () => {
        const { steps, notes } = plan(
            { ledger: { old: "active", gone: "active", moved: "superseded" } },
            { tenants: {}, delete: ["gone"] },
        );
        deepEqual(steps, []);
        equal(notes?.length, 1);
        match(notes?.[0] ?? "", /^old: in the cluster but not in the program; left as it is/);
    });
});
