/** What a cluster is, as far as placing its shards needs it. Only read here; {@link assess} says what follows. */

import type { Session } from "../../reach/session.ts";
import { type Blocker, type NodeRow, readBlockers, readNodes, readShardGroups, type ShardGroup } from "../catalog.ts";
import { whileTablesAreDropped } from "../dropped.ts";
import { readBound } from "../limits.ts";
import { runningJob } from "./jobTasks.ts";
import { hasStrategy, type PinnedTenant, pinnedStrategy, readPinned } from "./pins.ts";
import { strategyName } from "./strategy.ts";
import { label, same, shouldHoldShards, type Wanted } from "./wanted.ts";

export interface ClusterView {
    readonly nodes: readonly NodeRow[];
    /** With their sizes. */
    readonly groups: readonly ShardGroup[];
    readonly pinned: readonly PinnedTenant[];
    readonly blockers: readonly Blocker[];
    /** Names of nodes on which the superuser is bound by what the database sets for its clients. */
    readonly bound: readonly string[];
    /** The rebalance that is under way. */
    readonly running: string | undefined;
    /**
     * What Citus itself would move, a row a shard. Undefined where it can't be asked yet: nodes are still to come or to be
     * marked, only leaving nodes are emptied, or the copy of the strategy that honours pins is not made.
     */
    readonly plan: readonly PlanRow[] | undefined;
}

/** A row of `get_rebalance_table_shards_plan`. */
export interface PlanRow {
    readonly shardId: string;
    /** Hosts. */
    readonly from: string;
    readonly to: string;
}

/** Reads it. Changes nothing. */
export async function readCluster(session: Session, wanted: Wanted): Promise<ClusterView> {
    const nodes = await readNodes(session);
    const groups = await readShardGroups(session, true);
    const pinned = await readPinned(session);
    return {
        nodes,
        groups,
        pinned,
        blockers: await readBlockers(session),
        bound: await readBound(session),
        running: await runningJob(session),
        plan: await readPlan(session, wanted, nodes, pinned),
    };
}

/** Whether Citus' own plan is about the cluster as it is wanted. Pure. */
const isAsIs = (wanted: Wanted, nodes: readonly NodeRow[]): boolean =>
    wanted.workers.every((worker) => nodes.some((node) => same(worker, node))) &&
    nodes.every((node) => node.holdsShards === shouldHoldShards(node, wanted));

async function readPlan(
    session: Session,
    wanted: Wanted,
    nodes: readonly NodeRow[],
    pinned: readonly PinnedTenant[],
): Promise<PlanRow[] | undefined> {
    if (!wanted.rebalance || !isAsIs(wanted, nodes)) return undefined;
    const copy = pinnedStrategy(strategyName(wanted));
    const pins = pinned.some(({ shardId, node }) => shardId !== null && nodes.some((one) => label(one) === node));
    // the copy that honours pins is made when shards are placed
    if (pins && !(await hasStrategy(session, copy))) return undefined;
    const threshold = wanted.threshold === undefined ? "" : `, threshold := ${Number(wanted.threshold)}`;
    return whileTablesAreDropped(() =>
        session.query<PlanRow>(
            `SELECT shardid::text AS "shardId", sourcename AS from, targetname AS to
               FROM get_rebalance_table_shards_plan(rebalance_strategy := '${pins ? copy : wanted.strategy}'${threshold})`,
        ),
    );
}
