/** Exports of tenants on this machine, and what is said of those that can't be made. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, test } from "vitest";
import { identity } from "../../../../core/tenants/databases/databaseFound.ts";
import { exportTenant, type Manifest, makeFolder } from "../../../../core/tenants/exports/export.ts";
import { bucketConf } from "../../../../core/tenants/exports/exportPlaces.ts";
import { addressOf, parseTarget, remoteFile } from "../../../../core/tenants/exports/exportTarget.ts";
import { readExport } from "../../../../core/tenants/exports/readExport.ts";
import { restoreTenant } from "../../../../core/tenants/exports/restore.ts";
import { fit, parseHead } from "../../../../core/tenants/exports/restoreRows.ts";
import type { Context } from "../../../../core/tenants/group/facet.ts";
import { clearStack } from "../../../../scripts/lib/project.ts";
import { EMPTY } from "../../../tenants.ts";

const dir = mkdtempSync(join(tmpdir(), "citus-exports-test-"));
afterAll(() => rmSync(dir, { recursive: true, force: true }));

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
        await assert.rejects(read(right, content), /1\.sql\.gz was changed after it was exported: its sha256 differs/);
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

    const ask = async (row: { moved: string | null; change: string | null }) => {
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
        return { said, asked };
    };
    const into = async (row: Parameters<typeof ask>[0]) => (await ask(row)).said;

    test("an old copy is refused: the tenant is somewhere else", async () => {
        assert.match(
            await into({ moved: "vaults/acme", change: null }),
            /its data went to vaults\/acme, and this is the old copy\. Nothing was restored\./,
        );
    });

    test("an old copy is refused while it is being deleted, too", async () => {
        const { asked } = await ask({ moved: "vaults/acme", change: null });
        const [question = ""] = asked.filter((sql) => sql.includes("AS moved"));
        assert.match(question, /state IN \('superseded', 'deleting'\)\) AS moved/);
    });

    test("a tenant whose model is being changed is refused: the run that goes on would copy it", async () => {
        assert.match(
            await into({ moved: null, change: "clinics/acme to vaults/acme" }),
            /clinics\/acme to vaults\/acme, was begun and not ended\. Nothing was restored\. Run pulumi up/,
        );
    });
});

describe("a restore of a database", () => {
    const own = identity("clinics", "acme", 7);
    const file = join(dir, "database.sql.gz");
    const exported = join(dir, "exported.sql.gz");

    interface Database {
        comment: string | null;
        limit: number;
        /** Large objects in it, and tables. */
        objects?: number;
    }

    interface World {
        ledger?: { node: string; state?: string; detail: Record<string, unknown> };
        database?: Database;
    }

    /** @param script what the script does that brings the file in; what is not a question fails where `failing` says so */
    async function restore(
        world: World,
        script: (world: World) => void = () => undefined,
        { replace = true, failing = /$^/ } = {},
    ) {
        const manifest = {
            format: 1,
            group: "clinics",
            tenant: "acme",
            model: "database",
            sha256: createHash("sha256").update("").digest("hex"),
            bytes: 0,
            node: "worker-1",
            prints: {},
            sequences: {},
            migrations: [],
            detail: { epoch: 8 },
        };
        for (const path of [file, exported]) {
            writeFileSync(path, "");
            writeFileSync(`${path}.json`, JSON.stringify(manifest));
        }
        const done: string[] = [];
        const query = async (sql: string, values: unknown[] = []) => {
            if (!/^\s*(SELECT|SET|BEGIN$|COMMIT$|ROLLBACK)/.test(sql)) done.push(sql.trim().split("\n")[0] ?? "");
            if (failing.test(sql)) throw new Error("the connection was lost");
            if (sql.includes("AS moved")) return [{ moved: null, change: null }];
            if (sql.includes("AS shapes")) return [{ shapes: [] }];
            if (sql.includes("count(*)::text")) return [{ count: String(world.database?.objects ?? 0) }];
            if (sql.includes("AS found")) return [{ found: (world.database?.objects ?? 0) > 0 }];
            if (sql.includes("FROM pg_database")) return world.database ? [world.database] : [];
            if (sql.startsWith("SELECT node, detail")) return world.ledger ? [world.ledger] : [];
            if (sql.startsWith("INSERT INTO citus_as_code.tenant ")) {
                const detail = { ...world.ledger?.detail, ...JSON.parse(String(values[3])) };
                world.ledger = { state: "creating", ...world.ledger, node: String(values[2]), detail };
                return [world.ledger];
            }
            if (sql.includes("DELETE FROM citus_as_code.tenant ")) delete world.ledger;
            if (sql.startsWith("DROP DATABASE")) delete world.database;
            return [{ ok: true }];
        };
        const session = { query, close: async () => undefined };
        let began = false;
        const context = {
            group: { ...EMPTY, name: "clinics", model: "database", tenants: { acme: {} } },
            session,
            open: async () => session,
            shell: () => {
                if (!began) {
                    done.push("the file");
                    script(world);
                }
                began = true;
                throw new Error("the disk is full");
            },
            note: () => undefined,
        } as unknown as Context;
        const said = await restoreTenant(context, "acme", file, { replace }, async () => exported).then(
            () => "restored",
            (error: Error) => error.message,
        );
        return { said, done };
    }

    const there = (more: Partial<Database> = {}): World => ({
        ledger: { node: "worker-1", state: "active", detail: { epoch: 7 } },
        database: { comment: own, limit: -1, ...more },
    });
    const dropped = 'DROP DATABASE "acme" WITH (FORCE)';

    test("that fails leaves the tenant in the ledger, so that no empty one is served, and says how to go on", async () => {
        const world = there();
        const { said, done } = await restore(world, (now) => {
            now.database = { comment: identity("clinics", "acme", 8), limit: 0, objects: 3 };
        });
        assert.deepEqual(world, {
            ledger: { node: "worker-1", state: "active", detail: { epoch: 8, restoring: true } },
        });
        assert.equal(done.filter((sql) => sql === dropped).length, 2);
        assert.ok(
            done.findIndex((sql) => sql.startsWith("INSERT INTO citus_as_code.tenant ")) < done.indexOf("the file"),
        );
        assert.match(said, /could not be restored from .*database\.sql\.gz\n {2}the disk is full\n/);
        assert.match(said, /Nothing serves clinics\/acme now, and pulumi up puts no empty database in its place\./);
        assert.match(
            said,
            /restore clinics\/acme \S+\/database\.sql\.gz\n.* restore clinics\/acme \S+\/exported\.sql\.gz$/,
        );
    });

    test("that can't be undone says first what it failed at, and stays written down", async () => {
        const world = there();
        let drops = 0;
        const failing = {
            test: (sql: string) => sql.startsWith("DROP DATABASE") && ++drops > 1,
        } as unknown as RegExp;
        const { said } = await restore(
            world,
            (now) => {
                now.database = { comment: identity("clinics", "acme", 8), limit: 0, objects: 3 };
            },
            { failing },
        );
        assert.match(said, /the disk is full\nWhat was restored on worker-1 could not be removed:\n {2}the conn/);
        assert.match(said, /database\.sql\.gz --replace\n.* restore clinics\/acme \S+\/exported\.sql\.gz$/);
        assert.equal(world.ledger?.detail.restoring, true);
    });

    test("of a tenant that the ledger does not have is written down before anything is there", async () => {
        const killed: World = {};
        let seen: unknown;
        const { said, done } = await restore(killed, (now) => {
            seen = structuredClone(now.ledger);
            now.database = { comment: null, limit: 0 };
        });
        assert.deepEqual(seen, { node: "worker-1", state: "creating", detail: { epoch: 8, restoring: true } });
        assert.match(said, /Nothing of it is left here\. The file is unchanged\.$/);
        assert.deepEqual([killed, done.filter((sql) => sql === dropped).length], [{}, 1]);
        // as a killed one leaves it
        const again: World = {
            ledger: { node: "worker-1", state: "creating", detail: { epoch: 8, restoring: true } },
            database: { comment: null, limit: 0 },
        };
        const { done: then } = await restore(again, undefined, { replace: false });
        assert.ok(then.indexOf(dropped) !== -1 && then.indexOf(dropped) < then.indexOf("the file"));
    });

    test("touches no database that is somebody else's", async () => {
        const others: World[] = [
            there({ comment: null }),
            there({ comment: "theirs", limit: 0 }),
            { database: { comment: own, limit: 0 } },
            {
                ledger: { node: "worker-1", detail: { epoch: 7, restoring: true } },
                database: { comment: null, limit: 0, objects: 1 },
            },
        ];
        for (const world of others) {
            const before = structuredClone(world);
            const { said, done } = await restore(world);
            assert.match(said, /It is left as it is\. If it is somebody else's, rename it/);
            assert.deepEqual(world, before);
            assert.deepEqual(
                done.filter((sql) => /DATABASE|^INSERT|^the file/.test(sql)),
                [],
            );
        }
        // one that was made while the file was on its way
        const world: World = { ledger: { node: "worker-1", detail: { epoch: 7 } } };
        const { said } = await restore(world, (now) => {
            now.database = { comment: "theirs", limit: -1 };
        });
        assert.match(said, /the disk is full\nWhat was restored .*\n.*its comment is "theirs"/);
        assert.deepEqual(world.database, { comment: "theirs", limit: -1 });
    });

    test("takes large objects for data, and exports what has no rows, too", async () => {
        const world = there({ objects: 2 });
        const { said, done } = await restore(world, undefined, { replace: false });
        assert.match(said, /clinics\/acme has data: pg_largeobject has 2 large objects\. Nothing was restored\./);
        assert.equal(done.includes(dropped), false);
        const { said: then } = await restore(there(), undefined, { replace: false });
        assert.match(then, /restore clinics\/acme \S+\/exported\.sql\.gz$/);
    });

    test("says what it failed at where a database can't be opened again, either", async () => {
        const { said } = await restore(there(), undefined, { failing: /pg_terminate_backend|CONNECTION LIMIT -1/ });
        assert.match(
            said,
            /^the connection was lost\nNothing was dropped, and database acme on worker-1 still takes no connections: /,
        );
        assert.match(said, /ALTER DATABASE "acme" CONNECTION LIMIT -1;$/);
    });
});

