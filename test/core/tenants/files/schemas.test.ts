/** Plans of roles, schemas, migrations, states and removals of tenants; statements of template files. */
import { deepEqual, equal, match, rejects } from "node:assert/strict";
import fc from "fast-check";
import { describe, it } from "vitest";
import type { Session } from "../../../../core/reach/session.ts";
import { alteredTables, statements } from "../../../../core/sql/statements.ts";
import { createdIndex, templateMistakes as mistakesOf } from "../../../../core/tenants/check/read/templateFile.ts";
import { type DatabasesFound, identity, type LedgerRow } from "../../../../core/tenants/databases/databaseFound.ts";
import { differences } from "../../../../core/tenants/files/baseline.ts";
import { describeCost } from "../../../../core/tenants/files/blocking.ts";
import { migrations } from "../../../../core/tenants/files/migrations.ts";
import { batchSize, inTurns } from "../../../../core/tenants/files/runMigrations.ts";
import type { Context } from "../../../../core/tenants/group/facet.ts";
import { lateFiles, nameAfter, runOrder } from "../../../../core/tenants/group/order.ts";
import {
    filesForNew,
    type RolloutSpec,
    rollout,
    type UnderWay,
    WAVES,
    wavesOf,
} from "../../../../core/tenants/group/rollout.ts";
import type { GroupSpec } from "../../../../core/tenants/group/spec.ts";
import { removalWith } from "../../../../core/tenants/removal/removal.ts";
import type { FoundRemoval } from "../../../../core/tenants/removal/removalPlan.ts";
import { referencingFirst } from "../../../../core/tenants/removal/removeRows.ts";
import { ensureGroupRoles } from "../../../../core/tenants/roles/groupRoles.ts";
import { type FoundRoles, roles } from "../../../../core/tenants/roles/roles.ts";
import { type FoundSchemas, schemas } from "../../../../core/tenants/schemas/schemas.ts";
import { state } from "../../../../core/tenants/state/state.ts";

const group = (more: Partial<GroupSpec> = {}): GroupSpec => ({
    name: "clinics",
    model: "schema",
    tables: {},
    template: [],
    tenants: { acme: { role: true }, globex: { role: true } },
    delete: [],
    allow: [],
    rowSecurity: true,
    rollout: { canary: 1, part: 0.1 },
    lockTimeout: 5000,
    ...more,
});

const templateMistakes = (path: string, sql: string, alone = false) => mistakesOf(path, statements(sql), alone);

const texts = ({ steps }: { steps: readonly { text: string }[] }) => steps.map(({ text }) => text);

