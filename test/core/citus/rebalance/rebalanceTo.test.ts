/** Placing shards: what is refused before a node is marked, and that marks go when a rebalance fails. */
import assert from "node:assert/strict";
import { describe, test } from "vitest";
import type { NodeRow, ShardGroup } from "../../../../core/citus/catalog.ts";
import { describeAssessment, isAsked, isSettled, obstacle } from "../../../../core/citus/rebalance/assess.ts";
import { assessCluster } from "../../../../core/citus/rebalance/assessCluster.ts";
import { JobError } from "../../../../core/citus/rebalance/job.ts";
import { type PlaceOptions, rebalanceTo } from "../../../../core/citus/rebalance/rebalanceTo.ts";
import { strategyName } from "../../../../core/citus/rebalance/strategy.ts";
import type { Wanted } from "../../../../core/citus/rebalance/wanted.ts";
import { DatabaseError, isLost, type Session } from "../../../../core/reach/session.ts";
import { quickly } from "../../../clock.ts";

const hostOf = (groupId: number) => (groupId === 0 ? "coordinator.c1.node" : `worker-${groupId}.c1.node`);
const row = (groupId: number, more: Partial<NodeRow> = {}): NodeRow => ({
    nodeId: groupId + 10,
    groupId,
    host: hostOf(groupId),
    port: 5432,
    active: true,
    synced: true,
    holdsShards: groupId !== 0,
    ...more,
});
const worker = (n: number) => ({ name: `worker-${n}`, host: hostOf(n), port: 5432 });
const wantedOf = (workers: number[], more: Partial<Wanted> = {}): Wanted => ({
    workers: workers.map(worker),
    coordinatorShards: false,
    rebalance: true,
    strategy: "by_disk_size",
    transferMode: "auto",
    ...more,
});

interface Script {
    nodes?: NodeRow[];
    /** How many shard groups are on each node group. */
    shards?: Record<number, number>;
    blockers?: object[];
    /** What nodes say of limits in force. */
    limits?: { host: string; result: string }[];
    unreachable?: number[];
    /** How the rebalance ends. */
    job?: "finished" | "failed" | "stuck" | "refused";
    /** How often a client's DDL holds what a rebalance needs to begin. */
    locked?: number;
    /** Shard groups that the rebalance leaves where they are. */
    stay?: number;
    /** A rebalance that runs already when we come. */
    running?: boolean;
    cleanup?: number;
    unmarkFails?: boolean;
}

/** A coordinator with a little of Citus in it: nodes, shard groups, and a rebalance that moves them or fails. */
class FakeCitus implements Session {
    readonly node = "coordinator";
    readonly changes: string[] = [];
    nodes: NodeRow[];
    groups: ShardGroup[];
    private readonly script: Script;
    private job:
        | { state: string; moves: { shardId: string; from: number; to: number; message: string; status: string }[] }
        | undefined;
    private jobs = 0;

    constructor(script: Script = {}) {
        this.script = script;
        this.nodes = script.nodes ?? [row(0), row(1), row(2), row(3)];
        this.groups = Object.entries(script.shards ?? { 1: 2, 2: 2, 3: 2 }).flatMap(([groupId, n], g) =>
            Array.from({ length: n }, (_, i) => ({
                shardId: String(102_000 + 100 * g + i),
                tables: ["projects"],
                colocationId: 1,
                groupId: Number(groupId),
                bytes: 1_000_000,
            })),
        );
        if (script.running) this.begin();
    }

    private begin(): string | null {
        const targets = this.nodes.filter((n) => n.holdsShards);
        const leaving = this.groups.filter((g) => !targets.some((n) => n.groupId === g.groupId));
        const moves = leaving.slice(0, leaving.length - (this.script.stay ?? 0)).map((g, i) => ({
            shardId: g.shardId,
            from: g.groupId,
            to: (targets[i % targets.length] as NodeRow).groupId,
            message: "",
            status: "runnable",
        }));
        if (moves.length === 0) return null;
        this.job = { state: "running", moves };
        return String(++this.jobs);
    }

    /** One look at the job is one step of it. */
    private step(): void {
        const { job } = this;
        if (job?.state !== "running" || this.script.job === "stuck") return;
        const next = job.moves.find((move) => move.status === "runnable");
        if (next && this.script.job === "failed" && job.moves.some((move) => move.status === "done")) {
            next.status = "error";
            next.message = "ERROR:  could not connect to worker-2";
            job.state = "failed";
        } else if (next) {
            next.status = "done";
            this.groups = this.groups.map((g) => (g.shardId === next.shardId ? { ...g, groupId: next.to } : g));
        } else job.state = "finished";
    }

