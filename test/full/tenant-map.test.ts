/** The shard map against the catalogs of a real cluster, the client's hashes against Citus' own, and statements explained. */
import assert from "node:assert/strict";
import pg from "pg";
import { afterAll, beforeAll, test } from "vitest";
import { hashOf } from "../../client/hash.ts";
import { type Place, ShardMap, type ShardMapJson } from "../../client/shardMap.ts";
import { fromDatabase, ShardMapClient } from "../../client/shardMapClient.ts";
import { RUN_LOCKS } from "../../core/citus/runLock.ts";
import { POOL_PORT } from "../../core/node/topology.ts";
import { connect, type Session } from "../../core/reach/session.ts";
import { listTenants } from "../../core/tenants/ask/list.ts";
import { passwordOf } from "../../core/tenants/group/passwords.ts";
import type { GroupSpec } from "../../core/tenants/group/spec.ts";
import { map } from "../../core/tenants/map/map.ts";
import { routed } from "../../core/tenants/map/routed.ts";
import { explainStatement } from "../../scripts/tenants/explain.ts";
import { docker, requireEngine, TestStack, until } from "../lib.ts";
import { as, type Client, EMPTY, fileSpec, plan, SEED, settle } from "../tenants.ts";

const billing: GroupSpec = {
    ...EMPTY,
    name: "billing",
    model: "row",
    anchor: "companies",
    tables: { companies: { kind: "distributed", column: "id" } },
};
const shops: GroupSpec = {
    ...EMPTY,
    name: "shops",
    model: "row",
    anchor: "Odd.Shops",
    tables: { "Odd.Shops": { kind: "distributed", column: "Key" } },
};
const clinics: GroupSpec = { ...EMPTY, name: "clinics", model: "schema" };
const far: GroupSpec = {
    ...EMPTY,
    name: "far",
    model: "routed",
    tenants: {
        eu: { host: "eu.example", port: 5432, database: "eu" },
        us: { host: "us.example", port: 5433, database: "main" },
    },
};

let stack: TestStack;
let session: Session;

const readMap = async () => {
    const [row] = await session.query<{ map: unknown }>("SELECT citus_as_code.shard_map() AS map");
    return ShardMap.from(row?.map);
};

/** Both facets without those that make what the test makes by hand. */
const publish = (group: GroupSpec) => settle(stack, group, {}, group.model === "routed" ? [routed, map] : [map]);

beforeAll(async () => {
    requireEngine();
    stack = await TestStack.make({ workers: 2, shardCount: 32, backup: false });
    await stack.up();
    session = await stack.session();
    await session.query(`
        CREATE TABLE companies (id bigint PRIMARY KEY, name text);
        CREATE TABLE users (company_id bigint, id bigint, email text, PRIMARY KEY (company_id, id));
        CREATE TABLE plans (id int PRIMARY KEY, name text);
        CREATE SCHEMA "Odd";
        CREATE TABLE "Odd"."Shops" ("Key" varchar(40) PRIMARY KEY, name text);
        SELECT create_distributed_table('companies', 'id');
        SELECT create_distributed_table('users', 'company_id', colocate_with => 'companies');
        SELECT create_reference_table('plans');
        SELECT create_distributed_table('"Odd"."Shops"', 'Key', shard_count => 7, colocate_with => 'none');
        INSERT INTO companies SELECT i, 'company ' || i FROM generate_series(1, 1000) i;
        INSERT INTO users SELECT c, u, u || '@' || c FROM generate_series(1, 200) c, generate_series(1, 5) u;
        SET citus.enable_schema_based_sharding = on;
        CREATE SCHEMA acme; CREATE TABLE acme.visits (id int PRIMARY KEY, body text);
        CREATE SCHEMA globex; CREATE TABLE globex.visits (id int PRIMARY KEY, body text);
        CREATE SCHEMA hollow;
        RESET citus.enable_schema_based_sharding;
        INSERT INTO acme.visits VALUES (1, 'acme''s');
        CREATE ROLE billing_tenants; CREATE ROLE clinics_tenants`);
    for (const role of ["billing_app", "billing_7", "clinics_acme", "router"])
        await session.query(`CREATE ROLE ${role} LOGIN PASSWORD '${passwordOf(SEED, role)}'`);
    await session.query("GRANT billing_tenants TO billing_7; GRANT clinics_tenants TO clinics_acme");
});

