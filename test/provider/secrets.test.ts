/** Secrets in what the engine sends and is answered. */
import assert from "node:assert/strict";
import { describe, test } from "vitest";
import { closed, closedByKind, opened } from "../../provider/secrets.ts";

const secret = (value: unknown) => ({
    "4dabf18193072939515e22adb298388d": "1b47061264138c4ac30d75fd1eb44270",
    value,
});

describe("opened", () => {
    test("is the value itself, however deep it lies", () => {
        const sent = { a: secret("x"), b: { c: [1, { d: secret({ e: secret(true) }) }], f: null }, g: "plain" };
        assert.deepEqual(opened(sent), { a: "x", b: { c: [1, { d: { e: true } }], f: null }, g: "plain" });
    });

    test("leaves what only looks like an envelope", () => {
        const other = { "4dabf18193072939515e22adb298388d": "another mark", value: 1 };
        assert.deepEqual(opened({ other }), { other });
    });
});

describe("closed", () => {
    test("what came in as a secret under a name goes out as one, and nothing else", () => {
        assert.deepEqual(closed({ a: "y", b: 2, found: "z" }, { a: secret("x"), b: 1 }), {
            a: secret("y"),
            b: 2,
            found: "z",
        });
    });

    test("inside an object only the part that was one", () => {
        const asked = { access: { host: "h", password: secret("p") } };
        assert.deepEqual(closed(opened(asked), asked), asked);
    });

    test("an object that was one as a whole stays one as a whole", () => {
        const asked = { access: secret({ host: "h", password: "p" }) };
        assert.deepEqual(closed({ access: { host: "h2", password: "p" } }, asked), {
            access: secret({ host: "h2", password: "p" }),
        });
    });

    test("a list with one is closed as a whole: its order may be another one", () => {
        const asked = { nodes: [{ name: "a" }, { name: "b", password: secret("p") }] };
        const answer = { nodes: [{ name: "b", password: "p" }] };
        assert.deepEqual(closed(answer, asked), { nodes: secret(answer.nodes) });
    });

    test("what is closed already is not closed twice, and what is not there stays away", () => {
        assert.deepEqual(closed({ a: secret("y") }, { a: secret("x"), b: secret("z") }), { a: secret("y") });
        assert.deepEqual(closed({ a: undefined }, { a: secret("x") }), { a: undefined });
    });

    test("without a secret everything is as it was", () => {
        assert.deepEqual(closed({ a: [{ b: 1 }] }, { a: [{ b: 2 }] }), { a: [{ b: 1 }] });
    });
});

test("what an import found is closed where its kind says so", () => {
    const kind = { host: { type: "string" }, access: { type: "object", secret: true } } as const;
    assert.deepEqual(closedByKind({ host: "h", access: { password: "p" }, other: 1 }, kind), {
        host: "h",
        access: secret({ password: "p" }),
        other: 1,
    });
});
