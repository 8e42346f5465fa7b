/** Who may join a cluster, and that nothing is touched when somebody may not. */
import assert from "node:assert/strict";
import { describe, test } from "vitest";
import type { NodeRow } from "../../../../core/citus/catalog.ts";
import { joinWorker, nameCoordinator, verifyMember } from "../../../../core/citus/members/join.ts";
import { type NodeFacts, refusals } from "../../../../core/citus/members/joinFacts.ts";
import { NO_LIMITS } from "../../../../core/reach/ownSession.ts";
import type { Session } from "../../../../core/reach/session.ts";

const COORDINATOR: NodeFacts = {
    postgres: "17.6",
    citus: "14.0-1",
    groupId: 0,
    knownNodes: 2,
    distributedTables: 4,
    relations: ["public.projects"],
    sequencesOfCitus: [],
    clusterId: "c0ffee",
    coordinatorOf: "coordinator.c1.node:5432",
};
/** An empty node that this stack made. */
const EMPTY: NodeFacts = {
    postgres: "17.6",
    citus: "14.0-1",
    groupId: 0,
    knownNodes: 0,
    distributedTables: 0,
    relations: [],
    sequencesOfCitus: [],
    clusterId: "c0ffee",
    coordinatorOf: null,
};

describe("refusals", () => {
    test("an empty own node gives none", () => assert.deepEqual(refusals(EMPTY, COORDINATOR), []));

    test("another minor version gives none", () =>
        assert.deepEqual(refusals({ ...EMPTY, postgres: "17.2" }, COORDINATOR), []));

    const table: readonly [who: string, facts: Partial<NodeFacts>, why: RegExp][] = [
        ["another cluster's coordinator", { knownNodes: 3 }, /already belongs to a cluster: it knows 3 nodes/],
        ["another cluster's worker", { groupId: 7 }, /worker of another cluster \(group 7\)/],
        ["a server with distributed tables", { distributedTables: 2 }, /holds 2 distributed tables/],
        ["a clashing table", { relations: ["public.projects"] }, /not empty: public\.projects would be in danger/],
        ["another Citus", { citus: "13.2-1" }, /has Citus 13\.2-1, the coordinator 14\.0-1/],
        ["no Citus", { citus: null, groupId: null }, /no Citus extension in this database/],
        ["another PostgreSQL", { postgres: "16.4" }, /runs PostgreSQL 16\.4, the coordinator 17\.6/],
        [
            "another stack's node",
            { clusterId: "decaf" },
            /not made by this stack \(its citus_as_code\.cluster_id differs\)/,
        ],
        ["a node of nobody", { clusterId: null }, /not made by this stack/],
    ];
    for (const [who, facts, why] of table) {
        test(`${who} has a reason of its own`, () => {
            const found = refusals({ ...EMPTY, ...facts }, COORDINATOR);
            assert.equal(found.length, 1, found.join("\n"));
            assert.match(found[0] ?? "", why);
        });
    }

    test("every reason is given at once, in different words", () => {
        const all = Object.assign({}, EMPTY, ...table.map(([, facts]) => facts), { citus: "13.2-1", groupId: 7 });
        const found = refusals(all as NodeFacts, COORDINATOR);
        assert.equal(found.length, 7);
        assert.equal(new Set(found).size, 7);
    });

    test("of many tables five are named and the others counted", () => {
        const relations = Array.from({ length: 8 }, (_, i) => `public.t${i}`);
        const [why = ""] = refusals({ ...EMPTY, relations }, COORDINATOR);
        assert.ok(why.includes("public.t4 and 3 more") && !why.includes("public.t5"), why);
    });
});

const NODE = { name: "worker-1", host: "worker-1.c1.node", port: 5432 };

interface Cluster {
    nodes: NodeRow[];
    /** Names of the reference tables' shards. */
    copies?: string[];
    blockers?: object[];
    reachable?: boolean;
    unhealthy?: { from: string; to: string }[];
    /** What the coordinator places on the registered worker. */
    placed?: { name: string; reference: boolean }[];
    /** Shards that the coordinator places on some node. */
    elsewhere?: string[];
    views?: string[];
    tables?: string[];
    memberships?: object[];
    numbered?: object[];
    /** The highest id in use. */
    used?: string;
    slots?: object[];
    /** What the node itself can't reach. */
    outward?: object[];
}

