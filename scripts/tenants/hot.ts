/** npm run tenants -- hot */
import { type HotView, readHot } from "../../core/tenants/ask/hot.ts";
import { EXIT } from "../lib/exit.ts";
import { withStack } from "../lib/groups.ts";
import { plainTable } from "../lib/report.ts";

const percent = (share: number) => `${(share * 100).toFixed(share < 0.1 ? 1 : 0)} %`;

const TRACK =
    "npm run pulumi -- config set --path 'citus:settings.all[\"citus.stat_tenants_track\"]' all && npm run pulumi -- up";

/** Pure. */
export function renderHot({ tenants, untracked, silent, period }: HotView, limit: number): string {
    const gaps = [
        ...(untracked.length === 0
            ? []
            : [
                  `Statements of tenants are not counted on ${untracked.join(", ")}. ${TRACK}`,
                  "begins to, without a restart; a point query then takes 1.1 to 1.5 times as long. Look again after a minute.",
              ]),
        ...silent.map(({ node, reason }) => `${node} gave no answer, and its part is missing: ${reason.trim()}`),
    ];
    if (tenants.length === 0)
        return gaps.length > 0 ? gaps.join("\n") : `No tenant's statement was counted in the last ${2 * period} s.`;
    const shown = tenants.slice(0, limit);
    const table = plainTable(
        ["group", "tenant", "CPU", "share", "statements", "share", "place", "shards"],
        shown.map((one) => [
            one.group,
            one.tenant,
            `${one.cpu.toFixed(2)} s`,
            percent(one.cpuShare),
            String(one.queries),
            percent(one.queryShare),
            one.place ?? "?",
            `${one.shared ? "shared" : "its own"}${one.pinned ? ", pinned" : ""}`,
        ]),
        [2, 3, 4, 5],
    );
    const advice = shown.flatMap(({ group, tenant, advice: found, cpuShare }) =>
        found === undefined
            ? []
            : [
                  "",
                  `${group}/${tenant} takes ${percent(cpuShare)} of the CPU; ${found.why}`,
                  `  ${found.config}`,
                  `  or in the program  ${found.program}`,
              ],
    );
    return [
        table,
        ...advice,
        "",
        `${shown.length} of ${tenants.length} tenants, in this period of ${period} s and the one before. Each node keeps its ${100} busiest; databases of their own are not counted.`,
        ...gaps,
    ].join("\n");
}

export async function hot({ json, limit }: { json?: boolean; limit: number }): Promise<void> {
    const found = await withStack(({ session }) => readHot(session));
    if (found === undefined) {
        console.log(
            json
                ? "null"
                : "No tenants: this cluster has no group with any (citus:tenantGroups, or a class such as RowTenants in a program of your own).",
        );
        return;
    }
    console.log(json ? JSON.stringify(found, null, 2) : renderHot(found, limit));
    if (found.silent.length > 0) process.exitCode = EXIT.failed;
}
