/** Each table that this project keeps in the schema citus_as_code is written by one file. */
import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "vitest";

const ROOT = join(import.meta.dirname, "..", "..", "..", "..");
const LEDGER = "core/tenants/ledger";

/** Who writes a table's rows. */
const OWNERS: Readonly<Record<string, string>> = {
    tenant: `${LEDGER}/tenants.ts`,
    tenant_tombstone: `${LEDGER}/tenants.ts`,
    tenant_migration: `${LEDGER}/ran.ts`,
    tenant_change: `${LEDGER}/changes.ts`,
    tenant_pin: `${LEDGER}/pins.ts`,
    tenant_group: `${LEDGER}/groups.ts`,
    node_address: `${LEDGER}/addresses.ts`,
    measured: `${LEDGER}/measured.ts`,
    tenant_approval: "core/tenants/files/approve.ts",
    tenant_baseline: "core/tenants/files/baseline.ts",
    tenant_foreign_key: "core/tenants/tables/keysBack.ts",
    tenant_onboarding: "core/tenants/onboarding/onboarding.ts",
    tenant_template: "core/tenants/onboarding/onboarding.ts",
    post_deploy: "provider/postDeploy.ts",
    // in each tenant's own database
    migration: `${LEDGER}/ownDatabase.ts`,
    tenant_identity: `${LEDGER}/ownDatabase.ts`,
    shut: `${LEDGER}/ownDatabase.ts`,
};

const WRITE =
    /\b(?:INSERT INTO|UPDATE(?: ONLY)?|DELETE FROM(?: ONLY)?|TRUNCATE(?: TABLE)?|MERGE INTO)\s+citus_as_code\.(\w+|\$)/g;
/** A state of the ledger in SQL; `state = $1` and what a helper writes are none. */
const STATE = /\bstate\s*(?:=|<>|IN\s*\(|NOT IN\s*\()\s*'(?:creating|active|frozen|superseded|deleting)'/g;

/** Product files with their text. */
function files(): (readonly [path: string, text: string])[] {
    return ["client", "components", "core", "provider", "scripts"].flatMap((folder) =>
        readdirSync(join(ROOT, folder), { recursive: true, encoding: "utf8" })
            .map((file) => `${folder}/${file}`)
            .filter((file) => /\.(ts|sql|sh)$/.test(file) && !/(^|\/)(node_modules|dist)\//.test(file))
            .map((file) => [file, readFileSync(join(ROOT, file), "utf8")] as const),
    );
}

const found = files();
const writes = found.flatMap(([file, text]) => [...text.matchAll(WRITE)].map(([, table = ""]) => ({ file, table })));

describe("tables of citus_as_code", () => {
    test("are written by their owners alone", () => {
        assert.deepEqual(
            writes.filter(({ file, table }) => OWNERS[table] !== file),
            [],
        );
    });

    test("have an owner that writes them", () => {
        for (const [table, owner] of Object.entries(OWNERS))
            assert.ok(
                writes.some((write) => write.table === table && write.file === owner),
                `${owner} does not write ${table}`,
            );
    });

    test("are all named here", () => {
        const made = found.flatMap(([, text]) =>
            [...text.matchAll(/CREATE TABLE IF NOT EXISTS citus_as_code\.(\w+)/g)].map(([, table = ""]) => table),
        );
        assert.deepEqual(
            made.filter((table) => !(table in OWNERS)),
            [],
        );
    });

    test("and a tenant's state is named in SQL by the ledger alone", () => {
        assert.deepEqual(
            found
                .filter(
                    ([file, text]) => file.startsWith("core/tenants/") && !file.startsWith(LEDGER) && STATE.test(text),
                )
                .map(([file]) => file),
            [],
        );
    });
});
