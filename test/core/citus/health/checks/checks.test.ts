/** What checks make of answers. */
import assert from "node:assert/strict";
import { describe, test } from "vitest";
import type { Answer, Check, NodeLook } from "../../../../../core/citus/health/checks/check.ts";
import { LIMITS } from "../../../../../core/citus/health/checks/limits.ts";
import { CHECKS } from "../../../../../core/citus/health/checks/list.ts";
import { daysLeft } from "../../../../../core/citus/health/checks/looks.ts";
import { fixesSince } from "../../../../../core/citus/health/checks/securityFixes.ts";
import { conclude, verdict } from "../../../../../core/citus/health/doctor.ts";
import { fixesOf } from "../../../../../core/citus/health/fix.ts";
import type { Finding } from "../../../../../core/citus/health/read/finding.ts";

const checkOf = (id: string): Check => {
    const check = CHECKS.find((one) => one.id === id);
    assert.ok(check, id);
    return check;
};

const host = (node: string) => `${node}.c1.node`;

/** What a check of all nodes finds in these answers. */
function ofNodes(id: string, answers: Readonly<Record<string, unknown>>): Finding[] {
    const check = checkOf(id);
    assert.equal(check.asks, "nodes");
    const given = Object.entries(answers).map(
        ([node, answer]): Answer<unknown> => ({ node, host: host(node), answer }),
    );
    return check.asks === "nodes" ? check.judge(given, LIMITS) : [];
}

function ofCoordinator(id: string, answer: unknown): Finding[] {
    const check = checkOf(id);
    return check.asks === "coordinator" ? check.judge(answer, LIMITS) : assert.fail(id);
}

const GB = 1024 ** 3;
const look = (found: Partial<NodeLook["found"]>, before?: NodeLook["before"]): NodeLook => ({
    node: "worker-1",
    found: {
        size: 100 * GB,
        free: 60 * GB,
        refused: null,
        owned: [],
        passwordDiffers: false,
        altered: [],
        repairs: [],
        scoped: [],
        walLimit: GB,
        slots: [],
        prepared: [],
        idle: [],
        ...found,
    },
    ...(before === undefined ? {} : { before }),
});

function ofLook(id: string, given: NodeLook): Finding[] {
    const check = checkOf(id);
    return check.asks === "look" ? check.judge(given, LIMITS) : assert.fail(id);
}

describe("the list", () => {
    test("ids are unique, in kebab case, and found by their own findings", () => {
        const ids = CHECKS.map(({ id }) => id);
        assert.equal(new Set(ids).size, ids.length);
        for (const id of ids) assert.match(id, /^[a-z]+(-[a-z]+)*$/);
        for (const { title } of CHECKS) assert.match(title, /^[^.]+$/);
    });

    test("no question changes anything", () => {
        for (const check of CHECKS)
            if ("sql" in check)
                assert.doesNotMatch(check.sql, /\b(INSERT|UPDATE|DELETE|ALTER|DROP|CREATE|CALL)\b/, check.id);
    });
});

describe("metadata-equal", () => {
    const rows = (n: number, hash = "a") => ({
        pg_dist_shard: { rows: n, hash },
        pg_dist_node: { rows: 3, hash: "n" },
    });
    test("the same everywhere is well", () =>
        assert.deepEqual(ofNodes("metadata-equal", { coordinator: rows(64), "worker-1": rows(64) }), []));
    test("more or fewer rows, and the same number with other content", () => {
        const found = ofNodes("metadata-equal", {
            coordinator: rows(64),
            "worker-1": rows(63, "b"),
            "worker-2": rows(64, "c"),
        });
        assert.deepEqual(
            found.map(({ node, object, fix }) => [node, object, fix?.kind]),
            [
                ["worker-1", "pg_dist_shard", "activate"],
                ["worker-2", "pg_dist_shard", "activate"],
            ],
        );
        assert.match(found[0]?.says ?? "", /64 rows on the coordinator, 63 on worker-1/);
        assert.match(found[1]?.says ?? "", /64 rows each, with other content/);
    });
    test("without the coordinator's nothing can be compared", () =>
        assert.deepEqual(ofNodes("metadata-equal", { "worker-1": rows(1) }), []));
});

