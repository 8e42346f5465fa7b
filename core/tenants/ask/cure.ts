/** A lookup by another column than the tenant's key, and what makes it ask one shard. Pure. */
import type { Node } from "libpg-query";
import { identifier } from "../../sql/quote.ts";

/** Columns that a condition compares with one value, in its order. */
export function comparedColumns(where: Node | undefined): string[] {
    if (where === undefined) return [];
    if ("BoolExpr" in where) {
        const { boolop, args = [] } = where.BoolExpr;
        return boolop === "AND_EXPR" ? args.flatMap((arg) => comparedColumns(arg)) : [];
    }
    if (!("A_Expr" in where) || where.A_Expr.kind !== "AEXPR_OP") return [];
    const { name = [], lexpr, rexpr } = where.A_Expr;
    const [operator] = name;
    if (!operator || !("String" in operator) || operator.String.sval !== "=") return [];
    const sides = [lexpr, rexpr].map((side) => (side ? columnOf(side) : undefined));
    const [left, right] = sides;
    // a = b joins, and says nothing of a value
    return left !== undefined && right !== undefined ? [] : sides.filter((side) => side !== undefined);
}

function columnOf(node: Node): string | undefined {
    if (!("ColumnRef" in node)) return undefined;
    const last = node.ColumnRef.fields?.at(-1);
    return last && "String" in last ? last.String.sval : undefined;
}

export interface Lookup {
    /** As SQL names it. */
    readonly table: string;
    /** Its distribution column and that column's type. */
    readonly key: string;
    readonly keyType: string;
    /** The column that is looked up by, and its type. */
    readonly column: string;
    readonly columnType: string;
}

/** A name that PostgreSQL keeps whole. */
function short(name: string): string {
    let cut = name;
    while (Buffer.byteLength(cut) > 63) cut = cut.slice(0, -1);
    return cut;
}

/** SQL that can be pasted: a reference table from the column to the tenant. What the application does then is in comments. */
export function lookupTable({ table, key, keyType, column, columnType }: Lookup): string[] {
    const bare = (table.split(".").at(-1) ?? table).replace(/^"|"$/g, "").replaceAll('""', '"');
    const name = identifier(short(`${bare}_by_${column}`));
    const [k, c] = [identifier(key), identifier(column)];
    return [
        `CREATE TABLE ${name} (${c} ${columnType} NOT NULL, ${k} ${keyType} NOT NULL, PRIMARY KEY (${c}, ${k}));`,
        `SELECT create_reference_table('${name.replaceAll("'", "''")}');`,
        `INSERT INTO ${name} SELECT DISTINCT ${c}, ${k} FROM ${table} WHERE ${c} IS NOT NULL;`,
        `-- whatever writes ${c} of ${table} writes ${name} too, in the same transaction; that is a write on every node`,
        `-- then a lookup asks one copy and one shard:`,
        `--   SELECT ${k} FROM ${name} WHERE ${c} = $1;`,
        `--   SELECT * FROM ${table} WHERE ${k} = $2 AND ${c} = $1;`,
        `-- it has no policies: whoever may read it learns which tenant each ${column} belongs to, so grant it to who signs people in`,
    ];
}
