/** What the e2e, chaos and aws tests share: throw-away stacks of their own on the real engine. */
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import {
    cpSync,
    existsSync,
    mkdirSync,
    mkdtempSync,
    readdirSync,
    rmSync,
    statSync,
    symlinkSync,
    writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, dirname, join } from "node:path";
import type { CommandResult, DirectAccess } from "../core/node/reach.ts";
import { dockerEngine, execute } from "../core/reach/docker/engine.ts";
import { connect, type Session } from "../core/reach/session.ts";
import type { RestorePoint, Stanza } from "../core/restore/points.ts";
import { pause } from "../core/util/pause.ts";
import type { Outputs } from "../scripts/lib/project.ts";
import { findTestImage, IMAGE_MISSING, testImage } from "./image.ts";

export const ROOT = join(import.meta.dirname, "..");

/** Where commands are looked for: Node.js of this project's own first. */
const PATH = () => [join(ROOT, "node_modules", ".bin"), process.env.PATH].join(delimiter);

export interface Ran {
    readonly code: number;
    readonly stdout: string;
    readonly stderr: string;
    /** Both, in the order in which they came. */
    readonly output: string;
}

/**
 * A copy of what git knows of this project, with the installed packages linked in unless `packages` is false.
 * @param under the folder that the copy is made in
 */
export function copyProject(packages = true, under = tmpdir()): string {
    const dir = mkdtempSync(join(under, "citus-test-"));
    const files = execFileSync("git", ["ls-files", "--cached", "--others", "--exclude-standard"], {
        cwd: ROOT,
        encoding: "utf8",
    });
    for (const file of files.split("\n")) {
        if (file === "" || !existsSync(join(ROOT, file))) continue;
        mkdirSync(dirname(join(dir, file)), { recursive: true });
        cpSync(join(ROOT, file), join(dir, file));
    }
    if (packages) symlinkSync(join(ROOT, "node_modules"), join(dir, "node_modules"));
    return dir;
}

/** Waits until something holds; an error counts as "not yet". */
export async function until(what: string, seconds: number, holds: () => Promise<boolean>): Promise<void> {
    for (const end = Date.now() + seconds * 1000; Date.now() < end; await pause(500))
        if (await holds().catch(() => false)) return;
    throw new Error(`${what}: not within ${seconds} s`);
}

/** Runs a command to its end. */
export function run(
    command: string,
    args: readonly string[],
    options: { cwd: string; env?: NodeJS.ProcessEnv; input?: string },
): Promise<Ran> {
    const child = spawn(command, [...args], {
        cwd: options.cwd,
        env: options.env ?? process.env,
        stdio: ["pipe", "pipe", "pipe"],
    });
    child.stdin?.end(options.input ?? "");
    return collect(child);
}

export function collect(child: ChildProcess): Promise<Ran> {
    let stdout = "";
    let stderr = "";
    let output = "";
    child.stdout?.on("data", (chunk) => {
        stdout += chunk;
        output += chunk;
    });
    child.stderr?.on("data", (chunk) => {
        stderr += chunk;
        output += chunk;
    });
    return new Promise((resolve) => child.on("close", (code) => resolve({ code: code ?? -1, stdout, stderr, output })));
}

/** A restore point with whether it can be restored. */
export type ListedPoint = Omit<RestorePoint, "tables"> & {
    readonly restorable: boolean;
    readonly missing: readonly string[];
};

/** One stack in a copy of the project, with its own state; what is made by it is for those that extend it. */
export abstract class OwnStack {
    readonly dir: string;
    readonly name: string;
    readonly env: NodeJS.ProcessEnv;
    private known: { readonly at: string; readonly outputs: unknown } | undefined;

    /** @param secrets how the state's secrets are encrypted, as Pulumi's environment has it */
    protected constructor(dir: string, name: string, secrets: NodeJS.ProcessEnv) {
        this.dir = dir;
        this.name = name;
        mkdirSync(join(dir, ".state", "pulumi"), { recursive: true });
        this.env = {
            ...process.env,
            // exports of tests need not outlive the runner that they are run on
            CI: "",
            PATH: PATH(),
            PULUMI_BACKEND_URL: `file://${join(dir, ".state", "pulumi")}`,
            PULUMI_SKIP_UPDATE_CHECK: "true",
            ...secrets,
        };
    }

