/** What preview says of files that make others wait: on what, and for how long. Pure. */

import { describeBytes } from "../../util/bytes.ts";
import { describeDuration } from "../../util/describeDuration.ts";
import { ownProperty } from "../../util/ownProperty.ts";
import type { Cost } from "../check/read/costs.ts";

/** How large a table is now. */
export interface Weight {
    /** On all nodes. */
    readonly bytes: number;
    /** PostgreSQL's estimate; null where there is none. */
    readonly rows: number | null;
    /** Of those that are worked on one after the other: on the fullest node, or of the largest tenant. */
    readonly largest: number;
    readonly shards: number;
}

/** Bytes a second that one node or tenant does, as a rule of thumb: disks and rows differ. */
const RATES = { rewrite: 30_000_000, index: 40_000_000, scan: 200_000_000 } as const;

const rows = (n: number) =>
    n >= 1e6 ? `${(n / 1e6).toFixed(1)} million rows` : n === 1 ? "1 row" : `${Math.round(n)} rows`;

const DOES = {
    rewrite: "writes every row anew",
    index: "builds an index",
    scan: "reads every row",
    gone: "can't be undone",
} as const;

/** @param table as a file writes it */
export const weightOf = (table: string, weights: Readonly<Record<string, Weight>>) =>
    ownProperty(weights, table.replace(/^public\./, "")) ?? ownProperty(weights, table);

/**
 * One line: the statement, how large its table is now, who waits how long.
 * @param weights by the table's name as files write it; without one its size is not known
 * @param tenants how many run the file; undefined where it runs once
 */
export function describeCost(
    path: string,
    { place, table, clause, does, waits }: Cost,
    weights: Readonly<Record<string, Weight>>,
    tenants?: number,
): string {
    const weight = weightOf(table, weights);
    const size =
        weight === undefined
            ? ""
            : ` (now ${describeBytes(weight.bytes)}${weight.rows === null ? "" : `, ${rows(weight.rows)}`}, ${weight.shards} shard${weight.shards === 1 ? "" : "s"})`;
    const begin = `${path}:${place.line ?? 1} ${clause} of ${table}${size} ${DOES[does]}`;
    if (does === "gone" || waits === undefined) return begin;
    const per = tenants === undefined ? "" : " of a tenant";
    const rate = RATES[does];
    const how =
        weight === undefined
            ? "as long as that lasts"
            : `${describeDuration(weight.largest, rate)} at ${rate / 1e6} MB a second${tenants === undefined ? "" : " for the largest tenant"}`;
    return `${begin}: ${waits}${per} wait, ${how}`;
}