describe("statements of a template file", () => {
    const of = (sql: string) => statements(sql).map(({ text, line }) => `${line} ${text}`);

    it("end at semicolons that nothing hides", () => {
        deepEqual(of("SELECT 1;\n\n-- x;\nSELECT ';' /* ; /* ; */ */, \";\"; SELECT $$;$$; SELECT $a$ $$; $a$"), [
            "1 SELECT 1",
            "4 SELECT ';'  , \";\"",
            "4 SELECT $$;$$",
            "4 SELECT $a$ $$; $a$",
        ]);
        deepEqual(of("SELECT E'\\';', 'it''s;' ; SELECT 'a\\'; SELECT 2"), [
            "1 SELECT E'\\';', 'it''s;'",
            "1 SELECT 'a\\'",
            "1 SELECT 2",
        ]);
        deepEqual(of("SELECT $1; SELECT a$b$c; SELECT 3"), ["1 SELECT $1", "1 SELECT a$b$c", "1 SELECT 3"]);
    });

    it("have a function's body in them", () => {
        const sql =
            "CREATE FUNCTION f() RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT 1; SELECT CASE WHEN true THEN 1 END; END; SELECT 2;";
        equal(statements(sql).length, 2);
        deepEqual(templateMistakes("a.sql", sql), []);
    });

    it("never lose a character that is not a comment", () => {
        fc.assert(
            fc.property(fc.array(fc.constantFrom("a", "1", " ", "'b;'", '"c;"', "$$;$$", ";", "\n")), (parts) => {
                const kept = statements(parts.join(" "))
                    .map(({ text }) => text)
                    .join("");
                equal(
                    kept.replace(/\s/g, ""),
                    parts
                        .filter((p) => p !== ";")
                        .join("")
                        .replace(/\s/g, ""),
                );
            }),
        );
    });

    it("are refused where they can't be in a transaction with others", () => {
        for (const sql of [
            "BEGIN",
            "start transaction",
            "COMMIT",
            "END",
            "ROLLBACK",
            "SAVEPOINT a",
            "CREATE UNIQUE INDEX CONCURRENTLY i ON t (a)",
            "VACUUM t",
            "CREATE DATABASE d",
            "ALTER SYSTEM SET a = 1",
            "SELECT create_distributed_table_concurrently('t', 'a')",
            "COPY t FROM STDIN",
            "\\i other.sql",
        ])
            equal(templateMistakes("a.sql", `SELECT 1;\n${sql};`).length, 1, sql);
        match(templateMistakes("a.sql", "SELECT 1;\nCOMMIT;")[0] ?? "", /^a\.sql:2 has COMMIT: .* take it out$/);
        for (const sql of [
            "CREATE INDEX i ON t (a)",
            "DO $$ BEGIN PERFORM 1; END $$",
            "CREATE TABLE begin_ (a int)",
            "COMMENT ON TABLE t IS 'COMMIT;'",
            "INSERT INTO t VALUES ('VACUUM')",
        ])
            deepEqual(templateMistakes("a.sql", sql), [], sql);
    });

    it("of a file without a transaction can each be run again, and the rest is said", () => {
        for (const sql of [
            "CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS i ON t (a)",
            "DROP INDEX CONCURRENTLY IF EXISTS i",
            "VACUUM (ANALYZE) t",
            "ALTER TYPE mood ADD VALUE IF NOT EXISTS 'calm'",
            "UPDATE t SET a = 1 WHERE a IS NULL",
            "ALTER TABLE t VALIDATE CONSTRAINT c",
            "ALTER TABLE t ADD COLUMN IF NOT EXISTS a int",
            "CREATE OR REPLACE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
            "CREATE TABLE IF NOT EXISTS t (a int)",
            "INSERT INTO t VALUES (1) ON CONFLICT DO NOTHING",
        ])
            deepEqual(templateMistakes("a.sql", sql, true), [], sql);
        for (const sql of [
            "CREATE INDEX CONCURRENTLY i ON t (a)",
            "CREATE INDEX CONCURRENTLY ON t (a)",
            "DROP INDEX CONCURRENTLY i",
            "REINDEX INDEX CONCURRENTLY i",
            "ALTER TYPE mood ADD VALUE 'calm'",
            "ALTER TABLE t ADD COLUMN a int",
            "ALTER TABLE t ADD CONSTRAINT c CHECK (a > 0)",
            "ALTER TABLE t RENAME COLUMN a TO b",
            "CREATE TABLE t (a int)",
            "INSERT INTO t VALUES (1)",
            "BEGIN",
            "CREATE DATABASE d",
            "SELECT create_distributed_table_concurrently('t', 'a')",
        ])
            equal(templateMistakes("a.sql", sql, true).length, 1, sql);
    });

    it("name the index that they make, as they write it", () => {
        deepEqual(createdIndex('CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS "I x" ON ONLY public . "T" (a)'), {
            name: '"I x"',
            table: 'public . "T"',
        });
        equal(createdIndex("CREATE INDEX CONCURRENTLY ON t (a)"), undefined);
    });

    it("name the tables that they alter", () => {
        deepEqual(
            alteredTables(
                statements(
                    'ALTER TABLE IF EXISTS ONLY public.users ADD a int; ALTER TABLE "x"."y" ADD b int; SELECT 1',
                ),
            ),
            ["users", "x.y"],
        );
    });
});

describe("waves of a rollout", () => {
    it("have each tenant once, in the same wave whatever was run already", () => {
        fc.assert(
            fc.property(
                fc.uniqueArray(fc.string({ minLength: 1 }), { maxLength: 60 }),
                fc.nat(5),
                fc.double({ min: 0, max: 1, noNaN: true }),
                fc.func(fc.boolean()),
                (tenants, canary, part, has) => {
                    const waves = wavesOf(tenants, { canary, part });
                    equal(waves.size, tenants.length);
                    const left = tenants.filter((tenant) => !has(tenant));
                    const pending = Object.fromEntries(left.map((tenant) => [tenant, ["a.sql"]]));
                    const { turns: planned } = rollout(tenants, ["a.sql"], { canary, part }, { pending });
                    deepEqual(planned.map(({ tenant }) => tenant).sort(), [...left].sort());
                    const order = planned.map(({ wave }) => WAVES.indexOf(wave));
                    deepEqual(order, [...order].sort());
                    for (const { tenant, wave } of planned) equal(wave, waves.get(tenant));
                },
            ),
        );
    });

    it("are canary, a part of the others, and the rest", () => {
        const waves = [
            ...wavesOf(
                Array.from({ length: 21 }, (_, i) => `t${i}`),
                { canary: 1, part: 0.1 },
            ).values(),
        ];
        deepEqual(
            WAVES.map((wave) => waves.filter((w) => w === wave).length),
            [1, 2, 18],
        );
    });
});

