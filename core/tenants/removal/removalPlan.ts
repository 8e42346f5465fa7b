/** What there is to do so that tenants whose state is `deleted` are gone. Pure. */

import { identifier, literal } from "../../sql/quote.ts";
import { describeBytes } from "../../util/bytes.ts";
import { countOf } from "../../util/countOf.ts";
import { describeDuration } from "../../util/describeDuration.ts";
import { joinNames } from "../../util/joinNames.ts";
import { ownProperty } from "../../util/ownProperty.ts";
import { databaseOf } from "../data/shape.ts";
import {
    type DatabasesFound,
    databaseOn,
    explainForeign,
    explainMisplaced,
    nodesWith,
} from "../databases/databaseFound.ts";
import { EXAMPLE } from "../exports/exportTarget.ts";
import type { Planned, Step } from "../group/facet.ts";
import type { GroupSpec } from "../group/spec.ts";
import { keptOutside, type Outside, outsideRefusal } from "../isolation/outside.ts";
import { listUndeclared, type Undeclared, undeclaredNote, undeclaredRefusal } from "../tables/undeclared.ts";
import { changesOthers, type Reference } from "./removeReferences.ts";
import { locksOthers } from "./removeRows.ts";

interface FoundTenant {
    /** The state in the ledger; null when the ledger does not have the tenant. */
    readonly state: string | null;
    readonly movedTo: string | null;
    /** Whether it was deleted before. */
    readonly tombstone: boolean;
    /** The tenant that its data is on the way to, while a change of model is not done. */
    readonly taken: string | null;
    /** Model schema: whether there is one of its name, and whether Citus has it as a tenant's. */
    readonly schema: boolean;
    readonly distributed: boolean;
}

export interface FoundRemoval {
    readonly tenants: Readonly<Record<string, FoundTenant>>;
    /** Models row and rls: how many rows keys of deleted tenants have, by table. */
    readonly rows: Readonly<Record<string, Readonly<Record<string, number>>>>;
    /** Bytes of a row, by table. */
    readonly widths?: Readonly<Record<string, number>>;
    /** Foreign keys to the group's tables with a tenant column, by their place among these. */
    readonly references?: readonly Reference[];
    /** Rows a second of the last delete; null before the first. */
    readonly rate?: number | null;
    /** Models row and rls: tables that may hold tenants' rows and that the group does not declare. */
    readonly undeclared?: readonly Undeclared[];
    /** Models schema and database: what lies outside a tenant's schema or database. */
    readonly outside?: Readonly<Record<string, Outside>>;
}

export const hasRows = ({ model }: GroupSpec) => model === "row" || model === "rls";

/** Tables with the column that says whose a row is. */
export const tenantTables = (group: GroupSpec) =>
    Object.entries(group.tables).flatMap(([table, { column }]) => (column === undefined ? [] : [{ table, column }]));

/** What there is of a name that the ledger does not have. */
function stranger(group: GroupSpec, tenant: string, found: FoundTenant | undefined, databases?: DatabasesFound) {
    if (group.model === "schema" && found?.schema) return "a schema of its name";
    const nodes = group.model === "database" && databases ? nodesWith(databases, databaseOf(tenant)) : [];
    return nodes.length === 0 ? undefined : `a database of its name on ${nodes.join(", ")}`;
}

/**
 * Pure.
 * @param onRunner whether files of this machine go when this run has ended
 */
export function planRemoval(
    group: GroupSpec,
    all: FoundRemoval,
    databases: DatabasesFound | undefined,
    onRunner: boolean,
): Planned {
    const { tenants, rows, undeclared = [], outside = {} } = all;
    const steps: Step[] = [];
    const refusals: string[] = [];
    const notes: string[] = [];
    for (const tenant of group.delete) {
        const found = ownProperty(tenants, tenant);
        const state = found?.state ?? null;
        const beside = ownProperty(outside, tenant);
        const tables = Object.keys(rows).filter((table) => ownProperty(rows[table] ?? {}, tenant) !== undefined);
        const others = state === null ? stranger(group, tenant, found, databases) : undefined;
        const refused =
            state === null
                ? undefined
                : (refuseSchema(group, tenant, found) ?? refuseDatabase(group, tenant, databases));
        if (others !== undefined) {
            refusals.push(
                `${tenant}: ${found?.tombstone ? `was deleted, and there is ${others} again` : `has the state deleted, and there is ${others}`}, which group ${group.name} did not make. It is not deleted. Take ${tenant} out of tenants, and drop it yourself if nobody needs it.`,
            );
        } else if (refused !== undefined) {
            refusals.push(refused);
        } else if (state === null && tables.length === 0) {
            if (!found?.tombstone) notes.push(`${tenant}: has the state deleted, and nothing of it exists`);
        } else if (found?.taken != null) {
            refusals.push(
                `${tenant}: has the state deleted, and its data is on its way to ${found.taken}. It is not deleted. Take ${tenant} out of tenants and run pulumi up, which ends that change. The old copy can be deleted after that.`,
            );
        } else if (state === null && found?.tombstone) {
            refusals.push(
                `${tenant}: was deleted, and there are rows of it again (${tables.join(", ")}). A name that kept the state deleted does not delete them: take ${tenant} out of tenants. To delete these rows too, give ${tenant} the state active, run pulumi up, then give it the state deleted.`,
            );
        } else if (undeclared.length > 0) {
            refusals.push(undeclaredRefusal(group, tenant, undeclared));
        } else if (outsideRefusal(group, tenant, beside) !== undefined) {
            refusals.push(outsideRefusal(group, tenant, beside) ?? "");
        } else {
            const kept = keptOutside(beside);
            if (kept !== undefined)
                notes.push(`${tenant}: outside its ${group.model}, and kept when it is deleted: ${kept}`);
            const given = ownProperty(group.given ?? {}, tenant);
            const to = group.exports === undefined ? "" : ` to ${group.exports}`;
            const what =
                state === "deleting"
                    ? "go on deleting it, and prove that nothing is left"
                    : found?.movedTo != null
                      ? `export its old copy (its data is in ${found.movedTo})${to}, delete it, and prove that nothing is left`
                      : given
                        ? `compare it with its export ${given.file}, delete it, and prove that nothing is left`
                        : `export it${to}, delete it, and prove that nothing is left`;
            const weight = hasRows(group) ? weigh(group, tenant, all) : undefined;
            if (onRunner && group.exports === undefined && !given)
                refusals.push(
                    `${tenant}: is to be deleted, and its export would be a file of this CI runner (CI is set), which goes when the run has ended. It is not deleted.\nSet exports of group ${group.name} to ${EXAMPLE} that outlives the runner.`,
                );
            else if (weight?.refusal !== undefined) refusals.push(weight.refusal);
            else
                steps.push({
                    kind: "removal.delete",
                    tenant,
                    text: `${tenant}: ${what}${weight === undefined ? "" : `; ${weight.text}`}`,
                    detail: { kept },
                });
        }
    }
    // where a tenant is refused for them they are named already
    if (undeclared.length > 0 && !refusals.some((refusal) => refusal.includes(listUndeclared(undeclared))))
        notes.push(undeclaredNote(group, undeclared));
    return { steps, refusals, notes };
}

