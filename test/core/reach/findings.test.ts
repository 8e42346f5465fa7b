/** What is said of what nobody declared, and of what grows on a node. */
import assert from "node:assert/strict";
import { describe, test } from "vitest";
import { explainFindings } from "../../../core/citus/health/checks/looks.ts";
import { ownedNames } from "../../../core/node/settings.ts";
import type { NodeFindings } from "../../../core/reach/nodeFindings.ts";
import { explainSilence } from "../../../core/reach/nodeState.ts";
import { saidBy } from "../../../core/reach/said.ts";
import { DatabaseError } from "../../../core/reach/session.ts";

const GB = 1024 ** 3;
const WELL: NodeFindings = {
    size: 100 * GB,
    free: 60 * GB,
    refused: null,
    owned: ["work_mem", "wal_level"],
    passwordDiffers: false,
    altered: [],
    repairs: [],
    scoped: [],
    walLimit: GB,
    slots: [],
    prepared: [],
    idle: [],
};
const explain = (found: Partial<NodeFindings>) => explainFindings("worker-1", { ...WELL, ...found });
const NOTHING = { mended: [], problems: [], notes: [] };

test("a node that is well is told nothing of", () => assert.deepEqual(explain({}), NOTHING));

describe("what beats the configuration", () => {
    test("is put right where its value is the stack's, and only told of where it is not", () => {
        const found = explain({
            altered: [
                { name: "wal_level", value: "replica", configured: "logical" },
                { name: "archive_mode", value: "off", configured: null },
                { name: "maintenance_work_mem", value: "99MB", configured: "64MB" },
            ],
        });
        assert.deepEqual(
            found.mended.map((line) => line.split(". ")[0]),
            [
                'worker-1: ALTER SYSTEM set wal_level to "replica", and the stack says "logical"',
                'worker-1: ALTER SYSTEM set archive_mode to "off", and the stack says nothing about it',
            ],
        );
        assert.deepEqual(found.problems, []);
        assert.deepEqual(found.notes, [
            'worker-1: ALTER SYSTEM set maintenance_work_mem to "99MB"; the configuration file says "64MB". To take it back, on worker-1: ALTER SYSTEM RESET maintenance_work_mem; SELECT pg_reload_conf()',
        ]);
    });

    test("of a database or a role is named with what takes it back, but where OWNED itself sends people there", () => {
        const { problems, mended } = explain({
            scoped: [
                { database: "app", role: null, name: "work_mem", value: "1GB" },
                { database: "app", role: 'o"ne', name: "work_mem", value: "2GB" },
                { database: null, role: "one", name: "synchronous_commit", value: "off" },
                { database: null, role: "one", name: "TimeZone", value: "Europe/Berlin" },
                { database: null, role: "one", name: "statement_timeout", value: "1s" },
            ],
        });
        assert.deepEqual(mended, []);
        assert.deepEqual(
            problems.map((line) => line.split(": ").at(-1)),
            [
                'SET citus.enable_ddl_propagation = off; ALTER DATABASE "app" RESET work_mem',
                'SET citus.enable_ddl_propagation = off; ALTER ROLE "o""ne" IN DATABASE "app" RESET work_mem',
            ],
        );
    });

    test("Citus' repairs that are off are one problem, not two", () => {
        const name = "citus.recover_2pc_interval";
        const found = explain({ repairs: [name], altered: [{ name, value: "-1", configured: null }] });
        assert.equal(found.problems.length, 1);
        assert.match(found.problems[0] ?? "", /repairs are off .*ALTER SYSTEM RESET citus\.recover_2pc_interval/);
        assert.deepEqual([found.mended, found.notes], [[], []]);
    });

    test("a password, and a configuration that was refused, are put right", () => {
        assert.match(explain({ passwordDiffers: true }).mended[0] ?? "", /password on the node is not the stack's/);
        assert.match(
            explain({ refused: "no such library\n" }).mended[0] ?? "",
            /refused the configuration .*: no such library$/,
        );
        assert.deepEqual(explain({ refused: "\n" }), NOTHING);
    });
});

describe("what keeps WAL and rows", () => {
    const slot = (bytes: number, seconds: number | null) => ({
        slots: [{ name: "gone", bytes, seconds, database: "app" }],
    });
    for (const [what, found, problems, notes] of [
        ["a consumer that restarts", slot(1024, 20), 0, 0],
        ["a reader that is away for long", slot(1024, 700), 0, 1],
        ["a reader that never came", slot(1024, null), 0, 1],
        ["much WAL in a short time", slot(100 * 1024 ** 2, 20), 0, 1],
        ["more WAL than a healthy node keeps", slot(2 * GB, 20), 1, 0],
        [
            "a prepared transaction of a user for 20 min",
            { prepared: [{ gid: "x", seconds: 1200, owner: "a", database: "app" }] },
            0,
            0,
        ],
        ["one for two hours", { prepared: [{ gid: "x", seconds: 7200, owner: "a", database: "app" }] }, 1, 0],
        [
            "one of Citus, of which transactions.ts tells with what was decided",
            { prepared: [{ gid: "citus_0_123_45_0", seconds: 7200, owner: "a", database: "app" }] },
            0,
            0,
        ],
        [
            "a transaction that is idle for an hour",
            { idle: [{ pid: 7, role: "app", application: "", database: "app", seconds: 3700 }] },
            1,
            0,
        ],
        ["a volume that is nearly full", { free: 4 * GB }, 1, 0],
        ["a small volume with room for its WAL", { size: 10 * GB, free: 2.5 * GB }, 0, 0],
    ] as const)
        test(what, () => {
            const said = explain(found);
            assert.deepEqual([said.problems.length, said.notes.length, said.mended.length], [problems, notes, 0]);
        });
});

test("a node with another password says that, and not that it is gone", () => {
    const why = saidBy(
        new DatabaseError(
            "worker-1",
            "connecting to localhost:5433",
            { message: "password authentication failed", code: "28P01" },
            true,
        ),
    );
    assert.match(why, /password on it is not the stack's: npm run pulumi -- up/);
    assert.equal(explainSilence(why, undefined), why);
});

test("a node's own settings: what was chosen and holds there, libraries, and what the project needs", () => {
    const names = ownedNames(
        { work_mem: "8MB", max_connections: "300" },
        { all: { work_mem: "4MB", max_connections: "300" }, workers: { work_mem: "8MB" }, coordinator: { jit: "on" } },
    );
    assert.deepEqual(names.slice(0, 3), ["work_mem", "max_connections", "shared_preload_libraries"]);
    assert.ok(names.includes("wal_level") && !names.includes("jit"));
});
