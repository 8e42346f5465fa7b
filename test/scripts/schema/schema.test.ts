/** The file that dump --schema-only writes, from rows and scripts as the programs give them. */
import assert from "node:assert/strict";
import { describe, test } from "vitest";
import { citusCalls, refusals, summary } from "../../../scripts/schema/calls.ts";
import type { Catalog, Table } from "../../../scripts/schema/catalog.ts";
import { arrange, parseContents } from "../../../scripts/schema/contents.ts";
import {
    databaseStatements,
    roleStatements,
    statements,
    withoutServiceGrants,
} from "../../../scripts/schema/database.ts";
import { assemble, type Pieces } from "../../../scripts/schema/file.ts";

const table = (name: string, group: number, more: Partial<Table> = {}): Table => ({
    name: `public.${name}`,
    schema: "public",
    bare: name,
    method: "h",
    model: "s",
    group,
    column: "id",
    byForeignKey: false,
    ...more,
});
const reference = (name: string) => table(name, 9, { method: "n", model: "t", column: null });
const local = (name: string, more: Partial<Table> = {}) => table(name, 0, { method: "n", column: null, ...more });

const group = (id: number, more: object = {}) => ({
    id,
    shards: 8,
    replicas: 1,
    type: "20",
    collation: "0",
    ...more,
});

const catalog = (more: Partial<Catalog> = {}): Catalog => ({
    postgres: 17,
    citus: "14.0-1",
    groups: [],
    tables: [],
    schemas: [],
    functions: [],
    views: [],
    triggers: false,
    database: { name: "app", owner: "postgres", comment: null, connections: -1, granted: false },
    privileges: [],
    settings: [],
    ...more,
});

