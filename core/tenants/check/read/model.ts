/** Tables as a check sees them, whether they come from SQL files or from a living database. */
import { identifier } from "../../../sql/quote.ts";

/** Where something is written, or which table of a database it is in. */
export interface SourcePlace {
    readonly where: string;
    readonly line?: number;
}

/**
 * `distributed` by a column, `reference` on every node, `local` on the coordinator, `single` in a tenant's schema,
 * `unknown` in the SQL of a model that leaves tables alone.
 */
export type Kind = "distributed" | "reference" | "local" | "single" | "unknown";

export interface Column {
    readonly name: string;
    /** As format_type() writes it, without length. */
    type: string;
    notNull: boolean;
    /** GENERATED ALWAYS AS (...) STORED. */
    generated: boolean;
    identity: boolean;
    /** Whether its values come from a sequence, by default or as an identity. */
    sequence: boolean;
    /** A function of its default that gives another value each time. */
    volatile?: string;
    /** Where its default became the clock's by a keyword such as CURRENT_TIMESTAMP. */
    clock?: SourcePlace;
    place: SourcePlace;
}

export interface Key {
    name: string;
    readonly kind: "primary" | "unique" | "exclude" | "index";
    /** Its columns; of an exclusion with their operators. An expression has no name. */
    readonly parts: readonly { readonly column?: string; readonly operator?: string }[];
    /** Access method of an exclusion or index. */
    readonly method?: string;
    /** Whether the table was distributed before it came. */
    readonly late: boolean;
    readonly place: SourcePlace;
}

export interface ForeignKey {
    name: string;
    readonly columns: readonly string[];
    readonly target: string;
    /** Empty: the primary key of the target. */
    readonly targetColumns: readonly string[];
    /** As in pg_constraint: a no action, r restrict, c cascade, n set null, d set default. */
    readonly onDelete: string;
    readonly onUpdate: string;
    /** Whether the table was distributed before the key came. */
    readonly late: boolean;
    readonly place: SourcePlace;
}

export interface Policy {
    readonly name: string;
    readonly permissive: boolean;
    readonly subQuery: boolean;
    /** A setting that its condition reads without saying that it may be missing, or without nullif. */
    readonly setting?: { readonly name: string; readonly missingOk: boolean; readonly emptyOk: boolean };
    readonly place: SourcePlace;
}

export interface Named {
    readonly name: string;
    /** Whether the table was distributed before it came. */
    readonly late: boolean;
    readonly place: SourcePlace;
}

export interface Table {
    schema: string;
    name: string;
    /** Whether its schema must be said also when it is public: a template runs in a schema of a tenant. */
    readonly qualified: boolean;
    kind: Kind;
    /** Distribution column; of a local table in model rls its tenant column. */
    column?: string;
    /** Tables with the same one are colocated. */
    group?: string;
    /** Whether the table is what it should be already, or only declared so. */
    made: boolean;
    /** The call that distributes it, if it is written. */
    call?: SourcePlace;
    /** Whether its columns and keys are known: a file makes it, or a living database has it. */
    known: boolean;
    /** Whether a group declares it. */
    declared: boolean;
    /** Columns in which copies of a living reference table differ, with the call of their defaults. */
    differing?: { readonly column: string; readonly call: string }[];
    /** A table that it is told to be colocated with. */
    with?: string;
    readonly columns: Map<string, Column>;
    keys: Key[];
    foreignKeys: ForeignKey[];
    policies: Policy[];
    /** Columns that an index begins with. */
    readonly leading: Set<string>;
    triggers: Named[];
    rules: Named[];
    forced?: SourcePlace;
    unlogged?: SourcePlace;
    /** Another access method than heap, such as columnar. */
    accessMethod?: { readonly name: string; readonly place: SourcePlace };
    /** REPLICA IDENTITY FULL or by an index. */
    identity: boolean;
    /** Tables that it inherits from. */
    parents: Named[];
    /** The table that it is a part of. */
    partition?: string;
    place: SourcePlace;
}

/** One statement that a table does not take once it is distributed, or that does harm then. */
export interface Change {
    readonly table: string;
    readonly what:
        | "serial"
        | "identity"
        | "check"
        | "constraint"
        | "unsupported"
        | "triggers"
        | "default"
        | "update"
        | "key type"
        | "rewrite";
    /** The column, the clause, the function. */
    readonly column?: string;
    readonly detail?: string;
    /** False: only where the table was distributed before this file came. */
    readonly sure: boolean;
    readonly place: SourcePlace;
}

export interface Schema {
    /** By schema and name, `public.users`. */
    readonly tables: Map<string, Table>;
    readonly changes: Change[];
    /** Types that are an enum, by their names without schema. */
    readonly enums?: ReadonlySet<string>;
    /** Tenants' rows are in tables of this model. */
    readonly model?: "rls" | "row" | "schema" | "database" | "routed";
    /** The table that the others of a declared group are colocated with. */
    readonly anchor?: string;
    /** Tables that hold nothing of this group's tenants, or are left alone: `public.audit`. @default none */
    readonly ignored?: readonly string[];
    /** Whether it is a living database. */
    readonly living: boolean;
}

/** A name as people write it: quoted only where it must be. */
export const name = (text: string) => (/^[a-z_][a-z0-9_]*$/.test(text) ? text : identifier(text));

/** A table in SQL, without `public` where that need not be said. */
export const nameOf = (table: Pick<Table, "schema" | "name" | "qualified">) =>
    table.schema === "" || (table.schema === "public" && !table.qualified)
        ? name(table.name)
        : `${name(table.schema)}.${name(table.name)}`;

export const names = (columns: readonly string[]) => columns.map(name).join(", ");

export const keyOf = (schema: string, table: string) => `${schema}.${table}`;

/** Whether Citus holds the table's rows. */
export const isCitus = (table: Table) => ["distributed", "reference", "single"].includes(table.kind);

/** Whether rows of the table lie in shards that move. */
export const hasShards = (table: Table) => table.kind === "distributed" || table.kind === "single";
