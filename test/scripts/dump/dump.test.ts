/** The file of a dump, and what is made of a table that is recovered. */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { afterAll, describe, test } from "vitest";
import { roleNames } from "../../../scripts/dump/empty.ts";
import { BrokenFile, type CopyPart, LOUD, QUIET, readDump, trailer } from "../../../scripts/dump/file.ts";
import { inFile, refusedRow } from "../../../scripts/dump/said.ts";
import { countStatement, oneLine, type RowTable, readStatement, writeStatement } from "../../../scripts/dump/tables.ts";
import { ofTenant } from "../../../scripts/recover/copyRows.ts";
import { createStatements, type Definition, distribution, indexUsing } from "../../../scripts/recover/table.ts";
import { restricted } from "../../../scripts/schema/file.ts";

const KEY = "a".repeat(64);
const dir = mkdtempSync(join(tmpdir(), "citus-dump-"));
afterAll(() => rmSync(dir, { recursive: true }));

const whole = (rows = 3, more = "") =>
    [
        "-- citus-dump 1 all",
        "-- A Citus cluster's database with its rows, written by npm run dump.",
        '-- Database "app", PostgreSQL 17, Citus 14.0-1.',
        "",
        restricted(KEY, "CREATE TABLE t;\nCOPY x (y) FROM stdin;\n\\.\n\\restrict no"),
        'COPY public."a (b" (id, "c"" d") FROM stdin;',
        "1\tone",
        "\\\\.",
        "3\tx\\nCOPY public.t FROM stdin;",
        "\\.",
        "COPY public.none FROM stdin;",
        "\\.",
        restricted(KEY, "ALTER TABLE t;"),
        QUIET,
        "COPY public.late (id) FROM stdin;",
        "7",
        "\\.",
        LOUD,
        restricted(KEY, "SELECT 1;"),
        `-- rows ${rows} public."a (b"`,
        "-- rows 0 public.none",
        "-- rows 1 public.late",
        "-- sequence 2 562949953421313 public.s",
        `-- complete ${KEY}`,
        `${more}`,
    ].join("\n");

let files = 0;
async function read(content: string | Buffer, take = (lines: number) => lines) {
    const file = join(dir, String(files++));
    writeFileSync(file, content);
    const found: (string | { copy: CopyPart; text: string })[] = [];
    const dump = await readDump(file, {
        script: async (part, text, line) => {
            found.push(`${part} ${line} ${text.length}`);
        },
        statement: async (text) => {
            found.push(text);
        },
        table: async (copy) => {
            const chunks: Buffer[] = [];
            return {
                write: async (chunk) => {
                    chunks.push(Buffer.from(chunk));
                },
                end: async () => {
                    const text = Buffer.concat(chunks).toString();
                    found.push({ copy, text });
                    return take(text.split("\n").length - 1);
                },
            };
        },
    });
    return { dump, found };
}

