/** Shards where they belong. */

import { readNodes } from "../core/citus/catalog.ts";
import { dropKept, exempt, explainDoubtful } from "../core/citus/limits.ts";
import { describeSlots } from "../core/citus/members/slots.ts";
import {
    type Assessment,
    describeAssessment,
    explainDrift,
    isAsked,
    isSettled,
    obstacle,
    refuseStranded,
} from "../core/citus/rebalance/assess.ts";
import { assessCluster } from "../core/citus/rebalance/assessCluster.ts";
import { rebalanceTo } from "../core/citus/rebalance/rebalanceTo.ts";
import { refuseOnlyCopies, refuseUnplaceable } from "../core/citus/rebalance/refuse.ts";
import type { Wanted, WantedWorker } from "../core/citus/rebalance/wanted.ts";
import { ANSWERS_WITHIN, findSilent, type SilentNode } from "../core/citus/silent.ts";
import { describeApart, isRefused, readOwnVersions, readVersions } from "../core/citus/versions.ts";
import { tellHolders } from "../core/citus/watch.ts";
import type { Access, Shell } from "../core/node/reach.ts";
import { explainSilence, type NodeState, readNodeState } from "../core/reach/nodeState.ts";
import { runScript } from "../core/reach/run.ts";
import { saidBy } from "../core/reach/said.ts";
import { connect, DatabaseError, isLost, type Session, withSession } from "../core/reach/session.ts";
import { databasesOf, describeLeaving, evacuate, findLeaving } from "../core/tenants/databases/evacuate.ts";
import type { MoveNode } from "../core/tenants/databases/moveState.ts";
import { describeBytes } from "../core/util/bytes.ts";
import { pause } from "../core/util/pause.ts";
import { comparable, rememberSilent } from "./coordinator.ts";
import type { Ask, Difference, ResourceKind } from "./kind.ts";
import { unknown } from "./unknown.ts";

export interface PlacementWorker extends WantedWorker {
    /** How to reach the worker itself from here. */
    access: Access;
    /** How scripts run on it; undefined in a state of before there were tenants' databases. */
    shell?: Shell;
}

/** What the placement is told, as plain values. */
export interface PlacementInputs extends Omit<Wanted, "workers"> {
    workers: PlacementWorker[];
    coordinator: Access;
    /** How scripts run on the coordinator. */
    shell?: Shell;
    /** The coordinator's host in pg_dist_node. */
    coordinatorHost: string;
    cluster: string;
}

export interface PlacementState extends PlacementInputs {
    status?: string;
    bytesPerSecond?: number;
}

const COMPUTED = ["status", "bytesPerSecond"];
/** Below this a rate says more about start-up than about copying. */
const ENOUGH_TO_MEASURE = 50_000_000;

const wantedOf = (inputs: PlacementInputs): Wanted => ({
    ...inputs,
    workers: inputs.workers.map(({ name, host, port }) => ({ name, host, port })),
});

