/** How preview says what there is to do. */
import assert from "node:assert/strict";
import { test } from "vitest";
import { describeSteps } from "../../../../core/tenants/group/converge.ts";
import type { GroupSpec } from "../../../../core/tenants/group/spec.ts";
import { planRows } from "../../../../core/tenants/rows/rowsPlan.ts";
import { GROUP, ROWS } from "../declared.ts";

test("preview folds what says the same of different tenants, and never one statement into another", () => {
    const lines = (tenants: GroupSpec["tenants"], present: readonly string[], del: readonly string[] = []) => {
        const { steps } = planRows({ ...GROUP, tenants }, { ...ROWS, states: {}, present, coming: [], columns: [] });
        const deleted = del.map((tenant) => ({ kind: "removal.delete", tenant, text: `${tenant}: delete it` }));
        return describeSteps([...steps, ...deleted]);
    };
    const taken = (tenant: number) => `${tenant}: is in companies already, and is taken into this group`;
    assert.deepEqual(lines({ 600: {}, 601: {}, 4001: {}, 4002: { frozen: true } }, ["600", "601"]), [
        taken(600),
        taken(601),
        "4001: a row in companies",
        "4002: a row in companies, frozen: it reads and does not write",
    ]);
    const many = (from: number, n: number, more = {}) =>
        Object.fromEntries(Array.from({ length: n }, (_, i) => [from + i, more]));
    // those between others of another kind are counted with their like
    const mixed = Object.keys(many(10, 40)).filter((key) => Number(key) % 2 === 0);
    assert.deepEqual(lines({ ...many(10, 40), ...many(60, 3, { frozen: true }) }, mixed, ["7", "8"]), [
        taken(10),
        taken(12),
        "… and 18 more like these",
        "11: a row in companies",
        "13: a row in companies",
        "… and 18 more like these",
        ...[60, 61, 62].map((n) => `${n}: a row in companies, frozen: it reads and does not write`),
        "7: delete it",
        "8: delete it",
    ]);
});

test("preview stays short, hides no line for the sake of one that says less, and counts what it hides", () => {
    const step = (kind: string, tenant: string, text: string) => ({ kind, tenant, text: `${tenant}: ${text}` });
    const said = (n: number, alike: number) =>
        Array.from({ length: n }, (_, i) =>
            Array.from({ length: alike }, (_, k) =>
                step("a.b", `t${i}.${k}`, `says ${"abcdefghijklmnopqrstuvwxyz"[i]}`),
            ),
        ).flat();
    assert.equal(describeSteps(said(1, 3)).length, 3);
    assert.deepEqual(describeSteps(said(1, 4)).slice(2), ["… and 2 more like these"]);
    assert.equal(describeSteps(said(12, 1)).length, 12);
    assert.deepEqual(describeSteps(said(5, 5)).slice(0, 2), ["t0.0: says a", "… and 4 more like this"]);
    assert.deepEqual(describeSteps([...said(20, 10), step("removal.delete", "old", "delete it")]), [
        "t0.0: says a",
        "… and 199 more steps of this kind",
        "old: delete it",
    ]);
    const moves = ["acme", "bolt", "core", "dune"].map((name, i) =>
        step("change.move", name, `row → schema: copies 3 tables, ${i + 2} rows (from billing/${name}x)`),
    );
    assert.deepEqual(describeSteps(moves).slice(2), ["… and 2 more like these"]);
});
