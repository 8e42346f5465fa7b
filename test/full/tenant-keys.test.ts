/** Keys of tenants of models row and rls, and who writes and is seen, on a real cluster: from every node, at any moment. */
import assert from "node:assert/strict";
import { afterAll, beforeAll, test } from "vitest";
import type { GroupSpec, TenantSpec } from "../../core/tenants/group/spec.ts";
import { roles } from "../../core/tenants/roles/roles.ts";
import { policies } from "../../core/tenants/rows/policies.ts";
import { wantedPolicies } from "../../core/tenants/rows/policiesPlan.ts";
import { rows } from "../../core/tenants/rows/rows.ts";
import { requireEngine, TestStack } from "../lib.ts";
import { as, EMPTY, fileSpec, plan, settle } from "../tenants.ts";

requireEngine();

let stack: TestStack;

const NODES = ["coordinator", "worker-1", "worker-2"];

beforeAll(async () => {
    stack = await TestStack.make({ workers: 2, shardCount: 2, backup: false });
    await stack.up();
});

afterAll(async () => {
    await stack?.destroy();
});

const kinds = async (group: GroupSpec) => (await plan(stack, group)).steps.map(({ kind, table }) => `${kind} ${table}`);

/** As a statement's number of rows, or what the database said. */
async function writes(role: string, node: string, tenant: string | undefined, sql: string): Promise<number | string> {
    const client = await as(stack, role, node);
    try {
        await client.query("BEGIN");
        if (tenant !== undefined) await client.query(`SET LOCAL app.tenant = '${tenant}'`);
        const rows = await client.query(sql);
        await client.query("COMMIT");
        return rows.length;
    } catch (error) {
        return (error as Error).message;
    } finally {
        await client.close();
    }
}

const TENANTS: Record<string, TenantSpec> = { 41: {}, 42: { role: true }, 43: {} };

const keys = (more: Partial<GroupSpec> = {}): GroupSpec => ({
    ...EMPTY,
    name: "keys",
    model: "row",
    anchor: "firms",
    tables: {
        firms: { kind: "distributed", column: "id", shardCount: 2 },
        people: { kind: "distributed", column: "firm" },
    },
    tenants: TENANTS,
    ...more,
});

const frozen = (...names: string[]) =>
    keys({
        tenants: { ...TENANTS, ...Object.fromEntries(names.map((name) => [name, { ...TENANTS[name], frozen: true }])) },
    });

const INSERT = (tenant: string) => `INSERT INTO people (firm, name) VALUES (${tenant}, 'new') RETURNING id`;
const UPDATE = (tenant: string) => `UPDATE people SET name = name WHERE firm = ${tenant} RETURNING id`;

