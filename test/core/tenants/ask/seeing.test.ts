/** What costs most, for whom, who waits, and what was prepared and not ended: decisions on what nodes said. */
import assert from "node:assert/strict";
import { describe, test } from "vitest";
import { readBackends } from "../../../../core/citus/health/activity.ts";
import { needsAttention, sentence } from "../../../../core/citus/health/read/finding.ts";
import { describeCounts, type Prepared, preparedFindings } from "../../../../core/citus/health/read/transactions.ts";
import { explainFailedJob } from "../../../../core/citus/rebalance/jobTasks.ts";
import { comparedColumns, lookupTable } from "../../../../core/tenants/ask/cure.ts";
import { type HotAnswer, weighTenants } from "../../../../core/tenants/ask/hot.ts";
import { mergeStatements, withValues } from "../../../../core/tenants/ask/slow.ts";
import { Round } from "../../../../core/tenants/group/ask.ts";
import { renderActivity } from "../../../../scripts/status/activity.ts";
import { written } from "../../../../scripts/tenants/explain.ts";
import { renderHot } from "../../../../scripts/tenants/hot.ts";
import { renderSlow } from "../../../../scripts/tenants/slow.ts";

const host = (name: string) => `${name}.citus-dev.node`;
const said = (name: string, result: object) => ({ host: host(name), success: true, result: JSON.stringify(result) });
const silent = (name: string) => ({ host: host(name), success: false, result: "could not connect" });

describe("statements that cost most", () => {
    const entry = (text: string, total: number, more: object = {}) => ({
        role: "billing_app",
        text,
        calls: 10,
        total,
        rows: 5,
        keyed: null,
        keys: null,
        ...more,
    });
    const of = (statements: object[] | null, tracked = false) => ({
        since: "2026-11-01T10:00:00Z",
        tracked,
        statements,
    });
    const look = (...nodes: Parameters<typeof mergeStatements>[0]["nodes"][number][]) =>
        mergeStatements({
            nodes,
            shards: [102_040, 102_041],
            tables: ["users", "companies", "events_202601", "Odd Table"],
        });

    test("the same one of several nodes is one, and shares are of what is there", () => {
        const { statements } = look(
            said("coordinator", of([entry("SELECT * FROM users WHERE company_id = $1", 30)])),
            said(
                "worker-1",
                of([entry("SELECT * FROM users WHERE company_id = $1", 30), entry("UPDATE companies SET a = $1", 40)]),
            ),
            said("worker-2", of(null)),
        );
        assert.deepEqual(
            statements.map(({ text, calls, total, nodes, share }) => [text, calls, total, nodes, share]),
            [
                ["SELECT * FROM users WHERE company_id = $1", 20, 60, ["coordinator", "worker-1"], 0.6],
                ["UPDATE companies SET a = $1", 10, 40, ["worker-1"], 0.4],
            ],
        );
    });

    test("what workers do for shards, and what is about no table, is no client's statement", () => {
        const { statements } = look(
            said(
                "worker-1",
                of([
                    entry("SELECT count(*) FROM public.users_102040 users", 1),
                    entry('SELECT "company_id" FROM "public"."users_102041"', 1),
                    entry("SELECT jsonb_build_object($1, x) FROM pg_dist_node", 1),
                    entry("SELECT pg_reload_conf()", 1),
                    entry("SELECT * FROM events_202601", 1),
                    entry('SELECT * FROM "Odd Table"', 1),
                    entry("SELECT * FROM USERS", 1),
                ]),
            ),
        );
        assert.deepEqual(statements.map(({ text }) => text).sort(), [
            'SELECT * FROM "Odd Table"',
            "SELECT * FROM USERS",
            "SELECT * FROM events_202601",
        ]);
    });

    test("a node that does not answer is named, and is no node without statements", () => {
        const view = look(said("coordinator", of([entry("SELECT 1 FROM users", 1)], true)), silent("worker-2"));
        assert.deepEqual(view.silent, [{ node: "worker-2", reason: "could not connect" }]);
        assert.match(
            renderSlow({ ...view, statements: [], of: 0 }),
            /worker-2 gave no answer, and its statements are missing/,
        );
        assert.equal(view.tracked, true);
        assert.equal(look(silent("coordinator")).tracked, false);
    });

    test("calls that named a tenant are added up where they are counted", () => {
        const [one] = look(
            said("coordinator", of([entry("SELECT 1 FROM users", 1, { keyed: 4, keys: 3 })], true)),
            said("worker-1", of([entry("SELECT 1 FROM users", 1, { keyed: 2, keys: 5 })], true)),
            said("worker-2", of([entry("SELECT 1 FROM users", 1)], true)),
        ).statements;
        assert.deepEqual([one?.keyed, one?.keys, one?.calls], [6, 5, 30]);
    });

    test("parameters get values of their types", () => {
        assert.equal(
            withValues("SELECT $1, $2, $10 FROM t WHERE a = ANY($3)", ["bigint", "text", "uuid[]"]),
            `SELECT ('1'::bigint), ('x'::text), $10 FROM t WHERE a = ANY(('{"00000000-0000-0000-0000-000000000000"}'::uuid[]))`,
        );
        assert.equal(
            withValues("$1 $2 $3", ["plan", "character varying", "jsonb"]),
            "(NULL::plan) ('x'::character varying) ('{}'::jsonb)",
        );
    });
});

