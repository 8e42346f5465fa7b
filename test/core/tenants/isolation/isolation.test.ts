/** What keeps a template's files in bounds, and what passes policies by, without a database. */
import assert from "node:assert/strict";
import { describe, test } from "vitest";
import { validateGroups } from "../../../../components/config/tenants/validate.ts";
import { perPlacement } from "../../../../core/citus/guards.ts";
import { type Declared, lintSql } from "../../../../core/tenants/check/lint.ts";
import { readBounds } from "../../../../core/tenants/check/read/bounds.ts";
import type { GroupSpec } from "../../../../core/tenants/group/spec.ts";
import { explainExposed } from "../../../../core/tenants/isolation/exposure.ts";
import { type FoundIsolation, isolation, planIsolation } from "../../../../core/tenants/isolation/isolation.ts";
import { refuseMemberships } from "../../../../core/tenants/roles/memberships.ts";

const shown = async (sql: string, declared: Declared) =>
    (await lintSql([{ path: "1.sql", sql }], declared))
        .filter(({ rule }) => ["L17", "L18", "L19"].includes(rule))
        .map(({ rule, severity, line }) => `${rule} ${severity} ${line}`);

const SCHEMA: Declared = { model: "schema" };
const MADE = `CREATE TABLE users (id bigserial PRIMARY KEY, email text);
CREATE TYPE mood AS ENUM ('a');
CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1';
`;

