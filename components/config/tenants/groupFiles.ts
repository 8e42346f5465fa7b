/** What files say, put in the place of their paths. */

import type { FileSpec } from "../../../core/tenants/group/spec.ts";
import { record } from "../../../core/util/fields.ts";
import { InexactNumber, isExact, parseExact } from "../../../core/util/json.ts";
import type { Mistake } from "../../../core/util/mistakes.ts";
import { shown } from "../../../core/util/shown.ts";
import { insideProject } from "./fields.ts";
import { isEmpty, type Known } from "./groupKeys.ts";
import { fileSpec, type ProjectFiles, textOf } from "./project.ts";

const isKey = (key: unknown) => typeof key === "string" || typeof key === "number" || key instanceof InexactNumber;

/** A list of tenants as a map of them. */
function byName(list: readonly unknown[], path: string) {
    const mistakes: Mistake[] = [];
    const tenants = new Map<string, unknown>();
    list.forEach((entry, i) => {
        const { name, ...settings }: Record<string, unknown> = isKey(entry) ? { name: entry } : record(entry);
        if (!isKey(name)) {
            mistakes.push({
                path: `${path}.tenants[${i}]`,
                message: `must be a tenant's name or an object with its name, got ${shown(entry)} - for example {"name": "acme", "state": "frozen"}`,
            });
        } else if (name instanceof InexactNumber || (typeof name === "number" && !isExact(name))) {
            const written = name instanceof InexactNumber ? name.written : String(name);
            mistakes.push({
                path: `${path}.tenants[${i}]`,
                message: `is a number that JavaScript does not keep as it is written, got ${written} - write the key as a text: ${JSON.stringify(written)}`,
            });
        } else if (tenants.has(String(name))) {
            mistakes.push({ path: `${path}.tenants`, message: `names ${name} twice - remove one` });
        } else {
            tenants.set(String(name), settings);
        }
    });
    return { tenants: Object.fromEntries(tenants), mistakes };
}

/** What files say, put in the place of their paths. */
export function readFiles(raw: Record<string, unknown>, known: Known, path: string) {
    const mistakes: Mistake[] = [];
    const { files } = known;
    let { tenants } = raw;
    if (typeof tenants === "string") {
        const file = tenants;
        tenants = {};
        if (!insideProject(file)) {
            mistakes.push({
                path: `${path}.tenants`,
                message: `must be a path inside the project, got ${shown(file)}`,
            });
        } else if (files) {
            try {
                tenants = parseExact(textOf(files.read(file)));
            } catch (error) {
                mistakes.push({
                    path: `${path}.tenants`,
                    message: `must be a JSON file of tenants, got ${shown(file)}: ${(error as Error).message}`,
                });
            }
        }
    }
    if (Array.isArray(tenants)) {
        const read = byName(tenants, path);
        tenants = read.tenants;
        mistakes.push(...read.mistakes);
    }
    const { delete: deleted, ...settings } = raw;
    if (deleted !== undefined && !isEmpty(deleted)) {
        const names = Array.isArray(deleted) ? deleted.map(String) : ["acme"];
        const life = Object.fromEntries(names.slice(0, 3).map((name) => [name, { state: "deleted" }]));
        mistakes.push({
            path: `${path}.delete`,
            message: `is a tenant's state now - take it away, and write under tenants: ${JSON.stringify(life)}`,
        });
    }
    if (Object.hasOwn(record(tenants), "__proto__"))
        mistakes.push({
            path: `${path}.tenants`,
            message: "names __proto__, which JavaScript keeps for itself - choose another name",
        });
    const template = findSql(raw.template, files, `${path}.template`);
    const { files: squashed, upTo } = record(raw.baseline);
    const baseline = findSql(squashed, files, `${path}.baseline.files`);
    mistakes.push(...template.mistakes, ...baseline.mistakes);
    const twice = baseline.found.find(({ path }) => template.found.some((file) => file.path === path));
    if (twice)
        mistakes.push({
            path: `${path}.baseline.files`,
            message: `names ${twice.path}, which template names too - keep it in a folder that no pattern of template means`,
        });
    if (files && typeof upTo === "string" && !template.found.some((file) => file.path === upTo))
        mistakes.push({
            path: `${path}.baseline.upTo`,
            message: `must be one of the files of template, got ${shown(upTo)} - for example ${template.found.at(-1)?.path ?? "sql/clinic/100.sql"}`,
        });
    return {
        raw: { ...settings, tenants, template: [] },
        template: template.found,
        ...(typeof upTo === "string" ? { baseline: { files: baseline.found, upTo } } : {}),
        mistakes,
    };
}

/** Files that patterns mean, in their order. @param given a pattern, or a list of them */
function findSql(given: unknown, files: ProjectFiles | undefined, path: string) {
    const mistakes: Mistake[] = [];
    const found: FileSpec[] = [];
    const patterns = given === undefined ? [] : Array.isArray(given) ? given : [given];
    patterns.forEach((pattern, i) => {
        const at = Array.isArray(given) ? `${path}[${i}]` : path;
        if (!insideProject(pattern) || !/\.sql$/.test(pattern as string)) {
            mistakes.push({
                path: at,
                message: `must be a .sql file inside the project or a pattern of them, got ${shown(pattern)} - for example sql/clinic/*.sql`,
            });
            return;
        }
        if (!files) return;
        const meant = files.find(pattern as string);
        if (meant.length === 0)
            mistakes.push({
                path: at,
                message: `finds no file in this project, got ${shown(pattern)} - it is looked for from the folder of Pulumi.yaml`,
            });
        for (const file of meant) if (!found.some((one) => one.path === file)) found.push(fileSpec(file, files));
    });
    return { found, mistakes };
}
