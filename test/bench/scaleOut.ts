/** Two workers to four with data on them: `pulumi up` against the usual way by hand, on the same cluster. */

import { removeWorker } from "../../core/citus/members/leave.ts";
import { runningJob } from "../../core/citus/rebalance/jobTasks.ts";
import { nodeHost, POSTGRES_PORT } from "../../core/node/topology.ts";
import type { Session } from "../../core/reach/session.ts";
import { until } from "./process.ts";
import { BenchStack } from "./stack.ts";

/** What decides how fast Citus moves shards; by hand they are as Citus ships them. */
const GUCS = [
    "citus.max_background_task_executors",
    "citus.max_background_task_executors_per_node",
    "citus.background_task_queue_interval",
] as const;
const LIMIT = 900;
const BATCH = 500_000;

export interface ScaleOut {
    readonly bytes: number;
    readonly rows: number;
    /** From the start of `pulumi up` to balanced. */
    readonly up: number;
    /** Of it, until the two new workers were registered. */
    readonly registered: number;
    /** When `pulumi up` itself had ended. */
    readonly upEnded: number;
    /** The same by hand, the new workers' containers being up already. */
    readonly byHand: number;
    readonly defaults: Readonly<Record<string, string>>;
    readonly tuned: Readonly<Record<string, string>>;
}

export async function scaleOut(rows: number, say: (text: string) => void): Promise<ScaleOut> {
    const stack = await BenchStack.make({ workers: 2 });
    await stack.up();
    const coordinator = await stack.session();
    say(`loading ${rows / 1e6} million rows`);
    const bytes = await load(stack, coordinator, rows);
    say(`${(bytes / 1e9).toFixed(2)} GB on 2 workers; pulumi up to 4`);

    await stack.config({ workers: 4 });
    let began = performance.now();
    const since = () => performance.now() - began;
    const ended = stack.up().then(() => since());
    // it may fail while we wait for something else
    ended.catch(() => undefined);
    let registered = 0;
    const balanced = balancedWith(coordinator, 4, () => {
        registered = since();
    }).then(() => since());
    balanced.catch(() => undefined);
    const upEnded = await ended;
    const up = await balanced;
    await sameRows(coordinator, rows);

    say(`balanced in ${(up / 1000).toFixed(1)} s; emptying the two again`);
    const { defaults, tuned } = await undoScaleOut(stack, coordinator);
    await sameRows(coordinator, rows);
    await settle(stack);

    say("2 to 4 by hand");
    began = performance.now();
    for (const n of [3, 4]) {
        await coordinator.query("SELECT citus_add_node($1, $2)", [hostOf(stack, n), POSTGRES_PORT]);
    }
    await coordinator.query("SELECT citus_rebalance_start()");
    await balancedWith(coordinator, 4);
    const byHand = since();
    await sameRows(coordinator, rows);
    say(`balanced in ${(byHand / 1000).toFixed(1)} s`);
    await stack.remove();
    return { bytes, rows, up, registered, upEnded, byHand, defaults, tuned };
}

const hostOf = (stack: BenchStack, n: number) => nodeHost(`worker-${n}`, `citus-${stack.name}`);

/** @returns bytes on the workers */
async function load(stack: BenchStack, coordinator: Session, rows: number): Promise<number> {
    await coordinator.query(
        "CREATE TABLE public.accounts (id bigint PRIMARY KEY, branch int NOT NULL, balance int NOT NULL, filler char(84) NOT NULL)",
    );
    await coordinator.query("SELECT create_distributed_table('public.accounts', 'id', shard_count := 32)");
    const sessions = [coordinator, await stack.session()];
    let next = 0;
    await Promise.all(
        sessions.map(async (session) => {
            while (next < rows) {
                const first = next;
                next += BATCH;
                await session.query(
                    "INSERT INTO public.accounts SELECT i, i / 100000, 0, md5(i::text) FROM generate_series($1::bigint, $2::bigint) i",
                    [first + 1, Math.min(rows, first + BATCH)],
                );
            }
        }),
    );
    await coordinator.query("VACUUM (ANALYZE) public.accounts");
    await settle(stack);
    const [row] = await coordinator.query<{ bytes: number }>(
        "SELECT citus_total_relation_size('public.accounts')::float8 AS bytes",
    );
    return row?.bytes ?? 0;
}

