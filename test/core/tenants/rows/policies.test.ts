/** Policies of the tables of a group. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "vitest";
import type { Session } from "../../../../core/reach/session.ts";
import { batches } from "../../../../core/tenants/group/converge.ts";
import type { GroupSpec } from "../../../../core/tenants/group/spec.ts";
import {
    type FoundBarred,
    commentOf as listComment,
    NOTHING_BARRED,
    wantedDomains,
    writersEnd,
} from "../../../../core/tenants/isolation/barred.ts";
import { planPolicies, wantedPolicies } from "../../../../core/tenants/rows/policiesPlan.ts";
import { type FoundPolicies, NO_POLICIES, type PolicyTable } from "../../../../core/tenants/rows/policyLook.ts";
import { GROUP } from "../declared.ts";

const POLICIES = NO_POLICIES;

/** Lists as a run leaves them, for the same group. */
const settled = (group: GroupSpec, barred: Partial<FoundBarred> = {}): FoundBarred => {
    const found = { ...NOTHING_BARRED, ...barred };
    const domains = wantedDomains(group, ["bigint"], found).map(({ name, check }) => [
        name,
        { print: "print", whole: true, comment: listComment(check, "print") },
    ]);
    return { ...found, domains: Object.fromEntries(domains) };
};

test("policies ask who writes and who is seen by a name, so that no tenant and no sub-query is in them", () => {
    const policies = wantedPolicies(GROUP, "company_id", "bigint");
    assert.equal(policies.length, 8);
    const read = policies.find(({ name }) => name === "citus_as_code_shop_app_select")?.sql ?? "";
    assert.equal(
        read,
        "FOR SELECT TO \"shop_app\" USING (\"company_id\" = CASE WHEN pg_input_is_valid(current_setting('app.tenant', true), 'citus_as_code.shop_reads_bigint') THEN nullif(current_setting('app.tenant', true), '')::bigint END)",
    );
    for (const { sql } of policies) assert.doesNotMatch(sql.replace("FOR SELECT", ""), /SELECT|RESTRICTIVE/);
    for (const verb of ["insert", "update", "delete"])
        for (const who of ["app", "tenants"])
            assert.match(
                policies.find(({ name }) => name.endsWith(`${who}_${verb}`))?.sql ?? "",
                /'citus_as_code\.shop_writes_bigint'/,
            );
    const off = planPolicies({ ...GROUP, rowSecurity: false, tenants: { 2: { frozen: true } } }, POLICIES);
    assert.match(
        off.refusals?.join() ?? "",
        /2: its state is frozen, and while rowSecurity is false nothing keeps it from writing/,
    );
});

const ALL = ["SELECT", "INSERT", "UPDATE", "DELETE"];

const USERS: PolicyTable = {
    name: "users",
    citus: true,
    enabled: true,
    forced: false,
    type: "bigint",
    policies: wantedPolicies(GROUP, "company_id", "bigint").map(({ name, sql }) => ({
        name,
        permissive: true,
        subquery: false,
        roles: ["shop_app"],
        print: "print",
        comment: `citus_as_code ${createHash("md5").update(sql).digest("hex")} print`,
    })),
    digest: "",
    index: true,
    granted: { app: ALL, tenants: ALL },
    sequences: [],
    tenantGrants: ALL,
    tenantSequences: [],
    direct: [],
    schema: true,
    others: [],
    owner: null,
};

test("who writes is one list for all tables: frozen, fenced, deleting and hidden tenants are in it, unfit keys are not", () => {
    const lists = (group: Partial<GroupSpec>, found: Partial<FoundBarred> = {}) =>
        wantedDomains({ ...GROUP, ...group }, ["bigint", "bigint"], { ...NOTHING_BARRED, ...found }).map(
            ({ name, check }) => `${name} ${check}`,
        );
    assert.deepEqual(
        lists(
            { tenants: { 1: { frozen: true }, 2: {}, 3: { frozen: true } }, delete: ["4", "no number"] },
            { fenced: ["5", "1"], hidden: ["7"], buried: ["8"], unfit: { bigint: ["no number", "3"] } },
        ),
        [
            `shop_reads_bigint CHECK (VALUE <> ALL ('{"7","8"}'::bigint[]))`,
            `shop_writes_bigint CHECK (VALUE <> ALL ('{"1","4","5","7","8"}'::bigint[]))`,
        ],
    );
    // a key with quotes of all kinds, and a type whose name is no part of one
    const [odd] = wantedDomains({ ...GROUP, delete: [] }, ["ext.key type"], {
        ...NOTHING_BARRED,
        hidden: ["a\"b\\c'd,{e}"],
    });
    assert.match(odd?.name ?? "", /^shop_reads_[0-9a-f]{12}$/);
    assert.equal(odd?.check, String.raw`CHECK (VALUE <> ALL (E'{"a\\"b\\\\c''d,{e}"}'::ext.key type[]))`);
});

