/** Which model is recommended, and why. */
import assert from "node:assert/strict";
import { describe, test } from "vitest";
import { COSTS, choose, DEFAULTS, QUESTIONS, type Situation, TABLE } from "../../../../core/tenants/ask/choose.ts";
import { MODELS } from "../../../../core/tenants/group/spec.ts";

const chosen = (situation: Partial<Situation>) => choose({ ...DEFAULTS, ...situation });

/** The situations of the guides' table, those that were answered badly once, and some between them. */
const CASES: readonly (readonly [string, Partial<Situation>, string])[] = [
    ["one server is enough, ten tenants", { tenants: 10 }, "rls"],
    ["one server is enough, 50,000 tenants", { tenants: 50_000 }, "rls"],
    [
        "thousands of small tenants, all queries keyed",
        { tenants: 5000, oneServer: false, largest: 0.01, skill: "citus" },
        "row",
    ],
    ["the same by a team new to Citus", { tenants: 5000, oneServer: false, largest: 0.01 }, "row"],
    ["hundreds of them", { tenants: 300, oneServer: false, largest: 0.01, skill: "citus" }, "row"],
    ["a million of them", { tenants: 1_000_000, oneServer: false, largest: 0.001, across: true }, "row"],
    ["a schema each, little change of the application", { tenants: 800, keyed: false, oneServer: false }, "schema"],
    ["the same on one server", { tenants: 300, keyed: false }, "schema"],
    ["a contract: never in one table with others", { tenants: 1500, isolation: "tables", oneServer: false }, "schema"],
    ["the same on one server, 1,500 tenants", { tenants: 1500, isolation: "tables" }, "schema"],
    ["tables differ", { tenants: 200, sameSchema: false, oneServer: false }, "schema"],
    ["8,000 schemas, as nothing else has tables of its own", { tenants: 8000, isolation: "tables" }, "schema"],
    ["10,001 of them", { tenants: 10_001, isolation: "tables" }, "schema"],
    ["a contract, 200 tenants, a team without Citus", { tenants: 200, isolation: "database" }, "database"],
    ["a contract, 500 tenants", { tenants: 500, isolation: "database", restoreOne: true }, "database"],
    ["a contract, 1,500 tenants on 10 workers", { tenants: 1500, isolation: "database", workers: 10 }, "database"],
    ["a contract, 20 tenants, and reports", { tenants: 20, isolation: "database", across: true }, "database"],
    ["regions and reports", { regions: true, across: true }, "routed"],
    ["servers of their own are the wish", { tenants: 5000, isolation: "database", regions: true }, "routed"],
    ["few large tenants in regions", { tenants: 12, largest: 0.4, regions: true, oneServer: false }, "routed"],
    ["keys and backups of their own", { tenants: 40, ownBackups: true, isolation: "database" }, "routed"],
    ["many without a key on one server", { tenants: 20_000, keyed: false }, "rls"],
    ["50,000 without a key on one server", { tenants: 50_000, keyed: false }, "rls"],
    ["50 on one server, one to be restored alone", { tenants: 50, restoreOne: true }, "rls"],
];

/** Every combination of what makes a difference. */
function* situations(): Generator<Situation> {
    const values: { [K in keyof Situation]?: readonly Situation[K][] } = {
        tenants: [1, 50, 301, 2001, 10_001, 50_000],
        largest: [0.01, 0.5, 1],
        traffic: [0.05, 0.5],
        isolation: ["policy", "tables", "database"],
        sameSchema: [true, false],
        keyed: [true, false],
        oneServer: [true, false],
        workers: [2, 20],
        regions: [true, false],
        across: [true, false],
        ownBackups: [true, false],
        signUps: [1, 5000],
        skill: ["postgresql", "citus"],
    };
    const keys = Object.keys(values) as (keyof Situation)[];
    function* from(i: number, situation: Situation): Generator<Situation> {
        const key = keys[i];
        if (key === undefined) yield situation;
        else for (const value of values[key] ?? []) yield* from(i + 1, { ...situation, [key]: value });
    }
    yield* from(0, DEFAULTS);
}