afterAll(() => stack?.destroy());

test("hashes are those that Citus places rows by", async () => {
    const types: readonly (readonly [string, string, string])[] = [
        [
            "hashint8",
            "bigint",
            "SELECT (x::bigint * 7919 * x * 1000000007 * (CASE WHEN x % 2 = 0 THEN -1 ELSE 1 END))::bigint::text FROM generate_series(0, 999) x",
        ],
        ["hashint4", "int", "SELECT ((x - 500) * 4000001)::int::text FROM generate_series(0, 999) x"],
        ["hashint2", "smallint", "SELECT ((x - 500) * 61)::text FROM generate_series(0, 999) x"],
        [
            "hashtext",
            "text",
            "SELECT left(repeat(md5(x::text) || chr(228) || chr(28450) || chr(127881), 2), x % 70) FROM generate_series(0, 999) x",
        ],
        ["uuid_hash", "uuid", "SELECT md5(x::text)::uuid::text FROM generate_series(0, 999) x"],
    ];
    for (const [name, type, values] of types) {
        const rows = await session.query<{ value: string; hash: number }>(
            `SELECT v AS value, worker_hash(v::${type}) AS hash FROM (${values}) AS g (v)`,
        );
        assert.equal(rows.length, 1000);
        const wrong = rows.filter(({ value, hash }) => hashOf(name, value) !== hash);
        assert.deepEqual(wrong, [], name);
    }
});

test("the map is published once, for each group", async () => {
    for (const group of [billing, shops, clinics]) {
        assert.ok((await plan(stack, group, [map])).steps.length > 0 || group !== billing);
        await publish(group);
        assert.deepEqual((await plan(stack, group, [map])).steps, []);
        assert.deepEqual((await publish(group)).steps, []);
    }
    await session.query(`INSERT INTO citus_as_code.tenant (grp, tenant, model, state) VALUES
        ('clinics', 'acme', 'schema', 'active'), ('clinics', 'globex', 'schema', 'frozen'),
        ('clinics', 'hollow', 'schema', 'active'), ('clinics', 'unmade', 'schema', 'creating')`);
});

test("a tenant whose data is still to come is listed so, until it has come", async () => {
    const states = async () =>
        Object.fromEntries(
            (await listTenants(session, { group: "clinics" })).tenants.map(
                ({ tenant, state }) => [tenant, state] as const,
            ),
        );
    const others = { acme: "active", globex: "frozen", unmade: "creating" };
    assert.deepEqual(await states(), { ...others, hollow: "active" });
    await session.query(`UPDATE citus_as_code.tenant_group SET spec = jsonb_set(spec, '{tenants,hollow}',
        '{"from": {"group": "billing", "tenant": "1"}}') WHERE grp = 'clinics'`);
    assert.deepEqual(await states(), { ...others, hollow: "coming" });
    await session.query(
        "INSERT INTO citus_as_code.tenant_change (grp, tenant, from_grp, from_tenant, phase) VALUES ('clinics', 'hollow', 'billing', '1', 'done')",
    );
    assert.deepEqual(await states(), { ...others, hollow: "active" });
    await session.query(`DELETE FROM citus_as_code.tenant_change;
        UPDATE citus_as_code.tenant_group SET spec = spec #- '{tenants,hollow}' WHERE grp = 'clinics'`);
});

test("every key of a row group is looked up where Citus has its shard", async () => {
    const shardMap = await readMap();
    const groups: readonly (readonly [string, string, string])[] = [
        ["billing", "companies", "SELECT ((x * 104729) - 52000000)::bigint FROM generate_series(1, 1000) x"],
        ["shops", '"Odd"."Shops"', "SELECT ('shop ä ' || md5(x::text))::varchar FROM generate_series(1, 1000) x"],
    ];
    for (const [group, table, keys] of groups) {
        const rows = await session.query<{ key: string; node: string }>(
            `SELECT k::text AS key, split_part(n.nodename, '.', 1) AS node FROM (${keys}) AS g (k)
               JOIN pg_dist_placement p ON p.shardid = get_shard_id_for_distribution_column($1::regclass, k)
               JOIN pg_dist_node n USING (groupid)`,
            [table],
        );
        assert.equal(rows.length, 1000);
        assert.ok(new Set(rows.map(({ node }) => node)).size === 2);
        for (const { key, node } of rows) {
            const place = shardMap.lookup(key, group);
            assert.equal(place.node, node, key);
            assert.ok(place.exact);
        }
    }
    const [, second] = groups;
    assert.equal(shardMap.json.groups[second?.[0] ?? ""]?.model, "row");
});

