/** Exports of tenants on this machine, and what is said of those that can't be made. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, test } from "node:test";
import { exportTenant, makeFolder, restoreTenant } from "../../components/citus/tenants/export.ts";
import type { Context } from "../../components/tenants/facet.ts";
import { clearStack } from "../../scripts/lib/project.ts";
import { EMPTY } from "../tenants.ts";

const dir = mkdtempSync(join(tmpdir(), "citus-exports-test-"));
after(() => rmSync(dir, { recursive: true, force: true }));

const modeOf = (path: string) => (statSync(path).mode & 0o777).toString(8);

test("nobody else gets into the folders of exports, those that were there already neither", async () => {
    const stack = join(dir, "new", "dev");
    const folder = await makeFolder(join(stack, "exports"), "billing");
    for (const path of [join(dir, "new"), stack, join(stack, "exports"), folder])
        assert.equal(modeOf(path), "700", path);
    for (const path of [join(stack, "exports"), folder]) chmodSync(path, 0o755);
    await makeFolder(join(stack, "exports"), "billing");
    for (const path of [join(stack, "exports"), folder]) assert.equal(modeOf(path), "700", path);
});

test("exports outlive the stack's other files", () => {
    const stack = join(dir, "down");
    mkdirSync(join(stack, "exports", "billing"), { recursive: true });
    writeFileSync(join(stack, "ca.crt"), "");
    writeFileSync(join(stack, "exports", "billing", "1.sql.gz"), "");
    assert.equal(clearStack(stack), join(stack, "exports"));
    assert.deepEqual(readdirSync(stack, { recursive: true }).sort(), [
        "exports",
        "exports/billing",
        "exports/billing/1.sql.gz",
    ]);
    rmSync(join(stack, "exports", "billing", "1.sql.gz"));
    assert.equal(clearStack(stack), undefined);
    assert.equal(existsSync(stack), false);
    assert.equal(clearStack(stack), undefined);
});

describe("a routed tenant", () => {
    const tenants = { eu: { host: "eu.example", port: 6000 } };
    const context = { group: { ...EMPTY, name: "far", model: "routed", tenants } } as unknown as Context;

    test("is somewhere else, which is said before anything is asked", async () => {
        const where = /far\/eu is routed: .*eu\.example:6000\/eu.* Nothing was (exported|restored)\./;
        await assert.rejects(exportTenant(context, "eu"), where);
        await assert.rejects(restoreTenant(context, "eu", "no file"), where);
    });
});

describe("a restore into", () => {
    const text = "what was exported";
    const file = join(dir, "acme.sql.gz");
    const manifest = {
        format: 1,
        group: "clinics",
        tenant: "acme",
        model: "schema",
        sha256: createHash("sha256").update(text).digest("hex"),
        prints: {},
    };

    const into = async (row: { moved: string | null; change: string | null }) => {
        writeFileSync(file, text);
        writeFileSync(`${file}.json`, JSON.stringify(manifest));
        const asked: string[] = [];
        const session = {
            query: async (sql: string) => {
                asked.push(sql);
                return sql.includes("AS moved") ? [row] : [{ ok: true }];
            },
        };
        const context = { group: { ...EMPTY, name: "clinics", model: "schema" }, session } as unknown as Context;
        const said = await restoreTenant(context, "acme", file).then(
            () => "restored",
            (error: Error) => error.message,
        );
        // its lock, that question, and its lock's end
        assert.equal(asked.length, 3, asked.join("\n"));
        return said;
    };

    test("an old copy is refused: the tenant is somewhere else", async () => {
        assert.match(
            await into({ moved: "vaults/acme", change: null }),
            /its data went to vaults\/acme, and what is here is the old copy\. Nothing was restored\./,
        );
    });

    test("a tenant whose model is being changed is refused: the run that goes on would copy it", async () => {
        assert.match(
            await into({ moved: null, change: "clinics/acme to vaults/acme" }),
            /clinics\/acme to vaults\/acme, was begun and not ended\. Nothing was restored\. Run pulumi up/,
        );
    });
});
