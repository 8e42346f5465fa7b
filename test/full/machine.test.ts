/** The scripts of a machine on AWS, run with fakes of what is around it: in seconds, and with every way it can fail. */
import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, readlinkSync, rmSync, statSync } from "node:fs";
import { createServer, type Server, type Socket } from "node:net";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";
import { afterEach, beforeAll, beforeEach, describe, test } from "vitest";
import { bundleKey, CURRENT_BUNDLE } from "../../components/platforms/aws/bundle.ts";
import { renderLauncher, renderUserData } from "../../components/platforms/aws/userData.ts";
import { parseAnswer, parsePart } from "../../core/reach/aws/remote.ts";
import { packFiles } from "../../core/util/tar.ts";
import { AwsNode, bundleOf, CLUSTER, MACHINE, type Ran, ROOT } from "../awsNode.ts";

beforeAll(() => {
    const found = ["curl", "jq"].filter((program) => spawnSync(program, ["--version"]).error);
    assert.deepEqual(found, [], "these tests can't run here; missing on PATH");
});

let node: AwsNode;
const put = (bundle: { sha256: string; content: Buffer }) => {
    node.objects.set(bundleKey(bundle.sha256), bundle.content);
    node.objects.set(CURRENT_BUNDLE, Buffer.from(`${bundle.sha256}\n`));
};
const current = () => readlinkSync(join(node.dir, "scripts"));

describe("launcher", () => {
    beforeEach(async () => {
        node = await AwsNode.make();
        rmSync(join(node.dir, "scripts"), { recursive: true });
        for (const tool of ["xfs_growfs", "nc"]) node.program(tool, "exit 1");
        node.write("part-001", renderUserData(MACHINE, renderLauncher(CLUSTER)));
    });
    afterEach(() => node.end());

    const boot = () => node.run("part-001", [], "", { CITUS_BOOT_PAUSE: "0.1" });

    test("fetches the bundle, checks it and hands over to it", async () => {
        const bundle = await bundleOf({ "aws/boot.sh": `#!/usr/bin/env bash\necho "booted by $0"` });
        put(bundle);
        const { code, stdout, stderr } = await boot();
        assert.equal(code, 0, stderr);
        assert.equal(stdout, `booted by ${node.dir}/scripts/aws/boot.sh\n`);
        assert.match(stderr, /: BOOT-OK\n$/);
        assert.equal(current(), `${node.dir}/scripts.d/${bundle.sha256}`);
        assert.equal(
            node.read("etc/citus-node.conf"),
            "REGION=eu-central-1\nBUCKET=prod-0123456789abcdef\nBASE=prod-012345\nCLUSTER=prod\nNODE=worker-2\nROLE=worker\nVOLUME_ID=vol-0123456789abcdef0\nSECRET=citus/prod-012345/worker-2\nCITUS_VERSION=14.0.1\n",
        );
        assert.deepEqual(
            node.calls.map(({ path }) => path),
            ["/s3/bundle/current", `/s3/bundle/${bundle.sha256}.tar`],
        );
    });

    test("at the next boot it asks for nothing, and boot.sh looks after the rest", async () => {
        put(await bundleOf({ "aws/boot.sh": "#!/usr/bin/env bash\necho booted" }));
        await boot();
        const again = await node.run("per-boot/citus-node");
        assert.equal(again.code, 0, again.stderr);
        assert.equal(again.stdout, "booted\n");
        assert.equal(node.calls.length, 2);
    });

    test("goes on until the bucket may be read and boot.sh is content", async () => {
        node.refusals = 2;
        put(
            await bundleOf({
                "aws/boot.sh": `#!/usr/bin/env bash\nset -eu\n[ -e ${node.dir}/tried ] || { touch ${node.dir}/tried; echo "no disk" >&2; exit 69; }`,
            }),
        );
        const { code, stderr } = await boot();
        assert.equal(code, 0, stderr);
        assert.equal(stderr.match(/is not made yet/g)?.length, 3);
        assert.match(stderr, /no disk/);
        assert.match(stderr, /BOOT-OK\n$/);
    });

    test("takes no bundle that is another than its name says", async () => {
        const bundle = await bundleOf({ "aws/boot.sh": "#!/usr/bin/env bash\necho booted" });
        put({ sha256: bundle.sha256, content: Buffer.concat([bundle.content, Buffer.alloc(1)]) });
        const { code, stderr } = await node.run("part-001", ["once"]);
        assert.equal(code, 65);
        assert.match(stderr, /arrived damaged/);
        assert.ok(!existsSync(join(node.dir, "scripts")));
    });
});

