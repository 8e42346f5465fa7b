/** What there is to do so that each tenant has its row in the table of tenants. Pure. */

import { joinNames } from "../../util/joinNames.ts";
import { ownProperty } from "../../util/ownProperty.ts";
import type { Planned, Step } from "../group/facet.ts";
import type { GroupSpec } from "../group/spec.ts";
import type { TenantState } from "../ledger/states.ts";
import type { FoundOnboarding } from "../onboarding/onboarding.ts";

interface AnchorColumn {
    readonly name: string;
    /** NOT NULL without a default. */
    readonly required: boolean;
}

export interface FoundRows {
    /** In the ledger, by tenant. */
    readonly states: Readonly<Record<string, TenantState>>;
    /** Tenants of the program whose row is there; undefined when there is no anchor table yet. */
    readonly present?: readonly string[];
    /** Tenants of the program that are no value of the anchor's key. */
    readonly invalid: readonly string[];
    /** How the database writes a key, where the program writes it otherwise: as its row has it, or as a new one would. */
    readonly spelled: Readonly<Record<string, string>>;
    /** Keys of the program that are one to the database. */
    readonly same: readonly (readonly string[])[];
    readonly type?: string | null;
    readonly columns: readonly AnchorColumn[];
    /** Tenants whose data is still to come from another group. */
    readonly coming: readonly string[];
    /** Tenants whose data is being taken to another group. */
    readonly leaving: readonly string[];
}

/** How many are named before the rest is counted. */
const NAMED = 10;

const named = (names: readonly string[]) => joinNames(names, NAMED);

export const keyColumn = (group: GroupSpec) => group.tables[group.anchor ?? ""]?.column ?? "";

/** Tenants by a column, for one refusal a column. */
class ByColumn extends Map<string, string[]> {
    add(column: string, tenant: string): void {
        this.set(column, [...(this.get(column) ?? []), tenant]);
    }
}

/** What is found, for many tenants. */
interface Known {
    readonly states: FoundRows["states"];
    readonly present: ReadonlySet<string>;
    /** Whether there is a table in which a row can be. */
    readonly looked: boolean;
    readonly coming: ReadonlySet<string>;
    readonly leaving: ReadonlySet<string>;
}

/** What one tenant needs whose key can be one, and whose row can be made. */
function stepOf(group: GroupSpec, tenant: string, found: Known): Step | undefined {
    const spec = group.tenants[tenant];
    const anchor = group.anchor ?? "";
    const wanted = spec?.frozen ? "frozen" : "active";
    const state = found.states[tenant];
    if (found.coming.has(tenant))
        return spec?.frozen && state === undefined
            ? {
                  kind: "rows.state",
                  tenant,
                  text: `${tenant}: will be frozen once its data has come`,
                  detail: wanted,
              }
            : undefined;
    const frozen = spec?.frozen ? ", frozen: it reads and does not write" : "";
    if (!found.present.has(tenant)) {
        const gone = found.looked && (state === "active" || state === "frozen");
        return {
            kind: "rows.create",
            tenant,
            text: gone
                ? `${tenant}: its row in ${anchor} was deleted by hand and is put back; other rows that were deleted are not`
                : `${tenant}: a row in ${anchor}${frozen}`,
            detail: { gone },
        };
    }
    if (state === undefined || state === "creating")
        return {
            kind: "rows.create",
            tenant,
            text: `${tenant}: is in ${anchor} already, and is taken into this group${frozen}`,
            detail: { gone: false },
        };
    if (state === wanted || found.leaving.has(tenant)) return undefined;
    return {
        kind: "rows.state",
        tenant,
        text: wanted === "frozen" ? `${tenant}: is frozen: it reads and does not write` : `${tenant}: writes again`,
        detail: wanted,
    };
}

/** Keys that are none to the database. */
function refuseKeys(group: GroupSpec, found: FoundRows): string[] {
    const refusals: string[] = [];
    const key = `${group.anchor ?? ""}.${keyColumn(group)}`;
    const list = found.type?.endsWith("[]");
    const wrong = new Set(list ? [] : found.invalid);
    if (list)
        refusals.push(
            `${key} is of type ${found.type}: a list can't be a tenant's key. Use a column of type bigint, uuid or text`,
        );
    for (const names of found.same)
        refusals.push(
            `${names.join(" and ")} are the same key to the database (type ${found.type}): take all but one out of tenants`,
        );
    for (const tenant of wrong) {
        const from = group.tenants[tenant]?.from;
        if (from === undefined) continue;
        wrong.delete(tenant);
        refusals.push(
            `${tenant}: its data comes from ${from.group}/${from.tenant}, and its key here must be a value of ${key}, which is of type ${found.type ?? "another kind"}: write tenants: {"<its key>": {"from": "${from.group}/${from.tenant}"}}`,
        );
    }
    if (wrong.size > 0)
        refusals.push(
            `${named([...wrong])}: not of type ${found.type ?? "value"}, as ${key} is: correct the keys of tenants`,
        );
    return refusals;
}

