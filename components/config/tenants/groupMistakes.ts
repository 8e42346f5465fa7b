/** What a group's settings mean together. */

import { COORDINATOR } from "../../../core/node/topology.ts";
import { KEY_LENGTH, PLAIN_NAME, plainNameRule, RESERVED_NAME } from "../../../core/tenants/group/names.ts";
import {
    appRole,
    type Model,
    onboardingRole,
    optionalRoles,
    tenantRole,
    tenantsRole,
} from "../../../core/tenants/group/spec.ts";
import type { Mistake } from "../../../core/util/mistakes.ts";
import { shown } from "../../../core/util/shown.ts";
import { accessMistakes, accessRoles } from "./access.ts";
import type { GroupShape, TenantShape } from "./fields.ts";
import { GROUP_KEYS, isEmpty, type Known, OWN_PLACE, ROWS, TENANT_KEYS } from "./groupKeys.ts";
import { kept, tenantSpec } from "./groupSpec.ts";

/** Why a tenant can't be on a node that the program does not have. */
function noNode(model: Model, node: string, { nodes = [], coordinatorShards }: Known): string {
    const takes = model === "database" || coordinatorShards ? nodes : nodes.filter((name) => name !== COORDINATOR);
    const pinned =
        "If that node is to leave: it can't while a tenant is pinned to it. First run pulumi up once with another node, or none, and with workers and retire as they were";
    return (
        `must be one of ${(takes.length > 0 ? takes : nodes).join(", ")}, got ${shown(node)}, which workers and retire leave out` +
        (model === "database" ? "" : ` - ${pinned}`)
    );
}

type Wrong = (at: string, message: string) => void;

/** What a group's settings mean together. */
export function groupMistakes(name: string, raw: Record<string, unknown>, shape: GroupShape, known: Known): Mistake[] {
    const mistakes: Mistake[] = [];
    const wrong: Wrong = (at, message) => mistakes.push({ path: `tenantGroups.${name}.${at}`, message });
    for (const [key, { models, why }] of Object.entries(GROUP_KEYS))
        if (raw[key] !== undefined && !isEmpty(raw[key]) && !models.includes(shape.model))
            wrong(key, `means nothing in model ${shape.model}: ${why} - take it away`);
    accessMistakes(name, shape, wrong);
    tableMistakes(shape, wrong);
    togetherMistakes(shape, wrong);
    for (const [tenant, settings] of kept(shape.tenants)) {
        keyMistakes(shape, tenant, settings, known, wrong);
        nameMistakes(name, shape, tenant, settings, known, wrong);
    }
    return mistakes;
}

/** The anchor and its key, and each table. */
function tableMistakes({ model, ...shape }: GroupShape, wrong: Wrong): void {
    if (ROWS.includes(model)) {
        const anchor = shape.anchor === undefined ? undefined : shape.tables[shape.anchor];
        if (shape.anchor === undefined)
            wrong("anchor", "must name the table with one row for each tenant, got nothing - for example companies");
        else if (anchor?.distributeBy === undefined)
            wrong(
                "anchor",
                `must be one of tables with distributeBy, got ${shown(shape.anchor)} - for example tables: {"${shape.anchor}": {"distributeBy": "id"}}`,
            );
    }
    const key = shape.tables[shape.anchor ?? ""]?.distributeBy;
    if (key !== undefined && shape.ownColumns?.includes(key))
        wrong("ownColumns", `must leave out ${key}, which is the tenant's key - take it away`);
    for (const [table, settings] of Object.entries(shape.tables)) {
        if (!/^[^\0".]{1,63}(\.[^\0".]{1,63})?$/.test(table))
            wrong(`tables.${table}`, "must be a table's name, with its schema where that is not public");
        if (settings.shardCount !== undefined && (table !== shape.anchor || model !== "row"))
            wrong(
                `tables.${table}.shardCount`,
                `is the whole group's, got ${settings.shardCount} - set it on the anchor${model === "row" ? "" : " of a group of model row"}`,
            );
        if (model === "rls" && settings.reference)
            wrong(
                `tables.${table}.reference`,
                "means nothing in model rls: its tables are the coordinator's own - say local: true",
            );
    }
}

