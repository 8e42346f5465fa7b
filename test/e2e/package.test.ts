/** The package as others get it: packed, checked, installed into an empty folder, and a program of five lines that makes a cluster. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import {
    cpSync,
    existsSync,
    globSync,
    mkdirSync,
    mkdtempSync,
    readFileSync,
    rmSync,
    symlinkSync,
    writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, describe, test } from "vitest";
import { testImage } from "../image.ts";
import { docker, type Ran, ROOT, requireEngine, run } from "../lib.ts";

requireEngine();

const NAME = "citus-clusters-as-code";
const MODULES = join(ROOT, "node_modules");
const folder = mkdtempSync(join(tmpdir(), "citus-package-"));
const app = join(folder, "app");
const env = {
    ...process.env,
    PATH: `${join(MODULES, ".bin")}:${process.env.PATH}`,
    PULUMI_BACKEND_URL: `file://${join(folder, "state")}`,
    PULUMI_CONFIG_PASSPHRASE: "test",
    PULUMI_SKIP_UPDATE_CHECK: "true",
};
const filter = "label=citus.cluster=orders-package";
let tarball = "";

const here = (command: string, args: readonly string[], cwd = app) =>
    execFileSync(command, [...args], { cwd, env, encoding: "utf8", stdio: ["ignore", "pipe", "inherit"] });

/** What npm would install with it, taken from this project: there may be no network. Nothing of AWS is in it. */
function installed(): void {
    for (const path of globSync(["*", "@*/*"], { cwd: MODULES })) {
        if (path.startsWith(".") || /^@[^/]+$/.test(path) || /^(@aws-sdk\/|@pulumi\/aws$)/.test(path)) continue;
        mkdirSync(dirname(join(app, "node_modules", path)), { recursive: true });
        symlinkSync(join(MODULES, path), join(app, "node_modules", path));
    }
    mkdirSync(join(app, "node_modules", NAME), { recursive: true });
    here("tar", ["-xzf", tarball, "-C", join("node_modules", NAME), "--strip-components", "1"]);
}

async function up(program: string): Promise<Ran> {
    writeFileSync(join(app, "index.ts"), program);
    return run("pulumi", ["up", "--yes", "--skip-preview", "--stack", "package"], { cwd: app, env });
}

const programOf = (workers: number, more = "") => `import { CitusCluster } from "${NAME}";

const cluster = new CitusCluster("orders", { workers: ${workers}, image: "${testImage()}", protect: false${more} });

export const { status, workers } = cluster;
`;

const nodes = () => docker(["ps", "-q", "--filter", filter]).split("\n").filter(Boolean).length;

describe("the package", () => {
    beforeAll(() => {
        mkdirSync(join(folder, "state"), { recursive: true });
        here("npm", ["run", "-s", "build"], ROOT);
        const packed = here("npm", ["pack", "--json", "--pack-destination", folder], join(ROOT, "dist"));
        const found = Object.values(
            JSON.parse(packed.slice(packed.search(/^[[{]/m))) as Record<string, { filename: string }>,
        );
        tarball = join(folder, found[0]?.filename ?? "");
        cpSync(join(ROOT, "template"), app, { recursive: true });
        for (const file of ["Pulumi.yaml", "package.json"]) {
            const text = readFileSync(join(app, file), "utf8");
            // as pulumi new does
            const filled = text.replaceAll(/\$\{PROJECT\}/g, "app").replaceAll(/\$\{DESCRIPTION\}/g, "A test");
            writeFileSync(join(app, file), filled.replace(/^template:[\s\S]*/m, ""));
        }
        installed();
        here("pulumi", ["stack", "init", "package"]);
    });
    afterAll(async () => {
        await run("pulumi", ["destroy", "--yes", "--skip-preview", "--stack", "package"], { cwd: app, env });
        const left = docker(["ps", "-aq", "--filter", filter]) + docker(["volume", "ls", "-q", "--filter", filter]);
        rmSync(folder, { recursive: true, force: true });
        assert.equal(left, "");
    });

    test("publint and attw find nothing", () => {
        here("publint", ["run", tarball, "--strict"]);
        here("attw", ["--profile", "esm-only", tarball]);
    });

    test("has no sources, and nothing of AWS beside it", () => {
        const files = globSync("**/*.ts", { cwd: join(app, "node_modules", NAME) });
        assert.deepEqual(
            files.filter((file) => !file.endsWith(".d.ts")),
            [],
        );
        assert.ok(!existsSync(join(app, "node_modules", "@pulumi", "aws")));
    });

    test("has types that a program on docker compiles with, also those of libraries", () => {
        writeFileSync(join(app, "index.ts"), programOf(2));
        here("tsc", ["-p", "tsconfig.json", "--skipLibCheck", "false", "--types", "node"]);
    });

    test("a program on aws is told what to install", async () => {
        const { code, output } = await up(
            programOf(2, ', platform: "aws", region: "eu-central-1"').replace(/image: "[^"]*", /, ""),
        );
        assert.notEqual(code, 0);
        assert.match(output, /npm install @pulumi\/aws@7 @aws-sdk\/client-ssm@3/);
    });

    test("makes a cluster of 1 + 2, scales it to 3, and takes it down", async () => {
        const made = await up(programOf(2));
        assert.equal(made.code, 0, made.output);
        assert.equal(nodes(), 3);
        const scaled = await up(programOf(3));
        assert.equal(scaled.code, 0, scaled.output);
        assert.equal(nodes(), 4);
        const outputs = JSON.parse(here("pulumi", ["stack", "output", "--json", "--stack", "package"])) as {
            workers: unknown[];
        };
        assert.equal(outputs.workers.length, 3);
        const down = await run("pulumi", ["destroy", "--yes", "--skip-preview", "--stack", "package"], {
            cwd: app,
            env,
        });
        assert.equal(down.code, 0, down.output);
        assert.equal(nodes(), 0);
    });
});
