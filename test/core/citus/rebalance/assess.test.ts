/** What follows from how a cluster is and how it is wanted, for any cluster. */
import assert from "node:assert/strict";
import fc from "fast-check";
import { describe, test } from "vitest";
import type { Blocker, NodeRow } from "../../../../core/citus/catalog.ts";
import { assess, isSettled, obstacle } from "../../../../core/citus/rebalance/assess.ts";
import type { ClusterView } from "../../../../core/citus/rebalance/view.ts";
import { shouldHoldShards, type Wanted } from "../../../../core/citus/rebalance/wanted.ts";

const hostOf = (groupId: number) => (groupId === 0 ? "coordinator.c1.node" : `worker-${groupId}.c1.node`);
const workerOf = (n: number) => ({ name: `worker-${n}`, host: hostOf(n), port: 5432 });

const wanted: fc.Arbitrary<Wanted> = fc.record({
    workers: fc.uniqueArray(fc.integer({ min: 1, max: 6 }), { maxLength: 6 }).map((all) => all.map(workerOf)),
    coordinatorShards: fc.boolean(),
    rebalance: fc.boolean(),
    strategy: fc.constantFrom("by_disk_size", "by_shard_count"),
    transferMode: fc.constantFrom("auto", "force_logical", "block_writes"),
});

/** As readCluster gives it: nodes, shard groups on them, pins and blockers; Citus' own plan only where it may be asked. */
const view: fc.Arbitrary<ClusterView> = fc
    .record({
        registered: fc.uniqueArray(fc.integer({ min: 1, max: 6 }), { maxLength: 6 }),
        marks: fc.array(fc.boolean(), { minLength: 7, maxLength: 7 }),
        shards: fc.array(fc.record({ at: fc.nat(), bytes: fc.integer({ min: 0, max: 1e9 }) }), { maxLength: 24 }),
        pins: fc.array(fc.record({ at: fc.nat(), node: fc.integer({ min: 1, max: 6 }) }), { maxLength: 3 }),
        blocked: fc.uniqueArray(fc.integer({ min: 0, max: 23 }), { maxLength: 4 }),
        planned: fc.option(fc.array(fc.record({ shard: fc.nat(), to: fc.nat() }), { maxLength: 6 }), {
            nil: undefined,
        }),
        running: fc.option(fc.constant("7"), { nil: undefined }),
        bound: fc.subarray(["coordinator", "worker-1"]),
    })
    .map(({ registered, marks, shards, pins, blocked, planned, running, bound }) => {
        const nodes = [0, ...registered].map(
            (groupId): NodeRow => ({
                nodeId: groupId + 10,
                groupId,
                host: hostOf(groupId),
                port: 5432,
                active: true,
                synced: true,
                holdsShards: marks[groupId] ?? true,
            }),
        );
        const groups = shards.map(({ at, bytes }, i) => ({
            shardId: String(102_008 + i),
            colocationId: 1,
            groupId: nodes[at % nodes.length]?.groupId ?? 0,
            bytes,
            tables: [`t${i}`],
        }));
        return {
            nodes,
            groups,
            pinned:
                groups.length === 0
                    ? []
                    : pins.map(({ at, node }, i) => ({
                          group: "g",
                          tenant: `p${i}`,
                          node: `worker-${node}`,
                          shardId: groups[at % groups.length]?.shardId ?? null,
                          tables: [],
                      })),
            blockers: blocked.map(
                (i): Blocker => ({
                    table: `t${i}`,
                    reason: "it has no replica identity",
                    fix: "add a primary key",
                    shards: 1,
                    reference: false,
                    forcible: true,
                }),
            ),
            bound,
            running,
            plan:
                planned === undefined || groups.length === 0
                    ? undefined
                    : planned.map(({ shard, to }) => ({
                          shardId: groups[shard % groups.length]?.shardId ?? "",
                          from: "",
                          to: nodes[to % nodes.length]?.host ?? "",
                      })),
        };
    });

