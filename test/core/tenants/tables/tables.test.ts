/** What is planned for tables, rows and policies of tenants, from what is there. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "vitest";
import { DatabaseError, type Session } from "../../../../core/reach/session.ts";
import { batches, describeSteps } from "../../../../core/tenants/group/converge.ts";
import type { Context } from "../../../../core/tenants/group/facet.ts";
import type { GroupSpec } from "../../../../core/tenants/group/spec.ts";
import {
    type FoundBarred,
    commentOf as listComment,
    NOTHING_BARRED,
    wantedDomains,
    writersEnd,
} from "../../../../core/tenants/isolation/barred.ts";
import { planPolicies, wantedPolicies } from "../../../../core/tenants/rows/policiesPlan.ts";
import { type FoundPolicies, NO_POLICIES, type PolicyTable } from "../../../../core/tenants/rows/policyLook.ts";
import { rows } from "../../../../core/tenants/rows/rows.ts";
import { type FoundRows, planRows } from "../../../../core/tenants/rows/rowsPlan.ts";
import { NO_FACTS } from "../../../../core/tenants/tables/besideFacts.ts";
import type { ForeignKey } from "../../../../core/tenants/tables/tableKeys.ts";
import { tables } from "../../../../core/tenants/tables/tables.ts";
import { type FoundTable, type FoundTables, NO_TABLES } from "../../../../core/tenants/tables/tablesFound.ts";
import { planTables } from "../../../../core/tenants/tables/tablesPlan.ts";
import { describeDuration } from "../../../../core/util/describeDuration.ts";
import { EMPTY } from "../../../tenants.ts";

const GROUP: GroupSpec = {
    ...EMPTY,
    name: "shop",
    model: "row",
    anchor: "companies",
    tables: {
        companies: { kind: "distributed", column: "id" },
        users: { kind: "distributed", column: "company_id" },
        plans: { kind: "reference" },
    },
};

const table = (name: string, more: Partial<FoundTable> = {}): FoundTable => ({
    name,
    relkind: "r",
    unlogged: false,
    child: false,
    kind: "local",
    shards: 0,
    column: { type: "bigint", notNull: true, generated: false },
    identity: true,
    uniques: [],
    triggers: [],
    rules: [],
    volatile: [],
    clock: [],
    shortSequences: [],
    bytes: 50_000_000,
    ...more,
});

const distributed = (name: string, by: string, more: Partial<FoundTable> = {}) =>
    table(name, {
        kind: "distributed",
        distributedBy: by,
        colocation: 2,
        declared: 4,
        shards: 4,
        layout: "same",
        columnType: "bigint",
        ...more,
    });

const key = (more: Partial<ForeignKey> = {}): ForeignKey => ({
    name: "fk",
    table: "users",
    columns: ["company_id"],
    references: "companies",
    referenced: ["id"],
    tableKind: "local",
    referencesKind: "local",
    sets: [],
    ...more,
});

const found = (tables: readonly FoundTable[], more: Partial<FoundTables> = {}): FoundTables => ({
    ...NO_TABLES,
    pending: false,
    tables,
    ...more,
});

const LOCAL = [table("companies"), table("users"), table("plans", { column: null })];
const SETTLED = [
    distributed("companies", "id"),
    distributed("users", "company_id"),
    table("plans", { kind: "reference" }),
];

const kinds = (steps: readonly { kind: string; table?: string }[]) =>
    steps.map((s) => `${s.kind.split(".")[1]} ${s.table}`);

test("the reference tables come first, then the anchor, and foreign keys between them are put back last", () => {
    const { steps, refusals } = planTables(GROUP, found(LOCAL, { keys: [key()], rates: { distribute: 10_000_000 } }));
    assert.deepEqual(refusals, []);
    assert.deepEqual(kinds(steps), [
        "setAside users",
        "reference plans",
        "distribute companies",
        "distribute users",
        "putBack users",
    ]);
    assert.match(steps[2]?.text ?? "", /about 5 s/);
    assert.deepEqual(steps[3]?.detail, { column: "company_id", colocateWith: "companies" });
});

test("a reference table whose default each node computes for itself is told of: once a column, or for every row", () => {
    const notes = (more: Partial<FoundTable>) =>
        planTables(GROUP, found([...SETTLED.slice(0, 2), table("plans", { kind: "reference", ...more })])).notes ?? [];
    assert.deepEqual(notes({}), []);
    assert.match(notes({ volatile: ["code"] }).join(), /plans: the default of code .* when such a column is added/);
    assert.match(notes({ clock: ["at"] }).join(), /plans: the default of at .* for every row.* DEFAULT now\(\)/);
});

test("a columnar table is distributed while its writers wait, and only when that is allowed", () => {
    const tables = [LOCAL[0] as FoundTable, table("users", { accessMethod: "columnar", identity: false })];
    const group: GroupSpec = { ...GROUP, tables: { ...GROUP.tables } };
    const asked = planTables(group, found([...tables, table("plans", { column: null })]));
    assert.deepEqual(asked.refusals, [
        "users: is distributed by company_id beside companies, and writes to it wait meanwhile, since changes of access method columnar can't be replicated; 50 MB are copied, about 3 s (at 20 MB/s, since no rate was measured yet on this cluster)\n" +
            `To allow that, put "users" into allow. Otherwise make it a heap table: SELECT alter_table_set_access_method('"public"."users"', 'heap').`,
    ]);
    const allowed = planTables({ ...group, allow: ["users"] }, found([...tables, table("plans", { column: null })]));
    assert.deepEqual(allowed.refusals, []);
    assert.deepEqual(allowed.steps.at(-1)?.detail, { column: "company_id", colocateWith: "companies", blocking: true });
    assert.ok(!JSON.stringify(allowed).includes("REPLICA IDENTITY"));
});

test("tables as declared are no change, also when tenants have shards of their own", () => {
    assert.deepEqual(planTables(GROUP, found(SETTLED)).steps, []);
    const isolated = [distributed("companies", "id", { shards: 6 }), distributed("users", "company_id", { shards: 6 })];
    const counted = {
        ...GROUP,
        tables: { ...GROUP.tables, companies: { kind: "distributed", column: "id", shardCount: 4 } },
    } as GroupSpec;
    assert.deepEqual(planTables(counted, found([...isolated, table("plans", { kind: "reference" })])).steps, []);
});

test("what blocks is refused until it is allowed, with the tables and the time", () => {
    const more = {
        ...GROUP,
        tables: { ...GROUP.tables, companies: { kind: "distributed", column: "id", shardCount: 8 } },
    } as GroupSpec;
    const there = found(
        [
            distributed("companies", "id", { together: { tables: ["companies", "users"], bytes: 2_000_000_000 } }),
            ...SETTLED.slice(1),
        ],
        { rates: { alter: 10_000_000 } },
    );
    const [refusal = ""] = planTables(more, there).refusals ?? [];
    assert.match(
        refusal,
        /companies, users can be neither read nor written meanwhile.*about 4 min.*"companies" into allow/s,
    );
    const allowed = planTables({ ...more, allow: ["companies"] }, there);
    assert.deepEqual([allowed.refusals, kinds(allowed.steps)], [[], ["alter companies"]]);
    const rls = planTables({ ...GROUP, model: "rls" }, found(SETTLED));
    assert.match(rls.refusals?.join() ?? "", /users: is distributed and declared local/);
});

/** Tables that Citus has, with what a new one beside each must have. */
const FACTS = { ...NO_FACTS, key: ["id"] };
const withFacts = (facts: typeof NO_FACTS, bytes = 1_000_000_000) => {
    const member = (name: string, column: string) => ({ name, column, facts, bytes });
    return found(
        [
            distributed("companies", "id", {
                facts,
                together: {
                    tables: ["companies", "users", "audit"],
                    bytes: 3 * bytes,
                    members: [member("companies", "id"), member("users", "company_id"), member("audit", "company_id")],
                },
            }),
            distributed("users", "company_id", { facts }),
            table("plans", { kind: "reference", facts }),
        ],
        { holders: ["worker-1", "worker-2"], rates: { beside: 10_000_000 } },
    );
};
const counted = (shardCount: number, allow: readonly string[] = ["companies"]): GroupSpec => ({
    ...GROUP,
    allow,
    tables: { ...GROUP.tables, companies: { kind: "distributed", column: "id", shardCount } },
});

