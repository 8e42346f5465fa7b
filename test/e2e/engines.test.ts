/** Other ways to the engine: a Docker context, a loopback port. And what is said where a cluster can't be made. */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { connect, createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, test } from "vitest";
import { POOL_OFFSET } from "../../core/node/topology.ts";
import { resolveEngine } from "../../core/reach/docker/context.ts";
import { docker, requireEngine, run, TestStack } from "../lib.ts";

/** What the engine says when all its address ranges are taken. */
const NO_POOL =
    "could not find an available, non-overlapping IPv4 address pool among the defaults to assign to the network";

/** A way to the real engine that sees each request: on a socket of its own and on a port. */
class Way {
    readonly requests: string[] = [];
    /** Whether it answers as an engine does that has no address range left. */
    noPool = false;
    private readonly servers: Server[] = [];
    private readonly open = new Set<Socket>();

    async listen(at: string | number): Promise<number> {
        // whoever sends a command's input ends it and still reads
        const server = createServer({ allowHalfOpen: true }, (client) => this.pass(client));
        this.servers.push(server);
        await new Promise<void>((resolve) =>
            typeof at === "string" ? server.listen(at, resolve) : server.listen(at, "127.0.0.1", resolve),
        );
        const address = server.address();
        return typeof address === "object" && address ? address.port : 0;
    }

    private pass(client: Socket): void {
        const to = resolveEngine().address;
        const url = new URL(to);
        const engine = connect(
            url.protocol === "unix:"
                ? { path: url.pathname, allowHalfOpen: true }
                : { port: Number(url.port), host: url.hostname, allowHalfOpen: true },
        );
        for (const socket of [client, engine]) {
            this.open.add(socket);
            socket.on("error", () => undefined);
            socket.on("close", () => {
                this.open.delete(socket);
                client.destroy();
                engine.destroy();
            });
        }
        client.on("data", (chunk: Buffer) => {
            const [line = ""] = chunk.subarray(0, 4000).toString("latin1").split("\r\n");
            if (/^[A-Z]+ \/\S* HTTP\/1\.1$/.test(line)) this.requests.push(line);
            if (this.noPool && /^POST \S*\/networks\/create/.test(line)) {
                const body = JSON.stringify({ message: NO_POOL });
                client.write(
                    `HTTP/1.1 500 Internal Server Error\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\nConnection: close\r\n\r\n${body}`,
                );
                client.end();
                return;
            }
            engine.write(chunk);
        });
        engine.on("data", (chunk: Buffer) => client.write(chunk));
        client.on("end", () => engine.end());
        engine.on("end", () => client.end());
    }

    /** How many requests began so. */
    count(pattern: RegExp): number {
        return this.requests.filter((line) => pattern.test(line)).length;
    }

    close(): void {
        for (const server of this.servers) server.close();
        for (const socket of this.open) socket.destroy();
    }
}

const proxy = new Way();
const stacks: TestStack[] = [];
let folder: string;
let socket: string;
let tcp: string;

/** How a stack's commands reach the engine; what the test's own environment says of that is taken away. */
function reach(stack: TestStack, by: Record<string, string>): void {
    for (const name of ["DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_CONFIG"]) delete stack.env[name];
    Object.assign(stack.env, by);
}

async function make(config: Record<string, unknown>): Promise<TestStack> {
    const stack = await TestStack.make({ workers: 1, shardCount: 4, ...config });
    stacks.push(stack);
    return stack;
}

/** What the state says of one kind of resource. */
async function ofState(stack: TestStack, type: string): Promise<{ id?: string; outputs: Record<string, unknown> }[]> {
    const { stdout } = await stack.pulumi(["stack", "export"]);
    const { deployment } = JSON.parse(stdout) as {
        deployment: { resources?: { type: string; id?: string; outputs: Record<string, unknown> }[] };
    };
    return (deployment.resources ?? []).filter((resource) => resource.type === type);
}

beforeAll(async () => {
    requireEngine();
    folder = mkdtempSync(join(tmpdir(), "citus-engines-"));
    socket = join(folder, "engine.sock");
    await proxy.listen(socket);
    tcp = `tcp://127.0.0.1:${await proxy.listen(0)}`;
});

afterAll(async () => {
    proxy.noPool = false;
    for (const stack of stacks) await stack.destroy();
    proxy.close();
    rmSync(folder, { recursive: true, force: true });
});

