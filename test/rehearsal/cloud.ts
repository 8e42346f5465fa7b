/** The rehearsal's S3 and Secrets Manager, as the account's owner: from the host nothing has to be signed. */
import { readFileSync } from "node:fs";
import { request } from "node:https";
import { join } from "node:path";
import type { Site } from "./site.ts";

interface Answer {
    readonly status: number;
    readonly body: Buffer;
}

export class Cloud {
    readonly site: Site;

    constructor(site: Site) {
        this.site = site;
    }

    /** Text of a bucket's keys, those with this beginning. */
    async keys(bucket: string, prefix = ""): Promise<string[]> {
        const keys: string[] = [];
        for (let after = ""; ; ) {
            const query = new URLSearchParams({ "list-type": "2", prefix, "start-after": after });
            const page = (await this.s3("GET", bucket, `?${query}`)).body.toString("utf8");
            const found = [...page.matchAll(/<Key>(.*?)<\/Key>/g)].map((match) => match[1] ?? "");
            keys.push(...found);
            after = found.at(-1) ?? "";
            if (after === "" || !page.includes("<IsTruncated>true")) return keys;
        }
    }

    async getObject(bucket: string, key: string): Promise<Buffer> {
        return (await this.s3("GET", bucket, pathOf(key))).body;
    }

    async putObject(bucket: string, key: string, content: Buffer): Promise<void> {
        await this.s3("PUT", bucket, pathOf(key), content);
    }

    async deleteObject(bucket: string, key: string): Promise<void> {
        await this.s3("DELETE", bucket, pathOf(key));
    }

    async createBucket(bucket: string): Promise<void> {
        const where =
            this.site.region === "us-east-1"
                ? ""
                : `<CreateBucketConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><LocationConstraint>${this.site.region}</LocationConstraint></CreateBucketConfiguration>`;
        await this.s3("PUT", bucket, "/", Buffer.from(where));
    }

    /** Refuses when it is not empty, unless `force` is true. */
    async deleteBucket(bucket: string, force = false): Promise<void> {
        if (force) for (const key of await this.keys(bucket)) await this.deleteObject(bucket, key);
        await this.s3("DELETE", bucket, "/");
    }

    /** Makes the secret's current version, and the secret where there is none yet. */
    async putSecret(name: string, version: string, value: string): Promise<void> {
        const content = { ClientRequestToken: version, SecretString: value };
        const known = await this.secrets("DescribeSecret", { SecretId: name }, ["ResourceNotFoundException"]);
        if (known === undefined) await this.secrets("CreateSecret", { Name: name, ...content });
        else await this.secrets("PutSecretValue", { SecretId: name, ...content });
    }

    async getSecret(name: string): Promise<string> {
        return String((await this.secrets("GetSecretValue", { SecretId: name }))?.SecretString);
    }

    async deleteSecret(name: string): Promise<void> {
        const gone = ["ResourceNotFoundException"];
        await this.secrets("DeleteSecret", { SecretId: name, ForceDeleteWithoutRecovery: true }, gone);
    }

    /** Throws until the services answer. */
    async ready(): Promise<void> {
        await this.secrets("ListSecrets", {});
    }

    private async s3(method: string, bucket: string, path: string, body?: Buffer): Promise<Answer> {
        const answer = await this.ask(`${bucket}.s3`, method, path.startsWith("/") ? path : `/${path}`, {}, body);
        if (answer.status >= 300) throw new Error(`${method} s3://${bucket}${path}: ${explain(answer)}`);
        return answer;
    }

    private async secrets(
        action: string,
        input: object,
        expected: readonly string[] = [],
    ): Promise<Record<string, unknown> | undefined> {
        const headers = {
            "x-amz-target": `secretsmanager.${action}`,
            "content-type": "application/x-amz-json-1.1",
        };
        const body = Buffer.from(JSON.stringify(input));
        const answer = await this.ask("secretsmanager", "POST", "/", headers, body);
        if (answer.status < 300) return JSON.parse(answer.body.toString("utf8")) as Record<string, unknown>;
        const text = explain(answer);
        if (expected.some((fault) => text.includes(fault))) return undefined;
        throw new Error(`secretsmanager ${action}: ${text}`);
    }

    private ask(
        service: string,
        method: string,
        path: string,
        headers: Record<string, string>,
        body: Buffer = Buffer.alloc(0),
    ): Promise<Answer> {
        const { dir, region, sideAddress } = this.site;
        const host = `${service}.${region}.amazonaws.com`;
        const signer = service.split(".").at(-1);
        return new Promise((resolve, reject) => {
            const sent = request(
                {
                    host: sideAddress,
                    servername: host,
                    ca: readFileSync(join(dir, "tls", "ca.crt")),
                    method,
                    path,
                    headers: {
                        "content-type": "application/octet-stream",
                        ...headers,
                        host,
                        "content-length": body.length,
                        // says the region and the service; who asks is known by the address
                        authorization: `AWS4-HMAC-SHA256 Credential=OWNER/20260101/${region}/${signer}/aws4_request, SignedHeaders=host, Signature=none`,
                    },
                },
                (answer) => {
                    const chunks: Buffer[] = [];
                    answer.on("data", (chunk: Buffer) => chunks.push(chunk));
                    answer.on("error", reject);
                    answer.on("end", () => resolve({ status: answer.statusCode ?? 0, body: Buffer.concat(chunks) }));
                },
            );
            sent.on("error", reject);
            sent.end(body);
        });
    }
}

const pathOf = (key: string) => `/${key.split("/").map(encodeURIComponent).join("/")}`;
const explain = ({ status, body }: Answer) => `HTTP ${status} ${body.toString("utf8").slice(0, 400)}`;
