/** Tenants with a schema each, on a real cluster: made, limited, frozen, migrated in waves, deleted; and roles of rows. */
import { deepEqual, equal, match, ok, rejects } from "node:assert/strict";
import { mkdtempSync, readFileSync, truncateSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, it } from "vitest";
import { exportTenant } from "../../core/tenants/exports/export.ts";
import { FACETS } from "../../core/tenants/facets.ts";
import type { Context, Facet } from "../../core/tenants/group/facet.ts";
import type { GroupSpec, TenantSpec } from "../../core/tenants/group/spec.ts";
import { removalWith } from "../../core/tenants/removal/removal.ts";
import { roles } from "../../core/tenants/roles/roles.ts";
import { requireEngine, TestStack } from "../lib.ts";
import { settleApart } from "../settleTenants.ts";
import { as, EMPTY, fileSpec, plan, settle } from "../tenants.ts";

requireEngine();

const NODES = ["coordinator", "worker-1", "worker-2"];
const TENANTS = 40;

type Files = Record<string, string>;

const BASE: Files = {
    "sql/clinic/01.sql": `CREATE TABLE patients (id bigserial PRIMARY KEY, name text NOT NULL);
CREATE TABLE visits (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, patient bigint NOT NULL REFERENCES patients (id));
CREATE INDEX visits_patient ON visits (patient);
ALTER TABLE patients RENAME COLUMN name TO called; ALTER TABLE patients RENAME COLUMN called TO name;`,
    "sql/clinic/02.sql": "INSERT INTO patients (name) VALUES ('first'); -- 'begin;'",
};

const nameOf = (i: number) => `clinic_${String(i).padStart(2, "0")}`;

function clinics(files: Files, tenants: Record<string, Partial<TenantSpec>> = {}, more: Partial<GroupSpec> = {}) {
    const all = Array.from({ length: TENANTS }, (_, i) => nameOf(i + 1)).filter((name) => !more.delete?.includes(name));
    return {
        ...EMPTY,
        name: "clinics",
        model: "schema",
        template: Object.entries(files).map(([path, sql]) => fileSpec(path, sql)),
        tenants: Object.fromEntries(all.map((name) => [name, { role: true, ...tenants[name] }])),
        ...more,
    } satisfies GroupSpec;
}