const nobody = (found: ReturnType<typeof assess>) =>
    found.missing.length === 0 && found.leaving.length === 0 && found.misflagged.length === 0;

describe("assess, for any cluster", () => {
    test("whoever is wanted is there or missing, and whoever is not wanted leaves; the coordinator does neither", () => {
        fc.assert(
            fc.property(view, wanted, (is, want) => {
                const found = assess(is, want);
                const there = is.nodes.map(({ host }) => host);
                for (const { host } of want.workers)
                    assert.notEqual(
                        there.includes(host),
                        found.missing.some((one) => one.host === host),
                    );
                const hosts = want.workers.map(({ host }) => host);
                assert.deepEqual(
                    found.leaving.map(({ host }) => host),
                    there.filter((host) => host !== hostOf(0) && !hosts.includes(host)),
                );
            }),
        );
    });

    test("without Citus' own plan everything leaves a node that should hold nothing, when there is another", () => {
        fc.assert(
            fc.property(view, wanted, (is, want) => {
                const open = { ...is, plan: undefined, pinned: [] };
                const holding = is.nodes.some((node) => shouldHoldShards(node, want)) || want.workers.length > 0;
                fc.pre(holding);
                const found = assess(open, want);
                const emptied = is.nodes.filter((node) => !shouldHoldShards(node, want)).map(({ groupId }) => groupId);
                for (const group of is.groups)
                    if (emptied.includes(group.groupId))
                        assert.ok(
                            found.moves.some(({ shardId }) => shardId === group.shardId),
                            `${group.shardId} stays on ${group.groupId}`,
                        );
                for (const { to } of found.moves) assert.ok(!emptied.includes(to));
            }),
        );
    });

    test("Citus' own plan is taken as it is, a group's first shard for the whole group", () => {
        fc.assert(
            fc.property(view, wanted, (is, want) => {
                const { plan } = is;
                if (plan === undefined) return fc.pre(false);
                const last = new Map(plan.map(({ shardId, to }) => [shardId, to]));
                assert.deepEqual(
                    assess(is, want).moves.map(({ shardId, to }) => [shardId, hostOf(to)]),
                    is.groups.flatMap(({ shardId }) => (last.has(shardId) ? [[shardId, last.get(shardId)]] : [])),
                );
            }),
        );
    });

    test("it is settled exactly when nobody joins, leaves or is marked wrongly, and nothing moves, runs or is bound", () => {
        fc.assert(
            fc.property(view, wanted, (is, want) => {
                const found = assess(is, want);
                const still = found.moves.length === 0 && is.running === undefined && is.bound.length === 0;
                assert.equal(isSettled(found), nobody(found) && still);
            }),
        );
    });

    test("what can't be moved is in the way only of its own move, and of none with block_writes", () => {
        fc.assert(
            fc.property(view, wanted, (is, want) => {
                const found = assess(is, want);
                const moving = new Set(found.moves.flatMap(({ tables }) => tables));
                const stuck = is.blockers.filter(({ table }) => moving.has(table));
                if (want.transferMode === "block_writes") {
                    assert.equal(obstacle(found), undefined);
                    assert.equal(found.waits.length > 0, stuck.length > 0);
                } else {
                    assert.equal(found.waits.length, 0);
                    assert.equal(obstacle(found) !== undefined, found.blockers.length > 0 && found.moves.length > 0);
                }
                for (const { table } of found.blockers) assert.ok(moving.has(table));
            }),
        );
    });

    test("tenants that are pinned to a node that should hold nothing are named", () => {
        fc.assert(
            fc.property(view, wanted, (is, want) => {
                const found = assess(is, want);
                const idle = is.nodes
                    .filter((node) => !shouldHoldShards(node, want))
                    .map(({ host }) => host.split(".")[0]);
                assert.equal(
                    found.stranded.flatMap(({ tenants }) => tenants).length,
                    is.pinned.filter(({ node }) => idle.includes(node)).length,
                );
            }),
        );
    });
});
