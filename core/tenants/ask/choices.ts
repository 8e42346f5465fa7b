/** The decision table of `tenants -- choose` as data: what is asked, what speaks for and against each model, what it costs. */
import type { Model } from "../group/spec.ts";

/** What the choice hangs on. */
export interface Situation {
    /** Tenants in two or three years. */
    readonly tenants: number;
    /** The largest tenant's part of all data, 0 to 1. */
    readonly largest: number;
    /** The busiest tenant's part of all queries, 0 to 1. */
    readonly traffic: number;
    /** What tenants were promised: rows are filtered, tables of their own, or a database or server of their own. */
    readonly isolation: "policy" | "tables" | "database";
    /** All tenants have the same tables. */
    readonly sameSchema: boolean;
    /** Every query says which tenant it is about, or can be made to. */
    readonly keyed: boolean;
    /** All data and its load stay within one server. */
    readonly oneServer: boolean;
    /** The largest tenant alone stays within one server. */
    readonly largestFits: boolean;
    /** Workers that the cluster can have. */
    readonly workers: number;
    /** Tenants' data has to lie in different regions or on given servers. */
    readonly regions: boolean;
    /** Reports or joins over many tenants. */
    readonly across: boolean;
    /** One tenant alone is brought back to an earlier state. */
    readonly restoreOne: boolean;
    /** A tenant has an encryption key or physical backups of its own. */
    readonly ownBackups: boolean;
    /** Sign-ups on a busy day. */
    readonly signUps: number;
    /** What the team knows. */
    readonly skill: "postgresql" | "citus";
    /** Tenants that need a database of their own while the others do not. */
    readonly special: number;
}

export const DEFAULTS: Situation = {
    tenants: 100,
    largest: 0.05,
    traffic: 0.05,
    isolation: "policy",
    sameSchema: true,
    keyed: true,
    oneServer: true,
    largestFits: true,
    workers: 2,
    regions: false,
    across: false,
    restoreOne: false,
    ownBackups: false,
    signUps: 1,
    skill: "postgresql",
    special: 0,
};

/** What is asked, in this order; `flag` is the command line's. */
export const QUESTIONS: readonly {
    readonly key: keyof Situation;
    readonly flag: string;
    readonly ask: string;
    readonly kind: "number" | "part" | "yes" | readonly string[];
    /** The least number that is accepted. @default 0 */
    readonly least?: number;
    /** Answers of former releases, and what they are called now. */
    readonly former?: Readonly<Record<string, string>>;
}[] = [
    {
        key: "tenants",
        flag: "tenants",
        ask: "How many tenants will there be in two or three years?",
        kind: "number",
        least: 1,
    },
    { key: "largest", flag: "largest", ask: "How much of all data has the largest tenant, in percent?", kind: "part" },
    {
        key: "traffic",
        flag: "traffic",
        ask: "How much of all queries has the busiest tenant, in percent?",
        kind: "part",
    },
    {
        key: "isolation",
        flag: "isolation",
        ask: "What were tenants promised, in the contract or elsewhere: policy (others' rows are filtered out), tables (tables of their own, never in one with others) or database (a database or server of their own)?",
        kind: ["policy", "tables", "database"],
        former: {
            namespace: "tables",
            contractual:
                "tables when the contract says that data is never in one table with others', database when it says a database or server of their own",
        },
    },
    { key: "sameSchema", flag: "same-schema", ask: "Do all tenants have the same tables?", kind: "yes" },
    {
        key: "keyed",
        flag: "keyed",
        ask: "Does every query say which tenant it is about, or can you make it?",
        kind: "yes",
    },
    { key: "oneServer", flag: "one-server", ask: "Will all data and its load stay within one server?", kind: "yes" },
    {
        key: "largestFits",
        flag: "largest-fits",
        ask: "Will the largest tenant alone stay within one server?",
        kind: "yes",
    },
    { key: "workers", flag: "workers", ask: "How many workers can the cluster have?", kind: "number", least: 1 },
    {
        key: "regions",
        flag: "regions",
        ask: "Must tenants' data lie in different regions or on given servers?",
        kind: "yes",
    },
    { key: "across", flag: "across", ask: "Are there reports or joins over many tenants?", kind: "yes" },
    {
        key: "restoreOne",
        flag: "restore-one",
        ask: "Must one tenant alone be brought back to an earlier state?",
        kind: "yes",
    },
    {
        key: "ownBackups",
        flag: "own-backups",
        ask: "Must a tenant have an encryption key or physical backups of its own?",
        kind: "yes",
    },
    { key: "signUps", flag: "sign-ups", ask: "How many tenants sign up on a busy day?", kind: "number" },
    {
        key: "skill",
        flag: "skill",
        ask: "What does the team know: postgresql, or citus too?",
        kind: ["postgresql", "citus"],
    },
    {
        key: "special",
        flag: "special",
        ask: "How many tenants need a database of their own while the others do not?",
        kind: "number",
    },
];

