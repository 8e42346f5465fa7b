/** What scripts make of a state. */
import assert from "node:assert/strict";
import { test } from "vitest";
import { refuseOldState } from "../../../scripts/lib/resources.ts";

const of = (type: string) => ({ urn: `urn:pulumi:dev::citus::${type}::x`, type });

test("a state of before there was a provider of our own is refused, and says the way on", () => {
    const old = [of("citus:index:Cluster"), of("pulumi-nodejs:dynamic/citus:Member")];
    assert.throws(() => refuseOldState(old), {
        message:
            "This stack was made by a version before this one: 1 of its resources, such as pulumi-nodejs:dynamic/citus:Member, are of a kind that there is no more.\n" +
            "Nothing was changed, and the cluster runs on as it is. To go on with it, use the version that made it.\n" +
            "To have it made by this version: with the version that made it write its data out (npm run dump) and take it down (npm run down), then npm start with this one.",
    });
});

test("a state of today, an empty one, and dynamic resources of another program are not", () => {
    refuseOldState([]);
    refuseOldState([of("citus-clusters:index:Member"), of("pulumi-nodejs:dynamic:Resource")]);
});
