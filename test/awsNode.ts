/** What a machine on AWS finds around it, for its scripts: metadata, S3, Secrets Manager and logs, and root's programs. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { createHash, createHmac } from "node:crypto";
import { chmodSync, cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type IncomingMessage, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { makeBundle } from "../components/platforms/aws/bundle.ts";
import type { ClusterFacts, MachineFacts } from "../components/platforms/aws/userData.ts";

export const ROOT = join(import.meta.dirname, "..");
export const REGION = "eu-central-1";
const ACCESS_KEY = "ASIAEXAMPLE";
const SECRET_KEY = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
const SESSION_TOKEN = "IQoJb3JpZ2luX2VjEXAMPLE//////////wEaDGV1LWNlbnRyYWwtMSJHMEUCIQ==";

export interface Ran {
    readonly code: number;
    readonly stdout: string;
    readonly stderr: string;
}

export interface Call {
    readonly service: string;
    readonly path: string;
    readonly target: string;
    readonly body: string;
}

const sha256 = (data: string | Buffer) => createHash("sha256").update(data).digest("hex");
const hmac = (key: string | Buffer, data: string) => createHmac("sha256", key).update(data).digest();

/** AWS' signature version 4, computed again from what came. */
function signedService(request: IncomingMessage, body: Buffer): string {
    const header = (name: string) => String(request.headers[name] ?? "");
    const [, date, region, service, signed, signature] =
        /^AWS4-HMAC-SHA256 Credential=ASIAEXAMPLE\/(\d{8})\/([^/]+)\/([^/]+)\/aws4_request, *SignedHeaders=([^,]+), *Signature=([0-9a-f]{64})$/.exec(
            header("authorization"),
        ) ?? [];
    assert.ok(date && region && service && signed && signature, `not signed: ${header("authorization")}`);
    assert.equal(region, REGION);
    assert.equal(header("x-amz-security-token"), SESSION_TOKEN);
    const names = signed.split(";");
    for (const name of ["host", "x-amz-date", "x-amz-security-token"]) assert.ok(names.includes(name), signed);
    const canonical = [
        request.method,
        request.url,
        "",
        ...names.map((name) => `${name}:${header(name).trim()}`),
        "",
        signed,
        sha256(body),
    ].join("\n");
    const text = [
        "AWS4-HMAC-SHA256",
        header("x-amz-date"),
        `${date}/${region}/${service}/aws4_request`,
        sha256(canonical),
    ];
    const key = [date, region, service, "aws4_request"].reduce<string | Buffer>(hmac, `AWS4${SECRET_KEY}`);
    assert.equal(hmac(key, text.join("\n")).toString("hex"), signature, "the signature is another");
    return service;
}

/** A machine with its folders, fakes of root's programs first on PATH, and the services it asks. */
export class AwsNode {
    readonly dir = mkdtempSync(join(tmpdir(), "citus-aws-"));
    readonly calls: Call[] = [];
    /** What S3 has, by key. */
    readonly objects = new Map<string, Buffer>();
    /** What Secrets Manager has, by version. */
    readonly secrets = new Map<string, string>();
    /** What a log stream was sent; there is none before it is made. */
    logs: string[] | undefined;
    /** Requests to S3 that are refused first. */
    refusals = 0;
    readonly problems: string[] = [];
    private readonly server: Server;
    private url = "";

    constructor() {
        for (const name of ["bin", "home/run", "etc", "run", "per-boot", "units"])
            mkdirSync(join(this.dir, name), { recursive: true });
        // becomes postgres without being root
        this.program("runuser", `[ "$1 $2 $3" = "-u postgres --" ] || exit 99\nshift 3\nexec "$@"`);
        this.program("systemctl", `echo "$*" >> ${this.dir}/systemctl`);
        this.program("curl", `printf '%s\\n' "$*" "$(env)" >> ${this.dir}/seen\nexec "$REAL_CURL" "$@"`);
        this.server = createServer((request, response) => {
            const chunks: Buffer[] = [];
            request.on("data", (chunk: Buffer) => chunks.push(chunk));
            request.on("end", () => {
                let answer: { status: number; body: string | Buffer };
                try {
                    answer = this.answer(request, Buffer.concat(chunks));
                } catch (error) {
                    this.problems.push((error as Error).message);
                    answer = { status: 400, body: (error as Error).message };
                }
                response.writeHead(answer.status).end(answer.body);
            });
        });
    }

