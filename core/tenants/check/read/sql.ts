/** From SQL files, in their order, to the tables that they make. What stands in functions and DO blocks is not read. */
import type {
    AlterTableCmd,
    AlterTableStmt,
    ColumnDef,
    Constraint,
    CreatePolicyStmt,
    CreateStmt,
    DropStmt,
    FuncCall,
    IndexElem,
    IndexStmt,
    InsertStmt,
    Node,
    RangeVar,
    RenameStmt,
    UpdateStmt,
    VariableSetStmt,
} from "libpg-query";
import { parse } from "libpg-query";
import type { TableSpec } from "../../group/spec.ts";
import {
    argumentsOf,
    constantOf,
    functionsIn,
    isClock,
    isSerial,
    lastOf,
    nodesIn,
    settingOf,
    tableOf,
    textOf,
    texts,
    typeOf,
    unsteady,
} from "./ast.ts";
import { type Cost, costsOf, slow } from "./costs.ts";
import type { Declared } from "./declared.ts";
import type { Finding } from "./finding.ts";
import { type Change, type Column, type Key, keyOf, type Place, type Schema, type Table } from "./model.ts";
import { Source, type SqlFile } from "./source.ts";
import { syntaxError } from "./unrunnable.ts";

type Late = "yes" | "maybe" | "no";

const PARAMETERS = {
    create_distributed_table: [
        "table_name",
        "distribution_column",
        "distribution_type",
        "colocate_with",
        "shard_count",
    ],
    create_distributed_table_concurrently: [
        "table_name",
        "distribution_column",
        "distribution_type",
        "colocate_with",
        "shard_count",
    ],
    alter_distributed_table: ["table_name", "distribution_column", "shard_count", "colocate_with"],
    update_distributed_table_colocation: ["table_name", "colocate_with"],
    alter_table_set_access_method: ["table_name", "access_method"],
    create_reference_table: ["table_name"],
    undistribute_table: ["table_name"],
    citus_schema_distribute: ["schemaname"],
    citus_schema_undistribute: ["schemaname"],
} as const;

/** What copies a table, which Citus refuses where that has an identity column. */
const REWRITES: ReadonlySet<string> = new Set([
    "undistribute_table",
    "alter_distributed_table",
    "alter_table_set_access_method",
]);

const isCitusCall = (name: string): name is keyof typeof PARAMETERS => Object.hasOwn(PARAMETERS, name);

/** Subcommands of ALTER TABLE that Citus takes. */
const TAKEN = new Set(
    `AT_AddColumn AT_DropColumn AT_SetNotNull AT_DropNotNull AT_ColumnDefault AT_AddConstraint AT_AddIndexConstraint
     AT_DropConstraint AT_ValidateConstraint AT_SetRelOptions AT_ResetRelOptions AT_EnableRowSecurity AT_DisableRowSecurity
     AT_ForceRowSecurity AT_NoForceRowSecurity AT_AttachPartition AT_DetachPartition AT_DetachPartitionFinalize
     AT_AlterColumnType AT_ReplicaIdentity AT_ChangeOwner AT_SetLogged AT_SetUnLogged AT_SetAccessMethod`.split(/\s+/),
);

const CLAUSES: Readonly<Record<string, string>> = {
    AT_SetStatistics: "SET STATISTICS",
    AT_SetStorage: "SET STORAGE",
    AT_SetCompression: "SET COMPRESSION",
    AT_AddInherit: "INHERIT",
    AT_DropInherit: "NO INHERIT",
    AT_ClusterOn: "CLUSTER ON",
    AT_DropCluster: "SET WITHOUT CLUSTER",
    AT_SetTableSpace: "SET TABLESPACE",
    AT_AddIdentity: "ADD GENERATED AS IDENTITY",
    AT_DropIdentity: "DROP IDENTITY",
};

