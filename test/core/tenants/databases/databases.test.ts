/** Where tenants' databases go, what is refused, and what a pool is told. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { describe, test } from "vitest";
import {
    type DatabaseFound,
    type DatabasesFound,
    identity,
    type LedgerRow,
} from "../../../../core/tenants/databases/databaseFound.ts";
import { databases } from "../../../../core/tenants/databases/databases.ts";
import { describeLeaving, targetOf } from "../../../../core/tenants/databases/evacuate.ts";
import { readGroup } from "../../../../core/tenants/group/converge.ts";
import type { GroupSpec, TenantSpec } from "../../../../core/tenants/group/spec.ts";
import { type PoolFound, pool } from "../../../../core/tenants/map/pool.ts";
import { poolSize, renderPool } from "../../../../core/tenants/map/poolConf.ts";
import { EMPTY } from "../../../tenants.ts";

const group = (tenants: Record<string, TenantSpec>, more: Partial<GroupSpec> = {}): GroupSpec => ({
    ...EMPTY,
    name: "clinics",
    model: "database",
    tenants,
    ...more,
});

const database = (name: string, more: Partial<DatabaseFound> = {}): DatabaseFound => ({
    name,
    limit: -1,
    open: false,
    roles: [`clinics_${name}`],
    comment: identity("clinics", name, 7),
    bytes: 7_000_000,
    ...more,
});

const row = (tenant: string, node: string, more: Partial<LedgerRow> = {}): LedgerRow => ({
    tenant,
    state: "active",
    node,
    detail: { epoch: 7 },
    ...more,
});

const found = (
    nodes: Record<string, DatabaseFound[]>,
    ledger: LedgerRow[] = [],
    more: Partial<DatabasesFound> = {},
): DatabasesFound => ({
    nodes: Object.entries(nodes).map(([name, own]) => ({
        name,
        databases: [database("postgres", { open: true }), database("app", { open: true }), ...own],
    })),
    ledger,
    others: {},
    own: "app",
    rate: null,
    ...more,
});

const three = { coordinator: [], "worker-1": [], "worker-2": [] };
const plan = (wanted: GroupSpec, is: DatabasesFound) => databases.plan(wanted, is, {});
const ROLE = { role: true };

describe("databases of tenants", () => {
    test("go to the worker with the fewest, to the coordinator where there is none, and where they are told", () => {
        const places = (is: DatabasesFound, tenants: Record<string, TenantSpec>) =>
            plan(group(tenants), is).steps.map(({ tenant, detail }) => [tenant, (detail as { node: string }).node]);
        const busy = { ...three, "worker-1": [database("other", { comment: null })] };
        assert.deepEqual(places(found(busy), { a: ROLE, b: ROLE, c: ROLE, d: { node: "coordinator" } }), [
            ["a", "worker-2"],
            ["b", "worker-1"],
            ["c", "worker-2"],
            ["d", "coordinator"],
        ]);
        assert.deepEqual(places(found({ coordinator: [] }), { a: ROLE }), [["a", "coordinator"]]);
    });

    test("stay where the ledger says, and are left alone when they left the program", () => {
        const is = found({ ...three, "worker-2": [database("a"), database("b")] }, [
            row("a", "worker-2"),
            row("b", "worker-2"),
        ]);
        assert.deepEqual(plan(group({ a: ROLE }), is), {
            steps: [],
            refusals: [],
            notes: [
                `b: in the cluster but not in the program; left as it is ({"b":{"state":"deleted"}} under tenants deletes it)`,
            ],
        });
        assert.deepEqual(plan(group({ a: ROLE }, { delete: ["b"] }), is).notes, []);
    });

    test("are not made while one of the name is being deleted, and an old copy is neither made nor named", () => {
        const is = found({ ...three, "worker-2": [database("a"), database("b")] }, [
            row("a", "worker-2", { state: "deleting" }),
            row("b", "worker-2", { state: "superseded" }),
        ]);
        const planned = plan(group({ a: ROLE, b: ROLE }), is);
        assert.deepEqual([planned.steps, planned.notes], [[], []]);
        assert.match(
            planned.refusals?.join() ?? "",
            /^a: its deletion was begun and not ended\. Give it the state deleted again/,
        );
    });

    test("move when the program names another node, with size and time in the preview", () => {
        const is = found({ ...three, "worker-2": [database("a")] }, [row("a", "worker-2")], { rate: 1_000_000 });
        const [step, ...others] = plan(group({ a: { ...ROLE, node: "worker-1" } }), is).steps;
        assert.deepEqual([step?.kind, step?.detail, others], ["databases.move", { to: "worker-1" }, []]);
        assert.match(
            step?.text ?? "",
            /from worker-2 to worker-1, 7 MB; nobody can use it while it is copied \(about 7 s\)/,
        );
    });

    test("that a killed run was moving are moved on, also when they left the program", () => {
        const move = { from: "worker-2", to: "worker-1", phase: "copy", limit: 5, fenced: 0 } as const;
        const is = found({ ...three, "worker-2": [database("a", { limit: 0 })] }, [
            row("a", "worker-2", { detail: { epoch: 7, move } }),
        ]);
        const programs: Record<string, TenantSpec>[] = [{}, { a: { ...ROLE, limits: { connections: 5 } } }];
        for (const wanted of programs) {
            const { steps } = plan(group(wanted), is);
            assert.deepEqual(
                steps.map(({ kind, detail }) => [kind, detail]),
                [["databases.move", { to: "worker-1" }]],
            );
        }
        const [back] = plan(group({ a: { ...ROLE, node: "worker-2", limits: { connections: 5 } } }), is).steps;
        assert.deepEqual(back?.detail, { to: "worker-2" });
    });

    test("that a restore left are neither made, moved nor opened: there may be half of one, or none", () => {
        const move = { from: "worker-2", to: "worker-1", phase: "copy", limit: 5, fenced: 0 } as const;
        const rows = [
            row("a", "worker-2", { detail: { epoch: 7, restoring: true } }),
            row("a", "worker-2", { detail: { epoch: 7, restoring: true, move } }),
            row("a", "worker-2", { state: "creating", detail: { epoch: 7, restoring: true } }),
        ];
        for (const left of rows) {
            for (const there of [[], [database("a", { limit: 0 })]]) {
                const is = found({ ...three, "worker-2": there }, [left]);
                const { steps, refusals } = plan(group({ a: { ...ROLE, node: "worker-1" } }), is);
                assert.deepEqual([steps, refusals?.length], [[], 1]);
                assert.match(
                    refusals?.join() ?? "",
                    there.length === 0
                        ? /^a: a restore .* and the database does not exist\. No empty one is put in its place\.\nRestore it.* restore clinics\/a FILE\. Or/
                        : /^a: a restore .* may not be whole\. It takes no connections\.\nRestore it again: .* --replace/,
                );
                assert.deepEqual(plan(group({}), is).steps, []);
            }
        }
    });

    test("are closed to others, opened to their role, and limited", () => {
        const is = found({ ...three, "worker-1": [database("a", { open: true, roles: null, limit: 3 })] }, [
            row("a", "worker-1"),
        ]);
        const [step] = plan(group({ a: { ...ROLE, limits: { connections: 9 } } }), is).steps;
        assert.equal(step?.kind, "databases.access");
        assert.equal(step?.text, "a: close its database to everybody else, let clinics_a in, connection limit 3 → 9");
        assert.deepEqual(
            plan(
                group({ a: {} }),
                found({ ...three, "worker-1": [database("a", { roles: null })] }, [row("a", "worker-1")]),
            ).steps,
            [],
        );
    });

    test("every mistake is refused at once, each with what to do", () => {
        const is = found(
            {
                ...three,
                "worker-1": [
                    database("theirs", { comment: null }),
                    database("again", { comment: null }),
                    database("half"),
                ],
                "worker-2": [database("strayed")],
            },
            [
                row("gone", "worker-1"),
                row("again", "worker-1"),
                row("half", "worker-1", { detail: { epoch: 7, restoring: true } }),
                row("strayed", "worker-1"),
            ],
            { others: { shared: "labs" } },
        );
        const { refusals = [] } = plan(
            group({
                theirs: ROLE,
                gone: ROLE,
                again: ROLE,
                half: ROLE,
                strayed: ROLE,
                shared: ROLE,
                postgres: ROLE,
                app: ROLE,
                x: { node: "worker-9" },
            }),
            is,
        );
        const expected = [
            /theirs: worker-1 has a database theirs that was not made for it/,
            /gone: .* is gone\. No empty one is put in its place/,
            /again: .* not the one that was made for it/,
            /half: a restore of its database on worker-1 was begun and not ended.*\n.* restore clinics\/half FILE --replace/,
            /strayed: .* is on worker-2: it was moved by hand/,
            /shared: group labs has a tenant of this name/,
            /postgres: /,
            /app: /,
            /x: there is no node worker-9: the cluster has coordinator, worker-1, worker-2/,
        ];
        assert.equal(refusals.length, expected.length);
        for (const [i, pattern] of expected.entries()) assert.match(refusals[i] ?? "", pattern);
    });

    test("go on being made when the ledger says so; tenants that are deleted or superseded are nobody's here", () => {
        const is = found({ ...three, "worker-1": [database("a", { comment: null, limit: 0 })] }, [
            row("a", "worker-1", { state: "creating" }),
            row("b", "worker-1", { state: "superseded" }),
        ]);
        const { steps, refusals } = plan(group({ a: ROLE, b: ROLE, c: ROLE }, { delete: ["c"] }), is);
        assert.deepEqual(
            [steps.map(({ kind, tenant }) => [kind, tenant]), refusals],
            [[["databases.create", "a"]], []],
        );
    });
});

describe("leaving workers", () => {
    test("hand a database to where it was going, else to the node with the fewest", () => {
        const staying = new Map([
            ["worker-1", 4],
            ["worker-2", 2],
        ]);
        assert.equal(targetOf({ node: "worker-3", to: null }, staying), "worker-2");
        assert.equal(targetOf({ node: "worker-3", to: "worker-1" }, staying), "worker-1");
        assert.equal(targetOf({ node: "worker-3", to: "worker-4" }, staying), "worker-2");
        assert.equal(targetOf({ node: "worker-1", to: "worker-1" }, staying), "worker-1");
    });

    test("are named in the preview", () => {
        const one = { group: "g", tenant: "a", node: "worker-3", from: null, to: null };
        assert.match(
            describeLeaving([{ node: "worker-3", tenants: [one] }])[0] ?? "",
            /^moves 1 tenant's database off worker-3;/,
        );
        assert.match(
            describeLeaving([{ node: "worker-3", tenants: [one, one, one] }])[0] ?? "",
            /^moves 3 tenants' databases off worker-3;/,
        );
    });
});

describe("the connection pool", () => {
    const node = (more: Partial<PoolFound["nodes"][number]["pool"]> = {}): PoolFound => ({
        nodes: [
            {
                name: "worker-1",
                pool: { program: true, conf: null, groups: null, clients: 72, limits: { app: -1 }, ...more },
            },
        ],
    });
    const conf = (groups: string[], limits: Record<string, number>) => renderPool({ groups, clients: 72, limits });
    const md5 = (text: string) => createHash("md5").update(text).digest("hex");

    test("is there for databases, elsewhere when it is asked for, and stays for the groups that want it", () => {
        const kinds = (wanted: GroupSpec, is: PoolFound) => pool.plan(wanted, is, {}).steps.map(({ text }) => text);
        assert.deepEqual(kinds(group({}), node()), ["start the connection pool of worker-1"]);
        assert.deepEqual(kinds(group({}, { pool: false }), node()), []);
        assert.deepEqual(kinds(group({}, { model: "schema" }), node()), []);
        assert.deepEqual(kinds(group({}, { model: "schema", pool: true }), node()), [
            "start the connection pool of worker-1",
        ]);
        const both = { groups: "clinics labs", conf: md5(conf(["clinics", "labs"], { app: -1 })) };
        assert.deepEqual(kinds(group({}), node(both)), []);
        assert.deepEqual(kinds(group({}, { pool: false }), node(both)), ["reload the connection pool of worker-1"]);
        const own = { groups: "clinics", conf: md5(conf(["clinics"], { app: -1 })) };
        assert.match(
            kinds(group({}, { pool: false }), node(own))[0] ?? "",
            /^turn the connection pool of worker-1 off/,
        );
        assert.deepEqual(kinds(group({}), node({ ...own, limits: { app: -1, a: 5 } })), [
            "reload the connection pool of worker-1",
        ]);
    });

    test("is refused where it is asked for and there is no program, and only missed where it is not", () => {
        const none = node({ program: false });
        assert.match(
            pool.plan(group({}, { pool: true }), none, {}).refusals?.[0] ?? "",
            /worker-1 has no PgBouncer.*pool: false/s,
        );
        assert.deepEqual(pool.plan(group({}), none, {}).steps, []);
        assert.equal(pool.plan(group({}), none, {}).notes?.length, 1);
        assert.deepEqual(pool.plan(group({}, { model: "row" }), none, {}), { steps: [] });
    });

    test("has the limits of databases, and no more connections than there are for all of them", () => {
        const text = conf(["clinics"], { app: -1, a: 5, closed: 0, "odd name": 4 });
        assert.match(text, /^a = host=localhost port=5432 pool_size=5 max_db_connections=5$/m);
        assert.doesNotMatch(text, /closed|odd name|^app = /m);
        assert.match(text, /^client_tls_sslmode = require$/m);
        assert.match(text, /^server_tls_sslmode = verify-full$/m);
        assert.match(text, /^server_reset_query_always = 1$/m);
        for (const [clients, count, size] of [
            [72, 3, 9],
            [72, 9, 4],
            [72, 500, 1],
            [220, 2, 20],
        ] as const)
            assert.equal(poolSize(clients, count), size, `${count} databases`);
    });
});

test("a node that does not answer is named, and its answer is not taken for a list of databases", async () => {
    const asked: string[] = [];
    const session = {
        node: "coordinator",
        query: async <T extends object>(sql: string) => {
            asked.push(sql);
            const rows = [
                {
                    f0: {
                        nodes: [
                            { name: "coordinator", databases: [], failed: null },
                            { name: "worker-2", databases: null, failed: "failed to connect to worker-2.c.node:5432" },
                        ],
                    },
                },
            ];
            return (/AS ledger/.test(sql) ? [{ ledger: false, tables: [] }] : rows) as unknown as T[];
        },
        certificateEnds: () => undefined,
        close: async () => undefined,
    };
    await assert.rejects(
        readGroup(session, group({}), [databases], ""),
        /^Error: worker-2: asking it about tenants failed\n {2}failed to connect to worker-2/,
    );
    // PostgreSQL reads no failure as JSON
    assert.match(asked.at(-1) ?? "", /CASE WHEN r\.success THEN r\.result::jsonb END/);
});