/** What the group says of all its tenants. */
function togetherMistakes({ model, ...shape }: GroupShape, wrong: Wrong): void {
    const tenants = kept(shape.tenants);
    const { canary } = shape.rollout;
    const strangers =
        typeof canary === "number" ? [] : canary.filter((tenant) => !tenants.some(([name]) => name === tenant));
    if (strangers.length > 0)
        wrong(
            "rollout.canary",
            `must name tenants of the group, got ${shown(strangers)} - put them into tenants, or name others`,
        );
    const limited = tenants
        .filter(([tenant, settings]) => tenantSpec(model, tenant, settings).role)
        .map(([tenant]) => tenant);
    if (model === "row" && !shape.rowSecurity && limited.length > 0)
        wrong(
            "rowSecurity",
            `must be true where tenants have roles of their own (${limited.slice(0, 5).join(", ")}): without policies such a role would see every tenant's rows - take role and limits away first`,
        );
}

/** One tenant's settings. */
function keyMistakes({ model }: GroupShape, tenant: string, settings: TenantShape, known: Known, wrong: Wrong): void {
    const at = `tenants.${tenant}`;
    for (const [key, { models, why }] of Object.entries(TENANT_KEYS))
        if ((settings as Record<string, unknown>)[key] !== undefined && !models.includes(model))
            wrong(`${at}.${key}`, `means nothing in model ${model}: ${why} - take it away`);
    if (settings.export !== undefined && settings.state !== "deleted")
        wrong(
            `${at}.export`,
            `is for a tenant whose state is deleted, got ${shown(settings.state ?? "active")} - take it away`,
        );
    if (model === "routed" && settings.host === undefined)
        wrong(`${at}.host`, "must name the tenant's server, got nothing - for example eu-1.example.com");
    if (settings.node !== undefined && known.nodes && !known.nodes.includes(settings.node))
        wrong(`${at}.node`, noNode(model, settings.node, known));
    if (model === "row" && settings.isolate === false && settings.node !== undefined)
        wrong(
            `${at}.isolate`,
            `must be true with node, got false: a tenant can only be on ${settings.node} in a shard of its own`,
        );
    if (model === "routed" && settings.state === "frozen")
        wrong(`${at}.state`, "must be active or deleted in model routed, got frozen: its server is not this cluster's");
}

/** One tenant's name, and the role that it makes. */
function nameMistakes(
    name: string,
    shape: GroupShape,
    tenant: string,
    settings: TenantShape,
    known: Known,
    wrong: Wrong,
): void {
    const { model } = shape;
    const at = `tenants.${tenant}`;
    if (OWN_PLACE.includes(model)) {
        if (
            !PLAIN_NAME.test(tenant) ||
            RESERVED_NAME.test(tenant) ||
            // a pool's own console has this name
            (model === "database" && (tenant === known.database || tenant === "pgbouncer"))
        )
            wrong(at, `${plainNameRule(model)}, got ${shown(tenant)}`);
    } else if (tenant === "" || tenant.length > KEY_LENGTH || /[\0\n]/.test(tenant)) {
        wrong(at, `must be a key of 1 to ${KEY_LENGTH} characters without line breaks, got ${shown(tenant)}`);
    }
    const role = tenantRole(name, tenant);
    if (!tenantSpec(model, tenant, settings).role) return;
    if (Buffer.byteLength(role) > 63)
        wrong(
            at,
            `makes a role ${role}, longer than PostgreSQL's 63 bytes - choose a shorter name${ROWS.includes(model) ? ", or take role and limits away: the application needs none to name it" : ""}`,
        );
    if (ownRoles(name, shape).includes(role))
        wrong(at, `makes a role ${role}, which is the group's own - choose another name`);
}

/** Roles of the group itself. */
const ownRoles = (name: string, { model, onboarding }: GroupShape) => [
    appRole(name),
    tenantsRole(name),
    ...optionalRoles(name, model),
    ...(onboarding ? [onboardingRole(name)] : []),
];

/** Every role that a group makes, with the tenant whose own it is. */
export function rolesOf(name: string, shape: GroupShape): readonly (readonly [role: string, tenant?: string])[] {
    const { model, tenants } = shape;
    if (model === "routed") return [];
    const own = kept(tenants).filter(([tenant, settings]) => tenantSpec(model, tenant, settings).role);
    const group = ownRoles(name, shape);
    const made = group.filter((role) => !optionalRoles(name, model).includes(role));
    return [
        ...[...made, ...accessRoles(name, shape)].map((role) => [role] as const),
        ...own
            .map(([tenant]) => [tenantRole(name, tenant), tenant] as const)
            // said of the tenant already
            .filter(([role]) => !group.includes(role)),
    ];
}