/** Writes out what lies in memory, so that neither side pays for what came before it. */
async function settle(stack: BenchStack): Promise<void> {
    for (const { name } of (await stack.outputs()).workers) {
        const worker = await stack.session(name);
        await worker.query("CHECKPOINT");
    }
}

/** Waits until so many workers are registered, no rebalance runs, and Citus has nothing to move. */
async function balancedWith(coordinator: Session, workers: number, registered?: () => void): Promise<void> {
    await until(`${workers} workers`, { limit: LIMIT, every: 100 }, async () => {
        const [row] = await coordinator.query<{ n: number }>(
            "SELECT count(*)::int AS n FROM pg_dist_node WHERE groupid > 0 AND isactive AND metadatasynced",
        );
        return row?.n === workers;
    });
    registered?.();
    const empty = async () => {
        const [row] = await coordinator.query<{ n: number }>(
            "SELECT count(*)::int AS n FROM get_rebalance_table_shards_plan()",
        );
        return row?.n === 0;
    };
    // the plan asks every node for every shard's size, so it is only asked for when nothing runs
    await until("a balanced cluster", { limit: LIMIT, every: 200 }, async () => {
        return (await runningJob(coordinator)) === undefined && (await empty());
    });
}

/** Empties workers 3 and 4, takes them out of the cluster, and gives every node Citus' own settings. */
async function undoScaleOut(stack: BenchStack, coordinator: Session) {
    const leaving = [3, 4].map((n) => ({ name: `worker-${n}`, host: hostOf(stack, n), port: POSTGRES_PORT }));
    for (const { host, port } of leaving) {
        await coordinator.query("SELECT citus_set_node_property($1, $2, 'shouldhaveshards', false)", [host, port]);
    }
    await coordinator.query(
        "SELECT citus_rebalance_start(drain_only := true, parallel_transfer_colocated_shards := true)",
    );
    await balancedWith(coordinator, 4);
    for (const worker of leaving) await removeWorker(coordinator, worker, await stack.session(worker.name));
    const settings = await coordinator.query<{ name: string; now: string; shipped: string }>(
        "SELECT name, current_setting(name) AS now, boot_val AS shipped FROM pg_settings WHERE name = ANY ($1)",
        [[...GUCS]],
    );
    for (const node of ["coordinator", ...(await stack.outputs()).workers.map((worker) => worker.name)]) {
        const session = await stack.session(node);
        for (const { name, shipped } of settings) await session.query(`ALTER SYSTEM SET ${name} = '${shipped}'`);
        await session.query("SELECT pg_reload_conf()");
    }
    const now = async () =>
        Object.fromEntries(
            (
                await coordinator.query<{ name: string; now: string }>(
                    "SELECT name, current_setting(name) AS now FROM pg_settings WHERE name = ANY ($1)",
                    [[...GUCS]],
                )
            ).map((row) => [row.name, row.now]),
        );
    const before = JSON.stringify(Object.fromEntries(settings.map((row) => [row.name, row.now])));
    await until("Citus' own settings", { limit: 30, every: 200 }, async () => JSON.stringify(await now()) !== before);
    return { defaults: await now(), tuned: JSON.parse(before) as Record<string, string> };
}

async function sameRows(coordinator: Session, rows: number): Promise<void> {
    const [row] = await coordinator.query<{ n: number }>("SELECT count(*)::float8 AS n FROM public.accounts");
    if (row?.n !== rows) throw new Error(`public.accounts had ${rows} rows and has ${row?.n}`);
}
