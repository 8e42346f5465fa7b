/** The client that keeps the shard map: what errors make it do, how often it asks, and a tenant's transaction. */
import assert from "node:assert/strict";
import { afterEach, describe, test, vi } from "vitest";
import type { Place, ShardMapJson } from "../../client/shardMap.ts";
import { fromDatabase, ShardMapClient } from "../../client/shardMapClient.ts";
import { isStale, neverBegan } from "../../client/stale.ts";
import { CommitUnknown, type TenantPool } from "../../client/tenant.ts";
import { MAP } from "../shardMapJson.ts";

const JSON_MAP: ShardMapJson = {
    ...MAP,
    tombstones: { clinics: { gone: {} }, billing: { 7: { movedTo: "clinics/acme" } } },
};

describe("a client that keeps the map", () => {
    const moved: ShardMapJson = {
        ...JSON_MAP,
        version: "b",
        groups: {
            ...JSON_MAP.groups,
            big: { model: "database", databases: { x: { node: "worker-2", database: "x" } } },
        },
    };
    const before: ShardMapJson = {
        ...JSON_MAP,
        groups: {
            ...JSON_MAP.groups,
            big: { model: "database", databases: { x: { node: "worker-1", database: "x" } } },
        },
    };
    /** As a server says it to who connects. */
    const failing = (code: string, severity = "FATAL") => Object.assign(new Error(code), { code, severity });

    test("goes where the tenant is now when its old place says no", async () => {
        let json = before;
        let asked = 0;
        const client = await new ShardMapClient({
            fetch: async () => {
                asked++;
                return json;
            },
            refreshAtMost: 0,
        }).start();
        try {
            json = moved;
            const tried: string[] = [];
            const result = await client.at("x", "big", async ({ node }) => {
                tried.push(node);
                if (node === "worker-1") throw failing("3D000");
                return node;
            });
            assert.equal(result, "worker-2");
            assert.deepEqual(tried, ["worker-1", "worker-2"]);
            assert.equal(asked, 2);
        } finally {
            client.close();
        }
    });

    test("does nothing twice where the tenant stayed, or for another error", async () => {
        let asked = 0;
        const client = await new ShardMapClient({
            fetch: async () => {
                asked++;
                return before;
            },
            refreshAtMost: 0,
        }).start();
        try {
            let tried = 0;
            const at = (code: string) =>
                client.at("x", "big", async () => {
                    tried++;
                    throw failing(code);
                });
            await assert.rejects(at("53300"), { code: "53300" });
            assert.deepEqual([tried, asked], [1, 2]);
            await assert.rejects(at("23505"), { code: "23505" });
            assert.deepEqual([tried, asked], [2, 2]);
        } finally {
            client.close();
        }
    });

    test("asks once for all who ask at a time, and again by itself", async () => {
        let asked = 0;
        const client = new ShardMapClient({
            fetch: async () => {
                asked++;
                await new Promise((resolve) => setTimeout(resolve, 5));
                return before;
            },
            refreshEvery: 20,
        });
        assert.throws(() => client.lookup("x"), /no shard map yet/);
        assert.deepEqual(await Promise.all([client.refresh(), client.refresh(), client.refresh()]), [true, true, true]);
        assert.equal(asked, 1);
        assert.equal(await client.refresh(), false);
        await client.start();
        await new Promise((resolve) => setTimeout(resolve, 150));
        client.close();
        assert.ok(asked >= 5, `${asked}`);
    });

    test("keeps the last map while there is no other", async () => {
        const errors: unknown[] = [];
        let broken = false;
        const client = await new ShardMapClient({
            fetch: async () => {
                if (broken) throw new Error("no answer");
                return before;
            },
            onError: (error) => errors.push(error),
            refreshAtMost: 0,
        }).start();
        broken = true;
        try {
            await assert.rejects(
                client.at("x", "big", async () => {
                    throw failing("42501");
                }),
                { code: "42501" },
            );
            assert.equal(errors.length, 1);
            assert.equal(client.lookup("x").node, "worker-1");
        } finally {
            client.close();
        }
    });
});

