/** What Citus would do with a statement: how many shards it asks, why, and how to make it one. Pure. */

/** One part of a statement: the statement itself, or one whose result it needs first. */
export interface Part {
    readonly name: string;
    readonly tasks: number;
    /** Numbers of the shards that are shown: of one task where there are many. */
    readonly shards: readonly number[];
    /** Names of nodes of the tasks that are shown. */
    readonly nodes: readonly string[];
    /** `Insert`, `Update`, `Delete` or `Merge`, where it writes. */
    readonly writes?: string;
    /** Rows sent between nodes before they can be joined. */
    readonly repartition?: readonly { readonly map: number; readonly merge: number }[];
    /** How INSERT ... SELECT brings rows to where they belong, when each shard can't do it by itself. */
    readonly method?: string;
}

export interface Explained {
    readonly parts: readonly Part[];
    /** Tasks of the part with the most. 0 is a query of the coordinator alone. */
    readonly tasks: number;
    /** What no worker could explain, in the database's words. */
    readonly failed?: string;
}

const THE_STATEMENT = "the statement";

type Json = Readonly<Record<string, unknown>>;

const isObject = (value: unknown): value is Json => typeof value === "object" && value !== null;

/** Every object below a value, itself first; not into what `stop` says is another part. */
function* objectsIn(value: unknown, stop: (value: Json) => boolean = () => false): Generator<Json> {
    if (Array.isArray(value)) {
        for (const item of value) yield* objectsIn(item, stop);
    } else if (isObject(value)) {
        yield value;
        if (!stop(value)) for (const child of Object.values(value)) yield* objectsIn(child, stop);
    }
}

const isCitus = (value: Json) => String(value["Custom Plan Provider"] ?? "").startsWith("Citus");

/** `users_102040` is shard 102040. */
function shardOf(relation: unknown): number | undefined {
    const match = /_([0-9]{1,15})$/.exec(String(relation ?? ""));
    return match ? Number(match[1]) : undefined;
}

const distinct = <T>(values: readonly T[]) => [...new Set(values)];

function dependent(job: Json): { map: number; merge: number }[] {
    const jobs = Array.isArray(job["Dependent Jobs"]) ? (job["Dependent Jobs"] as Json[]) : [];
    return jobs.flatMap((one) => [
        { map: Number(one["Map Task Count"] ?? 0), merge: Number(one["Merge Task Count"] ?? 0) },
        ...dependent(one),
    ]);
}

function partOf(name: string, scan: Json, method: string | undefined): Part | undefined {
    const query = scan["Distributed Query"];
    const job = isObject(query) && isObject(query.Job) ? query.Job : undefined;
    if (!job) return undefined;
    const tasks = Array.isArray(job.Tasks) ? (job.Tasks as Json[]) : [];
    const plans = [...objectsIn(tasks)];
    const writes = plans.find((plan) => plan["Node Type"] === "ModifyTable")?.Operation;
    const repartition = dependent(job);
    return {
        name,
        tasks: Number(job["Task Count"] ?? 0),
        shards: distinct(plans.flatMap((plan) => shardOf(plan["Relation Name"]) ?? [])),
        nodes: distinct(tasks.flatMap((task) => /host=([^ .]+)/.exec(String(task.Node))?.[1] ?? [])),
        ...(writes === undefined ? {} : { writes: String(writes) }),
        ...(repartition.length === 0 ? {} : { repartition }),
        ...(method === undefined ? {} : { method }),
    };
}

function partsOf(name: string, value: unknown, method?: string): Part[] {
    const parts: Part[] = [];
    for (const found of objectsIn(value, isCitus)) {
        if (!isCitus(found)) continue;
        if (found["Select Query"] !== undefined) {
            parts.push(...partsOf(name, found["Select Query"], String(found["INSERT/SELECT method"] ?? "")));
            continue;
        }
        const part = partOf(name, found, method);
        if (part) parts.push(part);
        const query = found["Distributed Query"];
        const subplans = isObject(query) && Array.isArray(query.Subplans) ? query.Subplans : [];
        for (const subplan of subplans) parts.push(...partsOf("a part that runs first", subplan));
        // MERGE and others have their source below them
        for (const [key, child] of Object.entries(found))
            if (key !== "Distributed Query") parts.push(...partsOf("its source", child));
    }
    return parts;
}

/** @param plan what EXPLAIN (FORMAT JSON) gave */
export function parseExplain(plan: unknown): Explained {
    const parsed: unknown = typeof plan === "string" ? JSON.parse(plan) : plan;
    const parts = partsOf(THE_STATEMENT, parsed);
    const failed = [...objectsIn(parsed)].map((object) => object.Error).find((error) => error !== undefined);
    return {
        parts,
        tasks: Math.max(0, ...parts.map(({ tasks }) => tasks)),
        ...(failed === undefined ? {} : { failed: String(failed) }),
    };
}

