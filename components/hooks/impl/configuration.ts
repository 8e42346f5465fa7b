/** A node's configuration, put in place on it. */

import { nodeFiles } from "../../nodeFiles.ts";
import { readNodeState, restartsOf } from "../../nodeState.ts";
import { pause } from "../../pause.ts";
import { restartNeeded, type Settings } from "../../settings.ts";
import { isStopped, prepare, runScript, service } from "../../shell.ts";
import type { ConfigurationInputs } from "../configuration.ts";
import { comparable, oneAtATime, unknown } from "./coordinator.ts";
import { alive, note, progress } from "./engine.ts";
import { explainLoop, LOOPS, lastWordsOf, startsAgain, waitUntilBack } from "./replaced.ts";
import { refuseSettings } from "./settingsCheck.ts";

interface ConfigurationState extends ConfigurationInputs {
    systemIdentifier?: string;
    /** Seen by a refresh: the machine answers and its service is stopped, which is a difference to be mended. */
    stopped?: boolean;
}

/** How long a node may take to be ready, in milliseconds: a first start, or crash recovery of a big one. */
const READY_WITHIN = 180_000;
/** After this a start is unusually long, and what the node says is told, in milliseconds. */
const USUAL_START = 20_000;

function keyValues(text: string): Record<string, string> {
    return Object.fromEntries(
        text
            .split("\n")
            .filter((line) => line.includes("="))
            .map((line) => [line.slice(0, line.indexOf("=")), line.slice(line.indexOf("=") + 1)]),
    );
}

const pendingOf = (printed: string): string[] =>
    (keyValues(printed).pending_restart ?? "").split(",").filter((name) => name !== "");

/** @returns the restart-only settings that wait for a restart, or that a server that is starting has to be told again */
async function putInPlace(
    inputs: ConfigurationInputs,
    systemIdentifier: string | undefined,
): Promise<string[] | "not applied"> {
    const result = await runScript(inputs.shell, ["configure.sh", inputs.clusterId, systemIdentifier ?? "new"], {
        secrets: { group: "configuration", version: inputs.secretVersion, files: nodeFiles(inputs) },
    });
    if (result.code === 0) return keyValues(result.stdout).applied === "no" ? "not applied" : pendingOf(result.stdout);
    const said = result.stderr.trim();
    const next: Record<number, string> = {
        3: "Nothing was changed. Remove that volume if its data is not needed, or choose another citus:name.",
        4:
            "Nothing was changed, and no empty database was put in its place. Bring the volume back if you have it. Otherwise restore " +
            "the whole cluster to its last restore point (npm run backups lists them):\n" +
            "  pulumi config set --path citus:restoreFrom.point NAME\n" +
            "  pulumi config set --path citus:restoreFrom.overwrite true   (replaces what the other nodes hold; left away they are refused)\n" +
            "  pulumi up --refresh",
        5: "The node keeps its old configuration. Correct citus:settings, then run pulumi up again.",
    };
    throw new Error(
        `${inputs.name}: ${said}\n${next[result.code] ?? "The node keeps its old configuration. This is safe to repeat."}`,
    );
}

/** A server that starts refuses connections, which is nothing to be told of. Pure. */
export function waitingFor(name: string, milliseconds: number, said: string): string {
    if (milliseconds < USUAL_START) return `${name} is starting`;
    return `${name} is starting, ${Math.round(milliseconds / 1000)} s so far: ${said.split("\n")[0]}`;
}

/** What apply.sh ends with while the server does not answer. */
const NOT_YET = 7;

/**
 * Has a server that was starting take the configuration: what it read may have been the one before.
 * @returns the restart-only settings that wait for a restart
 */
async function apply(inputs: ConfigurationInputs): Promise<string[]> {
    const began = Date.now();
    for (;;) {
        alive();
        const result = await runScript(inputs.shell, ["apply.sh"]);
        if (result.code === 0) return pendingOf(result.stdout);
        if (result.code !== NOT_YET || Date.now() - began > READY_WITHIN)
            throw new Error(
                `${inputs.name}: its configuration is in place, and PostgreSQL has not taken it: ${result.stderr.trim()}\nThis is safe to repeat: pulumi up.`,
            );
        if (Date.now() - began > 5_000) progress(inputs.self)(`waiting for ${inputs.name} to answer`);
        await pause(200);
    }
}

