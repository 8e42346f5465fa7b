/** Comparing a moved shard with its old copy: when rows count as missing. */
import assert from "node:assert/strict";
import { describe, test } from "vitest";
import { COUNT_LIMIT, compareCopy, judge, type Told } from "../../../core/citus/counts.ts";
import type { Session } from "../../../core/reach/session.ts";
import { quickly } from "../../clock.ts";

const START = 1_000_000;
const OPEN = { pid: 4711, role: "app", application: "web", since: "10:00:00" };

/** A node with one copy of a shard; what changes is asked at each question. */
interface Copy {
    rows: number;
    bytes?: number | null;
    told?: (seconds: number) => Partial<Told>;
    questions?: string[];
}

function node(name: string, copy: Copy): Session {
    const answer = (sql: string): object[] => {
        const { open = [], ...told } = copy.told?.((Date.now() - START) / 1000) ?? {};
        if (/pg_total_relation_size/.test(sql))
            return [{ bytes: copy.bytes === null ? null : String(copy.bytes ?? 8192) }];
        if (/count\(\*\)/.test(sql)) return [{ n: String(copy.rows) }];
        if (/clock_timestamp\(\)::text/.test(sql)) return [{ at: "2026-01-01 10:00:00+00" }];
        if (/pg_stat_get_tuples_deleted/.test(sql))
            return [{ there: true, rewritten: false, deleted: 0, reliable: true, ...told }];
        if (/FROM pg_stat_activity/.test(sql)) return [...open];
        assert.match(sql, /pg_stat_clear_snapshot/);
        return [];
    };
    return {
        node: name,
        query: async <T extends object>(sql: string) => {
            copy.questions?.push(sql);
            return answer(sql) as T[];
        },
        certificateEnds: () => undefined,
        close: async () => undefined,
    };
}

/** The verdict, and after how many seconds it came. */
async function compare(old: Copy, now: Copy) {
    return quickly(async () => {
        const verdict = await compareCopy(node("worker-1", old), node("worker-3", now), "t_102008");
        return { verdict, seconds: (Date.now() - START) / 1000 };
    });
}

describe("compareCopy", () => {
    test("as many rows, or more that clients added, are the same at once", async () => {
        assert.deepEqual(await compare({ rows: 100 }, { rows: 100 }), { verdict: "same", seconds: 0 });
    });

    test("more rows that clients added", async () => {
        assert.deepEqual(await compare({ rows: 100 }, { rows: 130 }), { verdict: "same", seconds: 0 });
    });

    for (const [what, told] of [
        ["as many deletes", { deleted: 10 }],
        ["a TRUNCATE", { rewritten: true }],
    ] as const)
        test(`fewer rows are explained by ${what}`, async () => {
            const { verdict } = await compare({ rows: 100 }, { rows: 90, told: () => told });
            assert.equal(verdict, "same");
        });

    test("by deletes that statistics tell of 10 s later, when their session goes idle", async () => {
        const now = { rows: 70, told: (seconds: number) => ({ deleted: seconds < 10 ? 0 : 30 }) };
        const { verdict, seconds } = await compare({ rows: 100 }, now);
        assert.equal(verdict, "same");
        assert.ok(seconds >= 10 && seconds < 13, `${seconds} s`);
    });

    test("and by deletes of a session whose next transaction keeps it from telling", async () => {
        const now = {
            rows: 70,
            told: (seconds: number) => (seconds < 60 ? { open: [OPEN] } : { deleted: 30 }),
        };
        const { verdict, seconds } = await compare({ rows: 100 }, now);
        assert.equal(verdict, "same");
        assert.ok(seconds >= 60 && seconds < 63, `${seconds} s`);
    });

    test("fewer rows than deletes explain are missing, not before 12 s, with both nodes and counts", async () => {
        const { verdict, seconds } = await compare({ rows: 100 }, { rows: 79, told: () => ({ deleted: 20 }) });
        assert.deepEqual(verdict, {
            missing: "t_102008 had 100 rows on worker-1 and has 79 on worker-3, where 20 deletes are known",
        });
        assert.ok(seconds >= 12 && seconds < 15, `${seconds} s`);
    });

    test("a transaction that stays open is waited for for 2 minutes, then named", async () => {
        const { verdict, seconds } = await compare({ rows: 100 }, { rows: 79, told: () => ({ open: [OPEN] }) });
        assert.ok(typeof verdict === "object");
        assert.match(
            verdict.missing,
            /pid 4711 \(role app, application "web"\) has been in a transaction since 10:00:00/,
        );
        assert.ok(seconds >= 120 && seconds < 123, `${seconds} s`);
    });

    for (const [what, told] of [
        ["a table or partition that clients dropped", { there: false }],
        ["deletes that a node does not count, or forgot in a crash", { reliable: false }],
    ] as const)
        test(`${what}: not counted, and not said to be`, async () => {
            const { verdict } = await compare({ rows: 100 }, { rows: 90, told: () => told });
            assert.equal(verdict, "not counted");
        });

    for (const [what, old, now] of [
        ["too large", { rows: 1, bytes: COUNT_LIMIT + 1 }, { rows: 0 }],
        ["gone from where it was", { rows: 1, bytes: null }, { rows: 0 }],
        ["gone from where it is", { rows: 1 }, { rows: 0, bytes: null }],
    ] as const)
        test(`what is ${what} is not counted`, async () => {
            assert.equal((await compare(old, now)).verdict, "not counted");
        });

    test("statistics are read anew each time: within a transaction they would stay as they were", async () => {
        const questions: string[] = [];
        await compare({ rows: 100 }, { rows: 79, questions });
        const asked = questions.map((sql) => /clear_snapshot|tuples_deleted/.exec(sql)?.[0]).filter(Boolean);
        assert.ok(asked.length > 10);
        for (const [i, what] of asked.entries()) assert.equal(what, i % 2 === 0 ? "clear_snapshot" : "tuples_deleted");
    });
});

test("judge: dropped comes before deleted, explained before unreliable, and open transactions count only as such", () => {
    const told: Told = { there: true, rewritten: false, deleted: 0, reliable: true, open: [] };
    assert.equal(judge(5, { ...told, there: false, deleted: 9 }, 0), "not counted");
    assert.equal(judge(5, { ...told, reliable: false, deleted: 5 }, 0), "same");
    assert.equal(judge(5, { ...told, reliable: false }, 0), "not counted");
    assert.equal(judge(5, told, 11_999), "wait");
    assert.equal(judge(5, told, 12_000), "missing");
    assert.equal(judge(5, { ...told, open: [OPEN] }, 119_999), "wait");
    assert.equal(judge(5, { ...told, open: [OPEN] }, 120_000), "missing");
});
