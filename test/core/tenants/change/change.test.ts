/** What is planned for changes of model, and what a run says that meets a refusal on its way. */
import assert from "node:assert/strict";
import { describe, test } from "vitest";
import type { Session } from "../../../../core/reach/session.ts";
import { change } from "../../../../core/tenants/change/change.ts";
import {
    type ChangeFound,
    type LedgerTenant,
    NOTHING_FOUND,
    planChange,
} from "../../../../core/tenants/change/changePlan.ts";
import { tablesMade } from "../../../../core/tenants/check/read/made.ts";
import { pairUp, type Slice } from "../../../../core/tenants/data/shape.ts";
import { FACETS } from "../../../../core/tenants/facets.ts";
import { converge } from "../../../../core/tenants/group/converge.ts";
import type { Context, Facet } from "../../../../core/tenants/group/facet.ts";
import type { GroupSpec, Model } from "../../../../core/tenants/group/spec.ts";
import { EMPTY } from "../../../tenants.ts";

const group = (model: Model, more: Partial<GroupSpec> = {}): GroupSpec => ({ ...EMPTY, name: "g", model, ...more });

const found = (more: Partial<ChangeFound>): ChangeFound => ({ ...NOTHING_FOUND, ...more });

describe("a group whose model was edited", () => {
    const models = ["rls", "row", "schema", "database"] as const;
    for (const before of [...models, "routed"] as const)
        for (const after of models) {
            if (before === after) continue;
            test(`${before} to ${after}`, () => {
                assert.ok(FACETS[after].includes(change));
                const { steps, refusals } = planChange(group(after), found({ models: { [before]: 2 } }));
                if (before === "rls" && after === "row") {
                    assert.deepEqual([steps.map(({ kind }) => kind), refusals], [["change.model"], []]);
                    return;
                }
                assert.deepEqual(steps, []);
                assert.match(
                    refusals.join(),
                    new RegExp(`g: 2 tenants of it are in model ${before}, .* says ${after}`),
                );
                assert.match(refusals.join(), new RegExp(`its model ${before} back, and .*\\bnew group\\b.*\`from\``));
            });
        }
});

