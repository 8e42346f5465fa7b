/** The plan of states. */
import { deepEqual, match } from "node:assert/strict";
import { describe, it } from "vitest";
import type { Session } from "../../../../core/reach/session.ts";
import type { Context } from "../../../../core/tenants/group/facet.ts";
import { state } from "../../../../core/tenants/state/state.ts";
import { group, texts } from "../planned.ts";

describe("plan of states", () => {
    it("freezes, gives back, mends and fences", () => {
        const frozen = group({
            tenants: { acme: { role: true, frozen: true }, globex: { role: true }, initech: { role: true } },
        });
        deepEqual(
            texts(
                state.plan(
                    frozen,
                    {
                        acme: { state: "active", access: "active" },
                        globex: { state: "frozen", access: "frozen" },
                        initech: { state: "active", access: "mixed" },
                        moved: { state: "superseded", access: "active" },
                        left: { state: "active", access: "mixed" },
                    },
                    {},
                ),
            ),
            [
                "acme: freeze: read and not write",
                "globex: write again",
                "initech: mend what its role may do (active)",
                "moved: fence: its data is in another group now",
            ],
        );
        deepEqual(
            state.plan(
                group(),
                { acme: { state: "active", access: "any" }, globex: { state: "active", access: null } },
                {},
            ).steps,
            [],
        );
    });
});

it("the rights of a tenant without a role are not set for the role of all", async () => {
    for (const tenant of ["tenants", "x".repeat(60)]) {
        const ran: string[] = [];
        const session = {
            query: async (sql: string) => {
                ran.push(sql);
                return /FROM pg_roles/.test(sql) ? [{ name: `clinics_${tenant}` }] : [];
            },
        } as unknown as Session;
        const context = { session, group: group(), alive: () => undefined } as unknown as Context;
        const detail = { access: "frozen" };
        await state.run.set?.(context, [{ kind: "state.set", tenant, text: "", detail }]);
        match(ran.join("\n"), /SET state = 'frozen'/);
        deepEqual(
            ran.filter((sql) => /GRANT|REVOKE|ALTER DEFAULT/.test(sql)),
            [],
        );
        deepEqual(state.plan(group(), { [tenant]: { state: "superseded", access: "active" } }, {}).steps, []);
    }
});
