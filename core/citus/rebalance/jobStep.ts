/** From one look at a job to the next: how far it is, how fast, and whether it gets on. Pure. */
import { describeBytes } from "../../util/bytes.ts";
import { describeHolders, type Holder } from "../waits.ts";
import { firstLine, type Task } from "./jobTasks.ts";

export interface MovingTable {
    readonly table: string;
    readonly bytes: number;
}

export interface Progress {
    readonly done: number;
    readonly total: number;
    readonly bytesDone: number;
    readonly bytesTotal: number;
    readonly bytesPerSecond: number;
    readonly secondsLeft: number | undefined;
    readonly now: string | undefined;
    /** What the database last said about a task that is being tried again. */
    readonly trouble: string | undefined;
    /** What an answer is waited for from. */
    readonly waiting?: string;
    /** Who keeps a move waiting. */
    readonly heldUp?: readonly Holder[];
}

/** `13 of 26 shard groups · 610 MB of 1.20 GB · 38 MB/s · about 16 s left · now: public.projects`. */
export function describeProgress(p: Progress): string {
    return [
        `${p.done} of ${p.total} shard groups`,
        `${describeBytes(p.bytesDone)} of ${describeBytes(p.bytesTotal)}`,
        p.bytesPerSecond > 0 ? `${describeBytes(p.bytesPerSecond)}/s` : undefined,
        p.secondsLeft !== undefined ? `about ${Math.ceil(p.secondsLeft)} s left` : undefined,
        p.now ? `now: ${p.now}` : undefined,
        p.waiting ? `waiting for ${p.waiting}` : undefined,
        p.heldUp && p.heldUp.length > 0 ? `a move waits for ${describeHolders(p.heldUp)}` : undefined,
        p.trouble ? `trying again: ${p.trouble}` : undefined,
    ]
        .filter((part) => part !== undefined)
        .join(" · ");
}

/** What one look at a job found. */
export interface JobSeen {
    /** When, in milliseconds. */
    readonly at: number;
    /** The job's state; undefined when Citus does not know it any more. */
    readonly job: string | undefined;
    readonly tasks: readonly Task[];
    /** Of the moves under way, with a mark that changes when bytes or states do. */
    readonly copied: { readonly bytes: number; readonly mark: string };
    /** Who keeps the moves waiting. */
    readonly holders: readonly Holder[];
    /** Whether anybody ever did. */
    readonly everHeld: boolean;
    /** What an answer is waited for from. */
    readonly waiting?: string;
}

/** What is remembered from look to look. */
export interface JobState {
    /** When anything changed last, in milliseconds. */
    readonly changed: number;
    /** What was seen then. */
    readonly mark: string;
    /** What was at work on the targets when that was asked last, and when. */
    readonly work: string;
    readonly workAsked: number;
    /** The most bytes that were seen: sizes of shards that are just being written come and go. */
    readonly bytes: number;
    /** When they were looked at last. */
    readonly looked: number;
    /** Seconds in which bytes were copied: waiting is no copying. */
    readonly copying: number;
    /** What was copied between two looks, of the last half a minute. */
    readonly grown: readonly { readonly at: number; readonly seconds: number; readonly bytes: number }[];
}

export interface Followed {
    readonly done: number;
    readonly bytes: number;
    /** Time in which bytes were copied and nobody kept the moves waiting; undefined when it tells nothing. */
    readonly copying: number | undefined;
}

/**
 * What follows from a look:
 * - `on`: it gets on;
 * - `quiet`: nothing changed for a while, and what is at work on the targets has to be asked;
 * - `over`: it ended well;
 * - `failed`: it ended or is given up, and why.
 */
export type JobVerdict =
    | { readonly kind: "on" | "quiet" }
    | { readonly kind: "over"; readonly followed: Followed }
    | { readonly kind: "failed"; readonly what: string };

/** What a job may take. */
export interface JobLimits {
    /** How often a task may fail. @default 4, about 2.5 minutes of Citus' own pauses */
    readonly maxRetries?: number;
    /** How long nothing at all may happen, in milliseconds. @default 600000 */
    readonly stuckAfter?: number;
}

/** Less than this says nothing about how long the rest takes, in bytes. */
const TELLING = 50_000_000;
/** How far back the rate looks, in milliseconds. */
const RECENT = 30_000;
/** How long nothing changes before it is asked what is at work on the targets, in milliseconds. */
const WORK_EVERY = 20_000;

/** @param at now, in milliseconds */
export const beginJob = (at: number): JobState => ({
    changed: at,
    mark: "",
    work: "",
    workAsked: 0,
    bytes: 0,
    looked: at,
    copying: 0,
    grown: [],
});

/** Whether a job in this state ends by itself no more. */
export const isOver = (job: string | undefined): boolean =>
    job === undefined || !["scheduled", "running", "cancelling", "failing"].includes(job);