/** As a server says it to who connects. */
const fatal = (code: string) => Object.assign(new Error(code), { code, severity: "FATAL" });
/** As it says it of a statement. */
const failed = (code: string) => Object.assign(new Error(code), { code, severity: "ERROR" });
const socket = (code: string) => Object.assign(new Error(`connect ${code}`), { code });

describe("what an error says", () => {
    test("a tenant that moved, a node that left, or neither", () => {
        for (const code of ["3D000", "55000", "53300", "42501", "25006", "42P01", "3F000", "57P01", "57P02", "57P03"])
            assert.ok(isStale(failed(code)), code);
        for (const code of ["08000", "08003", "08006", "08001", "08004", "08P01"])
            assert.ok(isStale(fatal(code)), code);
        for (const code of [
            "ECONNREFUSED",
            "ENOTFOUND",
            "EAI_AGAIN",
            "ETIMEDOUT",
            "EPIPE",
            "ECONNRESET",
            "EHOSTUNREACH",
        ])
            assert.ok(isStale(socket(code)), code);
        for (const message of [
            "Connection terminated unexpectedly",
            "Connection terminated due to connection timeout",
            "Client has encountered a connection error and is not queryable",
        ])
            assert.ok(isStale(new Error(message)), message);
        assert.ok(isStale(new AggregateError([socket("ECONNREFUSED"), socket("ECONNREFUSED")])));
        const others = [failed("23505"), failed("42601"), new Error(), null, undefined, "3D000", { code: 3 }];
        for (const error of [...others, new Error("timeout exceeded when trying to connect")])
            assert.ok(!isStale(error), String(error));
    });

    test("whether anything can have been done", () => {
        for (const error of [
            socket("ECONNREFUSED"),
            socket("ENOTFOUND"),
            new AggregateError([socket("ECONNREFUSED"), socket("EHOSTUNREACH")]),
            fatal("3D000"),
            fatal("57P03"),
            fatal("53300"),
            new Error("Connection terminated due to connection timeout"),
        ])
            assert.ok(neverBegan(error), String(error));
        for (const error of [
            failed("3D000"),
            failed("25006"),
            failed("42P01"),
            fatal("57P01"),
            socket("ECONNRESET"),
            socket("ETIMEDOUT"),
            socket("EPIPE"),
            new Error("Connection terminated unexpectedly"),
            new AggregateError([socket("ECONNREFUSED"), socket("ETIMEDOUT")]),
            null,
        ])
            assert.ok(!neverBegan(error), String(error));
    });
});

/** A client of a map that a test changes, and how often it was asked for. */
async function clientOf(json: ShardMapJson, options: { refreshAtMost?: number } = {}) {
    const told = { json, asked: 0, broken: false, known: [] as (string | undefined)[] };
    const client = new ShardMapClient({
        fetch: async (known) => {
            told.asked++;
            told.known.push(known);
            if (told.broken) throw new Error("no answer");
            return told.json.version === known ? null : told.json;
        },
        ...options,
    });
    await client.refresh();
    return { client, told };
}

describe("a node that does not answer", () => {
    test("rows and schemas are asked for on the coordinator, once", async () => {
        const { client } = await clientOf(JSON_MAP, { refreshAtMost: 0 });
        for (const [key, group] of [
            [1, "billing"],
            ["acme", "clinics"],
        ] as const) {
            const tried: string[] = [];
            const result = await client.at(key, group, async ({ node }) => {
                tried.push(node);
                if (node !== "coordinator") throw socket("ECONNREFUSED");
                return node;
            });
            assert.equal(result, "coordinator");
            assert.equal(tried.length, 2);
        }
        // remembered for a while: nobody waits for it again
        const place = await client.at("twice", "clinics", async (at) => at);
        assert.deepEqual([place.node, place.schema, place.exact], ["coordinator", "twice", false]);
        assert.equal(client.lookup("twice", "clinics").node, "worker-1", "the map says what it says");
    });

    test("a database is at one place only, and so is its error", async () => {
        const { client } = await clientOf(JSON_MAP, { refreshAtMost: 0 });
        let tried = 0;
        await assert.rejects(
            client.at("acme_db", "big", async () => {
                tried++;
                throw socket("ECONNREFUSED");
            }),
            /ECONNREFUSED/,
        );
        assert.equal(tried, 1);
    });

    test("what may have been done is not done again, unless it may be", async () => {
        for (const error of [
            fatal("57P01"),
            socket("ECONNRESET"),
            socket("ETIMEDOUT"),
            failed("42P01"),
            failed("25006"),
        ]) {
            const { client, told } = await clientOf(JSON_MAP, { refreshAtMost: 0 });
            const tried: string[] = [];
            const use = async ({ node }: Place) => {
                tried.push(node);
                told.json = { ...JSON_MAP, version: "b", nodes: { coordinator: { host: "c", port: 5432 } } };
                if (node !== "coordinator") throw error;
                return node;
            };
            await assert.rejects(client.at(1, "billing", use), error);
            assert.deepEqual(tried, ["worker-1"]);
            assert.equal(client.lookup(1, "billing").node, "coordinator", "the next finds it");
            told.json = JSON_MAP;
            await client.refresh();
            assert.equal(await client.at(1, "billing", use, { mayRepeat: true }), "coordinator");
        }
    });
});

