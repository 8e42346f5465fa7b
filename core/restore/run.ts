/** The nodes of a plan restored together: all of them take a step, and only when all have taken it the next. */
import { renderRepositoryConf } from "../node/archive.ts";
import type { CommandResult, ScriptInput } from "../node/reach.ts";
import { NODE_HOME } from "../node/settings.ts";
import { describeBytes } from "../util/bytes.ts";
import { pause } from "../util/pause.ts";
import type { PlannedNode, RestorePlan } from "./plan.ts";
import { restoreSecrets } from "./repository.ts";
import type { RestoreTarget, Site, Workplace } from "./site.ts";

/** A name that was used twice is further apart than this by one and the same clock, in milliseconds. */
const SAME_MOMENT = 60_000;
/** More processes than this only wait for the disk. */
const MOST_PROCESSES = 4;

export interface RestoreRun {
    readonly site: Site;
    /** Passphrase of the repository that is restored from; undefined when it is not encrypted. */
    readonly passphrase: string | undefined;
    /** SCRAM verifier of the superuser's new password. */
    readonly verifier: string;
    readonly database: string;
    /** Existing databases may be put aside. */
    readonly overwrite: boolean;
    readonly plan: RestorePlan;
    /** The newest timeline that the cluster's own repository has of each node, by its name; 0 where it has none. */
    readonly timelines: Readonly<Record<string, number>>;
    /** The same for a run that repeats a killed one: what that one put in place stays. */
    readonly planId: string;
    /** Where each node of the plan goes that is restored. */
    readonly targets: readonly RestoreTarget[];
    readonly report: (text: string) => void;
    /** Throws, or ends the process, when nobody waits any more. */
    readonly alive: () => void;
}

const STEPS = ["files", "recover", "readdress", "finish"] as const;

/** Milliseconds that each step took. */
export type StepTimes = Record<(typeof STEPS)[number], number>;

/** Thrown before anything is touched: nodes that hold a database, which was not said to be replaced. */
export class HoldsData extends Error {
    readonly nodes: readonly string[];
    constructor(nodes: readonly string[]) {
        super(`there is a database on ${nodes.join(", ")}`);
        this.nodes = nodes;
    }
}

type Node = PlannedNode & RestoreTarget;

interface Workshop {
    readonly workplace: Workplace;
}

/** Where a node is restored. */
interface Place extends Workshop {
    readonly node: Node;
}

/** Where a node that the point does not have is put aside. */
interface Surplus extends Workshop {
    readonly node: RestoreTarget & { readonly from?: undefined };
}

const processes = (node: Node) => Math.max(1, Math.min(MOST_PROCESSES, node.cores));

function inputOf(run: RestoreRun, node: Node): ScriptInput {
    const files = {
        "pgbackrest.conf": renderRepositoryConf({ options: run.site.repository }, [
            "archive-async=y",
            "archive-get-queue-max=256MiB",
            `spool-path=${NODE_HOME}/restore/spool`,
            `process-max=${processes(node)}`,
            `[${node.from.stanza}]`,
            `pg1-path=${NODE_HOME}/pgdata.restoring`,
            `pg1-socket-path=${NODE_HOME}/restore/run`,
        ]),
        "restore.conf": [
            `point=${run.plan.point.name}`,
            `label=${node.from.label}`,
            `timeline=${node.from.timeline}`,
            `newest_timeline=${run.timelines[node.name] ?? 0}`,
            `stanza=${node.from.stanza}`,
            `mode=${run.plan.toTheEnd ? "end" : "point"}`,
            `overwrite=${run.overwrite ? "on" : "off"}`,
            `processes=${processes(node)}`,
            // its files and some WAL
            `bytes=${Math.ceil(Number(node.from.backupBytes) * 1.05) + 256 * 1024 ** 2}`,
            "",
        ].join("\n"),
        "nodes.json": JSON.stringify(
            run.plan.nodes.map(({ from, host, port }) => ({ groupId: from.groupId, host, port })),
        ),
    };
    return { files, secrets: restoreSecrets(run.site.secretVersion(node.name), run) };
}

/** What a node is told that the point does not have. */
const surplusInput = (run: RestoreRun): ScriptInput => ({
    files: { "restore.conf": `mode=aside\noverwrite=${run.overwrite ? "on" : "off"}\n` },
});

/** Runs a step on all nodes together; ends when all have ended. */
async function onAll<P extends Workshop>(
    run: RestoreRun,
    places: readonly P[],
    step: string,
    input?: (place: P) => ScriptInput,
): Promise<CommandResult[]> {
    return Promise.all(
        places.map((place) =>
            place.workplace.run(["restore.sh", step, run.planId], input?.(place)).catch((error: Error) => ({
                code: -1,
                stdout: "",
                stderr: `its restore was interrupted: ${error.message}`,
            })),
        ),
    );
}