/** Bytes a second over what was copied last; 0 when nothing was for a while. */
function rateOf({ grown }: JobState, at: number): number {
    const recent = grown.filter((one) => at - one.at < RECENT);
    const seconds = recent.reduce((sum, one) => sum + one.seconds, 0);
    return seconds > 1 ? recent.reduce((sum, one) => sum + one.bytes, 0) / seconds : 0;
}

function withBytes(state: JobState, bytes: number, at: number): JobState {
    const grown = bytes - state.bytes;
    if (grown <= 0) return { ...state, looked: at };
    // what was there at the first look took no time that is known
    const seconds = (at - state.looked) / 1000;
    return {
        ...state,
        bytes,
        looked: at,
        copying: state.copying + seconds,
        grown: [...state.grown.filter((one) => at - one.at < RECENT), { at, seconds, bytes: grown }],
    };
}

/** Tasks that failed and are, or may be, tried again. */
const failingOf = (tasks: readonly Task[]) =>
    tasks.filter(
        ({ retries, status, message }) =>
            retries > 0 && ["runnable", "running", "error"].includes(status) && message !== "",
    );

/** Whether too much failed or too little happened. */
function givenUp(state: JobState, seen: JobSeen, { maxRetries = 4, stuckAfter = 600_000 }: JobLimits): JobVerdict {
    const worn = failingOf(seen.tasks).find(({ retries }) => retries >= maxRetries);
    if (worn) return { kind: "failed", what: `a move failed ${worn.retries} times` };
    const quiet = seen.at - state.changed;
    if (quiet > stuckAfter) return { kind: "failed", what: `nothing happened for ${Math.round(quiet / 1000)} s` };
    return { kind: "on" };
}

/**
 * One look more.
 * @param groups size and name of each shard group, by its tables' shard ids
 */
export function step(
    before: JobState,
    seen: JobSeen,
    groups: ReadonlyMap<string, MovingTable>,
    limits: JobLimits,
): { readonly state: JobState; readonly progress: Progress; readonly verdict: JobVerdict } {
    const moves = seen.tasks.filter(({ shardId }) => shardId !== null);
    const bytesIn = (tasks: readonly Task[]) =>
        tasks.reduce((sum, { shardId }) => sum + (groups.get(shardId ?? "")?.bytes ?? 0), 0);
    const done = moves.filter(({ status }) => status === "done");
    const bytesTotal = bytesIn(moves);
    const counted = withBytes(before, Math.min(bytesTotal, bytesIn(done) + seen.copied.bytes), seen.at);
    const mark = JSON.stringify([
        seen.job,
        seen.tasks.map(({ status, retries }) => [status, retries]),
        seen.copied.mark,
    ]);
    const state = mark === before.mark ? counted : { ...counted, mark, changed: seen.at };
    const rate = rateOf(state, seen.at);
    const [failing] = failingOf(seen.tasks);
    const running = seen.tasks.find(({ status }) => status === "running");
    const progress: Progress = {
        done: done.length,
        total: moves.length,
        bytesDone: state.bytes,
        bytesTotal,
        bytesPerSecond: rate,
        secondsLeft:
            rate > 0 && state.bytes >= Math.min(bytesTotal / 100, TELLING)
                ? (bytesTotal - state.bytes) / rate
                : undefined,
        now: running && (running.shardId ? groups.get(running.shardId)?.table : "reference tables"),
        trouble: failing && firstLine(failing.message),
        ...(seen.waiting === undefined ? {} : { waiting: seen.waiting }),
        ...(isOver(seen.job) || seen.holders.length === 0 ? {} : { heldUp: seen.holders }),
    };
    return { state, progress, verdict: judge(state, seen, limits, { done: done.length, bytesTotal }) };
}

function judge(
    state: JobState,
    seen: JobSeen,
    limits: JobLimits,
    { done, bytesTotal }: { readonly done: number; readonly bytesTotal: number },
): JobVerdict {
    if (seen.job === undefined || seen.job === "finished") {
        const hindered = seen.everHeld || seen.tasks.some(({ retries }) => retries > 0);
        return { kind: "over", followed: { done, bytes: bytesTotal, copying: hindered ? undefined : state.copying } };
    }
    if (seen.job === "failed" || seen.job === "cancelled") return { kind: "failed", what: `the rebalance ${seen.job}` };
    // building an index, or applying what was written meanwhile, changes no size
    if (seen.at - Math.max(state.changed, state.workAsked) > WORK_EVERY) return { kind: "quiet" };
    return givenUp(state, seen, limits);
}

/** After it was asked what is at work on the targets. @param work a mark of it */
export function afterWork(
    before: JobState,
    seen: JobSeen,
    work: string,
    limits: JobLimits,
): { readonly state: JobState; readonly verdict: JobVerdict } {
    const state = {
        ...before,
        work,
        workAsked: seen.at,
        ...(work === before.work ? {} : { changed: seen.at }),
    };
    return { state, verdict: givenUp(state, seen, limits) };
}
