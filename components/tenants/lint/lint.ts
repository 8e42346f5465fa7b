/** What will hurt a group's tables: in SQL files before they are run, and in a living database. */
import type { Session } from "../../citus/session.ts";
import { readTables } from "./catalog.ts";
import type { Finding } from "./finding.ts";
import type { Schema } from "./model.ts";
import { RULES } from "./rules.ts";
import { type Declared, readSql, type SqlFile } from "./sql.ts";

export type { Finding } from "./finding.ts";
export type { Declared, SqlFile } from "./sql.ts";

/** Runs every rule. Pure. */
export const check = (schema: Schema): Finding[] => RULES.flatMap((rule) => rule(schema));

/**
 * Checks SQL files without a database.
 * @param files in the order in which they are run
 * @param declared the group's tables; without them the files' own create_distributed_table calls say what is distributed
 */
export async function lintSql(files: readonly SqlFile[], declared: Declared = {}): Promise<Finding[]> {
    const { schema, findings } = await readSql(files, declared);
    const order = new Map(files.map(({ path }, i) => [path, i]));
    return [...findings, ...check(schema)].sort(
        (a, b) => (order.get(a.where) ?? 0) - (order.get(b.where) ?? 0) || (a.line ?? 0) - (b.line ?? 0),
    );
}

/** The same mistake is said once: to each group, and in many tenants' schemas. */
function once(findings: readonly (readonly [Finding, Schema])[]): Finding[] {
    const seen = new Map<string, { finding: Finding; others: Set<string> }>();
    for (const [finding, schema] of findings) {
        const table = schema.tables.get(finding.where);
        const key =
            table?.kind === "single"
                ? `${finding.rule} ${table.name} ${finding.says.replaceAll(table.schema, "")}`
                : `${finding.rule} ${finding.where} ${finding.says}`;
        const before = seen.get(key);
        if (!before) seen.set(key, { finding, others: new Set() });
        else if (before.finding.where !== finding.where) before.others.add(finding.where);
    }
    return [...seen.values()].map(({ finding, others: { size } }) =>
        size === 0
            ? finding
            : {
                  ...finding,
                  says: `${finding.says} (and the same in ${size} other ${size === 1 ? "schema" : "schemas"})`,
              },
    );
}

/**
 * Checks a living database, and changes nothing.
 * @param session to the coordinator
 * @param declared a group, or each of several, with tables that may be there and not distributed yet
 */
export async function lintDatabase(
    session: Session,
    declared: Declared | readonly Declared[] = {},
): Promise<Finding[]> {
    const groups = Array.isArray(declared) ? (declared as readonly Declared[]) : [declared as Declared];
    const schemas = await readTables(session, groups.length === 0 ? [{}] : groups);
    return once(schemas.flatMap((schema) => check(schema).map((finding) => [finding, schema] as const)));
}
