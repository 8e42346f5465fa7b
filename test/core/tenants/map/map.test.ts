/** The client of the shard map, PostgreSQL's hash functions, and what the facets of the map find to do. */
import assert from "node:assert/strict";
import { describe, test } from "vitest";
import { hashint4, hashint8, hashOf, hashtext, uuidHash } from "../../../../client/hash.ts";
import { type Group, ShardMap, type ShardMapJson } from "../../../../client/shardMap.ts";
import type { GroupSpec } from "../../../../core/tenants/group/spec.ts";
import { map } from "../../../../core/tenants/map/map.ts";
import { routed } from "../../../../core/tenants/map/routed.ts";
import { SHARD_MAP_HASH } from "../../../../core/tenants/map/shardMap.ts";
import { MAP } from "../../../shardMapJson.ts";

/** As PostgreSQL 17.11 gave them. */
const INT4 = [
    [0, -272711505],
    [1, -1905060026],
    [-1, 385747274],
    [42, 1509752520],
    [32767, 1289782602],
    [-32768, 193646934],
    [1_000_000, -723906379],
    [2147483647, -96758253],
    [-2147483648, -1524351049],
] as const;
const INT8 = [
    [0n, -272711505],
    [1n, -1905060026],
    [-1n, 385747274],
    [42n, 1509752520],
    [2147483648n, -1524351049],
    [-2147483649n, -96758253],
    [4294967296n, -1905060026],
    [1234567890123n, 952082253],
    [9223372036854775807n, -1524351049],
    [-9223372036854775808n, -96758253],
] as const;
const TEXT = [
    ["", -1477818771],
    ["a", 1075015857],
    ["ab", 1718550461],
    ["abc", -785388649],
    ["abcd", -393934804],
    ["acme", -1850687378],
    ["globex", -166328368],
    ["exactly12byt", 804910449],
    ["exactly 13 by", -2083395759],
    ["twentyfour bytes exactly", -140591507],
    ["the quick brown fox jumps over the lazy dog", 146440145],
    ["Läser ü 漢字 🎉", 499925212],
] as const;
const UUID = [
    ["00000000-0000-0000-0000-000000000000", 1353656403],
    ["123e4567-e89b-12d3-a456-426614174000", 1944658063],
    ["A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11", 1154666245],
    ["ffffffff-ffff-ffff-ffff-ffffffffffff", -682383255],
] as const;