/** Ends when the node answers over verified TLS, in the right database, with Citus loaded. */
async function waitUntilReady(inputs: ConfigurationInputs): Promise<void> {
    const report = progress(inputs.self);
    const began = Date.now();
    const restarts = (await restartsOf(inputs.shell)) ?? 0;
    let said = "";
    while (Date.now() - began < READY_WITHIN) {
        alive();
        try {
            const result = await runScript(inputs.shell, ["health.sh"]);
            if (result.code === 0) return;
            said = result.stderr.trim();
        } catch (error) {
            // it restarts, or is on its way
            said = (error as Error).message;
            if (((await restartsOf(inputs.shell)) ?? 0) >= restarts + LOOPS) throw await explainLoop(inputs);
        }
        report(waitingFor(inputs.name, Date.now() - began, said));
        await pause(150);
    }
    const log = await lastWordsOf(inputs);
    throw new Error(
        `${inputs.name} did not answer within ${READY_WITHIN / 1000} s: ${said}\nIts last words:\n${log}\nThis is safe to repeat: pulumi up.`,
    );
}

async function readFacts(inputs: ConfigurationInputs): Promise<string> {
    const result = await runScript(inputs.shell, ["facts.sh"]);
    const id = keyValues(result.stdout).system_identifier;
    if (!id) throw new Error(`${inputs.name}: the node does not say which database it holds: ${result.stderr.trim()}`);
    return id;
}

/** One node after another; when one does not come back the others are left alone. */
const failedRestarts = new Map<string, string>();

async function restart(inputs: ConfigurationInputs, settings: readonly string[]): Promise<void> {
    await oneAtATime(`restart ${inputs.clusterId}`, async () => {
        const failed = failedRestarts.get(inputs.clusterId);
        if (failed) {
            throw new Error(
                `${inputs.name} was not restarted, because ${failed} did not come back from its own restart.\n` +
                    `It runs with its old ${settings.join(", ")}. Mend ${failed}, then run pulumi up again.`,
            );
        }
        const began = Date.now();
        progress(inputs.self)(`restarting ${inputs.name} for ${settings.join(", ")}`);
        try {
            await service(inputs.shell, "restart");
            await waitUntilReady(inputs);
        } catch (error) {
            failedRestarts.set(inputs.clusterId, inputs.name);
            throw error;
        }
        note(
            inputs.self,
            `${inputs.name} restarted in ${((Date.now() - began) / 1000).toFixed(1)} s for ${settings.join(", ")}`,
        );
    });
}

async function converge(
    inputs: ConfigurationInputs,
    systemIdentifier: string | undefined,
): Promise<ConfigurationState> {
    const { shell, machine, bundle, volumeSize, metrics } = inputs;
    await prepare(shell, { machine, bundle, volumeSize, metrics }, progress(inputs.self));
    // a restore that was killed and withdrawn left it stopped; a container starts by itself
    if (shell.kind === "ssm") await service(shell, "start");
    await refuseSettings(inputs.clusterId, inputs.name, shell, inputs.overrides);
    // a restore that was withdrawn is over: the same request later is another one
    if (inputs.restoreId === undefined) await runScript(shell, ["accept.sh"]);
    const placed = await putInPlace(inputs, systemIdentifier);
    const pending = placed === "not applied" ? await apply(inputs) : placed;
    // a node whose archive was just configured is only ready after its restart
    if (pending.length > 0) await restart(inputs, pending);
    else await waitUntilReady(inputs);
    return { ...inputs, systemIdentifier: await readFacts(inputs) };
}

export async function create(inputs: ConfigurationInputs) {
    return { id: inputs.machine, outs: await converge(inputs, undefined) };
}

export async function update(_id: string, olds: ConfigurationState, news: ConfigurationInputs) {
    const restored = news.restoreId !== undefined && news.restoreId !== olds.restoreId;
    if (olds.machine === news.machine) await refuseAbsent(news);
    const replaced = olds.machine !== undefined && olds.machine !== news.machine && !restored;
    const outs = await converge(news, restored ? undefined : olds.systemIdentifier).catch(async (error: unknown) => {
        throw replaced && (await startsAgain(news.shell)) ? await explainLoop(news) : error;
    });
    if (replaced) {
        await waitUntilBack(news);
        note(news.self, `${news.name}: its machine was replaced, ${DATA_KEPT(outs.systemIdentifier)}`);
    }
    return { outs };
}

