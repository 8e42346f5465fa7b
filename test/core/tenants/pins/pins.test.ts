/** Which tenants are isolated, moved and pinned: what is planned, in what order, and what is refused. */
import assert from "node:assert/strict";
import { describe, test } from "vitest";
import type { BlockerRow } from "../../../../core/citus/catalog.ts";
import { explainPinned } from "../../../../core/citus/rebalance/pins.ts";
import { runSplit } from "../../../../core/citus/rebalance/split.ts";
import type { Session } from "../../../../core/reach/session.ts";
import type { GroupSpec, TenantSpec } from "../../../../core/tenants/group/spec.ts";
import { NO_PINS, type PinsFound, planPins, type TenantPlace } from "../../../../core/tenants/pins/pinsPlan.ts";
import { EMPTY } from "../../../tenants.ts";

const node = (groupId: number, holdsShards = true) => ({
    name: groupId === 0 ? "coordinator" : `worker-${groupId}`,
    host: `h${groupId}`,
    port: 5432,
    groupId,
    holdsShards,
});

const found = (more: Partial<PinsFound> = {}): PinsFound => ({
    ...NO_PINS,
    nodes: [node(0, false), node(1), node(2)],
    ...more,
});

const place = (more: Partial<TenantPlace> = {}): TenantPlace => ({
    distributed: true,
    shardId: "102008",
    own: true,
    groupId: 1,
    notOfType: null,
    ...more,
});

const clinics = (tenants: Record<string, TenantSpec>, more: Partial<GroupSpec> = {}): GroupSpec => ({
    ...EMPTY,
    name: "clinics",
    model: "schema",
    tenants,
    ...more,
});

const billing = (tenants: Record<string, TenantSpec>): GroupSpec => ({
    ...EMPTY,
    name: "billing",
    model: "row",
    anchor: "companies",
    tenants,
});

const kinds = (group: GroupSpec, f: PinsFound) =>
    planPins(group, f).steps.map(({ kind, tenant }) => `${kind.slice(5)}${tenant ? ` ${tenant}` : ""}`);

const blocker = (more: Partial<BlockerRow> = {}): BlockerRow => ({
    table: "acme.events",
    schema: "acme",
    colocationId: 3,
    unlogged: false,
    accessMethod: null,
    bytes: null,
    column: null,
    candidates: ["id"],
    deferrable: null,
    reference: false,
    shards: 1,
    ...more,
});

const honoured = { name: "by_disk_size_pinned", honours: true };
const pin = (tenant: string, n: string) => ({ [tenant]: { anchor: tenant, key: null, node: n } });