describe("the model", () => {
    for (const [name, situation, model] of CASES)
        test(name, () => {
            const choice = chosen(situation);
            assert.equal(choice.model, model, JSON.stringify(choice, null, 1));
            assert.deepEqual(choice.costs, COSTS[model as keyof typeof COSTS]);
            assert.equal(choice.others.length, MODELS.length - 1);
        });

    test("every situation has an answer, or a way out that ends in one", () => {
        let all = 0;
        for (const situation of situations()) {
            all++;
            const choice = choose(situation);
            const said = JSON.stringify(situation);
            if (choice.wayOut === undefined) assert.ok(choice.reasons.length > 0, said);
            else {
                const { giveUp, leadsTo, mixture } = choice.wayOut;
                assert.ok(giveUp.length > 0 && mixture !== "", said);
                assert.ok(
                    giveUp.every(({ from, to }) => from !== to),
                    said,
                );
                assert.ok(MODELS.includes(leadsTo));
            }
            for (const lines of [choice.reasons, choice.but, ...choice.others.map(({ against }) => against)])
                assert.equal(new Set(lines).size, lines.length, said);
        }
        assert.ok(all > 40_000, `${all}`);
    });

    test("what a way out gives up does lead to its model", () => {
        const { wayOut } = chosen({ tenants: 5000, isolation: "database" });
        assert.deepEqual(wayOut?.giveUp, [{ flag: "workers", from: "2", to: "17" }]);
        assert.equal(chosen({ tenants: 5000, isolation: "database", workers: 17 }).model, wayOut?.leadsTo);
        assert.equal(chosen({ tenants: 5000, isolation: "database", workers: 17 }).wayOut, undefined);
        assert.match(wayOut?.mixture ?? "", /seldom do all 5000 tenants need a database of their own/);
    });

    test("a tenant that no node holds is helped by no model, and it says what does", () => {
        for (const situation of [
            { tenants: 1, largest: 1 },
            { tenants: 2, largest: 0.99 },
            { tenants: 10, largest: 0.9 },
            { tenants: 1000, largest: 0.3, largestFits: false },
        ]) {
            const { tooLarge } = chosen({ ...situation, oneServer: false });
            assert.match(tooLarge.join("\n"), /no model helps .*\n.*a cluster of its own, .* second key .*\n.*archive/);
        }
        assert.deepEqual(chosen({ tenants: 10, largest: 0.9 }).tooLarge, [], "one server holds it");
    });

    test("models that are equal are named, and the one that is cheaper to run comes first", () => {
        const { model, ties } = chosen({ tenants: 300, oneServer: false, skill: "citus" });
        assert.deepEqual([model, ties], ["row", ["schema"]]);
    });

    test("some with a contract among many without: two groups", () => {
        const choice = chosen({ tenants: 5000, oneServer: false, special: 12 });
        assert.equal(choice.model, "row");
        assert.match(choice.also.join("\n"), /second group of model database for the 12 tenants that need one/);
    });

    test("reports rule nothing out: they go with it", () => {
        assert.match(
            chosen({ tenants: 20, isolation: "database", across: true }).also.join("\n"),
            /a warehouse .*postgres_fdw/,
        );
    });

    test("sign-ups lead to what makes tenants while the product runs", () => {
        assert.match(chosen({ signUps: 50, tenants: 800, isolation: "tables" }).also.join("\n"), /create_tenant/);
    });

    test("each of the others says why not", () => {
        for (const [, situation] of CASES)
            for (const other of chosen(situation).others)
                assert.ok(other.score !== undefined || other.against.length > 0, other.model);
    });

    test("what a model can't do is never outweighed", () => {
        for (const row of TABLE.filter(({ weight }) => weight === "out")) {
            const situation = Object.fromEntries(
                Object.entries(row.when).map(([key, value]) => [
                    key,
                    typeof value === "object" ? (value.over ?? 0) + 1 : value,
                ]),
            );
            assert.notEqual(chosen(situation as Partial<Situation>).model, row.model, row.why);
        }
    });
});

test("the table is data, about known questions, and each is asked", () => {
    assert.deepEqual(JSON.parse(JSON.stringify(TABLE)), TABLE);
    const keys = QUESTIONS.map(({ key }) => key);
    assert.deepEqual([...keys].sort(), Object.keys(DEFAULTS).sort());
    const known = [...keys, "perWorker"];
    for (const { when } of TABLE) for (const key of Object.keys(when)) assert.ok(known.includes(key), key);
});