/** What follows from the answers. */
export interface Facts extends Situation {
    /** Tenants for each worker. */
    readonly perWorker: number;
}

/** All of them hold. */
export type Condition = Readonly<
    Partial<Record<keyof Facts, string | boolean | { readonly over?: number; readonly upTo?: number }>>
>;

export interface Row {
    readonly model: Model;
    readonly when: Condition;
    /** `out` is what the model can't do at all; a number speaks for it or against it. */
    readonly weight: "out" | number;
    readonly why: string;
}

const SHARED = "tenants share every table, and a policy is all that is between them";
const SAME_TABLES = "no tenant can have tables that others have not";
const ONE_PLACE = "all nodes are one cluster, in one place";
const ONE_BACKUP = "all tenants of a node share its disks, WAL and physical backups";

export const TABLE: readonly Row[] = [
    {
        model: "rls",
        when: { oneServer: true },
        weight: 3,
        why: "all of it fits one server, so nothing has to be distributed: a row by its key costs what it costs in PostgreSQL (1.1 times with the policy)",
    },
    { model: "rls", when: { tenants: { over: 2000 } }, weight: 1, why: "the number of tenants does not matter to it" },
    { model: "rls", when: { across: true }, weight: 1, why: "reports over all tenants are plain queries" },
    {
        model: "rls",
        when: { skill: "postgresql" },
        weight: 1,
        why: "it is plain PostgreSQL: the team has nothing new to learn",
    },
    { model: "rls", when: { signUps: { over: 100 } }, weight: 1, why: "a sign-up is one row, made by the application" },
    {
        model: "rls",
        when: { keyed: false },
        weight: -3,
        why: "the application has to say the tenant in every transaction (SET LOCAL app.tenant)",
    },
    {
        model: "rls",
        when: { traffic: { over: 0.3 } },
        weight: -1,
        why: "the busiest tenant can't be moved away from the others",
    },
    { model: "rls", when: { restoreOne: true }, weight: -1, why: "one tenant is brought back row by row" },
    { model: "rls", when: { oneServer: false }, weight: "out", why: "all rows lie on one server" },
    { model: "rls", when: { isolation: "tables" }, weight: "out", why: SHARED },
    { model: "rls", when: { isolation: "database" }, weight: "out", why: SHARED },
    { model: "rls", when: { sameSchema: false }, weight: "out", why: SAME_TABLES },
    { model: "rls", when: { regions: true }, weight: "out", why: ONE_PLACE },
    { model: "rls", when: { ownBackups: true }, weight: "out", why: ONE_BACKUP },

    {
        model: "row",
        when: { oneServer: false },
        weight: 3,
        why: "rows spread over the workers by the tenant's key, and a query that names its tenant asks one shard",
    },
    {
        model: "row",
        when: { tenants: { over: 2000 } },
        weight: 2,
        why: "a tenant is rows and no object of the catalogs: thousands cost no more than ten",
    },
    { model: "row", when: { across: true }, weight: 1, why: "reports over all tenants run on every worker at once" },
    { model: "row", when: { signUps: { over: 100 } }, weight: 1, why: "a sign-up is one row, made by the application" },
    {
        model: "row",
        when: { oneServer: true },
        weight: -2,
        why: "while one server is enough, each point query pays for the way over the coordinator (0.1 to 0.25 ms and a round trip)",
    },
    {
        model: "row",
        when: { skill: "postgresql" },
        weight: -1,
        why: "the team has to learn what a distribution key asks of every table and query",
    },
    {
        model: "row",
        when: { largest: { over: 0.3 } },
        weight: -2,
        why: "one tenant's rows can't be split: the largest needs a shard, and at last a worker, of its own",
    },
    { model: "row", when: { restoreOne: true }, weight: -1, why: "one tenant is brought back row by row" },
    {
        model: "row",
        when: { keyed: false },
        weight: -6,
        why: "a query that does not name its tenant asks every shard: 18 to 21 times the time, and a twentieth of the load",
    },
    { model: "row", when: { isolation: "tables" }, weight: "out", why: SHARED },
    { model: "row", when: { isolation: "database" }, weight: "out", why: SHARED },
    { model: "row", when: { sameSchema: false }, weight: "out", why: SAME_TABLES },
    { model: "row", when: { regions: true }, weight: "out", why: ONE_PLACE },
    { model: "row", when: { ownBackups: true }, weight: "out", why: ONE_BACKUP },

    {
        model: "schema",
        when: { tenants: { upTo: 2000 } },
        weight: 2,
        why: "up to 2,000 schemas are no burden: planning is the same from 10 to 10,000 of them",
    },
    {
        model: "schema",
        when: { keyed: false },
        weight: 3,
        why: "queries stay as they are: the application sets search_path and no query names its tenant",
    },
    { model: "schema", when: { isolation: "tables" }, weight: 3, why: "each tenant has tables of its own" },
    { model: "schema", when: { sameSchema: false }, weight: 2, why: "tenants' tables may differ" },
    {
        model: "schema",
        when: { oneServer: false },
        weight: 1,
        why: "schemas spread over the workers, and move while they are served",
    },
    {
        model: "schema",
        when: { oneServer: true },
        weight: -1,
        why: "while one server is enough, Citus between the application and its tables is work for nothing",
    },
    { model: "schema", when: { restoreOne: true }, weight: 1, why: "one schema is dumped and brought back by itself" },
    {
        model: "schema",
        when: { tenants: { over: 2000 } },
        weight: -2,
        why: "with thousands of schemas adding a worker takes a minute (55 s at 10,000), each migration runs in every one, and the catalogs grow (0.5 to 0.8 GB a node at 10,000)",
    },
    {
        model: "schema",
        when: { tenants: { over: 10_000 } },
        weight: -4,
        why: "more than 10,000 schemas were never measured",
    },
    {
        model: "schema",
        when: { across: true },
        weight: -3,
        why: "joins over schemas send rows between nodes, or are refused",
    },
    {
        model: "schema",
        when: { signUps: { over: 1000 } },
        weight: -2,
        why: "each sign-up makes tables on every node: more than 1,000 a day are catalogs that grow all day",
    },
    {
        model: "schema",
        when: { largest: { over: 0.3 } },
        weight: -1,
        why: "one schema can't be split: its neighbours are moved away from it",
    },
    {
        model: "schema",
        when: { isolation: "database" },
        weight: "out",
        why: "tenants share processes, WAL, backups and the superuser: it is a namespace and no more",
    },
    { model: "schema", when: { regions: true }, weight: "out", why: ONE_PLACE },
    { model: "schema", when: { ownBackups: true }, weight: "out", why: ONE_BACKUP },

    {
        model: "database",
        when: { isolation: "database" },
        weight: 5,
        why: "a database of its own is what a contract can name: connections, limits and dumps are the tenant's own",
    },
    {
        model: "database",
        when: { restoreOne: true },
        weight: 2,
        why: "one database is dumped and brought back by itself",
    },
    { model: "database", when: { sameSchema: false }, weight: 1, why: "tenants' tables may differ" },
    { model: "database", when: { skill: "postgresql" }, weight: 1, why: "there is no Citus in a tenant's database" },
    {
        model: "database",
        when: { isolation: "policy" },
        weight: -3,
        why: "each database costs 7 MB, a connection of its own and its turn in every migration, for an isolation that nobody asked for",
    },
    {
        model: "database",
        when: { isolation: "tables" },
        weight: -1,
        why: "each database costs 7 MB, a connection of its own and its turn in every migration; a schema has tables of its own too",
    },
    {
        model: "database",
        when: { perWorker: { over: 300 } },
        weight: -2,
        why: "every database in use holds a server connection: 302 of 400 were in use by 301 databases of one worker",
    },
    {
        model: "database",
        when: { perWorker: { over: 505 } },
        weight: -4,
        why: "more than 505 databases on a worker were never measured: connections end first",
    },
    {
        model: "database",
        when: { signUps: { over: 20 } },
        weight: -2,
        why: "each sign-up is a database that pulumi up makes: no function of the application can",
    },
    {
        model: "database",
        when: { across: true },
        weight: -3,
        why: "no query reaches two databases: reports need a warehouse or postgres_fdw",
    },
    { model: "database", when: { regions: true }, weight: "out", why: ONE_PLACE },
    { model: "database", when: { ownBackups: true }, weight: "out", why: ONE_BACKUP },

    {
        model: "routed",
        when: { regions: true },
        weight: 5,
        why: "the shard map sends each tenant to the server that it has to be on",
    },
    {
        model: "routed",
        when: { ownBackups: true },
        weight: 5,
        why: "a server of its own has disks, keys, WAL and backups of its own",
    },
    {
        model: "routed",
        when: { largest: { over: 0.3 }, tenants: { upTo: 100 } },
        weight: 2,
        why: "a few large tenants each fill a server",
    },
    {
        model: "routed",
        when: { regions: false },
        weight: -4,
        why: "each server is yours to run: here it is an entry of the map and nothing else",
    },
    {
        model: "routed",
        when: { tenants: { over: 300 } },
        weight: -2,
        why: "hundreds of entries, and the servers behind them, are kept by hand or by a program of yours",
    },
    {
        model: "routed",
        when: { regions: false, ownBackups: false, tenants: { over: 300 } },
        weight: -4,
        why: "hundreds of servers, each run by you, that nobody asked for",
    },
    {
        model: "routed",
        when: { signUps: { over: 20 } },
        weight: -1,
        why: "each sign-up is an entry of the map that pulumi up makes",
    },
    {
        model: "routed",
        when: { across: true },
        weight: -3,
        why: "no query reaches two servers: reports need a warehouse or postgres_fdw",
    },
];

