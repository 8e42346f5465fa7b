/** From SQL files, in their order, to the tables that they make. What stands in functions and DO blocks is not read. */
import type {
    CreatePolicyStmt,
    DropStmt,
    InsertStmt,
    Node,
    RenameStmt,
    UpdateStmt,
    VariableSetStmt,
} from "libpg-query";
import { parse } from "libpg-query";
import { alterTable } from "./alterTable.ts";
import { constantOf, lastOf, nodesIn, settingOf, textOf, texts } from "./ast.ts";
import { readCalls } from "./citusCalls.ts";
import { type Cost, costsOf, slow } from "./costs.ts";
import { createIndex, createTable } from "./createTable.ts";
import type { Declared } from "./declared.ts";
import type { Finding } from "./finding.ts";
import { type Key, keyOf, type Schema } from "./model.ts";
import { Source, type SqlFile } from "./source.ts";
import { Tables } from "./tables.ts";
import { syntaxError } from "./unrunnable.ts";

/** Runs a file's statements. */
function run(tables: Tables, source: Source, statements: readonly { stmt?: Node; stmt_location?: number }[]) {
    tables.begin(source);
    for (const { stmt, stmt_location } of statements) {
        tables.next(stmt_location ?? 0);
        if (stmt) readStatement(tables, stmt);
    }
}

function readStatement(tables: Tables, stmt: Node) {
    for (const [tag, node] of nodesIn(stmt)) {
        if (tag === "UpdateStmt") readUpdate(tables, node as UpdateStmt);
        else if (tag === "InsertStmt") {
            const { relation, onConflictClause } = node as InsertStmt;
            if (relation && onConflictClause) readUpdate(tables, { ...onConflictClause, relation });
        }
    }
    if ("CreateStmt" in stmt) createTable(tables, stmt.CreateStmt);
    else if ("AlterTableStmt" in stmt) alterTable(tables, stmt.AlterTableStmt);
    else if ("IndexStmt" in stmt) createIndex(tables, stmt.IndexStmt);
    else if ("SelectStmt" in stmt || "CallStmt" in stmt) readCalls(tables, stmt);
    else if ("CreateEnumStmt" in stmt) tables.enums.add(lastOf(stmt.CreateEnumStmt.typeName));
    else if ("CreatePolicyStmt" in stmt) createPolicy(tables, stmt.CreatePolicyStmt);
    else if ("AlterPolicyStmt" in stmt) {
        const { policy_name, table, qual, with_check } = stmt.AlterPolicyStmt;
        createPolicy(tables, {
            ...(policy_name === undefined ? {} : { policy_name }),
            ...(table === undefined ? {} : { table }),
            ...(qual === undefined ? {} : { qual }),
            ...(with_check === undefined ? {} : { with_check }),
            permissive: true,
        });
    } else if ("RuleStmt" in stmt) {
        const { relation, rulename } = stmt.RuleStmt;
        const table = tables.table(relation);
        table.rules.push({ name: rulename ?? "", late: tables.isLate(table), place: tables.at(relation?.location) });
    } else if ("CreateTrigStmt" in stmt) {
        const { relation, trigname } = stmt.CreateTrigStmt;
        const table = tables.table(relation);
        table.triggers.push({ name: trigname ?? "", late: tables.isLate(table), place: tables.statement });
    } else if ("DropStmt" in stmt) dropObjects(tables, stmt.DropStmt);
    else if ("RenameStmt" in stmt) renameObject(tables, stmt.RenameStmt);
    else if ("VariableSetStmt" in stmt) setVariable(tables, stmt.VariableSetStmt);
    else if ("CreateSchemaStmt" in stmt) {
        if (tables.sharding) tables.tenantSchemas.add(stmt.CreateSchemaStmt.schemaname ?? "");
    } else if ("AlterObjectSchemaStmt" in stmt) {
        const { relation, newschema, objectType } = stmt.AlterObjectSchemaStmt;
        if (objectType === "OBJECT_TABLE") tables.move(tables.table(relation), { schema: newschema ?? "" });
    }
}