describe("a file of a tenant's schema", () => {
    const KEPT = [
        "ALTER TABLE users ADD COLUMN plan int REFERENCES public.plans (id);",
        "INSERT INTO users (email) SELECT name FROM public.plans;",
        "INSERT INTO users (email) SELECT name FROM plans;",
        "WITH gone AS (DELETE FROM users RETURNING id) SELECT count(*) FROM gone;",
        "CREATE INDEX users_email ON users (email); DROP INDEX users_email;",
        "ALTER INDEX users_pkey RENAME TO users_key;",
        "SELECT setval('users_id_seq', 10);",
        "ALTER TYPE mood ADD VALUE 'b'; DROP TYPE mood;",
        "CREATE OR REPLACE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 2'; DROP FUNCTION f();",
        "ALTER TABLE users RENAME TO people; UPDATE people SET email = '';",
        "CREATE TABLE copy AS SELECT * FROM public.plans; TRUNCATE copy;",
        "CREATE TEMP TABLE t (i int); INSERT INTO t VALUES (1); DROP TABLE pg_temp.t;",
        "CREATE VIEW v AS SELECT * FROM users; COMMENT ON VIEW v IS 'x'; GRANT SELECT ON v TO reporting;",
        "DROP TABLE users; CREATE TABLE users (id int PRIMARY KEY);",
        "CREATE TABLE likes (LIKE public.plans INCLUDING ALL);",
        "SET LOCAL work_mem = '64MB'; SELECT set_config('app.x', 'y', true);",
        "CREATE FUNCTION g() RETURNS int LANGUAGE sql SET search_path = pg_catalog AS 'SELECT 1';",
        "DO $$ BEGIN PERFORM 1; END $$;",
    ];
    for (const sql of KEPT) test(`may say ${sql}`, async () => assert.deepEqual(await shown(MADE + sql, SCHEMA), []));

    const FALLS = [
        "DROP TABLE IF EXISTS visits;",
        "ALTER TABLE visits ADD COLUMN x int;",
        "UPDATE visits SET note = NULL;",
        "DELETE FROM visits;",
        "INSERT INTO visits VALUES (1);",
        "TRUNCATE visits;",
        "COPY visits FROM STDIN;",
        "GRANT SELECT ON visits TO reporting;",
        "WITH gone AS (DELETE FROM visits RETURNING id) SELECT count(*) FROM gone;",
        "EXPLAIN ANALYZE DELETE FROM visits;",
        "MERGE INTO visits USING users ON true WHEN MATCHED THEN DELETE;",
        "CREATE INDEX ON visits (note);",
        "CREATE TRIGGER t BEFORE INSERT ON visits FOR EACH ROW EXECUTE FUNCTION f();",
        "CREATE POLICY p ON visits USING (true);",
        "CREATE RULE r AS ON INSERT TO users DO ALSO DELETE FROM visits;",
        "COMMENT ON COLUMN visits.note IS 'x';",
        "DROP FUNCTION IF EXISTS g();",
        "ALTER TYPE colour ADD VALUE 'red';",
        "DROP TYPE IF EXISTS colour;",
        "DROP TRIGGER t ON visits;",
        "ALTER TABLE visits RENAME TO other;",
        "LOCK TABLE visits;",
        "SELECT setval('visits_id_seq', 10);",
        "CREATE TABLE part PARTITION OF visits FOR VALUES IN (1);",
    ];
    for (const sql of FALLS)
        test(`may not say ${sql}`, async () =>
            assert.deepEqual(await shown(MADE + sql, SCHEMA), [`L17 error ${MADE.split("\n").length}`]));

    const OUT = [
        "DROP TABLE public.users;",
        "CREATE TABLE public.mine (i int);",
        "UPDATE globex.users SET email = '';",
        "SET search_path = public;",
        "SET LOCAL search_path TO DEFAULT;",
        "RESET ALL;",
        "SELECT set_config('search_path', '', false);",
        "SET ROLE reporting;",
        "SET SESSION AUTHORIZATION reporting;",
        "SET session_replication_role = replica;",
        "CREATE SCHEMA other;",
        "DROP SCHEMA public CASCADE;",
        "CREATE EXTENSION IF NOT EXISTS citext;",
        "CREATE ROLE x;",
        "GRANT pg_read_all_data TO x;",
        "ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO x;",
        "GRANT SELECT ON ALL TABLES IN SCHEMA public TO x;",
        "COPY users FROM '/etc/passwd';",
        "COPY users TO PROGRAM 'cat';",
        "ALTER TABLE users SET SCHEMA public;",
        "SELECT create_reference_table('public.plans');",
        "SELECT run_command_on_all_nodes('DROP TABLE x');",
        "DO $$ BEGIN EXECUTE 'SET session_replication_role = replica'; END $$;",
        "ALTER DATABASE app SET work_mem = '1MB';",
        "CREATE PUBLICATION p FOR ALL TABLES;",
    ];
    for (const sql of OUT)
        test(`may not say ${sql}`, async () =>
            assert.deepEqual(await shown(MADE + sql, SCHEMA), [`L18 error ${MADE.split("\n").length}`]));

    test("changes what every tenant has, whoever made it, and names where an extension belongs", async () => {
        const file = [{ path: "1.sql", sql: "ALTER TABLE visits ADD COLUMN x int;" }];
        assert.deepEqual(await readBounds(file, { model: "schema", known: ["visits"] }), []);
        const [found] = await readBounds([{ path: "1.sql", sql: "CREATE EXTENSION citext;" }], SCHEMA);
        assert.match(found?.fix ?? "", /CREATE EXTENSION \.\.\. SCHEMA public into a file of citus:postDeploy/);
    });
});

test("a file of a tenant's database keeps to it", async () => {
    const database: Declared = { model: "database" };
    assert.deepEqual(
        await shown(
            "CREATE EXTENSION citext; CREATE SCHEMA x; DROP TABLE IF EXISTS public.users; SET search_path = x;",
            database,
        ),
        [],
    );
    for (const sql of [
        "CREATE ROLE x;",
        "DROP DATABASE other;",
        "COPY t TO '/tmp/x';",
        "DROP TABLE citus_as_code.migration;",
    ])
        assert.deepEqual(await shown(sql, database), ["L18 error 1"], sql);
});