describe("waves that end a run", () => {
    const tenants = ["a", "b", "c", "d"];
    const of = (settings: RolloutSpec, underWay: UnderWay) => {
        const { turns, stops } = rollout(tenants, ["1", "2"], settings, underWay);
        return { turns: turns.map(({ tenant, files }) => `${tenant} ${files.join()}`), stops };
    };
    const pending = { b: ["2"], c: ["2"], d: ["1", "2"] };

    it("begin with the first, and the next waits for all of it", () => {
        const all = Object.fromEntries(tenants.map((name) => [name, ["2"]]));
        const { turns, stops } = of({ approve: true }, { pending: all });
        deepEqual(turns, ["a 2"]);
        deepEqual(stops, [{ path: "2", wave: "part", waiting: { for: "wave", wave: "canary" }, tenants: 3 }]);
    });

    it("wait for a pause since the youngest of the earlier ones, and go on after it", () => {
        const after = (seconds: number) => of({ pause: 60_000 }, { pending, ages: { "2": { a: seconds } } });
        deepEqual(after(20.5).stops[0]?.waiting, { for: "pause", wave: "part", seconds: 40 });
        deepEqual(after(20.5).turns, ["d 1"]);
        deepEqual(after(61).turns, ["b 2", "d 1"]);
        deepEqual(after(61).stops[0]?.waiting, { for: "wave", wave: "part" });
    });

    it("wait for an approval of the very wave", () => {
        const with_ = (approved: UnderWay["approved"]) =>
            of({ approve: true }, { pending, ...(approved && { approved }) });
        deepEqual(with_({}).stops[0]?.waiting, { for: "approval", wave: "part" });
        deepEqual(with_({ "2": ["part"] }).turns, ["b 2"]);
    });

    it("keep a tenant's files in their order: none overtakes one that waits", () => {
        const { turns } = of({ approve: true }, { pending, approved: { "2": ["part", "rest"], "1": [] } });
        deepEqual(turns, ["b 2"]);
    });

    it("without pause and approval follow each other in one run", () => {
        deepEqual(of({}, { pending }).turns, ["b 2", "c 2", "d 1,2"]);
        deepEqual(of({}, { pending }).stops, []);
    });

    it("make new tenants from files that the first wave has proved", () => {
        const files = (existing: string[], pending: UnderWay["pending"], settings: RolloutSpec = {}) =>
            filesForNew(tenants, ["1", "2"], settings, { pending }, new Set(existing))("d");
        deepEqual(files([], {}), ["1", "2"]);
        deepEqual(files(["a", "b"], { a: ["2"], b: ["2"] }), ["1"]);
        deepEqual(files(["a", "b"], { b: ["2"] }), ["1", "2"]);
        deepEqual(files(["a", "b"], { b: ["2"] }, { approve: true }), ["1"]);
        deepEqual(files(["a", "b"], {}, { approve: true }), ["1", "2"]);
        // the canary itself is new: who is there proves
        deepEqual(files(["b"], { b: ["2"] }), ["1"]);
    });

    it("may have canaries by name", () => {
        deepEqual(
            [...wavesOf(tenants, { canary: ["c"], part: 0.5 })],
            [
                ["a", "part"],
                ["b", "part"],
                ["c", "canary"],
                ["d", "rest"],
            ],
        );
    });
});

describe("what files make others wait for", () => {
    const place = { where: "2.sql", line: 3 };
    const weights = { visits: { bytes: 3.1e9, rows: 12_400_000, largest: 420_000_000, shards: 40 } };

    it("is said with sizes and a time", () => {
        const cost = { place, table: "visits", clause: "ALTER COLUMN note TYPE text", fix: "" } as const;
        equal(
            describeCost("2.sql", { ...cost, does: "rewrite", waits: "reads and writes" }, weights, 40),
            "2.sql:3 ALTER COLUMN note TYPE text of visits (now 3.10 GB, 12.4 million rows, 40 shards) writes every row anew: reads and writes of a tenant wait, about 14 s at 30 MB a second for the largest tenant",
        );
        equal(
            describeCost("2.sql", { ...cost, clause: "CREATE INDEX i", does: "index", waits: "writes" }, {}),
            "2.sql:3 CREATE INDEX i of visits builds an index: writes wait, as long as that lasts",
        );
        match(
            describeCost("2.sql", { ...cost, clause: "TRUNCATE", does: "gone" }, weights),
            /40 shards\) can't be undone$/,
        );
    });

    it("is what runs now, of tables that are there", () => {
        const template = ["1.sql", "2.sql"].map((path) => ({ path, sha256: path }));
        const cost = { place, clause: "CREATE INDEX", does: "index", waits: "writes", fix: "" } as const;
        const found = {
            pending: { acme: ["2.sql"] },
            first: { "1.sql": 1 },
            changed: {},
            removed: {},
            moved: {},
            many: {},
            weights,
            costs: {
                "2.sql": [
                    { ...cost, table: "visits" },
                    { ...cost, table: "to_come" },
                ],
            },
        };
        const notes = (more: Partial<GroupSpec>, first = found.first) =>
            migrations.plan(group({ template, ...more }), { ...found, first }, {}).notes ?? [];
        equal(notes({}).length, 1);
        match(notes({})[0] ?? "", /^2\.sql:3 CREATE INDEX of visits/);
        // the first up of all
        deepEqual(notes({}, {} as typeof found.first), []);
    });
});

