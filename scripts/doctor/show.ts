/** What `npm run doctor` prints. Pure. */

import type { Diagnosis } from "../../core/citus/health/doctor.ts";
import type { Finding, Unasked } from "../../core/citus/health/read/finding.ts";

const LABEL = { danger: "DANGER", mend: "MEND", note: "NOTE" } as const;
const INDENT = " ".repeat(9);
const MEND = `${INDENT}mend   `;

const indented = (text: string) => text.split("\n").join(`\n${INDENT}`);

function showFinding({ danger, says, mend, on, check, fix }: Finding): string {
    const fixed = fix === undefined ? "" : `\n${INDENT}or     npm run doctor -- --fix ${check}`;
    const where = on === null ? "" : `   on ${on}`;
    const own = `npm run doctor -- --fix ${check}`;
    return [
        `${LABEL[danger].padEnd(9)}${indented(says)}`,
        ...(mend === null
            ? []
            : [`${MEND}${indented(mend)}${mend === own ? "" : `${on === null ? "" : ";"}${where}${fixed}`}`]),
        `${INDENT}check  ${check}`,
    ].join("\n");
}

/** A node that does not answer is one line, and not one for each check. */
function showUnasked(unasked: readonly Unasked[]): string[] {
    const groups = new Map<string, { node: string | null; why: string; checks: string[] }>();
    for (const { node, why, check } of unasked) {
        const key = JSON.stringify([node, why]);
        const group = groups.get(key) ?? { node, why, checks: [] };
        group.checks.push(check);
        groups.set(key, group);
    }
    return [...groups.values()].map(
        ({ node, why, checks }) =>
            `${"ASK".padEnd(9)}${node === null ? "" : `${node}: `}${indented(why)}\n${INDENT}not asked: ${[...new Set(checks)].join(", ")}`,
    );
}

const plural = (count: number, what: string) => `${count} ${what}`;

/** @param cluster its name */
export function showDiagnosis(cluster: string, { checks, findings, unasked }: Diagnosis): string {
    const of = (...results: readonly string[]) => checks.filter(({ result }) => results.includes(result)).length;
    const head = [
        plural(checks.length, "checks"),
        plural(of("fine", "note"), "fine"),
        ...(of("danger", "mend") > 0 ? [`${of("danger", "mend")} to mend`] : []),
        ...(of("unasked") > 0 ? [`${of("unasked")} could not be asked`] : []),
    ].join(", ");
    const onNodes = findings.some(({ on }) => on !== null);
    return [
        `${cluster}   ${head}`,
        ...[...findings.map(showFinding), ...showUnasked(unasked)].flatMap((text) => ["", text]),
        ...(onNodes ? ["", "SQL runs on the node that is named: npm run psql -- --on worker-1 (docs/doctor.md)"] : []),
    ].join("\n");
}
