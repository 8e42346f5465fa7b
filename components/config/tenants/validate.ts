/** Groups of tenants as they were written, to specifications or every mistake. Pure but for the files that they name. */

import { COORDINATOR } from "../../../core/node/topology.ts";
import { GROUP_NAME, KEY_LENGTH, PLAIN_NAME, plainNameRule, RESERVED_NAME } from "../../../core/tenants/group/names.ts";
import {
    appRole,
    type FileSpec,
    type GroupSpec,
    type Model,
    onboardingRole,
    optionalRoles,
    type TableSpec,
    type TenantSpec,
    tenantRole,
    tenantsRole,
} from "../../../core/tenants/group/spec.ts";
import { record } from "../../../core/util/fields.ts";
import { InexactNumber, isExact, parseExact } from "../../../core/util/json.ts";
import { type Mistake, pathOf } from "../../../core/util/mistakes.ts";
import { shown } from "../../../core/util/shown.ts";
import { accessMistakes, accessRoles, signInOf } from "./access.ts";
import { type GroupShape, groupShape, insideProject, type TenantShape } from "./fields.ts";
import { fileSpec, type ProjectFiles, textOf } from "./project.ts";
import { withoutWrong } from "./withoutWrong.ts";

const ROWS: readonly Model[] = ["rls", "row"];
const OWN_PLACE: readonly Model[] = ["schema", "database"];

/** Which models a tenant's key means something in, and why not in others. */
const TENANT_KEYS: Readonly<Record<string, { readonly models: readonly Model[]; readonly why: string }>> = {
    node: {
        models: ["row", "schema", "database"],
        why: "rls keeps all rows on the coordinator, and routed tenants name a host",
    },
    isolate: { models: ["row"], why: "only rows share a shard" },
    values: { models: ROWS, why: "only they have an anchor table" },
    host: { models: ["routed"], why: "the others are in this cluster" },
    port: { models: ["routed"], why: "the others are in this cluster" },
    database: { models: ["routed"], why: "the others are in this cluster" },
    limits: { models: ["rls", "row", "schema", "database"], why: "this cluster has no role of theirs" },
    role: { models: ["rls", "row", "schema", "database"], why: "this cluster has no role of theirs" },
    export: {
        models: ["rls", "row", "schema", "database"],
        why: "nothing of servers of others is exported or deleted",
    },
    from: { models: ["row", "schema", "database"], why: "data is only taken into row, schema and database" },
};

const GROUP_KEYS: Readonly<Record<string, { readonly models: readonly Model[]; readonly why: string }>> = {
    anchor: { models: ROWS, why: "only rows have a table of tenants" },
    tables: { models: ROWS, why: "tables of a schema or database come from its template" },
    template: { models: ["rls", "row", "schema", "database"], why: "nothing is run on servers of others" },
    allow: { models: ROWS, why: "it is for changes of tables" },
    outOfOrder: {
        models: ["rls", "row", "schema", "database"],
        why: "it is about the files of a template",
    },
    baseline: { models: OWN_PLACE, why: "its files run once, and no tenant runs them again" },
    rollout: { models: OWN_PLACE, why: "a file runs once for all its tenants" },
    pool: { models: ["rls", "row", "schema", "database"], why: "their servers are not this cluster's" },
    ownColumns: { models: ROWS, why: "only they have an anchor table" },
    exports: { models: ["rls", "row", "schema", "database"], why: "nothing of servers of others is exported" },
    reader: { models: ["rls", "row", "schema"], why: "no query reads several databases" },
    signIn: { models: ROWS, why: "only rows of all tenants are in one table" },
    rowSecurity: { models: ["row"], why: "policies are always on in rls, and the others have none" },
    onboarding: {
        models: ["rls", "row", "schema"],
        why: "a database or a server can't be made inside a transaction of the application",
    },
};

interface Known {
    readonly files?: ProjectFiles;
    /** The cluster's own database. */
    readonly database: string;
    /** Names of its nodes. @default not known: any is taken */
    readonly nodes?: readonly string[];
    /** Whether its coordinator takes shards; it is not offered where it does not. @default false */
    readonly coordinatorShards?: boolean;
}

