/** Tables and tenants of models row and rls, for real: what changes, what is refused, and who sees which rows. */
import assert from "node:assert/strict";
import { afterAll, beforeAll, test } from "vitest";
import { type Danger, guardedRelations, readDangers } from "../../core/citus/guards.ts";
import type { GroupSpec, TenantSpec } from "../../core/tenants/group/spec.ts";
import { policies } from "../../core/tenants/rows/policies.ts";
import { requireEngine, TestStack } from "../lib.ts";
import { as, EMPTY, plan, settle } from "../tenants.ts";

requireEngine();

let stack: TestStack;

const NODES = ["coordinator", "worker-1", "worker-2"];

const TENANTS: Record<string, TenantSpec> = {
    1: { role: true, values: { name: "one" } },
    2: { role: true, values: { name: "it's two" } },
    3: {},
};

const shop = (more: Partial<GroupSpec> = {}): GroupSpec => ({
    ...EMPTY,
    name: "shop",
    model: "row",
    anchor: "companies",
    tables: {
        companies: { kind: "distributed", column: "id", shardCount: 4 },
        users: { kind: "distributed", column: "company_id" },
        notes: { kind: "distributed", column: "company_id" },
        plans: { kind: "reference" },
    },
    ...more,
});

const count = async (sql: string) => Number((await stack.sql<{ n: string }>(`SELECT count(*) AS n FROM ${sql}`))[0]?.n);

const kinds = async (group: GroupSpec) => (await plan(stack, group)).steps.map(({ kind, table }) => `${kind} ${table}`);

const foreignKeys = () =>
    stack.sql<{ name: string; ok: boolean }>(
        "SELECT conname AS name, convalidated AS ok FROM pg_constraint WHERE contype = 'f' AND conrelid IN ('users'::regclass, 'companies'::regclass) ORDER BY 1",
    );

beforeAll(async () => {
    stack = await TestStack.make({ workers: 2, shardCount: 8, backup: false });
    await stack.up();
    await stack.sql(`
        CREATE TABLE plans (id int PRIMARY KEY, name text);
        CREATE TABLE companies (id bigint PRIMARY KEY, name text NOT NULL DEFAULT 'none', plan int REFERENCES plans);
        CREATE TABLE users (company_id bigint NOT NULL REFERENCES companies, id bigserial, email text, PRIMARY KEY (company_id, id));
        CREATE TABLE notes (id bigint, company_id bigint NOT NULL, said text, PRIMARY KEY (id, company_id));
        INSERT INTO plans VALUES (1, 'small');
        INSERT INTO companies SELECT i, 'company ' || i, 1 FROM generate_series(1, 100) i;
        INSERT INTO users (company_id, email) SELECT 1 + i % 100, repeat('e', 100) || i FROM generate_series(1, 20000) i`);
});

afterAll(async () => {
    await stack?.destroy();
});

test("tables are distributed while a client writes, none of whose statements fails, and foreign keys are back", async () => {
    const session = await stack.access().then(async (access) => {
        const { connect } = await import("../../core/reach/session.ts");
        return connect(access, "client");
    });
    let running = true;
    let written = 0;
    let worst = 0;
    const errors: string[] = [];
    const client = (async () => {
        while (running) {
            const began = Date.now();
            try {
                await session.query("INSERT INTO users (company_id, email) VALUES ($1, 'written meanwhile')", [
                    1 + (written % 100),
                ]);
                await session.query("UPDATE companies SET name = name || '.' WHERE id = $1", [1 + (written % 100)]);
                written++;
            } catch (error) {
                errors.push((error as Error).message);
            }
            worst = Math.max(worst, Date.now() - began);
        }
    })();
    const { said } = await settle(stack, shop());
    running = false;
    await client;
    await session.close();
    console.log(
        `  ${written} pairs of writes while tables were distributed, the worst took ${worst} ms\n  ${said.join("\n  ")}`,
    );
    assert.deepEqual(errors, []);
    assert.ok(written > 10);
    assert.equal(await count("users"), 20000 + written);
    assert.equal(await count("companies"), 100);
    assert.equal(await count("companies WHERE name LIKE '%.'"), Math.min(100, written));
    assert.deepEqual(
        await stack.sql(
            `SELECT logicalrelid::text AS name, partmethod AS method, (SELECT count(*)::int FROM pg_dist_shard s WHERE s.logicalrelid = p.logicalrelid) AS shards
               FROM pg_dist_partition p WHERE NOT autoconverted ORDER BY 1`,
        ),
        [
            { name: "companies", method: "h", shards: 4 },
            { name: "notes", method: "h", shards: 4 },
            { name: "plans", method: "n", shards: 1 },
            { name: "users", method: "h", shards: 4 },
        ],
    );
    assert.deepEqual(await foreignKeys(), [
        { name: "companies_plan_fkey", ok: true },
        { name: "users_company_id_fkey", ok: true },
    ]);
    await assert.rejects(stack.sql("INSERT INTO users (company_id) VALUES (4711)"), /violates foreign key/);
    assert.deepEqual(await kinds(shop()), []);
});