describe("how often the map is asked for", () => {
    afterEach(() => vi.useRealTimers());

    test("errors make it ask once in a second, however many they are", async () => {
        vi.useFakeTimers({ toFake: ["Date"], now: 1_000_000 });
        const { client, told } = await clientOf(JSON_MAP);
        vi.setSystemTime(1_005_000);
        for (let i = 0; i < 100; i++) await client.failed(failed("53300"));
        assert.equal(told.asked, 2);
        vi.setSystemTime(1_006_001);
        await Promise.all(Array.from({ length: 100 }, () => client.failed(failed("53300"))));
        assert.equal(told.asked, 3);
        assert.equal(await client.failed(failed("23505")), false);
        assert.deepEqual(told.known, [undefined, "a", "a"]);
    });

    test("a map that can't be had is asked for ever more seldom", async () => {
        vi.useFakeTimers({ toFake: ["Date"], now: 0 });
        const { client, told } = await clientOf(JSON_MAP);
        told.broken = true;
        let asked = 0;
        for (let second = 2; second < 602; second++) {
            vi.setSystemTime(second * 1000);
            await client.failed(failed("53300"));
        }
        asked = told.asked - 1;
        // 1, 2, 4, 8, 16, 30, 30, … seconds or half of it
        assert.ok(asked >= 20 && asked <= 48, `${asked}`);
        told.broken = false;
        told.json = { ...JSON_MAP, version: "b" };
        vi.setSystemTime(700_000);
        assert.equal(await client.failed(failed("53300")), true);
        vi.setSystemTime(702_000);
        await client.failed(failed("53300"));
        assert.equal(told.asked - 1, asked + 2, "it answers again, and is asked again");
    });

    test("the version alone where the server can, and all of it where it can't", async () => {
        const queries: string[] = [];
        const known = (version: string | undefined, refuse?: string) =>
            fromDatabase({
                query: async (text, values) => {
                    queries.push(text);
                    if (refuse !== undefined && text.includes("$1")) throw failed(refuse);
                    return { rows: [{ map: values?.[0] === "a" ? null : JSON_MAP }] };
                },
            })(version);
        assert.equal(await known("a"), null);
        assert.equal(await known("older"), JSON_MAP);
        assert.equal(await known(undefined), JSON_MAP);
        assert.deepEqual(queries.splice(0), [
            "SELECT citus_as_code.shard_map($1::text) AS map",
            "SELECT citus_as_code.shard_map($1::text) AS map",
            "SELECT citus_as_code.shard_map() AS map",
        ]);
        assert.equal(await known("a", "42883"), JSON_MAP);
        assert.equal(await known("a", "42501"), JSON_MAP);
        await assert.rejects(known("a", "57P03"), { code: "57P03" });
    });
});