describe("planPins", () => {
    test("nothing is wanted, nothing is done", () => {
        assert.deepEqual(planPins(clinics({ acme: {}, globex: { limits: {} } }), found()), {
            steps: [],
            refusals: [],
            notes: [],
        });
    });

    test("a schema tenant elsewhere is moved, then pinned; one that is there is only pinned", () => {
        const group = clinics({ acme: { node: "worker-2" }, globex: { node: "worker-1" } });
        const f = found({ tenants: { acme: place(), globex: place() } });
        assert.deepEqual(kinds(group, f), ["move acme", "pin acme", "pin globex"]);
        assert.equal(planPins(group, f).steps[0]?.text, "acme: move from worker-1 to worker-2 while it is served");
        const weighed = {
            ...f,
            rates: { move: 10_000_000 },
            tenants: Object.fromEntries(
                Object.entries(f.tenants).map(([name, place]) => [name, { ...place, bytes: 1_200_000_000 }]),
            ),
        };
        assert.equal(
            planPins(group, weighed).steps[0]?.text,
            "acme: move from worker-1 to worker-2 while it is served; 1.20 GB, about 2 min",
        );
    });

    test("an empty schema is only pinned, and one that is still to come is placed", () => {
        const group = clinics({ acme: { node: "worker-2" }, later: { node: "worker-2" } });
        const f = found({
            tenants: {
                acme: place({ shardId: null, own: false, groupId: null }),
                later: place({ distributed: false, shardId: null, own: false, groupId: null }),
            },
        });
        assert.deepEqual(kinds(group, f), ["move later", "pin acme", "pin later"]);
        assert.match(planPins(group, f).steps[1]?.text ?? "", /no table yet/);
    });

    test("pinned where it shall be: nothing", () => {
        const group = clinics({ acme: { node: "worker-1" } });
        const f = found({
            tenants: { acme: place() },
            pins: pin("acme", "worker-1"),
            allPins: 1,
            strategy: honoured,
        });
        assert.deepEqual(kinds(group, f), []);
    });

    test("a row tenant gets a shard of its own first, and preview says what that costs", () => {
        const group = billing({ "42": { node: "worker-2" }, "7": { isolate: true }, "8": {} });
        const shared = place({ own: false });
        const f = found({ shards: 32, tenants: { "42": shared, "7": shared } });
        assert.deepEqual(kinds(group, f), ["isolate 7", "isolate 42", "move 42", "pin 42"]);
        const [first, second] = planPins(group, f).steps;
        assert.match(first?.text ?? "", /^7: .*irreversible, group 32 → 34 shards$/);
        assert.match(second?.text ?? "", /^42: .*irreversible, group 34 → 36 shards$/);
        assert.deepEqual(kinds(group, found({ shards: 36, tenants: { "42": place({ groupId: 2 }), "7": place() } })), [
            "pin 42",
        ]);
    });

    test("isolate means nothing to a schema tenant", () => {
        assert.deepEqual(kinds(clinics({ acme: { isolate: true } }), found()), []);
    });

    test("without a node it is unpinned; one that left the program stays, with a note; one to delete is unpinned", () => {
        const f = found({
            pins: { ...pin("acme", "worker-1"), ...pin("left", "worker-2"), ...pin("old", "worker-2") },
            allPins: 3,
            strategy: honoured,
        });
        const planned = planPins(clinics({ acme: {} }, { delete: ["old"] }), f);
        assert.deepEqual(
            planned.steps.map(({ text }) => text),
            [
                "acme: no longer pinned to worker-1; rebalances may move it",
                "old: no longer pinned to worker-2; rebalances may move it",
            ],
        );
        assert.deepEqual(planned.notes, [
            "left is pinned to worker-2 and not in the program: it stays there. To unpin it, list it without a node.",
        ]);
    });

    test("one that was deleted or went to another group is unpinned", () => {
        const pins = { acme: { anchor: "acme", key: null, node: "worker-1", gone: true } };
        assert.deepEqual(kinds(clinics({}), found({ pins, allPins: 1, strategy: honoured })), ["unpin acme"]);
    });

    test("a strategy that somebody changed is set again, and one without pins goes", () => {
        const group = clinics({ acme: { node: "worker-1" } });
        const pinned = { tenants: { acme: place() }, pins: pin("acme", "worker-1"), allPins: 1 };
        assert.deepEqual(kinds(group, found(pinned)), ["strategy"]);
        assert.deepEqual(kinds(clinics({}), found({ strategy: honoured })), ["strategy"]);
        assert.deepEqual(kinds(clinics({}), found({ strategy: honoured, allPins: 1 })), []);
    });

    test("every refusal at once: no such node, one that leaves, the coordinator, tables without a key", () => {
        const f = found({
            nodes: [node(0, false), node(1), node(2), node(3, false)],
            tenants: { acme: place(), a: place(), b: place(), c: place(), d: place() },
            blockers: [
                blocker(),
                blocker({ table: "acme.cache", unlogged: true }),
                blocker({ table: "d.t", schema: "d" }),
                blocker({ table: "other.t", schema: "other" }),
            ],
        });
        const { refusals } = planPins(
            clinics({
                acme: { node: "worker-2" },
                a: { node: "worker-9" },
                b: { node: "worker-3" },
                c: { node: "coordinator" },
                d: { node: "worker-1" },
            }),
            f,
        );
        assert.deepEqual(
            refusals?.map((refusal) => refusal.split("\n")),
            [
                [
                    "worker-9: no node of this name takes shards, and the program puts tenant a there. Nodes that take shards: worker-1, worker-2.",
                ],
                [
                    "worker-3: it is leaving and takes no shards any more, and the program puts tenant b there. Nodes that take shards: worker-1, worker-2.",
                ],
                [
                    "coordinator: it takes no shards, and the program puts tenant c there. Nodes that take shards: worker-1, worker-2.",
                    "To let it take shards: pulumi config set --path citus:coordinator.shards true",
                ],
                [
                    "acme.events: no primary key or replica identity, so tenant acme can't be moved while it is served",
                    "Put this into a file of template, for all tenants, unless a file that was not run yet has it. Then run pulumi up once without node for acme:",
                    "ALTER TABLE events ADD PRIMARY KEY (id);",
                ],
                [
                    "acme.cache: UNLOGGED tables can't be moved, so tenant acme can't be moved while it is served",
                    "Put this into a file of template, for all tenants, unless a file that was not run yet has it. Then run pulumi up once without node for acme:",
                    "ALTER TABLE cache SET LOGGED;",
                ],
            ],
        );
    });

    test("rows without a key: the file that gives them one is run once without node and isolate", () => {
        const { refusals } = planPins(
            billing({ 7: { isolate: true } }),
            found({
                tenants: { 7: place({ own: false }) },
                blockers: [blocker({ table: "events", schema: "public", column: "company_id" })],
            }),
        );
        assert.deepEqual(refusals?.[0]?.split("\n").slice(1), [
            "Put this into a file of template unless a file that was not run yet has it. Then run pulumi up once without node and isolate for 7:",
            "ALTER TABLE events ADD PRIMARY KEY (company_id, id);",
        ]);
    });

    test("columnar tables: another access method, or a move that lets writers wait; never a key", () => {
        const columnar = { accessMethod: "columnar", bytes: 5_000_000 };
        const ofSchema = planPins(
            clinics({ acme: { node: "worker-2" } }),
            found({ tenants: { acme: place() }, blockers: [blocker(columnar)] }),
        );
        assert.deepEqual(ofSchema.refusals?.[0]?.split("\n"), [
            "acme.events: access method columnar, 5 MB: INSERTs would fail for as long as a shard of it moves, so tenant acme can't be moved while it is served",
            "Put this into a file of template, for all tenants, unless a file that was not run yet has it. Then run pulumi up once without node for acme:",
            "SELECT alter_table_set_access_method('events', 'heap');",
            "Or let its writers wait while it is moved (npm run psql), then run pulumi up again:",
            `SELECT citus_schema_move('"acme"', '${node(2).host}', 5432, 'block_writes');`,
        ]);
        const ofRows = planPins(
            billing({ 7: { node: "worker-2" } }),
            found({
                tenants: { 7: place({ own: false }) },
                blockers: [blocker({ ...columnar, table: "events", schema: "public" })],
            }),
        );
        assert.deepEqual(ofRows.refusals?.[0]?.split("\n").slice(4), [
            "SELECT isolate_tenant_to_new_shard('\"public\".\"companies\"', '7', 'CASCADE', 'block_writes');",
            `SELECT citus_move_shard_placement(get_shard_id_for_distribution_column('"public"."companies"', '7'), '${node(1).host}', 5432, '${node(2).host}', 5432, 'block_writes');`,
        ]);
    });

    test("a key that is none of its column is refused", () => {
        const { refusals, steps } = planPins(
            billing({ abc: { node: "worker-1" } }),
            found({ tenants: { abc: place({ shardId: null, own: false, groupId: null, notOfType: "bigint" }) } }),
        );
        assert.deepEqual(refusals, ["tenant abc can't be isolated: its key is no bigint. Write it as one."]);
        assert.deepEqual(steps, []);
    });

    test("5,000 tenants are planned at once", () => {
        const names = Array.from({ length: 5000 }, (_, i) => `t${i}`);
        const group = clinics(Object.fromEntries(names.map((name) => [name, { node: "worker-2" }])));
        const f = found({ tenants: Object.fromEntries(names.map((name) => [name, place()])) });
        const began = performance.now();
        assert.equal(planPins(group, f).steps.length, 10_000);
        assert.ok(performance.now() - began < 1000);
    });
});

