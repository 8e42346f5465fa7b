/** A whole cluster restored, against one of its nodes alone and against copying the same bytes; and what archiving costs. */

import { scramVerifier } from "../../core/node/scram.ts";
import { NODE_SCRIPTS } from "../../core/node/settings.ts";
import { nodeHost, POSTGRES_PORT } from "../../core/node/topology.ts";
import { dockerSite, readVolume } from "../../core/restore/dockerSite.ts";
import { planRestore, type RestorePlan } from "../../core/restore/plan.ts";
import { restoreNodes } from "../../core/restore/run.ts";
import { docker, pause, undoLater } from "./process.ts";
import { BenchStack, benchImage } from "./stack.ts";

const NODES = ["coordinator", "worker-1", "worker-2"] as const;
/** Seconds that each pgbench runs. */
const SECONDS = 20;

export interface RestoreFigures {
    /** In the databases of all nodes. */
    readonly bytes: number;
    /** Milliseconds, for each repeat. */
    readonly cluster: number[];
    /** The slowest of the nodes when it is restored alone. */
    readonly one: number[];
    /** The same files copied by cp, all nodes at once. */
    readonly copy: number[];
    /** Transactions a second. */
    readonly archiving: number[];
    readonly notArchiving: number[];
}

/** Restores some nodes into fresh volumes; milliseconds from the first file to the last rename. */
async function restore(
    image: string,
    repository: string,
    plan: RestorePlan,
    names: readonly string[],
    database: string,
) {
    const label = `citus-bench-${Date.now().toString(36)}`;
    const volume = (name: string) => `${label}-${name}`;
    const undo = undoLater(label, async () => {
        await docker(["volume", "rm", "-f", ...names.map(volume)]);
    });
    for (const name of names) await docker(["volume", "create", volume(name)]);
    const began = performance.now();
    await restoreNodes({
        site: dockerSite(
            {
                kind: "docker",
                engine: "",
                image,
                labels: { "citus.cluster": label },
                nodes: names.map((name) => ({ name, volume: volume(name), container: "" })),
            },
            { volume: repository },
            { volume: repository },
        ),
        passphrase: undefined,
        verifier: scramVerifier("bench", Buffer.alloc(16)),
        database,
        overwrite: false,
        plan: { ...plan, restored: plan.restored.filter((node) => names.includes(node.name)) },
        timelines: {},
        planId: label,
        targets: names.map((name) => ({ name, memory: 1024, cores: 2 })),
        report: () => undefined,
        alive: () => undefined,
    });
    const took = performance.now() - began;
    await undo();
    return took;
}

/** `cp -a` of the nodes' files, from volume to volume and all at once. */
async function copy(image: string, containers: readonly string[]): Promise<number> {
    const to = containers.map((_name, i) => `citus-bench-copy-${Date.now().toString(36)}-${i}`);
    const undo = undoLater("copied volumes", async () => {
        await docker(["volume", "rm", "-f", ...to]);
    });
    const began = performance.now();
    await Promise.all(
        containers.map((container, i) =>
            docker(
                [
                    "run",
                    "--rm",
                    "--network",
                    "none",
                    "-v",
                    `${container}-data:/from:ro`,
                    "-v",
                    `${to[i]}:/var/lib/citus`,
                    image,
                    "bash",
                    "-c",
                    "cp -a /from/pgdata /var/lib/citus/ && sync /var/lib/citus",
                ],
                { limit: 900 },
            ),
        ),
    );
    const took = performance.now() - began;
    await undo();
    return took;
}