test("freezing, deleting and hiding is one step for all tables, and the list's own drift is mended", () => {
    const group: GroupSpec = {
        ...GROUP,
        tables: Object.fromEntries(
            Array.from({ length: 300 }, (_, i) => [`t${i}`, { kind: "distributed" as const, column: "company_id" }]),
        ),
    };
    const tables = Object.keys(group.tables).map((name) => ({ ...USERS, name }));
    const steps = (more: Partial<GroupSpec>, barred: FoundBarred) =>
        planPolicies({ ...group, ...more }, { ...POLICIES, tables, barred }).steps.map(({ kind }) => kind);
    const found = settled(group);
    assert.deepEqual(steps({}, found), []);
    assert.deepEqual(steps({ tenants: { 2: { frozen: true } } }, found), ["policies.bar"]);
    assert.deepEqual(steps({ delete: ["2"] }, found), ["policies.bar"]);
    assert.deepEqual(steps({}, { ...found, fenced: ["2"] }), ["policies.bar"]);
    assert.deepEqual(steps({}, settled(group, { fenced: ["2"] })), []);
    assert.deepEqual(steps({ delete: ["no number"] }, { ...found, unfit: { bigint: ["no number"] } }), []);
    assert.deepEqual(steps({}, { ...found, stale: ["worker-1"] }), ["policies.bar"]);
    assert.deepEqual(steps({}, { ...found, usable: false }), ["policies.bar"]);
    const one = found.domains.shop_writes_bigint;
    assert.ok(one);
    for (const changed of [{ whole: false }, { print: "other" }, { comment: null }])
        assert.deepEqual(
            steps({}, { ...found, domains: { ...found.domains, shop_writes_bigint: { ...one, ...changed } } }),
            ["policies.bar"],
        );
});

test("each kind of step is for all tables together, so that all of it takes one look", () => {
    const group: GroupSpec = {
        ...GROUP,
        tables: Object.fromEntries(
            ["a", "b", "c"].map((name) => [name, { kind: "distributed" as const, column: "company_id" }]),
        ),
    };
    const bare = { ...USERS, policies: [], enabled: false, granted: { app: [], tenants: [] } };
    const tables = [
        { ...bare, name: "a" },
        { ...bare, name: "b", index: false },
        { ...bare, name: "c" },
    ];
    const { steps } = planPolicies(group, { ...POLICIES, tables });
    assert.deepEqual(
        steps.map(({ kind, table = "" }) => `${kind} ${table}`),
        [
            "policies.bar ",
            "policies.index b",
            ...["a", "b", "c"].map((name) => `policies.set ${name}`),
            ...["a", "b", "c"].map((name) => `policies.grant ${name}`),
        ],
    );
    assert.equal(batches(steps).length, 4);
});

test("whoever wrote before the list was changed is waited for, and named when that takes too long", async () => {
    const answers: string[] = [];
    const said: string[] = [];
    const old = { id: "3/7", pid: 42, role: "shop_app", since: "2026-11-30T12:00:00+00:00" };
    const context = (success = true) => ({
        group: GROUP,
        alive: () => undefined,
        progress: (text: string) => said.push(text),
        session: {
            query: async () => [{ node: "worker-1", success, result: answers.shift() ?? "[]" }],
        } as unknown as Session,
    });
    // one that came later has another id, and is not waited for
    const later = { ...old, id: "3/8" };
    answers.push(JSON.stringify([old]), JSON.stringify([old, later]), JSON.stringify([later]));
    await writersEnd(context(), ["users"]);
    assert.deepEqual([answers, said.length], [[], 2]);
    assert.match(said[0] ?? "", /waits for 1 transaction that began before \(42 on worker-1\)/);
    answers.push(JSON.stringify([old]));
    await assert.rejects(
        writersEnd(context(), ["users"], 0),
        /process 42 of shop_app on worker-1, since 2026-11-30T12:00:00.*SELECT pg_terminate_backend\(42\);\nThen run pulumi up again/s,
    );
    answers.push("connection refused");
    await assert.rejects(
        writersEnd(context(false), ["users"]),
        /worker-1: asking it who writes failed\n {2}connection refused/,
    );
});

