/** A tenant's data brought back from a file on this machine. */
import { open, stat } from "node:fs/promises";
import { basename } from "node:path";
import { countOf } from "../../tenants/changePlan.ts";
import type { Context } from "../../tenants/facet.ts";
import { databaseOf, type Slice, schemaOf } from "../../tenants/shape.ts";
import { describeBytes } from "../job.ts";
import { identifier, literal } from "../quote.ts";
import { transaction } from "./batch.ts";
import { hasPolicies, refreshPolicies, renewed } from "./change.ts";
import { different, emptyCheck, everything, nameOf, type Prints, printTenant, whereOf } from "./checksum.ts";
import { takeLock, unlock } from "./converge.ts";
import { dropWhole, hasDatabase } from "./drop.ts";
import {
    byKey,
    exportTenant,
    idOf,
    type Manifest,
    onNode,
    ownDatabase,
    PART,
    readExport,
    readManifest,
    refuseRouted,
} from "./export.ts";
import { OWN_LEDGER, ownRow } from "./migrations.ts";
import { nodeOfTenant, placeOf } from "./place.ts";
import { advanceSequences } from "./sequences.ts";
import { ranRow } from "./template.ts";

const rowsTold = (slices: readonly Slice[], prints: Prints) =>
    everything(slices).flatMap(({ name, slice }) => {
        const count = slice.anchor ? "0" : (prints[name]?.count ?? "0");
        return count === "0" ? [] : [`${nameOf(slice.table)} has ${countOf(Number(count), "row")}`];
    });

/** Tables that have rows of the tenant, besides the row that the program gives it. */
async function dataOf(context: Context, tenant: string, node: string): Promise<string[]> {
    const { group } = context;
    if (group.model === "database" && !(await hasDatabase(context, tenant, node))) return [];
    const place = await placeOf(context, group, tenant);
    return rowsTold(place.slices, await printTenant(place.session, place.slices));
}

/**
 * Makes room for what is restored: drops what is there of the tenant while nobody writes to it.
 * @param exported what may be there; nothing when undefined
 * @throws Error when there is anything else; it is as it was then
 */
async function clear(context: Context, tenant: string, node: string, exported: Prints | undefined): Promise<void> {
    const { group } = context;
    if (byKey(group.model)) return;
    const told = await dropWhole(context, tenant, node, (slices, prints) =>
        exported === undefined ? rowsTold(slices, prints) : different(exported, prints),
    );
    if (told.length > 0)
        throw new Error(
            `${group.name}/${tenant} was written to meanwhile: ${told.join(", ")}. Nothing was restored. Keep the application from it, then repeat this.`,
        );
}

/** Takes away a database that was not restored whole: nobody was let in, and its file is not run in one transaction. */
async function undo(context: Context, tenant: string, node: string): Promise<void> {
    const server = await context.open(node, "postgres");
    await server.query(`DROP DATABASE IF EXISTS ${identifier(databaseOf(tenant))} WITH (FORCE)`);
    const key = [context.group.name, tenant].map(literal).join(", ");
    await transaction(
        context.session,
        ["tenant", "tenant_migration"]
            .map((table) => `DELETE FROM citus_as_code.${table} WHERE (grp, tenant) = (${key});`)
            .join("\n"),
    );
}

async function bring(context: Context, node: string, id: string, file: string): Promise<void> {
    const { size } = await stat(file);
    const handle = await open(file, "r");
    try {
        const buffer = Buffer.alloc(PART);
        for (let offset = 0; offset < size; ) {
            context.alive();
            if (size > PART)
                context.progress(`${basename(file)}: ${describeBytes(offset)} of ${describeBytes(size)} brought`);
            const { bytesRead } = await handle.read(buffer, 0, PART, offset);
            if (bytesRead === 0) throw new Error(`${file} became shorter while it was read`);
            await onNode(context, node, ["put", id, String(offset)], {
                files: { part: Buffer.from(buffer.subarray(0, bytesRead)) },
            });
            offset += bytesRead;
        }
    } finally {
        await handle.close();
    }
}

/** SQL for the ledger's rows of the tenant: those that it had when it was exported, and no other. */
function ledgerRows({ group }: Context, tenant: string, node: string, manifest: Manifest): string {
    const key = [group.name, tenant].map(literal).join(", ");
    const where = group.model === "database" ? literal(node) : "NULL";
    return `
INSERT INTO citus_as_code.tenant AS t (grp, tenant, model, state, node, detail)
VALUES (${key}, ${literal(group.model)}, 'active', ${where}, ${literal(JSON.stringify(manifest.detail))})
ON CONFLICT (grp, tenant) DO UPDATE SET state = CASE t.state WHEN 'frozen' THEN 'frozen' ELSE 'active' END, since = now(), node = excluded.node, detail = t.detail - 'restoring' || excluded.detail;
DELETE FROM citus_as_code.tenant_migration WHERE (grp, tenant) = (${key});
${manifest.migrations.map((file) => ranRow(group.name, tenant, file)).join("\n")}
DELETE FROM citus_as_code.tenant_tombstone WHERE (grp, tenant) = (${key});
`;
}

