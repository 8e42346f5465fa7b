/** Commands with a time limit, and undoing whatever was made however the run ends. */
import { type ChildProcess, spawn } from "node:child_process";

export interface Ran {
    readonly code: number;
    readonly stdout: string;
    readonly output: string;
    readonly milliseconds: number;
}

export interface RunOptions {
    readonly cwd?: string;
    readonly env?: NodeJS.ProcessEnv;
    readonly input?: string;
    /** Seconds. @default 60 */
    readonly limit?: number;
    /** Hands back what failed instead of throwing. @default false */
    readonly mayFail?: boolean;
}

const running = new Set<ChildProcess>();
const undoings: { what: string; undo: () => Promise<void> }[] = [];
let ending = false;

/** Ends a command and everything it started. */
function end(child: ChildProcess, signal: NodeJS.Signals): void {
    try {
        if (child.pid !== undefined) process.kill(-child.pid, signal);
    } catch {
        // it is gone already
    }
}

/**
 * Runs a command to its end, in a process group of its own, and times it.
 * @throws Error with all it said when it fails or takes longer than its limit
 */
export async function run(command: string, args: readonly string[], options: RunOptions = {}): Promise<Ran> {
    if (ending) throw new Error("the benchmark is being stopped");
    return start(command, args, options);
}

async function start(command: string, args: readonly string[], options: RunOptions): Promise<Ran> {
    const limit = options.limit ?? 60;
    const began = performance.now();
    const child = spawn(command, [...args], {
        cwd: options.cwd,
        env: options.env ?? process.env,
        stdio: ["pipe", "pipe", "pipe"],
        detached: true,
    });
    running.add(child);
    let stdout = "";
    let output = "";
    let late = false;
    child.stdin.on("error", () => undefined);
    child.stdin.end(options.input ?? "");
    child.stdout.on("data", (chunk) => {
        stdout += chunk;
        output += chunk;
    });
    child.stderr.on("data", (chunk) => {
        output += chunk;
    });
    const timer = setTimeout(() => {
        late = true;
        end(child, "SIGKILL");
    }, limit * 1000);
    const code = await new Promise<number>((resolve, reject) => {
        child.on("error", reject);
        child.on("close", (exit) => resolve(exit ?? -1));
    }).finally(() => {
        clearTimeout(timer);
        running.delete(child);
    });
    const milliseconds = performance.now() - began;
    const shown = `${command.split("/").at(-1)} ${args.join(" ").slice(0, 80)}`;
    if (late) throw new Error(`${shown} took longer than ${limit} s:\n${output}`);
    if (code !== 0 && !options.mayFail) throw new Error(`${shown} failed:\n${output}`);
    return { code, stdout, output, milliseconds };
}

export async function docker(args: readonly string[], options: RunOptions = {}): Promise<string> {
    return (await run("docker", args, options)).stdout.trim();
}

/** Removes containers, then volumes, then networks that a filter finds. For use in an undoing. */
export async function removeFromDocker(filter: string): Promise<void> {
    const kinds = [
        { list: ["ps", "-aq"], remove: ["rm", "-f", "-v"] },
        { list: ["volume", "ls", "-q"], remove: ["volume", "rm", "-f"] },
        { list: ["network", "ls", "-q"], remove: ["network", "rm"] },
    ];
    for (const { list, remove } of kinds) {
        const { stdout } = await start("docker", [...list, "--filter", filter], {});
        const found = stdout.split("\n").filter((line) => line !== "");
        if (found.length > 0) await start("docker", [...remove, ...found], { limit: 120 });
    }
}

/** Says how something is undone, before it is made. The function handed back undoes it at once. */
export function undoLater(what: string, undo: () => Promise<void>): () => Promise<void> {
    const entry = { what, undo };
    undoings.push(entry);
    return async () => {
        const at = undoings.indexOf(entry);
        if (at < 0) return;
        undoings.splice(at, 1);
        await undo();
    };
}

let undone: Promise<void> | undefined;

/** Ends what runs and undoes what was made, the newest first. Asked again, it waits for the first time to end. */
export function undoAll(): Promise<void> {
    undone ??= undoEverything();
    return undone;
}

async function undoEverything(): Promise<void> {
    ending = true;
    const killed = running.size > 0;
    for (const child of running) end(child, "SIGKILL");
    // what a killed client had asked of the Docker engine is still being made
    if (killed) await pause(2000);
    while (undoings.length > 0) {
        const entry = undoings.pop();
        if (!entry) break;
        await entry.undo().catch((error: Error) => {
            console.error(`${entry.what} could not be removed: ${error.message}`);
        });
    }
}

export const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

/**
 * Asks again and again until the answer is yes.
 * @throws Error after `limit` seconds, with what the last attempt said
 */
export async function until(
    what: string,
    options: { readonly limit: number; readonly every: number },
    ask: () => Promise<boolean>,
): Promise<void> {
    const last = performance.now() + options.limit * 1000;
    for (;;) {
        if (ending) throw new Error("the benchmark is being stopped");
        let said = "no";
        try {
            if (await ask()) return;
        } catch (error) {
            said = (error as Error).message;
        }
        if (performance.now() > last) throw new Error(`${what} did not happen within ${options.limit} s: ${said}`);
        await pause(options.every);
    }
}