/** What each model costs whoever takes it. */
export const COSTS: Readonly<Record<Model, readonly string[]>> = {
    rls: [
        "an index that begins with the tenant column on every table, or a list takes 800 times as long",
        "one more round trip for each transaction (BEGIN; SET LOCAL app.tenant): 1.3 times",
        "LIKE and functions use no index under a policy unless the tenant column leads it",
    ],
    row: [
        "every key and foreign key has the tenant column in it",
        "0.1 to 0.25 ms more for each point query than PostgreSQL alone, less by the shard map (0.6 to 0.7 of it)",
        "a shard of its own for a hot tenant can't be undone, and adds shards to every table of the group",
    ],
    schema: [
        "23 to 46 ms to make a tenant, and each migration once for each tenant (3 to 4 ms)",
        "the first query of a new connection: 8 to 20 ms, so connections have to be pooled and kept",
        "memory of each connection: up to twice as much at 10,000 schemas",
    ],
    database: [
        "34 to 52 ms and 7 MB to make a tenant, and each migration once for each tenant (26 ms)",
        "one server connection for each database in use, and a pool before them (1.4 times on a point query)",
        "a move to another node is a fence, a copy and a switch; Citus does not re-route it",
    ],
    routed: [
        "servers, backups and migrations there are yours",
        "a client that reads the shard map and looks again when a place says no",
        "when an entry changes, the data at the old place is not touched: you move it",
    ],
};

/** What guides to multi-tenancy on Citus say of it, and where measurements say otherwise. */
export const GUIDES: Readonly<Record<Model, string>> = {
    rls: "The guides agree: until one server is full. They don't say that the index on the tenant column is not optional.",
    row: "The guides agree: thousands to tens of thousands of tenants. They say about a single node's latency; measured, a point query takes 0.1 to 0.25 ms more.",
    schema: "The guides say 50 to 2,000 tenants, because planning loads every schema (10 to 50 ms at 10,000). Measured, planning is 0.5 ms with 10 and with 10,000 schemas; the first query of a new connection grows from 8 to 20 ms, and adding a worker takes 55 s.",
    database:
        "The guides say dozens to about 500 in all. Measured, 505 on one small server had no cliff, and this project spreads them over the workers: what counts is databases for each worker.",
    routed: "The guides agree: 10 to 100 servers, for regions or plans.",
};