/** Connections to the nodes themselves, opened when first asked for. */
function opener(inputs: PlacementInputs, olds: PlacementInputs | undefined) {
    const known = new Map<string, { name: string; access: Access; shell?: Shell }>([
        [
            inputs.coordinatorHost,
            { name: "coordinator", access: inputs.coordinator, ...(inputs.shell ? { shell: inputs.shell } : {}) },
        ],
    ]);
    for (const worker of [...(olds?.workers ?? []), ...inputs.workers]) known.set(worker.host, worker);
    const open = new Map<string, Promise<Session | undefined>>();
    const servers = new Map<string, Promise<Session>>();
    return {
        moveNode: ({ name, host, port }: { name: string; host: string; port: number }): MoveNode => {
            const node = known.get(host);
            if (!node)
                throw new Error(
                    `${name} can't be reached from here, and tenants' databases have to be moved off it or to it.\nNothing was moved off it or to it.`,
                );
            return {
                name,
                host,
                port,
                server: () => {
                    const server = servers.get(host) ?? connect({ ...node.access, database: "postgres" }, name);
                    servers.set(host, server);
                    return server;
                },
                open: (database) => connect({ ...node.access, database }, name),
                run: (script) => {
                    if (!node.shell) throw new Error(`how scripts run on ${name} is not known`);
                    return runScript(node.shell, script);
                },
            };
        },
        open: (host: string) => {
            const node = known.get(host);
            if (!node) return Promise.resolve(undefined);
            let session = open.get(host);
            if (!session) {
                session = connect(node.access, node.name).catch(() => undefined);
                open.set(host, session);
            }
            return session;
        },
        openFresh: async (host: string) => {
            const node = known.get(host);
            return node && connect(node.access, node.name, { timeout: 3000 }).catch(() => undefined);
        },
        openDatabase: async (host: string, database: string) => {
            const node = known.get(host);
            if (!node) throw new Error(`${host} is not known here`);
            return connect({ ...node.access, database }, node.name);
        },
        probe: async (host: string) => {
            const node = known.get(host);
            if (!node) return true;
            return withSession(node.access, node.name, async () => true, { timeout: 3000 });
        },
        close: async () => {
            for (const session of open.values()) await (await session)?.close().catch(() => undefined);
            for (const server of servers.values())
                await (await server.catch(() => undefined))?.close().catch(() => undefined);
        },
    };
}

/** Registered workers that do not answer, with what runs them says. */
async function askWorkers(
    session: Session,
    inputs: PlacementInputs,
    olds: PlacementInputs | undefined,
): Promise<(SilentNode & { readonly state: NodeState | undefined })[]> {
    const known = new Map(
        [...(olds?.workers ?? []), ...inputs.workers]
            // where a new machine will be is not known in preview
            .filter(({ access }) => !unknown(access))
            .map((worker) => [worker.host, worker]),
    );
    // one that is still to come has nothing to say
    const registered = (await readNodes(session)).flatMap((node) => known.get(node.host) ?? []);
    const silent = await findSilent(session, registered);
    rememberSilent(
        inputs.coordinator,
        silent.map(({ host }) => host),
    );
    return Promise.all(
        silent.map(async (node) => ({ ...node, state: await readNodeState(known.get(node.host)?.shell) })),
    );
}

const explainAll = (silent: readonly (SilentNode & { state: NodeState | undefined })[]) =>
    silent.map(({ name, why, state }) => `${name} does not answer: ${explainSilence(why, state)}`).join("\n");

/** A node that does not answer and will not by itself, or was waited for long enough. */
class NoAnswer extends Error {}

const NOTHING_DONE = "Finished moves stay, and no data was touched.";
/** A node that is gone never answers by itself, and what to do is said already. */
const AGAIN = `${NOTHING_DONE} Run pulumi up again when the node answers.`;
const whatNow = (states: readonly (NodeState | undefined)[]) =>
    states.some((state) => state?.passing === false) ? NOTHING_DONE : AGAIN;

/** @throws NoAnswer naming each worker that does not answer */
async function waitForWorkers(
    session: Session,
    inputs: PlacementInputs,
    olds: PlacementInputs | undefined,
    report: (text: string) => void,
): Promise<void> {
    for (const end = Date.now() + PATIENCE; ; ) {
        const silent = await askWorkers(session, inputs, olds);
        if (silent.length === 0) return;
        if (Date.now() >= end || silent.some(({ state }) => state?.passing === false))
            throw new NoAnswer(`${explainAll(silent)}\n${whatNow(silent.map(({ state }) => state))}`);
        report(`waiting for ${silent.map(({ name, why }) => `${name} (${why})`).join(", ")}`);
        await pause(1000);
    }
}

/** The coordinator is waited for while it may answer by itself. */
function patiently(inputs: PlacementInputs, report: (text: string) => void) {
    return async (why: string) => {
        report(`waiting for the coordinator: ${why}`);
        const state = await readNodeState(inputs.shell);
        if (state?.passing === false) throw new NoAnswer(explainCoordinator(why, state));
    };
}

