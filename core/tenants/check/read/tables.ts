/** The tables that SQL files make, while they are read. */
import type { RangeVar } from "libpg-query";
import type { TableSpec } from "../../group/spec.ts";
import { tableOf } from "./ast.ts";
import type { Declared } from "./declared.ts";
import { type Change, keyOf, type SourcePlace, type Table } from "./model.ts";
import { Source } from "./source.ts";

type Late = "yes" | "maybe" | "no";

/** What the statements of files have made so far, and where reading is. */
export class Tables {
    readonly byKey = new Map<string, Table>();
    readonly changes: Change[] = [];
    readonly enums = new Set<string>();
    /** Access methods of partitioned tables, which their partitions take over. */
    readonly partitionMethods = new Map<string, string>();
    readonly tenantSchemas = new Set<string>();
    /** Whether a schema that is made is a tenant's. */
    sharding = false;
    searchPath: string | undefined;
    /** Where the statement stands that is read. */
    statement: SourcePlace = { where: "" };
    private readonly declared: Declared;
    private source = new Source("", "");

    constructor(declared: Declared) {
        this.declared = declared;
    }

    /** Goes on with another file. */
    begin(source: Source) {
        this.source = source;
        this.searchPath = undefined;
    }

    /** Goes on with another statement of the file. */
    next(location: number) {
        this.statement = this.source.place(this.source.begin(location));
    }

    /** A place in the file; the statement's own where there is none. */
    at(location: number | undefined): SourcePlace {
        return location === undefined || location < 0 ? this.statement : this.source.place(location);
    }

    /** The schema that a name without one means. */
    schemaOf(schema: string | undefined) {
        return schema ?? this.searchPath ?? (this.declared.model === "schema" ? "" : "public");
    }

    /** A table that statements name; one that no file makes is in the database already, with columns nobody knows. */
    table(relation: RangeVar | undefined): Table {
        const { schema, name } = tableOf(relation);
        const key = keyOf(this.schemaOf(schema), name);
        const found = this.byKey.get(key);
        if (found) return found;
        const made = this.blank(this.schemaOf(schema), name, this.at(relation?.location));
        const other = this.declared.model === "schema" ? this.declared.others?.[key] : undefined;
        if (other) {
            const { kind, column } = other;
            Object.assign(made, { kind, made: kind !== "local", declared: true, group: `other ${key}` });
            if (column !== undefined) made.column = column;
        }
        // what no file distributes and no group declares may be anything
        else if (this.spec(made) === undefined && made.kind === "local") made.kind = "unknown";
        this.byKey.set(key, made);
        return made;
    }

    /** A table that another refers to: in a tenant's schema its own, else another group's in public, next in the search path. */
    referred(relation: RangeVar | undefined): Table {
        const { schema, name } = tableOf(relation);
        const inPublic = keyOf("public", name);
        const own = this.byKey.has(keyOf(this.schemaOf(schema), name));
        return this.schemaOf(schema) === "" && !own && this.declared.others?.[inPublic]
            ? this.table({ ...relation, schemaname: "public" })
            : this.table(relation);
    }

    /** A table that a text names. */
    named(text: string): Table {
        const [first = "", second] = text.split(".", 2).map((part) => part.replaceAll('"', ""));
        return this.table(second === undefined ? { relname: first } : { schemaname: first, relname: second });
    }

    /** What the group says of a table. */
    spec(table: Pick<Table, "schema" | "name">): TableSpec | undefined {
        const { tables } = this.declared;
        return (
            tables?.[`${table.schema}.${table.name}`] ?? (table.schema === "public" ? tables?.[table.name] : undefined)
        );
    }

    /** A table that nothing is known of yet. */
    blank(schema: string, name: string, place: SourcePlace): Table {
        const spec = this.spec({ schema, name });
        const { model } = this.declared;
        const single = this.tenantSchemas.has(schema) || (model === "schema" && schema === "");
        const rls = model === "rls";
        return {
            schema,
            name,
            qualified: model === "schema",
            kind: single ? "single" : model === "database" ? "unknown" : rls || !spec ? "local" : spec.kind,
            ...(spec?.column === undefined ? {} : { column: spec.column }),
            ...(single ? { group: `schema ${schema}` } : spec?.kind === "distributed" ? { group: "declared" } : {}),
            made: single,
            known: false,
            declared: spec !== undefined,
            columns: new Map(),
            keys: [],
            foreignKeys: [],
            policies: [],
            leading: new Set(),
            triggers: [],
            rules: [],
            identity: false,
            parents: [],
            place,
        };
    }

    /** Whether a table is distributed where a statement stands: what a group declares is, once an earlier `up` made it so. */
    late(table: Table): Late {
        if (table.made) return "yes";
        if (this.spec(table) === undefined || table.kind === "local") return "no";
        return table.place.where === this.source.path && table.known ? "no" : "maybe";
    }

    /** Whether it is, or may be. */
    isLate(table: Table) {
        return this.late(table) !== "no";
    }

    /** Notes what is done to a table once it is, or may be, distributed. */
    change(table: Table, what: Change["what"], more: { column?: string; detail?: string; place?: SourcePlace } = {}) {
        const late = this.late(table);
        if (late === "no") return;
        this.changes.push({
            table: keyOf(table.schema, table.name),
            what,
            sure: late === "yes",
            place: this.statement,
            ...more,
        });
    }

    /** Its access method; heap is none. */
    setMethod(table: Table, name: string | undefined) {
        if (name === undefined || name === "heap") delete table.accessMethod;
        else table.accessMethod = { name, place: this.statement };
    }

    /** A table is distributed as another is. */
    same(table: Table, as: Table) {
        table.kind = as.kind;
        table.made = as.made;
        if (as.column !== undefined) table.column = as.column;
        if (as.group !== undefined) table.group = as.group;
    }

    /** A table gets another name. */
    move(table: Table, to: { readonly schema?: string; readonly name?: string }) {
        const from = keyOf(table.schema, table.name);
        this.byKey.delete(from);
        Object.assign(table, to);
        if (this.tenantSchemas.has(table.schema))
            Object.assign(table, { kind: "single", made: true, group: `schema ${table.schema}` });
        this.byKey.set(keyOf(table.schema, table.name), table);
        for (const other of this.byKey.values())
            other.foreignKeys = other.foreignKeys.map((key) =>
                key.target === from ? { ...key, target: keyOf(table.schema, table.name) } : key,
            );
    }
}