test("keys of every type are looked up where Citus has their shard, or asked for on the coordinator", async () => {
    const texts =
        "SELECT left(repeat(md5(x::text) || chr(228) || chr(127881), 1 + x % 90), x * 7 % 2800) FROM generate_series(1, 300) x";
    const known: readonly (readonly [name: string, type: string, keys: string])[] = [
        ["k_int2", "smallint", "SELECT ((x - 150) * 211)::text FROM generate_series(1, 300) x"],
        ["k_int4", "int", "SELECT ((x - 150) * 14000003)::text FROM generate_series(1, 300) x"],
        ["k_int8", "bigint", "SELECT ((x - 150) * 60000000000000007)::text FROM generate_series(1, 300) x"],
        ["k_text", "text", texts],
        ["k_varchar", "varchar(3000)", texts],
        ["k_collated", 'text COLLATE "C"', texts],
        [
            "k_char",
            "char(12)",
            "SELECT left(md5(x::text), x % 13) || repeat(' ', x % 3) FROM generate_series(1, 300) x",
        ],
        ["k_uuid", "uuid", "SELECT upper(md5(x::text)::uuid::text) FROM generate_series(1, 300) x"],
        ["k_domain", "k_email", "SELECT 'a' || x || '@example.com' FROM generate_series(1, 300) x"],
        ["k_number", "k_positive", "SELECT (x * 60000000000000007)::text FROM generate_series(1, 150) x"],
    ];
    const unknown: readonly (readonly [name: string, type: string, key: string])[] = [
        ["u_enum", "k_plan", "free"],
        ["u_citext", "citext", "Acme"],
        ["u_numeric", "numeric(12,2)", "42.00"],
        ["u_date", "date", "2026-01-01"],
    ];
    await session.query(`CREATE EXTENSION citext`);
    await session.query(`CREATE TYPE k_plan AS ENUM ('free', 'paid')`);
    await session.query(`CREATE DOMAIN k_email AS text CHECK (VALUE ~ '@')`);
    await session.query(`CREATE DOMAIN k_positive AS bigint CHECK (VALUE > 0)`);
    for (const [name, type] of [...known, ...unknown]) {
        await session.query(`CREATE TABLE ${name} (k ${type} PRIMARY KEY)`);
        await session.query(
            `SELECT create_distributed_table('${name}', 'k', shard_count => 8, colocate_with => 'none')`,
        );
        const spec: GroupSpec = {
            ...EMPTY,
            name,
            model: "row",
            anchor: name,
            tables: { [name]: { kind: "distributed", column: "k" } },
        };
        await session.query("INSERT INTO citus_as_code.tenant_group (grp, spec) VALUES ($1, $2)", [
            name,
            JSON.stringify(spec),
        ]);
    }
    const shardMap = await readMap();
    for (const [name, type, keys] of known) {
        const rows = await session.query<{ key: string; node: string }>(
            `SELECT k AS key, split_part(n.nodename, '.', 1) AS node FROM (${keys}) AS g (k)
               JOIN pg_dist_placement p ON p.shardid = get_shard_id_for_distribution_column($1::regclass, k::${type.replace(/ COLLATE.*/, "")})
               JOIN pg_dist_node n USING (groupid)`,
            [name],
        );
        assert.ok(rows.length >= 150, name);
        for (const { key, node } of rows) {
            const place = shardMap.lookup(key, name);
            assert.deepEqual([place.node, place.exact], [node, true], `${name}: ${key}`);
        }
        // other spellings of the same value
        const [first] = rows;
        if (/^(k_int|k_number)/.test(name))
            assert.deepEqual(
                shardMap.lookup(`  ${(first?.key ?? "").replace(/^(-?)/, "$1000")} `, name),
                shardMap.lookup(first?.key ?? "", name),
            );
    }
    for (const [name, , key] of unknown) {
        const place = shardMap.lookup(key, name);
        assert.deepEqual([place.node, place.exact], ["coordinator", false], name);
    }
    await session.query("DELETE FROM citus_as_code.tenant_group WHERE grp = ANY ($1)", [
        [...known, ...unknown].map(([name]) => name),
    ]);
});

