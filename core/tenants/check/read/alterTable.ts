/** What ALTER TABLE makes of tables. */
import type { AlterTableCmd, AlterTableStmt, ColumnDef, Node } from "libpg-query";
import { functionsIn, isClock, isSerial, typeOf, unsteady } from "./ast.ts";
import { addConstraint, addedColumn } from "./createTable.ts";
import { type Column, keyOf, type Table } from "./model.ts";
import type { Tables } from "./tables.ts";

/** Subcommands of ALTER TABLE that Citus takes. */
const SUBCOMMANDS_CITUS_TAKES = new Set(
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

export function alterTable(tables: Tables, stmt: AlterTableStmt) {
    if (stmt.objtype === "OBJECT_INDEX") return;
    const table = tables.table(stmt.relation);
    const commands = (stmt.cmds ?? []).flatMap((node) => ("AlterTableCmd" in node ? [node.AlterTableCmd] : []));
    const adds = commands.some(({ subtype }) => subtype === "AT_AddConstraint");
    if (adds && commands.length > 1) tables.change(table, "constraint");
    for (const command of commands) alterOne(tables, table, command);
}

interface Command {
    readonly tables: Tables;
    /** The table that is altered. */
    readonly table: Table;
    /** The name that it has in it. */
    readonly subject: string;
    /** The column of that name. */
    readonly column: Column | undefined;
    readonly def: Node | undefined;
}

/** What subcommands of ALTER TABLE do. */
const ALTERS: Readonly<Record<string, (command: Command) => void>> = {
    AT_AddColumn: ({ tables, table, def }) => {
        if (def && "ColumnDef" in def) addColumn(tables, table, def.ColumnDef);
    },
    AT_DropColumn: ({ tables, table, subject }) => {
        if (subject === table.column) tables.change(table, "key type", { column: subject, detail: "DROP COLUMN" });
        table.columns.delete(subject);
        table.keys = table.keys.filter(({ parts }) => !parts.some((part) => part.column === subject));
        table.foreignKeys = table.foreignKeys.filter(({ columns }) => !columns.includes(subject));
    },
    AT_AddConstraint: ({ tables, table, def }) => {
        if (def && "Constraint" in def) addConstraint(tables, table, def.Constraint);
    },
    AT_DropConstraint: ({ table, subject }) => {
        table.keys = table.keys.filter((key) => key.name !== subject);
        table.foreignKeys = table.foreignKeys.filter((key) => key.name !== subject);
    },
    AT_SetNotNull: ({ column }) => {
        if (column) column.notNull = true;
    },
    AT_DropNotNull: ({ column }) => {
        if (column) column.notNull = false;
    },
    AT_DropExpression: ({ column }) => {
        if (column) column.generated = false;
    },
    AT_ColumnDefault: ({ tables, column, def }) => {
        if (!column) return;
        const fickle = unsteady(def);
        column.sequence = functionsIn(def).includes("nextval");
        delete column.volatile;
        delete column.clock;
        if (fickle !== undefined) column.volatile = fickle;
        if (isClock(fickle)) column.clock = tables.statement;
    },
    AT_AddIdentity: ({ column }) => {
        if (column) Object.assign(column, { identity: true, sequence: true });
    },
    AT_DropIdentity: ({ column }) => {
        if (column) Object.assign(column, { identity: false, sequence: false });
    },
    AT_AlterColumnType: ({ tables, table, subject, column, def }) => {
        if (subject === table.column) tables.change(table, "key type", { column: subject, detail: "TYPE" });
        if (column && def && "ColumnDef" in def) column.type = typeOf(def.ColumnDef.typeName);
    },
    AT_SetUnLogged: ({ tables, table }) => {
        table.unlogged = tables.statement;
    },
    AT_SetLogged: ({ table }) => {
        delete table.unlogged;
    },
    AT_SetAccessMethod: ({ tables, table, subject }) => {
        tables.setMethod(table, subject === "" ? undefined : subject);
    },
    AT_ForceRowSecurity: ({ tables, table }) => {
        table.forced = tables.statement;
    },
    AT_NoForceRowSecurity: ({ table }) => {
        delete table.forced;
    },
    AT_ReplicaIdentity: ({ table, def }) => {
        table.identity =
            !!def && "ReplicaIdentityStmt" in def && ["f", "i"].includes(def.ReplicaIdentityStmt.identity_type ?? "");
    },
    AT_AddInherit: ({ tables, table, def }) => {
        const parent = def && "RangeVar" in def ? tables.referred(def.RangeVar) : undefined;
        if (parent && tables.late(table) === "no")
            table.parents.push({ name: keyOf(parent.schema, parent.name), late: false, place: tables.statement });
    },
    AT_DropInherit: ({ tables, table, def }) => {
        const parent = def && "RangeVar" in def ? tables.table(def.RangeVar) : undefined;
        table.parents = table.parents.filter(({ name }) => !parent || name !== keyOf(parent.schema, parent.name));
    },
};

function alterOne(tables: Tables, table: Table, { subtype, name: subject = "", def }: AlterTableCmd) {
    if (subtype === undefined) return;
    if (/^AT_(Enable|Disable)Trig(All|User)?$/.test(subtype)) tables.change(table, "triggers");
    else if (CLAUSES[subtype] !== undefined)
        tables.change(table, "unsupported", {
            detail: CLAUSES[subtype] ?? "",
            ...(subject === "" ? {} : { column: subject }),
        });
    const alter = ALTERS[subtype];
    if (alter) alter({ tables, table, subject, column: table.columns.get(subject), def });
    else if (!SUBCOMMANDS_CITUS_TAKES.has(subtype) && CLAUSES[subtype] === undefined && !/Trig|Rule/.test(subtype))
        tables.change(table, "unsupported", { detail: subtype.replace(/^AT_/, "") });
}

function addColumn(tables: Tables, table: Table, def: ColumnDef) {
    const column = addedColumn(tables, table, def);
    const of = { column: column.name };
    const checks = (def.constraints ?? []).some((c) => "Constraint" in c && c.Constraint.contype === "CONSTR_CHECK");
    if (isSerial(def)) tables.change(table, "serial", { ...of, detail: column.type });
    else if (column.identity) tables.change(table, "identity", { ...of, detail: column.type });
    if (checks) tables.change(table, "check", { ...of, detail: column.type });
    if (column.volatile !== undefined && table.kind === "reference")
        tables.change(table, "default", { ...of, detail: column.volatile });
}