/** Runs in preview too. */
export async function diff(_id: string, olds: ConfigurationState, news: ConfigurationInputs) {
    // the settings of other nodes are no change of this one
    const ignore = ["systemIdentifier", "overrides"];
    if (comparable(olds, ignore) === comparable(news, ignore)) return { changes: false };
    refuseShrinking(olds, news);
    // what is replaced tells the engine who else is: nothing of it is known then, and nobody is told anything
    if (unknown(news.shell)) return { changes: true };
    if (!unknown(news.settings) && changedSettings(olds.settings, news.settings).length > 0)
        await refuseSettings(news.clusterId, news.name, olds.shell, news.overrides);
    const said = describeChange(olds, news);
    if (said !== undefined && told.get(news.self ?? news.name) !== said) {
        told.set(news.self ?? news.name, said);
        note(news.self, said);
    }
    return { changes: true };
}

/** @throws Error where what runs the node says that it can't be configured now */
async function refuseAbsent({ name, shell }: ConfigurationInputs): Promise<void> {
    const state = await readNodeState(shell);
    if (state?.passing === false)
        throw new Error(
            `${name} can't be configured, because ${state.said}: ${state.next}\nNothing was changed on it.`,
        );
}

/** What was said of a node last: the engine asks more than once for what it tells once. */
const told = new Map<string, string>();

const DATA_KEPT = (id: string | undefined) => `its data is kept (database ${id ?? "?"})`;

/**
 * What a change means for the node. Pure.
 * A machine that is not known yet is still to come: only a preview sees that. One that is there was told of by its update.
 */
export function describeChange(
    olds: Pick<ConfigurationState, "machine" | "settings" | "systemIdentifier">,
    news: Pick<ConfigurationInputs, "name" | "machine" | "settings">,
): string | undefined {
    const changed = unknown(news.settings) ? [] : changedSettings(olds.settings, news.settings);
    const restarts = changed.length > 0 ? restartNeeded(olds.settings, news.settings) : [];
    const replaced = olds.machine !== undefined && olds.machine !== news.machine;
    if (replaced && !unknown(news.machine)) return undefined;
    if (replaced) {
        const by = changed.length > 0 ? `; it starts with ${changed.join(", ")}` : "";
        return `${news.name}: its machine will be replaced, ${DATA_KEPT(olds.systemIdentifier)}${by}`;
    }
    if (changed.length === 0) return undefined;
    return restarts.length > 0
        ? `${changed.join(", ")}; ${restarts.join(", ")} needs a restart of ${news.name}, one node after another`
        : `${changed.join(", ")}; reloaded, no restart`;
}

/** A volume only grows: its file system can't be made smaller while it holds a database. */
function refuseShrinking(olds: ConfigurationState, news: ConfigurationInputs): void {
    if (unknown(news.volumeSize) || !(news.volumeSize < (olds.volumeSize ?? 0))) return;
    throw new Error(
        `${news.name}: its volume has ${olds.volumeSize} GiB and can't shrink to ${news.volumeSize} GiB\n` +
            "Nothing was changed. Put volumeSize back; for smaller volumes add workers with their own size in another cluster and restore into it (citus:restoreFrom).",
    );
}

function changedSettings(before: Settings, after: Settings): string[] {
    const names = [...new Set([...Object.keys(before), ...Object.keys(after)])].sort();
    return names
        .filter((name) => before[name] !== after[name])
        .map((name) => `${name} ${before[name] ?? "(default)"} → ${after[name] ?? "(default)"}`);
}

export async function read(id: string, props: ConfigurationState) {
    // what is not there says so by itself; what is there and stopped is started by the next update
    const stopped = props.shell?.kind === "ssm" && (await isStopped(props.shell));
    return { id, props: stopped ? { ...props, stopped } : props };
}

/** The configuration goes with the volume. */
export async function remove() {}