test("a worker that tenants are pinned to can't leave: who they are, and what to do", () => {
    const row = (groupId: number) => ({ ...node(groupId), nodeId: groupId, active: true, synced: true });
    const tenant = { group: "hot", tenant: "42", node: "worker-3", shardId: "1", tables: ["sessions"] };
    assert.equal(
        explainPinned("worker-3", [tenant], [0, 1, 2, 3].map(row)),
        'worker-3 can\'t leave: 1 shard group has nowhere to go.\n  sessions (tenant 42 pinned to worker-3 by group "hot")\n' +
            "Nothing was moved. Unpin the tenant first: name another node for it, or none, and run pulumi up once while worker-3 still stays. Or keep 3 workers.",
    );
    assert.match(
        explainPinned("coordinator", [tenant, { ...tenant, tables: [] }], [0, 1].map(row)),
        /^coordinator can't give up its shards: 2 shard groups[\s\S]*no table yet[\s\S]*citus:coordinator\.shards true\)\.$/,
    );
});

describe("runSplit", () => {
    const session = (query: (sql: string) => object[]): Session => ({
        node: "coordinator",
        query: async <T extends object>(sql: string) => query(sql) as T[],
        certificateEnds: () => undefined,
        close: async () => undefined,
    });
    const own = session(() => [{ pid: 7 }]);

    test("a split that ends is left alone", async () => {
        assert.equal(
            await runSplit(
                own,
                session(() => []),
                async () => undefined,
            ),
            true,
        );
    });

    test("one that can't apply what was changed is cancelled", async () => {
        let cancel: (error: Error) => void = () => undefined;
        const watcher = session((sql) => {
            if (/pg_cancel_backend/.test(sql)) cancel(new Error("canceling statement due to user request"));
            return [{}];
        });
        const split = () =>
            new Promise((_resolve, reject) => {
                cancel = reject;
            });
        assert.equal(await runSplit(own, watcher, split, 5), false);
    });

    test("one that does not end is cancelled, although no node says why", async () => {
        let cancel: (error: Error) => void = () => undefined;
        const watcher = session((sql) => {
            if (/pg_cancel_backend/.test(sql)) cancel(new Error("canceling statement due to user request"));
            return [];
        });
        const split = () =>
            new Promise((_resolve, reject) => {
                cancel = reject;
            });
        assert.equal(await runSplit(own, watcher, split, 5, 10), false);
    });

    test("one that fails for another reason says so", async () => {
        await assert.rejects(
            runSplit(
                own,
                session(() => []),
                async () => {
                    throw new Error("no room");
                },
            ),
            /no room/,
        );
    });
});