const explainCoordinator = (why: string, state: NodeState | undefined) =>
    `coordinator does not answer: ${explainSilence(why, state)}\n${whatNow([state])}`;

/** How often a placement is taken up again after the coordinator went away, and how long each time it is waited for. */
const RESUMES = 3;
const PATIENCE = 60_000;

/**
 * The coordinator closed the connection: it restarts, and its background jobs go on when it is back. What a task of a
 * rebalance said about a connection of its own is no such thing.
 */
export function wentAway(error: unknown): boolean {
    // place() adds what is true now, and keeps what happened as the cause
    const first = error instanceof Error && error.cause !== undefined ? error.cause : error;
    // one that never answered was waited for already
    return isLost(first) && !first.connecting;
}

async function converge(ask: Ask, inputs: PlacementInputs, olds: PlacementState | undefined): Promise<PlacementState> {
    for (let attempt = 0; ; attempt++) {
        try {
            return await convergeOnce(ask, inputs, olds);
        } catch (error) {
            if (attempt >= RESUMES || !wentAway(error)) throw error;
            ask.warn(`the coordinator closed the connection; waiting for it and going on: ${firstLineOf(error)}`);
        }
    }
}

const firstLineOf = (error: unknown) =>
    String((error as Error).message)
        .split("\n")
        .slice(0, 2)
        .join(" ")
        .replace(/\s+/g, " ");

async function convergeOnce(
    ask: Ask,
    inputs: PlacementInputs,
    olds: PlacementState | undefined,
): Promise<PlacementState> {
    const report = ask.progress;
    const removedElsewhere: PlacementWorker[] = olds?.workers ?? [];
    let answered = false;
    return withSession(
        inputs.coordinator,
        "coordinator",
        async (session) => {
            answered = true;
            const nodes = opener(inputs, olds);
            try {
                await waitForWorkers(session, inputs, olds, report);
                await exemptAll(session, nodes.open);
                const drift = await blockedDrift(session, inputs, olds);
                if (drift !== undefined) {
                    ask.warn(drift);
                    return { ...inputs, ...remembered(olds), status: await describe(session, inputs, "not balanced") };
                }
                const checks = {
                    open: nodes.open,
                    openDatabase: nodes.openDatabase,
                    removedElsewhere,
                };
                const { leaving } = await findLeaving(session, inputs.workers);
                const moving = databasesOf(leaving);
                // a database moves before shards do, so what would refuse those is asked before
                if (moving.length > 0) await refuseUnplaceable(session, wantedOf(inputs), { ...checks, moving });
                const moved = await evacuate(session, {
                    wanted: inputs.workers,
                    node: nodes.moveNode,
                    progress: report,
                    alive: () => undefined,
                });
                if (moved.length > 0) ask.note(moved.join("\n"));
                const placed = await rebalanceTo(session, wantedOf(inputs), {
                    ...checks,
                    probe: nodes.probe,
                    openFresh: nodes.openFresh,
                    progress: report,
                    alive: () => undefined,
                });
                const rate =
                    placed.bytes > ENOUGH_TO_MEASURE && placed.copying !== undefined && placed.copying > 1
                        ? Math.round(placed.bytes / placed.copying)
                        : olds?.bytesPerSecond;
                if (placed.moved > 0) {
                    const counted =
                        placed.counted > 0 ? `; ${placed.counted} tables of them counted against their old copies` : "";
                    ask.note(
                        `moved ${placed.moved} shard group${placed.moved === 1 ? "" : "s"}, ${describeBytes(placed.bytes)}, in ${placed.seconds.toFixed(1)} s${counted}`,
                    );
                }
                return {
                    ...inputs,
                    status: await describe(session, inputs),
                    ...(rate === undefined ? {} : { bytesPerSecond: rate }),
                };
            } finally {
                await nodes.close();
            }
        },
        { patience: PATIENCE, waiting: patiently(inputs, report), wrap: tellHolders(report) },
    ).catch(async (error: unknown) => {
        if (answered || !(error instanceof DatabaseError)) throw error;
        throw new NoAnswer(explainCoordinator(saidBy(error), await readNodeState(inputs.shell)));
    });
}

