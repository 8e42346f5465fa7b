/** A restored cluster: its prepared transactions are ended on every node, and what is not as it was is named. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "vitest";
import {
    differencesFrom,
    differingMetadata,
    readTables,
    resolvePrepared,
    restoredOnes,
    resumeRepairs,
    unreachablePairs,
} from "../../../core/citus/recover.ts";
import { DatabaseError, type Session } from "../../../core/reach/session.ts";
import type { PointNode, PointTable, RestorePoint } from "../../../core/restore/points.ts";
import { quickly } from "../../clock.ts";

interface Script {
    /** What is prepared on the node. */
    gids?: string[];
    /** How many of Citus' own one recovery ends. */
    atOnce?: number;
    /** Those that recovery leaves, because the node that began them has not ended them yet. */
    stuck?: string[];
    print?: string;
}

/** A node with prepared transactions, of which Citus' own recovery ends only Citus' own. */
class FakeNode implements Session {
    readonly node: string;
    readonly asked: string[] = [];
    gids: string[];
    private readonly script: Script;

    constructor(node: string, script: Script = {}) {
        this.node = node;
        this.script = script;
        this.gids = [...(script.gids ?? [])];
    }

    get recoveries(): number {
        return this.asked.filter((sql) => /recover_prepared_transactions/.test(sql)).length;
    }

    async query<T extends object>(sql: string): Promise<T[]> {
        this.asked.push(sql);
        return this.answer(sql) as T[];
    }

    private answer(sql: string): object[] {
        if (/recover_prepared_transactions/.test(sql)) {
            const ended = this.gids
                .filter((gid) => /^citus(_\d+){4}$/.test(gid) && !this.script.stuck?.includes(gid))
                .slice(0, this.script.atOnce);
            this.gids = this.gids.filter((gid) => !ended.includes(gid));
            return [{ n: ended.length }];
        }
        if (/FROM pg_prepared_xacts/.test(sql)) return this.gids.toSorted().map((gid) => ({ gid }));
        if (/FROM pg_dist_node/.test(sql)) return [{ print: this.script.print }];
        if (/^ALTER SYSTEM RESET|pg_reload_conf/.test(sql)) return [];
        throw new Error(`unexpected on ${this.node}: ${sql}`);
    }

    certificateEnds() {
        return undefined;
    }

    async close() {}
}

describe("resolvePrepared", () => {
    test("nothing prepared anywhere", async () => {
        const nodes = [new FakeNode("coordinator"), new FakeNode("worker-1")];
        assert.deepEqual(await resolvePrepared(nodes), { resolved: 0, own: [] });
    });

    test("every node ends its own, and all are counted", async () => {
        const nodes = [
            new FakeNode("coordinator", { gids: ["citus_0_1_2_3"] }),
            new FakeNode("worker-1", { gids: ["citus_1_1_2_3", "citus_0_4_5_6"] }),
            new FakeNode("worker-2"),
        ];
        assert.deepEqual(await resolvePrepared(nodes), { resolved: 3, own: [] });
        assert.deepEqual(
            nodes.map((node) => [node.recoveries, node.gids]),
            [
                [1, []],
                [1, []],
                [1, []],
            ],
        );
    });

    test("what the user prepared is left as it is, and named with its node", async () => {
        const nodes = [
            new FakeNode("coordinator", { gids: ["pay-17", "citus_0_1_2_3"] }),
            new FakeNode("worker-1", { gids: ["b", "a"] }),
        ];
        assert.deepEqual(await resolvePrepared(nodes), {
            resolved: 1,
            own: ["coordinator: pay-17", "worker-1: a", "worker-1: b"],
        });
        assert.deepEqual(nodes[0]?.gids, ["pay-17"]);
        assert.deepEqual(nodes[1]?.gids, ["b", "a"]);
    });

    test("only what has the form of Citus' own counts as Citus', so the user's may begin as it does", async () => {
        const gids = ["citus_import", "citus_1_2_3", "citus_1_2_3_4_5", "citus_1_2_3_x", "xcitus_1_2_3_4"];
        const node = new FakeNode("worker-1", { gids: [...gids, "citus_0_12_345_6789"] });
        assert.deepEqual(await resolvePrepared([node]), {
            resolved: 1,
            own: gids.toSorted().map((gid) => `worker-1: ${gid}`),
        });
        assert.equal(node.recoveries, 1);
    });

    test("goes on until none of Citus' own is left, and counts every round", async () => {
        const nodes = [
            new FakeNode("coordinator"),
            new FakeNode("worker-1", { gids: ["citus_0_1_1_1", "citus_0_1_2_1", "citus_0_1_3_1"], atOnce: 1 }),
        ];
        assert.deepEqual(await quickly(() => resolvePrepared(nodes)), { resolved: 3, own: [] });
        assert.deepEqual(
            nodes.map((node) => node.recoveries),
            [3, 3],
        );
    });

    test("after half a minute it fails, naming what is left and where, and nothing of the user's", async () => {
        const nodes = [
            new FakeNode("coordinator", { gids: ["pay-17", "citus_0_1_2_3"] }),
            new FakeNode("worker-1", { gids: ["citus_0_4_5_6", "citus_0_7_8_9"], stuck: ["citus_0_4_5_6"] }),
            new FakeNode("worker-2", { gids: ["citus_1_1_1_1"], stuck: ["citus_1_1_1_1"] }),
        ];
        let passed = 0;
        await assert.rejects(
            quickly(async () => {
                const began = Date.now();
                try {
                    await resolvePrepared(nodes);
                } finally {
                    passed = Date.now() - began;
                }
            }),
            (error: Error) => {
                assert.equal(
                    error.message,
                    "prepared transactions of Citus are still open: citus_0_4_5_6 on worker-1, citus_1_1_1_1 on worker-2.\n" +
                        "They hold locks. Nothing else was changed. The next pulumi up tries to end them again.",
                );
                return true;
            },
        );
        assert.ok(passed >= 30_000 && passed < 40_000, `${passed} ms`);
    });

    test("a node that fails fails it all", async () => {
        const broken = new FakeNode("worker-1");
        broken.query = () => Promise.reject(new DatabaseError("worker-1", "recovery", { message: "terminated" }));
        await assert.rejects(
            resolvePrepared([new FakeNode("coordinator"), broken]),
            /worker-1: recovery failed\n {2}terminated/,
        );
    });
});