describe("bundle.sh", () => {
    const UNITS = {
        "aws/service.sh": readFileSync(join(ROOT, "scripts/node/aws/service.sh"), "utf8"),
        "aws/aws.sh": readFileSync(join(ROOT, "scripts/node/aws/aws.sh"), "utf8"),
        "aws/citus-metrics.service": "m",
        "aws/citus-metrics.timer": "t",
    };
    const make = (unit: string) => bundleOf({ ...UNITS, "aws/citus-node.service": unit });

    beforeEach(async () => {
        node = await AwsNode.make();
        node.write("etc/citus-node.conf", node.facts);
        node.write("old/bundle.sh", readFileSync(join(ROOT, "scripts/node/aws/bundle.sh"), "utf8"));
        node.write("old/aws.sh", readFileSync(join(ROOT, "scripts/node/aws/aws.sh"), "utf8"));
        rmSync(join(node.dir, "scripts"), { recursive: true });
    });
    afterEach(() => node.end());

    test("swaps bundles, keeps the one before, and restarts nothing", async () => {
        const [a, b, c] = [await make("a"), await make("b"), await make("b, and more")];
        for (const bundle of [a, b, c]) {
            put(bundle);
            const ran = await node.run("old/bundle.sh");
            assert.deepEqual(ran, { code: 0, stdout: `bundle=${bundle.sha256}\n`, stderr: "" });
            assert.equal(current(), `${node.dir}/scripts.d/${bundle.sha256}`);
        }
        const kept = readdirSync(join(node.dir, "scripts.d")).filter((name) => !name.startsWith("."));
        assert.deepEqual(kept.sort(), [b.sha256, c.sha256].sort());
        assert.equal(node.read("units/citus-node.service"), "b, and more");
        assert.doesNotMatch(node.read("systemctl"), /start|stop|reload-or/);
        assert.equal(node.read("systemctl").match(/^daemon-reload$/gm)?.length, 3);
    });

    test("the one before is there without the bucket; the same again asks and changes nothing", async () => {
        const [a, b] = [await make("a"), await make("b")];
        for (const bundle of [a, b]) {
            put(bundle);
            await node.run("old/bundle.sh");
        }
        const { length } = node.calls;
        assert.equal((await node.run("old/bundle.sh", [a.sha256])).stdout, `bundle=${a.sha256}\n`);
        assert.equal(current(), `${node.dir}/scripts.d/${a.sha256}`);
        assert.equal(node.calls.length, length);
        const said = node.read("systemctl");
        await node.run("old/bundle.sh", [a.sha256]);
        assert.equal(node.read("systemctl"), said);
    });

    test("what is damaged or no name changes nothing", async () => {
        const a = await make("a");
        put(a);
        await node.run("old/bundle.sh");
        const b = await make("b");
        node.objects.set(bundleKey(b.sha256), a.content);
        assert.equal((await node.run("old/bundle.sh", [b.sha256])).code, 65);
        assert.equal((await node.run("old/bundle.sh", ["../etc"])).code, 64);
        assert.equal((await node.run("old/bundle.sh", ["0".repeat(64)])).code, 69);
        assert.equal(current(), `${node.dir}/scripts.d/${a.sha256}`);
        assert.deepEqual(
            readdirSync(join(node.dir, "scripts.d")).filter((name) => name.startsWith(".incoming")),
            [],
        );
    });
});

