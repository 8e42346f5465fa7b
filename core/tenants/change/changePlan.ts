/** Tenants that come from another group: which can, what that takes, and what stands in the way. Pure. */

import { countOf } from "../../util/countOf.ts";
import { type Named, pairUp, type Slice, slicesOf, splitName, type TableShape, unpaired } from "../data/shape.ts";
import type { Planned, Step } from "../group/facet.ts";
import type { GroupSpec, Model } from "../group/spec.ts";
import type { Phase } from "../ledger/changes.ts";
import type { TenantState } from "../ledger/states.ts";

/** From which model to which a tenant can go. */
const WAYS: readonly (readonly [Model, Model])[] = [
    ["rls", "row"],
    ["row", "schema"],
    ["schema", "row"],
    ["schema", "database"],
    ["database", "schema"],
];

export interface LedgerTenant {
    readonly model: Model;
    readonly state: TenantState;
    readonly node: string | null;
    readonly detail: Readonly<Record<string, unknown>>;
}

export interface Pending {
    /** How far it is; null before it began. */
    readonly change: { readonly from_grp: string; readonly from_tenant: string; readonly phase: Phase } | null;
    /** The other group as its last change left it; null when there is none. */
    readonly group: GroupSpec | null;
    /** The tenant there; null when nothing was written down about it. */
    readonly source: LedgerTenant | null;
    readonly target: LedgerTenant | null;
}

export interface Counted {
    readonly schema: string;
    readonly name: string;
    /** Whose rows were counted; empty where all of the table are. */
    readonly key: string;
    readonly rows: number;
}

/** A change that was begun and not ended. */
export interface Unfinished {
    /** The other tenant, as `group/tenant`. */
    readonly other: string;
    readonly phase: Phase;
}

export interface ChangeFound {
    /** How many tenants of the group there are, by the model that they are in; old copies that are kept count, too. */
    readonly models: Readonly<Partial<Record<Model, number>>>;
    /** The group's tenants whose data went elsewhere, with where it is. */
    readonly gone: Readonly<Record<string, string | null>>;
    /** Every tenant with `from`, unless that is done. */
    readonly pending: Readonly<Record<string, Pending>>;
    /** Tenants that were on their way here, and that the program does not take from anywhere any more. */
    readonly unwanted: Readonly<Record<string, Unfinished>>;
    /** The group's tenants that are on their way elsewhere. */
    readonly leaving: Readonly<Record<string, Unfinished>>;
    readonly shapes: readonly TableShape[];
    readonly counted: readonly Counted[];
    /** Names of the tables that the template makes in a new place; undefined where only running it shows that. */
    readonly made?: readonly string[] | undefined;
    /** Rows a second, as measured here. */
    readonly rate: number | null;
}

export const NOTHING_FOUND: ChangeFound = {
    models: {},
    gone: {},
    pending: {},
    unwanted: {},
    leaving: {},
    shapes: [],
    counted: [],
    rate: null,
};

/** Rows a second where nothing was measured: copied once, and read twice for the checksums. */
const USUAL_RATE = 50_000;

const isByKey = (model: Model) => model === "rls" || model === "row";

/** Why there is no such change, or undefined. */
function objection(group: GroupSpec, tenant: string, pending: Pending): string | undefined {
    const spec = group.tenants[tenant];
    const from = spec?.from;
    if (!from) return undefined;
    const name = `${from.group}/${from.tenant}`;
    const { change, group: other, source } = pending;
    if (change && (change.from_grp !== from.group || change.from_tenant !== from.tenant)) {
        const before = `${change.from_grp}/${change.from_tenant}`;
        return change.phase === "done"
            ? `${tenant}: it came from ${before}, and now says from ${name}. A tenant comes from one place: give it its old \`from\`, or take the line out.`
            : `${tenant}: it is half way from ${before} (${change.phase}), and now says from ${name}. Nothing was switched. To finish the old change, give it its old \`from\` and run pulumi up. To undo it, give it no \`from\`.`;
    }
    if (change?.phase === "done") return undefined;
    if (from.group === group.name) return `${tenant}: from ${name} is in its own group; it must be another group.`;
    if (!other)
        return `${tenant}: from ${name}: this cluster knows no group ${from.group}. Run pulumi up with that group first, or correct the name.`;
    if (!WAYS.some(([before, after]) => before === other.model && after === group.model))
        return `${tenant}: from ${name}: a tenant can't go from model ${other.model} to ${group.model}. It can go ${WAYS.map(([before, after]) => `${before} to ${after}`).join(", ")}: go by a model in between.`;
    if (!source && !isByKey(other.model))
        return `${tenant}: from ${name}: group ${from.group} has no tenant ${from.tenant}. Correct the name.`;
    if (source?.state === "superseded")
        return `${tenant}: from ${name}: its data went to ${String(source.detail.moved_to ?? "another group")} before, and what is left there is the old copy. Take the data from there.`;
    if (source?.state === "deleting" || source?.state === "creating")
        return `${tenant}: from ${name}: that tenant is ${source.state === "deleting" ? "being deleted" : "not made yet"}. Run pulumi up with group ${from.group} first.`;
    return undefined;
}

