/** L22, L23: what can't be changed later, or only by copying every row. */
import { poorKey } from "../../ask/keyJudge.ts";
import { type Finding, finding, type Rule } from "../read/finding.ts";
import { isCitus, name, nameOf } from "../read/model.ts";

/** L22: tables with identity columns, which Citus itself never rewrites. */
export const rewrites: Rule = ({ tables, changes }) => {
    const found: Finding[] = [];
    for (const { table: key, what, column = "", detail = "", place, sure } of changes) {
        const table = tables.get(key);
        if (!table || what !== "rewrite") continue;
        found.push(
            finding("L22", sure ? "error" : "warning", place, {
                says: `${nameOf(table)} has the identity column ${column}, and Citus rewrites no such table`,
                later: "cannot complete operation on a table with identity column",
                fix: `-- leave ${detail} out, and declare the table's column, shards or kind in tables of its group: pulumi up makes it anew beside the old one`,
            }),
        );
    }
    const partitioned = new Set(
        [...tables.values()].flatMap(({ partition }) => (partition === undefined ? [] : [partition])),
    );
    for (const [key, table] of tables) {
        const [column] = [...table.columns.values()].filter(({ identity }) => identity);
        const why = partitioned.has(key)
            ? "is partitioned"
            : table.accessMethod === undefined
              ? undefined
              : `has access method ${table.accessMethod.name}`;
        if (!isCitus(table) || column === undefined || why === undefined || table.partition !== undefined) continue;
        found.push(
            finding("L22", "warning", column.place, {
                says: `${nameOf(table)} has the identity column ${column.name} and ${why}: neither Citus nor pulumi up can change its shards, its key or its kind later`,
                later: "cannot complete operation on a table with identity column",
                fix: `-- write ${name(column.name)} bigint DEFAULT nextval('...') in the place of the identity`,
            }),
        );
    }
    return found;
};

/** L23: distribution columns that are no tenants, by their type or name. */
export const poorKeys: Rule = ({ tables, enums = new Set() }) => {
    const found: Finding[] = [];
    for (const table of tables.values()) {
        const column = table.kind === "distributed" ? table.columns.get(table.column ?? "") : undefined;
        const why = column && poorKey(column.name, column.type, enums.has(column.type));
        if (!column || why === undefined) continue;
        found.push(
            finding("L23", "warning", column.place, {
                says: `${nameOf(table)} is distributed by ${column.name} (${column.type}), which makes a poor key: ${why}`,
                later: "no error: nodes stay idle while others do all the work",
                fix: "-- distribute it by /* the tenant, which every statement names */; npm run tenants -- key says what rows and statements say of a key",
            }),
        );
    }
    return found;
};
