/** L5, L8, L10, L14: what a table may not be or have, and statements that it does not take. */
import { type Finding, finding, type Rule } from "../read/finding.ts";
import { type Change, hasShards, isCitus, name, nameOf, type Table } from "../read/model.ts";

/** L5: UNLOGGED. */
export const unlogged: Rule = ({ tables }) => {
    const found: Finding[] = [];
    for (const table of tables.values()) {
        if (!hasShards(table) || !table.unlogged) continue;
        found.push(
            finding("L5", "error", table.unlogged, {
                says: `${nameOf(table)} is UNLOGGED: it can be distributed, but a move of a shard fails half-way, and a crash empties it`,
                later: `cannot add relation "${table.name}_<shard>" to publication`,
                fix: `ALTER TABLE ${nameOf(table)} SET LOGGED;`,
            }),
        );
    }
    return found;
};

/** L5: access methods whose changes are not replicated. */
export const notReplicated: Rule = ({ tables }) => {
    const found: Finding[] = [];
    for (const table of tables.values()) {
        if (!hasShards(table) || !table.accessMethod) continue;
        found.push(
            finding("L5", "warning", table.accessMethod.place, {
                says: `${nameOf(table)} has access method ${table.accessMethod.name}: a shard of it can't move while it is written to, so pulumi up moves it only with citus:rebalance.transferMode block_writes, in which its writers wait`,
                later: "cannot insert into columnar table that is a part of a publication",
                fix: `SELECT alter_table_set_access_method('${nameOf(table).replaceAll("'", "''")}', 'heap');`,
            }),
        );
    }
    return found;
};

/** L8: triggers. */
export const triggers: Rule = ({ tables, living }) => {
    const found: Finding[] = [];
    for (const table of tables.values()) {
        if (!isCitus(table) || (living && table.made)) continue;
        for (const trigger of table.triggers)
            found.push(
                finding("L8", "error", trigger.place, {
                    says: `${nameOf(table)} has trigger ${trigger.name}, which would have to run on every node; do its work in the application or by a default`,
                    later: trigger.late
                        ? `triggers are not supported on ${table.kind === "reference" ? "reference" : "distributed"} tables`
                        : `cannot distribute relation "${table.name}" because it has triggers`,
                    fix: trigger.late
                        ? `-- leave trigger ${trigger.name} out`
                        : `DROP TRIGGER ${name(trigger.name)} ON ${nameOf(table)};`,
                }),
            );
    }
    return found;
};

const SERIALS: Readonly<Record<string, string>> = { integer: "bigint", smallint: "bigint" };

/** What Citus says to a statement, and what to write in its place. */
function refused(table: Table, { what, column = "", detail = "" }: Change): Pick<Finding, "says" | "later" | "fix"> {
    const to = nameOf(table);
    const of = name(column);
    const kind = table.kind === "reference" ? "reference" : "distributed";
    switch (what) {
        case "serial":
        case "identity": {
            const sequence = name(`${table.name}_${column}_seq`);
            const own = to.includes(".") ? `${name(table.schema)}.${sequence}` : sequence;
            return {
                says: `${to} is ${kind} already, and a column that brings its own sequence can't be added`,
                later: `cannot execute ADD COLUMN commands involving ${what === "serial" ? "serial pseudotypes" : "identity columns"} when metadata is synchronized to workers`,
                fix: `ALTER TABLE ${to} ADD COLUMN ${of} ${SERIALS[detail] ?? detail}; CREATE SEQUENCE ${own}; ALTER TABLE ${to} ALTER COLUMN ${of} SET DEFAULT nextval('${own}');`,
            };
        }
        case "check":
            return {
                says: `${to} is ${kind} already, and a column with a CHECK can't be added at once`,
                later: "cannot execute ADD COLUMN command with PRIMARY KEY, UNIQUE, FOREIGN and CHECK constraints",
                fix: `ALTER TABLE ${to} ADD COLUMN ${of} ${detail}; ALTER TABLE ${to} ADD CONSTRAINT ${name(`${table.name}_${column}_check`)} CHECK (/* the same */);`,
            };
        case "constraint":
            return {
                says: `${to} is ${kind} already, and a constraint is added by a statement of its own`,
                later: "cannot execute ADD CONSTRAINT command with other subcommands",
                fix: `-- one ALTER TABLE ${to} for each of them`,
            };
        case "triggers":
            return {
                says: `${to} has no triggers to turn on or off`,
                later: `triggers are not supported on ${kind} tables`,
                fix: "-- leave it out",
            };
        case "key type":
            return {
                says: `${to} is distributed by ${column}, which stays as it is: make a new table and copy`,
                later: "cannot execute ALTER TABLE command involving partition column",
                fix: "-- leave it out",
            };
        default:
            return {
                says: `Citus does not take ${detail} of a ${kind} table (${to})`,
                later: "alter table command is currently unsupported",
                fix:
                    detail === "SET STATISTICS"
                        ? `-- leave it out; CREATE STATISTICS on ${to} is taken`
                        : "-- leave it out",
            };
    }
}

/** L10: ALTER TABLE that Citus does not take. */
export const refusedChanges: Rule = ({ tables, changes }) => {
    const found: Finding[] = [];
    for (const change of changes) {
        const table = tables.get(change.table);
        if (!table || !isCitus(table) || ["default", "update", "rewrite"].includes(change.what)) continue;
        const told = refused(table, change);
        found.push(
            finding("L10", change.sure ? "error" : "warning", change.place, {
                ...told,
                says: change.sure ? told.says : `${told.says} (if the group exists before this file is run)`,
            }),
        );
    }
    for (const table of tables.values())
        for (const { name: parent, place } of table.parents) {
            const above = tables.get(parent);
            const of = above ? nameOf(above) : parent;
            if (!isCitus(table) && !(above && isCitus(above))) continue;
            found.push(
                finding("L10", "error", place, {
                    says: `${nameOf(table)} inherits from ${of}, and only partitions of a partitioned table can be distributed`,
                    later:
                        table.kind === "single"
                            ? "tables in a distributed schema cannot inherit or be inherited"
                            : isCitus(table)
                              ? `${table.name} is not a regular, foreign or partitioned table`
                              : "non-distributed tables cannot inherit distributed tables",
                    fix:
                        table.kind === "single"
                            ? `CREATE TABLE ${nameOf(table)} (LIKE ${of} INCLUDING ALL);`
                            : `ALTER TABLE ${nameOf(table)} NO INHERIT ${of};`,
                }),
            );
        }
    return found;
};

/** L14: rules. */
export const rewriteRules: Rule = ({ tables }) => {
    const found: Finding[] = [];
    for (const table of tables.values()) {
        if (!isCitus(table)) continue;
        for (const rule of table.rules)
            found.push(
                finding("L14", "error", rule.place, {
                    says: `${nameOf(table)} has rule ${rule.name}, which only the coordinator follows: the same statement does something else through a worker`,
                    later: "no error: through the coordinator the rule holds, through a worker it does not",
                    fix: `DROP RULE ${name(rule.name)} ON ${nameOf(table)};`,
                }),
            );
    }
    return found;
};
