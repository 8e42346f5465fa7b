/** Following one background rebalance: what it has done, how fast, and why it does not get on. */

import { saidBy } from "../../reach/said.ts";
import type { Session } from "../../reach/session.ts";
import { pause } from "../../util/pause.ts";
import {
    afterWork,
    beginJob,
    type Followed,
    isOver,
    type JobLimits,
    type MovingTable,
    type Progress,
    step,
} from "./jobStep.ts";
import { type Task, taskReader } from "./jobTasks.ts";
import { explainJob } from "./jobTrouble.ts";
import { type HolderOptions, watchHolders } from "./jobWaiters.ts";
import { readCopied, readWork } from "./jobWork.ts";

/** A rebalance that did not end well. */
export class JobError extends Error {
    readonly done: number;
    readonly total: number;
    constructor(message: string, done: number, total: number) {
        super(message);
        this.done = done;
        this.total = total;
    }
}

export interface FollowOptions extends JobLimits, HolderOptions {
    /** Size and name of each shard group, by its tables' shard ids. */
    readonly groups: ReadonlyMap<string, MovingTable>;
    readonly progress: (progress: Progress) => void;
    /** Called once for each move that begins. */
    readonly started?: (task: Task) => Promise<void>;
    /** Called once for each move that is done. */
    readonly moved: (task: Task) => Promise<void>;
    /** Names of nodes that do not answer a question put to them directly. */
    readonly silent?: () => Promise<string[]>;
    /** Throws when nobody waits for this any more. */
    readonly alive: () => void;
}

/** Moves that began and ended since they were looked at last; those that ended are seen to beside the moves that go on. */
function attendant({ started, moved }: Pick<FollowOptions, "started" | "moved">) {
    const begun = new Set<string>();
    const ended = new Set<string>();
    const seeing: Promise<void>[] = [];
    let failure: { readonly error: unknown } | undefined;
    return {
        async attend(tasks: readonly Task[]) {
            for (const task of tasks.filter(({ shardId }) => shardId !== null)) {
                if (task.status === "running" && !begun.has(task.taskId)) {
                    begun.add(task.taskId);
                    await started?.(task);
                }
                if (task.status === "done" && !ended.has(task.taskId)) {
                    ended.add(task.taskId);
                    seeing.push(
                        moved(task).catch((error: unknown) => {
                            failure ??= { error };
                        }),
                    );
                }
            }
        },
        all: () => Promise.all(seeing),
        /** @throws what one of them met */
        check() {
            if (failure !== undefined) throw failure.error;
        },
    };
}

/**
 * Follows a job to its end.
 * @throws JobError with the cause when it failed, was cancelled, or does not get on
 */
export async function followJob(session: Session, jobId: string, options: FollowOptions): Promise<Followed> {
    let state = beginJob(Date.now());
    let copied = { bytes: 0, mark: "" };
    let shown: Progress | undefined;
    const holding = watchHolders(options);
    const moves = attendant(options);
    const readNow = taskReader(session, jobId);
    const silentNodes = async () => (await options.silent?.().catch(() => [])) ?? [];
    const showWaiting = (waiting: string) => shown && options.progress({ ...shown, waiting });
    /** Says on what node an answer waits. A node that hangs holds up whatever the coordinator asks of all of them. */
    const patiently = async <T>(question: Promise<T>): Promise<T> => {
        const timer = setInterval(async () => {
            const silent = await silentNodes();
            if (silent.length > 0) showWaiting(`${silent.join(", ")} to answer`);
        }, 5_000);
        try {
            return await question;
        } finally {
            clearInterval(timer);
        }
    };
    for (;;) {
        options.alive();
        const [job] = await session.query<{ state: string }>(
            "SELECT state::text AS state FROM pg_dist_background_job WHERE job_id = $1",
            [jobId],
        );
        const tasks = await readNow();
        let waiting: string | undefined;
        copied = await patiently(readCopied(session)).catch(async (error: unknown) => {
            // sizes are asked of the nodes; one that is away is the moves' business, and they are tried again
            const silent = await silentNodes();
            waiting = silent.length > 0 ? `${silent.join(", ")} to answer` : `the nodes to answer (${saidBy(error)})`;
            return copied;
        });
        await moves.attend(tasks);
        if (isOver(job?.state)) {
            const late = setTimeout(() => showWaiting("row counts"), 2_000);
            await moves.all();
            clearTimeout(late);
        }
        moves.check();
        holding.look(tasks);
        const seen = {
            at: Date.now(),
            job: job?.state,
            tasks,
            copied,
            holders: holding.found,
            everHeld: holding.ever,
            ...(waiting === undefined ? {} : { waiting }),
        };
        const next = step(state, seen, options.groups, options);
        ({ state } = next);
        shown = next.progress;
        options.progress(shown);
        let { verdict } = next;
        if (verdict.kind === "quiet") {
            const work = await patiently(readWork(session)).catch(() => state.work);
            ({ state, verdict } = afterWork(state, { ...seen, at: Date.now() }, work, options));
        }
        if (verdict.kind === "over") return verdict.followed;
        if (verdict.kind === "failed") {
            const why = await explainJob(session, options, tasks, verdict.what, holding.found);
            throw new JobError(why, shown.done, shown.total);
        }
        // moves begin and end often: the small question is asked more often than the whole
        for (let i = 0; i < (state.copying < 5 ? 3 : 6); i++) {
            await pause(100);
            await moves.attend(await readNow());
        }
    }
}
