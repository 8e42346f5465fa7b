/** A planned restart of a node's server, during which clients wait where they can. */

import { pauseWrites } from "../core/citus/pausedWrites.ts";
import { ANSWERS_WITHIN } from "../core/citus/silent.ts";
import type { Access, Shell } from "../core/node/reach.ts";
import { pauseClients, resumeClients } from "../core/reach/nodePool.ts";
import { restartServer } from "../core/reach/run.ts";
import { saidBy } from "../core/reach/said.ts";
import { connect } from "../core/reach/session.ts";
import { pause } from "../core/util/pause.ts";
import type { Ask } from "./kind.ts";

/** Clients do not wait longer than this for a node that does not come back, in milliseconds. */
const WAIT_AT_MOST = 60_000;

/** Between two restarts whoever waited gets on, in milliseconds. */
const BREATH = 1000;

/** A node that restarts. */
export interface Restarting {
    readonly name: string;
    readonly shell: Shell;
    readonly membership?: { readonly coordinator: Access; readonly host: string; readonly pool?: Shell };
}

/** Undoes what was held, last first, once. */
class Holds {
    private readonly releases: (() => Promise<unknown>)[] = [];

    add(release: () => Promise<unknown>): void {
        this.releases.push(release);
    }

    get any(): boolean {
        return this.releases.length > 0;
    }

    async release(): Promise<void> {
        for (const release of this.releases.splice(0).reverse()) await release().catch(() => undefined);
    }
}

/** Has clients of the coordinator's pool wait, and writes to the node's shards. What can't be held is told, and fails meanwhile. */
async function hold(ask: Ask, { membership, name }: Restarting, holds: Holds): Promise<void> {
    if (membership?.pool === undefined) return;
    const { coordinator, host, pool } = membership;
    const held = await pauseClients(pool, WAIT_AT_MOST / 1000).catch(() => "none" as const);
    if (held === "paused") holds.add(() => resumeClients(pool));
    if (held === "busy")
        ask.warn(
            `${name} restarts while a transaction of the coordinator's connection pool runs: clients of the pool do not wait`,
        );
    try {
        const session = await connect(coordinator, "coordinator", { timeout: ANSWERS_WITHIN });
        holds.add(() => session.close());
        const paused = await pauseWrites(session, host);
        if (paused !== undefined) holds.add(paused.release);
    } catch (error) {
        ask.warn(`${name} restarts while writes to it go on, and they fail until it is back: ${saidBy(error)}`);
    }
}

/**
 * Restarts the node's server. Writes to its shards that come through the coordinator wait, and so do the clients of the
 * coordinator's connection pool, up to a minute. Reads that come without the pool fail until the server is back.
 * @param back ends when the node serves again
 */
export async function restartWhileClientsWait(ask: Ask, inputs: Restarting, back: () => Promise<void>): Promise<void> {
    const holds = new Holds();
    const enough = setTimeout(() => void holds.release(), WAIT_AT_MOST).unref();
    try {
        await hold(ask, inputs, holds);
        await restartServer(inputs.shell);
        await back();
    } finally {
        clearTimeout(enough);
        const held = holds.any;
        await holds.release();
        if (held) await pause(BREATH);
    }
}