/** Single-row updates through the coordinator, which are mostly WAL. */
async function pgbench(stack: BenchStack, container: string, rows: number): Promise<number> {
    const script = `\\set id random(1, ${rows})\nUPDATE public.accounts SET balance = balance + 1 WHERE id = :id;\n`;
    await docker(["exec", "-i", container, "bash", "-c", "cat > /tmp/update.sql"], { input: script });
    const said = await docker(
        [
            "exec",
            container,
            "bash",
            "-c",
            `/usr/lib/postgresql/17/bin/pgbench -n -c 8 -j 2 -T ${SECONDS} -f /tmp/update.sql app 2>&1`,
        ],
        { limit: SECONDS + 60 },
    );
    const tps = Number(/^tps = ([0-9.]+)/m.exec(said)?.[1]);
    if (!(tps > 0)) throw new Error(`pgbench on ${stack.name} said: ${said}`);
    return tps;
}

export async function restoreAndArchive(
    rows: number,
    repeats: number,
    say: (text: string) => void,
): Promise<RestoreFigures> {
    const stack = await BenchStack.make({ workers: 2 });
    await stack.up();
    const coordinator = await stack.session();
    say(`loading ${rows / 1e6} million rows`);
    await coordinator.query(
        "CREATE TABLE public.accounts (id bigint PRIMARY KEY, branch int NOT NULL, balance int NOT NULL, filler char(84) NOT NULL)",
    );
    await coordinator.query("SELECT create_distributed_table('public.accounts', 'id', shard_count := 32)");
    for (let first = 0; first < rows; first += 500_000)
        await coordinator.query(
            "INSERT INTO public.accounts SELECT i, i / 100000, 0, md5(i::text) FROM generate_series($1::bigint, $2::bigint) i",
            [first + 1, Math.min(rows, first + 500_000)],
        );
    const containers = await Promise.all(NODES.map((name) => containerOf(stack, name)));
    await Promise.all(
        containers.map((container) => docker(["exec", container, `${NODE_SCRIPTS}/backup.sh`, "full"], { limit: 900 })),
    );
    const point = await docker(["exec", containers[0] as string, `${NODE_SCRIPTS}/restore-point.sh`], {
        limit: 300,
    });
    const repository = String((await stack.outputs()).backups?.repository);
    const image = benchImage();
    const planned = planRestore(
        {
            point,
            database: "app",
            nodes: NODES.map((name) => ({
                name,
                role: name === "coordinator" ? ("coordinator" as const) : ("worker" as const),
                host: nodeHost(name, "bench-copy"),
                port: POSTGRES_PORT,
            })),
        },
        await readVolume({ engine: "", image }, { volume: repository }, { kind: "restore", point }),
    );
    if ("refusals" in planned) throw new Error(planned.refusals.join("\n"));
    const { plan } = planned;
    const bytes = plan.restored.reduce((sum, node) => sum + Number(node.from.bytes), 0);
    const figures: RestoreFigures = { bytes, cluster: [], one: [], copy: [], archiving: [], notArchiving: [] };
    for (let i = 1; i <= repeats; i++) {
        figures.one.push(await restore(image, repository, plan, ["worker-1"], "app"));
        figures.cluster.push(await restore(image, repository, plan, NODES, "app"));
        figures.copy.push(await copy(image, containers));
        say(
            `restore ${i}: one node ${figures.one.at(-1)?.toFixed(0)} ms, three ${figures.cluster.at(-1)?.toFixed(0)} ms, cp of the three ${figures.copy.at(-1)?.toFixed(0)} ms`,
        );
    }
    for (let i = 1; i <= repeats; i++) {
        for (const on of [true, false]) {
            await stack.config({ backup: on });
            await stack.up();
            await pause(5000);
            await coordinator.query("SELECT 1").catch(() => undefined);
            const tps = await pgbench(stack, await containerOf(stack, "coordinator"), rows);
            (on ? figures.archiving : figures.notArchiving).push(tps);
            say(`pgbench ${i}, archiving ${on ? "on" : "off"}: ${tps.toFixed(0)} tps`);
        }
    }
    await stack.remove();
    return figures;
}

async function containerOf(stack: BenchStack, node: string): Promise<string> {
    return docker([
        "ps",
        "--filter",
        `label=citus.cluster=citus-${stack.name}`,
        "--filter",
        `label=citus.node=${node}`,
        "--format",
        "{{.Names}}",
    ]);
}
