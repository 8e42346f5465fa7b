/** npm run tenants */

import { type Listed, type ListedTenant, listTenants } from "../../core/tenants/ask/list.ts";
import { describeSmall } from "../../core/tenants/ask/smallShards.ts";
import { describeBytes } from "../../core/util/bytes.ts";
import { withStack } from "../lib/groups.ts";
import { fittedTable } from "../lib/report.ts";
import { screenWidth } from "../lib/screen.ts";

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

function schemaOf({ schema, gone }: ListedTenant): string {
    if (!schema || gone) return "–";
    if (schema.behind.length === 0) return `${schema.run} of ${schema.of}`;
    return `${schema.run} of ${schema.of}: waits for ${schema.behind.length === 1 ? schema.behind[0]?.split("/").at(-1) : `${schema.behind.length} files`}`;
}

const rounded = (n: number) =>
    n < 10_000 ? String(n) : n < 1e6 ? `${Math.round(n / 1000)} k` : `${(n / 1e6).toFixed(1)} M`;

const unknown = ({ shared, model, gone }: ListedTenant) => (shared ? "shared" : model === "routed" || gone ? "–" : "?");

function rowsOf(tenant: ListedTenant): string {
    if (tenant.rows !== null) return `~${rounded(tenant.rows)}`;
    return tenant.model === "database" ? "–" : unknown(tenant);
}

/** An old copy, or one that is being deleted, is not in the program as it should be. */
const isLeft = ({ inProgram, onboarded, state }: ListedTenant) =>
    !inProgram && !onboarded && state !== "superseded" && state !== "deleting";

function stateOf(tenant: ListedTenant): string {
    const { state, model, gone } = tenant;
    return `${state}${gone ? `: its ${model} is gone` : ""}${tenant.onboarded ? ", made by create_tenant" : isLeft(tenant) ? ", not in the program" : ""}`;
}

/** What words in the table mean, those that are there. */
function legend({ tracked, tenants }: Listed): string[] {
    const rows = tenants.map(rowsOf);
    const words: readonly (readonly [there: boolean, word: string, ...means: string[]])[] = [
        [
            rows.some((text) => /^[~?]/.test(text)),
            "rows",
            "~ is PostgreSQL's estimate, and ? means that it has none yet (run ANALYZE); databases of their own are not asked",
        ],
        [
            rows.includes("shared"),
            "shared",
            "its rows are in tables with other tenants' rows: count them by key (SELECT count(*) ... WHERE <tenant column> = ...)",
        ],
        [
            tenants.some(({ state }) => state === "superseded"),
            "superseded",
            "its data is in another group; this old copy takes no writes and is kept until its group gives it the state deleted",
        ],
        [
            tenants.some(isLeft),
            "not in the program",
            "the program of the last pulumi up did not name it; it stays as it is until its state is deleted",
        ],
        [
            tenants.some(({ onboarded }) => onboarded),
            "made by create_tenant",
            "the application made it and the program does not name it; pulumi up keeps it like the others (npm run tenants -- adopt GROUP FILE.json writes it down)",
        ],
        [
            tenants.some(({ gone }) => gone),
            "gone",
            "somebody dropped it by hand: npm run tenants -- restore brings an export back, and the state deleted removes the tenant",
        ],
        [
            !tracked,
            "activity",
            "npm run pulumi -- config set --path 'citus:settings.all[\"citus.stat_tenants_track\"]' all && npm run pulumi -- up",
            "counts statements of the 100 busiest tenants; a point query then takes 1.1 to 1.5 times as long",
        ],
    ];
    const said = words.filter(([there]) => there);
    const width = Math.max(0, ...said.map(([, word]) => word.length)) + 2;
    return said.flatMap(([, word, ...means]) =>
        means.map((line, i) => `${(i === 0 ? word : "").padEnd(width)}${line}`),
    );
}

const SPARE = ["limits", "activity", "schema", "rows", "model"];

/**
 * Pure.
 * @param group the only one that was asked for
 * @param width columns of the terminal; undefined for all there is
 */
export function renderTenants(listed: Listed, group?: string, width?: number): string {
    const { tracked, tenants } = listed;
    if (tenants.length === 0 && group !== undefined) return `Group ${group} has no tenants.`;
    if (tenants.length === 0)
        return "No tenants: this cluster has no group with any (citus:tenantGroups, or a class such as RowTenants in a program of your own).";
    const rows = tenants.map((tenant) => [
        tenant.group,
        tenant.tenant,
        tenant.model,
        tenant.place ?? "nowhere",
        tenant.bytes === null ? unknown(tenant) : describeBytes(tenant.bytes),
        rowsOf(tenant),
        activityOf(tenant, tracked),
        limitsOf(tenant),
        schemaOf(tenant),
        stateOf(tenant),
    ]);
    const table = fittedTable({ head: HEAD, rows, right: [4, 5], spare: SPARE }, width);
    const small = (listed.small ?? []).map((one) => describeSmall(one, listed.rate));
    return [table, "", ...legend(listed), ...(small.length > 0 ? ["", ...small] : [])].join("\n").trimEnd();
}

export async function list({ json, group }: { json?: boolean; group?: string }): Promise<void> {
    const listed = await withStack(({ session, groups }) =>
        listTenants(session, {
            ...(group === undefined ? {} : { group }),
            groups: groups.map((inputs) => inputs.group.name),
        }),
    );
    console.log(json ? JSON.stringify(listed, null, 2) : renderTenants(listed, group, screenWidth()));
}
