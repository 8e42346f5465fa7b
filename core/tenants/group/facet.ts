/**
 * One concern of a group of tenants, such as its tables or its roles: what it asks of the catalogs, what it finds to do,
 * and how that is done. What there is to do comes from the database alone, so a killed run goes on by running again, and
 * nothing to do is no change.
 */

import type { Shell } from "../../node/reach.ts";
import type { Session } from "../../reach/session.ts";
import type { GroupSpec } from "./spec.ts";

export interface NodeTarget {
    /** `coordinator` or `worker-<n>`. */
    readonly name: string;
    /** Host and port in pg_dist_node. */
    readonly host: string;
    readonly port: number;
    /** Where clients reach it. */
    readonly address: { readonly host: string; readonly port: number; readonly poolPort?: number };
}

/** One thing to do. */
export interface Step {
    /** `<facet>.<what>`; steps of one kind that follow each other are run together. */
    readonly kind: string;
    readonly tenant?: string;
    readonly table?: string;
    /** What preview shows: `globex: move from worker-1 to worker-2 while it is served`. */
    readonly text: string;
    /** Whatever the runner needs beside the group's specification. */
    readonly detail?: unknown;
}

export interface Planned {
    readonly steps: readonly Step[];
    /** Why nothing of the group can be done; each says what to do. Nothing is run while there is one. */
    readonly refusals?: readonly string[];
    /** What a user should know although nothing is done, such as tenants that exist but are not in the program. */
    readonly notes?: readonly string[];
}

/**
 * SQL for a table (nodeid, success, result) of what every node answers; `result` is what it said where `success` is false.
 * @param question SQL query of one value and at most one row
 */
export type Ask = (question: string) => string;

/** What must be known before the catalogs can be asked: which tables of ours and of the group are there. */
export interface Probe {
    /** Whether the ledger (schema citus_as_code) is there. */
    readonly ledger: boolean;
    /** Whether it has a place for approvals, which came later. */
    readonly approvals?: boolean;
    /** Whether the ledger has what create_tenant needs. @default false */
    readonly onboarding?: boolean;
    /** Those of the group's tables that exist. */
    readonly tables: readonly string[];
    /** How nodes are asked: together with what other facets ask. @default each question by itself */
    readonly ask?: Ask;
}

export interface Context {
    readonly group: GroupSpec;
    /** The coordinator, as the superuser, in the cluster's database. */
    readonly session: Session;
    readonly nodes: readonly NodeTarget[];
    /**
     * A connection to a node by its name; kept and closed for you. Where there are many, close each yourself when you are
     * done: the next who asks gets a new one. @param database @default the cluster's
     */
    open(node: string, database?: string): Promise<Session>;
    /** The same for a connection that nobody shares, and that you close. */
    another(node: string, database?: string): Promise<Session>;
    /** How scripts run on a node. */
    shell(node: string): Shell;
    /** Content of a file of the group's template. @throws Error when it changed since it was read */
    read(path: string): string;
    /** SCRAM verifier of a role's password, and a mark that changes when the password does. */
    verifier(role: string): { readonly verifier: string; readonly mark: string };
    /** Folder on this machine for exports of deleted tenants. */
    readonly exports: string;
    /** Shown while it lasts. */
    progress(text: string): void;
    /** Kept under Diagnostics. */
    note(text: string): void;
    warn(text: string): void;
    /** Throws when nobody waits for this any more; call it between tenants. */
    alive(): void;
}

export interface Facet<Found = unknown> {
    readonly name: string;
    /**
     * SQL expression of type jsonb for what is there, part of the one query that a diff makes; $1 is the group's name,
     * $2 its specification as jsonb, $3 a mark of the passwords' seed, $4 the nodes as jsonb. Undefined when there is nothing to ask yet:
     * `plan` is given `none` then.
     */
    sql(group: GroupSpec, probe: Probe): string | undefined;
    readonly none: Found;
    /** Adds what files of the group's template say, where that has to be known before they are run. */
    readFiles?(group: GroupSpec, found: Found, read: (path: string) => string): Promise<Found>;
    /** Adds what the nodes' machines say, where a plan depends on it. @param free bytes of disk free on a node; undefined when it can't be asked */
    readMachines?(group: GroupSpec, found: Found, free: (node: string) => Promise<number | undefined>): Promise<Found>;
    /** Other facets whose findings its plan needs too; those are looked at together with it. @default none */
    readonly reads?: readonly string[];
    /** Pure. In a preview what earlier facets would do has not been done yet. @param all findings of the facets that it reads */
    plan(group: GroupSpec, found: Found, all: Readonly<Record<string, unknown>>): Planned;
    /** By kind without the facet's name; each is safe to repeat. */
    readonly run: Readonly<Record<string, (context: Context, steps: readonly Step[]) => Promise<void>>>;
}
