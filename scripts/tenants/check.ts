/** npm run tenants -- check [FILES] */
import { existsSync, globSync, readFileSync, statSync } from "node:fs";
import { relative, resolve } from "node:path";
import type { Mistake } from "../../components/config/index.ts";
import { parse } from "../../components/config/parse.ts";
import { type ProjectFiles, projectFiles, textOf } from "../../components/config/tenants/project.ts";
import { validateGroups } from "../../components/config/tenants/validate.ts";
import type { Declared, Finding, lintSql, SqlFile } from "../../core/tenants/check/lint.ts";
import type { GroupSpec, Model, TableSpec } from "../../core/tenants/group/spec.ts";
import { specsOf, withStack } from "../lib/groups.ts";
import { askPulumi, ROOT } from "../lib/project.ts";
import { readResources } from "../lib/resources.ts";

/** What files of a group of rows leave alone: schemas of tenants, and tables of other groups. */
const outsideOf = (groups: readonly GroupSpec[]) => ({
    schemas: groups.flatMap(({ model, tenants }) => (model === "schema" ? Object.keys(tenants) : [])),
    tables: groups.flatMap(({ tables }) =>
        Object.keys(tables).map((table) => (table.includes(".") ? table : `public.${table}`)),
    ),
});

/** Tables by their names with schemas, as those of another group see them. */
function othersOf(groups: readonly GroupSpec[]): Record<string, TableSpec> {
    return Object.fromEntries(
        groups.flatMap(({ model, tables }) =>
            Object.entries(tables).map(([table, spec]): [string, TableSpec] => [
                table.includes(".") ? table : `public.${table}`,
                model === "row" ? spec : { kind: "local" },
            ]),
        ),
    );
}

/** @param groups all of them: tables of others hold none of its tenants */
function declaredOf(
    { name, tables, model, anchor, ignored = [] }: GroupSpec,
    groups: readonly GroupSpec[] = [],
): Declared {
    const others = groups.filter((other) => other.name !== name);
    const theirs = others.flatMap((other) => Object.keys(other.tables)).filter((table) => tables[table] === undefined);
    const apart = [...ignored, ...theirs];
    return {
        name,
        tables,
        model,
        ...(anchor === undefined ? {} : { anchor }),
        ...(model === "schema" ? { others: othersOf(others) } : { outside: outsideOf(others) }),
        ...(apart.length === 0 ? {} : { ignored: apart }),
    };
}

const withTables = (groups: readonly GroupSpec[]) => groups.filter(({ tables }) => Object.keys(tables).length > 0);

/** Tables of all groups at once, but for those that stay on the coordinator; a model and an anchor only where one group has tables. */
function declaredByAll(groups: readonly GroupSpec[]): Declared {
    const some = withTables(groups);
    const [only] = some;
    if (only && some.length === 1) return declaredOf(only, groups);
    const row = some.filter(({ model }) => model === "row");
    return { tables: Object.fromEntries(row.flatMap(({ tables }) => Object.entries(tables))) };
}

export interface Given extends SqlFile {
    /** The file's path in the project, with `/`. */
    readonly inProject: string;
}

/** Files that are run one after the other. */
export interface Batch {
    readonly files: readonly SqlFile[];
    /** Paths of those of them that a person asked about. */
    readonly given: readonly string[];
    readonly declared: Declared;
    /** How many, and as what they are checked. */
    readonly looked: string;
}

const counted = (files: readonly unknown[]) => `${files.length} file${files.length === 1 ? "" : "s"}`;

/** A group's template up to the last file of it that is given: what a file means depends on those before it. */
function templateBatch(
    group: GroupSpec,
    groups: readonly GroupSpec[],
    given: readonly Given[],
    read: (path: string) => string,
): Batch[] {
    const asked = new Map(given.map((file) => [file.inProject, file]));
    const last = group.template.findLastIndex(({ path }) => asked.has(path));
    if (last < 0) return [];
    const files = group.template
        .slice(0, last + 1)
        .map(({ path }): SqlFile => asked.get(path) ?? { path, sql: read(path) });
    const own = given.filter(({ inProject }) => group.template.some(({ path }) => path === inProject));
    return [
        {
            files,
            given: own.map(({ path }) => path),
            declared: declaredOf(group, groups),
            looked: `${counted(own)} of ${group.name}'s template (${group.model})`,
        },
    ];
}

/**
 * Which files are checked together, and as what. Pure but for `read`.
 * @param options.model what files of no group's template are
 */
export function batchesOf(
    given: readonly Given[],
    groups: readonly GroupSpec[],
    { model, read }: { readonly model?: Model; readonly read: (path: string) => string },
): Batch[] {
    const batches = groups.flatMap((group) => templateBatch(group, groups, given, read));
    const known = new Set(batches.flatMap((batch) => batch.given));
    const files = given.filter(({ path }) => !known.has(path));
    if (files.length === 0) return batches;
    const all = declaredByAll(groups);
    const names = withTables(groups).map(({ name }) => name);
    const tables = names.length === 0 || model === "schema" || model === "database" ? "" : names.join(", ");
    return [
        ...batches,
        {
            files,
            given: files.map(({ path }) => path),
            declared:
                model === undefined
                    ? all
                    : model === "schema"
                      ? { model, others: othersOf(groups) }
                      : model === "database"
                        ? { model }
                        : { ...all, model },
            looked: [
                `${counted(files)} of no group's template`,
                ...(model === undefined ? [] : [`as --model ${model}`]),
                ...(tables === "" ? [] : [`with the tables of ${tables}`]),
            ].join(", "),
        },
    ];
}

