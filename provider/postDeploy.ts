/** The user's own SQL, run by psql on the coordinator as the superuser. */

import { readFileSync } from "node:fs";
import { specOf, textOf } from "../components/config/tenants/project.ts";
import { endStrangers, RUN_LOCKS } from "../core/citus/runLock.ts";
import type { Shell } from "../core/node/reach.ts";
import { runScript } from "../core/reach/run.ts";
import { literal } from "../core/sql/quote.ts";
import { whyAlone } from "../core/sql/sqlFile.ts";
import { firstError, nextWay, type Way } from "../core/sql/way.ts";
import type { FileSpec } from "../core/tenants/group/spec.ts";
import { comparable } from "./coordinator.ts";
import type { Ask, Difference, ResourceKind } from "./kind.ts";
import { unknown } from "./unknown.ts";

export interface PostDeployInputs {
    files: FileSpec[];
    database: string;
    /** Another one for each restore: what the files made may be gone. @default the cluster was not restored */
    restoreId?: string;
    /** The coordinator's. */
    shell: Shell;
}

/** What was run is written down in the database, in the same transaction: a killed run does not run it twice. */
const LEDGER = `
SET client_min_messages = warning;
CREATE SCHEMA IF NOT EXISTS citus_as_code;
CREATE TABLE IF NOT EXISTS citus_as_code.post_deploy (
    path text NOT NULL, sha256 text NOT NULL, run_at timestamptz NOT NULL DEFAULT now(), PRIMARY KEY (path, sha256));
COPY (SELECT sha256 || ' ' || path FROM citus_as_code.post_deploy) TO STDOUT;
`;
/** Runs scripts one after the other in one psql session on the coordinator. */
function psql(inputs: PostDeployInputs, way: Way, scripts: Readonly<Record<string, string>>) {
    const names = Object.keys(scripts);
    const options = ["-v", "VERBOSITY=verbose", ...(way === "alone" ? [] : ["-1"])];
    return runScript(inputs.shell, ["run-sql.sh", inputs.database, names.at(-1) ?? "", ...options, "--", ...names], {
        files: scripts,
    });
}

function contentOf(file: FileSpec): string {
    const content = readFileSync(file.path, "utf8");
    if (specOf(file.path, content).sha256 !== file.sha256)
        throw new Error(`${file.path} changed while pulumi up was running; run it again`);
    return textOf(content);
}

/** What the ledger may have a file's content as. */
const hashesOf = ({ sha256, also = [] }: FileSpec) => [sha256, ...also];

/** Files that were not run with this content, however it was checked out. @param ran hash and path. Pure. */
export const notRun = (files: readonly FileSpec[], ran: ReadonlySet<string>) =>
    files.filter((file) => !hashesOf(file).some((hash) => ran.has(`${hash} ${file.path}`)));

async function runAll(ask: Ask, inputs: PostDeployInputs): Promise<void> {
    const made = await psql(inputs, "transaction", { "ledger.sql": LEDGER });
    if (made.code !== 0)
        throw new Error(`coordinator: the list of files that were run can't be made\n${quotePsql(made.stderr, "")}`);
    const known = new Set(made.stdout.split("\n"));
    const fresh = notRun(inputs.files, known);
    for (const [i, file] of fresh.entries()) {
        ask.progress(`running ${file.path} (${i + 1} of ${fresh.length})`);
        const ran = await runOne(ask, inputs, file);
        if (ran) ask.note(`ran ${file.path}${ran}`);
    }
}

const ALREADY = "citus_as_code: this file was run before";
const ENDED = "citus_as_code: the transaction that the file ran in is over";
const OPEN = "citus_as_code: a transaction is still open";
const READ_ONLY = "citus_as_code: the transaction is read-only";

const raise = (text: string) => `DO $$ BEGIN RAISE EXCEPTION '${text}'; END $$;`;

/** Waits for a psql that a killed run left behind, then asks whether there is anything to do. */
const guard = (file: FileSpec, way: Way) => `
${endStrangers(String(RUN_LOCKS.postDeploy))} \\g /dev/null
SET lock_timeout = '10min';
SELECT pg_catalog.pg_advisory_lock(${RUN_LOCKS.postDeploy}) \\g /dev/null
RESET lock_timeout;
SELECT EXISTS (SELECT 1 FROM citus_as_code.post_deploy WHERE path = ${literal(file.path)} AND sha256 IN (${hashesOf(file).map(literal).join(", ")})) AS done \\gset
\\if :done
${raise(ALREADY)}
\\endif
${way === "sequential" ? "SET LOCAL citus.multi_shard_modify_mode = 'sequential';" : ""}
SELECT extract(epoch FROM now()) AS citus_as_code_began \\gset
`;

/** Writes down that the file ran, whatever session the file leaves: its role, its settings, psql's variables. */
const record = (file: FileSpec, way: Way) => `
\\set ON_ERROR_STOP on
\\set AUTOCOMMIT on
SET statement_timeout = 0;
SET lock_timeout = 0;
RESET SESSION AUTHORIZATION;
RESET ROLE;
SET search_path = pg_catalog;
${way === "alone" ? "SET default_transaction_read_only = off;" : ""}
SELECT ${way === "alone" ? "false" : "extract(epoch FROM now())::text <> :'citus_as_code_began'"} AS citus_as_code_ended,
       ${way === "alone" ? "now() <> statement_timestamp()" : "false"} AS citus_as_code_open,
       current_setting('transaction_read_only')::boolean AS citus_as_code_read_only \\gset
\\if :citus_as_code_ended
${raise(ENDED)}
\\endif
\\if :citus_as_code_open
${raise(OPEN)}
\\endif
\\if :citus_as_code_read_only
${raise(READ_ONLY)}
\\endif
INSERT INTO citus_as_code.post_deploy (path, sha256) VALUES (${literal(file.path)}, ${literal(file.sha256)});
`;

