/** Which files a check takes together, as what, and what it says of paths that mean nothing. */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, test } from "vitest";
import { lintSql } from "../../../../core/tenants/check/lint.ts";
import type { GroupSpec, Model, TableSpec } from "../../../../core/tenants/group/spec.ts";
import { batchesOf, checkBatches, findSql, groupsOfConfig, knownGroups } from "../../../../scripts/tenants/check.ts";
import { EMPTY } from "../../../tenants.ts";

const group = (
    name: string,
    model: Model,
    template: readonly string[],
    tables: Readonly<Record<string, TableSpec>> = {},
): GroupSpec => ({ ...EMPTY, name, model, tables, template: template.map((path) => ({ path, sha256: "" })) });

const FILES: Readonly<Record<string, string>> = {
    "sql/bigco/1.sql": "CREATE TABLE users (id bigint PRIMARY KEY, email text UNIQUE);",
    "sql/bigco/2.sql": "CREATE TABLE notes (id bigint PRIMARY KEY, author bigint REFERENCES users (id));",
    "sql/bigco/10.sql": "CREATE UNLOGGED TABLE logs (id bigint PRIMARY KEY);",
    "sql/billing.sql": "CREATE TABLE users (company_id bigint NOT NULL, id bigint PRIMARY KEY);",
    "sql/bad.sql": `CREATE UNLOGGED TABLE logs (id bigint PRIMARY KEY);
CREATE TABLE more (x int) INHERITS (logs);
CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$;
CREATE TRIGGER t BEFORE INSERT ON logs FOR EACH ROW EXECUTE FUNCTION f();
CREATE TABLE bills (id bigint PRIMARY KEY, payer bigint REFERENCES public.users (id));`,
};
const read = (path: string) => FILES[path] ?? assert.fail(`${path} is not there`);
const billing = group("billing", "row", ["sql/billing.sql"], {
    companies: { kind: "distributed", column: "id" },
    users: { kind: "distributed", column: "company_id" },
    plans: { kind: "reference" },
});
const bigco = group("bigco", "schema", ["sql/bigco/1.sql", "sql/bigco/2.sql", "sql/bigco/10.sql"]);

/** @param paths in the project, given by another name */
const check = async (paths: readonly string[], groups: readonly GroupSpec[], model?: Model) => {
    const given = paths.map((path) => ({ path: `../${path}`, inProject: path, sql: read(path) }));
    const batches = batchesOf(given, groups, { read, ...(model === undefined ? {} : { model }) });
    const findings = await checkBatches(batches, lintSql);
    return {
        looked: batches.map(({ looked }) => looked),
        found: findings.map(({ rule, where, line }) => `${rule} ${where}:${line}`),
    };
};

