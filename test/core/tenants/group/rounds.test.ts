/** Looks at many groups share connections and rounds of the nodes. */
import assert from "node:assert/strict";
import { describe, test } from "vitest";
import { eachOn, handedOn } from "../../../../core/reach/handedOn.ts";
import { DatabaseError, type Session } from "../../../../core/reach/session.ts";
import { type AskNodes, type NodeAnswers, sharedRounds } from "../../../../core/tenants/group/ask.ts";

const session = (name: string, closed: string[] = []): Session => ({
    node: name,
    query: async () => [],
    certificateEnds: () => undefined,
    close: async () => {
        closed.push(name);
    },
});

/** Two nodes that repeat each question; `broken` is answered by no second node. */
function nodes(broken?: string) {
    const rounds: { readonly by: string; readonly questions: readonly string[] }[] = [];
    const gate = { began: () => {}, open: Promise.resolve() };
    const ask: AskNodes = async ({ node }, questions) => {
        rounds.push({ by: node, questions: [...questions] });
        gate.began();
        if (questions.includes("refused")) throw new DatabaseError(node, "asking", { message: "no" });
        await gate.open;
        return [1, 2].map((nodeid): NodeAnswers => {
            const fails = nodeid === 2 && broken !== undefined && questions.includes(broken);
            return fails
                ? { nodeid, success: false, said: "broken", answers: null }
                : { nodeid, success: true, said: null, answers: questions.map((one) => `${one} on ${nodeid}`) };
        });
    };
    return { rounds, gate, ask: sharedRounds(ask) };
}

describe("rounds of the nodes", () => {
    test("looks of the same moment share one, each with its own answers; what comes meanwhile shares the next", async () => {
        const { rounds, gate, ask } = nodes();
        let answer = () => {};
        gate.open = new Promise((resolve) => (answer = resolve));
        const underWay = new Promise<void>((resolve) => (gate.began = resolve));
        const first = ask(session("a"), ["x", "y"]);
        const second = ask(session("b"), ["y", "z"]);
        await underWay;
        const third = ask(session("c"), ["z"]);
        answer();
        assert.deepEqual((await first)[1]?.answers, ["x on 2", "y on 2"]);
        assert.deepEqual((await second)[0]?.answers, ["y on 1", "z on 1"]);
        assert.deepEqual((await third)[1]?.answers, ["z on 2"]);
        assert.deepEqual(rounds, [
            { by: "a", questions: ["x", "y", "z"] },
            { by: "c", questions: ["z"] },
        ]);
        assert.deepEqual((await ask(session("d"), ["x"]))[0]?.answers, ["x on 1"]);
    });

    test("what fails one look fails that one alone", async () => {
        const failing = nodes("bad");
        const [good, bad] = await Promise.all([
            failing.ask(session("a"), ["x"]),
            failing.ask(session("b"), ["bad", "x"]),
        ]);
        assert.ok(good.every(({ success }) => success));
        assert.deepEqual(
            bad.map(({ success, said }) => [success, said]),
            [
                [true, null],
                [false, "broken"],
            ],
        );
        const refusing = nodes();
        const [fine, refused] = await Promise.allSettled([
            refusing.ask(session("a"), ["x"]),
            refusing.ask(session("b"), ["refused"]),
        ]);
        assert.deepEqual([fine.status, refused.status], ["fulfilled", "rejected"]);
        await assert.rejects(refusing.ask(session("c"), ["refused"]), /asking failed/);
        assert.equal((await refusing.ask(session("d"), ["x"])).length, 2, "a round after one that failed");
    });
});

describe("connections that are handed on", () => {
    test("one after the other takes the same, two at once take two", async () => {
        let opened = 0;
        const on = handedOn(async () => session(`s${++opened}`));
        const name = async ({ node }: Session) => node;
        assert.equal(await on(name), "s1");
        assert.equal(await on(name), "s1");
        assert.deepEqual((await Promise.all([on(name), on(name)])).sort(), ["s1", "s2"]);
    });

    test("one that was lost while nobody used it is opened anew, and one that failed is not kept", async () => {
        let opened = 0;
        const closed: string[] = [];
        const on = handedOn(async () => session(`s${++opened}`, closed));
        const name = async ({ node }: Session) => node;
        await on(name);
        const lost = new DatabaseError("coordinator", "x", { code: "57P01", message: "terminating connection" });
        const once = async ({ node }: Session) => {
            if (node === "s1") throw lost;
            return node;
        };
        assert.equal(await on(once), "s2");
        assert.deepEqual(closed, ["s1"]);
        await assert.rejects(
            on(async () => {
                throw new DatabaseError("coordinator", "x", { code: "42601", message: "syntax error" });
            }),
            /syntax error/,
        );
        assert.deepEqual(closed, ["s1", "s2"]);
        assert.equal(await on(name), "s3");
        // on a new one it is no matter of being kept
        const fresh = handedOn(async () => session("n"));
        await assert.rejects(
            fresh(async () => {
                throw lost;
            }),
            /terminating/,
        );
    });

    test("there are so many at most, and who waits for one comes in turn", async () => {
        let opened = 0;
        const on = handedOn(async () => session(`s${++opened}`), 2);
        const order: number[] = [];
        const ends: (() => void)[] = [];
        const reads = [0, 1, 2, 3].map((i) =>
            on(async ({ node }) => {
                order.push(i);
                await new Promise<void>((resolve) => ends.push(resolve));
                if (i === 0) throw new Error("of its own");
                return node;
            }),
        );
        const failed = assert.rejects(reads[0] as Promise<string>, /of its own/);
        const settle = () => new Promise((resolve) => setImmediate(resolve));
        await settle();
        assert.deepEqual(order, [0, 1]);
        ends[0]?.();
        await failed;
        await settle();
        assert.deepEqual(order, [0, 1, 2]);
        for (let i = 1; i < 4; i++) {
            ends[i]?.();
            await settle();
        }
        assert.deepEqual(order, [0, 1, 2, 3]);
        // the first one's failed, so it was closed
        assert.deepEqual((await Promise.all(reads.slice(1))).sort(), ["s2", "s2", "s3"]);
        assert.equal(opened, 3);
    });

    test("each query of a session of theirs takes one that is free, with all that it is given", async () => {
        const asked: unknown[] = [];
        const on = handedOn(
            async () => ({
                ...session("kept"),
                query: async <T extends object>(...query: readonly unknown[]) => {
                    asked.push(query);
                    return [{ n: asked.length }] as T[];
                },
            }),
            1,
        );
        const each = eachOn("coordinator", on);
        const answers = await Promise.all([each.query("a", [1], { again: true }), each.query("b")]);
        assert.deepEqual(answers, [[{ n: 1 }], [{ n: 2 }]]);
        assert.deepEqual(asked, [
            ["a", [1], { again: true }],
            ["b", undefined, undefined],
        ]);
    });
});
