/** Tenants that are deleted and brought back, on a real cluster: what is proved, what is refused, and who waits. */
import { deepEqual, equal, match, ok, rejects } from "node:assert/strict";
import { createHash } from "node:crypto";
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";
import { afterAll, beforeAll, describe, it } from "vitest";
import { connect, type Session } from "../../core/reach/session.ts";
import { exportTenant } from "../../core/tenants/exports/export.ts";
import { restoreTenant } from "../../core/tenants/exports/restore.ts";
import { FACETS } from "../../core/tenants/facets.ts";
import type { GroupSpec } from "../../core/tenants/group/spec.ts";
import { removal, removalWith } from "../../core/tenants/removal/removal.ts";
import { pause } from "../../core/util/pause.ts";
import { type BucketServer, hostOf, startBucket } from "../bucket.ts";
import { requireEngine, TestStack, until } from "../lib.ts";
import { settleApart } from "../settleTenants.ts";
import { EMPTY, fileSpec, plan, settle, withContext } from "../tenants.ts";

requireEngine();

describe("tenants that are deleted", () => {
    let stack: TestStack;
    beforeAll(async () => {
        stack = await TestStack.make({ workers: 2, shardCount: 8 });
        await stack.up();
    });
    afterAll(() => stack?.destroy());

    const count = async (sql: string) => Number((await stack.sql<{ n: string }>(`SELECT count(*) AS n ${sql}`))[0]?.n);

    describe("whose rows lie in tables that the group does not name", () => {
        const shop = (name: string, model: "row" | "rls", more: Partial<GroupSpec> = {}): GroupSpec => ({
            ...EMPTY,
            name,
            model,
            anchor: `${name}.companies`,
            tables: {
                [`${name}.companies`]: { kind: "distributed", column: "id" },
                [`${name}.users`]: { kind: "distributed", column: "company_id" },
            },
            ...more,
        });
        const tables = (name: string) => `CREATE SCHEMA ${name};
            CREATE TABLE ${name}.companies (id bigint PRIMARY KEY, name text);
            CREATE TABLE ${name}.users (company_id bigint REFERENCES ${name}.companies (id), id bigint, PRIMARY KEY (company_id, id));
            CREATE TABLE ${name}.invoices (company_id bigint, id bigint, iban text, PRIMARY KEY (company_id, id));
            CREATE TABLE ${name}.lines (company bigint, invoice bigint, id bigint, PRIMARY KEY (company, id), FOREIGN KEY (company, invoice) REFERENCES ${name}.invoices (company_id, id));
            CREATE TABLE ${name}.events (tenant bigint, id bigint, PRIMARY KEY (tenant, id));
            CREATE MATERIALIZED VIEW ${name}.report AS SELECT company_id, count(*) AS n FROM ${name}.users GROUP BY 1;
            CREATE TABLE ${name}.settings (id bigint PRIMARY KEY, value text);`;
        const rows = (name: string) => `INSERT INTO ${name}.companies VALUES (1, 'one'), (2, 'two');
            INSERT INTO ${name}.users VALUES (1, 1), (1, 2), (2, 1);
            INSERT INTO ${name}.invoices VALUES (1, 1, 'DE1'), (2, 1, 'DE2')`;

        for (const model of ["row", "rls"] as const)
            it(`${model}: is refused while they are there, and says afterwards what it left alone`, async () => {
                const name = `hidden_${model}`;
                await stack.sql(tables(name));
                if (model === "row") {
                    await stack.sql(
                        `SELECT create_distributed_table('${name}.companies', 'id', colocate_with => 'none')`,
                    );
                    for (const [table, column] of [
                        ["users", "company_id"],
                        ["invoices", "company_id"],
                        ["lines", "company"],
                        ["events", "tenant"],
                    ])
                        await stack.sql(
                            `SELECT create_distributed_table('${name}.${table}', '${column}', colocate_with => '${name}.companies')`,
                        );
                }
                await stack.sql(rows(name));
                const group = shop(name, model, { tenants: { "1": {}, "2": {} } });
                await settle(stack, group);
                const noted = (await plan(stack, group)).notes.join("\n");
                const expected = [
                    `${name}.invoices (has company_id bigint)`,
                    `${name}.lines (references ${name}.invoices)`,
                    `${name}.report (has company_id bigint)`,
                    ...(model === "row" ? [`${name}.events (is colocated with the anchor)`] : []),
                ];
                for (const text of expected) ok(noted.includes(text), `${text} is not in ${noted}`);
                ok(!/users|settings/.test(noted.replace(/"[^"]*"/g, "")), noted);

                const deleting = { ...group, tenants: { "2": {} }, delete: ["1"] };
                const { refusals, steps } = await plan(stack, deleting);
                deepEqual(
                    steps.filter(({ kind }) => kind.startsWith("removal.")),
                    [],
                );
                for (const text of expected) ok(refusals.join("\n").includes(text), `${text} is not in ${refusals}`);
                await rejects(settle(stack, deleting), /1: is to be deleted, and \d tables may hold rows of it/);
                equal(await count(`FROM ${name}.users WHERE company_id = 1`), 2);

                await stack.sql(`DROP MATERIALIZED VIEW ${name}.report`);
                const named: GroupSpec = {
                    ...deleting,
                    tables: {
                        ...deleting.tables,
                        [`${name}.invoices`]: { kind: "distributed", column: "company_id" },
                        [`${name}.lines`]: { kind: "distributed", column: "company" },
                    },
                    ignored: [`${name}.events`],
                };
                const { said } = await settle(stack, named);
                const [line = ""] = said.filter((text) => text.startsWith("1: deleted"));
                match(line, /invoices 1/);
                if (model === "row") match(line, new RegExp(`not looked into: ${name}.events`));
                equal(await count(`FROM ${name}.invoices`), 1);
                const [, file = ""] = /its export is (\S+)$/.exec(line) ?? [];
                equal(JSON.parse(readFileSync(`${file}.json`, "utf8")).prints.invoices.count, "1");
                await stack.sql(`DROP SCHEMA ${name} CASCADE`);
            });
    });

    it("schema and database: what its role owns elsewhere is refused before anything is touched, on every node", async () => {
        await stack.sql(
            "CREATE TABLE tiers (id bigint PRIMARY KEY); SELECT create_reference_table('tiers'); INSERT INTO tiers VALUES (1)",
        );
        const sql = "CREATE TABLE visits (id bigint PRIMARY KEY, tier bigint REFERENCES public.tiers (id));";
        const template = [fileSpec("sql/visits.sql", sql)];
        const files = { "sql/visits.sql": sql };
        const wells: GroupSpec = {
            ...EMPTY,
            name: "wells",
            model: "schema",
            template,
            tenants: { weyland: { role: true } },
        };
        const plain = "CREATE TABLE visits (id bigint PRIMARY KEY);";
        const safes: GroupSpec = {
            ...EMPTY,
            name: "safes",
            model: "database",
            template: [fileSpec("sql/plain.sql", plain)],
            tenants: { yutani: { role: true, node: "worker-1" } },
        };
        for (const [group, all, tenant] of [
            [wells, files, "weyland"],
            [safes, { "sql/plain.sql": plain }, "yutani"],
        ] as const) {
            await settle(stack, group, all);
            const role = `${group.name}_${tenant}`;
            const deleting: GroupSpec = { ...group, tenants: {}, delete: [tenant] };
            const worker = await stack.session("worker-1");
            await worker.query(`SELECT lo_create(4711); ALTER LARGE OBJECT 4711 OWNER TO ${role}`);
            const { refusals } = await plan(stack, deleting, undefined, all);
            match(
                refusals.join("\n"),
                new RegExp(`role ${role} owns what is outside its ${group.model}.*: large object 4711 on worker-1`),
            );
            await rejects(settle(stack, deleting, all), /owns what is outside/);
            equal(await count(`FROM citus_as_code.tenant WHERE tenant = '${tenant}' AND state = 'active'`), 1);
            await worker.query("SELECT lo_unlink(4711)");
            const { said } = await settle(stack, deleting, all);
            const line = said.find((text) => text.startsWith(`${tenant}: deleted`)) ?? "";
            match(line, /nothing of it is left on any node/);
            if (group === wells) match(line, /kept outside its schema: rows of tiers/);
        }
    });

    describe("whose rows are many", () => {
        const ROWS = 60_000;
        const big = (more: Partial<GroupSpec> = {}): GroupSpec => ({
            ...EMPTY,
            name: "big",
            model: "row",
            anchor: "big.firms",
            tables: {
                "big.firms": { kind: "distributed", column: "id" },
                "big.orders": { kind: "distributed", column: "firm_id" },
                "big.loose": { kind: "distributed", column: "firm_id" },
            },
            tenants: { "1": {}, "2": {}, "3": {} },
            ...more,
        });
        const without = (...names: string[]) =>
            big({
                tenants: Object.fromEntries(
                    ["1", "2", "3"].filter((one) => !names.includes(one)).map((one) => [one, {}]),
                ),
                delete: names,
            });
        const inLedger = async (tenant: string) =>
            (
                await stack.sql<{ detail: Record<string, never> }>(
                    "SELECT detail FROM citus_as_code.tenant WHERE grp = 'big' AND tenant = $1",
                    [tenant],
                )
            )[0]?.detail as { deleted?: Record<string, { count: string }>; exported?: string } | undefined;
        const deletedOf = async (tenant: string) => Number((await inLedger(tenant))?.deleted?.orders?.count ?? 0);

        beforeAll(async () => {
            await stack.sql(`CREATE SCHEMA big; CREATE TABLE big.firms (id bigint PRIMARY KEY, name text);
                CREATE TABLE big.orders (firm_id bigint REFERENCES big.firms (id) ON DELETE CASCADE, day date, id bigint, note text, PRIMARY KEY (firm_id, day, id));
                CREATE TABLE big.loose (firm_id bigint NOT NULL, note text)`);
            await stack.sql("ALTER TABLE big.loose REPLICA IDENTITY FULL");
            await stack.sql("SELECT create_distributed_table('big.firms', 'id', colocate_with => 'none')");
            for (const table of ["orders", "loose"])
                await stack.sql(
                    `SELECT create_distributed_table('big.${table}', 'firm_id', colocate_with => 'big.firms')`,
                );
            await stack.sql("INSERT INTO big.firms SELECT i, 'f' FROM generate_series(1, 3) i");
            await stack.sql(
                `INSERT INTO big.orders SELECT 1 + i % 3, '2026-01-01'::date + i % 50, i, md5(i::text) FROM generate_series(1, ${3 * ROWS}) i`,
            );
            await stack.sql("INSERT INTO big.loose SELECT 1 + i % 3, NULL FROM generate_series(1, 30) i");
            await settle(stack, big());
        });

        it("says in preview how many there are and that nobody waits", async () => {
            const { steps } = await plan(stack, without("1"));
            const { text = "" } = steps.find(({ kind }) => kind === "removal.delete") ?? {};
            match(
                text,
                /60,011 rows \(big.orders 60,000, big.loose 10, big.firms 1\), [0-9.]+ MB, about \d+ s .*; nobody else waits$/,
            );
        });

        it("goes in parts while others write, is killed in the middle, and goes on", async () => {
            const writer = await connect(await stack.access(), "coordinator");
            await writer.query("SET lock_timeout = '1s'");
            let running = true;
            const written = (async () => {
                let n = 0;
                for (; running; n++) {
                    await writer.query(`INSERT INTO big.orders VALUES (2, '2027-01-01', ${n}, 'meanwhile')`);
                    await pause(20);
                }
                return n;
            })();
            const killed = await settleApart(stack, without("1"));
            const ended = new Promise((resolve) => killed.once("exit", resolve));
            await until("a part is deleted", 300, async () => (await deletedOf("1")) > 0);
            killed.kill("SIGKILL");
            await ended;
            const done = await deletedOf("1");
            const left = await count("FROM big.orders WHERE firm_id = 1");
            equal(done + left, ROWS);
            ok(left > 0, "it was over before it was killed");
            const { exported } = (await inLedger("1")) ?? {};
            const { said } = await settle(stack, without("1"));
            running = false;
            // nobody's write failed for a lock
            ok((await written) > 5);
            equal(await count("FROM big.orders WHERE firm_id = 1"), 0);
            equal(await count("FROM big.loose WHERE firm_id = 1"), 0);
            equal(await count("FROM big.orders WHERE firm_id = 2 AND note <> 'meanwhile'"), ROWS);
            const line = said.find((text) => text.startsWith("1: deleted")) ?? "";
            ok(line.endsWith(`its export is ${exported}`), line);
            equal(JSON.parse(readFileSync(`${exported}.json`, "utf8")).prints.orders.count, String(ROWS));
            await writer.close();
        });

        it("deletes no row that no export has, also when a superuser writes meanwhile", async () => {
            const group = without("1", "3");
            let wrote = 0;
            const { said } = await withContext(stack, group, {}, async (context) => {
                const progress = (text: string) => {
                    if (wrote === 0 && /rows deleted/.test(text)) wrote = 1;
                };
                const query: Session["query"] = async (sql, parameters) => {
                    if (wrote === 1) {
                        wrote = 2;
                        await stack.sql(`UPDATE big.orders SET note = 'changed' WHERE firm_id = 3 AND id = (SELECT max(id) FROM big.orders WHERE firm_id = 3);
                            INSERT INTO big.orders VALUES (3, '2020-01-01', 1, 'early'), (3, '2030-01-01', 1, 'late')`);
                    }
                    return context.session.query(sql, parameters);
                };
                await removal.run.delete?.({ ...context, session: { ...context.session, query }, progress }, [
                    { kind: "removal.delete", tenant: "3", text: "3" },
                ]);
            });
            equal(wrote, 2);
            const [, first = "", second = ""] = /its exports are (\S+) and (\S+)$/m.exec(said.join("\n")) ?? [];
            const lines = [first, second].flatMap((file) => gunzipSync(readFileSync(file)).toString().split("\n"));
            for (const note of ["changed", "early", "late"])
                equal(lines.filter((line) => line.startsWith("3\t") && line.endsWith(`\t${note}`)).length, 1, note);
            const orders = new Set(
                lines.filter((line) => /^3\t20/.test(line)).map((line) => line.split("\t").slice(0, 3).join()),
            );
            equal(orders.size, ROWS + 2);
            equal(await count("FROM big.orders WHERE firm_id = 3"), 0);
        });

        it("asks for allow where others' writes have to wait, and says how long", async () => {
            await stack.sql(`CREATE SCHEMA crew; CREATE TABLE crew.crews (id bigint PRIMARY KEY);
                CREATE TABLE crew.mates (crew bigint REFERENCES crew.crews, id bigint PRIMARY KEY, boss bigint REFERENCES crew.mates ON DELETE CASCADE);
                INSERT INTO crew.crews VALUES (1), (2); INSERT INTO crew.mates SELECT 1, i FROM generate_series(1, 60) i`);
            const group: GroupSpec = {
                ...EMPTY,
                name: "crews",
                model: "rls",
                anchor: "crew.crews",
                tables: {
                    "crew.crews": { kind: "distributed", column: "id" },
                    "crew.mates": { kind: "distributed", column: "crew" },
                },
                tenants: { "2": {} },
                delete: ["1"],
            };
            const textOf = async (spec: GroupSpec) =>
                (await plan(stack, spec)).steps.find(({ kind }) => kind === "removal.delete")?.text ?? "";
            match(
                await textOf(group),
                /writes to crew.crews, crew.mates wait as long, because a foreign key of crew.mates/,
            );
            await stack.sql(
                "INSERT INTO citus_as_code.measured (what, bytes, seconds) VALUES ('rows of a delete', 1, 1) ON CONFLICT (what) DO UPDATE SET bytes = 1, seconds = 1",
            );
            equal(await textOf(group), "");
            match(
                (await plan(stack, group)).refusals.join(),
                /61 rows \(.*\), .*, about 61 s; other tenants' writes to .* wait as long.*It is not deleted\.\nTo allow that, put "crew.crews", "crew.mates" into allow/s,
            );
            match(await textOf({ ...group, allow: ["crew.crews", "crew.mates"] }), /about 61 s/);
            await settle(stack, { ...group, allow: ["crew.crews", "crew.mates"] });
            equal(await count("FROM crew.mates"), 0);
            await stack.sql("DELETE FROM citus_as_code.measured WHERE what = 'rows of a delete'");
        });
    });

    describe("that are brought back after the group's tables changed", () => {
        const MADE =
            "CREATE TABLE users (KEYid bigint GENERATED ALWAYS AS IDENTITY, name text NOT NULL, at timestamptz, price numeric(10,2), tags text[], obsolete jsonb, twice numeric GENERATED ALWAYS AS (price * 2) STORED, PRIMARY KEY (KEYNid));\nCREATE TABLE notes (KEYid bigint, author bigint, text text, PRIMARY KEY (KEYNid), FOREIGN KEY (KEYNauthor) REFERENCES users (KEYNid));\nCREATE TABLE old (KEYid bigint, PRIMARY KEY (KEYNid));";
        const CHANGED =
            "ALTER TABLE users ADD COLUMN phone text DEFAULT 'none';\nALTER TABLE users DROP COLUMN obsolete;\nCREATE TABLE extra (KEYid bigint, PRIMARY KEY (KEYNid));\nDROP TABLE old;";
        const FILL = [
            "INSERT INTO users (KEYNname, at, price, tags, obsolete) SELECT KEYVE'n\\t' || i || ' COPY \"x\" (', '2026-01-01 10:00+02'::timestamptz + i * interval '1 day', i / 3.0, ARRAY['a b', NULL, '\"'], jsonb_build_object('i', i) FROM generate_series(1, 50) i",
            'INSERT INTO notes (KEYNid, author, text) SELECT KEYNid, id, E\'COPY "public"."users" ("id") FROM stdin;\\n\\\\.\\n\' FROM users WHERE KEYW',
            "INSERT INTO old SELECT KEYVi FROM generate_series(1, 3) i",
        ];
        const SHARED =
            "SELECT u.id::text, u.name, u.at::text, u.price::text, u.tags::text, u.twice::text, n.text FROM users u JOIN notes n ON (KEYJn.author = u.id) WHERE KEYW ORDER BY u.id";

        for (const model of ["rls", "row", "schema", "database"] as const)
            it(`${model}: every row is as it was in the columns that are left, and what is not is named`, async () => {
                const keyed = model === "rls" || model === "row";
                const tenant = keyed ? "7" : "acme";
                const name = `back_${model}`;
                const key = `${name}_id`;
                // each model's tables in a schema of their own, or the tenant's
                const sqlOf = (text: string) =>
                    `${keyed ? `SET search_path = ${name};\n` : ""}${text
                        .replaceAll("KEYid bigint", keyed ? `${key} bigint NOT NULL, id bigint` : "id bigint")
                        .replaceAll("KEYN", keyed ? `${key}, ` : "")
                        .replaceAll("KEYV", keyed ? `${tenant}, ` : "")
                        .replaceAll("KEYJ", keyed ? `n.${key} = u.${key} AND ` : "")
                        .replaceAll(
                            "WHERE KEYW",
                            keyed ? `WHERE ${text.startsWith("SELECT") ? "u." : ""}${key} = ${tenant}` : "WHERE true",
                        )}`;
                const files: Record<string, string> = {
                    "sql/1.sql": `${keyed ? `CREATE SCHEMA ${name};\n${sqlOf(`CREATE TABLE firms (id bigint PRIMARY KEY, name text);\n${MADE}`)}` : sqlOf(MADE)}`,
                    "sql/2.sql": sqlOf(CHANGED),
                };
                const made = Object.entries(files).map(([path, sql]) => fileSpec(path, sql));
                const tables = (...names: string[]) =>
                    Object.fromEntries([
                        [`${name}.firms`, { kind: "distributed", column: "id" }],
                        ...names.map((table) => [`${name}.${table}`, { kind: "distributed", column: key }]),
                    ]);
                const group = (more: Partial<GroupSpec>): GroupSpec => ({
                    ...EMPTY,
                    name,
                    model,
                    ...(keyed ? { anchor: `${name}.firms`, tables: tables("users", "notes", "old") } : {}),
                    template: made.slice(0, 1),
                    tenants: { [tenant]: { role: !keyed, ...(model === "database" ? { node: "worker-2" } : {}) } },
                    ...more,
                });
                const run = async (sql: string) => {
                    const { result } = await withContext(stack, group({}), {}, async (context) => {
                        const session =
                            model === "database"
                                ? await context.open("worker-2", tenant)
                                : await context.open("coordinator");
                        if (!keyed && model === "schema") await session.query(`SET search_path = ${tenant}`);
                        const [last] = sqlOf(sql).split(";\n").reverse();
                        if (keyed) await session.query(`SET search_path = ${name}`);
                        return session.query(last ?? "");
                    });
                    return result;
                };
                await settle(stack, group({}), files);
                for (const sql of FILL) await run(sql);
                const then = await run(SHARED);
                equal(then.length, 50);
                const { said } = await settle(stack, group({ tenants: {}, delete: [tenant] }), files);
                const [, file = ""] = /its export is (\S+)$/m.exec(said.join("\n")) ?? [];
                const after = group({
                    template: made,
                    ...(keyed ? { tables: tables("users", "notes", "extra") } : {}),
                });
                await settle(stack, after, files);
                if (model === "rls") {
                    // as exports of before were written
                    const { columns: _, ...manifest } = JSON.parse(readFileSync(`${file}.json`, "utf8"));
                    writeFileSync(`${file}.json`, JSON.stringify(manifest));
                }
                const restored = await withContext(stack, after, files, (context) =>
                    restoreTenant(context, tenant, file, { replace: !keyed }),
                );
                const told = restored.said.join("\n");
                if (keyed)
                    match(
                        told,
                        new RegExp(
                            `not brought back.*: column ${name}.users.obsolete, table ${name}.old \\(3 rows\\); it stays in`,
                        ),
                    );
                await settle(stack, after, files);
                deepEqual(await run(SHARED), then);
                deepEqual(await run("SELECT count(*)::int AS n FROM users WHERE phone = 'none'"), [{ n: 50 }]);
                // the next number is a new one
                await run("INSERT INTO users (KEYNname) VALUES (KEYV'next')");
                deepEqual((await plan(stack, after, undefined, files)).steps, []);
            });
    });

    describe("whose exports outlive this machine", () => {
        let server: BucketServer;
        beforeAll(async () => {
            const made = await stack.onNode(
                "coordinator",
                ..."openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=bucket -days 2 -keyout - -out -".split(
                    " ",
                ),
            );
            const pem = (what: string) =>
                new RegExp(`-----BEGIN ${what}.*?END ${what}-----`, "s").exec(made.stdout)?.[0] ?? "";
            server = await startBucket("exports", { key: pem("PRIVATE KEY"), cert: pem("CERTIFICATE") });
            process.env.AWS_ACCESS_KEY_ID = "key";
            process.env.AWS_SECRET_ACCESS_KEY = "secret";
            await stack.sql(`CREATE TABLE clubs (id bigint PRIMARY KEY, name text);
                CREATE TABLE members (club bigint REFERENCES clubs (id), id bigint, note text, PRIMARY KEY (club, id));
                INSERT INTO clubs VALUES (1, 'one'), (2, 'two'), (3, 'three');
                INSERT INTO members SELECT c, i, md5(i::text) FROM generate_series(1, 3) c, generate_series(1, 2000) i`);
        });
        afterAll(async () => {
            await server?.close();
            delete process.env.AWS_ACCESS_KEY_ID;
            delete process.env.AWS_SECRET_ACCESS_KEY;
        });

        const clubs = (exports: string | undefined, ...gone: string[]): GroupSpec => ({
            ...EMPTY,
            name: "clubs",
            model: "rls",
            anchor: "clubs",
            tables: { clubs: { kind: "distributed", column: "id" }, members: { kind: "distributed", column: "club" } },
            tenants: Object.fromEntries(
                ["1", "2", "3"].filter((one) => !gone.includes(one)).map((one) => [one, { values: { name: one } }]),
            ),
            delete: gone,
            ...(exports === undefined ? {} : { exports }),
        });
        const addressIn = (said: readonly string[]) => /its export is (\S+)$/m.exec(said.join("\n"))?.[1] ?? "";

        for (const [where, tenant] of [
            ["s3://", "1"],
            ["repository", "2"],
        ] as const)
            it(`${where}: go straight from the node, are read before the delete, and come back`, async () => {
                const gateway = hostOf(stack.container("coordinator"));
                const exports =
                    where === "repository"
                        ? where
                        : `s3://exports/some/prefix?endpoint=${gateway}:${server.port}&verify=false&region=eu-central-1`;
                const then = await stack.sql("SELECT * FROM members WHERE club = $1 ORDER BY id", [tenant]);
                await settle(stack, clubs(exports));
                const { said } = await settle(stack, clubs(exports, tenant));
                const address = addressIn(said);
                match(
                    address,
                    where === "repository"
                        ? /^repository:tenant-exports\/clubs\/2-/
                        : /^s3:\/\/exports\/some\/prefix\/clubs\/1-.*[?]region=/,
                );
                equal(await count(`FROM members WHERE club = ${tenant}`), 0);
                const left = await stack.onNode("coordinator", "ls", "/var/lib/citus/exports");
                equal(left.stdout.trim(), "");
                if (where !== "repository") {
                    const names = [...server.objects.keys()].map((name) => name.replace(/^.*[.]sql/, ".sql"));
                    deepEqual(names.sort(), [".sql.gz", ".sql.gz.json"]);
                    const [, whole = Buffer.alloc(0)] =
                        [...server.objects].find(([name]) => name.endsWith(".gz")) ?? [];
                    equal(
                        gunzipSync(whole)
                            .toString()
                            .split("\n")
                            .filter((line) => line.startsWith(`${tenant}\t`)).length,
                        2001,
                    );
                }
                await settle(stack, clubs(exports));
                const bring = () =>
                    withContext(stack, clubs(exports), {}, (context) => restoreTenant(context, tenant, address));
                if (where !== "repository") {
                    const [name = "", whole = Buffer.alloc(0)] =
                        [...server.objects].find(([one]) => one.endsWith(".gz")) ?? [];
                    server.objects.set(name, whole.subarray(0, 500));
                    await rejects(bring(), /was changed after it was exported: its sha256 differs/);
                    server.objects.set(name, whole);
                }
                await bring();
                deepEqual(await stack.sql("SELECT * FROM members WHERE club = $1 ORDER BY id", [tenant]), then);
            });

        it("are refused in preview on a CI runner that says no place, and where a place takes nothing nothing is deleted", async () => {
            const facets = FACETS.rls.map((facet) =>
                facet.name === "removal" ? removalWith(exportTenant, () => true) : facet,
            );
            const { refusals, steps } = await plan(stack, clubs(undefined, "3"), facets);
            match(refusals.join(), /3: is to be deleted, and its export would be a file of this CI runner/);
            deepEqual(
                steps.filter(({ kind }) => kind === "removal.delete"),
                [],
            );
            const there = clubs("s3://exports?endpoint=127.0.0.1:9&verify=false", "3");
            equal((await plan(stack, there, facets)).refusals.length, 0);
            delete process.env.AWS_ACCESS_KEY_ID;
            await rejects(
                settle(stack, there),
                /3: could not be deleted.*AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, and they are not set/s,
            );
            equal(await count("FROM members WHERE club = 3"), 2000);
        });
    });

    describe("with an export that a person made", () => {
        const dump = async (node: string, ...words: string[]) => {
            const made = await stack.onNode(
                node,
                "bash",
                "-c",
                `pg_dump -h /var/lib/citus/run -U postgres --no-owner --no-privileges ${words.join(" ")} | gzip | base64 -w 0`,
            );
            const file = join(stack.dir, `${words.join("-").replace(/[^a-z]/g, "")}-${Date.now()}.sql.gz`);
            const content = Buffer.from(made.stdout, "base64");
            writeFileSync(file, content);
            return { file, sha256: createHash("sha256").update(content).digest("hex") };
        };
        const sql =
            "CREATE TABLE visits (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, at timestamptz DEFAULT '2026-01-01', note text);";
        const template = [fileSpec("sql/own.sql", sql)];
        const files = { "sql/own.sql": sql };
        const fill = "INSERT INTO visits (note) SELECT E'a\\t' || i FROM generate_series(1, 300) i";

        for (const model of ["schema", "database", "rls"] as const)
            it(`${model}: is taken when it has every row that is there, and is refused otherwise`, async () => {
                const keyed = model === "rls";
                const tenant = keyed ? "5" : `own_${model}`;
                const node = model === "database" ? "worker-1" : "coordinator";
                const group = (more: Partial<GroupSpec>): GroupSpec => ({
                    ...EMPTY,
                    name: `own${model}`,
                    model,
                    ...(keyed
                        ? {
                              anchor: "pubs",
                              tables: {
                                  pubs: { kind: "distributed", column: "id" },
                                  guests: { kind: "distributed", column: "pub" },
                              },
                          }
                        : { template }),
                    tenants: { [tenant]: { role: !keyed, ...(model === "database" ? { node } : {}) } },
                    ...more,
                });
                if (keyed)
                    await stack.sql(`CREATE TABLE pubs (id bigint PRIMARY KEY); CREATE TABLE guests (pub bigint, id bigint, note text, PRIMARY KEY (pub, id));
                        INSERT INTO pubs VALUES (5), (6); INSERT INTO guests SELECT 5 + i % 2, i, E'a\\n' || i FROM generate_series(1, 600) i`);
                await settle(stack, group({}), files);
                const run = async (statement: string) => {
                    await withContext(stack, group({}), {}, async (context) => {
                        const session =
                            model === "database" ? await context.open(node, tenant) : await context.open(node);
                        if (model === "schema") await session.query(`SET search_path = ${tenant}`);
                        await session.query(statement);
                    });
                };
                if (!keyed) await run(fill);
                const made = async () => {
                    if (model === "schema") return dump(node, `--schema=${tenant}`, "app");
                    if (model === "database") return dump(node, "--create", tenant);
                    const { result: file } = await withContext(stack, group({}), {}, (context) =>
                        exportTenant(context, tenant),
                    );
                    // as if nobody had its manifest any more
                    rmSync(`${file}.json`);
                    return { file, sha256: createHash("sha256").update(readFileSync(file)).digest("hex") };
                };
                const given = await made();
                const deleting = (one: { file: string; sha256: string }) =>
                    group({ tenants: {}, delete: [tenant], given: { [tenant]: one } });
                await rejects(
                    settle(stack, deleting({ ...given, sha256: "0".repeat(64) }), files),
                    /has the sha256 [0-9a-f]{64}, and export of .* says 0000.*Nothing was deleted/s,
                );
                await run(
                    keyed
                        ? "UPDATE guests SET note = 'new' WHERE id = 2"
                        : "UPDATE visits SET note = 'new' WHERE id = 2",
                );
                if (keyed) await run("UPDATE guests SET note = 'new' WHERE id = 3");
                await rejects(
                    settle(stack, deleting(given), files),
                    /is not what there is: (visits|guests) has 300 rows, and 300 in the export, with other contents\. Nothing was deleted/,
                );
                const right = await made();
                const { said } = await settle(stack, deleting(right), files);
                ok(
                    said.some((line) => line.startsWith(`${tenant}: deleted`) && line.endsWith(right.file)),
                    said.join("\n"),
                );
                equal(
                    (
                        await stack.onNode(
                            node,
                            "psql",
                            "-h",
                            "/var/lib/citus/run",
                            "-U",
                            "postgres",
                            "-Atc",
                            "SELECT count(*) FROM pg_database WHERE datname LIKE 'citus_as_code%'",
                        )
                    ).stdout.trim(),
                    "0",
                );
                // it has a manifest now, and comes back
                await settle(stack, group({}), files);
                await withContext(stack, group({}), files, (context) =>
                    restoreTenant(context, tenant, right.file, { replace: !keyed }),
                );
                await settle(stack, group({}), files);
                const { result: n } = await withContext(stack, group({}), {}, async (context) => {
                    const session = model === "database" ? await context.open(node, tenant) : await context.open(node);
                    const table = keyed ? "guests" : model === "schema" ? `${tenant}.visits` : "visits";
                    return session.query(
                        `SELECT count(*)::int AS n, count(*) FILTER (WHERE note = 'new')::int AS new FROM ${table}${keyed ? " WHERE pub = 5" : ""}`,
                    );
                });
                deepEqual(n, [{ n: 300, new: 1 }]);
            });
    });
});