const remembered = (olds: PlacementState | undefined) =>
    olds?.bytesPerSecond === undefined ? {} : { bytesPerSecond: olds.bytesPerSecond };

/** What the database or a role sets for its clients must not stop what Citus does between nodes. */
async function exemptAll(session: Session, open: (host: string) => Promise<Session | undefined>): Promise<void> {
    let changed = false;
    for (const node of await readNodes(session)) {
        const own = node.groupId === 0 ? session : await open(node.host);
        if (own && (await exempt(own))) changed = true;
    }
    if (changed) await dropKept(session);
}

/** Why shards that nobody asked to move can't be moved; undefined when there is nothing of the kind. */
async function blockedDrift(
    session: Session,
    inputs: PlacementInputs,
    olds: PlacementState | undefined,
): Promise<string | undefined> {
    const found = await assessCluster(session, wantedOf(inputs));
    const why = obstacle(found);
    const asked = isAsked(olds && wantedOf(olds), wantedOf(inputs), found);
    return why === undefined || asked ? undefined : explainDrift(why);
}

async function describe(
    session: Session,
    inputs: PlacementInputs,
    balance = inputs.rebalance ? "balanced" : "rebalancing is off",
): Promise<string> {
    const [row] = await session.query<{ postgres: string; citus: string }>(
        `SELECT split_part(current_setting('server_version'), ' ', 1) AS postgres, substring(citus_version() FROM 'Citus ([0-9.]+)') AS citus`,
    );
    const workers = inputs.workers.length === 1 ? "1 worker" : `${inputs.workers.length} workers`;
    return `${inputs.cluster}: PostgreSQL ${row?.postgres}, Citus ${row?.citus}, ${workers}, TLS verified, ${balance}`;
}

/** An `up` that changes nothing else must not be green on a cluster that nobody asked, so it asks again in its update. */
const NOT_ASKED =
    "So it is not known here whether the cluster is well, and which shards would move. pulumi up asks every node again, and fails while one does not answer.";

/** @throws Error naming what only a leaving worker has */
async function checkLeaving(
    session: Session,
    news: PlacementInputs,
    olds: PlacementState,
    found: Assessment,
    moving: readonly string[],
): Promise<void> {
    if (found.leaving.length === 0) return;
    const nodes = opener(news, olds);
    try {
        await refuseOnlyCopies(session, found.leaving, {
            open: nodes.open,
            openDatabase: nodes.openDatabase,
            removedElsewhere: olds.workers,
            moving,
        });
    } finally {
        await nodes.close();
    }
}