describe("remote.sh", () => {
    const VERSION = "01234567-89ab-cdef-0123-456789abcdef";
    const KEY = "-----BEGIN PRIVATE KEY-----\nwith 'quotes', \"more\", \\ and $signs\n-----END PRIVATE KEY-----\n";
    const SECRETS = [KEY, "SCRAM-SHA-256$4096:abc"];

    beforeEach(async () => {
        node = await AwsNode.make({
            "echo.sh": `printf '%s\\n' "$@"; echo "to $PGUSER at $PGHOST in $PWD" >&2; exit "\${1:-0}"`,
            "cat.sh": "cat",
            // hardly packs
            "big.sh": "for i in $(seq 1000); do printf '%s' \"$i\" | sha256sum | cut -c1-64; done",
            "names.sh": `mkdir ${join("$HOME", "got")}; tar -xf - -C ${join("$HOME", "got")}; ls -l ${join("$HOME", "got")} | sed -n '1d;s/^\\([^ ]*\\).* \\([^ ]*\\)$/\\1 \\2/p'; ls -A ${"$HOME"}/../run/remote/*`,
            "env.sh": "env | cut -d= -f1 | sort | paste -sd ' ' -",
        });
        node.write("etc/citus-node.conf", node.facts);
        node.secrets.set(
            VERSION,
            JSON.stringify({
                configuration: { "node.key": KEY, verifier: SECRETS[1], empty: "" },
                restore: { passphrase: "correct horse" },
            }),
        );
    });
    afterEach(() => node.end(...SECRETS, "correct horse"));

    const remote = (...args: string[]) => node.run("scripts/aws/remote.sh", args);
    const spool = () => (existsSync(join(node.dir, "run/remote")) ? readdirSync(join(node.dir, "run/remote")) : []);
    const send = (id: string, data: Buffer) =>
        node.run("scripts/aws/remote.sh", ["put", id], `${data.toString("base64").replace(/.{76}/g, "$&\n")}\n`);
    const parse = ({ stdout, stderr, code }: Ran) => {
        assert.equal(code, 0, stderr);
        const [, exit, outBytes, errBytes, out = "", err = ""] =
            /^CODE (\d+) OUT (\d+) ERR (\d+)\nSTDOUT\n([A-Za-z0-9+/=]*)\nSTDERR\n([A-Za-z0-9+/=]*)\n$/.exec(stdout) ??
            assert.fail(stdout);
        const text = (base64: string) => Buffer.from(base64, "base64").toString("utf8");
        return { code: Number(exit), bytes: [Number(outBytes), Number(errBytes)], out: text(out), err: text(err) };
    };

    test("runs a script as postgres, and says how it ended and what it said", async () => {
        const said = parse(await remote("run", "a1", "-", "echo.sh", "3", "two words", "$(x)"));
        assert.equal(said.code, 3);
        assert.equal(said.out, "3\ntwo words\n$(x)\n");
        assert.equal(said.err, `to postgres at ${node.dir}/home/run in ${node.dir}/home\n`);
        assert.deepEqual(said.bytes, [said.out.length, said.err.length]);
        assert.deepEqual(spool(), []);
    });

    test("with nothing of the agent's environment", async () => {
        assert.equal(parse(await remote("run", "a1", "-", "env.sh")).out, "HOME LANG PATH PGHOST PGUSER PWD SHLVL _\n");
    });

    test("gives it what was put, in as many parts as it came", async () => {
        const data = Buffer.from(Array.from({ length: 5000 }, (_, i) => i % 256));
        for (let at = 0; at < data.length; at += 1700)
            assert.equal((await send("a2", data.subarray(at, at + 1700))).code, 0);
        const said = await remote("run", "a2", "-", "cat.sh");
        assert.equal(/^STDOUT\n(.*)$/m.exec(said.stdout)?.[1], data.toString("base64"));
        assert.deepEqual(spool(), []);
    });

    test("without anything it gives nothing", async () => {
        assert.equal(parse(await remote("run", "a3", "-", "cat.sh")).out, "");
    });

    test("what is too long for an answer is packed, fetched in pages, and kept until it is ended", async () => {
        const answer = parseAnswer((await remote("run", "a4", "-", "big.sh")).stdout);
        assert.ok(answer?.outPacked && answer.out > 30_000 && answer.out < 65_000, JSON.stringify(answer));
        assert.equal(answer.stdout.length, 8192);
        const parts = [answer.stdout];
        for (let at = 8192; at < answer.out; at += 16_384) {
            const { stdout } = await remote("get", "a4", "out", String(at));
            assert.ok(stdout.length < 24_000, "SSM would cut it");
            parts.push(parsePart(stdout));
        }
        const digest = (n: number) => createHash("sha256").update(String(n)).digest("hex");
        const wanted = Array.from({ length: 1000 }, (_, i) => `${digest(i + 1)}\n`).join("");
        assert.equal(gunzipSync(Buffer.concat(parts)).toString(), wanted);
        assert.equal((await remote("end", "a4")).code, 0);
        assert.deepEqual(spool(), []);
        assert.equal((await remote("get", "a4", "out", "0")).code, 66);
    });

    test("adds the files of a version of the node's secret to the tar, and leaves nothing of them", async () => {
        await send("a5", await packFiles({ "nodes.json": "[]" }));
        const { out, code, err } = parse(await remote("run", "a5", `configuration:${VERSION}`, "names.sh"));
        assert.equal(code, 0, err);
        assert.deepEqual(out.split("\n").slice(0, 4), [
            "-rw------- empty",
            "-rw------- node.key",
            "-rw------- nodes.json",
            "-rw------- verifier",
        ]);
        // while it runs the spool has what was put and what it says
        assert.deepEqual(out.split("\n").slice(4, -1), ["err", "in", "out"]);
        assert.equal(node.read("home/got/node.key"), KEY);
        assert.equal(node.read("home/got/empty"), "");
        assert.equal(node.read("home/got/nodes.json"), "[]");
        assert.deepEqual(spool(), []);
    });

    test("works without a tar, and for the other group", async () => {
        parse(await remote("run", "a6", `restore:${VERSION}`, "names.sh"));
        assert.deepEqual(readdirSync(join(node.dir, "home/got")), ["passphrase"]);
        assert.equal(node.read("home/got/passphrase"), "correct horse");
    });

    test("a version that can't be read runs nothing and says why", async () => {
        node.program("sleep", "exit 0");
        const { code, err, out } = parse(await remote("run", "a7", "configuration:ffffffff-0000", "echo.sh"));
        assert.equal(code, 69);
        assert.equal(
            err,
            "version ffffffff-0000 of citus/prod-012345/worker-2 can't be read: ResourceNotFoundException: not there\n",
        );
        assert.equal(out, "");
        assert.equal(node.calls.length, 5);
        assert.deepEqual(spool(), []);
    });

    test("a secret's file stays in its folder", async () => {
        node.secrets.set("v2", JSON.stringify({ restore: { "../../x": "y" } }));
        assert.equal(parse(await remote("run", "a8", "restore:v2", "echo.sh")).code, 65);
        assert.ok(!existsSync(join(node.dir, "run/remote/x")));
    });

    test("runs aws/ scripts as root where they are meant for that", async () => {
        node.program("systemctl", `echo "root: $*"`);
        assert.equal(
            parse(await remote("run", "b1", "-", "!service.sh", "stop")).out,
            "root: stop citus-node.service\n",
        );
    });

    for (const [what, args] of [
        ["a path as ID", ["run", "../x", "-", "echo.sh"]],
        ["a path as script", ["run", "c1", "-", "../echo.sh"]],
        ["another script as root", ["run", "c1", "-", "!echo.sh"]],
        ["itself", ["run", "c1", "-", "!remote.sh"]],
        ["another group", ["run", "c1", "keys:v1", "echo.sh"]],
        ["a version that is none", ["run", "c1", 'restore:"', "echo.sh"]],
        ["another file", ["get", "c1", "in", "0"]],
        ["no number", ["get", "c1", "out", "x"]],
        ["nothing", []],
    ] as const) {
        test(`refuses ${what}`, async () => {
            const { code, stdout } = await remote(...args);
            assert.equal(code, 64);
            assert.equal(stdout, "");
            assert.deepEqual(node.calls, []);
        });
    }
});

