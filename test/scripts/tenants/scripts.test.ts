/** What `npm run tenants` makes of what a person types, and what it prints. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { describe, test } from "vitest";
import { hashOf } from "../../../client/hash.ts";
import { ShardMap, type ShardMapJson } from "../../../client/shardMap.ts";
import type { Session } from "../../../core/reach/session.ts";
import { choose, DEFAULTS, QUESTIONS } from "../../../core/tenants/ask/choose.ts";
import { type ListedTenant, listTenants } from "../../../core/tenants/ask/list.ts";
import { smallShards } from "../../../core/tenants/ask/smallShards.ts";
import { passwordOf } from "../../../core/tenants/group/passwords.ts";
import type { GroupSpec, TenantSpec } from "../../../core/tenants/group/spec.ts";
import type { TenantGroupInputs } from "../../../provider/tenantGroup.ts";
import { EXIT, exitCodeOf } from "../../../scripts/lib/exit.ts";
import { findTenant, groupsOf, specsOf } from "../../../scripts/lib/groups.ts";
import type { StateResource } from "../../../scripts/lib/resources.ts";
import { renderFindings } from "../../../scripts/tenants/check.ts";
import { readAnswer, readFlags, renderChoice } from "../../../scripts/tenants/choose.ts";
import { oneStatement, renderAdvice } from "../../../scripts/tenants/explain.ts";
import { renderTenants } from "../../../scripts/tenants/list.ts";
import { connectionString, findLogin } from "../../../scripts/tenants/password.ts";

const inputs = (name: string, model: GroupSpec["model"], tenants: Record<string, TenantSpec>): TenantGroupInputs => ({
    cluster: "citus-dev",
    group: {
        name,
        model,
        tables: {},
        template: [],
        tenants,
        delete: [],
        allow: [],
        rowSecurity: true,
        rollout: { canary: 1, part: 0.1 },
        lockTimeout: 5000,
    },
    nodes: [],
    seed: `seed of ${name}`,
    exports: "exports",
});

const groups = [
    inputs("big", "database", { acme: { role: true } }),
    inputs("billing", "row", { 1: {}, 2: { role: true }, "a/b": {} }),
    inputs("clinics", "schema", { acme: { role: true }, globex: { role: true } }),
    inputs("far", "routed", { eu: { host: "eu.example" } }),
];

describe("a tenant by name", () => {
    test("alone where it is the only one, with its group where not", () => {
        assert.equal(findTenant(groups, "globex").inputs.group.name, "clinics");
        assert.equal(findTenant(groups, "big/acme").inputs.group.name, "big");
        assert.equal(findTenant(groups, "billing/a/b").tenant, "a/b");
        assert.equal(findTenant(groups, "a/b").tenant, "a/b");
        assert.throws(() => findTenant(groups, "acme"), /tenant of big and clinics: write big\/acme or clinics\/acme/);
        assert.throws(() => findTenant(groups, "nobody"), /no tenant nobody in big, billing, clinics, far/);
        assert.throws(() => findTenant(groups, "gone"), /put it into tenants .*, run pulumi up, then .* restore/);
        assert.throws(() => findTenant(groups, "constructor"), /no tenant constructor/);
        assert.throws(() => findTenant([], "acme"), /no groups of tenants/);
    });

    test("a mistyped one is answered with the nearest, in the group that was named; keys of rows are not", () => {
        assert.throws(
            () => findTenant(groups, "clinics/globx"),
            /^Error: There is no tenant globx in clinics \(did you mean clinics\/globex\?\), according/,
        );
        assert.throws(() => findTenant(groups, "globx"), /in big, billing, clinics, far \(did you mean globex\?\)/);
        assert.throws(() => findTenant(groups, "billing/3"), /^Error: There is no tenant 3 in billing, according/);
        assert.throws(() => findTenant(groups, "clinics_reader"), /clinics has no role clinics_reader.*reader: true/);
    });

    test("groups are those of the state, reached as the state reaches its nodes", () => {
        const access = { host: "new", port: 1 };
        const resources = [
            { urn: "a", type: "citus-clusters:index:TenantGroup", outputs: groups[2] },
            {
                urn: "b",
                type: "citus-clusters:index:TenantGroup",
                outputs: { ...groups[0], nodes: [{ name: "coordinator", access: { host: "old" } }] },
            },
            { urn: "c", type: "citus-clusters:index:TenantGroup" },
            {
                urn: "d",
                type: "citus-clusters:index:Configuration",
                outputs: { name: "coordinator", shell: { kind: "docker" } },
            },
            { urn: "e", type: "citus-clusters:index:Member", outputs: { name: "coordinator", access } },
        ] as unknown as StateResource[];
        const found = groupsOf(resources);
        assert.deepEqual(
            found.map(({ group }) => group.name),
            ["big", "clinics"],
        );
        assert.deepEqual(found[0]?.nodes[0]?.access, access);
        // as the state is without its secrets
        const marked = { ...groups[2], nodes: { "4dabf18193072939515e22adb298388d": "secret" } };
        const encrypted = [{ ...resources[0], outputs: marked }] as unknown as StateResource[];
        assert.deepEqual(
            specsOf(encrypted).map(({ name }) => name),
            ["clinics"],
        );
    });
});

describe("a login", () => {
    const shardMap = ShardMap.from({
        format: 1,
        version: "",
        generatedAt: "",
        database: "app",
        default: "coordinator",
        nodes: { coordinator: { host: "c", port: 1 }, "worker-1": { host: "w1", port: 2 } },
        groups: {
            big: { model: "database", databases: { acme: { node: "worker-1", database: "acme" } } },
            clinics: { model: "schema", schemas: { acme: "worker-1" } },
        },
        tombstones: {},
    } satisfies ShardMapJson);
    const cluster = "postgresql://postgres:secret@host.example:5432/app?sslmode=verify-full&sslrootcert=ca.crt";
    const of = (name: string) => connectionString(cluster, findLogin(groups, name), shardMap);

    test("of a group's application", () => {
        const password = passwordOf("seed of billing", "billing_app");
        assert.equal(
            of("billing"),
            `postgresql://billing_app:${password}@host.example:5432/app?sslmode=verify-full&sslrootcert=ca.crt`,
        );
        assert.equal(of("billing_app"), of("billing"));
    });

    test("of a schema's tenant through the coordinator, of a database's at its node", () => {
        assert.match(
            of("clinics/acme"),
            /^postgresql:\/\/clinics_acme:[\w-]{32}@host\.example:5432\/app\?sslmode=verify-full/,
        );
        assert.match(of("big/acme"), /^postgresql:\/\/big_acme:[\w-]{32}@w1:2\/acme\?sslmode=verify-full/);
    });

    test("none where there is none", () => {
        assert.throws(
            () => of("clinics"),
            /each tenant has a role of its own: npm run tenants -- password clinics\/TENANT/,
        );
        assert.throws(() => of("billing/1"), /no role of its own .* npm run tenants -- password billing/);
        assert.throws(() => of("eu"), /server of its own/);
    });
});

describe("what is typed", () => {
    const question = (key: string) => QUESTIONS.find((q) => q.key === key) ?? assert.fail(key);

    test("answers", () => {
        assert.equal(readAnswer(question("tenants"), " 5_000 "), 5000);
        assert.equal(readAnswer(question("largest"), "20%"), 0.2);
        assert.equal(readAnswer(question("isolation"), "tab"), "tables");
        assert.equal(readAnswer(question("regions"), "Y"), true);
        assert.equal(readAnswer(question("regions"), "no"), false);
        assert.throws(
            () => readAnswer(question("tenants"), "many"),
            /--tenants must be a whole number such as 500, 1 at least, got "many"/,
        );
        assert.throws(() => readAnswer(question("largest"), "120"), /--largest must be a number of percent/);
        assert.throws(() => readAnswer(question("isolation"), ""), /one of policy, tables, database/);
        assert.throws(
            () => readAnswer(question("isolation"), "contractual"),
            /--isolation contractual is called otherwise now: say tables when the contract says/,
        );
        assert.throws(() => readAnswer(question("isolation"), "namespace"), /say tables$/);
        assert.throws(() => readAnswer(question("keyed"), "maybe"), /yes or no/);
        assert.throws(
            () => readAnswer(question("tenants"), "0"),
            /--tenants must be a whole number such as 500, 1 at least, got "0"/,
        );
        assert.equal(readAnswer(question("special"), "0"), 0);
    });

    test("all that is wrong with flags at once, also between them", () => {
        const flags = { tenants: "abc", largest: "400", isolation: "nonsense", keyed: "maybe", special: "3" };
        assert.throws(
            () => readFlags(flags),
            ({ message }: Error) => {
                assert.deepEqual(
                    message.split("\n").map((line) => /^--\S+ must/.exec(line)?.[0]),
                    ["--tenants must", "--largest must", "--isolation must", "--keyed must"],
                );
                return true;
            },
        );
        assert.throws(
            () => readFlags({ tenants: "300", special: "400" }),
            /^Error: --special must be at most the tenants that there are \(300\), got 400$/,
        );
        assert.throws(() => readFlags({ special: "101" }), /at most .* \(100\), got 101/);
        assert.deepEqual(readFlags({ tenants: "300", special: "300" }), { tenants: 300, special: 300 });
    });

    const command = (...args: string[]) => {
        const script = join(import.meta.dirname, "..", "..", "..", "scripts", "tenants.ts");
        const { status, stderr } = spawnSync(process.execPath, [script, ...args], { encoding: "utf8" });
        return [status, stderr.trim()];
    };

    test("a command that there is not: which there are, and which was meant", () => {
        const [code, said] = command("frobnicate");
        assert.equal(code, 2);
        assert.match(
            String(said),
            /^There is no command frobnicate; there are list, choose, .*\bapprove, .*\bexport, .*help\.\n/,
        );
        assert.match(
            String(command("exprot", "acme")[1]),
            /no command exprot \(did you mean export\?\); there are list/,
        );
        assert.match(String(command("map", "--jsno")[1]), /unknown option '--jsno'/);
    });

    test("one statement that has a plan", () => {
        assert.equal(oneStatement(" SELECT ';' ; "), "SELECT ';'");
        assert.equal(
            oneStatement("-- why\nWITH a AS (SELECT 1) SELECT * FROM a"),
            oneStatement("-- why\nWITH a AS (SELECT 1) SELECT * FROM a;"),
        );
        for (const sql of ["", "SELECT 1; SELECT 2", "SELECT 1; COMMIT; DROP TABLE users"])
            assert.throws(
                () => oneStatement(sql),
                /^Error: Exactly one statement can be explained at a time, got (none|2|3)\. Nothing was run\.$/,
            );
        for (const sql of ["DROP TABLE users", "ANALYZE SELECT 1", "COMMIT", "/* SELECT */ TRUNCATE users"])
            assert.throws(() => oneStatement(sql), /have a plan\. Nothing was run\.$/);
    });
});

