/** The check of SQL files: each broken case is found where it is, and nothing is found once it is mended or was never broken. */
import assert from "node:assert/strict";
import { describe, test } from "vitest";
import { type Finding, lintSql } from "../../../../core/tenants/check/lint.ts";
import { declaredOf, fileOf, fixed, LINT_CASES, lineOf } from "../../../lintCases.ts";

const FILE = "sql/001.sql";
const shown = (findings: readonly Finding[]) => findings.map(({ rule, line, says }) => `${rule} line ${line}: ${says}`);

describe("each broken case", () => {
    for (const one of LINT_CASES)
        test(`${one.rule}: ${one.title}`, async () => {
            const sql = fileOf(one, "own");
            const declared = declaredOf(one, "own");
            const findings = await lintSql([{ path: FILE, sql }], declared);
            const [found, ...more] = findings.filter(({ rule }) => rule === one.rule);
            assert.ok(found, `nothing was found: ${shown(findings).join("\n")}`);
            assert.deepEqual(shown(more), []);
            assert.equal(found.where, FILE);
            assert.equal(found.line, lineOf(sql), shown([found]).join());
            assert.equal(found.later.startsWith("no error: "), one.silent === true);
            // what only a person can fill in
            if (found.fix.includes("/* ")) return;
            const mended = await lintSql([{ path: FILE, sql: fixed(one, sql, found.fix) }], declared);
            assert.deepEqual(shown(mended.filter(({ rule }) => rule === one.rule || rule === "SQL")), []);
        });
});
