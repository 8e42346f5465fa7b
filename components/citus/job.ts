/** Following one background rebalance: what it has done, how fast, and why it does not get on. */
import { describeBytes } from "../bytes.ts";
import { pause } from "../pause.ts";
import { nodeOf } from "../topology.ts";
import type { NodeRow } from "./catalog.ts";
import { describeLimits, isLimited, readLimits } from "./limits.ts";
import { literal } from "./quote.ts";
import { saidBy } from "./said.ts";
import type { Session } from "./session.ts";
import { describeHolders, findHolders, findUsers, globalPidOf, type Holder } from "./waits.ts";

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
        "Remove the cause, then npm run pulumi -- up begins a new one, which moves what is left"
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
function quote(message: string): string[] {
    return [...new Set(spoken(message).filter((line) => !/^(NOTICE|LOG|INFO|DEBUG[1-5]?):/.test(line)))].slice(0, 12);
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
    /** Who keeps the moves waiting; asked beside what the session is asked. */
    readonly holders?: (waiters: Waiters) => Promise<readonly Holder[]>;
    /** Throws when nobody waits for this any more. */
    readonly alive: () => void;
}

export interface Followed {
    readonly done: number;
    readonly bytes: number;
    /** Time in which bytes were copied and nobody kept the moves waiting; undefined when it tells nothing. */
    readonly copying: number | undefined;
}

/** How fast bytes are copied, by the time in which they are: waiting is no copying. */
class Pace {
    private seen = 0;
    private last = Date.now();
    private readonly grown: { at: number; seconds: number; bytes: number }[] = [];
    private busy = 0;

    /** @returns the most that was seen so far: sizes of shards that are just being written come and go */
    add(bytes: number): number {
        const now = Date.now();
        const grown = bytes - this.seen;
        if (grown > 0) {
            // what was there at the first look took no time that is known
            const seconds = (now - this.last) / 1000;
            this.busy += seconds;
            this.grown.push({ at: now, seconds, bytes: grown });
            this.seen = bytes;
        }
        this.last = now;
        return this.seen;
    }

    get seconds(): number {
        return this.busy;
    }

    /** Bytes a second over what was copied last; 0 when nothing was for a while. */
    rate(): number {
        const recent = this.grown.filter(({ at }) => Date.now() - at < 30_000);
        const seconds = recent.reduce((sum, one) => sum + one.seconds, 0);
        return seconds > 1 ? recent.reduce((sum, one) => sum + one.bytes, 0) / seconds : 0;
    }
}

/** What of a job may wait. */
export interface Waiters {
    /** Global pids of what runs its tasks. */
    readonly globalPids: ReadonlySet<string>;
    /** Whether a move waits for an old copy to be dropped, which is tried again and again. */
    readonly leftovers: boolean;
}

/** Pure. */
export function waitersOf(tasks: readonly Task[], nodes: readonly NodeRow[]): Waiters {
    const coordinator = nodes.find((node) => node.groupId === 0);
    const pids = tasks.flatMap(({ pid, status }) => (pid !== null && status === "running" ? [pid] : []));
    return {
        globalPids: new Set(coordinator ? pids.map((pid) => globalPidOf(coordinator.nodeId, pid)) : []),
        leftovers: tasks.some(
            ({ status, message }) =>
                ["runnable", "running", "error"].includes(status) && /leftover from the previous move/.test(message),
        ),
    };
}

/** Who keeps a job waiting now. @param nodes that are registered */
export async function holdersOfJob(
    coordinator: Session,
    { globalPids, leftovers }: Waiters,
    nodes: readonly NodeRow[],
): Promise<Holder[]> {
    const holders = globalPids.size > 0 ? await findHolders(coordinator, globalPids, true) : [];
    const users = leftovers
        ? await findUsers(
              coordinator,
              nodes.map(({ groupId }) => groupId),
          )
        : [];
    return [...holders, ...users];
}

