/** What the chaos tests share: killing at a chosen moment, what must hold afterwards, and a client that writes meanwhile. */
import assert from "node:assert/strict";
import type { ChildProcess } from "node:child_process";
import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import pg from "pg";
import { table } from "table";
import { workerName } from "../../core/node/topology.ts";
import { SCHEMA as CORE, TABLES as CORE_TABLES, docker, fingerprint, type Ran, type TestStack } from "../lib.ts";

/** A reference table whose shard's name is shortened by Citus. */
const LONG = "a_reference_table_with_a_name_that_leaves_no_room_for_shard_ids";
/** With what Citus leaves on a worker that left: sequences, and copies with shortened names. */
export const SCHEMA = `${CORE}
CREATE TABLE invoices (company_id bigint, id bigserial, line bigint GENERATED ALWAYS AS IDENTITY, PRIMARY KEY (company_id, id));
SELECT create_distributed_table('invoices', 'company_id', colocate_with => 'companies');
CREATE TABLE ${LONG} (id bigserial PRIMARY KEY, name text);
SELECT create_reference_table('${LONG}');
INSERT INTO invoices (company_id) SELECT i % 20 + 1 FROM generate_series(1, 200) i;
INSERT INTO ${LONG} (name) SELECT 'name ' || i FROM generate_series(1, 20) i;
`;
const TABLES = [...CORE_TABLES, "invoices", LONG];

export const pause = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));

/** Kills in each phase; 10 is what the project promises, 2 is a look. */
export const KILLS = Number(process.env.CHAOS_KILLS ?? 10);
/** No `pulumi up` of these tests takes longer, whatever happens to it; citus:'s own patience is 10 minutes. */
export const UP_WITHIN = 15 * 60_000;
/** What a node that died may hold up: four attempts with Citus' own pauses, and then some. */
export const LEFTOVERS_GONE_WITHIN = 60_000;
/** Rows that a {@link Writer} makes have ids from here. */
const FIRST_WRITTEN = 1_000_000;

const UP = ["up", "--yes", "--skip-preview"] as const;

export interface Run {
    /** Ends when the CLI does, even if what it started lives on and holds its pipes. */
    readonly ended: Promise<Ran>;
    readonly child: ChildProcess;
    readonly began: number;
    over: boolean;
    /** Everything it said so far. */
    said(): string;
}

/** Starts a command of the CLI that is killed, and fails, when it takes longer than `within` milliseconds. */
export function begin(stack: TestStack, args: readonly string[] = UP, within = UP_WITHIN): Run {
    const child = stack.start(args);
    const parts = { stdout: "", stderr: "", output: "" };
    for (const stream of ["stdout", "stderr"] as const) {
        child[stream]?.on("data", (chunk) => {
            parts[stream] += chunk;
            parts.output += chunk;
        });
    }
    let late: NodeJS.Timeout | undefined;
    const ended = new Promise<Ran>((resolve, reject) => {
        late = setTimeout(() => {
            killAll(stack, child);
            reject(
                new Error(
                    `pulumi ${args.join(" ")} did not end within ${within / 1000} s:\n${lastLines(parts.output)}`,
                ),
            );
        }, within);
        child.on("exit", (code) => {
            run.over = true;
            clearTimeout(late);
            // what is still in the pipes
            setTimeout(() => resolve({ code: code ?? -1, ...parts }), 100);
        });
    });
    ended.catch(() => undefined);
    const run: Run = { ended, child, began: Date.now(), over: false, said: () => parts.output };
    return run;
}

/** `pulumi up` to its end, bounded. */
export async function tryUp(stack: TestStack, args: readonly string[] = [], within = UP_WITHIN): Promise<Ran> {
    await stack.closeSessions();
    return begin(stack, [...UP, ...args], within).ended;
}

/** `pulumi up`, bounded, which must succeed. @returns seconds */
export async function mustUp(stack: TestStack, args: readonly string[] = []): Promise<number> {
    const began = Date.now();
    const ran = await tryUp(stack, args);
    assert.equal(ran.code, 0, `pulumi up ${args.join(" ")} failed:\n${lastLines(ran.output)}`);
    return (Date.now() - began) / 1000;
}

