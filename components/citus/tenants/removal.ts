/** Tenants under `delete`: fenced, exported, deleted, and shown to be gone on every node. */

import { existsSync } from "node:fs";
import type { Context, Facet, Planned, Step } from "../../tenants/facet.ts";
import { own } from "../../tenants/own.ts";
import { type GroupSpec, tenantRole } from "../../tenants/spec.ts";
import { identifier, literal, qualified } from "../quote.ts";
import { said, transaction } from "./batch.ts";
import { changedSince } from "./change.ts";
import { exportTenant } from "./export.ts";
import { endSessions, privileges } from "./privileges.ts";
import { settingsFor } from "./template.ts";

interface FoundTenant {
    /** In the ledger. */
    readonly state: string | null;
    readonly movedTo: string | null;
    /** Whether it was deleted before. */
    readonly tombstone: boolean;
    /** The tenant that its data is on the way to, while a change of model is not done. */
    readonly taken: string | null;
    /** Model schema: whether there is one of its name. */
    readonly schema: boolean;
}

export interface FoundRemoval {
    readonly tenants: Readonly<Record<string, FoundTenant>>;
    /** Models row and rls: keys under `delete` that have rows, by table. */
    readonly rows: Readonly<Record<string, readonly string[]>>;
}

const TRIES = 3;

const hasRows = ({ model }: GroupSpec) => model === "row" || model === "rls";

/** Tables with the column that says whose a row is. */
const tenantTables = (group: GroupSpec) =>
    Object.entries(group.tables).flatMap(([table, { column }]) => (column === undefined ? [] : [{ table, column }]));

function planRemoval(group: GroupSpec, { tenants, rows }: FoundRemoval): Planned {
    const steps: Step[] = [];
    const refusals: string[] = [];
    const notes: string[] = [];
    for (const tenant of group.delete) {
        const found = own(tenants, tenant);
        const state = found?.state ?? null;
        const tables = Object.keys(rows).filter((table) => rows[table]?.includes(tenant));
        if (state === null && group.model === "schema" && found?.schema) {
            refusals.push(
                `${tenant}: is under delete, and its schema was not made by group ${group.name}. It is not deleted: take ${tenant} out of delete, and drop the schema yourself if it is not needed.`,
            );
        } else if (state === null && tables.length === 0) {
            if (!found?.tombstone) notes.push(`${tenant}: is under delete, and there is nothing of it`);
        } else if (found?.taken != null) {
            refusals.push(
                `${tenant}: is under delete, and its data is on its way to ${found.taken}. It is not deleted: take ${tenant} out of delete and run pulumi up, which ends the change; the old copy can be deleted after that.`,
            );
        } else if (state === null && found?.tombstone) {
            refusals.push(
                `${tenant}: was deleted, and there are rows of it again (${tables.join(", ")}). They are not deleted by a name that stayed under delete: take ${tenant} out of it. To delete it all the same, put it into tenants, run pulumi up, and put it under delete then.`,
            );
        } else {
            const what =
                state === "deleting"
                    ? "go on deleting it, and prove that nothing is left"
                    : found?.movedTo != null
                      ? `export its old copy (its data is in ${found.movedTo}), delete it, and prove that nothing is left`
                      : "export it, delete it, and prove that nothing is left";
            steps.push({ kind: "removal.delete", tenant, text: `${tenant}: ${what}` });
        }
    }
    return { steps, refusals, notes };
}

/** SQL for the tenant that another one's data is on the way to. */
const TAKEN = (group: string, tenant: string) =>
    `(SELECT c.grp || '/' || c.tenant FROM citus_as_code.tenant_change c
       WHERE c.from_grp = ${group} AND c.from_tenant = ${tenant} AND c.phase <> 'done' LIMIT 1)`;

/** Count and checksum by table. */
type Prints = Readonly<Record<string, { readonly count: string; readonly sum: string }>>;

interface Detail {
    readonly was?: string;
    readonly moved_to?: string;
    readonly exported?: string | null;
    readonly prints?: Prints;
    /** Colocation group of its schema. */
    readonly colocation?: number;
}

/** One tenant on its way out. */
interface Leaving {
    readonly context: Context;
    readonly tenant: string;
    readonly role: string;
    readonly node: string;
}

