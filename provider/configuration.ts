/** A node's configuration, put in place on it. */

import { explainFindings } from "../core/citus/health/checks/looks.ts";
import { nodeFiles } from "../core/node/files.ts";
import type { Access, Shell } from "../core/node/reach.ts";
import { type Overrides, restartNeeded, type Settings } from "../core/node/settings.ts";
import { readFindings } from "../core/reach/nodeFindings.ts";
import { readNodeState } from "../core/reach/nodeState.ts";
import {
    isLooping,
    isStopped,
    lastWords,
    prepare,
    restartsOf,
    runScript,
    service,
    whileStopped,
} from "../core/reach/run.ts";
import { pause } from "../core/util/pause.ts";
import { comparable, oneAtATime } from "./coordinator.ts";
import type { Ask, Difference, ResourceKind } from "./kind.ts";
import { explainLoop, startsAgain, waitUntilBack } from "./replaced.ts";
import { restartWhileClientsWait } from "./restart.ts";
import { refuseSettings } from "./settingsCheck.ts";
import { unknown } from "./unknown.ts";

/** What a node's configuration consists of, as plain values. */
export interface ConfigurationInputs {
    /** The node's name, for messages. */
    name: string;
    cluster: string;
    /** Random, made with the stack: marks volumes and nodes as this stack's own. */
    clusterId: string;
    database: string;
    settings: Settings;
    /** `citus:settings`, those of other nodes too: whoever is asked first checks them for all. @default not checked */
    overrides?: Overrides;
    /** Networks that carry only nodes. */
    nodeNetworks: string[];
    caCertificate: string;
    certificate: string;
    /** PEM; a secret. */
    privateKey: string;
    /** SCRAM verifier of the superuser's password; a secret. The password itself never reaches a node. */
    verifier: string;
    /** pgBackRest's configuration and the schedule, by file name; empty without backups. */
    backup: Record<string, string>;
    /** Another one for each restore: the database may be another then. */
    restoreId?: string;
    /** How scripts are run on it. */
    shell: Shell;
    /** Id of the container or machine that runs the node; a new one is given the configuration again. */
    machine: string;
    /** Version of the machine's own secret that holds the configuration; empty in a container. */
    secretVersion: string;
    /**
     * How the coordinator is asked whether the node takes part again after its machine was replaced, and the host that the
     * node is registered with; a secret. `pool` is the coordinator's shell, whose connection pool has its clients wait while
     * the node restarts. @default not asked
     */
    membership?: { coordinator: Access; host: string; pool?: Shell };
    /** sha256 of the node scripts that the machine must have; empty in a container, whose image has them. */
    bundle: string;
    /** GiB that the data volume must have; 0 where it has no size of its own. */
    volumeSize: number;
    /** Whether a machine sends metrics for alarms. */
    metrics: boolean;
}

export interface ConfigurationState extends ConfigurationInputs {
    systemIdentifier?: string;
    /** The last restore that put its database in place, also one that nobody asks for any more. */
    restored?: string;
    /** Seen by a refresh: the machine answers and its service is stopped, which is a difference to be mended. */
    stopped?: boolean;
    /** Seen by a refresh on a machine: what the next update puts right. */
    drift?: readonly string[];
}

/** How long a node that is not ready may do nothing, in milliseconds. One that replays its WAL is at work, however long that takes. */
const READY_WITHIN = 180_000;
/** How often a node that is not ready is asked what it is doing, in milliseconds. */
const LOOK_EVERY = 5_000;
/** A server that ended this often by itself in one wait does not come up. */
const RESTARTS = 3;
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

/** What a running server was told. */
interface Applied {
    /** Restart-only settings that wait for a restart. */
    readonly pending: readonly string[];
    /** The superuser's password was another one. */
    readonly password: boolean;
    /** Settings that ALTER SYSTEM had changed, and that are the stack's again. */
    readonly reset: readonly string[];
}

const listed = (text: string | undefined) => (text ?? "").split(",").filter((name) => name !== "");

function readApplied(printed: string): Applied {
    const { pending_restart, password, reset } = keyValues(printed);
    return { pending: listed(pending_restart), password: password === "changed", reset: listed(reset) };
}

interface Placed {
    /** Of the configuration on the node. */
    readonly name: string;
    /** Undefined when a server that is starting has to be told again. */
    readonly applied?: Applied;
}

/** What a command ends with whose container was stopped under it. */
const KILLED = [-1, 137, 143];