describe("a dump's file", () => {
    test("its parts come in order, with their lines, and rows as they are", async () => {
        const { dump, found } = await read(whole());
        assert.deepEqual(
            found.map((one) => (typeof one === "string" ? one.split(" ").slice(0, 2).join(" ") : one.copy.name)),
            [
                "before 5",
                'public."a (b"',
                "public.none",
                "after 20",
                "SET session_replication_role",
                "public.late",
                "RESET session_replication_role;",
                "last 30",
            ],
        );
        const first = found[1] as { copy: CopyPart; text: string };
        assert.equal(first.copy.statement, 'COPY public."a (b" (id, "c"" d") FROM stdin');
        assert.equal(first.copy.line, 14);
        assert.equal(first.text, "1\tone\n\\\\.\n3\tx\\nCOPY public.t FROM stdin;\n");
        assert.deepEqual(
            [...dump.rows],
            [
                ['public."a (b"', 3],
                ["public.none", 0],
                ["public.late", 1],
            ],
        );
        assert.deepEqual(dump.sequences, [{ group: 2, last: "562949953421313", name: "public.s" }]);
        assert.equal(dump.of, 'Database "app", PostgreSQL 17, Citus 14.0-1.');
    });

    test("packed it is the same, whatever its name", async () => {
        const plain = await read(whole());
        assert.deepEqual((await read(gzipSync(whole()))).found, plain.found);
    });

    test("rows that are longer than what is read at once", async () => {
        const long = `${"x".repeat(3_000_000)}\n${"y\\.".repeat(900_000)}\n`;
        const text = `-- citus-dump 1 all\n${restricted(KEY, "")}COPY public.t (a) FROM stdin;\n${long}\\.\n${restricted(KEY, "")}-- rows 2 public.t\n-- complete ${KEY}\n`;
        for (const content of [text, gzipSync(text)]) {
            const { found } = await read(content);
            assert.equal((found[1] as { text: string }).text, long);
        }
    });

    test("what is cut off anywhere is refused, and never read as whole", async () => {
        const text = whole();
        const packed = gzipSync(text);
        for (let at = 0; at < text.length - 2; at += 7)
            await assert.rejects(read(text.slice(0, at)), BrokenFile, `cut at ${at}`);
        for (const at of [packed.length - 1, packed.length - 9, Math.floor(packed.length / 2)])
            await assert.rejects(read(packed.subarray(0, at)), /line \d+: the (packed file is damaged|file ends here)/);
    });

    test("wrong counts, rows that the database did not take, and strange lines are named", async () => {
        await assert.rejects(read(whole(4)), /public\."a \(b" has 3 rows in the file, and the dump wrote 4/);
        await assert.rejects(read(whole(3, "-- more\n")), /there is more after the last line/);
        await assert.rejects(
            read(whole().replace(QUIET, "DROP TABLE t;")),
            /line 25: this line belongs to no part of a dump/,
        );
        await assert.rejects(
            read(whole(), (lines) => lines - 1),
            /public\."a \(b" has 3 rows, and the database took 2/,
        );
        await assert.rejects(read("CREATE TABLE t ();\n"), /line 1: this is not a file of npm run dump/);
    });

    test("a shape has scripts alone", async () => {
        const { dump, found } = await read(
            `-- citus-dump 1 shape\n${restricted(KEY, "a")}${restricted(KEY, "b")}-- complete ${KEY}\n`,
        );
        assert.equal(dump.kind, "shape");
        assert.equal(found.length, 2);
        assert.equal(trailer(KEY, { rows: new Map([["t", 1]]), sequences: [] }), `-- rows 1 t\n-- complete ${KEY}\n`);
    });

    test("roles that a script makes", () => {
        assert.deepEqual(roleNames('CREATE ROLE app;\nCREATE ROLE "L ""x";\nALTER ROLE app WITH LOGIN;\n'), [
            "app",
            '"L ""x"',
        ]);
    });
});

describe("what the database said", () => {
    test("a script's lines are the file's", () => {
        assert.equal(
            inFile('psql:after.sql:3: ERROR:  relation "x" does not exist\n', "all.sql", 1000),
            'all.sql, line 1002: ERROR:  relation "x" does not exist',
        );
    });

    test("a row that is not taken is named by its line in the file", () => {
        const copy = { statement: "COPY public.t (a) FROM stdin", name: "public.t", line: 14 };
        const error = Object.assign(new Error('invalid input syntax for type bigint: "x"'), {
            where: 'COPY t, line 2, column a: "x"',
        });
        assert.equal(
            refusedRow(error, copy, "all.sql").message,
            'coordinator: all.sql, line 15: COPY public.t (a) FROM stdin failed\n  invalid input syntax for type bigint: "x"',
        );
        assert.match(refusedRow(new Error("gone"), copy, "all.sql").message, /^coordinator: all\.sql: COPY public\.t/);
    });
});

describe("statements", () => {
    const table: RowTable = {
        name: 'public."a"',
        schema: "public",
        bare: "a",
        oid: "1",
        columns: ["id", '"b c"'],
        condition: null,
        known: false,
        parts: [],
    };
    const part = { name: "public.a_102008", group: 1 };

    test("a name with a new line is written on one line", () => {
        assert.equal(oneLine('public."a\nb""\\"'), 'public.U&"a\\000ab""\\\\"');
        assert.equal(oneLine('public."a\\b"'), 'public."a\\b"');
    });

    test("rows of a part, and how many", () => {
        assert.equal(readStatement(table, part), 'COPY public.a_102008 (id, "b c") TO STDOUT');
        assert.equal(readStatement({ ...table, columns: [] }, part), "COPY public.a_102008 TO STDOUT");
        assert.equal(writeStatement(table.name, []), 'COPY public."a" FROM stdin');
        const config = { ...table, condition: "WHERE id > 1" };
        assert.equal(
            readStatement(config, part, "id = 2"),
            'COPY (SELECT id, "b c" FROM ONLY public.a_102008 WHERE (id > 1) AND (id = 2)) TO STDOUT',
        );
        assert.equal(
            countStatement(config, part),
            "SELECT count(*)::text AS n FROM ONLY public.a_102008 WHERE (id > 1)",
        );
        assert.equal(
            countStatement({ ...table, known: true }, part),
            "SELECT count(*)::text AS n FROM public.a_102008",
        );
    });
});