test("the map's version is asked for alone, and older clusters are asked for all of it", async () => {
    const queries: string[] = [];
    const asking = fromDatabase({
        query: async (text, values) => {
            queries.push(text);
            return { rows: await session.query(text, values) };
        },
    });
    const first = ShardMap.from(await asking());
    assert.equal(await asking(first.version), null);
    assert.equal(ShardMap.from(await asking("another")).version, first.version);
    await session.query("SET citus.enable_ddl_propagation = off; DROP FUNCTION citus_as_code.shard_map(text)");
    await session.query("RESET citus.enable_ddl_propagation");
    queries.splice(0);
    assert.equal(ShardMap.from(await asking(first.version)).version, first.version);
    assert.equal(queries.length, 2);
    assert.deepEqual(
        (await plan(stack, billing, [map])).steps.map(({ text }) => text),
        ["shard map: renew citus_as_code.shard_map()"],
    );
    await publish(billing);
    assert.deepEqual((await plan(stack, billing, [map])).steps, []);
});

/** Its rows, straight from the place. */
async function at(place: Place, sql: string): Promise<unknown[]> {
    const access = await stack.access();
    const direct = await connect(
        { ...access, host: place.host, port: place.port, database: place.database },
        place.node,
    );
    try {
        const [node] = await direct.query<{ local: boolean }>(
            `SELECT (SELECT split_part(nodename, '.', 1) FROM pg_dist_node WHERE groupid = (SELECT groupid FROM pg_dist_local_group)) = $1 AS local`,
            [place.node],
        );
        assert.ok(node?.local, `${place.port} is ${place.node}`);
        return await direct.query(sql);
    } finally {
        await direct.close();
    }
}

test("a tenant is served at its place, and found again after it moved", async () => {
    const client = new ShardMapClient({
        fetch: async () => (await session.query<{ map: unknown }>("SELECT citus_as_code.shard_map() AS map"))[0]?.map,
    });
    await client.refresh();
    const first = client.lookup("acme");
    assert.equal(first.schema, "acme");
    assert.deepEqual(await at(first, "SELECT body FROM acme.visits"), [{ body: "acme's" }]);
    assert.deepEqual(await at(client.lookup(42, "billing"), "SELECT name FROM companies WHERE id = 42"), [
        { name: "company 42" },
    ]);
    assert.equal(await client.refresh(), false, "nothing happened, and the version stayed");
    const version = client.current.version;

    const to = first.node === "worker-1" ? "worker-2" : "worker-1";
    await session.query(
        "SELECT citus_schema_move('acme', nodename, nodeport) FROM pg_dist_node WHERE nodename LIKE $1",
        [`${to}.%`],
    );
    assert.deepEqual(
        await at(first, "SELECT body FROM acme.visits"),
        [{ body: "acme's" }],
        "the old place still answers",
    );
    assert.equal(await client.refresh(), true);
    assert.notEqual(client.current.version, version);
    assert.equal(client.lookup("acme").node, to);
    assert.deepEqual(await at(client.lookup("acme"), "SELECT body FROM acme.visits"), [{ body: "acme's" }]);
    for (const unknown of ["hollow", "unmade", "nobody"]) {
        const { node, exact } = client.lookup(unknown, "clinics");
        assert.deepEqual([unknown, node, exact], [unknown, "coordinator", false]);
    }
});