/** Tries the configuration and puts it in place. */
async function putInPlace(inputs: ConfigurationInputs, systemIdentifier: string | undefined): Promise<Placed> {
    const result = await runScript(inputs.shell, ["configure.sh", inputs.clusterId, systemIdentifier ?? "new"], {
        secrets: { group: "configuration", version: inputs.secretVersion, files: nodeFiles(inputs) },
    });
    if (KILLED.includes(result.code))
        throw Object.assign(new Error(`${inputs.name}: its container stopped while it was configured`), {
            statusCode: 409,
        });
    if (result.code === 0) {
        const { placed = "", applied } = keyValues(result.stdout);
        return { name: placed, ...(applied === "no" ? {} : { applied: readApplied(result.stdout) }) };
    }
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
const REFUSED = 5;

/**
 * Has a server that was starting take the configuration: what it read may have been the one before.
 * @returns the restart-only settings that wait for a restart
 */
async function apply(ask: Ask, inputs: ConfigurationInputs): Promise<Applied> {
    const began = Date.now();
    const watch = await watchStart(inputs.shell);
    for (;;) {
        const result = await runScript(inputs.shell, ["apply.sh"]).catch((error: Error & { statusCode?: number }) => {
            // it is being started again
            if (error.statusCode === 409) return { code: NOT_YET, stdout: "", stderr: error.message };
            throw error;
        });
        if (result.code === 0) return readApplied(result.stdout);
        if (result.code === NOT_YET) {
            const hopeless = await watch.hopeless();
            if (hopeless === undefined) {
                if (Date.now() - began > 5_000) ask.progress(`waiting for ${inputs.name} to answer`);
                await pause(200);
                continue;
            }
            throw await notReady(inputs, result.stderr.trim(), hopeless);
        }
        throw new Error(
            `${inputs.name}: PostgreSQL has not taken its configuration: ${result.stderr.trim()}\n` +
                (result.code === REFUSED
                    ? "The former one is in place again. Correct citus:settings, then run pulumi up again."
                    : "This is safe to repeat: pulumi up."),
        );
    }
}

/** What starting.sh says. */
export interface Starting {
    readonly refused?: string;
    /** Another one after each start. */
    readonly server?: string;
    readonly state?: string;
    readonly at?: string;
    readonly work?: string;
}

/** Whether a server that does not answer yet has got on since: one that runs has nothing more to do for that. Pure. */
export function gotOn(before: Starting | undefined, now: Starting): boolean {
    if (before === undefined || before.state !== now.state) return true;
    return now.state !== "in production" && (before.work !== now.work || before.at !== now.at);
}

/** What is worth telling of it: nothing of a start like any other. Pure. */
export function describeStarting({ state, at }: Starting): string | undefined {
    if (at !== undefined) return `it replays its WAL (${at})`;
    if (state === "in crash recovery" || state === "shutting down") return `it is ${state}`;
    return undefined;
}

/** A server that can't be waited for any longer. */
class NotReady extends Error {}

interface Watch {
    /** Asks it, every five seconds at most. @returns why there is no hope, or undefined */
    readonly hopeless: () => Promise<string | undefined>;
    /** What it was doing when it was asked last. */
    readonly doing: () => string | undefined;
}

/** Watches a node that does not answer. */
async function watchStart(shell: Shell): Promise<Watch> {
    const restarts = await restartsOf(shell);
    let asked = Date.now();
    let last: Starting | undefined;
    let seen = Date.now();
    const servers = new Set<string>();
    const hopeless = async () => {
        if (Date.now() - asked < LOOK_EVERY) return undefined;
        asked = Date.now();
        const looked = await runScript(shell, ["starting.sh"]).catch(() => undefined);
        const now = looked?.code === 0 ? (keyValues(looked.stdout) as Starting) : undefined;
        if (now !== undefined && gotOn(last, now)) seen = Date.now();
        const refused = (now ?? last)?.refused;
        last = now ?? last;
        if (now?.server !== undefined) servers.add(now.server);
        // where nobody counts, what was seen is
        const ended = Math.max(((await restartsOf(shell)) ?? 0) - (restarts ?? 0), servers.size - 1);
        if (ended >= RESTARTS)
            return `its server ended ${ended} times as soon as it was started${refused ? `: ${refused}` : ""}`;
        if (refused !== undefined && now?.state === undefined) return refused;
        if (Date.now() - seen <= READY_WITHIN) return undefined;
        return `it did not answer, nor get on with its start, for ${READY_WITHIN / 1000} s${refused ? `: ${refused}` : ""}`;
    };
    return { hopeless, doing: () => last && describeStarting(last) };
}

/** What health.sh says of a server that answers. */
const ARCHIVE_WAITS = /archive is not checked yet/;

/** Ends when the node answers over verified TLS, in the right database, with Citus loaded. */
async function waitUntilReady(ask: Ask, inputs: ConfigurationInputs): Promise<void> {
    const report = ask.progress;
    const began = Date.now();
    const watch = await watchStart(inputs.shell);
    let said = "";
    for (;;) {
        try {
            const result = await runScript(inputs.shell, ["health.sh"]);
            if (result.code === 0) return;
            said = result.stderr.trim();
        } catch (error) {
            // it restarts, or is on its way
            said = (error as Error).message;
        }
        const hopeless = await watch.hopeless();
        if (hopeless !== undefined) throw await notReady(inputs, said, hopeless);
        report(waitingFor(inputs.name, Date.now() - began, watch.doing() ?? said));
        await pause(150);
    }
}

async function notReady(inputs: ConfigurationInputs, said: string, hopeless: string): Promise<Error> {
    const log = await lastWords(inputs.shell).catch(() => "(its log can't be read)");
    const text = `${inputs.name} is not ready: ${hopeless}. It said last: ${said}\nIts last words:\n${log}\nThis is safe to repeat: pulumi up.`;
    return ARCHIVE_WAITS.test(said) ? new Error(text) : new NotReady(text);
}

/**
 * The configuration that the node ran with last is put in place again, where there is another one.
 * @param stop whether the server has to be started anew for that
 * @returns the error to end with
 */
async function putBack(ask: Ask, inputs: ConfigurationInputs, error: unknown, stop: boolean): Promise<unknown> {
    if (!(error instanceof NotReady)) return error;
    const back = (shell: Shell) => runScript(shell, ["settle.sh", "back"]);
    try {
        const done = stop ? await whileStopped(inputs.shell, back) : await back(inputs.shell);
        if (keyValues(done.stdout).back !== "yes") return error;
        await waitUntilReady(ask, inputs);
    } catch (second) {
        return new Error(
            `${error.message}\nThe former configuration could not be put back: ${(second as Error).message}`,
        );
    }
    return new Error(
        `${inputs.name} did not come up with its new configuration. The former one is in place again, and ${inputs.name} answers with it.\n` +
            `${error.message.replace(/\nThis is safe to repeat: pulumi up\.$/, "")}\nCorrect citus:settings, then run pulumi up again.`,
    );
}

/** From here on this configuration is the one to go back to. */
async function accept(inputs: ConfigurationInputs, placed: string): Promise<void> {
    const kept = await runScript(inputs.shell, ["settle.sh", "keep", placed]);
    if (kept.code !== 0)
        throw new Error(
            `${inputs.name}: PostgreSQL does not start with its new configuration: ${kept.stderr.trim()}\n` +
                `The former one is in place again, and ${inputs.name} answers with it. Correct citus:settings, then run pulumi up again.`,
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

async function restart(ask: Ask, inputs: ConfigurationInputs, settings: readonly string[]): Promise<void> {
    await oneAtATime(`restart ${inputs.clusterId}`, async () => {
        const failed = failedRestarts.get(inputs.clusterId);
        if (failed) {
            throw new Error(
                `${inputs.name} was not restarted, because ${failed} did not come back from its own restart.\n` +
                    `It runs with its old ${settings.join(", ")}. Mend ${failed}, then run pulumi up again.`,
            );
        }
        const began = Date.now();
        ask.progress(`restarting ${inputs.name} for ${settings.join(", ")}`);
        try {
            await restartWhileClientsWait(ask, inputs, () => waitUntilReady(ask, inputs));
        } catch (error) {
            failedRestarts.set(inputs.clusterId, inputs.name);
            throw await putBack(ask, inputs, error, true);
        }
        ask.note(
            `${inputs.name} restarted in ${((Date.now() - began) / 1000).toFixed(1)} s for ${settings.join(", ")}`,
        );
    });
}

/** A restore that was withdrawn is over: the same request later is another one, and Citus' own repairs work again. */
async function endRestore({ name, shell }: ConfigurationInputs): Promise<void> {
    const result = await runScript(shell, ["accept.sh", "withdrawn"]);
    if (result.code !== 0) throw new Error(`${name}: ${result.stderr.trim()}\nThis is safe to repeat: pulumi up.`);
}

/** Safe to repeat, and where a container takes no command because its server ends at once, done while it is stopped. */
async function configure(ask: Ask, inputs: ConfigurationInputs, systemIdentifier: string | undefined): Promise<Placed> {
    const on = (shell: Shell) => putInPlace({ ...inputs, shell }, systemIdentifier);
    return on(inputs.shell).catch(async (error: unknown) => {
        if (!(await isLooping(inputs.shell, error))) throw error;
        ask.progress(`${inputs.name} starts again and again: stopping it to configure it`);
        return whileStopped(inputs.shell, on);
    });
}

function tellApplied(
    ask: Ask,
    inputs: ConfigurationInputs,
    olds: ConfigurationState | undefined,
    applied: Applied,
): void {
    if (applied.password && olds?.verifier === inputs.verifier)
        ask.note(`${inputs.name}: the superuser's password was not the stack's. The stack's is in place again`);
    if (applied.reset.length > 0)
        ask.note(
            `${inputs.name}: what ALTER SYSTEM had set for ${applied.reset.join(", ")} is taken back: the stack's value holds`,
        );
}

async function converge(
    ask: Ask,
    inputs: ConfigurationInputs,
    systemIdentifier: string | undefined,
    olds?: ConfigurationState,
): Promise<ConfigurationState> {
    const { shell, machine, bundle, volumeSize, metrics } = inputs;
    await prepare(shell, { machine, bundle, volumeSize, metrics }, ask.progress);
    // a restore that was killed and withdrawn left it stopped; a container starts by itself
    if (shell.kind === "ssm") await service(shell, "start");
    await refuseSettings(askedOf(inputs, shell), { whole: inputs, secretVersion: inputs.secretVersion });
    const placed = await configure(ask, inputs, systemIdentifier);
    const backFrom =
        (stop: boolean) =>
        async (error: unknown): Promise<never> => {
            throw await putBack(ask, inputs, error, stop);
        };
    const applied = placed.applied ?? (await apply(ask, inputs).catch(backFrom(true)));
    tellApplied(ask, inputs, olds, applied);
    // a node whose archive was just configured is only ready after its restart
    if (applied.pending.length > 0) await restart(ask, inputs, applied.pending);
    else await waitUntilReady(ask, inputs).catch(backFrom(false));
    await accept(inputs, placed.name);
    if (inputs.restoreId === undefined) await endRestore(inputs);
    const restored = inputs.restoreId ?? olds?.restored;
    return {
        ...inputs,
        systemIdentifier: await readFacts(inputs),
        ...(restored === undefined ? {} : { restored }),
    };
}

const askedOf = ({ name, clusterId, overrides }: ConfigurationInputs, shell: Shell) => ({
    node: name,
    clusterId,
    shell,
    ...(overrides === undefined ? {} : { overrides }),
});

async function reconfigure(ask: Ask, olds: ConfigurationState, news: ConfigurationInputs): Promise<ConfigurationState> {
    const restored = news.restoreId !== undefined && news.restoreId !== olds.restoreId;
    if (olds.machine === news.machine) await refuseAbsent(news);
    const replaced = olds.machine !== undefined && olds.machine !== news.machine && !restored;
    const outs = await converge(ask, news, restored ? undefined : olds.systemIdentifier, olds).catch(
        async (error: unknown) => {
            // one that was waited for has said why
            if (error instanceof NotReady || !replaced) throw error;
            throw (await startsAgain(news.shell)) ? await explainLoop(news) : error;
        },
    );
    if (replaced) {
        await waitUntilBack(ask, news);
        ask.note(`${news.name}: its machine was replaced, ${DATA_KEPT(outs.systemIdentifier)}`);
    }
    return outs;
}

/** Says what will become of the node. */
async function foresee(ask: Ask, olds: ConfigurationState, news: ConfigurationInputs): Promise<Difference> {
    // the settings of other nodes are no change of this one
    const ignore = ["systemIdentifier", "restored", "overrides"];
    if (comparable(olds, ignore) === comparable(news, ignore)) return { changes: await hasDrifted(ask, olds) };
    refuseShrinking(olds, news);
    // what is replaced tells the engine who else is: nothing of it is known then, and nobody is told anything
    if (unknown(news.shell)) return { changes: true };
    if (!unknown(news.settings) && changedSettings(olds.settings, news.settings).length > 0)
        await refuseSettings(
            askedOf(news, olds.shell),
            // another machine has other memory, and another image other libraries
            unknown(news.machine) ? undefined : { settings: news.settings },
        );
    const said = describeChange(olds, news);
    if (said !== undefined) tell(ask, said, ask.note);
    return { changes: true };
}

/** What is told of a node once a run. */
function tell({ urn }: Ask, said: string, how: (text: string) => void): void {
    if (told.get(urn) === said) return;
    told.set(urn, said);
    how(said);
}

/** Whether something on the node is another than the stack says. What `up` can't put right is told. A machine is asked by a refresh. */
async function hasDrifted(ask: Ask, { name, shell }: ConfigurationState): Promise<boolean> {
    const found = shell?.kind === "docker" ? await readFindings(shell) : undefined;
    if (found === undefined) return false;
    const { mended, problems, notes } = explainFindings(name, found);
    if (mended.length + problems.length + notes.length > 0)
        tell(ask, [...mended, ...problems, ...notes].join("\n"), ask.warn);
    return mended.length > 0;
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
        // the new machine serves with what lies on the volume before it is configured
        const again = restarts.length > 0 ? `, with one more restart for ${restarts.join(", ")}` : "";
        const by = changed.length > 0 ? `; then ${changed.join(", ")}${again}` : "";
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

export class ConfigurationKind implements ResourceKind<ConfigurationInputs, ConfigurationState> {
    readonly type = "citus-clusters:index:Configuration";
    readonly description = "A node's configuration, certificate and password, in place on it.";
    readonly inputs = {
        name: { type: "string", description: "The node's, such as worker-1." },
        cluster: { type: "string", description: "The cluster's name." },
        clusterId: { type: "string", description: "Marks what is the stack's own." },
        database: { type: "string", description: "The database that is distributed." },
        settings: { type: "object", description: "Of PostgreSQL and Citus, by name." },
        overrides: { type: "object", optional: true, description: "citus:settings, those of other nodes too." },
        nodeNetworks: { type: "array", description: "Networks that carry only nodes." },
        caCertificate: { type: "string", description: "PEM." },
        certificate: { type: "string", description: "PEM." },
        privateKey: { type: "string", secret: true, description: "PEM." },
        verifier: { type: "string", secret: true, description: "Of the superuser's password." },
        backup: { type: "object", secret: true, description: "pgBackRest's files; empty without backups." },
        restoreId: { type: "string", optional: true, description: "Another one for each restore." },
        shell: { type: "object", description: "How scripts run on the node." },
        machine: { type: "string", description: "Id of the container or machine that runs the node." },
        secretVersion: { type: "string", description: "Of the machine's own secret; empty in a container." },
        membership: {
            type: "object",
            secret: true,
            optional: true,
            description: "Where it is asked whether it is back.",
        },
        bundle: { type: "string", description: "sha256 of the node scripts; empty in a container." },
        volumeSize: { type: "integer", description: "GiB; 0 where it has no size of its own." },
        metrics: { type: "boolean", description: "Whether a machine sends metrics." },
    } as const;
    readonly outputs = {
        systemIdentifier: { type: "string", optional: true, description: "PostgreSQL's own number of the database." },
        restored: { type: "string", optional: true, description: "The last restore that is in place." },
        stopped: { type: "boolean", optional: true, description: "Seen by a refresh: its service is stopped." },
        drift: { type: "array", optional: true, description: "Seen by a refresh: what the next update puts right." },
    } as const;

    async create(ask: Ask, inputs: ConfigurationInputs) {
        return { id: inputs.machine, outs: await converge(ask, inputs, undefined) };
    }

    async update(ask: Ask, _id: string, olds: ConfigurationState, news: ConfigurationInputs) {
        return { outs: await reconfigure(ask, olds, news) };
    }

    diff(ask: Ask, _id: string, olds: ConfigurationState, news: ConfigurationInputs) {
        return foresee(ask, olds, news);
    }

    async read(_ask: Ask, _id: string, props: ConfigurationState) {
        if (props.shell?.kind !== "ssm") return props;
        const { stopped: _stopped, drift: _drift, ...rest } = props;
        // what is not there says so by itself; what is there and stopped is started by the next update
        if (await isStopped(props.shell)) return { ...rest, stopped: true };
        const found = await readFindings(props.shell);
        const drift = found === undefined ? [] : explainFindings(props.name, found).mended;
        return drift.length > 0 ? { ...rest, drift } : rest;
    }

    /** The configuration goes with the volume. */
    async delete() {}
}