    /** Makes the stack in the state. */
    protected async init(config: Record<string, unknown>): Promise<void> {
        const made = await this.pulumi(["stack", "init", this.name]);
        if (made.code !== 0) throw new Error(made.output);
        await this.config(config);
    }

    /** Runs a command in the copy. */
    protected exec(command: string, args: readonly string[], input?: string): Promise<Ran> {
        return run(command, args, { cwd: this.dir, env: this.env, ...(input === undefined ? {} : { input }) });
    }

    /** Sets `citus:` keys, or others by their whole name; undefined removes one. */
    async config(config: Record<string, unknown>): Promise<void> {
        const change = async (...args: string[]) => {
            const changed = await this.pulumi(["config", ...args]);
            if (changed.code !== 0) throw new Error(changed.output);
        };
        const set: string[] = [];
        for (const [name, value] of Object.entries(config)) {
            const key = name.includes(":") ? name : `citus:${name}`;
            if (value === undefined) await change("rm", key);
            else set.push("--plaintext", `${key}=${typeof value === "string" ? value : JSON.stringify(value)}`);
        }
        if (set.length > 0) await change("set-all", ...set);
    }

    /** A script of this project on this stack, as `npm run` has it. */
    async npm(script: string, ...args: string[]): Promise<Ran> {
        await this.exec("pulumi", ["stack", "select", this.name]);
        return this.exec("npm", ["run", "-s", script, "--", ...args]);
    }

    /** Sets a `citus:` key that is stored encrypted. */
    async secret(key: string, value: string): Promise<void> {
        const set = await this.exec(
            "pulumi",
            ["config", "set", "--stack", this.name, "--secret", `citus:${key}`],
            value,
        );
        if (set.code !== 0) throw new Error(set.output);
    }

    pulumi(args: readonly string[]): Promise<Ran> {
        return this.exec("pulumi", this.onThisStack(args));
    }

    protected onThisStack([command = "", ...rest]: readonly string[]): string[] {
        const selects = !(command === "stack" && rest[0] === "init");
        return [command, ...(selects ? ["--stack", this.name] : []), ...rest];
    }

    /** `pulumi up`, which must succeed. */
    async up(config: Record<string, unknown> = {}, args: readonly string[] = []): Promise<Ran> {
        const ran = await this.tryUp(config, args);
        if (ran.code !== 0) throw new Error(`pulumi up failed:\n${ran.output}`);
        return ran;
    }

    async tryUp(config: Record<string, unknown> = {}, args: readonly string[] = []): Promise<Ran> {
        await this.config(config);
        return this.pulumi(["up", "--yes", "--skip-preview", ...args]);
    }

    /** The stack's outputs; Pulumi is asked anew when the state has changed. */
    async outputs<T = Outputs>(): Promise<T> {
        const stacks = join(this.dir, ".state", "pulumi", ".pulumi", "stacks");
        const states = readdirSync(stacks).map((project) => join(stacks, project, `${this.name}.json`));
        const at = states.map((state) => statSync(state, { throwIfNoEntry: false })?.mtimeMs).join();
        if (this.known?.at !== at) {
            const { stdout, code, output } = await this.pulumi(["stack", "output", "--json", "--show-secrets"]);
            if (code !== 0) throw new Error(output);
            this.known = { at, outputs: JSON.parse(stdout) };
        }
        return this.known.outputs as T;
    }

    /** What `npm run backups` lists. */
    async backups(): Promise<{ repository: string; points: ListedPoint[]; stanzas: Stanza[] }> {
        const ran = await this.npm("backups", "--json", "--all");
        if (ran.code !== 0) throw new Error(ran.output);
        return JSON.parse(ran.stdout) as { repository: string; points: ListedPoint[]; stanzas: Stanza[] };
    }

    write(path: string, content: string): void {
        mkdirSync(dirname(join(this.dir, path)), { recursive: true });
        writeFileSync(join(this.dir, path), content);
    }
}