test("a restore takes no schema that is somebody else's", async () => {
    const text = "CREATE SCHEMA acme;";
    const file = join(dir, "schema.sql.gz");
    const sha256 = createHash("sha256").update(text).digest("hex");
    const manifest = { format: 1, group: "clinics", tenant: "acme", model: "schema", bytes: text.length, sha256 };
    writeFileSync(file, text);
    writeFileSync(`${file}.json`, JSON.stringify({ ...manifest, prints: {}, detail: {} }));
    for (const [rows, distributed, says] of [
        [[], true, /there is a schema acme that was not made for it\. It is left as it is\./],
        [
            [{ node: null, detail: {} }],
            false,
            /its schema is not distributed, so somebody may have made it in the place of the tenant's\. It is left as it is\./,
        ],
    ] as const) {
        const asked: string[] = [];
        const query = async (sql: string) => {
            asked.push(sql);
            if (sql.includes("AS moved")) return [{ moved: null, change: null }];
            if (sql.startsWith("SELECT node, detail")) return rows;
            return sql.includes("pg_namespace") ? [{ distributed }] : [{ ok: true }];
        };
        const context = { group: { ...EMPTY, name: "clinics", model: "schema" }, session: { query } };
        await assert.rejects(restoreTenant(context as unknown as Context, "acme", file, { replace: true }), says);
        assert.equal(
            asked.some((sql) => /DROP|INSERT|UPDATE/.test(sql)),
            false,
        );
    }
});

