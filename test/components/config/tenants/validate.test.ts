import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { describe, test } from "vitest";
import type { TenantGroupSettings } from "../../../../components/config/tenants/args.ts";
import {
    specOf as fileSpecOf,
    type ProjectFiles,
    readOnce,
    textOf,
} from "../../../../components/config/tenants/project.ts";
import { groupValidator, validateGroups } from "../../../../components/config/tenants/validate.ts";

const FILES: Readonly<Record<string, string>> = {
    "sql/clinic/2.sql": "ALTER TABLE patients ADD COLUMN born date;",
    "sql/clinic/10.sql": "CREATE INDEX ON patients (born);",
    "sql/squashed.sql": "CREATE TABLE patients (born date);",
    "tenants.json": '{"acme": {"node": "worker-1"}}',
    "names.json": '["acme", "globex"]',
    "broken.json": "{",
    "snowflakes.json": '["9007199254740993", 42]',
    "rounded.json": "[9007199254740993, 42, 1.5, 1e21]",
    "twice.json": '{"acme": {"state": "frozen"}, "globex": {"values": {"name": "{\\"acme\\": 1}"}}, "acme": {}}',
    "values.json": '{"1": {"values": {"ref": 9007199254740993, "ratio": 0.1, "n": 42, "price": 1.50}}}',
};
const files: ProjectFiles = {
    find: (pattern) =>
        pattern === "sql/clinic/*.sql"
            ? ["sql/clinic/2.sql", "sql/clinic/10.sql"]
            : Object.keys(FILES).filter((f) => f === pattern),
    read: (path) => {
        const content = FILES[path];
        if (content === undefined) throw new Error(`no such file: ${path}`);
        return content;
    },
};
const nodes = ["coordinator", "worker-1", "worker-2"];
const check = (groups: unknown) => validateGroups(groups, { database: "main", files, nodes });
const specOf = (group: unknown) => {
    const { groups, mistakes } = check({ g: group });
    assert.deepEqual(mistakes, []);
    const [spec] = groups;
    assert.ok(spec);
    return spec;
};
/** Paths of the mistakes, without the group's. */
const wrongIn = (group: unknown) => check({ g: group }).mistakes.map(({ path }) => path.replace("tenantGroups.g.", ""));

const ROW = {
    model: "row",
    anchor: "companies",
    tables: { companies: { distributeBy: "id" }, users: { distributeBy: "company_id" }, plans: { reference: true } },
};

describe("files however they were checked out", () => {
    const text = "CREATE TABLE t (i int);\nSELECT 1;\n";
    const hash = (content: string) => createHash("sha256").update(content).digest("hex");

    test("are the same, and have the hashes that earlier versions wrote down", () => {
        const unix = fileSpecOf("a.sql", text);
        const windows = text.replaceAll("\n", "\r\n");
        assert.equal(unix.sha256, hash(text));
        for (const content of [windows, `\uFEFF${text}`, `\uFEFF${windows}`]) {
            const spec = fileSpecOf("a.sql", content);
            assert.equal(spec.sha256, unix.sha256);
            assert.ok(spec.also?.includes(hash(content)));
            assert.equal(textOf(content), text);
        }
        assert.deepEqual(unix.also, [hash(windows)]);
        assert.deepEqual(fileSpecOf("a.sql", "SELECT 1"), { path: "a.sql", sha256: hash("SELECT 1") });
    });
});