test("a tenant is frozen on every node without a lock on any table, and those that wrote before have ended", async () => {
    await stack.sql(`
        CREATE TABLE firms (id bigint PRIMARY KEY, name text);
        CREATE TABLE people (firm bigint NOT NULL, id bigserial, name text, PRIMARY KEY (firm, id));
        INSERT INTO people (firm, name) SELECT 41 + i % 3, 'p' || i FROM generate_series(1, 30) i`);
    await settle(stack, keys());
    assert.deepEqual(await kinds(keys()), []);
    for (const node of NODES) {
        assert.equal(await writes("keys_app", node, "42", UPDATE("42")), 10);
        assert.equal(await writes("keys_app", node, undefined, UPDATE("42")), 0);
        assert.equal(await writes("keys_app", node, "", UPDATE("42")), 0);
        assert.equal(await writes("keys_app", node, "41", UPDATE("42")), 0);
    }
    // a reader that stays: whoever takes a table's exclusive lock waits for it
    const reader = await as(stack, "keys_app", "worker-1");
    await reader.query("BEGIN");
    await reader.query("SET LOCAL app.tenant = '43'");
    await reader.query("SELECT count(*) FROM people WHERE firm = 43");
    // a writer whose row is not committed yet
    const writer = await as(stack, "keys_app", "worker-2");
    await writer.query("BEGIN");
    await writer.query("SET LOCAL app.tenant = '42'");
    await writer.query(INSERT("42"));
    let done = false;
    const freezing = settle(stack, frozen("42")).then((ran) => {
        done = true;
        return ran;
    });
    const names = async () =>
        (await stack.sql<{ n: number }>("SELECT count(*)::int AS n FROM people WHERE firm = 42"))[0]?.n;
    // frozen for everybody else by now, but not done
    while ((await writes("keys_app", "worker-1", "42", UPDATE("42"))) !== 0) assert.ok(!done);
    for (const node of NODES)
        assert.match(String(await writes("keys_app", node, "42", INSERT("42"))), /violates row-level security/);
    assert.equal(done, false, "freezing has ended while a write from before may still be committed");
    assert.equal(await names(), 10);
    // not even the next statement of a transaction that wrote before
    assert.deepEqual(await writer.query(UPDATE("42")), []);
    await writer.query("COMMIT");
    await writer.close();
    const { steps } = await freezing;
    assert.deepEqual(
        steps.map(({ kind }) => kind),
        ["policies.bar", "rows.state"],
    );
    assert.equal(await names(), 11);
    assert.equal((await reader.query("SELECT 1 FROM people WHERE firm = 43")).length, 10);
    await reader.query("COMMIT");
    await reader.close();
    for (const node of NODES) {
        assert.equal(await writes("keys_app", node, "42", UPDATE("42")), 0, node);
        assert.equal(await writes("keys_42", node, undefined, UPDATE("42")), 0, node);
        assert.match(String(await writes("keys_42", node, undefined, INSERT("42"))), /violates row-level security/);
        assert.equal(await writes("keys_42", node, undefined, "SELECT 1 FROM people"), 11);
        assert.equal(await writes("keys_app", node, "43", UPDATE("43")), 10);
        // however the key is written
        for (const key of [" 42", "042", "+42", "0x2a"])
            assert.equal(await writes("keys_app", node, key, UPDATE("42")), 0, key);
    }
    assert.deepEqual(await kinds(frozen("42")), []);
    await settle(stack, keys());
    for (const node of NODES) assert.equal(await writes("keys_app", node, "42", UPDATE("42")), 11);
});