describe("debris", () => {
    const left = { moving: false, listed: [], slots: [], publications: [], subscriptions: [] };
    const slot = { name: "citus_shard_move_slot_1", active: false, bytes: 1e6 };
    test("what a move made is none while shards move, while it is read, or while Citus has it on its list", () => {
        const worker = { ...left, slots: [slot] };
        const find = (coordinator: object) =>
            ofNodes("move-leftovers", { coordinator: { ...left, ...coordinator }, "worker-1": worker });
        assert.equal(find({}).length, 1);
        assert.deepEqual(find({ moving: true }), []);
        assert.deepEqual(find({ listed: [slot.name] }), []);
        assert.deepEqual(
            ofNodes("move-leftovers", {
                coordinator: left,
                "worker-1": { ...left, slots: [{ ...slot, active: true }] },
            }),
            [],
        );
        assert.deepEqual(ofNodes("move-leftovers", { "worker-1": worker }), [], "nobody says whether shards move");
    });

    test("rows of an orphaned shard are looked at by a person", () => {
        const orphans = [{ name: "public.t_102008", bytes: 8192, why: "unknown" }];
        const quiet = { moving: false, listed: [], orphans: [] };
        const [finding] = ofNodes("orphaned-shards", { coordinator: quiet, "worker-1": { ...quiet, orphans } });
        assert.equal(finding?.fix, undefined);
        assert.equal(finding?.mend, "SET citus.enable_manual_changes_to_shards = on; DROP TABLE public.t_102008");
        assert.deepEqual(
            ofNodes("orphaned-shards", { coordinator: { ...quiet, moving: true }, "worker-1": { ...quiet, orphans } }),
            [],
        );
    });

    test("records: of nodes that left to mend, others to know while nothing moves", () => {
        const dangers = (answer: object) => ofCoordinator("cleanup-records", answer).map(({ danger }) => danger);
        assert.deepEqual(dangers({ moving: false, waiting: 0, stranded: [] }), []);
        assert.deepEqual(dangers({ moving: false, waiting: 2, stranded: ["a"] }), ["mend", "note"]);
        assert.deepEqual(dangers({ moving: true, waiting: 2, stranded: [] }), []);
    });
});