/** What of a restore is run on the node, besides the file. */
interface Surroundings {
    readonly database: string;
    readonly before: string;
    /** Run as soon as a file that makes its database has made it. */
    readonly made: string;
    readonly after: string;
}

/**
 * @param rows SQL for the ledger, in the file's own transaction where both are in one database
 * @param frozen whether policies keep clients from writing to the tenant; else only locks do
 */
async function surroundings(context: Context, tenant: string, rows: string, frozen: boolean): Promise<Surroundings> {
    const { group } = context;
    if (group.model === "database")
        return {
            database: "postgres",
            before: "",
            made: `REVOKE ALL ON DATABASE ${identifier(databaseOf(tenant))} FROM PUBLIC;\n`,
            after: "",
        };
    const database = await ownDatabase(context);
    if (group.model === "schema")
        // not every statement of a dump can be run on distributed tables, so they are distributed when they are whole
        return {
            database,
            before: "BEGIN;\n",
            made: "",
            after: `SELECT citus_schema_distribute(${literal(identifier(schemaOf(tenant)))});\n${rows}COMMIT;\n`,
        };
    const { slices } = await placeOf(context, group, tenant);
    await refuseCascades(context, tenant, slices);
    const anchors = slices.filter(({ anchor }) => anchor);
    const locked = slices.map(({ table }) => nameOf(table)).join(", ");
    return {
        database,
        // the weaker one is against policies: nobody gives the tenant its writes back before this has ended
        before: `BEGIN;
SET LOCAL lock_timeout = ${group.lockTimeout};
LOCK TABLE ${locked} IN ${frozen ? "ROW EXCLUSIVE" : "SHARE ROW EXCLUSIVE"} MODE;
SET LOCAL lock_timeout = 0;
${emptyCheck(slices.filter(({ anchor }) => !anchor))}
${anchors.map((slice) => `DELETE FROM ${nameOf(slice.table)}${whereOf(slice)};\n`).join("")}`,
        made: "",
        after: `${rows}COMMIT;\n`,
    };
}

/** The same in two databases, which can't commit together: the tenant's own goes first, as when files are run. */
async function recordDatabase(context: Context, tenant: string, node: string, manifest: Manifest, rows: string) {
    const own = await context.open(node, databaseOf(tenant));
    await transaction(
        own,
        `${OWN_LEDGER}\nDELETE FROM citus_as_code.migration;\n${manifest.migrations.map(ownRow).join("\n")}`,
    );
    await transaction(context.session, rows);
}

