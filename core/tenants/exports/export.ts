/** A tenant's data as a file: on this machine, or where the group keeps its exports. */
import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { chmod, mkdir, open, rename, rm, statfs, writeFile } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import type { ScriptInput } from "../../node/reach.ts";
import { runScript } from "../../reach/run.ts";
import { identifier } from "../../sql/quote.ts";
import { describeBytes } from "../../util/bytes.ts";
import {
    allColumns,
    differingTables,
    nameOf,
    type Prints,
    printTenant,
    rowsOf,
    storedColumns,
    whereOf,
} from "../data/checksum.ts";
import { type LastNumbers, readSequences } from "../data/sequences.ts";
import { databaseOf, inOrder, type Slice, schemaOf } from "../data/shape.ts";
import { placeOf, type TenantLocation } from "../data/tenantTables.ts";
import type { Context } from "../group/facet.ts";
import type { Model } from "../group/spec.ts";
import { parseTold, placeInput, sendManifest } from "./exportPlaces.ts";
import { addressOf, type ExportTarget, parseTarget, pathPart, type RemoteFile } from "./exportTarget.ts";

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

/** How a node reaches the places of exports. */
export const placeOn = (context: Context, node: string) => ({
    shell: context.shell(node),
    run: (words: readonly string[], input: ScriptInput) => onNode(context, node, words, input),
});

/** Bytes that a tenant's data has, at the most about: what a file of it may take. */
async function sizeOf({ group, tenant, session, slices }: TenantLocation, prints: Prints): Promise<number> {
    const one = async (sql: string, parameters: readonly unknown[] = []) =>
        Number((await session.query<{ bytes: string | null }>(sql, parameters))[0]?.bytes ?? 0);
    if (group.model === "database") return one("SELECT pg_database_size(current_database())::text AS bytes");
    if (group.model === "schema")
        return one(
            `SELECT sum(citus_total_relation_size(c.oid, fail_on_error := false))::text AS bytes FROM pg_class c
               JOIN pg_dist_partition p ON p.logicalrelid = c.oid WHERE c.relnamespace = to_regnamespace($1)`,
            [identifier(schemaOf(tenant))],
        );
    let bytes = 0;
    for (const { name, slice } of allColumns(slices))
        bytes +=
            Number(prints[name]?.count ?? 0) *
            (await one(
                `SELECT avg(pg_column_size(s.*))::text AS bytes FROM (SELECT * FROM ${nameOf(slice.table)}${whereOf(slice)} LIMIT 100) s`,
            ));
    return Math.ceil(bytes);
}

/** Makes the file on the node, or where it is to be. */
async function makeFile(
    context: Context,
    place: TenantLocation,
    remote: RemoteFile | undefined,
    prints: Prints,
): Promise<{ bytes: number; sha256: string }> {
    const { tenant, group, node } = place;
    const id = idOf(context, tenant);
    const rows: Record<string, string> = byKey(group.model) ? { "read.sql": readRows(place.slices) } : {};
    const needs = remote === undefined ? String(await sizeOf(place, prints)) : "0";
    const input = placeInput(context.shell(node), remote, { ...rows, needs });
    const words = byKey(group.model)
        ? ["rows", id, await ownDatabase(context)]
        : group.model === "schema"
          ? ["dump", id, await ownDatabase(context), `--schema=${identifier(schemaOf(tenant))}`]
          : ["dump", id, databaseOf(tenant), "--create"];
    return parseTold(await onNode(context, node, words, input), `${node}: the export of ${tenant}`);
}

