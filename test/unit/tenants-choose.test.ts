/** Which model is recommended, and why. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { MODELS } from "../../components/tenants/args.ts";
import { COSTS, choose, DEFAULTS, QUESTIONS, type Situation, TABLE } from "../../components/tenants/choose.ts";

const chosen = (situation: Partial<Situation>) => choose({ ...DEFAULTS, ...situation });

/** The situations of the decision table, and some between them. */
const CASES: readonly (readonly [string, Partial<Situation>, string | undefined])[] = [
    ["one server is enough, ten tenants", { tenants: 10 }, "rls"],
    ["one server is enough, 50,000 tenants", { tenants: 50_000 }, "rls"],
    ["thousands of small tenants, all queries keyed", { tenants: 5000, oneServer: false, largest: 0.01 }, "row"],
    ["hundreds of them", { tenants: 300, oneServer: false, largest: 0.01 }, "row"],
    ["a million of them", { tenants: 1_000_000, oneServer: false, largest: 0.001, across: true }, "row"],
    ["a schema each, little change of the application", { tenants: 800, keyed: false, oneServer: false }, "schema"],
    ["the same on one server", { tenants: 300, keyed: false }, "schema"],
    ["tables of their own were promised", { tenants: 2000, isolation: "namespace", oneServer: false }, "schema"],
    ["tables differ", { tenants: 200, sameSchema: false, oneServer: false }, "schema"],
    ["8,000 schemas, as nothing else is a namespace", { tenants: 8000, isolation: "namespace" }, "schema"],
    ["a contract, 200 tenants", { tenants: 200, isolation: "contractual" }, "database"],
    ["a contract, 500 tenants", { tenants: 500, isolation: "contractual", restoreOne: true }, "database"],
    [
        "a contract, 5,000 tenants: as many servers are nobody's wish",
        { tenants: 5000, isolation: "contractual" },
        undefined,
    ],
    [
        "5,000 of them, where servers of their own are the wish",
        { tenants: 5000, isolation: "contractual", regions: true },
        "routed",
    ],
    [
        "30,000 namespaces with tables that differ, on many servers",
        { tenants: 30_000, isolation: "namespace", sameSchema: false, oneServer: false },
        undefined,
    ],
    ["few large tenants in regions", { tenants: 12, largest: 0.4, regions: true, oneServer: false }, "routed"],
    ["many without a key on one server", { tenants: 20_000, keyed: false }, "rls"],
    ["many without a key on many servers", { tenants: 20_000, keyed: false, oneServer: false }, undefined],
    ["reports over contracts", { isolation: "contractual", across: true }, undefined],
];

describe("the model", () => {
    for (const [name, situation, model] of CASES) {
        test(name, () => {
            const choice = chosen(situation);
            assert.equal(choice.model, model, JSON.stringify(choice.others, null, 1));
            if (model === undefined) return;
            assert.ok(choice.reasons.length > 0 || choice.but.length > 0);
            assert.deepEqual(choice.costs, COSTS[model as keyof typeof COSTS]);
            assert.equal(choice.others.length, MODELS.length - 1);
        });
    }

    test("some with a contract among many without: two groups", () => {
        const choice = chosen({ tenants: 5000, oneServer: false, special: 12 });
        assert.equal(choice.model, "row");
        assert.match(choice.also.join("\n"), /second group of model database for the 12 tenants that need one/);
    });

    test("each of the others says why not", () => {
        for (const [, situation] of CASES)
            for (const other of chosen(situation).others)
                assert.ok(other.score !== undefined || other.against.length > 0, other.model);
    });

    test("nothing that rules a model out is said twice, and what is recommended has a reason", () => {
        const values: { [K in keyof Situation]?: readonly Situation[K][] } = {
            tenants: [1, 50, 300, 301, 2001, 30_000],
            largest: [0.01, 0.5],
            isolation: ["policy", "namespace", "contractual"],
            sameSchema: [true, false],
            keyed: [true, false],
            oneServer: [true, false],
            regions: [true, false],
            across: [true, false],
            restoreOne: [true, false],
        };
        let all: Partial<Situation>[] = [{}];
        for (const [key, some] of Object.entries(values))
            all = all.flatMap((situation) => some.map((value) => ({ ...situation, [key]: value })));
        for (const situation of all) {
            const { model, reasons, but, others } = chosen(situation);
            for (const said of [reasons, but, ...others.map(({ against }) => against)])
                assert.deepEqual([...new Set(said)], said);
            if (model !== undefined) assert.ok(reasons.length > 0, `${model} ${JSON.stringify(situation)}`);
        }
        const rls = chosen({ oneServer: false, regions: true, isolation: "namespace", sameSchema: false }).others.find(
            ({ model }) => model === "rls",
        );
        assert.deepEqual(rls?.against, [
            "all rows lie on one server",
            "tenants share every table; a policy is all that is between them",
            "no tenant can have tables that others have not",
        ]);
    });

    test("when nothing fits, each says what rules it out", () => {
        const choice = chosen({ isolation: "contractual", across: true });
        assert.equal(choice.others.length, MODELS.length);
        assert.ok(choice.others.every(({ against }) => against.length > 0));
    });

    test("what rules a model out is never outweighed", () => {
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
    for (const { when } of TABLE) for (const key of Object.keys(when)) assert.ok(keys.includes(key as keyof Situation));
});
