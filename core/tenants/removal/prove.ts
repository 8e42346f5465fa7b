/** Nothing of a tenant is left on any node. */

import { identifier, literal, qualified } from "../../sql/quote.ts";
import { countOf } from "../../util/countOf.ts";
import { transaction } from "../group/batch.ts";
import { bury } from "../ledger/tenants.ts";
import { ownComment } from "../roles/groupRoles.ts";
import { type Detail, detailOf, type Leaving } from "./leaving.ts";
import { countRows, ownRole } from "./present.ts";
import { hasRows, tenantTables } from "./removalPlan.ts";

/** Its grants go with it; what it owns does not, as no export has that. */
export async function dropRole(leaving: Leaving): Promise<void> {
    const { context } = leaving;
    const role = await ownRole(leaving);
    if (role === undefined) return;
    const owned = await context.session.query<{ node: string; n: string }>(
        `SELECT n.nodename AS node, r.result AS n
           FROM run_command_on_all_nodes(${literal(
               `SELECT count(*) FROM pg_shdepend WHERE refclassid = 'pg_authid'::regclass AND deptype = 'o' AND refobjid = (SELECT oid FROM pg_authid WHERE rolname = ${literal(role)})`,
           )}) r JOIN pg_dist_node n USING (nodeid) WHERE NOT r.success OR r.result <> '0'`,
    );
    if (owned.length > 0)
        throw new Error(
            `role ${role} owns objects on ${owned.map(({ node, n }) => `${node} (${n})`).join(", ")}, and no export has them. ` +
                `To keep them, run there: REASSIGN OWNED BY ${identifier(role)} TO postgres; then run pulumi up again.`,
        );
    await transaction(context.session, `DROP OWNED BY ${identifier(role)};\nDROP ROLE ${identifier(role)}`);
}

/** What is still there, anywhere. */
export async function leftOf(leaving: Leaving): Promise<string[]> {
    const { context, tenant, role } = leaving;
    const { group, session } = context;
    const left: string[] = [];
    if (hasRows(group))
        for (const [table, count] of Object.entries(await countRows(leaving)))
            left.push(`${countOf(Number(count), "row")} in ${table}`);
    const { colocation } = await detailOf(leaving);
    const checks = [
        "SELECT '' AS what WHERE false",
        ...(role === undefined
            ? []
            : [
                  `SELECT 'role ' || rolname AS what FROM pg_authid WHERE rolname = ${literal(role)} AND starts_with(shobj_description(oid, 'pg_authid'), ${literal(ownComment(group.name))})`,
              ]),
        ...(group.model === "database"
            ? [`SELECT 'database ' || datname FROM pg_database WHERE datname = ${literal(tenant)}`]
            : []),
        ...(group.model === "schema"
            ? [
                  `SELECT 'schema ' || nspname FROM pg_namespace WHERE nspname = ${literal(tenant)}`,
                  ...(colocation === undefined
                      ? []
                      : [
                            `SELECT 'pg_dist_schema row of ' || schemaid FROM pg_dist_schema WHERE colocationid = ${colocation}`,
                            `SELECT 'colocation group ' || colocationid FROM pg_dist_colocation WHERE colocationid = ${colocation}`,
                        ]),
              ]
            : []),
    ].join(" UNION ALL ");
    // those that are disabled are not asked, and may have anything
    const nodes = await session.query<{ node: string; success: boolean | null; result: string | null }>(
        `SELECT n.nodename AS node, r.success, r.result
           FROM run_command_on_all_nodes(${literal(`SELECT coalesce(string_agg(what, ', '), '') FROM (${checks}) c`)}) r
           RIGHT JOIN pg_dist_node n USING (nodeid) WHERE n.noderole = 'primary'`,
    );
    for (const { node, success, result } of nodes)
        if (!success || result !== "")
            left.push(success ? `${result} on ${node}` : `${node} could not be asked: ${result ?? "it is disabled"}`);
    if (group.model !== "database") {
        const tables = tenantTables(group).map(({ table }) => qualified(table).replaceAll('"', ""));
        const cleanup = await session.query<{ name: string }>(
            hasRows(group)
                ? `SELECT object_name AS name FROM pg_dist_cleanup JOIN pg_dist_node n ON n.groupid = node_group_id
                    WHERE policy_type = 2 AND regexp_replace(replace(object_name, '"', ''), '_[0-9]+$', '') = ANY ($1)`
                : "SELECT object_name AS name FROM pg_dist_cleanup WHERE starts_with(object_name, $1 || '.') OR starts_with(object_name, quote_ident($1) || '.')",
            [hasRows(group) ? tables : tenant],
        );
        left.push(...cleanup.map(({ name }) => `${name}, which Citus has not dropped yet`));
    }
    return left;
}

/** The ledger forgets it, but for that it was there. */
export async function writeTombstone(leaving: Leaving, detail: Detail): Promise<void> {
    const { context, tenant } = leaving;
    const key = { group: context.group.name, tenant };
    await transaction(context.session, bury(key, context.group.model, detail.moved_to));
}
