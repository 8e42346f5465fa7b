/** Logical replication slots of users: which a new worker needs, and which keep one from leaving. */
import assert from "node:assert/strict";
import { describe, test } from "vitest";
import type { NodeRow } from "../../../../core/citus/catalog.ts";
import { describeSlots, makeSlots, type Slot, sharedSlots } from "../../../../core/citus/members/slots.ts";
import type { Session } from "../../../../core/reach/session.ts";

const slot = (name: string, more: Partial<Slot> = {}): Slot => ({
    ...{ name, plugin: "pgoutput", database: "app", here: true, unread: 4_000_000, reader: null, twoPhase: false },
    ...more,
});

const row = (groupId: number): NodeRow => ({
    ...{ nodeId: groupId + 1, groupId, host: groupId === 0 ? "coordinator.c1.node" : `worker-${groupId}.c1.node` },
    ...{ port: 5432, active: true, synced: true, holdsShards: true },
});

/** A coordinator with slots on its workers, by their number. */
function coordinator(slots: Record<number, Slot[]>, held = 0): Session {
    const groups = Object.keys(slots).map(Number);
    return {
        node: "coordinator",
        query: async <T extends object>(sql: string) => {
            if (/master_run_on_worker/.test(sql))
                return groups.map((n) => ({ host: row(n).host, slots: JSON.stringify(slots[n]) })) as unknown as T[];
            if (/FROM pg_dist_node WHERE noderole = 'primary' ORDER/.test(sql))
                return [0, ...groups].map(row) as unknown as T[];
            if (/FROM pg_dist_placement/.test(sql)) return [{ n: held }] as unknown as T[];
            throw new Error(`unexpected: ${sql}`);
        },
        certificateEnds: () => undefined,
        close: async () => undefined,
    };
}

function target() {
    const made: unknown[] = [];
    const session: Session = {
        node: "worker-3",
        query: async <T extends object>(_sql: string, parameters: readonly unknown[] = []) => {
            made.push(parameters);
            return [] as T[];
        },
        certificateEnds: () => undefined,
        close: async () => undefined,
    };
    return { session, made };
}

describe("sharedSlots", () => {
    test("a slot counts when every worker has it with that plugin in this database", () => {
        const everywhere = slot("cdc");
        assert.deepEqual(sharedSlots([[everywhere, slot("one")], [slot("cdc")]]), [everywhere]);
        assert.deepEqual(sharedSlots([[everywhere], [slot("cdc", { plugin: "wal2json" })]]), []);
        assert.deepEqual(sharedSlots([[slot("cdc", { here: false })]]), []);
        assert.deepEqual(sharedSlots([]), []);
    });
});

describe("makeSlots", () => {
    const worker3 = { host: row(3).host, port: 5432 };

    test("makes on a new worker what all others have", async () => {
        const { session, made } = target();
        const cluster = coordinator({ 1: [slot("cdc", { twoPhase: true })], 2: [slot("cdc")], 3: [] });
        assert.deepEqual(await makeSlots(cluster, session, worker3), ["cdc"]);
        assert.deepEqual(made, [["cdc", "pgoutput", true]]);
    });

    for (const [why, slots, held] of [
        ["it is there", { 1: [slot("cdc")], 2: [slot("cdc")], 3: [slot("cdc")] }, 0],
        ["the worker holds shards", { 1: [slot("cdc")], 2: [slot("cdc")], 3: [] }, 4],
        ["another worker lacks it", { 1: [slot("cdc")], 2: [], 3: [] }, 0],
        ["it is the first worker", { 3: [] }, 0],
    ] as const) {
        test(`makes none when ${why}`, async () => {
            const { session, made } = target();
            const copy = Object.fromEntries(Object.entries(slots).map(([n, own]) => [n, [...own]]));
            assert.deepEqual(await makeSlots(coordinator(copy, held), session, worker3), []);
            assert.deepEqual(made, []);
        });
    }
});

describe("describeSlots", () => {
    test("says what is made on a new worker, and what is not", async () => {
        const cluster = coordinator({ 1: [slot("cdc"), slot("one")], 2: [slot("cdc")] });
        const [shared, partial] = await describeSlots(cluster, { coming: ["worker-3"], leaving: [] });
        assert.match(shared ?? "", /slot cdc \(pgoutput\): pulumi up makes it on worker-3 too, before shards arrive/);
        assert.match(partial ?? "", /not made on worker-3: one \(worker-1\)/);
    });

    test("names the slots of a leaving worker, with the statement that ends each", async () => {
        const cluster = coordinator({ 1: [slot("cdc")], 2: [slot("cdc", { reader: 77 })] });
        const said = await describeSlots(cluster, { coming: [], leaving: [row(2)] });
        assert.match(said.join("\n"), /worker-2 has[\s\S]*cdc \(pgoutput, database app\): 4 MB[^\n]* read by pid 77/);
        assert.match(
            said.join("\n"),
            /SELECT pg_drop_replication_slot\('cdc'\);[\s\S]*refuses to remove it until then/,
        );
    });

    test("says nothing when no worker comes or leaves, and nothing without slots", async () => {
        assert.deepEqual(await describeSlots(coordinator({ 1: [slot("cdc")] }), { coming: [], leaving: [] }), []);
        assert.deepEqual(await describeSlots(coordinator({ 1: [] }), { coming: ["worker-2"], leaving: [row(1)] }), []);
    });
});