/** A Citus table, as the catalogs have it. */
export interface KnownTable {
    readonly name: string;
    readonly kind: "distributed" | "reference" | "single";
    /** Its distribution column. */
    readonly column?: string;
    readonly shards: number;
    /** Nodes that have a copy of a reference table. */
    readonly copies: number;
    /** Whether policies are on. */
    readonly policies: boolean;
    /** Tables with the same one are together. */
    readonly colocation?: number;
    /** What the statement calls it. */
    readonly as?: string;
}

export interface Advice {
    readonly verdict: "one" | "several" | "all" | "moves rows" | "every copy" | "coordinator" | "refused";
    /** What it does, and why, a line each. */
    readonly says: readonly string[];
    /** How to make it one shard; empty when there is nothing to do. */
    readonly fix: readonly string[];
}

const plural = (n: number, what: string) => `${n} ${what}${n === 1 ? "" : "s"}`;
const list = (names: readonly string[]) => names.join(", ");

function adviseReference(table: KnownTable): Advice {
    return {
        verdict: "every copy",
        says: [
            `the reference table ${table.name}: although there is one task, it writes ${table.copies === 1 ? "its copy" : `all ${table.copies} copies`}, a transaction over every node.`,
        ],
        fix: [
            `Read ${table.name} as often as you like, and write it seldom. What one tenant changes belongs in a table that is distributed by the tenant's key.`,
        ],
    };
}

/** What makes a join of these tables stay on a node; also for a statement that Citus refuses. */
function joinBy(tables: readonly KnownTable[]): string {
    const [first, ...others] = tables.flatMap(({ name, as, column }) =>
        column === undefined ? [] : [`${as ?? name}.${column}`],
    );
    const condition = others.map((other) => `AND ${first} = ${other}`).join(" ");
    return `Join by the tenant's key too${condition === "" ? "" : `: add  ${condition}  to the join`}, and colocate the tables (the same distributeBy). A small table that every tenant reads can be a reference table.`;
}

/** A table of a tenant's schema, and one that it can't be joined with. */
function apart(tables: readonly KnownTable[]): readonly [KnownTable, KnownTable] | undefined {
    const single = tables.find(({ kind }) => kind === "single");
    const other = tables.find(({ kind, colocation }) =>
        kind === "single" ? colocation !== single?.colocation : kind === "distributed",
    );
    return single && other && [single, other];
}

const ASK_EACH =
    "Ask each by itself, and put the answers together in the application. What all tenants share can be in a reference table.";

const SEVERITY: readonly Advice["verdict"][] = ["coordinator", "one", "several", "every copy", "all", "moves rows"];

/** Where one tenant is named. @param where whether the statement has one; undefined where that is not to be said */
function nameTenant(part: Part, condition: string, where: boolean | undefined): string {
    if (part.name !== THE_STATEMENT) return `In ${part.name}: add the condition  ${condition}`;
    return where === undefined ? `Add the condition  ${condition}` : `Add  ${where ? "AND" : "WHERE"} ${condition}`;
}

function advisePart(
    part: Part,
    known: ReadonlyMap<number, KnownTable>,
    distributed: readonly KnownTable[],
    where: boolean | undefined,
): Advice {
    const tables = distinct(part.shards.flatMap((shard) => known.get(shard) ?? []));
    const keyed = tables.filter(({ kind }) => kind === "distributed");
    const of = keyed[0];
    const key = of?.column ?? distributed[0]?.column ?? "the tenant's key";
    if (part.repartition)
        return {
            verdict: "moves rows",
            says: [
                `${part.name} joins by other columns than the tables are distributed by, so rows are sent between the nodes first: ${part.repartition.map(({ map, merge }) => `${map} tasks read, ${merge} collect`).join("; ")}.`,
            ],
            fix: [apart(distributed) ? ASK_EACH : joinBy(distributed)],
        };
    if (part.method !== undefined && part.method !== "")
        return {
            verdict: "moves rows",
            says: [
                part.method === "repartition"
                    ? `INSERT ... SELECT reads ${plural(part.tasks, "shard")} and sends each row to the node where it belongs.`
                    : `INSERT ... SELECT reads ${plural(part.tasks, "shard")}, collects every row on the coordinator and sends it out again.`,
            ],
            fix: [
                `Select from a table of the same colocation group, and put its distribution column (${key}) in the place of the target's: then each shard does it by itself.`,
            ],
        };
    const reference = tables.find(({ kind }) => kind === "reference");
    if (part.writes && reference && keyed.length === 0) return adviseReference(reference);
    const on = part.nodes.length > 0 ? ` on ${list(part.nodes)}` : "";
    if (part.tasks <= 1) {
        const single = tables.find(({ kind }) => kind === "single");
        const why = of
            ? `1 of ${plural(of.shards, "shard")} of ${list(keyed.map(({ name }) => name))}${on}: the ${part.writes === "Insert" ? "value of" : "condition on"} ${key} says which.`
            : single
              ? `1 shard${on}: ${single.name} has no others.`
              : reference
                ? `1 copy of ${reference.name}${on}: it is the same on every node.`
                : `1 task${on}.`;
        return { verdict: "one", says: [`${part.name} asks ${why}`], fix: [] };
    }
    const all = of === undefined || part.tasks >= of.shards;
    const shards = of === undefined ? plural(part.tasks, "shard") : `${part.tasks} of ${plural(of.shards, "shard")}`;
    const as = distributed.find(({ name }) => name === of?.name)?.as ?? of?.name;
    const prefix = keyed.length > 1 ? `${as}.` : "";
    const policies = keyed.filter(({ policies }) => policies).map(({ name }) => name);
    return {
        verdict: all ? "all" : "several",
        says: [
            all
                ? `${part.name} asks ${shards}${keyed.length > 0 ? ` of ${list(keyed.map(({ name }) => name))}` : ""}: nothing in it says which ${key} it is about.`
                : `${part.name} asks ${shards} of ${list(keyed.map(({ name }) => name))}: it is about several values of ${key}.`,
            ...(policies.length > 0
                ? [
                      `The policies of ${list(policies)} hide other tenants' rows, but they do not choose a shard: every shard is asked all the same.`,
                  ]
                : []),
        ],
        fix: [
            part.writes === "Insert"
                ? `Give ${key} a constant, and one tenant for each statement.`
                : `${nameTenant(part, `${prefix}${key} = <the tenant>`, where)}  for one tenant${keyed.length > 1 ? `, and join the others by ${key}` : ""}. A report over all tenants is right to ask every shard.`,
        ],
    };
}

