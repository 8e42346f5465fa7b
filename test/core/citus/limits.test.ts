/** Timeouts and read-only defaults: what the superuser is exempt from, and what owners' limits do to moves. */
import assert from "node:assert/strict";
import { describe, test } from "vitest";
import {
    describeLimits,
    exempt,
    explainDoubtful,
    hindrances,
    isLimited,
    type Limit,
    millisecondsOf,
    missingExemptions,
} from "../../../core/citus/limits.ts";
import { NO_LIMITS } from "../../../core/reach/ownSession.ts";
import type { Session } from "../../../core/reach/session.ts";

const limit = (more: Partial<Limit> = {}): Limit => ({
    node: "worker-1",
    role: "app",
    setting: "statement_timeout",
    value: "30s",
    milliseconds: 30_000,
    level: "role",
    database: "app",
    ...more,
});
const ALL = Object.entries(NO_LIMITS).map(([name, value]) => `${name}=${value}`);

test("missingExemptions: each one that is not there, or has another value", () => {
    assert.deepEqual(missingExemptions(ALL), []);
    assert.deepEqual(missingExemptions([]), Object.keys(NO_LIMITS));
    assert.deepEqual(
        missingExemptions(ALL.map((line) => line.replace("statement_timeout=0", "statement_timeout=1s"))),
        ["statement_timeout"],
    );
});

test("exempt sets what is missing, on that node alone, and nothing when nothing is", async () => {
    const run = async (lines: string[]) => {
        const said: string[] = [];
        const session: Session = {
            node: "worker-1",
            query: async <T extends object>(sql: string) => {
                if (/^SELECT/.test(sql)) return [{ lines, role: 'post"gres', database: "app" }] as unknown as T[];
                said.push(sql);
                return [];
            },
            certificateEnds: () => undefined,
            close: async () => undefined,
        };
        return { changed: await exempt(session), said };
    };
    assert.deepEqual(await run(ALL), { changed: false, said: [] });
    assert.deepEqual(await run(ALL.slice(1)), {
        changed: true,
        said: [
            "SET citus.enable_alter_role_set_propagation = off",
            `ALTER ROLE "post""gres" IN DATABASE "app" SET statement_timeout = '0'`,
            "RESET citus.enable_alter_role_set_propagation",
        ],
    });
});

test("millisecondsOf", () => {
    for (const [text, ms] of [
        ["0", 0],
        ["300", 300],
        ["1.5s", 1500],
        ["2min", 120_000],
        ["1 h", 3_600_000],
        ["on", 0],
    ] as const)
        assert.equal(millisecondsOf(text), ms, text);
});

describe("hindrances", () => {
    test("who may only read keeps every move from working", () => {
        const only = limit({ setting: "default_transaction_read_only", value: "on", milliseconds: 0 });
        assert.deepEqual(hindrances([only], 0), { refused: [only], doubtful: [] });
    });

    test("a timeout counts when the largest shards may take as long", () => {
        assert.deepEqual(hindrances([limit()], 299_000_000).doubtful, []);
        assert.deepEqual(hindrances([limit()], 301_000_000).doubtful, [limit()]);
        assert.deepEqual(hindrances([limit({ setting: "lock_timeout", milliseconds: 1 })], 1e12).doubtful, []);
    });
});

describe("words", () => {
    test("a limit is named once for all its nodes, with its value, source and what lifts it", () => {
        const found = [limit(), limit({ node: "worker-2" }), limit({ level: "database", value: "1s" })];
        assert.deepEqual(describeLimits(found), [
            "  role app: statement_timeout = 30s, set for the role, on worker-1, worker-2",
            '      ALTER ROLE "app" RESET statement_timeout;',
            "  role app: statement_timeout = 1s, set for the database, on worker-1",
            '      ALTER DATABASE "app" RESET statement_timeout;',
        ]);
        assert.match(
            describeLimits([limit({ level: "configuration" })]).join(),
            /take statement_timeout out of citus:settings/,
        );
        assert.equal(explainDoubtful({ refused: [], doubtful: [] }), undefined);
    });

    test("isLimited knows PostgreSQL's own messages", () => {
        for (const said of [
            "ERROR:  canceling statement due to statement timeout",
            "FATAL:  terminating connection due to transaction timeout",
            "ERROR:  canceling statement due to lock timeout",
            "FATAL:  terminating connection due to idle-in-transaction timeout",
            "ERROR:  cannot execute DROP TABLE in a read-only transaction",
        ])
            assert.ok(isLimited(said), said);
        assert.ok(!isLimited("ERROR:  connection timeout"));
    });
});