describe("tenants in one text and beside each other", () => {
    const file = (bytes: number) => ({
        path: "1.sql",
        sha256: "",
        sql: "",
        statements: [],
        alone: false,
        packed: "x".repeat(bytes),
    });

    it("are as many as the text may be long", () => {
        equal(batchSize([]), 20);
        equal(batchSize([file(100), file(100)]), 20);
        equal(batchSize([file(500_000), file(500_000)]), 4);
        equal(batchSize([file(10_000_000)]), 1);
    });

    it("take the nodes in turns, each tenant once", () => {
        deepEqual(
            inTurns(["a1", "a2", "a3", "b1", "c1", "c2"], (name) => name[0] ?? ""),
            ["a1", "b1", "c1", "a2", "c2", "a3"],
        );
        deepEqual(
            inTurns([], () => ""),
            [],
        );
    });
});

describe("a baseline", () => {
    it("is compared with the files that it stands for", () => {
        deepEqual(
            differences(
                new Map([
                    ["column tenant.a.x", "1, integer"],
                    ["index tenant.i", "(x)"],
                    ["table tenant.a", "heap"],
                ]),
                new Map([
                    ["column tenant.a.x", "1, bigint"],
                    ["table tenant.a", "heap"],
                    ["view tenant.v", "SELECT 1"],
                ]),
            ),
            [
                "column tenant.a.x: the files make 1, integer, the baseline 1, bigint",
                "index tenant.i: the baseline does not make it ((x))",
                "view tenant.v: only the baseline makes it (SELECT 1)",
            ],
        );
    });
});

describe("order of files", () => {
    it("is that of the first tenant, then the template's", () => {
        deepEqual(runOrder(["1", "2", "3", "4"], { "1": 10, "3": 10, "2": 20 }), ["1", "3", "2", "4"]);
    });

    it("has no new file before one that was run", () => {
        deepEqual(lateFiles(["1", "2", "3", "4"], { "1": 10, "3": 10 }), [{ path: "2", after: "3" }]);
        deepEqual(lateFiles(["1", "2"], {}), []);
    });

    it("finds a name that sorts after all of them", () => {
        const name = (path: string, ...others: string[]) => nameAfter(path, others[0] ?? "", [path, ...others]);
        equal(name("m/010-bar.sql", "m/011.sql"), "m/012-bar.sql");
        equal(name("m/099.sql", "m/099-b.sql"), "m/100.sql");
        equal(name("a.sql", "m/V2__x.sql"), "m/V3-a.sql");
        equal(name("m/010.sql", "m/011.sql", "m/020.sql", "n/030.sql"), "m/021.sql");
        equal(name("a.sql", "b.sql"), undefined);
    });
});