describe("a change into a place that is still to be made", () => {
    const table = (name: string, schema = "public") => ({
        schema,
        name,
        columns: [{ name: "id", type: "bigint", generated: false }],
        references: [],
    });
    const billing = group("row", {
        name: "billing",
        anchor: "companies",
        tables: {
            companies: { kind: "distributed", column: "id" },
            users: { kind: "distributed", column: "company_id" },
            projects: { kind: "distributed", column: "company_id" },
        },
    });
    const planned = (more: Partial<GroupSpec>, here: Partial<ChangeFound> = {}, target: LedgerTenant | null = null) =>
        planChange(
            group("schema", { tenants: { c1: { from: { group: "billing", tenant: "1" } } }, ...more }),
            found({
                pending: { c1: { change: null, group: billing, source: null, target } },
                shapes: ["companies", "users", "projects"].map((name) => table(name)),
                counted: [
                    { schema: "public", name: "companies", key: "1", rows: 1 },
                    { schema: "public", name: "users", key: "1", rows: 20 },
                    { schema: "public", name: "projects", key: "1", rows: 10 },
                ],
                ...here,
            }),
        );
    const files = { template: [{ path: "sql/1.sql", sha256: "" }] };

    test("is refused where no table will be there", () => {
        for (const one of [planned({}), planned({ model: "schema", ...files }, { made: [] })]) {
            assert.deepEqual(one.steps, []);
            assert.match(
                one.refusals.join("\n"),
                /^c1: from billing\/1: the group that it goes to has no table, and no file of the template of g makes one\..*make users, projects, without a tenant column\.$/,
            );
        }
    });

    test("counts what the template has a place for, and says whose row stays behind", () => {
        const { steps, refusals, notes } = planned(files, { made: ["users", "projects"] });
        assert.deepEqual(refusals, []);
        assert.match(steps[0]?.text ?? "", /copies 2 tables, 30 rows \(from billing\/1\)/);
        assert.deepEqual(notes, [
            "c1: from billing/1: its row of companies stays behind, because there is no such table where it goes",
        ]);
        assert.match(
            planned(files, { made: ["users", "projects", "companies"] }).steps[0]?.text ?? "",
            /copies 3 tables, 31 rows/,
        );
    });

    test("is refused where the template makes other tables", () => {
        assert.deepEqual(planned(files, { made: ["users", "notes"] }).refusals, [
            "c1: from billing/1: table projects has no counterpart where it goes: the template of g makes users, notes.",
            "c1: from billing/1: table notes has no counterpart where it comes from: the template of g makes users, notes.",
        ]);
    });

    test("says of what that depends where only running the template shows it", () => {
        const { steps, refusals, notes } = planned(files);
        assert.deepEqual([steps.length, refusals], [1, []]);
        assert.deepEqual(notes, [
            "c1: from billing/1: its row of companies stays behind unless the template of g makes a table companies",
        ]);
        // a database that is there has what it has
        const there = { model: "database", state: "active", node: "worker-1", detail: {} } as const;
        const from = { ...billing, name: "billing", model: "schema" } as const;
        const database = planned(
            { model: "database" },
            { pending: { c1: { change: null, group: from, source: there, target: there } } },
        );
        assert.deepEqual([database.steps.length, database.refusals], [1, []]);
    });

    test("that was begun is not refused for it: what it fenced has to be given back", () => {
        const change = { from_grp: "billing", from_tenant: "1", phase: "copy" } as const;
        const { refusals } = planned({}, { pending: { c1: { change, group: billing, source: null, target: null } } });
        assert.deepEqual(refusals, []);
    });

    test("into declared tables is told by their names", () => {
        const own = found({
            pending: {
                5: {
                    change: null,
                    group: group("schema", { name: "clinics" }),
                    source: { model: "schema", state: "active", node: null, detail: {} },
                    target: null,
                },
            },
            shapes: ["users", "notes"].map((name) => table(name, "acme")),
            counted: [
                { schema: "acme", name: "users", key: "", rows: 3 },
                { schema: "acme", name: "notes", key: "", rows: 4 },
            ],
        });
        const { refusals } = planChange(
            { ...billing, tenants: { 5: { from: { group: "clinics", tenant: "acme" } } } },
            own,
        );
        assert.deepEqual(refusals, [
            "5: from clinics/acme: table acme.notes has no counterpart where it goes: billing declares companies, users, projects.",
            "5: from clinics/acme: table projects has no counterpart where it comes from: billing declares companies, users, projects.",
        ]);
    });
});

describe("tables that a template makes", () => {
    const made = (sql: string, model: Model = "schema") => tablesMade([{ path: "1.sql", sql }], model);

    test("are read from its files", async () => {
        assert.deepEqual(
            await made(`CREATE TABLE users (id bigint, twice bigint GENERATED ALWAYS AS (id * 2) STORED);
                CREATE TABLE IF NOT EXISTS "No tes" (LIKE users); CREATE TEMP TABLE t (a int); CREATE VIEW v AS SELECT 1;
                CREATE TABLE events (id bigint) PARTITION BY RANGE (id); CREATE TABLE events_1 PARTITION OF events DEFAULT;
                CREATE TABLE old (id bigint); DROP TABLE old; CREATE TABLE a (id bigint); ALTER TABLE a RENAME TO b;
                CREATE TABLE public.others (id bigint); INSERT INTO users SELECT 1; ALTER TABLE elsewhere ADD c int`),
            ["users", "No tes", "events", "b"],
        );
        assert.deepEqual(await made("CREATE TABLE a (b int); CREATE TABLE x.y (b int)", "database"), ["a", "x.y"]);
        assert.deepEqual(await made("CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'"), []);
    });

    test("are not known where only running them shows it", async () => {
        for (const sql of [
            "DO $$ BEGIN EXECUTE 'CREATE TABLE a (b int)'; END $$",
            "SELECT make_tables()",
            "CREATE TABLE a AS SELECT 1 AS b",
            "CREATE UNLOGGED TABLE a (b) AS VALUES (1)",
            "SELECT 1 AS b INTO a",
            "ALTER TABLE a ATTACH PARTITION b DEFAULT",
            "CREATE TABLE a (",
        ])
            assert.equal(await made(`CREATE TABLE users (id bigint); ${sql}`), undefined, sql);
    });
});

