import { deepEqual, equal, match } from "node:assert/strict";
import { createHash } from "node:crypto";
import { describe, it } from "vitest";
import { specOf } from "../../components/config/tenants/project.ts";
import { fileMistakes, whyAlone } from "../../core/sql/sqlFile.ts";
import { statements } from "../../core/sql/statements.ts";
import { firstError, nextWay } from "../../core/sql/way.ts";
import { notRun, quotePsql, whatWasKept } from "../../provider/postDeploy.ts";

describe("a file of citus:postDeploy", () => {
    it("is the same however it was checked out, also where an earlier version wrote down that it ran", () => {
        const unix = "SELECT 1;\nSELECT 2;\n";
        const windows = unix.replaceAll("\n", "\r\n");
        const hash = (content: string) => createHash("sha256").update(content).digest("hex");
        for (const was of [unix, windows])
            for (const is of [unix, windows])
                deepEqual(notRun([specOf("a.sql", is)], new Set([`${hash(was)} a.sql`])), []);
        equal(notRun([specOf("a.sql", "SELECT 3;")], new Set([`${hash(unix)} a.sql`])).length, 1);
        equal(notRun([specOf("b.sql", unix)], new Set([`${hash(unix)} a.sql`])).length, 1);
    });

    it("is refused before it runs when psql's own commands would take it out of the run", () => {
        deepEqual(
            fileMistakes(
                "a.sql",
                "SELECT 1;\n\\connect other\n\\c\n\\ir more.sql\n\\i more.sql\n\\set ON_ERROR_STOP off\n\\unset ON_ERROR_STOP\n",
            ).map((text) => text.split(":").slice(0, 2).join(":")),
            [
                "a.sql:2 has \\connect other",
                "a.sql:3 has \\c",
                "a.sql:4 has \\ir more.sql",
                "a.sql:5 has \\i more.sql",
                "a.sql:6 has \\set ON_ERROR_STOP off",
                "a.sql:7 has \\unset ON_ERROR_STOP",
            ],
        );
    });

    it("may use every other command of psql, and the same words in texts, comments and rows", () => {
        const sql = [
            "\\set ON_ERROR_STOP on",
            "\\set who 'a b'",
            "\\if true \\\\ SELECT 1; \\endif",
            "SELECT '\n\\connect x\n' \\gset",
            "-- \\connect y",
            "$$\n\\c\n$$;",
            "COPY t FROM STDIN;",
            "\\connect z",
            "\\.",
            "\\copy t from stdin",
            "BEGIN;",
            "\\.",
            "SELECT 2 \\g",
        ].join("\n");
        deepEqual(fileMistakes("a.sql", sql), []);
        equal(whyAlone(sql), undefined);
        deepEqual(
            statements(sql).map(({ text, line }) => `${line} ${text.split("\n")[0]}`),
            [
                "1 \\set ON_ERROR_STOP on",
                "2 \\set who 'a b'",
                "3 \\if true",
                "3 SELECT 1",
                "3 \\endif",
                "4 SELECT '",
                "6 \\gset",
                "8 $$",
                "11 COPY t FROM STDIN",
                "14 \\copy t from stdin",
                "17 SELECT 2",
                "17 \\g",
            ],
        );
    });

    it("runs without a transaction around it when it begins or ends one, or asks for it", () => {
        equal(whyAlone("SELECT 1;\nBEGIN;\nSELECT 2;\nCOMMIT;"), "line 2 has BEGIN");
        equal(whyAlone("CREATE TABLE a ();\nROLLBACK;"), "line 2 has ROLLBACK");
        equal(whyAlone("VACUUM a;"), "line 1 has VACUUM a");
        equal(whyAlone("-- what it does\n-- no transaction\nSELECT 1;"), 'it says "-- no transaction"');
        for (const sql of [
            "SAVEPOINT a; SELECT 1; ROLLBACK TO SAVEPOINT a; RELEASE a;",
            "SELECT 1;\n-- no transaction\nSELECT 2;",
            "DO $$ BEGIN COMMIT; END $$;",
            "CREATE FUNCTION f() RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT 1; END;",
        ])
            equal(whyAlone(sql), undefined, sql);
    });

    const said = (code: string, message: string, more = "LOCATION:  PreventInTransactionBlock, xact.c:3639") =>
        firstError(
            `psql:content.sql:1: WARNING:  01000: x in the same transaction\nLOCATION:  a, b.c:1\npsql:content.sql:3: ERROR:  ${code}: ${message}\n${more}\n`,
        );

    it("runs once more the way that the database asks for, and stops at an error of its own", () => {
        const parallel = said(
            "0A000",
            "cannot execute DDL on table because there was a parallel DDL access",
            `DETAIL:  d\nHINT:  Try re-running the transaction with "SET LOCAL citus.multi_shard_modify_mode TO 'sequential';"`,
        );
        equal(nextWay("transaction", parallel), "sequential");
        equal(nextWay("sequential", parallel), undefined);
        const deadlock = said("40P01", "canceling the transaction since it was involved in a distributed deadlock");
        equal(nextWay("transaction", deadlock), "sequential");
        for (const [code, text] of [
            ["55P04", 'unsafe use of new value "calm" of enum type mood'],
            ["2D000", "invalid transaction termination"],
            ["25001", "VACUUM cannot run inside a transaction block"],
            ["25001", "cannot create logical replication slot in transaction that has performed writes"],
            ["XX000", "cannot isolate tenant after other modifications in the same transaction"],
            ["55006", 'cannot ALTER TABLE "ch" because it has pending trigger events'],
        ] as const) {
            equal(nextWay("transaction", said(code, text)), "alone", text);
            equal(nextWay("sequential", said(code, text)), "alone", text);
            equal(nextWay("alone", said(code, text)), undefined, text);
        }
    });

    it("never runs once more for an error of its own, whatever its words and the data in it say", () => {
        const own = [
            said("42703", 'column "nonsense" does not exist'),
            said(
                "P0001",
                "order 5 was already booked in the same transaction",
                "LOCATION:  exec_stmt_raise, pl_exec.c:3911",
            ),
            said("25001", "mine", "LOCATION:  exec_stmt_raise, pl_exec.c:3911"),
            said(
                "23505",
                "duplicate key value",
                "DETAIL:  Key (note)=(found in a function) already exists.\nLOCATION:  _bt_check_unique, nbtinsert.c:664",
            ),
            said("22012", "division by zero"),
            said("42P13", "return type mismatch in function declared to return integer"),
            firstError("psql: error: connection to server failed"),
            firstError("ERROR:  a message without a code, in the same transaction"),
        ];
        for (const error of own) equal(nextWay("transaction", error), undefined, error?.message);
    });

    it("that failed says what was kept, and never that nothing was when something may be", () => {
        match(whatWasKept("transaction", "", "SELECT x;", "ERROR"), /nothing of it was kept\.$/);
        match(whatWasKept("sequential", "", "SELECT x \\gexec", "ERROR"), /unless \\gexec ran a COMMIT/);
        match(
            whatWasKept("alone", "line 2 has COMMIT", "", "ERROR"),
            /because line 2 has COMMIT\. What it had committed/,
        );
        equal(
            quotePsql("psql:content.sql:3: ERROR:  42703: x\nDETAIL:  y\nLOCATION:  f, a.c:1", "a.sql"),
            "  a.sql:3: ERROR:  x\n  DETAIL:  y",
        );
    });
});
