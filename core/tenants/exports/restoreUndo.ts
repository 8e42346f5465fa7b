/** What is true after a file could not be restored. */

import { identifier } from "../../sql/quote.ts";
import { databaseOf } from "../data/shape.ts";
import { transaction } from "../group/batch.ts";
import type { Context } from "../group/facet.ts";
import { beginRestoring, forgetRestoring } from "../ledger/tenants.ts";
import { byKey, type Manifest } from "./export.ts";
import { findOwn, type Known } from "./restoreFind.ts";

/**
 * Writes down that a database is being restored, before any of it is there: a file that makes one is not run in one
 * transaction, and whatever is there until this is taken back is not served, nor an empty one in its place.
 */
export async function begin(
    { session, group }: Context,
    tenant: string,
    node: string,
    manifest: Manifest,
): Promise<Known> {
    const row = await beginRestoring<Known>(session, { group: group.name, tenant }, node, manifest.detail);
    return row ?? { node, detail: {} };
}

/**
 * Takes away a database that was not restored whole: nobody was let in. A tenant that the ledger had stays there, so that no
 * empty database is made for it.
 */
async function undo(
    context: Context,
    tenant: string,
    node: string,
    known: Known | undefined,
    manifest: Manifest,
): Promise<void> {
    const made = await begin(context, tenant, node, manifest);
    if ((await findOwn(context, tenant, node, made)) !== "none") {
        const server = await context.open(node, "postgres");
        await server.query(`DROP DATABASE ${identifier(databaseOf(tenant))} WITH (FORCE)`);
    }
    if (known) return;
    await transaction(context.session, forgetRestoring({ group: context.group.name, tenant }));
}

/** Where a restore puts what it brings. */
export interface Target {
    readonly node: string;
    /** What the ledger had before. */
    readonly known: Known | undefined;
    /** File of what was there before, and is dropped. */
    readonly exported: string | undefined;
    /** Whether policies keep clients from writing; else only locks do. */
    readonly frozen: boolean;
}

/** What is there of the tenant after a file could not be brought in. */
export async function afterFailure(
    context: Context,
    tenant: string,
    file: string,
    manifest: Manifest,
    { node, known, exported }: Target,
    loaded: boolean,
): Promise<string> {
    const { group } = context;
    // rows and schemas come in one transaction; what is there afterwards may be a client's own
    if (group.model !== "database" && loaded)
        return "The export is restored and stays, because a client may have written to it meanwhile. Compare it with the file, which is unchanged.";
    const again = (path: string) => `npm run tenants -- restore ${group.name}/${tenant} ${path}`;
    const back = exported === undefined ? "" : `\nOr bring back the data that it had before: ${again(exported)}`;
    if (group.model === "database") {
        const left = await undo(context, tenant, node, known, manifest).then(
            () => undefined,
            (error: Error) => error.message,
        );
        if (left !== undefined)
            return (
                `What was restored on ${node} could not be removed:\n  ${left.replaceAll("\n", "\n  ")}\n` +
                `Nothing serves ${group.name}/${tenant} now. The file is unchanged. Remove both causes, then: ${again(file)} --replace${back}`
            );
    }
    if (byKey(group.model) || known === undefined) return "Nothing of it is left here. The file is unchanged.";
    return (
        `Nothing of it is left here. The file is unchanged. Nothing serves ${group.name}/${tenant} now, and pulumi up puts no empty ${group.model} in its place.\n` +
        `Remove the cause, then: ${again(file)}${back}`
    );
}
