/** Transitions of a tenant's state: from which states, and what is said where there is none of them. */
import assert from "node:assert/strict";
import { describe, test } from "vitest";
import type { Session } from "../../../../core/reach/session.ts";
import * as ledger from "../../../../core/tenants/ledger/tenants.ts";

const key = { group: "eu", tenant: "o'hara" };

/** A coordinator that finds so many rows for whatever it is asked. */
function answering(rows: readonly object[]) {
    const asked: string[] = [];
    const query = async (sql: string) => {
        asked.push(sql);
        return [...rows];
    };
    return { session: { query } as unknown as Session, asked };
}

/** Each transition that a wrong state must stop, with the states that it takes. */
const STOPPED: readonly (readonly [string, (session: Session) => Promise<unknown>, RegExp])[] = [
    ["freezeForChange", (session) => ledger.freezeForChange(session, key, "row"), /IN \('active', 'frozen'\)/],
    ["supersede", (session) => ledger.supersede(session, key, {}), /state = 'frozen' RETURNING/],
    [
        "takeOver",
        (session) => ledger.takeOver(session, key, "schema"),
        /IN \('creating', 'active', 'frozen', 'superseded'\)/,
    ],
    ["noteDeleting", (session) => ledger.noteDeleting(session, key, {}), /state = 'deleting' RETURNING/],
    ["placeDatabase", (session) => ledger.placeDatabase(session, key, "worker-1", undefined), /WHERE grp = \$1/],
    [
        "beginDatabases",
        (session) => ledger.beginDatabases(session, "eu", [{ tenant: "o'hara", node: "worker-1" }]),
        /tenant\.state = 'creating' RETURNING/,
    ],
];

describe("transitions", () => {
    test.each(STOPPED)("%s fails where its row is in another state", async (_name, run, where) => {
        const none = answering([]);
        await assert.rejects(run(none.session), /^Error: eu\/o'hara: the ledger .* can't be .*Its row is as it was/s);
        assert.match(none.asked.join(), where);
        await run(answering([{ tenant: "o'hara", epoch: 1 }]).session);
    });

    test("in a batch they fail with the batch", () => {
        for (const sql of [
            ledger.activate(key, "schema"),
            ledger.enterRows("eu", "row", [["o'hara", "frozen"]]),
            ledger.setServed(key, "frozen"),
            ledger.restored(key, "schema", "NULL", {}),
            ledger.bury(key, "row", undefined),
        ])
            assert.match(sql, /DO '.*RAISE EXCEPTION ''the ledger has another state: %''/s);
    });

    test("a tenant that is deleted by now is not unfrozen", async () => {
        const { session, asked } = answering([]);
        await ledger.unfreeze(session, key, null);
        await ledger.unfreeze(session, key, "active");
        for (const sql of asked) assert.match(sql, /AND state = 'frozen'$/);
    });
});