const keyOf = ({ context, tenant }: Leaving) => [context.group.name, tenant];

async function detailOf(leaving: Leaving): Promise<Detail> {
    const [row] = await leaving.context.session.query<{ detail: Detail }>(
        "SELECT detail FROM citus_as_code.tenant WHERE grp = $1 AND tenant = $2",
        keyOf(leaving),
    );
    return row?.detail ?? {};
}

async function record(leaving: Leaving, detail: Detail): Promise<void> {
    await leaving.context.session.query(
        "UPDATE citus_as_code.tenant SET detail = detail || $3::jsonb WHERE grp = $1 AND tenant = $2",
        [...keyOf(leaving), JSON.stringify(detail)],
    );
}

/** Writes down that it is being deleted: from here on it is nobody's but ours. */
async function begin(context: Context, tenant: string): Promise<Leaving> {
    const { group, session } = context;
    const [taken] = await session.query<{ by: string | null }>(`SELECT ${TAKEN("$1", "$2")} AS by`, [
        group.name,
        tenant,
    ]);
    if (taken?.by != null)
        throw new Error(
            `its data is on its way to ${taken.by}: it is deleted after that, and nothing of it was touched`,
        );
    const changed = await changedSince(context, group, tenant);
    if (changed !== undefined)
        throw new Error(
            `${changed}\nIt is not deleted. Bring over what is new, or, if it is not needed, write that down: ` +
                `UPDATE citus_as_code.tenant SET state = 'frozen' WHERE grp = ${literal(group.name)} AND tenant = ${literal(tenant)}; then run pulumi up again.`,
        );
    const [row] = await session.query<{ node: string | null }>(
        `INSERT INTO citus_as_code.tenant AS t (grp, tenant, model, state) VALUES ($1, $2, $3, 'deleting')
             ON CONFLICT (grp, tenant) DO UPDATE SET state = 'deleting', since = now(),
                detail = CASE t.state WHEN 'deleting' THEN t.detail ELSE t.detail - 'exported' - 'prints' || jsonb_build_object('was', t.state) END
         RETURNING node`,
        [group.name, tenant, group.model],
    );
    const [colocation] = await session.query<{ id: number }>(
        `SELECT colocationid AS id FROM pg_dist_schema WHERE schemaid = to_regnamespace(quote_ident($1)) AND $2 = 'schema'`,
        [tenant, group.model],
    );
    const leaving = { context, tenant, role: tenantRole(group.name, tenant), node: row?.node ?? "coordinator" };
    if (colocation) await record(leaving, { colocation: colocation.id });
    return leaving;
}

/** Whether the role is there and this group's own. */
async function ownRole({ context, role }: Leaving): Promise<boolean> {
    const [row] = await context.session.query<{ own: boolean }>(
        "SELECT starts_with(shobj_description(oid, 'pg_authid'), $2) AS own FROM pg_authid WHERE rolname = $1",
        [role, `citus_as_code ${context.group.name} `],
    );
    return row?.own === true;
}

async function hasSchema({ context, tenant }: Leaving): Promise<boolean> {
    const [row] = await context.session.query<{ ok: boolean }>(
        "SELECT to_regnamespace(quote_ident($1)) IS NOT NULL AS ok",
        [tenant],
    );
    return row?.ok === true;
}

/** A server's own database, with no Citus in it: nothing is handed on to other nodes. */
const serverOf = ({ context, node }: Leaving) => context.open(node, "postgres");

async function hasDatabase(leaving: Leaving): Promise<boolean> {
    const { context, tenant } = leaving;
    const server = await serverOf(leaving);
    const [row] = await server.query<{ comment: string | null }>(
        "SELECT shobj_description(oid, 'pg_database') AS comment FROM pg_database WHERE datname = $1",
        [tenant],
    );
    if (!row) return false;
    const halfMade = row.comment === null && (await detailOf(leaving)).was === "creating";
    if (!halfMade && !row.comment?.startsWith(`citus_as_code: ${context.group.name}/${tenant},`))
        throw new Error(
            `${tenant}: the database of that name on ${leaving.node} is not the one that was made for it: its comment is ${row.comment ?? "empty"}.\n` +
                "It is not deleted. Rename it, then run pulumi up again.",
        );
    return true;
}

