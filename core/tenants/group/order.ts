/** In which order a group's files are run, the same for each of its tenants. Pure. */
import { ownProperty } from "../../util/ownProperty.ts";

/** When each file was first run for any tenant of the group, in seconds; files that nobody ran are left out. */
export type FirstRuns = Readonly<Record<string, number>>;

/** Files as the group first ran them, then those that nobody ran, as the template has them. */
export function runOrder(template: readonly string[], first: FirstRuns): string[] {
    const at = new Map(template.map((path, i) => [path, i]));
    const when = (path: string) => ownProperty(first, path) ?? Number.POSITIVE_INFINITY;
    return [...template].sort((a, b) =>
        when(a) === when(b) ? (at.get(a) ?? 0) - (at.get(b) ?? 0) : when(a) - when(b),
    );
}

/** Files that nobody ran, and that the template has before one that somebody ran. */
export function lateFiles(template: readonly string[], first: FirstRuns): { path: string; after: string }[] {
    const last = template.findLastIndex((path) => ownProperty(first, path) !== undefined);
    const after = template[last];
    if (after === undefined) return [];
    return template.slice(0, last).flatMap((path) => (ownProperty(first, path) === undefined ? [{ path, after }] : []));
}

const byName = (a: string, b: string) => a.localeCompare(b, "en", { numeric: true });

/**
 * A name for a file that sorts after all of a folder: the last one's first number, and one more.
 * @param after a file of that folder
 * @returns undefined when the last one's name has no number
 */
export function nameAfter(path: string, after: string, template: readonly string[]): string | undefined {
    const folderOf = (whole: string) => whole.slice(0, whole.lastIndexOf("/") + 1);
    const folder = folderOf(after);
    const there = template.filter((other) => other !== path && folderOf(other) === folder).sort(byName);
    const last = there.at(-1) ?? after;
    const number = /^(\D*)(\d+)/.exec(last.slice(folder.length));
    if (!number) return undefined;
    const [, before = "", digits = ""] = number;
    const next = (BigInt(digits) + 1n).toString().padStart(digits.length, "0");
    const rest = path.slice(folderOf(path).length).replace(/^\D*\d+/, "");
    const found = `${folder}${before}${next}${/^[-_.]/.test(rest) ? rest : `-${rest}`}`;
    return byName(found, last) > 0 ? found : undefined;
}
