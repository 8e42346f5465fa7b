/** Statements of one file that make others wait on a table that has rows, or that need what came before them committed. Pure. */
import type { AlterTableCmd, ColumnDef, Constraint, Node, RangeVar } from "libpg-query";
import { saysNoTransaction } from "../../../sql/sqlFile.ts";
import { statements } from "../../../sql/statements.ts";
import { constantOf, functionsIn, isSerial, lastOf, nodesIn, tableOf, textOf, typeOf } from "./ast.ts";
import { type Finding, finding } from "./finding.ts";
import { name, names, type SourcePlace } from "./model.ts";
import type { Source } from "./source.ts";
import { refusedStatements } from "./unrunnable.ts";

/** One statement, or clause of one, whose cost grows with the table. */
export interface Cost {
    readonly place: SourcePlace;
    /** As the file writes it, without quotes. */
    readonly table: string;
    /** `ALTER COLUMN note TYPE text`. */
    readonly clause: string;
    /**
     * `rewrite`: every row is written anew; `scan`: every row is read; `index`: an index is built; `gone`: nothing waits long,
     * and what it removes can't be had back.
     */
    readonly does: "rewrite" | "scan" | "index" | "gone";
    /** Who waits meanwhile. */
    readonly waits?: "reads and writes" | "writes";
    /** SQL that does the same without the wait. */
    readonly fix: string;
}

export interface Costs {
    readonly costs: readonly Cost[];
    /** What can't be run as the file is. */
    readonly findings: readonly Finding[];
}

type Statements = readonly { stmt?: Node; stmt_location?: number }[];

/** Functions that give another value for each row, so that a new column with one is written into every row. */
const VOLATILE =
    /^(gen_random_uuid|uuid_generate_v\w+|random|random_normal|clock_timestamp|timeofday|nextval|gen_random_bytes)$/;

const NO_TRANSACTION = '-- in a file of its own that begins with the line "-- no transaction":';

/** A table as the file writes it, without quotes. */
function written(relation: RangeVar | undefined): string {
    const { schema, name: own } = tableOf(relation);
    return schema === undefined ? own : `${schema}.${own}`;
}

class Reader {
    readonly costs: Cost[] = [];
    readonly findings: Finding[] = [];
    private readonly made = new Set<string>();
    private readonly types = new Set<string>();
    /** Values that were added to enums, with their types. */
    private readonly added = new Map<string, string>();
    /** Tables with foreign keys that are checked at the end of the transaction, made by this file. */
    private readonly deferred = new Set<string>();
    /** Those of them that got rows. */
    private readonly written = new Set<string>();
    private readonly alone: boolean;
    private readonly source: Source;
    private place: SourcePlace = { where: "" };

    constructor(source: Source, alone: boolean) {
        this.source = source;
        this.alone = alone;
    }

    read(found: Statements) {
        for (const { stmt, stmt_location } of found) {
            this.place = this.source.place(this.source.begin(stmt_location ?? 0));
            if (!stmt) continue;
            if (!this.alone) this.uses(stmt);
            this.one(stmt);
        }
    }

    private moved(from: RangeVar | undefined, to: RangeVar) {
        if (this.made.has(written(from))) this.made.add(written(to));
    }

    private cost(relation: RangeVar | undefined, more: Omit<Cost, "place" | "table">) {
        const table = written(relation);
        if (this.made.has(table)) return;
        this.costs.push({ place: this.place, table, ...more });
    }