describe("tenants that are schemas", () => {
    let stack: TestStack;
    let exports: string;
    /** In a folder that outlives one run. */
    const toFile = (context: Context, tenant: string) => exportTenant({ ...context, exports }, tenant);
    const manifestOf = (said: readonly string[], tenant: string) => {
        const [, file] = new RegExp(`^${tenant}: deleted, .* its export is (\\S+)$`, "m").exec(said.join("\n")) ?? [];
        return JSON.parse(readFileSync(`${file}.json`, "utf8"));
    };
    const facets: Facet[] = FACETS.schema.map((facet) => (facet.name === "removal" ? removalWith(toFile) : facet));

    beforeAll(async () => {
        stack = await TestStack.make({ workers: 2, shardCount: 8, backup: false });
        exports = mkdtempSync(join(stack.dir, "exports-"));
        await stack.up();
    });
    afterAll(() => stack?.destroy());

    const everywhere = async (sql: string) =>
        (
            await stack.sql<{ result: string }>("SELECT result FROM run_command_on_all_nodes($1) ORDER BY nodeid", [
                sql,
            ])
        ).map(({ result }) => result);
    const count = async (sql: string) => Number((await stack.sql<{ n: string }>(`SELECT count(*) AS n ${sql}`))[0]?.n);
    const ran = (path: string) =>
        count(`FROM citus_as_code.tenant_migration WHERE grp = 'clinics' AND path = '${path}'`);

    it("makes 40 whole, each for itself, and a second plan is empty", async () => {
        const { steps } = await settle(stack, clinics(BASE), BASE, facets);
        equal(steps.filter(({ kind }) => kind === "schemas.create").length, TENANTS);
        equal(await count("FROM pg_dist_schema"), TENANTS);
        deepEqual((await plan(stack, clinics(BASE), facets)).steps, []);
    });

    it("has each table on its worker, with its index", async () => {
        const [found] = await stack.sql<{ tables: number; indexes: number }>(
            `SELECT (SELECT count(*)::int FROM pg_dist_shard JOIN pg_class c ON c.oid = logicalrelid WHERE c.relname = 'visits') AS tables,
                    (SELECT sum(r.result::int)::int FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                       CROSS JOIN LATERAL run_command_on_shards(c.oid::regclass, $$SELECT count(*) FROM pg_index WHERE indrelid = '%s'::regclass$$) r
                      WHERE c.relname = 'visits' AND n.nspname ~ '^clinic_') AS indexes`,
        );
        // the primary key and the one of the template
        deepEqual(found, { tables: 40, indexes: 80 });
    });

    it("refuses a template whose table Citus would leave out", async () => {
        const path = "sql/clinic/02-do.sql";
        const sql = "DO $$ BEGIN EXECUTE 'CREATE TABLE left_out (id int PRIMARY KEY)'; END $$;";
        await rejects(
            settle(stack, clinics({ ...BASE, [path]: sql }), { ...BASE, [path]: sql }, facets),
            /not distributed with its schema: clinic_[0-9]+\.left_out/,
        );
        const [row] = await stack.sql<{ n: number }>(
            "SELECT count(*)::int AS n FROM pg_class WHERE relname = 'left_out'",
        );
        equal(row?.n, 0);
    });

    /** Limits of one tenant. */
    const asked = `SELECT rolconnlimit || ' ' || array_to_string(rolconfig, ';') FROM pg_roles WHERE rolname = 'clinics_clinic_02'`;
    /** Rights, SET ROLE and ADMIN of tenants' roles in the role of all. */
    const memberships = `SELECT DISTINCT inherit_option || ' ' || set_option || ' ' || admin_option FROM pg_auth_members WHERE roleid = 'clinics_tenants'::regrole`;

    it("shows a tenant its own rows on every node, and nobody else's", async () => {
        for (const node of NODES) {
            const client = await as(stack, "clinics_clinic_01", node);
            try {
                deepEqual(await client.query("SELECT name FROM patients WHERE name = 'first'"), [{ name: "first" }]);
                await client.query(`INSERT INTO visits (patient) SELECT id FROM patients WHERE name = 'first'`);
                await rejects(
                    client.query("SELECT * FROM clinic_02.patients"),
                    /permission denied for schema clinic_02/,
                );
                await rejects(client.query("CREATE TABLE clinic_01.mine (i int)"), /permission denied/);
                await rejects(client.query("SELECT * FROM citus_as_code.tenant"), /permission denied/);
                await rejects(client.query("SET ROLE clinics_tenants"), /permission denied to set role/);
            } finally {
                await client.close();
            }
        }
        equal(await count("FROM clinic_01.visits"), NODES.length);
    });

    it("limits a tenant on every node, and mends what was changed by hand", async () => {
        const limits = { connections: 2, statementTimeout: 700, idleInTransactionTimeout: 60_000 };
        const group = clinics(BASE, { clinic_02: { limits } });
        await settle(stack, group, BASE, facets);
        const wanted =
            "2 search_path=clinic_02, public;statement_timeout=700;idle_in_transaction_session_timeout=60000";
        const sorted = (text: string) => text.split(/[ ;](?=\w+=)/).sort();
        for (const found of await everywhere(asked)) deepEqual(sorted(found), sorted(wanted));
        const client = await as(stack, "clinics_clinic_02", "worker-1");
        await rejects(client.query("SELECT pg_sleep(5)"), /statement timeout/);
        await client.close();

        await stack.sql("ALTER ROLE clinics_clinic_02 CONNECTION LIMIT 50");
        await stack.sql("ALTER ROLE clinics_clinic_03 PASSWORD 'another'");
        await stack.sql("DROP OWNED BY clinics_clinic_04; DROP ROLE clinics_clinic_04");
        const worker = await stack.session("worker-1");
        await worker.query(
            "BEGIN; SET LOCAL citus.enable_alter_role_propagation = off; ALTER ROLE clinics_clinic_05 CONNECTION LIMIT 1; COMMIT",
        );
        await stack.sql("GRANT clinics_tenants TO clinics_clinic_06 WITH SET TRUE");
        await worker.query(
            "BEGIN; SET LOCAL citus.enable_create_role_propagation = off; GRANT clinics_tenants TO clinics_clinic_07 WITH ADMIN TRUE; COMMIT",
        );
        const drift = (await plan(stack, group, facets)).steps;
        deepEqual(
            [...new Set(drift.map(({ tenant }) => tenant))],
            ["clinic_02", "clinic_03", "clinic_04", "clinic_05", "clinic_06", "clinic_07"],
        );
        await settle(stack, group, BASE, facets);
        deepEqual((await plan(stack, group, facets)).steps, []);
        for (const found of await everywhere(asked)) deepEqual(sorted(found), sorted(wanted));
        for (const found of await everywhere(memberships)) equal(found, "true false false");
        for (const role of ["clinics_clinic_03", "clinics_clinic_04", "clinics_clinic_05"]) {
            const again = await as(stack, role, "worker-1");
            equal((await again.query("SELECT * FROM patients")).length, 1);
            await again.close();
        }
    });

    it("takes limits away, and keeps out who is to have no role any more, on every node", async () => {
        const client = await as(stack, "clinics_clinic_06", "worker-1");
        const without = clinics(BASE, { clinic_06: { role: false } });
        const { steps } = await settle(stack, without, BASE, facets);
        const shut =
            "clinic_06: role clinics_clinic_06 may not log in any more (NOLOGIN, membership revoked, password removed)";
        deepEqual(
            steps.map(({ text }) => text).filter((text) => !text.startsWith("clinic_02")),
            [shut],
        );
        for (const found of await everywhere(asked)) equal(found, "-1 search_path=clinic_02, public");

        await rejects(client.query("SELECT 1"), /terminat|connection/i);
        await rejects(as(stack, "clinics_clinic_06", "worker-2"), /password authentication failed/);
        const left = () =>
            everywhere(
                `SELECT concat_ws(' ', rolcanlogin, rolpassword IS NULL, (SELECT count(*) FROM pg_auth_members WHERE member = a.oid))
                   FROM pg_authid a WHERE rolname = 'clinics_clinic_06'`,
            );
        deepEqual(await left(), ["f t 0", "f t 0", "f t 0"]);
        const worker = await stack.session("worker-2");
        await worker.query(
            "BEGIN; SET LOCAL citus.enable_alter_role_propagation = off; ALTER ROLE clinics_clinic_06 LOGIN; COMMIT",
        );
        deepEqual(
            (await settle(stack, without, BASE, [roles])).steps.map(({ text }) => text),
            [shut],
            "also where one node alone lets it in",
        );
        deepEqual(await left(), ["f t 0", "f t 0", "f t 0"]);
        equal(await count("FROM clinic_06.patients"), 1);

        // what is set here and by a role for itself is no difference that a run could mend
        const limit = (connections: number) =>
            worker.query(
                `BEGIN; SET LOCAL citus.enable_alter_role_propagation = off; ALTER ROLE clinics_clinic_06 CONNECTION LIMIT ${connections}; COMMIT`,
            );
        await limit(3);
        const other = await as(stack, "clinics_clinic_03", "worker-2");
        await other.query("ALTER ROLE clinics_clinic_03 SET work_mem = '8MB'");
        deepEqual((await settle(stack, without, BASE, [roles])).steps, []);
        await limit(-1);
        await other.query("ALTER ROLE clinics_clinic_03 RESET work_mem");
        await other.close();
    });

    it("freezes: reads on every node and writes on none, and back", async () => {
        await settle(stack, clinics(BASE, { clinic_01: { frozen: true } }), BASE, facets);
        const again = await as(stack, "clinics_clinic_06", "worker-2");
        equal(
            (await again.query("SELECT * FROM patients")).length,
            1,
            "a role that is wanted again lets its tenant in",
        );
        await again.close();
        for (const node of NODES) {
            const client = await as(stack, "clinics_clinic_01", node);
            equal((await client.query("SELECT * FROM patients")).length, 1);
            for (const sql of [
                "INSERT INTO patients (name) VALUES ('x')",
                "UPDATE patients SET name = 'x'",
                "DELETE FROM visits",
                "TRUNCATE visits",
            ])
                await rejects(client.query(sql), /permission denied/);
            await client.close();
        }
        await settle(stack, clinics(BASE), BASE, facets);
        const client = await as(stack, "clinics_clinic_01", "worker-2");
        await client.query("INSERT INTO patients (name) VALUES ('second')");
        await client.close();
        equal(await count("FROM clinic_01.patients"), 2);
    });

    const path = "sql/clinic/03.sql";
    const THIRD: Files = {
        ...BASE,
        [path]: "ALTER TABLE patients ADD COLUMN born date; INSERT INTO patients (name) VALUES ('third'); SELECT pg_sleep(0.1);",
    };

    it("stops a rollout at a canary that fails, and touches no other tenant", async () => {
        const bad = { ...BASE, [path]: "ALTER TABLE patients ADD COLUMN born date; SELECT 1 / 0;" };
        await rejects(
            settle(stack, clinics(bad), bad, facets),
            /clinic_01: sql\/clinic\/03\.sql failed \(canary.*division by zero.*0 of 40 tenants/s,
        );
        equal(await ran(path), 0);
        equal(
            await count(
                "FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid WHERE c.relname = 'patients' AND a.attname = 'born'",
            ),
            0,
        );
    });

    it("waits for locks on workers no longer than told, and blocks nobody meanwhile", async () => {
        const worker = await stack.session("worker-1");
        await worker.query("BEGIN");
        await worker.query("SELECT * FROM clinic_01.patients");
        try {
            const began = Date.now();
            await rejects(
                settle(stack, clinics(THIRD, {}, { lockTimeout: 300 }), THIRD, facets),
                /clinic_01: sql\/clinic\/03\.sql failed.*lock timeout.*3 times/s,
            );
            ok(Date.now() - began < 20_000);
        } finally {
            await worker.query("ROLLBACK");
        }
        equal(await ran(path), 0);
    });

    it("is killed in the middle of a wave and goes on: every tenant has the file once", async () => {
        const child = await settleApart(stack, clinics(THIRD), THIRD);
        const ended = new Promise((resolve) => child.on("close", resolve));
        while ((await ran(path)) < 8 && child.exitCode === null)
            await new Promise((resolve) => setTimeout(resolve, 50));
        child.kill("SIGKILL");
        await ended;
        const then = await ran(path);
        ok(then < TENANTS, `${then} tenants had it when it was killed`);
        await settle(stack, clinics(THIRD), THIRD, facets);
        equal(await ran(path), TENANTS);
        for (let i = 1; i <= TENANTS; i++) equal(await count(`FROM ${nameOf(i)}.patients WHERE name = 'third'`), 1);
        deepEqual((await plan(stack, clinics(THIRD), facets, THIRD)).steps, []);
    });

    it("runs no file again that has another path now, until the ledger says so", async () => {
        const { "sql/clinic/02.sql": second, ...others } = THIRD;
        const renamed = { ...others, "sql/clinic/02-first.sql": second ?? "" };
        const firsts = () => count("FROM clinic_01.patients WHERE name = 'first'");
        equal(await firsts(), 1);
        const { refusals } = await plan(stack, clinics(renamed), facets, renamed);
        equal(refusals.length, 1);
        match(
            refusals[0] ?? "",
            /02-first\.sql has the content .* of sql\/clinic\/02\.sql, which was run for 40 tenants/,
        );
        await rejects(settle(stack, clinics(renamed), renamed, facets), /Nothing of the group was changed/);
        equal(await firsts(), 1);
        const update = /^UPDATE .*$/m.exec(refusals[0] ?? "")?.[0] ?? "";
        await stack.sql(update);
        deepEqual((await plan(stack, clinics(renamed), facets, renamed)).steps, []);
        await settle(stack, clinics(renamed), renamed, facets);
        equal(await firsts(), 1);
        equal((await plan(stack, clinics(THIRD), facets, THIRD)).refusals.length, 1);
        await stack.sql(
            "UPDATE citus_as_code.tenant_migration SET path = 'sql/clinic/02.sql' WHERE path = 'sql/clinic/02-first.sql'",
        );
        deepEqual((await plan(stack, clinics(THIRD), facets, THIRD)).refusals, []);
    });

    it("refuses a file that was run and changed, a schema that is not its own, and one that is gone", async () => {
        await stack.sql("CREATE SCHEMA somebodys; CREATE TABLE somebodys.t (i int)");
        await stack.sql("CREATE ROLE clinics_taken");
        const changed = { ...THIRD, "sql/clinic/02.sql": "SELECT 1" };
        const group = clinics(changed);
        const { refusals } = await plan(
            stack,
            { ...group, tenants: { ...group.tenants, somebodys: {}, taken: { role: true } } },
            facets,
            changed,
        );
        match(refusals.join("\n"), /role clinics_taken that this group did not make/);
        match(refusals.join("\n"), /02\.sql was run for 40 tenants and has changed/);
        match(refusals.join("\n"), /somebodys: there is a schema somebodys that no group made/);
        await stack.sql("DROP SCHEMA somebodys CASCADE");
        await stack.sql("DROP ROLE clinics_taken");
        await stack.sql("DROP SCHEMA clinic_40 CASCADE");
        match((await plan(stack, clinics(THIRD), facets, THIRD)).refusals.join("\n"), /clinic_40: its schema is gone/);
        await rejects(settle(stack, clinics(THIRD), THIRD, facets), /Nothing of the group was changed/);
        equal(await count("FROM pg_namespace WHERE nspname = 'clinic_40'"), 0);
    });

    it("makes nothing of a batch's tenant whose template fails, and names the file", async () => {
        const bad = { ...THIRD, "sql/clinic/04.sql": "SELECT no_such_function()" };
        const group = clinics(bad, {}, { name: "others" });
        await rejects(
            settle(stack, { ...group, tenants: { other_1: { role: true } } }, bad, facets),
            /other_1: its schema could not be made, at sql\/clinic\/04\.sql.*no_such_function/s,
        );
        equal(await count("FROM pg_namespace WHERE nspname = 'other_1'"), 0);
        const txn = { "a.sql": "SELECT 1;\nCOMMIT;" };
        await rejects(
            settle(stack, { ...clinics(txn), name: "others", tenants: { other_1: {} } }, txn, facets),
            /a\.sql:2 has COMMIT/,
        );
    });

    it("deletes with an export and a proof, goes on after a failure, and then plans nothing", async () => {
        const group = clinics(THIRD, {}, { delete: ["clinic_38", "clinic_39", "clinic_40"] });
        const failing = facets.map((facet) =>
            facet.name === "removal"
                ? removalWith(async () => {
                      throw new Error("disk full");
                  })
                : facet,
        );
        const client = await as(stack, "clinics_clinic_38");
        await rejects(settle(stack, group, THIRD, failing), /clinic_38: could not be deleted.*disk full/s);
        await rejects(client.query("SELECT 1"), /terminat|connection/i);
        equal(await count("FROM clinic_38.patients"), 2);
        // one made by hand in the place of the tenant's
        await stack.sql("ALTER SCHEMA clinic_38 RENAME TO aside");
        await stack.sql("CREATE SCHEMA clinic_38");
        match((await plan(stack, group, facets)).refusals.join(), /clinic_38: its schema is not distributed/);
        await stack.sql("DROP SCHEMA clinic_38");
        await stack.sql("ALTER SCHEMA aside RENAME TO clinic_38");
        // what would go with the schema and is not the tenant's
        await stack.sql(`CREATE VIEW report AS SELECT name FROM clinic_38.patients;
            CREATE COLLATION clinic_38.german (provider = icu, locale = 'de');
            CREATE TEXT SEARCH CONFIGURATION clinic_38.words (COPY = simple);
            CREATE TABLE theirs (name text COLLATE clinic_38.german, v tsvector GENERATED ALWAYS AS (to_tsvector('clinic_38.words', 'a')) STORED);
            INSERT INTO theirs VALUES ('kept')`);
        await rejects(settle(stack, group, THIRD, facets), (error: Error) => {
            match(
                error.message,
                /could not be deleted.*dropping its schema would also drop what is outside it and in no export: .*\n/s,
            );
            for (const what of ["view report", "column name of table theirs", "column v of table theirs"])
                ok(error.message.includes(what), what);
            return true;
        });
        deepEqual([await count("FROM report"), await count("FROM clinic_38.patients")], [2, 2]);
        deepEqual(await stack.sql("SELECT name, v::text AS v FROM theirs"), [{ name: "kept", v: "'a':1" }]);
        await stack.sql(`DROP VIEW report; DROP TABLE theirs; DROP COLLATION clinic_38.german;
            DROP TEXT SEARCH CONFIGURATION clinic_38.words`);
        // what that run exported is cut off and old when the next one goes on
        const [half] = await stack.sql<{ exported: string }>(
            "SELECT detail ->> 'exported' AS exported FROM citus_as_code.tenant WHERE tenant = 'clinic_38'",
        );
        truncateSync(half?.exported ?? "", 100);
        await stack.sql("INSERT INTO clinic_38.patients (name) VALUES ('late')");
        const { said } = await settle(stack, group, THIRD, facets);
        const gone = ["clinic_38", "clinic_39", "clinic_40"].map((name) => `'${name}', 'clinics_${name}'`).join(", ");
        for (const found of await everywhere(
            `SELECT (SELECT count(*) FROM pg_namespace WHERE nspname IN (${gone})) + (SELECT count(*) FROM pg_roles WHERE rolname IN (${gone}))`,
        ))
            equal(found, "0");
        equal(manifestOf(said, "clinic_38").prints.patients.count, "3");
        equal(manifestOf(said, "clinic_39").prints.patients.count, "2");
        match(said.join("\n"), /^clinic_40: deleted, .*there was nothing to export$/m);
        equal(await count("FROM citus_as_code.tenant_tombstone WHERE grp = 'clinics'"), 3);
        const again = await plan(stack, group, facets);
        deepEqual([again.steps, again.refusals], [[], []]);
        await stack.sql("CREATE SCHEMA clinic_39");
        const [refusal] = (await plan(stack, group, facets)).refusals;
        match(refusal ?? "", /^clinic_39: was deleted, and there is a schema of its name again/);
        await stack.sql("DROP SCHEMA clinic_39");
    });

    it("deletes rows as they were exported, children first, and leaves other tenants", async () => {
        await stack.sql(`CREATE TABLE accounts (id bigint PRIMARY KEY, name text);
            CREATE TABLE orders (account_id bigint REFERENCES accounts (id) ON DELETE CASCADE, id bigint, PRIMARY KEY (account_id, id))`);
        await stack.sql("SELECT create_distributed_table('accounts', 'id')");
        await stack.sql("SELECT create_distributed_table('orders', 'account_id', colocate_with => 'accounts')");
        await stack.sql("INSERT INTO accounts SELECT i, 'a' || i FROM generate_series(1, 5) i");
        await stack.sql("INSERT INTO orders SELECT a, o FROM generate_series(1, 5) a, generate_series(1, 10) o");
        const group: GroupSpec = {
            ...EMPTY,
            name: "shop",
            model: "row",
            anchor: "accounts",
            tables: {
                accounts: { kind: "distributed", column: "id" },
                orders: { kind: "distributed", column: "account_id" },
            },
            delete: ["3", "77"],
        };
        // where a shard of theirs was before it moved
        const worker = await stack.session("worker-1");
        await worker.query("CREATE TABLE orders_999999 (LIKE orders)");
        await stack.sql(`INSERT INTO pg_dist_cleanup (record_id, operation_id, object_type, object_name, node_group_id, policy_type)
            SELECT 999999, 999999, 1, 'public.orders_999999', groupid, 2 FROM pg_dist_node WHERE nodename LIKE 'worker-1.%'`);
        let exported = 0;
        // somebody writes while the first export is made
        const whileWriting = removalWith(async (context, tenant) => {
            const path = await toFile(context, tenant);
            if (exported++ === 0) await stack.sql("INSERT INTO orders VALUES (3, 99)");
            return path;
        });
        const { said } = await settle(stack, group, {}, [whileWriting]);
        equal(exported, 2);
        match(said.join("\n"), /rows: orders 11, accounts 1/);
        equal(manifestOf(said, "3").prints.orders.count, "11");
        deepEqual(await worker.query("SELECT to_regclass('orders_999999') AS there"), [{ there: null }]);
        equal(await count("FROM accounts"), 4);
        equal(await count("FROM orders"), 40);
        const again = await plan(stack, group, [whileWriting]);
        deepEqual(again.steps, []);
        deepEqual(again.notes, ["77: has the state deleted, and nothing of it exists"]);
    });

    it("deletes no other tenant's rows that reference the tenant's", async () => {
        await stack.sql(`CREATE TABLE crews (id bigint PRIMARY KEY);
            CREATE TABLE mates (crew bigint REFERENCES crews ON DELETE CASCADE, id bigint PRIMARY KEY, boss bigint REFERENCES mates ON DELETE CASCADE);
            INSERT INTO crews VALUES (1), (2);
            INSERT INTO mates VALUES (1, 10, NULL), (1, 11, 10), (2, 20, 10)`);
        const group: GroupSpec = {
            ...EMPTY,
            name: "crews",
            model: "rls",
            anchor: "crews",
            tables: {
                crews: { kind: "distributed", column: "id" },
                mates: { kind: "distributed", column: "crew" },
            },
            delete: ["1"],
        };
        await rejects(
            settle(stack, group, {}, [removalWith(toFile)]),
            /1: by a foreign key to .*, deleting it would also change 1 row of mates that other tenants own\..*Nothing was deleted/s,
        );
        equal(await count("FROM mates"), 3);
        await stack.sql("UPDATE mates SET boss = NULL WHERE id = 20");
        const { said } = await settle(stack, group, {}, [removalWith(toFile)]);
        equal(manifestOf(said, "1").prints.mates.count, "2");
        deepEqual(await stack.sql("SELECT id::int FROM mates"), [{ id: 20 }]);
        await stack.sql("DROP TABLE mates, crews");
    });

    it("has every role, with its limits, on a worker that joins later", async () => {
        await stack.up({ workers: 3 });
        const lines = await everywhere(
            "SELECT md5(string_agg(concat_ws('|', rolname, rolconnlimit, rolconfig, (SELECT rolpassword FROM pg_authid a WHERE a.oid = r.oid)), ',' ORDER BY rolname)) FROM pg_roles r WHERE rolname LIKE 'clinics%'",
        );
        equal(lines.length, 4);
        equal(new Set(lines).size, 1);
        for (const found of await everywhere(memberships)) equal(found, "true false false");
        const group = clinics(THIRD, {}, { delete: ["clinic_38", "clinic_39", "clinic_40"] });
        const { steps } = await plan(stack, group, facets, THIRD);
        // where it is reached is news for the shard map, and Citus' views of all tenants are open on a node that is new
        deepEqual(
            steps.filter(({ kind }) => !kind.startsWith("map.")).map(({ kind }) => kind),
            ["isolation.catalogs"],
        );
        const client = await as(stack, "clinics_clinic_01", "worker-3");
        equal((await client.query("SELECT * FROM patients")).length, 3);
        await rejects(client.query("SELECT * FROM clinic_02.patients"), /permission denied/);
        await client.close();
    });
});
