/**
 * The node image on a base that is laid out as the official images are, and on bases that must be refused before any
 * container is replaced. The bases are made here, around the tests' image.
 */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, test } from "vitest";
import { testCitus, testImage } from "../image.ts";
import { docker, type Ran, requireEngine, run, TestStack } from "../lib.ts";

const id = randomBytes(3).toString("hex");
const images: string[] = [];
let server = "";
let address = "";
let stack: TestStack;

/** Answers every request with 403, as Citus' own package list does for Debian trixie, and says what it was asked. */
const FORBIDDEN = `use IO::Socket::INET;
my $s = IO::Socket::INET->new(LocalPort => 8403, Listen => 20, ReuseAddr => 1) or die;
$| = 1;
while (my $c = $s->accept) {
    my $first = <$c>;
    print $first;
    while (<$c>) { last if /^\\r?\\n$/ }
    print $c "HTTP/1.1 403 Forbidden\\r\\nContent-Length: 0\\r\\nConnection: close\\r\\n\\r\\n";
    close $c;
}`;

const asked = () => docker(["logs", server]).trim();

async function image(name: string, from: string, lines: string): Promise<string> {
    const tag = `citus-test-${name}:${id}`;
    const built = await run("docker", ["build", "-q", "-t", tag, "-"], {
        cwd: ".",
        env: { ...process.env, DOCKER_BUILDKIT: "0" },
        input: `FROM ${from}\nUSER root\n${lines}`,
    });
    assert.equal(built.code, 0, built.output);
    images.push(tag);
    return tag;
}

/** What the official image has, in the words of its Dockerfile. */
const OFFICIAL = () => `
RUN [ "$(id -u postgres)" = 999 ] || { groupmod -g 999 postgres; usermod -u 999 -g 999 postgres; }
RUN sample=/usr/share/postgresql/17/postgresql.conf.sample; grep -q "^shared_preload_libraries='citus'" $sample || echo "shared_preload_libraries='citus'" >> $sample
RUN printf '#!/bin/sh\\necho "the official entry point must not run" >&2; exit 97\\n' > /usr/local/bin/docker-entrypoint.sh && chmod 0755 /usr/local/bin/docker-entrypoint.sh
RUN echo "deb [trusted=yes] http://${address}:8403/community/debian/ trixie main" > /etc/apt/sources.list.d/citusdata_community.list
ENV PGDATA=/var/lib/postgresql/data
VOLUME /var/lib/postgresql/data
ENTRYPOINT ["docker-entrypoint.sh"]
STOPSIGNAL SIGINT
EXPOSE 5432
HEALTHCHECK --interval=4s --start-period=6s CMD false
CMD ["postgres"]
`;

/** Version \`version\` of the server, as a package in a list of its own whose server does not work. */
const offers = (version: string) => `
RUN mkdir -p /fake/DEBIAN /fake/usr/lib/postgresql/17/bin /repo \\
    && printf 'Package: postgresql-17\\nVersion: ${version}-1\\nArchitecture: amd64\\nMaintainer: test <test@example.com>\\nDescription: test\\n' > /fake/DEBIAN/control \\
    && printf '#!/bin/sh\\necho "postgres (PostgreSQL) ${version}"\\n' > /fake/usr/lib/postgresql/17/bin/postgres \\
    && printf '#!/bin/sh\\necho "initdb: error: this minor release does not work" >&2\\nexit 1\\n' > /fake/usr/lib/postgresql/17/bin/initdb \\
    && chmod 0755 /fake/usr/lib/postgresql/17/bin/* \\
    && dpkg-deb -b /fake /repo/server.deb \\
    && { cat /fake/DEBIAN/control; printf 'Filename: ./server.deb\\nSize: %s\\nSHA256: %s\\n\\n' "$(stat -c %s /repo/server.deb)" "$(sha256sum /repo/server.deb | cut -d ' ' -f 1)"; } > /repo/Packages \\
    && echo 'deb [trusted=yes] file:/repo ./' > /etc/apt/sources.list.d/pgdg.list
`;

const containers = () =>
    docker(["ps", "-q", "--no-trunc", "--filter", `label=citus.cluster=citus-${stack.name}`])
        .trim()
        .split("\n")
        .sort();

/** Volumes without a name of ours that containers of the stack have. */
const anonymous = () =>
    containers().flatMap((container) =>
        (
            JSON.parse(docker(["inspect", "--format", "{{json .Mounts}}", container])) as {
                Type: string;
                Name?: string;
            }[]
        )
            .filter(({ Type, Name }) => Type === "volume" && /^[0-9a-f]{64}$/.test(Name ?? ""))
            .map(({ Name }) => String(Name)),
    );

const flat = ({ output }: Ran) => output.replace(/\s+/g, " ");