/** Where a user learns, in preview too, what will move and what stands in the way. */
async function foresee(ask: Ask, olds: PlacementState, news: PlacementInputs): Promise<Difference> {
    const changed = comparable(olds, COMPUTED) !== comparable(news, COMPUTED);
    // while a container is replaced the engine asks what depends on it, with all that comes from it unknown
    if (unknown(news.coordinator) || unknown(news.shell) || !Array.isArray(news.workers)) return { changes: true };
    const report = ask.progress;
    const late = setTimeout(() => report("waiting for an answer of every node"), 1500);
    let session: Session;
    try {
        session = await connect(news.coordinator, "coordinator", {
            timeout: ANSWERS_WITHIN,
            nodeTimeout: ANSWERS_WITHIN,
            // a busy one gets as long again
            patience: ANSWERS_WITHIN,
            waiting: async (why) => {
                if ((await readNodeState(news.shell))?.passing !== true) throw new Error(why);
            },
        });
    } catch (error) {
        clearTimeout(late);
        const why = explainSilence(saidBy(error), await readNodeState(news.shell));
        ask.warn(`coordinator does not answer: ${why}\n${NOT_ASKED}`);
        return { changes: true };
    }
    try {
        const own = await readOwnVersions(session);
        if (own.some(isRefused)) {
            ask.warn(`${describeApart(own)}\n${NOT_ASKED}`);
            return { changes: true };
        }
        let silent = await askWorkers(session, news, olds);
        if (silent.length > 0 && silent.every(({ state }) => state?.passing === true))
            silent = await askWorkers(session, news, olds);
        if (silent.length > 0) {
            ask.warn(`${explainAll(silent)}\n${NOT_ASKED}`);
            return { changes: true };
        }
        const apart = describeApart(await readVersions(session));
        if (apart !== undefined) ask.warn(apart);
        const found = await assessCluster(session, wantedOf(news)).catch((error: unknown) => {
            if (error instanceof DatabaseError) return error;
            throw error;
        });
        if (found instanceof DatabaseError) {
            ask.warn(`${found.message}\n${NOT_ASKED}`);
            return { changes: true };
        }
        const why = obstacle(found);
        if (why !== undefined) {
            if (isAsked(wantedOf(olds), wantedOf(news), found)) throw new Error(why);
            // what nobody asked for keeps nothing else from being applied
            ask.warn(explainDrift(why));
            return { changes: changed || found.bound.length > 0 };
        }
        const doubt = explainDoubtful(found.limits);
        if (doubt !== undefined) ask.warn(doubt);
        refuseStranded(found);
        const settled = isSettled(found);
        const { leaving } = await findLeaving(session, news.workers);
        if (changed || !settled)
            ask.note([describeAssessment(found, olds.bytesPerSecond), ...describeLeaving(leaving)].join("\n"));
        await checkLeaving(session, news, olds, found, databasesOf(leaving));
        const slots = await describeSlots(session, {
            coming: found.missing.map(({ name }) => name),
            leaving: found.leaving,
        });
        if (slots.length > 0) ask.warn(slots.join("\n"));
        return { changes: changed || !settled };
    } finally {
        clearTimeout(late);
        await session.close().catch(() => undefined);
    }
}

export class PlacementKind implements ResourceKind<PlacementInputs, PlacementState> {
    readonly type = "citus-clusters:index:Placement";
    readonly description = "Shards where they belong: one rebalance for all joins and leaves, followed to its end.";
    readonly inputs = {
        cluster: { type: "string", description: "The cluster's name." },
        coordinator: { type: "object", secret: true, description: "How the coordinator is reached." },
        coordinatorHost: { type: "string", description: "Its host in pg_dist_node." },
        shell: { type: "object", optional: true, description: "How scripts run on the coordinator." },
        workers: {
            type: "array",
            secret: true,
            description: "Those that are to hold shards, and how they are reached.",
        },
        coordinatorShards: { type: "boolean", description: "Whether the coordinator holds shards too." },
        rebalance: { type: "boolean", description: "Whether shards are spread, or only leaving workers emptied." },
        strategy: { type: "string", description: "by_disk_size or by_shard_count." },
        transferMode: { type: "string", description: "auto, force_logical or block_writes." },
        threshold: { type: "number", optional: true, description: "0 to 1; how uneven it may stay." },
    } as const;
    readonly outputs = {
        status: { type: "string", optional: true, description: "One line about the cluster." },
        bytesPerSecond: { type: "integer", optional: true, description: "How fast the last rebalance copied." },
    } as const;

    async create(ask: Ask, inputs: PlacementInputs) {
        return { id: inputs.cluster, outs: await converge(ask, inputs, undefined) };
    }

    async update(ask: Ask, _id: string, olds: PlacementState, news: PlacementInputs) {
        return { outs: await converge(ask, news, olds) };
    }

    diff(ask: Ask, _id: string, olds: PlacementState, news: PlacementInputs) {
        return foresee(ask, olds, news);
    }

    /** Nothing to undo: the shards go with the databases. */
    async delete() {}
}