describe("a recovered table", () => {
    const column = (name: string, more: object = {}) => ({
        name,
        type: "bigint",
        collation: null,
        notNull: false,
        generated: null,
        default: null,
        ...more,
    });
    const table: Definition = {
        name: "public.orders",
        schema: "public",
        bare: "orders",
        kind: "r",
        method: "heap",
        unlogged: false,
        columns: [
            column("company_id", { notNull: true }),
            column("n", { default: "3" }),
            column("g", { generated: "(n * 2)" }),
        ],
        constraints: [
            { name: "positive", kind: "c", definition: "CHECK ((n > 0))" },
            { name: "later", kind: "c", definition: "CHECK ((n > 1)) NOT VALID" },
            { name: "orders_pkey", kind: "p", definition: "PRIMARY KEY (company_id)" },
        ],
        indexes: [{ unique: false, using: "USING btree (n)" }],
        spread: {
            method: "h",
            model: "s",
            group: 3,
            column: "company_id",
            columnType: "bigint",
            shards: 8,
            members: ["public.orders", "public.companies"],
            ofSchema: false,
        },
        left: { foreignKeys: 1, triggers: 0, policies: 0, numbered: [] },
        leaves: ["public.orders"],
    };
    const nothing = { members: [], schemaDistributed: false };

    test("has columns, checks, keys and indexes, and no name of the original's", () => {
        assert.deepEqual(createStatements(table, "public.orders_recovered"), [
            "CREATE TABLE public.orders_recovered (company_id bigint NOT NULL, n bigint DEFAULT 3, g bigint GENERATED ALWAYS AS ((n * 2)) STORED, CONSTRAINT positive CHECK ((n > 0)), PRIMARY KEY (company_id))",
            "CREATE INDEX ON public.orders_recovered USING btree (n)",
        ]);
        assert.match(
            createStatements({ ...table, unlogged: true, method: "columnar" }, "x")[0] ?? "",
            /^CREATE UNLOGGED TABLE x .* USING columnar$/,
        );
    });

    test("an index is told from its name and its table", () => {
        assert.equal(
            indexUsing("CREATE UNIQUE INDEX i ON ONLY public.t USING btree (a)", "i", "public.t"),
            "USING btree (a)",
        );
        assert.throws(() => indexUsing("CREATE INDEX j ON public.t USING btree (a)", "i", "public.t"));
    });

    test("goes beside its group where that still exists, and says when it does not", () => {
        assert.deepEqual(distribution(table, "public.r", { ...nothing, members: ["public.companies"] }), {
            statements: [
                "SELECT pg_catalog.create_distributed_table('public.r', 'company_id', colocate_with => 'public.companies')",
            ],
            says: "distributed by company_id, colocated with public.companies",
        });
        const alone = distribution(table, "public.r", nothing);
        assert.deepEqual(alone.statements, [
            "SELECT pg_catalog.create_distributed_table('public.r', 'company_id', colocate_with => 'none', shard_count => 8)",
        ]);
        assert.match(alone.says, /no table of its group is left/);
    });

    test("reference tables, tables of a distributed schema, single shards and the coordinator's", () => {
        const spread = table.spread as NonNullable<Definition["spread"]>;
        const of = (more: object | null, living = nothing) =>
            distribution({ ...table, spread: more === null ? null : { ...spread, ...more } }, "public.r", living);
        assert.deepEqual(of({ method: "n", model: "t", column: null }).statements, [
            "SELECT pg_catalog.create_reference_table('public.r')",
        ]);
        assert.deepEqual(of({ method: "n", group: 5, column: null }).statements, [
            "SELECT pg_catalog.create_distributed_table('public.r', NULL, colocate_with => 'none')",
        ]);
        assert.deepEqual(of({ method: "n", group: 0, column: null }).statements, []);
        assert.deepEqual(of(null).statements, []);
        assert.deepEqual(of({}, { members: [], schemaDistributed: true }).statements, []);
    });

    test("one tenant's rows are those of its key", () => {
        assert.equal(ofTenant(table, undefined), undefined);
        assert.equal(ofTenant(table, "4'2"), `"company_id" = '4''2'::bigint`);
        assert.throws(() => ofTenant({ ...table, spread: null }, "42"), /not distributed by a column/);
    });
});
