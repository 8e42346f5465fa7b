/** What the kinds share about the coordinator: how to reach it, and its node table read once for many. */
import { type NodeRow, readNodes } from "../core/citus/catalog.ts";
import { type Access, addressOf } from "../core/node/reach.ts";
import { withSession } from "../core/reach/session.ts";
import { pause } from "../core/util/pause.ts";

/** Inputs as a text that is the same for the same values, for comparing. */
export function comparable(props: object, ignore: readonly string[] = []): string {
    const own = Object.entries(props).filter(
        ([key, value]) => !ignore.includes(key) && value !== undefined && value !== null,
    );
    return JSON.stringify(
        own.sort(([a], [b]) => (a < b ? -1 : 1)),
        (_key, value) =>
            value !== null && typeof value === "object" && !Array.isArray(value)
                ? Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)))
                : value,
    );
}

const tables = new Map<string, Promise<NodeRow[] | undefined>>();

/** pg_dist_node for `diff`s, read once in a run; undefined when the coordinator does not answer. */
export function nodesForDiff(access: Access): Promise<NodeRow[] | undefined> {
    const key = addressOf(access);
    let found = tables.get(key);
    if (!found) {
        found = withSession(access, "coordinator", readNodes, { timeout: 3000 }).catch(() => undefined);
        tables.set(key, found);
        setTimeout(() => tables.delete(key), 2000).unref();
    }
    return found;
}

const silent = new Map<string, readonly string[]>();

/** Writes down which nodes of a cluster did not answer when they were asked last, for whoever asks them something next. */
export function rememberSilent(coordinator: Access, hosts: readonly string[]): void {
    silent.set(addressOf(coordinator), hosts);
}

/** Their hosts; none where nobody asked in this run. */
export const silentNodes = (coordinator: Access): readonly string[] => silent.get(addressOf(coordinator)) ?? [];

interface Waiting {
    readonly turn: number;
    readonly run: () => Promise<void>;
}

const queues = new Map<string, Waiting[]>();

/** How long the first one waits for others that come at about the same time, in milliseconds. */
const GATHER = 500;

/** Like {@link oneAtATime}, and of those that wait the one with the lowest turn is next. */
export function inTurn<T>(key: string, turn: number, work: () => Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
        const queue = queues.get(key) ?? [];
        queue.push({ turn, run: () => oneAtATime(key, work).then(resolve, reject) });
        if (queues.has(key)) return;
        queues.set(key, queue);
        void takeTurns(key, queue);
    });
}

async function takeTurns(key: string, queue: Waiting[]): Promise<void> {
    await pause(GATHER);
    while (queue.length > 0) {
        queue.sort((a, b) => a.turn - b.turn);
        await queue.shift()?.run();
    }
    queues.delete(key);
}

const chains = new Map<string, Promise<unknown>>();

/** Runs one after another what must not overlap in this process, such as joins and restarts. */
export function oneAtATime<T>(key: string, work: () => Promise<T>): Promise<T> {
    const before = chains.get(key) ?? Promise.resolve();
    const result = before.then(work, work);
    chains.set(
        key,
        result.catch(() => undefined),
    );
    return result;
}