/** Asks beside the job who keeps it waiting, one question at a time. */
function watchHolders(options: FollowOptions) {
    let found: readonly Holder[] = [];
    let asking = false;
    let asked = 0;
    let ever = false;
    return {
        get found() {
            return found;
        },
        get ever() {
            return ever;
        },
        look(tasks: readonly Task[]) {
            if (!options.holders || asking || Date.now() - asked < HOLDERS_EVERY) return;
            const waiters = waitersOf(tasks, options.nodes);
            if (waiters.globalPids.size === 0 && !waiters.leftovers) {
                found = [];
                return;
            }
            asking = true;
            asked = Date.now();
            options
                .holders(waiters)
                // a question without an answer says nothing about who holds
                .catch(() => found)
                .then((holders) => {
                    found = holders;
                    ever ||= holders.length > 0;
                    asking = false;
                });
        },
    };
}

/** Less than this says nothing about how long the rest takes. */
const TELLING = 50_000_000;

/** How often it is asked who keeps moves waiting, and what is at work on the targets when nothing else changes, in milliseconds. */
const HOLDERS_EVERY = 4000;
const WORK_EVERY = 20_000;

/**
 * Follows a job to its end.
 * @throws JobError with the cause when it failed, was cancelled, or does not get on
 */
export async function followJob(session: Session, jobId: string, options: FollowOptions): Promise<Followed> {
    const pace = new Pace();
    let lastChange = Date.now();
    let lastState = "";
    let lastWork = "";
    let workAsked = 0;
    const holding = watchHolders(options);
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
    const readNow = taskReader(session, jobId);
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
        const tasks = await readNow();
        let waiting: string | undefined;
        copied = await patiently(readCopied(session)).catch(async (error: unknown) => {
            // sizes are asked of the nodes; one that is away is the moves' business, and they are tried again
            const silent = (await options.silent?.().catch(() => [])) ?? [];
            waiting = silent.length > 0 ? `${silent.join(", ")} to answer` : `the nodes to answer (${saidBy(error)})`;
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
        const seen = pace.add(Math.min(bytesTotal, bytesDone + copied.bytes));
        const rate = pace.rate();
        holding.look(tasks);
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
            secondsLeft:
                rate > 0 && seen >= Math.min(bytesTotal / 100, TELLING) ? (bytesTotal - seen) / rate : undefined,
            now: running
                ? running.shardId
                    ? options.groups.get(running.shardId)?.table
                    : "reference tables"
                : undefined,
            trouble: failing[0] ? firstLine(failing[0].message) : undefined,
            ...(waiting === undefined ? {} : { waiting }),
            ...(over || holding.found.length === 0 ? {} : { heldUp: holding.found }),
        };
        options.progress(shown);
        if (job === undefined || job.state === "finished") {
            const hindered = holding.ever || tasks.some((task) => task.retries > 0);
            return { done: done.length, bytes: bytesTotal, copying: hindered ? undefined : pace.seconds };
        }
        if (job.state === "failed" || job.state === "cancelled") {
            throw new JobError(
                await explain(session, options, tasks, `the rebalance ${job.state}`, holding.found),
                done.length,
                moves.length,
            );
        }
        const state = JSON.stringify([job.state, tasks.map((t) => [t.status, t.retries]), copied.mark]);
        if (state !== lastState) {
            lastState = state;
            lastChange = Date.now();
        } else if (Date.now() - Math.max(lastChange, workAsked) > WORK_EVERY) {
            // building an index, or applying what was written meanwhile, changes no size
            workAsked = Date.now();
            const work = await patiently(readWork(session)).catch(() => lastWork);
            if (work !== lastWork) lastChange = Date.now();
            lastWork = work;
        }
        const worn = failing.find((task) => task.retries >= (options.maxRetries ?? 4));
        const silent = Date.now() - lastChange > (options.stuckAfter ?? 600_000);
        if (worn || silent) {
            const what = worn
                ? `a move failed ${worn.retries} times`
                : `nothing happened for ${Math.round((Date.now() - lastChange) / 1000)} s`;
            const why = await explain(session, options, tasks, what, holding.found);
            throw new JobError(why, done.length, moves.length);
        }
        // moves begin and end often: the small question is asked more often than the whole
        for (let i = 0; i < (pace.seconds < 5 ? 3 : 6); i++) {
            await pause(100);
            await attend(await readNow());
        }
    }
}

/**
 * How much of the moves under way has been copied; a mark that changes when bytes or states do. Positions in the WAL are
 * no part of it: the source's moves on with whatever anybody writes, also while the move waits.
 */