test("without rowSecurity nothing generated is left, and tenants' own roles have no rights on its tables", () => {
    const off: GroupSpec = {
        ...GROUP,
        rowSecurity: false,
        tables: { users: { kind: "distributed", column: "company_id" } },
    };
    const planned = (table: Partial<PolicyTable>, found: Partial<FoundPolicies> = {}) =>
        planPolicies(off, { ...POLICIES, tables: [{ ...USERS, ...table }], ...found });
    const texts = (...given: Parameters<typeof planned>) =>
        planned(...given).steps.map(({ kind, text }) => [kind, text]);
    const dropped: Partial<PolicyTable> = { policies: [], enabled: false, tenantGrants: [] };
    assert.deepEqual(texts(dropped), [], "what PUBLIC may is not the role's own, and can't be taken from it");
    assert.match(
        texts({}).join(),
        /^policies.drop,users: its generated policies are dropped.*lose their rights on it$/,
    );
    assert.deepEqual(texts(dropped, { left: { users: ["w1 users_1"] } }), [
        ["policies.drop", "users: generated policies that are left on w1 users_1 are dropped"],
    ]);
    const rights = [["policies.drop", "users: tenants' own roles lose their rights on it, as rowSecurity is false"]];
    assert.deepEqual(texts({ ...dropped, tenantGrants: ["SELECT"] }), rights);
    assert.deepEqual(texts({ ...dropped, tenantSequences: ["users_id_seq"] }), rights);

    for (const table of [{}, dropped]) {
        const { steps, refusals } = planned({ ...table, direct: ["PUBLIC", "shop_2"] });
        assert.deepEqual(steps, []);
        assert.match(
            refusals?.join() ?? "",
            /users: rowSecurity can't be false while PUBLIC, shop_2 have rights.*REVOKE ALL ON users FROM PUBLIC, "shop_2"/s,
        );
    }
    const hidden = planned({}, { barred: { ...NOTHING_BARRED, hidden: ["7"] } });
    assert.deepEqual(hidden.steps, []);
    assert.match(
        hidden.refusals?.join() ?? "",
        /users: rowSecurity can't be false while the group keeps old copies.*\(7\)/,
    );
});

test("a table that all tenants share from now on keeps neither policies nor a tenant's right to write", () => {
    const group: GroupSpec = { ...GROUP, tables: { users: { kind: "reference" } } };
    const steps = (table: Partial<PolicyTable>) =>
        planPolicies(group, { ...POLICIES, tables: [{ ...USERS, type: null, ...table }] }).steps.map(
            ({ text }) => text,
        );
    const read = "users: read by shop_app and shop_tenants";
    assert.deepEqual(steps({}), [
        "users: its generated policies are dropped, as it is shared by all tenants now",
        read,
    ]);
    const bare: Partial<PolicyTable> = { policies: [], enabled: false };
    assert.deepEqual(steps(bare), ["users: shop_tenants only reads it, as it is shared by all tenants", read]);
    assert.deepEqual(steps({ ...bare, tenantGrants: ["SELECT"], granted: { app: ALL, tenants: ["SELECT"] } }), []);
});

test("policies of others that would open, break or lose rows are refused", () => {
    const other = { name: "p", permissive: true, subquery: false, roles: ["public"], print: "", comment: null };
    const policies = (more: object) =>
        planPolicies(GROUP, {
            ...POLICIES,
            tables: [{ ...USERS, forced: true, policies: [{ ...other, ...more }], granted: { app: [], tenants: [] } }],
        }).refusals?.join("\n") ?? "";
    assert.match(policies({}), /FORCE ROW LEVEL SECURITY.*policy p is also for public, /s);
    assert.match(policies({ permissive: false }), /RESTRICTIVE/);
    assert.match(policies({ subquery: true }), /sub-query/);
    assert.doesNotMatch(policies({ roles: ["reports"] }), /policy p/);
});
