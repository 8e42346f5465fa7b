/** A throw-away copy of the selected stack's cluster: a stack of its own, restored from a restore point and removed again. */
import { randomBytes } from "node:crypto";
import { join } from "node:path";
import type { RestorePoint } from "../../components/restore/points.ts";
import type { Backed } from "./backups.ts";
import { EXIT, fail } from "./exit.ts";
import { sameCitus } from "./image.ts";
import { askPulumi, clearStack, hasStack, mustPulumi, readPulumi, STATE } from "./project.ts";
import { withNextStep } from "./refusal.ts";

/** Of the origin's configuration, what does not fit a copy that lives for minutes. */
const NOT_COPIED = [
    "name",
    "port",
    "retire",
    "workers",
    "protect",
    "backup",
    "backupPassphrase",
    "restorePassphrase",
    "restoreFrom",
    "postDeploy",
    "tenantGroups",
    "alarmTopic",
];
/** Nobody but the command that made it has business with the copy. */
const NOT_OF_NETWORK = ["allowedCidrs", "allowedSecurityGroups", "openToTheWorld"];

interface ConfigValue {
    readonly value?: string;
    readonly objectValue?: unknown;
    readonly secret?: boolean;
}

const textOf = (value: unknown) => (typeof value === "string" || value === undefined ? value : JSON.stringify(value));

/** A network without those who may connect. */
function closed(value: unknown): string {
    const network = (typeof value === "string" ? JSON.parse(value || "{}") : value) as Record<string, unknown>;
    return JSON.stringify(
        Object.fromEntries(Object.entries(network).filter(([name]) => !NOT_OF_NETWORK.includes(name))),
    );
}

/** The origin's sizes, settings and image; the point's number of workers. */
async function configure(
    copy: string,
    origin: string,
    set: Readonly<Record<string, string>>,
    passphrase: string | undefined,
) {
    const all = JSON.parse(await mustPulumi(["config", "--json", "--stack", origin])) as Record<string, ConfigValue>;
    const values: string[] = [];
    for (const [key, { value, objectValue, secret }] of Object.entries(all)) {
        const [space, name] = key.split(":");
        const ours = space === "citus" ? !NOT_COPIED.includes(name ?? "") : space === "aws";
        if (!ours || secret || Object.hasOwn(set, name ?? "")) continue;
        const text = key === "citus:network" ? closed(objectValue ?? value) : textOf(objectValue ?? value);
        if (text !== undefined) values.push("--plaintext", `${key}=${text}`);
    }
    for (const [name, text] of Object.entries(set)) values.push("--plaintext", `citus:${name}=${text}`);
    await mustPulumi(["config", "set-all", "--stack", copy, ...values]);
    if (passphrase !== undefined)
        await mustPulumi(["config", "set", "--stack", copy, "--secret", "citus:restorePassphrase"], passphrase);
}

/** Does nothing when there is no stack of that name. */
async function remove(copy: string, origin: string): Promise<void> {
    if (!hasStack(await askPulumi("stack", "ls", "--json"), copy)) return;
    await readPulumi(["cancel", "--yes", "--stack", copy]);
    await mustPulumi(["destroy", "--yes", "--skip-preview", "--stack", copy]);
    await mustPulumi(["stack", "rm", "--yes", copy]);
    // removing any stack unselects the one that is selected
    await mustPulumi(["stack", "select", origin]);
    clearStack(join(STATE, copy));
}

/** What goes on without progress of its own, by the types that Pulumi says it creates. */
const STEPS: readonly (readonly [type: RegExp, what: string])[] = [
    [/docker:index:RemoteImage|citus:NodeImage|pulumi-nodejs:dynamic:NodeImage/, "building the node image"],
    [/docker:index:Container|aws:ec2:Instance/, "starting its nodes"],
    [/:Member /, "registering its workers"],
];