describe("groups that are right", () => {
    test("a rollout and a baseline", () => {
        const spec = specOf({
            model: "schema",
            template: "sql/clinic/*.sql",
            tenants: ["acme", "globex"],
            rollout: { canary: ["globex"], pause: "1h", approve: true, parallel: 4 },
            baseline: { files: "sql/squashed.sql", upTo: "sql/clinic/2.sql" },
            outOfOrder: true,
        });
        assert.deepEqual(spec.rollout, { canary: ["globex"], part: 0.1, pause: 3_600_000, approve: true, parallel: 4 });
        assert.equal(spec.baseline?.upTo, "sql/clinic/2.sql");
        assert.deepEqual(
            spec.baseline?.files.map(({ path }) => path),
            ["sql/squashed.sql"],
        );
        assert.equal(spec.outOfOrder, true);
    });

    test("none are given", () => {
        for (const nothing of [undefined, {}, "{}"])
            assert.deepEqual(nothing === "{}" ? check({}).groups : check(nothing).groups, []);
    });

    test("a row group: tables, and what node and limits bring with them", () => {
        const spec = specOf({
            ...ROW,
            tenants: { 1: {}, 2: { node: "worker-2" }, 3: { limits: { connections: 5, statementTimeout: "2s" } } },
        });
        assert.deepEqual(spec.tables, {
            companies: { kind: "distributed", column: "id" },
            users: { kind: "distributed", column: "company_id" },
            plans: { kind: "reference" },
        });
        assert.deepEqual(spec.tenants, {
            1: {},
            2: { node: "worker-2", isolate: true },
            3: { limits: { connections: 5, statementTimeout: 2000 }, role: true },
        });
        assert.equal(spec.rowSecurity, true);
    });

    test("a pool is as the program says; without a word its model decides", () => {
        const pools = [undefined, true, false].map((pool) =>
            specOf({ model: "database", tenants: ["acme"], ...(pool === undefined ? {} : { pool }) }),
        );
        assert.deepEqual(
            pools.map((spec) => spec.pool),
            [undefined, true, false],
        );
    });

    test("a schema group: files in the order of their numbers, a role for each tenant", () => {
        const spec = specOf({ model: "schema", template: "sql/clinic/*.sql", tenants: ["acme", "globex"] });
        assert.deepEqual(
            spec.template.map(({ path }) => path),
            ["sql/clinic/2.sql", "sql/clinic/10.sql"],
        );
        assert.match(spec.template[0]?.sha256 ?? "", /^[0-9a-f]{64}$/);
        assert.deepEqual(spec.tenants, { acme: { role: true }, globex: { role: true } });
        assert.deepEqual([spec.lockTimeout, spec.rollout], [5000, { canary: 1, part: 0.1 }]);
    });

    test("whole numbers are keys, and digits that JavaScript keeps are values, as they are written", () => {
        assert.deepEqual(Object.keys(specOf({ ...ROW, tenants: "snowflakes.json" }).tenants).sort(), [
            "42",
            "9007199254740993",
        ]);
        assert.deepEqual(Object.keys(specOf({ ...ROW, tenants: [7, Number.MAX_SAFE_INTEGER] }).tenants), [
            "7",
            "9007199254740991",
        ]);
        assert.deepEqual(specOf({ ...ROW, tenants: { 1: { values: { ratio: 0.1, n: -3, ok: true } } } }).tenants[1], {
            values: { ratio: 0.1, n: -3, ok: true },
        });
    });

    test("tenants from a JSON file, as a map or a list", () => {
        assert.deepEqual(specOf({ model: "schema", tenants: "tenants.json" }).tenants, {
            acme: { node: "worker-1", role: true },
        });
        assert.deepEqual(Object.keys(specOf({ model: "schema", tenants: "names.json" }).tenants), ["acme", "globex"]);
    });

    test("routed tenants, and data that is taken from another group", () => {
        assert.deepEqual(specOf({ model: "routed", tenants: { eu: { host: "eu.example.com" } } }).tenants.eu, {
            host: "eu.example.com",
            port: 5432,
            database: "eu",
        });
        assert.deepEqual(specOf({ model: "schema", tenants: { acme: { from: "billing/a/b" } } }).tenants.acme?.from, {
            group: "billing",
            tenant: "a/b",
        });
    });
});