/** Rows a second, where no delete was measured yet: a part of what a small machine does. */
const USUAL_DELETE_RATE = 50_000;

/** Seconds for which others' writes may wait without being allowed to. */
const LONGEST_WAIT = 5;

/** How much of a tenant there is to delete, how long that takes about, and who waits. */
function weigh(group: GroupSpec, tenant: string, { rows, widths = {}, references = [], rate }: FoundRemoval) {
    const counts = Object.entries(rows).flatMap(([table, keys]) => {
        const count = ownProperty(keys, tenant);
        return count === undefined ? [] : [{ table, count, bytes: count * (widths[table] ?? 0) }];
    });
    const total = counts.reduce((sum, { count }) => sum + count, 0);
    const bytes = counts.reduce((sum, one) => sum + one.bytes, 0);
    const seconds = total / (rate ?? USUAL_DELETE_RATE);
    const most = counts
        .sort((a, b) => b.count - a.count)
        .map(({ table, count }) => `${table} ${count.toLocaleString("en")}`);
    const lasts = `${countOf(total, "row")} (${joinNames(most)}), ${describeBytes(bytes)}, ${describeDuration(total, rate ?? USUAL_DELETE_RATE)}${rate == null ? " (no delete was measured yet on this cluster)" : ""}`;
    const tables = tenantTables(group);
    const changing = references.filter((one) =>
        changesOthers(one, one.from === null ? undefined : tables[one.from]?.column, tables[one.to]?.column),
    );
    if (!locksOthers(group, changing.length > 0)) return { text: `${lasts}; nobody else waits` };
    const why =
        changing.length > 0
            ? `a foreign key of ${[...new Set(changing.map(({ other }) => other))].join(", ")} may change rows of others with it`
            : "rowSecurity is false, so nothing else keeps the application from writing to it";
    const text = `${lasts}; other tenants' writes to ${tables.map(({ table }) => table).join(", ")} wait as long, because ${why}`;
    const missing = tables.filter(({ table }) => !group.allow.includes(table)).map(({ table }) => table);
    if (seconds <= LONGEST_WAIT || missing.length === 0) return { text };
    return {
        text,
        refusal: `${tenant}: is to be deleted: ${text}. It is not deleted.\nTo allow that, put ${missing.map((table) => `"${table}"`).join(", ")} into allow, and run pulumi up at a quiet time.`,
    };
}

/** Why a tenant's schema is not deleted: one that was made by hand under its name is not distributed, so whose it is can't be told. */
function refuseSchema(group: GroupSpec, tenant: string, found: FoundTenant | undefined): string | undefined {
    if (group.model !== "schema" || !found?.schema || found.distributed) return undefined;
    return `${tenant}: its schema is not distributed, so somebody may have made it in the place of the tenant's. It is not deleted.\nIf it is the tenant's: SELECT citus_schema_distribute(${literal(tenant)});\nIf not, rename it: ALTER SCHEMA ${identifier(tenant)} RENAME TO …; then run pulumi up again.`;
}

/** Why the database that the ledger has for a tenant is not deleted. One that may be half-made is looked into when it is. */
function refuseDatabase(group: GroupSpec, tenant: string, databases?: DatabasesFound): string | undefined {
    const row = databases?.ledger.find((one) => one.tenant === tenant);
    // a move that is not ended is ended before
    if (!databases || !row || row.detail.move) return undefined;
    const name = databaseOf(tenant);
    const nodes = nodesWith(databases, name);
    const node = nodes.find((one) => one === row.node) ?? nodes[0];
    const comment = databaseOn(databases, node, name)?.comment;
    if (node === undefined || comment === undefined) return undefined;
    const halfMade = node === row.node && comment === null && ["creating", "deleting"].includes(row.state);
    return halfMade
        ? undefined
        : (explainForeign(group, { ...row, node }, comment) ?? explainMisplaced(group, row, databases));
}