test("a tenant in a shard of its own is in the map, with its weight in the list", async () => {
    await session.query(
        "SELECT isolate_tenant_to_new_shard('companies', 42, 'CASCADE', shard_transfer_mode => 'block_writes')",
    );
    await session.query(
        "INSERT INTO citus_as_code.tenant (grp, tenant, model, state) SELECT 'billing', i::text, 'row', 'active' FROM generate_series(1, 1000) i",
    );
    await session.query("ANALYZE users, companies");
    const group = (await readMap()).json.groups.billing;
    assert.ok(
        group?.model === "row" && group.ranges.some(([low, high]) => low === high && low === hashOf("hashint8", 42)),
    );
    const [placed] = await session.query<{ node: string }>(
        `SELECT split_part(nodename, '.', 1) AS node FROM pg_dist_placement JOIN pg_dist_node USING (groupid)
          WHERE shardid = get_shard_id_for_distribution_column('companies', 42)`,
    );
    const began = Date.now();
    const { tenants, tracked } = await listTenants(session);
    console.log(`  ${tenants.length} tenants listed in ${Date.now() - began} ms`);
    assert.equal(tracked, false);
    assert.equal(tenants.length, 1004);
    const own = tenants.find(({ group: g, tenant }) => g === "billing" && tenant === "42");
    assert.equal(own?.place, placed?.node);
    assert.equal(own?.shared, false);
    assert.equal(own?.rows, 6, "a company and five users");
    assert.ok((own?.bytes ?? 0) > 0);
    assert.deepEqual(
        tenants.filter(({ group: g, shared }) => g === "billing" && !shared).map(({ tenant }) => tenant),
        ["42"],
    );
    const acme = tenants.find(({ tenant }) => tenant === "acme");
    assert.ok((acme?.bytes ?? 0) > 0 && acme?.shared === false);
    assert.equal(acme?.gone, false);
    assert.equal(tenants.find(({ tenant }) => tenant === "999")?.inProgram, false, "only the ledger has it");
});

test("what tenants ask is in the list, where Citus counts it", async () => {
    const every = async (sql: string) => {
        for (const name of ["coordinator", "worker-1", "worker-2"]) {
            const node = await stack.session(name);
            await node.query(sql);
            await node.query("SELECT pg_reload_conf()");
        }
    };
    await every("ALTER SYSTEM SET citus.stat_tenants_track = 'all'");
    try {
        await until("tracking on every node", 10, async () => (await listTenants(session)).tracked);
        for (let i = 0; i < 5; i++) await session.query("SELECT * FROM users WHERE company_id = 42");
        for (let i = 0; i < 3; i++) await session.query("SELECT count(*) FROM acme.visits");
        const { tenants } = await listTenants(session);
        const asked = Object.fromEntries(
            tenants.flatMap(({ group, tenant, activity }) =>
                activity === null ? [] : [[`${group}/${tenant}`, activity.queries]],
            ),
        );
        assert.deepEqual(asked, { "billing/42": 5, "clinics/acme": 3 });
    } finally {
        await every("ALTER SYSTEM RESET citus.stat_tenants_track");
    }
});

test("entries of other servers are set, changed and removed, and nothing twice", async () => {
    await publish(far);
    assert.deepEqual((await publish(far)).steps, []);
    const first = await readMap();
    assert.deepEqual(first.lookup("us"), {
        node: "us.example",
        host: "us.example",
        port: 5433,
        database: "main",
        exact: true,
    });
    const changed: GroupSpec = { ...far, tenants: { eu: { host: "eu2.example", port: 5432, database: "eu" } } };
    const left = await plan(stack, changed, [routed, map]);
    assert.deepEqual(
        left.steps.map(({ tenant }) => tenant),
        ["eu"],
    );
    assert.match(left.notes.join(), /us is not in the program/);
    await publish({ ...changed, delete: ["us"] });
    assert.deepEqual((await publish({ ...changed, delete: ["us"] })).steps, []);
    const second = await readMap();
    assert.notEqual(second.version, first.version);
    assert.equal(second.lookup("eu").host, "eu2.example");
    assert.deepEqual(second.lookup("us", "far").deleted, true);
    await publish(far);
    assert.equal((await readMap()).lookup("us").host, "us.example", "one that comes back is no longer deleted");
});

test("a tenant whose data went to another group is followed", async () => {
    await session.query(`UPDATE citus_as_code.tenant SET state = 'superseded', detail = '{"moved_to": "clinics/globex"}'
                          WHERE grp = 'billing' AND tenant = '7'`);
    const followed = await readMap();
    for (const key of [7, "007", " 7", "+7", 7n]) assert.equal(followed.lookup(key, "billing").schema, "globex");
});