export function lastLines(text: string, count = 60): string {
    return text.trimEnd().split("\n").slice(-count).join("\n");
}

/** What a failed `up` gives as its errors, without rows and outputs that name every node anyway. */
export function errorsOf(output: string): string {
    const diagnostics = output.slice(output.lastIndexOf("Diagnostics:"));
    const errors: string[] = [];
    let inError = false;
    for (const line of diagnostics.split("\n").slice(1)) {
        // a resource's heading is indented by two, what it said by four, and the next section not at all
        if (/^\S/.test(line)) break;
        if (/^ {2}\S/.test(line)) inError = false;
        else if (/^ {4}(error|warning|info): /.test(line)) inError = /^ {4}error: /.test(line);
        if (inError && line.trim() !== "" && !/error: update failed/.test(line)) errors.push(line.trimEnd());
    }
    return errors.join("\n");
}

/** Processes of a stack: those that run in its copy of the project or with its state. */
export function processesOf(stack: TestStack): { pid: number; command: string }[] {
    const found: { pid: number; command: string }[] = [];
    for (const entry of readdirSync("/proc")) {
        const pid = Number(entry);
        if (!Number.isInteger(pid) || pid === process.pid) continue;
        try {
            const here =
                readlinkSync(`/proc/${pid}/cwd`) === stack.dir ||
                readFileSync(`/proc/${pid}/environ`, "utf8").includes(`PULUMI_BACKEND_URL=file://${stack.dir}/`);
            if (!here || /^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, "utf8"))) continue;
            found.push({ pid, command: readFileSync(`/proc/${pid}/cmdline`, "utf8").replaceAll("\0", " ").trim() });
        } catch {
            // it ended meanwhile, or is somebody else's
        }
    }
    return found;
}

function kill(pid: number): void {
    try {
        process.kill(pid, "SIGKILL");
    } catch {
        // it is gone
    }
}

/** The CLI, its process group, its language host and every provider. @returns how many besides the CLI */
export function killAll(stack: TestStack, child: ChildProcess): number {
    if (child.pid !== undefined) kill(-child.pid);
    const killed = new Set<number>();
    // what was about to start another process has done so by the second look
    for (let look = 0; look < 2; look++) {
        for (const { pid } of processesOf(stack)) {
            kill(pid);
            killed.add(pid);
        }
    }
    return killed.size;
}

export type Victims = "everything" | "the CLI only";

/** Kills an `up` `after` milliseconds from its start. @returns whether it was still under way, and who lived on */
export async function killAt(
    stack: TestStack,
    run: Run,
    after: number,
    victims: Victims,
): Promise<{ hit: boolean; orphans: number; said: string }> {
    await Promise.race([run.ended, pause(Math.max(0, run.began + after - Date.now()))]);
    const hit = !run.over;
    if (victims === "everything") killAll(stack, run.child);
    else if (run.child.pid !== undefined) kill(run.child.pid);
    await run.ended;
    return { hit, orphans: processesOf(stack).length, said: run.said() };
}

/** Even fractions of an operation's own duration, none at its very start or end. */
export function moments(seconds: number, count = KILLS): number[] {
    return Array.from({ length: count }, (_, i) => Math.round(((i + 0.5) / count) * seconds * 1000));
}

/** What a user does after a kill: `pulumi cancel`, `pulumi up`. @returns seconds of the `up` */
export async function recover(stack: TestStack): Promise<number> {
    const cancelled = await begin(stack, ["cancel", "--yes"], 60_000).ended;
    assert.equal(cancelled.code, 0, `pulumi cancel failed:\n${cancelled.output}`);
    return mustUp(stack);
}

export interface Expected {
    readonly workers: number;
    /** As {@link printOf} gave it before. */
    readonly print?: Record<string, string>;
}

