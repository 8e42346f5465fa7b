/** The text of commands for a machine, and what its answers say. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import fc from "fast-check";
import { describe, test } from "vitest";
import {
    exchangeCommand,
    MOST_TEXT,
    parseAnswer,
    parseExchange,
    putCommands,
    quote,
    runCommand,
} from "../../../../core/reach/aws/remote.ts";

const base64 = (text: string) => Buffer.from(text).toString("base64");

describe("commands", () => {
    test("a word reaches the script as it is, whatever is in it", () => {
        fc.assert(
            fc.property(
                fc.array(
                    fc.string().filter((word) => !word.includes("\0")),
                    { maxLength: 4 },
                ),
                (words) => {
                    const line = `printf '%s\\0' ${words.map(quote).join(" ")}`;
                    const said = execFileSync("bash", ["-c", words.length === 0 ? "true" : line], { encoding: "utf8" });
                    assert.deepEqual(said.split("\0").slice(0, -1), words);
                },
            ),
            { numRuns: 30 },
        );
    });

    test("what is put is the same bytes in pieces that fit", () => {
        const content = Buffer.from(Array.from({ length: 100_000 }, (_, i) => i % 251));
        const commands = putCommands("ab12", content);
        const text = (command: string) => command.split("\n").slice(1, -1).join("");
        assert.ok(commands.length > 1);
        for (const command of commands) {
            assert.match(command, /^\/usr\/local\/lib\/citus-node\/aws\/remote\.sh put ab12 <<'END'\n/);
            assert.ok(text(command).length <= MOST_TEXT);
            for (const line of command.split("\n")) assert.ok(line.length <= 80);
        }
        assert.deepEqual(Buffer.concat(commands.map((command) => Buffer.from(text(command), "base64"))), content);
    });

    test("nothing is put as one empty piece", () => assert.equal(putCommands("ab", Buffer.alloc(0)).length, 1));

    test("a run names its group and its words", () =>
        assert.equal(
            runCommand("ab", "configuration:v-1", ["configure.sh", "0f", "it's"]),
            "/usr/local/lib/citus-node/aws/remote.sh run ab configuration:v-1 configure.sh 0f 'it'\\''s'",
        ));

    test("an exchange sends bytes and how far it has read", () =>
        assert.equal(
            exchangeCommand("ab", Buffer.from("Q"), 12),
            `/usr/local/lib/citus-node/aws/relay.sh exchange ab 12 <<'END'\n${base64("Q")}\nEND`,
        ));
});

describe("answers", () => {
    test("code, output and error", () => {
        const found = parseAnswer(
            `CODE 5 OUT 9000 ERR 3\nSTDOUT\n${base64("hello\nworld")}\nSTDERR\n${base64("oh!")}\n`,
        );
        assert.equal(found?.code, 5);
        assert.equal(found.out, 9000);
        assert.equal(found.stdout.toString(), "hello\nworld");
        assert.equal(found.stderr.toString(), "oh!");
    });

    test("what was too long for a page is packed, each on its own", () => {
        const found = parseAnswer(`CODE 0 OUT 9000 GZIP ERR 3\nSTDOUT\n${base64("x")}\nSTDERR\n${base64("oh!")}\n`);
        assert.deepEqual([found?.out, found?.outPacked, found?.err, found?.errPacked], [9000, true, 3, false]);
        const both = parseAnswer("CODE 1 OUT 1 GZIP ERR 2 GZIP\nSTDOUT\n\nSTDERR\n\n");
        assert.deepEqual([both?.outPacked, both?.errPacked], [true, true]);
    });

    test("nothing on either", () => {
        const found = parseAnswer("CODE 0 OUT 0 ERR 0\nSTDOUT\n\nSTDERR\n\n");
        assert.equal(found?.stdout.length, 0);
        assert.equal(found?.stderr.length, 0);
    });

    test("what is no answer is none", () => {
        assert.equal(parseAnswer("bash: remote.sh: No such file or directory"), undefined);
        assert.equal(parseExchange(""), undefined);
    });

    for (const [head, closed, idle] of [
        ["NEXT 40 open more", false, false],
        ["NEXT 40 open idle", false, true],
        ["NEXT 40 closed more", false, false],
        ["NEXT 40 closed idle", true, true],
    ] as const)
        test(head, () => {
            const found = parseExchange(`${head}\n${base64("abc")}\n`);
            assert.deepEqual([found?.next, found?.closed, found?.idle], [40, closed, idle]);
            assert.equal(found?.data.toString(), "abc");
        });
});
