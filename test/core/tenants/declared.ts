/** Groups whose plans are tested: what they declare, and what is found of their tables and rows. */
import type { GroupSpec } from "../../../core/tenants/group/spec.ts";
import type { FoundRows } from "../../../core/tenants/rows/rowsPlan.ts";
import type { ForeignKey } from "../../../core/tenants/tables/tableKeys.ts";
import { type FoundTable, type FoundTables, NO_TABLES } from "../../../core/tenants/tables/tablesFound.ts";
import { EMPTY } from "../../tenants.ts";

export const GROUP: GroupSpec = {
    ...EMPTY,
    name: "shop",
    model: "row",
    anchor: "companies",
    tables: {
        companies: { kind: "distributed", column: "id" },
        users: { kind: "distributed", column: "company_id" },
        plans: { kind: "reference" },
    },
};

export const table = (name: string, more: Partial<FoundTable> = {}): FoundTable => ({
    name,
    relkind: "r",
    unlogged: false,
    child: false,
    kind: "local",
    shards: 0,
    column: { type: "bigint", notNull: true, generated: false },
    identity: true,
    uniques: [],
    triggers: [],
    rules: [],
    volatile: [],
    clock: [],
    shortSequences: [],
    bytes: 50_000_000,
    ...more,
});

export const distributed = (name: string, by: string, more: Partial<FoundTable> = {}) =>
    table(name, {
        kind: "distributed",
        distributedBy: by,
        colocation: 2,
        declared: 4,
        shards: 4,
        layout: "same",
        columnType: "bigint",
        ...more,
    });

export const key = (more: Partial<ForeignKey> = {}): ForeignKey => ({
    name: "fk",
    table: "users",
    columns: ["company_id"],
    references: "companies",
    referenced: ["id"],
    tableKind: "local",
    referencesKind: "local",
    sets: [],
    ...more,
});

export const found = (tables: readonly FoundTable[], more: Partial<FoundTables> = {}): FoundTables => ({
    ...NO_TABLES,
    pending: false,
    tables,
    ...more,
});

export const LOCAL = [table("companies"), table("users"), table("plans", { column: null })];

export const SETTLED = [
    distributed("companies", "id"),
    distributed("users", "company_id"),
    table("plans", { kind: "reference" }),
];

export const kinds = (steps: readonly { kind: string; table?: string }[]) =>
    steps.map((s) => `${s.kind.split(".")[1]} ${s.table}`);

export const ROWS: FoundRows = {
    states: { 1: "active", 2: "frozen", 9: "active" },
    present: ["1", "2"],
    invalid: [],
    spelled: {},
    same: [],
    type: "bigint",
    columns: [
        { name: "id", required: true },
        { name: "name", required: true },
    ],
    coming: ["5"],
    leaving: [],
};
