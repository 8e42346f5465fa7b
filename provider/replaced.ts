/** After a node's machine was replaced: whether the node came back, and takes part in the cluster again. */

import { activate, whyApart } from "../core/citus/members/membership.ts";
import { ANSWERS_WITHIN } from "../core/citus/silent.ts";
import type { Access, Shell } from "../core/node/reach.ts";
import { lastWords, restartsOf } from "../core/reach/run.ts";
import { saidBy } from "../core/reach/said.ts";
import { withSession } from "../core/reach/session.ts";
import { pause } from "../core/util/pause.ts";
import type { Ask } from "./kind.ts";

/** A node whose machine is another one now. */
export interface ReplacedNode {
    readonly name: string;
    readonly shell: Shell;
    /** Where it is asked whether the node takes part again, and the host that it is registered with. @default not asked */
    readonly membership?: { readonly coordinator: Access; readonly host: string };
}

export const lastWordsOf = (node: ReplacedNode) => lastWords(node.shell).catch(() => "(its log can't be read)");

export async function explainLoop(node: ReplacedNode): Promise<Error> {
    return new Error(
        `${node.name} does not come up: it starts and ends again and again.\nIts last words:\n${await lastWordsOf(node)}\n` +
            "Its data is where it was. Mend what it names, then run pulumi up again: it is safe to repeat.",
    );
}

/** What ends a command in a container that ends says nothing; the engine counts the next start a moment later. */
export async function startsAgain(shell: Shell): Promise<boolean> {
    for (let attempt = 0; attempt < 6; attempt++) {
        const restarts = await restartsOf(shell);
        if (restarts === undefined) return false;
        if (restarts > 0) return true;
        await pause(500);
    }
    return false;
}

/** How long a node whose machine was replaced may take to be reached by the coordinator again, in milliseconds. */
const BACK_WITHIN = 60_000;
/** Citus itself brings metadata in step again; after this it is done here, in milliseconds. */
const BY_ITSELF = 10_000;

/** After its machine was replaced: ends when the coordinator reaches the node and it has the coordinator's metadata. */
export async function waitUntilBack(ask: Ask, { membership, name }: ReplacedNode): Promise<void> {
    if (membership === undefined) return;
    const { coordinator, host } = membership;
    const began = Date.now();
    const options = { timeout: ANSWERS_WITHIN, nodeTimeout: ANSWERS_WITHIN };
    for (;;) {
        const apart = await withSession(
            coordinator,
            "coordinator",
            async (session) => {
                const found = await whyApart(session, host);
                if (found?.activate && Date.now() - began > BY_ITSELF) await activate(session, host);
                return found;
            },
            options,
        ).catch((error: unknown) => ({ why: `coordinator: ${saidBy(error)}` }));
        if (apart === undefined) return;
        if (Date.now() - began > BACK_WITHIN)
            throw new Error(
                `${name} was replaced and answers, and does not take part in the cluster again: ${apart.why}\n` +
                    "Containers that wait for it are left as they are. Its data is kept. Mend what is named, then run pulumi up again.",
            );
        ask.progress(`${name} answers; ${apart.why}`);
        await pause(500);
    }
}
