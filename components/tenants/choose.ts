/** Which model of tenancy fits: the decision table as data, and what follows from it. Pure. Its numbers were measured. */
import { MODELS, type Model } from "./args.ts";

/** What the choice hangs on. */
export interface Situation {
    /** Tenants in two or three years. */
    readonly tenants: number;
    /** The largest tenant's part of all data, 0 to 1. */
    readonly largest: number;
    /** What tenants were promised: rows are filtered, a namespace of their own, or a database of their own by contract. */
    readonly isolation: "policy" | "namespace" | "contractual";
    /** All tenants have the same tables. */
    readonly sameSchema: boolean;
    /** Every query says which tenant it is about, or can be made to. */
    readonly keyed: boolean;
    /** All data and its load stay within one server. */
    readonly oneServer: boolean;
    /** Tenants' data has to lie in different regions or on given servers. */
    readonly regions: boolean;
    /** Reports or joins over many tenants. */
    readonly across: boolean;
    /** One tenant alone is brought back to an earlier state. */
    readonly restoreOne: boolean;
    /** Tenants that need a database of their own while the others do not. */
    readonly special: number;
}

export const DEFAULTS: Situation = {
    tenants: 100,
    largest: 0.05,
    isolation: "policy",
    sameSchema: true,
    keyed: true,
    oneServer: true,
    regions: false,
    across: false,
    restoreOne: false,
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
        key: "isolation",
        flag: "isolation",
        ask: "What were tenants promised: policy (others' rows are filtered out), namespace (tables of their own) or contractual (a database of their own)?",
        kind: ["policy", "namespace", "contractual"],
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
        key: "regions",
        flag: "regions",
        ask: "Must tenants' data lie in different regions or on servers of their own?",
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
        key: "special",
        flag: "special",
        ask: "How many tenants need a database of their own while the others do not?",
        kind: "number",
    },
];

/** All of them hold. */
export type Condition = Readonly<
    Partial<Record<keyof Situation, string | boolean | { readonly over?: number; readonly upTo?: number }>>
>;

export interface Row {
    readonly model: Model;
    readonly when: Condition;
    /** `out` rules the model out; a number speaks for it or against it. */
    readonly weight: "out" | number;
    readonly why: string;
}

