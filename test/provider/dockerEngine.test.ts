/** Whether a cluster stays on the engine that it was made on, against engines that answer what the test says. */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer, type Server } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, test } from "vitest";
import { DockerEngineKind } from "../../provider/dockerEngine.ts";
import { answeringEngine, canRefresh } from "../../scripts/lib/engine.ts";
import { ask } from "./ask.ts";

const CLUSTER = "0123456789abcdef";

interface Answers {
    readonly id: string;
    readonly has?: boolean;
    readonly forwarding?: boolean;
    readonly podman?: boolean;
}

let folder: string;
const servers: Server[] = [];

/** A Docker engine that knows what it is called and whether it has the cluster's volumes. */
async function engine(name: string, answers: Answers): Promise<string> {
    const server = createServer((request, response) => {
        const url = new URL(request.url ?? "", "http://engine");
        const body = url.pathname.endsWith("/info")
            ? { ID: answers.id, Name: name, IPv4Forwarding: answers.forwarding ?? true }
            : url.pathname.endsWith("/version")
              ? { Components: [{ Name: answers.podman ? "Podman Engine" : "Engine" }] }
              : url.pathname.endsWith("/volumes")
                ? {
                      Volumes:
                          answers.has && url.searchParams.get("filters")?.includes(CLUSTER) ? [{ Name: "data" }] : [],
                  }
                : [];
        response.setHeader("content-type", "application/json");
        response.end(url.pathname.endsWith("/_ping") ? "OK" : JSON.stringify(body));
    });
    // a path of its own: Node keeps connections to the last server at a path
    const socket = join(folder, `${name}-${++made}.sock`);
    await new Promise<void>((resolve) => server.listen(socket, resolve));
    servers.push(server);
    return `unix://${socket}`;
}

const wanted = (address: string) => ({ address, clusterId: CLUSTER });
const kept = (address: string, engineId: string) => ({ ...wanted(address), engineId, engineName: "old" });
const NOWHERE = "unix:///nowhere.sock";
let made = 0;
let environment: string | undefined;

beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), "citus-engine-"));
    environment = process.env.DOCKER_HOST;
    process.env.DOCKER_HOST = NOWHERE;
});
afterEach(async () => {
    process.env.DOCKER_HOST = NOWHERE;
    for (const server of servers.splice(0)) {
        server.closeAllConnections();
        await new Promise((resolve) => server.close(resolve));
    }
});
afterAll(() => {
    if (environment === undefined) delete process.env.DOCKER_HOST;
    else process.env.DOCKER_HOST = environment;
    rmSync(folder, { recursive: true, force: true });
});

const kind = new DockerEngineKind();