    async query<T extends object>(sql: string, parameters: readonly unknown[] = []): Promise<T[]> {
        return this.answer(sql, parameters) as T[];
    }

    private answer(sql: string, parameters: readonly unknown[]): object[] {
        if (/pg_try_advisory_lock/.test(sql)) return [{ ok: true }];
        if (/to_regclass\('citus_as_code\.tenant_pin'\)/.test(sql)) return [{ pins: false }];
        if (/AS ours FROM pg_dist_rebalance_strategy/.test(sql))
            return [{ name: "by_disk_size", isDefault: true, ours: false }];
        if (/FROM pg_dist_rebalance_strategy/.test(sql))
            return [{ name: parameters[0], threshold: 0.1, isDefault: true }];
        if (/FROM pg_dist_node WHERE noderole/.test(sql)) return this.nodes;
        if (/^WITH shards AS/.test(sql)) return this.groups;
        if (/get_rebalance_table_shards_plan/.test(sql)) return [];
        if (/relreplident/.test(sql)) return this.script.blockers ?? [];
        if (/job_type = 'rebalance'/.test(sql))
            return this.job?.state === "running" ? [{ jobId: String(this.jobs) }] : [];
        if (/citus_check_connection_to_node/.test(sql))
            return [{ ok: !(this.script.unreachable ?? []).some((n) => hostOf(n) === parameters[0]) }];
        if (/citus_set_node_property/.test(sql)) {
            const holdsShards = parameters.length > 2 ? Boolean(parameters[2]) : /, true\)/.test(sql);
            if (holdsShards && this.script.unmarkFails) throw new DatabaseError("coordinator", "x", { message: "no" });
            this.changes.push(`${parameters[0]} shouldhaveshards ${holdsShards}`);
            this.nodes = this.nodes.map((n) => (n.host === parameters[0] ? { ...n, holdsShards } : n));
            return [];
        }
        if (/FROM pg_proc/.test(sql)) return [{ names: ["rebalance_strategy", "parallel_transfer_colocated_shards"] }];
        if (/citus_rebalance_start/.test(sql)) {
            if (this.script.job === "refused")
                throw new DatabaseError("coordinator", "SELECT citus_rebalance_start", { message: "no capacity" });
            if (this.script.locked !== undefined && this.script.locked-- > 0)
                throw new DatabaseError("coordinator", "SELECT citus_rebalance_start", {
                    message: "could not acquire the lock required to rebalance public.visits",
                });
            this.changes.push(`rebalance ${parameters.join(" ")}`);
            assert.ok(/parallel_transfer_colocated_shards/.test(sql) && !/reference_tables := true/.test(sql));
            return [{ jobId: this.begin() }];
        }
        if (/^(BEGIN|COMMIT|ROLLBACK)$/.test(sql)) return [];
        if (/^UPDATE pg_dist_background_task/.test(sql)) {
            this.changes.push(`writes wait for ${parameters[1]}`);
            return [];
        }
        if (/array_agg\(s\.shardid::text\) AS ids/.test(sql))
            return this.groups.map((g) => ({ shardId: g.shardId, tables: g.tables, bytes: g.bytes, ids: [g.shardId] }));
        if (/ AS live /.test(sql)) return [{ live: this.job?.state === "running" }];
        if (/SELECT state::text AS state/.test(sql)) {
            this.step();
            return this.job ? [{ state: this.job.state }] : [];
        }
        if (/FROM pg_dist_background_task/.test(sql))
            return (this.job?.moves ?? []).map((move, i) => ({
                taskId: String(i),
                status: move.status,
                retries: 0,
                message: move.message,
                pid: null,
                shardId: move.shardId,
                sourceNodeId: move.from + 10,
                targetNodeId: move.to + 10,
            }));
        if (/get_rebalance_progress/.test(sql)) return [{ bytes: 0, mark: "" }];
        if (/pg_replication_slots/.test(sql)) return [];
        if (/citus_job_cancel/.test(sql)) {
            this.changes.push("cancel");
            if (this.job) this.job.state = "cancelled";
            return [];
        }
        if (/FROM pg_dist_placement/.test(sql)) {
            const n = this.groups.filter((g) => g.groupId === parameters[0]).length;
            return /GROUP BY 1/.test(sql) ? [{ table: "projects", n }] : [{ n }];
        }
        if (/FROM pg_dist_cleanup/.test(sql)) {
            const left = this.script.cleanup ?? 0;
            return Array.from({ length: left }, (_, i) => ({ name: `public.projects_${i}`, recordId: String(i) }));
        }
        if (/citus_cleanup_orphaned_resources/.test(sql)) {
            if (this.script.cleanup) this.script.cleanup--;
            return [];
        }
        if (/stop_metadata_sync_to_node/.test(sql)) {
            this.changes.push(`stop sync ${parameters[0]}`);
            return [];
        }
        if (/citus_remove_node/.test(sql)) {
            this.changes.push(`remove ${parameters[0]}`);
            this.nodes = this.nodes.filter((n) => n.host !== parameters[0]);
            return [];
        }
        if (/FROM pg_publication$/.test(sql) || /shard_name\(s\.logicalrelid/.test(sql)) return [];
        if (/pg_file_settings/.test(sql)) return this.script.limits ?? [];
        if (/pg_db_role_setting/.test(sql)) return [];
        throw new Error(`unexpected: ${sql}`);
    }

