/** How every script runs the Pulumi CLI on this project's state. */
import { spawn } from "node:child_process";
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { pulumiCommand } from "./cli.ts";
import { NoCluster } from "./exit.ts";
import { type Around, explainFailure, type Failure, NoAnswer, saysNoStack } from "./refusal.ts";
import { enter, passphraseFile, ROOT, STATE } from "./surroundings.ts";

export { ROOT, STATE };
export const DEFAULT_STACK = "dev";

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

/** Pulumi writes the encryption salt into the stack's file at every turn; the state has it, and git need not. */
export function tidyStackFile(stack: string): void {
    const file = join(ROOT, `Pulumi.${stack}.yaml`);
    if (!enter().own || !existsSync(file)) return;
    const before = readFileSync(file, "utf8");
    const after = before.replace(/^encryptionsalt: .*\n/m, "");
    if (after !== before) writeFileSync(file, after);
}

/** What an explanation of the CLI's failures needs to know. */
export function around(): Around {
    const { own, unset } = enter();
    return {
        own,
        backend: process.env.PULUMI_BACKEND_URL ?? "",
        passphraseFile: passphraseFile(STATE),
        foreign: unset.includes("PULUMI_CONFIG_PASSPHRASE"),
    };
}

/** Runs the CLI with this terminal, and returns its exit code. */
export async function runPulumi(args: readonly string[]): Promise<number> {
    const cli = await pulumiCommand({ install: () => console.error("Downloading the Pulumi CLI (once)...") });
    const child = spawn(cli.command, [...args], { cwd: ROOT, stdio: "inherit" });
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
    /** Lets the CLI end what it is doing and stop. */
    readonly stop?: AbortSignal;
}

/** What a CLI command prints, whether or not it did what it should. */
export async function readPulumi(args: readonly string[], options: ReadOptions = {}): Promise<Failure> {
    const cli = await pulumiCommand({ install: () => console.error("Downloading the Pulumi CLI (once)...") });
    const child = spawn(cli.command, [...args], { cwd: ROOT, stdio: ["pipe", "pipe", "pipe"] });
    // a terminal signals the whole group, and Pulumi takes a second SIGINT for "at once"
    options.stop?.addEventListener("abort", () => process.stdin.isTTY || child.kill("SIGINT"), { once: true });
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
    return { args, code, stdout, stderr };
}

/**
 * Asks the CLI for something.
 * @returns what it printed; undefined when no stack is selected
 * @throws NoAnswer naming what kept it from answering
 */
export async function askPulumi(...args: readonly string[]): Promise<string | undefined> {
    const ran = await readPulumi(args);
    if (ran.code === 0) return ran.stdout;
    if (saysNoStack(ran)) return undefined;
    throw new NoAnswer(explainFailure(ran, around()));
}

/**
 * Lets the CLI change something.
 * @throws Error naming what kept it from that
 */
export async function mustPulumi(args: readonly string[], input?: string): Promise<string> {
    const ran = await readPulumi(args, input === undefined ? {} : { input });
    if (ran.code !== 0) throw new Error(explainFailure(ran, around()));
    return ran.stdout;
}

let selected: string | undefined;

function selectedOrDefault(): string {
    return selected ?? DEFAULT_STACK;
}

/** Names of the stacks that `pulumi stack ls --json` printed. Pure. */
export const stackNames = (printed: string | undefined): string[] =>
    (JSON.parse(printed || "[]") as readonly { readonly name: string }[])
        .map(({ name }) => name.split("/").at(-1) ?? "")
        .sort();

/** What `pulumi stack ls --json` printed has a stack of this name. Pure. */
export const hasStack = (printed: string | undefined, name: string): boolean => stackNames(printed).includes(name);

/**
 * Where no stack is selected: the one to select, or undefined where there is none at all. Pure.
 * @throws NoAnswer where there are others than `dev`: whichever is taken, the next `up` may build or change a wrong cluster
 */
export function stackToSelect(names: readonly string[]): string | undefined {
    if (names.every((name) => name === DEFAULT_STACK)) return names[0];
    throw new NoAnswer(
        `No stack is selected. This project's state has: ${names.join(", ")}. Nothing was changed.\n` +
            `Select one, then repeat: ${names.length === 1 ? `npm run pulumi -- stack select ${names[0]}` : "npm run pulumi -- stack select NAME"}\n` +
            "(pulumi stack rm unselects the stack that was selected. For a new cluster: npm run pulumi -- stack init NAME)",
    );
}

/** Which stack is selected is kept in PULUMI_HOME: another user, or a new home, has the state and no selection. */
async function selectDefault(): Promise<string | undefined> {
    const name = stackToSelect(stackNames(await askPulumi("stack", "ls", "--json")));
    if (name !== undefined) await mustPulumi(["stack", "select", name]);
    return name;
}

/** Whether the CLI's arguments name a stack themselves. Pure. */
export const namesStack = (args: readonly string[]): boolean => args.some((arg) => /^(-s|--stack)(=|$)/.test(arg));

/** The stack that the CLI says is selected; undefined or empty where none is. */
export const shownStack = async (): Promise<string | undefined> =>
    (await askPulumi("stack", "--show-name"))?.trim().split("/").at(-1);

/**
 * The stack that is selected in this project's state, or `dev` where none is and there is no other.
 * @throws NoAnswer, also where none is selected and there are others
 */
export async function selectedStack(): Promise<string | undefined> {
    const shown = await shownStack();
    const wanted = process.env.PULUMI_STACK;
    if (!shown && wanted)
        throw new NoAnswer(
            `PULUMI_STACK of the environment is ${wanted}, and there is no such stack in ${around().backend}. Nothing was changed.\n` +
                `npm run pulumi -- stack init ${wanted} makes it; without PULUMI_STACK the stack that is selected is used.`,
        );
    const name = shown || (await selectDefault());
    if (!name) return undefined;
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

/**
 * The selected stack's outputs with secrets in the clear; undefined when there is no cluster.
 * @throws NoAnswer
 */
export async function readOutputs(): Promise<Outputs | undefined> {
    const printed = await askPulumi("stack", "output", "--json", "--show-secrets");
    const outputs = JSON.parse(printed || "{}") as Partial<Outputs>;
    return outputs.coordinator && outputs.password ? (outputs as Outputs) : undefined;
}

/**
 * The selected stack and its cluster's outputs.
 * @throws NoCluster, NoAnswer
 */
export async function readCluster(): Promise<{ readonly stack: string; readonly outputs: Outputs }> {
    const stack = await selectedStack();
    const outputs = stack === undefined ? undefined : await readOutputs();
    if (stack === undefined || outputs === undefined) throw new NoCluster(stack ?? DEFAULT_STACK);
    return { stack, outputs };
}