test("a node whose list is stale or gone is found and mended; without a list there nothing is seen", async () => {
    await settle(stack, frozen("41"));
    const worker = await stack.session("worker-1");
    const alone = (sql: string) =>
        worker.query(`SET citus.enable_ddl_propagation = off; ${sql}; RESET citus.enable_ddl_propagation`);
    await alone("ALTER DOMAIN citus_as_code.keys_writes_bigint DROP CONSTRAINT barred");
    assert.deepEqual(await kinds(frozen("41")), ["policies.bar undefined"]);
    await settle(stack, frozen("41"));
    assert.deepEqual(await kinds(frozen("41")), []);
    await alone("DROP DOMAIN citus_as_code.keys_writes_bigint");
    const said: (string | number)[] = [];
    for (const tenant of ["41", "42", "43"]) said.push(await writes("keys_app", "worker-1", tenant, UPDATE(tenant)));
    assert.ok(
        said.some((answer) => /keys_writes_bigint" does not exist/.test(String(answer))),
        said.join("; "),
    );
    await settle(stack, frozen("41"));
    for (const node of NODES) {
        assert.equal(await writes("keys_app", node, "41", UPDATE("41")), 0);
        assert.equal(await writes("keys_app", node, "43", UPDATE("43")), 10);
    }
    await alone("REVOKE USAGE ON SCHEMA citus_as_code FROM keys_app");
    assert.deepEqual(await kinds(frozen("41")), ["policies.bar undefined"]);
    await settle(stack, frozen("41"));
    assert.deepEqual(await kinds(frozen("41")), []);
});

test("policies that name their tenants become those that ask the list, table after table", async () => {
    for (const [table, column] of [
        ["firms", "id"],
        ["people", "firm"],
    ] as const)
        for (const { name } of wantedPolicies(keys(), column, "bigint")) {
            const clause = name.endsWith("insert") ? "WITH CHECK" : "USING";
            await stack.sql(`DROP POLICY ${name} ON ${table}`);
            await stack.sql(
                `CREATE POLICY ${name} ON ${table} FOR ${name.split("_").at(-1)} TO keys_app ${clause} (${column} = nullif(current_setting('app.tenant', true), '')::bigint AND ${column} <> ALL ('{"41"}'::bigint[]))`,
            );
        }
    const { steps } = await plan(stack, frozen("41"));
    assert.deepEqual(
        steps.map(({ kind, table }) => `${kind} ${table}`),
        ["policies.set firms", "policies.set people"],
    );
    for (const { text } of steps)
        assert.match(text, /8 of its policies are made anew, under an exclusive lock of this table alone/);
    await settle(stack, frozen("41"));
    assert.deepEqual(await kinds(frozen("41")), []);
    for (const node of NODES) {
        assert.equal(await writes("keys_app", node, "41", UPDATE("41")), 0);
        assert.equal(await writes("keys_app", node, "43", UPDATE("43")), 10);
    }
    await settle(stack, keys());
});

test("moved, split and rewritten shards ask the same list", async () => {
    await settle(stack, frozen("43"));
    await stack.sql("SELECT alter_distributed_table('firms', shard_count := 3, cascade_to_colocated := true)");
    const [shard] = await stack.sql<{ id: string; from: string; to: string }>(
        `SELECT s.shardid AS id, s.nodename AS from, (SELECT n.nodename FROM pg_dist_node n WHERE n.groupid <> 0 AND n.nodename <> s.nodename LIMIT 1) AS to
           FROM citus_shards s WHERE s.table_name = 'people'::regclass ORDER BY 1 LIMIT 1`,
    );
    await stack.sql("SELECT citus_move_shard_placement($1, $2, 5432, $3, 5432, 'block_writes')", [
        shard?.id,
        shard?.from,
        shard?.to,
    ]);
    for (const node of NODES) {
        assert.equal(await writes("keys_app", node, "43", UPDATE("43")), 0);
        assert.match(String(await writes("keys_app", node, "43", INSERT("43"))), /violates row-level security/);
        assert.equal(await writes("keys_app", node, "41", UPDATE("41")), 10);
    }
});

interface KeyType {
    /** Of the anchor's key, as in CREATE TABLE. */
    readonly type: string;
    /** As the database writes it. */
    readonly key: string;
    /** The same key, written otherwise. */
    readonly otherwise?: string;
    /** Another key. */
    readonly other: string;
    readonly before?: string;
}

const TYPES: readonly KeyType[] = [
    { type: "smallint", key: "7", otherwise: "007", other: "8" },
    { type: "integer", key: "42", otherwise: "4_2", other: "43" },
    { type: "bigint", key: "9007199254740993", otherwise: "0x20000000000001", other: "9007199254740992" },
    { type: "bigint GENERATED ALWAYS AS IDENTITY", key: "1000", otherwise: "+1000", other: "1001" },
    { type: "text", key: `O'Reilly \\ "x" {a,b} NULL %s $$`, other: "NULL" },
    { type: "text", key: `${"a".repeat(90)}@example.com`, other: `${"a".repeat(91)}@example.com` },
    { type: "varchar(5)", key: "ab", other: "ab " },
    { type: "char(5)", key: "ab", otherwise: "ab ", other: "abc" },
    {
        type: "uuid",
        key: "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
        otherwise: "{A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11}",
        other: "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a12",
    },
    { type: "numeric", key: "42", other: "43" },
    { type: "numeric(10,2)", key: "42.00", otherwise: "42", other: "43.00" },
    { type: "date", key: "2026-01-02", otherwise: "2 Jan 2026", other: "2026-02-01" },
    { type: "timestamp", key: "2026-01-02 03:04:05", otherwise: "2026-01-02T03:04:05", other: "2026-01-02 03:04:06" },
    {
        type: "timestamptz",
        key: "2026-01-02 01:04:05+00",
        otherwise: "2026-01-02 03:04:05+02",
        other: "2026-01-02 03:04:05+00",
    },
    { type: "boolean", key: "true", otherwise: "t", other: "false" },
    { type: "inet", key: "10.0.0.1/32", otherwise: "10.0.0.1", other: "10.0.0.0/24" },
    { type: "bytea", key: "\\x4142", otherwise: "AB", other: "\\x4143" },
    { type: "jsonb", key: '{"a": 1}', otherwise: '{"a":1}', other: '{"a": 2}' },
    { type: "plan", key: "gold", other: "free", before: "CREATE TYPE plan AS ENUM ('free', 'gold')" },
    { type: "code", key: "ab", other: "cd", before: "CREATE DOMAIN code AS text CHECK (VALUE = lower(VALUE))" },
    { type: "price", key: "1.50", otherwise: "1.5", other: "2.00", before: "CREATE DOMAIN price AS numeric(6,2)" },
    { type: "citext", key: "Acme", other: "Globex", before: "CREATE EXTENSION IF NOT EXISTS citext" },
];

const OWN = [policies, roles, rows];

const typed = (tenants: Record<string, TenantSpec>): GroupSpec => ({
    ...EMPTY,
    name: "typed",
    model: "row",
    anchor: "typed",
    tables: { typed: { kind: "distributed", column: "id" } },
    tenants,
});

const quoted = (text: string) => `'${text.replaceAll("'", "''")}'`;

for (const { type, key, otherwise, other, before: first } of TYPES)
    test(`a key of type ${type} is found again however it is written, or refused with how to write it: ${key.slice(0, 30)}`, async () => {
        for (const sql of [
            "DROP TABLE IF EXISTS typed",
            ...(first ? [first] : []),
            "TRUNCATE citus_as_code.tenant",
            `CREATE TABLE typed (id ${type} PRIMARY KEY, n int)`,
            "SELECT create_distributed_table('typed', 'id')",
        ])
            await stack.sql(sql);
        const group = typed({ [key]: { frozen: true }, [other]: {} });
        await settle(stack, group, {}, OWN);
        assert.deepEqual((await plan(stack, group, OWN)).steps, []);
        assert.deepEqual(
            (await stack.sql<{ id: string }>("SELECT id::text AS id FROM typed")).map(({ id }) => id).sort(),
            [key, other].sort(),
        );
        const app = await as(stack, "typed_app", "worker-1");
        const write = async (tenant: string) => {
            await app.query("BEGIN");
            await app.query(`SET LOCAL app.tenant = ${quoted(tenant)}`);
            const seen = await app.query("SELECT id::text FROM typed");
            const rows = await app.query("UPDATE typed SET n = 1 RETURNING n");
            await app.query("COMMIT");
            return `${seen.length} seen, ${rows.length} written`;
        };
        try {
            assert.deepEqual(
                [await write(key), await write(otherwise ?? key), await write(other)],
                ["1 seen, 0 written", "1 seen, 0 written", "1 seen, 1 written"],
            );
        } finally {
            await app.close();
        }
        if (otherwise === undefined) return;
        const { refusals } = await plan(stack, typed({ [otherwise]: {} }), OWN);
        assert.equal(refusals.length, 1);
        assert.ok(refusals[0]?.includes(`the database writes this key as ${key}: write it like that`), refusals[0]);
        const twice = await plan(stack, typed({ [key]: {}, [otherwise]: {} }), OWN);
        assert.ok(
            twice.refusals.some((text) => text.includes("are the same key to the database")),
            twice.refusals.join(),
        );
    });

test("a key that another row has in other letters, one that is no value of the type, and a list as key", async () => {
    const { refusals } = await plan(stack, typed({ ACME: {} }), OWN);
    assert.match(
        refusals.join("\n"),
        /^ACME: typed.id is of type citext, and the database writes this key as Acme: write it like that/,
    );
    await stack.sql("DROP TABLE typed");
    await stack.sql("CREATE TABLE typed (id varchar(3) PRIMARY KEY, n int)");
    await stack.sql("SELECT create_distributed_table('typed', 'id')");
    assert.match(
        (await plan(stack, typed({ abcd: {} }), OWN)).refusals.join("\n"),
        /^abcd: not of type character varying\(3\)/,
    );
    await stack.sql("DROP TABLE typed");
    await stack.sql("CREATE TABLE typed (id int[] PRIMARY KEY, n int)");
    await stack.sql("SELECT create_distributed_table('typed', 'id')");
    assert.match(
        (await plan(stack, typed({ "{1,2}": {} }), OWN)).refusals.join("\n"),
        /typed.id is of type integer\[\]: a list can't be a tenant's key/,
    );
    await stack.sql("DROP TABLE typed");
});

const LOOKUP = {
    "sql/lookup/1.sql": `
        CREATE SEQUENCE ticket_no;
        CREATE TABLE plans (id int PRIMARY KEY, name text);
        INSERT INTO plans VALUES (1, 'small');
        CREATE TABLE owners (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text UNIQUE);
        CREATE TABLE tickets (owner bigint NOT NULL REFERENCES owners, no bigint DEFAULT nextval('ticket_no'), PRIMARY KEY (owner, no));
        GRANT SELECT ON owners TO lookup_app;`,
};

const lookup = (tenants: Record<string, TenantSpec>): GroupSpec => ({
    ...EMPTY,
    name: "lookup",
    model: "rls",
    anchor: "owners",
    tables: {
        owners: { kind: "distributed", column: "id" },
        tickets: { kind: "distributed", column: "owner" },
        plans: { kind: "local" },
    },
    template: Object.entries(LOOKUP).map(([path, content]) => fileSpec(path, content)),
    tenants,
});

test("rls with a lookup table: its template names the group's roles, and tenants read it and use its sequences", async () => {
    const group = lookup({ 5: { values: { name: "five" } }, 6: { role: true, values: { name: "six" } } });
    await settle(stack, group, LOOKUP);
    assert.deepEqual((await plan(stack, group, undefined, LOOKUP)).steps, []);
    assert.equal(await writes("lookup_app", "coordinator", "5", "SELECT * FROM plans"), 1);
    assert.equal(await writes("lookup_6", "coordinator", undefined, "SELECT * FROM plans"), 1);
    assert.match(
        String(await writes("lookup_app", "coordinator", "5", "DELETE FROM plans RETURNING id")),
        /permission denied/,
    );
    assert.equal(
        await writes("lookup_app", "coordinator", "5", "INSERT INTO tickets (owner) VALUES (5) RETURNING no"),
        1,
    );
    assert.equal(
        await writes("lookup_6", "coordinator", undefined, "INSERT INTO tickets (owner) VALUES (6) RETURNING no"),
        1,
    );
    assert.equal(await writes("lookup_app", "coordinator", "5", "SELECT * FROM tickets"), 1);
    // another column that has the value already: told, and no tenant without a row
    const clash = lookup({ ...group.tenants, 7: { values: { name: "five" } } });
    await assert.rejects(
        settle(stack, clash, LOOKUP),
        /7: its row could not be put into owners\n.*duplicate key value violates unique constraint "owners_name_key".*it is no tenant yet/s,
    );
    assert.deepEqual(
        await stack.sql("SELECT tenant FROM citus_as_code.tenant WHERE grp = 'lookup' AND tenant = '7'"),
        [],
    );
    await settle(stack, lookup({ ...group.tenants, 7: { values: { name: "seven" } } }), LOOKUP);
});

test("a change of model to a group whose key is a number says which tenant and what to write", async () => {
    const { refusals } = await plan(stack, {
        ...keys({ tenants: { acme: { from: { group: "lookup", tenant: "5" } } } }),
    });
    assert.match(
        refusals.join("\n"),
        /acme: its data comes from lookup\/5, and its key here must be a value of firms.id, which is of type bigint: write tenants: \{"<its key>": \{"from": "lookup\/5"\}\}/,
    );
});