describe("where exports go", () => {
    test("is read with every part, and its address leads back to it", () => {
        const target = parseTarget(
            "s3://acme-exports/some/prefix/?region=eu-central-1&endpoint=minio.local:9000&verify=false",
        );
        assert.deepEqual(target, {
            kind: "bucket",
            bucket: "acme-exports",
            prefix: "some/prefix",
            region: "eu-central-1",
            endpoint: "minio.local:9000",
            verify: false,
        });
        assert.ok(typeof target !== "string" && target.kind === "bucket");
        const address = addressOf({ target, path: "clinics/acme.sql.gz" });
        const found = remoteFile(address);
        assert.deepEqual(found, { target: { ...target, prefix: "" }, path: "some/prefix/clinics/acme.sql.gz" });
        assert.equal(found && addressOf(found), address);
        const kept = { target: { kind: "repository" } as const, path: "tenant-exports/clinics/acme.sql.gz" };
        assert.deepEqual(remoteFile(addressOf(kept)), kept);
        for (const path of ["/a/b.sql.gz", "b.sql.gz", "./s3/b"]) assert.equal(remoteFile(path), undefined);
        assert.deepEqual(parseTarget("./exports"), { kind: "folder", path: "./exports" });
    });

    test("is refused where it is no place, with what is allowed", () => {
        for (const wrong of [
            "s3://",
            "s3://UPPER/x",
            "https://bucket/x",
            "exports",
            "s3://bucket/x?acl=public",
            "s3://bucket/x?verify=no",
        ])
            assert.match(
                String(parseTarget(wrong)),
                /^must be "s3:\/\/bucket\/prefix", "repository" or a folder/,
                wrong,
            );
    });

    test("a container is given the caller's credentials, and a machine on AWS uses its own role", () => {
        const target = parseTarget("s3://acme/x");
        assert.ok(typeof target !== "string" && target.kind === "bucket");
        const docker = { kind: "docker", engine: "", container: "c" } as const;
        const environment = { AWS_ACCESS_KEY_ID: "id", AWS_SECRET_ACCESS_KEY: "hidden", AWS_REGION: "eu-west-1" };
        const conf = bucketConf(target, docker, environment);
        assert.match(conf, /^repo1-s3-key=id$/m);
        assert.match(conf, /^repo1-s3-endpoint=s3[.]eu-west-1[.]amazonaws[.]com$/m);
        assert.match(conf, /^repo1-path=\/x$/m);
        assert.throws(
            () => bucketConf(target, docker, {}),
            /AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, and they are not set/,
        );
        const machine = { kind: "ssm", region: "eu-south-1", profile: "", clusterId: "c", node: "worker-1" } as const;
        const own = bucketConf(target, machine, environment);
        assert.match(own, /^repo1-s3-key-type=auto$/m);
        assert.match(own, /^repo1-s3-region=eu-south-1$/m);
        assert.equal(own.includes("hidden"), false);
    });
});

