/** The connection pool that runs beside a node's server. */
import type { Shell } from "../node/reach.ts";
import { runScript } from "./run.ts";

/** `busy`: a transaction did not end within five seconds, and nobody waits. `none`: no pool runs there. */
export type PausedPool = "paused" | "busy" | "none";

/**
 * Has the pool's clients wait, from the end of their transactions on.
 * @param seconds after which they go on by themselves
 */
export async function pauseClients(shell: Shell, seconds: number): Promise<PausedPool> {
    const { code, stdout, stderr } = await runScript(shell, ["pool.sh", "pause", String(seconds)]);
    const said = /^pool=(paused|busy|none)$/m.exec(stdout)?.[1];
    if (code !== 0 || said === undefined) throw new Error(stderr.trim() || `pool.sh ended with ${code}`);
    return said as PausedPool;
}

/** The pool's clients go on; nothing happens where none waits. */
export async function resumeClients(shell: Shell): Promise<void> {
    await runScript(shell, ["pool.sh", "resume"]);
}
