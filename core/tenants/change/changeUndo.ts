/** A change that can't be ended is undone: the old place serves again. */

import type { Session } from "../../reach/session.ts";
import { indented } from "../../util/indented.ts";
import { databaseOf } from "../data/shape.ts";
import { nodeOfTenant, type TenantLocation } from "../data/tenantTables.ts";
import { databaseMessage } from "../group/batch.ts";
import { takeLock } from "../group/converge.ts";
import type { Context } from "../group/facet.ts";
import type { Phase } from "../ledger/changes.ts";
import { deleteChange } from "../ledger/changes.ts";
import { clearCopy } from "./changeCopy.ts";
import { isGone, unfence } from "./changeFence.ts";
import { type Change, type Detail, groupSpec, readChange } from "./changeRecord.ts";

/** A connection that nothing has happened to. */
export async function fresh(context: Context, node: string, database?: string): Promise<Session> {
    const kept = await context.open(node, database);
    await kept.close().catch(() => undefined);
    return context.open(node, database);
}

/**
 * A run goes on with a new connection to the coordinator, because the old one may be what failed. A lost connection has lost
 * the lock too. Once the new one has the lock, the old transaction is certainly over.
 */
export async function reconnect(context: Context): Promise<Context> {
    const session = await fresh(context, "coordinator");
    const held = await context.session.query("SELECT").then(
        () => true,
        () => false,
    );
    if (!held) await takeLock({ ...context, session });
    return { ...context, session };
}

/**
 * The old place takes writes again, unless the switch was done and only its answer was lost. On connections of its own, as
 * those of the run may be what failed.
 * @returns what became of the change, and what to do
 */
export async function giveUp({ context, tenant, from, source, target, pairs }: Change, why: Error): Promise<string> {
    const { group } = context;
    const again = await reconnect(context);
    const { session } = again;
    const on = (place: TenantLocation) =>
        place.database === undefined ? session : fresh(context, place.node, place.database);
    const now = await readChange(session, group.name, tenant);
    if (now?.phase === "done")
        return `was done all the same: the tenant is served from ${group.name}, and ${from} is kept as the old copy. Run pulumi up again for the steps after it.`;
    let left = "";
    if (now) {
        await unfence(again, source, await on(source), now.detail);
        const { copied } = now.detail;
        if (copied !== undefined)
            left = await Promise.resolve(on(target))
                .then((there) => clearCopy(there, pairs, copied, { timeout: group.lockTimeout }))
                .then(
                    () => "",
                    (error: Error) =>
                        error.message === why.message
                            ? ""
                            : `\nThe rows in ${group.name}/${tenant} were left there:\n${indented(error)}\nLook at them, then empty those tables. `,
                );
        await deleteChange(session, { group: group.name, tenant });
    }
    return `was given up: ${from} takes writes again, and is as it was. Nothing was switched.${left || " "}Remove the cause, then run pulumi up again.`;
}

/** A change that a killed run left and that nobody wants any more. What it copied stays: it may be in use by now. */
export async function undo(context: Context, tenant: string): Promise<void> {
    const { session, group } = context;
    const [row] = await session.query<{ from_grp: string; from_tenant: string; phase: Phase; detail: Detail }>(
        "SELECT from_grp, from_tenant, phase, detail FROM citus_as_code.tenant_change WHERE grp = $1 AND tenant = $2 AND phase <> 'done'",
        [group.name, tenant],
    );
    if (!row) return;
    const name = `${row.from_grp}/${row.from_tenant}`;
    try {
        const old = await groupSpec(context, row.from_grp);
        // without GRANTs to give back nothing is done in the old place itself
        const own = old.model === "database" && row.detail.grants.length > 0;
        const place = { group: old, tenant: row.from_tenant };
        if (own) {
            const node = await nodeOfTenant(context, old, row.from_tenant);
            const there = await context.open(node, databaseOf(row.from_tenant)).catch((error: unknown) => {
                if (!isGone(error)) throw error;
                context.warn(`${name}: its database is gone from ${node}, so its rights there were not given back.`);
            });
            await unfence(context, place, there ?? session, there ? row.detail : { ...row.detail, grants: [] });
        } else await unfence(context, place, session, row.detail);
        await deleteChange(session, { group: group.name, tenant });
    } catch (error) {
        throw new Error(
            `${tenant}: its change from ${name} could not be undone\n${databaseMessage(error)}\n${name} may still refuse writes. Remove the cause, then run pulumi up again: it is safe to repeat.`,
        );
    }
    context.warn(
        `${tenant}: its change from ${name} was begun and not ended, and the program does not name it any more. It was undone: ${name} takes writes again` +
            (row.phase === "copy" || row.phase === "verify"
                ? `. ${group.name}/${tenant} may hold a copy of its rows, which was left there and is no longer updated. Look at it, and empty it before you use it or change from ${name} again.`
                : ". Nothing had been copied."),
    );
}