describe("a file of a group of rows", () => {
    const rows = (model: "row" | "rls"): Declared => ({
        model,
        tables: { users: { kind: "distributed", column: "company_id" } },
        outside: { schemas: ["acme"], tables: ["public.firms"] },
    });
    test("leaves other groups' tables and tenants' schemas alone", async () => {
        for (const sql of [
            "UPDATE firms SET x = 1;",
            "DROP TABLE acme.visits;",
            "DROP SCHEMA acme CASCADE;",
            "DELETE FROM citus_as_code.tenant;",
        ])
            assert.deepEqual(await shown(sql, rows("row")), ["L18 error 1"], sql);
        assert.deepEqual(
            await shown(
                "DROP TABLE IF EXISTS mine; INSERT INTO users SELECT * FROM firms; CREATE ROLE x;",
                rows("row"),
            ),
            [],
        );
    });

    const PASSES: [sql: string, found: string[]][] = [
        ["CREATE VIEW v AS SELECT * FROM users;", ["L19 error 1"]],
        ["CREATE VIEW v WITH (security_invoker) AS SELECT * FROM users;", []],
        ["CREATE VIEW v AS SELECT * FROM users; ALTER VIEW v SET (security_invoker = true);", []],
        ["CREATE VIEW v AS SELECT 1 AS one;", []],
        [
            "CREATE VIEW a WITH (security_invoker = true) AS SELECT * FROM users;\nCREATE VIEW b AS SELECT * FROM a;",
            ["L19 error 2"],
        ],
        ["CREATE MATERIALIZED VIEW m AS SELECT * FROM users;", ["L19 warning 1"]],
        [
            "CREATE FUNCTION f() RETURNS bigint LANGUAGE sql SECURITY DEFINER AS 'SELECT count(*) FROM Users';",
            ["L19 error 1"],
        ],
        [
            "CREATE FUNCTION f() RETURNS bigint LANGUAGE sql SECURITY DEFINER BEGIN ATOMIC SELECT count(*) FROM users; END;",
            ["L19 error 1"],
        ],
        [
            "CREATE FUNCTION f(t text) RETURNS void LANGUAGE plpgsql SECURITY DEFINER AS 'BEGIN EXECUTE t; END';",
            ["L19 error 1"],
        ],
        [
            "CREATE FUNCTION f() RETURNS bigint LANGUAGE sql SECURITY DEFINER AS 'SELECT count(*) FROM users'; REVOKE ALL ON FUNCTION f() FROM PUBLIC;",
            [],
        ],
        ["CREATE FUNCTION f() RETURNS bigint LANGUAGE sql AS 'SELECT count(*) FROM users';", []],
        ["CREATE FUNCTION f() RETURNS bigint LANGUAGE sql SECURITY DEFINER AS 'SELECT 1';", []],
    ];
    for (const [sql, found] of PASSES)
        test(`passes policies by or not: ${sql}`, async () => {
            for (const model of ["row", "rls"] as const) assert.deepEqual(await shown(sql, rows(model)), found);
            assert.deepEqual(
                await shown(
                    sql.replaceAll("users", "plain").replaceAll("Users", "plain").replace("EXECUTE t;", ""),
                    rows("row"),
                ),
                [],
            );
        });
});

const GROUP: GroupSpec = {
    name: "billing",
    model: "rls",
    anchor: "companies",
    tables: { companies: { kind: "distributed", column: "id" }, users: { kind: "distributed", column: "company_id" } },
    template: [],
    tenants: { 1: { role: true } },
    delete: [],
    allow: [],
    rowSecurity: true,
    rollout: { canary: 1, part: 0.1 },
    lockTimeout: 5000,
};

const node = (name: string, more: Partial<FoundIsolation["nodes"][number]> = {}) => ({
    name,
    failed: null,
    members: [],
    owned: [],
    ...more,
});

