/** What PostgreSQL wrote on the nodes, in one stream by time. */
import { InvalidArgumentError } from "commander";
import { readLog } from "../core/reach/log.ts";
import { main, script } from "./lib/command.ts";
import { CannotTell, EXIT, NoCluster } from "./lib/exit.ts";
import { nodesOf, type StackNode } from "./lib/nodes.ts";
import { DEFAULT_STACK, selectedStack } from "./lib/project.ts";
import { readResources } from "./lib/resources.ts";
import { byTime, durationOf, type NodeLine, shownLine } from "./logs/merge.ts";

interface Options {
    readonly follow?: boolean;
    readonly since?: number;
    readonly lines: number;
}

/** Lines that come within this are put in order before they are shown, in milliseconds. */
const GATHERED = 300;

/** @throws CannotTell naming the nodes that there are */
function choose(all: ReadonlyMap<string, StackNode>, wanted: readonly string[]): StackNode[] {
    const unknown = wanted.filter((name) => !all.has(name));
    if (unknown.length > 0)
        throw new CannotTell(
            `There is no node ${unknown.join(", ")} in this stack. It has ${[...all.keys()].join(", ")}. Nothing was asked.`,
        );
    return wanted.length === 0 ? [...all.values()] : wanted.flatMap((name) => all.get(name) ?? []);
}

/** Shows lines as they come, until nothing comes any more. @returns names of nodes that could not be asked */
async function show(nodes: readonly StackNode[], options: Options, stop: AbortSignal): Promise<string[]> {
    const names = nodes.map(({ name }) => name);
    const silent: string[] = [];
    let waiting: NodeLine[] = [];
    const flush = () => {
        const lines = byTime(waiting);
        waiting = [];
        if (lines.length > 0) process.stdout.write(`${lines.map((line) => shownLine(line, names)).join("\n")}\n`);
    };
    const timer = options.follow ? setInterval(flush, GATHERED) : undefined;
    await Promise.all(
        nodes.map(async ({ name, shell }) => {
            try {
                const wanted = {
                    lines: options.lines,
                    follow: options.follow === true,
                    stop,
                    ...(options.since === undefined ? {} : { since: Date.now() - options.since }),
                };
                for await (const line of readLog(shell, wanted)) waiting.push({ node: name, ...line });
            } catch (error) {
                if (stop.aborted) return;
                silent.push(name);
                console.error(`${name}: its log can't be read: ${(error as Error).message}`);
            }
        }),
    );
    clearInterval(timer);
    flush();
    return silent;
}

async function logs(wanted: readonly string[], options: Options): Promise<void> {
    const stack = await selectedStack();
    const all = nodesOf(stack === undefined ? [] : await readResources());
    if (stack === undefined || all.size === 0) throw new NoCluster(stack ?? DEFAULT_STACK);
    const nodes = choose(all, wanted);
    const stop = new AbortController();
    const stopped = () => stop.abort();
    for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, stopped);
    const silent = await show(nodes, options, stop.signal);
    for (const signal of ["SIGINT", "SIGTERM"] as const) process.off(signal, stopped);
    process.exitCode = stop.signal.aborted
        ? EXIT.stopped
        : silent.length === nodes.length
          ? EXIT.cannotTell
          : silent.length > 0
            ? EXIT.failed
            : EXIT.done;
}

function since(text: string): number {
    const found = durationOf(text);
    if (found === undefined) throw new InvalidArgumentError("A number with s, m, h or d is allowed, such as 10m.");
    return found;
}

function lines(text: string): number {
    const found = Number(text);
    if (!Number.isInteger(found) || found < 1 || found > 9999) throw new InvalidArgumentError("1 to 9999 are allowed.");
    return found;
}

await main(
    script("logs", "What PostgreSQL wrote on the nodes, by time, with the node before each line.")
        .argument("[node...]", "coordinator, worker-1, …; all nodes when there is none")
        .option("-f, --follow", "goes on with what is written, until Ctrl-C")
        .option("--since <time>", "not older than this, such as 90s, 10m, 2h or 1d", since)
        .option("--lines <count>", "the last lines of each node", lines, 200)
        .action(logs),
);
