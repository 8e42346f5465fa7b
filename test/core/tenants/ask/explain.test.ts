/** EXPLAIN (FORMAT JSON) of Citus 14.0.1 on PostgreSQL 17, as it came, in words. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { describe, test } from "vitest";
import type { Session } from "../../../../core/reach/session.ts";
import { advise, adviseError, type KnownTable, parseExplain } from "../../../../core/tenants/ask/explain.ts";
import { explainStatement, renderAdvice, written } from "../../../../scripts/tenants/explain.ts";

const PLANS = JSON.parse(readFileSync(new URL("snapshots/explain.json", import.meta.url), "utf8")) as Record<
    string,
    unknown
>;

const users: KnownTable = {
    name: "users",
    kind: "distributed",
    column: "company_id",
    shards: 32,
    copies: 1,
    policies: false,
};
const TABLES: Readonly<Record<string, KnownTable>> = {
    users,
    companies: { ...users, name: "companies", column: "id" },
    plans: { name: "plans", kind: "reference", shards: 1, copies: 3, policies: false },
    t: { name: "acme.t", kind: "single", shards: 1, copies: 1, policies: false },
};

/** Tables by the shards that a plan names. */
function known(plan: unknown, tables = TABLES): Map<number, KnownTable> {
    const found = new Map<number, KnownTable>();
    for (const [, name = "", shard] of JSON.stringify(plan).matchAll(/"Relation Name":"(\w+)_(\d+)"/g)) {
        const table = tables[name];
        if (table) found.set(Number(shard), table);
    }
    return found;
}

const CASES: readonly (readonly [string, string, number, RegExp])[] = [
    ["router", "one", 1, /^The statement asks 1 of 32 shards of users on worker-2: the condition on company_id/],
    ["insertRow", "one", 1, /^The statement asks 1 of 32 shards of users on worker-2/],
    ["several", "several", 3, /3 of 32 shards of users: it is about several values of company_id/],
    ["fanOut", "all", 32, /32 of 32 shards of users: nothing in it says which company_id/],
    ["join", "all", 32, /32 of 32 shards of users, companies/],
    ["deleteAll", "all", 32, /32 of 32 shards of users/],
    ["insertColocated", "all", 32, /32 of 32 shards of users/],
    ["subplan", "all", 32, /A part that runs first asks 32 of 32 shards of users/],
    ["repartition", "moves rows", 12, /32 tasks read, 12 collect; 32 tasks read, 12 collect/],
    ["insertRepartition", "moves rows", 32, /sends each row to the node where it belongs/],
    ["insertPull", "moves rows", 32, /collects every row on the coordinator/],
    [
        "referenceWrite",
        "every copy",
        1,
        /^The reference table plans: although there is one task, it writes all 3 copies/,
    ],
    ["referenceRead", "one", 1, /1 copy of plans on coordinator/],
    ["schema", "one", 1, /1 shard on worker-1: acme\.t has no others/],
    ["local", "coordinator", 0, /^The coordinator answers by itself/],
];

