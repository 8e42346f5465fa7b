/** Files as a tar, in memory. */
import tar from "tar-stream";

export interface TarEntry {
    readonly name: string;
    readonly mode: number;
    readonly content: string | Buffer;
    /** Fixed where the same files must give the same bytes. @default now, and nobody's */
    readonly header?: Readonly<Pick<tar.Header, "mtime" | "uid" | "gid" | "uname" | "gname">>;
}

export async function packTar(entries: readonly TarEntry[]): Promise<Buffer> {
    const pack = tar.pack();
    for (const { name, mode, content, header } of entries) pack.entry({ name, mode, ...header }, content);
    pack.finalize();
    const chunks: Buffer[] = [];
    for await (const chunk of pack) chunks.push(chunk as Buffer);
    return Buffer.concat(chunks);
}

/** Files readable by their owner only; for scripts that take them on standard input. */
export function packFiles(files: Readonly<Record<string, string | Buffer>>): Promise<Buffer> {
    return packTar(Object.entries(files).map(([name, content]) => ({ name, mode: 0o600, content })));
}
