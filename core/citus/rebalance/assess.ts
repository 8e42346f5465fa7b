/** What follows from how a cluster is and how it is wanted. Pure. */
import { describeBytes } from "../../util/bytes.ts";
import { joinNames } from "../../util/joinNames.ts";
import { type Blocker, blocking, explainBlockers, type NodeRow } from "../catalog.ts";
import { explainReadOnly, type Hindrance, hindrances, type Limit } from "../limits.ts";
import { explainPinned, type PinnedTenant } from "./pins.ts";
import { type PlannedMove, planMoves, summarizeMoves } from "./plan.ts";
import type { ClusterView } from "./view.ts";
import { label, same, shouldHoldShards, type Wanted, type WantedWorker } from "./wanted.ts";

export interface Assessment {
    readonly nodes: readonly NodeRow[];
    readonly missing: readonly WantedWorker[];
    /** Registered workers that are not wanted. */
    readonly leaving: readonly NodeRow[];
    readonly moves: readonly PlannedMove[];
    readonly blockers: readonly Blocker[];
    /** Those of the moves during which writes to the shard group wait. */
    readonly waits: readonly PlannedMove[];
    /** What limits of the tables' owners do to the moves. */
    readonly limits: Hindrance;
    /** Names of nodes on which the superuser is bound by what the database sets for its clients. */
    readonly bound: readonly string[];
    /** Nodes whose shouldhaveshards is not what it should be. */
    readonly misflagged: readonly NodeRow[];
    /** Tenants that are pinned to a node that should hold no shards. */
    readonly stranded: readonly { readonly node: string; readonly tenants: readonly PinnedTenant[] }[];
    readonly running: string | undefined;
    readonly name: (groupId: number) => string;
}

/**
 * What differs between the cluster and what is wanted, without {@link withLimits}. Workers that are not registered yet count as if they were, so that a
 * preview can tell what will move to them.
 */
export function assess(view: ClusterView, wanted: Wanted): Assessment {
    const { nodes, pinned, bound, running } = view;
    const missing = wanted.workers.filter((w) => !nodes.some((n) => same(w, n)));
    // negative numbers stand for nodes that are still to come
    const future = new Map(missing.map((w, i) => [-1 - i, w]));
    const moves = findMoves(view, wanted, future);
    const stuck = view.blockers.filter((b) =>
        b.reference ? missing.length > 0 : moves.some((move) => move.tables.includes(b.table)),
    );
    const blocks = wanted.transferMode === "block_writes";
    return {
        nodes,
        missing,
        leaving: nodes.filter((n) => n.groupId !== 0 && !wanted.workers.some((w) => same(w, n))),
        moves,
        blockers: blocking(stuck, wanted.transferMode),
        waits: blocks ? moves.filter((move) => stuck.some((b) => move.tables.includes(b.table))) : [],
        limits: { refused: [], doubtful: [] },
        bound,
        misflagged: nodes.filter((n) => n.holdsShards !== shouldHoldShards(n, wanted)),
        stranded: nodes
            .filter((n) => !shouldHoldShards(n, wanted))
            .map((n) => ({ node: label(n), tenants: pinned.filter(({ node }) => node === label(n)) }))
            .filter(({ tenants }) => tenants.length > 0),
        running,
        name: (groupId) => {
            const node = future.get(groupId) ?? nodes.find((n) => n.groupId === groupId);
            return node ? label(node) : `group ${groupId}`;
        },
    };
}

/** The same with what limits of the tables' owners do to its moves. @param limits that are in force on the nodes */
export const withLimits = (found: Assessment, limits: readonly Limit[]): Assessment => ({
    ...found,
    limits: hindrances(limits, Math.max(...found.moves.map(({ bytes }) => bytes))),
});

/** As Citus plans it, or as we expect it to where it can't be asked yet. */
function findMoves(
    { nodes, groups, pinned, plan }: ClusterView,
    wanted: Wanted,
    future: ReadonlyMap<number, WantedWorker>,
): PlannedMove[] {
    if (plan === undefined) {
        const groupOf = (node: string) =>
            [...future].find(([, w]) => label(w) === node)?.[0] ?? nodes.find((n) => label(n) === node)?.groupId;
        return planMoves(groups, {
            strategy: wanted.strategy,
            wanted: [...nodes.filter((n) => shouldHoldShards(n, wanted)).map((n) => n.groupId), ...future.keys()],
            drainOnly: !wanted.rebalance,
            pins: new Map(
                pinned.flatMap(({ shardId, node }) => {
                    const groupId = groupOf(node);
                    return shardId === null || groupId === undefined ? [] : [[shardId, groupId] as const];
                }),
            ),
            ...(wanted.threshold === undefined ? {} : { threshold: wanted.threshold }),
        });
    }
    const byHost = new Map(nodes.map((n) => [n.host, n.groupId]));
    const planned = new Map(plan.map((row) => [row.shardId, row]));
    // Citus lists each shard, we count the groups that move as a whole; a group's name is its first shard
    return groups.flatMap((g) => {
        const row = planned.get(g.shardId);
        const to = row && byHost.get(row.to);
        return to === undefined ? [] : [{ shardId: g.shardId, from: g.groupId, to, bytes: g.bytes, tables: g.tables }];
    });
}

