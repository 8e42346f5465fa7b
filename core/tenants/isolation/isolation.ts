/** Whether tenants are kept apart by more than what this project set: files, views, functions, owners, memberships, grants. */

import { createHash } from "node:crypto";
import { given } from "../../sql/given.ts";
import { identifier, literal, qualified } from "../../sql/quote.ts";
import { joinNames } from "../../util/joinNames.ts";
import type { Finding } from "../check/read/finding.ts";
import { askAlone } from "../group/ask.ts";
import { asDoBlock, databaseMessage, transaction } from "../group/batch.ts";
import type { Context, Facet, Planned, Probe, Step } from "../group/facet.ts";
import { type FileSpec, type GroupSpec, readerRole, tenantsRole } from "../group/spec.ts";
import { correctRanByHand } from "../ledger/ran.ts";
import { inState, isServed } from "../ledger/states.ts";
import { forgetShut, noteShut } from "../ledger/tenants.ts";
import { ownTenantRole } from "../roles/groupRoles.ts";
import { membershipsSql, type NodeAnswer, refuseMemberships } from "../roles/memberships.ts";
import { CLOSE_CATALOGS, openCatalogs } from "./catalogs.ts";
import { type Definer, definersSql, planDefiners } from "./definers.ts";
import { type Exposed, explainExposed, exposedSql } from "./exposure.ts";
import { type Opening, openingsSql, placesOf } from "./openings.ts";

export interface FoundIsolation {
    readonly nodes: readonly NodeAnswer[];
    readonly exposed: readonly Exposed[];
    /** SECURITY DEFINER functions whose names a caller can give another meaning. */
    readonly definers: readonly Definer[];
    /** Schemas of tenants that others of the group may enter, with who may. */
    readonly entered: readonly { readonly tenant: string; readonly who: readonly string[] }[];
    /** Of tenants that don't write. */
    readonly openings: readonly Opening[];
    /** Tenants that write, from whom functions were taken while they did not. */
    readonly shut: readonly string[];
    /** What the role of all tenants may do with the anchor beside reading it: rights, and columns that it may update. */
    readonly anchor: { readonly rights: readonly string[]; readonly columns: readonly string[] } | null;
    /** Hosts where what Citus shows to everybody is open. */
    readonly catalogs: readonly string[];
    /** Files that some tenant has not run, or will not have; undefined: all. */
    readonly pending?: readonly string[];
    /** Files that somebody ran. */
    readonly ran?: readonly string[];
    /** Relations that the schema of every tenant has. */
    readonly known: readonly string[];
    readonly outside: { readonly schemas: readonly string[]; readonly tables: readonly string[] };
    /** Major version of the coordinator's PostgreSQL. */
    readonly version?: number;
    /** What files say that reaches out of bounds, or that can't be run at all. */
    readonly files?: readonly string[];
}

const NONE: FoundIsolation = {
    nodes: [],
    exposed: [],
    definers: [],
    entered: [],
    openings: [],
    shut: [],
    anchor: null,
    catalogs: [],
    known: [],
    outside: { schemas: [], tables: [] },
};

const ROWS = ["row", "rls"];

const frozenOf = (group: GroupSpec) => Object.keys(group.tenants).filter((tenant) => group.tenants[tenant]?.frozen);

/** Tenants that don't write: by the program, and because their data went elsewhere. */
function closedSql(group: GroupSpec): string {
    const places = frozenOf(group).flatMap((tenant) => {
        const role = ownTenantRole(group, tenant);
        return role === undefined ? [] : [{ tenant, nsp: tenant, role }];
    });
    return `${placesOf(places)} UNION SELECT t.tenant, t.tenant, t.grp || '_' || t.tenant FROM citus_as_code.tenant t WHERE t.grp = $1 AND ${inState("t.state", "superseded")}`;
}

const ENTERED = (group: string) => `(SELECT coalesce(jsonb_agg(to_jsonb(e)), '[]') FROM (
    SELECT t.tenant, jsonb_agg(DISTINCT coalesce(r.rolname, 'PUBLIC')) AS who FROM citus_as_code.tenant t JOIN pg_namespace n ON n.nspname = t.tenant, aclexplode(n.nspacl) x
      LEFT JOIN pg_roles r ON r.oid = x.grantee
     WHERE t.grp = $1 AND (x.grantee = 0 OR starts_with(r.rolname, ${given(`${group}_`)}) AND r.rolname NOT IN (${given(`${group}_`)} || t.tenant, ${given(readerRole(group))})
           AND starts_with(shobj_description(r.oid, 'pg_authid'), ${given(`citus_as_code ${group} `)}))
     GROUP BY 1) e)`;