export const TABLE: readonly Row[] = [
    {
        model: "rls",
        when: { oneServer: true },
        weight: 3,
        why: "all of it fits one server, so nothing has to be distributed: a row by its key costs what it costs in PostgreSQL (1.1 times with the policy)",
    },
    {
        model: "rls",
        when: { tenants: { over: 2000 } },
        weight: 1,
        why: "the number of tenants does not matter to it",
    },
    { model: "rls", when: { across: true }, weight: 1, why: "reports over all tenants are plain queries" },
    {
        model: "rls",
        when: { keyed: false },
        weight: -3,
        why: "the application has to say the tenant in every transaction (SET LOCAL app.tenant)",
    },
    { model: "rls", when: { restoreOne: true }, weight: -1, why: "one tenant is brought back row by row" },
    { model: "rls", when: { oneServer: false }, weight: "out", why: "all rows lie on one server" },
    {
        model: "rls",
        when: { isolation: "namespace" },
        weight: "out",
        why: "tenants share every table; a policy is all that is between them",
    },
    {
        model: "rls",
        when: { isolation: "contractual" },
        weight: "out",
        why: "tenants share tables, processes, WAL and backups; a policy is all that is between them",
    },
    { model: "rls", when: { sameSchema: false }, weight: "out", why: "no tenant can have tables that others have not" },
    { model: "rls", when: { regions: true }, weight: "out", why: "all rows lie on one server" },

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
    {
        model: "row",
        when: { oneServer: true },
        weight: -2,
        why: "while one server is enough, each point query pays for the way over the coordinator (0.1 to 0.25 ms and a round trip)",
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
        weight: "out",
        why: "a query that does not name its tenant asks every shard: 18 to 21 times the time, and a twentieth of the load",
    },
    {
        model: "row",
        when: { isolation: "namespace" },
        weight: "out",
        why: "tenants share every table; a policy is all that is between them",
    },
    {
        model: "row",
        when: { isolation: "contractual" },
        weight: "out",
        why: "tenants share tables, processes, WAL and backups",
    },
    { model: "row", when: { sameSchema: false }, weight: "out", why: "no tenant can have tables that others have not" },
    { model: "row", when: { regions: true }, weight: "out", why: "all workers are one cluster, in one place" },

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
    { model: "schema", when: { isolation: "namespace" }, weight: 3, why: "each tenant has tables of its own" },
    { model: "schema", when: { sameSchema: false }, weight: 2, why: "tenants' tables may differ" },
    {
        model: "schema",
        when: { oneServer: false },
        weight: 1,
        why: "schemas spread over the workers, and move while they are served",
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
        when: { across: true },
        weight: -3,
        why: "joins over schemas send rows between nodes, or are refused",
    },
    {
        model: "schema",
        when: { largest: { over: 0.3 } },
        weight: -1,
        why: "one schema can't be split: its neighbours are moved away from it",
    },
    {
        model: "schema",
        when: { tenants: { over: 10_000 } },
        weight: "out",
        why: "more than 10,000 schemas were never measured, and at 10,000 adding a worker already takes a minute",
    },
    {
        model: "schema",
        when: { isolation: "contractual" },
        weight: "out",
        why: "tenants share processes, WAL, backups and the superuser; it is a namespace and no more",
    },
    { model: "schema", when: { regions: true }, weight: "out", why: "all workers are one cluster, in one place" },

    {
        model: "database",
        when: { isolation: "contractual" },
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
    {
        model: "database",
        when: { isolation: "policy" },
        weight: -3,
        why: "each database costs 7 MB, a connection of its own and its turn in every migration, for an isolation that nobody asked for",
    },
    {
        model: "database",
        when: { isolation: "namespace" },
        weight: -1,
        why: "each database costs 7 MB, a connection of its own and its turn in every migration; a schema is a namespace too",
    },
    {
        model: "database",
        when: { tenants: { over: 300 } },
        weight: -2,
        why: "every database in use holds a server connection: 302 of 400 were in use by 301 databases",
    },
    {
        model: "database",
        when: { tenants: { over: 1000 } },
        weight: "out",
        why: "more than 505 databases on a server were never measured; connections end first",
    },
    { model: "database", when: { across: true }, weight: "out", why: "no query reaches two databases" },
    { model: "database", when: { regions: true }, weight: "out", why: "all nodes are one cluster, in one place" },

    {
        model: "routed",
        when: { regions: true },
        weight: 5,
        why: "the shard map sends each tenant to the server that it has to be on",
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
        when: { tenants: { over: 1000 } },
        weight: -2,
        why: "thousands of entries are kept by hand or by a program of yours",
    },
    {
        model: "routed",
        when: { regions: false, tenants: { over: 300 } },
        weight: "out",
        why: "hundreds of servers, each run by you, that nobody asked for",
    },
    { model: "routed", when: { across: true }, weight: "out", why: "no query reaches two servers" },
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

function holds(condition: Condition, situation: Situation): boolean {
    return Object.entries(condition).every(([key, wanted]) => {
        const value = situation[key as keyof Situation];
        if (typeof wanted !== "object") return value === wanted;
        const { over, upTo } = wanted;
        return (over === undefined || Number(value) > over) && (upTo === undefined || Number(value) <= upTo);
    });
}

export interface Weighed {
    readonly model: Model;
    /** Undefined when it is ruled out. */
    readonly score?: number;
    /** What rules it out, or speaks against it. */
    readonly against: readonly string[];
    readonly for: readonly string[];
}

export interface Choice {
    /** Undefined when everything is ruled out. */
    readonly model?: Model;
    readonly reasons: readonly string[];
    readonly costs: readonly string[];
    /** What one would rather not hear about it. */
    readonly but: readonly string[];
    /** What it goes with. */
    readonly also: readonly string[];
    /** The other models, best first. */
    readonly others: readonly Weighed[];
}

export function weigh(model: Model, situation: Situation): Weighed {
    const rows = TABLE.filter((row) => row.model === model && holds(row.when, situation));
    const out = [...new Set(rows.filter(({ weight }) => weight === "out").map(({ why }) => why))];
    const speaks = (sign: number) =>
        rows.filter(({ weight }) => weight !== "out" && Math.sign(weight) === sign).map(({ why }) => why);
    if (out.length > 0) return { model, against: out, for: [] };
    const score = rows.reduce((sum, { weight }) => sum + (weight === "out" ? 0 : weight), 0);
    return { model, score, for: speaks(1), against: speaks(-1) };
}

function goesWith(model: Model | undefined, situation: Situation): string[] {
    const also: string[] = [];
    if (situation.special > 0 && model !== undefined && model !== "database" && !situation.regions)
        also.push(
            `a second group of model database for the ${situation.special === 1 ? "tenant that needs" : `${situation.special} tenants that need`} one: the shard map names both groups, and a tenant goes from one to the other by from: "<group>/<tenant>"`,
        );
    if (model === "row" && situation.largest > 0.05)
        also.push("isolate: true and node for the hottest ten or twenty tenants, not for all that are large");
    if (model === "routed")
        also.push(
            "on each of these servers one of the other models: a cluster of this project by region, each with its own groups",
        );
    if (model === "schema" || model === "database")
        also.push("a pool before the database: what grows with the tenants is what a new connection costs");
    return also;
}

/** Recommends a model. */
export function choose(situation: Situation): Choice {
    const weighed = MODELS.map((model) => weigh(model, situation)).sort(
        (a, b) => (b.score ?? Number.NEGATIVE_INFINITY) - (a.score ?? Number.NEGATIVE_INFINITY),
    );
    const [best, ...others] = weighed;
    if (best?.score === undefined)
        return { reasons: [], costs: [], but: [], also: goesWith(undefined, situation), others: weighed };
    return {
        model: best.model,
        reasons: best.for,
        costs: COSTS[best.model],
        but: best.against,
        also: goesWith(best.model, situation),
        others,
    };
}