/** Fingerprint of every table, without what a {@link Writer} adds. */
export async function printOf(stack: TestStack, tables: readonly string[] = TABLES): Promise<Record<string, string>> {
    const sources = tables.map((name) =>
        name === "users" ? `(SELECT * FROM users WHERE id < ${FIRST_WRITTEN})` : name,
    );
    return fingerprint(await stack.session(), sources);
}

function labelled(stack: TestStack, command: readonly string[]): string[] {
    return docker([...command, "--filter", `label=citus.cluster=citus-${stack.name}`])
        .split("\n")
        .filter((line) => line !== "");
}

/** Containers and volumes of the stack, each as its node's name. */
export function nodesInDocker(stack: TestStack): { containers: string[]; running: string[]; volumes: string[] } {
    const node = ["--format", '{{.Label "citus.node"}}'];
    return {
        containers: labelled(stack, ["ps", "-a", ...node]).sort(),
        running: labelled(stack, ["ps", ...node]).sort(),
        volumes: labelled(stack, ["volume", "ls", ...node]).sort(),
    };
}

/** What a move leaves behind when it is cut off, by node. */
async function leftoversOfMoves(stack: TestStack): Promise<string[]> {
    const rows = await stack.sql<{ node: string; found: string }>(
        `SELECT n.nodename AS node, r.result AS found FROM run_command_on_all_nodes($$
            SELECT coalesce(string_agg(what, ', ' ORDER BY what), '') FROM (
                SELECT 'slot ' || slot_name AS what FROM pg_replication_slots WHERE slot_name LIKE 'citus_shard_move%'
                UNION ALL SELECT 'subscription ' || subname FROM pg_subscription WHERE subname LIKE 'citus_shard_move%'
                UNION ALL SELECT 'publication ' || pubname FROM pg_publication WHERE pubname LIKE 'citus_shard_move%'
                UNION ALL SELECT 'role ' || rolname FROM pg_roles WHERE rolname LIKE 'citus_shard_move%'
                UNION ALL SELECT 'table ' || c.oid::regclass FROM pg_class c
                    JOIN pg_class p ON p.relnamespace = c.relnamespace AND c.relname ~ ('^' || p.relname || '_[0-9]+$')
                    JOIN pg_dist_shard s ON s.logicalrelid = p.oid AND c.relname = p.relname || '_' || s.shardid
                   WHERE c.relkind = 'r' AND NOT EXISTS (SELECT 1 FROM pg_dist_placement l
                       WHERE l.shardid = s.shardid AND l.groupid = (SELECT groupid FROM pg_dist_local_group))
            ) found $$) r JOIN pg_dist_node n USING (nodeid) WHERE r.result <> ''`,
    );
    const records = await stack.sql<{ found: string }>(
        "SELECT format('record of %s in group %s', object_name, node_group_id) AS found FROM pg_dist_cleanup",
    );
    return [...rows.map((row) => `${row.node}: ${row.found}`), ...records.map((row) => row.found)];
}

