/** What Pulumi prints of a hook that throws: each thing once. */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, relative } from "node:path";
import { afterAll, test, vi } from "vitest";
import { thinProvider } from "../../../components/resources/provider.ts";

const dir = mkdtempSync(join(tmpdir(), "provider-"));
afterAll(() => rmSync(dir, { recursive: true }));

test("what a diff throws is not printed beside being shown, and everything else is printed", async () => {
    const path = join(dir, "refuses.mjs");
    writeFileSync(path, 'export const diff = () => { throw new Error("2 things stand in the way"); };');
    const printed: unknown[] = [];
    vi.spyOn(console, "error").mockImplementation((...args: unknown[]) => printed.push(args.join(" ")));
    const provider = thinProvider(relative(process.cwd(), path));
    await assert.rejects(
        async () => provider.diff?.("id", {}, {}),
        (e: Error) => {
            // as cmd/dynamic-provider of the SDK does
            console.error(`${e}: ${e.stack}`);
            return e.message === "2 things stand in the way";
        },
    );
    console.error("something else");
    console.error("Error: 2 things stand in the way");
    assert.deepEqual(printed, ["something else", "Error: 2 things stand in the way"]);
});
