/** How an import reaches the coordinator. */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, test } from "vitest";
import { accessFrom } from "../../provider/findMember.ts";

const dir = mkdtempSync(join(tmpdir(), "citus-import-"));
const ca = join(dir, "ca.crt");
writeFileSync(ca, "CERTIFICATE");
afterAll(() => rmSync(dir, { recursive: true }));

test("the stack's connection string says all of it", () => {
    assert.deepEqual(
        accessFrom(`postgresql://postgres:p%40ss@localhost:23072/app?sslmode=verify-full&sslrootcert=${ca}`, "w"),
        {
            host: "localhost",
            port: 23072,
            serverName: "localhost",
            ca: "CERTIFICATE",
            user: "postgres",
            password: "p@ss",
            database: "app",
        },
    );
});

test("without it, or with another one, the error says how it is set", () => {
    assert.throws(() => accessFrom(undefined, "worker-1.c.node"), {
        message:
            "To import worker-1.c.node, its coordinator has to be reached, and CITUS_COORDINATOR is not set.\n" +
            "Nothing was imported. Set it in this shell, then run pulumi import again:\n" +
            '  export CITUS_COORDINATOR="$(pulumi stack output connectionString --show-secrets)"',
    });
    for (const other of ["localhost", "postgresql://localhost/app"])
        assert.throws(() => accessFrom(other, "w"), /is no connection string that names a CA's file \(sslrootcert\)/);
});