    private one(stmt: Node) {
        if ("CreateStmt" in stmt) this.create(stmt.CreateStmt.relation, stmt.CreateStmt.tableElts);
        else if ("CreateTableAsStmt" in stmt) this.create(stmt.CreateTableAsStmt.into?.rel, []);
        else if ("CreateEnumStmt" in stmt) this.types.add(lastOf(stmt.CreateEnumStmt.typeName));
        else if ("AlterEnumStmt" in stmt) {
            const { typeName, newVal } = stmt.AlterEnumStmt;
            const type = lastOf(typeName);
            if (newVal !== undefined && !this.types.has(type)) this.added.set(newVal, type);
        } else if ("AlterTableStmt" in stmt) this.alter(stmt.AlterTableStmt.relation, stmt.AlterTableStmt.cmds);
        else if ("IndexStmt" in stmt && !stmt.IndexStmt.concurrent) {
            const { relation, idxname, unique } = stmt.IndexStmt;
            const columns = (stmt.IndexStmt.indexParams ?? []).map((part) =>
                "IndexElem" in part && part.IndexElem.name !== undefined ? name(part.IndexElem.name) : "(…)",
            );
            const own =
                idxname ?? [tableOf(relation).name, ...columns.map((c) => c.replace(/\W/g, "")), "idx"].join("_");
            this.cost(relation, {
                clause: `CREATE INDEX${idxname === undefined ? "" : ` ${name(idxname)}`}`,
                does: "index",
                waits: "writes",
                fix: `${NO_TRANSACTION}\nCREATE ${unique ? "UNIQUE " : ""}INDEX CONCURRENTLY IF NOT EXISTS ${name(own)} ON ${name(tableOf(relation).name)} (${columns.join(", ")});`,
            });
        } else if ("ReindexStmt" in stmt) {
            const { relation, kind } = stmt.ReindexStmt;
            if (kind === "REINDEX_OBJECT_TABLE")
                this.cost(relation, {
                    clause: "REINDEX TABLE",
                    does: "index",
                    waits: "reads and writes",
                    fix: "-- by hand, when it is needed: REINDEX TABLE CONCURRENTLY",
                });
        } else if ("TruncateStmt" in stmt) {
            for (const one of stmt.TruncateStmt.relations ?? [])
                if ("RangeVar" in one)
                    this.cost(one.RangeVar, {
                        clause: "TRUNCATE",
                        does: "gone",
                        fix: "-- an export of the tenant first (npm run tenants -- export), if its rows are wanted",
                    });
        } else if ("ClusterStmt" in stmt) {
            this.cost(stmt.ClusterStmt.relation, {
                clause: "CLUSTER",
                does: "rewrite",
                waits: "reads and writes",
                fix: "-- not in a migration: rows come in any order again with the next writes",
            });
        } else if ("VacuumStmt" in stmt) this.vacuum(stmt.VacuumStmt);
        else if ("DropStmt" in stmt && stmt.DropStmt.removeType === "OBJECT_TABLE") {
            for (const object of stmt.DropStmt.objects ?? []) {
                const parts = "List" in object ? (object.List.items ?? []).map(textOf) : [];
                const [own = "", schema] = parts.toReversed();
                this.cost(
                    { relname: own, ...(schema === undefined ? {} : { schemaname: schema }) },
                    DROPPED("DROP TABLE"),
                );
            }
        } else if ("RenameStmt" in stmt && stmt.RenameStmt.renameType === "OBJECT_TABLE") {
            const { relation, newname = "" } = stmt.RenameStmt;
            this.moved(relation, { ...relation, relname: newname });
        } else if ("AlterObjectSchemaStmt" in stmt) {
            const { relation, newschema = "" } = stmt.AlterObjectSchemaStmt;
            if (relation) this.moved(relation, { ...relation, schemaname: newschema });
        } else if ("UpdateStmt" in stmt || "DeleteStmt" in stmt) this.everyRow(stmt);
        for (const [tag, node] of nodesIn(stmt))
            if (["InsertStmt", "UpdateStmt", "DeleteStmt"].includes(tag))
                this.writes(tableOf(node.relation as RangeVar | undefined).name);
    }

    private create(relation: RangeVar | undefined, elements: readonly Node[] | undefined) {
        const { name: own } = tableOf(relation);
        this.made.add(written(relation));
        for (const element of elements ?? []) {
            const constraints =
                "ColumnDef" in element
                    ? (element.ColumnDef.constraints ?? [])
                    : "Constraint" in element
                      ? [element]
                      : [];
            this.deferrable(
                own,
                constraints.flatMap((one) => ("Constraint" in one ? [one.Constraint] : [])),
            );
        }
    }

    /** @param constraints of one column, or one of the table: at a column the words after a key are constraints of their own */
    private deferrable(table: string, constraints: readonly Constraint[]) {
        const key = constraints.find(({ contype }) => contype === "CONSTR_FOREIGN");
        const late = constraints.some(
            ({ contype, initdeferred }) => initdeferred || contype === "CONSTR_ATTR_DEFERRED",
        );
        if (!key || !late) return;
        this.deferred.add(table);
        this.deferred.add(tableOf(key.pktable).name);
    }

    private writes(table: string) {
        if (this.deferred.has(table)) this.written.add(table);
    }

    /** A value of an enum that the same transaction added. */
    private uses(stmt: Node) {
        if ("AlterEnumStmt" in stmt) return;
        for (const [tag, node] of nodesIn(stmt)) {
            const value = tag === "A_Const" ? constantOf({ A_Const: node } as Node) : undefined;
            const type = value === undefined ? undefined : this.added.get(value);
            if (type === undefined) continue;
            this.added.delete(value ?? "");
            this.findings.push(
                finding("L21", "error", this.place, {
                    says: `uses '${value}' of ${type}, which this file adds: a value of an enum is of use when its transaction has ended`,
                    later: `unsafe use of new value "${value}" of enum type ${type}`,
                    fix: "-- this statement in a file of its own, that sorts after this one",
                }),
            );
        }
    }

