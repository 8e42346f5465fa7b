/** Following one background rebalance: what it has done, how fast, and why it does not get on. */
import { pause } from "../pause.ts";
import type { NodeRow } from "./catalog.ts";
import type { Session } from "./session.ts";

export interface Task {
    readonly taskId: string;
    readonly status: string;
    readonly retries: number;
    readonly message: string;
    /** First shard of the group that this task moves; null for the copy of reference tables. */
    readonly shardId: string | null;
    readonly sourceNodeId: number | null;
    readonly targetNodeId: number | null;
}

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
}

const size = (bytes: number) =>
    bytes >= 1e9
        ? `${(bytes / 1e9).toFixed(2)} GB`
        : bytes >= 1e6
          ? `${Math.round(bytes / 1e6)} MB`
          : `${Math.round(bytes / 1e3)} kB`;

/** `13 of 26 shard groups · 610 MB of 1.20 GB · 38 MB/s · about 16 s left · now: public.projects`. */
export function describeProgress(p: Progress): string {
    return [
        `${p.done} of ${p.total} shard groups`,
        `${size(p.bytesDone)} of ${size(p.bytesTotal)}`,
        p.bytesPerSecond > 0 ? `${size(p.bytesPerSecond)}/s` : undefined,
        p.secondsLeft !== undefined ? `about ${Math.ceil(p.secondsLeft)} s left` : undefined,
        p.now ? `now: ${p.now}` : undefined,
        p.waiting ? `waiting for ${p.waiting}` : undefined,
        p.trouble ? `trying again: ${p.trouble}` : undefined,
    ]
        .filter((part) => part !== undefined)
        .join(" · ");
}

export { size as describeBytes };

/** The rebalance that is under way, if any. */
export async function runningJob(session: Session): Promise<string | undefined> {
    const [row] = await session.query<{ jobId: string }>(
        `SELECT job_id::text AS "jobId" FROM pg_dist_background_job
          WHERE job_type = 'rebalance' AND state IN ('scheduled', 'running', 'cancelling', 'failing')
          ORDER BY job_id DESC LIMIT 1`,
    );
    return row?.jobId;
}

export async function readTasks(session: Session, jobId: string): Promise<Task[]> {
    return session.query<Task>(
        `SELECT task_id::text AS "taskId", status::text AS status, coalesce(retry_count, 0) AS retries,
                coalesce(message, '') AS message,
                substring(command FROM 'citus_move_shard_placement\\(\\s*([0-9]+)') AS "shardId",
                substring(command FROM 'citus_move_shard_placement\\(\\s*[0-9]+\\s*,\\s*([0-9]+)')::int AS "sourceNodeId",
                substring(command FROM 'citus_move_shard_placement\\(\\s*[0-9]+\\s*,\\s*[0-9]+\\s*,\\s*([0-9]+)')::int AS "targetNodeId"
           FROM pg_dist_background_task WHERE job_id = $1 ORDER BY task_id`,
        [jobId],
    );
}

/** One line out of what a background worker said. */
export function firstLine(message: string): string {
    const lines = message.split("\n").map((line) => line.trim());
    return lines.find((line) => /^ERROR/.test(line)) ?? lines.find((line) => line !== "") ?? "";
}

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

export interface FollowOptions {
    readonly nodes: readonly NodeRow[];
    /** Size and name of each shard group, by its tables' shard ids. */
    readonly groups: ReadonlyMap<string, MovingTable>;
    readonly progress: (progress: Progress) => void;
    /** Called once for each move that begins. */
    readonly started?: (task: Task) => Promise<void>;
    /** Called once for each move that is done. */
    readonly moved: (task: Task) => Promise<void>;
    /** How often a task may fail before the job counts as stuck. @default 4, about 2.5 minutes of Citus' own pauses */
    readonly maxRetries?: number;
    /** How long nothing at all may happen, in milliseconds. @default 600000 */
    readonly stuckAfter?: number;
    /** Names of nodes that do not answer a question put to them directly. */
    readonly silent?: () => Promise<string[]>;
    /** Throws when nobody waits for this any more. */
    readonly alive: () => void;
}