const anchorSql = (group: string, anchor: string) => `(SELECT jsonb_build_object(
    'rights', (SELECT coalesce(jsonb_agg(DISTINCT x.privilege_type), '[]') FROM aclexplode(c.relacl) x WHERE x.grantee = r.oid AND x.privilege_type IN ('INSERT', 'UPDATE', 'DELETE')),
    'columns', (SELECT coalesce(jsonb_agg(a.attname), '[]') FROM pg_attribute a, aclexplode(a.attacl) x WHERE a.attrelid = c.oid AND x.grantee = r.oid AND x.privilege_type = 'UPDATE'))
  FROM pg_class c, pg_roles r WHERE c.oid = ${given(qualified(anchor))}::regclass AND r.rolname = ${given(tenantsRole(group))})`;

/** Files of the template that a tenant of the program has not run. */
const PENDING_FILES_SQL = `(SELECT coalesce(jsonb_agg(f ->> 'path'), '[]') FROM jsonb_array_elements($2::jsonb -> 'template') f WHERE EXISTS (
    SELECT FROM jsonb_object_keys(CASE WHEN $2::jsonb ->> 'model' IN ('schema', 'database') THEN (SELECT $2::jsonb -> 'tenants') ELSE '{"": {}}' END) t (tenant)
     WHERE NOT EXISTS (SELECT FROM citus_as_code.tenant_migration m WHERE (m.grp, m.tenant, m.path) = ($1, t.tenant, f ->> 'path'))))`;

const KNOWN = `(SELECT coalesce(jsonb_agg(k.relname), '[]') FROM (
    SELECT c.relname FROM citus_as_code.tenant t JOIN pg_namespace n ON n.nspname = t.tenant JOIN pg_class c ON c.relnamespace = n.oid
     WHERE t.grp = $1 AND ${isServed("t.state")} GROUP BY 1
    HAVING count(*) = (SELECT count(*) FROM citus_as_code.tenant a WHERE a.grp = $1 AND ${isServed("a.state")})) k)`;

const OUTSIDE = `jsonb_build_object(
    'schemas', (SELECT coalesce(jsonb_agg(DISTINCT t.tenant), '[]') FROM citus_as_code.tenant t WHERE t.model = 'schema'),
    'tables', (SELECT coalesce(jsonb_agg(DISTINCT CASE WHEN strpos(k.name, '.') > 0 THEN k.name ELSE 'public.' || k.name END), '[]')
                 FROM citus_as_code.tenant_group g, jsonb_object_keys(g.spec -> 'tables') k (name)
                WHERE g.grp <> $1 AND g.spec ->> 'model' IN ('row', 'rls') AND NOT $2::jsonb -> 'tables' ? k.name))`;

function sql(group: GroupSpec, { ledger, tables, ask = askAlone }: Probe): string | undefined {
    if (group.model === "routed") return undefined;
    const rows = ROWS.includes(group.model);
    const schema = group.model === "schema" && ledger;
    return `SELECT jsonb_build_object(
        'version', current_setting('server_version_num')::int / 10000,
        'nodes', ${membershipsSql(group, { tables, ask })},
        'catalogs', ${openCatalogs(ask)},
        'definers', ${definersSql(group, ledger)},
        'exposed', ${rows ? exposedSql(group, tables) : "'[]'::jsonb"},
        'anchor', ${rows && group.anchor !== undefined && tables.includes(group.anchor) ? anchorSql(group.name, group.anchor) : "NULL::jsonb"},
        'entered', ${schema ? ENTERED(group.name) : "'[]'::jsonb"},
        'openings', ${schema ? `(SELECT coalesce(jsonb_agg(to_jsonb(o) ORDER BY o.tenant, o.sql), '[]') FROM (${openingsSql(closedSql(group))}) o)` : "'[]'::jsonb"},
        'shut', ${schema ? `(SELECT coalesce(jsonb_agg(t.tenant), '[]') FROM citus_as_code.tenant t WHERE t.grp = $1 AND ${isServed("t.state")} AND t.detail ? 'shut')` : "'[]'::jsonb"},
        'known', ${schema ? KNOWN : "'[]'::jsonb"},
        'outside', ${rows && ledger ? OUTSIDE : `'{"schemas": [], "tables": []}'::jsonb`}${ledger ? `,\n        'pending', ${PENDING_FILES_SQL},\n        'ran', (SELECT coalesce(jsonb_agg(DISTINCT m.path), '[]') FROM citus_as_code.tenant_migration m WHERE m.grp = $1)` : ""})`;
}