describe("plan of roles", () => {
    const role = {
        login: true,
        connections: -1,
        settings: { search_path: "acme, public" },
        member: true,
        becomes: false,
        elevated: false,
        comment: "citus_as_code clinics m1 abcdef01",
        secret: "abcdef01",
    };
    const tenants = {
        ...role,
        login: false,
        settings: {},
        member: false,
        comment: "citus_as_code clinics ",
        secret: null,
    };
    const found = (more: Partial<FoundRoles> = {}): FoundRoles => ({
        mark: "m1",
        differing: {},
        ...more,
        roles: { clinics_tenants: tenants, clinics_acme: role, ...more.roles },
    });
    const one = (limits = {}) => group({ tenants: { acme: { role: true, limits } } });

    it("is empty when everything is as it should be", () => {
        deepEqual(roles.plan(one(), found(), {}), { steps: [], refusals: [] });
    });

    it("says what differs", () => {
        const changed = { ...role, connections: 5, settings: { statement_timeout: "1s", search_path: "acme, public" } };
        deepEqual(texts(roles.plan(one({ connections: 9 }), found({ roles: { clinics_acme: changed } }), {})), [
            "acme: mend role clinics_acme (connections 5 → 9, statement_timeout 1s → none)",
        ]);
        deepEqual(texts(roles.plan(one(), found({ mark: "m2" }), {})), ["acme: mend role clinics_acme (password)"]);
        deepEqual(
            texts(
                roles.plan(
                    one(),
                    found({ roles: { clinics_acme: { ...role, secret: "00000000", elevated: true } } }),
                    {},
                ),
            ),
            ["acme: mend role clinics_acme (rights that bypass policies taken away, password)"],
        );
        deepEqual(texts(roles.plan(one(), found({ differing: { "w1.node": ["clinics_acme"] } }), {})), [
            "acme: mend role clinics_acme (not the same on w1.node)",
        ]);
        deepEqual(texts(roles.plan(one(), { mark: "m1", roles: {}, differing: {} }, {})), [
            "group clinics: make role clinics_tenants",
            "acme: make role clinics_acme",
        ]);
    });

    it("has the application's role where there are rows", () => {
        deepEqual(
            texts(
                roles.plan(group({ model: "row", tenants: { "1": {} } }), { mark: "m1", roles: {}, differing: {} }, {}),
            ),
            ["group clinics: make role clinics_tenants", "group clinics: make role clinics_app"],
        );
    });

    it("refuses a role of somebody else, another group's among them", () => {
        for (const comment of [null, "mine", "citus_as_code clinics_x m1 abcdef01"]) {
            const { steps, refusals } = roles.plan(one(), found({ roles: { clinics_acme: { ...role, comment } } }), {});
            equal(steps.length, 0);
            match(refusals?.join() ?? "", /there is a role clinics_acme that this group did not make/);
        }
        const { refusals } = roles.plan(
            one(),
            found({
                roles: { clinics_tenants: { ...role, comment: "citus_as_code a m1 abcdef01" }, clinics_acme: role },
            }),
            {},
        );
        match(refusals?.join() ?? "", /there is a role clinics_tenants that this group did not make/);
    });

    it("refuses a role of the group's name without its comment, and says how to claim it", () => {
        const { steps, refusals } = roles.plan(
            one(),
            found({ roles: { clinics_tenants: { ...tenants, comment: null } } }),
            {},
        );
        deepEqual(steps, []);
        match(
            refusals?.join() ?? "",
            /^group clinics: there is a role clinics_tenants that.*RENAME TO …\), or give the group another name\. .*COMMENT ON ROLE "clinics_tenants" IS 'citus_as_code clinics ';/s,
        );
    });

    it("keeps a tenant's role from becoming that of all tenants", () => {
        deepEqual(texts(roles.plan(one(), found({ roles: { clinics_acme: { ...role, becomes: true } } }), {})), [
            "acme: mend role clinics_acme (no SET ROLE clinics_tenants)",
        ]);
    });

    it("shuts what a tenant of the program had and wants no more, and nothing of tenants that left", () => {
        const without = group({ tenants: { acme: {} } });
        const text = "acme: role clinics_acme may not log in any more (NOLOGIN, membership revoked, password removed)";
        deepEqual(texts(roles.plan(without, found(), {})), [text]);
        deepEqual(roles.plan(group({ tenants: {} }), found(), {}).steps, []);
        const shut = { ...role, login: false, member: false, secret: null };
        const planned = (more: object, differing = {}) =>
            texts(roles.plan(without, found({ roles: { clinics_acme: { ...shut, ...more } }, differing }), {}));
        deepEqual(planned({}), []);
        for (const left of [{ login: true }, { member: true }, { becomes: true }, { secret: "abcdef01" }])
            deepEqual(planned(left), [text]);
        deepEqual(planned({}, { "w1.node": ["clinics_acme"] }), [text]);
        deepEqual(planned({ login: true, comment: null }), [], "somebody else's is left alone");
        deepEqual(texts(roles.plan(one(), found({ roles: { clinics_acme: shut } }), {})), [
            "acme: mend role clinics_acme (login, member of clinics_tenants, password)",
        ]);
    });

    it("does not take the group's own role for that of a tenant named so", () => {
        const app = { ...role, settings: { "citus.propagate_set_commands": "local" }, member: false };
        const rows = group({ model: "row", tenants: { app: {}, tenants: {} } });
        deepEqual(roles.plan(rows, found({ roles: { clinics_app: app } }), {}).steps, []);
    });

    it("ends sessions once nobody can log in, and revokes the membership last", async () => {
        const asked: string[] = [];
        const session = {
            query: async (sql: string) => {
                asked.push(sql);
                return [];
            },
        };
        const context = { session, group: one(), alive: () => undefined } as unknown as Context;
        await roles.run.shut?.(context, [{ kind: "roles.shut", tenant: "acme", text: "", detail: "clinics_acme" }]);
        deepEqual(
            asked.map((sql) => /NOLOGIN PASSWORD NULL|pg_terminate_backend|REVOKE "clinics_tenants"/.exec(sql)?.[0]),
            ["NOLOGIN PASSWORD NULL", "pg_terminate_backend", 'REVOKE "clinics_tenants"'],
        );
    });

    it("makes the group's role with its comment in one transaction, and takes nobody's", async () => {
        const asked: string[] = [];
        const session = (there: readonly object[]) =>
            ({
                query: async (sql: string) => {
                    asked.push(sql);
                    return asked.length === 1 ? there : [];
                },
            }) as unknown as Session;
        await ensureGroupRoles(session([]), one());
        equal(asked.length, 2);
        match(
            asked[1] ?? "",
            /^BEGIN;\nCREATE ROLE "clinics_tenants" NOLOGIN;\nCOMMENT ON ROLE "clinics_tenants" IS 'citus_as_code clinics ';\n;COMMIT$/,
        );
        asked.length = 0;
        await rejects(
            ensureGroupRoles(session([{ name: "clinics_tenants", comment: null }]), one()),
            /there is a role clinics_tenants that this group did not make/,
        );
        equal(asked.length, 1);
    });
});