describe("a lookup by another column", () => {
    test("columns that are compared with one value", async () => {
        const of = async (sql: string) => (await written(sql)).compared;
        assert.deepEqual(await of("SELECT * FROM users WHERE email = $1"), ["email"]);
        assert.deepEqual(await of("SELECT * FROM users u WHERE $1 = u.email AND active = true"), ["email", "active"]);
        assert.deepEqual(await of("SELECT * FROM users WHERE email = $1 OR id = $2"), []);
        assert.deepEqual(await of("SELECT * FROM users WHERE lower(email) = $1"), []);
        assert.deepEqual(await of("SELECT * FROM users WHERE email > $1 AND a = b"), []);
        assert.deepEqual(await of("SELECT * FROM users"), []);
        assert.equal(await of("UPDATE users SET a = 1 WHERE email = $1"), undefined);
        assert.deepEqual(comparedColumns(undefined), []);
    });

    test("SQL that names odd tables rightly", () => {
        const sql = lookupTable({
            table: 'shop."Odd ""Users"',
            key: "company_id",
            keyType: "bigint",
            column: "E-Mail",
            columnType: "text",
        });
        assert.equal(
            sql[0],
            'CREATE TABLE "Odd ""Users_by_E-Mail" ("E-Mail" text NOT NULL, "company_id" bigint NOT NULL, PRIMARY KEY ("E-Mail", "company_id"));',
        );
        assert.equal(sql[1], `SELECT create_reference_table('"Odd ""Users_by_E-Mail"');`);
        const long = lookupTable({
            table: "u".repeat(60),
            key: "k",
            keyType: "int",
            column: "ä".repeat(9),
            columnType: "text",
        });
        assert.ok(Buffer.byteLength(/CREATE TABLE "(.*?)"/.exec(long[0] ?? "")?.[1] ?? "") <= 63);
    });
});

