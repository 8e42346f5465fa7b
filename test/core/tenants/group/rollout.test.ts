/** Waves of a rollout. */
import { deepEqual, equal } from "node:assert/strict";
import fc from "fast-check";
import { describe, it } from "vitest";
import {
    filesForNew,
    type RolloutSpec,
    rollout,
    type UnderWay,
    WAVES,
    wavesOf,
} from "../../../../core/tenants/group/rollout.ts";

describe("waves of a rollout", () => {
    it("have each tenant once, in the same wave whatever was run already", () => {
        fc.assert(
            fc.property(
                fc.uniqueArray(fc.string({ minLength: 1 }), { maxLength: 60 }),
                fc.nat(5),
                fc.double({ min: 0, max: 1, noNaN: true }),
                fc.func(fc.boolean()),
                (tenants, canary, part, has) => {
                    const waves = wavesOf(tenants, { canary, part });
                    equal(waves.size, tenants.length);
                    const left = tenants.filter((tenant) => !has(tenant));
                    const pending = Object.fromEntries(left.map((tenant) => [tenant, ["a.sql"]]));
                    const { turns: planned } = rollout(tenants, ["a.sql"], { canary, part }, { pending });
                    deepEqual(planned.map(({ tenant }) => tenant).sort(), [...left].sort());
                    const order = planned.map(({ wave }) => WAVES.indexOf(wave));
                    deepEqual(order, [...order].sort());
                    for (const { tenant, wave } of planned) equal(wave, waves.get(tenant));
                },
            ),
        );
    });

    it("are canary, a part of the others, and the rest", () => {
        const waves = [
            ...wavesOf(
                Array.from({ length: 21 }, (_, i) => `t${i}`),
                { canary: 1, part: 0.1 },
            ).values(),
        ];
        deepEqual(
            WAVES.map((wave) => waves.filter((w) => w === wave).length),
            [1, 2, 18],
        );
    });
});

describe("waves that end a run", () => {
    const tenants = ["a", "b", "c", "d"];
    const of = (settings: RolloutSpec, underWay: UnderWay) => {
        const { turns, stops } = rollout(tenants, ["1", "2"], settings, underWay);
        return { turns: turns.map(({ tenant, files }) => `${tenant} ${files.join()}`), stops };
    };
    const pending = { b: ["2"], c: ["2"], d: ["1", "2"] };

    it("begin with the first, and the next waits for all of it", () => {
        const all = Object.fromEntries(tenants.map((name) => [name, ["2"]]));
        const { turns, stops } = of({ approve: true }, { pending: all });
        deepEqual(turns, ["a 2"]);
        deepEqual(stops, [{ path: "2", wave: "part", waiting: { for: "wave", wave: "canary" }, tenants: 3 }]);
    });

    it("wait for a pause since the youngest of the earlier ones, and go on after it", () => {
        const after = (seconds: number) => of({ pause: 60_000 }, { pending, ages: { "2": { a: seconds } } });
        deepEqual(after(20.5).stops[0]?.waiting, { for: "pause", wave: "part", seconds: 40 });
        deepEqual(after(20.5).turns, ["d 1"]);
        deepEqual(after(61).turns, ["b 2", "d 1"]);
        deepEqual(after(61).stops[0]?.waiting, { for: "wave", wave: "part" });
    });

    it("wait for an approval of the very wave", () => {
        const with_ = (approved: UnderWay["approved"]) =>
            of({ approve: true }, { pending, ...(approved && { approved }) });
        deepEqual(with_({}).stops[0]?.waiting, { for: "approval", wave: "part" });
        deepEqual(with_({ "2": ["part"] }).turns, ["b 2"]);
    });

    it("keep a tenant's files in their order: none overtakes one that waits", () => {
        const { turns } = of({ approve: true }, { pending, approved: { "2": ["part", "rest"], "1": [] } });
        deepEqual(turns, ["b 2"]);
    });

    it("without pause and approval follow each other in one run", () => {
        deepEqual(of({}, { pending }).turns, ["b 2", "c 2", "d 1,2"]);
        deepEqual(of({}, { pending }).stops, []);
    });

    it("make new tenants from files that the first wave has proved", () => {
        const files = (existing: string[], pending: UnderWay["pending"], settings: RolloutSpec = {}) =>
            filesForNew(tenants, ["1", "2"], settings, { pending }, new Set(existing))("d");
        deepEqual(files([], {}), ["1", "2"]);
        deepEqual(files(["a", "b"], { a: ["2"], b: ["2"] }), ["1"]);
        deepEqual(files(["a", "b"], { b: ["2"] }), ["1", "2"]);
        deepEqual(files(["a", "b"], { b: ["2"] }, { approve: true }), ["1"]);
        deepEqual(files(["a", "b"], {}, { approve: true }), ["1", "2"]);
        // the canary itself is new: who is there proves
        deepEqual(files(["b"], { b: ["2"] }), ["1"]);
    });

    it("may have canaries by name", () => {
        deepEqual(
            [...wavesOf(tenants, { canary: ["c"], part: 0.5 })],
            [
                ["a", "part"],
                ["b", "part"],
                ["c", "canary"],
                ["d", "rest"],
            ],
        );
    });
});
