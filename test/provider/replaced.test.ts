/** What a hook says when the engine asks it what a replaced container means for it: nothing of the container is known then. */
import assert from "node:assert/strict";
import { test } from "vitest";
import * as placement from "../../provider/placement.ts";
import * as tenantGroup from "../../provider/tenantGroup.ts";

const UNKNOWN = "04da6b54-80e4-46f7-96ec-b56ff0331ba9";
type Loose = (id: string, olds: object, news: object) => Promise<{ changes: boolean }>;

test("shards in their place", async () => {
    const diff = placement.diff as unknown as Loose;
    const given = { cluster: "citus-dev", coordinator: { host: "127.0.0.1", port: 1 }, workers: UNKNOWN };
    assert.deepEqual(await diff("x", { ...given, workers: [] }, given), { changes: true });
});

test("a group of tenants", async () => {
    const diff = tenantGroup.diff as unknown as Loose;
    const given = {
        cluster: "citus-dev",
        group: { name: "g", model: "schema", tenants: {} },
        seed: "s",
        nodes: UNKNOWN,
    };
    assert.deepEqual(await diff("x", { ...given, nodes: [] }, given), { changes: true });
    const check = tenantGroup.check as unknown as (olds: undefined, news: object) => Promise<{ inputs: object }>;
    assert.deepEqual(await check(undefined, given), { inputs: given });
});
