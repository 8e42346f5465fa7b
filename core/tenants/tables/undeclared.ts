/** Models row and rls: tables that may hold tenants' rows and that the group does not declare, so that no export and no delete has them. */

import { given } from "../../sql/given.ts";
import { qualified } from "../../sql/quote.ts";
import type { GroupSpec } from "../group/spec.ts";

/** A table that may hold rows of tenants. */
export interface Undeclared {
    /** As the database writes it. */
    readonly name: string;
    /** Quoted, with its schema. */
    readonly full: string;
    /** The column that is called as the tenant column of declared tables, and its type. */
    readonly column: string | null;
    readonly type: string | null;
    /** The table that a foreign key of it references. */
    readonly references: string | null;
    /** Whether it is in the anchor's colocation group. */
    readonly colocated: boolean;
    /** What it is declared to be, when that is a table without a tenant column. */
    readonly declared: "reference" | "local" | null;
}

/**
 * Names of the columns that say whose a row is. The anchor's own is often `id`, which every table has; it counts where it
 * has a name of its own.
 */
export function tenantColumns(group: GroupSpec): string[] {
    const names = Object.entries(group.tables).flatMap(([table, { column }]) =>
        column === undefined || (table === group.anchor && column.toLowerCase() === "id") ? [] : [column],
    );
    return [...new Set(names)].sort();
}

/** SQL for a table's name as a program writes it, as a regclass or null. */
const regclassOf = (name: string) =>
    `to_regclass(CASE WHEN strpos(${name}, '.') > 0 THEN format('%I.%I', split_part(${name}, '.', 1), split_part(${name}, '.', 2)) ELSE format('public.%I', ${name}) END)::oid`;

/**
 * SQL expression of type jsonb for them: by the name of a column, the anchor's colocation group, or a foreign key to a table
 * that has tenants' rows, however far. Tables of other groups, whose tenants are others, are there for their foreign keys only.
 * `$1` is the group's name.
 */