    certificateEnds() {
        return undefined;
    }

    async close() {}
}

/** A worker itself, with what only it has. */
function workerSession(node: string, tables: string[] = [], databases: string[] = []): Session {
    return {
        node,
        query: async <T extends object>(sql: string) => {
            const names = /relation_is_a_known_shard/.test(sql)
                ? tables
                : /FROM pg_database/.test(sql)
                  ? databases
                  : /pg_dist_object|pg_largeobject_metadata|pg_publication|pg_replication_slots|pg_ls_dir/.test(sql)
                    ? []
                    : undefined;
            if (!names) throw new Error(`unexpected on ${node}: ${sql}`);
            return names.map((name) => ({ name })) as T[];
        },
        certificateEnds: () => undefined,
        close: async () => undefined,
    };
}

function optionsOf(more: Partial<PlaceOptions> = {}): PlaceOptions & { said: string[] } {
    const said: string[] = [];
    return {
        open: async (host) => (host.startsWith("worker-3") ? workerSession("worker-3") : undefined),
        probe: async () => true,
        openFresh: async () => undefined,
        openDatabase: async (host) => workerSession(host),
        removedElsewhere: [worker(1), worker(2), worker(3)],
        progress: (text) => said.push(text),
        alive: () => undefined,
        said,
        ...more,
    };
}

const isMarked = (citus: FakeCitus, n: number) => citus.nodes.find((node) => node.groupId === n)?.holdsShards === false;

const columnar = {
    table: "readings",
    unlogged: false,
    accessMethod: "columnar",
    bytes: 1_200_000_000,
    column: "id",
    candidates: ["id"],
    reference: false,
    shards: 6,
};