/** A pool that notes what it is sent. @param answer throws what the server would say */
function poolOf(answer: (text: string) => { command?: string } | undefined = () => undefined) {
    const sent: string[] = [];
    const released: (boolean | undefined)[] = [];
    const modes = new Set<string>();
    const listening = new Set<unknown>();
    const pool: TenantPool = {
        connect: async () => ({
            query: async ({ text, queryMode }) => {
                sent.push(text);
                modes.add(queryMode);
                return { rows: [{ n: 1 }], rowCount: 1, ...answer(text) };
            },
            release: (destroy) => released.push(destroy),
            on: (_, listener) => listening.add(listener),
            removeListener: (_, listener) => listening.delete(listener),
        }),
    };
    return { pool, sent, released, modes, listening };
}

describe("a tenant's transaction", () => {
    test("names the tenant by itself, in a transaction, each statement alone", async () => {
        const { client } = await clientOf(JSON_MAP);
        const { pool, sent, released, modes, listening } = poolOf();
        const rows = await client.withTenant(pool, " 042", "billing", async (db) => {
            assert.equal(listening.size, 1, "a connection that is lost meanwhile ends no process");
            assert.equal(db.place.database, "app");
            return (await db.query<{ n: number }>("SELECT 1 AS n", [])).rows;
        });
        assert.deepEqual(rows, [{ n: 1 }]);
        assert.deepEqual(sent, [
            "BEGIN",
            "SET LOCAL citus.propagate_set_commands = 'local'",
            "SET LOCAL app.tenant = '42'",
            "SELECT 1 AS n",
            "COMMIT",
        ]);
        assert.deepEqual([[...modes], released, listening.size], [["extended"], [false], 0]);
    });

    test("each model has its own way", async () => {
        const { client } = await clientOf(JSON_MAP);
        const of = async (key: string, group: string) => {
            const { pool, sent } = poolOf();
            await client.withTenant(
                () => pool,
                key,
                group,
                async () => undefined,
            );
            return sent.slice(1, -1);
        };
        assert.deepEqual(await of("A0EEBC999C0B4EF8BB6D6BB9BD380A11", "small"), [
            "SET LOCAL app.tenant = 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'",
        ]);
        assert.deepEqual(await of("acme", "clinics"), [`SET LOCAL search_path = "acme", public`]);
        assert.deepEqual(await of("7", "billing"), [`SET LOCAL search_path = "acme", public`], "it moved");
        assert.deepEqual(await of("acme_db", "big"), []);
        assert.deepEqual(await of("eu", "far"), []);
    });

    test("any text is a key", async () => {
        const { client } = await clientOf({
            ...JSON_MAP,
            groups: {
                ...JSON_MAP.groups,
                shop: { model: "row", anchor: "shops", keyType: "text", hash: "hashtext", ranges: [] },
            },
        });
        for (const [key, text] of [
            ["O'Reilly", "'O''Reilly'"],
            ["a\\b", "E'a\\\\b'"],
            ["\\'; DROP TABLE x; --", "E'\\\\''; DROP TABLE x; --'"],
            ["🎉 ä\n漢", "'🎉 ä\n漢'"],
        ] as const) {
            const { pool, sent } = poolOf();
            await client.withTenant(pool, key, "shop", async () => undefined);
            assert.equal(sent[2], `SET LOCAL app.tenant = ${text}`);
        }
        for (const key of ["a\0b", "", undefined, null, {}, 1.5, Number.NaN]) {
            const { pool, sent } = poolOf();
            await assert.rejects(
                client.withTenant(pool, key as string, "shop", async () => undefined),
                /key can't|must be/,
            );
            assert.deepEqual(sent, []);
        }
    });

    test("an error rolls back, and the connection is used again if it can be", async () => {
        const { client } = await clientOf(JSON_MAP);
        const own = poolOf();
        const mine = new Error("mine");
        await assert.rejects(
            client.withTenant(own.pool, 42, "billing", async () => {
                throw mine;
            }),
            mine,
        );
        assert.deepEqual([own.sent.at(-1), own.released], ["ROLLBACK", [false]]);

        const lost = poolOf((text) => {
            if (text === "SELECT 1" || text === "ROLLBACK") throw new Error("Connection terminated unexpectedly");
            return undefined;
        });
        await assert.rejects(
            client.withTenant(lost.pool, 42, "billing", (db) => db.query("SELECT 1")),
            /terminated/,
        );
        assert.deepEqual(lost.released, [true]);
    });

    test("a commit whose answer is lost says so, one that is refused says why", async () => {
        const { client } = await clientOf(JSON_MAP);
        const at = async (error: Error | { command: string }) => {
            const made = poolOf((text) => {
                if (text !== "COMMIT") return undefined;
                if (error instanceof Error) throw error;
                return error;
            });
            let calls = 0;
            const done = client.withTenant(made.pool, 42, "billing", async () => ++calls);
            const reason = await done.then(
                () => undefined,
                (e: Error) => e,
            );
            assert.equal(calls, 1, "never done twice");
            return [reason, made.released] as const;
        };
        const [lost, destroyed] = await at(new Error("Connection terminated unexpectedly"));
        assert.ok(lost instanceof CommitUnknown && destroyed[0] === true);
        const [ended] = await at(fatal("57P01"));
        assert.ok(ended instanceof CommitUnknown);
        const deferred = failed("23503");
        assert.equal((await at(deferred))[0], deferred);
        assert.match(String((await at({ command: "ROLLBACK" }))[0]), /nothing was done: a statement failed/);
    });

    test("what ends the transaction is refused, a savepoint is not", async () => {
        const { client } = await clientOf(JSON_MAP);
        const run = (text: string) => {
            const { pool } = poolOf();
            return client.withTenant(pool, 42, "billing", (db) => db.query(text));
        };
        for (const text of [
            "COMMIT",
            " /* a */ -- b\n rollback",
            "END",
            "ABORT",
            "BEGIN",
            "START  TRANSACTION",
            "PREPARE TRANSACTION 'x'",
        ])
            await assert.rejects(run(text), /can't be run here/, text);
        for (const text of [
            "SAVEPOINT s",
            "ROLLBACK TO s",
            "rollback work to savepoint s",
            "SELECT 'commit'",
            "TABLE ending",
        ])
            await run(text);
    });

    test("a query that is not awaited does not run after the transaction", async () => {
        const { client } = await clientOf(JSON_MAP);
        const { pool, sent } = poolOf();
        const late = await client.withTenant(pool, 42, "billing", async (db) => () => db.query("DELETE FROM users"));
        await assert.rejects(late(), /has ended: await every query/);
        assert.ok(!sent.includes("DELETE FROM users"));
    });

    test("another place is tried before the work begins, and never after", async () => {
        const { client } = await clientOf(JSON_MAP, { refreshAtMost: 0 });
        const good = poolOf();
        const tried: string[] = [];
        const pools = (place: Place): TenantPool => {
            tried.push(place.node);
            return place.node === "coordinator" ? good.pool : { connect: () => Promise.reject(socket("ETIMEDOUT")) };
        };
        let calls = 0;
        await client.withTenant(pools, 1, "billing", async () => ++calls);
        assert.deepEqual([tried, calls], [["worker-1", "coordinator"], 1]);

        const other = await clientOf(JSON_MAP, { refreshAtMost: 0 });
        const ends = poolOf((text) => {
            if (text === "UPDATE users SET a = 1") throw fatal("57P01");
            return undefined;
        });
        await assert.rejects(
            other.client.withTenant(ends.pool, 1, "billing", async (db) => {
                calls++;
                await db.query("UPDATE users SET a = 1");
            }),
            { code: "57P01" },
        );
        assert.equal(calls, 2);
        assert.equal(
            await other.client.withTenant(
                () => good.pool,
                1,
                "billing",
                async (db) => db.place.node,
            ),
            "coordinator",
        );
    });

    test("no statement is run where it can't be right", async () => {
        const { client } = await clientOf(JSON_MAP);
        const run = (key: string, group: string) => client.withTenant(poolOf().pool, key, group, async () => "ran");
        await assert.rejects(run("gone", "clinics"), /tenant "gone" of group clinics was deleted/);
        await assert.rejects(run("1", "biling"), /there is no group biling/);
        await assert.rejects(run("acme_db", "big"), /give a function that returns the pool of a place/);
        await assert.rejects(run("eu", "far"), /give a function/);
        await assert.rejects(run("nobody", "big"), /is not in the shard map/);
    });
});
