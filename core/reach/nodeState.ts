/** What runs a node, asked why the node does not answer. */

import type { Shell } from "../node/reach.ts";
import { dockerEngine } from "./docker/engine.ts";
import { saysWhatToDo } from "./said.ts";

export interface NodeState {
    /** In words: `its container x is stopped`. */
    readonly said: string;
    /** What to do about it. */
    readonly next: string;
    /** Whether the node may answer soon by itself. */
    readonly passing: boolean;
}

const REFRESH = "npm run pulumi -- up --refresh makes it again and keeps its data";

/** Pure. @param state Docker's `State`; undefined when there is no such container */
export function describeContainer(
    name: string,
    state: { readonly Status: string; readonly ExitCode: number } | undefined,
): NodeState {
    const container = `its container ${name}`;
    switch (state?.Status) {
        case undefined:
            return { said: `${container} is gone`, next: REFRESH, passing: false };
        case "paused":
            return { said: `${container} is paused`, next: `docker unpause ${name}`, passing: false };
        case "running":
            return { said: `${container} runs`, next: `docker logs ${name} has the reason`, passing: true };
        case "restarting":
            return {
                said: `${container} restarts again and again (exit code ${state?.ExitCode})`,
                next: `docker logs ${name} has the reason`,
                passing: true,
            };
        default:
            return { said: `${container} is stopped`, next: `docker start ${name}`, passing: false };
    }
}

/** Undefined where nobody says, within three seconds. */
export async function readNodeState(shell: Shell | undefined): Promise<NodeState | undefined> {
    if (shell?.kind !== "docker") return undefined;
    const late = new Promise<undefined>((resolve) => setTimeout(() => resolve(undefined), 3000).unref());
    const asked = dockerEngine(shell.engine)
        .getContainer(shell.container)
        .inspect()
        .then(
            ({ State }) => describeContainer(shell.container, State),
            (error: { statusCode?: number }) =>
                error.statusCode === 404 ? describeContainer(shell.container, undefined) : undefined,
        );
    return Promise.race([asked, late]);
}

/** What to try where nobody says more. */
const UNSAID = "if its container or machine is gone, npm run pulumi -- up --refresh makes it again and keeps its data";

/** `: why; its container x is gone`, and what to do; for the end of a sentence about the node. */
export function explainSilence(why: string, state: NodeState | undefined): string {
    if (saysWhatToDo(why)) return why;
    return state ? `${why}; ${state.said}: ${state.next}` : `${why}; ${UNSAID}`;
}
