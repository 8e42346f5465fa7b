/** Command lines of all scripts: what they say of themselves, and what they refuse. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, test } from "vitest";
import { EXIT, exitCodeOf, NoCluster } from "../../scripts/lib/exit.ts";

const ROOT = join(import.meta.dirname, "..", "..");
const NODE = "node ";
const { scripts } = JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8")) as { scripts: Record<string, string> };
/** npm scripts that are a script of this project, with its file. */
const own = Object.entries(scripts)
    .filter(([, line]) => line.startsWith(`${NODE}scripts/`))
    .map(([name, line]) => ({ name, file: line.slice(NODE.length) }));
/** Their arguments are another program's. */
const HANDED_ON = ["preview", "pulumi", "psql"];
const parsed = own.filter(({ name }) => !HANDED_ON.includes(name));
/** What takes no words. */
const WORDLESS = ["start", "status", "doctor", "report", "down", "backups", "restore-drill", "recover", "env", "bench"];

interface Ran {
    readonly status: number;
    readonly stdout: string;
    readonly stderr: string;
}

/** Runs one command line after another in one process: loading what scripts are made of takes longer than running them. */
const RUNNER = `
const lines = JSON.parse(process.argv[2]);
const write = process.stdout.write.bind(process.stdout);
const ran = [];
for (const [i, [file, ...args]] of lines.entries()) {
    const now = { status: 0, stdout: "", stderr: "" };
    process.stdout.write = (text) => Boolean((now.stdout += text));
    process.stderr.write = (text) => Boolean((now.stderr += text));
    process.argv = [process.argv[0], file, ...args];
    process.exitCode = 0;
    await import("./" + file + "?" + i);
    now.status = process.exitCode;
    ran.push(now);
}
process.exitCode = 0;
write(JSON.stringify(ran));
`;

let dir: string;
let ran: ReadonlyMap<string, Ran>;
const given = (file: string, ...args: string[]) => [file, ...args];
const of = (line: readonly string[]): Ran => {
    const found = ran.get(line.join(" "));
    assert.ok(found, line.join(" "));
    return found;
};

const LINES = [
    ...parsed.flatMap(({ file }) => [given(file, "--help"), given(file, "--bogus")]),
    ...parsed.filter(({ name }) => WORDLESS.includes(name)).map(({ file }) => given(file, "now")),
    given("scripts/backup.ts", "weekly"),
];

/** A copy of what scripts are made of, in which there is no state and the CLI only says that it was run. */
beforeAll(() => {
    dir = mkdtempSync(join(tmpdir(), "citus-commands-"));
    for (const name of ["scripts", "components", "core", "provider", "client", "node_modules", "package.json", "test"])
        symlinkSync(join(ROOT, name), join(dir, name));
    mkdirSync(join(dir, "bin"));
    for (const name of ["pulumi", "psql"])
        writeFileSync(join(dir, "bin", name), `#!/bin/sh\necho "${name} $*"\n: > '${dir}/${name}.ran'\n`, {
            mode: 0o755,
        });
    writeFileSync(join(dir, "runner.mjs"), RUNNER);
    const { stdout, stderr } = start("runner.mjs", JSON.stringify(LINES));
    try {
        const results = JSON.parse(stdout) as Ran[];
        ran = new Map(results.map((result, i) => [(LINES[i] ?? []).join(" "), result]));
    } catch {
        throw new Error(`${stdout}\n${stderr}`);
    }
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

function start(...args: string[]) {
    return spawnSync(
        process.execPath,
        // so that the copy is where a script thinks it is
        ["--preserve-symlinks", "--preserve-symlinks-main", "--no-warnings", ...args],
        { cwd: dir, encoding: "utf8", env: { PATH: `${join(dir, "bin")}:${process.env.PATH}`, HOME: dir } },
    );
}

test("there are scripts", () => assert.ok(own.length >= 13, JSON.stringify(own)));

test("none of these command lines began anything", () => {
    assert.equal(ran.size, LINES.length);
    assert.equal(existsSync(join(dir, ".state")), false);
    assert.equal(existsSync(join(dir, "pulumi.ran")), false);
});

for (const { name, file } of parsed) {
    test(`${name} --help says what it does, its options and exit codes`, () => {
        const { status, stdout, stderr } = of(given(file, "--help"));
        assert.equal(status, EXIT.done, stderr);
        assert.match(stdout, /^Usage: npm (run (-s )?)?\S+ -- /);
        assert.match(stdout, /\n\n[A-Z][^\n]+/);
        assert.match(stdout, /^ {2}-h, --help /m);
        assert.match(stdout, /^Exit codes:\n {2}0 .*\n {2}1 .*\n {2}2 .*\n {2}130 /m);
    });

    test(`${name} refuses an option that it does not know`, () => {
        const { status, stderr } = of(given(file, "--bogus"));
        assert.equal(status, EXIT.cannotTell, stderr);
        assert.match(stderr, /unknown option '--bogus'/);
        assert.match(stderr, /Nothing was done\. npm .* --help says what there is\.\n$/);
    });

    if (WORDLESS.includes(name))
        test(`${name} refuses words`, () => {
            const { status, stderr } = of(given(file, "now"));
            assert.equal(status, EXIT.cannotTell, stderr);
            assert.match(
                stderr,
                name === "status" ? /'now' is invalid.*Allowed choices are activity/ : /too many arguments/,
            );
        });
}

test("a type of backup that there is not", () => {
    const { status, stderr } = of(given("scripts/backup.ts", "weekly"));
    assert.equal(status, EXIT.cannotTell);
    assert.match(stderr, /'weekly' is invalid.*Allowed choices are full, diff, incr/);
});

test("psql --help is psql's own after a line of ours, and needs no cluster", () => {
    const { status, stdout } = start("scripts/psql.ts", "--help");
    assert.equal(status, 0);
    assert.match(stdout, /^npm run psql -- \[--on NODE\] \[psql's options\]\n[\s\S]*\npsql --help\n$/);
    assert.equal(existsSync(join(dir, ".state")), false);
});

describe("docs/commands.md", () => {
    const text = readFileSync(join(ROOT, "docs", "commands.md"), "utf8");

    test("has the exit codes that there are", () => {
        const codes = [...text.matchAll(/^\| (\d+) \| /gm)].map(([, code]) => Number(code));
        assert.deepEqual(codes, Object.values(EXIT));
    });

    for (const { name, file } of own)
        test(`has ${name} and its options`, () => {
            assert.match(text, new RegExp(`^### npm (run )?${name}$`, "m"));
            if (HANDED_ON.includes(name)) return;
            const options = [...of(given(file, "--help")).stdout.matchAll(/^ {2}(--[\w-]+)/gm)].map(
                ([, one]) => one ?? "",
            );
            const missing = options.filter((one) => one !== "--debug" && !text.includes(`\`${one}`));
            assert.deepEqual(missing, []);
        });
});

test("no cluster is 2, what failed is 1", () => {
    assert.equal(exitCodeOf(new NoCluster("dev")), EXIT.cannotTell);
    assert.equal(exitCodeOf(new Error("x")), EXIT.failed);
});
