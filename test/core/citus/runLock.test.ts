/** The lock of runs: waits for another run, and for nobody else. */
import assert from "node:assert/strict";
import { test } from "vitest";
import { takeRunLock } from "../../../core/citus/runLock.ts";
import type { Session } from "../../../core/reach/session.ts";

/** Connections on the lock, its holder first. */
function fake(queue: { role: string; superuser: boolean; gid?: string }[]) {
    const said: string[] = [];
    const query = async (sql: string) => {
        if (sql.includes("pg_try_advisory_lock")) return [{ ok: queue.length === 0 }];
        if (sql.includes("pg_terminate_backend")) {
            const strangers = queue.filter(({ superuser, gid }) => !superuser && gid === undefined);
            queue.splice(0, queue.length, ...queue.filter((one) => !strangers.includes(one)));
            return strangers;
        }
        if (sql.includes("pg_prepared_xacts"))
            return queue.flatMap(({ role, gid }) => (gid === undefined ? [] : [{ gid, owner: role }]));
        return queue.length > 0 ? [{ pid: 77, since: "10:00:00" }] : [];
    };
    const take = () =>
        takeRunLock({ query } as unknown as Session, "tenants", "is changing tenants", 0, {
            progress: () => undefined,
            alive: () => undefined,
            note: (text) => said.push(text),
        });
    return { take, said };
}

test("connections of other roles on it are ended, and told of once for each role", async () => {
    const { take, said } = fake([
        { role: "clinics_acme", superuser: false },
        { role: "clinics_acme", superuser: false },
    ]);
    await take();
    assert.deepEqual(said, [
        "role clinics_acme held advisory lock 20261126, which only this project's runs may hold; its connection was ended",
    ]);
});

test("another run is waited for, and then named", async () => {
    const { take, said } = fake([{ role: "postgres", superuser: true }]);
    await assert.rejects(
        take(),
        /another run is changing tenants \(connection 77, since 10:00:00 UTC\)\.\nNothing was changed\..*pg_terminate_backend\(77\)/,
    );
    assert.deepEqual(said, []);
});

test("a prepared transaction, which no connection ends, is named with what ends it", async () => {
    const { take } = fake([{ role: "clinics_acme", superuser: false, gid: "it's" }]);
    await assert.rejects(take(), /of role clinics_acme holds .*\n.*: ROLLBACK PREPARED 'it''s'; then repeat this\.$/);
});