describe("mistakes, each with its path", () => {
    const cases: readonly [what: string, group: unknown, paths: readonly string[]][] = [
        ["no model", { tenants: {} }, ["model"]],
        ["an unknown model", { model: "silo" }, ["model"]],
        ["an unknown key", { model: "schema", tenant: {} }, ["tenantGroups.g"]],
        ["a row group without an anchor", { model: "row", tables: ROW.tables }, ["anchor"]],
        ["an anchor that is no table of the group", { ...ROW, anchor: "firms" }, ["anchor"]],
        [
            "a table that is two things",
            { ...ROW, tables: { ...ROW.tables, x: { local: true, reference: true } } },
            ["tables.x"],
        ],
        ["a table that is nothing", { ...ROW, tables: { ...ROW.tables, x: {} } }, ["tables.x"]],
        [
            "shards of a table that is not the anchor",
            { ...ROW, tables: { ...ROW.tables, users: { distributeBy: "c", shardCount: 4 } } },
            ["tables.users.shardCount"],
        ],
        ["tables of schemas", { model: "schema", tables: ROW.tables }, ["tables"]],
        ["a node that is not there", { model: "schema", tenants: { a: { node: "worker-7" } } }, ["tenants.a.node"]],
        ["a node that is no node", { model: "schema", tenants: { a: { node: "node1" } } }, ["tenants.a.node"]],
        ["isolated schemas", { model: "schema", tenants: { a: { isolate: true } } }, ["tenants.a.isolate"]],
        [
            "a node for rows that are not isolated",
            { ...ROW, tenants: { 1: { node: "worker-1", isolate: false } } },
            ["tenants.1.isolate"],
        ],
        [
            "schemas of PostgreSQL's own",
            { model: "schema", tenants: { public: {}, pg_x: {}, "Ac-me": {} } },
            ["tenants.public", "tenants.pg_x", "tenants.Ac-me"],
        ],
        ["the cluster's own database", { model: "database", tenants: { main: {} } }, ["tenants.main"]],
        ["a routed tenant without a host", { model: "routed", tenants: { a: {} } }, ["tenants.a.host"]],
        ["a host for a schema", { model: "schema", tenants: { a: { host: "x" } } }, ["tenants.a.host"]],
        [
            "limits that are none",
            { model: "schema", tenants: { a: { limits: { connections: -1, statementTimeout: "soon" } } } },
            ["tenants.a.limits.connections", "tenants.a.limits.statementTimeout"],
        ],
        ["the list of deleted tenants of before", { model: "schema", tenants: { a: {} }, delete: ["a"] }, ["delete"]],
        [
            "a frozen tenant elsewhere",
            { model: "routed", tenants: { a: { host: "h", state: "frozen" } } },
            ["tenants.a.state"],
        ],
        ["an entry of a list without a name", { model: "schema", tenants: ["a", { state: "frozen" }] }, ["tenants[1]"]],
        ["a tenant twice in both ways", { model: "schema", tenants: ["a", { name: "a" }] }, ["tenants"]],
        [
            "policies that are always on",
            { ...ROW, model: "rls", rowSecurity: false, tables: { companies: { distributeBy: "id" } } },
            ["rowSecurity"],
        ],
        [
            "files outside the project",
            { model: "schema", template: ["/etc/x.sql", "../x.sql"] },
            ["template[0]", "template[1]"],
        ],
        ["a pattern that means nothing", { model: "schema", template: "sql/none/*.sql" }, ["template"]],
        ["a file that is no JSON", { model: "schema", tenants: "broken.json" }, ["tenants"]],
        ["a file that is not there", { model: "schema", tenants: "none.json" }, ["tenants"]],
        [
            "numbers in a file that would name other tenants",
            { ...ROW, tenants: "rounded.json" },
            ["tenants[0]", "tenants[2]", "tenants[3]"],
        ],
        [
            "numbers in the program",
            { ...ROW, tenants: [2 ** 53, 1.5, 1e21, -0, Number.NaN, 3] },
            [0, 1, 2, 3, 4].map((i) => `tenants[${i}]`),
        ],
        ["a tenant twice in a file", { model: "schema", tenants: "twice.json" }, ["tenants"]],
        [
            "a file's values that lose digits",
            { ...ROW, tenants: "values.json" },
            ["tenants.1.values.ref", "tenants.1.values.price"],
        ],
        [
            "values that lose digits",
            { ...ROW, tenants: { 1: { values: { ref: 2 ** 53, big: 1e21 } } } },
            ["tenants.1.values.ref", "tenants.1.values.big"],
        ],
        ["a name that JavaScript keeps for itself", { ...ROW, tenants: ["__proto__"] }, ["tenants"]],
        ["a tenant twice", { model: "schema", tenants: ["a", "a"] }, ["tenants"]],
        [
            "a role's name that is too long",
            {
                model: "row",
                anchor: "c",
                tables: { c: { distributeBy: "id" } },
                tenants: { ["x".repeat(62)]: { role: true } },
            },
            [`tenants.${"x".repeat(62)}`],
        ],
        [
            "roles of tenants without policies",
            { ...ROW, rowSecurity: false, tenants: { 1: { role: true } } },
            ["rowSecurity"],
        ],
        [
            "a role that is the group's own",
            { model: "schema", tenants: { app: {}, tenants: {} } },
            ["tenants.app", "tenants.tenants"],
        ],
        ["a rollout that is no part", { model: "schema", rollout: { part: 3 } }, ["rollout.part"]],
        [
            "a rollout with strange waits",
            { model: "schema", rollout: { canary: -1, pause: "a while", approve: "yes", parallel: 100 } },
            ["rollout.canary", "rollout.pause", "rollout.approve", "rollout.parallel"],
        ],
        ["canaries that are no tenants", { model: "schema", rollout: { canary: ["acme"] } }, ["rollout.canary"]],
        ["a rollout of files that run once", { ...ROW, rollout: { canary: 2 } }, ["rollout"]],
        [
            "a baseline that is one of the template's, up to none",
            {
                model: "schema",
                template: "sql/clinic/*.sql",
                baseline: { files: "sql/clinic/2.sql", upTo: "sql/clinic/3.sql" },
            },
            ["baseline.files", "baseline.upTo"],
        ],
        [
            "a baseline without files",
            { model: "schema", template: "sql/clinic/*.sql", baseline: { upTo: "sql/clinic/2.sql" } },
            ["baseline.files"],
        ],
    ];
    for (const [what, group, paths] of cases)
        test(what, () => {
            const found = wrongIn(group);
            assert.deepEqual(found, paths);
            assert.ok(check({ g: group }).mistakes.every(({ message }) => message.length > 15));
        });

    test("all of them at once, in all groups", () => {
        const { mistakes } = check({
            "Not a name": { model: "schema" },
            one: { model: "schema", tenants: { acme: {} } },
            two: { model: "schema", tenants: { acme: {}, "B!": {} } },
        });
        assert.deepEqual(
            mistakes.map(({ path }) => path),
            ["tenantGroups.Not a name", "tenantGroups.two.tenants.B!", "tenantGroups.two.tenants.acme"],
        );
    });

    test("two groups whose roles would be one", () => {
        const { mistakes } = check({
            a: { model: "schema", tenants: { b_c: {}, b_app: {} } },
            a_b: { model: "row", anchor: "x", tables: { x: { distributeBy: "id" } }, tenants: { c: { role: true } } },
        });
        assert.deepEqual(
            mistakes.map(({ path }) => path),
            ["tenantGroups.a_b", "tenantGroups.a_b.tenants.c"],
        );
        assert.match(mistakes[0]?.message ?? "", /a_b_app, and so does tenant b_app of group a/);
    });

    test("a tenant's life is one fact, in a map and in a list", () => {
        const lives = { acme: {}, globex: { state: "frozen" }, initech: { state: "deleted", node: "worker-9" } };
        const list = Object.entries(lives).map(([name, life]) => ({ name, ...life }));
        for (const tenants of [lives, list, ["acme", ...list.slice(1)]]) {
            const { groups, mistakes } = check({ clinics: { model: "schema", tenants } });
            assert.deepEqual(mistakes, []);
            assert.deepEqual(groups[0]?.tenants, { acme: { role: true }, globex: { role: true, frozen: true } });
            assert.deepEqual(groups[0]?.delete, ["initech"]);
        }
    });

    test("deletions as they were written before say how they are written now", () => {
        assert.match(
            check({ g: { model: "schema", delete: ["acme"] } }).mistakes[0]?.message ?? "",
            /write under tenants: \{"acme":\{"state":"deleted"\}\}/,
        );
    });

    test("what one group takes another does not delete in the same program", () => {
        const { mistakes } = check({
            billing: { ...ROW, tenants: { "17": { state: "deleted" } } },
            clinics: { model: "schema", tenants: { acme: { from: "billing/17" }, globex: { from: "billing/18" } } },
        });
        assert.deepEqual(
            mistakes.map(({ path }) => path),
            ["tenantGroups.clinics.tenants.acme.from"],
        );
    });

    const sayings = (group: unknown, more: object = {}) =>
        validateGroups(
            { g: group },
            { database: "main", files, nodes: ["coordinator", "worker-2", "worker-3"], ...more },
        ).mistakes.map(({ path, message }) => `${path.replace("tenantGroups.g.", "")} ${message}`);

    test("a node that workers or retire leave out, with what a pinned tenant needs before; the coordinator only where it takes shards", () => {
        const on = (node: string) => ({ model: "schema", tenants: { acme: { node } } });
        const unpin =
            "If that node is to leave: it can't while a tenant is pinned to it. First run pulumi up once with another node, or none, and with workers and retire as they were";
        assert.deepEqual(sayings(on("worker-1")), [
            `tenants.acme.node must be one of worker-2, worker-3, got "worker-1", which workers and retire leave out - ${unpin}`,
        ]);
        assert.deepEqual(sayings(on("worker-4"), { coordinatorShards: true }), [
            `tenants.acme.node must be one of coordinator, worker-2, worker-3, got "worker-4", which workers and retire leave out - ${unpin}`,
        ]);
        assert.deepEqual(sayings({ model: "database", tenants: { acme: { node: "worker-1" } } }), [
            'tenants.acme.node must be one of coordinator, worker-2, worker-3, got "worker-1", which workers and retire leave out',
        ]);
        assert.deepEqual(sayings(on("worker-1"), { nodes: ["coordinator"] }), [
            `tenants.acme.node must be one of coordinator, got "worker-1", which workers and retire leave out - ${unpin}`,
        ]);
        // said by preview, with what is true of the cluster
        assert.deepEqual(sayings(on("coordinator")), []);
    });

    test("names that do not do: what they must be, and what was got", () => {
        const [one, two] = sayings({ model: "schema", tenants: { "1a": {}, 42: {} } }).sort();
        assert.match(
            one ?? "",
            /^tenants\.1a must be a schema's name: lower-case letters, digits and underscores, not beginning with a digit, 48 at most, and none of .* own, got "1a"$/,
        );
        assert.match(two ?? "", /^tenants\.42 must be .* got "42"$/);
        assert.match(
            check({ "Not a name": { model: "schema" } }).mistakes[0]?.message ?? "",
            /31 at most, got "Not a name"$/,
        );
        assert.match(
            sayings({ ...ROW, tenants: { "": {} } })[0] ?? "",
            /must be a key of 1 to 500 characters without line breaks, got ""$/,
        );
        const address = `${"a".repeat(80)}@example.com`;
        assert.deepEqual(sayings({ ...ROW, tenants: { [address]: {} } }), []);
        assert.match(
            sayings({ ...ROW, tenants: { [address]: { role: true } } })[0] ?? "",
            /longer than PostgreSQL's 63 bytes - choose a shorter name, or take role and limits away/,
        );
    });

    test("a number that would be rounded is told as it is written, with what to write", () => {
        assert.deepEqual(sayings({ ...ROW, tenants: "rounded.json" }).slice(0, 1), [
            'tenants[0] is a number that JavaScript does not keep as it is written, got 9007199254740993 - write the key as a text: "9007199254740993"',
        ]);
        assert.match(
            sayings({ ...ROW, tenants: "values.json" })[0] ?? "",
            /got 9007199254740993 - write it as a text: "9007199254740993"$/,
        );
        assert.match(
            sayings({ model: "schema", tenants: "twice.json" })[0] ?? "",
            /: has "acme" twice, and only the last of them would count$/,
        );
    });

    test("a key with a slip says which was meant", () => {
        assert.match(
            sayings({ model: "schema", templete: "x.sql" })[0] ?? "",
            /has no "templete" \(did you mean template\?\); it has model, /,
        );
        assert.match(
            sayings({ model: "schema", tenants: { acme: { nod: 3 } } })[0] ?? "",
            /has no "nod" \(did you mean node\?\); it has /,
        );
        assert.match(
            sayings({ ...ROW, tables: { companies: { distributedBy: "id" } } })[0] ?? "",
            /has no "distributedBy" \(did you mean distributeBy\?\); it has distributeBy, reference, local, ignore, shardCount/,
        );
        assert.match(sayings({ model: "schema", zzzzzz: 1 })[0] ?? "", /has no "zzzzzz"; it has model, /);
    });

    test("a slip in a program is one of its types too, which npm run check looks at", () => {
        // @ts-expect-error: no such model
        const model: TenantGroupSettings = { model: "schemas" };
        // @ts-expect-error: no such key
        const key: TenantGroupSettings = { model: "schema", tenants: { acme: { nod: 3 } } };
        // @ts-expect-error: a schema has no table of tenants
        const anchor: TenantGroupSettings = { model: "schema", anchor: "companies" };
        // @ts-expect-error: a routed tenant has no state in this cluster
        const host: TenantGroupSettings = { model: "row", anchor: "companies", tenants: { a: { host: "h" } } };
        assert.deepEqual([model, key, anchor].map(wrongIn), [["model"], ["tenants.acme"], ["anchor"]]);
        assert.ok(wrongIn(host).includes("tenants.a.host"));
    });

    test("a pattern that finds nothing", () => {
        assert.deepEqual(sayings({ model: "schema", template: "sql/none/*.sql" }), [
            'template finds no file in this project, got "sql/none/*.sql" - it is looked for from the folder of Pulumi.yaml',
        ]);
    });

    test("groups that are no map", () => {
        for (const given of ["billing", 3, ["x"]])
            assert.deepEqual(
                check(given).mistakes.map(({ path }) => path),
                ["tenantGroups"],
            );
    });
});