async function readCopied(session: Session): Promise<{ bytes: number; mark: string }> {
    const [row] = await session.query<{ bytes: number; mark: string }>(
        `SELECT coalesce(sum(least(target_shard_size, source_shard_size)) FILTER (WHERE progress = 1), 0)::float8 AS bytes,
                coalesce(md5(string_agg(format('%s %s %s %s', shardid, progress, status, target_shard_size), ',' ORDER BY shardid)), '') AS mark
           FROM get_rebalance_progress()`,
    );
    return { bytes: row?.bytes ?? 0, mark: row?.mark ?? "" };
}

/** What is done to the shards with these ids on the node that runs it: index builds and rows that were applied. @param ids SQL */
const workOn = (ids: string) => `format($work$
    SELECT coalesce(json_object_agg(shard, done), '{}')::text FROM (
        SELECT substring(relname FROM '_([0-9]+)$') AS shard, n_tup_ins + n_tup_upd + n_tup_del AS done
          FROM pg_stat_user_tables WHERE relname ~ '_(%1$s)$'
        UNION ALL
        SELECT substring(c.relname FROM '_([0-9]+)$') || ' ' || p.phase, p.blocks_done + p.tuples_done
          FROM pg_stat_progress_create_index p JOIN pg_class c ON c.oid = p.relid WHERE c.relname ~ '_(%1$s)$') w
$work$, ${ids})`;

/** A mark of what is at work on the targets of the moves under way. */
async function readWork(session: Session): Promise<string> {
    const moves = await session.query<{ shardId: string; target: string }>(
        `SELECT shardid::text AS "shardId", targetname AS target FROM get_rebalance_progress() WHERE progress = 1 ORDER BY 1`,
    );
    if (moves.length === 0) return "";
    const ids = literal(moves.map(({ shardId }) => shardId).join("|"));
    const rows = await session.query<{ host: string; result: string }>(
        `SELECT n.nodename AS host, r.result FROM run_command_on_all_nodes(${workOn(ids)}) r JOIN pg_dist_node n USING (nodeid)
          WHERE r.success AND n.nodename = ANY ($1) ORDER BY 1`,
        [moves.map(({ target }) => target)],
    );
    const targets = new Map(moves.map(({ shardId, target }) => [shardId, target]));
    // what clients write to a source is no progress
    return JSON.stringify(
        rows.map(({ host, result }) =>
            Object.entries(JSON.parse(result) as Record<string, number>).filter(
                ([what]) => targets.get(what.split(" ")[0] ?? "") === host,
            ),
        ),
    );
}

/** Why a job does not get on: each task's own words, who holds it up, limits, nodes that can't be reached, slots that were lost. */
async function explain(
    session: Session,
    { nodes, groups }: Pick<FollowOptions, "nodes" | "groups">,
    tasks: readonly Task[],
    what: string,
    holders: readonly Holder[],
): Promise<string> {
    const lines = [`${what}:`];
    const name = (nodeId: number | null) => nodeOf(nodes.find((node) => node.nodeId === nodeId)?.host ?? "a node");
    const troubled = tasks.filter((t) => t.message !== "" && t.status !== "done");
    const said = new Map<string, { task: Task; lines: string[] }>();
    for (const task of troubled) {
        const own = quote(task.message);
        const key = own.join("\n");
        if (own.length > 0 && !said.has(key)) said.set(key, { task, lines: own });
    }
    for (const { task, lines: own } of [...said.values()].slice(0, 5)) {
        const table = groups.get(task.shardId ?? "")?.table;
        lines.push(
            task.shardId === null
                ? "  copying reference tables:"
                : `  moving ${table ?? `shard ${task.shardId}`} from ${name(task.sourceNodeId)} to ${name(task.targetNodeId)}:`,
            ...own.map((line) => `    ${line}`),
        );
    }
    for (const holder of holders) lines.push(`  a move waits for ${describeHolders([holder])}`);
    if (troubled.some((task) => isLimited(task.message))) {
        const limits = await readLimits(session).catch(() => []);
        if (limits.length > 0)
            lines.push(
                "  limits that the tables' owners have, and what lifts them:",
                ...describeLimits(limits).map((line) => `  ${line}`),
            );
    }
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