const isEmpty = (value: unknown) => ["[]", "{}"].includes(JSON.stringify(value) ?? "[]");

/** No groups, which is asked without writing out all of them. */
const isNone = (value: unknown) =>
    typeof value === "object" && value !== null ? Object.keys(value).length === 0 : isEmpty(value);

const isKey = (key: unknown) => typeof key === "string" || typeof key === "number" || key instanceof InexactNumber;

/** A list of tenants as a map of them. */
function byName(list: readonly unknown[], path: string) {
    const mistakes: Mistake[] = [];
    const tenants = new Map<string, unknown>();
    list.forEach((entry, i) => {
        const { name, ...settings }: Record<string, unknown> = isKey(entry) ? { name: entry } : record(entry);
        if (!isKey(name)) {
            mistakes.push({
                path: `${path}.tenants[${i}]`,
                message: `must be a tenant's name or an object with its name, got ${shown(entry)} - for example {"name": "acme", "state": "frozen"}`,
            });
        } else if (name instanceof InexactNumber || (typeof name === "number" && !isExact(name))) {
            const written = name instanceof InexactNumber ? name.written : String(name);
            mistakes.push({
                path: `${path}.tenants[${i}]`,
                message: `is a number that JavaScript does not keep as it is written, got ${written} - write the key as a text: ${JSON.stringify(written)}`,
            });
        } else if (tenants.has(String(name))) {
            mistakes.push({ path: `${path}.tenants`, message: `names ${name} twice - remove one` });
        } else {
            tenants.set(String(name), settings);
        }
    });
    return { tenants: Object.fromEntries(tenants), mistakes };
}

/** What files say, put in the place of their paths. */
function readFiles(raw: Record<string, unknown>, known: Known, path: string) {
    const mistakes: Mistake[] = [];
    const { files } = known;
    let { tenants } = raw;
    if (typeof tenants === "string") {
        const file = tenants;
        tenants = {};
        if (!insideProject(file)) {
            mistakes.push({
                path: `${path}.tenants`,
                message: `must be a path inside the project, got ${shown(file)}`,
            });
        } else if (files) {
            try {
                tenants = parseExact(textOf(files.read(file)));
            } catch (error) {
                mistakes.push({
                    path: `${path}.tenants`,
                    message: `must be a JSON file of tenants, got ${shown(file)}: ${(error as Error).message}`,
                });
            }
        }
    }
    if (Array.isArray(tenants)) {
        const read = byName(tenants, path);
        tenants = read.tenants;
        mistakes.push(...read.mistakes);
    }
    const { delete: deleted, ...settings } = raw;
    if (deleted !== undefined && !isEmpty(deleted)) {
        const names = Array.isArray(deleted) ? deleted.map(String) : ["acme"];
        const life = Object.fromEntries(names.slice(0, 3).map((name) => [name, { state: "deleted" }]));
        mistakes.push({
            path: `${path}.delete`,
            message: `is a tenant's state now - take it away, and write under tenants: ${JSON.stringify(life)}`,
        });
    }
    if (Object.hasOwn(record(tenants), "__proto__"))
        mistakes.push({
            path: `${path}.tenants`,
            message: "names __proto__, which JavaScript keeps for itself - choose another name",
        });
    const template = findSql(raw.template, files, `${path}.template`);
    const { files: squashed, upTo } = record(raw.baseline);
    const baseline = findSql(squashed, files, `${path}.baseline.files`);
    mistakes.push(...template.mistakes, ...baseline.mistakes);
    const twice = baseline.found.find(({ path }) => template.found.some((file) => file.path === path));
    if (twice)
        mistakes.push({
            path: `${path}.baseline.files`,
            message: `names ${twice.path}, which template names too - keep it in a folder that no pattern of template means`,
        });
    if (files && typeof upTo === "string" && !template.found.some((file) => file.path === upTo))
        mistakes.push({
            path: `${path}.baseline.upTo`,
            message: `must be one of the files of template, got ${shown(upTo)} - for example ${template.found.at(-1)?.path ?? "sql/clinic/100.sql"}`,
        });
    return {
        raw: { ...settings, tenants, template: [] },
        template: template.found,
        ...(typeof upTo === "string" ? { baseline: { files: baseline.found, upTo } } : {}),
        mistakes,
    };
}

