/**
 * `pulumi up` killed with SIGKILL at moments spread over create, scale-out and scale-in: the next `up` ends where the
 * killed one would have, and a client that writes meanwhile loses no row. CHAOS_KILLS moments in each phase, 10 by default.
 */
import assert from "node:assert/strict";
import { afterAll, beforeAll, test } from "vitest";
import { requireEngine, seed, TestStack } from "../lib.ts";
import {
    begin,
    check,
    demolish,
    type Expected,
    endProcesses,
    killAt,
    moments,
    mustUp,
    Parts,
    printOf,
    processesOf,
    recover,
    SCHEMA,
    Summary,
    type Victims,
    Writer,
} from "./chaos.ts";

const COMPANIES = 300;
const summary = new Summary("pulumi up killed with SIGKILL");

beforeAll(requireEngine);
afterAll(() => summary.print());

/** Every other kill spares the providers. */
const victimsOf = (i: number): Victims => (i % 2 === 0 ? "everything" : "the CLI only");

/** A killed `up`, then convergence. When it had ended before its moment, `again` prepares another try, a little earlier. */
async function killAndRecover(
    stack: TestStack,
    kill: { what: string; moment: number; victims: Victims; expected: Expected },
): Promise<boolean> {
    const { hit, orphans } = await killAt(stack, begin(stack), kill.moment, kill.victims);
    const moment = `${(kill.moment / 1000).toFixed(1)} s`;
    if (!hit) {
        summary.add(kill.what, moment, "had ended already", undefined, "tried again, earlier");
        return false;
    }
    try {
        const seconds = await recover(stack);
        const living = processesOf(stack).length;
        await check(stack, kill.expected);
        // plugins wait for ever for an engine that is gone: idle, as the check has shown, but they add up
        endProcesses(stack);
        const remark =
            kill.victims === "everything" ? "" : `; ${orphans} processes lived on, ${living} when it had converged`;
        summary.add(kill.what, moment, "converged", seconds, `killed ${kill.victims}${remark}`);
    } catch (error) {
        summary.add(
            kill.what,
            moment,
            "FAILED",
            undefined,
            `killed ${kill.victims}: ${(error as Error).message.split("\n")[0]}`,
        );
        throw error;
    }
    return true;
}

test("create, killed", async () => {
    const parts = new Parts();
    const files = { "test/chaos/schema.sql": `${SCHEMA}${seed(20)}` };
    const fresh = async () => {
        const stack = await TestStack.make({ workers: 2, postDeploy: Object.keys(files) });
        for (const [path, content] of Object.entries(files)) stack.write(path, content);
        return stack;
    };
    const first = await fresh();
    let seconds = 0;
    let print: Record<string, string> = {};
    try {
        seconds = await mustUp(first);
        print = await printOf(first);
        await check(first, { workers: 2, print });
        summary.add("create", "-", "undisturbed", seconds);
    } finally {
        await demolish(first);
    }
    for (const [i, planned] of moments(seconds).entries()) {
        await parts.run(
            `after ${(planned / 1000).toFixed(1)} of ${seconds.toFixed(1)} s, ${victimsOf(i)}`,
            async () => {
                let moment = planned;
                for (let hit = false; !hit; moment *= 0.85) {
                    const stack = await fresh();
                    try {
                        hit = await killAndRecover(stack, {
                            what: "create",
                            moment,
                            victims: victimsOf(i),
                            expected: { workers: 2, print },
                        });
                    } finally {
                        await demolish(stack);
                    }
                }
            },
        );
    }
    parts.end();
});

test("scale-out and scale-in, killed while a client writes", async () => {
    const parts = new Parts();
    let stack: TestStack | undefined;
    let writer: Writer | undefined;
    let print: Record<string, string> = {};

    const ready = async (): Promise<TestStack> => {
        if (stack) return stack;
        const made = await TestStack.make({ workers: 2 });
        stack = made;
        await mustUp(made);
        await made.sql(SCHEMA + seed(COMPANIES));
        print = await printOf(made);
        writer = new Writer(made, COMPANIES);
        return made;
    };
    const scale = async (workers: number) => {
        const to = await ready();
        await to.config({ workers });
        return to;
    };
    /** After a failure the next kill begins with a cluster of its own. */
    const abandon = async () => {
        const old = stack;
        stack = undefined;
        await writer?.stop().catch((error) => console.error((error as Error).message));
        writer = undefined;
        if (old) await demolish(old).catch((error) => console.error((error as Error).message));
    };

    try {
        const out = await mustUp(await scale(4));
        await check(await ready(), { workers: 4, print });
        const back = await mustUp(await scale(2));
        await check(await ready(), { workers: 2, print });
        summary.add("scale-out 2 to 4", "-", "undisturbed", out);
        summary.add("scale-in 4 to 2", "-", "undisturbed", back);

        const phases = [
            { what: "scale-out 2 to 4", from: 2, to: 4, moments: moments(out) },
            { what: "scale-in 4 to 2", from: 4, to: 2, moments: moments(back) },
        ];
        for (const i of moments(out).keys()) {
            for (const phase of phases) {
                const planned = phase.moments[i] as number;
                // the other way round in the second phase, so that both moments near each end see both kinds
                const victims = victimsOf(phase.to === 4 ? i : i + 1);
                await parts.run(`${phase.what}, after ${(planned / 1000).toFixed(1)} s, ${victims}`, async () => {
                    try {
                        if (!stack && phase.from === 4) await mustUp(await scale(4));
                        let moment = planned;
                        for (let hit = false; !hit; moment *= 0.85) {
                            hit = await killAndRecover(await scale(phase.to), {
                                what: phase.what,
                                moment,
                                victims,
                                expected: { workers: phase.to, print },
                            });
                            if (!hit) await mustUp(await scale(phase.from));
                        }
                    } catch (error) {
                        await abandon();
                        throw error;
                    }
                });
            }
        }
        assert.ok(writer, "the last kill's cluster is there");
        const line = await (writer as Writer).stop();
        writer = undefined;
        summary.add("client that writes meanwhile", "-", "no row lost or doubled", undefined, line);
        parts.end();
    } finally {
        await abandon();
    }
});