describe("tenants that the cluster works for", () => {
    const map = {
        format: 1,
        version: "a",
        generatedAt: "",
        database: "app",
        default: "coordinator",
        nodes: {
            coordinator: { host: "c", port: 1 },
            "worker-1": { host: "a", port: 2 },
            "worker-2": { host: "b", port: 3 },
        },
        groups: {
            billing: {
                model: "row",
                anchor: "companies",
                keyType: "bigint",
                hash: "hashint8",
                // 42 hashes to 1509752520
                ranges: [
                    [-2147483648, 1509752519, "worker-1"],
                    [1509752520, 1509752520, "worker-2"],
                    [1509752521, 2147483647, "worker-2"],
                ],
            },
            clinics: { model: "schema", schemas: { acme: "worker-2" } },
        },
        tombstones: {},
    };
    const counted = (colocation: number, tenant: string | null, queries: number, cpu: number) => ({
        colocation,
        tenant,
        queries,
        cpu,
    });
    const answer = (more: Partial<HotAnswer> = {}): HotAnswer => ({
        map,
        period: 60,
        nodes: [
            said("worker-1", { on: true, tenants: [counted(2, "1", 70, 50), counted(9, "x", 5, 5)] }),
            said("worker-2", {
                on: true,
                tenants: [counted(2, "42", 10, 30), counted(5, "acme", 20, 10), counted(2, "1", 0, 10)],
            }),
        ],
        workers: [host("worker-1"), host("worker-2")],
        groups: { billing: { model: "row", pinned: [] }, clinics: { model: "schema", pinned: [] } },
        colocations: { 2: { group: "billing" }, 5: { group: "clinics", tenant: "acme" } },
        ...more,
    });

    test("are added up over nodes, with their shares, the busiest first", () => {
        const { tenants, load } = weighTenants(answer());
        assert.deepEqual(
            tenants.map(({ group, tenant, cpu, cpuShare, queryShare, place, shared }) => [
                group,
                tenant,
                cpu,
                cpuShare,
                queryShare,
                place,
                shared,
            ]),
            [
                ["billing", "1", 60, 0.6, 0.7, "worker-1", true],
                ["billing", "42", 30, 0.3, 0.1, "worker-2", false],
                ["clinics", "acme", 10, 0.1, 0.2, "worker-2", false],
            ],
        );
        assert.deepEqual(load, { "worker-1": 60, "worker-2": 40 });
    });

    test("the busy one gets the line that gives it a place", () => {
        const [first, second, third] = weighTenants(answer()).tenants;
        assert.match(
            first?.advice?.why ?? "",
            /shares? shards with other tenants: give it shards of its own on worker-1/,
        );
        assert.equal(
            first?.advice?.config,
            `npm run pulumi -- config set --path 'citus:tenantGroups.billing.tenants["1"].node' worker-1`,
        );
        assert.equal(first?.advice?.program, 'tenants: { "1": { node: "worker-1" } }');
        assert.match(second?.advice?.why ?? "", /keep it on worker-2, which has the least/);
        assert.equal(third?.advice, undefined);
    });

    test("no advice where it is pinned already, or where nothing is gained", () => {
        const pinned = weighTenants(
            answer({ groups: { billing: { model: "row", pinned: ["42"] }, clinics: { model: "schema", pinned: [] } } }),
        );
        assert.equal(pinned.tenants.find(({ tenant }) => tenant === "42")?.advice, undefined);
        const idle = weighTenants(
            answer({ nodes: [said("worker-1", { on: true, tenants: [counted(2, "1", 2, 0.01)] })] }),
        );
        assert.deepEqual([idle.tenants[0]?.cpuShare, idle.tenants[0]?.advice], [1, undefined]);
    });

    test("nodes that do not count or do not answer are named", () => {
        const view = weighTenants(
            answer({ nodes: [said("worker-1", { on: false, tenants: [] }), silent("worker-2")] }),
        );
        assert.deepEqual([view.untracked, view.silent.length], [["worker-1"], 1]);
        const text = renderHot(view, 20);
        assert.match(text, /not counted on worker-1\. npm run pulumi -- config set/);
        assert.match(text, /worker-2 gave no answer, and its part is missing/);
    });
});

describe("who works and who waits", () => {
    const backend = (gpid: string, more: object = {}) => ({
        gpid,
        pid: Number(gpid.slice(-3)),
        worker: false,
        role: "billing_app",
        application: "api",
        state: "active",
        seconds: 3,
        statement: 1,
        wait: null,
        query: "SELECT 1",
        ...more,
    });

    test("what Citus does on other nodes belongs to its client, and tells whose it is", () => {
        const view = readBackends({
            nodes: [
                said("coordinator", [
                    backend("10000000101", { seconds: 9 }),
                    backend("10000000102", { role: "billing_7", state: "idle in transaction", seconds: 20 }),
                    backend("10000000103", { role: "postgres" }),
                ]),
                said("worker-1", [
                    backend("10000000101", { worker: true, query: '/*{"cId":2,"tId":"a\\"b"}*/ UPDATE users_102040' }),
                    backend("10000000103", { worker: true, query: '/*{"cId":5}*/ SELECT FROM acme.visits_102050' }),
                ]),
                silent("worker-2"),
            ],
            waits: [{ waiting: "10000000101", blocking: "10000000102" }],
            groups: ["billing", "bill"],
            colocations: { 2: "billing", 5: "clinics/acme" },
        });
        assert.deepEqual(
            view.active.map(({ gpid, tenant, waitsFor }) => [gpid, tenant, waitsFor]),
            [
                ["10000000102", "billing/7", []],
                ["10000000101", 'billing/a"b', ["10000000102"]],
                ["10000000103", "clinics/acme", []],
            ],
        );
        const text = renderActivity(view);
        assert.match(text, /billing_7, process 102 on coordinator/);
        assert.match(text, /3 at work, 1 of them waiting/);
        assert.match(text, /worker-2 gave no answer/);
    });
});