/** Its role can't come in any more, and what it was doing has ended. */
async function fence(leaving: Leaving): Promise<void> {
    const { context, tenant, role } = leaving;
    const { group, session } = context;
    if (await ownRole(leaving)) {
        await session.query(`ALTER ROLE ${identifier(role)} NOLOGIN`);
        if (group.model === "schema" && (await hasSchema(leaving)))
            await transaction(session, privileges(tenant, role, "fenced"));
        await session.query(endSessions(role));
    }
    if (group.model === "database" && (await hasDatabase(leaving))) {
        const server = await serverOf(leaving);
        await server.query(`ALTER DATABASE ${identifier(tenant)} CONNECTION LIMIT 0`);
        await server.query(
            `SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity a JOIN pg_roles r ON r.oid = a.usesysid
              WHERE datname = $1 AND NOT rolsuper`,
            [tenant],
        );
    }
}

const printOf = (from: string) =>
    `SELECT count(*)::text AS count, coalesce(sum(hashtextextended(t::text, 0)::numeric), 0)::text AS sum FROM ${from} t`;

/** Those of the tables that are there. */
async function tablesOf({ context }: Leaving): Promise<{ table: string; column: string }[]> {
    const tables = tenantTables(context.group);
    const there = await context.session.query<{ name: string }>(
        "SELECT t.name FROM unnest($1::text[], $2::text[]) AS t (name, quoted) WHERE to_regclass(t.quoted) IS NOT NULL",
        [tables.map(({ table }) => table), tables.map(({ table }) => qualified(table))],
    );
    return tables.filter(({ table }) => there.some(({ name }) => name === table));
}

async function printRows(leaving: Leaving): Promise<Prints> {
    const prints: Record<string, { count: string; sum: string }> = {};
    for (const { table, column } of await tablesOf(leaving)) {
        const [row] = await leaving.context.session.query<{ count: string; sum: string }>(
            printOf(`(SELECT * FROM ${qualified(table)} WHERE ${identifier(column)} = ${literal(leaving.tenant)})`),
        );
        if (row) prints[table] = row;
    }
    return prints;
}

/** Whether there is anything that an export could be made of. */
async function isThere(leaving: Leaving, prints: Prints): Promise<boolean> {
    const { model } = leaving.context.group;
    if (model === "schema") return hasSchema(leaving);
    if (model === "database") return hasDatabase(leaving);
    return Object.values(prints).some(({ count }) => count !== "0");
}

/** Writes a tenant's data into a file; its path. */
export type Export = (context: Context, tenant: string) => Promise<string>;

async function exportOnce(leaving: Leaving, toFile: Export): Promise<void> {
    const { context, tenant } = leaving;
    // rows can still be written by the application's role: what is deleted is compared with this
    const prints = hasRows(context.group) ? await printRows(leaving) : {};
    const there = await isThere(leaving, prints);
    const exported = there ? await toFile(context, tenant) : ((await detailOf(leaving)).exported ?? null);
    await record(leaving, { exported, prints });
}

/** Tables so that each comes before those that it references. */
export function referencingFirst(
    tables: readonly string[],
    references: readonly { readonly from: string; readonly to: string }[],
): string[] {
    const result: string[] = [];
    let left = [...tables];
    while (left.length > 0) {
        const free = left.filter(
            (table) => !references.some(({ from, to }) => to === table && from !== table && left.includes(from)),
        );
        // a circle: any order is as good, and PostgreSQL says what stands in the way
        const next = free.length > 0 ? free : left;
        result.push(...next);
        left = left.filter((table) => !next.includes(table));
    }
    return result;
}