test("each reads of the map what concerns it, and nothing in it is secret", async () => {
    const everything = await readMap();
    const { password } = await stack.outputs();
    assert.ok(!JSON.stringify(everything.json).includes(password));
    const clients = new Map<string, Client>();
    const read = async (role: string) => {
        const client = clients.get(role) ?? (await as(stack, role));
        clients.set(role, client);
        await assert.rejects(client.query("SELECT * FROM citus_as_code.tenant"), /permission denied/);
        const [row] = await client.query<{ map: unknown }>("SELECT citus_as_code.shard_map() AS map");
        return ShardMap.from(row?.map);
    };
    const { nodes, groups } = everything.json;
    const schemas = groups.clinics?.model === "schema" ? groups.clinics.schemas : {};
    const at = (tenant: string) => ({ model: "schema", schemas: { [tenant]: schemas[tenant] } });
    const concerns = ({ json }: ShardMap) => ({ groups: json.groups, tombstones: json.tombstones, nodes: json.nodes });

    const moved = { billing: { "7": { movedTo: "clinics/globex" } } };
    const ofBilling = { groups: { billing: groups.billing, clinics: at("globex") }, tombstones: moved, nodes };
    const application = await read("billing_app");
    assert.deepEqual(concerns(application), ofBilling);
    assert.equal(application.lookup(42, "billing").node, everything.lookup(42, "billing").node);
    const seventh = await read("billing_7");
    assert.deepEqual(concerns(seventh), ofBilling);
    assert.equal(seventh.lookup(7, "billing").schema, "globex");
    const acme = await read("clinics_acme");
    assert.deepEqual(concerns(acme), { groups: { clinics: at("acme") }, tombstones: {}, nodes });
    assert.deepEqual(acme.lookup("acme"), everything.lookup("acme"));

    await session.query("UPDATE citus_as_code.tenant SET state = 'deleting' WHERE (grp, tenant) = ('billing', '8')");
    assert.ok((await read("billing_app")).lookup(8, "billing").deleted);
    assert.deepEqual(concerns(await read("billing_7")), ofBilling, "another tenant's end is none of its business");

    await assert.rejects(read("router"), /permission denied for schema/);
    const rights = "USAGE ON SCHEMA citus_as_code, EXECUTE ON FUNCTION citus_as_code.shard_map()";
    for (const right of rights.split(", ")) await session.query(`GRANT ${right} TO router`);
    assert.deepEqual(concerns(await read("router")), concerns(await readMap()));
    await session.query("GRANT EXECUTE ON FUNCTION citus_as_code.shard_map() TO clinics_acme");
    assert.deepEqual(Object.keys((await read("clinics_acme")).json.groups), ["clinics"], "a tenant stays one");
    for (const client of clients.values()) await client.close();
});

/** A pool of a role's connections to a node, or to the PgBouncer before it. */
async function poolFor(role: string, node: string, port?: number): Promise<pg.Pool> {
    const access = await stack.access(node);
    const pool = new pg.Pool({
        host: access.host,
        port: port ?? access.port,
        user: role,
        password: passwordOf(SEED, role),
        database: access.database,
        ssl: { ca: access.ca, servername: access.serverName },
        max: 1,
    });
    pool.on("error", () => undefined);
    return pool;
}