/** How a client on this machine reaches a node on Docker; `coordinator` or a worker's name. */
export function publishedAccess(outputs: Outputs, node: string): DirectAccess {
    const port = node === "coordinator" ? outputs.coordinator.port : outputs.workers.find((w) => w.name === node)?.port;
    if (port === undefined) throw new Error(`no node ${node}`);
    const url = new URL(outputs.connectionString);
    return {
        host: "127.0.0.1",
        port,
        serverName: "localhost",
        ca: outputs.caCertificate,
        user: "postgres",
        password: outputs.password,
        database: url.pathname.slice(1),
    };
}

/** One stack on this machine's Docker. */
export class TestStack extends OwnStack {
    private readonly owner: boolean;
    private sessions = new Map<string, Session>();

    private constructor(dir: string, name: string, owner: boolean) {
        super(dir, name, { PULUMI_CONFIG_PASSPHRASE: "test" });
        this.owner = owner;
    }

    /**
     * @param config as `citus:` keys without the prefix; objects are written as such
     * @param beside a stack whose project and state it shares
     */
    static async make(
        config: Record<string, unknown> = {},
        name = `t-${randomBytes(3).toString("hex")}`,
        beside?: TestStack,
    ): Promise<TestStack> {
        const stack = new TestStack(beside?.dir ?? copyProject(), name, beside === undefined);
        await stack.init({ protect: false, image: testImage(), ...config });
        return stack;
    }

    /** Starts a command and leaves it running in a process group of its own. */
    start(args: readonly string[]): ChildProcess {
        return spawn("pulumi", this.onThisStack(args), {
            cwd: this.dir,
            env: this.env,
            stdio: ["ignore", "pipe", "pipe"],
            detached: true,
        });
    }

    override async tryUp(config: Record<string, unknown> = {}, args: readonly string[] = []): Promise<Ran> {
        await this.closeSessions();
        return super.tryUp(config, args);
    }

    /** How a client on this machine reaches a node; `coordinator` or a worker's name. */
    async access(node = "coordinator"): Promise<DirectAccess> {
        return publishedAccess(await this.outputs(), node);
    }

    /** A connection that is kept until the next `up`. */
    async session(node = "coordinator"): Promise<Session> {
        let session = this.sessions.get(node);
        if (!session) {
            session = await connect(await this.access(node), node, { patience: 30_000 });
            this.sessions.set(node, session);
        }
        return session;
    }

    async sql<T extends object = Record<string, unknown>>(
        query: string,
        parameters?: readonly unknown[],
    ): Promise<T[]> {
        return (await this.session()).query<T>(query, parameters);
    }

    async closeSessions(): Promise<void> {
        for (const session of this.sessions.values()) await session.close().catch(() => undefined);
        this.sessions.clear();
    }

    /** Runs a command in a node's container. */
    onNode(node: string, ...command: string[]): Promise<CommandResult> {
        return execute(dockerEngine(), this.container(node), command);
    }

    /** Runs one of the node scripts. */
    script(node: string, name: string, ...args: string[]): Promise<CommandResult> {
        return this.onNode(node, `/usr/local/lib/citus-node/${name}`, ...args);
    }

    /** The network that carries only its nodes. */
    nodeNetwork(): string {
        const names = docker([
            "network",
            "ls",
            "--filter",
            `label=citus.cluster=citus-${this.name}`,
            "--format",
            "{{.Name}}",
        ]);
        const found = names.split("\n").find((name) => name.endsWith("-nodes"));
        if (!found) throw new Error(`${this.name} has no node network`);
        return found;
    }

    /** Full name of a node's container. */
    container(node: string): string {
        return docker([
            "ps",
            "-a",
            "--filter",
            `label=citus.cluster=citus-${this.name}`,
            "--filter",
            `label=citus.node=${node}`,
            "--format",
            "{{.Names}}",
        ]).trim();
    }

    /** What Docker still has of this stack. */
    leftovers(): string[] {
        const filter = `label=citus.cluster=citus-${this.name}`;
        return [
            docker(["ps", "-aq", "--filter", filter]),
            docker(["volume", "ls", "-q", "--filter", filter]),
            docker(["network", "ls", "-q", "--filter", filter]),
        ]
            .join("\n")
            .split("\n")
            .filter((line) => line !== "");
    }

