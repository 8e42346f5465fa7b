/** npm run tenants */
import { describeBytes } from "../../components/citus/job.ts";
import { type Listed, type ListedTenant, listTenants } from "../../components/citus/tenants/list.ts";
import { plainTable } from "../lib/report.ts";
import { withStack } from "./stack.ts";

const HEAD = ["group", "tenant", "model", "place", "size", "rows", "activity", "limits", "schema", "state"];

function activityOf({ activity, model }: ListedTenant, tracked: boolean): string {
    if (model === "routed" || model === "database") return "–";
    if (!tracked) return "not tracked";
    return activity ? `${activity.queries} in 2 min, ${activity.cpu.toFixed(2)} s CPU` : "none seen";
}

function limitsOf({ limits }: ListedTenant): string {
    const { connections, statementTimeout, idleInTransactionTimeout } = limits;
    const time = (text: string) => (/^\d+$/.test(text) ? `${Number(text) / 1000} s` : text);
    return (
        [
            connections === undefined ? "" : `${connections} connections`,
            statementTimeout === undefined ? "" : `${time(statementTimeout)} a statement`,
            idleInTransactionTimeout === undefined ? "" : `${time(idleInTransactionTimeout)} idle`,
        ]
            .filter(Boolean)
            .join(", ") || "–"
    );
}

function schemaOf({ schema }: ListedTenant): string {
    if (!schema) return "–";
    if (schema.behind.length === 0) return `${schema.run} of ${schema.of}`;
    return `${schema.run} of ${schema.of}: waits for ${schema.behind.length === 1 ? schema.behind[0]?.split("/").at(-1) : `${schema.behind.length} files`}`;
}

const rounded = (n: number) =>
    n < 10_000 ? String(n) : n < 1e6 ? `${Math.round(n / 1000)} k` : `${(n / 1e6).toFixed(1)} M`;

const unknown = ({ shared, model }: ListedTenant) => (shared ? "shared" : model === "routed" ? "–" : "?");

/** Pure. */
export function renderTenants({ tracked, tenants }: Listed): string {
    if (tenants.length === 0)
        return "No tenants: this cluster has no group with any (citus:tenantGroups, or citus.TenantGroup in index.ts).";
    const rows = tenants.map((tenant) => [
        tenant.group,
        tenant.tenant,
        tenant.model,
        tenant.place ?? "nowhere",
        tenant.bytes === null ? unknown(tenant) : describeBytes(tenant.bytes),
        tenant.rows === null ? unknown(tenant) : `~${rounded(tenant.rows)}`,
        activityOf(tenant, tracked),
        limitsOf(tenant),
        schemaOf(tenant),
        tenant.state,
    ]);
    const shared = tenants.some((tenant) => tenant.shared);
    return [
        plainTable(HEAD, rows, [4, 5]),
        "",
        ...(shared
            ? [
                  "shared     its rows lie among those of others: count them by the tenant's key (SELECT count(*) ... WHERE <tenant column> = ...)",
              ]
            : []),
        ...(tracked
            ? []
            : [
                  "activity   npm run pulumi -- config set --path 'citus:settings.all[\"citus.stat_tenants_track\"]' all && npm run pulumi -- up",
                  "           counts statements of the 100 busiest tenants; a point query takes 1.1 to 1.5 times as long then",
              ]),
    ]
        .join("\n")
        .trimEnd();
}

export async function list(options: { json?: boolean; group?: string }): Promise<void> {
    const listed = await withStack(({ session }) => listTenants(session, options.group));
    console.log(options.json ? JSON.stringify(listed, null, 2) : renderTenants(listed));
}