/** Tables of a place that has none yet, as they will be; undefined where that is not known. */
function expected(group: GroupSpec, { target }: Pending, { made }: ChangeFound): Named[] | undefined {
    if (isByKey(group.model))
        return Object.entries(group.tables).flatMap(([full, { column }]) =>
            column === undefined
                ? []
                : [{ name: splitName(full).name, ...(full === group.anchor ? { anchor: true } : {}) }],
        );
    // what is in a database that is there shows when the change begins
    if (group.model === "database" && target !== null) return undefined;
    return group.template.length === 0 ? [] : made?.map((name) => ({ name }));
}

/** What stands in the way of a change into a place whose tables are still to be made, and what is to be known of it. */
function foresee(
    group: GroupSpec,
    source: readonly Slice[],
    tables: readonly Named[] | undefined,
): Required<Omit<Planned, "steps">> {
    const template = `the template of ${group.name}`;
    if (tables === undefined)
        return {
            refusals: [],
            notes: source
                .filter(({ anchor }) => anchor)
                .map(
                    ({ name, table }) =>
                        `its row of ${where(table)} stays behind unless ${template} makes a table ${name}`,
                ),
        };
    if (tables.length === 0) {
        const names = source.filter(({ anchor }) => !anchor).map(({ name }) => name);
        const wanted = names.length === 0 ? "the tables that it has where it is" : names.join(", ");
        return {
            refusals: [
                `the group that it goes to has no table, and no file of ${template} makes one. Rows are copied into existing tables: write files that make ${wanted}, without a tenant column.`,
            ],
            notes: [],
        };
    }
    const { refusals, notes } = unpaired(source, tables);
    const makes = isByKey(group.model) ? `${group.name} declares` : `${template} makes`;
    return {
        refusals: refusals.map((refusal) => `${refusal}: ${makes} ${tables.map(({ name }) => name).join(", ")}.`),
        notes,
    };
}

const where = (table: { schema: string; name: string }) =>
    table.schema === "public" ? table.name : `${table.schema}.${table.name}`;

/** One tenant: its step, or every reason against it. */
function planOne(group: GroupSpec, tenant: string, found: ChangeFound, pending: Pending): Planned {
    const against = objection(group, tenant, pending);
    if (against !== undefined) return { steps: [], refusals: [against] };
    const from = group.tenants[tenant]?.from;
    const { change, group: other, source: known } = pending;
    if (change?.phase === "done" || !from || !other) return { steps: [] };
    const name = `${from.group}/${from.tenant}`;
    const source = slicesOf(other, from.tenant, other.model === "database" ? [] : found.shapes);
    const target = slicesOf(group, tenant, group.model === "database" ? [] : found.shapes);
    const refusals: string[] = [];
    const notes: string[] = [];
    // a database is looked into when the change begins, and what earlier steps make is not there yet
    if (source.length > 0 && target.length > 0) {
        const paired = pairUp(source, target, Object.keys(group.tenants[tenant]?.values ?? {}));
        refusals.push(...paired.refusals.map((refusal) => `${tenant}: from ${name}: ${refusal}.`));
        notes.push(...paired.notes.map((note) => `${tenant}: from ${name}: ${note}`));
    }
    const fresh = !change || change.phase === "plan";
    const tables = target.length > 0 ? target : expected(group, pending, found);
    if (target.length === 0 && fresh) {
        const foreseen = foresee(group, source, tables);
        // a database's own tables show when the change begins
        if (source.length > 0 || tables?.length === 0)
            refusals.push(...foreseen.refusals.map((refusal) => `${tenant}: from ${name}: ${refusal}`));
        notes.push(...foreseen.notes.map((note) => `${tenant}: from ${name}: ${note}`));
    }
    const rowsOf = (slices: typeof source) =>
        slices.map(({ table, key, anchor }) => ({
            table,
            anchor,
            rows:
                found.counted.find(
                    (c) => c.schema === table.schema && c.name === table.name && c.key === (key?.value ?? ""),
                )?.rows ?? 0,
        }));
    const sum = (slices: typeof source) => rowsOf(slices).reduce((sum, { rows }) => sum + rows, 0);
    if (source.length > 0 && sum(source) === 0 && !known)
        refusals.push(`${tenant}: from ${name}: group ${from.group} has no tenant ${from.tenant}. Correct the name.`);
    if (fresh) {
        for (const { table, rows, anchor } of rowsOf(target))
            if (rows > 0 && !anchor)
                refusals.push(
                    `${tenant}: from ${name}: ${where(table)} has ${countOf(rows, "row")} of ${tenant} already, and a change of model does not mix rows. Empty it, or take out \`from\`.`,
                );
    }
    const copied = source.filter(({ name }) => !tables || tables.some((other) => other.name === name));
    const rows = sum(copied);
    const seconds = Math.ceil(rows / (found.rate ?? USUAL_RATE)) || 1;
    const what =
        source.length === 0
            ? `copies its tables (from ${name}); its writes are blocked meanwhile`
            : `copies ${countOf(copied.length, "table")}, ${countOf(rows, "row")} (from ${name}); its writes are blocked meanwhile, about ${seconds} s`;
    const step: Step = {
        kind: "change.move",
        tenant,
        text: `${tenant}: ${other.model} → ${group.model}: ${change ? "goes on: " : ""}${what}; the old copy stays`,
    };
    return { steps: refusals.length > 0 ? [] : [step], refusals, notes };
}

