/** The client as others get it: packed, installed without a network, run by Node.js and checked by TypeScript. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, test } from "vitest";

const ROOT = join(import.meta.dirname, "..", "..");
const CLIENT = join(ROOT, "client");
const MODULES = join(ROOT, "node_modules");

const folder = mkdtempSync(join(tmpdir(), "citus-client-"));

function run(command: string, args: readonly string[], cwd = folder): string {
    const { status, stdout, stderr, error } = spawnSync(command, [...args], {
        cwd,
        encoding: "utf8",
        env: { ...process.env, npm_config_cache: join(folder, "cache"), npm_config_update_notifier: "false" },
    });
    assert.equal(status, 0, `${command} ${args.join(" ")}\n${error ?? ""}${stdout}\n${stderr}`);
    return stdout;
}

interface Packed {
    readonly name: string;
    readonly filename: string;
    readonly files: readonly { readonly path: string }[];
}

/** npm 11 and older give a list, later ones an object by name. */
function packed(json: string): Packed {
    const found = JSON.parse(json.slice(json.search(/^[[{]/m))) as Record<string, Packed>;
    const [first] = Object.values(found);
    assert.ok(first);
    return first;
}

describe("the client's package", () => {
    let tarball: Packed;
    beforeAll(() => {
        tarball = packed(run("npm", ["pack", "--json", "--pack-destination", folder], CLIENT));
        writeFileSync(join(folder, "package.json"), '{"name": "consumer", "private": true}');
        run("npm", ["install", "--offline", "--no-audit", "--no-fund", "--ignore-scripts", `./${tarball.filename}`]);
    });
    afterAll(() => rmSync(folder, { recursive: true, force: true }));

    test("has what is published and no sources", () => {
        const files = tarball.files.map(({ path }) => path);
        for (const file of ["package.json", "README.md", "LICENSE", "dist/index.js", "dist/index.d.ts"])
            assert.ok(files.includes(file), file);
        const sources = readdirSync(CLIENT).filter((file) => /\.ts$/.test(file));
        for (const source of sources) {
            assert.ok(files.includes(`dist/${source.replace(/ts$/, "js")}`), source);
            assert.ok(!files.includes(source), source);
        }
        assert.deepEqual(
            files.filter((file) => !/^dist\/\w+(\.d\.ts|\.js)$|^(package\.json|README\.md|LICENSE)$/.test(file)),
            [],
        );
    });

    test("needs no other package", () => {
        const { dependencies, peerDependenciesMeta } = JSON.parse(
            readFileSync(join(folder, "node_modules", tarball.name, "package.json"), "utf8"),
        );
        assert.deepEqual([dependencies, peerDependenciesMeta], [undefined, { pg: { optional: true } }]);
        assert.deepEqual(
            readdirSync(join(folder, "node_modules")).filter((name) => !name.startsWith(".")),
            [tarball.name],
        );
    });

    test("is run by Node.js, from modules of both kinds", () => {
        const use = `
            const map = ShardMap.from({ format: 1, version: "a", generatedAt: "", database: "app", default: "c",
                nodes: { c: { host: "h", port: 1 } }, groups: {}, tombstones: {} });
            console.log(map.lookup(7).host, isStale({ code: "57P01" }), typeof ShardMapClient, new CommitUnknown().name);`;
        const names = "ShardMap, ShardMapClient, CommitUnknown, isStale";
        writeFileSync(join(folder, "a.mjs"), `import { ${names} } from "${tarball.name}";${use}`);
        writeFileSync(join(folder, "b.cjs"), `const { ${names} } = require("${tarball.name}");${use}`);
        for (const file of ["a.mjs", "b.cjs"])
            assert.equal(run(process.execPath, [file]), "h true function CommitUnknown\n");
    });

    test("has types that fit pg's pools", () => {
        mkdirSync(join(folder, "node_modules", "@types"));
        for (const name of ["node", "pg"])
            symlinkSync(join(MODULES, "@types", name), join(folder, "node_modules", "@types", name));
        const program = `
            import pg from "pg";
            import { fromDatabase, ShardMapClient, type Place } from "${tarball.name}";
            const pools = new Map<string, pg.Pool>();
            const poolOf = ({ host, port, database }: Place): pg.Pool => pools.get(host) ?? new pg.Pool({ host, port, database });
            const coordinator = new pg.Pool();
            const map = await new ShardMapClient({ fetch: fromDatabase(coordinator) }).start();
            const names: string[] = await map.withTenant(poolOf, 42, "billing", async (db) =>
                (await db.query<{ name: string }>("SELECT name FROM users WHERE id = $1", [1])).rows.map(({ name }) => name));
            await map.withTenant(coordinator, "a", "billing", (db) => db.query("SELECT 1"));
            // @ts-expect-error a key is text or a number
            map.lookup({ id: 42 });
            console.log(names, map.lookup(1n).exact);`;
        writeFileSync(join(folder, "types.mts"), program);
        const strict = [
            "--strict",
            "--noEmit",
            "--module",
            "nodenext",
            "--target",
            "es2022",
            "--exactOptionalPropertyTypes",
        ];
        run(process.execPath, [join(MODULES, "typescript", "bin", "tsc"), ...strict, "--types", "node", "types.mts"]);
    });
});
