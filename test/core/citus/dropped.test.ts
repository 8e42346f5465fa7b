import { equal, rejects } from "node:assert/strict";
import { describe, it } from "vitest";
import { whileTablesAreDropped } from "../../../core/citus/dropped.ts";
import { DatabaseError } from "../../../core/reach/session.ts";
import { quickly } from "../../clock.ts";

const failure = (message: string) => new DatabaseError("coordinator", "SELECT", { message, code: "XX000" });

describe("a question to Citus while a client drops tables", () => {
    const asked = (...failures: string[]) => {
        let n = 0;
        const ask = async () => {
            const message = failures[n++];
            if (message !== undefined) throw failure(message);
            return n;
        };
        return { ask, times: () => n };
    };
    const gone = "relation with OID 17466 does not exist";

    it("is asked again", async () => {
        const { ask } = asked(gone, gone);
        equal(await quickly(() => whileTablesAreDropped(ask)), 3);
    });

    it("is not asked again for another error, nor for ever", async () => {
        const other = asked("division by zero");
        await rejects(whileTablesAreDropped(other.ask), /division by zero/);
        equal(other.times(), 1);
        const forever = asked(...Array.from({ length: 20 }, () => gone));
        await rejects(
            quickly(() => whileTablesAreDropped(forever.ask)),
            /does not exist/,
        );
        equal(forever.times(), 5);
    });
});
