/** Rules that need more than one key. */

import { HIGHEST_INDEX, nodeHost, POOL_OFFSET, workerIndex, workerIndexes } from "../../core/node/topology.ts";
import { record } from "../../core/util/fields.ts";
import type { Mistake } from "../../core/util/mistakes.ts";
import { shown } from "../../core/util/shown.ts";
import { MAX_WORKERS } from "./args.ts";
import type { Key } from "./keys.ts";

/** They look at what was given, so that other mistakes do not hide theirs. */
export function crossChecks(raw: Record<Key, unknown>, stack: string): Mistake[] {
    const mistakes: Mistake[] = [];
    const workers = Number.isInteger(raw.workers) ? Math.max(0, Math.min(MAX_WORKERS, raw.workers as number)) : 0;
    const retired = (Array.isArray(raw.retire) ? raw.retire : []).flatMap((name) =>
        typeof name === "string" ? (workerIndex(name) ?? []) : [],
    );
    const highest = workerIndexes(workers, retired).at(-1) ?? 0;
    if (highest > HIGHEST_INDEX) {
        mistakes.push({
            path: "retire",
            message: `makes worker-${highest} the next worker, and ${HIGHEST_INDEX} is the highest number - take out of the list the names that may be used again`,
        });
    }
    if (typeof raw.name === "string") {
        const longest = nodeHost(`worker-${HIGHEST_INDEX}`, raw.name);
        if (longest.length > 64) {
            mistakes.push({
                path: "name",
                message: `makes ${longest}, longer than the 64 characters a certificate allows - choose a shorter name`,
            });
        }
    }
    if (Number.isInteger(raw.port) && (raw.port as number) + POOL_OFFSET + highest > 65_535) {
        mistakes.push({
            path: "port",
            message: `must leave room for the pool of worker-${highest} (${POOL_OFFSET} above its own port) below 65536, got ${raw.port} - at most ${65_535 - POOL_OFFSET - highest}`,
        });
    }
    mistakes.push(...restoreChecks(raw, stack));
    const rebalance = record(raw.rebalance);
    if (
        rebalance.strategy === "by_shard_count" &&
        rebalance.threshold !== undefined &&
        Number(rebalance.threshold) !== 0
    ) {
        mistakes.push({
            path: "rebalance.threshold",
            message: `only works with the strategy by_disk_size, got ${shown(rebalance.threshold)} - by_shard_count always levels to one shard group`,
        });
    }
    for (const [part, given] of Object.entries(record(raw.settings))) {
        const settings = Object.fromEntries(
            Object.entries(record(given)).map(([name, value]) => [name.toLowerCase(), value]),
        );
        const least = Math.max(40, 30 + workers);
        if (settings.max_connections !== undefined && !(Number(settings.max_connections) >= least)) {
            mistakes.push({
                path: `settings.${part}.max_connections`,
                message: `must be at least ${least}, got ${shown(settings.max_connections)} - ${workers} workers, shard moves and health checks need that many`,
            });
        }
        if (settings.max_prepared_transactions !== undefined && !(Number(settings.max_prepared_transactions) > 0)) {
            mistakes.push({
                path: `settings.${part}.max_prepared_transactions`,
                message: `must be more than 0, got ${shown(settings.max_prepared_transactions)} - Citus commits across nodes in two phases`,
            });
        }
    }
    return mistakes;
}

function restoreChecks(raw: Record<Key, unknown>, stack: string): Mistake[] {
    const mistakes: Mistake[] = [];
    const from = record(raw.restoreFrom);
    const wrong = (path: string, message: string) => mistakes.push({ path: `restoreFrom.${path}`, message });
    if (from.stack !== undefined && from.repository !== undefined)
        wrong(
            "repository",
            `names a ${raw.platform === "aws" ? "bucket" : "volume"}, and restoreFrom.stack names a stack (${shown(from.stack)}) - keep one`,
        );
    if (from.onlyWorker !== undefined) {
        if (from.acceptSplitTransactions !== true)
            wrong(
                "onlyWorker",
                `rebuilds ${shown(from.onlyWorker)} alone to the end of its archive: what it committed after its last archived segment is lost, and transactions that ` +
                    "touched other nodes are split there without an error - take it away to restore the whole cluster to its last point, or set restoreFrom.acceptSplitTransactions to true",
            );
        if (from.stack !== undefined || from.repository !== undefined)
            wrong("onlyWorker", "only works in place - take restoreFrom.stack and restoreFrom.repository away");
        if (from.point !== undefined && String(from.point).trim() !== "latest")
            wrong(
                "onlyWorker",
                `goes to the end of its archive, got the point ${shown(from.point)} as well - keep one`,
            );
    } else if (from.acceptSplitTransactions === true) {
        wrong("acceptSplitTransactions", "only means something with restoreFrom.onlyWorker - take it away");
    }
    if (from.stack === stack)
        wrong("stack", `names this stack itself, got ${shown(stack)} - take it away to restore in place`);
    return mistakes;
}
