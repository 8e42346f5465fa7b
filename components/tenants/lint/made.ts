/** Which tables a template makes, without running it. */
import type { Model } from "../spec.ts";
import { statements } from "../statements.ts";
import { readSql, type SqlFile } from "./sql.ts";

/** Statements that may make tables, or make one a part of another, and do not show it. */
const OPAQUE =
    /^(DO|CALL|SELECT|WITH|EXECUTE|IMPORT|CREATE\s+SCHEMA)\b|^CREATE\s.*\bTABLE\b.*\bAS\s+(SELECT|WITH|TABLE|VALUES|EXECUTE)\b|\bATTACH\s+PARTITION\b/is;

/**
 * Names of the tables that are a tenant's once these files have been run in its schema or database.
 * @returns undefined when only running them shows that
 */
export async function tablesMade(files: readonly SqlFile[], model: Model): Promise<string[] | undefined> {
    if (files.some(({ sql }) => statements(sql).some(({ text }) => OPAQUE.test(text)))) return undefined;
    const { schema, findings } = await readSql(files, { model });
    if (findings.length > 0) return undefined;
    return [...schema.tables.values()].flatMap((table) => {
        if (!table.known || table.partition !== undefined) return [];
        if (model === "schema") return table.schema === "" ? [table.name] : [];
        return [table.schema === "public" ? table.name : `${table.schema}.${table.name}`];
    });
}