    /** Ready to run scripts, with node scripts of its own. */
    static async make(scripts: Readonly<Record<string, string>> = {}): Promise<AwsNode> {
        const node = new AwsNode();
        cpSync(join(ROOT, "scripts/node/aws"), join(node.dir, "scripts", "aws"), { recursive: true });
        for (const [name, text] of Object.entries(scripts))
            node.write(`scripts/${name}`, `#!/usr/bin/env bash\n${text}\n`);
        await new Promise<void>((resolve) => node.server.listen(0, "127.0.0.1", resolve));
        node.url = `http://127.0.0.1:${(node.server.address() as AddressInfo).port}`;
        return node;
    }

    get facts(): string {
        return `REGION=${REGION}\nBUCKET=prod-0123456789abcdef\nBASE=prod-012345\nCLUSTER=prod\nNODE=worker-2\nROLE=worker\nVOLUME_ID=vol-0abc\nSECRET=citus/prod-012345/worker-2\nALARMS=on\n`;
    }

    program(name: string, text: string): void {
        this.write(`bin/${name}`, `#!/usr/bin/env bash\n${text}\n`);
    }

    write(path: string, text: string): void {
        mkdirSync(join(this.dir, path, ".."), { recursive: true });
        writeFileSync(join(this.dir, path), text);
        if (text.startsWith("#!")) chmodSync(join(this.dir, path), 0o755);
    }

    read(path: string): string {
        return readFileSync(join(this.dir, path), "utf8");
    }

    private answer(request: IncomingMessage, body: Buffer): { status: number; body: string | Buffer } {
        const path = request.url ?? "";
        if (path.startsWith("/latest/")) return this.metadata(request, path);
        const service = signedService(request, body);
        const target = String(request.headers["x-amz-target"] ?? "");
        this.calls.push({ service, path, target, body: body.toString("utf8") });
        if (service === "s3") {
            if (this.refusals-- > 0) return { status: 403, body: "<Code>AccessDenied</Code>" };
            const object = this.objects.get(path.slice("/s3/".length));
            return object ? { status: 200, body: object } : { status: 404, body: "<Code>NoSuchKey</Code>" };
        }
        assert.equal(request.headers["content-type"], "application/x-amz-json-1.1");
        const input = JSON.parse(body.toString("utf8")) as Record<string, unknown>;
        const fault = (type: string) => ({ status: 400, body: JSON.stringify({ __type: type, message: "not there" }) });
        if (target === "secretsmanager.GetSecretValue") {
            assert.equal(input.SecretId, "citus/prod-012345/worker-2");
            const found = this.secrets.get(String(input.VersionId));
            if (found === undefined) return fault("ResourceNotFoundException");
            return { status: 200, body: JSON.stringify({ Name: input.SecretId, SecretString: found }) };
        }
        assert.equal(input.logGroupName, "/citus/prod-012345");
        assert.equal(input.logStreamName, "worker-2");
        if (target === "Logs_20140328.CreateLogStream") this.logs = [];
        else if (!this.logs) return fault("ResourceNotFoundException");
        else this.logs.push(...(input.logEvents as { message: string }[]).map(({ message }) => message));
        return { status: 200, body: "{}" };
    }

    private metadata(request: IncomingMessage, path: string): { status: number; body: string } {
        if (request.method === "PUT") {
            assert.match(String(request.headers["x-aws-ec2-metadata-token-ttl-seconds"]), /^\d+$/);
            return { status: 200, body: "imds-token==" };
        }
        if (request.headers["x-aws-ec2-metadata-token"] !== "imds-token==") return { status: 401, body: "" };
        const folder = "/latest/meta-data/iam/security-credentials/";
        if (path === folder) return { status: 200, body: "prod-worker" };
        assert.equal(path, `${folder}prod-worker`);
        return {
            status: 200,
            body: JSON.stringify(
                {
                    Code: "Success",
                    Type: "AWS-HMAC",
                    AccessKeyId: ACCESS_KEY,
                    SecretAccessKey: SECRET_KEY,
                    Token: SESSION_TOKEN,
                },
                null,
                2,
            ),
        };
    }