/** Bits of CREATE TABLE (LIKE ...); ALL has every one. */
const LIKE = { defaults: 1 << 3, indexes: 1 << 6 };

class Builder {
    readonly tables = new Map<string, Table>();
    readonly changes: Change[] = [];
    readonly enums = new Set<string>();
    /** Access methods of partitioned tables, which their partitions take over. */
    private readonly partitionMethods = new Map<string, string>();
    private readonly declared: Declared;
    private readonly tenantSchemas = new Set<string>();
    private sharding = false;
    private searchPath: string | undefined;
    private source = new Source("", "");
    private statement: Place = { where: "" };

    constructor(declared: Declared) {
        this.declared = declared;
    }

    /** Runs a file's statements. */
    run(source: Source, statements: readonly { stmt?: Node; stmt_location?: number }[]) {
        this.source = source;
        this.searchPath = undefined;
        for (const { stmt, stmt_location } of statements) {
            this.statement = source.place(source.begin(stmt_location ?? 0));
            if (stmt) this.one(stmt);
        }
    }

    private one(stmt: Node) {
        for (const [tag, node] of nodesIn(stmt)) {
            if (tag === "UpdateStmt") this.update(node as UpdateStmt);
            else if (tag === "InsertStmt") {
                const { relation, onConflictClause } = node as InsertStmt;
                if (relation && onConflictClause) this.update({ ...onConflictClause, relation });
            }
        }
        if ("CreateStmt" in stmt) this.create(stmt.CreateStmt);
        else if ("AlterTableStmt" in stmt) this.alter(stmt.AlterTableStmt);
        else if ("IndexStmt" in stmt) this.index(stmt.IndexStmt);
        else if ("SelectStmt" in stmt || "CallStmt" in stmt) this.calls(stmt);
        else if ("CreateEnumStmt" in stmt) this.enums.add(lastOf(stmt.CreateEnumStmt.typeName));
        else if ("CreatePolicyStmt" in stmt) this.policy(stmt.CreatePolicyStmt);
        else if ("AlterPolicyStmt" in stmt) {
            const { policy_name, table, qual, with_check } = stmt.AlterPolicyStmt;
            this.policy({
                ...(policy_name === undefined ? {} : { policy_name }),
                ...(table === undefined ? {} : { table }),
                ...(qual === undefined ? {} : { qual }),
                ...(with_check === undefined ? {} : { with_check }),
                permissive: true,
            });
        } else if ("RuleStmt" in stmt) {
            const { relation, rulename } = stmt.RuleStmt;
            const table = this.table(relation);
            table.rules.push({ name: rulename ?? "", late: this.isLate(table), place: this.at(relation?.location) });
        } else if ("CreateTrigStmt" in stmt) {
            const { relation, trigname } = stmt.CreateTrigStmt;
            const table = this.table(relation);
            table.triggers.push({ name: trigname ?? "", late: this.isLate(table), place: this.statement });
        } else if ("DropStmt" in stmt) this.drop(stmt.DropStmt);
        else if ("RenameStmt" in stmt) this.rename(stmt.RenameStmt);
        else if ("VariableSetStmt" in stmt) this.set(stmt.VariableSetStmt);
        else if ("CreateSchemaStmt" in stmt) {
            if (this.sharding) this.tenantSchemas.add(stmt.CreateSchemaStmt.schemaname ?? "");
        } else if ("AlterObjectSchemaStmt" in stmt) {
            const { relation, newschema, objectType } = stmt.AlterObjectSchemaStmt;
            if (objectType === "OBJECT_TABLE") this.move(this.table(relation), { schema: newschema ?? "" });
        }
    }

    private at(location: number | undefined): Place {
        return location === undefined || location < 0 ? this.statement : this.source.place(location);
    }

    private schemaOf(schema: string | undefined) {
        return schema ?? this.searchPath ?? (this.declared.model === "schema" ? "" : "public");
    }