/** What a server answers about itself beside its facts. */
interface Own {
    extensions?: object[];
    /** Tables that its own metadata knows as shards. */
    shards?: { name: string; own: boolean }[];
}

const row = (groupId: number, more: Partial<NodeRow> = {}): NodeRow => ({
    nodeId: groupId + 1,
    groupId,
    host: groupId === 0 ? "coordinator.c1.node" : `worker-${groupId}.c1.node`,
    port: 5432,
    active: true,
    synced: true,
    holdsShards: groupId !== 0,
    ...more,
});

/** A server that answers what joinWorker asks, and writes down what changes it. */
function server(node: string, facts: NodeFacts, cluster?: Cluster, own: Own = {}) {
    const changes: string[] = [];
    let now = facts;
    const answer = (sql: string, parameters: readonly unknown[]): object[] => {
        if (/current_setting\('server_version'\)/.test(sql)) {
            const { postgres, citus, clusterId } = now;
            const named = (names: readonly string[], byCitus: boolean) => names.map((name) => ({ name, byCitus }));
            return [
                {
                    postgres,
                    citus,
                    clusterId,
                    own: [...named(now.relations, false), ...named(now.sequencesOfCitus, true)],
                },
            ];
        }
        if (/pg_db_role_setting/.test(sql)) {
            const lines = Object.entries(NO_LIMITS).map(([name, value]) => `${name}=${value}`);
            return [{ lines, role: "postgres", database: "app" }];
        }
        if (/AS "coordinatorOf"/.test(sql)) {
            const { groupId, knownNodes, distributedTables, coordinatorOf } = now;
            return [{ groupId, knownNodes, distributedTables, coordinatorOf }];
        }
        if (/^(RESET|SET citus\.override_table_visibility)/.test(sql)) return [];
        if (/^(SET LOCAL|BEGIN|COMMIT|ROLLBACK|DROP|CREATE|GRANT|CALL|DELETE|UPDATE|SELECT worker_drop)/.test(sql)) {
            changes.push(sql);
            if (/^DROP (VIEW|TABLE public)/.test(sql)) now = { ...now, relations: [] };
            if (/^DROP SEQUENCE/.test(sql)) now = { ...now, sequencesOfCitus: [] };
            if (/^UPDATE pg_dist_local_group/.test(sql))
                now = { ...EMPTY, relations: [], sequencesOfCitus: now.sequencesOfCitus };
            return [];
        }
        // asked of the node itself
        if (/SELECT \$1::text AS from, nodename AS to/.test(sql)) return cluster?.outward ?? [];
        if (/FROM unnest\(\$1::text\[\]\) name WHERE to_regclass\(name\)/.test(sql)) {
            if (/pg_sequence_last_value/.test(sql)) return [];
            const there = (parameters[0] as string[]).filter((name) => now.relations.includes(name));
            return there.map((name) => ({ name }));
        }
        if (/rolname AS name FROM pg_roles/.test(sql)) return [{ name: "postgres" }];
        if (/e\.extname AS name/.test(sql)) return own.extensions ?? [];
        if (/^SELECT setval/.test(sql)) {
            changes.push(`setval ${parameters[0]}`);
            return [];
        }
        if (/ AS own\s+FROM pg_class/.test(sql)) return own.shards ?? [];
        if (/^SELECT EXISTS \(SELECT 1 FROM /.test(sql)) return [{ rows: true }];
        if (/AND relation_is_a_known_shard\(c\.oid\) ORDER BY 1$/.test(sql)) return own.shards ?? [];
        if (
            /NOT relation_is_a_known_shard|pg_dist_object o WHERE|pg_largeobject|pg_prepared_xacts|pg_database/.test(
                sql,
            ) &&
            !cluster
        )
            return [];
        assert.ok(cluster, `unexpected on ${node}: ${sql}`);
        if (/run_command_on_all_nodes/.test(sql)) return cluster.unhealthy ?? [];
        if (/FROM pg_dist_node WHERE noderole = 'primary' ORDER/.test(sql)) return cluster.nodes;
        if (/WHERE p\.groupid = \$1 ORDER BY 1/.test(sql)) return cluster.placed ?? [];
        if (/count\(\*\)::int AS n\s+FROM pg_dist_placement/.test(sql)) return [{ n: 0 }];
        if (/shard_name\(s\.logicalrelid/.test(sql)) {
            const names = /WHERE EXISTS/.test(sql) ? (cluster.elsewhere ?? []) : (cluster.copies ?? []);
            return names.map((name) => ({ name }));
        }
        if (/c\.relkind = 'v'/.test(sql)) return (cluster.views ?? []).map((name) => ({ name }));
        if (/FROM pg_publication$/.test(sql)) return [];
        if (/FROM pg_dist_partition t\s+JOIN pg_class c ON c\.oid = t\.logicalrelid JOIN/.test(sql))
            return (cluster.tables ?? []).map((name) => ({ name }));
        if (/FROM pg_auth_members/.test(sql)) return cluster.memberships ?? [];
        if (/AS sequence\s+FROM pg_dist_partition/.test(sql)) return cluster.numbered ?? [];
        if (/^SELECT max\(/.test(sql)) return [{ id: cluster.used ?? null }];
        if (/master_run_on_worker/.test(sql)) return cluster.slots ?? [];
        if (/relreplident/.test(sql)) return cluster.blockers ?? [];
        if (/citus_check_connection_to_node/.test(sql)) return [{ ok: cluster.reachable ?? true }];
        changes.push(`${sql} -- ${parameters.join(", ")}`);
        if (/citus_remove_node/.test(sql)) cluster.nodes = cluster.nodes.filter((n) => n.host !== parameters[0]);
        if (/citus_add_node/.test(sql)) cluster.nodes.push(row(cluster.nodes.length));
        if (/citus_activate_node/.test(sql))
            cluster.nodes = cluster.nodes.map((n) =>
                n.host === parameters[0] ? { ...n, active: true, synced: true } : n,
            );
        if (/citus_set_coordinator_host/.test(sql))
            cluster.nodes = [
                row(0, { host: String(parameters[0]), holdsShards: true }),
                ...cluster.nodes.filter((n) => n.groupId !== 0),
            ];
        return [];
    };
    const session: Session = {
        node,
        query: async <T extends object>(sql: string, parameters: readonly unknown[] = []) =>
            answer(sql, parameters) as T[],
        certificateEnds: () => undefined,
        close: async () => undefined,
    };
    return { session, changes };
}

describe("joinWorker", () => {
    const strangers: readonly [who: string, facts: Partial<NodeFacts>][] = [
        ["another cluster's coordinator", { knownNodes: 3 }],
        ["another cluster's worker", { groupId: 7 }],
        ["a node with a clashing table", { relations: ["public.projects"] }],
        ["another Citus version", { citus: "13.2-1" }],
        ["a node without Citus", { citus: null, groupId: null }],
        ["another PostgreSQL major", { postgres: "16.4" }],
        ["another stack's node", { clusterId: "decaf" }],
    ];
    for (const [who, facts] of strangers) {
        test(`refuses ${who} before anything is changed on either side`, async () => {
            const coordinator = server("coordinator", COORDINATOR, { nodes: [row(0)] });
            const target = server("worker-1", { ...EMPTY, ...facts });
            await assert.rejects(joinWorker(coordinator.session, target.session, NODE, "auto"), (error: Error) => {
                assert.match(error.message, /^worker-1 can't join this cluster:\n {2}it /);
                assert.match(error.message, /Nothing was changed on worker-1\./);
                return true;
            });
            assert.deepEqual(coordinator.changes, []);
            assert.deepEqual(target.changes, []);
        });
    }

    test("adds an empty own node, then copies reference tables", async () => {
        const coordinator = server("coordinator", COORDINATOR, { nodes: [row(0)] });
        const target = server("worker-1", EMPTY);
        assert.deepEqual(await joinWorker(coordinator.session, target.session, NODE, "auto"), {
            nodeId: 2,
            groupId: 1,
        });
        assert.equal(coordinator.changes.length, 2);
        assert.match(coordinator.changes[0] ?? "", /citus_add_node.*-- worker-1\.c1\.node, 5432$/);
        assert.match(coordinator.changes[1] ?? "", /replicate_reference_tables.*-- auto$/);
        assert.deepEqual(target.changes, []);
    });

    test("is safe to repeat when the worker is registered: nothing is added or activated", async () => {
        const coordinator = server("coordinator", COORDINATOR, { nodes: [row(0), row(1)] });
        const target = server("worker-1", {
            ...EMPTY,
            groupId: 1,
            knownNodes: 2,
            distributedTables: 4,
            relations: ["public.projects", "public.projects_102008"],
        });
        for (let i = 0; i < 2; i++) {
            assert.deepEqual(await joinWorker(coordinator.session, target.session, NODE, "auto"), {
                nodeId: 2,
                groupId: 1,
            });
        }
        assert.ok(coordinator.changes.every((sql) => /replicate_reference_tables/.test(sql)));
        assert.deepEqual(target.changes, []);
    });

    for (const [what, more] of [
        ["inactive", { active: false }],
        ["without metadata", { synced: false }],
    ] as const) {
        test(`activates a registered node that is ${what}`, async () => {
            const coordinator = server("coordinator", COORDINATOR, { nodes: [row(0), row(1, more)] });
            const target = server("worker-1", { ...EMPTY, groupId: 1, knownNodes: 2 });
            await joinWorker(coordinator.session, target.session, NODE, "auto");
            assert.match(coordinator.changes[0] ?? "", /citus_activate_node.*-- worker-1\.c1\.node, 5432$/);
            assert.ok(coordinator.changes.every((sql) => !/citus_add_node/.test(sql)));
        });
    }

    test("registers anew an empty server under the name of a worker that held nothing", async () => {
        const coordinator = server("coordinator", COORDINATOR, { nodes: [row(0), row(1)] });
        await joinWorker(coordinator.session, server("worker-1", EMPTY).session, NODE, "auto");
        assert.match(coordinator.changes[0] ?? "", /citus_remove_node/);
        assert.match(coordinator.changes[1] ?? "", /citus_add_node/);
    });

    const PLACED = [
        { name: "public.plans_102020", reference: true },
        { name: "public.users_102008", reference: false },
        { name: "public.users_102010", reference: false },
    ];

    test("refuses an empty server under the name of a worker that should hold shards", async () => {
        const coordinator = server("coordinator", COORDINATOR, { nodes: [row(0), row(1)], placed: PLACED });
        await assert.rejects(
            joinWorker(coordinator.session, server("worker-1", EMPTY).session, NODE, "auto"),
            /worker-1 is registered and should hold 2 shards, and its server has none of them: the data is gone\.\nNothing was changed/,
        );
        assert.deepEqual(coordinator.changes, []);
    });

    test("names the shards that a server lacks when it has others", async () => {
        const coordinator = server("coordinator", COORDINATOR, { nodes: [row(0), row(1)], placed: PLACED });
        const target = server("worker-1", { ...EMPTY, relations: ["public.plans_102020", "public.users_102008"] });
        await assert.rejects(
            joinWorker(coordinator.session, target.session, NODE, "auto"),
            /should hold 2 shards, and its server lacks 1 of them: public\.users_102010\.\nNothing was changed/,
        );
        assert.deepEqual(coordinator.changes, []);
    });

    test("activates a worker whose metadata was dropped, and sets its sequences past what is in use", async () => {
        const numbered = [{ table: "public.users", column: "id", sequence: "public.users_id_seq" }];
        const coordinator = server("coordinator", COORDINATOR, {
            nodes: [row(0), row(1, { synced: false })],
            placed: PLACED,
            numbered,
            used: "281474976710661",
        });
        const target = server("worker-1", { ...EMPTY, relations: PLACED.map(({ name }) => name) });
        await joinWorker(coordinator.session, target.session, NODE, "auto");
        assert.match(coordinator.changes[0] ?? "", /citus_activate_node.*-- worker-1\.c1\.node, 5432$/);
        assert.ok(coordinator.changes.every((sql) => !/citus_(remove|add)_node/.test(sql)));
        assert.deepEqual(target.changes, ['setval [{"sequence":"public.users_id_seq","id":"281474976710661"}]']);
    });

    test("activates no server that has a table of its own where the cluster has one of that name", async () => {
        const coordinator = server("coordinator", COORDINATOR, {
            nodes: [row(0), row(1, { synced: false })],
            placed: PLACED,
            tables: ["public.users"],
        });
        const relations = [...PLACED.map(({ name }) => name), "public.users"];
        const target = server("worker-1", { ...EMPTY, relations });
        await assert.rejects(
            joinWorker(coordinator.session, target.session, NODE, "auto"),
            /has a table public\.users of its own/,
        );
        assert.deepEqual(coordinator.changes, []);
    });

    describe("a worker that was unregistered by hand", () => {
        const facts: NodeFacts = {
            ...EMPTY,
            groupId: 3,
            knownNodes: 2,
            distributedTables: 1,
            relations: ["public.users"],
            sequencesOfCitus: ["public.users_id_seq"],
            coordinatorOf: "coordinator.c1.node:5432",
        };
        const known = (own: boolean) => ({ shards: [{ name: "public.users_102008", own }] });

        test("is cleared and registered again", async () => {
            const coordinator = server("coordinator", COORDINATOR, {
                nodes: [row(0)],
                elsewhere: ["public.users_102008"],
            });
            const target = server("worker-1", facts, undefined, known(false));
            await joinWorker(coordinator.session, target.session, NODE, "auto");
            const said = target.changes.join("; ");
            assert.match(
                said,
                /worker_drop_all_shell_tables.*DROP TABLE IF EXISTS public\.users_102008.*DELETE FROM pg_catalog\.pg_dist_node/,
            );
            assert.match(said, /groupid = 0; COMMIT.*DROP SEQUENCE IF EXISTS public\.users_id_seq/);
            assert.match(coordinator.changes[0] ?? "", /citus_add_node/);
        });

        for (const [why, own, elsewhere] of [
            ["its own metadata places on it", true, ["public.users_102008"]],
            ["the coordinator places nowhere", false, []],
        ] as const) {
            test(`is left alone when it has rows that ${why}`, async () => {
                const coordinator = server("coordinator", COORDINATOR, { nodes: [row(0)], elsewhere: [...elsewhere] });
                const target = server("worker-1", facts, undefined, known(own));
                await assert.rejects(
                    joinWorker(coordinator.session, target.session, NODE, "auto"),
                    /places nowhere else:\n {2}table public\.users_102008\nNothing was changed on worker-1/,
                );
                assert.deepEqual([...coordinator.changes, ...target.changes], []);
            });
        }

        test("is refused when it names another coordinator", async () => {
            const coordinator = server("coordinator", COORDINATOR, { nodes: [row(0)] });
            const target = server("worker-1", { ...facts, coordinatorOf: "coordinator.c2.node:5432" });
            await assert.rejects(joinWorker(coordinator.session, target.session, NODE, "auto"), /another cluster/);
            assert.deepEqual([...coordinator.changes, ...target.changes], []);
        });
    });

    test("drops the sequences and views that a worker kept when it comes back", async () => {
        const coordinator = server("coordinator", COORDINATOR, { nodes: [row(0)], views: ["monitoring.top"] });
        const target = server("worker-1", {
            ...EMPTY,
            relations: ["monitoring.top"],
            sequencesOfCitus: ["public.users_id_seq"],
        });
        await joinWorker(coordinator.session, target.session, NODE, "auto");
        assert.match(
            target.changes.join("; "),
            /DROP VIEW monitoring\.top CASCADE; DROP SEQUENCE IF EXISTS public\.users_id_seq/,
        );
        assert.match(coordinator.changes[0] ?? "", /citus_add_node/);
    });

    test("makes roles, memberships and extensions before Citus sends the rest", async () => {
        const by = (role: string, member: string, grantor: string, admin: boolean) => ({
            ...{ role, member, grantor, admin, bySuperuser: grantor === "postgres", inherit: true, set: true },
        });
        const coordinator = server(
            "coordinator",
            COORDINATOR,
            {
                nodes: [row(0)],
                memberships: [by("readers", "analyst", "lead", false), by("readers", "lead", "postgres", true)],
            },
            { extensions: [{ name: "pg_stat_statements", schema: "monitoring", owner: "postgres", version: "1.11" }] },
        );
        const target = server("worker-1", EMPTY, undefined, {
            extensions: [{ name: "pg_stat_statements", schema: "public", owner: "pg_database_owner", version: "1.11" }],
        });
        await joinWorker(coordinator.session, target.session, NODE, "auto");
        assert.deepEqual(target.changes.slice(4, -1), [
            'CREATE ROLE "readers"',
            'CREATE ROLE "analyst"',
            'CREATE ROLE "lead"',
            'GRANT "readers" TO "lead" WITH ADMIN true, INHERIT true, SET true GRANTED BY "postgres"',
            'GRANT "readers" TO "analyst" WITH ADMIN false, INHERIT true, SET true GRANTED BY "lead"',
            'DROP EXTENSION IF EXISTS "pg_stat_statements" CASCADE',
            'CREATE SCHEMA IF NOT EXISTS "monitoring" AUTHORIZATION "postgres"',
            `CREATE EXTENSION "pg_stat_statements" SCHEMA "monitoring" VERSION '1.11'`,
        ]);
        assert.match(coordinator.changes[0] ?? "", /citus_add_node/);
    });

    test("refuses a stranger behind a registered name", async () => {
        const coordinator = server("coordinator", COORDINATOR, { nodes: [row(0), row(1, { active: false })] });
        const target = server("worker-1", { ...EMPTY, groupId: 1, clusterId: "decaf" });
        await assert.rejects(
            joinWorker(coordinator.session, target.session, NODE, "auto"),
            /can't join[\s\S]*not made by this stack/,
        );
        assert.deepEqual(coordinator.changes, []);
    });

    test("refuses a node that says it is another group", async () => {
        const coordinator = server("coordinator", COORDINATOR, { nodes: [row(0), row(1)] });
        const target = server("worker-1", { ...EMPTY, groupId: 5 });
        await assert.rejects(
            joinWorker(coordinator.session, target.session, NODE, "auto"),
            /group 5, the coordinator knows it as group 1/,
        );
        assert.deepEqual(coordinator.changes, []);
    });

    test("drops what an own worker kept of reference tables when it comes back", async () => {
        const copies = ["public.countries_102040", "public.plans_102041"];
        const coordinator = server("coordinator", COORDINATOR, { nodes: [row(0)], copies });
        const target = server("worker-1", { ...EMPTY, relations: copies });
        await joinWorker(coordinator.session, target.session, NODE, "auto");
        assert.match(target.changes.join("; "), /DROP TABLE public\.countries_102040, public\.plans_102041 CASCADE/);
        assert.match(coordinator.changes[0] ?? "", /citus_add_node/);
    });

    test("drops nothing when there is more on the node than those", async () => {
        const copies = ["public.countries_102040"];
        const coordinator = server("coordinator", COORDINATOR, { nodes: [row(0)], copies });
        const target = server("worker-1", { ...EMPTY, relations: [...copies, "public.mine"] });
        await assert.rejects(joinWorker(coordinator.session, target.session, NODE, "auto"), /public\.mine/);
        assert.deepEqual(target.changes, []);
        assert.deepEqual(coordinator.changes, []);
    });

    // shard ids begin with 102008 in every cluster, so names alone prove nothing
    for (const [who, more] of [
        ["another stack's node", { clusterId: "decaf" }],
        ["a node of another Citus version", { citus: "13.2-1" }],
    ] as const) {
        test(`drops nothing on ${who}, whatever its tables are called`, async () => {
            const copies = ["public.countries_102008"];
            const coordinator = server("coordinator", COORDINATOR, { nodes: [row(0)], copies });
            const target = server("worker-1", { ...EMPTY, ...more, relations: copies });
            await assert.rejects(
                joinWorker(coordinator.session, target.session, NODE, "auto"),
                /Nothing was changed on worker-1/,
            );
            assert.deepEqual(target.changes, []);
            assert.deepEqual(coordinator.changes, []);
        });
    }

    const reference = {
        table: "countries",
        unlogged: false,
        accessMethod: null,
        bytes: null,
        column: null,
        candidates: [],
        reference: true,
        shards: 1,
    };

    test("refuses while a reference table can't be copied, and says how to mend it", async () => {
        const coordinator = server("coordinator", COORDINATOR, { nodes: [row(0)], blockers: [reference] });
        await assert.rejects(
            joinWorker(coordinator.session, server("worker-1", EMPTY).session, NODE, "auto"),
            /countries {2}no primary key or replica identity[\s\S]*ALTER TABLE countries REPLICA IDENTITY FULL/,
        );
        assert.deepEqual(coordinator.changes, []);
    });

    test("a distributed table without a key does not keep a worker from joining", async () => {
        const blockers = [{ ...reference, table: "events", reference: false }];
        const coordinator = server("coordinator", COORDINATOR, { nodes: [row(0)], blockers });
        assert.equal(
            (await joinWorker(coordinator.session, server("worker-1", EMPTY).session, NODE, "auto")).groupId,
            1,
        );
    });

    test("block_writes copies such reference tables anyway", async () => {
        const coordinator = server("coordinator", COORDINATOR, { nodes: [row(0)], blockers: [reference] });
        await joinWorker(coordinator.session, server("worker-1", EMPTY).session, NODE, "block_writes");
        assert.match(coordinator.changes.at(-1) ?? "", /replicate_reference_tables.*-- block_writes/);
    });

    test("refuses a node that the coordinator can't reach", async () => {
        const coordinator = server("coordinator", COORDINATOR, { nodes: [row(0)], reachable: false });
        await assert.rejects(
            joinWorker(coordinator.session, server("worker-1", EMPTY).session, NODE, "auto"),
            /can't open a verified connection to worker-1\.c1\.node:5432\.\nNothing was changed/,
        );
        assert.deepEqual(coordinator.changes, []);
    });
});

describe("verifyMember", () => {
    test("names every pair that does not work", async () => {
        const nodes = [row(0), row(1)];
        const unhealthy = [{ from: "worker-2.c1.node", to: "worker-1.c1.node" }];
        const outward = [{ from: "worker-1.c1.node", to: "coordinator.c1.node" }];
        const { session } = server("coordinator", COORDINATOR, { nodes, unhealthy });
        const target = server("worker-1", EMPTY, { nodes, outward });
        await assert.rejects(verifyMember(session, target.session, NODE), (error: Error) => {
            assert.match(error.message, /worker-2\.c1\.node can't reach worker-1\.c1\.node/);
            assert.match(error.message, /worker-1\.c1\.node can't reach coordinator\.c1\.node/);
            return true;
        });
    });

    for (const [more, why] of [
        [{ active: false }, /not active/],
        [{ synced: false }, /metadata is not in sync/],
    ] as const) {
        test(`refuses ${JSON.stringify(more)}`, async () => {
            const { session } = server("coordinator", COORDINATOR, { nodes: [row(0), row(1, more)] });
            await assert.rejects(verifyMember(session, server("worker-1", EMPTY).session, NODE), why);
        });
    }

    test("refuses a worker that is not there", async () => {
        const { session } = server("coordinator", COORDINATOR, { nodes: [row(0)] });
        await assert.rejects(verifyMember(session, server("worker-1", EMPTY).session, NODE), /not in pg_dist_node/);
    });
});

describe("nameCoordinator", () => {
    const target = { name: "coordinator", host: "coordinator.c1.node", port: 5432 };

    test("names it, and keeps shards off it at first", async () => {
        const { session, changes } = server("coordinator", COORDINATOR, { nodes: [] });
        assert.deepEqual(await nameCoordinator(session, target), { nodeId: 1, groupId: 0 });
        assert.match(changes[0] ?? "", /citus_set_coordinator_host.*-- coordinator\.c1\.node, 5432/);
        assert.match(changes[1] ?? "", /citus_set_node_property.*'shouldhaveshards', false/);
    });

    test("is safe to repeat: a coordinator that is named is left alone", async () => {
        const { session, changes } = server("coordinator", COORDINATOR, { nodes: [row(0, { holdsShards: true })] });
        await nameCoordinator(session, target);
        assert.deepEqual(changes, []);
    });
});
