/** A tenant's data is exported, and deleted as it was exported. */

import { identifier } from "../../sql/quote.ts";
import { ownProperty } from "../../util/ownProperty.ts";
import { differingTables, type Prints } from "../data/checksum.ts";
import { databaseOf } from "../data/shape.ts";
import type { Manifest } from "../exports/export.ts";
import { takeExport } from "../exports/givenExport.ts";
import { readExport } from "../exports/readExport.ts";
import type { Context } from "../group/facet.ts";
import { noteDropped } from "../ledger/tenants.ts";
import { dropWhole } from "../schemas/drop.ts";
import { type Detail, detailOf, keyOf, type Leaving, record } from "./leaving.ts";
import { findDatabase, isThere, serverOf } from "./present.ts";
import { hasRows } from "./removalPlan.ts";
import { deleteRows } from "./removeRows.ts";

const TRIES = 3;

/** Writes a tenant's data into a file, with a manifest; the file's path. */
export type Export = (context: Context, tenant: string) => Promise<string>;

async function exportAnew(leaving: Leaving, toFile: Export): Promise<Manifest> {
    const { context, tenant } = leaving;
    const exported = await toFile(context, tenant);
    const manifest = await readExport(context, tenant, exported);
    const { exported: last, earlier = [], dropped } = await detailOf(leaving);
    await record(leaving, {
        exported,
        sha256: manifest.sha256,
        prints: manifest.prints,
        deleted: {},
        // what was deleted is in no later export
        ...(dropped && last && hasRows(context.group) ? { earlier: [...earlier, last] } : {}),
    });
    return manifest;
}

/** Takes the export that the program names, when it is proved. */
async function takeGiven(leaving: Leaving, given: { file: string; sha256: string }): Promise<Manifest> {
    const { context, tenant } = leaving;
    const manifest = await takeExport(context, tenant, given);
    await record(leaving, { exported: given.file, sha256: manifest.sha256, prints: manifest.prints, deleted: {} });
    return manifest;
}

/** The export that the ledger has, or why it can't be relied on. */
async function knownExport({ context, tenant }: Leaving, { exported, sha256 }: Detail): Promise<Manifest | string> {
    if (!exported) return "there is no export of it";
    try {
        const manifest = await readExport(context, tenant, exported);
        // written down without a checksum before there was one: then the manifest's own, to which the file is held, is all there is
        return sha256 === undefined || manifest.sha256 === sha256
            ? manifest
            : `${exported} is not the export that was written down.`;
    } catch (error) {
        return (error as Error).message;
    }
}

/** SQL that writes down that its data is gone. */
const noteDroppedSql = (leaving: Leaving) => noteDropped(keyOf(leaving));

/** SQL that writes down what of its export is deleted, with the rows themselves. */
const noteDeletedSql = (leaving: Leaving) => (deleted: Prints) => noteDropped(keyOf(leaving), { deleted });

/** @returns what is not as it was exported; nothing was deleted then */
async function drop(leaving: Leaving, { prints }: Manifest): Promise<string[]> {
    const { context, tenant, node } = leaving;
    const { group } = context;
    if (hasRows(group)) {
        const { deleted = {} } = await detailOf(leaving);
        return deleteRows({ context, tenant, exported: prints, deleted, record: noteDeletedSql(leaving) });
    }
    if (group.model === "database" && (await findDatabase(leaving)) === "invalid") {
        // its data can't be looked at any more, and was as it was exported when DROP DATABASE began
        const server = await serverOf(leaving);
        await server.query(`DROP DATABASE ${identifier(databaseOf(tenant))} WITH (FORCE)`);
        return [];
    }
    return dropWhole(context, tenant, node, (_slices, now) => differingTables(prints, now), noteDroppedSql(leaving));
}

/** Deletes what a good export has, and makes one where there is none. */
export async function deleteData(leaving: Leaving, toFile: Export): Promise<void> {
    const { context, tenant } = leaving;
    const { group } = context;
    const detail = await detailOf(leaving);
    const known = await knownExport(leaving, detail);
    if (!(await isThere(leaving))) {
        if (detail.exported && typeof known === "string")
            context.warn(
                `${tenant}: its data is deleted. Its export was written to ${detail.exported}, and on this machine it can't be used: ${known}\n` +
                    "Look for that file on the machine that made it. Without it, only a backup of the cluster has the tenant's data.",
            );
        return;
    }
    const partly = hasRows(group)
        ? detail.dropped === true
        : group.model === "database" && (await findDatabase(leaving)) === "invalid";
    if (partly && typeof known === "string")
        throw new Error(
            `its data is partly deleted already, so an export of the rest would not be whole. The export that was made before can't be used: ${known}\n` +
                `Nothing more is deleted. ${detail.exported ? `Put the export, with its manifest, back to ${detail.exported} (it may be on another machine), then run pulumi up again. ` : ""}` +
                `If there is no such export, bring its data back from a backup of the cluster. If its data is not needed, delete the rest of it yourself, then run pulumi up again.`,
        );
    let manifest = typeof known === "string" ? undefined : known;
    const given = partly ? undefined : ownProperty(group.given ?? {}, tenant);
    for (let tries = 1; ; tries++) {
        manifest ??= given ? await takeGiven(leaving, given) : await exportAnew(leaving, toFile);
        const changed = await drop(leaving, manifest);
        if (changed.length === 0) return;
        // somebody else deleted what was left of it
        if (hasRows(group) && !(await isThere(leaving))) return;
        manifest = undefined;
        if (given && (await detailOf(leaving)).dropped !== true)
            throw new Error(
                `its rows are not those of ${given.file} (${changed.join(", ")}). Nothing was deleted. Make a new export, or take export of ${tenant} away: then it is exported by pulumi up.`,
            );
        if (tries >= TRIES)
            throw new Error(
                `its rows changed while it was exported, ${TRIES} times (${changed.join(", ")}). Keep the application from writing to it, then run pulumi up again.`,
            );
    }
}