    /** Runs a script as root would. */
    run(
        script: string,
        args: readonly string[] = [],
        input = "",
        env: Readonly<Record<string, string>> = {},
    ): Promise<Ran> {
        const path = process.env.PATH ?? "";
        const real = path.split(":").find((folder) => {
            try {
                readFileSync(join(folder, "curl"));
                return true;
            } catch {
                return false;
            }
        });
        const child = spawn("bash", [join(this.dir, script), ...args], {
            env: {
                PATH: `${join(this.dir, "bin")}:${path}`,
                REAL_CURL: join(real ?? "", "curl"),
                CITUS_NODE_CONF: join(this.dir, "etc/citus-node.conf"),
                CITUS_HOME: join(this.dir, "home"),
                CITUS_NODE_SCRIPTS: join(this.dir, "scripts"),
                CITUS_PER_BOOT: join(this.dir, "per-boot"),
                CITUS_UNITS: join(this.dir, "units"),
                CITUS_REMOTE: join(this.dir, "run/remote"),
                CITUS_RELAY: join(this.dir, "run/relay"),
                CITUS_IMDS_URL: this.url,
                CITUS_S3_URL: `${this.url}/s3`,
                CITUS_SECRETS_URL: this.url,
                CITUS_LOGS_URL: this.url,
                ...env,
            },
            stdio: ["pipe", "pipe", "pipe"],
        });
        let stdout = "";
        let stderr = "";
        child.stdout.on("data", (chunk: Buffer) => {
            stdout += chunk;
        });
        child.stderr.on("data", (chunk: Buffer) => {
            stderr += chunk;
        });
        // a script that does not read what it is given may end before that was written
        child.stdin.on("error", (error: NodeJS.ErrnoException) => assert.equal(error.code, "EPIPE"));
        child.stdin.end(input);
        return new Promise((resolve) => child.on("close", (code) => resolve({ code: code ?? -1, stdout, stderr })));
    }

    /** Nothing secret was an argument of curl's or in its environment, and every request was as it should be. */
    async end(...secrets: readonly string[]): Promise<void> {
        await new Promise((resolve) => {
            this.server.close(resolve);
            this.server.closeAllConnections();
        });
        let seen = "";
        try {
            seen = this.read("seen");
        } catch (error) {
            assert.equal((error as NodeJS.ErrnoException).code, "ENOENT");
        }
        rmSync(this.dir, { recursive: true });
        assert.deepEqual(this.problems, []);
        for (const secret of [SECRET_KEY, SESSION_TOKEN, ...secrets]) assert.ok(!seen.includes(secret), secret);
    }
}

export const CLUSTER: ClusterFacts = {
    region: "eu-central-1",
    bucket: "prod-0123456789abcdef",
    base: "prod-012345",
    cluster: "prod",
    citusVersion: "14.0.1",
};
export const MACHINE: MachineFacts = {
    node: "worker-2",
    role: "worker",
    volumeId: "vol-0123456789abcdef0",
    secret: "citus/prod-012345/worker-2",
};

/** A bundle of these node scripts and nothing else, made and removed. */
export async function bundleOf(
    scripts: Readonly<Record<string, string>>,
): Promise<{ sha256: string; content: Buffer }> {
    const dir = mkdtempSync(join(tmpdir(), "citus-bundle-"));
    try {
        for (const [name, text] of Object.entries(scripts)) {
            mkdirSync(join(dir, name, ".."), { recursive: true });
            writeFileSync(join(dir, name), text);
        }
        return await makeBundle(dir);
    } finally {
        rmSync(dir, { recursive: true });
    }
}
