/** The rebalance strategy that a configuration asks for. */

import type { Session } from "../../reach/session.ts";
import { honourPins } from "./pins.ts";
import type { Wanted } from "./wanted.ts";

/** The strategy's name in pg_dist_rebalance_strategy: our own copy where a threshold is set. */
export function strategyName(wanted: Pick<Wanted, "strategy" | "threshold">): string {
    return wanted.threshold === undefined || wanted.strategy !== "by_disk_size"
        ? wanted.strategy
        : "by_disk_size_configured";
}

/** Makes the wanted strategy, or its copy that honours pins, the default: Citus' own functions agree with the configuration. */
export async function setStrategy(session: Session, wanted: Wanted): Promise<string> {
    const name = strategyName(wanted);
    const [row] = await session.query<{ name: string; threshold: number; isDefault: boolean }>(
        `SELECT name, default_threshold AS threshold, default_strategy AS "isDefault" FROM pg_dist_rebalance_strategy WHERE name = $1`,
        [name],
    );
    if (name !== wanted.strategy && row?.threshold !== wanted.threshold) {
        if (row)
            await session.query("DELETE FROM pg_dist_rebalance_strategy WHERE name = $1 AND NOT default_strategy", [
                name,
            ]);
        if (row?.isDefault) {
            await session.query(
                "UPDATE pg_dist_rebalance_strategy SET default_threshold = $2, minimum_threshold = least(minimum_threshold, $2) WHERE name = $1",
                [name, wanted.threshold],
            );
        } else {
            await session.query(
                `SELECT citus_add_rebalance_strategy($1, shard_cost_function, node_capacity_function, shard_allowed_on_node_function,
                        $2, least(minimum_threshold, $2), improvement_threshold)
                   FROM pg_dist_rebalance_strategy WHERE name = 'by_disk_size'`,
                [name, wanted.threshold],
            );
        }
    }
    return honourPins(session, name);
}
