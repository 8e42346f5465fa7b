/** npm run tenants -- slow */
import type { Session } from "../../core/reach/session.ts";
import { type CostlyStatement, readSlow, type SlowView, withValues } from "../../core/tenants/ask/slow.ts";
import { EXIT } from "../lib/exit.ts";
import { withStack } from "../lib/groups.ts";
import { plainTable } from "../lib/report.ts";
import { type ExplainedStatement, explainStatement, HEADS, oneStatement } from "./explain.ts";

export interface Examined extends CostlyStatement {
    /** Milliseconds a call. */
    readonly mean: number;
    /** Undefined where it can't be planned; `why` says what the database said. */
    readonly advice?: ExplainedStatement;
    readonly why?: string;
}

export interface Slow extends Omit<SlowView, "statements"> {
    readonly statements: readonly Examined[];
    /** How many there are with those that are not shown. */
    readonly of: number;
}

/** search_path of each role that has its own: the statements of a tenant's role name its schema's tables so. */
async function searchPaths(session: Session, roles: readonly string[]): Promise<Map<string, string>> {
    const rows = await session.query<{ role: string; path: string }>(
        `SELECT r.rolname AS role, substr(c, length('search_path=') + 1) AS path
           FROM pg_db_role_setting s JOIN pg_roles r ON r.oid = s.setrole, unnest(s.setconfig) c
          WHERE c LIKE 'search\\_path=%' AND s.setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))
            AND r.rolname = ANY ($1) ORDER BY s.setdatabase`,
        [roles],
    );
    return new Map(rows.map(({ role, path }) => [role, path]));
}

const NAME = "citus_as_code_slow";

/** What types its parameters are. @throws Error when it can't be prepared */
async function typesOf(session: Session, text: string, settings: readonly string[]): Promise<string[]> {
    if (!/\$[0-9]/.test(text)) return [];
    await session.query("BEGIN READ ONLY");
    try {
        for (const setting of settings) await session.query(setting);
        await session.query(`PREPARE ${NAME} AS ${text}`);
        const [row] = await session.query<{ types: string[] }>(
            "SELECT parameter_types::text[] AS types FROM pg_prepared_statements WHERE name = $1",
            [NAME],
        );
        return row?.types ?? [];
    } finally {
        await session.query("ROLLBACK");
        // it outlives the transaction, and is not there when PREPARE failed
        await session.query(`DEALLOCATE ${NAME}`).catch(() => undefined);
    }
}

async function examine(session: Session, one: CostlyStatement, path: string | undefined): Promise<Examined> {
    const mean = one.calls === 0 ? 0 : one.total / one.calls;
    const settings = path === undefined ? [] : [`SET LOCAL search_path = ${path}`];
    try {
        const text = oneStatement(one.text);
        const advice = await explainStatement(
            session,
            withValues(text, await typesOf(session, text, settings)),
            settings,
        );
        return { ...one, mean, advice };
    } catch (error) {
        return { ...one, mean, why: (error as Error).message };
    }
}

/** Changes nothing: statements are planned and not run. @param limit how many of the costliest */
export async function findSlow(session: Session, limit: number): Promise<Slow> {
    const view = await readSlow(session);
    const costly = view.statements.slice(0, limit);
    const paths = await searchPaths(session, [...new Set(costly.map(({ role }) => role))]);
    const statements: Examined[] = [];
    for (const one of costly) statements.push(await examine(session, one, paths.get(one.role)));
    return { ...view, statements, of: view.statements.length };
}

const flat = (text: string) => text.replace(/\s+/g, " ").trim();

const time = (milliseconds: number) =>
    milliseconds >= 60_000
        ? `${(milliseconds / 60_000).toFixed(1)} min`
        : milliseconds >= 1000
          ? `${(milliseconds / 1000).toFixed(1)} s`
          : `${milliseconds.toFixed(milliseconds < 10 ? 2 : 0)} ms`;

const percent = (share: number) => `${(share * 100).toFixed(share < 0.1 ? 1 : 0)} %`;

function tenantsOf({ keyed, keys, calls }: Examined): string {
    if (keyed === null || keys === null) return "–";
    if (keyed === 0) return "none named";
    return keyed >= calls ? `${keys} named` : `${keys} named, in ${percent(keyed / calls)} of calls`;
}

const FANS_OUT = ["all", "several", "moves rows", "every copy", "refused"];

/** Pure. */
export function renderSlow({ statements, of, since, tracked, silent }: Slow): string {
    const gaps = silent.map(
        ({ node, reason }) => `${node} gave no answer, and its statements are missing: ${flat(reason)}`,
    );
    if (statements.length === 0)
        return ["No statement of a table was counted yet (pg_stat_statements of every node).", ...gaps].join("\n");
    const table = plainTable(
        ["", "time", "share", "calls", "mean", "shards", "tenants", "role", "statement"],
        statements.map((one, i) => [
            String(i + 1),
            time(one.total),
            percent(one.share),
            String(one.calls),
            time(one.mean),
            one.advice?.tasks === null || one.advice === undefined ? "?" : String(one.advice.tasks),
            tenantsOf(one),
            one.role,
            flat(one.text).slice(0, 90),
        ]),
        [0, 1, 2, 3, 4, 5],
        2,
    );
    const details = statements.flatMap((one, i): string[] => {
        const { advice, why } = one;
        const head = `${i + 1}  ${flat(one.text)}`;
        if (advice === undefined) return ["", head, `   can't be planned: ${flat(why ?? "")}`];
        if (!FANS_OUT.includes(advice.verdict)) return [];
        return [
            "",
            head,
            `   ${HEADS[advice.verdict]}: ${advice.says.join(" ")}`,
            ...advice.fix.map((line) => `   ${line}`),
            ...(advice.cure === undefined
                ? []
                : [
                      "   or, when the tenant is not known yet, a table that says whose it is:",
                      ...advice.cure.map((line) => `     ${line}`),
                  ]),
        ];
    });
    const days = Object.entries(since).map(
        ([node, at]) => `${node} since ${at === null ? "?" : at.slice(0, 16).replace("T", " ")}`,
    );
    return [
        table,
        ...details,
        "",
        `${statements.length} of ${of} statements; time is that of the node which took it, with its wait for other nodes. Counted: ${days.join(", ")}.`,
        ...(tracked
            ? []
            : [
                  "Which statements name a tenant is not counted. npm run pulumi -- config set --path 'citus:settings.all[\"citus.stat_statements_track\"]' all && npm run pulumi -- up  begins to, without a restart.",
              ]),
        ...gaps,
    ].join("\n");
}

export async function slow({ json, limit }: { json?: boolean; limit: number }): Promise<void> {
    const found = await withStack(({ session }) => findSlow(session, limit));
    console.log(json ? JSON.stringify(found, null, 2) : renderSlow(found));
    if (found.silent.length > 0) process.exitCode = EXIT.failed;
}
