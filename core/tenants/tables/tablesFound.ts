/** What is found of a group's tables, and what a step does to one. */
import type { KeyValues } from "../ask/keyJudge.ts";
import type { BesideFacts } from "./besideFacts.ts";
import type { Beside } from "./besidePlan.ts";
import type { ForeignKey, KeyAside, TableKind } from "./tableKeys.ts";

export interface FoundColumn {
    /** As PostgreSQL writes it, without a length. */
    readonly type: string;
    readonly notNull: boolean;
    readonly generated: boolean;
}

export interface FoundTable {
    /** As it is declared. */
    readonly name: string;
    /** r, p, v, m, f, as in pg_class. */
    readonly relkind: string;
    readonly unlogged: boolean;
    /** An access method of it or of a partition other than heap; its changes are not replicated. */
    readonly accessMethod?: string | null;
    /** Whether it is a partition or inherits. */
    readonly child: boolean;
    readonly kind: TableKind;
    readonly distributedBy?: string | null;
    readonly colocation?: number | null;
    /** Shards that its colocation group was made with; isolated tenants add to the real number. */
    readonly declared?: number | null;
    readonly shards: number;
    /** Which range of keys is on which node; equal layouts can be colocated without copying. */
    readonly layout?: string | null;
    readonly columnType?: string | null;
    /** The declared column, when there is one of the name. */
    readonly column?: FoundColumn | null;
    /** Whether updates and deletes can be replicated: a primary key or another replica identity. */
    readonly identity: boolean;
    /** Unique indexes, primary key and exclusion constraints that lack the declared column. */
    readonly uniques: readonly string[];
    readonly triggers: readonly string[];
    readonly rules: readonly string[];
    /** Columns whose default is computed anew on each node. */
    readonly volatile: readonly string[];
    /** Columns whose default is CURRENT_TIMESTAMP or the like. */
    readonly clock: readonly string[];
    /** Columns numbered by a sequence of int or smallint. */
    readonly shortSequences: readonly string[];
    /** What a new table beside it must have; of tables that Citus has. */
    readonly facts?: BesideFacts | null;
    /** Whether it is a local table that Citus knows of: it has a foreign key to a reference table, say. */
    readonly managed?: boolean;
    /** Values of the declared column, where the table is to be distributed. */
    readonly values?: KeyValues | null;
    /** Whether that column is of an enum. */
    readonly isEnum?: boolean;
    /** Rows changed a minute, where it is to be a reference table. */
    readonly perMinute?: number | null;
    readonly bytes: number;
    /** The tables of its colocation group with their size together; when its shard count or column is not the declared one. */
    readonly together?: {
        readonly tables: readonly string[];
        readonly bytes: number;
        readonly members?: readonly Member[];
    } | null;
}

/** A table of a colocation group, declared or not. */
export interface Member {
    readonly name: string;
    readonly column: string;
    readonly facts: BesideFacts;
    readonly bytes: number;
}

export interface FoundTables {
    readonly tables: readonly FoundTable[];
    readonly keys: readonly ForeignKey[];
    /** Foreign keys that were taken off and are to be put back. */
    readonly aside: readonly KeyAside[];
    /** Whether a run that was ended half-way left tables that it made anew. */
    readonly leftover?: boolean;
    /** Shards of a new group that does not say how many. */
    readonly usualShards?: number;
    /** Nodes that take shards. */
    readonly holders?: readonly string[];
    /** Bytes of disk free, by node, of nodes that could be asked; empty where that does not matter. */
    readonly free?: Readonly<Record<string, number>>;
    /** Bytes a second, by kind of call. */
    readonly rates: Readonly<Record<string, number>>;
    /** Whether files of the template are still to be run. */
    readonly pending: boolean;
    /** Columns of the tables that the template makes, by name; undefined where only running it shows that. */
    readonly made?: Readonly<Record<string, readonly string[]>>;
    /** Whether the role reads every row whatever the policies say. */
    readonly bypass: boolean;
    /** `output_plugin_libraries`, where PostgreSQL has it. */
    readonly plugins?: string | null;
}

export const NO_TABLES: FoundTables = {
    tables: [],
    keys: [],
    aside: [],
    rates: {},
    pending: true,
    bypass: true,
};

/** What a step of the facet `tables` does beside what its kind says. */
export interface TableStep {
    readonly column?: string;
    /** The table whose group it joins; undefined makes a group of its own. */
    readonly colocateWith?: string;
    readonly shardCount?: number;
    /** Name of a foreign key. */
    readonly key?: string;
    /** What that key is. */
    readonly facts?: ForeignKey;
    readonly beside?: Beside;
    /** Whether writers wait while it is copied. */
    readonly blocking?: boolean;
}
