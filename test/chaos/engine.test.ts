/**
 * The Docker engine itself restarted under a running cluster. It stops every container of this machine, so it runs only
 * with CHAOS_ENGINE=1, and by the command in CHAOS_ENGINE_RESTART, e.g. "sudo systemctl restart docker".
 */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { test } from "vitest";
import { requireEngine, run, seed, TestStack } from "../lib.ts";
import { check, demolish, mustUp, printOf, SCHEMA, Summary, until } from "./chaos.ts";

const works = () => {
    try {
        execFileSync("docker", ["info"], { stdio: "ignore", timeout: 10_000 });
        return true;
    } catch {
        return false;
    }
};

// only with CHAOS_ENGINE=1: it stops every container here
test.skipIf(process.env.CHAOS_ENGINE !== "1")("the engine is restarted under a running cluster", async () => {
    requireEngine();
    const command = process.env.CHAOS_ENGINE_RESTART;
    assert.ok(command, "CHAOS_ENGINE_RESTART names the command that restarts the engine");
    const summary = new Summary("the engine restarted");
    const stack = await TestStack.make({ workers: 2 });
    try {
        await mustUp(stack);
        await stack.sql(SCHEMA + seed(50));
        const print = await printOf(stack);
        const outputs = await stack.outputs();
        await stack.closeSessions();
        const began = Date.now();
        execFileSync("sh", ["-c", command], { stdio: "inherit", timeout: 180_000 });
        await until(works, 120_000, "the engine answers");
        const status = () =>
            run(process.execPath, ["scripts/status.ts"], {
                cwd: stack.dir,
                env: stack.env,
            });
        await until(async () => (await status()).code === 0, 180_000, "npm run status says healthy");
        const seconds = (Date.now() - began) / 1000;
        const after = await stack.outputs();
        assert.deepEqual([after.coordinator, after.workers], [outputs.coordinator, outputs.workers], "the same ports");
        await check(stack, { workers: 2, print });
        summary.add("engine restarted", "-", "healthy", seconds, "same ports, no change by the next up");
        summary.print();
    } finally {
        await demolish(stack);
    }
});
