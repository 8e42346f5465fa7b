/** Values that are taken out of a query's text. */
import assert from "node:assert/strict";
import { describe, test } from "vitest";
import { given, liftGiven } from "../../../core/sql/given.ts";
import { literal } from "../../../core/sql/quote.ts";

describe("values that are given", () => {
    test("two that differ in nothing else leave one text", () => {
        const query = (name: string) =>
            `SELECT $1, 'fixed', ${given(`"public"."${name}"`)}::regclass FROM pg_roles r WHERE r.rolname = ${given(name)}`;
        const [one, other] = [liftGiven(query("a"), 1), liftGiven(query("b's"), 1)];
        assert.equal(one.sql, other.sql);
        assert.equal(one.sql, "SELECT $1, 'fixed', $2::regclass FROM pg_roles r WHERE r.rolname = $3::text");
        assert.deepEqual(one.values, ['"public"."a"', "a"]);
        assert.deepEqual(other.values, [`"public"."b's"`, "b's"]);
    });

    test.each(["plain", "it's", "back\\slash", "\\'", "''", "", "a\nb", "$1", '"q"', "E'x'"])(
        "the value is what was given: %j",
        (text) => {
            assert.deepEqual(liftGiven(`SELECT ${given(text)}, ${literal("x")}`, 0), {
                sql: "SELECT $1::text, 'x'",
                values: [text],
            });
        },
    );

    test("what stands inside of another text or a name stays there", () => {
        const inner = `SELECT ${given("a")}`;
        for (const sql of [
            `SELECT ask(${literal(inner)})`,
            `SELECT ask(${literal(`${inner}\\`)})`,
            `SELECT "${inner.replaceAll('"', '""')}"`,
        ])
            assert.deepEqual(liftGiven(`${sql}, ${given("b")}`, 2), { sql: `${sql}, $3::text`, values: ["b"] });
    });

    test("where nobody takes it out, it is a literal", () => {
        assert.equal(given("it's").replace(/\/\*.*?\*\//, ""), "'it''s'");
    });
});
