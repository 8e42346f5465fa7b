/** npm run tenants -- check [FILES] */
import { readFileSync } from "node:fs";
import { relative, resolve } from "node:path";
import type { Declared, Finding } from "../../components/tenants/lint/lint.ts";
import type { GroupSpec } from "../../components/tenants/spec.ts";
import { ROOT } from "../lib/project.ts";
import { readResources } from "../lib/resources.ts";
import { specsOf, withStack } from "./stack.ts";

const declaredOf = ({ tables, model, anchor }: GroupSpec): Declared => ({
    tables,
    model,
    ...(anchor === undefined ? {} : { anchor }),
});

/** Tables of all groups at once, but for those that stay on the coordinator; a model and an anchor only where one group has tables. */
function declaredByAll(groups: readonly GroupSpec[]): Declared {
    const some = groups.filter(({ tables }) => Object.keys(tables).length > 0);
    const [only] = some;
    if (only && some.length === 1) return declaredOf(only);
    const row = some.filter(({ model }) => model === "row");
    return { tables: Object.fromEntries(row.flatMap(({ tables }) => Object.entries(tables))) };
}

/** Files as a group of them is run: those of one group's template with its tables, others by themselves. */
async function checkFiles(paths: readonly string[], groups: readonly GroupSpec[]): Promise<Finding[]> {
    const { lintSql } = await import("../../components/tenants/lint/lint.ts");
    const from = process.env.INIT_CWD ?? process.cwd();
    const files = paths.map((path) => ({ path, sql: readFileSync(resolve(from, path), "utf8") }));
    const inProject = (path: string) => relative(ROOT, resolve(from, path)).replaceAll("\\", "/");
    const ofGroup = new Map<GroupSpec | undefined, typeof files>();
    for (const file of files) {
        const group = groups.find(({ template }) => template.some(({ path }) => path === inProject(file.path)));
        ofGroup.set(group, [...(ofGroup.get(group) ?? []), file]);
    }
    const findings: Finding[] = [];
    for (const [group, some] of ofGroup)
        findings.push(...(await lintSql(some, group ? declaredOf(group) : declaredByAll(groups))));
    return findings;
}

/** Pure. */
export function renderFindings(findings: readonly Finding[], looked: string): string {
    const of = (severity: Finding["severity"]) => findings.filter((finding) => finding.severity === severity).length;
    const indent = (text: string) => text.replaceAll("\n", "\n           ");
    return [
        ...findings.flatMap(({ rule, severity, where, line, says, later, fix }) => [
            `${severity === "error" ? "ERROR" : "warning"} ${rule}  ${where}${line === undefined ? "" : `:${line}`}  ${says}`,
            `  later    ${indent(later)}`,
            `  instead  ${indent(fix)}`,
            "",
        ]),
        `${looked}: ${of("error")} error${of("error") === 1 ? "" : "s"}, ${of("warning")} warning${of("warning") === 1 ? "" : "s"}`,
    ].join("\n");
}

/** @returns whether there is no error */
export async function check(
    paths: readonly string[],
    options: { json?: boolean; database?: boolean },
): Promise<boolean> {
    // files are checked without a cluster, too
    const groups = specsOf(await readResources().catch(() => []));
    const findings = paths.length > 0 ? await checkFiles(paths, groups) : [];
    const living = paths.length === 0 || options.database === true;
    if (living) {
        const { lintDatabase } = await import("../../components/tenants/lint/lint.ts");
        findings.push(...(await withStack(({ session }) => lintDatabase(session, groups.map(declaredOf)))));
    }
    const looked = [
        ...(paths.length > 0 ? [`${paths.length} file${paths.length === 1 ? "" : "s"}`] : []),
        ...(living ? ["the database"] : []),
    ];
    console.log(options.json ? JSON.stringify(findings, null, 2) : renderFindings(findings, looked.join(" and ")));
    return findings.every(({ severity }) => severity !== "error");
}