    /** A table that statements name; one that no file makes is in the database already, with columns nobody knows. */
    private table(relation: RangeVar | undefined): Table {
        const { schema, name } = tableOf(relation);
        const key = keyOf(this.schemaOf(schema), name);
        const found = this.tables.get(key);
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
        this.tables.set(key, made);
        return made;
    }

    /** A table that another refers to: in a tenant's schema its own, else another group's in public, next in the search path. */
    private referred(relation: RangeVar | undefined): Table {
        const { schema, name } = tableOf(relation);
        const inPublic = keyOf("public", name);
        const own = this.tables.has(keyOf(this.schemaOf(schema), name));
        return this.schemaOf(schema) === "" && !own && this.declared.others?.[inPublic]
            ? this.table({ ...relation, schemaname: "public" })
            : this.table(relation);
    }

    private named(text: string): Table {
        const [first = "", second] = text.split(".", 2).map((part) => part.replaceAll('"', ""));
        return this.table(second === undefined ? { relname: first } : { schemaname: first, relname: second });
    }

    private spec(table: Pick<Table, "schema" | "name">): TableSpec | undefined {
        const { tables } = this.declared;
        return (
            tables?.[`${table.schema}.${table.name}`] ?? (table.schema === "public" ? tables?.[table.name] : undefined)
        );
    }