test("an export fits into tables that have changed: what has no place is named", () => {
    const column = (name: string, type = "text", generated = false) => ({ name, type, generated });
    const table = (name: string, ...columns: ReturnType<typeof column>[]) => ({
        name,
        key: { column: "t", value: "1" },
        table: { schema: "public", name, columns, references: [] },
    });
    const print = { count: "2", sum: "0" };
    const manifest = {
        prints: { users: print, old: print, gone: { count: "0", sum: "0" } },
        columns: {
            users: [
                { name: "t", type: "bigint" },
                { name: "a", type: "integer" },
                { name: "b", type: "text" },
            ],
        },
    } as unknown as Manifest;
    const heads = [
        'COPY "public"."users" ("t", "a", "b") FROM stdin;',
        'COPY "public"."old" ("t") FROM stdin;',
        'COPY "public"."gone" ("t") FROM stdin;',
    ].map(parseHead);
    const users = heads.slice(0, 1);
    const found = fit(manifest, heads, [table("users", column("t", "bigint"), column("a", "bigint"), column("c"))]);
    assert.equal(found.asItIs, false);
    assert.deepEqual(found.leftOut, ["column public.users.b", "table public.old (2 rows)"]);
    assert.deepEqual(found.converted, ["public.users.a from integer to bigint"]);
    const more = table("users", column("t", "bigint"), column("a", "integer"), column("b"), column("c"));
    assert.deepEqual([fit(manifest, users, [more]).asItIs, fit(manifest, users, [more]).leftOut], [true, []]);
    const computed = table("users", column("t", "bigint"), column("a", "integer"), column("b", "text", true));
    assert.deepEqual(fit(manifest, users, [computed]).leftOut, ["column public.users.b, which is computed now"]);
    assert.deepEqual(parseHead('COPY "a ""b"" ("."c" ("d, e", "f") FROM stdin;'), {
        schema: 'a "b" (',
        name: "c",
        columns: ["d, e", "f"],
    });
    assert.throws(() => parseHead("DROP TABLE users;"), /no COPY of a table/);
});
