/** The reader of all tenants and sign-in: what may be written, and what there is to do. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { describe, test } from "vitest";
import { validateGroups } from "../../../../components/config/tenants/validate.ts";
import type { GroupSpec } from "../../../../core/tenants/group/spec.ts";
import { bodyOf, type FoundSignIn, signIn } from "../../../../core/tenants/map/signIn.ts";
import type { FoundRole } from "../../../../core/tenants/roles/extraRole.ts";
import { type FoundReader, reader } from "../../../../core/tenants/roles/reader.ts";

const mistakes = (group: object) =>
    validateGroups({ billing: group }, { database: "app" }).mistakes.map(({ path, message }) => `${path} ${message}`);

const row = {
    model: "row",
    anchor: "companies",
    tables: {
        companies: { distributeBy: "id" },
        "app.users": { distributeBy: "company_id" },
        plans: { reference: true },
    },
};

describe("what may be written", () => {
    test("a column of one of the tables of tenants", () => {
        const { groups, mistakes: none } = validateGroups(
            { billing: { ...row, reader: true, signIn: "app.users.email" } },
            { database: "app" },
        );
        assert.deepEqual(none, []);
        assert.deepEqual([groups[0]?.reader, groups[0]?.signIn], [true, { table: "app.users", column: "email" }]);
        assert.match(
            mistakes({ ...row, signIn: "app.user.email" }).join(),
            /signIn must be a column of one of tables .*did you mean app\.users\?/,
        );
        assert.match(
            mistakes({ ...row, signIn: "plans.name" }).join(),
            /signIn must be a column of one of tables with distributeBy/,
        );
        assert.match(mistakes({ ...row, signIn: "email" }).join(), /signIn must be a column as "table\.column"/);
    });

    test("only where it means something", () => {
        const template = "sql/x.sql";
        assert.match(
            mistakes({ model: "schema", template, signIn: "a.b" }).join(),
            /signIn means nothing in model schema/,
        );
        assert.match(
            mistakes({ model: "database", template, reader: true }).join(),
            /reader means nothing in model database: no query reads several/,
        );
        assert.match(mistakes({ model: "routed", reader: true }).join(), /reader means nothing in model routed/);
        assert.deepEqual(mistakes({ model: "schema", reader: true }), []);
    });

    test("no tenant is called as one of the roles", () => {
        const tenants = { reader: {}, sign_in: {} };
        assert.deepEqual(mistakes({ ...row, tenants }), []);
        const both = mistakes({ ...row, reader: true, signIn: "app.users.email", tenants }).join("\n");
        assert.match(
            both,
            /tenants\.reader can't be a tenant's name beside reader: true, which makes the role billing_reader/,
        );
        assert.match(both, /tenants\.sign_in can't be a tenant's name beside signIn/);
        assert.match(
            mistakes({ ...row, reader: true, tenants: { reader: { state: "deleted" } } }).join(),
            /tenants\.reader/,
        );
    });

    test("two groups do not make the same role", () => {
        const { mistakes: found } = validateGroups(
            {
                a: { ...row, reader: true },
                a_reader: { model: "schema", tenants: {} },
                b: { model: "schema", tenants: {} },
            },
            { database: "app" },
        );
        assert.deepEqual(found, []);
    });
});

const group: GroupSpec = {
    name: "billing",
    model: "row",
    anchor: "companies",
    tables: { companies: { kind: "distributed", column: "id" }, users: { kind: "distributed", column: "company_id" } },
    template: [],
    tenants: {},
    delete: [],
    allow: [],
    rowSecurity: true,
    rollout: { canary: 1, part: 0.1 },
    lockTimeout: 5000,
};

const role = (more: Partial<FoundRole> = {}): FoundRole => ({
    login: true,
    bypass: true,
    elevated: false,
    secret: "12345678",
    comment: "citus_as_code billing mark 12345678",
    settings: ["default_transaction_read_only=on"],
    differing: [],
    ...more,
});

describe("the reader", () => {
    const found = (more: Partial<FoundReader> = {}): FoundReader => ({
        mark: "mark",
        role: role(),
        readable: [
            { name: "companies", reads: true, more: false },
            { name: "users", reads: true, more: false },
        ],
        ...more,
    });
    const of = (more: Partial<FoundReader>, spec: GroupSpec = { ...group, reader: true }) => {
        const { steps, refusals } = reader.plan(spec, found(more), {});
        return [...steps.map(({ kind, text }) => `${kind} ${text}`), ...(refusals ?? [])];
    };

    test("nothing to do", () => {
        assert.deepEqual(of({}), []);
        assert.deepEqual(of({ role: null, readable: [] }, group), []);
        assert.deepEqual(of({ role: role({ comment: "somebody's" }) }, group), [], "another's is left alone");
    });

    test("what is missing, and what is too much", () => {
        assert.match(of({ role: null }).join(), /reader\.role group billing: make role billing_reader/);
        assert.match(of({ role: role({ bypass: false }) }).join(), /reads past policies/);
        assert.match(of({ role: role({ comment: "citus_as_code billing older 12345678" }) }).join(), /\(password\)/);
        assert.match(of({ role: role({ differing: ["worker-1.x"] }) }).join(), /not the same on worker-1\.x/);
        assert.match(
            of({ readable: [{ name: "users", reads: true, more: true }] }).join(),
            /reader\.grant users: billing_reader may read it and no more/,
        );
        assert.match(
            of({ readable: [{ name: "users", reads: false, more: false }] }).join(),
            /users: billing_reader may read it$/,
        );
    });

    test("a role that somebody else made is refused", () =>
        assert.match(
            of({ role: role({ comment: null }) }).join(),
            /there is a role billing_reader that this group did not make/,
        ));

    test("is shut when it is not in the program, until nothing of it is left", () => {
        assert.match(of({}, group).join(), /reader\.shut .*may not log in and read any more/);
        const out = role({ login: false, bypass: false, secret: null });
        assert.match(of({ role: out }, group).join(), /reader\.shut/, "it may read still");
        assert.deepEqual(of({ role: out, readable: [{ name: "users", reads: false, more: false }] }, group), []);
    });

    test("policies bind it in schema, where there are none", () => {
        const schema: GroupSpec = { ...group, model: "schema", reader: true };
        assert.deepEqual(
            of({ role: role({ bypass: false }), readable: [{ name: "acme", reads: true, more: false }] }, schema),
            [],
        );
    });
});

describe("sign-in", () => {
    const spec: GroupSpec = { ...group, signIn: { table: "users", column: "email" } };
    const equals = "OPERATOR(pg_catalog.=)";
    const column = { type: "text", equals, index: true };
    const md5 = signInMd5();
    const found = (more: Partial<FoundSignIn> = {}): FoundSignIn => ({
        table: true,
        column,
        role: role({ secret: null, comment: "citus_as_code billing ", settings: [] }),
        rights: ["users.company_id SELECT", "users.email SELECT"],
        made: { body: md5, args: "text", owner: "billing_sign_in", may: ["billing_app"] },
        ...more,
    });
    function signInMd5(): string {
        const { steps } = signIn.plan(spec, { table: true, column, role: null, rights: [], made: null }, {});
        assert.equal(steps.length, 2);
        return createHash("md5")
            .update(bodyOf(spec, { table: "users", column: "email" }, equals))
            .digest("hex");
    }
    const of = (more: Partial<FoundSignIn>, wanted: GroupSpec = spec) => {
        const { steps, refusals } = signIn.plan(wanted, found(more), {});
        return [...steps.map(({ kind }) => kind), ...(refusals ?? [])];
    };

    test("nothing to do", () => assert.deepEqual(of({}), []));

    test("before the table is there, all of it", () =>
        assert.deepEqual(of({ table: false, column: null, role: null, rights: [], made: null }), [
            "signIn.role",
            "signIn.index",
            "signIn.set",
        ]));

    test("each thing that differs", () => {
        const made = found().made;
        assert.ok(made);
        for (const other of [
            { body: "x" },
            { args: "character varying" },
            { owner: "postgres" },
            { may: ["PUBLIC", "billing_app"] },
            { may: [] },
        ])
            assert.deepEqual(of({ made: { ...made, ...other } }), ["signIn.set"], JSON.stringify(other));
        assert.deepEqual(of({ rights: ["users.* SELECT", "users.company_id SELECT", "users.email SELECT"] }), [
            "signIn.set",
        ]);
        assert.deepEqual(of({ column: { ...column, index: false } }), ["signIn.index"]);
        assert.deepEqual(of({ role: role({ secret: "12345678", comment: "citus_as_code billing ", settings: [] }) }), [
            "signIn.role",
        ]);
    });

    test("what can't be is refused with the way out", () => {
        assert.match(of({ column: null }).join(), /signIn names users\.email, and users has no such column/);
        assert.match(of({ column: { ...column, equals: null, type: "json" } }).join(), /type json can't be compared/);
        assert.match(
            of({ role: role({ comment: "another's" }) }).join(),
            /role billing_sign_in that this group did not make/,
        );
    });

    test("goes when the program says so, and nobody else's role does", () => {
        assert.deepEqual(of({}, group), ["signIn.remove"]);
        assert.deepEqual(of({ made: null, role: null }, group), []);
        assert.deepEqual(of({ made: null, role: role({ comment: "another's" }) }, group), []);
    });

    test("no name or key gets into the text of the function but quoted", () => {
        const odd: GroupSpec = { ...spec, tables: { 'a"b': { kind: "distributed", column: 'k"; DROP' } } };
        const body = bodyOf(odd, { table: 'a"b', column: "e'm" }, equals);
        assert.match(
            body,
            /t\."k""; DROP"::text AS key FROM "public"\."a""b" t WHERE t\."e'm" OPERATOR\(pg_catalog\.=\) \$1/,
        );
    });
});