    private everyRow(stmt: Node) {
        const { relation, whereClause } =
            "UpdateStmt" in stmt ? stmt.UpdateStmt : "DeleteStmt" in stmt ? stmt.DeleteStmt : {};
        if (whereClause) return;
        const update = "UpdateStmt" in stmt;
        this.cost(relation, {
            clause: update ? "UPDATE without WHERE" : "DELETE without WHERE",
            does: update ? "rewrite" : "gone",
            ...(update ? { waits: "writes" as const } : {}),
            fix: update
                ? `-- some rows at a time, in statements that can be repeated: UPDATE ... WHERE ... IS NULL`
                : "-- an export of the tenant first (npm run tenants -- export), if its rows are wanted",
        });
    }

    private vacuum({ options, rels }: { options?: Node[]; rels?: Node[] }) {
        const full = (options ?? []).some((option) => "DefElem" in option && option.DefElem.defname === "full");
        if (!full) return;
        for (const one of rels ?? [])
            if ("VacuumRelation" in one)
                this.cost(one.VacuumRelation.relation, {
                    clause: "VACUUM FULL",
                    does: "rewrite",
                    waits: "reads and writes",
                    fix: "VACUUM;",
                });
    }

    private alter(relation: RangeVar | undefined, commands: readonly Node[] | undefined) {
        const { name: own } = tableOf(relation);
        if (this.written.has(own) && !this.alone)
            this.findings.push(
                finding("L21", "error", this.place, {
                    says: `changes ${own}, whose rows of this file are checked by a deferred foreign key when the transaction ends`,
                    later: `cannot ALTER TABLE "${own}" because it has pending trigger events`,
                    fix: "-- this statement in a file of its own, that sorts after this one",
                }),
            );
        for (const node of commands ?? []) if ("AlterTableCmd" in node) this.command(relation, node.AlterTableCmd);
    }

    private command(relation: RangeVar | undefined, { subtype, name: subject = "", def }: AlterTableCmd) {
        const table = name(tableOf(relation).name);
        const column = name(subject);
        const both = { waits: "reads and writes" } as const;
        if (subtype === "AT_AddColumn" && def && "ColumnDef" in def) this.addColumn(relation, def.ColumnDef);
        else if (subtype === "AT_AlterColumnType" && def && "ColumnDef" in def) {
            const type = typeOf(def.ColumnDef.typeName);
            this.cost(relation, {
                clause: `ALTER COLUMN ${column} TYPE ${type}`,
                does: "rewrite",
                ...both,
                fix: `ALTER TABLE ${table} ADD COLUMN ${name(`${subject}_new`)} ${type}; -- then fill it some rows at a time, and let the application change over. From varchar to text or to a longer varchar no row is written: then leave it as it is`,
            });
        } else if (subtype === "AT_SetNotNull")
            this.cost(relation, {
                clause: `ALTER COLUMN ${column} SET NOT NULL`,
                does: "scan",
                ...both,
                fix: `ALTER TABLE ${table} ADD CONSTRAINT ${name(`${subject}_not_null`)} CHECK (${column} IS NOT NULL) NOT VALID; -- and in the next file:\nALTER TABLE ${table} VALIDATE CONSTRAINT ${name(`${subject}_not_null`)};`,
            });
        else if (subtype === "AT_DropColumn") this.cost(relation, DROPPED(`DROP COLUMN ${column}`));
        else if (["AT_SetLogged", "AT_SetUnLogged", "AT_SetAccessMethod", "AT_SetTableSpace"].includes(subtype ?? ""))
            this.cost(relation, {
                clause: (subtype ?? "").replace(/^AT_Set/, "SET ").toUpperCase(),
                does: "rewrite",
                ...both,
                fix: "-- a new table beside it, filled some rows at a time",
            });
        else if (subtype === "AT_AddConstraint" && def && "Constraint" in def)
            this.constraint(relation, def.Constraint);
    }

