/** A server that speaks as much of S3 as pgBackRest needs, in memory: objects are put whole or in parts, read, listed and removed. */
import { createServer } from "node:https";
import type { AddressInfo } from "node:net";
import { docker } from "./lib.ts";

export interface BucketServer {
    readonly port: number;
    /** By key, without the bucket. */
    readonly objects: Map<string, Buffer>;
    close(): Promise<void>;
}

/** @param made a certificate of its own for the server, which nobody verifies */
export async function startBucket(
    bucket: string,
    made: { readonly key: string; readonly cert: string },
): Promise<BucketServer> {
    const objects = new Map<string, Buffer>();
    const parts = new Map<string, Map<number, Buffer>>();
    const server = createServer(made, (request, response) => {
        const chunks: Buffer[] = [];
        request.on("data", (chunk: Buffer) => chunks.push(chunk));
        request.on("end", () => {
            const url = new URL(request.url ?? "/", "https://bucket");
            const key = decodeURIComponent(url.pathname).replace(`/${bucket}/`, "");
            const body = Buffer.concat(chunks);
            const answer = (code: number, text: string | Buffer = "") => {
                response.writeHead(code, {
                    "content-length": Buffer.byteLength(text),
                    etag: '"e"',
                    "last-modified": new Date().toUTCString(),
                });
                response.end(request.method === "HEAD" ? undefined : text);
            };
            const upload = url.searchParams.get("uploadId");
            if (request.method === "POST" && url.searchParams.has("uploads")) {
                parts.set(key, new Map());
                return answer(
                    200,
                    `<InitiateMultipartUploadResult><UploadId>${encodeURIComponent(key)}</UploadId></InitiateMultipartUploadResult>`,
                );
            }
            if (request.method === "PUT" && upload !== null) {
                parts.get(key)?.set(Number(url.searchParams.get("partNumber")), body);
                return answer(200);
            }
            if (request.method === "POST" && upload !== null) {
                const all = [...(parts.get(key) ?? [])].sort(([a], [b]) => a - b).map(([, part]) => part);
                objects.set(key, Buffer.concat(all));
                return answer(200, "<CompleteMultipartUploadResult><ETag>e</ETag></CompleteMultipartUploadResult>");
            }
            if (request.method === "PUT") {
                objects.set(key, body);
                return answer(200);
            }
            if (request.method === "DELETE") {
                objects.delete(key);
                return answer(204);
            }
            const found = objects.get(key);
            return found === undefined ? answer(404, "<Error><Code>NoSuchKey</Code></Error>") : answer(200, found);
        });
    });
    await new Promise<void>((resolve) => server.listen(0, "0.0.0.0", resolve));
    return {
        port: (server.address() as AddressInfo).port,
        objects,
        close: () => new Promise((resolve) => server.close(() => resolve())),
    };
}

/** This machine as a container sees it. */
export const hostOf = (container: string) =>
    docker(["inspect", "-f", "{{range .NetworkSettings.Networks}}{{.Gateway}} {{end}}", container])
        .trim()
        .split(" ")[0] ?? "";