describe("exports that a person made", () => {
    const sha256 = "a".repeat(64);
    const read = (life: Record<string, unknown>) =>
        validateGroups({ clinics: { model: "schema", tenants: { acme: life } } }, { database: "app" });

    test("are of deleted tenants, as a file or an address", () => {
        const { groups, mistakes } = read({ state: "deleted", export: { file: "acme.sql.gz", sha256 } });
        assert.deepEqual(mistakes, []);
        assert.deepEqual(groups[0]?.given, { acme: { file: "acme.sql.gz", sha256 } });
        const url = "s3://bucket/acme.sql.gz";
        assert.equal(read({ state: "deleted", export: { url, sha256 } }).groups[0]?.given?.acme?.file, url);
    });

    test("are refused elsewhere, with what is wrong", () => {
        const wrong = (life: Record<string, unknown>) =>
            read(life)
                .mistakes.map(({ path, message }) => `${path}: ${message}`)
                .join();
        assert.match(
            wrong({ export: { file: "a", sha256 } }),
            /tenants.acme.export: is for a tenant whose state is deleted/,
        );
        assert.match(wrong({ state: "deleted", export: { sha256 } }), /exactly one of file and url/);
        assert.match(wrong({ state: "deleted", export: { file: "a", sha256: "b" } }), /sha256/);
    });
});