test("a tenant's transaction sees its rows alone, whatever its key, on every node and through the pool", async () => {
    const stalls: GroupSpec = {
        ...EMPTY,
        name: "stalls",
        model: "row",
        anchor: "stalls",
        pool: true,
        tables: { stalls: { kind: "distributed", column: "key" }, goods: { kind: "distributed", column: "stall" } },
        tenants: { plain: {} },
    };
    const template = `CREATE TABLE stalls (key text PRIMARY KEY);
        CREATE TABLE goods (stall text, id int, name text, PRIMARY KEY (stall, id));`;
    const file = fileSpec("stalls.sql", template);
    await settle(stack, { ...stalls, template: [file] }, { "stalls.sql": template });
    const client = new ShardMapClient({
        fetch: async () => (await session.query<{ map: unknown }>("SELECT citus_as_code.shard_map() AS map"))[0]?.map,
    });
    await client.refresh();
    const keys = [
        "plain",
        "O'Reilly",
        "back\\slash",
        "\\'; DROP TABLE goods; --",
        "🎉 ä漢",
        "{a,b}",
        "$1 %s",
        "a\nb",
        '"',
    ];
    const pools: pg.Pool[] = [];
    for (const node of ["coordinator", "worker-1", "worker-2"]) {
        pools.push(await poolFor("stalls_app", node));
        const published = docker(["port", stack.container(node), String(POOL_PORT)]);
        pools.push(await poolFor("stalls_app", node, Number(/:(\d+)\s/.exec(published)?.[1])));
    }
    for (const [i, pool] of pools.entries()) {
        for (const key of keys) {
            await client.withTenant(pool, key, "stalls", (db) =>
                db.query("INSERT INTO goods VALUES ($1, $2, 'x')", [key, i]),
            );
            const { rows } = await client.withTenant(pool, key, "stalls", (db) =>
                db.query("SELECT DISTINCT stall FROM goods"),
            );
            assert.deepEqual(rows, [{ stall: key }]);
        }
        const mine = client.withTenant(pool, "plain", "stalls", async (db) => {
            await db.query("DELETE FROM goods WHERE stall = 'plain'");
            throw new Error("mine");
        });
        await assert.rejects(mine, /mine/);
        await assert.rejects(
            client.withTenant(pool, "plain", "stalls", (db) => db.query("SELECT 1; DELETE FROM goods")),
            { code: "42601" },
        );
        await assert.rejects(
            client.withTenant(pool, "plain", "stalls", (db) => db.query("INSERT INTO goods VALUES ('\"', 99, 'x')")),
            /row-level security/,
        );
        // nothing of a tenant is left in a connection that others get
        assert.deepEqual((await pool.query("SELECT * FROM goods")).rows, []);
    }
    const [all] = await session.query<{ n: string }>("SELECT count(*) AS n FROM goods");
    assert.equal(Number(all?.n), pools.length * keys.length);

    // what the client never sends: workers run the whole text again
    const text =
        "BEGIN; SET LOCAL app.tenant = 'plain'; UPDATE goods SET name = name || '+' WHERE stall = 'plain'; COMMIT";
    await assert.rejects(
        pools[0]?.query(text) ?? Promise.resolve(),
        /query from a query on a shard|failure on connection/,
    );
    for (const pool of pools) await pool.end();
});

test("a node that does not answer is passed by", async () => {
    const json = structuredClone((await readMap()).json) as ShardMapJson & { nodes: Record<string, { port: number }> };
    for (const node of ["worker-1", "worker-2"]) {
        const address = json.nodes[node];
        // a port that nobody listens on
        if (address) address.port = 1;
    }
    const client = new ShardMapClient({ fetch: async () => json, refreshAtMost: 0 });
    await client.refresh();
    const access = await stack.access();
    const asked: string[] = [];
    const name = await client.at(42, "billing", async (place) => {
        asked.push(place.node);
        const direct = await connect({ ...access, host: place.host, port: place.port }, place.node);
        const rows = await direct.query<{ name: string }>("SELECT name FROM companies WHERE id = 42");
        await direct.close();
        return rows[0]?.name;
    });
    assert.equal(name, "company 42");
    assert.deepEqual([asked.length, asked[1]], [2, "coordinator"]);
    const pools = new Map<number, pg.Pool>();
    for (const { port } of Object.values(json.nodes)) {
        const pool = await poolFor("stalls_app", "coordinator", port);
        pools.set(port, pool);
    }
    const seen = await client.withTenant(
        ({ port }) => pools.get(port) as pg.Pool,
        "plain",
        "stalls",
        async (db) =>
            [db.place.node, (await db.query("SELECT id FROM goods WHERE stall = 'plain'")).rows.length] as const,
    );
    assert.deepEqual(seen, ["coordinator", 6]);
    for (const pool of pools.values()) await pool.end();
});