/** What a line of `pulumi up` says that begins. Pure. */
function stepOf(line: string): string | undefined {
    return / creating \(/.test(line) ? STEPS.find(([type]) => type.test(line))?.[1] : undefined;
}

export interface CopyRequest {
    readonly backed: Backed;
    readonly point: RestorePoint;
    /** What the stack's name begins with. */
    readonly prefix: string;
    readonly say: (text: string) => void;
    /** Leaves the copy. @default false */
    readonly keep?: boolean;
    /** How the error begins when the point can't be restored. */
    readonly failed: string;
}

export interface Copy {
    /** The stack. */
    readonly name: string;
    /** From `pulumi up` to a cluster that answers. */
    readonly seconds: number;
    /** Of which the restore took, such as `12.3 s`; empty when it did not say. */
    readonly restored: string;
}

/** Milliseconds between two lines of one step. */
const EVERY = 5000;

/** Brings the copy up. */
async function bringUp({ backed, point, say, failed }: CopyRequest, name: string, stop: AbortSignal): Promise<Copy> {
    let restored = "";
    await configure(
        name,
        backed.stack,
        {
            ...sameCitus(backed.args, backed.resources),
            workers: String(point.nodes.length - 1),
            protect: "false",
            backup: "false",
            restoreFrom: JSON.stringify({ stack: backed.stack, point: point.name, cluster: point.cluster }),
        },
        backed.args.backupPassphrase,
    );
    const began = Date.now();
    let shown = "";
    let said = { head: "", at: 0 };
    const made = new Set<string>();
    say(`  its name is ${name}; making its networks, certificates and passwords`);
    const up = await readPulumi(["up", "--yes", "--skip-preview", "--stack", name], {
        stop,
        onLine: (line) => {
            const step = stepOf(line);
            if (step !== undefined && !made.has(step)) {
                made.add(step);
                say(`  ${step}`);
            }
            const progress = /(?:Restore|Recovered) citus-\S+ +(?:creating|created)[^)]*\) (.+)$/.exec(line)?.[1];
            if (!progress || progress === shown || /^error/.test(progress)) return;
            shown = progress;
            // a step counts its seconds: now and then is enough
            const head = progress.split(" · ")[0] ?? "";
            if (head === said.head && Date.now() - said.at < EVERY) return;
            said = { head, at: Date.now() };
            if (/ in [0-9.]+ s \(/.test(progress)) restored = / in ([0-9.]+ s) \(/.exec(progress)?.[1] ?? "";
            say(`  ${progress}`);
        },
    });
    const seconds = (Date.now() - began) / 1000;
    if (up.code !== 0) {
        const why = up.stdout
            .slice(Math.max(0, up.stdout.indexOf("Diagnostics:")))
            .replace(/^ *warning: using pulumi-resource.*\n/gm, "");
        throw new Error(`${failed}: ${point.name} could not be restored.\n${withNextStep(why.trim())}`);
    }
    return { name, seconds, restored };
}

/**
 * Restores a point into a stack of its own, hands it on, and removes it: also after a failure, Ctrl-C and SIGTERM.
 * The selected stack and its cluster are not touched.
 * @throws Error when the point can't be restored, or the copy can't be removed
 */
export async function withCopy<T>(request: CopyRequest, use: (copy: Copy) => Promise<T>): Promise<T> {
    const { backed, prefix, say, keep } = request;
    const name = `${prefix}-${randomBytes(3).toString("hex")}`;
    const stopped = new AbortController();
    let up: Promise<Copy> | undefined;
    const removed = () =>
        remove(name, backed.stack).catch((error: Error) => {
            throw new Error(
                `The copy, stack ${name}, could not be removed: ${error.message}\n` +
                    `To remove it: npm run pulumi -- destroy --yes --stack ${name} && npm run pulumi -- stack rm --yes ${name}`,
            );
        });
    const onSignal = (signal: NodeJS.Signals) => {
        if (stopped.signal.aborted) return;
        stopped.abort();
        console.error(`\n${signal}: removing the copy`);
        // what is being made is in the state when Pulumi has ended
        void Promise.resolve(up?.catch(() => undefined))
            .then(removed)
            .then(
                () => process.exit(EXIT.stopped),
                (error: Error) => fail(error),
            );
    };
    process.on("SIGINT", onSignal);
    process.on("SIGTERM", onSignal);
    let result: { readonly value: T } | { readonly error: Error };
    try {
        await mustPulumi(["stack", "init", name, "--no-select"]);
        up = bringUp(request, name, stopped.signal);
        result = { value: await use(await up) };
    } catch (error) {
        result = { error: error as Error };
    }
    // a signal's own removal ends this process
    if (stopped.signal.aborted) await new Promise(() => undefined);
    if (keep)
        say(
            `The copy is kept: npm run pulumi -- stack select ${name}; npm run pulumi -- destroy --stack ${name} removes it`,
        );
    else {
        say(`  removing ${name}`);
        await removed().catch((error: Error) => {
            throw "error" in result ? new Error(`${result.error.message}\n${error.message}`) : error;
        });
    }
    process.off("SIGINT", onSignal);
    process.off("SIGTERM", onSignal);
    if ("error" in result) throw result.error;
    return result.value;
}
