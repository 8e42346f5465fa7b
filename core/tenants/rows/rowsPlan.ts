/** What there is to do so that each tenant has its row in the table of tenants. Pure. */

import { listed } from "../../util/listed.ts";
import { own } from "../../util/ownProperty.ts";
import type { Planned, Step } from "../group/facet.ts";
import type { GroupSpec } from "../group/spec.ts";
import type { FoundOnboarding } from "../onboarding/onboarding.ts";

interface AnchorColumn {
    readonly name: string;
    /** NOT NULL without a default. */
    readonly required: boolean;
}

export interface FoundRows {
    /** In the ledger, by tenant. */
    readonly states: Readonly<Record<string, string>>;
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

const named = (names: readonly string[]) => listed(names, NAMED);

export const keyColumn = (group: GroupSpec) => group.tables[group.anchor ?? ""]?.column ?? "";

/** Pure. */
export function planRows(group: GroupSpec, found: FoundRows, all: Readonly<Record<string, unknown>> = {}): Planned {
    const steps: Step[] = [];
    const refusals: string[] = [];
    const notes: string[] = [];
    const anchor = group.anchor ?? "";
    const present = new Set(found.present ?? []);
    const coming = new Set(found.coming);
    const leaving = new Set(found.leaving);
    const columns = new Set(found.columns.map(({ name }) => name));
    const required = found.columns.filter((c) => c.required && c.name !== keyColumn(group)).map(({ name }) => name);
    const lacking = new Map<string, string[]>();
    const unknown = new Map<string, string[]>();
    const add = (map: Map<string, string[]>, key: string, tenant: string) =>
        map.set(key, [...(map.get(key) ?? []), tenant]);
    const wrong = new Set(found.invalid);

    for (const [tenant, spec] of Object.entries(group.tenants)) {
        if (wrong.has(tenant)) continue;
        const wanted = spec.frozen ? "frozen" : "active";
        const state = found.states[tenant];
        const spelled = own(found.spelled, tenant);
        if (spelled !== undefined) {
            refusals.push(
                `${tenant}: ${anchor}.${keyColumn(group)} is of type ${found.type}, and the database writes this key as ${spelled}: write it like that in the program`,
            );
            continue;
        }
        if (state === "superseded" || state === "deleting") {
            notes.push(
                state === "superseded"
                    ? `${tenant}: its data went to another group. The old rows stay, and no tenant sees them. Take ${tenant} out of tenants here.`
                    : `${tenant}: its deletion has begun. Give ${tenant} the state deleted to finish it.`,
            );
            continue;
        }
        if (coming.has(tenant)) {
            if (spec.frozen && state === undefined)
                steps.push({
                    kind: "rows.state",
                    tenant,
                    text: `${tenant}: will be frozen once its data has come`,
                    detail: wanted,
                });
            continue;
        }
        const there = present.has(tenant);
        const frozen = spec.frozen ? ", frozen: it reads and does not write" : "";
        if (!there) {
            for (const column of required) if ((spec.values?.[column] ?? null) === null) add(lacking, column, tenant);
            if (columns.size > 0)
                for (const column of Object.keys(spec.values ?? {}))
                    if (!columns.has(column)) add(unknown, column, tenant);
            const gone = found.present !== undefined && (state === "active" || state === "frozen");
            steps.push({
                kind: "rows.create",
                tenant,
                text: gone
                    ? `${tenant}: its row in ${anchor} was deleted by hand and is put back; other rows that were deleted are not`
                    : `${tenant}: a row in ${anchor}${frozen}`,
                detail: { gone },
            });
        } else if (state === undefined || state === "creating") {
            steps.push({
                kind: "rows.create",
                tenant,
                text: `${tenant}: is in ${anchor} already, and is taken into this group${frozen}`,
                detail: { gone: false },
            });
        } else if (state !== wanted && !leaving.has(tenant)) {
            steps.push({
                kind: "rows.state",
                tenant,
                text:
                    wanted === "frozen"
                        ? `${tenant}: is frozen: it reads and does not write`
                        : `${tenant}: writes again`,
                detail: wanted,
            });
        }
    }
    if (found.type?.endsWith("[]")) wrong.clear();
    if (found.type?.endsWith("[]"))
        refusals.push(
            `${anchor}.${keyColumn(group)} is of type ${found.type}: a list can't be a tenant's key. Use a column of type bigint, uuid or text`,
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
            `${tenant}: its data comes from ${from.group}/${from.tenant}, and its key here must be a value of ${anchor}.${keyColumn(group)}, which is of type ${found.type ?? "another kind"}: write tenants: {"<its key>": {"from": "${from.group}/${from.tenant}"}}`,
        );
    }
    if (wrong.size > 0)
        refusals.push(
            `${named([...wrong])}: not of type ${found.type ?? "value"}, as ${anchor}.${keyColumn(group)} is: correct the keys of tenants`,
        );
    for (const [column, tenants] of lacking)
        refusals.push(
            `${anchor}.${column} must have a value, and ${named(tenants)} ${tenants.length === 1 ? "gives" : "give"} none: say values: {"${column}": ...}, or give the column a default in a file of template`,
        );
    for (const [column, tenants] of unknown)
        refusals.push(
            `${anchor} has no column ${column}, which values of ${named(tenants)} ${tenants.length === 1 ? "names" : "name"}: correct it, or add the column in a file of template`,
        );
    const onboarded = (all.onboarding as FoundOnboarding | undefined)?.onboarded ?? [];
    const others = Object.entries(found.states)
        .filter(
            ([name, state]) =>
                ["active", "frozen"].includes(state) &&
                !Object.hasOwn(group.tenants, name) &&
                !onboarded.includes(name) &&
                !group.delete.includes(name),
        )
        .map(([name]) => name);
    if (others.length > 0)
        notes.push(
            `${named(others)}: not in the program any more, and left as ${others.length === 1 ? "it is" : "they are"}. To delete ${others.length === 1 ? "it" : "them"}, give ${others.length === 1 ? "it" : "them"} the state deleted.`,
        );
    return { steps, refusals, notes };
}