/** Whether anything has to be done at all. */
export function isSettled(assessment: Assessment): boolean {
    return (
        assessment.missing.length === 0 &&
        assessment.leaving.length === 0 &&
        assessment.moves.length === 0 &&
        assessment.misflagged.length === 0 &&
        assessment.bound.length === 0 &&
        assessment.running === undefined
    );
}

/** Why the moves that were found can't be made; undefined when they can. Pure. */
export function obstacle(found: Pick<Assessment, "blockers" | "limits" | "moves" | "missing">): string | undefined {
    if (found.blockers.length > 0 && (found.moves.length > 0 || found.missing.length > 0))
        return explainBlockers(found.blockers);
    return found.limits.refused.length > 0 ? explainReadOnly(found.limits) : undefined;
}

/**
 * Whether somebody asked for the moves: the configuration changed, or nodes join or leave. Otherwise data has grown
 * unevenly, and what can't be moved may stay. Pure.
 * @param before what was wanted when shards were placed last; undefined for never
 */
export function isAsked(
    before: Wanted | undefined,
    wanted: Wanted,
    found: Pick<Assessment, "missing" | "leaving">,
): boolean {
    const terms = ({ workers, coordinatorShards, rebalance, strategy, transferMode, threshold }: Wanted) =>
        JSON.stringify([
            workers.map(({ host, port }) => `${host}:${port}`).sort(),
            [coordinatorShards, rebalance, strategy, transferMode, threshold ?? null].map(String),
        ]);
    return (
        before === undefined || terms(before) !== terms(wanted) || found.missing.length > 0 || found.leaving.length > 0
    );
}

/** The warning for moves that nobody asked for and that can't be made. */
export const explainDrift = (why: string): string =>
    `Shards would move, because data has grown unevenly, and they can't. All else is applied; the shards stay where they are.
${why}`;

/** @throws Error naming each tenant that is pinned to a node that should hold no shards */
export function refuseStranded({ stranded, nodes }: Pick<Assessment, "stranded" | "nodes">): void {
    if (stranded.length > 0)
        throw new Error(stranded.map(({ node, tenants }) => explainPinned(node, tenants, nodes)).join("\n\n"));
}

/** One line for the preview. */
export function describeAssessment(found: Assessment, bytesPerSecond: number | undefined): string {
    if (found.running) return "a rebalance is running; it will be followed to its end";
    const parts: string[] = [];
    if (found.moves.length > 0) {
        const bytes = found.moves.reduce((sum, m) => sum + m.bytes, 0);
        const time =
            bytesPerSecond && bytes > 0
                ? `; about ${Math.max(1, Math.round(bytes / bytesPerSecond))} s at ${describeBytes(bytesPerSecond)}/s`
                : "";
        parts.push(
            `moves ${found.moves.length} shard group${found.moves.length === 1 ? "" : "s"}, ${describeBytes(bytes)}: ${summarizeMoves(found.moves, found.name)}${time}`,
        );
    } else {
        parts.push("no shard has to move");
    }
    if (found.waits.length > 0) parts.push(describeWaits(found.waits, bytesPerSecond));
    if (found.leaving.length > 0) parts.push(`${found.leaving.map(label).join(", ")} will be emptied and removed`);
    if (found.bound.length > 0)
        parts.push(`the superuser is exempted from clients' timeouts on ${found.bound.join(", ")}`);
    return parts.join("; ");
}

/** Which writes will wait, and how long. */
function describeWaits(waits: readonly PlannedMove[], bytesPerSecond: number | undefined): string {
    const sizes = waits.map(({ bytes }) => bytes);
    const most = Math.max(...sizes);
    const lasting = bytesPerSecond
        ? `, up to about ${Math.max(1, Math.ceil(most / bytesPerSecond))} s each`
        : "; how long is not known before a first rebalance was measured";
    const tables = [...new Set(waits.flatMap((move) => move.tables))].sort();
    return (
        `writes to ${waits.length} of these shard group${waits.length === 1 ? "" : "s"} wait while each is copied ` +
        `(${describeBytes(sizes.reduce((sum, bytes) => sum + bytes, 0))}, the largest ${describeBytes(most)}${lasting}): ${joinNames(tables)}`
    );
}
