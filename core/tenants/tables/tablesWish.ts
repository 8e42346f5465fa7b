/** What a table of a group is to become, and what that takes. */
import type { TableSpec } from "../group/spec.ts";
import { type BesideFacts, NO_FACTS } from "./besideFacts.ts";
import type { FoundTable } from "./tablesFound.ts";

export interface Wish {
    readonly name: string;
    readonly spec: TableSpec;
    readonly target: "local" | "distributed" | "reference";
    readonly found: FoundTable;
    /** Is brought back to the coordinator first. */
    undistribute: boolean;
    /** Becomes what it is to be. */
    make: boolean;
    /** Changes its column or its group. */
    alter?: { readonly column?: string; readonly colocate: boolean };
    /** Joins the group by a change of metadata. */
    colocate?: boolean;
    /** Is made anew beside the old one, which is how it becomes what it is to be. */
    beside?: boolean;
}

/** A table that is made anew, and what that weighs. */
export interface Part {
    readonly name: string;
    readonly target: "local" | "distributed" | "reference";
    readonly column?: string;
    readonly bytes: number;
    readonly facts: BesideFacts;
}

/** Tables that are made anew together. */
export interface BesideSet {
    readonly tables: readonly Part[];
    /** Whether they are a whole group, which gets shards of its own. */
    readonly whole: boolean;
    readonly root?: Wish;
}

export const partOf = ({ name, target, spec, found }: Wish): Part => ({
    name,
    target,
    bytes: found.bytes,
    facts: found.facts ?? NO_FACTS,
    ...(target === "distributed" && spec.column !== undefined ? { column: spec.column } : {}),
});

export const kindText = (table: FoundTable) => (table.kind === "reference" ? "a reference table" : "distributed");

export const identityOf = (name: string, { identities }: BesideFacts) =>
    `${name} has the identity column ${identities.join(", ")}, and Citus itself rewrites no such table ("cannot complete operation on a table with identity column").`;
