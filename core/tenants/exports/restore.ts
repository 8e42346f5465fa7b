/** A tenant's data brought back from a file on this machine. */

import { reconnect } from "../change/changeUndo.ts";
import { differingTables, type Prints } from "../data/checksum.ts";
import { takeLock, unlock } from "../group/converge.ts";
import type { Context } from "../group/facet.ts";
import { isLeft } from "../ledger/states.ts";
import { hasPolicies, refreshPolicies } from "../rows/refreshPolicies.ts";
import { dropWhole } from "../schemas/drop.ts";
import { byKey, exportTenant, idOf, onNode, refuseRouted } from "./export.ts";
import { loadFile, readExport, readManifest } from "./readExport.ts";
import { dataOf, findOwn, type Known, readKnown, rowsTold } from "./restoreFind.ts";
import { load } from "./restoreLoad.ts";

/**
 * Makes room for what is restored: drops the tenant's present data while nobody writes to it.
 * @param exported what may be there; nothing when undefined
 * @throws Error when there is anything else, or it is not the tenant's; it is as it was then
 */
async function clear(
    context: Context,
    tenant: string,
    node: string,
    known: Known | undefined,
    exported: Prints | undefined,
): Promise<void> {
    const { group } = context;
    if (byKey(group.model) || (await findOwn(context, tenant, node, known)) === "none") return;
    const told = await dropWhole(context, tenant, node, (slices, prints) =>
        exported === undefined ? rowsTold(slices, prints) : differingTables(exported, prints),
    );
    if (told.length > 0)
        throw new Error(
            `${group.name}/${tenant} was written to meanwhile: ${told.join(", ")}. Nothing was restored. Keep the application from writing to it, then repeat this.`,
        );
}

/**
 * Keeps clients from writing to a tenant of model row or rls, as `state: "frozen"` does; in the other models nobody gets into
 * what is restored before the next `pulumi up`. Afterwards it is what the program says; where this is killed, the next
 * restore or `pulumi up` makes it so.
 * @param work is told whether policies do; where there are none, nothing is frozen
 */
async function whileFrozen(context: Context, tenant: string, work: (frozen: boolean) => Promise<void>): Promise<void> {
    const { group } = context;
    if (!hasPolicies(group)) return work(false);
    const tenants = { ...group.tenants, [tenant]: { ...group.tenants[tenant], frozen: true } };
    const thaw = async () => void (await refreshPolicies(await reconnect(context), group));
    const says = (error: Error) =>
        `${group.name}/${tenant} may still refuse writes: ${error.message}\nRun pulumi up, which sets the state that the program names.`;
    try {
        await refreshPolicies(context, { ...group, tenants });
        await work(true);
    } catch (error) {
        const left = await thaw().then(
            () => "",
            (e: Error) => `\n${says(e)}`,
        );
        throw new Error(`${(error as Error).message}${left}`);
    }
    await thaw().catch((error: Error) => {
        throw new Error(`${group.name}/${tenant} is restored. ${says(error)}`);
    });
}

/** @throws Error when a change of the tenant's model is unfinished, or its present data is an old copy */
async function refuseLeft({ group, session }: Context, tenant: string): Promise<void> {
    const [row] = await session.query<{ moved: string | null; change: string | null }>(
        `SELECT (SELECT detail ->> 'moved_to' FROM citus_as_code.tenant WHERE grp = $1 AND tenant = $2 AND ${isLeft("state")}) AS moved,
                (SELECT format('%s/%s to %s/%s', from_grp, from_tenant, grp, tenant) FROM citus_as_code.tenant_change
                  WHERE phase <> 'done' AND (grp = $1 AND tenant = $2 OR from_grp = $1 AND from_tenant = $2) LIMIT 1) AS change`,
        [group.name, tenant],
    );
    if (row?.change)
        throw new Error(
            `${group.name}/${tenant}: a change of model, ${row.change}, was begun and not ended. Nothing was restored. Run pulumi up, which ends or undoes that change, then repeat this.`,
        );
    if (row?.moved)
        throw new Error(
            `${group.name}/${tenant}: its data went to ${row.moved}, and this is the old copy. Nothing was restored. To restore it here too, delete the old copy first (state deleted in group ${group.name}).`,
        );
}

export interface RestoreOptions {
    /** Whether the tenant's present data is exported and then dropped. Models `schema` and `database` only. */
    readonly replace?: boolean;
}

/** What to do when there is data already. */
const inTheWay = ({ group }: Context, tenant: string, file: string) =>
    byKey(group.model)
        ? `Delete the tenant first (state deleted in group ${group.name}), which exports it, then restore it.`
        : `To put the export in its place: npm run tenants -- restore ${group.name}/${tenant} ${file} --replace. It exports the present data first.`;

/**
 * Brings an exported tenant back, as it was, with the files of the template that it had run. Its role and rights, and later
 * files, come with the next `pulumi up`; while one runs, this waits.
 * @param file what exportTenant returned
 * @param toFile how what gives way is exported
 * @throws Error when the tenant has data, or what came back is not what was exported; nothing of it is left then
 */
export async function restoreTenant(
    context: Context,
    tenant: string,
    file: string,
    { replace = false }: RestoreOptions = {},
    toFile: typeof exportTenant = exportTenant,
): Promise<void> {
    const { group, session } = context;
    refuseRouted(context, tenant, "restored");
    const manifest = await readExport(context, tenant, file).catch((error: Error) => {
        throw new Error(`${error.message} Nothing was restored.`);
    });
    await takeLock(context);
    try {
        await refuseLeft(context, tenant);
        const known = await readKnown(context, tenant);
        const node =
            group.model === "database" ? (known?.node ?? group.tenants[tenant]?.node ?? manifest.node) : "coordinator";
        const there = await findOwn(context, tenant, node, known);
        const data = there === "own" ? await dataOf(context, tenant, node) : [];
        if (data.length > 0 && (!replace || byKey(group.model)))
            throw new Error(
                `${group.name}/${tenant} has data: ${data.join(", ")}. Nothing was restored. ${inTheWay(context, tenant, file)}`,
            );
        // without rows as well: what its template did not make is nowhere else
        const exported = there === "own" && !byKey(group.model) ? await toFile(context, tenant) : undefined;
        const old = exported === undefined ? undefined : (await readManifest(context, exported)).prints;
        if (exported !== undefined)
            context.note(`${group.name}/${tenant}: the data that it had is exported to ${exported}`);
        try {
            await whileFrozen(context, tenant, async (frozen) => {
                await loadFile(context, node, idOf(context, tenant), file);
                await clear(context, tenant, node, known, old);
                await load(context, tenant, file, manifest, { node, known, exported, frozen });
            });
        } finally {
            await onNode(context, node, ["drop", idOf(context, tenant)]).catch(() => undefined);
        }
    } finally {
        await unlock(session).catch(() => undefined);
    }
}
