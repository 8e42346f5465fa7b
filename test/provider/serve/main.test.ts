/** The provider's process, as the engine starts it. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { test } from "vitest";
import { ROOT } from "../../lib.ts";

test("says the port that it listens on, and ends when its standard input does", async () => {
    const child = spawn(join(ROOT, "provider/pulumi-resource-citus-clusters"), ["127.0.0.1:1"], { stdio: "pipe" });
    const ended = once(child, "exit");
    let said = "";
    child.stderr.on("data", (data) => {
        said += data;
    });
    const [port] = await Promise.race([once(child.stdout, "data"), ended.then(() => [`ended: ${said}`])]);
    assert.match(String(port), /^[0-9]+\n$/);
    assert.equal(child.exitCode, null, "it serves");
    child.stdin.end();
    const [code] = await ended;
    assert.equal(code, 1);
    assert.equal(said, "");
});