describe("hash functions are PostgreSQL's", () => {
    for (const [value, hash] of INT4) test(`hashint4(${value})`, () => assert.equal(hashint4(value), hash));
    for (const [value, hash] of INT8) test(`hashint8(${value})`, () => assert.equal(hashint8(value), hash));
    for (const [value, hash] of TEXT) test(`hashtext('${value}')`, () => assert.equal(hashtext(value), hash));
    for (const [value, hash] of UUID) test(`uuid_hash('${value}')`, () => assert.equal(uuidHash(value), hash));

    test("a key is read as its type reads it, or not at all", () => {
        assert.equal(hashOf("hashint8", " 42 "), 1509752520);
        assert.equal(hashOf("hashint8", "+42"), 1509752520);
        assert.equal(hashOf("hashint8", 42n), 1509752520);
        assert.equal(hashOf("hashint4", "2147483648"), undefined);
        assert.equal(hashOf("hashint2", 32768), undefined);
        assert.equal(hashOf("hashint8", "9223372036854775808"), undefined);
        assert.throws(() => hashOf("hashint8", 2 ** 60), /can't be the number 1152921504606847000: .* Give it as text/);
        assert.equal(hashOf("hashint8", "acme"), undefined);
        assert.equal(hashOf("hashtext", 42), hashtext("42"));
        assert.equal(hashOf("hashbpchar", "abc   "), -785388649);
        assert.equal(hashOf("uuid_hash", "{123e4567e89b12d3a456426614174000}"), 1944658063);
        assert.equal(hashOf("uuid_hash", "123e4567"), undefined);
        assert.equal(hashOf("hash_numeric", "42"), undefined);
    });
});

const JSON_MAP: ShardMapJson = {
    ...MAP,
    tombstones: {
        clinics: { old: { movedTo: "big/acme_db" }, gone: {}, round: { movedTo: "clinics/round" } },
        billing: { 7: { movedTo: "clinics/acme" } },
    },
};

describe("lookup", () => {
    const shardMap = ShardMap.from(JSON_MAP);
    const coordinator = { node: "coordinator", host: "c", port: 5432, database: "app", exact: false };

    test("a row tenant is where its hash is", () => {
        // hash -1905060026
        assert.equal(shardMap.lookup(1, "billing").node, "worker-1");
        // hash 385747274
        assert.equal(shardMap.lookup("-1").node, "worker-1");
        // hash -272711505
        assert.deepEqual(shardMap.lookup(0n), {
            node: "worker-2",
            host: "w2",
            port: 5434,
            database: "app",
            exact: true,
        });
    });

    test("a node without an address is reached through the coordinator", () => {
        assert.deepEqual(shardMap.lookup(42), coordinator);
    });

    test("what is no key of the type is the coordinator's to refuse", () =>
        assert.deepEqual(shardMap.lookup("forty-two", "billing"), coordinator));

    test("a schema, a database, a server, a policy", () => {
        assert.deepEqual(shardMap.lookup("acme"), {
            node: "worker-2",
            host: "w2",
            port: 5434,
            database: "app",
            schema: "acme",
            exact: true,
        });
        assert.deepEqual(shardMap.lookup("acme_db"), {
            node: "worker-1",
            host: "w1",
            port: 5433,
            poolPort: 6433,
            database: "acme_db",
            exact: true,
        });
        assert.deepEqual(shardMap.lookup("eu"), {
            node: "eu.example",
            host: "eu.example",
            port: 5439,
            database: "eu",
            exact: true,
        });
        assert.deepEqual(shardMap.lookup("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", "small"), {
            ...coordinator,
            exact: true,
        });
    });

    test("what it does not know is on the coordinator", () => {
        assert.deepEqual(shardMap.lookup("nobody", "clinics"), coordinator);
        assert.deepEqual(shardMap.lookup("nobody", "no group"), coordinator);
        assert.deepEqual(shardMap.lookup("constructor", "clinics"), coordinator);
        assert.deepEqual(shardMap.lookup("__proto__"), coordinator);
    });

    test("a name of two groups needs the group", () => {
        assert.deepEqual(shardMap.lookup("twice"), coordinator);
        assert.equal(shardMap.lookup("twice", "big").database, "t");
        assert.equal(shardMap.lookup("twice", "clinics").schema, "twice");
    });

    test("a tenant that moved is followed, one that was deleted is said to be", () => {
        assert.equal(shardMap.lookup("old", "clinics").database, "acme_db");
        assert.equal(shardMap.lookup(7).schema, "acme");
        assert.deepEqual(shardMap.lookup("gone"), { ...coordinator, deleted: true });
        assert.deepEqual(shardMap.lookup("round", "clinics"), { ...coordinator, deleted: true });
    });

    test("a key is one, however it is spelled", () => {
        const there = shardMap.lookup(7, "billing");
        for (const key of ["007", " 7", "+7", "7\n", 7n, "7"])
            assert.deepEqual(shardMap.lookup(key, "billing"), there, String(key));
        for (const key of ["0x7", "7_", "7.0", "seven", ""])
            assert.deepEqual(shardMap.lookup(key, "billing"), coordinator, String(key));
        const uuid = "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11";
        const moved = ShardMap.from({ ...JSON_MAP, tombstones: { small: { [uuid]: { movedTo: "clinics/acme" } } } });
        for (const key of [uuid, uuid.toUpperCase(), `{${uuid}}`, uuid.replaceAll("-", "")])
            assert.equal(moved.lookup(key, "small").schema, "acme", key);
        for (const key of [`${uuid} `, `{${uuid}`, uuid.replace("-", ""), `-${uuid}`])
            assert.deepEqual(
                moved.lookup(key, "small"),
                key === uuid.replace("-", "") ? moved.lookup(uuid, "small") : coordinator,
                key,
            );
        const older = ShardMap.from({ ...JSON_MAP, tombstones: { billing: { "007": { movedTo: "clinics/acme" } } } });
        assert.equal(older.lookup(7, "billing").schema, "acme", "one that was written down in another spelling");
        const blanks: Group = { model: "row", anchor: "c", keyType: "character", hash: "hashbpchar", ranges: [] };
        const padded = ShardMap.from({
            ...JSON_MAP,
            groups: { ...JSON_MAP.groups, c: blanks },
            tombstones: { c: { ab: {} } },
        });
        assert.ok(padded.lookup("ab   ", "c").deleted);
    });

    test("what can be no key is refused", () => {
        for (const key of [undefined, null, {}, [], true, 1.5, Number.NaN, 2 ** 53, "a\0b"])
            for (const group of ["billing", "clinics", undefined])
                assert.throws(() => shardMap.lookup(key as string, group), TypeError, String(key));
    });

    test("a tenant that left one group of rows may be in another", () => {
        const text: Group = { model: "row", anchor: "t", keyType: "text", hash: "hashtext", ranges: [] };
        const two = ShardMap.from({ ...JSON_MAP, groups: { ...JSON_MAP.groups, t: text } });
        assert.deepEqual(two.lookup(7), coordinator);
        assert.equal(two.lookup(7, "billing").schema, "acme");
    });

    test("100,000 lookups over 100 groups", () => {
        const groups = Object.fromEntries(
            Array.from({ length: 100 }, (_, g): [string, Group] => [
                `g${g}`,
                {
                    model: "schema",
                    schemas: Object.fromEntries(Array.from({ length: 1000 }, (_, t) => [`t${g}_${t}`, "worker-1"])),
                },
            ]),
        );
        const big = ShardMap.from({ ...JSON_MAP, groups, tombstones: { g5: { t_gone: {} } } });
        const began = performance.now();
        let found = 0;
        for (let g = 0; g < 100; g++)
            for (let t = 0; t < 1000; t++) if (big.lookup(`t${g}_${t}`).schema !== undefined) found++;
        assert.equal(found, 100_000);
        assert.ok(performance.now() - began < 3000, `${performance.now() - began} ms`);
    });

    test("another format is refused", () => {
        assert.throws(() => ShardMap.from({ ...JSON_MAP, format: 2 }), /no shard map of format 1, but 2/);
        assert.throws(() => ShardMap.from(null), /no shard map/);
        assert.equal(ShardMap.from(JSON.stringify(JSON_MAP)).version, "a");
    });
});

const group: GroupSpec = {
    name: "far",
    model: "routed",
    tables: {},
    template: [],
    tenants: { eu: { host: "eu.example", port: 5432, database: "eu" } },
    delete: [],
    allow: [],
    rowSecurity: true,
    rollout: { canary: 1, part: 0.1 },
    lockTimeout: 5000,
};

describe("routed tenants", () => {
    const eu = { host: "eu.example", port: 5432, database: "eu" };

    const planned = (entries: object, others: Readonly<Record<string, string>> = {}, gone: readonly string[] = []) =>
        routed.plan({ ...group, delete: gone }, { entries: entries as Record<string, typeof eu>, others }, {});

    test("a group of another model does not become routed", () => {
        const { steps, refusals } = planned({}, { acme: "database", globex: "database" }, ["globex"]);
        assert.deepEqual(steps, []);
        assert.match(
            refusals?.[0] ?? "",
            /is of model database, and 2 of its tenants are in this cluster \(acme, globex\)/,
        );
    });

    test("what is there is left alone", () => assert.deepEqual(planned({ eu }), { steps: [], notes: [] }));

    test("a new one and a changed one are set", () => {
        assert.deepEqual(
            planned({}).steps.map(({ text }) => text),
            ["eu: routed to eu.example:5432/eu"],
        );
        assert.deepEqual(
            planned({ eu: { ...eu, port: 6432 } }).steps.map(({ text }) => text),
            ["eu: routed to eu.example:5432/eu instead of eu.example:6432/eu; no data is moved"],
        );
    });

    test("one that left the program stays, a deleted one goes and its data does not", () => {
        const left = planned({ eu, us: eu });
        assert.deepEqual(left.steps, []);
        assert.match(left.notes?.[0] ?? "", /us is not in the program/);
        const gone = planned({ eu, us: eu }, {}, ["us", "never was"]);
        assert.deepEqual(
            gone.steps.map(({ kind, tenant }) => [kind, tenant]),
            [["routed.remove", "us"]],
        );
        assert.match(gone.steps[0]?.text ?? "", /its data at eu.example:5432\/eu is not touched/);
        assert.deepEqual(gone.notes, []);
    });
});

describe("facet map", () => {
    const node = (name: string, port: number) => ({
        name,
        host: `${name}.citus-dev.node`,
        port: 5432,
        address: { host: "localhost", port },
    });
    const settled = {
        body: SHARD_MAP_HASH,
        addresses: [
            { node: "coordinator", host: "localhost", port: 1 },
            { node: "worker-1", host: "localhost", port: 2 },
        ],
        nodes: [node("coordinator", 1), node("worker-1", 2)],
        shut: [],
    };
    const texts = (found: object) => map.plan(group, { ...settled, ...found }, {}).steps.map(({ text }) => text);

    test("nothing to do", () => assert.deepEqual(texts({}), []));
    test("nodes that are not known are no change", () => assert.deepEqual(texts({ nodes: [] }), []));
    test("each thing that differs", () => {
        assert.deepEqual(
            texts({
                body: "older",
                nodes: [node("coordinator", 1), node("worker-2", 3)],
                shut: ["far_app"],
            }),
            [
                "shard map: renew citus_as_code.shard_map()",
                "shard map: worker-2 is reached at localhost:3",
                "shard map: worker-1 is gone",
                "shard map: far_app may read it",
            ],
        );
    });
});
