/** Which image containers are made from: what its test found, which minor release is wanted, why it changes. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { describe, test } from "vitest";
import type { ClusterArgs } from "../../components/config/index.ts";
import { failureOf } from "../../core/image/build.ts";
import { nodeImage } from "../../core/image/contents.ts";
import { better, parseTrial, refusal, remarks, type Trial, wantsSecond } from "../../core/image/trial.ts";
import { IdentityKind } from "../../provider/identity.ts";
import { changesOf, NodeImageKind, type NodeImageState, wantedPostgres } from "../../provider/nodeImage.ts";
import { baseImage, sameCitus } from "../../scripts/lib/image.ts";
import { newestOf } from "../image.ts";
import { ask } from "./ask.ts";

const kind = new NodeImageKind();

const FINE: Trial = { postgres: "17.10", basePostgres: "17.6", citus: "14.1.0", uid: 999, broken: [], flaws: [] };
const COORDINATOR = {
    host: "127.0.0.1",
    port: 1,
    serverName: "coordinator",
    ca: "",
    user: "postgres",
    password: "",
    database: "app",
};
const FLAW = "psql's \\d of a distributed table: ERROR:  negative bitmapset member not allowed";

describe("what a self-test printed", () => {
    const printed = `uid=999\nbase_postgres=17.6\npostgres=17.10\ncitus=14.1.0\nflaw=${FLAW}\nbroken=tini: not found\ndone=yes\n`;

    test("is read line by line", () => {
        assert.deepEqual(parseTrial(printed), { ...FINE, flaws: [FLAW], broken: ["tini: not found"] });
    });

    test("is not believed when it did not end", () => {
        assert.throws(() => parseTrial(printed.replace("done=yes\n", "")), /did not end; it printed: uid=999/);
        assert.throws(() => parseTrial(""), /did not end/);
    });
});

describe("which image is taken", () => {
    const flawed = { ...FINE, flaws: [FLAW] };
    const broken = { ...FINE, broken: ["a query over a worker: ERROR"] };
    const own: Trial = { ...FINE, postgres: "17.6" };

    test("one with the base's own release is only tried when a newer one has faults", () => {
        assert.equal(wantsSecond(FINE, "newest"), false);
        assert.equal(wantsSecond(flawed, "newest"), true);
        assert.equal(wantsSecond(broken, "newest"), true);
        assert.equal(wantsSecond({ ...flawed, postgres: "17.6" }, "newest"), false, "it is the base's own");
        assert.equal(wantsSecond({ ...flawed, basePostgres: "" }, "newest"), false, "there is no other");
        for (const asked of ["base", "17.10"]) assert.equal(wantsSecond(broken, asked), false, asked);
    });

    for (const [what, newer, base, taken] of [
        ["fewer flaws win", flawed, own, "base"],
        ["what works wins over what does not", broken, { ...own, flaws: [FLAW] }, "base"],
        ["what does not work never wins by fewer flaws", flawed, { ...own, broken: ["x"] }, "newer"],
        ["a tie is for the newer one, which has the security fixes", flawed, { ...own, flaws: [FLAW] }, "newer"],
    ] as const) {
        test(what, () => {
            const [a, b] = [{ trial: newer }, { trial: base }];
            assert.equal(better(a, b), taken === "newer" ? a : b);
        });
    }

    test("nothing that is broken is used, and each reason is named", () => {
        assert.equal(refusal("x:1", flawed), undefined);
        assert.equal(
            refusal("x:1", { ...broken, broken: ["one", "two"] }),
            "The image x:1 can't run a node. Its self-test found:\n  one\n  two\n" +
                "No container was made or replaced. Choose another image (citus:image, or citus:citusVersion for Citus' own).",
        );
    });

    test("a fallback and flaws that stay are said, and nothing else", () => {
        assert.deepEqual(remarks(FINE, undefined), []);
        assert.deepEqual(remarks(own, flawed), [
            "PostgreSQL 17.10 does not work with Citus 14.1.0 of this image, so its own 17.6 is kept:",
            `  ${FLAW}`,
        ]);
        assert.deepEqual(remarks(flawed, undefined), [
            "PostgreSQL 17.10 with Citus 14.1.0 is used although its self-test found:",
            `  ${FLAW}`,
        ]);
    });
});

describe("a build that failed", () => {
    test("is explained by its last step and the lines that say why", () => {
        const lines = [
            "Step 1/5 : FROM base",
            " ---> 0123",
            "Step 5/5 : RUN bash packages.sh newest",
            " ---> Running in 4567",
            "Get:1 http://deb.example trixie InRelease",
            "\u001b[91mE: Failed to fetch http://x.example/InRelease  403  Forbidden",
            "\u001b[0m\u001b[91mcitus-image: the packages tini can't be installed on this base image",
            "Removing intermediate container 4567",
        ];
        assert.equal(
            failureOf(lines, "The command '/bin/sh -c bash …' returned a non-zero code: 67"),
            "RUN bash packages.sh newest\n" +
                "  E: Failed to fetch http://x.example/InRelease  403  Forbidden\n" +
                "  citus-image: the packages tini can't be installed on this base image\n" +
                "The command '/bin/sh -c bash …' returned a non-zero code: 67",
        );
    });

    test("without a telling line quotes the last ones, and without a step what the engine said", () => {
        const many = ["Step 1/1 : RUN x", ...Array.from({ length: 30 }, (_, i) => `line ${i}`)];
        const text = failureOf(many, "failed").split("\n");
        assert.equal(text.length, 10);
        assert.equal(text.at(-2), "  line 29");
        assert.equal(failureOf([], "no space left on device"), "no space left on device");
    });
});

describe("the minor release that is wanted", () => {
    const state: NodeImageState = {
        base: "citusdata/citus:14.1.0-pg17",
        postgres: "",
        packagesHash: "p",
        scriptsHash: "s",
        name: "citus-node:17-x",
        engine: "",
        clusterId: "0123",
        coordinator: COORDINATOR,
        imageId: "sha256:1",
        packages: "sha256:0",
        postgresVersion: "17.10",
        citusVersion: "14.1.0",
        emulated: "",
    };
    const news = (changes: Partial<NodeImageState> = {}) => ({ ...state, ...changes });

    for (const [what, olds, wanted, expected] of [
        ["a new cluster takes the newest", undefined, {}, "newest"],
        ["one that is there keeps what it runs", state, {}, "17.10"],
        ["what is set wins", state, { postgres: "17.12" }, "17.12"],
        ["another base begins anew", state, { base: "citusdata/citus:14.2.0-pg17" }, "newest"],
    ] as const) {
        test(what, () => assert.equal(wantedPostgres(olds, news(wanted)), expected));
    }

    for (const [what, changes, expected] of [
        ["nothing changed", {}, []],
        ["what it runs, by its number", { postgres: "17.10" }, []],
        ["newest, which an unset one means too", { postgres: "newest" }, []],
        ["another name alone", { name: "citus-node:17-y" }, []],
        ["another minor release", { postgres: "17.12" }, ["PostgreSQL changes from 17.10 to 17.12"]],
        ["the base's own", { postgres: "base" }, ["PostgreSQL changes from 17.10 to citus:postgresVersion base"]],
        [
            "another base, which may have another PostgreSQL anyway",
            { base: "x:2" },
            ["the base image changes from citusdata/citus:14.1.0-pg17 to x:2"],
        ],
        ["other scripts", { scriptsHash: "t" }, ["the node scripts changed"]],
        ["other packages", { packagesHash: "q" }, ["the way packages are installed changed"]],
    ] as const) {
        test(`a change: ${what}`, () => assert.deepEqual(changesOf(state, news(changes)), expected));
    }

    for (const [version, why] of [
        ["14.3.0", /Citus 14\.3\.0 can't run this cluster's databases:\n.*every node: the extension is 14\.1\.0/],
        ["14.0.1", /can't go back/],
        ["15.0.0", /same major release/],
    ] as const)
        test(`Citus ${version} is refused in preview, by what the cluster ran last where it does not answer`, async () => {
            const base = `citusdata/citus:${version}-pg17`;
            await assert.rejects(kind.diff(ask(), "x", state, news({ base })), why);
        });

    test("the next Citus, and an image that does not say what it holds, are tried", async () => {
        for (const base of ["citusdata/citus:14.2.0-pg17", "registry.example/citus:1"])
            assert.deepEqual(await kind.diff(ask(), "x", state, news({ base })), { changes: true });
    });

    test("an image that is gone is made again", () => {
        assert.deepEqual(changesOf({ ...state, imageId: "" }, news()), ["the node image is gone from the engine"]);
    });
});

describe("the default version of Citus that a cluster remembers", () => {
    const inputs = {
        name: "citus-dev",
        database: "app",
        platform: "docker",
        clusterId: "0123",
        passphrase: "",
        citusVersion: "",
    };
    for (const [what, olds, expected] of [
        ["a new cluster has the default", undefined, "14.1.0"],
        [
            "one that is there keeps its own when the default moves on",
            { name: "citus-dev", citusVersion: "14.0.0" },
            "14.0.0",
        ],
        ["one from before it was remembered has the default of then", { name: "citus-dev" }, "14.0.1"],
        ["an empty state is a new cluster", {}, "14.1.0"],
    ] as const) {
        test(what, async () =>
            assert.deepEqual(await new IdentityKind().check(ask(), olds ?? {}, inputs), {
                inputs: { ...inputs, citusVersion: expected },
                failures: [],
            }),
        );
    }
});

describe("the base that a cluster remembers", () => {
    const news = {
        base: "",
        newBase: "new:1",
        postgres: "",
        packagesHash: "p",
        scriptsHash: "s",
        engine: "",
        clusterId: "0",
        coordinator: COORDINATOR,
    };
    for (const [what, olds, set, expected] of [
        ["a new cluster has the default", undefined, "", "new:1"],
        ["a new cluster has what is set", undefined, "own:1", "own:1"],
        ["one that is there keeps what it has, whatever it came from", { base: "own:1" }, "", "own:1"],
        ["what is set wins", { base: "own:1" }, "own:2", "own:2"],
    ] as const) {
        test(what, async () => {
            const { newBase: _, ...rest } = news;
            assert.deepEqual(await kind.check(ask(), olds ?? {}, { ...news, base: set }), {
                inputs: { ...rest, base: expected, name: nodeImage({ base: expected, postgres: "newest" }) },
            });
        });
    }
});

describe("the base image that npm start looks for", () => {
    const identity = (outputs: Record<string, unknown>) => ({
        urn: "urn:pulumi:dev::citus::citus-clusters:index:Identity::citus-identity",
        type: "citus-clusters:index:Identity",
        outputs,
    });
    const image = (outputs: Record<string, unknown>) => ({
        urn: "urn:pulumi:dev::citus::citus-clusters:index:NodeImage::citus-node-image",
        type: "citus-clusters:index:NodeImage",
        outputs,
    });
    for (const [what, args, state, expected] of [
        ["of a new cluster", {}, [], "citusdata/citus:14.1.0-pg17"],
        ["of one that remembers", {}, [identity({ citusVersion: "14.0.0" })], "citusdata/citus:14.0.0-pg17"],
        ["of one from before that", {}, [identity({ name: "x" })], "citusdata/citus:14.0.1-pg17"],
        ["of one that has an image", {}, [identity({}), image({ base: "own:1" })], "own:1"],
        [
            "with a version",
            { citusVersion: "14.2.0" },
            [identity({ citusVersion: "14.0.0" })],
            "citusdata/citus:14.2.0-pg17",
        ],
        ["with an image", { image: "x:1", citusVersion: "14.2.0" }, [], "x:1"],
    ] as const) {
        test(what, () => assert.equal(baseImage(args as unknown as ClusterArgs, [...state]), expected));
    }
});

describe("the Citus of a copy", () => {
    const identity = {
        urn: "urn:pulumi:dev::citus::citus-clusters:index:Identity::citus-identity",
        type: "citus-clusters:index:Identity",
        outputs: { citusVersion: "14.0.0" },
    };
    test("is the origin's own, when nothing is set and the default moved on", () => {
        assert.deepEqual(sameCitus({} as ClusterArgs, [identity]), { image: "citusdata/citus:14.0.0-pg17" });
        assert.deepEqual(sameCitus({ aws: {} } as ClusterArgs, [identity]), { citusVersion: "14.0.0" });
    });
});

describe("the tests' own image", () => {
    test("is the newest of Citus' own for PostgreSQL 17", () => {
        assert.equal(
            newestOf([
                "citusdata/citus:14.2.0-pg17",
                "citusdata/citus:14.10.0-pg17",
                "citusdata/citus:15.0.0-pg18",
                "citusdata/citus:13.2.0-pg17",
                "own/citus:99.0.0-pg17",
                "<none>:<none>",
            ]),
            "citusdata/citus:14.10.0-pg17",
        );
        assert.equal(newestOf(["postgres:17"]), undefined);
    });

    test("no test names the tag of the default, or of any other version, as what it runs on", () => {
        for (const file of [
            "test/lib.ts",
            "test/rehearsal/surroundings.ts",
            "test/e2e/restore.test.ts",
            "test/bench/bench.ts",
            "test/bench/restore.ts",
        ])
            assert.doesNotMatch(readFileSync(file, "utf8"), /citusdata\/citus:[0-9]/, file);
    });
});