describe("plan of schemas", () => {
    const plan = (found: Partial<FoundSchemas>, more: Partial<GroupSpec> = {}) =>
        schemas.plan(group(more), { schemas: {}, ledger: {}, others: {}, ...found }, {});

    it("creates what is not there, and leaves what is", () => {
        deepEqual(texts(plan({ schemas: { acme: true }, ledger: { acme: "active" } })), ["globex: create schema"]);
        deepEqual(
            plan({ schemas: { acme: true, globex: true }, ledger: { acme: "active", globex: "frozen" } }).steps,
            [],
        );
        deepEqual(plan({ schemas: { acme: true, globex: true }, ledger: { acme: "superseded", globex: "active" } }), {
            steps: [],
            refusals: [],
            notes: [],
        });
    });

    it("makes new ones from what the first wave has run, and goes on with one that is half made", () => {
        const template = ["1.sql", "2.sql"].map((path) => ({ path, sha256: path }));
        const migrations = { pending: { acme: ["2.sql"] }, first: { "1.sql": 1 } };
        const found = {
            schemas: { acme: true, globex: true },
            ledger: { acme: "active", globex: "creating" },
            others: {},
        } as const;
        const { steps } = schemas.plan(group({ template }), found, { migrations });
        deepEqual(
            steps.map(({ text, detail }) => [text, detail]),
            [
                [
                    "globex: go on making its schema from 1 file; 1 file more with its wave",
                    { files: ["1.sql"], half: true },
                ],
            ],
        );
    });

    it("lists every refusal at once", () => {
        const { refusals = [] } = plan({ schemas: { acme: false }, ledger: { globex: "active" } });
        equal(refusals.length, 2);
        match(refusals[0] ?? "", /acme: there is a schema acme that no group made/);
        match(refusals[1] ?? "", /globex: its schema is gone/);
        match(plan({ ledger: { acme: "deleting" } }).refusals?.[0] ?? "", /its deletion was begun and not ended/);
        match(
            plan({ schemas: { acme: false, globex: true }, ledger: { acme: "active", globex: "active" } })
                .refusals?.[0] ?? "",
            /citus_schema_distribute/,
        );
        match(
            plan({ schemas: { acme: true }, others: { acme: "labs" } }).refusals?.[0] ?? "",
            /a tenant of group labs/,
        );
    });

    it("notes who is not in the program, but for deleted ones", () => {
        const { steps, notes } = plan(
            { ledger: { old: "active", gone: "active", moved: "superseded" } },
            { tenants: {}, delete: ["gone"] },
        );
        deepEqual(steps, []);
        equal(notes?.length, 1);
        match(notes?.[0] ?? "", /^old: in the cluster but not in the program; left as it is/);
    });
});

describe("plan of migrations", () => {
    const template = ["1.sql", "2.sql"].map((path) => ({ path, sha256: path }));
    const none = { pending: {}, first: {}, changed: {}, removed: {}, moved: {}, many: {} };

    it("rolls out in waves", () => {
        const names = Array.from({ length: 12 }, (_, i) => `t${i}`);
        const { steps } = migrations.plan(
            group({ template, tenants: Object.fromEntries(names.map((name) => [name, {}])) }),
            { ...none, pending: Object.fromEntries(names.map((name) => [name, ["2.sql"]])) },
            {},
        );
        deepEqual(
            steps.map(({ kind }) => kind),
            ["migrations.canary", "migrations.part", "migrations.part", ...Array(9).fill("migrations.rest")],
        );
    });

    it("has every file once for rows, also before there is a ledger, with a warning where there are many shards", () => {
        const rows = group({ model: "row", template, tenants: {} });
        equal(migrations.plan(rows, undefined, {}).steps.length, 2);
        match(
            texts(migrations.plan(rows, { ...none, pending: { "": ["2.sql"] }, many: { users: 128 } }, {}))[0] ?? "",
            /users has 128 shards/,
        );
    });

    it("refuses a file that sorts before one that was run, unless no order matters", () => {
        const found = { ...none, pending: { acme: ["1.sql"] }, first: { "2.sql": 1 } };
        match(
            migrations.plan(group({ template }), found, {}).refusals?.[0] ?? "",
            /^1\.sql sorts before 2\.sql, which has been run already.*git mv 1\.sql 3\.sql.*outOfOrder: true in group clinics/s,
        );
        const { refusals, steps } = migrations.plan(group({ template, outOfOrder: true }), found, {});
        deepEqual([refusals, steps.length], [[], 1]);
        // what was renamed is said once
        const moved = { ...found, moved: { "1.sql": { was: "0.sql", tenants: 1 } } };
        equal(migrations.plan(group({ template }), moved, {}).refusals?.length, 1);
    });

    it("refuses a file that has changed and notes one that is gone", () => {
        const { refusals, notes } = migrations.plan(
            group({ template }),
            { ...none, changed: { "1.sql": 2 }, removed: { "0.sql": 1 } },
            {},
        );
        match(refusals?.[0] ?? "", /1\.sql was run for 2 tenants and has changed/);
        match(notes?.[0] ?? "", /0\.sql: not in the template any more; 1 tenant ran it/);
    });

    it("refuses a file that has another path now, which would run twice, and says how to have it so", () => {
        const found = {
            ...none,
            pending: { acme: ["1.sql"] },
            removed: { "it's old.sql": 2, "0.sql": 1 },
            moved: { "1.sql": { was: "it's old.sql", tenants: 2 } },
        };
        const { refusals, notes } = migrations.plan(group({ template }), found, {});
        deepEqual(refusals?.[0]?.split("\n"), [
            "1.sql has the content (sha256) of it's old.sql, which was run for 2 tenants and is not in the template any more: it would run twice. If you rename it back to it's old.sql, nothing is run.",
            "To keep the name 1.sql, tell the ledger (npm run psql), then run pulumi up:",
            "UPDATE citus_as_code.tenant_migration SET path = '1.sql' WHERE grp = 'clinics' AND path = 'it''s old.sql';",
        ]);
        deepEqual(
            notes?.map((note) => note.split(":")[0]),
            ["0.sql"],
        );
        const rows = migrations.plan(
            group({ model: "row", template, tenants: {} }),
            { ...found, pending: { "": ["1.sql"] }, moved: { "1.sql": { was: "0.sql", tenants: 1 } } },
            {},
        );
        match(rows.refusals?.[0] ?? "", /^1\.sql has the content \(sha256\) of 0\.sql, which was run and is not/);
        const databases = migrations.plan(group({ model: "database", template }), found, {});
        match(
            databases.refusals?.[0] ?? "",
            /and in the database of each tenant:\nUPDATE citus_as_code\.migration SET path = '1\.sql' WHERE path = 'it''s old\.sql';$/,
        );
    });
});