async function fetchFile(context: Context, node: string, id: string, bytes: number, file: string): Promise<void> {
    const { bavail, bsize } = await statfs(dirname(file));
    if (bavail * bsize < bytes)
        throw new Error(
            `the export has ${describeBytes(bytes)}, and ${dirname(file)} on this machine has ${describeBytes(bavail * bsize)} free. Nothing was exported. Make room, or set exports of the group to a bucket.`,
        );
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

export async function sha256Of(file: string): Promise<string> {
    const hash = createHash("sha256");
    for await (const chunk of createReadStream(file)) hash.update(chunk as Buffer);
    return hash.digest("hex");
}

/** In model database the tenant's own database is the first to know. */
export async function readRan({ session }: Context, { group, tenant, session: own }: TenantLocation): Promise<Ran[]> {
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
export const columnsOf = (slices: readonly Slice[]): NonNullable<Manifest["columns"]> =>
    Object.fromEntries(
        allColumns(slices).map(({ name, slice, columns }) => [
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

/** Where a group's exports go; a folder of this machine where it does not say. */
export function targetOf({ group, exports }: Pick<Context, "group" | "exports">): ExportTarget {
    if (group.exports === undefined) return { kind: "folder", path: exports };
    const target = parseTarget(group.exports);
    if (typeof target === "string") throw new Error(`exports of group ${group.name} ${target}`);
    return target;
}

/** A file that was made on the node comes to this machine. */
async function bringHome(
    context: Context,
    node: string,
    id: string,
    file: string,
    made: { bytes: number; sha256: string },
    manifest: string,
): Promise<void> {
    const fresh = `${file}.part`;
    try {
        await fetchFile(context, node, id, made.bytes, fresh);
        if ((await sha256Of(fresh)) !== made.sha256)
            throw new Error(`${node}: the export ${basename(file)} did not arrive whole`);
        // the file without its manifest would be half an export
        await writeFile(`${file}.json`, manifest, { mode: 0o600, flush: true });
        await chmod(fresh, 0o600);
        await rename(fresh, file);
        await keep(dirname(file));
    } finally {
        await rm(fresh, { force: true });
    }
}

/** @throws Error when the schema of a tenant of model schema is not there */
async function refuseMissing({ group, session }: Context, tenant: string): Promise<void> {
    if (group.model !== "schema") return;
    const [row] = await session.query<{ ok: boolean }>("SELECT to_regnamespace($1) IS NOT NULL AS ok", [
        identifier(schemaOf(tenant)),
    ]);
    if (!row?.ok)
        throw new Error(`${group.name} has no tenant ${tenant}: there is no schema of its name. Nothing was exported.`);
}

/** The epoch of a tenant that has one, for who brings the export back. */
async function epochOf({ group, session }: Context, tenant: string): Promise<Manifest["detail"]> {
    const [known] = await session.query<{ detail: Record<string, unknown> }>(
        "SELECT detail FROM citus_as_code.tenant WHERE grp = $1 AND tenant = $2",
        [group.name, tenant],
    );
    const epoch = known?.detail.epoch;
    return epoch === undefined ? {} : { epoch };
}

/** A file that no export has yet: its address where it goes elsewhere, and its path here where it does not. */
async function newFile(
    context: Context,
    tenant: string,
    target: ReturnType<typeof targetOf>,
): Promise<{ readonly remote: RemoteFile | undefined; readonly file: string }> {
    const { group } = context;
    const id = idOf(context, tenant);
    const at = new Date().toISOString().replace(/[-:.]/g, "");
    const remote: RemoteFile | undefined =
        target.kind === "folder"
            ? undefined
            : {
                  target,
                  path: `${target.kind === "repository" ? "tenant-exports/" : ""}${group.name}/${pathPart(tenant)}-${id.slice(0, 4)}-${at}.sql.gz`,
              };
    const file =
        target.kind === "folder"
            ? join(await makeFolder(target.path, group.name), `${tenant.replaceAll("/", "_")}-${at}.sql.gz`)
            : addressOf(remote as RemoteFile);
    return { remote, file };
}

/**
 * Writes all of a tenant into a file, with a manifest beside it. On this machine both are readable by this user only; a
 * bucket or the repository of backups gets them from the node itself. Writes are not held up: an export during which the
 * tenant changed is made again.
 * @returns the file's path or address
 * @throws Error when the tenant is not there, or changes all the time
 */
export async function exportTenant(context: Context, tenant: string): Promise<string> {
    const { group } = context;
    refuseRouted(context, tenant, "exported");
    const target = targetOf(context);
    const place = await placeOf(context, group, tenant);
    const id = idOf(context, tenant);
    await refuseMissing(context, tenant);
    let before = await printTenant(place.session, place.slices);
    if (byKey(group.model) && Object.values(before).every(({ count }) => count === "0"))
        throw new Error(`${group.name} has no tenant ${tenant}: no table has rows of it. Nothing was exported.`);
    let ran = await readRan(context, place);
    const { remote, file } = await newFile(context, tenant, target);
    const forget = () =>
        remote === undefined
            ? onNode(context, place.node, ["drop", id])
            : onNode(context, place.node, ["forget"], placeInput(context.shell(place.node), remote));
    let done = false;
    try {
        for (let tries = 1; ; tries++) {
            const sequences = await readSequences(place.session, place.slices);
            const made = await makeFile(context, place, remote, before);
            const after = await printTenant(place.session, place.slices);
            const migrations = await readRan(context, place);
            const migrated = JSON.stringify(migrations) !== JSON.stringify(ran);
            const changed = [...differingTables(before, after), ...(migrated ? ["the files that it ran"] : [])];
            before = after;
            ran = migrations;
            if (changed.length > 0) {
                if (tries < TRIES) continue;
                throw new Error(
                    `${tenant}: ${changed.join(", ")} changed while it was exported, ${TRIES} times. Nothing was exported. Set its state to frozen, then export it.`,
                );
            }
            const manifest: Manifest = {
                format: 1,
                group: group.name,
                tenant,
                model: group.model,
                at: new Date().toISOString(),
                file: basename(remote?.path ?? file),
                ...made,
                node: place.node,
                prints: after,
                columns: columnsOf(place.slices),
                sequences,
                migrations,
                detail: await epochOf(context, tenant),
            };
            const text = `${JSON.stringify(manifest, undefined, 2)}\n`;
            if (remote === undefined) await bringHome(context, place.node, id, file, made, text);
            else await sendManifest(placeOn(context, place.node), remote, text);
            done = true;
            return file;
        }
    } finally {
        // where it stays it is the export itself
        if (remote === undefined || !done) await forget().catch(() => undefined);
    }
}