/** What restore.sh ends with when the repository does not give what the point needs. */
const NOT_GIVEN = 25;

function failures(places: readonly (Place | Surplus)[], results: readonly CommandResult[]): string[] {
    const killed = (code: number) => code === 137 || code === -1;
    return results.flatMap(({ code, stderr }, i) => {
        if (code === 0) return [];
        const said = stderr.trim() || (killed(code) ? "its restore was interrupted" : `exit code ${code}`);
        return [`${places[i]?.node.name}: ${said}`];
    });
}

/** What to do after a step failed that replaced nothing. Pure. */
export function nextStep(codes: readonly number[]): string {
    return codes.includes(NOT_GIVEN)
        ? "If the repository could not be reached, run pulumi up again when it can. If a file in it is damaged or gone, each try ends the same: name an earlier point. " +
              "npm run backups lists them:\n  pulumi config set --path citus:restoreFrom.point NAME"
        : "Remove the cause, then run pulumi up again.";
}

/** A step that did not end on every node. */
class StepFailed extends Error {
    readonly codes: readonly number[];
    constructor(why: readonly string[], codes: readonly number[] = []) {
        super(failed(why).message);
        this.codes = codes;
    }
}

const failed = (why: readonly string[]) =>
    new Error(["The restore did not end:", ...why.map((line) => `  ${line}`)].join("\n"));

const TITLES: Readonly<Record<string, string>> = {
    files: "files",
    recover: "replaying the WAL",
    readdress: "names",
    finish: "putting in place",
    aside: "putting aside",
    hold: "holding",
    open: "opening",
};

/** Tells how far the nodes are while they work. */
async function follow<T>(
    run: RestoreRun,
    places: readonly (Place | Surplus)[],
    step: string,
    work: Promise<T>,
): Promise<T> {
    let over = false;
    const ended = work.finally(() => {
        over = true;
    });
    const total = places.reduce((sum, { node }) => sum + Number(node.from?.backupBytes ?? 0), 0);
    const began = Date.now();
    const sizeOf = async ({ workplace }: Workshop) => {
        const { stdout } = await workplace.run(["restore.sh", "size", run.planId]);
        return Number(stdout.trim()) || 0;
    };
    void (async () => {
        while (!over) {
            await pause(1000);
            if (over) return;
            run.alive();
            let amount = "";
            if (step === "files") {
                const sizes = await Promise.all(places.map((place) => sizeOf(place).catch(() => 0)));
                const done = sizes.reduce((sum, size) => sum + size, 0);
                amount = `${describeBytes(Math.min(done, total))} of ${describeBytes(total)} · `;
            }
            const seconds = ((Date.now() - began) / 1000).toFixed(0);
            run.report(`${TITLES[step]} of ${places.length} nodes · ${amount}${seconds} s`);
        }
    })().catch(() => undefined);
    return ended;
}

/**
 * Whether each node stopped at this point and not at another of its name: by the node's own clock, since clocks of nodes differ.
 * Pure.
 */
export function apart(stops: readonly { readonly node: PlannedNode; readonly printed: string }[]): string[] {
    return stops.flatMap(({ node, printed }) => {
        const wanted = node.from.time;
        const said = /^stopped_at=(.*)$/m.exec(printed)?.[1];
        // PostgreSQL: 2026-11-22 10:00:00.123456+00
        const at = said ? Date.parse(`${said.replace(" ", "T").replace(/([+-]\d\d)$/, "$1:00")}`) : Number.NaN;
        if (Math.abs(at - Date.parse(wanted)) <= SAME_MOMENT) return [];
        return [
            `${node.name}: it stopped at ${said ?? "an unknown time"}, and by the clock of ${node.from.node} the restore point is of ${wanted}`,
        ];
    });
}

/** Every node has exactly the new names, and is the group it should be. */
function misaddressed(run: RestoreRun, places: readonly Place[], results: readonly CommandResult[]): string[] {
    const wanted = [...run.plan.nodes]
        .sort((a, b) => a.from.groupId - b.from.groupId)
        .map((node) => `${node.from.groupId}|${node.host}|${node.port}`)
        .join(",");
    return results.flatMap((result, i) => {
        const node = places[i]?.node;
        const line = result.stdout.split("\n").find((text) => text.startsWith(`database=${run.database} `)) ?? "";
        const group = / group=(-?\d+) /.exec(line)?.[1];
        const nodes = / nodes=(.*)$/.exec(line)?.[1];
        if (group === String(node?.from.groupId) && nodes === wanted) return [];
        return [`${node?.name}: it still says group ${group ?? "?"} of the nodes ${nodes ?? "?"}`];
    });
}

