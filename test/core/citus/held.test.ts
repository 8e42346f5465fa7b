/** What becomes of old copies when rows are missing: which are kept, how, and what is said. */
import assert from "node:assert/strict";
import { describe, test, vi } from "vitest";
import type { CopiedShard } from "../../../core/citus/counts.ts";
import { explainKept, explainKeptOf, keepCopies, removeKept } from "../../../core/citus/keptCopies.ts";
import { explainOnlyCopies } from "../../../core/citus/members/leave.ts";
import { Held } from "../../../core/citus/rebalance/oldCopies.ts";
import { DatabaseError, type Session } from "../../../core/reach/session.ts";
import { quickly } from "../../clock.ts";

type Answer = (sql: string, parameters: readonly unknown[]) => object[];

class Node implements Session {
    readonly node: string;
    readonly said: string[] = [];
    closed = false;
    private readonly answer: Answer;

    constructor(node: string, answer: Answer = () => []) {
        this.node = node;
        this.answer = answer;
    }

    async query<T extends object>(sql: string, parameters: readonly unknown[] = []): Promise<T[]> {
        if (this.closed) throw new DatabaseError(this.node, sql, { message: "closed" });
        this.said.push(sql.replace(/\s+/g, " ").trim());
        return this.answer(sql, parameters) as T[];
    }

    certificateEnds = () => undefined;

    async close(): Promise<void> {
        this.closed = true;
    }
}