/** The refusal of a group whose model was edited: its tenants' data is where the old model has it. */
export function otherModel(group: GroupSpec, model: string, n: number): string {
    const how = WAYS.some(([before, after]) => before === model && after === group.model)
        ? "take its tenants into a new group by `from`"
        : `make a new group of model ${group.model}: tenants come into it by \`from\`, if their model can go there (${WAYS.map(([before, after]) => `${before} to ${after}`).join(", ")})`;
    return `${group.name}: ${countOf(n, "tenant")} of it ${n === 1 ? "is" : "are"} in model ${model}, and the program says ${group.model}. Give ${group.name} its model ${model} back, and ${how}.`;
}

export function planChange(group: GroupSpec, found: ChangeFound): Required<Planned> {
    const steps: Step[] = [];
    const refusals: string[] = [];
    const notes: string[] = [];
    for (const [model, n] of Object.entries(found.models)) {
        if (model === group.model || n === 0) continue;
        if (model === "rls" && group.model === "row")
            steps.push({
                kind: "change.model",
                text: `${group.name}: rls → row: ${countOf(n, "tenant")}, in the tables that they are in`,
            });
        else refusals.push(otherModel(group, model, n));
    }
    for (const [tenant, { other, phase }] of Object.entries(found.unwanted))
        steps.push({
            kind: "change.undo",
            tenant,
            text: `${tenant}: its change from ${other}, which was begun (${phase}) and which the program does not name any more, is undone: ${other} takes writes again, and what was copied is left in ${group.name}/${tenant}`,
        });
    for (const [tenant, { other, phase }] of Object.entries(found.leaving))
        notes.push(
            `${tenant}: its change to ${other} was begun (${phase}) and not ended, and it takes no writes meanwhile. pulumi up with group ${other.split("/")[0]} ends it where ${other} says \`from\`, and undoes it where it does not`,
        );
    const sources = new Map<string, string>();
    for (const [tenant, pending] of Object.entries(found.pending)) {
        const planned = planOne(group, tenant, found, pending);
        steps.push(...planned.steps);
        refusals.push(...(planned.refusals ?? []));
        notes.push(...(planned.notes ?? []));
        const from = group.tenants[tenant]?.from;
        const name = from && `${from.group}/${from.tenant}`;
        const other = name && sources.get(name);
        if (other) refusals.push(`${tenant}: ${other} is from ${name} too. A tenant goes to one place: take one out.`);
        if (name) sources.set(name, tenant);
    }
    for (const [tenant, to] of Object.entries(found.gone)) {
        if (tenant in group.tenants && !group.delete.includes(tenant))
            notes.push(
                `${tenant}: its data went to ${to ?? "another group"}; the old copy is kept and takes no writes, until it has the state deleted in ${group.name}`,
            );
    }
    return { steps, refusals, notes };
}
