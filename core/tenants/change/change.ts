/** A living tenant goes to a group of another model: fence, copy, verify, switch. The old copy stays. */

import { qualified } from "../../sql/quote.ts";
import { countOf } from "../../util/countOf.ts";
import { indented } from "../../util/indented.ts";
import { pairUp } from "../data/shape.ts";
import { placeOf, type TenantLocation } from "../data/tenantTables.ts";
import type { Context, Facet, Step } from "../group/facet.ts";
import { recordRate } from "../ledger/measured.ts";
import { followModel } from "../ledger/tenants.ts";
import { refreshPolicies } from "../rows/refreshPolicies.ts";
import { type Copy, moveBetween, moveWithin, pipe } from "./changeCopy.ts";
import { fence } from "./changeFence.ts";
import { CHANGE_RATE, CHANGES_SQL, pendingOf } from "./changeFound.ts";
import { type ChangeFound, NOTHING_FOUND, planChange } from "./changePlan.ts";
import { begin, type Change, groupSpec } from "./changeRecord.ts";
import { closeOld } from "./changeSwitch.ts";
import { giveUp, undo } from "./changeUndo.ts";

/** @param copy how rows go to another database */
export async function move(context: Context, step: Step, copy: Copy = pipe): Promise<void> {
    const { group, session } = context;
    const tenant = step.tenant ?? "";
    const from = group.tenants[tenant]?.from;
    if (!from) throw new Error(`${tenant}: the program does not say from which tenant it comes (from)`);
    const old = await groupSpec(context, from.group);
    const source = await placeOf(context, old, from.tenant);
    const target = await placeOf(context, group, tenant);
    const paired = pairUp(source.slices, target.slices, Object.keys(group.tenants[tenant]?.values ?? {}));
    if (paired.pairs.length === 0) paired.refusals.push("no table is in both groups");
    paired.refusals.push(...(await refuseLargeObjects(source, target)));
    const name = `${from.group}/${from.tenant}`;
    const change: Change = { context, tenant, from: name, source, target, pairs: paired.pairs };
    try {
        // thrown inside the try: giveUp then lifts a fence that a killed run left
        if (paired.refusals.length > 0) throw new Error(`the tables do not fit:\n${paired.refusals.join("\n")}`);
        const detail = await begin(change);
        const began = Date.now();
        const closed = await fence(change, detail);
        const moved =
            source.session === target.session
                ? await moveWithin(change, closed)
                : await moveBetween(change, detail.copied, copy);
        await closeOld(context, source);
        // an old copy of its own that was hidden there is served again
        await refreshPolicies(context, group);
        const rows = Object.values(moved).reduce((sum, { count }) => sum + Number(count), 0);
        await recordRate(session, CHANGE_RATE, rows, (Date.now() - began) / 1000);
        const [ended] = await session.query<{ seconds: number }>(
            "SELECT extract(epoch FROM clock_timestamp() - (detail ->> 'fenced')::timestamptz)::float8 AS seconds FROM citus_as_code.tenant_change WHERE grp = $1 AND tenant = $2",
            [group.name, tenant],
        );
        context.note(
            `${tenant}: ${old.model} → ${group.model}: ${countOf(change.pairs.length, "table")}, ${countOf(rows, "row")} from ${name}, the same count and checksum. Its writes were blocked for ${(ended?.seconds ?? 0).toFixed(1)} s. The old copy stays.`,
        );
        for (const note of paired.notes) context.note(`${tenant}: from ${name}: ${note}`);
        // the old rows are not shown any more
        if (closed && (old.model === "rls" || old.model === "row")) await refreshPolicies(context, old);
        if (!closed)
            context.warn(
                `${tenant}: group ${from.group} has no policies, so an application can still write to the old rows there. Point the application at ${group.name}/${tenant} now. If the old copy changes, it can't be deleted.`,
            );
    } catch (error) {
        const outcome = await giveUp(change, error as Error).catch(
            (e: Error) =>
                `failed, and it could not be undone:\n${indented(e)}\n${name} may still refuse writes. Run pulumi up again: it goes on from where the database is.`,
        );
        throw new Error(`${tenant}: ${old.model} → ${group.model} from ${name}\n${indented(error)}\nIt ${outcome}`);
    }
}

/** Rows name them by their numbers, and no copy of rows takes them along. */
async function refuseLargeObjects(source: TenantLocation, target: TenantLocation): Promise<string[]> {
    const named = source.slices.some(({ table }) => table.columns.some(({ type }) => /^(.*[.])?(oid|lo)$/.test(type)));
    if (source.session === target.session || (source.database === undefined && !named)) return [];
    const [row] = await source.session.query<{ n: string }>("SELECT count(*)::text AS n FROM pg_largeobject_metadata");
    if (row === undefined || row.n === "0") return [];
    return [
        `the database that it comes from has ${row.n} large objects, and a change of model copies only rows: keep their content in columns of type bytea, and lo_unlink() them`,
    ];
}

/** Tenants of a group of model rls whose tables are distributed now. */
async function follow(context: Context): Promise<void> {
    const { group, session } = context;
    const names = Object.entries(group.tables).flatMap(([name, { column }]) => (column ? [name] : []));
    const local = await session.query<{ name: string }>(
        `SELECT t.name FROM unnest($1::text[], $2::text[]) AS t (name, quoted)
          WHERE NOT EXISTS (SELECT FROM pg_dist_partition p WHERE p.logicalrelid = to_regclass(t.quoted) AND p.partmethod = 'h')`,
        [names, names.map(qualified)],
    );
    if (local.length > 0)
        throw new Error(
            `${group.name}: rls → row: ${local.map(({ name }) => name).join(", ")} ${local.length === 1 ? "is" : "are"} not distributed yet. Its tenants are as they were. Run pulumi up again.`,
        );
    await followModel(session, group.name);
}

export const change: Facet<ChangeFound> = {
    name: "change",
    sql: (_group, probe) => (probe.ledger ? CHANGES_SQL : undefined),
    none: NOTHING_FOUND,
    readFiles: async (group, found, read) => {
        const fresh = Object.values(found.pending).some(({ change }) => !change || change.phase === "plan");
        if (!fresh || group.template.length === 0 || (group.model !== "schema" && group.model !== "database"))
            return found;
        // the parser is loaded by whom it serves
        const { tablesMade } = await import("../check/read/made.ts");
        const files = group.template.map(({ path }) => ({ path, sql: read(path) }));
        return { ...found, made: await tablesMade(files, group.model) };
    },
    plan: (group, found) => planChange(group, { ...found, pending: pendingOf(group, found) }),
    run: {
        model: follow,
        undo: async (context, steps) => {
            for (const { tenant = "", text } of steps) {
                context.alive();
                context.progress(text);
                await undo(context, tenant);
            }
        },
        move: async (context, steps) => {
            for (const step of steps) {
                context.alive();
                context.progress(step.text);
                await move(context, step);
            }
        },
    },
};
