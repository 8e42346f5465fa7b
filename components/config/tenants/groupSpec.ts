/** What is written of a group, as the provider takes it. */

import type { GroupSpec, Model, TableSpec, TenantSpec } from "../../../core/tenants/group/spec.ts";
import type { GroupShape, TenantShape } from "./fields.ts";
import { OWN_PLACE, ROWS } from "./groupKeys.ts";

/** Tables that are something, and those that are left alone. */
export function tablesOf(tables: GroupShape["tables"]): Pick<GroupSpec, "tables" | "ignored"> {
    const all = Object.entries(tables);
    const ignored = all.flatMap(([name, { ignore }]) => (ignore ? [name] : []));
    const kept = all.filter(([, t]) => t.distributeBy !== undefined || t.reference || t.local);
    return {
        tables: Object.fromEntries(kept.map(([name, t]) => [name, tableSpec(t)])),
        ...(ignored.length === 0 ? {} : { ignored }),
    };
}

function tableSpec(table: GroupShape["tables"][string]): TableSpec {
    if (table.reference) return { kind: "reference" };
    if (table.local) return { kind: "local" };
    return {
        kind: "distributed",
        ...(table.distributeBy === undefined ? {} : { column: table.distributeBy }),
        ...(table.shardCount === undefined ? {} : { shardCount: table.shardCount }),
    };
}

/** Without the keys that have no value. */
export const definedOnly = <T extends object>(given: T) =>
    Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined)) as {
        [K in keyof T]: Exclude<T[K], undefined>;
    };

export function tenantSpec(model: Model, name: string, tenant: TenantShape): TenantSpec {
    const { state, role, from, node, isolate, database, export: _export, ...rest } = tenant;
    const own = role ?? (OWN_PLACE.includes(model) || (ROWS.includes(model) && tenant.limits !== undefined));
    const [group = "", ...other] = (from ?? "").split("/");
    const given: TenantSpec = {
        ...rest,
        ...(node === undefined ? {} : { node }),
        ...(model === "row" && (isolate ?? node !== undefined) ? { isolate: true } : {}),
        ...(state === "frozen" ? { frozen: true } : {}),
        ...(own ? { role: true } : {}),
        ...(from === undefined ? {} : { from: { group, tenant: other.join("/") } }),
        ...(model === "routed" ? { port: tenant.port ?? 5432, database: database ?? name } : {}),
    };
    return definedOnly(given);
}

/** Tenants that are not to be deleted. */
export const kept = (tenants: GroupShape["tenants"]) =>
    Object.entries(tenants).filter(([, { state }]) => state !== "deleted");

/** Exports of deleted tenants that a person made. */
export function givenOf(tenants: GroupShape["tenants"]): Pick<GroupSpec, "given"> {
    const given = Object.entries(tenants).flatMap(([tenant, { state, export: made }]) =>
        state === "deleted" && made
            ? [[tenant, { file: made.url ?? made.file ?? "", sha256: made.sha256 }] as const]
            : [],
    );
    return given.length === 0 ? {} : { given: Object.fromEntries(given) };
}