describe("what grows", () => {
    test("a disk: the level alone, and how long at the rate since an earlier look", () => {
        assert.deepEqual(ofLook("disk", look({})), []);
        assert.equal(ofLook("disk", look({ free: 4 * GB }))[0]?.danger, "danger");
        const day = 86_400;
        assert.equal(daysLeft(look({ free: 60 * GB }, { seconds: day, free: 61 * GB })), 60);
        assert.equal(daysLeft(look({ free: 60 * GB }, { seconds: day, free: 59 * GB })), undefined);
        assert.deepEqual(ofLook("disk", look({ free: 60 * GB }, { seconds: day, free: 61 * GB })), []);
        const [soon] = ofLook("disk", look({ free: 60 * GB }, { seconds: day, free: 66 * GB }));
        assert.equal(soon?.danger, "mend");
        assert.match(soon?.says ?? "", /6\.44 GB were used in the last 24 h: it is full in about 10 days/);
        assert.equal(ofLook("disk", look({ free: 20 * GB }, { seconds: day, free: 40 * GB }))[0]?.danger, "danger");
    });

    test("a slot says when the disk is full, where that is known and it is why", () => {
        const slots = [{ name: "it's", bytes: 2 * GB, seconds: 7200, database: "app" }];
        const [finding] = ofLook("idle-slots", look({ slots }, { seconds: 86_400, free: 70 * GB }));
        assert.equal(finding?.danger, "danger");
        assert.match(finding?.says ?? "", /keeps 2\.15 GB of WAL on the volume; the disk is full in about 6 days/);
        assert.equal(finding?.mend, "SELECT pg_drop_replication_slot('it''s')");
    });

    for (const [used, danger] of [
        [0.79, undefined],
        [0.8, "mend"],
        [0.95, "danger"],
    ] as const)
        test(`a sequence with ${100 * used} % of its numbers used`, () => {
            const owner = { table: "public.t", column: "id", distributed: false, key: false, identity: false };
            const sequence = { name: "public.s", last: "7", used, owner, range: false };
            assert.equal(ofNodes("sequences", { coordinator: [sequence] })[0]?.danger, danger);
        });

    test("what Citus can't alter has no line that would fail", () => {
        const owner = { table: "public.t", column: "id", distributed: true, key: true, identity: false };
        const of = (more: object) =>
            ofNodes("sequences", {
                coordinator: [{ name: "public.s", last: "7", used: 1, owner, range: false, ...more }],
            })[0];
        assert.equal(of({})?.mend, null);
        assert.equal(of({ range: true })?.mend, null);
        assert.equal(of({ owner: { ...owner, key: false, identity: true } })?.mend, null);
        assert.match(of({ owner: { ...owner, key: false } })?.mend ?? "", /CREATE SEQUENCE public\.s START 8;/);
        assert.match(of({ owner: null })?.mend ?? "", /setval/);
    });

    for (const [xid, multi, danger] of [
        [499e6, 1, undefined],
        [500e6, 1, "mend"],
        [1, 1e9, "danger"],
    ] as const)
        test(`${xid} transaction ids and ${multi} multixacts`, () => {
            const [finding] = ofNodes("transaction-ids", { "worker-1": { databases: [{ name: "app", xid, multi }] } });
            assert.equal(finding?.danger, danger);
            if (finding) assert.match(finding.says, multi > xid ? /multixacts/ : /transaction ids/);
        });

    test("autovacuum that is off for a table is said once, and for a shard of its own on its node", () => {
        const found = ofNodes("autovacuum", {
            coordinator: { off: [], tables: ["public.users"] },
            "worker-1": {
                off: ["autovacuum"],
                tables: ["public.users", "public.users_102008", "public.users_old", "public.x_102010"],
            },
        });
        assert.deepEqual(
            found.map(({ node, object }) => `${node} ${object}`),
            [
                "coordinator public.users",
                "worker-1 autovacuum",
                "worker-1 public.users_old",
                "worker-1 public.x_102010",
            ],
        );
    });
});