describe("a change that was begun and not ended", () => {
    const half = { other: "billing/17", phase: "copy" } as const;

    test("is undone where the program does not want it any more", () => {
        const { steps, refusals } = planChange(group("schema"), found({ unwanted: { acme: half } }));
        assert.deepEqual(
            steps.map(({ kind, tenant }) => [kind, tenant]),
            [["change.undo", "acme"]],
        );
        assert.match(steps[0]?.text ?? "", /billing\/17 takes writes again, and what was copied is left in g\/acme/);
        assert.deepEqual(refusals, []);
    });

    test("is told where it came from", () => {
        const { steps, notes } = planChange(
            group("row"),
            found({ leaving: { 17: { other: "clinics/acme", phase: "fence" } } }),
        );
        assert.deepEqual(steps, []);
        assert.match(notes.join(), /17: its change to clinics\/acme was begun .* pulumi up with group clinics ends it/);
    });
});

describe("columns that are made from others", () => {
    const table = (schema: string, generated: readonly string[]): Slice => ({
        name: "t",
        table: {
            schema,
            name: "t",
            columns: ["id", "a", "total"].map((name) => ({ name, type: "int", generated: generated.includes(name) })),
            references: [],
        },
    });
    const paired = (before: readonly string[], after: readonly string[]) => {
        const { pairs, refusals } = pairUp([table("x", before)], [table("y", after)]);
        assert.deepEqual(refusals, []);
        return [pairs[0]?.columns, pairs[0]?.compared];
    };

    test("are made anew where both are", () => {
        assert.deepEqual(paired(["total"], ["total"]), [
            ["id", "a"],
            ["id", "a"],
        ]);
    });

    test("are copied where they are plain ones then", () => {
        assert.deepEqual(paired(["total"], []), [
            ["id", "a", "total"],
            ["id", "a", "total"],
        ]);
    });

    test("have to come out as the plain ones were", () => {
        assert.deepEqual(paired([], ["total"]), [
            ["id", "a"],
            ["id", "a", "total"],
        ]);
    });
});

test("a refusal in the middle of a run says that what was done stays, one at its beginning that nothing was", async () => {
    const did: string[] = [];
    const facet = (name: string, plan: Facet["plan"]): Facet => ({
        name,
        sql: () => undefined,
        none: {},
        plan,
        run: { do: async () => void did.push(name) },
    });
    const session = {
        query: async (sql: string) =>
            sql.includes("pg_try_advisory_lock") ? [{ ok: true }] : [{ ledger: true, tables: [] }],
    } as unknown as Session;
    const context = {
        group: group("row"),
        session,
        nodes: [],
        progress: () => undefined,
        alive: () => undefined,
    } as unknown as Context;
    const first = facet("first", () => ({ steps: did.length > 0 ? [] : [{ kind: "first.do", text: "does" }] }));
    const after = facet("after", () => ({ steps: [], refusals: did.length > 0 ? ["no"] : [] }));
    await assert.rejects(
        converge(context, [first, after], ""),
        /no\n1 step was done before that, and what was done stays/,
    );
    await assert.rejects(converge(context, [after], ""), /no\nNothing of the group was changed\.$/);
});