/** Files don't change while a process runs, and each look asks again. */
const read = new Map<string, Promise<readonly Finding[]>>();

async function readFiles(
    group: GroupSpec,
    found: FoundIsolation,
    content: (path: string) => string,
): Promise<FoundIsolation> {
    const { pending } = found;
    if (group.template.length === 0 || pending?.length === 0) return { ...found, files: [] };
    const { model } = group;
    const declared = { model, tables: group.tables, known: found.known, outside: found.outside };
    const key = createHash("md5")
        .update(JSON.stringify([group.template, group.baseline, declared, found.version]))
        .digest("hex");
    let findings = read.get(key);
    if (!findings) {
        // a parser of a megabyte, which only files that are to be run need
        const [{ readBounds }, { readPassing }, { readUnrunnable }] = await Promise.all([
            import("../check/read/bounds.ts"),
            import("../check/read/passing.ts"),
            import("../check/read/unrunnable.ts"),
        ]);
        const contents = (of: readonly FileSpec[]) => of.map(({ path }) => ({ path, sql: content(path) }));
        const files = contents(group.template);
        const baseline = contents(group.baseline?.files ?? []);
        findings = Promise.all([
            readUnrunnable([...files, ...baseline], found.version),
            readBounds(files, declared),
            group.rowSecurity ? readPassing(files, declared) : [],
            // it begins with nothing
            readBounds(baseline, { ...declared, known: [] }),
        ]).then((all) => all.flat().filter(({ severity }) => severity === "error"));
        read.set(key, findings);
    }
    return {
        ...found,
        files: (await findings)
            .filter(
                ({ where }) =>
                    pending === undefined ||
                    pending.includes(where) ||
                    group.baseline?.files.some(({ path }) => path === where),
            )
            .map((one) => `${told(one)}${found.ran?.includes(one.where) ? `\n${ranWords(group, one.where)}` : ""}`),
    };
}

/** A finding as a reason to refuse. */
function told({ rule, where, line, says, later, fix }: Finding): string {
    const at = `${where}:${line ?? 1}`;
    if (rule === "SQL") return `${at} is not SQL that the database reads: ${later}.\nCorrect the file.`;
    return rule === "L21" ? `${at} ${says}` : `${at} ${rule}: ${says}.\n${fix.replace(/^-- /, "")}`;
}

/** What to do with a file that other tenants ran, which is refused when it changes. */
const ranWords = (group: GroupSpec, path: string) =>
    `Other tenants ran this file. Correct it, and tell the ledger its new content (npm run psql): ${correctRanByHand(group.name, path)}`;

const sameNames = (a: readonly string[], b: readonly string[]) => [...a].sort().join("\0") === [...b].sort().join("\0");

/** Pure. */
export function planIsolation(group: GroupSpec, found: FoundIsolation): Planned {
    const definers = planDefiners(found.definers);
    const refusals = [
        ...definers.refusals,
        ...(found.files ?? []),
        ...refuseMemberships(group, found.nodes),
        ...(group.rowSecurity ? found.exposed.map((one) => explainExposed(one, group.model)) : []),
        ...found.entered.map(
            ({ tenant, who }) =>
                `${tenant}: ${who.join(", ")} may enter its schema: what is granted in it is open to other tenants.\nREVOKE ALL ON SCHEMA "${tenant}" FROM ${who.map((name) => (name === "PUBLIC" ? name : `"${name}"`)).join(", ")};`,
        ),
    ];
    const steps: Step[] = [];
    if (found.catalogs.length > 0)
        steps.push({
            kind: "isolation.catalogs",
            text: `group ${group.name}: what Citus shows of all tenants is taken from PUBLIC on ${joinNames(found.catalogs, 3)}`,
        });
    for (const [tenant, open] of definers.own)
        steps.push({
            kind: "isolation.pin",
            tenant,
            text: `${tenant}: temporary tables of a caller come last in ${joinNames(
                open.map(({ object }) => object),
                3,
            )}`,
            detail: open.map(({ sql }) => sql),
        });
    const { anchor } = found;
    const columns = group.ownColumns ?? [];
    if (anchor && group.rowSecurity && (anchor.rights.length > 0 || !sameNames(anchor.columns, columns)))
        steps.push({
            kind: "isolation.anchor",
            text: `${group.anchor}: a tenant's own role reads its row there, and may ${columns.length === 0 ? "not change it" : `update ${columns.join(", ")}`}`,
        });
    const tenants = new Map<string, Opening[]>();
    for (const opening of found.openings)
        tenants.set(opening.tenant, [...(tenants.get(opening.tenant) ?? []), opening]);
    for (const [tenant, openings] of tenants)
        steps.push({
            kind: "isolation.close",
            tenant,
            text: `${tenant}: does not write, so it loses ${joinNames(
                openings.map(({ what }) => what),
                3,
            )}`,
            detail: openings,
        });
    for (const tenant of found.shut)
        if (group.tenants[tenant] && !group.tenants[tenant]?.frozen)
            steps.push({
                kind: "isolation.open",
                tenant,
                text: `${tenant}: writes again, and may call its SECURITY DEFINER functions again`,
            });
    return { steps, refusals };
}