describe("the engine of a cluster", () => {
    test("is written down with its id and name", async () => {
        const address = await engine("one", { id: "A" });
        assert.deepEqual((await kind.create(ask(), wanted(address))).outs, {
            ...wanted(address),
            engineId: "A",
            engineName: "one",
        });
    });

    test("at the same address is no change", async () => {
        const address = await engine("one", { id: "A" });
        assert.deepEqual(await kind.diff(ask(), "engine", kept(address, "A"), wanted(address)), { changes: false });
    });

    test("under another address is taken up", async () => {
        const address = await engine("one", { id: "A" });
        assert.deepEqual(await kind.diff(ask(), "engine", kept(NOWHERE, "A"), wanted(address)), { changes: true });
        assert.equal((await kind.update(ask(), "engine", kept(NOWHERE, "A"), wanted(address))).outs.address, address);
    });

    test("that lost its id but has the cluster is the same", async () => {
        const address = await engine("one", { id: "B", has: true });
        assert.equal((await kind.update(ask(), "engine", kept(address, "A"), wanted(address))).outs.engineId, "B");
    });

    for (const [what, at] of [
        ["another address", "unix:///old.sock"],
        ["the same address, such as a link that leads elsewhere now", undefined],
    ] as const)
        test(`that is another one at ${what} is refused with both names, in preview and by up`, async () => {
            const address = await engine("new", { id: "B" });
            const olds = kept(at ?? address, "A");
            const refused = (error: Error) =>
                error.message.includes(`is on the Docker engine old at ${olds.address}.`) &&
                error.message.includes(`would use the Docker engine new at ${address},`) &&
                error.message.includes("Nothing was changed.");
            await assert.rejects(kind.diff(ask(), "engine", olds, wanted(address)), refused);
            await assert.rejects(kind.update(ask(), "engine", olds, wanted(address)), refused);
        });

    test("Podman makes up an id for each request, so its address counts", async () => {
        const address = await engine("pod", { id: "any", podman: true });
        assert.deepEqual(await kind.diff(ask(), "engine", kept(address, ""), wanted(address)), { changes: false });
        await assert.rejects(kind.diff(ask(), "engine", kept(NOWHERE, ""), wanted(address)), /which has nothing of it/);
    });

    test("that does not answer is not judged in a preview, and stops an up", async () => {
        assert.deepEqual(await kind.diff(ask(), "engine", kept(NOWHERE, "A"), wanted(NOWHERE)), { changes: false });
        await assert.rejects(
            kind.create(ask(), wanted(NOWHERE)),
            /No Docker engine answers at unix:\/\/\/nowhere\.sock \(no such socket\)/,
        );
        await assert.rejects(
            kind.update(ask(), "engine", kept("unix:///old.sock", "A"), wanted(NOWHERE)),
            /No Docker engine answers/,
        );
    });

    test("of before engines were written down is looked for where it was made", async () => {
        const [there, address] = [await engine("there", { id: "A", has: true }), await engine("new", { id: "B" })];
        process.env.DOCKER_HOST = there;
        await assert.rejects(
            kind.check(ask(), {}, wanted(address)),
            /is on the Docker engine unix:.*there-\d+\.sock\. This run would use/,
        );
        await assert.rejects(kind.create(ask(), wanted(address)), /which has nothing of it/);
        assert.deepEqual(await kind.check(ask(), {}, wanted(there)), { inputs: wanted(there) });
    });

    test("without IPv4 forwarding gets no new cluster, and keeps the one it has", async () => {
        const address = await engine("off", { id: "A", forwarding: false });
        await assert.rejects(
            kind.create(ask(), wanted(address)),
            /IPv4 forwarding is off .*sysctl -w net\.ipv4\.ip_forward=1.*Nothing was changed\./,
        );
        assert.deepEqual(await kind.diff(ask(), "engine", kept(address, "A"), wanted(address)), { changes: false });
    });
});

describe("before a refresh and a destroy", () => {
    const state = (address: string, engineId: string) => [
        {
            urn: "urn:engine",
            type: "citus-clusters:index:DockerEngine",
            outputs: { address, engineId, engineName: "old" },
        },
        { urn: "urn:id", type: "random:index/randomId:RandomId", outputs: { hex: CLUSTER } },
    ];

    test("the cluster's own engine may be asked, and one that took its data along", async () => {
        assert.equal(await canRefresh(state(await engine("own", { id: "A" }), "A")), true);
        assert.equal(await canRefresh(state(await engine("moved", { id: "B", has: true }), "A")), true);
    });

    test("one that is silent is not asked: up says what to do", async () => {
        assert.equal(await canRefresh(state(NOWHERE, "A")), false);
    });

    test("another one at the same address is refused, as it has nothing of the cluster", async () => {
        const there = state(await engine("other", { id: "B" }), "A");
        const refused =
            /is not the one that the cluster is on, and has nothing of it: its id is B \(other\), the cluster's is A \(old\)\.\nNothing was changed/;
        await assert.rejects(canRefresh(there), refused);
        await assert.rejects(answeringEngine(there), refused);
        await assert.rejects(
            kind.read(ask(), "engine", kept(await engine("another", { id: "C" }), "A")),
            /is on the Docker engine old at/,
        );
    });
});