test("groups that come one after the other are each checked once, and their files read once", () => {
    const asked: string[] = [];
    const validate = groupValidator({
        database: "main",
        nodes,
        files: readOnce({
            find: (pattern) => {
                asked.push(pattern);
                return files.find(pattern);
            },
            read: (path) => {
                asked.push(path);
                return files.read(path);
            },
        }),
    });
    let looked = 0;
    const group = (i: number) => ({
        model: "schema",
        template: "sql/clinic/*.sql",
        get tenants() {
            looked++;
            return [`tenant_${i}`];
        },
    });
    let groups: Record<string, unknown> = {};
    for (let i = 0; i < 50; i++) {
        groups = { ...groups, [`g${i}`]: group(i) };
        const { groups: specs, mistakes } = validate(groups);
        assert.deepEqual(mistakes, []);
        assert.equal(specs.length, i + 1);
    }
    assert.deepEqual(asked.sort(), ["sql/clinic/*.sql", "sql/clinic/10.sql", "sql/clinic/2.sql"]);
    const once = looked / 50;
    assert.ok(once < 10, `each group's tenants were looked at ${once} times`);
    // what groups are together is asked of all, each time
    const clash = validate({ ...groups, last: group(0) });
    assert.deepEqual(
        clash.mistakes.map(({ path }) => path),
        ["tenantGroups.last.tenants.tenant_0"],
    );
    // a group that was changed is another
    const mended = validate({ ...groups, last: group(50) });
    assert.deepEqual([mended.mistakes, mended.groups.length], [[], 51]);
});

test("what is wrong in one place hides nothing that is wrong in another", () => {
    const group = (more: object) =>
        check({
            shop: {
                model: "row",
                anchor: "companies",
                tables: { companies: { distributeBy: "id" } },
                tenants: { 1: {}, 2: { node: "worker-9" } },
                ...more,
            },
        })
            .mistakes.map(({ path }) => path.replace("tenantGroups.shop.", ""))
            .sort();
    assert.deepEqual(group({}), ["tenants.2.node"]);
    assert.deepEqual(group({ lockTimeout: "soon", signIn: "companys.email" }), [
        "lockTimeout",
        "signIn",
        "tenants.2.node",
    ]);
    assert.deepEqual(group({ tenants: { 1: { state: "asleep" }, 2: { node: "worker-9" } } }), [
        "tenants.1.state",
        "tenants.2.node",
    ]);
    // what others refer to is not there to be referred to
    assert.deepEqual(group({ tables: { companies: { distributeBy: 1 } } }), ["tables.companies.distributeBy"]);
});