describe("what is asked of the living database", () => {
    const found: FoundIsolation = { ...isolation.none, nodes: [node("c"), node("w1")] };

    test("nothing stands in the way of a group that this project made alone", () => {
        const { steps, refusals } = planIsolation(GROUP, found);
        assert.deepEqual([steps, refusals], [[], []]);
    });

    test("a SECURITY DEFINER function that a caller's temporary table can fool is closed in a tenant's schema, and refused elsewhere", () => {
        const of = (object: string, tenant: string | null) => ({
            tenant,
            object,
            owner: "postgres",
            who: ["PUBLIC", "billing_app"],
            sql: `ALTER ROUTINE ${object} SET search_path = public, pg_temp`,
        });
        const definers = [of("acme.f()", "acme"), of("acme.g()", "acme"), of("tally(integer)", null)];
        const { steps, refusals } = planIsolation({ ...GROUP, model: "schema" }, { ...found, definers });
        assert.deepEqual(
            steps.map(({ kind, tenant, detail }) => [kind, tenant, detail]),
            [
                [
                    "isolation.pin",
                    "acme",
                    ["acme.f()", "acme.g()"].map((f) => `ALTER ROUTINE ${f} SET search_path = public, pg_temp`),
                ],
            ],
        );
        assert.deepEqual(refusals, [
            'function tally(integer) is SECURITY DEFINER, its search_path does not end with pg_temp, and PUBLIC, billing_app can call it: a caller\'s temporary table takes the place of one that it names, and what that table computes runs as postgres.\nALTER ROUTINE tally(integer) SET search_path = public, pg_temp; or REVOKE EXECUTE ON ROUTINE tally(integer) FROM PUBLIC, "billing_app";',
        ]);
    });

    test("a membership is refused with its node, where it is not on all of them", () => {
        const pair = ["billing_1", "pg_read_all_data"] as const;
        const everywhere = [node("c", { members: [pair] }), node("w1", { members: [pair] })];
        const [one] = refuseMemberships(GROUP, everywhere);
        assert.match(
            one ?? "",
            /role billing_1 is a member of pg_read_all_data.*REVOKE "pg_read_all_data" FROM "billing_1";$/s,
        );
        const [there] = refuseMemberships(GROUP, [node("c"), node("w1", { members: [pair] })]);
        assert.match(
            there ?? "",
            /pg_read_all_data on w1.*Run it on that node, after SET citus.enable_ddl_propagation = off/s,
        );
    });

    test("what passes policies by is refused, but where there are no policies", () => {
        const exposed = [{ kind: "view", object: "v", about: "users", who: ["billing_app", "PUBLIC"] }];
        assert.match(
            planIsolation(GROUP, { ...found, exposed }).refusals?.[0] ?? "",
            /ALTER VIEW v SET \(security_invoker = true\); or REVOKE ALL ON v FROM "billing_app", PUBLIC;/,
        );
        assert.deepEqual(
            planIsolation({ ...GROUP, model: "row", rowSecurity: false }, { ...found, exposed }).refusals,
            [],
        );
        assert.match(
            explainExposed({ kind: "owner", object: "users", about: "x", who: ["billing_app"] }, "row"),
            /users is owned by x, which billing_app can become/,
        );
    });

    test("the anchor is read by tenants' own roles, and columns are by choice", () => {
        const step = (anchor: FoundIsolation["anchor"], ownColumns?: string[]) =>
            planIsolation({ ...GROUP, ...(ownColumns ? { ownColumns } : {}) }, { ...found, anchor }).steps.map(
                ({ text }) => text,
            );
        assert.deepEqual(step({ rights: [], columns: [] }), []);
        assert.deepEqual(step({ rights: ["UPDATE"], columns: [] }), [
            "companies: a tenant's own role reads its row there, and may not change it",
        ]);
        assert.deepEqual(step({ rights: [], columns: [] }, ["name"]), [
            "companies: a tenant's own role reads its row there, and may update name",
        ]);
        assert.deepEqual(step({ rights: [], columns: ["name"] }, ["name"]), []);
    });

    test("a file that is out of bounds is refused before anything runs, if some tenant has not run it", async () => {
        const group: GroupSpec = {
            ...GROUP,
            model: "schema",
            tables: {},
            template: [{ path: "1.sql", sha256: "a" }],
            tenants: { acme: {} },
        };
        const read = () => "DROP TABLE IF EXISTS users;";
        const pending = await isolation.readFiles?.(group, { ...found, pending: ["1.sql"] }, read);
        const [first, ...more] = planIsolation(group, pending ?? found).refusals ?? [];
        assert.match(first ?? "", /^1\.sql:1 L17: no file makes users before this statement/);
        assert.deepEqual(more, []);
        const ran = await isolation.readFiles?.(group, { ...found, pending: ["1.sql"], ran: ["1.sql"] }, read);
        assert.match(
            planIsolation(group, ran ?? found).refusals?.[0] ?? "",
            /UPDATE citus_as_code.tenant_migration SET sha256 = '<sha256sum 1\.sql>' WHERE grp = 'billing' AND path = '1\.sql';$/,
        );
        const done = await isolation.readFiles?.(group, { ...found, pending: [] }, read);
        assert.deepEqual(planIsolation(group, done ?? found).refusals, []);
    });

    test("a file that can't be run is refused by preview, in every model", async () => {
        const group = (model: GroupSpec["model"]): GroupSpec => ({
            ...GROUP,
            model,
            template: [
                { path: "1.sql", sha256: "a" },
                { path: "2.sql", sha256: "b" },
            ],
        });
        const files: Record<string, string> = {
            "1.sql": "CREATE TABLE trips (id int PRIMARY KEY);\nALTER TABLE trips ADD COLUM x int;",
            "2.sql": "CREATE INDEX CONCURRENTLY ON trips (x);",
        };
        const refusals = async (model: GroupSpec["model"], version: number) => {
            const read = await isolation.readFiles?.(group(model), { ...found, version }, (path) => files[path] ?? "");
            return planIsolation(group(model), read ?? found).refusals ?? [];
        };
        const syntax = '1.sql:2 is not SQL that the database reads: syntax error at or near "int".\nCorrect the file.';
        for (const model of ["row", "rls", "schema", "database"] as const) {
            const all = await refusals(model, 17);
            assert.ok(all.includes(syntax), `${model}: ${all.join("\n")}`);
            const index = all.filter((text) =>
                /^2\.sql:1 has CREATE INDEX CONCURRENTLY .*can't be in a transaction/.test(text),
            );
            assert.equal(index.length, 1, model);
            // a newer server may read more than the parser does
            assert.ok(!(await refusals(model, 18)).includes(syntax), model);
        }
    });

    test("a table's name is taken as it is written", () => {
        assert.match(perPlacement(["a$$b", "c$&d"]), /'a\$\$b'.*'c\$&d'/);
    });
});

