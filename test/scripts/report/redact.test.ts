/** What a report leaves out. */
import assert from "node:assert/strict";
import { describe, test } from "vitest";
import { Redactor, secretsIn } from "../../../scripts/report/redact.ts";
import { assertNoSecret } from "../../secrets.ts";

const SECRET = "k3n-very-secret";

describe("values that the stack keeps secret", () => {
    for (const [how, text] of [
        ["as they are", `password is ${SECRET}.`],
        ["in base64", `x ${Buffer.from(SECRET).toString("base64")} y`],
        ["in JSON", JSON.stringify({ a: [SECRET] })],
        ["in a URL", `postgres://u:${encodeURIComponent(SECRET)}@h/d`],
    ] as const)
        test(how, () => assertNoSecret([new Redactor([SECRET]).text(text)], { it: SECRET }));

    test("one that is a part of another, and one of several lines", () => {
        const lines = ["a".repeat(50), "b".repeat(50)].join("\n");
        const redactor = new Redactor([SECRET, `${SECRET}-and-more`, lines]);
        assert.equal(redactor.text(`${SECRET}-and-more`), "(removed)");
        assert.equal(redactor.text(`> ${"b".repeat(50)}`), "> (removed)");
        assert.equal(redactor.taken.values, 2);
    });

    test("a short one would take common words with it", () =>
        assert.equal(new Redactor(["app"]).text("database app"), "database app"));
});

describe("what nobody knows", () => {
    const key = "-----BEGIN EC PRIVATE KEY-----\nabc\n-----END EC PRIVATE KEY-----";
    for (const [what, text, shown] of [
        ["a private key", `before ${key} after`, "before (removed) after"],
        ["a verifier", "SCRAM-SHA-256$4096:abc$def:ghi is", "(removed) is"],
        ["a password in a URL", "postgres://u:pw@h/d", "postgres://u:(removed)@h/d"],
        ["a password in a connection string", "host=x password=pw1 port=1", "host=x password=(removed) port=1"],
    ] as const)
        test(what, () => assert.equal(new Redactor([]).text(text), shown));

    const AT = "2026-12-01 04:44:08.349 UTC [1] postgres@app/psql ";
    for (const [what, log] of [
        ["a statement with a password", `${AT}STATEMENT:  ALTER ROLE app PASSWORD 'hunter2' x`],
        [
            "one without quotes",
            `${AT}ERROR:  syntax error at or near "hunter2"\n${AT}STATEMENT:  CREATE ROLE a PASSWORD hunter2`,
        ],
        [
            "one that does not end",
            `${AT}ERROR:  unterminated quoted string at or near "'hunter2"\n${AT}STATEMENT:  SELECT 'hunter2`,
        ],
        ["one over several lines", `${AT}STATEMENT:  INSERT INTO t\n\tVALUES ('a ''b\n\thunter2')`],
        ["one in dollars", `${AT}STATEMENT:  DO $x$ hunter2 $x$`],
        ["a row", `${AT}DETAIL:  Key (email)=(hunter2) already exists.`],
        ["a whole row", `${AT}DETAIL:  Failing row contains (1, hunter2, null).`],
        ["a value of another type", `${AT}ERROR:  invalid input syntax for type bigint: "hunter2"`],
        ["a subscription", `${AT}STATEMENT:  CREATE SUBSCRIPTION s CONNECTION 'host=x password=hunter2' PUBLICATION p`],
        ["an escaped quote", `${AT}STATEMENT:  create role r password E'a\\'hunter2' nosuchoption`],
        ["a literal behind an escaped quote", `${AT}STATEMENT:  select E'it\\'s', 'hunter2', nosuch`],
        ["a literal behind a comment", `${AT}STATEMENT:  create role r password /* it's */ 'hunter2' x`],
        ["a literal behind a comment of a line", `${AT}STATEMENT:  select 1 -- don't\n\t, 'hunter2', nosuch`],
        ["a literal behind a name", `${AT}STATEMENT:  select 'k' as "it's", 'hunter2'`],
        ["a comment", `${AT}STATEMENT:  select nosuch /* a /* b */ hunter2 */`],
        ["a name that does not end", `${AT}STATEMENT:  select "hunter2`],
        ["a line of COPY", `${AT}CONTEXT:  COPY t, line 1, column id: "hunter2"`],
        ["JSON", `${AT}CONTEXT:  JSON data, line 1: {"hunter2":}`],
        ["a value for a format", `${AT}ERROR:  invalid value "hunter2" for "YYYY"`],
        [
            "a statement of a function",
            `${AT}CONTEXT:  SQL statement "SELECT E'it\\'s', 'hunter2'"\n\tPL/pgSQL function f() line 1`,
        ],
        ["a statement that was slow", `${AT}LOG:  duration: 12.5 ms  statement: SELECT E'\\'', 'hunter2'`],
        [
            "what a function raises",
            `${AT}WARNING:  hunter2 said no\n${AT}CONTEXT:  PL/pgSQL function f() line 3 at RAISE\n${AT}STATEMENT:  SELECT f()`,
        ],
    ] as const)
        test(`a log with ${what}`, () => {
            const left = new Redactor([]).log(log);
            assert.doesNotMatch(left, /hunter2/);
            assert.match(left, /^2026-12-01 04:44:08\.349 UTC \[1\]/);
        });

    test("a log keeps what is of use", () => {
        const log = `${AT}ERROR:  relation "orders" does not exist at character 15\n${AT}STATEMENT:  SELECT * FROM orders`;
        assert.equal(new Redactor([]).log(log), log);
    });

    test("data: its texts, and its statements by their fields' names", () => {
        const data = { query: "SELECT 'hunter2'", n: 7, list: [{ connection: "password=hunter2" }], none: null };
        assert.deepEqual(new Redactor([]).data(data, ["query"]), {
            query: "SELECT '?'",
            n: 7,
            list: [{ connection: "password=(removed)" }],
            none: null,
        });
    });

    test("a moment stays", () =>
        assert.deepEqual(new Redactor([]).data({ started: new Date("2026-12-01T04:44:08Z") }), {
            started: "2026-12-01T04:44:08.000Z",
        }));
});

test("secrets of a state: texts whole, of objects the fields that are secret", () => {
    const secret = (value: unknown) => ({
        "4dabf18193072939515e22adb298388d": "1b47061264138c4ac30d75fd1eb44270",
        plaintext: JSON.stringify(value),
    });
    const state = {
        deployment: {
            resources: [
                { outputs: { result: secret("first-secret"), plain: "not-secret" } },
                {
                    outputs: {
                        access: secret({ host: "localhost", database: "application", password: "second-secret" }),
                    },
                },
                { outputs: { files: secret({ "node.key": "third-secret", "pg_hba.conf": "hostssl all" }) } },
            ],
        },
    };
    assert.deepEqual(secretsIn(JSON.stringify(state)).sort(), ["first-secret", "second-secret", "third-secret"]);
});