describe("relay.sh", () => {
    const READY = Buffer.from("5a0000000549", "hex");
    let server: Server;
    let sockets: Socket[];
    let answer: (data: Buffer, socket: Socket) => void;
    let ended: number;

    beforeEach(async () => {
        node = await AwsNode.make();
        // netcat as it is used: a pipe to a socket that ends when the server ends it
        node.write(
            "bin/nc",
            `#!${process.execPath}
const socket = require("node:net").connect(process.argv[3]);
process.stdin.pipe(socket);
socket.pipe(process.stdout);
socket.on("error", (error) => { console.error("nc: " + error.code); process.exit(1); });
socket.on("close", () => process.stdout.write("", () => process.exit(0)));
`,
        );
        sockets = [];
        ended = 0;
        answer = (_data, socket) => socket.write(READY);
        server = createServer((socket) => {
            sockets.push(socket);
            socket.on("data", (data: Buffer) => answer(data, socket));
            socket.on("close", () => {
                ended++;
            });
        });
        await new Promise<void>((resolve) => server.listen(join(node.dir, "home/run/.s.PGSQL.5432"), resolve));
    });
    afterEach(async () => {
        for (const id of existsSync(join(node.dir, "run/relay")) ? readdirSync(join(node.dir, "run/relay")) : [])
            await node.run("scripts/aws/relay.sh", ["close", id]);
        for (const socket of sockets) socket.destroy();
        await new Promise((resolve) => server.close(resolve));
        await node.end();
    });

    const exchange = async (
        id: string,
        offset: number,
        data: Buffer | string = "",
        env: Record<string, string> = {},
    ) => {
        const ran = await node.run(
            "scripts/aws/relay.sh",
            ["exchange", id, String(offset)],
            `${Buffer.from(data).toString("base64")}\n`,
            env,
        );
        assert.equal(ran.code, 0, ran.stderr);
        const [, next, state, more, page = ""] =
            /^NEXT (\d+) (open|closed) (more|idle)\n([A-Za-z0-9+/=]*)\n$/.exec(ran.stdout) ?? assert.fail(ran.stdout);
        return { next: Number(next), state, more, page: Buffer.from(page, "base64"), stderr: ran.stderr };
    };

    test("carries bytes as they are, and a connection over many commands", async () => {
        const all = Buffer.from(Array.from({ length: 256 }, (_, i) => i));
        answer = (data, socket) => socket.write(Buffer.concat([data, READY]));
        const first = await exchange("r1", 0, all);
        assert.deepEqual(first.page, Buffer.concat([all, READY]));
        assert.deepEqual([first.next, first.state, first.more], [262, "open", "idle"]);
        const second = await exchange("r1", first.next, "again");
        assert.equal(second.page.subarray(0, 5).toString(), "again");
        assert.deepEqual([second.next, second.more], [273, "idle"]);
        assert.equal(sockets.length, 1);
        // the same page once more, as after an answer that was lost
        assert.deepEqual((await exchange("r1", first.next)).page, second.page);
    });

    test("waits until the server is ready for the next query, also where it speaks in pieces", async () => {
        answer = (_data, socket) => {
            socket.write("row");
            // looks like the end of an answer but for its length
            setTimeout(() => socket.write(Buffer.from("5a000000064900", "hex")), 100);
            setTimeout(() => socket.write(READY.subarray(0, 3)), 200);
            setTimeout(() => socket.write(READY.subarray(3)), 400);
        };
        const { page, more } = await exchange("r2", 0, "Q");
        assert.equal(page.length, 16);
        assert.equal(more, "idle");
    });

    test("an earlier answer is not taken for that to what was sent now", async () => {
        const first = await exchange("r3", 0, "Q");
        answer = (_data, socket) => setTimeout(() => socket.write(Buffer.concat([Buffer.from("late"), READY])), 500);
        const second = await exchange("r3", first.next, "Q");
        assert.equal(second.page.subarray(0, 4).toString(), "late");
    });

    test("a long answer comes in pages", async () => {
        const long = Buffer.alloc(30_000, "y");
        answer = (_data, socket) => socket.write(Buffer.concat([long, READY]));
        let got = await exchange("r4", 0, "Q");
        assert.deepEqual([got.page.length, got.more], [12288, "more"]);
        const pages = [got.page];
        while (got.more === "more") {
            got = await exchange("r4", got.next);
            pages.push(got.page);
        }
        assert.deepEqual(Buffer.concat(pages), Buffer.concat([long, READY]));
        assert.equal(pages.length, 3);
    });

    test("what was read takes no memory of the machine any more", async () => {
        const long = Buffer.alloc(30_000, "y");
        answer = (_data, socket) => socket.write(Buffer.concat([long, READY]));
        let next = 0;
        for (let query = 0; query < 5; query++) {
            let got = await exchange("r10", next, "Q");
            let length = got.page.length;
            while (got.more === "more") {
                got = await exchange("r10", got.next);
                length += got.page.length;
            }
            assert.equal(length, 30_006);
            next = got.next;
        }
        const { size, blocks } = statSync(join(node.dir, "run/relay/r10/out"));
        assert.equal(size, 150_030);
        assert.ok(blocks * 512 < 50_000, `${blocks * 512} bytes are kept`);
    });

    test("a query that takes longer is asked for again", async () => {
        let later: Socket | undefined;
        answer = (_data, socket) => {
            later = socket;
        };
        const quick = { CITUS_RELAY_WITHIN: "1" };
        const first = await exchange("r5", 0, "Q", quick);
        assert.deepEqual([first.next, first.state, first.more], [0, "open", "more"]);
        later?.write(READY);
        assert.deepEqual((await exchange("r5", 0, "", quick)).page, READY);
    });

    test("the byte that answers a request for TLS is an answer", async () => {
        answer = (_data, socket) => socket.write("N");
        const { page, more } = await exchange("r6", 0, Buffer.from("0000000804d2162f", "hex"));
        assert.deepEqual([page.toString(), more], ["N", "idle"]);
    });

    test("says when the server ends it, after its last words", async () => {
        answer = (_data, socket) => socket.end("FATAL");
        const { page, state, more } = await exchange("r7", 0, "Q");
        assert.deepEqual([page.toString(), state, more], ["FATAL", "closed", "idle"]);
    });

    test("says when there is no server", async () => {
        await new Promise((resolve) => server.close(resolve));
        const { state, page, stderr } = await exchange("r8", 0, "Q");
        assert.deepEqual([state, page.length], ["closed", 0]);
        assert.match(stderr, /ENOENT/);
        server.listen(join(node.dir, "home/run/.s.PGSQL.5432"));
    });

    test("one that is not known any more is not begun in its middle", async () => {
        assert.deepEqual(await exchange("r9", 700, "Q"), {
            next: 700,
            state: "closed",
            more: "idle",
            page: Buffer.alloc(0),
            stderr: "",
        });
        assert.equal(sockets.length, 0);
    });

    const until = async (what: () => boolean) => {
        for (let tries = 0; !what(); tries++) {
            assert.ok(tries < 100, "it did not happen");
            await new Promise((resolve) => setTimeout(resolve, 50));
        }
    };

    test("close ends the connection and forgets it", async () => {
        await exchange("s1", 0, "Q");
        assert.equal((await node.run("scripts/aws/relay.sh", ["close", "s1"])).code, 0);
        await until(() => ended === 1);
        assert.deepEqual(readdirSync(join(node.dir, "run/relay")), []);
        // also when it is gone
        assert.equal((await node.run("scripts/aws/relay.sh", ["close", "s1"])).code, 0);
    });

    test("one that nobody asks about ends by itself", async () => {
        await exchange("s2", 0, "Q", { CITUS_RELAY_IDLE: "2" });
        await until(() => ended === 1);
        await until(() => !existsSync(join(node.dir, "run/relay/s2")));
    });
});