test("what is changed by hand is drift: mended where that blocks nothing, refused where it does", async () => {
    await stack.sql("SELECT update_distributed_table_colocation('notes', colocate_with := 'none')");
    assert.deepEqual(await kinds(shop()), ["tables.colocate notes"]);
    await settle(stack, shop());
    await stack.sql("SELECT undistribute_table('notes')");
    assert.deepEqual((await kinds(shop())).slice(0, 1), ["tables.distribute notes"]);
    await settle(stack, shop());
    assert.deepEqual(await kinds(shop()), []);

    const eight = shop({
        tables: { ...shop().tables, companies: { kind: "distributed", column: "id", shardCount: 8 } },
    });
    const before = await count("users");
    await assert.rejects(
        settle(stack, eight),
        /companies, notes, users are made anew beside the old.*writes wait \d+ s at most.*put "companies" into allow/s,
    );
    await settle(stack, { ...eight, allow: ["companies"] });
    assert.equal(await count("pg_dist_shard WHERE logicalrelid = 'users'::regclass"), 8);
    assert.equal(await count("users"), before);
    assert.deepEqual(await kinds(eight), []);
    assert.match((await plan(stack, shop())).refusals.join(), /shards change from 8 to 4/);
    await settle(stack, { ...shop(), allow: ["companies"] });

    const local = shop({ tables: { ...shop().tables, users: { kind: "local" } } });
    assert.match(
        (await plan(stack, { ...local, tables: { ...local.tables, companies: { kind: "local" } } })).refusals.join(
            "\n",
        ),
        /users: is distributed and declared local/,
    );
    // a foreign key that could not be there afterwards is not lost without leave
    await stack.sql(
        "CREATE TABLE orders (company_id bigint NOT NULL, id bigint, PRIMARY KEY (company_id, id)); ALTER TABLE orders ADD COLUMN elder bigint UNIQUE",
    );
    await stack.sql(
        "ALTER TABLE orders DROP CONSTRAINT orders_elder_key; CREATE TABLE parts (id bigint PRIMARY KEY); ALTER TABLE orders ADD COLUMN part bigint REFERENCES parts",
    );
    const orders = shop({ tables: { ...shop().tables, orders: { kind: "distributed", column: "company_id" } } });
    await assert.rejects(settle(stack, orders), /foreign key orders_part_fkey of orders to parts would be dropped/);
    assert.equal(await count("pg_constraint WHERE conname = 'orders_part_fkey'"), 1);
    await settle(stack, { ...orders, allow: ["orders"] });
    assert.equal(await count("pg_constraint WHERE conname = 'orders_part_fkey'"), 0);
    await stack.sql("DROP TABLE orders, parts");
});

test("what Citus would refuse is refused before anything is copied, all at once", async () => {
    await stack.sql(`
        CREATE TABLE bad (id bigint PRIMARY KEY, company_id bigint);
        CREATE TABLE worse (company_id text NOT NULL, id bigint, PRIMARY KEY (company_id, id));
        CREATE UNLOGGED TABLE loose (company_id bigint NOT NULL, id bigint, PRIMARY KEY (company_id, id));
        CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
        CREATE TRIGGER t BEFORE INSERT ON loose FOR EACH ROW EXECUTE FUNCTION nothing();
        CREATE RULE r AS ON INSERT TO worse DO ALSO NOTHING`);
    const by = { kind: "distributed", column: "company_id" } as const;
    const { refusals } = await plan(
        stack,
        shop({ tables: { ...shop().tables, bad: by, worse: by, loose: by, absent: by } }),
    );
    const all = refusals.join("\n");
    for (const said of [
        /bad.company_id may be NULL/,
        /bad has bad_pkey without company_id/,
        /worse.company_id is text and the anchor's key is bigint/,
        /loose is UNLOGGED/,
        /loose has triggers \(t\)/,
        /absent does not exist/,
    ])
        assert.match(all, said);
    assert.equal(
        await count("pg_dist_partition WHERE logicalrelid IN ('bad'::regclass, 'worse'::regclass, 'loose'::regclass)"),
        0,
    );
    await stack.sql("DROP TABLE bad, worse, loose");
});

