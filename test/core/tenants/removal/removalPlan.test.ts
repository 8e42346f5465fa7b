/** The plan of removals. */
import { deepEqual, equal, match } from "node:assert/strict";
import { describe, it } from "vitest";
import { type DatabasesFound, identity, type LedgerRow } from "../../../../core/tenants/databases/databaseFound.ts";
import type { GroupSpec } from "../../../../core/tenants/group/spec.ts";
import { removalWith } from "../../../../core/tenants/removal/removal.ts";
import type { FoundRemoval } from "../../../../core/tenants/removal/removalPlan.ts";
import { referencingFirst } from "../../../../core/tenants/removal/removeRows.ts";
import { group, texts } from "../planned.ts";

describe("plan of removals", () => {
    // a machine that stays, also where these tests run on one that goes
    const removal = removalWith(
        async () => "",
        () => false,
    );
    const tenant = { state: null, movedTo: null, tombstone: false, taken: null, schema: false, distributed: false };
    const plan = (found: Partial<FoundRemoval>, more: Partial<GroupSpec> = {}) =>
        removal.plan(
            group({ tenants: {}, delete: ["acme"], ...more }),
            { tenants: { acme: tenant }, rows: {}, ...found },
            {},
        );

    it("deletes what is there, once", () => {
        equal(plan({ tenants: { acme: { ...tenant, state: "active" } } }).steps.length, 1);
        match(texts(plan({ tenants: { acme: { ...tenant, state: "deleting" } } }))[0] ?? "", /go on deleting/);
        match(
            texts(plan({ tenants: { acme: { ...tenant, state: "superseded", movedTo: "x/y" } } }))[0] ?? "",
            /old copy \(its data is in x\/y\)/,
        );
        deepEqual(plan({ tenants: { acme: { ...tenant, tombstone: true } } }), { steps: [], refusals: [], notes: [] });
        equal(plan({}).notes?.length, 1);
        equal(plan({ rows: { users: { acme: 2 } } }, { model: "row" }).steps.length, 1);
    });

    it("refuses what is on its way to another group, and who has the name of one that was deleted", () => {
        const taken = plan({ tenants: { acme: { ...tenant, state: "frozen", taken: "vaults/acme" } } });
        deepEqual([taken.steps, taken.refusals?.length], [[], 1]);
        match(taken.refusals?.[0] ?? "", /on its way to vaults\/acme/);
        const again = plan(
            { tenants: { acme: { ...tenant, tombstone: true } }, rows: { users: { acme: 2 } } },
            { model: "row" },
        );
        deepEqual([again.steps, again.refusals?.length], [[], 1]);
        match(again.refusals?.[0] ?? "", /was deleted, and there are rows of it again \(users\)/);
        const schema = plan({ tenants: { acme: { ...tenant, tombstone: true, schema: true } } });
        deepEqual([schema.steps, schema.refusals?.length], [[], 1]);
        match(schema.refusals?.[0] ?? "", /was deleted, and there is a schema of its name again/);
    });

    describe("of databases", () => {
        const database = (comment: string | null) => ({
            name: "acme",
            limit: -1,
            open: false,
            roles: null,
            comment,
            bytes: 1,
        });
        const own = identity("clinics", "acme", 7);
        const planOn = (
            nodes: Record<string, string | null>,
            found: Partial<FoundRemoval["tenants"][string]> = {},
            row?: Partial<LedgerRow>,
        ) => {
            const ledger = { tenant: "acme", state: "active", node: "worker-1", detail: { epoch: 7 } };
            const databases: DatabasesFound = {
                nodes: ["coordinator", "worker-1", "worker-2"].map((name) => ({
                    name,
                    databases: name in nodes ? [database(nodes[name] ?? null)] : [],
                })),
                ledger: found.state ? [{ ...ledger, state: found.state, ...row }] : [],
                others: {},
                own: "app",
                rate: null,
            };
            return removal.plan(
                group({ model: "database", tenants: {}, delete: ["acme"] }),
                { tenants: { acme: { ...tenant, ...found } }, rows: {} },
                { databases },
            );
        };
        const refusal = (...given: Parameters<typeof planOn>) => {
            const { steps, refusals = [] } = planOn(...given);
            deepEqual([steps, refusals.length], [[], 1]);
            return refusals[0] ?? "";
        };

        it("deletes the tenant's own, and one that was being made", () => {
            equal(planOn({ "worker-1": own }, { state: "active" }).steps.length, 1);
            equal(planOn({ "worker-1": null }, { state: "creating" }).steps.length, 1);
            equal(planOn({}, { state: "active" }).steps.length, 1);
            const move = { from: "worker-1", to: "worker-2", phase: "drop", limit: 5, fenced: 0 } as const;
            const moving = planOn({ "worker-2": own }, { state: "active" }, { detail: { epoch: 7, move } });
            deepEqual([moving.steps.length, moving.refusals], [1, []]);
        });

        it("says what is there again under a name that stayed, on whichever node", () => {
            match(
                refusal({ "worker-2": null, "worker-1": own }, { tombstone: true }),
                /^acme: was deleted, and there is a database of its name on worker-1, worker-2 again, which group clinics did not make\. It is not deleted\. Take acme out of tenants/,
            );
            match(
                refusal({ "worker-2": null }),
                /^acme: has the state deleted, and there is a database of its name on worker-2,/,
            );
            deepEqual(planOn({}, { tombstone: true }), { steps: [], refusals: [], notes: [] });
        });

        it("refuses one that is another's, and one that is not where it should be", () => {
            const another = identity("clinics", "acme", 8);
            match(
                refusal({ "worker-1": another }, { state: "active" }),
                /acme on worker-1 is not the one that was made for it: its comment is "citus_as_code: clinics\/acme, epoch 8"/,
            );
            match(refusal({ "worker-1": null }, { state: "active" }), /made for it: it has no comment/);
            match(
                refusal({ "worker-2": null }, { state: "deleting" }),
                /acme on worker-2 is not the one that was made/,
            );
            match(
                refusal({ "worker-2": own }, { state: "deleting" }),
                /its database should be on worker-1 and is on worker-2: it was moved by hand/,
            );
        });
    });

    it("refuses a schema that is nobody's", () => {
        match(
            plan({ tenants: { acme: { ...tenant, schema: true } } }).refusals?.[0] ?? "",
            /which group clinics did not make/,
        );
    });

    it("refuses a schema that Citus does not have as a tenant's", () => {
        const schema = { ...tenant, state: "active", schema: true };
        const refused = plan({ tenants: { acme: schema } });
        deepEqual([refused.steps, refused.refusals?.length], [[], 1]);
        match(
            refused.refusals?.[0] ?? "",
            /its schema is not distributed.* It is not deleted.*citus_schema_distribute/s,
        );
        equal(plan({ tenants: { acme: { ...schema, distributed: true } } }).steps.length, 1);
    });

    it("deletes rows of referencing tables first, and ends on a circle", () => {
        deepEqual(
            referencingFirst(
                ["companies", "users", "notes", "tags"],
                [
                    { from: "users", to: "companies" },
                    { from: "notes", to: "users" },
                    { from: "companies", to: "companies" },
                ],
            ),
            [["notes"], ["tags"], ["users"], ["companies"]],
        );
        deepEqual(
            referencingFirst(
                ["root", "a", "b", "leaf"],
                [
                    { from: "a", to: "b" },
                    { from: "b", to: "a" },
                    { from: "a", to: "root" },
                    { from: "leaf", to: "b" },
                ],
            ),
            [["leaf"], ["a", "b"], ["root"]],
        );
    });
});