describe("place", () => {
    test("empties a leaving worker, and leaves its removal to its own resource", async () => {
        const citus = new FakeCitus();
        const placed = await quickly(() => rebalanceTo(citus, wantedOf([1, 2]), optionsOf()));
        assert.equal(placed.moved, 2);
        assert.equal(placed.bytes, 2_000_000);
        assert.ok(citus.groups.every((g) => g.groupId === 1 || g.groupId === 2));
        assert.ok(isMarked(citus, 3));
        assert.ok(!citus.changes.some((change) => change.startsWith("remove")));
        assert.equal(citus.changes[0], "worker-3.c1.node shouldhaveshards false");
    });

    test("removes a leaving worker that no resource removes, once it is empty", async () => {
        const citus = new FakeCitus();
        await quickly(() => rebalanceTo(citus, wantedOf([1, 2]), optionsOf({ removedElsewhere: [] })));
        assert.deepEqual(citus.changes.slice(-2), ["stop sync worker-3.c1.node", "remove worker-3.c1.node"]);
    });

    test("waits for locks that a client's DDL holds, and not for ever", async () => {
        const placed = await quickly(() => rebalanceTo(new FakeCitus({ locked: 5 }), wantedOf([1, 2]), optionsOf()));
        assert.equal(placed.moved, 2);
        const wanted = wantedOf([1, 2], { transferMode: "block_writes" });
        await assert.rejects(
            quickly(() => rebalanceTo(new FakeCitus({ locked: 500 }), wanted, optionsOf())),
            /could not acquire the lock required to rebalance public\.visits/,
        );
    });

    test("does nothing that changes a settled cluster but asks Citus for a plan", async () => {
        const citus = new FakeCitus();
        const placed = await quickly(() => rebalanceTo(citus, wantedOf([1, 2, 3]), optionsOf()));
        assert.equal(placed.moved, 0);
        assert.deepEqual(citus.changes, ["rebalance by_disk_size false auto"]);
    });

    test("with rebalance: false a settled cluster is not even asked", async () => {
        const citus = new FakeCitus();
        await quickly(() => rebalanceTo(citus, wantedOf([1, 2, 3], { rebalance: false }), optionsOf()));
        assert.deepEqual(citus.changes, []);
    });

    test("with rebalance: false a leaving worker is only drained", async () => {
        const citus = new FakeCitus();
        await quickly(() => rebalanceTo(citus, wantedOf([1, 2], { rebalance: false }), optionsOf()));
        assert.equal(citus.changes[1], "rebalance by_disk_size true auto");
    });

    test("takes up a worker that another run left marked", async () => {
        const citus = new FakeCitus({ nodes: [row(0), row(1), row(2), row(3, { holdsShards: false })] });
        await quickly(() => rebalanceTo(citus, wantedOf([1, 2, 3]), optionsOf()));
        assert.equal(citus.changes[0], "worker-3.c1.node shouldhaveshards true");
    });

    test("follows a rebalance that is already running", async () => {
        const citus = new FakeCitus({
            running: true,
            nodes: [row(0), row(1), row(2), row(3, { holdsShards: false })],
        });
        const options = optionsOf();
        const placed = await quickly(() => rebalanceTo(citus, wantedOf([1, 2]), options));
        assert.equal(placed.moved, 2);
        assert.ok(options.said.includes("a rebalance is already running; following it"));
    });

    test("waits for old copies to be dropped", async () => {
        const citus = new FakeCitus({ cleanup: 2 });
        // compareMoved asks both nodes of a move: only the leaving one can be asked here, so nothing is compared
        const options = optionsOf({ removedElsewhere: [] });
        await quickly(() => rebalanceTo(citus, wantedOf([1, 2]), options));
        assert.ok(options.said.some((text) => /^dropping [12] old cop(y|ies) of moved shards on worker-3$/.test(text)));
        assert.equal(citus.changes.at(-1), "remove worker-3.c1.node");
    });

    describe("undoes its marks", () => {
        test("when the rebalance fails, and says what was moved and what to do", async () => {
            const citus = new FakeCitus({ job: "failed" });
            await assert.rejects(
                quickly(() => rebalanceTo(citus, wantedOf([1, 2]), optionsOf())),
                (error: Error) => {
                    assert.match(
                        error.message,
                        /^the rebalance failed:\n {2}moving projects from worker-3 to worker-2:\n {4}ERROR: {2}could not connect to worker-2/,
                    );
                    assert.match(error.message, /1 of 2 shard groups were moved and stay where they are\./);
                    assert.match(error.message, /worker-3 takes shards again\./);
                    assert.match(error.message, /run pulumi up again, or put citus:workers back\.$/);
                    return true;
                },
            );
            assert.ok(!isMarked(citus, 3));
            assert.ok(!citus.changes.some((change) => change.startsWith("remove")));
        });

        test("when the rebalance is refused", async () => {
            const citus = new FakeCitus({ job: "refused" });
            await assert.rejects(
                quickly(() => rebalanceTo(citus, wantedOf([1, 2]), optionsOf())),
                /no capacity[\s\S]*worker-3 takes shards again/,
            );
            assert.ok(!isMarked(citus, 3));
        });

        test("when nothing happens any more, after the job was stopped", async () => {
            const citus = new FakeCitus({ job: "stuck" });
            await assert.rejects(
                quickly(() => rebalanceTo(citus, wantedOf([1, 2]), optionsOf({ stuckAfter: 5000 }))),
                /nothing happened for [5-7] s/,
            );
            assert.deepEqual(citus.changes.slice(-2), ["cancel", "worker-3.c1.node shouldhaveshards true"]);
        });

        test("when shards have nowhere to go", async () => {
            const citus = new FakeCitus({ stay: 1 });
            await assert.rejects(
                quickly(() => rebalanceTo(citus, wantedOf([1, 2]), optionsOf())),
                /worker-3 can't leave: 1 shards have nowhere to go[\s\S]*projects[\s\S]*worker-3 takes shards again/,
            );
            assert.ok(!isMarked(citus, 3));
        });

        test("of all that leave, those too that a killed run marked", async () => {
            const citus = new FakeCitus({
                job: "failed",
                nodes: [row(0), row(1), row(2), row(3), row(4, { holdsShards: false })],
                shards: { 1: 2, 2: 2, 3: 2 },
            });
            await assert.rejects(
                quickly(() =>
                    rebalanceTo(
                        citus,
                        wantedOf([1]),
                        optionsOf({ open: async (host) => workerSession(host.split(".")[0] ?? host) }),
                    ),
                ),
                /worker-2, worker-3, worker-4 take shards again/,
            );
            assert.deepEqual(
                [2, 3, 4].filter((n) => isMarked(citus, n)),
                [],
            );
        });

        test("or says which could not be, and how", async () => {
            const citus = new FakeCitus({ job: "failed", unmarkFails: true });
            await assert.rejects(
                quickly(() => rebalanceTo(citus, wantedOf([1, 2]), optionsOf())),
                /worker-3 could not be set to take shards again: run SELECT citus_set_node_property/,
            );
        });
    });

    describe("refuses before anything is marked", () => {
        const refused = async (citus: FakeCitus, wanted: Wanted, options: PlaceOptions, why: RegExp) => {
            await assert.rejects(
                quickly(() => rebalanceTo(citus, wanted, options)),
                (error: Error) => {
                    assert.match(error.message, why);
                    assert.match(error.message, /No(thing| shard) was moved/);
                    return true;
                },
            );
            assert.deepEqual(citus.changes, []);
        };

        test("when no node is left to hold shards", () =>
            refused(
                new FakeCitus(),
                wantedOf([]),
                optionsOf(),
                /^No node is left to hold shards\.[\s\S]*citus:coordinator\.shards true/,
            ));

        test("when a wanted worker is not registered", () =>
            refused(new FakeCitus(), wantedOf([1, 2, 3, 4]), optionsOf(), /^worker-4 should be registered and is not/));

        test("when a table can't be moved, with what to run", () => {
            const blockers = [
                {
                    table: "projects",
                    unlogged: false,
                    accessMethod: null,
                    bytes: null,
                    column: "tenant_id",
                    candidates: ["id"],
                    reference: false,
                    shards: 32,
                },
            ];
            return refused(
                new FakeCitus({ blockers }),
                wantedOf([1, 2]),
                optionsOf(),
                /1 table stands in the way[\s\S]*projects[\s\S]*ALTER TABLE projects ADD PRIMARY KEY \(tenant_id, id\);/,
            );
        });

        test("a table of another access method is no matter of a key: its size, heap, or writes that wait", () =>
            refused(
                new FakeCitus({ blockers: [{ ...columnar, table: "projects" }] }),
                wantedOf([1, 2]),
                optionsOf(),
                /^1 table stands in the way of moving shards:\n {2}projects {2}access method columnar, 1\.20 GB: INSERTs would fail for as long as a shard of it moves \(6 shards\)\n {6}SELECT alter_table_set_access_method\('projects', 'heap'\);\n(?![\s\S]*(REPLICA IDENTITY|PRIMARY KEY))[\s\S]*transferMode block_writes/,
            ));

        test("force_logical moves tables without a key, and no others that can't be replicated", async () => {
            const keyless = { ...columnar, accessMethod: null, table: "projects" };
            const forced = wantedOf([1, 2], { transferMode: "force_logical" });
            const placed = await quickly(() =>
                rebalanceTo(new FakeCitus({ blockers: [keyless] }), forced, optionsOf()),
            );
            assert.equal(placed.moved, 2);
            const citus = new FakeCitus({ blockers: [{ ...columnar, table: "projects" }] });
            await refused(citus, forced, optionsOf(), /access method columnar/);
        });

        test("when a node can't be reached", () =>
            refused(
                new FakeCitus({ unreachable: [2] }),
                wantedOf([1, 2]),
                optionsOf(),
                /^worker-2 \(worker-2\.c1\.node:5432\) can't be reached from the coordinator/,
            ));

        test("when a leaving worker has a table or a database that is nowhere else", () =>
            refused(
                new FakeCitus(),
                wantedOf([1, 2]),
                optionsOf({ open: async () => workerSession("worker-3", ["public.notes"], ["reports"]) }),
                /^worker-3 can't leave: it has data that is nowhere else\.\n {2}table public\.notes\n {2}database reports\n/,
            ));

        // design.md, 1: a worker that holds the only copy of anything can't be removed
        test("when a worker of this stack leaves and can't be asked what only it has", () =>
            refused(new FakeCitus(), wantedOf([1, 2]), optionsOf({ open: async () => undefined }), /worker-3/));
    });

    test("with block_writes only writes to what can't be replicated wait; preview says which and how long", async () => {
        const citus = new FakeCitus({ blockers: [columnar, { ...columnar, table: "projects" }] });
        const wanted = wantedOf([1, 2], { transferMode: "block_writes" });
        const found = await assessCluster(citus, wanted);
        assert.deepEqual(found.blockers, []);
        assert.match(
            describeAssessment(found, 100_000),
            /; writes to 2 of these shard groups wait while each is copied \(2 MB, the largest 1 MB, up to about 10 s each\): projects;/,
        );
        assert.match(describeAssessment(found, undefined), /the largest 1 MB; how long is not known/);
        await quickly(() => rebalanceTo(citus, wanted, optionsOf()));
        assert.ok(citus.changes.includes("rebalance by_disk_size false force_logical"), citus.changes.join("\n"));
        assert.ok(citus.changes.includes("writes wait for readings,projects"));
    });

    test("blockers are no obstacle when nothing has to move, or when writes may be blocked", async () => {
        const blockers = [
            {
                table: "projects",
                unlogged: true,
                accessMethod: null,
                bytes: null,
                column: null,
                candidates: [],
                reference: false,
                shards: 6,
            },
        ];
        const still = new FakeCitus({ blockers });
        await quickly(() => rebalanceTo(still, wantedOf([1, 2, 3]), optionsOf()));
        const blocking = new FakeCitus({ blockers });
        const placed = await quickly(() =>
            rebalanceTo(blocking, wantedOf([1, 2], { transferMode: "block_writes" }), optionsOf()),
        );
        assert.equal(placed.moved, 2);
    });
});