    private addColumn(relation: RangeVar | undefined, column: ColumnDef) {
        const constraints = (column.constraints ?? []).flatMap((one) => ("Constraint" in one ? [one.Constraint] : []));
        const value = constraints.find(({ contype }) => contype === "CONSTR_DEFAULT")?.raw_expr;
        const called = functionsIn(value).find((one) => VOLATILE.test(one));
        const computed = constraints.find(
            ({ contype }) => contype === "CONSTR_GENERATED" || contype === "CONSTR_IDENTITY",
        );
        const own = name(column.colname ?? "");
        const type = typeOf(column.typeName);
        if (called !== undefined || computed || isSerial(column)) {
            const what = called !== undefined ? ` DEFAULT ${called}()` : computed ? " GENERATED" : "";
            const plain = `ALTER TABLE ${name(tableOf(relation).name)} ADD COLUMN ${own} ${type};`;
            this.cost(relation, {
                clause: `ADD COLUMN ${own} ${type}${what}`,
                does: "rewrite",
                waits: "reads and writes",
                fix: `${plain} -- then its default, and the old rows some at a time`,
            });
        }
        for (const constraint of constraints)
            if (constraint.contype !== "CONSTR_NOTNULL") this.constraint(relation, constraint, column.colname);
    }

    /** @param own the column that it stands at */
    private constraint(relation: RangeVar | undefined, constraint: Constraint, own?: string) {
        const { contype, skip_validation: later, indexname, conname, pktable } = constraint;
        this.deferrable(tableOf(relation).name, [constraint]);
        const said = conname === undefined ? "" : ` ${name(conname)}`;
        const table = name(tableOf(relation).name);
        // a new column without a value has nothing to be checked
        if (contype === "CONSTR_FOREIGN" && !later && own === undefined) {
            const valid = `ADD the key as NOT VALID, and in the next file: ALTER TABLE ${table} VALIDATE CONSTRAINT${said || " ..."};`;
            const told = {
                clause: `ADD FOREIGN KEY${said}`,
                does: "scan",
                waits: "writes",
                fix: `-- ${valid}`,
            } as const;
            this.cost(relation, told);
            this.cost(pktable, { ...told, clause: `REFERENCES of ${table}'s foreign key${said}` });
        } else if (contype === "CONSTR_CHECK" && !later && own === undefined)
            this.cost(relation, {
                clause: `ADD CHECK${said}`,
                does: "scan",
                waits: "reads and writes",
                fix: `-- ADD it as NOT VALID, and in the next file: ALTER TABLE ${table} VALIDATE CONSTRAINT${said || " ..."};`,
            });
        else if ((contype === "CONSTR_PRIMARY" || contype === "CONSTR_UNIQUE") && indexname === undefined) {
            const columns = own === undefined ? (constraint.keys ?? []).map(textOf) : [own];
            const index = name(conname ?? [tableOf(relation).name, ...columns, "key"].join("_"));
            const kind = contype === "CONSTR_PRIMARY" ? "PRIMARY KEY" : "UNIQUE";
            this.cost(relation, {
                clause: `ADD ${kind}${said}`,
                does: "index",
                waits: "reads and writes",
                fix: `${NO_TRANSACTION}\nCREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS ${index} ON ${table} (${names(columns)});\n-- and in the next file: ALTER TABLE ${table} ADD ${kind} USING INDEX ${index};`,
            });
        }
    }
}

const DROPPED = (clause: string) =>
    ({
        clause,
        does: "gone",
        fix: "-- first an application that does not name it any more, everywhere; then this",
    }) as const;

/**
 * @param template whether the file is a group's: then statements that a template can't hold are findings too
 */
export function costsOf(source: Source, sql: string, found: Statements, template: boolean): Costs {
    const split = statements(sql);
    const alone = saysNoTransaction(sql, split);
    const reader = new Reader(source, alone);
    reader.read(found);
    return {
        costs: reader.costs,
        findings: [...reader.findings, ...(template ? refusedStatements(source.path, sql) : [])],
    };
}

const LATER: Readonly<Record<Cost["does"], (who: string) => string>> = {
    rewrite: (who) => `no error: every row is written anew, and ${who} wait meanwhile`,
    scan: (who) => `no error: every row is read, and ${who} wait meanwhile`,
    index: (who) => `no error: the index is built, and ${who} wait meanwhile`,
    gone: () => "no error: what it removes can only come back from an export or a backup",
};

/** L20: what is slow, or for good, on a table that an earlier file made. */
export const slow = ({ place, table, clause, does, waits, fix }: Cost): Finding =>
    finding("L20", "warning", place, {
        says:
            waits === undefined
                ? `${clause} of ${table} can't be undone`
                : `${clause} makes ${waits} of ${table} wait as long as it ${{ rewrite: "writes every row anew", scan: "reads every row", index: "builds an index", gone: "" }[does]}`,
        later: LATER[does](waits ?? ""),
        fix,
    });