/** Files that patterns mean, in their order. @param given a pattern, or a list of them */
function findSql(given: unknown, files: ProjectFiles | undefined, path: string) {
    const mistakes: Mistake[] = [];
    const found: FileSpec[] = [];
    const patterns = given === undefined ? [] : Array.isArray(given) ? given : [given];
    patterns.forEach((pattern, i) => {
        const at = Array.isArray(given) ? `${path}[${i}]` : path;
        if (!insideProject(pattern) || !/\.sql$/.test(pattern as string)) {
            mistakes.push({
                path: at,
                message: `must be a .sql file inside the project or a pattern of them, got ${shown(pattern)} - for example sql/clinic/*.sql`,
            });
            return;
        }
        if (!files) return;
        const meant = files.find(pattern as string);
        if (meant.length === 0)
            mistakes.push({
                path: at,
                message: `finds no file in this project, got ${shown(pattern)} - it is looked for from the folder of Pulumi.yaml`,
            });
        for (const file of meant) if (!found.some((one) => one.path === file)) found.push(fileSpec(file, files));
    });
    return { found, mistakes };
}

/** Tables that are something, and those that are left alone. */
function tablesOf(tables: GroupShape["tables"]): Pick<GroupSpec, "tables" | "ignored"> {
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
const definedOnly = <T extends object>(given: T) =>
    Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined)) as {
        [K in keyof T]: Exclude<T[K], undefined>;
    };