describe("assess", () => {
    test("a settled cluster needs nothing", async () => {
        const found = await assessCluster(new FakeCitus(), wantedOf([1, 2, 3]));
        assert.ok(isSettled(found));
        assert.equal(describeAssessment(found, undefined), "no shard has to move");
    });

    test("changes nothing, and tells what will move to workers that are still to come", async () => {
        const citus = new FakeCitus({ nodes: [row(0), row(1), row(2)], shards: { 1: 4, 2: 4 } });
        const found = await assessCluster(citus, wantedOf([1, 2, 3, 4]));
        assert.deepEqual(citus.changes, []);
        assert.deepEqual(
            found.missing.map((w) => w.name),
            ["worker-3", "worker-4"],
        );
        assert.equal(found.moves.length, 4);
        assert.ok(!isSettled(found));
        assert.match(describeAssessment(found, undefined), /^moves 4 shard groups, 4 MB: .*worker-1 → worker-[34]/);
        assert.match(
            describeAssessment({ ...found, moves: found.moves.slice(0, 1) }, undefined),
            /^moves 1 shard group, /,
        );
        assert.match(describeAssessment(found, 2_000_000), /about 2 s at 2 MB\/s/);
    });

    test("nodes are asked for the limits of tables' owners only where something moves", async () => {
        const asked = async (workers: number[]) => {
            const citus = new FakeCitus();
            const questions: string[] = [];
            const query = <T extends object>(sql: string) => {
                questions.push(sql);
                return citus.query<T>(sql);
            };
            await assessCluster(Object.assign(Object.create(citus) as FakeCitus, { query }), wantedOf(workers));
            return questions.filter((sql) => /run_command_on_all_nodes.*pg_file_settings/s.test(sql)).length;
        };
        assert.equal(await asked([1, 2]), 1 + (await asked([1, 2, 3])));
    });

    test("names who leaves", async () => {
        const found = await assessCluster(new FakeCitus(), wantedOf([1, 2]));
        assert.deepEqual(
            found.leaving.map((n) => n.host),
            ["worker-3.c1.node"],
        );
        assert.match(describeAssessment(found, undefined), /worker-3 will be emptied and removed$/);
    });

    test("reference tables without a key stand in the way of joins only", async () => {
        const blockers = [
            {
                table: "countries",
                unlogged: false,
                accessMethod: null,
                bytes: null,
                column: null,
                candidates: [],
                reference: true,
                shards: 1,
            },
        ];
        const join = await assessCluster(
            new FakeCitus({ blockers, nodes: [row(0), row(1)], shards: { 1: 2 } }),
            wantedOf([1, 2]),
        );
        assert.equal(join.blockers.length, 1);
        const leave = await assessCluster(new FakeCitus({ blockers }), wantedOf([1, 2]));
        assert.equal(leave.blockers.length, 0);
    });

    test("a running rebalance and a wrong mark are not settled", async () => {
        const marked = [row(0), row(1), row(2), row(3, { holdsShards: false })];
        assert.ok(
            !isSettled(
                await assessCluster(new FakeCitus({ nodes: marked, shards: { 1: 3, 2: 3 } }), wantedOf([1, 2, 3])),
            ),
        );
        const running = await assessCluster(new FakeCitus({ running: true, nodes: marked }), wantedOf([1, 2, 3]));
        assert.ok(!isSettled(running));
        assert.match(describeAssessment(running, undefined), /a rebalance is running/);
    });
});