    /** Destroys the cluster and the copy; what is left over is removed by label and reported. */
    async destroy(): Promise<void> {
        await this.closeSessions();
        await this.pulumi(["cancel", "--yes"]).catch(() => undefined);
        const ran = await this.pulumi(["destroy", "--yes", "--skip-preview"]);
        const filter = `label=citus.cluster=citus-${this.name}`;
        for (const id of docker(["ps", "-aq", "--filter", filter]).split("\n").filter(Boolean))
            docker(["rm", "-f", id]);
        for (const id of docker(["volume", "ls", "-q", "--filter", filter]).split("\n").filter(Boolean))
            docker(["volume", "rm", id]);
        for (const id of docker(["network", "ls", "-q", "--filter", filter]).split("\n").filter(Boolean))
            docker(["network", "rm", id]);
        if (this.owner) rmSync(this.dir, { recursive: true, force: true });
        if (ran.code !== 0) throw new Error(`pulumi destroy failed:\n${ran.output}`);
    }
}

export function docker(args: readonly string[]): string {
    return execFileSync("docker", [...args], { encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });
}

/** Whether a command is there and does what it should. */
export function works(command: string, args: readonly string[]): boolean {
    try {
        execFileSync(command, [...args], { stdio: "ignore", env: { ...process.env, PATH: PATH() } });
        return true;
    } catch {
        return false;
    }
}

export const PULUMI_MISSING = "the Pulumi CLI on PATH (npm start downloads one into .state/cli)";

/** What the e2e tests need and this machine lacks, each with what to do; the tests fail with it rather than skip. */
export function missing(): string[] {
    const found: string[] = [];
    if (!works("docker", ["info"])) found.push("a Docker engine that this user reaches (docker info)");
    if (!works("pulumi", ["version"])) found.push(PULUMI_MISSING);
    if (!works("psql", ["--version"])) found.push("psql on PATH");
    if (works("docker", ["info"]) && findTestImage() === undefined) found.push(IMAGE_MISSING);
    return found;
}

/** Fails, naming what is missing. */
export function requireEngine(): void {
    const found = missing();
    if (found.length > 0) throw new Error(`the end-to-end tests can't run here; missing:\n  ${found.join("\n  ")}`);
}

/** The schema that every test uses: a multi-tenant application. */
export const SCHEMA = `
CREATE TABLE companies (id bigint PRIMARY KEY, name text NOT NULL, balance bigint NOT NULL DEFAULT 0);
CREATE TABLE users (company_id bigint REFERENCES companies (id), id bigint, email text NOT NULL, PRIMARY KEY (company_id, id));
CREATE TABLE projects (company_id bigint, id bigint, name text, PRIMARY KEY (company_id, id));
CREATE TABLE plans (id int PRIMARY KEY, name text NOT NULL);
CREATE TABLE notes (id int PRIMARY KEY, body text NOT NULL);
SELECT create_reference_table('plans');
SELECT create_distributed_table('companies', 'id');
SELECT create_distributed_table('users', 'company_id', colocate_with => 'companies');
SELECT create_distributed_table('projects', 'company_id', colocate_with => 'companies');
`;

export const TABLES = ["companies", "users", "projects", "plans", "notes"] as const;

/** Rows for the schema: \`companies\` companies with 10 users and 20 projects each. */
export function seed(companies: number): string {
    return `
INSERT INTO plans SELECT i, 'plan ' || i FROM generate_series(1, 10) i;
INSERT INTO notes SELECT i, md5(i::text) FROM generate_series(1, 500) i;
INSERT INTO companies SELECT i, 'company ' || i, 1000 FROM generate_series(1, ${companies}) i;
INSERT INTO users SELECT c, u, md5((c * 1000 + u)::text) || '@example.com' FROM generate_series(1, ${companies}) c, generate_series(1, 10) u;
INSERT INTO projects SELECT c, p, repeat(md5((c * p)::text), 4) FROM generate_series(1, ${companies}) c, generate_series(1, 20) p;
`;
}

/** Count and checksum of each table, as the coordinator sees them. */
export async function fingerprint(
    session: Session,
    tables: readonly string[] = TABLES,
): Promise<Record<string, string>> {
    const result: Record<string, string> = {};
    for (const table of tables) {
        const [row] = await session.query<{ print: string }>(
            `SELECT count(*) || ' rows, ' || coalesce(sum(('x' || substr(md5(t::text), 1, 12))::bit(48)::bigint), 0) AS print FROM ${table} t`,
        );
        result[table] = row?.print ?? "";
    }
    return result;
}