/** All nodes through all steps; those that the point does not have only make room, when the others have everything. */
async function takeSteps(run: RestoreRun, restored: readonly Place[], surplus: readonly Surplus[]): Promise<StepTimes> {
    const places = [...restored, ...surplus];
    const times: StepTimes = { files: 0, recover: 0, readdress: 0, finish: 0 };
    const all = async (
        list: readonly (Place | Surplus)[],
        step: (typeof STEPS)[number] | "hold" | "aside" | "open",
    ) => {
        const began = Date.now();
        const results = await follow(run, list, step, onAll(run, list, step));
        if (step in times) times[step as keyof StepTimes] = Date.now() - began;
        run.alive();
        const bad = failures(list, results);
        if (bad.length > 0)
            throw new StepFailed(
                bad,
                results.map(({ code }) => code),
            );
        return results;
    };
    const begun = await onAll(run, places, "begin", (place) =>
        place.node.from === undefined ? surplusInput(run) : inputOf(run, place.node),
    );
    // what an earlier, interrupted restore put in place is no cluster: its nodes and the others must not serve together
    const mixed = begun.some(({ stdout }) => /^state=(restored|unfinished)$/m.test(stdout));
    const MIXED = "An earlier restore has replaced the databases of some nodes already, so no node may start.";
    if (begun.some(({ code }) => code !== 0)) {
        if (mixed) throw new Unfinished(`${failed(failures(places, begun)).message}\n${MIXED}\n${nextStep([])}`);
        const holding = places.filter((_place, i) => begun[i]?.code === 20).map(({ node }) => node.name);
        if (holding.length > 0) throw new HoldsData(holding);
        throw new Error(`${failed(failures(places, begun)).message}\nNothing was touched.`);
    }
    const isLeft = (_place: unknown, i: number) => !/^state=restored$/m.test(begun[i]?.stdout ?? "");
    const left = restored.filter(isLeft);
    const putAside = surplus.filter((place, i) => isLeft(place, restored.length + i));
    try {
        await all(left, "files");
        const recovered = await all(left, "recover");
        const stops = left.map(({ node }, i) => ({ node, printed: recovered[i]?.stdout ?? "" }));
        const elsewhere = run.plan.toTheEnd ? [] : apart(stops);
        if (elsewhere.length > 0) throw failed(elsewhere);
        const readdressed = await all(left, "readdress");
        const wrong = run.plan.toTheEnd ? [] : misaddressed(run, left, readdressed);
        if (wrong.length > 0) throw failed(wrong);
        await all([...left, ...putAside], "hold");
    } catch (error) {
        const next = nextStep(error instanceof StepFailed ? error.codes : []);
        if (mixed) throw new Unfinished(`${(error as Error).message}\n${MIXED}\n${next}`);
        await onAll(run, places, "abort");
        throw new Error(
            `${(error as Error).message}\nNothing was changed: what was there before is as it was. ${next}`,
        );
    }
    try {
        await Promise.all([all(left, "finish"), all(putAside, "aside")]);
        await all(places, "open");
    } catch (error) {
        throw new Unfinished(
            `${(error as Error).message}\nNo server of this cluster runs while its restore is unfinished. Run pulumi up again: it goes on with the restore.`,
        );
    }
    return times;
}

/** Some nodes are in place and others are not: nothing may start. */
class Unfinished extends Error {}

/**
 * Restores the nodes of a plan. Servers that use their volumes are stopped meanwhile.
 * @throws HoldsData, or Error naming each node with what it said, and what is true then
 */
export async function restoreNodes(run: RestoreRun): Promise<StepTimes> {
    const targetOf = (name: string): RestoreTarget => {
        const target = run.targets.find((one) => one.name === name);
        if (!target) throw new Error(`${name}: the restore has no place for its data`);
        return target;
    };
    const nodes = run.plan.restored.map((planned): Node => ({ ...planned, ...targetOf(planned.name) }));
    const surplus = run.plan.surplus.map(({ name }) => targetOf(name));
    const names = [...nodes, ...surplus].map(({ name }) => name);
    await run.site.stop(names);
    try {
        const times = await run.site.withWorkplaces([...nodes, ...surplus], (workplaces) =>
            takeSteps(
                run,
                nodes.map((node, i) => ({ node, workplace: workplaces[i] as Workplace })),
                surplus.map((node, i) => ({ node, workplace: workplaces[nodes.length + i] as Workplace })),
            ),
        );
        // one that does not start is waited for, and named, where nodes are configured; the restore itself is done
        await run.site.start(names).catch((error: Error) => run.report(`a server did not start: ${error.message}`));
        return times;
    } catch (error) {
        if (!(error instanceof Unfinished)) await run.site.start(names);
        throw error;
    }
}