test("a threshold has a strategy of its own", () => {
    assert.equal(strategyName({ strategy: "by_disk_size" }), "by_disk_size");
    assert.equal(strategyName({ strategy: "by_disk_size", threshold: 0.05 }), "by_disk_size_configured");
    assert.equal(strategyName({ strategy: "by_shard_count", threshold: 0 }), "by_shard_count");
});

describe("moves that nobody asked for", () => {
    const none = { missing: [], leaving: [] };
    const before = wantedOf([1, 2]);

    test("are asked for by a change of the configuration, or by nodes that join or leave", () => {
        assert.equal(isAsked(before, wantedOf([2, 1]), none), false);
        assert.equal(isAsked(undefined, before, none), true);
        assert.equal(isAsked(before, wantedOf([1]), none), true);
        assert.equal(isAsked(before, wantedOf([1, 2], { strategy: "by_shard_count" }), none), true);
        assert.equal(isAsked(before, wantedOf([1, 2], { threshold: 0.2 }), none), true);
        assert.equal(isAsked(before, before, { missing: [worker(2)], leaving: [] }), true);
        assert.equal(isAsked(before, before, { missing: [], leaving: [row(2)] }), true);
    });

    test("are hindered by blockers and by owners that may only read, and only when something moves", () => {
        const blocker = { table: "b", reason: "no key", fix: "ALTER", shards: 1, reference: false, forcible: true };
        const free = { blockers: [], limits: { refused: [], doubtful: [] }, moves: [], missing: [] };
        const move = { shardId: "1", from: 1, to: 2, bytes: 1, tables: ["b"] };
        assert.equal(obstacle(free), undefined);
        assert.equal(obstacle({ ...free, blockers: [blocker] }), undefined);
        assert.match(obstacle({ ...free, blockers: [blocker], moves: [move] }) ?? "", /1 table stands in the way/);
        const only = {
            node: "worker-1",
            role: "app",
            setting: "default_transaction_read_only",
            value: "on",
            milliseconds: 0,
            level: "database",
            database: "app",
        } as const;
        assert.match(
            obstacle({ ...free, limits: { refused: [only], doubtful: [] }, moves: [move] }) ?? "",
            /may only read[\s\S]*ALTER DATABASE "app" RESET default_transaction_read_only;/,
        );
    });
});

test("a task's own lost connection is no lost connection of ours; a restart of the coordinator is", () => {
    const lost = (code: string | undefined, message: string) =>
        new DatabaseError("coordinator", "SELECT 1", { message, ...(code === undefined ? {} : { code }) });
    assert.equal(isLost(lost("57P01", "terminating connection due to administrator command")), true);
    assert.equal(isLost(lost(undefined, "Connection terminated unexpectedly")), true);
    assert.equal(isLost(lost("25P04", "terminating connection due to transaction timeout")), false);
    const task = "a move failed 4 times:\n  FATAL: terminating connection due to transaction timeout";
    assert.equal(isLost(new JobError(task, 0, 6)), false);
});
