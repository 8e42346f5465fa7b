/** Tenants that the application makes while it runs: what is planned for them, and how they get into the program. */
import assert from "node:assert/strict";
import { describe, test } from "vitest";
import { validateGroups } from "../../../../components/config/tenants/validate.ts";
import { PLAIN_NAME, RESERVED_NAME } from "../../../../core/tenants/group/names.ts";
import { withTenants } from "../../../../core/tenants/group/onboarded.ts";
import type { GroupSpec } from "../../../../core/tenants/group/spec.ts";
import { CREATE_TENANT, CREATE_TENANT_HASH } from "../../../../core/tenants/onboarding/createTenant.ts";
import { type FoundOnboarding, onboarding, planOnboarding } from "../../../../core/tenants/onboarding/onboarding.ts";
import { planRows } from "../../../../core/tenants/rows/rowsPlan.ts";
import { addTenants } from "../../../../scripts/tenants/adopt.ts";
import { findLogin, refuseUnknown } from "../../../../scripts/tenants/password.ts";

const GROUP: GroupSpec = {
    name: "clinics",
    model: "schema",
    tables: {},
    template: [{ path: "sql/001.sql", sha256: "a" }],
    tenants: { acme: { role: true } },
    delete: [],
    allow: [],
    rowSecurity: true,
    onboarding: true,
    rollout: { canary: 1, part: 0.1 },
    lockTimeout: 5000,
};

const FILE = { path: "sql/001.sql", sha256: "a", digest: "d" };

const DONE: FoundOnboarding = {
    body: CREATE_TENANT_HASH,
    group: { model: "schema", lock_timeout: 5000, anchor: null, key_column: null },
    files: [FILE],
    allowed: true,
    strangers: [],
    onboarded: [],
    wanted: [FILE],
    mistakes: [],
};

const texts = (found: Partial<FoundOnboarding>, group: Partial<GroupSpec> = {}) =>
    planOnboarding({ ...GROUP, ...group }, { ...DONE, ...found }).steps.map(({ text }) => text);

describe("what create_tenant needs", () => {
    test("is right: nothing to do", () => assert.deepEqual(texts({}), []));

    test("each thing that is not right is named", () => {
        assert.match(
            texts({ body: null, group: null, files: [], allowed: false })[0] ?? "",
            /make the function; let tenants be made; 1 file of the template; role clinics_onboarding may call it/,
        );
        assert.match(texts({ body: "old" })[0] ?? "", /renew the function/);
        assert.match(texts({ files: [{ ...FILE, digest: "tampered" }] })[0] ?? "", /1 file of the template/);
        assert.match(texts({ strangers: ["PUBLIC"] })[0] ?? "", /PUBLIC may not call it any more/);
        assert.match(texts({}, { lockTimeout: 1 })[0] ?? "", /what tenants are made from/);
    });

    test("a group that lets none be made any more is closed, once", () => {
        const { onboarding: _, ...closed } = GROUP;
        assert.equal(planOnboarding(closed, DONE).steps[0]?.kind, "onboarding.close");
        assert.deepEqual(planOnboarding(closed, { ...DONE, group: null }).steps, []);
    });

    test("tenants that only the database knows are a note with the way into the program", () => {
        const { notes } = planOnboarding(GROUP, { ...DONE, onboarded: ["globex"] });
        assert.match(
            notes?.join("\n") ?? "",
            /^globex: made by create_tenant .* npm run tenants -- adopt clinics FILE\.json$/,
        );
    });

    test("a file that some tenants have not run is no new tenant's yet", () => {
        const more = { ...FILE, path: "sql/002.sql" };
        const found = { ...DONE, wanted: [FILE, more] };
        const all = (pending: object) => ({ migrations: { pending } });
        assert.deepEqual(planOnboarding(GROUP, found, all({ acme: ["sql/002.sql"] })).steps, []);
        const [step] = planOnboarding(GROUP, found, all({})).steps;
        assert.deepEqual(step?.detail, { files: ["sql/001.sql", "sql/002.sql"] });
    });

    test("what runs outside of transactions: an index like any other, or a refusal", async () => {
        const sql = (text: string) => onboarding.readFiles?.(GROUP, DONE, () => text);
        const concurrently = await sql("CREATE INDEX CONCURRENTLY i ON t (x);");
        assert.deepEqual(concurrently?.mistakes, []);
        assert.deepEqual(concurrently?.wanted, (await sql("CREATE INDEX i ON t (x);"))?.wanted);
        assert.match(
            (await sql("VACUUM t;"))?.mistakes?.[0] ?? "",
            /sql\/001\.sql:1 has VACUUM t, which can't be in a transaction/,
        );
    });

    test("settings in a file would stay with the application's session", async () => {
        const sql = "CREATE TABLE t (id int);\nSET default_tablespace = 'x';\nUPDATE t SET id = 1;";
        const found = await onboarding.readFiles?.(GROUP, DONE, () => sql);
        const { refusals } = planOnboarding(GROUP, found ?? DONE);
        assert.equal(refusals?.length, 1);
        assert.match(refusals?.[0] ?? "", /^sql\/001\.sql:2 has SET default_tablespace/);
    });
});

describe("the function", () => {
    test("keeps the rules of the program", () => {
        assert.ok(CREATE_TENANT.includes(PLAIN_NAME.source));
        assert.ok(CREATE_TENANT.includes(RESERVED_NAME.source));
    });

    test("is nobody's but whom it is granted to, and pins what names mean", () => {
        assert.match(
            CREATE_TENANT,
            /REVOKE ALL ON FUNCTION citus_as_code\.create_tenant\(text, text, jsonb, text\) FROM PUBLIC/,
        );
        assert.match(CREATE_TENANT, /SECURITY DEFINER\s+SET search_path = pg_catalog, pg_temp/);
    });
});