test("a tenant that takes the lock of runs does not keep them waiting", async () => {
    const held = await Promise.all([as(stack, "billing_7"), as(stack, "billing_app")]);
    await held[0].query(`SELECT pg_advisory_lock(${RUN_LOCKS.tenants})`);
    // who waits may have the lock for a moment when the holder is ended: then this is answered, and ended right after
    const waits = held[1].query(`SELECT pg_advisory_lock(${RUN_LOCKS.tenants})`).catch((error: Error) => error);
    await until("a client that waits", 10, async () => {
        const waiting = await session.query("SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted");
        return waiting.length === 1;
    });
    const began = Date.now();
    const { said } = await publish(billing);
    assert.ok(Date.now() - began < 20_000, `${Date.now() - began} ms`);
    await waits;
    for (const client of held)
        await assert.rejects(client.query("SELECT 1"), /terminat|closed|not queryable|ECONNRESET|EPIPE/);
    assert.match(
        said.join("\n"),
        /role billing_7 held advisory lock \d+, which only this project's runs may hold; its connection was ended/,
    );
    for (const client of held) await client.close().catch(() => undefined);

    const third = await as(stack, "billing_7");
    await third.query("BEGIN");
    await third.query(`SELECT pg_advisory_xact_lock(${RUN_LOCKS.tenants})`);
    await third.query("PREPARE TRANSACTION 'it''s'");
    await third.close();
    await assert.rejects(publish(billing), /prepared transaction of role billing_7 .*\n.*ROLLBACK PREPARED 'it''s'/);
    await session.query("ROLLBACK PREPARED 'it''s'");
    await publish(billing);
});

test("what an address was is mended, and a node that is gone leaves the map", async () => {
    await session.query(`UPDATE citus_as_code.node_address SET port = 1 WHERE node = 'worker-1';
                         INSERT INTO citus_as_code.node_address VALUES ('worker-9', 'gone.example', 5432)`);
    assert.deepEqual(
        (await plan(stack, billing, [map])).steps.map(({ text }) => text.replace(/at localhost:\d+/, "at")),
        ["shard map: worker-1 is reached at", "shard map: worker-9 is gone"],
    );
    await publish(billing);
    assert.deepEqual(Object.keys((await readMap()).json.nodes).sort(), ["coordinator", "worker-1", "worker-2"]);
});

test("statements are explained and not run", async () => {
    const ask = (sql: string) => explainStatement(session, sql);
    const shards = (await session.query("SELECT FROM pg_dist_shard WHERE logicalrelid = 'users'::regclass")).length;

    const one = await ask("SELECT * FROM users WHERE company_id = 8");
    assert.deepEqual([one.verdict, one.tasks], ["one", 1]);
    const all = await ask("SELECT count(*) FROM users WHERE email = 'x'");
    assert.deepEqual([all.verdict, all.tasks], ["all", shards]);
    assert.match(all.fix.join(), /company_id = <the tenant>/);
    assert.equal((await ask("UPDATE plans SET name = 'x' WHERE id = 1")).verdict, "every copy");
    assert.equal((await ask("SELECT * FROM acme.visits")).verdict, "one");
    const join = "SELECT count(*) FROM users u JOIN users v ON u.id = v.company_id";
    const refused = await ask(join);
    assert.deepEqual([refused.verdict, refused.tasks], ["moves rows", null]);
    assert.match(refused.fix.join(), /AND u\.company_id = v\.company_id/);
    const apart = await ask("SELECT count(*) FROM acme.visits a JOIN users u ON a.id = u.id");
    assert.equal(apart.verdict, "refused");
    assert.match((await ask("SELECT count(*) FROM users")).fix.join(), /^Add {2}WHERE company_id = <the tenant>/);
    await session.query("SET citus.enable_repartition_joins = on");
    const moved = await ask(join);
    await session.query("RESET citus.enable_repartition_joins");
    assert.equal(moved.verdict, "moves rows");
    assert.match(moved.says.join(), new RegExp(`${shards} tasks read`));

    await ask("DELETE FROM users");
    const [left] = await session.query<{ n: string }>("SELECT count(*) AS n FROM users");
    assert.equal(left?.n, "1000");
    await assert.rejects(
        ask("SELECT 1; DELETE FROM users"),
        /Exactly one statement can be explained at a time, got 2\. Nothing was run\./,
    );
    await assert.rejects(ask("DROP TABLE users"), /Only SELECT/);
    await assert.rejects(ask("SELECT * FROM users WHERE company_id = $1"), /Write values in the place of \$1/);
});
