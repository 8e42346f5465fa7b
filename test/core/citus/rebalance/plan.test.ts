/** The moves that a preview shows, for any placement. */
import assert from "node:assert/strict";
import fc from "fast-check";
import { describe, test } from "vitest";
import type { ShardGroup } from "../../../../core/citus/catalog.ts";
import {
    type PlannedMove,
    type PlanOptions,
    planMoves,
    summarizeMoves,
} from "../../../../core/citus/rebalance/plan.ts";

const node = fc.integer({ min: 0, max: 7 });
const groups: fc.Arbitrary<ShardGroup[]> = fc
    .array(
        fc.record({
            colocationId: fc.integer({ min: 1, max: 3 }),
            groupId: node,
            bytes: fc.oneof(fc.constant(0), fc.integer({ min: 0, max: 4_000_000_000 })),
        }),
        { maxLength: 60 },
    )
    .map((list) => list.map((g, i) => ({ ...g, shardId: String(102_008 + i), tables: [`t${i}`] })));
/** Registered nodes, and negative numbers for those to come. */
const wanted = fc.uniqueArray(fc.oneof(node, fc.integer({ min: -3, max: -1 })), { minLength: 1, maxLength: 8 });
const options: fc.Arbitrary<PlanOptions> = fc
    .record({
        strategy: fc.constantFrom("by_disk_size", "by_shard_count" as const),
        wanted,
        drainOnly: fc.boolean(),
        threshold: fc.option(fc.double({ min: 0, max: 1, noNaN: true }), { nil: undefined }),
    })
    .map(
        ({ threshold, ...rest }): PlanOptions =>
            threshold === undefined || rest.strategy === "by_shard_count" ? rest : { ...rest, threshold },
    );

function apply(before: readonly ShardGroup[], moves: readonly PlannedMove[]): ShardGroup[] {
    const to = new Map(moves.map((move) => [move.shardId, move.to]));
    return before.map((g) => ({ ...g, groupId: to.get(g.shardId) ?? g.groupId }));
}

/** Shard groups that Citus levels as one: a colocation group, or all of those with fewer than there are nodes. */
function levelled(all: readonly ShardGroup[], nodes: readonly number[]): ShardGroup[][] {
    const of = (id: number) => all.filter((g) => g.colocationId === id);
    const ids = [...new Set(all.map((g) => g.colocationId))];
    const few = ids.filter((id) => of(id).length < nodes.length);
    return [...ids.filter((id) => !few.includes(id)).map(of), few.flatMap(of)];
}

