/** Nodes that do not answer: who is asked, how long, and what is said of them. */
import assert from "node:assert/strict";
import { createServer, type Server } from "node:net";
import { afterAll, beforeAll, describe, test } from "vitest";
import { ANSWERS_WITHIN, findSilent } from "../../../core/citus/silent.ts";
import type { DirectAccess } from "../../../core/node/reach.ts";
import { describeContainer, explainSilence, readNodeState } from "../../../core/reach/nodeState.ts";
import { saidBy } from "../../../core/reach/said.ts";
import { DatabaseError, type Session } from "../../../core/reach/session.ts";
import { inTurn } from "../../../provider/coordinator.ts";
import { type PlacementInputs, PlacementKind, type PlacementState } from "../../../provider/placement.ts";
import { ask } from "../../provider/ask.ts";

/** Takes connections and never says a word, as a paused container does. */
let mute: Server;
let port = 0;

beforeAll(async () => {
    mute = createServer(() => undefined).listen(0, "127.0.0.1");
    await new Promise((resolve) => mute.once("listening", resolve));
    port = (mute.address() as { port: number }).port;
});
afterAll(() => mute.close());

const access = (at: number): DirectAccess => ({
    host: "127.0.0.1",
    port: at,
    serverName: "worker-1.c1.node",
    ca: "",
    user: "postgres",
    password: "x",
    database: "app",
});

/** A coordinator that does not reach some hosts. */
function coordinator(refused: readonly string[] = []) {
    const asked: unknown[] = [];
    const session: Session = {
        node: "coordinator",
        query: async <T extends object>(_sql: string, parameters?: readonly unknown[]) => {
            const hosts = parameters?.[0] as string[];
            asked.push(hosts);
            return hosts
                .filter((host) => refused.includes(host))
                .map((host) => ({ host, result: `failed to connect to ${host}:5432` })) as T[];
        },
        certificateEnds: () => undefined,
        close: async () => undefined,
    };
    return { session, asked };
}

const tunnel = { tunnel: { kind: "ssm", region: "r", profile: "", clusterId: "c", node: "n" } as const };

describe("findSilent", () => {
    test("asks all nodes at once, names each that is silent, and does not have the coordinator wait for them", async () => {
        const { session, asked } = coordinator();
        const began = Date.now();
        const silent = await findSilent(session, [
            { name: "worker-1", host: "worker-1.c1.node", access: access(port) },
            { name: "worker-2", host: "worker-2.c1.node", access: access(port) },
            { name: "worker-3", host: "worker-3.c1.node", access: access(1) },
        ]);
        assert.ok(Date.now() - began < ANSWERS_WITHIN + 2500, `${Date.now() - began} ms`);
        assert.deepEqual(
            silent.map(({ name, why }) => [name, why]),
            [
                ["worker-1", "timeout expired"],
                ["worker-2", "timeout expired"],
                ["worker-3", "connect ECONNREFUSED 127.0.0.1:1"],
            ],
        );
        assert.deepEqual(asked, [[]]);
    });

    test("one that the coordinator does not reach is silent too; one behind a tunnel is asked by it alone", async () => {
        const { session, asked } = coordinator(["worker-1.c1.node"]);
        const silent = await findSilent(
            session,
            ["worker-1", "worker-2"].map((name) => ({
                name,
                host: `${name}.c1.node`,
                access: { ...tunnel, user: "postgres", database: "app" },
            })),
        );
        assert.deepEqual(asked, [["worker-1.c1.node", "worker-2.c1.node"]]);
        assert.deepEqual(silent, [
            {
                name: "worker-1",
                host: "worker-1.c1.node",
                why: "the coordinator does not reach it: failed to connect to worker-1.c1.node:5432",
            },
        ]);
    });

    test("what a connection said is told without where it led", () => {
        const cause = new DatabaseError("worker-1", "connecting to localhost:1", { message: "timeout expired" }, true);
        assert.equal(saidBy(cause), "timeout expired");
        assert.equal(saidBy(new Error("one line")), "one line");
    });
});

describe("what is said of a node that does not answer", () => {
    for (const [Status, said, next, passing] of [
        ["paused", "is paused", "docker unpause c1-worker-1", false],
        ["exited", "is stopped", "docker start c1-worker-1", false],
        ["created", "is stopped", "docker start c1-worker-1", false],
        ["restarting", "restarts again and again (exit code 72)", "docker logs c1-worker-1 has the reason", true],
        ["running", "runs", "docker logs c1-worker-1 has the reason", true],
    ] as const) {
        test(`a container that is ${Status}`, () => {
            assert.deepEqual(describeContainer("c1-worker-1", { Status, ExitCode: 72 }), {
                said: `its container c1-worker-1 ${said}`,
                next,
                passing,
            });
        });
    }

    test("a container that is gone comes back by a refresh", () => {
        const state = describeContainer("c1-worker-1", undefined);
        assert.equal(
            explainSilence("connect ECONNREFUSED", state),
            "connect ECONNREFUSED; its container c1-worker-1 is gone: npm run pulumi -- up --refresh makes it again and keeps its data",
        );
        assert.equal(state.passing, false);
    });

    test("without an engine nobody says more, and the same hint is a guess", async () => {
        const shell = { kind: "docker", engine: "tcp://127.0.0.1:1", container: "x" } as const;
        assert.equal(await readNodeState(shell), undefined);
        assert.equal(await readNodeState(undefined), undefined);
        assert.match(
            explainSilence("timeout expired", undefined),
            /^timeout expired; if its container .* is gone, .*--refresh/,
        );
    });
});

test("a placement whose coordinator does not answer is asked again by up, though nothing changed", async () => {
    const given = {
        cluster: "c1",
        coordinator: access(1),
        coordinatorHost: "coordinator.c1.node",
        shell: { kind: "docker", engine: "tcp://127.0.0.1:1", container: "x" },
        workers: [],
    };
    const said: string[] = [];
    const [olds, news]: unknown[] = [{ ...given, status: "balanced" }, given];
    assert.deepEqual(await new PlacementKind().diff(ask(said), "x", olds as PlacementState, news as PlacementInputs), {
        changes: true,
    });
    assert.match(said.join(), /^coordinator does not answer: /);
});

test("of those that come at about the same time the lowest goes first, and one that fails holds up nobody", async () => {
    const order: number[] = [];
    const turn = (n: number) =>
        inTurn("test", n, async () => {
            order.push(n);
            if (n === 2) throw new Error("two");
            return n;
        });
    const results = await Promise.allSettled([turn(3), turn(1), turn(2)]);
    assert.deepEqual(order, [1, 2, 3]);
    assert.deepEqual(
        results.map(({ status }) => status),
        ["fulfilled", "fulfilled", "rejected"],
    );
    assert.equal(await turn(1), 1);
});