const shard = (name: string, partitioned = false): CopiedShard => ({
    table: name.replace(/_[0-9]+"?$/, ""),
    name,
    partitioned,
});
const failing =
    (pattern: RegExp, message: string): Answer =>
    (sql) => {
        if (pattern.test(sql)) throw new DatabaseError("worker-2", sql, { message });
        return [];
    };
const altered = ({ said }: Node) => said.filter((sql) => /^(ALTER|CREATE)/.test(sql));

describe("keepCopies", () => {
    test("moves partitioned tables before their partitions, with statistics, and without keys to what stays", async () => {
        const node = new Node("worker-2", (sql, [name]) => {
            if (/DROP CONSTRAINT/.test(sql) && /pg_constraint/.test(sql))
                return name === "orders_3" ? [{ command: "ALTER TABLE orders_3 DROP CONSTRAINT plan" }] : [];
            if (/pg_statistic_ext/.test(sql))
                return name === "visits_1_2" ? [{ command: "ALTER STATISTICS public.s_2 SET SCHEMA " }] : [];
            return [];
        });
        const result = await keepCopies(
            node,
            [shard("visits_1_2"), shard("visits_1", true), shard("orders_3")],
            "kept_x",
        );
        assert.deepEqual(altered(node), [
            'CREATE SCHEMA IF NOT EXISTS "kept_x"',
            'ALTER TABLE visits_1 SET SCHEMA "kept_x"',
            'ALTER TABLE visits_1_2 SET SCHEMA "kept_x"',
            'ALTER STATISTICS public.s_2 SET SCHEMA "kept_x"',
            "ALTER TABLE orders_3 DROP CONSTRAINT plan",
            'ALTER TABLE orders_3 SET SCHEMA "kept_x"',
        ]);
        assert.deepEqual(result.kept, ["kept_x.visits_1", "kept_x.visits_1_2", "kept_x.orders_3"]);
        assert.equal(node.said.at(-1), "COMMIT");
    });

    test("names with dots and quotes keep them", async () => {
        const { kept } = await keepCopies(
            new Node("worker-2"),
            [shard('"a.b ""c_102023"'), shard('app."x.y_102024"'), shard("app.z_102025")],
            "kept_x",
        );
        assert.deepEqual(kept, ['kept_x."a.b ""c_102023"', 'kept_x."x.y_102024"', "kept_x.z_102025"]);
    });

    test("rows of a table that somebody still reads are copied", async () => {
        const node = new Node(
            "worker-2",
            failing(/^ALTER TABLE orders_3 SET/, "canceling statement due to lock timeout"),
        );
        const result = await keepCopies(node, [shard("orders_3"), shard("users_4")], "kept_x");
        assert.deepEqual(result.failed, []);
        assert.deepEqual(result.kept, ["kept_x.orders_3", "kept_x.users_4"]);
        assert.ok(altered(node).includes('CREATE TABLE "kept_x".orders_3 AS TABLE orders_3'));
    });

    test("so are all partitions of a partitioned table that stays: they would be dropped with it", async () => {
        const node = new Node("worker-2", failing(/^ALTER TABLE visits_1 SET/, "lock timeout"));
        const result = await keepCopies(node, [shard("visits_1", true), shard("visits_1_2")], "kept_x");
        assert.deepEqual(result.kept, ["kept_x.visits_1_2"]);
        assert.deepEqual(altered(node).slice(2), ['CREATE TABLE "kept_x".visits_1_2 AS TABLE visits_1_2']);
    });

    test("what could not be kept is said, in the database's words", async () => {
        const node = new Node("worker-2", failing(/orders_3/, "could not extend file: No space left on device"));
        const { kept, failed } = await keepCopies(node, [shard("orders_3")], "kept_x");
        assert.deepEqual(kept, []);
        assert.match(failed.join(), /^orders_3: worker-2: .*\n {2}could not extend file: No space left on device$/);
    });
});

/** Four moves off worker-1: 1 lost rows, 2 has not been compared, 3 is the same, 4 is still on its way. */
function cluster() {
    const sessions: Node[] = [];
    const rows: Record<string, [number, number]> = { a_1: [10, 7], b_2: [10, 10], c_3: [10, 10], d_4: [10, 10] };
    const serves: Record<string, string> = { "1": "worker-3", "2": "worker-3", "3": "worker-3", "4": "worker-1" };
    const coordinator = new Node("coordinator", (sql, [id]) => {
        if (/shard_name/.test(sql)) return [shard(`${"abcd"[Number(id) - 1]}_${id}`)];
        if (/FROM pg_dist_placement/.test(sql)) return [{ host: serves[String(id)] }];
        return [];
    });
    const counting = (node: string, side: 0 | 1) =>
        new Node(node, (sql) => {
            if (/pg_total_relation_size/.test(sql)) return [{ bytes: "8192" }];
            const [, name = ""] = /count\(\*\).* FROM (\w+)/.exec(sql) ?? [];
            if (name) return [{ n: String(rows[name]?.[side]) }];
            if (/tuples_deleted/.test(sql)) return [{ there: true, rewritten: false, deleted: 2, reliable: true }];
            return /clock_timestamp\(\)::text/.test(sql) ? [{ at: "now" }] : [];
        });
    const counters: Record<string, Node> = { "worker-1": counting("worker-1", 0), "worker-3": counting("worker-3", 1) };
    const held = new Held({
        hold: async (host) => {
            const session = new Node(host);
            sessions.push(session);
            return session;
        },
        release: (session) => session.close(),
        open: async (host) => counters[host],
    });
    return { coordinator, held, sessions, counters };
}

describe("Held", () => {
    test("rows that are missing keep every copy that moved and was not compared, and let go of what still serves", async () => {
        const { coordinator, held, sessions } = cluster();
        for (const n of ["1", "2", "3", "4"]) await held.hold(coordinator, n, n, "worker-1");
        const stops: string[] = [];
        const stop = async () => {
            stops.push(altered(sessions[0] as Node).at(-1) ?? "");
            return "The rebalance was stopped";
        };
        await quickly(async () => {
            assert.equal(await held.compare(coordinator, "3", "worker-3", stop), 1);
            await assert.rejects(held.compare(coordinator, "1", "worker-3", stop), (error: Error) => {
                const schema = /schema (citus_as_code_kept_[a-z0-9]+):/.exec(error.message)?.[1];
                assert.equal(
                    error.message,
                    [
                        "Rows are missing after a move:",
                        "  a_1 had 10 rows on worker-1 and has 7 on worker-3, where 2 deletes are known",
                        `The rebalance was stopped. The old copies of these and of all other shards that had moved and were not compared yet are kept with their rows in schema ${schema}:`,
                        "  on worker-1:",
                        `    ${schema}.a_1`,
                        `    ${schema}.b_2`,
                        "Compare them with what serves now before you do anything else (docs/scaling.md, When rows are missing). Afterwards this removes them:",
                        `  npm run psql -- -c "SELECT nodeid, success, result FROM run_command_on_all_nodes('DROP SCHEMA IF EXISTS ${schema} CASCADE')"`,
                    ].join("\n"),
                );
                return true;
            });
        });
        const [first, second, third, fourth] = sessions as [Node, Node, Node, Node];
        // the one in which they were missing is safe before anything is waited for
        assert.match(stops.join(), /^ALTER TABLE a_1 SET SCHEMA/);
        assert.ok(second.said.includes("COMMIT"));
        for (const let_go of [third, fourth]) assert.deepEqual(altered(let_go), []);
        assert.ok([first, second, third, fourth].every(({ closed }) => closed));
    });

    test("a client that waits for its locks gets them, and they are taken again once it is through", async () => {
        vi.useFakeTimers({ toFake: ["setInterval", "clearInterval"] });
        const look = async () => {
            vi.advanceTimersByTime(500);
            for (let i = 0; i < 20; i++) await new Promise((resolve) => setImmediate(resolve));
        };
        const client = { waits: false };
        const session = new Node("worker-1", (sql) => {
            if (/pg_blocking_pids/.test(sql)) return [{ waited: client.waits }];
            if (client.waits && /^LOCK/.test(sql))
                throw new DatabaseError("worker-1", sql, { message: "lock timeout" });
            return [];
        });
        const held = new Held({
            hold: async () => session,
            release: (copy) => copy.close(),
            open: async () => undefined,
        });
        const locks = () => session.said.filter((sql) => /^(LOCK|ROLLBACK)/.test(sql)).map((sql) => sql.split(" ")[0]);
        await held.hold(cluster().coordinator, "1", "1", "worker-1");
        await look();
        assert.deepEqual(locks(), ["LOCK"]);
        client.waits = true;
        await look();
        assert.deepEqual(locks(), ["LOCK", "ROLLBACK"]);
        await look();
        assert.deepEqual(locks(), ["LOCK", "ROLLBACK", "LOCK", "ROLLBACK"]);
        client.waits = false;
        await look();
        await look();
        assert.deepEqual(locks().slice(4), ["LOCK"]);
        await held.releaseAll();
        const before = session.said.length;
        await look();
        assert.equal(session.said.length, before);
    });

    test("several alarms at once are one, with all differences", async () => {
        const { coordinator, held, counters } = cluster();
        counters["worker-3"] = new Node("worker-3", (sql) => {
            if (/pg_total_relation_size/.test(sql)) return [{ bytes: "8192" }];
            if (/count\(\*\)/.test(sql)) return [{ n: "1" }];
            return /tuples_deleted/.test(sql) ? [{ there: true, rewritten: false, deleted: 0, reliable: true }] : [];
        });
        for (const n of ["1", "2"]) await held.hold(coordinator, n, n, "worker-1");
        let stops = 0;
        const stop = async () => `stopped ${++stops} times`;
        const results = await quickly(() =>
            Promise.allSettled([
                held.compare(coordinator, "1", "worker-3", stop),
                held.compare(coordinator, "2", "worker-3", stop),
            ]),
        );
        for (const result of results) {
            assert.equal(result.status, "rejected");
            assert.match(
                String(result.reason),
                /a_1 had 10 [\s\S]*b_2 had 10 [\s\S]*stopped 1 times[\s\S]*\.a_1\n[\s\S]*\.b_2\n/,
            );
        }
    });

    test("where a shard is could not be read: it is not touched, and that is said", async () => {
        const { coordinator, held, sessions } = cluster();
        for (const n of ["1", "2"]) await held.hold(coordinator, n, n, "worker-1");
        const asked = new Node(
            "coordinator",
            failing(/FROM pg_dist_placement/, "the database system is shutting down"),
        );
        await quickly(() =>
            assert.rejects(
                held.compare(asked, "1", "worker-3", async () => "Stopped"),
                /These could not be kept:\n {2}b_2 on worker-1: whether it moved could not be read: [\s\S]*shutting down/,
            ),
        );
        assert.deepEqual(altered(sessions[1] as Node), []);
    });
});

test("status and the refusal to leave name kept copies, and the command that removes them", () => {
    const lines = explainKept([
        { name: "worker-1", kept: ["citus_as_code_kept_a"] },
        { name: "worker-2", kept: ["citus_as_code_kept_a", "citus_as_code_kept_b"] },
        { name: "worker-3" },
    ]).map(({ schema, says }) => `${says}: ${removeKept(schema)}`);
    assert.equal(lines.length, 2);
    assert.match(
        lines[0] ?? "",
        /^worker-1, worker-2 keep old copies .* schema citus_as_code_kept_a, .*DROP SCHEMA IF EXISTS citus_as_code_kept_a CASCADE/,
    );
    assert.match(lines[1] ?? "", /^worker-2 keeps .*citus_as_code_kept_b/);
    assert.deepEqual(explainKeptOf(["table public.notes", "database x"]), []);
    assert.match(
        explainOnlyCopies("worker-2", [
            "table citus_as_code_kept_a.t_1",
            "table citus_as_code_kept_a.t_2",
            "table public.notes",
        ]),
        /\n {2}table public\.notes\nThe tables in citus_as_code_kept_a are old copies of moved shards\.[^\n]*\n[^\n]*\n {2}npm run psql .*DROP SCHEMA IF EXISTS citus_as_code_kept_a CASCADE/,
    );
});
