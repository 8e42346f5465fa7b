/** Which tables a template makes, without running it. */

import { statements } from "../../../sql/statements.ts";
import type { Model } from "../../group/spec.ts";
import type { Table } from "./model.ts";
import type { SqlFile } from "./source.ts";
import { readSql } from "./sql.ts";

/** Statements that may make tables, or make one a part of another, and do not show it. */
const OPAQUE =
    /^(DO|CALL|SELECT|WITH|EXECUTE|IMPORT|CREATE\s+SCHEMA)\b|^CREATE\s.*\bTABLE\b.*\bAS\s+(SELECT|WITH|TABLE|VALUES|EXECUTE)\b|\bATTACH\s+PARTITION\b/is;

/** Statements that bring tables with them, beside {@link OPAQUE}. */
const BRINGS = /^CREATE\s+EXTENSION\b/is;

/**
 * Tables whose columns these files show.
 * @returns undefined when only running them shows what they make
 */
async function tablesIn(
    files: readonly SqlFile[],
    model: Model,
    hidden: readonly RegExp[],
): Promise<Table[] | undefined> {
    if (files.some(({ sql }) => statements(sql).some(({ text }) => hidden.some((one) => one.test(text)))))
        return undefined;
    const { schema, findings } = await readSql(files, { model });
    return findings.length > 0 ? undefined : [...schema.tables.values()].filter(({ known }) => known);
}

/**
 * The group's tables as these files make them, by the names that a group declares them by, with the names of their columns.
 * @returns undefined when only running them shows that
 */
export async function groupTablesMade(
    files: readonly SqlFile[],
    model: Model,
): Promise<Readonly<Record<string, readonly string[]>> | undefined> {
    const tables = await tablesIn(files, model, [OPAQUE, BRINGS]);
    return (
        tables &&
        Object.fromEntries(
            tables.map(({ schema, name, columns }) => [
                schema === "public" || schema === "" ? name : `${schema}.${name}`,
                [...columns.keys()],
            ]),
        )
    );
}

/**
 * Names of the tables that are a tenant's once these files have been run in its schema or database.
 * @returns undefined when only running them shows that
 */
export async function tablesMade(files: readonly SqlFile[], model: Model): Promise<string[] | undefined> {
    return (await tablesIn(files, model, [OPAQUE]))?.flatMap((table) => {
        if (table.partition !== undefined) return [];
        if (model === "schema") return table.schema === "" ? [table.name] : [];
        return [table.schema === "public" ? table.name : `${table.schema}.${table.name}`];
    });
}