describe("plan of states", () => {
    it("freezes, gives back, mends and fences", () => {
        const frozen = group({
            tenants: { acme: { role: true, frozen: true }, globex: { role: true }, initech: { role: true } },
        });
        deepEqual(
            texts(
                state.plan(
                    frozen,
                    {
                        acme: { state: "active", access: "active" },
                        globex: { state: "frozen", access: "frozen" },
                        initech: { state: "active", access: "mixed" },
                        moved: { state: "superseded", access: "active" },
                        left: { state: "active", access: "mixed" },
                    },
                    {},
                ),
            ),
            [
                "acme: freeze: read and not write",
                "globex: write again",
                "initech: mend what its role may do (active)",
                "moved: fence: its data is in another group now",
            ],
        );
        deepEqual(
            state.plan(
                group(),
                { acme: { state: "active", access: "any" }, globex: { state: "active", access: null } },
                {},
            ).steps,
            [],
        );
    });
});

it("the rights of a tenant without a role are not set for the role of all", async () => {
    for (const tenant of ["tenants", "x".repeat(60)]) {
        const ran: string[] = [];
        const session = {
            query: async (sql: string) => {
                ran.push(sql);
                return /FROM pg_roles/.test(sql) ? [{ name: `clinics_${tenant}` }] : [];
            },
        } as unknown as Session;
        const context = { session, group: group(), alive: () => undefined } as unknown as Context;
        const detail = { access: "frozen" };
        await state.run.set?.(context, [{ kind: "state.set", tenant, text: "", detail }]);
        match(ran.join("\n"), /SET state = 'frozen'/);
        deepEqual(
            ran.filter((sql) => /GRANT|REVOKE|ALTER DEFAULT/.test(sql)),
            [],
        );
        deepEqual(state.plan(group(), { [tenant]: { state: "superseded", access: "active" } }, {}).steps, []);
    }
});