/**
 * Follows a job to its end.
 * @throws JobError with the cause when it failed, was cancelled, or does not get on
 */
export async function followJob(
    session: Session,
    jobId: string,
    options: FollowOptions,
): Promise<{ done: number; bytes: number }> {
    let began = Date.now();
    let moving = false;
    let seenBefore = 0;
    let lastChange = Date.now();
    let lastState = "";
    const reported = new Set<string>();
    let copied = { bytes: 0, mark: "" };
    let shown: Progress | undefined;
    /** Says on what node an answer waits. A node that hangs holds up whatever the coordinator asks of all of them. */
    const patiently = async <T>(question: Promise<T>): Promise<T> => {
        const timer = setInterval(async () => {
            const silent = (await options.silent?.().catch(() => [])) ?? [];
            if (silent.length > 0 && shown) options.progress({ ...shown, waiting: `${silent.join(", ")} to answer` });
        }, 5_000);
        try {
            return await question;
        } finally {
            clearInterval(timer);
        }
    };
    const begun = new Set<string>();
    const counting: Promise<void>[] = [];
    let failure: unknown;
    const attend = async (tasks: readonly Task[]) => {
        for (const task of tasks.filter((t) => t.shardId !== null)) {
            if (task.status === "running" && !begun.has(task.taskId)) {
                begun.add(task.taskId);
                await options.started?.(task);
            }
            if (task.status === "done" && !reported.has(task.taskId)) {
                reported.add(task.taskId);
                // beside the moves that go on
                counting.push(
                    options.moved(task).catch((error: unknown) => {
                        failure ??= error;
                    }),
                );
            }
        }
    };
    for (;;) {
        options.alive();
        const [job] = await session.query<{ state: string }>(
            "SELECT state::text AS state FROM pg_dist_background_job WHERE job_id = $1",
            [jobId],
        );
        const tasks = await readTasks(session, jobId);
        let waiting: string | undefined;
        copied = await patiently(readCopied(session)).catch(async (error: unknown) => {
            // sizes are asked of the nodes; one that is away is the moves' business, and they are tried again
            const silent = (await options.silent?.().catch(() => [])) ?? [];
            waiting = silent.length > 0 ? `${silent.join(", ")} to answer` : firstLine((error as Error).message);
            return copied;
        });
        const moves = tasks.filter((task) => task.shardId !== null);
        const bytesOf = (task: Task) => options.groups.get(task.shardId ?? "")?.bytes ?? 0;
        await attend(tasks);
        const over = job === undefined || !["scheduled", "running", "cancelling", "failing"].includes(job.state);
        if (over) {
            const late = setTimeout(() => shown && options.progress({ ...shown, waiting: "row counts" }), 2_000);
            await Promise.all(counting);
            clearTimeout(late);
        }
        if (failure !== undefined) throw failure;
        const done = moves.filter((task) => task.status === "done");
        const bytesDone = done.reduce((sum, task) => sum + bytesOf(task), 0);
        const bytesTotal = moves.reduce((sum, task) => sum + bytesOf(task), 0);
        // sizes of shards that are just being written come and go
        const seen = Math.max(seenBefore, Math.min(bytesTotal, bytesDone + copied.bytes));
        seenBefore = seen;
        if (!moving && seen > 0) {
            // the rate is of copying, not of waiting for the first move to begin
            moving = true;
            began = Date.now();
        }
        const seconds = (Date.now() - began) / 1000;
        const rate = moving && seconds > 1 ? seen / seconds : 0;
        const failing = tasks.filter(
            (task) => task.retries > 0 && ["runnable", "running", "error"].includes(task.status) && task.message !== "",
        );
        const running = tasks.find((task) => task.status === "running");
        shown = {
            done: done.length,
            total: moves.length,
            bytesDone: seen,
            bytesTotal,
            bytesPerSecond: rate,
            secondsLeft: rate > 0 && bytesTotal > 0 ? (bytesTotal - seen) / rate : undefined,
            now: running
                ? running.shardId
                    ? options.groups.get(running.shardId)?.table
                    : "reference tables"
                : undefined,
            trouble: failing[0] ? firstLine(failing[0].message) : undefined,
            ...(waiting === undefined ? {} : { waiting }),
        };
        options.progress(shown);
        if (job === undefined || job.state === "finished") return { done: done.length, bytes: bytesTotal };
        if (job.state === "failed" || job.state === "cancelled") {
            throw new JobError(
                await explain(session, options.nodes, tasks, `the rebalance ${job.state}`),
                done.length,
                moves.length,
            );
        }
        const state = JSON.stringify([job.state, tasks.map((t) => [t.status, t.retries]), copied.mark]);
        if (state !== lastState) {
            lastState = state;
            lastChange = Date.now();
        }
        const worn = failing.find((task) => task.retries >= (options.maxRetries ?? 4));
        const silent = Date.now() - lastChange > (options.stuckAfter ?? 600_000);
        if (worn || silent) {
            const what = worn
                ? `a move failed ${worn.retries} times`
                : `nothing happened for ${Math.round((Date.now() - lastChange) / 1000)} s`;
            throw new JobError(await explain(session, options.nodes, tasks, what), done.length, moves.length);
        }
        // moves begin and end often: the small question is asked more often than the whole
        for (let i = 0; i < (seconds < 5 ? 3 : 6); i++) {
            await pause(100);
            await attend(await readTasks(session, jobId));
        }
    }
}