describe("a tenant that the program does not name", () => {
    test("is kept like its others, after them, unless it is deleted", () => {
        const onboarded = { globex: { role: true, onboarded: true }, acme: { role: true, onboarded: true } };
        const { tenants } = withTenants(GROUP, onboarded);
        assert.deepEqual(Object.keys(tenants), ["acme", "globex"]);
        assert.equal(tenants.acme?.onboarded, undefined, "the program's word counts");
        assert.deepEqual(Object.keys(withTenants({ ...GROUP, delete: ["globex"] }, onboarded).tenants), ["acme"]);
        assert.equal(withTenants(GROUP, {}), GROUP);
    });

    test("is no row that somebody left behind", () => {
        const group: GroupSpec = {
            ...GROUP,
            model: "row",
            anchor: "t",
            tables: { t: { kind: "distributed", column: "id" } },
            tenants: {},
        };
        const found = {
            states: { 1: "active", 2: "active" },
            present: [],
            invalid: [],
            columns: [],
            coming: [],
            leaving: [],
            spelled: {},
            same: [],
        } as const;
        const { notes } = planRows(group, found, { onboarding: { ...DONE, onboarded: ["1"] } });
        assert.match(notes?.join("\n") ?? "", /^2: not in the program any more/);
    });
});

describe("onboarding: true", () => {
    const mistakes = (settings: object) =>
        validateGroups({ g: settings }, { database: "app" }).mistakes.map(({ path, message }) => `${path} ${message}`);

    test("is for models whose tenants a transaction can make", () => {
        assert.match(
            mistakes({ model: "database", onboarding: true })[0] ?? "",
            /g\.onboarding means nothing in model database: a database/,
        );
        assert.match(
            mistakes({ model: "routed", onboarding: true })[0] ?? "",
            /g\.onboarding means nothing in model routed/,
        );
        assert.deepEqual(mistakes({ model: "schema", onboarding: true }), []);
    });

    test("takes a name from tenants", () => {
        const settings = { model: "schema", tenants: { onboarding: {} } };
        assert.deepEqual(mistakes(settings), []);
        assert.match(
            mistakes({ ...settings, onboarding: true })[0] ?? "",
            /makes a role g_onboarding, which is the group's own/,
        );
    });

    test("roles of options that are off are no tenant's own role either, where the model has the option", () => {
        const said = (model: string, tenant: string) =>
            mistakes({
                model,
                tenants: { [tenant]: model === "row" ? { role: true } : {} },
                ...(model === "row" ? { anchor: "firms", tables: { firms: { distributeBy: "id" } } } : {}),
            });
        for (const [model, tenant] of [
            ["schema", "reader"],
            ["row", "reader"],
            ["row", "sign_in"],
        ] as const)
            assert.match(
                said(model, tenant)[0] ?? "",
                new RegExp(`makes a role g_${tenant}, which is the group's own`),
            );
        assert.deepEqual(said("schema", "sign_in"), []);
        assert.deepEqual(said("database", "reader"), []);
    });

    test("is in the specification only where it is said", () => {
        const [without] = validateGroups({ g: { model: "schema" } }, { database: "app" }).groups;
        assert.ok(without && !Object.hasOwn(without, "onboarding"), "no diff for groups that were there before");
    });
});

describe("npm run tenants -- adopt", () => {
    test("adds to a map, to a list, to nothing; what is there stays as it is", () => {
        const map = addTenants("t.json", '{\n  "acme": {"state": "frozen"}\n}\n', ["acme", "globex"]);
        assert.deepEqual(map.added, ["globex"]);
        assert.equal(map.text, '{\n  "acme": {\n    "state": "frozen"\n  },\n  "globex": {}\n}\n');
        assert.deepEqual(JSON.parse(addTenants("t.json", '["acme", {"name": "b"}]', ["acme", "b", "c"]).text), [
            "acme",
            { name: "b" },
            "c",
        ]);
        assert.deepEqual(JSON.parse(addTenants("t.json", undefined, ["acme"]).text), { acme: {} });
    });

    test("refuses what it can't add to, and what JSON would lose", () => {
        assert.throws(() => addTenants("t.json", "acme", []), /t\.json must be a JSON file of tenants, got no JSON/);
        assert.throws(() => addTenants("t.json", '"acme"', []), /must hold a map or a list/);
        assert.throws(() => addTenants("t.json", "[9007199254740993]", ["1"]), /Write the number as text/);
    });
});

describe("its password", () => {
    const inputs = { cluster: "c", group: GROUP, nodes: [], seed: "s", exports: "e" };

    test("of the role that makes tenants", () => {
        assert.equal(findLogin([inputs], "clinics_onboarding").role, "clinics_onboarding");
        const { onboarding: _, ...closed } = GROUP;
        assert.throws(
            () => findLogin([{ ...inputs, group: closed }], "clinics_onboarding"),
            /Group clinics has no role clinics_onboarding: the program does not set onboarding: true/,
        );
    });

    test("of a tenant that chose its own, or has none yet, is not made up", () => {
        const login = findLogin([inputs], "acme");
        assert.throws(
            () => refuseUnknown(login, "citus_as_code clinics chosen 0123abcd"),
            /clinics\/acme: its password was chosen when it signed up/,
        );
        assert.throws(() => refuseUnknown(login, "citus_as_code clinics none"), /has none until the next pulumi up/);
        refuseUnknown(login, "citus_as_code clinics 0123 0123abcd");
    });
});
