/** A group of tenants after validation: plain data, as it lies in the state and is handed to the database. */
import type { RolloutSpec } from "./rollout.ts";

export const MODELS = ["rls", "row", "schema", "database", "routed"] as const;

/**
 * How tenants are kept apart:
 * `rls` in tables of the coordinator by row-level security, `row` in distributed tables by a tenant column, `schema` each
 * in a distributed schema, `database` each in a database of its own on one node, `routed` anywhere else by the shard map.
 */
export type Model = (typeof MODELS)[number];

export interface FileSpec {
    /** Path inside the project. */
    readonly path: string;
    /** Of its text with line feeds and without a byte order mark. */
    readonly sha256: string;
    /** Of the same text as other checkouts have it, which earlier versions of this project wrote down. */
    readonly also?: readonly string[];
}

export interface TableSpec {
    readonly kind: "distributed" | "reference" | "local";
    /** Distribution column; in model rls the tenant column. */
    readonly column?: string;
    readonly shardCount?: number;
}

export interface LimitsSpec {
    readonly connections?: number;
    /** Milliseconds. */
    readonly statementTimeout?: number;
    /** Milliseconds. */
    readonly idleInTransactionTimeout?: number;
    /** Kilobytes. */
    readonly tempFiles?: number;
}

export interface TenantSpec {
    readonly node?: string;
    readonly isolate?: boolean;
    readonly limits?: LimitsSpec;
    readonly frozen?: boolean;
    /** Whether it has a login role of its own. */
    readonly role?: boolean;
    readonly values?: Readonly<Record<string, string | number | boolean | null>>;
    readonly from?: { readonly group: string; readonly tenant: string };
    readonly host?: string;
    readonly port?: number;
    readonly database?: string;
    /** Not in the program: create_tenant made it, and the ledger is all that knows it. */
    readonly onboarded?: boolean;
}

export interface SignInSpec {
    /** One of the group's tables, as it is named there. */
    readonly table: string;
    readonly column: string;
}

export interface GroupSpec {
    readonly name: string;
    readonly model: Model;
    readonly anchor?: string;
    /** By name, with the schema where it is not public. */
    readonly tables: Readonly<Record<string, TableSpec>>;
    /** Tables that look as if they held tenants' rows and are left alone. @default none */
    readonly ignored?: readonly string[];
    readonly template: readonly FileSpec[];
    readonly tenants: Readonly<Record<string, TenantSpec>>;
    readonly delete: readonly string[];
    /** Exports of deleted tenants that a person made: a path or an address, and the file's checksum. @default none */
    readonly given?: Readonly<Record<string, { readonly file: string; readonly sha256: string }>>;
    readonly allow: readonly string[];
    /** Where exports go: "s3://bucket/prefix", "repository" or a folder. @default the stack's folder on this machine */
    readonly exports?: string;
    readonly rowSecurity: boolean;
    /** Columns of the anchor that a tenant's own role may update. */
    readonly ownColumns?: readonly string[];
    /** Whether it has a login that reads all tenants. @default false */
    readonly reader?: boolean;
    /** The column that people sign in by. */
    readonly signIn?: SignInSpec;
    /** Whether its nodes have a connection pool; the model says so when it is left out. */
    readonly pool?: boolean;
    readonly rollout: RolloutSpec;
    /** Files that new tenants are made from in place of the template's up to one of them. */
    readonly baseline?: { readonly files: readonly FileSpec[]; readonly upTo: string };
    /** Whether a file may sort before one that was run. */
    readonly outOfOrder?: boolean;
    /** Whether the application may make tenants by create_tenant. */
    readonly onboarding?: boolean;
    /** Milliseconds. */
    readonly lockTimeout: number;
}

/** The role that an application of the group uses for all its tenants (row and rls). */
export const appRole = (group: string) => `${group}_app`;

/** The role that every tenant's own role of a group is a member of; nobody logs in as it. */
export const tenantsRole = (group: string) => `${group}_tenants`;

/** The role that makes tenants while the product runs, and can do nothing else. */
export const onboardingRole = (group: string) => `${group}_onboarding`;

/** A tenant's own role. */
export const tenantRole = (group: string, tenant: string) => `${group}_${tenant}`;

/** The login that reads all tenants of a group. */
export const readerRole = (group: string) => `${group}_reader`;

/** Owner of the function that finds a tenant by what a person signs in with; it has no password. */
export const signInRole = (group: string) => `${group}_sign_in`;

/**
 * Roles that a group's options make, whether they are on or not: what is off is shut and dropped by its name, so no tenant's own
 * role may have it.
 */
export const optionalRoles = (group: string, model: Model): string[] => [
    ...(model === "rls" || model === "row" || model === "schema" ? [readerRole(group)] : []),
    ...(model === "rls" || model === "row" ? [signInRole(group)] : []),
];

/** In schema citus_as_code. */
export const signInFunction = (group: string) => `sign_in_${group}`;