/** Brings the file in where there is room for it; nothing of it stays when anything is not as it was exported. */
async function load(
    context: Context,
    tenant: string,
    node: string,
    file: string,
    manifest: Manifest,
    frozen: boolean,
): Promise<void> {
    const { group } = context;
    const rows = ledgerRows(context, tenant, node, manifest);
    const { database, before, made, after } = await surroundings(context, tenant, rows, frozen);
    let loaded = false;
    try {
        await onNode(context, node, ["restore", idOf(context, tenant), manifest.sha256, database], {
            files: { "before.sql": before, "made.sql": made, "after.sql": after },
        });
        loaded = true;
        if (group.model === "database") await recordDatabase(context, tenant, node, manifest, rows);
        const place = await placeOf(context, group, tenant);
        const prints = await printTenant(place.session, place.slices);
        const wrong = different(manifest.prints, prints);
        if (wrong.length > 0)
            throw new Error(
                `what is there is not what was exported: ${wrong
                    .map(
                        (name) =>
                            `${name} had ${manifest.prints[name]?.count ?? 0} rows (${manifest.prints[name]?.sum ?? 0}) and has ${prints[name]?.count ?? 0} (${prints[name]?.sum ?? 0})`,
                    )
                    .join(", ")}`,
            );
        await advanceSequences(context, place, place.slices, manifest.sequences);
    } catch (error) {
        if (group.model === "database") await undo(context, tenant, node);
        // rows and schemas come in one transaction; what is there afterwards may be a client's own
        const state =
            group.model === "database" || !loaded
                ? "Nothing of it is left here; the file is as it was."
                : "The export is in its place, and nothing of it was taken away again: a client may have written meanwhile. Compare the two; the file is as it was.";
        throw new Error(
            `${group.name}/${tenant} could not be restored from ${file}\n  ${(error as Error).message.replaceAll("\n", "\n  ")}\n${state}`,
        );
    }
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
    const thaw = async () => void (await refreshPolicies(await renewed(context), group));
    const says = (error: Error) =>
        `${group.name}/${tenant} may still take no writes: ${error.message}\nRun pulumi up, which gives it back its own state.`;
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

/** @throws Error when what is there of the tenant is half of something else, or an old copy */
async function refuseLeft({ group, session }: Context, tenant: string): Promise<void> {
    const [row] = await session.query<{ moved: string | null; change: string | null }>(
        `SELECT (SELECT detail ->> 'moved_to' FROM citus_as_code.tenant WHERE grp = $1 AND tenant = $2 AND state = 'superseded') AS moved,
                (SELECT format('%s/%s to %s/%s', from_grp, from_tenant, grp, tenant) FROM citus_as_code.tenant_change
                  WHERE phase <> 'done' AND (grp = $1 AND tenant = $2 OR from_grp = $1 AND from_tenant = $2) LIMIT 1) AS change`,
        [group.name, tenant],
    );
    if (row?.change)
        throw new Error(
            `${group.name}/${tenant}: a change of model, ${row.change}, was begun and not ended. Nothing was restored. Run pulumi up, which ends or undoes it, then repeat this.`,
        );
    if (row?.moved)
        throw new Error(
            `${group.name}/${tenant}: its data went to ${row.moved}, and what is here is the old copy. Nothing was restored. To have it here again as well: delete the old copy first (delete of group ${group.name}).`,
        );
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
            `${group.name}/${tenant}: rows of ${rows.map(({ name }) => name).join(", ")} would be changed by foreign keys, which the group's tables do not name and no export has. Nothing was restored. Write them under tables, run pulumi up, then repeat this.`,
        );
}

export interface RestoreOptions {
    /** Whether what is there of the tenant is exported, and then gives way. Models `schema` and `database` only. */
    readonly replace?: boolean;
}

/** What to do when there is data already. */
const inTheWay = ({ group }: Context, tenant: string, file: string) =>
    byKey(group.model)
        ? `Delete the tenant first (delete of group ${group.name}), which exports it, then restore it.`
        : `To put the export in its place: npm run tenants -- restore ${group.name}/${tenant} ${file} --replace, which exports first what is there.`;

/**
 * Brings an exported tenant back, as it was, with the files of the template that it had run. Its role and rights, and later
 * files, come with the next `pulumi up`; while one runs, this waits.
 * @param file what exportTenant returned
 * @throws Error when the tenant has data, or what came back is not what was exported; nothing of it is left then
 */
export async function restoreTenant(
    context: Context,
    tenant: string,
    file: string,
    { replace = false }: RestoreOptions = {},
): Promise<void> {
    const { group, session } = context;
    refuseRouted(context, tenant, "restored");
    const manifest = await readExport(context, tenant, file).catch((error: Error) => {
        throw new Error(`${error.message} Nothing was restored.`);
    });
    await takeLock(context);
    try {
        await refuseLeft(context, tenant);
        const node =
            group.model === "database"
                ? await nodeOfTenant(context, group, tenant).catch(() => manifest.node)
                : "coordinator";
        const data = await dataOf(context, tenant, node);
        if (data.length > 0 && (!replace || byKey(group.model)))
            throw new Error(
                `${group.name}/${tenant} has data: ${data.join(", ")}. Nothing was restored. ${inTheWay(context, tenant, file)}`,
            );
        let old: Prints | undefined;
        if (data.length > 0) {
            const exported = await exportTenant(context, tenant);
            old = (await readManifest(exported)).prints;
            context.note(`${group.name}/${tenant}: what was there is exported: ${exported}`);
        }
        try {
            await whileFrozen(context, tenant, async (frozen) => {
                await bring(context, node, idOf(context, tenant), file);
                await clear(context, tenant, node, old);
                // a file that makes a database is not run in one transaction
                if (group.model === "database")
                    await session.query(
                        `UPDATE citus_as_code.tenant SET detail = detail || '{"restoring": true}' WHERE grp = $1 AND tenant = $2`,
                        [group.name, tenant],
                    );
                await load(context, tenant, node, file, manifest, frozen);
            });
        } finally {
            await onNode(context, node, ["drop", idOf(context, tenant)]).catch(() => undefined);
        }
    } finally {
        await unlock(session).catch(() => undefined);
    }
}
