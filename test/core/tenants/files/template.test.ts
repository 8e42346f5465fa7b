/** Statements of a template file: what each is, and what may not be in one. */
import { deepEqual, equal, match } from "node:assert/strict";
import fc from "fast-check";
import { describe, it } from "vitest";
import { alteredTables, statements } from "../../../../core/sql/statements.ts";
import { createdIndex, templateMistakes as mistakesOf } from "../../../../core/tenants/check/read/templateFile.ts";

const templateMistakes = (path: string, sql: string, alone = false) => mistakesOf(path, statements(sql), alone);

describe("statements of a template file", () => {
    const of = (sql: string) => statements(sql).map(({ text, line }) => `${line} ${text}`);

    it("end at semicolons that nothing hides", () => {
        deepEqual(of("SELECT 1;\n\n-- x;\nSELECT ';' /* ; /* ; */ */, \";\"; SELECT $$;$$; SELECT $a$ $$; $a$"), [
            "1 SELECT 1",
            "4 SELECT ';'  , \";\"",
            "4 SELECT $$;$$",
            "4 SELECT $a$ $$; $a$",
        ]);
        deepEqual(of("SELECT E'\\';', 'it''s;' ; SELECT 'a\\'; SELECT 2"), [
            "1 SELECT E'\\';', 'it''s;'",
            "1 SELECT 'a\\'",
            "1 SELECT 2",
        ]);
        deepEqual(of("SELECT $1; SELECT a$b$c; SELECT 3"), ["1 SELECT $1", "1 SELECT a$b$c", "1 SELECT 3"]);
    });

    it("have a function's body in them", () => {
        const sql =
            "CREATE FUNCTION f() RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT 1; SELECT CASE WHEN true THEN 1 END; END; SELECT 2;";
        equal(statements(sql).length, 2);
        deepEqual(templateMistakes("a.sql", sql), []);
    });

    it("never lose a character that is not a comment", () => {
        fc.assert(
            fc.property(fc.array(fc.constantFrom("a", "1", " ", "'b;'", '"c;"', "$$;$$", ";", "\n")), (parts) => {
                const kept = statements(parts.join(" "))
                    .map(({ text }) => text)
                    .join("");
                equal(
                    kept.replace(/\s/g, ""),
                    parts
                        .filter((p) => p !== ";")
                        .join("")
                        .replace(/\s/g, ""),
                );
            }),
        );
    });

    it("are refused where they can't be in a transaction with others", () => {
        for (const sql of [
            "BEGIN",
            "start transaction",
            "COMMIT",
            "END",
            "ROLLBACK",
            "SAVEPOINT a",
            "CREATE UNIQUE INDEX CONCURRENTLY i ON t (a)",
            "VACUUM t",
            "CREATE DATABASE d",
            "ALTER SYSTEM SET a = 1",
            "SELECT create_distributed_table_concurrently('t', 'a')",
            "COPY t FROM STDIN",
            "\\i other.sql",
        ])
            equal(templateMistakes("a.sql", `SELECT 1;\n${sql};`).length, 1, sql);
        match(templateMistakes("a.sql", "SELECT 1;\nCOMMIT;")[0] ?? "", /^a\.sql:2 has COMMIT: .* take it out$/);
        for (const sql of [
            "CREATE INDEX i ON t (a)",
            "DO $$ BEGIN PERFORM 1; END $$",
            "CREATE TABLE begin_ (a int)",
            "COMMENT ON TABLE t IS 'COMMIT;'",
            "INSERT INTO t VALUES ('VACUUM')",
        ])
            deepEqual(templateMistakes("a.sql", sql), [], sql);
    });

    it("of a file without a transaction can each be run again, and the rest is said", () => {
        for (const sql of [
            "CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS i ON t (a)",
            "DROP INDEX CONCURRENTLY IF EXISTS i",
            "VACUUM (ANALYZE) t",
            "ALTER TYPE mood ADD VALUE IF NOT EXISTS 'calm'",
            "UPDATE t SET a = 1 WHERE a IS NULL",
            "ALTER TABLE t VALIDATE CONSTRAINT c",
            "ALTER TABLE t ADD COLUMN IF NOT EXISTS a int",
            "CREATE OR REPLACE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
            "CREATE TABLE IF NOT EXISTS t (a int)",
            "INSERT INTO t VALUES (1) ON CONFLICT DO NOTHING",
        ])
            deepEqual(templateMistakes("a.sql", sql, true), [], sql);
        for (const sql of [
            "CREATE INDEX CONCURRENTLY i ON t (a)",
            "CREATE INDEX CONCURRENTLY ON t (a)",
            "DROP INDEX CONCURRENTLY i",
            "REINDEX INDEX CONCURRENTLY i",
            "ALTER TYPE mood ADD VALUE 'calm'",
            "ALTER TABLE t ADD COLUMN a int",
            "ALTER TABLE t ADD CONSTRAINT c CHECK (a > 0)",
            "ALTER TABLE t RENAME COLUMN a TO b",
            "CREATE TABLE t (a int)",
            "INSERT INTO t VALUES (1)",
            "BEGIN",
            "CREATE DATABASE d",
            "SELECT create_distributed_table_concurrently('t', 'a')",
        ])
            equal(templateMistakes("a.sql", sql, true).length, 1, sql);
    });

    it("name the index that they make, as they write it", () => {
        deepEqual(createdIndex('CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS "I x" ON ONLY public . "T" (a)'), {
            name: '"I x"',
            table: 'public . "T"',
        });
        equal(createdIndex("CREATE INDEX CONCURRENTLY ON t (a)"), undefined);
    });

    it("name the tables that they alter", () => {
        deepEqual(
            alteredTables(
                statements(
                    'ALTER TABLE IF EXISTS ONLY public.users ADD a int; ALTER TABLE "x"."y" ADD b int; SELECT 1',
                ),
            ),
            ["users", "x.y"],
        );
    });
});