function createPolicy(tables: Tables, stmt: CreatePolicyStmt) {
    const table = tables.table(stmt.table);
    const conditions = [stmt.qual, stmt.with_check];
    const setting = settingOf(conditions);
    const before = table.policies.find(({ name }) => name === stmt.policy_name);
    table.policies = table.policies.filter((policy) => policy !== before);
    table.policies.push({
        name: stmt.policy_name ?? "",
        permissive: before?.permissive ?? stmt.permissive === true,
        subQuery: [...nodesIn(conditions)].some(([tag]) => tag === "SubLink"),
        ...(setting === undefined ? {} : { setting }),
        place: tables.at(stmt.table?.location),
    });
}

/** Also of a table that is not distributed yet: which column that will be by is known at the end. */
function readUpdate(tables: Tables, { relation, targetList }: Pick<UpdateStmt, "relation" | "targetList">) {
    const table = tables.table(relation);
    for (const target of targetList ?? []) {
        if (!("ResTarget" in target)) continue;
        const { name: column = "", val, location } = target.ResTarget;
        // EXCLUDED.c, or c itself: the same value again, which Citus takes
        if (val && "ColumnRef" in val && lastOf(val.ColumnRef.fields) === column) continue;
        tables.changes.push({
            table: keyOf(table.schema, table.name),
            what: "update",
            column,
            sure: tables.isLate(table),
            place: tables.at(location),
        });
    }
}

function dropObjects(tables: Tables, stmt: DropStmt) {
    for (const object of stmt.objects ?? []) {
        const parts = "List" in object ? texts(object.List.items) : [textOf(object)];
        const own = parts.at(-1) ?? "";
        const of = parts.slice(0, -1);
        if (stmt.removeType === "OBJECT_TABLE") {
            const key = keyOf(tables.schemaOf(of.at(-1)), own);
            tables.byKey.delete(key);
            for (const table of tables.byKey.values())
                table.foreignKeys = table.foreignKeys.filter(({ target }) => target !== key);
        } else if (stmt.removeType === "OBJECT_INDEX") {
            for (const table of tables.byKey.values()) table.keys = table.keys.filter((key) => key.name !== own);
        } else if (["OBJECT_TRIGGER", "OBJECT_RULE", "OBJECT_POLICY"].includes(stmt.removeType ?? "")) {
            const schema = of.at(-2);
            const table = tables.table({
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

function renameObject(tables: Tables, stmt: RenameStmt) {
    const { renameType, relation, subname = "", newname = "" } = stmt;
    if (renameType === "OBJECT_TABLE") tables.move(tables.table(relation), { name: newname });
    else if (renameType === "OBJECT_COLUMN") {
        const table = tables.table(relation);
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
        const table = tables.table(relation);
        for (const key of [...table.keys, ...table.foreignKeys]) if (key.name === subname) key.name = newname;
    }
}

function setVariable(tables: Tables, stmt: VariableSetStmt) {
    const value = stmt.kind === "VAR_SET_VALUE" ? constantOf(stmt.args?.[0]) : undefined;
    if (stmt.name === "search_path") tables.searchPath = value;
    if (stmt.name === "citus.enable_schema_based_sharding")
        tables.sharding = value !== undefined && /^(on|true|yes|1)$/i.test(value);
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
    const made = new Tables(declared);
    const findings: Finding[] = [];
    const costs: Finding[] = [];
    for (const file of files) {
        const source = new Source(file.path, file.sql);
        if (source.sql.trim() === "") continue;
        try {
            const tree = await parse(source.sql);
            run(made, source, tree.stmts ?? []);
            const found = costsOf(source, file.sql, tree.stmts ?? [], declared.model !== undefined);
            costs.push(...found.costs.map(slow), ...found.findings);
        } catch (error) {
            findings.push(syntaxError(source, error));
        }
    }
    return {
        schema: {
            tables: made.byKey,
            changes: made.changes,
            enums: made.enums,
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