    private blank(schema: string, name: string, place: Place): Table {
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
    private late(table: Table): Late {
        if (table.made) return "yes";
        if (this.spec(table) === undefined || table.kind === "local") return "no";
        return table.place.where === this.source.path && table.known ? "no" : "maybe";
    }

    private isLate(table: Table) {
        return this.late(table) !== "no";
    }

    private change(table: Table, what: Change["what"], more: { column?: string; detail?: string; place?: Place } = {}) {
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

    private create(stmt: CreateStmt) {
        const { relation } = stmt;
        if (relation?.relpersistence === "t") return;
        const { schema, name } = tableOf(relation);
        const key = keyOf(this.schemaOf(schema), name);
        if (stmt.if_not_exists && this.tables.has(key)) return;
        const table = this.blank(this.schemaOf(schema), name, this.at(relation?.location));
        table.known = true;
        this.tables.set(key, table);
        if (relation?.relpersistence === "u") table.unlogged = table.place;
        let method = stmt.accessMethod;
        for (const parent of stmt.inhRelations ?? []) {
            if (!("RangeVar" in parent)) continue;
            const of = this.referred(parent.RangeVar);
            if (stmt.partbound) {
                table.partition = keyOf(of.schema, of.name);
                for (const [column, value] of of.columns) table.columns.set(column, { ...value });
                table.keys.push(...of.keys);
                if (of.made) this.same(table, of);
                method ??= this.partitionMethods.get(keyOf(of.schema, of.name));
                continue;
            }
            for (const [column, value] of of.columns)
                table.columns.set(column, {
                    ...value,
                    ...(value.clock ? { clock: table.place } : {}),
                    place: table.place,
                });
            table.parents.push({
                name: keyOf(of.schema, of.name),
                late: false,
                place: this.at(parent.RangeVar.location),
            });
        }
        // a partitioned table has it for partitions that name none
        if (stmt.partspec && method !== undefined) this.partitionMethods.set(key, method);
        else this.setMethod(table, method);
        for (const element of stmt.tableElts ?? []) {
            if ("ColumnDef" in element) this.column(table, element.ColumnDef);
            else if ("Constraint" in element) this.constraint(table, element.Constraint);
            else if ("TableLikeClause" in element) {
                const { relation: from, options = 0 } = element.TableLikeClause;
                const has = (option: number) => (options & option) !== 0;
                const like = this.referred(from);
                for (const [column, { volatile, clock, ...value }] of like.columns)
                    table.columns.set(column, {
                        ...value,
                        ...(has(LIKE.defaults) && volatile !== undefined ? { volatile } : {}),
                        ...(has(LIKE.defaults) && clock ? { clock: table.place } : {}),
                        place: table.place,
                    });
                if (has(LIKE.indexes))
                    for (const one of like.keys)
                        table.keys.push({ ...one, name: one.name.replace(like.name, name), place: table.place });
            }
        }
    }

    private setMethod(table: Table, name: string | undefined) {
        if (name === undefined || name === "heap") delete table.accessMethod;
        else table.accessMethod = { name, place: this.statement };
    }

    private same(table: Table, as: Table) {
        table.kind = as.kind;
        table.made = as.made;
        if (as.column !== undefined) table.column = as.column;
        if (as.group !== undefined) table.group = as.group;
    }

    private column(table: Table, def: ColumnDef): Column {
        const constraints = (def.constraints ?? []).flatMap((c) => ("Constraint" in c ? [c.Constraint] : []));
        const has = (type: Constraint["contype"]) => constraints.some(({ contype }) => contype === type);
        const value = constraints.find(({ contype }) => contype === "CONSTR_DEFAULT")?.raw_expr;
        const fickle = unsteady(value);
        const column: Column = {
            name: def.colname ?? "",
            type: typeOf(def.typeName),
            notNull: has("CONSTR_NOTNULL") || has("CONSTR_PRIMARY") || has("CONSTR_IDENTITY") || isSerial(def),
            generated: has("CONSTR_GENERATED"),
            identity: has("CONSTR_IDENTITY"),
            sequence: isSerial(def) || has("CONSTR_IDENTITY") || functionsIn(value).includes("nextval"),
            ...(fickle === undefined ? {} : { volatile: fickle }),
            ...(isClock(fickle) ? { clock: this.at(def.location) } : {}),
            place: this.at(def.location),
        };
        table.columns.set(column.name, column);
        for (const constraint of constraints) this.constraint(table, constraint, column.name);
        return column;
    }

    /** @param own the column that the constraint stands at */
    private constraint(table: Table, constraint: Constraint, own?: string) {
        const { contype, conname, location } = constraint;
        const place = this.at(location);
        const columns = own === undefined ? texts(constraint.keys) : [own];
        const named = (suffix: string, of: readonly string[]) => conname ?? [table.name, ...of, suffix].join("_");
        if (contype === "CONSTR_PRIMARY" || contype === "CONSTR_UNIQUE") {
            const primary = contype === "CONSTR_PRIMARY";
            const index = table.keys.find((key) => key.name === constraint.indexname);
            if (index) table.keys = table.keys.filter((key) => key !== index);
            const parts = index?.parts ?? columns.map((column) => ({ column }));
            if (parts[0]?.column !== undefined) table.leading.add(parts[0].column);
            for (const { column } of parts) {
                const known = column === undefined ? undefined : table.columns.get(column);
                if (known && primary) known.notNull = true;
            }
            table.keys.push({
                name: primary ? (conname ?? `${table.name}_pkey`) : named("key", columns),
                kind: primary ? "primary" : "unique",
                parts,
                late: this.isLate(table),
                place,
            });
        } else if (contype === "CONSTR_EXCLUSION") {
            const parts = (constraint.exclusions ?? []).flatMap((pair) => {
                const [element, operator] = "List" in pair ? (pair.List.items ?? []) : [];
                const column = element && "IndexElem" in element ? element.IndexElem.name : undefined;
                const text = operator && "List" in operator ? lastOf(operator.List.items) : "";
                return [{ ...(column === undefined ? {} : { column }), operator: text }];
            });
            table.keys.push({
                name: named(
                    "excl",
                    parts.flatMap(({ column }) => column ?? []),
                ),
                kind: "exclude",
                parts,
                method: constraint.access_method ?? "gist",
                late: this.isLate(table),
                place,
            });
        } else if (contype === "CONSTR_FOREIGN") {
            const from = own === undefined ? texts(constraint.fk_attrs) : [own];
            const target = this.referred(constraint.pktable);
            table.foreignKeys.push({
                name: named("fkey", from),
                columns: from,
                target: keyOf(target.schema, target.name),
                targetColumns: texts(constraint.pk_attrs),
                onDelete: constraint.fk_del_action ?? "a",
                onUpdate: constraint.fk_upd_action ?? "a",
                late: this.isLate(table),
                place,
            });
        }
    }

    private index(stmt: IndexStmt) {
        const table = this.table(stmt.relation);
        const parts = (stmt.indexParams ?? []).map((node): IndexElem => ("IndexElem" in node ? node.IndexElem : {}));
        if (parts[0]?.name !== undefined && !stmt.whereClause) table.leading.add(parts[0].name);
        if (!stmt.unique) return;
        const columns = parts.map(({ name }) => name ?? "expr");
        table.keys.push({
            name: stmt.idxname ?? [table.name, ...columns, "idx"].join("_"),
            kind: "index",
            parts: parts.map(({ name }) => (name === undefined ? {} : { column: name })),
            method: stmt.accessMethod ?? "btree",
            late: this.isLate(table),
            place: this.statement,
        });
    }

    private alter(stmt: AlterTableStmt) {
        if (stmt.objtype === "OBJECT_INDEX") return;
        const table = this.table(stmt.relation);
        const commands = (stmt.cmds ?? []).flatMap((node) => ("AlterTableCmd" in node ? [node.AlterTableCmd] : []));
        const adds = commands.some(({ subtype }) => subtype === "AT_AddConstraint");
        if (adds && commands.length > 1) this.change(table, "constraint");
        for (const command of commands) this.command(table, command);
    }

    private command(table: Table, command: AlterTableCmd) {
        const { subtype = "", name: subject = "", def } = command;
        const column = table.columns.get(subject);
        if (/^AT_(Enable|Disable)Trig(All|User)?$/.test(subtype)) this.change(table, "triggers");
        else if (CLAUSES[subtype] !== undefined)
            this.change(table, "unsupported", {
                detail: CLAUSES[subtype] ?? "",
                ...(subject === "" ? {} : { column: subject }),
            });
        switch (subtype) {
            case "AT_AddColumn":
                if (def && "ColumnDef" in def) this.addColumn(table, def.ColumnDef);
                break;
            case "AT_DropColumn":
                if (subject === table.column)
                    this.change(table, "key type", { column: subject, detail: "DROP COLUMN" });
                table.columns.delete(subject);
                table.keys = table.keys.filter(({ parts }) => !parts.some((part) => part.column === subject));
                table.foreignKeys = table.foreignKeys.filter(({ columns }) => !columns.includes(subject));
                break;
            case "AT_AddConstraint":
                if (def && "Constraint" in def) this.constraint(table, def.Constraint);
                break;
            case "AT_DropConstraint":
                table.keys = table.keys.filter((key) => key.name !== subject);
                table.foreignKeys = table.foreignKeys.filter((key) => key.name !== subject);
                break;
            case "AT_SetNotNull":
                if (column) column.notNull = true;
                break;
            case "AT_DropNotNull":
                if (column) column.notNull = false;
                break;
            case "AT_DropExpression":
                if (column) column.generated = false;
                break;
            case "AT_ColumnDefault": {
                if (!column) break;
                const fickle = unsteady(def);
                column.sequence = functionsIn(def).includes("nextval");
                delete column.volatile;
                delete column.clock;
                if (fickle !== undefined) column.volatile = fickle;
                if (isClock(fickle)) column.clock = this.statement;
                break;
            }
            case "AT_AddIdentity":
                if (column) Object.assign(column, { identity: true, sequence: true });
                break;
            case "AT_DropIdentity":
                if (column) Object.assign(column, { identity: false, sequence: false });
                break;
            case "AT_AlterColumnType":
                if (subject === table.column) this.change(table, "key type", { column: subject, detail: "TYPE" });
                if (column && def && "ColumnDef" in def) column.type = typeOf(def.ColumnDef.typeName);
                break;
            case "AT_SetUnLogged":
                table.unlogged = this.statement;
                break;
            case "AT_SetLogged":
                delete table.unlogged;
                break;
            case "AT_SetAccessMethod":
                this.setMethod(table, subject === "" ? undefined : subject);
                break;
            case "AT_ForceRowSecurity":
                table.forced = this.statement;
                break;
            case "AT_NoForceRowSecurity":
                delete table.forced;
                break;
            case "AT_ReplicaIdentity":
                table.identity =
                    !!def &&
                    "ReplicaIdentityStmt" in def &&
                    ["f", "i"].includes(def.ReplicaIdentityStmt.identity_type ?? "");
                break;
            case "AT_AddInherit": {
                const parent = def && "RangeVar" in def ? this.referred(def.RangeVar) : undefined;
                if (parent && this.late(table) === "no")
                    table.parents.push({ name: keyOf(parent.schema, parent.name), late: false, place: this.statement });
                break;
            }
            case "AT_DropInherit": {
                const parent = def && "RangeVar" in def ? this.table(def.RangeVar) : undefined;
                table.parents = table.parents.filter(
                    ({ name }) => !parent || name !== keyOf(parent.schema, parent.name),
                );
                break;
            }
            default:
                if (!TAKEN.has(subtype) && CLAUSES[subtype] === undefined && !/Trig|Rule/.test(subtype))
                    this.change(table, "unsupported", { detail: subtype.replace(/^AT_/, "") });
        }
    }

    private addColumn(table: Table, def: ColumnDef) {
        const column = this.column(table, def);
        const of = { column: column.name };
        const checks = (def.constraints ?? []).some(
            (c) => "Constraint" in c && c.Constraint.contype === "CONSTR_CHECK",
        );
        if (isSerial(def)) this.change(table, "serial", { ...of, detail: column.type });
        else if (column.identity) this.change(table, "identity", { ...of, detail: column.type });
        if (checks) this.change(table, "check", { ...of, detail: column.type });
        if (column.volatile !== undefined && table.kind === "reference")
            this.change(table, "default", { ...of, detail: column.volatile });
    }

    /** Calls of Citus' functions in a SELECT or CALL. */
    private calls(stmt: Node) {
        for (const [tag, node] of nodesIn(stmt)) {
            const call = node as FuncCall;
            const called = tag === "FuncCall" ? lastOf(call.funcname) : "";
            if (!isCitusCall(called)) continue;
            const given = argumentsOf(call.args, PARAMETERS[called]);
            if (called === "citus_schema_distribute" || called === "citus_schema_undistribute") {
                this.schemaCall(given.schemaname ?? "", called === "citus_schema_distribute");
                continue;
            }
            if (given.table_name === undefined) continue;
            const table = this.named(given.table_name);
            if (REWRITES.has(called))
                for (const column of table.columns.values())
                    if (column.identity)
                        this.change(table, "rewrite", {
                            column: column.name,
                            detail: called,
                            place: this.at(call.location),
                        });
            if (called === "alter_table_set_access_method") {
                this.setMethod(table, given.access_method);
                continue;
            }
            if (called === "create_reference_table") this.distribute(table, "reference");
            else if (called === "undistribute_table") {
                Object.assign(table, { kind: "local", made: false });
                delete table.column;
                delete table.group;
            } else this.distribute(table, "distributed", given);
            table.call = this.at(call.location);
        }
    }

    private schemaCall(schema: string, on: boolean) {
        if (on) this.tenantSchemas.add(schema);
        else this.tenantSchemas.delete(schema);
        for (const table of this.tables.values())
            if (table.schema === schema) {
                Object.assign(table, { kind: on ? "single" : "local", made: on });
                if (on) table.group = `schema ${schema}`;
            }
    }

    private distribute(
        table: Table,
        kind: "distributed" | "reference",
        given: Record<string, string | undefined> = {},
    ) {
        table.kind = kind;
        table.made = true;
        if (kind === "reference") return;
        if (given.distribution_column !== undefined) table.column = given.distribution_column;
        const { colocate_with: colocate, shard_count: count } = given;
        delete table.with;
        if (colocate === undefined || colocate === "default") {
            const type = table.columns.get(table.column ?? "")?.type ?? "";
            table.group = `default ${type} ${count ?? ""}`;
        } else if (colocate === "none") table.group = `own ${keyOf(table.schema, table.name)}`;
        else {
            const other = this.named(colocate);
            table.with = keyOf(other.schema, other.name);
            table.group = other.group ?? `of ${keyOf(other.schema, other.name)}`;
        }
        for (const part of this.tables.values())
            if (part.partition === keyOf(table.schema, table.name)) this.same(part, table);
    }

    private policy(stmt: CreatePolicyStmt) {
        const table = this.table(stmt.table);
        const conditions = [stmt.qual, stmt.with_check];
        const setting = settingOf(conditions);
        const before = table.policies.find(({ name }) => name === stmt.policy_name);
        table.policies = table.policies.filter((policy) => policy !== before);
        table.policies.push({
            name: stmt.policy_name ?? "",
            permissive: before?.permissive ?? stmt.permissive === true,
            subQuery: [...nodesIn(conditions)].some(([tag]) => tag === "SubLink"),
            ...(setting === undefined ? {} : { setting }),
            place: this.at(stmt.table?.location),
        });
    }

    /** Also of a table that is not distributed yet: which column that will be by is known at the end. */
    private update({ relation, targetList }: Pick<UpdateStmt, "relation" | "targetList">) {
        const table = this.table(relation);
        for (const target of targetList ?? []) {
            if (!("ResTarget" in target)) continue;
            const { name: column = "", val, location } = target.ResTarget;
            // EXCLUDED.c, or c itself: the same value again, which Citus takes
            if (val && "ColumnRef" in val && lastOf(val.ColumnRef.fields) === column) continue;
            this.changes.push({
                table: keyOf(table.schema, table.name),
                what: "update",
                column,
                sure: this.isLate(table),
                place: this.at(location),
            });
        }
    }

    private drop(stmt: DropStmt) {
        for (const object of stmt.objects ?? []) {
            const parts = "List" in object ? texts(object.List.items) : [textOf(object)];
            const own = parts.at(-1) ?? "";
            const of = parts.slice(0, -1);
            if (stmt.removeType === "OBJECT_TABLE") {
                const key = keyOf(this.schemaOf(of.at(-1)), own);
                this.tables.delete(key);
                for (const table of this.tables.values())
                    table.foreignKeys = table.foreignKeys.filter(({ target }) => target !== key);
            } else if (stmt.removeType === "OBJECT_INDEX") {
                for (const table of this.tables.values()) table.keys = table.keys.filter((key) => key.name !== own);
            } else if (["OBJECT_TRIGGER", "OBJECT_RULE", "OBJECT_POLICY"].includes(stmt.removeType ?? "")) {
                const schema = of.at(-2);
                const table = this.table({
                    relname: of.at(-1) ?? "",
                    ...(schema === undefined ? {} : { schemaname: schema }),
                });
                const not = ({ name }: { readonly name: string }) => name !== own;
                if (stmt.removeType === "OBJECT_TRIGGER") table.triggers = table.triggers.filter(not);
                else if (stmt.removeType === "OBJECT_RULE") table.rules = table.rules.filter(not);
                else table.policies = table.policies.filter(not);
            }
        }
    }

    private rename(stmt: RenameStmt) {
        const { renameType, relation, subname = "", newname = "" } = stmt;
        if (renameType === "OBJECT_TABLE") this.move(this.table(relation), { name: newname });
        else if (renameType === "OBJECT_COLUMN") {
            const table = this.table(relation);
            const column = table.columns.get(subname);
            if (!column) return;
            table.columns.delete(subname);
            table.columns.set(newname, { ...column, name: newname });
            if (table.column === subname && table.made) table.column = newname;
            const renamed = <P extends { readonly column?: string }>(part: P): P =>
                part.column === subname ? { ...part, column: newname } : part;
            table.keys = table.keys.map((key): Key => ({ ...key, parts: key.parts.map(renamed) }));
            table.foreignKeys = table.foreignKeys.map((key) => ({
                ...key,
                columns: key.columns.map((one) => (one === subname ? newname : one)),
            }));
        } else if (renameType === "OBJECT_TABCONSTRAINT") {
            const table = this.table(relation);
            for (const key of [...table.keys, ...table.foreignKeys]) if (key.name === subname) key.name = newname;
        }
    }

    private move(table: Table, to: { readonly schema?: string; readonly name?: string }) {
        const from = keyOf(table.schema, table.name);
        this.tables.delete(from);
        Object.assign(table, to);
        if (this.tenantSchemas.has(table.schema))
            Object.assign(table, { kind: "single", made: true, group: `schema ${table.schema}` });
        this.tables.set(keyOf(table.schema, table.name), table);
        for (const other of this.tables.values())
            other.foreignKeys = other.foreignKeys.map((key) =>
                key.target === from ? { ...key, target: keyOf(table.schema, table.name) } : key,
            );
    }

    private set(stmt: VariableSetStmt) {
        const value = stmt.kind === "VAR_SET_VALUE" ? constantOf(stmt.args?.[0]) : undefined;
        if (stmt.name === "search_path") this.searchPath = value;
        if (stmt.name === "citus.enable_schema_based_sharding")
            this.sharding = value !== undefined && /^(on|true|yes|1)$/i.test(value);
    }
}

/** What a group says about its tables, for the schema. */
export function about({
    model,
    anchor,
    tables = {},
    ignored = [],
}: Declared): Pick<Schema, "model" | "anchor" | "ignored"> {
    const first = anchor ?? Object.keys(tables).find((table) => tables[table]?.column !== undefined);
    return {
        ...(model === undefined ? {} : { model }),
        ...(first === undefined ? {} : { anchor: first.includes(".") ? first : `public.${first}` }),
        ...(ignored.length === 0
            ? {}
            : { ignored: ignored.map((name) => (name.includes(".") ? name : `public.${name}`)) }),
    };
}

/** Reads files in their order. What can't be read is a finding. */
export async function readSql(
    files: readonly SqlFile[],
    declared: Declared,
): Promise<{ schema: Schema; findings: Finding[]; costs: Finding[] }> {
    const builder = new Builder(declared);
    const findings: Finding[] = [];
    const costs: Finding[] = [];
    for (const file of files) {
        const source = new Source(file.path, file.sql);
        if (source.sql.trim() === "") continue;
        try {
            const tree = await parse(source.sql);
            builder.run(source, tree.stmts ?? []);
            const found = costsOf(source, file.sql, tree.stmts ?? [], declared.model !== undefined);
            costs.push(...found.costs.map(slow), ...found.findings);
        } catch (error) {
            findings.push(syntaxError(source, error));
        }
    }
    return {
        schema: {
            tables: builder.tables,
            changes: builder.changes,
            enums: builder.enums,
            ...about(declared),
            living: false,
        },
        findings,
        costs,
    };
}

/** What of one file makes others wait; nothing of a file that can't be read. */
export async function costsOfFile({ path, sql }: SqlFile): Promise<readonly Cost[]> {
    const source = new Source(path, sql);
    if (source.sql.trim() === "") return [];
    const tree = await parse(source.sql).catch(() => undefined);
    return tree === undefined ? [] : costsOf(source, sql, tree.stmts ?? [], false).costs;
}
