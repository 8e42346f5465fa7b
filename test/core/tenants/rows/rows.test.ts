/** Rows of tenants: the plan, and how they are put in. */
import assert from "node:assert/strict";
import { test } from "vitest";
import { DatabaseError, type Session } from "../../../../core/reach/session.ts";
import type { Context } from "../../../../core/tenants/group/facet.ts";
import type { GroupSpec } from "../../../../core/tenants/group/spec.ts";
import { rows } from "../../../../core/tenants/rows/rows.ts";
import { planRows } from "../../../../core/tenants/rows/rowsPlan.ts";
import { GROUP, ROWS } from "../declared.ts";

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