describe("citusCalls", () => {
    test("the first of a group by name is alone with its shards, the others go to it", () => {
        assert.deepEqual(
            citusCalls(
                catalog({
                    groups: [group(3)],
                    tables: [table("users", 3, { column: "company_id" }), table("companies", 3), reference("plans")],
                }),
            ),
            [
                "SELECT pg_catalog.create_reference_table('public.plans');",
                "-- One group: public.companies, public.users.",
                "-- To make only public.companies where the others exist, write colocate_with => 'public.users' and no shard_count.",
                "SELECT pg_catalog.create_distributed_table('public.companies', 'id', colocate_with => 'none', shard_count => 8);",
                "SELECT pg_catalog.create_distributed_table('public.users', 'company_id', colocate_with => 'public.companies');",
            ],
        );
    });

    test("names are text, and their quotes are doubled; a column's name is as it is", () => {
        const [call] = citusCalls(
            catalog({
                groups: [group(1)],
                tables: [table("x", 1, { name: `"Söder"."o'k ""1"""`, column: `a'b"c` })],
            }),
        );
        assert.equal(
            call,
            `SELECT pg_catalog.create_distributed_table('"Söder"."o''k ""1"""', 'a''b"c', colocate_with => 'none', shard_count => 8);`,
        );
    });

    test("the order is that of names, whatever the ids, the rows' order and the oids", () => {
        const tables = [table("c", 1), table("b", 2), table("a", 3, { column: "k" }), local("z"), local("y")];
        const groups = [group(1, { type: "1" }), group(2, { type: "2" }), group(3, { type: "3" })];
        const calls = citusCalls(catalog({ groups, tables }));
        assert.deepEqual(
            calls.map((call) => /'public\.(\w)'/.exec(call)?.[1]),
            ["a", "b", "c", "y", "z"],
        );
        const other = new Map([
            [1, 30],
            [2, 20],
            [3, 10],
        ]);
        assert.deepEqual(
            citusCalls(
                catalog({
                    groups: groups.map((g) => ({ ...g, id: other.get(g.id) ?? 0 })).reverse(),
                    tables: tables.map((t) => ({ ...t, group: other.get(t.group) ?? 0 })).reverse(),
                }),
            ),
            calls,
        );
    });

    test("of groups of one kind the oldest is made first, for it is where new tables go", () => {
        const calls = citusCalls(
            catalog({ groups: [group(5), group(2), group(7)], tables: [table("a", 5), table("z", 2), table("b", 7)] }),
        );
        assert.deepEqual(
            calls.map((call) => /'public\.(\w)'/.exec(call)?.[1]),
            ["z", "a", "b"],
        );
    });

    test("a table with one shard has no column and no shard count", () => {
        assert.deepEqual(
            citusCalls(
                catalog({
                    groups: [group(4, { shards: 1, type: "0" })],
                    tables: [
                        table("lone", 4, { method: "n", column: null }),
                        table("too", 4, { method: "n", column: null }),
                    ],
                }),
            ),
            [
                "-- One group: public.lone, public.too.",
                "-- To make only public.lone where the others exist, write colocate_with => 'public.too' and no shard_count.",
                "SELECT pg_catalog.create_distributed_table('public.lone', NULL, colocate_with => 'none');",
                "SELECT pg_catalog.create_distributed_table('public.too', NULL, colocate_with => 'public.lone');",
            ],
        );
    });

    test("schemas; local tables, but those that foreign keys take in; functions with what they are bound to", () => {
        assert.deepEqual(
            citusCalls(
                catalog({
                    groups: [group(1)],
                    tables: [table("t", 1), local("known"), local("taken", { byForeignKey: true })],
                    schemas: [
                        { name: "tenant_b", group: 12 },
                        { name: '"Tenant A"', group: 13 },
                    ],
                    functions: [
                        { name: "public.g(bigint)", argument: null, group: null, force: false },
                        { name: "public.f(text,bigint)", argument: 1, group: 1, force: true },
                    ],
                }),
            ).slice(1),
            [
                `SELECT pg_catalog.citus_schema_distribute('"Tenant A"');`,
                "SELECT pg_catalog.citus_schema_distribute('tenant_b');",
                "SELECT pg_catalog.citus_add_local_table_to_metadata('public.known');",
                "SELECT pg_catalog.create_distributed_function('public.f(text,bigint)', '$2', colocate_with => 'public.t', force_delegation => true);",
                "SELECT pg_catalog.create_distributed_function('public.g(bigint)');",
            ],
        );
    });

    test("shards with replicas", () => {
        const calls = citusCalls(catalog({ groups: [group(1, { replicas: 2 })], tables: [table("t", 1)] }));
        assert.equal(calls[0], "SET citus.shard_replication_factor TO 2;");
        assert.equal(calls.at(-1), "RESET citus.shard_replication_factor;");
    });

    test("range and append are refused by name", () => {
        assert.deepEqual(refusals(catalog({ tables: [table("t", 1)] })), []);
        assert.deepEqual(
            refusals(catalog({ tables: [table("r", 1, { method: "r" }), table("a", 2, { method: "a" })] })),
            [
                "public.a is distributed by append, and no call makes such shards again",
                "public.r is distributed by range, and no call makes such shards again",
            ],
        );
    });

    test("one line says what there is", () => {
        assert.equal(
            summary(catalog({ tables: [table("a", 1), reference("r"), reference("s"), local("l")] })),
            "1 distributed table, 2 reference tables, 0 distributed schemas, 1 local table that Citus knows",
        );
    });
});

const CONTENTS = `;
; Archive created at 2026-01-01 00:00:00 UTC
;
9; 0 0 ENCODING - ENCODING 
1; 1259 17348 TABLE public vt postgres
2; 1255 17501 FUNCTION public of_table(bigint) postgres
;	depends on: 1
3; 1259 17353 VIEW public v postgres
;	depends on: 1 1
4; 0 0 COMMENT public TABLE vt postgres
;	depends on: 1
5; 0 0 ACL public TABLE vt postgres
;	depends on: 1
6; 0 0 ACL public TABLE v postgres
;	depends on: 3
7; 1255 17502 FUNCTION public of_view() postgres
;	depends on: 3
8; 1259 17399 MATERIALIZED VIEW public m postgres
;	depends on: 7
10; 2606 1 CONSTRAINT public vt vt_pkey postgres
;	depends on: 1
11; 1259 2 INDEX public m_index postgres
;	depends on: 8
12; 2620 3 TRIGGER public vt t postgres
;	depends on: 1
13; 2606 4 FK CONSTRAINT public vt to_other postgres
;	depends on: 1 10
18; 2606 8 CHECK CONSTRAINT public vt later postgres
;	depends on: 1
14; 1418 5 USER MAPPING - USER MAPPING a SERVER s postgres
15; 826 6 DEFAULT ACL public DEFAULT PRIVILEGES FOR TABLES a
`;

