/** What is planned for changes of model, and what a run says that meets a refusal on its way. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { Session } from "../../components/citus/session.ts";
import { change } from "../../components/citus/tenants/change.ts";
import { converge } from "../../components/citus/tenants/converge.ts";
import type { Model } from "../../components/tenants/args.ts";
import { type ChangeFound, NOTHING_FOUND, planChange } from "../../components/tenants/changePlan.ts";
import type { Context, Facet } from "../../components/tenants/facet.ts";
import { FACETS } from "../../components/tenants/models.ts";
import { pairUp, type Slice } from "../../components/tenants/shape.ts";
import type { GroupSpec } from "../../components/tenants/spec.ts";
import { EMPTY } from "../tenants.ts";

const group = (model: Model, more: Partial<GroupSpec> = {}): GroupSpec => ({ ...EMPTY, name: "g", model, ...more });

const found = (more: Partial<ChangeFound>): ChangeFound => ({ ...NOTHING_FOUND, ...more });

describe("a group whose model was edited", () => {
    const models = ["rls", "row", "schema", "database"] as const;
    for (const before of [...models, "routed"] as const)
        for (const after of models) {
            if (before === after) continue;
            test(`${before} to ${after}`, () => {
                assert.ok(FACETS[after].includes(change));
                const { steps, refusals } = planChange(group(after), found({ models: { [before]: 2 } }));
                if (before === "rls" && after === "row") {
                    assert.deepEqual([steps.map(({ kind }) => kind), refusals], [["change.model"], []]);
                    return;
                }
                assert.deepEqual(steps, []);
                assert.match(
                    refusals.join(),
                    new RegExp(`g: 2 tenants of it are in model ${before}, .* says ${after}`),
                );
                assert.match(refusals.join(), new RegExp(`its model ${before} back, and .*\\bnew group\\b.*\`from\``));
            });
        }
});

describe("a change that was begun and not ended", () => {
    const half = { other: "billing/17", phase: "copy" } as const;

    test("is undone where the program does not want it any more", () => {
        const { steps, refusals } = planChange(group("schema"), found({ unwanted: { acme: half } }));
        assert.deepEqual(
            steps.map(({ kind, tenant }) => [kind, tenant]),
            [["change.undo", "acme"]],
        );
        assert.match(steps[0]?.text ?? "", /billing\/17 takes writes again, and what was copied is left in g\/acme/);
        assert.deepEqual(refusals, []);
    });

    test("is told where it came from", () => {
        const { steps, notes } = planChange(
            group("row"),
            found({ leaving: { 17: { other: "clinics/acme", phase: "fence" } } }),
        );
        assert.deepEqual(steps, []);
        assert.match(notes.join(), /17: its change to clinics\/acme was begun .* pulumi up with group clinics ends it/);
    });
});

describe("columns that are made from others", () => {
    const table = (schema: string, generated: readonly string[]): Slice => ({
        name: "t",
        table: {
            schema,
            name: "t",
            columns: ["id", "a", "total"].map((name) => ({ name, type: "int", generated: generated.includes(name) })),
            references: [],
        },
    });
    const paired = (before: readonly string[], after: readonly string[]) => {
        const { pairs, refusals } = pairUp([table("x", before)], [table("y", after)]);
        assert.deepEqual(refusals, []);
        return [pairs[0]?.columns, pairs[0]?.compared];
    };

    test("are made anew where both are", () => {
        assert.deepEqual(paired(["total"], ["total"]), [
            ["id", "a"],
            ["id", "a"],
        ]);
    });

    test("are copied where they are plain ones then", () => {
        assert.deepEqual(paired(["total"], []), [
            ["id", "a", "total"],
            ["id", "a", "total"],
        ]);
    });

    test("have to come out as the plain ones were", () => {
        assert.deepEqual(paired([], ["total"]), [
            ["id", "a"],
            ["id", "a", "total"],
        ]);
    });
});

test("a refusal in the middle of a run says that what was done stays, one at its beginning that nothing was", async () => {
    const did: string[] = [];
    const facet = (name: string, plan: Facet["plan"]): Facet => ({
        name,
        sql: () => undefined,
        none: {},
        plan,
        run: { do: async () => void did.push(name) },
    });
    const session = {
        query: async (sql: string) =>
            sql.includes("pg_try_advisory_lock") ? [{ ok: true }] : [{ ledger: true, tables: [] }],
    } as unknown as Session;
    const context = {
        group: group("row"),
        session,
        nodes: [],
        progress: () => undefined,
        alive: () => undefined,
    } as unknown as Context;
    const first = facet("first", () => ({ steps: did.length > 0 ? [] : [{ kind: "first.do", text: "does" }] }));
    const after = facet("after", () => ({ steps: [], refusals: did.length > 0 ? ["no"] : [] }));
    await assert.rejects(
        converge(context, [first, after], ""),
        /no\n1 step was done before that, and what was done stays/,
    );
    await assert.rejects(converge(context, [after], ""), /no\nNothing of the group was changed\.$/);
});