beforeAll(async () => {
    requireEngine();
    server = docker(["run", "-d", "--entrypoint", "perl", testImage(), "-e", FORBIDDEN]).trim();
    address = docker(["inspect", "--format", "{{.NetworkSettings.IPAddress}}", server]).trim();
});

afterAll(async () => {
    await stack?.destroy();
    docker(["rm", "-f", "-v", server]);
    for (const tag of images) docker(["rmi", "-f", tag]);
});

test("a package list that answers 403 is not asked, and the official layout leaves nothing behind", {
    timeout: 900_000,
}, async () => {
    const base = await image("official", testImage(), OFFICIAL());
    const update = await run("docker", ["run", "--rm", "--entrypoint", "apt-get", base, "update"], { cwd: "." });
    assert.equal(update.code, 100, `the trap is none: ${update.output}`);
    assert.match(asked(), /GET /);
    const before = asked();

    stack = await TestStack.make({ image: base, workers: 1, shardCount: 4 });
    await stack.up();
    assert.equal(asked(), before, "a list that is not needed was asked");
    const [inspected] = JSON.parse(docker(["inspect", stack.container("coordinator")])) as {
        Config: { Entrypoint: string[]; User: string; StopSignal: string };
        State: { Health?: { Status: string } };
    }[];
    assert.deepEqual(inspected?.Config.Entrypoint, ["/usr/bin/tini", "--"]);
    assert.equal(inspected?.Config.StopSignal, "SIGINT");
    assert.equal((await stack.onNode("worker-1", "id", "-u")).stdout.trim(), "999");

    await stack.sql("CREATE TABLE t (id bigint PRIMARY KEY)");
    await stack.sql("SELECT create_distributed_table('t', 'id')");
    await stack.sql("INSERT INTO t SELECT generate_series(1, 1000)");
    const seen = new Set(anonymous());
    await stack.up({ workers: 2 });
    for (const volume of anonymous()) seen.add(volume);
    await stack.closeSessions();
    for (const container of containers()) docker(["restart", container]);
    const again = await stack.pulumi(["up", "--yes", "--skip-preview", "--expect-no-changes"]);
    assert.equal(again.code, 0, again.output);
    assert.deepEqual(await stack.sql("SELECT count(*)::int AS n FROM t"), [{ n: 1000 }]);
    assert.ok(seen.size >= 3, "the layout has a volume of its own, and no container had one");

    await stack.up({ workers: 1 });
    const left = docker(["volume", "ls", "-q"]).split("\n");
    const now = new Set(anonymous());
    assert.deepEqual(
        [...seen].filter((volume) => !now.has(volume) && left.includes(volume)),
        [],
        "a removed worker left an anonymous volume",
    );
});