describe("arrange", () => {
    const ids = (entries: readonly { id: number }[]) => entries.map(({ id }) => id);

    test("what views are made of, then foreign keys, then views with all that needs them", () => {
        const parts = arrange(parseContents(CONTENTS), catalog({ tables: [table("vt", 1)] }));
        assert.deepEqual(ids(parts.before), [9, 1, 2, 5, 10]);
        assert.deepEqual(ids(parts.foreignKeys), [13, 18]);
        assert.deepEqual(ids(parts.after), [3, 4, 6, 7, 8, 11, 12, 15]);
        assert.deepEqual(ids(parts.secret), [14]);
        assert.equal(parts.before[1]?.line, "1; 1259 17348 TABLE public vt postgres");
    });

    test("a view that needs a key is made by its rule alone, in the view's place, and keeps its owner", () => {
        const view = { name: "public.v", schema: "public", bare: "v", owner: "app_owner" };
        const parts = arrange(
            parseContents(`${CONTENTS}16; 2618 7 RULE public v _RETURN app_owner\n;\tdepends on: 1 3 10\n`),
            catalog({ views: [view, { ...view, name: "public.v2", bare: "v2" }] }),
        );
        assert.deepEqual(ids(parts.after), [16, 4, 6, 7, 8, 11, 12, 15]);
        assert.deepEqual(parts.ownerless, [view]);
    });

    test("but not where the rule needs what needs the view", () => {
        const parts = arrange(
            parseContents(`${CONTENTS}16; 2618 7 RULE public v _RETURN app_owner\n;\tdepends on: 3 7\n`),
            catalog(),
        );
        assert.deepEqual(ids(parts.after), [3, 4, 6, 7, 8, 11, 12, 15, 16]);
        assert.deepEqual(parts.ownerless, []);
    });

    test("a table that Citus knows and that is made of a view is refused", () => {
        const text = `${CONTENTS}17; 1259 9 TABLE public strange one postgres\n;\tdepends on: 7\n`;
        assert.deepEqual(ids(arrange(parseContents(text), catalog()).after).at(-1), 17);
        const tables = [table("strange one", 1, { name: 'public."strange one"' })];
        assert.throws(
            () => arrange(parseContents(text), catalog({ tables })),
            /^Error: public\."strange one" needs a view that can only be made after Citus' tables/,
        );
    });
});

describe("roles and the database", () => {
    test("statements end at semicolons, but not at those in quotes", () => {
        assert.deepEqual(statements(`-- a;b\n\\restrict x;\nA 'b;''--c';\nB "d;""e"\n f;`), [
            `A 'b;''--c';`,
            `B "d;""e"\n f;`,
        ]);
    });

    test("roles without those of a fresh cluster", () => {
        assert.deepEqual(
            roleStatements(`SET client_encoding = 'UTF8';
CREATE ROLE postgres;
ALTER ROLE postgres WITH SUPERUSER;
ALTER ROLE postgres SET work_mem TO '1MB';
CREATE ROLE citus_restore_point;
CREATE ROLE citus_shard_mover;
CREATE ROLE "postgres x";
COMMENT ON ROLE "postgres x" IS 'a; b
c';
GRANT pg_monitor TO citus_restore_point WITH INHERIT TRUE GRANTED BY postgres;
GRANT pg_monitor TO "postgres x" WITH INHERIT TRUE GRANTED BY postgres;
`),
            [
                'CREATE ROLE "postgres x";',
                "COMMENT ON ROLE \"postgres x\" IS 'a; b\nc';",
                'GRANT pg_monitor TO "postgres x" WITH INHERIT TRUE GRANTED BY postgres;',
            ],
        );
    });

    test("grants to roles that are not made go, with their heading when nothing is left", () => {
        const heading = (name: string) =>
            `--\n-- Name: ${name}; Type: ACL; Schema: pg_catalog; Owner: postgres\n--\n\n`;
        const end = "--\n-- PostgreSQL database dump complete\n--\n";
        const kept = `${heading("FUNCTION g()")}GRANT ALL ON FUNCTION g() TO app;\n\n\n`;
        assert.equal(
            withoutServiceGrants(
                `${heading("FUNCTION f()")}GRANT ALL ON FUNCTION f() TO citus_restore_point;\n\n\n${kept}${end}`,
            ),
            `${kept}${end}`,
        );
    });

    test("nothing is said of a database as it was made", () => {
        assert.deepEqual(databaseStatements(catalog()), []);
    });

    test("owner, comment, grants and settings, in an order of their own, for whatever the database is called", () => {
        assert.deepEqual(
            databaseStatements(
                catalog({
                    database: { name: "app", owner: '"O"', comment: "it's", connections: 7, granted: true },
                    privileges: [
                        { role: "b", privilege: "CREATE", grantable: true },
                        { role: "PUBLIC", privilege: "CONNECT", grantable: false },
                        { role: "citus_restore_point", privilege: "CONNECT", grantable: false },
                    ],
                    settings: [
                        { role: "b", name: "search_path", value: '"$user", "a, ""b", public', n: 2 },
                        { role: "b", name: "work_mem", value: "7MB", n: 1 },
                        { role: "postgres", name: "work_mem", value: "8MB", n: 1 },
                        { role: null, name: "my.tag", value: "it's=1", n: 1 },
                        { role: null, name: "search_path", value: '""', n: 2 },
                    ],
                }),
            ),
            [
                `ALTER DATABASE :"DBNAME" OWNER TO "O";`,
                `COMMENT ON DATABASE :"DBNAME" IS 'it''s';`,
                'ALTER DATABASE :"DBNAME" WITH CONNECTION LIMIT 7;',
                `REVOKE ALL ON DATABASE :"DBNAME" FROM PUBLIC, "O";`,
                'GRANT CONNECT ON DATABASE :"DBNAME" TO PUBLIC;',
                'GRANT CREATE ON DATABASE :"DBNAME" TO b WITH GRANT OPTION;',
                `ALTER DATABASE :"DBNAME" SET my.tag TO 'it''s=1';`,
                `ALTER DATABASE :"DBNAME" SET search_path TO '';`,
                `ALTER ROLE b IN DATABASE :"DBNAME" SET work_mem TO '7MB';`,
                `ALTER ROLE b IN DATABASE :"DBNAME" SET search_path TO '$user', 'a, "b', 'public';`,
            ],
        );
    });
});