describe("names and tables that two would have", () => {
    const known = { database: "app" };
    const messages = (groups: unknown) =>
        validateGroups(groups, known).mistakes.map(({ path, message }) => `${path} ${message}`);
    const rows = (tables: object) => ({
        model: "row",
        anchor: "firms",
        tables: { firms: { distributeBy: "id" }, ...tables },
    });

    test("one table has the policies of one group, and what all read can be shared", () => {
        const [first, ...more] = messages({
            a: rows({}),
            b: { ...rows({}), tables: { "public.firms": { distributeBy: "id" } }, anchor: "public.firms" },
        });
        assert.match(first ?? "", /^tenantGroups\.b\.tables\.public\.firms is a table of group a too/);
        assert.deepEqual(more, []);
        const other = {
            model: "row",
            anchor: "shops",
            tables: { shops: { distributeBy: "id" }, plans: { reference: true } },
        };
        assert.deepEqual(messages({ a: rows({ plans: { reference: true } }), b: other }), []);
    });

    test("pgbouncer is no database, and __proto__ no tenant", () => {
        assert.match(
            messages({ v: { model: "database", tenants: { pgbouncer: {} } } })[0] ?? "",
            /must be a database's name/,
        );
        assert.deepEqual(messages({ v: { model: "schema", tenants: { pgbouncer: {} } } }), []);
        assert.match(
            messages({ v: { model: "schema", tenants: JSON.parse('{"__proto__": {}}') } })[0] ?? "",
            /names __proto__/,
        );
        assert.match(messages({ v: { model: "schema", tenants: ["__proto__"] } })[0] ?? "", /names __proto__/);
    });

    test("a size is in kB, MB, GB or TB", () => {
        const limits = (tempFiles: string) => ({ v: { model: "schema", tenants: { a: { limits: { tempFiles } } } } });
        assert.equal(validateGroups(limits("1GB"), known).groups[0]?.tenants.a?.limits?.tempFiles, 1_048_576);
        assert.match(messages(limits("1G"))[0] ?? "", /must be a size from 0kB to 1TB/);
    });

    test("the tenant's key is no column of its own to change", () => {
        assert.match(messages({ a: { ...rows({}), ownColumns: ["id"] } })[0] ?? "", /must leave out id/);
    });
});