/**
 * What psql said of a file, each line indented: DETAIL and HINT belong to the ERROR before them. Where in the server's own
 * source it was said is left out. Pure.
 */
export function quotePsql(stderr: string, path: string): string {
    return stderr
        .replaceAll("psql:content.sql:", `${path}:`)
        .trim()
        .split("\n")
        .filter((line) => !/^LOCATION: /.test(line))
        .map((line) => `  ${line.replace(/^((?:\S+:\d+: )?[A-Z]+: +)[0-9A-Z]{5}: /, "$1")}`)
        .join("\n");
}

/** What a file left that keeps the note from being written, in words. */
const LEFT: Readonly<Record<string, string>> = {
    [ENDED]:
        'It ended the transaction that it ran in. Write "-- no transaction" as its first line, and it runs without one.',
    [OPEN]: "It left a transaction open, which was rolled back. Add the COMMIT that is missing.",
    [READ_ONLY]: "It made its transaction read-only, so the note that it ran can't be written. Take that out.",
};

/** What is true of the database after a file failed. @param alone why it ran without a transaction. Pure. */
export function whatWasKept(way: Way, alone: string, content: string, stderr: string): string {
    if (way === "alone")
        return `It ran without a transaction around it, because ${alone}. What it had committed before the error was kept: write it so that it can run again (IF NOT EXISTS).`;
    if (stderr.includes(ENDED)) return "What it had committed by itself was kept.";
    const unless = /\\gexec\b/.test(content) ? ", unless \\gexec ran a COMMIT" : "";
    return `It ran in a transaction, so nothing of it was kept${unless}.`;
}

/** @returns how it ran, for the note; undefined when it was run before */
async function runOne(ask: Ask, inputs: PostDeployInputs, file: FileSpec): Promise<string | undefined> {
    const content = contentOf(file);
    let alone = whyAlone(content) ?? "";
    let way: Way = alone === "" ? "transaction" : "alone";
    for (;;) {
        const { code, stderr } = await psql(inputs, way, {
            "guard.sql": guard(file, way),
            "content.sql": content,
            "record.sql": record(file, way),
        });
        if (code === 0) {
            if (way === "alone") return `, without a transaction around it: ${alone}`;
            return way === "sequential" ? ", with citus.multi_shard_modify_mode = sequential, which it needs" : "";
        }
        if (stderr.includes(ALREADY)) return undefined;
        const error = firstError(stderr);
        const next = nextWay(way, error);
        if (next === undefined) {
            const left = Object.entries(LEFT).find(([mark]) => stderr.includes(mark))?.[1];
            throw new Error(
                `coordinator: ${file.path} failed\n${quotePsql(stderr, file.path)}\n${left ? `${left} ` : ""}` +
                    `${whatWasKept(way, alone, content, stderr)} Files before it stay. Correct it, then run pulumi up again.`,
            );
        }
        if (next === "alone") alone = `PostgreSQL said: ${error?.message}`;
        ask.progress(`running ${file.path} once more, ${next}: ${error?.message}`);
        way = next;
    }
}

/** Says which files will run. */
async function foresee(ask: Ask, olds: PostDeployInputs, news: PostDeployInputs): Promise<Difference> {
    if (unknown(news.shell)) return { changes: true };
    // known when the nodes are: a preview does not say what a restore will take away
    const ignore = unknown(news.restoreId ?? "") ? ["restoreId"] : [];
    if (comparable(olds, ignore) === comparable(news, ignore)) return { changes: false };
    const before = new Set(olds.files.flatMap((file) => hashesOf(file).map((hash) => `${hash} ${file.path}`)));
    const fresh = notRun(news.files, before);
    const shown = (file: FileSpec) => {
        const alone = whyAlone(readFileSync(file.path, "utf8"));
        return alone === undefined ? file.path : `${file.path} (without a transaction around it: ${alone})`;
    };
    if (fresh.length === 0 && news.restoreId !== undefined && news.restoreId !== olds.restoreId)
        ask.note("the database was restored: runs the files again that it does not have");
    if (fresh.length > 0) ask.note(`runs ${fresh.map(shown).join(", ")}`);
    return { changes: true };
}

export class PostDeployKind implements ResourceKind<PostDeployInputs, PostDeployInputs> {
    readonly type = "citus-clusters:index:PostDeploy";
    readonly description = "The user's own SQL files, run on the coordinator in order, each content once.";
    readonly inputs = {
        files: { type: "array", description: "Path and sha256 of each." },
        database: { type: "string", description: "Where they run." },
        restoreId: { type: "string", optional: true, description: "Another one for each restore." },
        shell: { type: "object", description: "How scripts run on the coordinator." },
    } as const;
    readonly outputs = {};

    async create(ask: Ask, inputs: PostDeployInputs) {
        await runAll(ask, inputs);
        return { id: "post-deploy", outs: inputs };
    }

    async update(ask: Ask, _id: string, _olds: PostDeployInputs, news: PostDeployInputs) {
        await runAll(ask, news);
        return { outs: news };
    }

    diff(ask: Ask, _id: string, olds: PostDeployInputs, news: PostDeployInputs) {
        return foresee(ask, olds, news);
    }

    /** What the files made goes with the database. */
    async delete() {}
}
