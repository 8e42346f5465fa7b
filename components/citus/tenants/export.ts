/** A tenant's data as a file on this machine, and back. */
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { chmod, mkdir, open, readFile, rename, rm, stat, writeFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { runScript, type ScriptInput } from "../../shell.ts";
import type { Model } from "../../tenants/args.ts";
import type { Context } from "../../tenants/facet.ts";
import { databaseOf, inOrder, type Slice, schemaOf } from "../../tenants/shape.ts";
import { describeBytes } from "../job.ts";
import {
    inTransaction,
    nameOf,
    type Prints,
    printTenant,
    rowsOf,
    samePrint,
    storedColumns,
    whereOf,
} from "./checksum.ts";
import { identifier, literal } from "./ledger.ts";
import { nodeOfTenant, type Place, placeOf } from "./place.ts";
import { advanceSequences, type LastNumbers, readSequences } from "./sequences.ts";

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
    readonly migrations: readonly { readonly path: string; readonly sha256: string }[];
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

const different = (before: Prints, after: Prints) =>
    Object.keys({ ...before, ...after }).filter((name) => !samePrint(before[name], after[name]));

/**
 * Writes all of a tenant into a file on this machine, with a manifest beside it, both readable by this user only. Writes
 * are not held up: an export during which the tenant changed is made again.
 * @returns the file's path
 * @throws Error when the tenant is not there, or changes all the time
 */
export async function exportTenant(context: Context, tenant: string): Promise<string> {
    const { group, session, exports } = context;
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
    for (let tries = 1; ; tries++) {
        const sequences = await readSequences(place.session, place.slices);
        const made = await make(context, place);
        const after = await printTenant(place.session, place.slices);
        const changed = different(before, after);
        before = after;
        if (changed.length > 0) {
            if (tries < TRIES) continue;
            await onNode(context, place.node, ["drop", id]);
            throw new Error(
                `${tenant}: ${changed.join(", ")} changed while it was exported, ${TRIES} times. Nothing was exported. Set its state to frozen, then export it.`,
            );
        }
        const at = new Date().toISOString().replace(/[-:]|[.]\d+/g, "");
        const folder = join(exports, group.name);
        await mkdir(folder, { recursive: true, mode: 0o700 });
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
            const migrations = await session.query<{ path: string; sha256: string }>(
                "SELECT path, sha256 FROM citus_as_code.tenant_migration WHERE grp = $1 AND tenant = $2 ORDER BY path",
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
            await writeFile(`${file}.json`, `${JSON.stringify(manifest, undefined, 2)}\n`, { mode: 0o600 });
            await chmod(fresh, 0o600);
            await rename(fresh, file);
        } finally {
            await rm(fresh, { force: true });
            await onNode(context, place.node, ["drop", id]).catch(() => undefined);
        }
        return file;
    }
}

async function readManifest(file: string): Promise<Manifest> {
    const text = await readFile(`${file}.json`, "utf8").catch((error: Error) => {
        throw new Error(
            `${file}.json, the manifest of the export, can't be read: ${error.message}. Nothing was restored.`,
        );
    });
    const manifest = JSON.parse(text) as Manifest;
    if (manifest.format !== 1 || !manifest.prints || !manifest.sha256)
        throw new Error(`${file}.json is not the manifest of an export. Nothing was restored.`);
    return manifest;
}

const rowsTold = (slices: readonly Slice[], prints: Prints) =>
    slices.flatMap((slice) => {
        const count = slice.anchor ? "0" : (prints[slice.name]?.count ?? "0");
        return count === "0" ? [] : [`${nameOf(slice.table)} has ${count} rows`];
    });

/** What is there of the tenant is empty and in the way; or it has data, and nothing is done. */
async function clear(context: Context, tenant: string, node: string): Promise<void> {
    const { group, session } = context;
    const refuse = (told: readonly string[]) => {
        if (told.length > 0)
            throw new Error(
                `${group.name}/${tenant} has data: ${told.join(", ")}. Nothing was restored. Delete the tenant first (delete of group ${group.name}), then restore it.`,
            );
    };
    if (group.model === "database") {
        const server = await context.open(node, "postgres");
        const [there] = await server.query("SELECT FROM pg_database WHERE datname = $1", [databaseOf(tenant)]);
        if (!there) return;
        const place = await placeOf(context, group, tenant);
        refuse(rowsTold(place.slices, await printTenant(place.session, place.slices)));
        await server.query(`DROP DATABASE ${identifier(databaseOf(tenant))} WITH (FORCE)`);
        return;
    }
    const place = await placeOf(context, group, tenant);
    refuse(rowsTold(place.slices, await printTenant(session, place.slices)));
    if (group.model === "schema") await session.query(`DROP SCHEMA IF EXISTS ${identifier(schemaOf(tenant))} CASCADE`);
}

/** Takes away what was restored. */
async function undo(context: Context, tenant: string, node: string): Promise<void> {
    const { group, session } = context;
    if (group.model === "database") {
        const server = await context.open(node, "postgres");
        await server.query(`DROP DATABASE IF EXISTS ${identifier(databaseOf(tenant))} WITH (FORCE)`);
    } else if (group.model === "schema") {
        await session.query(`DROP SCHEMA IF EXISTS ${identifier(schemaOf(tenant))} CASCADE`);
    } else {
        const { slices } = await placeOf(context, group, tenant);
        await inTransaction(session, async () => {
            for (const slice of ordered(slices).reverse())
                await session.query(`DELETE FROM ${nameOf(slice.table)}${whereOf(slice)}`);
        });
    }
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

/** SQL around the file, and the database that it is run in. */
async function surroundings(
    context: Context,
    tenant: string,
): Promise<{ before: string; after: string; database: string }> {
    const { group } = context;
    if (group.model === "database") return { before: "", after: "", database: "postgres" };
    const database = await ownDatabase(context);
    if (group.model === "schema")
        // not every statement of a dump can be run on distributed tables, so they are distributed when they are whole
        return {
            before: "BEGIN;\n",
            after: `SELECT citus_schema_distribute(${literal(identifier(schemaOf(tenant)))});\nCOMMIT;\n`,
            database,
        };
    const { slices } = await placeOf(context, group, tenant);
    const anchors = slices.filter(({ anchor }) => anchor);
    return {
        before: `BEGIN;\n${anchors.map((slice) => `DELETE FROM ${nameOf(slice.table)}${whereOf(slice)};\n`).join("")}`,
        after: "COMMIT;\n",
        database,
    };
}

/**
 * Brings an exported tenant back, as it was. Its role and rights come with the next `pulumi up`.
 * @param file what exportTenant returned
 * @throws Error when the tenant has data, or what came back is not what was exported; nothing of it is left then
 */
export async function restoreTenant(context: Context, tenant: string, file: string): Promise<void> {
    const { group, session } = context;
    const manifest = await readManifest(file);
    if (manifest.group !== group.name || manifest.tenant !== tenant || manifest.model !== group.model)
        throw new Error(
            `${file} has ${manifest.group}/${manifest.tenant} of model ${manifest.model}, not ${group.name}/${tenant} of model ${group.model}. Nothing was restored.`,
        );
    if ((await sha256Of(file)) !== manifest.sha256)
        throw new Error(`${file} is not as it was when it was exported (sha256). Nothing was restored.`);
    const node =
        group.model === "database"
            ? await nodeOfTenant(context, group, tenant).catch(() => manifest.node)
            : "coordinator";
    const id = idOf(context, tenant);
    await clear(context, tenant, node);
    await bring(context, node, id, file);
    try {
        const { before, after, database } = await surroundings(context, tenant);
        await onNode(context, node, ["restore", id, manifest.sha256, database], {
            files: { "before.sql": before, "after.sql": after },
        });
        await session.query(
            `INSERT INTO citus_as_code.tenant AS t (grp, tenant, model, state, node, detail) VALUES ($1, $2, $3, 'active', $4, $5)
                 ON CONFLICT (grp, tenant) DO UPDATE SET state = 'active', since = now(), node = excluded.node, detail = t.detail || excluded.detail`,
            [
                group.name,
                tenant,
                group.model,
                group.model === "database" ? node : null,
                JSON.stringify(manifest.detail),
            ],
        );
        const place = await placeOf(context, group, tenant);
        const prints = await printTenant(place.session, place.slices);
        const wrong = different(manifest.prints, prints);
        if (wrong.length > 0)
            throw new Error(
                `what came back is not what was exported: ${wrong
                    .map(
                        (name) =>
                            `${name} had ${manifest.prints[name]?.count ?? 0} rows (${manifest.prints[name]?.sum ?? 0}) and has ${prints[name]?.count ?? 0} (${prints[name]?.sum ?? 0})`,
                    )
                    .join(", ")}`,
            );
        await advanceSequences(context, place, place.slices, manifest.sequences);
    } catch (error) {
        await undo(context, tenant, node);
        await session.query("DELETE FROM citus_as_code.tenant WHERE grp = $1 AND tenant = $2", [group.name, tenant]);
        throw new Error(
            `${group.name}/${tenant} could not be restored from ${file}\n  ${(error as Error).message.replaceAll("\n", "\n  ")}\nNothing of it is left here; the file is as it was.`,
        );
    } finally {
        await onNode(context, node, ["drop", id]).catch(() => undefined);
    }
    await inTransaction(session, async () => {
        for (const { path, sha256 } of manifest.migrations)
            await session.query(
                "INSERT INTO citus_as_code.tenant_migration (grp, tenant, path, sha256) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING",
                [group.name, tenant, path, sha256],
            );
        await session.query("DELETE FROM citus_as_code.tenant_tombstone WHERE grp = $1 AND tenant = $2", [
            group.name,
            tenant,
        ]);
    });
}
