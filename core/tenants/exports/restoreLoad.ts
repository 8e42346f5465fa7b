/** A file is loaded on its node and compared with its manifest. */

import { identifier, literal } from "../../sql/quote.ts";
import {
    differingTables,
    emptyCheck,
    inTransaction,
    nameOf,
    type Prints,
    printSlices,
    printTenant,
    whereOf,
} from "../data/checksum.ts";
import { advanceSequences } from "../data/sequences.ts";
import { databaseOf, type Slice, schemaOf } from "../data/shape.ts";
import { placeOf, type TenantLocation } from "../data/tenantTables.ts";
import { identity } from "../databases/databaseFound.ts";
import { transaction } from "../group/batch.ts";
import type { Context } from "../group/facet.ts";
import { ownRows } from "../ledger/ownDatabase.ts";
import { forgetRan, ranRow } from "../ledger/ran.ts";
import { restored } from "../ledger/tenants.ts";
import { byKey, idOf, type Manifest, onNode, ownDatabase } from "./export.ts";
import { detour, type Fit, fit, notWhole, parseHead } from "./restoreRows.ts";
import { afterFailure, begin, type Target } from "./restoreUndo.ts";

/** SQL for the ledger's rows of the tenant: those that it had when it was exported, and no other. */
function ledgerRows({ group }: Context, tenant: string, node: string, manifest: Manifest): string {
    const key = { group: group.name, tenant };
    const where = group.model === "database" ? literal(node) : "NULL";
    return `
${restored(key, group.model, where, manifest.detail)}
${forgetRan(key)}
${manifest.migrations.map((file) => ranRow(group.name, tenant, file)).join("\n")}
`;
}

/** What of a restore is run on the node, besides the file. */
interface Surroundings {
    readonly database: string;
    readonly before: string;
    /** Run as soon as a file that makes its database has made it. */
    readonly made: string;
    readonly after: string;
    /** Lines that take the place of the file's COPY lines, if any. */
    readonly heads: string;
}

/**
 * @param rows SQL for the ledger, in the file's own transaction where both are in one database
 * @param comment what a database of its own is known by
 * @param frozen whether policies keep clients from writing to the tenant; else only locks do
 * @param fitted rows of a file that has them, as they fit into the tables
 */
async function surroundings(
    context: Context,
    tenant: string,
    rows: string,
    comment: string,
    frozen: boolean,
    manifest: Manifest,
    fitted: Fit | undefined,
): Promise<Surroundings> {
    const { group } = context;
    if (group.model === "database")
        return {
            database: "postgres",
            before: "",
            made: `COMMENT ON DATABASE ${identifier(databaseOf(tenant))} IS ${literal(comment)};\nREVOKE ALL ON DATABASE ${identifier(databaseOf(tenant))} FROM PUBLIC;\n`,
            after: "",
            heads: "",
        };
    const database = await ownDatabase(context);
    if (group.model === "schema")
        // not every statement of a dump can be run on distributed tables, so they are distributed when they are whole
        return {
            database,
            before: "BEGIN;\n",
            made: "",
            after: `SELECT citus_schema_distribute(${literal(identifier(schemaOf(tenant)))});\n${rows}COMMIT;\n`,
            heads: "",
        };
    const { slices } = await placeOf(context, group, tenant);
    if (slices.length === 0)
        throw new Error(
            `${group.name}/${tenant}: none of the group's tables exists, so its rows have no place. Nothing was restored. Run pulumi up, then repeat this.`,
        );
    await refuseCascades(context, tenant, slices);
    const anchors = slices.filter(({ anchor }) => anchor);
    const round = fitted === undefined || fitted.asItIs ? undefined : detour(manifest, fitted);
    const locked = slices.map(({ table }) => nameOf(table)).join(", ");
    return {
        database,
        // the weaker one is against policies: nobody gives the tenant its writes back before this has ended
        before: `BEGIN;
SET LOCAL lock_timeout = ${group.lockTimeout};
LOCK TABLE ${locked} IN ${frozen ? "ROW EXCLUSIVE" : "SHARE ROW EXCLUSIVE"} MODE;
SET LOCAL lock_timeout = 0;
${emptyCheck(slices.filter(({ anchor }) => !anchor))}
${anchors.map((slice) => `DELETE FROM ${nameOf(slice.table)}${whereOf(slice)};\n`).join("")}
${round?.before ?? ""}`,
        made: "",
        after: `${round?.after ?? ""}${rows}COMMIT;\n`,
        heads: round === undefined ? "" : `${round.heads.join("\n")}\n`,
    };
}

