/** Nodes that die, restart or stop answering while shards move, and all of them at once under a running cluster. */
import assert from "node:assert/strict";
import { afterAll, beforeAll, test } from "vitest";
import { docker, requireEngine, run, seed, TestStack } from "../lib.ts";
import {
    begin,
    check,
    demolish,
    errorsOf,
    lastLines,
    mustUp,
    nodesInDocker,
    pause,
    printOf,
    type Run,
    SCHEMA,
    Summary,
    until,
    untilMoving,
    Writer,
} from "./chaos.ts";

const COMPANIES = 300;
/** A rebalance with a dead node ends by itself: four attempts with Citus' own pauses take about 2.5 minutes. */
const GIVES_UP_WITHIN = 6 * 60_000;
const summary = new Summary("nodes that die, restart or do not answer during a rebalance");

let stack: TestStack;
let print: Record<string, string>;
let writer: Writer | undefined;

beforeAll(async () => {
    requireEngine();
    stack = await TestStack.make({ workers: 2 });
    await mustUp(stack);
    await stack.sql(SCHEMA + seed(COMPANIES));
    print = await printOf(stack);
    writer = new Writer(stack, COMPANIES);
});

afterAll(async () => {
    summary.print();
    // the last test proves it; here it only has to end, also when that test was not asked for
    await writer?.stop().catch(() => undefined);
    if (stack) await demolish(stack);
});

/** Two workers, settled; then `up` to four, stopped at the moment when shards move. */
async function scaleOutUntilMoving(): Promise<Run> {
    await stack.config({ workers: 2 });
    await mustUp(stack);
    await stack.config({ workers: 4 });
    await stack.closeSessions();
    const up = begin(stack, undefined, GIVES_UP_WITHIN);
    await untilMoving(stack, up);
    return up;
}

const seconds = (since: number) => (Date.now() - since) / 1000;

/** Success, or an error that names the node; then the next `up` converges. */
async function endsWellOrNames(up: Run, node: string, what: string, moment: string): Promise<void> {
    const began = Date.now();
    const ran = await up.ended;
    const ended = seconds(began);
    if (ran.code !== 0) {
        console.log(`${what}: up ended with:\n${errorsOf(ran.output)}`);
        assert.match(errorsOf(ran.output), new RegExp(node), `an error that names ${node}:\n${lastLines(ran.output)}`);
        const next = await mustUp(stack);
        await check(stack, { workers: 4, print });
        summary.add(what, moment, "ended with an error", ended, `names ${node}; the next up took ${next.toFixed(1)} s`);
    } else {
        await check(stack, { workers: 4, print });
        summary.add(what, moment, "up itself converged", ended);
    }
}

test("a worker crashes during a rebalance and its restart policy brings it back", async () => {
    const up = await scaleOutUntilMoving();
    const moment = `${seconds(up.began).toFixed(1)} s`;
    // an immediate shutdown of the container's first process: what a crash is to the engine
    docker(["exec", stack.container("worker-1"), "bash", "-c", "kill -QUIT 1"]);
    await endsWellOrNames(up, "worker-1", "worker-1 crashes", moment);
});

test("a worker is killed during a rebalance and started 10 s later", async () => {
    const up = await scaleOutUntilMoving();
    const moment = `${seconds(up.began).toFixed(1)} s`;
    const container = stack.container("worker-2");
    docker(["kill", container]);
    await pause(10_000);
    docker(["start", container]);
    await endsWellOrNames(up, "worker-2", "worker-2 killed, started 10 s later", moment);
});

test("a worker is killed during a rebalance and stays down", async () => {
    const up = await scaleOutUntilMoving();
    const moment = `${seconds(up.began).toFixed(1)} s`;
    const container = stack.container("worker-3");
    docker(["kill", container]);
    const began = Date.now();
    try {
        const ran = await up.ended;
        assert.notEqual(ran.code, 0, "up can't succeed without worker-3");
        console.log(`worker-3 stays down: up ended with:\n${errorsOf(ran.output)}`);
        assert.match(errorsOf(ran.output), /worker-3/, `the error names worker-3:\n${lastLines(ran.output)}`);
    } finally {
        docker(["start", container]);
    }
    const ended = seconds(began);
    const next = await mustUp(stack);
    await check(stack, { workers: 4, print });
    summary.add("worker-3 killed, stays down", moment, "ended with an error", ended, `next up ${next.toFixed(1)} s`);
});

test("the coordinator is restarted during a rebalance", async () => {
    const up = await scaleOutUntilMoving();
    const moment = `${seconds(up.began).toFixed(1)} s`;
    await stack.closeSessions();
    docker(["restart", stack.container("coordinator")]);
    await endsWellOrNames(up, "coordinator", "coordinator restarted", moment);
});

test("a worker is paused for a minute during a rebalance", async () => {
    const up = await scaleOutUntilMoving();
    const moment = `${seconds(up.began).toFixed(1)} s`;
    const container = stack.container("worker-4");
    const before = up.said().length;
    docker(["pause", container]);
    try {
        await pause(60_000);
    } finally {
        docker(["unpause", container]);
    }
    const meanwhile = up.said().slice(before);
    console.log(`while worker-4 was paused, up said:\n${lastLines(meanwhile, 20)}`);
    await endsWellOrNames(up, "worker-4", "worker-4 paused for 60 s", moment);
    // on the row of the placement itself
    assert.match(meanwhile, /citus-shards.*worker-4/, `up says that it waits for worker-4:\n${lastLines(meanwhile)}`);
});

test("every container is restarted under a running cluster", async () => {
    await stack.config({ workers: 2 });
    await mustUp(stack);
    const outputs = await stack.outputs();
    const began = Date.now();
    await stack.closeSessions();
    docker(["restart", ...nodesInDocker(stack).containers.map((node) => stack.container(node))]);
    await until(async () => (await status()).code === 0, 120_000, "npm run status says healthy");
    const healthy = seconds(began);
    const after = await stack.outputs();
    assert.deepEqual([after.coordinator, after.workers], [outputs.coordinator, outputs.workers], "the same ports");
    await check(stack, { workers: 2, print });
    summary.add("docker restart of every container", "-", "healthy", healthy, "same ports, no change by the next up");
});

test("the client that wrote all the while lost nothing", async () => {
    assert.ok(writer);
    summary.add("client that writes meanwhile", "-", "no row lost or doubled", undefined, await writer.stop());
});

function status() {
    return run(process.execPath, ["scripts/status.ts"], {
        cwd: stack.dir,
        env: stack.env,
    });
}
