/** Groups of tenants as they were written, to specifications or every mistake. Pure but for the files that they name. */

import { GROUP_NAME } from "../../../core/tenants/group/names.ts";
import type { GroupSpec } from "../../../core/tenants/group/spec.ts";
import { record } from "../../../core/util/fields.ts";
import { type Mistake, pathOf } from "../../../core/util/mistakes.ts";
import { shown } from "../../../core/util/shown.ts";
import { signInOf } from "./access.ts";
import { groupShape } from "./fields.ts";
import { readFiles } from "./groupFiles.ts";
import { isEmpty, type Known, OWN_PLACE, ROWS } from "./groupKeys.ts";
import { groupMistakes, rolesOf } from "./groupMistakes.ts";
import { definedOnly, givenOf, kept, tablesOf, tenantSpec } from "./groupSpec.ts";
import { withoutWrong } from "./withoutWrong.ts";

/** No groups, which is asked without writing out all of them. */
const isNone = (value: unknown) =>
    typeof value === "object" && value !== null ? Object.keys(value).length === 0 : isEmpty(value);

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
