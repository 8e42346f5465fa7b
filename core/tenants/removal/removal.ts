/** Tenants whose state is `deleted`: fenced, exported, deleted, and shown to be gone on every node. */

import { given } from "../../sql/given.ts";
import { literal, qualified } from "../../sql/quote.ts";
import type { DatabasesFound } from "../databases/databaseFound.ts";
import { exportTenant } from "../exports/export.ts";
import { databaseMessage } from "../group/batch.ts";
import type { Context, Facet, Step } from "../group/facet.ts";
import { outsideSql } from "../isolation/outside.ts";
import { undeclaredSql } from "../tables/undeclared.ts";
import { deleteData, type Export } from "./deleteData.ts";
import { type Detail, detailOf, TAKEN_BY_SQL } from "./leaving.ts";
import { dropRole, leftOf, writeTombstone } from "./prove.ts";
import { countKeys, widthOf } from "./removalFound.ts";
import { type FoundRemoval, hasRows, planRemoval, tenantTables } from "./removalPlan.ts";
import { REFERENCES } from "./removeReferences.ts";
import { DELETE_RATE } from "./removeRows.ts";
import { begin, fence } from "./shutOut.ts";

/** @param kept what stays outside, as the plan found it */
async function removeTenant(context: Context, tenant: string, toFile: Export, kept?: string): Promise<void> {
    const leaving = await begin(context, tenant);
    await fence(leaving);
    await deleteData(leaving, toFile);
    // shards that have moved or were split are on their old nodes for a while
    if (context.group.model !== "database") await context.session.query("CALL citus_cleanup_orphaned_resources()");
    await dropRole(leaving);
    const left = await leftOf(leaving);
    if (left.length > 0) throw new Error(`it was deleted, but this is left:\n  ${left.join("\n  ")}`);
    const detail = await detailOf(leaving);
    await writeTombstone(leaving, detail);
    const counts = hasRows(context.group) ? Object.entries(detail.prints ?? {}) : [];
    const rows = counts.map(([table, { count }]) => `${table} ${count}`);
    const files = [...(detail.earlier ?? []), ...(detail.exported ? [detail.exported] : [])];
    const { ignored = [] } = context.group;
    const beside = [
        ...(kept === undefined ? [] : [`kept outside its ${context.group.model}: ${kept}`]),
        ...(ignored.length === 0 ? [] : [`not looked into: ${ignored.join(", ")} (ignore: true)`]),
    ];
    context.note(
        `${tenant}: deleted, and nothing of it is left ${hasRows(context.group) ? "in the group's tables" : "on any node"}${rows.length > 0 ? ` (rows: ${rows.join(", ")})` : ""}; ${beside.map((text) => `${text}; `).join("")}` +
            (files.length === 0
                ? "there was nothing to export"
                : files.length === 1
                  ? `its export is ${files[0]}`
                  : `its exports are ${files.join(" and ")}`),
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
                await removeTenant(context, tenant, toFile, (step.detail as { kept?: string } | undefined)?.kept);
            } catch (error) {
                const detail = await detailOf({ context, tenant, role: undefined, node: "" }).catch((): Detail => ({}));
                throw new Error(
                    `${tenant}: could not be deleted\n${databaseMessage(error)}\n` +
                        `${detail.exported ? `It was exported to ${detail.exported}. ` : ""}${i} of ${steps.length} tenants are gone. Remove the cause, then run pulumi up again: it goes on from here.`,
                );
            }
        }
    };

/** CI systems set it for what they run, and throw the machine away afterwards. */
const isRunner = () => ["1", "true"].includes(process.env.CI ?? "");

/** Deletion with an export and a proof. @param toFile how the export is made. @param onRunner whether files of this machine go with this run */
export const removalWith = (toFile: Export, onRunner: () => boolean = isRunner): Facet<FoundRemoval> => ({
    name: "removal",
    reads: ["databases"],
    none: { tenants: {}, rows: {} },
    sql: (group, { ledger, tables }) => {
        if (group.delete.length === 0 && !hasRows(group)) return undefined;
        const keys = group.delete.map(literal).join(", ");
        const rows =
            hasRows(group) && group.delete.length > 0
                ? tenantTables(group)
                      .filter(({ table }) => tables.includes(table))
                      .map(({ table, column }) => ({
                          table: literal(table),
                          counts: countKeys(table, column, keys),
                          width: widthOf(table),
                      }))
                : [];
        const names = tenantTables(group).map(({ table }) => given(qualified(table)));
        return `SELECT jsonb_build_object(
            'rows', jsonb_build_object(${rows.map(({ table, counts }) => `${table}, ${counts}`).join(",\n                ")}),
            'widths', jsonb_build_object(${rows.map(({ table, width }) => `${table}, ${width}`).join(", ")}),
            'references', ${rows.length === 0 ? "'[]'::jsonb" : `(${REFERENCES(`ARRAY[${names.join(", ")}]`)})`},
            'rate', ${ledger ? `(SELECT bytes / seconds FROM citus_as_code.measured WHERE what = ${literal(DELETE_RATE)})` : "NULL"},
            'undeclared', ${hasRows(group) ? undeclaredSql(group, ledger) : "'[]'::jsonb"},
            'outside', ${outsideSql(group)},
            'tenants', (SELECT coalesce(jsonb_object_agg(d.tenant, jsonb_build_object(
                'state', ${ledger ? "l.state" : "NULL"}, 'movedTo', ${ledger ? "l.detail ->> 'moved_to'" : "NULL"},
                'tombstone', ${ledger ? "EXISTS (SELECT FROM citus_as_code.tenant_tombstone t WHERE t.grp = $1 AND t.tenant = d.tenant)" : "false"},
                'taken', ${ledger ? TAKEN_BY_SQL("$1", "d.tenant") : "NULL"},
                'schema', to_regnamespace(quote_ident(d.tenant)) IS NOT NULL,
                'distributed', EXISTS (SELECT FROM pg_dist_schema s WHERE s.schemaid = to_regnamespace(quote_ident(d.tenant))))), '{}')
              FROM jsonb_array_elements_text($2::jsonb -> 'delete') AS d (tenant)
              ${ledger ? "LEFT JOIN citus_as_code.tenant l ON l.grp = $1 AND l.tenant = d.tenant" : ""}))`;
    },
    plan: (group, found, all) => planRemoval(group, found, all.databases as DatabasesFound | undefined, onRunner()),
    run: { delete: removeWith(toFile) },
});

export const removal = removalWith(exportTenant);