test("a tenant neither reads nor writes another's rows, from any node, and a frozen one does not write", async () => {
    const group = shop({ tenants: TENANTS });
    // a row that is there needs nothing that a new one would
    const named = () => stack.sql("SELECT id::int, name FROM companies WHERE id IN (1, 3) ORDER BY id");
    const before = await named();
    assert.equal(before.length, 2);
    await stack.sql("ALTER TABLE companies ALTER COLUMN name DROP DEFAULT");
    await settle(stack, group);
    await stack.sql("ALTER TABLE companies ALTER COLUMN name SET DEFAULT 'none'");
    assert.deepEqual(await kinds(group), []);
    assert.deepEqual(await named(), before);
    for (const node of NODES) {
        const app = await as(stack, "shop_app", node);
        assert.deepEqual(await app.query("SELECT * FROM users"), [], `${node} without a tenant`);
        await app.query("BEGIN; SET LOCAL app.tenant = '1'");
        assert.deepEqual(await app.query("SELECT DISTINCT company_id FROM users"), [{ company_id: "1" }]);
        assert.deepEqual(await app.query("UPDATE users SET email = 'stolen' WHERE company_id = 2 RETURNING id"), []);
        assert.deepEqual(await app.query("DELETE FROM users WHERE company_id = 2 RETURNING id"), []);
        assert.ok((await app.query("UPDATE users SET email = 'mine' WHERE company_id = 1 RETURNING id")).length > 0);
        await assert.rejects(app.query("INSERT INTO users (company_id) VALUES (2)"), /row-level security/);
        await app.query("ROLLBACK");
        await app.close();
        const tenant = await as(stack, "shop_2", node);
        assert.deepEqual(await tenant.query("SELECT DISTINCT company_id FROM users"), [{ company_id: "2" }]);
        await tenant.query("BEGIN; SET LOCAL app.tenant = '1'");
        assert.deepEqual(await tenant.query("SELECT DISTINCT company_id FROM users"), [{ company_id: "2" }]);
        await tenant.query("ROLLBACK");
        await assert.rejects(tenant.query("INSERT INTO users (company_id) VALUES (1)"), /row-level security/);
        assert.equal(
            (await tenant.query("INSERT INTO users (company_id, email) VALUES (2, 'own') RETURNING id")).length,
            1,
        );
        await tenant.close();
    }
    const frozen = shop({ tenants: { ...TENANTS, 2: { ...TENANTS[2], frozen: true } } });
    await settle(stack, frozen);
    assert.deepEqual(await kinds(frozen), []);
    const second = await as(stack, "shop_2", "worker-1");
    assert.ok((await second.query("SELECT 1 FROM users")).length > 0);
    await assert.rejects(second.query("INSERT INTO users (company_id) VALUES (2)"), /row-level security/);
    assert.deepEqual(await second.query("UPDATE users SET email = 'no' RETURNING id"), []);
    await second.close();
    const first = await as(stack, "shop_1");
    assert.equal((await first.query("INSERT INTO users (company_id) VALUES (1) RETURNING id")).length, 1);
    await first.close();
    const { 2: _, ...others } = TENANTS;
    const without = shop({ tenants: others });
    await settle(stack, without);
    assert.deepEqual(await kinds(without), []);
    const still = await as(stack, "shop_2");
    assert.ok((await still.query("SELECT 1 FROM users")).length > 0);
    await assert.rejects(still.query("INSERT INTO users (company_id) VALUES (2)"), /row-level security/);
    await still.close();
    await settle(stack, group);

    await stack.sql("DELETE FROM users WHERE company_id = 3; DELETE FROM companies WHERE id = 3");
    const { said } = await settle(stack, group);
    assert.match(said.join(), /3: its row in companies was deleted by hand and was put back/);
    assert.equal(await count("companies WHERE id = 3"), 1);

    const { 3: __, ...kept } = TENANTS;
    const gone = shop({ tenants: kept, delete: ["3"] });
    const steps = (await plan(stack, gone)).steps.map(({ kind }) => kind);
    assert.ok(steps.indexOf("policies.bar") >= 0 && steps.indexOf("policies.bar") < steps.indexOf("removal.delete"));
    await settle(stack, gone);
    assert.equal(await count("companies WHERE id = 3"), 0);
    assert.deepEqual(await kinds(gone), []);
});