describe("metrics.sh", () => {
    beforeEach(async () => {
        node = await AwsNode.make();
        node.write("etc/citus-node.conf", node.facts);
        node.program("psql", `cat > ${node.dir}/asked; echo 75`);
        mkdirSync(join(node.dir, "home/conf/current"), { recursive: true });
        execFileSync(
            "openssl",
            [
                ...[
                    "req",
                    "-x509",
                    "-newkey",
                    "ec",
                    "-pkeyopt",
                    "ec_paramgen_curve:P-256",
                    "-nodes",
                    "-subj",
                    "/CN=worker-2",
                ],
                ...["-days", "20", "-keyout", "/dev/null", "-out", join(node.dir, "home/conf/current/node.crt")],
            ],
            { stdio: "ignore" },
        );
    });
    afterEach(() => node.end());
    const metrics = (action: string) => node.run("scripts/aws/metrics.sh", [action]);

    test("sends disk and archive as metrics of this node, and makes the stream for that", async () => {
        for (let minute = 0; minute < 2; minute++)
            assert.deepEqual(await metrics("post"), { code: 0, stdout: "", stderr: "" });
        assert.deepEqual(
            node.calls.map(({ target }) => target.split(".")[1]),
            ["PutLogEvents", "CreateLogStream", "PutLogEvents", "PutLogEvents"],
        );
        assert.equal(node.logs?.length, 2);
        const event = JSON.parse(node.logs?.[0] ?? "");
        assert.ok(Math.abs(event._aws.Timestamp - Date.now()) < 60_000);
        assert.deepEqual(event._aws.CloudWatchMetrics, [
            {
                Namespace: "Citus",
                Dimensions: [["Cluster", "Node"]],
                Metrics: [
                    { Name: "DiskUsed", Unit: "Percent" },
                    { Name: "ArchiveAge", Unit: "Seconds" },
                    { Name: "CertificateDays", Unit: "None" },
                ],
            },
        ]);
        assert.ok(event.DiskUsed >= 0 && event.DiskUsed <= 100);
        assert.deepEqual([event.Cluster, event.Node, event.ArchiveAge], ["prod-012345", "worker-2", 75]);
        assert.equal(event.CertificateDays, 20);
    });

    test("a server that does not answer, or a certificate that can't be read, leaves its metric out", async () => {
        node.program("psql", "exit 2");
        rmSync(join(node.dir, "home/conf/current/node.crt"));
        await metrics("post");
        const event = JSON.parse(node.logs?.[0] ?? "");
        assert.ok(!("ArchiveAge" in event) && !("CertificateDays" in event));
        assert.deepEqual(event._aws.CloudWatchMetrics[0].Metrics, [{ Name: "DiskUsed", Unit: "Percent" }]);
    });

    test("off, it asks for nothing", async () => {
        assert.equal((await metrics("off")).code, 0);
        assert.match(node.read("etc/citus-node.conf"), /^ALARMS=off$/m);
        await metrics("post");
        assert.deepEqual(node.calls, []);
        await metrics("on");
        assert.equal(node.read("etc/citus-node.conf"), node.facts);
        assert.equal(
            node.read("systemctl"),
            "disable --quiet --now citus-metrics.timer\nenable --quiet --now citus-metrics.timer\n",
        );
    });
});

