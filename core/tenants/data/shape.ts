/** A tenant's tables, whichever model it is in, and how those of one model answer to those of another. Pure. */
import type { GroupSpec } from "../group/spec.ts";

export interface Column {
    readonly name: string;
    /** As format_type has it. */
    readonly type: string;
    /** Made from other columns; neither copied nor compared. */
    readonly generated: boolean;
}

export interface TableShape {
    readonly schema: string;
    readonly name: string;
    readonly columns: readonly Column[];
    /** Tables that its foreign keys lead to, as `schema.name`; not itself. */
    readonly references: readonly string[];
}

/** What of a table is one tenant's. */
export interface Slice {
    /** What its counterpart in another model is called, too. */
    readonly name: string;
    readonly table: TableShape;
    /** The tenant column and the tenant's key, where others' rows are in the table. */
    readonly key?: { readonly column: string; readonly value: string };
    /** The table with one row for each tenant. */
    readonly anchor?: boolean;
}

/** Two slices of which one is copied to the other. */
export interface Pair {
    readonly name: string;
    readonly source: Slice;
    readonly target: Slice;
    /** Columns that are copied as they are. */
    readonly columns: readonly string[];
    /** Those of them that must be the same afterwards. */
    readonly compared: readonly string[];
}

/** Schema of a tenant in model `schema`. */
export const schemaOf = (tenant: string) => tenant;

/** Database of a tenant in model `database`. */
export const databaseOf = (tenant: string) => tenant;

/** `public.users` or `users` in its two parts. */
export function splitName(table: string): { schema: string; name: string } {
    const [schema, name] = table.includes(".") ? table.split(".", 2) : ["public", table];
    return { schema: schema ?? "public", name: name ?? "" };
}

/** What is the tenant's of all the tables that were read in its place. */
export function slicesOf(group: GroupSpec, tenant: string, shapes: readonly TableShape[]): Slice[] {
    if (group.model === "schema")
        return shapes
            .filter((table) => table.schema === schemaOf(tenant))
            .map((table) => ({ name: table.name, table }));
    if (group.model === "database")
        return shapes.map((table) => ({
            name: table.schema === "public" ? table.name : `${table.schema}.${table.name}`,
            table,
        }));
    return Object.entries(group.tables).flatMap(([full, { column }]): Slice[] => {
        const { schema, name } = splitName(full);
        const table = shapes.find((shape) => shape.schema === schema && shape.name === name);
        if (column === undefined || table === undefined) return [];
        return [{ name, table, key: { column, value: tenant }, ...(full === group.anchor ? { anchor: true } : {}) }];
    });
}

/** A type of the table's own schema has no schema in its name. */
const typeIn = (table: TableShape, type: string) =>
    type.startsWith(`${table.schema}.`) ? type.slice(table.schema.length + 1) : type;

const fullName = ({ table }: Slice) => (table.schema === "public" ? table.name : `${table.schema}.${table.name}`);

/** A table of which no more than the name is known, because it is still to be made. */
export type Named = Pick<Slice, "name" | "anchor">;

/** What is said of tables that are in one of the places only. @param full how a target's table is called */
export function unpaired(
    source: readonly Slice[],
    target: readonly (Named & { readonly full?: string })[],
): { refusals: string[]; notes: string[] } {
    const lacking = source.filter(({ name }) => !target.some((to) => to.name === name));
    const extra = target.filter(({ name, anchor }) => !anchor && !source.some((from) => from.name === name));
    return {
        refusals: [
            ...lacking
                .filter(({ anchor }) => !anchor)
                .map((from) => `table ${fullName(from)} has no counterpart where it goes`),
            ...extra.map(({ name, full = name }) => `table ${full} has no counterpart where it comes from`),
        ],
        notes: lacking
            .filter(({ anchor }) => anchor)
            .map((from) => `its row of ${fullName(from)} stays behind, because there is no such table where it goes`),
    };
}

/**
 * Which table is copied to which, in an order that foreign keys allow.
 * @param given columns of the target's anchor that the program gives values for
 */
export function pairUp(
    source: readonly Slice[],
    target: readonly Slice[],
    given: readonly string[] = [],
): { pairs: Pair[]; refusals: string[]; notes: string[] } {
    const { refusals, notes } = unpaired(
        source,
        target.map((slice) => ({ ...slice, full: fullName(slice) })),
    );
    const pairs: Pair[] = [];
    for (const from of source) {
        const to = target.find(({ name }) => name === from.name);
        if (!to) continue;
        const pair = pairOf(from, to, given);
        refusals.push(...pair.refusals);
        pairs.push(pair.pair);
    }
    for (const { source, target } of pairs) {
        if (fullName(source) === fullName(target) && source.key && target.key)
            refusals.push(`table ${fullName(source)} belongs to both groups`);
    }
    const ordered = inOrder(pairs, ({ target }) => target.table);
    if (!ordered)
        refusals.push(
            `foreign keys of ${pairs.map(({ target }) => fullName(target)).join(", ")} go round in a circle, so no order of copying fits`,
        );
    return { pairs: ordered ?? pairs, refusals, notes };
}

function pairOf(source: Slice, target: Slice, given: readonly string[]): { pair: Pair; refusals: string[] } {
    const refusals: string[] = [];
    const columns: string[] = [];
    const same: string[] = [];
    const stored = ({ table }: Slice) => table.columns.filter(({ generated }) => !generated);
    for (const column of source.table.columns) {
        const other = target.table.columns.find(({ name }) => name === column.name);
        if (column.name === target.key?.column) continue;
        if (column.generated && (!other || other.generated)) continue;
        if (!other) {
            if (column.name !== source.key?.column)
                refusals.push(`column ${fullName(source)}.${column.name} is missing in ${fullName(target)}`);
        } else if (typeIn(source.table, column.type) !== typeIn(target.table, other.type)) {
            refusals.push(
                `column ${column.name} is ${column.type} in ${fullName(source)} and ${other.type} in ${fullName(target)}`,
            );
        } else {
            same.push(column.name);
            // where it is made from others it has to come out as it was
            if (!other.generated) columns.push(column.name);
        }
    }
    for (const column of stored(target)) {
        if (column.name === target.key?.column) continue;
        if (!source.table.columns.some(({ name }) => name === column.name))
            refusals.push(`column ${fullName(target)}.${column.name} is missing in ${fullName(source)}`);
    }
    const compared = target.anchor ? same.filter((name) => !given.includes(name)) : same;
    return { pair: { name: source.name, source, target, columns, compared }, refusals };
}

/** Referenced tables first; undefined when there is no such order. */
export function inOrder<T>(items: readonly T[], tableOf: (item: T) => TableShape): T[] | undefined {
    const left = new Map(items.map((item) => [`${tableOf(item).schema}.${tableOf(item).name}`, item]));
    const ordered: T[] = [];
    while (left.size > 0) {
        const ready = [...left].filter(([, item]) => !tableOf(item).references.some((name) => left.has(name)));
        if (ready.length === 0) return undefined;
        for (const [name, item] of ready) {
            left.delete(name);
            ordered.push(item);
        }
    }
    return ordered;
}
