/** Groups that differ in names alone ask one text, which a connection plans once. */
import assert from "node:assert/strict";
import { describe, test } from "vitest";
import { liftGiven } from "../../../core/sql/given.ts";
import { FACETS } from "../../../core/tenants/facets.ts";
import type { GroupSpec, Model } from "../../../core/tenants/group/spec.ts";

function group(model: Model, name: string): GroupSpec {
    const rows = model === "rls" || model === "row";
    return {
        name,
        model,
        rowSecurity: true,
        onboarding: false,
        anchor: rows ? `firms_${name}` : undefined,
        tables: rows
            ? {
                  [`firms_${name}`]: { kind: "distributed", column: `id_${name}` },
                  [`codes_${name}`]: { kind: "reference" },
              }
            : {},
        template: [],
        tenants: { a: {} },
        delete: [],
        ignored: [],
        lockTimeout: 5000,
        rollout: {},
        role: {},
        signIn: rows ? { table: `firms_${name}`, column: `mail_${name}` } : undefined,
    } as unknown as GroupSpec;
}

describe("the text of a look", () => {
    test.each(["rls", "row", "schema", "database", "routed"] as const)("model %s", (model) => {
        const textsOf = (name: string) => {
            const spec = group(model, name);
            const ask = () => "(SELECT 1 AS nodeid, true AS success, '{}' AS result)";
            const probe = { ledger: true, approvals: true, onboarding: true, tables: Object.keys(spec.tables), ask };
            return FACETS[model].map((facet) => [facet.name, liftGiven(facet.sql(spec, probe) ?? "", 0).sql]);
        };
        assert.deepEqual(textsOf("first"), textsOf("second_one"));
        assert.ok(!JSON.stringify(textsOf("first")).includes("first_"));
    });
});
