/** Which model of tenancy fits: what follows from the decision table. Pure. */

import { MODELS, type Model } from "../group/spec.ts";
import { COSTS, type Condition, DEFAULTS, type Facts, GUIDES, QUESTIONS, type Situation, TABLE } from "./choices.ts";

export { COSTS, DEFAULTS, GUIDES, QUESTIONS, type Situation, TABLE } from "./choices.ts";

/** A model with less than this has more against it than for it. */
const GOOD = 1;

/** Databases of a worker that were no burden. */
const DATABASES_PER_WORKER = 300;

function holds(condition: Condition, facts: Facts): boolean {
    return Object.entries(condition).every(([key, wanted]) => {
        const value = facts[key as keyof Facts];
        if (typeof wanted !== "object") return value === wanted;
        const { over, upTo } = wanted;
        return (over === undefined || Number(value) > over) && (upTo === undefined || Number(value) <= upTo);
    });
}

export interface Weighed {
    readonly model: Model;
    /** Undefined when it can't be done with it. */
    readonly score?: number;
    /** What rules it out, or speaks against it. */
    readonly against: readonly string[];
    readonly for: readonly string[];
}

/** An answer that would have to be another. */
export interface GivenUp {
    readonly flag: string;
    readonly from: string;
    readonly to: string;
}

/** What to do when no model does all of it well. */
export interface WayOut {
    readonly mixture: string;
    /** What to give up first, and the model that then fits. */
    readonly giveUp: readonly GivenUp[];
    readonly leadsTo: Model;
}

export interface Choice {
    readonly model: Model;
    readonly reasons: readonly string[];
    readonly costs: readonly string[];
    /** What one would rather not hear about it. */
    readonly but: readonly string[];
    /** What it goes with. */
    readonly also: readonly string[];
    /** Models that have as much to say for them. */
    readonly ties: readonly Model[];
    /** What guides say of it, and where measurements say otherwise. */
    readonly guides: string;
    /** What helps the largest tenant, when no node holds it; the choice is for the others then. */
    readonly tooLarge: readonly string[];
    readonly wayOut?: WayOut;
    /** The other models, best first. */
    readonly others: readonly Weighed[];
}

export function weigh(model: Model, situation: Situation): Weighed {
    const facts: Facts = { ...situation, perWorker: situation.tenants / situation.workers };
    const rows = TABLE.filter((row) => row.model === model && holds(row.when, facts));
    const out = [...new Set(rows.filter(({ weight }) => weight === "out").map(({ why }) => why))];
    const speaks = (sign: number) =>
        rows.filter(({ weight }) => weight !== "out" && Math.sign(weight) === sign).map(({ why }) => why);
    if (out.length > 0) return { model, against: out, for: [] };
    const score = rows.reduce((sum, { weight }) => sum + (weight === "out" ? 0 : weight), 0);
    return { model, score, for: speaks(1), against: speaks(-1) };
}

/** Best first; of those that are equal, the one that is cheaper to run. */
const ranked = (situation: Situation) =>
    MODELS.map((model) => weigh(model, situation)).sort(
        (a, b) => (b.score ?? Number.NEGATIVE_INFINITY) - (a.score ?? Number.NEGATIVE_INFINITY),
    );

/** All but all data of what no server holds alone is no tenant that a model can place. */
const doesNotFit = ({ oneServer, largestFits, largest }: Situation) => !oneServer && (!largestFits || largest >= 0.9);

const TOO_LARGE = [
    "no model helps the largest tenant: each keeps a tenant on one node, and no node holds it",
    "give it a cluster of its own, in which its tables are distributed by a second key (its customers, its projects); in the shard map it is a tenant of model routed",
    "or take its old rows out (an archive, partitions that are dropped), until one worker holds it",
    "what follows is for the other tenants",
];

/** The other tenants. */
const withoutLargest = (situation: Situation): Situation => ({
    ...situation,
    tenants: Math.max(1, situation.tenants - 1),
    largest: DEFAULTS.largest,
    traffic: DEFAULTS.traffic,
    largestFits: true,
});

const shown = (value: string | number | boolean) => (typeof value === "boolean" ? (value ? "yes" : "no") : `${value}`);

/** Milder answers, cheapest to give up first. */
function milder(situation: Situation): Partial<Situation>[] {
    const workers = Math.ceil(situation.tenants / DATABASES_PER_WORKER);
    return [
        ...(situation.across ? [{ across: false }] : []),
        ...(workers > situation.workers && situation.isolation !== "policy" ? [{ workers }] : []),
        ...(situation.restoreOne ? [{ restoreOne: false }] : []),
        ...(situation.signUps > 20 ? [{ signUps: 20 }] : []),
        ...(situation.keyed ? [] : [{ keyed: true }]),
        ...(situation.isolation === "database" ? [{ isolation: "tables" as const }] : []),
        ...(situation.isolation === "policy" ? [] : [{ isolation: "policy" as const }]),
        ...(situation.ownBackups ? [{ ownBackups: false }] : []),
        ...(situation.regions ? [{ regions: false }] : []),
        ...(situation.sameSchema ? [] : [{ sameSchema: true }]),
        // what is one server's fits one of the models whatever else is given up
        ...(situation.oneServer ? [] : [{ oneServer: true }]),
    ];
}