/** The same in two databases, which can't commit together: the tenant's own goes first, as when files are run. */
async function recordDatabase(context: Context, tenant: string, node: string, manifest: Manifest, rows: string) {
    const own = await context.open(node, databaseOf(tenant));
    await transaction(own, ownRows(manifest.migrations));
    await transaction(context.session, rows);
}

/** What of a file of rows fits into the tables as they are; undefined where the file makes its tables itself. */
async function fitOf(context: Context, tenant: string, node: string, manifest: Manifest): Promise<Fit | undefined> {
    if (!byKey(context.group.model)) return undefined;
    const lines = await onNode(context, node, ["heads", idOf(context, tenant)]);
    const { slices } = await placeOf(context, context.group, tenant, node);
    return fit(manifest, lines.split("\n").filter(Boolean).map(parseHead), slices);
}

/** Names of what is not as it was exported, and how it is now. */
async function compare(
    place: TenantLocation,
    manifest: Manifest,
    fitted: Fit | undefined,
): Promise<[string[], Prints]> {
    // rows that went by a detour were compared on it
    if (fitted?.asItIs === false) return [[], {}];
    if (fitted === undefined) {
        const prints = await printTenant(place.session, place.slices);
        return [differingTables(manifest.prints, prints), prints];
    }
    // over the columns of then: there may be more by now
    const then = fitted.tables.flatMap(({ key, slice, head }) =>
        slice === undefined ? [] : [{ name: key, slice, columns: head.columns }],
    );
    const prints = await inTransaction(place.session, () => printSlices(place.session, then));
    return [differingTables(manifest.prints, prints), prints];
}

/** Brings the file in where there is room for it; nothing of it stays when anything is not as it was exported. */
export async function load(
    context: Context,
    tenant: string,
    file: string,
    manifest: Manifest,
    target: Target,
): Promise<void> {
    const { group } = context;
    const { node } = target;
    const own = group.model === "database";
    let loaded = false;
    try {
        const known = own ? await begin(context, tenant, node, manifest) : undefined;
        const comment = identity(group.name, tenant, known?.detail.epoch ?? 0);
        const rows = ledgerRows(context, tenant, node, manifest);
        const fitted = await fitOf(context, tenant, node, manifest);
        const { database, before, made, after, heads } = await surroundings(
            context,
            tenant,
            rows,
            comment,
            target.frozen,
            manifest,
            fitted,
        );
        await onNode(context, node, ["restore", idOf(context, tenant), manifest.sha256, database], {
            files: { "before.sql": before, "made.sql": made, "after.sql": after, heads },
        });
        loaded = true;
        const place = await placeOf(context, group, tenant, node);
        const [wrong, prints] = await compare(place, manifest, fitted);
        if (wrong.length > 0)
            throw new Error(
                `the restored rows are not those that were exported: ${wrong
                    .map(
                        (name) =>
                            `${name} had ${manifest.prints[name]?.count ?? 0} rows (checksum ${manifest.prints[name]?.sum ?? 0}) and has ${prints[name]?.count ?? 0} (checksum ${prints[name]?.sum ?? 0})`,
                    )
                    .join(", ")}`,
            );
        await advanceSequences(context, place, place.slices, manifest.sequences);
        if (own) await recordDatabase(context, tenant, node, manifest, rows);
        const less = fitted && notWhole(fitted, file);
        if (less !== undefined) context.note(`${group.name}/${tenant}: ${less}`);
    } catch (error) {
        const state = await afterFailure(context, tenant, file, manifest, target, loaded);
        throw new Error(
            `${group.name}/${tenant} could not be restored from ${file}\n  ${(error as Error).message.replaceAll("\n", "\n  ")}\n${state}`,
        );
    }
}

/** The row of a tenant that is there gives way to the exported one. @throws Error when rows of other tables would go with it */
async function refuseCascades({ session, group }: Context, tenant: string, slices: readonly Slice[]): Promise<void> {
    const names = (chosen: readonly Slice[]) => chosen.map(({ table }) => nameOf(table));
    const rows = await session.query<{ name: string }>(
        `SELECT DISTINCT k.conrelid::regclass::text AS name FROM pg_constraint k
          WHERE k.contype = 'f' AND k.conparentid = 0 AND k.confdeltype IN ('c', 'n', 'd')
            AND k.confrelid = ANY ($1::text[]::regclass[]) AND k.conrelid <> ALL ($2::text[]::regclass[]) ORDER BY 1`,
        [names(slices.filter(({ anchor }) => anchor)), names(slices)],
    );
    if (rows.length > 0)
        throw new Error(
            `${group.name}/${tenant}: by foreign keys, the restore would also change rows of ${rows.map(({ name }) => name).join(", ")}. The group's tables do not include them, so no export has these rows. Nothing was restored. Add them to tables, run pulumi up, then repeat this.`,
        );
}