describe("planMoves", () => {
    test("leaves nothing on a node that is not wanted", () => {
        fc.assert(
            fc.property(groups, options, (before, o) => {
                for (const g of apply(before, planMoves(before, o))) assert.ok(o.wanted.includes(g.groupId));
            }),
        );
    });

    test("never moves to a node that is not wanted, nor to where the group is", () => {
        fc.assert(
            fc.property(groups, options, (before, o) => {
                for (const move of planMoves(before, o)) {
                    assert.ok(o.wanted.includes(move.to));
                    assert.notEqual(move.from, move.to);
                }
            }),
        );
    });

    test("moves each group at most once, from where it is", () => {
        fc.assert(
            fc.property(groups, options, (before, o) => {
                const moves = planMoves(before, o);
                assert.ok(moves.length <= before.length);
                assert.equal(new Set(moves.map((move) => move.shardId)).size, moves.length);
                for (const move of moves) {
                    const g = before.find((group) => group.shardId === move.shardId);
                    assert.equal(g?.groupId, move.from);
                    assert.equal(g?.bytes, move.bytes);
                    assert.deepEqual(g?.tables, move.tables);
                }
            }),
        );
    });

    test("by_shard_count leaves counts that differ by at most 1", () => {
        fc.assert(
            fc.property(groups, wanted, (before, nodes) => {
                const after = apply(before, planMoves(before, { strategy: "by_shard_count", wanted: nodes }));
                for (const own of levelled(after, nodes)) {
                    const found = nodes.map((id) => own.filter((g) => g.groupId === id).length);
                    assert.ok(Math.max(...found) - Math.min(...found) <= 1, String(found));
                }
            }),
        );
    });

    test("by_disk_size leaves no node above the threshold that a single move would help", () => {
        const cost = (g: ShardGroup) => g.bytes + 100 * 1024 * 1024;
        fc.assert(
            fc.property(groups, wanted, (before, nodes) => {
                const after = apply(before, planMoves(before, { strategy: "by_disk_size", wanted: nodes }));
                for (const own of levelled(after, nodes)) {
                    const load = (id: number) =>
                        own.filter((g) => g.groupId === id).reduce((sum, g) => sum + cost(g), 0);
                    const loads = nodes.map(load);
                    const average = loads.reduce((a, b) => a + b, 0) / nodes.length;
                    const most = Math.max(...loads);
                    const least = Math.min(...loads);
                    if (most <= average * 1.1 && least >= average * 0.9) continue;
                    const heaviest = nodes.filter((id) => load(id) === most);
                    for (const g of own.filter((group) => heaviest.includes(group.groupId)).slice(0, 1))
                        assert.ok(least + cost(g) >= most || heaviest.length > 1, "a move that would help was left");
                }
            }),
        );
    });

    test("schemas of tenants spread, though each is a colocation group of its own", () => {
        const schemas: ShardGroup[] = Array.from({ length: 30 }, (_, i) => ({
            shardId: String(i),
            tables: [`t${i}.users`],
            colocationId: 10 + i,
            groupId: 1 + (i % 2),
            bytes: 1000,
        }));
        const moves = planMoves(schemas, { strategy: "by_disk_size", wanted: [1, 2, 3] });
        assert.ok(moves.length >= 8 && moves.length <= 10, String(moves.length));
        assert.ok(moves.every((move) => move.to === 3));
    });

    test("drainOnly never moves between wanted nodes, and moves everything from the others", () => {
        fc.assert(
            fc.property(groups, options, (before, o) => {
                const moves = planMoves(before, { ...o, drainOnly: true });
                for (const move of moves) assert.ok(!o.wanted.includes(move.from));
                assert.equal(moves.length, before.filter((g) => !o.wanted.includes(g.groupId)).length);
            }),
        );
    });

    test("a second plan after the first is empty", () => {
        fc.assert(
            fc.property(groups, options, (before, o) => {
                assert.deepEqual(planMoves(apply(before, planMoves(before, o)), o), []);
            }),
        );
    });

    test("a balanced placement is left alone", () => {
        const even: ShardGroup[] = Array.from({ length: 32 }, (_, i) => ({
            shardId: String(i),
            tables: ["t"],
            colocationId: 1,
            groupId: 1 + (i % 4),
            bytes: 1000,
        }));
        for (const strategy of ["by_disk_size", "by_shard_count"] as const)
            assert.deepEqual(planMoves(even, { strategy, wanted: [1, 2, 3, 4] }), []);
    });

    test("two workers more take half of 32 shards", () => {
        const even: ShardGroup[] = Array.from({ length: 32 }, (_, i) => ({
            shardId: String(i),
            tables: ["t"],
            colocationId: 1,
            groupId: 1 + (i % 2),
            bytes: 0,
        }));
        for (const strategy of ["by_disk_size", "by_shard_count"] as const) {
            const moves = planMoves(even, { strategy, wanted: [1, 2, -1, -2] });
            assert.equal(moves.length, 16);
            assert.ok(moves.every((move) => move.to < 0 && move.from > 0));
        }
    });

    describe("with pins", () => {
        const pinned = fc.tuple(groups, options, fc.array(node)).map(([before, o, where]) => ({
            before,
            o: { ...o, pins: new Map(where.map((id, i) => [String(102_008 + 3 * i), id])) },
        }));

        test("what is pinned to a wanted node ends there, and moves nowhere else", () => {
            fc.assert(
                fc.property(pinned, ({ before, o }) => {
                    for (const g of apply(before, planMoves(before, o))) {
                        const pin = o.pins.get(g.shardId);
                        if (pin !== undefined && o.wanted.includes(pin)) assert.equal(g.groupId, pin);
                        else assert.ok(o.wanted.includes(g.groupId));
                    }
                }),
            );
        });

        test("pins to nodes that are not wanted change nothing", () => {
            fc.assert(
                fc.property(groups, options, (before, o) => {
                    const pins = new Map(before.map((g) => [g.shardId, 99]));
                    assert.deepEqual(planMoves(before, { ...o, pins }), planMoves(before, o));
                }),
            );
        });

        test("a worker more takes its share of the others", () => {
            const even: ShardGroup[] = Array.from({ length: 32 }, (_, i) => ({
                shardId: String(i),
                tables: ["t"],
                colocationId: 1,
                groupId: 1 + (i % 2),
                bytes: 0,
            }));
            const pins = new Map([
                ["0", 1],
                ["1", -1],
            ]);
            const moves = planMoves(even, { strategy: "by_disk_size", wanted: [1, 2, -1], pins });
            assert.ok(moves.some((move) => move.shardId === "1" && move.to === -1));
            assert.ok(!moves.some((move) => move.shardId === "0"));
            assert.ok(moves.length >= 9 && moves.length <= 11);
        });
    });

    test("no wanted node and no shard give no move", () => {
        const one: ShardGroup = { shardId: "1", tables: ["t"], colocationId: 1, groupId: 1, bytes: 1 };
        assert.deepEqual(planMoves([one], { strategy: "by_disk_size", wanted: [] }), []);
        assert.deepEqual(planMoves([], { strategy: "by_disk_size", wanted: [1] }), []);
    });

    test("summarizeMoves counts by pair", () => {
        const move = (from: number, to: number): PlannedMove => ({ shardId: "1", from, to, bytes: 0, tables: [] });
        assert.equal(
            summarizeMoves([move(1, 3), move(2, 3), move(1, 3)], (id) => `worker-${id}`),
            "worker-1 → worker-3 2, worker-2 → worker-3 1",
        );
        assert.equal(summarizeMoves([], String), "");
    });
});
