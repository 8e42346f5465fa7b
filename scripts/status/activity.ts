/** npm run status -- activity */
import { type Active, type ActivityView, readActivity } from "../../core/citus/health/activity.ts";
import { EXIT } from "../lib/exit.ts";
import { withStack } from "../lib/groups.ts";
import { fittedTable } from "../lib/report.ts";
import { screenWidth } from "../lib/screen.ts";

const flat = (text: string) => text.replace(/\s+/g, " ").trim();

const age = (seconds: number) =>
    seconds < 10
        ? `${Math.max(0, seconds).toFixed(1)} s`
        : seconds < 120
          ? `${Math.round(seconds)} s`
          : seconds < 7200
            ? `${Math.round(seconds / 60)} min`
            : `${Math.round(seconds / 3600)} h`;

/** Who holds what it waits for. */
function waitsFor({ waitsFor: holders, wait }: Active, all: readonly Active[]): string {
    if (holders.length === 0) return wait ?? "–";
    return holders
        .map((gpid) => {
            const holder = all.find((one) => one.gpid === gpid);
            return holder ? `${holder.role}, process ${holder.pid} on ${holder.node}` : `process ${gpid}`;
        })
        .join("; ");
}

/** Pure. */
export function renderActivity({ active, silent }: ActivityView, width?: number): string {
    const gaps = silent.map(
        ({ node, reason }) => `${node} gave no answer, and who is connected there is missing: ${flat(reason)}`,
    );
    if (active.length === 0) return ["Nobody runs a statement or has a transaction open.", ...gaps].join("\n");
    const table = fittedTable(
        {
            head: ["node", "process", "role", "tenant", "state", "transaction", "statement", "waits for", "query"],
            rows: active.map((one) => [
                one.node,
                String(one.pid),
                one.role,
                one.tenant ?? "–",
                one.state,
                age(one.seconds),
                age(one.statementSeconds),
                waitsFor(one, active),
                flat(one.query).slice(0, 80),
            ]),
            right: [1, 5, 6],
            spare: ["statement", "state", "process"],
        },
        width,
    );
    const held = active.filter(({ waitsFor: holders }) => holders.length > 0).length;
    return [
        table,
        "",
        `${active.length} at work${held === 0 ? "" : `, ${held} of them waiting for another's lock`}. SELECT pg_cancel_backend(<process>) on its node ends a statement, pg_terminate_backend(<process>) the connection.`,
        ...(active.some(({ tenant }) => tenant === null)
            ? [
                  "– is no tenant's own role. With citus.stat_tenants_track = all the tenant of a statement that names one is known too.",
              ]
            : []),
        ...gaps,
    ].join("\n");
}

export async function activity(json: boolean): Promise<void> {
    const found = await withStack(({ session }) => readActivity(session));
    console.log(json ? JSON.stringify(found, null, 2) : renderActivity(found, screenWidth()));
    if (found.silent.length > 0) process.exitCode = EXIT.failed;
}
