/** What of a machine and its environment the scripts use, and what they keep out. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { version } from "@pulumi/pulumi/version.js";
import { afterAll, beforeAll, describe, test } from "vitest";
import { isUsable, MINIMUM, NoCli } from "../../../scripts/lib/cli.ts";
import { CannotTell, exitCodeOf } from "../../../scripts/lib/exit.ts";
import { hasStack, namesStack, stackNames, stackToSelect } from "../../../scripts/lib/project.ts";
import {
    type Around,
    explainFailure,
    type Failure,
    NoAnswer,
    said,
    saysNoStack,
    withNextStep,
    wordsOf,
} from "../../../scripts/lib/refusal.ts";
import { wrapped } from "../../../scripts/lib/screen.ts";
import { withoutConnection } from "../../../scripts/lib/sql.ts";
import {
    backendUrl,
    ensureState,
    type Given,
    isWritable,
    quote,
    surroundings,
} from "../../../scripts/lib/surroundings.ts";

const ROOT = join(import.meta.dirname, "..", "..", "..");
const STATE = "/p/.state";
const around = (env: Given["env"] = {}, more: Partial<Given> = {}) =>
    surroundings({
        env: { PATH: "/usr/bin", HOME: "/home/u", ...env },
        root: "/p",
        state: STATE,
        home: "/home/u",
        writable: () => true,
        exists: () => true,
        ...more,
    });

describe("surroundings", () => {
    const OWN = {
        PULUMI_SKIP_UPDATE_CHECK: "true",
        PULUMI_BACKEND_URL: "file:///p/.state/pulumi",
        PULUMI_FALLBACK_TO_STATE_SECRETS_MANAGER: "true",
        PULUMI_CONFIG_PASSPHRASE_FILE: "/p/.state/passphrase",
        PATH: "/p/node_modules/.bin:/usr/bin",
    };

    test("the project's own state and passphrase where the environment names no backend", () =>
        assert.deepEqual(around(), { own: true, set: OWN, unset: [] }));

    test("another project's passphrase and token are not used with the own state", () => {
        const env = {
            PULUMI_CONFIG_PASSPHRASE: "foreign",
            PULUMI_CONFIG_PASSPHRASE_FILE: "/elsewhere/passphrase",
            PULUMI_ACCESS_TOKEN: "pul-1",
        };
        assert.deepEqual(around(env), {
            own: true,
            set: OWN,
            unset: ["PULUMI_CONFIG_PASSPHRASE", "PULUMI_ACCESS_TOKEN"],
        });
    });

    test("an empty passphrase is one, too: Pulumi prefers it to a file", () =>
        assert.deepEqual(around({ PULUMI_CONFIG_PASSPHRASE: "" }).unset, ["PULUMI_CONFIG_PASSPHRASE"]));

    test("an empty backend names none", () => assert.equal(around({ PULUMI_BACKEND_URL: "" }).own, true));

    for (const backend of ["s3://bucket", "file:///elsewhere", "https://api.pulumi.com", "file:///p/.state/pulumi"])
        test(`a backend that is named keeps its passphrase and login: ${backend}`, () => {
            const found = around({ PULUMI_BACKEND_URL: backend, PULUMI_CONFIG_PASSPHRASE: "x" });
            assert.equal(found.own, false);
            assert.deepEqual(found.unset, []);
            assert.deepEqual(Object.keys(found.set), ["PULUMI_SKIP_UPDATE_CHECK", "PATH"]);
        });

    test("what npm run env printed is the own state, whatever else the shell has", () => {
        const { set } = around();
        assert.deepEqual(around({ ...set, PATH: "/usr/bin", PULUMI_CONFIG_PASSPHRASE: "foreign" }), {
            own: true,
            set: OWN,
            unset: ["PULUMI_CONFIG_PASSPHRASE"],
        });
    });

    const not =
        (...folders: string[]) =>
        (folder: string) =>
            !folders.includes(folder);
    for (const [what, env, more, set] of [
        ["a home that can't be written", {}, { writable: not("/home/u/.pulumi") }, { PULUMI_HOME: "/p/.state/home" }],
        ["no home at all", { HOME: undefined }, { home: undefined }, { PULUMI_HOME: "/p/.state/home" }],
        [
            "HOME of somebody else: Pulumi asks the system",
            { HOME: "/home/somebody" },
            { writable: not("/home/somebody/.pulumi") },
            {},
        ],
        ["a user that the system does not know: HOME", {}, { home: undefined }, {}],
        [
            "a PULUMI_HOME that can't be written",
            { PULUMI_HOME: "/ro" },
            { writable: not("/ro") },
            { PULUMI_HOME: "/p/.state/home" },
        ],
        [
            "a Docker configuration that can't be written",
            {},
            { writable: not("/home/u/.docker") },
            { BUILDX_CONFIG: "/p/.state/buildx" },
        ],
        ["a BUILDX_CONFIG of one's own", { BUILDX_CONFIG: "/b" }, { writable: not("/home/u/.docker") }, {}],
        ["a TMPDIR that is not there", { TMPDIR: "/gone" }, { exists: not("/gone") }, { TMPDIR: "/p/.state/tmp" }],
        ["a TMPDIR that can't be written", { TMPDIR: "/ro" }, { writable: not("/ro") }, { TMPDIR: "/p/.state/tmp" }],
    ] as const)
        test(what, () => assert.deepEqual(around(env, more).set, { ...OWN, ...set }));
});

describe("the own backend's URL", () => {
    for (const folder of ["/a b", "/a#1", "/a%2Fb", "/a?b=c", "/ünï/日本", '/it\'s "so"', "/$x (1)/[y]&z", "/a\\b"])
        test(folder, () => {
            const url = backendUrl(folder);
            // Pulumi takes the path before ? as it is, and decodes it once
            assert.equal(decodeURIComponent(url.replace(/^file:\/\//, "").split("?")[0] ?? ""), `${folder}/pulumi`);
            assert.equal(fileURLToPath(url), `${folder}/pulumi`);
            assert.equal(new URL(url).hash, "");
        });

    test("is as it always was where nothing needs it", () =>
        assert.equal(backendUrl("/home/u/citus/.state"), "file:///home/u/citus/.state/pulumi"));
});

describe("ensureState", () => {
    let dir: string;
    beforeAll(() => {
        dir = mkdtempSync(join(tmpdir(), "citus state #%2F é-"));
    });
    afterAll(() => rmSync(dir, { recursive: true, force: true }));

    test("makes a passphrase for this user only, once", () => {
        const state = join(dir, "fresh");
        ensureState(state);
        const file = join(state, "passphrase");
        assert.equal(statSync(file).mode & 0o777, 0o600);
        assert.equal(statSync(state).mode & 0o777, 0o700);
        const first = readFileSync(file, "utf8");
        assert.match(first, /^[\w-]{32}\n$/);
        ensureState(state);
        assert.equal(readFileSync(file, "utf8"), first);
    });

    for (const [what, file, leave] of [
        ["is gone", "dev.json", undefined],
        ["is gone, with a compressed state", "dev.json.gz", undefined],
        ["is empty", "dev.json", "\n"],
    ] as const)
        test(`never makes another one while there is a state: it ${what}`, () => {
            const state = mkdtempSync(join(dir, "kept-"));
            const stacks = join(state, "pulumi", ".pulumi", "stacks", "citus");
            mkdirSync(stacks, { recursive: true });
            writeFileSync(join(stacks, file), "{}");
            if (leave !== undefined) writeFileSync(join(state, "passphrase"), leave);
            assert.throws(
                () => ensureState(state),
                (error: Error) => {
                    assert.ok(error instanceof CannotTell);
                    assert.match(error.message, /^The passphrase of this project's state is gone: .*\/passphrase/);
                    assert.match(error.message, /The state of dev in .* is encrypted with it\.\nNothing was changed\./);
                    return true;
                },
            );
            assert.equal(
                existsSync(join(state, "passphrase")) && readFileSync(join(state, "passphrase"), "utf8"),
                leave ?? false,
            );
        });

    test("a state that can't be made is named", () => {
        writeFileSync(join(dir, "file"), "");
        assert.throws(() => ensureState(join(dir, "file", ".state")), {
            message: /^This project's state in .*\.state can't be used: ENOTDIR.*Nothing was changed\./,
        });
    });

    test("a folder that is not there can be written when the one above it can", () => {
        assert.equal(isWritable(join(dir, "a", "b")), true);
        assert.equal(isWritable(join(dir, "file", "b")), false);
        assert.equal(isWritable("/proc/self/x"), false);
    });
});

describe("the CLI's version", () => {
    test("at least the SDK's, of the same major", () => {
        for (const [found, usable] of [
            ["3.259.0", true],
            ["3.259.1", true],
            ["3.300.0", true],
            ["3.260.0-alpha.1", true],
            ["3.258.9", false],
            ["3.100.0", false],
            ["3.259.0-beta.1", false],
            ["4.0.0", false],
            ["", false],
            ["nonsense", false],
            [undefined, false],
        ] as const)
            assert.equal(isUsable(found, "3.259.0"), usable, String(found));
    });

    test("package.json, Pulumi.yaml and the SDK that is installed say the same one", () => {
        const { dependencies } = JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8")) as {
            dependencies: Record<string, string>;
        };
        assert.equal(dependencies["@pulumi/pulumi"], MINIMUM);
        assert.equal(version, MINIMUM);
        assert.match(
            readFileSync(join(ROOT, "Pulumi.yaml"), "utf8"),
            new RegExp(`^requiredPulumiVersion: ">=${MINIMUM}"$`, "m"),
        );
    });

    test("one that can't be had is named with both versions and what to do", () => {
        const error = new NoCli("3.100.0", "fetch failed");
        assert.equal(exitCodeOf(error), 2);
        assert.equal(
            error.found,
            `3.100.0 on PATH, ${MINIMUM} or newer is needed; ${MINIMUM} could not be downloaded into .state/cli: fetch failed`,
        );
        assert.match(error.message, /^Pulumi CLI 3\.100\.0 on PATH.*\nNothing was changed\. To go on, install/);
        assert.match(new NoCli(undefined, "x").found, /^not on PATH; /);
        assert.match(new NoCli("", "x").found, /^of no known version on PATH, /);
    });
});

describe("why the CLI did not do it", () => {
    const OWN: Around = {
        own: true,
        backend: "file:///p/.state/pulumi",
        passphraseFile: "/p/.state/passphrase",
        foreign: false,
    };
    const NAMED: Around = { ...OWN, own: false, backend: "s3://us:er@bucket" };
    const failure = (stderr: string, more: Partial<Failure> = {}): Failure => ({
        args: ["stack", "output", "--json"],
        code: 1,
        stdout: "",
        stderr,
        ...more,
    });
    const WRONG =
        "error: failed to decrypt: incorrect passphrase, please set PULUMI_CONFIG_PASSPHRASE to the correct passphrase\n";

    for (const [what, stderr, where, first, next] of [
        [
            "a wrong passphrase of one's own",
            WRONG,
            OWN,
            /^The passphrase in \/p\/\.state\/passphrase is not the one/,
            /Put the right passphrase into that file/,
        ],
        [
            "the same, with one in the environment",
            WRONG,
            { ...OWN, foreign: true },
            /^The passphrase in/,
            /printenv PULUMI_CONFIG_PASSPHRASE > '\/p\/\.state\/passphrase'/,
        ],
        [
            "a wrong passphrase of a backend",
            WRONG,
            NAMED,
            /^The state in s3:\/\/\.\.\.@bucket is encrypted .* the one that is set is wrong\.$/,
            /^Set PULUMI_CONFIG_PASSPHRASE_FILE/,
        ],
        [
            "a passphrase that is missing",
            "error: passphrase must be set with PULUMI_CONFIG_PASSPHRASE or PULUMI_CONFIG_PASSPHRASE_FILE environment variables",
            NAMED,
            /none is set\.$/,
            /^Set PULUMI_CONFIG_PASSPHRASE_FILE/,
        ],
        [
            "a lock",
            "error: the stack is currently locked by 1 lock(s). Either wait",
            OWN,
            /^Another run holds the lock/,
            /pulumi -- cancel/,
        ],
        [
            "no login",
            "error: PULUMI_ACCESS_TOKEN must be set for login during non-interactive CLI sessions",
            NAMED,
            /^Nobody is logged in at the backend/,
            /pulumi -- login/,
        ],
        [
            "a folder that is not there",
            'error: unable to open state directory "file:///x": stat /x: no such file or directory',
            NAMED,
            /^The backend .* can't be read/,
            /^PULUMI_BACKEND_URL names it/,
        ],
        [
            "a server that is not there",
            'error: performing HTTP request: Get "https://x": dial tcp: connection refused',
            NAMED,
            /^The backend .* can't be read/,
            /^PULUMI_BACKEND_URL names it/,
        ],
        [
            "a bucket that can't be read",
            'error: read ".pulumi/meta.yaml": blob (key ".pulumi/meta.yaml") (code=Unknown): operation error S3',
            NAMED,
            /^The backend .* can't be read/,
            /^PULUMI_BACKEND_URL names it/,
        ],
    ] as const)
        test(what, () => {
            const lines = explainFailure(failure(stderr), where).split("\n");
            assert.match(lines[0] ?? "", first);
            assert.match(lines.at(-1) ?? "", next);
            // the CLI's own words, without its mark
            assert.ok(lines[1]?.startsWith("Pulumi says: ") && !lines[1].includes("error:"), lines[1]);
        });

    test("what nobody foresaw is quoted", () =>
        assert.equal(
            explainFailure(failure("warning: x\nerror: the moon is in the way\n", { code: 255 }), OWN),
            "pulumi stack output failed (exit code 255).\nPulumi says: the moon is in the way",
        ));

    test("one that says nothing", () =>
        assert.equal(
            explainFailure(failure("", { args: ["up", "--yes"], code: 137 }), OWN),
            "pulumi up failed (exit code 137).\nPulumi says nothing about it.",
        ));

    test("no login of a backend is ever shown", () => {
        const text = 'error: unable to open state database "postgres://u:secret@host/db": refused';
        assert.doesNotMatch(
            explainFailure(failure(text), { ...NAMED, backend: "postgres://u:secret@host/db" }),
            /secret/,
        );
        assert.doesNotMatch(wordsOf(new Error("postgres://u:secret@host/db is not there")), /secret/);
    });

    test("the Automation API's errors are not printed as it does", () => {
        const error = Object.assign(new Error("code: -2\n stdout: \n stderr: x\n err?: y"), {
            commandResult: { stdout: "", stderr: "Command failed with exit code 1: pulumi up --yes\nerror: locked" },
        });
        assert.equal(wordsOf(error), "locked");
        assert.equal(wordsOf(new Error("fetch failed")), "fetch failed");
    });

    test("a provider that was killed is told as such, with the next step", () => {
        const failure = {
            args: ["up"],
            code: 255,
            stdout: "",
            stderr: "error: rpc error: code = Unavailable desc = error reading from server: EOF\n",
        };
        const text = explainFailure(failure, {
            own: true,
            backend: "file:///x",
            passphraseFile: "/x/p",
            foreign: false,
        });
        assert.match(
            text,
            /error reading from server: EOF\n\nThe process that carries out the changes .* ended while it worked/,
        );
        assert.match(text, /Run the same command once more/);
        assert.equal(withNextStep("relation x does not exist"), "relation x does not exist");
    });

    test("only one answer means that there is no stack", () => {
        assert.equal(saysNoStack({ stderr: "error: no stack selected; please use `pulumi stack select`" }), true);
        assert.equal(saysNoStack({ stderr: WRONG }), false);
        assert.equal(saysNoStack({ stderr: "" }), false);
        assert.equal(said({ stdout: "out\n", stderr: "" }), "out");
    });

    test("dev is found in what stack ls prints, also with its organization", () => {
        assert.equal(hasStack(undefined, "dev"), false);
        assert.equal(hasStack("[]", "dev"), false);
        assert.equal(hasStack('[{"name":"prod"},{"name":"dev2"}]', "dev"), false);
        assert.equal(hasStack('[{"name":"organization/citus/dev"}]', "dev"), true);
    });

    test("without a selection dev is taken only where there is no other stack", () => {
        assert.deepEqual(stackNames('[{"name":"prod"},{"name":"organization/citus/dev"}]'), ["dev", "prod"]);
        assert.equal(stackToSelect([]), undefined);
        assert.equal(stackToSelect(["dev"]), "dev");
        for (const names of [["prod"], ["dev", "prod"]])
            assert.throws(
                () => stackToSelect(names),
                (error: Error) => {
                    assert.ok(error instanceof NoAnswer);
                    assert.match(error.message, new RegExp(`has: ${names.join(", ")}\\. Nothing was changed\\.`));
                    return true;
                },
            );
        assert.throws(() => stackToSelect(["prod"]), /npm run pulumi -- stack select prod\n/);
        assert.throws(() => stackToSelect(["a", "b"]), /npm run pulumi -- stack select NAME\n/);
    });

    test("a stack that the arguments name needs no selection", () => {
        for (const args of [
            ["up", "--stack", "x"],
            ["up", "-s", "x"],
            ["config", "--stack=x"],
        ])
            assert.equal(namesStack(args), true, args.join(" "));
        for (const args of [
            ["up"],
            ["config", "set", "citus:workers", "2"],
            ["up", "--show-config"],
            ["up", "--skip-preview"],
        ])
            assert.equal(namesStack(args), false, args.join(" "));
    });
});

describe("what is handed on", () => {
    test("psql takes no other server's name from the environment, and keeps the rest", () => {
        const kept = { PATH: "/bin", PGAPPNAME: "me", PGOPTIONS: "-c x=1", PSQLRC: "/x", PGCONNECT_TIMEOUT: "3" };
        const strange = {
            PGSERVICE: "prod",
            PGSERVICEFILE: "/s",
            PGHOSTADDR: "10.0.0.1",
            PGSSLCERT: "/c",
            PGSSLMODE: "disable",
            PGREQUIREAUTH: "none",
            PGPASSFILE: "/p",
        };
        assert.deepEqual(withoutConnection({ ...kept, ...strange }), kept);
    });

    test("a shell reads a quoted word as it was", () => {
        for (const word of ["a b", "it's", '"$HOME" `x` \\', "ü #%2F", "line\nline", ""]) {
            const { stdout } = spawnSync("bash", ["-c", `printf %s ${quote(word)}`], { encoding: "utf8" });
            assert.equal(stdout, word);
        }
    });
});

describe("wrapped", () => {
    test("as many parts on a line as fit, and never half of one", () => {
        const parts = ["Docker engine 26", "image:1", "Disk 3 GiB"];
        assert.equal(wrapped(parts, { between: " · ", width: undefined }), "Docker engine 26 · image:1 · Disk 3 GiB");
        assert.equal(wrapped(parts, { between: " · ", width: 26 }), "Docker engine 26 · image:1\nDisk 3 GiB");
        assert.equal(
            wrapped(parts, { between: " · ", indent: 2, width: 27 }),
            "Docker engine 26\n  image:1 · Disk 3 GiB",
        );
        assert.equal(wrapped(parts, { between: " · ", width: 1 }), parts.join("\n"));
        assert.equal(wrapped([], { between: " · ", width: 80 }), "");
    });
});