describe("what nodes have in common", () => {
    test("a clock is off by what no answer can explain", () => {
        const at = (seconds: number) =>
            ofCoordinator("clocks", { before: 100, after: 100.02, nodes: [{ host: host("worker-1"), at: seconds }] });
        assert.deepEqual(at(100.01), []);
        assert.deepEqual(at(100.1), []);
        assert.match(at(100.32)[0]?.says ?? "", /^worker-1's clock is 300 ms ahead of/);
        const [behind] = at(40);
        assert.match(behind?.says ?? "", /60\.0 s behind/);
        assert.equal(behind?.danger, "danger");
    });

    const budget = (pool: number, more = {}) => ({ max: 240, reserved: 5, pool, clients: 100, used: 10, ...more });
    test("connections: what all others may open, without limit, and those in use", () => {
        const nodes = (pool: number, used = 10) =>
            ofNodes("connection-budget", {
                coordinator: budget(pool),
                "worker-1": budget(11, { used }),
                "worker-2": budget(11),
            });
        assert.deepEqual(nodes(132), []);
        assert.equal(nodes(230).length, 2);
        assert.match(nodes(-1)[0]?.says ?? "", /coordinator may open as many to it as they like/);
        assert.equal(nodes(0).length, 2, "0 is max_connections");
        assert.match(nodes(132, 200)[0]?.says ?? "", /worker-1 has 200 of 240 connections in use/);
    });

    test("collations: a version that changed, and a node with another", () => {
        const one = (made: string | null, here: string | null, libraries = "c C.UTF-8 1") => ({
            database: "app",
            made,
            here,
            others: [],
            libraries,
        });
        assert.deepEqual(ofNodes("collations", { coordinator: one("1", "1"), "worker-1": one(null, null) }), []);
        assert.equal(ofNodes("collations", { coordinator: one("2.36", "2.41") }).length, 1);
        const [apart] = ofNodes("collations", { coordinator: one("1", "1"), "worker-1": one("1", "1", "c C.UTF-8 2") });
        assert.match(apart?.says ?? "", /^worker-1 sorts by another collation/);
    });

    test("minors: fixes that a release lacks, none for one that is newer than the table", () => {
        assert.ok(fixesSince("17.5").some(({ cves }) => cves.includes("CVE-2025-8714")));
        assert.ok(!fixesSince("17.6").some(({ cves }) => cves.includes("CVE-2025-8714")));
        assert.deepEqual(fixesSince("17.99"), []);
        assert.deepEqual(fixesSince("16.1"), [], "a major without a table");
        const [finding] = ofNodes("security-fixes", {
            coordinator: { version: "17.6" },
            "worker-1": { version: "17.99" },
        });
        assert.match(finding?.says ?? "", /PostgreSQL 17\.6 on coordinator lacks .*CVE-2026-6473/);
    });

    test("ports: only what is open to everybody", () => {
        const check = checkOf("public-ports");
        const find = (address: string, range: string) =>
            check.asks === "stack"
                ? check.judge(
                      {
                          ports: [{ container: "c", node: "worker-1", address, port: 5432 }],
                          ingress: [{ group: "sg-1", port: "5432", range }],
                      },
                      LIMITS,
                  ).length
                : 0;
        assert.equal(find("127.0.0.1", "10.0.0.0/8"), 0);
        assert.equal(find("0.0.0.0", "0.0.0.0/0"), 2);
        assert.equal(find("::", "::/0"), 2);
    });
});

describe("the verdict", () => {
    const checks = [
        { id: "a", title: "a" },
        { id: "b", title: "b" },
        { id: "c", title: "c" },
    ];
    const finding = (check: string, danger: Finding["danger"]): Finding => ({
        check,
        danger,
        node: null,
        object: null,
        says: check,
        mend: null,
        on: null,
    });
    test("the worst comes first, in the list's order", () => {
        const { findings } = conclude(checks, {
            findings: [finding("c", "mend"), finding("b", "danger"), finding("a", "mend"), finding("a", "note")],
            unasked: [],
        });
        assert.deepEqual(
            findings.map(({ check, danger }) => `${check} ${danger}`),
            ["b danger", "a mend", "c mend", "a note"],
        );
    });
    test("what was not asked is not fine, unless something was found all the same", () => {
        const unasked = [
            { check: "a", node: "worker-1", why: "x" },
            { check: "b", node: "worker-1", why: "x" },
        ];
        const part = { findings: [finding("b", "mend")], unasked };
        assert.deepEqual(
            conclude(checks, part).checks.map(({ result }) => result),
            ["unasked", "mend", "fine"],
        );
        assert.equal(verdict(part), 1);
        assert.equal(verdict({ findings: [finding("a", "note")], unasked }), 2);
        assert.equal(verdict({ findings: [finding("a", "note")], unasked: [] }), 0);
    });
    test("a step that several findings share is done once", () => {
        const fix = { kind: "sql" as const, node: "n", statements: ["SELECT 1"] };
        const twice = [
            { ...finding("a", "mend"), fix },
            { ...finding("a", "mend"), fix },
            { ...finding("b", "mend"), fix },
        ];
        assert.deepEqual(fixesOf(twice, "a"), [fix]);
        assert.deepEqual(fixesOf(twice, "c"), []);
    });
});