test("a group gets other shards beside the old ones: every table of it, with time, disk and how long writes wait", () => {
    const { refusals = [] } = planTables(counted(8, []), withFacts(FACTS));
    assert.equal(refusals.length, 1);
    for (const said of [
        /shards change from 4 to 8: companies, audit, users|shards change from 4 to 8: companies, users, audit/,
        /3.00 GB are copied, about 5 min/,
        /writes wait 11 s at most/,
        /1.50 GB on worker-1, 1.50 GB on worker-2/,
        /put "companies" into allow/,
    ])
        assert.match(refusals[0] ?? "", said);
    const { steps } = planTables(counted(8), withFacts(FACTS));
    assert.deepEqual(kinds(steps), ["beside companies"]);
    const { beside } = (steps[0]?.detail ?? {}) as { beside?: { tables: { name: string }[]; shardCount: number } };
    assert.deepEqual([beside?.shardCount, beside?.tables[0]?.name, beside?.tables.length], [8, "companies", 3]);
});

test("the anchor's key changes with its whole group, and what is not declared stays behind and is said", () => {
    const other: GroupSpec = {
        ...GROUP,
        allow: ["companies"],
        tables: {
            ...GROUP.tables,
            companies: { kind: "distributed", column: "region" },
            users: { kind: "distributed", column: "region" },
        },
    };
    const { steps, refusals, notes } = planTables(other, withFacts(FACTS));
    assert.deepEqual([refusals, kinds(steps)], [[], ["beside companies"]]);
    const { beside } = (steps[0]?.detail ?? {}) as { beside?: unknown };
    assert.deepEqual(beside, {
        tables: [
            { name: "companies", target: "distributed", column: "region" },
            { name: "users", target: "distributed", column: "region" },
        ],
        shardCount: 4,
        waiting: false,
        drop: [],
    });
    assert.match(notes?.join() ?? "", /audit .* stays as it is/);
    const bad = withFacts({ ...FACTS, odd: ["it is partitioned"] });
    assert.match(planTables(other, bad).refusals?.join() ?? "", /companies can't be made anew .*it is partitioned/);
});

test("a disk that is too small for old and new tables is a refusal, before anything is made", () => {
    const there = { ...withFacts(FACTS), free: { "worker-1": 1_000_000_000, "worker-2": 90_000_000_000 } };
    assert.match(
        planTables(counted(8), there).refusals?.join() ?? "",
        /worker-1 has 1.00 GB of disk free, and 1.50 GB are needed/,
    );
});

test("what Citus does not rewrite because of an identity column, and can't be made anew, is refused", () => {
    const stiff = withFacts({ ...FACTS, identities: ["id"], odd: ["it has rules (r)"] });
    const said = planTables(counted(8), stiff).refusals?.join("\n") ?? "";
    assert.match(said, /users can't be made anew beside the old table: it has rules \(r\)/);
    assert.match(said, /users has the identity column id, and Citus itself rewrites no such table/);
    const reference: GroupSpec = {
        ...GROUP,
        allow: ["users"],
        tables: { ...GROUP.tables, users: { kind: "reference" } },
    };
    assert.match(planTables(reference, stiff).refusals?.join("\n") ?? "", /users has the identity column id/);
    // without one Citus can do it, while nobody reads or writes
    const loose = withFacts({ ...FACTS, odd: ["it has rules (r)"] });
    assert.deepEqual(kinds(planTables(reference, loose).steps), ["undistribute users", "reference users"]);
    assert.deepEqual(kinds(planTables(reference, withFacts({ ...FACTS, identities: ["id"] })).steps), ["beside users"]);
});

test("a table without a primary key is made anew while its writes wait, which is said", () => {
    const { steps } = planTables(counted(8), withFacts(NO_FACTS));
    assert.match(steps[0]?.text ?? "", /writes wait meanwhile, reads do not \(companies, .*has no primary key/);
    const { beside } = (steps[0]?.detail ?? {}) as { beside?: { waiting: boolean } };
    assert.equal(beside?.waiting, true);
});

test("a foreign key that an earlier run took off is put back as soon as it can be there, and never forgotten without leave", () => {
    const off = { table: "users", name: "fk", key: key({ references: "parts", referencesKind: "local" }) };
    const asked = planTables(GROUP, found(SETTLED, { aside: [off] }));
    assert.match(asked.refusals?.join() ?? "", /foreign key fk of users to parts is off since an earlier run/);
    const given = planTables({ ...GROUP, allow: ["users"] }, found(SETTLED, { aside: [off] }));
    assert.deepEqual([given.refusals, kinds(given.steps)], [[], ["forget users"]]);
    const possible = planTables(GROUP, found(SETTLED, { aside: [{ table: "users", name: "fk", key: key() }] }));
    assert.deepEqual([possible.refusals, kinds(possible.steps)], [[], ["putBack users"]]);
});

test("a table out of its group joins without copying when its shards lie alike, else it is rewritten", () => {
    const apart = (layout: string) =>
        found(
            [SETTLED[0], distributed("users", "company_id", { colocation: 9, layout }), SETTLED[2]].filter(
                (t) => t !== undefined,
            ),
        );
    assert.deepEqual(kinds(planTables(GROUP, apart("same")).steps), ["colocate users"]);
    assert.match(planTables(GROUP, apart("other")).refusals?.join() ?? "", /users: is rewritten beside companies/);
});

test("a foreign key that can't be there afterwards is dropped only where that is allowed", () => {
    for (const [bad, why] of [
        [key({ columns: ["owner"] }), /does not pair/],
        [key({ sets: ["company_id"] }), /sets company_id, the tenant/],
        [key({ references: "parts" }), /parts is local/],
        [key({ table: "other", references: "users" }), /other is local/],
    ] as const) {
        const there = found(LOCAL, { keys: [bad] });
        assert.match(planTables(GROUP, there).refusals?.join() ?? "", why);
        const allowed = planTables({ ...GROUP, allow: [bad.table] }, there);
        assert.deepEqual([allowed.refusals, allowed.steps[0]?.kind], [[], "tables.setAside"]);
    }
});

test("what Citus would refuse is refused, and only noted while a migration may mend it", () => {
    const bad = table("users", {
        column: { type: "text", notNull: false, generated: true },
        uniques: ["u"],
        identity: false,
    });
    const tables = [table("companies"), bad, table("plans", { column: null })];
    assert.match(planTables(GROUP, found(tables)).refusals?.join() ?? "", /is text and the anchor's key is bigint/);
    const typed = {
        ...bad,
        column: { type: "bigint", notNull: false, generated: true },
        unlogged: true,
        triggers: ["t"],
        rules: ["r"],
    };
    const { refusals = [] } = planTables(GROUP, found([table("companies"), typed]));
    assert.equal(refusals.length, 8);
    const pending = planTables(GROUP, found(tables, { pending: true }));
    assert.deepEqual(pending.refusals, []);
    assert.ok(pending.notes?.some((note) => note.includes("still to be run")));
});

test("times are said from what was measured, or from a usual rate that is said", () => {
    assert.equal(
        describeDuration(1e9, undefined),
        "about 50 s (at 20 MB/s, since no rate was measured yet on this cluster)",
    );
    assert.equal(describeDuration(1, 100), "less than a second");
    assert.equal(describeDuration(9000, 100), "about 90 s");
});

const ROWS: FoundRows = {
    states: { 1: "active", 2: "frozen", 9: "active" },
    present: ["1", "2"],
    invalid: [],
    spelled: {},
    same: [],
    type: "bigint",
    columns: [
        { name: "id", required: true },
        { name: "name", required: true },
    ],
    coming: ["5"],
    leaving: [],
};

test("rows of tenants: made, frozen, put back, and every mistake at once", () => {
    const tenants = {
        1: { frozen: true },
        2: {},
        3: { values: { name: "x" } },
        5: { from: { group: "g", tenant: "t" } },
    };
    const planned = planRows({ ...GROUP, tenants }, ROWS);
    assert.deepEqual(planned.refusals, []);
    assert.deepEqual(
        planned.steps.map(({ kind, tenant }) => `${kind} ${tenant}`),
        ["rows.state 1", "rows.state 2", "rows.create 3"],
    );
    assert.match(planned.notes?.join() ?? "", /^9: not in the program/);
    const wrong = planRows(
        {
            ...GROUP,
            tenants: {
                4: {},
                6: { values: { nam: "x" } },
                "07": {},
                x: {},
                acme: { from: { group: "g", tenant: "a" } },
            },
        },
        { ...ROWS, invalid: ["x", "acme"], spelled: { "07": "7" }, same: [["7", "07"]] },
    );
    assert.equal(wrong.refusals?.length, 6);
    assert.match(
        wrong.refusals?.join("\n") ?? "",
        /^07: companies.id is of type bigint, and the database writes this key as 7: write it like that/m,
    );
    assert.match(wrong.refusals?.join("\n") ?? "", /^7 and 07 are the same key to the database/m);
    assert.match(
        wrong.refusals?.join("\n") ?? "",
        /^acme: its data comes from g\/a, .* of type bigint: write tenants: {"<its key>": {"from": "g\/a"}}$/m,
    );
    const lists = planRows({ ...GROUP, tenants: { "{1}": {} } }, { ...ROWS, type: "integer[]", invalid: ["{1}"] });
    assert.match(
        lists.refusals?.join("\n") ?? "",
        /^companies.id is of type integer\[\]: a list can't be a tenant's key. Use .*text$/,
    );
});

test("preview folds what says the same of different tenants, and never one statement into another", () => {
    const lines = (tenants: GroupSpec["tenants"], present: readonly string[], del: readonly string[] = []) => {
        const { steps } = planRows({ ...GROUP, tenants }, { ...ROWS, states: {}, present, coming: [], columns: [] });
        const deleted = del.map((tenant) => ({ kind: "removal.delete", tenant, text: `${tenant}: delete it` }));
        return describeSteps([...steps, ...deleted]);
    };
    const taken = (tenant: number) => `${tenant}: is in companies already, and is taken into this group`;
    assert.deepEqual(lines({ 600: {}, 601: {}, 4001: {}, 4002: { frozen: true } }, ["600", "601"]), [
        taken(600),
        taken(601),
        "4001: a row in companies",
        "4002: a row in companies, frozen: it reads and does not write",
    ]);
    const many = (from: number, n: number, more = {}) =>
        Object.fromEntries(Array.from({ length: n }, (_, i) => [from + i, more]));
    // those between others of another kind are counted with their like
    const mixed = Object.keys(many(10, 40)).filter((key) => Number(key) % 2 === 0);
    assert.deepEqual(lines({ ...many(10, 40), ...many(60, 3, { frozen: true }) }, mixed, ["7", "8"]), [
        taken(10),
        taken(12),
        "… and 18 more like these",
        "11: a row in companies",
        "13: a row in companies",
        "… and 18 more like these",
        ...[60, 61, 62].map((n) => `${n}: a row in companies, frozen: it reads and does not write`),
        "7: delete it",
        "8: delete it",
    ]);
});

test("preview stays short, hides no line for the sake of one that says less, and counts what it hides", () => {
    const step = (kind: string, tenant: string, text: string) => ({ kind, tenant, text: `${tenant}: ${text}` });
    const said = (n: number, alike: number) =>
        Array.from({ length: n }, (_, i) =>
            Array.from({ length: alike }, (_, k) =>
                step("a.b", `t${i}.${k}`, `says ${"abcdefghijklmnopqrstuvwxyz"[i]}`),
            ),
        ).flat();
    assert.equal(describeSteps(said(1, 3)).length, 3);
    assert.deepEqual(describeSteps(said(1, 4)).slice(2), ["… and 2 more like these"]);
    assert.equal(describeSteps(said(12, 1)).length, 12);
    assert.deepEqual(describeSteps(said(5, 5)).slice(0, 2), ["t0.0: says a", "… and 4 more like this"]);
    assert.deepEqual(describeSteps([...said(20, 10), step("removal.delete", "old", "delete it")]), [
        "t0.0: says a",
        "… and 199 more steps of this kind",
        "old: delete it",
    ]);
    const moves = ["acme", "bolt", "core", "dune"].map((name, i) =>
        step("change.move", name, `row → schema: copies 3 tables, ${i + 2} rows (from billing/${name}x)`),
    );
    assert.deepEqual(describeSteps(moves).slice(2), ["… and 2 more like these"]);
});

/** A coordinator whose table companies wants a name; others may write to it just before a transaction begins. */
function companies(there: readonly string[], meanwhile: () => readonly string[] = () => []) {
    const names = new Map(there.map((id) => [id, "theirs"]));
    const ledger: string[] = [];
    const session = {
        query: async (sql: string) => {
            if (sql.startsWith("SELECT EXISTS")) return [{ unique: true, always: [] }];
            if (sql.startsWith("SELECT"))
                return [...names.keys()].filter((id) => sql.includes(`'${id}'`)).map((tenant) => ({ tenant }));
            if (!sql.startsWith("BEGIN")) return [];
            for (const id of meanwhile()) names.set(id, "theirs");
            for (const [, columns = "", values = ""] of sql.matchAll(
                /INSERT INTO \S*companies\S* \(([^)]*)\) VALUES (.*) ON CONFLICT \("id"\) DO NOTHING;/g,
            )) {
                if (!columns.includes('"name"'))
                    throw new DatabaseError("coordinator", "INSERT", { message: "null value in column name" });
                for (const [, id = "", name = ""] of values.matchAll(/\('([^']*)', '([^']*)'\)/g))
                    if (!names.has(id)) names.set(id, name);
            }
            for (const [, tenant = ""] of sql.matchAll(/\('shop', '([^']*)', 'row', 'active'\)/g)) ledger.push(tenant);
            return [];
        },
    } as unknown as Session;
    const create = (tenants: GroupSpec["tenants"]) =>
        rows.run.create?.(
            {
                group: { ...GROUP, tenants },
                session,
                progress: () => undefined,
                warn: () => undefined,
                alive: () => undefined,
            } as unknown as Context,
            Object.keys(tenants).map((tenant) => ({ kind: "rows.create", tenant, text: "", detail: { gone: false } })),
        );
    return { create, names, ledger };
}

test("a tenant whose row is there is taken in without an insert, which the table's NOT NULL columns would refuse", async () => {
    const { create, names, ledger } = companies(["700"]);
    await create({ 700: {}, 701: { values: { name: "new" } } });
    assert.deepEqual(
        [...names],
        [
            ["700", "theirs"],
            ["701", "new"],
        ],
    );
    assert.deepEqual(ledger, ["700", "701"]);
});

test("a row that somebody puts in while its tenant is made stays theirs", async () => {
    let times = 0;
    const { create, names, ledger } = companies([], () => (times++ === 0 ? ["700"] : []));
    await create({ 700: { values: { name: "ours" } } });
    assert.deepEqual([[...names], ledger], [[["700", "theirs"]], ["700"]]);
    times = 0;
    const bare = companies([], () => (times++ === 0 ? ["700"] : []));
    await bare.create({ 700: {} });
    assert.deepEqual([[...bare.names], bare.ledger], [[["700", "theirs"]], ["700"]]);
});

const POLICIES = NO_POLICIES;

/** Lists as a run leaves them, for the same group. */
const settled = (group: GroupSpec, barred: Partial<FoundBarred> = {}): FoundBarred => {
    const found = { ...NOTHING_BARRED, ...barred };
    const domains = wantedDomains(group, ["bigint"], found).map(({ name, check }) => [
        name,
        { print: "print", whole: true, comment: listComment(check, "print") },
    ]);
    return { ...found, domains: Object.fromEntries(domains) };
};

test("policies ask who writes and who is seen by a name, so that no tenant and no sub-query is in them", () => {
    const policies = wantedPolicies(GROUP, "company_id", "bigint");
    assert.equal(policies.length, 8);
    const read = policies.find(({ name }) => name === "citus_as_code_shop_app_select")?.sql ?? "";
    assert.equal(
        read,
        "FOR SELECT TO \"shop_app\" USING (\"company_id\" = CASE WHEN pg_input_is_valid(current_setting('app.tenant', true), 'citus_as_code.shop_reads_bigint') THEN nullif(current_setting('app.tenant', true), '')::bigint END)",
    );
    for (const { sql } of policies) assert.doesNotMatch(sql.replace("FOR SELECT", ""), /SELECT|RESTRICTIVE/);
    for (const verb of ["insert", "update", "delete"])
        for (const who of ["app", "tenants"])
            assert.match(
                policies.find(({ name }) => name.endsWith(`${who}_${verb}`))?.sql ?? "",
                /'citus_as_code\.shop_writes_bigint'/,
            );
    const off = planPolicies({ ...GROUP, rowSecurity: false, tenants: { 2: { frozen: true } } }, POLICIES);
    assert.match(
        off.refusals?.join() ?? "",
        /2: its state is frozen, and while rowSecurity is false nothing keeps it from writing/,
    );
});

const ALL = ["SELECT", "INSERT", "UPDATE", "DELETE"];

const USERS: PolicyTable = {
    name: "users",
    citus: true,
    enabled: true,
    forced: false,
    type: "bigint",
    policies: wantedPolicies(GROUP, "company_id", "bigint").map(({ name, sql }) => ({
        name,
        permissive: true,
        subquery: false,
        roles: ["shop_app"],
        print: "print",
        comment: `citus_as_code ${createHash("md5").update(sql).digest("hex")} print`,
    })),
    digest: "",
    index: true,
    granted: { app: ALL, tenants: ALL },
    sequences: [],
    tenantGrants: ALL,
    tenantSequences: [],
    direct: [],
    schema: true,
    others: [],
    owner: null,
};

test("who writes is one list for all tables: frozen, fenced, deleting and hidden tenants are in it, unfit keys are not", () => {
    const lists = (group: Partial<GroupSpec>, found: Partial<FoundBarred> = {}) =>
        wantedDomains({ ...GROUP, ...group }, ["bigint", "bigint"], { ...NOTHING_BARRED, ...found }).map(
            ({ name, check }) => `${name} ${check}`,
        );
    assert.deepEqual(
        lists(
            { tenants: { 1: { frozen: true }, 2: {}, 3: { frozen: true } }, delete: ["4", "no number"] },
            { fenced: ["5", "1"], hidden: ["7"], buried: ["8"], unfit: { bigint: ["no number", "3"] } },
        ),
        [
            `shop_reads_bigint CHECK (VALUE <> ALL ('{"7","8"}'::bigint[]))`,
            `shop_writes_bigint CHECK (VALUE <> ALL ('{"1","4","5","7","8"}'::bigint[]))`,
        ],
    );
    // a key with quotes of all kinds, and a type whose name is no part of one
    const [odd] = wantedDomains({ ...GROUP, delete: [] }, ["ext.key type"], {
        ...NOTHING_BARRED,
        hidden: ["a\"b\\c'd,{e}"],
    });
    assert.match(odd?.name ?? "", /^shop_reads_[0-9a-f]{12}$/);
    assert.equal(odd?.check, String.raw`CHECK (VALUE <> ALL (E'{"a\\"b\\\\c''d,{e}"}'::ext.key type[]))`);
});

test("freezing, deleting and hiding is one step for all tables, and the list's own drift is mended", () => {
    const group: GroupSpec = {
        ...GROUP,
        tables: Object.fromEntries(
            Array.from({ length: 300 }, (_, i) => [`t${i}`, { kind: "distributed" as const, column: "company_id" }]),
        ),
    };
    const tables = Object.keys(group.tables).map((name) => ({ ...USERS, name }));
    const steps = (more: Partial<GroupSpec>, barred: FoundBarred) =>
        planPolicies({ ...group, ...more }, { ...POLICIES, tables, barred }).steps.map(({ kind }) => kind);
    const found = settled(group);
    assert.deepEqual(steps({}, found), []);
    assert.deepEqual(steps({ tenants: { 2: { frozen: true } } }, found), ["policies.bar"]);
    assert.deepEqual(steps({ delete: ["2"] }, found), ["policies.bar"]);
    assert.deepEqual(steps({}, { ...found, fenced: ["2"] }), ["policies.bar"]);
    assert.deepEqual(steps({}, settled(group, { fenced: ["2"] })), []);
    assert.deepEqual(steps({ delete: ["no number"] }, { ...found, unfit: { bigint: ["no number"] } }), []);
    assert.deepEqual(steps({}, { ...found, stale: ["worker-1"] }), ["policies.bar"]);
    assert.deepEqual(steps({}, { ...found, usable: false }), ["policies.bar"]);
    const one = found.domains.shop_writes_bigint;
    assert.ok(one);
    for (const changed of [{ whole: false }, { print: "other" }, { comment: null }])
        assert.deepEqual(
            steps({}, { ...found, domains: { ...found.domains, shop_writes_bigint: { ...one, ...changed } } }),
            ["policies.bar"],
        );
});

test("each kind of step is for all tables together, so that all of it takes one look", () => {
    const group: GroupSpec = {
        ...GROUP,
        tables: Object.fromEntries(
            ["a", "b", "c"].map((name) => [name, { kind: "distributed" as const, column: "company_id" }]),
        ),
    };
    const bare = { ...USERS, policies: [], enabled: false, granted: { app: [], tenants: [] } };
    const tables = [
        { ...bare, name: "a" },
        { ...bare, name: "b", index: false },
        { ...bare, name: "c" },
    ];
    const { steps } = planPolicies(group, { ...POLICIES, tables });
    assert.deepEqual(
        steps.map(({ kind, table = "" }) => `${kind} ${table}`),
        [
            "policies.bar ",
            "policies.index b",
            ...["a", "b", "c"].map((name) => `policies.set ${name}`),
            ...["a", "b", "c"].map((name) => `policies.grant ${name}`),
        ],
    );
    assert.equal(batches(steps).length, 4);
});

test("whoever wrote before the list was changed is waited for, and named when that takes too long", async () => {
    const answers: string[] = [];
    const said: string[] = [];
    const old = { id: "3/7", pid: 42, role: "shop_app", since: "2026-11-30T12:00:00+00:00" };
    const context = (success = true) => ({
        group: GROUP,
        alive: () => undefined,
        progress: (text: string) => said.push(text),
        session: {
            query: async () => [{ node: "worker-1", success, result: answers.shift() ?? "[]" }],
        } as unknown as Session,
    });
    // one that came later has another id, and is not waited for
    const later = { ...old, id: "3/8" };
    answers.push(JSON.stringify([old]), JSON.stringify([old, later]), JSON.stringify([later]));
    await writersEnd(context(), ["users"]);
    assert.deepEqual([answers, said.length], [[], 2]);
    assert.match(said[0] ?? "", /waits for 1 transaction that began before \(42 on worker-1\)/);
    answers.push(JSON.stringify([old]));
    await assert.rejects(
        writersEnd(context(), ["users"], 0),
        /process 42 of shop_app on worker-1, since 2026-11-30T12:00:00.*SELECT pg_terminate_backend\(42\);\nThen run pulumi up again/s,
    );
    answers.push("connection refused");
    await assert.rejects(
        writersEnd(context(false), ["users"]),
        /worker-1: asking it who writes failed\n {2}connection refused/,
    );
});

test("without rowSecurity nothing generated is left, and tenants' own roles have no rights on its tables", () => {
    const off: GroupSpec = {
        ...GROUP,
        rowSecurity: false,
        tables: { users: { kind: "distributed", column: "company_id" } },
    };
    const planned = (table: Partial<PolicyTable>, found: Partial<FoundPolicies> = {}) =>
        planPolicies(off, { ...POLICIES, tables: [{ ...USERS, ...table }], ...found });
    const texts = (...given: Parameters<typeof planned>) =>
        planned(...given).steps.map(({ kind, text }) => [kind, text]);
    const dropped: Partial<PolicyTable> = { policies: [], enabled: false, tenantGrants: [] };
    assert.deepEqual(texts(dropped), [], "what PUBLIC may is not the role's own, and can't be taken from it");
    assert.match(
        texts({}).join(),
        /^policies.drop,users: its generated policies are dropped.*lose their rights on it$/,
    );
    assert.deepEqual(texts(dropped, { left: { users: ["w1 users_1"] } }), [
        ["policies.drop", "users: generated policies that are left on w1 users_1 are dropped"],
    ]);
    const rights = [["policies.drop", "users: tenants' own roles lose their rights on it, as rowSecurity is false"]];
    assert.deepEqual(texts({ ...dropped, tenantGrants: ["SELECT"] }), rights);
    assert.deepEqual(texts({ ...dropped, tenantSequences: ["users_id_seq"] }), rights);

    for (const table of [{}, dropped]) {
        const { steps, refusals } = planned({ ...table, direct: ["PUBLIC", "shop_2"] });
        assert.deepEqual(steps, []);
        assert.match(
            refusals?.join() ?? "",
            /users: rowSecurity can't be false while PUBLIC, shop_2 have rights.*REVOKE ALL ON users FROM PUBLIC, "shop_2"/s,
        );
    }
    const hidden = planned({}, { barred: { ...NOTHING_BARRED, hidden: ["7"] } });
    assert.deepEqual(hidden.steps, []);
    assert.match(
        hidden.refusals?.join() ?? "",
        /users: rowSecurity can't be false while the group keeps old copies.*\(7\)/,
    );
});

test("a table that all tenants share from now on keeps neither policies nor a tenant's right to write", () => {
    const group: GroupSpec = { ...GROUP, tables: { users: { kind: "reference" } } };
    const steps = (table: Partial<PolicyTable>) =>
        planPolicies(group, { ...POLICIES, tables: [{ ...USERS, type: null, ...table }] }).steps.map(
            ({ text }) => text,
        );
    const read = "users: read by shop_app and shop_tenants";
    assert.deepEqual(steps({}), [
        "users: its generated policies are dropped, as it is shared by all tenants now",
        read,
    ]);
    const bare: Partial<PolicyTable> = { policies: [], enabled: false };
    assert.deepEqual(steps(bare), ["users: shop_tenants only reads it, as it is shared by all tenants", read]);
    assert.deepEqual(steps({ ...bare, tenantGrants: ["SELECT"], granted: { app: ALL, tenants: ["SELECT"] } }), []);
});

test("policies of others that would open, break or lose rows are refused", () => {
    const other = { name: "p", permissive: true, subquery: false, roles: ["public"], print: "", comment: null };
    const policies = (more: object) =>
        planPolicies(GROUP, {
            ...POLICIES,
            tables: [{ ...USERS, forced: true, policies: [{ ...other, ...more }], granted: { app: [], tenants: [] } }],
        }).refusals?.join("\n") ?? "";
    assert.match(policies({}), /FORCE ROW LEVEL SECURITY.*policy p is also for public, /s);
    assert.match(policies({ permissive: false }), /RESTRICTIVE/);
    assert.match(policies({ subquery: true }), /sub-query/);
    assert.doesNotMatch(policies({ roles: ["reports"] }), /policy p/);
});

test("what a template will not make is refused before any of its files is run", async () => {
    const sql = `CREATE TABLE companies (id bigint PRIMARY KEY, name text);
        CREATE TABLE users (company_id bigint, id bigint, mail text, PRIMARY KEY (company_id, id));`;
    const group: GroupSpec = {
        ...GROUP,
        template: [{ path: "shop.sql", sha256: "a" }],
        tables: {
            companies: { kind: "distributed", column: "id" },
            users: { kind: "distributed", column: "compani_id" },
            plans: { kind: "reference" },
        },
        signIn: { table: "users", column: "email" },
        tenants: { 1: { values: { nam: "a" } }, 2: { values: { name: "b" } } },
    };
    const look = async (text: string, found = NO_TABLES) =>
        planTables(group, (await tables.readFiles?.(group, found, () => text)) ?? found).refusals ?? [];
    assert.deepEqual(await look(sql), [
        "plans does not exist, and no file of template makes it. Make it (CREATE TABLE ...) in a file of template, or take it out of tables.",
        "users gets no column compani_id from the files of template, and tables names it as the tenant's column. It gets company_id, id, mail. Did you mean company_id?",
        "users gets no column email from the files of template, and signIn names it. It gets company_id, id, mail. Did you mean mail?",
        "companies gets no column nam from the files of template, and values of 1 names it. It gets id, name. Did you mean name?",
    ]);
    // what only running it shows is left to the run
    for (const hidden of ["DO $$ BEGIN END $$;", "SELECT make_plans();", "CREATE EXTENSION hstore;"])
        assert.deepEqual(await look(`${sql} ${hidden}`), []);
    // a table that is there is looked at as it is, also for what a file may add to it
    const there = { ...NO_TABLES, tables: [table("plans"), table("users", { column: null })] };
    assert.deepEqual(
        (await look(sql, there)).map((one) => one.split(" gets ")[0]),
        ["companies"],
    );
    // nothing is pending: the tables are there or not
    assert.match((await look(sql, { ...NO_TABLES, pending: false })).join("\n"), /companies does not exist\. Make it/);
});
