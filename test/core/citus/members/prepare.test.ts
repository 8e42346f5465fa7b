/** What a new node is given before Citus sends it the rest. */
import assert from "node:assert/strict";
import { describe, test } from "vitest";
import { differingExtensions, grantOrder, type Membership } from "../../../../core/citus/members/prepare.ts";

const grant = (role: string, member: string, grantor: string, admin = false): Membership => ({
    ...{ role, member, grantor, admin, bySuperuser: grantor === "postgres", inherit: true, set: true },
});

describe("grantOrder", () => {
    test("a grantor gets the admin option before it grants, over several steps", () => {
        const [c, b, a] = [grant("r", "c", "b"), grant("r", "b", "a", true), grant("r", "a", "postgres", true)];
        assert.deepEqual(grantOrder([c, b, a]), { order: [a, b, c], left: [] });
    });

    test("the admin option on another role does not count", () => {
        const other = grant("q", "a", "postgres", true);
        const wrong = grant("r", "b", "a");
        assert.deepEqual(grantOrder([wrong, other]), { order: [other], left: [wrong] });
    });

    test("a membership without the admin option makes no grantor", () => {
        const [member, wrong] = [grant("r", "a", "postgres"), grant("r", "b", "a")];
        assert.deepEqual(grantOrder([wrong, member]).left, [wrong]);
    });
});

describe("differingExtensions", () => {
    const extension = (name: string, schema: string, version: string) => ({ name, schema, version, owner: "postgres" });
    const here = extension("pg_stat_statements", "public", "1.11");

    test("the same schema and version is no difference", () => {
        assert.deepEqual(differingExtensions([here], [{ ...here, owner: "app" }]), []);
    });

    for (const there of [
        extension("pg_stat_statements", "monitoring", "1.11"),
        extension("pg_stat_statements", "public", "1.10"),
    ]) {
        test(`${there.schema} ${there.version} is made as the coordinator has it`, () => {
            assert.deepEqual(differingExtensions([here], [there]), [{ name: here.name, make: there }]);
        });
    }

    test("one that the coordinator has not is dropped, one that only it has is left to Citus", () => {
        assert.deepEqual(differingExtensions([here], [extension("citext", "public", "1.6")]), [
            { name: here.name, make: undefined },
        ]);
    });
});
