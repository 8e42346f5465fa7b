/** Which nodes do not answer. Asked before any question that would wait for them: Citus waits 30 s for each, and says no name. */

import type { Access } from "../node/reach.ts";
import { nodeOf } from "../node/topology.ts";
import { saidBy } from "../reach/said.ts";
import { connect, type Session } from "../reach/session.ts";
import { onNodes } from "./catalog.ts";

/** How long a node that is asked may take, in milliseconds. */
export const ANSWERS_WITHIN = 3000;

export interface AskedNode {
    readonly name: string;
    /** Its host in pg_dist_node. */
    readonly host: string;
    /** How it is reached from here. */
    readonly access: Access;
}

export interface SilentNode {
    readonly name: string;
    readonly host: string;
    /** In the words of who asked it. */
    readonly why: string;
}

async function askHere({ name, host, access }: AskedNode): Promise<SilentNode | undefined> {
    try {
        await (await connect(access, name, { timeout: ANSWERS_WITHIN })).close();
        return undefined;
    } catch (error) {
        return { name, host, why: saidBy(error) };
    }
}

/**
 * Asks every node from here, all at once, and then those that answered through the coordinator: shards move only where it
 * reaches both ends. A node that is reached by commands is asked through the coordinator alone, which takes no seconds more.
 * @param coordinator with a short `nodeTimeout`
 * @param nodes that are registered, without the coordinator
 */
export async function findSilent(coordinator: Session, nodes: readonly AskedNode[]): Promise<SilentNode[]> {
    const here = await Promise.all(nodes.map((node) => ("tunnel" in node.access ? undefined : askHere(node))));
    const silent = here.filter((node) => node !== undefined);
    const rest = nodes.map(({ host }) => host).filter((host) => !silent.some((node) => node.host === host));
    const rows = await coordinator.query<{ host: string; result: string }>(
        `SELECT r.node_name AS host, r.result FROM ${onNodes("nodename = ANY ($1)", "'SELECT 1'")} WHERE NOT r.success`,
        [rest],
    );
    return [
        ...silent,
        ...rows.map(({ host, result }) => ({
            name: nodes.find((node) => node.host === host)?.name ?? nodeOf(host),
            host,
            why: `the coordinator does not reach it: ${result}`,
        })),
    ];
}
