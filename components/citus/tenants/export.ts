/** A tenant's data as a file on this machine, and back. */
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { chmod, mkdir, open, readFile, rename, rm, stat, writeFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { runScript, type ScriptInput } from "../../shell.ts";
import type { Model } from "../../tenants/args.ts";
import { countOf } from "../../tenants/changePlan.ts";
import type { Context } from "../../tenants/facet.ts";
import { databaseOf, inOrder, type Slice, schemaOf } from "../../tenants/shape.ts";
import { describeBytes } from "../job.ts";
import { identifier, literal } from "../quote.ts";
import type { Session } from "../session.ts";
import { transaction } from "./batch.ts";
import { hasPolicies, refreshPolicies, renewed } from "./change.ts";
import {
    different,
    emptyCheck,
    everything,
    inTransaction,
    nameOf,
    type Prints,
    printSlices,
    printTenant,
    rowsOf,
    storedColumns,
    whereOf,
} from "./checksum.ts";
import { takeLock, unlock } from "./converge.ts";
import { OWN_LEDGER, ownRow } from "./migrations.ts";
import { nodeOfTenant, type Place, placeOf } from "./place.ts";
import { advanceSequences, type LastNumbers, readSequences } from "./sequences.ts";
import { ranRow, settingsFor } from "./template.ts";

/** A file of the template that was run. */
interface Ran {
    readonly path: string;
    readonly sha256: string;
}

/** Lies beside the file, as `<file>.json`. */
export interface Manifest {
    readonly format: 1;
    readonly group: string;
    readonly tenant: string;
    readonly model: Model;
    readonly at: string;
    /** The file's name, size and checksum. */
    readonly file: string;
    readonly bytes: number;
    readonly sha256: string;
    /** The node that it was on. */
    readonly node: string;
    /** Of its tables, over all stored columns. */
    readonly prints: Prints;
    readonly sequences: LastNumbers;
    /** Files of the template that had been run for it. */
    readonly migrations: readonly Ran[];
    /** What the ledger said that must be the same again. */
    readonly detail: Readonly<Record<string, unknown>>;
}

/** Bytes of a file that go over at once; they are held in memory. */
const PART = 4 * 1024 * 1024;

const TRIES = 3;

const byKey = (model: Model) => model === "row" || model === "rls";

/** Name of the file on the node while it is fetched or brought; the same when a killed run is repeated. */
const idOf = (context: Context, tenant: string) =>
    createHash("sha256").update(`${context.group.name}/${tenant}`).digest("hex").slice(0, 16);

async function onNode(context: Context, node: string, words: readonly string[], input?: ScriptInput): Promise<string> {
    const ran = await runScript(context.shell(node), ["export-tenant.sh", ...words], input);
    if (ran.code !== 0)
        throw new Error(`${node}: ${ran.stderr.trim().slice(-1500) || `export-tenant.sh ${words[0]} failed`}`);
    return ran.stdout;
}

function refuseRouted({ group }: Context, tenant: string, done: "exported" | "restored"): void {
    if (group.model !== "routed") return;
    const { host, port = 5432, database = tenant } = group.tenants[tenant] ?? {};
    throw new Error(
        `${group.name}/${tenant} is routed: its data is on a server somewhere else${host === undefined ? "" : ` (${host}:${port}/${database})`}, where this cluster has no access. Nothing was ${done}. Use pg_dump and psql on that server.`,
    );
}

async function ownDatabase(context: Context): Promise<string> {
    const [row] = await context.session.query<{ name: string }>("SELECT current_database() AS name");
    return row?.name ?? "";
}

const ordered = (slices: readonly Slice[]) => inOrder(slices, ({ table }) => table) ?? [...slices];

/** What psql prints is a program that psql reads. */
function readRows(slices: readonly Slice[]): string {
    const echo = (text: string) => `\\qecho '${text.replaceAll("\\", "\\\\").replaceAll("'", "''")}'`;
    const copies = ordered(slices).flatMap((slice) => {
        const columns = storedColumns(slice.table);
        return [
            echo(`COPY ${nameOf(slice.table)} (${columns.map(identifier).join(", ")}) FROM stdin;`),
            `COPY (${rowsOf(slice, columns)}) TO STDOUT;`,
            echo("\\."),
        ];
    });
    return `BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;\n${copies.join("\n")}\nCOMMIT;\n`;
}

/** Makes the file on the node. */
async function make(context: Context, place: Place): Promise<{ bytes: number; sha256: string }> {
    const { tenant, group, node } = place;
    const id = idOf(context, tenant);
    const made = byKey(group.model)
        ? await onNode(context, node, ["rows", id, await ownDatabase(context)], {
              files: { "read.sql": readRows(place.slices) },
          })
        : group.model === "schema"
          ? await onNode(context, node, [
                "dump",
                id,
                await ownDatabase(context),
                `--schema=${identifier(schemaOf(tenant))}`,
            ])
          : await onNode(context, node, ["dump", id, databaseOf(tenant), "--create"]);
    const bytes = Number(/^bytes=(\d+)$/m.exec(made)?.[1]);
    const sha256 = /^sha256=([0-9a-f]{64})$/m.exec(made)?.[1];
    if (!sha256 || Number.isNaN(bytes)) throw new Error(`${node}: the export of ${tenant} was cut off`);
    return { bytes, sha256 };
}

async function fetchFile(context: Context, node: string, id: string, bytes: number, file: string): Promise<void> {
    const handle = await open(file, "w", 0o600);
    try {
        for (let offset = 0; offset < bytes; ) {
            context.alive();
            if (bytes > PART)
                context.progress(`${basename(file)}: ${describeBytes(offset)} of ${describeBytes(bytes)} fetched`);
            const part = Buffer.from(await onNode(context, node, ["part", id, String(offset), String(PART)]), "base64");
            if (part.length === 0) throw new Error(`${node}: the export ended after ${offset} of ${bytes} bytes`);
            await handle.write(part);
            offset += part.length;
        }
        await handle.sync();
    } finally {
        await handle.close();
    }
}

async function sha256Of(file: string): Promise<string> {
    const hash = createHash("sha256");
    for await (const chunk of createReadStream(file)) hash.update(chunk as Buffer);
    return hash.digest("hex");
}

/** In model database the tenant's own database is the first to know. */
async function readRan({ session }: Context, { group, tenant, session: own }: Place): Promise<Ran[]> {
    if (group.model === "database") {
        const [row] = await own.query<{ ok: boolean }>(
            "SELECT to_regclass('citus_as_code.migration') IS NOT NULL AS ok",
        );
        if (row?.ok) return own.query<Ran>("SELECT path, sha256 FROM citus_as_code.migration ORDER BY path");
    }
    return session.query<Ran>(
        "SELECT path, sha256 FROM citus_as_code.tenant_migration WHERE grp = $1 AND tenant = $2 ORDER BY path",
        [group.name, tenant],
    );
}

/** Makes a group's folder, and those that it is in where they are not there. */
export async function makeFolder(exports: string, group: string): Promise<string> {
    const folder = join(exports, group);
    await mkdir(folder, { recursive: true, mode: 0o700 });
    for (const one of [exports, folder]) await chmod(one, 0o700);
    return folder;
}

/** Names in a folder outlive a machine that stops at once: what they hold may be deleted next. */
async function keep(folder: string): Promise<void> {
    const handle = await open(folder, "r");
    try {
        await handle.sync();
    } finally {
        await handle.close();
    }
}

/**
 * Writes all of a tenant into a file on this machine, with a manifest beside it, both readable by this user only. Writes
 * are not held up: an export during which the tenant changed is made again.
 * @returns the file's path
 * @throws Error when the tenant is not there, or changes all the time
 */
export async function exportTenant(context: Context, tenant: string): Promise<string> {
    const { group, session, exports } = context;
    refuseRouted(context, tenant, "exported");
    const place = await placeOf(context, group, tenant);
    const id = idOf(context, tenant);
    if (group.model === "schema") {
        const [row] = await session.query<{ ok: boolean }>("SELECT to_regnamespace($1) IS NOT NULL AS ok", [
            identifier(schemaOf(tenant)),
        ]);
        if (!row?.ok)
            throw new Error(
                `${group.name} has no tenant ${tenant}: there is no schema of its name. Nothing was exported.`,
            );
    }
    let before = await printTenant(place.session, place.slices);
    if (byKey(group.model) && Object.values(before).every(({ count }) => count === "0"))
        throw new Error(`${group.name} has no tenant ${tenant}: no table has rows of it. Nothing was exported.`);
    let ran = await readRan(context, place);
    for (let tries = 1; ; tries++) {
        const sequences = await readSequences(place.session, place.slices);
        const made = await make(context, place);
        const after = await printTenant(place.session, place.slices);
        const migrations = await readRan(context, place);
        const migrated = JSON.stringify(migrations) !== JSON.stringify(ran);
        const changed = [...different(before, after), ...(migrated ? ["the files that it ran"] : [])];
        before = after;
        ran = migrations;
        if (changed.length > 0) {
            if (tries < TRIES) continue;
            await onNode(context, place.node, ["drop", id]);
            throw new Error(
                `${tenant}: ${changed.join(", ")} changed while it was exported, ${TRIES} times. Nothing was exported. Set its state to frozen, then export it.`,
            );
        }
        const at = new Date().toISOString().replace(/[-:.]/g, "");
        const folder = await makeFolder(exports, group.name);
        const file = join(folder, `${tenant.replaceAll("/", "_")}-${at}.sql.gz`);
        const fresh = `${file}.part`;
        try {
            await fetchFile(context, place.node, id, made.bytes, fresh);
            if ((await sha256Of(fresh)) !== made.sha256)
                throw new Error(`${place.node}: the export of ${tenant} did not arrive whole`);
            const [known] = await session.query<{ detail: Record<string, unknown> }>(
                "SELECT detail FROM citus_as_code.tenant WHERE grp = $1 AND tenant = $2",
                [group.name, tenant],
            );
            const epoch = known?.detail.epoch;
            const manifest: Manifest = {
                format: 1,
                group: group.name,
                tenant,
                model: group.model,
                at: new Date().toISOString(),
                file: basename(file),
                ...made,
                node: place.node,
                prints: after,
                sequences,
                migrations,
                detail: epoch === undefined ? {} : { epoch },
            };
            // the file without its manifest would be half an export
            const text = `${JSON.stringify(manifest, undefined, 2)}\n`;
            await writeFile(`${file}.json`, text, { mode: 0o600, flush: true });
            await chmod(fresh, 0o600);
            await rename(fresh, file);
            await keep(folder);
        } finally {
            await rm(fresh, { force: true });
            await onNode(context, place.node, ["drop", id]).catch(() => undefined);
        }
        return file;
    }
}

async function readManifest(file: string): Promise<Manifest> {
    const text = await readFile(`${file}.json`, "utf8").catch((error: Error) => {
        throw new Error(`${file}.json, the manifest of the export, can't be read: ${error.message}.`);
    });
    const wrong = new Error(`${file}.json is not the manifest of an export.`);
    let manifest: Manifest | null;
    try {
        manifest = JSON.parse(text);
    } catch {
        throw wrong;
    }
    if (manifest?.format !== 1 || !manifest.prints || !manifest.sha256) throw wrong;
    return manifest;
}

/**
 * Reads the manifest of a tenant's export, and all of the file itself.
 * @throws Error when the file is not the tenant's, or not as it was made
 */
export async function readExport({ group }: Context, tenant: string, file: string): Promise<Manifest> {
    const manifest = await readManifest(file);
    if (manifest.group !== group.name || manifest.tenant !== tenant || manifest.model !== group.model)
        throw new Error(
            `${file} has ${manifest.group}/${manifest.tenant} of model ${manifest.model}, not ${group.name}/${tenant} of model ${group.model}.`,
        );
    const { size } = await stat(file).catch((error: Error) => {
        throw new Error(`${file} can't be read: ${error.message}.`);
    });
    if (size !== manifest.bytes || (await sha256Of(file)) !== manifest.sha256)
        throw new Error(
            `${file} is not as it was when it was exported (sha256; ${size} bytes, which were ${manifest.bytes}).`,
        );
    return manifest;
}

const rowsTold = (slices: readonly Slice[], prints: Prints) =>
    everything(slices).flatMap(({ name, slice }) => {
        const count = slice.anchor ? "0" : (prints[name]?.count ?? "0");
        return count === "0" ? [] : [`${nameOf(slice.table)} has ${countOf(Number(count), "row")}`];
    });

/** What is on the node is the tenant's database. */
async function hasDatabase(context: Context, tenant: string, node: string): Promise<boolean> {
    const server = await context.open(node, "postgres");
    const [there] = await server.query("SELECT FROM pg_database WHERE datname = $1", [databaseOf(tenant)]);
    return there !== undefined;
}

/** Tables that have rows of the tenant, besides the row that the program gives it. */
async function dataOf(context: Context, tenant: string, node: string): Promise<string[]> {
    const { group } = context;
    if (group.model === "database" && !(await hasDatabase(context, tenant, node))) return [];
    const place = await placeOf(context, group, tenant);
    return rowsTold(place.slices, await printTenant(place.session, place.slices));
}

/** Objects of others that would go with a tenant's schema: no export of it has them. */
async function outside(session: Session, schema: string): Promise<string[]> {
    const rows = await session.query<{ what: string }>(
        `SELECT DISTINCT pg_describe_object(d.classid, d.objid, d.objsubid) AS what
           FROM pg_depend d, pg_identify_object(d.classid, d.objid, d.objsubid) i,
                pg_identify_object_as_address(d.classid, d.objid, d.objsubid) a
          WHERE d.deptype = 'n' AND coalesce(i.schema, quote_ident(a.object_names[1])) <> quote_ident($1)
            AND (d.refclassid, d.refobjid) IN (
                SELECT 'pg_class'::regclass, oid FROM pg_class WHERE relnamespace = to_regnamespace(quote_ident($1))
                UNION ALL SELECT 'pg_type'::regclass, oid FROM pg_type WHERE typnamespace = to_regnamespace(quote_ident($1))
                UNION ALL SELECT 'pg_proc'::regclass, oid FROM pg_proc WHERE pronamespace = to_regnamespace(quote_ident($1)))
          ORDER BY 1`,
        [schema],
    );
    return rows.map(({ what }) => what);
}

async function dropSchema(context: Context, tenant: string, compare: Compare, ledger: string): Promise<string[]> {
    const { group, session } = context;
    const name = schemaOf(tenant);
    const { slices } = await placeOf(context, group, tenant);
    return inTransaction(session, async () => {
        await session.query(`${settingsFor("public", group.lockTimeout)}\nSET LOCAL client_min_messages = warning;`);
        if (slices.length > 0)
            await session.query(
                `LOCK TABLE ${slices.map(({ table }) => nameOf(table)).join(", ")} IN ACCESS EXCLUSIVE MODE`,
            );
        const told = compare(slices, await printSlices(session, everything(slices)));
        if (told.length > 0) return told;
        const others = await outside(session, name);
        if (others.length > 0)
            throw new Error(
                `${group.name}/${tenant}: with its schema would go what is not in it, and in no export of it: ${others.join(", ")}.\n` +
                    "Nothing was dropped. Drop that yourself, or take it off the schema, then repeat this.",
            );
        await session.query(`DROP SCHEMA IF EXISTS ${identifier(name)} CASCADE`);
        if (ledger) await session.query(ledger);
        return [];
    });
}

async function dropDatabase(
    context: Context,
    tenant: string,
    node: string,
    compare: Compare,
    ledger: string,
): Promise<string[]> {
    if (!(await hasDatabase(context, tenant, node))) return [];
    const name = databaseOf(tenant);
    const server = await context.open(node, "postgres");
    const [was] = await server.query<{ limit: number }>(
        "SELECT datconnlimit AS limit FROM pg_database WHERE datname = $1",
        [name],
    );
    const limit = (n: number) => server.query(`ALTER DATABASE ${identifier(name)} CONNECTION LIMIT ${n}`);
    await limit(0);
    let told: string[];
    try {
        await server.query(
            `SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity a JOIN pg_roles r ON r.oid = a.usesysid
              WHERE datname = $1 AND NOT rolsuper`,
            [name],
        );
        const { session: own, slices } = await placeOf(context, context.group, tenant);
        told = compare(slices, await printTenant(own, slices));
        await own.close();
    } catch (error) {
        await limit(was?.limit ?? -1);
        throw error;
    }
    if (told.length > 0) {
        await limit(was?.limit ?? -1);
        return told;
    }
    if (ledger) await context.session.query(ledger);
    await server.query(`DROP DATABASE ${identifier(name)} WITH (FORCE)`);
    return [];
}

/** What is not as it should be. */
export type Compare = (slices: readonly Slice[], prints: Prints) => string[];

/**
 * Drops a tenant's schema or database, if it is as it should be while nobody writes to it.
 * @param ledger SQL that is run with it; in model database, where it can't be in one transaction, right before
 * @returns what is not as it should be; all is as it was then
 */
export const dropWhole = (context: Context, tenant: string, node: string, compare: Compare, ledger = "") =>
    context.group.model === "schema"
        ? dropSchema(context, tenant, compare, ledger)
        : dropDatabase(context, tenant, node, compare, ledger);

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
                            `${name} had ${countOf(Number(manifest.prints[name]?.count ?? 0), "row")} (${manifest.prints[name]?.sum ?? 0}) and has ${prints[name]?.count ?? 0} (${prints[name]?.sum ?? 0})`,
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