describe("how often a run looks", () => {
    const done = { kind: "first.do", text: "does" };
    /** @param adopted what adopting gives back. @param columns of the ledger, each time that they are counted */
    async function looks(steps: number, adopted: object[], columns: readonly number[]) {
        const counts = [...columns];
        const asked: string[] = [];
        let did = 0;
        const session = {
            query: async (sql: string) => {
                asked.push(sql);
                if (sql.includes("pg_try_advisory_lock")) return [{ ok: true }];
                if (sql.includes("count(*)")) return [{ n: counts.shift() }];
                if (sql.startsWith("UPDATE citus_as_code.tenant SET detail = detail - 'onboarded'")) return adopted;
                return [{ ledger: true, tables: [] }];
            },
        } as unknown as Session;
        const facet: Facet = {
            name: "first",
            sql: () => undefined,
            none: {},
            plan: () => ({ steps: did < steps ? [done] : [] }),
            run: { do: async () => void did++ },
        };
        const context = { group: group("row"), session, nodes: [], progress: () => undefined, alive: () => undefined };
        await converge(context as unknown as Context, [facet], "");
        return asked.filter((sql) => sql.includes("AS ledger,")).length;
    }

    test("once where there is nothing to do", async () => {
        assert.equal(await looks(0, [], [70, 70]), 1);
    });

    test("once more for what each facet did", async () => {
        assert.equal(await looks(1, [], [70, 70]), 2);
    });

    test("again before the first step where the ledger was made or renewed", async () => {
        assert.equal(await looks(0, [], [0, 70]), 2);
        assert.equal(await looks(1, [], [68, 70]), 3);
    });

    test("again before the first step where a tenant was taken into the program", async () => {
        assert.equal(await looks(0, [{ tenant: "7" }], [70, 70]), 2);
    });
});

test("after a step those who come later are looked at with whom they read, and all of them at the end", async () => {
    const looked: string[] = [];
    const shown: object[] = [];
    let round: string[] = [];
    const did = new Set<string>();
    const session = {
        query: async (sql: string) => {
            if (sql.includes("pg_try_advisory_lock")) return [{ ok: true }];
            if (sql.includes("AS given")) {
                looked.push(round.join(" "));
                const said = Object.fromEntries(round.map((name, i) => [`f${i}`, { name, did: did.size }]));
                round = [];
                return [said];
            }
            return sql.includes("AS ledger,") ? [{ ledger: true, tables: [] }] : [];
        },
    } as unknown as Session;
    const facet = (name: string, works: boolean, reads: readonly string[] = []): Facet => ({
        name,
        reads,
        none: {},
        sql: () => {
            round.push(name);
            return "1";
        },
        plan: (_group, found, all) => {
            if (name === "d") shown.push({ found, all });
            return { steps: works && !did.has(name) ? [{ kind: `${name}.do`, text: name }] : [] };
        },
        run: { do: async () => void did.add(name) },
    });
    const context = { group: group("row"), session, nodes: [], progress: () => undefined, alive: () => undefined };
    const facets = [facet("a", false), facet("b", true), facet("c", true), facet("d", false, ["a"])];
    const steps = await converge(context as unknown as Context, facets, "");
    assert.deepEqual(
        steps.map(({ kind }) => kind),
        ["b.do", "c.do"],
    );
    assert.deepEqual(looked, ["a b c d", "a c d", "a b c d"]);
    // all that it says that it reads and nothing else, each as the steps before left it
    assert.deepEqual(shown.at(-1), { found: { name: "d", did: 2 }, all: { a: { name: "a", did: 2 } } });
    // the last who works was not foreseen, so all are looked at once more
    looked.length = 0;
    did.clear();
    const late = { ...facet("c", true), plan: () => ({ steps: did.size === 1 ? [{ kind: "c.do", text: "c" }] : [] }) };
    await converge(context as unknown as Context, [facet("b", true), late, facet("d", true)], "");
    assert.deepEqual(looked.at(-1), "b c d");
    assert.deepEqual([...did], ["b", "c", "d"]);
});
