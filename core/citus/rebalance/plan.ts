/**
 * Which shard groups would move for a wanted set of nodes. Pure: what `pulumi preview` shows before Citus itself can
 * be asked, because the new nodes do not exist yet. Follows Citus' greedy planner closely enough to count.
 */
import type { ShardGroup } from "../catalog.ts";

export type Strategy = "by_disk_size" | "by_shard_count";

export interface PlannedMove {
    readonly shardId: string;
    readonly from: number;
    readonly to: number;
    readonly bytes: number;
    readonly tables: readonly string[];
}

/** Citus adds this to each shard group's size, so that empty ones spread too (by_disk_size_base_cost). */
const BASE_COST = 100 * 1024 * 1024;

export interface PlanOptions {
    readonly strategy: Strategy;
    /** Node groups that may hold shards. */
    readonly wanted: readonly number[];
    /** Only empty the others. */
    readonly drainOnly?: boolean;
    /** Node groups that shard groups are pinned to, by the groups' first shards; one that is not wanted binds nothing. */
    readonly pins?: ReadonlyMap<string, number>;
    /** @default 0.1 by disk size, 0 by shard count */
    readonly threshold?: number;
}

/** The moves, in the order in which a greedy planner finds them. */
export function planMoves(groups: readonly ShardGroup[], options: PlanOptions): PlannedMove[] {
    if (options.wanted.length === 0) return [];
    const moves: PlannedMove[] = [];
    for (const together of levelledTogether(groups, options.wanted.length))
        moves.push(...planColocated(together, options));
    return moves;
}

/**
 * Each colocation group is levelled by itself; those with fewer shard groups than there are nodes, such as tenants' schemas,
 * are levelled as one.
 */
function levelledTogether(groups: readonly ShardGroup[], nodes: number): ShardGroup[][] {
    const byColocation = new Map<number, ShardGroup[]>();
    for (const group of groups) {
        const found = byColocation.get(group.colocationId);
        if (found) found.push(group);
        else byColocation.set(group.colocationId, [group]);
    }
    const all = [...byColocation.values()];
    const few = all.filter((together) => together.length < nodes).flat();
    return [...all.filter((together) => together.length >= nodes), ...(few.length > 0 ? [few] : [])];
}

function planColocated(groups: readonly ShardGroup[], options: PlanOptions): PlannedMove[] {
    const cost = (g: ShardGroup) => (options.strategy === "by_shard_count" ? 1 : g.bytes + BASE_COST);
    const place = new Map(groups.map((g) => [g, g.groupId]));
    const load = new Map<number, number>(options.wanted.map((id) => [id, 0]));
    for (const g of groups) {
        if (load.has(g.groupId)) load.set(g.groupId, (load.get(g.groupId) ?? 0) + cost(g));
    }
    const lightest = () => [...load.entries()].sort((a, b) => a[1] - b[1] || a[0] - b[0])[0] as [number, number];
    const put = (g: ShardGroup, to: number) => {
        const from = place.get(g) as number;
        if (load.has(from)) load.set(from, (load.get(from) ?? 0) - cost(g));
        load.set(to, (load.get(to) ?? 0) + cost(g));
        place.set(g, to);
    };
    const pinOf = (g: ShardGroup) => {
        const pin = options.pins?.get(g.shardId);
        return pin !== undefined && load.has(pin) ? pin : undefined;
    };
    const bySize = [...groups].sort((a, b) => cost(b) - cost(a));
    for (const g of bySize) {
        const pin = pinOf(g);
        if (pin !== undefined && pin !== place.get(g)) put(g, pin);
    }
    for (const g of bySize) {
        if (!load.has(place.get(g) as number)) put(g, lightest()[0]);
    }
    if (!options.drainOnly) {
        const total = groups.reduce((sum, g) => sum + cost(g), 0);
        const average = total / options.wanted.length;
        const threshold = options.threshold ?? (options.strategy === "by_shard_count" ? 0 : 0.1);
        const high = average * (1 + threshold);
        const low = average * (1 - threshold);
        for (let step = 0; step < groups.length * 2; step++) {
            const [to, least] = lightest();
            const [from, most] = [...load.entries()].sort((a, b) => b[1] - a[1] || a[0] - b[0])[0] as [number, number];
            if (from === to || (most <= high && least >= low)) break;
            const candidate = bySize.find(
                (g) =>
                    place.get(g) === from && pinOf(g) === undefined && Math.max(most - cost(g), least + cost(g)) < most,
            );
            if (!candidate) break;
            put(candidate, to);
        }
    }
    return groups
        .filter((g) => place.get(g) !== g.groupId)
        .map((g) => ({
            shardId: g.shardId,
            from: g.groupId,
            to: place.get(g) as number,
            bytes: g.bytes,
            tables: g.tables,
        }));
}

/** `worker-1 -> worker-3 8, worker-2 -> worker-4 8`. */
export function summarizeMoves(moves: readonly PlannedMove[], name: (groupId: number) => string): string {
    const counts = new Map<string, number>();
    for (const move of moves) {
        const key = `${name(move.from)} → ${name(move.to)}`;
        counts.set(key, (counts.get(key) ?? 0) + 1);
    }
    return [...counts.entries()].map(([pair, n]) => `${pair} ${n}`).join(", ");
}