/** Values that new rows must have and the program does not give, and those that no column takes. */
function refuseValues(group: GroupSpec, tenants: readonly string[], found: FoundRows): string[] {
    const anchor = group.anchor ?? "";
    const columns = new Set(found.columns.map(({ name }) => name));
    const required = found.columns.filter((c) => c.required && c.name !== keyColumn(group)).map(({ name }) => name);
    const lacking = new ByColumn();
    const unknown = new ByColumn();
    for (const tenant of tenants) {
        const values = group.tenants[tenant]?.values ?? {};
        for (const column of required) if ((values[column] ?? null) === null) lacking.add(column, tenant);
        if (columns.size > 0)
            for (const column of Object.keys(values)) if (!columns.has(column)) unknown.add(column, tenant);
    }
    return [
        ...[...lacking].map(
            ([column, of]) =>
                `${anchor}.${column} must have a value, and ${named(of)} ${of.length === 1 ? "gives" : "give"} none: say values: {"${column}": ...}, or give the column a default in a file of template`,
        ),
        ...[...unknown].map(
            ([column, of]) =>
                `${anchor} has no column ${column}, which values of ${named(of)} ${of.length === 1 ? "names" : "name"}: correct it, or add the column in a file of template`,
        ),
    ];
}

/** Tenants that are served and that neither the program nor create_tenant names. */
function notInProgram(group: GroupSpec, found: FoundRows, onboarded: readonly string[]): string[] {
    const others = Object.entries(found.states)
        .filter(
            ([name, state]) =>
                (state === "active" || state === "frozen") &&
                !Object.hasOwn(group.tenants, name) &&
                !onboarded.includes(name) &&
                !group.delete.includes(name),
        )
        .map(([name]) => name);
    if (others.length === 0) return [];
    const [them, theyAre] = others.length === 1 ? ["it", "it is"] : ["them", "they are"];
    return [
        `${named(others)}: not in the program any more, and left as ${theyAre}. To delete ${them}, give ${them} the state deleted.`,
    ];
}

/** Pure. */
export function planRows(group: GroupSpec, found: FoundRows, all: Readonly<Record<string, unknown>> = {}): Planned {
    const steps: Step[] = [];
    const refusals: string[] = [];
    const notes: string[] = [];
    const anchor = group.anchor ?? "";
    const wrong = new Set(found.invalid);
    const present = new Set(found.present);
    const known: Known = {
        states: found.states,
        present,
        looked: found.present !== undefined,
        coming: new Set(found.coming),
        leaving: new Set(found.leaving),
    };
    for (const tenant of Object.keys(group.tenants)) {
        if (wrong.has(tenant)) continue;
        const state = found.states[tenant];
        const spelled = ownProperty(found.spelled, tenant);
        if (spelled !== undefined) {
            refusals.push(
                `${tenant}: ${anchor}.${keyColumn(group)} is of type ${found.type}, and the database writes this key as ${spelled}: write it like that in the program`,
            );
        } else if (state === "superseded" || state === "deleting") {
            notes.push(
                state === "superseded"
                    ? `${tenant}: its data went to another group. The old rows stay, and no tenant sees them. Take ${tenant} out of tenants here.`
                    : `${tenant}: its deletion has begun. Give ${tenant} the state deleted to finish it.`,
            );
        } else {
            const step = stepOf(group, tenant, known);
            if (step) steps.push(step);
        }
    }
    const made = steps.flatMap(({ kind, tenant = "" }) =>
        kind === "rows.create" && !present.has(tenant) ? [tenant] : [],
    );
    refusals.push(...refuseKeys(group, found), ...refuseValues(group, made, found));
    const onboarded = (all.onboarding as FoundOnboarding | undefined)?.onboarded ?? [];
    notes.push(...notInProgram(group, found, onboarded));
    return { steps, refusals, notes };
}
