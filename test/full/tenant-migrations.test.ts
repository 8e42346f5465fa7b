/** Files of templates on their way to tenants of every model, on a real cluster. */

import { deepEqual, equal, match, ok, rejects } from "node:assert/strict";
import { createHash } from "node:crypto";
import pg from "pg";
import { afterAll, beforeAll, describe, it } from "vitest";
import { tellHolders } from "../../core/citus/watch.ts";
import type { DirectAccess } from "../../core/node/reach.ts";
import { connect } from "../../core/reach/session.ts";
import { FACETS } from "../../core/tenants/facets.ts";
import { approve } from "../../core/tenants/files/approve.ts";
import type { Facet } from "../../core/tenants/group/facet.ts";
import type { GroupSpec } from "../../core/tenants/group/spec.ts";
import { requireEngine, TestStack, until } from "../lib.ts";
import { EMPTY, fileSpec, plan, settle, withContext } from "../tenants.ts";

requireEngine();

type Files = Record<string, string>;

const PATIENTS = "CREATE TABLE patients (id bigint PRIMARY KEY, name text, mood text);";

function groupOf(
    model: "schema" | "database",
    name: string,
    files: Files,
    tenants: readonly string[],
    more: Partial<GroupSpec> = {},
): GroupSpec {
    return {
        ...EMPTY,
        name,
        model,
        template: Object.entries(files).map(([path, sql]) => fileSpec(path, sql)),
        tenants: Object.fromEntries(tenants.map((tenant) => [tenant, { role: true }])),
        ...more,
    };
}

const clientOf = ({ host, port, user, password, database, ca, serverName }: DirectAccess) => ({
    host,
    port,
    user,
    password,
    database,
    ssl: { ca, servername: serverName },
});

