/** Where this project keeps its state, and how every script runs the Pulumi CLI on it. */
import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { delimiter, join } from "node:path";
import { PulumiCommand } from "@pulumi/pulumi/automation/index.js";
import { version } from "@pulumi/pulumi/version.js";

export const ROOT = join(import.meta.dirname, "..", "..");
export const STATE = process.env.CITUS_STATE_DIR ?? join(ROOT, ".state");
export const DEFAULT_STACK = "dev";

/** Whether state and passphrase are the project's own, and not a backend that the environment names. */
const ownBackend = process.env.PULUMI_BACKEND_URL === undefined;

/** Makes the state directory and the passphrase, readable by this user only. */
function ensureState(): void {
    mkdirSync(join(STATE, "pulumi"), { recursive: true, mode: 0o700 });
    chmodSync(STATE, 0o700);
    const file = join(STATE, "passphrase");
    if (!existsSync(file)) writeFileSync(file, `${randomBytes(24).toString("base64url")}\n`, { mode: 0o600 });
}

/**
 * Deletes what a stack's cluster left on this machine, but not exports of tenants: of deleted ones there is nothing else.
 * @param folder the stack's
 * @returns the folder of exports, when there are any
 */
export function clearStack(folder: string): string | undefined {
    const exports = join(folder, "exports");
    const some =
        existsSync(exports) &&
        readdirSync(exports, { recursive: true, withFileTypes: true }).some((entry) => !entry.isDirectory());
    if (!some) {
        rmSync(folder, { recursive: true, force: true });
        return undefined;
    }
    for (const name of readdirSync(folder))
        if (name !== "exports") rmSync(join(folder, name), { recursive: true, force: true });
    return exports;
}

/** What the Pulumi CLI needs in its environment. Settings that are there already win. */
export function pulumiEnvironment(): Record<string, string> {
    const env: Record<string, string> = { PULUMI_SKIP_UPDATE_CHECK: "true" };
    if (ownBackend) {
        ensureState();
        env.PULUMI_BACKEND_URL = `file://${join(STATE, "pulumi")}`;
        // the state knows how its secrets are encrypted, so the stack's configuration file need not repeat it
        env.PULUMI_FALLBACK_TO_STATE_SECRETS_MANAGER = "true";
        if (
            process.env.PULUMI_CONFIG_PASSPHRASE === undefined &&
            process.env.PULUMI_CONFIG_PASSPHRASE_FILE === undefined
        ) {
            env.PULUMI_CONFIG_PASSPHRASE_FILE = join(STATE, "passphrase");
        }
    }
    // Node.js 24 of this project's own, which the provider's host needs to load TypeScript
    env.PATH = [join(ROOT, "node_modules", ".bin"), process.env.PATH ?? ""].join(delimiter);
    return env;
}

/** The Pulumi CLI: the one on PATH, or one that is downloaded into the state directory once. */
export async function pulumiCommand(options: { install?: () => void } = {}): Promise<PulumiCommand> {
    const root = join(STATE, "cli");
    const onPath = await PulumiCommand.get().catch(() => undefined);
    if (onPath) return onPath;
    const own = await PulumiCommand.get({ root }).catch(() => undefined);
    if (own) return own;
    options.install?.();
    const { parse } = await import("semver");
    return PulumiCommand.install({ root, version: parse(version) ?? undefined });
}

/** Pulumi writes the encryption salt into the stack's file at every turn; the state has it, and git need not. */
export function tidyStackFile(stack: string): void {
    const file = join(ROOT, `Pulumi.${stack}.yaml`);
    if (!ownBackend || !existsSync(file)) return;
    const before = readFileSync(file, "utf8");
    const after = before.replace(/^encryptionsalt: .*\n/m, "");
    if (after !== before) writeFileSync(file, after);
}

/** Runs the CLI with this terminal, and returns its exit code. */
export async function runPulumi(args: readonly string[]): Promise<number> {
    const cli = await pulumiCommand({ install: () => console.error("Downloading the Pulumi CLI (once)...") });
    const child = spawn(cli.command, [...args], {
        cwd: ROOT,
        stdio: "inherit",
        env: { ...process.env, ...pulumiEnvironment() },
    });
    const forward = (signal: NodeJS.Signals) => child.kill(signal);
    // a terminal signals the whole group, and Pulumi takes a second SIGINT for "at once"
    process.on("SIGINT", () => (process.stdin.isTTY ? undefined : forward("SIGINT")));
    process.on("SIGTERM", forward);
    const code = await new Promise<number>((resolve) =>
        child.on("exit", (exit, signal) => resolve(signal ? 130 : (exit ?? 1))),
    );
    tidyStackFile(selectedOrDefault());
    return code;
}

export interface ReadOptions {
    /** Given on standard input: secrets do not belong into arguments. */
    readonly input?: string;
    /** Called with each line of standard output as it comes. */
    readonly onLine?: (line: string) => void;
}

/** What a CLI command prints. */
export async function readPulumi(
    args: readonly string[],
    options: ReadOptions = {},
): Promise<{ code: number; stdout: string; stderr: string }> {
    const cli = await pulumiCommand();
    const child = spawn(cli.command, [...args], {
        cwd: ROOT,
        stdio: ["pipe", "pipe", "pipe"],
        env: { ...process.env, ...pulumiEnvironment() },
    });
    child.stdin.on("error", () => undefined);
    child.stdin.end(options.input ?? "");
    let stdout = "";
    let stderr = "";
    let rest = "";
    child.stdout.on("data", (chunk) => {
        stdout += chunk;
        const lines = `${rest}${chunk}`.split("\n");
        rest = lines.pop() ?? "";
        for (const line of lines) options.onLine?.(line);
    });
    child.stderr.on("data", (chunk) => {
        stderr += chunk;
    });
    const code = await new Promise<number>((resolve) => child.on("close", (exit) => resolve(exit ?? 1)));
    tidyStackFile(selectedOrDefault());
    return { code, stdout, stderr };
}

let selected: string | undefined;

function selectedOrDefault(): string {
    return selected ?? DEFAULT_STACK;
}

/** The stack that is selected in this project's state; undefined when there is none. */
export async function selectedStack(): Promise<string | undefined> {
    const { code, stdout } = await readPulumi(["stack", "--show-name"]);
    const name = stdout.trim().split("/").at(-1);
    if (code !== 0 || !name) return undefined;
    selected = name;
    return name;
}

export interface Outputs {
    coordinator: { host: string; port: number };
    workers: { name: string; host: string; port: number; groupId: number }[];
    connectionString: string;
    password: string;
    caCertificate: string;
    /** Undefined when backups are off. */
    backups?: { repository: string; region?: string; cluster: string };
    /** How a person reaches the coordinator. */
    connect: string;
    status: string;
}

/** The selected stack's outputs with secrets in the clear; undefined when there is no cluster. */
export async function readOutputs(): Promise<Outputs | undefined> {
    const { code, stdout } = await readPulumi(["stack", "output", "--json", "--show-secrets"]);
    if (code !== 0) return undefined;
    const outputs = JSON.parse(stdout || "{}") as Partial<Outputs>;
    return outputs.coordinator && outputs.password ? (outputs as Outputs) : undefined;
}

/** For scripts: one clear sentence and exit code 1, without a stack unless --debug. */
export function fail(error: unknown): never {
    const e = error as Error;
    console.error(process.argv.includes("--debug") ? e.stack : e.message);
    process.exit(1);
}