describe("assemble", () => {
    const script = (content: string) => `--
-- PostgreSQL database dump
--

\\restrict AbC

-- Dumped from database version 17.12
SET statement_timeout = 0;

--
-- Name: x; Type: TABLE; Schema: public; Owner: postgres
--

${content}


--
-- PostgreSQL database dump complete
--

\\unrestrict AbC
`;
    const pieces = (more: Partial<Pieces> = {}): Pieces => ({
        catalog: catalog({ groups: [group(1)], tables: [table("x", 1)] }),
        roles: "CREATE ROLE app;\n",
        before: script("CREATE TABLE x;"),
        foreignKeys: script("ALTER TABLE x ADD;"),
        after: script("CREATE VIEW v;"),
        ownerless: [],
        ...more,
    });

    test("each part once and in its place, without the frames of the scripts", () => {
        const text = assemble(pieces());
        const places = [
            "CREATE ROLE app",
            "CREATE TABLE x",
            "create_distributed_table",
            "ALTER TABLE x",
            "CREATE VIEW v",
        ];
        const found = places.map((what) => text.indexOf(what));
        assert.ok(found.every((at) => at > 0));
        assert.deepEqual(
            [...found].sort((a, b) => a - b),
            found,
        );
        assert.doesNotMatch(text, /AbC|dump complete|Dumped|enable_unsafe_triggers|ALTER VIEW/);
        assert.equal(assemble(pieces()), text);
    });

    test("psql is held by a key that is the content's own", () => {
        const key = (text: string) => /^\\restrict ([0-9a-f]{64})$/m.exec(text)?.[1];
        const text = assemble(pieces());
        assert.ok(text.endsWith(`\\unrestrict ${key(text)}\n-- complete ${key(text)}\n`));
        assert.notEqual(key(assemble(pieces({ after: script("CREATE VIEW w;") }))), key(text));
    });

    test("triggers that Citus must be told of, and views' owners", () => {
        const text = assemble(
            pieces({
                catalog: catalog({ triggers: true }),
                ownerless: [
                    { name: "public.v", schema: "public", bare: "v", owner: "app" },
                    { name: "public.w", schema: "public", bare: "w", owner: "postgres" },
                ],
            }),
        );
        assert.match(text, /^SET citus\.enable_unsafe_triggers = on;$/m);
        assert.match(text, /^ALTER VIEW public\.v OWNER TO app;$/m);
        assert.doesNotMatch(text, /public\.w/);
    });
});
