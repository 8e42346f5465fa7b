/** Whether a node whose machine was replaced takes part in the cluster again. */
import assert from "node:assert/strict";
import { test } from "vitest";
import type { NodeRow } from "../../../../core/citus/catalog.ts";
import { whyApart } from "../../../../core/citus/members/membership.ts";
import type { Session } from "../../../../core/reach/session.ts";

const WORKER: NodeRow = {
    nodeId: 2,
    groupId: 1,
    host: "worker-1.x.node",
    port: 5432,
    active: true,
    synced: true,
    holdsShards: true,
};

function coordinator(row: NodeRow | undefined, reached: { success: boolean; result: string } | undefined): Session {
    const query = async (sql: string) =>
        sql.includes("master_run_on_worker")
            ? reached === undefined
                ? []
                : [reached]
            : row === undefined
              ? []
              : [row];
    return { node: "coordinator", query } as unknown as Session;
}

const YES = { success: true, result: "Citus 14.0.1" };
const NO = { success: false, result: "connection refused" };

for (const [what, row, reached, expected] of [
    ["one that is well", WORKER, YES, undefined],
    ["one that is not registered yet", undefined, undefined, undefined],
    ["the coordinator, which answered", { ...WORKER, groupId: 0, synced: false }, undefined, undefined],
    [
        "one that the coordinator does not reach",
        WORKER,
        NO,
        { why: "the coordinator does not reach it: connection refused", activate: false },
    ],
    [
        "one without an answer",
        WORKER,
        undefined,
        { why: "the coordinator does not reach it: no answer", activate: false },
    ],
    [
        "one that was switched off",
        { ...WORKER, active: false },
        undefined,
        { why: "it is not active in pg_dist_node", activate: true },
    ],
    [
        "one with old metadata",
        { ...WORKER, synced: false },
        YES,
        { why: "its metadata is not in sync", activate: true },
    ],
    [
        "one with old metadata that is not reached",
        { ...WORKER, synced: false },
        NO,
        { why: "the coordinator does not reach it: connection refused", activate: false },
    ],
] as const)
    test(what, async () => assert.deepEqual(await whyApart(coordinator(row, reached), WORKER.host), expected));
