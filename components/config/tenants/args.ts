/** What a group of tenants is made from. Types, with each default. */

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
    /** Temporary files of each of its sessions on each node, such as "1GB"; the tenant can't change it. @default no limit */
    readonly tempFiles?: string;
}

/**
 * What a tenant of any model has. Its life is one fact: `active` reads and writes, `frozen` only reads, and the data of
 * a `deleted` one is deleted after an export. Leave the name with `deleted` there, or take it out: it is remembered.
 */
interface AnyTenant {
    /** @default "active" */
    readonly state?: "active" | "frozen" | "deleted";
}

/** An export that a person made: exactly one of `file` and `url`. */
export interface ExportArgs {
    /** A file of this machine. */
    readonly file?: string;
    /** `s3://bucket/path/acme.sql.gz`, or `repository:…` as `npm run tenants -- export` prints it. */
    readonly url?: string;
    /** Of the whole file, 64 hexadecimal digits. */
    readonly sha256: string;
}

/** A tenant that this cluster has a role for. */
interface LocalTenant extends AnyTenant {
    /**
     * Of a `deleted` tenant: an export that you made. It is compared with the rows that are there, and taken in the place of
     * one that `pulumi up` makes; refused where it is not the same. @default none
     */
    readonly export?: ExportArgs;
    readonly limits?: LimitsArgs;
    /** A login role of its own. @default true in schema and database; in row and rls with `limits` */
    readonly role?: boolean;
}

/** A tenant that is rows. */
export interface RlsTenant extends LocalTenant {
    /**
     * The other columns of its row in the anchor table, for when that is made. A row that is there keeps its own, also
     * when these are changed. @default {}
     */
    readonly values?: Readonly<Record<string, string | number | boolean | null>>;
}

/** What a tenant has that can be put on a node, and whose data can come from another group. */
interface PlacedTenant extends LocalTenant {
    /**
     * The node that the tenant is on; rebalances leave it there. In model `row` its rows are isolated to a shard of their
     * own for it, which can't be undone. @default wherever Citus puts it
     */
    readonly node?: string;
    /**
     * Takes the data of this tenant of another group, as "group/tenant" or as that group's `tenant(…)`: a change of model.
     * The old copy stays.
     */
    readonly from?: string | TenantName;
}

export interface RowTenant extends PlacedTenant, RlsTenant {
    /** A shard of its own for this tenant. Can't be undone. @default true with `node`, else false */
    readonly isolate?: boolean;
}

export interface SchemaTenant extends PlacedTenant {}

export interface DatabaseTenant extends PlacedTenant {}

/** A tenant on a server of its own. A `deleted` one leaves the shard map, and its server is not touched. */
export interface RoutedTenant {
    /** @default "active" */
    readonly state?: "active" | "deleted";
    /** The server. Not needed of a deleted one. */
    readonly host?: string;
    /** @default 5432 */
    readonly port?: number;
    /** The database there. @default the tenant's name */
    readonly database?: string;
}

/** A tenant of a group, by name. */
export interface TenantName {
    readonly group: string;
    readonly name: string;
}

/**
 * Tenants of a group: by name (in row and rls by key), a list of names and of tenants with their `name`, or the path of a
 * JSON file of either. What is left out is left as it is.
 * @example {"acme": {}, "globex": {"state": "frozen"}}
 * @example ["acme", {"name": "globex", "state": "deleted"}]
 */
export type Tenants<Tenant> =
    | Readonly<Record<string, Tenant>>
    | readonly (string | (Tenant & { readonly name: string }))[]
    | string;

interface AnyGroup<Tenant> {
    /** @default {} */
    readonly tenants?: Tenants<Tenant>;
}

/** A change reaches the canaries first, then a part of the other tenants, then all. */
export interface RolloutArgs {
    /** How many tenants are canaries, the first ones of `tenants`, or which by name. @default 1 */
    readonly canary?: number | readonly string[];
    /** Which part of the other tenants is next, from 0 to 1. @default 0.1 */
    readonly part?: number;
    /**
     * How long a change stays with the tenants that have it before an `up` takes it to the next wave, such as "1h"; 24h at
     * most. @default no pause: one `up` does all waves
     */
    readonly pause?: string;
    /**
     * Whether `up` stops before each wave after the first, until `npm run tenants -- approve GROUP` was run. @default false
     */
    readonly approve?: boolean;
    /** How many tenants of a wave are migrated at a time, spread over the nodes; 1 to 16, a connection each. @default 1 */
    readonly parallel?: number;
}