/** Everything that must be true of a settled cluster. */
export async function check(stack: TestStack, expected: Expected): Promise<void> {
    const workers = Array.from({ length: expected.workers }, (_, i) => workerName(i + 1));
    const names = ["coordinator", ...workers].sort();
    const found = nodesInDocker(stack);
    assert.deepEqual(found.containers, names, "one container a node");
    assert.deepEqual(found.running, names, "every container runs");
    assert.deepEqual(found.volumes, names, "one volume a node");
    assert.equal(labelled(stack, ["network", "ls", "-q"]).length, 2, "two networks");

    const rows = await stack.sql<{ name: string; fit: boolean; holds: boolean }>(
        `SELECT nodename AS name, isactive AND hasmetadata AND metadatasynced AS fit, shouldhaveshards AS holds
           FROM pg_dist_node ORDER BY nodename`,
    );
    assert.deepEqual(
        rows.map(({ name, fit, holds }) => ({ name, fit, holds })),
        names.map((name) => ({
            name: `${name}.citus-${stack.name}.node`,
            fit: true,
            holds: name !== "coordinator",
        })),
        "pg_dist_node",
    );
    const plan = await stack.sql("SELECT * FROM get_rebalance_table_shards_plan()");
    assert.deepEqual(plan, [], "the cluster is balanced");
    const strangers = await stack.sql(
        "SELECT object_name, node_group_id FROM pg_dist_cleanup WHERE node_group_id NOT IN (SELECT groupid FROM pg_dist_node)",
    );
    assert.deepEqual(strangers, [], "nothing waits to be dropped on a node that is gone");
    const lost = await stack.sql(
        "SELECT shardid, groupid FROM pg_dist_placement WHERE groupid NOT IN (SELECT groupid FROM pg_dist_node)",
    );
    assert.deepEqual(lost, [], "no shard is on a node that is gone");
    if (expected.print) assert.deepEqual(await printOf(stack), expected.print, "every row as before");

    const end = Date.now() + LEFTOVERS_GONE_WITHIN;
    let left = await leftoversOfMoves(stack);
    while (left.length > 0 && Date.now() < end) {
        await pause(1000);
        left = await leftoversOfMoves(stack);
    }
    assert.deepEqual(left, [], `nothing of a move is left after ${LEFTOVERS_GONE_WITHIN / 1000} s`);
    await mustUp(stack, ["--expect-no-changes"]);
}

/** Inserts rows with increasing ids, one after another, and remembers which were acknowledged. */
export class Writer {
    readonly acknowledged: number[] = [];
    /** Errors that a client saw and mended by trying again. */
    errors = 0;
    /** The longest that one row took, in milliseconds. */
    longest = 0;
    private next = FIRST_WRITTEN;
    private stopped = false;
    private readonly companies: number;
    private readonly done: Promise<void>;
    private readonly stack: TestStack;

    constructor(stack: TestStack, companies: number) {
        this.stack = stack;
        this.companies = companies;
        this.done = this.run();
        this.done.catch(() => undefined);
    }

    private async run(): Promise<void> {
        const access = await this.stack.access();
        let client: pg.Client | undefined;
        while (!this.stopped) {
            const id = this.next++;
            const began = Date.now();
            for (;;) {
                try {
                    if (client === undefined) {
                        client = new pg.Client({
                            host: access.host,
                            port: access.port,
                            user: access.user,
                            password: access.password,
                            database: access.database,
                            ssl: { ca: access.ca, servername: access.serverName },
                            connectionTimeoutMillis: 5000,
                            // a client gives up on a node that does not answer; the row may be there all the same
                            query_timeout: 30_000,
                            application_name: "chaos writer",
                        });
                        client.on("error", () => undefined);
                        await client.connect();
                    }
                    await client.query("INSERT INTO users (company_id, id, email) VALUES ($1, $2, $3)", [
                        (id % this.companies) + 1,
                        id,
                        `written-${id}@example.com`,
                    ]);
                    break;
                } catch (error) {
                    // the attempt before it was committed, only the answer was lost
                    if ((error as { code?: string }).code === "23505") break;
                    this.errors++;
                    await client?.end().catch(() => undefined);
                    client = undefined;
                    if (this.stopped && Date.now() - began > 60_000) return;
                    await pause(200);
                }
            }
            this.acknowledged.push(id);
            this.longest = Math.max(this.longest, Date.now() - began);
            await pause(20);
        }
        await client?.end().catch(() => undefined);
    }

    /** Ends it and proves that every acknowledged row is there, once. @returns one line about it */
    async stop(): Promise<string> {
        this.stopped = true;
        await bounded(this.done, 120_000, "the writing client");
        const rows = await this.stack.sql<{ id: number; n: number }>(
            `SELECT id::int AS id, count(*)::int AS n FROM users WHERE id >= ${FIRST_WRITTEN} GROUP BY id`,
        );
        const there = new Map(rows.map((row) => [row.id, row.n]));
        assert.deepEqual(
            this.acknowledged.filter((id) => !there.has(id)),
            [],
            "acknowledged rows that are gone",
        );
        assert.deepEqual(
            rows.filter((row) => row.n !== 1),
            [],
            "rows that are there twice",
        );
        assert.ok(this.acknowledged.length > 0, "the client wrote something");
        return `${this.acknowledged.length} rows acknowledged and there, ${this.errors} errors retried, longest ${(this.longest / 1000).toFixed(1)} s`;
    }
}

