/** Whether a node that was away takes part in its cluster again. */

import type { Session } from "../../reach/session.ts";
import { onNodes, readNodes } from "../catalog.ts";

export interface Apart {
    /** In words: `its metadata is not in sync`. */
    readonly why: string;
    /** Whether `citus_activate_node` mends it. */
    readonly activate: boolean;
}

/** Why a registered node does not take part; undefined when it does, and when it is not registered (yet). */
export async function whyApart(coordinator: Session, host: string): Promise<Apart | undefined> {
    const row = (await readNodes(coordinator)).find((node) => node.host === host);
    if (row === undefined || row.groupId === 0) return undefined;
    if (!row.active) return { why: "it is not active in pg_dist_node", activate: true };
    const [reached] = await coordinator.query<{ success: boolean; result: string }>(
        `SELECT r.success, r.result FROM ${onNodes("nodename = $1", "'SELECT citus_version()'")}`,
        [host],
    );
    if (reached?.success !== true)
        return { why: `the coordinator does not reach it: ${reached?.result ?? "no answer"}`, activate: false };
    return row.synced ? undefined : { why: "its metadata is not in sync", activate: true };
}

/** Makes a node active, with the coordinator's metadata. Safe to repeat. */
export async function activate(coordinator: Session, host: string): Promise<void> {
    await coordinator.query("SELECT citus_activate_node(nodename, nodeport) FROM pg_dist_node WHERE nodename = $1", [
        host,
    ]);
}
