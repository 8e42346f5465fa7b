/** In which order a change of a group's template reaches its tenants. Pure. */
import { ownProperty } from "../../util/ownProperty.ts";

export const WAVES = ["canary", "part", "rest"] as const;
export type Wave = (typeof WAVES)[number];

export interface RolloutSpec {
    /** How many tenants, or which, are first. @default 1 */
    readonly canary?: number | readonly string[];
    /** Which part of the others is next, from 0 to 1. @default 0.1 */
    readonly part?: number;
    /** Milliseconds between the end of a wave and the next. @default 0 */
    readonly pause?: number;
    /** Whether each wave after the first waits until a person approved it. @default false */
    readonly approve?: boolean;
    /** How many tenants of a wave are migrated at a time. @default 1 */
    readonly parallel?: number;
}

/**
 * Which wave each tenant is in: the canaries, then a `part` of the others, then all. The same for every run
 * while the tenants stay the same, whichever have it already.
 */
export function wavesOf(tenants: readonly string[], { canary = 1, part = 0.1 }: RolloutSpec): Map<string, Wave> {
    const first = new Set(typeof canary === "number" ? tenants.slice(0, canary) : canary);
    const others = tenants.filter((name) => !first.has(name));
    const next = new Set(others.slice(0, Math.ceil(part * others.length)));
    return new Map(tenants.map((name) => [name, first.has(name) ? "canary" : next.has(name) ? "part" : "rest"]));
}

/** What is known of files on their way to a group's tenants. */
export interface UnderWay {
    /** Files that each existing tenant has not run. */
    readonly pending: Readonly<Record<string, readonly string[]>>;
    /** Of files that are pending for somebody: how many seconds ago each tenant ran it. Only asked for a pause. */
    readonly ages?: Readonly<Record<string, Readonly<Record<string, number>>>>;
    /** Waves that a person approved, by file with the content that it has. */
    readonly approved?: Readonly<Record<string, readonly Wave[]>>;
}

/** Why a file does not reach a wave yet. */
export type Waiting =
    | { readonly for: "wave"; readonly wave: Wave }
    | { readonly for: "pause"; readonly wave: Wave; readonly seconds: number }
    | { readonly for: "approval"; readonly wave: Wave };

/** Whether waves end a run: what comes after one is another run's. */
export const stopsBetweenWaves = ({ pause = 0, approve = false }: RolloutSpec) => pause > 0 || approve;

/** What keeps a file from a wave, by what is in the database now; undefined where nothing does. */
export type Gate = (wave: Wave, path: string) => Waiting | undefined;

/** Without pause and approval waves follow each other in one run, and no gate is shut. */
export function gates(tenants: readonly string[], settings: RolloutSpec, { pending, ages, approved }: UnderWay): Gate {
    if (!stopsBetweenWaves(settings)) return () => undefined;
    const waves = wavesOf(tenants, settings);
    const { pause = 0, approve = false } = settings;
    const before = (wave: Wave) =>
        tenants.filter((name) => WAVES.indexOf(waves.get(name) ?? "rest") < WAVES.indexOf(wave));
    const earlier = { canary: before("canary"), part: before("part"), rest: before("rest") };
    const ask: Gate = (wave, path) => {
        const without = earlier[wave].find((name) => ownProperty(pending, name)?.includes(path));
        if (without !== undefined) return { for: "wave", wave: waves.get(without) ?? "canary" };
        const ran = ownProperty(ages ?? {}, path) ?? {};
        const youngest = Math.min(...earlier[wave].map((name) => ownProperty(ran, name) ?? Number.POSITIVE_INFINITY));
        if (youngest * 1000 < pause) return { for: "pause", wave, seconds: Math.ceil(pause / 1000 - youngest) };
        if (approve && earlier[wave].length > 0 && !ownProperty(approved ?? {}, path)?.includes(wave))
            return { for: "approval", wave };
        return undefined;
    };
    const known = new Map<string, Waiting | undefined>();
    return (wave, path) => {
        const key = `${wave} ${path}`;
        if (!known.has(key)) known.set(key, ask(wave, path));
        return known.get(key);
    };
}

export interface Turn {
    readonly tenant: string;
    readonly wave: Wave;
    readonly files: readonly string[];
}

/** Files that wait, with the first wave that they wait before. */
export interface Stop {
    readonly path: string;
    readonly wave: Wave;
    readonly waiting: Waiting;
    /** Tenants of that wave and the later ones that have not run it. */
    readonly tenants: number;
}

/**
 * Tenants with what each runs in this run, wave after wave, and what waits.
 * @param order files in the order in which they are run
 */
export function rollout(
    tenants: readonly string[],
    order: readonly string[],
    settings: RolloutSpec,
    underWay: UnderWay,
): { turns: Turn[]; stops: Stop[] } {
    const waves = wavesOf(tenants, settings);
    const gate = gates(tenants, settings, underWay);
    const stops = new Map<string, Stop>();
    const turns = WAVES.flatMap((wave) => {
        const shut = new Map(order.map((path) => [path, gate(wave, path)]));
        return tenants.flatMap((tenant): Turn[] => {
            const pending = waves.get(tenant) === wave ? (ownProperty(underWay.pending, tenant) ?? []) : [];
            if (pending.length === 0) return [];
            const files = order.filter((path) => pending.includes(path));
            const first = files.findIndex((path) => shut.get(path) !== undefined);
            for (const path of first < 0 ? [] : files.slice(first)) {
                const before = stops.get(path);
                const waiting = shut.get(path) ?? shut.get(files[first] ?? "");
                if (waiting) stops.set(path, { path, wave, waiting, ...before, tenants: (before?.tenants ?? 0) + 1 });
            }
            const now = first < 0 ? files : files.slice(0, first);
            return now.length > 0 ? [{ tenant, wave, files: now }] : [];
        });
    });
    return { turns, stops: [...stops.values()] };
}

/**
 * Files that a new tenant is made from: those that the first wave has proved, and that may be in the new one's wave. It runs
 * the others with the rest of its wave.
 * @param existing tenants that were made before
 */
export function filesForNew(
    tenants: readonly string[],
    order: readonly string[],
    settings: RolloutSpec,
    underWay: UnderWay,
    existing: ReadonlySet<string>,
): (tenant: string) => readonly string[] {
    const waves = wavesOf(tenants, settings);
    const first = WAVES.find((wave) => tenants.some((name) => waves.get(name) === wave && existing.has(name)));
    if (first === undefined) return () => order;
    const proving = tenants.filter((name) => waves.get(name) === first && existing.has(name));
    const unproved = new Set(proving.flatMap((name) => ownProperty(underWay.pending, name) ?? []));
    // what nobody waits for has reached all of them
    const waited = new Set(tenants.flatMap((name) => ownProperty(underWay.pending, name) ?? []));
    const gate = gates(tenants, settings, underWay);
    const upTo = (wave: Wave) => {
        const shut = order.findIndex(
            (path) => unproved.has(path) || (waited.has(path) && gate(wave, path) !== undefined),
        );
        return shut < 0 ? order : order.slice(0, shut);
    };
    const known = { canary: upTo("canary"), part: upTo("part"), rest: upTo("rest") };
    return (tenant) => known[waves.get(tenant) ?? "rest"];
}
