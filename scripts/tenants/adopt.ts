/** npm run tenants -- adopt GROUP FILE: writes tenants that create_tenant made into the program's JSON file. */
import { existsSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { listTenants } from "../../core/tenants/ask/list.ts";
import { joinNames } from "../../core/util/joinNames.ts";
import { withStack } from "../lib/groups.ts";

const indentOf = (text: string) => /^[[{]\r?\n([ \t]+)/.exec(text)?.[1] ?? "    ";

/** A number that JSON would lose digits of, anywhere in it. */
function unsafe(value: unknown): number | undefined {
    if (typeof value === "number") return Number.isInteger(value) && !Number.isSafeInteger(value) ? value : undefined;
    if (typeof value !== "object" || value === null) return undefined;
    return Object.values(value)
        .map(unsafe)
        .find((found) => found !== undefined);
}

const nameOf = (element: unknown) =>
    typeof element === "object" && element !== null ? String((element as { name?: unknown }).name) : String(element);

/**
 * A file of tenants with more of them, in the form that it has: a map or a list. Those that it has stay as they are. Pure.
 * @param text the file; undefined when there is none
 * @returns the new text, and the names that are new in it
 * @throws Error when it is neither a map nor a list
 */
export function addTenants(
    file: string,
    text: string | undefined,
    names: readonly string[],
): { text: string; added: readonly string[] } {
    let given: unknown = {};
    if (text !== undefined) {
        try {
            given = JSON.parse(text);
        } catch (error) {
            throw new Error(
                `${file} must be a JSON file of tenants, got no JSON: ${(error as Error).message}.\nIt is untouched. Correct it, then repeat this.`,
            );
        }
    }
    if (typeof given !== "object" || given === null)
        throw new Error(
            `${file} must hold a map or a list of tenants such as {"acme": {}}, got ${JSON.stringify(given)}.\nIt is untouched. Name another file.`,
        );
    const lost = unsafe(given);
    if (lost !== undefined)
        throw new Error(
            `${file} has the number ${lost}, which JSON can't keep exactly.\nThe file is untouched. Write the number as text, in quotes, then repeat this.`,
        );
    const there = new Set(Array.isArray(given) ? given.map(nameOf) : Object.keys(given));
    const added = names.filter((name) => !there.has(name));
    const more = Array.isArray(given)
        ? [...given, ...added]
        : { ...given, ...Object.fromEntries(added.map((name) => [name, {}])) };
    return { text: `${JSON.stringify(more, null, indentOf(text ?? ""))}\n`, added };
}

/** @param file inside the project; undefined prints what would be in a new one */
export async function adopt(group: string, file?: string): Promise<void> {
    const { tenants } = await withStack(({ session }) => listTenants(session, { group }));
    const names = tenants.filter(({ onboarded }) => onboarded).map(({ tenant }) => tenant);
    if (file === undefined) {
        process.stdout.write(addTenants("", undefined, names).text);
        return;
    }
    const { text, added } = addTenants(file, existsSync(file) ? readFileSync(file, "utf8") : undefined, names);
    if (added.length === 0) {
        console.log(
            `Group ${group} has no tenant that create_tenant made and ${file} does not name. Nothing was changed.`,
        );
        return;
    }
    // whole or not at all: the program reads it
    writeFileSync(`${file}.new`, text);
    renameSync(`${file}.new`, file);
    console.log(
        `${file}: added ${joinNames(added, 10)}. Next: pulumi up, with tenants of group ${group} read from this file. It changes nothing of them.`,
    );
}
