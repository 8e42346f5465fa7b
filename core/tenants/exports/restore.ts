/** A tenant's data brought back from a file on this machine. */

import { identifier, literal } from "../../sql/quote.ts";
import { countOf } from "../../util/countOf.ts";
import { renewed } from "../change/changeUndo.ts";
import {
    different,
    emptyCheck,
    everything,
    inTransaction,
    nameOf,
    type Prints,
    printSlices,
    printTenant,
    whereOf,
} from "../data/checksum.ts";
import { advanceSequences } from "../data/sequences.ts";
import { databaseOf, type Slice, schemaOf } from "../data/shape.ts";
import { type Place, placeOf } from "../data/tenantTables.ts";
import { another, identity, isEmpty, type LedgerRow } from "../databases/databaseFound.ts";
import { OWN_LEDGER, ownRow } from "../files/runMigrations.ts";
import { ranRow } from "../files/template.ts";
import { transaction } from "../group/batch.ts";
import { takeLock, unlock } from "../group/converge.ts";
import type { Context } from "../group/facet.ts";
import { hasPolicies, refreshPolicies } from "../rows/refreshPolicies.ts";
import { dropWhole } from "../schemas/drop.ts";
import {
    bring,
    byKey,
    exportTenant,
    idOf,
    type Manifest,
    onNode,
    ownDatabase,
    readExport,
    readManifest,
    refuseRouted,
} from "./export.ts";
import { detour, type Fit, fit, notWhole, parseHead } from "./restoreRows.ts";

const rowsTold = (slices: readonly Slice[], prints: Prints) =>
    everything(slices).flatMap(({ name, slice }) => {
        const count = slice.anchor ? "0" : (prints[name]?.count ?? "0");
        return count === "0" ? [] : [`${nameOf(slice.table)} has ${countOf(Number(count), "row")}`];
    });

/** What the ledger has of a tenant. */
type Known = Pick<LedgerRow, "node" | "detail">;

async function readKnown({ session, group }: Context, tenant: string): Promise<Known | undefined> {
    const [row] = await session.query<Known>(
        "SELECT node, detail FROM citus_as_code.tenant WHERE grp = $1 AND tenant = $2",
        [group.name, tenant],
    );
    return row;
}

/**
 * What is there under a tenant's name: nothing, the tenant's own, or a database that a restore made and nothing came into.
 * @throws Error when it was not made for the tenant
 */
async function findOwn(
    context: Context,
    tenant: string,
    node: string,
    known: Known | undefined,
): Promise<"none" | "own" | "made"> {
    const { group, session } = context;
    if (byKey(group.model)) return "own";
    const stranger = (what: string, rename: string) =>
        new Error(
            `${group.name}/${tenant}: there is a ${what} that was not made for it. It is left as it is. If it is somebody else's, rename it (${rename} RENAME TO …), then repeat this.`,
        );
    if (group.model === "schema") {
        const name = schemaOf(tenant);
        const [there] = await session.query<{ distributed: boolean }>(
            `SELECT EXISTS (SELECT FROM pg_dist_schema s WHERE s.schemaid = n.oid) AS distributed FROM pg_namespace n WHERE n.nspname = $1`,
            [name],
        );
        if (!there) return "none";
        if (!known) throw stranger(`schema ${name}`, `ALTER SCHEMA ${identifier(name)}`);
        if (there.distributed) return "own";
        throw new Error(
            `${group.name}/${tenant}: its schema is not distributed, so somebody may have made it in the place of the tenant's. It is left as it is.\n` +
                `If it is the tenant's: SELECT citus_schema_distribute(${literal(identifier(name))});\nIf not, rename it: ALTER SCHEMA ${identifier(name)} RENAME TO …; then repeat this.`,
        );
    }
    const name = databaseOf(tenant);
    const server = await context.open(node, "postgres");
    const [there] = await server.query<{ comment: string | null; limit: number }>(
        `SELECT shobj_description(oid, 'pg_database') AS comment, datconnlimit AS "limit" FROM pg_database WHERE datname = $1`,
        [name],
    );
    if (!there) return "none";
    if (!known) throw stranger(`database ${name} on ${node}`, `ALTER DATABASE ${identifier(name)}`);
    const refusal = another(group, { tenant, node, detail: known.detail }, there.comment);
    if (refusal === undefined) return "own";
    if (known.detail.restoring === true && there.comment === null && there.limit === 0) {
        const database = await context.open(node, name);
        try {
            if (await isEmpty(database)) return "made";
        } finally {
            await database.close();
        }
    }
    throw new Error(`${refusal}\nIt is left as it is. If it is somebody else's, rename it, then repeat this.`);
}