/** What is found in the files that a person asked about, and the same mistake once. */
export async function checkBatches(batches: readonly Batch[], lint: typeof lintSql): Promise<Finding[]> {
    const found = new Map<string, Finding>();
    for (const { files, given, declared } of batches)
        for (const finding of await lint(files, declared))
            if (given.includes(finding.where)) found.set(JSON.stringify(finding), finding);
    return [...found.values()];
}

/**
 * Groups of the configuration, whether or not they have been made.
 * @param printed what `pulumi config --json` printed
 */
export function groupsOfConfig(
    printed: string,
    files: ProjectFiles,
): { groups: readonly GroupSpec[]; mistakes: readonly Mistake[] } {
    const config = JSON.parse(printed) as Readonly<Record<string, { readonly value?: unknown }>>;
    const given = parse("object", config["citus:tenantGroups"]?.value);
    return validateGroups(given, { files, database: String(config["citus:database"]?.value ?? "app") });
}

/** Groups of the next `up`: the configuration's, and those that the program made otherwise. Pure. */
export const knownGroups = (configured: readonly GroupSpec[], made: readonly GroupSpec[]): GroupSpec[] => [
    ...configured,
    ...made.filter(({ name }) => !configured.some((group) => group.name === name)),
];

/** Files are checked without a cluster, too. */
export async function readGroups(): Promise<GroupSpec[]> {
    const unknown = ({ message }: Error) => {
        console.error(`${message}\nFiles are checked without the groups of that stack.\n`);
        return undefined;
    };
    const resources = await readResources().catch(unknown);
    if (resources === undefined) return [];
    const made = specsOf(resources);
    const config = await askPulumi("config", "--json").catch(unknown);
    if (config === undefined) return made;
    const { groups, mistakes } = groupsOfConfig(config, projectFiles);
    if (mistakes.length > 0)
        console.error(
            [
                "The configuration has mistakes, and a group that has one is left out of this check:",
                ...mistakes.map(({ path, message }) => `  citus:${path} ${message}`),
                "",
            ].join("\n"),
        );
    return knownGroups(groups, made);
}

/**
 * Files by their paths, or by patterns that the shell left as they were.
 * @throws Error naming each that means none
 */
export function findSql(paths: readonly string[], from: string): Given[] {
    const mistakes: string[] = [];
    const found = new Map<string, Given>();
    const wrong = (path: string, is: string, instead: string) =>
        mistakes.push(`${path} ${is}: ${instead}. Nothing was checked.`);
    const add = (path: string) => {
        const inProject = relative(ROOT, resolve(from, path)).replaceAll("\\", "/");
        found.set(inProject, { path, inProject, sql: textOf(readFileSync(resolve(from, path), "utf8")) });
    };
    for (const path of paths) {
        const file = statSync(resolve(from, path), { throwIfNoEntry: false });
        const isPattern = !file && /[*?[{]/.test(path);
        const meant = isPattern
            ? globSync(path, { cwd: from }).sort((a, b) => a.localeCompare(b, "en", { numeric: true }))
            : [path];
        if (file?.isDirectory()) wrong(path, "is a folder", `name its SQL files, such as ${path}/*.sql`);
        else if (meant.length === 0 || (!file && !isPattern))
            wrong(
                path,
                `${isPattern ? "means no file" : "is no file"} in ${from}`,
                "name SQL files, such as sql/*.sql",
            );
        else for (const one of meant) add(one);
    }
    if (mistakes.length > 0) throw new Error(mistakes.join("\n"));
    return [...found.values()];
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
    options: { json?: boolean; database?: boolean; model?: Model },
): Promise<boolean> {
    if (options.model !== undefined && paths.length === 0)
        throw new Error("--model is for files that belong to no group's template: name the files too.");
    const given = findSql(paths, process.env.INIT_CWD ?? process.cwd());
    const groups = await readGroups();
    // one that was run once, and is not there any more, says nothing
    const read = (path: string) =>
        existsSync(resolve(ROOT, path)) ? textOf(readFileSync(resolve(ROOT, path), "utf8")) : "";
    const { lintDatabase, lintSql } = await import("../../core/tenants/check/lint.ts");
    const batches = batchesOf(given, groups, {
        read,
        ...(options.model === undefined ? {} : { model: options.model }),
    });
    const findings = await checkBatches(batches, lintSql);
    const living = paths.length === 0 || options.database === true;
    if (living)
        findings.push(
            ...(await withStack(({ session }) =>
                lintDatabase(
                    session,
                    groups.map((group) => declaredOf(group, groups)),
                ),
            )),
        );
    const looked = [...batches.map((batch) => batch.looked), ...(living ? ["the database"] : [])];
    console.log(options.json ? JSON.stringify(findings, null, 2) : renderFindings(findings, looked.join("; ")));
    return findings.every(({ severity }) => severity !== "error");
}
