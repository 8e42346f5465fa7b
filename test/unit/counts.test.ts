/** Comparing a moved shard with its old copy: when rows count as missing. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { COUNT_LIMIT, compareCopy } from "../../components/citus/counts.ts";
import type { Session } from "../../components/citus/session.ts";

interface Copy {
    rows: number;
    bytes?: number | null;
    deleted?: number;
    rewritten?: boolean;
}

function node(name: string, copy: Copy): Session {
    return {
        node: name,
        query: async <T extends object>(sql: string) => {
            const answer = /pg_total_relation_size/.test(sql)
                ? { bytes: copy.bytes === null ? null : String(copy.bytes ?? 8192) }
                : /count\(\*\)/.test(sql)
                  ? { n: String(copy.rows) }
                  : { deleted: String(copy.deleted ?? 0), rewritten: copy.rewritten ?? false };
            return [answer] as T[];
        },
        certificateEnds: () => undefined,
        close: async () => undefined,
    };
}

const compare = (old: Copy, now: Copy) => compareCopy(node("worker-1", old), node("worker-3", now), "public.t_102008");

describe("compareCopy", () => {
    test("as many rows, or more that clients added, are the same", async () => {
        assert.equal(await compare({ rows: 100 }, { rows: 100 }), "same");
        assert.equal(await compare({ rows: 100 }, { rows: 130 }), "same");
    });

    test("fewer rows are explained by as many deletes, or by a TRUNCATE", async () => {
        assert.equal(await compare({ rows: 100 }, { rows: 90, deleted: 10 }), "same");
        assert.equal(await compare({ rows: 100 }, { rows: 0, rewritten: true }), "same");
    });

    test("fewer rows than deletes explain are missing, with both nodes and counts", { timeout: 10_000 }, async () => {
        const result = await compare({ rows: 100 }, { rows: 79, deleted: 20 });
        assert.ok(typeof result === "object");
        assert.match(result.missing, /public\.t_102008 had 100 rows on worker-1 and has 79 on worker-3/);
    });

    test("what is too large or gone is not counted, and not said to be", async () => {
        assert.equal(await compare({ rows: 1, bytes: COUNT_LIMIT + 1 }, { rows: 0 }), "not counted");
        assert.equal(await compare({ rows: 1, bytes: null }, { rows: 0 }), "not counted");
        assert.equal(await compare({ rows: 1 }, { rows: 0, bytes: null }), "not counted");
    });
});