/** @throws Error when deleting rows would delete those of a table that is not the group's */
async function deletionOrder(leaving: Leaving): Promise<{ table: string; column: string }[]> {
    const { context, tenant } = leaving;
    const tables = await tablesOf(leaving);
    const rows = await context.session.query<{ from: string | null; other: string; to: string; cascades: boolean }>(
        `WITH t AS (SELECT name, to_regclass(quoted)::oid AS oid FROM unnest($1::text[], $2::text[]) AS x (name, quoted))
         SELECT f.name AS from, k.conrelid::regclass::text AS other, t.name AS to, k.confdeltype IN ('c', 'n', 'd') AS cascades
           FROM pg_constraint k JOIN t ON t.oid = k.confrelid LEFT JOIN t f ON f.oid = k.conrelid
          WHERE k.contype = 'f' AND k.conparentid = 0`,
        [tables.map(({ table }) => table), tables.map(({ table }) => qualified(table))],
    );
    const outside = rows.filter(({ from, cascades }) => from === null && cascades);
    if (outside.length > 0)
        throw new Error(
            `${tenant}: deleting it would change rows of ${[...new Set(outside.map(({ other }) => other))].join(", ")}, by foreign keys, which the group's tables do not name and no export has.\n` +
                "Nothing was deleted. Write them under tables, then run pulumi up again.",
        );
    const order = referencingFirst(
        tables.map(({ table }) => table),
        rows.flatMap(({ from, to }) => (from === null ? [] : [{ from, to }])),
    );
    return order.flatMap((name) => tables.filter(({ table }) => table === name));
}

const samePrints = (a: Prints, b: Prints) =>
    Object.keys({ ...a, ...b }).every((name) => a[name]?.count === b[name]?.count && a[name]?.sum === b[name]?.sum);

/** Deletes exactly what was exported. @returns undefined when rows have changed since */
async function deleteRows(leaving: Leaving, exported: Prints): Promise<Prints | undefined> {
    const { session, group } = leaving.context;
    const deleted: Record<string, { count: string; sum: string }> = {};
    const order = await deletionOrder(leaving);
    try {
        await session.query("BEGIN");
        await session.query(`SET LOCAL lock_timeout = ${group.lockTimeout}`);
        for (const { table, column } of order) {
            const [row] = await session.query<{ count: string; sum: string }>(
                `WITH d AS (DELETE FROM ${qualified(table)} AS r WHERE ${identifier(column)} = ${literal(leaving.tenant)} RETURNING r.*) ${printOf("d")}`,
            );
            if (row) deleted[table] = row;
        }
        const same = samePrints(exported, deleted);
        await session.query(same ? "COMMIT" : "ROLLBACK");
        return same ? deleted : undefined;
    } catch (error) {
        await session.query("ROLLBACK").catch(() => undefined);
        throw error;
    }
}

async function deleteAllRows(leaving: Leaving, toFile: Export): Promise<void> {
    for (let tries = 1; ; tries++) {
        if (await deleteRows(leaving, (await detailOf(leaving)).prints ?? {})) return;
        if (tries >= TRIES)
            throw new Error(
                `its rows change while it is exported, ${TRIES} times. Keep the application from writing to it, then run pulumi up again.`,
            );
        await exportOnce(leaving, toFile);
    }
}

async function dropData(leaving: Leaving, toFile: Export): Promise<void> {
    const { context, tenant } = leaving;
    const { group, session } = context;
    if (hasRows(group)) {
        await deleteAllRows(leaving, toFile);
    } else if (group.model === "schema") {
        await transaction(
            session,
            `${settingsFor("public", group.lockTimeout)}\nSET LOCAL client_min_messages = warning;\nDROP SCHEMA IF EXISTS ${identifier(tenant)} CASCADE`,
        );
        await session.query("CALL citus_cleanup_orphaned_resources()");
    } else if (await hasDatabase(leaving)) {
        const server = await serverOf(leaving);
        await server.query(`DROP DATABASE IF EXISTS ${identifier(tenant)} WITH (FORCE)`);
    }
}

/** Its grants go with it; what it owns does not, as no export has that. */
async function dropRole(leaving: Leaving): Promise<void> {
    const { context, role } = leaving;
    if (!(await ownRole(leaving))) return;
    const owned = await context.session.query<{ node: string; n: string }>(
        `SELECT n.nodename AS node, r.result AS n
           FROM run_command_on_all_nodes(${literal(
               `SELECT count(*) FROM pg_shdepend WHERE refclassid = 'pg_authid'::regclass AND deptype = 'o' AND refobjid = (SELECT oid FROM pg_authid WHERE rolname = ${literal(role)})`,
           )}) r JOIN pg_dist_node n USING (nodeid) WHERE NOT r.success OR r.result <> '0'`,
    );
    if (owned.length > 0)
        throw new Error(
            `role ${role} owns objects on ${owned.map(({ node, n }) => `${node} (${n})`).join(", ")}, which no export has. ` +
                `REASSIGN OWNED BY ${identifier(role)} TO postgres; there keeps them; then run pulumi up again.`,
        );
    await transaction(context.session, `DROP OWNED BY ${identifier(role)};\nDROP ROLE ${identifier(role)}`);
}

