/** An export that a person made: taken for a delete when it is proved, by loading it and comparing its rows. */
import { createHash } from "node:crypto";
import { writeFile } from "node:fs/promises";
import type { Session } from "../../reach/session.ts";
import { identifier, literal } from "../../sql/quote.ts";
import { OWN_TABLES, type Prints, printTenant, readShapes } from "../data/checksum.ts";
import { readSequences } from "../data/sequences.ts";
import { slicesOf } from "../data/shape.ts";
import { ownTables, placeOf, type TenantLocation } from "../data/tenantTables.ts";
import type { Context } from "../group/facet.ts";
import { byKey, columnsOf, idOf, type Manifest, onNode, placeOn, readRan } from "./export.ts";
import { sendManifest } from "./exportPlaces.ts";
import { remoteFile } from "./exportTarget.ts";
import { loadFile, readExport, readManifest, sumOf } from "./readExport.ts";
import { parseHead } from "./restoreRows.ts";

const NOT_TAKEN = "Nothing was deleted.";

/** A database that an export is loaded into, to be compared and dropped. */
const scratchOf = (id: string) => `citus_as_code_proof_${id}`;

/** Tables of text for a file of rows, which has none: a value's text is what is compared. */
async function makeTables(context: Context, node: string, scratch: Session, id: string): Promise<void> {
    const lines = (await onNode(context, node, ["heads", id])).split("\n").filter(Boolean);
    for (const { schema, name, columns } of lines.map(parseHead)) {
        await scratch.query(`CREATE SCHEMA IF NOT EXISTS ${identifier(schema)}`);
        await scratch.query(
            `CREATE TABLE IF NOT EXISTS ${identifier(schema)}.${identifier(name)} (${columns.map((column) => `${identifier(column)} text`).join(", ")})`,
        );
    }
}

/** What a schema's dump takes for there. */
async function makeExtensions({ session }: Context, scratch: Session): Promise<void> {
    const found = await session.query<{ name: string; schema: string }>(
        `SELECT e.extname::text AS name, n.nspname::text AS schema FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
          WHERE e.extname NOT LIKE 'citus%' AND e.extname <> 'plpgsql'`,
    );
    for (const { name, schema } of found) {
        if (!schema.startsWith("pg_")) await scratch.query(`CREATE SCHEMA IF NOT EXISTS ${identifier(schema)}`);
        await scratch.query(
            `CREATE EXTENSION IF NOT EXISTS ${identifier(name)} WITH SCHEMA ${identifier(schema)} CASCADE`,
        );
    }
}

interface Loaded {
    readonly prints: Prints;
    readonly largeObjects: string;
    /** What psql said while it was loaded. */
    readonly said: string;
}

const largeObjects = async (session: Session) =>
    (await session.query<{ n: string }>("SELECT count(*)::text AS n FROM pg_largeobject_metadata"))[0]?.n ?? "0";

/** Loads a file that is on the node into a database of its own, and reads it there. */
async function loadApart(context: Context, place: TenantLocation, id: string): Promise<Loaded> {
    const { group, tenant, node, slices } = place;
    const name = scratchOf(id);
    const server = await context.open(node, "postgres");
    await server.query(`DROP DATABASE IF EXISTS ${identifier(name)} WITH (FORCE)`);
    await server.query(`CREATE DATABASE ${identifier(name)} TEMPLATE template0 CONNECTION LIMIT 0`);
    try {
        const scratch = await context.open(node, name);
        try {
            if (byKey(group.model)) await makeTables(context, node, scratch, id);
            else if (group.model === "schema") await makeExtensions(context, scratch);
            const said = await onNode(context, node, ["load", id, name]);
            const found = slicesOf(
                group,
                tenant,
                await readShapes(scratch, group.model === "database" ? OWN_TABLES : ownTables(group, tenant)),
            );
            // rows among others' are all the tenant's in a file of them; columns in the order of the living table
            const own = byKey(group.model)
                ? slices.flatMap((slice) => {
                      const there = found.find(({ name: other }) => other === slice.name);
                      const columns = slice.table.columns.filter((column) =>
                          there?.table.columns.some((one) => one.name === column.name),
                      );
                      return there ? [{ name: slice.name, table: { ...slice.table, columns } }] : [];
                  })
                : found;
            return { prints: await printTenant(scratch, own), largeObjects: await largeObjects(scratch), said };
        } finally {
            await scratch.close();
        }
    } finally {
        await server.query(`DROP DATABASE IF EXISTS ${identifier(name)} WITH (FORCE)`);
    }
}

