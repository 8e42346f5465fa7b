/** A tenant's data as a file on this machine. */
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { chmod, mkdir, open, readFile, rename, rm, stat, writeFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { runScript, type ScriptInput } from "../../shell.ts";
import type { Model } from "../../tenants/args.ts";
import type { Context } from "../../tenants/facet.ts";
import { databaseOf, inOrder, type Slice, schemaOf } from "../../tenants/shape.ts";
import { describeBytes } from "../job.ts";
import { identifier } from "../quote.ts";
import { different, everything, nameOf, type Prints, printTenant, rowsOf, storedColumns } from "./checksum.ts";
import { type Place, placeOf } from "./place.ts";
import { type LastNumbers, readSequences } from "./sequences.ts";

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
    /** Counts and checksums of its tables, over all stored columns. */
    readonly prints: Prints;
    /** Stored columns of its tables, in the same order; files of before 2026-12 lack it. */
    readonly columns?: Readonly<Record<string, readonly { readonly name: string; readonly type: string }[]>>;
    readonly sequences: LastNumbers;
    /** Files of the template that had been run for it. */
    readonly migrations: readonly Ran[];
    /** What the ledger said that must be the same again. */
    readonly detail: Readonly<Record<string, unknown>>;
}

/** Bytes of a file that go over at once; they are held in memory. */
export const PART = 4 * 1024 * 1024;

const TRIES = 3;

/** Models whose tenants have rows among others' rows. */
export const byKey = (model: Model) => model === "row" || model === "rls";

/** Name of the file on the node while it is fetched or brought; the same when a killed run is repeated. */
export const idOf = (context: Context, tenant: string) =>
    createHash("sha256").update(`${context.group.name}/${tenant}`).digest("hex").slice(0, 16);

export async function onNode(
    context: Context,
    node: string,
    words: readonly string[],
    input?: ScriptInput,
): Promise<string> {
    const ran = await runScript(context.shell(node), ["export-tenant.sh", ...words], input);
    if (ran.code !== 0)
        throw new Error(`${node}: ${ran.stderr.trim().slice(-1500) || `export-tenant.sh ${words[0]} failed`}`);
    return ran.stdout;
}

export function refuseRouted({ group }: Context, tenant: string, done: "exported" | "restored"): void {
    if (group.model !== "routed") return;
    const { host, port = 5432, database = tenant } = group.tenants[tenant] ?? {};
    throw new Error(
        `${group.name}/${tenant} is routed: its data is on a server somewhere else${host === undefined ? "" : ` (${host}:${port}/${database})`}, where this cluster has no access. Nothing was ${done}. Use pg_dump and psql on that server.`,
    );
}

export async function ownDatabase(context: Context): Promise<string> {
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

/** Stored columns with their types, by the names that checksums go by. */
const columnsOf = (slices: readonly Slice[]): NonNullable<Manifest["columns"]> =>
    Object.fromEntries(
        everything(slices).map(({ name, slice, columns }) => [
            name,
            slice.table.columns
                .filter((column) => columns.includes(column.name))
                .map((column) => ({ name: column.name, type: column.type })),
        ]),
    );

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
                columns: columnsOf(place.slices),
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

export async function readManifest(file: string): Promise<Manifest> {
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
            `${file} was changed after it was exported: its sha256 differs (it has ${size} bytes and had ${manifest.bytes}).`,
        );
    return manifest;
}