/** What is still there, anywhere. */
async function leftOf(leaving: Leaving): Promise<string[]> {
    const { context, tenant, role } = leaving;
    const { group, session } = context;
    const left: string[] = [];
    if (hasRows(group))
        for (const [table, { count }] of Object.entries(await printRows(leaving)))
            if (count !== "0") left.push(`${count} rows in ${table}`);
    const { colocation } = await detailOf(leaving);
    const own = literal(`citus_as_code ${group.name} `);
    const checks = [
        `SELECT 'role ' || rolname AS what FROM pg_authid WHERE rolname = ${literal(role)} AND starts_with(shobj_description(oid, 'pg_authid'), ${own})`,
        ...(group.model === "database"
            ? [`SELECT 'database ' || datname FROM pg_database WHERE datname = ${literal(tenant)}`]
            : []),
        ...(group.model === "schema"
            ? [
                  `SELECT 'schema ' || nspname FROM pg_namespace WHERE nspname = ${literal(tenant)}`,
                  `SELECT 'pg_dist_schema row of ' || schemaid FROM pg_dist_schema s WHERE NOT EXISTS (SELECT FROM pg_namespace n WHERE n.oid = s.schemaid)${colocation === undefined ? "" : ` OR colocationid = ${colocation}`}`,
                  ...(colocation === undefined
                      ? []
                      : [
                            `SELECT 'colocation group ' || colocationid FROM pg_dist_colocation WHERE colocationid = ${colocation}`,
                        ]),
              ]
            : []),
    ].join(" UNION ALL ");
    const nodes = await session.query<{ node: string; success: boolean; result: string }>(
        `SELECT n.nodename AS node, r.success, r.result
           FROM run_command_on_all_nodes(${literal(`SELECT coalesce(string_agg(what, ', '), '') FROM (${checks}) c`)}) r JOIN pg_dist_node n USING (nodeid)`,
    );
    for (const { node, success, result } of nodes)
        if (!success || result !== "")
            left.push(success ? `${result} on ${node}` : `${node} could not be asked: ${result}`);
    if (group.model === "schema") {
        const cleanup = await session.query<{ name: string }>(
            "SELECT object_name AS name FROM pg_dist_cleanup WHERE starts_with(object_name, $1 || '.') OR starts_with(object_name, quote_ident($1) || '.')",
            [tenant],
        );
        left.push(...cleanup.map(({ name }) => `${name}, still to be cleaned up`));
    }
    return left;
}

/** The ledger forgets it, but for that it was there. */
async function bury(leaving: Leaving, detail: Detail): Promise<void> {
    const { context, tenant } = leaving;
    const key = [context.group.name, tenant].map(literal).join(", ");
    const moved = detail.moved_to === undefined ? "NULL" : literal(detail.moved_to);
    await transaction(
        context.session,
        [
            `INSERT INTO citus_as_code.tenant_tombstone (grp, tenant, model, moved_to) VALUES (${key}, ${literal(context.group.model)}, ${moved})
                 ON CONFLICT (grp, tenant) DO UPDATE SET model = excluded.model, ended = now(), moved_to = excluded.moved_to;`,
            ...["tenant_pin", "tenant_migration", "tenant_change", "tenant"].map(
                (table) => `DELETE FROM citus_as_code.${table} WHERE (grp, tenant) = (${key});`,
            ),
        ].join("\n"),
    );
}