/** A group whose tenants are in this cluster. */
interface LocalGroup<Tenant> extends AnyGroup<Tenant> {
    /**
     * SQL files inside the project, or patterns of them (`sql/clinic/*.sql`), in the order of their names; each is run once:
     * in row and rls on the coordinator, in schema and database for each tenant. @default []
     */
    readonly template?: string | readonly string[];
    /** A PgBouncer on each node, in front of all its databases; Docker only. @default true in model `database`, where there can be one */
    readonly pool?: boolean;
    /**
     * Whether a file of the template may sort before one that was run. It runs after that one then, for tenants that are made
     * later too. Otherwise such a file is refused. @default false
     */
    readonly outOfOrder?: boolean;
    /** How long a migration waits for a lock, such as "5s". @default "5s" */
    readonly lockTimeout?: string;
    /**
     * Where exports go: `s3://bucket/prefix` and `repository` (that of the backups) get them straight from the node, and
     * outlive this machine; a folder such as `./exports` is on it. A deletion is refused on a CI runner without it.
     * @default the stack's folder, `.state/<stack>/exports`
     * @example "s3://acme-exports/billing?region=eu-central-1"
     */
    readonly exports?: string;
}

/** A group whose tenants the application can make itself. */
interface Onboards {
    /**
     * The application makes tenants while it runs, by `SELECT citus_as_code.create_tenant('<group>', 'acme')` on the
     * coordinator. The group gets a role `<group>_onboarding` that can call this and nothing else. @default false
     */
    readonly onboarding?: boolean;
}

/** What a group has whose tenants one query can read. */
interface ReadableGroup {
    /**
     * A login `<group>_reader` that reads every tenant's rows and writes nothing: for reports. It is
     * `group.reader` in a program. Taken away, it can't log in any more. @default false
     */
    readonly reader?: boolean;
}

/** A group whose tenants are rows of the same tables. */
interface RowsGroup<Tenant> extends LocalGroup<Tenant>, Onboards, ReadableGroup {
    /**
     * The column that people sign in by, as "table.column". The application then asks
     * `citus_as_code.sign_in_<group>(value)` for the keys of the tenants that have such a row, before it knows the tenant.
     * @default there is no such function
     * @example "users.email"
     */
    readonly signIn?: string;
    /** The table with one row for each tenant; its `distributeBy` is the tenant's key. */
    readonly anchor: string;
    /** A table that is left out is left as it is. @default {} */
    readonly tables?: Readonly<Record<string, TableArgs>>;
    /**
     * Columns of the anchor that a tenant's own role may update in its own row. It reads that row, and may otherwise neither
     * change nor delete it; the application's role may do all. @default []
     * @example ["name", "phone"]
     */
    readonly ownColumns?: readonly string[];
    /**
     * Tables that may be changed in a way that keeps them from being read or written while they are rewritten, or that drops
     * a foreign key. A table that becomes a reference table needs it not: only its writes wait. @default []
     */
    readonly allow?: readonly string[];
}

/** Tenants in tables of the coordinator, kept apart by row-level security. */
export interface RlsGroup extends RowsGroup<RlsTenant> {
    readonly model: "rls";
}

/** Tenants in distributed tables, each by its key. */
export interface RowGroup extends RowsGroup<RowTenant> {
    readonly model: "row";
    /** Policies that show each tenant its rows. @default true */
    readonly rowSecurity?: boolean;
}

/** What a long history of files comes to. */
export interface BaselineArgs {
    /** SQL files inside the project, or patterns of them, none of which is one of the template's. */
    readonly files: string | readonly string[];
    /** The last file of the template that they stand for, such as "sql/clinic/100.sql". */
    readonly upTo: string;
}

/** A group that runs its files for each tenant. */
interface ApartGroup<Tenant> extends LocalGroup<Tenant> {
    /** How template changes reach tenants. @default {canary: 1, part: 0.1} */
    readonly rollout?: RolloutArgs;
    /**
     * Files that new tenants are made from in place of those of the template up to one of them. Before the first tenant is
     * made from them, `up` proves that both make the same. @default none
     */
    readonly baseline?: BaselineArgs;
}

/** Each tenant in a distributed schema. */
export interface SchemaGroup extends ApartGroup<SchemaTenant>, Onboards, ReadableGroup {
    readonly model: "schema";
}

/** Each tenant in a database of its own on one node. */
export interface DatabaseGroup extends ApartGroup<DatabaseTenant> {
    readonly model: "database";
}

/** Each tenant on a server that the shard map names. */
export interface RoutedGroup extends AnyGroup<RoutedTenant> {
    readonly model: "routed";
}

/** A group of tenants as it is written under `citus:tenantGroups`. */
export type TenantGroupSettings = RlsGroup | RowGroup | SchemaGroup | DatabaseGroup | RoutedGroup;