describe("transactions over several nodes", () => {
    const nodes = [
        { groupId: 0, host: host("coordinator") },
        { groupId: 1, host: host("worker-1") },
    ];
    const prepared = (gid: string, seconds: number, more: Partial<Prepared> = {}): Prepared => ({
        node: "worker-1",
        gid,
        owner: "app",
        database: "app",
        here: true,
        seconds,
        ...more,
    });
    const explain = (one: Prepared, decided: string[] = [], away: string[] = []) => {
        const found = preparedFindings({ prepared: [one], decided, silent: [] }, nodes, away);
        return {
            problems: found.filter(needsAttention).map(sentence),
            notes: found.filter((finding) => !needsAttention(finding)).map(sentence),
        };
    };

    test("one of Citus says what its beginner decided, and is a problem after ten minutes", () => {
        const gid = "citus_0_123_45_0";
        assert.match(
            explain(prepared(gid, 90), [gid]).notes[0] ?? "",
            /coordinator committed it, and Citus' recovery finishes/,
        );
        assert.match(explain(prepared(gid, 90)).notes[0] ?? "", /coordinator did not commit it/);
        assert.equal(explain(prepared(gid, 700)).problems.length, 1);
        // nobody is told to end by hand what somebody else knows the end of
        for (const text of [...explain(prepared(gid, 700)).problems, ...explain(prepared(gid, 700), [gid]).problems])
            assert.doesNotMatch(text, /(COMMIT|ROLLBACK) PREPARED/);
    });

    test("whose beginner is away waits for it, whose beginner left is a person's", () => {
        const away = explain(prepared("citus_0_123_45_0", 700), [], [host("coordinator")]);
        assert.match(away.problems[0] ?? "", /does not answer.*Leave it until then/);
        const left = explain(prepared("citus_9_123_45_0", 61));
        assert.match(
            left.problems[0] ?? "",
            /has left the cluster.*COMMIT PREPARED 'citus_9_123_45_0' or ROLLBACK PREPARED/,
        );
        assert.match(
            explain(prepared("citus_0_1_2_3", 61, { here: false, database: "other" })).notes[0] ?? "",
            /database other/,
        );
    });

    test("a user's own is theirs for an hour, and named", () => {
        assert.match(explain(prepared("it's", 61)).notes[0] ?? "", /ROLLBACK PREPARED 'it''s'/);
        assert.deepEqual(
            explain(prepared("it's", 7200)),
            { problems: [], notes: [] },
            "then it is told of with the node",
        );
    });

    test("counts in one line", () => {
        assert.equal(describeCounts({ commits: 10, prepares: 0, single: null, multi: null }), undefined);
        assert.equal(
            describeCounts({ commits: 1000, prepares: 40, single: 900, multi: 100 }),
            "10 % of 1000 statements asked several shards; 40 parts of transactions over several nodes, at most 4.0 % of 1000 commits",
        );
        assert.match(describeCounts({ commits: 1000, prepares: 0, single: 0, multi: 5 }) ?? "", /100 % of 5/);
    });
});

test("a rebalance that was given up says how to go on", () => {
    const text = explainFailedJob(
        {
            jobId: "7",
            done: 3,
            total: 9,
            message: "ERROR:  could not copy\nCONTEXT: while executing command on worker-2.c.node:5432",
        },
        6,
    );
    assert.match(text, /job 7\) was given up after 3 of 9 tasks: ERROR: {2}could not copy \(on worker-2\)/);
    assert.match(text, /6 shards are still to move\. Remove the cause, then begin a new one/);
});

test("what facets ask of nodes goes to each node once, and each finds its own answer", () => {
    const round = new Round();
    assert.equal(round.clause("$5"), "");
    const [first, second, again] = ["SELECT 'a'", "SELECT 'b'", "SELECT 'a'"].map((sql) => round.ask(sql));
    assert.equal(first, again);
    assert.match(first ?? "", /answers ->> 0 ELSE o\.said/);
    assert.match(second ?? "", /answers ->> 1 ELSE o\.said/);
    assert.match(round.clause("$5"), /jsonb_to_recordset\(\$5::jsonb\)/);
    assert.deepEqual(round.questions, ["SELECT 'a'", "SELECT 'b'"]);
});
