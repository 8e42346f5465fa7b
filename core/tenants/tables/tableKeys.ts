/** Foreign keys of a group's tables while these change: which can be there afterwards, and which are off meanwhile. Pure. */
import type { TableSpec } from "../group/spec.ts";

/** What a table is to Citus; `other` is nothing that this project makes. */
export type TableKind = "local" | "distributed" | "reference" | "single" | "tenant" | "other";

export interface ForeignKey {
    readonly name: string;
    /** As declared, or else as the database writes it. */
    readonly table: string;
    readonly columns: readonly string[];
    readonly references: string;
    readonly referenced: readonly string[];
    /** What the other side is when it is not declared. */
    readonly tableKind: TableKind;
    readonly referencesKind: TableKind;
    readonly tableColocation?: number | null;
    readonly referencesColocation?: number | null;
    /** Columns that ON DELETE or ON UPDATE sets to NULL or their default. */
    readonly sets: readonly string[];
}

/** A foreign key that was taken off. */
export interface KeyAside {
    readonly table: string;
    readonly name: string;
    /** What it was; null where an older version of this project took it off. */
    readonly key?: ForeignKey | null;
}

/** A table as a foreign key meets it. */
export interface KeyEnd {
    readonly spec: TableSpec;
    readonly target: "local" | "distributed" | "reference";
}

/** Whether a foreign key can be there once every table is what it is to be, and if not, why. */
export function impossible(key: ForeignKey, ends: ReadonlyMap<string, KeyEnd>): string | undefined {
    const child = ends.get(key.table);
    const parent = ends.get(key.references);
    const childKind = child?.target ?? key.tableKind;
    const parentKind = parent?.target ?? key.referencesKind;
    const plain = (kind: string) => kind === "local";
    if (childKind !== "distributed" && parentKind !== "distributed") return undefined;
    if (plain(childKind) && parentKind === "distributed")
        return `${key.table} is local and ${key.references} is to be distributed`;
    if (childKind === "reference" && parentKind === "distributed")
        return `${key.table} is a reference table and ${key.references} is to be distributed`;
    if (plain(parentKind)) return `${key.references} is local and ${key.table} is to be distributed`;
    if (childKind === "distributed" && parentKind === "reference") return undefined;
    if (child && parent) {
        const at = key.columns.indexOf(child.spec.column ?? "");
        if (at < 0 || key.referenced[at] !== parent.spec.column)
            return `it does not pair ${key.table}.${child.spec.column} with ${key.references}.${parent.spec.column}`;
        const set = key.sets.find((column) => column === child.spec.column);
        return set === undefined ? undefined : `it sets ${set}, the tenant, when ${key.references} is changed`;
    }
    return `only one of ${key.table} and ${key.references} is in this group`;
}
