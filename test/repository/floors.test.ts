/** No import goes up a floor. */
import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { describe, onTestFinished, test } from "vitest";
import { ROOT } from "../lib.ts";
import { brokenFloors, FLOORS } from "./floors.ts";

/** @returns the names of the rules that such files break, each with the arrow */
async function broken(files: Readonly<Record<string, string>>): Promise<string[]> {
    const dir = mkdtempSync(join(tmpdir(), "citus-floors-"));
    onTestFinished(() => rmSync(dir, { recursive: true }));
    for (const [file, text] of Object.entries(files)) {
        mkdirSync(dirname(join(dir, file)), { recursive: true });
        writeFileSync(join(dir, file), text);
    }
    return brokenFloors(dir);
}

const nothing = "export {};\n";

describe("floors", () => {
    test("no file breaks a rule", async () => {
        assert.deepEqual(await brokenFloors(ROOT), []);
    });

    test("each floor may import from the one below", async () => {
        const file = (floor: string) => (floor.endsWith(".ts") ? floor : `${floor}/a.ts`);
        const files: Record<string, string> = {};
        FLOORS.forEach((floor, index) => {
            const below = FLOORS[index - 1];
            const up = "../".repeat(file(floor).split("/").length - 1) || "./";
            // a declaration takes types alone
            const types = below === "provider" ? "type {} from " : "";
            files[file(floor)] = below === undefined ? nothing : `import ${types}"${up}${file(below)}";\n`;
        });
        assert.deepEqual(await broken(files), []);
    });

    test("an arrow that goes up is an error, also one of types", async () => {
        assert.deepEqual(
            await broken({
                "core/util/a.ts": 'import type { B } from "../citus/b.ts";\nexport type A = B;\n',
                "core/citus/b.ts": "export type B = 1;\n",
                "components/config/c.ts": 'import "../cluster.ts";\n',
                "components/cluster.ts": nothing,
            }),
            [
                "components/config imports only from below: components/config/c.ts -> components/cluster.ts",
                "core/util imports only from below: core/util/a.ts -> core/citus/b.ts",
            ],
        );
    });

    test("a declaration takes types alone from its provider", async () => {
        assert.deepEqual(
            await broken({
                "components/resources/a.ts": 'import type { A } from "../../provider/a.ts";\nexport type B = A;\n',
                "components/resources/b.ts": 'export { b } from "../../provider/b.ts";\n',
                "provider/a.ts": "export type A = 1;\n",
                "provider/b.ts": "export const b = 1;\n",
            }),
            ["a declaration takes types alone from its provider: components/resources/b.ts -> provider/b.ts"],
        );
    });

    test("a circle is an error", async () => {
        assert.deepEqual(
            await broken({
                "core/util/a.ts": 'import "./b.ts";\n',
                "core/util/b.ts": 'import "./a.ts";\n',
            }),
            ["no circles: core/util/a.ts -> core/util/b.ts"],
        );
    });

    test("so is a circle of folders, where no two files import each other", async () => {
        assert.deepEqual(
            await broken({
                "core/citus/health/a.ts": 'import "../members/a.ts";\n',
                "core/citus/members/a.ts": nothing,
                "core/citus/members/b.ts": 'import "../health/b.ts";\n',
                "core/citus/health/b.ts": nothing,
            }),
            [
                "no circles of folders: core/citus/health -> core/citus/members",
                "no circles of folders: core/citus/members -> core/citus/health",
            ],
        );
    });
    test("and a circle of a folder with one inside it", async () => {
        assert.deepEqual(
            await broken({
                "core/citus/health/a.ts": 'import "./checks/a.ts";\n',
                "core/citus/health/checks/a.ts": nothing,
                "core/citus/health/checks/b.ts": 'import "../b.ts";\n',
                "core/citus/health/b.ts": nothing,
            }),
            [
                "no circles of folders: core/citus/health -> core/citus/health/checks",
                "no circles of folders: core/citus/health/checks -> core/citus/health",
            ],
        );
    });
});
