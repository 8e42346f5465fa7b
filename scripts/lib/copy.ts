/** A throw-away copy of the selected stack's cluster: a stack of its own, restored from a restore point and removed again. */
import { randomBytes } from "node:crypto";
import { join } from "node:path";
import type { RestorePoint } from "../../core/restore/points.ts";
import { describeAge } from "../../core/util/age.ts";
import type { Backed } from "./backups.ts";
import { type ConfigValue, copyConfig } from "./copyConfig.ts";
import { EXIT, fail } from "./exit.ts";
import { sameCitus } from "./image.ts";
import { askPulumi, clearStack, hasStack, mustPulumi, readPulumi, STATE, shownStack } from "./project.ts";
import { withNextStep } from "./refusal.ts";

/** The origin's sizes, settings and image; the point's number of workers. */
async function configure(
    copy: string,
    origin: string,
    set: Readonly<Record<string, string>>,
    passphrase: string | undefined,
) {
    const all = JSON.parse(await mustPulumi(["config", "--json", "--stack", origin])) as Record<string, ConfigValue>;
    const values = Object.entries(copyConfig(all, set)).flatMap(([key, text]) => ["--plaintext", `${key}=${text}`]);
    await mustPulumi(["config", "set-all", "--stack", copy, ...values]);
    if (passphrase !== undefined)
        await mustPulumi(["config", "set", "--stack", copy, "--secret", "citus:restorePassphrase"], passphrase);
}

/** Does nothing when there is no stack of that name. */
async function remove(copy: string): Promise<void> {
    if (!hasStack(await askPulumi("stack", "ls", "--json"), copy)) return;
    await readPulumi(["cancel", "--yes", "--stack", copy]);
    await mustPulumi(["destroy", "--yes", "--skip-preview", "--stack", copy]);
    // removing any stack unselects the one that is selected, which may be another by now than when this began
    const selected = await shownStack();
    await mustPulumi(["stack", "rm", "--yes", copy]);
    if (selected && selected !== copy) await mustPulumi(["stack", "select", selected]);
    clearStack(join(STATE, copy));
}

/** After this without a word it is said that the copy is still being made, in milliseconds. */
const QUIET = 10_000;

/** Says what is still going on whenever nothing else was said for a while. @returns the way to say, and to end that */
function sayStill(say: (text: string) => void) {
    const began = Date.now();
    let doing = "";
    let spoke = began;
    const timer = setInterval(() => {
        if (Date.now() - spoke < QUIET) return;
        spoke = Date.now();
        say(`  still ${doing}, ${describeAge((spoke - began) / 1000)} since pulumi up began`);
    }, 1000);
    return {
        say: (text: string) => {
            spoke = Date.now();
            doing = text.trim();
            say(text);
        },
        end: () => clearInterval(timer),
    };
}

/** What goes on without progress of its own, by the types that Pulumi says it creates. */
const STEPS: readonly (readonly [type: RegExp, what: string])[] = [
    [/citus-clusters:index:NodeImage/, "building the node image"],
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
async function bringUp(
    { backed, point, failed, ...request }: CopyRequest,
    name: string,
    stop: AbortSignal,
): Promise<Copy> {
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
    request.say(`  the stack is ${name}`);
    const { say, end } = sayStill(request.say);
    say("  making its networks, certificates and passwords");
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
    }).finally(end);
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
        remove(name).catch((error: Error) => {
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
            `The copy is kept, in the stack ${name}. To remove it: npm run pulumi -- stack select ${name} && npm run down && npm run pulumi -- stack rm ${name} --yes && npm run pulumi -- stack select ${backed.stack}`,
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
