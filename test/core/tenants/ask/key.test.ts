/** Whether a distribution key is judged rightly, from values, shards and statements. */
import assert from "node:assert/strict";
import { test } from "vitest";
import { explainReference } from "../../../../core/citus/references.ts";
import { sumValues } from "../../../../core/tenants/ask/keyFacts.ts";
import { judgeKey, type KeyFacts, poorKey } from "../../../../core/tenants/ask/keyJudge.ts";
import { countNamed, readStatement } from "../../../../core/tenants/ask/keyStatements.ts";
import type { GroupSpec } from "../../../../core/tenants/group/spec.ts";
import { askedKeys, renderKeys } from "../../../../scripts/tenants/key.ts";
import { EMPTY } from "../../../tenants.ts";

const GOOD: KeyFacts = {
    table: "companies",
    column: "id",
    type: "bigint",
    isEnum: false,
    shards: 32,
    distributed: true,
    values: { distinct: 5000, nulls: 0, biggest: 0.01, rows: 100_000 },
    largest: { shard: "102008", node: "worker-1", bytes: 20_000_000, mean: 15_000_000 },
    statements: { calls: 1000, milliseconds: 500, namedCalls: 950, namedMilliseconds: 450 },
};
const said = (more: Partial<KeyFacts>) =>
    judgeKey({ ...GOOD, ...more }).map(({ severity, says }) => `${severity} ${says}`);

test("a key with many values, even shards and statements that name it is right", () => {
    assert.deepEqual(said({}), []);
    // a small table is not judged by chance
    assert.deepEqual(said({ values: { distinct: 3, nulls: 0, biggest: 0.4, rows: 3 } }), []);
    assert.deepEqual(
        said({ values: { distinct: null, nulls: null, biggest: null, rows: 0 }, statements: null, largest: null }),
        [],
    );
});

test("few values, NULLs, one large value, a large shard and statements that do not name it are each said", () => {
    const status = { column: "status", values: { distinct: 4, nulls: 0, biggest: 0.71, value: "paid", rows: 100_000 } };
    assert.deepEqual(said(status), [
        "error companies.status has 4 values for 32 shards: 28 stay empty; 71 % of rows in 1 (paid)",
    ]);
    assert.match(
        said({ values: { ...GOOD.values, distinct: 50 } }).join(),
        /^warning companies.id has 50 values for 32 shards/,
    );
    assert.match(
        said({ values: { ...GOOD.values, nulls: 0.03 } }).join(),
        /^error 3 % of the rows of companies have no id/,
    );
    assert.match(
        said({ values: { ...GOOD.values, biggest: 0.4, value: "42" } }).join(),
        /^warning 40 % of the rows .* \(42\).*isolate/,
    );
    assert.match(
        said({ largest: { shard: "1", node: "worker-2", bytes: 90_000_000, mean: 20_000_000 } }).join(),
        /^warning shard 1 of companies on worker-2 has 90 MB, 4.5 times the mean of 20 MB/,
    );
    assert.match(
        said({ statements: { calls: 1000, milliseconds: 1000, namedCalls: 20, namedMilliseconds: 5 } }).join(),
        /^error 2 % of the statements that ask companies name id \(under 1 % of their time\).*all 32 shards/,
    );
    assert.match(
        said({ type: "boolean", values: { ...GOOD.values, distinct: null } }).join(),
        /^error companies.id is boolean/,
    );
    assert.match(said({ type: "timestamp with time zone" }).join(), /^warning companies.id is a timestamp/);
});

test("what a name and a type say before there is a row", () => {
    for (const [column, type, isEnum] of [
        ["active", "boolean", false],
        ["created_at", "timestamp with time zone", false],
        ["status", "text", false],
        ["mood", "mood", true],
        ["is_paid", "integer", false],
        ["user_type", "text", false],
    ] as const)
        assert.notEqual(poorKey(column, type, isEnum), undefined, column);
    for (const column of ["id", "company_id", "tenant", "region", "stateroom_id", "typeface_id"])
        assert.equal(poorKey(column, "bigint"), undefined, column);
});

