/** Exports of tenants on this machine, and what is said of those that can't be made. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, test } from "node:test";
import { exportTenant, makeFolder, readExport } from "../../components/citus/tenants/export.ts";
import { restoreTenant } from "../../components/citus/tenants/restore.ts";
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

test("an export is read only as what it is: the tenant's, whole, with its manifest", async () => {
    const context = { group: { ...EMPTY, name: "billing", model: "row" } } as unknown as Context;
    const file = join(dir, "1.sql.gz");
    const text = "packed";
    const sha256 = createHash("sha256").update(text).digest("hex");
    const right = { format: 1, group: "billing", tenant: "1", model: "row", bytes: 6, sha256, prints: {} };
    const read = (manifest: unknown, content = text) => {
        writeFileSync(file, content);
        writeFileSync(`${file}.json`, typeof manifest === "string" ? manifest : JSON.stringify(manifest));
        return readExport(context, "1", file);
    };
    assert.deepEqual(await read(right), right);
    for (const other of [{ tenant: "2" }, { group: "shop" }, { model: "rls" }])
        await assert.rejects(read({ ...right, ...other }), /1\.sql\.gz has .*, not billing\/1 of model row\.$/);
    for (const content of ["packet", "packed ", ""])
        await assert.rejects(read(right, content), /1\.sql\.gz is not as it was when it was exported/);
    for (const broken of ["", "null", '{"format": 1, "gro', { ...right, format: 2 }, { ...right, sha256: undefined }])
        await assert.rejects(read(broken), /1\.sql\.gz\.json is not the manifest of an export\.$/);
    await read(right);
    rmSync(file);
    await assert.rejects(readExport(context, "1", file), /1\.sql\.gz can't be read/);
    rmSync(`${file}.json`);
    await assert.rejects(readExport(context, "1", file), /the manifest of the export, can't be read/);
    await assert.rejects(restoreTenant(context, "1", file), /can't be read: .* Nothing was restored\.$/);
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
        bytes: Buffer.byteLength(text),
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
