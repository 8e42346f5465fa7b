/** A background job of Citus and its tasks, as the catalogs have them. */

import { nodeOf } from "../../node/topology.ts";
import type { Session } from "../../reach/session.ts";
import { literal } from "../../sql/quote.ts";
import { pause } from "../../util/pause.ts";

export interface Task {
    readonly taskId: string;
    readonly status: string;
    readonly retries: number;
    readonly message: string;
    /** Of the coordinator's process that runs it; null while none does. */
    readonly pid: number | null;
    /** First shard of the group that this task moves; null for the copy of reference tables. */
    readonly shardId: string | null;
    readonly sourceNodeId: number | null;
    readonly targetNodeId: number | null;
}

/** The rebalance that is under way, if any. */
export async function runningJob(session: Session): Promise<string | undefined> {
    const [row] = await session.query<{ jobId: string }>(
        `SELECT job_id::text AS "jobId" FROM pg_dist_background_job
          WHERE job_type = 'rebalance' AND state IN ('scheduled', 'running', 'cancelling', 'failing')
          ORDER BY job_id DESC LIMIT 1`,
    );
    return row?.jobId;
}

export interface FailedJob {
    readonly jobId: string;
    /** Moves that were done before it ended, and all of them. */
    readonly done: number;
    readonly total: number;
    /** What the database said of the task that failed. */
    readonly message: string;
}

/** The last rebalance, when it was given up: Citus tries a move again some thirty times, then ends the whole job. */
export async function failedJob(session: Session): Promise<FailedJob | undefined> {
    const [row] = await session.query<{ jobId: string; done: number; total: number; message: string | null }>(
        `SELECT j.job_id::text AS "jobId", count(*) FILTER (WHERE t.status = 'done')::int AS done, count(t.task_id)::int AS total,
                max(t.message) FILTER (WHERE t.status = 'error') AS message
           FROM pg_dist_background_job j LEFT JOIN pg_dist_background_task t USING (job_id)
          WHERE j.job_id = (SELECT max(job_id) FROM pg_dist_background_job WHERE job_type = 'rebalance') AND j.state = 'failed'
          GROUP BY 1`,
    );
    return row?.jobId === undefined ? undefined : { ...row, message: row.message ?? "" };
}

/** Says it for a person, with how to go on. Pure. */
export function explainFailedJob({ jobId, done, total, message }: FailedJob, movesLeft: number | undefined): string {
    const said = message === "" ? "" : `: ${firstLine(message)}`;
    const left = movesLeft === undefined ? "" : ` ${movesLeft} shards are still to move.`;
    return (
        `The last rebalance (job ${jobId}) was given up after ${done} of ${total} tasks${said}. What was moved stays moved.${left} ` +
        "Remove the cause, then begin a new one, which moves what is left"
    );
}

export async function readTasks(session: Session, jobId: string): Promise<Task[]> {
    return queryTasks(session, jobId, "0", "true");
}

const WAITING: readonly string[] = ["blocked", "runnable", "unscheduled"];
/** Tasks that are not waiting for their first turn. */
const BEGUN = `(status NOT IN (${WAITING.map(literal).join(", ")}) OR coalesce(retry_count, 0) > 0)`;

function queryTasks(session: Session, jobId: string, from: string, which: string): Promise<Task[]> {
    return session.query<Task>(
        `SELECT task_id::text AS "taskId", status::text AS status, coalesce(retry_count, 0) AS retries,
                coalesce(message, '') AS message, pid,
                substring(command FROM 'citus_move_shard_placement\\(\\s*([0-9]+)') AS "shardId",
                substring(command FROM 'citus_move_shard_placement\\(\\s*[0-9]+\\s*,\\s*([0-9]+)')::int AS "sourceNodeId",
                substring(command FROM 'citus_move_shard_placement\\(\\s*[0-9]+\\s*,\\s*[0-9]+\\s*,\\s*([0-9]+)')::int AS "targetNodeId"
           FROM pg_dist_background_task WHERE job_id = $1 AND task_id >= $2 AND ${which} ORDER BY task_id`,
        [jobId, from],
    );
}

/**
 * What is known of a job's tasks after another answer. Pure.
 * @param known all of them, in order
 * @param begun as they are now, from the first that was not done on; one that is missing here waits for a turn
 */
export function mergeTasks(known: readonly Task[], begun: readonly Task[]): Task[] {
    const now = new Map(begun.map((task) => [task.taskId, task]));
    const ids = new Set(known.map(({ taskId }) => taskId));
    const more = begun.filter(({ taskId }) => !ids.has(taskId));
    return [...known, ...more].map((task) => {
        const found = now.get(task.taskId);
        if (found !== undefined) return found;
        return WAITING.includes(task.status) || task.status === "done"
            ? task
            : { ...task, status: "runnable", pid: null };
    });
}

/** Reads a job's tasks again and again. They are asked for whole once: thousands that wait for their turn tell nothing new. */
export function taskReader(session: Session, jobId: string): () => Promise<readonly Task[]> {
    let known: readonly Task[] | undefined;
    return async () => {
        if (known === undefined) {
            known = await readTasks(session, jobId);
            return known;
        }
        const open = known.find(({ status }) => status !== "done");
        if (open !== undefined) known = mergeTasks(known, await queryTasks(session, jobId, open.taskId, BEGUN));
        return known;
    };
}

/** Lines of what a background worker said, without who it is. */
const spoken = (message: string) =>
    message
        .split("\n")
        .map((line) => line.trim().replace(/^CONTEXT:\s*(?=Citus Background Task Queue Executor)/, ""))
        .filter((line) => line !== "" && !/^Citus Background Task Queue Executor/.test(line));

/** The error out of what a background worker said, with the node that said it. */
export function firstLine(message: string): string {
    const lines = spoken(message);
    const error = lines.find((line) => /^(ERROR|FATAL|PANIC)/.test(line)) ?? lines[0] ?? "";
    const node = /while executing command on ([^\s:]+)/.exec(message)?.[1];
    return node === undefined ? error : `${error} (on ${nodeOf(node)})`;
}

/** All that a background worker said of an error: warnings, details and contexts too, each once. */
export function quote(message: string): string[] {
    return [...new Set(spoken(message).filter((line) => !/^(NOTICE|LOG|INFO|DEBUG[1-5]?):/.test(line)))].slice(0, 12);
}

/** Stops a job and waits until nothing of it runs any more. Finished moves stay. */
export async function stopJob(session: Session, jobId: string, patience = 60_000): Promise<void> {
    const end = Date.now() + patience;
    await session.query("SELECT citus_job_cancel($1)", [jobId]);
    while (Date.now() < end) {
        const [row] = await session.query<{ live: boolean }>(
            "SELECT state IN ('scheduled', 'running', 'cancelling', 'failing') AS live FROM pg_dist_background_job WHERE job_id = $1",
            [jobId],
        );
        if (!row?.live) return;
        await pause(300);
    }
}