test("the values of a distributed table are those of its shards, where each key is in one", () => {
    const shard = (
        rows: number,
        distinct: number | null,
        biggest: number | null = null,
        value: string | null = null,
    ) => ({
        rows,
        distinct,
        nulls: distinct === null ? null : 0,
        biggest,
        value,
    });
    assert.deepEqual(sumValues([shard(100, 10, 0.5, "a"), shard(300, 5, 0.2, "b"), shard(-1, null)]), {
        rows: 400,
        distinct: 15,
        nulls: 0,
        biggest: 0.15,
        value: "b",
    });
    assert.equal(sumValues([shard(-1, null)]).distinct, null);
});

test("a statement names a column where it compares it with a value, and not with another column", async () => {
    const names = async (sql: string) => [...((await readStatement(sql))?.columns ?? [])].sort();
    assert.deepEqual(await names("SELECT * FROM users WHERE company_id = $1 AND email = $2"), ["company_id", "email"]);
    assert.deepEqual(await names("SELECT * FROM users u JOIN companies c ON c.id = u.company_id WHERE $1 = c.id"), [
        "id",
    ]);
    assert.deepEqual(await names("DELETE FROM users WHERE company_id IN ($1, $2)"), ["company_id"]);
    assert.deepEqual(await names("UPDATE users SET email = $1 WHERE company_id = ANY ($2)"), ["company_id"]);
    assert.deepEqual(await names("SELECT * FROM users WHERE company_id > $1"), []);
    assert.equal(await readStatement("VACUUM users"), undefined);
    assert.equal(await readStatement("SELECT nonsense FROM"), undefined);
    const ran = [
        { query: "SELECT * FROM users WHERE company_id = $1", calls: 90, milliseconds: 9 },
        { query: 'SELECT * FROM "public"."users" WHERE email = $1', calls: 10, milliseconds: 91 },
        { query: "INSERT INTO users (company_id, email) VALUES ($1, $2)", calls: 5, milliseconds: 1 },
        { query: "INSERT INTO users SELECT * FROM other", calls: 1, milliseconds: 1 },
        { query: "SELECT * FROM sales.users WHERE company_id = $1", calls: 7, milliseconds: 7 },
        { query: "SELECT * FROM users_archive WHERE company_id = $1", calls: 7, milliseconds: 7 },
    ];
    assert.deepEqual(await countNamed(ran, { schema: "public", name: "users" }, "company_id"), {
        calls: 106,
        milliseconds: 102,
        namedCalls: 95,
        namedMilliseconds: 10,
    });
});

test("which keys are asked about: a group's, one table's, or all, and what is distributed beside them", () => {
    const shop: GroupSpec = {
        ...EMPTY,
        name: "shop",
        model: "row",
        anchor: "companies",
        tables: {
            companies: { kind: "distributed", column: "id", shardCount: 8 },
            users: { kind: "distributed", column: "company_id" },
            plans: { kind: "reference" },
        },
    };
    const there = [
        { table: "companies", column: "id" },
        { table: "events", column: "device" },
    ];
    const names = (name?: string) => askedKeys([shop], there, name).map(({ table, column }) => `${table}.${column}`);
    assert.deepEqual(names(), ["companies.id", "users.company_id", "events.device"]);
    assert.deepEqual(names("shop"), ["companies.id", "users.company_id"]);
    assert.deepEqual(names("public.events"), ["events.device"]);
    assert.deepEqual(askedKeys([shop], there, "users"), [{ table: "users", column: "company_id", shards: 8 }]);
    assert.throws(() => names("plan"), /plan is neither a group .*There are shop, companies, users, events/);
    const text = renderKeys([{ ...GOOD, findings: [{ severity: "error", says: "wrong" }] }]);
    assert.match(text, /companies by id \(bigint\): 100,000 rows, 32 shards/);
    assert.match(text, /ERROR {3}wrong\n {2}to change {3}declare another distributeBy/);
    assert.match(renderKeys([]), /nothing is distributed/);
});

test("a reference table that is large or often changed is named, with its numbers", () => {
    const plans = { table: "plans", bytes: 2_300_000_000, copies: 11, perMinute: 40 };
    const said = explainReference(plans);
    assert.equal(said.length, 2);
    assert.match(said[0] ?? "", /^reference table plans has 2.30 GB × 11 nodes/);
    assert.match(said[1] ?? "", /^40 rows a minute of reference table plans are changed/);
    assert.deepEqual(explainReference({ ...plans, bytes: 1_000_000, perMinute: 0.5 }), []);
});
