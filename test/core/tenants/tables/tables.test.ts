/** What there is to do so that tables are what they are declared to be. */
import assert from "node:assert/strict";
import { test } from "vitest";
import type { GroupSpec } from "../../../../core/tenants/group/spec.ts";
import { NO_FACTS } from "../../../../core/tenants/tables/besideFacts.ts";
import { tables } from "../../../../core/tenants/tables/tables.ts";
import { type FoundTable, NO_TABLES } from "../../../../core/tenants/tables/tablesFound.ts";
import { planTables } from "../../../../core/tenants/tables/tablesPlan.ts";
import { describeDuration } from "../../../../core/util/describeDuration.ts";
import { distributed, found, GROUP, key, kinds, LOCAL, SETTLED, table } from "../declared.ts";

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