test("rows that reference each other in a circle are deleted, and an old copy stays hidden once its deletion has begun", async () => {
    await stack.sql(`
        CREATE TABLE clubs (id text PRIMARY KEY);
        CREATE TABLE staff (club text, id int, team int, PRIMARY KEY (club, id));
        CREATE TABLE teams (club text, id int, lead int, PRIMARY KEY (club, id))`);
    await stack.sql("SELECT create_distributed_table('clubs', 'id', shard_count => 4, colocate_with => 'none')");
    for (const table of ["staff", "teams"])
        await stack.sql(`SELECT create_distributed_table('${table}', 'club', colocate_with => 'clubs')`);
    const tables: GroupSpec["tables"] = {
        clubs: { kind: "distributed", column: "id", shardCount: 4 },
        staff: { kind: "distributed", column: "club" },
        teams: { kind: "distributed", column: "club" },
    };
    const clubs = (more: Partial<GroupSpec> = {}) => shop({ name: "clubs", anchor: "clubs", tables, ...more });
    const group = clubs({ tenants: { red: {}, blue: {} } });
    await settle(stack, group);
    await stack.sql(`
        INSERT INTO staff SELECT c, i, NULL FROM unnest('{red,blue}'::text[]) c, generate_series(1, 3) i;
        INSERT INTO teams SELECT club, id, id FROM staff;
        UPDATE staff SET team = id`);
    await stack.sql("ALTER TABLE staff ADD CONSTRAINT of FOREIGN KEY (club, team) REFERENCES teams (club, id)");
    await stack.sql(
        "ALTER TABLE teams ADD CONSTRAINT led FOREIGN KEY (club, lead) REFERENCES staff (club, id) ON DELETE CASCADE",
    );
    const seen = async () => {
        const app = await as(stack, "clubs_app");
        await app.query("BEGIN; SET LOCAL app.tenant = 'red'");
        const rows = await app.query("SELECT id FROM staff WHERE club = 'red'");
        await app.close();
        return rows.length;
    };
    assert.equal(await seen(), 3);
    const gone = clubs({ tenants: { blue: {} }, delete: ["red"] });
    for (const state of ["deleting", "frozen"]) {
        await stack.sql(
            `INSERT INTO citus_as_code.tenant (grp, tenant, model, state, detail) VALUES ('clubs', 'red', 'row', $1, '{"moved_to": "x/red"}')
                 ON CONFLICT (grp, tenant) DO UPDATE SET state = excluded.state, detail = excluded.detail`,
            [state],
        );
        await settle(stack, gone, {}, [policies]);
        assert.equal(await seen(), 0, state);
    }
    await settle(stack, gone);
    assert.deepEqual(
        await stack.sql(
            "SELECT club, count(*)::int AS staff, (SELECT count(*)::int FROM teams) AS teams FROM staff GROUP BY 1",
        ),
        [{ club: "blue", staff: 3, teams: 3 }],
    );
    await stack.sql("DROP TABLE staff, teams, clubs CASCADE");
});

