/** What a check is told of a group beside its files. */
import type { Model, TableSpec } from "../../group/spec.ts";

/** What belongs to others. */
export interface Outside {
    /** Schemas of tenants. */
    readonly schemas?: readonly string[];
    /** Tables of other groups, with their schemas. */
    readonly tables?: readonly string[];
}

export interface Declared {
    /** Name of the group. */
    readonly name?: string;
    /** Tables as a group declares them. */
    readonly tables?: Readonly<Record<string, TableSpec>>;
    readonly model?: Model;
    /** The table of tenants. @default the first of tables with a column */
    readonly anchor?: string;
    /** Tables of other groups with their schemas, which a tenant's own schema can refer to. */
    readonly others?: Readonly<Record<string, TableSpec>>;
    /** Tables that hold nothing of the group's tenants, or are left alone, such as those of other groups. */
    readonly ignored?: readonly string[];
    /** What belongs to others, which files of models row and rls leave alone. */
    readonly outside?: Outside;
    /** Relations that every tenant's schema has, whoever made them. */
    readonly known?: readonly string[];
}