test("a Docker context, then a loopback port of the same engine: start, status, up and down go there", async () => {
    const stack = await make({});
    const config = { DOCKER_CONFIG: join(folder, "config") };
    const env = { ...process.env, ...config };
    for (const args of [
        ["create", "proxied", "--docker", `host=unix://${socket}`],
        ["use", "proxied"],
    ]) {
        const made = await run("docker", ["context", ...args], { cwd: folder, env });
        assert.equal(made.code, 0, made.output);
    }
    reach(stack, config);
    const started = await stack.npm("start");
    assert.equal(started.code, 0, started.output);
    // what tries the image has no name
    assert.equal(proxy.count(/^POST \S*\/containers\/create\?\S*name=citus-/), 2);
    assert.ok(proxy.count(/^POST \S*\/networks\/create/) >= 2);
    const [kept] = await ofState(stack, "citus-clusters:index:DockerEngine");
    assert.equal(kept?.outputs.address, `unix://${socket}`);
    const [provider] = await ofState(stack, "pulumi:providers:docker");
    assert.equal(provider?.outputs.host, `unix://${socket}`);
    assert.equal((await stack.tryUp()).output.match(/to (update|replace)|updated|replaced/), null);

    // the state says where the cluster is, whatever the environment means
    reach(stack, { DOCKER_HOST: "unix:///nowhere.sock", DOCKER_CONTEXT: "nonsense" });
    const status = await stack.npm("status", "--json");
    assert.equal(status.code, 0, status.output);
    const asked = proxy.requests.length;
    assert.ok((await stack.backups()).repository.startsWith(`citus-${stack.name}-`));
    assert.ok(proxy.requests.slice(asked).some((line) => /^POST \S*\/containers\//.test(line)));

    reach(stack, { DOCKER_HOST: tcp, DOCKER_CONTEXT: "nonsense" });
    const containers = (await ofState(stack, "docker:index/container:Container")).map(({ id }) => id).sort();
    await stack.up();
    const [moved] = await ofState(stack, "citus-clusters:index:DockerEngine");
    assert.equal(moved?.outputs.address, tcp);
    assert.deepEqual(
        (await ofState(stack, "docker:index/container:Container")).map(({ id }) => id).sort(),
        containers,
        "another address of the same engine has made containers anew",
    );

    // a network that no state knows, as a killed run leaves it
    const [network] = await ofState(stack, "docker:index/network:Network");
    const labels = network?.outputs.labels as { label: string; value: string }[];
    docker([
        "network",
        "create",
        ...labels.flatMap(({ label, value }) => ["--label", `${label}=${value}`]),
        `${stack.name}-left`,
    ]);
    reach(stack, { DOCKER_CONTEXT: "nonsense" });
    const down = await stack.npm("down", "--yes");
    assert.equal(down.code, 0, down.output);
    assert.deepEqual(stack.leftovers(), []);
});

test("an engine on another machine is refused by npm start, preview and up, and nothing is made", async () => {
    const stack = await make({});
    for (const [by, address] of [
        ["DOCKER_HOST", "tcp://192.0.2.1:2375"],
        ["DOCKER_HOST", "ssh://me@db.example"],
    ] as const) {
        reach(stack, { [by]: address });
        for (const ran of [await stack.npm("start"), await stack.tryUp(), await stack.pulumi(["preview"])]) {
            assert.notEqual(ran.code, 0, ran.output);
            assert.ok(ran.output.includes(`${by} names the Docker engine ${address}`), ran.output);
        }
    }
    reach(stack, {});
    const configured = await stack.tryUp({ dockerHost: "tcp://192.0.2.1:2375" });
    assert.match(configured.output, /citus:dockerHost names the Docker engine "tcp:\/\/192\.0\.2\.1:2375"/);
    assert.deepEqual(await ofState(stack, "random:index/randomId:RandomId"), []);
});

test("no address range left, and a taken port, are said with what to do", async () => {
    const taken = await listener();
    const stack = await make({ port: taken.port - POOL_OFFSET });
    try {
        reach(stack, { DOCKER_HOST: `unix://${socket}` });
        proxy.noPool = true;
        const full = await stack.tryUp();
        assert.notEqual(full.code, 0);
        assert.match(full.output, /The Docker engine has no address range left for another network/);
        assert.ok(
            full.output.includes(`It said: ${NO_POOL}`) && full.output.includes("docker network prune"),
            full.output,
        );
        assert.doesNotMatch(full.output, /Unable to create network/);
        proxy.noPool = false;
        const busy = await stack.tryUp();
        assert.notEqual(busy.code, 0);
        const said = new RegExp(
            `Port ${taken.port} of 127\\.0\\.0\\.1 is taken, and coordinator is to be published there`,
        );
        assert.match(busy.output, said);
        assert.doesNotMatch(busy.output, /port is already allocated|address already in use/);
        const preflight = await stack.npm("start");
        assert.equal(preflight.code, 1);
        // and not those of its own worker, which was made
        assert.ok(preflight.output.includes(`Ports  ${taken.port} on 127.0.0.1 taken`), preflight.output);
    } finally {
        taken.close();
    }
});

/** Somebody who listens. */
async function listener(): Promise<{ port: number; close: () => void }> {
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const address = server.address();
    return { port: typeof address === "object" && address ? address.port : 0, close: () => server.close() };
}