describe("files and their groups", () => {
    test("a template is checked for its group's model, and another group's tables of the same name are not its own", async () => {
        assert.deepEqual(await check(["sql/bigco/1.sql", "sql/bigco/2.sql"], [billing, bigco]), {
            looked: ["2 files of bigco's template (schema)"],
            found: [],
        });
    });

    test("what up would refuse in a tenant's schema is found before", async () => {
        const clinics = group("clinics", "schema", ["sql/bad.sql"]);
        assert.deepEqual((await check(["sql/bad.sql"], [billing, clinics])).found, [
            "L5 ../sql/bad.sql:1",
            "L4 ../sql/bad.sql:2",
            "L10 ../sql/bad.sql:2",
            "L8 ../sql/bad.sql:4",
            "L2 ../sql/bad.sql:5",
        ]);
    });

    test("earlier files of a template are read with it, in its order, and only what was given is reported", async () => {
        const { looked, found } = await check(["sql/bigco/10.sql"], [bigco]);
        assert.deepEqual([looked, found], [["1 file of bigco's template (schema)"], ["L5 ../sql/bigco/10.sql:1"]]);
        const rows = group("rows", "row", ["sql/bigco/1.sql", "sql/bigco/2.sql"], {
            users: { kind: "distributed", column: "id" },
            notes: { kind: "distributed", column: "author" },
        });
        // whose primary key 2.sql's foreign key points to is in 1.sql
        assert.deepEqual((await check(["sql/bigco/2.sql"], [rows])).found, [
            "L1 ../sql/bigco/2.sql:1",
            "L13 ../sql/bigco/2.sql:1",
        ]);
        const both = await check(["sql/bigco/2.sql", "sql/bigco/1.sql"], [rows]);
        assert.deepEqual(both.found, [
            "L1 ../sql/bigco/1.sql:1",
            "L1 ../sql/bigco/2.sql:1",
            "L13 ../sql/bigco/2.sql:1",
        ]);
    });

    test("a file of two templates is checked for both, and the same mistake is said once", async () => {
        const other = group("other", "schema", ["sql/bigco/10.sql"]);
        assert.deepEqual(await check(["sql/bigco/10.sql"], [bigco, other]), {
            looked: ["1 file of bigco's template (schema)", "1 file of other's template (schema)"],
            found: ["L5 ../sql/bigco/10.sql:1"],
        });
    });

    test("a file of nobody's: with tables of groups, as a model, or not known", async () => {
        assert.deepEqual(await check(["sql/bigco/1.sql"], [billing]), {
            looked: ["1 file of no group's template, with the tables of billing"],
            found: ["L1 ../sql/bigco/1.sql:1", "L16 ../sql/bigco/1.sql:1", "L1 ../sql/bigco/1.sql:1"].sort(),
        });
        assert.deepEqual(await check(["sql/bigco/1.sql", "sql/bigco/10.sql"], [billing], "schema"), {
            looked: ["2 files of no group's template, as --model schema"],
            found: ["L5 ../sql/bigco/10.sql:1"],
        });
        assert.deepEqual(await check(["sql/bad.sql"], []), {
            looked: ["1 file of no group's template"],
            found: ["MODEL ../sql/bad.sql:1"],
        });
        assert.deepEqual((await check(["sql/bad.sql"], [billing], "database")).found, []);
        // --model is only for files of nobody's
        assert.deepEqual((await check(["sql/billing.sql"], [billing], "schema")).found, ["L1 ../sql/billing.sql:1"]);
    });
});

describe("groups", () => {
    test("are those of the configuration, before any up, and of the program beside them", () => {
        const config = JSON.stringify({
            "citus:workers": { value: "2", secret: false },
            "citus:tenantGroups": {
                value: JSON.stringify({ bigco: { model: "schema", template: "sql/*.sql", tenants: ["acme"] } }),
                secret: false,
            },
        });
        const files = { find: () => ["sql/1.sql"], read: () => "" };
        const { groups, mistakes } = groupsOfConfig(config, files);
        assert.deepEqual(mistakes, []);
        assert.deepEqual(
            groups.map(({ name, model, template }) => [name, model, template.map(({ path }) => path)]),
            [["bigco", "schema", ["sql/1.sql"]]],
        );
        const before = group("bigco", "schema", []);
        assert.deepEqual(knownGroups(groups, [before, billing]), [...groups, billing]);
        assert.deepEqual(groupsOfConfig("{}", files), { groups: [], mistakes: [] });
        const wrong = JSON.stringify({ "citus:tenantGroups": { value: '{"bigco": {"model": "scheme"}}' } });
        assert.match(groupsOfConfig(wrong, files).mistakes[0]?.path ?? "", /tenantGroups\.bigco\.model/);
    });
});

describe("paths", () => {
    const dir = mkdtempSync(join(tmpdir(), "check-"));
    afterAll(() => rmSync(dir, { recursive: true }));
    writeFileSync(join(dir, "2.sql"), "SELECT 2;");
    writeFileSync(join(dir, "10.sql"), "SELECT 10;");

    test("that mean no file are said together, each with what is expected", () => {
        assert.throws(
            () => findSql(["2.sql", "nothere.sql", "sql/*.nope", "."], dir),
            (error: Error) => {
                assert.deepEqual(error.message.split("\n"), [
                    `nothere.sql is no file in ${dir}: name SQL files, such as sql/*.sql. Nothing was checked.`,
                    `sql/*.nope means no file in ${dir}: name SQL files, such as sql/*.sql. Nothing was checked.`,
                    `. is a folder: name its SQL files, such as ./*.sql. Nothing was checked.`,
                ]);
                return true;
            },
        );
    });

    test("that the shell left as patterns are looked up", () => {
        assert.deepEqual(
            findSql(["*.sql", "2.sql"], dir).map(({ path, sql }) => [path, sql]),
            [
                ["2.sql", "SELECT 2;"],
                ["10.sql", "SELECT 10;"],
            ],
        );
    });
});