test("an image that could not read the data, or is none, is refused before any container is replaced", {
    timeout: 600_000,
}, async () => {
    const before = containers();
    const refused = async (base: string, ...said: RegExp[]) => {
        const ran = await stack.tryUp({ image: base });
        assert.notEqual(ran.code, 0, ran.output);
        for (const pattern of said) assert.match(flat(ran), pattern);
        assert.deepEqual(containers(), before);
        assert.deepEqual(await stack.sql("SELECT count(*)::int AS n FROM t"), [{ n: 1000 }]);
    };
    const other = await image(
        "uid",
        images[0] as string,
        "RUN groupmod -g 1234 postgres && usermod -u 1234 -g 1234 postgres\n",
    );
    await refused(
        other,
        /runs PostgreSQL as user 1234, and this cluster's data belongs to another user/,
        /coordinator: the volume citus-\S+-coordinator-data belongs to user 999/,
        /No container was replaced/,
    );
    const without = await image("empty", images[0] as string, "RUN rm -rf /usr/lib/postgresql/17/bin\n");
    await refused(
        without,
        /can't run a node\. Its self-test found: PostgreSQL 17: its server programs are not in this image/,
        /No container was made or replaced/,
    );
    const unreachable = await image(
        "lists",
        images[0] as string,
        `RUN rm -f /etc/apt/sources.list /etc/apt/sources.list.d/* && echo "deb [trusted=yes] http://${address}:8403/debian/ trixie main" > /etc/apt/sources.list.d/debian.list\n`,
    );
    await refused(
        unreachable,
        new RegExp(`could not be built on ${unreachable}: RUN bash /usr/local/lib/citus-image/packages.sh`),
        /403 Forbidden/,
        /the packages pgbackrest pgbouncer tini can't be installed on this base image/,
    );
    await refused("citus-test-nowhere:1", /The base image citus-test-nowhere:1 can't be had/, /citus:image/);
    await stack.config({ image: images[0] });
});

test("a newer minor release that fails its test is not used; one that is asked for and can't be had is refused", {
    timeout: 600_000,
}, async () => {
    const before = containers();
    const broken = await image("newer", images[0] as string, offers("17.99"));
    const own = await stack.sql<{ v: string }>("SELECT split_part(current_setting('server_version'), ' ', 1) AS v");
    const moved = await stack.up({ image: broken });
    assert.match(
        flat(moved),
        new RegExp(
            `PostgreSQL 17\\.99 does not work with Citus ${testCitus()} of this image, so its own ${own[0]?.v} is kept: an empty database with Citus: initdb: error: this minor release does not work`,
        ),
    );
    assert.deepEqual(await stack.sql("SELECT split_part(current_setting('server_version'), ' ', 1) AS v"), own);
    assert.notDeepEqual(containers(), before);

    for (const [wanted, said] of [
        ["17.99", /can't run a node\. Its self-test found: an empty database with Citus: initdb: error/],
        ["17.3", /PostgreSQL 17\.3 is not offered for this base image; offered: 17\.99/],
    ] as const) {
        const now = containers();
        const ran = await stack.tryUp({ postgresVersion: wanted });
        assert.notEqual(ran.code, 0, ran.output);
        assert.match(flat(ran), said);
        assert.deepEqual(containers(), now);
    }
    // what it runs by its number is what it runs
    await stack.config({ postgresVersion: own[0]?.v });
    const same = await stack.pulumi(["preview", "--expect-no-changes"]);
    assert.equal(same.code, 0, same.output);
    await stack.config({ postgresVersion: "" });
});

test("scripts that change leave PostgreSQL as it is, although the packages can't be had any more", {
    timeout: 600_000,
}, async () => {
    const packages = async () => {
        const { stdout } = await stack.pulumi(["stack", "export"]);
        const { deployment } = JSON.parse(stdout) as {
            deployment: { resources: { type: string; outputs?: { packages?: string } }[] };
        };
        return deployment.resources.find(({ type }) => type === "citus-clusters:index:NodeImage")?.outputs?.packages;
    };
    const before = await packages();
    assert.match(String(before), /^sha256:/);
    stack.write(
        "scripts/node/facts.sh",
        `${readFileSync(join(stack.dir, "scripts/node/facts.sh"), "utf8")}\n# changed\n`,
    );
    const preview = await stack.pulumi(["preview"]);
    assert.match(
        flat(preview),
        /the node scripts changed\. An image is built and tried first\. Containers are replaced where it differs/,
    );
    await stack.up();
    assert.equal(await packages(), before, "packages were installed anew");
    assert.match(
        (await stack.onNode("coordinator", "tail", "-n", "1", "/usr/local/lib/citus-node/facts.sh")).stdout,
        /# changed/,
    );
    assert.deepEqual(await stack.sql("SELECT count(*)::int AS n FROM t"), [{ n: 1000 }]);
});

test("down takes the anonymous volumes along", { timeout: 300_000 }, async () => {
    const seen = anonymous();
    assert.ok(seen.length >= 2);
    const ran = await stack.npm("down", "--yes");
    assert.equal(ran.code, 0, ran.output);
    const left = docker(["volume", "ls", "-q"]).split("\n");
    assert.deepEqual(
        seen.filter((volume) => left.includes(volume)),
        [],
    );
    assert.deepEqual(stack.leftovers(), []);
});

test("a cluster keeps the version of Citus that it was made with when the default changes", {
    timeout: 600_000,
}, async () => {
    const made = await TestStack.make({ image: "", workers: 0, backup: false });
    const args = join(made.dir, "components/config/args.ts");
    const text = readFileSync(args, "utf8");
    const withDefault = (version: string) =>
        made.write(
            "components/config/args.ts",
            text.replace(/NEW_CITUS_VERSION = "[^"]*"/, `NEW_CITUS_VERSION = "${version}"`),
        );
    try {
        // the default of then is what this machine has, under the name that Citus' own image has
        withDefault(testCitus());
        const official = `citusdata/citus:${testCitus()}-pg17`;
        if (docker(["image", "ls", "-q", official]).trim() === "") {
            docker(["tag", testImage(), official]);
            images.push(official);
        }
        await made.up();
        const before = docker(["ps", "-q", "--filter", `label=citus.cluster=citus-${made.name}`]);
        withDefault("99.0.0");
        const preview = await made.pulumi(["preview", "--expect-no-changes"]);
        assert.equal(preview.code, 0, preview.output);
        await made.up({}, ["--expect-no-changes"]);
        // a version that can't be had, and was taken back, is not what is remembered
        const failed = await made.tryUp({ citusVersion: "14.1.99" });
        assert.match(flat(failed), /The base image citusdata\/citus:14\.1\.99-pg17 can't be had/);
        await made.up({ citusVersion: "" }, ["--expect-no-changes"]);
        assert.equal(docker(["ps", "-q", "--filter", `label=citus.cluster=citus-${made.name}`]), before);
    } finally {
        await made.destroy();
    }
});