describe("packages.sh", () => {
    beforeEach(async () => {
        node = await AwsNode.make();
        node.write("etc/citus-node.conf", node.facts);
    });
    afterEach(() => node.end());

    const check = (found: { postgres?: string; citus?: string; installed?: string; pgbackrest?: string }) => {
        const versions = {
            postgres: "17.6",
            citus: "14.1-1",
            installed: "14.1.0.citus-1",
            pgbackrest: "2.55.1",
            ...found,
        };
        node.write(
            "pg/postgres",
            `#!/usr/bin/env bash\necho "postgres (PostgreSQL) ${versions.postgres} (Ubuntu ${versions.postgres}-1.pgdg24.04+1)"`,
        );
        node.write("pg/pg_config", `#!/usr/bin/env bash\necho ${node.dir}/share`);
        node.write("share/extension/citus.control", `comment = 'Citus'\ndefault_version = '${versions.citus}'\n`);
        node.program("pgbackrest", `echo "pgBackRest ${versions.pgbackrest}"`);
        node.program("dpkg-query", versions.installed === "" ? "exit 1" : `echo "${versions.installed}"`);
        return node.run("scripts/aws/packages.sh", ["check"], "", { CITUS_PGBIN: join(node.dir, "pg") });
    };

    test("is content with what is pinned, and with an image that brought it", async () => {
        assert.deepEqual(await check({}), { code: 0, stdout: "", stderr: "" });
        assert.equal((await check({ postgres: "17.12", pgbackrest: "2.100", installed: "" })).code, 0);
    });

    for (const [what, found, said] of [
        ["another PostgreSQL", { postgres: "16.9" }, /PostgreSQL is 16\.9, and has to be 17/],
        ["an old PostgreSQL", { postgres: "17.5" }, /PostgreSQL is 17\.5/],
        ["another Citus", { citus: "13.2-1" }, /Citus is 13\.2-1, and has to be 14\.1\.0/],
        [
            "another minor of Citus",
            { installed: "14.0.0.citus-1" },
            /Citus is 14\.0\.0\.citus-1, and has to be 14\.1\.0/,
        ],
        ["an old pgBackRest", { pgbackrest: "2.50" }, /pgBackRest is 2\.50, and has to be 2\.54 or newer/],
    ] as const) {
        test(`says ${what}`, async () => {
            const { code, stderr } = await check(found);
            assert.equal(code, 70);
            assert.match(stderr, said);
        });
    }

    test("the version of Citus may be the stack's", async () => {
        node.write("etc/citus-node.conf", `${node.facts}CITUS_VERSION=13.2.1\n`);
        assert.equal((await check({ citus: "13.2-1", installed: "13.2.1.citus-1" })).code, 0);
    });

    test("says all that is missing", async () => {
        const { code, stderr } = await node.run("scripts/aws/packages.sh", ["check"], "", {
            CITUS_PGBIN: join(node.dir, "nowhere"),
            PATH: `${node.dir}/bin:/usr/bin:/bin`,
        });
        assert.equal(code, 70);
        assert.match(stderr, /PostgreSQL 17 is missing/);
    });
});