/** How much of the moves under way has been copied; a mark that changes whenever anything gets on. */
async function readCopied(session: Session): Promise<{ bytes: number; mark: string }> {
    const [row] = await session.query<{ bytes: number; mark: string }>(
        `SELECT coalesce(sum(least(target_shard_size, source_shard_size)) FILTER (WHERE progress = 1), 0)::float8 AS bytes,
                coalesce(md5(string_agg(format('%s %s %s %s %s', shardid, status, target_shard_size, source_lsn, target_lsn), ',' ORDER BY shardid)), '') AS mark
           FROM get_rebalance_progress()`,
    );
    return { bytes: row?.bytes ?? 0, mark: row?.mark ?? "" };
}

/** Why a job does not get on: each task's own words, nodes that can't be reached, slots that were lost. */
async function explain(
    session: Session,
    nodes: readonly NodeRow[],
    tasks: readonly Task[],
    what: string,
): Promise<string> {
    const lines = [`${what}:`];
    const said = new Set(
        tasks
            .filter((t) => t.message !== "" && t.status !== "done")
            .map((t) => firstLine(t.message))
            .filter((line) => line !== ""),
    );
    for (const line of [...said].slice(0, 5)) lines.push(`  ${line}`);
    for (const node of nodes) {
        const [row] = await session
            .query<{ ok: boolean }>("SELECT citus_check_connection_to_node($1, $2) AS ok", [node.host, node.port])
            .catch(() => [{ ok: false }]);
        if (!row?.ok) lines.push(`  ${node.host} can't be reached from the coordinator`);
    }
    const slots = await session
        .query<{ node: string; result: string }>(
            `SELECT n.nodename AS node, r.result FROM run_command_on_all_nodes($$
                SELECT coalesce(string_agg(slot_name || ' ' || wal_status, ', '), '') FROM pg_replication_slots
                 WHERE slot_name LIKE 'citus_shard_%' AND wal_status IN ('lost', 'unreserved')$$) r JOIN pg_dist_node n USING (nodeid)
              WHERE r.success AND r.result <> ''`,
        )
        .catch(() => []);
    for (const slot of slots) lines.push(`  ${slot.node} lost a replication slot: ${slot.result}`);
    return lines.join("\n");
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