describe("restoredOnes", () => {
    const knowing = (node: string, n: number): Session => ({
        node,
        query: async <T extends object>(sql: string) => {
            assert.match(sql, /count\(\*\)::int AS n FROM pg_dist_node/);
            return [{ n }] as T[];
        },
        certificateEnds: () => undefined,
        close: async () => undefined,
    });
    const names = async (...sessions: Session[]) => (await restoredOnes(sessions)).map(({ node }) => node);

    test("a worker that knows no cluster is yet to join it", async () => {
        assert.deepEqual(await names(knowing("coordinator", 2), knowing("worker-1", 2), knowing("worker-2", 0)), [
            "coordinator",
            "worker-1",
        ]);
    });

    test("the coordinator is one whatever it knows", async () => {
        assert.deepEqual(await names(knowing("coordinator", 0)), ["coordinator"]);
    });
});

describe("differingMetadata", () => {
    const nodes = (...prints: string[]) =>
        prints.map((print, i) => new FakeNode(i === 0 ? "coordinator" : `worker-${i}`, { print }));

    test("none where all are the coordinator's", async () => {
        assert.deepEqual(await differingMetadata(nodes("a", "a", "a")), []);
    });

    test("names those that differ from the coordinator, even when they agree with each other", async () => {
        assert.deepEqual(await differingMetadata(nodes("a", "b", "a", "b")), ["worker-1", "worker-3"]);
    });
});

/** A coordinator that answers by the first pattern that fits. */
function coordinator(answers: readonly [pattern: RegExp, answer: object[] | Error][]): Session & { asked: string[] } {
    const asked: string[] = [];
    return {
        node: "coordinator",
        asked,
        query: async <T extends object>(sql: string) => {
            asked.push(sql);
            const found = answers.find(([pattern]) => pattern.test(sql));
            assert.ok(found, `unexpected: ${sql}`);
            if (found[1] instanceof Error) throw found[1];
            return found[1] as T[];
        },
        certificateEnds: () => undefined,
        close: async () => undefined,
    };
}

describe("unreachablePairs", () => {
    test("both ends of each", async () => {
        const session = coordinator([
            [
                /citus_check_cluster_node_health\(\) WHERE result IS NOT TRUE/,
                [{ from: "coordinator.c1.node", to: "worker-1.c1.node" }],
            ],
        ]);
        assert.deepEqual(await unreachablePairs(session), ["coordinator.c1.node can't reach worker-1.c1.node"]);
        assert.deepEqual(await unreachablePairs(coordinator([[/node_health/, []]])), []);
    });
});

const table = (name: string, more: Partial<PointTable> = {}): PointTable => ({
    name,
    method: "h",
    replicated: false,
    shards: 32,
    rows: 100,
    ...more,
});
const point = (tables: readonly PointTable[], placements: readonly number[] = [0, 16, 16]): RestorePoint => ({
    version: 1,
    name: "p",
    cluster: "c1",
    time: "2026-11-22T10:00:00.000Z",
    pauseMilliseconds: 1,
    database: "app",
    postgres: "17.6",
    citus: "14.0.1",
    writesEnterAnywhere: true,
    nodes: placements.map((n, groupId) => ({ groupId, placements: n }) as PointNode),
    tables,
});