describe("a repository's passphrase", () => {
    const CONF = "[global]\nrepo1-type=s3\n[c1-worker-1]\npg1-path=/x\n";

    async function add(passphrase: string | undefined): Promise<{ conf: string; files: string[] }> {
        const node = await AwsNode.make();
        try {
            const lib = readFileSync(join(ROOT, "scripts/node/lib.sh"), "utf8");
            const body =
                /^add_passphrase\(\) \{[\s\S]*?^\}$/m.exec(lib)?.[0] ?? assert.fail("lib.sh has no add_passphrase");
            node.write("add.sh", `set -euo pipefail\n${body}\nadd_passphrase "$1"\n`);
            node.write("work/pgbackrest.conf", CONF);
            if (passphrase !== undefined) node.write("work/passphrase", passphrase);
            const { code, stderr } = await node.run("add.sh", [join(node.dir, "work")]);
            assert.equal(code, 0, stderr);
            return { conf: node.read("work/pgbackrest.conf"), files: readdirSync(join(node.dir, "work")).sort() };
        } finally {
            await node.end();
        }
    }

    test("is put into pgBackRest's own section of its configuration", async () => {
        const pass = "correct $(horse) \\ 'battery' %s";
        assert.deepEqual(await add(pass), {
            conf: `[global]\nrepo1-cipher-type=aes-256-cbc\nrepo1-cipher-pass=${pass}\nrepo1-type=s3\n[c1-worker-1]\npg1-path=/x\n`,
            files: ["pgbackrest.conf"],
        });
    });

    test("empty or away it changes nothing", async () => {
        assert.equal((await add("")).conf, CONF);
        assert.equal((await add(undefined)).conf, CONF);
    });

    for (const script of ["restore.sh", "repository.sh"]) {
        test(`${script} takes it before it asks the repository`, () => {
            const text = readFileSync(join(ROOT, "scripts/node", script), "utf8");
            assert.match(text, /^ *tar -xf - [\s\S]*\badd_passphrase "\$(work|current)"/m);
        });
    }
});

test("unit files are readable by all and say nothing secret", () => {
    for (const name of ["citus-node.service", "citus-metrics.service", "citus-metrics.timer"]) {
        const file = join(ROOT, "scripts/node/aws", name);
        assert.ok(statSync(file).isFile());
        assert.doesNotMatch(readFileSync(file, "utf8"), /PASSWORD|SECRET|_KEY/);
    }
    const unit = readFileSync(join(ROOT, "scripts/node/aws/citus-node.service"), "utf8");
    for (const line of [
        "User=postgres",
        "KillSignal=SIGINT",
        "KillMode=mixed",
        "Restart=always",
        "RequiresMountsFor=/var/lib/citus",
    ])
        assert.ok(unit.split("\n").includes(line), line);
});
