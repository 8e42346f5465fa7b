/** Which nodes a cluster has: what a changed count or a retired worker adds and removes. */
import assert from "node:assert/strict";
import fc from "fast-check";
import { describe, test } from "vitest";
import { MAX_WORKERS, validate } from "../../../components/config/index.ts";
import { nodeHost, topology, workerIndex, workerIndexes, workerName } from "../../../core/node/topology.ts";

const count = fc.integer({ min: 0, max: MAX_WORKERS });
const retired = fc.uniqueArray(fc.integer({ min: 1, max: 40 }), { maxLength: 12 });
const cluster = fc.stringMatching(/^[a-z][a-z0-9-]{0,38}[a-z0-9]$/);
const names = (numbers: readonly number[]) => numbers.map(workerName);
const workersOf = (n: number, retire: readonly number[]) =>
    topology("c1", n, names(retire))
        .filter((node) => node.role === "worker")
        .map((node) => node.index);

describe("topology", () => {
    test("has one coordinator, first, and as many workers as wanted, whatever is retired", () => {
        fc.assert(
            fc.property(cluster, count, retired, (name, n, retire) => {
                const nodes = topology(name, n, names(retire));
                assert.equal(nodes.length, n + 1);
                assert.deepEqual(nodes[0], {
                    name: "coordinator",
                    role: "coordinator",
                    index: 0,
                    host: `coordinator.${name}.node`,
                });
                assert.ok(nodes.slice(1).every((node) => node.role === "worker" && node.index > 0));
            }),
        );
    });

    test("names, hosts and indexes are unique, and agree with each other", () => {
        fc.assert(
            fc.property(cluster, count, retired, (name, n, retire) => {
                const nodes = topology(name, n, names(retire));
                for (const key of ["name", "host", "index"] as const) {
                    assert.equal(new Set(nodes.map((node) => node[key])).size, nodes.length, key);
                }
                for (const node of nodes.slice(1)) {
                    assert.equal(node.name, workerName(node.index));
                    assert.equal(workerIndex(node.name), node.index);
                    assert.equal(node.host, nodeHost(node.name, name));
                }
            }),
        );
    });

    test("workers are in ascending order", () => {
        fc.assert(
            fc.property(count, retired, (n, retire) => {
                const found = workersOf(n, retire);
                assert.deepEqual(
                    found,
                    found.toSorted((a, b) => a - b),
                );
            }),
        );
    });

    test("a retired worker is never there", () => {
        fc.assert(
            fc.property(count, retired, (n, retire) => {
                const found = new Set(workersOf(n, retire));
                for (const gone of retire) assert.ok(!found.has(gone), `worker-${gone}`);
            }),
        );
    });

    test("lowering the count removes the highest numbers only", () => {
        fc.assert(
            fc.property(count, count, retired, (a, b, retire) => {
                const more = workersOf(Math.max(a, b), retire);
                const fewer = workersOf(Math.min(a, b), retire);
                assert.deepEqual(fewer, more.slice(0, fewer.length));
                const removed = more.slice(fewer.length);
                assert.ok(removed.every((n) => fewer.every((kept) => kept < n)));
            }),
        );
    });

    test("raising the count never removes or renames a worker", () => {
        fc.assert(
            fc.property(count, fc.integer({ min: 0, max: 50 }), retired, (n, more, retire) => {
                const after = new Map(topology("c1", n + more, names(retire)).map((node) => [node.name, node]));
                for (const node of topology("c1", n, names(retire))) assert.deepEqual(after.get(node.name), node);
            }),
        );
    });

    test("retiring a worker and lowering the count by one removes just that one", () => {
        fc.assert(
            fc.property(
                fc.integer({ min: 1, max: MAX_WORKERS }),
                retired,
                fc.nat({ max: MAX_WORKERS - 1 }),
                (n, retire, at) => {
                    const before = workersOf(n, retire);
                    const gone = before[at % n] as number;
                    assert.deepEqual(
                        workersOf(n - 1, [...retire, gone]),
                        before.filter((i) => i !== gone),
                    );
                },
            ),
        );
    });

    test("retiring a worker at the same count replaces it by one with a fresh number", () => {
        fc.assert(
            fc.property(fc.integer({ min: 1, max: 60 }), retired, fc.nat({ max: 59 }), (n, retire, at) => {
                const before = workersOf(n, retire);
                const gone = before[at % n] as number;
                const after = workersOf(n, [...retire, gone]);
                const kept = before.filter((i) => i !== gone);
                assert.deepEqual(after.slice(0, -1), kept);
                assert.ok((after.at(-1) as number) > Math.max(0, ...before));
            }),
        );
    });

    test("the order and repetition of retired names does not matter", () => {
        fc.assert(
            fc.property(count, retired, (n, retire) => {
                assert.deepEqual(workersOf(n, [...retire, ...retire].reverse()), workersOf(n, retire));
            }),
        );
    });

    test("hosts of a valid configuration are host names of at most 64 characters, as certificates need", () => {
        fc.assert(
            fc.property(cluster, count, retired, (name, n, retire) => {
                const result = validate({ stack: "dev", values: { name, workers: n, retire: names(retire) } });
                if (!("args" in result)) return;
                for (const node of topology(result.args.name, result.args.workers, result.args.retire)) {
                    assert.ok(node.host.length <= 64, node.host);
                    for (const part of node.host.split(".")) assert.match(part, /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/);
                }
            }),
        );
    });

    test("only worker-<n> with n from 1 is a worker's name", () => {
        for (const bad of [
            "worker-0",
            "worker-01",
            "worker-",
            "worker",
            "worker-1a",
            "Worker-1",
            " worker-1",
            "worker-1 ",
            "worker--1",
            "worker-1.5",
            "coordinator",
            "",
            "worker-10000",
            "worker-1\n",
        ]) {
            assert.equal(workerIndex(bad), undefined, JSON.stringify(bad));
        }
        assert.equal(workerIndex("worker-1"), 1);
        assert.equal(workerIndex("worker-9999"), 9999);
    });

    test("no workers is a cluster of the coordinator alone", () => {
        assert.deepEqual(workerIndexes(0, [1, 2]), []);
        assert.deepEqual(
            topology("c1", 0, []).map((node) => node.name),
            ["coordinator"],
        );
    });
});
