/** What will hurt a group's tables: in SQL files before they are run, and in a living database. */

import { readDangers } from "../../citus/guards.ts";
import { explainReference, readReferences } from "../../citus/references.ts";
import type { Session } from "../../reach/session.ts";
import { qualified } from "../../sql/quote.ts";
import { joinNames } from "../../util/joinNames.ts";
import { type Exposed, explainExposed, exposedSql } from "../isolation/exposure.ts";
import { readBounds } from "./read/bounds.ts";
import { readTables } from "./read/catalog.ts";
import type { Declared } from "./read/declared.ts";
import { type Finding, finding } from "./read/finding.ts";
import { isCitus, nameOf, type Schema, type Table } from "./read/model.ts";
import { readPassing } from "./read/passing.ts";
import type { SqlFile } from "./read/source.ts";
import { readSql } from "./read/sql.ts";
import { RULES } from "./rules.ts";

export type { Declared } from "./read/declared.ts";
export type { Finding } from "./read/finding.ts";
export type { SqlFile } from "./read/source.ts";

/** Says that hardly any rule was asked, where nobody says that a table of the files is to be distributed. */
function unasked({ tables, model }: Schema): Finding[] {
    const [first, ...more] = tables.values();
    if (!first) return [];
    if (model === "rls")
        return [first, ...more].some(({ column }) => column !== undefined) ? [] : [unkeyed(first, more)];
    if ((model !== undefined && model !== "row") || [first, ...more].some(isCitus)) return [];
    const names = [first, ...more].map(nameOf);
    return [
        finding("MODEL", "warning", first.place, {
            says: `none of these tables is known to be distributed: ${joinNames(names)}. So the rules for distributed tables were not applied`,
            later: "whatever Citus says once they are distributed",
            fix: `npm run tenants -- check --model schema, where the files are the template of tenants' schemas; or name the tables in a group of citus:tenantGroups, or SELECT create_distributed_table('${names[0]}', '...') in the files`,
        }),
    ];
}

/** The same in model rls, whose rules ask by which column policies choose rows. */
const unkeyed = (first: Table, more: readonly Table[]): Finding =>
    finding("MODEL", "warning", first.place, {
        says: `nobody says which column of these tables is the tenant's: ${joinNames([first, ...more].map(nameOf))}. So the rules for keys, indexes and policies were not applied`,
        later: "whatever those rules find once a group names the tables",
        fix: `name the tables in a group of citus:tenantGroups: "tables": {"${nameOf(first)}": {"distributeBy": "..."}}, then check again without --model`,
    });

/** Runs every rule. Pure. */
export const check = (schema: Schema): Finding[] => RULES.flatMap((rule) => rule(schema));

/**
 * Checks SQL files without a database.
 * @param files in the order in which they are run
 * @param declared the group's tables; without them the files' own create_distributed_table calls say what is distributed
 */
export async function lintSql(files: readonly SqlFile[], declared: Declared = {}): Promise<Finding[]> {
    const { schema, findings, costs } = await readSql(files, declared);
    const order = new Map(files.map(({ path }, i) => [path, i]));
    const bounds = [...(await readBounds(files, declared)), ...(await readPassing(files, declared))];
    return [...findings, ...unasked(schema), ...check(schema), ...costs, ...bounds].sort(
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

/** What only a look at every node shows, and no rule has said. */
async function betweenNodes(session: Session, found: readonly Finding[]): Promise<Finding[]> {
    const said = new Set(found.flatMap(({ rule, where }) => (rule === "L12" ? [where] : [])));
    return (await readDangers(session)).flatMap(({ table, rule, says, fix }): Finding[] => {
        const told = { severity: "error", where: table, says, fix } as const;
        if (rule === "policy-differs" && !said.has(table))
            return [
                {
                    ...told,
                    rule: "L12",
                    later: "no error: rows are shown or hidden depending on the node that they are on",
                },
            ];
        if (rule === "subscription")
            return [{ ...told, rule: "DATA", later: "no error: the rows arrive where no query sees them" }];
        return [];
    });
}

/** What passes the policies of groups by (L19), whose names say which roles are theirs. */
async function passing(session: Session, groups: readonly Declared[]): Promise<Finding[]> {
    const found: Finding[] = [];
    for (const { name, model, tables = {}, anchor, ignored = [] } of groups) {
        if (name === undefined || (model !== "rls" && model !== "row")) continue;
        const names = Object.keys(tables);
        const there = await session.query<{ name: string }>(
            "SELECT t.name FROM unnest($1::text[], $2::text[]) AS t (name, quoted) WHERE to_regclass(t.quoted) IS NOT NULL",
            [names, names.map(qualified)],
        );
        const group = { name, tables, ignored, ...(anchor === undefined ? {} : { anchor }) };
        const sql = exposedSql(
            group,
            there.map((table) => table.name),
        );
        const [row] = await session.query<{ exposed: Exposed[] }>(`SELECT ${sql} AS exposed`);
        for (const one of row?.exposed ?? []) {
            const [says = "", fix = ""] = explainExposed(one, model).split("\n", 2);
            const place = { where: one.object };
            found.push(
                finding("L19", "error", place, {
                    says: says.replace(/\.$/, ""),
                    later: "no error: every tenant's rows are shown",
                    fix,
                }),
            );
        }
    }
    return found;
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
    const found = once(schemas.flatMap((schema) => check(schema).map((finding) => [finding, schema] as const)));
    const references = (await readReferences(session)).flatMap((use) =>
        explainReference(use).map(
            (says): Finding => ({
                rule: "L23",
                severity: "warning",
                where: use.table,
                says,
                later: "no error: writes, new nodes and backups take longer with each node",
                fix: "-- declare it distributeBy its tenant's column, or keep in it what changes rarely",
            }),
        ),
    );
    return [...found, ...references, ...(await passing(session, groups)), ...(await betweenNodes(session, found))];
}
