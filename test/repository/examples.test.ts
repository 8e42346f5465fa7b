/** The examples are right as they stand: settings that validate, SQL that check finds nothing wrong in. */
import assert from "node:assert/strict";
import { globSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "vitest";
import { type Declared, lintSql } from "../../core/tenants/check/lint.ts";

const ROOT = join(import.meta.dirname, "..", "..");

/** As each group.ts declares it. */
const MODELS: Readonly<Record<string, Declared>> = {
    rls: {
        model: "rls",
        anchor: "desks",
        tables: {
            desks: { kind: "distributed", column: "id" },
            tickets: { kind: "distributed", column: "desk_id" },
            topics: { kind: "local" },
        },
    },
    row: {
        model: "row",
        anchor: "companies",
        tables: {
            companies: { kind: "distributed", column: "id" },
            users: { kind: "distributed", column: "company_id" },
            invoices: { kind: "distributed", column: "company_id" },
            plans: { kind: "reference" },
        },
    },
    schema: { model: "schema" },
    database: { model: "database" },
};

describe("examples", () => {
    for (const [model, declared] of Object.entries(MODELS))
        test(`${model}: check finds no error in its SQL`, async () => {
            const paths = globSync(`examples/${model}/sql/*.sql`, { cwd: ROOT }).sort();
            assert.ok(paths.length > 0);
            const files = paths.map((path) => ({ path, sql: readFileSync(join(ROOT, path), "utf8") }));
            const findings = await lintSql(files, declared);
            assert.deepEqual(
                findings.filter(({ severity }) => severity === "error"),
                [],
            );
        });

    test("each has its program, its queries and a page that says connection, sign-up, sign-in, bulk load and life", () => {
        for (const model of ["rls", "row", "schema", "database", "routed"]) {
            const read = (file: string) => readFileSync(join(ROOT, "examples", model, file), "utf8");
            assert.match(read("index.ts"), /new CitusCluster\("citus", \{ workers: 2 \}\)/);
            assert.match(read("queries.ts"), /export const QUERIES: readonly Query\[\]/);
            for (const word of ["Connection", "Sign-up", "Sign-in", "Bulk load", "Life of one"])
                assert.match(read("README.md"), new RegExp(`\\*\\*${word}`), `${model}: ${word}`);
        }
    });

    test("the settings of the SQL above are those of the groups", () => {
        for (const [model, { tables = {}, anchor }] of Object.entries(MODELS)) {
            const group = readFileSync(join(ROOT, "examples", model, "group.ts"), "utf8");
            if (anchor !== undefined) assert.ok(group.includes(`anchor: "${anchor}"`), model);
            for (const [table, { kind, column }] of Object.entries(tables))
                assert.ok(
                    group.includes(
                        kind === "distributed"
                            ? `${table}: { distributeBy: "${column}" }`
                            : `${table}: { ${kind}: true }`,
                    ),
                    `${model}: ${table}`,
                );
        }
    });
});