describe("migrations of tenants", () => {
    let stack: TestStack;
    beforeAll(async () => {
        stack = await TestStack.make({ workers: 2, shardCount: 4, backup: false });
        await stack.up();
    });
    afterAll(() => stack?.destroy());

    const facetsOf = (model: "schema" | "database") =>
        FACETS[model].filter(({ name }) => name !== "pool" && name !== "map") as Facet[];
    const up = (group: GroupSpec, files: Files) => settle(stack, group, files, facetsOf(group.model as "schema"));
    const preview = (group: GroupSpec, files: Files) => plan(stack, group, facetsOf(group.model as "schema"), files);
    /** Files that a tenant ran, in the order in which it did. */
    const ran = async (group: string, tenant: string) =>
        (
            await stack.sql<{ path: string }>(
                "SELECT path FROM citus_as_code.tenant_migration WHERE grp = $1 AND tenant = $2 ORDER BY run_at, path",
                [group, tenant],
            )
        ).map(({ path }) => path);
    /** One question to the place of a tenant. */
    const inside = async <T extends object>(group: GroupSpec, tenant: string, sql: string): Promise<T[]> => {
        if (group.model === "schema") return stack.sql<T>(sql.replaceAll("$schema", tenant));
        const { result } = await withContext(stack, group, {}, async ({ session, another }) => {
            const [row] = await session.query<{ node: string }>(
                "SELECT node FROM citus_as_code.tenant WHERE grp = $1 AND tenant = $2",
                [group.name, tenant],
            );
            const database = await another(row?.node ?? "", tenant);
            try {
                return await database.query<T>(sql.replaceAll("$schema", "public"));
            } finally {
                await database.close();
            }
        });
        return result;
    };

    for (const model of ["schema", "database"] as const) {
        describe(`in model ${model}`, () => {
            const t = (n: number) => `${model[0]}t${n}`;
            const base: Files = { "m/001.sql": PATIENTS };
            const later: Files = { ...base, "m/003.sql": "ALTER TABLE patients ADD COLUMN born date;" };
            const late: Files = { ...base, "m/002.sql": "ALTER TABLE patients ADD COLUMN seen date;", ...later };
            const inOrder = Object.fromEntries(Object.entries(late).sort());
            const name = `g${model}`;

            it("a file that sorts before one that was run is refused, with a name that is not", async () => {
                await up(groupOf(model, name, base, [t(1), t(2)]), base);
                await up(groupOf(model, name, later, [t(1), t(2)]), later);
                const { refusals } = await preview(groupOf(model, name, inOrder, [t(1), t(2)]), inOrder);
                equal(refusals.length, 1);
                match(refusals[0] ?? "", /m\/002\.sql sorts before m\/003\.sql.*git mv m\/002\.sql m\/004\.sql/s);
                await rejects(
                    up(groupOf(model, name, inOrder, [t(1), t(2)]), inOrder),
                    /Nothing of the group was changed/,
                );
                deepEqual(await ran(name, t(1)), ["m/001.sql", "m/003.sql"]);
            });

            it("runs it where no order matters, in the same order for tenants that come later", async () => {
                const group = groupOf(model, name, inOrder, [t(1), t(2)], { outOfOrder: true });
                await up(group, inOrder);
                const expected = ["m/001.sql", "m/003.sql", "m/002.sql"];
                deepEqual(await ran(name, t(1)), expected);
                const more = groupOf(model, name, inOrder, [t(1), t(2), t(3)]);
                const { steps } = await preview(more, inOrder);
                const made = steps.find(({ kind }) => kind.endsWith(".create"));
                deepEqual((made?.detail as { files: string[] } | undefined)?.files, expected);
                await up(more, inOrder);
                const columns = `SELECT attname::text AS name FROM pg_attribute WHERE attrelid = '$schema.patients'::regclass AND attnum > 3 ORDER BY attnum`;
                deepEqual(await inside(more, t(3), columns), [{ name: "born" }, { name: "seen" }]);
                deepEqual(await inside(more, t(1), columns), [{ name: "born" }, { name: "seen" }]);
                deepEqual((await preview(more, inOrder)).steps, []);
            });

            it("a new tenant is made from what a canary has proved, and gets the rest in its wave", async () => {
                const bad = { ...inOrder, "m/004.sql": "SELECT 1 / 0;" };
                await rejects(
                    up(groupOf(model, name, bad, [t(1), t(2), t(3), t(4)]), bad),
                    new RegExp(`${t(1)}: m/004.sql failed \\(canary.*division by zero`, "s"),
                );
                deepEqual((await ran(name, t(4))).length, 3);
                const good = { ...inOrder, "m/004.sql": "ALTER TABLE patients ADD COLUMN ok boolean;" };
                await up(groupOf(model, name, good, [t(1), t(2), t(3), t(4)]), good);
                deepEqual((await ran(name, t(4))).length, 4);
            });

            it("each file is a transaction of its own: an enum's new value is used by the next one", async () => {
                const moods = `moods${model}`;
                const first: Files = {
                    "e/1.sql": `${PATIENTS} CREATE TYPE feel AS ENUM ('good'); ALTER TABLE patients ADD COLUMN feels feel;`,
                };
                await up(groupOf(model, moods, first, [t(11), t(12)]), first);
                const files: Files = {
                    ...first,
                    "e/2.sql": "ALTER TYPE feel ADD VALUE 'calm';",
                    "e/3.sql": "INSERT INTO patients (id, feels) VALUES (1, 'calm');",
                };
                await up(groupOf(model, moods, files, [t(11), t(12)]), files);
                for (const tenant of [t(11), t(12)]) deepEqual((await ran(moods, tenant)).length, 3);
                // both in one file: said with the way out, and nothing is kept
                const both = {
                    ...files,
                    "e/4.sql": "ALTER TYPE feel ADD VALUE 'sad'; UPDATE patients SET feels = 'sad';",
                };
                await rejects(
                    up(groupOf(model, moods, both, [t(11), t(12)]), both),
                    /e\/4\.sql failed.*unsafe use of new value.*Put it into a file of its own.*-- no transaction/s,
                );
                const marked = {
                    ...files,
                    "e/4.sql":
                        "-- no transaction\nALTER TYPE feel ADD VALUE IF NOT EXISTS 'sad';\nUPDATE patients SET feels = 'sad';",
                };
                await up(groupOf(model, moods, marked, [t(11), t(12), t(13)]), marked);
                for (const tenant of [t(11), t(12), t(13)])
                    deepEqual(
                        await inside(
                            groupOf(model, moods, marked, []),
                            tenant,
                            "SELECT DISTINCT feels::text AS f FROM $schema.patients",
                        ),
                        [{ f: "sad" }],
                    );
            });

            it("a new tenant whose files can't be in one transaction is made file after file, and goes on", async () => {
                const later = `later${model}`;
                const files: Files = {
                    "p/1.sql":
                        "CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE b (id int PRIMARY KEY, a int REFERENCES a (id) DEFERRABLE INITIALLY DEFERRED);",
                    "p/2.sql": "INSERT INTO a VALUES (1); INSERT INTO b VALUES (1, 1);",
                    "p/3.sql": "ALTER TABLE b ADD COLUMN note text;",
                };
                await up(groupOf(model, later, files, [t(21)]), files);
                deepEqual(await inside(groupOf(model, later, files, []), t(21), "SELECT id, a, note FROM $schema.b"), [
                    { id: 1, a: 1, note: null },
                ]);
                const bad = {
                    ...files,
                    "p/2.sql": `${files["p/2.sql"]} `,
                    "p/4.sql": "-- no transaction\nSELECT 1 / 0;",
                };
                const alone = `alone${model}`;
                await rejects(up(groupOf(model, alone, bad, [t(22)]), bad), /division by zero/);
                equal(
                    (
                        await stack.sql("SELECT FROM citus_as_code.tenant WHERE tenant = $1 AND state = 'creating'", [
                            t(22),
                        ])
                    ).length,
                    1,
                );
                const good = {
                    ...bad,
                    "p/4.sql": "-- no transaction\nCREATE INDEX CONCURRENTLY IF NOT EXISTS b_note ON b (note);",
                };
                const { steps } = await up(groupOf(model, alone, good, [t(22)]), good);
                match(steps.find(({ kind }) => kind.endsWith(".create"))?.text ?? "", /go on making its/);
                deepEqual(
                    await inside(groupOf(model, alone, good, []), t(22), "SELECT count(*)::int AS n FROM $schema.b"),
                    [{ n: 1 }],
                );
                deepEqual((await preview(groupOf(model, alone, good, [t(22)]), good)).steps, []);
            });

            it("makes an index concurrently for each tenant, and one that was left half made anew", async () => {
                const group = `idx${model}`;
                const files: Files = { "i/1.sql": PATIENTS };
                await up(groupOf(model, group, files, [t(31), t(32)]), files);
                const spec = groupOf(model, group, files, [t(31), t(32)]);
                await inside(
                    spec,
                    t(31),
                    "INSERT INTO $schema.patients SELECT i, 'same', '' FROM generate_series(1, 10) i",
                );
                const indexed = {
                    ...files,
                    "i/2.sql":
                        "-- no transaction\nCREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS patients_name ON patients (name);",
                };
                // the rows are not unique: what is left is an index that no query uses
                await rejects(
                    up(groupOf(model, group, indexed, [t(31), t(32)]), indexed),
                    /i\/2\.sql failed.*no transaction, so what its statements did before the error was kept/s,
                );
                const index =
                    "SELECT x.indisvalid AS valid FROM pg_index x WHERE x.indexrelid = to_regclass('$schema.patients_name')";
                deepEqual(await inside(spec, t(31), index), [{ valid: false }]);
                await inside(spec, t(31), "DELETE FROM $schema.patients WHERE id > 1");
                await up(groupOf(model, group, indexed, [t(31), t(32)]), indexed);
                for (const tenant of [t(31), t(32)]) {
                    deepEqual(await inside(spec, tenant, index), [{ valid: true }]);
                    if (model === "schema") {
                        const shards = await stack.sql<{ result: string }>(
                            `SELECT result FROM run_command_on_shards('${tenant}.patients', $$SELECT count(*) || ' ' || bool_and(indisvalid) FROM pg_index WHERE indrelid = '%s'::regclass$$)`,
                        );
                        deepEqual(
                            shards.map(({ result }) => result),
                            ["2 true"],
                        );
                    }
                }
                deepEqual((await preview(groupOf(model, group, indexed, [t(31), t(32)]), indexed)).steps, []);
            });
        });
    }

    for (const model of ["schema", "database"] as const)
        describe(`from a baseline, in model ${model}`, () => {
            const t = (n: number) => `b${model[0]}t${n}`;
            const name = `base${model}`;
            const files: Files = {
                "b/1.sql": `${PATIENTS} CREATE TYPE feel AS ENUM ('good'); CREATE TABLE visits (id bigserial PRIMARY KEY, patient bigint REFERENCES patients (id));`,
                "b/2.sql":
                    "ALTER TABLE patients DROP COLUMN mood; ALTER TABLE patients ADD COLUMN born date NOT NULL DEFAULT '2000-01-01'; INSERT INTO patients (id, name) VALUES (1, 'first');",
                "b/3.sql":
                    "-- no transaction\nCREATE INDEX CONCURRENTLY IF NOT EXISTS patients_name ON patients (name);\nALTER TYPE feel ADD VALUE IF NOT EXISTS 'calm';",
                "b/4.sql": "ALTER TABLE patients ADD COLUMN last text;",
            };
            const right = `CREATE TYPE feel AS ENUM ('good', 'calm');
CREATE TABLE patients (id bigint PRIMARY KEY, name text, born date NOT NULL DEFAULT '2000-01-01');
CREATE INDEX patients_name ON patients (name);
CREATE TABLE visits (id bigserial PRIMARY KEY, patient bigint REFERENCES patients (id));
INSERT INTO patients (id, name) VALUES (1, 'first');`;
            const group = (baseline: string | undefined, tenants: readonly string[], only?: number) => ({
                ...groupOf(model, name, Object.fromEntries(Object.entries(files).slice(0, only)), tenants),
                ...(baseline === undefined
                    ? {}
                    : { baseline: { files: [fileSpec("squashed/3.sql", baseline)], upTo: "b/3.sql" } }),
            });
            const all = (baseline: string) => ({ ...files, "squashed/3.sql": baseline });

            it("is refused when it makes something else, by name, and nothing is made", async () => {
                await up(group(undefined, [t(1)], 1), files);
                await up(group(undefined, [t(1)]), files);
                const wrong = right
                    .replace("NOT NULL DEFAULT", "DEFAULT")
                    .replace("(name);", "(name, id);")
                    .replace("INSERT", "-- INSERT");
                const error = await up(group(wrong, [t(1), t(2)]), all(wrong)).then(
                    () => "",
                    ({ message }: Error) => message,
                );
                match(error, /its baseline \(squashed\/3\.sql\) does not make what its files up to b\/3\.sql make/);
                match(
                    error,
                    /column \S+patients\.born: the files make 3 date NOT NULL DEFAULT .*the baseline 3 date DEFAULT/,
                );
                match(error, /index \S*patients_name: the files make .* the baseline /);
                match(error, /table \S+patients: the files make .* 1 rows?.*, the baseline .* 0 rows/);
                deepEqual(await ran(name, t(2)), []);
            });

            it("is kept to its tenant like every file of the template", async () => {
                const stray = `CREATE SCHEMA elsewhere; ${right}`;
                await rejects(
                    up(group(stray, [t(1), t(2)]), all(stray)),
                    model === "schema" ? /squashed\/3\.sql:1 L1/ : /only the baseline makes it|does not make/,
                );
            });

            it("makes new tenants once it is proved, with what came after it", async () => {
                const { said } = await up(group(right, [t(1), t(2)]), all(right));
                match(said.join("\n"), /squashed\/3\.sql makes what 3 files up to b\/3\.sql make: proved/);
                deepEqual((await ran(name, t(2))).toSorted(), Object.keys(files));
                deepEqual(await inside(group(right, []), t(2), "SELECT id, name, last FROM $schema.patients"), [
                    { id: "1", name: "first", last: null },
                ]);
                deepEqual((await preview(group(right, [t(1), t(2)]), all(right))).steps, []);
                const again = await up(group(right, [t(1), t(2), t(3)]), all(right));
                ok(!again.said.join().includes("proved"));
                deepEqual((await ran(name, t(3))).toSorted(), Object.keys(files));
            });

            it("leaves nothing of what it compared", async () => {
                const left =
                    model === "schema"
                        ? await stack.sql("SELECT nspname FROM pg_namespace WHERE nspname ~ '^citus_as_code_'")
                        : await stack.sql("SELECT datname FROM pg_database WHERE datname ~ '^citus_as_code_'");
                deepEqual(left, []);
            });
        });

    describe("before it runs", () => {
        it("preview says what waits, on how much, and for how long", async () => {
            const first: Files = { "c/1.sql": PATIENTS };
            const group = (files: Files) => groupOf("schema", "gcost", files, ["ct1", "ct2"]);
            await up(group(first), first);
            await stack.sql("INSERT INTO ct1.patients SELECT i, repeat('x', 500), '' FROM generate_series(1, 5000) i");
            await stack.sql("ANALYZE ct1.patients");
            const files = {
                ...first,
                "c/2.sql":
                    "ALTER TABLE patients ALTER COLUMN id TYPE int;\nCREATE INDEX ON patients (name);\nCREATE TABLE later (i int);",
                "c/3.sql": "CREATE INDEX ON later (i);",
            };
            const { notes } = await preview(group(files), files);
            match(
                notes.join("\n"),
                /c\/2\.sql:1 ALTER COLUMN id TYPE integer of patients \(now [0-9.]+ MB, 5000 rows, 2 shards\) writes every row anew: reads and writes of a tenant wait, less than a second at 30 MB a second for the largest tenant/,
            );
            match(notes.join("\n"), /c\/2\.sql:2 CREATE INDEX of patients .* writes of a tenant wait/);
            ok(!notes.join("\n").includes("c/3.sql"));
        });
    });

    describe("in waves", () => {
        const tenants = Array.from({ length: 12 }, (_, i) => `wt${i + 1}`);
        const base: Files = { "w/1.sql": PATIENTS };
        const second: Files = { ...base, "w/2.sql": "ALTER TABLE patients ADD COLUMN born date;" };
        const third: Files = {
            ...second,
            "w/3.sql": "ALTER TABLE patients ADD COLUMN seen date; SELECT pg_sleep(0.3);",
        };
        const group = (files: Files, rollout: GroupSpec["rollout"], more: readonly string[] = []) =>
            groupOf("schema", "roll", files, [...tenants, ...more], { rollout });
        const have = async (path: string) =>
            (
                await stack.sql<{ tenant: string }>(
                    "SELECT tenant FROM citus_as_code.tenant_migration WHERE grp = 'roll' AND path = $1 ORDER BY run_at, tenant",
                    [path],
                )
            ).map(({ tenant }) => tenant);

        it("stops after each wave until it is approved, with the content that was seen", async () => {
            const rollout = { canary: ["wt7"], part: 0.2, approve: true };
            await up(group(base, rollout), base);
            equal((await have("w/1.sql")).length, 12);
            const { said } = await up(group(second, rollout), second);
            deepEqual(await have("w/2.sql"), ["wt7"]);
            match(
                said.join("\n"),
                /w\/2\.sql reached the canary \(1 tenant\); the part is next: run pulumi up again when npm run tenants -- approve roll was run/,
            );
            // the same run again does nothing, and says what it waits for
            deepEqual((await up(group(second, rollout), second)).steps, []);
            match(
                (await preview(group(second, rollout), second)).notes.join("\n"),
                /w\/2\.sql: next are 11 tenants \(the part and the rest\), when you approve it.*approve roll/,
            );
            const session = await stack.session();
            deepEqual(await approve(session, group(second, rollout), "tester"), [
                "w/2.sql may reach the part of roll: run pulumi up",
            ]);
            await rejects(approve(session, group(base, rollout), "tester"), /Nothing of roll waits for approval/);
            await up(group(second, rollout), second);
            deepEqual((await have("w/2.sql")).toSorted(), ["wt1", "wt2", "wt3", "wt7"]);
            // who is made now has what was approved for its wave, and no more
            await up(group(second, rollout, ["wt13"]), second);
            deepEqual(await ran("roll", "wt13"), ["w/1.sql"]);
            await approve(session, group(second, rollout, ["wt13"]), "tester");
            await up(group(second, rollout, ["wt13"]), second);
            equal((await have("w/2.sql")).length, 13);
            await rejects(approve(session, group(second, rollout, ["wt13"]), "tester"), /Nothing of roll waits/);
        });

        it("pauses between waves, by the ledger's clock", async () => {
            const rollout = { canary: 2, part: 0, pause: 3_600_000 };
            await up(group(third, rollout, ["wt13"]), third);
            deepEqual((await have("w/3.sql")).toSorted(), ["wt1", "wt2"]);
            const { steps, notes } = await preview(group(third, rollout, ["wt13"]), third);
            deepEqual(steps, []);
            match(
                notes.join("\n"),
                /w\/3\.sql: next are 11 tenants \(the rest\), when the pause is over: run pulumi up again in (59|60) minutes/,
            );
            await stack.sql(
                "UPDATE citus_as_code.tenant_migration SET run_at = run_at - interval '1 hour' WHERE path = 'w/3.sql'",
            );
            equal((await preview(group(third, rollout, ["wt13"]), third)).steps.length, 11);
        });

        it("runs tenants of a wave beside each other, and nothing after the first that fails", async () => {
            const rollout = { canary: 0, part: 0, parallel: 4 };
            const bad = { ...third, "w/4.sql": "SELECT pg_sleep(0.2); INSERT INTO patients (id) VALUES (1);" };
            await stack.sql("INSERT INTO wt9.patients (id) VALUES (1)");
            // what the pause left over comes first
            await up(group(third, rollout, ["wt13"]), third);
            equal((await have("w/3.sql")).length, 13);
            await rejects(
                up(group(bad, rollout, ["wt13"]), bad),
                /wt9: w\/4\.sql failed \(rest of the rollout\).*duplicate key/s,
            );
            await stack.sql("DELETE FROM wt9.patients");
            const began = Date.now();
            await up(group(bad, rollout, ["wt13"]), bad);
            console.log(`    13 tenants, 4 beside each other: ${Date.now() - began} ms`);
            equal((await have("w/4.sql")).length, 13);
            for (const tenant of [...tenants, "wt13"])
                deepEqual(
                    await inside(group(bad, rollout), tenant, "SELECT count(*)::int AS n FROM $schema.patients"),
                    [{ n: 1 }],
                );
        });

        it("takes files as other checkouts have them for the same, and hashes of before too", async () => {
            const crlf = { "c/1.sql": "CREATE TABLE t (i int);\r\nCREATE TABLE u (i int);\r\n" };
            const lf = { "c/1.sql": "CREATE TABLE t (i int);\nCREATE TABLE u (i int);\n" };
            await up(groupOf("schema", "rollc", crlf, ["wt21"]), crlf);
            deepEqual((await preview(groupOf("schema", "rollc", lf, ["wt21"]), lf)).refusals, []);
            // as an earlier version wrote it down, on Windows
            await stack.sql("UPDATE citus_as_code.tenant_migration SET sha256 = $1 WHERE grp = 'rollc'", [
                createHash("sha256").update(crlf["c/1.sql"]).digest("hex"),
            ]);
            deepEqual((await preview(groupOf("schema", "rollc", lf, ["wt21"]), lf)).refusals, []);
            deepEqual((await preview(groupOf("schema", "rollc", crlf, ["wt21"]), crlf)).refusals, []);
            equal(
                (
                    await preview(groupOf("schema", "rollc", { "c/1.sql": "SELECT 1" }, ["wt21"]), {
                        "c/1.sql": "SELECT 1",
                    })
                ).refusals.length,
                1,
            );
            const marked = { "d/1.sql": `\uFEFF${PATIENTS}` };
            await up(groupOf("database", "rolld", marked, ["wt22"]), marked);
            deepEqual(
                (
                    await preview(groupOf("database", "rolld", { "d/1.sql": PATIENTS }, ["wt22"]), {
                        "d/1.sql": PATIENTS,
                    })
                ).refusals,
                [],
            );
        });

        it("says who holds a tenant's file up, in a schema and in a database", async () => {
            const access = await stack.access();
            const { nodes } = await withContext(stack, group(base, {}), {}, async ({ nodes }) => ({ nodes })).then(
                ({ result }) => result,
            );
            for (const place of ["wt1", "wt22"] as const) {
                const [row] = await stack.sql<{ node: string | null }>(
                    "SELECT node FROM citus_as_code.tenant WHERE tenant = $1",
                    [place],
                );
                const node = row?.node ?? "coordinator";
                const host = nodes.find(({ name }) => name === node)?.host ?? "";
                const to = { ...(await stack.access(node)), ...(place === "wt22" ? { database: place } : {}) };
                const said: string[] = [];
                const ours = await connect(to, node, {
                    wrap: tellHolders((text) => said.push(text), { open: () => connect(access, "coordinator"), host }),
                });
                const other = new pg.Client({ ...clientOf(to), application_name: "somebody" });
                await other.connect();
                const table = place === "wt22" ? "patients" : `${place}.patients`;
                try {
                    await other.query("BEGIN");
                    await other.query(`LOCK TABLE ${table} IN ACCESS EXCLUSIVE MODE`);
                    const changed = ours.query(`ALTER TABLE ${table} ADD COLUMN held int`);
                    await until("the holder is named", 60, async () => said.length > 0);
                    await other.query("ROLLBACK");
                    await changed;
                } finally {
                    await other.end();
                    await ours.close();
                }
                match(said.join("\n"), new RegExp(`pid [0-9]+ on ${node} \\(role postgres, application somebody`));
            }
        });
    });

    describe("in model row", () => {
        const base: Files = {
            "r/1.sql": `CREATE TABLE companies (id bigint PRIMARY KEY, plan int); CREATE TABLE users (company_id bigint REFERENCES companies (id), id bigint, name text, PRIMARY KEY (company_id, id));
CREATE TABLE tiers (id int PRIMARY KEY);`,
        };
        const rows = (files: Files): GroupSpec => ({
            ...EMPTY,
            name: "billing",
            model: "row",
            anchor: "companies",
            tables: {
                companies: { kind: "distributed", column: "id" },
                users: { kind: "distributed", column: "company_id" },
                tiers: { kind: "reference" },
            },
            template: Object.entries(files).map(([path, sql]) => fileSpec(path, sql)),
            tenants: { "1": {}, "2": {} },
        });
        const facets = FACETS.row.filter(({ name }) => name !== "pool" && name !== "map") as Facet[];

        it("runs once more, one after the other, what Citus does not do beside each other", async () => {
            await settle(stack, rows(base), base, facets);
            const files = {
                ...base,
                "r/2.sql":
                    "ALTER TABLE companies ADD COLUMN tier int; ALTER TABLE companies ADD CONSTRAINT companies_tier FOREIGN KEY (tier) REFERENCES tiers (id);",
                "r/3.sql":
                    "ALTER TABLE companies ADD COLUMN a int; ALTER TABLE tiers ADD COLUMN a int; UPDATE companies SET a = 1; UPDATE tiers SET a = 1;",
            };
            await settle(stack, rows(files), files, facets);
            const [row] = await stack.sql<{ n: number }>("SELECT count(*)::int AS n FROM companies WHERE a = 1");
            equal(row?.n, 2);
        });

        it("makes an index concurrently, and one that was left half made anew", async () => {
            await stack.sql("INSERT INTO users VALUES (1, 1, 'x'), (1, 2, 'x'), (2, 1, 'y')");
            const before: Files = {
                ...base,
                "r/2.sql":
                    "ALTER TABLE companies ADD COLUMN tier int; ALTER TABLE companies ADD CONSTRAINT companies_tier FOREIGN KEY (tier) REFERENCES tiers (id);",
                "r/3.sql":
                    "ALTER TABLE companies ADD COLUMN a int; ALTER TABLE tiers ADD COLUMN a int; UPDATE companies SET a = 1; UPDATE tiers SET a = 1;",
            };
            const files = {
                ...before,
                "r/4.sql":
                    "-- no transaction\nCREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS users_name ON users (company_id, name);",
            };
            await rejects(settle(stack, rows(files), files, facets), /r\/4\.sql failed/);
            const shards = () =>
                stack.sql<{ result: string }>(
                    `SELECT DISTINCT result FROM run_command_on_shards('users', $$SELECT count(*) || ' ' || bool_and(indisvalid) FROM pg_index WHERE indrelid = '%s'::regclass$$)`,
                );
            ok((await shards()).some(({ result }) => result !== "2 true"));
            await stack.sql("DELETE FROM users WHERE id = 2");
            await settle(stack, rows(files), files, facets);
            deepEqual(await shards(), [{ result: "2 true" }]);
            deepEqual((await plan(stack, rows(files), facets, files)).steps, []);
        });
    });
});