/** Tables of which the file has other rows than there are, for a person. */
function differences(live: Prints, file: Prints): string[] {
    return Object.keys({ ...live, ...file }).flatMap((name) => {
        const [now, then] = [live[name], file[name]];
        if ((now?.count ?? "0") === (then?.count ?? "0") && (now?.sum ?? "0") === (then?.sum ?? "0")) return [];
        const same = now?.count === then?.count ? ", with other contents" : "";
        return [`${name} has ${now?.count ?? "0"} rows, and ${then?.count ?? "0"} in the export${same}`];
    });
}

/** Makes the manifest of a file that has none, from what is in it and what there is. */
async function prove(
    context: Context,
    tenant: string,
    file: string,
    sum: { bytes: number; sha256: string },
): Promise<Manifest> {
    const { group, session } = context;
    const place = await placeOf(context, group, tenant);
    const id = createHash("sha256")
        .update(`proof ${idOf(context, tenant)}`)
        .digest("hex")
        .slice(0, 16);
    let loaded: Loaded;
    try {
        await loadFile(context, place.node, id, file);
        context.progress(`${tenant}: ${file} is loaded into a database of its own, and compared`);
        loaded = await loadApart(context, place, id);
    } finally {
        await onNode(context, place.node, ["drop", id]).catch(() => undefined);
    }
    const live = await printTenant(place.session, place.slices);
    const wrong = differences(live, loaded.prints);
    if (group.model === "database") {
        const now = await largeObjects(place.session);
        if (now !== loaded.largeObjects)
            wrong.push(`there are ${now} large objects, and ${loaded.largeObjects} in the export`);
    }
    if (wrong.length > 0)
        throw new Error(
            `${file} is not what there is: ${wrong.join("; ")}. ${NOT_TAKEN}${loaded.said.trim() === "" ? "" : `\npsql said while it was loaded: ${loaded.said.trim().split("\n").slice(0, 5).join("; ")}`}`,
        );
    const [known] = await session.query<{ epoch: unknown }>(
        `SELECT detail -> 'epoch' AS epoch FROM citus_as_code.tenant WHERE grp = ${literal(group.name)} AND tenant = ${literal(tenant)}`,
    );
    return {
        format: 1,
        group: group.name,
        tenant,
        model: group.model,
        at: new Date().toISOString(),
        file: file.split(/[/?]/).findLast((part) => part.includes(".sql")) ?? file,
        ...sum,
        node: place.node,
        prints: live,
        columns: columnsOf(place.slices),
        sequences: await readSequences(place.session, place.slices),
        migrations: await readRan(context, place),
        detail: known?.epoch == null ? {} : { epoch: known.epoch },
    };
}

/** Writes a manifest beside a file that had none, so that it can be restored. */
async function writeManifest(context: Context, file: string, manifest: Manifest): Promise<void> {
    const text = `${JSON.stringify(manifest, undefined, 2)}\n`;
    const remote = remoteFile(file);
    if (remote === undefined) await writeFile(`${file}.json`, text, { mode: 0o600, flush: true });
    else await sendManifest(placeOn(context, manifest.node), remote, text);
}

/**
 * Takes an export that a person made for a tenant that is to be deleted. With a manifest it is read and held to that; without
 * one it is loaded into a database of its own, its rows are compared with those that are there, and a manifest is written.
 * Its rows are compared once more when they are deleted.
 * @throws Error when it is not what there is; nothing was deleted then
 */
export async function takeExport(
    context: Context,
    tenant: string,
    { file, sha256 }: { readonly file: string; readonly sha256: string },
): Promise<Manifest> {
    const sum = await sumOf(context, file);
    if (sum.sha256 !== sha256)
        throw new Error(
            `${file} has the sha256 ${sum.sha256}, and export of ${tenant} says ${sha256}. ${NOT_TAKEN} Correct one of the two.`,
        );
    const has = await readManifest(context, file).then(
        () => true,
        () => false,
    );
    if (has) return readExport(context, tenant, file);
    const manifest = await prove(context, tenant, file, sum);
    await writeManifest(context, file, manifest);
    return manifest;
}