/**
 * Says it for a person.
 * @param known tables by the shards that the plan shows
 * @param distributed tables that the statement names, where the plan shows no shard
 * @param where whether the statement has a WHERE; undefined where that is not to be said
 */
export function advise(
    explained: Explained,
    known: ReadonlyMap<number, KnownTable>,
    distributed: readonly KnownTable[] = [],
    where?: boolean,
): Advice {
    if (explained.parts.length === 0)
        return {
            verdict: "coordinator",
            says: ["The coordinator answers by itself: the statement has no Citus table, or needs no row."],
            fix: [],
        };
    const advice = explained.parts.map((part) => advisePart(part, known, distributed, where));
    const worst = Math.max(...advice.map(({ verdict }) => SEVERITY.indexOf(verdict)));
    const first = explained.parts.filter(({ name }) => name === "a part that runs first").length;
    return {
        verdict: SEVERITY[worst] ?? "one",
        says: distinct([
            ...advice.flatMap(({ says }) => says),
            ...(first > 0
                ? [`The result of ${plural(first, "part")} is kept and sent to the nodes that need it.`]
                : []),
            ...(explained.failed === undefined ? [] : [`A worker could not say more: ${explained.failed}`]),
        ]).map((line) => `${line.charAt(0).toUpperCase()}${line.slice(1)}`),
        fix: distinct(advice.flatMap(({ fix }) => fix)),
    };
}

/**
 * Citus' own words for what it does not do, as advice; undefined for any other error.
 * @param tables that the statement names
 */
export function adviseError(message: string, tables: readonly KnownTable[] = []): Advice | undefined {
    const joins =
        /requires repartitioning|complex joins are only supported when all distributed tables are (co-located|joined)|non-colocated distributed tables/;
    const unplanned = /cannot (push down|perform) .*(subquery|distributed planning)/i;
    const two = apart(tables);
    if (two && (joins.test(message) || unplanned.test(message))) {
        const [first, other] = two;
        return {
            verdict: "refused",
            says: [
                `${first.name} and ${other.name} are ${other.kind === "single" ? "in schemas of different tenants" : "a table of a tenant's schema and one distributed by a column"}. Citus joins a tenant's tables with those of the same schema and with reference tables. It joins others only by sending all rows between the nodes (citus.enable_repartition_joins).`,
            ],
            fix: [ASK_EACH],
        };
    }
    if (/requires repartitioning/.test(message))
        return {
            verdict: "moves rows",
            says: [
                "Citus refuses it: the join needs rows to be sent between the nodes, and citus.enable_repartition_joins is off.",
            ],
            fix: [joinBy(tables)],
        };
    if (joins.test(message))
        return {
            verdict: "moves rows",
            says: ["Citus refuses it: the tables are not colocated, or are not joined by their distribution columns."],
            fix: [joinBy(tables)],
        };
    if (unplanned.test(message))
        return {
            verdict: "moves rows",
            says: ["Citus can't plan it: a part of it needs rows of all tenants in one place."],
            fix: [
                `Name the tenant in each part of it: ${tables.find(({ column }) => column !== undefined)?.column ?? "the tenant's key"} = <the tenant>.`,
            ],
        };
    return undefined;
}