async function removeTenant(context: Context, tenant: string, toFile: Export): Promise<void> {
    const leaving = await begin(context, tenant);
    await fence(leaving);
    const { exported } = await detailOf(leaving);
    // a run on another machine may have made it: what is still there is exported here, too
    if (exported === undefined || (exported !== null && !existsSync(exported))) await exportOnce(leaving, toFile);
    await dropData(leaving, toFile);
    await dropRole(leaving);
    const left = await leftOf(leaving);
    if (left.length > 0) throw new Error(`it was deleted, and still there is:\n  ${left.join("\n  ")}`);
    const detail = await detailOf(leaving);
    await bury(leaving, detail);
    const rows = Object.entries(detail.prints ?? {}).map(([table, { count }]) => `${table} ${count}`);
    context.note(
        `${tenant}: deleted, and nothing of it is left on any node${rows.length > 0 ? ` (rows: ${rows.join(", ")})` : ""}; ` +
            (detail.exported == null ? "there was nothing to export" : `its export is ${detail.exported}`),
    );
}

const removeWith =
    (toFile: Export) =>
    async (context: Context, steps: readonly Step[]): Promise<void> => {
        for (const [i, step] of steps.entries()) {
            context.alive();
            context.progress(`${step.text} (${i + 1} of ${steps.length})`);
            const tenant = step.tenant ?? "";
            try {
                await removeTenant(context, tenant, toFile);
            } catch (error) {
                const detail = await detailOf({ context, tenant, role: "", node: "" }).catch((): Detail => ({}));
                throw new Error(
                    `${tenant}: could not be deleted\n${said(error)}\n` +
                        `${detail.exported ? `Its export is ${detail.exported}. ` : ""}${i} of ${steps.length} are gone. Safe to repeat: pulumi up goes on from here.`,
                );
            }
        }
    };

/** In a query of its own, so that Citus plans it alone, and in hex, which XML leaves as it is; keys of another type have no rows. */
const keysWithRows = (table: string, column: string, keys: string) =>
    `coalesce((SELECT convert_from(decode((xpath('//x/text()', query_to_xml(format(
        'SELECT encode(convert_to(coalesce(jsonb_agg(DISTINCT %1$I::text), ''[]'')::text, ''UTF8''), ''hex'') AS x FROM %2$s WHERE %1$I = ANY (%3$L::%4$s[])',
        a.attname, ${literal(qualified(table))}, (SELECT coalesce(array_agg(k.key), '{}') FROM unnest(ARRAY[${keys}]::text[]) AS k (key) WHERE pg_input_is_valid(k.key, y.type)), y.type),
        true, false, '')))[1]::text, 'hex'), 'UTF8')::jsonb
       FROM pg_attribute a, LATERAL (SELECT CASE a.atttypid WHEN 'bpchar'::regtype THEN 'bpchar' ELSE format_type(a.atttypid, NULL) END AS type) y
      WHERE a.attrelid = ${literal(qualified(table))}::regclass AND a.attname = ${literal(column)} AND NOT a.attisdropped), '[]')`;

/** Deletion with an export and a proof. @param toFile how the export is made */
export const removalWith = (toFile: Export): Facet<FoundRemoval> => ({
    name: "removal",
    none: { tenants: {}, rows: {} },
    sql: (group, { ledger, tables }) => {
        if (group.delete.length === 0) return undefined;
        const keys = group.delete.map(literal).join(", ");
        const rows = hasRows(group)
            ? tenantTables(group)
                  .filter(({ table }) => tables.includes(table))
                  .map(({ table, column }) => `${literal(table)}, ${keysWithRows(table, column, keys)}`)
            : [];
        return `SELECT jsonb_build_object(
            'rows', jsonb_build_object(${rows.join(",\n                ")}),
            'tenants', (SELECT jsonb_object_agg(d.tenant, jsonb_build_object(
                'state', ${ledger ? "l.state" : "NULL"}, 'movedTo', ${ledger ? "l.detail ->> 'moved_to'" : "NULL"},
                'tombstone', ${ledger ? "EXISTS (SELECT FROM citus_as_code.tenant_tombstone t WHERE t.grp = $1 AND t.tenant = d.tenant)" : "false"},
                'taken', ${ledger ? TAKEN("$1", "d.tenant") : "NULL"},
                'schema', to_regnamespace(quote_ident(d.tenant)) IS NOT NULL))
              FROM jsonb_array_elements_text($2::jsonb -> 'delete') AS d (tenant)
              ${ledger ? "LEFT JOIN citus_as_code.tenant l ON l.grp = $1 AND l.tenant = d.tenant" : ""}))`;
    },
    plan: planRemoval,
    run: { delete: removeWith(toFile) },
});

export const removal = removalWith(exportTenant);