/** What there is of the tenant, besides the row that the program gives it and what its template made. */
async function dataOf(context: Context, tenant: string, node: string): Promise<string[]> {
    const { group } = context;
    const { session, slices } = await placeOf(context, group, tenant, node);
    const rows = rowsTold(slices, await printTenant(session, slices));
    if (group.model !== "database") return rows;
    const [large] = await session.query<{ count: string }>(
        "SELECT count(*)::text AS count FROM pg_largeobject_metadata",
    );
    return large === undefined || large.count === "0"
        ? rows
        : [...rows, `pg_largeobject has ${large.count} large objects`];
}

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
        exported === undefined ? rowsTold(slices, prints) : different(exported, prints),
    );
    if (told.length > 0)
        throw new Error(
            `${group.name}/${tenant} was written to meanwhile: ${told.join(", ")}. Nothing was restored. Keep the application from writing to it, then repeat this.`,
        );
}

/**
 * Writes down that a database is being restored, before any of it is there: a file that makes one is not run in one
 * transaction, and whatever is there until this is taken back is not served, nor an empty one in its place.
 */
async function begin({ session, group }: Context, tenant: string, node: string, manifest: Manifest): Promise<Known> {
    const [row] = await session.query<Known>(
        `INSERT INTO citus_as_code.tenant AS t (grp, tenant, model, node, detail) VALUES ($1, $2, 'database', $3, $4)
         ON CONFLICT (grp, tenant) DO UPDATE SET node = excluded.node, detail = t.detail || excluded.detail RETURNING node, detail`,
        [group.name, tenant, node, JSON.stringify({ ...manifest.detail, restoring: true })],
    );
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
    const key = [context.group.name, tenant].map(literal).join(", ");
    await transaction(
        context.session,
        ["tenant", "tenant_migration"]
            .map((table) => `DELETE FROM citus_as_code.${table} WHERE (grp, tenant) = (${key});`)
            .join("\n"),
    );
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
    await transaction(
        own,
        `${OWN_LEDGER}\nDELETE FROM citus_as_code.migration;\n${manifest.migrations.map(ownRow).join("\n")}`,
    );
    await transaction(context.session, rows);
}

/** Where a restore puts what it brings. */
interface Target {
    readonly node: string;
    /** What the ledger had before. */
    readonly known: Known | undefined;
    /** File of what was there before, and is dropped. */
    readonly exported: string | undefined;
    /** Whether policies keep clients from writing; else only locks do. */
    readonly frozen: boolean;
}

/** What is there of the tenant after a file could not be brought in. */
async function afterFailure(
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

/** What of a file of rows fits into the tables as they are; undefined where the file makes its tables itself. */
async function fitOf(context: Context, tenant: string, node: string, manifest: Manifest): Promise<Fit | undefined> {
    if (!byKey(context.group.model)) return undefined;
    const lines = await onNode(context, node, ["heads", idOf(context, tenant)]);
    const { slices } = await placeOf(context, context.group, tenant, node);
    return fit(manifest, lines.split("\n").filter(Boolean).map(parseHead), slices);
}

/** Names of what is not as it was exported, and how it is now. */
async function compare(place: Place, manifest: Manifest, fitted: Fit | undefined): Promise<[string[], Prints]> {
    // rows that went by a detour were compared on it
    if (fitted?.asItIs === false) return [[], {}];
    if (fitted === undefined) {
        const prints = await printTenant(place.session, place.slices);
        return [different(manifest.prints, prints), prints];
    }
    // over the columns of then: there may be more by now
    const then = fitted.tables.flatMap(({ key, slice, head }) =>
        slice === undefined ? [] : [{ name: key, slice, columns: head.columns }],
    );
    const prints = await inTransaction(place.session, () => printSlices(place.session, then));
    return [different(manifest.prints, prints), prints];
}

/** Brings the file in where there is room for it; nothing of it stays when anything is not as it was exported. */
async function load(context: Context, tenant: string, file: string, manifest: Manifest, target: Target): Promise<void> {
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
        `SELECT (SELECT detail ->> 'moved_to' FROM citus_as_code.tenant WHERE grp = $1 AND tenant = $2 AND state IN ('superseded', 'deleting')) AS moved,
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
                await bring(context, node, idOf(context, tenant), file);
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
