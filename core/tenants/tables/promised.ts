/** What a group declares of tables that its template is still to make, against what the template will make. Pure. */
import { nearest } from "../../util/nearest.ts";
import { ownProperty } from "../../util/ownProperty.ts";
import type { GroupSpec } from "../group/spec.ts";

const meant = (word: string, words: readonly string[]) => {
    const near = nearest(word, words);
    return near === undefined ? "" : ` Did you mean ${near}?`;
};

/**
 * @param missing declared tables that are not there yet
 * @param made columns of the tables that the template makes, by name
 * @returns what the template will not make, each as a reason to refuse
 */
export function refuseUnmade(
    group: GroupSpec,
    missing: readonly string[],
    made: Readonly<Record<string, readonly string[]>>,
): string[] {
    const columnsOf = (table: string) => (missing.includes(table) ? ownProperty(made, table) : undefined);
    const lacks = (table: string, column: string, what: string) => {
        const columns = columnsOf(table);
        if (columns === undefined || columns.includes(column)) return [];
        return [
            `${table} gets no column ${column} from the files of template, and ${what}. It gets ${columns.join(", ")}.${meant(column, columns)}`,
        ];
    };
    const tables = missing.flatMap((name) =>
        ownProperty(made, name) === undefined
            ? [
                  `${name} does not exist, and no file of template makes it.${meant(name, Object.keys(made))} Make it (CREATE TABLE ...) in a file of template, or take it out of tables.`,
              ]
            : [],
    );
    const keys = missing.flatMap((name) => {
        const column = group.tables[name]?.column;
        return column === undefined ? [] : lacks(name, column, "tables names it as the tenant's column");
    });
    const signIn = group.signIn ? lacks(group.signIn.table, group.signIn.column, "signIn names it") : [];
    const valued = new Map<string, string[]>();
    for (const [tenant, { values }] of Object.entries(group.tenants))
        for (const column of Object.keys(values ?? {})) valued.set(column, [...(valued.get(column) ?? []), tenant]);
    const values = [...valued].flatMap(([column, [first = "", ...others]]) =>
        lacks(
            group.anchor ?? "",
            column,
            `values of ${first}${others.length === 0 ? "" : ` and ${others.length} more`} name${others.length === 0 ? "s" : ""} it`,
        ),
    );
    return [...tables, ...keys, ...signIn, ...values];
}