function tenantSpec(model: Model, name: string, tenant: TenantShape): TenantSpec {
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
const kept = (tenants: GroupShape["tenants"]) => Object.entries(tenants).filter(([, { state }]) => state !== "deleted");

/** Exports of deleted tenants that a person made. */
function givenOf(tenants: GroupShape["tenants"]): Pick<GroupSpec, "given"> {
    const given = Object.entries(tenants).flatMap(([tenant, { state, export: made }]) =>
        state === "deleted" && made
            ? [[tenant, { file: made.url ?? made.file ?? "", sha256: made.sha256 }] as const]
            : [],
    );
    return given.length === 0 ? {} : { given: Object.fromEntries(given) };
}

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

/** What a group's settings mean together. */
function groupMistakes(name: string, raw: Record<string, unknown>, shape: GroupShape, known: Known): Mistake[] {
    const path = `tenantGroups.${name}`;
    const { model } = shape;
    const mistakes: Mistake[] = [];
    const wrong = (at: string, message: string) => mistakes.push({ path: `${path}.${at}`, message });
    for (const [key, { models, why }] of Object.entries(GROUP_KEYS))
        if (raw[key] !== undefined && !isEmpty(raw[key]) && !models.includes(model))
            wrong(key, `means nothing in model ${model}: ${why} - take it away`);
    accessMistakes(name, shape, wrong);
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
    for (const [tenant, settings] of tenants) {
        const at = `tenants.${tenant}`;
        for (const [key, { models, why }] of Object.entries(TENANT_KEYS))
            if ((settings as Record<string, unknown>)[key] !== undefined && !models.includes(model))
                wrong(`${at}.${key}`, `means nothing in model ${model}: ${why} - take it away`);
        if (settings.export !== undefined && settings.state !== "deleted")
            wrong(
                `${at}.export`,
                `is for a tenant whose state is deleted, got ${shown(settings.state ?? "active")} - take it away`,
            );
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
        if (model === "routed" && settings.host === undefined)
            wrong(`${at}.host`, "must name the tenant's server, got nothing - for example eu-1.example.com");
        if (settings.node !== undefined && known.nodes && !known.nodes.includes(settings.node))
            wrong(`${at}.node`, noNode(model, settings.node, known));
        if (model === "row" && settings.isolate === false && settings.node !== undefined)
            wrong(
                `${at}.isolate`,
                `must be true with node, got false: a tenant can only be on ${settings.node} in a shard of its own`,
            );
        if (Buffer.byteLength(tenantRole(name, tenant)) > 63 && tenantSpec(model, tenant, settings).role)
            wrong(
                at,
                `makes a role ${tenantRole(name, tenant)}, longer than PostgreSQL's 63 bytes - choose a shorter name${ROWS.includes(model) ? ", or take role and limits away: the application needs none to name it" : ""}`,
            );
        if (ownRoles(name, shape).includes(tenantRole(name, tenant)) && tenantSpec(model, tenant, settings).role)
            wrong(at, `makes a role ${tenantRole(name, tenant)}, which is the group's own - choose another name`);
        if (model === "routed" && settings.state === "frozen")
            wrong(
                `${at}.state`,
                "must be active or deleted in model routed, got frozen: its server is not this cluster's",
            );
    }
    return mistakes;
}

/** Roles of the group itself. */
const ownRoles = (name: string, { model, onboarding }: GroupShape) => [
    appRole(name),
    tenantsRole(name),
    ...optionalRoles(name, model),
    ...(onboarding ? [onboardingRole(name)] : []),
];

/** Every role that a group makes, with the tenant whose own it is. */
function rolesOf(name: string, shape: GroupShape): readonly (readonly [role: string, tenant?: string])[] {
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

export interface Validated {
    readonly groups: readonly GroupSpec[];
    readonly mistakes: readonly Mistake[];
}

/** A group by itself, and what it takes that no other may have. */
interface Checked {
    readonly group?: GroupSpec;
    readonly mistakes: readonly Mistake[];
    /** Schemas and databases. */
    readonly places: readonly string[];
    readonly roles: ReturnType<typeof rolesOf>;
}

function checkGroup(name: string, value: unknown, known: Known): Checked {
    const path = `tenantGroups.${name}`;
    const mistakes: Mistake[] = [];
    if (!GROUP_NAME.test(name))
        mistakes.push({
            path,
            message: `must be named by lower-case letters, digits and underscores, beginning with a letter, 31 at most, got ${shown(name)}`,
        });
    const read = readFiles(record(value), known, path);
    mistakes.push(...read.mistakes);
    const parsed = groupShape.safeParse(Object.keys(record(value)).length === 0 ? value : read.raw);
    if (!parsed.success) {
        const { issues } = parsed.error;
        const wrong = issues.map((issue) => pathOf(["tenantGroups", name, ...issue.path]));
        issues.forEach((issue, i) => {
            mistakes.push({ path: wrong[i] ?? path, message: issue.message });
        });
        const rest = withoutWrong(read.raw, issues);
        const others = rest === undefined ? undefined : groupShape.safeParse(rest);
        if (others?.success)
            mistakes.push(
                ...groupMistakes(name, record(value), others.data, known).filter(
                    (one) =>
                        !wrong.some(
                            (at) => one.path === at || one.path.startsWith(`${at}.`) || at.startsWith(`${one.path}.`),
                        ),
                ),
            );
        return { mistakes, places: [], roles: [] };
    }
    const shape = parsed.data;
    mistakes.push(...groupMistakes(name, record(value), shape, known));
    const group: GroupSpec = {
        name,
        model: shape.model,
        ...(shape.anchor === undefined ? {} : { anchor: shape.anchor }),
        ...tablesOf(shape.tables),
        template: read.template,
        ...(read.baseline === undefined ? {} : { baseline: read.baseline }),
        tenants: Object.fromEntries(
            kept(shape.tenants).map(([tenant, t]) => [tenant, tenantSpec(shape.model, tenant, t)]),
        ),
        delete: Object.keys(shape.tenants).filter((tenant) => shape.tenants[tenant]?.state === "deleted"),
        ...givenOf(shape.tenants),
        allow: shape.allow,
        rowSecurity: shape.model === "rls" || shape.rowSecurity,
        ...(shape.ownColumns === undefined ? {} : { ownColumns: shape.ownColumns }),
        ...(shape.reader ? { reader: true } : {}),
        ...(shape.signIn === undefined ? {} : { signIn: signInOf(shape.signIn) }),
        ...(shape.pool === undefined ? {} : { pool: shape.pool }),
        ...(shape.outOfOrder ? { outOfOrder: true } : {}),
        ...(shape.onboarding ? { onboarding: true } : {}),
        rollout: definedOnly(shape.rollout),
        lockTimeout: shape.lockTimeout,
        ...(shape.exports === undefined ? {} : { exports: shape.exports }),
    };
    const places = OWN_PLACE.includes(shape.model) ? kept(shape.tenants).map(([tenant]) => tenant) : [];
    return { group, mistakes, places, roles: rolesOf(name, shape) };
}

/** Checks what groups are together. */
function checkTogether(checked: ReadonlyMap<string, Checked>): Validated {
    const mistakes: Mistake[] = [];
    const groups: GroupSpec[] = [];
    const places = new Map<string, string>();
    const tables = new Map<string, { readonly group: string; readonly kind: string }>();
    const roles = new Map<string, string>();
    for (const [name, one] of checked) {
        const path = `tenantGroups.${name}`;
        mistakes.push(...one.mistakes);
        if (one.group === undefined) continue;
        for (const tenant of one.places) {
            const place = `${one.group.model} ${tenant}`;
            const other = places.get(place);
            if (other !== undefined)
                mistakes.push({
                    path: `${path}.tenants.${tenant}`,
                    message: `is a tenant of group ${other} too, and both would be ${place} - rename one`,
                });
            places.set(place, name);
        }
        for (const [table, { kind, column }] of ROWS.includes(one.group.model)
            ? Object.entries(one.group.tables)
            : []) {
            const key = table.includes(".") ? table : `public.${table}`;
            const other = tables.get(key);
            // what every tenant of both reads can be shared
            if (other !== undefined && (column !== undefined || other.kind !== kind))
                mistakes.push({
                    path: `${path}.tables.${table}`,
                    message: `is a table of group ${other.group} too, and one table has the policies of one group - take it out of one of them`,
                });
            tables.set(key, { group: name, kind: column === undefined ? kind : "rows" });
        }
        for (const [role, tenant] of one.roles) {
            const other = roles.get(role);
            if (other !== undefined)
                mistakes.push({
                    path: tenant === undefined ? path : `${path}.tenants.${tenant}`,
                    message: `makes a role ${role}, and so does ${other} - rename one`,
                });
            roles.set(role, tenant === undefined ? `group ${name}` : `tenant ${tenant} of group ${name}`);
        }
        groups.push(one.group);
    }
    for (const { name, tenants } of groups)
        for (const [tenant, { from }] of Object.entries(tenants))
            if (from && groups.some((group) => group.name === from.group && group.delete.includes(from.tenant)))
                mistakes.push({
                    path: `tenantGroups.${name}.tenants.${tenant}.from`,
                    message: `takes ${from.group}/${from.tenant}, which is deleted there - run pulumi up with its state active first, then take this away, then give the old copy the state deleted`,
                });
    return { groups, mistakes };
}

/**
 * Checks all groups at once, as often as groups are added: each is read and checked by itself once, as long as its settings
 * are the same object.
 */
export function groupValidator(known: Known): (given: unknown) => Validated {
    const before = new Map<string, { readonly value: unknown; readonly checked: Checked }>();
    return (given) => {
        if (given === undefined || isNone(given)) return { groups: [], mistakes: [] };
        const named = Object.entries(record(given));
        if (named.length === 0)
            return {
                groups: [],
                mistakes: [
                    {
                        path: "tenantGroups",
                        message: `must be a map of groups, got ${shown(given)} - for example {"clinics": {"model": "schema", "template": "sql/clinic/*.sql", "tenants": {"acme": {}}}}`,
                    },
                ],
            };
        for (const [name, value] of named)
            if (before.get(name)?.value !== value || !before.has(name))
                before.set(name, { value, checked: checkGroup(name, value, known) });
        return checkTogether(new Map(named.flatMap(([name]) => [[name, before.get(name)?.checked as Checked]])));
    };
}

/**
 * Checks all groups at once.
 * @param given groups by name, as they were written
 */
export const validateGroups = (given: unknown, known: Known): Validated => groupValidator(known)(given);