describe("a statement in words", () => {
    for (const [name, verdict, tasks, says] of CASES) {
        test(`${name}: ${verdict}`, () => {
            const explained = parseExplain(PLANS[name]);
            const advice = advise(explained, known(PLANS[name]), [users]);
            assert.equal(advice.verdict, verdict);
            assert.equal(explained.tasks, tasks);
            assert.match(advice.says.join("\n"), says);
            assert.equal(advice.fix.length === 0, ["one", "coordinator"].includes(verdict), advice.fix.join());
        });
    }

    test("every plan is looked at", () =>
        assert.deepEqual(Object.keys(PLANS).sort(), CASES.map(([name]) => name).sort()));

    test("text is read like an object", () =>
        assert.deepEqual(parseExplain(JSON.stringify(PLANS.subplan)), parseExplain(PLANS.subplan)));

    test("the fix names the table's own key", () => {
        const fix = (name: string) => advise(parseExplain(PLANS[name]), known(PLANS[name]), [users]).fix.join("\n");
        assert.match(fix("fanOut"), /condition {2}company_id = <the tenant>/);
        assert.match(fix("join"), /condition {2}users\.company_id = <the tenant>/);
        assert.match(fix("repartition"), /Join by the tenant's key too/);
        assert.match(fix("subplan"), /In a part that runs first: add the condition {2}company_id = <the tenant>/);
    });

    test("the fix is what can be written where it stands", () => {
        const fix = (name: string, tables: readonly KnownTable[], where?: boolean) =>
            advise(parseExplain(PLANS[name]), known(PLANS[name]), tables, where).fix.join("\n");
        assert.match(fix("deleteAll", [users], false), /^Add {2}WHERE company_id = <the tenant> {2}/);
        assert.match(fix("deleteAll", [users], true), /^Add {2}AND company_id = <the tenant> {2}/);
        const joined = [
            { ...users, as: "u" },
            { ...users, name: "companies", column: "id", as: "c" },
        ];
        assert.match(fix("join", joined, false), /^Add {2}WHERE u\.company_id = <the tenant> {2}/);
        assert.match(fix("repartition", joined), /add {2}AND u\.company_id = c\.id {2}to the join/);
    });

    test("what a statement says of its tables", async () => {
        const of = async (sql: string) => {
            const { where, tables } = await written(sql);
            return [where, ...tables.map(({ name, as }) => `${name} ${as}`)];
        };
        assert.deepEqual(await of("SELECT count(*) FROM projects"), [false, '"projects" projects']);
        assert.deepEqual(await of("DELETE FROM projects"), [false, '"projects" projects']);
        assert.deepEqual(await of("UPDATE a.b x SET y = 1 WHERE z = 2"), [true, '"a"."b" x']);
        assert.deepEqual(await of("SELECT * FROM users u JOIN projects p ON p.owner = u.id"), [
            false,
            '"users" u',
            '"projects" p',
        ]);
        assert.deepEqual(await of("WITH c AS (SELECT 1 FROM users) SELECT * FROM c"), [undefined, '"users" users']);
        assert.deepEqual(await of("SELECT 1 FROM users UNION SELECT 2 FROM users"), [
            undefined,
            '"users" users',
            '"users" users',
        ]);
        assert.deepEqual(await of("SELECT FROM"), [undefined]);
    });

    test("an INSERT whose column draws from a sequence is explained without its plan, which would draw a number", async () => {
        const asked: string[] = [];
        /** What a coordinator answers whose table `orders` has a bigserial. @param failure of EXPLAIN */
        const session = (kind: KnownTable["kind"], failure: string) =>
            ({
                query: async (sql: string) => {
                    asked.push(sql);
                    if (sql.startsWith("EXPLAIN")) throw new Error(`coordinator: ${sql} failed\n  ${failure}`);
                    if (sql.includes("to_regclass(v.name)")) return [{ oid: "1" }];
                    if (!sql.includes("pg_dist_shard")) return [];
                    const column = kind === "distributed" ? "shop_id" : null;
                    return [
                        {
                            shard: "102",
                            oid: "1",
                            name: "orders",
                            colocation: 1,
                            kind,
                            column,
                            shards: 32,
                            copies: 3,
                            policies: true,
                        },
                    ];
                },
            }) as unknown as Session;
        const draws = "cannot execute nextval() in a read-only transaction";
        const one = "INSERT INTO orders (shop_id, item) VALUES (1, 'x')";
        const shard = await explainStatement(session("distributed", draws), one);
        assert.deepEqual([shard.verdict, shard.tasks], ["one", 1]);
        assert.deepEqual(shard.says, ["The statement asks 1 of 32 shards of orders: the value of shop_id says which."]);
        const rows = "INSERT INTO orders (item) VALUES ('x'), ('y')";
        assert.equal((await explainStatement(session("single", draws), rows)).verdict, "one");
        assert.equal((await explainStatement(session("reference", draws), rows)).verdict, "every copy");
        await assert.rejects(
            explainStatement(session("distributed", draws), rows),
            /cannot execute nextval.*\nPlanning it would use up a number of a sequence, and explain changes nothing\. Write a number/s,
        );
        assert.deepEqual(
            asked.filter((sql) => sql.startsWith("BEGIN")),
            Array(4).fill("BEGIN READ ONLY"),
        );
        await assert.rejects(
            explainStatement(session("distributed", 'relation "students" does not exist'), "SELECT * FROM students"),
            /found as that tenant: npm run tenants -- explain --as GROUP\/TENANT/,
        );
        const as = ["SELECT set_config('role', 'school_north', true)"];
        await assert.rejects(
            explainStatement(session("distributed", 'relation "x" does not exist'), "SELECT * FROM x", as),
            (error: Error) => !error.message.includes("--as"),
        );
    });

    test("a statement of the coordinator's own sounds like no error, and a refusal has no one shard", () => {
        const own = advise(parseExplain(PLANS.local), new Map());
        assert.match(renderAdvice({ ...own, tasks: 0 }), /^the coordinator alone\n/);
        const text = renderAdvice({ verdict: "refused", tasks: null, says: ["No."], fix: ["Ask twice."] });
        assert.equal(text, "Citus refuses it\n\nNo.\n\ninstead\n  Ask twice.");
    });

    test("policies choose no shard", () => {
        const advice = advise(
            parseExplain(PLANS.fanOut),
            known(PLANS.fanOut, { ...TABLES, users: { ...users, policies: true } }),
        );
        assert.match(
            advice.says.join("\n"),
            /policies of users hide other tenants' rows, but they do not choose a shard: every shard is asked all the same/,
        );
    });

    test("shards that nobody knows are counted all the same", () => {
        const advice = advise(parseExplain(PLANS.fanOut), new Map());
        assert.equal(advice.verdict, "all");
        assert.match(advice.says[0] ?? "", /asks 32 shards/);
    });

    test("what a worker could not explain is said", () => {
        const plan = JSON.parse(
            JSON.stringify(PLANS.router).replace(/"Remote Plan":.*?\]\]/, '"Error":"Could not get remote plan."'),
        );
        const explained = parseExplain(plan);
        assert.equal(explained.failed, "Could not get remote plan.");
        assert.match(advise(explained, new Map()).says.join("\n"), /Could not get remote plan/);
    });

    test("what Citus refuses to plan", () => {
        assert.equal(
            adviseError("coordinator: EXPLAIN failed\n  the query contains a join that requires repartitioning")
                ?.verdict,
            "moves rows",
        );
        assert.match(
            adviseError("complex joins are only supported when all distributed tables are co-located and joined")
                ?.fix[0] ?? "",
            /Join by the tenant's key/,
        );
        assert.equal(adviseError('relation "users" does not exist'), undefined);
        const tables = [
            { ...users, as: "u" },
            { ...users, name: "projects", as: "p" },
        ];
        assert.match(
            adviseError("the query contains a join that requires repartitioning", tables)?.fix[0] ?? "",
            /add {2}AND u\.company_id = p\.company_id {2}to the join/,
        );
    });

    test("tenants' schemas are never joined", () => {
        const single = (name: string, colocation: number): KnownTable => ({
            name,
            kind: "single",
            shards: 1,
            copies: 1,
            policies: false,
            colocation,
        });
        for (const message of [
            "the query contains a join that requires repartitioning",
            "cannot perform distributed planning on this query\n  DETAIL: Cartesian products are currently unsupported",
            "router planner does not support queries that reference non-colocated distributed tables",
            "complex joins are only supported when all distributed tables are joined on their distribution columns with equal operator",
        ]) {
            const advice = adviseError(message, [single("acme.t", 1), single("globex.t", 2)]);
            assert.equal(advice?.verdict, "refused");
            assert.match(advice?.says[0] ?? "", /acme\.t and globex\.t are in schemas of different tenants/);
            assert.doesNotMatch(JSON.stringify(advice), /colocate|AND/);
            assert.match(adviseError(message, [single("acme.t", 1), users])?.says[0] ?? "", /acme\.t and users/);
            assert.notEqual(adviseError(message, [single("acme.t", 1), single("acme.other", 1)])?.verdict, "refused");
        }
    });
});
