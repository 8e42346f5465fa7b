/** What a kind says when the engine asks it what a replaced container means for it: nothing of the container is known then. */
import assert from "node:assert/strict";
import { test } from "vitest";
import { type PlacementInputs, PlacementKind, type PlacementState } from "../../provider/placement.ts";
import { type TenantGroupInputs, TenantGroupKind, type TenantGroupState } from "../../provider/tenantGroup.ts";
import { ask } from "./ask.ts";

const UNKNOWN = "04da6b54-80e4-46f7-96ec-b56ff0331ba9";

test("shards in their place", async () => {
    const given: unknown = { cluster: "citus-dev", coordinator: { host: "127.0.0.1", port: 1 }, workers: UNKNOWN };
    const olds = { ...(given as PlacementState), workers: [] };
    assert.deepEqual(await new PlacementKind().diff(ask(), "x", olds, given as PlacementInputs), { changes: true });
});

test("a group of tenants", async () => {
    const kind = new TenantGroupKind();
    const group = { name: "g", model: "schema", tenants: {} };
    const given = { cluster: "citus-dev", group, seed: "s", nodes: UNKNOWN } as unknown as TenantGroupInputs;
    const olds: TenantGroupState = { ...given, nodes: [] };
    assert.deepEqual(await kind.diff(ask(), "x", olds, given), { changes: true });
    assert.deepEqual(await kind.check(ask(), {}, given), { inputs: given });
});
