/** L2, L3: foreign keys. */
import { type Finding, finding, type Rule } from "../read/finding.ts";
import { type ForeignKey, isCitus, name, nameOf, names, type Table } from "../read/model.ts";

const ACTIONS: Readonly<Record<string, string>> = {
    r: " ON DELETE RESTRICT",
    c: " ON DELETE CASCADE",
    n: " ON DELETE SET NULL",
    d: " ON DELETE SET DEFAULT",
};

const drop = (table: Table, key: ForeignKey) =>
    key.late ? "" : `ALTER TABLE ${nameOf(table)} DROP CONSTRAINT ${name(key.name)};`;

const add = (table: Table, key: ForeignKey, target: Table, columns: readonly string[], targets: readonly string[]) =>
    `ALTER TABLE ${nameOf(table)} ADD CONSTRAINT ${name(key.name)} FOREIGN KEY (${names(columns)}) REFERENCES ${nameOf(target)}${
        targets.length > 0 ? ` (${names(targets)})` : ""
    }`;

const joined = (...parts: readonly string[]) => parts.filter((part) => part !== "").join(" ");

/** Columns that a key points to. */
function pointedTo(key: ForeignKey, target: Table): readonly string[] {
    if (key.targetColumns.length > 0) return key.targetColumns;
    const primary = target.keys.find(({ kind }) => kind === "primary");
    return primary?.parts.flatMap(({ column }) => column ?? []) ?? [];
}

const FROM_COPIES =
    "cannot create foreign key constraint since foreign keys from reference tables and local tables to distributed tables are not supported";
const NOT_TOGETHER =
    "cannot create foreign key constraint since relations are not colocated or not referencing a reference table";
const NOT_SAME_PLACE =
    "Foreign keys are supported in two cases, either in between two colocated tables including partition column in the same ordinal in the both tables or from distributed to reference tables";

function wrong(table: Table, key: ForeignKey, target: Table): Pick<Finding, "says" | "later" | "fix"> | undefined {
    const both = `${nameOf(table)} to ${nameOf(target)}`;
    const gone = drop(table, key) || `-- leave foreign key ${key.name} out`;
    if (table.kind === "reference" || table.kind === "local") {
        if (target.kind !== "distributed" && target.kind !== "single") return undefined;
        const what = table.kind === "reference" ? "a reference table, which every node has" : "a local table";
        return {
            says: `foreign key ${key.name} goes from ${both}: from ${what} to a distributed table, of which each node has a part`,
            later: FROM_COPIES,
            fix: gone,
        };
    }
    if (target.kind === "reference") return undefined;
    if (target.kind === "local")
        return {
            says: `foreign key ${key.name} goes from ${both}: to a local table, which workers don't have`,
            later: `referenced table "${target.name}" must be a distributed table or a reference table`,
            fix: `SELECT create_reference_table('${nameOf(target)}');`,
        };
    if (table.group === undefined || table.group !== target.group) {
        const together =
            table.kind === "distributed" && target.kind === "distributed"
                ? key.late || table.column === undefined
                    ? `SELECT alter_distributed_table('${nameOf(table)}', colocate_with := '${nameOf(target)}');`
                    : `SELECT create_distributed_table('${nameOf(table)}', '${table.column}', colocate_with := '${nameOf(target)}');`
                : gone;
        return {
            says: `foreign key ${key.name} goes from ${both}, which are not colocated: the two rows are on different nodes`,
            later: NOT_TOGETHER,
            fix: together,
        };
    }
    const { column } = table;
    if (table.kind === "single" || column === undefined || target.column === undefined) return undefined;
    const targets = pointedTo(key, target);
    if (targets.length === 0) return undefined;
    if (key.columns.some((from, i) => from === column && targets[i] === target.column)) return undefined;
    const pairs = key.columns
        .map((from, i) => [from, targets[i] ?? ""] as const)
        .filter(([from, to]) => from !== column && to !== target.column);
    return {
        says: `foreign key ${key.name} goes from ${both} without their distribution columns ${column} and ${target.column} in the same place`,
        later: NOT_SAME_PLACE,
        fix: joined(
            drop(table, key),
            `${add(
                table,
                key,
                target,
                [column, ...pairs.map(([from]) => from)],
                [target.column, ...pairs.map(([, to]) => to)],
            )}${key.onDelete === "c" || key.onDelete === "r" ? ACTIONS[key.onDelete] : ""};`,
        ),
    };
}

/** L2: a foreign key whose two rows are not on one node. */
export const foreignKeysApart: Rule = ({ tables }) => {
    const found: Finding[] = [];
    for (const table of tables.values()) {
        if (table.kind === "unknown") continue;
        for (const key of table.foreignKeys) {
            const target = tables.get(key.target);
            if (!target || target.kind === "unknown" || (!isCitus(table) && !isCitus(target))) continue;
            const told = wrong(table, key, target);
            if (told) found.push(finding("L2", "error", key.place, told));
        }
    }
    return found;
};

/** L3: a foreign key that would change the distribution column. */
export const foreignKeyActions: Rule = ({ tables }) => {
    const found: Finding[] = [];
    for (const table of tables.values()) {
        const { column } = table;
        if (table.kind !== "distributed" || column === undefined) continue;
        for (const key of table.foreignKeys) {
            const target = tables.get(key.target);
            if (!key.columns.includes(column) || !target) continue;
            const deletes = key.onDelete === "n" || key.onDelete === "d";
            if (!deletes && !"cnd".includes(key.onUpdate)) continue;
            const kept = deletes ? "" : (ACTIONS[key.onDelete] ?? "");
            found.push(
                finding("L3", "error", key.place, {
                    says: `foreign key ${key.name} of ${nameOf(table)} would set ${column}, by which the table is distributed, ${
                        deletes
                            ? "when its row is deleted; let the application empty the other columns first"
                            : "when the other row's key changes"
                    }`,
                    later: deletes
                        ? "SET NULL or SET DEFAULT is not supported in ON DELETE operation when distribution key is included in the foreign key constraint"
                        : "SET NULL, SET DEFAULT or CASCADE is not supported in ON UPDATE operation when distribution key included in the foreign constraint.",
                    fix: joined(drop(table, key), `${add(table, key, target, key.columns, key.targetColumns)}${kept};`),
                }),
            );
        }
    }
    return found;
};
