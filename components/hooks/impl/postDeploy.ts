/** The user's own SQL, run by psql on the coordinator as the superuser. */

import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { literal } from "../../citus/quote.ts";
import { endStrangers, RUN_LOCKS } from "../../citus/runLock.ts";
import { runScript } from "../../shell.ts";
import type { PostDeployInputs, SqlFile } from "../postDeploy.ts";
import { comparable, unknown } from "./coordinator.ts";
import { note, progress } from "./engine.ts";

/** What was run is written down in the database, in the same transaction: a killed run does not run it twice. */
const LEDGER = `
SET client_min_messages = warning;
CREATE SCHEMA IF NOT EXISTS citus_as_code;
CREATE TABLE IF NOT EXISTS citus_as_code.post_deploy (
    path text NOT NULL, sha256 text NOT NULL, run_at timestamptz NOT NULL DEFAULT now(), PRIMARY KEY (path, sha256));
`;
/** PostgreSQL's code for a command that refuses to run inside a transaction block. */
const NOT_IN_TRANSACTION =
    /cannot (run|be executed) (inside|from|within) a (transaction block|function)|cannot be executed from a function or procedure/i;

/** Runs scripts one after the other in one psql session on the coordinator. */
function psql(inputs: PostDeployInputs, options: readonly string[], scripts: Readonly<Record<string, string>>) {
    const names = Object.keys(scripts);
    return runScript(inputs.shell, ["run-sql.sh", inputs.database, names.at(-1) ?? "", ...options, "--", ...names], {
        files: scripts,
    });
}

function contentOf(file: SqlFile): string {
    const content = readFileSync(file.path, "utf8");
    const found = createHash("sha256").update(content).digest("hex");
    if (found !== file.sha256) throw new Error(`${file.path} changed while pulumi up was running; run it again`);
    return content;
}

async function runAll(inputs: PostDeployInputs): Promise<void> {
    const made = await psql(inputs, ["-1"], { "ledger.sql": LEDGER });
    if (made.code !== 0)
        throw new Error(`coordinator: the list of files that were run can't be made\n${quotePsql(made.stderr, "")}`);
    for (const [i, file] of inputs.files.entries()) {
        progress(inputs.self)(`running ${file.path} (${i + 1} of ${inputs.files.length})`);
        if (await runOne(inputs, file)) note(inputs.self, `ran ${file.path}`);
    }
}

const ALREADY = "citus_as_code: this file was run before";

/** Waits for a psql that a killed run left behind, then asks whether there is anything to do. */
const guard = (file: SqlFile) => `
${endStrangers(String(RUN_LOCKS.postDeploy))} \\g /dev/null
SET lock_timeout = '10min';
SELECT pg_catalog.pg_advisory_lock(${RUN_LOCKS.postDeploy}) \\g /dev/null
RESET lock_timeout;
SELECT EXISTS (SELECT 1 FROM citus_as_code.post_deploy WHERE path = ${literal(file.path)} AND sha256 = ${literal(file.sha256)}) AS done \\gset
\\if :done
DO $$ BEGIN RAISE EXCEPTION '${ALREADY}'; END $$;
\\endif
`;

/** What psql said of a file, each line indented: DETAIL and HINT belong to the ERROR before them. Pure. */
export function quotePsql(stderr: string, path: string): string {
    return stderr
        .replaceAll("psql:content.sql:", `${path}:`)
        .trim()
        .split("\n")
        .map((line) => `  ${line}`)
        .join("\n");
}

/** @returns whether it ran; false when it was run before */
async function runOne(inputs: PostDeployInputs, file: SqlFile): Promise<boolean> {
    const scripts = {
        "guard.sql": guard(file),
        "content.sql": contentOf(file),
        "record.sql": `INSERT INTO citus_as_code.post_deploy (path, sha256) VALUES (${literal(file.path)}, ${literal(file.sha256)});\n`,
    };
    let result = await psql(inputs, ["-1"], scripts);
    let inTransaction = true;
    if (result.code !== 0 && NOT_IN_TRANSACTION.test(result.stderr)) {
        inTransaction = false;
        result = await psql(inputs, [], scripts);
    }
    if (result.code === 0) return true;
    if (result.stderr.includes(ALREADY)) return false;
    throw new Error(
        `coordinator: ${file.path} failed\n${quotePsql(result.stderr, file.path)}\n` +
            (inTransaction
                ? "It ran in a transaction, so nothing of it was kept. "
                : "It can't run in a transaction, so what came before the error was kept: write it so that it can run again (IF NOT EXISTS). ") +
            "Files before it stay. Correct it, then run pulumi up again.",
    );
}

export async function create(inputs: PostDeployInputs) {
    await runAll(inputs);
    return { id: "post-deploy", outs: inputs };
}

export async function update(_id: string, _olds: PostDeployInputs, news: PostDeployInputs) {
    await runAll(news);
    return { outs: news };
}

export async function diff(_id: string, olds: PostDeployInputs, news: PostDeployInputs) {
    if (unknown(news.shell)) return { changes: true };
    // known when the nodes are: a preview does not say what a restore will take away
    const ignore = unknown(news.restoreId ?? "") ? ["restoreId"] : [];
    if (comparable(olds, ignore) === comparable(news, ignore)) return { changes: false };
    const before = new Set(olds.files.map((file) => `${file.path} ${file.sha256}`));
    const fresh = news.files.filter((file) => !before.has(`${file.path} ${file.sha256}`));
    if (fresh.length === 0 && news.restoreId !== undefined && news.restoreId !== olds.restoreId)
        note(news.self, "the database was restored: runs the files again that it does not have");
    if (fresh.length > 0) note(news.self, `runs ${fresh.map((file) => file.path).join(", ")}`);
    return { changes: true };
}

export async function read(id: string, props: PostDeployInputs) {
    return { id, props };
}

/** What the files made goes with the database. */
export async function remove() {}