test("without rowSecurity no policy is left on any placement, and a tenant's own role has no rights on its tables", async () => {
    const group = shop({ tenants: TENANTS });
    // 2 has left the program: its role is as it was
    const off = shop({ tenants: { 1: { values: { name: "one" } } }, rowSecurity: false });
    await stack.sql("GRANT SELECT ON notes TO PUBLIC");
    assert.match((await plan(stack, off)).refusals.join(), /notes: rowSecurity can't be false while PUBLIC has rights/);
    await stack.sql("REVOKE ALL ON notes FROM PUBLIC");
    await settle(stack, off);
    const left = () =>
        stack
            .sql<{ result: string }>("SELECT result FROM run_command_on_all_nodes($1)", [
                `SELECT concat_ws(' ', (SELECT count(*) FROM pg_policy WHERE polname LIKE 'citus_as_code_shop_%'),
                    (SELECT count(*) FROM pg_class WHERE relrowsecurity), has_table_privilege('shop_tenants', 'users', 'SELECT'),
                    has_sequence_privilege('shop_tenants', 'users_id_seq', 'USAGE'))`,
            ])
            .then((rows) => rows.map(({ result }) => result));
    assert.deepEqual(
        await left(),
        NODES.map(() => "0 0 f f"),
    );
    assert.deepEqual(await kinds(off), []);
    const tenant = await as(stack, "shop_2", "worker-1");
    for (const what of ["* FROM users", "* FROM companies", "* FROM notes", "nextval('users_id_seq')"])
        await assert.rejects(tenant.query(`SELECT ${what}`), /permission denied/);
    const app = await as(stack, "shop_app", "worker-1");
    assert.deepEqual(await app.query("SELECT count(*)::int AS n FROM users"), [{ n: await count("users") }]);

    // what one placement alone has
    const worker = await stack.session("worker-1");
    const [shard] = await worker.query<{ name: string }>(
        `SELECT shard_name(logicalrelid, shardid) AS name FROM pg_dist_shard JOIN pg_dist_placement USING (shardid) JOIN pg_dist_local_group USING (groupid)
          WHERE logicalrelid = 'users'::regclass LIMIT 1`,
    );
    await worker.query("SET citus.enable_ddl_propagation = off; SET citus.enable_manual_changes_to_shards = on");
    await worker.query(
        `CREATE POLICY citus_as_code_shop_app_select ON ${shard?.name} USING (false); ALTER TABLE ${shard?.name} ENABLE ROW LEVEL SECURITY`,
    );
    await worker.query("RESET citus.enable_ddl_propagation; RESET citus.enable_manual_changes_to_shards");
    assert.ok((await app.query("SELECT 1 FROM users")).length < (await count("users")), "rows are hidden by it");
    const { steps } = await settle(stack, off, {}, [policies]);
    assert.deepEqual(
        steps.map(({ kind, table }) => `${kind} ${table}`),
        ["policies.drop users"],
    );
    assert.deepEqual(
        await left(),
        NODES.map(() => "0 0 f f"),
    );

    await settle(stack, group);
    assert.deepEqual(await tenant.query("SELECT DISTINCT company_id FROM users"), [{ company_id: "2" }]);
    assert.deepEqual(await app.query("SELECT 1 FROM users"), []);
    await tenant.close();
    await app.close();
});

test("each way of losing rows without an error is found, built for real", async () => {
    const found = async (rule: Danger["rule"]) =>
        (await readDangers(await stack.session())).filter((danger) => danger.rule === rule).map(({ table }) => table);
    const group = shop({ tenants: TENANTS });
    assert.deepEqual(await readDangers(await stack.session()), []);

    await stack.sql("CREATE ROLE keeper NOLOGIN");
    await stack.sql("GRANT ALL ON SCHEMA public TO keeper");
    await stack.sql("ALTER TABLE notes OWNER TO keeper");
    await stack.sql("ALTER TABLE notes FORCE ROW LEVEL SECURITY");
    assert.deepEqual(await found("force-row-security"), ["public.notes"]);
    assert.match((await plan(stack, group)).refusals.join(), /notes has FORCE ROW LEVEL SECURITY/);
    await stack.sql("ALTER TABLE notes NO FORCE ROW LEVEL SECURITY");
    await stack.sql("ALTER TABLE notes OWNER TO postgres");

    await stack.sql("CREATE POLICY narrow ON notes AS RESTRICTIVE USING (company_id <> 1)");
    assert.deepEqual(await found("restrictive-policy"), ["public.notes"]);
    assert.deepEqual(await found("policy-differs"), ["public.notes"], "Citus makes it permissive elsewhere");
    await assert.rejects(settle(stack, group), /policy narrow is RESTRICTIVE/);
    await stack.sql("DROP POLICY narrow ON notes");

    await stack.sql("CREATE TABLE asked (id bigint PRIMARY KEY)");
    await stack.sql("CREATE POLICY asks ON asked USING (EXISTS (SELECT 1 FROM pg_roles))");
    await stack.sql("ALTER TABLE asked ENABLE ROW LEVEL SECURITY");
    await stack.sql("SELECT create_distributed_table('asked', 'id')").catch(() => undefined);
    const distributed = await count("pg_dist_partition WHERE logicalrelid = 'asked'::regclass");
    assert.deepEqual(await found("policy-sub-query"), distributed === 1 ? ["public.asked"] : []);
    await stack.sql("DROP TABLE asked");

    const worker = await stack.session("worker-1");
    const [shard] = await worker.query<{ name: string }>(
        `SELECT shard_name(logicalrelid, shardid) AS name FROM pg_dist_shard JOIN pg_dist_placement USING (shardid) JOIN pg_dist_local_group USING (groupid)
          WHERE logicalrelid = 'users'::regclass LIMIT 1`,
    );
    await worker.query("SET citus.enable_ddl_propagation = off");
    await worker.query("SET citus.enable_manual_changes_to_shards = on");
    // asked of tables that have policies somewhere, and of no others
    const guarded = await worker.query<{ name: string }>(guardedRelations("'{}'::text[]"));
    assert.ok(guarded.some(({ name }) => name === "public.users"));
    assert.ok(!guarded.some(({ name }) => name === "public.plans"));
    const [copy] = await worker.query<{ name: string }>(
        "SELECT shard_name(logicalrelid, shardid) AS name FROM pg_dist_shard WHERE logicalrelid = 'plans'::regclass",
    );
    await worker.query(`CREATE POLICY stray ON ${copy?.name} USING (true)`);
    assert.deepEqual(await found("policy-differs"), ["public.plans"], "a policy on a placement only");
    await worker.query(`DROP POLICY stray ON ${copy?.name}`);
    await worker.query(`ALTER TABLE ${shard?.name} DISABLE ROW LEVEL SECURITY`);
    assert.deepEqual(await found("policy-differs"), ["public.users"], "row security off on a placement");
    await worker.query(`ALTER TABLE ${shard?.name} ENABLE ROW LEVEL SECURITY`);
    assert.deepEqual(await found("policy-differs"), []);
    await worker.query(`DROP POLICY citus_as_code_shop_app_select ON ${shard?.name}`);
    assert.deepEqual(await found("policy-differs"), ["public.users"], "a policy missing on a placement");
    await worker.query(`CREATE POLICY stray ON ${shard?.name} USING (true)`);
    assert.deepEqual(await found("policy-differs"), ["public.users"]);
    assert.deepEqual(await kinds(group), ["policies.set users"]);
    await settle(stack, group);
    assert.deepEqual(await found("policy-differs"), []);
    assert.deepEqual(await kinds(group), []);

    await stack.sql("CREATE PUBLICATION all_notes FOR TABLE notes");
    await stack.sql(
        "CREATE SUBSCRIPTION feed CONNECTION 'dbname=app' PUBLICATION all_notes WITH (connect = false, slot_name = NONE)",
    );
    await stack.sql(
        "INSERT INTO pg_subscription_rel (srsubid, srrelid, srsubstate) SELECT oid, 'notes'::regclass, 'r' FROM pg_subscription WHERE subname = 'feed'",
    );
    assert.deepEqual(await found("subscription"), ["public.notes"]);
    await stack.sql("DROP SUBSCRIPTION feed");
    await stack.sql("DROP PUBLICATION all_notes");

    await stack.sql("ALTER TABLE plans ADD COLUMN code uuid DEFAULT gen_random_uuid()");
    assert.deepEqual(await found("volatile-default"), ["public.plans"]);
    await stack.sql("ALTER TABLE plans DROP COLUMN code");
    await stack.sql("ALTER TABLE plans ADD COLUMN made timestamptz, ADD COLUMN seen timestamptz");
    await stack.sql("ALTER TABLE plans ALTER COLUMN made SET DEFAULT now()");
    assert.deepEqual(await found("clock-default"), []);
    await stack.sql("ALTER TABLE plans ALTER COLUMN seen SET DEFAULT CURRENT_TIMESTAMP");
    assert.deepEqual(await found("clock-default"), ["public.plans"]);
    await stack.sql("INSERT INTO plans (id) VALUES (77)");
    const copies = await stack.sql<{ result: string }>(
        "SELECT result FROM run_command_on_placements('plans', 'SELECT made || '' '' || seen FROM %s WHERE id = 77')",
    );
    const [made, seen] = [0, 1].map((i) => new Set(copies.map(({ result }) => result.split(/(?<=[+]00) /)[i])));
    assert.equal(made?.size, 1);
    assert.ok(
        (seen?.size ?? 0) > 1,
        "Citus computes CURRENT_TIMESTAMP once by now: the warning is not needed any more",
    );
    await stack.sql("DELETE FROM plans WHERE id = 77");
    await stack.sql("ALTER TABLE plans DROP COLUMN made, DROP COLUMN seen");

    await stack.sql("CREATE RULE swallow AS ON INSERT TO notes DO INSTEAD NOTHING");
    assert.deepEqual(await found("rule"), ["public.notes"]);
    await stack.sql("DROP RULE swallow ON notes");
    assert.deepEqual(await readDangers(await stack.session()), []);
});