export function undeclaredSql(group: GroupSpec, ledger: boolean): string {
    const columns = tenantColumns(group).map(given).join(", ");
    const declared = Object.entries(group.tables).map(
        ([name, { kind, column }]) =>
            `(${given(qualified(name))}, ${column === undefined ? "NULL" : given(column)}, ${given(kind)})`,
    );
    if (declared.length === 0) return "'[]'::jsonb";
    const ignored = (group.ignored ?? []).map((name) => given(qualified(name)));
    const anchor = group.anchor === undefined ? "NULL" : given(qualified(group.anchor));
    return `(WITH RECURSIVE declared AS MATERIALIZED (
        SELECT to_regclass(d.quoted)::oid AS oid, d.col, d.kind FROM (VALUES ${declared.join(", ")}) AS d (quoted, col, kind) WHERE to_regclass(d.quoted) IS NOT NULL),
    ignored AS MATERIALIZED (SELECT to_regclass(q)::oid AS oid FROM unnest(ARRAY[${ignored.join(", ")}]::text[]) q),
    theirs AS MATERIALIZED (${
        ledger
            ? `SELECT ${regclassOf("k.name")} AS oid FROM citus_as_code.tenant_group g, jsonb_object_keys(g.spec -> 'tables') AS k (name) WHERE g.grp <> $1`
            : "SELECT NULL::oid AS oid WHERE false"
    }),
    candidate AS MATERIALIZED (
        SELECT c.oid FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
         WHERE c.relkind IN ('r', 'p', 'm', 'f') AND NOT c.relispartition AND c.relpersistence <> 't'
           AND n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'citus', 'citus_internal', 'columnar', 'columnar_internal', 'citus_as_code')
           AND NOT EXISTS (SELECT FROM pg_dist_schema s WHERE s.schemaid = n.oid)
           AND NOT EXISTS (SELECT FROM declared d WHERE d.oid = c.oid AND d.col IS NOT NULL)
           AND NOT EXISTS (SELECT FROM ignored i WHERE i.oid = c.oid)
           AND NOT EXISTS (SELECT FROM pg_depend x WHERE x.classid = 'pg_class'::regclass AND x.objid = c.oid AND x.deptype = 'e')),
    found (oid, col, type, parent, colocated) AS (
        SELECT c.oid, a.attname::text, format_type(a.atttypid, NULL), NULL::oid, false
          FROM candidate c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attname = ANY (ARRAY[${columns}]::text[])
         WHERE NOT EXISTS (SELECT FROM theirs t WHERE t.oid = c.oid)
        UNION
        SELECT c.oid, NULL, NULL, NULL, true
          FROM candidate c JOIN pg_dist_partition p ON p.logicalrelid = c.oid AND p.partmethod = 'h' AND p.colocationid <> 0
          JOIN pg_dist_partition o ON o.colocationid = p.colocationid AND o.logicalrelid = to_regclass(${anchor})
         WHERE NOT EXISTS (SELECT FROM theirs t WHERE t.oid = c.oid)
        UNION
        SELECT k.conrelid, NULL, NULL, k.confrelid, false
          FROM (SELECT d.oid FROM declared d WHERE d.col IS NOT NULL UNION SELECT f.oid FROM found f) of
          JOIN pg_constraint k ON k.confrelid = of.oid AND k.contype = 'f' AND k.conparentid = 0
          JOIN candidate c ON c.oid = k.conrelid)
    SELECT coalesce(jsonb_agg(jsonb_build_object('name', f.oid::regclass::text, 'full', f.full, 'column', f.col, 'type', f.type,
                'references', f.parent::regclass::text, 'colocated', f.colocated,
                'declared', (SELECT d.kind FROM declared d WHERE d.oid = f.oid)) ORDER BY f.full), '[]')
      FROM (SELECT x.oid, format('%I.%I', n.nspname, c.relname) AS full, min(x.col) AS col, min(x.type) AS type, min(x.parent::text)::oid AS parent, bool_or(x.colocated) AS colocated
              FROM found x JOIN pg_class c ON c.oid = x.oid JOIN pg_namespace n ON n.oid = c.relnamespace
             WHERE NOT relation_is_a_known_shard(x.oid) GROUP BY 1, 2) f)`;
}

/** Why a table may hold rows of tenants. */
function because({ column, type, references, colocated, declared }: Undeclared): string {
    const as = declared === null ? "" : `declared ${declared}: true, `;
    if (column !== null) return `${as}has ${column} ${type}`;
    if (references !== null) return `${as}references ${references}`;
    return colocated ? "is colocated with the anchor" : as;
}

const MOST = 20;

/** Tables with the reasons, for a person. */
export function listUndeclared(found: readonly Undeclared[]): string {
    const told = found.slice(0, MOST).map((table) => `${table.name} (${because(table)})`);
    return `${told.join(", ")}${found.length > MOST ? ` and ${found.length - MOST} more` : ""}`;
}

/** What to write into `tables`. */
export function declareThem(group: GroupSpec, found: readonly Undeclared[]): string {
    const [first] = found;
    const name = first?.name ?? "";
    const column = first?.column ?? tenantColumns(group)[0] ?? "tenant_id";
    return `Put each into tables with the column that says whose a row is: "${name}": {"distributeBy": "${column}"}. For one that holds nothing of tenants, or that is to stay: "${name}": {"ignore": true}.`;
}

/** The note of a preview that deletes nobody. */
export const undeclaredNote = (group: GroupSpec, found: readonly Undeclared[]) =>
    `${found.length === 1 ? "1 table" : `${found.length} tables`} may hold rows of tenants, and tables does not say whose they are: ${listUndeclared(found)}. They have no policy of this group, and neither an export nor a delete has their rows.\n${declareThem(group, found)}`;

/** Why a tenant is not deleted. */
export const undeclaredRefusal = (group: GroupSpec, tenant: string, found: readonly Undeclared[]) =>
    `${tenant}: is to be deleted, and ${found.length === 1 ? "1 table" : `${found.length} tables`} may hold rows of it that would stay, in no export: ${listUndeclared(found)}. It is not deleted.\n${declareThem(group, found)}`;