/** A promise that fails when it takes too long. */
export async function bounded<T>(promise: Promise<T>, within: number, what: string): Promise<T> {
    let late: NodeJS.Timeout | undefined;
    try {
        return await Promise.race([
            promise,
            new Promise<never>((_, reject) => {
                late = setTimeout(() => reject(new Error(`${what} did not end within ${within / 1000} s`)), within);
            }),
        ]);
    } finally {
        clearTimeout(late);
    }
}

/** Waits until `holds` does. */
export async function until(holds: () => Promise<boolean> | boolean, within: number, what: string): Promise<void> {
    const end = Date.now() + within;
    while (!(await holds())) {
        if (Date.now() > end) throw new Error(`not within ${within / 1000} s: ${what}`);
        await pause(100);
    }
}

/** Waits until a rebalance is under way and at least one move is done. */
export async function untilMoving(stack: TestStack, run: Run): Promise<void> {
    await until(
        async () => {
            assert.ok(!run.over, `pulumi up ended before a shard moved:\n${lastLines(run.said())}`);
            const [row] = await stack.sql<{ moving: boolean }>(
                `SELECT count(*) FILTER (WHERE t.status = 'done') > 0 AND count(*) FILTER (WHERE t.status = 'running') > 0 AS moving
                   FROM pg_dist_background_task t JOIN pg_dist_background_job j USING (job_id)
                  WHERE j.state = 'running' AND t.command LIKE '%citus_move_shard_placement%'`,
            );
            return row?.moving === true;
        },
        180_000,
        "a rebalance moves shards",
    );
}

/** Ends what is left of a stack's runs. */
export function endProcesses(stack: TestStack): void {
    for (const { pid } of processesOf(stack)) kill(pid);
}

/** Destroys a stack and proves that nothing of it is left, neither in Docker nor as a process. */
export async function demolish(stack: TestStack): Promise<void> {
    endProcesses(stack);
    await bounded(stack.destroy(), 300_000, "pulumi destroy");
    endProcesses(stack);
    assert.deepEqual(stack.leftovers(), []);
}

/** One row a case, printed at once and again at the end. */
export class Summary {
    private readonly rows: string[][] = [];
    private readonly title: string;

    constructor(title: string) {
        this.title = title;
    }

    add(what: string, moment: string, result: string, seconds: number | undefined, remark = ""): void {
        const row = [what, moment, result, seconds === undefined ? "" : `${seconds.toFixed(1)} s`, remark];
        this.rows.push(row);
        console.log(row.filter((cell) => cell !== "").join(" · "));
    }

    print(): void {
        if (this.rows.length === 0) return;
        console.log(`\n${this.title}`);
        console.log(table([["case", "moment", "result", "converged in", "remark"], ...this.rows]));
    }
}

/** Parts of one test, as many as a run finds: each is tried, whatever became of those before. */
export class Parts {
    private readonly failed: Error[] = [];

    async run(name: string, work: () => Promise<void>): Promise<void> {
        const began = Date.now();
        const tell = (mark: string) => console.log(`  ${mark} ${name} (${((Date.now() - began) / 1000).toFixed(1)} s)`);
        try {
            await work();
            tell("✔");
        } catch (error) {
            tell("✖");
            this.failed.push(new Error(name, { cause: error }));
        }
    }

    /** @throws AggregateError with every part that failed */
    end(): void {
        if (this.failed.length > 0)
            throw new AggregateError(
                this.failed,
                this.failed.map(({ message, cause }) => `${message}: ${cause}`).join("\n"),
            );
    }
}