describe("differencesFrom", () => {
    const cluster = (tables: object[], placements: object[]) =>
        coordinator([
            [/FROM pg_dist_partition t JOIN pg_class/, tables],
            [/FROM pg_dist_placement GROUP BY 1/, placements],
        ]);
    const PLACED = [
        { groupId: 1, n: 16 },
        { groupId: 2, n: 16 },
    ];

    test("none when tables, shards and placements are the manifest's", async () => {
        const wanted = point([table("public.users"), table("public.plans", { shards: 1 })]);
        const found = [table("public.plans", { shards: 1, rows: null }), table("public.users", { rows: null })];
        assert.deepEqual(await differencesFrom(wanted, cluster(found, PLACED)), []);
    });

    test("a table that is not there, another number of shards, and placements that are too few or too many", async () => {
        const wanted = point([table("public.users"), table("public.plans", { shards: 1 })], [1, 16, 16, 4]);
        const found = [table("public.users", { shards: 31 })];
        const placed = [
            { groupId: 0, n: 1 },
            { groupId: 1, n: 15 },
            { groupId: 2, n: 17 },
        ];
        assert.deepEqual(await differencesFrom(wanted, cluster(found, placed)), [
            "public.users has 31 shards, the manifest says 32",
            "public.plans is missing",
            "group 1 has 15 placements, the manifest says 16",
            "group 2 has 17 placements, the manifest says 16",
            "group 3 has 0 placements, the manifest says 4",
        ]);
    });
});

describe("readTables", () => {
    const WELL = { unreadable: [], empty: [] };

    test("every table is read through the coordinator, a row of each shard", async () => {
        const session = coordinator([[/^SELECT 1 FROM public\.\w+ LIMIT 1$/, [{ one: 1 }]]]);
        assert.deepEqual(await readTables(point([table("public.users"), table("public.plans")]), session), WELL);
        assert.equal(session.asked.length, 2);
    });

    test("what can't be read says why, and does not hide the next", async () => {
        const session = coordinator([
            [
                /public\.users/,
                new DatabaseError("coordinator", "SELECT", { message: 'relation "users_102008" does not exist' }),
            ],
            [/public\.plans/, new DatabaseError("coordinator", "SELECT", { message: "connection refused" })],
            [/public\.events/, []],
        ]);
        const tables = ["users", "events", "plans"].map((name) => table(`public.${name}`));
        assert.deepEqual(await readTables(point(tables), session), {
            unreadable: [
                'public.users can\'t be read: coordinator: SELECT failed\n  relation "users_102008" does not exist',
                "public.plans can't be read: coordinator: SELECT failed\n  connection refused",
            ],
            empty: ["public.events is empty, the manifest has about 100 rows"],
        });
    });

    test("an empty table that had rows is readable: they may have been deleted before the point", async () => {
        const session = coordinator([[/FROM/, []]]);
        assert.deepEqual(await readTables(point([table("public.a", { rows: 1 })]), session), {
            unreadable: [],
            empty: ["public.a is empty, the manifest has about 1 rows"],
        });
    });

    test("a table that was empty, or of which that is not known, may be empty", async () => {
        const session = coordinator([[/FROM/, []]]);
        const tables = [table("public.a", { rows: 0 }), table("public.b", { rows: null })];
        assert.deepEqual(await readTables(point(tables), session), WELL);
    });
});

describe("resumeRepairs", () => {
    test("takes back all four, and has the node read it", async () => {
        const node = new FakeNode("worker-1");
        await resumeRepairs(node);
        assert.deepEqual(node.asked, [
            "ALTER SYSTEM RESET citus.recover_2pc_interval",
            "ALTER SYSTEM RESET citus.defer_shard_delete_interval",
            "ALTER SYSTEM RESET citus.background_task_queue_interval",
            "ALTER SYSTEM RESET citus.distributed_deadlock_detection_factor",
            "SELECT pg_reload_conf()",
        ]);
    });

    test("takes back exactly what a restore switches off", async () => {
        const script = readFileSync(join(import.meta.dirname, "..", "..", "..", "scripts", "node", "lib.sh"), "utf8");
        const off = [...script.matchAll(/^(?:repairs_off=")?(citus\.\w+) = '-1'"?$/gm)].map(
            ([, name]) => `ALTER SYSTEM RESET ${name}`,
        );
        const node = new FakeNode("worker-1");
        await resumeRepairs(node);
        assert.deepEqual(node.asked.slice(0, -1).sort(), off.sort());
    });
});
