/** Commands that a Ctrl-C of the terminal does not reach: it is for the run to end them and to clean up after them. */
import { type ChildProcess, spawn } from "node:child_process";
import { collect, type Ran } from "../lib.ts";

/** A Pulumi that was asked to stop ends what it has begun; no hook takes longer. */
const PATIENCE_MS = 20 * 60_000;

export class Commands {
    private readonly running = new Set<ChildProcess>();
    private stopped = false;

    /** @param limit milliseconds after which it is asked to stop. @default an hour */
    async run(
        command: string,
        args: readonly string[],
        options: { cwd: string; env: NodeJS.ProcessEnv; input?: string; limit?: number },
    ): Promise<Ran> {
        const { cwd, env, input = "", limit = 3_600_000 } = options;
        if (this.stopped) throw new Error(`${command} was not started: the run was stopped`);
        const child = spawn(command, [...args], { cwd, env, stdio: ["pipe", "pipe", "pipe"], detached: true });
        child.stdin?.on("error", () => undefined);
        child.stdin?.end(input);
        this.running.add(child);
        const late = setTimeout(() => this.interrupt(child), limit);
        try {
            const failed = new Promise<never>((_, reject) => child.once("error", reject));
            return await Promise.race([collect(child), failed]);
        } finally {
            clearTimeout(late);
            this.running.delete(child);
        }
    }

    /** Asks what runs to end, and starts nothing more. Asked again it is Pulumi's "at once". */
    stop(): void {
        this.stopped = true;
        for (const child of this.running) this.interrupt(child);
    }

    /** From here on commands are for cleaning up. */
    reopen(): void {
        this.stopped = false;
    }

    private interrupt(child: ChildProcess): void {
        this.signal(child, "SIGINT");
        setTimeout(() => this.signal(child, "SIGKILL"), PATIENCE_MS).unref();
    }

    /** The whole of its group, as a terminal does. */
    private signal(child: ChildProcess, which: NodeJS.Signals): void {
        if (child.pid !== undefined && this.running.has(child)) process.kill(-child.pid, which);
    }
}
