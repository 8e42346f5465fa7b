/** What keeps shards from being placed, seen before anything moves. */

import type { Session } from "../../reach/session.ts";
import type { NodeRow } from "../catalog.ts";
import { explainOnlyCopies, readElsewhere, readGoneWithVolume } from "../members/leave.ts";
import { type Assessment, obstacle, refuseStranded } from "./assess.ts";
import { assessCluster } from "./assessCluster.ts";
import { label, same, shouldHoldShards, type Wanted, type WantedWorker } from "./wanted.ts";

/** What is asked before anything moves. */
export interface PlaceChecks {
    /** A connection to a node itself, for data that only it has and for counting; undefined when there is none. */
    readonly open: (host: string) => Promise<Session | undefined>;
    /** A connection to another database of a node. */
    readonly openDatabase: (host: string, database: string) => Promise<Session>;
    /** Workers that a resource of their own removes afterwards; others are removed here. */
    readonly removedElsewhere: readonly WantedWorker[];
    /** Names of databases that are moved off leaving nodes before shards are. @default none */
    readonly moving?: readonly string[];
}

/**
 * Everything that keeps shards from being placed and that can be seen before anything moves. Changes nothing.
 * @throws Error naming it
 */
export async function refuseUnplaceable(
    session: Session,
    wanted: Wanted,
    options: PlaceChecks,
): Promise<{ found: Assessment; leaving: NodeRow[] }> {
    const found = await assessCluster(session, wanted);
    if (found.missing.length > 0) {
        throw new Error(
            `${found.missing.map((w) => w.name).join(", ")} should be registered and is not.\n` +
                "Nothing was moved. Run pulumi up again: it registers what is missing.",
        );
    }
    return { found, leaving: await refuseImpossible(session, wanted, found, options) };
}

async function refuseImpossible(
    session: Session,
    wanted: Wanted,
    found: Assessment,
    options: PlaceChecks,
): Promise<NodeRow[]> {
    const leaving = found.nodes.filter(
        (n) =>
            !shouldHoldShards(n, wanted) && (n.groupId !== 0 || n.holdsShards || found.moves.some((m) => m.from === 0)),
    );
    const holding = found.nodes.filter((n) => shouldHoldShards(n, wanted));
    if (holding.length === 0) {
        throw new Error(
            "No node is left to hold shards.\nNothing was moved. Keep a worker, or let the coordinator hold them: " +
                "pulumi config set --path citus:coordinator.shards true",
        );
    }
    const why = obstacle(found);
    if (why !== undefined) throw new Error(why);
    refuseStranded(found);
    if (found.moves.length > 0 || leaving.length > 0) {
        const unreachable: string[] = [];
        for (const node of found.nodes) {
            const [row] = await session.query<{ ok: boolean }>("SELECT citus_check_connection_to_node($1, $2) AS ok", [
                node.host,
                node.port,
            ]);
            if (!row?.ok) unreachable.push(`${label(node)} (${node.host}:${node.port})`);
        }
        if (unreachable.length > 0) {
            throw new Error(
                `${unreachable.join(", ")} can't be reached from the coordinator, so shards can't be moved.\n` +
                    "Nothing was moved. Start it again (pulumi up --refresh brings back a container or machine that is gone), then run pulumi up.",
            );
        }
    }
    await refuseOnlyCopies(session, leaving, options);
    return leaving;
}

/**
 * What keeps registered workers from leaving, asked of them. Changes nothing.
 * @throws Error naming what only one of them has
 */
export async function refuseOnlyCopies(
    session: Session,
    leaving: readonly NodeRow[],
    options: PlaceChecks,
): Promise<void> {
    for (const node of leaving.filter((n) => n.groupId !== 0)) {
        const target = await options.open(node.host);
        if (!target) {
            // one that was registered by hand is nobody's to ask
            if (!options.removedElsewhere.some((w) => same(w, node))) continue;
            throw new Error(
                `${label(node)} can't leave: it can't be asked what only it has, because it can't be reached from here.\n` +
                    "Nothing was moved. Look at its container or machine, start it if it is stopped, then run pulumi up again.",
            );
        }
        const copies = await readGoneWithVolume(target, await readElsewhere(session, false), (database) =>
            options.openDatabase(node.host, database),
        );
        const only = copies.filter((what) => !options.moving?.some((name) => what === `database ${name}`));
        if (only.length > 0) throw new Error(`${explainOnlyCopies(label(node), only)}\nNothing was moved.`);
    }
}
