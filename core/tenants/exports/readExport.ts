/** An export that is there is read, and held to its manifest. */

import { open, readFile, stat } from "node:fs/promises";
import { basename } from "node:path";
import { describeBytes } from "../../util/bytes.ts";
import type { Context } from "../group/facet.ts";
import { type Manifest, onNode, PART, placeOn, sha256Of } from "./export.ts";
import { placeInput, readRemoteManifest, sumRemote } from "./exportPlaces.ts";
import { remoteFile } from "./exportTarget.ts";

function parseManifest(text: string, file: string): Manifest {
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

/** Brings an export to a node, where it is to be read. */
export async function loadFile(context: Context, node: string, id: string, file: string): Promise<void> {
    const remote = remoteFile(file);
    if (remote !== undefined) {
        context.progress(`${basename(file)} is fetched by ${node}`);
        await onNode(context, node, ["get", id], placeInput(context.shell(node), remote));
        return;
    }
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

/** A coordinator reads what is in a place, whichever node sent it. */
const READER = "coordinator";

/** @param context needed for a file that is not on this machine */
export async function readManifest(context: Context, file: string): Promise<Manifest> {
    const remote = remoteFile(file);
    const text = await (remote === undefined
        ? readFile(`${file}.json`, "utf8")
        : readRemoteManifest(placeOn(context, READER), remote)
    ).catch((error: Error) => {
        throw new Error(`${file}.json, the manifest of the export, can't be read: ${error.message}.`);
    });
    return parseManifest(text, file);
}

/** Size and checksum of a file as it is now. */
export async function sumOf(context: Context, file: string): Promise<{ bytes: number; sha256: string }> {
    const remote = remoteFile(file);
    const unread = (error: Error) => {
        throw new Error(`${file} can't be read: ${error.message}.`);
    };
    if (remote !== undefined) return sumRemote(placeOn(context, READER), remote, file).catch(unread);
    const { size } = await stat(file).catch(unread);
    return { bytes: size, sha256: await sha256Of(file) };
}

/**
 * Reads the manifest of a tenant's export, and all of the file itself.
 * @throws Error when the file is not the tenant's, or not as it was made
 */
export async function readExport(context: Context, tenant: string, file: string): Promise<Manifest> {
    const { group } = context;
    const manifest = await readManifest(context, file);
    if (manifest.group !== group.name || manifest.tenant !== tenant || manifest.model !== group.model)
        throw new Error(
            `${file} has ${manifest.group}/${manifest.tenant} of model ${manifest.model}, not ${group.name}/${tenant} of model ${group.model}.`,
        );
    const { bytes, sha256 } = await sumOf(context, file);
    if (bytes !== manifest.bytes || sha256 !== manifest.sha256)
        throw new Error(
            `${file} was changed after it was exported: its sha256 differs (it has ${bytes} bytes and had ${manifest.bytes}).`,
        );
    return manifest;
}
