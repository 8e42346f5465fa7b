/** The order of files. */
import { deepEqual, equal } from "node:assert/strict";
import { describe, it } from "vitest";
import { lateFiles, nameAfter, runOrder } from "../../../../core/tenants/group/order.ts";

describe("order of files", () => {
    it("is that of the first tenant, then the template's", () => {
        deepEqual(runOrder(["1", "2", "3", "4"], { "1": 10, "3": 10, "2": 20 }), ["1", "3", "2", "4"]);
    });

    it("has no new file before one that was run", () => {
        deepEqual(lateFiles(["1", "2", "3", "4"], { "1": 10, "3": 10 }), [{ path: "2", after: "3" }]);
        deepEqual(lateFiles(["1", "2"], {}), []);
    });

    it("finds a name that sorts after all of them", () => {
        const name = (path: string, ...others: string[]) => nameAfter(path, others[0] ?? "", [path, ...others]);
        equal(name("m/010-bar.sql", "m/011.sql"), "m/012-bar.sql");
        equal(name("m/099.sql", "m/099-b.sql"), "m/100.sql");
        equal(name("a.sql", "m/V2__x.sql"), "m/V3-a.sql");
        equal(name("m/010.sql", "m/011.sql", "m/020.sql", "n/030.sql"), "m/021.sql");
        equal(name("a.sql", "b.sql"), undefined);
    });
});