const fail = (step: Step, error: unknown) =>
    new Error(
        `${step.text}: failed\n${databaseMessage(error)}\nNothing of this step was changed. Run pulumi up again: it is safe to repeat.`,
    );

export const isolation: Facet<FoundIsolation> = {
    name: "isolation",
    none: NONE,
    sql,
    readFiles,
    plan: planIsolation,
    run: {
        catalogs: async ({ session }: Context) => {
            const failed = await session.query<{ name: string; result: string }>(
                `SELECT n.nodename AS name, r.result FROM run_command_on_all_nodes(${literal(CLOSE_CATALOGS)}) r JOIN pg_dist_node n USING (nodeid) WHERE NOT r.success`,
            );
            const [first] = failed;
            if (first)
                throw new Error(
                    `${first.name}: what Citus shows of all tenants could not be taken from PUBLIC there\n  ${first.result}\nRun pulumi up again: it is safe to repeat.`,
                );
        },
        anchor: async ({ session, group }, steps) => {
            const [step] = steps;
            const on = qualified(group.anchor ?? "");
            const role = identifier(tenantsRole(group.name));
            const columns = group.ownColumns ?? [];
            const grant =
                columns.length === 0 ? "" : `GRANT UPDATE (${columns.map(identifier).join(", ")}) ON ${on} TO ${role};`;
            await transaction(
                session,
                // a right on the whole table takes those on its columns with it
                `SET LOCAL lock_timeout = ${group.lockTimeout}; ${asDoBlock([`REVOKE INSERT, UPDATE, DELETE ON ${on} FROM ${role}`])} ${grant === "" ? "" : asDoBlock([grant])}`,
            ).catch((error: unknown) => {
                throw step ? fail(step, error) : error;
            });
        },
        pin: async (context, steps) => {
            for (const step of steps) {
                context.alive();
                try {
                    await transaction(context.session, asDoBlock(step.detail as readonly string[]));
                } catch (error) {
                    throw fail(step, error);
                }
            }
        },
        close: async (context, steps) => {
            for (const step of steps) {
                context.alive();
                const openings = step.detail as readonly Opening[];
                const back = openings.flatMap(({ back }) => back ?? []);
                const note = noteShut({ group: context.group.name, tenant: step.tenant ?? "" }, back);
                const sql = openings.map((opening) => `${opening.sql};`).join("\n");
                try {
                    await transaction(context.session, back.length === 0 ? sql : `${sql}\n${note}`);
                } catch (error) {
                    throw fail(step, error);
                }
            }
        },
        open: async (context, steps) => {
            for (const step of steps) {
                context.alive();
                const where = "WHERE grp = $1 AND tenant = $2";
                const key = [context.group.name, step.tenant];
                try {
                    const [row] = await context.session.query<{ shut: string[] | null }>(
                        `SELECT detail -> 'shut' AS shut FROM citus_as_code.tenant ${where}`,
                        key,
                    );
                    for (const grant of row?.shut ?? []) await context.session.query(grant);
                    await forgetShut(context.session, { group: context.group.name, tenant: step.tenant ?? "" });
                } catch (error) {
                    throw fail(step, error);
                }
            }
        },
    },
};
