/** What a group of tenants is made from. Types, with each default. */

export const MODELS = ["rls", "row", "schema", "database", "routed"] as const;

/**
 * How tenants are kept apart:
 * `rls` in tables of the coordinator by row-level security, `row` in distributed tables by a tenant column, `schema` each
 * in a distributed schema, `database` each in a database of its own on one node, `routed` anywhere else by the shard map.
 */
export type Model = (typeof MODELS)[number];

/** What a table of a group is; exactly one of the first three, or `ignore`. */
export interface TableArgs {
    /** Distribution column, the tenant's key. In model `rls` the tenant column of a local table. */
    readonly distributeBy?: string;
    /** A copy on every node. */
    readonly reference?: boolean;
    /** A plain table on the coordinator. */
    readonly local?: boolean;
    /**
     * Whether a table that looks as if it held tenants' rows is left alone: it gets no policies, no export has it, and a delete
     * leaves its rows. Alone, or with `reference` or `local`. @default false
     */
    readonly ignore?: boolean;
    /** Shards of the table's colocation group; only on the anchor. @default citus:shardCount */
    readonly shardCount?: number;
}

export interface LimitsArgs {
    /** Connections at a time, on each node. @default no limit */
    readonly connections?: number;
    /** How long one statement may take, such as "5s". @default no limit */
    readonly statementTimeout?: string;
    /** How long a transaction may do nothing, such as "1m". @default no limit */
    readonly idleInTransactionTimeout?: string;
}

export interface TenantArgs {
    /**
     * The node that the tenant is on; rebalances leave it there. In model `row` its rows are isolated to a shard of their
     * own for it, which can't be undone. @default wherever Citus puts it
     */
    readonly node?: string;
    /** Model `row`: a shard of its own for this tenant. Can't be undone. @default true with `node`, else false */
    readonly isolate?: boolean;
    readonly limits?: LimitsArgs;
    /** `frozen` reads and does not write. @default "active" */
    readonly state?: "active" | "frozen";
    /** A login role of its own. @default true in schema and database; in row and rls with `limits` */
    readonly role?: boolean;
    /**
     * Models `row` and `rls`: the other columns of its row in the anchor table, for when that is made. A row that is there
     * keeps its own, also when these are changed. @default {}
     */
    readonly values?: Readonly<Record<string, string | number | boolean | null>>;
    /** Takes the data of this tenant of another group, as "group/tenant": a change of model. The old copy stays. */
    readonly from?: string;
    /** Model `routed`: the server. */
    readonly host?: string;
    /** Model `routed`. @default 5432 */
    readonly port?: number;
    /** Model `routed`: the database there. @default the tenant's name */
    readonly database?: string;
}

export interface TenantGroupSettings {
    readonly model: Model;
    /** Models `row` and `rls`: the table with one row for each tenant; its `distributeBy` is the tenant's key. */
    readonly anchor?: string;
    /** Models `row` and `rls`. A table that is left out is left as it is. @default {} */
    readonly tables?: Readonly<Record<string, TableArgs>>;
    /**
     * SQL files inside the project, or patterns of them (`sql/clinic/*.sql`), in the order of their names; each is run once:
     * in row and rls on the coordinator, in schema and database for each tenant. @default []
     */
    readonly template?: string | readonly string[];
    /** Tenants by name (in row and rls by key), a list of names, or a JSON file of either. What is left out is left as it is. @default {} */
    readonly tenants?: Readonly<Record<string, TenantArgs>> | readonly string[] | string;
    /** Tenants whose data is deleted, after an export. @default [] */
    readonly delete?: readonly string[];
    /**
     * Tables that may be changed in a way that keeps them from being read or written while they are rewritten, or that drops
     * a foreign key. A table that becomes a reference table needs it not: only its writes wait. @default []
     */
    readonly allow?: readonly string[];
    /** Models `row` and `rls`: policies that show each tenant its rows. Always on in rls. @default true */
    readonly rowSecurity?: boolean;
    /** A PgBouncer on each node, in front of all its databases; Docker only. @default true in model `database`, where there can be one */
    readonly pool?: boolean;
    /** How template changes reach tenants: `canary` tenants first, then a `part` of the rest, then all. @default {canary: 1, part: 0.1} */
    readonly rollout?: { readonly canary?: number; readonly part?: number };
    /** How long a migration waits for a lock, such as "5s". @default "5s" */
    readonly lockTimeout?: string;
}
