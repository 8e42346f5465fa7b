/** The plan of roles. */
import { deepEqual, equal, match, rejects } from "node:assert/strict";
import { describe, it } from "vitest";
import type { Session } from "../../../../core/reach/session.ts";
import type { Context } from "../../../../core/tenants/group/facet.ts";
import { ensureGroupRoles } from "../../../../core/tenants/roles/groupRoles.ts";
import { type FoundRoles, roles } from "../../../../core/tenants/roles/roles.ts";
import { group, texts } from "../planned.ts";

describe("plan of roles", () => {
    const role = {
        login: true,
        connections: -1,
        settings: { search_path: "acme, public" },
        member: true,
        becomes: false,
        elevated: false,
        comment: "citus_as_code clinics m1 abcdef01",
        secret: "abcdef01",
    };
    const tenants = {
        ...role,
        login: false,
        settings: {},
        member: false,
        comment: "citus_as_code clinics ",
        secret: null,
    };
    const found = (more: Partial<FoundRoles> = {}): FoundRoles => ({
        mark: "m1",
        differing: {},
        ...more,
        roles: { clinics_tenants: tenants, clinics_acme: role, ...more.roles },
    });
    const one = (limits = {}) => group({ tenants: { acme: { role: true, limits } } });

    it("is empty when everything is as it should be", () => {
        deepEqual(roles.plan(one(), found(), {}), { steps: [], refusals: [] });
    });

    it("says what differs", () => {
        const changed = { ...role, connections: 5, settings: { statement_timeout: "1s", search_path: "acme, public" } };
        deepEqual(texts(roles.plan(one({ connections: 9 }), found({ roles: { clinics_acme: changed } }), {})), [
            "acme: mend role clinics_acme (connections 5 → 9, statement_timeout 1s → none)",
        ]);
        deepEqual(texts(roles.plan(one(), found({ mark: "m2" }), {})), ["acme: mend role clinics_acme (password)"]);
        deepEqual(
            texts(
                roles.plan(
                    one(),
                    found({ roles: { clinics_acme: { ...role, secret: "00000000", elevated: true } } }),
                    {},
                ),
            ),
            ["acme: mend role clinics_acme (rights that bypass policies taken away, password)"],
        );
        deepEqual(texts(roles.plan(one(), found({ differing: { "w1.node": ["clinics_acme"] } }), {})), [
            "acme: mend role clinics_acme (not the same on w1.node)",
        ]);
        deepEqual(texts(roles.plan(one(), { mark: "m1", roles: {}, differing: {} }, {})), [
            "group clinics: make role clinics_tenants",
            "acme: make role clinics_acme",
        ]);
    });

    it("has the application's role where there are rows", () => {
        deepEqual(
            texts(
                roles.plan(group({ model: "row", tenants: { "1": {} } }), { mark: "m1", roles: {}, differing: {} }, {}),
            ),
            ["group clinics: make role clinics_tenants", "group clinics: make role clinics_app"],
        );
    });

    it("refuses a role of somebody else, another group's among them", () => {
        for (const comment of [null, "mine", "citus_as_code clinics_x m1 abcdef01"]) {
            const { steps, refusals } = roles.plan(one(), found({ roles: { clinics_acme: { ...role, comment } } }), {});
            equal(steps.length, 0);
            match(refusals?.join() ?? "", /there is a role clinics_acme that this group did not make/);
        }
        const { refusals } = roles.plan(
            one(),
            found({
                roles: { clinics_tenants: { ...role, comment: "citus_as_code a m1 abcdef01" }, clinics_acme: role },
            }),
            {},
        );
        match(refusals?.join() ?? "", /there is a role clinics_tenants that this group did not make/);
    });

    it("refuses a role of the group's name without its comment, and says how to claim it", () => {
        const { steps, refusals } = roles.plan(
            one(),
            found({ roles: { clinics_tenants: { ...tenants, comment: null } } }),
            {},
        );
        deepEqual(steps, []);
        match(
            refusals?.join() ?? "",
            /^group clinics: there is a role clinics_tenants that.*RENAME TO …\), or give the group another name\. .*COMMENT ON ROLE "clinics_tenants" IS 'citus_as_code clinics ';/s,
        );
    });

    it("keeps a tenant's role from becoming that of all tenants", () => {
        deepEqual(texts(roles.plan(one(), found({ roles: { clinics_acme: { ...role, becomes: true } } }), {})), [
            "acme: mend role clinics_acme (no SET ROLE clinics_tenants)",
        ]);
    });

    it("shuts what a tenant of the program had and wants no more, and nothing of tenants that left", () => {
        const without = group({ tenants: { acme: {} } });
        const text = "acme: role clinics_acme may not log in any more (NOLOGIN, membership revoked, password removed)";
        deepEqual(texts(roles.plan(without, found(), {})), [text]);
        deepEqual(roles.plan(group({ tenants: {} }), found(), {}).steps, []);
        const shut = { ...role, login: false, member: false, secret: null };
        const planned = (more: object, differing = {}) =>
            texts(roles.plan(without, found({ roles: { clinics_acme: { ...shut, ...more } }, differing }), {}));
        deepEqual(planned({}), []);
        for (const left of [{ login: true }, { member: true }, { becomes: true }, { secret: "abcdef01" }])
            deepEqual(planned(left), [text]);
        deepEqual(planned({}, { "w1.node": ["clinics_acme"] }), [text]);
        deepEqual(planned({ login: true, comment: null }), [], "somebody else's is left alone");
        deepEqual(texts(roles.plan(one(), found({ roles: { clinics_acme: shut } }), {})), [
            "acme: mend role clinics_acme (login, member of clinics_tenants, password)",
        ]);
    });

    it("does not take the group's own role for that of a tenant named so", () => {
        const app = { ...role, settings: { "citus.propagate_set_commands": "local" }, member: false };
        const rows = group({ model: "row", tenants: { app: {}, tenants: {} } });
        deepEqual(roles.plan(rows, found({ roles: { clinics_app: app } }), {}).steps, []);
    });

    it("ends sessions once nobody can log in, and revokes the membership last", async () => {
        const asked: string[] = [];
        const session = {
            query: async (sql: string) => {
                asked.push(sql);
                return [];
            },
        };
        const context = { session, group: one(), alive: () => undefined } as unknown as Context;
        await roles.run.shut?.(context, [{ kind: "roles.shut", tenant: "acme", text: "", detail: "clinics_acme" }]);
        deepEqual(
            asked.map((sql) => /NOLOGIN PASSWORD NULL|pg_terminate_backend|REVOKE "clinics_tenants"/.exec(sql)?.[0]),
            ["NOLOGIN PASSWORD NULL", "pg_terminate_backend", 'REVOKE "clinics_tenants"'],
        );
    });

    it("makes the group's role with its comment in one transaction, and takes nobody's", async () => {
        const asked: string[] = [];
        const session = (there: readonly object[]) =>
            ({
                query: async (sql: string) => {
                    asked.push(sql);
                    return asked.length === 1 ? there : [];
                },
            }) as unknown as Session;
        await ensureGroupRoles(session([]), one());
        equal(asked.length, 2);
        match(
            asked[1] ?? "",
            /^BEGIN;\nCREATE ROLE "clinics_tenants" NOLOGIN;\nCOMMENT ON ROLE "clinics_tenants" IS 'citus_as_code clinics ';\n;COMMIT$/,
        );
        asked.length = 0;
        await rejects(
            ensureGroupRoles(session([{ name: "clinics_tenants", comment: null }]), one()),
            /there is a role clinics_tenants that this group did not make/,
        );
        equal(asked.length, 1);
    });
});
