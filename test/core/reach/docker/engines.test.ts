/** Which Docker engine is meant, on made-up configuration folders; and what `docker info` of many engines comes to. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, test } from "vitest";
import { fullAddress, isHere } from "../../../../core/reach/docker/address.ts";
import { platformOf } from "../../../../core/reach/docker/architecture.ts";
import { BASE_IMAGES } from "../../../../core/reach/docker/baseImages.ts";
import {
    engineHere,
    noEngine,
    otherEngines,
    resolveEngine,
    type Surroundings,
    tlsFolder,
} from "../../../../core/reach/docker/context.ts";
import { dockerEngine, whySilent } from "../../../../core/reach/docker/engine.ts";
import { isFree, isTaken } from "../../../../core/util/freePort.ts";
import { stackEngine } from "../../../../scripts/lib/engine.ts";
import {
    architectureNote,
    type EngineInfo,
    engineFindings,
    type Here,
    memoryFinding,
    missingImage,
    onThisMachine,
} from "../../../../scripts/lib/engineFacts.ts";
import { onNode } from "../../../../scripts/lib/nodes.ts";
import { explainFindings } from "../../../../scripts/lib/preflight.ts";

let home: string;
const DEFAULT = "unix:///var/run/docker.sock";
const id = (name: string) => createHash("sha256").update(name).digest("hex");

function context(folder: string, name: string, meta: unknown): void {
    const at = join(folder, "contexts", "meta", id(name));
    mkdirSync(at, { recursive: true });
    writeFileSync(join(at, "meta.json"), typeof meta === "string" ? meta : JSON.stringify(meta));
}

const named = (name: string, Host?: string) => ({
    Name: name,
    Metadata: {},
    Endpoints: { docker: { Host, SkipTLSVerify: false } },
});

beforeAll(() => {
    home = mkdtempSync(join(tmpdir(), "citus-engines-"));
    const folder = join(home, ".docker");
    context(folder, "colima", named("colima", "unix:///home/me/.colima/default/docker.sock"));
    context(folder, "elsewhere", named("elsewhere", "ssh://me@db.example"));
    context(folder, "port", named("port", "tcp://127.0.0.1:2376"));
    context(folder, "bare", named("bare"));
    context(folder, "kube", { Name: "kube", Endpoints: {} });
    context(folder, "broken", "{");
    const tls = join(folder, "contexts", "tls", id("port"), "docker");
    mkdirSync(tls, { recursive: true });
    for (const file of ["ca.pem", "cert.pem", "key.pem"]) writeFileSync(join(tls, file), file);
    writeFileSync(join(folder, "config.json"), JSON.stringify({ auths: {}, currentContext: "colima" }));
    const other = join(home, "other");
    context(other, "colima", named("colima", "unix:///other.sock"));
    writeFileSync(join(other, "config.json"), JSON.stringify({ currentContext: "colima" }));
    for (const [name, text] of [
        ["plain", "{}"],
        ["damaged", "{"],
        ["gone", '{"currentContext": "gone"}'],
        ["explicit", '{"currentContext": "default"}'],
    ] as const) {
        mkdirSync(join(home, name));
        writeFileSync(join(home, name, "config.json"), text);
    }
});
afterAll(() => rmSync(home, { recursive: true, force: true }));

const at = (environment: Record<string, string> = {}): Surroundings => ({
    environment: environment.DOCKER_CONFIG
        ? { ...environment, DOCKER_CONFIG: join(home, environment.DOCKER_CONFIG) }
        : environment,
    home,
});
const COLIMA = "unix:///home/me/.colima/default/docker.sock";

describe("the engine that is meant", () => {
    for (const [what, configured, environment, address, by] of [
        ["the selected context", "", {}, COLIMA, "Docker context colima"],
        ["DOCKER_CONTEXT before it", "", { DOCKER_CONTEXT: "port" }, "tcp://127.0.0.1:2376", "Docker context port"],
        [
            "DOCKER_HOST before both",
            "",
            { DOCKER_CONTEXT: "port", DOCKER_HOST: "unix:///h" },
            "unix:///h",
            "DOCKER_HOST",
        ],
        [
            "DOCKER_HOST before a context that is not there",
            "",
            { DOCKER_CONTEXT: "no", DOCKER_HOST: "unix:///h" },
            "unix:///h",
            "DOCKER_HOST",
        ],
        [
            "citus:dockerHost before all",
            "unix:///c",
            { DOCKER_HOST: "unix:///h", DOCKER_CONTEXT: "no" },
            "unix:///c",
            "citus:dockerHost",
        ],
        ["an empty DOCKER_HOST is none", "", { DOCKER_HOST: "" }, COLIMA, "Docker context colima"],
        ["an empty DOCKER_CONTEXT is none", "", { DOCKER_CONTEXT: "" }, COLIMA, "Docker context colima"],
        ["DOCKER_CONTEXT=default is the default socket", "", { DOCKER_CONTEXT: "default" }, DEFAULT, "the default"],
        ["a context selected as default", "", { DOCKER_CONFIG: "explicit" }, DEFAULT, "the default"],
        [
            "DOCKER_CONFIG is another folder",
            "",
            { DOCKER_CONFIG: "other" },
            "unix:///other.sock",
            "Docker context colima",
        ],
        ["nothing selected", "", { DOCKER_CONFIG: "plain" }, DEFAULT, "the default"],
        ["no such folder", "", { DOCKER_CONFIG: "nowhere" }, DEFAULT, "the default"],
        ["a damaged config.json selects nothing", "", { DOCKER_CONFIG: "damaged" }, DEFAULT, "the default"],
        ["a context without a host", "", { DOCKER_CONTEXT: "bare" }, DEFAULT, "Docker context bare"],
        [
            "TLS and nothing else",
            "",
            { DOCKER_CONTEXT: "default", DOCKER_TLS_VERIFY: "1" },
            "tcp://localhost:2376",
            "the default",
        ],
    ] as const)
        test(what, () => assert.deepEqual(resolveEngine(configured, at(environment)), { address, named: by }));

    for (const [what, environment, said] of [
        [
            "an unknown DOCKER_CONTEXT names those there are",
            { DOCKER_CONTEXT: "nonsense" },
            /DOCKER_CONTEXT is nonsense, and there is no Docker context of that name\. There are: bare, colima, default, elsewhere, port\. Nothing was changed\. .*unset DOCKER_CONTEXT\.$/,
        ],
        [
            "a selected one that is gone",
            { DOCKER_CONFIG: "gone" },
            /config\.json selects gone, .*There are: default\..*docker context use default\.$/,
        ],
        ["one without an engine", { DOCKER_CONTEXT: "kube" }, /kube names no Docker engine/],
        ["one that can't be read", { DOCKER_CONTEXT: "broken" }, /can't be read: .*meta\.json/],
        [
            "an address that is none",
            { DOCKER_HOST: "http://x" },
            /DOCKER_HOST is http:\/\/x, which is no Docker engine's address\./,
        ],
    ] as const)
        test(what, () => assert.throws(() => resolveEngine("", at(environment)), said));

    test("one that is not on this machine is refused, whatever names it", () => {
        for (const [configured, environment, by] of [
            [
                "",
                { DOCKER_CONTEXT: "elsewhere" },
                "Docker context elsewhere names the Docker engine ssh://me@db.example",
            ],
            ["", { DOCKER_HOST: "tcp://10.0.0.1:2375" }, "DOCKER_HOST names the Docker engine tcp://10.0.0.1:2375"],
            ["ssh://localhost", {}, "citus:dockerHost names the Docker engine ssh://localhost"],
        ] as const)
            assert.throws(
                () => engineHere(configured, at(environment)),
                (error: Error) =>
                    error.message.startsWith(`${by}, which is not a socket`) &&
                    /Nothing was changed/.test(error.message),
            );
    });

    test("certificates are those of the context that names the address, else the environment's", () => {
        const own = join(home, ".docker", "contexts", "tls", id("port"), "docker");
        assert.equal(tlsFolder("tcp://127.0.0.1:2376", at()), own);
        assert.equal(tlsFolder("tcp://127.0.0.1:2375", at()), undefined);
        assert.equal(tlsFolder(DEFAULT, at({ DOCKER_TLS_VERIFY: "1" })), undefined);
        assert.equal(tlsFolder("tcp://127.0.0.1:9", at({ DOCKER_TLS_VERIFY: "1", DOCKER_CERT_PATH: own })), own);
        assert.throws(
            () => tlsFolder("tcp://127.0.0.1:9", at({ DOCKER_TLS: "1" })),
            /\.docker has no ca\.pem, cert\.pem, key\.pem/,
        );
    });

    test("where none answers, others that are there are named and none is taken", () => {
        const socket = join(home, ".orbstack", "run", "docker.sock");
        mkdirSync(join(socket, ".."), { recursive: true });
        writeFileSync(socket, "");
        const others = otherEngines(DEFAULT, at({ XDG_RUNTIME_DIR: join(home, "none") }));
        for (const one of [
            "docker context use colima",
            "docker context use port",
            `export DOCKER_HOST=unix://${socket}`,
        ])
            assert.ok(others.includes(one), `${one} in ${others}`);
        assert.ok(!others.includes("docker context use elsewhere"));
        const text = noEngine({ address: DEFAULT, named: "the default" }, "no such socket", at());
        assert.match(
            text,
            /^No Docker engine answers at unix:\/\/\/var\/run\/docker\.sock: no such socket\. .*docker context use colima, or /,
        );
    });
});

test("addresses are completed as the docker CLI completes them", () => {
    for (const [given, full] of [
        ["", DEFAULT],
        ["  unix:///x  ", "unix:///x"],
        ["unix://", DEFAULT],
        ["tcp://", "tcp://localhost:2375"],
        ["127.0.0.1", "tcp://127.0.0.1:2375"],
        ["localhost:1234", "tcp://localhost:1234"],
        ["tcp://[::1]:1", "tcp://[::1]:1"],
        [":2375", "tcp://localhost:2375"],
        ["ssh://me@x", "ssh://me@x"],
        ["http://x", undefined],
        ["fd://", undefined],
        ["unix://tcp://x", undefined],
    ] as const)
        assert.equal(fullAddress(given), full, given);
});

test("only sockets and this machine's loopback are here", () => {
    const here = [
        DEFAULT,
        "tcp://127.0.0.1:1",
        "tcp://127.1.2.3:1",
        "tcp://localhost:1",
        "tcp://[::1]:1",
        "tcp://0.0.0.0:1",
    ];
    assert.deepEqual(
        here.filter((one) => !isHere(one)),
        [],
    );
    const elsewhere = [
        "tcp://10.0.0.1:1",
        "tcp://docker:2375",
        "tcp://localhost.example:1",
        "ssh://localhost",
        "tcp://[fe80::1]:1",
    ];
    assert.deepEqual(elsewhere.filter(isHere), []);
});

test("an address that is given wins over DOCKER_HOST, whatever kind that is", async () => {
    const before = process.env.DOCKER_HOST;
    process.env.DOCKER_HOST = "tcp://127.0.0.1:1";
    try {
        const { modem } = dockerEngine("unix:///nowhere.sock") as unknown as {
            modem: { host?: string; socketPath?: string };
        };
        assert.deepEqual([modem.host, modem.socketPath], [undefined, "/nowhere.sock"]);
        assert.equal(await whySilent("unix:///nowhere.sock"), "no such socket");
        assert.match((await whySilent()) ?? "", /ECONNREFUSED/);
    } finally {
        if (before === undefined) delete process.env.DOCKER_HOST;
        else process.env.DOCKER_HOST = before;
    }
});

test("a stack's engine is the one in its state", () => {
    const engine = {
        type: "citus-clusters:index:DockerEngine",
        urn: "u",
        outputs: { address: "unix:///kept.sock" },
    };
    assert.equal(stackEngine([engine], "unix:///other.sock").address, "unix:///kept.sock");
    assert.equal(stackEngine([], "unix:///other.sock").address, "unix:///other.sock");
});

test("a node whose engine is gone says which engine", async () => {
    const shell = { kind: "docker", engine: "unix:///nowhere.sock", container: "c" } as const;
    const { code, stderr } = await onNode({ name: "coordinator", shell, machine: "c", secretVersion: "" }, [
        "facts.sh",
    ]);
    assert.deepEqual([code, stderr], [-1, "no Docker engine answers at unix:///nowhere.sock"]);
});

test("a port that somebody listens on is taken, and one that this user may not listen on is not", async () => {
    const server = createServer();
    const port = await new Promise<number>((resolve) =>
        server.listen(0, "127.0.0.1", () => resolve((server.address() as { port: number }).port)),
    );
    assert.deepEqual([await isTaken(port), await isFree(port)], [true, false]);
    await new Promise((resolve) => server.close(resolve));
    assert.deepEqual([await isTaken(port), await isFree(port)], [false, true]);
});

const GiB = 1024 ** 3;
const HERE: Here = { linux: true, kernel: "6.1.0", memory: 16 * GiB, available: 8 * GiB };
const LINUX: EngineInfo = {
    ServerVersion: "29.1.0",
    OSType: "linux",
    Architecture: "x86_64",
    NCPU: 8,
    MemTotal: 16 * GiB,
    KernelVersion: "6.1.0",
    SecurityOptions: ["name=seccomp,profile=builtin"],
    IPv4Forwarding: true,
    MemoryLimit: true,
};
/** A virtual machine such as Docker Desktop's. */
const DESKTOP: EngineInfo = {
    ...LINUX,
    Architecture: "aarch64",
    MemTotal: 4 * GiB,
    KernelVersion: "6.10.14-linuxkit",
    Name: "docker-desktop",
};
const ROOTLESS: EngineInfo = {
    ...LINUX,
    SecurityOptions: ["name=seccomp,profile=builtin", "name=rootless", "name=cgroupns"],
};
const TWO = { workers: 2 };

