/** What CREATE TABLE and CREATE INDEX make. */
import type { ColumnDef, Constraint, CreateStmt, IndexElem, IndexStmt } from "libpg-query";
import { functionsIn, isClock, isSerial, lastOf, tableOf, texts, typeOf, unsteady } from "./ast.ts";
import { type Column, keyOf, type Table } from "./model.ts";

import type { Tables } from "./tables.ts";

/** Bits of CREATE TABLE (LIKE ...); ALL has every one. */
const LIKE = { defaults: 1 << 3, indexes: 1 << 6 };

export function createTable(tables: Tables, stmt: CreateStmt) {
    const { relation } = stmt;
    if (relation?.relpersistence === "t") return;
    const { schema, name } = tableOf(relation);
    const key = keyOf(tables.schemaOf(schema), name);
    if (stmt.if_not_exists && tables.byKey.has(key)) return;
    const table = tables.blank(tables.schemaOf(schema), name, tables.at(relation?.location));
    table.known = true;
    tables.byKey.set(key, table);
    if (relation?.relpersistence === "u") table.unlogged = table.place;
    let method = stmt.accessMethod;
    for (const parent of stmt.inhRelations ?? []) {
        if (!("RangeVar" in parent)) continue;
        const of = tables.referred(parent.RangeVar);
        if (stmt.partbound) {
            table.partition = keyOf(of.schema, of.name);
            for (const [column, value] of of.columns) table.columns.set(column, { ...value });
            table.keys.push(...of.keys);
            if (of.made) tables.same(table, of);
            method ??= tables.partitionMethods.get(keyOf(of.schema, of.name));
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
            place: tables.at(parent.RangeVar.location),
        });
    }
    // a partitioned table has it for partitions that name none
    if (stmt.partspec && method !== undefined) tables.partitionMethods.set(key, method);
    else tables.setMethod(table, method);
    for (const element of stmt.tableElts ?? []) {
        if ("ColumnDef" in element) addedColumn(tables, table, element.ColumnDef);
        else if ("Constraint" in element) addConstraint(tables, table, element.Constraint);
        else if ("TableLikeClause" in element) {
            const { relation: from, options = 0 } = element.TableLikeClause;
            const has = (option: number) => (options & option) !== 0;
            const like = tables.referred(from);
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

export function addedColumn(tables: Tables, table: Table, def: ColumnDef): Column {
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
        ...(isClock(fickle) ? { clock: tables.at(def.location) } : {}),
        place: tables.at(def.location),
    };
    table.columns.set(column.name, column);
    for (const constraint of constraints) addConstraint(tables, table, constraint, column.name);
    return column;
}

/** @param own the column that the constraint stands at */
export function addConstraint(tables: Tables, table: Table, constraint: Constraint, own?: string) {
    const { contype, conname, location } = constraint;
    const place = tables.at(location);
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
            late: tables.isLate(table),
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
            late: tables.isLate(table),
            place,
        });
    } else if (contype === "CONSTR_FOREIGN") {
        const from = own === undefined ? texts(constraint.fk_attrs) : [own];
        const target = tables.referred(constraint.pktable);
        table.foreignKeys.push({
            name: named("fkey", from),
            columns: from,
            target: keyOf(target.schema, target.name),
            targetColumns: texts(constraint.pk_attrs),
            onDelete: constraint.fk_del_action ?? "a",
            onUpdate: constraint.fk_upd_action ?? "a",
            late: tables.isLate(table),
            place,
        });
    }
}

export function createIndex(tables: Tables, stmt: IndexStmt) {
    const table = tables.table(stmt.relation);
    const parts = (stmt.indexParams ?? []).map((node): IndexElem => ("IndexElem" in node ? node.IndexElem : {}));
    if (parts[0]?.name !== undefined && !stmt.whereClause) table.leading.add(parts[0].name);
    if (!stmt.unique) return;
    const columns = parts.map(({ name }) => name ?? "expr");
    table.keys.push({
        name: stmt.idxname ?? [table.name, ...columns, "idx"].join("_"),
        kind: "index",
        parts: parts.map(({ name }) => (name === undefined ? {} : { column: name })),
        method: stmt.accessMethod ?? "btree",
        late: tables.isLate(table),
        place: tables.statement,
    });
}