describe("plan of removals", () => {
    // a machine that stays, also where these tests run on one that goes
    const removal = removalWith(
        async () => "",
        () => false,
    );
    const tenant = { state: null, movedTo: null, tombstone: false, taken: null, schema: false, distributed: false };
    const plan = (found: Partial<FoundRemoval>, more: Partial<GroupSpec> = {}) =>
        removal.plan(
            group({ tenants: {}, delete: ["acme"], ...more }),
            { tenants: { acme: tenant }, rows: {}, ...found },
            {},
        );

    it("deletes what is there, once", () => {
        equal(plan({ tenants: { acme: { ...tenant, state: "active" } } }).steps.length, 1);
        match(texts(plan({ tenants: { acme: { ...tenant, state: "deleting" } } }))[0] ?? "", /go on deleting/);
        match(
            texts(plan({ tenants: { acme: { ...tenant, state: "superseded", movedTo: "x/y" } } }))[0] ?? "",
            /old copy \(its data is in x\/y\)/,
        );
        deepEqual(plan({ tenants: { acme: { ...tenant, tombstone: true } } }), { steps: [], refusals: [], notes: [] });
        equal(plan({}).notes?.length, 1);
        equal(plan({ rows: { users: { acme: 2 } } }, { model: "row" }).steps.length, 1);
    });

    it("refuses what is on its way to another group, and who has the name of one that was deleted", () => {
        const taken = plan({ tenants: { acme: { ...tenant, state: "frozen", taken: "vaults/acme" } } });
        deepEqual([taken.steps, taken.refusals?.length], [[], 1]);
        match(taken.refusals?.[0] ?? "", /on its way to vaults\/acme/);
        const again = plan(
            { tenants: { acme: { ...tenant, tombstone: true } }, rows: { users: { acme: 2 } } },
            { model: "row" },
        );
        deepEqual([again.steps, again.refusals?.length], [[], 1]);
        match(again.refusals?.[0] ?? "", /was deleted, and there are rows of it again \(users\)/);
        const schema = plan({ tenants: { acme: { ...tenant, tombstone: true, schema: true } } });
        deepEqual([schema.steps, schema.refusals?.length], [[], 1]);
        match(schema.refusals?.[0] ?? "", /was deleted, and there is a schema of its name again/);
    });

    describe("of databases", () => {
        const database = (comment: string | null) => ({
            name: "acme",
            limit: -1,
            open: false,
            roles: null,
            comment,
            bytes: 1,
        });
        const own = identity("clinics", "acme", 7);
        const planOn = (
            nodes: Record<string, string | null>,
            found: Partial<FoundRemoval["tenants"][string]> = {},
            row?: Partial<LedgerRow>,
        ) => {
            const ledger = { tenant: "acme", state: "active", node: "worker-1", detail: { epoch: 7 } };
            const databases: DatabasesFound = {
                nodes: ["coordinator", "worker-1", "worker-2"].map((name) => ({
                    name,
                    databases: name in nodes ? [database(nodes[name] ?? null)] : [],
                })),
                ledger: found.state ? [{ ...ledger, state: found.state, ...row }] : [],
                others: {},
                own: "app",
                rate: null,
            };
            return removal.plan(
                group({ model: "database", tenants: {}, delete: ["acme"] }),
                { tenants: { acme: { ...tenant, ...found } }, rows: {} },
                { databases },
            );
        };
        const refusal = (...given: Parameters<typeof planOn>) => {
            const { steps, refusals = [] } = planOn(...given);
            deepEqual([steps, refusals.length], [[], 1]);
            return refusals[0] ?? "";
        };

        it("deletes the tenant's own, and one that was being made", () => {
            equal(planOn({ "worker-1": own }, { state: "active" }).steps.length, 1);
            equal(planOn({ "worker-1": null }, { state: "creating" }).steps.length, 1);
            equal(planOn({}, { state: "active" }).steps.length, 1);
            const move = { from: "worker-1", to: "worker-2", phase: "drop", limit: 5, fenced: 0 } as const;
            const moving = planOn({ "worker-2": own }, { state: "active" }, { detail: { epoch: 7, move } });
            deepEqual([moving.steps.length, moving.refusals], [1, []]);
        });

        it("says what is there again under a name that stayed, on whichever node", () => {
            match(
                refusal({ "worker-2": null, "worker-1": own }, { tombstone: true }),
                /^acme: was deleted, and there is a database of its name on worker-1, worker-2 again, which group clinics did not make\. It is not deleted\. Take acme out of tenants/,
            );
            match(
                refusal({ "worker-2": null }),
                /^acme: has the state deleted, and there is a database of its name on worker-2,/,
            );
            deepEqual(planOn({}, { tombstone: true }), { steps: [], refusals: [], notes: [] });
        });

        it("refuses one that is another's, and one that is not where it should be", () => {
            const another = identity("clinics", "acme", 8);
            match(
                refusal({ "worker-1": another }, { state: "active" }),
                /acme on worker-1 is not the one that was made for it: its comment is "citus_as_code: clinics\/acme, epoch 8"/,
            );
            match(refusal({ "worker-1": null }, { state: "active" }), /made for it: it has no comment/);
            match(
                refusal({ "worker-2": null }, { state: "deleting" }),
                /acme on worker-2 is not the one that was made/,
            );
            match(
                refusal({ "worker-2": own }, { state: "deleting" }),
                /its database should be on worker-1 and is on worker-2: it was moved by hand/,
            );
        });
    });

    it("refuses a schema that is nobody's", () => {
        match(
            plan({ tenants: { acme: { ...tenant, schema: true } } }).refusals?.[0] ?? "",
            /which group clinics did not make/,
        );
    });

    it("refuses a schema that Citus does not have as a tenant's", () => {
        const schema = { ...tenant, state: "active", schema: true };
        const refused = plan({ tenants: { acme: schema } });
        deepEqual([refused.steps, refused.refusals?.length], [[], 1]);
        match(
            refused.refusals?.[0] ?? "",
            /its schema is not distributed.* It is not deleted.*citus_schema_distribute/s,
        );
        equal(plan({ tenants: { acme: { ...schema, distributed: true } } }).steps.length, 1);
    });

    it("deletes rows of referencing tables first, and ends on a circle", () => {
        deepEqual(
            referencingFirst(
                ["companies", "users", "notes", "tags"],
                [
                    { from: "users", to: "companies" },
                    { from: "notes", to: "users" },
                    { from: "companies", to: "companies" },
                ],
            ),
            [["notes"], ["tags"], ["users"], ["companies"]],
        );
        deepEqual(
            referencingFirst(
                ["root", "a", "b", "leaf"],
                [
                    { from: "a", to: "b" },
                    { from: "b", to: "a" },
                    { from: "a", to: "root" },
                    { from: "leaf", to: "b" },
                ],
            ),
            [["leaf"], ["a", "b"], ["root"]],
        );
    });
});