/** Sets of a size, in order. */
function* setsOf<T>(items: readonly T[], size: number, from = 0): Generator<T[]> {
    if (size === 0) yield [];
    else
        for (let i = from; i <= items.length - size; i++)
            for (const rest of setsOf(items, size - 1, i + 1)) yield [items[i] as T, ...rest];
}

function mixtureOf({ tenants, isolation, regions, ownBackups, sameSchema }: Situation): string {
    const needs = [
        ...(regions ? ["a region or server"] : []),
        ...(ownBackups ? ["keys or backups of their own"] : []),
        ...(isolation === "database" ? ["a database of their own"] : []),
        ...(isolation === "tables" ? ["tables of their own"] : []),
        ...(sameSchema ? [] : ["other tables"]),
    ];
    return needs.length === 0
        ? "split the tenants into groups that each need less: small ones in one model, the large and busy ones in another. The shard map names both, and a tenant goes from one to the other by `from`."
        : `seldom do all ${tenants} tenants need ${needs.join(" and ")}. Put those that do into a group of their own (routed for servers, database or schema for the rest), and answer again for the others. The shard map names both groups, and a tenant goes from one to the other by \`from\`.`;
}

/** The fewest answers to give up, so that a model fits. */
function wayOutOf(situation: Situation): WayOut {
    const some = milder(situation);
    for (let size = 1; size <= some.length; size++)
        for (const set of setsOf(some, size)) {
            const given: Partial<Situation> = Object.assign({}, ...set);
            const [best] = ranked({ ...situation, ...given });
            if (best?.score === undefined || best.score < GOOD) continue;
            const giveUp = QUESTIONS.filter(({ key }) => Object.hasOwn(given, key)).map(({ key, flag }) => ({
                flag,
                from: shown(situation[key]),
                to: shown(given[key] as string | number | boolean),
            }));
            return { mixture: mixtureOf(situation), giveUp, leadsTo: best.model };
        }
    return { mixture: mixtureOf(situation), giveUp: [], leadsTo: "routed" };
}

function goesWith(model: Model, situation: Situation): string[] {
    const also: string[] = [];
    const { special, traffic, largest, across, signUps, restoreOne } = situation;
    if (special > 0 && model !== "database" && !situation.regions)
        also.push(
            `a second group of model database for the ${special === 1 ? "tenant that needs" : `${special} tenants that need`} one: the shard map names both groups, and a tenant goes from one to the other by from: "<group>/<tenant>"`,
        );
    if (model === "row" && (largest > 0.05 || traffic > 0.05))
        also.push("isolate: true and node for the hottest ten or twenty tenants, not for all that are large");
    if (model === "schema" && traffic > 0.2)
        also.push(
            "node for the busiest tenant, on a worker that has few others: the rebalancer counts bytes and not queries",
        );
    if (model === "routed")
        also.push(
            "on each of these servers one of the other models: a cluster of this project by region, each with its own groups",
        );
    if (model === "schema" || model === "database")
        also.push("a pool before the database: what grows with the tenants is what a new connection costs");
    if (across && (model === "database" || model === "routed"))
        also.push(
            "a warehouse that reads every tenant's database (or postgres_fdw), for the reports over many tenants",
        );
    if (signUps > 5 && (model === "schema" || model === "row" || model === "rls"))
        also.push("onboarding: true, so that the application makes tenants itself (citus_as_code.create_tenant)");
    if (restoreOne && (model === "rls" || model === "row"))
        also.push("npm run recover for the one tenant: it brings its rows back from a restored copy of the cluster");
    return also;
}

/** Recommends a model. There is always one; with more against it than for it, it comes with a way out. */
export function choose(given: Situation): Choice {
    const tooLarge = doesNotFit(given);
    const situation = tooLarge ? withoutLargest(given) : given;
    const [best, ...others] = ranked(situation);
    if (best?.score === undefined) throw new Error("the table rules every model out, and routed is never ruled out");
    return {
        model: best.model,
        reasons: best.for,
        costs: COSTS[best.model],
        but: best.against,
        also: goesWith(best.model, situation),
        ties: others.filter(({ score }) => score === best.score).map(({ model }) => model),
        guides: GUIDES[best.model],
        tooLarge: tooLarge ? TOO_LARGE : [],
        ...(best.score < GOOD ? { wayOut: wayOutOf(situation) } : {}),
        others,
    };
}