test("wrong flags of choose are wrong usage", () => {
    assert.throws(
        () => readFlags({ tenants: "abc", isolation: "foo" }),
        (error) => exitCodeOf(error) === EXIT.cannotTell,
    );
});

describe("what is printed", () => {
    const tenant: ListedTenant = {
        group: "clinics",
        tenant: "acme",
        model: "schema",
        state: "active",
        place: "worker-1",
        shared: false,
        bytes: 16_384,
        rows: 12,
        activity: null,
        limits: { connections: 20, statementTimeout: "5000" },
        schema: { run: 1, of: 2, behind: ["sql/clinic/002_more.sql"] },
        inProgram: true,
        onboarded: false,
        gone: false,
    };

    test("tenants", () => {
        const text = renderTenants({ tracked: false, tenants: [tenant] });
        assert.match(
            text,
            /acme +schema +worker-1 +16 kB +~12 +not tracked +20 connections, 5 s a statement +1 of 2: waits for 002_more\.sql +active/,
        );
        assert.match(text, /citus\.stat_tenants_track/);
        const tracked = renderTenants({ tracked: true, tenants: [{ ...tenant, activity: { queries: 7, cpu: 0.5 } }] });
        assert.match(tracked, /7 in 2 min, 0\.50 s CPU/);
        assert.doesNotMatch(tracked, /stat_tenants_track/);
        assert.match(renderTenants({ tracked: false, tenants: [] }), /^No tenants/);
        const small = [{ group: "billing", of: 96, small: 64, deleted: 31, bytes: 5_000_000_000 }];
        assert.match(
            renderTenants({ tracked: false, tenants: [tenant], small, rate: 50_000_000 }),
            /^billing: 64 of 96 shards are below 1 MB \(31 of deleted tenants\)\. Citus merges no shards\. .* 5[.]00 GB are copied, about 100 s\.$/m,
        );
        assert.match(renderTenants({ tracked: false, tenants: [] }, "clinics"), /^Group clinics has no tenants\.$/);
    });

    test("tenants that are not as they should be, and what the words mean", () => {
        const row = (more: Partial<ListedTenant>) => {
            const [, line, ...rest] = renderTenants({ tracked: true, tenants: [{ ...tenant, ...more }] }).split("\n");
            return [line, rest.join("\n")] as const;
        };
        const [gone] = row({ gone: true, place: null, bytes: null, rows: null });
        assert.match(gone ?? "", /nowhere +– +– .* – +active: its schema is gone$/);
        const [dropped] = row({ gone: true, model: "database", inProgram: false });
        assert.match(dropped ?? "", /active: its database is gone, not in the program$/);
        const [left, leftLegend] = row({ inProgram: false, rows: null });
        assert.match(left ?? "", / 16 kB +\? .*active, not in the program$/);
        assert.match(
            leftLegend,
            /not in the program +the program of the last pulumi up did not name it; it stays as it is until its state is deleted/,
        );
        assert.match(leftLegend, /rows +~ is PostgreSQL's estimate, and \? means that it has none yet \(run ANALYZE\)/);
        const [old, oldLegend] = row({ state: "superseded", inProgram: false });
        assert.match(old ?? "", / superseded$/);
        assert.match(
            oldLegend,
            /superseded +its data is in another group; this old copy takes no writes and is kept until its group gives it the state deleted/,
        );
        const [database, databaseLegend] = row({ model: "database", rows: null });
        assert.match(database ?? "", / 16 kB +– /);
        assert.doesNotMatch(databaseLegend, /^rows|superseded|not in the program/m);
    });

    const sizes = { bytes: 8192, rows: 3 };
    const answer = {
        map: {
            format: 1,
            version: "",
            generatedAt: "",
            database: "app",
            default: "coordinator",
            nodes: { coordinator: { host: "c", port: 1 }, "worker-1": { host: "w1", port: 2 } },
            groups: {
                big: {
                    model: "database",
                    databases: {
                        one: { node: "worker-1", database: "one" },
                        two: { node: "worker-1", database: "two" },
                        three: { node: "coordinator", database: "three" },
                    },
                },
                clinics: { model: "schema", schemas: { acme: "worker-1" } },
            },
            tombstones: {},
        } satisfies ShardMapJson,
        tracked: false,
        groups: [
            { name: "big", model: "database", template: [] },
            { name: "clinics", model: "schema", template: [] },
        ],
        tenants: [
            ["clinics", "acme", "schema", "active", true, true],
            ["clinics", "empty", "schema", "active", true, true],
            ["clinics", "lost", "schema", "frozen", true, false],
            ["clinics", "coming", "schema", "creating", true, false],
            ["clinics", "left", "schema", "active", false, true],
            ["big", "one", "database", "active", true, true],
            ["big", "two", "database", "active", true, true],
            ["big", "three", "database", "active", true, true],
        ].map(([grp, name, model, state, inProgram, schema]) => ({
            grp,
            tenant: name,
            model,
            state,
            detail: {},
            inProgram,
            schema,
        })),
        schemas: { acme: sizes },
        ranges: {},
        // the coordinator did not answer
        databases: { "worker-1": { app: 1, one: 7_000_000 } },
        activity: {},
        roles: {},
        ran: {},
    };
    const session = (found: object): Session => ({
        node: "coordinator",
        query: async <T extends object>(sql: string) =>
            [/AS answer$/.test(sql) ? { answer: found } : { map: true }] as unknown as T[],
        certificateEnds: () => undefined,
        close: async () => undefined,
    });

    test("what is gone, and what is not in the program", async () => {
        const { tenants } = await listTenants(session(answer), { groups: ["clinics"] });
        assert.deepEqual(
            tenants.map(({ tenant: name, gone, inProgram }) => [name, gone, inProgram]),
            [
                ["one", false, false],
                ["three", false, false],
                ["two", true, false],
                ["acme", false, true],
                ["coming", false, true],
                ["empty", false, true],
                ["left", false, false],
                ["lost", true, true],
            ],
        );
        const all = (await listTenants(session(answer))).tenants;
        assert.deepEqual(
            all.filter(({ inProgram }) => !inProgram).map(({ tenant: name }) => name),
            ["left"],
        );
    });

    test("one group, and none of that name", async () => {
        const names = async (group: string) =>
            (await listTenants(session(answer), { group })).tenants.map(({ tenant: name }) => name);
        assert.deepEqual(await names("big"), ["one", "three", "two"]);
        await assert.rejects(names("bogus"), /^Error: There is no group bogus; there are big, clinics\.$/);
        await assert.rejects(names("clinic"), /no group clinic \(did you mean clinics\?\); there are big, clinics/);
        await assert.rejects(
            listTenants({ ...session(answer), query: async () => [{ map: false }] as never }, { group: "big" }),
            /There is no group big: this cluster has no groups of tenants/,
        );
    });

    test("a choice, with what speaks against each of the others", () => {
        const text = renderChoice(choose({ ...DEFAULTS, isolation: "database", tenants: 200 }));
        assert.match(text, /^Recommended: database\n/);
        for (const model of ["rls", "row", "schema"]) assert.match(text, new RegExp(`\\n  ${model} +can't do it: `));
        assert.match(
            renderChoice(choose({ ...DEFAULTS, isolation: "database", tenants: 5000 })),
            /^No model does all of that well\. The least bad: database\n\nways out\n {2}a mixture: .*\n {2}or give this up first: --workers 2 → 17\. Then database fits\./,
        );
        assert.match(
            renderChoice(choose({ ...DEFAULTS, tenants: 300, oneServer: false, skill: "citus" })),
            /^Recommended: row \(as much speaks for schema\)\n/,
        );
        assert.match(
            renderChoice(choose({ ...DEFAULTS, tenants: 1, largest: 1, oneServer: false })),
            /^The largest tenant: no model helps the largest tenant/,
        );
    });

    test("advice and findings", () => {
        assert.equal(
            renderAdvice({ verdict: "all", tasks: 32, says: ["All."], fix: ["Add it."] }),
            "every shard · 32 tasks\n\nAll.\n\nto make it one shard\n  Add it.",
        );
        const text = renderFindings(
            [
                {
                    rule: "L1",
                    severity: "error",
                    where: "a.sql",
                    line: 3,
                    says: "no key",
                    later: "can't",
                    fix: "one\ntwo",
                },
            ],
            "1 file",
        );
        assert.match(
            text,
            /^ERROR L1 {2}a\.sql:3 {2}no key\n {2}later {4}can't\n {2}instead {2}one\n {11}two\n\n1 file: 1 error, 0 warnings$/,
        );
    });
});

test("shards that a deleted tenant left are counted, and a group that is only small is not", () => {
    const key = "hashint8";
    const own = String(hashOf(key, "42"));
    const found = { of: 66, small: 2, bytes: 900_000_000, alone: { [own]: 2, 17: 2 }, buried: ["42", "43"] };
    assert.deepEqual(smallShards("billing", found, key), {
        group: "billing",
        of: 66,
        small: 2,
        deleted: 2,
        bytes: 900_000_000,
    });
    assert.equal(smallShards("billing", { ...found, buried: ["43"] }, key), undefined);
    assert.equal(smallShards("new", { of: 64, small: 64, bytes: 500_000, alone: {}, buried: [] }, key), undefined);
    assert.equal(smallShards("skewed", { of: 64, small: 60, bytes: 9e9, alone: {}, buried: [] }, key)?.small, 60);
});