describe("what docker info says", () => {
    test("the engine with its architecture and cores", () => {
        assert.deepEqual(engineFindings(LINUX, false), [
            { what: "Docker engine", found: "29.1.0 (amd64, 8 cores)", todo: "" },
        ]);
        assert.equal(engineFindings(ROOTLESS, false)[0]?.found, "29.1.0 (rootless, amd64, 8 cores)");
        assert.equal(engineFindings(DESKTOP, false)[0]?.found, "29.1.0 (arm64, 8 cores)");
    });

    test("Podman is said to be Podman, with what to expect of it", () => {
        const [found] = engineFindings({ ...LINUX, Architecture: "amd64" }, true);
        assert.equal(found?.what, "Podman engine");
        assert.equal(found?.todo, "");
        assert.match(found?.note ?? "", /each pulumi up makes its containers anew/);
    });

    test("no forwarding and Windows containers stop; memory that can't be limited is said", () => {
        const [off] = engineFindings({ ...LINUX, IPv4Forwarding: false }, false);
        assert.match(off?.found ?? "", /IPv4 forwarding is off/);
        assert.match(off?.todo ?? "", /^sudo sysctl -w net\.ipv4\.ip_forward=1/);
        assert.notEqual(engineFindings({ ...LINUX, OSType: "windows" }, false)[0]?.todo, "");
        const [unlimited] = engineFindings({ ...ROOTLESS, MemoryLimit: false }, false);
        assert.equal(unlimited?.todo, "");
        assert.match(unlimited?.note ?? "", /can't limit a container's memory/);
    });

    test("an engine is on this machine when kernel and memory are", () => {
        assert.equal(onThisMachine(LINUX, HERE), true);
        assert.equal(onThisMachine(DESKTOP, HERE), false);
        assert.equal(onThisMachine({ ...LINUX, MemTotal: 4 * GiB }, HERE), false);
        assert.equal(onThisMachine(LINUX, { ...HERE, linux: false }), false);
    });

    for (const [what, info, here, running, found, enough] of [
        ["what is free on this machine", LINUX, HERE, false, "8.0 GiB free", true],
        [
            "too little free on this machine",
            LINUX,
            { ...HERE, available: 0.3 * GiB },
            false,
            "0.3 GiB free, a cluster of 1 + 2 needs about 0.7 GiB",
            false,
        ],
        ["a cluster that runs needs no more", LINUX, { ...HERE, available: 0.3 * GiB }, true, "0.3 GiB free", true],
        ["all of a virtual machine's, never this machine's", DESKTOP, HERE, false, "4.0 GiB in all", true],
        [
            "a virtual machine that is too small",
            { ...DESKTOP, MemTotal: GiB },
            HERE,
            false,
            "1.0 GiB in all, a cluster of 1 + 2 needs about 0.7 GiB",
            false,
        ],
        ["a rootless engine's own", ROOTLESS, { ...HERE, available: 0.1 * GiB }, false, "16.0 GiB in all", true],
    ] as const)
        test(`memory: ${what}`, () => {
            const finding = memoryFinding(info, here, TWO, running);
            assert.deepEqual([finding.found, finding.todo === ""], [found, enough]);
        });

    test("an amd64 image on arm64 is said to be emulated, with the ways out", () => {
        const note = architectureNote(DESKTOP, "citusdata/citus:14.1.0-pg17", undefined) ?? "";
        assert.match(note, /^citusdata\/citus:14\.1\.0-pg17 is amd64 and this engine is arm64: it will be emulated/);
        assert.match(note, /citus:image.*Citus 15/);
        assert.equal(architectureNote(LINUX, "citusdata/citus:14.1.0-pg17", undefined), undefined);
        assert.equal(architectureNote(DESKTOP, "me/citus:1", undefined), undefined);
        assert.equal(architectureNote(DESKTOP, "me/citus:1", "arm64"), undefined);
        assert.match(architectureNote(DESKTOP, "me/citus:1", "amd64") ?? "", /several times slower\.$/);
    });

    test("an image that can't be had: the reason, what is here and what is published, each as a command", () => {
        const here = [
            "me/citus:1",
            "citusdata/citus:14.0.1-pg17",
            "citus-node:17-abc",
            "<none>:<none>",
            "debian:trixie",
            "citus-packages:17-abc",
            "citus-test-official:1",
            "a/citus:1",
        ];
        const finding = missingImage("citusdata/citus:9-pg17", "manifest unknown", here);
        assert.match(finding.found, /can't be had: manifest unknown$/);
        const commands = finding.todo.split("\n").flatMap((line) => /citus:image (\S+)$/.exec(line)?.[1] ?? []);
        assert.deepEqual(commands, ["citusdata/citus:14.0.1-pg17", "a/citus:1", "me/citus:1", ...BASE_IMAGES]);
        const screen = explainFindings([finding]).split("\n");
        assert.ok(
            screen.every((line) => line === "" || !line.startsWith("npm")),
            "lines are indented",
        );
    });

    test("platforms of images are Docker's", () => {
        assert.deepEqual(["x86_64", "amd64", "aarch64", "ARM64", "riscv64"].map(platformOf), [
            "linux/amd64",
            "linux/amd64",
            "linux/arm64",
            "linux/arm64",
            "linux/riscv64",
        ]);
    });
});
